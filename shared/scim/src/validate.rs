//! Validates objects from clients.
//!
//! [`ResourceType::read`] is the only way to create a [`Resource`] from an object of a client. It
//! iterates over the attributes of the resource type, not over the object, so unknown attributes
//! are ignored (C21). POST, PUT and the result of a PATCH use the same code, so a patched resource
//! satisfies the same rules as a created one.

use serde_json::Value;

use crate::Object;
use crate::elements::deduplicate;
use crate::error::{Error, describe, quote_name};
use crate::normalize::{Normalized, only_unknown};
use crate::patch::PatchOp;
use crate::quirks;
use crate::resource::Resource;
use crate::schema::{Attribute, AttributePath, Mutability, Profile, ResourceType};
use crate::value::{comparison_key, is_unassigned, read_simple, unexpected};

impl ResourceType {
    /// Validates an object from a client. `keep` is `None` for POST and the stored resource for
    /// PUT.
    ///
    /// | row | rule |
    /// |---|---|
    /// | C1, C2 | `schemas` may be missing; one URI of this type is sufficient, and others are ignored; attributes of an extension are accepted without its URI in `schemas` |
    /// | C6 | null, `[]` and `""` are treated as missing; an element or a complex value that contains only unknown attributes is refused |
    /// | C7, C8, X19 | values are converted to the type of their attribute, or refused |
    /// | C9 | a required attribute that is missing is refused |
    /// | C10 | readOnly attributes are ignored |
    /// | C11 | an immutable attribute keeps its stored value; a different one is refused |
    /// | C12, U7 | writeOnly attributes are validated and not stored |
    /// | C17 | if several values of an attribute are primary, only the first stays primary |
    /// | C18 | an element that repeats `(type, value)` is dropped |
    /// | C21 | unknown attributes are ignored |
    /// | H6, F6 | a name may be short, have the URI of its schema, be in an object under that URI, or have a sub-attribute after a dot |
    /// | U2 | POST sets an attribute with a default to it, and PUT keeps the stored value if the attribute is missing |
    /// | X20 | a single value is accepted for a list, and a list of one element for a single value |
    ///
    /// [`Profile::Strict`](crate::Profile::Strict) refuses more, before these rules apply.
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
    /// The representation of a resource is read as the same resource.
    pub fn read(&self, mut body: Object, keep: Option<&Resource>) -> Result<Resource, Error> {
        if self.is_strict() {
            self.check_resource(&body)?;
        }
        self.check_schemas(take(&mut body, "schemas"))?;
        let Normalized {
            base: mut document,
            extensions,
            parts,
        } = self.normalize(None, body)?;
        for (uri, extension) in extensions {
            document.insert(uri.to_owned(), Value::Object(extension));
        }
        let origin = match keep {
            None => Origin::New,
            Some(_) => Origin::Replacement,
        };
        let resource = self.admit(document, keep, origin)?;
        if parts.is_empty() {
            Ok(resource)
        } else {
            PatchOp::adding(self, parts)?.apply(self, &resource, "")
        }
    }

    /// Validates the result of a PATCH.
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
            let context = ReadContext::member(stored, &attribute.name, origin);
            if let Some(value) = read_member(attribute, place, given, context)? {
                resource.insert(attribute.name.clone(), value);
            }
        }
        for extension in &self.extensions {
            let schema = &extension.schema;
            let stored = stored.and_then(|stored| stored.get(&schema.id)?.as_object());
            // An extension that was missing before it became required does not make a PATCH fail.
            let required = extension.required && (origin != Origin::Patch || stored.is_some());
            let mut given = match take(&mut body, &schema.id) {
                Some(Value::Object(given)) => given,
                _ => Object::new(),
            };
            // The required attributes of an absent extension are not missing.
            let absent = given.values().all(is_unassigned) && !required;
            let mut object = Object::new();
            for attribute in &schema.attributes {
                let place = AttributePath {
                    extension: Some(&schema.id),
                    attribute: &attribute.name,
                    sub: None,
                };
                let given = take(&mut given, &attribute.name);
                let context = ReadContext::member(stored, &attribute.name, origin);
                let stays =
                    attribute.mutability == Mutability::Immutable || attribute.default.is_some();
                if absent && !(stays && context.stored.is_some()) {
                    continue;
                }
                if let Some(value) = read_member(attribute, place, given, context)? {
                    object.insert(attribute.name.clone(), value);
                }
            }
            if object.is_empty() && required {
                return Err(Error::invalid_value(&schema.id, "is required"));
            }
            keep_unknown(&mut object, stored, |name| schema.attribute(name).is_some());
            if !object.is_empty() {
                resource.insert(schema.id.clone(), Value::Object(object));
            }
        }
        keep_unknown(&mut resource, stored, |name| {
            self.attribute(name).is_some() || self.extension(name).is_some()
        });
        Ok(Resource::validated(resource))
    }

    /// RFC 7643 §3 (C1, H7): `schemas` is empty or contains a URI of the type, in any case. Other
    /// URIs are ignored, as attributes of other schemas are: when an administrator maps one more
    /// attribute, the identity provider adds its URI to every request.
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
        if is_known {
            Ok(())
        } else {
            Err(Error::invalid_value(
                "schemas",
                format_args!(
                    "{} {} of {}; send {}",
                    unknown.join(", "),
                    if unknown.len() == 1 {
                        "is not a schema"
                    } else {
                        "are not schemas"
                    },
                    self.name,
                    self.schema.id
                ),
            ))
        }
    }
}

