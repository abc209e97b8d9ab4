//! Users: create, read, replace, patch, delete.

use std::collections::BTreeSet;

use jiff::Timestamp;
use scim::{Object, PatchOp, Resource, ResourceType, ScimType};

use crate::change::{Backoff, Change, NotCommitted, Refused};
use crate::directory::{Caller, Directory};
use crate::error::Error;
use crate::event::Event;
use crate::id::ResourceId;
use crate::item::{self, Item};
use crate::key::Key;
use crate::store::{Precondition, Store, Stored};

/// The largest user that is kept, in bytes of JSON. An item holds 400 KB, but
/// an event carries the user up to three times and must fit EventBridge's 256 KB.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// The most e-mail addresses of one user. Each is a pointer, and one
/// transaction, which may have to move them all, holds 100 writes.
pub const MAX_EMAILS: usize = 40;

impl Store {
    /// Creates a user. No look-up comes first: the condition on the pointer of
    /// `userName` is the uniqueness check.
    ///
    /// # Errors
    ///
    /// [`Error::Uniqueness`] when the `userName` is taken, in any case;
    /// [`Error::TooLarge`], [`Error::Scim`], [`Error::Busy`], [`Error::Broken`].
    pub async fn create_user(
        &self,
        caller: &Caller,
        resource: Resource,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let now = to_the_millisecond(now);
        let mut backoff = Backoff::new();
        loop {
            let user = Stored {
                id: ResourceId::random(),
                resource: resource.clone(),
                version: 1,
                created: now,
                last_modified: now,
            };
            let mut change = Change::default();
            change.create(
                Key::user(caller.directory().id, user.id),
                item_of(&user)?,
                Refused::Changed,
            );
            move_pointers(
                &mut change,
                caller.directory(),
                user.id,
                None,
                Some(&user.resource),
            )?;
            change.count(Key::user_count(caller.directory().id, user.id), 1);
            change.event(Event::user_created(caller, &user, now)?);
            match settle(change.commit(self).await, &user.resource)? {
                Settled::Written => return Ok(user),
                // The id is taken, which a random id is not, or somebody writes the same items.
                Settled::Again => backoff.wait().await?,
            }
        }
    }

    /// The user of that id, read strongly.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn user(&self, caller: &Caller, id: ResourceId) -> Result<Option<Stored>, Error> {
        let item = self.item(Key::user(caller.directory().id, id)).await?;
        item.as_ref().map(item::to_stored).transpose()
    }

    /// Replaces a user (RFC 7644 §3.5.1). What the body leaves out is cleared,
    /// but for what the table of characteristics says is kept.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Changed`] when the precondition fails, and those of [`Store::create_user`].
    pub async fn replace_user(
        &self,
        caller: &Caller,
        id: ResourceId,
        body: &Object,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let read = |old: &Resource| ResourceType::user().read(body.clone(), Some(old));
        self.update_user(caller, id, precondition, now, read).await
    }

    /// Applies a PATCH to a user, all of it or nothing (RFC 7644 §3.5.2).
    ///
    /// # Errors
    ///
    /// Those of [`Store::replace_user`].
    pub async fn patch_user(
        &self,
        caller: &Caller,
        id: ResourceId,
        patch: &PatchOp,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let text = id.to_string();
        let apply = |old: &Resource| patch.apply(ResourceType::user(), old, &text);
        self.update_user(caller, id, precondition, now, apply).await
    }

    /// Decides on the user as it is and writes what was decided, again from the
    /// beginning when somebody else was faster. Nothing is written, and the
    /// version stays, when the decision changes nothing.
    async fn update_user(
        &self,
        caller: &Caller,
        id: ResourceId,
        precondition: &Precondition,
        now: Timestamp,
        decide: impl Fn(&Resource) -> Result<Resource, scim::Error>,
    ) -> Result<Stored, Error> {
        let mut backoff = Backoff::new();
        loop {
            let old = self.user(caller, id).await?.ok_or(Error::NotFound)?;
            precondition.check(old.version)?;
            let resource = decide(&old.resource)?;
            if old.resource.changed(&resource).is_empty() {
                return Ok(old);
            }
            let now = to_the_millisecond(now).max(old.last_modified);
            let new = Stored {
                id,
                resource,
                version: old.version + 1,
                created: old.created,
                last_modified: now,
            };
            let mut change = Change::default();
            change.replace(
                Key::user(caller.directory().id, id),
                item_of(&new)?,
                old.version,
            );
            move_pointers(
                &mut change,
                caller.directory(),
                id,
                Some(&old.resource),
                Some(&new.resource),
            )?;
            change.event(Event::user_updated(caller, &old.resource, &new, now)?);
            match settle(change.commit(self).await, &new.resource)? {
                Settled::Written => return Ok(new),
                Settled::Again => backoff.wait().await?,
            }
        }
    }

    /// Deletes a user. Its `userName` is free again.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Changed`] when the precondition fails, [`Error::Busy`], [`Error::Broken`].
    pub async fn delete_user(
        &self,
        caller: &Caller,
        id: ResourceId,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        loop {
            let old = self.user(caller, id).await?.ok_or(Error::NotFound)?;
            precondition.check(old.version)?;
            let mut change = Change::default();
            change.delete(Key::user(caller.directory().id, id), old.version);
            move_pointers(
                &mut change,
                caller.directory(),
                id,
                Some(&old.resource),
                None,
            )?;
            change.count(Key::user_count(caller.directory().id, id), -1);
            change.event(Event::user_deleted(caller, &old, to_the_millisecond(now))?);
            match settle(change.commit(self).await, &old.resource)? {
                Settled::Written => return Ok(()),
                Settled::Again => backoff.wait().await?,
            }
        }
    }
}

