//! Validation: the only way to a [`Resource`].
//!
//! [`ResourceType::read`] is the only way from a client's object to a value the
//! rest of the system trusts. It walks the tables of the resource type, not the
//! object, so what no table names is not seen at all (C21). POST, PUT and the
//! result of a PATCH pass through the same code, so that a patched resource can
//! never be something that a created one could not be.

use std::collections::HashMap;

use serde_json::Value;

use crate::Object;
use crate::error::{Error, describe, quote_name};
use crate::patch::PatchOp;
use crate::quirks;
use crate::resource::Resource;
use crate::schema::{Attribute, AttributePath, Mutability, Profile, ResourceType};
use crate::unfold::{Unfolded, only_unknown};
use crate::value::{comparison_key, is_unassigned, read_simple, unexpected};

impl ResourceType {
    /// Reads a client's object: for POST (`keep` is `None`), for PUT and for the
    /// result of a PATCH (`keep` is what is stored).
    ///
    /// | row | rule |
    /// |---|---|
    /// | C1, C2 | `schemas` may be missing; one URI of this type is enough, and others are ignored; extension data counts without its URI |
    /// | C6 | null, `[]` and `""` mean: not there; an element or a complex value that holds only what no schema names is refused |
    /// | C7, C8, X19 | values are read in the type of their attribute, or refused |
    /// | C9 | a required attribute that is missing is refused |
    /// | C10 | what is readOnly is ignored |
    /// | C11 | an immutable attribute keeps its stored value; a different one is refused |
    /// | C12, U7 | what is writeOnly is checked and dropped |
    /// | C17 | of several primary values in one attribute the first stays primary |
    /// | C18 | a repeated `(type, value)` is dropped |
    /// | C21 | what no schema names is ignored |
    /// | H6, F6 | a name may be short, have the URI of its schema, stand in an object under that URI, or have a sub-attribute after a dot |
    /// | U2 | an attribute with a default has it after POST, and stays as it is stored when a PUT leaves it out |
    /// | X20 | one value for a list is a list of one, and a list of one is one value |
    ///
    /// What [`Profile::Strict`](crate::Profile::Strict) refuses beyond that, it
    /// refuses first.
    ///
    /// ```
    /// use scim::ResourceType;
    ///
    /// let read = |body: &[u8], keep| ResourceType::user().read(scim::json::parse(body)?, keep);
    /// let ann = read(br#"{"USERNAME": "ann", "id": "mine", "shoeSize": 44, "emails": "ann@example.com"}"#, None)?;
    /// assert_eq!(ann.string("userName"), Some("ann"));
    /// assert_eq!(ann.boolean("active"), Some(true));
    /// assert_eq!(ann.primary("emails").unwrap()["value"], "ann@example.com");
    /// assert!(ann.get("id").is_none() && ann.get("shoeSize").is_none());
    ///
    /// let replaced = read(br#"{"userName": "ann"}"#, Some(&ann))?;
    /// assert!(replaced.get("emails").is_none());
    ///
    /// let error = read(br#"{"userName": "ann", "active": 7}"#, None).unwrap_err();
    /// assert_eq!(error.detail(), "active: expected a Boolean, got the number 7");
    /// # Ok::<(), scim::Error>(())
    /// ```
    ///
    /// The result of reading a representation of a resource is that resource.
    pub fn read(&self, mut body: Object, keep: Option<&Resource>) -> Result<Resource, Error> {
        if self.is_strict() {
            self.check_resource(&body)?;
        }
        self.check_schemas(take(&mut body, "schemas"))?;
        let Unfolded {
            base: mut document,
            extensions,
            parts,
        } = self.unfold(None, body)?;
        for (uri, extension) in extensions {
            document.insert(uri.to_owned(), Value::Object(extension));
        }
        let origin = match keep {
            None => Origin::New,
            Some(_) => Origin::Replacement,
        };
        let resource = self.admit(document, keep, origin)?;
        match parts.is_empty() {
            true => Ok(resource),
            false => PatchOp::adding(self, parts)?.apply(self, &resource, ""),
        }
    }

