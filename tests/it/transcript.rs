//! Transcripts: files that hold requests, and after each one the answer and the events that followed.
//!
//! A file is played against a world of its own, and must come out as it is. `UPDATE=1 cargo test` writes what came
//! out, to be read as a change of behaviour before it is committed.
//!
//! `>` begins a request: method and path below the base URL (or from `{origin}` on), then headers, then the body.
//! The right token and Okta's media type are sent unless the file says otherwise; `-` sends no such header. `<` begins the answer,
//! `!` each event's detail. Ids stand as `{id1}`, `{id2}` … in the order in which they were first seen, event ids as
//! `{event1}` …, tokens as `{token1}` and cursors as `{cursor1}` …, so that a later request can name what an earlier one
//! made. `{admin_key}` opens the admin API. The clock moves by one second a request.
//!
//! A file that begins with `@ settings` and JSON, up to an empty line, is played against a directory of those settings;
//! one that begins with `@ provider` and a provider, against a directory of that provider.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use directory::{Provider, Settings};
use http::{Method, Request};
use serde_json::Value;

use crate::world::{Answer, HOST, World};

/// Answers name these in every response, and they say nothing.
const SILENT_HEADERS: [&str; 4] = ["apigw-requestid", "content-length", "vary", "date"];
/// JSON that is no longer stays in one line.
const WIDTH: usize = 110;

#[tokio::test(flavor = "multi_thread")]
async fn transcripts_come_out_as_they_are() {
    let mut differences = vec![];
    for file in &files() {
        let before = fs::read_to_string(file).unwrap();
        let after = play(&before, &World::in_order().await).await;
        if std::env::vars().any(|(name, value)| name == "UPDATE" && value == "1") {
            fs::write(file, after).unwrap();
        } else if before != after {
            differences.push(format!(
                "{}: {}",
                file.display(),
                first_difference(&before, &after)
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{}\nUPDATE=1 cargo test writes what came out.",
        differences.join("\n")
    );
}

/// Every transcript there is.
pub fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/transcripts");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn first_difference(before: &str, after: &str) -> String {
    let (mut old, mut new) = (before.lines(), after.lines());
    for number in 1.. {
        let (old, new) = (old.next(), new.next());
        if old != new {
            return format!(
                "line {number}\n  file: {}\n  now:  {}",
                old.unwrap_or("(end)"),
                new.unwrap_or("(end)")
            );
        }
        if old.is_none() {
            break;
        }
    }
    "line ends differ".to_owned()
}

/// Plays the requests of a transcript in a world of its own, and gives the transcript of that.
pub async fn play(transcript: &str, world: &World) -> String {
    // Of which a file may want a directory with settings of its own.
    let mut chosen: Option<World> = None;
    let mut names = Names::new(world);
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
            names = Names::new(world);
        } else if let Some(provider) = line.strip_prefix("@ provider ") {
            writeln!(played, "{line}").unwrap();
            let provider = Provider::from(provider.to_owned());
            let settings = Settings::default();
            let world = chosen.insert(world.with_provider(provider, settings).await);
            names = Names::new(world);
        } else if line.starts_with("> ") {
            let world = chosen.as_ref().unwrap_or(world);
            let mut request = vec![line];
            while let Some(more) =
                lines.next_if(|line| !line.is_empty() && !line.starts_with(['<', '!', '#']))
            {
                request.push(more);
            }
            // What is in the file as the answer is what this will be compared with.
            while lines
                .next_if(|line| !line.starts_with(['>', '#']))
                .is_some()
            {}
            for line in &request {
                writeln!(played, "{line}").unwrap();
            }
            world.wait(1);
            let answer = world.send(read(&request, world, &names)).await;
            let shown = show(&answer);
            // A token is in the answer to whoever asked for it, and nowhere else.
            assert!(
                answer.status.is_success() || !shown.contains("rollcall_"),
                "{shown}"
            );
            played.push_str(&names.shorten(&shown));
            for event in world.events().await {
                assert!(!event.to_string().contains("rollcall_"), "{event}");
                let text = format!(
                    "! {}\n{}\n",
                    event["detail-type"].as_str().unwrap(),
                    pretty(&event["detail"])
                );
                played.push_str(&names.shorten(&text));
            }
            played.push('\n');
        }
    }
    let end = played.trim_end().len();
    played.truncate(end);
    played.push('\n');
    played
}

fn read(lines: &[&str], world: &World, names: &Names) -> Request<Bytes> {
    let mut lines = lines.iter().map(|line| names.lengthen(line));
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
        .uri(encoded(&path));
    for (name, value) in headers {
        if value != "-" {
            request = request.header(name, value);
        }
    }
    request.body(body.into()).unwrap()
}

