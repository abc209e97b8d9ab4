//! Changes of the members of a group, determined without reading the members.
//!
//! A group can have a hundred thousand members, and a client adds one. Nearly every PATCH names the
//! members that it adds or removes (X4, X5, X17, X18, G9 in docs/scim-decisions.md), so the change
//! follows from the message alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Object;
use crate::error::Error;
use crate::filter::{Expression, Filter, Literal, Operator};
use crate::patch::{Op, Operation, PatchOp};
use crate::resource::Resource;
use crate::schema::{AttributePath, ResourceType};
use crate::validate::missing_id_error;

/// The attribute with the members.
const MEMBERS: &str = "members";

/// The change of the members of a group. Members are identified by id; the object is the element of
/// the client.
#[derive(Clone, Debug, PartialEq)]
pub enum MemberChange {
    /// Members are added and removed, and all other members stay. No id is in both sets.
    Named {
        /// The members to add.
        added: BTreeMap<String, Object>,
        /// The ids of the members to remove.
        removed: BTreeSet<String>,
    },
    /// The group has exactly these members afterwards.
    Exactly(BTreeMap<String, Object>),
    /// The change depends on the current members: call [`PatchOp::apply`] with the whole group.
    Depends,
}

impl MemberChange {
    /// Returns whether no member is changed.
    pub fn is_empty(&self) -> bool {
        matches!(self, MemberChange::Named { added, removed } if added.is_empty() && removed.is_empty())
    }

    fn add(&mut self, elements: &[Value]) {
        for element in elements.iter().filter_map(Value::as_object) {
            let Some(id) = id(element) else { continue };
            let members = match self {
                MemberChange::Named { added, removed } => {
                    removed.remove(id);
                    added
                }
                MemberChange::Exactly(members) => members,
                MemberChange::Depends => return,
            };
            members
                .entry(id.to_owned())
                .or_insert_with(|| element.clone());
        }
    }

    fn remove(&mut self, ids: &[&str]) {
        for id in ids {
            match self {
                MemberChange::Named { added, removed } => {
                    added.remove(*id);
                    removed.insert((*id).to_owned());
                }
                MemberChange::Exactly(members) => {
                    members.remove(*id);
                }
                MemberChange::Depends => {}
            }
        }
    }
}

fn id(element: &Object) -> Option<&str> {
    element.get("value")?.as_str()
}

impl Resource {
    /// Returns the group without its members, and the members by id with the elements of the
    /// client.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` for a member without `value`.
    pub fn split_members(&self) -> Result<(Resource, BTreeMap<String, Object>), Error> {
        let mut members = BTreeMap::new();
        for element in self.elements(MEMBERS) {
            let Some(id) = id(element) else {
                return Err(missing_id_error(AttributePath {
                    extension: None,
                    attribute: MEMBERS,
                    sub: None,
                }));
            };
            members
                .entry(id.to_owned())
                .or_insert_with(|| element.clone());
        }
        Ok((self.without(MEMBERS), members))
    }
}

impl MemberChange {
    /// Returns the change of a PUT. It replaces the members if the body has the attribute, even as
    /// null or as an empty list (RFC 7644 §3.5.1, W6). `resource` is the resource that was read
    /// from `body`.
    ///
    /// # Errors
    ///
    /// The errors of [`Resource::split_members`].
    pub fn of_replacement(
        ty: &ResourceType,
        body: &Object,
        resource: &Resource,
    ) -> Result<(MemberChange, Resource), Error> {
        let (resource, members) = resource.split_members()?;
        let change = if ty.has(body, MEMBERS) {
            MemberChange::Exactly(members)
        } else {
            MemberChange::Named {
                added: members,
                removed: BTreeSet::new(),
            }
        };
        Ok((change, resource))
    }
}

impl PatchOp {
    /// Splits a PATCH of a group into the change of the members and the other operations, which can
    /// be applied to a group without its members. The two are independent of each other.
    pub fn split_members(&self) -> (MemberChange, PatchOp) {
        let (members, rest): (Vec<_>, Vec<_>) =
            self.operations.iter().cloned().partition(|operation| {
                operation.path.extension.is_none() && operation.path.attribute == MEMBERS
            });
        let mut change = MemberChange::Named {
            added: BTreeMap::new(),
            removed: BTreeSet::new(),
        };
        for operation in &members {
            if !fold(&mut change, operation) {
                change = MemberChange::Depends;
                break;
            }
        }
        (change, PatchOp { operations: rest })
    }
}

