//! SCIM 2.0 as values: what RFC 7643 and RFC 7644 say about resources and
//! messages, without a server around it. Nothing here waits, logs, reads a
//! clock or knows of HTTP.
//!
//! A client's object goes through one door, [`ResourceType::read`], and comes
//! out as a [`Resource`]: checked, canonical, without what only the service
//! provider may write. Everything else works on that.
//!
//! ```
//! use scim::{Filter, PatchOp, ResourceType};
//!
//! let user = ResourceType::user();
//! let body = scim::json::parse(br#"{"userName": "ann@example.com", "active": "True"}"#)?;
//! let ann = user.read(body, None)?;
//!
//! let body = br#"{"Operations": [{"op": "Add", "path": "emails[type eq \"work\"].value", "value": "ann@example.com"}]}"#;
//! let patch = PatchOp::parse(scim::json::parse(body)?, user)?;
//! let patched = patch.apply(user, &ann, "2819c223")?;
//! assert_eq!(patched.primary("emails").unwrap()["type"], "work");
//! assert_eq!(ann.changed(&patched)[0].path, "emails");
//!
//! let filter = Filter::parse(r#"emails[type eq "work"] and active eq true"#)?;
//! assert!(filter.resolve(user)?.matches(patched.as_object()));
//! # Ok::<(), scim::Error>(())
//! ```
//!
//! | RFC | section | where |
//! |---|---|---|
//! | 7643 | §2 attributes and their characteristics | [`Attribute`], [`Kind`], [`Mutability`], [`Returned`], [`Uniqueness`] |
//! | 7643 | §2.3 data types | [`ResourceType::read`] |
//! | 7643 | §3, §3.1 resources, common attributes | [`Resource`], [`Meta`], [`common_attributes`] |
//! | 7643 | §4.1, §4.3 User and its enterprise extension | [`ResourceType::user`] |
//! | 7643 | §4.2 Group | [`ResourceType::group`] |
//! | 7643 | §5 to §7 service provider configuration, resource types, schemas | [`discovery`] |
//! | 7644 | §3.4.2, §3.4.3 what a list is asked for | [`SearchRequest`] |
//! | 7644 | §3.4.2, §3.4.2.4 lists and pages | [`ListResponse`], [`Paging`] |
//! | 7644 | §3.4.2.3 sorting | [`Sort`] |
//! | 9865 | pages by cursor; whoever stores resources makes the cursors | [`Paging`], [`ListResponse`] |
//! | 7644 | §3.4.2.2 filters | [`Filter`], [`ResolvedFilter`] |
//! | 7644 | §3.4.2.5, §3.9 `attributes`, `excludedAttributes` | [`Projection`] |
//! | 7644 | §3.5.1 PUT | [`ResourceType::read`] |
//! | 7644 | §3.5.2 PATCH | [`PatchOp`], [`MemberChange`] |
//! | 7644 | §3.7 bulk messages, their order, their answer | [`bulk`] |
//! | 7644 | §3.12 errors | [`Error`], [`ScimType`] |
//! | 7644 | §3.14 versions | [`Meta::etag`] |
//! | 7644 | §5 comparison of user names (RFC 8265) | [`fold`](fold()) |
//!
//! What identity providers send that the RFCs do not have is in one module,
//! `quirks`; what the RFCs leave open is decided in the tables of
//! [`ResourceType::read`] and [`PatchOp::apply`].

mod definition;
mod door;
mod error;
mod filter;
mod fold;
mod group;
#[cfg(test)]
mod hostile;
mod list;
mod members;
mod patch;
mod projection;
mod quirks;
mod resource;
mod schema;
mod search;
mod sort;
mod strict;
mod user;
mod value;

pub mod bulk;
pub mod discovery;
pub mod json;

pub use definition::MAX_EXTENSION_ATTRIBUTES;
pub use error::{ERROR_SCHEMA, Error, ScimType};
pub use filter::{
    Elements, Expression, Filter, Literal, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_TERMS,
    Operator, ResolvedFilter,
};
pub use fold::fold;
pub use group::GROUP_SCHEMA;
pub use list::{DEFAULT_COUNT, LIST_RESPONSE_SCHEMA, ListResponse, MAX_COUNT, Page, Paging};
pub use members::MemberChange;
pub use patch::{MAX_COMPARISONS, MAX_OPERATIONS, Op, Operation, PATCH_OP_SCHEMA, PatchOp, Path};
pub use projection::Projection;
pub use resource::{ChangedAttribute, Meta, Resource};
pub use schema::{
    Attribute, Extension, Kind, Mutability, Profile, ResourceType, Returned, Schema, Uniqueness,
    common_attributes,
};
pub use search::{SEARCH_REQUEST_SCHEMA, SearchRequest};
pub use sort::{ResolvedSort, Sort, SortKey};
pub use user::{ENTERPRISE_USER_SCHEMA, USER_SCHEMA};

/// A JSON object, with its members in order.
pub type Object = serde_json::Map<String, serde_json::Value>;
