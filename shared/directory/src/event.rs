//! Directory events: what each one says, and the item it is kept as until it is published.
//!
//! A request writes one event item for a resource. One that changes members
//! holds their ids; each becomes an event of its own when the item is published.

pub(crate) mod backlog;
pub(crate) mod log;
pub(crate) mod parked;

use std::collections::HashMap;

use jiff::{Timestamp, ToSpan};
use scim::{ChangedAttribute, Object, ResourceType};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::caller::Caller;
use crate::model::directory::Directory;
use crate::model::error::Error;
use crate::model::event_type::DetailType;
use crate::model::id::{DirectoryId, EventId, ResourceId};
use crate::model::member::MembershipDelta;
use crate::model::resource_kind::{GROUP, ResourceKind, USER};
use crate::model::settings::Types;
use crate::model::stored::Stored;
use crate::model::time::to_the_millisecond;
use crate::table::item::{self, Item};
use crate::table::key::Key;
use crate::table::store::Store;
use crate::table::transaction::Change;

/// The `source` of every event on the bus.
pub const SOURCE: &str = "rollcall";

/// How long an event item stays in the table, from which it can be sent again.
const KEPT_DAYS: i64 = 30;

/// The largest event that is announced, in bytes as EventBridge counts an entry
/// ("Calculating Amazon EventBridge PutEvents event entry size"), and as many as
/// one call takes. What is larger is shortened ([`OutboundEvent`]).
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// What EventBridge counts for the time of an entry, in bytes.
const TIME_BYTES: usize = 14;

/// The largest `detail` that is kept, in bytes: with the members that it may
/// name it stays below the 400 KB of an item.
const MAX_DETAIL_BYTES: usize = 250 * 1024;

/// How many members one event item names: with the event of the group it stays
/// below the 400 KB of an item, and the stream hands it on in one piece.
pub(crate) const MEMBERS_OF_AN_ITEM: usize = 5_000;

/// An event that a change is about to write.
pub(crate) struct Event {
    directory: DirectoryId,
    id: EventId,
    time: Timestamp,
    /// `None`: nothing is said of the resource itself, only of members.
    detail_type: Option<DetailType>,
    detail: String,
    /// What is needed to announce members, by item attribute.
    members: Item,
}

impl Event {
    /// Announces a change by an item in its transaction.
    pub(crate) fn add_to(self, change: &mut Change) {
        let (key, item) = self.into_item();
        change.put(key, item);
    }

    /// The event of a resource that was created.
    pub(crate) fn created(
        caller: &Caller,
        kind: &ResourceKind,
        new: &Stored,
        now: Timestamp,
    ) -> Result<Self, Error> {
        Self::new(
            caller,
            kind,
            Some(kind.created),
            new,
            new.version,
            None,
            now,
        )
    }

    /// Returns the event of a resource in which these attributes changed.
    pub(crate) fn updated(
        caller: &Caller,
        kind: &ResourceKind,
        changed: Vec<ChangedAttribute>,
        new: &Stored,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let version = new.version;
        Self::new(
            caller,
            kind,
            Some(kind.updated),
            new,
            version,
            Some(changed),
            now,
        )
    }

    /// The event of a resource that was deleted. It is the version after the last one that existed.
    pub(crate) fn deleted(
        caller: &Caller,
        kind: &ResourceKind,
        old: &Stored,
        now: Timestamp,
    ) -> Result<Self, Error> {
        Self::new(
            caller,
            kind,
            Some(kind.deleted),
            old,
            old.version + 1,
            None,
            now,
        )
    }

    /// The event of a group in which nothing but its members changed.
    pub(crate) fn members_only(
        caller: &Caller,
        group: &Stored,
        version: u64,
        now: Timestamp,
    ) -> Result<Self, Error> {
        Self::new(caller, &GROUP, None, group, version, None, now)
    }

