//! Resolves the names in an object of a client to attributes (RFC 7643 §2.1 and §3.3, RFC 7644
//! §3.10).
//!
//! | form | example |
//! |---|---|
//! | short | `"title": "Lead"` |
//! | with the URI of its schema | `"urn:ietf:params:scim:schemas:core:2.0:User:title": "Lead"` |
//! | in an object under that URI | `"urn:ietf:params:scim:schemas:core:2.0:User": {"title": "Lead"}` |
//! | with its sub-attribute | `"name.givenName": "Ann"`, `"emails[type eq \"work\"].value": "ann@example.com"` |
//!
//! POST and PUT use [`ResourceType::normalize`] for the whole object, and PATCH resolves one name
//! at a time. Both use [`ResourceType::select_within`].

use std::collections::HashMap;

use serde_json::Value;

use crate::Object;
use crate::error::{Error, describe, quote_name};
use crate::filter::Filter;
use crate::path::Selected;
use crate::schema::{Mutability, ResourceType, Schema, Target};
use crate::value::is_unassigned;

/// An object of a client with canonical attribute names.
pub(crate) struct Normalized<'a> {
    /// The attributes of the base schema.
    pub(crate) base: Object,
    /// The attributes of each extension in the object, which can be empty.
    pub(crate) extensions: HashMap<&'a str, Object>,
    /// Elements and sub-attributes of multi-valued attributes, which are added to the attribute.
    pub(crate) parts: Vec<(Target<'a>, Option<Filter>, Value)>,
}

impl ResourceType {
    /// Resolves the names in an object with the attributes of the schema `within`, or of the
    /// resource itself. Unknown attributes are left out.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` for an attribute that appears twice with different values, and for an
    /// extension that contains unknown attributes only.
    pub(crate) fn normalize(
        &self,
        within: Option<&Schema>,
        body: Object,
    ) -> Result<Normalized<'_>, Error> {
        let mut normalized = Normalized {
            base: Object::new(),
            extensions: HashMap::new(),
            parts: vec![],
        };
        normalized.read(self, within, body)?;
        Ok(normalized)
    }

    /// Returns whether an object has this attribute of the base schema.
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

    /// Refuses an object that contains unknown attributes of an extension only. If they were
    /// ignored, the object would clear the extension.
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

impl<'a> Normalized<'a> {
    fn read(
        &mut self,
        ty: &'a ResourceType,
        within: Option<&Schema>,
        object: Object,
    ) -> Result<(), Error> {
        // The nesting limit of JSON ends this recursion.
        for (name, value) in object {
            match ty.select_within(within, &name) {
                Ok(Selected::Base) => match value {
                    Value::Object(nested) => self.read(ty, None, nested)?,
                    value if is_unassigned(&value) => {}
                    value => return Err(not_an_object(&ty.schema, &value)),
                },
                Ok(Selected::Extension(schema)) => {
                    self.extensions.entry(&schema.id).or_default();
                    match value {
                        Value::Object(nested) => {
                            ty.check_known(schema, &nested)?;
                            self.read(ty, Some(schema), nested)?;
                        }
                        value if is_unassigned(&value) => {}
                        value => return Err(not_an_object(schema, &value)),
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
        // readOnly attributes are ignored, even if they appear twice.
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
                target.path(),
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
        // Objects with different sub-attributes are merged.
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

/// Inserts a member. Returns `None` if the object has another value with this name, in any case
/// (RFC 7643 §2.1, H6).
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

/// Returns the first name in an object that contains unknown names only, or `None`.
pub(crate) fn only_unknown(object: &Object, is_known: impl Fn(&str) -> bool) -> Option<&str> {
    let mut named = object.iter().filter(|(_, value)| !is_unassigned(value));
    let (first, _) = named.clone().next()?;
    named
        .all(|(name, _)| !is_known(name))
        .then_some(first.as_str())
}

/// Returns the error for a value other than an object at the URI of a schema.
pub(crate) fn not_an_object(schema: &Schema, value: &Value) -> Error {
    Error::invalid_value(
        &schema.id,
        format_args!("expected an object, got {}", describe(value)),
    )
}
