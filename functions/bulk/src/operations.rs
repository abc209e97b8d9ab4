//! Sends an operation of a bulk request as a request of its own.
//!
//! The request goes to the router of the users or the groups function, so authentication,
//! validation, events and errors are the same as for a single request.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use directory::{Caller, Ids, ResourceId, Store};
use gateway::Gateway;
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use jiff::Timestamp;
use lambda_http::request::RequestContext;
use scim::bulk::{BulkOperation, BulkOutcome, Id, Target};
use scim::{Error, Object};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

const SCIM_JSON: HeaderValue = HeaderValue::from_static("application/scim+json");

/// Prefixes of headers that describe the bulk request itself and do not apply to its operations.
const OF_THE_WHOLE: [&str; 4] = ["content-", "if-", "accept-encoding", "transfer-encoding"];

/// Sends operations to the functions of their endpoints on behalf of the client.
pub(crate) struct Sender {
    gateway: Gateway,
    caller: Caller,
    headers: HeaderMap,
    context: Option<RequestContext>,
    deadline: Instant,
}

/// A prepared request of an operation.
pub(crate) struct Call {
    router: Router,
    request: Request<Body>,
    /// The URL of the resource, if it is known before the response.
    location: Option<String>,
}

impl Sender {
    pub(crate) fn new(gateway: Gateway, caller: Caller, parts: Parts, deadline: Instant) -> Self {
        let mut headers = parts.headers;
        let names: Vec<HeaderName> = headers.keys().cloned().collect();
        for name in names {
            if OF_THE_WHOLE.iter().any(|of| name.as_str().starts_with(of)) {
                headers.remove(name);
            }
        }
        Self {
            gateway,
            caller,
            headers,
            context: parts.extensions.get().cloned(),
            deadline,
        }
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(crate) fn store(&self) -> &Store {
        self.gateway.store()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.gateway.now()
    }

    /// Prepares the request of an operation on the resource with this id, or of a creation with
    /// this id.
    ///
    /// # Errors
    ///
    /// The error if no function serves the operation.
    pub(crate) fn call(
        &self,
        operation: &BulkOperation,
        id: &str,
        data: Option<Value>,
        ids: fn(ResourceId) -> Ids,
    ) -> Result<Call, Error> {
        let target = operation.target()?;
        let endpoint = target.endpoint();
        let function = served_by(endpoint)?;
        let (gateway, below, location) = match target {
            Target::New { .. } => {
                let id: ResourceId = id.parse().map_err(|_| no_address())?;
                let gateway = self.gateway.with_ids(ids(id));
                (gateway, endpoint.to_owned(), None)
            }
            Target::Resource { .. } => {
                let location = self.location(endpoint, id);
                let below = format!("{endpoint}/{id}");
                (self.gateway.clone(), below, Some(location))
            }
        };
        let query = operation.query().map(|query| format!("?{query}"));
        let path = below + &query.unwrap_or_default();
        let mut request = self.request(&operation.method, &path, data)?;
        // A directory without entity tags ignores `version`, as it ignores `If-Match`.
        let has_tags = self.caller.directory().settings.has_entity_tags();
        if let Some(version) = operation.version.as_ref().filter(|_| has_tags) {
            let version = HeaderValue::from_str(version)
                .map_err(|_| Error::invalid_value("version", "is not an entity tag"))?;
            request.headers_mut().insert(IF_MATCH, version);
        }
        Ok(Call {
            router: function(gateway),
            request,
            location,
        })
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        data: Option<Value>,
    ) -> Result<Request<Body>, Error> {
        let directory = self.caller.directory().id;
        let body = data.map(|data| data.to_string()).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/scim/v2/{directory}/{path}"))
            .body(Body::from(body))
            .map_err(|_| no_address())?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(CONTENT_TYPE, SCIM_JSON);
        if let Some(context) = &self.context {
            request.extensions_mut().insert(context.clone());
        }
        Ok(request)
    }

    fn location(&self, endpoint: &str, id: &str) -> String {
        format!("{}/{endpoint}/{id}", self.caller.base_url())
    }

    /// Performs an operation and returns its result.
    pub(crate) async fn send(&self, operation: &BulkOperation, call: Call) -> BulkOutcome {
        let answer = call.router.oneshot(call.request);
        match timeout_at(self.deadline, answer).await {
            Ok(Ok(response)) => outcome(operation, call.location, response).await,
            Ok(Err(never)) => match never {},
            Err(_) => {
                let what = "The request timed out, so it is not known whether this operation was performed. \
                            Read the resource before you send the operation again.";
                failed(operation, call.location, &Error::new(503, None, what))
            }
        }
    }

    /// Returns the longest result that an operation can have after it is [shortened](shorten).
    pub(crate) fn at_most(&self, operation: &BulkOperation) -> BulkOutcome {
        let (endpoint, id) = match operation.target() {
            Ok(Target::Resource {
                endpoint,
                id: Id::Known(id),
            }) => (endpoint, id),
            Ok(target) => (target.endpoint(), "00000000-0000-0000-0000-000000000000"),
            Err(_) => ("", ""),
        };
        let error = Error::invalid_value("", "");
        let mut outcome = BulkOutcome {
            version: Some(format!("W/\"{}\"", u64::MAX)),
            ..failed(operation, Some(self.location(endpoint, id)), &error)
        };
        shorten(&mut outcome);
        outcome
    }

    /// Returns the result of an operation that was not sent.
    pub(crate) fn refused(&self, operation: &BulkOperation, error: &Error) -> BulkOutcome {
        let location = match operation.target() {
            Ok(Target::Resource {
                endpoint,
                id: Id::Known(id),
            }) => Some(self.location(endpoint, id)),
            _ => None,
        };
        failed(operation, location, error)
    }
}

/// Shortens the error of a result, for a response that would be too large.
pub(crate) fn shorten(outcome: &mut BulkOutcome) {
    const LEFT_OUT: &str = "The response was too large to include the reason. Send this operation in a request of its own.";
    if let Some(error) = &mut outcome.response {
        error.insert("detail".to_owned(), LEFT_OUT.into());
    }
}

fn no_address() -> Error {
    Error::invalid_value("path", "is not the path of a resource")
}

/// Returns the router of the function that serves an endpoint.
fn served_by(endpoint: &str) -> Result<fn(Gateway) -> Router, Error> {
    match endpoint {
        "Users" => Ok(users::router),
        "Groups" => Ok(groups::router),
        "Me" => Err(Error::new(501, None, "/Me is not supported.")),
        "Bulk" => Err(Error::invalid_value(
            "path",
            "a bulk request cannot contain a bulk request",
        )),
        ".search" | "ServiceProviderConfig" | "ResourceTypes" | "Schemas" => Err(Error::new(
            405,
            None,
            "This endpoint is read-only; bulk operations can change /Users and /Groups.",
        )),
        _ => Err(Error::new(
            404,
            None,
            "This endpoint does not exist; bulk operations can change /Users and /Groups.",
        )),
    }
}

/// RFC 7644 §3.7.3: returns the result of an operation, which has the URL and the version, and the
/// body of an error only.
async fn outcome(
    operation: &BulkOperation,
    location: Option<String>,
    response: Response,
) -> BulkOutcome {
    let (head, body) = response.into_parts();
    let header = |name: HeaderName| {
        let value = head.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let status = head.status.as_u16();
    if head.status.is_success() {
        return BulkOutcome {
            location: header(LOCATION).or(location),
            version: header(ETAG),
            status,
            ..blank(operation)
        };
    }
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let error: Option<Object> = serde_json::from_slice(&body).ok();
    let plain = || Error::new(status, None, "The operation failed.");
    BulkOutcome {
        location,
        status,
        response: Some(error.unwrap_or_else(|| plain().to_object())),
        ..blank(operation)
    }
}

fn failed(operation: &BulkOperation, location: Option<String>, error: &Error) -> BulkOutcome {
    BulkOutcome {
        location,
        status: error.status(),
        response: Some(error.to_object()),
        ..blank(operation)
    }
}

fn blank(operation: &BulkOperation) -> BulkOutcome {
    BulkOutcome {
        method: operation.method.clone(),
        bulk_id: operation.bulk_id.clone(),
        location: None,
        version: None,
        status: 0,
        response: None,
    }
}
