//! Creation of groups.

use std::sync::Arc;

use jiff::Timestamp;
use scim::Resource;

use crate::event::Event;
use crate::group::Group;
use crate::group::members::{self, FEW, require_exists, require_groups_exist};
use crate::group::membership::{
    check_added_groups, check_changes, fits_one_transaction, parse_members,
};
use crate::group::write::AttemptState;
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::{Members, MembershipDelta};
use crate::model::resource_kind::GROUP;
use crate::model::stored::{GroupState, Stored};
use crate::model::time::to_the_millisecond;
use crate::resource::recovery::LEASE;
use crate::resource::{CommitOutcome, encode_item, settle};
use crate::table::batch::{Attempts, Deadline};
use crate::table::group_cache::CachedGroup;
use crate::table::item::{self, Item};
use crate::table::key::Key;
use crate::table::lookup::move_lookup_items;
use crate::table::store::Store;
use crate::table::transaction::{Backoff, Change, Condition, ConditionFailure};

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;

impl Store {
    /// Creates a group with the members that the resource names.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` if a member is not a user or group of the directory;
    /// [`Error::Uniqueness`] if the directory requires unique names;
    /// [`Error::TooLarge`], [`Error::Scim`], [`Error::Busy`], [`Error::Broken`].
    pub async fn create_group(
        &self,
        caller: &Caller,
        resource: &Resource,
        now: Timestamp,
    ) -> Result<Group, Error> {
        let now = to_the_millisecond(now);
        let directory = caller.directory().id;
        let (resource, elements) = resource.split_members()?;
        let requested = MembershipDelta {
            added: parse_members(elements)?,
            removed: Members::new(),
        };
        check_changes(requested.added.len())?;
        let mut state = AttemptState::default();
        let mut backoff = Backoff::new();
        loop {
            let mut delta = requested.clone();
            delta.set_groups(&state.groups);
            let new = Stored {
                id: self.new_id(),
                resource: resource.clone(),
                version: 1,
                created: now,
                last_modified: now,
                group: GroupState {
                    members: Some(delta.added.len() as u64),
                    subgroups: Some(delta.added_groups().count() as u64),
                    ..GroupState::default()
                },
            };
            let mut change = Change::default();
            let key = Key::resource(directory, GROUP.prefix, new.id);
            change.create(key, encode_item(&GROUP, &new)?, ConditionFailure::Changed);
            let none = None;
            move_lookup_items(
                &mut change,
                caller,
                &GROUP,
                new.id,
                none,
                Some(&new.resource),
            )?;
            change.count(directory, GROUP.prefix, new.id, 1);
            let event = Event::created(caller, &GROUP, &new, now)?;
            for event in event.with_members(caller, &delta) {
                event.add_to(&mut change);
            }
            check_added_groups(&delta)?;
            let attempt = match fits_one_transaction(&delta, self.actions()) {
                true => {
                    self.create_in_one_transaction(caller, change, &new, &delta, &mut state)
                        .await?
                }
                false => {
                    self.create_staged(caller, change, &new, &delta, &mut state)
                        .await?
                }
            };
            match attempt {
                CommitOutcome::Written => {
                    let members = Arc::new(delta.apply(&Members::new()));
                    let few = members.len() as u64 <= FEW;
                    let seen = CachedGroup {
                        group: new.clone(),
                        members: few.then(|| members.clone()),
                    };
                    self.known().put(caller, seen);
                    return Ok(Group {
                        stored: new,
                        members: Some(members),
                    });
                }
                // What was wrong with a member has been found out.
                CommitOutcome::Members => {}
                CommitOutcome::Again => backoff.wait().await?,
            }
        }
    }

