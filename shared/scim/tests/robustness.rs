//! Robustness: no input causes a panic or a stack overflow, or takes more time than its size
//! permits.
//!
//! The inputs are so large that quadratic work would take minutes. The time limits are generous, so
//! that the tests do not fail on a slow machine.

#![cfg(test)]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use scim::{
    BudgetExhausted, ComparisonBudget, Error, Extension, Filter, Meta, Object, PatchOp, Profile,
    Projection, Resource, ResourceType, Schema, ScimType, Sort, json,
};

const ACME: &str = "urn:acme:crm:1.0:User";

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

/// Returns users with an extension that has an attribute of each type.
fn acme(profile: Profile) -> ResourceType {
    let types = [
        "string",
        "boolean",
        "decimal",
        "integer",
        "dateTime",
        "binary",
        "reference",
    ];
    let one = types.map(|kind| json!({"name": kind, "type": kind}));
    let many =
        types.map(|kind| json!({"name": format!("{kind}s"), "type": kind, "multiValued": true}));
    let complex = json!([
        {"name": "badge", "type": "complex", "subAttributes": [{"name": "value"}, {"name": "serial", "mutability": "immutable"}]},
        {"name": "sites", "type": "complex", "multiValued": true, "subAttributes": [{"name": "value", "type": "integer"}, {"name": "type"}, {"name": "primary", "type": "boolean"}]},
        {"name": "pin", "mutability": "writeOnly"},
        {"name": "key", "mutability": "immutable", "caseExact": true},
    ]);
    let attributes: Vec<Value> = one
        .into_iter()
        .chain(many)
        .chain(complex.as_array().unwrap().clone())
        .collect();
    let schema = Schema::parse(object(json!({"id": ACME, "attributes": attributes}))).unwrap();
    let required = false;
    let user = ResourceType::user()
        .clone()
        .extend(Extension { schema, required });
    user.unwrap().with_profile(profile)
}

/// Runs a function and asserts that it returns soon.
#[track_caller]
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
    done
}

fn user_with(list: &str, values: usize) -> Resource {
    let values: Vec<Value> = (0..values)
        .map(|n| json!({"value": n.to_string()}))
        .collect();
    let user = json!({"userName": "ann", list: values});
    ResourceType::user().read(object(user), None).unwrap()
}

fn patched(resource: &Resource, operations: Vec<Value>) -> Result<Resource, Error> {
    let body = object(json!({"Operations": operations}));
    PatchOp::parse(body, ResourceType::user())?.apply(ResourceType::user(), resource, "2819")
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, scim_type: ScimType) {
    let error = result.err().unwrap();
    assert_eq!((error.status(), error.scim_type()), (400, Some(scim_type)));
    assert!(error.detail().len() < 1_000, "{}", error.detail());
}

/// RFC 7644 §3.12 (F13); (F18).
#[test]
fn deep_and_long_filters_are_refused_quickly() {
    let filter = |text: String| Filter::parse_within(&text, usize::MAX);
    let n = 10_000;
    refused(Filter::parse(&"(".repeat(n)), ScimType::InvalidFilter);
    for text in [
        "(".repeat(n),
        format!("{}a pr{}", "(".repeat(n), ")".repeat(n)),
        "not (".repeat(n),
        "a[".repeat(n),
        "a[not (".repeat(n),
        format!("{}a pr", "a pr or ".repeat(n)),
        format!("{}a pr", "a pr and ".repeat(n)),
        format!("a eq \"{}", "\\".repeat(5_000_001)),
        format!("a eq \"{}\\\"", "\\u00e4".repeat(500_000)),
        format!("a eq \"{}\\u", "x".repeat(5_000_000)),
        format!("a eq {}", "9".repeat(200_000)),
        format!("{} eq", "a".repeat(5_000_000)),
        " ".repeat(5_000_000),
        "\u{e4}".repeat(100_000),
    ] {
        let parsed = soon(|| filter(text));
        if let Ok(parsed) = parsed {
            refused(
                parsed.resolve(ResourceType::user()),
                ScimType::InvalidFilter,
            );
        }
    }
    // A filter at the limits is accepted.
    let or = vec!["emails.value eq \"x\""; 500].join(" or ");
    let or = filter(or).unwrap();
    let or = or.resolve(ResourceType::user()).unwrap();
    let user = user_with("emails", 5_000);
    let budget = ComparisonBudget::new(usize::MAX);
    assert_eq!(soon(|| or.matches(user.as_object(), &budget)), Ok(false));
    let nested = format!("{}title pr{}", "(".repeat(64), ")".repeat(64));
    assert!(filter(nested).is_ok());
}

