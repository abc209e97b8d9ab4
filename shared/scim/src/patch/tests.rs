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

/// The value at `path` after the operations.
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

#[test]
fn x1_x2_x3_the_message() {
    let operation = json!({"op": "replace", "path": "title", "value": "x"});
    for body in [
        json!({"schemas": [PATCH_OP_SCHEMA], "Operations": [operation]}),
        json!({"SCHEMAS": [PATCH_OP_SCHEMA.to_uppercase()], "operations": [{"OP": "REPLACE", "Path": "TITLE", "vaLue": "x"}]}),
        json!({"Operations": [operation]}),
    ] {
        assert_eq!(apply(&ann(), body).unwrap().string("title"), Some("x"));
    }
    changes_nothing(json!([]));
    for (body, detail) in [
        (
            json!({"schemas": ["urn:x"], "Operations": []}),
            "schemas: a PATCH body has urn:ietf:params:scim:api:messages:2.0:PatchOp",
        ),
        (
            json!({"schemas": [PATCH_OP_SCHEMA]}),
            "Operations is missing",
        ),
        (
            json!({"Operations": {}}),
            "Operations: expected a list, got an object",
        ),
        (
            json!({"Operations": ["x"]}),
            "Operations: expected an object, got the string \"x\"",
        ),
        (json!({"Operations": [{}]}), "op is missing"),
        (
            json!({"Operations": [{"op": "set"}]}),
            "op: expected add, remove or replace, got \"set\"",
        ),
        (
            json!({"Operations": [{"op": "add", "path": 7}]}),
            "path: expected a string, got the number 7",
        ),
    ] {
        let error = apply(&ann(), body).unwrap_err();
        assert_eq!(
            (error.scim_type(), error.detail()),
            (Some(ScimType::InvalidSyntax), detail)
        );
    }
    let many = vec![operation; MAX_OPERATIONS + 1];
    assert!(
        patched(json!(many))
            .unwrap_err()
            .detail()
            .starts_with("Operations holds 1001 operations; 1000 at most")
    );
}

#[test]
fn x4_add_without_a_path_merges_and_appends() {
    let add = json!([{"op": "add", "value": {"name": {"middleName": "B"}, "emails": [{"value": "a@other"}], "title": "x"}}]);
    gives(
        add.clone(),
        "name",
        json!({"familyName": "Archer", "givenName": "Ann", "middleName": "B"}),
    );
    gives(add.clone(), "title", json!("x"));
    assert_eq!(patched(add).unwrap().elements("emails").count(), 3);
}

#[test]
fn x5_replace_without_a_path() {
    gives(
        json!([{"op": "replace", "value": {"active": false}}]),
        "active",
        json!(false),
    );
    let echo = json!([{"op": "replace", "value": {"id": "2819", "schemas": ["urn:x"], "meta": {}, "groups": [], "displayName": "A"}}]);
    gives(echo, "displayName", json!("A"));
    refused(
        json!([{"op": "replace", "value": {"id": "other"}}]),
        ScimType::Mutability,
        "id: is readOnly",
    );
    refused(
        json!([{"op": "add", "value": {"groups": [{"value": "g"}]}}]),
        ScimType::Mutability,
        "groups: is readOnly",
    );
}

#[test]
fn x6_keys_with_dots_urns_filters_and_extensions() {
    let department = format!("{ENTERPRISE}:department");
    gives(
        json!([{"op": "replace", "value": {"name.givenName": "Anna"}}]),
        "name",
        json!({"familyName": "Archer", "givenName": "Anna"}),
    );
    gives(
        json!([{"op": "add", "value": {&department: "Sales"}}]),
        &department,
        json!("Sales"),
    );
    gives(
        json!([{"op": "add", "value": {ENTERPRISE: {"department": "Sales", "Manager": "00u"}}}]),
        &format!("{ENTERPRISE}:manager"),
        json!({"value": "00u"}),
    );
    gives(
        json!([{"op": "replace", "value": {"emails[type eq \"work\"].value": "new"}}]),
        "emails",
        json!([{"value": "new", "type": "work", "primary": true}, {"value": "a@home", "type": "home"}]),
    );
    changes_nothing(
        json!([{"op": "replace", "value": {"shoeSize": 44, "name.shoe": 1, "urn:x:y": {}}}]),
    );
}