    /// Reads the document that a PATCH made of a stored one.
    pub(crate) fn read_patched(
        &self,
        document: Object,
        stored: &Resource,
    ) -> Result<Resource, Error> {
        self.admit(document, Some(stored), Origin::Patch)
    }

    fn admit(
        &self,
        mut body: Object,
        keep: Option<&Resource>,
        origin: Origin,
    ) -> Result<Resource, Error> {
        let mut resource = Object::new();
        let stored = keep.map(Resource::as_object);
        for attribute in self.attributes() {
            let place = AttributePath {
                extension: None,
                attribute: &attribute.name,
                sub: None,
            };
            let given = take(&mut body, &attribute.name);
            let reading = Reading::beside(stored, &attribute.name, origin);
            if let Some(value) = read_member(attribute, place, given, reading)? {
                resource.insert(attribute.name.clone(), value);
            }
        }
        for extension in &self.extensions {
            let schema = &extension.schema;
            let stored = stored.and_then(|stored| stored.get(&schema.id)?.as_object());
            // A PATCH is not about what has been missing since before it was required.
            let required = extension.required && (origin != Origin::Patch || stored.is_some());
            let mut given = match take(&mut body, &schema.id) {
                Some(Value::Object(given)) => given,
                _ => Object::new(),
            };
            // What an absent extension requires is not missing.
            let absent = given.values().all(is_unassigned) && !required;
            let mut object = Object::new();
            for attribute in &schema.attributes {
                let place = AttributePath {
                    extension: Some(&schema.id),
                    attribute: &attribute.name,
                    sub: None,
                };
                let given = take(&mut given, &attribute.name);
                let reading = Reading::beside(stored, &attribute.name, origin);
                let stays =
                    attribute.mutability == Mutability::Immutable || attribute.default.is_some();
                if absent && !(stays && reading.stored.is_some()) {
                    continue;
                }
                if let Some(value) = read_member(attribute, place, given, reading)? {
                    object.insert(attribute.name.clone(), value);
                }
            }
            if object.is_empty() && required {
                return Err(Error::invalid_value(&schema.id, "is required"));
            }
            keep_unseen(&mut object, stored, |name| schema.attribute(name).is_some());
            if !object.is_empty() {
                resource.insert(schema.id.clone(), Value::Object(object));
            }
        }
        keep_unseen(&mut resource, stored, |name| {
            self.attribute(name).is_some() || self.extension(name).is_some()
        });
        Ok(Resource::validated(resource))
    }

    /// C1, H7: a known URI in any case, or nothing at all. Attributes of other schemas are ignored, so their URIs are as
    /// well: an administrator who adds one attribute in the identity provider adds its URI to every request.
    fn check_schemas(&self, schemas: Option<Value>) -> Result<(), Error> {
        let Some(schemas) = schemas.filter(|schemas| !is_unassigned(schemas)) else {
            return Ok(());
        };
        let mut unknown = vec![];
        let mut is_known = false;
        for uri in quirks::single_value_for_list(schemas) {
            let Value::String(uri) = &uri else {
                return Err(Error::invalid_value(
                    "schemas",
                    format_args!("expected a URI, got {}", describe(&uri)),
                ));
            };
            match self.schema_of(uri) {
                Some(_) => is_known = true,
                None => unknown.push(quote_name(uri)),
            }
        }
        match is_known {
            true => Ok(()),
            false => Err(Error::invalid_value(
                "schemas",
                format_args!(
                    "{} is no schema of {}; send {}",
                    unknown.join(", "),
                    self.name,
                    self.schema.id
                ),
            )),
        }
    }
}

