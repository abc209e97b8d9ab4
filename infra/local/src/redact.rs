//! Replaces personal data, tokens and unknown ids in the requests and responses of a recorded session.
//!
//! Every text that a client sends is replaced, except for the attributes in [`KEPT`], which hold words of the protocol. The
//! same text gets the same placeholder everywhere, and two texts that differ only in case get placeholders that differ only
//! in case. A placeholder has the form of the text: an e-mail address, a URL, a number, a UUID, a date, or Base64. Numbers,
//! booleans and the names of attributes are kept.

use std::collections::{HashMap, HashSet};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::transcript::{HOST, Printer, is_uuid};

/// Attributes and parameters whose texts are words of SCIM, or of the admin API, and no personal data.
const KEPT: [&str; 29] = [
    "active",
    "after",
    "attributes",
    "bulkid",
    "count",
    "cursor",
    "excludedattributes",
    "failonerrors",
    "limit",
    "locale",
    "meta",
    "method",
    "op",
    "preferredlanguage",
    "primary",
    "provider",
    "resourcetype",
    "schemas",
    "scimtype",
    "settings",
    "sortby",
    "sortorder",
    "startindex",
    "status",
    "timezone",
    "type",
    "types",
    "version",
    "grace",
];
/// Texts that are longer keep their length, because the service limits the length of texts. In characters.
const LONG: usize = 64;
/// Number of characters of a text that an error shows (`gateway`).
const SHOWN_CHARS: usize = 100;

/// The placeholders of one session.
#[derive(Default)]
pub(crate) struct Redactor {
    /// The placeholder of each text, by the text in lower case.
    placeholders: HashMap<String, Placeholder>,
    /// The number of placeholders for each attribute.
    numbers: HashMap<String, usize>,
    used: HashSet<String>,
}

struct Placeholder {
    /// The text as it was when it first appeared.
    original: String,
    text: String,
}

impl Redactor {
    /// Replaces the texts in the body of a request.
    pub(crate) fn body(&mut self, body: &mut Value, printer: &Printer) {
        self.value(body, "", "", printer);
    }

    /// `attribute` is the name of the attribute that holds the value, and `parent` the one around that.
    fn value(&mut self, value: &mut Value, attribute: &str, parent: &str, printer: &Printer) {
        match value {
            Value::String(text) => *text = self.attribute(attribute, parent, text, printer),
            Value::Array(items) => items
                .iter_mut()
                .for_each(|item| self.value(item, attribute, parent, printer)),
            Value::Object(members) => {
                // The `value` of a PATCH operation is of the attribute in its `path`.
                let path = members.get("path").and_then(Value::as_str);
                let target = path.filter(|path| !path.starts_with('/')).map(last_name);
                for (name, member) in members.iter_mut() {
                    let name = last_name(name);
                    match &target {
                        Some(target) if name.eq_ignore_ascii_case("value") => {
                            self.value(member, target, attribute, printer);
                        }
                        _ if is_kept(&name) => {}
                        _ => self.value(member, &name, attribute, printer),
                    }
                }
            }
            _ => {}
        }
    }

