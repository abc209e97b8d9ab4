//! PUT and PATCH of a group: load, decide, commit.
//!
//! | phase | does | result |
//! |---|---|---|
//! | [`Store::load`] | takes the group from the cache or reads it, with the members that the request depends on | [`Loaded`] |
//! | [`decide`] | computes the group after the request and the membership changes; no requests | [`Decision`] |
//! | [`Store::commit`] | writes the change in one transaction, or hands it to `staged.rs` | the group |
//!
//! Each phase can end the attempt with an [`Abort`]. [`Store::write_group`] then begins again, and [`AttemptState`] keeps what
//! the attempt has found out.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::try_join;
use jiff::Timestamp;
use scim::{MemberChange, Object, PatchOp, Resource};

use crate::event::Event;
use crate::group::Group;
use crate::group::members::{self, FEW, require_exists};
use crate::group::membership::{MembershipRequest, fits_one_transaction, parse_members};
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::{Members, MembershipDelta};
use crate::model::resource_kind::GROUP;
use crate::model::stored::{GroupState, Precondition, Stored};
use crate::model::time::to_the_millisecond;
use crate::resource::{CommitOutcome, encode_item, settle};
use crate::table::group_cache::CachedGroup;
use crate::table::key::Key;
use crate::table::lookup::move_lookup_items;
use crate::table::store::Store;
use crate::table::transaction::{Backoff, Change, Condition, ConditionFailure};

/// What earlier attempts of a request have found out.
#[derive(Default)]
pub(crate) struct AttemptState {
    /// The cached group is not enough, or out of date.
    pub(crate) read_first: bool,
    /// A condition on the members failed, so their rows and types must be read.
    pub(crate) check_members: bool,
    /// Added members that are groups though the client did not say so.
    pub(crate) groups: BTreeSet<ResourceId>,
}

/// The reason why an attempt ends without a result.
pub(crate) enum Abort {
    /// More is known now: decide again at once.
    Retry,
    /// Another writer is at work on the group: decide again after a pause.
    RetryAfterPause,
    Failed(Error),
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A PUT or PATCH of a group.
pub(crate) struct Request<'a> {
    members: MembershipRequest,
    form: Form<'a>,
}

enum Form<'a> {
    Replace(&'a Object),
    Patch {
        all: &'a PatchOp,
        /// The operations that are not about members.
        rest: PatchOp,
    },
}

impl<'a> Request<'a> {
    fn replace(caller: &Caller, body: &'a Object) -> Result<Self, Error> {
        let resource = caller.types().group.read(body.clone(), None)?;
        let (members, _) = MemberChange::of_replacement(&caller.types().group, body, &resource)?;
        Ok(Self {
            members: MembershipRequest::new(members)?,
            form: Form::Replace(body),
        })
    }

    fn patch(patch: &'a PatchOp) -> Result<Self, Error> {
        let (members, rest) = patch.split_members();
        Ok(Self {
            members: MembershipRequest::new(members)?,
            form: Form::Patch { all: patch, rest },
        })
    }

    /// Returns the members to add and to remove, if the request names them.
    fn named(&self) -> Option<&MembershipDelta> {
        match &self.members {
            MembershipRequest::Named(delta) => Some(delta),
            MembershipRequest::Exactly(_) | MembershipRequest::Depends => None,
        }
    }

    /// Returns the group after the request, without its members.
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

    /// Returns the members after the request, for a request that does not name the change.
    fn decide_members(
        &self,
        caller: &Caller,
        old: &Stored,
        members: &Members,
    ) -> Result<Members, Error> {
        match (&self.members, &self.form) {
            (MembershipRequest::Exactly(members), _) => Ok(members.clone()),
            (_, Form::Patch { all, .. }) => {
                let elements = members::elements(caller, members);
                let group = old.resource.with_elements("members", elements);
                let patched = all.apply(&caller.types().group, &group, &old.id.to_string())?;
                parse_members(patched.split_members()?.1)
            }
            (_, Form::Replace(_)) => Ok(Members::new()),
        }
    }
}

/// The state of a group that a request is decided on.
struct Loaded {
    group: Stored,
    source: Source,
    members: LoadedMembers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The group may be out of date.
    Cache,
    Table,
}

enum LoadedMembers {
    Unread,
    All(Arc<Members>),
    /// The members among those that the request names.
    Named(Members),
}

