//! Users and groups, for a backend that does not know SCIM.

use std::str::FromStr;

use axum::extract::{Path, State};
use axum::response::Response;
use directory::{
    Caller, DirectoryId, DirectoryPosition, Listed, Part, ResourceId, Scope, Status, Store, Stored,
    Wanted,
};
use gateway::{Administrator, Gateway, Problem, QueryParams, Reader, ResourcePath};
use http::StatusCode;
use serde_json::{Value, json};

use crate::cursor::Page;
use crate::directories::{asked, named};
use crate::openapi::Failures;
use crate::{json, schema};

/// Over how many directories one answer goes.
const DIRECTORIES_AT_ONCE: usize = 20;
/// After how many bytes no more directories are read for an answer over several of them.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Users or groups.
#[derive(Clone, Copy)]
enum Kind {
    Users,
    Groups,
}

impl Kind {
    /// The parameters that a list is asked by, with the attributes they are about.
    fn filters(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Users => &[
                ("user_name", "userName"),
                ("external_id", "externalId"),
                ("email", "emails.value"),
            ],
            Self::Groups => &[
                ("display_name", "displayName"),
                ("external_id", "externalId"),
            ],
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Groups => "groups",
        }
    }

    /// What a list is asked for.
    fn wanted(self, params: &QueryParams) -> Result<Wanted<'_>, Problem> {
        let filters = self.filters().iter();
        let values = filters.filter_map(|(name, path)| Some((*path, params.get(name)?)));
        let active = match (self, params.get("active")) {
            (Self::Groups, _) | (_, None) => None,
            (_, Some("true")) => Some(true),
            (_, Some("false")) => Some(false),
            (_, Some(_)) => return Err(Problem::parameter("active", "must be true or false")),
        };
        Ok(Wanted {
            values: values.collect(),
            active,
        })
    }

    /// The names of all parameters, with `others`.
    fn known(self, others: &[&'static str]) -> Vec<&'static str> {
        let own = self.filters().iter().map(|(name, _)| *name);
        let active = match self {
            Self::Users => Some("active"),
            Self::Groups => None,
        };
        own.chain(active).chain(others.iter().copied()).collect()
    }

    async fn part(
        self,
        store: &Store,
        caller: &Caller,
        wanted: &Wanted<'_>,
        part: Part,
    ) -> Result<Listed<Stored>, directory::Error> {
        match self {
            Self::Users => store.users_part(caller, wanted, part).await,
            Self::Groups => store.groups_part(caller, wanted, part).await,
        }
    }

    fn show(self, caller: &Caller, stored: &Stored) -> Value {
        let types = caller.types();
        let ty = match self {
            Self::Users => &types.user,
            Self::Groups => &types.group,
        };
        Value::Object(stored.data(caller, ty))
    }
}

/// Lists the users of a directory
#[utoipa::path(get, path = "/v1/directories/{directory}/users", tag = "users and groups",
    params(("directory" = String, Path, description = "The directory's id"),
        ("user_name" = Option<String>, Query, description = "The one of this name, in any case"),
        ("email" = Option<String>, Query, description = "Those with this address, in any case"),
        ("external_id" = Option<String>, Query, description = "Those with this id of the identity provider"),
        ("active" = Option<bool>, Query, description = "Those who are active, or who are not"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 200, body = schema::UserList), Failures))]
pub async fn users(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    params: QueryParams,
) -> Result<Response, Problem> {
    list(Kind::Users, &gateway, &admin, &id, &params).await
}

/// Lists the groups of a directory
#[utoipa::path(get, path = "/v1/directories/{directory}/groups", tag = "users and groups",
    params(("directory" = String, Path, description = "The directory's id"),
        ("display_name" = Option<String>, Query, description = "Those of this name, in any case"),
        ("external_id" = Option<String>, Query, description = "Those with this id of the identity provider"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 200, body = schema::GroupList), Failures))]
pub async fn groups(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    params: QueryParams,
) -> Result<Response, Problem> {
    list(Kind::Groups, &gateway, &admin, &id, &params).await
}

async fn list(
    kind: Kind,
    gateway: &Gateway,
    admin: &Administrator,
    id: &str,
    params: &QueryParams,
) -> Result<Response, Problem> {
    let caller = reading(gateway, admin, id).await?;
    let list = format!("{} {}", kind.noun(), caller.directory().id);
    let page = Page::read(params, &kind.known(&[]), list)?;
    let wanted = kind.wanted(params)?;
    let part = part(&page)?;
    let found = kind.part(gateway.store(), &caller, &wanted, part).await?;
    let items = found.items.iter();
    let shown = items.map(|stored| (stored.id, kind.show(&caller, stored)));
    let unreadable = found.unreadable.iter().map(|item| named(item, None));
    page.answer(shown, unreadable.collect(), found.next)
}

