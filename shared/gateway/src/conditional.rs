//! The headers of conditional requests (RFC 9110 §13.1, RFC 7644 §3.14), of preferences (RFC 7240), and of the media type of
//! the response (RFC 7644 §3.8).

use std::cmp::Ordering;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use directory::Precondition;
use http::header::{ACCEPT, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Error, QueryParams};

/// The header of preferences (RFC 7240 §2).
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The header of a response that names the preference that was applied (RFC 7240 §3).
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The preference `return` for the response to a change (RFC 7240 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// A response without a body.
    Minimal,
    /// A response with the resource.
    Representation,
}

impl Return {
    pub(crate) fn as_header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Minimal => "return=minimal",
            Self::Representation => "return=representation",
        })
    }

    /// Reads the first `return`. Names and values are case-insensitive (RFC 7240 §2).
    fn read(headers: &HeaderMap) -> Option<Self> {
        let preferences = headers.get_all(PREFER);
        let value = preferences
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| unquoted(line, ','))
            // Parameters of the preference follow after a semicolon.
            .filter_map(|preference| unquoted(preference, ';').next())
            .filter_map(|preference| preference.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("return"))
            .map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase())?;
        match value.as_str() {
            "minimal" => Some(Self::Minimal),
            "representation" => Some(Self::Representation),
            _ => None,
        }
    }
}

/// Splits a header at `separator`, except within quotes (RFC 9110 §5.6).
fn unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let separates = c == separator && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        separates
    })
    .map(str::trim)
}

/// A media range of an `Accept` header (RFC 9110 §12.5.1), without its parameters.
struct Accepted<'a> {
    range: &'a str,
    /// The weight, in thousandths.
    weight: u16,
}

impl<'a> Accepted<'a> {
    /// Returns `None` for an invalid media range, which is ignored.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = unquoted(text, ';');
        let range = parts.next()?;
        let mut weight = None;
        for parameter in parts.filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            if !is_token(name) || !(is_token(value) || is_quoted(value)) {
                return None;
            }
            if name.eq_ignore_ascii_case("q") && weight.is_none() {
                weight = Some(thousandths(value)?);
            }
        }
        let weight = weight.unwrap_or(1000);
        Some(Self { range, weight })
    }
}

/// Parses a weight (RFC 9110 §12.4.2): 0 to 1 with at most three digits after the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1")
        || digits.len() > 3
        || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let weight: u16 = format!("{whole}{digits:0<3}").parse().ok()?;
    (weight <= 1000).then_some(weight)
}

/// Returns whether a text is a token (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    let other = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || other(byte);
    !text.is_empty() && text.bytes().all(of_token)
}

/// Returns whether a text is one quoted string (RFC 9110 §5.6.4).
fn is_quoted(text: &str) -> bool {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let Some(inner) = inner else {
        return false;
    };
    let mut escaped = false;
    let plain = inner.chars().all(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        !ends
    });
    plain && !escaped
}

/// Returns whether a request prefers `application/json` to `application/scim+json` (RFC 7644 §3.8).
///
/// Each type has the weight of the most specific range that matches it. With equal weights the type is
/// `application/scim+json`, unless `application/json` is named and the other is not. No request is refused because of
/// `Accept`: if it allows neither type, the response is `application/scim+json`.
pub(crate) fn prefers_plain_json(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter();
    let ranges: Vec<Accepted<'_>> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| unquoted(line, ','))
        .filter_map(Accepted::read)
        .collect();
    let weight_of = |name: &str| {
        let same = ranges
            .iter()
            .filter(|one| one.range.eq_ignore_ascii_case(name));
        same.map(|one| one.weight).max()
    };
    let wild = weight_of("application/*").or_else(|| weight_of("*/*"));
    let (plain, scim) = (
        weight_of("application/json"),
        weight_of("application/scim+json"),
    );
    let of = |named: Option<u16>| named.or(wild).unwrap_or(0);
    match of(plain).cmp(&of(scim)) {
        Ordering::Greater => true,
        Ordering::Equal => plain.is_some_and(|weight| weight > 0) && scim.is_none(),
        Ordering::Less => false,
    }
}

/// The entity tags of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    Any,
    /// The tags without their quotes.
    Listed(Vec<String>),
}

impl Tags {
    /// Reads entity tags. They are compared weakly, because those of SCIM are weak (RFC 7644 §3.14, E3). An invalid tag
    /// matches no version, so a condition that cannot be parsed prevents a change.
    fn read(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut listed = None;
        for line in headers.get_all(name) {
            for tag in unquoted(line.to_str().unwrap_or_default(), ',') {
                if tag == "*" {
                    return Some(Self::Any);
                }
                let tag = tag.strip_prefix("W/").unwrap_or(tag);
                let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                listed
                    .get_or_insert_with(Vec::new)
                    .extend(opaque.map(str::to_owned));
            }
        }
        listed.map(Self::Listed)
    }

    fn contains(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|listed| listed == tag),
        }
    }
}

