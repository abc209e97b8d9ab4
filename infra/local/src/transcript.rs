//! The format of transcripts: requests of a SCIM client with their responses and events, as text that can be played again.
//!
//! The tests play transcripts (`tests/it/harness/transcript.rs` describes the format), and [`crate::Recorder`] writes them.
//! Both print responses and events with the [`Printer`], at the times of a [`Timeline`], with the ids of [`ids_in_order`],
//! so that a recorded session can be played again with the same result.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use directory::{Ids, ResourceId};
use gateway::{Clock, Sleep};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

/// The host of every transcript.
pub const HOST: &str = "scim.example.com";
/// The time at which every transcript begins: 2026-01-01T00:00:00Z, in seconds since 1970.
pub const BEGINNING: i64 = 1_767_225_600;
/// Headers that are not written: they are in every response, or differ from run to run.
const OMITTED_HEADERS: [&str; 4] = ["apigw-requestid", "content-length", "vary", "date"];
/// The length beyond which JSON is broken into lines, in characters.
const WIDTH: usize = 110;

/// The clock of a transcript. It advances by one second for each request. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<AtomicI64>);

impl Default for Timeline {
    fn default() -> Self {
        Timeline(Arc::new(AtomicI64::new(BEGINNING)))
    }
}

impl Timeline {
    /// Advances the clock. A negative number sets it back.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Returns the clock.
    pub fn clock(&self) -> Clock {
        let seconds = self.0.clone();
        Arc::new(move || {
            Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap_or(Timestamp::MAX)
        })
    }

    /// Returns a [`Sleep`] that advances the clock instead of waiting.
    pub fn sleep(&self) -> Sleep {
        let timeline = self.clone();
        Arc::new(move |time| {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX - 1);
            timeline.advance(seconds + 1);
            Box::pin(async {})
        })
    }
}

/// Returns ids that sort in the order in which resources are created, so that lists have the same order in every run.
pub fn ids_in_order() -> Ids {
    let next = AtomicU32::new(0);
    Ids::from_fn(move || id_in_order(next.fetch_add(1, Ordering::Relaxed)))
}

/// Returns an id. The first 256 differ in their first byte, which tests rely on.
fn id_in_order(number: u32) -> ResourceId {
    let first = match number.checked_mul(1 << 24) {
        Some(first) => first,
        None => 0xff00_0000_u32.saturating_add(number - 0xff),
    };
    let id = format!("{first:08x}-0000-4000-8000-000000000000");
    id.parse().unwrap_or_else(|_| ResourceId::random())
}

/// Prints responses and events.
#[derive(Default)]
pub struct Printer {
    names: Names,
    raw: RawValues,
}

impl Printer {
    /// Returns a printer that writes each of the given values as its name, such as `{token}`.
    pub fn new(known: impl IntoIterator<Item = (String, String)>) -> Self {
        Printer {
            names: Names {
                known: known.into_iter().collect(),
            },
            raw: RawValues::default(),
        }
    }

    /// Replaces names by their values.
    pub fn expand(&self, text: &str) -> String {
        let known = self.names.known.iter();
        known.fold(text.to_owned(), |text, (value, name)| {
            text.replace(name, value)
        })
    }

    /// Replaces values by the names that they have.
    pub fn abbreviate(&self, text: &str) -> String {
        let known = self.names.known.iter();
        known.fold(text.to_owned(), |text, (value, name)| {
            text.replace(value, name)
        })
    }

    /// Returns whether a value has a name.
    pub fn is_named(&self, value: &str) -> bool {
        self.names.known.iter().any(|(known, _)| known == value)
    }

    /// Prints a response, and names new ids, tokens, secrets and cursors in it.
    ///
    /// # Errors
    ///
    /// Returns an error for a body that is not JSON.
    pub fn response(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<String, serde_json::Error> {
        self.raw.response = None;
        let mut text = format!("< {}\n", status.as_u16());
        for (name, value) in headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let usual = name == "content-type" && value == "application/scim+json";
            if !usual && !OMITTED_HEADERS.contains(&name.as_str()) {
                let _ = writeln!(text, "< {name}: {value}");
            }
        }
        if !body.is_empty() {
            let body: Value = serde_json::from_slice(body)?;
            let mut short = body.clone();
            self.raw.shorten(&mut short);
            let _ = writeln!(text, "{}", pretty(&short));
            self.raw.response = Some(body);
        }
        Ok(self.names.shorten(&text))
    }

    /// Prints an event of EventBridge, and names new ids in it.
    pub fn event(&mut self, event: &Value) -> String {
        let detail_type = event.get("detail-type").and_then(Value::as_str);
        let mut detail = event.get("detail").cloned().unwrap_or_default();
        self.raw.shorten(&mut detail);
        let text = format!(
            "! {}\n{}\n",
            detail_type.unwrap_or_default(),
            pretty(&detail)
        );
        self.names.shorten(&text)
    }
}

/// A short form of `raw`, which is a resource as SCIM represents it, in events and in the admin API. It is written only if it
/// stands for exactly what was published.
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
struct RawValues {
    /// The body of the last response, if it was JSON.
    response: Option<Value>,
    /// The last `raw` of each resource, by its id.
    before: HashMap<String, Value>,
}

