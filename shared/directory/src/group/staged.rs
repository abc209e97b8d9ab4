//! A change of more members than one transaction holds, and still all of it or nothing.
//!
//! 1. The group is marked: nobody else changes it for a while, the lease.
//! 2. Rows of new members are written, counting from the next version on. Nobody sees them yet.
//! 3. That the members exist is read after that, so that a user who is deleted
//!    meanwhile is either missed here, or his deletion finds the row.
//! 4. One transaction moves the group to the next version, announces the
//!    change, and keeps a list of those who are members no more. Everybody sees all of it.
//! 5. Their rows are deleted, then the list and the mark.
//!
//! If the connection of a write breaks, which may then be carried out later, the mark stays until the lease is over, though
//! the change is made: a row that came after a later change would be a member whom nobody added.
//!
//! A writer that is interrupted leaves the mark. When the lease is over the next writer takes the group over, or the
//! sweeper does if there is none (`recovery.rs`): up to step 3 the rows are deleted, so that no version is ever used for
//! two changes; from step 4 on the deletions are finished. A group that is created with many members has no mark yet: see
//! `Store::create_in_steps`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use scim::Resource;

use crate::event::MEMBERS_OF_AN_ITEM;
use crate::group::members::{self, RequestedMember};
use crate::group::{
    Attempt, AttemptState, Group, MembershipDelta, add_existence, event_of, next_version,
};
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
use crate::table::transaction::{Backoff, Change, CommitError, Condition, ConditionFailure};

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;

/// How many memberships may begin and end in one request: what their events
/// and the list of removals take of the 4 MB of a transaction.
const MAX_CHANGES: usize = 60_000;

/// The attributes that mark a group.
const MARK: [&str; 3] = [item::STAGED_WRITE, item::LEASE_UNTIL, item::REMOVAL_PARTS];

impl Store {
    /// Changes the members that a client names; who of them is one already is read under the mark.
    pub(crate) async fn in_steps_named(
        &self,
        caller: &Caller,
        old: Stored,
        resource: Resource,
        (added, removed): (
            &BTreeMap<ResourceId, RequestedMember>,
            &BTreeSet<ResourceId>,
        ),
        learned: &mut AttemptState,
        now: Timestamp,
    ) -> Result<Attempt, Error> {
        let ids: BTreeSet<ResourceId> = added.keys().chain(removed).copied().collect();
        check_changes(ids.len())?;
        let operation = EventId::at(now).to_string();
        let deadline = Deadline::new();
        // At most this will be written, so what is refused is refused before there is a mark.
        let most = MembershipDelta::named(added, removed, learned);
        self.check_commitment(caller, &old, &resource, &most, &operation, now)?;
        if !self.mark(caller, &old, &operation, now).await? {
            return Ok(Attempt::Wait);
        }
        // After the mark and not beside it: nobody else changes the rows from here on.
        let rows = self.rows_of(caller, &old, ids.into_iter()).await?;
        let step = MembershipDelta::of_named(&rows, added, removed, learned);
        if step.is_empty() && old.resource.changed(&resource).is_empty() {
            self.unmark(caller, old.id, &operation).await?;
            return Ok(Attempt::Done(Group {
                stored: old,
                members: None,
            }));
        }
        self.marked(
            caller, old, resource, step, &operation, deadline, learned, now,
        )
        .await
    }

    /// Makes a change that is known in full.
    pub(crate) async fn in_steps(
        &self,
        caller: &Caller,
        old: Stored,
        resource: Resource,
        step: MembershipDelta,
        learned: &mut AttemptState,
        now: Timestamp,
    ) -> Result<Attempt, Error> {
        check_changes(step.added.len() + step.removed.len())?;
        let operation = EventId::at(now).to_string();
        let deadline = Deadline::new();
        // What is refused is refused before there is a mark.
        self.check_commitment(caller, &old, &resource, &step, &operation, now)?;
        if !self.mark(caller, &old, &operation, now).await? {
            return Ok(Attempt::Wait);
        }
        self.marked(
            caller, old, resource, step, &operation, deadline, learned, now,
        )
        .await
    }

