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
//! The `raw` representation of a resource in an event mostly repeats what stands above it. It is then written as a [`Mark`].

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use directory::{Provider, Settings};
use http::{Method, Request};
use serde_json::Value;

use super::{Answer, HOST, World};

/// Headers that are not written: they are in every response, or differ from run to run.
const OMITTED_HEADERS: [&str; 4] = ["apigw-requestid", "content-length", "vary", "date"];
/// Longer JSON is broken into lines.
const WIDTH: usize = 110;

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
    let mut names = Names::new(world);
    let mut seen = Seen::default();
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
            // The response and the events of an earlier run.
            while lines
                .next_if(|line| !line.starts_with(['>', '#']))
                .is_some()
            {}
            for line in &request {
                writeln!(played, "{line}").unwrap();
            }
            world.wait(1);
            let answer = world.send(read(&request, world, &names)).await;
            seen.answered = None;
            let shown = show(&answer, &mut seen);
            // A token is only in the successful response to the request that created it.
            assert!(
                answer.status.is_success() || !shown.contains("rollcall_"),
                "{shown}"
            );
            played.push_str(&names.shorten(&shown));
            seen.answered = serde_json::from_slice(&answer.body).ok();
            for mut event in world.events().await {
                assert!(!event.to_string().contains("rollcall_"), "{event}");
                seen.shorten(&mut event["detail"]);
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

/// A short form of `raw`, which is a resource as SCIM represents it, in events and in the admin API. It is written only if it stands for exactly what was published.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    /// The body of the response.
    Answered,
    /// The body of the response without `members`, which events of a group do not have.
    WithoutMembers,
    /// The body of the response without `groups`, which events of a user do not have.
    WithoutGroups,
    /// The last `raw` of the same resource.
    Before,
}

impl Mark {
    const ALL: [Mark; 4] = [
        Mark::Answered,
        Mark::WithoutMembers,
        Mark::WithoutGroups,
        Mark::Before,
    ];

    fn text(self) -> &'static str {
        match self {
            Mark::Answered => "{as answered}",
            Mark::WithoutMembers => "{as answered, without members}",
            Mark::WithoutGroups => "{as answered, without groups}",
            Mark::Before => "{as before}",
        }
    }
}

/// The values that a [`Mark`] can stand for.
#[derive(Default)]
struct Seen {
    /// The body of the last response, if it was JSON.
    answered: Option<Value>,
    /// The last `raw` of each resource, by its id.
    before: HashMap<String, Value>,
}

impl Seen {
    /// Returns what a mark stands for in an event about the resource `id`.
    fn expand(&self, mark: Mark, id: &str) -> Option<Value> {
        let answered_without = |name: &str| {
            let mut answered = self.answered.clone()?;
            answered.as_object_mut()?.shift_remove(name)?;
            Some(answered)
        };
        match mark {
            Mark::Answered => self.answered.clone(),
            Mark::WithoutMembers => answered_without("members"),
            Mark::WithoutGroups => answered_without("groups"),
            Mark::Before => self.before.get(id).cloned(),
        }
    }

    /// Replaces each `raw` in the detail of an event, or in a response of the admin API, by the first mark that expands to the
    /// same text.
    fn shorten(&mut self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                if let (Some(Value::String(id)), Some(raw @ Value::Object(_))) =
                    (members.get("id").cloned(), members.get_mut("raw"))
                {
                    self.shorten_raw(id, raw);
                }
                members
                    .iter_mut()
                    .filter(|(name, _)| *name != "raw")
                    .for_each(|(_, member)| self.shorten(member));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.shorten(item)),
            _ => {}
        }
    }

    fn shorten_raw(&mut self, id: String, raw: &mut Value) {
        // As text, because the order of the attributes counts as well.
        let text = raw.to_string();
        let stands_for_raw = |mark: &Mark| {
            let expanded = self.expand(*mark, &id);
            expanded.map(|expanded| expanded.to_string()).as_ref() == Some(&text)
        };
        let mark = Mark::ALL.into_iter().find(stands_for_raw);
        let published = raw.clone();
        if let Some(mark) = mark {
            *raw = mark.text().into();
        }
        self.before.insert(id, published);
    }
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