/// Returns the versions among entity tags. Tags that this service never issues, such as `"01"` and `"+1"`, are ignored.
fn versions(tags: &[String]) -> Vec<u64> {
    tags.iter()
        .filter_map(|tag| {
            let version: u64 = tag.parse().ok()?;
            (version.to_string() == *tag).then_some(version)
        })
        .collect()
}

/// Removes the conditions from a request to a directory without entity tags (RFC 7643 §5, `etag`).
///
/// The tags of such a request are not from this service. [`Preconditions`] are read after authentication.
pub(crate) fn forget_conditions(headers: &mut HeaderMap) {
    headers.remove(IF_MATCH);
    headers.remove(IF_NONE_MATCH);
}

/// The conditions and the preference of a request.
pub struct Preconditions {
    /// The versions that the request may change.
    pub precondition: Precondition,
    /// The preferred response to a change.
    pub prefer: Option<Return>,
    if_match: Option<Tags>,
    none_match: Option<Tags>,
}

impl<S: Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(&parts.headers))
    }
}

impl Preconditions {
    fn read(headers: &HeaderMap) -> Self {
        let if_match = Tags::read(headers, &IF_MATCH);
        let none_match = Tags::read(headers, &IF_NONE_MATCH);
        Self {
            precondition: precondition(if_match.as_ref(), none_match.as_ref()),
            prefer: Return::read(headers),
            if_match,
            none_match,
        }
    }

    /// Returns whether the client already has this version (`If-None-Match`, E2).
    #[must_use]
    pub fn is_not_modified(&self, version: u64) -> bool {
        self.has_tag(&version.to_string())
    }

    /// Returns whether the client already has the representation with this tag.
    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        self.none_match
            .as_ref()
            .is_some_and(|tags| tags.contains(tag))
    }

    /// Returns whether the response to a change needs no body: the client prefers `return=minimal`, and does not request
    /// attributes (X22).
    #[must_use]
    pub fn minimal(&self, params: &QueryParams) -> bool {
        self.prefer == Some(Return::Minimal) && params.given("attributes").is_none()
    }

    /// Checks the conditions of a POST. They apply to the collection (RFC 9110 §13.1), which always exists and has no version.
    ///
    /// # Errors
    ///
    /// Returns 412 when a condition fails.
    pub fn check_collection(&self) -> Result<(), Error> {
        match (&self.if_match, &self.none_match) {
            (Some(Tags::Listed(_)), _) | (_, Some(Tags::Any)) => {
                Err(directory::Error::Changed.into())
            }
            _ => Ok(()),
        }
    }
}