enum Settled {
    Written,
    Again,
}

fn settle(outcome: Result<(), NotCommitted>, wished: &Resource) -> Result<Settled, Error> {
    match outcome {
        Ok(()) => Ok(Settled::Written),
        Err(NotCommitted::Refused(Refused::Uniqueness(attribute))) => Err(Error::Uniqueness {
            attribute,
            value: wished.string(attribute).unwrap_or_default().to_owned(),
        }),
        Err(NotCommitted::Refused(Refused::Changed) | NotCommitted::Contended) => {
            Ok(Settled::Again)
        }
        Err(NotCommitted::Broken(error)) => Err(error),
    }
}

/// SCIM shows times to the millisecond, so they are kept so as well.
fn to_the_millisecond(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

fn item_of(user: &Stored) -> Result<Item, Error> {
    let size = user.resource.to_stored().len();
    if size > MAX_DOCUMENT_BYTES {
        return Err(Error::TooLarge(format!(
            "The user takes {size} bytes; at most {MAX_DOCUMENT_BYTES} are kept."
        )));
    }
    Ok(item::from_stored(user))
}

/// Writes the pointers that only the new user has, and removes those that only the old one had.
fn move_pointers(
    change: &mut Change,
    directory: &Directory,
    id: ResourceId,
    old: Option<&Resource>,
    new: Option<&Resource>,
) -> Result<(), Error> {
    let before = old
        .map(|old| shared_pointers(directory, id, old))
        .unwrap_or_default();
    let after = new
        .map(|new| shared_pointers(directory, id, new))
        .unwrap_or_default();
    // An externalId and the addresses.
    if after.len() > MAX_EMAILS + 1 {
        return Err(Error::Scim(scim::Error::new(
            400,
            Some(ScimType::InvalidValue),
            format!("emails has more than {MAX_EMAILS} different values."),
        )));
    }
    let owner = || Item::from([(item::OWNER.to_owned(), item::string(id.to_string()))]);
    let locked = |user: Option<&Resource>| {
        user.and_then(|user| user.string("userName"))
            .map(|name| Key::user_name(directory.id, name))
    };
    let (old_name, new_name) = (locked(old), locked(new));
    if old_name != new_name {
        if let Some(key) = new_name {
            change.create(key, owner(), Refused::Uniqueness("userName"));
        }
        if let Some(key) = old_name {
            change.remove(key);
        }
    }
    for key in after.difference(&before) {
        change.put(key.clone(), owner());
    }
    for key in before.difference(&after) {
        change.remove(key.clone());
    }
    Ok(())
}

/// The pointers of the values that several users may have.
fn shared_pointers(directory: &Directory, id: ResourceId, user: &Resource) -> BTreeSet<Key> {
    let external_id = user
        .string("externalId")
        .map(|value| Key::external_id(directory.id, value, id));
    let emails = user
        .elements("emails")
        .filter_map(|email| email.get("value")?.as_str())
        .map(|address| Key::email(directory.id, address, id));
    external_id.into_iter().chain(emails).collect()
}