/// X1: a message without `schemas` is taken for what it is sent as, but under
/// the strict profile; one that says it is something else than `what` is refused.
pub(crate) fn check_message(
    body: &mut Object,
    uri: &str,
    what: &str,
    profile: Profile,
) -> Result<(), Error> {
    let named = match take(body, "schemas").filter(|schemas| !is_unassigned(schemas)) {
        None => profile == Profile::Tolerant,
        Some(schemas) => quirks::single_value_for_list(schemas)
            .iter()
            .any(|of| of.as_str().is_some_and(|of| of.eq_ignore_ascii_case(uri))),
    };
    match named {
        true => Ok(()),
        false => Err(Error::invalid_syntax(format_args!(
            "schemas: {what} has {uri}"
        ))),
    }
}

/// The member of this name, in any case (H6), taken out of the object.
pub(crate) fn take(object: &mut Object, name: &str) -> Option<Value> {
    if let Some(value) = object.get_mut(name) {
        return Some(value.take());
    }
    object
        .iter_mut()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.take())
}

/// How an object came to be that is read.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Origin {
    /// There was nothing before.
    New,
    /// A client wrote all of it, in place of what is stored.
    Replacement,
    /// Some of what is stored was edited.
    Patch,
}

/// What a value is read beside.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    origin: Origin,
    stored: Option<&'a Value>,
}

impl<'a> Reading<'a> {
    /// Of a value that nothing is known of.
    pub(crate) const NEW: Reading<'static> = Reading {
        origin: Origin::New,
        stored: None,
    };

    /// Of a member of an object; what has no stored form is new.
    fn beside(stored: Option<&'a Object>, name: &str, origin: Origin) -> Self {
        match stored {
            None => Reading::NEW,
            Some(stored) => Reading {
                origin,
                stored: stored.get(name),
            },
        }
    }
}

/// Values of a schema that the resource type does not have any more stay, and
/// nobody sees them: who cannot see a value has not cleared it.
fn keep_unseen(object: &mut Object, stored: Option<&Object>, is_known: impl Fn(&str) -> bool) {
    for (name, value) in stored.into_iter().flatten() {
        if !is_known(name) {
            object.insert(name.clone(), value.clone());
        }
    }
}

/// Reads an attribute of a resource, an extension or a complex value, and
/// applies what depends on what is stored.
fn read_member(
    attribute: &Attribute,
    place: AttributePath<'_>,
    given: Option<Value>,
    reading: Reading<'_>,
) -> Result<Option<Value>, Error> {
    if attribute.mutability == Mutability::ReadOnly {
        return Ok(None);
    }
    let Reading { origin, stored } = reading;
    // What a PATCH left alone was validated when it was written. A schema that
    // has changed since must not be a reason to refuse a deactivation.
    if origin == Origin::Patch && given.as_ref() == stored {
        return Ok(given);
    }
    let mut value = match given {
        Some(given) => read_value(attribute, place, given, reading)?,
        None => None,
    };
    match attribute.mutability {
        Mutability::WriteOnly => return Ok(None),
        Mutability::Immutable => match (&value, stored) {
            (None, Some(stored)) if origin != Origin::Patch => value = Some(stored.clone()),
            (_, Some(stored)) if !is_same(attribute, value.as_ref(), stored) => {
                return Err(is_immutable(place));
            }
            (_, Some(stored)) => value = Some(stored.clone()),
            (_, None) => {}
        },
        _ => {}
    }
    // E4: 1 and 1.0 are one value, which stays as it was written first.
    if let (Some(Value::Number(_)), Some(stored)) = (&value, stored)
        && is_same(attribute, value.as_ref(), stored)
    {
        value = Some(stored.clone());
    }
    if let (None, Some(default)) = (&value, &attribute.default) {
        value = match (origin, stored) {
            (Origin::New, _) => Some(default.clone()),
            (Origin::Replacement, stored) => stored.cloned(),
            // Removed. Without it the default counts, so nothing else may go.
            (Origin::Patch, Some(stored)) if stored != default => {
                return Err(Error::mutability(
                    place,
                    format_args!(
                        "is {stored}; removing it would mean {default}: replace it instead"
                    ),
                ));
            }
            (Origin::Patch, _) => None,
        };
    }
    if value.is_none() && attribute.required {
        let removed = origin == Origin::Patch && stored.is_some();
        return Err(match removed && place.extension.is_some() {
            true => stays(place),
            false => Error::invalid_value(place, "is required"),
        });
    }
    Ok(value)
}

