//! The discovery endpoints (RFC 7644 §4), and SCIM errors for unknown addresses.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use directory::{CURSOR_TIMEOUT, Caller, Discovery};
use gateway::{
    Authenticated, Error, Gateway, Preconditions, QueryParams, discovery_response, not_found,
};
use scim::bulk::{MAX_BULK_BYTES, MAX_BULK_OPERATIONS};
use scim::discovery::{
    Bulk, Capabilities, Pagination, resource_type, schema, service_provider_config,
};
use scim::{
    DEFAULT_COUNT, ListResponse, MAX_COUNT, Object, ResourceType, Schema, discovery_schemas,
    plain_discovery_schemas,
};

/// Returns the routes of this function.
pub fn router(gateway: Gateway) -> Router {
    gateway::routes(
        gateway,
        [
            ("/scim/v2/{directory}/ServiceProviderConfig", get(config)),
            ("/scim/v2/{directory}/ResourceTypes", get(resource_types)),
            (
                "/scim/v2/{directory}/ResourceTypes/{name}",
                get(one_resource_type),
            ),
            ("/scim/v2/{directory}/Schemas", get(schemas)),
            ("/scim/v2/{directory}/Schemas/{urn}", get(one_schema)),
        ],
    )
}

/// Returns the resource types that have an endpoint.
fn served(caller: &Caller) -> [&ResourceType; 2] {
    let types = caller.types();
    [&types.user, &types.group]
}

/// Returns all schemas in use, including extensions and the schemas of the discovery resources (RFC
/// 7643 §7, D4).
fn schemas_in_use(caller: &Caller) -> impl Iterator<Item = &Schema> {
    let resources = served(caller).into_iter().flat_map(|ty| {
        std::iter::once(&ty.schema).chain(ty.extensions.iter().map(|extension| &extension.schema))
    });
    resources.chain(match caller.directory().settings.discovery {
        Discovery::Plain => plain_discovery_schemas(),
        Discovery::Full | Discovery::Other(_) => discovery_schemas(),
    })
}

async fn config(
    Authenticated(caller): Authenticated,
    params: QueryParams,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    refuse_filter(&params)?;
    let settings = &caller.directory().settings;
    let of_rfc_7643 = Capabilities {
        bulk: Some(Bulk {
            max_operations: MAX_BULK_OPERATIONS as u64,
            max_payload_size: MAX_BULK_BYTES as u64,
        }),
        etag: settings.has_entity_tags(),
        ..Capabilities::default()
    };
    let capabilities = match settings.discovery {
        Discovery::Plain => of_rfc_7643,
        Discovery::Full | Discovery::Other(_) => Capabilities {
            pagination: Some(Pagination {
                cursor: true,
                index: true,
                // Clients of RFC 7644 expect this method.
                default_method: Some("index".to_owned()),
                default_page_size: Some(DEFAULT_COUNT),
                max_page_size: Some(MAX_COUNT),
                cursor_timeout: Some(CURSOR_TIMEOUT.into()),
            }),
            interop_profile_conformant: settings.strict,
            ..of_rfc_7643
        },
    };
    let config = service_provider_config(&capabilities, caller.base_url());
    Ok(discovery_response(config, &caller, &preconditions))
}

async fn resource_types(
    Authenticated(caller): Authenticated,
    params: QueryParams,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    refuse_filter(&params)?;
    let types = served(&caller).into_iter();
    let types = types.map(|ty| resource_type(ty, caller.base_url()));
    Ok(discovery_response(
        whole(types.collect()),
        &caller,
        &preconditions,
    ))
}

async fn one_resource_type(
    Authenticated(caller): Authenticated,
    Path((_, name)): Path<(String, String)>,
    params: QueryParams,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    refuse_filter(&params)?;
    let ty = served(&caller)
        .into_iter()
        .find(|ty| ty.name == name)
        .ok_or_else(|| not_found("ResourceType", &name))?;
    Ok(discovery_response(
        resource_type(ty, caller.base_url()),
        &caller,
        &preconditions,
    ))
}

async fn schemas(
    Authenticated(caller): Authenticated,
    params: QueryParams,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    refuse_filter(&params)?;
    let schemas = schemas_in_use(&caller).map(|found| schema(found, caller.base_url()));
    Ok(discovery_response(
        whole(schemas.collect()),
        &caller,
        &preconditions,
    ))
}

async fn one_schema(
    Authenticated(caller): Authenticated,
    Path((_, urn)): Path<(String, String)>,
    params: QueryParams,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    refuse_filter(&params)?;
    // URIs of schemas are case-insensitive (H7).
    let found = schemas_in_use(&caller)
        .find(|schema| schema.id.eq_ignore_ascii_case(&urn))
        .ok_or_else(|| not_found("Schema", &urn))?;
    Ok(discovery_response(
        schema(found, caller.base_url()),
        &caller,
        &preconditions,
    ))
}

/// RFC 7644 §4 (D5): refuses a filter. Paging and sorting are ignored.
fn refuse_filter(params: &QueryParams) -> Result<(), Error> {
    match params.given("filter") {
        Some(_) => Err(scim::Error::new(
            403,
            None,
            "filter: the discovery endpoints do not support filters.",
        )
        .into()),
        None => Ok(()),
    }
}

/// Returns a list with all resources on one page.
fn whole(resources: Vec<Object>) -> Object {
    ListResponse::whole(resources).to_object()
}
