//! `/Bulk` (RFC 7644 §3.7) and searches over users and groups (§3.4.2.1, §3.4.3).

mod operations;
mod perform;
mod search;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use gateway::Gateway;

/// Deadlines of a bulk request, measured from its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// No operation is begun after this time.
    pub begin: Duration,
    /// The response is sent at this time, even if operations are in flight.
    pub answer: Duration,
}

impl Default for Deadlines {
    /// Lambda stops the function after 29 seconds, and API Gateway waits for 30 seconds.
    fn default() -> Self {
        Self {
            begin: Duration::from_secs(24),
            answer: Duration::from_secs(28),
        }
    }
}

/// Returns the routes of this function.
pub fn router(gateway: Gateway) -> Router {
    router_with(gateway, Deadlines::default())
}

/// Returns the routes of this function with these deadlines.
pub fn router_with(gateway: Gateway, deadlines: Deadlines) -> Router {
    let bulk = post(move |gateway, caller, head, body| {
        perform::bulk(gateway, caller, head, body, deadlines)
    });
    gateway::routes(
        gateway,
        [
            ("/scim/v2/{directory}/Bulk", bulk),
            ("/scim/v2/{directory}", get(search::search)),
            ("/scim/v2/{directory}/.search", post(search::search)),
        ],
    )
}
