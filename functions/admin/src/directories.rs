//! Directories: create, list, show, change, delete.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use directory::{
    DirectoryId, DirectoryPosition, FromObject, KeptAsText, NewDirectory, Provider, Repeatable,
    Scope, SettingsChange, Status, read_known,
};
use gateway::{
    Administrator, Created, Gateway, Preconditions, Problem, Reader, SigningSecret, Writer,
};
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{Object, RefOr};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{Body, Name, idempotency_key, present};
use crate::openapi::Problems;
use crate::page::{DirectoryPath, List, Query, Unreadable};
use crate::setup::setup;
use crate::webhook::{NewWebhook, Webhook};
use crate::{Header, Json, NO_STORE, shown};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(create_directory, list_directories))
        .routes(routes!(show_directory, change_directory, delete_directory))
}

/// A directory: one customer's connection.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Its id, part of the SCIM base URL.
    #[schema(value_type = String, format = "uuid")]
    id: DirectoryId,
    /// Your own name for the customer.
    #[schema(example = "acme")]
    tenant: String,
    /// Your own name for the application.
    #[schema(example = "crm")]
    product: String,
    /// The name of the directory for people.
    #[schema(example = "Acme Ltd.")]
    name: String,
    /// The identity provider. Later versions of Rollcall may add values: treat an unknown one as `generic-scim-v2`.
    #[schema(value_type = String, example = "okta-scim-v2")]
    provider: Provider,
    /// `active`; `inactive`, when the identity provider gets 403 and reads by this API work; or `deleting`. Later versions
    /// of Rollcall may add values: treat an unknown one as `inactive`.
    #[schema(value_type = String, example = "active")]
    status: Status,
    /// When it was created.
    #[schema(format = DateTime)]
    created: String,
    /// Its settings.
    #[schema(value_type = Settings)]
    settings: Value,
    /// The address that its events are sent to, besides the bus.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    webhook: Option<Webhook>,
    /// The SCIM base URL, for the identity provider.
    #[schema(format = "uri")]
    base_url: String,
    /// The parts of the directory that this version of Rollcall cannot read, such as a schema that a newer version wrote.
    /// They are kept but have no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<UnreadablePart>,
    /// What the customer's administrator does, step by step. Lists do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>)]
    setup: Option<&'static [&'static str]>,
    /// The SCIM bearer token, for the identity provider. Only the response that creates the directory has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
}

/// A part of a directory that this version of Rollcall cannot read.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UnreadablePart {
    /// Where it is in the stored directory (RFC 6901).
    pointer: String,
    /// Why it cannot be read, and the effect.
    detail: String,
}

/// The settings of a directory, declared in `shared/directory/src/model/settings.rs`. A response has all of them. A
/// request has those that are to be set: the others keep their value or, in a new directory, are `false`, `full` or empty.
struct Settings;

impl PartialSchema for Settings {
    fn schema() -> RefOr<Schema> {
        let mut schema = directory::Settings::schema();
        if let Value::Object(members) = &mut schema {
            let description = "The settings of a directory. A response has all of them. A request has those that are to be set: the others keep their value or, in a new directory, are `false`, `full` or empty.";
            members.insert("description".to_owned(), json!(description));
        }
        serde_json::from_value(schema)
            .unwrap_or_else(|_| ObjectBuilder::new().schema_type(Type::Object).into())
    }
}

impl ToSchema for Settings {}

/// The directory to create.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDirectory, example = json!({"tenant": "acme", "product": "crm", "name": "Acme Ltd.", "provider": "okta-scim-v2"}))]
struct DirectoryToCreate {
    /// Your own name for the customer.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 200)]
    tenant: Option<Name>,
    /// Your own name for the application.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 200)]
    product: Option<Name>,
    /// The name of the directory for people.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 200)]
    name: Option<Name>,
    /// The identity provider.
    #[serde(default, deserialize_with = "known_provider")]
    #[schema(schema_with = provider_schema, required = true)]
    provider: Option<Provider>,
    /// Its settings.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Settings, required = false)]
    settings: Option<FromObject<SettingsChange>>,
    /// The address that its events are to be sent to; `null` is none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<NewWebhook>, required = false)]
    webhook: Option<Option<FromObject<NewWebhook>>>,
}

/// A change of a directory. A member that is absent keeps its value.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"status": "inactive"}))]
struct DirectoryChange {
    /// The name of the directory for people.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200)]
    name: Option<Name>,
    /// Whether it accepts changes.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    status: Option<NewStatus>,
    /// Its settings.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Settings, required = false)]
    settings: Option<FromObject<SettingsChange>>,
    /// The address that its events are to be sent to; `null` removes the webhook.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<NewWebhook>, required = false)]
    webhook: Option<Option<FromObject<NewWebhook>>>,
}

/// Whether a directory is to accept changes.
#[derive(Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum NewStatus {
    /// It accepts changes.
    Active,
    /// The identity provider gets 403 within a minute, and nothing is changed.
    Inactive,
}

