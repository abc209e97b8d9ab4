//! PATCH: a message becomes operations, operations become a new resource
//! (RFC 7644 §3.5.2).
//!
//! [`PatchOp::parse`] reduces every form a client may send to few: an object
//! without path becomes one [`Operation`] per attribute, a complex value one
//! per sub-attribute, an extension one per attribute of it, and all values are
//! canonical. [`PatchOp::apply`] edits a copy of the document, operation by
//! operation, and sends the result through the door; if any of it fails,
//! nothing has happened (X21).
//!
//! What the RFC leaves open is decided in the table of [`PatchOp::apply`].

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::Value;

use crate::Object;
use crate::door::{
    Reading, check_known, check_message, clears, identity, in_schema_order, is_immutable,
    is_primary, is_same, read_elements, read_one, read_value, stays, take, two_primaries,
    value_key,
};
use crate::error::{Error, describe, quote, quote_name};
use crate::filter::{ElementFilter, Expression, Filter};
use crate::path::Selected;
use crate::quirks::{self, RemovedValues};
use crate::resource::Resource;
use crate::schema::{Attribute, Client, Mutability, Place, ResourceType, Schema, Target};
use crate::strict::{check_value, unknown};
use crate::value::{comparison_key, is_unassigned};
use crate::work::{Work, WorkSpent};

/// The URI of the PATCH message (RFC 7644 §3.5.2).
pub const PATCH_OP_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// How many operations one message may hold. One operation may carry any
/// number of values (X25).
pub const MAX_OPERATIONS: usize = 1_000;

/// How many comparisons of elements of lists the operations of one message may
/// make in all, in units of [`Work`]. A thousand operations on a list of a
/// thousand elements need no more than that; without a limit, a body of 5 MB
/// could ask for an hour.
pub const MAX_COMPARISONS: usize = 8_000_000;

/// A PATCH message, reduced to operations on one attribute each.
///
/// ```
/// use scim::{PatchOp, ResourceType};
///
/// let user = ResourceType::user();
/// let ann = user.read(scim::json::parse(br#"{"userName": "ann", "title": "Engineer"}"#)?, None)?;
/// let patch = |operation: &str| {
///     let body = format!(r#"{{"schemas": ["{}"], "Operations": [{operation}]}}"#, scim::PATCH_OP_SCHEMA);
///     PatchOp::parse(scim::json::parse(body.as_bytes())?, user)?.apply(user, &ann, "2819c223")
/// };
/// let patched = patch(r#"{"op": "replace", "value": {"active": false, "name.givenName": "Ann"}}"#)?;
/// assert_eq!(patched.boolean("active"), Some(false));
/// assert_eq!(patched.string("name.givenName"), Some("Ann"));
/// assert_eq!(patched.string("title"), Some("Engineer"));
///
/// let error = patch(r#"{"op": "remove", "path": "userName"}"#).unwrap_err();
/// assert_eq!(error.detail(), "userName: is required and cannot be removed");
/// # Ok::<(), scim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PatchOp {
    /// The operations, in their order.
    pub operations: Vec<Operation>,
}

/// What is done to the attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Sets, merges or appends (§3.5.2.1).
    Add,
    /// Takes away (§3.5.2.2).
    Remove,
    /// Sets (§3.5.2.3).
    Replace,
}

impl Op {
    /// The word for it in a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Add => "add",
            Op::Remove => "remove",
            Op::Replace => "replace",
        }
    }
}

/// One change of one attribute.
#[derive(Clone, PartialEq)]
pub struct Operation {
    /// What is done.
    pub op: Op,
    /// To what.
    pub path: Path,
    /// With what: the elements for a multi-valued attribute, one value for any
    /// other, in canonical form.
    ///
    /// None at all means: of a `replace`, that the target becomes empty (C6);
    /// of a `remove`, that all of the target goes. A `remove` with values takes
    /// away only these (X17). There is no `add` without values.
    pub values: Vec<Value>,
}

/// What an operation is done to, in canonical spelling.
#[derive(Clone, PartialEq)]
pub struct Path {
    /// The URI of the extension, for an attribute of one.
    pub extension: Option<String>,
    /// The attribute.
    pub attribute: String,
    /// Which elements of a multi-valued attribute.
    pub filter: Option<Filter>,
    /// The part of a complex attribute.
    pub sub_attribute: Option<String>,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(extension) = &self.extension {
            write!(f, "{extension}:")?;
        }
        f.write_str(&self.attribute)?;
        if let Some(filter) = &self.filter {
            write!(f, "[{filter}]")?;
        }
        match &self.sub_attribute {
            Some(sub) => write!(f, ".{sub}"),
            None => Ok(()),
        }
    }
}

/// Shows names, not what is looked for.
impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = self.filter.as_ref().map(|_| "[…]").unwrap_or_default();
        let place = Place {
            extension: self.extension.as_deref(),
            attribute: &self.attribute,
            sub: None,
        };
        let sub = self.sub_attribute.as_deref();
        let dot = if sub.is_some() { "." } else { "" };
        write!(f, "{place}{filter}{dot}{}", sub.unwrap_or_default())
    }
}

/// Shows the target and how many values there are, not the values.
impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} ({} values)",
            self.op.as_str(),
            self.path,
            self.values.len()
        )
    }
}

// ---- parsing -----------------------------------------------------------

