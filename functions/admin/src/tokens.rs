//! The SCIM bearer tokens of a directory: rotate, list, revoke.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use gateway::{Gateway, Problem, Reader, Writer, no_content};
use http::{HeaderMap, StatusCode};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{Body, idempotency_key, present};
use crate::openapi::Problems;
use crate::page::DirectoryPath;
use crate::{Json, NO_STORE, shown};

/// How long the previous token stays valid after a rotation if the request does not say, in seconds: one day.
const DEFAULT_GRACE: i64 = 24 * 60 * 60;
/// Maximum of the same, in seconds: one year.
const MAX_GRACE: i64 = 365 * 24 * 60 * 60;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(rotate_token, list_tokens, revoke_tokens))
        .routes(routes!(revoke_previous_token))
}

/// How a token is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How long the previous token stays valid, in seconds.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 31_536_000, default = 86_400, nullable = false)]
    grace_seconds: Option<Grace>,
}

#[derive(Deserialize)]
#[serde(try_from = "i64")]
struct Grace(SignedDuration);

impl TryFrom<i64> for Grace {
    type Error = String;

    fn try_from(seconds: i64) -> Result<Self, String> {
        if (0..=MAX_GRACE).contains(&seconds) {
            Ok(Self(SignedDuration::from_secs(seconds)))
        } else {
            Err(format!("must be from 0 to {MAX_GRACE}"))
        }
    }
}

/// A new token.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotated {
    /// The new SCIM bearer token. It is not shown again.
    token: String,
    /// When the previous token expires, if there was one.
    #[schema(format = DateTime)]
    previous_expires: Option<String>,
}

/// Metadata of a token.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Token {
    /// `current`, or `previous` while it is valid after a rotation.
    state: TokenState,
    /// When it was issued.
    #[schema(format = DateTime)]
    created: String,
    /// The hour in which it was last used, or `null`.
    #[schema(format = DateTime)]
    last_used: Option<String>,
    /// When it expires, or `null`.
    #[schema(format = DateTime)]
    expires: Option<String>,
}

/// Which of the two tokens.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TokenState {
    /// The token that was issued last.
    Current,
    /// The token before it.
    Previous,
}

/// The valid tokens of a directory.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Tokens {
    /// The current token first. It is empty when all tokens are revoked.
    #[schema(max_items = 2)]
    data: Vec<Token>,
}

/// Rotate the token
///
/// The new token is valid immediately, and the previous one stays valid for `grace_seconds`. The token before the
/// previous one expires now: at most two are valid. When rotations overlap, one returns 201 and the others return 409 and
/// change nothing. With an `Idempotency-Key`, a repeated request returns the same token, and completes a rotation that
/// was interrupted.
#[utoipa::path(post, path = "/v1/directories/{directory}/tokens", tag = "tokens", request_body = Option<Rotation>,
    params(DirectoryPath, ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request return the same token")),
    responses((status = 201, description = "The new token", body = Rotated), Problems))]
async fn rotate_token(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<Rotation>,
) -> Result<impl IntoResponse, Problem> {
    let directory = admin.standing(&gateway, &id).await?.id;
    body.errors.finish()?;
    let grace = body.value.grace_seconds;
    let grace = grace.map_or(SignedDuration::from_secs(DEFAULT_GRACE), |grace| grace.0);
    let request = idempotency_key(&headers)?.map(|key| request_id(admin.name(), key, &body.bytes));
    let rotated = gateway.rotate_token(directory, grace, request).await?;
    let Some(rotated) = rotated else {
        return Err(Problem::new(
            409,
            "The token of this request was rotated or revoked since, or a concurrent rotation was first. Send the rotation with another Idempotency-Key.",
        ));
    };
    let body = Json(Rotated {
        token: rotated.token.expose().to_owned(),
        previous_expires: rotated.previous_expires.map(shown),
    });
    Ok((StatusCode::CREATED, NO_STORE, body))
}

/// Returns the id of the secret version that a request creates.
fn request_id(caller: &str, key: &str, body: &[u8]) -> String {
    let mut digest = Sha256::new();
    for part in [caller.as_bytes(), key.as_bytes(), body] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

/// List the tokens
///
/// Returns when each was issued, last used and expires, without the tokens.
#[utoipa::path(get, path = "/v1/directories/{directory}/tokens", tag = "tokens", params(DirectoryPath),
    responses((status = 200, description = "The tokens that are valid", body = Tokens), Problems))]
async fn list_tokens(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
) -> Result<Json<Tokens>, Problem> {
    let directory = admin.standing(&gateway, &id).await?.id;
    let states = gateway.token_states(directory).await?;
    let data = states.into_iter().map(|token| Token {
        state: if token.current {
            TokenState::Current
        } else {
            TokenState::Previous
        },
        created: shown(token.created),
        last_used: token.last_used.map(shown),
        expires: token.expires.map(shown),
    });
    Ok(Json(Tokens {
        data: data.collect(),
    }))
}

/// Revoke the previous token
///
/// Every process refuses it within a minute. Returns 409 if a concurrent rotation was first, so that the previous token
/// is another one now.
#[utoipa::path(delete, path = "/v1/directories/{directory}/tokens/previous", tag = "tokens", params(DirectoryPath),
    responses((status = 204, description = "The previous token is revoked"), Problems))]
async fn revoke_previous_token(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let directory = admin.standing(&gateway, &id).await?.id;
    gateway.revoke_previous_token(directory).await?;
    Ok(no_content())
}

/// Revoke all tokens
///
/// Every process refuses them within a minute. The identity provider gets 401 until the token is rotated.
#[utoipa::path(delete, path = "/v1/directories/{directory}/tokens", tag = "tokens", params(DirectoryPath),
    responses((status = 204, description = "All tokens are revoked"), Problems))]
async fn revoke_tokens(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let directory = admin.standing(&gateway, &id).await?.id;
    gateway.revoke_tokens(directory).await?;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;

    #[test]
    fn the_description_has_the_limits_that_are_applied() {
        let described = serde_json::to_value(Rotation::schema()).unwrap();
        let grace = &described["properties"]["grace_seconds"];
        assert_eq!(grace["maximum"], MAX_GRACE);
        assert_eq!(grace["default"], DEFAULT_GRACE);
    }
}