/// Returns a filter of `terms` comparisons of a phone number. No comparison ends the evaluation
/// early.
fn phones(terms: usize, term: impl Fn(usize) -> String, word: &str) -> Filter {
    let terms: Vec<String> = (0..terms).map(term).collect();
    Filter::parse_within(&terms.join(word), usize::MAX).unwrap()
}

/// Returns the cost of evaluating a filter that does not match the resource.
#[track_caller]
fn cost(filter: &Filter, resource: &Resource) -> usize {
    let filter = filter.resolve(ResourceType::user()).unwrap();
    let budget = ComparisonBudget::new(usize::MAX);
    assert_eq!(filter.matches(resource.as_object(), &budget), Ok(false));
    usize::MAX - budget.left()
}

#[test]
fn a_filter_counts_each_comparison_and_reads_each_value_once() {
    let n = 3_600;
    let user = user_with("phoneNumbers", n);
    for word in ["co", "sw", "ew", "gt", "ge", "eq"] {
        let term = |i| format!("phoneNumbers.value {word} \"zz{i}\"");
        assert_eq!(cost(&phones(450, term, " or "), &user), n + 450 * n);
        // Half of the terms make half of the comparisons. The values are read once more.
        assert_eq!(cost(&phones(225, term, " or "), &user), n + 225 * n);
        let term = |i| format!("phoneNumbers[value {word} \"zz{i}\"]");
        assert_eq!(cost(&phones(450, term, " or "), &user), n + 450 * n);
        let term = |i| format!("value {word} \"zz{i}\"");
        let inner = phones(450, term, " or ");
        let filter = Filter::parse_within(&format!("phoneNumbers[{inner}]"), usize::MAX).unwrap();
        assert_eq!(cost(&filter, &user), n + 450 * n);
    }
    let term = |i| format!("not (phoneNumbers.value co \"zz{i}\")");
    let all = format!("not ({})", phones(450, term, " and "));
    let all = Filter::parse_within(&all, usize::MAX).unwrap();
    assert_eq!(cost(&all, &user), n + 450 * n);
    // The first value differs, so each term compares only this one.
    let term = |i| format!("phoneNumbers.value ne \"zz{i}\"");
    let none = format!("not ({})", phones(450, term, " and "));
    let none = Filter::parse_within(&none, usize::MAX).unwrap();
    assert_eq!(cost(&none, &user), n + 450);
    // Missing values cost units as well.
    let term = |_| "phoneNumbers.display pr".to_owned();
    assert_eq!(cost(&phones(450, term, " or "), &user), n + 450 * n);
    let term = |_| "photos.value pr".to_owned();
    assert_eq!(cost(&phones(450, term, " or "), &user), 450);
    // Long texts cost more.
    let user = json!({"userName": "ann", "phoneNumbers": [{"value": "7".repeat(64 * 100)}]});
    let user = ResourceType::user().read(object(user), None).unwrap();
    let term = |i| format!("phoneNumbers.value eq \"zz{i}\"");
    assert_eq!(cost(&phones(450, term, " or "), &user), 101 + 450 * 101);
    let term = |i| format!("phoneNumbers.value co \"zz{i}\"");
    assert_eq!(cost(&phones(450, term, " or "), &user), 101 + 450 * 401);
}

#[test]
fn a_filter_stops_where_the_budget_ends() {
    let user = user_with("phoneNumbers", 3_600);
    let filter = phones(450, |i| format!("phoneNumbers.value co \"zz{i}\""), " or ");
    let filter = filter.resolve(ResourceType::user()).unwrap();
    // The budget is sufficient for three users and a part of the fourth.
    let budget = ComparisonBudget::new(3 * 451 * 3_600 + 1_000_000);
    for looks in 0..4 {
        let matches = filter.matches(user.as_object(), &budget);
        let expected = if looks < 3 {
            Ok(false)
        } else {
            Err(BudgetExhausted)
        };
        assert_eq!(matches, expected, "{looks}");
    }
    assert_eq!(budget.left(), 0);
}

