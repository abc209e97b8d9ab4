//! What is about users and groups at once: `/Bulk` (RFC 7644 §3.7).

mod operations;
mod perform;

use axum::Router;
use axum::routing::post;
use gateway::Gateway;

/// The routes of this function.
pub fn router(gateway: Gateway) -> Router {
    gateway::routes(
        gateway,
        [("/scim/v2/{directory}/Bulk", post(perform::bulk))],
    )
}
