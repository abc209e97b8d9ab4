//! The secrets that sign deliveries to webhooks ("Standard Webhooks", symmetric signatures).
//!
//! One secret of AWS Secrets Manager, `{prefix}webhooks`, holds `{"key": "…"}`. The signing secret of each webhook is derived
//! from that key, the directory, the URL, and the time at which the webhook was set. Signing secrets are therefore not
//! stored, can be shown again, and change when a webhook is replaced.

use std::fmt;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use directory::{DirectoryId, Webhook};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::Sha256;

use crate::secret_cache::SecretCache;
use crate::{Error, Sleep, secret};

/// The name of the secret, after the prefix of all secrets.
pub const WEBHOOK_SECRET: &str = "webhooks";
/// Minimum length of the key, in characters.
const KEY_CHARS: usize = 32;

/// The signing secret of one webhook: `whsec_` and 32 bytes in Base64. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(String);

impl SigningSecret {
    fn derive(key: &[u8], directory: DirectoryId, webhook: &Webhook) -> Result<Self, Error> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
        // None of the parts can contain a line feed, so two webhooks never result in the same text.
        let (url, created) = (webhook.url.as_str(), webhook.created.as_millisecond());
        mac.update(format!("{directory}\n{created}\n{url}").as_bytes());
        let bytes = mac.finalize().into_bytes();
        Ok(Self(format!("whsec_{}", STANDARD.encode(bytes))))
    }

    /// Returns the secret, for code that signs or shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(hidden)")
    }
}

#[derive(Deserialize)]
struct Secret {
    key: String,
}

/// The key from which signing secrets are derived, cached for a minute.
pub struct WebhookKey {
    secrets: Client,
    name: String,
    cache: SecretCache<&'static str, String>,
}

impl WebhookKey {
    /// Returns the key of this account. `secret_prefix` is the prefix of the names of secrets.
    #[must_use]
    pub fn new(config: &SdkConfig, secret_prefix: &str, sleep: Sleep) -> Self {
        Self {
            secrets: Client::new(config),
            name: format!("{secret_prefix}{WEBHOOK_SECRET}"),
            cache: SecretCache::new(sleep),
        }
    }

    /// Returns the signing secret of a webhook.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Unavailable`] when Secrets Manager fails, and [`Error::Store`] when the secret is missing or invalid.
    pub async fn secret(
        &self,
        directory: DirectoryId,
        webhook: &Webhook,
        now: Timestamp,
    ) -> Result<SigningSecret, Error> {
        let accept = |key: &String| Some(SigningSecret::derive(key.as_bytes(), directory, webhook));
        let read = || async { self.read().await.map(Some) };
        self.cache
            .get_or_refresh(WEBHOOK_SECRET, now, accept, read)
            .await?
    }

    async fn read(&self) -> Result<String, Error> {
        let request = self.secrets.get_secret_value().secret_id(&self.name);
        let version = secret::read(request).await?;
        let version =
            version.ok_or_else(|| Error::internal("the secret for webhooks does not exist"))?;
        // The error of serde_json would quote the secret.
        match serde_json::from_str(version.secret_string().unwrap_or_default()) {
            Ok(Secret { key }) if key.chars().count() >= KEY_CHARS => Ok(key),
            _ => Err(Error::internal(
                "the secret for webhooks must hold a key of 32 characters or more",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use directory::{EgressPolicy, WebhookUrl};

    use super::*;

    #[test]
    fn each_webhook_has_a_secret_of_its_own() {
        let directory = |n: u8| -> DirectoryId {
            let id = format!("{n:08x}-0000-4000-8000-000000000000");
            id.parse().unwrap()
        };
        let webhook = |url: &str, second| {
            let url = WebhookUrl::parse(url, EgressPolicy::PublicInternet).unwrap();
            Webhook::new(url, Timestamp::from_second(second).unwrap())
        };
        let (key, other) = (&[b'k'; 32], &[b'o'; 32]);
        let one = webhook("https://example.com/a", 1);
        let secret = |key: &[u8], id, webhook| SigningSecret::derive(key, directory(id), webhook);
        let first = secret(key, 1, &one).unwrap();
        assert_eq!(first, secret(key, 1, &one).unwrap());
        for different in [
            secret(other, 1, &one),
            secret(key, 2, &one),
            secret(key, 1, &webhook("https://example.com/b", 1)),
            secret(key, 1, &webhook("https://example.com/a", 2)),
        ] {
            assert_ne!(first, different.unwrap());
        }
        let text = first.expose().strip_prefix("whsec_").unwrap();
        assert_eq!(STANDARD.decode(text).unwrap().len(), 32);
        assert!(!format!("{first:?}").contains(text));
    }
}