    /// Whether step 4 can be written, as far as that can be told before anything is.
    fn check_commitment(
        &self,
        caller: &Caller,
        old: &Stored,
        resource: &Resource,
        step: &MembershipDelta,
        operation: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let new = next_version(old, resource.clone(), step, now);
        let attempts = (operation, Attempts::Answered);
        let change = commitment(caller, old, &new, step, attempts, now);
        let checked = change.and_then(|(change, _)| change.check_size());
        if checked.is_err() {
            // This process may know the group as it was before, so the same request again reads it.
            self.known().forget(caller, old.id);
        }
        checked
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "it is the end of two functions that decide all of these"
    )]
    async fn marked(
        &self,
        caller: &Caller,
        old: Stored,
        resource: Resource,
        step: MembershipDelta,
        operation: &str,
        deadline: Deadline,
        learned: &mut AttemptState,
        now: Timestamp,
    ) -> Result<Attempt, Error> {
        let directory = caller.directory().id;
        let new = next_version(&old, resource, &step, now);
        let rows = step.added.iter().map(|(id, member)| {
            let row = members::row(caller, member, new.version);
            (Key::member(directory, old.id, *id), Some(row))
        });
        // When this fails some rows may still be on their way, so the mark
        // stays until the lease is over.
        let attempts = self.write_all(rows.collect(), deadline).await?;
        match self.find(caller, &step).await {
            Ok(groups) if groups.is_empty() => {}
            found => {
                self.undo(caller, &old, &step, operation, attempts).await?;
                learned.groups.extend(found?);
                return Ok(Attempt::Again);
            }
        }
        let mut backoff = Backoff::new();
        let removals = loop {
            deadline.check()?;
            let nesting = match self.refuse_cycles(caller, &old, &step).await {
                Ok(nesting) => nesting,
                Err(error) => {
                    self.undo(caller, &old, &step, operation, attempts).await?;
                    return Err(error);
                }
            };
            let (mut change, removals) =
                commitment(caller, &old, &new, &step, (operation, attempts), now)?;
            if let Some(nesting) = nesting {
                nesting.count(&mut change, caller);
            }
            match settle(change.commit(self).await, &new.resource) {
                Ok(CommitOutcome::Written) => break removals,
                Ok(CommitOutcome::Again) => {
                    // Contention passes; a mark that is gone does not come back.
                    if !self.is_marked(caller, &old, operation).await? {
                        return Ok(Attempt::Wait);
                    }
                    backoff.wait().await?;
                }
                Ok(CommitOutcome::Members) => {
                    self.undo(caller, &old, &step, operation, attempts).await?;
                    return Ok(Attempt::Again);
                }
                Err(error @ Error::Uniqueness { .. }) => {
                    self.undo(caller, &old, &step, operation, attempts).await?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        };
        // The change is made. If the rest of the work fails, the next one who changes the group does it.
        if !removals.is_empty() {
            let clean = async {
                let deleted = self
                    .delete_rows(caller, old.id, step.removed.keys())
                    .await?;
                match attempts.and(deleted) {
                    Attempts::Answered => {
                        self.unmark_with(caller, old.id, operation, removals).await
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
        Ok(Attempt::Done(Group {
            stored: new,
            members: None,
        }))
    }

    /// Creates a group with more members than one transaction holds. Its rows
    /// are written first: nobody sees rows of a group that is not there. An item
    /// next to them says that it is coming, so that whoever finds such a row,
    /// because its user is being deleted, waits, or sweeps what a dead one left.
    pub(crate) async fn create_in_steps(
        &self,
        caller: &Caller,
        mut change: Change,
        new: &Stored,
        step: &MembershipDelta,
        learned: &mut AttemptState,
        now: Timestamp,
    ) -> Result<CommitOutcome, Error> {
        change.check_size()?;
        let directory = caller.directory().id;
        let deadline = Deadline::new();
        let coming = Key::creation(directory, new.id);
        let until = item::number(now.as_millisecond() + LEASE);
        let expires = item::number(now.as_second() + DAY);
        let item = Item::from([
            (item::LEASE_UNTIL.to_owned(), until),
            (item::EXPIRES.to_owned(), expires),
        ]);
        let announced = vec![(coming.clone(), Some(item))];
        let begun = self.write_all(announced, deadline).await?;
        let rows = step.added.iter().map(|(id, member)| {
            let row = members::row(caller, member, new.version);
            (Key::member(directory, new.id, *id), Some(row))
        });
        let attempts = self.write_all(rows.collect(), deadline).await?;
        if begun.and(attempts) == Attempts::Lost {
            // Under another id, for a row that comes late must not come into a group that has changed since.
            self.discard(caller, new.id, step).await?;
            return Ok(CommitOutcome::Members);
        }
        match self.find(caller, step).await {
            Ok(groups) if groups.is_empty() => {}
            found => {
                self.discard(caller, new.id, step).await?;
                learned.groups.extend(found?);
                return Ok(CommitOutcome::Members);
            }
        }
        deadline.check()?;
        for id in step.added_groups() {
            add_existence(&mut change, caller, id, true, true);
        }
        change.delete(coming, Condition::Present, ConditionFailure::Changed);
        let settled = settle(change.commit(self).await, &new.resource);
        match &settled {
            Ok(CommitOutcome::Written) => {}
            Ok(_) | Err(Error::Uniqueness { .. }) => self.discard(caller, new.id, step).await?,
            // It may have been written all the same.
            Err(_) => {}
        }
        settled
    }

    /// Takes back a creation that did not come to its end.
    async fn discard(
        &self,
        caller: &Caller,
        group: ResourceId,
        step: &MembershipDelta,
    ) -> Result<(), Error> {
        self.delete_rows(caller, group, step.added.keys()).await?;
        let coming = Key::creation(caller.directory().id, group);
        self.write_all(vec![(coming, None)], Deadline::new())
            .await?;
        Ok(())
    }

    /// What there is to wait for when a group has rows and is not there. A
    /// creation that somebody died in is swept.
    pub(crate) async fn is_coming(
        &self,
        caller: &Caller,
        group: ResourceId,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let coming = Key::creation(caller.directory().id, group);
        let Some(item) = self.item(coming.clone()).await? else {
            return Ok(false);
        };
        if now.as_millisecond() < item::integer(&item, item::LEASE_UNTIL)? {
            return Ok(true);
        }
        let rows = self.rows(caller, group).await?.rows;
        self.delete_rows(caller, group, rows.iter().map(|(id, ..)| id))
            .await?;
        self.write_all(vec![(coming, None)], Deadline::new())
            .await?;
        Ok(false)
    }

    /// Marks a group that is still in the version that was read and has no mark.
    async fn mark(
        &self,
        caller: &Caller,
        group: &Stored,
        operation: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let condition = Condition::Mark {
            version: group.version,
            operation: operation.to_owned(),
        };
        self.set_attributes(
            Key::resource(caller.directory().id, GROUP.prefix, group.id),
            mark_item(operation, now),
            &[],
            condition,
        )
        .await
    }

    async fn is_marked(
        &self,
        caller: &Caller,
        old: &Stored,
        operation: &str,
    ) -> Result<bool, Error> {
        let group = self.read(caller, &GROUP, old.id).await?;
        let staged = group
            .filter(|group| group.version == old.version)
            .and_then(|group| group.group.staged);
        Ok(staged.is_some_and(|staged| staged.by == operation))
    }

    /// Undoes what steps 1 and 2 did. The mark stays until the lease is over if something may still be on its way.
    async fn undo(
        &self,
        caller: &Caller,
        old: &Stored,
        step: &MembershipDelta,
        operation: &str,
        attempts: Attempts,
    ) -> Result<(), Error> {
        let deleted = self.delete_rows(caller, old.id, step.added.keys()).await?;
        match attempts.and(deleted) {
            Attempts::Answered => self.unmark(caller, old.id, operation).await,
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

    async fn unmark(
        &self,
        caller: &Caller,
        group: ResourceId,
        operation: &str,
    ) -> Result<(), Error> {
        self.unmark_with(caller, group, operation, vec![]).await
    }

    /// Takes the mark away, and the lists of removals that belong to it.
    async fn unmark_with(
        &self,
        caller: &Caller,
        group: ResourceId,
        operation: &str,
        removals: Vec<Key>,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        loop {
            let mut change = Change::default();
            let key = Key::resource(caller.directory().id, GROUP.prefix, group);
            let condition = Condition::Staged(operation.to_owned());
            change.set(key, Item::new(), &MARK, condition);
            for key in &removals {
                change.remove(key.clone());
            }
            match change.commit(self).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Broken(error)) => return Err(error),
                // Somebody else has finished it, or it is not there any more.
                Err(CommitError::ConditionFailure(_)) => return Ok(()),
                Err(CommitError::Contended) => backoff.wait().await?,
            }
        }
    }

    /// Ends an operation whose writer was interrupted, if its lease is over; false while the lease lasts.
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
        // A lease of one's own first: of two who find it, one does the work.
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
                self.unmark_with(caller, group.id, &staged.by, lists)
                    .await?;
                Ok(true)
            }
            // Something may still be on its way: it is done again when the lease is over.
            Attempts::Lost => Ok(false),
        }
    }
}

fn mark_item(operation: &str, now: Timestamp) -> Item {
    Item::from([
        (item::STAGED_WRITE.to_owned(), item::string(operation)),
        (
            item::LEASE_UNTIL.to_owned(),
            item::number(now.as_millisecond() + LEASE),
        ),
    ])
}

/// MembershipDelta 4, and the keys of its lists of removals.
fn commitment(
    caller: &Caller,
    old: &Stored,
    new: &Stored,
    step: &MembershipDelta,
    (operation, attempts): (&str, Attempts),
    now: Timestamp,
) -> Result<(Change, Vec<Key>), Error> {
    let directory = caller.directory().id;
    let removed: Vec<ResourceId> = step.removed.keys().copied().collect();
    let lists: BTreeMap<Key, String> = removed
        .chunks(MEMBERS_OF_AN_ITEM)
        .enumerate()
        .map(|(part, ids)| {
            let key = Key::removal(directory, old.id, operation, part);
            (key, item::ids(ids))
        })
        .collect();
    let mut change = Change::default();
    let key = Key::resource(directory, GROUP.prefix, old.id);
    let condition = Condition::Group {
        version: old.version,
        staged: Some(operation.to_owned()),
    };
    let mut item = encode_item(&GROUP, new)?;
    if lists.is_empty() && attempts == Attempts::Answered {
        change.set(key, item, &MARK, condition);
    } else {
        if !lists.is_empty() {
            item.insert(item::REMOVAL_PARTS.to_owned(), item::number(lists.len()));
        }
        // The deletions have a lease of their own, and so has what may still be on its way: nobody else changes the
        // group until it must have arrived.
        item.extend(mark_item(operation, now));
        change.set(key, item, &[], condition);
    }
    let (before, after) = (Some(&old.resource), Some(&new.resource));
    move_lookup_items(&mut change, caller, &GROUP, old.id, before, after)?;
    for id in step.added_groups() {
        add_existence(&mut change, caller, id, true, true);
    }
    let event = event_of(caller, old, new, new.last_modified)?;
    for event in event.with_members(caller, &step.moved()) {
        event.add_to(&mut change);
    }
    let keys = lists.keys().cloned().collect();
    for (key, ids) in lists {
        change.put(
            key,
            Item::from([(item::REMOVED_MEMBERS.to_owned(), item::string(ids))]),
        );
    }
    Ok((change, keys))
}

pub(crate) fn check_changes(changes: usize) -> Result<(), Error> {
    match changes > MAX_CHANGES {
        false => Ok(()),
        true => Err(Error::TooLarge(format!(
            "{changes} memberships would begin or end; one request may change {MAX_CHANGES}."
        ))),
    }
}
