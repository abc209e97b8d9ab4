use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ScimType;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn read(body: Value) -> Result<Resource, Error> {
    ResourceType::user().read(object(body), None)
}

fn put(stored: Value, body: Value) -> Result<Resource, Error> {
    let stored = read(stored).unwrap();
    ResourceType::user().read(object(body), Some(&stored))
}

#[track_caller]
fn gives(body: Value, expected: Value) {
    let read = read(body.clone()).unwrap_or_else(|error| panic!("{body}: {}", error.detail()));
    assert_eq!(Value::Object(read.as_object().clone()), expected, "{body}");
}

#[track_caller]
fn refused(body: Value, scim_type: ScimType, detail: &str) {
    let error = read(body.clone())
        .err()
        .unwrap_or_else(|| panic!("{body} is taken"));
    assert_eq!(
        (error.status(), error.scim_type(), error.detail()),
        (400, Some(scim_type), detail),
        "{body}"
    );
}

/// RFC 7643 §3 (C1, C2); RFC 7643 §2.1, RFC 7644 §3.10 (H7).
#[test]
fn schemas_are_validated_and_may_be_missing() {
    let ann = json!({"userName": "ann", "active": true});
    for schemas in [
        json!(["urn:ietf:params:scim:schemas:core:2.0:User"]),
        json!(["URN:ietf:params:scim:schemas:core:2.0:user", ENTERPRISE]),
        json!([ENTERPRISE]),
        // An administrator mapped one more attribute in the identity provider.
        json!(["urn:x", "urn:ietf:params:scim:schemas:core:2.0:User"]),
        // OneLogin sends these URIs.
        json!([
            "urn:scim:schemas:core:1.0",
            "urn:scim:schemas:extension:enterprise:1.0"
        ]),
        json!("urn:scim:schemas:core:2.0"),
        json!(["urn:scim:schemas:core:2.0:User"]),
        json!(null),
        json!([]),
    ] {
        gives(json!({"schemas": schemas, "userName": "ann"}), ann.clone());
    }
    gives(json!({"userName": "ann"}), ann);
    refused(
        json!({"schemas": ["urn:x"], "userName": "ann"}),
        ScimType::InvalidValue,
        "schemas: \"urn:x\" is not a schema of User; send urn:ietf:params:scim:schemas:core:2.0:User",
    );
    refused(
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", "urn:scim:schemas:core:2.0:Group"], "userName": "ann"}),
        ScimType::InvalidValue,
        "schemas: \"urn:ietf:params:scim:schemas:core:2.0:Group\", \"urn:scim:schemas:core:2.0:Group\" are not schemas of User; \
         send urn:ietf:params:scim:schemas:core:2.0:User",
    );
    refused(
        json!({"schemas": [7], "userName": "ann"}),
        ScimType::InvalidValue,
        "schemas: expected a URI, got the number 7",
    );
}

/// RFC 7643 §3.1 (C3, C5); RFC 7644 §3.3, §3.5.1, §3.5.2 (C10).
#[test]
fn read_only_attributes_are_ignored() {
    gives(
        json!({"id": "mine", "meta": {"version": "x"}, "groups": [], "userName": "ann",
            ENTERPRISE: {"manager": {"value": "m", "displayName": "Boss"}}}),
        json!({"userName": "ann", "active": true, ENTERPRISE: {"manager": {"value": "m"}}}),
    );
    gives(
        json!({"groups": "nonsense", "meta": 7, "userName": "ann"}),
        json!({"userName": "ann", "active": true}),
    );
}

/// RFC 7643 §2.5 (C6).
#[test]
fn null_missing_and_empty_values_are_equal() {
    gives(
        json!({"userName": "ann", "title": null, "nickName": "", "emails": [], "roles": [null, {}, ""], "name": {"givenName": "", "familyName": null},
            "addresses": [{"locality": ""}], ENTERPRISE: {"department": ""}}),
        json!({"userName": "ann", "active": true}),
    );
}

