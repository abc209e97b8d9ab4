//! The members of a group as they are kept: one row each, and how all rows of a
//! group are read as one state.
//!
//! A row counts from a version of the group on (`sinceVersion`). Whoever reads takes
//! the group first and then the rows, and keeps those that count in the version
//! that was read. Rows that were written since do not count yet, and of rows
//! that were deleted since there is one too few: the group says how many it has.

use std::collections::BTreeSet;
use std::sync::Arc;

use scim::{Object, ResourceType};
use serde_json::{Value, json};

use crate::group::membership::unknown_members;
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::{Member, Members, MembershipDelta};
use crate::model::resource_kind::{GROUP, USER};
use crate::model::stored::Stored;
use crate::table::group_cache::CachedGroup;
use crate::table::item::{self, Item};
use crate::table::key::{self, Key, SK};
use crate::table::range::Range;
use crate::table::store::Store;
use crate::table::transaction::{Backoff, Change, ConditionFailure};

/// The members of groups up to this size are remembered.
pub(crate) const FEW: u64 = 100;

/// The row of a member, without its key.
pub(crate) fn row(caller: &Caller, member: &Member, from: u64) -> Item {
    let mut row = Item::from([
        (item::SINCE_VERSION.to_owned(), item::number(from)),
        (
            key::GSI1PK.to_owned(),
            item::string(key::memberships(caller.directory().id)),
        ),
    ]);
    if member.group {
        row.insert(item::MEMBER_TYPE.to_owned(), item::string("Group"));
    }
    if let Some(display) = &member.display {
        row.insert(item::DISPLAY.to_owned(), item::string(display));
    }
    row
}

fn from_row(row: &Item) -> Result<(ResourceId, u64, Member), Error> {
    let display = row.get(item::DISPLAY).and_then(|value| value.as_s().ok());
    Ok((
        item::id(row, SK)?,
        item::integer(row, item::SINCE_VERSION)?,
        Member {
            group: row.contains_key(item::MEMBER_TYPE),
            display: display.cloned(),
        },
    ))
}

/// The members as SCIM shows them.
pub(crate) fn elements(caller: &Caller, members: &Members) -> Vec<Value> {
    let shown = members.iter().map(|(id, member)| {
        let kind = if member.group { &GROUP } else { &USER };
        let ty = kind.ty(caller);
        let mut element = reference(caller, ty, *id);
        element.insert("type".to_owned(), json!(ty.name));
        if let Some(display) = &member.display {
            element.insert("display".to_owned(), json!(display));
        }
        Value::Object(element)
    });
    shown.collect()
}

/// The `value` and `$ref` of a resource that another one names.
pub(crate) fn reference(caller: &Caller, ty: &ResourceType, id: ResourceId) -> Object {
    let mut element = Object::new();
    element.insert("value".to_owned(), json!(id));
    let location = caller.location(&ty.endpoint, id);
    element.insert("$ref".to_owned(), json!(location));
    element
}

/// All rows of a group, as they were read.
pub(crate) struct Rows {
    pub(crate) rows: Vec<(ResourceId, u64, Member)>,
    /// Who is on the list of each operation that removes.
    removals: Vec<(String, Vec<ResourceId>)>,
}

impl Rows {
    /// The members of `group` in its version; `None` when the group has moved on in between.
    fn of(self, group: &Stored) -> Option<Members> {
        let mut members: Members = self
            .rows
            .into_iter()
            .filter(|(_, from, _)| *from <= group.version)
            .map(|(id, _, member)| (id, member))
            .collect();
        if let Some(staged) = &group.group.staged {
            let prefix = key::removals(&staged.by);
            for (sk, ids) in &self.removals {
                if sk.starts_with(&prefix) {
                    members.retain(|id, _| ids.binary_search(id).is_err());
                }
            }
        }
        (members.len() as u64 == group.group.members.unwrap_or(0)).then_some(members)
    }
}

impl Store {
    /// Every row of a group, read strongly.
    pub(crate) async fn rows(&self, caller: &Caller, group: ResourceId) -> Result<Rows, Error> {
        let pk = key::members(caller.directory().id, group);
        let mut read = Rows {
            rows: vec![],
            removals: vec![],
        };
        let mut range = Range::between(&pk, "0", "~");
        while let Some(rows) = self.more(&mut range).await? {
            for row in &rows {
                let sk = item::text(row, SK)?;
                if row.contains_key(item::SINCE_VERSION) {
                    read.rows.push(from_row(row)?);
                } else if row.contains_key(item::REMOVED_MEMBERS) {
                    let mut ids = item::parse_ids(item::text(row, item::REMOVED_MEMBERS)?)?;
                    ids.sort_unstable();
                    read.removals.push((sk.to_owned(), ids));
                }
            }
        }
        Ok(read)
    }

