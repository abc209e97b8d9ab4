//! The errors of the admin API as problem details (RFC 9457), and their status.

use axum::response::{IntoResponse, Response};
use directory::Invalid;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::Error;
use crate::response::{ACCEPTED_CODING, CONTENT_CODING, OVERTAKEN, RETRY_SECONDS};

/// An invalid part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum InvalidPart {
    /// A value of the body, at a JSON pointer.
    Body(Invalid),
    /// A parameter of the query.
    Parameter { name: String, detail: String },
}

/// Why a request to the admin API failed.
#[derive(Debug)]
pub struct Problem {
    status: u16,
    detail: String,
    invalid: Vec<InvalidPart>,
    /// A header of the response, with its name in lower case.
    header: Option<(&'static str, &'static str)>,
}

impl Problem {
    /// Returns a problem with a status and a detail.
    #[must_use]
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            invalid: vec![],
            header: None,
        }
    }

    /// Returns 422 for a JSON body with invalid values.
    #[must_use]
    pub fn invalid(values: Vec<Invalid>) -> Self {
        Self {
            invalid: values.into_iter().map(InvalidPart::Body).collect(),
            ..Self::new(422, "The request body is invalid. Nothing was changed.")
        }
    }

    /// Returns 400 for an invalid query parameter.
    #[must_use]
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let parameter = InvalidPart::Parameter {
            name: name.to_owned(),
            detail: detail.into(),
        };
        Self {
            invalid: vec![parameter],
            ..Self::new(400, "A query parameter is invalid.")
        }
    }

    /// Returns 404 for something that does not exist, or that is outside the scope of the caller.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(404, format!("There is no such {what}."))
    }

    fn unauthenticated(presented: bool) -> Self {
        let (detail, challenge) = if presented {
            (
                "The admin key is unknown.",
                r#"Bearer realm="admin", error="invalid_token""#,
            )
        } else {
            (
                "The request has no admin key. Send the header Authorization: Bearer with the key.",
                r#"Bearer realm="admin""#,
            )
        };
        Self {
            header: Some(("www-authenticate", challenge)),
            ..Self::new(401, detail)
        }
    }

    fn to_json(&self, status: StatusCode) -> Value {
        let mut problem = json!({
            // The type of a problem that only has a status (RFC 9457 §4.2.1).
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": self.status,
            "detail": self.detail,
        });
        let errors = self.invalid.iter().map(|part| match part {
            InvalidPart::Body(Invalid { pointer, detail }) => {
                json!({"pointer": pointer, "detail": detail})
            }
            InvalidPart::Parameter { name, detail } => json!({"parameter": name, "detail": detail}),
        });
        let errors: Vec<Value> = errors.collect();
        if let Value::Object(members) = &mut problem
            && !errors.is_empty()
        {
            members.insert("errors".to_owned(), Value::Array(errors));
        }
        problem
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match &error {
            Error::Unauthenticated { presented } => Self::unauthenticated(*presented),
            Error::RateLimited { .. } => Self::new(429, "Too many requests at once. Try again."),
            Error::Overtaken => Self::new(409, OVERTAKEN),
            Error::Inactive => Self::new(409, "The directory is deactivated."),
            Error::Unavailable(_) => {
                tracing::error!(error = %error.source_chain(), status = 503, "request failed");
                Self::new(503, "Secrets cannot be read right now. Try again.")
            }
            Error::ContentCoding => Self {
                header: Some(("accept-encoding", ACCEPTED_CODING)),
                ..Self::new(415, CONTENT_CODING)
            },
            Error::Scim(error) => Self::new(error.status(), error.to_string()),
            Error::Store(store) => match store {
                directory::Error::NotFound => Self::not_found("directory"),
                directory::Error::Invalid(values) => Self::invalid(values.clone()),
                directory::Error::Deleting => Self::new(409, "The directory is being deleted."),
                directory::Error::Uniqueness { attribute, .. } => {
                    Self::new(409, format!("{attribute} is taken."))
                }
                directory::Error::Changed => Self::new(
                    412,
                    "The directory is not in the version that If-Match names. Nothing was changed.",
                ),
                directory::Error::TooLarge(detail) => Self::new(413, detail.clone()),
                directory::Error::Scim(error) => Self::new(error.status(), error.to_string()),
                directory::Error::Busy => Self::new(
                    429,
                    "Too much is being done at once. Nothing was changed. Try again.",
                ),
                directory::Error::Unreadable(item) => {
                    tracing::error!(error = %error.source_chain(), status = 500, "request failed");
                    Self::new(500, format!("The {item}"))
                }
                directory::Error::Broken(_) => {
                    tracing::error!(error = %error.source_chain(), status = 500, "request failed");
                    Self::new(500, "The request failed. Try again later.")
                }
            },
        }
    }
}

impl From<directory::Error> for Problem {
    fn from(error: directory::Error) -> Self {
        Error::Store(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = self.to_json(status).to_string().into_response();
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let media_type = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, media_type);
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if matches!(self.status, 429 | 503) {
            headers.insert(RETRY_AFTER, RETRY_SECONDS.into());
        }
        response
    }
}
