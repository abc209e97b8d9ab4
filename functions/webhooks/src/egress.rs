//! What keeps deliveries from hosts that whoever sets a webhook must not reach.

use std::net::SocketAddr;

use directory::EgressPolicy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The host is none of those that may be sent to.
#[derive(Debug)]
pub(crate) struct Blocked;

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the host is not on the public internet")
    }
}

impl std::error::Error for Blocked {}

/// Resolves names to those of their addresses that may be sent to. The connection is made to what it answers, so no
/// name can lead elsewhere once it was looked at.
pub(crate) struct Resolver(pub(crate) EgressPolicy);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let reached: Vec<SocketAddr> = found
                .filter(|address| egress.includes(address.ip()))
                .collect();
            match reached.is_empty() {
                true => Err(Blocked.into()),
                false => Ok(Box::new(reached.into_iter()) as Addrs),
            }
        })
    }
}
