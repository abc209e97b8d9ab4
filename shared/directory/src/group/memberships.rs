//! Of which groups somebody is a member: `user.groups` (RFC 7643 §4.1.2), and
//! the ends of memberships when somebody is deleted.
//!
//! An index of the member rows leads to the groups, and the groups themselves,
//! read strongly, say which rows count. The index may lag by milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use scim::ScimType;
use serde_json::{Value, json};

use crate::event::{Event, flatten};
use crate::group::members::reference;
use crate::group::write::next_version;
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::{Member, MembershipDelta};
use crate::model::resource_kind::too_many;
use crate::model::resource_kind::{GROUP, ResourceKind, USER};
use crate::model::stored::Stored;
use crate::resource::{CommitOutcome, encode_item, settle};
use crate::table::item;
use crate::table::key::{self, GSI1PK, Key, MEMBERSHIPS, PK, SK};
use crate::table::store::Store;
use crate::table::transaction::{Backoff, Change, Condition, ConditionFailure, with_retry};

/// How many memberships one request reads.
const MAX_ROWS: usize = 200_000;

/// How many it reads of several users who are to be shown. An answer has room for fewer that are whole.
const MAX_SHOWN_ROWS: usize = 50_000;

/// How many memberships of one member are ended at once.
const SIDE_BY_SIDE: usize = 8;

/// A row of the index.
struct Row {
    member: ResourceId,
    group: ResourceId,
    /// The version of the group from which on it counts.
    from: u64,
}

/// The groups of some users.
#[derive(Debug, Default)]
pub struct Memberships {
    direct: BTreeMap<ResourceId, BTreeSet<ResourceId>>,
    /// The groups of which a group is a member.
    above: BTreeMap<ResourceId, BTreeSet<ResourceId>>,
    groups: BTreeMap<ResourceId, Stored>,
}

/// The groups of one user, in the order of their ids.
pub(crate) struct Of<'m> {
    /// Those that have the user as a member.
    pub(crate) direct: Vec<&'m Stored>,
    /// Those that have one of these as a member.
    pub(crate) indirect: Vec<&'m Stored>,
}

impl Memberships {
    /// The groups that have a user as a member, and those that have one of these.
    pub(crate) fn of(&self, user: ResourceId) -> Of<'_> {
        static NONE: BTreeSet<ResourceId> = BTreeSet::new();
        let direct = self.direct.get(&user).unwrap_or(&NONE);
        let mut indirect = BTreeSet::new();
        let mut next: Vec<ResourceId> = direct.iter().copied().collect();
        while let Some(group) = next.pop() {
            for above in self.above.get(&group).into_iter().flatten() {
                if !direct.contains(above) && indirect.insert(*above) {
                    next.push(*above);
                }
            }
        }
        let group = |id: &ResourceId| self.groups.get(id);
        Of {
            direct: direct.iter().filter_map(group).collect(),
            indirect: indirect.iter().filter_map(group).collect(),
        }
    }

    /// The `groups` of a user as SCIM shows them.
    #[must_use]
    pub fn elements(&self, caller: &Caller, user: ResourceId) -> Vec<Value> {
        let of = self.of(user);
        let shown = of.direct.iter().map(|group| (group, "direct"));
        let shown = shown.chain(of.indirect.iter().map(|group| (group, "indirect")));
        let shown = shown.map(|(group, ty)| {
            let mut element = reference(caller, &caller.types().group, group.id);
            if let Some(name) = group.resource.string("displayName") {
                element.insert("display".to_owned(), json!(name));
            }
            element.insert("type".to_owned(), json!(ty));
            Value::Object(element)
        });
        shown.collect()
    }
}

/// 400 `tooMany` for a user whose groups are more than one answer holds, which says how to read them.
#[must_use]
pub fn too_many_groups(user: &str) -> scim::Error {
    scim::Error::too_many(format_args!(
        "The groups of the user \"{user}\" are more than one answer holds. Read the user with excludedAttributes=groups, \
         and the groups in pages: /Groups?filter=members.value eq \"{user}\"&excludedAttributes=members&startIndex=1&count=200."
    ))
}

impl Store {
    /// The groups of users who are to be shown, and of how many of them, from the first on: of one at least, and of as
    /// many as one request may read. Users who stand `together` in the order of ids, as those of a page without filter,
    /// are one range of the index; others are looked up one by one.
    ///
    /// # Errors
    ///
    /// [`Error::Scim`] with `tooMany` when the first user alone has more than that; [`Error::Busy`], [`Error::Broken`].
    pub async fn memberships(
        &self,
        caller: &Caller,
        users: &[ResourceId],
        together: bool,
    ) -> Result<(Memberships, usize), Error> {
        let mut count = users.len();
        loop {
            let some = users.get(..count).unwrap_or(users);
            let most = match some {
                [_] => MAX_ROWS,
                _ => MAX_SHOWN_ROWS,
            };
            let read = async {
                let rows = match (together, some.iter().min(), some.iter().max()) {
                    (true, Some(first), Some(last)) => {
                        self.index(caller, *first, *last, most).await?
                    }
                    _ => self.rows_of_each(caller, some, most).await?,
                };
                self.resolve(caller, rows).await
            };
            match (read.await, some) {
                (Err(Error::Scim(error)), some) if error.scim_type() == Some(ScimType::TooMany) => {
                    match some {
                        [user] => return Err(too_many_groups(&user.to_string()).into()),
                        _ => count = some.len() / 2,
                    }
                }
                (read, some) => return Ok((read?, some.len())),
            }
        }
    }

