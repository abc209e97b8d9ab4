//! The users that a query finds.

use std::collections::BTreeSet;

use scim::{BudgetExhausted, Elements, Object, ResolvedFilter};
use serde_json::{Value, json};

use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::resource_kind::USER;
use crate::model::stored::Stored;
use crate::query::effort::Effort;
use crate::query::{Candidates, Found, Query};
use crate::table::store::Store;

/// The members of groups up to this size are looked at one by one; those of a larger group while everybody is read.
const ONE_BY_ONE: usize = 2_000;

/// The units of [`scim::ComparisonBudget`] that it takes to show one group of a user.
const COST_OF_A_GROUP: usize = 32;

impl Store {
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
    ) -> Result<Candidates<'q>, Error> {
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
    ) -> Result<Candidates<'q>, Error> {
        let matches = move |user: &Stored, groups: Vec<Value>| -> Result<bool, BudgetExhausted> {
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
            return Ok(Candidates::Read(users));
        }
        let only = BTreeSet::from([filter.required_equality("groups.value").unwrap_or_default()]);
        if filter.elements("groups") != Elements::With(only.clone()) {
            // It takes everybody's groups to tell.
            let memberships = self.all_memberships(caller).await?;
            return Ok(Candidates::Tested(Box::new(move |user| {
                matches(user, memberships.elements(caller, user.id))
            })));
        }
        let group = only.first().and_then(|id| id.parse().ok());
        let ids = match group {
            Some(group) => self.users_in(caller, group).await?,
            None => BTreeSet::new(),
        };
        if filter.is_exactly("groups.value") {
            // Everybody matches, so only the page has to be read.
            return Ok(Candidates::Ids(ids.into_iter().collect()));
        }
        if ids.len() <= ONE_BY_ONE {
            let ids: Vec<ResourceId> = ids.into_iter().collect();
            let pick = |user: Stored| {
                let matches = matches(&user, vec![json!({"value": group})])?;
                Ok(matches.then_some(user))
            };
            let mut users = self.pick(caller, &USER, &ids, effort, pick).await?;
            users.sort_by_key(|user| user.id);
            return Ok(Candidates::Read(users));
        }
        Ok(Candidates::Tested(Box::new(move |user| {
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
            let Some((_, members)) = self.group_with_members(caller, group).await? else {
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
}
