//! Bearer tokens: from Secrets Manager, as digests, compared in constant time.
//!
//! One secret per directory holds `{"token": "…"}`, and beside it what the token
//! replaced: the digest of the one before, and until when that is good. So one
//! read of `AWSCURRENT` says all there is to say, whatever state the staging
//! labels are in. A secret without that, written by hand or by an earlier
//! release, is read together with `AWSPREVIOUS`, which is good until
//! `previousUntil`, or for 24 hours. A second rotation within the time of the
//! token before ends the oldest one: two are good at a time. A current version
//! without a token means that all are revoked.
//!
//! Every change is a compare-and-set: the new version is put as `AWSPENDING`,
//! which moves nothing, and `AWSCURRENT` moves to it from the very version that
//! the change was decided on. Secrets Manager refuses if the label is elsewhere
//! ("UpdateSecretVersionStage"). Such a change is answered when a read shows it.
//!
//! Nothing here ever logs a token, and no token is kept once its digest is taken.

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
use crate::{Error, Rest, secret};

/// The stage of the version in use.
const CURRENT: &str = "AWSCURRENT";
/// The stage of the version in use before.
const PREVIOUS: &str = "AWSPREVIOUS";
/// The stage of a version that is to be the next one.
const PENDING: &str = "AWSPENDING";
/// How long the previous token is good when its successor does not say.
const GRACE: SignedDuration = SignedDuration::from_hours(24);
/// How many tokens a process remembers to have been used.
const REMEMBERED: usize = 10_000;
/// The pauses between reads until one shows a change that was made: less than a second together.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];
/// How often the end of all tokens is tried when rotations are faster.
const TRIES: usize = 3;
/// What cannot be: the SDK chooses the ids of versions at random.
const TAKEN: &str = "the id of a new version of a secret is taken";

/// A secret that a provisioning client shows. Its `Debug` form hides it.
pub struct BearerToken(String);

impl BearerToken {
    /// 256 random bits behind a prefix by which secret scanners know it.
    fn random() -> Result<Self, Error> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(Error::internal)?;
        Ok(Self(format!("rollcall_{}", hex(&bits))))
    }

    /// The token itself, to be shown once to whoever created it.
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) type Digest = [u8; 32];

pub(crate) fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// What a version of a secret holds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    /// `None`: all tokens are revoked, until there is a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Which version issued the token, if it was not this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued: Option<Issued>,
    /// Until when the token before is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_until: Option<Timestamp>,
    /// The token before; `Some(None)` if there is none, and `None` if this
    /// does not say it, so that `AWSPREVIOUS` has to.
    #[serde(
        default,
        deserialize_with = "said",
        skip_serializing_if = "Option::is_none"
    )]
    previous: Option<Option<Previous>>,
    /// The version that this one takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
}

/// When a token was issued, and what it is known by: the id of the version of the secret that held it first.
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

/// A member that is there, be it null.
fn said<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Previous>>, D::Error> {
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
    /// When the token was issued that it holds.
    fn issued(&self) -> Issued {
        self.secret.issued.clone().unwrap_or_else(|| Issued {
            id: self.id.clone(),
            made: self.made,
        })
    }

    /// Its token, as the one before in its successor.
    fn as_previous(&self) -> Option<Previous> {
        let token = self.secret.token.as_deref()?;
        Some(Previous {
            issued: self.issued(),
            sha256: hex(&digest(token)),
        })
    }

    /// Until when the token before is good, if this is the current version.
    fn previous_until(&self) -> Timestamp {
        let usual = self.made.saturating_add(GRACE).unwrap_or(Timestamp::MAX);
        self.secret.previous_until.unwrap_or(usual)
    }
}

/// What the current version of a directory's secret says.
struct Held {
    current: Version,
    previous: Option<Previous>,
}

/// A token of a directory, as a process keeps it.
struct Token {
    digest: Digest,
    /// What its use is noted by.
    id: Arc<str>,
}

/// A directory and the digests of its tokens.
struct Known {
    directory: Arc<Directory>,
    current: Option<Token>,
    previous: Option<(Token, Timestamp)>,
}

impl Known {
    fn new(directory: Directory, held: Option<Held>) -> Result<Self, Error> {
        let mut known = Self {
            directory: Arc::new(directory),
            current: None,
            previous: None,
        };
        let Some(Held { current, previous }) = held else {
            return Ok(known);
        };
        known.current = current.secret.token.as_deref().map(|token| Token {
            digest: digest(token),
            id: current.issued().id.into(),
        });
        if let Some(previous) = previous {
            let token = Token {
                digest: unhex(&previous.sha256).ok_or_else(malformed)?,
                id: previous.issued.id.into(),
            };
            known.previous = Some((token, current.previous_until()));
        }
        Ok(known)
    }