    fn new(
        caller: &Caller,
        kind: &ResourceKind,
        detail_type: Option<DetailType>,
        stored: &Stored,
        version: u64,
        changed: Option<Vec<ChangedAttribute>>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let directory = caller.directory();
        let id = EventId::at(now);
        let mut resource = Object::new();
        resource.insert("type".to_owned(), json!((kind.base)().name));
        resource.insert("id".to_owned(), json!(stored.id));
        if let Some(external_id) = stored.resource.string("externalId") {
            resource.insert("externalId".to_owned(), json!(external_id));
        }
        let mut detail = about(directory, id, version, resource, now);
        if let Some(changed) = &changed {
            let paths = changed.iter().map(|c| c.path.as_str()).collect();
            detail.insert("changed".to_owned(), paths);
        }
        let data = flatten(caller.base_url(), kind.ty(caller), stored);
        detail.insert("data".to_owned(), Value::Object(data));
        if let Some(changed) = changed {
            let previous: Object = changed
                .into_iter()
                .map(|c| (c.path, c.before.unwrap_or(Value::Null)))
                .collect();
            detail.insert("previous".to_owned(), Value::Object(previous));
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
            members: Item::new(),
        })
    }

    /// The event of a directory itself, which was `before` if the event says what changed.
    pub(crate) fn of_directory(
        directory: &Directory,
        detail_type: DetailType,
        version: u64,
        before: Option<&Directory>,
        now: Timestamp,
    ) -> Self {
        let now = to_the_millisecond(now);
        let id = EventId::at(now);
        let mut resource = Object::new();
        resource.insert("type".to_owned(), json!("Directory"));
        resource.insert("id".to_owned(), json!(directory.id));
        let mut detail = about(directory, id, version, resource, now);
        let changed = before.map(|before| before.changed_paths(directory));
        if let Some(changed) = &changed {
            detail.insert("changed".to_owned(), changed.keys().cloned().collect());
        }
        detail.insert("data".to_owned(), Value::Object(directory.data()));
        if let Some(changed) = changed {
            detail.insert("previous".to_owned(), Value::Object(changed));
        }
        Self {
            directory: directory.id,
            id,
            time: now,
            detail_type: Some(detail_type),
            detail: Value::Object(detail).to_string(),
            members: Item::new(),
        }
    }

    /// The event with the members that were added and removed: one item, or several if they are more than
    /// [`MEMBERS_OF_AN_ITEM`].
    pub(crate) fn with_members(self, caller: &Caller, delta: &MembershipDelta) -> Vec<Self> {
        let mut first = Some(self.detail_type);
        let all = member_lists(delta);
        let mut parts: Vec<&[(&str, ResourceId)]> = all.chunks(MEMBERS_OF_AN_ITEM).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        parts
            .into_iter()
            .map(|part| {
                let mut members = Item::new();
                for (name, ..) in MEMBER_LISTS {
                    let ids = part.iter().filter(|(of, _)| *of == name).map(|(_, id)| id);
                    let ids = item::ids(ids);
                    if !ids.is_empty() {
                        members.insert(name.to_owned(), item::string(ids));
                    }
                }
                if !members.is_empty() {
                    let base_url = item::string(caller.base_url());
                    members.insert(item::BASE_URL.to_owned(), base_url);
                }
                let detail_type = first.take();
                Self {
                    id: match detail_type {
                        Some(_) => self.id,
                        None => EventId::at(self.time),
                    },
                    detail_type: detail_type.flatten(),
                    detail: self.detail.clone(),
                    members,
                    ..self
                }
            })
            .collect()
    }

    /// Its id.
    pub(crate) fn id(&self) -> EventId {
        self.id
    }

    /// The event about one member that will be gone when it is published, with its `data`.
    pub(crate) fn about(mut self, member: &Value) -> Self {
        self.members.insert(
            item::MEMBER_DATA.to_owned(),
            item::string(member.to_string()),
        );
        self
    }

    /// The item that the event is kept as.
    pub(crate) fn into_item(self) -> (Key, Item) {
        let expires = self
            .time
            .checked_add((KEPT_DAYS * 24).hours())
            .unwrap_or(Timestamp::MAX);
        let mut item = self.members;
        if let Some(detail_type) = self.detail_type {
            item.insert(
                item::DETAIL_TYPE.to_owned(),
                item::string(detail_type.as_str()),
            );
        }
        item.insert(item::DETAIL.to_owned(), item::string(self.detail));
        item.insert(item::EXPIRES.to_owned(), item::number(expires.as_second()));
        (Key::event(self.directory, self.id), item)
    }
}

/// The item attributes that list members, in the order in which they are announced: the name, whether the members were
/// added, and whether they are groups.
const MEMBER_LISTS: [(&str, bool, bool); 4] = [
    (item::REMOVED_USERS, false, false),
    (item::REMOVED_GROUPS, false, true),
    (item::ADDED_USERS, true, false),
    (item::ADDED_GROUPS, true, true),
];

/// Returns each member of a change with the item attribute that lists it, in the order in which they are announced.
fn member_lists(delta: &MembershipDelta) -> Vec<(&'static str, ResourceId)> {
    let mut all = Vec::with_capacity(delta.added.len() + delta.removed.len());
    for (name, added, group) in MEMBER_LISTS {
        let members = if added { &delta.added } else { &delta.removed };
        let of_type = members.iter().filter(|(_, member)| member.group == group);
        all.extend(of_type.map(|(id, _)| (name, *id)));
    }
    all
}

