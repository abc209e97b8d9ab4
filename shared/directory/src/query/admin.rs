//! What the team's own backend reads: lists in parts, each after an id, which
//! stays the place to go on from whatever is created and deleted meanwhile.
//!
//! | list | requests for a part |
//! |---|---|
//! | users or groups | 1 query |
//! | those with a value (`userName`, an e-mail address …) | as the look-up of `plan.rs` |
//! | active or inactive users | queries within a budget: a part may be short, or empty |
//! | members of a group | the group, 1 query, then the members |
//! | groups of a user | as `user.groups` |

use std::collections::HashMap;

use futures_util::future::try_join;
use scim::{Filter, Object, Resource};
use serde_json::json;

use crate::event::flatten;
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::error::Unreadable;
use crate::model::id::ResourceId;
use crate::model::resource_kind::{GROUP, ResourceKind, USER};
use crate::model::stored::Stored;
use crate::query::effort::Effort;
use crate::table::item;
use crate::table::key::{self, SK};
use crate::table::range::Range;
use crate::table::store::Store;

/// The documents that are read for one part, in bytes: each is shown twice, with its values and as it is.
const MAX_PART_BYTES: usize = 1024 * 1024;
/// How many resources are looked at for one part.
const MAX_LOOKED_AT: usize = 2_000;

/// Which part of a list.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What comes after this one.
    pub after: Option<ResourceId>,
    /// How many at most.
    pub limit: usize,
}

/// Which resources of a kind.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'v> {
    /// Those with these values, each an attribute's path and what it must be equal to.
    pub values: Vec<(&'static str, &'v str)>,
    /// Those that are active, or that are not.
    pub active: Option<bool>,
}

/// Part of a list.
#[derive(Debug)]
pub struct Listed<T> {
    /// In the order of their ids.
    pub items: Vec<T>,
    /// The items among them that this version cannot read.
    pub unreadable: Vec<Unreadable>,
    /// After which one the next part begins, if there may be one.
    pub next: Option<ResourceId>,
}

/// A member of a group, or a group of a member, for people who do not know SCIM: the id and the data.
pub type MemberData = (ResourceId, Object);

impl Wanted<'_> {
    fn matches(&self, resource: &Resource) -> bool {
        let active = resource.boolean("active").unwrap_or(true);
        self.active.is_none_or(|wanted| wanted == active)
    }

    /// The values as a filter that finds those who have them.
    fn filter(&self) -> Result<Option<Filter>, Error> {
        let terms = self
            .values
            .iter()
            .map(|(path, value)| format!("{path} eq {}", json!(value)));
        let terms: Vec<String> = terms.collect();
        match terms.is_empty() {
            true => Ok(None),
            false => Ok(Some(Filter::parse(&terms.join(" and "))?)),
        }
    }
}

impl Store {
    /// Part of the users of a directory.
    ///
    /// # Errors
    ///
    /// [`Error::Scim`] with `tooMany` when too many have a value to read all of them; [`Error::Busy`] and [`Error::Broken`].
    pub async fn users_part(
        &self,
        caller: &Caller,
        wanted: &Wanted<'_>,
        part: Part,
    ) -> Result<Listed<Stored>, Error> {
        let Some(filter) = wanted.filter()? else {
            return self.by_id(caller, &USER, wanted, part).await;
        };
        let filter = filter.resolve(&caller.types().user)?;
        let effort = Effort::new();
        let matching = self.users_matching(caller, Some(&filter), &effort).await?;
        let found = self.all(caller, &USER, matching, &effort).await?;
        Ok(cut(found, wanted, part))
    }

    /// Part of the groups of a directory.
    ///
    /// # Errors
    ///
    /// [`Error::Scim`] with `tooMany` when too many have a value to read all of them; [`Error::Busy`] and [`Error::Broken`].
    pub async fn groups_part(
        &self,
        caller: &Caller,
        wanted: &Wanted<'_>,
        part: Part,
    ) -> Result<Listed<Stored>, Error> {
        let Some(filter) = wanted.filter()? else {
            return self.by_id(caller, &GROUP, wanted, part).await;
        };
        let filter = filter.resolve(&caller.types().group)?;
        let effort = Effort::new();
        let matching = self.groups_matching(caller, Some(&filter), &effort).await?;
        let found = self.all(caller, &GROUP, matching, &effort).await?;
        Ok(cut(found, wanted, part))
    }

