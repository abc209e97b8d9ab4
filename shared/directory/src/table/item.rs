//! Items of the table, read and written.
//!
//! A resource's document is kept as one JSON string: it comes back as it was
//! stored, to the digit, and is smaller than a map of attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use jiff::Timestamp;
use scim::Resource;

use crate::model::error::{Error, Unreadable};
use crate::model::id::ResourceId;
use crate::model::stored::{GroupState, Staged, Stored};
use crate::table::key;

/// The attributes of an item.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The attribute with the format in which an item is written ([`FORMAT_VERSION`]). It is short because rows of members are
/// read by the thousand, and DynamoDB charges for the bytes of each name.
pub(crate) const FORMAT: &str = "FMT";
/// The format of the items that this version writes and reads.
///
/// An attribute never changes its meaning. An attribute with another meaning gets another name and a higher format, so a
/// version that knows only the lower format finds that an attribute is missing and reports it ([`Error::Unreadable`]).
pub const FORMAT_VERSION: u64 = 1;

/// The resource as the validated SCIM document, as JSON.
pub(crate) const DOCUMENT: &str = "document";
/// The version of the resource: 1 after it was created, one more with each change.
pub(crate) const VERSION: &str = "version";
/// The time of creation, in milliseconds since 1970.
pub(crate) const CREATED: &str = "created";
/// The time of the last change, in milliseconds since 1970.
pub(crate) const LAST_MODIFIED: &str = "lastModified";
/// The number of members of a group.
pub(crate) const MEMBER_COUNT: &str = "memberCount";
/// The number of members of a group that are groups. It is missing if it is not known.
pub(crate) const SUBGROUP_COUNT: &str = "subgroupCount";
/// The number of times a group became a member of another group. It never decreases.
pub(crate) const TIMES_NESTED: &str = "timesNested";
/// The id of the staged write that changes the members of a group.
pub(crate) const STAGED_WRITE: &str = "stagedWrite";
/// The end of the lease of a staged write, in milliseconds since 1970.
pub(crate) const LEASE_UNTIL: &str = "leaseUntil";
/// The number of items that list the members which a staged write removes. It is missing while the write adds members.
pub(crate) const REMOVAL_PARTS: &str = "removalParts";
/// The ids of members that a staged write removes, in the form of [`ids`].
pub(crate) const REMOVED_MEMBERS: &str = "removedMembers";
/// The version of the group from which on a row is a member of it.
pub(crate) const SINCE_VERSION: &str = "sinceVersion";
/// `Group` if the member is a group.
pub(crate) const MEMBER_TYPE: &str = "memberType";
/// The `display` of a member.
pub(crate) const DISPLAY: &str = "display";

/// The id of the resource that has the value of a look-up item.
pub(crate) const RESOURCE_ID: &str = "resourceId";

/// The `detail-type` of an event.
pub(crate) const DETAIL_TYPE: &str = "detailType";
/// The `detail` of an event, as JSON.
pub(crate) const DETAIL: &str = "detail";
/// The ids of users that were added to a group, in the form of [`ids`].
pub(crate) const ADDED_USERS: &str = "addedUsers";
/// The ids of users that were removed from a group, in the form of [`ids`].
pub(crate) const REMOVED_USERS: &str = "removedUsers";
/// The ids of groups that were added to a group, in the form of [`ids`].
pub(crate) const ADDED_GROUPS: &str = "addedGroups";
/// The ids of groups that were removed from a group, in the form of [`ids`].
pub(crate) const REMOVED_GROUPS: &str = "removedGroups";
/// The `data` of the one member of the event, as JSON, if the member was deleted before the event is published.
pub(crate) const MEMBER_DATA: &str = "memberData";
/// The SCIM base URL of the request.
pub(crate) const BASE_URL: &str = "baseUrl";
/// The time after which DynamoDB may delete the item, in seconds since 1970 (the table's TTL attribute).
pub(crate) const EXPIRES: &str = "expires";