/// A directory that is being deleted.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Deleting {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    id: DirectoryId,
    /// `deleting`.
    #[schema(value_type = String, example = "deleting")]
    status: Status,
}

fn known_provider<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Provider>, D::Error> {
    read_known(value).map(Some)
}

fn provider_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(Provider::TEXTS.iter().copied()))
        .description(Some("The identity provider."))
        .build()
}

/// Directories of a tenant, a product, or both.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ScopeFilter {
    /// Only directories of this tenant.
    tenant: Option<String>,
    /// Only directories of this product.
    product: Option<String>,
}

impl ScopeFilter {
    /// Returns the directories that the request is about.
    pub fn scope(&self) -> Scope {
        Scope {
            tenant: self.tenant.clone(),
            product: self.product.clone(),
        }
    }
}

impl Directory {
    /// The directory as `admin` is shown it in lists.
    fn listed(admin: &Administrator, directory: &directory::Directory) -> Self {
        let webhook = directory.webhook.as_ref();
        let unreadable = directory.unreadable.iter().map(|part| UnreadablePart {
            pointer: part.pointer.clone(),
            detail: part.detail.clone(),
        });
        Self {
            id: directory.id,
            tenant: directory.tenant.clone(),
            product: directory.product.clone(),
            name: directory.name.clone(),
            provider: directory.provider.clone(),
            status: directory.status.clone(),
            created: shown(directory.created),
            settings: directory.settings.data(),
            webhook: webhook.map(|webhook| Webhook::without_secret(webhook, admin.may_write())),
            base_url: admin.scim_base_url(directory),
            unreadable: unreadable.collect(),
            setup: None,
            token: None,
        }
    }

    /// The directory on its own, with what the customer's administrator does.
    fn shown(admin: &Administrator, directory: &directory::Directory) -> Self {
        Self {
            setup: Some(setup(&directory.provider)),
            ..Self::listed(admin, directory)
        }
    }

    /// The directory in the response that creates it.
    fn created(
        admin: &Administrator,
        directory: &directory::Directory,
        token: &str,
        secret: Option<&SigningSecret>,
    ) -> Self {
        let mut shown = Self {
            token: Some(token.to_owned()),
            ..Self::shown(admin, directory)
        };
        if let (Some(webhook), Some(secret)) = (&directory.webhook, secret) {
            shown.webhook = Some(Webhook::with_secret(webhook, secret));
        }
        shown
    }
}

/// Create a directory
///
/// The response has the token, which is not shown again, and the secret of the webhook if there is one. With an
/// `Idempotency-Key`, a repeated request within a day returns the same directory and token, as long as the token was not
/// rotated.
#[utoipa::path(post, path = "/v1/directories", tag = "directories", request_body = DirectoryToCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request return the same directory")),
    responses((status = 201, description = "The new directory", body = Directory), Problems))]
async fn create_directory(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    headers: HeaderMap,
    body: Body<DirectoryToCreate>,
) -> Result<Response, Problem> {
    let new = to_create(body.value, body.errors, &gateway)?;
    let scope = Scope {
        tenant: Some(new.tenant.clone()),
        product: Some(new.product.clone()),
    };
    if admin.scope().and(&scope).is_none() {
        return Err(Problem::new(
            403,
            "This admin key is for another tenant or product.",
        ));
    }
    let request = idempotency_key(&headers)?.map(|key| Repeatable {
        caller: admin.name(),
        key,
        body: &body.bytes,
    });
    let (directory, token, repeated) = match gateway
        .create_directory_once(new, request.as_ref())
        .await?
    {
        Created::New(directory, token) => (directory, token, false),
        Created::Again(directory, token) => (directory, token, true),
        Created::Gone(id) => {
            return Err(Problem::new(
                409,
                format!(
                    "This request created the directory {id}, which was deleted since or whose token was rotated since."
                ),
            ));
        }
        Created::Differs => {
            return Err(Problem::new(
                422,
                "This Idempotency-Key was used with another body. Nothing was created.",
            ));
        }
    };
    let secret = gateway.webhook_secret(&directory).await?;
    let shown = Directory::created(&admin, &directory, token.expose(), secret.as_ref());
    let location = Header(LOCATION, format!("/v1/directories/{}", directory.id));
    let replayed = HeaderName::from_static("idempotent-replayed");
    let replayed = repeated.then_some([(replayed, "true")]);
    let response = (
        StatusCode::CREATED,
        NO_STORE,
        etag(&directory),
        location,
        Json(shown),
    );
    Ok(match replayed {
        Some(replayed) => (replayed, response).into_response(),
        None => response.into_response(),
    })
}

