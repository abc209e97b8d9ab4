//! The HTTP client of the AWS SDK, which passes requests to the emulated services.
//!
//! It reads the operation from a request, applies the fault layer, calls the service, and logs the request.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_smithy_http_client::default_connector;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use crate::bus::Bus;
use crate::dynamodb::Engine;
use crate::lock;
use crate::network::{self, Lost, Passage, Past};
use crate::queue::Queues;
use crate::requests::{Log, Outcome, Service};
use crate::secrets::{Refusal, Secrets};

/// A request, as the fault layer sees it before it is performed.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// The service.
    pub service: Service,
    /// The operation, such as `TransactWriteItems`.
    pub operation: String,
    /// Number of this request among those of the service and operation since the fault layer was set, from 1. A retry of the SDK
    /// is a separate request.
    pub number: usize,
    body: Bytes,
}

impl RequestInfo {
    /// The JSON of the request.
    pub fn input(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What the fault layer does to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The request is performed.
    Pass,
    /// The request is not performed. The response is an error, such as `ThrottlingException`.
    Error {
        /// The HTTP status.
        status: u16,
        /// The name of the error.
        code: &'static str,
        /// The message of the error.
        message: &'static str,
    },
    /// A `TransactWriteItems` that is cancelled for these reasons, one for each action: `None`, `TransactionConflict`,
    /// `ConditionalCheckFailed`, `ThrottlingError`, …
    Cancel(Vec<&'static str>),
    /// The request is performed. The connection breaks before the response arrives.
    DropAnswer,
    /// The connection breaks before the service has read the request.
    DropRequest,
    /// The request is performed after this time.
    Delay(Duration),
    /// The request passes an unreliable network (`network.rs`).
    Passage(Passage),
    /// A `PutEvents` whose entries at these positions are refused; the others are accepted.
    FailEntries {
        /// The positions, counted from 0.
        indexes: Vec<usize>,
        /// The error code of these entries, such as `ThrottlingException`.
        code: &'static str,
    },
}

pub(crate) type Faults = Arc<dyn Fn(&RequestInfo) -> Fault + Send + Sync>;

/// The DynamoDB of an account.
pub(crate) enum Tables {
    /// In this process.
    Embedded(Engine),
    /// At the endpoint in the configuration of the SDK.
    Endpoint(SharedHttpConnector),
}

/// The services of an account, which its HTTP clients share.
pub(crate) struct Services {
    pub(crate) tables: Tables,
    pub(crate) secrets: Secrets,
    pub(crate) bus: Bus,
    pub(crate) queues: Arc<Queues>,
    pub(crate) log: Log,
    faults: RwLock<Option<Faults>>,
    counts: Mutex<HashMap<(Service, String), usize>>,
    written: watch::Sender<u64>,
    past: Past,
}

impl Services {
    pub(crate) fn new(
        tables: Tables,
        secrets: Secrets,
        bus: Bus,
        queues: Arc<Queues>,
        log: Log,
    ) -> Self {
        Services {
            tables,
            secrets,
            bus,
            queues,
            log,
            faults: RwLock::default(),
            counts: Mutex::default(),
            written: watch::Sender::new(0),
            past: Past::default(),
        }
    }

    pub(crate) fn set_faults(&self, faults: Option<Faults>) {
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = faults;
        lock(&self.counts).clear();
    }

    /// Returns a value that changes when a table may have been written to.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    fn fault(&self, service: Service, operation: &str, body: &Bytes) -> Fault {
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        let Some(faults) = faults.clone() else {
            return Fault::Pass;
        };
        let number = {
            let mut counts = lock(&self.counts);
            let count = counts.entry((service, operation.to_owned())).or_default();
            *count += 1;
            *count
        };
        faults(&RequestInfo {
            service,
            operation: operation.to_owned(),
            number,
            body: body.clone(),
        })
    }

    pub(crate) async fn answer(
        self: &Arc<Self>,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let Some((service, operation)) = target(&request) else {
            return Ok(error(
                400,
                "UnknownOperationException",
                "The local cloud does not know this service.",
            ));
        };
        let body = Bytes::copy_from_slice(request.body().bytes().unwrap_or_default());
        // Polling of the stream is the event source mapping's own and would drown the functions' requests.
        let started = (service != Service::Streams).then(|| self.log.start(service, &operation));
        // Requests made side by side have all begun before the first of them is answered, however fast that is; without
        // this a request that is served within a microsecond would look as if the next had waited for it.
        tokio::task::yield_now().await;
        let fault = self.fault(service, &operation, &body);
        let (answer, outcome) = self
            .faulted(service, &operation, body, request, fault)
            .await;
        if let Some(started) = started {
            self.log.finish(started, outcome);
        }
        answer
    }

    async fn faulted(
        self: &Arc<Self>,
        service: Service,
        operation: &str,
        body: Bytes,
        request: HttpRequest,
        fault: Fault,
    ) -> (Result<HttpResponse, ConnectorError>, Outcome) {
        match fault {
            Fault::Pass => {}
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Passage(passage) => {
                return self
                    .carried(service, operation, body, request, passage)
                    .await;
            }
            Fault::Error {
                status,
                code,
                message,
            } => return answered(error(status, code, message)),
            Fault::Cancel(reasons) => return answered(cancelled(&reasons)),
            Fault::DropRequest => return (Err(broken()), Outcome::default()),
            Fault::DropAnswer => {
                let (_, outcome) = self
                    .perform(service, operation, body, request, (&[], ""))
                    .await;
                let lost = Outcome {
                    status: None,
                    ..outcome
                };
                return (Err(broken()), lost);
            }
            Fault::FailEntries { indexes, code } => {
                return self
                    .perform(service, operation, body, request, (&indexes, code))
                    .await;
            }
        }
        self.perform(service, operation, body, request, (&[], ""))
            .await
    }

    /// Performs a request in an unreliable network.
    async fn carried(
        self: &Arc<Self>,
        service: Service,
        operation: &str,
        body: Bytes,
        request: HttpRequest,
        passage: Passage,
    ) -> (Result<HttpResponse, ConnectorError>, Outcome) {
        let input: Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = input.get("ClientRequestToken").and_then(Value::as_str);
        let token = token.filter(|_| operation == "TransactWriteItems");
        if token.is_some_and(|token| !self.past.begin(token)) {
            // The first attempt has not arrived yet, or is being performed.
            return answered(error(
                400,
                "TransactionInProgressException",
                "The transaction with the given request token is already in progress.",
            ));
        }
        let (tell, told) = oneshot::channel();
        let (services, operation) = (self.clone(), operation.to_owned());
        let (token, before, after, lost) = (
            token.map(str::to_owned),
            passage.before,
            passage.after,
            passage.lost,
        );
        // In a task of its own: a request that has been sent is performed, whatever becomes of the process that sent it.
        tokio::spawn(async move {
            tokio::time::sleep(before).await;
            let performed = services
                .perform_in_the_past(service, &operation, body, input, request, &passage)
                .await;
            if let Some(token) = token {
                services.past.end(&token);
            }
            let _ = tell.send(performed);
        });
        if lost == Lost::Before {
            tokio::time::sleep(after).await;
            return (Err(broken()), Outcome::default());
        }
        let Ok((answer, outcome)) = told.await else {
            return (Err(broken()), Outcome::default());
        };
        tokio::time::sleep(after).await;
        match lost {
            Lost::After => {
                let lost = Outcome {
                    status: None,
                    ..outcome
                };
                (Err(broken()), lost)
            }
            Lost::Never | Lost::Before => (answer, outcome),
        }
    }

    async fn perform_in_the_past(
        &self,
        service: Service,
        operation: &str,
        body: Bytes,
        input: Value,
        request: HttpRequest,
        passage: &Passage,
    ) -> (Result<HttpResponse, ConnectorError>, Outcome) {
        let none: (&[usize], &str) = (&[], "");
        match (service, operation) {
            (Service::DynamoDb, "Query") if input.get("IndexName").is_some() => {
                let answer = self.past.query(&input, passage.stale);
                return answered(response(200, answer.to_string().into_bytes()));
            }
            (Service::SecretsManager, "GetSecretValue") if !passage.stale.is_zero() => {
                return answered(json_answer(self.secrets.call_as_of(
                    operation,
                    &body,
                    passage.stale,
                )));
            }
            (Service::DynamoDb, "Query" | "BatchGetItem") => {
                if let (Some(later), Tables::Embedded(engine)) = (passage.torn, &self.tables) {
                    return self.torn(engine, operation, body, &input, later).await;
                }
            }
            _ => {}
        }
        let performed = self.perform(service, operation, body, request, none).await;
        // A repeat of a transaction under its token writes nothing, and is not billed as a write.
        if service == Service::DynamoDb && performed.1.write_units > 0.0 {
            self.past.write(operation, &input);
        }
        performed
    }

    /// Performs a read whose second half is read later.
    async fn torn(
        &self,
        engine: &Engine,
        operation: &str,
        body: Bytes,
        input: &Value,
        later: Duration,
    ) -> (Result<HttpResponse, ConnectorError>, Outcome) {
        let ask = async |input: &Value| {
            let answer = engine.call(operation, input.to_string().into()).await;
            let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
            body.filter(|_| answer.status == 200)
        };
        let halves = match operation {
            "Query" => {
                let first = ask(input).await;
                let rest = first.and_then(|first| network::rest(input, &first));
                rest.map(|(kept, rest)| (json!({"Items": kept}), rest))
            }
            _ => match network::halves(input) {
                Some((one, other)) => ask(&one).await.map(|first| (first, other)),
                None => None,
            },
        };
        if let Some((first, rest)) = halves {
            tokio::time::sleep(later).await;
            if let Some(second) = ask(&rest).await {
                let joined = network::join(&first, second).to_string();
                return answered(response(200, joined.into_bytes()));
            }
        }
        let answer = engine.call(operation, body).await;
        answered(response(answer.status, answer.body))
    }

    async fn perform(
        &self,
        service: Service,
        operation: &str,
        body: Bytes,
        request: HttpRequest,
        (fail, code): (&[usize], &str),
    ) -> (Result<HttpResponse, ConnectorError>, Outcome) {
        match service {
            Service::DynamoDb | Service::Streams => match &self.tables {
                Tables::Embedded(engine) => {
                    let answer = engine.call(operation, body).await;
                    if answer.write_units > 0.0 {
                        self.written.send_modify(|count| *count += 1);
                    }
                    let outcome = Outcome {
                        read_units: answer.read_units,
                        write_units: answer.write_units,
                        status: Some(answer.status),
                    };
                    (Ok(response(answer.status, answer.body)), outcome)
                }
                Tables::Endpoint(connector) => {
                    let answer = connector.call(request).await;
                    if service == Service::DynamoDb {
                        self.written.send_modify(|count| *count += 1);
                    }
                    let outcome = Outcome {
                        status: answer.as_ref().ok().map(|answer| answer.status().as_u16()),
                        ..Outcome::default()
                    };
                    (answer, outcome)
                }
            },
            Service::SecretsManager => answered(json_answer(self.secrets.call(operation, &body))),
            Service::EventBridge if operation == "PutEvents" => {
                answered(json_answer(self.bus.put(&body, fail, code)))
            }
            Service::EventBridge => answered(error(
                400,
                "UnknownOperationException",
                "The local event bus knows PutEvents only.",
            )),
            Service::Sqs if operation == "SendMessage" => {
                answered(json_answer(self.queues.send_message(&body)))
            }
            Service::Sqs => answered(error(
                400,
                "UnknownOperationException",
                "The local queues know SendMessage only.",
            )),
        }
    }
}

/// The HTTP client in the configuration of the SDK.
#[derive(Clone)]
pub(crate) struct LocalHttpClient {
    services: Arc<Services>,
    read_timeout: Option<Duration>,
}

impl LocalHttpClient {
    pub(crate) fn new(services: Arc<Services>) -> Self {
        LocalHttpClient {
            services,
            read_timeout: None,
        }
    }
}

impl fmt::Debug for LocalHttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("local::HttpClient")
    }
}

