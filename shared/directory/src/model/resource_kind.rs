//! The kinds of resources that a directory keeps, as data: under which keys, and
//! by which values each is found.

use std::collections::BTreeSet;

use scim::{Attribute, Resource, ResourceType};

use crate::model::caller::Caller;
use crate::model::directory::Directory;
use crate::model::error::Error;
use crate::model::event_type::DetailType;
use crate::model::settings::Types;

/// A kind of resource.
pub(crate) struct ResourceKind {
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
pub(crate) static USER: ResourceKind = ResourceKind {
    base: ResourceType::user,
    ty: |types| &types.user,
    letter: "U",
    pointers: &[
        Pointer {
            of: ResourceType::user,
            path: "userName",
            partition: "N",
            unique: |_| true,
        },
        // RFC 7643 §3.1.
        Pointer {
            of: ResourceType::user,
            path: "externalId",
            partition: "X",
            unique: |_| false,
        },
        Pointer {
            of: ResourceType::user,
            path: "emails.value",
            partition: "EM",
            unique: |_| false,
        },
    ],
    created: DetailType::UserCreated,
    updated: DetailType::UserUpdated,
    deleted: DetailType::UserDeleted,
};

/// Groups (RFC 7643 §4.2), without their members, which are items of their own.
pub(crate) static GROUP: ResourceKind = ResourceKind {
    base: ResourceType::group,
    ty: |types| &types.group,
    letter: "G",
    pointers: &[
        Pointer {
            of: ResourceType::group,
            path: "displayName",
            partition: "GN",
            unique: |directory| directory.settings.unique_group_names,
        },
        Pointer {
            of: ResourceType::group,
            path: "externalId",
            partition: "GX",
            unique: |_| false,
        },
    ],
    created: DetailType::GroupCreated,
    updated: DetailType::GroupUpdated,
    deleted: DetailType::GroupDeleted,
};

/// A value that leads to its resource.
pub(crate) struct Pointer {
    /// The type that has the attribute.
    of: fn() -> &'static ResourceType,
    /// The attribute.
    pub(crate) path: &'static str,
    /// The partition.
    pub(crate) partition: &'static str,
    /// Whether one resource of the directory at most has the value: then the pointer is the lock on it.
    unique: fn(&Directory) -> bool,
}

impl Pointer {
    /// Whether one resource of the caller's directory at most has the value.
    pub(crate) fn is_unique(&self, caller: &Caller) -> bool {
        (self.unique)(caller.directory())
    }

    pub(crate) fn attribute(&self) -> Option<&'static Attribute> {
        let ty = (self.of)();
        match self.path.split_once('.') {
            Some((list, sub)) => ty.attribute(list)?.sub_attribute(sub),
            None => ty.attribute(self.path),
        }
    }

    /// The texts under which a value has a pointer: as it is compared, and with the blanks at its ends. Earlier
    /// versions kept names with blanks at their ends under the second one only.
    pub(crate) fn forms(&self, value: &str) -> BTreeSet<String> {
        let Some(attribute) = self.attribute() else {
            return BTreeSet::new();
        };
        let with_blanks = match attribute.case_exact {
            true => value.to_owned(),
            false => scim::fold(value),
        };
        let compared = attribute.prepare(value);
        let forms = [compared, with_blanks].into_iter();
        // No name is blank any more, and no key can be empty.
        forms.filter(|form| !form.is_empty()).collect()
    }

    /// The values that a resource has.
    pub(crate) fn values<'r>(&self, resource: &'r Resource) -> Vec<&'r str> {
        match self.path.split_once('.') {
            Some((list, sub)) => resource
                .elements(list)
                .filter_map(|element| element.get(sub)?.as_str())
                .collect(),
            None => resource.string(self.path).into_iter().collect(),
        }
    }
}

impl ResourceKind {
    /// Refuses control characters in the values by which a resource is found, and names that are blank, such as
    /// `userName` (RFC 7643 §4.1.1 has it prepared by RFC 8265, whose §3.3 has neither; and PostgreSQL takes no U+0000).
    /// Values that are kept already may stay.
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
            let is_name = pointer.attribute().is_some_and(|of| of.is_name);
            for value in pointer.values(new) {
                let wrong = if value.contains(char::is_control) {
                    "must not have control characters"
                } else if is_name && value.trim().is_empty() {
                    "must not be blank"
                } else {
                    continue;
                };
                if !kept.contains(&value) {
                    return Err(scim::Error::invalid_value(pointer.path, wrong));
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
}

/// The error for a list that takes more work than one request may ask for.
pub(crate) fn too_many(kind: &ResourceKind) -> Error {
    let paths: Vec<&str> = kind.pointers.iter().map(|pointer| pointer.path).collect();
    Error::Scim(scim::Error::too_many(format_args!(
        "filter or sortBy: it has to read or compare more of {} than one request may. Look them up by eq on id, {} (and \
         anything else), read the list by cursor, which takes any filter, or in pages without a filter, or use fewer comparisons.",
        (kind.base)().endpoint,
        paths.join(", ")
    )))
}
