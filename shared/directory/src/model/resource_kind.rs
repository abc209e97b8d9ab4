//! The kinds of resources of a directory, as data: their keys, and the attributes
//! by which they are looked up.

use scim::{Attribute, Resource, ResourceType};

use crate::model::caller::Caller;
use crate::model::directory::Directory;
use crate::model::error::Error;
use crate::model::event_type::DetailType;
use crate::model::settings::Types;

/// A kind of resource.
pub(crate) struct ResourceKind {
    /// Its resource type as RFC 7643 defines it.
    pub(crate) base: fn() -> &'static ResourceType,
    /// Its resource type in a directory.
    pub(crate) ty: fn(&Types) -> &ResourceType,
    /// The suffix of the partition of its resources, and the prefix of the sort keys of its counts.
    pub(crate) prefix: &'static str,
    /// The attributes by which it is looked up, the cheapest first.
    pub(crate) lookups: &'static [LookupAttribute],
    /// The type of the event when one is created.
    pub(crate) created: DetailType,
    /// The type of the event when one is updated.
    pub(crate) updated: DetailType,
    /// The type of the event when one is deleted.
    pub(crate) deleted: DetailType,
}

/// Users (RFC 7643 §4.1).
pub(crate) static USER: ResourceKind = ResourceKind {
    base: ResourceType::user,
    ty: |types| &types.user,
    prefix: "U",
    lookups: &[
        LookupAttribute {
            of: ResourceType::user,
            path: "userName",
            partition: "N",
            unique: |_| true,
        },
        // RFC 7643 §3.1.
        LookupAttribute {
            of: ResourceType::user,
            path: "externalId",
            partition: "X",
            unique: |_| false,
        },
        LookupAttribute {
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
    prefix: "G",
    lookups: &[
        LookupAttribute {
            of: ResourceType::group,
            path: "displayName",
            partition: "GN",
            unique: |directory| directory.settings.unique_group_names,
        },
        LookupAttribute {
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

/// An attribute by whose values resources are looked up. Each value has a look-up item ([`crate::table::lookup`]).
pub(crate) struct LookupAttribute {
    /// The type that has the attribute.
    of: fn() -> &'static ResourceType,
    /// The path of the attribute: `userName`, `emails.value`, `urn:…:User:employeeNumber`.
    pub(crate) path: &'static str,
    /// The suffix of the partition of its look-up items.
    pub(crate) partition: &'static str,
    /// Whether at most one resource of a directory may have a value. The look-up item is the lock on the value then.
    unique: fn(&Directory) -> bool,
}

impl LookupAttribute {
    /// An attribute of users whose values need not be unique.
    #[cfg(test)]
    pub(crate) fn of_user(path: &'static str, partition: &'static str) -> Self {
        Self {
            of: ResourceType::user,
            path,
            partition,
            unique: |_| false,
        }
    }

    /// Whether one resource of the caller's directory at most has the value.
    pub(crate) fn is_unique(&self, caller: &Caller) -> bool {
        (self.unique)(caller.directory())
    }

    /// Whether a resource can have several values.
    pub(crate) fn is_multi_valued(&self) -> bool {
        let (path, _) = self.attribute_and_sub();
        self.find(path, None).is_some_and(|of| of.multi_valued)
    }

    /// The definition of the attribute (RFC 7643 §7).
    pub(crate) fn attribute(&self) -> Option<&'static Attribute> {
        let (path, sub) = self.attribute_and_sub();
        self.find(path, sub)
    }

    fn find(&self, path: &str, sub: Option<&str>) -> Option<&'static Attribute> {
        let ty = (self.of)();
        let attribute = match path.rsplit_once(':') {
            Some((urn, name)) => ty.extension(urn)?.attribute(name)?,
            None => ty.attribute(path)?,
        };
        match sub {
            Some(sub) => attribute.sub_attribute(sub),
            None => Some(attribute),
        }
    }

    /// The path of the attribute, with the URN of its extension, and the name of the sub-attribute (RFC 7644 §3.10). A URN
    /// has dots as well (`urn:ietf:…:2.0:User:employeeNumber`): only a dot after the last colon separates.
    fn attribute_and_sub(&self) -> (&'static str, Option<&'static str>) {
        let name = self.path.rfind(':').map_or(0, |colon| colon + 1);
        let dot = self.path.get(name..).and_then(|name| name.find('.'));
        let split = dot.and_then(|dot| {
            let (attribute, rest) = self.path.split_at_checked(name + dot)?;
            Some((attribute, rest.get(1..)?))
        });
        match split {
            Some((attribute, sub)) => (attribute, Some(sub)),
            None => (self.path, None),
        }
    }

    /// The text under which a value has its look-up item: equal values have the same one. `None` for a value of which
    /// nothing is left, since no key is empty.
    pub(crate) fn prepare(&self, value: &str) -> Option<String> {
        let prepared = self.attribute()?.prepare(value);
        (!prepared.is_empty()).then_some(prepared)
    }

    /// The values of a resource.
    pub(crate) fn values<'r>(&self, resource: &'r Resource) -> Vec<&'r str> {
        match self.attribute_and_sub() {
            (list, Some(sub)) if self.is_multi_valued() => resource
                .elements(list)
                .filter_map(|element| element.get(sub)?.as_str())
                .collect(),
            _ => resource.string(self.path).into_iter().collect(),
        }
    }
}

impl ResourceKind {
    /// Refuses control characters in the values by which a resource is found, and names that are blank, such as
    /// `userName` (RFC 7643 §4.1.1 has it prepared by RFC 8265, whose §3.3 has neither; and PostgreSQL takes no U+0000).
    ///
    /// # Errors
    ///
    /// 400 `invalidValue`.
    pub(crate) fn check_text(&self, resource: &Resource) -> Result<(), scim::Error> {
        for lookup in self.lookups {
            let is_name = lookup.attribute().is_some_and(|of| of.is_name);
            for value in lookup.values(resource) {
                let wrong = if value.contains(char::is_control) {
                    "must not have control characters"
                } else if is_name && value.trim().is_empty() {
                    "must not be blank"
                } else {
                    continue;
                };
                return Err(scim::Error::invalid_value(lookup.path, wrong));
            }
        }
        Ok(())
    }

    /// Returns its resource type in the caller's directory.
    pub(crate) fn ty<'c>(&self, caller: &'c Caller) -> &'c ResourceType {
        (self.ty)(caller.types())
    }

    /// Returns the name of a member of this kind in the `data` of an event.
    pub(crate) fn field(&self) -> &'static str {
        // `group` is the group that has the member.
        if self.prefix == GROUP.prefix {
            "member"
        } else {
            "user"
        }
    }
}

/// Returns the error of a list that takes more work than one request may cause.
pub(crate) fn too_many(kind: &ResourceKind) -> Error {
    let paths: Vec<&str> = kind.lookups.iter().map(|lookup| lookup.path).collect();
    Error::Scim(scim::Error::too_many(format_args!(
        "filter or sortBy: it has to read or compare more of {} than one request may. Look them up by eq on id, {} (and \
         anything else), read the list by cursor, which takes any filter, or in pages without a filter, or use fewer comparisons.",
        (kind.base)().endpoint,
        paths.join(", ")
    )))
}
