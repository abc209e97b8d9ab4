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

/// The number of the format that an item is written in ([`THIS_FORMAT`]). One letter: rows of members are read by the
/// thousand, and each letter of a name is a byte of each of them. It is none of [`key::DIGITS`], which name the counts.
pub(crate) const FORMAT: &str = "F";
/// The format that this version writes. Items without a number are those of format 0, which had no such attribute.
///
/// An attribute never changes its meaning: what means something else gets another name and a higher format, so a version
/// that knows less finds an attribute missing and says so ([`Error::Unreadable`]), and never takes it for what it is not.
pub(crate) const THIS_FORMAT: u64 = 1;

/// The resource as the validated SCIM document.
pub(crate) const DOCUMENT: &str = "document";
/// How often the resource has changed, from 1.
pub(crate) const VERSION: &str = "version";
/// Milliseconds since 1970.
pub(crate) const CREATED: &str = "created";
/// Milliseconds since 1970.
pub(crate) const LAST_MODIFIED: &str = "lastModified";
/// How many members a group has.
pub(crate) const MEMBERS: &str = "members";
/// How often a group became a member of another one.
pub(crate) const NESTED: &str = "nested";
/// The operation that changes a group's members in steps.
pub(crate) const STAGED: &str = "staged";
/// Until when nobody else touches it, in milliseconds since 1970.
pub(crate) const UNTIL: &str = "until";
/// In how many parts the list of those is kept whom the operation removes; none while it adds.
pub(crate) const REMOVALS: &str = "removals";
/// The version of the group from which on somebody is a member.
pub(crate) const FROM: &str = "from";
/// `Group` if a member is a group.
pub(crate) const KIND: &str = "kind";
/// What a client calls a member.
pub(crate) const DISPLAY: &str = "display";
/// Ids of users who were added to a group, in the bytes of [`ids`].
pub(crate) const ADDED: &str = "added";
/// Ids of users who were removed from a group.
pub(crate) const REMOVED: &str = "removed";
/// Ids of groups that were added to a group.
pub(crate) const ADDED_GROUPS: &str = "addedGroups";
/// Ids of groups that were removed from a group.
pub(crate) const REMOVED_GROUPS: &str = "removedGroups";
/// The `data` of the one member that an event is about, if it is gone when the event is published.
pub(crate) const MEMBER: &str = "member";
/// The SCIM base URL that the client used.
pub(crate) const BASE_URL: &str = "baseUrl";
/// When unfinished work may be taken over, in milliseconds since 1970.
pub(crate) const DUE: &str = "due";
/// The event of the deletion of a resource whose memberships have to end.
pub(crate) const DELETION: &str = "deletion";
/// Ids of users who refer to each other and are being created, all or none.
pub(crate) const CIRCLE: &str = "circle";
/// That what was created of such users is being deleted again.
pub(crate) const UNDOING: &str = "undoing";
/// How many members of a group are groups; unknown if it is missing.
pub(crate) const SUBGROUPS: &str = "subgroups";
/// The resource that a pointer leads to.
pub(crate) const OWNER: &str = "owner";
/// When DynamoDB may delete the item, in seconds since 1970 (the table's TTL attribute).
pub(crate) const EXPIRES: &str = "expires";
/// An event's `detail-type`.
pub(crate) const DETAIL_TYPE: &str = "detailType";
/// The same for types that format 0 did not know. Its publisher and its event log pass over an event without
/// `detailType`, and would stop at one with a type that they do not know.
pub(crate) const LATER_TYPE: &str = "type";
/// An event's `detail`, as JSON.
pub(crate) const DETAIL: &str = "detail";

/// When a directory's bucket of work will be full again, in microseconds since 1970.
pub(crate) const FULL: &str = "full";
/// The event item that waits, or that is parked: its sort key.
pub(crate) const EVENT: &str = "event";
/// Before which of the events that an item holds a part of them ends.
pub(crate) const TO: &str = "to";
/// Which attempt to publish an event this is, or was.
pub(crate) const ATTEMPT: &str = "attempt";
/// Why an event cannot be published.
pub(crate) const REASON: &str = "reason";
/// The parked event that is tried once more: its sort key.
pub(crate) const PARKED: &str = "parked";

/// A directory, as JSON.
pub(crate) const DIRECTORY: &str = "directory";
/// The webhook of a directory that is gone, as JSON.
pub(crate) const WEBHOOK: &str = "webhook";
/// Whether a directory takes changes; the mapping of the sweeper in `template.yaml` filters by it.
pub(crate) const STATUS: &str = "status";
/// The digest of a request that may come again.
pub(crate) const REQUEST: &str = "request";
/// When a token was last used, to the hour, in seconds since 1970.
pub(crate) const LAST_USED: &str = "lastUsed";

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
    item.insert(FORMAT.to_owned(), number(THIS_FORMAT));
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
    let advice = match format > THIS_FORMAT {
        true => format!(
            "It has format {format}, and this version of Rollcall knows format {THIS_FORMAT}: deploy the version that wrote it."
        ),
        false => format!("It has format {format}, which this version of Rollcall should know."),
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

/// The item of a resource, without its key.
pub(crate) fn from_stored(stored: &Stored) -> Item {
    let mut item = HashMap::from([
        (DOCUMENT.to_owned(), string(stored.resource.to_stored())),
        (VERSION.to_owned(), number(stored.version)),
        (CREATED.to_owned(), number(stored.created.as_millisecond())),
        (
            LAST_MODIFIED.to_owned(),
            number(stored.last_modified.as_millisecond()),
        ),
    ]);
    if let Some(members) = stored.group.members {
        item.insert(MEMBERS.to_owned(), number(members));
    }
    if let Some(subgroups) = stored.group.subgroups {
        item.insert(SUBGROUPS.to_owned(), number(subgroups));
    }
    item
}

fn group_state(item: &Item) -> Result<GroupState, Error> {
    let optional = |name: &str| optional::<u64>(item, name);
    let staged = match item.contains_key(STAGED) {
        true => Some(Staged {
            by: text(item, STAGED)?.to_owned(),
            until: integer(item, UNTIL)?,
            removals: optional(REMOVALS)?.unwrap_or(0),
        }),
        false => None,
    };
    Ok(GroupState {
        members: optional(MEMBERS)?,
        nested: optional(NESTED)?.unwrap_or(0),
        subgroups: optional(SUBGROUPS)?,
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
