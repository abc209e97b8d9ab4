//! The kinds of resources that a directory keeps, as data: under which keys, and
//! by which values each is found.

use std::collections::BTreeMap;

use scim::{Resource, ResourceType, ScimType};

use crate::error::Error;
use crate::event::DetailType;
use crate::id::{DirectoryId, ResourceId};
use crate::key::{Key, Owners};

/// The most values of one attribute that have pointers. Each is an item, and
/// one transaction, which may have to move them all, holds 100 writes.
pub const MAX_POINTERS: usize = 40;

/// A kind of resource.
pub(crate) struct Kind {
    /// What SCIM says of it.
    pub(crate) ty: fn() -> &'static ResourceType,
    /// The partition of its resources, and how the sort keys of its counts begin.
    pub(crate) letter: &'static str,
    /// The values it is found by, the cheapest first.
    pub(crate) pointers: &'static [Pointer],
    /// What its events are called.
    pub(crate) created: DetailType,
    /// What its events are called.
    pub(crate) updated: DetailType,
    /// What its events are called.
    pub(crate) deleted: DetailType,
}

/// Users (RFC 7643 §4.1).
pub(crate) static USER: Kind = Kind {
    ty: ResourceType::user,
    letter: "U",
    pointers: &[
        Pointer {
            path: "userName",
            partition: "N",
            case_exact: false,
            unique: true,
        },
        // RFC 7643 §3.1.
        Pointer {
            path: "externalId",
            partition: "X",
            case_exact: true,
            unique: false,
        },
        Pointer {
            path: "emails.value",
            partition: "EM",
            case_exact: false,
            unique: false,
        },
    ],
    created: DetailType::UserCreated,
    updated: DetailType::UserUpdated,
    deleted: DetailType::UserDeleted,
};

/// A value that leads to its resource.
pub(crate) struct Pointer {
    /// The attribute.
    pub(crate) path: &'static str,
    /// The partition.
    partition: &'static str,
    /// Whether case counts.
    case_exact: bool,
    /// Whether one resource at most has the value: then the pointer is the lock on it.
    pub(crate) unique: bool,
}

impl Pointer {
    /// All pointers of a value.
    pub(crate) fn owners(&self, directory: DirectoryId, value: &str) -> Owners {
        let value = if self.case_exact {
            value.to_owned()
        } else {
            scim::fold(value)
        };
        Owners::new(directory, self.partition, &value)
    }

    /// The pointer from a value of the resource `id`.
    fn key(&self, directory: DirectoryId, value: &str, id: ResourceId) -> Key {
        let owners = self.owners(directory, value);
        if self.unique {
            owners.only()
        } else {
            owners.of(id)
        }
    }

    /// The values that a resource has.
    fn values<'r>(&self, resource: &'r Resource) -> Vec<&'r str> {
        match self.path.split_once('.') {
            Some((list, sub)) => resource
                .elements(list)
                .filter_map(|element| element.get(sub)?.as_str())
                .collect(),
            None => resource.string(self.path).into_iter().collect(),
        }
    }
}

impl Kind {
    /// Every pointer to a resource, each with the attribute that is unique by it.
    pub(crate) fn pointers_to(
        &self,
        directory: DirectoryId,
        id: ResourceId,
        resource: &Resource,
    ) -> Result<BTreeMap<Key, Option<&'static str>>, Error> {
        let mut all = BTreeMap::new();
        for pointer in self.pointers {
            let values = pointer.values(resource);
            let keys: BTreeMap<_, _> = values
                .into_iter()
                .map(|value| {
                    (
                        pointer.key(directory, value, id),
                        pointer.unique.then_some(pointer.path),
                    )
                })
                .collect();
            if keys.len() > MAX_POINTERS {
                return Err(Error::Scim(scim::Error::new(
                    400,
                    Some(ScimType::InvalidValue),
                    format!(
                        "{}: has more than {MAX_POINTERS} different values.",
                        pointer.path
                    ),
                )));
            }
            all.extend(keys);
        }
        Ok(all)
    }
}