/// Whether a value means the same as the stored one.
pub(crate) fn is_same(attribute: &Attribute, value: Option<&Value>, stored: &Value) -> bool {
    value.is_some_and(|value| {
        value == stored || comparison_key(attribute, value) == comparison_key(attribute, stored)
    })
}

/// The error for a required value that a PATCH removes (X15).
pub(crate) fn stays(place: AttributePath<'_>) -> Error {
    Error::mutability(place, "is required and cannot be removed")
}

pub(crate) fn is_immutable(place: AttributePath<'_>) -> Error {
    Error::mutability(place, "is immutable and has another value already")
}

/// Reads the value of an attribute: canonical, or nothing.
pub(crate) fn read_value(
    attribute: &Attribute,
    place: AttributePath<'_>,
    value: Value,
    reading: Reading<'_>,
) -> Result<Option<Value>, Error> {
    let value = quirks::wrapped_in_its_own_name(attribute, place, value);
    if clears(attribute, &value) {
        return Ok(None);
    }
    if attribute.multi_valued {
        let elements = read_elements(attribute, place, value)?;
        let mut elements = without_repeats(attribute, elements);
        quirks::several_primaries(attribute, &mut elements);
        return Ok((!elements.is_empty()).then_some(Value::Array(elements)));
    }
    read_one(attribute, place, value, reading)
}

/// Whether a value stands for none. An empty text in place of members names no member, and does not empty a group.
pub(crate) fn clears(attribute: &Attribute, value: &Value) -> bool {
    is_unassigned(value) && !(value.is_string() && attribute.names_resources())
}

/// Reads the elements of a multi-valued attribute one by one.
pub(crate) fn read_elements(
    attribute: &Attribute,
    place: AttributePath<'_>,
    value: Value,
) -> Result<Vec<Value>, Error> {
    let mut elements = Vec::new();
    for element in quirks::single_value_for_list(value) {
        let read = read_one(attribute, place, element, Reading::NEW)?;
        let is_named = || {
            read.as_ref()
                .is_some_and(|read| read.get("value").is_some())
        };
        if attribute.names_resources() && !is_named() {
            return Err(is_unnamed(place));
        }
        elements.extend(read);
    }
    Ok(elements)
}

/// The error for an element that names no resource. To leave it out would be to remove what it was meant to name.
pub(crate) fn is_unnamed(place: AttributePath<'_>) -> Error {
    Error::invalid_value(
        place.sub("value"),
        "is missing: a member is named by its id",
    )
}

/// Reads one value: of a single-valued attribute, or one element.
pub(crate) fn read_one(
    attribute: &Attribute,
    place: AttributePath<'_>,
    value: Value,
    reading: Reading<'_>,
) -> Result<Option<Value>, Error> {
    let value = match attribute.multi_valued {
        true => value,
        false => quirks::list_of_one(value),
    };
    if is_unassigned(&value) {
        return Ok(None);
    }
    if !attribute.is_complex() {
        let value = quirks::object_for_simple(value);
        return match is_unassigned(&value) {
            true => Ok(None),
            false => read_simple(attribute, place, value).map(Some),
        };
    }
    let mut given = match quirks::bare_string_for_complex(attribute, value) {
        Value::Object(given) => given,
        value => return Err(unexpected(attribute, place, &value)),
    };
    quirks::manager_id(attribute, &mut given);
    if given.values().all(is_unassigned) {
        return Ok(None);
    }
    check_known(attribute, place, &given)?;
    let without_value = attribute.multi_valued && says_no_value(attribute, &given);
    let stored = reading.stored.and_then(Value::as_object);
    let mut object = Object::new();
    for sub in &attribute.sub_attributes {
        let given = take(&mut given, &sub.name);
        let reading = Reading::beside(stored, &sub.name, reading.origin);
        if let Some(value) = read_member(sub, place.sub(&sub.name), given, reading)? {
            object.insert(sub.name.clone(), value);
        }
    }
    // An element whose value is cleared is removed, with what described the value.
    if without_value
        && object
            .keys()
            .all(|name| name == "type" || name == "primary")
    {
        return Ok(None);
    }
    Ok((!object.is_empty()).then_some(Value::Object(object)))
}

