//! Directories: create, read, list, change, delete.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use directory::{
    Directory, DirectoryChange, DirectoryId, DirectoryPosition, EgressPolicy, NewDirectory,
    Provider, Repeatable, Scope, Unreadable, Webhook,
};
use gateway::{
    Administrator, Created, Gateway, Preconditions, Problem, QueryParams, Reader, SigningSecret,
    Writer,
};
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{Body, chosen, idempotency_key};
use crate::cursor::Page;
use crate::openapi::Failures;
use crate::{json, schema, secret};

/// What a caller may make of a directory.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Active,
    Inactive,
}

/// Creates a directory
///
/// The token is in the answer, and never again. If the directory has a webhook, its secret is there as well. With an
/// `Idempotency-Key` the same request again, within a day, answers the same directory and token, as long as the token was not rotated.
#[utoipa::path(post, path = "/v1/directories", tag = "directories", request_body = schema::NewDirectory,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the same request again answer the same")),
    responses((status = 201, body = schema::Directory), Failures))]
pub async fn create(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let new = read_new(body.fields, gateway.webhooks())?;
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
    let (directory, token, again) = match gateway
        .create_directory_once(new, request.as_ref())
        .await?
    {
        Created::New(directory, token) => (directory, token, false),
        Created::Again(directory, token) => (directory, token, true),
        Created::Gone(id) => {
            return Err(Problem::new(
                409,
                format!(
                    "This request made the directory {id}, whose token was rotated or which was deleted since."
                ),
            ));
        }
        Created::Differs => {
            return Err(Problem::new(
                422,
                "This Idempotency-Key was used for another body. Nothing was created.",
            ));
        }
    };
    let secret = gateway.webhook_secret(&directory).await?;
    let mut response = made(&admin, &directory, token.expose(), secret.as_ref());
    if again {
        let name = HeaderName::from_static("idempotent-replayed");
        let again = HeaderValue::from_static("true");
        response.headers_mut().insert(name, again);
    }
    Ok(response)
}

fn read_new(
    mut fields: crate::body::Fields,
    webhooks: Option<EgressPolicy>,
) -> Result<NewDirectory, Problem> {
    const PROVIDERS: &str = "one of okta-scim-v2, azure-scim-v2, onelogin-scim-v2, jumpcloud-scim-v2, ping-scim-v2, generic-scim-v2";
    let tenant = fields.name("tenant");
    let product = fields.name("product");
    let name = fields.name("name");
    // Those that this version knows, and no others.
    let provider: Option<schema::Provider> = fields.needed("provider", PROVIDERS);
    let settings = chosen(&fields.settings());
    let webhook = fields.webhook(webhooks).flatten();
    fields.finish()?;
    match (tenant, product, name, provider) {
        (Some(tenant), Some(product), Some(name), Some(provider)) => Ok(NewDirectory {
            tenant,
            product,
            name,
            provider: provider.into(),
            settings,
            webhook,
        }),
        // What is missing was refused above.
        _ => Err(Problem::invalid(vec![])),
    }
}

fn made(
    admin: &Administrator,
    directory: &Directory,
    token: &str,
    signing: Option<&SigningSecret>,
) -> Response {
    let mut body = with_setup(admin, directory);
    if let Value::Object(members) = &mut body {
        members.insert("token".to_owned(), json!(token));
        if let (Some(webhook), Some(signing)) = (&directory.webhook, signing) {
            members.insert("webhook".to_owned(), with_secret(webhook, signing));
        }
    }
    let mut response = secret(tagged(json(StatusCode::CREATED, &body), directory));
    let address = format!("/v1/directories/{}", directory.id);
    if let Ok(address) = HeaderValue::from_str(&address) {
        response.headers_mut().insert(LOCATION, address);
    }
    response
}

/// Lists directories
#[utoipa::path(get, path = "/v1/directories", tag = "directories",
    params(("tenant" = Option<String>, Query, description = "Those of this tenant"),
        ("product" = Option<String>, Query, description = "Those of this product"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 200, body = schema::DirectoryList), Failures))]
