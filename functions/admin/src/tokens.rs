//! The SCIM bearer tokens of a directory: rotate, look at, revoke.

use axum::extract::{Path, State};
use axum::response::Response;
use directory::Invalid;
use gateway::{Gateway, Problem, Reader, Writer, no_content};
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::body::{Body, idempotency_key};
use crate::openapi::Failures;
use crate::{json, schema, secret};

/// For how long the token before is good, in seconds, if nobody says.
const GRACE: i64 = 24 * 60 * 60;
/// For how long at most.
const LONGEST: i64 = 365 * 24 * 60 * 60;

/// Rotates the token
///
/// The new token is good at once, and so is the one before for `grace_seconds` more, so nothing fails meanwhile. The token before
/// that one ends now: two are good at a time. Of rotations at the same time one is answered 201 and the others 409, which have changed
/// nothing. With an `Idempotency-Key` the same request again answers the same token, and finishes a rotation that was interrupted.
#[utoipa::path(post, path = "/v1/directories/{directory}/tokens", tag = "tokens", request_body = Option<schema::Rotation>,
    params(("directory" = String, Path, description = "The directory's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the same request again answer the same")),
    responses((status = 201, body = schema::Rotated), Failures))]
pub async fn rotate(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let directory = admin.standing(&gateway, &id).await?.id;
    let mut fields = body.fields;
    let grace: i64 = fields
        .one("grace_seconds", "a whole number")
        .unwrap_or(GRACE);
    fields.finish()?;
    if !(0..=LONGEST).contains(&grace) {
        return Err(Problem::invalid(vec![Invalid::new(
            "/grace_seconds",
            format!("must be from 0 to {LONGEST}"),
        )]));
    }
    let request = idempotency_key(&headers)?.map(|key| request_id(admin.name(), key, &body.bytes));
    let grace = SignedDuration::from_secs(grace);
    let rotated = gateway.rotate_token(directory, grace, request).await?;
    let Some(rotated) = rotated else {
        return Err(Problem::new(
            409,
            "The token that this request made was rotated or revoked since, or another rotation was faster. Rotate it under another Idempotency-Key.",
        ));
    };
    let body = json!({
        "token": rotated.token.expose(),
        "previous_expires": rotated.previous_expires.map(shown),
    });
    Ok(secret(json(StatusCode::CREATED, &body)))
}

/// The id of the version of the secret that a request makes.
fn request_id(caller: &str, key: &str, body: &[u8]) -> String {
    let mut digest = Sha256::new();
    for part in [caller.as_bytes(), key.as_bytes(), body] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

/// Tells about the tokens
///
/// Never what they are.
#[utoipa::path(get, path = "/v1/directories/{directory}/tokens", tag = "tokens",
    params(("directory" = String, Path, description = "The directory's id")),
    responses((status = 200, body = schema::Tokens), Failures))]
pub async fn states(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let directory = admin.standing(&gateway, &id).await?.id;
    let states = gateway.token_states(directory).await?;
    let data = states.into_iter().map(|token| {
        json!({
            "state": match token.current { true => "current", false => "previous" },
            "created": shown(token.created),
            "last_used": token.last_used.map(shown),
            "expires": token.expires.map(shown),
        })
    });
    let data: Vec<Value> = data.collect();
    Ok(json(StatusCode::OK, &json!({"data": data})))
}

/// Ends the token before the current one
///
/// Now, that is, within a minute in every process. 409 if a rotation was faster, so that the token before is another one now.
#[utoipa::path(delete, path = "/v1/directories/{directory}/tokens/previous", tag = "tokens",
    params(("directory" = String, Path, description = "The directory's id")),
    responses((status = 204, description = "It is over"), Failures))]
pub async fn revoke_previous(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let directory = admin.standing(&gateway, &id).await?.id;
    gateway.revoke_previous_token(directory).await?;
    Ok(no_content())
}

/// Ends all tokens
///
/// Now, that is, within a minute in every process. The identity provider is answered 401 until the token is rotated.
#[utoipa::path(delete, path = "/v1/directories/{directory}/tokens", tag = "tokens",
    params(("directory" = String, Path, description = "The directory's id")),
    responses((status = 204, description = "They are over"), Failures))]
pub async fn revoke_all(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let directory = admin.standing(&gateway, &id).await?.id;
    gateway.revoke_tokens(directory).await?;
    Ok(no_content())
}

fn shown(time: Timestamp) -> String {
    format!("{time:.3}")
}