/// RFC 7644 §3.5.2 (X1): checks `schemas` of a message. It may be missing, except with the strict
/// profile; a message with another URI is refused.
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
    if named {
        Ok(())
    } else {
        Err(Error::invalid_syntax(format_args!(
            "schemas: {what} must contain {uri}"
        )))
    }
}

/// Takes the list `Operations` of a PATCH or a bulk message.
///
/// # Errors
///
/// 400 `invalidSyntax` if it is missing, null, or not a list.
pub(crate) fn take_operations(body: &mut Object) -> Result<Vec<Value>, Error> {
    match take(body, "Operations") {
        Some(Value::Array(operations)) => Ok(operations),
        None | Some(Value::Null) => Err(Error::invalid_syntax("Operations is missing")),
        Some(value) => Err(Error::invalid_syntax(format_args!(
            "Operations: expected a list, got {}",
            describe(&value)
        ))),
    }
}

/// Takes the member with this name, in any case (RFC 7643 §2.1, H6), out of the object.
pub(crate) fn take(object: &mut Object, name: &str) -> Option<Value> {
    if let Some(value) = object.get_mut(name) {
        return Some(value.take());
    }
    object
        .iter_mut()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.take())
}

/// Origin of an object.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Origin {
    /// The resource is new.
    New,
    /// A PUT replaces the stored resource.
    Replacement,
    /// A PATCH edited the stored resource.
    Patch,
}

/// Context of a value: the origin of the object and the stored value.
#[derive(Clone, Copy)]
pub(crate) struct ReadContext<'a> {
    origin: Origin,
    stored: Option<&'a Value>,
}

impl<'a> ReadContext<'a> {
    /// The context of a new value.
    pub(crate) const NEW: ReadContext<'static> = ReadContext {
        origin: Origin::New,
        stored: None,
    };

    /// Returns the context of a member of an object. A member without stored object is new.
    fn member(stored: Option<&'a Object>, name: &str, origin: Origin) -> Self {
        match stored {
            None => ReadContext::NEW,
            Some(stored) => ReadContext {
                origin,
                stored: stored.get(name),
            },
        }
    }
}

/// Keeps stored values of schemas that the resource type no longer has. A client cannot see them,
/// so it has not cleared them.
fn keep_unknown(object: &mut Object, stored: Option<&Object>, is_known: impl Fn(&str) -> bool) {
    for (name, value) in stored.into_iter().flatten() {
        if !is_known(name) {
            object.insert(name.clone(), value.clone());
        }
    }
}

/// Reads an attribute of a resource, an extension or a complex value, and applies the rules that
/// depend on the stored value.
fn read_member(
    attribute: &Attribute,
    place: AttributePath<'_>,
    given: Option<Value>,
    context: ReadContext<'_>,
) -> Result<Option<Value>, Error> {
    if attribute.mutability == Mutability::ReadOnly {
        return Ok(None);
    }
    let ReadContext { origin, stored } = context;
    // A value that a PATCH does not change was validated when it was written. A schema that changed
    // since then must not make a deactivation fail.
    if origin == Origin::Patch && given.as_ref() == stored {
        return Ok(given);
    }
    let mut value = match given {
        Some(given) => read_value(attribute, place, given, context)?,
        None => None,
    };
    match attribute.mutability {
        Mutability::WriteOnly => return Ok(None),
        Mutability::Immutable => match (&value, stored) {
            (None, Some(stored)) if origin != Origin::Patch => value = Some(stored.clone()),
            (_, Some(stored)) if !is_same(attribute, value.as_ref(), stored) => {
                return Err(immutable_error(place));
            }
            (_, Some(stored)) => value = Some(stored.clone()),
            (_, None) => {}
        },
        _ => {}
    }
    // RFC 7644 §3.14 (E4): 1 and 1.0 are equal, and the stored form is kept.
    if let (Some(Value::Number(_)), Some(stored)) = (&value, stored)
        && is_same(attribute, value.as_ref(), stored)
    {
        value = Some(stored.clone());
    }
    if let (None, Some(default)) = (&value, &attribute.default) {
        value = match (origin, stored) {
            (Origin::New, _) => Some(default.clone()),
            (Origin::Replacement, stored) => stored.cloned(),
            // The attribute was removed. Its default applies from now on, so only the default may
            // be removed.
            (Origin::Patch, Some(stored)) if stored != default => {
                return Err(Error::mutability(
                    place,
                    format_args!(
                        "is {stored}; removing it would set it to {default}; replace it instead"
                    ),
                ));
            }
            (Origin::Patch, _) => None,
        };
    }
    if value.is_none() && attribute.required {
        let removed = origin == Origin::Patch && stored.is_some();
        return Err(if removed && place.extension.is_some() {
            required_error(place)
        } else {
            Error::invalid_value(place, "is required")
        });
    }
    Ok(value)
}

