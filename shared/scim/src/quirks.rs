//! Messages of identity providers that deviate from the RFCs.
//!
//! Each deviation is one function, whose documentation names the client, an example and the legal
//! form. The functions convert messages to legal forms before other code reads them, and never
//! change the meaning of a legal message. Deviations that depend on the client of a directory use
//! [`Client`](crate::Client).

use serde_json::{Number, Value};

use crate::Object;
use crate::elements::is_primary;
use crate::filter::{Expression, Operator};
use crate::schema::{Attribute, AttributePath, Mutability};
use crate::user::ENTERPRISE_USER_SCHEMA;
use crate::value::is_unassigned;

/// Entra ID with its default PATCH client, and scripts: `"active": "False"`, also in filters,
/// `roles[primary eq "True"]` (C7, X19). Legal: `false`, `true`.
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
///
/// A string that contains JSON is not converted: a client that sends an object as a string would
/// otherwise store the JSON text as the value.
pub(crate) fn bare_string_for_complex(attribute: &Attribute, value: Value) -> Value {
    let is_bare = |text: &str| {
        let json = text.trim_start().starts_with(['{', '['])
            && serde_json::from_str::<Value>(text).is_ok();
        attribute.is_complex() && attribute.sub_attribute("value").is_some() && !json
    };
    if value.as_str().is_some_and(is_bare) {
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

/// An old client of Microsoft: `"path": "displayName", "value": [{"$ref": null, "value":
/// "Sales"}]`. Legal: the single value. This function removes the list, and [`object_for_simple`]
/// removes the object.
pub(crate) fn list_of_one(value: Value) -> Value {
    match value {
        Value::Array(mut values) if values.len() == 1 => values.pop().unwrap_or_default(),
        value => value,
    }
}

/// See [`list_of_one`]. An object with other members is not converted.
pub(crate) fn object_for_simple(value: Value) -> Value {
    match value {
        Value::Object(mut object) => {
            let only = object.iter().all(|(name, value)| {
                ["value", "$ref"].contains(&name.as_str()) || is_unassigned(value)
            });
            match object.get_mut("value") {
                Some(value) if only => value.take(),
                _ => Value::Object(object),
            }
        }
        value => value,
    }
}

/// Salesforce and others: `"path": "members", "value": {"members": [{"value": "2819c223"}]}`, a
/// value in an object with the name of its attribute. Legal: the value alone.
pub(crate) fn wrapped_in_its_own_name(
    attribute: &Attribute,
    place: AttributePath<'_>,
    value: Value,
) -> Value {
    let Value::Object(mut object) = value else {
        return value;
    };
    let is_own = |name: &str| {
        let name = match name.rsplit_once(':') {
            None => name,
            Some((_, name)) => name,
        };
        let whole = name
            .split_once('.')
            .filter(|(before, _)| before.eq_ignore_ascii_case(place.attribute))
            .map_or(name, |(_, sub)| sub);
        whole.eq_ignore_ascii_case(&attribute.name) && attribute.sub_attribute(name).is_none()
    };
    let is_alone = object.len() == 1;
    match object.iter_mut().next() {
        Some((name, value)) if is_alone && is_own(name) => value.take(),
        _ => Value::Object(object),
    }
}

/// OneLogin and other clients that were written for SCIM 1.1 or a draft of 2.0: `"schemas": ["urn:scim:schemas:core:1.0",
/// "urn:scim:schemas:extension:enterprise:1.0"]`. Legal: the URIs of RFC 7643. `base` is the URI of the base schema of
/// the resource type.
pub(crate) fn old_uri<'u>(uri: &'u str, base: &'u str) -> &'u str {
    const BEGIN: &str = "urn:scim:schemas:";
    let old = uri
        .get(..BEGIN.len())
        .filter(|begin| begin.eq_ignore_ascii_case(BEGIN))
        .and_then(|_| uri.get(BEGIN.len()..));
    let Some(old) = old.map(str::to_ascii_lowercase) else {
        return uri;
    };
    let name = base.rsplit(':').next().unwrap_or_default();
    let of_type = |version: &str| {
        let rest = old.strip_prefix("core:");
        let rest = rest.and_then(|rest| rest.strip_prefix(version)?.strip_prefix(':'));
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(name))
    };
    match old.as_str() {
        "core:1.0" | "core:2.0" => base,
        "extension:enterprise:1.0"
        | "extension:enterprise:2.0"
        | "extension:enterprise:1.0:user"
        | "extension:enterprise:2.0:user" => ENTERPRISE_USER_SCHEMA,
        _ if of_type("1.0") || of_type("2.0") => base,
        _ => uri,
    }
}

/// Clients that were written for SCIM 1.1: `manager.managerId`. Legal: `manager.value`.
pub(crate) fn old_sub_attribute<'n>(attribute: &Attribute, name: &'n str) -> &'n str {
    let is_old = name.eq_ignore_ascii_case("managerId")
        && attribute.name == "manager"
        && attribute.sub_attribute(name).is_none();
    if is_old { "value" } else { name }
}

