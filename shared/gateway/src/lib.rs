//! The HTTP edge of every function that answers requests: authentication, parsing, responses.
//!
//! A SCIM function has [`Gateway`] as the state of its router, made by [`routes`]. Its handlers take [`Authenticated`],
//! [`QueryParams`] and [`ScimJson`], and return [`Error`], which becomes a SCIM error. The admin API has [`admin_routes`],
//! [`Reader`] and [`Writer`] in place of [`Authenticated`], and [`Problem`] in place of [`Error`].
//!
//! | module | responsibility |
//! |---|---|
//! | `event` | from the event of API Gateway to the request of a router |
//! | `router`, `middleware` | routes, fallbacks, the log line, the media type |
//! | `auth`, `admin` | extractors that authenticate: bearer tokens, admin keys |
//! | `tokens`, `webhook`, `secret`, `secret_cache` | secrets in AWS Secrets Manager, and what a process caches of them |
//! | `directories` | the life of a directory: create, rotate, revoke, delete |
//! | `extract`, `conditional` | query, path, body and headers of a request |
//! | `response`, `problem`, `size` | responses, errors, and their maximum size |
//! | `rate_limit`, `background` | rate limits, and tasks beside a request |

mod admin;
mod auth;
mod background;
mod conditional;
mod directories;
mod event;
mod extract;
mod middleware;
mod problem;
mod rate_limit;
mod response;
mod router;
mod secret;
mod secret_cache;
mod settings;
pub mod size;
mod tokens;
mod webhook;

use std::sync::Arc;

use aws_config::SdkConfig;
use directory::{EgressPolicy, Ids, Store};
use jiff::Timestamp;

use admin::AdminKeys;
use rate_limit::RateLimiter;
use tokens::Tokens;

pub use admin::{ADMIN_KEY_PREFIX, ADMIN_SECRETS, AdminAuth, Administrator, Reader, Writer};
pub use auth::{Authenticated, Working};
pub use conditional::{Preconditions, Return};
pub use directories::Created;
pub use event::{ApiEvent, answer, run};
pub use extract::{
    JsonBytes, ListQuery, MAX_ADMIN_BODY_BYTES, MAX_BODY_BYTES, QueryParams, ResourcePath,
    ScimJson, parse_id, reject_content_coding,
};
pub use problem::Problem;
pub use rate_limit::Work;
pub use response::{
    Error, created, discovery_response, list, no_content, not_found, not_found_as, not_modified,
    object, resource, too_many_members, updated,
};
pub use router::{admin_routes, routes};
pub use settings::{Clock, Settings, Sleep, sleep};
pub use tokens::{BearerToken, DirectorySecrets, Rotated, TokenState};
pub use webhook::{SigningSecret, WEBHOOK_SECRET, WebhookKey};

/// The state that the handlers of a function share. It is created once, at cold start. Clones are cheap.
#[derive(Clone)]
pub struct Gateway {
    store: Store,
    tokens: Arc<Tokens>,
    rate_limiter: Option<Arc<RateLimiter>>,
    /// Whether the request is a part of a request that was admitted and counted as a whole.
    counted: bool,
    admin_keys: Arc<AdminKeys>,
    webhooks: Option<EgressPolicy>,
    webhook_key: Arc<WebhookKey>,
    base_url: Option<Arc<str>>,
    clock: Clock,
}

impl Gateway {
    /// Returns the gateway of this Lambda function, with settings from its environment and clients with its role.
    ///
    /// # Errors
    ///
    /// Returns a sentence that names the environment variable that is missing or invalid.
    pub async fn from_env() -> Result<Self, String> {
        let settings = Settings::from_env()?;
        Ok(Self::new(&aws_config::load_from_env().await, settings))
    }

    /// Returns the gateway of a function with these settings.
    #[must_use]
    pub fn new(config: &SdkConfig, settings: Settings) -> Self {
        let store = Store::from_config(config, &settings.table)
            .with_ids(settings.ids)
            .with_actions(settings.actions);
        let secrets = aws_sdk_secretsmanager::Client::new(config);
        let prefix = settings.secret_prefix;
        let sleep = settings.sleep;
        let admin_keys =
            AdminKeys::new(secrets.clone(), &prefix, settings.admin_auth, sleep.clone());
        Self {
            webhooks: settings.webhooks,
            webhook_key: Arc::new(WebhookKey::new(config, &prefix, sleep.clone())),
            admin_keys: Arc::new(admin_keys),
            tokens: Arc::new(Tokens::new(secrets, store.clone(), prefix, sleep)),
            rate_limiter: settings
                .requests_per_second
                .map(|per_second| Arc::new(RateLimiter::new(per_second, store.clone()))),
            counted: false,
            store,
            base_url: settings
                .base_url
                .map(|url| url.trim_end_matches('/').into()),
            clock: settings.clock,
        }
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns this gateway with another source of ids for new resources.
    #[must_use]
    pub fn with_ids(&self, ids: Ids) -> Self {
        Self {
            store: self.store.clone().with_ids(ids),
            ..self.clone()
        }
    }

    /// Returns this gateway for the parts of one request that was admitted and counted as a whole. The rate limit does not
    /// apply to the parts.
    #[must_use]
    pub fn within_a_request(&self) -> Self {
        Self {
            counted: true,
            ..self.clone()
        }
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Returns the hosts to which webhooks may go, or `None` where webhooks are disabled.
    #[must_use]
    pub fn webhooks(&self) -> Option<EgressPolicy> {
        self.webhooks
    }
}
