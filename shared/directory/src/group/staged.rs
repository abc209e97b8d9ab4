//! Staged writes: a change of more members than one transaction holds is still all or nothing.
//!
//! ```mermaid
//! stateDiagram-v2
//!   [*] --> idle
//!   idle --> leased: writer acquires the lease, on condition of version v (1)
//!   leased --> leased: writer adds rows that count from v+1 (2), and reads the added members (3)
//!   leased --> committed: writer's transaction moves the group to v+1 (4)
//!   leased --> idle: commit without removed members (4)
//!   committed --> idle: writer deletes the rows of removed members (5)
//!   leased --> idle: writer, or after the lease the next writer or the sweeper, deletes the rows of v+1
//!   committed --> idle: after the lease the next writer or the sweeper does (5)
//! ```
//!
//! | state | items | a reader sees | after an interruption |
//! |---|---|---|---|
//! | idle | the group has no lease | version v | |
//! | leased | the group has an operation and the end of its lease | version v: rows that count from v+1 are left out | the rows of v+1 are deleted, so that no version is used for two changes; nothing has changed |
//! | committed | the group has version v+1, the lease, and lists of removed members | version v+1: members on the lists are left out | the rows on the lists are deleted; the change is made, and its event is written |
//!
//! 1. A conditional write of the group. No other request changes the group until the lease is over ([`LEASE`]).
//! 2. Rows in batches.
//! 3. The added members are read after their rows are written. A user who is deleted meanwhile is either missed here, or the
//!    deletion finds the row.
//! 4. One transaction with the group, its look-up items, the lists of removed members and the event.
//! 5. The rows of removed members are deleted, then the lists and the lease.
//!
//! If the connection of a write breaks, the write can still be carried out later. The lease then stays until it is over, also
//! after the commit: a row that came after a later change would be a member that no request added.
//!
//! An interrupted process leaves the lease. When it is over, the next writer of the group takes the group over
//! ([`Store::take_over`]), or the sweeper does if there is none (`resource/recovery.rs`).
//! A group that is created with many members has no item yet that could have a lease: see `create.rs`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::event::MEMBERS_OF_AN_ITEM;
use crate::group::Group;
use crate::group::members::{self, require_groups_exist};
use crate::group::membership::check_changes;
use crate::group::write::{Abort, AttemptState, GroupWrite};
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::{EventId, ResourceId};
use crate::model::resource_kind::GROUP;
use crate::model::stored::{Staged, Stored};
use crate::resource::recovery::LEASE;
use crate::resource::{CommitOutcome, encode_item, settle};
use crate::table::batch::{Attempts, Deadline};
use crate::table::group_cache::CachedGroup;
use crate::table::item::{self, Item};
use crate::table::key::Key;
use crate::table::lookup::move_lookup_items;
use crate::table::store::Store;
use crate::table::transaction::{Backoff, Change, CommitError, Condition};

/// The attributes of a group that has a lease.
const LEASE_ATTRIBUTES: [&str; 3] = [item::STAGED_WRITE, item::LEASE_UNTIL, item::REMOVAL_PARTS];

/// A change of a group whose lease this process holds, or is about to acquire.
struct StagedWrite {
    write: GroupWrite,
    /// Identifies the holder of the lease.
    operation: String,
    deadline: Deadline,
    now: Timestamp,
}

impl Store {
    /// Makes a change that names members to add and to remove. Which of them are members is read under the lease.
    pub(crate) async fn stage_named(
        &self,
        caller: &Caller,
        write: GroupWrite,
        state: &mut AttemptState,
        now: Timestamp,
    ) -> Result<Group, Abort> {
        let mut staged = self.begin(caller, write, now).await?;
        // After the lease and not beside it: no other writer changes the rows from here on.
        let write = staged.write;
        let rows = self.rows_of(caller, &write.old, write.delta.ids()).await?;
        let mut delta = write.delta.effective(&rows);
        delta.set_groups(&state.groups);
        let write = write.with_delta(delta, now);
        if write.is_empty() {
            self.release_lease(caller, write.old.id, &staged.operation, vec![])
                .await?;
            return Ok(Group {
                stored: write.old,
                members: None,
            });
        }
        staged.write = write;
        self.run_staged(caller, staged, state).await
    }

