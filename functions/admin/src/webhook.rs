//! The webhook of a directory: the address that its events are sent to, besides the bus.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use directory::{EgressPolicy, WebhookUrl};
use gateway::{Gateway, Problem, SigningSecret, Writer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{Errors, present};
use crate::openapi::Problems;
use crate::page::DirectoryPath;
use crate::{Json, NO_STORE, shown};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(show_webhook))
}

/// The address that the events of a directory are sent to, besides the bus.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The address. Keys that may only read are shown its scheme, host and port.
    #[schema(format = "uri", example = "https://example.com/rollcall")]
    url: String,
    /// When it was set.
    #[schema(format = DateTime)]
    created: String,
    /// The secret that signs deliveries (Standard Webhooks), when the directory is created and at its `webhook`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
}

impl Webhook {
    /// The webhook for keys that may change it, with the secret.
    pub fn with_secret(webhook: &directory::Webhook, secret: &SigningSecret) -> Self {
        Self {
            secret: Some(secret.expose().to_owned()),
            ..Self::without_secret(webhook, true)
        }
    }

    /// The webhook without the secret. A part of the address may be a secret, so that keys that may only read are shown
    /// its origin.
    pub fn without_secret(webhook: &directory::Webhook, may_write: bool) -> Self {
        let url = if may_write {
            webhook.url.as_str().to_owned()
        } else {
            webhook.url.origin()
        };
        Self {
            url,
            created: shown(webhook.created),
            secret: None,
        }
    }
}

/// The address that the events of a directory are to be sent to, besides the bus.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with url, or null")]
pub struct NewWebhook {
    /// An https address on the internet, without a user name, a password or a fragment.
    #[serde(default, deserialize_with = "present")]
    #[schema(
        required = true,
        nullable = false,
        format = "uri",
        max_length = 2048,
        example = "https://example.com/rollcall"
    )]
    url: Option<String>,
}

impl NewWebhook {
    /// Reads the address, if the stack sends webhooks.
    pub fn read(self, egress: Option<EgressPolicy>, errors: &mut Errors) -> Option<WebhookUrl> {
        let Some(egress) = egress else {
            errors.push(
                "/webhook",
                "is not available: deploy the stack with Webhooks=enabled",
            );
            return None;
        };
        let text = errors.required("/webhook/url", self.url)?;
        match WebhookUrl::parse(&text, egress) {
            Ok(url) => Some(url),
            Err(detail) => {
                errors.push("/webhook/url", detail);
                None
            }
        }
    }
}

/// Show the webhook with its secret
///
/// `secret` signs deliveries (Standard Webhooks). Only keys that may change things are shown it. To get another secret,
/// remove the webhook (`"webhook": null`) and set it again.
#[utoipa::path(get, path = "/v1/directories/{directory}/webhook", tag = "directories", params(DirectoryPath),
    responses((status = 200, description = "The webhook", body = Webhook), Problems))]
async fn show_webhook(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let directory = admin.directory(&gateway, &id).await?;
    let secret = gateway.webhook_secret(&directory).await?;
    match (&directory.webhook, secret) {
        (Some(webhook), Some(secret)) => {
            Ok((NO_STORE, Json(Webhook::with_secret(webhook, &secret))))
        }
        _ => Err(Problem::not_found("webhook")),
    }
}
