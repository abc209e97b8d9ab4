//! Bearer tokens: stored in AWS Secrets Manager, cached as digests, compared in constant time.
//!
//! Each directory has one secret. It holds `{"token": "…"}`, the digest of the previous token, and the time at which the
//! previous token ends. One read of `AWSCURRENT` is therefore sufficient, whatever the state of the staging labels. A secret
//! without the previous token, written by hand or by an earlier release, is read together with `AWSPREVIOUS`, which is valid
//! until `previousUntil`, or for 24 hours. At most two tokens are valid at a time: a second rotation ends the oldest one. A
//! current version without a token means that all tokens are revoked.
//!
//! Every change is a compare-and-set. The new version is put as `AWSPENDING`, which moves no other label. `AWSCURRENT` then
//! moves to it from the version on which the change was based. Secrets Manager refuses this if the label has moved (AWS
//! Secrets Manager API Reference, "UpdateSecretVersionStage"). The change is complete when a read returns it.
//!
//! This module does not log tokens, and does not keep a token after it has computed the digest.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use aws_sdk_secretsmanager::operation::update_secret_version_stage::UpdateSecretVersionStageError;
use directory::{Directory, DirectoryId, Status, Store};
use futures_util::future::try_join;
use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio::task::JoinHandle;

use crate::secret_cache::SecretCache;
use crate::{Error, Sleep, secret};

/// The staging label of the version in use.
const CURRENT: &str = "AWSCURRENT";
/// The staging label of the version that was in use before.
const PREVIOUS: &str = "AWSPREVIOUS";
/// The staging label of a version that is to become the current one.
const PENDING: &str = "AWSPENDING";
/// Time for which the previous token is valid if the secret does not say.
const GRACE: SignedDuration = SignedDuration::from_hours(24);
/// Maximum number of tokens for which a process caches the hour of the last use.
const CAPACITY: usize = 10_000;
/// Pauses between reads until one returns a change that was made: less than a second in total.
const READ_BACKOFF: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];
/// Number of attempts to revoke all tokens while concurrent rotations are first.
const REVOKE_ATTEMPTS: usize = 3;
/// Error for an id that is taken although the SDK chose it at random.
const TAKEN: &str = "the id of a new version of a secret is taken";

/// The bearer token of a provisioning client. Its `Debug` form hides it.
pub struct BearerToken(String);

impl BearerToken {
    /// Returns a token of 256 random bits, with a prefix by which secret scanners recognise it.
    fn random() -> Result<Self, Error> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(Error::internal)?;
        Ok(Self(format!("rollcall_{}", hex::encode(bits))))
    }

    /// Returns the token, to show it once to the client that created it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(hidden)")
    }
}

pub(crate) type Digest = [u8; 32];

pub(crate) fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// The content of a version of a secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    /// The current token. `None` if all tokens are revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The version that issued the token, if it was not this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued: Option<Issued>,
    /// The time at which the previous token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_until: Option<Timestamp>,
    /// The previous token. `Some(None)` if there is none, and `None` if the secret does not say, so that `AWSPREVIOUS` holds
    /// it.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    previous: Option<Option<Previous>>,
    /// The version that this one replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
}

/// The time at which a token was issued, and its id: the id of the version of the secret that first held it.
#[derive(Clone, Serialize, Deserialize)]
struct Issued {
    id: String,
    made: Timestamp,
}

/// A token that was replaced.
#[derive(Clone, Serialize, Deserialize)]
struct Previous {
    #[serde(flatten)]
    issued: Issued,
    /// The SHA-256 digest of the token.
    sha256: String,
}

/// Deserializes a member that is present, possibly null.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Previous>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A version of a directory's secret.
struct Version {
    id: String,
    made: Timestamp,
    current: bool,
    secret: Secret,
}

impl Version {
    /// Returns when the token of this version was issued.
    fn issued(&self) -> Issued {
        self.secret.issued.clone().unwrap_or_else(|| Issued {
            id: self.id.clone(),
            made: self.made,
        })
    }

