//! Who calls a SCIM function: the holder of a directory's bearer token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use directory::{Caller, DirectoryId, Status};
use futures_util::future::join_all;
use http::header::AUTHORIZATION;
use http::request::Parts;
use lambda_http::request::RequestContext;
use tokio::task::JoinHandle;

use crate::rate_limit::Work;
use crate::{Error, Gateway, conditional};

/// How long an answer waits for what is written beside it.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is done beside a request, and may take a moment longer than it.
#[derive(Clone, Default)]
pub(crate) struct Beside(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Beside {
    pub(crate) fn put(&self, task: JoinHandle<()>) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(task);
    }

    /// Waits a moment for what is not done yet: Lambda freezes a process that has answered.
    pub(crate) async fn finish(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !tasks.is_empty() {
            let _ = tokio::time::timeout(PATIENCE, join_all(tasks)).await;
        }
    }
}

/// The caller of a request that showed the right token. The only way to a [`Caller`].
pub struct Authenticated(pub Caller);

impl FromRequestParts<Gateway> for Authenticated {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Error> {
        let Working(caller, _) = Working::from_request_parts(parts, gateway).await?;
        Ok(Self(caller))
    }
}

/// The same, for a request that may be more than one unit of work.
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
        // A directory of another form is as unknown as any other (A1): the same answer.
        let id: DirectoryId = directory
            .and_then(|id| id.parse().ok())
            .ok_or(Error::Unauthenticated { presented: true })?;
        tracing::Span::current().record("directory.id", tracing::field::display(id));
        let now = gateway.now();
        let (directory, token) = gateway.tokens.verify(id, token, now).await?;
        let beside = parts.extensions.get::<Beside>().cloned();
        let beside = beside.unwrap_or_default();
        let work = Work::new(gateway.limits.clone(), id, now, beside.clone());
        if !gateway.counted {
            work.admit()?;
        }
        match directory.status {
            Status::Active => {}
            // In a status that this version does not know it takes no changes either.
            Status::Inactive | Status::Other(_) => return Err(Error::Inactive),
            // As unknown as one that is gone.
            Status::Deleting => return Err(Error::Unauthenticated { presented: true }),
        }
        if let Some(mark) = gateway.tokens.mark(id, &token, now) {
            beside.put(mark);
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

/// The SCIM base URL of a directory.
pub(crate) fn base_url(origin: &str, id: DirectoryId) -> String {
    format!("{origin}/scim/v2/{id}")
}

/// The token of an `Authorization` header. The word `Bearer` has no case, the token has (A2).
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
    /// The scheme and authority that the client used, without a slash at the end.
    pub(crate) fn origin(&self, parts: &Parts) -> String {
        if let Some(base_url) = &self.base_url {
            return base_url.to_string();
        }
        // API Gateway sets these itself; the Host header would be the client's word.
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
