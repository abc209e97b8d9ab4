//! Items of the table, read and written.
//!
//! A resource's document is kept as one JSON string: it comes back as it was
//! stored, to the digit, and is smaller than a map of attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use scim::Resource;

use crate::error::Error;
use crate::id::ResourceId;
use crate::key;
use crate::store::Stored;

/// The attributes of an item.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The resource as the SCIM document that passed the door.
pub(crate) const DOCUMENT: &str = "document";
/// How often the resource has changed, from 1.
pub(crate) const VERSION: &str = "version";
/// Milliseconds since 1970.
pub(crate) const CREATED: &str = "created";
/// Milliseconds since 1970.
pub(crate) const LAST_MODIFIED: &str = "lastModified";
/// The resource that a pointer leads to.
pub(crate) const OWNER: &str = "owner";
/// How many resources a count counts.
pub(crate) const COUNT: &str = "count";
/// When DynamoDB may delete the item, in seconds since 1970 (the table's TTL attribute).
pub(crate) const EXPIRES: &str = "expires";
/// An event's `detail-type`.
pub(crate) const DETAIL_TYPE: &str = "detailType";
/// An event's `detail`, as JSON.
pub(crate) const DETAIL: &str = "detail";

pub(crate) fn string(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The string attribute `name`, which an item of ours has.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, Error> {
    item.get(name)
        .and_then(|value| value.as_s().ok())
        .map(String::as_str)
        .ok_or_else(|| Error::broken(format!("an item has no string {name}")))
}

/// The number attribute `name`, which an item of ours has.
pub(crate) fn integer<N: std::str::FromStr>(item: &Item, name: &str) -> Result<N, Error> {
    item.get(name)
        .and_then(|value| value.as_n().ok())
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| Error::broken(format!("an item has no number {name}")))
}

/// The id in the string attribute `name`.
pub(crate) fn id(item: &Item, name: &str) -> Result<ResourceId, Error> {
    text(item, name)?.parse().map_err(Error::broken)
}

fn time(item: &Item, name: &str) -> Result<Timestamp, Error> {
    Timestamp::from_millisecond(integer(item, name)?).map_err(Error::broken)
}

/// The item of a resource, without its key.
pub(crate) fn from_stored(stored: &Stored) -> Item {
    HashMap::from([
        (DOCUMENT.to_owned(), string(stored.resource.to_stored())),
        (VERSION.to_owned(), number(stored.version)),
        (CREATED.to_owned(), number(stored.created.as_millisecond())),
        (
            LAST_MODIFIED.to_owned(),
            number(stored.last_modified.as_millisecond()),
        ),
    ])
}

/// The resource of an item.
pub(crate) fn to_stored(item: &Item) -> Result<Stored, Error> {
    Ok(Stored {
        id: id(item, key::SK)?,
        resource: Resource::from_stored(text(item, DOCUMENT)?).map_err(Error::broken)?,
        version: integer(item, VERSION)?,
        created: time(item, CREATED)?,
        last_modified: time(item, LAST_MODIFIED)?,
    })
}