/// RFC 7643 §2.3.2 (C7); RFC 7643 §2.3 (X19); RFC 7643 §2.4 (X20); RFC 7643 §4.3 (U5).
#[test]
fn values_are_converted_to_the_type_of_the_attribute() {
    gives(
        json!({"userName": "ann", "active": "FALSE", "emails": "a@example.com", "roles": ["r", {"value": "s", "primary": "True"}], ENTERPRISE: {"manager": "m"}}),
        json!({"userName": "ann", "active": false, "emails": [{"value": "a@example.com"}], "roles": [{"value": "r"}, {"value": "s", "primary": true}],
            ENTERPRISE: {"manager": {"value": "m"}}}),
    );
}

/// RFC 7643 §2.3 (C8); RFC 7643 §2.2, RFC 7644 §3.12 (C9).
#[test]
fn errors_name_the_invalid_attribute() {
    refused(json!({}), ScimType::InvalidValue, "userName: is required");
    refused(
        json!({"userName": {}}),
        ScimType::InvalidValue,
        "userName: expected a string, got an object",
    );
    refused(
        json!({"userName": "a", "name": ["x", "y"]}),
        ScimType::InvalidValue,
        "name: expected an object, got a list",
    );
    refused(
        json!({"userName": "a", "name": "x"}),
        ScimType::InvalidValue,
        "name: expected an object, got the string \"x\"",
    );
    let text = json!({"value": "b"}).to_string();
    for attribute in ["emails", "roles"] {
        refused(
            json!({"userName": "a", attribute: text}),
            ScimType::InvalidValue,
            &format!("{attribute}: expected an object, got the string \"{text}\""),
        );
    }
    refused(
        json!({"userName": "a", "emails": [{"primary": 1}]}),
        ScimType::InvalidValue,
        "emails.primary: expected a Boolean, got the number 1",
    );
    refused(
        json!({"userName": "a", "profileUrl": "see here"}),
        ScimType::InvalidValue,
        "profileUrl: expected a URI, got the string \"see here\"",
    );
    refused(
        json!({"userName": "a", ENTERPRISE: "x"}),
        ScimType::InvalidValue,
        &format!("{ENTERPRISE}: expected an object, got the string \"x\""),
    );
    refused(
        json!({"userName": "a", ENTERPRISE: {"manager": {"value": 7}}}),
        ScimType::InvalidValue,
        &format!("{ENTERPRISE}:manager.value: expected a string, got the number 7"),
    );
}

/// RFC 7643 §4.1.1, §7, RFC 7644 §7.5.2 (C12); RFC 7643 §4.1.1 (U7).
#[test]
fn a_password_is_validated_and_not_stored() {
    gives(
        json!({"userName": "ann", "password": "t1meMa$heen"}),
        json!({"userName": "ann", "active": true}),
    );
    refused(
        json!({"userName": "ann", "password": ["t1meMa$heen", "x"]}),
        ScimType::InvalidValue,
        "password: expected a string",
    );
}

/// RFC 7643 §2.4 (C17, C18).
#[test]
fn only_one_primary_and_no_duplicates_are_kept() {
    let email =
        |value: &str, primary: bool| json!({"value": value, "type": "work", "primary": primary});
    gives(
        json!({"userName": "ann", "emails": [email("a", true), email("b", true)]}),
        json!({"userName": "ann", "active": true, "emails": [email("a", true), email("b", false)]}),
    );
    gives(
        json!({"userName": "ann", "emails": [{"type": "work", "value": "a"}, email("b", false), email("A", true)]}),
        json!({"userName": "ann", "active": true, "emails": [{"value": "a", "type": "work", "primary": true}, email("b", false)]}),
    );
}

/// RFC 7643 §7 (C19), no clause (C21), RFC 7643 §2.1 (H6).
#[test]
fn other_types_unknown_attributes_and_case_of_names() {
    gives(
        json!({"USERNAME": "ann", "shoeSize": 44, "Emails": [{"VALUE": "a", "Type": "boat", "shoe": 1}]}),
        json!({"userName": "ann", "active": true, "emails": [{"value": "a", "type": "boat"}]}),
    );
}

const USER: &str = crate::USER_SCHEMA;

