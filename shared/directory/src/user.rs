//! Users: create, read, list, replace, patch, delete.

use jiff::Timestamp;
use scim::{Object, PatchOp, Resource, ResourceType};

use crate::directory::Caller;
use crate::error::Error;
use crate::id::ResourceId;
use crate::kind::USER;
use crate::query::{Found, Query};
use crate::store::{Precondition, Store, Stored};

impl Store {
    /// Creates a user.
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
        self.create(caller, &USER, resource, now).await
    }

    /// The user of that id, read strongly.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn user(&self, caller: &Caller, id: ResourceId) -> Result<Option<Stored>, Error> {
        self.read(caller, &USER, id).await
    }

    /// The users that a query asks for, in the order of their ids.
    ///
    /// # Errors
    ///
    /// [`Error::Scim`] with `tooMany` when a filter that no pointer serves would
    /// read more than a request may; [`Error::Busy`], [`Error::Broken`].
    pub async fn users(&self, caller: &Caller, query: &Query<'_>) -> Result<Found, Error> {
        self.list(caller, &USER, query).await
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
        self.update(caller, &USER, id, precondition, now, read)
            .await
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
        self.update(caller, &USER, id, precondition, now, apply)
            .await
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
        self.delete(caller, &USER, id, precondition, now).await
    }
}