    /// Makes a change of which each membership change is known.
    pub(crate) async fn stage(
        &self,
        caller: &Caller,
        write: GroupWrite,
        state: &mut AttemptState,
        now: Timestamp,
    ) -> Result<Group, Abort> {
        let staged = self.begin(caller, write, now).await?;
        self.run_staged(caller, staged, state).await
    }

    /// Acquires the lease (1). A change that the commit could not hold is refused before.
    async fn begin(
        &self,
        caller: &Caller,
        write: GroupWrite,
        now: Timestamp,
    ) -> Result<StagedWrite, Abort> {
        check_changes(write.delta.ids().len())?;
        let staged = StagedWrite {
            write,
            operation: EventId::at(now).to_string(),
            deadline: Deadline::new(),
            now,
        };
        let commit = self.staged_commit(caller, &staged, Attempts::Answered);
        if let Err(error) = commit.and_then(|(change, _)| change.check_size()) {
            // The cached group may be out of date, so the same request again reads it.
            self.known().forget(caller, staged.write.old.id);
            return Err(error.into());
        }
        if !self.acquire_lease(caller, &staged).await? {
            return Err(Abort::RetryAfterPause);
        }
        Ok(staged)
    }

    /// Does steps 2 to 5 under the lease.
    async fn run_staged(
        &self,
        caller: &Caller,
        staged: StagedWrite,
        state: &mut AttemptState,
    ) -> Result<Group, Abort> {
        let directory = caller.directory().id;
        let GroupWrite { old, new, delta } = &staged.write;
        let rows = delta.added.iter().map(|(id, member)| {
            let row = members::row(caller, member, new.version);
            (Key::member(directory, old.id, *id), Some(row))
        });
        // If this fails some rows may still be on their way, so the lease stays until it is over.
        let attempts = self.write_all(rows.collect(), staged.deadline).await?;
        match self.resolve_member_types(caller, delta).await {
            Ok(groups) if groups.is_empty() => {}
            found => {
                self.roll_back(caller, &staged, attempts).await?;
                state.groups.extend(found?);
                return Err(Abort::Retry);
            }
        }
        let lists = self.commit_staged(caller, &staged, attempts).await?;
        // The change is made. If the deletion of rows fails, the next writer of the group or the sweeper does it.
        if !lists.is_empty() {
            let clean = async {
                let removed = delta.removed.keys();
                let deleted = self.delete_rows(caller, old.id, removed).await?;
                match attempts.and(deleted) {
                    Attempts::Answered => {
                        self.release_lease(caller, old.id, &staged.operation, lists)
                            .await
                    }
                    Attempts::Lost => Ok(()),
                }
            };
            if clean.await.is_err() {
                self.known().forget(caller, old.id);
            }
        }
        let seen = CachedGroup {
            group: new.clone(),
            members: None,
        };
        self.known().put(caller, seen);
        Ok(Group {
            stored: staged.write.new,
            members: None,
        })
    }

