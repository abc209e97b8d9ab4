//! Answers: SCIM JSON with its headers, and the one place where a failure gets a status.

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

use crate::conditional::{PREFERENCE_APPLIED, Return, Wishes};
use crate::size::{self, Room};

/// The media type of every answer, unless the request prefers the other one. It has no parameters: clients compare the
/// exact text (H3).
pub(crate) const SCIM_JSON: HeaderValue = HeaderValue::from_static("application/scim+json");

/// The other media type (RFC 7644 §3.8).
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What Okta waits before it sends a request again, in seconds. It reads whole seconds only (A8).
pub(crate) const RETRY_SECONDS: u64 = 5;

/// How long a client may keep what the service says of itself: an hour, for a
/// deployment or a directory's settings may change it.
const DESCRIBED_FOR: HeaderValue = HeaderValue::from_static("private, max-age=3600");

/// What is said when another change of the tokens was faster.
pub(crate) const OVERTAKEN: &str = "Another request changed the tokens of this directory at the same time and was faster; its token is the one in use. \
     Nothing was changed by this request.";

/// Why a request was not answered as it wished.
#[derive(Debug)]
pub enum Error {
    /// There was no token, or not the right one: 401.
    Unauthenticated {
        /// Whether there was one.
        presented: bool,
    },
    /// The directory is deactivated: 403.
    Inactive,
    /// The tokens of the directory were changed by another request at the same time, which was faster: 409.
    Overtaken,
    /// The directory asks for more than it may: 429.
    RateLimited {
        /// How many units of work it may ask for in a second.
        a_second: NonZeroU32,
        /// How many seconds it has to wait.
        retry_after: u64,
    },
    /// The tokens cannot be read now, and not because of throttling: 503, never 401, which says "wrong token".
    Unavailable(Box<dyn StdError + Send + Sync>),
    /// The store did not do it.
    Store(directory::Error),
    /// The body is in a coding such as gzip: 415.
    ContentCoding,
    /// The request breaks a rule of SCIM.
    Scim(scim::Error),
}

/// What is wrong with a body that has a `Content-Encoding`.
pub(crate) const CONTENT_CODING: &str =
    "The body is compressed, as its Content-Encoding says. Send it as it is, without that header.";

/// The content codings that a body may have (RFC 9110 §15.5.16).
pub(crate) const ACCEPTED_CODING: &str = "identity";

impl Error {
    pub(crate) fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Store(directory::Error::Broken(source.into()))
    }

    /// What failed, for a log: nothing of a request, and no secret.
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

    /// The SCIM error, which the administrator of the provisioning client reads.
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
                a_second,
                retry_after,
            } => scim::Error::new(
                429,
                None,
                format!(
                    "This directory may send {a_second} requests a second, of which each operation of a bulk request is one. \
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
                // RFC 6750 §3: the error is named only if there was a token.
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

/// 404 for an id that no resource of this kind has, naming it.
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

/// As much of a client's own text as an error needs to show.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

/// An answer with a JSON body, or 400 `tooMany` if that is more than an answer holds.
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

/// A list of as many of the resources found as one answer holds: a page may be shorter than it was asked to be (RFC 7644
/// §3.4.2.4), and the next one begins with the first resource that was left out.
///
/// # Errors
///
/// 400 `tooMany` when the first resource alone is more than an answer holds.
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

/// 400 `tooMany` for a resource that is more than an answer holds, which says how to read it.
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

/// 400 `tooMany` for a group whose members are more than one answer holds, which says how to read them.
#[must_use]
pub fn too_many_members(group: &str, members: u64) -> scim::Error {
    scim::Error::too_many(format_args!(
        "The group \"{group}\" has {members} members, and they are more than one answer holds. Read the group with \
         excludedAttributes=members, and its members in pages: /Users?filter=groups.value eq \"{group}\"&startIndex=1&count=200."
    ))
}

/// 204.
#[must_use]
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// A resource, with its address and version as headers (H10, E1).
///
/// # Errors
///
/// 400 `tooMany` when it is more than an answer holds.
pub fn resource(body: Object, meta: &Meta) -> Result<Response, Error> {
    let text = size::written(&body).ok_or_else(|| too_large(&body))?;
    Ok(addressed(json(StatusCode::OK, text), meta))
}

/// 304: the client has this version already (E2).
#[must_use]
pub fn not_modified(meta: &Meta) -> Response {
    addressed(empty_not_modified(), meta)
}

/// With what a cache is told of the body that it has (RFC 9110 §15.4.5); on answers with a body, compression says it.
fn empty_not_modified() -> Response {
    const ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    response.headers_mut().insert(VARY, ENCODING);
    response
}

/// 201, for a resource that is new. It has a body unless the client prefers none: Okta needs one (R1, H15). A group of
/// more members than an answer holds is shown without them.
#[must_use]
pub fn created(body: Option<Object>, meta: &Meta, prefer: Option<Return>) -> Response {
    let status = StatusCode::CREATED;
    let whole = body.as_ref().and_then(size::written);
    if let (None, Some(mut body)) = (&whole, body) {
        body.shift_remove("members");
        return addressed(object(status, body), meta);
    }
    changed(whole, status, status, meta, prefer)
}

/// A resource that was changed, with its body or, if the client prefers that,
/// without (RFC 7240, H15). `None` is also a body that would be too costly (RFC 7644 §3.5.2), and one that is more than
/// an answer holds is left out as well: the change was made.
#[must_use]
pub fn updated(body: Option<Object>, meta: &Meta, prefer: Option<Return>) -> Response {
    let whole = body.as_ref().and_then(size::written);
    changed(whole, StatusCode::OK, StatusCode::NO_CONTENT, meta, prefer)
}

/// The answer to a change, which says so if it is as the client prefers (RFC 7240 §3).
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
    let mut response = addressed(response, meta);
    if prefer == Some(is) {
        let headers = response.headers_mut();
        headers.insert(PREFERENCE_APPLIED, is.as_header());
    }
    response
}

/// What the service says of itself, with a tag that follows from the content
/// and a lifetime, or 304 for a client that has it (D9). A directory without entity tags has none here either.
#[must_use]
pub fn discovery_response(mut body: Object, caller: &Caller, wishes: &Wishes) -> Response {
    let has_tags = caller.directory().settings.has_entity_tags();
    let tag = has_tags.then(|| tag(&mut body));
    let location = body.get("meta").and_then(|meta| meta.get("location"));
    let location = location.and_then(Value::as_str).map(HeaderValue::from_str);
    let mut response = match tag.as_ref().is_some_and(|tag| wishes.has_tag(tag)) {
        true => empty_not_modified(),
        false => object(StatusCode::OK, body),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, DESCRIBED_FOR);
    if let Some(Ok(etag)) = tag.map(|tag| HeaderValue::try_from(weak(&tag))) {
        headers.insert(ETAG, etag);
    }
    if let Some(Ok(location)) = location {
        headers.insert(CONTENT_LOCATION, location);
    }
    response
}

/// A tag that follows from the content, and is the `meta.version` of each resource in it as well (E1).
fn tag(body: &mut Object) -> String {
    // A location follows from the address that was asked, which is no content.
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
    let digest = digest.finalize();
    let tag: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if let Some(Value::Object(mut meta)) = meta {
        meta.insert("version".to_owned(), weak(&tag).into());
        body.insert("meta".to_owned(), meta.into());
    }
    tag
}

fn weak(tag: &str) -> String {
    format!("W/\"{tag}\"")
}

fn addressed(mut response: Response, meta: &Meta) -> Response {
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
    fn d9_a_tag_follows_from_the_content_and_not_from_the_address() {
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
