//! `/Users` (RFC 7644 §3.2): create, read, list, replace, modify and delete users.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use directory::{Caller, Query, ResourceId, Stored};
use gateway::{
    Authenticated, Body, Error, Gateway, Params, Wishes, created, list, no_content, not_found,
    resource, unmodified, updated,
};
use scim::{ListResponse, Object, PatchOp, Projection, ResourceType};

/// The routes of this function.
pub fn router(gateway: Gateway) -> Router {
    gateway::routes(
        gateway,
        [
            ("/scim/v2/{directory}/Users", get(search).post(create)),
            (
                "/scim/v2/{directory}/Users/{id}",
                get(read).put(replace).patch(modify).delete(delete),
            ),
        ],
    )
}

/// A user's address within the API.
type At = Path<(String, String)>;

async fn search(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> Result<Response, Error> {
    let ty = ResourceType::user();
    let projection = params.projection(ty)?;
    let filter = params.filter()?;
    let filter = filter
        .as_ref()
        .map(|filter| filter.resolve(ty))
        .transpose()?;
    let page = params.page()?;
    let found = gateway
        .store()
        .users(
            &caller,
            &Query {
                filter: filter.as_ref(),
                page,
            },
        )
        .await?;
    Ok(list(ListResponse {
        total_results: found.total,
        start_index: page.start_index,
        resources: found
            .resources
            .iter()
            .map(|user| show(&caller, user, &projection))
            .collect(),
    }))
}

async fn create(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    params: Params,
    Body(body): Body,
) -> Result<Response, Error> {
    let ty = ResourceType::user();
    let projection = params.projection(ty)?;
    let user = gateway
        .store()
        .create_user(&caller, ty.read(body, None)?, gateway.now())
        .await?;
    Ok(created(
        show(&caller, &user, &projection),
        &user.meta(&caller, ty),
    ))
}

async fn read(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): At,
    params: Params,
    wishes: Wishes,
) -> Result<Response, Error> {
    let ty = ResourceType::user();
    let projection = params.projection(ty)?;
    let user = gateway
        .store()
        .user(&caller, parse(&id)?)
        .await?
        .ok_or_else(|| missing(&id))?;
    let meta = user.meta(&caller, ty);
    if wishes.has(user.version) {
        return Ok(unmodified(&meta));
    }
    Ok(resource(show(&caller, &user, &projection), &meta))
}

async fn replace(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): At,
    params: Params,
    wishes: Wishes,
    Body(body): Body,
) -> Result<Response, Error> {
    let projection = params.projection(ResourceType::user())?;
    let user = gateway
        .store()
        .replace_user(
            &caller,
            parse(&id)?,
            &body,
            &wishes.precondition,
            gateway.now(),
        )
        .await;
    Ok(changed(
        &caller,
        &user.map_err(|error| named(error, &id))?,
        &projection,
        &params,
        &wishes,
    ))
}

async fn modify(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): At,
    params: Params,
    wishes: Wishes,
    Body(body): Body,
) -> Result<Response, Error> {
    let ty = ResourceType::user();
    let projection = params.projection(ty)?;
    let patch = PatchOp::parse(body, ty)?;
    let user = gateway
        .store()
        .patch_user(
            &caller,
            parse(&id)?,
            &patch,
            &wishes.precondition,
            gateway.now(),
        )
        .await;
    Ok(changed(
        &caller,
        &user.map_err(|error| named(error, &id))?,
        &projection,
        &params,
        &wishes,
    ))
}

async fn delete(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): At,
    wishes: Wishes,
) -> Result<Response, Error> {
    let deleted = gateway
        .store()
        .delete_user(&caller, parse(&id)?, &wishes.precondition, gateway.now())
        .await;
    deleted.map_err(|error| named(error, &id))?;
    Ok(no_content())
}

fn parse(id: &str) -> Result<ResourceId, Error> {
    id.parse().map_err(|_| missing(id))
}

fn missing(id: &str) -> Error {
    not_found(&ResourceType::user().name, id)
}

/// An error of the store that says which user it did not find.
fn named(error: directory::Error, id: &str) -> Error {
    match error {
        directory::Error::NotFound => missing(id),
        other => other.into(),
    }
}

fn show(caller: &Caller, user: &Stored, projection: &Projection) -> Object {
    let ty = ResourceType::user();
    projection.apply(user.represent(caller, ty, Object::new()), ty)
}

/// 200 with the user, or 204 if the client prefers that and names no attributes (X22).
fn changed(
    caller: &Caller,
    user: &Stored,
    projection: &Projection,
    params: &Params,
    wishes: &Wishes,
) -> Response {
    let minimal = wishes.minimal && params.get("attributes").is_none();
    let body = (!minimal).then(|| show(caller, user, projection));
    updated(body, &user.meta(caller, ResourceType::user()))
}
