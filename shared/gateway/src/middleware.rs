//! Middleware around the routers: the log line, the media type of responses, and `Allow`.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::header::{ALLOW, CONTENT_TYPE, ETAG, VARY};
use tracing::Instrument;

use crate::background::Background;
use crate::conditional;
use crate::response::{JSON, SCIM_JSON};

/// Adds OPTIONS to `Allow`. OPTIONS is not a route, so axum does not list it.
pub(crate) async fn allow_options(mut response: Response) -> Response {
    if let Some(allowed) = response.headers_mut().get_mut(ALLOW) {
        let methods = allowed.to_str().map(|methods| format!("{methods},OPTIONS"));
        if let Some(methods) = methods.ok().and_then(|all| HeaderValue::try_from(all).ok()) {
            *allowed = methods;
        }
    }
    response
}

/// Sets the media type to `application/json` if the client prefers it to `application/scim+json` (RFC 7644 §3.8).
///
/// A response with an `ETag` can be stored by a cache, so `Vary` names the header that selected its type (RFC 9110 §12.5.5).
pub(crate) async fn negotiate_media_type(request: Request, next: Next) -> Response {
    let plain = conditional::prefers_plain_json(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if plain && headers.get(CONTENT_TYPE) == Some(&SCIM_JSON) {
        headers.insert(CONTENT_TYPE, JSON);
    }
    if headers.contains_key(ETAG) {
        // One line, because the response of a Lambda function has each header once.
        let before = headers.get(VARY).and_then(|vary| vary.to_str().ok());
        let vary = before.map(|before| HeaderValue::try_from(format!("{before}, accept")));
        let vary = vary.and_then(Result::ok);
        headers.insert(VARY, vary.unwrap_or(HeaderValue::from_static("accept")));
    }
    response
}

/// Writes one log line for each request. It has no query, no body, no id of a resource, and no token.
pub(crate) async fn log_request(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let background = Background::default();
    request.extensions_mut().insert(background.clone());
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
        background.finish().await;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(%method, route, status = response.status().as_u16(), duration_ms, "answered");
        response
    }
    .instrument(span)
    .await
}
