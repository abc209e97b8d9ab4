//! Applies operations to a resource.

use std::collections::HashSet;

use serde_json::Value;

use crate::Object;
use crate::budget::{BudgetExhausted, ComparisonBudget};
use crate::elements::{add_elements, enforce_single_primary, in_schema_order, remove_named};
use crate::error::Error;
use crate::filter::{ElementFilter, Expression};
use crate::patch::parse::read_only_error;
use crate::patch::{MAX_COMPARISONS, Op, Operation, PatchOp};
use crate::quirks;
use crate::resource::Resource;
use crate::schema::{Attribute, AttributePath, Client, Mutability, ResourceType, Target};
use crate::validate::{ReadContext, immutable_error, is_same, read_one, required_error};
use crate::value::is_unassigned;

impl PatchOp {
    /// Applies all operations in order, or none (X21). `id` is the id of the resource.
    ///
    /// | row | decision |
    /// |---|---|
    /// | X5 | `id` may be set to the id of the resource; any other value is 400 `mutability` |
    /// | X10 | adding an existing element changes nothing; adding sub-attributes of an existing element, such as `primary`, merges them |
    /// | X11 | `add` to `attr[filter]` or `attr[filter].sub` without match creates the element from the `eq` terms, unless the result would not match: 400 `noTarget` |
    /// | X12 | `replace` with a filter that matches nothing is 400 `noTarget`; for [`Client::Entra`] it is an `add` |
    /// | X13 | `replace` of a missing attribute adds it |
    /// | X14 | a complex value sets its sub-attributes and keeps the others (with the strict profile it is replaced as a whole); an *element* that matches a filter is replaced as a whole, but keeps the values of the `eq` terms of the filter |
    /// | X15 | removing a required or readOnly attribute is 400 `mutability`; removing a missing attribute succeeds; an attribute without elements is removed, and so is an element that has only the values of its filter left; a sub-attribute that is set to an empty value is removed |
    /// | X17 | `remove` with values removes the elements with the same `value` (and `type`, where both have one) |
    /// | X23, C17 | an operation that makes an element primary makes the others not primary; if several elements of one list are primary, only the first stays primary; an operation whose filter makes two elements primary is refused |
    /// | X25 | one operation may have any number of values; operations that need more than [`MAX_COMPARISONS`] are 400 `tooMany` |
    /// | X15, U2 | an attribute with a default can be removed if it has this value, because nothing changes; otherwise 400 `mutability`, because removing `active: false` would activate a user |
    pub fn apply(
        &self,
        ty: &ResourceType,
        resource: &Resource,
        id: &str,
    ) -> Result<Resource, Error> {
        let mut document = resource.as_object().clone();
        let budget = ComparisonBudget::new(MAX_COMPARISONS);
        for operation in &self.operations {
            operation.apply(ty, &mut document, id, &budget)?;
        }
        ty.read_patched(document, resource)
    }
}

fn too_many(_: BudgetExhausted) -> Error {
    Error::too_many(format_args!(
        "the operations need more than {MAX_COMPARISONS} comparisons of elements; \
         send them in several requests, or send many values in one operation"
    ))
}

/// Cost of finding an element by its value and type, in units of [`ComparisonBudget`].
const EACH: usize = 4;

/// Returns the number of comparisons for a list: one for each element, and one for every 64 bytes
/// of its strings.
fn weight(elements: &[Value]) -> usize {
    let bytes = |value: &Value| value.as_str().map_or(0, str::len);
    elements
        .iter()
        .map(|element| match element {
            Value::Object(object) => 1 + object.values().map(bytes).sum::<usize>() / 64,
            element => 1 + bytes(element) / 64,
        })
        .sum()
}

