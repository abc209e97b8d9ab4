//! The ids of directories, resources and events: a type each, one alphabet.
//!
//! An id is a UUID in its canonical form, 36 characters of `0-9a-f-`. That
//! alphabet has no `#`, so an id can neither forge nor break a key, and none
//! of the characters that API Gateway decodes in a path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The text was not a UUID in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: an id is a UUID in lower case, 36 characters long")]
pub struct InvalidId;

fn parse(text: &str) -> Result<Uuid, InvalidId> {
    let uuid = Uuid::try_parse(text).map_err(|_| InvalidId)?;
    let mut canonical = Uuid::encode_buffer();
    // One resource has one address: `try_parse` also takes upper case, braces and no hyphens.
    if uuid.hyphenated().encode_lower(&mut canonical) == text {
        Ok(uuid)
    } else {
        Err(InvalidId)
    }
}

/// A new UUIDv4. Random on purpose: order by id is stable, spreads the load
/// over the table, and lets resources be counted by prefix.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that makes random ids"
)]
fn random() -> Uuid {
    Uuid::new_v4()
}

/// What tells DynamoDB that several attempts are one request.
pub(crate) fn request_token() -> String {
    random().to_string()
}

/// Random bytes for a key: of two UUIDv4, which have 244 random bits.
pub(crate) fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    let (left, right) = bytes.split_at_mut(16);
    left.copy_from_slice(random().as_bytes());
    right.copy_from_slice(random().as_bytes());
    bytes
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

id! {
    /// The id of a directory: one customer's connection.
    DirectoryId
}

id! {
    /// The id of a resource, unique over all resource types (RFC 7643 §3.1).
    ResourceId
}

id! {
    /// The id of an event: a UUIDv7, so that event items sort by time.
    EventId
}

impl DirectoryId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// The 16 bytes of the id.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl ResourceId {
    /// The length of an id in [`ResourceId::to_bytes`].
    pub(crate) const BYTES: usize = 16;

    /// What comes before every id of a resource.
    pub(crate) const FIRST: Self = Self(Uuid::nil());
    /// What comes after every id of a resource.
    pub(crate) const LAST: Self = Self(Uuid::max());

    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// The id in a form that takes less room.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0.into_bytes()
    }

    /// The id of which these are the [`ResourceId::to_bytes`].
    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

/// Where the ids of new resources come from: random, unless a test wants them in an order.
#[derive(Clone)]
pub struct Ids {
    next: Arc<dyn Fn() -> ResourceId + Send + Sync>,
    repeat: bool,
}

impl Ids {
    /// Ids that `next` gives, each once.
    pub fn from_fn(next: impl Fn() -> ResourceId + Send + Sync + 'static) -> Self {
        Self {
            next: Arc::new(next),
            repeat: false,
        }
    }

    /// This id.
    #[must_use]
    pub fn one(id: ResourceId) -> Self {
        Self::from_fn(move || id)
    }

    /// This id, for what may be there already under it: the same request before has created it.
    #[must_use]
    pub fn repeated(id: ResourceId) -> Self {
        Self {
            next: Arc::new(move || id),
            repeat: true,
        }
    }

    pub(crate) fn repeat(&self) -> bool {
        self.repeat
    }

    pub(crate) fn next(&self) -> ResourceId {
        (self.next)()
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::from_fn(ResourceId::random)
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").finish_non_exhaustive()
    }
}

impl EventId {
    /// A new id of an event that happens at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::NoContext,
            seconds,
            nanos,
        )))
    }

    /// What every id of an event before `time` comes before as text, and no other.
    pub(crate) fn before(time: Timestamp) -> String {
        // A UUIDv7 begins with its time in milliseconds (RFC 9562 §5.7).
        let time = u64::try_from(time.as_millisecond()).unwrap_or(0);
        format!("{:08x}-{:04x}", time >> 16, time & 0xffff)
    }

    /// The id of what this event says about one of several resources: always
    /// the same, and as old.
    pub(crate) fn about(self, resource: ResourceId) -> Self {
        let own = self.0.into_bytes();
        let digest = Sha256::new()
            .chain_update(own)
            .chain_update(resource.to_bytes())
            .finalize();
        let mut bytes = own;
        // The first six bytes of a UUIDv7 are its time.
        for (byte, random) in bytes.iter_mut().zip(digest).skip(6) {
            *byte = random;
        }
        let id = uuid::Builder::from_bytes(bytes)
            .with_version(uuid::Version::SortRand)
            .with_variant(uuid::Variant::RFC4122);
        Self(id.into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = ResourceId::random().to_string();
        assert_eq!(id.parse::<ResourceId>().unwrap().to_string(), id);
        for other in [
            id.to_uppercase(),
            id.replace('-', ""),
            format!("{{{id}}}"),
            format!("{id} "),
            String::new(),
            "a#b".to_owned(),
        ] {
            assert_eq!(other.parse::<ResourceId>(), Err(InvalidId), "{other}");
        }
    }

    #[test]
    fn an_event_about_many_has_one_id_for_each() {
        let event = EventId::at("2026-01-01T00:00:00.001Z".parse().unwrap());
        let (ann, bob) = (ResourceId::random(), ResourceId::random());
        let id = event.about(ann);
        assert_eq!(id, event.about(ann));
        assert_ne!(id, event.about(bob));
        let (id, event) = (id.to_string(), event.to_string());
        assert_eq!(id[..15], event[..15], "time and version");
        assert!(id.parse::<EventId>().is_ok());
    }

    #[test]
    fn event_ids_sort_by_time() {
        let earlier = EventId::at("2026-01-01T00:00:00.001Z".parse().unwrap()).to_string();
        let later = EventId::at("2026-01-01T00:00:00.002Z".parse().unwrap()).to_string();
        assert!(earlier < later);
        let between = EventId::before("2026-01-01T00:00:00.002Z".parse().unwrap());
        assert!(earlier < between && between < later, "{between}");
    }
}
