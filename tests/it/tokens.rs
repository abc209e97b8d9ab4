//! Tokens: rotation without downtime, revocation within a minute, and requests while Secrets Manager is unavailable.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::Client;
use futures_util::future::{join, join_all};
use http::Method;
use local::{Fault, Passage, RequestInfo, Service};
use serde_json::{Value, json};

use crate::harness::{HOST, World};

impl World {
    async fn status_with(&self, token: &str) -> u16 {
        let mut request = self.request(Method::GET, "/Users?count=0", "");
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.send(request).await.status.as_u16()
    }

    /// Rotates the token through the admin API.
    async fn rotation(&self, body: Value) -> crate::harness::Answer {
        let path = self.admin_path("/tokens");
        self.admin(Method::POST, &path, body).await
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
    let expected = ["GetItem", "GetSecretValue", "UpdateItem"];
    assert_eq!(asked.operations(), expected, "and the hour of its use");
    world.get("/ServiceProviderConfig").await.expect(200);
    assert!(world.cloud.take_requests().is_empty());
}

#[tokio::test]
async fn concurrent_requests_read_a_token_once() {
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
        1
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
    // After the grace period the old token is invalid.
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
async fn a_token_of_two_rotations_ago_is_invalid() {
    let world = World::new().await;
    world.rotate(json!({"token": "second"})).await;
    world.rotate(json!({"token": "third"})).await;
    assert_eq!(world.status_with(&world.token).await, 401);
    world.wait(2);
    assert_eq!(world.status_with("second").await, 200);
    assert_eq!(world.status_with("third").await, 200);
}

#[tokio::test]
async fn a_revoked_token_is_invalid_within_a_minute() {
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
async fn without_secrets_manager_a_warm_process_answers_and_a_cold_one_is_503() {
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

/// Guessing costs the guesser time, and Secrets Manager little: four calls a second at most for one directory, and two
/// for any number of guesses at once.
#[tokio::test]
async fn unknown_tokens_are_looked_up_slowly_and_together() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    world.cloud.take_requests();
    world.rested();
    let begun = Instant::now();
    for n in 0..50 {
        assert_eq!(world.status_with(&format!("guess-{n}")).await, 401);
    }
    let asked = world.cloud.take_requests();
    let calls = asked.of(Service::SecretsManager).len();
    assert!(calls <= 100, "{calls}");
    // A test does not wait where a function does: what it asked to rest is counted.
    let time = u128::from(world.rested()) + begun.elapsed().as_millis();
    assert!(time >= (calls as u128 - 1) * 240, "{time} ms for {calls}");
    let guesses: Vec<String> = (50..100).map(|n| format!("guess-{n}")).collect();
    let answers = join_all(guesses.iter().map(|guess| world.status_with(guess))).await;
    assert!(answers.iter().all(|status| *status == 401));
    let asked = world.cloud.take_requests();
    assert_eq!(asked.of(Service::SecretsManager).len(), 2);
    world.get("/Users?count=0").await.expect(200);
    assert!(
        world
            .cloud
            .take_requests()
            .of(Service::SecretsManager)
            .is_empty()
    );
}

/// A request to a directory that does not exist.
fn stranger(n: usize) -> http::Request<axum::body::Bytes> {
    http::Request::builder()
        .uri(format!("/scim/v2/00000000-0000-4000-8000-{n:012}/Users"))
        .header("host", HOST)
        .header("authorization", "Bearer x")
        .body(axum::body::Bytes::new())
        .unwrap()
}

/// A directory that does not exist costs one read of the table, and no call of Secrets Manager.
#[tokio::test]
async fn an_unknown_directory_costs_one_read() {
    let world = World::new().await;
    world.send(stranger(0)).await.expect(401);
    let asked = world.cloud.take_requests();
    assert_eq!(asked.operations(), ["GetItem"]);
    let units: f64 = asked.iter().map(|request| request.read_units).sum();
    assert!(units <= 1.0, "{units}");
}

/// Requests to directories that do not exist are 401, however many there are, and take nothing from those that do:
/// neither from one that this process knows, nor from one that it does not know yet.
#[tokio::test]
async fn unknown_directories_take_no_lookups_from_existing_ones() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    world.cloud.take_requests();
    for n in 0..500 {
        let answer = world.send(stranger(n)).await;
        assert_eq!(answer.status, 401, "the {n}th");
    }
    world.cloud.take_requests();
    world.get("/Users?count=0").await.expect(200);
    let asked = world.cloud.take_requests();
    assert!(asked.of(Service::SecretsManager).is_empty(), "{asked:?}");
    let other = world.with_settings(directory::Settings::default()).await;
    let other = world.of(&json!({"id": other.directory, "token": other.token}));
    other.get("/Users?count=0").await.expect(200);
    assert_eq!(other.status_with("wrong").await, 401);
}

/// What is throttled before the token is known may be sent again, which Okta does by itself after 429 alone; 503 is for
/// what is broken.
#[tokio::test(start_paused = true)]
async fn a_throttled_token_check_is_429() {
    let world = World::here().await;
    for (service, status, code, answered) in [
        (Service::SecretsManager, 400, "ThrottlingException", 429),
        (Service::SecretsManager, 400, "Throttling", 429),
        (Service::SecretsManager, 400, "RequestLimitExceeded", 429),
        (
            Service::SecretsManager,
            400,
            "TooManyRequestsException",
            429,
        ),
        (Service::SecretsManager, 400, "LimitExceededException", 429),
        (Service::SecretsManager, 429, "", 429),
        (Service::SecretsManager, 500, "InternalServiceError", 503),
        (Service::SecretsManager, 400, "AccessDeniedException", 503),
        (Service::DynamoDb, 400, "ThrottlingException", 429),
        (
            Service::DynamoDb,
            400,
            "ProvisionedThroughputExceededException",
            429,
        ),
        (Service::DynamoDb, 400, "RequestLimitExceeded", 429),
        (Service::DynamoDb, 500, "InternalServerError", 503),
        (Service::DynamoDb, 400, "AccessDeniedException", 503),
    ] {
        let cold = world.cold().await;
        let fault = move |request: &RequestInfo| {
            if request.service == service {
                Fault::Error {
                    status,
                    code,
                    message: "Rate exceeded",
                }
            } else {
                Fault::Pass
            }
        };
        world.cloud.set_faults(fault);
        let answer = cold.get("/Users?count=0").await;
        assert_eq!(answer.status, answered, "{service:?} {status} {code}");
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert!(answer.header("www-authenticate").is_none());
        // The key of an administrator is in Secrets Manager alone.
        if service == Service::SecretsManager {
            let answer = cold.admin_get("/v1/directories").await;
            assert_eq!(answer.status, answered, "{status} {code}");
            assert_eq!(answer.header("retry-after"), Some("5"));
            assert!(answer.header("www-authenticate").is_none());
        }
        world.cloud.clear_faults();
        cold.get("/Users?count=0").await.expect(200);
        cold.admin_get("/v1/directories").await.expect(200);
    }
}

/// The new token is good as soon as it is answered, in a process that has just been shown a wrong one as well.
#[tokio::test]
async fn a_new_token_is_valid_at_once() {
    let world = World::new().await;
    for _ in 0..3 {
        world.get("/Users?count=0").await.expect(200);
        assert_eq!(world.status_with("wrong").await, 401);
        let new = world.rotation(json!({})).await.expect(201).json();
        let new = new["token"].as_str().unwrap();
        assert_eq!(world.status_with(new).await, 200);
        assert_eq!(world.status_with(&world.token).await, 200);
        world
            .admin(
                Method::DELETE,
                &world.admin_path("/tokens/previous"),
                Value::Null,
            )
            .await
            .expect(204);
        let new = world.rotation(json!({})).await.expect(201).json();
        assert_eq!(world.status_with(new["token"].as_str().unwrap()).await, 200);
        world.rotate(json!({"token": world.token})).await;
        world.wait(61);
    }
}

/// Secrets Manager may answer for a moment as it did before. A rotation is answered when it is seen, the token before
/// is good all the while, and a token that was put by hand is looked up once more before it is refused.
#[tokio::test]
async fn a_new_token_is_valid_at_once_while_secrets_manager_lags() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    // So many reads after each change see what there was before it.
    let lag = |reads: usize| {
        let last = Mutex::new((Instant::now(), 0));
        world.cloud.set_faults(move |request| {
            let mut last = last.lock().unwrap();
            match (request.service, request.operation.as_str()) {
                (Service::SecretsManager, "GetSecretValue") if last.1 > 0 => {
                    last.1 -= 1;
                    Fault::Passage(Passage {
                        stale: last.0.elapsed() + Duration::from_millis(1),
                        ..Passage::default()
                    })
                }
                (Service::SecretsManager, "PutSecretValue" | "UpdateSecretVersionStage") => {
                    *last = (Instant::now(), reads);
                    Fault::Pass
                }
                _ => Fault::Pass,
            }
        });
    };
    for reads in [1, 3] {
        lag(reads);
        let cold = world.cold().await;
        let new = world.rotation(json!({})).await.expect(201).json();
        let new = new["token"].as_str().unwrap();
        assert_eq!(cold.status_with(new).await, 200);
        assert_eq!(world.status_with(new).await, 200);
        let again = world.rotation(json!({})).await.expect(201).json();
        // In the middle of a rotation: whatever is read, the token before is good.
        let cold = world.cold().await;
        assert_eq!(cold.status_with(new).await, 200);
        assert_eq!(
            cold.status_with(again["token"].as_str().unwrap()).await,
            200
        );
    }
    lag(1);
    world.rotate(json!({"token": "by-hand"})).await;
    assert_eq!(world.status_with("by-hand").await, 200);
}

/// Whatever moment of a rotation a process reads in, it takes the token before.
#[tokio::test]
async fn the_previous_token_is_valid_throughout_a_rotation() {
    let world = Arc::new(World::new().await);
    for _ in 0..5 {
        let rotation = world.rotation(json!({}));
        let token = world.token.clone();
        let reader = world.clone();
        let reads = async {
            for _ in 0..10 {
                let cold = reader.cold().await;
                assert_eq!(cold.status_with(&token).await, 200);
            }
        };
        let (rotated, ()) = join(rotation, reads).await;
        rotated.expect(201);
        world.rotate(json!({"token": world.token})).await;
    }
}

/// Of rotations at once, one at most is answered 201 for each token that it can replace; the others are 409 and
/// have changed nothing. Every token in a response is valid.
#[tokio::test]
async fn concurrent_rotations_return_valid_tokens() {
    for grace in [0, 3_600] {
        let world = World::new().await;
        let body = json!({"grace_seconds": grace});
        // Each has decided before the first of them writes.
        world.admin_get(&world.admin_path("")).await.expect(200);
        world.cloud.set_faults(|request| {
            if request.operation == "PutSecretValue" && request.number <= 4 {
                Fault::Delay(Duration::from_millis(50))
            } else {
                Fault::Pass
            }
        });
        let answers = join_all((0..4).map(|_| world.rotation(body.clone()))).await;
        let statuses: Vec<u16> = answers.iter().map(|one| one.status.as_u16()).collect();
        let mut sorted = statuses.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [201, 409, 409, 409], "{statuses:?}");
        let cold = world.cold().await;
        let mut tokens = BTreeSet::new();
        for answer in answers {
            match answer.status.as_u16() {
                201 => {
                    let token = answer.json()["token"].as_str().unwrap().to_owned();
                    assert_eq!(cold.status_with(&token).await, 200);
                    tokens.insert(token);
                }
                _ => {
                    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                    assert!(detail.contains("faster"), "{detail}");
                }
            }
        }
        let old = cold.status_with(&world.token).await;
        assert_eq!(old, if grace == 0 { 401 } else { 200 });
        // A rotation after that works.
        world.rotation(json!({})).await.expect(201);
    }
}

