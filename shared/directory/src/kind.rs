//! The kinds of resources that a directory keeps, as data: under which keys, and
//! by which values each is found.

use std::collections::BTreeMap;

use scim::{Resource, ResourceType, ScimType};

use crate::directory::{Caller, Directory, Types};
use crate::error::Error;
use crate::event::DetailType;
use crate::id::{DirectoryId, ResourceId};
use crate::key::{Key, Owners};

/// The most values of one attribute that have pointers. Each is an item, and
/// one transaction, which may have to move them all, holds 100 writes.
pub const MAX_POINTERS: usize = 40;

/// A kind of resource.
pub(crate) struct Kind {
    /// What the RFC says of it.
    pub(crate) base: fn() -> &'static ResourceType,
    /// What it is in a directory.
    pub(crate) ty: fn(&Types) -> &ResourceType,
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
    base: ResourceType::user,
    ty: |types| &types.user,
    letter: "U",
    pointers: &[
        Pointer {
            path: "userName",
            partition: "N",
            case_exact: false,
            unique: |_| true,
        },
        // RFC 7643 §3.1.
        Pointer {
            path: "externalId",
            partition: "X",
            case_exact: true,
            unique: |_| false,
        },
        Pointer {
            path: "emails.value",
            partition: "EM",
            case_exact: false,
            unique: |_| false,
        },
    ],
    created: DetailType::UserCreated,
    updated: DetailType::UserUpdated,
    deleted: DetailType::UserDeleted,
};

/// Groups (RFC 7643 §4.2), without their members, which are items of their own.
pub(crate) static GROUP: Kind = Kind {
    base: ResourceType::group,
    ty: |types| &types.group,
    letter: "G",
    pointers: &[
        Pointer {
            path: "displayName",
            partition: "GN",
            case_exact: false,
            unique: |directory| directory.settings.unique_group_names,
        },
        Pointer {
            path: "externalId",
            partition: "GX",
            case_exact: true,
            unique: |_| false,
        },
    ],
    created: DetailType::GroupCreated,
    updated: DetailType::GroupUpdated,
    deleted: DetailType::GroupDeleted,
};

/// A value that leads to its resource.
pub(crate) struct Pointer {
    /// The attribute.
    pub(crate) path: &'static str,
    /// The partition.
    partition: &'static str,
    /// Whether case counts.
    case_exact: bool,
    /// Whether one resource of the directory at most has the value: then the pointer is the lock on it.
    unique: fn(&Directory) -> bool,
}

/// The pointers of a value.
pub(crate) enum Wanted {
    /// One at most.
    One(Key),
    /// Any number.
    Any(Owners),
}

impl Pointer {
    /// Whether one resource of the caller's directory at most has the value.
    fn is_unique(&self, caller: &Caller) -> bool {
        (self.unique)(caller.directory())
    }

    /// What to read for the resources that have a value.
    pub(crate) fn wanted(&self, caller: &Caller, value: &str) -> Wanted {
        let owners = self.owners(caller.directory().id, value);
        match self.is_unique(caller) {
            true => Wanted::One(owners.only()),
            false => Wanted::Any(owners),
        }
    }

    /// The partition of a directory's pointers of this attribute.
    pub(crate) fn partition(&self, directory: DirectoryId) -> String {
        Owners::new(directory, self.partition, "").pk
    }

    /// All pointers of a value.
    fn owners(&self, directory: DirectoryId, value: &str) -> Owners {
        let value = if self.case_exact {
            value.to_owned()
        } else {
            scim::fold(value)
        };
        Owners::new(directory, self.partition, &value)
    }

    /// The pointer from a value of the resource `id`.
    fn key(&self, caller: &Caller, value: &str, id: ResourceId) -> Key {
        match self.wanted(caller, value) {
            Wanted::One(key) => key,
            Wanted::Any(owners) => owners.of(id),
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
    /// Refuses control characters in the values by which a resource is found, such as `userName` (RFC 7643 §4.1.1 has it
    /// prepared by RFC 8265, whose §3.3 has none; and PostgreSQL takes no U+0000). Values that are kept already may stay.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue`.
    pub(crate) fn check_text(
        &self,
        old: Option<&Resource>,
        new: &Resource,
    ) -> Result<(), scim::Error> {
        for pointer in self.pointers {
            let kept = old.map_or(vec![], |old| pointer.values(old));
            for value in pointer.values(new) {
                if value.contains(char::is_control) && !kept.contains(&value) {
                    return Err(scim::Error::invalid_value(
                        pointer.path,
                        "must not have control characters",
                    ));
                }
            }
        }
        Ok(())
    }

    /// What SCIM says of it in the caller's directory.
    pub(crate) fn ty<'c>(&self, caller: &'c Caller) -> &'c ResourceType {
        (self.ty)(caller.types())
    }

    /// What a member of this kind is called in the data of an event.
    pub(crate) fn field(&self) -> &'static str {
        // A group's data is that of the group whose member it is.
        if self.letter == GROUP.letter {
            "member"
        } else {
            "user"
        }
    }

    /// Every pointer to a resource, each with the attribute that is unique by it.
    pub(crate) fn pointers_to(
        &self,
        caller: &Caller,
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
                        pointer.key(caller, value, id),
                        pointer.is_unique(caller).then_some(pointer.path),
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