    /// The directory and what the use of `token` is noted by, if it is good.
    fn accepts(&self, token: &Digest, now: Timestamp) -> Option<(Arc<Directory>, Arc<str>)> {
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until);
        // Both are compared, whatever comes of the first.
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

fn unhex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// The error of serde_json would quote the secret.
fn malformed() -> Error {
    Error::internal("a directory's secret is not {\"token\": \"…\"}")
}

/// What may be told of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// Whether it is the one that was issued last.
    pub current: bool,
    /// When it was issued.
    pub created: Timestamp,
    /// When it was last used, to the hour; `None` if it was not yet.
    pub last_used: Option<Timestamp>,
    /// When it ends, if it was rotated.
    pub expires: Option<Timestamp>,
}

/// A new token, and when the one before ends, if there was one.
#[derive(Debug)]
pub struct Rotated {
    /// The new one.
    pub token: BearerToken,
    /// Until when the one before is good.
    pub previous_expires: Option<Timestamp>,
}

/// The tokens of the directories that this process has met.
pub(crate) struct Tokens {
    secrets: Client,
    store: Store,
    prefix: String,
    fresh: SecretCache<DirectoryId, Known>,
    /// The hour in which the use of each token was last noted.
    marked: Cache<Arc<str>, i64>,
    rest: Rest,
}

impl Tokens {
    pub(crate) fn new(secrets: Client, store: Store, prefix: String, rest: Rest) -> Self {
        Self {
            secrets,
            store,
            prefix,
            // Whether there is such a directory is one cheap read.
            fresh: SecretCache::new(rest.clone()),
            marked: Cache::new(REMEMBERED),
            rest,
        }
    }

