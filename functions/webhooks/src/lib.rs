//! Sends each event to the webhook of its directory, if the directory has one.
//!
//! A rule of the bus puts every event into a queue, from which Lambda invokes this function. A delivery is a POST of the
//! event in the form of the event log of the admin API, signed according to the Standard Webhooks specification. A 2xx
//! response completes it. A delivery that fails is retried after 1 and 5 seconds, and then by the queue, as the
//! parameters `WebhookRetrySeconds` and `WebhookAttempts` of the template say. After the last attempt the event is in
//! the dead-letter queue. Delivery is at least once and unordered: consumers detect repeats by `webhook-id`, and
//! outdated events by `detail.version`, as on the bus.

mod egress;
mod post;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use directory::{DetailType, Directory, DirectoryId, EgressPolicy, Store, Webhook};
use futures_util::future::join_all;
use gateway::{Clock, SigningSecret, Sleep, WebhookKey};
use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use url::Url;

pub use post::{NoAnswer, Post, over_the_network};

/// Maximum time for the response of an endpoint.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Delays between the attempts of the first invocation for an event. With [`TIMEOUT`] for each attempt, they fit into
/// the `Timeout` of the function in the template.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// Time for which this process sends nothing to an endpoint that did not respond, so that the events of one directory do
/// not delay those of others.
const COOLDOWN: SignedDuration = SignedDuration::from_secs(60);
/// Maximum number of endpoints whose cooldown a process remembers.
const MAX_COOLDOWNS: usize = 10_000;
/// The attribute of a message with the number of times that it was received, including this time.
const RECEIVED: &str = "ApproximateReceiveCount";

/// Configuration of the function.
pub struct Settings {
    /// The name of the DynamoDB table.
    pub table: String,
    /// The prefix of the names of secrets, such as `rollcall/`.
    pub secret_prefix: String,
    /// Sends requests to endpoints.
    pub post: Post,
    /// The clock.
    pub clock: Clock,
    /// Waits between attempts.
    pub sleep: Sleep,
}

impl Settings {
    /// Returns the settings of a deployed function with these names.
    fn deployed(table: String, secret_prefix: String) -> Result<Self, String> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the clock of the deployed function"
        )]
        let clock = Arc::new(Timestamp::now);
        Ok(Self {
            table,
            secret_prefix,
            post: over_the_network(EgressPolicy::PublicInternet, TIMEOUT)?,
            clock,
            sleep: gateway::sleep(),
        })
    }
}

/// The function. It is created once at cold start.
pub struct Webhooks {
    store: Store,
    key: WebhookKey,
    post: Post,
    clock: Clock,
    sleep: Sleep,
    /// The end of the cooldown of endpoints that did not respond, by directory.
    cooldowns: Cache<DirectoryId, Timestamp>,
}

/// The directories of the events of one invocation. Each is read by the first event that needs it.
type Directories = HashMap<DirectoryId, OnceCell<Option<Directory>>>;

/// An event from the queue.
struct QueuedEvent {
    id: String,
    directory: DirectoryId,
    /// The body of the delivery.
    body: String,
    /// Whether it is the last event of its directory.
    last: bool,
    /// Whether the message is received for the first time.
    new: bool,
}

impl QueuedEvent {
    /// Reads a message that the rule of the bus put into the queue.
    fn read(message: &SqsMessage) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "detail-type")]
            detail_type: DetailType,
            detail: Value,
        }
        #[derive(Deserialize)]
        struct Detail {
            id: String,
            /// Only its presence is checked.
            #[serde(rename = "time")]
            _time: String,
            directory_id: DirectoryId,
        }
        let body = message.body.as_deref().unwrap_or_default();
        let Event {
            detail_type,
            detail,
        } = serde_json::from_str(body).map_err(|_| Failure::Unreadable)?;
        let Detail {
            id, directory_id, ..
        } = Detail::deserialize(&detail).map_err(|_| Failure::Unreadable)?;
        Ok(Self {
            last: detail_type == DetailType::DirectoryDeleted,
            body: detail_type.shown(&detail).to_string(),
            id,
            directory: directory_id,
            new: message.attributes.get(RECEIVED).is_none_or(|n| n == "1"),
        })
    }
}

