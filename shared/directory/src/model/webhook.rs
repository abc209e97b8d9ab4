//! The webhook of a directory: the address that its events are sent to, besides the bus.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use scim::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::{Host, Url};

/// Maximum length of the address of a webhook, in bytes.
pub const MAX_WEBHOOK_URL_BYTES: usize = 2_048;

/// The addresses that events may be sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EgressPolicy {
    /// Public addresses, by https. Otherwise a webhook could reach hosts in the private network of the functions.
    #[default]
    PublicInternet,
    /// All addresses, also by http. The local stack uses it.
    Unrestricted,
}

impl EgressPolicy {
    /// Returns whether events may be sent to that address.
    #[must_use]
    pub fn includes(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Unrestricted, _) => true,
            (Self::PublicInternet, IpAddr::V4(address)) => is_public(address),
            (Self::PublicInternet, IpAddr::V6(address)) => is_global(address),
        }
    }

    /// Returns whether events may be sent to the host of a URL. The address of a name is checked when it is resolved.
    #[must_use]
    pub fn admits(self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Domain(_)) => true,
            Some(Host::Ipv4(address)) => self.includes(address.into()),
            Some(Host::Ipv6(address)) => self.includes(address.into()),
            None => false,
        }
    }
}

/// Returns whether an IPv4 address is a public one ("IANA IPv4 Special-Purpose Address Registry", RFC 6890).
fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        // Carrier-grade NAT, protocol assignments, 6to4 relays, benchmarking.
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
        // Multicast and reserved addresses.
        || a >= 224;
    !special
}

/// Returns whether an IPv6 address is a global unicast address, but neither for documentation nor mapped to IPv4.
fn is_global(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocol assignments with Teredo, documentation (twice), 6to4.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [0x2002, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The address of a webhook. A part of it may be a secret, so it is never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// Reads an absolute https address without a user name, a password or a fragment.
    ///
    /// # Errors
    ///
    /// Why the address is invalid, as the end of a sentence that begins with its name.
    pub fn parse(text: &str, egress: EgressPolicy) -> Result<Self, &'static str> {
        if text.len() > MAX_WEBHOOK_URL_BYTES {
            return Err("is longer than 2,048 bytes");
        }
        let url = Url::parse(text).map_err(|_| "must be an absolute https address")?;
        let by = match egress {
            EgressPolicy::PublicInternet => matches!(url.scheme(), "https"),
            EgressPolicy::Unrestricted => matches!(url.scheme(), "https" | "http"),
        };
        if !by {
            return Err("must be an absolute https address");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not contain a user name or a password");
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment");
        }
        // These names always resolve to the own host (RFC 6761 §6.3).
        let own = url
            .domain()
            .is_some_and(|name| name == "localhost" || name.ends_with(".localhost"));
        match egress.admits(&url) && (egress == EgressPolicy::Unrestricted || !own) {
            true => Ok(Self(url.into())),
            false => Err("must be a public address"),
        }
    }

    /// Returns the address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns its scheme, host and port, which are not secret.
    #[must_use]
    pub fn origin(&self) -> String {
        let url = Url::parse(&self.0);
        url.map_or(String::new(), |url| url.origin().ascii_serialization())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl(hidden)")
    }
}

/// The webhook of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// The address.
    pub url: WebhookUrl,
    /// When it was set. The signing secret is derived from it, so that a webhook that is set again has another secret.
    pub created: Timestamp,
    /// Members that this version does not know, which another version of Rollcall wrote. They are kept unchanged.
    #[serde(flatten)]
    pub unknown: Object,
}

impl Webhook {
    /// Returns a webhook with that address, set at `created`.
    #[must_use]
    pub fn new(url: WebhookUrl, created: Timestamp) -> Self {
        Self {
            url,
            created,
            unknown: Object::new(),
        }
    }

    /// Returns the webhook as events show it. A part of the address may be a secret, so they have its origin.
    #[must_use]
    pub fn shown(&self) -> Value {
        json!({"url": self.url.origin(), "created": format!("{:.3}", self.created)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_special_addresses_are_refused() {
        for public in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2600:1f18::1",
            "2001:4860:4860::8888",
        ] {
            assert!(
                EgressPolicy::PublicInternet.includes(public.parse().unwrap()),
                "{public}"
            );
        }
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:1.1.1.1",
            "64:ff9b::a00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            let address = special.parse().unwrap();
            assert!(!EgressPolicy::PublicInternet.includes(address), "{special}");
            assert!(EgressPolicy::Unrestricted.includes(address), "{special}");
        }
    }

    #[test]
    fn an_address_is_absolute_https_and_public() {
        let read = |text: &str| WebhookUrl::parse(text, EgressPolicy::PublicInternet);
        for (text, kept) in [
            ("https://example.com", "https://example.com/"),
            (
                "https://example.com:8443/a?b=c",
                "https://example.com:8443/a?b=c",
            ),
            ("HTTPS://EXAMPLE.com/A", "https://example.com/A"),
            ("https://1.1.1.1/", "https://1.1.1.1/"),
        ] {
            assert_eq!(read(text).unwrap().as_str(), kept);
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_WEBHOOK_URL_BYTES));
        for wrong in [
            "",
            "example.com",
            "//example.com",
            "http://example.com",
            "ftp://example.com",
            "https://",
            "https://user@example.com",
            "https://user:password@example.com",
            "https://example.com/#a",
            "https://localhost/",
            "https://a.localhost/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://169.254.169.254/latest/meta-data/",
            &long,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for own in [
            "http://127.0.0.1:9000/",
            "http://localhost/a",
            "https://example.com/",
        ] {
            assert!(
                WebhookUrl::parse(own, EgressPolicy::Unrestricted).is_ok(),
                "{own}"
            );
        }
        assert!(WebhookUrl::parse("file:///etc/passwd", EgressPolicy::Unrestricted).is_err());
    }

    #[test]
    fn events_show_the_origin_of_the_address() {
        let url = WebhookUrl::parse(
            "https://example.com:8443/a?key=b",
            EgressPolicy::PublicInternet,
        )
        .unwrap();
        let webhook = Webhook::new(url, "2026-01-01T00:00:00.120Z".parse().unwrap());
        assert_eq!(
            webhook.shown(),
            json!({"url": "https://example.com:8443", "created": "2026-01-01T00:00:00.120Z"})
        );
        assert!(!format!("{webhook:?}").contains("example"));
    }
}
