//! SCIM 2.0 (RFC 7643, RFC 7644) as values.

mod door;
mod error;
mod filter;
mod fold;
mod group;
mod list;
mod patch;
mod projection;
mod quirks;
mod resource;
mod schema;
mod user;
mod value;

pub mod discovery;
pub mod json;

pub use error::{ERROR_SCHEMA, Error, ScimType};
pub use filter::{
    Expression, Filter, Literal, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_TERMS, Operator,
    ResolvedFilter,
};
pub use fold::fold;
pub use group::GROUP_SCHEMA;
pub use list::{DEFAULT_COUNT, LIST_RESPONSE_SCHEMA, ListResponse, MAX_COUNT, Page};
pub use patch::{MAX_OPERATIONS, Op, Operation, PATCH_OP_SCHEMA, PatchOp, Path};
pub use projection::Projection;
pub use resource::{ChangedAttribute, Meta, Resource};
pub use schema::{
    Attribute, Extension, Kind, Mutability, ResourceType, Returned, Schema, Uniqueness,
    common_attributes,
};
pub use user::{ENTERPRISE_USER_SCHEMA, USER_SCHEMA};

/// A JSON object, with its members in order.
pub type Object = serde_json::Map<String, serde_json::Value>;
