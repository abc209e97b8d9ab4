//! The HTTP edge of every SCIM function: authentication, parsing, answers.
//!
//! A function's router is made of [`Gateway`] as its state, [`Authenticated`],
//! [`Params`] and [`Body`] as the arguments of its handlers, and [`Error`] as
//! their failure, which becomes a SCIM error in one place.

mod auth;
mod limit;
mod request;
mod response;
mod wishes;

use std::num::NonZeroU32;
use std::sync::Arc;

use aws_config::SdkConfig;
use directory::{Directory, DirectoryId, Ids, NewDirectory, Store};
use jiff::Timestamp;

use auth::Tokens;
use limit::Limits;

pub use auth::{Authenticated, BearerToken};
pub use request::{At, Body, JsonBytes, MAX_BODY_BYTES, Params, parse_id, routes};
pub use response::{
    Error, created, described, list, named, no_content, not_found, object, resource, unmodified,
    updated,
};
pub use wishes::{Return, Wishes};

/// The clock of a function, so that tests can set it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a function is told about where it runs.
#[derive(Clone)]
pub struct Settings {
    /// The name of the DynamoDB table.
    pub table: String,
    /// What stands before a directory's id in the name of its secret, such as `rollcall/`.
    pub secret_prefix: String,
    /// The address that clients use, where it is a domain of the team's own;
    /// without it, the address that the request came to.
    pub base_url: Option<String>,
    /// How many requests a second one directory may send, and four times as
    /// many at once; without it, any number.
    pub requests_per_second: Option<NonZeroU32>,
    /// The time.
    pub clock: Clock,
    /// Where the ids of new resources come from.
    pub ids: Ids,
}

impl Settings {
    /// Reads `TABLE_NAME`, `SECRET_PREFIX`, `BASE_URL` and `REQUESTS_PER_SECOND`.
    ///
    /// # Errors
    ///
    /// Names the variable that is missing, or is no number.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where configuration is read and where time comes in"
    )]
    pub fn from_env() -> Result<Self, String> {
        let required = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let requests_per_second = required("REQUESTS_PER_SECOND")?
            .parse()
            .map_err(|_| "REQUESTS_PER_SECOND is no number above 0")?;
        Ok(Self {
            table: required("TABLE_NAME")?,
            secret_prefix: required("SECRET_PREFIX")?,
            base_url: std::env::var("BASE_URL").ok().filter(|url| !url.is_empty()),
            requests_per_second: Some(requests_per_second),
            clock: Arc::new(Timestamp::now),
            ids: Ids::default(),
        })
    }
}

/// What the handlers of a function share, made once at cold start. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    store: Store,
    tokens: Arc<Tokens>,
    limits: Option<Arc<Limits>>,
    base_url: Option<Arc<str>>,
    clock: Clock,
}

impl Gateway {
    /// The gateway of this Lambda: settings from its environment, clients by its role.
    ///
    /// # Errors
    ///
    /// Names the variable that is missing.
    pub async fn from_env() -> Result<Self, String> {
        let settings = Settings::from_env()?;
        Ok(Self::new(&aws_config::load_from_env().await, settings))
    }

    /// The gateway of a function that runs with these settings.
    #[must_use]
    pub fn new(config: &SdkConfig, settings: Settings) -> Self {
        let store = Store::from_config(config, &settings.table).with_ids(settings.ids);
        let secrets = aws_sdk_secretsmanager::Client::new(config);
        Self {
            tokens: Arc::new(Tokens::new(secrets, store.clone(), settings.secret_prefix)),
            store,
            limits: settings
                .requests_per_second
                .map(|a_second| Arc::new(Limits::new(a_second))),
            base_url: settings
                .base_url
                .map(|url| url.trim_end_matches('/').into()),
            clock: settings.clock,
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The same, with the ids of new resources from elsewhere.
    #[must_use]
    pub fn with_ids(&self, ids: Ids) -> Self {
        Self {
            store: self.store.clone().with_ids(ids),
            ..self.clone()
        }
    }

    /// The same for what one request does as several requests, of which only
    /// the first is taken out of the directory's bucket.
    #[must_use]
    pub fn unlimited(&self) -> Self {
        Self {
            limits: None,
            ..self.clone()
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Creates a directory with a new token. The token is not to be had again.
    ///
    /// # Errors
    ///
    /// 400 for settings that cannot be held; when DynamoDB or Secrets Manager fails.
    pub async fn create_directory(
        &self,
        new: NewDirectory,
    ) -> Result<(Directory, BearerToken), Error> {
        let directory = Directory::new(DirectoryId::random(), new, self.now())?;
        // The directory first: a token without one would be refused, a directory without one is only idle.
        self.store.create_directory(&directory).await?;
        let token = self.tokens.issue(directory.id).await?;
        Ok((directory, token))
    }
}
