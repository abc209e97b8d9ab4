//! Tests of [`PatchOp::parse`].

use super::*;

/// RFC 7644 §3.5.2 (X1, X2); RFC 7643 §2.1 (X3).
#[test]
fn the_message_is_read_in_any_case_and_validated() {
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
            "schemas: a PATCH body must contain urn:ietf:params:scim:api:messages:2.0:PatchOp",
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
            .starts_with("Operations has 1001 operations; at most 1000")
    );
}

/// RFC 7644 §3.5.2.3 (X5).
#[test]
fn replace_without_a_path() {
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

/// RFC 7644 §3.10 (X6).
#[test]
fn keys_with_dots_uris_filters_and_extensions() {
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

/// RFC 7644 §3.5.2 (X7).
#[test]
fn an_operation_without_path_requires_an_object() {
    let needed = "value: an operation without path requires an object of attributes, got ";
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

/// RFC 7644 §3.5.2 (X8).
#[test]
fn paths_are_accepted_in_any_form() {
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
        "path \"title[value eq 1]\": title is single-valued, so it cannot be followed by [ ]",
    );
    refused(
        json!([{"op": "add", "path": "emails[shoe eq 1]", "value": 1}]),
        ScimType::InvalidFilter,
        "filter: emails has no sub-attribute \"shoe\"",
    );
}

/// RFC 7643 §2.5 (C6).
#[test]
fn a_value_that_is_not_understood_clears_nothing() {
    let emails = "emails: has no sub-attribute \"id\", and the value contains nothing else; its sub-attributes are value, display, type, primary";
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
            "emails: all elements are empty; to clear the attribute, send null or []",
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
            "{ENTERPRISE}: has no attribute \"dept\", and the object contains nothing else; see /Schemas for its attributes"
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
fn a_value_wrapped_in_its_attribute_name_is_unwrapped() {
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

/// No RFC clause (C21).
#[test]
fn attributes_of_unregistered_extensions_are_ignored_in_paths() {
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

/// RFC 7644 §3.10 (F6).
#[test]
fn duplicate_attributes_are_refused_in_every_form() {
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
            &format!("{place}: appears twice with different values; send it once"),
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

/// RFC 7644 §3.5.2.2 (X16).
#[test]
fn remove_requires_a_path() {
    refused(
        json!([{"op": "remove", "value": {"title": "x"}}]),
        ScimType::NoTarget,
        "a remove operation requires a path",
    );
}

/// RFC 7643 §2.3 (X19); RFC 7643 §2.4 (X20).
#[test]
fn values_are_converted_to_the_type_in_the_schema() {
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
