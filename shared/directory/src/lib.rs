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
mod kind;
mod query;
mod resources;
mod store;
mod user;

pub use directory::{Caller, Directory, Provider, Status};
pub use error::Error;
pub use event::{DetailType, EventItem, SOURCE};
pub use id::{DirectoryId, InvalidId, ResourceId};
pub use kind::MAX_POINTERS;
pub use query::{Found, Query};
pub use resources::MAX_DOCUMENT_BYTES;
pub use store::{Precondition, Store, Stored};
