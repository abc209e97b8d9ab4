//! What Okta expects of a response, and what it shows to the administrator if the response is otherwise (docs/okta.md).

use http::StatusCode;
use serde_json::Value;

use super::super::admin::beginning;
use super::super::client::{Answer, Unanswered};
use super::super::output::sanitize;

/// A problem that an administrator, or a reviewer of the integration, would have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: FindingKind,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FindingKind {
    /// 401: the integration shows an authentication error.
    Authentication,
    /// The response is not JSON.
    Parse,
    /// There is no response.
    Connection,
    /// A task failed and waits for "Retry".
    Task,
    /// A successful response lacks something that Okta relies on.
    Answer,
}

impl FindingKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            FindingKind::Authentication => "authentication error",
            FindingKind::Parse => "parse error",
            FindingKind::Connection => "no answer",
            FindingKind::Task => "task failed",
            FindingKind::Answer => "wrong answer",
        }
    }
}

impl Finding {
    pub(super) fn answer(text: String) -> Finding {
        Finding {
            kind: FindingKind::Answer,
            text,
        }
    }
}

/// Returns the body of a successful response, or `None` if it has none. `doing` is the text for a failure, such as
/// "Error while creating user ann@example.com".
pub(super) fn body(
    answer: Result<Answer, Unanswered>,
    doing: &str,
) -> Result<Option<Value>, Finding> {
    let finding = |kind, text: String| Finding {
        kind,
        text: sanitize(&text),
    };
    let answer = answer.map_err(|error| match error {
        Unanswered::TimedOut => {
            finding(FindingKind::Connection, format!("{doing}: Read timed out"))
        }
        Unanswered::Broken(reason) => {
            finding(FindingKind::Connection, format!("{doing}: {reason}"))
        }
    })?;
    let status = answer.status;
    if status.is_success() && answer.body.is_empty() {
        return Ok(None);
    }
    let parsed: Value = serde_json::from_slice(&answer.body).map_err(|_| {
        let text = format!("{doing}: {} ({status})", parse_error(&answer.body));
        finding(FindingKind::Parse, text)
    })?;
    if status.is_success() {
        return Ok(Some(parsed));
    }
    let reported = parsed.get("detail").and_then(Value::as_str);
    let reported = reported.unwrap_or("no detail was given");
    let reason = status.canonical_reason().unwrap_or_else(|| status.as_str());
    Err(match status {
        StatusCode::UNAUTHORIZED => finding(
            FindingKind::Authentication,
            format!("Error authenticating: {reason}. Errors reported by remote server: {reported}"),
        ),
        _ => finding(
            FindingKind::Task,
            format!("{doing}: {reason}. Errors reported by remote server: {reported}"),
        ),
    })
}

/// Returns the error of a JSON parser in Java for a body that is not JSON. The administrator sees no more than this.
fn parse_error(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let token: String = text
        .chars()
        .take_while(|char| char.is_alphanumeric())
        .collect();
    match text.chars().next() {
        None => "No content to map due to end-of-input".to_owned(),
        Some(first) if token.is_empty() => {
            format!("Unexpected character ('{first}'), in {}", beginning(body))
        }
        _ => format!("Unrecognized token '{token}', in {}", beginning(body)),
    }
}

/// The resources of a list, and the warnings of an import.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) resources: Vec<Value>,
    pub(super) total: usize,
}

/// Reads a list that was requested from `start` (RFC 7644 §3.4.2, P3, P4). Its numbers must be integers, and `Resources` must be
/// present even if it is empty.
pub(super) fn list(body: Option<Value>, start: usize, doing: &str) -> Result<List, Finding> {
    let wrong = |text: String| Finding::answer(format!("{doing}: {text}"));
    let Some(body) = body else {
        return Err(wrong("the answer is empty".to_owned()));
    };
    let number = |name: &str| match body.get(name) {
        Some(value) => value
            .as_u64()
            .map(|number| number as usize)
            .ok_or_else(|| wrong(format!("{name} is {value}, which is no integer"))),
        None => Err(wrong(format!("{name} is missing"))),
    };
    let total = number("totalResults")?;
    let first = number("startIndex")?;
    let count = number("itemsPerPage")?;
    let Some(Value::Array(resources)) = body.get("Resources") else {
        return Err(wrong(
            "No results for users returned (Resources is missing)".to_owned(),
        ));
    };
    if count != resources.len() {
        return Err(wrong(format!(
            "itemsPerPage is {count}, but the page has {}",
            resources.len()
        )));
    }
    if first != start {
        return Err(wrong(format!(
            "startIndex is {first}, and {start} was asked for"
        )));
    }
    if resources.iter().any(|resource| id(resource).is_none()) {
        return Err(wrong("a resource has no id".to_owned()));
    }
    Ok(List {
        resources: resources.clone(),
        total,
    })
}

/// Returns the warnings of an import: the attributes that the tests of Okta require of every user, and that are missing
/// (docs/okta.md).
pub(super) fn lacking(user: &Value) -> Vec<&'static str> {
    [
        ("/schemas", "schemas"),
        ("/userName", "userName"),
        ("/active", "active"),
        ("/name/givenName", "name.givenName"),
        ("/name/familyName", "name.familyName"),
        ("/emails/0/value", "emails"),
        ("/meta/location", "meta.location"),
        ("/meta/resourceType", "meta.resourceType"),
    ]
    .into_iter()
    .filter(|(pointer, _)| user.pointer(pointer).is_none_or(Value::is_null))
    .map(|(_, name)| name)
    .collect()
}

