//! The runner: the local stack behind HTTP, and its output for people or programs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use local::transcript::{Timeline, ids_in_order};
use local::{
    Backend, Backoff, Cloud, CloudOptions, Error, Exchange, FirstDirectory, Recorder, Stack,
    StackOptions, serve,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Time for requests in progress to finish after the signal to stop.
const GRACE_PERIOD: Duration = Duration::from_secs(35);

// A doc comment here would replace the description of the program.
#[derive(clap::Args)]
pub(crate) struct RunnerOptions {
    /// Address to listen on; port 0 takes a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Directory for the data, or ":memory:" to keep none [default: .rollcall]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Use another DynamoDB in place of the embedded one
    #[arg(long, value_name = "URL", conflicts_with = "record")]
    dynamodb_endpoint: Option<String>,
    /// Write one JSON object per line: first the address and the token, then each published event
    #[arg(long)]
    json: bool,
    /// Record requests, responses and events as a transcript in a new file
    ///
    /// Texts, ids and tokens are replaced by placeholders. The session begins with an empty directory, keeps its data in
    /// memory, and handles one request at a time. Webhooks are not delivered. Copy the file to tests/transcripts to turn it into a test.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Runs the local stack until the process is told to stop.
///
/// # Errors
///
/// Returns an error when the stack cannot start, or when the listener fails.
pub(crate) async fn run(options: RunnerOptions) -> Result<(), Error> {
    // First, so that a signal during the start is not lost.
    let stop = stop()?;
    let data = options.data_directory()?;
    let timeline = options.record.as_ref().map(|_| Timeline::default());
    let mut cloud_options = CloudOptions {
        dynamodb_endpoint: options.dynamodb_endpoint.clone(),
        ..CloudOptions::for_people(data.clone())
    };
    if let Some(timeline) = &timeline {
        cloud_options.clock = timeline.clock();
        // The recorder takes the events of each request, however many there are.
        cloud_options.history = usize::MAX;
    }
    let cloud = Cloud::start(cloud_options)?;
    let listening = |error: io::Error| Error::Listen {
        address: options.listen.clone(),
        reason: error.to_string(),
    };
    let listener = TcpListener::bind(&options.listen)
        .await
        .map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?.to_string();
    let mut stack_options = StackOptions {
        domain: address.clone(),
        backoff: Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(60),
        },
        ..StackOptions::default()
    };
    if let Some(timeline) = &timeline {
        stack_options.ids = ids_in_order();
        stack_options.background_sleep = timeline.sleep();
    }
    let stack = Stack::start(cloud.clone(), stack_options).await?;
    let first = stack.first_directory().await?;
    let admin_key = stack.admin_key().await?;

    let recorder = match (&options.record, timeline) {
        (Some(file), Some(timeline)) => {
            // The events of the directory itself are not part of a transcript.
            stack.drain().await?;
            cloud.bus().take_events();
            let recorder = Recorder::create(
                file,
                stack.clone(),
                timeline,
                first.clone(),
                admin_key.clone(),
            )?;
            Some(Arc::new(recorder))
        }
        _ => None,
    };

    let output = Output::new(options.json, format!("/scim/v2/{}", first.id));
    output.greet(data.as_deref(), &options, &address, &first, &admin_key);
    let events = output.clone();
    cloud.bus().watch(move |event| events.event(event));
    // After the greeting, because an earlier run can have left events unpublished.
    let (backend, publishing) = match recorder {
        Some(recorder) => {
            // The recorder publishes events itself. Webhooks are not delivered, because their retries advance the clock.
            (Backend::Recorder(recorder), tokio::spawn(async {}))
        }
        None => (Backend::Stack(stack.clone()), stack.publish()),
    };
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let serving = serve(
        backend,
        listener,
        move |exchange| output.exchange(exchange),
        async move {
            stop.await;
            let _ = stopping.send(());
        },
    );
    tokio::select! {
        served = serving => served?,
        () = async { let _ = stopped.await; tokio::time::sleep(GRACE_PERIOD).await } => {}
    }
    // The events of acknowledged changes are published before the process ends.
    stack.announce().await?;
    publishing.abort();
    Ok(())
}

impl RunnerOptions {
    /// Returns the data directory, or `None` to keep the data in memory.
    fn data_directory(&self) -> Result<Option<PathBuf>, Error> {
        match (self.data.as_deref(), &self.record) {
            (Some(":memory:"), _) | (None, Some(_)) => Ok(None),
            (Some(_), Some(file)) => Err(Error::Record {
                path: file.clone(),
                reason: "a recording keeps its data in memory; leave out --data".to_owned(),
            }),
            (data, None) => Ok(Some(data.unwrap_or(".rollcall").into())),
        }
    }
}

/// Completes with the first SIGINT or SIGTERM. A second one ends the process at once.
fn stop() -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let mut next = async move || {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            }
        };
        next().await;
        tokio::spawn(async move { std::process::exit(next().await) });
    })
}