/// Applies an operation to the change. Returns false if the result depends on the current members.
fn fold(change: &mut MemberChange, operation: &Operation) -> bool {
    let Operation { op, path, values } = operation;
    if path.sub_attribute.is_some() {
        return false;
    }
    match (op, &path.filter) {
        (Op::Add, None) if identified(values) => change.add(values),
        (Op::Replace, None) if identified(values) => {
            *change = MemberChange::Exactly(BTreeMap::new());
            change.add(values);
        }
        // Without values, all members are removed. Named members are removed by id, unless the
        // value has a `type` that they must match.
        (Op::Remove, None) if values.is_empty() => *change = MemberChange::Exactly(BTreeMap::new()),
        (Op::Remove, None)
            if identified(values) && values.iter().all(|value| value.get("type").is_none()) =>
        {
            let ids: Vec<&str> = values
                .iter()
                .filter_map(|value| id(value.as_object()?))
                .collect();
            change.remove(&ids);
        }
        (Op::Remove, Some(filter)) => match ids_of(filter) {
            Some(ids) => change.remove(&ids),
            None => return false,
        },
        _ => return false,
    }
    true
}

/// Returns whether every element has an id.
fn identified(values: &[Value]) -> bool {
    values
        .iter()
        .all(|value| value.as_object().and_then(id).is_some())
}

