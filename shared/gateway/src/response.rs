//! SCIM responses with their headers, and the status of each error.

use std::error::Error as StdError;
use std::num::NonZeroU32;

use axum::response::{IntoResponse, Response};
use directory::{Caller, Found, Query, too_many_groups};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_LOCATION, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER,
    VARY, WWW_AUTHENTICATE,
};
use http::{HeaderValue, StatusCode};
use scim::{Meta, Object, ResourceType};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::conditional::{PREFERENCE_APPLIED, Preconditions, Return};
use crate::size::{self, Room};

/// The media type of responses, unless the request prefers [`JSON`]. It has no parameters, because clients compare the exact
/// text (H3).
pub(crate) const SCIM_JSON: HeaderValue = HeaderValue::from_static("application/scim+json");

/// The alternative media type (RFC 7644 §3.8).
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The value of `Retry-After`, in seconds. Okta only reads whole seconds (A8).
pub(crate) const RETRY_SECONDS: u64 = 5;

/// The `Cache-Control` of discovery responses: one hour, because a deployment or the settings of a directory can change them.
const DISCOVERY_CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, max-age=3600");

/// Detail of [`Error::Overtaken`].
pub(crate) const OVERTAKEN: &str = "Another request changed the tokens of this directory at the same time and was faster; its token is the one in use. \
     Nothing was changed by this request.";

/// Why a SCIM request failed.
#[derive(Debug)]
pub enum Error {
    /// The token is missing or wrong: 401.
    Unauthenticated {
        /// Whether the request had a token.
        presented: bool,
    },
    /// The directory is deactivated: 403.
    Inactive,
    /// A concurrent request changed the tokens of the directory first: 409.
    Overtaken,
    /// The directory exceeds its rate limit: 429.
    RateLimited {
        /// Units of work per second that the directory may use.
        per_second: NonZeroU32,
        /// Time to wait, in seconds.
        retry_after: u64,
    },
    /// The tokens cannot be read, for another reason than throttling: 503. A 401 would mean that the token is wrong.
    Unavailable(Box<dyn StdError + Send + Sync>),
    /// The store failed or refused the request.
    Store(directory::Error),
    /// The body has a content coding such as gzip: 415.
    ContentCoding,
    /// The request violates a rule of SCIM.
    Scim(scim::Error),
}

/// Detail of [`Error::ContentCoding`].
pub(crate) const CONTENT_CODING: &str =
    "The body is compressed, as its Content-Encoding says. Send it as it is, without that header.";

/// The value of `Accept-Encoding` in a 415 (RFC 9110 §15.5.16).
pub(crate) const ACCEPTED_CODING: &str = "identity";

