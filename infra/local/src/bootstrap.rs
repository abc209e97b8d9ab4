//! The directory that a first start makes, so that there is something to send to.

use aws_sdk_secretsmanager::Client;
use directory::{DirectoryId, NewDirectory, Provider, Settings};
use gateway::{ADMIN_KEY_PREFIX, ADMIN_SECRETS};
use serde::Deserialize;

use crate::{Error, Stack, atomic_file, chain};

/// What a person, or a test, needs to call the SCIM endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstDirectory {
    /// The directory's id.
    pub id: String,
    /// Its bearer token.
    pub token: String,
}

/// The part of a directory's secret that the gateway documents.
#[derive(Deserialize)]
struct Secret {
    token: String,
}

/// The name of the admin key that the template makes.
const ADMIN: &str = "first";

/// The part of an admin key's secret that the gateway documents.
#[derive(Deserialize)]
struct AdminSecret {
    key: String,
}

impl Stack {
    /// The first admin key, which the template makes.
    pub async fn admin_key(&self) -> Result<String, Error> {
        let answer = Client::new(self.cloud().config())
            .get_secret_value()
            .secret_id(format!("{}{ADMIN_SECRETS}{ADMIN}", self.secret_prefix()))
            .send()
            .await
            .map_err(|error| Error::Secret(chain(&error)))?;
        // The error of serde_json would quote the secret.
        let secret: AdminSecret = serde_json::from_str(answer.secret_string().unwrap_or_default())
            .map_err(|_| Error::Secret("that of the admin key holds no key".to_owned()))?;
        Ok(format!("{ADMIN_KEY_PREFIX}{ADMIN}_{}", secret.key))
    }

    /// The directory of the first start; made now if there is none. Its id is kept in the data directory and its token
    /// in the secrets alone.
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

    /// The directory, unless the table or the secrets are not the ones it was made in.
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
        // The error of serde_json would quote the secret.
        let secret: Secret = serde_json::from_str(&secret)
            .map_err(|_| Error::Directory("its secret holds no token".to_owned()))?;
        Ok(Some(FirstDirectory {
            id: id.to_string(),
            token: secret.token,
        }))
    }
}