    /// The rows of some who may be members, read strongly. Rows that count from a later version of the group on than the
    /// one that was read are left out: an operation has begun since, and may be undone.
    pub(crate) async fn rows_of(
        &self,
        caller: &Caller,
        group: &Stored,
        ids: BTreeSet<ResourceId>,
    ) -> Result<Members, Error> {
        let directory = caller.directory().id;
        let keys = ids
            .into_iter()
            .map(|id| Key::member(directory, group.id, id))
            .collect();
        let mut rows = Members::new();
        for row in self.get_all(keys).await? {
            let (id, from, member) = from_row(&row)?;
            if from <= group.version {
                rows.insert(id, member);
            }
        }
        Ok(rows)
    }

    /// The members of a group in the version that was read; `None` when it has moved on since.
    pub(crate) async fn members_in(
        &self,
        caller: &Caller,
        group: &Stored,
    ) -> Result<Option<Arc<Members>>, Error> {
        let members = match group.group.members {
            Some(0) | None => Some(Members::new()),
            Some(_) => self.rows(caller, group.id).await?.of(group),
        };
        let members = members.map(Arc::new);
        if let Some(members) = &members {
            let few = members.len() as u64 <= FEW;
            let seen = CachedGroup {
                group: group.clone(),
                members: few.then(|| members.clone()),
            };
            self.known().put(caller, seen);
        }
        Ok(members)
    }

    /// A group with its members, in one version of both.
    pub(crate) async fn group_with_members(
        &self,
        caller: &Caller,
        id: ResourceId,
    ) -> Result<Option<(Stored, Arc<Members>)>, Error> {
        let mut backoff = Backoff::new();
        let mut last = None;
        loop {
            let Some(group) = self.read(caller, &GROUP, id).await? else {
                return Ok(None);
            };
            if let Some(members) = self.members_in(caller, &group).await? {
                return Ok(Some((group, members)));
            }
            // Between two versions that are read one after the other there is a change that explains it.
            if last == Some((group.version, group.group.staged.clone())) {
                return Err(Error::broken(
                    "a group has another number of members than rows",
                ));
            }
            last = Some((group.version, group.group.staged));
            backoff.wait().await?;
        }
    }

    /// Reads the added members, and returns the ids of the groups that the change takes for users.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` with the ids that are not a user or group of the directory.
    pub(crate) async fn resolve_member_types(
        &self,
        caller: &Caller,
        delta: &MembershipDelta,
    ) -> Result<BTreeSet<ResourceId>, Error> {
        let directory = caller.directory().id;
        let (groups, users): (Vec<_>, Vec<_>) =
            delta.added.iter().partition(|(_, member)| member.group);
        let there = async |prefix: &str, ids: Vec<ResourceId>| -> Result<BTreeSet<_>, Error> {
            let keys = ids
                .iter()
                .map(|id| Key::resource(directory, prefix, *id))
                .collect();
            let items = self.get_all(keys).await?;
            items.iter().map(|item| item::id(item, key::SK)).collect()
        };
        let ids = |of: &[(&ResourceId, &Member)]| of.iter().map(|(id, _)| **id).collect();
        let (users, groups): (Vec<ResourceId>, Vec<ResourceId>) = (ids(&users), ids(&groups));
        let found = there(USER.prefix, users.clone()).await?;
        let mut left: Vec<ResourceId> =
            users.into_iter().filter(|id| !found.contains(id)).collect();
        let asked: Vec<ResourceId> = left.iter().chain(&groups).copied().collect();
        if asked.is_empty() {
            return Ok(BTreeSet::new());
        }
        let found = there(GROUP.prefix, asked.clone()).await?;
        let unknown: Vec<ResourceId> = asked.into_iter().filter(|id| !found.contains(id)).collect();
        if !unknown.is_empty() {
            return Err(unknown_members(&unknown));
        }
        left.retain(|id| found.contains(id));
        Ok(left.into_iter().collect())
    }
}

/// Requires in the transaction that an added member exists. An added group also counts that it became a member.
pub(crate) fn require_exists(
    change: &mut Change,
    caller: &Caller,
    id: ResourceId,
    member: &Member,
) {
    let directory = caller.directory().id;
    if member.group {
        let key = Key::resource(directory, GROUP.prefix, id);
        change.add(key, item::TIMES_NESTED, ConditionFailure::Members);
    } else {
        let key = Key::resource(directory, USER.prefix, id);
        change.check(key, ConditionFailure::Members);
    }
}

/// Requires in the transaction that the added groups exist. A staged write has read the added users after it wrote their
/// rows, so they need no action.
pub(crate) fn require_groups_exist(change: &mut Change, caller: &Caller, delta: &MembershipDelta) {
    for (id, member) in delta.added.iter().filter(|(_, member)| member.group) {
        require_exists(change, caller, *id, member);
    }
}