impl Error {
    pub(crate) fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Store(directory::Error::Broken(source.into()))
    }

    /// Returns the chain of errors for a log. It contains no data of a request, and no secret.
    #[must_use]
    pub fn source_chain(&self) -> String {
        let mut text = String::new();
        let mut source: Option<&dyn StdError> = match self {
            Self::Unavailable(source) => Some(source.as_ref()),
            Self::Store(error) => Some(error),
            Self::Scim(_)
            | Self::ContentCoding
            | Self::Inactive
            | Self::Overtaken
            | Self::RateLimited { .. }
            | Self::Unauthenticated { .. } => None,
        };
        while let Some(error) = source {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }

    /// Returns the SCIM error, which the administrator of the provisioning client reads.
    #[must_use]
    pub fn to_scim(&self) -> scim::Error {
        match self {
            Self::Unauthenticated { presented: false } => scim::Error::new(
                401,
                None,
                "The request has no bearer token: send Authorization: Bearer and the token of this directory.",
            ),
            Self::Unauthenticated { presented: true } => scim::Error::new(
                401,
                None,
                "The bearer token is not one of this directory's: check the base URL and the token.",
            ),
            Self::Inactive => scim::Error::new(
                403,
                None,
                "This directory is deactivated. Nothing was changed. Ask the application's team to activate it.",
            ),
            Self::Overtaken => scim::Error::new(409, None, OVERTAKEN),
            Self::RateLimited {
                per_second,
                retry_after,
            } => scim::Error::new(
                429,
                None,
                format!(
                    "This directory may send {per_second} requests a second, of which each operation of a bulk request is one. \
                     Nothing was changed by this request. Send it again in {retry_after} s."
                ),
            ),
            Self::Unavailable(_) => scim::Error::new(
                503,
                None,
                "The token cannot be verified right now. Nothing was changed. Try again.",
            ),
            Self::ContentCoding => scim::Error::new(415, None, CONTENT_CODING),
            Self::Scim(error) => error.clone(),
            Self::Store(error) => match error {
                directory::Error::NotFound => {
                    scim::Error::new(404, None, "There is no such resource in this directory.")
                }
                directory::Error::Uniqueness { attribute, value } => scim::Error::uniqueness(
                    attribute,
                    format_args!(
                        "\"{}\" is taken by another resource of this directory",
                        shown(value)
                    ),
                ),
                directory::Error::Changed => scim::Error::new(
                    412,
                    None,
                    "The resource is not in a version that If-Match and If-None-Match allow.",
                ),
                directory::Error::Invalid(_) | directory::Error::Deleting => scim::Error::new(
                    409,
                    None,
                    "This directory is not to be changed so. Nothing was changed.",
                ),
                directory::Error::TooLarge(detail) => scim::Error::new(413, None, detail.clone()),
                directory::Error::Scim(error) => error.clone(),
                directory::Error::Busy => scim::Error::new(
                    429,
                    None,
                    "Too much is being done at once. Nothing was changed by this request. Send it again.",
                ),
                directory::Error::Unreadable(item) => scim::Error::new(
                    500,
                    None,
                    format!(
                        "The {} {} cannot be read by this version of the service, and without it the answer would be \
                         incomplete. Nothing was changed. The log of the service has the error.",
                        item.kind, item.id
                    ),
                ),
                directory::Error::Broken(_) => scim::Error::new(
                    500,
                    None,
                    "The directory failed. The log of the service has the error; try again later.",
                ),
            },
        }
    }
}

impl From<directory::Error> for Error {
    fn from(error: directory::Error) -> Self {
        Self::Store(error)
    }
}

impl From<scim::Error> for Error {
    fn from(error: scim::Error) -> Self {
        Self::Scim(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let error = self.to_scim();
        if matches!(
            self,
            Self::Unavailable(_)
                | Self::Store(directory::Error::Broken(_) | directory::Error::Unreadable(_))
        ) {
            tracing::error!(error = %self.source_chain(), status = error.status(), "request failed");
        }
        let status =
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = object(status, error.to_object());
        let headers = response.headers_mut();
        match &self {
            Self::Unauthenticated { presented } => {
                // RFC 6750 §3: the challenge names an error only if the request had a token.
                let challenge = if *presented {
                    r#"Bearer realm="scim", error="invalid_token""#
                } else {
                    r#"Bearer realm="scim""#
                };
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::Unavailable(_) | Self::Store(directory::Error::Busy) => {
                headers.insert(RETRY_AFTER, RETRY_SECONDS.into());
            }
            Self::ContentCoding => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_CODING));
            }
            Self::RateLimited { retry_after, .. } => {
                headers.insert(RETRY_AFTER, (*retry_after).into());
            }
            _ => {}
        }
        response
    }
}

/// Returns 404 for an id that no resource of this type has.
#[must_use]
pub fn not_found(kind: &str, id: &str) -> Error {
    Error::Scim(scim::Error::new(
        404,
        None,
        format!(
            "There is no {kind} of the id \"{}\" in this directory.",
            shown(id)
        ),
    ))
}

/// An error of the store that says which resource it did not find.
#[must_use]
pub fn not_found_as(error: directory::Error, ty: &ResourceType, id: &str) -> Error {
    match error {
        directory::Error::NotFound => not_found(&ty.name, id),
        other => other.into(),
    }
}

/// Shortens a value of a client for an error, to 100 characters.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Returns a response with a JSON body, or 400 `tooMany` if the body exceeds the maximum size of a response.
#[must_use]
pub fn object(status: StatusCode, body: Object) -> Response {
    match size::written(&body) {
        Some(text) => json(status, text),
        None => Error::from(too_large(&body)).into_response(),
    }
}