#[test]
fn x7_without_a_path_the_value_is_an_object() {
    let needed = "value: an operation without path needs an object of attributes, got ";
    refused(
        json!([{"op": "replace", "value": "x"}]),
        ScimType::InvalidValue,
        &format!("{needed}the string \"x\""),
    );
    refused(
        json!([{"op": "add", "path": "", "value": null}]),
        ScimType::InvalidValue,
        &format!("{needed}null"),
    );
    refused(
        json!([{"op": "add"}]),
        ScimType::InvalidValue,
        "value: is missing",
    );
}

#[test]
fn x8_paths() {
    gives(
        json!([{"op": "replace", "path": "NAME.GIVENNAME", "value": "X"}]),
        "name.givenName",
        json!("X"),
    );
    gives(
        json!([{"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:User:title", "value": "X"}]),
        "title",
        json!("X"),
    );
    gives(
        json!([{"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:User", "value": {"title": "X"}}]),
        "title",
        json!("X"),
    );
    gives(
        json!([{"op": "add", "path": ENTERPRISE, "value": {"division": "N"}}]),
        &format!("{ENTERPRISE}:division"),
        json!("N"),
    );
    gives(
        json!([{"op": "add", "path": format!("{ENTERPRISE}:manager.value"), "value": "m"}]),
        &format!("{ENTERPRISE}:manager.value"),
        json!("m"),
    );
    refused(
        json!([{"op": "add", "path": "shoeSize", "value": 1}]),
        ScimType::InvalidPath,
        "path \"shoeSize\": User has no such attribute",
    );
    refused(
        json!([{"op": "add", "path": "name.shoe", "value": 1}]),
        ScimType::InvalidPath,
        "path \"name.shoe\": User has no such attribute",
    );
    refused(
        json!([{"op": "add", "path": "title x", "value": 1}]),
        ScimType::InvalidPath,
        "path \"title x\": it is malformed",
    );
    refused(
        json!([{"op": "add", "path": "title[value eq 1]", "value": 1}]),
        ScimType::InvalidPath,
        "path \"title[value eq 1]\": title has one value, so [ ] cannot follow it",
    );
    refused(
        json!([{"op": "add", "path": "emails[shoe eq 1]", "value": 1}]),
        ScimType::InvalidFilter,
        "filter: emails has no sub-attribute \"shoe\"",
    );
}

#[test]
fn x9_a_value_path_means_every_element_that_matches() {
    gives(
        json!([{"op": "replace", "path": "emails[value sw \"a\" and not (type eq \"other\")].display", "value": "A"}]),
        "emails",
        json!([{"value": "a@work", "display": "A", "type": "work", "primary": true}, {"value": "a@home", "display": "A", "type": "home"}]),
    );
    gives(
        json!([{"op": "replace", "path": "emails[type eq \"home\"]", "value": {"value": "new"}}]),
        "emails",
        json!([{"value": "a@work", "type": "work", "primary": true}, {"value": "new", "type": "home"}]),
    );
}

#[test]
fn x10_adding_what_is_there_changes_nothing() {
    changes_nothing(
        json!([{"op": "add", "path": "emails", "value": [{"type": "HOME", "value": "A@HOME"}]}]),
    );
    changes_nothing(
        json!([{"op": "add", "value": {"userName": "ann", "name": {"givenName": "Ann"}}}]),
    );
    gives(
        json!([{"op": "add", "path": "name.givenName", "value": "Anna"}]),
        "name.givenName",
        json!("Anna"),
    );
    gives(
        json!([{"op": "add", "path": "emails", "value": [{"type": "home", "value": "a@home", "display": "H"}]}]),
        "emails",
        json!([{"value": "a@work", "type": "work", "primary": true}, {"value": "a@home", "display": "H", "type": "home"}]),
    );
}

