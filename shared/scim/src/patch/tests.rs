mod apply;
mod parse;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ScimType;
use crate::{Client, Error, Object, Resource, ResourceType};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn user(value: Value) -> Resource {
    ResourceType::user().read(object(value), None).unwrap()
}

fn ann() -> Resource {
    user(json!({
        "userName": "ann", "name": {"givenName": "Ann", "familyName": "Archer"},
        "emails": [{"value": "a@work", "type": "work", "primary": true}, {"value": "a@home", "type": "home"}],
    }))
}

fn apply(resource: &Resource, body: Value) -> Result<Resource, Error> {
    PatchOp::parse(object(body), ResourceType::user())?.apply(
        ResourceType::user(),
        resource,
        "2819",
    )
}

fn patched(operations: Value) -> Result<Resource, Error> {
    apply(
        &ann(),
        json!({"schemas": [PATCH_OP_SCHEMA], "Operations": operations}),
    )
}

/// Asserts the value at `path` after the operations.
#[track_caller]
fn gives(operations: Value, path: &str, value: Value) {
    let result = patched(operations.clone())
        .unwrap_or_else(|error| panic!("{operations}: {}", error.detail()));
    assert_eq!(
        result.get(path).cloned().unwrap_or(Value::Null),
        value,
        "{operations}"
    );
}

#[track_caller]
fn refused(operations: Value, scim_type: ScimType, detail: &str) {
    let error = patched(operations.clone())
        .err()
        .unwrap_or_else(|| panic!("{operations} is taken"));
    assert_eq!(
        (error.status(), error.scim_type(), error.detail()),
        (400, Some(scim_type), detail),
        "{operations}"
    );
}

#[track_caller]
fn changes_nothing(operations: Value) {
    let result = patched(operations.clone())
        .unwrap_or_else(|error| panic!("{operations}: {}", error.detail()));
    assert_eq!(ann().changed(&result), vec![], "{operations}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        prop::sample::select(vec![
            "userName",
            "name",
            "name.givenName",
            "emails",
            "active",
            "title",
            "work",
            "True",
            "add",
            "replace",
            "Remove",
            "id",
            "meta",
            "password",
            "emails[type eq \"work\"]",
            "emails[type eq \"work\"].value",
            "emails[value pr].primary",
            "members",
            "",
            ENTERPRISE,
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
            "urn:ietf:params:scim:schemas:core:2.0:User"
        ])
        .prop_map(str::to_owned),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text.clone().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_operation() -> impl Strategy<Value = Value> {
    (
        prop::sample::select(vec!["add", "Remove", "replace"]),
        prop::option::of(any_json()),
        prop::option::of(any_json()),
    )
        .prop_map(|(op, path, value)| {
            let mut operation = object(json!({"op": op}));
            operation.extend(path.map(|path| ("path".to_owned(), path)));
            operation.extend(value.map(|value| ("value".to_owned(), value)));
            Value::Object(operation)
        })
}

proptest! {
    #[test]
    fn no_message_causes_a_panic(body in any_json()) {
        if let Value::Object(body) = body {
            let _ = PatchOp::parse(body, ResourceType::user());
        }
    }

    #[test]
    fn a_patched_resource_is_valid(operations in prop::collection::vec(any_operation(), 0..4)) {
        if let Ok(patched) = patched(json!(operations)) {
            let shown = patched.as_object().clone();
            let again = ResourceType::user().read(shown, Some(&patched)).unwrap();
            prop_assert_eq!(&again, &patched);
            prop_assert!(patched.string("userName").is_some_and(|name| !name.is_empty()));
            let repeated = PatchOp { operations: vec![] }.apply(ResourceType::user(), &patched, "2819").unwrap();
            prop_assert_eq!(repeated, patched);
        }
    }

    #[test]
    fn no_path_causes_a_panic(path in ".*") {
        let body = object(json!({"Operations": [{"op": "add", "path": path, "value": "x"}]}));
        let _ = PatchOp::parse(body, ResourceType::user());
    }
}
