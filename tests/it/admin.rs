//! Scopes and access of admin keys, and the OpenAPI document.

use std::collections::HashSet;

use aws_sdk_secretsmanager::Client;
use axum::body::{Body, Bytes};
use gateway::{AdminAuth, Gateway, Settings};
use http::{Method, Request};
use http_body_util::BodyExt;
use lambda_http::request::RequestContext;
use local::{Fault, Service};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{ADMIN_SECRET, HOST, World, new_directory, user};

/// Every operation that the description has: method, path and whether it changes something.
fn operations() -> Vec<(Method, String)> {
    let document = admin::document();
    let mut all = vec![];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            all.push((method.to_uppercase().parse().unwrap(), path.clone()));
        }
    }
    all
}

fn filled(path: &str, directory: &str, id: &str) -> String {
    path.replace("{directory}", directory).replace("{id}", id)
}

/// No key, a wrong key, a key for others, and an id of another directory: for each operation that there is.
#[tokio::test]
async fn every_operation_has_an_isolation_case() {
    let world = World::new().await;
    let acme = world.directory_of("acme", "crm").await;
    let ann = acme
        .post("/Users", &user("ann@example.com"))
        .await
        .expect(201)
        .id();
    let sales = acme
        .post("/Groups", &json!({"displayName": "Sales"}))
        .await
        .expect(201)
        .id();
    let others = world
        .key(
            "others",
            json!({"access": "read-write", "tenant": "umbrella"}),
        )
        .await;
    let reader = world.key("reader", json!({"access": "read"})).await;
    assert_eq!(operations().len(), 22);
    for (method, path) in operations() {
        let id = if path.contains("users") { &ann } else { &sales };
        let own = filled(&path, &acme.directory, id);
        let body = match method {
            Method::PATCH => json!({"name": "Taken"}),
            Method::POST if path == "/v1/directories" => new_directory("acme", "crm"),
            Method::POST => json!({}),
            _ => Value::Null,
        };
        let none = world.by("", method.clone(), &own, &body).await.expect(401);
        assert_eq!(
            none.header("www-authenticate"),
            Some(r#"Bearer realm="admin""#),
            "{method} {path}"
        );
        assert_eq!(
            none.header("content-type"),
            Some("application/problem+json")
        );
        // Wrong, unknown, of another form, of SCIM: all alike.
        let name = format!("rollcall_admin_first_{ADMIN_SECRET}");
        let stranger = format!("rollcall_admin_nobody_{ADMIN_SECRET}");
        let mut answers = vec![];
        for key in [name.as_str(), &stranger, "x", &acme.token] {
            world.wait(2);
            let answer = world.by(key, method.clone(), &own, &body).await.expect(401);
            assert_eq!(
                answer.header("www-authenticate"),
                Some(r#"Bearer realm="admin", error="invalid_token""#)
            );
            answers.push(answer.body);
        }
        assert!(
            answers.iter().all(|body| *body == answers[0]),
            "{method} {path}"
        );
        // Who is shown a secret could make deliveries up.
        if method != Method::GET || path.ends_with("/webhook") {
            world
                .by(&reader, method.clone(), &own, &body)
                .await
                .expect(403);
        }
        if path.contains("{directory}") {
            // A directory outside the scope of the key looks like one that does not exist.
            let other = world
                .by(&others, method.clone(), &own, &body)
                .await
                .expect(404);
            let nobody = filled(&path, "00000000-0000-4000-8000-000000000000", id);
            let nobody = world
                .by(&others, method.clone(), &nobody, &body)
                .await
                .expect(404);
            assert_eq!(other.body, nobody.body);
            let no_id = filled(&path, "x", id);
            world
                .by(&others, method.clone(), &no_id, &body)
                .await
                .expect(404);
        }
        if path.contains("{id}") {
            // The id of one directory says nothing in another.
            world
                .admin_get(&filled(&path, &world.directory, id))
                .await
                .expect(404);
            world
                .admin_get(&filled(&path, &acme.directory, "x"))
                .await
                .expect(404);
        }
    }
    // Nothing of all that did anything.
    let now = world
        .admin_get(&acme.admin_path(""))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&now["name"], &now["status"]),
        (&json!("acme (crm)"), &json!("active"))
    );
    acme.get("/Users?count=0").await.expect(200);
    let list = world.admin_get("/v1/directories").await.expect(200).json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_admin_key_reaches_only_its_scope() {
    let world = World::new().await;
    let mut all = vec![];
    for (tenant, product) in [("acme", "crm"), ("acme", "erp"), ("umbrella", "crm")] {
        let directory = world.directory_of(tenant, product).await;
        directory
            .post("/Users", &user(&format!("ann@{tenant}.{product}")))
            .await
            .expect(201);
        all.push(directory);
    }
    let cases = [
        (
            "crm",
            json!({"access": "read-write", "product": "crm"}),
            vec![0, 2],
        ),
        (
            "acme",
            json!({"access": "read-write", "tenant": "acme"}),
            vec![0, 1],
        ),
        (
            "both",
            json!({"access": "read-write", "tenant": "acme", "product": "crm"}),
            vec![0],
        ),
        (
            "nobody",
            json!({"access": "read-write", "tenant": "acm"}),
            vec![],
        ),
    ];
    for (name, rest, reached) in cases {
        let key = world.key(name, rest).await;
        let ids = |list: &Value, member: &str| {
            let mut ids: Vec<String> = list["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one[member].as_str().unwrap().to_owned())
                .collect();
            ids.sort();
            ids
        };
        let mut expected: Vec<String> = reached
            .iter()
            .map(|index: &usize| all[*index].directory.clone())
            .collect();
        expected.sort();
        let list = world
            .by(&key, Method::GET, "/v1/directories", &Value::Null)
            .await
            .expect(200)
            .json();
        assert_eq!(ids(&list, "id"), expected, "{name}");
        let users = world
            .by(&key, Method::GET, "/v1/users", &Value::Null)
            .await
            .expect(200)
            .json();
        assert_eq!(ids(&users, "directory_id"), expected, "{name}");
        // Asking for more than one may is asking for nothing.
        let path = "/v1/directories?tenant=umbrella&product=erp";
        let none = world
            .by(&key, Method::GET, path, &Value::Null)
            .await
            .expect(200)
            .json();
        assert_eq!(none, json!({"data": [], "next_cursor": null}));
        for (index, directory) in all.iter().enumerate() {
            let status = if reached.contains(&index) { 200 } else { 404 };
            world
                .by(&key, Method::GET, &directory.admin_path(""), &Value::Null)
                .await
                .expect(status);
        }
        let made = world
            .by(
                &key,
                Method::POST,
                "/v1/directories",
                &new_directory("umbrella", "erp"),
            )
            .await;
        made.expect(403);
    }
    // Cursors of one key lead nowhere under another.
    let key = world
        .key("third", json!({"access": "read", "product": "crm"}))
        .await;
    let page = world
        .admin_get("/v1/directories?limit=1")
        .await
        .expect(200)
        .json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let path = format!("/v1/directories?limit=1&cursor={cursor}");
    world
        .by(&key, Method::GET, &path, &Value::Null)
        .await
        .expect(400);
}

#[tokio::test]
async fn new_and_deleted_admin_keys_take_effect_within_a_minute() {
    let world = World::new().await;
    let key = format!("rollcall_admin_ci_{ADMIN_SECRET}");
    let look = async || {
        world
            .by(&key, Method::GET, "/v1/directories", &Value::Null)
            .await
            .status
            .as_u16()
    };
    assert_eq!(look().await, 401);
    world.key("ci", json!({"access": "read"})).await;
    world.wait(1);
    assert_eq!(look().await, 200);
    // Warm, a check asks nothing; and a process goes on with what it knows.
    world.cloud.take_requests();
    assert_eq!(look().await, 200);
    assert!(
        world
            .cloud
            .take_requests()
            .of(Service::SecretsManager)
            .is_empty()
    );
    world.cloud.set_faults(|request| match request.service {
        Service::SecretsManager => Fault::Error {
            status: 500,
            code: "InternalServiceError",
            message: "down",
        },
        _ => Fault::Pass,
    });
    world.wait(600);
    assert_eq!(look().await, 200);
    let cold = world.cold().await;
    let answer = cold
        .by(&key, Method::GET, "/v1/directories", &Value::Null)
        .await
        .expect(503);
    assert_eq!(answer.header("retry-after"), Some("5"));
    world.cloud.clear_faults();
    let client = Client::new(world.cloud.config());
    client
        .delete_secret()
        .secret_id("rollcall/admin/ci")
        .send()
        .await
        .unwrap();
    world.wait(60);
    assert_eq!(look().await, 401);
}

/// Keys of made-up names are 401, however many there are, and are looked up four a second at most. They take nothing
/// from keys that exist, be these known to the process or not.
#[tokio::test]
async fn unknown_admin_keys_are_looked_up_slowly_and_do_not_block_valid_ones() {
    let world = World::new().await;
    let known = world.key("ci", json!({"access": "read"})).await;
    let new = world.key("new", json!({"access": "read"})).await;
    let look = async |key: &str| {
        let path = "/v1/directories";
        let answer = world.by(key, Method::GET, path, &Value::Null).await;
        answer.status.as_u16()
    };
    assert_eq!(look(&known).await, 200);
    world.cloud.take_requests();
    world.rested();
    let begun = std::time::Instant::now();
    for n in 0..100 {
        assert_eq!(
            look(&format!("rollcall_admin_x{n}_{ADMIN_SECRET}")).await,
            401
        );
    }
    let asked = world.cloud.take_requests();
    assert_eq!(asked.of(Service::SecretsManager).len(), 100);
    // A test does not wait where a function does: what it asked to rest is counted.
    let time = u128::from(world.rested()) + begun.elapsed().as_millis();
    assert!(time >= 99 * 240, "{time}");
    assert_eq!(look(&known).await, 200);
    assert!(
        world
            .cloud
            .take_requests()
            .of(Service::SecretsManager)
            .is_empty()
    );
    assert_eq!(look(&new).await, 200);
    // A wrong key of a name that exists is answered the same.
    assert_eq!(
        look(&format!("rollcall_admin_ci_{ADMIN_SECRET}x")).await,
        401
    );
}

/// A scope that is misspelt, or a key that could be guessed, opens nothing.
#[tokio::test]
async fn a_malformed_secret_is_not_an_admin_key() {
    let world = World::new().await;
    for (index, rest) in [
        json!({"access": "read", "tennant": "acme"}),
        json!({"access": "write"}),
        json!({}),
        json!({"access": "read", "key": "short"}),
    ]
    .into_iter()
    .enumerate()
    {
        world.wait(2);
        let key = world.key(&format!("k{index}"), rest).await;
        for key in [key, format!("rollcall_admin_k{index}_short")] {
            world
                .by(&key, Method::GET, "/v1/directories", &Value::Null)
                .await
                .expect(401);
        }
    }
}

/// With AdminAuth=iam only the principal that API Gateway has checked is authorized, and keys are not accepted.
#[tokio::test]
async fn with_iam_authentication_a_signature_is_enough() {
    let world = World::new().await;
    let settings = Settings {
        admin_auth: AdminAuth::Iam,
        ..world.deployed()
    };
    let router = admin::router(Gateway::new(world.cloud.config(), settings));
    let context = |authorizer: Value| -> RequestContext {
        let context = json!({
            "accountId": "1", "apiId": "a", "domainName": HOST, "stage": "$default", "requestId": "r", "routeKey": "r",
            "authorizer": authorizer,
            "http": {"method": "GET", "path": "/v1/directories", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"},
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_u64,
        });
        RequestContext::ApiGatewayV2(serde_json::from_value(context).unwrap())
    };
    let ask = async |authorizer: Value| {
        let mut request = Request::get("/v1/directories")
            .header("authorization", format!("Bearer {}", world.admin_key))
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(context(authorizer));
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body: Bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, body)
    };
    let principal = json!({"iam": {"accessKey": "AKIA", "accountId": "1", "callerId": "c", "userArn": "arn:aws:iam::1:role/backend", "userId": "u"}});
    let (status, body) = ask(principal).await;
    assert_eq!(status, 200, "{body:?}");
    for none in [
        Value::Null,
        json!({}),
        json!({"jwt": {"claims": {}, "scopes": null}}),
    ] {
        assert_eq!(ask(none).await.0, 401);
    }
}

/// With AdminAuth=iam API Gateway compares policies with the path as it was sent, so that path is served, or none.
#[tokio::test]
async fn a_signature_is_valid_for_the_served_path_only() {
    let world = World::new().await;
    let settings = Settings {
        admin_auth: AdminAuth::Iam,
        ..world.deployed()
    };
    let router = admin::router(Gateway::new(world.cloud.config(), settings));
    let id = &world.directory;
    let ask = async |path: &str, proxy: &str| {
        let event = json!({
            "version": "2.0", "routeKey": "ANY /v1/{proxy+}", "rawPath": path, "rawQueryString": "",
            "pathParameters": {"proxy": proxy}, "headers": {"host": HOST},
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": HOST, "stage": "$default", "requestId": "r",
                "authorizer": {"iam": {"userArn": "arn:aws:iam::1:role/backend"}},
                "http": {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"},
                "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_u64,
            },
            "isBase64Encoded": false,
        });
        let event = lambda_http::LambdaEvent::new(
            serde_json::from_value(event).unwrap(),
            lambda_http::Context::default(),
        );
        let Ok(answer) = gateway::answer(router.clone(), event).await;
        serde_json::to_value(answer).unwrap()["statusCode"].clone()
    };
    let users = format!("directories/{id}/users");
    assert_eq!(ask(&format!("/v1/{users}"), &users).await, 200);
    for (path, proxy) in [
        // A policy for /v1/directories/other/* would open this directory.
        (
            format!("/v1/directories/other/../{id}/users"),
            format!("directories/other/../{id}/users"),
        ),
        // A policy that denies /v1/directories/* would not be asked.
        (format!("/v1//{users}"), format!("/{users}")),
        (format!("/v1/{users}"), format!("%64irectories/{id}/users")),
        (format!("/v1/{users}"), format!("directories/{id}%2Fusers")),
    ] {
        assert_eq!(ask(&path, &proxy).await, 400, "{path} {proxy}");
    }
}

#[tokio::test]
async fn the_openapi_document_is_served_and_each_operation_has_an_id_of_its_own() {
    let world = World::new().await;
    let served = world.admin_get("/v1/openapi.json").await.expect(200).json();
    assert_eq!(served, admin::document());
    let version = served["openapi"].as_str().unwrap();
    assert!(version.starts_with("3.1"), "{version}");
    let paths = served["paths"].as_object().unwrap().values();
    let operations: Vec<&Value> = paths
        .flat_map(|methods| methods.as_object().unwrap().values())
        .collect();
    let ids: HashSet<&str> = operations
        .iter()
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), operations.len());
}

