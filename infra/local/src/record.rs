//! Records the session of a SCIM client as a transcript.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::redact::{Redactor, mask};
use crate::transcript::{HOST, Printer, Timeline, pretty};
use crate::{Error, FirstDirectory, Stack};

/// The headers of requests that the service reads, as a transcript writes them. `Accept-Encoding` is removed from recorded
/// requests, because a transcript contains no compressed bodies.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::ACCEPT, "Accept"),
    (header::CONTENT_TYPE, "Content-Type"),
    (header::CONTENT_ENCODING, "Content-Encoding"),
    (header::IF_MATCH, "If-Match"),
    (header::IF_NONE_MATCH, "If-None-Match"),
    (HeaderName::from_static("prefer"), "Prefer"),
    (
        HeaderName::from_static("idempotency-key"),
        "Idempotency-Key",
    ),
];
/// The media type of a request with a body in a transcript that names no other.
const USUAL_TYPE: &str = "application/scim+json; charset=utf-8";
/// Resources of the service itself, which contain no data of a client.
const DISCOVERY: [&str; 3] = ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas"];

/// Sends requests to a stack, one at a time, and writes each with its response and events to a file.
///
/// The stack has to run with the clock of the `timeline`, with [`crate::transcript::ids_in_order`], and without anything else
/// that reads its stream, so that the file can be played again with the same result.
pub struct Recorder {
    stack: Stack,
    timeline: Timeline,
    directory: FirstDirectory,
    admin_key: String,
    session: Mutex<Session>,
    failed: AtomicBool,
}

struct Session {
    file: File,
    printer: Printer,
    redactor: Redactor,
    user_agent: String,
}

impl Recorder {
    /// Creates the file and returns a recorder that writes to it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Record`] if the file exists or cannot be created.
    pub fn create(
        file: &Path,
        stack: Stack,
        timeline: Timeline,
        directory: FirstDirectory,
        admin_key: String,
    ) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let failed = |error: io::Error| Error::Record {
            path: file.to_owned(),
            reason: match error.kind() {
                io::ErrorKind::AlreadyExists => "the file exists; name a new one".to_owned(),
                _ => error.to_string(),
            },
        };
        let mut opened = options.open(file).map_err(failed)?;
        opened
            .write_all(
                b"# Recorded by `rollcall --record`. Texts, ids and tokens are replaced by placeholders.\n",
            )
            .map_err(failed)?;
        let printer = Printer::new([
            (
                format!("http://{HOST}/scim/v2/{}", directory.id),
                "{base}".to_owned(),
            ),
            (directory.id.clone(), "{directory}".to_owned()),
            (directory.token.clone(), "{token}".to_owned()),
            (admin_key.clone(), "{admin_key}".to_owned()),
        ]);
        Ok(Recorder {
            stack,
            timeline,
            directory,
            admin_key,
            session: Mutex::new(Session {
                file: opened,
                printer,
                redactor: Redactor::default(),
                user_agent: String::new(),
            }),
            failed: AtomicBool::new(false),
        })
    }

    /// Sends a request to the stack, and writes it with its response and events before the response is returned.
    pub async fn handle_from(
        &self,
        mut request: Request<Bytes>,
        peer: SocketAddr,
    ) -> Response<Bytes> {
        // A transcript is a sequence, so requests wait for each other.
        let mut session = self.session.lock().await;
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        let (head, body) = request.into_parts();
        let origin = origin(&head.headers);
        let method = head.method.clone();
        let written = session.request(self, &origin, &head, &body);
        let agent = head.headers.get(header::USER_AGENT).cloned();
        self.timeline.advance(1);
        let discovery = DISCOVERY.iter().any(|name| head.uri.path().contains(name));
        let request = Request::from_parts(head, body);
        let response = self.stack.handle_from(request, peer).await;
        let outcome = self
            .outcome(&mut session, &origin, discovery, &response)
            .await;
        let exchange = written
            .zip(outcome)
            .map(|(request, outcome)| request + &outcome);
        let text = exchange.unwrap_or_else(|| {
            self.timeline.advance(-1);
            format!(
                "# A {method} request is left out, because its body or that of the response cannot be written in a transcript.\n"
            )
        });
        let text = session.with_user_agent(agent.as_ref(), &text);
        // One write, so that the file is complete up to this exchange if the process is killed.
        if !self.failed.load(Ordering::Relaxed)
            && let Err(error) = session.file.write_all(format!("\n{text}").as_bytes())
        {
            self.failed.store(true, Ordering::Relaxed);
            tracing::error!(%error, "the recording has stopped: the file cannot be written");
        }
        response
    }

    /// Prints a response and the events that follow it.
    async fn outcome(
        &self,
        session: &mut Session,
        origin: &str,
        discovery: bool,
        response: &Response<Bytes>,
    ) -> Option<String> {
        if let Err(error) = self.stack.drain().await {
            tracing::error!(%error, "events are missing from the recording");
        }
        let events = self.stack.cloud().bus().take_events();
        self.stack.cloud().take_requests();
        let here = |text: &str| text.replace(origin, &format!("http://{HOST}"));
        let mut headers = HeaderMap::new();
        for (name, value) in response.headers() {
            let value = session
                .redactor
                .quoted(&here(&String::from_utf8_lossy(value.as_bytes())));
            headers.append(name.clone(), HeaderValue::try_from(value).ok()?);
        }
        let body = std::str::from_utf8(response.body()).ok()?;
        let body = match body {
            "" => String::new(),
            text => {
                let mut body: Value = serde_json::from_str(&here(text)).ok()?;
                if !discovery {
                    session.redactor.response(&mut body);
                }
                body.to_string()
            }
        };
        let printer = &mut session.printer;
        let mut text = printer
            .response(response.status(), &headers, body.as_bytes())
            .ok()?;
        for event in events {
            let mut event: Value = serde_json::from_str(&here(&event.to_string())).ok()?;
            if let Some(detail) = event.get_mut("detail") {
                session.redactor.response(detail);
            }
            text.push_str(&printer.event(&event));
        }
        Some(text)
    }
}