    /// The groups of all of these users.
    ///
    /// # Errors
    ///
    /// 400 `tooMany` when there are more memberships than one request may read.
    pub(crate) async fn memberships_of(
        &self,
        caller: &Caller,
        users: &[ResourceId],
    ) -> Result<Memberships, Error> {
        let rows = self.rows_of_each(caller, users, MAX_ROWS).await?;
        self.resolve(caller, rows).await
    }

    async fn rows_of_each(
        &self,
        caller: &Caller,
        users: &[ResourceId],
        most: usize,
    ) -> Result<Vec<Row>, Error> {
        let mut read = stream::iter(users.to_vec())
            .map(|user| self.index(caller, user, user, most))
            .buffer_unordered(16);
        let mut rows = vec![];
        while let Some(some) = read.try_next().await? {
            rows.extend(some);
            if rows.len() > most {
                return Err(too_many(&USER));
            }
        }
        Ok(rows)
    }

    /// The groups of everybody.
    ///
    /// # Errors
    ///
    /// 400 `tooMany` when there are more memberships than one request may read.
    pub(crate) async fn all_memberships(&self, caller: &Caller) -> Result<Memberships, Error> {
        let rows = self
            .index(caller, ResourceId::FIRST, ResourceId::LAST, MAX_ROWS)
            .await?;
        self.resolve(caller, rows).await
    }

    /// Keeps the rows that count, and follows the groups that are members of others.
    async fn resolve(&self, caller: &Caller, rows: Vec<Row>) -> Result<Memberships, Error> {
        let mut found = Memberships::default();
        for row in self.effective_rows(caller, rows, &mut found.groups).await? {
            let groups = found.direct.entry(row.member).or_default();
            groups.insert(row.group);
        }
        self.read_ancestors(caller, &mut found).await?;
        Ok(found)
    }

    /// Reads the groups above those that were found, up to the groups that are not members of a group.
    async fn read_ancestors(&self, caller: &Caller, found: &mut Memberships) -> Result<(), Error> {
        loop {
            let next: Vec<ResourceId> = found
                .groups
                .values()
                .filter(|group| group.group.nested > 0 && !found.above.contains_key(&group.id))
                .map(|group| group.id)
                .collect();
            if next.is_empty() {
                return Ok(());
            }
            let rows = next.iter().map(|id| self.index(caller, *id, *id, MAX_ROWS));
            let rows = try_join_all(rows).await?.into_iter().flatten().collect();
            for id in next {
                found.above.insert(id, BTreeSet::new());
            }
            for row in self.effective_rows(caller, rows, &mut found.groups).await? {
                let above = found.above.entry(row.member).or_default();
                above.insert(row.group);
            }
        }
    }

    /// Returns the rows that count in the current versions of their groups. The groups are read and added to `groups`.
    async fn effective_rows(
        &self,
        caller: &Caller,
        rows: Vec<Row>,
        groups: &mut BTreeMap<ResourceId, Stored>,
    ) -> Result<Vec<Row>, Error> {
        let directory = caller.directory().id;
        let ids: BTreeSet<ResourceId> = rows.iter().map(|row| row.group).collect();
        let unread: Vec<ResourceId> = ids
            .into_iter()
            .filter(|id| !groups.contains_key(id))
            .collect();
        let read = self.read_all(directory, &GROUP, &unread).await?;
        // The rows of members that a staged write has removed do not count any more.
        let mut removed = BTreeSet::new();
        for group in &read {
            let Some(staged) = group.group.staged.as_ref().filter(|s| s.removals > 0) else {
                continue;
            };
            let lists = (0..usize::try_from(staged.removals).unwrap_or(0))
                .map(|part| Key::removal(directory, group.id, &staged.by, part));
            for list in self.get_all(lists.collect()).await? {
                let ids = item::parse_ids(item::text(&list, item::REMOVED_MEMBERS)?)?;
                removed.extend(ids.into_iter().map(|member| (group.id, member)));
            }
        }
        groups.extend(read.into_iter().map(|group| (group.id, group)));
        let counts = |row: &Row| {
            groups
                .get(&row.group)
                .is_some_and(|group| row.from <= group.version)
                && !removed.contains(&(row.group, row.member))
        };
        Ok(rows.into_iter().filter(counts).collect())
    }

