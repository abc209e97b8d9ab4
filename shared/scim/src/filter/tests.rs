use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Object;
use crate::budget::ComparisonBudget;

/// Returns the representation of a user.
fn ann() -> Object {
    let user = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "id": "2819c223", "externalId": "00uA", "userName": "Ann@Example.com",
        "name": {"familyName": "O'Hara \"the\" \\ 50%", "givenName": "Ann"},
        "active": true,
        "emails": [
            {"value": "ann@example.com", "type": "work", "primary": true},
            {"value": "ann@home.example", "type": "home"}],
        "groups": [{"value": "e9e30dba", "display": "Guides"}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Sales", "manager": {"value": "00u0"}},
        "meta": {"resourceType": "User", "created": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.500Z", "version": "W/\"1\""},
    });
    user.as_object().unwrap().clone()
}

fn met(filter: &ResolvedFilter<'_>, resource: &Object) -> bool {
    filter
        .matches(resource, &ComparisonBudget::new(1_000_000))
        .unwrap()
}

fn matches(filter: &str) -> bool {
    let parsed = Filter::parse(filter).unwrap();
    let resolved = parsed.resolve(ResourceType::user()).unwrap();
    met(&resolved, &ann())
}

#[track_caller]
fn all_match(filters: &[&str]) {
    for filter in filters {
        assert!(matches(filter), "{filter}");
        assert!(!matches(&format!("not ({filter})")), "not ({filter})");
    }
}

#[track_caller]
fn none_matches(filters: &[&str]) {
    for filter in filters {
        assert!(!matches(filter), "{filter}");
    }
}

fn refused(filter: &str) -> Error {
    match Filter::parse(filter) {
        Err(error) => error,
        Ok(parsed) => match parsed.resolve(ResourceType::user()) {
            Err(error) => error,
            Ok(_) => panic!("{filter} is taken"),
        },
    }
}

/// RFC 7644 §3.4.2.2 (F1).
#[test]
fn operators_are_case_insensitive() {
    all_match(&[
        "userName eq \"ann@example.com\"",
        "userName NE \"bob\"",
        "userName Co \"@EX\"",
        "userName sw \"ann\"",
        "userName ew \".COM\"",
        "userName pR",
        "userName gt \"ANA\"",
        "userName ge \"ann@example.com\"",
        "userName lt \"b\"",
        "userName le \"ann@example.com\"",
    ]);
    none_matches(&[
        "userName gt \"ann@example.com\"",
        "userName lt \"ann@example.com\"",
        "title pr",
        "title eq \"x\"",
        "title gt \"\"",
    ]);
}

/// RFC 7644 §3.4.2.2 (F2).
#[test]
fn and_precedes_or_and_parentheses_precede_both() {
    all_match(&[
        "active eq true or title pr and title pr",
        "title pr and title pr or active eq true",
        "(title pr or active eq true) and userName pr",
    ]);
    none_matches(&[
        "(active eq true or title pr) and title pr",
        "title pr and (title pr or active eq true)",
    ]);
}

/// RFC 7644 §3.4.2.2 (F3).
#[test]
fn not_with_and_without_a_blank() {
    all_match(&[
        "not (title pr)",
        "not(title pr)",
        "NOT ( title pr )",
        "not(not(active eq true))",
    ]);
    none_matches(&["not (active eq true)", "not(title pr) and title pr"]);
}

/// RFC 7644 §3.4.2.2 (F4).
#[test]
fn a_value_path_is_evaluated_against_one_element() {
    all_match(&[
        "emails[type eq \"work\" and value co \"@example\"]",
        "emails.type eq \"home\" and emails.value co \"@example\"",
        "emails[not (type eq \"work\")]",
    ]);
    none_matches(&["emails[type eq \"home\" and value co \"@example.com\"]"]);
}

/// RFC 7644 §3.4.2.2 (F5).
#[test]
fn a_sub_attribute_may_follow_a_value_path() {
    all_match(&["emails[type eq \"work\"].value eq \"ANN@example.com\""]);
    none_matches(&["emails[type eq \"home\"].value eq \"ann@example.com\""]);
}

