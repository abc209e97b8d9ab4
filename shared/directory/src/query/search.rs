//! Searches over all types at once (RFC 7644 §3.4.2.1, Q2): the users that match, and then the groups.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join;
use scim::{Page, Paging, ScimType, SortKey};

use crate::group::Group;
use crate::model::caller::Caller;
use crate::model::cursor::PagePosition;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::resource_kind::{GROUP, ResourceKind, USER};
use crate::model::stored::Stored;
use crate::query::effort::Effort;
use crate::query::{Found, Part, Query, Span};
use crate::table::store::Store;

/// A resource of any type.
#[derive(Clone, Debug)]
pub enum AnyResource {
    /// A user.
    User(Stored),
    /// A group.
    Group(Group),
}

/// What is asked of each type. Both have the same paging, and one binding of their own list.
#[derive(Clone, Copy)]
pub struct Queries<'a> {
    /// Of users; `None` if the filter leaves none of them.
    pub users: Option<Query<'a>>,
    /// Of groups.
    pub groups: Option<Query<'a>>,
}

impl<'a> Queries<'a> {
    fn of(&self, kind: &ResourceKind) -> Option<Query<'a>> {
        match kind.prefix == USER.prefix {
            true => self.users,
            false => self.groups,
        }
    }
}

/// A page of both types, not yet with the members of its groups.
#[derive(Default)]
struct Mixed {
    total: Option<u64>,
    users: Part,
    groups: Part,
}

impl Store {
    /// The resources of all types that a query asks for, with the members of
    /// groups if `members` is more than 0, as [`Store::groups`] has them.
    ///
    /// # Errors
    ///
    /// Those of [`Store::users`] and [`Store::groups`].
    pub async fn search(
        &self,
        caller: &Caller,
        queries: Queries<'_>,
        members: u64,
    ) -> Result<Found<AnyResource>, Error> {
        let Some(any) = queries.users.or(queries.groups) else {
            return Ok(Found::none());
        };
        let effort = &Effort::new();
        if any.sort.is_some() {
            return self
                .search_sorted(caller, queries, any, members, effort)
                .await;
        }
        let mixed = match any.paging {
            Paging::Index(page) => self.mixed_by_number(caller, queries, *page, effort).await?,
            Paging::Cursor { count: 0, .. } => {
                let none = Page {
                    start_index: 1,
                    count: 0,
                };
                self.mixed_by_number(caller, queries, none, effort).await?
            }
            Paging::Cursor { cursor, count } => {
                self.mixed_by_cursor(caller, queries, cursor.as_deref(), *count, effort)
                    .await?
            }
        };
        let users = mixed.users.found(caller, &USER, &any)?;
        let mut groups = mixed.groups.found(caller, &GROUP, &any)?;
        let room = members_that_fit(&groups.resources, members, users.resources.len());
        groups.resources.truncate(room);
        let groups = self.with_their_members(caller, groups, members).await?;
        let shown = users.resources.into_iter().map(AnyResource::User);
        let shown = shown.chain(groups.resources.into_iter().map(AnyResource::Group));
        Ok(Found {
            total: mixed.total,
            resources: shown.collect(),
            next: users.next.or(groups.next),
            previous: None,
            ends: users.ends.into_iter().chain(groups.ends).collect(),
            backward: false,
        })
    }

    /// The part of one type, nothing if nothing is asked of it.
    async fn part_of(
        &self,
        caller: &Caller,
        kind: &'static ResourceKind,
        query: Option<Query<'_>>,
        paging: &Paging,
        effort: &Effort,
    ) -> Result<Part, Error> {
        let Some(query) = query else {
            return Ok(Part::default());
        };
        let query = Query { paging, ..query };
        let matching = match kind.prefix == USER.prefix {
            true => self.users_matching(caller, query.filter, effort).await?,
            false => self.groups_matching(caller, query.filter, effort).await?,
        };
        self.part(caller, kind, matching, &query, effort).await
    }

    async fn mixed_by_number(
        &self,
        caller: &Caller,
        queries: Queries<'_>,
        page: Page,
        effort: &Effort,
    ) -> Result<Mixed, Error> {
        let users = self
            .part_of(caller, &USER, queries.users, &Paging::Index(page), effort)
            .await?;
        let total = users.total.unwrap_or(0);
        let shown = users.resources.len() as u64;
        // Groups begin where users end, and not where a page of users was cut.
        let ended = page.start_index.saturating_sub(1).saturating_add(shown) >= total;
        let rest = Page {
            start_index: page.start_index.saturating_sub(total).max(1),
            count: match ended {
                true => page.count.saturating_sub(shown),
                false => 0,
            },
        };
        let groups = self
            .part_of(caller, &GROUP, queries.groups, &Paging::Index(rest), effort)
            .await?;
        Ok(Mixed {
            total: Some(total + groups.total.unwrap_or(0)),
            users,
            groups,
        })
    }

