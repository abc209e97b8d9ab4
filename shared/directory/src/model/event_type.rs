//! The types of events: the `detail-type` on the bus.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Declares the types of events, each with its text on the bus.
macro_rules! detail_types {
    ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
        /// What happened: the `detail-type` of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum DetailType {
            $($(#[$doc])+ $name,)+
            /// An event of a type that this version does not know, which another version of Rollcall wrote.
            Other(OtherType),
        }

        impl DetailType {
            /// The types that this version knows, with their texts on the bus.
            pub const KNOWN: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),+];
        }
    };
}

detail_types! {
    /// A user was created.
    UserCreated = "user.created",
    /// Attributes of a user changed, `active` among them.
    UserUpdated = "user.updated",
    /// A user was deleted.
    UserDeleted = "user.deleted",
    /// A group was created.
    GroupCreated = "group.created",
    /// Attributes of a group other than its members changed.
    GroupUpdated = "group.updated",
    /// A group was deleted.
    GroupDeleted = "group.deleted",
    /// A user became a member of a group.
    GroupUserAdded = "group.user_added",
    /// A user was removed from a group.
    GroupUserRemoved = "group.user_removed",
    /// A group became a member of another group.
    GroupGroupAdded = "group.group_added",
    /// A group was removed from another group.
    GroupGroupRemoved = "group.group_removed",
    /// A directory was created.
    DirectoryCreated = "directory.created",
    /// The name, the settings or the webhook of a directory changed.
    DirectoryUpdated = "directory.updated",
    /// A directory accepts changes again.
    DirectoryActivated = "directory.activated",
    /// A directory does not accept changes any more.
    DirectoryDeactivated = "directory.deactivated",
    /// A directory was deleted with all its data.
    DirectoryDeleted = "directory.deleted",
}

/// The text of a type of events that this version does not know, stored inline so that [`DetailType`] is `Copy`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OtherType {
    bytes: [u8; OtherType::MAX_BYTES],
    len: u8,
}

impl OtherType {
    /// Maximum length. Types of events are two words; EventBridge accepts 128 characters.
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
    /// Returns the type with that text, if this version knows it.
    #[must_use]
    pub fn known(text: &str) -> Option<Self> {
        let found = Self::KNOWN.iter().find(|(_, name)| *name == text);
        found.map(|(of, _)| *of)
    }

    /// Returns an event of this type as webhooks receive it.
    #[must_use]
    pub fn shown(self, detail: &Value) -> Value {
        json!({"id": detail.get("id"), "type": self, "time": detail.get("time"), "detail": detail})
    }

    /// Returns the text on the bus.
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
