//! How an event is sent to an endpoint.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use directory::EgressPolicy;
use futures_util::future::BoxFuture;
use reqwest::redirect::Policy;

use crate::egress::{Blocked, Resolver};

/// How many bytes of an answer are read.
const MOST_READ: usize = 64 * 1024;

/// Sends a request to an endpoint, and gives the status of the answer.
pub type Post =
    Arc<dyn Fn(reqwest::Request) -> BoxFuture<'static, Result<u16, NoAnswer>> + Send + Sync>;

/// Why an endpoint gave no answer: for a log, so of its address the host at most.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It took longer than it may.
    TimedOut,
    /// There was no connection, or it broke.
    Unreachable(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the endpoint did not answer in time"),
            Self::Unreachable(reason) => write!(f, "the endpoint was not reached: {reason}"),
        }
    }
}

/// Sends over the network, where `egress` permits it, and waits for an answer for `timeout`.
///
/// # Errors
///
/// When TLS cannot be set up.
pub fn over_the_network(egress: EgressPolicy, timeout: Duration) -> Result<Post, String> {
    let client = reqwest::Client::builder()
        .user_agent("Rollcall")
        // Where a redirect leads is not what was set, and a proxy would do its own name resolution.
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
    // The resolver checks what a name leads to. An address is never resolved, so it is checked here.
    if !egress.admits(request.url()) {
        return Err(NoAnswer::Unreachable(Blocked.to_string()));
    }
    let answer = client.execute(request).await;
    let mut answer = answer.map_err(|error| match error.is_timeout() {
        true => NoAnswer::TimedOut,
        false => NoAnswer::Unreachable(innermost(&error)),
    })?;
    // The body is not used. A connection whose answer was read to the end can be used again.
    let mut left = MOST_READ;
    while let Ok(Some(part)) = answer.chunk().await {
        left = left.saturating_sub(part.len());
        if left == 0 {
            break;
        }
    }
    Ok(answer.status().as_u16())
}

/// What an error of the client comes from. The outer ones hold the address.
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