/// Refuses a complex value that is not empty, but has none of the sub-attributes: without what is unknown it would be
/// taken for an empty one.
pub(crate) fn check_known(
    attribute: &Attribute,
    place: AttributePath<'_>,
    given: &Object,
) -> Result<(), Error> {
    let is_known = |name: &str| attribute.sub_attribute(name).is_some();
    let Some(name) = only_unknown(given, is_known) else {
        return Ok(());
    };
    let known: Vec<&str> = attribute
        .sub_attributes
        .iter()
        .map(|sub| sub.name.as_str())
        .collect();
    Err(Error::invalid_value(
        place,
        format_args!(
            "has no sub-attribute {}, and nothing else is there; it has {}",
            quote_name(name),
            known.join(", ")
        ),
    ))
}

/// Whether an element has a `value` that is empty.
fn says_no_value(attribute: &Attribute, given: &Object) -> bool {
    attribute.sub_attribute("value").is_some()
        && given
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("value") && is_unassigned(value))
}

/// The text under which two elements are the same value (C18): `(type, value)`
/// where there is a value, else everything.
pub(crate) fn identity(attribute: &Attribute, element: &Value) -> String {
    match element {
        Value::Object(object) => match value_key(attribute, object) {
            Some(value) => {
                let kind = sub_key(attribute, object, "type").unwrap_or_default();
                format!("{value}\u{0}{kind}")
            }
            None => element.to_string(),
        },
        element => comparison_key(attribute, element),
    }
}

/// The `value` of an element, as comparisons see it.
pub(crate) fn value_key(attribute: &Attribute, element: &Object) -> Option<String> {
    sub_key(attribute, element, "value")
}

fn sub_key(attribute: &Attribute, element: &Object, name: &str) -> Option<String> {
    let sub = attribute.sub_attribute(name)?;
    Some(comparison_key(sub, element.get(&sub.name)?))
}

/// C18: of elements with one identity the first stays. It becomes primary if
/// any of them was.
fn without_repeats(attribute: &Attribute, elements: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::with_capacity(elements.len());
    let mut places: HashMap<String, usize> = HashMap::with_capacity(elements.len());
    for element in elements {
        let index = *places
            .entry(identity(attribute, &element))
            .or_insert(kept.len());
        match kept.get_mut(index) {
            None => kept.push(element),
            Some(first) => {
                if is_primary(&element)
                    && !is_primary(first)
                    && let Value::Object(merged) = first
                {
                    merged.insert("primary".to_owned(), Value::Bool(true));
                    in_schema_order(attribute, merged);
                }
            }
        }
    }
    kept
}

/// C17: whether an element is the preferred one.
pub(crate) fn is_primary(element: &Value) -> bool {
    element.get("primary") == Some(&Value::Bool(true))
}

/// The error for an operation that makes several elements primary.
pub(crate) fn two_primaries(place: AttributePath<'_>) -> Error {
    Error::invalid_value(
        place.sub("primary"),
        "is true for more than one value; one at most can be primary",
    )
}