/// Standard output: for people, or with `--json` for programs.
#[derive(Clone)]
struct Output {
    json: bool,
    /// The path of the SCIM base URL, which is left out of the output.
    base: String,
    closed: Arc<AtomicBool>,
}

impl Output {
    fn new(json: bool, base: String) -> Self {
        Self {
            json,
            base,
            closed: Arc::default(),
        }
    }

    /// Writes a line. After standard output is closed, nothing more is written, and the runner goes on.
    fn write(&self, text: &str) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut output = io::stdout().lock();
        if writeln!(output, "{text}")
            .and_then(|()| output.flush())
            .is_err()
        {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    fn greet(
        &self,
        data: Option<&Path>,
        options: &RunnerOptions,
        address: &str,
        first: &FirstDirectory,
        admin_key: &str,
    ) {
        let FirstDirectory { id, token } = first;
        let url = format!("http://{address}");
        let base_url = format!("{url}{}", self.base);
        if self.json {
            let first = json!({
                "base_url": base_url, "token": token, "directory_id": id, "url": url, "admin_key": admin_key,
            });
            self.write(&first.to_string());
            return;
        }
        let mut kept = match data {
            None => "nothing is kept".to_owned(),
            Some(directory) => format!("data is kept in {}", directory.display()),
        };
        if let Some(file) = &options.record {
            kept = format!("requests are recorded in {}", file.display());
        }
        self.write(&format!(
            r#"Rollcall listens on http://{address}; {kept}.

  Base URL   {base_url}
  Token      {token}
  Admin key  {admin_key}

Create a user, in another terminal:

  curl -sS '{base_url}/Users' -H 'Authorization: Bearer {token}' \
    -H 'Content-Type: application/scim+json' \
    -d '{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ann@example.com","name":{{"givenName":"Ann","familyName":"Archer"}},"emails":[{{"value":"ann@example.com","type":"work","primary":true}}],"active":true}}'

In Okta, in the app "SCIM 2.0 Test App (OAuth Bearer Token)", under Provisioning:

  Integration   SCIM 2.0 Base Url and OAuth Bearer Token: as above; then Test API Credentials.
                Okta calls https addresses only: run a tunnel to {address}, and put its
                host name into the Base Url.
  To App        Create Users, Update User Attributes, Deactivate Users: Enable

Each request and each event is a line below. Ctrl-C stops.
"#
        ));
    }

    fn exchange(&self, exchange: &Exchange) {
        if self.json {
            return;
        }
        let Exchange {
            request,
            status,
            took,
        } = exchange;
        let request = request.replacen(&self.base, "", 1);
        let milliseconds = took.as_secs_f64() * 1000.0;
        self.write(&format!(
            "{}  {request}  ({milliseconds:.1} ms)",
            status.as_u16()
        ));
    }

    /// Writes an event. The line for people does not contain personal data.
    fn event(&self, event: &Value) {
        if self.json {
            self.write(&event.to_string());
            return;
        }
        let text = |pointer: &str| {
            event
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let number = |pointer: &str| {
            event
                .pointer(pointer)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        let mut line = format!(
            " →   {}  {} {}  version {}",
            text("/detail-type"),
            text("/detail/resource/type"),
            text("/detail/resource/id"),
            number("/detail/version")
        );
        if event.pointer("/detail/member").is_some() {
            let (ty, id) = (text("/detail/member/type"), text("/detail/member/id"));
            line.push_str(&format!("  member {ty} {id}"));
        }
        if let Some(changed) = event.pointer("/detail/changed").and_then(Value::as_array) {
            let changed: Vec<&str> = changed.iter().filter_map(Value::as_str).collect();
            line.push_str(&format!("  changed {}", changed.join(", ")));
        }
        if let Some(active) = event
            .pointer("/detail/data/active")
            .and_then(Value::as_bool)
        {
            line.push_str(&format!("  active {active}"));
        }
        self.write(&line);
    }
}
