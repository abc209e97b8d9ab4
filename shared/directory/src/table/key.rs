//! Every key of the table, declared together.
//!
//! | to read | key | how |
//! |---|---|---|
//! | a directory | `d` / `META` | GetItem |
//! | the webhook of a deleted directory, for its last event | `d` / `ENDED` | GetItem |
//! | a user by id | `d#U` / id | GetItem |
//! | a user by userName | `d#N` / folded userName → id | GetItem, then the user |
//! | users by externalId | `d#X` / externalId `#` id → id | Query, then the users |
//! | users by e-mail address | `d#EM` / folded address `#` id → id | Query, then the users |
//! | a page of users | `d#U` / from an id on | Query |
//! | how many users, and where page k begins | `d#C` / `U#00` … `U#ff`, in 16 attributes each | Query |
//! | a group, its look-up items, pages and counts | `d#G`, `d#GN` (displayName), `d#GX` (externalId), `d#C` / `G#…` | as users |
//! | the members of a group | `d#M#`group / member id | Query |
//! | whether a resource is a member | `d#M#`group / member id | GetItem |
//! | the members that a staged write is removing | `d#M#`group / `removed#`operation`#`part | with the members |
//! | a group that is being created, while members are written | `d#M#`group / `creating` | GetItem |
//! | a group that was deleted, while members are left | `d#M#`group / `deleted` | GetItem |
//! | the groups of a member, or of all on a page of users | index `Memberships`: `GSI1PK` = d in Base64, member id | Query |
//! | work that takes several transactions: on a group, or after a user was deleted | `d#S` / id | GetItem, and the table's stream |
//! | the number of times a group became a member of a group | `d#C` / `nesting` | GetItem |
//! | the events of a directory | `d#E` / event id, by time | Query, and the table's stream |
//! | the backlog: events of a directory wait to be published | `d#E` / `~backlog` | the table's stream, and Query with those that wait |
//! | the events that wait, in their order | `d#E` / `~backlog#` place | Query |
//! | the events of a directory that cannot be published | `d#P` / event id, and `#` member or `#members` | Query |
//! | when a token was last used | `d#T` / version of the secret | Query |
//! | the rate limit of a directory | `d#L` / `work` | UpdateItem |
//! | all directories | `DIRECTORIES` / `A#` id | Query, then the directories |
//! | the directories of a product; of a product and a tenant | `DIRECTORIES` / `P#` product `#` tenant `#` id | as all |
//! | the directories of a tenant | `DIRECTORIES` / `T#` tenant `#` id | as all |
//! | the directory that a repeatable request created | `DIRECTORIES` / `R#` caller and Idempotency-Key | GetItem |
//!
//! `d` is the directory's id, so a key reaches one directory only. Free text is
//! always followed by nothing but an id of fixed length and alphabet, and its
//! length is capped, so it can neither forge a separator nor overrun a sort key
//! (1,024 bytes: "Constraints in Amazon DynamoDB"). Tenants, products and
//! idempotency keys are in keys as digests.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use sha2::{Digest, Sha256};

use crate::model::id::{DirectoryId, EventId, ResourceId};

/// The name of the partition key.
pub(crate) const PK: &str = "PK";
/// The name of the sort key.
pub(crate) const SK: &str = "SK";

/// The suffix of the partition keys of event items, and of no others. The
/// stream mapping in `template.yaml` filters by it.
const EVENTS: &str = "#E";

/// The sort key of the backlog. The ids of events begin with a hex digit, so it sorts
/// after all of them, and the stream mapping in `template.yaml` tells the two apart.
const BACKLOG: &str = "~backlog";

/// The index of member rows by member. It is read for `user.groups` and for the
/// memberships of a deleted resource. Reads of an index are eventually consistent.
pub(crate) const MEMBERSHIPS: &str = "Memberships";
/// The partition key of that index ([`memberships`]). Only member rows have it.
///
/// The sort key of the index is [`SK`], the member: a copy of it under another name would make each row larger.
pub(crate) const GSI1PK: &str = "GSI1PK";

/// The attributes of a count: one for each of the 16 hex digits that may follow the byte.
pub(crate) const DIGITS: [&str; 16] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f",
];

