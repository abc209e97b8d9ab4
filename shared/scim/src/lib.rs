//! SCIM 2.0 (RFC 7643, RFC 7644) without a server: schemas, resources and messages as values. The
//! crate does no IO, reads no clock, writes no log and does not depend on HTTP, so it works with
//! any web framework and any store.
//!
//! [`ResourceType::read`] validates an object from a client and returns a [`Resource`]: checked, in
//! canonical form, without readOnly attributes. All other functions work on that type. Attributes
//! are data ([`ResourceType`], [`Schema`], [`Attribute`]): filters, PATCH, projection and discovery
//! read the same tables and contain no attribute names of their own.
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
//! A response contains a representation: the stored attributes and those of the service provider,
//! without the attributes that the client excluded.
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
//! // Several resources are sorted by these keys.
//! let _key = asked.sort.as_ref().unwrap().resolve(user)?.key(&ann, &ComparisonBudget::new(1_000)).unwrap();
//! let list = ListResponse::whole(vec![asked.projection(user)?.apply(ann, user)]);
//! let shown = &list.to_object()["Resources"][0];
//! assert_eq!(shown["userName"], "ann");
//! assert_eq!(shown["meta"]["version"], "W/\"1\"");
//! assert!(shown.get("title").is_none());
//! # Ok::<(), scim::Error>(())
//! ```
//!
//! # Coverage
//!
//! | RFC | section | in this crate | left to the caller |
//! |---|---|---|---|
//! | 7643 | §2 attributes and their characteristics | [`Attribute`], [`DataType`], [`Mutability`], [`Returned`], [`Uniqueness`] | to enforce uniqueness |
//! | 7643 | §2.3 data types | [`ResourceType::read`] | |
//! | 7643 | §2.4 multi-valued attributes, `primary` | [`ResourceType::read`], [`PatchOp::apply`] | |
//! | 7643 | §2.5 null, empty and missing | [`ResourceType::read`] | |
//! | 7643 | §3, §3.1 resources, common attributes | [`Resource`], [`Meta`], [`common_attributes`] | ids, versions and times |
//! | 7643 | §3.3 schema extensions | [`Schema::parse`], [`ResourceType::extend`] | to store them |
//! | 7643 | §4.1, §4.3 User and its enterprise extension | [`ResourceType::user`] | `groups`, `manager.displayName`; passwords are validated and not stored |
//! | 7643 | §4.2 Group | [`ResourceType::group`], [`MemberChange`] | whether a member exists |
//! | 7643 | §5 to §7 service provider configuration, resource types, schemas | [`discovery`] | |
//! | 7644 | §2 authentication, §7 security | | everything |
//! | 7644 | §3.1, §3.8 HTTP, media types | [`json::parse`] for bodies | everything else |
//! | 7644 | §3.3 create, §3.5.1 replace | [`ResourceType::read`] | |
//! | 7644 | §3.4.2, §3.4.3 parameters of a list, in query or body | [`SearchRequest`] | |
//! | 7644 | §3.4.2 lists, §3.4.2.4 pages | [`ListResponse`], [`Paging`] | a stable order |
//! | 7644 | §3.4.2.1 searches over several types | [`Filter::resolve_among`], [`Sort::resolve_among`] | to merge the lists |
//! | 7644 | §3.4.2.2 filters | [`Filter`], [`ResolvedFilter`] | to use an index: [`ResolvedFilter::alternatives`] |
//! | 7644 | §3.4.2.3 sorting | [`Sort`], [`SortKey`] | |
//! | 7644 | §3.4.2.5, §3.9 `attributes`, `excludedAttributes` | [`Projection`] | |
//! | 7644 | §3.5.2 PATCH | [`PatchOp`], [`MemberChange`] | to write the result atomically |
//! | 7644 | §3.7 bulk messages, execution order, response | [`bulk`] | to perform them |
//! | 7644 | §3.6 delete, §3.11 /Me, §3.13 versions of the protocol | | everything |
//! | 7644 | §3.10 names with URIs | [`ResourceType::read`], [`Filter`], [`PatchOp`], [`Projection`] | |
//! | 7644 | §3.12 errors | [`Error`], [`ScimType`] | 401, 404, 412 and other HTTP statuses |
//! | 7644 | §3.14 versions | [`Meta::etag`] | `If-Match`, `If-None-Match` |
//! | 7644 | §4 discovery | [`discovery`] | the endpoints |
//! | 7644 | §5 comparison of user names (RFC 8265) | [`Attribute::prepare`], [`fold`](fold()) | |
//! | 9865 | cursor-based pagination, errors, configuration | [`Paging`], [`ListResponse`], [`ScimType`], [`discovery::Pagination`] | to create cursors |
//!
//! The module `quirks` accepts messages of identity providers that deviate from the RFCs, unless
//! the resource type has [`Profile::Strict`]. The tables of [`ResourceType::read`] and
//! [`PatchOp::apply`] list decisions that the RFCs leave open. The codes, such as C12, are rows of
//! `docs/scim-decisions.md`.
//!
//! # Guarantees
//!
//! No input causes a panic, and recursion is limited by [`json::MAX_DEPTH`] and
//! [`MAX_FILTER_DEPTH`]. Expensive work is limited ([`MAX_FILTER_TERMS`], [`MAX_OPERATIONS`],
//! [`MAX_COMPARISONS`]) or counted against a budget of the caller ([`ComparisonBudget`]);
//! everything else takes time proportional to the size of the message. `Debug` output contains
//! names of attributes and no values, and an [`Error`] quotes no value of an attribute that is
//! never returned.

mod budget;
mod columns;
mod discovery_schemas;
mod elements;
mod error;
mod filter;
mod fold;
mod group;
mod list;
mod members;
mod normalize;
mod patch;
mod path;
mod projection;
mod quirks;
mod resource;
mod schema;
mod schema_definition;
mod search;
mod sort;
mod strict;
mod user;
mod validate;
mod value;

pub mod bulk;
pub mod discovery;
pub mod json;

pub use budget::{BudgetExhausted, ComparisonBudget};
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
pub use schema_definition::MAX_EXTENSION_ATTRIBUTES;
pub use search::{ResolvedSearch, SEARCH_REQUEST_SCHEMA, SearchRequest};
pub use sort::{ResolvedSort, Sort, SortKey};
pub use user::{ENTERPRISE_USER_SCHEMA, USER_SCHEMA};

/// A JSON object that keeps the order of its members.
pub type Object = serde_json::Map<String, serde_json::Value>;
