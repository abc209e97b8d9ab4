//! Requests: parsed once, before any operation begins.

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{
    DefaultBodyLimit, FromRequest, FromRequestParts, MatchedPath, Path, Request, State,
};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use directory::{DirectoryId, ResourceId};
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, ETAG, LOCATION, VARY};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use lambda_http::RequestExt;
use scim::{Object, Projection, ResourceType, SearchRequest};
use tower_http::compression::CompressionLayer;
use tracing::Instrument;

use crate::auth::Beside;
use crate::event::Refused;
use crate::problem::Problem;
use crate::response::{JSON, SCIM_JSON};
use crate::{Error, Gateway, conditional, not_found};

/// The largest body that is read. Lambda takes 6 MB with everything around it ("Lambda quotas").
pub const MAX_BODY_BYTES: usize = 5 * 1024 * 1024;

/// The largest body of the admin API.
pub const MAX_ADMIN_BODY_BYTES: usize = 64 * 1024;

/// The router of a SCIM function: its routes, each with and without a slash at the
/// end (H13), answers in SCIM for whatever else comes, and one log line a request.
pub fn routes<const N: usize>(
    gateway: Gateway,
    routes: [(&str, MethodRouter<Gateway>); N],
) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes {
        router = router
            .route(path, methods.clone())
            .route(&format!("{path}/"), methods);
    }
    let router = router
        .fallback(unknown_endpoint)
        .method_not_allowed_fallback(other_method);
    // Around the router, for axum writes `Allow` after its layers.
    Router::new()
        .fallback_service(served(router, gateway, MAX_BODY_BYTES))
        .layer(middleware::map_response(allow_options))
        .layer(middleware::from_fn(in_the_type_asked_for))
}

/// The router of the admin API: its routes, problems for whatever else comes, and one log line a request.
pub fn admin_routes<const N: usize>(
    gateway: Gateway,
    routes: [(&str, MethodRouter<Gateway>); N],
) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes {
        router = router.route(path, methods);
    }
    let router = router
        .fallback(async |request: Request| match request.extensions().get() {
            Some(Refused(detail)) => Problem::new(400, detail),
            None => Problem::new(
                404,
                "There is no such endpoint. GET /v1/openapi.json describes those there are.",
            ),
        })
        .method_not_allowed_fallback(async |request: Request| {
            Problem::new(
                405,
                format!("{} is not a method of this endpoint.", request.method()),
            )
        });
    served(router, gateway, MAX_ADMIN_BODY_BYTES)
}

fn served(router: Router<Gateway>, gateway: Gateway, most: usize) -> Router {
    router
        .layer(DefaultBodyLimit::max(most))
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn(log))
        .with_state(gateway)
}

/// 404 for what is no endpoint, 400 for what is no request and for another version of the protocol (H8), 501 for what
/// SCIM has and this does not (H11).
async fn unknown_endpoint(State(gateway): State<Gateway>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if let Some(Refused(detail)) = parts.extensions.get() {
        return refuse(scim::Error::new(400, None, detail));
    }
    let path = parts.uri.path();
    let mut segments = path.trim_matches('/').split('/');
    let (scim, version, _directory, endpoint) = (
        segments.next(),
        segments.next(),
        segments.next(),
        segments.next(),
    );
    if scim == Some("scim") {
        if version.is_some_and(|version| version.parse::<DirectoryId>().is_ok()) {
            return without_version(&gateway, &parts);
        }
        let other_version = version
            .and_then(|version| version.strip_prefix(['v', 'V']))
            .is_some_and(|number| {
                number != "2"
                    && !number.is_empty()
                    && number.chars().all(|c| c.is_ascii_digit() || c == '.')
            });
        if other_version {
            return refuse(scim::Error::invalid_vers(
                "This service speaks SCIM 2.0, at /scim/v2/.",
            ));
        }
        if version == Some("v2") && endpoint == Some("Me") {
            return refuse(scim::Error::new(501, None, "/Me is not supported."));
        }
        let elsewhere = matches!(endpoint, Some("Users" | "Groups" | "Bulk" | ".search"));
        if elsewhere && parts.raw_http_path().contains("//") {
            // API Gateway has taken the two slashes for another endpoint than the one that is meant.
            let detail = "The address has two slashes where one belongs. Send the request to the one in Location.";
            return moved(&gateway, &parts, path_and_query(&parts.uri), detail);
        }
    }
    refuse(scim::Error::new(
        404,
        None,
        "There is no such endpoint. SCIM endpoints are below /scim/v2/{directory}/.",
    ))
}