/// The end of the tokens does not meet a rotation half way: whichever is first, what is answered is so.
#[tokio::test]
async fn concurrent_revocations_and_rotations_are_serialized() {
    for path in ["/tokens", "/tokens/previous"] {
        let world = World::new().await;
        let second = world.rotation(json!({})).await.expect(201).json();
        let second = second["token"].as_str().unwrap().to_owned();
        let path = world.admin_path(path);
        let (revoked, rotated) = join(
            world.admin(Method::DELETE, &path, Value::Null),
            world.rotation(json!({})),
        )
        .await;
        let cold = world.cold().await;
        let third = rotated.json()["token"].as_str().map(str::to_owned);
        match (revoked.status.as_u16(), rotated.status.as_u16()) {
            // The rotation was first, and the revocation ended what it made, or the revocation was first.
            (204, 201) => {
                let alive = cold.status_with(&third.unwrap()).await;
                assert_eq!(cold.status_with(&world.token).await, 401);
                assert!(path.ends_with("previous") && alive == 200 || !path.ends_with("previous"));
            }
            (409, 201) => {
                assert_eq!(cold.status_with(&third.unwrap()).await, 200);
                assert_eq!(cold.status_with(&second).await, 200);
            }
            (204, 409) if path.ends_with("previous") => {
                assert_eq!(cold.status_with(&world.token).await, 401);
                assert_eq!(cold.status_with(&second).await, 200);
            }
            (204, 409) => assert_eq!(cold.status_with(&second).await, 401),
            other => panic!("{other:?}"),
        }
    }
}