/// What is to be written for a request.
enum Decision {
    /// Nothing: the request changes nothing.
    Unchanged,
    /// A change of which each membership change is known. `members` are all members of the group before it, if known.
    Exact {
        write: GroupWrite,
        members: Option<Arc<Members>>,
    },
    /// A large change. Which of the named members it really changes is not known yet.
    Named(GroupWrite),
}

/// A decided change of a group.
pub(crate) struct GroupWrite {
    /// The group that the change was decided on, and the condition of the write.
    pub(crate) old: Stored,
    /// The group after the change.
    pub(crate) new: Stored,
    pub(crate) delta: MembershipDelta,
}

impl GroupWrite {
    pub(crate) fn new(
        old: Stored,
        resource: Resource,
        delta: MembershipDelta,
        now: Timestamp,
    ) -> Self {
        let new = next_version(&old, resource, &delta, now);
        Self { old, new, delta }
    }

    /// Returns the same change with other membership changes.
    pub(crate) fn with_delta(self, delta: MembershipDelta, now: Timestamp) -> Self {
        Self::new(self.old, self.new.resource, delta, now)
    }

    /// Returns whether the change leaves the group as it is.
    pub(crate) fn is_empty(&self) -> bool {
        self.delta.is_empty() && self.old.resource.changed(&self.new.resource).is_empty()
    }

    /// Returns the event of the change. It does not describe the group if only members change.
    pub(crate) fn event(&self, caller: &Caller) -> Result<Event, Error> {
        let now = self.new.last_modified;
        let changed = self.old.resource.changed(&self.new.resource);
        if changed.is_empty() {
            Event::members_only(caller, &self.new, self.new.version, now)
        } else {
            Event::updated(caller, &GROUP, changed, &self.new, now)
        }
    }
}

/// Decides a request on the state that was loaded.
fn decide(
    caller: &Caller,
    request: &Request<'_>,
    loaded: &Loaded,
    state: &mut AttemptState,
    actions: usize,
    now: Timestamp,
) -> Result<Decision, Abort> {
    let old = &loaded.group;
    let resource = match request.decide(caller, old) {
        Ok(resource) => resource,
        // The request can be valid for the group as it is now.
        Err(_) if loaded.source == Source::Cache => return Err(Abort::Retry),
        Err(error) => return Err(error.into()),
    };
    let write = |delta| GroupWrite::new(old.clone(), resource, delta, now);
    let (write, members) = match (request.named(), &loaded.members) {
        (Some(named), LoadedMembers::Named(current)) => {
            let mut delta = named.effective(current);
            delta.set_groups(&state.groups);
            (write(delta), None)
        }
        (Some(named), members) => {
            let known = match members {
                LoadedMembers::All(members) => Some(members),
                LoadedMembers::Unread | LoadedMembers::Named(_) => None,
            };
            let mut delta = named.clone();
            delta.set_groups(&state.groups);
            delta.set_removed_types(known.map(|known| &**known));
            if !fits_one_transaction(&delta, actions) {
                return Ok(Decision::Named(write(delta)));
            }
            // The conditions of the transaction would fail.
            if known.is_some_and(|known| !delta.is_exact(known)) {
                state.check_members = true;
                return Err(Abort::Retry);
            }
            (write(delta), known.cloned())
        }
        (None, LoadedMembers::All(members)) => {
            let wanted = request.decide_members(caller, old, members)?;
            let mut delta = MembershipDelta::between(members, &wanted);
            delta.set_groups(&state.groups);
            (write(delta), Some(members.clone()))
        }
        (None, LoadedMembers::Unread | LoadedMembers::Named(_)) => return Err(Abort::Retry),
    };
    Ok(if write.is_empty() {
        Decision::Unchanged
    } else {
        Decision::Exact { write, members }
    })
}

