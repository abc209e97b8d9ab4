//! Tokens: rotation without downtime, revocation within a minute, and what happens when Secrets Manager is down.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use http::Method;
use local::{Fault, Service};
use serde_json::json;

use crate::world::{HOST, World};

impl World {
    async fn status_with(&self, token: &str) -> u16 {
        let mut request = self.request(Method::GET, "/Users?count=0", "");
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.send(request).await.status.as_u16()
    }

    fn secrets(&self) -> Client {
        Client::new(self.cloud.config())
    }

    /// The name of the directory's secret.
    fn secret(&self) -> String {
        let template = self.stack.template();
        format!(
            "{}{}",
            template
                .environment("UsersFunction", "SECRET_PREFIX")
                .unwrap(),
            self.directory
        )
    }

    async fn rotate(&self, secret: serde_json::Value) {
        self.secrets()
            .put_secret_value()
            .secret_id(self.secret())
            .secret_string(secret.to_string())
            .send()
            .await
            .unwrap();
    }

    fn break_secrets(&self) {
        self.cloud.set_faults(|request| match request.service {
            Service::SecretsManager => Fault::Error {
                status: 500,
                code: "InternalServiceError",
                message: "down",
            },
            _ => Fault::Pass,
        });
    }
}

#[tokio::test]
async fn a_warm_check_costs_nothing() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    world.cloud.take_requests();
    world.wait(59);
    world.get("/ServiceProviderConfig").await.expect(200);
    let asked = world.cloud.take_requests();
    // Discovery is a process of its own: it read once.
    assert_eq!(asked.of(Service::SecretsManager).len(), 2);
    world.get("/ServiceProviderConfig").await.expect(200);
    assert!(world.cloud.take_requests().is_empty());
}

#[tokio::test]
async fn requests_that_come_together_read_once() {
    let world = Arc::new(World::new().await);
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.get("/Users?count=0").await.status.as_u16() })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(
        world
            .cloud
            .take_requests()
            .of(Service::SecretsManager)
            .len(),
        2
    );
}

#[tokio::test]
async fn a_rotation_needs_no_downtime() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    world.rotate(json!({"token": "the-new-one"})).await;
    world.wait(2);
    // At once, though the process believes for a minute what it read.
    assert_eq!(world.status_with("the-new-one").await, 200);
    assert_eq!(world.status_with(&world.token).await, 200);
    // After the grace time the old one is dead.
    world.wait(24 * 60 * 60);
    assert_eq!(world.status_with(&world.token).await, 401);
    assert_eq!(world.status_with("the-new-one").await, 200);
}

#[tokio::test]
async fn a_rotation_can_end_the_old_token_sooner() {
    let world = World::new().await;
    world
        .rotate(json!({"token": "the-new-one", "previousUntil": "2026-01-01T00:10:00Z"}))
        .await;
    assert_eq!(world.status_with(&world.token).await, 200);
    world.wait(10 * 60);
    assert_eq!(world.status_with(&world.token).await, 401);
    assert_eq!(world.status_with("the-new-one").await, 200);
}

#[tokio::test]
async fn a_token_of_two_rotations_ago_is_dead() {
    let world = World::new().await;
    world.rotate(json!({"token": "second"})).await;
    world.rotate(json!({"token": "third"})).await;
    assert_eq!(world.status_with(&world.token).await, 401);
    world.wait(2);
    assert_eq!(world.status_with("second").await, 200);
    assert_eq!(world.status_with("third").await, 200);
}

#[tokio::test]
async fn a_revoked_token_dies_within_a_minute() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    world
        .secrets()
        .delete_secret()
        .secret_id(world.secret())
        .send()
        .await
        .unwrap();
    world.wait(60);
    world.get("/Users?count=0").await.expect(401);
}

/// A warm process goes on with what it knows; a cold one says 503 and never 401, which Okta takes for bad credentials.
#[tokio::test]
async fn without_secrets_manager_a_warm_process_goes_on_and_a_cold_one_says_503() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    world.break_secrets();
    world.wait(3_600);
    world.get("/Users?count=0").await.expect(200);
    assert_eq!(world.status_with("wrong").await, 503, "it may be a new one");

    let cold = world.cold().await;
    let answer = cold.get("/Users?count=0").await.expect(503);
    assert_eq!(answer.header("content-type"), Some("application/scim+json"));
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(answer.json()["status"], "503");
    assert!(answer.header("www-authenticate").is_none());
    world.cloud.clear_faults();
    cold.get("/Users?count=0").await.expect(200);
}

/// Guessing costs the guesser time, and Secrets Manager nothing.
#[tokio::test]
async fn guesses_are_not_looked_up_one_by_one() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    world.cloud.take_requests();
    world.wait(2);
    for n in 0..50 {
        assert_eq!(world.status_with(&format!("guess-{n}")).await, 401);
    }
    assert_eq!(
        world
            .cloud
            .take_requests()
            .of(Service::SecretsManager)
            .len(),
        2
    );
    world.get("/Users?count=0").await.expect(200);
}

