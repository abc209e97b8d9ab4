//! PATCH (RFC 7644 §3.5.2).
//!
//! [`PatchOp::parse`] reduces the forms of a message to operations on one attribute each: an object
//! without path becomes one [`Operation`] per attribute, a complex value one per sub-attribute, and
//! an extension one per attribute. All values are in canonical form. [`PatchOp::apply`] applies the
//! operations in order to a copy of the resource and validates the result. If an operation fails,
//! the resource is unchanged (X21).
//!
//! The table of [`PatchOp::apply`] lists the decisions that the RFC leaves open.

mod apply;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::Value;

use crate::filter::Filter;
use crate::schema::AttributePath;

/// The URI of the PATCH message (RFC 7644 §3.5.2).
pub const PATCH_OP_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// Maximum number of operations in one message. One operation may have any number of values (X25).
pub const MAX_OPERATIONS: usize = 1_000;

/// Maximum number of comparisons of elements in one message, in units of
/// [`ComparisonBudget`](crate::ComparisonBudget). It is sufficient for a thousand operations on a
/// list of a thousand elements. Without it, a body of 5 MB could take an hour.
pub const MAX_COMPARISONS: usize = 8_000_000;

/// A PATCH message as operations on one attribute each.
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
    /// The operations in their order.
    pub operations: Vec<Operation>,
}

/// The type of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Sets, merges or appends the value (§3.5.2.1).
    Add,
    /// Removes the value (§3.5.2.2).
    Remove,
    /// Sets the value (§3.5.2.3).
    Replace,
}

impl Op {
    /// Returns the keyword in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Add => "add",
            Op::Remove => "remove",
            Op::Replace => "replace",
        }
    }
}

/// One operation on one attribute.
#[derive(Clone, PartialEq)]
pub struct Operation {
    /// The type of the operation.
    pub op: Op,
    /// The target.
    pub path: Path,
    /// The values in canonical form: the elements of a multi-valued attribute, or one value.
    ///
    /// Without values, a `replace` clears the target (C6) and a `remove` removes the whole target.
    /// A `remove` with values removes only these (X17). An `add` always has values.
    pub values: Vec<Value>,
}

/// The target of an operation, in canonical spelling.
#[derive(Clone, PartialEq)]
pub struct Path {
    /// The URI of the extension, for an attribute of an extension.
    pub extension: Option<String>,
    /// The attribute.
    pub attribute: String,
    /// The filter of the elements of a multi-valued attribute.
    pub filter: Option<Filter>,
    /// The sub-attribute of a complex attribute.
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

/// Shows names without the values of the filter.
impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = self.filter.as_ref().map(|_| "[…]").unwrap_or_default();
        let place = AttributePath {
            extension: self.extension.as_deref(),
            attribute: &self.attribute,
            sub: None,
        };
        let sub = self.sub_attribute.as_deref();
        let dot = if sub.is_some() { "." } else { "" };
        write!(f, "{place}{filter}{dot}{}", sub.unwrap_or_default())
    }
}

/// Shows the target and the number of values without the values.
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