#[test]
fn an_order_counts_the_elements_that_it_looks_at() {
    let user = user_with("phoneNumbers", 3_600);
    let sort = Sort::parse(Some("phoneNumbers"), None).unwrap().unwrap();
    let sort = sort.resolve(ResourceType::user()).unwrap();
    let budget = ComparisonBudget::new(3_601);
    assert!(sort.key(user.as_object(), &budget).is_ok());
    assert_eq!(budget.left(), 0);
    assert_eq!(
        sort.key(user.as_object(), &ComparisonBudget::new(3_600)),
        Err(BudgetExhausted)
    );
}

#[test]
fn deep_and_long_bodies_are_read_quickly() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let n = 100_000;
        for text in [
            format!("{{\"a\":{}", open.repeat(n)),
            format!("{{\"a\":{}1{}}}", open.repeat(n), close.repeat(n)),
        ] {
            refused(
                soon(|| json::parse(text.as_bytes())),
                ScimType::InvalidSyntax,
            );
        }
    }
    for text in [
        format!("{{\"a\":{}}}", "9".repeat(1_000_000)),
        format!("{{\"a\":0.{}}}", "3".repeat(1_000_000)),
        format!("{{\"a\":1{}.5e-300}}", "0".repeat(300)),
        format!("{{\"a\":\"{}\"}}", "\\ud83d\\ude00".repeat(300_000)),
    ] {
        let _ = soon(|| json::parse(text.as_bytes()));
    }
    // Many members, one of them twice.
    let members: Vec<String> = (0..200_000).map(|n| format!("\"a{n}\":1")).collect();
    let body = format!("{{{}}}", members.join(","));
    let body = soon(|| json::parse(body.as_bytes())).unwrap();
    let strict = acme(Profile::Strict);
    refused(
        soon(|| ResourceType::user().read(body.clone(), None)),
        ScimType::InvalidValue,
    );
    refused(soon(|| strict.read(body, None)), ScimType::InvalidSyntax);
    let twice = format!("{{{},\"A0\":1}}", members.join(","));
    refused(
        soon(|| json::parse(twice.as_bytes())),
        ScimType::InvalidSyntax,
    );
}

#[test]
fn texts_that_are_costly_to_compare() {
    let ty = acme(Profile::Tolerant);
    for text in [
        "\u{301}".repeat(300_000),
        format!("a{}", "\u{323}\u{307}".repeat(150_000)),
        "\u{1100}\u{1161}\u{11a8}".repeat(100_000),
        "\u{fdfa}".repeat(100_000),
        "ﾞ".repeat(300_000),
        "İ".repeat(300_000),
        "ς".repeat(300_000),
    ] {
        let body = json!({"userName": text, "emails": [{"value": text}, {"value": text}]});
        let user = soon(|| ty.read(object(body), None)).unwrap();
        assert_eq!(user.elements("emails").count(), 1);
    }
    for (name, text) in [
        (
            "dateTime",
            format!("2026-01-31T09:30:00.{}Z", "1".repeat(1_000_000)),
        ),
        ("dateTime", "2026-01-31T09:30:00+".repeat(50_000)),
        ("decimal", format!("0.{}", "1".repeat(1_000_000))),
        ("integer", "1".repeat(1_000_000)),
        ("binary", "=".repeat(1_000_000)),
        ("boolean", "true".repeat(250_000)),
    ] {
        let body = json!({"userName": "ann", ACME: {name: text}});
        let read = soon(|| ty.read(object(body), None));
        if let Err(error) = read {
            assert!(error.detail().len() < 300, "{}", error.detail());
        }
    }
}

/// No RFC clause (X25).
#[test]
fn many_operations_on_many_elements() {
    let user = user_with("roles", 1_000);
    let n = 1_000;
    for (operations, roles) in [
        ((0..n).map(|i| json!({"op": "add", "path": "roles", "value": [{"value": format!("new{i}")}]})).collect::<Vec<_>>(), 2_000),
        ((0..n).map(|i| json!({"op": "remove", "path": format!("roles[value eq \"{i}\"]")})).collect(), 0),
        ((0..n).map(|i| json!({"op": "remove", "path": "roles", "value": [{"value": i.to_string()}]})).collect(), 0),
        ((0..n).map(|i| json!({"op": "replace", "path": format!("roles[value eq \"{i}\"].display"), "value": "x"})).collect(), 1_000),
        ((0..n).map(|i| json!({"op": "add", "path": format!("roles[value eq \"{i}\"].primary"), "value": true})).collect(), 1_000),
    ] {
        let patched = soon(|| patched(&user, operations)).unwrap();
        assert_eq!(patched.elements("roles").count(), roles);
    }
}

