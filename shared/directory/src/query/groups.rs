//! Lists and look-ups of groups, which may say something of members.
//!
//! | filter | way | requests |
//! |---|---|---|
//! | none, or without members | as users (`users.rs`) | as users |
//! | `members.value eq` alone | the index, then the groups and the rows themselves | 3 |
//! | `id eq`, `displayName eq` … `and members.value eq` | the group, then the row | 2 to 3 |
//! | anything else of members | the groups that the rest finds, with all members | within a budget |

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scim::{Elements, Object, ResolvedFilter};
use serde_json::Value;

use crate::group::Group;
use crate::group::members;
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::{Member, Members};
use crate::model::resource_kind::GROUP;
use crate::model::resource_kind::too_many;
use crate::model::stored::Stored;
use crate::query::effort::Effort;
use crate::query::search::members_that_fit;
use crate::query::{Candidates, Found, Query};
use crate::table::item;
use crate::table::key::{self, Key};
use crate::table::store::Store;

/// The most members that a filter may look at which does not name them.
const MAX_SCANNED_MEMBERS: u64 = 100_000;

/// How many groups are read at once.
const SIDE_BY_SIDE: usize = 16;

impl Store {
    /// The groups that a query asks for, in the order of their ids, with their
    /// members if `members` is more than 0: the page then ends before the group
    /// with which it would have more members than that, so that no more are held.
    ///
    /// # Errors
    ///
    /// [`Error::Scim`] with `tooMany` when a filter would read or compare more
    /// than a request may; [`Error::Busy`], [`Error::Broken`].
    pub async fn groups(
        &self,
        caller: &Caller,
        query: &Query<'_>,
        members: u64,
    ) -> Result<Found<Group>, Error> {
        let effort = Effort::new();
        let matching = self.groups_matching(caller, query.filter, &effort).await?;
        let part = self.part(caller, &GROUP, matching, query, &effort).await?;
        let mut found = part.found(caller, &GROUP, query)?;
        let room = members_that_fit(&found.resources, members, 0);
        found.resources.truncate(room);
        self.with_their_members(caller, found, members).await
    }