/// A rotation that was interrupted between its two steps is completed by the same request, and blocks no other.
#[tokio::test]
async fn an_interrupted_rotation_is_completed_by_the_same_request() {
    let under = async |world: &World, key: &'static str| {
        let mut request =
            world.admin_request(Method::POST, &world.admin_path("/tokens"), &json!({}));
        request
            .headers_mut()
            .insert("idempotency-key", key.parse().unwrap());
        world.send(request).await
    };
    let interrupt = |world: &World| {
        world.cloud.set_faults(|request| {
            if request.operation == "UpdateSecretVersionStage" {
                Fault::DropRequest
            } else {
                Fault::Pass
            }
        });
    };
    let world = World::new().await;
    interrupt(&world);
    let failed = under(&world, "r1").await;
    assert!(failed.status.is_server_error(), "{}", failed.status);
    world.cloud.clear_faults();
    assert_eq!(world.status_with(&world.token).await, 200);
    let first = under(&world, "r1").await.expect(201).json();
    assert_eq!(under(&world, "r1").await.expect(201).json(), first);
    let token = first["token"].as_str().unwrap();
    assert_eq!(world.status_with(token).await, 200);
    assert_eq!(world.status_with(&world.token).await, 200);

    // Another rotation in between: the interrupted one cannot be finished any more, and says so.
    interrupt(&world);
    under(&world, "r2").await;
    world.cloud.clear_faults();
    let third = world.rotation(json!({})).await.expect(201).json();
    under(&world, "r2").await.expect(409);
    assert_eq!(
        world.status_with(third["token"].as_str().unwrap()).await,
        200
    );
    assert_eq!(world.status_with(token).await, 200);

    // The answer to the second step is lost: it was done.
    world.cloud.set_faults(|request| {
        if request.operation == "UpdateSecretVersionStage" && request.number == 1 {
            Fault::DropAnswer
        } else {
            Fault::Pass
        }
    });
    let fourth = world.rotation(json!({})).await.expect(201).json();
    assert_eq!(
        world.status_with(fourth["token"].as_str().unwrap()).await,
        200
    );
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
        .post("/Users", &crate::harness::user("ann@example.com"))
        .await
        .expect(403);
    assert_eq!(answer.json()["status"], "403");
    assert_eq!(world.events().await, Vec::<serde_json::Value>::new());
}

