//! A directory: one customer's connection, and who calls for it.

use std::sync::Arc;

use jiff::Timestamp;
use scim::{Profile, ResourceType};
use serde::{Deserialize, Serialize};

use crate::cursor::CursorKey;
use crate::id::{DirectoryId, ResourceId};

/// Which identity provider is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provider {
    /// Okta.
    #[serde(rename = "okta-scim-v2")]
    Okta,
    /// Microsoft Entra ID.
    #[serde(rename = "azure-scim-v2")]
    Azure,
    /// OneLogin.
    #[serde(rename = "onelogin-scim-v2")]
    OneLogin,
    /// JumpCloud.
    #[serde(rename = "jumpcloud-scim-v2")]
    JumpCloud,
    /// Any other SCIM 2.0 client.
    #[serde(rename = "generic-scim-v2")]
    Generic,
}

/// Whether a directory takes changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Active,
    /// Its provisioning client is answered 403, so that no change is taken for kept.
    Inactive,
}

/// What can be chosen for each directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Whether a second group of the same `displayName`, in any case, is refused.
    /// RFC 7643 §4.2 does not ask for it.
    pub unique_group_names: bool,
    /// Whether requests are read as the SCIM interoperability profile has it ([`Profile::Strict`]).
    pub strict: bool,
}

/// The resource types of one directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Types {
    /// Users.
    pub user: Arc<ResourceType>,
    /// Groups.
    pub group: Arc<ResourceType>,
}

impl Default for Types {
    /// Those of a directory of which nothing was chosen.
    fn default() -> Self {
        Self::new(&Settings::default())
    }
}

impl Types {
    fn new(settings: &Settings) -> Self {
        let profile = match settings.strict {
            true => Profile::Strict,
            false => Profile::Tolerant,
        };
        let of = |ty: &ResourceType| {
            Arc::new(ResourceType {
                profile,
                ..ty.clone()
            })
        };
        Self {
            user: of(ResourceType::user()),
            group: of(ResourceType::group()),
        }
    }
}

/// A directory that is to be.
#[derive(Clone, Debug)]
pub struct NewDirectory {
    /// The team's own name for its customer.
    pub tenant: String,
    /// The team's own name for its application.
    pub product: String,
    /// What people call the directory.
    pub name: String,
    /// The identity provider.
    pub provider: Provider,
    /// What was chosen for it.
    pub settings: Settings,
}

/// One customer's connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Its id, part of the SCIM base URL.
    pub id: DirectoryId,
    /// The team's own name for its customer.
    pub tenant: String,
    /// The team's own name for its application.
    pub product: String,
    /// What people call the directory.
    pub name: String,
    /// The identity provider.
    pub provider: Provider,
    /// Whether it takes changes.
    pub status: Status,
    /// When it was created.
    pub created: Timestamp,
    /// What was chosen for it.
    #[serde(default)]
    pub settings: Settings,
    /// What its cursors are signed with.
    cursor_key: CursorKey,
    /// What follows from the settings.
    #[serde(skip)]
    types: Types,
}

impl Directory {
    /// A new directory, active from the beginning.
    #[must_use]
    pub fn new(id: DirectoryId, new: NewDirectory, now: Timestamp) -> Self {
        Self {
            id,
            tenant: new.tenant,
            product: new.product,
            name: new.name,
            provider: new.provider,
            status: Status::Active,
            created: now,
            types: Types::new(&new.settings),
            settings: new.settings,
            cursor_key: CursorKey::random(),
        }
    }

    /// Reads what the table keeps.
    pub(crate) fn from_stored(document: &str) -> Result<Self, serde_json::Error> {
        let directory: Self = serde_json::from_str(document)?;
        Ok(Self {
            types: Types::new(&directory.settings),
            ..directory
        })
    }

    /// Its resource types.
    #[must_use]
    pub fn types(&self) -> &Types {
        &self.types
    }

    pub(crate) fn cursor_key(&self) -> &CursorKey {
        &self.cursor_key
    }
}

/// Who is calling: a provisioning client that proved to hold the token of one directory.
///
/// Store operations take it in place of an id, so a request that was not
/// authenticated, or one for another directory, is a type error.
#[derive(Clone, Debug)]
pub struct Caller {
    directory: Arc<Directory>,
    base_url: Arc<str>,
}

impl Caller {
    /// The caller for `directory`, whose token was verified. `base_url` is the
    /// address that the client reached the directory by, without a slash at its
    /// end: the beginning of every `meta.location`.
    ///
    /// Only the gateway's authentication may call this; clippy's
    /// `disallowed-methods` holds everyone else off.
    #[must_use]
    pub fn authenticated(directory: Arc<Directory>, base_url: &str) -> Self {
        Self {
            directory,
            base_url: base_url.into(),
        }
    }

    /// The directory that this caller reaches.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The resource types of its directory.
    #[must_use]
    pub fn types(&self) -> &Types {
        &self.directory.types
    }

    /// The SCIM base URL that the client used.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The address of a resource of the type that `endpoint` (`/Users`) serves.
    #[must_use]
    pub fn location(&self, endpoint: &str, id: ResourceId) -> String {
        location(&self.base_url, endpoint, id)
    }
}

/// The address of a resource below a SCIM base URL.
pub(crate) fn location(base_url: &str, endpoint: &str, id: ResourceId) -> String {
    format!("{base_url}{endpoint}/{id}")
}