    async fn create_in_one_transaction(
        &self,
        caller: &Caller,
        mut change: Change,
        new: &Stored,
        delta: &MembershipDelta,
        state: &mut AttemptState,
    ) -> Result<CommitOutcome, Error> {
        if state.check_members {
            let groups = self.resolve_member_types(caller, delta).await?;
            if !groups.is_empty() {
                state.groups.extend(groups);
                return Ok(CommitOutcome::Members);
            }
        }
        for (id, member) in &delta.added {
            let key = Key::member(caller.directory().id, new.id, *id);
            let row = members::row(caller, member, new.version);
            change.create(key, row, ConditionFailure::Changed);
            require_exists(&mut change, caller, *id, member);
        }
        match settle(change.commit(self).await, &new.resource)? {
            // It was looked for just now, so it is being deleted.
            CommitOutcome::Members if state.check_members => Ok(CommitOutcome::Again),
            CommitOutcome::Members => {
                state.check_members = true;
                Ok(CommitOutcome::Members)
            }
            settled => Ok(settled),
        }
    }

    /// Creates a group with more members than one transaction holds. Its rows are written first: a reader does not see rows of
    /// a group that does not exist. An item says that the creation is pending. A process that finds such a row, because its
    /// user is being deleted, waits for the creation, or deletes the rows if the creation was interrupted.
    async fn create_staged(
        &self,
        caller: &Caller,
        mut change: Change,
        new: &Stored,
        delta: &MembershipDelta,
        state: &mut AttemptState,
    ) -> Result<CommitOutcome, Error> {
        change.check_size()?;
        let now = new.created;
        let directory = caller.directory().id;
        let deadline = Deadline::new();
        let pending = Key::creation(directory, new.id);
        let until = item::number(now.as_millisecond() + LEASE);
        let expires = item::number(now.as_second() + DAY);
        let item = Item::from([
            (item::LEASE_UNTIL.to_owned(), until),
            (item::EXPIRES.to_owned(), expires),
        ]);
        let announced = vec![(pending.clone(), Some(item))];
        let begun = self.write_all(announced, deadline).await?;
        let rows = delta.added.iter().map(|(id, member)| {
            let row = members::row(caller, member, new.version);
            (Key::member(directory, new.id, *id), Some(row))
        });
        let attempts = self.write_all(rows.collect(), deadline).await?;
        if begun.and(attempts) == Attempts::Lost {
            // Under another id, for a row that comes late must not come into a group that has changed since.
            self.discard(caller, new.id, delta).await?;
            return Ok(CommitOutcome::Members);
        }
        match self.resolve_member_types(caller, delta).await {
            Ok(groups) if groups.is_empty() => {}
            found => {
                self.discard(caller, new.id, delta).await?;
                state.groups.extend(found?);
                return Ok(CommitOutcome::Members);
            }
        }
        deadline.check()?;
        require_groups_exist(&mut change, caller, delta);
        change.delete(pending, Condition::Present, ConditionFailure::Changed);
        let settled = settle(change.commit(self).await, &new.resource);
        match &settled {
            Ok(CommitOutcome::Written) => {}
            Ok(_) | Err(Error::Uniqueness { .. }) => self.discard(caller, new.id, delta).await?,
            // It may have been written all the same.
            Err(_) => {}
        }
        settled
    }

    /// Undoes a creation that was not committed.
    async fn discard(
        &self,
        caller: &Caller,
        group: ResourceId,
        delta: &MembershipDelta,
    ) -> Result<(), Error> {
        self.delete_rows(caller, group, delta.added.keys()).await?;
        let pending = Key::creation(caller.directory().id, group);
        self.write_all(vec![(pending, None)], Deadline::new())
            .await?;
        Ok(())
    }

    /// Returns whether a group that has rows and does not exist is being created. What an interrupted creation left is
    /// deleted.
    pub(crate) async fn is_being_created(
        &self,
        caller: &Caller,
        group: ResourceId,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let pending = Key::creation(caller.directory().id, group);
        let Some(item) = self.item(pending.clone()).await? else {
            return Ok(false);
        };
        if now.as_millisecond() < item::integer(&item, item::LEASE_UNTIL)? {
            return Ok(true);
        }
        let rows = self.rows(caller, group).await?.rows;
        self.delete_rows(caller, group, rows.iter().map(|(id, ..)| id))
            .await?;
        self.write_all(vec![(pending, None)], Deadline::new())
            .await?;
        Ok(false)
    }
}