/// A8: 429 with whole seconds, which is what makes Okta wait and send again by itself.
#[tokio::test]
async fn a_directory_over_its_rate_limit_is_429() {
    let world = World::new().await.limited().await;
    let id = world
        .post("/Users", &crate::harness::user("ann@example.com"))
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

/// Requests without a valid token do not count towards a directory's limit, and directories do not share limits.
#[tokio::test]
async fn directories_have_separate_rate_limits() {
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

/// Each operation of a bulk request counts. It is never cut off in its middle for coming too fast: what it takes beyond
/// its directory's limit is a debt, until which is paid the directory is answered 429.
#[tokio::test]
async fn each_operation_of_a_bulk_request_counts_towards_the_limit() {
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
    // 250 of 200 are used up: at 50 a second there is one again after a little more than a second.
    let refused = world.get("?count=0").await.expect(429);
    assert_eq!(refused.header("retry-after"), Some("2"));
    // Of every function, for the bucket is in the table.
    let elsewhere = world.cold().await.limited().await;
    let mut through = 0;
    while elsewhere.get("/Users?count=0").await.status == 200 {
        through += 1;
        assert!(through <= 20);
    }
    // A process that was told 429 learns of the others when it charges again.
    world.wait(3);
    let mut through = 0;
    while world.get("?count=0").await.status == 200 {
        through += 1;
    }
    assert!((80..=100).contains(&through), "{through}");
}

/// A directory is held to its limit over all processes together, and another one notices nothing.
#[tokio::test]
async fn thirty_processes_share_the_limit_of_a_directory() {
    const PROCESSES: usize = 30;
    const SECONDS: usize = 20;
    let world = World::new().await;
    let other = world.with_settings(directory::Settings::default()).await;
    let mut processes = vec![];
    for _ in 0..PROCESSES {
        processes.push(world.limited().await);
    }
    let other = processes[0].of(&json!({"id": other.directory, "token": other.token}));
    let mut through = 0;
    for _ in 0..SECONDS {
        for process in &processes {
            for _ in 0..12 {
                let answer = process.get("/ServiceProviderConfig").await;
                match answer.status.as_u16() {
                    200 => through += 1,
                    429 => {
                        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                        assert!((1..=30).contains(&wait), "{wait}");
                        break;
                    }
                    other => panic!("{other}"),
                }
            }
        }
        other.get("/ServiceProviderConfig").await.expect(200);
        world.wait(1);
    }
    // The burst, what flows in, and what each process may take before it is told: 10 units, and 9 that it has not told.
    let most = 200 + 50 * SECONDS + PROCESSES * 19;
    assert!(through <= most, "{through} of {most}");
    assert!(
        through >= 200 + 50 * (SECONDS - 1) - PROCESSES * 10,
        "{through}"
    );
}

/// A hundred memberships that a change of a group names are one unit of work, within a bulk request as well.
#[tokio::test]
async fn named_memberships_count_towards_the_limit() {
    let world = World::new().await.limited().await;
    let members: Vec<_> = (0..5_000)
        .map(|n| json!({"value": format!("{n:08x}-0000-4000-8000-000000000000")}))
        .collect();
    let group = json!({"displayName": "Many", "members": members});
    // The request is refused, because none of them exists. The work was done nevertheless.
    let left = async |world: &World| {
        let mut through = 0;
        while world.get("/Groups?count=0").await.status == 200 {
            through += 1;
        }
        through
    };
    world.post("/Groups", &group).await.expect(400);
    assert_eq!(left(&world).await, 200 - 1 - 50);
    world.wait(60);
    let bulk = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [
            {"method": "POST", "path": "/Groups", "bulkId": "a", "data": group},
            {"method": "DELETE", "path": "/Users/00000000-0000-4000-8000-000000000000"},
        ],
    });
    world.post("/Bulk", &bulk).await.expect(200);
    let mut through = 0;
    while world.get("?count=0").await.status == 200 {
        through += 1;
    }
    assert_eq!(through, 200 - 2 - 50);
}

