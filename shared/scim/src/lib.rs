//! SCIM 2.0 as values: what RFC 7643 and RFC 7644 say about resources and
//! messages, without a server around it. Nothing here waits, logs, reads a
//! clock or knows of HTTP, so it goes with any web framework and any store.
//!
//! A client's object is validated in one place, [`ResourceType::read`], and comes
//! out as a [`Resource`]: checked, canonical, without what only the service
//! provider may write. Everything else works on that. Attributes are data
//! ([`ResourceType`], [`Schema`], [`Attribute`]): filters, PATCH, projection and
//! discovery read the same tables and know no attribute of their own.
//!
//! ```
//! use scim::{Filter, PatchOp, ResourceType, ComparisonBudget};
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
//! let budget = ComparisonBudget::new(1_000);
//! assert_eq!(filter.resolve(user)?.matches(patched.as_object(), &budget), Ok(true));
//! # Ok::<(), scim::Error>(())
//! ```
//!
//! An answer is a representation: what is kept, with what the service provider
//! knows, without what the client does not want to see.
//!
//! ```
//! use scim::{ListResponse, Meta, Object, ResourceType, SearchRequest, ComparisonBudget};
//!
//! let user = ResourceType::user();
//! let ann = user.read(scim::json::parse(br#"{"userName": "ann", "title": "Engineer"}"#)?, None)?;
//! let meta = Meta {
//!     resource_type: "User".to_owned(),
//!     created: "2026-01-01T09:00:00Z".parse().unwrap(),
//!     last_modified: "2026-01-01T09:00:00Z".parse().unwrap(),
//!     version: Some(1),
//!     location: "https://example.com/Users/2819c223".to_owned(),
//! };
//! let asked = SearchRequest::from_query(|name| match name {
//!     "attributes" => Some("userName,meta.version"),
//!     "sortBy" => Some("title"),
//!     _ => None,
//! })?;
//! let ann = ann.represent(user, "2819c223", &meta, Object::new());
//! // Whoever has more than one sorts them by these.
//! let _key = asked.sort.as_ref().unwrap().resolve(user)?.key(&ann, &ComparisonBudget::new(1_000)).unwrap();
//! let list = ListResponse::whole(vec![asked.projection(user)?.apply(ann, user)]);
//! let shown = &list.to_object()["Resources"][0];
//! assert_eq!(shown["userName"], "ann");
//! assert_eq!(shown["meta"]["version"], "W/\"1\"");
//! assert!(shown.get("title").is_none());
//! # Ok::<(), scim::Error>(())
//! ```
//!
//! # What it covers
//!
//! | RFC | section | here | the caller's |
//! |---|---|---|---|
//! | 7643 | §2 attributes and their characteristics | [`Attribute`], [`DataType`], [`Mutability`], [`Returned`], [`Uniqueness`] | to enforce uniqueness |
//! | 7643 | §2.3 data types | [`ResourceType::read`] | |
//! | 7643 | §2.4 multi-valued attributes, `primary` | [`ResourceType::read`], [`PatchOp::apply`] | |
//! | 7643 | §2.5 null, empty and missing | [`ResourceType::read`] | |
//! | 7643 | §3, §3.1 resources, common attributes | [`Resource`], [`Meta`], [`common_attributes`] | ids, versions and times |
//! | 7643 | §3.3 schema extensions | [`Schema::parse`], [`ResourceType::extend`] | to keep them |
//! | 7643 | §4.1, §4.3 User and its enterprise extension | [`ResourceType::user`] | `groups`, `manager.displayName`; passwords are checked and dropped |
//! | 7643 | §4.2 Group | [`ResourceType::group`], [`MemberChange`] | whether a member exists |
//! | 7643 | §5 to §7 service provider configuration, resource types, schemas | [`discovery`] | |
//! | 7644 | §2 authentication, §7 security | | all of it |
//! | 7644 | §3.1, §3.8 HTTP, media types | [`json::parse`] for bodies | all else |
//! | 7644 | §3.3 create, §3.5.1 replace | [`ResourceType::read`] | |
//! | 7644 | §3.4.2, §3.4.3 what a list is asked for, by query or body | [`SearchRequest`] | |
//! | 7644 | §3.4.2 lists, §3.4.2.4 pages | [`ListResponse`], [`Paging`] | a stable order |
//! | 7644 | §3.4.2.1 searches over several types | [`Filter::resolve_among`], [`Sort::resolve_among`] | to put the lists together |
//! | 7644 | §3.4.2.2 filters | [`Filter`], [`ResolvedFilter`] | to find without reading all: [`ResolvedFilter::alternatives`] |
//! | 7644 | §3.4.2.3 sorting | [`Sort`], [`SortKey`] | |
//! | 7644 | §3.4.2.5, §3.9 `attributes`, `excludedAttributes` | [`Projection`] | |
//! | 7644 | §3.5.2 PATCH | [`PatchOp`], [`MemberChange`] | to write it as a whole |
//! | 7644 | §3.7 bulk messages, their order, their answer | [`bulk`] | to perform them |
//! | 7644 | §3.6 delete, §3.11 /Me, §3.13 versions of the protocol | | all of it |
//! | 7644 | §3.10 names with URIs | [`ResourceType::read`], [`Filter`], [`PatchOp`], [`Projection`] | |
//! | 7644 | §3.12 errors | [`Error`], [`ScimType`] | 401, 404, 412 and other statuses of HTTP |
//! | 7644 | §3.14 versions | [`Meta::etag`] | `If-Match`, `If-None-Match` |
//! | 7644 | §4 discovery | [`discovery`] | the endpoints |
//! | 7644 | §5 comparison of user names (RFC 8265) | [`Attribute::prepare`], [`fold`](fold()) | |
//! | 9865 | pages by cursor, errors, configuration | [`Paging`], [`ListResponse`], [`ScimType`], [`discovery::Pagination`] | to make cursors |
//!
//! What identity providers send that the RFCs do not have is in one module,
//! `quirks`, and understood unless a resource type is read as
//! [`Profile::Strict`]; what the RFCs leave open is decided in the tables of
//! [`ResourceType::read`] and [`PatchOp::apply`].
//!
//! # What it never does
//!
//! It does not panic, whatever a client sends, and it does not recurse deeper
//! than [`json::MAX_DEPTH`] and [`MAX_FILTER_DEPTH`]. What takes long is bounded
//! ([`MAX_FILTER_TERMS`], [`MAX_OPERATIONS`], [`MAX_COMPARISONS`]) or counted
//! against a budget of the caller's ([`ComparisonBudget`]), the rest is done in time that
//! grows with the size of the message. `Debug` shows names of attributes
//! and no values, and an [`Error`] quotes nothing that is never returned.

mod budget;
mod columns;
mod definition;
mod discovery_schemas;
mod elements;
mod error;
mod filter;
mod fold;
mod group;
mod list;
mod members;
mod patch;
mod path;
mod projection;
mod quirks;
mod resource;
mod schema;
mod search;
mod sort;
mod strict;
mod unfold;
mod user;
mod validate;
mod value;

pub mod bulk;
pub mod discovery;
pub mod json;

pub use budget::{BudgetExhausted, ComparisonBudget};
pub use definition::MAX_EXTENSION_ATTRIBUTES;
pub use discovery_schemas::{discovery_schemas, plain_discovery_schemas};
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
    Attribute, Client, DataType, Extension, Mutability, Profile, ResourceType, Returned, Schema,
    Uniqueness, common_attributes,
};
pub use search::{SEARCH_REQUEST_SCHEMA, SearchRequest};
pub use sort::{ResolvedSort, Sort, SortKey};
pub use user::{ENTERPRISE_USER_SCHEMA, USER_SCHEMA};

/// A JSON object, with its members in order.
pub type Object = serde_json::Map<String, serde_json::Value>;