impl Operation {
    fn apply(
        &self,
        ty: &ResourceType,
        document: &mut Object,
        id: &str,
        budget: &ComparisonBudget,
    ) -> Result<(), Error> {
        let target = self.target(ty)?;
        let place = target.path();
        if target.attribute.mutability == Mutability::ReadOnly {
            let own_id = target.attribute.name == "id"
                && self.op != Op::Remove
                && self.values.iter().all(|value| value == id);
            return if own_id {
                Ok(())
            } else {
                Err(read_only_error(place))
            };
        }
        if target
            .sub
            .is_some_and(|sub| sub.mutability == Mutability::ReadOnly)
        {
            return Err(read_only_error(place));
        }
        if self.op == Op::Remove {
            let removed = target.sub.unwrap_or(target.attribute);
            let whole = self.path.filter.is_none() || target.sub.is_some();
            // An extension can be removed together with its required attributes, so validation
            // decides.
            let with_all = target.extension.is_some() && target.sub.is_none();
            if removed.required && whole && !with_all && self.values.is_empty() {
                return Err(required_error(place));
            }
        }
        match target.extension {
            None => self.edit(ty, target, document, budget),
            Some(schema) => {
                let extension = document
                    .entry(schema.id.as_str())
                    .or_insert_with(|| Value::Object(Object::new()));
                match extension {
                    Value::Object(extension) => self.edit(ty, target, extension, budget),
                    _ => Ok(()),
                }
            }
        }
    }