#[test]
fn x11_add_to_an_unmatched_value_path_makes_the_element() {
    gives(
        json!([{"op": "Add", "path": "phoneNumbers[type eq \"work\"].value", "value": "1"}]),
        "phoneNumbers",
        json!([{"value": "1", "type": "work"}]),
    );
    gives(
        json!([{"op": "add", "path": "phoneNumbers[type eq \"work\" and primary eq true]", "value": {"value": "1"}}]),
        "phoneNumbers",
        json!([{"value": "1", "type": "work", "primary": true}]),
    );
    refused(
        json!([{"op": "add", "path": "phoneNumbers[type eq \"a\" or type eq \"b\"].value", "value": "1"}]),
        ScimType::NoTarget,
        "phoneNumbers.value: the path's filter selects nothing",
    );
}

#[test]
fn x12_replace_of_an_unmatched_value_path_has_no_target() {
    for path in ["emails[type eq \"fax\"].value", "emails[type eq \"fax\"]"] {
        let error = patched(json!([{"op": "replace", "path": path, "value": "x"}])).unwrap_err();
        assert_eq!(
            (error.status(), error.scim_type()),
            (400, Some(ScimType::NoTarget)),
            "{path}"
        );
    }
}

#[test]
fn x12_entra_creates_by_a_replace() {
    let entra = ResourceType::user().clone().with_client(Client::Entra);
    let patched = |operations: Value| {
        let body = object(json!({"Operations": operations}));
        PatchOp::parse(body, &entra)?.apply(&entra, &ann(), "2819")
    };
    let number = json!([{"value": "1", "type": "work"}]);
    for operation in [
        json!({"op": "Replace", "path": "phoneNumbers[type eq \"work\"].value", "value": "1"}),
        json!({"op": "Replace", "path": "phoneNumbers[type eq \"work\"]", "value": {"value": "1"}}),
        json!({"op": "Replace", "value": {"phoneNumbers[type eq \"work\"].value": "1"}}),
    ] {
        let patched = patched(json!([operation])).unwrap();
        assert_eq!(patched.get("phoneNumbers"), Some(&number), "{operation}");
    }
    for nothing in [json!(""), json!(null)] {
        for path in [
            "phoneNumbers[type eq \"work\"].value",
            "phoneNumbers[type eq \"work\"]",
        ] {
            let operation = json!({"op": "Replace", "path": path, "value": nothing});
            assert_eq!(patched(json!([operation])).unwrap(), ann(), "{operation}");
        }
    }
    let both = json!([
        {"op": "Replace", "path": "addresses[type eq \"work\"].locality", "value": "Bern"},
        {"op": "Replace", "path": "addresses[type eq \"work\"].country", "value": "CH"}
    ]);
    assert_eq!(
        patched(both).unwrap().get("addresses"),
        Some(&json!([{"locality": "Bern", "country": "CH", "type": "work"}]))
    );
    let unclear = json!([{"op": "Replace", "path": "phoneNumbers[type eq \"a\" or type eq \"b\"].value", "value": "1"}]);
    assert_eq!(
        patched(unclear).unwrap_err().scim_type(),
        Some(ScimType::NoTarget)
    );
}

#[test]
fn c6_what_is_not_understood_empties_nothing() {
    let emails = "emails: has no sub-attribute \"id\", and nothing else is there; it has value, display, type, primary";
    for op in ["add", "replace", "remove"] {
        refused(
            json!([{"op": op, "path": "emails", "value": [{"id": "x"}]}]),
            ScimType::InvalidValue,
            emails,
        );
    }
    refused(
        json!([{"op": "replace", "path": "emails[type eq \"work\"]", "value": {"id": "x"}}]),
        ScimType::InvalidValue,
        emails,
    );
    for empty in [
        json!([null]),
        json!([{}]),
        json!([""]),
        json!([{"value": null}]),
        json!({"value": ""}),
    ] {
        refused(
            json!([{"op": "replace", "path": "emails", "value": empty}]),
            ScimType::InvalidValue,
            "emails: all elements are empty; send null or [] in place of the list to empty it",
        );
    }
    for path in [
        json!({"op": "replace", "path": "name"}),
        json!({"op": "add", "path": "name"}),
    ] {
        let mut operation = object(path);
        operation.insert("value".to_owned(), json!({"first": "Ann"}));
        let error = patched(json!([operation])).unwrap_err();
        assert!(
            error
                .detail()
                .starts_with("name: has no sub-attribute \"first\"")
        );
    }
    refused(
        json!([{"op": "replace", "path": ENTERPRISE, "value": {"dept": "d"}}]),
        ScimType::InvalidValue,
        &format!(
            "{ENTERPRISE}: has no attribute \"dept\", and nothing else is there; see /Schemas for the attributes that it has"
        ),
    );
    for text in ["{\"value\": \"x\"}", " [\"x\"]"] {
        let error =
            patched(json!([{"op": "replace", "path": "emails[type eq \"work\"]", "value": text}]))
                .unwrap_err();
        assert!(
            error
                .detail()
                .starts_with("emails: expected an object, got the string")
        );
    }
}

