//! `/Users` (RFC 7644 §3.2): create, read, list, replace, modify and delete users.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use directory::{Caller, Memberships, Query, ResourceId, Stored};
use gateway::{
    Authenticated, Error, Gateway, ListQuery, Preconditions, QueryParams, ResourcePath, ScimJson,
    created, no_content, not_found, not_found_as, not_modified, parse_id, resource, updated,
};
use scim::{Object, PatchOp, Projection};
use serde_json::Value;
use tokio::{join, try_join};

/// Returns the routes of this function.
pub fn router(gateway: Gateway) -> Router {
    gateway::routes(
        gateway,
        [
            ("/scim/v2/{directory}/Users", get(search).post(create)),
            ("/scim/v2/{directory}/Users/.search", post(search)),
            (
                "/scim/v2/{directory}/Users/{id}",
                get(read).put(replace).patch(modify).delete(delete),
            ),
        ],
    )
}

async fn search(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    ListQuery(asked): ListQuery,
) -> Result<Response, Error> {
    let ty = &caller.types().user;
    let projection = asked.projection(ty)?;
    let (resolved, binding) = (asked.resolve(ty)?, asked.binding());
    let query = Query::new(&asked, &resolved, &binding, gateway.now());
    let store = gateway.store();
    let mut found = store.users(&caller, &query).await?;
    let mut groups = Memberships::default();
    if projection.wants("groups") {
        let ids: Vec<ResourceId> = found.resources.iter().map(|user| user.id).collect();
        let together = query.filter.is_none() && query.sort.is_none();
        let read = store.memberships(&caller, &ids, together).await?;
        groups = read.0;
        found.resources.truncate(read.1);
    }
    let show = |user: &Stored| show(&caller, user, &groups, &projection);
    gateway::list(found, &caller, &query, show)
}

async fn create(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    params: QueryParams,
    preconditions: Preconditions,
    ScimJson(body): ScimJson,
) -> Result<Response, Error> {
    preconditions.check_collection()?;
    let ty = &caller.types().user;
    let projection = params.projection(ty)?;
    let user = gateway
        .store()
        .create_user(&caller, ty.read(body, None)?, gateway.now())
        .await?;
    // A new user is not a member of any group.
    let groups = Memberships::default();
    let body =
        (!preconditions.minimal(&params)).then(|| show(&caller, &user, &groups, &projection));
    Ok(created(body, &user.meta(&caller, ty), preconditions.prefer))
}

async fn read(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): ResourcePath,
    params: QueryParams,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    let ty = &caller.types().user;
    let projection = params.projection(ty)?;
    let id_of = parse_id(ty, &id)?;
    let user = gateway.store().user(&caller, id_of);
    let groups = groups_of(&gateway, &caller, id_of, &projection);
    let (user, groups) = try_join!(user, groups)?;
    let user = user.ok_or_else(|| not_found(&ty.name, &id))?;
    let meta = user.meta(&caller, ty);
    // The version counts changes of the user, which do not include its groups.
    if preconditions.is_not_modified(user.version) {
        return Ok(not_modified(&meta));
    }
    resource(show(&caller, &user, &groups, &projection), &meta)
}

async fn replace(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): ResourcePath,
    params: QueryParams,
    preconditions: Preconditions,
    ScimJson(body): ScimJson,
) -> Result<Response, Error> {
    let change = async |user_id| {
        let (store, now) = (gateway.store(), gateway.now());
        let precondition = &preconditions.precondition;
        store
            .replace_user(&caller, user_id, &body, precondition, now)
            .await
    };
    changed(&gateway, &caller, &id, &params, &preconditions, change).await
}

async fn modify(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): ResourcePath,
    params: QueryParams,
    preconditions: Preconditions,
    ScimJson(body): ScimJson,
) -> Result<Response, Error> {
    let patch = PatchOp::parse(body, &caller.types().user)?;
    let change = async |user_id| {
        let (store, now) = (gateway.store(), gateway.now());
        let precondition = &preconditions.precondition;
        store
            .patch_user(&caller, user_id, &patch, precondition, now)
            .await
    };
    changed(&gateway, &caller, &id, &params, &preconditions, change).await
}

async fn delete(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): ResourcePath,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    let ty = &caller.types().user;
    let (user_id, now) = (parse_id(ty, &id)?, gateway.now());
    let deleted = gateway
        .store()
        .delete_user(&caller, user_id, &preconditions.precondition, now);
    deleted
        .await
        .map_err(|error| not_found_as(error, ty, &id))?;
    Ok(no_content())
}

/// Returns the representation of a user for a response.
pub fn show(
    caller: &Caller,
    user: &Stored,
    groups: &Memberships,
    projection: &Projection,
) -> Object {
    let ty = &caller.types().user;
    let groups = groups.elements(caller, user.id);
    let mut computed = Object::new();
    if !groups.is_empty() {
        computed.insert("groups".to_owned(), Value::Array(groups));
    }
    projection.apply(user.represent(caller, ty, computed), ty)
}

/// Returns the groups of one user, if the response contains them.
async fn groups_of(
    gateway: &Gateway,
    caller: &Caller,
    id: ResourceId,
    projection: &Projection,
) -> Result<Memberships, directory::Error> {
    if projection.wants("groups") {
        let alone = [id];
        let read = gateway.store().memberships(caller, &alone, false);
        read.await.map(|(groups, _)| groups)
    } else {
        Ok(Memberships::default())
    }
}

/// Returns 200 with the user. Returns 204 if the client prefers it and names no attributes (RFC
/// 7644 §3.5.2, X22), or if the change succeeded but the groups of the user cannot be read or do
/// not fit into a response.
async fn changed(
    gateway: &Gateway,
    caller: &Caller,
    id: &str,
    params: &QueryParams,
    preconditions: &Preconditions,
    change: impl AsyncFnOnce(ResourceId) -> Result<Stored, directory::Error>,
) -> Result<Response, Error> {
    let ty = &caller.types().user;
    let projection = params.projection(ty)?;
    let user_id = parse_id(ty, id)?;
    let minimal = preconditions.minimal(params);
    let groups = async {
        if minimal {
            Ok(Memberships::default())
        } else {
            groups_of(gateway, caller, user_id, &projection).await
        }
    };
    let (user, groups) = join!(change(user_id), groups);
    let user = user.map_err(|error| not_found_as(error, ty, id))?;
    let groups = groups.ok().filter(|_| !minimal);
    let body = groups.map(|groups| show(caller, &user, &groups, &projection));
    Ok(updated(body, &user.meta(caller, ty), preconditions.prefer))
}