    fn attribute(&mut self, name: &str, parent: &str, text: &str, printer: &Printer) -> String {
        let of_element = ["value", "display", "formatted"];
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            _ if is_kept(name) => text.to_owned(),
            "filter" => self.filter(text, printer),
            "path" if text.starts_with('/') => self.path(text, printer),
            "path" => self.filter(text, printer),
            "$ref" | "ref" if !text.contains("://") || text.contains(HOST) => {
                self.ids(text, printer)
            }
            _ if of_element.contains(&lower.as_str()) && !parent.is_empty() => {
                self.text(parent, text, printer)
            }
            _ => self.text(name, text, printer),
        }
    }

    /// Replaces a text of an attribute.
    pub(crate) fn text(&mut self, attribute: &str, text: &str, printer: &Printer) -> String {
        let inner = text.trim();
        if is_word(inner) || printer.is_named(inner) || inner.starts_with("bulkId:") {
            return text.to_owned();
        }
        if attribute.is_empty() {
            return self.text("text", text, printer);
        }
        let key = inner.to_lowercase();
        if !self.placeholders.contains_key(&key) {
            let number = self
                .numbers
                .entry(attribute.to_ascii_lowercase())
                .or_default();
            // Some forms do not name the attribute, so another one can have the same placeholder.
            let own = loop {
                *number += 1;
                let own = placeholder(attribute, inner, *number);
                if self.used.insert(own.clone()) {
                    break own;
                }
            };
            // Errors show the beginning of a long text.
            let beginning = |text: &str| text.chars().take(SHOWN_CHARS).collect::<String>();
            let mut known = vec![(beginning(inner), beginning(&own)), (inner.to_owned(), own)];
            // Events show the origin of a URL.
            if let Some((scheme @ ("http" | "https"), rest)) = inner.split_once("://") {
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let origin = format!("{scheme}://{host}");
                known.push((origin, format!("{scheme}://example.com")));
            }
            for (original, text) in known {
                let key = original.to_lowercase();
                self.placeholders
                    .insert(key, Placeholder { original, text });
            }
        }
        let replaced = self.known(inner).unwrap_or_default();
        text.replacen(inner, &replaced, 1)
    }

    /// Returns the placeholder of a text that has one.
    fn known(&self, text: &str) -> Option<String> {
        let placeholder = self.placeholders.get(&text.to_lowercase())?;
        let own = &placeholder.text;
        Some(if placeholder.original == text {
            own.clone()
        } else if text == text.to_uppercase() {
            own.to_uppercase()
        } else if text == text.to_lowercase() {
            own.to_lowercase()
        } else {
            let mut letters = own.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        })
    }

    /// Replaces the quoted texts of a filter, or of the path of a PATCH operation, and what looks like an address outside
    /// quotes.
    pub(crate) fn filter(&mut self, text: &str, printer: &Printer) -> String {
        let mut replaced = String::new();
        let mut words: Vec<String> = vec![String::new()];
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if c == '"' {
                let end = closing_quote(rest);
                let (quoted, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                let attribute = words.iter().rev().filter(|word| !word.is_empty()).nth(1);
                let attribute = last_name(attribute.map_or("", String::as_str));
                match serde_json::from_str::<String>(quoted) {
                    Ok(_) if is_kept(&attribute) => replaced.push_str(quoted),
                    Ok(text) => {
                        let text = self.text(&attribute, &text, printer);
                        replaced.push_str(&Value::from(text).to_string());
                    }
                    Err(_) => replaced.push_str(&mask(quoted)),
                }
                words.push(String::new());
                rest = after;
                continue;
            }
            let end = rest
                .find(|c: char| c.is_whitespace() || "\"()[]".contains(c))
                .unwrap_or(rest.len())
                .max(c.len_utf8());
            let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            if word.contains('@') || self.known(word).is_some() && word.parse::<f64>().is_err() {
                replaced.push_str(&self.text("text", word, printer));
            } else {
                replaced.push_str(&self.ids(word, printer));
            }
            words.push(word.trim().to_owned());
            rest = after;
        }
        replaced
    }

    /// Replaces what is not of the protocol in a path, and optionally a query.
    pub(crate) fn path(&mut self, path_and_query: &str, printer: &Printer) -> String {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let path: Vec<String> = path
            .split('/')
            .map(|segment| {
                let decoded = percent_decode_str(segment).decode_utf8_lossy();
                if decoded.contains('@') || self.known(&decoded).is_some() {
                    self.text("id", &decoded, printer)
                } else {
                    self.ids(segment, printer)
                }
            })
            .collect();
        let mut replaced = path.join("/");
        if let Some(query) = query {
            replaced.push('?');
            replaced.push_str(&self.query(query, printer));
        }
        replaced
    }

    fn query(&mut self, query: &str, printer: &Printer) -> String {
        // As the service decodes it: with `%20` in a query, `+` is a plus sign (`QueryParams`).
        let plus_is_space = !query.contains("%20");
        let parameters = query.split('&').map(|parameter| {
            let Some((name, raw)) = parameter.split_once('=') else {
                return parameter.to_owned();
            };
            let spaced = if plus_is_space {
                raw.replace('+', " ")
            } else {
                raw.to_owned()
            };
            let Ok(value) = percent_decode_str(&spaced).decode_utf8() else {
                return format!("{name}=%FF");
            };
            let redacted = match name.to_ascii_lowercase().as_str() {
                "filter" => self.filter(&value, printer),
                "cursor" if printer.is_named(&value) => value.clone().into_owned(),
                "cursor" if !value.is_empty() => "unknown-cursor".to_owned(),
                _ => self.attribute(name, "", &value, printer),
            };
            if redacted == value {
                return format!("{name}={}", readable(raw));
            }
            let encoded = utf8_percent_encode(&redacted, NON_ALPHANUMERIC).to_string();
            let encoded = if plus_is_space && raw.contains('+') {
                encoded.replace("%20", "+")
            } else {
                encoded
            };
            format!("{name}={}", readable(&encoded))
        });
        parameters.collect::<Vec<_>>().join("&")
    }

    /// Replaces the UUIDs in a text that the service has not issued.
    fn ids(&mut self, text: &str, printer: &Printer) -> String {
        let mut replaced = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let id = rest
                .get(..36)
                .filter(|id| is_uuid(&id.to_ascii_lowercase()));
            let taken = match id {
                Some(id) => {
                    replaced.push_str(&self.text("id", id, printer));
                    id.len()
                }
                None => {
                    replaced.push(c);
                    c.len_utf8()
                }
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        replaced
    }

    /// Replaces the texts of requests in a response, or in an event.
    pub(crate) fn response(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.quoted(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.response(item)),
            Value::Object(members) => members
                .iter_mut()
                .filter(|(name, _)| !is_kept(name) && *name != "changed")
                .for_each(|(_, member)| self.response(member)),
            _ => {}
        }
    }

    /// Replaces the texts of requests within a text, such as the detail of an error. They are found between characters that
    /// are not alphanumeric.
    pub(crate) fn quoted(&self, text: &str) -> String {
        if let Some(known) = self.known(text) {
            return known;
        }
        let lower = text.to_lowercase();
        let keys = self.placeholders.keys().map(String::as_str);
        let mut found: Vec<&str> = keys.filter(|key| lower.contains(key)).collect();
        // A longer text can contain a shorter one.
        found.sort_by_key(|key| (std::cmp::Reverse(key.len()), *key));
        let mut replaced = text.to_owned();
        for key in found {
            replaced = self.replace_word(&replaced, key);
        }
        replaced
    }
}