#[test]
fn a_value_in_an_object_of_its_own_name_is_that_value() {
    let x = json!([{"value": "x"}]);
    for (path, wrapped) in [
        ("emails", json!({"emails": x})),
        ("emails", json!({"EMAILS": {"value": "x"}})),
        (
            "emails",
            json!({"urn:ietf:params:scim:schemas:core:2.0:User:emails": x}),
        ),
    ] {
        gives(
            json!([{"op": "replace", "path": path, "value": wrapped}]),
            "emails",
            x.clone(),
        );
    }
    let (bare, dotted) = (json!({"givenName": "X"}), json!({"name.givenName": "X"}));
    for value in [bare, dotted] {
        gives(
            json!([{"op": "replace", "path": "name.givenName", "value": value}]),
            "name.givenName",
            json!("X"),
        );
    }
    gives(
        json!([{"op": "add", "path": "name", "value": {"name": {"givenName": "X"}}}]),
        "name.givenName",
        json!("X"),
    );
    gives(
        json!([{"op": "add", "path": ENTERPRISE, "value": {ENTERPRISE: {"department": "d"}}}]),
        &format!("{ENTERPRISE}:department"),
        json!("d"),
    );
    gives(
        json!([{"op": "remove", "path": "emails", "value": {"emails": [{"value": "a@work"}]}}]),
        "emails",
        json!([{"value": "a@home", "type": "home"}]),
    );
    changes_nothing(json!([{"op": "remove", "path": "emails", "value": {"emails": []}}]));
    gives(
        json!([{"op": "replace", "path": "emails", "value": {"emails": []}}]),
        "emails",
        json!(null),
    );
}

#[test]
fn c6_x15_a_value_that_is_cleared_takes_its_element_with_it() {
    let home = json!([{"value": "a@home", "type": "home"}]);
    for operation in [
        json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": ""}),
        json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": null}),
        json!({"op": "replace", "path": "emails[type eq \"work\"]", "value": {"value": "", "type": "work"}}),
        json!({"op": "replace", "value": {"emails[type eq \"work\"].value": ""}}),
        json!({"op": "replace", "path": "emails", "value": [{"value": "", "type": "work", "primary": true}, {"value": "a@home", "type": "home"}]}),
    ] {
        gives(json!([operation]), "emails", home.clone());
    }
}

#[test]
fn c21_an_attribute_of_an_extension_that_is_not_registered_is_ignored_with_a_path_as_well() {
    let tag = "urn:ietf:params:scim:schemas:extension:CustomExtensionName:2.0:User";
    for operation in [
        json!({"op": "Add", "path": format!("{tag}:tag"), "value": "7"}),
        json!({"op": "Replace", "path": format!("{tag}:tags[type eq \"a\"].value"), "value": "7"}),
        json!({"op": "Remove", "path": format!("{tag}:tag.part")}),
        json!({"op": "Add", "path": tag, "value": {"tag": "7"}}),
        json!({"op": "Add", "value": {format!("{tag}:tag"): "7", tag: {"tag": "7"}}}),
    ] {
        changes_nothing(json!([operation]));
        gives(
            json!([operation, {"op": "replace", "path": "title", "value": "x"}]),
            "title",
            json!("x"),
        );
    }
    let long = format!(
        "urn:ietf:params:scim:schemas:core:2.0:User:{}",
        "shoeSize".repeat(20)
    );
    for core in [
        "shoeSize",
        "x:shoeSize",
        "urn:ietf:params:scim:schemas:core:2.0:Group:members",
        &long,
    ] {
        refused(
            json!([{"op": "add", "path": core, "value": "7"}]),
            ScimType::InvalidPath,
            &format!("path \"{core}\": User has no such attribute"),
        );
    }
}