/// See [`old_sub_attribute`]. If the object has a `value` as well, `managerId` is ignored.
pub(crate) fn manager_id(attribute: &Attribute, given: &mut Object) {
    let old = given
        .keys()
        .find(|name| old_sub_attribute(attribute, name) != name.as_str());
    let Some(old) = old.cloned() else { return };
    let id = given.shift_remove(&old).unwrap_or_default();
    let has_value = |(name, value): (&String, &Value)| {
        name.eq_ignore_ascii_case("value") && !is_unassigned(value)
    };
    if !given.iter().any(has_value) {
        given.retain(|name, _| !name.eq_ignore_ascii_case("value"));
        given.insert("value".to_owned(), id);
    }
}

/// PingOne: two e-mail addresses with `"primary": true`, as in its manual. Legal (RFC 7643 §2.4):
/// at most one. The first one stays primary.
pub(crate) fn several_primaries(attribute: &Attribute, elements: &mut [Value]) {
    if attribute.sub_attribute("primary").is_none() {
        return;
    }
    for element in elements.iter_mut().filter(|of| is_primary(of)).skip(1) {
        if let Value::Object(element) = element {
            element.insert("primary".to_owned(), Value::Bool(false));
        }
    }
}

/// Entra ID: `"op": "Add"`, `"op": "Replace"` (X2). Legal: lower case.
pub(crate) fn capitalised_op(op: &str) -> String {
    op.to_ascii_lowercase()
}

/// The old PATCH client of Entra ID: `{"op": "Remove", "path": "members", "value": [{"value":
/// "2819c223"}]}` removes that one member (X17). Legal: `members[value eq "2819c223"]`. Without a
/// value the whole attribute is removed. An empty list removes nothing.
pub(crate) enum RemovedValues {
    /// The operation has no value and removes the whole attribute.
    All,
    /// The operation removes these elements.
    Named(Vec<Value>),
}

/// Reads the `value` of a `remove` as [`RemovedValues`].
pub(crate) fn remove_with_value_list(attribute: &Attribute, value: Option<Value>) -> RemovedValues {
    match value {
        // A single-valued attribute has only one value to remove, so the value of the operation is
        // ignored.
        None | Some(Value::Null) => RemovedValues::All,
        Some(_) if !attribute.multi_valued => RemovedValues::All,
        Some(value) => RemovedValues::Named(single_value_for_list(value)),
    }
}

/// Clients that follow the example of RFC 7644 §3.7.3, which is not valid JSON (`"data": {[{"op":
/// "remove", …}]}`), send the list alone. Legal: `{"Operations": [{"op": "remove", …}]}`.
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

/// Okta renames a group by `{"op": "replace", "value": {"id": "…", "displayName": "New"}}`, and
/// other clients send `schemas`, `meta` and `groups` back in the same way (X5). Legal: no readOnly
/// attributes. `id` is not ignored here, because it must be the id of the resource.
///
/// An `add` of readOnly attributes is refused, except for `schemas`, which describes the object.
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

/// Scripts and some connectors write operators and literals of filters with capitals: `active EQ
/// True` (F1). In the RFC, operators are case-insensitive and literals are not; both are accepted
/// in any case. Legal: `active eq true`.
pub(crate) fn literal_in_any_case(word: &str) -> Option<crate::filter::Literal> {
    use crate::filter::Literal;
    if word.eq_ignore_ascii_case("null") {
        return Some(Literal::Null);
    }
    boolean_in_a_string(word).map(Literal::Boolean)
}

/// Entra ID selects an element by its type before the element exists: `{"op": "Add", "path":
/// "emails[type eq \"work\"].value", "value": "a@b"}` on a user without e-mail address (X11).
/// Legal: add `{"type": "work", "value": "a@b"}`. Returns the sub-attributes that the `eq` terms of
/// the filter require, or `None` if the filter contains `or`.
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
