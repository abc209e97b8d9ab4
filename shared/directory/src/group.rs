//! Groups: create, read, list, replace, patch, delete.
//!
//! What a request does to members is decided from the request as far as it
//! goes, so that a change of one member costs the same in a group of ten and of
//! a hundred thousand:
//!
//! 1. A change that one transaction holds is tried at once. Its conditions (the
//!    version of the group, who is a member, who exists) are the check; only
//!    when one does not hold is anything read, and it is decided again.
//! 2. A larger one goes in steps (`staged.rs`), and is all or nothing as well.
//!
//! A group that this process saw last (`table/group_cache.rs`) need not be read first.

pub(crate) mod members;
pub(crate) mod memberships;
pub(crate) mod staged;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::try_join;
use jiff::Timestamp;
use scim::{MemberChange, Object, PatchOp, Resource};
use serde_json::Value;

use crate::event::{Event, MembershipChanges};
use crate::group::members::{FEW, MembershipRequest, RequestedMember, unknown_members, wished};
use crate::group::staged::check_changes;
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::{Member, Members};
use crate::model::resource_kind::{GROUP, USER};
use crate::model::stored::{GroupState, Precondition, Stored};
use crate::model::time::to_the_millisecond;
use crate::resource::recovery::Unfinished;
use crate::resource::{CommitOutcome, encode_item, settle};
use crate::table::batch::Deadline;
use crate::table::group_cache::CachedGroup;
use crate::table::item::{self, Item};
use crate::table::key::{self, Key};
use crate::table::lookup::move_lookup_items;
use crate::table::store::Store;
use crate::table::transaction::{Backoff, Change, CommitError, Condition, ConditionFailure};

/// What a change of a group writes besides members, at most: the group, its event, its count or the count of groups
/// within groups, a note of what is to follow, and two pointers that move.
const OTHER_ACTIONS: usize = 8;
/// How many groups may become members in one request: each is an action of one transaction.
const MAX_ADDED_GROUPS: usize = 90;

/// A group, with or without its members.
#[derive(Clone, Debug)]
pub struct Group {
    /// The group without its members.
    pub stored: Stored,
    /// Its members, if they were read.
    pub members: Option<Arc<Members>>,
}

impl Group {
    /// How many members it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stored.group.members.unwrap_or(0)
    }

    /// The group as SCIM shows it to `caller`, without members if they were not read.
    #[must_use]
    pub fn represent(&self, caller: &Caller) -> Object {
        let mut computed = Object::new();
        if let Some(members) = self.members.as_ref().filter(|members| !members.is_empty()) {
            let elements = members::elements(caller, members);
            computed.insert("members".to_owned(), Value::Array(elements));
        }
        self.stored
            .represent(caller, &caller.types().group, computed)
    }
}

/// What really changes in a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct MembershipDelta {
    pub(crate) added: BTreeMap<ResourceId, Member>,
    /// With whether the member is a group.
    pub(crate) removed: BTreeMap<ResourceId, bool>,
}

impl MembershipDelta {
    fn between(
        old: &Members,
        new: &BTreeMap<ResourceId, RequestedMember>,
        learned: &AttemptState,
    ) -> Self {
        let added = new.iter().filter(|(id, _)| !old.contains_key(*id));
        let removed = old.iter().filter(|(id, _)| !new.contains_key(*id));
        Self {
            added: added.map(|(id, m)| (*id, learned.member(*id, m))).collect(),
            removed: removed.map(|(id, member)| (*id, member.group)).collect(),
        }
    }

    /// What a client names, as if nothing of it were so yet, and as if no group were removed.
    pub(crate) fn named(
        added: &BTreeMap<ResourceId, RequestedMember>,
        removed: &BTreeSet<ResourceId>,
        learned: &AttemptState,
    ) -> Self {
        let added = added.iter().map(|(id, m)| (*id, learned.member(*id, m)));
        Self {
            added: added.collect(),
            removed: removed.iter().map(|id| (*id, false)).collect(),
        }
    }