/// Why an event was not delivered. The text is logged, so it contains nothing of the event, and of the URL at most the host.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The message is not an event.
    Unreadable,
    /// DynamoDB or Secrets Manager is unavailable.
    Unavailable(String),
    /// The endpoint did not respond a short time ago.
    CoolingDown,
    /// The endpoint did not respond.
    NoAnswer(NoAnswer),
    /// The endpoint responded with a status other than 2xx.
    Refused(u16),
}

impl From<NoAnswer> for Failure {
    fn from(none: NoAnswer) -> Self {
        Self::NoAnswer(none)
    }
}

impl From<gateway::Error> for Failure {
    fn from(error: gateway::Error) -> Self {
        Self::Unavailable(error.source_chain())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("the message is not an event"),
            Self::Unavailable(reason) => f.write_str(reason),
            Self::CoolingDown => f.write_str("the endpoint did not respond a short time ago"),
            Self::NoAnswer(none) => none.fmt(f),
            Self::Refused(status) => write!(f, "the endpoint responded with {status}"),
        }
    }
}

impl Webhooks {
    /// Creates the function from the environment variables `TABLE_NAME` and `SECRET_PREFIX`.
    ///
    /// # Errors
    ///
    /// The text names the missing variable, or says that TLS cannot be set up.
    #[expect(clippy::disallowed_methods, reason = "configuration is read here")]
    pub async fn from_env() -> Result<Self, String> {
        let required = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let settings = Settings::deployed(required("TABLE_NAME")?, required("SECRET_PREFIX")?)?;
        Ok(Self::new(&aws_config::load_from_env().await, settings))
    }

    /// Creates the function with these settings.
    #[must_use]
    pub fn new(config: &SdkConfig, settings: Settings) -> Self {
        Self {
            store: Store::from_config(config, &settings.table),
            key: WebhookKey::new(config, &settings.secret_prefix, settings.sleep.clone()),
            post: settings.post,
            clock: settings.clock,
            sleep: settings.sleep,
            cooldowns: Cache::new(MAX_COOLDOWNS),
        }
    }