impl PatchOp {
    /// Reads a PATCH message for resources of this type.
    ///
    /// The value of a writeOnly attribute is checked and its operation dropped
    /// (C12): nothing after this can show a password.
    pub fn parse(mut body: Object, ty: &ResourceType) -> Result<PatchOp, Error> {
        check_message(&mut body, PATCH_OP_SCHEMA, "a PATCH body", ty.profile)?;
        let operations = match take(&mut body, "Operations") {
            Some(Value::Array(operations)) => operations,
            Some(value) => {
                return Err(Error::invalid_syntax(format_args!(
                    "Operations: expected a list, got {}",
                    describe(&value)
                )));
            }
            None => return Err(Error::invalid_syntax("Operations is missing")),
        };
        if operations.len() > MAX_OPERATIONS {
            return Err(Error::invalid_syntax(format_args!(
                "Operations holds {} operations; {MAX_OPERATIONS} at most are accepted (one operation may carry many values)",
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

    /// What adds parts of multi-valued attributes to a resource.
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
                "path is missing: each operation of this directory names its attribute",
            )),
            None => self.without_path(op, value),
            Some(Value::String(path)) => self.with_path(op, &path, value),
            Some(value) => Err(Error::invalid_syntax(format_args!(
                "path: expected a string, got {}",
                describe(&value)
            ))),
        }
    }

    /// X4, X5, X7, X16: the value is an object of attributes.
    fn without_path(&mut self, op: Op, value: Option<Value>) -> Result<(), Error> {
        if op == Op::Remove {
            return Err(Error::no_target("a remove operation needs a path"));
        }
        match value {
            Some(Value::Object(object)) => {
                self.check_names(object.clone())?;
                self.members(None, op, object)
            }
            Some(value) => Err(Error::invalid_value(
                "value",
                format_args!(
                    "an operation without path needs an object of attributes, got {}",
                    describe(&value)
                ),
            )),
            None => Err(Error::invalid_value("value", "is missing")),
        }
    }

    /// The members of an object without path or under the URI of an extension.
    /// Keys may be dotted or have a URI (X6); unknown ones are ignored (C21),
    /// but under the strict profile.
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
                // A base URI as a key holds what could stand beside it. Deeper
                // nesting than JSON lets through ends this recursion.
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
            Selected::Extension(schema) => self.extension(op, schema, value),
            Selected::Attribute(target, filter) => {
                if let Some(sub) = target
                    .sub
                    .filter(|_| target.attribute.mutability != Mutability::ReadOnly)
                    && sub.mutability == Mutability::ReadOnly
                {
                    return Err(is_read_only(target.place()));
                }
                self.attribute(op, target, filter, value)
            }
        }
    }

    fn remove(&mut self, selected: Selected<'a>, value: Option<Value>) -> Result<(), Error> {
        match selected {
            Selected::Unregistered => Ok(()),
            Selected::Base => Err(Error::no_target("a remove operation needs an attribute")),
            // The whole extension (X8) is every attribute of it that can go.
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
                    quirks::wrapped_in_its_own_name(target.attribute, target.place(), value)
                });
                match quirks::remove_with_value_list(target.attribute, value) {
                    RemovedValues::All => self.push(Op::Remove, target, None, Vec::new()),
                    RemovedValues::Named(values) => {
                        let values = Value::Array(values);
                        if self.ty.is_strict() {
                            check_value(target.attribute, target.place(), &values)?;
                        }
                        let values = read_elements(target.attribute, target.place(), values)?;
                        if !values.is_empty() {
                            self.push(Op::Remove, target, None, values);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// The object under the URI of an extension.
    fn extension(&mut self, op: Op, schema: &'a Schema, value: Value) -> Result<(), Error> {
        match value {
            Value::Object(object) => {
                let named = Value::Object(object.clone());
                self.check_names(Object::from_iter([(schema.id.clone(), named)]))?;
                self.members(Some(schema), op, object)
            }
            value if is_unassigned(&value) => {
                if op == Op::Replace {
                    self.remove(Selected::Extension(schema), None)?;
                }
                Ok(())
            }
            value => Err(Error::invalid_value(
                &schema.id,
                format_args!("expected an object, got {}", describe(&value)),
            )),
        }
    }

    /// Refuses the names that POST and PUT refuse. Strict refuses more, with a word of its own.
    fn check_names(&self, object: Object) -> Result<(), Error> {
        match self.ty.is_strict() {
            true => Ok(()),
            false => self.ty.unfold(object).map(|_| ()),
        }
    }

    /// One `add` or `replace` of an attribute, reduced to its simplest form.
    fn attribute(
        &mut self,
        op: Op,
        target: Target<'a>,
        filter: Option<Filter>,
        value: Value,
    ) -> Result<(), Error> {
        let attribute = target.sub.unwrap_or(target.attribute);
        let place = target.place();
        // Whether it is refused depends on the resource (X5), so `apply` decides.
        if target.attribute.mutability == Mutability::ReadOnly {
            self.push(op, target, filter, vec![value]);
            return Ok(());
        }
        if target.attribute.mutability == Mutability::WriteOnly
            || attribute.mutability == Mutability::WriteOnly
        {
            read_value(attribute, place, value, Reading::NEW)?;
            return Ok(());
        }
        if self.ty.is_strict() {
            check_value(attribute, place, &value)?;
        }
        let value = quirks::wrapped_in_its_own_name(attribute, place, value);
        let value = match attribute.multi_valued {
            true => value,
            false => quirks::list_of_one(value),
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
                    "all elements are empty; send null or [] in place of the list to empty it",
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
            // X14: the interoperability profile replaces the whole of it.
            read_one(attribute, place, Value::Object(object), Reading::NEW)?
                .into_iter()
                .collect()
        } else {
            // A single value, or the one value that all selected elements get.
            let mut values = match value {
                Value::Array(values) if target.sub.is_none() && filter.is_some() => values,
                value => vec![value],
            };
            let only = values.pop();
            if !values.is_empty() {
                return Err(Error::invalid_value(
                    place,
                    "expected one value for the selected elements, got a list",
                ));
            }
            match only {
                Some(value) => read_one(attribute, place, value, Reading::NEW)?
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

    /// X10, X14: a complex value changes the sub-attributes it names. Those
    /// that are readOnly are echoes, as in PUT.
    fn parts(&mut self, op: Op, target: Target<'a>, mut object: Object) -> Result<(), Error> {
        quirks::manager_id(target.attribute, &mut object);
        check_known(target.attribute, target.place(), &object)?;
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

/// Whether the elements of a list, of which there are some, all say nothing.
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

fn is_read_only(place: Place<'_>) -> Error {
    Error::mutability(place, "is readOnly")
}

// ---- applying ----------------------------------------------------------

impl PatchOp {
    /// Applies all operations, in order, or none (X21). `id` is the id of the
    /// resource itself.
    ///
    /// | row | decision |
    /// |---|---|
    /// | X5 | `id` may be set to the id the resource has; any other is 400 `mutability` |
    /// | X10 | adding an element that is there already changes nothing; adding parts of one (`primary`) merges them |
    /// | X11 | `add` to `attr[filter]` or `attr[filter].sub` without match creates the element from the `eq` terms, unless the result would not match: 400 `noTarget` |
    /// | X12 | `replace` with a filter that selects nothing is 400 `noTarget`; [`Client::Entra`] means `add` by it |
    /// | X13 | `replace` of what is not there adds it |
    /// | X14 | a complex value sets the sub-attributes it names (under the strict profile it is replaced as a whole); a selected *element* is replaced as a whole, but keeps what its filter's `eq` terms say |
    /// | X15 | removing what is required or readOnly is 400 `mutability`; removing what is not there succeeds; an attribute whose last element goes is gone, and an element of which only what selected it is left; a sub-attribute that is set to nothing is removed |
    /// | X17 | `remove` with values takes away the elements with the same `value` (and `type`, where both have one) |
    /// | X23, C17 | an operation that makes an element primary makes the others not primary; of several in one list the first is; a filter that makes two primary is refused |
    /// | X25 | any number of values in one operation; what would take more than [`MAX_COMPARISONS`] is 400 `tooMany` |
    /// | X15, U2 | an attribute with a default can be removed while it has that value, as nothing changes by it; else 400 `mutability`: removing `active: false` would let somebody in |
    pub fn apply(
        &self,
        ty: &ResourceType,
        resource: &Resource,
        id: &str,
    ) -> Result<Resource, Error> {
        let mut document = resource.as_object().clone();
        let work = Work::new(MAX_COMPARISONS);
        for operation in &self.operations {
            operation.apply(ty, &mut document, id, &work)?;
        }
        ty.read_patched(document, resource)
    }
}

fn too_many(_: WorkSpent) -> Error {
    Error::too_many(format_args!(
        "the operations would compare elements of lists more than {MAX_COMPARISONS} times; \
         send them in several requests, or many values in one operation"
    ))
}

/// The units of [`Work`] that it takes to tell by its value and its type which element is meant.
const EACH: usize = 4;

/// How much there is to compare: the elements, and once more for every 64 bytes
/// of their texts.
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
        work: &Work,
    ) -> Result<(), Error> {
        let target = self.target(ty)?;
        let place = target.place();
        if target.attribute.mutability == Mutability::ReadOnly {
            let own_id = target.attribute.name == "id"
                && self.op != Op::Remove
                && self.values.iter().all(|value| value == id);
            return if own_id {
                Ok(())
            } else {
                Err(is_read_only(place))
            };
        }
        if target
            .sub
            .is_some_and(|sub| sub.mutability == Mutability::ReadOnly)
        {
            return Err(is_read_only(place));
        }
        if self.op == Op::Remove {
            let removed = target.sub.unwrap_or(target.attribute);
            let whole = self.path.filter.is_none() || target.sub.is_some();
            // An extension may go with all that it requires, so the door decides.
            let with_all = target.extension.is_some() && target.sub.is_none();
            if removed.required && whole && !with_all && self.values.is_empty() {
                return Err(stays(place));
            }
        }
        match target.extension {
            None => self.edit(ty, target, document, work),
            Some(schema) => {
                let extension = document
                    .entry(schema.id.as_str())
                    .or_insert_with(|| Value::Object(Object::new()));
                match extension {
                    Value::Object(extension) => self.edit(ty, target, extension, work),
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

    /// Edits the object that holds the attribute: the resource or an extension.
    fn edit(
        &self,
        ty: &ResourceType,
        target: Target<'_>,
        holder: &mut Object,
        work: &Work,
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
                work.spend(weight.saturating_mul(EACH)).map_err(too_many)?;
            }
            let touched = self.edit_elements(ty, target, &mut elements, work)?;
            settle_primary(target, &mut elements, &touched)?;
            holder.insert(name.clone(), Value::Array(elements));
            return Ok(());
        }
        match target.sub {
            None => self.set(target.attribute, target.place(), holder),
            Some(sub) => {
                let value = holder
                    .entry(name.as_str())
                    .or_insert_with(|| Value::Object(Object::new()));
                if !value.is_object() {
                    *value = Value::Object(Object::new());
                }
                match value {
                    Value::Object(object) => self.set(sub, target.place(), object),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Sets or removes a member of an object.
    fn set(
        &self,
        attribute: &Attribute,
        place: Place<'_>,
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
            return match is_same(attribute, new.as_ref(), old) {
                true => Ok(()),
                false => Err(is_immutable(place)),
            };
        }
        object.insert(attribute.name.clone(), new.unwrap_or(Value::Null));
        Ok(())
    }

    /// Edits a multi-valued attribute; gives the places of the elements that
    /// the operation wrote.
    fn edit_elements(
        &self,
        ty: &ResourceType,
        target: Target<'_>,
        elements: &mut Vec<Value>,
        work: &Work,
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

        let place = target.place();
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
            Some(filter) => filter.select(elements, work).map_err(too_many)?,
        };

        if target.sub.is_none() && (self.op == Op::Remove || self.values.is_empty()) {
            let before = elements.len();
            let mut selected = selected.into_iter();
            elements.retain(|_| selected.next() != Some(true));
            if self.op == Op::Replace && elements.len() == before && ty.client != Client::Entra {
                return Err(nothing_selected(place));
            }
            return Ok(HashSet::new());
        }

        // What is set to nothing is removed (C6).
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
            // X12: a filter that selects nothing is no target of a replace.
            let creates = self.op == Op::Add || ty.client == Client::Entra;
            if filter.is_some() && !creates {
                return Err(nothing_selected(place));
            }
            let element = self.new_element(target, filter.as_ref(), work)?;
            touched.insert(elements.len());
            elements.push(element);
        }
        Ok(touched)
    }

    /// Removes a sub-attribute of the selected elements. An element of which
    /// nothing is left but what selected it goes as well: Entra removes a phone
    /// number by `phoneNumbers[type eq "work"].value`, as it adds one (X11, X15).
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
            .and_then(|filter| element_of(attribute, target.place(), filter.expression()))
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

    /// One element that the path selects.
    fn edit_element(&self, target: Target<'_>, element: &mut Value) -> Result<(), Error> {
        let attribute = target.attribute;
        let place = target.place();
        match (target.sub, element, self.values.first()) {
            (Some(sub), Value::Object(object), _) => {
                self.set(sub, place, object)?;
                in_schema_order(attribute, object);
                object.retain(|_, value| !is_unassigned(value));
            }
            (None, Value::Object(object), Some(Value::Object(new))) => {
                let mut replaced = match self.op {
                    // X14: what selected the element stays with it.
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
                            return Err(is_immutable(place.sub(&sub.name)));
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

    /// X11: the element that an `add` to a filter without match creates.
    fn new_element(
        &self,
        target: Target<'_>,
        filter: Option<&ElementFilter<'_>>,
        work: &Work,
    ) -> Result<Value, Error> {
        let attribute = target.attribute;
        let place = target.place();
        let demanded = match &self.path.filter {
            None => Some(Object::new()),
            Some(filter) => element_of(attribute, place, filter.expression()),
        };
        let Some(mut element) = demanded else {
            return Err(nothing_selected(place));
        };
        if let Some(sub) = target.sub {
            // `emails[value eq "old"].value` selects an old value; with a new
            // one there is nothing left that it selects.
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
            // Of a list of simple values, the value is the element.
            (None, Some(new)) => return Ok(new.clone()),
            (None, None) => {}
        }
        in_schema_order(attribute, &mut element);
        let Some(filter) = filter else {
            return Ok(Value::Object(element));
        };
        let candidates = [element, before].map(Value::Object);
        let selected = filter.select(&candidates, work).map_err(too_many)?;
        let [element, _] = candidates;
        match selected.contains(&true) {
            true => Ok(element),
            false => Err(nothing_selected(place)),
        }
    }
}

fn nothing_selected(place: Place<'_>) -> Error {
    Error::no_target(format_args!("{place}: the path's filter selects nothing"))
}

/// The sub-attributes that the `eq` terms of a filter demand, as the door would
/// leave them.
fn element_of(attribute: &Attribute, place: Place<'_>, filter: &Expression) -> Option<Object> {
    let demanded = quirks::element_from_filter(filter)?;
    match read_one(attribute, place, Value::Object(demanded), Reading::NEW) {
        Ok(Some(Value::Object(element))) => Some(element),
        Ok(_) => Some(Object::new()),
        Err(_) => None,
    }
}

/// X10: appends what is not there yet, merges what is.
fn add_elements(
    attribute: &Attribute,
    elements: &mut Vec<Value>,
    added: &[Value],
) -> HashSet<usize> {
    let mut touched = HashSet::with_capacity(added.len());
    let mut known = Known::default();
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
struct Known {
    identities: HashMap<String, usize>,
    values: HashMap<String, usize>,
}

impl Known {
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
fn remove_named(attribute: &Attribute, elements: &mut Vec<Value>, named: &[Value]) {
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
fn settle_primary(
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
                let place = Place {
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

    fn user(value: Value) -> Resource {
        ResourceType::user().read(object(value), None).unwrap()
    }

    fn ann() -> Resource {
        user(json!({
            "userName": "ann", "name": {"givenName": "Ann", "familyName": "Archer"},
            "emails": [{"value": "a@work", "type": "work", "primary": true}, {"value": "a@home", "type": "home"}],
        }))
    }

    fn apply(resource: &Resource, body: Value) -> Result<Resource, Error> {
        PatchOp::parse(object(body), ResourceType::user())?.apply(
            ResourceType::user(),
            resource,
            "2819",
        )
    }

    fn patched(operations: Value) -> Result<Resource, Error> {
        apply(
            &ann(),
            json!({"schemas": [PATCH_OP_SCHEMA], "Operations": operations}),
        )
    }

    /// The value at `path` after the operations.
    #[track_caller]
    fn gives(operations: Value, path: &str, value: Value) {
        let result = patched(operations.clone())
            .unwrap_or_else(|error| panic!("{operations}: {}", error.detail()));
        assert_eq!(
            result.get(path).cloned().unwrap_or(Value::Null),
            value,
            "{operations}"
        );
    }

    #[track_caller]
    fn refused(operations: Value, scim_type: ScimType, detail: &str) {
        let error = patched(operations.clone())
            .err()
            .unwrap_or_else(|| panic!("{operations} is taken"));
        assert_eq!(
            (error.status(), error.scim_type(), error.detail()),
            (400, Some(scim_type), detail),
            "{operations}"
        );
    }

    #[track_caller]
    fn changes_nothing(operations: Value) {
        let result = patched(operations.clone())
            .unwrap_or_else(|error| panic!("{operations}: {}", error.detail()));
        assert_eq!(ann().changed(&result), vec![], "{operations}");
    }

    #[test]
    fn x1_x2_x3_the_message() {
        let operation = json!({"op": "replace", "path": "title", "value": "x"});
        for body in [
            json!({"schemas": [PATCH_OP_SCHEMA], "Operations": [operation]}),
            json!({"SCHEMAS": [PATCH_OP_SCHEMA.to_uppercase()], "operations": [{"OP": "REPLACE", "Path": "TITLE", "vaLue": "x"}]}),
            json!({"Operations": [operation]}),
        ] {
            assert_eq!(apply(&ann(), body).unwrap().string("title"), Some("x"));
        }
        changes_nothing(json!([]));
        for (body, detail) in [
            (
                json!({"schemas": ["urn:x"], "Operations": []}),
                "schemas: a PATCH body has urn:ietf:params:scim:api:messages:2.0:PatchOp",
            ),
            (
                json!({"schemas": [PATCH_OP_SCHEMA]}),
                "Operations is missing",
            ),
            (
                json!({"Operations": {}}),
                "Operations: expected a list, got an object",
            ),
            (
                json!({"Operations": ["x"]}),
                "Operations: expected an object, got the string \"x\"",
            ),
            (json!({"Operations": [{}]}), "op is missing"),
            (
                json!({"Operations": [{"op": "set"}]}),
                "op: expected add, remove or replace, got \"set\"",
            ),
            (
                json!({"Operations": [{"op": "add", "path": 7}]}),
                "path: expected a string, got the number 7",
            ),
        ] {
            let error = apply(&ann(), body).unwrap_err();
            assert_eq!(
                (error.scim_type(), error.detail()),
                (Some(ScimType::InvalidSyntax), detail)
            );
        }
        let many = vec![operation; MAX_OPERATIONS + 1];
        assert!(
            patched(json!(many))
                .unwrap_err()
                .detail()
                .starts_with("Operations holds 1001 operations; 1000 at most")
        );
    }

    #[test]
    fn x4_add_without_a_path_merges_and_appends() {
        let add = json!([{"op": "add", "value": {"name": {"middleName": "B"}, "emails": [{"value": "a@other"}], "title": "x"}}]);
        gives(
            add.clone(),
            "name",
            json!({"familyName": "Archer", "givenName": "Ann", "middleName": "B"}),
        );
        gives(add.clone(), "title", json!("x"));
        assert_eq!(patched(add).unwrap().elements("emails").count(), 3);
    }

    #[test]
    fn x5_replace_without_a_path() {
        gives(
            json!([{"op": "replace", "value": {"active": false}}]),
            "active",
            json!(false),
        );
        let echo = json!([{"op": "replace", "value": {"id": "2819", "schemas": ["urn:x"], "meta": {}, "groups": [], "displayName": "A"}}]);
        gives(echo, "displayName", json!("A"));
        refused(
            json!([{"op": "replace", "value": {"id": "other"}}]),
            ScimType::Mutability,
            "id: is readOnly",
        );
        refused(
            json!([{"op": "add", "value": {"groups": [{"value": "g"}]}}]),
            ScimType::Mutability,
            "groups: is readOnly",
        );
    }

    #[test]
    fn x6_keys_with_dots_urns_filters_and_extensions() {
        let department = format!("{ENTERPRISE}:department");
        gives(
            json!([{"op": "replace", "value": {"name.givenName": "Anna"}}]),
            "name",
            json!({"familyName": "Archer", "givenName": "Anna"}),
        );
        gives(
            json!([{"op": "add", "value": {&department: "Sales"}}]),
            &department,
            json!("Sales"),
        );
        gives(
            json!([{"op": "add", "value": {ENTERPRISE: {"department": "Sales", "Manager": "00u"}}}]),
            &format!("{ENTERPRISE}:manager"),
            json!({"value": "00u"}),
        );
        gives(
            json!([{"op": "replace", "value": {"emails[type eq \"work\"].value": "new"}}]),
            "emails",
            json!([{"value": "new", "type": "work", "primary": true}, {"value": "a@home", "type": "home"}]),
        );
        changes_nothing(
            json!([{"op": "replace", "value": {"shoeSize": 44, "name.shoe": 1, "urn:x:y": {}}}]),
        );
    }

    #[test]
    fn x7_without_a_path_the_value_is_an_object() {
        let needed = "value: an operation without path needs an object of attributes, got ";
        refused(
            json!([{"op": "replace", "value": "x"}]),
            ScimType::InvalidValue,
            &format!("{needed}the string \"x\""),
        );
        refused(
            json!([{"op": "add", "path": "", "value": null}]),
            ScimType::InvalidValue,
            &format!("{needed}null"),
        );
        refused(
            json!([{"op": "add"}]),
            ScimType::InvalidValue,
            "value: is missing",
        );
    }

    #[test]
    fn x8_paths() {
        gives(
            json!([{"op": "replace", "path": "NAME.GIVENNAME", "value": "X"}]),
            "name.givenName",
            json!("X"),
        );
        gives(
            json!([{"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:User:title", "value": "X"}]),
            "title",
            json!("X"),
        );
        gives(
            json!([{"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:User", "value": {"title": "X"}}]),
            "title",
            json!("X"),
        );
        gives(
            json!([{"op": "add", "path": ENTERPRISE, "value": {"division": "N"}}]),
            &format!("{ENTERPRISE}:division"),
            json!("N"),
        );
        gives(
            json!([{"op": "add", "path": format!("{ENTERPRISE}:manager.value"), "value": "m"}]),
            &format!("{ENTERPRISE}:manager.value"),
            json!("m"),
        );
        refused(
            json!([{"op": "add", "path": "shoeSize", "value": 1}]),
            ScimType::InvalidPath,
            "path \"shoeSize\": User has no such attribute",
        );
        refused(
            json!([{"op": "add", "path": "name.shoe", "value": 1}]),
            ScimType::InvalidPath,
            "path \"name.shoe\": User has no such attribute",
        );
        refused(
            json!([{"op": "add", "path": "title x", "value": 1}]),
            ScimType::InvalidPath,
            "path \"title x\": it is malformed",
        );
        refused(
            json!([{"op": "add", "path": "title[value eq 1]", "value": 1}]),
            ScimType::InvalidPath,
            "path \"title[value eq 1]\": title has one value, so [ ] cannot follow it",
        );
        refused(
            json!([{"op": "add", "path": "emails[shoe eq 1]", "value": 1}]),
            ScimType::InvalidFilter,
            "filter: emails has no sub-attribute \"shoe\"",
        );
    }

    #[test]
    fn x9_a_value_path_means_every_element_that_matches() {
        gives(
            json!([{"op": "replace", "path": "emails[value sw \"a\" and not (type eq \"other\")].display", "value": "A"}]),
            "emails",
            json!([{"value": "a@work", "display": "A", "type": "work", "primary": true}, {"value": "a@home", "display": "A", "type": "home"}]),
        );
        gives(
            json!([{"op": "replace", "path": "emails[type eq \"home\"]", "value": {"value": "new"}}]),
            "emails",
            json!([{"value": "a@work", "type": "work", "primary": true}, {"value": "new", "type": "home"}]),
        );
    }

    #[test]
    fn x10_adding_what_is_there_changes_nothing() {
        changes_nothing(
            json!([{"op": "add", "path": "emails", "value": [{"type": "HOME", "value": "A@HOME"}]}]),
        );
        changes_nothing(
            json!([{"op": "add", "value": {"userName": "ann", "name": {"givenName": "Ann"}}}]),
        );
        gives(
            json!([{"op": "add", "path": "name.givenName", "value": "Anna"}]),
            "name.givenName",
            json!("Anna"),
        );
        gives(
            json!([{"op": "add", "path": "emails", "value": [{"type": "home", "value": "a@home", "display": "H"}]}]),
            "emails",
            json!([{"value": "a@work", "type": "work", "primary": true}, {"value": "a@home", "display": "H", "type": "home"}]),
        );
    }

    #[test]
    fn x11_add_to_an_unmatched_value_path_makes_the_element() {
        gives(
            json!([{"op": "Add", "path": "phoneNumbers[type eq \"work\"].value", "value": "1"}]),
            "phoneNumbers",
            json!([{"value": "1", "type": "work"}]),
        );
        gives(
            json!([{"op": "add", "path": "phoneNumbers[type eq \"work\" and primary eq true]", "value": {"value": "1"}}]),
            "phoneNumbers",
            json!([{"value": "1", "type": "work", "primary": true}]),
        );
        refused(
            json!([{"op": "add", "path": "phoneNumbers[type eq \"a\" or type eq \"b\"].value", "value": "1"}]),
            ScimType::NoTarget,
            "phoneNumbers.value: the path's filter selects nothing",
        );
    }

    #[test]
    fn x12_replace_of_an_unmatched_value_path_has_no_target() {
        for path in ["emails[type eq \"fax\"].value", "emails[type eq \"fax\"]"] {
            let error =
                patched(json!([{"op": "replace", "path": path, "value": "x"}])).unwrap_err();
            assert_eq!(
                (error.status(), error.scim_type()),
                (400, Some(ScimType::NoTarget)),
                "{path}"
            );
        }
    }

    #[test]
    fn x12_entra_creates_by_a_replace() {
        let entra = ResourceType::user().clone().with_client(Client::Entra);
        let patched = |operations: Value| {
            let body = object(json!({"Operations": operations}));
            PatchOp::parse(body, &entra)?.apply(&entra, &ann(), "2819")
        };
        let number = json!([{"value": "1", "type": "work"}]);
        for operation in [
            json!({"op": "Replace", "path": "phoneNumbers[type eq \"work\"].value", "value": "1"}),
            json!({"op": "Replace", "path": "phoneNumbers[type eq \"work\"]", "value": {"value": "1"}}),
            json!({"op": "Replace", "value": {"phoneNumbers[type eq \"work\"].value": "1"}}),
        ] {
            let patched = patched(json!([operation])).unwrap();
            assert_eq!(patched.get("phoneNumbers"), Some(&number), "{operation}");
        }
        for nothing in [json!(""), json!(null)] {
            for path in [
                "phoneNumbers[type eq \"work\"].value",
                "phoneNumbers[type eq \"work\"]",
            ] {
                let operation = json!({"op": "Replace", "path": path, "value": nothing});
                assert_eq!(patched(json!([operation])).unwrap(), ann(), "{operation}");
            }
        }
        let both = json!([
            {"op": "Replace", "path": "addresses[type eq \"work\"].locality", "value": "Bern"},
            {"op": "Replace", "path": "addresses[type eq \"work\"].country", "value": "CH"}
        ]);
        assert_eq!(
            patched(both).unwrap().get("addresses"),
            Some(&json!([{"locality": "Bern", "country": "CH", "type": "work"}]))
        );
        let unclear = json!([{"op": "Replace", "path": "phoneNumbers[type eq \"a\" or type eq \"b\"].value", "value": "1"}]);
        assert_eq!(
            patched(unclear).unwrap_err().scim_type(),
            Some(ScimType::NoTarget)
        );
    }

    #[test]
    fn c6_what_is_not_understood_empties_nothing() {
        let emails = "emails: has no sub-attribute \"id\", and nothing else is there; it has value, display, type, primary";
        for op in ["add", "replace", "remove"] {
            refused(
                json!([{"op": op, "path": "emails", "value": [{"id": "x"}]}]),
                ScimType::InvalidValue,
                emails,
            );
        }
        refused(
            json!([{"op": "replace", "path": "emails[type eq \"work\"]", "value": {"id": "x"}}]),
            ScimType::InvalidValue,
            emails,
        );
        for empty in [
            json!([null]),
            json!([{}]),
            json!([""]),
            json!([{"value": null}]),
            json!({"value": ""}),
        ] {
            refused(
                json!([{"op": "replace", "path": "emails", "value": empty}]),
                ScimType::InvalidValue,
                "emails: all elements are empty; send null or [] in place of the list to empty it",
            );
        }
        for path in [
            json!({"op": "replace", "path": "name"}),
            json!({"op": "add", "path": "name"}),
        ] {
            let mut operation = object(path);
            operation.insert("value".to_owned(), json!({"first": "Ann"}));
            let error = patched(json!([operation])).unwrap_err();
            assert!(
                error
                    .detail()
                    .starts_with("name: has no sub-attribute \"first\"")
            );
        }
        refused(
            json!([{"op": "replace", "path": ENTERPRISE, "value": {"dept": "d"}}]),
            ScimType::InvalidValue,
            &format!(
                "{ENTERPRISE}: has no attribute \"dept\", and nothing else is there; see /Schemas for the attributes that it has"
            ),
        );
        for text in ["{\"value\": \"x\"}", " [\"x\"]"] {
            let error = patched(
                json!([{"op": "replace", "path": "emails[type eq \"work\"]", "value": text}]),
            )
            .unwrap_err();
            assert!(
                error
                    .detail()
                    .starts_with("emails: expected an object, got the string")
            );
        }
    }

    #[test]
    fn a_value_in_an_object_of_its_own_name_is_that_value() {
        let x = json!([{"value": "x"}]);
        for (path, wrapped) in [
            ("emails", json!({"emails": x})),
            ("emails", json!({"EMAILS": {"value": "x"}})),
            (
                "emails",
                json!({"urn:ietf:params:scim:schemas:core:2.0:User:emails": x}),
            ),
        ] {
            gives(
                json!([{"op": "replace", "path": path, "value": wrapped}]),
                "emails",
                x.clone(),
            );
        }
        let (bare, dotted) = (json!({"givenName": "X"}), json!({"name.givenName": "X"}));
        for value in [bare, dotted] {
            gives(
                json!([{"op": "replace", "path": "name.givenName", "value": value}]),
                "name.givenName",
                json!("X"),
            );
        }
        gives(
            json!([{"op": "add", "path": "name", "value": {"name": {"givenName": "X"}}}]),
            "name.givenName",
            json!("X"),
        );
        gives(
            json!([{"op": "add", "path": ENTERPRISE, "value": {ENTERPRISE: {"department": "d"}}}]),
            &format!("{ENTERPRISE}:department"),
            json!("d"),
        );
        gives(
            json!([{"op": "remove", "path": "emails", "value": {"emails": [{"value": "a@work"}]}}]),
            "emails",
            json!([{"value": "a@home", "type": "home"}]),
        );
        changes_nothing(json!([{"op": "remove", "path": "emails", "value": {"emails": []}}]));
        gives(
            json!([{"op": "replace", "path": "emails", "value": {"emails": []}}]),
            "emails",
            json!(null),
        );
    }

    #[test]
    fn c6_x15_a_value_that_is_cleared_takes_its_element_with_it() {
        let home = json!([{"value": "a@home", "type": "home"}]);
        for operation in [
            json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": ""}),
            json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": null}),
            json!({"op": "replace", "path": "emails[type eq \"work\"]", "value": {"value": "", "type": "work"}}),
            json!({"op": "replace", "value": {"emails[type eq \"work\"].value": ""}}),
            json!({"op": "replace", "path": "emails", "value": [{"value": "", "type": "work", "primary": true}, {"value": "a@home", "type": "home"}]}),
        ] {
            gives(json!([operation]), "emails", home.clone());
        }
    }

    #[test]
    fn c21_an_attribute_of_an_extension_that_is_not_registered_is_ignored_with_a_path_as_well() {
        let tag = "urn:ietf:params:scim:schemas:extension:CustomExtensionName:2.0:User";
        for operation in [
            json!({"op": "Add", "path": format!("{tag}:tag"), "value": "7"}),
            json!({"op": "Replace", "path": format!("{tag}:tags[type eq \"a\"].value"), "value": "7"}),
            json!({"op": "Remove", "path": format!("{tag}:tag.part")}),
            json!({"op": "Add", "path": tag, "value": {"tag": "7"}}),
            json!({"op": "Add", "value": {format!("{tag}:tag"): "7", tag: {"tag": "7"}}}),
        ] {
            changes_nothing(json!([operation]));
            gives(
                json!([operation, {"op": "replace", "path": "title", "value": "x"}]),
                "title",
                json!("x"),
            );
        }
        let long = format!(
            "urn:ietf:params:scim:schemas:core:2.0:User:{}",
            "shoeSize".repeat(20)
        );
        for core in [
            "shoeSize",
            "x:shoeSize",
            "urn:ietf:params:scim:schemas:core:2.0:Group:members",
            &long,
        ] {
            refused(
                json!([{"op": "add", "path": core, "value": "7"}]),
                ScimType::InvalidPath,
                &format!("path \"{core}\": User has no such attribute"),
            );
        }
    }

    #[test]
    fn a_list_of_one_is_one_value() {
        gives(
            json!([{"op": "Replace", "path": "title", "value": [{"$ref": null, "value": "x"}]}]),
            "title",
            json!("x"),
        );
        gives(
            json!([{"op": "Replace", "value": {"active": ["False"]}}]),
            "active",
            json!(false),
        );
        gives(
            json!([{"op": "Replace", "path": format!("{ENTERPRISE}:manager"), "value": [{"$ref": null, "value": "m"}]}]),
            &format!("{ENTERPRISE}:manager.value"),
            json!("m"),
        );
        gives(
            json!([{"op": "Replace", "path": "emails[type eq \"work\"].value", "value": ["x"]}]),
            "emails",
            json!([{"value": "x", "type": "work", "primary": true}, {"value": "a@home", "type": "home"}]),
        );
        refused(
            json!([{"op": "Replace", "path": "title", "value": [{"value": "x"}, {"value": "y"}]}]),
            ScimType::InvalidValue,
            "title: expected a string, got a list",
        );
    }

    #[test]
    fn x13_x14_replace() {
        gives(
            json!([{"op": "replace", "path": "title", "value": "x"}]),
            "title",
            json!("x"),
        );
        gives(
            json!([{"op": "replace", "path": "name", "value": {"givenName": "X"}}]),
            "name",
            json!({"familyName": "Archer", "givenName": "X"}),
        );
        gives(
            json!([{"op": "replace", "path": "emails", "value": [{"value": "only"}]}]),
            "emails",
            json!([{"value": "only"}]),
        );
        gives(
            json!([{"op": "replace", "path": "emails", "value": []}]),
            "emails",
            json!(null),
        );
        gives(
            json!([{"op": "replace", "path": "name.familyName", "value": ""}]),
            "name",
            json!({"givenName": "Ann"}),
        );
    }

    #[test]
    fn x15_remove() {
        gives(
            json!([{"op": "remove", "path": "name"}]),
            "name",
            json!(null),
        );
        gives(
            json!([{"op": "remove", "path": "name.givenName"}]),
            "name",
            json!({"familyName": "Archer"}),
        );
        gives(
            json!([{"op": "remove", "path": "emails[type eq \"home\"]"}]),
            "emails",
            json!([{"value": "a@work", "type": "work", "primary": true}]),
        );
        gives(
            json!([{"op": "remove", "path": "emails[value pr]"}]),
            "emails",
            json!(null),
        );
        gives(
            json!([{"op": "remove", "path": "emails[type eq \"work\"].primary"}]),
            "emails",
            json!([{"value": "a@work", "type": "work"}, {"value": "a@home", "type": "home"}]),
        );
        changes_nothing(
            json!([{"op": "remove", "path": "title"}, {"op": "remove", "path": "emails[type eq \"fax\"]"}, {"op": "remove", "path": ENTERPRISE}]),
        );
        // Nothing is left of an element but what it was selected by.
        gives(
            json!([{"op": "Remove", "path": "emails[type eq \"work\"].value"}]),
            "emails",
            json!([{"value": "a@home", "type": "home"}]),
        );
        gives(
            json!([{"op": "remove", "path": "emails[value eq \"a@work\"].type"}]),
            "emails",
            json!([{"value": "a@work", "primary": true}, {"value": "a@home", "type": "home"}]),
        );
        refused(
            json!([{"op": "remove", "path": "userName"}]),
            ScimType::Mutability,
            "userName: is required and cannot be removed",
        );
        refused(
            json!([{"op": "remove", "path": "id"}]),
            ScimType::Mutability,
            "id: is readOnly",
        );
        refused(
            json!([{"op": "replace", "path": "userName", "value": null}]),
            ScimType::InvalidValue,
            "userName: is required",
        );
    }

    #[test]
    fn x16_remove_needs_a_path() {
        refused(
            json!([{"op": "remove", "value": {"title": "x"}}]),
            ScimType::NoTarget,
            "a remove operation needs a path",
        );
    }

    #[test]
    fn x17_x18_remove_of_named_values() {
        let home = json!([{"value": "a@home", "type": "home"}]);
        gives(
            json!([{"op": "Remove", "path": "emails", "value": [{"value": "A@WORK"}]}]),
            "emails",
            home.clone(),
        );
        gives(
            json!([{"op": "Remove", "path": "emails", "value": {"value": "a@work", "type": "work"}}]),
            "emails",
            home,
        );
        gives(
            json!([{"op": "remove", "path": "emails", "value": null}]),
            "emails",
            json!(null),
        );
        changes_nothing(json!([{"op": "remove", "path": "emails", "value": []}]));
        changes_nothing(
            json!([{"op": "remove", "path": "emails", "value": [{"value": "a@work", "type": "home"}]}]),
        );
        gives(
            json!([{"op": "remove", "path": "emails[value eq \"a@work\" or value eq \"a@home\"]"}]),
            "emails",
            json!(null),
        );
    }

    #[test]
    fn x19_x20_values_are_coerced_by_the_schema() {
        gives(
            json!([{"op": "Replace", "path": "active", "value": "False"}]),
            "active",
            json!(false),
        );
        gives(
            json!([{"op": "add", "path": "emails[type eq \"home\"].primary", "value": "True"}]),
            "emails",
            json!([{"value": "a@work", "type": "work", "primary": false}, {"value": "a@home", "type": "home", "primary": true}]),
        );
        gives(
            json!([{"op": "add", "path": "roles", "value": {"value": "r"}}]),
            "roles",
            json!([{"value": "r"}]),
        );
        gives(
            json!([{"op": "add", "path": "roles", "value": ["r", "s"]}]),
            "roles",
            json!([{"value": "r"}, {"value": "s"}]),
        );
        refused(
            json!([{"op": "replace", "path": "title", "value": ["a", "b"]}]),
            ScimType::InvalidValue,
            "title: expected a string, got a list",
        );
        refused(
            json!([{"op": "replace", "path": "active", "value": "7"}]),
            ScimType::InvalidValue,
            "active: expected a Boolean, got the string \"7\"",
        );
    }

    #[test]
    fn x21_in_order_and_all_or_nothing() {
        gives(
            json!([{"op": "add", "path": "title", "value": "1"}, {"op": "remove", "path": "title"}, {"op": "add", "path": "title", "value": "2"}]),
            "title",
            json!("2"),
        );
        let before = ann();
        let body = json!({"Operations": [{"op": "add", "path": "title", "value": "1"}, {"op": "remove", "path": "userName"}]});
        assert!(apply(&before, body).is_err());
        assert_eq!(before, ann());
    }

    #[test]
    fn x23_c17_a_new_primary_takes_the_place_of_the_old_one() {
        let primaries = |operations: Value| -> Vec<bool> {
            patched(operations)
                .unwrap()
                .elements("emails")
                .map(|email| email.get("primary") == Some(&json!(true)))
                .collect()
        };
        assert_eq!(
            primaries(
                json!([{"op": "add", "path": "emails", "value": [{"value": "n", "primary": true}]}])
            ),
            [false, false, true]
        );
        assert_eq!(
            primaries(
                json!([{"op": "replace", "path": "emails[type eq \"home\"].primary", "value": true}])
            ),
            [false, true]
        );
        for op in ["add", "replace"] {
            let primary = primaries(
                json!([{"op": op, "path": "emails", "value": [{"value": "n", "primary": true}, {"value": "m", "primary": true}]}]),
            );
            let before = primary.len() - 2;
            assert_eq!(primary[before..], [true, false], "{op}");
        }
        refused(
            json!([{"op": "replace", "path": "emails[value pr].primary", "value": true}]),
            ScimType::InvalidValue,
            "emails.primary: is true for more than one value; one at most can be primary",
        );
    }

    #[test]
    fn c12_u7_a_password_is_checked_and_gone() {
        changes_nothing(json!([{"op": "replace", "value": {"password": "t1meMa$heen"}}]));
        changes_nothing(json!([{"op": "replace", "path": "password", "value": "t1meMa$heen"}]));
        changes_nothing(json!([{"op": "remove", "path": "password"}]));
        refused(
            json!([{"op": "replace", "path": "password", "value": 12345}]),
            ScimType::InvalidValue,
            "password: expected a string",
        );
        let parsed = PatchOp::parse(
            object(
                json!({"Operations": [{"op": "add", "path": "emails[value eq \"ann\"].display", "value": "secret"}]}),
            ),
            ResourceType::user(),
        );
        let shown = format!("{:?}", parsed.unwrap());
        assert!(
            !shown.contains("ann") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn x15_u2_active_can_be_removed_while_nothing_changes_by_it() {
        let remove = [
            json!([{"op": "remove", "path": "active"}]),
            json!([{"op": "replace", "path": "active", "value": null}]),
            json!([{"op": "replace", "value": {"active": ""}}]),
        ];
        let inactive = user(json!({"userName": "ann", "active": false}));
        for operations in remove {
            let active = patched(operations.clone()).unwrap();
            assert_eq!(active.get("active"), None, "{operations}");
            // Once more, and a PUT that does not have it: nothing is there, and nothing comes.
            let again = apply(&active, json!({"Operations": operations})).unwrap();
            assert_eq!(again, active);
            let put = ResourceType::user()
                .read(active.as_object().clone(), Some(&active))
                .unwrap();
            assert_eq!(put, active);
            let off = json!([{"op": "replace", "path": "active", "value": false}]);
            let off = apply(&active, json!({"Operations": off})).unwrap();
            assert_eq!(off.boolean("active"), Some(false));

            let error = apply(&inactive, json!({"Operations": operations})).unwrap_err();
            assert_eq!(
                (error.status(), error.scim_type(), error.detail()),
                (
                    400,
                    Some(ScimType::Mutability),
                    "active: is false; removing it would mean true: replace it instead"
                ),
                "{operations}"
            );
        }
        // What counts is what is left after the last operation.
        let both = json!([{"op": "remove", "path": "active"}, {"op": "add", "path": "active", "value": false}]);
        let kept = apply(&inactive, json!({"Operations": both})).unwrap();
        assert_eq!(kept, inactive);
    }

    #[test]
    fn x25_a_thousand_values_in_one_operation() {
        let roles: Vec<Value> = (0..1_000)
            .map(|n| json!({"value": n.to_string()}))
            .collect();
        let result = patched(json!([{"op": "add", "path": "roles", "value": roles}, {"op": "add", "path": "roles", "value": roles}])).unwrap();
        assert_eq!(result.elements("roles").count(), 1_000);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            prop::sample::select(vec![
                "userName",
                "name",
                "name.givenName",
                "emails",
                "active",
                "title",
                "work",
                "True",
                "add",
                "replace",
                "Remove",
                "id",
                "meta",
                "password",
                "emails[type eq \"work\"]",
                "emails[type eq \"work\"].value",
                "emails[value pr].primary",
                "members",
                "",
                ENTERPRISE,
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
                "urn:ietf:params:scim:schemas:core:2.0:User"
            ])
            .prop_map(str::to_owned),
            ".{0,12}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.clone().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn any_operation() -> impl Strategy<Value = Value> {
        (
            prop::sample::select(vec!["add", "Remove", "replace"]),
            prop::option::of(any_json()),
            prop::option::of(any_json()),
        )
            .prop_map(|(op, path, value)| {
                let mut operation = object(json!({"op": op}));
                operation.extend(path.map(|path| ("path".to_owned(), path)));
                operation.extend(value.map(|value| ("value".to_owned(), value)));
                Value::Object(operation)
            })
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(body in any_json()) {
            if let Value::Object(body) = body {
                let _ = PatchOp::parse(body, ResourceType::user());
            }
        }

        #[test]
        fn what_is_patched_has_passed_the_door(operations in prop::collection::vec(any_operation(), 0..4)) {
            if let Ok(patched) = patched(json!(operations)) {
                let shown = patched.as_object().clone();
                let again = ResourceType::user().read(shown, Some(&patched)).unwrap();
                prop_assert_eq!(&again, &patched);
                prop_assert!(patched.string("userName").is_some_and(|name| !name.is_empty()));
                let repeated = PatchOp { operations: vec![] }.apply(ResourceType::user(), &patched, "2819").unwrap();
                prop_assert_eq!(repeated, patched);
            }
        }

        #[test]
        fn no_path_makes_it_panic(path in ".*") {
            let body = object(json!({"Operations": [{"op": "add", "path": path, "value": "x"}]}));
            let _ = PatchOp::parse(body, ResourceType::user());
        }
    }
}