    fn target<'a>(&self, ty: &'a ResourceType) -> Result<Target<'a>, Error> {
        let unknown = || {
            Error::invalid_path(
                &format!("{:?}", self.path),
                format_args!("{} has no such attribute", ty.name),
            )
        };
        let extension = match &self.path.extension {
            None => None,
            Some(uri) => Some(ty.extension(uri).ok_or_else(unknown)?),
        };
        let attribute = match extension {
            None => ty.attribute(&self.path.attribute),
            Some(schema) => schema.attribute(&self.path.attribute),
        }
        .ok_or_else(unknown)?;
        let sub = match &self.path.sub_attribute {
            None => None,
            Some(sub) => Some(attribute.sub_attribute(sub).ok_or_else(unknown)?),
        };
        Ok(Target {
            extension,
            attribute,
            sub,
        })
    }

    /// Applies the operation to the object that contains the attribute: the resource or an
    /// extension.
    fn edit(
        &self,
        ty: &ResourceType,
        target: Target<'_>,
        holder: &mut Object,
        budget: &ComparisonBudget,
    ) -> Result<(), Error> {
        let name = &target.attribute.name;
        if target.attribute.multi_valued {
            let mut elements = match holder.get_mut(name).map(Value::take) {
                Some(Value::Array(elements)) => elements,
                _ => Vec::new(),
            };
            if self.path.filter.is_none() {
                // Elements are compared by their value and their type.
                let weight = weight(&elements).saturating_add(weight(&self.values));
                budget
                    .spend(weight.saturating_mul(EACH))
                    .map_err(too_many)?;
            }
            let touched = self.edit_elements(ty, target, &mut elements, budget)?;
            enforce_single_primary(target, &mut elements, &touched)?;
            holder.insert(name.clone(), Value::Array(elements));
            return Ok(());
        }
        match target.sub {
            None => self.set(target.attribute, target.path(), holder),
            Some(sub) => {
                let value = holder
                    .entry(name.as_str())
                    .or_insert_with(|| Value::Object(Object::new()));
                if !value.is_object() {
                    *value = Value::Object(Object::new());
                }
                match value {
                    Value::Object(object) => self.set(sub, target.path(), object),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Sets or removes a member of an object.
    fn set(
        &self,
        attribute: &Attribute,
        place: AttributePath<'_>,
        object: &mut Object,
    ) -> Result<(), Error> {
        let new = match (self.op, self.values.as_slice()) {
            (Op::Remove, _) | (_, []) => None,
            (_, values) if attribute.multi_valued => Some(Value::Array(values.to_vec())),
            (_, [value, ..]) => Some(value.clone()),
        };
        let old = object
            .get(&attribute.name)
            .filter(|old| !is_unassigned(old));
        if let (Mutability::Immutable, Some(old)) = (attribute.mutability, old) {
            return if is_same(attribute, new.as_ref(), old) {
                Ok(())
            } else {
                Err(immutable_error(place))
            };
        }
        object.insert(attribute.name.clone(), new.unwrap_or(Value::Null));
        Ok(())
    }

    /// Edits a multi-valued attribute and returns the indexes of the elements that the operation
    /// wrote.
    fn edit_elements(
        &self,
        ty: &ResourceType,
        target: Target<'_>,
        elements: &mut Vec<Value>,
        budget: &ComparisonBudget,
    ) -> Result<HashSet<usize>, Error> {
        let attribute = target.attribute;
        if self.path.filter.is_none() && target.sub.is_none() {
            return Ok(match self.op {
                Op::Remove if self.values.is_empty() => {
                    elements.clear();
                    HashSet::new()
                }
                Op::Remove => {
                    remove_named(attribute, elements, &self.values);
                    HashSet::new()
                }
                Op::Replace => {
                    elements.clone_from(&self.values);
                    (0..elements.len()).collect()
                }
                Op::Add => add_elements(attribute, elements, &self.values),
            });
        }

        let place = target.path();
        let filter = match &self.path.filter {
            None => None,
            Some(filter) => {
                let list = Target {
                    sub: None,
                    ..target
                };
                Some(ElementFilter::resolve(filter.expression(), list)?)
            }
        };
        let selected = match &filter {
            None => vec![true; elements.len()],
            Some(filter) => filter.select(elements, budget).map_err(too_many)?,
        };

        if target.sub.is_none() && (self.op == Op::Remove || self.values.is_empty()) {
            let before = elements.len();
            let mut selected = selected.into_iter();
            elements.retain(|_| selected.next() != Some(true));
            if self.op == Op::Replace && elements.len() == before && ty.client != Client::Entra {
                return Err(no_target(place));
            }
            return Ok(HashSet::new());
        }

        // RFC 7643 §2.5 (C6): an attribute that is set to an empty value is removed.
        if self.values.is_empty() {
            self.remove_parts(target, elements, selected)?;
            return Ok(HashSet::new());
        }

        let mut touched = HashSet::new();
        for ((index, element), selected) in elements.iter_mut().enumerate().zip(selected) {
            if selected {
                self.edit_element(target, element)?;
                touched.insert(index);
            }
        }
        if touched.is_empty() {
            // RFC 7644 §3.5.2.3 (X12): a replace requires a matching element.
            let creates = self.op == Op::Add || ty.client == Client::Entra;
            if filter.is_some() && !creates {
                return Err(no_target(place));
            }
            let element = self.new_element(target, filter.as_ref(), budget)?;
            touched.insert(elements.len());
            elements.push(element);
        }
        Ok(touched)
    }

    /// Removes a sub-attribute of the selected elements. An element that has only the values of its
    /// filter left is removed as well: Entra removes a phone number by `phoneNumbers[type eq
    /// "work"].value`, as it adds one (X11, X15).
    fn remove_parts(
        &self,
        target: Target<'_>,
        elements: &mut Vec<Value>,
        selected: Vec<bool>,
    ) -> Result<(), Error> {
        let attribute = target.attribute;
        let selected_by = self
            .path
            .filter
            .as_ref()
            .and_then(|filter| element_of(attribute, target.path(), filter.expression()))
            .unwrap_or_default();
        let says_more = |element: &Value| {
            element.as_object().is_none_or(|element| {
                element.contains_key("value")
                    || element
                        .keys()
                        .any(|name| name != "primary" && !selected_by.contains_key(name))
            })
        };
        for (mut element, selected) in std::mem::take(elements).into_iter().zip(selected) {
            if selected {
                self.edit_element(target, &mut element)?;
            }
            if !selected || says_more(&element) {
                elements.push(element);
            }
        }
        Ok(())
    }

    /// Edits one element that the path selects.
    fn edit_element(&self, target: Target<'_>, element: &mut Value) -> Result<(), Error> {
        let attribute = target.attribute;
        let place = target.path();
        match (target.sub, element, self.values.first()) {
            (Some(sub), Value::Object(object), _) => {
                self.set(sub, place, object)?;
                in_schema_order(attribute, object);
                object.retain(|_, value| !is_unassigned(value));
            }
            (None, Value::Object(object), Some(Value::Object(new))) => {
                let mut replaced = match self.op {
                    // RFC 7644 §3.5.2.3 (X14): the element keeps the values of its filter.
                    Op::Replace => self
                        .path
                        .filter
                        .as_ref()
                        .and_then(|filter| element_of(attribute, place, filter.expression())),
                    _ => Some(object.clone()),
                }
                .unwrap_or_default();
                for (name, value) in new {
                    replaced.insert(name.clone(), value.clone());
                }
                for sub in &attribute.sub_attributes {
                    if let (Mutability::Immutable, Some(old)) =
                        (sub.mutability, object.get(&sub.name))
                    {
                        let new = replaced
                            .entry(sub.name.as_str())
                            .or_insert_with(|| old.clone());
                        if !is_same(sub, Some(new), old) {
                            return Err(immutable_error(place.sub(&sub.name)));
                        }
                        new.clone_from(old);
                    }
                }
                in_schema_order(attribute, &mut replaced);
                *object = replaced;
            }
            (None, element, Some(new)) => *element = new.clone(),
            _ => {}
        }
        Ok(())
    }

    /// RFC 7644 §3.5.2.1 (X11): returns the element that an `add` creates if the filter matches
    /// nothing.
    fn new_element(
        &self,
        target: Target<'_>,
        filter: Option<&ElementFilter<'_>>,
        budget: &ComparisonBudget,
    ) -> Result<Value, Error> {
        let attribute = target.attribute;
        let place = target.path();
        let demanded = match &self.path.filter {
            None => Some(Object::new()),
            Some(filter) => element_of(attribute, place, filter.expression()),
        };
        let Some(mut element) = demanded else {
            return Err(no_target(place));
        };
        if let Some(sub) = target.sub {
            // `emails[value eq "old"].value` selects an element by its old value, which the
            // operation replaces.
            element.remove(&sub.name);
        }
        let before = element.clone();
        match (target.sub, self.values.first()) {
            (Some(sub), _) => self.set(sub, place, &mut element)?,
            (None, Some(Value::Object(new))) => {
                for (name, value) in new {
                    element.insert(name.clone(), value.clone());
                }
            }
            // In a list of simple values, the value is the element.
            (None, Some(new)) => return Ok(new.clone()),
            (None, None) => {}
        }
        in_schema_order(attribute, &mut element);
        let Some(filter) = filter else {
            return Ok(Value::Object(element));
        };
        let candidates = [element, before].map(Value::Object);
        let selected = filter.select(&candidates, budget).map_err(too_many)?;
        let [element, _] = candidates;
        if selected.contains(&true) {
            Ok(element)
        } else {
            Err(no_target(place))
        }
    }
}

fn no_target(place: AttributePath<'_>) -> Error {
    Error::no_target(format_args!(
        "{place}: the filter of the path matches no element"
    ))
}

/// Returns the sub-attributes that the `eq` terms of a filter require, in canonical form.
fn element_of(
    attribute: &Attribute,
    place: AttributePath<'_>,
    filter: &Expression,
) -> Option<Object> {
    let demanded = quirks::element_from_filter(filter)?;
    match read_one(attribute, place, Value::Object(demanded), ReadContext::NEW) {
        Ok(Some(Value::Object(element))) => Some(element),
        Ok(_) => Some(Object::new()),
        Err(_) => None,
    }
}
