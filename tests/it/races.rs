//! Concurrent requests. The embedded table performs one request at a time and never reports a conflict, so the faults
//! of the harness add the conflicts and the throttling of DynamoDB.

use std::collections::BTreeSet;
use std::sync::Arc;

use local::{Fault, Service};
use serde_json::{Value, json};

use crate::harness::faults::busy;
use crate::harness::{World, user};

#[tokio::test(flavor = "multi_thread")]
async fn one_of_50_concurrent_creates_of_a_name_succeeds() {
    let world = Arc::new(World::new().await);
    for faults in [false, true] {
        let name = format!("ann{faults}@example.com");
        if faults {
            busy(&world);
        }
        let creates = (0..50).map(|n| {
            let world = world.clone();
            // Some in capitals: they are the same name.
            let name = if n % 2 == 0 {
                name.clone()
            } else {
                name.to_uppercase()
            };
            tokio::spawn(async move { world.post("/Users", &user(&name)).await.status.as_u16() })
        });
        let mut statuses = vec![];
        for create in creates.collect::<Vec<_>>() {
            statuses.push(create.await.unwrap());
        }
        statuses.sort_unstable();
        world.cloud.clear_faults();
        assert_eq!(statuses, [vec![201], vec![409; 49]].concat());
        let found = world
            .get(&format!("/Users?filter=userName%20eq%20%22{name}%22"))
            .await
            .json();
        assert_eq!(found["totalResults"], 1);
        assert_eq!(world.events().await.len(), 1);
    }
    assert_eq!(world.get("/Users?count=0").await.json()["totalResults"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_32_concurrent_patches_of_a_user_is_lost() {
    let world = Arc::new(World::new().await);
    for faults in [false, true] {
        let id = world
            .post("/Users", &user(&format!("{faults}@example.com")))
            .await
            .expect(201)
            .id();
        world.events().await;
        if faults {
            busy(&world);
        }
        let patches = (0..32).map(|n| {
            let (world, path) = (world.clone(), format!("/Users/{id}"));
            let operations = json!([{"op": "add", "path": "phoneNumbers", "value": [{"value": n.to_string(), "type": "work"}]}]);
            tokio::spawn(async move { (n, world.patch(&path, operations).await.status.as_u16()) })
        });
        let mut kept = BTreeSet::new();
        for patch in patches.collect::<Vec<_>>() {
            let (n, status) = patch.await.unwrap();
            assert!(status < 500, "{status}");
            if status < 300 {
                kept.insert(n.to_string());
            }
        }
        world.cloud.clear_faults();
        let result = world.get(&format!("/Users/{id}")).await.expect(200);
        let numbers: BTreeSet<String> = result.json()["phoneNumbers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|number| number["value"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(numbers, kept);
        assert_eq!(kept.len(), 32, "none had to be sent again");

        // One event for each change, and versions without a gap.
        let versions: Vec<u64> = world
            .events()
            .await
            .iter()
            .map(|event| event["detail"]["version"].as_u64().unwrap())
            .collect();
        assert_eq!(versions, (2..=33).collect::<Vec<_>>());
        assert_eq!(result.header("etag"), Some("W/\"33\""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_creates_and_deletes_keep_the_counts_exact() {
    let world = Arc::new(World::new().await);
    busy(&world);
    let lives = (0..24).map(|n| {
        let world = world.clone();
        tokio::spawn(async move {
            let id = world
                .post("/Users", &user(&format!("u{n}@example.com")))
                .await
                .expect(201)
                .id();
            if n % 3 == 0 {
                world.delete(&format!("/Users/{id}")).await.expect(204);
            }
        })
    });
    for life in lives.collect::<Vec<_>>() {
        life.await.unwrap();
    }
    world.cloud.clear_faults();
    let all = world.get("/Users").await.expect(200).json();
    assert_eq!(all["totalResults"], 16);
    assert_eq!(all["itemsPerPage"], 16);
    assert_eq!(world.events().await.len(), 24 + 8);
}

/// Of several users that are renamed to one name at once, one gets it, and the others are 409.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_concurrent_renames_to_a_name_succeeds() {
    let world = Arc::new(World::new().await);
    let mut renames = vec![];
    for n in 0..10 {
        let id = world
            .post("/Users", &user(&format!("u{n}@example.com")))
            .await
            .expect(201)
            .id();
        let world = world.clone();
        renames.push(async move {
            let operations =
                json!([{"op": "replace", "path": "userName", "value": "wanted@example.com"}]);
            world
                .patch(&format!("/Users/{id}"), operations)
                .await
                .status
                .as_u16()
        });
    }
    let renames: Vec<_> = renames.into_iter().map(tokio::spawn).collect();
    let mut statuses = vec![];
    for rename in renames {
        statuses.push(rename.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200], vec![409; 9]].concat());
}

/// A transaction whose answer is lost has happened, and is not repeated by the retry: one user, one event, 201.
#[tokio::test]
async fn a_lost_response_does_not_write_twice() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    world.cloud.take_requests();
    world
        .cloud
        .set_faults(|request| match request.operation.as_str() {
            "TransactWriteItems" if request.number == 1 => Fault::DropAnswer,
            _ => Fault::Pass,
        });
    let id = world
        .post("/Users", &user("ann@example.com"))
        .await
        .expect(201)
        .id();
    assert_eq!(
        world
            .cloud
            .take_requests()
            .of(Service::DynamoDb)
            .operations(),
        ["TransactWriteItems"; 2]
    );
    world
        .cloud
        .set_faults(|request| match request.operation.as_str() {
            "TransactWriteItems" if request.number == 1 => Fault::DropAnswer,
            _ => Fault::Pass,
        });
    world
        .patch(
            &format!("/Users/{id}"),
            json!([{"op": "replace", "value": {"active": false}}]),
        )
        .await
        .expect(200);
    let events = world.events().await;
    let kinds: Vec<&Value> = events.iter().map(|event| &event["detail-type"]).collect();
    assert_eq!(kinds, ["user.created", "user.updated"]);
    assert_eq!(world.get("/Users?count=0").await.json()["totalResults"], 1);
}

/// Throttled without end: 429 with whole seconds, the one answer that Okta repeats by itself (A8), and nothing written.
#[tokio::test(start_paused = true)]
async fn lasting_throttling_is_429() {
    let world = World::here().await;
    world.get("/Users?count=0").await.expect(200);
    let id = world
        .post("/Users", &user("bob@example.com"))
        .await
        .expect(201)
        .id();
    world.events().await;
    world.cloud.set_faults(|request| match request.service {
        Service::DynamoDb => Fault::Error {
            status: 400,
            code: "ThrottlingException",
            message: "Rate exceeded",
        },
        _ => Fault::Pass,
    });
    let (ann, path) = (user("ann@example.com"), format!("/Users/{id}"));
    let deactivate = json!([{"op": "replace", "value": {"active": false}}]);
    let (create, read, patch, list) = tokio::join!(
        world.post("/Users", &ann),
        world.get(&path),
        world.patch(&path, deactivate),
        world.get("/Users")
    );
    for answer in [create, read, patch, list] {
        let answer = answer.expect(429);
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert_eq!(answer.header("content-type"), Some("application/scim+json"));
        assert_eq!(answer.json()["status"], "429");
    }
    world.cloud.clear_faults();
    assert_eq!(world.get("/Users?count=0").await.json()["totalResults"], 1);
    assert_eq!(world.events().await, Vec::<Value>::new());
}

/// DynamoDB is down: 500 in SCIM, without a word of what is inside.
#[tokio::test]
async fn a_failing_table_is_a_scim_500() {
    let world = World::new().await;
    world.get("/Users?count=0").await.expect(200);
    world.cloud.set_faults(|request| match request.service {
        Service::DynamoDb => Fault::Error {
            status: 500,
            code: "InternalServerError",
            message: "secret of the inside",
        },
        _ => Fault::Pass,
    });
    let answer = world.get("/Users").await.expect(500);
    assert_eq!(answer.header("content-type"), Some("application/scim+json"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("inside"));
}