impl HttpClient for LocalHttpClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(LocalHttpClient {
            services: self.services.clone(),
            read_timeout: settings.read_timeout(),
        })
    }
}

impl HttpConnector for LocalHttpClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let LocalHttpClient {
            services,
            read_timeout,
        } = self.clone();
        HttpConnectorFuture::new(async move {
            // Time-outs are a connector's duty, so a fault that delays meets the same limit as a slow AWS.
            match read_timeout {
                None => services.answer(request).await,
                Some(limit) => tokio::time::timeout(limit, services.answer(request))
                    .await
                    .unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into()))),
            }
        })
    }
}

/// Returns a client for the network, for `--dynamodb-endpoint`.
pub(crate) fn real_client() -> Option<SharedHttpConnector> {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(Duration::from_secs(3))
        .build();
    default_connector(&settings, None)
}

/// Returns the service and operation of a request. All services use the JSON protocol of AWS, which has them in a header.
fn target(request: &HttpRequest) -> Option<(Service, String)> {
    let (service, operation) = request.headers().get("x-amz-target")?.split_once('.')?;
    let service = match service {
        "DynamoDB_20120810" => Service::DynamoDb,
        "DynamoDBStreams_20120810" => Service::Streams,
        "secretsmanager" => Service::SecretsManager,
        "AWSEvents" => Service::EventBridge,
        "AmazonSQS" => Service::Sqs,
        _ => return None,
    };
    Some((service, operation.to_owned()))
}

