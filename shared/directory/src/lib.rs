//! What a directory is and how it is kept: operations, items, keys, events.
//!
//! This crate owns the DynamoDB table. Every operation on resources takes a
//! [`Caller`], which the gateway makes after it has checked a token or the scope
//! of an administrator, and which recovery makes for a request that was
//! interrupted; it reaches the directory of that caller alone. Operations on
//! directories themselves are for the admin API, and for the sweeper, which
//! deletes what was in a directory that is being deleted.
//! It knows nothing of HTTP, and it reads no clock: the time is an argument.
//!
//! | module | holds |
//! |---|---|
//! | `model` | directories and their settings, callers, ids, errors, kinds of resources, types of events; no DynamoDB |
//! | `table` | the DynamoDB table: keys, items, transactions, batches, ranges |
//! | `event` | what events say, their items, the event log, what waits to be published |
//! | `resource` | create, replace, patch and delete a resource; users; recovery of what was interrupted |
//! | `connection` | directories as such, their deletion, the use of their tokens |
//! | `group` | groups: their members, writes in one transaction and in several, the groups of a user |
//! | `query` | lists and searches, for provisioning clients and for the admin API |
//!
//! A module uses those above it in this table and none below it. `.ci/directions` holds that.

mod connection;
mod event;
mod group;
mod model;
mod query;
mod resource;
mod table;

pub use connection::deletion::{DRAIN_PERIOD, SweepOutcome};
pub use connection::{Creation, Directories, DirectoryPosition, REPEATABLE, Repeatable, Scope};
pub use event::backlog::{Attempt, Backlog, Published, Span, Waiting};
pub use event::log::{EventPage, EventPlace, EventsAsked, HELD_BACK};
pub use event::parked::{Parked, ParkedList};
pub use event::{EventItem, MAX_EVENT_BYTES, MEMBERS_AT_ONCE, MemberEvent, OutboundEvent, SOURCE};
pub use group::Group;
pub use group::memberships::{Memberships, too_many_groups};
pub use model::caller::Caller;
pub use model::cursor::CURSOR_TIMEOUT;
pub use model::directory::{
    Directory, DirectoryChange, MAX_NAME_CHARS, NewDirectory, Provider, Status, wrong_name,
};
pub use model::error::{Error, Invalid, Unreadable};
pub use model::event_type::DetailType;
pub use model::id::{DirectoryId, EventId, Ids, InvalidId, ResourceId};
pub use model::kept_as_text::KeptAsText;
pub use model::member::{Member, Members};
pub use model::settings::{
    CustomSchema, Discovery, Extends, FromObject, MAX_CUSTOM_SCHEMAS, MAX_CUSTOM_SCHEMAS_BYTES,
    Settings, SettingsChange, Types, read_known,
};
pub use model::stored::{Precondition, Stored};
pub use model::webhook::{EgressPolicy, MAX_WEBHOOK_URL_BYTES, Webhook, WebhookUrl};
pub use query::admin::{Listed, MemberData, Part, Wanted};
pub use query::search::{AnyResource, Queries};
pub use query::{Found, Query};
pub use resource::MAX_DOCUMENT_BYTES;
pub use resource::recovery::{Attended, Circle, Unfinished};
pub use table::item::FORMAT_VERSION;
pub use table::store::Store;
pub use table::transaction::ACTIONS;
