//! Look-up items: the values by which resources are found.
//!
//! Each value of an attribute in [`ResourceKind::lookups`] has an item with the id of its resource. The transaction that
//! writes the resource moves its look-up items, so they are never older than the resource. If at most one resource may
//! have a value, its item is also the lock on the value: it is written on the condition that it is absent.
//!
//! # To add an attribute
//!
//! Stored resources have no look-up items of the new attribute until they change, and a search by it would not find them.
//! So the items are written before the first version that searches by them is deployed:
//!
//! 1. Deploy a version that writes the new items and does not search by them: each write from then on has its items.
//! 2. Rewrite the other resources: read each partition of [`ResourceKind::prefix`], and write the missing items on the
//!    condition that the resource still has the version that was read. A unique value that is already taken shows two
//!    resources with the same value, and a person decides about them.
//! 3. Deploy a version that searches by the new items.
//!
//! An attribute that is no longer looked up goes the same way back. Each attribute also takes its share of the writes of
//! one transaction ([`ResourceKind::max_lookup_values`]).

use std::collections::{BTreeMap, BTreeSet};

use scim::{Resource, ScimType};

use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::{DirectoryId, ResourceId};
use crate::model::resource_kind::{LookupAttribute, ResourceKind};
use crate::table::item::{self, Item};
use crate::table::key::{Key, LookupKey};
use crate::table::transaction::{ACTIONS, Change, ConditionFailure};

/// Maximum number of different values of one attribute that have look-up items.
const MAX_LOOKUP_VALUES: usize = 40;

/// The writes of a transaction that are not look-up items, at most: the resource, its count, its event, and the note of
/// what follows a deletion.
const OTHER_WRITES: usize = 4;

/// What to read for the resources that have a value.
pub(crate) enum LookupQuery {
    /// One item, of a value that at most one resource has.
    Unique(Key),
    /// The items of a value that resources may share.
    Shared(LookupKey),
}

impl LookupAttribute {
    /// Returns what to read for the resources that have a value; `None` if no resource can have it.
    pub(crate) fn query(&self, caller: &Caller, value: &str) -> Option<LookupQuery> {
        let value = self.prepare(value)?;
        let key = LookupKey::new(caller.directory().id, self.partition, &value);
        Some(if self.is_unique(caller) {
            LookupQuery::Unique(key.unique())
        } else {
            LookupQuery::Shared(key)
        })
    }

    /// Returns the partition of a directory's look-up items of this attribute.
    pub(crate) fn partition(&self, directory: DirectoryId) -> String {
        LookupKey::new(directory, self.partition, "").pk
    }

    /// Returns the key of the item that leads from a value to the resource `id`.
    fn key(&self, caller: &Caller, value: &str, id: ResourceId) -> Option<Key> {
        Some(match self.query(caller, value)? {
            LookupQuery::Unique(key) => key,
            LookupQuery::Shared(key) => key.shared(id),
        })
    }
}

impl ResourceKind {
    /// Maximum number of different values of a multi-valued attribute, so that one transaction can replace all look-up
    /// items of a resource: it deletes the old one and writes the new one of each value.
    pub(crate) fn max_lookup_values(&self) -> usize {
        let (multi, single): (Vec<_>, Vec<_>) = self
            .lookups
            .iter()
            .partition(|lookup| lookup.is_multi_valued());
        let left = ACTIONS - OTHER_WRITES - 2 * single.len();
        MAX_LOOKUP_VALUES.min(left / (2 * multi.len().max(1)))
    }

