//! SCIM errors (RFC 7644 §3.12).
//!
//! An [`Error`] has a status, a `scimType` and a sentence for the administrator who reads it in the
//! console of the identity provider. The sentence names the attribute and the reason. Quoted values
//! are shortened. An error never contains a password, because no code that reads a password quotes
//! it.

use std::fmt;

use serde_json::Value;

use crate::Object;

/// The URI of the error message (RFC 7644 §3.12).
pub const ERROR_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// Maximum length of a quoted value, in characters.
const QUOTED_CHARS: usize = 60;

/// Maximum length of a quoted name, in characters. An administrator searches for the name in the
/// attribute mappings, so it is longer than any usual name.
const QUOTED_NAME_CHARS: usize = 512;

/// The detail keyword of an error (RFC 7644 §3.12 table 9, RFC 9865 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScimType {
    /// The filter is malformed, or a comparison does not suit the type of the attribute.
    InvalidFilter,
    /// The request needs more work than the service provider allows.
    TooMany,
    /// Another resource already has the value.
    Uniqueness,
    /// The attribute cannot be changed in this way.
    Mutability,
    /// The body is not a valid message of the expected kind.
    InvalidSyntax,
    /// The `path` of a PATCH operation is malformed or names no attribute.
    InvalidPath,
    /// The `path` of a PATCH operation matches no value.
    NoTarget,
    /// A required value is missing, or a value is not valid for its attribute.
    InvalidValue,
    /// The protocol version is not supported.
    InvalidVers,
    /// The request filters or sorts by an attribute that is never returned.
    Sensitive,
    /// The cursor was not issued by this service provider for this list (RFC 9865).
    InvalidCursor,
    /// The cursor has expired (RFC 9865).
    ExpiredCursor,
    /// The page size is not valid together with a cursor (RFC 9865).
    InvalidCount,
}

impl ScimType {
    /// Returns the keyword in error bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            ScimType::InvalidFilter => "invalidFilter",
            ScimType::TooMany => "tooMany",
            ScimType::Uniqueness => "uniqueness",
            ScimType::Mutability => "mutability",
            ScimType::InvalidSyntax => "invalidSyntax",
            ScimType::InvalidPath => "invalidPath",
            ScimType::NoTarget => "noTarget",
            ScimType::InvalidValue => "invalidValue",
            ScimType::InvalidVers => "invalidVers",
            ScimType::Sensitive => "sensitive",
            ScimType::InvalidCursor => "invalidCursor",
            ScimType::ExpiredCursor => "expiredCursor",
            ScimType::InvalidCount => "invalidCount",
        }
    }
}

impl fmt::Display for ScimType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A SCIM error: status, `scimType` and `detail`.
///
/// ```
/// use scim::{Error, ScimType};
///
/// let error = Error::uniqueness("userName", "\"ann\" is taken");
/// assert_eq!((error.status(), error.scim_type()), (409, Some(ScimType::Uniqueness)));
/// assert_eq!(error.to_object()["status"], "409");
/// assert_eq!(error.to_object()["detail"], "userName: \"ann\" is taken");
///
/// // Errors from outside of this crate have the same form.
/// let error = Error::new(404, None, "there is no such user");
/// assert!(!error.to_object().contains_key("scimType"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: u16,
    scim_type: Option<ScimType>,
    detail: String,
}

impl Error {
    /// Creates an error with any status, for errors that arise outside of this crate (401, 404,
    /// 429, …).
    pub fn new(status: u16, scim_type: Option<ScimType>, detail: impl Into<String>) -> Self {
        Error {
            status,
            scim_type,
            detail: detail.into(),
        }
    }

    fn bad_request(scim_type: ScimType, detail: String) -> Self {
        Error::new(400, Some(scim_type), detail)
    }