/// RFC 7644 §3.10 (F6).
#[test]
fn names_may_have_the_uri_of_their_schema() {
    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    all_match(&[
        "urn:ietf:params:scim:schemas:core:2.0:User:userName sw \"ann\"",
        "URN:IETF:params:scim:schemas:core:2.0:user:NAME.givenname eq \"ann\"",
        &format!("{ENTERPRISE}:department eq \"sales\""),
        &format!("{ENTERPRISE}:manager.value eq \"00u0\""),
        &format!("{ENTERPRISE}:manager eq \"00u0\""),
        &format!("{ENTERPRISE} pr"),
    ]);
    none_matches(&[&format!("{ENTERPRISE}:costCenter pr")]);
}

/// RFC 7643 §2.1, RFC 7644 §3.10 (H7); RFC 7644 §3.4.2.2 (F15).
#[test]
fn uris_of_schemas_are_case_insensitive() {
    assert!(matches(
        "schemas eq \"URN:ietf:params:scim:schemas:CORE:2.0:user\""
    ));
    assert!(!matches(
        "schemas eq \"urn:ietf:params:scim:schemas:core:2.0:Group\""
    ));
}

/// RFC 7644 §3.4.2.2 (F7, F8).
#[test]
fn lists_match_by_value_and_by_any_element() {
    all_match(&[
        "emails eq \"ann@home.example\"",
        "emails co \"home\"",
        "emails pr",
        "emails ne \"ann@example.com\"",
        "groups eq \"e9e30dba\"",
        "schemas eq \"urn:ietf:params:scim:schemas:core:2.0:User\"",
    ]);
    none_matches(&[
        "phoneNumbers pr",
        "phoneNumbers eq \"1\"",
        "emails eq \"ann\"",
    ]);
}

/// RFC 7643 §2.5, RFC 7644 §3.4.2.2 (F9).
#[test]
fn null_matches_missing_values() {
    all_match(&[
        "title eq null",
        "userName ne null",
        "phoneNumbers eq null",
        "emails.display eq NULL",
    ]);
    none_matches(&["userName eq null", "title ne null", "emails eq null"]);
}

/// RFC 7643 §4.1.1 (U2).
#[test]
fn a_user_without_active_matches_as_active() {
    let mut bob = ann();
    bob.remove("active");
    let matches = |filter: &str| {
        let parsed = Filter::parse(filter).unwrap();
        met(&parsed.resolve(ResourceType::user()).unwrap(), &bob)
    };
    assert!(matches("active eq true") && matches("active ne false"));
    assert!(!matches("active eq false") && !matches("active ne true"));
    assert!(!matches("active pr") && !matches("active ne null") && matches("active eq null"));
}

/// RFC 7644 §3.4.2.2, RFC 8259 §7 (F10).
#[test]
fn strings_have_the_escapes_of_json() {
    all_match(&[
        r#"name.familyName eq "O'Hara \"the\" \\ 50%""#,
        r#"name.familyName sw "\u004f'hara""#,
        r#"name.familyName co " \"THE\" ""#,
    ]);
}

/// RFC 7644 §3.4.2.2 (F11).
#[test]
fn times_are_compared_as_times() {
    all_match(&[
        "meta.created eq \"2026-01-01T01:00:00+01:00\"",
        "meta.lastModified gt \"2026-01-01T00:00:00Z\"",
        "meta.lastModified lt \"2026-01-01T00:00:00.6Z\"",
        "meta.created sw \"2026-01\"",
    ]);
    assert!(
        refused("meta.created gt \"yesterday\"")
            .detail()
            .contains("compare it with a time")
    );
}

/// RFC 7643 §2.2 (C14).
#[test]
fn comparison_is_case_sensitive_for_case_exact_attributes() {
    all_match(&["externalId eq \"00uA\"", "id eq \"2819c223\""]);
    none_matches(&["externalId eq \"00ua\"", "id eq \"2819C223\""]);
}

