//! Authentication of SCIM requests by the bearer token of a directory, and the origin of URLs in responses.

use axum::extract::{FromRequestParts, RawPathParams};
use directory::{Caller, DirectoryId, Status};
use http::header::AUTHORIZATION;
use http::request::Parts;
use lambda_http::request::RequestContext;

use crate::background::Background;
use crate::rate_limit::Work;
use crate::{Error, Gateway, conditional};

/// Extracts the caller of a request with a valid token of the directory in its path.
pub struct Authenticated(pub Caller);

impl FromRequestParts<Gateway> for Authenticated {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Error> {
        let Working(caller, _) = Working::from_request_parts(parts, gateway).await?;
        Ok(Self(caller))
    }
}

/// Extracts the caller, and the [`Work`] of a request that can be more than one unit.
pub struct Working(pub Caller, pub Work);

impl FromRequestParts<Gateway> for Working {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Error> {
        let params = RawPathParams::from_request_parts(parts, gateway)
            .await
            .map_err(|_| Error::Unauthenticated { presented: true })?;
        let directory = params
            .iter()
            .find(|(name, _)| *name == "directory")
            .map(|(_, value)| value.to_owned());
        let token = bearer(parts).ok_or(Error::Unauthenticated { presented: false })?;
        // An id that is not a UUID gets the same response as an unknown directory (A1).
        let id: DirectoryId = directory
            .and_then(|id| id.parse().ok())
            .ok_or(Error::Unauthenticated { presented: true })?;
        tracing::Span::current().record("directory.id", tracing::field::display(id));
        let now = gateway.now();
        let (directory, token) = gateway.tokens.verify(id, token, now).await?;
        let background = parts.extensions.get::<Background>().cloned();
        let background = background.unwrap_or_default();
        let work = Work::new(gateway.rate_limiter.clone(), id, now, background.clone());
        if !gateway.counted {
            work.admit()?;
        }
        match directory.status {
            Status::Active => {}
            // A status that this version does not know does not accept changes either.
            Status::Inactive | Status::Other(_) => return Err(Error::Inactive),
            // A directory that is being deleted is not distinguished from an unknown one.
            Status::Deleting => return Err(Error::Unauthenticated { presented: true }),
        }
        if let Some(task) = gateway.tokens.record_use(id, &token, now) {
            background.add(task);
        }
        if !directory.settings.has_entity_tags() {
            conditional::forget_conditions(&mut parts.headers);
        }
        let base_url = base_url(&gateway.origin(parts), id);
        #[expect(clippy::disallowed_methods, reason = "this is the authentication")]
        let caller = Caller::authenticated(directory, &base_url);
        Ok(Self(caller, work))
    }
}

/// Returns the SCIM base URL of a directory.
pub(crate) fn base_url(origin: &str, id: DirectoryId) -> String {
    format!("{origin}/scim/v2/{id}")
}

/// Returns the token of an `Authorization` header. The scheme `Bearer` is case-insensitive, the token is not (A2).
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts
        .headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .trim()
        .split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Gateway {
    /// Returns the scheme and authority that the client used, without a slash at the end.
    pub(crate) fn origin(&self, parts: &Parts) -> String {
        if let Some(base_url) = &self.base_url {
            return base_url.to_string();
        }
        // API Gateway sets these. A client could put anything into the header Host.
        let (domain, stage) = match parts.extensions.get::<RequestContext>() {
            Some(RequestContext::ApiGatewayV2(context)) => {
                (context.domain_name.clone(), context.stage.clone())
            }
            Some(RequestContext::ApiGatewayV1(context)) => {
                (context.domain_name.clone(), context.stage.clone())
            }
            _ => (None, None),
        };
        let scheme = parts
            .headers
            .get("x-forwarded-proto")
            .and_then(|scheme| scheme.to_str().ok())
            .unwrap_or("https");
        let stage = stage
            .filter(|stage| stage != "$default")
            .map(|stage| format!("/{stage}"))
            .unwrap_or_default();
        format!(
            "{scheme}://{}{stage}",
            domain.as_deref().unwrap_or("localhost")
        )
    }
}