impl Redactor {
    /// Replaces a text, given in lower case, where no letter or digit stands beside it.
    fn replace_word(&self, text: &str, key: &str) -> String {
        let lower = text.to_lowercase();
        if lower.len() != text.len() {
            // The positions in the two differ.
            return lower.replace(key, &self.known(key).unwrap_or_default());
        }
        let mut replaced = String::new();
        let mut copied = 0;
        for (start, _) in lower.match_indices(key) {
            let end = start + key.len();
            let before = text.get(..start).and_then(|text| text.chars().next_back());
            let after = text.get(end..).and_then(|text| text.chars().next());
            let beside = [before, after].into_iter().flatten();
            if !beside.into_iter().any(char::is_alphanumeric) {
                replaced.push_str(text.get(copied..start).unwrap_or_default());
                let known = text.get(start..end).and_then(|text| self.known(text));
                replaced.push_str(&known.unwrap_or_default());
                copied = end;
            }
        }
        replaced.push_str(text.get(copied..).unwrap_or_default());
        replaced
    }
}

fn is_kept(name: &str) -> bool {
    KEPT.contains(&name.to_ascii_lowercase().as_str())
}

/// Returns whether a text is empty, a boolean, or too short a number to identify anybody.
fn is_word(text: &str) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case("true")
        || text.eq_ignore_ascii_case("false")
        || text.len() < 3 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the last name of an attribute path such as `urn:…:User:name.familyName` or `emails[type eq "work"].value`. The
/// value of a complex attribute is called by the name of that attribute.
fn last_name(path: &str) -> String {
    let outside: String = path
        .split('[')
        .map(|part| part.rsplit_once(']').map_or(part, |(_, after)| after))
        .collect();
    let names: Vec<&str> = outside.rsplit(['.', ':', '(']).collect();
    let name = match names.as_slice() {
        ["value" | "display", parent, ..] if !parent.is_empty() => parent,
        [name, ..] => name,
        [] => "",
    };
    name.to_owned()
}

