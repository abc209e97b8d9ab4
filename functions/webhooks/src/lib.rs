//! Sends each event to the webhook of its directory, if that has one.
//!
//! A rule of the bus puts every event into a queue, and Lambda brings them from
//! there. A delivery is a POST of the event as the event log of the admin API
//! shows it, signed as "Standard Webhooks" has it; an answer of 2xx ends it. What
//! fails is tried again soon, then by the queue for a day, and ends among its
//! dead letters. Deliveries come at least once and in no order: consumers drop
//! repeats by `webhook-id`, and stale ones by `detail.version`, as on the bus.

mod egress;
mod post;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use directory::{DetailType, Directory, DirectoryId, EgressPolicy, Store, Webhook};
use futures_util::future::join_all;
use gateway::{Clock, SigningSecret, Sleep, WebhookKey};
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use url::Url;

pub use post::{NoAnswer, Post, over_the_network};

/// How long an endpoint may take to answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses before an event that is new in the queue is sent again. With the answers that are waited for they fit
/// into the time limit of the function, which the template states.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// For how long an endpoint that did not answer in time is left alone by this process, so that the events of one
/// directory do not keep it from those of all others.
const REST: SignedDuration = SignedDuration::from_secs(60);
/// How many endpoints that rest a process remembers.
const REMEMBERED: usize = 10_000;
/// The attribute of a message that says how often it was brought, this time included.
const RECEIVED: &str = "ApproximateReceiveCount";

/// What the function is told about where it runs.
pub struct Settings {
    /// The name of the DynamoDB table.
    pub table: String,
    /// What stands before the names of secrets, such as `rollcall/`.
    pub secret_prefix: String,
    /// How requests are sent to endpoints.
    pub post: Post,
    /// The time.
    pub clock: Clock,
    /// How it lets time pass.
    pub sleep: Sleep,
}

impl Settings {
    /// Those of a deployed function, for which only the names are missing.
    fn deployed(table: String, secret_prefix: String) -> Result<Self, String> {
        #[expect(clippy::disallowed_methods, reason = "this is where time comes in")]
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

/// The function, made once at cold start.
pub struct Webhooks {
    store: Store,
    key: WebhookKey,
    post: Post,
    clock: Clock,
    sleep: Sleep,
    /// Until when endpoints that did not answer are left alone, by their directories.
    resting: Mutex<HashMap<DirectoryId, Timestamp>>,
}

/// The directories of the events of one call, each asked for by the first event that needs it.
type Directories = HashMap<DirectoryId, OnceCell<Option<Directory>>>;

/// An event from the queue.
struct Announced {
    id: String,
    directory: DirectoryId,
    /// What is delivered.
    body: String,
    /// Whether it is the last one of its directory.
    last: bool,
    /// Whether the queue brings it for the first time.
    new: bool,
}

impl Announced {
    /// Reads an event as a rule of the bus puts it into the queue.
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
            /// Nothing is read of it but that it is there.
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

/// Why an event was not delivered: for a log, so nothing of the event, and of the address the host at most.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The message holds no event.
    Unreadable,
    /// DynamoDB or Secrets Manager did not answer.
    Unavailable(String),
    /// The endpoint did not answer a moment ago.
    Resting,
    /// The endpoint gave no answer.
    NoAnswer(NoAnswer),
    /// The endpoint answered, but not with 2xx.
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
            Self::Unreadable => f.write_str("the message holds no event"),
            Self::Unavailable(reason) => f.write_str(reason),
            Self::Resting => f.write_str("the endpoint did not answer a moment ago"),
            Self::NoAnswer(none) => none.fmt(f),
            Self::Refused(status) => write!(f, "the endpoint answered {status}"),
        }
    }
}

impl Webhooks {
    /// The function of this Lambda: reads `TABLE_NAME` and `SECRET_PREFIX`.
    ///
    /// # Errors
    ///
    /// Names the variable that is missing, or says that TLS cannot be set up.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where configuration is read"
    )]
    pub async fn from_env() -> Result<Self, String> {
        let required = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let settings = Settings::deployed(required("TABLE_NAME")?, required("SECRET_PREFIX")?)?;
        Ok(Self::new(&aws_config::load_from_env().await, settings))
    }

    /// The function that runs with these settings.
    #[must_use]
    pub fn new(config: &SdkConfig, settings: Settings) -> Self {
        Self {
            store: Store::from_config(config, &settings.table),
            key: WebhookKey::new(config, &settings.secret_prefix, settings.sleep.clone()),
            post: settings.post,
            clock: settings.clock,
            sleep: settings.sleep,
            resting: Mutex::default(),
        }
    }

    /// Delivers the events, side by side, and names those that are to be brought again.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let announced: Vec<_> = event.records.iter().map(Announced::read).collect();
        // Events come in crowds, so a directory is asked for once for all of them.
        let directories: Directories = announced
            .iter()
            .flatten()
            .map(|event| (event.directory, OnceCell::new()))
            .collect();
        let deliveries = announced.into_iter().map(async |event| {
            let event = event?;
            self.deliver(&event, &directories).await
        });
        // In a box, so that the future of an invocation stays small.
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

    async fn deliver(&self, event: &Announced, directories: &Directories) -> Result<(), Failure> {
        let directory = event.directory;
        let Some(webhook) = self.webhook(event, directories).await? else {
            return Ok(());
        };
        if self.rests(directory) {
            return Err(Failure::Resting);
        }
        let secret = self.key.secret(directory, &webhook, (self.clock)()).await;
        let secret = secret.map_err(Failure::from)?;
        let mut outcome = self.send(event, &webhook, &secret).await;
        // What is new is sent again soon; later it is the queue that lets time pass.
        for pause in PAUSES.into_iter().filter(|_| event.new) {
            if outcome.is_ok() {
                break;
            }
            (self.sleep)(pause).await;
            outcome = self.send(event, &webhook, &secret).await;
        }
        if let Err(Failure::NoAnswer(_)) = outcome {
            self.let_rest(directory);
        }
        outcome
    }

    /// The webhook that the directory of an event has now, or had at its end. Nothing of it is kept: one that was just
    /// set must not miss the first events.
    async fn webhook(
        &self,
        event: &Announced,
        directories: &Directories,
    ) -> Result<Option<Webhook>, Failure> {
        let Some(directory) = directories.get(&event.directory) else {
            return Ok(None);
        };
        let found = directory.get_or_try_init(|| self.store.directory(event.directory));
        match found.await {
            // The queue keeps the event until a version runs that can read it.
            Ok(Some(directory)) if directory.has_unreadable_webhook() => {
                let reason = "the webhook has a form that this version does not know";
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

    /// Sends it once.
    async fn send(
        &self,
        event: &Announced,
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

    fn rests(&self, directory: DirectoryId) -> bool {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let until = resting.get(&directory);
        until.is_some_and(|until| (self.clock)() < *until)
    }

    fn let_rest(&self, directory: DirectoryId) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() >= REMEMBERED {
            resting.clear();
        }
        let until = (self.clock)().saturating_add(REST);
        resting.insert(directory, until.unwrap_or(Timestamp::MAX));
    }
}