/// RFC 7644 §3.4.2.2 (F12); RFC 7644 §3.12 (F13); RFC 7644 §3.4.2.1 (F14).
#[test]
fn errors_give_the_reason() {
    for (filter, detail) in [
        ("", "filter: expected an attribute at the end"),
        (
            "userName",
            "filter: expected an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr) at the end",
        ),
        (
            "userName is \"x\"",
            "filter: expected an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr) at byte 10, found \"is \"x\"\"",
        ),
        (
            "userName eq ann",
            "filter: expected a value (a string in double quotes, a number, true, false, null) at byte 13, found \"ann\"",
        ),
        (
            "userName eq \"x",
            "filter: expected a closing double quote at byte 13, found \"\"x\"",
        ),
        (
            "userName eq \"\\x\"",
            "filter: expected a string with the escapes of JSON at byte 13, found \"\"\\x\"\"",
        ),
        ("userName pr or", "filter: expected an attribute at the end"),
        (
            "userName pr title pr",
            "filter: expected and, or, or the end at byte 13, found \"title pr\"",
        ),
        ("(userName pr", "filter: expected and, or, or ) at the end"),
        (
            "emails[type pr",
            "filter: expected and, or, or ] at the end",
        ),
        ("shoeSize pr", "filter: User has no attribute \"shoeSize\""),
        (
            "emails.shoeSize pr",
            "filter: User has no attribute \"emails.shoeSize\"",
        ),
        (
            "emails[shoeSize pr]",
            "filter: emails has no sub-attribute \"shoeSize\"",
        ),
        (
            "name[givenName pr]",
            "filter: name is single-valued, so it cannot be followed by [ ]",
        ),
        (
            "name eq \"x\"",
            "filter: name is complex; name one of its sub-attributes",
        ),
        (
            "active gt true",
            "filter: active is of type boolean: only eq, ne and pr can compare it",
        ),
        (
            "active eq \"x\"",
            "filter: active is of type boolean: compare it with true or false",
        ),
        (
            "userName eq 7",
            "filter: userName is of type string: compare it with a string in double quotes",
        ),
        (
            "x509Certificates gt \"YQ==\"",
            "filter: x509Certificates.value is of type binary: only eq, ne and pr can compare it",
        ),
        (
            "userName gt null",
            "filter: userName: only eq and ne can compare with null",
        ),
    ] {
        let error = refused(filter);
        assert_eq!(
            (error.status(), error.scim_type()),
            (400, Some(crate::ScimType::InvalidFilter)),
            "{filter}"
        );
        assert_eq!(error.detail(), detail, "{filter}");
    }
}

/// RFC 7643 §4.1.1, §7, RFC 7644 §7.5.2 (C12).
#[test]
fn passwords_cannot_be_filtered() {
    for filter in [
        "password eq \"x\"",
        "password pr",
        "not (password sw \"a\")",
    ] {
        let error = refused(filter);
        assert_eq!(
            (error.status(), error.scim_type()),
            (403, Some(crate::ScimType::Sensitive)),
            "{filter}"
        );
    }
}