/// Combines both headers. `*` matches any version. In `If-Match` it requires that the resource exists, which every change
/// requires anyway. In `If-None-Match` it requires that the resource does not exist, which no change can fulfil.
fn precondition(if_match: Option<&Tags>, none_match: Option<&Tags>) -> Precondition {
    match (if_match, none_match) {
        (None | Some(Tags::Any), None) => Precondition::None,
        (None | Some(Tags::Any), Some(Tags::Listed(tags))) => Precondition::Except(versions(tags)),
        (_, Some(Tags::Any)) => Precondition::Version(Vec::new()),
        (Some(Tags::Listed(tags)), none_match) => {
            let excluded = |version: &u64| {
                let tag = version.to_string();
                none_match.is_some_and(|tags| tags.contains(&tag))
            };
            let mut versions = versions(tags);
            versions.retain(|version| !excluded(version));
            Precondition::Version(versions)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preconditions(lines: &[(&'static str, &str)]) -> Preconditions {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Preconditions::read(&headers)
    }

    #[test]
    fn h15_return_is_found_among_other_preferences() {
        let check = |lines: &[&str], expected: Option<Return>| {
            let lines: Vec<_> = lines.iter().map(|line| ("prefer", *line)).collect();
            assert_eq!(preconditions(&lines).prefer, expected, "{lines:?}");
        };
        let (minimal, representation) = (Some(Return::Minimal), Some(Return::Representation));
        check(&[], None);
        check(&["return=minimal"], minimal);
        check(&["return=representation"], representation);
        check(&["RETURN = \"Minimal\""], minimal);
        check(&["respond-async, wait=10, return=minimal"], minimal);
        check(&["respond-async", "return=representation"], representation);
        check(&["return=minimal; foo=\"a,b;c\""], minimal);
        check(&["foo=\"return=minimal, return=minimal\""], None);
        check(
            &["foo=\"\\\", return=minimal\", return=representation"],
            representation,
        );
        // A parameter of another preference is not a preference.
        check(&["respond-async; return=minimal"], None);
        // The first one counts, understood or not.
        check(&["return=minimal, return=representation"], minimal);
        check(&["return=none, return=minimal"], None);
        check(&["return"], None);
        check(&["return=", "ü"], None);
    }

    #[test]
    fn plain_json_is_for_clients_that_prefer_it() {
        let check = |lines: &[&str], expected: bool| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            assert_eq!(prefers_plain_json(&headers), expected, "{lines:?}");
        };
        for lines in [
            &["application/json"][..],
            &["Application/JSON"],
            &["application/json;charset=utf-8;q=0.9"],
            &["application/json ; charset=\"utf-8\" ; Q=0.001"],
            &["application/json;"],
            &["application/json;q=1.000"],
            &["application/json;q=0.;q=1, application/json;q=1."],
            &["text/html, application/json"],
            &["text/html", "application/json"],
            &["application/json, text/plain, */*"],
            &["application/json, application/*"],
            &["application/json;q=0.5, */*;q=0.1"],
            &["application/json, application/scim+json;q=0.9"],
            &["application/scim+json;q=0.9", "application/json"],
            &["application/scim+json;q=0, application/json;q=0.1"],
            &["application/scim+json;q=0, */*"],
            &["application/scim+json;q=0, */*;q=0, application/*;q=0.1"],
            &["text/plain;a=\"b,c;d\\\"\", application/json"],
            &[", ,application/json,"],
            &["application/json;q=0, application/json"],
            &["application/json, application/scim+json;q=2"],
        ] {
            check(lines, true);
        }
        for lines in [
            &[][..],
            &[""],
            &["*/*"],
            &["application/*"],
            &["text/html"],
            &["application/scim+json"],
            &["application/scim+json, application/json"],
            &["application/json", "application/scim+json"],
            &["application/json;q=0.5, application/scim+json;q=0.5"],
            &["application/json;q=0.899, application/scim+json;q=0.9"],
            &["application/json;q=0.5, */*"],
            &["application/json;q=0.5, application/*, */*;q=0.1"],
            &["application/json;q=0"],
            &["application/json;q=0.000"],
            &["application/json;q=0, application/scim+json;q=0"],
            &["application/json;q=0, */*"],
            &["application/scim+json;q=0"],
            // These are not media ranges.
            &["application/json;q=2"],
            &["application/json;q=1.001"],
            &["application/json;q=0.1234"],
            &["application/json;q=-1"],
            &["application/json;q=.5"],
            &["application/json;q="],
            &["application/json;q"],
            &["application/json;q=\"1\""],
            &["application/json;q = 1"],
            &["application/json;charset"],
            &["application/json;a=\"b"],
            &["application/json;a=\"b\"c\""],
            &["application/json;a=\"b\\\""],
            &["application/json text/html"],
            &["application/json/x"],
            &["application"],
            &["json"],
            &["\"application/json\""],
            &["text/plain;a=\"b, application/json"],
            &["application/json, ü"],
            &[";q=1,=,/"],
        ] {
            check(lines, false);
        }
    }

    #[test]
    fn e3_conditions_are_read_from_lists_lines_and_stars() {
        let check = |lines: &[(&'static str, &str)], expected: Precondition| {
            assert_eq!(preconditions(lines).precondition, expected, "{lines:?}");
        };
        let version = |versions: &[u64]| Precondition::Version(versions.to_vec());
        let except = |versions: &[u64]| Precondition::Except(versions.to_vec());
        check(&[], Precondition::None);
        check(&[("if-match", "*")], Precondition::None);
        check(&[("if-match", "W/\"1\"")], version(&[1]));
        check(
            &[("if-match", "\"1\",W/\"2\" , \"3\"")],
            version(&[1, 2, 3]),
        );
        check(
            &[("if-match", "\"1\""), ("if-match", "\"2\"")],
            version(&[1, 2]),
        );
        for garbage in [
            "",
            "1",
            "W/1",
            "w/\"1\"",
            "\"01\"",
            "\"+1\"",
            "\"1",
            "1\"",
            "\"\"",
            "\"",
            "\"a,\"",
            "ü",
            "\"1\"x",
            "\" 1\"",
            "\"99999999999999999999\"",
            "W/\"W/\"1\"\"",
        ] {
            check(&[("if-match", garbage)], version(&[]));
            check(&[("if-none-match", garbage)], except(&[]));
        }
        check(&[("if-none-match", "*")], version(&[]));
        check(&[("if-none-match", "W/\"1\", \"x\"")], except(&[1]));
        check(
            &[("if-match", "*"), ("if-none-match", "\"2\"")],
            except(&[2]),
        );
        check(
            &[("if-match", "\"1\", \"2\""), ("if-none-match", "\"2\"")],
            version(&[1]),
        );
        check(
            &[("if-match", "\"1\""), ("if-none-match", "*")],
            version(&[]),
        );
    }

    #[test]
    fn the_conditions_of_a_post_apply_to_the_collection() {
        let allows =
            |lines: &[(&'static str, &str)]| preconditions(lines).check_collection().is_ok();
        assert!(allows(&[]));
        assert!(allows(&[("if-match", "*")]));
        assert!(allows(&[("if-none-match", "\"1\"")]));
        assert!(!allows(&[("if-match", "\"1\"")]));
        assert!(!allows(&[("if-none-match", "*")]));
    }
}