fn json(status: StatusCode, text: Vec<u8>) -> Response {
    let mut response = text.into_response();
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, SCIM_JSON);
    response
}

/// Returns a list response with as many resources as fit. A page can be shorter than requested (RFC 7644 §3.4.2.4), and the
/// next page begins with the first resource that did not fit.
///
/// # Errors
///
/// Returns 400 `tooMany` when the first resource alone exceeds the maximum size of a response.
pub fn list<T>(
    found: Found<T>,
    caller: &Caller,
    query: &Query<'_>,
    show: impl Fn(&T) -> Object,
) -> Result<Response, Error> {
    let mut room = Room::default();
    let mut left_out = None;
    let list = found.list(caller, query, |resource| {
        let shown = show(resource);
        if room.takes(&shown) {
            return Some(shown);
        }
        left_out = Some(shown);
        None
    })?;
    match left_out {
        Some(alone) if list.resources.is_empty() => Err(too_large(&alone).into()),
        _ => Ok(object(StatusCode::OK, list.to_object())),
    }
}

/// Returns 400 `tooMany` for a resource that exceeds the maximum size of a response. The detail says how to read it.
fn too_large(resource: &Object) -> scim::Error {
    let id = resource.get("id").and_then(Value::as_str);
    let has = |name: &str| resource.get(name).and_then(Value::as_array);
    match (id, has("members"), has("groups")) {
        (Some(id), Some(members), _) => too_many_members(id, members.len() as u64),
        (Some(id), None, Some(_)) => too_many_groups(id),
        _ => scim::Error::too_many(
            "What was asked for is more than one answer holds. Ask for less, with attributes, excludedAttributes or count.",
        ),
    }
}

/// Returns 400 `tooMany` for a group whose members exceed the maximum size of a response. The detail says how to read them.
#[must_use]
pub fn too_many_members(group: &str, members: u64) -> scim::Error {
    scim::Error::too_many(format_args!(
        "The group \"{group}\" has {members} members, and they are more than one answer holds. Read the group with \
         excludedAttributes=members, and its members in pages: /Users?filter=groups.value eq \"{group}\"&startIndex=1&count=200."
    ))
}

/// Returns 204.
#[must_use]
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Returns a resource, with its location and version as headers (H10, E1).
///
/// # Errors
///
/// Returns 400 `tooMany` when the resource exceeds the maximum size of a response.
pub fn resource(body: Object, meta: &Meta) -> Result<Response, Error> {
    let text = size::written(&body).ok_or_else(|| too_large(&body))?;
    Ok(with_location(json(StatusCode::OK, text), meta))
}

/// Returns 304, because the client already has this version (E2).
#[must_use]
pub fn not_modified(meta: &Meta) -> Response {
    with_location(empty_not_modified(), meta)
}

/// Returns 304 with the `Vary` of the stored response (RFC 9110 §15.4.5). In responses with a body, the compression sets it.
fn empty_not_modified() -> Response {
    const ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    response.headers_mut().insert(VARY, ENCODING);
    response
}

/// Returns 201 for a new resource. It has a body unless the client prefers none, because Okta needs one (R1, H15). A group
/// whose members exceed the maximum size of a response is returned without them.
#[must_use]
pub fn created(body: Option<Object>, meta: &Meta, prefer: Option<Return>) -> Response {
    let status = StatusCode::CREATED;
    let whole = body.as_ref().and_then(size::written);
    if let (None, Some(mut body)) = (&whole, body) {
        body.shift_remove("members");
        return with_location(object(status, body), meta);
    }
    changed(whole, status, status, meta, prefer)
}

/// Returns the response to a change: 200 with the resource, or 204 if the body is `None` (RFC 7240, H15).
///
/// The body is `None` if the client prefers no body, or if it would be too costly to build (RFC 7644 §3.5.2). A body that
/// exceeds the maximum size of a response is left out as well, because the change was made.
#[must_use]
pub fn updated(body: Option<Object>, meta: &Meta, prefer: Option<Return>) -> Response {
    let whole = body.as_ref().and_then(size::written);
    changed(whole, StatusCode::OK, StatusCode::NO_CONTENT, meta, prefer)
}

