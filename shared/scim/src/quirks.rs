//! What identity providers send that the RFCs do not have.
//!
//! The only file that knows a vendor. Each oddity is one function: who sends
//! it, what it looks like, and the legal form it stands for. Everything behind
//! this file works on legal forms, and nothing here ever changes the meaning of
//! a legal message.

use serde_json::{Number, Value};

use crate::Object;
use crate::filter::{Expression, Operator};
use crate::schema::{Attribute, Mutability};

/// Entra ID, its default PATCH client, and scripts: `"active": "False"`, also
/// in filters, `roles[primary eq "True"]` (C7, X19). Legal: `false`, `true`.
pub(crate) fn boolean_in_a_string(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Entra ID, whose mapped attributes are all strings: `"level": "5"` (X19).
/// Legal: `5`. Integers stay exact.
pub(crate) fn number_in_a_string(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Entra ID: `"path": "urn:…:User:manager", "value": "26118915"` (U5), and
/// `"emails": ["ann@example.com"]` from scripts. Legal: `{"value": "26118915"}`.
pub(crate) fn bare_string_for_complex(attribute: &Attribute, value: Value) -> Value {
    if value.is_string() && attribute.is_complex() && attribute.sub_attribute("value").is_some() {
        let mut object = Object::new();
        object.insert("value".to_owned(), value);
        return Value::Object(object);
    }
    value
}

/// Several clients, among them OneLogin: `"op": "add", "path": "members",
/// "value": {"value": "2819c223"}` (X20). Legal: a list of one.
pub(crate) fn single_value_for_list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        value => vec![value],
    }
}

/// Entra ID: `"op": "Add"`, `"op": "Replace"` (X2). Legal: lower case.
pub(crate) fn capitalised_op(op: &str) -> String {
    op.to_ascii_lowercase()
}

/// Entra ID's old client: `{"op": "Remove", "path": "members", "value":
/// [{"value": "2819c223"}]}` removes that one member (X17). Legal:
/// `members[value eq "2819c223"]`. Without a value the whole attribute goes; an
/// empty list names nobody, so nothing goes.
pub(crate) enum RemovedValues {
    /// No value: the attribute itself is meant.
    All,
    /// These elements.
    Named(Vec<Value>),
}

/// Reads the `value` of a `remove` as [`RemovedValues`].
pub(crate) fn remove_with_value_list(attribute: &Attribute, value: Option<Value>) -> RemovedValues {
    match value {
        // Of a single-valued attribute there is one value to remove, whatever
        // the client says it is.
        None | Some(Value::Null) => RemovedValues::All,
        Some(_) if !attribute.multi_valued => RemovedValues::All,
        Some(value) => RemovedValues::Named(single_value_for_list(value)),
    }
}

/// Clients written after the example of RFC 7644 §3.7.3, which is no JSON:
/// `"data": {[{"op": "remove", …}]}`. They send the list. Legal: `{"Operations": [{"op": "remove", …}]}`.
pub(crate) fn operations_for_patch_message(data: Value) -> Value {
    match data {
        Value::Array(operations) => {
            let mut message = Object::new();
            message.insert("Operations".to_owned(), Value::Array(operations));
            Value::Object(message)
        }
        data => data,
    }
}

/// Okta renames a group by `{"op": "replace", "value": {"id": "…",
/// "displayName": "New"}}`, and other clients send back in the same way all
/// that they have read: `schemas`, `meta`, `groups` (X5). Legal: leave out what
/// is readOnly. `id` is not left out here: it must be the resource's own.
///
/// An `add` of readOnly values is no echo and is refused, but for `schemas`,
/// which describes the object it stands in.
pub(crate) fn echo_in_object_without_path(attribute: &Attribute, replaces: bool) -> bool {
    attribute.mutability == Mutability::ReadOnly
        && attribute.name != "id"
        && (replaces || attribute.name == "schemas")
}

/// Entra ID looks users up by `emails[type eq "work"].value eq "a@example.com"`
/// (F5), which the grammar allows in PATCH paths only. Legal:
/// `emails[type eq "work" and value eq "a@example.com"]`.
pub(crate) fn sub_attribute_after_value_filter(
    path: String,
    filter: Expression,
    comparison: Expression,
) -> Expression {
    let terms = match filter {
        Expression::And(mut terms) => {
            terms.push(comparison);
            terms
        }
        term => vec![term, comparison],
    };
    Expression::Element {
        path,
        filter: Box::new(Expression::And(terms)),
    }
}

/// Scripts and some connectors write operators and literals of filters with
/// capitals: `active EQ True` (F1). Operators have no case in the RFC; the
/// literals do, and are taken in any case. Legal: `active eq true`.
pub(crate) fn literal_in_any_case(word: &str) -> Option<crate::filter::Literal> {
    use crate::filter::Literal;
    if word.eq_ignore_ascii_case("null") {
        return Some(Literal::Null);
    }
    boolean_in_a_string(word).map(Literal::Boolean)
}

/// Entra ID adds a value that is selected by its type before it exists:
/// `{"op": "Add", "path": "emails[type eq \"work\"].value", "value": "a@b"}`
/// on a user without e-mail address (X11). Legal: add `{"type": "work",
/// "value": "a@b"}`. Gives the sub-attributes that the filter's `eq` terms
/// demand, or nothing when the filter is more than a conjunction.
pub(crate) fn element_from_filter(filter: &Expression) -> Option<Object> {
    let mut element = Object::new();
    let terms = match filter {
        Expression::And(terms) => terms.as_slice(),
        term => std::slice::from_ref(term),
    };
    for term in terms {
        match term {
            Expression::Compare {
                path,
                operator: Operator::Eq,
                value,
            } => {
                element.insert(path.clone(), value.to_value());
            }
            Expression::Or(_) => return None,
            _ => {}
        }
    }
    Some(element)
}