/// No RFC clause (F18).
#[test]
fn depth_length_and_terms_are_limited() {
    let nested = |depth: usize| format!("{}userName pr{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::parse(&nested(MAX_FILTER_DEPTH)).is_ok());
    assert_eq!(
        refused(&nested(MAX_FILTER_DEPTH + 1)).detail(),
        "filter: it is nested more than 64 levels deep"
    );
    assert_eq!(
        refused(&"not(".repeat(2_000)).detail(),
        "filter: it is nested more than 64 levels deep"
    );
    let terms = |count: usize| vec!["a pr"; count].join(" or ");
    assert!(Filter::parse(&terms(MAX_FILTER_TERMS)).is_ok());
    assert_eq!(
        refused(&terms(MAX_FILTER_TERMS + 1)).detail(),
        "filter: it contains more than 500 comparisons"
    );
    let long = format!("userName eq \"{}\"", "a".repeat(10_240));
    assert_eq!(
        refused(&long).detail(),
        "filter: it has 10254 bytes; fewer than 10000 are accepted"
    );
}

/// RFC 7644 §3.4.2.1 (F14).
#[test]
fn attributes_missing_from_a_type_have_no_value() {
    let among = |filter: &str| {
        let parsed = Filter::parse(filter).unwrap();
        let resolved = parsed.resolve_among(ResourceType::group()).unwrap();
        met(&resolved, &ann())
    };
    for filter in [
        r#"userName ne "x""#,
        "userName eq null",
        "not (userName pr)",
        r#"id pr and not (emails[type eq "work"])"#,
    ] {
        assert!(among(filter), "{filter}");
    }
    for filter in [
        r#"userName eq "Ann@Example.com""#,
        "userName pr",
        "userName ne null",
        r#"userName co "n""#,
        r#"emails[type eq "work"]"#,
        "urn:x:y pr",
    ] {
        assert!(!among(filter), "{filter}");
    }
    let sensitive = Filter::parse(r#"password eq "x""#).unwrap();
    assert!(sensitive.resolve_among(ResourceType::user()).is_err());
    assert!(sensitive.resolve_among(ResourceType::group()).is_ok());
}

#[test]
fn debug_shows_no_value() {
    let shown = format!(
        "{:?}",
        Filter::parse("userName eq \"ann\" and emails[value sw \"x\"] or not (title pr)").unwrap()
    );
    assert!(
        !shown.contains("ann") && !shown.contains("\"x\""),
        "{shown}"
    );
}

fn expressions(names: &'static [&'static str]) -> BoxedStrategy<Expression> {
    let name = prop::sample::select(names).prop_map(str::to_owned);
    let literal = prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Boolean),
        any::<i64>().prop_map(|number| Literal::Number(number.into())),
        ".*".prop_map(Literal::String),
    ];
    let operator = prop::sample::select(vec![
        Operator::Eq,
        Operator::Ne,
        Operator::Co,
        Operator::Sw,
        Operator::Ew,
        Operator::Gt,
        Operator::Ge,
        Operator::Lt,
        Operator::Le,
    ]);
    let leaf = prop_oneof![
        name.clone().prop_map(Expression::Present),
        (name, operator, literal).prop_map(|(path, operator, value)| Expression::Compare {
            path,
            operator,
            value
        }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let several = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            several.clone().prop_map(flat_and),
            several.prop_map(flat_or),
            inner.prop_map(|term| Expression::Not(Box::new(term))),
        ]
    })
    .boxed()
}

/// `a and (b and c)` keeps its parentheses, so a group may hold a group of its kind.
fn flat_and(terms: Vec<Expression>) -> Expression {
    Expression::And(terms)
}

fn flat_or(terms: Vec<Expression>) -> Expression {
    Expression::Or(terms)
}

fn any_filter() -> BoxedStrategy<Expression> {
    let element = (
        prop::sample::select(vec!["emails", "phoneNumbers"]),
        expressions(&["value", "type"]),
    )
        .prop_map(|(path, filter)| Expression::Element {
            path: path.to_owned(),
            filter: Box::new(filter),
        });
    let plain = expressions(&[
        "userName",
        "name.familyName",
        "emails.value",
        "urn:ietf:params:scim:schemas:core:2.0:User:title",
        "meta.created",
    ]);
    prop_oneof![3 => plain, 1 => element].boxed()
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text in ".*") {
        if let Ok(filter) = Filter::parse(&text) {
            let _ = filter.resolve(ResourceType::user());
        }
    }

    #[test]
    fn no_filter_like_text_causes_a_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "userName", "emails", "active", "eq", "pr", "co", "gt", "and", "or", "not", "(", ")", "[", "]", ".", "\"x\"", "\"", "\\",
            "true", "7", "-1e5", "null", " ", "urn:a:b", "value", "\u{e9}", "\u{0}"]), 0..24),
        blanks in any::<bool>(),
    ) {
        let text = words.join(if blanks { " " } else { "" });
        if let Ok(filter) = Filter::parse(&text)
            && let Ok(resolved) = filter.resolve(ResourceType::user()) {
            met(&resolved, &ann());
        }
    }

    #[test]
    fn displayed_filters_parse_to_the_same_tree(expression in any_filter()) {
        let text = expression.to_string();
        let parsed = Filter::parse(&text).unwrap();
        prop_assert_eq!(parsed.to_string(), text);
        prop_assert!(parsed.expression() == &expression);
    }

    #[test]
    fn not_inverts_every_result(expression in any_filter()) {
        let filter = Filter::of(expression.clone());
        let other = Filter::of(Expression::Not(Box::new(expression)));
        if let (Ok(filter), Ok(other)) = (filter.resolve(ResourceType::user()), other.resolve(ResourceType::user())) {
            prop_assert_ne!(met(&filter, &ann()), met(&other, &ann()));
        }
    }
}
