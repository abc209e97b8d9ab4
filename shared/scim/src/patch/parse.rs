//! Reads a PATCH message as operations on one attribute each.

use serde_json::Value;

use crate::Object;
use crate::error::{Error, describe, quote, quote_name};
use crate::filter::Filter;
use crate::normalize::not_an_object;
use crate::patch::{MAX_OPERATIONS, Op, Operation, PATCH_OP_SCHEMA, PatchOp, Path};
use crate::path::Selected;
use crate::quirks::{self, RemovedValues};
use crate::schema::{AttributePath, Mutability, ResourceType, Schema, Target};
use crate::strict::{check_value, unknown};
use crate::validate::{
    ReadContext, check_known, check_message, clears, read_elements, read_one, read_value, take,
    take_operations,
};
use crate::value::is_unassigned;

impl PatchOp {
    /// Reads a PATCH message for resources of this type.
    ///
    /// The value of a writeOnly attribute is validated and its operation dropped (C12), so no later
    /// code can show a password.
    pub fn parse(mut body: Object, ty: &ResourceType) -> Result<PatchOp, Error> {
        check_message(&mut body, PATCH_OP_SCHEMA, "a PATCH body", ty.profile)?;
        let operations = take_operations(&mut body)?;
        if operations.len() > MAX_OPERATIONS {
            return Err(Error::invalid_syntax(format_args!(
                "Operations has {} operations; at most {MAX_OPERATIONS} are accepted (one operation may have many values)",
                operations.len()
            )));
        }
        let mut reader = Reader {
            ty,
            operations: Vec::with_capacity(operations.len()),
        };
        for operation in operations {
            match operation {
                Value::Object(operation) => reader.operation(operation)?,
                value => {
                    return Err(Error::invalid_syntax(format_args!(
                        "Operations: expected an object, got {}",
                        describe(&value)
                    )));
                }
            }
        }
        Ok(PatchOp {
            operations: reader.operations,
        })
    }

    /// Creates the operations that add sub-attributes of multi-valued attributes to a resource.
    pub(crate) fn adding<'a>(
        ty: &'a ResourceType,
        parts: Vec<(Target<'a>, Option<Filter>, Value)>,
    ) -> Result<PatchOp, Error> {
        let operations = vec![];
        let mut reader = Reader { ty, operations };
        for (target, filter, value) in parts {
            reader.attribute(Op::Add, target, filter, value)?;
        }
        Ok(PatchOp {
            operations: reader.operations,
        })
    }
}

struct Reader<'a> {
    ty: &'a ResourceType,
    operations: Vec<Operation>,
}

impl<'a> Reader<'a> {
    fn operation(&mut self, mut operation: Object) -> Result<(), Error> {
        let op = match take(&mut operation, "op") {
            Some(Value::String(op)) => match quirks::capitalised_op(&op).as_str() {
                "add" => Op::Add,
                "remove" => Op::Remove,
                "replace" => Op::Replace,
                _ => {
                    return Err(Error::invalid_syntax(format_args!(
                        "op: expected add, remove or replace, got {}",
                        quote(&op)
                    )));
                }
            },
            Some(value) => {
                return Err(Error::invalid_syntax(format_args!(
                    "op: expected add, remove or replace, got {}",
                    describe(&value)
                )));
            }
            None => return Err(Error::invalid_syntax("op is missing")),
        };
        let value = take(&mut operation, "value");
        match take(&mut operation, "path").filter(|path| !is_unassigned(path)) {
            None if self.ty.is_strict() => Err(Error::invalid_syntax(
                "path is missing; this directory requires a path in each operation",
            )),
            None => self.without_path(op, value),
            Some(Value::String(path)) => self.with_path(op, &path, value),
            Some(value) => Err(Error::invalid_syntax(format_args!(
                "path: expected a string, got {}",
                describe(&value)
            ))),
        }
    }

    /// RFC 7644 §3.5.2 (X4, X5, X7, X16): reads an operation without path, whose value is an object
    /// of attributes.
    fn without_path(&mut self, op: Op, value: Option<Value>) -> Result<(), Error> {
        if op == Op::Remove {
            return Err(Error::no_target("a remove operation requires a path"));
        }
        match value {
            Some(Value::Object(object)) => {
                self.check_names(None, &object)?;
                self.members(None, op, object)
            }
            Some(value) => Err(Error::invalid_value(
                "value",
                format_args!(
                    "an operation without path requires an object of attributes, got {}",
                    describe(&value)
                ),
            )),
            None => Err(Error::invalid_value("value", "is missing")),
        }
    }