    /// Returns the keys of all look-up items of a resource, each with the path of the attribute if its value is unique.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` if an attribute has more values than [`ResourceKind::max_lookup_values`].
    pub(crate) fn lookup_items(
        &self,
        caller: &Caller,
        id: ResourceId,
        resource: &Resource,
    ) -> Result<BTreeMap<Key, Option<&'static str>>, Error> {
        let mut all = BTreeMap::new();
        for lookup in self.lookups {
            let values = lookup.values(resource).into_iter();
            let keys: BTreeSet<Key> = values
                .filter_map(|value| lookup.key(caller, value, id))
                .collect();
            let most = self.max_lookup_values();
            if keys.len() > most {
                return Err(Error::Scim(scim::Error::new(
                    400,
                    Some(ScimType::InvalidValue),
                    format!("{}: has more than {most} different values.", lookup.path),
                )));
            }
            let unique = lookup.is_unique(caller).then_some(lookup.path);
            all.extend(keys.into_iter().map(|key| (key, unique)));
        }
        Ok(all)
    }
}

/// Writes the look-up items that only the new state has, and deletes those that only the old state had.
///
/// # Errors
///
/// 400 `invalidValue` if the new state has a value that cannot be looked up, or too many values.
pub(crate) fn move_lookup_items(
    change: &mut Change,
    caller: &Caller,
    kind: &ResourceKind,
    id: ResourceId,
    old: Option<&Resource>,
    new: Option<&Resource>,
) -> Result<(), Error> {
    if let Some(new) = new {
        kind.check_text(new)?;
    }
    let items = |resource: Option<&Resource>| match resource {
        Some(resource) => kind.lookup_items(caller, id, resource),
        None => Ok(BTreeMap::new()),
    };
    let (before, after) = (items(old)?, items(new)?);
    for (key, unique) in &after {
        if before.contains_key(key) {
            continue;
        }
        let item = Item::from([(item::RESOURCE_ID.to_owned(), item::string(id.to_string()))]);
        match unique {
            Some(attribute) => {
                change.create(key.clone(), item, ConditionFailure::Uniqueness(attribute));
            }
            None => change.put(key.clone(), item),
        }
    }
    for key in before.into_keys() {
        if !after.contains_key(&key) {
            change.remove(key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use scim::{Filter, ResourceType};
    use serde_json::json;

    use super::*;
    use crate::model::resource_kind::{GROUP, USER};

    /// A new look-up attribute with several values lowers these limits, and values that are stored already could be too many.
    #[test]
    fn the_look_up_items_of_a_resource_fit_one_transaction() {
        for kind in [&USER, &GROUP] {
            assert_eq!(kind.max_lookup_values(), MAX_LOOKUP_VALUES);
            let values = kind
                .lookups
                .iter()
                .map(|lookup| match lookup.is_multi_valued() {
                    true => kind.max_lookup_values(),
                    false => 1,
                });
            assert!(2 * values.sum::<usize>() + OTHER_WRITES <= ACTIONS);
        }
    }

    #[test]
    fn the_attribute_of_each_look_up_is_in_the_schema() {
        for lookup in USER.lookups.iter().chain(GROUP.lookups) {
            assert!(lookup.attribute().is_some(), "{}", lookup.path);
        }
    }

    #[test]
    fn an_attribute_of_an_extension_is_looked_up_by_its_urn() {
        const PATH: &str =
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber";
        const SUB: &str =
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value";
        let body = json!({
            "userName": "ann",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":
                {"employeeNumber": "A7", "manager": {"value": "m1"}},
        });
        let user = ResourceType::user();
        let user = user.read(body.as_object().unwrap().clone(), None).unwrap();
        for (path, value) in [(PATH, "A7"), (SUB, "m1")] {
            let lookup = LookupAttribute::of_user(path, "EN");
            assert_eq!(
                lookup.attribute().unwrap().name,
                path.rsplit([':', '.']).next().unwrap()
            );
            assert!(!lookup.is_multi_valued());
            assert_eq!(lookup.values(&user), [value]);
            let filter = format!("{path} eq \"{value}\"");
            let filter = Filter::parse(&filter).unwrap();
            let resolved = filter.resolve(ResourceType::user()).unwrap();
            assert_eq!(resolved.alternatives(&[path]), Some(vec![(path, value)]));
        }
    }
}