/// What the detail of every event says.
fn about(
    directory: &Directory,
    id: EventId,
    version: u64,
    resource: Object,
    now: Timestamp,
) -> Object {
    let mut detail = Object::new();
    detail.insert("id".to_owned(), json!(id));
    detail.insert("time".to_owned(), json!(format!("{now:.3}")));
    detail.insert("directory_id".to_owned(), json!(directory.id));
    detail.insert("tenant".to_owned(), json!(directory.tenant));
    detail.insert("product".to_owned(), json!(directory.product));
    detail.insert("version".to_owned(), json!(version));
    detail.insert("resource".to_owned(), Value::Object(resource));
    detail
}

impl Stored {
    /// What its provisioning client wrote, for people who do not know SCIM: the
    /// `data` of its events.
    #[must_use]
    pub fn data(&self, caller: &Caller, ty: &ResourceType) -> Object {
        flatten(caller.base_url(), ty, self)
    }
}

/// A resource for people who do not know SCIM, with the SCIM resource as `raw`.
pub(crate) fn flatten(base_url: &str, ty: &ResourceType, stored: &Stored) -> Object {
    let resource = &stored.resource;
    let mut data = Object::new();
    data.insert("id".to_owned(), json!(stored.id));
    let mut put = |name: &str, text: Option<&str>| {
        if let Some(text) = text {
            data.insert(name.to_owned(), json!(text));
        }
    };
    put("user_name", resource.string("userName"));
    put("external_id", resource.string("externalId"));
    let email = resource.primary("emails");
    put(
        "email",
        email.and_then(|email| email.get("value")?.as_str()),
    );
    put("first_name", resource.string("name.givenName"));
    put("last_name", resource.string("name.familyName"));
    put("display_name", resource.string("displayName"));
    if ty.name == (USER.base)().name {
        let active = resource.boolean("active").unwrap_or(true);
        data.insert("active".to_owned(), json!(active));
    }
    let raw = stored.represent_at(base_url, ty);
    data.insert("raw".to_owned(), Value::Object(raw));
    data
}

/// An event item as the table's stream shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventItem {
    detail_type: Option<DetailType>,
    detail: String,
    #[serde(default)]
    removed_users: String,
    #[serde(default)]
    removed_groups: String,
    #[serde(default)]
    added_users: String,
    #[serde(default)]
    added_groups: String,
    #[serde(default)]
    base_url: String,
    member_data: Option<String>,
    expires: Option<i64>,
}

/// An event as the bus, the event log and webhooks show it.
///
/// One that is larger than [`MAX_EVENT_BYTES`] goes without `raw`, and if it
/// still is, as a notice without `data` and `previous` that says where the
/// resource can be read (`location`). `truncated` names what was left out.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboundEvent {
    /// What happened.
    pub detail_type: DetailType,
    /// When.
    pub time: Timestamp,
    /// The event's `detail`, as JSON.
    pub detail: String,
}

impl OutboundEvent {
    /// The size, in bytes as EventBridge counts it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        TIME_BYTES + SOURCE.len() + self.detail_type.as_str().len() + self.detail.len()
    }

    /// The event, shortened if it is too large.
    fn fitting(self) -> Result<Self, serde_json::Error> {
        if self.bytes() <= MAX_EVENT_BYTES {
            return Ok(self);
        }
        let mut detail: Object = serde_json::from_str(&self.detail)?;
        leave_out_raw(&mut detail);
        let shorter = Self {
            detail: Value::Object(detail.clone()).to_string(),
            ..self
        };
        if shorter.bytes() <= MAX_EVENT_BYTES {
            return Ok(shorter);
        }
        leave_out_data(&mut detail);
        Ok(Self {
            detail: Value::Object(detail).to_string(),
            ..self
        })
    }
}

/// Takes the SCIM resources out of an event, and names them in `truncated`.
fn leave_out_raw(detail: &mut Object) {
    let mut left_out = vec![];
    if let Some(Value::Object(data)) = detail.get_mut("data") {
        if data.shift_remove("raw").is_some() {
            left_out.push("data.raw".to_owned());
        }
        for (name, value) in data {
            let raw = value.as_object_mut().and_then(|of| of.shift_remove("raw"));
            if raw.is_some() {
                left_out.push(format!("data.{name}.raw"));
            }
        }
    }
    detail.insert("truncated".to_owned(), json!(left_out));
}