/// Returns the response to a change, with `Preference-Applied` if it is as the client prefers (RFC 7240 §3).
fn changed(
    body: Option<Vec<u8>>,
    with_body: StatusCode,
    without: StatusCode,
    meta: &Meta,
    prefer: Option<Return>,
) -> Response {
    let (response, is) = match body {
        Some(body) => (json(with_body, body), Return::Representation),
        None => (without.into_response(), Return::Minimal),
    };
    let mut response = with_location(response, meta);
    if prefer == Some(is) {
        let headers = response.headers_mut();
        headers.insert(PREFERENCE_APPLIED, is.as_header());
    }
    response
}

/// Returns a discovery response with a lifetime and an entity tag of its content, or 304 for a client that has it (D9). A
/// directory without entity tags has none here either.
#[must_use]
pub fn discovery_response(
    mut body: Object,
    caller: &Caller,
    preconditions: &Preconditions,
) -> Response {
    let has_tags = caller.directory().settings.has_entity_tags();
    let tag = has_tags.then(|| tag(&mut body));
    let location = body.get("meta").and_then(|meta| meta.get("location"));
    let location = location.and_then(Value::as_str).map(HeaderValue::from_str);
    let not_modified = tag.as_ref().is_some_and(|tag| preconditions.has_tag(tag));
    let mut response = if not_modified {
        empty_not_modified()
    } else {
        object(StatusCode::OK, body)
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, DISCOVERY_CACHE_CONTROL);
    if let Some(Ok(etag)) = tag.map(|tag| HeaderValue::try_from(weak(&tag))) {
        headers.insert(ETAG, etag);
    }
    if let Some(Ok(location)) = location {
        headers.insert(CONTENT_LOCATION, location);
    }
    response
}

/// Returns a tag of the content, and sets the `meta.version` of each resource in it (E1).
fn tag(body: &mut Object) -> String {
    // A location depends on the address of the request, which is not part of the content.
    let meta = body.shift_remove("meta");
    let mut digest = Sha256::new();
    match body.get_mut("Resources") {
        Some(Value::Array(resources)) => {
            for resource in resources.iter_mut().filter_map(Value::as_object_mut) {
                digest.update(tag(resource));
            }
        }
        _ => digest.update(Value::Object(body.clone()).to_string()),
    }
    let mut tag = hex::encode(digest.finalize());
    tag.truncate(16);
    if let Some(Value::Object(mut meta)) = meta {
        meta.insert("version".to_owned(), weak(&tag).into());
        body.insert("meta".to_owned(), meta.into());
    }
    tag
}

fn weak(tag: &str) -> String {
    format!("W/\"{tag}\"")
}

fn with_location(mut response: Response, meta: &Meta) -> Response {
    let headers = response.headers_mut();
    for (name, text) in [
        (ETAG, meta.etag().as_ref()),
        (LOCATION, Some(&meta.location)),
        (CONTENT_LOCATION, Some(&meta.location)),
    ] {
        if let Some(Ok(value)) = text.map(|text| HeaderValue::from_str(text)) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn d9_a_tag_depends_on_the_content_and_not_on_the_address() {
        let tag_of = |body: Value| match body {
            Value::Object(mut body) => tag(&mut body),
            other => panic!("{other}"),
        };
        let one = |name: &str, host: &str| json!({"name": name, "meta": {"location": format!("https://{host}/ResourceTypes/{name}")}});
        let list = |resources: &[Value]| tag_of(json!({"Resources": resources}));
        let user = tag_of(one("User", "a"));
        assert_eq!(user.len(), 16);
        assert_eq!(user, tag_of(one("User", "b")));
        assert_ne!(user, tag_of(one("Group", "a")));
        let both = list(&[one("User", "a"), one("Group", "a")]);
        assert_eq!(both, list(&[one("User", "b"), one("Group", "b")]));
        assert_ne!(both, list(&[one("Group", "a"), one("User", "a")]));
        assert_ne!(both, list(&[one("User", "a"), one("Device", "a")]));
        assert_ne!(both, list(&[one("User", "a")]));
    }
}
