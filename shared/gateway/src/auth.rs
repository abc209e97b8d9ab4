//! Bearer tokens: from Secrets Manager, as digests, compared in constant time.
//!
//! One secret per directory holds `{"token": "…"}`. Its versions `AWSCURRENT`
//! and `AWSPREVIOUS` are both good until the grace time of a rotation ends:
//! `previousUntil` in the current one, or 24 hours after it was made. AWS keeps
//! two stages, so a second rotation within that time ends the older token. A
//! current version without a token means that all are revoked. Nothing
//! here ever logs a token, and no token is kept once its digest is taken.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use axum::extract::{FromRequestParts, RawPathParams};
use directory::{Caller, Directory, DirectoryId, Status, Store};
use futures_util::future::try_join3;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use lambda_http::request::RequestContext;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio::task::JoinHandle;

use crate::fresh::Fresh;
use crate::{Error, Gateway, secret};

/// The stage of the version in use.
const CURRENT: &str = "AWSCURRENT";
/// The stage of the version in use before.
const PREVIOUS: &str = "AWSPREVIOUS";
/// How long the previous token is good when its successor does not say.
const GRACE: SignedDuration = SignedDuration::from_hours(24);
/// How many versions of secrets a process remembers to have been used.
const REMEMBERED: usize = 10_000;
/// How long an answer waits for the mark of its token, which is written beside it once an hour.
const PATIENCE: Duration = Duration::from_millis(100);

/// A secret that a provisioning client shows. Its `Debug` form hides it.
pub struct BearerToken(String);

impl BearerToken {
    /// 256 random bits behind a prefix by which secret scanners know it.
    fn random() -> Result<Self, Error> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(Error::internal)?;
        let hex: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(format!("rollcall_{hex}")))
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

/// What a secret's versions hold.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    /// None: all tokens are revoked, until there is a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_until: Option<Timestamp>,
}

/// A version of a directory's secret.
struct Version {
    id: String,
    made: Timestamp,
    current: bool,
    secret: Secret,
}

pub(crate) type Digest = [u8; 32];

pub(crate) fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// A token of a directory, as a process keeps it.
struct Token {
    digest: Digest,
    /// The version of the secret that holds it.
    version: Arc<str>,
}

impl Token {
    fn of(version: &Version) -> Option<Self> {
        let token = version.secret.token.as_deref()?;
        Some(Self {
            digest: digest(token),
            version: version.id.as_str().into(),
        })
    }
}

/// A directory and the digests of its tokens.
struct Known {
    directory: Arc<Directory>,
    current: Option<Token>,
    previous: Option<(Token, Timestamp)>,
}

impl Known {
    /// The directory and which version of its secret holds `token`, if one does.
    fn accepts(&self, token: &Digest, now: Timestamp) -> Option<(Arc<Directory>, Arc<str>)> {
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until);
        // Both are compared, whatever comes of the first.
        let tokens = [self.current.as_ref(), previous.map(|(token, _)| token)];
        let mut found = None;
        for known in tokens.into_iter().flatten() {
            if known.digest.ct_eq(token).into() {
                found = Some(known.version.clone());
            }
        }
        found.map(|version| (self.directory.clone(), version))
    }
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
    fresh: Fresh<DirectoryId, Known>,
    /// The hour in which each version of a secret was last marked as used.
    marked: Mutex<HashMap<Arc<str>, i64>>,
}

impl Tokens {
    pub(crate) fn new(secrets: Client, store: Store, prefix: String) -> Self {
        Self {
            secrets,
            store,
            prefix,
            fresh: Fresh::default(),
            marked: Mutex::default(),
        }
    }