/// RFC 7644 §3.10 (F6).
#[test]
fn attribute_names_have_the_forms_of_paths() {
    let lead = json!({"userName": "ann", "title": "Lead", "active": false, "name": {"givenName": "Ann", "familyName": "Archer"},
        "emails": [{"value": "a", "type": "work"}], ENTERPRISE: {"department": "d", "manager": {"value": "m"}}});
    let name = |of: &str| format!("{USER}:{of}");
    let of_enterprise = |of: &str| format!("{ENTERPRISE}:{of}");
    for body in [
        json!({"userName": "ann", USER: {"title": "Lead", "active": false, "name": {"givenName": "Ann", "familyName": "Archer"}},
            of_enterprise("department"): "d", of_enterprise("manager.value"): "m"}),
        json!({name("userName"): "ann", name("TITLE"): "Lead", name("active"): "False", "name.givenName": "Ann", name("name.familyName"): "Archer",
            ENTERPRISE: {"department": "d", "manager.value": "m"}}),
        json!({USER.to_uppercase(): {"userName": "ann", "title": "Lead", "name": {"givenName": "Ann"}, USER: {"active": false}, ENTERPRISE: {"manager": "m"}},
            "name": {"familyName": "Archer", "GIVENNAME": "Ann"}, ENTERPRISE.to_lowercase(): {of_enterprise("department"): "d"}}),
    ] {
        let mut body = object(body);
        body.insert("emails[type eq \"work\"].value".to_owned(), json!("a"));
        gives(Value::Object(body), lead.clone());
    }
    let emails = |name: &str, value: Value| json!({"userName": "ann", "emails": [{"value": "a", "type": "work"}], name: value});
    gives(
        emails("emails[type eq \"home\"]", json!({"value": "b"})),
        json!({"userName": "ann", "active": true, "emails": [{"value": "a", "type": "work"}, {"value": "b", "type": "home"}]}),
    );
    for (body, what) in [
        (
            json!({"userName": "ann", "title": "a", name("title"): "b"}),
            "title",
        ),
        (
            json!({"userName": "ann", "name": {"givenName": "a"}, "name.givenName": "b"}),
            "name.givenName",
        ),
        (
            json!({"userName": "ann", "name.givenName": "b", USER: {"name": {"givenName": "a"}}}),
            "name",
        ),
        (
            json!({"userName": "ann", "active": true, USER: {"active": false}}),
            "active",
        ),
    ] {
        refused(
            body,
            ScimType::InvalidValue,
            &format!("{what}: appears twice with different values; send it once"),
        );
    }
    gives(
        json!({"userName": "ann", "title": "a", name("title"): "a", "name.nope": 1, "urn:acme:User:hat": 60, "urn:acme:User": {"hat": 60}}),
        json!({"userName": "ann", "title": "a", "active": true}),
    );
    refused(
        json!({"userName": "ann", USER: "x"}),
        ScimType::InvalidValue,
        &format!("{USER}: expected an object, got the string \"x\""),
    );
}

/// RFC 7643 §2.5 (C6).
#[test]
fn a_value_with_unknown_members_only_is_refused() {
    let known = "value, display, type, primary";
    refused(
        json!({"userName": "ann", "emails": [{"mail": "a"}]}),
        ScimType::InvalidValue,
        &format!(
            "emails: has no sub-attribute \"mail\", and the value contains nothing else; its sub-attributes are {known}"
        ),
    );
    refused(
        json!({"userName": "ann", "roles": [{"value": "r"}, {"id": "s", "value": ""}]}),
        ScimType::InvalidValue,
        &format!(
            "roles: has no sub-attribute \"id\", and the value contains nothing else; its sub-attributes are {known}"
        ),
    );
    refused(
        json!({"userName": "ann", "name": {"first": "Ann"}}),
        ScimType::InvalidValue,
        "name: has no sub-attribute \"first\", and the value contains nothing else; its sub-attributes are formatted, familyName, givenName, middleName, \
         honorificPrefix, honorificSuffix",
    );
    refused(
        json!({"userName": "ann", ENTERPRISE: {"dept": "d", "division": null}}),
        ScimType::InvalidValue,
        &format!(
            "{ENTERPRISE}: has no attribute \"dept\", and the object contains nothing else; see /Schemas for its attributes"
        ),
    );
    // A readOnly attribute is a known one, and an unknown name beside a known one is ignored.
    gives(
        json!({"userName": "ann", "name": {"first": "A", "givenName": "Ann"}, ENTERPRISE: {"dept": "d", "division": "x", "manager": {"displayName": "B"}}}),
        json!({"userName": "ann", "active": true, "name": {"givenName": "Ann"}, ENTERPRISE: {"division": "x"}}),
    );
    gives(
        json!({"userName": "ann", "emails": {"emails": [{"value": "a"}]}, "title": {"title": "x"}, "nickName": [{"$ref": null, "value": "n"}],
            "phoneNumbers": [{"value": "", "type": "work", "primary": true}, {"value": "1"}], ENTERPRISE: {"manager": [{"value": "m"}]}}),
        json!({"userName": "ann", "title": "x", "nickName": "n", "active": true, "emails": [{"value": "a"}], "phoneNumbers": [{"value": "1"}],
            ENTERPRISE: {"manager": {"value": "m"}}}),
    );
    refused(
        json!({"userName": "ann", "nickName": [{"value": "n", "type": "x"}]}),
        ScimType::InvalidValue,
        "nickName: expected a string, got an object",
    );
}