/// Makes a notice of an event: what happened to which resource, and where that can be read in the admin API.
fn leave_out_data(detail: &mut Object) {
    let left_out: Vec<&str> = ["data", "previous"]
        .into_iter()
        .filter(|name| detail.shift_remove(*name).is_some())
        .collect();
    detail.insert("truncated".to_owned(), json!(left_out));
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let directory = text(detail.get("directory_id"));
    let about = detail.get("resource").unwrap_or(&Value::Null);
    let id = text(about.get("id"));
    let location = match about.get("type").and_then(Value::as_str) {
        Some("User") => format!("/v1/directories/{directory}/users/{id}"),
        Some("Group") => format!("/v1/directories/{directory}/groups/{id}"),
        _ => format!("/v1/directories/{directory}"),
    };
    detail.insert("location".to_owned(), json!(location));
}

/// A membership that an event item announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberEvent {
    detail_type: DetailType,
    member: ResourceId,
}

impl EventItem {
    /// The event item as it is in the table.
    pub(crate) fn from_item(item: &Item) -> Result<Self, Error> {
        let text = |name: &str| {
            let text = item.get(name).and_then(|value| value.as_s().ok());
            text.cloned()
        };
        let ids = |name: &str| text(name).unwrap_or_default();
        let of_type = |name: &str| {
            let read = text(name).map(DetailType::try_from).transpose();
            read.map_err(|_| item::unreadable(item, "type of 63 bytes at most"))
        };
        Ok(Self {
            detail_type: of_type(item::DETAIL_TYPE)?,
            detail: item::text(item, item::DETAIL)?.to_owned(),
            removed_users: ids(item::REMOVED_USERS),
            removed_groups: ids(item::REMOVED_GROUPS),
            added_users: ids(item::ADDED_USERS),
            added_groups: ids(item::ADDED_GROUPS),
            base_url: ids(item::BASE_URL),
            member_data: text(item::MEMBER_DATA),
            expires: item::optional(item, item::EXPIRES)?,
        })
    }

    /// When the item may be deleted, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }

    /// What happened to the resource itself, if anything.
    pub(crate) fn detail_type(&self) -> Option<DetailType> {
        self.detail_type
    }

    /// The detail of the resource, as JSON.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

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

    /// What happened to the resource itself, if anything.
    ///
    /// # Errors
    ///
    /// When the detail is not one that this crate wrote.
    pub fn announcement(&self) -> Result<Option<OutboundEvent>, serde_json::Error> {
        let time = self.time()?;
        let announcement = self.detail_type().map(|detail_type| {
            let detail = self.detail.clone();
            OutboundEvent {
                detail_type,
                time,
                detail,
            }
            .fitting()
        });
        announcement.transpose()
    }

    /// The memberships that began and ended.
    ///
    /// # Errors
    ///
    /// When the ids are none that this crate wrote.
    pub fn members(&self) -> Result<Vec<MemberEvent>, Error> {
        let lists = [
            (DetailType::GroupUserRemoved, &self.removed_users),
            (DetailType::GroupGroupRemoved, &self.removed_groups),
            (DetailType::GroupUserAdded, &self.added_users),
            (DetailType::GroupGroupAdded, &self.added_groups),
        ];
        let mut events = vec![];
        for (detail_type, ids) in lists {
            let ids = item::parse_ids(ids)?.into_iter();
            events.extend(ids.map(|member| MemberEvent {
                detail_type,
                member,
            }));
        }
        Ok(events)
    }
}

