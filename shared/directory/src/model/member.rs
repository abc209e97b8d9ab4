//! The members of a group, and a change of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::ResourceId;
use crate::model::stored::Stored;

/// The members of a group, by their ids.
pub type Members = BTreeMap<ResourceId, Member>;

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Whether the member is a group.
    pub group: bool,
    /// What the client called the member.
    pub display: Option<String>,
}

/// The members that a change of a group adds and removes.
#[derive(Clone, Debug, Default)]
pub(crate) struct MembershipDelta {
    pub(crate) added: Members,
    pub(crate) removed: Members,
}

impl MembershipDelta {
    /// Returns the change from the members `old` to the members `new`.
    pub(crate) fn between(old: &Members, new: &Members) -> Self {
        Self {
            added: difference(new, old),
            removed: difference(old, new),
        }
    }

    /// Returns the part of this change that is not so yet. `current` contains the members among the ids that this change
    /// names; their types replace the types that this change assumes for removed members.
    pub(crate) fn effective(&self, current: &Members) -> Self {
        let removed = current
            .iter()
            .filter(|(id, _)| self.removed.contains_key(*id));
        Self {
            added: difference(&self.added, current),
            removed: removed.map(|(id, member)| (*id, member.clone())).collect(),
        }
    }

    /// Gives the added members with these ids the type `Group`.
    pub(crate) fn set_groups(&mut self, groups: &BTreeSet<ResourceId>) {
        for id in groups {
            if let Some(member) = self.added.get_mut(id) {
                member.group = true;
            }
        }
    }

    /// Gives removed members the type that they have in `members`. A member that is not there counts as a user.
    pub(crate) fn set_removed_types(&mut self, members: Option<&Members>) {
        for (id, member) in &mut self.removed {
            let known = members.and_then(|members| members.get(id));
            member.group = known.is_some_and(|known| known.group);
        }
    }

    /// Returns whether every added id is not in `members`, and every removed one is.
    pub(crate) fn is_exact(&self, members: &Members) -> bool {
        !self.added.keys().any(|id| members.contains_key(id))
            && self.removed.keys().all(|id| members.contains_key(id))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// Returns the ids of all members that the change names.
    pub(crate) fn ids(&self) -> BTreeSet<ResourceId> {
        let ids = self.added.keys().chain(self.removed.keys());
        ids.copied().collect()
    }

    pub(crate) fn added_groups(&self) -> impl Iterator<Item = ResourceId> {
        let groups = self.added.iter().filter(|(_, member)| member.group);
        groups.map(|(id, _)| *id)
    }

    /// Returns the number of members after the change.
    pub(crate) fn size_after(&self, old: &Stored) -> u64 {
        let before = old.group.members.unwrap_or(0);
        (before + self.added.len() as u64).saturating_sub(self.removed.len() as u64)
    }

    /// Returns the number of members after the change that are groups, if it was known before.
    pub(crate) fn subgroups_after(&self, old: &Stored) -> Option<u64> {
        let removed = self.removed.values().filter(|member| member.group).count() as u64;
        let before = match old.group.members {
            Some(0) | None => Some(0),
            Some(_) => old.group.subgroups,
        };
        before.map(|before| (before + self.added_groups().count() as u64).saturating_sub(removed))
    }

    /// Returns the members after the change.
    pub(crate) fn apply(&self, members: &Members) -> Members {
        let mut members = members.clone();
        members.retain(|id, _| !self.removed.contains_key(id));
        members.extend(self.added.iter().map(|(id, m)| (*id, m.clone())));
        members
    }
}

/// Returns the members of `of` that are not in `other`.
fn difference(of: &Members, other: &Members) -> Members {
    of.iter()
        .filter(|(id, _)| !other.contains_key(*id))
        .map(|(id, member)| (*id, member.clone()))
        .collect()
}