/// RFC 7643 §2.1, RFC 7644 §3.10 (H7).
#[test]
fn uris_and_names_of_scim_1_1_are_accepted() {
    for old in [
        "urn:scim:schemas:extension:enterprise:1.0",
        "URN:scim:schemas:extension:enterprise:2.0",
    ] {
        gives(
            json!({"schemas": ["urn:scim:schemas:core:1.0", old], "userName": "ann", old: {"department": "d", "manager": {"managerId": "m", "displayName": "B"}}}),
            json!({"userName": "ann", "active": true, ENTERPRISE: {"department": "d", "manager": {"value": "m"}}}),
        );
        gives(
            json!({"userName": "ann", format!("{old}:manager.managerId"): "m"}),
            json!({"userName": "ann", "active": true, ENTERPRISE: {"manager": {"value": "m"}}}),
        );
    }
    gives(
        json!({"userName": "ann", ENTERPRISE: {"manager": {"managerId": "old", "value": "m"}}}),
        json!({"userName": "ann", "active": true, ENTERPRISE: {"manager": {"value": "m"}}}),
    );
}

/// RFC 7643 §4.1.1 (U2).
#[test]
fn active_is_true_for_new_users_and_kept_by_put() {
    assert_eq!(
        read(json!({"userName": "ann"})).unwrap().boolean("active"),
        Some(true)
    );
    let off = put(
        json!({"userName": "ann", "active": false}),
        json!({"userName": "ann"}),
    )
    .unwrap();
    assert_eq!(off.boolean("active"), Some(false));
}

/// RFC 7644 §3.5.1 (W1).
#[test]
fn put_clears_omitted_attributes() {
    let result = put(
        json!({"userName": "ann", "title": "x", "externalId": "e", ENTERPRISE: {"department": "d"}}),
        json!({"userName": "ann", "nickName": "n"}),
    );
    assert_eq!(
        Value::Object(result.unwrap().as_object().clone()),
        json!({"userName": "ann", "nickName": "n", "active": true})
    );
}

/// RFC 7643 §7, RFC 7644 §3.5.1 (C11).
#[test]
fn an_immutable_attribute_is_set_once() {
    let mut ty = ResourceType::user().clone();
    for attribute in &mut ty.schema.attributes {
        if attribute.name == "title" {
            attribute.mutability = Mutability::Immutable;
        }
    }
    let read = |body: Value, keep: Option<&Resource>| ty.read(object(body), keep);
    let stored = read(json!({"userName": "ann", "title": "x"}), None).unwrap();
    assert_eq!(
        read(json!({"userName": "ann"}), Some(&stored)).unwrap(),
        stored
    );
    assert_eq!(
        read(json!({"userName": "ann", "title": "x"}), Some(&stored)).unwrap(),
        stored
    );
    let error = read(json!({"userName": "ann", "title": "y"}), Some(&stored)).unwrap_err();
    assert_eq!(
        (error.scim_type(), error.detail()),
        (
            Some(ScimType::Mutability),
            "title: is immutable and already has another value"
        )
    );
}

const ACME: &str = "urn:acme:User";