    /// Returns the token of this version as the previous token of the next one.
    fn as_previous(&self) -> Option<Previous> {
        let token = self.secret.token.as_deref()?;
        Some(Previous {
            issued: self.issued(),
            sha256: hex::encode(digest(token)),
        })
    }

    /// Returns when the previous token ends, if this is the current version.
    fn previous_until(&self) -> Timestamp {
        let usual = self.made.saturating_add(GRACE).unwrap_or(Timestamp::MAX);
        self.secret.previous_until.unwrap_or(usual)
    }
}

/// The current version of the secret of a directory, and the previous token.
struct CurrentSecret {
    current: Version,
    previous: Option<Previous>,
}

/// A token of a directory as a process caches it.
struct Token {
    digest: Digest,
    /// The id under which its use is recorded.
    id: Arc<str>,
}

/// A directory and the digests of its tokens, as a process caches them.
struct CachedTokens {
    directory: Arc<Directory>,
    current: Option<Token>,
    previous: Option<(Token, Timestamp)>,
}

impl CachedTokens {
    fn new(directory: Directory, current: Option<CurrentSecret>) -> Result<Self, Error> {
        let mut known = Self {
            directory: Arc::new(directory),
            current: None,
            previous: None,
        };
        let Some(CurrentSecret { current, previous }) = current else {
            return Ok(known);
        };
        known.current = current.secret.token.as_deref().map(|token| Token {
            digest: digest(token),
            id: current.issued().id.into(),
        });
        if let Some(previous) = previous {
            let token = Token {
                digest: parse_digest(&previous.sha256).ok_or_else(malformed)?,
                id: previous.issued.id.into(),
            };
            known.previous = Some((token, current.previous_until()));
        }
        Ok(known)
    }

    /// Returns the directory and the id of `token`, if the token is valid.
    fn accepts(&self, token: &Digest, now: Timestamp) -> Option<(Arc<Directory>, Arc<str>)> {
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until);
        // Both tokens are compared, so the time does not depend on which one matches.
        let tokens = [self.current.as_ref(), previous.map(|(token, _)| token)];
        let mut found = None;
        for known in tokens.into_iter().flatten() {
            if known.digest.ct_eq(token).into() {
                found = Some(known.id.clone());
            }
        }
        found.map(|id| (self.directory.clone(), id))
    }
}

fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

/// Replaces the error of `serde_json`, which would quote the secret.
fn malformed() -> Error {
    Error::internal("a directory's secret is not {\"token\": \"…\"}")
}

/// Metadata of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// Whether the token is the one that was issued last.
    pub current: bool,
    /// When the token was issued.
    pub created: Timestamp,
    /// When the token was last used, to the hour. `None` if it was not used yet.
    pub last_used: Option<Timestamp>,
    /// When the token ends, if it was replaced by a rotation.
    pub expires: Option<Timestamp>,
}

/// Result of a rotation.
#[derive(Debug)]
pub struct Rotated {
    /// The new token.
    pub token: BearerToken,
    /// When the previous token ends, if there was one.
    pub previous_expires: Option<Timestamp>,
}

/// The tokens of the directories, with a cache.
pub(crate) struct Tokens {
    secrets: Client,
    store: Store,
    prefix: String,
    cache: SecretCache<DirectoryId, CachedTokens>,
    /// The hour in which the use of each token was last recorded.
    recorded: Cache<Arc<str>, i64>,
    sleep: Sleep,
}

impl Tokens {
    pub(crate) fn new(secrets: Client, store: Store, prefix: String, sleep: Sleep) -> Self {
        Self {
            secrets,
            store,
            prefix,
            // A look-up of an unknown directory is one cheap read of the table.
            cache: SecretCache::new(sleep.clone()),
            recorded: Cache::new(CAPACITY),
            sleep,
        }
    }

