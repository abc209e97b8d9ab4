//! Rotation and revocation of tokens through the admin API.

use super::*;

/// The demand of the issue: no request fails while the identity provider still sends the old token.
#[tokio::test]
async fn a_rotation_does_not_fail_requests() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    let new = world.rotate_token(json!({"grace_seconds": 3_600})).await;
    for _ in 0..59 {
        world.wait(60);
        assert_eq!(world.with_token(&world.token).await, 200);
        assert_eq!(world.with_token(&new).await, 200);
    }
    world.wait(60);
    assert_eq!(world.with_token(&world.token).await, 401);
    assert_eq!(world.with_token(&new).await, 200);
}

#[tokio::test]
async fn tokens_are_listed_without_their_secrets() {
    let world = World::new().await;
    assert_eq!(
        world.tokens().await,
        json!([{"state": "current", "created": "2026-01-01T00:00:00.000Z", "last_used": null, "expires": null}])
    );
    world.wait(2 * 3_600 + 59);
    world.get("/Users?count=0").await.expect(200);
    let new = world.rotate_token(json!({})).await;
    world.wait(3_600);
    assert_eq!(world.with_token(&new).await, 200);
    let tokens = world.tokens().await;
    let expected = json!([
        {"state": "current", "created": "2026-01-01T02:00:59.000Z", "last_used": "2026-01-01T03:00:00.000Z", "expires": null},
        {"state": "previous", "created": "2026-01-01T00:00:00.000Z", "last_used": "2026-01-01T02:00:00.000Z", "expires": "2026-01-02T02:00:59.000Z"},
    ]);
    assert_eq!(tokens, expected);
    world.wait(24 * 3_600);
    assert_eq!(world.tokens().await.as_array().unwrap().len(), 1);
}

/// Two are good at a time: the second rotation ends the token before the first.
#[tokio::test]
async fn a_second_rotation_ends_the_oldest_token() {
    let world = World::new().await;
    let second = world.rotate_token(json!({})).await;
    let third = world.rotate_token(json!({})).await;
    let cold = world.cold().await;
    assert_eq!(cold.with_token(&world.token).await, 401);
    cold.wait(2);
    assert_eq!(cold.with_token(&second).await, 200);
    assert_eq!(cold.with_token(&third).await, 200);
}

/// A rotation whose answer was lost, sent again under the same key, does not end the token that Okta still has.
#[tokio::test]
async fn a_repeated_rotation_creates_no_token() {
    let world = World::new().await;
    let first = world
        .rotate_under("r1", json!({"grace_seconds": 60}))
        .await
        .expect(201)
        .json();
    let again = world
        .rotate_under("r1", json!({"grace_seconds": 60}))
        .await
        .expect(201)
        .json();
    assert_eq!(first, again);
    assert_eq!(world.with_token(&world.token).await, 200);
    world.rotate_token(json!({})).await;
    world
        .rotate_under("r1", json!({"grace_seconds": 60}))
        .await
        .expect(409);
    for grace in [json!(-1), json!(1.5), json!("1"), json!(40_000_000_000_i64)] {
        world
            .admin(
                Method::POST,
                &world.admin_path("/tokens"),
                json!({"grace_seconds": grace}),
            )
            .await
            .expect(422);
    }
}

#[tokio::test]
async fn tokens_are_revoked_within_a_minute() {
    let world = World::new().await;
    // Without a grace period the old token is invalid as soon as a process reads the secret again.
    let second = world.rotate_token(json!({"grace_seconds": 0})).await;
    assert_eq!(world.with_token(&world.token).await, 401);
    world.wait(2);
    assert_eq!(world.with_token(&second).await, 200);

    let third = world.rotate_token(json!({})).await;
    assert_eq!(world.with_token(&second).await, 200);
    assert_eq!(world.with_token(&third).await, 200);
    let before = world.tokens().await;
    for _ in 0..2 {
        world
            .admin(
                Method::DELETE,
                &world.admin_path("/tokens/previous"),
                Value::Null,
            )
            .await
            .expect(204);
    }
    // What is told of the other token is as it was.
    assert_eq!(world.tokens().await, json!([before[0]]));
    world.wait(60);
    assert_eq!(world.with_token(&second).await, 401);
    world.wait(2);
    assert_eq!(world.with_token(&third).await, 200);

    for _ in 0..2 {
        world
            .admin(Method::DELETE, &world.admin_path("/tokens"), Value::Null)
            .await
            .expect(204);
    }
    assert_eq!(world.tokens().await, json!([]));
    world.wait(60);
    for token in [&second, &third] {
        assert_eq!(world.with_token(token).await, 401);
        world.wait(2);
    }
    let rotated = world
        .admin(Method::POST, &world.admin_path("/tokens"), Value::Null)
        .await
        .expect(201)
        .json();
    assert_eq!(rotated["previous_expires"], Value::Null);
    world.wait(2);
    assert_eq!(
        world.with_token(rotated["token"].as_str().unwrap()).await,
        200
    );
    assert_eq!(world.with_token(&third).await, 401);
}

/// The mark of a token's use is one write an hour, beside the request, and never a reason for it to fail or to wait.
#[tokio::test]
async fn last_use_of_a_token_costs_one_write_an_hour() {
    let world = World::new().await;
    let marks = || {
        let requests = world.cloud.take_requests();
        requests
            .of(Service::DynamoDb)
            .operations()
            .iter()
            .filter(|name| **name == "UpdateItem")
            .count()
    };
    world.get("/Users?count=0").await.expect(200);
    assert_eq!(marks(), 1);
    for _ in 0..50 {
        world.wait(70);
        world.get("/Users?count=0").await.expect(200);
    }
    assert_eq!(marks(), 0);
    world.wait(3_600);
    world.get("/Users?count=0").await.expect(200);
    assert_eq!(marks(), 1);

    world
        .cloud
        .set_faults(|request| match request.operation.as_str() {
            "UpdateItem" => Fault::Delay(Duration::from_secs(5)),
            _ => Fault::Pass,
        });
    world.wait(3_600);
    let begun = std::time::Instant::now();
    world.get("/Users?count=0").await.expect(200);
    assert!(begun.elapsed() < Duration::from_secs(2));
    world
        .cloud
        .set_faults(|request| match request.operation.as_str() {
            "UpdateItem" => Fault::Error {
                status: 400,
                code: "ValidationException",
                message: "no",
            },
            _ => Fault::Pass,
        });
    world.wait(3_600);
    world.get("/Users?count=0").await.expect(200);
}