    /// A new token, kept as the directory's secret, of which there is none yet.
    pub(crate) async fn issue(&self, directory: DirectoryId) -> Result<BearerToken, Error> {
        let token = BearerToken::random()?;
        let made = self
            .secrets
            .create_secret()
            .name(self.name(directory))
            // The first version has the directory's id, by which it is known again.
            .client_request_token(directory.to_string())
            .description("The SCIM bearer token of a Rollcall directory")
            .secret_string(text(Some(&token), None)?)
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
            Err(error) => Err(Error::internal(error)),
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
    /// again answers the same token, and `None` when there is a newer one.
    pub(crate) async fn rotate(
        &self,
        directory: DirectoryId,
        grace: SignedDuration,
        request: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Rotated>, Error> {
        let Some(before) = self.version(directory, CURRENT).await? else {
            // It was created, and then the process died.
            let token = self.issue(directory).await?;
            return Ok(Some(Rotated {
                token,
                previous_expires: None,
            }));
        };
        let until = now.saturating_add(grace).unwrap_or(Timestamp::MAX);
        let until = before.secret.token.is_some().then_some(until);
        let token = BearerToken::random()?;
        let put = self
            .secrets
            .put_secret_value()
            .secret_id(self.name(directory))
            .set_client_request_token(request.clone())
            .secret_string(text(Some(&token), until)?)
            .send()
            .await;
        match (put, request) {
            (Ok(_), _) => Ok(Some(Rotated {
                token,
                previous_expires: until,
            })),
            (Err(error), Some(request))
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_resource_exists_exception()) =>
            {
                let rotated = self.version_of(directory, None, Some(&request)).await?;
                let current = rotated.filter(|version| version.current);
                Ok(current.and_then(|version| {
                    Some(Rotated {
                        token: BearerToken(version.secret.token?),
                        previous_expires: version.secret.previous_until,
                    })
                }))
            }
            (Err(error), _) => Err(Error::internal(error)),
        }
    }

    /// Ends the token before the current one.
    pub(crate) async fn revoke_previous(&self, directory: DirectoryId) -> Result<(), Error> {
        let Some(previous) = self.version(directory, PREVIOUS).await? else {
            return Ok(());
        };
        self.secrets
            .update_secret_version_stage()
            .secret_id(self.name(directory))
            .version_stage(PREVIOUS)
            .remove_from_version_id(previous.id)
            .send()
            .await
            .map_err(Error::internal)?;
        Ok(())
    }

    /// Ends all tokens, until there is a new one.
    pub(crate) async fn revoke_all(
        &self,
        directory: DirectoryId,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.version(directory, CURRENT).await?.is_none() {
            return Ok(());
        }
        // The current one becomes the previous one, whose time is over.
        self.secrets
            .put_secret_value()
            .secret_id(self.name(directory))
            .secret_string(text(None, Some(now))?)
            .send()
            .await
            .map_err(Error::internal)?;
        Ok(())
    }

    /// Deletes the secret of a directory, and its tokens with it.
    pub(crate) async fn delete(&self, directory: DirectoryId) -> Result<(), Error> {
        let deleted = self
            .secrets
            .delete_secret()
            .secret_id(self.name(directory))
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
            Err(error) => Err(Error::internal(error)),
        }
    }

    /// What may be told of the tokens that are good, the current one first.
    pub(crate) async fn states(
        &self,
        directory: DirectoryId,
        now: Timestamp,
    ) -> Result<Vec<TokenState>, Error> {
        let used = async { self.store.last_used(directory).await.map_err(Error::Store) };
        let (current, previous, used) = try_join3(
            self.version(directory, CURRENT),
            self.version(directory, PREVIOUS),
            used,
        )
        .await?;
        let Some(current) = current else {
            return Ok(vec![]);
        };
        let state = |version: &Version, expires| TokenState {
            current: version.current,
            created: version.made,
            last_used: used.get(&version.id).copied(),
            expires,
        };
        let mut states = vec![];
        if current.secret.token.is_some() {
            states.push(state(&current, None));
        }
        let until = current.previous_until();
        let previous = previous.filter(|version| version.secret.token.is_some() && now < until);
        states.extend(previous.map(|version| state(&version, Some(until))));
        Ok(states)
    }

    fn name(&self, directory: DirectoryId) -> String {
        format!("{}{directory}", self.prefix)
    }

    /// The directory of that id, if `token` is one of its tokens, and the version of the secret that holds it.
    async fn verify(
        &self,
        id: DirectoryId,
        token: &str,
        now: Timestamp,
    ) -> Result<(Arc<Directory>, Arc<str>), Error> {
        let token = digest(token);
        let accept = |known: &Known| known.accepts(&token, now);
        self.fresh
            .verify(id, now, accept, async || self.read(id).await)
            .await
    }

    /// Both tokens and the directory, side by side; `None` if there is no such directory or secret.
    async fn read(&self, id: DirectoryId) -> Result<Option<Known>, Error> {
        let directory = async {
            self.store
                .directory(id)
                .await
                .map_err(|error| Error::Unavailable(error.into()))
        };
        let (current, previous, directory) = try_join3(
            self.version(id, CURRENT),
            self.version(id, PREVIOUS),
            directory,
        )
        .await?;
        let (Some(current), Some(directory)) = (current, directory) else {
            return Ok(None);
        };
        crate::log_unreadable(&directory);
        let until = current.previous_until();
        let previous = previous.as_ref().and_then(Token::of);
        Ok(Some(Known {
            directory: Arc::new(directory),
            current: Token::of(&current),
            previous: previous.map(|token| (token, until)),
        }))
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
        // The error of serde_json would quote the secret.
        let secret = serde_json::from_str(version.secret_string().unwrap_or_default())
            .map_err(|_| Error::internal("a directory's secret is not {\"token\": \"…\"}"))?;
        let current = version.version_stages().iter().any(|have| have == CURRENT);
        Ok(Some(Version {
            id: version.version_id.unwrap_or_default(),
            made,
            current,
            secret,
        }))
    }

