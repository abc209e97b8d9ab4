//! The members of a group as they are kept: one row each, and how all rows of a
//! group are read as one state.
//!
//! A row counts from a version of the group on (`sinceVersion`). Whoever reads takes
//! the group first and then the rows, and keeps those that count in the version
//! that was read. Rows that were written since do not count yet, and of rows
//! that were deleted since there is one too few: the group says how many it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scim::{MemberChange, Object, ResourceType};
use serde_json::{Value, json};

use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::{Member, Members};
use crate::model::resource_kind::{GROUP, USER};
use crate::model::stored::Stored;
use crate::table::group_cache::CachedGroup;
use crate::table::item::{self, Item};
use crate::table::key::{self, Key, SK};
use crate::table::range::Range;
use crate::table::store::Store;
use crate::table::transaction::Backoff;

/// What a client may call a member, in bytes.
const MAX_DISPLAY_BYTES: usize = 1_024;

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

/// What a client wishes for the members of a group.
#[derive(Clone, Debug)]
pub(crate) enum MembershipRequest {
    /// These become members and those do not stay members.
    Named {
        added: BTreeMap<ResourceId, RequestedMember>,
        removed: BTreeSet<ResourceId>,
    },
    /// These are the members, and nobody else.
    Exactly(BTreeMap<ResourceId, RequestedMember>),
    /// It depends on who is a member.
    Depends,
}

/// A member as the client describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestedMember {
    /// Whether the client says that it is a group.
    pub(crate) group: bool,
    pub(crate) display: Option<String>,
}

impl MembershipRequest {
    pub(crate) fn new(change: MemberChange) -> Result<Self, Error> {
        Ok(match change {
            MemberChange::Named { added, removed } => Self::Named {
                added: wished(added)?,
                // What is no id is nobody's, and so no member already (X15).
                removed: removed.iter().filter_map(|id| id.parse().ok()).collect(),
            },
            MemberChange::Exactly(members) => Self::Exactly(wished(members)?),
            MemberChange::Depends => Self::Depends,
        })
    }
}

pub(crate) fn wished(
    elements: BTreeMap<String, Object>,
) -> Result<BTreeMap<ResourceId, RequestedMember>, Error> {
    let mut members = BTreeMap::new();
    let mut unknown = vec![];
    for (id, element) in elements {
        let Ok(id) = id.parse() else {
            unknown.push(id);
            continue;
        };
        let text = |name: &str| element.get(name).and_then(Value::as_str);
        let display = text("display").filter(|display| !display.is_empty());
        if display.is_some_and(|display| display.len() > MAX_DISPLAY_BYTES) {
            let limit = format_args!("is longer than {MAX_DISPLAY_BYTES} bytes");
            return Err(scim::Error::invalid_value("members.display", limit).into());
        }
        let group = text("type").is_some_and(|ty| ty.eq_ignore_ascii_case("Group"))
            || text("$ref").is_some_and(|uri| uri.contains("/Groups/"));
        let display = display.map(str::to_owned);
        members.insert(id, RequestedMember { group, display });
    }
    match unknown.is_empty() {
        true => Ok(members),
        false => Err(unknown_members(&unknown)),
    }
}

/// 400 that names those who are nobody of this directory, a few of them (G4).
pub(crate) fn unknown_members(ids: &[impl ToString]) -> Error {
    const NAMED: usize = 5;
    const CHARS: usize = 60;
    let named: Vec<String> = ids
        .iter()
        .take(NAMED)
        .map(|id| {
            format!(
                "\"{}\"",
                id.to_string().chars().take(CHARS).collect::<String>()
            )
        })
        .collect();
    let more = match ids.len() {
        count if count > NAMED => format!(" and {} more", count - NAMED),
        _ => String::new(),
    };
    let what = format_args!(
        "there is no user or group of the id {}{more} in this directory. Nothing was changed. Assign the members first.",
        named.join(", ")
    );
    scim::Error::invalid_value("members.value", what).into()
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
        ids: impl Iterator<Item = ResourceId>,
    ) -> Result<Vec<(ResourceId, Member)>, Error> {
        let directory = caller.directory().id;
        let keys = ids.map(|id| Key::member(directory, group.id, id)).collect();
        let mut rows = vec![];
        for row in self.get_all(keys).await? {
            let (id, from, member) = from_row(&row)?;
            if from <= group.version {
                rows.push((id, member));
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
    pub(crate) async fn whole(
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
}