/// Shows a user
#[utoipa::path(get, path = "/v1/directories/{directory}/users/{id}", tag = "users and groups",
    params(("directory" = String, Path, description = "The directory's id"), ("id" = String, Path, description = "The user's id")),
    responses((status = 200, body = schema::User), Failures))]
pub async fn user(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path((directory, id)): ResourcePath,
) -> Result<Response, Problem> {
    let caller = reading(&gateway, &admin, &directory).await?;
    let user = gateway.store().user(&caller, user_id(&id)?).await?;
    let user = user.ok_or_else(|| Problem::not_found("user"))?;
    Ok(json(StatusCode::OK, &Kind::Users.show(&caller, &user)))
}

/// Lists the groups of a user
#[utoipa::path(get, path = "/v1/directories/{directory}/users/{id}/groups", tag = "users and groups",
    params(("directory" = String, Path, description = "The directory's id"), ("id" = String, Path, description = "The user's id"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 200, body = schema::GroupList), Failures))]
pub async fn groups_of_user(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path((directory, id)): ResourcePath,
    params: QueryParams,
) -> Result<Response, Problem> {
    let caller = reading(&gateway, &admin, &directory).await?;
    let user = user_id(&id)?;
    let list = format!("groups of {user} {}", caller.directory().id);
    let page = Page::read(&params, &[], list)?;
    let part = part(&page)?;
    let store = gateway.store();
    let (found, groups) = tokio::try_join!(
        store.user(&caller, user),
        store.groups_of(&caller, user, part)
    )?;
    found.ok_or_else(|| Problem::not_found("user"))?;
    let shown = groups.items.into_iter();
    page.answer(
        shown.map(|(id, data)| (id, data.into())),
        vec![],
        groups.next,
    )
}

/// Shows a group, without its members
#[utoipa::path(get, path = "/v1/directories/{directory}/groups/{id}", tag = "users and groups",
    params(("directory" = String, Path, description = "The directory's id"), ("id" = String, Path, description = "The group's id")),
    responses((status = 200, body = schema::Group), Failures))]
pub async fn group(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path((directory, id)): ResourcePath,
) -> Result<Response, Problem> {
    let caller = reading(&gateway, &admin, &directory).await?;
    let group = gateway.store().group(&caller, group_id(&id)?, 0).await?;
    let group = group.ok_or_else(|| Problem::not_found("group"))?;
    Ok(json(
        StatusCode::OK,
        &Kind::Groups.show(&caller, &group.stored),
    ))
}

/// Lists the members of a group
///
/// Users and groups, each with its `type`.
#[utoipa::path(get, path = "/v1/directories/{directory}/groups/{id}/members", tag = "users and groups",
    params(("directory" = String, Path, description = "The directory's id"), ("id" = String, Path, description = "The group's id"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 200, body = schema::MemberList), Failures))]
pub async fn members(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path((directory, id)): ResourcePath,
    params: QueryParams,
) -> Result<Response, Problem> {
    let caller = reading(&gateway, &admin, &directory).await?;
    let group = group_id(&id)?;
    let list = format!("members of {group} {}", caller.directory().id);
    let page = Page::read(&params, &[], list)?;
    let part = part(&page)?;
    let found = gateway.store().members_part(&caller, group, part).await?;
    let found = found.ok_or_else(|| Problem::not_found("group"))?;
    let shown = found.items.into_iter();
    page.answer(
        shown.map(|(id, data)| (id, data.into())),
        vec![],
        found.next,
    )
}

/// Lists the users of all directories of a tenant and product
#[utoipa::path(get, path = "/v1/users", tag = "users and groups",
    params(("tenant" = Option<String>, Query, description = "Those of this tenant"),
        ("product" = Option<String>, Query, description = "Those of this product"),
        ("user_name" = Option<String>, Query, description = "Those of this name, in any case"),
        ("email" = Option<String>, Query, description = "Those with this address, in any case"),
        ("external_id" = Option<String>, Query, description = "Those with this id of the identity provider"),
        ("active" = Option<bool>, Query, description = "Those who are active, or who are not"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 200, body = schema::UserList), Failures))]
pub async fn all_users(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    params: QueryParams,
) -> Result<Response, Problem> {
    across(Kind::Users, &gateway, &admin, &params).await
}