/// Returns the ids of `value eq "a" or value eq "b"` (RFC 7644 §3.5.2.2, X18).
fn ids_of(filter: &Filter) -> Option<Vec<&str>> {
    fn collect<'f>(expression: &'f Expression, ids: &mut Vec<&'f str>) -> bool {
        match expression {
            Expression::Compare {
                path,
                operator: Operator::Eq,
                value: Literal::String(id),
            } if path.eq_ignore_ascii_case("value") => {
                ids.push(id);
                true
            }
            Expression::Or(terms) => terms.iter().all(|term| collect(term, ids)),
            _ => false,
        }
    }
    let mut ids = vec![];
    collect(filter.expression(), &mut ids).then_some(ids)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::ResourceType;

    fn parse(operations: Value) -> PatchOp {
        let body = json!({"Operations": operations});
        PatchOp::parse(body.as_object().unwrap().clone(), ResourceType::group()).unwrap()
    }

    fn ids(members: &BTreeMap<String, Object>) -> Vec<&str> {
        members.keys().map(String::as_str).collect()
    }

    #[track_caller]
    fn named(operations: Value, added: &[&str], removed: &[&str]) {
        match parse(operations.clone()).split_members().0 {
            MemberChange::Named {
                added: is,
                removed: gone,
            } => {
                assert_eq!(ids(&is), added, "{operations}");
                assert!(gone.iter().eq(removed), "{operations}: {gone:?}");
            }
            other => panic!("{other:?} for {operations}"),
        }
    }

    #[track_caller]
    fn exactly(operations: Value, members: &[&str]) {
        match parse(operations.clone()).split_members().0 {
            MemberChange::Exactly(is) => assert_eq!(ids(&is), members, "{operations}"),
            other => panic!("{other:?} for {operations}"),
        }
    }

    #[test]
    fn okta_removes_and_adds_in_one_patch() {
        named(
            json!([
                {"op": "remove", "path": "members[value eq \"a\"]"},
                {"op": "remove", "path": "members[value eq \"b\" or value eq \"c\"]"},
                {"op": "add", "path": "members", "value": [{"value": "d", "display": "d@example.com"}, {"value": "e"}]},
            ]),
            &["d", "e"],
            &["a", "b", "c"],
        );
    }

    /// RFC 7644 §3.5.2.1 (X4); RFC 7644 §3.5.2.3 (X5).
    #[test]
    fn members_in_an_operation_without_path() {
        named(
            json!([{"op": "add", "value": {"members": [{"value": "a"}]}}]),
            &["a"],
            &[],
        );
        exactly(
            json!([{"op": "replace", "value": {"members": [{"value": "a"}, {"value": "b"}]}}]),
            &["a", "b"],
        );
    }

    #[test]
    fn okta_pushes_an_empty_group() {
        exactly(
            json!([{"op": "replace", "path": "members", "value": []}]),
            &[],
        );
        exactly(json!([{"op": "remove", "path": "members"}]), &[]);
    }

    /// RFC 7644 §3.5.1 (W6).
    #[test]
    fn put_sets_members_only_if_the_body_has_them() {
        let put = |body: Value| {
            let body = body.as_object().unwrap().clone();
            let resource = ResourceType::group().read(body.clone(), None)?;
            MemberChange::of_replacement(ResourceType::group(), &body, &resource)
        };
        let (members, rest) = put(json!({"displayName": "g", "MEMBERS": [{"value": "a", "display": "A"}, {"value": "a"}]})).unwrap();
        let MemberChange::Exactly(members) = members else {
            panic!("{members:?}")
        };
        assert_eq!(members["a"]["display"], "A");
        assert!(rest.get("members").is_none());
        for none in [json!([]), json!(null)] {
            let (members, _) = put(json!({"displayName": "g", "members": none})).unwrap();
            assert_eq!(members, MemberChange::Exactly(BTreeMap::new()));
        }
        assert!(put(json!({"displayName": "g"})).unwrap().0.is_empty());
        for nobody in [
            json!([{"display": "A"}]),
            json!([{"value": null}]),
            json!([null]),
            json!(""),
            json!([{"value": "a"}, ""]),
        ] {
            let error = put(json!({"displayName": "g", "members": nobody})).unwrap_err();
            assert_eq!(
                error.detail(),
                "members.value: is missing; identify a member by its id",
                "{nobody}"
            );
        }
        // RFC 7644 §3.10 (F6): names in a PUT have the same forms as in a PATCH.
        let qualified = format!("{}:members", crate::GROUP_SCHEMA);
        for body in [
            json!({"displayName": "g", qualified: []}),
            json!({"displayName": "g", crate::GROUP_SCHEMA: {"members": null}}),
        ] {
            assert_eq!(put(body).unwrap().0, MemberChange::Exactly(BTreeMap::new()));
        }
    }

    /// RFC 7644 §3.5.2.2 (X17).
    #[test]
    fn remove_with_a_list_of_values_removes_these_members() {
        named(
            json!([{"op": "Remove", "path": "members", "value": [{"value": "a"}]}]),
            &[],
            &["a"],
        );
        named(
            json!([{"op": "Remove", "path": "members", "value": []}]),
            &[],
            &[],
        );
    }

    #[test]
    fn the_last_operation_wins() {
        named(
            json!([{"op": "add", "path": "members", "value": [{"value": "a"}, {"value": "b"}]}, {"op": "remove", "path": "members[value eq \"a\"]"}]),
            &["b"],
            &["a"],
        );
        named(
            json!([{"op": "remove", "path": "members[value eq \"a\"]"}, {"op": "add", "path": "members", "value": {"value": "a"}}]),
            &["a"],
            &[],
        );
        exactly(
            json!([{"op": "replace", "path": "members", "value": [{"value": "a"}, {"value": "b"}]}, {"op": "remove", "path": "members[value eq \"a\"]"},
                {"op": "add", "path": "members", "value": [{"value": "c"}]}]),
            &["b", "c"],
        );
    }

    #[test]
    fn other_operations_are_applied_to_the_group() {
        let (members, rest) = parse(json!([
            {"op": "replace", "value": {"id": "g", "displayName": "New", "members": [{"value": "a"}]}},
            {"op": "add", "path": "externalId", "value": "x"},
        ]))
        .split_members();
        assert!(matches!(members, MemberChange::Exactly(_)));
        assert_eq!(
            format!("{rest:?}"),
            "PatchOp { operations: [replace id (1 values), replace displayName (1 values), add externalId (1 values)] }"
        );
        assert!(
            parse(json!([{"op": "replace", "path": "displayName", "value": "x"}]))
                .split_members()
                .0
                .is_empty()
        );
    }

    #[test]
    fn operations_that_depend_on_current_members() {
        for operations in [
            json!([{"op": "remove", "path": "members[type eq \"Group\"]"}]),
            json!([{"op": "remove", "path": "members[value eq \"a\" and type eq \"Group\"]"}]),
            json!([{"op": "remove", "path": "members[display co \"x\"]"}]),
            json!([{"op": "remove", "path": "members", "value": [{"value": "a", "type": "Group"}]}]),
            json!([{"op": "replace", "path": "members[value eq \"a\"].display", "value": "x"}]),
        ] {
            assert_eq!(
                parse(operations.clone()).split_members().0,
                MemberChange::Depends,
                "{operations}"
            );
        }
    }

    proptest! {
        /// The change that follows from the message is equal to the result of applying it to all
        /// members.
        #[test]
        fn the_short_way_and_the_long_way_agree(
            before in prop::collection::btree_set("[a-e]", 0..5),
            operations in prop::collection::vec((0..5_u8, prop::collection::vec("[a-e]", 0..3)), 0..5),
        ) {
            let operations: Vec<Value> = operations.into_iter().map(|(kind, ids)| {
                let values: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
                let filter = ids.iter().map(|id| format!("value eq \"{id}\"")).collect::<Vec<_>>().join(" or ");
                match kind {
                    0 => json!({"op": "add", "path": "members", "value": values}),
                    1 => json!({"op": "replace", "path": "members", "value": values}),
                    2 if !ids.is_empty() => json!({"op": "remove", "path": format!("members[{filter}]")}),
                    3 => json!({"op": "remove", "path": "members", "value": values}),
                    _ => json!({"op": "remove", "path": "members"}),
                }
            }).collect();
            let patch = parse(json!(operations));
            let members: Vec<Value> = before.iter().map(|id| json!({"value": id})).collect();
            let group = json!({"displayName": "g", "members": members});
            let group = ResourceType::group().read(group.as_object().unwrap().clone(), None).unwrap();
            let long: BTreeSet<String> = patch.apply(ResourceType::group(), &group, "g").unwrap()
                .elements("members").filter_map(id).map(str::to_owned).collect();
            let short = match patch.split_members().0 {
                MemberChange::Named { added, removed } => {
                    let kept = before.into_iter().filter(|id| !removed.contains(id));
                    kept.chain(added.keys().cloned()).collect()
                }
                MemberChange::Exactly(members) => members.into_keys().collect(),
                MemberChange::Depends => long.clone(),
            };
            prop_assert_eq!(short, long);
        }
    }
}