    /// Remembers that a token is used in this hour: written beside the request,
    /// once an hour, and never a reason for it to fail.
    fn mark(
        &self,
        directory: DirectoryId,
        version: &Arc<str>,
        now: Timestamp,
    ) -> Option<JoinHandle<()>> {
        let hour = now.as_second().div_euclid(60 * 60);
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if marked.len() >= REMEMBERED && !marked.contains_key(version) {
            marked.clear();
        }
        if marked.insert(version.clone(), hour) == Some(hour) {
            return None;
        }
        let (store, version) = (self.store.clone(), version.clone());
        Some(tokio::spawn(async move {
            if let Err(error) = store.mark_used(directory, &version, now).await {
                tracing::warn!(error = %Error::Store(error).source_chain(), directory.id = %directory, "the use of a token could not be marked");
            }
        }))
    }
}

impl Version {
    /// Until when the version before is good, if this is the current one.
    fn previous_until(&self) -> Timestamp {
        let usual = self.made.saturating_add(GRACE).unwrap_or(Timestamp::MAX);
        self.secret.previous_until.unwrap_or(usual)
    }
}

/// What a version of a secret holds.
fn text(token: Option<&BearerToken>, previous_until: Option<Timestamp>) -> Result<String, Error> {
    let secret = Secret {
        token: token.map(|token| token.expose().to_owned()),
        previous_until,
    };
    // The error of serde_json could quote the secret.
    serde_json::to_string(&secret).map_err(|_| Error::internal("a secret cannot be written"))
}

/// What is done beside a request, and may take a moment longer than it.
#[derive(Clone, Default)]
pub(crate) struct Beside(Arc<Mutex<Option<JoinHandle<()>>>>);

impl Beside {
    fn put(&self, task: JoinHandle<()>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Waits a moment for what is not done yet: Lambda freezes a process that has answered.
    pub(crate) async fn finish(&self) {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = tokio::time::timeout(PATIENCE, task).await;
        }
    }
}

/// The caller of a request that showed the right token. The only way to a [`Caller`].
pub struct Authenticated(pub Caller);

impl FromRequestParts<Gateway> for Authenticated {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Error> {
        let params = RawPathParams::from_request_parts(parts, gateway)
            .await
            .map_err(|_| Error::Unauthenticated { presented: true })?;
        let directory = params
            .iter()
            .find(|(name, _)| *name == "directory")
            .map(|(_, value)| value.to_owned());
        let token = bearer(parts).ok_or(Error::Unauthenticated { presented: false })?;
        // A directory of another form is as unknown as any other (A1): the same answer.
        let id: DirectoryId = directory
            .and_then(|id| id.parse().ok())
            .ok_or(Error::Unauthenticated { presented: true })?;
        tracing::Span::current().record("directory.id", tracing::field::display(id));
        let now = gateway.now();
        let (directory, version) = gateway.tokens.verify(id, token, now).await?;
        if let Some(limits) = &gateway.limits {
            limits.take(id, now)?;
        }
        match directory.status {
            Status::Active => {}
            // In a status that this version does not know it takes no changes either.
            Status::Inactive | Status::Other(_) => return Err(Error::Inactive),
            // As unknown as one that is gone.
            Status::Deleting => return Err(Error::Unauthenticated { presented: true }),
        }
        if let Some(mark) = gateway.tokens.mark(id, &version, now)
            && let Some(beside) = parts.extensions.get::<Beside>()
        {
            beside.put(mark);
        }
        let base_url = base_url(&gateway.origin(parts), id);
        #[expect(clippy::disallowed_methods, reason = "this is the authentication")]
        Ok(Self(Caller::authenticated(directory, &base_url)))
    }
}

/// The SCIM base URL of a directory.
pub(crate) fn base_url(origin: &str, id: DirectoryId) -> String {
    format!("{origin}/scim/v2/{id}")
}

/// The token of an `Authorization` header. The word `Bearer` has no case, the token has (A2).
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts
        .headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .trim()
        .split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Gateway {
    /// The scheme and authority that the client used, without a slash at the end.
    pub(crate) fn origin(&self, parts: &Parts) -> String {
        if let Some(base_url) = &self.base_url {
            return base_url.to_string();
        }
        // API Gateway sets these itself; the Host header would be the client's word.
        let (domain, stage) = match parts.extensions.get::<RequestContext>() {
            Some(RequestContext::ApiGatewayV2(context)) => {
                (context.domain_name.clone(), context.stage.clone())
            }
            Some(RequestContext::ApiGatewayV1(context)) => {
                (context.domain_name.clone(), context.stage.clone())
            }
            _ => (None, None),
        };
        let scheme = parts
            .headers
            .get("x-forwarded-proto")
            .and_then(|scheme| scheme.to_str().ok())
            .unwrap_or("https");
        let stage = stage
            .filter(|stage| stage != "$default")
            .map(|stage| format!("/{stage}"))
            .unwrap_or_default();
        format!(
            "{scheme}://{}{stage}",
            domain.as_deref().unwrap_or("localhost")
        )
    }
}
