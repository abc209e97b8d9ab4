//! Users: create, read, list, replace, patch, delete.

use std::collections::BTreeSet;

use futures_util::future::try_join;
use jiff::Timestamp;
use scim::{Elements, Object, PatchOp, ResolvedFilter, Resource};
use serde_json::{Value, json};

use crate::directory::Caller;
use crate::error::Error;
use crate::id::ResourceId;
use crate::kind::USER;
use crate::query::{Found, Matching, Query};
use crate::store::{Precondition, Store, Stored};

/// The members of groups up to this size are looked at one by one; those of a larger group while everybody is read.
const ONE_BY_ONE: usize = 2_000;

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

    /// The users that a query asks for, in the order of their ids or in another one.
    ///
    /// # Errors
    ///
    /// [`Error::Scim`] with `tooMany` when it would read more than a request
    /// may, and for a cursor that is none of this list; [`Error::Busy`], [`Error::Broken`].
    pub async fn users(&self, caller: &Caller, query: &Query<'_>) -> Result<Found<Stored>, Error> {
        let matching = self.users_matching(caller, query.filter).await?;
        let part = self.part(caller, &USER, matching, query).await?;
        part.found(caller, &USER, query)
    }

    /// The users that a filter finds.
    pub(crate) async fn users_matching<'q>(
        &self,
        caller: &'q Caller,
        filter: Option<&'q ResolvedFilter<'q>>,
    ) -> Result<Matching<'q>, Error> {
        match filter.filter(|filter| filter.elements("groups") != Elements::None) {
            None => self.matching(caller, &USER, filter).await,
            Some(filter) => self.users_by_groups(caller, filter).await,
        }
    }

    /// The users that a filter finds which says something of their groups.
    async fn users_by_groups<'q>(
        &self,
        caller: &'q Caller,
        filter: &'q ResolvedFilter<'q>,
    ) -> Result<Matching<'q>, Error> {
        let matches = move |user: &Stored, groups: Vec<Value>| {
            let mut computed = Object::new();
            if !groups.is_empty() {
                computed.insert("groups".to_owned(), Value::Array(groups));
            }
            filter.matches(&user.represent(caller, &caller.types().user, computed))
        };
        let directory = caller.directory().id;
        if let Some(ids) = self.look_up(caller, &USER, filter).await? {
            let mut users = self.read_all(directory, &USER, &ids).await?;
            let memberships = self.memberships_of(caller, &ids).await?;
            users.retain(|user| matches(user, memberships.elements(caller, user.id)));
            users.sort_by_key(|user| user.id);
            return Ok(Matching::Read(users));
        }
        let only = BTreeSet::from([filter.demands("groups.value").unwrap_or_default()]);
        if filter.elements("groups") != Elements::With(only.clone()) {
            // It takes everybody's groups to tell.
            let memberships = self.all_memberships(caller).await?;
            return Ok(Matching::Tested(Box::new(move |user| {
                matches(user, memberships.elements(caller, user.id))
            })));
        }
        let group = only.first().and_then(|id| id.parse().ok());
        let ids = match group {
            Some(group) => self.users_in(caller, group).await?,
            None => BTreeSet::new(),
        };
        if filter.is_just("groups.value") {
            // Everybody matches, so only the page has to be read.
            return Ok(Matching::Ids(ids.into_iter().collect()));
        }
        if ids.len() <= ONE_BY_ONE {
            let ids: Vec<ResourceId> = ids.into_iter().collect();
            let mut users = self.read_all(directory, &USER, &ids).await?;
            users.retain(|user| matches(user, vec![json!({"value": group})]));
            users.sort_by_key(|user| user.id);
            return Ok(Matching::Read(users));
        }
        Ok(Matching::Tested(Box::new(move |user| {
            ids.contains(&user.id) && matches(user, vec![json!({"value": group})])
        })))
    }

    /// The users who are members of a group, be it through other groups.
    async fn users_in(
        &self,
        caller: &Caller,
        group: ResourceId,
    ) -> Result<BTreeSet<ResourceId>, Error> {
        let mut users = BTreeSet::new();
        let mut seen = BTreeSet::from([group]);
        let mut next = vec![group];
        while let Some(group) = next.pop() {
            let Some((_, members)) = self.whole(caller, group).await? else {
                continue;
            };
            for (id, member) in members.iter() {
                if !member.group {
                    users.insert(*id);
                } else if seen.insert(*id) {
                    next.push(*id);
                }
            }
        }
        Ok(users)
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

    /// Deletes a user and ends its memberships, each announced. Its `userName`
    /// is free again. A user who was added to a group meanwhile is found by a
    /// second look; the same request again finishes what one that died has left.
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
        let read = self.read(caller, &USER, id);
        let (user, groups) = try_join(read, self.may_have(caller, id)).await?;
        let Some(user) = user else {
            self.end_memberships_in(caller, groups, &USER, id, None, now)
                .await?;
            return Err(Error::NotFound);
        };
        precondition.check(user.version)?;
        self.end_memberships_in(caller, groups, &USER, id, Some(&user), now)
            .await?;
        self.delete(caller, &USER, id, precondition, now, Some(user.clone()))
            .await?;
        self.end_memberships(caller, &USER, &user, now).await
    }
}