/// No RFC clause (X25).
#[test]
fn more_comparisons_than_the_maximum_are_refused() {
    let user = user_with("roles", 5_000);
    let long: Vec<String> = (0..500).map(|n| format!("value eq \"{n}\"")).collect();
    let long = format!("roles[{}].display", long.join(" or "));
    for operation in [
        json!({"op": "add", "path": "roles", "value": [{"value": "1"}]}),
        json!({"op": "add", "path": &long, "value": "x"}),
    ] {
        let operations = vec![operation; 1_000];
        refused(soon(|| patched(&user, operations)), ScimType::TooMany);
    }
    // A few long elements.
    let text = "x".repeat(2_000_000);
    let mut operations = vec![json!({"op": "add", "path": "roles", "value": [{"value": text}]})];
    operations.extend(vec![json!({"op": "add", "path": long, "value": "x"}); 140]);
    refused(soon(|| patched(&user, operations)), ScimType::TooMany);
    // Many values in one operation do not exceed the maximum.
    let values: Vec<Value> = (0..50_000)
        .map(|n| json!({"value": format!("v{n}")}))
        .collect();
    for op in ["add", "replace", "remove"] {
        let operations = vec![json!({"op": op, "path": "roles", "value": values})];
        assert!(soon(|| patched(&user, operations)).is_ok(), "{op}");
    }
}

#[test]
fn long_lists_are_processed_quickly_in_every_message() {
    let emails: Vec<Value> = (0..5_000)
        .map(|n| json!({"value": format!("{n}@example.com"), "type": "work", "primary": n == 0}))
        .collect();
    let mut turned = emails.clone();
    turned.reverse();
    let read = |emails: Vec<Value>| {
        let body = json!({"userName": "ann", "emails": emails});
        ResourceType::user().read(object(body), None).unwrap()
    };
    let user = soon(|| read(emails));
    assert!(soon(|| user.changed(&read(turned))).is_empty());
    let meta = Meta {
        resource_type: "User".to_owned(),
        created: jiff::Timestamp::UNIX_EPOCH,
        last_modified: jiff::Timestamp::UNIX_EPOCH,
        version: Some(1),
        location: "https://example.com/Users/1".to_owned(),
    };
    let shown = user.represent(ResourceType::user(), "1", &meta, Object::new());
    let mut names: Vec<String> = (0..10_000).map(|n| format!("name{n}")).collect();
    names.push("emails.value".to_owned());
    names.extend((0..10_000).map(|_| scim::USER_SCHEMA.to_owned()));
    let projection = soon(|| Projection::from_lists(&names, &[], ResourceType::user())).unwrap();
    assert!(soon(|| projection.wants("emails")));
    let shown = soon(|| projection.apply(shown, ResourceType::user()));
    assert_eq!(shown["emails"].as_array().unwrap().len(), 5_000);
}

#[test]
fn long_definitions_are_read_quickly() {
    let attributes: Vec<Value> = (0..100_000)
        .map(|n| json!({"name": format!("a{n}")}))
        .collect();
    let schema = json!({"id": ACME, "attributes": attributes});
    let schema = soon(|| Schema::parse(object(schema))).unwrap();
    let required = false;
    let extended = ResourceType::user()
        .clone()
        .extend(Extension { schema, required });
    refused(extended, ScimType::InvalidValue);
}

/// Words of filters and paths in random order.
fn random_words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "userName",
        "emails",
        "emails.value",
        "name",
        "active",
        "meta.created",
        "title",
        "value",
        "type",
        "primary",
        "urn:acme:crm:1.0:User",
        "urn:acme:crm:1.0:User:badge.serial",
        "urn:acme:crm:1.0:User:sites",
        "urn:acme:crm:1.0:User:strings",
        "urn:ietf:params:scim:schemas:core:2.0:User",
        "urn:",
        ":",
        "$ref",
        "eq",
        "ne",
        "co",
        "sw",
        "ew",
        "pr",
        "gt",
        "GE",
        "lt",
        "le",
        "and",
        "or",
        "not",
        "(",
        ")",
        "[",
        "]",
        ".",
        "\"",
        "\"a\"",
        "\"\\\"\"",
        "\"\\ud800\"",
        "\"2026-01-01T00:00:00Z\"",
        "7",
        "-1.5e9",
        "1e999",
        "true",
        "False",
        "null",
        " ",
        "  ",
        "\t",
        "ä",
        "\u{0}",
    ]);
    prop::collection::vec(word, 0..14).prop_map(|words| words.concat())
}