/// The time at which unfinished work may be taken over, in milliseconds since 1970.
pub(crate) const DUE: &str = "due";
/// The id of the event of the deletion of a resource whose memberships have to end.
pub(crate) const DELETION_EVENT: &str = "deletionEvent";
/// The ids of users that refer to each other and are created together, in the form of [`ids`].
pub(crate) const CYCLE_USERS: &str = "cycleUsers";
/// Present while such users are deleted again because one of them could not be created.
pub(crate) const ROLLING_BACK: &str = "rollingBack";

/// The sort key of an event item that waits to be published, or that is parked.
pub(crate) const EVENT_ITEM: &str = "eventItem";
/// The first of the events of that item, counted from 0.
pub(crate) const FIRST_EVENT: &str = "firstEvent";
/// The event after the last one. It is missing if all events from the first one on are meant.
pub(crate) const END_EVENT: &str = "endEvent";
/// The number of attempts to publish an event.
pub(crate) const ATTEMPTS: &str = "attempts";
/// The reason why an event cannot be published.
pub(crate) const REASON: &str = "reason";
/// The sort key of the parked event that is published once more.
pub(crate) const PARKED_EVENT: &str = "parkedEvent";

/// The directory, as JSON.
pub(crate) const DIRECTORY: &str = "directory";
/// The status of the directory. The sweeper's event filter in `template.yaml` reads it.
pub(crate) const STATUS: &str = "status";
/// The webhook of a directory that was deleted, as JSON.
pub(crate) const WEBHOOK: &str = "webhook";
/// The id of the directory that a repeatable request created.
pub(crate) const DIRECTORY_ID: &str = "directoryId";
/// The digest of a repeatable request.
pub(crate) const REQUEST_DIGEST: &str = "requestDigest";
/// The hour in which a token was last used, in seconds since 1970.
pub(crate) const LAST_USED: &str = "lastUsed";
/// The time at which the rate limit's bucket is full again, in microseconds since 1970.
pub(crate) const FULL_AT: &str = "fullAt";

pub(crate) fn string(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// How large a value is, in bytes: ours are texts, and numbers of at most 21 bytes.
pub(crate) fn bytes(value: &AttributeValue) -> usize {
    value.as_s().map_or(21, String::len)
}

/// The item with the number of the format that this version writes. Everything that is written passes here.
pub(crate) fn stamped(mut item: Item) -> Item {
    item.insert(FORMAT.to_owned(), number(FORMAT_VERSION));
    item
}

/// The error of an item that lacks something, or has it in a form that this version does not know.
pub(crate) fn unreadable(item: &Item, lacks: &str) -> Error {
    let key = |name: &str| {
        let value = item.get(name).and_then(|value| value.as_s().ok());
        value.map(String::as_str).unwrap_or_default()
    };
    let (kind, id) = key::kind_of(key(key::PK), key(key::SK));
    let format: Option<u64> = item
        .get(FORMAT)
        .and_then(|value| value.as_n().ok())
        .and_then(|value| value.parse().ok());
    let format = format.unwrap_or_default();
    let advice = if format > FORMAT_VERSION {
        format!(
            "It has format {format}, and this version of Rollcall knows format {FORMAT_VERSION}: deploy the version that wrote it."
        )
    } else {
        format!(
            "It has format {format}, and this version of Rollcall writes format {FORMAT_VERSION}."
        )
    };
    Error::Unreadable(Unreadable {
        kind,
        id: id.to_owned(),
        reason: format!("cannot be read: it has no {lacks}. {advice}"),
    })
}

/// The string attribute `name`.
///
/// # Errors
///
/// [`Error::Unreadable`] when the item has none.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, Error> {
    item.get(name)
        .and_then(|value| value.as_s().ok())
        .map(String::as_str)
        .ok_or_else(|| unreadable(item, &format!("string \"{name}\"")))
}

