//! Bearer tokens: from Secrets Manager, as digests, compared in constant time.
//!
//! One secret per directory holds `{"token": "…"}`. Its versions `AWSCURRENT`
//! and `AWSPREVIOUS` are both good until the grace time of a rotation ends:
//! `previousUntil` in the current one, or 24 hours after it was made. Nothing
//! here ever logs a token, and no token is kept once its digest is taken.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use axum::extract::{FromRequestParts, RawPathParams};
use directory::{Caller, Directory, DirectoryId, Status, Store};
use futures_util::future::try_join3;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use lambda_http::request::RequestContext;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::{Error, Gateway};

/// How long a process believes what it read; a revoked token dies within this time.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// How often a token that does not match may make the process read again.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);
/// How long the previous token is good when its successor does not say.
const GRACE: SignedDuration = SignedDuration::from_hours(24);
/// How many directories that this process has not met may be looked up in one second.
const STRANGERS_A_SECOND: u32 = 20;
/// How many directories a process remembers.
const REMEMBERED: usize = 10_000;

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
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    token: String,
    previous_until: Option<Timestamp>,
}

type Digest = [u8; 32];

fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// A directory and the digests of its tokens.
struct Known {
    directory: Arc<Directory>,
    current: Digest,
    previous: Option<(Digest, Timestamp)>,
}

impl Known {
    fn accepts(&self, token: &Digest, now: Timestamp) -> bool {
        let current = self.current.ct_eq(token);
        let previous = match &self.previous {
            Some((digest, until)) if now < *until => digest.ct_eq(token),
            _ => 0.into(),
        };
        (current | previous).into()
    }
}

/// What a process knows of one directory.
#[derive(Default)]
struct Entry {
    read: Option<Timestamp>,
    known: Option<Known>,
}

type Entries = HashMap<DirectoryId, Arc<tokio::sync::Mutex<Entry>>>;

/// The tokens of the directories that this process has met.
pub(crate) struct Tokens {
    secrets: Client,
    store: Store,
    prefix: String,
    entries: Mutex<Entries>,
    strangers: Mutex<(i64, u32)>,
}

impl Tokens {
    pub(crate) fn new(secrets: Client, store: Store, prefix: String) -> Self {
        Self {
            secrets,
            store,
            prefix,
            entries: Mutex::default(),
            strangers: Mutex::default(),
        }
    }

    /// A new token, kept as the directory's secret.
    pub(crate) async fn issue(&self, directory: DirectoryId) -> Result<BearerToken, Error> {
        let token = BearerToken::random()?;
        self.secrets
            .create_secret()
            .name(self.name(directory))
            .description("The SCIM bearer token of a Rollcall directory")
            .secret_string(json!({"token": token.expose()}).to_string())
            .send()
            .await
            .map_err(Error::internal)?;
        Ok(token)
    }

    fn name(&self, directory: DirectoryId) -> String {
        format!("{}{directory}", self.prefix)
    }

    /// The directory of that id, if `token` is one of its tokens.
    async fn verify(
        &self,
        id: DirectoryId,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Directory>, Error> {
        let token = digest(token);
        let entry = self.entry(id);
        // Held while reading, so that requests which come together read once.
        let mut entry = entry.lock().await;
        let age = entry.read.map(|read| now.duration_since(read));
        let known = |entry: &Entry| {
            entry
                .known
                .as_ref()
                .filter(|known| known.accepts(&token, now))
                .map(|known| known.directory.clone())
        };
        let found = known(&entry);
        match (age, found) {
            (Some(age), Some(directory)) if age < FRESH => return Ok(directory),
            // A token that does not match may be new; but guessing must not cost a look-up each time.
            (Some(age), None) if age < AGAIN => {
                return Err(Error::Unauthenticated { presented: true });
            }
            _ => {}
        }
        if entry.known.is_none() && !self.admits_a_stranger(now) {
            return Err(Error::Store(directory::Error::Busy));
        }
        match self.read(id).await {
            Ok(fresh) => {
                *entry = Entry {
                    read: Some(now),
                    known: fresh,
                };
                known(&entry).ok_or(Error::Unauthenticated { presented: true })
            }
            // A warm process goes on with what it knows.
            Err(error) => match known(&entry) {
                Some(directory) => {
                    tracing::warn!(error = %error.source_chain(), directory.id = %id, "tokens could not be read again");
                    Ok(directory)
                }
                None => Err(error),
            },
        }
    }

    fn entry(&self, id: DirectoryId) -> Arc<tokio::sync::Mutex<Entry>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= REMEMBERED && !entries.contains_key(&id) {
            entries.clear();
        }
        entries.entry(id).or_default().clone()
    }

    fn admits_a_stranger(&self, now: Timestamp) -> bool {
        let mut strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if strangers.0 != now.as_second() {
            *strangers = (now.as_second(), 0);
        }
        strangers.1 += 1;
        strangers.1 <= STRANGERS_A_SECOND
    }

    /// Both tokens and the directory, side by side; `None` if there is no such directory or token.
    async fn read(&self, id: DirectoryId) -> Result<Option<Known>, Error> {
        let directory = async {
            self.store
                .directory(id)
                .await
                .map_err(|error| Error::Unavailable(error.into()))
        };
        let (current, previous, directory) = try_join3(
            self.secret(id, "AWSCURRENT"),
            self.secret(id, "AWSPREVIOUS"),
            directory,
        )
        .await?;
        let (Some((current, made)), Some(directory)) = (current, directory) else {
            return Ok(None);
        };
        let until = current
            .previous_until
            .unwrap_or(made.saturating_add(GRACE).unwrap_or(Timestamp::MAX));
        Ok(Some(Known {
            directory: Arc::new(directory),
            current: digest(&current.token),
            previous: previous.map(|(previous, _)| (digest(&previous.token), until)),
        }))
    }

    /// A version of a directory's secret, and when it was made.
    async fn secret(
        &self,
        id: DirectoryId,
        stage: &str,
    ) -> Result<Option<(Secret, Timestamp)>, Error> {
        let answer = self
            .secrets
            .get_secret_value()
            .secret_id(self.name(id))
            .version_stage(stage)
            .send()
            .await;
        let version = match answer {
            Ok(version) => version,
            Err(error) => {
                return match error.as_service_error() {
                    // The second one: the secret is about to be deleted.
                    Some(
                        GetSecretValueError::ResourceNotFoundException(_)
                        | GetSecretValueError::InvalidRequestException(_),
                    ) => Ok(None),
                    _ => Err(Error::Unavailable(error.into())),
                };
            }
        };
        let made = version
            .created_date()
            .and_then(|made| Timestamp::from_second(made.secs()).ok())
            .unwrap_or(Timestamp::MIN);
        // The error of serde_json would quote the secret.
        let secret = serde_json::from_str(version.secret_string().unwrap_or_default())
            .map_err(|_| Error::internal("a directory's secret is not {\"token\": \"…\"}"))?;
        Ok(Some((secret, made)))
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
        let directory = gateway.tokens.verify(id, token, now).await?;
        if let Some(limits) = &gateway.limits {
            limits.take(id, now)?;
        }
        if directory.status == Status::Inactive {
            return Err(Error::Inactive);
        }
        let base_url = format!("{}/scim/v2/{id}", gateway.origin(parts));
        #[expect(clippy::disallowed_methods, reason = "this is the authentication")]
        Ok(Self(Caller::authenticated(directory, &base_url)))
    }
}

/// The token of an `Authorization` header. The word `Bearer` has no case, the token has (A2).
fn bearer(parts: &Parts) -> Option<&str> {
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