impl Store {
    /// Replaces a group (RFC 7644 §3.5.1). The members stay if the body does not contain `members` (W6). The result contains
    /// the members if there are at most `echo`.
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
        let write = self.write_group(caller, id, &request, precondition, now);
        let group = write.await?;
        Ok(self.echoed(caller, group, echo).await)
    }

    /// Applies a PATCH to a group, all of it or nothing (RFC 7644 §3.5.2), at any number of members. The result contains the
    /// members if there are at most `echo`.
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
        let write = self.write_group(caller, id, &request, precondition, now);
        let group = write.await?;
        Ok(self.echoed(caller, group, echo).await)
    }

    /// Loads, decides and commits a request until an attempt has a result.
    async fn write_group(
        &self,
        caller: &Caller,
        id: ResourceId,
        request: &Request<'_>,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<Group, Error> {
        let mut backoff = Backoff::new();
        let mut state = AttemptState {
            // The cached group can be older than the version that the client demands.
            read_first: *precondition != Precondition::None,
            ..AttemptState::default()
        };
        loop {
            let attempt = async {
                let loaded = self.load(caller, id, request, &state, now).await?;
                precondition.check(loaded.group.version)?;
                let actions = self.actions();
                match decide(caller, request, &loaded, &mut state, actions, now)? {
                    Decision::Unchanged => self.confirm_unchanged(caller, loaded).await,
                    Decision::Exact { write, members } => {
                        self.commit(caller, write, members, &mut state, now).await
                    }
                    Decision::Named(write) => {
                        self.stage_named(caller, write, &mut state, now).await
                    }
                }
            };
            match attempt.await {
                Ok(group) => return Ok(group),
                Err(Abort::Failed(error)) => return Err(error),
                Err(Abort::Retry) => {}
                Err(Abort::RetryAfterPause) => backoff.wait().await?,
            }
            state.read_first = true;
        }
    }

    /// Returns a written group with its members if there are at most `echo`. If they cannot be read, the group is returned
    /// without them, because the change is made.
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
            // The group has changed since, or is deleted.
            Ok(None) => match self.group(caller, group.stored.id, echo).await {
                Ok(Some(later)) => later,
                Ok(None) | Err(_) => group,
            },
            Err(_) => group,
        }
    }

    /// Loads what a request is decided on. Completes or undoes a staged write whose lease is over.
    async fn load(
        &self,
        caller: &Caller,
        id: ResourceId,
        request: &Request<'_>,
        state: &AttemptState,
        now: Timestamp,
    ) -> Result<Loaded, Abort> {
        let cached = self.known().get(caller, id);
        let cached = cached.filter(|_| !state.read_first);
        let loaded = match (request.named(), cached) {
            (Some(named), _) if state.check_members => {
                // The group first and the rows after it, never side by side: the write is conditional on the
                // version that was read, so rows that were read later are those of that version, while rows that
                // were read before it may be of an earlier one.
                let group = self.existing_group(caller, id).await?;
                let members = match group.group.staged {
                    Some(_) => LoadedMembers::Unread,
                    None => LoadedMembers::Named(self.rows_of(caller, &group, named.ids()).await?),
                };
                Loaded {
                    group,
                    source: Source::Table,
                    members,
                }
            }
            (Some(_), Some(cached)) => Loaded {
                group: cached.group,
                source: Source::Cache,
                members: cached
                    .members
                    .map_or(LoadedMembers::Unread, LoadedMembers::All),
            },
            (Some(_), None) => Loaded {
                group: self.existing_group(caller, id).await?,
                source: Source::Table,
                members: LoadedMembers::Unread,
            },
            (None, cached) => self.load_all(caller, id, cached).await?,
        };
        // The cache holds no group with a staged write.
        if let Some(staged) = &loaded.group.group.staged {
            return Err(
                match self.take_over(caller, &loaded.group, staged, now).await? {
                    true => Abort::Retry,
                    false => Abort::RetryAfterPause,
                },
            );
        }
        Ok(loaded)
    }

    async fn existing_group(&self, caller: &Caller, id: ResourceId) -> Result<Stored, Error> {
        let group = self.read(caller, &GROUP, id).await?;
        group.ok_or(Error::NotFound)
    }

    /// Loads a group with all its members. They are not read while a staged write is at work.
    async fn load_all(
        &self,
        caller: &Caller,
        id: ResourceId,
        cached: Option<CachedGroup>,
    ) -> Result<Loaded, Abort> {
        let loaded = |group, members| Loaded {
            group,
            source: Source::Table,
            members,
        };
        if let Some(cached) = cached {
            // If the group still has the version that it had before its members were read, these are the members of that
            // version.
            let read = self.existing_group(caller, id);
            let (group, members) = try_join(read, self.members_in(caller, &cached.group)).await?;
            let same = group.version == cached.group.version && group.group.staged.is_none();
            if let Some(members) = members.filter(|_| same) {
                return Ok(loaded(group, LoadedMembers::All(members)));
            }
        }
        let group = self.existing_group(caller, id).await?;
        if group.group.staged.is_some() {
            return Ok(loaded(group, LoadedMembers::Unread));
        }
        match self.members_in(caller, &group).await? {
            Some(members) => Ok(loaded(group, LoadedMembers::All(members))),
            // The group has changed in between.
            None => Err(Abort::RetryAfterPause),
        }
    }

    /// Returns the group of a request that changes nothing. No write has a condition here, so the group is read where its
    /// state and that of its members do not come from one version for certain.
    async fn confirm_unchanged(&self, caller: &Caller, loaded: Loaded) -> Result<Group, Abort> {
        let members = match (loaded.source, loaded.members) {
            (Source::Cache, _) => return Err(Abort::Retry),
            (Source::Table, LoadedMembers::Named(_)) => {
                let again = self.existing_group(caller, loaded.group.id).await?;
                if again.version != loaded.group.version || again.group.staged.is_some() {
                    return Err(Abort::RetryAfterPause);
                }
                None
            }
            (Source::Table, LoadedMembers::All(members)) => Some(members),
            (Source::Table, LoadedMembers::Unread) => None,
        };
        Ok(Group {
            stored: loaded.group,
            members,
        })
    }

    /// Writes an exact change: in one transaction if it fits, staged if not.
    async fn commit(
        &self,
        caller: &Caller,
        write: GroupWrite,
        members: Option<Arc<Members>>,
        state: &mut AttemptState,
        now: Timestamp,
    ) -> Result<Group, Abort> {
        if state.check_members {
            let groups = self.resolve_member_types(caller, &write.delta).await?;
            if !groups.is_empty() {
                state.groups.extend(groups);
                return Err(Abort::Retry);
            }
        }
        if !fits_one_transaction(&write.delta, self.actions()) {
            return self.stage(caller, write, state, now).await;
        }
        let change = self.transaction(caller, &write).await?;
        match settle(change.commit(self).await, &write.new.resource)? {
            CommitOutcome::Written => {
                let members = members.map(|members| Arc::new(write.delta.apply(&members)));
                let few = members.clone().filter(|m| m.len() as u64 <= FEW);
                let seen = CachedGroup {
                    group: write.new.clone(),
                    members: few,
                };
                self.known().put(caller, seen);
                Ok(Group {
                    stored: write.new,
                    members,
                })
            }
            CommitOutcome::Again => Err(Abort::RetryAfterPause),
            CommitOutcome::Members if state.check_members => Err(Abort::RetryAfterPause),
            CommitOutcome::Members => {
                state.check_members = true;
                Err(Abort::Retry)
            }
        }
    }

    /// Returns the one transaction of a small change.
    async fn transaction(&self, caller: &Caller, write: &GroupWrite) -> Result<Change, Error> {
        let GroupWrite { old, new, delta } = write;
        let directory = caller.directory().id;
        let nesting = self.refuse_cycles(caller, old, delta).await?;
        let mut change = Change::default();
        let condition = Condition::Group {
            version: old.version,
            staged: None,
        };
        let key = Key::resource(directory, GROUP.prefix, old.id);
        change.set(key, encode_item(&GROUP, new)?, &[], condition);
        if let Some(nesting) = nesting {
            nesting.count(&mut change, caller);
        }
        let (before, after) = (Some(&old.resource), Some(&new.resource));
        move_lookup_items(&mut change, caller, &GROUP, old.id, before, after)?;
        for (id, member) in &delta.added {
            let key = Key::member(directory, old.id, *id);
            let row = members::row(caller, member, new.version);
            change.create(key, row, ConditionFailure::Members);
            require_exists(&mut change, caller, *id, member);
        }
        for (id, member) in &delta.removed {
            let key = Key::member(directory, old.id, *id);
            // The event states the type of the member, so the row must have it.
            let condition = if member.group {
                Condition::Present
            } else {
                Condition::UserRow
            };
            change.delete(key, condition, ConditionFailure::Members);
        }
        for event in write.event(caller)?.with_members(caller, delta) {
            event.add_to(&mut change);
        }
        Ok(change)
    }
}

/// Returns the group after a change.
pub(crate) fn next_version(
    old: &Stored,
    resource: Resource,
    delta: &MembershipDelta,
    now: Timestamp,
) -> Stored {
    Stored {
        id: old.id,
        resource,
        version: old.version + 1,
        created: old.created,
        last_modified: to_the_millisecond(now).max(old.last_modified),
        group: GroupState {
            members: Some(delta.size_after(old)),
            nested: old.group.nested,
            subgroups: delta.subgroups_after(old),
            staged: None,
        },
    }
}