/// The number attribute `name`.
///
/// # Errors
///
/// [`Error::Unreadable`] when the item has none.
pub(crate) fn integer<N: std::str::FromStr>(item: &Item, name: &str) -> Result<N, Error> {
    item.get(name)
        .and_then(|value| value.as_n().ok())
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| unreadable(item, &format!("number \"{name}\"")))
}

/// The number attribute `name`, if the item has it.
pub(crate) fn optional<N: std::str::FromStr>(item: &Item, name: &str) -> Result<Option<N>, Error> {
    match item.contains_key(name) {
        true => integer(item, name).map(Some),
        false => Ok(None),
    }
}

/// The id in the string attribute `name`.
///
/// # Errors
///
/// [`Error::Unreadable`] when the item has none.
pub(crate) fn id(item: &Item, name: &str) -> Result<ResourceId, Error> {
    let id = text(item, name)?.parse();
    id.map_err(|_| unreadable(item, &format!("id in \"{name}\"")))
}

fn time(item: &Item, name: &str) -> Result<Timestamp, Error> {
    let time = Timestamp::from_millisecond(integer(item, name)?);
    time.map_err(|_| unreadable(item, &format!("time in \"{name}\"")))
}

/// Ids as one text: 16 bytes each, in Base64.
pub(crate) fn ids<'i>(ids: impl IntoIterator<Item = &'i ResourceId>) -> String {
    let bytes: Vec<u8> = ids.into_iter().flat_map(|id| id.to_bytes()).collect();
    BASE64.encode(bytes)
}

/// The ids of a text that [`ids`] made.
pub(crate) fn parse_ids(text: &str) -> Result<Vec<ResourceId>, Error> {
    let bytes = BASE64.decode(text).map_err(Error::broken)?;
    let (ids, rest) = bytes.as_chunks::<{ ResourceId::BYTES }>();
    match rest {
        [] => Ok(ids.iter().copied().map(ResourceId::from_bytes).collect()),
        _ => Err(Error::broken("a list of ids is cut")),
    }
}

/// The item of a resource, without its key. This is the one place that serialises the resource for the table.
pub(crate) fn from_stored(stored: &Stored) -> Result<Item, Error> {
    let document = stored.resource.to_stored().map_err(Error::broken)?;
    let mut item = HashMap::from([
        (DOCUMENT.to_owned(), string(document)),
        (VERSION.to_owned(), number(stored.version)),
        (CREATED.to_owned(), number(stored.created.as_millisecond())),
        (
            LAST_MODIFIED.to_owned(),
            number(stored.last_modified.as_millisecond()),
        ),
    ]);
    if let Some(members) = stored.group.members {
        item.insert(MEMBER_COUNT.to_owned(), number(members));
    }
    if let Some(subgroups) = stored.group.subgroups {
        item.insert(SUBGROUP_COUNT.to_owned(), number(subgroups));
    }
    Ok(item)
}

fn group_state(item: &Item) -> Result<GroupState, Error> {
    let optional = |name: &str| optional::<u64>(item, name);
    let staged = match item.contains_key(STAGED_WRITE) {
        true => Some(Staged {
            by: text(item, STAGED_WRITE)?.to_owned(),
            until: integer(item, LEASE_UNTIL)?,
            removals: optional(REMOVAL_PARTS)?.unwrap_or(0),
        }),
        false => None,
    };
    Ok(GroupState {
        members: optional(MEMBER_COUNT)?,
        nested: optional(TIMES_NESTED)?.unwrap_or(0),
        subgroups: optional(SUBGROUP_COUNT)?,
        staged,
    })
}

/// The resource of an item.
pub(crate) fn to_stored(item: &Item) -> Result<Stored, Error> {
    Ok(Stored {
        id: id(item, key::SK)?,
        // The error of serde_json would quote the document.
        resource: Resource::from_stored(text(item, DOCUMENT)?)
            .map_err(|_| unreadable(item, "document that is a JSON object"))?,
        version: integer(item, VERSION)?,
        created: time(item, CREATED)?,
        last_modified: time(item, LAST_MODIFIED)?,
        group: group_state(item)?,
    })
}
