//! What a directory is and how it is kept: operations, items, keys, events.
//!
//! This crate owns the DynamoDB table; no other code builds a key or an item.
//! Every operation on resources takes a [`Caller`], which only the gateway's
//! authentication makes, and reaches that caller's directory alone. Operations on
//! directories themselves are for the admin API, and for the sweeper, which
//! deletes what was in a directory that goes.
//! It knows nothing of HTTP, and it reads no clock: the time is an argument.

mod backlog;
mod batch;
mod change;
mod cursor;
mod deletion;
mod directories;
mod directory;
mod effort;
mod error;
mod event;
mod event_log;
mod group;
mod group_query;
mod id;
mod item;
mod key;
mod kind;
mod known;
mod members;
mod memberships;
mod parked;
mod query;
mod reading;
mod resources;
mod search;
mod steps;
mod store;
mod unfinished;
mod used;
mod user;
mod webhook;
mod work;

pub use backlog::{Attempt, Backlog, Published, Span, Waiting};
pub use cursor::CURSOR_TIMEOUT;
pub use deletion::{QUIET, Swept};
pub use directories::{Creation, Directories, Place, REPEATABLE, Repeatable, Scope};
pub use directory::{
    Caller, CustomSchema, Directory, DirectoryChange, Discovery, Extends, MAX_CUSTOM_SCHEMAS,
    MAX_CUSTOM_SCHEMAS_BYTES, MAX_NAME_CHARS, NewDirectory, Provider, Settings, SettingsChange,
    Status, Types, wrong_name,
};
pub use error::{Error, Invalid};
pub use event::{
    Announcement, DetailType, EventItem, MAX_EVENT_BYTES, MEMBERS_AT_ONCE, MemberEvent, SOURCE,
};
pub use event_log::{EventPage, EventPlace, EventsAsked, HELD_BACK};
pub use group::{ACTIONS, Group};
pub use id::{DirectoryId, EventId, Ids, InvalidId, ResourceId};
pub use item::Unreadable;
pub use kind::MAX_POINTERS;
pub use members::{Member, Members};
pub use memberships::{Memberships, too_many_groups};
pub use parked::{Parked, ParkedList};
pub use query::{Found, Query};
pub use reading::{Listed, MemberData, Part, Wanted};
pub use resources::MAX_DOCUMENT_BYTES;
pub use search::{AnyResource, Queries};
pub use store::{Precondition, Store, Stored};
pub use unfinished::{Attended, Circle, Unfinished};
pub use webhook::{MAX_WEBHOOK_URL_BYTES, Reach, Webhook, WebhookUrl};
