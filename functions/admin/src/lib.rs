//! `/v1`: the admin API, for the team's own backend: directories, their tokens, their users and groups, and their events.
//!
//! Bodies are JSON, failures are problem details (RFC 9457), and lists have pages with opaque cursors. Each file has the
//! types, the handlers and the description of one resource: [`document`] is made from them.

mod body;
mod collection;
mod directories;
mod events;
mod groups;
mod openapi;
mod page;
mod setup;
mod tokens;
mod users;
mod webhook;

use axum::Router;
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use gateway::{Gateway, Problem, size};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;

pub use openapi::document;

/// The routes of this function, with their descriptions.
fn routes() -> OpenApiRouter<Gateway> {
    directories::routes()
        .merge(webhook::routes())
        .merge(tokens::routes())
        .merge(users::routes())
        .merge(groups::routes())
        .merge(events::routes())
        .merge(openapi::routes())
}

/// The router of this function.
pub fn router(gateway: Gateway) -> Router {
    let (router, _) = routes().split_for_parts();
    gateway::admin_routes(gateway, router)
}

/// A JSON body, or a problem if it is larger than a response may be.
struct Json<T>(T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let Some(text) = size::written(&self.0) else {
            return too_large().into_response();
        };
        let media_type = HeaderValue::from_static("application/json");
        ([(CONTENT_TYPE, media_type)], text).into_response()
    }
}

/// 400: the response would be larger than the limit of AWS Lambda.
fn too_large() -> Problem {
    Problem::new(
        400,
        "The response would be larger than 6 MB. Ask for one resource at a time.",
    )
}

/// Keeps a response with a token or a secret out of every cache (RFC 9111 §5.2.2.5, RFC 6750 §5.3).
const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// A header with a value that is known at runtime. One that HTTP does not allow is left out.
struct Header(HeaderName, String);

impl IntoResponseParts for Header {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        if let Ok(value) = HeaderValue::from_str(&self.1) {
            parts.headers_mut().insert(self.0, value);
        }
        Ok(parts)
    }
}

/// A time as the admin API shows it: RFC 3339 in UTC, with milliseconds.
fn shown(time: Timestamp) -> String {
    format!("{time:.3}")
}