    /// The rows of members whose ids stand between two, both included.
    ///
    /// # Errors
    ///
    /// 400 `tooMany` when there are more than `most`.
    async fn index(
        &self,
        caller: &Caller,
        first: ResourceId,
        last: ResourceId,
        most: usize,
    ) -> Result<Vec<Row>, Error> {
        let mut rows = vec![];
        let mut next = None;
        loop {
            let request = self
                .client()
                .query()
                .table_name(self.table())
                .index_name(MEMBERSHIPS)
                .key_condition_expression("#gsi1pk = :d AND #sk BETWEEN :first AND :last")
                .expression_attribute_names("#gsi1pk", GSI1PK)
                .expression_attribute_names("#sk", SK)
                .expression_attribute_values(
                    ":d",
                    item::string(key::memberships(caller.directory().id)),
                )
                .expression_attribute_values(":first", item::string(first.to_string()))
                .expression_attribute_values(":last", item::string(last.to_string()))
                .set_exclusive_start_key(next);
            let answer = with_retry(|| request.clone().send()).await?;
            for row in answer.items.unwrap_or_default() {
                let group = key::group_of(item::text(&row, PK)?);
                rows.push(Row {
                    member: item::id(&row, SK)?,
                    group: group.ok_or_else(|| Error::broken("a member row has no group"))?,
                    from: item::integer(&row, item::SINCE_VERSION)?,
                });
            }
            if rows.len() > most {
                return Err(too_many(&USER));
            }
            next = answer.last_evaluated_key;
            if next.is_none() {
                return Ok(rows);
            }
        }
    }

    /// The groups that may have a member, counting or not.
    pub(crate) async fn may_have(
        &self,
        caller: &Caller,
        member: ResourceId,
    ) -> Result<BTreeSet<ResourceId>, Error> {
        let rows = self.index(caller, member, member, MAX_ROWS).await?;
        Ok(rows.into_iter().map(|row| row.group).collect())
    }

    /// Ends the memberships of a resource that was deleted, in the groups that were found before and in those that the
    /// index shows now. What fails here is done by the sweeper: the deletion has noted it.
    pub(crate) async fn end_noted_memberships(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
        member: &Stored,
        groups: BTreeSet<ResourceId>,
        now: Timestamp,
    ) {
        let data = Value::Object(flatten(caller.base_url(), kind.ty(caller), member));
        let ended = async {
            self.end_memberships_in(caller, groups, member.id, Some(&data), now)
                .await?;
            let groups = self.may_have(caller, member.id).await?;
            self.end_memberships_in(caller, groups, member.id, Some(&data), now)
                .await
        };
        let _: Result<(), Error> = ended.await;
    }

    /// Ends the memberships of a resource in these groups, each in a transaction with its announcement. `member` is its
    /// `data` as it was, if that is known.
    pub(crate) async fn end_memberships_in(
        &self,
        caller: &Caller,
        groups: BTreeSet<ResourceId>,
        id: ResourceId,
        member: Option<&Value>,
        now: Timestamp,
    ) -> Result<(), Error> {
        stream::iter(groups)
            .map(|group| self.end_membership(caller, group, id, member, now))
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await
    }

    async fn end_membership(
        &self,
        caller: &Caller,
        group: ResourceId,
        id: ResourceId,
        member: Option<&Value>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let directory = caller.directory().id;
        let mut backoff = Backoff::new();
        let mut last_look = false;
        loop {
            let Some(old) = self.read(caller, &GROUP, group).await? else {
                if self.is_being_created(caller, group, now).await? {
                    backoff.wait().await?;
                } else if last_look {
                    // What is left of a group that is gone is its own deletion's
                    // to announce; what is left of one that never came is nothing.
                    if self.item(Key::deletion(directory, group)).await?.is_none() {
                        self.delete_rows(caller, group, [id].iter()).await?;
                    }
                    return Ok(());
                } else {
                    // It may have come in between.
                    last_look = true;
                }
                continue;
            };
            if let Some(staged) = &old.group.staged {
                if !self.take_over(caller, &old, staged, now).await? {
                    backoff.wait().await?;
                }
                continue;
            }
            let key = Key::member(directory, group, id);
            let Some(row) = self.item(key.clone()).await? else {
                return Ok(());
            };
            let member_of_row = Member {
                group: row.contains_key(item::MEMBER_TYPE),
                display: None,
            };
            let delta = MembershipDelta {
                removed: BTreeMap::from([(id, member_of_row)]),
                ..MembershipDelta::default()
            };
            let new = next_version(&old, old.resource.clone(), &delta, now);
            let mut change = Change::default();
            let condition = Condition::Group {
                version: old.version,
                staged: None,
            };
            let head = Key::resource(directory, GROUP.prefix, group);
            change.set(head, encode_item(&GROUP, &new)?, &[], condition);
            change.delete(key, Condition::Present, ConditionFailure::Members);
            let event = Event::members_only(caller, &new, new.version, new.last_modified)?;
            for event in event.with_members(caller, &delta) {
                (match member {
                    Some(member) => event.about(member),
                    None => event,
                })
                .add_to(&mut change);
            }
            match settle(change.commit(self).await, &new.resource)? {
                CommitOutcome::Written => return Ok(()),
                CommitOutcome::Again | CommitOutcome::Members => backoff.wait().await?,
            }
        }
    }
}
