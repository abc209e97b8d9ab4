//! Directory events: what each one says, and the item it is kept as until it is published.

use jiff::{Timestamp, ToSpan};
use scim::{Object, Resource, ResourceType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::directory::Caller;
use crate::error::Error;
use crate::id::{DirectoryId, EventId};
use crate::item::{self, Item};
use crate::key::Key;
use crate::kind::Kind;
use crate::store::Stored;

/// The `source` of every event on the bus.
pub const SOURCE: &str = "rollcall";

/// How long an event item stays in the table, from which it can be sent again.
const KEPT_DAYS: i64 = 30;

/// The largest `detail` that is kept, in bytes. EventBridge takes entries of
/// 256 KB ("Amazon EventBridge quotas"), which count a few names as well.
const MAX_DETAIL_BYTES: usize = 250 * 1024;

/// What happened: the `detail-type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DetailType {
    /// A user was created.
    #[serde(rename = "user.created")]
    UserCreated,
    /// Attributes of a user changed, `active` among them.
    #[serde(rename = "user.updated")]
    UserUpdated,
    /// A user was deleted.
    #[serde(rename = "user.deleted")]
    UserDeleted,
}

impl DetailType {
    /// The text on the bus.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UserCreated => "user.created",
            Self::UserUpdated => "user.updated",
            Self::UserDeleted => "user.deleted",
        }
    }
}

/// An event that a change is about to write.
pub(crate) struct Event {
    directory: DirectoryId,
    id: EventId,
    time: Timestamp,
    detail_type: DetailType,
    detail: String,
}

impl Event {
    /// The event of a resource that was created.
    pub(crate) fn created(
        caller: &Caller,
        kind: &Kind,
        new: &Stored,
        now: Timestamp,
    ) -> Result<Self, Error> {
        Self::new(caller, kind, kind.created, new, new.version, None, now)
    }

    /// The event of a resource of which something changed.
    pub(crate) fn updated(
        caller: &Caller,
        kind: &Kind,
        before: &Resource,
        new: &Stored,
        now: Timestamp,
    ) -> Result<Self, Error> {
        Self::new(
            caller,
            kind,
            kind.updated,
            new,
            new.version,
            Some(before),
            now,
        )
    }

    /// The event of a resource that was deleted. It is the version after the last one that existed.
    pub(crate) fn deleted(
        caller: &Caller,
        kind: &Kind,
        old: &Stored,
        now: Timestamp,
    ) -> Result<Self, Error> {
        Self::new(caller, kind, kind.deleted, old, old.version + 1, None, now)
    }

    fn new(
        caller: &Caller,
        kind: &Kind,
        detail_type: DetailType,
        stored: &Stored,
        version: u64,
        before: Option<&Resource>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let ty = (kind.ty)();
        let directory = caller.directory();
        let id = EventId::at(now);
        let mut resource = Object::new();
        resource.insert("type".to_owned(), json!(ty.name));
        resource.insert("id".to_owned(), json!(stored.id));
        if let Some(external_id) = stored.resource.string("externalId") {
            resource.insert("externalId".to_owned(), json!(external_id));
        }
        let mut detail = Object::new();
        detail.insert("id".to_owned(), json!(id));
        detail.insert("time".to_owned(), json!(format!("{now:.3}")));
        detail.insert("directory_id".to_owned(), json!(directory.id));
        detail.insert("tenant".to_owned(), json!(directory.tenant));
        detail.insert("product".to_owned(), json!(directory.product));
        detail.insert("version".to_owned(), json!(version));
        detail.insert("resource".to_owned(), Value::Object(resource));
        if let Some(before) = before {
            let changed = before.changed(&stored.resource);
            detail.insert(
                "changed".to_owned(),
                changed.iter().map(|c| c.path.as_str()).collect(),
            );
            detail.insert(
                "data".to_owned(),
                Value::Object(flatten(caller, ty, stored)),
            );
            let previous: Object = changed
                .into_iter()
                .map(|c| (c.path, c.before.unwrap_or(Value::Null)))
                .collect();
            detail.insert("previous".to_owned(), Value::Object(previous));
        } else {
            detail.insert(
                "data".to_owned(),
                Value::Object(flatten(caller, ty, stored)),
            );
        }
        let detail = Value::Object(detail).to_string();
        if detail.len() > MAX_DETAIL_BYTES {
            return Err(Error::TooLarge(format!(
                "The event of this change would take {} bytes; at most {MAX_DETAIL_BYTES} can be announced.",
                detail.len()
            )));
        }
        Ok(Self {
            directory: directory.id,
            id,
            time: now,
            detail_type,
            detail,
        })
    }

    /// The item that the event is kept as.
    pub(crate) fn into_item(self) -> (Key, Item) {
        let expires = self
            .time
            .checked_add((KEPT_DAYS * 24).hours())
            .unwrap_or(Timestamp::MAX);
        (
            Key::event(self.directory, self.id),
            Item::from([
                (
                    item::DETAIL_TYPE.to_owned(),
                    item::string(self.detail_type.as_str()),
                ),
                (item::DETAIL.to_owned(), item::string(self.detail)),
                (item::EXPIRES.to_owned(), item::number(expires.as_second())),
            ]),
        )
    }
}

/// A user for people who do not know SCIM, with the SCIM resource as `raw`.
fn flatten(caller: &Caller, ty: &ResourceType, user: &Stored) -> Object {
    let resource = &user.resource;
    let mut data = Object::new();
    data.insert("id".to_owned(), json!(user.id));
    let email = resource
        .primary("emails")
        .and_then(|email| email.get("value"))
        .and_then(Value::as_str);
    let texts = [
        ("user_name", resource.string("userName")),
        ("external_id", resource.string("externalId")),
        ("email", email),
        ("first_name", resource.string("name.givenName")),
        ("last_name", resource.string("name.familyName")),
        ("display_name", resource.string("displayName")),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            data.insert(name.to_owned(), json!(text));
        }
    }
    data.insert(
        "active".to_owned(),
        json!(resource.boolean("active").unwrap_or(true)),
    );
    data.insert(
        "raw".to_owned(),
        Value::Object(user.represent(caller, ty, Object::new())),
    );
    data
}

/// An event item as the table's stream shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EventItem {
    /// What happened.
    #[serde(rename = "detailType")]
    pub detail_type: DetailType,
    /// The event's `detail`, as JSON text.
    pub detail: String,
}

impl EventItem {
    /// When the change was made.
    ///
    /// # Errors
    ///
    /// When the detail is not one that this crate wrote.
    pub fn time(&self) -> Result<Timestamp, serde_json::Error> {
        #[derive(Deserialize)]
        struct Detail {
            time: Timestamp,
        }
        serde_json::from_str::<Detail>(&self.detail).map(|detail| detail.time)
    }
}