/// The attribute that counts a resource within the item at [`Key::count`].
pub(crate) fn digit(id: ResourceId) -> &'static str {
    let [_, second, ..] = id.to_bytes();
    DIGITS.get(usize::from(second >> 4)).copied().unwrap_or("0")
}

/// Text longer than this many bytes stands in a key as its beginning and its digest.
const MAX_TEXT_BYTES: usize = 512;

/// The length of the end of text that was cut, in bytes: `~` and the digest.
const CUT_BYTES: usize = 65;

/// The partition of the lists of directories. One partition takes 1,000 writes a second, and directories are created less
/// often.
pub(crate) const DIRECTORIES: &str = "DIRECTORIES";

/// The primary key of one item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl Key {
    pub(crate) fn directory(directory: DirectoryId) -> Self {
        Self {
            pk: directory.to_string(),
            sk: "META".to_owned(),
        }
    }

    /// The webhook of a deleted directory, for its last event.
    pub(crate) fn ended(directory: DirectoryId) -> Self {
        Self {
            pk: directory.to_string(),
            sk: "ENDED".to_owned(),
        }
    }

    /// A resource of the kind of this prefix.
    pub(crate) fn resource(directory: DirectoryId, prefix: &str, id: ResourceId) -> Self {
        Self {
            pk: resources(directory, prefix),
            sk: id.to_string(),
        }
    }

    /// The counts of the resources of a kind whose ids begin with the byte that `id` begins with; [`digit`] says which.
    pub(crate) fn count(directory: DirectoryId, prefix: &str, id: ResourceId) -> Self {
        let byte: String = id.to_string().chars().take(2).collect();
        Self {
            pk: counts(directory),
            sk: format!("{prefix}#{byte}"),
        }
    }

    /// The row of a member of a group.
    pub(crate) fn member(directory: DirectoryId, group: ResourceId, member: ResourceId) -> Self {
        Self {
            pk: members(directory, group),
            sk: member.to_string(),
        }
    }

    /// A part of the list of members that a staged write removes.
    pub(crate) fn removal(
        directory: DirectoryId,
        group: ResourceId,
        operation: &str,
        part: usize,
    ) -> Self {
        Self {
            pk: members(directory, group),
            sk: format!("{}#{part:04}", removals(operation)),
        }
    }

    /// The mark of a group that is being created after its member rows.
    pub(crate) fn creation(directory: DirectoryId, group: ResourceId) -> Self {
        Self {
            pk: members(directory, group),
            sk: "creating".to_owned(),
        }
    }

    /// The mark of a group that was deleted before its member rows.
    pub(crate) fn deletion(directory: DirectoryId, group: ResourceId) -> Self {
        Self {
            pk: members(directory, group),
            sk: "deleted".to_owned(),
        }
    }

    /// The note of a staged write, or of the memberships of a deleted resource.
    pub(crate) fn unfinished(directory: DirectoryId, group: ResourceId) -> Self {
        Self {
            pk: unfinished(directory),
            sk: group.to_string(),
        }
    }

    /// The number of times a group became a member of a group, in the whole directory.
    pub(crate) fn nesting(directory: DirectoryId) -> Self {
        Self {
            pk: counts(directory),
            sk: "nesting".to_owned(),
        }
    }

    pub(crate) fn event(directory: DirectoryId, event: EventId) -> Self {
        Self {
            pk: events(directory),
            sk: event.to_string(),
        }
    }

    /// The backlog of a directory.
    pub(crate) fn backlog(directory: DirectoryId) -> Self {
        Self {
            pk: events(directory),
            sk: BACKLOG.to_owned(),
        }
    }

    /// A waiting event item of a directory, at its place.
    pub(crate) fn waiting(directory: DirectoryId, place: &str) -> Self {
        Self {
            pk: events(directory),
            sk: format!("{BACKLOG}#{place}"),
        }
    }

    /// An event of a directory that cannot be published.
    pub(crate) fn parked(directory: DirectoryId, name: &str) -> Self {
        Self {
            pk: parked(directory),
            sk: name.to_owned(),
        }
    }

    /// The last use of a version of a directory's secret.
    pub(crate) fn used(directory: DirectoryId, version: &str) -> Self {
        Self {
            pk: uses(directory),
            sk: capped(version),
        }
    }

    /// The rate limit's bucket of a directory.
    pub(crate) fn work(directory: DirectoryId) -> Self {
        Self {
            pk: limits(directory),
            sk: "work".to_owned(),
        }
    }

    /// The items that list a directory.
    pub(crate) fn listings(directory: DirectoryId, tenant: &str, product: &str) -> [Self; 3] {
        [
            Listed::default(),
            Listed {
                product: Some(product),
                tenant: Some(tenant),
            },
            Listed {
                product: None,
                tenant: Some(tenant),
            },
        ]
        .map(|listed| Self {
            pk: DIRECTORIES.to_owned(),
            sk: format!("{}{directory}", listed.prefix()),
        })
    }

    /// The result of a repeatable request.
    pub(crate) fn repeat(caller: &str, key: &str) -> Self {
        Self {
            pk: DIRECTORIES.to_owned(),
            sk: format!("R#{}", digest(&format!("{}#{key}", digest(caller)))),
        }
    }

    /// Returns the key as attributes.
    pub(crate) fn attributes(self) -> HashMap<String, AttributeValue> {
        HashMap::from([
            (PK.to_owned(), AttributeValue::S(self.pk)),
            (SK.to_owned(), AttributeValue::S(self.sk)),
        ])
    }
}

