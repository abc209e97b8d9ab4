//! What is about users and groups at once: `/Bulk` (RFC 7644 §3.7), and searches over both (§3.4.2.1, §3.4.3).

mod operations;
mod perform;
mod search;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use gateway::Gateway;

/// How long a bulk request may take, from its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// When no operation is begun any more.
    pub begin: Duration,
    /// When those under way are not waited for any more: what became of the others must be answered.
    pub answer: Duration,
}

impl Default for Deadlines {
    /// Lambda ends the function at 29 seconds, and API Gateway waits for 30.
    fn default() -> Self {
        Self {
            begin: Duration::from_secs(24),
            answer: Duration::from_secs(28),
        }
    }
}

/// The routes of this function.
pub fn router(gateway: Gateway) -> Router {
    router_with(gateway, Deadlines::default())
}

/// The same, with another deadlines.
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
