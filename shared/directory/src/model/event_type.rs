//! The types of events: the `detail-type` on the bus.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What happened: the `detail-type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DetailType {
    /// A user was created.
    UserCreated,
    /// Attributes of a user changed, `active` among them.
    UserUpdated,
    /// A user was deleted.
    UserDeleted,
    /// A group was created.
    GroupCreated,
    /// Attributes of a group changed, which its members are not.
    GroupUpdated,
    /// A group was deleted.
    GroupDeleted,
    /// A user became a member of a group.
    GroupUserAdded,
    /// A user is no member of a group any more.
    GroupUserRemoved,
    /// A group became a member of another group.
    GroupGroupAdded,
    /// A group is no member of another group any more.
    GroupGroupRemoved,
    /// A directory was created.
    DirectoryCreated,
    /// The name, the settings or the webhook of a directory changed.
    DirectoryUpdated,
    /// A directory takes changes again.
    DirectoryActivated,
    /// A directory takes no changes any more.
    DirectoryDeactivated,
    /// A directory is gone, with everything that was in it.
    DirectoryDeleted,
    /// An event of a type that this version does not know, which another version of Rollcall wrote.
    Other(OtherType),
}

/// The text of a type of events that this version does not know, in place, so that [`DetailType`] can be copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OtherType {
    bytes: [u8; OtherType::MAX_BYTES],
    len: u8,
}

impl OtherType {
    /// The longest text. Types of events are two words; EventBridge takes 128 characters.
    const MAX_BYTES: usize = 63;

    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::MAX_BYTES];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).ok()?;
        Some(Self { bytes, len })
    }

    fn as_str(&self) -> &str {
        let text = self.bytes.get(..usize::from(self.len));
        text.and_then(|text| str::from_utf8(text).ok())
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for OtherType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl DetailType {
    /// The types that this version knows, with their texts on the bus.
    const KNOWN: [(Self, &'static str); 15] = [
        (Self::UserCreated, "user.created"),
        (Self::UserUpdated, "user.updated"),
        (Self::UserDeleted, "user.deleted"),
        (Self::GroupCreated, "group.created"),
        (Self::GroupUpdated, "group.updated"),
        (Self::GroupDeleted, "group.deleted"),
        (Self::GroupUserAdded, "group.user_added"),
        (Self::GroupUserRemoved, "group.user_removed"),
        (Self::GroupGroupAdded, "group.group_added"),
        (Self::GroupGroupRemoved, "group.group_removed"),
        (Self::DirectoryCreated, "directory.created"),
        (Self::DirectoryUpdated, "directory.updated"),
        (Self::DirectoryActivated, "directory.activated"),
        (Self::DirectoryDeactivated, "directory.deactivated"),
        (Self::DirectoryDeleted, "directory.deleted"),
    ];

    /// The type of that text, if this version knows it.
    #[must_use]
    pub fn known(text: &str) -> Option<Self> {
        let found = Self::KNOWN.iter().find(|(_, name)| *name == text);
        found.map(|(of, _)| *of)
    }

    /// An event of this type as the log shows it and webhooks get it.
    #[must_use]
    pub fn shown(self, detail: &Value) -> Value {
        json!({"id": detail.get("id"), "type": self, "time": detail.get("time"), "detail": detail})
    }

    /// The text on the bus.
    #[must_use]
    pub fn as_str(&self) -> &str {
        if let Self::Other(text) = self {
            return text.as_str();
        }
        let found = Self::KNOWN.iter().find(|(of, _)| of == self);
        found.map_or("", |(_, name)| name)
    }
}

impl From<DetailType> for String {
    fn from(of: DetailType) -> Self {
        of.as_str().to_owned()
    }
}

impl TryFrom<String> for DetailType {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let other = || OtherType::new(&text).map(Self::Other);
        Self::known(&text)
            .or_else(other)
            .ok_or("a type of events has 63 bytes at most")
    }
}