impl Session {
    /// Prints a request. Returns `None` for one that a transcript cannot contain.
    fn request(
        &mut self,
        recorder: &Recorder,
        origin: &str,
        head: &http::request::Parts,
        body: &[u8],
    ) -> Option<String> {
        let body = self.body(origin, body)?;
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let base = format!("/scim/v2/{}", recorder.directory.id);
        let below = target.strip_prefix(&base);
        let below = below.filter(|path| path.is_empty() || path.starts_with(['/', '?']));
        let path = self.redactor.path(below.unwrap_or(target), &self.printer);
        let path = self.printer.abbreviate(&path);
        let mut text = match below {
            Some(_) => format!("> {} {path}\n", head.method),
            None => format!("> {} {{origin}}{path}\n", head.method),
        };
        for (name, written) in &HEADERS {
            let values = head.headers.get_all(name).iter();
            let values: Option<Vec<&str>> = values.map(|value| value.to_str().ok()).collect();
            let value = values?.join(", ");
            let value = match *written {
                "Idempotency-Key" => self.redactor.text("key", &value, &self.printer),
                _ => value,
            };
            let is_type = *name == header::CONTENT_TYPE && !body.is_empty();
            if !head.headers.contains_key(name) {
                if is_type {
                    let _ = writeln!(text, "> {written}: -");
                }
            } else if !(is_type && value == USUAL_TYPE) {
                let _ = writeln!(text, "> {written}: {value}");
            }
        }
        if let Some(authorization) = self.authorization(recorder, &head.headers) {
            let _ = writeln!(text, "> Authorization: {authorization}");
        }
        if !body.is_empty() {
            text.push_str(&self.printer.abbreviate(&body));
            text.push('\n');
        }
        Some(text)
    }

    fn body(&mut self, origin: &str, body: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(body).ok()?;
        if text.is_empty() {
            return Some(String::new());
        }
        let text = text.replace(origin, &format!("http://{HOST}"));
        match serde_json::from_str::<Value>(&text) {
            Ok(mut body) if members(&body) == members_of_text(&text) => {
                self.redactor.body(&mut body, &self.printer);
                Some(pretty(&body))
            }
            _ => {
                let masked = mask(&text);
                let fits = |line: &str| !line.is_empty() && !line.starts_with(['<', '>', '!', '#']);
                masked.split('\n').all(fits).then_some(masked)
            }
        }
    }

    /// Returns the header `Authorization` if it is not that of the directory. An unknown token is not written.
    fn authorization(&self, recorder: &Recorder, headers: &HeaderMap) -> Option<String> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Some("-".to_owned());
        };
        let value = value.to_str().unwrap_or_default();
        let Some((scheme, token)) = value.split_once(' ') else {
            return Some("unknown".to_owned());
        };
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("bearer") => scheme,
            _ if scheme.eq_ignore_ascii_case("basic") => scheme,
            _ => "Unknown",
        };
        let token = token.trim();
        if token == recorder.directory.token && scheme == "Bearer" {
            None
        } else if token == recorder.admin_key || self.printer.is_named(token) {
            Some(format!("{scheme} {}", self.printer.abbreviate(token)))
        } else {
            Some(format!("{scheme} unknown-token"))
        }
    }

    /// Puts the name of the client before an exchange when it changes.
    fn with_user_agent(&mut self, agent: Option<&HeaderValue>, text: &str) -> String {
        let agent = agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default();
        if agent == self.user_agent {
            return text.to_owned();
        }
        agent.clone_into(&mut self.user_agent);
        format!("# Client: {agent}\n{text}")
    }
}

/// Returns the scheme and host with which the URLs in a response begin.
fn origin(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = match text("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    format!("{scheme}://{}", text("host").unwrap_or("localhost"))
}

/// Returns the number of members of all objects in a value.
fn members(value: &Value) -> usize {
    match value {
        Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
        Value::Array(items) => items.iter().map(members).sum(),
        _ => 0,
    }
}

/// Returns the number of members in the text of a JSON value, including those whose name is repeated.
fn members_of_text(text: &str) -> usize {
    let (mut quoted, mut escaped, mut members) = (false, false, 0);
    for c in text.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ':' if !quoted => members += 1,
            _ => {}
        }
        escaped = c == '\\' && quoted && !escaped;
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_members_are_counted() {
        let text = r#"{"a": {"b\"": ":", "b\"": 1}, "c": [{"d": ":"}]}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!((members(&value), members_of_text(text)), (4, 5));
    }
}
