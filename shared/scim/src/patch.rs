//! PATCH: a message becomes operations, operations become a new resource
//! (RFC 7644 §3.5.2).
//!
//! [`PatchOp::parse`] reduces every form a client may send to few: an object
//! without path becomes one [`Operation`] per attribute, a complex value one
//! per sub-attribute, an extension one per attribute of it, and all values are
//! canonical. [`PatchOp::apply`] edits a copy of the document, operation by
//! operation, and validates the result; if any of it fails,
//! nothing has happened (X21).
//!
//! What the RFC leaves open is decided in the table of [`PatchOp::apply`].

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

/// How many operations one message may hold. One operation may carry any
/// number of values (X25).
pub const MAX_OPERATIONS: usize = 1_000;

/// How many comparisons of elements of lists the operations of one message may
/// make in all, in units of [`ComparisonBudget`](crate::ComparisonBudget). A thousand operations on a list of a
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