/// The key of the look-up items of one value.
pub(crate) struct LookupKey {
    /// The partition key.
    pub(crate) pk: String,
    value: String,
}

impl LookupKey {
    /// The key for a value in the form in which equal values are the same text.
    pub(crate) fn new(directory: DirectoryId, partition: &str, value: &str) -> Self {
        Self {
            pk: format!("{directory}#{partition}"),
            value: capped(value),
        }
    }

    /// The key of the look-up item of a value that at most one resource may have.
    pub(crate) fn unique(&self) -> Key {
        Key {
            pk: self.pk.clone(),
            sk: self.value.clone(),
        }
    }

    /// The key of the look-up item of one of the resources that share the value.
    pub(crate) fn shared(&self, id: ResourceId) -> Key {
        Key {
            pk: self.pk.clone(),
            sk: format!("{}#{id}", self.value),
        }
    }

    /// The first and the last possible sort key of the shared look-up items of this value. Items of a longer value can be
    /// between them, so the reader compares the sort key with [`LookupKey::shared`].
    pub(crate) fn range(&self) -> (String, String) {
        (format!("{}#0", self.value), format!("{}#g", self.value))
    }
}

/// A list of directories: all, or those of a product, of a tenant, or of both.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listed<'a> {
    pub(crate) product: Option<&'a str>,
    pub(crate) tenant: Option<&'a str>,
}

impl Listed<'_> {
    /// Returns the prefix of the sort keys of the list. Ids follow it, or tenants and then ids.
    pub(crate) fn prefix(self) -> String {
        match (self.product.map(digest), self.tenant.map(digest)) {
            (None, None) => "A#".to_owned(),
            (Some(product), None) => format!("P#{product}#"),
            (Some(product), Some(tenant)) => format!("P#{product}#{tenant}#"),
            (None, Some(tenant)) => format!("T#{tenant}#"),
        }
    }
}

/// Returns the kind of an item in plain English, and the id of its subject.
pub(crate) fn kind_of<'k>(pk: &'k str, sk: &'k str) -> (&'static str, &'k str) {
    let mut parts = pk.split('#');
    let directory = parts.next().unwrap_or_default();
    match (parts.next(), parts.next()) {
        (None, _) if sk == "META" => ("directory", directory),
        (None, _) => ("entry of the list of directories", sk),
        (Some("U"), _) => ("user", sk),
        (Some("G"), _) => ("group", sk),
        (Some("E"), _) => ("event", sk),
        (Some("M"), group) => ("member of the group", group.unwrap_or_default()),
        // The sort keys of these can contain personal data.
        (Some("C"), _) => ("count of the directory", directory),
        (Some(_), _) => ("item of the directory", directory),
    }
}

/// The partition of the uses of a directory's tokens.
pub(crate) fn uses(directory: DirectoryId) -> String {
    format!("{directory}#T")
}

/// The partition of a directory's rate limit.
pub(crate) fn limits(directory: DirectoryId) -> String {
    format!("{directory}#L")
}

