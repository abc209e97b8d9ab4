//! An AWS account on one machine: its services, its data, and the configuration of the SDK that reaches it.

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

/// The options of an account.
#[derive(Clone)]
pub struct CloudOptions {
    /// The data directory. `None` keeps everything in memory.
    pub data: Option<PathBuf>,
    /// The URL of another DynamoDB, in place of the embedded one.
    pub dynamodb_endpoint: Option<String>,
    /// Maximum number of requests and of events that are kept for [`Cloud::take_requests`] and [`Bus::take_events`].
    pub history: usize,
    /// Pause of the SDK before its first retry. `None` is the default of the SDK.
    pub first_retry_after: Option<Duration>,
    /// Source of the current time.
    pub clock: Clock,
    /// Whether the embedded table runs on the thread of the caller, which a simulation with a paused clock needs.
    pub here: bool,
}

impl CloudOptions {
    /// Returns the options for tests: everything in memory, no limit of the history, and short pauses before retries.
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

    /// Returns the options for the runner: data in `data`, and a short history, because the process can run for weeks.
    pub fn for_people(data: Option<PathBuf>) -> Self {
        CloudOptions {
            data,
            history: 1000,
            first_retry_after: None,
            ..CloudOptions::in_memory()
        }
    }
}

/// Records or a message that a function could not process, as in a dead-letter queue.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The stream records, or the event of a queue.
    pub records: Vec<Value>,
    /// Number of attempts.
    pub attempts: u32,
    /// The error of the last attempt.
    pub reason: String,
}

/// An AWS account in this process. Clones are the same account.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

struct Inner {
    config: SdkConfig,
    services: Arc<Services>,
    options: CloudOptions,
    dead_letters: Mutex<Vec<DeadLetter>>,
    queues: Arc<Queues>,
    /// The lock of the data directory, so that two processes do not write the same files.
    _lock: Option<File>,
}

impl Cloud {
    /// Returns an empty account in memory.
    ///
    /// # Errors
    ///
    /// Returns an error when the embedded table cannot be created.
    pub fn in_memory() -> Result<Cloud, Error> {
        Cloud::start(CloudOptions::in_memory())
    }

    /// Opens or creates an account.
    ///
    /// # Errors
    ///
    /// Returns an error when its data cannot be used, or is in use.
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

    /// Returns the configuration of the SDK, from which every client is created.
    pub fn config(&self) -> &SdkConfig {
        &self.0.config
    }

    /// Returns the event bus.
    pub fn bus(&self) -> &Bus {
        &self.0.services.bus
    }

    /// Returns the source of the current time.
    pub fn clock(&self) -> Clock {
        self.0.options.clock.clone()
    }

    /// Returns the data directory, if there is one.
    pub fn data(&self) -> Option<&Path> {
        self.0.options.data.as_deref()
    }

    /// Returns the requests since the last call, and forgets them. Reads of the stream are not included.
    pub fn take_requests(&self) -> Requests {
        self.0.services.log.take()
    }

    /// Responds to a request that the SDK of another process sent over HTTP.
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

    /// Sets the fault layer of all services. It replaces the previous one, and its counts begin at 1.
    pub fn set_faults(&self, faults: impl Fn(&RequestInfo) -> Fault + Send + Sync + 'static) {
        self.0.services.set_faults(Some(Arc::new(faults)));
    }

    /// Removes the fault layer.
    pub fn clear_faults(&self) {
        self.0.services.set_faults(None);
    }

    /// Returns the dead letters of the functions, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        lock(&self.0.dead_letters).clone()
    }

    /// Returns the messages in a queue, oldest first, each as JSON or as a text.
    ///
    /// # Errors
    ///
    /// Returns an error when the queue cannot be read.
    pub fn messages(&self, queue: &str) -> Result<Vec<Value>, Error> {
        self.0.queues.messages(queue)
    }

    /// Deletes items whose time to live has passed, as AWS does by itself. Returns their number.
    pub async fn expire(&self) -> usize {
        match &self.0.services.tables {
            Tables::Embedded(engine) => engine.expire().await,
            Tables::Endpoint(_) => 0,
        }
    }

    /// Deletes stream records that are more than a day old, as AWS does. It is only called while the publisher runs, so that
    /// records are kept while it does not.
    pub(crate) fn trim_stream(&self) {
        if let Tables::Embedded(engine) = &self.0.services.tables {
            engine.trim((self.0.options.clock)().as_second() - 24 * 60 * 60);
        }
    }

    pub(crate) fn queues(&self) -> &Arc<Queues> {
        &self.0.queues
    }

    /// Creates a generated secret of the template, if it does not exist.
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

    /// Returns a value that changes when a table may have been written to.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.0.services.written()
    }
}

/// Locks the data directory for this process. The operating system releases the lock when the process ends.
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

/// Configures the endpoint of DynamoDB and its streams, as the `services` section of a profile does, so that requests are
/// signed for the host to which they go.
#[derive(Debug)]
struct Endpoint(String);

impl LoadServiceConfig for Endpoint {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let about_tables = matches!(key.service_id(), "DynamoDB" | "DynamoDB Streams");
        (about_tables && key.env() == "AWS_ENDPOINT_URL").then(|| self.0.clone())
    }
}
