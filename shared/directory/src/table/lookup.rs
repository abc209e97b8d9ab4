//! The keys of the values by which resources are found.

use std::collections::BTreeMap;

use scim::{Resource, ScimType};

use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::{DirectoryId, ResourceId};
use crate::model::resource_kind::{Pointer, ResourceKind};
use crate::table::key::{Key, Owners};

/// The most values of one attribute that have pointers. Each is an item, and
/// one transaction, which may have to move them all, holds 100 writes.
pub const MAX_POINTERS: usize = 40;

/// The pointers of a value.
pub(crate) enum Wanted {
    /// One at most.
    One(Key),
    /// Any number.
    Any(Owners),
}

impl Pointer {
    /// What to read for the resources that have a value.
    pub(crate) fn wanted(&self, caller: &Caller, value: &str) -> impl Iterator<Item = Wanted> {
        let (directory, is_unique) = (caller.directory().id, self.is_unique(caller));
        let owners = self.forms(value).into_iter();
        owners
            .map(move |form| Owners::new(directory, self.partition, &form))
            .map(move |owners| match is_unique {
                true => Wanted::One(owners.only()),
                false => Wanted::Any(owners),
            })
    }

    /// The partition of a directory's pointers of this attribute.
    pub(crate) fn partition(&self, directory: DirectoryId) -> String {
        Owners::new(directory, self.partition, "").pk
    }

    /// The pointers from a value of the resource `id`.
    fn keys(&self, caller: &Caller, value: &str, id: ResourceId) -> impl Iterator<Item = Key> {
        self.wanted(caller, value).map(move |wanted| match wanted {
            Wanted::One(key) => key,
            Wanted::Any(owners) => owners.of(id),
        })
    }
}

impl ResourceKind {
    /// The unique pointers of names with blanks at their ends, with the name. Each may belong to another resource: a name
    /// that an earlier version kept has only the pointer with the blanks.
    pub(crate) fn doubtful(&self, caller: &Caller, resource: &Resource) -> Vec<(Key, String)> {
        let unique = self.pointers.iter().filter(|of| of.is_unique(caller));
        let mut doubtful = vec![];
        for pointer in unique {
            for value in pointer.values(resource) {
                if pointer.forms(value).len() > 1
                    && let Some(compared) = pointer.attribute().map(|of| of.prepare(value))
                {
                    let owners = Owners::new(caller.directory().id, pointer.partition, &compared);
                    doubtful.push((owners.only(), value.to_owned()));
                }
            }
        }
        doubtful
    }

    /// Every pointer to a resource, each with the attribute that is unique by it. `others` are pointers of its values
    /// that belong to other resources.
    pub(crate) fn pointers_to(
        &self,
        caller: &Caller,
        id: ResourceId,
        resource: &Resource,
        others: &BTreeMap<Key, String>,
    ) -> Result<BTreeMap<Key, Option<&'static str>>, Error> {
        let mut all = BTreeMap::new();
        for pointer in self.pointers {
            let values = pointer.values(resource);
            let keys: BTreeMap<_, _> = values
                .into_iter()
                .flat_map(|value| {
                    let keys = pointer.keys(caller, value, id);
                    keys.filter(move |key| others.get(key).is_none_or(|of| of != value))
                })
                .map(|key| (key, pointer.is_unique(caller).then_some(pointer.path)))
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