/// Returns users with an extension of these attributes.
fn with(attributes: Value, required: bool) -> ResourceType {
    let schema = object(json!({"id": ACME, "attributes": attributes}));
    let schema = crate::Schema::parse(schema).unwrap();
    let extension = crate::Extension { schema, required };
    ResourceType::user().clone().extend(extension).unwrap()
}

fn patch(ty: &ResourceType, stored: &Resource, operation: Value) -> Result<Resource, Error> {
    let body = object(json!({"Operations": [operation]}));
    crate::PatchOp::parse(body, ty)?.apply(ty, stored, "2819")
}

/// RFC 7644 §3.5.2 (X8); RFC 7644 §3.5.2.2 (X15).
#[test]
fn an_extension_with_required_attributes_is_removed_as_a_whole() {
    let ty = with(
        json!([{"name": "badge", "required": true}, {"name": "hat"}]),
        false,
    );
    let ann = json!({"userName": "ann", ACME: {"badge": "7", "hat": "60"}});
    let ann = ty.read(object(ann), None).unwrap();
    let gone = patch(&ty, &ann, json!({"op": "remove", "path": ACME})).unwrap();
    assert_eq!(gone.get(ACME), None);
    for (path, scim_type) in [
        (format!("{ACME}:badge"), ScimType::Mutability),
        ("userName".to_owned(), ScimType::Mutability),
    ] {
        let error = patch(&ty, &ann, json!({"op": "remove", "path": path})).unwrap_err();
        assert_eq!(error.scim_type(), Some(scim_type));
        assert!(
            error
                .detail()
                .ends_with("is required and cannot be removed")
        );
    }
    let put = json!({"userName": "ann"});
    assert_eq!(ty.read(object(put), Some(&ann)).unwrap().get(ACME), None);
    // A new extension requires all of its required attributes.
    let add = json!({"op": "add", "path": ACME, "value": {"hat": "60"}});
    let error = patch(&ty, &gone, add).unwrap_err();
    assert_eq!(error.detail(), "urn:acme:User:badge: is required");
}

#[test]
fn a_changed_schema_does_not_prevent_a_deactivation() {
    let before = with(json!([{"name": "badge"}, {"name": "hat"}]), false);
    let ann = json!({"userName": "ann", ACME: {"badge": "seven", "hat": "60"}});
    let ann = before.read(object(ann), None).unwrap();
    let bob = before
        .read(object(json!({"userName": "bob"})), None)
        .unwrap();
    let off = || json!({"op": "replace", "path": "active", "value": false});
    let after = [
        with(
            json!([{"name": "badge", "type": "integer"}, {"name": "room", "required": true}]),
            true,
        ),
        ResourceType::user().clone(),
    ];
    for ty in &after {
        for user in [&ann, &bob] {
            let patched = patch(ty, user, off()).unwrap();
            let changed = user.changed(&patched);
            assert_eq!(changed.len(), 1, "{changed:?}");
            assert_eq!(patched.get(ACME), user.get(ACME));
        }
    }
    // A stored attribute that is not in the schema is not shown, and a PUT of the representation
    // keeps it.
    let meta = crate::Meta {
        resource_type: "User".to_owned(),
        created: jiff::Timestamp::UNIX_EPOCH,
        last_modified: jiff::Timestamp::UNIX_EPOCH,
        version: Some(1),
        location: "https://example.com/Users/1".to_owned(),
    };
    let narrow = with(json!([{"name": "badge"}]), false);
    let shown = ann.represent(&narrow, "1", &meta, Object::new());
    assert_eq!(shown[ACME], json!({"badge": "seven"}));
    assert_eq!(narrow.read(shown, Some(&ann)).unwrap(), ann);
    let shown = ann.represent(ResourceType::user(), "1", &meta, Object::new());
    assert!(!shown.contains_key(ACME));
    assert_eq!(ResourceType::user().read(shown, Some(&ann)).unwrap(), ann);
}

