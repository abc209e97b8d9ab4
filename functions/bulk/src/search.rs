//! Searches over all types: `GET /` and `POST /.search` below a base URL (RFC 7644 §3.4.2.1, §3.4.3, Q1, Q2).
//!
//! Without an order, users are listed before groups. In filters and orders, an attribute that one
//! of the types does not have is treated as missing.

use axum::extract::State;
use axum::response::Response;
use directory::{AnyResource, Memberships, Queries, Query, ResourceId};
use gateway::{Authenticated, Error, Gateway, ListQuery, list};
use scim::{ResolvedSearch, ResourceType, SearchRequest};

/// Binds a search to a type. Returns `None` if no resource of the type can match.
fn resolve<'a>(
    asked: &SearchRequest,
    ty: &'a ResourceType,
) -> Result<Option<ResolvedSearch<'a>>, Error> {
    let resolved = asked.resolve_among(ty)?;
    let filter = resolved.filter.as_ref();
    let required = filter.and_then(|filter| filter.required_equality("meta.resourceType"));
    let possible = required.is_none_or(|required| required == ty.name);
    Ok(possible.then_some(resolved))
}

pub(crate) async fn search(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    ListQuery(asked): ListQuery,
) -> Result<Response, Error> {
    let (user, group) = (&caller.types().user, &caller.types().group);
    if let Some(sort) = &asked.sort {
        // An attribute that no type has is refused (S2).
        sort.resolve(user).or_else(|_| sort.resolve(group))?;
    }
    let (of_user, of_group) = (asked.projection(user)?, asked.projection(group)?);
    let (users, groups) = (resolve(&asked, user)?, resolve(&asked, group)?);
    let binding = format!("/ {}", asked.binding());
    let now = gateway.now();
    let query = |resolved| Query::new(&asked, resolved, &binding, now);
    let queries = Queries {
        users: users.as_ref().map(query),
        groups: groups.as_ref().map(query),
    };
    let store = gateway.store();
    let most = groups::most_members(&caller, &of_group);
    let mut found = store.search(&caller, queries, most).await?;
    let mut users: Vec<(usize, ResourceId)> = vec![];
    for (place, resource) in found.resources.iter().enumerate() {
        match resource {
            AnyResource::User(user) => users.push((place, user.id)),
            AnyResource::Group(group) => groups::check_response_size(group, most)?,
        }
    }
    let mut memberships = Memberships::default();
    if of_user.wants("groups") {
        let ids: Vec<ResourceId> = users.iter().map(|(_, id)| *id).collect();
        let read = store.memberships(&caller, &ids, false).await?;
        memberships = read.0;
        // The page ends before the first user whose groups were not read.
        if let Some((place, _)) = users.get(read.1) {
            found.resources.truncate(*place);
        }
    }
    let show = |resource: &AnyResource| match resource {
        AnyResource::User(user) => users::show(&caller, user, &memberships, &of_user),
        AnyResource::Group(group) => groups::show(&caller, group, &of_group),
    };
    // Both queries have the same paging and binding, so the response needs only these.
    let any = Query {
        filter: None,
        sort: None,
        paging: &asked.paging,
        binding: &binding,
        now,
    };
    list(found, &caller, &any, show)
}