    /// 400 `invalidValue`: the value at `path` is not valid; `what` is the reason.
    pub fn invalid_value(path: impl fmt::Display, what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::InvalidValue, format!("{path}: {what}"))
    }

    /// 400 `invalidSyntax`: the body is not a valid message of the expected kind.
    pub fn invalid_syntax(what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::InvalidSyntax, what.to_string())
    }

    /// 400 `invalidFilter`.
    pub fn invalid_filter(what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::InvalidFilter, format!("filter: {what}"))
    }

    /// 400 `invalidPath`; the detail quotes `path`.
    pub fn invalid_path(path: &str, what: impl fmt::Display) -> Self {
        Error::bad_request(
            ScimType::InvalidPath,
            format!("path {}: {what}", quote_name(path)),
        )
    }

    /// 400 `noTarget`.
    pub fn no_target(what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::NoTarget, what.to_string())
    }

    /// 400 `mutability`: the attribute at `path` cannot be changed in this way.
    pub fn mutability(path: impl fmt::Display, what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::Mutability, format!("{path}: {what}"))
    }

    /// 400 `tooMany`: the request needs more work than one request may use.
    pub fn too_many(what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::TooMany, what.to_string())
    }

    /// 400 `invalidVers` (H8).
    pub fn invalid_vers(what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::InvalidVers, what.to_string())
    }

    /// 400 `invalidCursor` (RFC 9865).
    pub fn invalid_cursor(what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::InvalidCursor, what.to_string())
    }

    /// 400 `expiredCursor` (RFC 9865).
    pub fn expired_cursor(what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::ExpiredCursor, what.to_string())
    }

    /// 400 `invalidCount` (RFC 9865).
    pub fn invalid_count(what: impl fmt::Display) -> Self {
        Error::bad_request(ScimType::InvalidCount, what.to_string())
    }

    /// 403 `sensitive`: the request filters or sorts by an attribute that is never returned (RFC
    /// 7644 §7.5.2).
    pub fn sensitive(what: impl fmt::Display) -> Self {
        Error::new(403, Some(ScimType::Sensitive), what.to_string())
    }

    /// 409 `uniqueness`. RFC 7644 §3.3 requires 409, although table 9 lists 400.
    pub fn uniqueness(path: impl fmt::Display, what: impl fmt::Display) -> Self {
        Error::new(409, Some(ScimType::Uniqueness), format!("{path}: {what}"))
    }

    /// Prefixes the attribute path at the start of the detail with `path`, for an error in a nested
    /// value.
    #[must_use]
    pub fn below(mut self, path: impl fmt::Display) -> Self {
        self.detail.insert_str(0, &format!("{path}."));
        self
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the detail keyword, if the error has one.
    pub fn scim_type(&self) -> Option<ScimType> {
        self.scim_type
    }

    /// Returns the sentence for the administrator.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns the error body (RFC 7644 §3.12), in which `status` is a string.
    pub fn to_object(&self) -> Object {
        let mut object = Object::new();
        object.insert("schemas".into(), Value::from(vec![ERROR_SCHEMA]));
        object.insert("status".into(), Value::from(self.status.to_string()));
        if let Some(scim_type) = self.scim_type {
            object.insert("scimType".into(), Value::from(scim_type.as_str()));
        }
        object.insert("detail".into(), Value::from(self.detail.as_str()));
        object
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {}

/// Returns the text in quotation marks, shortened to [`QUOTED_CHARS`].
pub(crate) fn quote(text: &str) -> String {
    shortened(text, QUOTED_CHARS)
}

/// Returns the name of an attribute or schema in quotation marks, shortened to
/// [`QUOTED_NAME_CHARS`].
pub(crate) fn quote_name(name: &str) -> String {
    shortened(name, QUOTED_NAME_CHARS)
}

fn shortened(text: &str, most: usize) -> String {
    let mut chars = text.chars();
    let mut quoted = String::from("\"");
    quoted.extend(chars.by_ref().take(most));
    if chars.next().is_some() {
        quoted.push('…');
    }
    quoted.push('"');
    quoted
}

/// Describes a value for "expected …, got …".
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("the Boolean {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(value) => format!("the string {}", quote(value)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_body_has_its_status_as_a_string() {
        let body = Value::Object(Error::invalid_value("emails.value", "expected").to_object());
        assert_eq!(
            body,
            json!({
                "schemas": [ERROR_SCHEMA],
                "status": "400",
                "scimType": "invalidValue",
                "detail": "emails.value: expected",
            })
        );
    }

    #[test]
    fn an_error_without_keyword_has_no_scim_type() {
        let body = Error::new(404, None, "no user has this id").to_object();
        assert!(!body.contains_key("scimType"));
    }

    #[test]
    fn quoted_values_are_shortened_by_characters() {
        let quoted = quote(&"ü".repeat(1000));
        assert_eq!(quoted.chars().count(), QUOTED_CHARS + 3);
        assert!(quoted.ends_with("…\""));
        assert_eq!(quote("short"), "\"short\"");
    }
}
