//! A stored resource, and its representation for a provisioning client.

use jiff::Timestamp;
use scim::{Meta, Object, Resource, ResourceType};

use crate::model::caller::{Caller, location};
use crate::model::error::Error;
use crate::model::id::ResourceId;

/// A stored resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its id.
    pub id: ResourceId,
    /// The SCIM document that the provisioning client wrote.
    pub resource: Resource,
    /// The version: 1 after it was created, one more with each change.
    pub version: u64,
    /// The time of creation.
    pub created: Timestamp,
    /// The time of the last change.
    pub last_modified: Timestamp,
    /// The state of its members, if it is a group.
    pub(crate) group: GroupState,
}

/// The state of the members of a group, in the item of the group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GroupState {
    /// The number of members; `None` for a user.
    pub(crate) members: Option<u64>,
    /// The number of times the group became a member of another group.
    pub(crate) nested: u64,
    /// The number of members that are groups; `None` if it is not known.
    pub(crate) subgroups: Option<u64>,
    /// The staged write that is changing its members.
    pub(crate) staged: Option<Staged>,
}

/// A staged write: a change of the members of a group that takes more than one transaction.
///
/// At first it writes rows that are members from the next version on, and one
/// transaction makes that version the current one. If members are removed, that
/// transaction also writes a list of them, and their rows are deleted after it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Staged {
    /// The id of the write.
    pub(crate) by: String,
    /// The end of its lease, in milliseconds since 1970.
    pub(crate) until: i64,
    /// The number of items of the list of removed members; 0 before that transaction.
    pub(crate) removals: u64,
}

impl Stored {
    /// Returns the `meta` of the resource (RFC 7643 §3.1).
    #[must_use]
    pub fn meta(&self, caller: &Caller, ty: &ResourceType) -> Meta {
        let mut meta = self.meta_at(caller.base_url(), ty);
        // RFC 7643 §3.1: `version` is for a service provider that supports versions, which such a directory does not say.
        if !caller.directory().settings.has_entity_tags() {
            meta.version = None;
        }
        meta
    }

    fn meta_at(&self, base_url: &str, ty: &ResourceType) -> Meta {
        Meta {
            resource_type: ty.name.to_string(),
            created: self.created,
            last_modified: self.last_modified,
            version: Some(self.version),
            location: location(base_url, &ty.endpoint, self.id),
        }
    }

    /// Returns the SCIM representation for `caller`, with these read-only attributes, such as
    /// `groups`.
    #[must_use]
    pub fn represent(&self, caller: &Caller, ty: &ResourceType, read_only: Object) -> Object {
        self.represent_with(&self.meta(caller, ty), ty, read_only)
    }

    /// Returns the SCIM representation in events. It always has `meta.version`.
    pub(crate) fn represent_at(&self, base_url: &str, ty: &ResourceType) -> Object {
        self.represent_with(&self.meta_at(base_url, ty), ty, Object::new())
    }

    fn represent_with(&self, meta: &Meta, ty: &ResourceType, read_only: Object) -> Object {
        self.resource
            .represent(ty, &self.id.to_string(), meta, read_only)
    }
}

/// The versions in which a client changes a resource (`If-Match` and
/// `If-None-Match`, RFC 7644 §3.14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Any version.
    #[default]
    None,
    /// One of these versions.
    Version(Vec<u64>),
    /// Any version but these.
    Except(Vec<u64>),
}

impl Precondition {
    pub(crate) fn check(&self, version: u64) -> Result<(), Error> {
        match self {
            Self::Version(versions) if !versions.contains(&version) => Err(Error::Changed),
            Self::Except(versions) if versions.contains(&version) => Err(Error::Changed),
            Self::None | Self::Version(_) | Self::Except(_) => Ok(()),
        }
    }
}