pub async fn list(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    params: QueryParams,
) -> Result<Response, Problem> {
    let scope = asked(&params).and(admin.scope());
    let page = Page::read(
        &params,
        &["tenant", "product"],
        format!("directories {scope:?}"),
    )?;
    let Some(scope) = scope else {
        return page.answer::<DirectoryPosition>(vec![], vec![], None);
    };
    let after: Option<DirectoryPosition> = page.place()?;
    let found = gateway
        .store()
        .directories(&scope, after.as_ref(), page.limit)
        .await?;
    let (mut data, mut unreadable) = (vec![], vec![]);
    for (place, directory) in found.directories {
        match directory {
            Ok(directory) => data.push((place, view(&admin, &directory))),
            Err(item) => unreadable.push(named(&item, None)),
        }
    }
    page.answer(data, unreadable, found.next)
}

/// An item that a list cannot show, be it in the directory `of`.
pub fn named(item: &Unreadable, of: Option<DirectoryId>) -> Value {
    let mut named = json!({"type": item.kind, "id": item.id, "reason": item.reason});
    if let (Value::Object(members), Some(directory)) = (&mut named, of) {
        members.insert("directory_id".to_owned(), json!(directory));
    }
    named
}

/// The directories that a query is about.
pub fn asked(params: &QueryParams) -> Scope {
    Scope {
        tenant: params.get("tenant").map(str::to_owned),
        product: params.get("product").map(str::to_owned),
    }
}

/// Shows a directory
#[utoipa::path(get, path = "/v1/directories/{directory}", tag = "directories",
    params(("directory" = String, Path, description = "The directory's id")),
    responses((status = 200, body = schema::Directory), Failures))]
pub async fn read(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    let directory = admin.directory(&gateway, &id).await?;
    if preconditions.is_not_modified(directory.version) {
        return Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), &directory));
    }
    let body = with_setup(&admin, &directory);
    Ok(tagged(json(StatusCode::OK, &body), &directory))
}

/// Changes a directory
///
/// What is left out stays. `inactive` answers the identity provider 403 within a minute, and changes nothing else.
#[utoipa::path(patch, path = "/v1/directories/{directory}", tag = "directories", request_body = schema::DirectoryChange,
    params(("directory" = String, Path, description = "The directory's id"),
        ("If-Match" = Option<String>, Header, description = "Changes nothing unless the directory has this ETag")),
    responses((status = 200, body = schema::Directory), Failures))]
pub async fn modify(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
    preconditions: Preconditions,
    body: Body,
) -> Result<Response, Problem> {
    let id = admin.standing(&gateway, &id).await?.id;
    let mut fields = body.fields;
    let change = DirectoryChange {
        name: fields.one("name", "a text"),
        active: fields
            .one("status", "active or inactive")
            .map(|status: Standing| status == Standing::Active),
        settings: fields.settings(),
        webhook: fields.webhook(gateway.webhooks()),
    };
    fields.finish()?;
    let (store, now) = (gateway.store(), gateway.now());
    let changed = store.change_directory(id, &change, &preconditions.precondition, now);
    let directory = changed.await?;
    let body = with_setup(&admin, &directory);
    Ok(tagged(json(StatusCode::OK, &body), &directory))
}

/// Deletes a directory
///
/// Its tokens end within a minute: until then a process that has just served the identity provider may take a request, whose changes go with the rest.
/// Everything in it goes in the background, without an event for each user and group; `directory.deleted` is the end, after which it is 404. The same request again makes a deletion go on that got stuck.
#[utoipa::path(delete, path = "/v1/directories/{directory}", tag = "directories",
    params(("directory" = String, Path, description = "The directory's id"),
        ("If-Match" = Option<String>, Header, description = "Deletes nothing unless the directory has this ETag")),
    responses((status = 202, body = schema::Deleting), Failures))]
pub async fn delete(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    let id: DirectoryId = admin.directory(&gateway, &id).await?.id;
    let deleting = gateway.delete_directory(id, &preconditions.precondition);
    let directory = deleting.await?;
    let body = json!({"id": id, "status": directory.status.as_str()});
    Ok(json(StatusCode::ACCEPTED, &body))
}

/// Shows the webhook, with its secret
///
/// `secret` is what deliveries are signed with (Standard Webhooks); only keys that may change things are shown it. To have another secret, take
/// the webhook away (`"webhook": null`) and set it again.
#[utoipa::path(get, path = "/v1/directories/{directory}/webhook", tag = "directories",
    params(("directory" = String, Path, description = "The directory's id")),
    responses((status = 200, body = schema::Webhook), Failures))]