/// The answers, and what is sent, fit what the description says of them.
#[tokio::test]
async fn responses_match_the_openapi_document() {
    let world = World::new().await;
    let document = admin::document();
    let check = |name: &str, value: &Value| {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$ref": format!("#/components/schemas/{name}"),
            "components": document["components"],
        });
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:?} in {value}");
        let mut more = value.clone();
        more["more"] = json!(1);
        assert!(!validator.is_valid(&more), "{name} takes more");
    };
    let body = json!({"tenant": "acme", "product": "crm", "name": "Acme", "provider": "azure-scim-v2", "settings": {"strict": false},
        "webhook": {"url": "https://example.com/hook"}});
    check("NewDirectory", &body);
    let created = world
        .admin(Method::POST, "/v1/directories", body)
        .await
        .expect(201)
        .json();
    check("Directory", &created);
    let acme = world.of(&created);
    let ann = acme
        .post("/Users", &user("ann@example.com"))
        .await
        .expect(201)
        .id();
    let sales = json!({"displayName": "Sales", "externalId": "00g1", "members": [{"value": ann}]});
    let sales = acme.post("/Groups", &sales).await.expect(201).id();
    let all = json!({"displayName": "All", "members": [{"value": sales}]});
    acme.post("/Groups", &all).await.expect(201);
    world.wait(60);
    let cases = [
        ("List_Directory", "/v1/directories".to_owned(), 2),
        ("List_User", acme.admin_path("/users"), 1),
        (
            "List_User",
            "/v1/users?tenant=acme&product=crm".to_owned(),
            1,
        ),
        ("List_Group", acme.admin_path("/groups"), 2),
        (
            "List_Group",
            "/v1/groups?tenant=acme&product=crm".to_owned(),
            2,
        ),
        (
            "List_Group",
            acme.admin_path(&format!("/users/{ann}/groups")),
            2,
        ),
        (
            "List_Member",
            acme.admin_path(&format!("/groups/{sales}/members")),
            1,
        ),
        ("List_Event", acme.admin_path("/events"), 6),
        ("Tokens", acme.admin_path("/tokens"), 1),
    ];
    for (name, path, count) in cases {
        let answer = world.admin_get(&path).await.expect(200).json();
        assert_eq!(
            answer["data"].as_array().unwrap().len(),
            count,
            "{path}: {answer}"
        );
        check(name, &answer);
    }
    for (name, path) in [
        ("Directory", acme.admin_path("")),
        ("Webhook", acme.admin_path("/webhook")),
        ("User", acme.admin_path(&format!("/users/{ann}"))),
        ("Group", acme.admin_path(&format!("/groups/{sales}"))),
    ] {
        check(name, &world.admin_get(&path).await.expect(200).json());
    }
    check(
        "Problem",
        &world
            .admin_get("/v1/directories/x")
            .await
            .expect(404)
            .json(),
    );
    let wrong = world
        .admin(Method::POST, "/v1/directories", json!({"more": 1}))
        .await
        .expect(422)
        .json();
    check("Problem", &wrong);
    check(
        "Problem",
        &world
            .admin_get("/v1/directories?limit=x")
            .await
            .expect(400)
            .json(),
    );
    let rotated = world
        .admin(Method::POST, &acme.admin_path("/tokens"), json!({}))
        .await
        .expect(201)
        .json();
    check("Rotated", &rotated);
    let deleting = world
        .admin(Method::DELETE, &acme.admin_path(""), Value::Null)
        .await
        .expect(202)
        .json();
    check("Deleting", &deleting);
}
