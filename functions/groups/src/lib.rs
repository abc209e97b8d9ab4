//! `/Groups` (RFC 7644 §3.2): create, read, list, replace, modify and delete groups and their members.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use directory::{Caller, Group, Query};
use gateway::{
    Authenticated, Error, Gateway, ListQuery, Preconditions, QueryParams, ResourcePath, Return,
    ScimJson, Working, created, no_content, not_found, not_found_as, not_modified, parse_id,
    resource, size, too_many_members, updated,
};
use scim::{Object, PatchOp, Projection};
use serde_json::{Value, json};

/// Maximum number of members for which a PATCH returns the group. For larger groups it returns 204
/// (RFC 7644 §3.5.2), so that adding a member does not read all others.
pub const MAX_ECHOED_MEMBERS: u64 = 100;

/// Returns the routes of this function.
pub fn router(gateway: Gateway) -> Router {
    gateway::routes(
        gateway,
        [
            ("/scim/v2/{directory}/Groups", get(search).post(create)),
            ("/scim/v2/{directory}/Groups/.search", post(search)),
            (
                "/scim/v2/{directory}/Groups/{id}",
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
    let ty = &caller.types().group;
    let projection = asked.projection(ty)?;
    let (resolved, binding) = (asked.resolve(ty)?, asked.binding());
    let query = Query::new(&asked, &resolved, &binding, gateway.now());
    let most = most_members(&caller, &projection);
    let found = gateway.store().groups(&caller, &query, most).await?;
    for group in &found.resources {
        check_response_size(group, most)?;
    }
    let show = |group: &Group| show(&caller, group, &projection);
    gateway::list(found, &caller, &query, show)
}

async fn create(
    State(gateway): State<Gateway>,
    Working(caller, work): Working,
    params: QueryParams,
    preconditions: Preconditions,
    ScimJson(body): ScimJson,
) -> Result<Response, Error> {
    preconditions.check_collection()?;
    let ty = &caller.types().group;
    let projection = params.projection(ty)?;
    work.add_memberships(named_in(&body));
    let resource = ty.read(body, None)?;
    let store = gateway.store();
    let mut group = store
        .create_group(&caller, &resource, gateway.now())
        .await?;
    let most = most_members(&caller, &projection);
    if group.size() > most {
        group.members = None;
    }
    let body = (!preconditions.minimal(&params)).then(|| show(&caller, &group, &projection));
    let meta = group.stored.meta(&caller, ty);
    Ok(created(
        body,
        &meta,
        applied_preference(&preconditions, &group, most),
    ))
}

async fn read(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): ResourcePath,
    params: QueryParams,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    let ty = &caller.types().group;
    let projection = params.projection(ty)?;
    let most = most_members(&caller, &projection);
    let group = gateway
        .store()
        .group(&caller, parse_id(ty, &id)?, most)
        .await?
        .ok_or_else(|| not_found(&ty.name, &id))?;
    let meta = group.stored.meta(&caller, ty);
    if preconditions.is_not_modified(group.stored.version) {
        return Ok(not_modified(&meta));
    }
    check_response_size(&group, most)?;
    resource(show(&caller, &group, &projection), &meta)
}

async fn replace(
    State(gateway): State<Gateway>,
    Working(caller, work): Working,
    Path((_, id)): ResourcePath,
    params: QueryParams,
    preconditions: Preconditions,
    ScimJson(body): ScimJson,
) -> Result<Response, Error> {
    let ty = &caller.types().group;
    let projection = params.projection(ty)?;
    let minimal = preconditions.minimal(&params);
    let most = most_members(&caller, &projection);
    let echo = if minimal { 0 } else { most };
    let (group_id, now) = (parse_id(ty, &id)?, gateway.now());
    work.add_memberships(named_in(&body));
    let group = gateway
        .store()
        .replace_group(
            &caller,
            group_id,
            &body,
            &preconditions.precondition,
            now,
            echo,
        )
        .await
        .map_err(|error| not_found_as(error, ty, &id))?;
    let whole = check_response_size(&group, most).is_ok();
    let body = (!minimal && whole).then(|| show(&caller, &group, &projection));
    let meta = group.stored.meta(&caller, ty);
    Ok(updated(body, &meta, preconditions.prefer))
}

async fn modify(
    State(gateway): State<Gateway>,
    Working(caller, work): Working,
    Path((_, id)): ResourcePath,
    params: QueryParams,
    preconditions: Preconditions,
    ScimJson(body): ScimJson,
) -> Result<Response, Error> {
    let ty = &caller.types().group;
    let projection = params.projection(ty)?;
    work.add_memberships(named_in(&body));
    let patch = PatchOp::parse(body, ty)?;
    // A client that names attributes (X22) or prefers the representation (H15) gets more members as
    // well.
    let named_attributes = params.given("attributes").is_some();
    let whole = named_attributes || preconditions.prefer == Some(Return::Representation);
    let minimal = preconditions.minimal(&params);
    let most = most_members(&caller, &projection);
    let echo = match (minimal, whole) {
        (true, _) => 0,
        (false, true) => most,
        (false, false) => most.min(MAX_ECHOED_MEMBERS),
    };
    let (group_id, now) = (parse_id(ty, &id)?, gateway.now());
    let group = gateway
        .store()
        .patch_group(
            &caller,
            group_id,
            &patch,
            &preconditions.precondition,
            now,
            echo,
        )
        .await
        .map_err(|error| not_found_as(error, ty, &id))?;
    let whole = check_response_size(&group, most).is_ok();
    let body = (!minimal && whole).then(|| show(&caller, &group, &projection));
    let meta = group.stored.meta(&caller, ty);
    Ok(updated(body, &meta, preconditions.prefer))
}

async fn delete(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    Path((_, id)): ResourcePath,
    preconditions: Preconditions,
) -> Result<Response, Error> {
    let ty = &caller.types().group;
    let (group_id, now) = (parse_id(ty, &id)?, gateway.now());
    let deleted = gateway
        .store()
        .delete_group(&caller, group_id, &preconditions.precondition, now);
    deleted
        .await
        .map_err(|error| not_found_as(error, ty, &id))?;
    Ok(no_content())
}

/// Returns the approximate number of memberships in a body: the number of elements of all lists,
/// which are members or the operations of a PATCH with one member each.
fn named_in(body: &Object) -> usize {
    fn elements(value: &Value) -> usize {
        match value {
            Value::Array(values) => values.len() + values.iter().map(elements).sum::<usize>(),
            Value::Object(members) => members.values().map(elements).sum(),
            _ => 0,
        }
    }
    body.values().map(elements).sum()
}

/// Returns the preference that the response applies. A group without its members, because they do
/// not fit, is not the whole representation.
fn applied_preference(preconditions: &Preconditions, group: &Group, most: u64) -> Option<Return> {
    let whole = most == 0 || group.size() <= most;
    preconditions
        .prefer
        .filter(|prefer| whole || *prefer == Return::Minimal)
}

/// Returns the maximum number of members to read for a response: the number that fits if no member
/// has a `display`, or 0 if the response does not contain members (G8).
pub fn most_members(caller: &Caller, projection: &Projection) -> u64 {
    if !projection.wants("members") {
        return 0;
    }
    const ANY: &str = "00000000-0000-0000-0000-000000000000";
    let address = format!("{}/Users/{ANY}", caller.base_url());
    size::most(&json!({"value": ANY, "$ref": address, "type": "User"}))
}

/// # Errors
///
/// 400 `tooMany` for a group whose members were not read because they do not fit into a response.
pub fn check_response_size(group: &Group, most: u64) -> Result<(), Error> {
    if most == 0 || group.members.is_some() || group.size() == 0 {
        return Ok(());
    }
    Err(too_many_members(&group.stored.id.to_string(), group.size()).into())
}

/// Returns the representation of a group for a response.
pub fn show(caller: &Caller, group: &Group, projection: &Projection) -> Object {
    projection.apply(group.represent(caller), &caller.types().group)
}