/// Puts the members of a complex value in the order of its schema, the order
/// in which validation leaves them.
pub(crate) fn in_schema_order(attribute: &Attribute, object: &mut Object) {
    let mut ordered = Object::new();
    for sub in &attribute.sub_attributes {
        if let Some(value) = object.get_mut(&sub.name) {
            ordered.insert(sub.name.clone(), value.take());
        }
    }
    *object = ordered;
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn c1_c2_h7_schemas_are_checked_and_may_be_missing() {
        let ann = json!({"userName": "ann", "active": true});
        for schemas in [
            json!(["urn:ietf:params:scim:schemas:core:2.0:User"]),
            json!(["URN:ietf:params:scim:schemas:core:2.0:user", ENTERPRISE]),
            json!([ENTERPRISE]),
            // An administrator has added an attribute to the profile in the identity provider.
            json!(["urn:x", "urn:ietf:params:scim:schemas:core:2.0:User"]),
            // OneLogin.
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
            "schemas: \"urn:x\" is no schema of User; send urn:ietf:params:scim:schemas:core:2.0:User",
        );
        refused(
            json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", "urn:scim:schemas:core:2.0:Group"], "userName": "ann"}),
            ScimType::InvalidValue,
            "schemas: \"urn:ietf:params:scim:schemas:core:2.0:Group\", \"urn:scim:schemas:core:2.0:Group\" is no schema of User; \
             send urn:ietf:params:scim:schemas:core:2.0:User",
        );
        refused(
            json!({"schemas": [7], "userName": "ann"}),
            ScimType::InvalidValue,
            "schemas: expected a URI, got the number 7",
        );
    }

    #[test]
    fn c3_c5_c10_what_is_read_only_is_ignored() {
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

    #[test]
    fn c6_null_nothing_and_empty_text_are_the_same() {
        gives(
            json!({"userName": "ann", "title": null, "nickName": "", "emails": [], "roles": [null, {}, ""], "name": {"givenName": "", "familyName": null},
                "addresses": [{"locality": ""}], ENTERPRISE: {"department": ""}}),
            json!({"userName": "ann", "active": true}),
        );
    }

    #[test]
    fn c7_x19_x20_u5_values_are_read_in_the_type_of_their_attribute() {
        gives(
            json!({"userName": "ann", "active": "FALSE", "emails": "a@example.com", "roles": ["r", {"value": "s", "primary": "True"}], ENTERPRISE: {"manager": "m"}}),
            json!({"userName": "ann", "active": false, "emails": [{"value": "a@example.com"}], "roles": [{"value": "r"}, {"value": "s", "primary": true}],
                ENTERPRISE: {"manager": {"value": "m"}}}),
        );
    }

    #[test]
    fn c8_c9_what_does_not_fit_is_refused_by_name() {
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

    #[test]
    fn c12_u7_a_password_is_checked_and_dropped() {
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

    #[test]
    fn c17_c18_one_primary_and_no_repeats() {
        let email = |value: &str, primary: bool| json!({"value": value, "type": "work", "primary": primary});
        gives(
            json!({"userName": "ann", "emails": [email("a", true), email("b", true)]}),
            json!({"userName": "ann", "active": true, "emails": [email("a", true), email("b", false)]}),
        );
        gives(
            json!({"userName": "ann", "emails": [{"type": "work", "value": "a"}, email("b", false), email("A", true)]}),
            json!({"userName": "ann", "active": true, "emails": [{"value": "a", "type": "work", "primary": true}, email("b", false)]}),
        );
    }

    #[test]
    fn c19_c21_h6_other_types_are_taken_unknown_attributes_ignored_names_in_any_case() {
        gives(
            json!({"USERNAME": "ann", "shoeSize": 44, "Emails": [{"VALUE": "a", "Type": "boat", "shoe": 1}]}),
            json!({"userName": "ann", "active": true, "emails": [{"value": "a", "type": "boat"}]}),
        );
    }

    const USER: &str = crate::USER_SCHEMA;

    #[test]
    fn f6_a_name_has_the_forms_of_a_path() {
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
                &format!("{what}: is there twice, with different values; send it once"),
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

    #[test]
    fn c6_what_is_unknown_as_a_whole_is_refused_and_not_taken_for_empty() {
        let known = "value, display, type, primary";
        refused(
            json!({"userName": "ann", "emails": [{"mail": "a"}]}),
            ScimType::InvalidValue,
            &format!(
                "emails: has no sub-attribute \"mail\", and nothing else is there; it has {known}"
            ),
        );
        refused(
            json!({"userName": "ann", "roles": [{"value": "r"}, {"id": "s", "value": ""}]}),
            ScimType::InvalidValue,
            &format!(
                "roles: has no sub-attribute \"id\", and nothing else is there; it has {known}"
            ),
        );
        refused(
            json!({"userName": "ann", "name": {"first": "Ann"}}),
            ScimType::InvalidValue,
            "name: has no sub-attribute \"first\", and nothing else is there; it has formatted, familyName, givenName, middleName, \
             honorificPrefix, honorificSuffix",
        );
        refused(
            json!({"userName": "ann", ENTERPRISE: {"dept": "d", "division": null}}),
            ScimType::InvalidValue,
            &format!(
                "{ENTERPRISE}: has no attribute \"dept\", and nothing else is there; see /Schemas for the attributes that it has"
            ),
        );
        // What is readOnly is known, and one unknown name beside a known one is ignored.
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

    #[test]
    fn h7_old_uris_and_names_mean_the_new_ones() {
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

    #[test]
    fn u2_active_is_true_for_who_is_new_and_stays_for_who_is_not() {
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

    #[test]
    fn w1_put_clears_what_it_leaves_out() {
        let result = put(
            json!({"userName": "ann", "title": "x", "externalId": "e", ENTERPRISE: {"department": "d"}}),
            json!({"userName": "ann", "nickName": "n"}),
        );
        assert_eq!(
            Value::Object(result.unwrap().as_object().clone()),
            json!({"userName": "ann", "nickName": "n", "active": true})
        );
    }

    #[test]
    fn c11_what_is_immutable_is_set_once() {
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
                "title: is immutable and has another value already"
            )
        );
    }

    const ACME: &str = "urn:acme:User";

    /// Users with an extension of these attributes.
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

    #[test]
    fn x8_x15_an_extension_goes_with_all_that_it_requires_or_stays() {
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
        // Who begins an extension says all that it requires.
        let add = json!({"op": "add", "path": ACME, "value": {"hat": "60"}});
        let error = patch(&ty, &gone, add).unwrap_err();
        assert_eq!(error.detail(), "urn:acme:User:badge: is required");
    }

    #[test]
    fn a_schema_that_changes_is_no_reason_to_refuse_a_deactivation() {
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
        // What is not in the schema is not shown, and stays when what is shown is sent back.
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

    #[test]
    fn e4_c8_a_number_in_another_form_is_no_change() {
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
        let add =
            json!({"op": "add", "path": ACME, "value": {"score": 1.0, "scores": [1.0, "1.00"]}});
        assert_eq!(patch(&ty, &ann, add).unwrap(), ann);
    }

    #[test]
    fn c11_what_is_immutable_may_be_sent_again_and_not_taken_away() {
        let ty = with(
            json!([{"name": "serial", "mutability": "immutable"}, {"name": "keys", "multiValued": true, "mutability": "immutable"}]),
            false,
        );
        let ann = json!({"userName": "ann", ACME: {"serial": "S-1", "keys": ["a", "b"]}});
        let ann = ty.read(object(ann), None).unwrap();
        let path = |name: &str| format!("{ACME}:{name}");
        let set =
            |name: &str, value: Value| json!({"op": "replace", "path": path(name), "value": value});
        // C14: case does not count here, and the stored form stays.
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
        fn what_was_validated_is_valid(body in any_user()) {
            if let Ok(user) = ResourceType::user().read(body, None) {
                let again = ResourceType::user().read(user.as_object().clone(), None).unwrap();
                prop_assert_eq!(&again, &user);
                // Okta sends back what it read: nothing changes (W2).
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
}
