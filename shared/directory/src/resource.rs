//! Resources of every kind: create, read, change, delete.

pub(crate) mod recovery;
pub(crate) mod user;

use jiff::Timestamp;
use scim::Resource;

use crate::event::Event;
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::resource_kind::ResourceKind;
use crate::model::stored::{GroupState, Precondition, Stored};
use crate::model::time::to_the_millisecond;
use crate::resource::recovery::Unfinished;
use crate::table::item::{self, Item};
use crate::table::key::Key;
use crate::table::lookup::move_lookup_items;
use crate::table::store::Store;
use crate::table::transaction::{Backoff, Change, CommitError, Condition, ConditionFailure};

/// Maximum size of a stored resource, in bytes of JSON. An item holds 400 KB, but an
/// event has the resource up to three times and must fit the 256 KB of EventBridge.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

impl Store {
    /// Creates a resource. No look-up comes first: the conditions on the
    /// look-up items of unique values are the uniqueness check.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        kind: &'static ResourceKind,
        resource: Resource,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let now = to_the_millisecond(now);
        let directory = caller.directory().id;
        // The id is chosen once, so that the resource of an earlier attempt is recognised.
        let new = Stored {
            id: self.new_id(),
            resource,
            version: 1,
            created: now,
            last_modified: now,
            group: GroupState::default(),
        };
        let mut backoff = Backoff::new();
        loop {
            let mut change = Change::default();
            change.create(
                Key::resource(directory, kind.prefix, new.id),
                encode_item(kind, &new)?,
                ConditionFailure::Changed,
            );
            move_lookup_items(&mut change, caller, kind, new.id, None, Some(&new.resource))?;
            change.count(directory, kind.prefix, new.id, 1);
            Event::created(caller, kind, &new, now)?.add_to(&mut change);
            match settle(change.commit(self).await, &new.resource) {
                Ok(CommitOutcome::Written) => return Ok(new),
                Ok(CommitOutcome::Again | CommitOutcome::Members) => {
                    if let Some(there) = self.created(caller, kind, &new).await? {
                        return Ok(there);
                    }
                    backoff.wait().await?;
                }
                // Its own look-up items refuse a repeat of what was created already.
                Err(refused @ Error::Uniqueness { .. }) if self.repeats_ids() => {
                    return self.created(caller, kind, &new).await?.ok_or(refused);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the resource if an earlier attempt of the same request, or the same request before, has created it.
    pub(crate) async fn created(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
        new: &Stored,
    ) -> Result<Option<Stored>, Error> {
        let there = self.read(caller, kind, new.id).await?;
        Ok(there.filter(|there| there.version == 1 && there.resource == new.resource))
    }

    /// Returns the resource of this id, read with strong consistency.
    pub(crate) async fn read(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
        id: ResourceId,
    ) -> Result<Option<Stored>, Error> {
        let key = Key::resource(caller.directory().id, kind.prefix, id);
        let item = self.item(key).await?;
        item.as_ref().map(item::to_stored).transpose()
    }

    /// Reads the resource, calls `decide`, and writes its result. After a conflict with
    /// another write, it begins again. If nothing changes, nothing is written and the
    /// version stays.
    pub(crate) async fn update(
        &self,
        caller: &Caller,
        kind: &'static ResourceKind,
        id: ResourceId,
        precondition: &Precondition,
        now: Timestamp,
        decide: impl Fn(&Resource) -> Result<Resource, scim::Error>,
    ) -> Result<Stored, Error> {
        let key = Key::resource(caller.directory().id, kind.prefix, id);
        let mut backoff = Backoff::new();
        loop {
            let old = self.read(caller, kind, id).await?.ok_or(Error::NotFound)?;
            precondition.check(old.version)?;
            let resource = decide(&old.resource)?;
            let changed = old.resource.changed(&resource);
            if changed.is_empty() {
                return Ok(old);
            }
            let now = to_the_millisecond(now).max(old.last_modified);
            let new = Stored {
                id,
                resource,
                version: old.version + 1,
                created: old.created,
                last_modified: now,
                group: old.group,
            };
            let mut change = Change::default();
            change.replace(key.clone(), encode_item(kind, &new)?, old.version);
            let (before, after) = (Some(&old.resource), Some(&new.resource));
            move_lookup_items(&mut change, caller, kind, id, before, after)?;
            Event::updated(caller, kind, changed, &new, now)?.add_to(&mut change);
            match settle(change.commit(self).await, &new.resource)? {
                CommitOutcome::Written => return Ok(new),
                CommitOutcome::Again | CommitOutcome::Members => backoff.wait().await?,
            }
        }
    }

    /// Deletes a resource, which may have been read already, and returns it. Its unique values are free again, and a note of
    /// its memberships is written ([`Unfinished`]).
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        kind: &'static ResourceKind,
        id: ResourceId,
        precondition: &Precondition,
        now: Timestamp,
        mut read: Option<Stored>,
    ) -> Result<Stored, Error> {
        let directory = caller.directory().id;
        let mut backoff = Backoff::new();
        loop {
            let old = match read.take() {
                Some(old) => old,
                None => self.read(caller, kind, id).await?.ok_or(Error::NotFound)?,
            };
            precondition.check(old.version)?;
            let mut change = Change::default();
            let condition = Condition::Version(old.version);
            let key = Key::resource(directory, kind.prefix, id);
            change.delete(key, condition, ConditionFailure::Changed);
            move_lookup_items(&mut change, caller, kind, id, Some(&old.resource), None)?;
            change.count(directory, kind.prefix, id, -1);
            let event = Event::deleted(caller, kind, &old, to_the_millisecond(now))?;
            // The memberships end after this, and the process may be interrupted before, so a note of them is written as well.
            let (key, note) = Unfinished::of(directory, id).deletion(event.id(), now);
            change.put(key, note);
            event.add_to(&mut change);
            match settle(change.commit(self).await, &old.resource)? {
                CommitOutcome::Written => return Ok(old),
                CommitOutcome::Again | CommitOutcome::Members => backoff.wait().await?,
            }
        }
    }
}

/// The outcome of an attempt to commit a change.
pub(crate) enum CommitOutcome {
    Written,
    Again,
    /// The members have changed since they were read.
    Members,
}

pub(crate) fn settle(
    outcome: Result<(), CommitError>,
    wished: &Resource,
) -> Result<CommitOutcome, Error> {
    match outcome {
        Ok(()) => Ok(CommitOutcome::Written),
        Err(CommitError::ConditionFailure(ConditionFailure::Uniqueness(attribute))) => {
            Err(Error::Uniqueness {
                attribute,
                value: wished.string(attribute).unwrap_or_default().to_owned(),
            })
        }
        Err(
            CommitError::ConditionFailure(ConditionFailure::Changed | ConditionFailure::Repeated)
            | CommitError::Contended,
        ) => Ok(CommitOutcome::Again),
        Err(CommitError::ConditionFailure(ConditionFailure::Members)) => Ok(CommitOutcome::Members),
        Err(CommitError::Broken(error)) => Err(error),
    }
}

pub(crate) fn encode_item(kind: &ResourceKind, stored: &Stored) -> Result<Item, Error> {
    let item = item::from_stored(stored)?;
    let size = item::text(&item, item::DOCUMENT)?.len();
    if size > MAX_DOCUMENT_BYTES {
        return Err(Error::TooLarge(format!(
            "The {} takes {size} bytes; at most {MAX_DOCUMENT_BYTES} are kept.",
            (kind.base)().name
        )));
    }
    Ok(item)
}
