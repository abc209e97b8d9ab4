//! The runner: the local stack behind HTTP, and what it writes for people or programs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use local::{
    Backoff, Cloud, CloudOptions, Error, Exchange, FirstDirectory, Stack, StackOptions, serve,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long requests that have begun may go on after the signal to stop.
const GRACE: Duration = Duration::from_secs(35);

// A doc comment here would replace the description of the program.
#[derive(clap::Args)]
pub(crate) struct RunnerOptions {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Where data is kept, or ":memory:" to keep none
    #[arg(long, value_name = "DIR", default_value = ".rollcall")]
    data: String,
    /// Another DynamoDB, in place of the embedded one
    #[arg(long, value_name = "URL")]
    dynamodb_endpoint: Option<String>,
    /// Write one JSON object a line: first the address and the token, then each published event
    #[arg(long)]
    json: bool,
}

/// Runs the local stack until the process is told to stop.
///
/// # Errors
///
/// What the stack cannot start or go on without.
pub(crate) async fn run(options: RunnerOptions) -> Result<(), Error> {
    // Before anything else, so that a signal during the start is not lost.
    let stop = stop()?;
    let data = (options.data != ":memory:").then(|| PathBuf::from(&options.data));
    let cloud = Cloud::start(CloudOptions {
        dynamodb_endpoint: options.dynamodb_endpoint.clone(),
        ..CloudOptions::for_people(data)
    })?;
    let listening = |error: io::Error| Error::Listen {
        address: options.listen.clone(),
        reason: error.to_string(),
    };
    let listener = TcpListener::bind(&options.listen)
        .await
        .map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?.to_string();
    let stack = Stack::start(
        cloud.clone(),
        StackOptions {
            domain: address.clone(),
            backoff: Backoff {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(60),
            },
            ..StackOptions::default()
        },
    )
    .await?;
    let first = stack.first_directory().await?;
    let admin_key = stack.admin_key().await?;

    let output = Output::new(options.json, format!("/scim/v2/{}", first.id));
    output.greet(&options, &address, &first, &admin_key);
    let events = output.clone();
    cloud.bus().watch(move |event| events.event(event));
    // Only now: what an earlier run left unpublished comes after the greeting.
    let publishing = stack.publish();
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let serving = serve(
        stack.clone(),
        listener,
        move |exchange| output.exchange(exchange),
        async move {
            stop.await;
            let _ = stopping.send(());
        },
    );
    tokio::select! {
        served = serving => served?,
        () = async { let _ = stopped.await; tokio::time::sleep(GRACE).await } => {}
    }
    // What was acknowledged is published before the end.
    stack.announce().await?;
    publishing.abort();
    Ok(())
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
    /// The path of the SCIM base URL, which is the same in every line and so in none.
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

    /// Writes whole lines. A reader who has gone away ends the writing and nothing else.
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
        let kept = match options.data.as_str() {
            ":memory:" => "nothing is kept".to_owned(),
            directory => format!("data is kept in {directory}"),
        };
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

    /// An event without what it says of a person.
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
