//! Deletion of groups.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::event::Event;
use crate::group::membership::OTHER_ACTIONS;
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::MembershipDelta;
use crate::model::resource_kind::GROUP;
use crate::model::stored::Precondition;
use crate::model::time::to_the_millisecond;
use crate::resource::recovery::Unfinished;
use crate::resource::{CommitOutcome, settle};
use crate::table::batch::Deadline;
use crate::table::item;
use crate::table::key::{self, Key};
use crate::table::lookup::move_lookup_items;
use crate::table::store::Store;
use crate::table::transaction::{Backoff, Change, CommitError, Condition, ConditionFailure};

impl Store {
    /// Deletes a group and ends all its memberships. The group is gone with the first transaction. The rows of a large group
    /// are deleted after it; if this process is interrupted, the same request or the sweeper deletes the rest.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Changed`] when the precondition fails, [`Error::Busy`], [`Error::Broken`].
    pub async fn delete_group(
        &self,
        caller: &Caller,
        id: ResourceId,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<(), Error> {
        let now = to_the_millisecond(now);
        let directory = caller.directory().id;
        let mut backoff = Backoff::new();
        loop {
            let Some(old) = self.read(caller, &GROUP, id).await? else {
                return match self.finish_deletion(caller, id, now).await {
                    // The group is gone, and the sweeper deletes the remaining rows.
                    Err(Error::Busy) => Ok(()),
                    finished => finished,
                };
            };
            precondition.check(old.version)?;
            if let Some(staged) = &old.group.staged {
                if !self.take_over(caller, &old, staged, now).await? {
                    backoff.wait().await?;
                }
                continue;
            }
            let mut change = Change::default();
            let key = Key::resource(directory, GROUP.prefix, id);
            // A group that becomes a member of another one gets no new version, and its deletion needs a note from then on.
            let condition = match old.group.nested {
                0 => Condition::NeverNested(old.version),
                _ => Condition::Group {
                    version: old.version,
                    staged: None,
                },
            };
            change.delete(key, condition, ConditionFailure::Changed);
            move_lookup_items(&mut change, caller, &GROUP, id, Some(&old.resource), None)?;
            change.count(directory, GROUP.prefix, id, -1);
            let mut delta = MembershipDelta::default();
            let large = old.group.members.unwrap_or(0) as usize > self.actions() - OTHER_ACTIONS;
            if large {
                let mut gone = item::from_stored(&old)?;
                let base_url = item::string(caller.base_url());
                gone.insert(item::BASE_URL.to_owned(), base_url);
                change.put(Key::deletion(directory, id), gone);
            } else {
                let Some(members) = self.members_in(caller, &old).await? else {
                    backoff.wait().await?;
                    continue;
                };
                delta.removed = members.as_ref().clone();
                for member in delta.removed.keys() {
                    let key = Key::member(directory, id, *member);
                    change.delete(key, Condition::Present, ConditionFailure::Members);
                }
            }
            let event = Event::deleted(caller, &GROUP, &old, now)?;
            if old.group.nested > 0 {
                // Its own memberships end after this, as those of a user do.
                let (key, note) = Unfinished::of(directory, id).deletion(event.id(), now);
                change.put(key, note);
            }
            for event in event.with_members(caller, &delta) {
                event.add_to(&mut change);
            }
            match settle(change.commit(self).await, &old.resource)? {
                CommitOutcome::Written => {
                    self.known().forget(caller, id);
                    if old.group.nested > 0 {
                        self.end_noted_memberships(caller, &GROUP, &old, BTreeSet::new(), now)
                            .await;
                    }
                    if large {
                        // What fails here is done by the sweeper.
                        let _: Result<(), Error> = self.finish_deletion(caller, id, now).await;
                    }
                    return Ok(());
                }
                CommitOutcome::Again | CommitOutcome::Members => backoff.wait().await?,
            }
        }
    }

    /// Ends the memberships that are left of a deleted group, each with its event.
    pub(crate) async fn finish_deletion(
        &self,
        caller: &Caller,
        id: ResourceId,
        now: Timestamp,
    ) -> Result<(), Error> {
        /// How many transactions are under way at once.
        const SIDE_BY_SIDE: usize = 8;
        let directory = caller.directory().id;
        let key = Key::deletion(directory, id);
        let Some(mut item) = self.item(key.clone()).await? else {
            return Err(Error::NotFound);
        };
        item.insert(key::SK.to_owned(), item::string(id.to_string()));
        let group = item::to_stored(&item)?;
        let deadline = Deadline::new();
        let mut backoff = Backoff::new();
        loop {
            let rows = self.rows(caller, id).await?.rows;
            let chunks: Vec<_> = rows.chunks(self.actions() - 1).collect();
            let mut all = true;
            for chunks in chunks.chunks(SIDE_BY_SIDE) {
                deadline.check()?;
                let ends = chunks.iter().map(|rows| async {
                    let mut change = Change::default();
                    let mut delta = MembershipDelta::default();
                    for (member, _, kind) in *rows {
                        let key = Key::member(directory, id, *member);
                        change.delete(key, Condition::Present, ConditionFailure::Members);
                        delta.removed.insert(*member, kind.clone());
                    }
                    let event = Event::members_only(caller, &group, group.version + 1, now)?;
                    for event in event.with_members(caller, &delta) {
                        event.add_to(&mut change);
                    }
                    match change.commit(self).await {
                        Ok(()) => Ok(true),
                        Err(CommitError::Broken(error)) => Err(error),
                        // Another request is at it as well.
                        Err(_) => Ok(false),
                    }
                });
                let ended = futures_util::future::try_join_all(ends).await?;
                all &= ended.into_iter().all(|ended| ended);
            }
            if all {
                let mut change = Change::default();
                change.remove(key);
                return match change.commit(self).await {
                    Ok(()) => Ok(()),
                    Err(CommitError::Broken(error)) => Err(error),
                    Err(_) => Err(Error::Busy),
                };
            }
            backoff.wait().await?;
        }
    }
}
