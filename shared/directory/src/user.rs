//! Users: create, read, list, replace, patch, delete.

use std::collections::BTreeSet;

use futures_util::future::try_join;
use jiff::Timestamp;
use scim::{Elements, Object, PatchOp, ResolvedFilter, Resource, WorkSpent};
use serde_json::{Value, json};

use crate::directory::Caller;
use crate::effort::Effort;
use crate::error::Error;
use crate::id::ResourceId;
use crate::kind::USER;
use crate::query::{Found, Matching, Query};
use crate::store::{Precondition, Store, Stored};

/// The members of groups up to this size are looked at one by one; those of a larger group while everybody is read.
const ONE_BY_ONE: usize = 2_000;

/// The units of [`scim::Work`] that it takes to show one group of a user.
const COST_OF_A_GROUP: usize = 32;

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
    /// [`Error::Scim`] with `tooMany` when it would read or compare more than a
    /// request may, and for a cursor that is none of this list; [`Error::Busy`], [`Error::Broken`].
    pub async fn users(&self, caller: &Caller, query: &Query<'_>) -> Result<Found<Stored>, Error> {
        let effort = Effort::new();
        let matching = self.users_matching(caller, query.filter, &effort).await?;
        let part = self.part(caller, &USER, matching, query, &effort).await?;
        part.found(caller, &USER, query)
    }

    /// The users that a filter finds.
    pub(crate) async fn users_matching<'q>(
        &self,
        caller: &'q Caller,
        filter: Option<&'q ResolvedFilter<'q>>,
        effort: &'q Effort,
    ) -> Result<Matching<'q>, Error> {
        match filter.filter(|filter| filter.elements("groups") != Elements::None) {
            None => self.matching(caller, &USER, filter, effort).await,
            Some(filter) => self.users_by_groups(caller, filter, effort).await,
        }
    }

    /// The users that a filter finds which says something of their groups.
    async fn users_by_groups<'q>(
        &self,
        caller: &'q Caller,
        filter: &'q ResolvedFilter<'q>,
        effort: &'q Effort,
    ) -> Result<Matching<'q>, Error> {
        let matches = move |user: &Stored, groups: Vec<Value>| -> Result<bool, WorkSpent> {
            effort
                .work()
                .spend(groups.len().saturating_mul(COST_OF_A_GROUP))?;
            let mut computed = Object::new();
            if !groups.is_empty() {
                computed.insert("groups".to_owned(), Value::Array(groups));
            }
            let shown = user.represent(caller, &caller.types().user, computed);
            filter.matches(&shown, effort.work())
        };
        if let Some(ids) = self.look_up(caller, &USER, filter).await? {
            let memberships = self.memberships_of(caller, &ids).await?;
            let pick = |user: Stored| {
                let matches = matches(&user, memberships.elements(caller, user.id))?;
                Ok(matches.then_some(user))
            };
            let mut users = self.pick(caller, &USER, &ids, effort, pick).await?;
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
            let pick = |user: Stored| {
                let matches = matches(&user, vec![json!({"value": group})])?;
                Ok(matches.then_some(user))
            };
            let mut users = self.pick(caller, &USER, &ids, effort, pick).await?;
            users.sort_by_key(|user| user.id);
            return Ok(Matching::Read(users));
        }
        Ok(Matching::Tested(Box::new(move |user| {
            Ok(ids.contains(&user.id) && matches(user, vec![json!({"value": group})])?)
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

    /// Deletes a user and ends its memberships, each announced. Its `userName` is free again.
    ///
    /// The user goes first, on the precondition, in one transaction with a note of what is to follow: a request that is
    /// refused has ended no membership. Then the memberships end to which the index leads. It may lag, and the process
    /// may be interrupted, so the sweeper looks again a minute later (`unfinished.rs`).
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