#[test]
fn f6_an_attribute_that_is_there_twice_is_refused_in_every_form() {
    let department = format!("{ENTERPRISE}:department");
    let title = "urn:ietf:params:scim:schemas:core:2.0:User:title";
    for (operation, place) in [
        (
            json!({"op": "add", "value": {"title": "a", title: "b"}}),
            "title",
        ),
        (
            json!({"op": "add", "value": {"name": {"givenName": "a"}, "name.givenName": "b"}}),
            "name.givenName",
        ),
        (
            json!({"op": "add", "value": {ENTERPRISE: {"department": "a"}, department.clone(): "b"}}),
            &department,
        ),
        (
            json!({"op": "replace", "path": ENTERPRISE, "value": {"department": "a", department.clone(): "b"}}),
            &department,
        ),
    ] {
        refused(
            json!([operation]),
            ScimType::InvalidValue,
            &format!("{place}: is there twice, with different values; send it once"),
        );
    }
}

#[test]
fn a_list_of_one_is_one_value() {
    gives(
        json!([{"op": "Replace", "path": "title", "value": [{"$ref": null, "value": "x"}]}]),
        "title",
        json!("x"),
    );
    gives(
        json!([{"op": "Replace", "value": {"active": ["False"]}}]),
        "active",
        json!(false),
    );
    gives(
        json!([{"op": "Replace", "path": format!("{ENTERPRISE}:manager"), "value": [{"$ref": null, "value": "m"}]}]),
        &format!("{ENTERPRISE}:manager.value"),
        json!("m"),
    );
    gives(
        json!([{"op": "Replace", "path": "emails[type eq \"work\"].value", "value": ["x"]}]),
        "emails",
        json!([{"value": "x", "type": "work", "primary": true}, {"value": "a@home", "type": "home"}]),
    );
    refused(
        json!([{"op": "Replace", "path": "title", "value": [{"value": "x"}, {"value": "y"}]}]),
        ScimType::InvalidValue,
        "title: expected a string, got a list",
    );
}

#[test]
fn x13_x14_replace() {
    gives(
        json!([{"op": "replace", "path": "title", "value": "x"}]),
        "title",
        json!("x"),
    );
    gives(
        json!([{"op": "replace", "path": "name", "value": {"givenName": "X"}}]),
        "name",
        json!({"familyName": "Archer", "givenName": "X"}),
    );
    gives(
        json!([{"op": "replace", "path": "emails", "value": [{"value": "only"}]}]),
        "emails",
        json!([{"value": "only"}]),
    );
    gives(
        json!([{"op": "replace", "path": "emails", "value": []}]),
        "emails",
        json!(null),
    );
    gives(
        json!([{"op": "replace", "path": "name.familyName", "value": ""}]),
        "name",
        json!({"givenName": "Ann"}),
    );
}

#[test]
fn x15_remove() {
    gives(
        json!([{"op": "remove", "path": "name"}]),
        "name",
        json!(null),
    );
    gives(
        json!([{"op": "remove", "path": "name.givenName"}]),
        "name",
        json!({"familyName": "Archer"}),
    );
    gives(
        json!([{"op": "remove", "path": "emails[type eq \"home\"]"}]),
        "emails",
        json!([{"value": "a@work", "type": "work", "primary": true}]),
    );
    gives(
        json!([{"op": "remove", "path": "emails[value pr]"}]),
        "emails",
        json!(null),
    );
    gives(
        json!([{"op": "remove", "path": "emails[type eq \"work\"].primary"}]),
        "emails",
        json!([{"value": "a@work", "type": "work"}, {"value": "a@home", "type": "home"}]),
    );
    changes_nothing(
        json!([{"op": "remove", "path": "title"}, {"op": "remove", "path": "emails[type eq \"fax\"]"}, {"op": "remove", "path": ENTERPRISE}]),
    );
    // Nothing is left of an element but what it was selected by.
    gives(
        json!([{"op": "Remove", "path": "emails[type eq \"work\"].value"}]),
        "emails",
        json!([{"value": "a@home", "type": "home"}]),
    );
    gives(
        json!([{"op": "remove", "path": "emails[value eq \"a@work\"].type"}]),
        "emails",
        json!([{"value": "a@work", "primary": true}, {"value": "a@home", "type": "home"}]),
    );
    refused(
        json!([{"op": "remove", "path": "userName"}]),
        ScimType::Mutability,
        "userName: is required and cannot be removed",
    );
    refused(
        json!([{"op": "remove", "path": "id"}]),
        ScimType::Mutability,
        "id: is readOnly",
    );
    refused(
        json!([{"op": "replace", "path": "userName", "value": null}]),
        ScimType::InvalidValue,
        "userName: is required",
    );
}