    async fn by_id(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
        wanted: &Wanted<'_>,
        part: Part,
    ) -> Result<Listed<Stored>, Error> {
        let partition = key::resources(caller.directory().id, kind.prefix);
        let effort = Effort::new();
        let mut begin = part.after;
        let (mut items, mut unreadable, mut bytes, mut seen) = (vec![], vec![], 0, 0);
        loop {
            let most = i32::try_from(part.limit.saturating_add(2)).unwrap_or(i32::MAX);
            let from = begin.map_or("0".to_owned(), |id| id.to_string());
            let (items_read, more) = self.first(&partition, &from, "g", most).await?;
            for item in &items_read {
                let id = item::id(item, SK)?;
                if Some(id) == begin {
                    continue;
                }
                if items.len() + unreadable.len() >= part.limit || seen >= MAX_LOOKED_AT {
                    return Ok(Listed {
                        items,
                        unreadable,
                        next: begin,
                    });
                }
                let stored = match item::to_stored(item) {
                    Ok(stored) => stored,
                    Err(Error::Unreadable(item)) => {
                        seen += 1;
                        begin = Some(id);
                        unreadable.push(item);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                bytes += item::text(item, item::DOCUMENT)?.len();
                let full = bytes > MAX_PART_BYTES && !items.is_empty();
                let late = !effort.goes_on().await && seen > 0;
                if full || late {
                    return Ok(Listed {
                        items,
                        unreadable,
                        next: begin,
                    });
                }
                seen += 1;
                begin = Some(id);
                match wanted.matches(&stored.resource) {
                    true => items.push(stored),
                    false => bytes -= item::text(item, item::DOCUMENT)?.len(),
                }
            }
            if !more {
                return Ok(Listed {
                    items,
                    unreadable,
                    next: None,
                });
            }
        }
    }

    /// Part of the members of a group: what each one is, and what is known of it.
    /// `None` when there is no such group. A part shows the group as it is when
    /// the part is read.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn members_part(
        &self,
        caller: &Caller,
        group: ResourceId,
        part: Part,
    ) -> Result<Option<Listed<MemberData>>, Error> {
        let Some(head) = self.read(caller, &GROUP, group).await? else {
            return Ok(None);
        };
        let directory = caller.directory().id;
        let partition = key::members(directory, group);
        // Those that an operation is just removing have rows that do not count any more.
        let mut removed = vec![];
        if let Some(staged) = head
            .group
            .staged
            .as_ref()
            .filter(|staged| staged.removals > 0)
        {
            let prefix = key::removals(&staged.by);
            let mut lists = Range::between(&partition, &prefix, &format!("{prefix}~"));
            while let Some(lists) = self.more(&mut lists).await? {
                for list in &lists {
                    removed.extend(item::parse_ids(item::text(list, item::REMOVED_MEMBERS)?)?);
                }
            }
            removed.sort_unstable();
        }
        let mut begin = part.after;
        let mut ids: Vec<(ResourceId, bool)> = vec![];
        let next = 'rows: loop {
            let most = i32::try_from(part.limit.saturating_add(2)).unwrap_or(i32::MAX);
            let from = begin.map_or("0".to_owned(), |id| id.to_string());
            let (rows, more) = self.first(&partition, &from, "g", most).await?;
            for row in rows
                .iter()
                .filter(|row| row.contains_key(item::SINCE_VERSION))
            {
                let id = item::id(row, SK)?;
                if Some(id) == begin {
                    continue;
                }
                if ids.len() >= part.limit {
                    break 'rows begin;
                }
                begin = Some(id);
                let from: u64 = item::integer(row, item::SINCE_VERSION)?;
                if from <= head.version && removed.binary_search(&id).is_err() {
                    ids.push((id, row.contains_key(item::MEMBER_TYPE)));
                }
            }
            if !more {
                break None;
            }
        };
        let of = |groups: bool| -> Vec<ResourceId> {
            let own = ids.iter().filter(|(_, group)| *group == groups);
            own.map(|(id, _)| *id).collect()
        };
        let (users, groups) = (of(false), of(true));
        let (users, groups) = try_join(
            self.read_all(directory, &USER, &users),
            self.read_all(directory, &GROUP, &groups),
        )
        .await?;
        let mut data = HashMap::new();
        for (kind, members) in [(&USER, users), (&GROUP, groups)] {
            data.extend(members.into_iter().map(|member| {
                let mut flat = Object::new();
                flat.insert("type".to_owned(), json!((kind.base)().name));
                flat.extend(flatten(caller.base_url(), kind.ty(caller), &member));
                (member.id, flat)
            }));
        }
        // Somebody who was deleted just now is not shown.
        let mut items = vec![];
        let (mut bytes, mut last) = (0, part.after);
        for (id, _) in ids {
            let Some(member) = data.remove(&id) else {
                continue;
            };
            bytes += member.get("raw").map_or(0, |raw| raw.to_string().len());
            if bytes > MAX_PART_BYTES && !items.is_empty() {
                return Ok(Some(Listed {
                    items,
                    unreadable: vec![],
                    next: last,
                }));
            }
            last = Some(id);
            items.push((id, member));
        }
        Ok(Some(Listed {
            items,
            unreadable: vec![],
            next,
        }))
    }

    /// Part of the groups of a user, each with how the user is a member:
    /// `direct`, or `indirect` through a group within the group.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn groups_of(
        &self,
        caller: &Caller,
        user: ResourceId,
        part: Part,
    ) -> Result<Listed<MemberData>, Error> {
        let memberships = self.memberships_of(caller, &[user]).await?;
        let of = memberships.of(user);
        let direct = of.direct.into_iter().map(|group| (group, "direct"));
        let indirect = of.indirect.into_iter().map(|group| (group, "indirect"));
        let mut groups: Vec<(&Stored, &str)> = direct.chain(indirect).collect();
        groups.retain(|(group, _)| part.after.is_none_or(|after| group.id > after));
        groups.sort_by_key(|(group, _)| group.id);
        let more = groups.len() > part.limit;
        groups.truncate(part.limit);
        let next = groups.last().map(|(group, _)| group.id).filter(|_| more);
        let items = groups.into_iter().map(|(group, membership)| {
            let mut flat = flatten(caller.base_url(), GROUP.ty(caller), group);
            flat.insert("membership".to_owned(), json!(membership));
            (group.id, flat)
        });
        Ok(Listed {
            items: items.collect(),
            unreadable: vec![],
            next,
        })
    }
}

/// A part of what is all at hand.
fn cut(mut found: Vec<Stored>, wanted: &Wanted<'_>, part: Part) -> Listed<Stored> {
    found.retain(|stored| {
        wanted.matches(&stored.resource) && part.after.is_none_or(|after| stored.id > after)
    });
    let more = found.len() > part.limit;
    found.truncate(part.limit);
    Listed {
        next: found.last().map(|last| last.id).filter(|_| more),
        items: found,
        unreadable: vec![],
    }
}