    /// Of what a client names, that which is so not yet.
    pub(crate) fn of_named(
        rows: &[(ResourceId, Member)],
        added: &BTreeMap<ResourceId, RequestedMember>,
        removed: &BTreeSet<ResourceId>,
        learned: &AttemptState,
    ) -> Self {
        let there: BTreeMap<ResourceId, bool> = rows.iter().map(|(id, m)| (*id, m.group)).collect();
        let added = added.iter().filter(|(id, _)| !there.contains_key(*id));
        let removed = removed.iter().filter_map(|id| Some((*id, *there.get(id)?)));
        Self {
            added: added.map(|(id, m)| (*id, learned.member(*id, m))).collect(),
            removed: removed.collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    fn fits_one_transaction(&self, actions: usize) -> bool {
        OTHER_ACTIONS + 2 * self.added.len() + self.removed.len() <= actions
    }

    pub(crate) fn added_groups(&self) -> impl Iterator<Item = ResourceId> {
        let groups = self.added.iter().filter(|(_, member)| member.group);
        groups.map(|(id, _)| *id)
    }

    pub(crate) fn moved(&self) -> MembershipChanges {
        let mut moved = MembershipChanges::default();
        for (id, member) in &self.added {
            match member.group {
                true => moved.added_groups.insert(*id),
                false => moved.added.insert(*id),
            };
        }
        for (id, group) in &self.removed {
            match group {
                true => moved.removed_groups.insert(*id),
                false => moved.removed.insert(*id),
            };
        }
        moved
    }

    /// The number of members after it.
    pub(crate) fn size_after(&self, old: &Stored) -> u64 {
        let before = old.group.members.unwrap_or(0);
        (before + self.added.len() as u64).saturating_sub(self.removed.len() as u64)
    }

    /// The number of members after it that are groups, if it was known before.
    fn subgroups_after(&self, old: &Stored) -> Option<u64> {
        let removed = self.removed.values().filter(|group| **group).count() as u64;
        let before = match old.group.members {
            Some(0) | None => Some(0),
            Some(_) => old.group.subgroups,
        };
        before.map(|before| (before + self.added_groups().count() as u64).saturating_sub(removed))
    }

    fn apply(&self, members: &Members) -> Members {
        let mut members = members.clone();
        members.retain(|id, _| !self.removed.contains_key(id));
        members.extend(self.added.iter().map(|(id, m)| (*id, m.clone())));
        members
    }
}

/// What earlier attempts of a request found out.
#[derive(Default)]
pub(crate) struct AttemptState {
    /// That what is known of the group is not enough, or old.
    read_first: bool,
    /// That not all who are named are what the first attempt took them for.
    check_members: bool,
    /// Members that are groups though the client did not say so.
    pub(crate) groups: BTreeSet<ResourceId>,
}

impl AttemptState {
    fn member(&self, id: ResourceId, wished: &RequestedMember) -> Member {
        Member {
            group: wished.group || self.groups.contains(&id),
            display: wished.display.clone(),
        }
    }
}

/// A change of a group as a client asks for it.
pub(crate) struct Request<'a> {
    wish: MembershipRequest,
    form: Form<'a>,
}

enum Form<'a> {
    Replace(&'a Object),
    Patch {
        whole: &'a PatchOp,
        /// Without what is about members.
        rest: PatchOp,
    },
}

impl<'a> Request<'a> {
    fn replace(caller: &Caller, body: &'a Object) -> Result<Self, Error> {
        let resource = caller.types().group.read(body.clone(), None)?;
        let (members, _) = MemberChange::of_replacement(&caller.types().group, body, &resource)?;
        Ok(Self {
            wish: MembershipRequest::new(members)?,
            form: Form::Replace(body),
        })
    }

    fn patch(patch: &'a PatchOp) -> Result<Self, Error> {
        let (members, rest) = patch.split_members();
        Ok(Self {
            wish: MembershipRequest::new(members)?,
            form: Form::Patch { whole: patch, rest },
        })
    }

    /// The group afterwards, without its members.
    fn decide(&self, caller: &Caller, old: &Stored) -> Result<Resource, Error> {
        let ty = &caller.types().group;
        let resource = match &self.form {
            Form::Replace(body) => {
                let resource = ty.read((*body).clone(), Some(&old.resource))?;
                resource.split_members()?.0
            }
            Form::Patch { rest, .. } => rest.apply(ty, &old.resource, &old.id.to_string())?,
        };
        GROUP.check_text(&resource)?;
        Ok(resource)
    }