/// RFC 7644 §3.14 (E4); RFC 7643 §2.3 (C8).
#[test]
fn a_number_in_another_form_is_not_a_change() {
    let ty = with(
        json!([{"name": "score", "type": "decimal"}, {"name": "scores", "type": "decimal", "multiValued": true}]),
        false,
    );
    let with = |score: Value| {
        object(json!({"userName": "ann", ACME: {"score": score, "scores": [score]}}))
    };
    let ann = ty.read(with(json!(1)), None).unwrap();
    let put = ty.read(with(json!("1.0")), Some(&ann)).unwrap();
    assert_eq!(put.get("urn:acme:User:score"), Some(&json!(1)));
    let add = json!({"op": "add", "path": ACME, "value": {"score": 1.0, "scores": [1.0, "1.00"]}});
    assert_eq!(patch(&ty, &ann, add).unwrap(), ann);
}

/// RFC 7643 §7, RFC 7644 §3.5.1 (C11).
#[test]
fn an_immutable_value_may_be_resent_but_not_removed() {
    let ty = with(
        json!([{"name": "serial", "mutability": "immutable"}, {"name": "keys", "multiValued": true, "mutability": "immutable"}]),
        false,
    );
    let ann = json!({"userName": "ann", ACME: {"serial": "S-1", "keys": ["a", "b"]}});
    let ann = ty.read(object(ann), None).unwrap();
    let path = |name: &str| format!("{ACME}:{name}");
    let set =
        |name: &str, value: Value| json!({"op": "replace", "path": path(name), "value": value});
    // RFC 7643 §2.2 (C14): the attribute is case-insensitive, and the stored form is kept.
    assert_eq!(patch(&ty, &ann, set("serial", json!("s-1"))).unwrap(), ann);
    for operation in [
        set("serial", json!("S-2")),
        set("serial", json!(null)),
        set("keys", json!(["a"])),
        json!({"op": "remove", "path": path("serial")}),
        json!({"op": "remove", "path": path("keys")}),
        json!({"op": "remove", "path": path("keys[value eq \"a\"]")}),
        json!({"op": "add", "path": path("keys"), "value": ["c"]}),
    ] {
        let error = patch(&ty, &ann, operation.clone()).unwrap_err();
        assert_eq!(error.scim_type(), Some(ScimType::Mutability), "{operation}");
    }
    let bare = ty
        .read(object(json!({"userName": "ann"})), Some(&ann))
        .unwrap();
    assert_eq!(bare, ann);
}

fn any_user() -> impl Strategy<Value = Object> {
    let text = ".{0,8}".prop_map(Value::from);
    let leaf = prop_oneof![
        text,
        any::<bool>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        Just(Value::Null)
    ];
    let names = prop::sample::select(vec![
        "userName",
        "name",
        "emails",
        "roles",
        "active",
        "title",
        "value",
        "type",
        "primary",
        "display",
        "givenName",
        "manager",
        "department",
        "addresses",
        "locality",
        "x509Certificates",
        "photos",
        "password",
        "id",
        "meta",
        "schemas",
        ENTERPRISE,
    ]);
    let value = leaf.prop_recursive(3, 24, 4, move |inner| {
        let member = (names.clone().prop_map(str::to_owned), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::vec(member, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    let names = prop::sample::select(vec![
        "name",
        "emails",
        "roles",
        "active",
        "title",
        "addresses",
        "photos",
        "password",
        "meta",
        ENTERPRISE,
    ]);
    prop::collection::vec((names.prop_map(str::to_owned), value), 0..6).prop_map(|members| {
        let mut user = object(json!({"userName": "ann"}));
        user.extend(members);
        user
    })
}

proptest! {
    #[test]
    fn a_validated_resource_is_valid_again(body in any_user()) {
        if let Ok(user) = ResourceType::user().read(body, None) {
            let again = ResourceType::user().read(user.as_object().clone(), None).unwrap();
            prop_assert_eq!(&again, &user);
            // Okta sends back the representation, which changes nothing (RFC 7644 §3.5.1, W2).
            let meta = crate::Meta {
                resource_type: "User".to_owned(), created: jiff::Timestamp::UNIX_EPOCH, last_modified: jiff::Timestamp::UNIX_EPOCH,
                version: Some(1), location: "https://example.com/Users/1".to_owned(),
            };
            let shown = user.represent(ResourceType::user(), "1", &meta, Object::new());
            let echoed = ResourceType::user().read(shown, Some(&user)).unwrap();
            prop_assert_eq!(echoed, user);
        }
    }
}