/// The partition of the notes of unfinished work in a directory. The stream
/// mapping in `template.yaml` filters by its suffix.
pub(crate) fn unfinished(directory: DirectoryId) -> String {
    format!("{directory}#S")
}

/// The partition of a directory's events.
pub(crate) fn events(directory: DirectoryId) -> String {
    format!("{directory}{EVENTS}")
}

/// The directory whose events are in a partition.
pub(crate) fn directory_of_events(partition: &str) -> Option<DirectoryId> {
    partition.strip_suffix(EVENTS)?.parse().ok()
}

/// Returns the first and the last sort key of the backlog of a directory.
pub(crate) fn backlog_range() -> (&'static str, &'static str) {
    (BACKLOG, "~backlog~")
}

/// Returns the place of a waiting event item with this sort key.
pub(crate) fn place_of(sort_key: &str) -> Option<&str> {
    sort_key.strip_prefix(BACKLOG)?.strip_prefix('#')
}

/// Whether this is the sort key of a directory's backlog itself.
pub(crate) fn is_backlog(sort_key: &str) -> bool {
    sort_key == BACKLOG
}

/// The partition of a directory's events that cannot be published.
pub(crate) fn parked(directory: DirectoryId) -> String {
    format!("{directory}#P")
}

/// The partition of a directory's resources of one kind.
pub(crate) fn resources(directory: DirectoryId, prefix: &str) -> String {
    format!("{directory}#{prefix}")
}

/// The partition of a directory in the index [`MEMBERSHIPS`]: its id in Base64, which is shorter than as text and is part
/// of each member row.
pub(crate) fn memberships(directory: DirectoryId) -> String {
    BASE64.encode(directory.to_bytes())
}

/// The partition of the members of a group.
pub(crate) fn members(directory: DirectoryId, group: ResourceId) -> String {
    format!("{directory}#M#{group}")
}

/// The group whose members are in a partition.
pub(crate) fn group_of(partition: &str) -> Option<ResourceId> {
    partition.rsplit('#').next()?.parse().ok()
}

/// How the sort keys of the removals of one operation begin.
pub(crate) fn removals(operation: &str) -> String {
    format!("removed#{operation}")
}

/// The partition of a directory's counts.
pub(crate) fn counts(directory: DirectoryId) -> String {
    format!("{directory}#C")
}

/// Returns text in the form in which it is part of a key. Two texts have the same form exactly if they are equal: short text
/// stays as it is unless it looks like text that was cut, and then it is cut as well.
fn capped(text: &str) -> String {
    if text.len() <= MAX_TEXT_BYTES && !looks_cut(text) {
        return text.to_owned();
    }
    let mut key = String::with_capacity(MAX_TEXT_BYTES);
    for c in text.chars() {
        if key.len() + c.len_utf8() > MAX_TEXT_BYTES - CUT_BYTES {
            break;
        }
        key.push(c);
    }
    key.push('~');
    key.push_str(&digest(text));
    key
}

/// Whether text is as long, and ends, as [`capped`] makes text that is too long: it may lack up to 3 bytes for a prefix
/// that did not fit.
fn looks_cut(text: &str) -> bool {
    let end = text.len().checked_sub(CUT_BYTES);
    let end = end.filter(|_| text.len() > MAX_TEXT_BYTES - 4);
    let end = end.and_then(|begin| text.as_bytes().get(begin..));
    match end {
        Some([b'~', digest @ ..]) => digest
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        _ => false,
    }
}