    /// Reads an object of attributes, without path or with the URI of an extension. Keys may have
    /// dots or a URI (RFC 7644 §3.10, X6). Unknown keys are ignored (C21), except with the strict
    /// profile.
    fn members(&mut self, within: Option<&'a Schema>, op: Op, object: Object) -> Result<(), Error> {
        for (key, value) in object {
            let selected = match self.ty.select_within(within, &key) {
                Ok(selected) => selected,
                Err(_) if self.ty.is_strict() => {
                    let owner = within.map_or(&self.ty.name, |schema| &schema.id);
                    return Err(unknown(owner, &key));
                }
                Err(_) => continue,
            };
            match selected {
                Selected::Unregistered => {}
                // The value of a base URI is an object of attributes as well. The nesting limit of
                // JSON ends this recursion.
                Selected::Base => {
                    if let Value::Object(object) = value {
                        self.members(None, op, object)?;
                    }
                }
                Selected::Extension(schema) => self.extension(op, schema, value)?,
                Selected::Attribute(target, filter) => {
                    let replaces = op == Op::Replace;
                    if !quirks::echo_in_object_without_path(target.attribute, replaces) {
                        self.attribute(op, target, filter, value)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn with_path(&mut self, op: Op, path: &str, value: Option<Value>) -> Result<(), Error> {
        let selected = self.ty.select(path)?;
        if op == Op::Remove {
            return self.remove(selected, value);
        }
        let Some(value) = value else {
            return Err(Error::invalid_value(
                "value",
                format_args!("is missing for path {}", quote_name(path)),
            ));
        };
        match selected {
            Selected::Unregistered => Ok(()),
            Selected::Base => self.without_path(op, Some(value)),
            Selected::Extension(schema) => {
                if let Value::Object(object) = &value {
                    self.check_names(Some(schema), object)?;
                }
                self.extension(op, schema, value)
            }
            Selected::Attribute(target, filter) => {
                if let Some(sub) = target
                    .sub
                    .filter(|_| target.attribute.mutability != Mutability::ReadOnly)
                    && sub.mutability == Mutability::ReadOnly
                {
                    return Err(read_only_error(target.path()));
                }
                self.attribute(op, target, filter, value)
            }
        }
    }

    fn remove(&mut self, selected: Selected<'a>, value: Option<Value>) -> Result<(), Error> {
        match selected {
            Selected::Unregistered => Ok(()),
            Selected::Base => Err(Error::no_target(
                "the path of a remove operation must name an attribute or an extension",
            )),
            // Removing an extension (X8) removes all attributes that are not readOnly.
            Selected::Extension(schema) => {
                for attribute in &schema.attributes {
                    if attribute.mutability != Mutability::ReadOnly {
                        let target = Target {
                            extension: Some(schema),
                            attribute,
                            sub: None,
                        };
                        self.push(Op::Remove, target, None, Vec::new());
                    }
                }
                Ok(())
            }
            Selected::Attribute(target, filter) => {
                if target.sub.is_some() || filter.is_some() {
                    self.push(Op::Remove, target, filter, Vec::new());
                    return Ok(());
                }
                let value = value.map(|value| {
                    quirks::wrapped_in_its_own_name(target.attribute, target.path(), value)
                });
                match quirks::remove_with_value_list(target.attribute, value) {
                    RemovedValues::All => self.push(Op::Remove, target, None, Vec::new()),
                    RemovedValues::Named(values) => {
                        let values = Value::Array(values);
                        if self.ty.is_strict() {
                            check_value(target.attribute, target.path(), &values)?;
                        }
                        let values = read_elements(target.attribute, target.path(), values)?;
                        if !values.is_empty() {
                            self.push(Op::Remove, target, None, values);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// Reads the value of the URI of an extension.
    fn extension(&mut self, op: Op, schema: &'a Schema, value: Value) -> Result<(), Error> {
        match value {
            Value::Object(object) => {
                if !self.ty.is_strict() {
                    self.ty.check_known(schema, &object)?;
                }
                self.members(Some(schema), op, object)
            }
            value if is_unassigned(&value) => {
                if op == Op::Replace {
                    self.remove(Selected::Extension(schema), None)?;
                }
                Ok(())
            }
            value => Err(not_an_object(schema, &value)),
        }
    }

    /// Refuses the names that POST and PUT refuse. The strict profile refuses more names elsewhere.
    ///
    /// JSON objects have no duplicate names ([`crate::json::parse`]), so an attribute can be
    /// duplicated or nested only by a name with a URI or a sub-attribute.
    fn check_names(&self, within: Option<&Schema>, object: &Object) -> Result<(), Error> {
        let has_other_forms = || object.keys().any(|name| name.contains([':', '.']));
        if !self.ty.is_strict() && has_other_forms() {
            self.ty.normalize(within, object.clone())?;
        }
        Ok(())
    }

    /// Reads one `add` or `replace` of an attribute.
    fn attribute(
        &mut self,
        op: Op,
        target: Target<'a>,
        filter: Option<Filter>,
        value: Value,
    ) -> Result<(), Error> {
        let attribute = target.sub.unwrap_or(target.attribute);
        let place = target.path();
        // `apply` decides whether the operation is refused, because that depends on the resource
        // (X5).
        if target.attribute.mutability == Mutability::ReadOnly {
            self.push(op, target, filter, vec![value]);
            return Ok(());
        }
        if target.attribute.mutability == Mutability::WriteOnly
            || attribute.mutability == Mutability::WriteOnly
        {
            read_value(attribute, place, value, ReadContext::NEW)?;
            return Ok(());
        }
        if self.ty.is_strict() {
            check_value(attribute, place, &value)?;
        }
        let value = quirks::wrapped_in_its_own_name(attribute, place, value);
        let value = if attribute.multi_valued {
            value
        } else {
            quirks::list_of_one(value)
        };
        if clears(attribute, &value) {
            if op == Op::Replace {
                self.push(op, target, filter, Vec::new());
            }
            return Ok(());
        }
        let values = if attribute.multi_valued && filter.is_none() {
            let says_nothing = is_empty_list(&value);
            let mut values = read_elements(attribute, place, value)?;
            if values.is_empty() && says_nothing && op == Op::Replace {
                return Err(Error::invalid_value(
                    place,
                    "all elements are empty; to clear the attribute, send null or []",
                ));
            }
            quirks::several_primaries(attribute, &mut values);
            values
        } else if attribute.is_complex() && !attribute.multi_valued {
            let object = match quirks::bare_string_for_complex(attribute, value) {
                Value::Object(object) => object,
                value => return Err(crate::value::unexpected(attribute, place, &value)),
            };
            if op == Op::Add || !self.ty.is_strict() {
                return self.parts(op, target, object);
            }
            // RFC 7644 §3.5.2.3 (X14): the strict profile replaces the whole value.
            read_one(attribute, place, Value::Object(object), ReadContext::NEW)?
                .into_iter()
                .collect()
        } else {
            // A single value, or the value for all selected elements.
            let mut values = match value {
                Value::Array(values) if target.sub.is_none() && filter.is_some() => values,
                value => vec![value],
            };
            let only = values.pop();
            if !values.is_empty() {
                return Err(Error::invalid_value(
                    place,
                    "expected one value for the elements that match, got a list",
                ));
            }
            match only {
                Some(value) => read_one(attribute, place, value, ReadContext::NEW)?
                    .into_iter()
                    .collect(),
                None => Vec::new(),
            }
        };
        if op == Op::Add && values.is_empty() {
            return Ok(());
        }
        self.push(op, target, filter, values);
        Ok(())
    }

    /// RFC 7644 §3.5.2.1, §3.5.2.3 (X10, X14): a complex value changes its sub-attributes. readOnly
    /// ones are ignored, as in PUT.
    fn parts(&mut self, op: Op, target: Target<'a>, mut object: Object) -> Result<(), Error> {
        quirks::manager_id(target.attribute, &mut object);
        check_known(target.attribute, target.path(), &object)?;
        for (name, value) in object {
            if let Some(sub) = target.attribute.sub_attribute(&name)
                && sub.mutability != Mutability::ReadOnly
            {
                let target = Target {
                    sub: Some(sub),
                    ..target
                };
                self.attribute(op, target, None, value)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, op: Op, target: Target<'_>, filter: Option<Filter>, values: Vec<Value>) {
        self.operations.push(Operation {
            op,
            path: Path {
                extension: target.extension.map(|schema| schema.id.clone()),
                attribute: target.attribute.name.clone(),
                filter,
                sub_attribute: target.sub.map(|sub| sub.name.clone()),
            },
            values,
        });
    }
}

/// Returns whether all elements of a list are empty.
fn is_empty_list(value: &Value) -> bool {
    let says_nothing = |element: &Value| match element {
        Value::Object(object) => object.values().all(is_unassigned),
        element => is_unassigned(element),
    };
    match value {
        Value::Array(elements) => elements.iter().all(says_nothing),
        element => says_nothing(element),
    }
}

pub(super) fn read_only_error(place: AttributePath<'_>) -> Error {
    Error::mutability(place, "is readOnly")
}
