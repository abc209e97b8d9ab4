//! The elements of a multi-valued attribute: which of them are the same, and which one is primary (RFC 7643 §2.4).

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::Object;
use crate::error::Error;
use crate::schema::{Attribute, AttributePath, Mutability, Target};
use crate::value::comparison_key;

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
pub(crate) fn without_repeats(attribute: &Attribute, elements: Vec<Value>) -> Vec<Value> {
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
        "is true for more than one value; at most one value can be primary",
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

/// X10: appends what is not there yet, merges what is.
pub(crate) fn add_elements(
    attribute: &Attribute,
    elements: &mut Vec<Value>,
    added: &[Value],
) -> HashSet<usize> {
    let mut touched = HashSet::with_capacity(added.len());
    let mut known = ElementIndex::default();
    // Most elements of a long list have nothing to do with what is added.
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
                        // Equal but for case is equal: the stored form stays.
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

/// Where the elements of an attribute are, by what makes them the same.
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

    /// An element that does not say its type is the one with its value (G3).
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

/// X17: removes the elements that are named by their value.
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
    // A stored element without type is named by its value alone, too.
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

/// C17, X23: what the operation made primary is the only primary.
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
                    ..target.place()
                };
                return Err(two_primaries(place));
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