pub async fn webhook(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let directory = admin.directory(&gateway, &id).await?;
    let signing = gateway.webhook_secret(&directory).await?;
    match (&directory.webhook, signing) {
        (Some(webhook), Some(signing)) => {
            let shown = json(StatusCode::OK, &with_secret(webhook, &signing));
            Ok(secret(shown))
        }
        _ => Err(Problem::not_found("webhook")),
    }
}

fn with_secret(webhook: &Webhook, secret: &SigningSecret) -> Value {
    let mut shown = webhook.data();
    if let Value::Object(members) = &mut shown {
        members.insert("secret".to_owned(), json!(secret.expose()));
    }
    shown
}

/// A directory as it is shown.
fn view(admin: &Administrator, directory: &Directory) -> Value {
    let mut data = directory.data();
    let base_url = admin.scim_base_url(directory);
    data.insert("base_url".to_owned(), json!(base_url));
    if let Some(webhook) = directory.webhook.as_ref().filter(|_| admin.may_write()) {
        data.insert("webhook".to_owned(), webhook.data());
    }
    if !directory.unreadable.is_empty() {
        let parts = directory.unreadable.iter();
        let parts = parts.map(|part| json!({"pointer": part.pointer, "detail": part.detail}));
        data.insert("unreadable".to_owned(), parts.collect());
    }
    Value::Object(data)
}

/// The same, with what the customer's administrator does.
fn with_setup(admin: &Administrator, directory: &Directory) -> Value {
    let mut view = view(admin, directory);
    if let Value::Object(members) = &mut view {
        members.insert("setup".to_owned(), json!(setup(&directory.provider)));
    }
    view
}

/// What the customer's administrator does, in the words of the provider's console.
fn setup(provider: &Provider) -> &'static [&'static str] {
    match provider {
        Provider::Okta => &[
            "Applications, Browse App Catalog: add \"SCIM 2.0 Test App (OAuth Bearer Token)\".",
            "Provisioning, Integration, Configure API Integration: enable it; SCIM 2.0 Base Url is base_url, OAuth Bearer Token is the token.",
            "Test API Credentials, then Save.",
            "Provisioning, To App, Edit: enable Create Users, Update User Attributes and Deactivate Users.",
            "Assignments: assign people. Push Groups: push groups of people who are assigned.",
        ],
        Provider::Azure => &[
            "Enterprise applications, New application, Create your own application: Integrate any other application.",
            "Provisioning: Automatic. Tenant URL is base_url as it stands, with ?aadOptscim062020; Secret Token is the token.",
            "Test Connection, then Save.",
            "Mappings: map objectId to externalId, in place of mailNickname.",
            "Users and groups: assign them. Provisioning status: On.",
        ],
        Provider::OneLogin => &[
            "Applications, Add App: \"SCIM Provisioner with SAML (SCIM v2 Enterprise)\".",
            "Configuration: SCIM Base URL is base_url, SCIM Bearer Token is the token; Enable API connection.",
            "Provisioning: enable it. Users are suspended, or deleted, as you choose there.",
            "Access, Users: assign people.",
        ],
        Provider::JumpCloud => &[
            "SSO Applications: open or add the application, then Identity Management.",
            "API Type is SCIM API, SCIM Version is SCIM 2.0; Base URL is base_url, Token Key is the token.",
            "Test Connection with a test user's address, then Activate.",
            "User Groups: connect the groups whose members are to be provisioned.",
        ],
        Provider::PingOne => &[
            "Integrations, Provisioning, +, New connection: Identity Store, SCIM Outbound.",
            "Configure authentication: SCIM base URL is base_url, Users resource /Users, Groups resource /Groups, SCIM version 2.0; Authentication method is OAuth 2 Bearer Token, OAuth Access Token the token.",
            "Test Connection. Enable the connection.",
            "Provisioning, +, New rule, with that connection as the target: choose who is provisioned by User Filter, and which groups. Enable the rule.",
        ],
        Provider::Generic | Provider::Other(_) => &[
            "SCIM 2.0 base URL is base_url.",
            "Authentication is an OAuth bearer token, the token, in the Authorization header.",
        ],
    }
}

/// With the version as a header.
fn tagged(mut response: Response, directory: &Directory) -> Response {
    let tag = format!("W/\"{}\"", directory.version);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
