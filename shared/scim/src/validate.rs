//! Validation: the only way to a [`Resource`].
//!
//! [`ResourceType::read`] is the only way from a client's object to a value the
//! rest of the system trusts. It walks the tables of the resource type, not the
//! object, so what no table names is not seen at all (C21). POST, PUT and the
//! result of a PATCH pass through the same code, so that a patched resource can
//! never be something that a created one could not be.

use serde_json::Value;

use crate::Object;
use crate::elements::without_repeats;
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
            "schemas: {what} must contain {uri}"
        ))),
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
                        "is {stored}; removing it would set it to {default}; replace it instead"
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
    Error::mutability(place, "is immutable and already has another value")
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
        "is missing; identify a member by its id",
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
            "has no sub-attribute {}, and the value contains nothing else; its sub-attributes are {}",
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

#[cfg(test)]
mod tests;