#[test]
fn x16_remove_needs_a_path() {
    refused(
        json!([{"op": "remove", "value": {"title": "x"}}]),
        ScimType::NoTarget,
        "a remove operation needs a path",
    );
}

#[test]
fn x17_x18_remove_of_named_values() {
    let home = json!([{"value": "a@home", "type": "home"}]);
    gives(
        json!([{"op": "Remove", "path": "emails", "value": [{"value": "A@WORK"}]}]),
        "emails",
        home.clone(),
    );
    gives(
        json!([{"op": "Remove", "path": "emails", "value": {"value": "a@work", "type": "work"}}]),
        "emails",
        home,
    );
    gives(
        json!([{"op": "remove", "path": "emails", "value": null}]),
        "emails",
        json!(null),
    );
    changes_nothing(json!([{"op": "remove", "path": "emails", "value": []}]));
    changes_nothing(
        json!([{"op": "remove", "path": "emails", "value": [{"value": "a@work", "type": "home"}]}]),
    );
    gives(
        json!([{"op": "remove", "path": "emails[value eq \"a@work\" or value eq \"a@home\"]"}]),
        "emails",
        json!(null),
    );
}

#[test]
fn x19_x20_values_are_coerced_by_the_schema() {
    gives(
        json!([{"op": "Replace", "path": "active", "value": "False"}]),
        "active",
        json!(false),
    );
    gives(
        json!([{"op": "add", "path": "emails[type eq \"home\"].primary", "value": "True"}]),
        "emails",
        json!([{"value": "a@work", "type": "work", "primary": false}, {"value": "a@home", "type": "home", "primary": true}]),
    );
    gives(
        json!([{"op": "add", "path": "roles", "value": {"value": "r"}}]),
        "roles",
        json!([{"value": "r"}]),
    );
    gives(
        json!([{"op": "add", "path": "roles", "value": ["r", "s"]}]),
        "roles",
        json!([{"value": "r"}, {"value": "s"}]),
    );
    refused(
        json!([{"op": "replace", "path": "title", "value": ["a", "b"]}]),
        ScimType::InvalidValue,
        "title: expected a string, got a list",
    );
    refused(
        json!([{"op": "replace", "path": "active", "value": "7"}]),
        ScimType::InvalidValue,
        "active: expected a Boolean, got the string \"7\"",
    );
}

#[test]
fn x21_in_order_and_all_or_nothing() {
    gives(
        json!([{"op": "add", "path": "title", "value": "1"}, {"op": "remove", "path": "title"}, {"op": "add", "path": "title", "value": "2"}]),
        "title",
        json!("2"),
    );
    let before = ann();
    let body = json!({"Operations": [{"op": "add", "path": "title", "value": "1"}, {"op": "remove", "path": "userName"}]});
    assert!(apply(&before, body).is_err());
    assert_eq!(before, ann());
}

