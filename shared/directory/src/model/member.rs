//! The members of a group.

use std::collections::BTreeMap;

use crate::model::id::ResourceId;

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