impl Store {
    /// The events of some of the memberships of an item, which says who the
    /// members are: [`MEMBERS_AT_ONCE`] at most are read in one request.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn announcements(
        &self,
        item: &EventItem,
        events: &[MemberEvent],
    ) -> Result<Vec<OutboundEvent>, Error> {
        #[derive(Deserialize)]
        struct Detail {
            id: EventId,
            time: Timestamp,
            directory_id: DirectoryId,
            #[serde(flatten)]
            rest: Object,
        }
        let detail: Detail = serde_json::from_str(&item.detail).map_err(|_| {
            // The error of serde_json would quote the event.
            Error::broken("an event item has no detail of ours")
        })?;
        let members = self.data_of(item, detail.directory_id, events).await?;
        let announcements = events.iter().map(|event| {
            let kind = event.kind();
            let (ty, field) = ((kind.base)(), kind.field());
            let mut own = Object::new();
            own.insert("id".to_owned(), json!(detail.id.about(event.member)));
            own.insert("time".to_owned(), json!(format!("{:.3}", detail.time)));
            own.insert("directory_id".to_owned(), json!(detail.directory_id));
            for name in ["tenant", "product", "version", "resource"] {
                let value = detail.rest.get(name).cloned().unwrap_or_default();
                own.insert(name.to_owned(), value);
            }
            let member = json!({"type": ty.name, "id": event.member});
            own.insert("member".to_owned(), member);
            let group = detail.rest.get("data").cloned().unwrap_or_default();
            let data = members.get(&event.member).cloned();
            // Somebody who has been deleted since is known by the id alone.
            let data = data.unwrap_or_else(|| json!({"id": event.member}));
            own.insert("data".to_owned(), json!({"group": group, field: data}));
            OutboundEvent {
                detail_type: event.detail_type,
                time: detail.time,
                detail: Value::Object(own).to_string(),
            }
            .fitting()
            .map_err(Error::broken)
        });
        announcements.collect()
    }

    async fn data_of(
        &self,
        item: &EventItem,
        directory: DirectoryId,
        events: &[MemberEvent],
    ) -> Result<HashMap<ResourceId, Value>, Error> {
        let member = item.member_data.as_deref();
        if let Some(data) = member.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            return Ok(events.iter().map(|e| (e.member, data.clone())).collect());
        }
        // A directory that is gone had what every one has, and so has one that this version cannot read: its events go on.
        let types = match self.directory(directory).await {
            Ok(found) => found.map(|of| of.types().clone()).unwrap_or_default(),
            Err(Error::Unreadable(_)) => Types::default(),
            Err(error) => return Err(error),
        };
        let mut data_of = HashMap::new();
        for kind in [&USER, &GROUP] {
            let keys = events
                .iter()
                .filter(|event| event.kind().prefix == kind.prefix)
                .map(|event| Key::resource(directory, kind.prefix, event.member))
                .collect();
            for found in self.get_all(keys).await? {
                // A member that this version cannot read is known by the id alone.
                let Ok(stored) = item::to_stored(&found) else {
                    continue;
                };
                let data = flatten(&item.base_url, (kind.ty)(&types), &stored);
                data_of.insert(stored.id, Value::Object(data));
            }
        }
        Ok(data_of)
    }
}

/// How many memberships of an item are announced at once: as many members as one request reads.
pub const MEMBERS_AT_ONCE: usize = 100;

impl MemberEvent {
    /// Whether the membership began or ended, and of what.
    pub(crate) fn detail_type(self) -> DetailType {
        self.detail_type
    }

    /// Whose membership.
    #[must_use]
    pub fn member(self) -> ResourceId {
        self.member
    }

    fn kind(self) -> &'static ResourceKind {
        match self.detail_type {
            DetailType::GroupGroupAdded | DetailType::GroupGroupRemoved => &GROUP,
            _ => &USER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(detail: &Value) -> Value {
        let announcement = OutboundEvent {
            detail_type: DetailType::UserUpdated,
            time: Timestamp::UNIX_EPOCH,
            detail: detail.to_string(),
        };
        let shown = announcement.fitting().unwrap();
        assert!(shown.bytes() <= MAX_EVENT_BYTES);
        serde_json::from_str(&shown.detail).unwrap()
    }

    fn detail(data: usize, raw: usize, previous: usize) -> Value {
        json!({
            "id": "e", "directory_id": "d", "version": 2, "resource": {"type": "User", "id": "u"}, "changed": ["title"],
            "data": {"id": "u", "title": "t".repeat(data), "raw": {"title": "t".repeat(raw)}},
            "previous": {"title": "t".repeat(previous)},
        })
    }

    #[test]
    fn an_event_that_fits_stays_as_it_is() {
        let empty = detail(0, 0, 0).to_string().len();
        let names = TIME_BYTES + SOURCE.len() + "user.updated".len();
        let most = MAX_EVENT_BYTES - empty - names;
        let largest = detail(0, most, 0);
        assert_eq!(announced(&largest), largest);
        let shorter = announced(&detail(0, most + 1, 0));
        assert_eq!(shorter["truncated"], json!(["data.raw"]));
    }

    #[test]
    fn what_is_too_large_goes_without_raw_and_then_as_a_notice() {
        let mut expected = detail(1_000, 0, 100_000);
        let data = expected["data"].as_object_mut().unwrap();
        data.shift_remove("raw");
        expected["truncated"] = json!(["data.raw"]);
        assert_eq!(announced(&detail(1_000, 200_000, 100_000)), expected);
        let notice = json!({
            "id": "e", "directory_id": "d", "version": 2, "resource": {"type": "User", "id": "u"}, "changed": ["title"],
            "truncated": ["data", "previous"], "location": "/v1/directories/d/users/u",
        });
        assert_eq!(announced(&detail(200_000, 200_000, 100_000)), notice);
    }
}
