//! The one door into a [`Resource`].
//!
//! [`ResourceType::read`] is the only way from a client's object to a value the
//! rest of the system trusts. It walks the tables of the resource type, not the
//! object, so what no table names is not seen at all (C21). POST, PUT and the
//! result of a PATCH pass through the same code, so that a patched resource can
//! never be something that a created one could not be.

use std::collections::HashMap;

use serde_json::Value;

use crate::Object;
use crate::error::{Error, describe, quote};
use crate::quirks;
use crate::resource::Resource;
use crate::schema::{Attribute, Mutability, Place, ResourceType};
use crate::value::{comparison_key, is_unassigned, read_simple, unexpected};

impl ResourceType {
    /// Reads a client's object: for POST (`keep` is `None`), for PUT and for the
    /// result of a PATCH (`keep` is what is stored).
    ///
    /// | row | rule |
    /// |---|---|
    /// | C1, C2 | `schemas` may be missing; a URI that is not of this type is refused; extension data counts without its URI |
    /// | C6 | null, `[]` and `""` mean: not there |
    /// | C7, C8, X19 | values are read in the type of their attribute, or refused |
    /// | C9 | a required attribute that is missing is refused |
    /// | C10 | what is readOnly is ignored |
    /// | C11 | an immutable attribute keeps its stored value; a different one is refused |
    /// | C12, U7 | what is writeOnly is checked and dropped |
    /// | C17 | two primary values in one attribute are refused |
    /// | C18 | a repeated `(type, value)` is dropped |
    /// | C21 | what no schema names is ignored |
    /// | U2 | an attribute with a default has it after POST, and keeps its stored value otherwise |
    /// | X20 | one value for a list is a list of one |
    ///
    /// The result of reading a representation of a resource is that resource.
    pub fn read(&self, mut body: Object, keep: Option<&Resource>) -> Result<Resource, Error> {
        self.check_schemas(take(&mut body, "schemas"))?;
        let mut resource = Object::new();
        let stored = keep.map(Resource::as_object);
        for attribute in self.attributes() {
            let place = Place {
                extension: None,
                attribute: &attribute.name,
                sub: None,
            };
            let given = take(&mut body, &attribute.name);
            let stored = stored.and_then(|stored| stored.get(&attribute.name));
            if let Some(value) = read_member(attribute, place, given, stored)? {
                resource.insert(attribute.name.clone(), value);
            }
        }
        for extension in &self.extensions {
            let schema = &extension.schema;
            let stored = stored.and_then(|stored| stored.get(&schema.id)?.as_object());
            let mut given = match take(&mut body, &schema.id) {
                Some(Value::Object(given)) => given,
                Some(value) if !is_unassigned(&value) => {
                    return Err(Error::invalid_value(
                        &schema.id,
                        format_args!("expected an object, got {}", describe(&value)),
                    ));
                }
                _ => Object::new(),
            };
            // What an absent extension requires is not missing.
            let absent = given.is_empty() && !extension.required;
            let mut object = Object::new();
            for attribute in &schema.attributes {
                let place = Place {
                    extension: Some(&schema.id),
                    attribute: &attribute.name,
                    sub: None,
                };
                let given = take(&mut given, &attribute.name);
                let stored = stored.and_then(|stored| stored.get(&attribute.name));
                if absent && stored.is_none() && attribute.default.is_none() {
                    continue;
                }
                if let Some(value) = read_member(attribute, place, given, stored)? {
                    object.insert(attribute.name.clone(), value);
                }
            }
            if !object.is_empty() {
                resource.insert(schema.id.clone(), Value::Object(object));
            } else if extension.required {
                return Err(Error::invalid_value(&schema.id, "is required"));
            }
        }
        Ok(Resource::from_door(resource))
    }

