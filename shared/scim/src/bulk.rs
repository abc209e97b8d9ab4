//! Bulk operations (RFC 7644 §3.7).
//!
//! [`BulkRequest::parse`] reads the message. [`BulkRequest::plan`] orders its operations so that a
//! resource is created before an operation refers to it by `bulkId`. [`BulkOperation::resolve`]
//! replaces these references by ids. [`BulkResponse`] is the response. The caller performs the
//! operations.
//!
//! A `bulkId` names the resource that an operation of the message creates. A reference is `bulkId:`
//! and the name, either as a whole string in `data` or as the id in a `path`.

mod plan;
mod request;
mod response;

pub use plan::{Plan, PlanStep};
pub use request::{
    BULK_REQUEST_SCHEMA, BulkOperation, BulkRequest, Id, MAX_BULK_BYTES, MAX_BULK_OPERATIONS,
    Target,
};
pub use response::{BULK_RESPONSE_SCHEMA, BulkOutcome, BulkResponse};