/// Lists the groups of all directories of a tenant and product
#[utoipa::path(get, path = "/v1/groups", tag = "users and groups",
    params(("tenant" = Option<String>, Query, description = "Those of this tenant"),
        ("product" = Option<String>, Query, description = "Those of this product"),
        ("display_name" = Option<String>, Query, description = "Those of this name, in any case"),
        ("external_id" = Option<String>, Query, description = "Those with this id of the identity provider"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 200, body = schema::GroupList), Failures))]
pub async fn all_groups(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    params: QueryParams,
) -> Result<Response, Problem> {
    across(Kind::Groups, &gateway, &admin, &params).await
}

/// A place in a list over several directories: after all of one directory, and
/// perhaps in the middle of the next one.
#[derive(Clone, Default)]
struct Position {
    after: Option<DirectoryPosition>,
    within: Option<(DirectoryId, ResourceId)>,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(after) = &self.after {
            write!(f, "{after}")?;
        }
        if let Some((directory, resource)) = &self.within {
            write!(f, "|{directory}|{resource}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = directory::InvalidId;

    fn from_str(text: &str) -> Result<Self, directory::InvalidId> {
        let mut parts = text.split('|');
        let after = parts.next().filter(|place| !place.is_empty());
        let within = match (parts.next(), parts.next()) {
            (Some(directory), Some(resource)) => Some((directory.parse()?, resource.parse()?)),
            _ => None,
        };
        Ok(Self {
            after: after.map(str::parse).transpose()?,
            within,
        })
    }
}

/// A page over the directories that a query and the caller's scope allow, one after the other.
async fn across(
    kind: Kind,
    gateway: &Gateway,
    admin: &Administrator,
    params: &QueryParams,
) -> Result<Response, Problem> {
    let scope: Option<Scope> = asked(params).and(admin.scope());
    let list = format!("{} over {scope:?}", kind.noun());
    let page = Page::read(params, &kind.known(&["tenant", "product"]), list)?;
    let wanted = kind.wanted(params)?;
    let mut at: Position = page.place()?.unwrap_or_default();
    let Some(scope) = scope else {
        return page.answer::<Position>(vec![], vec![], None);
    };
    let store = gateway.store();
    let found = store
        .directories(&scope, at.after.as_ref(), DIRECTORIES_AT_ONCE)
        .await?;
    let (mut data, mut unreadable, mut bytes) = (vec![], vec![], 0);
    for (place, directory) in found.directories {
        if data.len() + unreadable.len() >= page.limit || bytes > MAX_ANSWER_BYTES {
            return page.answer(data, unreadable, Some(at));
        }
        let directory = match directory {
            Ok(directory) if directory.status != Status::Deleting => Some(directory),
            Ok(_) => None,
            Err(item) => {
                unreadable.push(named(&item, None));
                None
            }
        };
        if let Some(directory) = directory {
            let id = directory.id;
            let within = at.within.filter(|(directory, _)| *directory == id);
            let part = Part {
                after: within.map(|(_, resource)| resource),
                limit: page.limit - data.len() - unreadable.len(),
            };
            let caller = admin.caller(directory)?;
            let found = match kind.part(store, &caller, &wanted, part).await {
                Ok(found) => found,
                // It is not known which of its users or groups a filter finds, so all others are shown.
                Err(directory::Error::Unreadable(item)) => Listed {
                    items: vec![],
                    unreadable: vec![item],
                    next: None,
                },
                Err(error) => return Err(error.into()),
            };
            unreadable.extend(found.unreadable.iter().map(|item| named(item, Some(id))));
            for stored in &found.items {
                let mut shown = json!({"directory_id": id});
                if let (Value::Object(shown), Value::Object(own)) =
                    (&mut shown, kind.show(&caller, stored))
                {
                    shown.extend(own);
                }
                bytes += shown.to_string().len();
                let after = Position {
                    after: at.after.clone(),
                    within: Some((id, stored.id)),
                };
                data.push((after, shown));
            }
            if let Some(last) = found.next {
                at.within = Some((id, last));
                return page.answer(data, unreadable, Some(at));
            }
        }
        at = Position {
            after: Some(place),
            within: None,
        };
    }
    page.answer(data, unreadable, found.next.map(|_| at))
}

/// What reads a directory that is not being deleted.
async fn reading(gateway: &Gateway, admin: &Administrator, id: &str) -> Result<Caller, Problem> {
    admin.caller(admin.standing(gateway, id).await?)
}

fn part(page: &Page) -> Result<Part, Problem> {
    Ok(Part {
        after: page.place()?,
        limit: page.limit,
    })
}

fn user_id(id: &str) -> Result<ResourceId, Problem> {
    id.parse().map_err(|_| Problem::not_found("user"))
}

fn group_id(id: &str) -> Result<ResourceId, Problem> {
    id.parse().map_err(|_| Problem::not_found("group"))
}
