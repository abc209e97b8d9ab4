//! Groups, for a backend that does not know SCIM.

use axum::extract::{Path, State};
use directory::{DirectoryId, ResourceId, Wanted};
use gateway::{Gateway, Problem, Reader, ResourcePath};
use scim::Object;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Json;
use crate::collection::{Collection, Item, caller, typed};
use crate::directories::ScopeFilter;
use crate::openapi::Problems;
use crate::page::{DirectoryPath, List, NoFilter, Paging, Query, ResourceIds};
use crate::users::User;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(list_groups))
        .routes(routes!(show_group))
        .routes(routes!(list_members))
        .routes(routes!(list_all_groups))
}

/// A group, as in the `data` of events, without its members. A value that is not known is absent.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The directory, in lists over several directories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", nullable = false)]
    directory_id: Option<DirectoryId>,
    /// `Group`, among the members of a group.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    kind: Option<String>,
    /// The id of the group.
    #[schema(value_type = String, format = "uuid")]
    id: ResourceId,
    /// The id of the group at the identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_id: Option<String>,
    /// The name of the group.
    #[schema(example = "Sales")]
    display_name: String,
    /// Among the groups of a user: `direct`, or `indirect` through a group within the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    membership: Option<String>,
    /// The SCIM resource, without members.
    #[schema(value_type = Object)]
    raw: Object,
}

impl Item for Group {
    fn set_directory(&mut self, id: DirectoryId) {
        self.directory_id = Some(id);
    }
}

/// A member of a group.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
enum Member {
    /// A user, whose `type` is `User`.
    User(User),
    /// A group, whose `type` is `Group`.
    Group(Group),
}

/// Which groups a list has.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct GroupFilter {
    /// Only groups with this name, in any case.
    display_name: Option<String>,
    /// Only groups with this id at the identity provider.
    external_id: Option<String>,
}

impl GroupFilter {
    fn wanted(&self) -> Wanted<'_> {
        let values = [
            ("displayName", &self.display_name),
            ("externalId", &self.external_id),
        ];
        let values = values.into_iter();
        Wanted {
            values: values
                .filter_map(|(path, value)| Some((path, value.as_deref()?)))
                .collect(),
            active: None,
        }
    }
}

/// List the groups of a directory
#[utoipa::path(get, path = "/v1/directories/{directory}/groups", tag = "users and groups",
    params(DirectoryPath, GroupFilter, Paging),
    responses((status = 200, description = "A page of groups", body = List<Group>), Problems))]
async fn list_groups(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    query: Query<GroupFilter>,
) -> Result<Json<List<Group>>, Problem> {
    let wanted = query.filter.wanted();
    Collection::Groups
        .list(&gateway, &admin, &id, &query, &wanted)
        .await
}

/// Show a group without its members
#[utoipa::path(get, path = "/v1/directories/{directory}/groups/{id}", tag = "users and groups", params(ResourceIds),
    responses((status = 200, description = "The group", body = Group), Problems))]
async fn show_group(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path((directory, id)): ResourcePath,
) -> Result<Json<Group>, Problem> {
    let caller = caller(&gateway, &admin, &directory).await?;
    let group = gateway.store().group(&caller, group_id(&id)?, 0).await?;
    let group = group.ok_or_else(|| Problem::not_found("group"))?;
    Collection::Groups.show(&caller, &group.stored).map(Json)
}

/// List the members of a group
///
/// Users and groups, each with its `type`.
#[utoipa::path(get, path = "/v1/directories/{directory}/groups/{id}/members", tag = "users and groups",
    params(ResourceIds, Paging),
    responses((status = 200, description = "A page of members", body = List<Member>), Problems))]
async fn list_members(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path((directory, id)): ResourcePath,
    query: Query<NoFilter>,
) -> Result<Json<List<Member>>, Problem> {
    let caller = caller(&gateway, &admin, &directory).await?;
    let group = group_id(&id)?;
    let page = query.page(format!("members of {group} {}", caller.directory().id))?;
    let store = gateway.store();
    let found = store.members_part(&caller, group, page.part()?).await?;
    let found = found.ok_or_else(|| Problem::not_found("group"))?;
    let mut items = vec![];
    for (id, data) in found.items {
        items.push((id, typed(data)?));
    }
    page.answer(items, [], found.next)
}

/// List the groups of all directories of a tenant or a product
#[utoipa::path(get, path = "/v1/groups", tag = "users and groups", params(ScopeFilter, GroupFilter, Paging),
    responses((status = 200, description = "A page of groups, each with its `directory_id`", body = List<Group>), Problems))]
async fn list_all_groups(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    query: Query<GroupFilter, ScopeFilter>,
) -> Result<Json<List<Group>>, Problem> {
    let wanted = query.filter.wanted();
    Collection::Groups
        .list_over_directories(&gateway, &admin, &query, &wanted)
        .await
}

fn group_id(id: &str) -> Result<ResourceId, Problem> {
    id.parse().map_err(|_| Problem::not_found("group"))
}
