//! The AWS account on one machine: what is in it, where it is kept, and the SDK configuration that reaches it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::bus::Bus;
use crate::dynamodb::Engine;
use crate::http_client::{Fault, LocalHttpClient, RequestInfo, Services, Tables, real_client};
use crate::queue::Queues;
use crate::requests::{Log, Requests};
use crate::secrets::Secrets;
use crate::{Clock, Error, atomic_file, lock, system_clock};

/// Where an account is kept, and what of it is elsewhere.
#[derive(Clone)]
pub struct CloudOptions {
    /// The data directory; without one everything is in memory.
    pub data: Option<PathBuf>,
    /// Another DynamoDB, in place of the embedded one.
    pub dynamodb_endpoint: Option<String>,
    /// How many requests and events are remembered for [`Cloud::take_requests`] and [`Bus::take_events`].
    pub history: usize,
    /// How long the SDK waits before its first retry, if not as long as it does in the cloud.
    pub first_retry_after: Option<Duration>,
    /// What the time is.
    pub clock: Clock,
    /// Whether the embedded table in memory answers on the thread of the caller, as a simulation with a paused clock needs it.
    pub here: bool,
}

impl CloudOptions {
    /// For tests: everything in memory, everything remembered, and retries that do not keep a test waiting.
    pub fn in_memory() -> Self {
        CloudOptions {
            data: None,
            dynamodb_endpoint: None,
            history: usize::MAX,
            first_retry_after: Some(Duration::from_millis(5)),
            clock: system_clock(),
            here: false,
        }
    }

    /// For people: kept in `data`, if anywhere, and little remembered, since the process may run for weeks.
    pub fn for_people(data: Option<PathBuf>) -> Self {
        CloudOptions {
            data,
            history: 1000,
            first_retry_after: None,
            ..CloudOptions::in_memory()
        }
    }
}

/// What a function was given up on with, as a dead-letter queue would learn of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The stream records, or the event of a queue, given up on.
    pub records: Vec<Value>,
    /// How often they were tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: String,
}

/// One AWS account in this process. Clones are the same account.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

struct Inner {
    config: SdkConfig,
    services: Arc<Services>,
    options: CloudOptions,
    dead_letters: Mutex<Vec<DeadLetter>>,
    queues: Arc<Queues>,
    /// Held as long as the account is open, so that two processes never write the same files.
    _lock: Option<File>,
}

impl Cloud {
    /// An empty account for one test.
    pub fn in_memory() -> Result<Cloud, Error> {
        Cloud::start(CloudOptions::in_memory())
    }

    /// The account as the options say.
    pub fn start(options: CloudOptions) -> Result<Cloud, Error> {
        let clock = options.clock.clone();
        let (lock, secrets, queues) = match &options.data {
            None => {
                let secrets = Secrets::in_memory(clock.clone());
                (None, secrets, Queues::in_memory()?)
            }
            Some(directory) => {
                let lock = occupy(directory)?;
                check_format(directory)?;
                let secrets = Secrets::open(directory.join("secrets.json"), clock.clone())?;
                let queues = Queues::open(&directory.join("queues.sqlite"))?;
                (Some(lock), secrets, queues)
            }
        };
        let tables = match (&options.dynamodb_endpoint, &options.data) {
            (Some(endpoint), _) => {
                check_endpoint(endpoint)?;
                Tables::Endpoint(real_client().ok_or(Error::NoHttpClient)?)
            }
            (None, Some(directory)) => {
                Tables::Embedded(Engine::open(&directory.join("dynamodb.sqlite"))?)
            }
            (None, None) if options.here => Tables::Embedded(Engine::in_memory_here()?),
            (None, None) => Tables::Embedded(Engine::in_memory()?),
        };
        let queues = Arc::new(queues);
        let services = Arc::new(Services::new(
            tables,
            secrets,
            Bus::new(clock, options.history),
            queues.clone(),
            Log::new(options.history),
        ));
        Ok(Cloud(Arc::new(Inner {
            config: config(&services, &options),
            services,
            options,
            dead_letters: Mutex::default(),
            queues,
            _lock: lock,
        })))
    }

    /// The configuration every SDK client is made from, here as in the cloud.
    pub fn config(&self) -> &SdkConfig {
        &self.0.config
    }

    /// The event bus.
    pub fn bus(&self) -> &Bus {
        &self.0.services.bus
    }

    /// What the time is.
    pub fn clock(&self) -> Clock {
        self.0.options.clock.clone()
    }

    /// The data directory, if there is one.
    pub fn data(&self) -> Option<&Path> {
        self.0.options.data.as_deref()
    }

    /// The requests made since the last time, which are forgotten here. The stream's polling is not among them.
    pub fn take_requests(&self) -> Requests {
        self.0.services.log.take()
    }

    /// Answers a request that the SDK of another process sent over HTTP, as it would in this one.
    pub async fn answer(&self, request: http::Request<Bytes>) -> http::Response<Bytes> {
        let broken = |status: http::StatusCode| {
            let mut response = http::Response::new(Bytes::new());
            *response.status_mut() = status;
            response
        };
        let Ok(request) = HttpRequest::try_from(request.map(SdkBody::from)) else {
            return broken(http::StatusCode::BAD_REQUEST);
        };
        let answer = self.0.services.answer(request).await;
        match answer.map(|answer| answer.try_into_http1x()) {
            Ok(Ok(answer)) => {
                answer.map(|body| Bytes::copy_from_slice(body.bytes().unwrap_or_default()))
            }
            _ => broken(http::StatusCode::BAD_GATEWAY),
        }
    }