    /// A new token, kept as the directory's secret, of which there is none yet.
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
            // The first version has the directory's id, by which it is known again.
            .client_request_token(directory.to_string())
            .description("The SCIM bearer token of a Rollcall directory")
            .secret_string(secret.text()?)
            .send()
            .await;
        match made {
            Ok(_) => Ok(token),
            // The same request made it a moment ago.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_resource_exists_exception()) =>
            {
                self.issued(directory).await?.ok_or_else(|| {
                    Error::internal("a directory has a secret before it has a token")
                })
            }
            Err(error) => Err(secret::failed(error)),
        }
    }

    /// The token that the directory was created with, for whoever did not get
    /// the answer: made now if that failed, and `None` when it was rotated since.
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

    /// A new token; the one before is good for `grace` more. The same `request`
    /// again answers the same token, or does what is left of its work if it was
    /// interrupted; `None` when there is a newer token.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when another change of the tokens was faster.
    pub(crate) async fn rotate(
        &self,
        directory: DirectoryId,
        grace: SignedDuration,
        request: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Rotated>, Error> {
        let Some(before) = self.version(directory, CURRENT).await? else {
            // It was created, and that was interrupted.
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

    /// The token that a request has made, whose last step is done now if it was interrupted before that.
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

    /// Ends the token before the current one.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when a rotation was faster: the token before is another one then.
    pub(crate) async fn revoke_previous(
        &self,
        directory: DirectoryId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(Held { current, previous }) = self.held(directory).await? else {
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

    /// Ends all tokens, until there is a new one.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when rotations were faster, again and again.
    pub(crate) async fn revoke_all(
        &self,
        directory: DirectoryId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tries = 0;
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
            tries += 1;
            match self.change(directory, &next).await {
                Err(Error::Overtaken) if tries < TRIES => {}
                outcome => return outcome,
            }
        }
    }

    /// Makes `next` the current version, in place of the one that it replaces.
    async fn change(&self, directory: DirectoryId, next: &Secret) -> Result<(), Error> {
        match self.put(directory, next, None).await? {
            Put::New(id) => self.advance(directory, next, &id).await,
            Put::Taken => Err(Error::internal(TAKEN)),
        }
    }

    /// Puts a version that is not the current one yet.
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
                _ => Err(secret::failed(error)),
            },
        }
    }

    /// Moves the label of the current version to `id`, from the version that it
    /// was made to replace, and waits until a read shows it.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when another version is the current one.
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
                // The label is elsewhere: or here, if the answer to a first attempt was lost.
                Some(
                    UpdateSecretVersionStageError::InvalidParameterException(_)
                    | UpdateSecretVersionStageError::InvalidRequestException(_),
                ) => false,
                // One of the versions is so old that it is gone.
                Some(UpdateSecretVersionStageError::ResourceNotFoundException(_)) => {
                    return Err(Error::Overtaken);
                }
                _ => return Err(secret::failed(error)),
            },
        };
        // Secrets Manager may answer for a moment as it did before: who is told of
        // a token uses it at once.
        let mut pauses = PAUSES.iter();
        let shown = loop {
            let shown = self.version(directory, CURRENT).await?.map(|now| now.id);
            match (shown.as_deref() == Some(from), pauses.next()) {
                (true, Some(pause)) => (self.rest)(*pause).await,
                _ => break shown,
            }
        };
        match moved || shown.as_deref() == Some(id) {
            true => Ok(()),
            false => Err(Error::Overtaken),
        }
    }

    /// What may be told of the tokens that are good, the current one first.
    pub(crate) async fn states(
        &self,
        directory: DirectoryId,
        now: Timestamp,
    ) -> Result<Vec<TokenState>, Error> {
        let used = async { self.store.last_used(directory).await.map_err(Error::Store) };
        let (held, used) = try_join(self.held(directory), used).await?;
        let Some(Held { current, previous }) = held else {
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

    /// The directory of that id, if `token` is one of its tokens, and what its use is noted by.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`] for a wrong token and for an unknown
    /// directory alike; [`directory::Error::Busy`] when AWS throttles, and
    /// [`Error::Unavailable`] when it fails.
    pub(crate) async fn verify(
        &self,
        id: DirectoryId,
        token: &str,
        now: Timestamp,
    ) -> Result<(Arc<Directory>, Arc<str>), Error> {
        let token = digest(token);
        let accept = |known: &Known| known.accepts(&token, now);
        self.fresh.verify(id, now, accept, || self.read(id)).await
    }

    /// The directory first, and its secret only if it is there: an unknown one
    /// costs one read of the table. `None` also if it is being deleted: its
    /// tokens are over, whether the secret is still there or not.
    async fn read(&self, id: DirectoryId) -> Result<Option<Known>, Error> {
        let directory = match self.store.directory(id).await {
            Err(directory::Error::Broken(error)) => return Err(Error::Unavailable(error)),
            Err(error @ directory::Error::Unreadable(_)) => {
                return Err(Error::Unavailable(error.into()));
            }
            read => read?,
        };
        let standing = |directory: &Directory| directory.status != Status::Deleting;
        let Some(directory) = directory.filter(standing) else {
            return Ok(None);
        };
        crate::log_unreadable(&directory);
        Known::new(directory, self.held(id).await?).map(Some)
    }

    /// What the secret of a directory says, if there is one.
    async fn held(&self, id: DirectoryId) -> Result<Option<Held>, Error> {
        let Some(current) = self.version(id, CURRENT).await? else {
            return Ok(None);
        };
        let previous = match &current.secret.previous {
            Some(previous) => previous.clone(),
            // After the current one: a rotation in between makes the one that was
            // read the previous one, which is good all the same.
            None => {
                let previous = self.version(id, PREVIOUS).await?;
                previous.and_then(|previous| previous.as_previous())
            }
        };
        Ok(Some(Held { current, previous }))
    }

    /// The version of a directory's secret that has a stage.
    async fn version(&self, id: DirectoryId, stage: &str) -> Result<Option<Version>, Error> {
        self.version_of(id, Some(stage), None).await
    }

    /// The version of a directory's secret that has a stage, or that id.
    async fn version_of(
        &self,
        id: DirectoryId,
        stage: Option<&str>,
        version: Option<&str>,
    ) -> Result<Option<Version>, Error> {
        let asked = self
            .secrets
            .get_secret_value()
            .secret_id(self.name(id))
            .set_version_stage(stage.map(str::to_owned))
            .set_version_id(version.map(str::to_owned));
        let Some(version) = secret::read(asked).await? else {
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

    /// Notes that a token is used in this hour: written beside the request,
    /// once an hour, and never a reason for it to fail.
    pub(crate) fn mark(
        &self,
        directory: DirectoryId,
        token: &Arc<str>,
        now: Timestamp,
    ) -> Option<JoinHandle<()>> {
        let hour = now.as_second().div_euclid(60 * 60);
        if self.marked.get(token) == Some(hour) {
            return None;
        }
        self.marked.insert(token.clone(), hour);
        let (store, token) = (self.store.clone(), token.clone());
        Some(tokio::spawn(async move {
            if let Err(error) = store.mark_used(directory, &token, now).await {
                tracing::warn!(error = %Error::Store(error).source_chain(), directory.id = %directory, "the use of a token could not be marked");
            }
        }))
    }
}

/// What became of a version that was to be put.
enum Put {
    /// It is there, under this id.
    New(String),
    /// There is another one under its id: that of the same request.
    Taken,
}

impl Secret {
    fn text(&self) -> Result<String, Error> {
        // The error of serde_json could quote the secret.
        serde_json::to_string(self).map_err(|_| Error::internal("a secret cannot be written"))
    }
}

/// The secrets of directories, for whoever deletes them and reads none.
pub struct DirectorySecrets {
    secrets: Client,
    prefix: String,
}

impl DirectorySecrets {
    /// Those of this account, named with that prefix.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, prefix: impl Into<String>) -> Self {
        Self {
            secrets: Client::new(config),
            prefix: prefix.into(),
        }
    }

    /// Deletes the secret of a directory, if it is there.
    ///
    /// # Errors
    ///
    /// When Secrets Manager fails.
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
            Err(error) => Err(secret::failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_says_whether_there_is_a_token_before() {
        let read = |text: &str| serde_json::from_str::<Secret>(text).unwrap();
        // By hand, or by an earlier release.
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
    fn a_digest_is_read_as_it_is_written() {
        let known = digest("t");
        assert_eq!(unhex(&hex(&known)), Some(known));
        for other in ["", "00", &"0".repeat(63), &"x".repeat(64), &"é".repeat(32)] {
            assert_eq!(unhex(other), None, "{other}");
        }
    }
}