    /// The groups that a filter finds.
    pub(crate) async fn groups_matching<'q>(
        &self,
        caller: &'q Caller,
        filter: Option<&'q ResolvedFilter<'q>>,
        effort: &'q Effort,
    ) -> Result<Candidates<'q>, Error> {
        match filter.filter(|filter| filter.elements("members") != Elements::None) {
            None => self.matching(caller, &GROUP, filter, effort).await,
            Some(filter) => self
                .groups_by_members(caller, filter, effort)
                .await
                .map(Candidates::Read),
        }
    }

    /// Each of the groups that were found as [`Store::with_members`] has it.
    pub(crate) async fn with_their_members(
        &self,
        caller: &Caller,
        mut found: Found<Stored>,
        members: u64,
    ) -> Result<Found<Group>, Error> {
        let groups = std::mem::take(&mut found.resources);
        let groups: Vec<Option<Group>> = stream::iter(groups)
            .map(|stored| self.with_members(caller, stored, members))
            .buffered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        // A group that was deleted just now is not shown.
        Ok(found.replace(groups))
    }

    /// A group with its members if these are at most so many, and without if that is 0.
    pub(crate) async fn with_members(
        &self,
        caller: &Caller,
        stored: Stored,
        most: u64,
    ) -> Result<Option<Group>, Error> {
        if most == 0 || stored.group.members.unwrap_or(0) > most {
            // Too large by itself: the caller says what to do.
            return Ok(Some(Group {
                stored,
                members: None,
            }));
        }
        match self.members_in(caller, &stored).await? {
            Some(members) => Ok(Some(Group {
                stored,
                members: Some(members),
            })),
            None => self.group(caller, stored.id, most).await,
        }
    }

    /// All groups that a filter finds which says something of members, in the order of their ids.
    async fn groups_by_members(
        &self,
        caller: &Caller,
        filter: &ResolvedFilter<'_>,
        effort: &Effort,
    ) -> Result<Vec<Stored>, Error> {
        let ids = match self.look_up(caller, &GROUP, filter).await? {
            Some(ids) => Some(ids),
            None => match filter.required_equality("members.value").map(str::parse) {
                Some(Ok(member)) => {
                    let groups = self.may_have(caller, member).await?;
                    Some(groups.into_iter().collect())
                }
                Some(Err(_)) => Some(vec![]),
                None => None,
            },
        };
        let mut groups = match ids {
            Some(ids) => {
                self.pick(caller, &GROUP, &ids, effort, |group| Ok(Some(group)))
                    .await?
            }
            None => {
                self.scan(caller, &GROUP, effort, |group| Ok(Some(group.clone())))
                    .await?
            }
        };
        groups.sort_by_key(|group| group.id);
        let members = match filter.elements("members") {
            Elements::With(values) => {
                let asked: Vec<ResourceId> =
                    values.iter().filter_map(|id| id.parse().ok()).collect();
                self.some_members(caller, &groups, &asked).await?
            }
            _ => self.all_members(caller, &groups).await?,
        };
        let none = Members::new();
        let matches = |group: &Stored| {
            let members = members.get(&group.id).map_or(&none, |members| members);
            let mut computed = Object::new();
            if !members.is_empty() {
                let elements = members::elements(caller, members);
                computed.insert("members".to_owned(), Value::Array(elements));
            }
            let shown = group.represent(caller, &caller.types().group, computed);
            filter.matches(&shown, effort.work())
        };
        effort.passing(&GROUP, groups, matches).await
    }

    /// Which of those who are asked for are members of which groups, read strongly. The groups are in the order of their ids.
    async fn some_members(
        &self,
        caller: &Caller,
        groups: &[Stored],
        asked: &[ResourceId],
    ) -> Result<BTreeMap<ResourceId, Arc<Members>>, Error> {
        let directory = caller.directory().id;
        if (groups.len() as u64).saturating_mul(asked.len() as u64) > MAX_SCANNED_MEMBERS {
            return Err(too_many(&GROUP));
        }
        let keys = groups
            .iter()
            .flat_map(|group| asked.iter().map(|id| Key::member(directory, group.id, *id)));
        let mut found: BTreeMap<ResourceId, Members> = BTreeMap::new();
        for row in self.get_all(keys.collect()).await? {
            let group = key::group_of(item::text(&row, key::PK)?);
            let place = groups.binary_search_by_key(&group, |known| Some(known.id));
            let Some(group) = place.ok().and_then(|place| groups.get(place)) else {
                continue;
            };
            let from: u64 = item::integer(&row, item::SINCE_VERSION)?;
            if from > group.version {
                continue;
            }
            let member = Member {
                group: row.contains_key(item::MEMBER_TYPE),
                display: None,
            };
            let members = found.entry(group.id).or_default();
            members.insert(item::id(&row, key::SK)?, member);
        }
        // While an operation removes members, the whole group tells who is left.
        for group in groups.iter().filter(|group| group.group.staged.is_some()) {
            if let Some((_, members)) = self.group_with_members(caller, group.id).await? {
                found.insert(group.id, Members::clone(&members));
            }
        }
        Ok(found
            .into_iter()
            .map(|(id, members)| (id, Arc::new(members)))
            .collect())
    }

    async fn all_members(
        &self,
        caller: &Caller,
        groups: &[Stored],
    ) -> Result<BTreeMap<ResourceId, Arc<Members>>, Error> {
        let sizes = groups.iter().map(|group| group.group.members.unwrap_or(0));
        if sizes.sum::<u64>() > MAX_SCANNED_MEMBERS {
            return Err(too_many(&GROUP));
        }
        let read = stream::iter(groups.to_vec())
            .map(|group| async move {
                let members = match self.members_in(caller, &group).await? {
                    Some(members) => Some(members),
                    None => self
                        .group_with_members(caller, group.id)
                        .await?
                        .map(|(_, all)| all),
                };
                Ok::<_, Error>((group.id, members.unwrap_or_default()))
            })
            .buffer_unordered(SIDE_BY_SIDE);
        read.try_collect().await
    }
}