    async fn mixed_by_cursor(
        &self,
        caller: &Caller,
        queries: Queries<'_>,
        cursor: Option<&str>,
        count: u64,
        effort: &Effort,
    ) -> Result<Mixed, Error> {
        let from = |cursor: Option<&str>, count| Paging::Cursor {
            cursor: cursor.map(str::to_owned),
            count,
        };
        // A cursor belongs to one of the two lists.
        let in_groups = match (cursor, queries.users) {
            (Some(cursor), Some(users)) => !users.has_cursor(caller, &USER, cursor)?,
            (cursor, users) => cursor.is_some() || users.is_none(),
        };
        if in_groups {
            let paging = from(cursor, count);
            let groups = self
                .part_of(caller, &GROUP, queries.groups, &paging, effort)
                .await?;
            return match queries.groups {
                Some(_) => Ok(Mixed {
                    total: groups.total,
                    groups,
                    ..Mixed::default()
                }),
                None => Err(crate::model::cursor::expired()),
            };
        }
        let paging = from(cursor, count);
        let users = self
            .part_of(caller, &USER, queries.users, &paging, effort)
            .await?;
        let left = count.saturating_sub(users.resources.len() as u64);
        if users.next.is_some() || queries.groups.is_none() {
            let total = users.total.filter(|_| queries.groups.is_none());
            return Ok(Mixed {
                total,
                users,
                ..Mixed::default()
            });
        }
        // All groups are on the pages that follow.
        let later = Part {
            next: Some(PagePosition::After(ResourceId::FIRST)),
            ..Part::default()
        };
        if left == 0 {
            return Ok(Mixed {
                total: None,
                users,
                groups: later,
            });
        }
        let paging = from(None, left);
        let groups = self
            .part_of(caller, &GROUP, queries.groups, &paging, effort)
            .await;
        let groups = match groups {
            // The users left too little of the budget. The next page has one of its own.
            Err(Error::Scim(error)) if error.scim_type() == Some(ScimType::TooMany) => later,
            groups => groups?,
        };
        let total = users.total.zip(groups.total);
        Ok(Mixed {
            total: total.map(|(users, groups)| users + groups),
            users,
            groups,
        })
    }

    /// All that match, in one order of both types.
    async fn search_sorted(
        &self,
        caller: &Caller,
        queries: Queries<'_>,
        any: Query<'_>,
        members: u64,
        effort: &Effort,
    ) -> Result<Found<AnyResource>, Error> {
        let keys = async |kind: &'static ResourceKind| -> Result<Vec<_>, Error> {
            let Some((query, sort)) = queries.of(kind).and_then(|q| Some((q, q.sort?))) else {
                return Ok(vec![]);
            };
            let matching = match kind.prefix == USER.prefix {
                true => self.users_matching(caller, query.filter, effort).await?,
                false => self.groups_matching(caller, query.filter, effort).await?,
            };
            let (keys, _) = self.keys(caller, kind, matching, sort, effort).await?;
            Ok(keys
                .into_iter()
                .map(|(key, id)| (key, id, kind.prefix))
                .collect())
        };
        let (users, groups) = try_join(keys(&USER), keys(&GROUP)).await?;
        let mut all: Vec<(SortKey, ResourceId, &str)> = users.into_iter().chain(groups).collect();
        all.sort_unstable();
        if any.sort.is_some_and(|sort| sort.descending) {
            all.reverse();
        }
        let total = all.len() as u64;
        let span = Span::new(any.paging, any.begins(caller, &USER)?, total);
        let all = span.of(all);
        let of = |prefix: &str| -> Vec<ResourceId> {
            let of = all.iter().filter(|(_, _, of)| *of == prefix);
            of.map(|(_, id, _)| *id).collect()
        };
        let directory = caller.directory().id;
        let of_type = (of(USER.prefix), of(GROUP.prefix));
        let (users, groups) = try_join(
            self.read_all(directory, &USER, &of_type.0),
            self.read_all(directory, &GROUP, &of_type.1),
        )
        .await?;
        let read = users.into_iter().chain(groups);
        let mut read: HashMap<ResourceId, Stored> = read.map(|of| (of.id, of)).collect();
        let is_user: HashSet<ResourceId> = of_type.0.into_iter().collect();
        let part = Part {
            total: Some(total),
            resources: all
                .iter()
                .filter_map(|(_, id, _)| read.remove(id))
                .collect(),
            next: span.next(total),
            previous: span.previous(),
            span: Some(span),
            backward: span.backward,
        };
        // The cursors of a list of both types are those of its users.
        let mut found = part.found(caller, &USER, &any)?;
        let room = members_that_fit(&found.resources, members, 0);
        let mut shown = vec![];
        for stored in found.resources.drain(..).take(room) {
            shown.push(match is_user.contains(&stored.id) {
                true => Some(AnyResource::User(stored)),
                false => {
                    let group = self.with_members(caller, stored, members).await?;
                    group.map(AnyResource::Group)
                }
            });
        }
        Ok(found.replace(shown))
    }
}

/// How many of these may be held with all their members: one at least, unless something is before them.
pub(crate) fn members_that_fit(resources: &[Stored], members: u64, before: usize) -> usize {
    if members == 0 {
        return resources.len();
    }
    let mut left = members;
    let fit = resources.iter().enumerate().take_while(|(n, stored)| {
        let size = stored.group.members.unwrap_or(0);
        let fits = size <= left || *n + before == 0;
        left = left.saturating_sub(size);
        fits
    });
    fit.count()
}
