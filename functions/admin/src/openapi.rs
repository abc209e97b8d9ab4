//! The OpenAPI document (OpenAPI 3.1), made from the handlers and the types.

use std::collections::BTreeMap;

use gateway::{Gateway, Problem, Reader};
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi as _, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Json;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(describe_api))
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Rollcall",
        description = "Directories, their tokens, their users and groups, and their events, for the team's own backend.",
        version = "1"
    ),
    servers((url = "/", description = "The stack that serves this document")),
    tags(
        (name = "directories", description = "Connections of customers"),
        (name = "tokens", description = "SCIM bearer tokens of a directory"),
        (name = "users and groups", description = "Provisioned users and groups"),
        (name = "events", description = "The event log, and events that cannot be published"),
        (name = "description", description = "This document"),
    ),
    security(("key" = [])),
    components(schemas(ProblemDetails)),
    modifiers(&AdminKey)
)]
struct Base;

struct AdminKey;

impl Modify for AdminKey {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An admin key, rollcall_admin_…. In a stack with AdminAuth=iam, requests have a SigV4 signature instead.",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// Problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Problem)]
struct ProblemDetails {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: String,
    /// The reason phrase of the status.
    #[schema(example = "Unprocessable Entity")]
    title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    status: u16,
    /// What is wrong and what to do.
    #[schema(example = "The request body is invalid. Nothing was changed.")]
    detail: String,
    /// Each invalid value of the request.
    #[schema(nullable = false)]
    errors: Option<Vec<InvalidValue>>,
}

/// An invalid value of a request.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvalidValue {
    /// Where the value is in the body (RFC 6901).
    #[schema(nullable = false, example = "/name")]
    pointer: Option<String>,
    /// The query parameter.
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// What is wrong with the value.
    #[schema(example = "is missing")]
    detail: String,
}

/// Problems that every operation may return.
pub struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let problem = || {
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build()
        };
        [
            ("400", "A parameter or the syntax of the body is invalid"),
            ("401", "The admin key is missing or unknown"),
            ("403", "The admin key does not allow this"),
            ("404", "The resource does not exist, or the admin key is for others"),
            ("429", "Too many requests; Retry-After says when to try again"),
            ("default", "409: the state of the directory conflicts. 412: If-Match names another version. 413, 415 and 422: the body is invalid. 503: try again after Retry-After"),
        ]
        .into_iter()
        .map(|(status, description)| {
            let response = ResponseBuilder::new()
                .description(description)
                .content("application/problem+json", problem())
                .build();
            (status.to_owned(), response.into())
        })
        .collect()
    }
}

/// Returns the OpenAPI document of this API.
#[must_use]
pub fn document() -> Value {
    let mut document = Base::openapi();
    document.merge(crate::routes().into_openapi());
    serde_json::to_value(document).unwrap_or_default()
}

/// Describe this API
#[utoipa::path(get, path = "/v1/openapi.json", tag = "description",
    responses((status = 200, description = "The OpenAPI document", body = Object), Problems))]
async fn describe_api(_: Reader) -> Result<Json<Value>, Problem> {
    Ok(Json(document()))
}
