//! Elements of multi-valued attributes: identity, primary element, addition and removal (RFC 7643
//! §2.4).

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::Object;
use crate::error::Error;
use crate::schema::{Attribute, AttributePath, Mutability, Target};
use crate::value::comparison_key;

/// RFC 7643 §2.4 (C18): returns a text that is the same for two equal elements. It consists of
/// `(type, value)` if the element has a value, else of the whole element.
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

/// Returns the `value` of an element in the form of comparisons.
pub(crate) fn value_key(attribute: &Attribute, element: &Object) -> Option<String> {
    sub_key(attribute, element, "value")
}

fn sub_key(attribute: &Attribute, element: &Object, name: &str) -> Option<String> {
    let sub = attribute.sub_attribute(name)?;
    Some(comparison_key(sub, element.get(&sub.name)?))
}

/// RFC 7643 §2.4 (C18): keeps the first of equal elements. It becomes primary if one of them was
/// primary.
pub(crate) fn deduplicate(attribute: &Attribute, elements: Vec<Value>) -> Vec<Value> {
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

/// RFC 7643 §2.4 (C17): returns whether an element is primary.
pub(crate) fn is_primary(element: &Value) -> bool {
    element.get("primary") == Some(&Value::Bool(true))
}

/// Returns the error for an operation that makes several elements primary.
pub(crate) fn several_primaries_error(place: AttributePath<'_>) -> Error {
    Error::invalid_value(
        place.sub("primary"),
        "is true for more than one value; at most one value can be primary",
    )
}

/// Sorts the members of a complex value in the order of its schema, as validation does.
pub(crate) fn in_schema_order(attribute: &Attribute, object: &mut Object) {
    let mut ordered = Object::new();
    for sub in &attribute.sub_attributes {
        if let Some(value) = object.get_mut(&sub.name) {
            ordered.insert(sub.name.clone(), value.take());
        }
    }
    *object = ordered;
}

/// RFC 7644 §3.5.2.1 (X10): appends new elements and merges existing ones. Returns the indexes of
/// both.
pub(crate) fn add_elements(
    attribute: &Attribute,
    elements: &mut Vec<Value>,
    added: &[Value],
) -> HashSet<usize> {
    let mut touched = HashSet::with_capacity(added.len());
    let mut known = ElementIndex::default();
    // Most elements of a long list are not related to the added ones.
    let value = |element: &Value| value_key(attribute, element.as_object()?);
    let wanted: HashSet<Option<String>> = added.iter().map(value).collect();
    for (index, element) in elements.iter().enumerate() {
        if wanted.contains(&value(element)) {
            known.insert(attribute, element, index);
        }
    }
    for new in added {
        let found = known.find(attribute, new);
        let index = match found.and_then(|index| Some((index, elements.get_mut(index)?))) {
            Some((index, old)) => {
                if let (Value::Object(old), Value::Object(new)) = (old, new) {
                    for (name, value) in new {
                        let sub = attribute.sub_attribute(name);
                        // If two values differ in case only, the stored value is kept.
                        let same = sub.is_some_and(|sub| {
                            old.get(name).is_some_and(|old| {
                                comparison_key(sub, old) == comparison_key(sub, value)
                            })
                        });
                        let fixed = sub.is_some_and(|sub| sub.mutability == Mutability::Immutable)
                            && old.contains_key(name);
                        if !same && !fixed {
                            old.insert(name.clone(), value.clone());
                        }
                    }
                    in_schema_order(attribute, old);
                }
                index
            }
            None => {
                known.insert(attribute, new, elements.len());
                elements.push(new.clone());
                elements.len() - 1
            }
        };
        touched.insert(index);
    }
    touched
}

/// Index of the elements of an attribute by identity and by value.
#[derive(Default)]
struct ElementIndex {
    identities: HashMap<String, usize>,
    values: HashMap<String, usize>,
}

impl ElementIndex {
    fn insert(&mut self, attribute: &Attribute, element: &Value, index: usize) {
        self.identities
            .entry(identity(attribute, element))
            .or_insert(index);
        if let Some(value) = element
            .as_object()
            .and_then(|element| value_key(attribute, element))
        {
            self.values.entry(value).or_insert(index);
        }
    }

    /// Returns the index of an equal element. An element without type equals the one with the same
    /// value (G3).
    fn find(&self, attribute: &Attribute, element: &Value) -> Option<usize> {
        if let Some(index) = self.identities.get(&identity(attribute, element)) {
            return Some(*index);
        }
        let element = element.as_object()?;
        if element.contains_key("type") {
            return None;
        }
        self.values.get(&value_key(attribute, element)?).copied()
    }
}

/// RFC 7644 §3.5.2.2 (X17): removes the elements that are named by their value.
pub(crate) fn remove_named(attribute: &Attribute, elements: &mut Vec<Value>, named: &[Value]) {
    let mut identities = HashSet::new();
    let mut values = HashSet::new();
    for element in named {
        identities.insert(identity(attribute, element));
        if let Some(element) = element.as_object()
            && !element.contains_key("type")
        {
            values.extend(value_key(attribute, element));
        }
    }
    // A stored element without type is named by its value alone as well.
    let untyped: HashSet<String> = named
        .iter()
        .filter_map(|element| value_key(attribute, element.as_object()?))
        .collect();
    elements.retain(|element| {
        let object = element.as_object();
        match object.and_then(|object| value_key(attribute, object)) {
            Some(value) if !untyped.contains(&value) => true,
            Some(value) if object.is_some_and(|object| object.contains_key("type")) => {
                !values.contains(&value) && !identities.contains(&identity(attribute, element))
            }
            Some(_) => false,
            None => !identities.contains(&identity(attribute, element)),
        }
    });
}

/// RFC 7643 §2.4 (C17, X23): makes an element that the operation made primary the only primary one.
pub(crate) fn enforce_single_primary(
    target: Target<'_>,
    elements: &mut [Value],
    touched: &HashSet<usize>,
) -> Result<(), Error> {
    if target.attribute.sub_attribute("primary").is_none() {
        return Ok(());
    }
    let mut chosen = None;
    for (index, element) in elements.iter().enumerate() {
        if touched.contains(&index) && is_primary(element) {
            if chosen.is_some() {
                let place = AttributePath {
                    sub: None,
                    ..target.path()
                };
                return Err(several_primaries_error(place));
            }
            chosen = Some(index);
        }
    }
    let Some(chosen) = chosen else {
        return Ok(());
    };
    for (index, element) in elements.iter_mut().enumerate() {
        if index != chosen
            && is_primary(element)
            && let Value::Object(element) = element
        {
            element.insert("primary".to_owned(), Value::Bool(false));
        }
    }
    Ok(())
}