    /// Puts a fault layer before every service; it replaces the one before and starts its counts anew.
    pub fn set_faults(&self, faults: impl Fn(&RequestInfo) -> Fault + Send + Sync + 'static) {
        self.0.services.set_faults(Some(Arc::new(faults)));
    }

    /// Takes the fault layer away.
    pub fn clear_faults(&self) {
        self.0.services.set_faults(None);
    }

    /// What functions were given up on with, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        lock(&self.0.dead_letters).clone()
    }

    /// The messages that are in a queue, the oldest first, each as JSON or as a text.
    pub fn messages(&self, queue: &str) -> Result<Vec<Value>, Error> {
        self.0.queues.messages(queue)
    }

    /// Deletes what has outlived its time to live and says how many items that were; AWS does so by itself.
    pub async fn expire(&self) -> usize {
        match &self.0.services.tables {
            Tables::Embedded(engine) => engine.expire().await,
            Tables::Endpoint(_) => 0,
        }
    }

    /// Lets go of stream records that are more than a day old, as AWS does. Only for when they are handed on: here they
    /// wait for as long as nobody runs the publisher.
    pub(crate) fn trim_stream(&self) {
        if let Tables::Embedded(engine) = &self.0.services.tables {
            engine.trim((self.0.options.clock)().as_second() - 24 * 60 * 60);
        }
    }

    pub(crate) fn queues(&self) -> &Arc<Queues> {
        &self.0.queues
    }

    /// Makes a secret that the template has generated, unless it is there.
    pub(crate) fn generate_secret(&self, name: &str, content: &Value) -> Result<(), Error> {
        let input = json!({"Name": name, "SecretString": content.to_string()});
        let made = self
            .0
            .services
            .secrets
            .call("CreateSecret", input.to_string().as_bytes());
        match made {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.code == "ResourceExistsException" => Ok(()),
            Err(refusal) => Err(Error::Secret(refusal.message)),
        }
    }

    pub(crate) fn dead_letter(&self, letter: DeadLetter) {
        lock(&self.0.dead_letters).push(letter);
    }

    /// Changes whenever something may have been written to a table.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.0.services.written()
    }
}

/// Takes the data directory for this process alone. The lock is the system's, so it ends with the process, however that
/// ends.
fn occupy(directory: &Path) -> Result<File, Error> {
    let data = |error: std::io::Error| Error::Data {
        path: directory.to_owned(),
        reason: error.to_string(),
    };
    atomic_file::private_directory(directory).map_err(data)?;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join("lock"))
        .map_err(data)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(data(error)),
    }
}

/// Refuses a data directory whose items have another format than this version writes
/// ([`directory::FORMAT_VERSION`]). The file `format` has the number; a directory with data and without the file is from
/// a version before format 1.
fn check_format(folder: &Path) -> Result<(), Error> {
    let file = folder.join("format");
    let data = |error: std::io::Error| Error::Data {
        path: file.clone(),
        reason: error.to_string(),
    };
    let kept = atomic_file::read(&file).map_err(data)?;
    let kept = kept.map(|number| String::from_utf8_lossy(&number).trim().to_owned());
    let has_data = ["dynamodb.sqlite", "secrets.json"]
        .iter()
        .any(|name| folder.join(name).exists());
    let this = directory::FORMAT_VERSION.to_string();
    let found = match kept {
        Some(number) if number == this => return Ok(()),
        Some(number) => format!("of format {number}"),
        None if has_data => "of a version before format 1".to_owned(),
        None => return atomic_file::replace(&file, this.as_bytes()).map_err(data),
    };
    Err(Error::Format {
        path: folder.to_owned(),
        found,
    })
}

fn check_endpoint(endpoint: &str) -> Result<(), Error> {
    let wrong = || Error::Endpoint(endpoint.to_owned());
    let uri: http::Uri = endpoint.parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(()),
        _ => Err(wrong()),
    }
}

fn config(services: &Arc<Services>, options: &CloudOptions) -> SdkConfig {
    let retry = RetryConfig::standard();
    let retry = match options.first_retry_after {
        Some(wait) => retry.with_initial_backoff(wait),
        None => retry,
    };
    let credentials = Credentials::new("rollcall", "rollcall", None, None, "rollcall-local");
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(retry)
        .http_client(SharedHttpClient::new(LocalHttpClient::new(
            services.clone(),
        )));
    config.set_service_config(options.dynamodb_endpoint.clone().map(Endpoint));
    config.build()
}

/// Names the endpoint of DynamoDB and its streams to their clients, as a profile's `services` section would, so that
/// requests are signed for the host they go to.
#[derive(Debug)]
struct Endpoint(String);

impl LoadServiceConfig for Endpoint {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let about_tables = matches!(key.service_id(), "DynamoDB" | "DynamoDB Streams");
        (about_tables && key.env() == "AWS_ENDPOINT_URL").then(|| self.0.clone())
    }
}
