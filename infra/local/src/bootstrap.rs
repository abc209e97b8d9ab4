//! The directory that the first start of the runner creates.

use aws_sdk_secretsmanager::Client;
use directory::{DirectoryId, NewDirectory, Provider, Settings};
use gateway::{ADMIN_KEY_PREFIX, ADMIN_SECRETS};
use serde::Deserialize;

use crate::{Error, Stack, atomic_file, chain};

/// The directory of the first start, with its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstDirectory {
    /// Id of the directory.
    pub id: String,
    /// Bearer token of the directory.
    pub token: String,
}

/// The documented part of the secret of a directory.
#[derive(Deserialize)]
struct Secret {
    token: String,
}

/// Name of the admin key that the template creates.
const ADMIN: &str = "first";

/// The documented part of the secret of an admin key.
#[derive(Deserialize)]
struct AdminSecret {
    key: String,
}

impl Stack {
    /// Returns the admin key that the template creates.
    ///
    /// # Errors
    ///
    /// Returns an error when its secret cannot be read.
    pub async fn admin_key(&self) -> Result<String, Error> {
        let answer = Client::new(self.cloud().config())
            .get_secret_value()
            .secret_id(format!("{}{ADMIN_SECRETS}{ADMIN}", self.secret_prefix()))
            .send()
            .await
            .map_err(|error| Error::Secret(chain(&error)))?;
        // The error of `serde_json` would quote the secret.
        let secret: AdminSecret = serde_json::from_str(answer.secret_string().unwrap_or_default())
            .map_err(|_| Error::Secret("the secret of the admin key must hold a key".to_owned()))?;
        Ok(format!("{ADMIN_KEY_PREFIX}{ADMIN}_{}", secret.key))
    }

    /// Returns the directory of the first start, or creates it. Its id is kept in the data directory, and its token only in
    /// its secret.
    ///
    /// # Errors
    ///
    /// Returns an error when the directory cannot be read or created.
    pub async fn first_directory(&self) -> Result<FirstDirectory, Error> {
        let file = self.cloud().data().map(|data| data.join("first-directory"));
        if let Some(file) = &file {
            let kept = atomic_file::read(file).map_err(|error| Error::Data {
                path: file.clone(),
                reason: error.to_string(),
            })?;
            let id = kept.and_then(|id| String::from_utf8(id).ok()?.trim().parse().ok());
            if let Some(id) = id
                && let Some(known) = self.known(id).await?
            {
                return Ok(known);
            }
        }
        let new = NewDirectory {
            tenant: "demo".to_owned(),
            product: "demo".to_owned(),
            name: "Demo".to_owned(),
            provider: Provider::Okta,
            settings: Settings::default(),
            webhook: None,
        };
        let made = self.gateway().create_directory(new).await;
        let (directory, token) = made.map_err(|error| Error::Directory(error.source_chain()))?;
        let id = directory.id.to_string();
        if let Some(file) = &file {
            atomic_file::replace(file, id.as_bytes()).map_err(|error| Error::Data {
                path: file.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(FirstDirectory {
            id,
            token: token.expose().to_owned(),
        })
    }

    /// Reads a directory. Returns `None` if the table or the secrets are not those in which it was created.
    async fn known(&self, id: DirectoryId) -> Result<Option<FirstDirectory>, Error> {
        let found = self.gateway().store().directory(id).await;
        if found
            .map_err(|error| Error::Directory(chain(&error)))?
            .is_none()
        {
            return Ok(None);
        }
        let answer = Client::new(self.cloud().config())
            .get_secret_value()
            .secret_id(format!("{}{id}", self.secret_prefix()))
            .send()
            .await;
        let secret = match answer {
            Ok(answer) => answer.secret_string.unwrap_or_default(),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_resource_not_found_exception()) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::Directory(chain(&error))),
        };
        // The error of `serde_json` would quote the secret.
        let secret: Secret = serde_json::from_str(&secret)
            .map_err(|_| Error::Directory("its secret must hold a token".to_owned()))?;
        Ok(Some(FirstDirectory {
            id: id.to_string(),
            token: secret.token,
        }))
    }
}