/// Percent-encodes what a URL cannot contain.
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

fn show(answer: &Answer, seen: &mut Seen) -> String {
    let mut text = format!("< {}\n", answer.status.as_u16());
    for (name, value) in &answer.headers {
        let value = value.to_str().unwrap();
        let usual = name == "content-type" && value == "application/scim+json";
        if !usual && !OMITTED_HEADERS.contains(&name.as_str()) {
            writeln!(text, "< {name}: {value}").unwrap();
        }
    }
    if !answer.body.is_empty() {
        let mut body = answer.json();
        seen.shorten(&mut body);
        writeln!(text, "{}", pretty(&body)).unwrap();
    }
    text
}

/// Formats JSON. A value that fits into [`WIDTH`] is one line.
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

/// The names of values that differ from run to run.
struct Names {
    /// Values with their names, in the order in which the values first appeared.
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

    /// Replaces names by their values.
    fn lengthen(&self, text: &str) -> String {
        self.known
            .iter()
            .fold(text.to_owned(), |text, (value, name)| {
                text.replace(name, value)
            })
    }

    /// Replaces values by their names, and names new ids, tokens and cursors.
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

    /// Names a value that has no name.
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

#[test]
fn a_mark_expands_to_exactly_what_it_replaced() {
    use serde_json::json;

    let user = json!({"id": "u", "userName": "ann"});
    let group = json!({"id": "g", "displayName": "Sales"});
    let with = |value: &Value, name: &str, more: Value| {
        let mut value = value.clone();
        value[name] = more;
        value
    };
    let event = |raw: &Value| json!({"data": {"id": raw["id"], "raw": raw}});
    let cases = [
        (user.clone(), user.clone(), Mark::Answered),
        (
            with(&group, "members", json!([{"value": "u"}])),
            group.clone(),
            Mark::WithoutMembers,
        ),
        (
            with(&user, "groups", json!([{"value": "g"}])),
            user.clone(),
            Mark::WithoutGroups,
        ),
        (Value::Null, user.clone(), Mark::Before),
    ];
    for (answered, raw, mark) in cases {
        let mut seen = Seen {
            answered: Some(answered),
            before: [("u".to_owned(), user.clone())].into(),
        };
        let mut detail = event(&raw);
        seen.shorten(&mut detail);
        assert_eq!(detail["data"]["raw"], mark.text());
        let expanded = seen.expand(mark, raw["id"].as_str().unwrap()).unwrap();
        assert_eq!(expanded.to_string(), raw.to_string());
    }
}

#[test]
fn a_mark_does_not_hide_a_difference() {
    use serde_json::json;

    let answered =
        json!({"id": "u", "userName": "ann", "members": [], "groups": [], "active": true});
    let different = [
        // Another value.
        json!({"id": "u", "userName": "bob", "members": [], "groups": [], "active": true}),
        // Another order.
        json!({"userName": "ann", "id": "u", "members": [], "groups": [], "active": true}),
        // An attribute less, and one more.
        json!({"id": "u", "userName": "ann", "members": [], "groups": []}),
        json!({"id": "u", "userName": "ann", "members": [], "groups": [], "active": true, "title": "x"}),
        // Without both.
        json!({"id": "u", "userName": "ann", "active": true}),
        // A text that reads like a mark.
        json!("{as answered}"),
    ];
    for raw in different {
        let mut seen = Seen {
            answered: Some(answered.clone()),
            // Another resource has it.
            before: [("other".to_owned(), raw.clone())].into(),
        };
        let mut detail = json!({"data": {"id": "u", "raw": raw}});
        let before = detail.to_string();
        seen.shorten(&mut detail);
        assert_eq!(detail.to_string(), before);
    }
}
