//! The routers of the functions: routes, and the responses to requests that no route matches.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use directory::DirectoryId;
use http::header::LOCATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Uri};
use lambda_http::RequestExt;
use tower_http::compression::CompressionLayer;

use crate::event::InvalidEvent;
use crate::middleware::{allow_options, log_request, negotiate_media_type};
use crate::problem::Problem;
use crate::{Error, Gateway, MAX_ADMIN_BODY_BYTES, MAX_BODY_BYTES};

/// Returns the router of a SCIM function.
///
/// Each route also matches with a slash at the end (H13). Other requests get a SCIM error. Each request is one log line.
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
        .method_not_allowed_fallback(method_not_allowed);
    // Outside the router, because axum adds `Allow` after the layers of the router have run.
    Router::new()
        .fallback_service(with_middleware(router, gateway, MAX_BODY_BYTES))
        .layer(map_response(allow_options))
        .layer(from_fn(negotiate_media_type))
}

/// Returns the router of the admin API.
///
/// Requests that no route matches get problem details (RFC 9457). Each request is one log line.
pub fn admin_routes(gateway: Gateway, router: Router<Gateway>) -> Router {
    let router = router
        .fallback(async |request: Request| match request.extensions().get() {
            Some(InvalidEvent(detail)) => Problem::new(400, detail),
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
    with_middleware(router, gateway, MAX_ADMIN_BODY_BYTES)
}

fn with_middleware(router: Router<Gateway>, gateway: Gateway, max_body_bytes: usize) -> Router {
    router
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(CompressionLayer::new())
        .layer(from_fn(log_request))
        .with_state(gateway)
}

/// Responds to a request that no route matches: 404 for an unknown endpoint, 400 for an event that cannot be a request and
/// for another version of SCIM (H8), 501 for an endpoint that is not implemented (H11), 308 for an address with a slip.
async fn unknown_endpoint(State(gateway): State<Gateway>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if let Some(InvalidEvent(detail)) = parts.extensions.get() {
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
            return redirect_to_v2(&gateway, &parts);
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
            // Because of the two slashes, API Gateway chose the function of another route.
            let detail = "The address has two slashes where one belongs. Send the request to the one in Location.";
            return redirect(&gateway, &parts, path_and_query(&parts.uri), detail);
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

/// Redirects an address without a version to version 2 with 308 (RFC 7644 §3.13, §3.12).
fn redirect_to_v2(gateway: &Gateway, parts: &Parts) -> Response {
    let target = path_and_query(&parts.uri);
    let target = target.split_once("scim/").map_or("", |(_, target)| target);
    let detail = "The address names no version of SCIM. Send the request to /scim/v2/.";
    redirect(gateway, parts, &format!("/scim/v2/{target}"), detail)
}

/// Redirects to another address of this service with 308 (RFC 7644 §3.12).
fn redirect(gateway: &Gateway, parts: &Parts, target: &str, detail: &str) -> Response {
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

/// Responds 405, or 204 to OPTIONS (H11, H12). axum adds the header `Allow`.
async fn method_not_allowed(request: Request) -> Result<StatusCode, Error> {
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
