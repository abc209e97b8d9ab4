//! Bulk: many operations in one message (RFC 7644 §3.7).
//!
//! [`BulkRequest::parse`] reads the message, [`BulkRequest::plan`] says in which
//! order its operations are performed so that what one of them names by a
//! `bulkId` is there before it, [`BulkOperation::resolve`] puts ids in the place
//! of those names, and [`BulkResponse`] is the answer. Nothing here performs an
//! operation.
//!
//! A `bulkId` is the name of a resource that an operation of the same message
//! creates. It stands as `bulkId:` and the name, as the whole of a string in
//! `data`, or as the id in a `path`.

mod plan;
mod request;
mod response;

pub use plan::{Plan, PlanStep};
pub use request::{
    BULK_REQUEST_SCHEMA, BulkOperation, BulkRequest, Id, MAX_BULK_BYTES, MAX_BULK_OPERATIONS,
    Target,
};
pub use response::{BULK_RESPONSE_SCHEMA, BulkOutcome, BulkResponse};
