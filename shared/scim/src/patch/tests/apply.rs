//! Tests of [`PatchOp::apply`].

use super::*;

/// RFC 7644 §3.5.2.1 (X4).
#[test]
fn add_without_a_path_merges_and_appends() {
    let add = json!([{"op": "add", "value": {"name": {"middleName": "B"}, "emails": [{"value": "a@other"}], "title": "x"}}]);
    gives(
        add.clone(),
        "name",
        json!({"familyName": "Archer", "givenName": "Ann", "middleName": "B"}),
    );
    gives(add.clone(), "title", json!("x"));
    assert_eq!(patched(add).unwrap().elements("emails").count(), 3);
}

/// RFC 7644 §3.5.2 (X9).
#[test]
fn a_value_path_selects_every_matching_element() {
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

/// RFC 7644 §3.5.2.1 (X10).
#[test]
fn adding_an_existing_value_changes_nothing() {
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

/// No RFC clause (X11).
#[test]
fn add_to_an_unmatched_value_path_creates_the_element() {
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
        "phoneNumbers.value: the filter of the path matches no element",
    );
}

/// RFC 7644 §3.5.2.3 (X12).
#[test]
fn replace_of_an_unmatched_value_path_is_no_target() {
    for path in ["emails[type eq \"fax\"].value", "emails[type eq \"fax\"]"] {
        let error = patched(json!([{"op": "replace", "path": path, "value": "x"}])).unwrap_err();
        assert_eq!(
            (error.status(), error.scim_type()),
            (400, Some(ScimType::NoTarget)),
            "{path}"
        );
    }
}

/// RFC 7644 §3.5.2.3 (X12).
#[test]
fn replace_of_an_unmatched_value_path_creates_the_element_for_entra() {
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

/// RFC 7643 §2.5 (C6); RFC 7644 §3.5.2.2 (X15).
#[test]
fn clearing_a_value_removes_its_element() {
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

/// RFC 7644 §3.5.2.3 (X13, X14).
#[test]
fn replace_sets_the_named_sub_attributes() {
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

/// RFC 7644 §3.5.2.2 (X15).
#[test]
fn remove_clears_optional_attributes_only() {
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
    // The element has only the values of its filter left.
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

/// RFC 7644 §3.5.2.2 (X17, X18).
#[test]
fn remove_of_named_values() {
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

/// RFC 7644 §3.5.2 (X21).
#[test]
fn operations_apply_in_order_and_atomically() {
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

/// RFC 7644 §3.5.2 (X23); RFC 7643 §2.4 (C17).
#[test]
fn a_new_primary_replaces_the_old_one() {
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
        "emails.primary: is true for more than one value; at most one value can be primary",
    );
}

/// RFC 7643 §4.1.1, §7, RFC 7644 §7.5.2 (C12); RFC 7643 §4.1.1 (U7).
#[test]
fn a_password_in_a_patch_is_validated_and_not_stored() {
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

/// RFC 7644 §3.5.2.2 (X15); RFC 7643 §4.1.1 (U2).
#[test]
fn active_can_be_removed_if_nothing_changes() {
    let remove = [
        json!([{"op": "remove", "path": "active"}]),
        json!([{"op": "replace", "path": "active", "value": null}]),
        json!([{"op": "replace", "value": {"active": ""}}]),
    ];
    let inactive = user(json!({"userName": "ann", "active": false}));
    for operations in remove {
        let active = patched(operations.clone()).unwrap();
        assert_eq!(active.get("active"), None, "{operations}");
        // A second removal and a PUT without the attribute change nothing.
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
                "active: is false; removing it would set it to true; replace it instead"
            ),
            "{operations}"
        );
    }
    // The result after the last operation decides.
    let both = json!([{"op": "remove", "path": "active"}, {"op": "add", "path": "active", "value": false}]);
    let kept = apply(&inactive, json!({"Operations": both})).unwrap();
    assert_eq!(kept, inactive);
}

/// No RFC clause (X25).
#[test]
fn one_operation_may_have_a_thousand_values() {
    let roles: Vec<Value> = (0..1_000)
        .map(|n| json!({"value": n.to_string()}))
        .collect();
    let result = patched(json!([{"op": "add", "path": "roles", "value": roles}, {"op": "add", "path": "roles", "value": roles}])).unwrap();
    assert_eq!(result.elements("roles").count(), 1_000);
}
