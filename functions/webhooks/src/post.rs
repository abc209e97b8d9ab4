//! Sends requests to endpoints.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use directory::EgressPolicy;
use futures_util::future::BoxFuture;
use reqwest::redirect::Policy;

use crate::egress::{Blocked, Resolver};

/// Maximum number of bytes that are read of a response.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Sends a request to an endpoint and returns the status of the response.
pub type Post =
    Arc<dyn Fn(reqwest::Request) -> BoxFuture<'static, Result<u16, NoAnswer>> + Send + Sync>;

/// Why an endpoint did not respond. The text is logged, so of the URL it contains at most the host.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There was no response within the timeout.
    TimedOut,
    /// There was no connection, or it failed.
    Unreachable(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the endpoint did not respond in time"),
            Self::Unreachable(reason) => write!(f, "the endpoint is unreachable: {reason}"),
        }
    }
}

/// Returns a [`Post`] that sends over the network to addresses that `egress` permits, and waits up to `timeout` for the
/// response.
///
/// # Errors
///
/// The reason if TLS cannot be set up.
pub fn over_the_network(egress: EgressPolicy, timeout: Duration) -> Result<Post, String> {
    let client = reqwest::Client::builder()
        .user_agent("Rollcall")
        // A redirect leads to an address that is not checked, and a proxy resolves names itself.
        .redirect(Policy::none())
        .no_proxy()
        // A build of the whole workspace enables these for the command line.
        .no_gzip()
        .no_deflate()
        .https_only(egress == EgressPolicy::PublicInternet)
        .dns_resolver(Arc::new(Resolver(egress)))
        .timeout(timeout)
        .build()
        .map_err(|error| innermost(&error))?;
    Ok(Arc::new(move |request| {
        Box::pin(send(client.clone(), egress, request))
    }))
}

async fn send(
    client: reqwest::Client,
    egress: EgressPolicy,
    request: reqwest::Request,
) -> Result<u16, NoAnswer> {
    // The resolver checks the addresses of a name. An address in the URL is not resolved, so it is checked here.
    if !egress.admits(request.url()) {
        return Err(NoAnswer::Unreachable(Blocked.to_string()));
    }
    let answer = client.execute(request).await;
    let mut answer = answer.map_err(|error| {
        if error.is_timeout() {
            NoAnswer::TimedOut
        } else {
            NoAnswer::Unreachable(innermost(&error))
        }
    })?;
    // The body is not used, but a connection can be reused only if the response was read to its end.
    let mut left = MAX_RESPONSE_BYTES;
    while let Ok(Some(part)) = answer.chunk().await {
        left = left.saturating_sub(part.len());
        if left == 0 {
            break;
        }
    }
    Ok(answer.status().as_u16())
}

/// Returns the innermost source of an error. The outer ones contain the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match error.source() {
        Some(_) => innermost.to_string(),
        None => "the request could not be made".to_owned(),
    }
}