    /// Delivers the events in parallel, and returns the messages to retry.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let queued: Vec<_> = event.records.iter().map(QueuedEvent::read).collect();
        // Many events of a batch have the same directory, so each directory is read once.
        let directories: Directories = queued
            .iter()
            .flatten()
            .map(|event| (event.directory, OnceCell::new()))
            .collect();
        let deliveries = queued.into_iter().map(async |event| {
            let event = event?;
            self.deliver(&event, &directories).await
        });
        // A box keeps the future of an invocation small.
        let outcomes = Box::pin(join_all(deliveries)).await;
        let mut response = SqsBatchResponse::default();
        for (message, outcome) in event.records.into_iter().zip(outcomes) {
            if let Err(failure) = outcome {
                let id = message.message_id.unwrap_or_default();
                tracing::warn!(message.id = id, reason = %failure, "an event was not delivered to its webhook");
                response.add_failure(id);
            }
        }
        response
    }

    async fn deliver(&self, event: &QueuedEvent, directories: &Directories) -> Result<(), Failure> {
        let directory = event.directory;
        let Some(webhook) = self.webhook(event, directories).await? else {
            return Ok(());
        };
        if self.is_cooling_down(directory) {
            return Err(Failure::CoolingDown);
        }
        let secret = self.key.secret(directory, &webhook, (self.clock)()).await;
        let secret = secret.map_err(Failure::from)?;
        let mut outcome = self.send(event, &webhook, &secret).await;
        // The first invocation retries soon; later the queue waits between invocations.
        for delay in RETRY_DELAYS.into_iter().filter(|_| event.new) {
            if outcome.is_ok() {
                break;
            }
            (self.sleep)(delay).await;
            outcome = self.send(event, &webhook, &secret).await;
        }
        if let Err(Failure::NoAnswer(_)) = outcome {
            self.start_cooldown(directory);
        }
        outcome
    }

    /// Returns the current webhook of the directory of an event, or the last one of a deleted directory. It is not
    /// cached, because a new webhook must receive the events that follow it.
    async fn webhook(
        &self,
        event: &QueuedEvent,
        directories: &Directories,
    ) -> Result<Option<Webhook>, Failure> {
        let Some(directory) = directories.get(&event.directory) else {
            return Ok(None);
        };
        let found = directory.get_or_try_init(|| self.store.directory(event.directory));
        match found.await {
            // The queue keeps the event until a version is deployed that can read the webhook.
            Ok(Some(directory)) if directory.has_unreadable_webhook() => {
                let reason = "the webhook has a format that this version does not support";
                Err(Failure::Unavailable(reason.to_owned()))
            }
            Ok(Some(directory)) => Ok(directory.webhook.clone()),
            Ok(None) if event.last => {
                let webhook = self.store.last_webhook(event.directory).await;
                webhook.map_err(|error| Failure::from(gateway::Error::from(error)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(Failure::from(gateway::Error::from(error))),
        }
    }

    /// Sends the event once.
    async fn send(
        &self,
        event: &QueuedEvent,
        webhook: &Webhook,
        secret: &SigningSecret,
    ) -> Result<(), Failure> {
        let now = (self.clock)().as_second();
        let signature = standardwebhooks::Webhook::new(secret.expose())
            .and_then(|signer| signer.sign(&event.id, now, event.body.as_bytes()))
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        let url = Url::parse(webhook.url.as_str()).map_err(|_| Failure::Unreadable)?;
        let mut request = reqwest::Request::new(reqwest::Method::POST, url);
        let timestamp = now.to_string();
        for (name, value) in [
            ("content-type", "application/json"),
            (standardwebhooks::HEADER_WEBHOOK_ID, &event.id),
            (standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, &timestamp),
            (standardwebhooks::HEADER_WEBHOOK_SIGNATURE, &signature),
        ] {
            let value = HeaderValue::from_str(value).map_err(|_| Failure::Unreadable)?;
            let name = HeaderName::from_static(name);
            request.headers_mut().insert(name, value);
        }
        *request.body_mut() = Some(event.body.clone().into());
        match (self.post)(request).await? {
            200..300 => Ok(()),
            status => Err(Failure::Refused(status)),
        }
    }

    fn is_cooling_down(&self, directory: DirectoryId) -> bool {
        let until = self.cooldowns.get(&directory);
        until.is_some_and(|until| (self.clock)() < until)
    }

    fn start_cooldown(&self, directory: DirectoryId) {
        let until = (self.clock)().saturating_add(COOLDOWN);
        self.cooldowns
            .insert(directory, until.unwrap_or(Timestamp::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number at `key` in the section of the template that begins with `section`.
    fn number(section: &str, key: &str) -> u64 {
        let template = include_str!("../../../template.yaml");
        let begin = template.find(&format!("\n  {section}:\n")).unwrap();
        let line = template[begin..]
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{key}: ")))
            .unwrap();
        line.parse().unwrap()
    }

    #[test]
    fn the_template_agrees_with_the_schedule() {
        let attempts = RETRY_DELAYS.len() as u32 + 1;
        let longest = TIMEOUT * attempts + RETRY_DELAYS.iter().sum::<Duration>();
        let timeout = number("WebhooksFunction", "Timeout");
        assert!(longest.as_secs() < timeout, "{longest:?}");
        // "Using Lambda with Amazon SQS": the visibility timeout is at least six times the timeout of the function.
        assert!(number("WebhookRetrySeconds", "MinValue") >= 6 * timeout);
        // An event must reach the dead-letter queue before it expires in the queue.
        let seconds = number("WebhookRetrySeconds", "MaxValue");
        let receives = number("WebhookAttempts", "MaxValue");
        assert!(seconds * receives < number("WebhooksQueue", "MessageRetentionPeriod"));
    }
}