    /// Issues the first token of a directory and creates its secret.
    pub(crate) async fn issue(&self, directory: DirectoryId) -> Result<BearerToken, Error> {
        let token = BearerToken::random()?;
        let secret = Secret {
            token: Some(token.expose().to_owned()),
            issued: None,
            previous_until: None,
            previous: Some(None),
            replaces: None,
        };
        let made = self
            .secrets
            .create_secret()
            .name(self.name(directory))
            // The first version has the id of the directory, by which `reissue` recognises it.
            .client_request_token(directory.to_string())
            .description("The SCIM bearer token of a Rollcall directory")
            .secret_string(secret.text()?)
            .send()
            .await;
        match made {
            Ok(_) => Ok(token),
            // A repeated request created the secret a moment ago.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_resource_exists_exception()) =>
            {
                self.issued(directory).await?.ok_or_else(|| {
                    Error::internal(
                        "the secret of a new directory exists already and holds another token",
                    )
                })
            }
            Err(error) => Err(secret::classify(error)),
        }
    }

    /// Returns the first token of a directory, for a client that did not receive the response. Issues it if that failed before.
    /// Returns `None` if the token was rotated since.
    pub(crate) async fn reissue(
        &self,
        directory: DirectoryId,
    ) -> Result<Option<BearerToken>, Error> {
        match self.version(directory, CURRENT).await? {
            None => self.issue(directory).await.map(Some),
            Some(_) => self.issued(directory).await,
        }
    }

    async fn issued(&self, directory: DirectoryId) -> Result<Option<BearerToken>, Error> {
        let version = self.version(directory, CURRENT).await?;
        let first = version.filter(|version| version.id == directory.to_string());
        Ok(first
            .and_then(|version| version.secret.token)
            .map(BearerToken))
    }

