//! Which attribute each name in a client's object means (RFC 7643 §2.1 and §3.3, RFC 7644 §3.10).
//!
//! | form | an example |
//! |---|---|
//! | short | `"title": "Lead"` |
//! | with the URI of its schema | `"urn:ietf:params:scim:schemas:core:2.0:User:title": "Lead"` |
//! | in an object under that URI | `"urn:ietf:params:scim:schemas:core:2.0:User": {"title": "Lead"}` |
//! | with its sub-attribute | `"name.givenName": "Ann"`, `"emails[type eq \"work\"].value": "ann@example.com"` |
//!
//! POST and PUT read an object by [`ResourceType::unfold`], PATCH reads one attribute after the other. Both ask
//! [`ResourceType::select_within`].

use std::collections::HashMap;

use serde_json::Value;

use crate::Object;
use crate::error::{Error, describe, quote_name};
use crate::filter::Filter;
use crate::path::Selected;
use crate::schema::{Mutability, ResourceType, Schema, Target};
use crate::value::is_unassigned;

/// An object of a client's, with each attribute under the one name that it has in its schema.
pub(crate) struct Unfolded<'a> {
    /// The attributes of the base schema.
    pub(crate) base: Object,
    /// The attributes of each extension that is there, be it empty.
    pub(crate) extensions: HashMap<&'a str, Object>,
    /// Parts of multi-valued attributes, which are added to what is there of them.
    pub(crate) parts: Vec<(Target<'a>, Option<Filter>, Value)>,
}

impl ResourceType {
    /// Reads the names in an object of attributes of `within`, or of the resource itself. What no schema names is left
    /// out.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` for an attribute that is there twice with different values, and for an extension of which
    /// nothing is known but that is not empty.
    pub(crate) fn unfold(
        &self,
        within: Option<&Schema>,
        body: Object,
    ) -> Result<Unfolded<'_>, Error> {
        let mut unfolded = Unfolded {
            base: Object::new(),
            extensions: HashMap::new(),
            parts: vec![],
        };
        unfolded.read(self, within, body)?;
        Ok(unfolded)
    }

    /// Whether an object has this attribute of the base schema.
    pub(crate) fn has(&self, body: &Object, attribute: &str) -> bool {
        body.iter()
            .any(|(name, value)| match (self.select(name), value) {
                (Ok(Selected::Attribute(target, _)), _) => {
                    target.extension.is_none() && target.attribute.name == attribute
                }
                (Ok(Selected::Base), Value::Object(nested)) => self.has(nested, attribute),
                _ => false,
            })
    }

    /// Refuses an object of attributes of an extension that has none of them, but is not empty: to leave out all of it
    /// would clear the extension.
    pub(crate) fn check_known(&self, schema: &Schema, object: &Object) -> Result<(), Error> {
        let is_known = |name: &str| {
            let selected = self.select_within(Some(schema), name);
            !matches!(selected, Ok(Selected::Unregistered) | Err(_))
        };
        match only_unknown(object, is_known) {
            None => Ok(()),
            Some(name) => Err(Error::invalid_value(
                &schema.id,
                format_args!(
                    "has no attribute {}, and the object contains nothing else; see /Schemas for its attributes",
                    quote_name(name)
                ),
            )),
        }
    }
}

impl<'a> Unfolded<'a> {
    fn read(
        &mut self,
        ty: &'a ResourceType,
        within: Option<&Schema>,
        object: Object,
    ) -> Result<(), Error> {
        // Deeper nesting than JSON lets through ends this recursion.
        for (name, value) in object {
            match ty.select_within(within, &name) {
                Ok(Selected::Base) => match value {
                    Value::Object(nested) => self.read(ty, None, nested)?,
                    value if is_unassigned(&value) => {}
                    value => return Err(no_object(&ty.schema, &value)),
                },
                Ok(Selected::Extension(schema)) => {
                    self.extensions.entry(&schema.id).or_default();
                    match value {
                        Value::Object(nested) => {
                            ty.check_known(schema, &nested)?;
                            self.read(ty, Some(schema), nested)?;
                        }
                        value if is_unassigned(&value) => {}
                        value => return Err(no_object(schema, &value)),
                    }
                }
                Ok(Selected::Attribute(target, filter)) => self.put(target, filter, value)?,
                Ok(Selected::Unregistered) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        target: Target<'a>,
        filter: Option<Filter>,
        value: Value,
    ) -> Result<(), Error> {
        // What is readOnly is ignored, however often it is there.
        if target.attribute.mutability == Mutability::ReadOnly {
            return Ok(());
        }
        if target.attribute.multi_valued && (target.sub.is_some() || filter.is_some()) {
            self.parts.push((target, filter, value));
            return Ok(());
        }
        let object = match target.extension {
            None => &mut self.base,
            Some(schema) => self.extensions.entry(&schema.id).or_default(),
        };
        let name = &target.attribute.name;
        let twice = || {
            Error::invalid_value(
                target.place(),
                "appears twice with different values; send it once",
            )
        };
        let value = match target.sub {
            None => value,
            Some(sub) => Value::Object(Object::from_iter([(sub.name.clone(), value)])),
        };
        let Some(first) = object.get_mut(name) else {
            object.insert(name.clone(), value);
            return Ok(());
        };
        // What is in parts is put together.
        match (first, value) {
            (Value::Object(first), Value::Object(parts)) => {
                for (name, part) in parts {
                    put_once(first, &name, part).ok_or_else(twice)?;
                }
                Ok(())
            }
            (first, value) if *first == value => Ok(()),
            _ => Err(twice()),
        }
    }
}

/// Puts a member into an object that has none of this name, in any case (H6), or has it with this value.
fn put_once(object: &mut Object, name: &str, value: Value) -> Option<()> {
    let there = object
        .iter()
        .find(|(there, _)| there.eq_ignore_ascii_case(name));
    match there {
        Some((_, there)) => (*there == value).then_some(()),
        None => {
            object.insert(name.to_owned(), value);
            Some(())
        }
    }
}

/// The first name in an object that is not empty and has no name that is known.
pub(crate) fn only_unknown(object: &Object, is_known: impl Fn(&str) -> bool) -> Option<&str> {
    let mut named = object.iter().filter(|(_, value)| !is_unassigned(value));
    let (first, _) = named.clone().next()?;
    named
        .all(|(name, _)| !is_known(name))
        .then_some(first.as_str())
}

/// The error for a value under the URI of a schema that is no object of attributes.
pub(crate) fn no_object(schema: &Schema, value: &Value) -> Error {
    Error::invalid_value(
        &schema.id,
        format_args!("expected an object, got {}", describe(value)),
    )
}