/// What the limit costs: a write for ten requests, and nothing for a directory that sends less.
#[tokio::test]
async fn the_limit_costs_a_write_for_ten_requests() {
    let world = World::new().await.limited().await;
    world.get("/Users?count=0").await.expect(200);
    world.cloud.take_requests();
    for _ in 0..8 {
        world.get("/Users?count=0").await.expect(200);
    }
    assert_eq!(world.cloud.take_requests().of(Service::DynamoDb).len(), 8);
    for _ in 0..100 {
        world.get("/Users?count=0").await.expect(200);
    }
    let asked = world.cloud.take_requests();
    let writes = asked.iter().filter(|one| one.operation == "UpdateItem");
    let units: f64 = writes.clone().map(|one| one.write_units).sum();
    assert!((10..=12).contains(&writes.count()), "{asked:?}");
    assert!((10.0..=12.0).contains(&units), "{units}");
}

/// What is written beside a request never fails it: neither a charge nor the note that a token is in use.
#[tokio::test]
async fn a_failed_background_write_refuses_no_request() {
    let world = World::new().await.limited().await;
    world.cloud.set_faults(|request| {
        if request.operation == "UpdateItem" {
            Fault::Error {
                status: 400,
                code: "ThrottlingException",
                message: "Rate exceeded",
            }
        } else {
            Fault::Pass
        }
    });
    for _ in 0..30 {
        world.get("/Users?count=0").await.expect(200);
    }
}