fn broken() -> ConnectorError {
    let reset = io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset");
    ConnectorError::io(reset.into())
}

fn answered(answer: HttpResponse) -> (Result<HttpResponse, ConnectorError>, Outcome) {
    let outcome = Outcome {
        status: Some(answer.status().as_u16()),
        ..Outcome::default()
    };
    (Ok(answer), outcome)
}

fn json_answer(answer: Result<Value, Refusal>) -> HttpResponse {
    match answer {
        Ok(value) => response(200, value.to_string().into_bytes()),
        Err(refusal) => error(refusal.status, refusal.code, &refusal.message),
    }
}

fn error(status: u16, code: &str, message: &str) -> HttpResponse {
    response(
        status,
        json!({"__type": code, "message": message})
            .to_string()
            .into_bytes(),
    )
}

fn cancelled(reasons: &[&str]) -> HttpResponse {
    let list = reasons.join(", ");
    let reasons: Vec<Value> = reasons
        .iter()
        .map(|reason| match *reason {
            "None" => json!({"Code": "None"}),
            code => json!({"Code": code, "Message": "The local fault layer cancelled it."}),
        })
        .collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{list}]"
        ),
        "CancellationReasons": reasons,
    });
    response(400, body.to_string().into_bytes())
}

fn response(status: u16, body: Vec<u8>) -> HttpResponse {
    let status = StatusCode::try_from(status).unwrap_or_else(|_| internal_error());
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    let headers = response.headers_mut();
    headers.insert("content-type", "application/x-amz-json-1.0");
    headers.insert("x-amzn-requestid", crate::random_id());
    response
}

fn internal_error() -> StatusCode {
    http::StatusCode::INTERNAL_SERVER_ERROR.into()
}
