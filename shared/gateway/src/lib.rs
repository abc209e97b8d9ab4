//! The HTTP edge of every function that answers requests: authentication, parsing, answers.
//!
//! A function's router is made of [`Gateway`] as its state, [`Authenticated`],
//! [`QueryParams`] and [`Body`] as the arguments of its handlers, and [`Error`] as
//! their failure, which becomes a SCIM error in one place. The admin API has
//! [`Reader`] and [`Writer`] in place of [`Authenticated`], and [`Problem`] in
//! place of [`Error`].

mod admin;
mod auth;
mod conditional;
mod event;
mod problem;
mod rate_limit;
mod request;
mod response;
mod secret;
mod secret_cache;
pub mod size;
mod tokens;
mod webhook;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use directory::{
    Creation, Directory, DirectoryId, EgressPolicy, Ids, NewDirectory, Precondition, Repeatable,
    Status, Store,
};
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use admin::Admins;
use rate_limit::RateLimiter;
use tokens::Tokens;

pub use admin::{ADMIN_KEY_PREFIX, ADMIN_SECRETS, AdminAuth, Administrator, Reader, Writer};
pub use auth::{Authenticated, Working};
pub use conditional::{Return, Wishes};
pub use event::{ApiEvent, answer, run};
pub use problem::Problem;
pub use rate_limit::Work;
pub use request::{
    Body, JsonBytes, ListQuery, MAX_ADMIN_BODY_BYTES, MAX_BODY_BYTES, QueryParams, ResourcePath,
    admin_routes, parse_id, refuse_coding, routes,
};
pub use response::{
    Error, created, discovery_response, list, no_content, not_found, not_found_as, not_modified,
    object, resource, too_many_members, updated,
};
pub use tokens::{BearerToken, DirectorySecrets, Rotated, TokenState};
pub use webhook::{SigningSecret, WEBHOOK_SECRET, WebhookKey};

/// The clock of a function, so that tests can set it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How a function lets time pass, so that tests need not wait.
pub type Rest = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// Lets time pass as it does.
#[must_use]
pub fn sleep() -> Rest {
    Arc::new(|time| Box::pin(tokio::time::sleep(time)))
}

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
    /// How many units of work a second one directory may ask for, over all
    /// processes, and four times as many at once; without it, any number. A
    /// request is one, see [`Work`].
    pub requests_per_second: Option<NonZeroU32>,
    /// The time.
    pub clock: Clock,
    /// How time passes where a token waits to be looked up.
    pub rest: Rest,
    /// Where the ids of new resources come from.
    pub ids: Ids,
    /// How many actions a transaction may have: [`directory::ACTIONS`], or fewer in a test.
    pub actions: usize,
    /// How callers of the admin API prove who they are.
    pub admin_auth: AdminAuth,
    /// Which addresses webhooks may have; without it, there are none.
    pub webhooks: Option<EgressPolicy>,
}

impl Settings {
    /// Reads `TABLE_NAME`, `SECRET_PREFIX`, `BASE_URL`, `REQUESTS_PER_SECOND`, `ADMIN_AUTH` and `WEBHOOKS`.
    ///
    /// # Errors
    ///
    /// Names the variable that is missing or wrong.
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
            rest: sleep(),
            ids: Ids::default(),
            actions: directory::ACTIONS,
            admin_auth: match std::env::var("ADMIN_AUTH").as_deref() {
                Err(_) | Ok("" | "key") => AdminAuth::Key,
                Ok("iam") => AdminAuth::Iam,
                Ok(_) => return Err("ADMIN_AUTH is neither key nor iam".to_owned()),
            },
            webhooks: match std::env::var("WEBHOOKS").as_deref() {
                Err(_) | Ok("" | "disabled") => None,
                Ok("enabled") => Some(EgressPolicy::PublicInternet),
                Ok(_) => return Err("WEBHOOKS is neither disabled nor enabled".to_owned()),
            },
        })
    }
}