fn to_create(
    body: DirectoryToCreate,
    mut errors: crate::body::Errors,
    gateway: &Gateway,
) -> Result<NewDirectory, Problem> {
    let tenant = errors.required("/tenant", body.tenant);
    let product = errors.required("/product", body.product);
    let name = errors.required("/name", body.name);
    let provider = errors.required("/provider", body.provider);
    let settings = body.settings.map(|settings| settings.0);
    let settings = settings.unwrap_or_default();
    let webhook = body.webhook.flatten();
    let webhook = webhook.and_then(|new| new.0.read(gateway.webhooks(), &mut errors));
    errors.finish()?;
    match (tenant, product, name, provider) {
        (Some(Name(tenant)), Some(Name(product)), Some(Name(name)), Some(provider)) => {
            Ok(NewDirectory {
                tenant,
                product,
                name,
                provider,
                settings: settings.of(&directory::Settings::default()),
                webhook,
            })
        }
        // `finish` has refused what is missing.
        _ => Err(Problem::invalid(vec![])),
    }
}

/// List directories
#[utoipa::path(get, path = "/v1/directories", tag = "directories", params(ScopeFilter, crate::page::Paging),
    responses((status = 200, description = "A page of directories", body = List<Directory>), Problems))]
async fn list_directories(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    query: Query<ScopeFilter>,
) -> Result<Json<List<Directory>>, Problem> {
    let scope = query.filter.scope().and(admin.scope());
    let page = query.page(format!("directories {scope:?}"))?;
    let Some(scope) = scope else {
        return page.answer::<DirectoryPosition, _>([], [], None);
    };
    let after: Option<DirectoryPosition> = page.place()?;
    let found = gateway
        .store()
        .directories(&scope, after.as_ref(), page.limit)
        .await?;
    let (mut data, mut unreadable) = (vec![], vec![]);
    for (place, directory) in found.directories {
        match directory {
            Ok(directory) => data.push((place, Directory::listed(&admin, &directory))),
            Err(item) => unreadable.push(Unreadable::new(item, None)),
        }
    }
    page.answer(data, unreadable, found.next)
}

/// Show a directory
#[utoipa::path(get, path = "/v1/directories/{directory}", tag = "directories", params(DirectoryPath),
    responses((status = 200, description = "The directory", body = Directory), Problems))]
async fn show_directory(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    let directory = admin.directory(&gateway, &id).await?;
    if preconditions.is_not_modified(directory.version) {
        return Ok((StatusCode::NOT_MODIFIED, etag(&directory), ()).into_response());
    }
    let shown = Json(Directory::shown(&admin, &directory));
    Ok((etag(&directory), shown).into_response())
}

/// Change a directory
///
/// A member that is absent keeps its value. With the status `inactive`, the identity provider gets 403 within a minute,
/// and nothing is changed.
#[utoipa::path(patch, path = "/v1/directories/{directory}", tag = "directories", request_body = DirectoryChange,
    params(DirectoryPath, ("If-Match" = Option<String>, Header, description = "Changes nothing unless the directory has this ETag")),
    responses((status = 200, description = "The directory after the change", body = Directory), Problems))]
async fn change_directory(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
    preconditions: Preconditions,
    body: Body<DirectoryChange>,
) -> Result<impl IntoResponse, Problem> {
    let id = admin.standing(&gateway, &id).await?.id;
    let (value, mut errors) = (body.value, body.errors);
    let webhook = value.webhook.map(|webhook| {
        let webhook = webhook?.0;
        webhook.read(gateway.webhooks(), &mut errors)
    });
    errors.finish()?;
    let change = directory::DirectoryChange {
        name: value.name.map(|name| name.0),
        active: value.status.map(|status| status == NewStatus::Active),
        settings: value.settings.map(|new| new.0).unwrap_or_default(),
        webhook,
    };
    let (store, now) = (gateway.store(), gateway.now());
    let changed = store.change_directory(id, &change, &preconditions.precondition, now);
    let directory = changed.await?;
    let shown = Json(Directory::shown(&admin, &directory));
    Ok((etag(&directory), shown))
}

/// Delete a directory
///
/// Its tokens are refused within a minute, and its data is deleted in the background. Users and groups have no events of
/// their own: `directory.deleted` is the last event, and the directory is 404 from then on. The same request resumes a
/// deletion that stopped.
#[utoipa::path(delete, path = "/v1/directories/{directory}", tag = "directories",
    params(DirectoryPath, ("If-Match" = Option<String>, Header, description = "Deletes nothing unless the directory has this ETag")),
    responses((status = 202, description = "The deletion has begun", body = Deleting), Problems))]
async fn delete_directory(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
    preconditions: Preconditions,
) -> Result<impl IntoResponse, Problem> {
    let id = admin.directory(&gateway, &id).await?.id;
    let directory = gateway
        .delete_directory(id, &preconditions.precondition)
        .await?;
    let body = Json(Deleting {
        id,
        status: directory.status,
    });
    Ok((StatusCode::ACCEPTED, body))
}

/// The version of the directory as an entity tag.
fn etag(directory: &directory::Directory) -> Header {
    Header(ETAG, format!("W/\"{}\"", directory.version))
}