fn refuse(error: scim::Error) -> Response {
    Error::from(error).into_response()
}

/// 308 to the newest version for an address that names none (RFC 7644 §3.13, §3.12): the same request works there.
fn without_version(gateway: &Gateway, parts: &Parts) -> Response {
    let target = path_and_query(&parts.uri);
    let target = target.split_once("scim/").map_or("", |(_, target)| target);
    let detail = "The address names no version of SCIM. Send the request to /scim/v2/.";
    moved(gateway, parts, &format!("/scim/v2/{target}"), detail)
}

/// 308 to another address of this service (RFC 7644 §3.12).
fn moved(gateway: &Gateway, parts: &Parts, target: &str, detail: &str) -> Response {
    let address = format!("{}{target}", gateway.origin(parts));
    let mut response = refuse(scim::Error::new(308, None, detail));
    if let Ok(address) = HeaderValue::try_from(address) {
        response.headers_mut().insert(LOCATION, address);
    }
    response
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("", PathAndQuery::as_str)
}

/// 405, or for OPTIONS 204 to whoever asks (H11, H12); axum names the methods that would do in `Allow`.
async fn other_method(request: Request) -> Result<StatusCode, Error> {
    match request.method() {
        &Method::OPTIONS => Ok(StatusCode::NO_CONTENT),
        method => Err(scim::Error::new(
            405,
            None,
            format!("{method} is not a method of this endpoint."),
        )
        .into()),
    }
}

/// OPTIONS is no route of its own, so axum does not name it.
async fn allow_options(mut response: Response) -> Response {
    if let Some(allowed) = response.headers_mut().get_mut(ALLOW) {
        let methods = allowed.to_str().map(|methods| format!("{methods},OPTIONS"));
        if let Some(methods) = methods.ok().and_then(|all| HeaderValue::try_from(all).ok()) {
            *allowed = methods;
        }
    }
    response
}

/// `application/json` in place of SCIM's own type for a client that prefers it (RFC 7644 §3.8). What has an `ETag` may be kept
/// and sent again to another client, so it says what its type was chosen by (RFC 9110 §12.5.5).
async fn in_the_type_asked_for(request: Request, next: Next) -> Response {
    let plain = conditional::prefers_plain_json(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if plain && headers.get(CONTENT_TYPE) == Some(&SCIM_JSON) {
        headers.insert(CONTENT_TYPE, JSON);
    }
    if headers.contains_key(ETAG) {
        // In one line, for an answer of Lambda has a header once.
        let before = headers.get(VARY).and_then(|vary| vary.to_str().ok());
        let vary = before.map(|before| HeaderValue::try_from(format!("{before}, accept")));
        let vary = vary.and_then(Result::ok);
        headers.insert(VARY, vary.unwrap_or(HeaderValue::from_static("accept")));
    }
    response
}

/// One line a request: no query, no body, no id of a resource, no token.
async fn log(mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let beside = Beside::default();
    request.extensions_mut().insert(beside.clone());
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!(
        "request",
        directory.id = tracing::field::Empty,
        admin = tracing::field::Empty
    );
    async move {
        let response = next.run(request).await;
        beside.finish().await;
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(%method, route, status = response.status().as_u16(), duration_ms, "answered");
        response
    }
    .instrument(span)
    .await
}

/// The query parameters. Unknown ones are ignored (H9).
///
/// Clients write a blank as `+`, as forms do, or as `%20` (RFC 3986 §2.1), and those that do the latter often leave a
/// plus as it is. So where a query writes any of its blanks as `%20`, `+` is a plus; where it writes none so, `+` is a
/// blank. `%2B` is always a plus. (A REST API of API Gateway has decoded each `+` as a blank before, whatever else stands
/// in the query: there, `%2B` is the only plus.)
pub struct QueryParams(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for QueryParams {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri))
    }
}

