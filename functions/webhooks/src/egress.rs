//! Keeps deliveries from addresses that the egress policy forbids.

use std::net::SocketAddr;

use directory::EgressPolicy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The egress policy forbids the host.
#[derive(Debug)]
pub(crate) struct Blocked;

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the host is not on the public internet")
    }
}

impl std::error::Error for Blocked {}

/// Resolves names to the addresses that the egress policy permits. The connection uses these addresses, so the name is
/// not resolved again after the check.
pub(crate) struct Resolver(pub(crate) EgressPolicy);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found
                .filter(|address| egress.includes(address.ip()))
                .collect();
            if permitted.is_empty() {
                Err(Blocked.into())
            } else {
                Ok(Box::new(permitted.into_iter()) as Addrs)
            }
        })
    }
}