/// Returns the SHA-256 digest of text, as 64 hex digits.
fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use scim::ResourceType;
    use serde_json::json;

    use super::*;
    use crate::model::caller::Caller;
    use crate::model::resource_kind::{GROUP, USER};

    #[test]
    fn every_key_of_the_table() {
        let d: DirectoryId = "d0000000-0000-4000-8000-000000000000".parse().unwrap();
        let u: ResourceId = "a1000000-0000-4000-8000-000000000000".parse().unwrap();
        let e: EventId = "01900000-0000-7000-8000-000000000000".parse().unwrap();
        let ann = json!({"userName": "Ann@Example.com", "externalId": "00uA", "emails": [{"value": "Ann@Example.com"}]});
        let ann = ResourceType::user()
            .read(ann.as_object().unwrap().clone(), None)
            .unwrap();
        let caller = Caller::any(d);
        let user_lookups = USER.lookup_items(&caller, u, &ann).unwrap();
        let g: ResourceId = "b2000000-0000-4000-8000-000000000000".parse().unwrap();
        let sales = json!({"displayName": "Sales", "externalId": "00gS"});
        let sales = ResourceType::group()
            .read(sales.as_object().unwrap().clone(), None)
            .unwrap();
        let group_lookups = GROUP.lookup_items(&caller, g, &sales).unwrap();
        let keys: Vec<String> = [
            Key::directory(d),
            Key::ended(d),
            Key::resource(d, USER.prefix, u),
            Key::count(d, USER.prefix, u),
            Key::event(d, e),
            Key::resource(d, GROUP.prefix, g),
            Key::count(d, GROUP.prefix, g),
            Key::member(d, g, u),
            Key::removal(d, g, &e.to_string(), 0),
            Key::creation(d, g),
            Key::deletion(d, g),
            Key::unfinished(d, g),
            Key::nesting(d),
            Key::backlog(d),
            Key::waiting(d, "7"),
            Key::parked(d, &format!("{e}#{u}")),
            Key::used(d, "v"),
            Key::work(d),
            Key::repeat("ci", "1"),
        ]
        .into_iter()
        .chain(Key::listings(d, "acme", "crm"))
        .chain(user_lookups.into_keys())
        .chain(group_lookups.into_keys())
        .map(|key| {
            let pk = key.pk.replace(&d.to_string(), "d");
            format!("{pk} / {}", key.sk)
                .replace(&u.to_string(), "u")
                .replace(&g.to_string(), "g")
                .replace(&e.to_string(), "e")
                .replace(&d.to_string(), "d")
                .replace(&digest("crm"), "product")
                .replace(&digest("acme"), "tenant")
                .replace(&digest(&format!("{}#1", digest("ci"))), "request")
        })
        .collect();
        assert_eq!(
            keys,
            [
                "d / META",
                "d / ENDED",
                "d#U / u",
                "d#C / U#a1",
                "d#E / e",
                "d#G / g",
                "d#C / G#b2",
                "d#M#g / u",
                "d#M#g / removed#e#0000",
                "d#M#g / creating",
                "d#M#g / deleted",
                "d#S / g",
                "d#C / nesting",
                "d#E / ~backlog",
                "d#E / ~backlog#7",
                "d#P / e#u",
                "d#T / v",
                "d#L / work",
                "DIRECTORIES / R#request",
                "DIRECTORIES / A#d",
                "DIRECTORIES / P#product#tenant#d",
                "DIRECTORIES / T#tenant#d",
                "d#EM / ann@example.com#u",
                "d#N / ann@example.com",
                "d#X / 00uA#u",
                "d#GN / sales#g",
                "d#GX / 00gS#g",
            ]
        );
    }

    #[test]
    fn no_text_has_the_key_of_another_one() {
        let long = "a".repeat(600);
        let forged = capped(&long);
        assert_eq!(forged.len(), MAX_TEXT_BYTES);
        let twice = capped(&forged);
        let keys = [forged, twice.clone(), capped(&twice)];
        let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len(), "{keys:?}");
        // A letter of 4 bytes may not fit, and the key is shorter then.
        let wide = capped(&format!("aa{}", "\u{1f600}".repeat(200)));
        assert!(wide.len() < MAX_TEXT_BYTES);
        assert_ne!(capped(&wide), wide);
        // Shorter text stands in its key as it is, and what the version before has cut is found under the same key.
        let short = format!("{}~{}", "a".repeat(400), digest(""));
        assert_eq!(capped(&short), short);
        assert_eq!(
            capped(&long),
            format!("{}~{}", "a".repeat(447), digest(&long))
        );
    }

    #[test]
    fn long_text_fits_a_sort_key_and_stays_distinct() {
        let d = DirectoryId::random();
        let u = ResourceId::random();
        let long = "ß".repeat(5_000);
        let a = LookupKey::new(d, "X", &long).shared(u);
        let b = LookupKey::new(d, "X", &format!("{long}x")).shared(u);
        assert!(a.sk.len() <= 1_024, "{}", a.sk.len());
        assert_ne!(a, b);
    }
}