    /// Commits a staged write (4), and returns the keys of its lists of removed members. A commit that is refused is rolled
    /// back.
    async fn commit_staged(
        &self,
        caller: &Caller,
        staged: &StagedWrite,
        attempts: Attempts,
    ) -> Result<Vec<Key>, Abort> {
        let GroupWrite { old, new, delta } = &staged.write;
        let mut backoff = Backoff::new();
        loop {
            staged.deadline.check()?;
            let nesting = match self.refuse_cycles(caller, old, delta).await {
                Ok(nesting) => nesting,
                Err(error) => {
                    self.roll_back(caller, staged, attempts).await?;
                    return Err(error.into());
                }
            };
            let (mut change, lists) = self.staged_commit(caller, staged, attempts)?;
            if let Some(nesting) = nesting {
                nesting.count(&mut change, caller);
            }
            match settle(change.commit(self).await, &new.resource) {
                Ok(CommitOutcome::Written) => return Ok(lists),
                Ok(CommitOutcome::Again) => {
                    // Contention passes; a lease that is lost does not come back.
                    if !self.holds_lease(caller, staged).await? {
                        return Err(Abort::RetryAfterPause);
                    }
                    backoff.wait().await?;
                }
                Ok(CommitOutcome::Members) => {
                    self.roll_back(caller, staged, attempts).await?;
                    return Err(Abort::Retry);
                }
                Err(error @ Error::Uniqueness { .. }) => {
                    self.roll_back(caller, staged, attempts).await?;
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the transaction of step 4, and the keys of its lists of removed members.
    fn staged_commit(
        &self,
        caller: &Caller,
        staged: &StagedWrite,
        attempts: Attempts,
    ) -> Result<(Change, Vec<Key>), Error> {
        let directory = caller.directory().id;
        let GroupWrite { old, new, delta } = &staged.write;
        let removed: Vec<ResourceId> = delta.removed.keys().copied().collect();
        let lists: BTreeMap<Key, String> = removed
            .chunks(MEMBERS_OF_AN_ITEM)
            .enumerate()
            .map(|(part, ids)| {
                let key = Key::removal(directory, old.id, &staged.operation, part);
                (key, item::ids(ids))
            })
            .collect();
        let mut change = Change::default();
        let key = Key::resource(directory, GROUP.prefix, old.id);
        let condition = Condition::Group {
            version: old.version,
            staged: Some(staged.operation.clone()),
        };
        let mut item = encode_item(&GROUP, new)?;
        if lists.is_empty() && attempts == Attempts::Answered {
            change.set(key, item, &LEASE_ATTRIBUTES, condition);
        } else {
            if !lists.is_empty() {
                item.insert(item::REMOVAL_PARTS.to_owned(), item::number(lists.len()));
            }
            // The deletions have a lease of their own, and so has what may still be on its way: no other writer changes
            // the group until it must have arrived.
            item.extend(lease_item(&staged.operation, staged.now));
            change.set(key, item, &[], condition);
        }
        let (before, after) = (Some(&old.resource), Some(&new.resource));
        move_lookup_items(&mut change, caller, &GROUP, old.id, before, after)?;
        require_groups_exist(&mut change, caller, delta);
        for event in staged.write.event(caller)?.with_members(caller, delta) {
            event.add_to(&mut change);
        }
        let keys = lists.keys().cloned().collect();
        for (key, ids) in lists {
            let list = Item::from([(item::REMOVED_MEMBERS.to_owned(), item::string(ids))]);
            change.put(key, list);
        }
        Ok((change, keys))
    }

    /// Acquires the lease of a group that has none and is in the version that was read; false if another writer was faster.
    async fn acquire_lease(&self, caller: &Caller, staged: &StagedWrite) -> Result<bool, Error> {
        let old = &staged.write.old;
        let condition = Condition::Mark {
            version: old.version,
            operation: staged.operation.clone(),
        };
        self.set_attributes(
            Key::resource(caller.directory().id, GROUP.prefix, old.id),
            lease_item(&staged.operation, staged.now),
            &[],
            condition,
        )
        .await
    }

    async fn holds_lease(&self, caller: &Caller, staged: &StagedWrite) -> Result<bool, Error> {
        let old = &staged.write.old;
        let group = self.read(caller, &GROUP, old.id).await?;
        let lease = group
            .filter(|group| group.version == old.version)
            .and_then(|group| group.group.staged);
        Ok(lease.is_some_and(|lease| lease.by == staged.operation))
    }

    /// Undoes steps 1 and 2. The lease stays until it is over if something may still be on its way.
    async fn roll_back(
        &self,
        caller: &Caller,
        staged: &StagedWrite,
        attempts: Attempts,
    ) -> Result<(), Error> {
        let GroupWrite { old, delta, .. } = &staged.write;
        let deleted = self.delete_rows(caller, old.id, delta.added.keys()).await?;
        match attempts.and(deleted) {
            Attempts::Answered => {
                self.release_lease(caller, old.id, &staged.operation, vec![])
                    .await
            }
            Attempts::Lost => Ok(()),
        }
    }

    pub(crate) async fn delete_rows(
        &self,
        caller: &Caller,
        group: ResourceId,
        members: impl Iterator<Item = &ResourceId>,
    ) -> Result<Attempts, Error> {
        let directory = caller.directory().id;
        let keys = members.map(|id| (Key::member(directory, group, *id), None));
        self.write_all(keys.collect(), Deadline::new()).await
    }

    /// Removes the lease of an operation, and its lists of removed members.
    async fn release_lease(
        &self,
        caller: &Caller,
        group: ResourceId,
        operation: &str,
        lists: Vec<Key>,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        loop {
            let mut change = Change::default();
            let key = Key::resource(caller.directory().id, GROUP.prefix, group);
            let condition = Condition::Staged(operation.to_owned());
            change.set(key, Item::new(), &LEASE_ATTRIBUTES, condition);
            for key in &lists {
                change.remove(key.clone());
            }
            match change.commit(self).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Broken(error)) => return Err(error),
                // Another process has released it, or the group is deleted.
                Err(CommitError::ConditionFailure(_)) => return Ok(()),
                Err(CommitError::Contended) => backoff.wait().await?,
            }
        }
    }

    /// Completes or undoes the staged write of an interrupted process, if its lease is over; false while the lease lasts.
    pub(crate) async fn take_over(
        &self,
        caller: &Caller,
        group: &Stored,
        staged: &Staged,
        now: Timestamp,
    ) -> Result<bool, Error> {
        if now.as_millisecond() < staged.until {
            return Ok(false);
        }
        let directory = caller.directory().id;
        // Its own lease first, so that one of several processes does the work.
        let own = now.as_millisecond() + LEASE;
        let until = Item::from([(item::LEASE_UNTIL.to_owned(), item::number(own))]);
        let condition = Condition::Lease {
            by: staged.by.clone(),
            until: staged.until,
            own,
        };
        let head = Key::resource(directory, GROUP.prefix, group.id);
        if !self.set_attributes(head, until, &[], condition).await? {
            return Ok(false);
        }
        let parts = usize::try_from(staged.removals).unwrap_or(usize::MAX);
        let lists: Vec<Key> = (0..parts)
            .map(|part| Key::removal(directory, group.id, &staged.by, part))
            .collect();
        let mut ids = BTreeSet::new();
        if parts == 0 {
            for (id, from, _) in self.rows(caller, group.id).await?.rows {
                if from > group.version {
                    ids.insert(id);
                }
            }
        } else {
            for list in self.get_all(lists.clone()).await? {
                ids.extend(item::parse_ids(item::text(&list, item::REMOVED_MEMBERS)?)?);
            }
        }
        match self.delete_rows(caller, group.id, ids.iter()).await? {
            Attempts::Answered => {
                self.release_lease(caller, group.id, &staged.by, lists)
                    .await?;
                Ok(true)
            }
            // Something may still be on its way: it is done again when the lease is over.
            Attempts::Lost => Ok(false),
        }
    }
}

fn lease_item(operation: &str, now: Timestamp) -> Item {
    let until = now.as_millisecond() + LEASE;
    Item::from([
        (item::STAGED_WRITE.to_owned(), item::string(operation)),
        (item::LEASE_UNTIL.to_owned(), item::number(until)),
    ])
}
