//! The settings of a function, read from its environment at cold start.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use directory::{EgressPolicy, Ids};
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::AdminAuth;

/// A source of the current time. Tests set their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A way to wait for a time. Tests need not wait.
pub type Sleep = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// Returns a [`Sleep`] that waits for as long as it is told.
#[must_use]
pub fn sleep() -> Sleep {
    Arc::new(|time| Box::pin(tokio::time::sleep(time)))
}

/// The settings of a function.
#[derive(Clone)]
pub struct Settings {
    /// Name of the DynamoDB table.
    pub table: String,
    /// Prefix of the names of secrets, such as `rollcall/`. The id of a directory follows it.
    pub secret_prefix: String,
    /// The URL that clients use, if the API has a custom domain. Without it, URLs begin with the address to which a request
    /// was sent.
    pub base_url: Option<String>,
    /// Units of work per second for each directory, over all processes, with bursts of four times as many. `None` is
    /// unlimited. A request is one unit; see [`crate::Work`].
    pub requests_per_second: Option<NonZeroU32>,
    /// Source of the current time.
    pub clock: Clock,
    /// How a look-up of a token waits for its turn.
    pub sleep: Sleep,
    /// Source of the ids of new resources.
    pub ids: Ids,
    /// Maximum number of actions in a transaction: [`directory::ACTIONS`], or fewer in a test.
    pub actions: usize,
    /// How callers of the admin API authenticate.
    pub admin_auth: AdminAuth,
    /// The hosts to which webhooks may go. `None` disables webhooks.
    pub webhooks: Option<EgressPolicy>,
}

impl Settings {
    /// Reads `TABLE_NAME`, `SECRET_PREFIX`, `BASE_URL`, `REQUESTS_PER_SECOND`, `ADMIN_AUTH` and `WEBHOOKS`.
    ///
    /// # Errors
    ///
    /// Returns a sentence that names the variable that is missing or invalid.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where configuration is read and where time comes in"
    )]
    pub fn from_env() -> Result<Self, String> {
        let required = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let requests_per_second = required("REQUESTS_PER_SECOND")?
            .parse()
            .map_err(|_| "REQUESTS_PER_SECOND must be a positive integer")?;
        Ok(Self {
            table: required("TABLE_NAME")?,
            secret_prefix: required("SECRET_PREFIX")?,
            base_url: std::env::var("BASE_URL").ok().filter(|url| !url.is_empty()),
            requests_per_second: Some(requests_per_second),
            clock: Arc::new(Timestamp::now),
            sleep: sleep(),
            ids: Ids::default(),
            actions: directory::ACTIONS,
            admin_auth: match std::env::var("ADMIN_AUTH").as_deref() {
                Err(_) | Ok("" | "key") => AdminAuth::Key,
                Ok("iam") => AdminAuth::Iam,
                Ok(_) => return Err("ADMIN_AUTH must be key or iam".to_owned()),
            },
            webhooks: match std::env::var("WEBHOOKS").as_deref() {
                Err(_) | Ok("" | "disabled") => None,
                Ok("enabled") => Some(EgressPolicy::PublicInternet),
                Ok(_) => return Err("WEBHOOKS must be disabled or enabled".to_owned()),
            },
        })
    }
}
