//! What a directory is and how it is kept: operations, items, keys, events.
//!
//! This crate owns the DynamoDB table; no other code builds a key or an item.
//! Every operation on resources takes a [`Caller`], which only the gateway's
//! authentication makes, and reaches that caller's directory alone.
//! It knows nothing of HTTP, and it reads no clock: the time is an argument.

mod batch;
mod change;
mod cursor;
mod directory;
mod error;
mod event;
mod group;
mod group_query;
mod id;
mod item;
mod key;
mod kind;
mod known;
mod members;
mod memberships;
mod query;
mod resources;
mod search;
mod steps;
mod store;
mod user;

pub use cursor::CURSOR_TIMEOUT;
pub use directory::{
    Caller, CustomSchema, Directory, Extends, MAX_CUSTOM_SCHEMAS, MAX_CUSTOM_SCHEMAS_BYTES,
    NewDirectory, Provider, Settings, Status, Types,
};
pub use error::Error;
pub use event::{Announcement, DetailType, EventItem, MEMBERS_AT_ONCE, MemberEvent, SOURCE};
pub use group::Group;
pub use id::{DirectoryId, Ids, InvalidId, ResourceId};
pub use kind::MAX_POINTERS;
pub use members::{Member, Members};
pub use memberships::Memberships;
pub use query::{Found, Query};
pub use resources::MAX_DOCUMENT_BYTES;
pub use search::{AnyResource, Queries};
pub use store::{Precondition, Store, Stored};
