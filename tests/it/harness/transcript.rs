//! Transcripts: files of requests, each with its response and the events that followed.
//!
//! A line that begins with `#` is a comment. A request begins with `> `, its method, and a path below the base URL of the
//! directory, or a path after `{origin}`. Lines `> name: value` after it are headers, and the rest up to an empty line is the
//! body. Without such headers the request has the token of the directory, the media type that Okta sends, and Okta's
//! `User-Agent`; the value `-` removes a header. The response begins with `< `, and each event with `! ` and its type.
//!
//! Ids are written `{id1}`, `{id2}` … in the order in which they first appear, ids of events `{event1}` …, tokens `{token1}` …
//! and cursors `{cursor1}` …. Requests can use the names that stand above them, and `{token}`, `{admin_key}`, `{base}` and
//! `{directory}`. The clock advances by one second before each request.
//!
//! A file that begins with `@ settings` and JSON, up to an empty line, runs in a directory with those settings. One that
//! begins with `@ provider` and the name of a provider runs in a directory of that provider.
//!
//! The `raw` representation of a resource in an event mostly repeats what stands above it. It is then written as a mark, such as
//! `{as answered}`.
//!
//! `local::transcript` prints responses and events. `rollcall --record` writes files in this format.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use directory::{Provider, Settings};
use http::{Method, Request};
use local::transcript::{Printer, percent_encode};

use super::{HOST, World};

/// Returns the paths of all transcripts, sorted.
pub fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Sends the requests of a transcript and returns the transcript with the responses and events of this run.
///
/// What the given text has as responses and events is not read.
pub async fn play(transcript: &str, world: &World) -> String {
    // A directory of its own, if the file asks for one.
    let mut chosen: Option<World> = None;
    let mut printer = printer(world);
    let mut played = String::new();
    let mut lines = transcript.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with('#')
            || line.is_empty() && played.ends_with('\n') && !played.ends_with("\n\n")
        {
            played.push_str(line);
            played.push('\n');
        } else if let Some(first) = line.strip_prefix("@ settings ") {
            let mut settings = first.to_owned();
            writeln!(played, "{line}").unwrap();
            while let Some(more) = lines.next_if(|line| !line.is_empty()) {
                settings.push_str(more);
                writeln!(played, "{more}").unwrap();
            }
            let settings = serde_json::from_str(&settings).unwrap();
            let world = chosen.insert(world.with_settings(settings).await);
            printer = self::printer(world);
        } else if let Some(provider) = line.strip_prefix("@ provider ") {
            writeln!(played, "{line}").unwrap();
            let provider = Provider::from(provider.to_owned());
            let settings = Settings::default();
            let world = chosen.insert(world.with_provider(provider, settings).await);
            printer = self::printer(world);
        } else if line.starts_with("> ") {
            let world = chosen.as_ref().unwrap_or(world);
            let mut request = vec![line];
            while let Some(more) =
                lines.next_if(|line| !line.is_empty() && !line.starts_with(['<', '!', '#']))
            {
                request.push(more);
            }
            // The response and the events of an earlier run.
            while lines
                .next_if(|line| !line.starts_with(['>', '#']))
                .is_some()
            {}
            for line in &request {
                writeln!(played, "{line}").unwrap();
            }
            world.wait(1);
            let answer = world.send(read(&request, world, &printer)).await;
            let shown = printer
                .response(answer.status, &answer.headers, &answer.body)
                .unwrap();
            // A token is only in the successful response to the request that created it.
            let text = String::from_utf8_lossy(&answer.body);
            let text = format!("{:?} {text}", answer.headers);
            assert!(
                answer.status.is_success() || !text.contains("rollcall_"),
                "{text}"
            );
            played.push_str(&shown);
            for event in world.events().await {
                assert!(!event.to_string().contains("rollcall_"), "{event}");
                played.push_str(&printer.event(&event));
            }
            played.push('\n');
        }
    }
    let end = played.trim_end().len();
    played.truncate(end);
    played.push('\n');
    played
}

/// Returns a printer with the names of a world.
fn printer(world: &World) -> Printer {
    Printer::new([
        (
            format!("http://{HOST}{}", world.base()),
            "{base}".to_owned(),
        ),
        (world.directory.clone(), "{directory}".to_owned()),
        (world.token.clone(), "{token}".to_owned()),
        (world.admin_key.clone(), "{admin_key}".to_owned()),
    ])
}

fn read(lines: &[&str], world: &World, printer: &Printer) -> Request<Bytes> {
    let mut lines = lines.iter().map(|line| printer.expand(line));
    let first = lines.next().unwrap();
    let (method, path) = first.trim_start_matches("> ").split_once(' ').unwrap();
    let path = match path.strip_prefix("{origin}") {
        Some(path) => path.to_owned(),
        None => format!("{}{path}", world.base()),
    };
    let mut headers = HashMap::from([
        ("host".to_owned(), HOST.to_owned()),
        ("user-agent".to_owned(), "Okta SCIM Client 1.0.0".to_owned()),
        (
            "authorization".to_owned(),
            format!("Bearer {}", world.token),
        ),
    ]);
    let mut body = vec![];
    for line in lines {
        match line
            .strip_prefix("> ")
            .and_then(|line| line.split_once(": "))
        {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            None => body.push(line),
        }
    }
    let body = body.join("\n");
    if !body.is_empty() {
        headers
            .entry("content-type".to_owned())
            .or_insert_with(|| "application/scim+json; charset=utf-8".to_owned());
    }
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(percent_encode(&path));
    for (name, value) in headers {
        if value != "-" {
            request = request.header(name, value);
        }
    }
    request.body(body.into()).unwrap()
}