#[test]
fn x23_c17_a_new_primary_takes_the_place_of_the_old_one() {
    let primaries = |operations: Value| -> Vec<bool> {
        patched(operations)
            .unwrap()
            .elements("emails")
            .map(|email| email.get("primary") == Some(&json!(true)))
            .collect()
    };
    assert_eq!(
        primaries(
            json!([{"op": "add", "path": "emails", "value": [{"value": "n", "primary": true}]}])
        ),
        [false, false, true]
    );
    assert_eq!(
        primaries(
            json!([{"op": "replace", "path": "emails[type eq \"home\"].primary", "value": true}])
        ),
        [false, true]
    );
    for op in ["add", "replace"] {
        let primary = primaries(
            json!([{"op": op, "path": "emails", "value": [{"value": "n", "primary": true}, {"value": "m", "primary": true}]}]),
        );
        let before = primary.len() - 2;
        assert_eq!(primary[before..], [true, false], "{op}");
    }
    refused(
        json!([{"op": "replace", "path": "emails[value pr].primary", "value": true}]),
        ScimType::InvalidValue,
        "emails.primary: is true for more than one value; one at most can be primary",
    );
}

#[test]
fn c12_u7_a_password_is_checked_and_gone() {
    changes_nothing(json!([{"op": "replace", "value": {"password": "t1meMa$heen"}}]));
    changes_nothing(json!([{"op": "replace", "path": "password", "value": "t1meMa$heen"}]));
    changes_nothing(json!([{"op": "remove", "path": "password"}]));
    refused(
        json!([{"op": "replace", "path": "password", "value": 12345}]),
        ScimType::InvalidValue,
        "password: expected a string",
    );
    let parsed = PatchOp::parse(
        object(
            json!({"Operations": [{"op": "add", "path": "emails[value eq \"ann\"].display", "value": "secret"}]}),
        ),
        ResourceType::user(),
    );
    let shown = format!("{:?}", parsed.unwrap());
    assert!(
        !shown.contains("ann") && !shown.contains("secret"),
        "{shown}"
    );
}

#[test]
fn x15_u2_active_can_be_removed_while_nothing_changes_by_it() {
    let remove = [
        json!([{"op": "remove", "path": "active"}]),
        json!([{"op": "replace", "path": "active", "value": null}]),
        json!([{"op": "replace", "value": {"active": ""}}]),
    ];
    let inactive = user(json!({"userName": "ann", "active": false}));
    for operations in remove {
        let active = patched(operations.clone()).unwrap();
        assert_eq!(active.get("active"), None, "{operations}");
        // Once more, and a PUT that does not have it: nothing is there, and nothing comes.
        let again = apply(&active, json!({"Operations": operations})).unwrap();
        assert_eq!(again, active);
        let put = ResourceType::user()
            .read(active.as_object().clone(), Some(&active))
            .unwrap();
        assert_eq!(put, active);
        let off = json!([{"op": "replace", "path": "active", "value": false}]);
        let off = apply(&active, json!({"Operations": off})).unwrap();
        assert_eq!(off.boolean("active"), Some(false));

        let error = apply(&inactive, json!({"Operations": operations})).unwrap_err();
        assert_eq!(
            (error.status(), error.scim_type(), error.detail()),
            (
                400,
                Some(ScimType::Mutability),
                "active: is false; removing it would mean true: replace it instead"
            ),
            "{operations}"
        );
    }
    // What counts is what is left after the last operation.
    let both = json!([{"op": "remove", "path": "active"}, {"op": "add", "path": "active", "value": false}]);
    let kept = apply(&inactive, json!({"Operations": both})).unwrap();
    assert_eq!(kept, inactive);
}

#[test]
fn x25_a_thousand_values_in_one_operation() {
    let roles: Vec<Value> = (0..1_000)
        .map(|n| json!({"value": n.to_string()}))
        .collect();
    let result = patched(json!([{"op": "add", "path": "roles", "value": roles}, {"op": "add", "path": "roles", "value": roles}])).unwrap();
    assert_eq!(result.elements("roles").count(), 1_000);
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
    fn no_message_makes_it_panic(body in any_json()) {
        if let Value::Object(body) = body {
            let _ = PatchOp::parse(body, ResourceType::user());
        }
    }

    #[test]
    fn what_is_patched_is_valid(operations in prop::collection::vec(any_operation(), 0..4)) {
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
    fn no_path_makes_it_panic(path in ".*") {
        let body = object(json!({"Operations": [{"op": "add", "path": path, "value": "x"}]}));
        let _ = PatchOp::parse(body, ResourceType::user());
    }
}