impl RawValues {
    /// Returns what a mark stands for in an event about the resource `id`.
    fn expand(&self, mark: Mark, id: &str) -> Option<Value> {
        let response_without = |name: &str| {
            let mut response = self.response.clone()?;
            response.as_object_mut()?.shift_remove(name)?;
            Some(response)
        };
        match mark {
            Mark::Answered => self.response.clone(),
            Mark::WithoutMembers => response_without("members"),
            Mark::WithoutGroups => response_without("groups"),
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

/// Formats JSON. A value that fits into the width of a transcript is one line.
pub fn pretty(value: &Value) -> String {
    fn write(value: &Value, indent: usize, text: &mut String) {
        let line = value.to_string();
        let inner = "  ".repeat(indent + 1);
        match value {
            Value::Object(members) if indent * 2 + line.chars().count() > WIDTH => {
                text.push_str("{\n");
                for (index, (name, member)) in members.iter().enumerate() {
                    let _ = write!(text, "{inner}{}: ", Value::from(name.as_str()));
                    write(member, indent + 1, text);
                    text.push_str(if index + 1 < members.len() {
                        ",\n"
                    } else {
                        "\n"
                    });
                }
                let _ = write!(text, "{}}}", "  ".repeat(indent));
            }
            Value::Array(items) if indent * 2 + line.chars().count() > WIDTH => {
                text.push_str("[\n");
                for (index, item) in items.iter().enumerate() {
                    text.push_str(&inner);
                    write(item, indent + 1, text);
                    text.push_str(if index + 1 < items.len() { ",\n" } else { "\n" });
                }
                let _ = write!(text, "{}]", "  ".repeat(indent));
            }
            _ => text.push_str(&line),
        }
    }
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

/// Percent-encodes the characters of a path and query that a URL cannot contain.
pub fn percent_encode(text: &str) -> String {
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

/// The names of values that differ from run to run.
#[derive(Default)]
struct Names {
    /// Values with their names, in the order in which the values first appeared.
    known: Vec<(String, String)>,
}

impl Names {
    /// Replaces values by their names, and names new ids, tokens, secrets and cursors.
    fn shorten(&mut self, text: &str) -> String {
        for (start, _) in text.match_indices("rollcall_") {
            let token = text.get(start..start + 9 + 64);
            let is_token =
                |token: &&str| token.bytes().skip(9).all(|byte| byte.is_ascii_hexdigit());
            if let Some(token) = token.filter(is_token) {
                self.name(token, "token");
            }
        }
        for (start, _) in text.match_indices("whsec_") {
            let secret = text.get(start..).and_then(|text| text.split('"').next());
            if let Some(secret) = secret {
                self.name(secret, "secret");
            }
        }
        for part in text.split("\"next_cursor\":").skip(1) {
            let cursor = part.trim_start().strip_prefix('"');
            if let Some(cursor) = cursor.and_then(|text| text.split('"').next()) {
                self.name(cursor, "cursor");
            }
        }
        for start in 0..text.len() {
            let Some(id) = text.get(start..start + 36).filter(|id| is_uuid(id)) else {
                continue;
            };
            // Ids of events are UUIDs of version 7.
            let event = id.as_bytes().get(14) == Some(&b'7');
            self.name(id, if event { "event" } else { "id" });
        }
        for after in text.split("Cursor\": \"").skip(1) {
            if let Some(cursor) = after.split('"').next() {
                self.name(cursor, "cursor");
            }
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
        let same_kind = |(_, name): &&(String, String)| {
            let number = name
                .strip_prefix('{')
                .and_then(|name| name.strip_prefix(kind));
            number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let number = self.known.iter().filter(same_kind).count() + 1;
        self.known
            .push((value.to_owned(), format!("{{{kind}{number}}}")));
    }
}

/// Returns whether a text is a UUID in lower case.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_sort_in_the_order_of_their_creation() {
        let created: Vec<String> = (0..600).map(|n| id_in_order(n).to_string()).collect();
        assert!(created.is_sorted());
        assert_eq!(created[255], "ff000000-0000-4000-8000-000000000000");
        assert_eq!(created[256], "ff000001-0000-4000-8000-000000000000");
    }

    #[test]
    fn a_mark_expands_to_exactly_what_it_replaced() {
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
            let mut raw_values = RawValues {
                response: Some(answered),
                before: [("u".to_owned(), user.clone())].into(),
            };
            let mut detail = event(&raw);
            raw_values.shorten(&mut detail);
            assert_eq!(detail["data"]["raw"], mark.text());
            let expanded = raw_values
                .expand(mark, raw["id"].as_str().unwrap())
                .unwrap();
            assert_eq!(expanded.to_string(), raw.to_string());
        }
    }

    #[test]
    fn a_mark_does_not_hide_a_difference() {
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
            let mut raw_values = RawValues {
                response: Some(answered.clone()),
                // Another resource has it.
                before: [("other".to_owned(), raw.clone())].into(),
            };
            let mut detail = json!({"data": {"id": "u", "raw": raw}});
            let before = detail.to_string();
            raw_values.shorten(&mut detail);
            assert_eq!(detail.to_string(), before);
        }
    }
}
