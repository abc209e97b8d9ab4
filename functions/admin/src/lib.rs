//! `/v1`: the admin API, for the team's own backend: directories, their tokens,
//! what is in them, and what happened in them.
//!
//! Everything is JSON, failures are problem details (RFC 9457), and lists come
//! in pages with opaque cursors. `openapi.rs` describes it from the code.

mod body;
mod cursor;
mod directories;
mod events;
mod openapi;
mod reading;
pub mod schema;
mod tokens;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use gateway::{Gateway, Problem, size};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

pub use openapi::document;

/// The routes of this function. `openapi.rs` names the same, and a test compares the two.
pub fn endpoints() -> [(&'static str, MethodRouter<Gateway>); 17] {
    [
        (
            "/v1/directories",
            post(directories::create).get(directories::list),
        ),
        (
            "/v1/directories/{directory}",
            get(directories::read)
                .patch(directories::modify)
                .delete(directories::delete),
        ),
        (
            "/v1/directories/{directory}/tokens",
            post(tokens::rotate)
                .get(tokens::states)
                .delete(tokens::revoke_all),
        ),
        (
            "/v1/directories/{directory}/tokens/previous",
            delete(tokens::revoke_previous),
        ),
        (
            "/v1/directories/{directory}/webhook",
            get(directories::webhook),
        ),
        ("/v1/directories/{directory}/users", get(reading::users)),
        ("/v1/directories/{directory}/users/{id}", get(reading::user)),
        (
            "/v1/directories/{directory}/users/{id}/groups",
            get(reading::groups_of_user),
        ),
        ("/v1/directories/{directory}/groups", get(reading::groups)),
        (
            "/v1/directories/{directory}/groups/{id}",
            get(reading::group),
        ),
        (
            "/v1/directories/{directory}/groups/{id}/members",
            get(reading::members),
        ),
        ("/v1/directories/{directory}/events", get(events::list)),
        (
            "/v1/directories/{directory}/events/parked",
            get(events::parked),
        ),
        (
            "/v1/directories/{directory}/events/redrive",
            post(events::redrive),
        ),
        ("/v1/users", get(reading::all_users)),
        ("/v1/groups", get(reading::all_groups)),
        ("/v1/openapi.json", get(openapi::serve)),
    ]
}

/// The router of this function.
pub fn router(gateway: Gateway) -> Router {
    gateway::admin_routes(gateway, endpoints())
}

/// An answer that holds a token or a secret, which no cache may keep (RFC 9111 §5.2.2.5, RFC 6750 §5.3).
fn secret(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer with a JSON body, or a problem if that is more than an answer holds.
fn json(status: StatusCode, body: &Value) -> Response {
    let Some(text) = size::written(body) else {
        return too_large().into_response();
    };
    let mut response = text.into_response();
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// 400: what was asked for is more than an answer holds.
fn too_large() -> Problem {
    Problem::new(
        400,
        "What was asked for is more than one answer holds (6 MB). Ask for one thing at a time.",
    )
}
