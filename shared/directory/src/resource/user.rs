//! Users: create, read, replace, patch, delete.

use futures_util::future::try_join;
use jiff::Timestamp;
use scim::{Object, PatchOp, Resource};

use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::resource_kind::USER;
use crate::model::stored::{Precondition, Stored};
use crate::table::store::Store;

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
        let read = |old: &Resource| caller.types().user.read(body.clone(), Some(old));
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
        let apply = |old: &Resource| patch.apply(&caller.types().user, old, &text);
        self.update(caller, &USER, id, precondition, now, apply)
            .await
    }

    /// Deletes a user and ends its memberships, each announced. Its `userName` is free again.
    ///
    /// The user goes first, on the precondition, in one transaction with a note of what is to follow: a request that is
    /// refused has ended no membership. Then the memberships end to which the index leads. It may lag, and the process
    /// may be interrupted, so the sweeper looks again a minute later (`recovery.rs`).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Changed`] when the precondition fails, [`Error::Busy`], [`Error::Broken`]. In each
    /// case the user is as it was.
    pub async fn delete_user(
        &self,
        caller: &Caller,
        id: ResourceId,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<(), Error> {
        let read = self.read(caller, &USER, id);
        let (user, groups) = try_join(read, self.may_have(caller, id)).await?;
        if user.is_none() {
            self.end_memberships_in(caller, groups, id, None, now)
                .await?;
            return Err(Error::NotFound);
        }
        let user = self
            .delete(caller, &USER, id, precondition, now, user)
            .await?;
        self.end_noted_memberships(caller, &USER, &user, groups, now)
            .await;
        Ok(())
    }
}