/// A path and query as a client sends it: what a URL cannot hold is percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' '
            | b'"'
            | b'<'
            | b'>'
            | b'\\'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | b'['
            | b']'
            | 0..=31
            | 127.. => format!("%{byte:02X}"),
            _ => char::from(byte).to_string(),
        })
        .collect()
}

fn show(answer: &Answer) -> String {
    let mut text = format!("< {}\n", answer.status.as_u16());
    for (name, value) in &answer.headers {
        let value = value.to_str().unwrap();
        let usual = name == "content-type" && value == "application/scim+json";
        if !usual && !SILENT_HEADERS.contains(&name.as_str()) {
            writeln!(text, "< {name}: {value}").unwrap();
        }
    }
    if !answer.body.is_empty() {
        writeln!(text, "{}", pretty(&answer.json())).unwrap();
    }
    text
}

/// JSON for people: what fits is in one line.
fn pretty(value: &Value) -> String {
    fn write(value: &Value, indent: usize, text: &mut String) {
        let line = value.to_string();
        let inner = "  ".repeat(indent + 1);
        match value {
            Value::Object(members) if indent * 2 + line.chars().count() > WIDTH => {
                text.push_str("{\n");
                for (index, (name, member)) in members.iter().enumerate() {
                    write!(text, "{inner}{}: ", Value::from(name.as_str())).unwrap();
                    write(member, indent + 1, text);
                    text.push_str(if index + 1 < members.len() {
                        ",\n"
                    } else {
                        "\n"
                    });
                }
                write!(text, "{}}}", "  ".repeat(indent)).unwrap();
            }
            Value::Array(items) if indent * 2 + line.chars().count() > WIDTH => {
                text.push_str("[\n");
                for (index, item) in items.iter().enumerate() {
                    text.push_str(&inner);
                    write(item, indent + 1, text);
                    text.push_str(if index + 1 < items.len() { ",\n" } else { "\n" });
                }
                write!(text, "{}]", "  ".repeat(indent)).unwrap();
            }
            _ => text.push_str(&line),
        }
    }
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

/// The names of what differs from run to run.
struct Names {
    /// Value and name, in the order in which the values were first seen.
    known: Vec<(String, String)>,
}

impl Names {
    fn new(world: &World) -> Names {
        let known = [
            (
                format!("http://{HOST}{}", world.base()),
                "{base}".to_owned(),
            ),
            (world.directory.clone(), "{directory}".to_owned()),
            (world.token.clone(), "{token}".to_owned()),
            (world.admin_key.clone(), "{admin_key}".to_owned()),
        ];
        Names {
            known: known.into(),
        }
    }

    fn lengthen(&self, text: &str) -> String {
        self.known
            .iter()
            .fold(text.to_owned(), |text, (value, name)| {
                text.replace(name, value)
            })
    }

    /// Replaces values by their names; ids, tokens and cursors that are new get theirs.
    fn shorten(&mut self, text: &str) -> String {
        for (start, _) in text.match_indices("rollcall_") {
            let token = text.get(start..start + 9 + 64);
            let hex = |token: &&str| token[9..].bytes().all(|byte| byte.is_ascii_hexdigit());
            if let Some(token) = token.filter(hex) {
                self.name(token, "token");
            }
        }
        for part in text.split("\"next_cursor\":").skip(1) {
            if let Some(cursor) = part.trim_start().strip_prefix('"') {
                self.name(cursor.split('"').next().unwrap(), "cursor");
            }
        }
        for start in 0..text.len() {
            let Some(id) = text.get(start..start + 36).filter(|id| is_uuid(id)) else {
                continue;
            };
            // Events have UUIDs of version 7.
            let event = id.as_bytes()[14] == b'7';
            self.name(id, if event { "event" } else { "id" });
        }
        for after in text.split("Cursor\": \"").skip(1) {
            self.name(after.split('"').next().unwrap(), "cursor");
        }
        self.known
            .iter()
            .fold(text.to_owned(), |text, (value, name)| {
                text.replace(value, name)
            })
    }

    /// A name for a value that differs from run to run, unless it has one.
    fn name(&mut self, value: &str, kind: &str) {
        if self.known.iter().any(|(known, _)| known == value) {
            return;
        }
        let own = |(_, name): &&(String, String)| {
            let number = name[1..].strip_prefix(kind);
            number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let number = self.known.iter().filter(own).count() + 1;
        self.known
            .push((value.to_owned(), format!("{{{kind}{number}}}")));
    }
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
    })
}
