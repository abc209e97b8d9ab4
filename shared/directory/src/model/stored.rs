//! A resource as it is kept, and how a provisioning client sees it.

use jiff::Timestamp;
use scim::{Meta, Object, Resource, ResourceType};

use crate::model::caller::{Caller, location};
use crate::model::error::Error;
use crate::model::id::ResourceId;

/// A resource as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its id.
    pub id: ResourceId,
    /// What its provisioning client wrote.
    pub resource: Resource,
    /// How often it has changed, from 1.
    pub version: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub last_modified: Timestamp,
    /// What is known of it as a group.
    pub(crate) group: GroupState,
}

/// What the item of a group says beyond what its provisioning client wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GroupState {
    /// How many members it has; users have none.
    pub(crate) members: Option<u64>,
    /// How often it became a member of another group.
    pub(crate) nested: u64,
    /// How many of its members are groups; unknown of a group that an earlier version wrote last.
    pub(crate) subgroups: Option<u64>,
    /// The operation that is changing its members in steps.
    pub(crate) staged: Option<Staged>,
}

/// An operation on the members of a group that takes more than one transaction.
///
/// While it adds, rows are written that count from the next version on, which
/// one transaction then makes the current one. While it removes, that
/// transaction is over and has left a list of those who are no members any
/// more; their rows are being deleted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Staged {
    /// What tells operations apart.
    pub(crate) by: String,
    /// When it is dead, in milliseconds since 1970.
    pub(crate) until: i64,
    /// In how many parts that list is kept; 0 while it adds.
    pub(crate) removals: u64,
}

impl Stored {
    /// What SCIM says about the resource as such.
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

    /// The resource as SCIM shows it to `caller`, with the read-only
    /// attributes given, such as `groups`.
    #[must_use]
    pub fn represent(&self, caller: &Caller, ty: &ResourceType, read_only: Object) -> Object {
        self.represent_with(&self.meta(caller, ty), ty, read_only)
    }

    /// The resource as its events show it, which have the version whatever the provisioning client is shown.
    pub(crate) fn represent_at(&self, base_url: &str, ty: &ResourceType) -> Object {
        self.represent_with(&self.meta_at(base_url, ty), ty, Object::new())
    }

    fn represent_with(&self, meta: &Meta, ty: &ResourceType, read_only: Object) -> Object {
        self.resource
            .represent(ty, &self.id.to_string(), meta, read_only)
    }
}

/// The versions that a client demands of what it changes (`If-Match` and
/// `If-None-Match`, RFC 7644 §3.14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Any.
    #[default]
    None,
    /// One of these.
    Version(Vec<u64>),
    /// None of these.
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
