//! Who calls: the boundary between the directories of different customers.

use std::sync::Arc;

use crate::model::directory::Directory;
use crate::model::id::ResourceId;
use crate::model::settings::Types;

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
    /// The gateway calls this after it has checked a token or the scope of an
    /// administrator, and recovery for a request that was interrupted. clippy's
    /// `disallowed-methods` refuses every other call that gives no reason.
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
        self.directory.types()
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

#[cfg(test)]
impl Caller {
    /// Of a directory of which nothing was chosen.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests have nobody to authenticate"
    )]
    pub(crate) fn any(id: crate::DirectoryId) -> Self {
        use crate::model::directory::{NewDirectory, Provider};
        use crate::model::settings::Settings;

        let new = NewDirectory {
            tenant: "acme".to_owned(),
            product: "crm".to_owned(),
            name: "Acme".to_owned(),
            provider: Provider::Okta,
            settings: Settings::default(),
            webhook: None,
        };
        let directory = Directory::new(id, new, jiff::Timestamp::UNIX_EPOCH).unwrap();
        Self::authenticated(directory.into(), "https://example.com")
    }
}