impl QueryParams {
    fn of(uri: &Uri) -> Self {
        let mut query = Cow::from(uri.query().unwrap_or_default());
        if query.contains("%20") {
            query = query.replace('+', "%2B").into();
        }
        let pairs = form_urlencoded::parse(query.as_bytes());
        let owned = pairs.map(|(name, value)| (Cow::into_owned(name), Cow::into_owned(value)));
        Self(owned.collect())
    }

    /// The names of the parameters that there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The same for a parameter of SCIM: one that is empty is as if it was not there, as in a [`SearchRequest`].
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        self.get(name)
            .filter(|value| !SearchRequest::is_empty_value(value))
    }

    /// Which attributes of them.
    ///
    /// # Errors
    ///
    /// 400 `invalidSyntax`.
    pub fn projection(&self, ty: &ResourceType) -> Result<Projection, Error> {
        Ok(Projection::parse(
            self.get("attributes"),
            self.get("excludedAttributes"),
            ty,
        )?)
    }
}

/// What a list is asked for: in the query of a GET, or in the body of a POST,
/// which may be longer than a URL (RFC 7644 §3.4.2, §3.4.3, Q1).
pub struct ListQuery(pub SearchRequest);

impl<S: Send + Sync> FromRequest<S> for ListQuery {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        if request.method() == Method::POST {
            let Body(body) = Body::from_request(request, state).await?;
            return Ok(Self(SearchRequest::from_body(body)?));
        }
        let params = QueryParams::of(request.uri());
        Ok(Self(SearchRequest::from_query(|name| params.get(name))?))
    }
}

/// A resource's address within the API: the directory, and the id.
pub type ResourcePath = Path<(String, String)>;

/// The id in an address of a resource of `ty`; one of another form is nobody's.
///
/// # Errors
///
/// 404.
pub fn parse_id(ty: &ResourceType, id: &str) -> Result<ResourceId, Error> {
    id.parse().map_err(|_| not_found(&ty.name, id))
}

/// A JSON body.
pub struct Body(pub Object);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let JsonBytes(bytes) = JsonBytes::<MAX_BODY_BYTES>::from_request(request, state).await?;
        Ok(Self(scim::json::parse(&bytes)?))
    }
}

/// Refuses a body in a coding such as gzip, which nothing here decodes (RFC 9110 §8.4, §15.5.16).
///
/// # Errors
///
/// 415.
pub fn refuse_coding(headers: &HeaderMap) -> Result<(), Error> {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let mut named = codings.flat_map(|codings| codings.as_bytes().split(|byte| *byte == b','));
    match named.all(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"identity")) {
        true => Ok(()),
        false => Err(Error::ContentCoding),
    }
}

/// A body of a type of JSON that is not read yet, of at most `MAX` bytes.
pub struct JsonBytes<const MAX: usize>(pub Bytes);

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for JsonBytes<MAX> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        if let Some(media_type) = request.headers().get(CONTENT_TYPE) {
            let media_type = media_type.to_str().unwrap_or_default();
            let essence = media_type.split(';').next().unwrap_or_default().trim();
            if !["application/scim+json", "application/json"]
                .iter()
                .any(|known| essence.eq_ignore_ascii_case(known))
            {
                return Err(scim::Error::new(
                    415,
                    None,
                    "The Content-Type must be application/scim+json or application/json.",
                )
                .into());
            }
        }
        refuse_coding(request.headers())?;
        // What the router takes at most is an error here.
        match Bytes::from_request(request, state).await {
            Ok(bytes) if bytes.len() <= MAX => Ok(Self(bytes)),
            Ok(_) | Err(_) => {
                Err(
                    scim::Error::new(413, None, format!("The body is larger than {MAX} bytes."))
                        .into(),
                )
            }
        }
    }
}