/// What the handlers of a function share, made once at cold start. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    store: Store,
    tokens: Arc<Tokens>,
    limits: Option<Arc<RateLimiter>>,
    /// Whether the request is part of one that was admitted and counted as a whole.
    counted: bool,
    admins: Arc<Admins>,
    webhooks: Option<EgressPolicy>,
    webhook_key: Arc<WebhookKey>,
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
        let store = Store::from_config(config, &settings.table)
            .with_ids(settings.ids)
            .with_actions(settings.actions);
        let secrets = aws_sdk_secretsmanager::Client::new(config);
        let prefix = settings.secret_prefix;
        let rest = settings.rest;
        let admins = Admins::new(secrets.clone(), &prefix, settings.admin_auth, rest.clone());
        Self {
            webhooks: settings.webhooks,
            webhook_key: Arc::new(WebhookKey::new(config, &prefix, rest.clone())),
            admins: Arc::new(admins),
            tokens: Arc::new(Tokens::new(secrets, store.clone(), prefix, rest)),
            limits: settings
                .requests_per_second
                .map(|a_second| Arc::new(RateLimiter::new(a_second, store.clone()))),
            counted: false,
            store,
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

    /// The same for the parts of a request that was admitted and counted as a
    /// whole: none of them is refused for coming too fast, or counted again.
    #[must_use]
    pub fn within_a_request(&self) -> Self {
        Self {
            counted: true,
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
    /// When it cannot be so, or when DynamoDB or Secrets Manager fails.
    pub async fn create_directory(
        &self,
        new: NewDirectory,
    ) -> Result<(Directory, BearerToken), Error> {
        match self.create_directory_once(new, None).await? {
            Created::New(directory, token) => Ok((directory, token)),
            Created::Again(..) | Created::Gone(_) | Created::Differs => Err(Error::internal(
                "a request that cannot be repeated was repeated",
            )),
        }
    }

    /// The same; the same request again, within a day, answers the directory
    /// that it has made, with its token, for whoever did not get the answer.
    ///
    /// # Errors
    ///
    /// Those of [`Gateway::create_directory`].
    pub async fn create_directory_once(
        &self,
        new: NewDirectory,
        request: Option<&Repeatable<'_>>,
    ) -> Result<Created, Error> {
        let now = self.now();
        let directory = Directory::new(DirectoryId::random(), new, now)?;
        // The directory first: a token without one would be refused, a directory without one is only idle.
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
                let made = self.store.directory(id).await?;
                let made = made.filter(|made| made.status != Status::Deleting);
                let Some(directory) = made else {
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

    /// A new token for a directory, good at once in every process; the one before
    /// is good for `grace` more, and the one before that, if it still was, no
    /// longer. `None` when this very request was made before, and its token was
    /// replaced since.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when another change of the tokens was faster, and
    /// when Secrets Manager fails. What was interrupted in the middle is finished
    /// by the same `request`, and is in the way of no other one.
    pub async fn rotate_token(
        &self,
        directory: DirectoryId,
        grace: SignedDuration,
        request: Option<String>,
    ) -> Result<Option<Rotated>, Error> {
        let now = self.now();
        self.tokens.rotate(directory, grace, request, now).await
    }

    /// What may be told of the tokens of a directory.
    ///
    /// # Errors
    ///
    /// When DynamoDB or Secrets Manager fails.
    pub async fn token_states(&self, directory: DirectoryId) -> Result<Vec<TokenState>, Error> {
        self.tokens.states(directory, self.now()).await
    }

    /// Ends the token before the current one: within a minute in every process.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when a rotation was faster, and when Secrets Manager fails.
    pub async fn revoke_previous_token(&self, directory: DirectoryId) -> Result<(), Error> {
        self.tokens.revoke_previous(directory, self.now()).await
    }

    /// Ends all tokens of a directory, within a minute in every process, until there is a new one.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when rotations were faster again and again, and when Secrets Manager fails.
    pub async fn revoke_tokens(&self, directory: DirectoryId) -> Result<(), Error> {
        self.tokens.revoke_all(directory, self.now()).await
    }

    /// Which addresses webhooks may have; `None` where there are none.
    #[must_use]
    pub fn webhooks(&self) -> Option<EgressPolicy> {
        self.webhooks
    }

    /// What deliveries to the webhook of a directory are signed with, if it has one and there are any.
    ///
    /// # Errors
    ///
    /// Those of [`WebhookKey::secret`].
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

    /// Begins to delete a directory that is in a version that the precondition allows, in one transaction: from then on
    /// no process takes its tokens that reads them, and within a minute none at all. The sweeper does the rest, the
    /// secret included.
    ///
    /// # Errors
    ///
    /// [`directory::Error::NotFound`], [`directory::Error::Changed`] when the precondition fails and nothing was
    /// changed, and when DynamoDB fails.
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

/// Says in the log what of a directory this version cannot read.
fn log_unreadable(directory: &Directory) {
    for part in &directory.unreadable {
        tracing::warn!(
            directory.id = %directory.id,
            pointer = part.pointer,
            reason = part.detail,
            "a part of a directory cannot be read, and is left as it is"
        );
    }
}

/// What became of a request to create a directory.
#[derive(Debug)]
pub enum Created {
    /// It is new.
    New(Directory, BearerToken),
    /// The same request had made it.
    Again(Directory, BearerToken),
    /// The same request had made it, and its token was rotated since, or it was deleted.
    Gone(DirectoryId),
    /// Another request came under the same key.
    Differs,
}
