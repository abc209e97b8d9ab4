//! The life of a directory and of its tokens: create, rotate, revoke, delete.

use directory::{Creation, Directory, DirectoryId, NewDirectory, Precondition, Repeatable, Status};
use jiff::SignedDuration;

use crate::tokens::{BearerToken, Rotated, TokenState};
use crate::{Error, Gateway, SigningSecret};

/// Outcome of a request to create a directory.
#[derive(Debug)]
pub enum Created {
    /// The directory is new.
    New(Directory, BearerToken),
    /// The same request created it before.
    Again(Directory, BearerToken),
    /// The same request created it before. It was deleted since, or its token was rotated.
    Gone(DirectoryId),
    /// Another request used the same key.
    Differs,
}

impl Gateway {
    /// Creates a directory with a new token. Nothing returns the token again.
    ///
    /// # Errors
    ///
    /// Returns an error for invalid values, and when DynamoDB or Secrets Manager fails.
    pub async fn create_directory(
        &self,
        new: NewDirectory,
    ) -> Result<(Directory, BearerToken), Error> {
        match self.create_directory_once(new, None).await? {
            Created::New(directory, token) => Ok((directory, token)),
            Created::Again(..) | Created::Gone(_) | Created::Differs => Err(Error::internal(
                "a request without an idempotency key was taken for a repeated one",
            )),
        }
    }

    /// Creates a directory once. The same `request` within a day returns the directory that it created, with its token, for
    /// a client that did not receive the response.
    ///
    /// # Errors
    ///
    /// See [`Gateway::create_directory`].
    pub async fn create_directory_once(
        &self,
        new: NewDirectory,
        request: Option<&Repeatable<'_>>,
    ) -> Result<Created, Error> {
        let now = self.now();
        let directory = Directory::new(DirectoryId::random(), new, now)?;
        // The directory comes first. Without a token it is only idle, but a token without a directory is refused.
        match self
            .store
            .create_directory(&directory, request, now)
            .await?
        {
            Creation::Made => {
                let token = self.tokens.issue(directory.id).await?;
                Ok(Created::New(directory, token))
            }
            Creation::Repeated(id) => {
                let created = self.store.directory(id).await?;
                let created = created.filter(|created| created.status != Status::Deleting);
                let Some(directory) = created else {
                    return Ok(Created::Gone(id));
                };
                Ok(match self.tokens.reissue(id).await? {
                    Some(token) => Created::Again(directory, token),
                    None => Created::Gone(id),
                })
            }
            Creation::Differs => Ok(Created::Differs),
        }
    }

    /// Issues a new token for a directory. It is valid at once in every process. The previous token is valid for `grace`
    /// longer, and the token before that ends. Returns `None` when the same `request` was made before and its token was
    /// replaced since.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Overtaken`] when a concurrent request changed the tokens first, and an error when Secrets Manager
    /// fails. The same `request` completes a rotation that was interrupted. An interrupted rotation does not block others.
    pub async fn rotate_token(
        &self,
        directory: DirectoryId,
        grace: SignedDuration,
        request: Option<String>,
    ) -> Result<Option<Rotated>, Error> {
        let now = self.now();
        self.tokens.rotate(directory, grace, request, now).await
    }

    /// Returns the metadata of the valid tokens of a directory.
    ///
    /// # Errors
    ///
    /// Returns an error when DynamoDB or Secrets Manager fails.
    pub async fn token_states(&self, directory: DirectoryId) -> Result<Vec<TokenState>, Error> {
        self.tokens.states(directory, self.now()).await
    }

    /// Revokes the previous token of a directory, within a minute in every process.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Overtaken`] when a concurrent rotation was first, and an error when Secrets Manager fails.
    pub async fn revoke_previous_token(&self, directory: DirectoryId) -> Result<(), Error> {
        self.tokens.revoke_previous(directory, self.now()).await
    }

    /// Revokes all tokens of a directory, within a minute in every process. A rotation issues a new one.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Overtaken`] when concurrent rotations were first on every attempt, and an error when Secrets Manager
    /// fails.
    pub async fn revoke_tokens(&self, directory: DirectoryId) -> Result<(), Error> {
        self.tokens.revoke_all(directory, self.now()).await
    }

    /// Returns the secret that signs deliveries to the webhook of a directory, or `None` without a webhook.
    ///
    /// # Errors
    ///
    /// See [`crate::WebhookKey::secret`].
    pub async fn webhook_secret(
        &self,
        directory: &Directory,
    ) -> Result<Option<SigningSecret>, Error> {
        let (Some(webhook), Some(_)) = (&directory.webhook, self.webhooks) else {
            return Ok(None);
        };
        let secret = self.webhook_key.secret(directory.id, webhook, self.now());
        secret.await.map(Some)
    }

    /// Begins to delete a directory, in one transaction, if the precondition allows its version. Its tokens end within a
    /// minute in every process. The sweeper deletes its items and its secret.
    ///
    /// # Errors
    ///
    /// Returns [`directory::Error::NotFound`], [`directory::Error::Changed`] when the precondition fails and nothing was
    /// changed, and an error when DynamoDB fails.
    pub async fn delete_directory(
        &self,
        directory: DirectoryId,
        precondition: &Precondition,
    ) -> Result<Directory, Error> {
        let store = &self.store;
        let deleting = store.delete_directory(directory, precondition, self.now());
        Ok(deleting.await?)
    }
}

/// Logs the parts of a directory that this version cannot read.
pub(crate) fn log_unreadable(directory: &Directory) {
    for part in &directory.unreadable {
        tracing::warn!(
            directory.id = %directory.id,
            pointer = part.pointer,
            reason = part.detail,
            "a part of the directory cannot be read by this version, and is left unchanged"
        );
    }
}