/// Returns the position after the closing quote of a text that begins with a quote.
fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        if c == '"' && !escaped {
            return index + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// Returns a placeholder of the same form.
fn placeholder(attribute: &str, text: &str, number: usize) -> String {
    let short = if is_uuid(&text.to_ascii_lowercase()) {
        return format!("ffffffff-ffff-4fff-bfff-{number:012x}");
    } else if attribute.eq_ignore_ascii_case("x509Certificates") {
        let length = text.len().div_ceil(4) * 4;
        return format!("{number:08}{}", "A".repeat(length.saturating_sub(8)));
    } else if text.parse::<jiff::Timestamp>().is_ok() {
        let time = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(number as i64);
        return time.to_string();
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let digits = text.len().saturating_sub(1);
        return format!("1{number:0digits$}");
    } else if text.starts_with("tel:") || text.starts_with('+') {
        let prefix = if text.starts_with("tel:") { "tel:" } else { "" };
        format!("{prefix}+1-201-555-{number:04}")
    } else if let Some((scheme @ ("http" | "https"), _)) = text.split_once("://") {
        format!("{scheme}://example.com/{attribute}{number}")
    } else if text.contains('@') {
        format!("{attribute}{number}@example.com")
    } else {
        format!("{attribute}{number}")
    };
    let length = text.chars().count();
    let missing = length.saturating_sub(short.chars().count());
    if length > LONG {
        format!("{short}{}", "x".repeat(missing))
    } else {
        short
    }
}

/// Decodes the characters of a query that a transcript shows as they are and encodes again when it is played.
fn readable(query: &str) -> String {
    const SHOWN: [(&str, &str); 12] = [
        ("%20", " "),
        ("%22", "\""),
        ("%5B", "["),
        ("%5D", "]"),
        ("%3A", ":"),
        ("%2E", "."),
        ("%2D", "-"),
        ("%5F", "_"),
        ("%40", "@"),
        ("%28", "("),
        ("%29", ")"),
        ("%2C", ","),
    ];
    SHOWN
        .iter()
        .fold(query.to_owned(), |text, (encoded, shown)| {
            text.replace(encoded, shown)
                .replace(&encoded.to_ascii_lowercase(), shown)
        })
}

/// Replaces every letter by `x` and every digit by `0`, except in names of members of JSON, words of JSON and escapes.
///
/// The result has the same length in bytes, so that the error of a parser names the same position.
pub(crate) fn mask(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = ["true", "false", "null"]
            .into_iter()
            .find(|word| rest.starts_with(word));
        let taken = if let Some(word) = word {
            masked.push_str(word);
            word.len()
        } else if c == '"' {
            let end = closing_quote(rest);
            let (quoted, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            if after.trim_start().starts_with(':') {
                masked.push_str(quoted);
            } else {
                masked.push_str(&mask_quoted(quoted));
            }
            end
        } else {
            masked.push(masked_char(c));
            c.len_utf8()
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    masked
}

fn mask_quoted(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let escape = match rest.as_bytes() {
            [b'\\', b'u', ..] => rest.get(..6).unwrap_or(rest),
            [b'\\', _, ..] => rest.get(..2).unwrap_or(rest),
            _ => "",
        };
        if escape.is_empty() {
            masked.push(masked_char(c));
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        } else {
            let valid = escape.len() == 6 && escape.is_ascii();
            masked.push_str(if valid { "\\u0078" } else { escape });
            rest = rest.get(escape.len()..).unwrap_or_default();
        }
    }
    masked
}

fn masked_char(c: char) -> char {
    match c {
        '0'..='9' => '0',
        'a'..='z' | 'A'..='Z' => 'x',
        _ => match c.len_utf8() {
            1 => c,
            2 => 'é',
            3 => '…',
            _ => '😀',
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(redactor: &mut Redactor, mut body: Value) -> Value {
        redactor.body(&mut body, &Printer::default());
        body
    }

    #[test]
    fn texts_get_placeholders_of_their_form_and_words_of_the_protocol_stay() {
        let mut redactor = Redactor::default();
        let user = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": "Ann@Corp.com", "externalId": "00u1abc", "displayName": "Ann Archer", "active": "True",
            "name": {"givenName": "Ann", "familyName": ""},
            "emails": [{"value": "ann@corp.com", "type": "work", "primary": true}],
            "phoneNumbers": [{"value": "+49 30 1234"}], "photos": [{"value": "https://corp.com/ann.png"}],
            "employeeNumber": "8812", "locale": "en-US",
        });
        assert_eq!(
            body(&mut redactor, user),
            json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                "userName": "userName1@example.com", "externalId": "externalId1", "displayName": "displayName1",
                "active": "True", "name": {"givenName": "givenName1", "familyName": ""},
                "emails": [{"value": "username1@example.com", "type": "work", "primary": true}],
                "phoneNumbers": [{"value": "+1-201-555-0001"}],
                "photos": [{"value": "https://example.com/photos1"}],
                "employeeNumber": "1001", "locale": "en-US",
            })
        );
    }

    #[test]
    fn two_texts_have_two_placeholders() {
        let mut redactor = Redactor::default();
        let id = |n: u8| format!("8d7e1c5a-55aa-4c1f-9d3e-6a1f0e7b2c{n:02x}");
        let user = json!({
            "externalId": id(1), "nickName": id(2), "title": "100", "userType": "200", "x": "2020-01-01T00:00:00Z",
            "y": "2020-01-02T00:00:00Z",
        });
        let replaced = body(&mut redactor, user);
        let texts: HashSet<&str> = replaced
            .as_object()
            .unwrap()
            .values()
            .map(|text| text.as_str().unwrap())
            .collect();
        assert_eq!(texts.len(), 6, "{replaced}");
    }

    #[test]
    fn patch_operations_are_read_with_their_paths() {
        let mut redactor = Redactor::default();
        let patch = json!({"Operations": [
            {"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "ann@corp.com"},
            {"op": "add", "path": "members[value eq \"0af6cb4c-6a70-4e66-a0fc-d5a8a8e9e8a1\"]"},
            {"op": "replace", "path": "locale", "value": "de"},
            {"op": "replace", "value": {"name.familyName": "Archer", "urn:x:User:department": "Sales"}},
        ]});
        assert_eq!(
            body(&mut redactor, patch),
            json!({"Operations": [
                {"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "emails1@example.com"},
                {"op": "add", "path": "members[value eq \"ffffffff-ffff-4fff-bfff-000000000001\"]"},
                {"op": "replace", "path": "locale", "value": "de"},
                {"op": "replace", "value": {"name.familyName": "familyName1", "urn:x:User:department": "department1"}},
            ]})
        );
    }

    #[test]
    fn queries_keep_their_form() {
        let mut redactor = Redactor::default();
        let printer = Printer::default();
        for (sent, written) in [
            (
                "/Users?filter=userName%20eq%20%22Ann%40corp.com%22&count=1",
                "/Users?filter=userName eq \"userName1@example.com\"&count=1",
            ),
            (
                "/Users?filter=userName+eq+%22ann%40corp.com%22",
                "/Users?filter=userName+eq+\"username1@example.com\"",
            ),
            (
                "/Users?filter=userName eq ANN@CORP.COM",
                "/Users?filter=userName eq USERNAME1@EXAMPLE.COM",
            ),
            ("/Users/ann@corp.com", "/Users/username1@example.com"),
            (
                "/Users?attributes=userName&sortBy=name.familyName",
                "/Users?attributes=userName&sortBy=name.familyName",
            ),
        ] {
            assert_eq!(redactor.path(sent, &printer), written);
        }
    }

    #[test]
    fn responses_use_the_placeholders_of_requests() {
        let mut redactor = Redactor::default();
        body(
            &mut redactor,
            json!({"userName": "ann@corp.com", "name": {"givenName": "Ann"}}),
        );
        let mut answer = json!({
            "detail": "userName: \"ann@corp.com\" is taken. Announce Ann.", "email": "Ann@corp.com", "changed": ["ann"],
        });
        redactor.response(&mut answer);
        assert_eq!(
            answer,
            json!({
                "detail": "userName: \"userName1@example.com\" is taken. Announce givenName1.",
                "email": "UserName1@example.com", "changed": ["ann"],
            })
        );
    }

    #[test]
    fn a_body_that_is_not_json_is_masked_in_place() {
        assert_eq!(
            mask("{\"userName\": \"Ann \\u00e9\\n 1\", \"active\": true, é}"),
            "{\"userName\": \"xxx \\u0078\\n 0\", \"active\": true, é}"
        );
        assert_eq!(mask("\"ann"), "\"xxx");
    }
}