    /// The members afterwards, for a request that depends on who they are.
    fn decide_members(
        &self,
        caller: &Caller,
        old: &Stored,
        members: &Members,
    ) -> Result<BTreeMap<ResourceId, RequestedMember>, Error> {
        match (&self.wish, &self.form) {
            (MembershipRequest::Exactly(wished), _) => Ok(wished.clone()),
            (_, Form::Patch { whole, .. }) => {
                let elements = members::elements(caller, members);
                let group = old.resource.with_elements("members", elements);
                let patched = whole.apply(&caller.types().group, &group, &old.id.to_string())?;
                wished(patched.split_members()?.1)
            }
            (_, Form::Replace(_)) => Ok(BTreeMap::new()),
        }
    }
}

/// How often a group had become a member of a group when it was looked for circles.
pub(crate) struct Nesting(Option<u64>);

impl Nesting {
    /// Counts once more, on condition that nobody else has since.
    pub(crate) fn count(self, change: &mut Change, caller: &Caller) {
        let next = self.0.unwrap_or(0) + 1;
        let condition = self.0.map_or(Condition::Absent, Condition::Version);
        let item = Item::from([(item::VERSION.to_owned(), item::number(next))]);
        change.set(Key::nesting(caller.directory().id), item, &[], condition);
    }
}

/// What became of an attempt.
#[expect(
    clippy::large_enum_variant,
    reason = "it is made once and taken apart at once"
)]
pub(crate) enum Attempt {
    Done(Group),
    /// It is worth deciding again at once.
    Again,
    /// Somebody else is at it.
    Wait,
}

impl Store {
    /// Creates a group with the members that the resource names.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` when a member is no user or group of the directory;
    /// [`Error::Uniqueness`] when the directory wants names to be unique;
    /// [`Error::TooLarge`], [`Error::Scim`], [`Error::Busy`], [`Error::Broken`].
    pub async fn create_group(
        &self,
        caller: &Caller,
        resource: &Resource,
        now: Timestamp,
    ) -> Result<Group, Error> {
        let now = to_the_millisecond(now);
        let directory = caller.directory().id;
        let (resource, elements) = resource.split_members()?;
        let wished = wished(elements)?;
        check_changes(wished.len())?;
        let mut learned = AttemptState::default();
        let mut backoff = Backoff::new();
        loop {
            let step = MembershipDelta::between(&Members::new(), &wished, &learned);
            let new = Stored {
                id: self.new_id(),
                resource: resource.clone(),
                version: 1,
                created: now,
                last_modified: now,
                group: GroupState {
                    members: Some(step.added.len() as u64),
                    subgroups: Some(step.added_groups().count() as u64),
                    ..GroupState::default()
                },
            };
            let mut change = Change::default();
            let key = Key::resource(directory, GROUP.prefix, new.id);
            change.create(key, encode_item(&GROUP, &new)?, ConditionFailure::Changed);
            let none = None;
            move_lookup_items(
                &mut change,
                caller,
                &GROUP,
                new.id,
                none,
                Some(&new.resource),
            )?;
            change.count(directory, GROUP.prefix, new.id, 1);
            let event = Event::created(caller, &GROUP, &new, now)?;
            for event in event.with_members(caller, &step.moved()) {
                event.add_to(&mut change);
            }
            check_added_groups(&step)?;
            let attempt = match step.fits_one_transaction(self.actions()) {
                true => {
                    self.create_at_once(caller, change, &new, &step, &mut learned)
                        .await?
                }
                false => {
                    self.create_in_steps(caller, change, &new, &step, &mut learned, now)
                        .await?
                }
            };
            match attempt {
                CommitOutcome::Written => {
                    let members = Arc::new(step.apply(&Members::new()));
                    let few = members.len() as u64 <= FEW;
                    let seen = CachedGroup {
                        group: new.clone(),
                        members: few.then(|| members.clone()),
                    };
                    self.known().put(caller, seen);
                    return Ok(Group {
                        stored: new,
                        members: Some(members),
                    });
                }
                // What was wrong with a member has been found out.
                CommitOutcome::Members => {}
                CommitOutcome::Again => backoff.wait().await?,
            }
        }
    }

