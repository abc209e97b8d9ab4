//! Searches over all types: `GET /` and `POST /.search` below a base URL (RFC 7644 §3.4.2.1, §3.4.3, Q1, Q2).
//!
//! Users come first, and then groups, unless the list is sorted. What a filter
//! or an order says of an attribute that one of the types does not have is
//! taken as of one without a value.

use axum::extract::State;
use axum::response::Response;
use directory::{AnyResource, Memberships, Queries, Query, ResourceId};
use gateway::{Authenticated, Error, Gateway, ListQuery, list};
use jiff::Timestamp;
use scim::{ResolvedFilter, ResolvedSort, ResourceType, SearchRequest};

/// What a search asks of one type.
struct OfType<'a> {
    filter: Option<ResolvedFilter<'a>>,
    sort: Option<ResolvedSort<'a>>,
}

impl<'a> OfType<'a> {
    /// `None` if the filter leaves nothing of the type.
    fn of(ty: &'a ResourceType, asked: &SearchRequest) -> Result<Option<Self>, Error> {
        let filter = asked.filter.as_ref().map(|filter| filter.resolve_among(ty));
        let sort = asked.sort.as_ref().map(|sort| sort.resolve_among(ty));
        let (filter, sort) = (filter.transpose()?, sort.transpose()?);
        let wanted = filter.as_ref();
        let wanted = wanted.and_then(|filter| filter.required_equality("meta.resourceType"));
        let left = wanted.is_none_or(|wanted| wanted == ty.name);
        Ok(left.then_some(Self { filter, sort }))
    }

    fn query<'q>(
        &'q self,
        asked: &'q SearchRequest,
        binding: &'q str,
        now: Timestamp,
    ) -> Query<'q> {
        Query {
            filter: self.filter.as_ref(),
            sort: self.sort.as_ref(),
            paging: &asked.paging,
            binding,
            now,
        }
    }
}

pub(crate) async fn search(
    State(gateway): State<Gateway>,
    Authenticated(caller): Authenticated,
    ListQuery(asked): ListQuery,
) -> Result<Response, Error> {
    let (user, group) = (&caller.types().user, &caller.types().group);
    if let Some(sort) = &asked.sort {
        // An order that no type knows is none (S2).
        sort.resolve(user).or_else(|_| sort.resolve(group))?;
    }
    let (of_user, of_group) = (asked.projection(user)?, asked.projection(group)?);
    let (users, groups) = (OfType::of(user, &asked)?, OfType::of(group, &asked)?);
    let binding = format!("/ {}", asked.binding());
    let now = gateway.now();
    let queries = Queries {
        users: users.as_ref().map(|of| of.query(&asked, &binding, now)),
        groups: groups.as_ref().map(|of| of.query(&asked, &binding, now)),
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
    // Both have the same paging and binding; if the filter leaves nothing of either, nothing was found.
    let any = Query {
        filter: None,
        sort: None,
        paging: &asked.paging,
        binding: &binding,
        now,
    };
    list(found, &caller, &any, show)
}
