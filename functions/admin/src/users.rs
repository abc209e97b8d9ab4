//! Users, for a backend that does not know SCIM.

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
use crate::groups::Group;
use crate::openapi::Problems;
use crate::page::{DirectoryPath, List, NoFilter, Paging, Query, ResourceIds, from_text};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(list_users))
        .routes(routes!(show_user))
        .routes(routes!(list_groups_of_user))
        .routes(routes!(list_all_users))
}

/// A user, as in the `data` of events. A value that is not known is absent.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The directory, in lists over several directories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", nullable = false)]
    directory_id: Option<DirectoryId>,
    /// `User`, among the members of a group.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    kind: Option<String>,
    /// The id of the user.
    #[schema(value_type = String, format = "uuid")]
    id: ResourceId,
    /// The name that the user signs in with, unique within the directory.
    #[schema(example = "ann@example.com")]
    user_name: String,
    /// The id of the user at the identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_id: Option<String>,
    /// The primary e-mail address that has a value, else the first of type work, else the first that has a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email: Option<String>,
    /// The given name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    first_name: Option<String>,
    /// The family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_name: Option<String>,
    /// The name to show to other people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    display_name: Option<String>,
    /// Whether the user may use the application.
    active: bool,
    /// The SCIM resource.
    #[schema(value_type = Object)]
    raw: Object,
}

impl Item for User {
    fn set_directory(&mut self, id: DirectoryId) {
        self.directory_id = Some(id);
    }
}

/// Which users a list has.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UserFilter {
    /// Only users with this user name, in any case.
    user_name: Option<String>,
    /// Only users with this e-mail address, in any case.
    email: Option<String>,
    /// Only users with this id at the identity provider.
    external_id: Option<String>,
    /// Only users that are active, or only users that are not.
    #[serde(default, deserialize_with = "from_text")]
    active: Option<bool>,
}

impl UserFilter {
    fn wanted(&self) -> Wanted<'_> {
        let values = [
            ("userName", &self.user_name),
            ("externalId", &self.external_id),
            ("emails.value", &self.email),
        ];
        let values = values.into_iter();
        Wanted {
            values: values
                .filter_map(|(path, value)| Some((path, value.as_deref()?)))
                .collect(),
            active: self.active,
        }
    }
}

/// List the users of a directory
#[utoipa::path(get, path = "/v1/directories/{directory}/users", tag = "users and groups",
    params(DirectoryPath, UserFilter, Paging),
    responses((status = 200, description = "A page of users", body = List<User>), Problems))]
async fn list_users(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    query: Query<UserFilter>,
) -> Result<Json<List<User>>, Problem> {
    let wanted = query.filter.wanted();
    Collection::Users
        .list(&gateway, &admin, &id, &query, &wanted)
        .await
}

/// Show a user
#[utoipa::path(get, path = "/v1/directories/{directory}/users/{id}", tag = "users and groups", params(ResourceIds),
    responses((status = 200, description = "The user", body = User), Problems))]
async fn show_user(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path((directory, id)): ResourcePath,
) -> Result<Json<User>, Problem> {
    let caller = caller(&gateway, &admin, &directory).await?;
    let user = gateway.store().user(&caller, user_id(&id)?).await?;
    let user = user.ok_or_else(|| Problem::not_found("user"))?;
    Collection::Users.show(&caller, &user).map(Json)
}

/// List the groups of a user
#[utoipa::path(get, path = "/v1/directories/{directory}/users/{id}/groups", tag = "users and groups",
    params(ResourceIds, Paging),
    responses((status = 200, description = "A page of groups, each with its `membership`", body = List<Group>), Problems))]
async fn list_groups_of_user(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path((directory, id)): ResourcePath,
    query: Query<NoFilter>,
) -> Result<Json<List<Group>>, Problem> {
    let caller = caller(&gateway, &admin, &directory).await?;
    let user = user_id(&id)?;
    let page = query.page(format!("groups of {user} {}", caller.directory().id))?;
    let part = page.part()?;
    let store = gateway.store();
    let (found, groups) = tokio::try_join!(
        store.user(&caller, user),
        store.groups_of(&caller, user, part)
    )?;
    found.ok_or_else(|| Problem::not_found("user"))?;
    let mut items = vec![];
    for (id, data) in groups.items {
        items.push((id, typed(data)?));
    }
    page.answer(items, [], groups.next)
}

/// List the users of all directories of a tenant or a product
#[utoipa::path(get, path = "/v1/users", tag = "users and groups", params(ScopeFilter, UserFilter, Paging),
    responses((status = 200, description = "A page of users, each with its `directory_id`", body = List<User>), Problems))]
async fn list_all_users(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    query: Query<UserFilter, ScopeFilter>,
) -> Result<Json<List<User>>, Problem> {
    let wanted = query.filter.wanted();
    Collection::Users
        .list_over_directories(&gateway, &admin, &query, &wanted)
        .await
}

fn user_id(id: &str) -> Result<ResourceId, Problem> {
    id.parse().map_err(|_| Problem::not_found("user"))
}