    async fn create_at_once(
        &self,
        caller: &Caller,
        mut change: Change,
        new: &Stored,
        step: &MembershipDelta,
        learned: &mut AttemptState,
    ) -> Result<CommitOutcome, Error> {
        if learned.check_members {
            let groups = self.find(caller, step).await?;
            if !groups.is_empty() {
                learned.groups.extend(groups);
                return Ok(CommitOutcome::Members);
            }
        }
        for (id, member) in &step.added {
            let key = Key::member(caller.directory().id, new.id, *id);
            let row = members::row(caller, member, new.version);
            change.create(key, row, ConditionFailure::Changed);
            add_existence(&mut change, caller, *id, member.group, false);
        }
        match settle(change.commit(self).await, &new.resource)? {
            // It was looked for just now, so it is being deleted.
            CommitOutcome::Members if learned.check_members => Ok(CommitOutcome::Again),
            CommitOutcome::Members => {
                learned.check_members = true;
                Ok(CommitOutcome::Members)
            }
            settled => Ok(settled),
        }
    }

    /// The group of that id, read strongly, with its members if there are at most `members`.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn group(
        &self,
        caller: &Caller,
        id: ResourceId,
        members: u64,
    ) -> Result<Option<Group>, Error> {
        let Some(group) = self.read(caller, &GROUP, id).await? else {
            return Ok(None);
        };
        if group.group.members.unwrap_or(0) > members || members == 0 {
            self.known().put(
                caller,
                CachedGroup {
                    group: group.clone(),
                    members: None,
                },
            );
            return Ok(Some(Group {
                stored: group,
                members: None,
            }));
        }
        let whole = match self.members_in(caller, &group).await? {
            Some(members) => Some((group, members)),
            None => self.whole(caller, id).await?,
        };
        Ok(whole.map(|(stored, members)| Group {
            stored,
            members: Some(members),
        }))
    }

    /// Replaces a group (RFC 7644 §3.5.1). The members stay when the body does
    /// not have them (W6). The answer has the members if there are at most `echo`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Changed`] when the precondition fails, and those of [`Store::create_group`].
    pub async fn replace_group(
        &self,
        caller: &Caller,
        id: ResourceId,
        body: &Object,
        precondition: &Precondition,
        now: Timestamp,
        echo: u64,
    ) -> Result<Group, Error> {
        let request = Request::replace(caller, body)?;
        self.change(caller, id, &request, precondition, now, echo)
            .await
    }

    /// Applies a PATCH to a group, all of it or nothing (RFC 7644 §3.5.2), at
    /// any number of members. The answer has the members if there are at most `echo`.
    ///
    /// # Errors
    ///
    /// Those of [`Store::replace_group`].
    pub async fn patch_group(
        &self,
        caller: &Caller,
        id: ResourceId,
        patch: &PatchOp,
        precondition: &Precondition,
        now: Timestamp,
        echo: u64,
    ) -> Result<Group, Error> {
        let request = Request::patch(patch)?;
        self.change(caller, id, &request, precondition, now, echo)
            .await
    }

    async fn change(
        &self,
        caller: &Caller,
        id: ResourceId,
        request: &Request<'_>,
        precondition: &Precondition,
        now: Timestamp,
        echo: u64,
    ) -> Result<Group, Error> {
        let mut backoff = Backoff::new();
        let mut learned = AttemptState {
            // What is known may be older than the version that the client demands.
            read_first: *precondition != Precondition::None,
            ..AttemptState::default()
        };
        loop {
            let attempt = self
                .attempt(caller, id, request, precondition, now, &mut learned)
                .await?;
            match attempt {
                Attempt::Done(group) => return Ok(self.echoed(caller, group, echo).await),
                Attempt::Again => {}
                Attempt::Wait => backoff.wait().await?,
            }
            learned.read_first = true;
        }
    }

    /// The group with its members if they are few enough, read unless they are known. The change is made: that they
    /// cannot be read now does not undo it.
    async fn echoed(&self, caller: &Caller, group: Group, echo: u64) -> Group {
        if group.size() > echo || echo == 0 {
            return Group {
                members: None,
                ..group
            };
        }
        if group.members.is_some() {
            return group;
        }
        match self.members_in(caller, &group.stored).await {
            Ok(Some(members)) => Group {
                members: Some(members),
                ..group
            },
            // It has moved on since, or is gone.
            Ok(None) => match self.group(caller, group.stored.id, echo).await {
                Ok(Some(later)) => later,
                Ok(None) | Err(_) => group,
            },
            Err(_) => group,
        }
    }

    async fn attempt(
        &self,
        caller: &Caller,
        id: ResourceId,
        request: &Request<'_>,
        precondition: &Precondition,
        now: Timestamp,
        learned: &mut AttemptState,
    ) -> Result<Attempt, Error> {
        let seen = self.known().get(caller, id);
        let seen = seen.filter(|_| !learned.read_first);
        let named = match &request.wish {
            MembershipRequest::Named { added, removed } => Some((added, removed)),
            MembershipRequest::Exactly(_) | MembershipRequest::Depends => None,
        };
        let read = async || {
            let group = self.read(caller, &GROUP, id).await?;
            group.ok_or(Error::NotFound)
        };
        let mut members = None;
        let mut rows = None;
        let (old, fresh) = match (named, seen) {
            (Some((added, removed)), _) if learned.check_members => {
                // The group first and the rows after it, never side by side: the write is conditional on the
                // version that was read, so rows that were read later are those of that version, while rows that
                // were read before it may be of an earlier one.
                let old = read().await?;
                if old.group.staged.is_none() {
                    let ids: BTreeSet<_> = added.keys().chain(removed).copied().collect();
                    rows = Some(self.rows_of(caller, &old, ids.into_iter()).await?);
                }
                (old, true)
            }
            (Some(_), Some(seen)) => {
                members = seen.members;
                (seen.group, false)
            }
            (Some(_), None) => (read().await?, true),
            (None, seen) => {
                let whole = self.read_whole(caller, id, seen).await?;
                let Some((old, all)) = whole.ok_or(Error::NotFound)? else {
                    return Ok(Attempt::Wait);
                };
                members = Some(all);
                (old, true)
            }
        };
        if let Some(staged) = &old.group.staged {
            // Cached groups are never in the middle of something.
            return match self.take_over(caller, &old, staged, now).await? {
                true => Ok(Attempt::Again),
                false => Ok(Attempt::Wait),
            };
        }
        precondition.check(old.version)?;
        let resource = match request.decide(caller, &old) {
            Ok(resource) => resource,
            Err(_) if !fresh => return Ok(Attempt::Again),
            Err(error) => return Err(error),
        };
        let step = match (named, &rows, &members) {
            (Some((added, removed)), Some(rows), _) => {
                MembershipDelta::of_named(rows, added, removed, learned)
            }
            (Some((added, removed)), None, known) => {
                let mut step = MembershipDelta::named(added, removed, learned);
                for (id, group) in &mut step.removed {
                    *group = known
                        .as_ref()
                        .is_some_and(|k| k.get(id).is_some_and(|m| m.group));
                }
                if !step.fits_one_transaction(self.actions()) {
                    return self
                        .in_steps_named(caller, old, resource, (added, removed), learned, now)
                        .await;
                }
                let unsure = match known {
                    Some(known) => {
                        step.added.keys().any(|id| known.contains_key(id))
                            || step.removed.keys().any(|id| !known.contains_key(id))
                    }
                    None => false,
                };
                if unsure {
                    learned.check_members = true;
                    return Ok(Attempt::Again);
                }
                step
            }
            (None, _, Some(members)) => {
                let wished = request.decide_members(caller, &old, members)?;
                MembershipDelta::between(members, &wished, learned)
            }
            (None, _, None) => return Ok(Attempt::Again),
        };
        if step.is_empty() && old.resource.changed(&resource).is_empty() {
            // Nothing is written, so no condition holds what was read together.
            if rows.is_some() {
                let again = read().await?;
                if again.version != old.version || again.group.staged.is_some() {
                    return Ok(Attempt::Wait);
                }
            }
            return Ok(match fresh {
                true => Attempt::Done(Group {
                    stored: old,
                    members,
                }),
                false => Attempt::Again,
            });
        }
        if learned.check_members {
            let groups = self.find(caller, &step).await?;
            if !groups.is_empty() {
                learned.groups.extend(groups);
                return Ok(Attempt::Again);
            }
        }
        if !step.fits_one_transaction(self.actions()) {
            return self
                .in_steps(caller, old, resource, step, learned, now)
                .await;
        }
        let nesting = self.refuse_cycles(caller, &old, &step).await?;
        self.at_once(
            caller, &old, resource, &step, members, nesting, learned, now,
        )
        .await
    }

    /// A group and all its members. `Some(None)`: it has moved on in between.
    async fn read_whole(
        &self,
        caller: &Caller,
        id: ResourceId,
        seen: Option<CachedGroup>,
    ) -> Result<Option<Option<(Stored, Arc<Members>)>>, Error> {
        if let Some(seen) = seen {
            // If the group still is in the version that was known before its
            // members were read, these are the members of that version.
            let read = self.read(caller, &GROUP, id);
            let (group, members) = try_join(read, self.members_in(caller, &seen.group)).await?;
            let Some(group) = group else { return Ok(None) };
            let same = group.version == seen.group.version && group.group.staged.is_none();
            if let Some(members) = members.filter(|_| same) {
                return Ok(Some(Some((group, members))));
            }
        }
        let Some(group) = self.read(caller, &GROUP, id).await? else {
            return Ok(None);
        };
        if group.group.staged.is_some() {
            return Ok(Some(Some((group, Arc::default()))));
        }
        let members = self.members_in(caller, &group).await?;
        Ok(Some(members.map(|members| (group, members))))
    }

    /// Writes a change in one transaction.
    #[expect(
        clippy::too_many_arguments,
        reason = "it is the end of one function that decides all of these"
    )]
    async fn at_once(
        &self,
        caller: &Caller,
        old: &Stored,
        resource: Resource,
        step: &MembershipDelta,
        members: Option<Arc<Members>>,
        nesting: Option<Nesting>,
        learned: &mut AttemptState,
        now: Timestamp,
    ) -> Result<Attempt, Error> {
        let directory = caller.directory().id;
        let new = next_version(old, resource, step, now);
        let mut change = Change::default();
        let condition = Condition::Group {
            version: old.version,
            staged: None,
        };
        let key = Key::resource(directory, GROUP.prefix, old.id);
        change.set(key, encode_item(&GROUP, &new)?, &[], condition);
        if let Some(nesting) = nesting {
            nesting.count(&mut change, caller);
        }
        let (before, after) = (Some(&old.resource), Some(&new.resource));
        move_lookup_items(&mut change, caller, &GROUP, old.id, before, after)?;
        for (id, member) in &step.added {
            let key = Key::member(directory, old.id, *id);
            let row = members::row(caller, member, new.version);
            change.create(key, row, ConditionFailure::Members);
            add_existence(&mut change, caller, *id, member.group, false);
        }
        for (id, group) in &step.removed {
            let key = Key::member(directory, old.id, *id);
            // Who is taken for a user must be one: the event says so.
            let condition = match group {
                true => Condition::Present,
                false => Condition::UserRow,
            };
            change.delete(key, condition, ConditionFailure::Members);
        }
        for event in
            event_of(caller, old, &new, new.last_modified)?.with_members(caller, &step.moved())
        {
            event.add_to(&mut change);
        }
        match settle(change.commit(self).await, &new.resource)? {
            CommitOutcome::Written => {
                let members = members.map(|members| Arc::new(step.apply(&members)));
                let few = members.clone().filter(|m| m.len() as u64 <= FEW);
                let seen = CachedGroup {
                    group: new.clone(),
                    members: few,
                };
                self.known().put(caller, seen);
                Ok(Attempt::Done(Group {
                    stored: new,
                    members,
                }))
            }
            CommitOutcome::Again => Ok(Attempt::Wait),
            CommitOutcome::Members if learned.check_members => Ok(Attempt::Wait),
            CommitOutcome::Members => {
                learned.check_members = true;
                Ok(Attempt::Again)
            }
        }
    }

    /// Which of those who are to be added are groups without having been taken for one.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` that names those who are nobody.
    pub(crate) async fn find(
        &self,
        caller: &Caller,
        step: &MembershipDelta,
    ) -> Result<BTreeSet<ResourceId>, Error> {
        let directory = caller.directory().id;
        let (groups, users): (Vec<_>, Vec<_>) =
            step.added.iter().partition(|(_, member)| member.group);
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

    /// 400 when a group would become a member of itself, be it through others (G6). Nothing is read unless groups are to
    /// become members.
    ///
    /// Where the members lead is read strongly, downwards from the groups that are added. What is answered stands for the
    /// edges that were there before the reading began: the change is conditional on there being no other since, so two changes
    /// that close a circle together cannot both be made, however far they are apart.
    pub(crate) async fn refuse_cycles(
        &self,
        caller: &Caller,
        group: &Stored,
        step: &MembershipDelta,
    ) -> Result<Option<Nesting>, Error> {
        check_added_groups(step)?;
        let mut next: BTreeSet<ResourceId> = step.added_groups().collect();
        if next.is_empty() {
            return Ok(None);
        }
        let directory = caller.directory().id;
        let nesting = self.item(Key::nesting(directory)).await?;
        let nesting = nesting.map(|item| item::integer(&item, item::VERSION));
        let nesting = Nesting(nesting.transpose()?);
        // Each group below with the one that is added above it.
        let mut seen: BTreeMap<ResourceId, ResourceId> = next.iter().map(|id| (*id, *id)).collect();
        while !next.is_empty() {
            if let Some(above) = seen.get(&group.id) {
                let what = format_args!(
                    "the group \"{above}\" cannot be a member: this group is a member of it, or the same"
                );
                return Err(scim::Error::invalid_value("members.value", what).into());
            }
            let ids: Vec<ResourceId> = std::mem::take(&mut next).into_iter().collect();
            let heads = self.read_all(directory, &GROUP, &ids).await?;
            for id in &ids {
                let above = seen.get(id).copied().unwrap_or(*id);
                let Some(head) = heads.iter().find(|head| head.id == *id) else {
                    // A member that was added before may have been deleted since.
                    match above == *id {
                        true => return Err(unknown_members(&[*id])),
                        false => continue,
                    }
                };
                if head.group.subgroups == Some(0) && head.group.staged.is_none() {
                    continue;
                }
                let members = self.whole(caller, *id).await?;
                let members = members.map(|(_, members)| members).unwrap_or_default();
                let groups = members.iter().filter(|(_, member)| member.group);
                for (id, _) in groups {
                    if let Entry::Vacant(new) = seen.entry(*id) {
                        new.insert(above);
                        next.insert(*id);
                    }
                }
            }
        }
        Ok(Some(nesting))
    }

    /// Deletes a group and ends all its memberships. It is gone at once; the
    /// rows of a large one follow, and the same request again goes on with
    /// them if this one dies.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Changed`] when the precondition fails, [`Error::Busy`], [`Error::Broken`].
    pub async fn delete_group(
        &self,
        caller: &Caller,
        id: ResourceId,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<(), Error> {
        let now = to_the_millisecond(now);
        let directory = caller.directory().id;
        let mut backoff = Backoff::new();
        loop {
            let Some(old) = self.read(caller, &GROUP, id).await? else {
                return match self.finish_deletion(caller, id, now).await {
                    // It is gone, and the sweeper does the rest.
                    Err(Error::Busy) => Ok(()),
                    finished => finished,
                };
            };
            precondition.check(old.version)?;
            if let Some(staged) = &old.group.staged {
                if !self.take_over(caller, &old, staged, now).await? {
                    backoff.wait().await?;
                }
                continue;
            }
            let mut change = Change::default();
            let key = Key::resource(directory, GROUP.prefix, id);
            // A group that becomes a member of another one gets no new version, and its deletion needs a note from then on.
            let condition = match old.group.nested {
                0 => Condition::NeverNested(old.version),
                _ => Condition::Group {
                    version: old.version,
                    staged: None,
                },
            };
            change.delete(key, condition, ConditionFailure::Changed);
            move_lookup_items(&mut change, caller, &GROUP, id, Some(&old.resource), None)?;
            change.count(directory, GROUP.prefix, id, -1);
            let mut step = MembershipDelta::default();
            let large = old.group.members.unwrap_or(0) as usize > self.actions() - OTHER_ACTIONS;
            if large {
                let mut gone = item::from_stored(&old)?;
                let base_url = item::string(caller.base_url());
                gone.insert(item::BASE_URL.to_owned(), base_url);
                change.put(Key::deletion(directory, id), gone);
            } else {
                let Some(members) = self.members_in(caller, &old).await? else {
                    backoff.wait().await?;
                    continue;
                };
                step.removed = members.iter().map(|(id, m)| (*id, m.group)).collect();
                for member in step.removed.keys() {
                    let key = Key::member(directory, id, *member);
                    change.delete(key, Condition::Present, ConditionFailure::Members);
                }
            }
            let event = Event::deleted(caller, &GROUP, &old, now)?;
            if old.group.nested > 0 {
                // Its own memberships end after this, as those of a user do.
                let (key, note) = Unfinished::of(directory, id).deletion(event.id(), now);
                change.put(key, note);
            }
            for event in event.with_members(caller, &step.moved()) {
                event.add_to(&mut change);
            }
            match settle(change.commit(self).await, &old.resource)? {
                CommitOutcome::Written => {
                    self.known().forget(caller, id);
                    if old.group.nested > 0 {
                        self.end_noted_memberships(caller, &GROUP, &old, BTreeSet::new(), now)
                            .await;
                    }
                    if large {
                        // What fails here is done by the sweeper.
                        let _: Result<(), Error> = self.finish_deletion(caller, id, now).await;
                    }
                    return Ok(());
                }
                CommitOutcome::Again | CommitOutcome::Members => backoff.wait().await?,
            }
        }
    }

    /// Ends the memberships that are left of a group that is gone, each with its announcement.
    pub(crate) async fn finish_deletion(
        &self,
        caller: &Caller,
        id: ResourceId,
        now: Timestamp,
    ) -> Result<(), Error> {
        /// How many transactions are under way at once.
        const SIDE_BY_SIDE: usize = 8;
        let directory = caller.directory().id;
        let key = Key::deletion(directory, id);
        let Some(mut item) = self.item(key.clone()).await? else {
            return Err(Error::NotFound);
        };
        item.insert(key::SK.to_owned(), item::string(id.to_string()));
        let group = item::to_stored(&item)?;
        let deadline = Deadline::new();
        let mut backoff = Backoff::new();
        loop {
            let rows = self.rows(caller, id).await?.rows;
            let chunks: Vec<_> = rows.chunks(self.actions() - 1).collect();
            let mut all = true;
            for chunks in chunks.chunks(SIDE_BY_SIDE) {
                deadline.check()?;
                let ends = chunks.iter().map(|rows| async {
                    let mut change = Change::default();
                    let mut step = MembershipDelta::default();
                    for (member, _, kind) in *rows {
                        let key = Key::member(directory, id, *member);
                        change.delete(key, Condition::Present, ConditionFailure::Members);
                        step.removed.insert(*member, kind.group);
                    }
                    let event = Event::members_only(caller, &group, group.version + 1, now)?;
                    for event in event.with_members(caller, &step.moved()) {
                        event.add_to(&mut change);
                    }
                    match change.commit(self).await {
                        Ok(()) => Ok(true),
                        Err(CommitError::Broken(error)) => Err(error),
                        // Another request is at it as well.
                        Err(_) => Ok(false),
                    }
                });
                let ended = futures_util::future::try_join_all(ends).await?;
                all &= ended.into_iter().all(|ended| ended);
            }
            if all {
                let mut change = Change::default();
                change.remove(key);
                return match change.commit(self).await {
                    Ok(()) => Ok(()),
                    Err(CommitError::Broken(error)) => Err(error),
                    Err(_) => Err(Error::Busy),
                };
            }
            backoff.wait().await?;
        }
    }
}

/// The group after a change.
pub(crate) fn next_version(
    old: &Stored,
    resource: Resource,
    step: &MembershipDelta,
    now: Timestamp,
) -> Stored {
    Stored {
        id: old.id,
        resource,
        version: old.version + 1,
        created: old.created,
        last_modified: to_the_millisecond(now).max(old.last_modified),
        group: GroupState {
            members: Some(step.size_after(old)),
            nested: old.group.nested,
            subgroups: step.subgroups_after(old),
            staged: None,
        },
    }
}

/// What is said of the group itself: nothing, if only its members changed.
pub(crate) fn event_of(
    caller: &Caller,
    old: &Stored,
    new: &Stored,
    now: Timestamp,
) -> Result<Event, Error> {
    let changed = old.resource.changed(&new.resource);
    if changed.is_empty() {
        Event::members_only(caller, new, new.version, now)
    } else {
        Event::updated(caller, &GROUP, changed, new, now)
    }
}

/// Whoever becomes a member must exist. A group remembers that it became one.
/// Users of a change in steps were looked for before.
pub(crate) fn add_existence(
    change: &mut Change,
    caller: &Caller,
    member: ResourceId,
    group: bool,
    in_steps: bool,
) {
    let directory = caller.directory().id;
    if group {
        let key = Key::resource(directory, GROUP.prefix, member);
        change.add(key, item::TIMES_NESTED, ConditionFailure::Members);
    } else if !in_steps {
        let key = Key::resource(directory, USER.prefix, member);
        change.check(key, ConditionFailure::Members);
    }
}

pub(crate) fn check_added_groups(step: &MembershipDelta) -> Result<(), Error> {
    match step.added_groups().count() > MAX_ADDED_GROUPS {
        false => Ok(()),
        true => Err(Error::TooLarge(format!(
            "At most {MAX_ADDED_GROUPS} groups can become members in one request."
        ))),
    }
}