/// Returns the user in a response. It must have an id, be the user that was sent, and have no password.
pub(super) fn user(body: Option<Value>, user_name: &str, doing: &str) -> Result<Value, Finding> {
    let user = resource(body, doing, "user")?;
    let wrong = |text: String| Err(Finding::answer(format!("{doing}: {text}")));
    match user.get("userName").and_then(Value::as_str) {
        Some(name) if name.to_lowercase() == user_name.to_lowercase() => {}
        Some(name) => return wrong(format!("the answer is about {}", sanitize(name))),
        None => return wrong("the answer has no userName".to_owned()),
    }
    match user.get("password") {
        None => Ok(user),
        Some(_) => wrong("the answer has a password".to_owned()),
    }
}

/// Returns the group in a response.
pub(super) fn group(body: Option<Value>, name: &str, doing: &str) -> Result<Value, Finding> {
    let group = resource(body, doing, "group")?;
    match group.get("displayName").and_then(Value::as_str) {
        Some(answered) if answered == name => Ok(group),
        Some(answered) => Err(Finding::answer(format!(
            "{doing}: the answer is about {}",
            sanitize(answered)
        ))),
        None => Err(Finding::answer(format!(
            "{doing}: the answer has no displayName"
        ))),
    }
}

fn resource(body: Option<Value>, doing: &str, what: &str) -> Result<Value, Finding> {
    let Some(resource) = body else {
        return Err(Finding::answer(format!("{doing}: returned empty {what}")));
    };
    match id(&resource) {
        Some(_) => Ok(resource),
        None => Err(Finding::answer(format!("{doing}: the answer has no id"))),
    }
}

pub(super) fn id(resource: &Value) -> Option<&str> {
    resource
        .get("id")
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answer, Unanswered> {
        Ok(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        })
    }

    fn finding(kind: FindingKind, text: &str) -> Finding {
        Finding {
            kind,
            text: text.to_owned(),
        }
    }

    /// Every status in the table of responses in docs/okta.md.
    #[test]
    fn failures_are_what_the_administrator_sees() {
        let error = r#"{"status":"409","scimType":"uniqueness","detail":"ann is taken"}"#;
        for (answer, kind, text) in [
            (
                answer(409, error),
                FindingKind::Task,
                "Doing: Conflict. Errors reported by remote server: ann is taken",
            ),
            (
                answer(500, "{}"),
                FindingKind::Task,
                "Doing: Internal Server Error. Errors reported by remote server: no detail was given",
            ),
            (
                answer(401, r#"{"detail":"bad token"}"#),
                FindingKind::Authentication,
                "Error authenticating: Unauthorized. Errors reported by remote server: bad token",
            ),
            (
                answer(401, "Not allowed"),
                FindingKind::Parse,
                "Doing: Unrecognized token 'Not', in \"Not allowed\" (401 Unauthorized)",
            ),
            (
                answer(502, "<html>"),
                FindingKind::Parse,
                "Doing: Unexpected character ('<'), in \"<html>\" (502 Bad Gateway)",
            ),
            (
                answer(400, ""),
                FindingKind::Parse,
                "Doing: No content to map due to end-of-input (400 Bad Request)",
            ),
            (
                Err(Unanswered::TimedOut),
                FindingKind::Connection,
                "Doing: Read timed out",
            ),
        ] {
            assert_eq!(body(answer, "Doing"), Err(finding(kind, text)));
        }
        assert_eq!(body(answer(204, ""), "Doing"), Ok(None));
        assert_eq!(body(answer(200, "[]"), "Doing"), Ok(Some(json!([]))));
    }

    /// Test API Credentials (RFC 7644 §3.4.2: P3, P4).
    #[test]
    fn lists_need_integers_and_resources() {
        let good = json!({"totalResults": 3, "startIndex": 1, "itemsPerPage": 1, "Resources": [{"id": "1"}]});
        let read = list(Some(good.clone()), 1, "Import").unwrap();
        assert_eq!((read.resources.len(), read.total), (1, 3));
        for (name, value, text) in [
            (
                "startIndex",
                json!("1"),
                "startIndex is \"1\", which is no integer",
            ),
            (
                "startIndex",
                json!(2),
                "startIndex is 2, and 1 was asked for",
            ),
            (
                "itemsPerPage",
                json!(100),
                "itemsPerPage is 100, but the page has 1",
            ),
            (
                "Resources",
                json!(null),
                "No results for users returned (Resources is missing)",
            ),
            ("Resources", json!([{}]), "a resource has no id"),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            let expected = finding(FindingKind::Answer, &format!("Import: {text}"));
            assert_eq!(list(Some(bad), 1, "Import"), Err(expected));
        }
        let expected = finding(FindingKind::Answer, "Import: totalResults is missing");
        assert_eq!(list(Some(json!({})), 1, "Import"), Err(expected));
    }

    #[test]
    fn a_user_is_who_was_sent() {
        let ann = json!({"id": "1", "userName": "Ann"});
        assert_eq!(user(Some(ann.clone()), "ann", "Doing"), Ok(ann));
        for (body, text) in [
            (None, "returned empty user"),
            (Some(json!({"userName": "ann"})), "the answer has no id"),
            (Some(json!({"id": "1"})), "the answer has no userName"),
            (
                Some(json!({"id": "1", "userName": "bob"})),
                "the answer is about bob",
            ),
            (
                Some(json!({"id": "1", "userName": "ann", "password": "p"})),
                "the answer has a password",
            ),
        ] {
            let expected = finding(FindingKind::Answer, &format!("Doing: {text}"));
            assert_eq!(user(body, "ann", "Doing"), Err(expected));
        }
    }

    #[test]
    fn what_a_user_lacks_is_named() {
        let user = json!({
            "schemas": ["u"], "userName": "ann", "active": true, "name": {"givenName": "Ann"}, "emails": [],
            "meta": {"location": "l", "resourceType": "User"}
        });
        assert_eq!(lacking(&user), ["name.familyName", "emails"]);
    }
}