fn random_words_with_blanks() -> impl Strategy<Value = String> {
    prop_oneof![
        random_words(),
        prop::collection::vec(random_words(), 0..4).prop_map(|parts| parts.join(" "))
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "schemas",
        "id",
        "name",
        "attributes",
        "subAttributes",
        "type",
        "multiValued",
        "required",
        "mutability",
        "returned",
        "uniqueness",
        "caseExact",
        "canonicalValues",
        "referenceTypes",
        "userName",
        "emails",
        "value",
        "primary",
        "active",
        "meta",
        "members",
        "Operations",
        "op",
        "path",
        ACME,
        "badge",
        "serial",
        "sites",
        "strings",
        "integer",
        "dateTime",
        "binary",
        "reference",
        "pin",
        "key",
        "NAME",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "string",
            "complex",
            "integer",
            "immutable",
            "writeOnly",
            "never",
            "add",
            "remove",
            "replace",
            "True",
            "work",
            ACME,
            "7",
            "2026-01-01T00:00:00Z",
            ""
        ])
        .prop_map(Value::from),
        random_words().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone().prop_map(str::to_owned), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Object> {
    any_json().prop_filter_map("no object", |value| match value {
        Value::Object(object) => Some(object),
        _ => None,
    })
}

fn ann(ty: &ResourceType) -> Resource {
    let ann = json!({"schemas": [ty.schema.id, ACME], "userName": "ann", "emails": [{"value": "a", "type": "work", "primary": true}],
        ACME: {"badge": {"value": "7", "serial": "S"}, "strings": ["a", "b"], "sites": [{"value": 1, "type": "office"}], "key": "K", "dateTime": "2026-01-01T00:00:00Z"}});
    ty.read(object(ann), None).unwrap()
}

proptest! {
    #[test]
    fn no_filter_causes_a_panic(text in random_words_with_blanks()) {
        let ty = acme(Profile::Tolerant);
        if let Ok(filter) = Filter::parse(&text) {
            prop_assert_eq!(&Filter::parse(&filter.to_string()).unwrap(), &filter);
            if let Ok(filter) = filter.resolve(&ty) {
                let _ = filter.matches(ann(&ty).as_object(), &ComparisonBudget::new(10_000));
            }
        }
    }

    #[test]
    fn no_operation_causes_a_panic_or_an_unreadable_resource(
        op in prop::sample::select(vec!["add", "remove", "replace"]), path in random_words_with_blanks(), value in any_json(), strict in any::<bool>(),
    ) {
        let ty = acme(if strict { Profile::Strict } else { Profile::Tolerant });
        let ann = ann(&ty);
        let body = json!({"schemas": [scim::PATCH_OP_SCHEMA], "Operations": [{"op": op, "path": path, "value": value}]});
        if let Ok(patched) = PatchOp::parse(object(body), &ty).and_then(|patch| patch.apply(&ty, &ann, "2819")) {
            let tolerant = acme(Profile::Tolerant);
            let again = tolerant.read(patched.as_object().clone(), Some(&patched)).unwrap();
            prop_assert_eq!(again, patched);
        }
    }

    #[test]
    fn no_resource_makes_it_panic(body in any_object(), extension in any_object(), strict in any::<bool>()) {
        let ty = acme(if strict { Profile::Strict } else { Profile::Tolerant });
        let mut body = body;
        body.insert("userName".to_owned(), json!("ann"));
        body.insert(ACME.to_owned(), Value::Object(extension));
        let ann = ann(&ty);
        for keep in [None, Some(&ann)] {
            let _ = ty.read(body.clone(), keep);
        }
        let _ = PatchOp::parse(body, &ty);
    }

    #[test]
    fn no_definition_causes_a_panic_and_definitions_round_trip(definition in any_object(), attributes in prop::collection::vec(any_json(), 0..3)) {
        let mut definition = definition;
        definition.insert("id".to_owned(), json!("urn:acme:other"));
        let whole = Schema::parse(definition.clone());
        definition.insert("attributes".to_owned(), json!(attributes));
        for schema in [whole, Schema::parse(definition)].into_iter().flatten() {
            prop_assert_eq!(&Schema::parse(schema.to_definition()).unwrap(), &schema);
            let required = false;
            let _ = ResourceType::user().clone().extend(Extension { schema, required });
        }
    }
}