/// Neither are directories that do not exist.
#[tokio::test]
async fn unknown_directories_are_looked_up_slowly() {
    let world = World::new().await;
    let mut limited = 0;
    for n in 0..50 {
        let request = http::Request::builder()
            .uri(format!(
                "/scim/v2/00000000-0000-4000-8000-0000000000{n:02}/Users"
            ))
            .header("host", HOST)
            .header("authorization", "Bearer x")
            .body(axum::body::Bytes::new())
            .unwrap();
        match world.send(request).await.status.as_u16() {
            401 => {}
            429 => limited += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(limited, 30);
    world.wait(1);
    world.get("/Users?count=0").await.expect(200);
}

/// 403, so that Okta does not take a change for kept.
#[tokio::test]
async fn a_deactivated_directory_is_403() {
    let world = World::new().await;
    let client = aws_sdk_dynamodb::Client::new(world.cloud.config());
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let table = &world.stack.template().table.name;
    let key = |request: aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder| {
        request
            .table_name(table)
            .key("PK", text(&world.directory))
            .key("SK", text("META"))
    };
    let item = key(client.get_item()).send().await.unwrap().item.unwrap();
    let document = item["directory"]
        .as_s()
        .unwrap()
        .replace("\"active\"", "\"inactive\"");
    assert!(document.contains("inactive"));
    let mut item = item.clone();
    item.insert("directory".to_owned(), text(&document));
    client
        .put_item()
        .table_name(table)
        .set_item(Some(item))
        .send()
        .await
        .unwrap();
    let answer = world
        .post("/Users", &crate::world::user("ann@example.com"))
        .await
        .expect(403);
    assert_eq!(answer.json()["status"], "403");
    assert_eq!(world.events().await, Vec::<serde_json::Value>::new());
}

/// A8: 429 with whole seconds, which is what makes Okta wait and send again by itself.
#[tokio::test]
async fn a_directory_that_sends_too_much_is_429() {
    let world = World::new().await.limited().await;
    let id = world
        .post("/Users", &crate::world::user("ann@example.com"))
        .await
        .id();
    world.events().await;
    for _ in 0..199 {
        world.get(&format!("/Users/{id}")).await.expect(200);
    }
    world.cloud.take_requests();
    let answer = world.delete(&format!("/Users/{id}")).await.expect(429);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("content-type"), Some("application/scim+json"));
    let body = answer.json();
    assert_eq!(body["status"], "429");
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("50 requests a second"), "{detail}");
    assert!(world.cloud.take_requests().is_empty(), "it cost something");

    // A second later there are 50 more, and the user is still there.
    world.wait(1);
    for _ in 0..50 {
        world.get(&format!("/Users/{id}")).await.expect(200);
    }
    world.get(&format!("/Users/{id}")).await.expect(429);
    assert_eq!(world.events().await, Vec::<serde_json::Value>::new());
}

/// Whoever has no token takes nothing from the directory, and one directory nothing from another.
#[tokio::test]
async fn nobody_uses_up_the_requests_of_another_directory() {
    let world = World::new().await.limited().await;
    for _ in 0..300 {
        assert_eq!(world.status_with("wrong").await, 401);
    }
    for _ in 0..200 {
        assert_eq!(world.status_with(&world.token).await, 200);
    }
    assert_eq!(world.status_with(&world.token).await, 429);
    let other = directory::NewDirectory {
        tenant: "other".to_owned(),
        product: "crm".to_owned(),
        name: "Other".to_owned(),
        provider: directory::Provider::Okta,
        settings: directory::Settings::default(),
        webhook: None,
    };
    let created = world.stack.gateway().create_directory(other).await;
    let (directory, token) = created.unwrap();
    let request = http::Request::builder()
        .uri(format!("/scim/v2/{}/Users?count=0", directory.id))
        .header("host", HOST)
        .header("authorization", format!("Bearer {}", token.expose()))
        .body(axum::body::Bytes::new())
        .unwrap();
    world.send(request).await.expect(200);
    assert_eq!(world.status_with(&world.token).await, 429);
}

/// A bulk request is one request, however many operations it has: it is never cut off in its middle for coming too fast.
#[tokio::test]
async fn a_bulk_request_counts_once() {
    let world = World::new().await.limited().await;
    let operations: Vec<_> = (0..250)
        .map(|n| {
            let data = json!({"userName": format!("u{n}@example.com")});
            json!({"method": "POST", "path": "/Users", "bulkId": n.to_string(), "data": data})
        })
        .collect();
    let bulk = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": operations,
    });
    let answer = world.post("/Bulk", &bulk).await.expect(200).json();
    for outcome in answer["Operations"].as_array().unwrap() {
        assert_eq!(outcome["status"], "201", "{outcome}");
    }
    // The bulk function had 199 left.
    for _ in 0..199 {
        world.get("?count=0").await.expect(200);
    }
    world.get("?count=0").await.expect(429);
}