    /// Issues a new token. The previous one is valid for `grace` longer. The same `request` returns the same token, and
    /// completes a rotation that was interrupted. Returns `None` if there is a newer token.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Overtaken`] when a concurrent change of the tokens was first.
    pub(crate) async fn rotate(
        &self,
        directory: DirectoryId,
        grace: SignedDuration,
        request: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Rotated>, Error> {
        let Some(before) = self.version(directory, CURRENT).await? else {
            // The creation of the directory was interrupted before its token was issued.
            let token = self.issue(directory).await?;
            return Ok(Some(Rotated {
                token,
                previous_expires: None,
            }));
        };
        let previous = before.as_previous();
        let until = now.saturating_add(grace).unwrap_or(Timestamp::MAX);
        let until = previous.is_some().then_some(until);
        let token = BearerToken::random()?;
        let next = Secret {
            token: Some(token.expose().to_owned()),
            issued: None,
            previous_until: until,
            previous: Some(previous),
            replaces: Some(before.id),
        };
        let put = self.put(directory, &next, request.clone()).await?;
        match (put, request) {
            (Put::New(id), _) => {
                self.advance(directory, &next, &id).await?;
                Ok(Some(Rotated {
                    token,
                    previous_expires: until,
                }))
            }
            (Put::Taken, Some(request)) => self.rotated(directory, &request).await,
            (Put::Taken, None) => Err(Error::internal(TAKEN)),
        }
    }

    /// Returns the token that a request has issued, and completes the rotation if it was interrupted.
    async fn rotated(
        &self,
        directory: DirectoryId,
        request: &str,
    ) -> Result<Option<Rotated>, Error> {
        let version = self.version_of(directory, None, Some(request)).await?;
        let Some(version) = version else {
            return Ok(None);
        };
        if !version.current {
            match self.advance(directory, &version.secret, &version.id).await {
                Ok(()) => {}
                Err(Error::Overtaken) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let secret = version.secret;
        Ok(secret.token.map(|token| Rotated {
            token: BearerToken(token),
            previous_expires: secret.previous_until,
        }))
    }

    /// Revokes the previous token.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Overtaken`] when a concurrent rotation was first, because the previous token is then another one.
    pub(crate) async fn revoke_previous(
        &self,
        directory: DirectoryId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(CurrentSecret { current, previous }) = self.current(directory).await? else {
            return Ok(());
        };
        if previous.is_none() || current.previous_until() <= now {
            return Ok(());
        }
        let next = Secret {
            issued: Some(current.issued()),
            token: current.secret.token,
            previous_until: Some(now),
            previous: Some(None),
            replaces: Some(current.id),
        };
        self.change(directory, &next).await
    }

    /// Revokes all tokens. A rotation issues a new one.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Overtaken`] when concurrent rotations were first on every attempt.
    pub(crate) async fn revoke_all(
        &self,
        directory: DirectoryId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut attempts = 0;
        loop {
            let Some(current) = self.version(directory, CURRENT).await? else {
                return Ok(());
            };
            let next = Secret {
                token: None,
                issued: None,
                previous_until: Some(now),
                previous: Some(None),
                replaces: Some(current.id),
            };
            attempts += 1;
            match self.change(directory, &next).await {
                Err(Error::Overtaken) if attempts < REVOKE_ATTEMPTS => {}
                outcome => return outcome,
            }
        }
    }

    /// Makes `next` the current version in place of the one that it replaces.
    async fn change(&self, directory: DirectoryId, next: &Secret) -> Result<(), Error> {
        match self.put(directory, next, None).await? {
            Put::New(id) => self.advance(directory, next, &id).await,
            Put::Taken => Err(Error::internal(TAKEN)),
        }
    }

    /// Puts a version with the label [`PENDING`].
    async fn put(
        &self,
        directory: DirectoryId,
        next: &Secret,
        request: Option<String>,
    ) -> Result<Put, Error> {
        let put = self
            .secrets
            .put_secret_value()
            .secret_id(self.name(directory))
            .set_client_request_token(request)
            .version_stages(PENDING)
            .secret_string(next.text()?)
            .send()
            .await;
        match put {
            Ok(put) => Ok(Put::New(put.version_id.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(PutSecretValueError::ResourceExistsException(_)) => Ok(Put::Taken),
                Some(PutSecretValueError::ResourceNotFoundException(_)) => {
                    Err(directory::Error::Deleting.into())
                }
                _ => Err(secret::classify(error)),
            },
        }
    }

    /// Moves the label [`CURRENT`] to `id` from the version that `next` replaces, and waits until a read returns it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Overtaken`] when another version is current.
    async fn advance(&self, directory: DirectoryId, next: &Secret, id: &str) -> Result<(), Error> {
        let from = next.replaces.as_deref().ok_or(Error::Overtaken)?;
        let moved = self
            .secrets
            .update_secret_version_stage()
            .secret_id(self.name(directory))
            .version_stage(CURRENT)
            .remove_from_version_id(from)
            .move_to_version_id(id)
            .send()
            .await;
        let moved = match moved {
            Ok(_) => true,
            Err(error) => match error.as_service_error() {
                // Another version has the label, or this one if the response to a first attempt was lost.
                Some(
                    UpdateSecretVersionStageError::InvalidParameterException(_)
                    | UpdateSecretVersionStageError::InvalidRequestException(_),
                ) => false,
                // Secrets Manager has removed one of the versions because of its age.
                Some(UpdateSecretVersionStageError::ResourceNotFoundException(_)) => {
                    return Err(Error::Overtaken);
                }
                _ => return Err(secret::classify(error)),
            },
        };
        // Secrets Manager can return the previous version for a moment, and the client uses the new token at once.
        let mut pauses = READ_BACKOFF.iter();
        let shown = loop {
            let shown = self.version(directory, CURRENT).await?.map(|now| now.id);
            match (shown.as_deref() == Some(from), pauses.next()) {
                (true, Some(pause)) => (self.sleep)(*pause).await,
                _ => break shown,
            }
        };
        if moved || shown.as_deref() == Some(id) {
            Ok(())
        } else {
            Err(Error::Overtaken)
        }
    }

    /// Returns the metadata of the valid tokens, the current one first.
    pub(crate) async fn states(
        &self,
        directory: DirectoryId,
        now: Timestamp,
    ) -> Result<Vec<TokenState>, Error> {
        let used = async { self.store.last_used(directory).await.map_err(Error::Store) };
        let (current, used) = try_join(self.current(directory), used).await?;
        let Some(CurrentSecret { current, previous }) = current else {
            return Ok(vec![]);
        };
        let state = |issued: &Issued, expires: Option<Timestamp>| TokenState {
            current: expires.is_none(),
            created: issued.made,
            last_used: used.get(&issued.id).copied(),
            expires,
        };
        let mut states = vec![];
        if current.secret.token.is_some() {
            states.push(state(&current.issued(), None));
        }
        let until = current.previous_until();
        let previous = previous.filter(|_| now < until);
        states.extend(previous.map(|previous| state(&previous.issued, Some(until))));
        Ok(states)
    }

    fn name(&self, directory: DirectoryId) -> String {
        format!("{}{directory}", self.prefix)
    }

    /// Returns the directory and the id of the token, if `token` is a valid token of the directory.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Unauthenticated`] for a wrong token and for an unknown directory alike, [`directory::Error::Busy`] when
    /// AWS throttles, and [`Error::Unavailable`] when AWS fails.
    pub(crate) async fn verify(
        &self,
        id: DirectoryId,
        token: &str,
        now: Timestamp,
    ) -> Result<(Arc<Directory>, Arc<str>), Error> {
        let token = digest(token);
        let accept = |known: &CachedTokens| known.accepts(&token, now);
        self.cache
            .get_or_refresh(id, now, accept, || self.read(id))
            .await
    }

    /// Reads a directory, and its secret if the directory exists, so an unknown directory costs one read of the table. Returns
    /// `None` also for a directory that is being deleted, whether its secret still exists or not.
    async fn read(&self, id: DirectoryId) -> Result<Option<CachedTokens>, Error> {
        let directory = match self.store.directory(id).await {
            Err(directory::Error::Broken(error)) => return Err(Error::Unavailable(error)),
            Err(error @ directory::Error::Unreadable(_)) => {
                return Err(Error::Unavailable(error.into()));
            }
            read => read?,
        };
        let exists = |directory: &Directory| directory.status != Status::Deleting;
        let Some(directory) = directory.filter(exists) else {
            return Ok(None);
        };
        crate::directories::log_unreadable(&directory);
        CachedTokens::new(directory, self.current(id).await?).map(Some)
    }

    /// Reads the secret of a directory, if it exists.
    async fn current(&self, id: DirectoryId) -> Result<Option<CurrentSecret>, Error> {
        let Some(current) = self.version(id, CURRENT).await? else {
            return Ok(None);
        };
        let previous = match &current.secret.previous {
            Some(previous) => previous.clone(),
            // This read follows that of the current version. A rotation in between makes that version the previous one, whose
            // token is still valid.
            None => {
                let previous = self.version(id, PREVIOUS).await?;
                previous.and_then(|previous| previous.as_previous())
            }
        };
        Ok(Some(CurrentSecret { current, previous }))
    }

    /// Reads the version of the secret of a directory with a staging label.
    async fn version(&self, id: DirectoryId, stage: &str) -> Result<Option<Version>, Error> {
        self.version_of(id, Some(stage), None).await
    }

    /// Reads the version of the secret of a directory with a staging label or an id.
    async fn version_of(
        &self,
        id: DirectoryId,
        stage: Option<&str>,
        version: Option<&str>,
    ) -> Result<Option<Version>, Error> {
        let request = self
            .secrets
            .get_secret_value()
            .secret_id(self.name(id))
            .set_version_stage(stage.map(str::to_owned))
            .set_version_id(version.map(str::to_owned));
        let Some(version) = secret::read(request).await? else {
            return Ok(None);
        };
        let made = version
            .created_date()
            .and_then(|made| Timestamp::from_second(made.secs()).ok())
            .unwrap_or(Timestamp::MIN);
        let secret = serde_json::from_str(version.secret_string().unwrap_or_default())
            .map_err(|_| malformed())?;
        let current = version.version_stages().iter().any(|have| have == CURRENT);
        Ok(Some(Version {
            id: version.version_id.unwrap_or_default(),
            made,
            current,
            secret,
        }))
    }

    /// Records the use of a token once an hour, in a task beside the request. A failure does not fail the request.
    pub(crate) fn record_use(
        &self,
        directory: DirectoryId,
        token: &Arc<str>,
        now: Timestamp,
    ) -> Option<JoinHandle<()>> {
        let hour = now.as_second().div_euclid(60 * 60);
        if self.recorded.get(token) == Some(hour) {
            return None;
        }
        self.recorded.insert(token.clone(), hour);
        let (store, token) = (self.store.clone(), token.clone());
        Some(tokio::spawn(async move {
            if let Err(error) = store.mark_used(directory, &token, now).await {
                tracing::warn!(error = %Error::Store(error).source_chain(), directory.id = %directory, "the use of a token could not be recorded");
            }
        }))
    }
}

/// Outcome of putting a version.
enum Put {
    /// The version was put with this id.
    New(String),
    /// The id is taken by a version of the same request.
    Taken,
}

impl Secret {
    fn text(&self) -> Result<String, Error> {
        // The error of `serde_json` could quote the secret.
        serde_json::to_string(self).map_err(|_| Error::internal("a secret cannot be serialised"))
    }
}

/// The secrets of directories, for functions that delete them without reading them.
pub struct DirectorySecrets {
    secrets: Client,
    prefix: String,
}

impl DirectorySecrets {
    /// Returns the secrets of this account. `prefix` is the prefix of their names.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, prefix: impl Into<String>) -> Self {
        Self {
            secrets: Client::new(config),
            prefix: prefix.into(),
        }
    }

    /// Deletes the secret of a directory, if it exists.
    ///
    /// # Errors
    ///
    /// Returns an error when Secrets Manager fails.
    pub async fn delete(&self, directory: DirectoryId) -> Result<(), Error> {
        let deleted = self
            .secrets
            .delete_secret()
            .secret_id(format!("{}{directory}", self.prefix))
            .force_delete_without_recovery(true)
            .send()
            .await;
        match deleted {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_resource_not_found_exception()) =>
            {
                Ok(())
            }
            Err(error) => Err(secret::classify(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_distinguishes_no_previous_token_from_an_unknown_one() {
        let read = |text: &str| serde_json::from_str::<Secret>(text).unwrap();
        // Written by hand, or by an earlier release.
        let old = read(r#"{"token": "t", "previousUntil": "2026-01-01T00:00:00Z"}"#);
        assert!(old.previous.is_none());
        assert!(matches!(read(r#"{"previous": null}"#).previous, Some(None)));
        let issued = r#"{"id": "v", "made": "2026-01-01T00:00:00Z", "sha256": "00"}"#;
        let text = format!(r#"{{"token":"t","previous":{issued},"replaces":"v"}}"#);
        let new = read(&text);
        let written = read(&new.text().unwrap());
        let previous = written.previous.flatten().unwrap();
        assert_eq!(
            (previous.issued.id.as_str(), previous.sha256.as_str()),
            ("v", "00")
        );
        assert_eq!(written.replaces.as_deref(), Some("v"));
    }

    #[test]
    fn a_digest_survives_a_round_trip() {
        let known = digest("t");
        assert_eq!(parse_digest(&hex::encode(known)), Some(known));
        for other in ["", "00", &"0".repeat(63), &"x".repeat(64), &"é".repeat(32)] {
            assert_eq!(parse_digest(other), None, "{other}");
        }
    }
}