/// Returns whether a value is equal to the stored value.
pub(crate) fn is_same(attribute: &Attribute, value: Option<&Value>, stored: &Value) -> bool {
    value.is_some_and(|value| {
        value == stored || comparison_key(attribute, value) == comparison_key(attribute, stored)
    })
}

/// Returns the error for a PATCH that removes a required value (RFC 7644 §3.5.2.2, X15).
pub(crate) fn required_error(place: AttributePath<'_>) -> Error {
    Error::mutability(place, "is required and cannot be removed")
}

pub(crate) fn immutable_error(place: AttributePath<'_>) -> Error {
    Error::mutability(place, "is immutable and already has another value")
}

/// Reads the value of an attribute and returns it in canonical form, or `None` for an empty value.
pub(crate) fn read_value(
    attribute: &Attribute,
    place: AttributePath<'_>,
    value: Value,
    context: ReadContext<'_>,
) -> Result<Option<Value>, Error> {
    let value = quirks::wrapped_in_its_own_name(attribute, place, value);
    if clears(attribute, &value) {
        return Ok(None);
    }
    if attribute.multi_valued {
        let elements = read_elements(attribute, place, value)?;
        let mut elements = deduplicate(attribute, elements);
        quirks::several_primaries(attribute, &mut elements);
        return Ok((!elements.is_empty()).then_some(Value::Array(elements)));
    }
    read_one(attribute, place, value, context)
}

/// Returns whether a value clears the attribute. An empty string does not clear a list of
/// resources, such as the members of a group.
pub(crate) fn clears(attribute: &Attribute, value: &Value) -> bool {
    is_unassigned(value) && !(value.is_string() && attribute.identifies_resources())
}

/// Reads the elements of a multi-valued attribute one by one.
pub(crate) fn read_elements(
    attribute: &Attribute,
    place: AttributePath<'_>,
    value: Value,
) -> Result<Vec<Value>, Error> {
    let mut elements = Vec::new();
    for element in quirks::single_value_for_list(value) {
        let read = read_one(attribute, place, element, ReadContext::NEW)?;
        let is_named = || {
            read.as_ref()
                .is_some_and(|read| read.get("value").is_some())
        };
        if attribute.identifies_resources() && !is_named() {
            return Err(missing_id_error(place));
        }
        elements.extend(read);
    }
    Ok(elements)
}

/// Returns the error for an element without the id of a resource. To ignore the element could
/// remove a member.
pub(crate) fn missing_id_error(place: AttributePath<'_>) -> Error {
    Error::invalid_value(
        place.sub("value"),
        "is missing; identify a member by its id",
    )
}

/// Reads one value: of a single-valued attribute, or one element.
pub(crate) fn read_one(
    attribute: &Attribute,
    place: AttributePath<'_>,
    value: Value,
    context: ReadContext<'_>,
) -> Result<Option<Value>, Error> {
    let value = if attribute.multi_valued {
        value
    } else {
        quirks::list_of_one(value)
    };
    if is_unassigned(&value) {
        return Ok(None);
    }
    if !attribute.is_complex() {
        let value = quirks::object_for_simple(value);
        return if is_unassigned(&value) {
            Ok(None)
        } else {
            read_simple(attribute, place, value).map(Some)
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
    let stored = context.stored.and_then(Value::as_object);
    let mut object = Object::new();
    for sub in &attribute.sub_attributes {
        let given = take(&mut given, &sub.name);
        let context = ReadContext::member(stored, &sub.name, context.origin);
        if let Some(value) = read_member(sub, place.sub(&sub.name), given, context)? {
            object.insert(sub.name.clone(), value);
        }
    }
    // An element whose `value` is cleared is removed, together with its `type` and `primary`.
    if without_value
        && object
            .keys()
            .all(|name| name == "type" || name == "primary")
    {
        return Ok(None);
    }
    Ok((!object.is_empty()).then_some(Value::Object(object)))
}

/// Refuses a complex value that contains unknown sub-attributes only. If they were ignored, the
/// value would be treated as empty.
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
            "has no sub-attribute {}, and the value contains nothing else; its sub-attributes are {}",
            quote_name(name),
            known.join(", ")
        ),
    ))
}

/// Returns whether an element has an empty `value`.
fn says_no_value(attribute: &Attribute, given: &Object) -> bool {
    attribute.sub_attribute("value").is_some()
        && given
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("value") && is_unassigned(value))
}

#[cfg(test)]
mod tests;
