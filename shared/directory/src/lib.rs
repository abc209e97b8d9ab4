//! What a directory is and how it is kept: operations, items, keys, events.
//!
//! This crate owns the DynamoDB table; no other code builds a key or an item.
//! Every operation on resources takes a [`Caller`], which only the gateway's
//! authentication makes, and reaches that caller's directory alone.
//! It knows nothing of HTTP, and it reads no clock: the time is an argument.

mod change;
mod directory;
mod error;
mod event;
mod id;
mod item;
mod key;
mod query;
mod store;
mod user;

pub use directory::{Caller, Directory, Provider, Status};
pub use error::Error;
pub use event::{DetailType, EventItem, SOURCE};
pub use id::{DirectoryId, InvalidId, ResourceId};
pub use query::{Found, Query};
pub use store::{Precondition, Store, Stored};
pub use user::{MAX_DOCUMENT_BYTES, MAX_EMAILS};
