//! The description of this API (OpenAPI 3.1), made from the handlers and types.

use std::collections::BTreeMap;

use axum::response::Response;
use gateway::{Problem, Reader};
use http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi};

use crate::{directories, events, json, reading, schema, tokens};

/// What every operation answers when it does not do what it is asked for.
pub struct Failures;

impl IntoResponses for Failures {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let problem = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let response = ResponseBuilder::new()
            .description("A problem (RFC 9457): 400 or 422 for what cannot be, 401 without a good key, 403 for a key that may not, 404 for what is not there or for others, 409, 412, 429 and 503 with Retry-After")
            .content("application/problem+json", problem)
            .build();
        BTreeMap::from([("default".to_owned(), response.into())])
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall",
        description = "Directories, their tokens, what is in them and what happened in them, for the team's own backend.",
        version = "1"
    ),
    paths(
        directories::create,
        directories::list,
        directories::read,
        directories::modify,
        directories::delete,
        directories::webhook,
        tokens::rotate,
        tokens::states,
        tokens::revoke_previous,
        tokens::revoke_all,
        reading::users,
        reading::user,
        reading::groups_of_user,
        reading::groups,
        reading::group,
        reading::members,
        reading::all_users,
        reading::all_groups,
        events::list,
        events::parked,
        events::redrive,
        serve,
    ),
    components(schemas(schema::Problem))
)]
struct Description;

/// The description, as it is served.
#[must_use]
pub fn document() -> Value {
    let mut document = serde_json::to_value(Description::openapi()).unwrap_or_default();
    if let Value::Object(members) = &mut document {
        members.insert("security".to_owned(), json!([{"key": []}]));
        if let Some(components) = members.get_mut("components").and_then(Value::as_object_mut) {
            let key = json!({
                "type": "http",
                "scheme": "bearer",
                "description": "An admin key, rollcall_admin_…; where the stack was deployed with AdminAuth=iam, a SigV4 signature instead.",
            });
            components.insert("securitySchemes".to_owned(), json!({"key": key}));
        }
    }
    document
}

/// Describes this API
#[utoipa::path(get, path = "/v1/openapi.json", tag = "description",
    responses((status = 200, description = "OpenAPI 3.1", body = Object), Failures))]
pub async fn serve(_: Reader) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &document()))
}