    /// C1, H7: known URIs in any case, or nothing at all.
    fn check_schemas(&self, schemas: Option<Value>) -> Result<(), Error> {
        let Some(schemas) = schemas.filter(|schemas| !is_unassigned(schemas)) else {
            return Ok(());
        };
        for uri in quirks::single_value_for_list(schemas) {
            let Value::String(uri) = &uri else {
                return Err(Error::invalid_value(
                    "schemas",
                    format_args!("expected a URI, got {}", describe(&uri)),
                ));
            };
            if !uri.eq_ignore_ascii_case(&self.schema.id) && self.extension(uri).is_none() {
                return Err(Error::invalid_value(
                    "schemas",
                    format_args!("{} is no schema of {}", quote(uri), self.name),
                ));
            }
        }
        Ok(())
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

/// Reads an attribute of a resource, an extension or a complex value, and
/// applies what depends on what is stored.
fn read_member(
    attribute: &Attribute,
    place: Place<'_>,
    given: Option<Value>,
    stored: Option<&Value>,
) -> Result<Option<Value>, Error> {
    if attribute.mutability == Mutability::ReadOnly {
        return Ok(None);
    }
    let mut value = match given {
        Some(given) => read_value(attribute, place, given, stored)?,
        None => None,
    };
    match attribute.mutability {
        Mutability::WriteOnly => return Ok(None),
        Mutability::Immutable => match (&value, stored) {
            (None, Some(stored)) => value = Some(stored.clone()),
            (Some(value), Some(stored)) if value != stored => return Err(is_immutable(place)),
            _ => {}
        },
        _ => {}
    }
    if value.is_none() {
        value = match &attribute.default {
            Some(default) => Some(stored.unwrap_or(default).clone()),
            None => None,
        };
    }
    if value.is_none() && attribute.required {
        return Err(Error::invalid_value(place, "is required"));
    }
    Ok(value)
}

pub(crate) fn is_immutable(place: Place<'_>) -> Error {
    Error::mutability(place, "is immutable and has another value already")
}

/// Reads the value of an attribute: canonical, or nothing.
pub(crate) fn read_value(
    attribute: &Attribute,
    place: Place<'_>,
    value: Value,
    stored: Option<&Value>,
) -> Result<Option<Value>, Error> {
    if is_unassigned(&value) {
        return Ok(None);
    }
    if attribute.multi_valued {
        let elements = read_elements(attribute, place, value)?;
        let elements = without_repeats(attribute, elements);
        at_most_one_primary(attribute, place, &elements)?;
        return Ok((!elements.is_empty()).then_some(Value::Array(elements)));
    }
    read_one(attribute, place, value, stored)
}

/// Reads the elements of a multi-valued attribute one by one.
pub(crate) fn read_elements(
    attribute: &Attribute,
    place: Place<'_>,
    value: Value,
) -> Result<Vec<Value>, Error> {
    let mut elements = Vec::new();
    for element in quirks::single_value_for_list(value) {
        elements.extend(read_one(attribute, place, element, None)?);
    }
    Ok(elements)
}

/// Reads one value: of a single-valued attribute, or one element.
pub(crate) fn read_one(
    attribute: &Attribute,
    place: Place<'_>,
    value: Value,
    stored: Option<&Value>,
) -> Result<Option<Value>, Error> {
    if is_unassigned(&value) {
        return Ok(None);
    }
    if !attribute.is_complex() {
        return read_simple(attribute, place, value).map(Some);
    }
    let mut given = match quirks::bare_string_for_complex(attribute, value) {
        Value::Object(given) => given,
        value => return Err(unexpected(attribute, place, &value)),
    };
    if given.values().all(is_unassigned) {
        return Ok(None);
    }
    let stored = stored.and_then(Value::as_object);
    let mut object = Object::new();
    for sub in &attribute.sub_attributes {
        let stored = stored.and_then(|stored| stored.get(&sub.name));
        let given = take(&mut given, &sub.name);
        if let Some(value) = read_member(sub, place.sub(&sub.name), given, stored)? {
            object.insert(sub.name.clone(), value);
        }
    }
    Ok((!object.is_empty()).then_some(Value::Object(object)))
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

/// C17: at most one.
fn at_most_one_primary(
    attribute: &Attribute,
    place: Place<'_>,
    elements: &[Value],
) -> Result<(), Error> {
    if attribute.sub_attribute("primary").is_some()
        && elements
            .iter()
            .filter(|element| is_primary(element))
            .count()
            > 1
    {
        return Err(two_primaries(place));
    }
    Ok(())
}

pub(crate) fn two_primaries(place: Place<'_>) -> Error {
    Error::invalid_value(
        place.sub("primary"),
        "is true for more than one value; one at most can be primary",
    )
}

/// Puts the members of a complex value in the order of its schema, the order
/// in which the door leaves them.
pub(crate) fn in_schema_order(attribute: &Attribute, object: &mut Object) {
    let mut ordered = Object::new();
    for sub in &attribute.sub_attributes {
        if let Some(value) = object.get_mut(&sub.name) {
            ordered.insert(sub.name.clone(), value.take());
        }
    }
    *object = ordered;
}
