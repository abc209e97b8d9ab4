//! The event log: each published event, once and in order, at any time of reading.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use local::Fault;
use serde_json::{Value, json};

use crate::harness::{World, user};

impl World {
    /// What the log has after a cursor, and the cursor after that.
    async fn log(&self, query: &str, cursor: Option<&str>) -> (Vec<Value>, String) {
        let cursor = cursor
            .map(|cursor| format!("&cursor={cursor}"))
            .unwrap_or_default();
        let page = self
            .admin_get(&self.admin_path(&format!("/events?{query}{cursor}")))
            .await
            .expect(200)
            .json();
        let next = page["next_cursor"].as_str().unwrap().to_owned();
        (page["data"].as_array().unwrap().clone(), next)
    }

    /// Everything that the log has, read by pages of `limit`.
    async fn whole_log(&self, query: &str, limit: usize) -> Vec<Value> {
        let mut all = vec![];
        let mut cursor: Option<String> = None;
        loop {
            let (page, next) = self
                .log(&format!("{query}limit={limit}"), cursor.as_deref())
                .await;
            assert!(page.len() <= limit);
            if page.is_empty() {
                return all;
            }
            all.extend(page);
            cursor = Some(next);
        }
    }
}

fn ids(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_event_log_has_what_was_published() {
    let world = World::new().await;
    let acme = world.directory_of("acme", "crm").await;
    let mut users = vec![];
    for n in 0..7 {
        world.wait(1);
        users.push(
            acme.post("/Users", &user(&format!("u{n}@example.com")))
                .await
                .expect(201)
                .id(),
        );
    }
    world.wait(1);
    let members: Vec<Value> = users.iter().map(|id| json!({"value": id})).collect();
    let sales = json!({"displayName": "Sales", "members": members});
    let sales = acme.post("/Groups", &sales).await.expect(201).id();
    world.wait(1);
    acme.patch(
        &format!("/Groups/{sales}"),
        json!([{"op": "remove", "path": "members"}]),
    )
    .await
    .expect(200);
    world.wait(1);
    acme.delete(&format!("/Users/{}", users[0]))
        .await
        .expect(204);
    let bus: Vec<Value> = world.events().await;
    world.wait(36);
    let expected: BTreeMap<&str, (&Value, &Value)> = bus
        .iter()
        .map(|event| {
            (
                event["detail"]["id"].as_str().unwrap(),
                (&event["detail-type"], &event["detail"]),
            )
        })
        .collect();
    for limit in [1, 2, 3, 5, 200] {
        let log = acme.whole_log("", limit).await;
        assert_eq!(log.len(), bus.len(), "by {limit}");
        for event in &log {
            let (detail_type, detail) = expected[event["id"].as_str().unwrap()];
            assert_eq!(event["type"], *detail_type);
            assert_eq!(event["time"], detail["time"]);
            // Who is gone by now is known by the id alone; all else is the same to the letter.
            if event["detail"]["member"]["id"] != users[0] {
                assert_eq!(event["detail"], *detail);
            }
        }
        let times: Vec<&str> = log
            .iter()
            .map(|event| event["time"].as_str().unwrap())
            .collect();
        assert!(times.is_sorted(), "{times:?}");
    }
    let of_type = acme.whole_log("type=group.user_removed&", 3).await;
    assert_eq!(of_type.len(), 7);
    let about = acme.whole_log(&format!("resource={}&", users[1]), 2).await;
    let kinds: Vec<&str> = about
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["user.created", "group.user_added", "group.user_removed"]
    );
    let none = acme
        .whole_log(&format!("resource={}&type=user.deleted&", users[1]), 2)
        .await;
    assert!(none.is_empty());
    world
        .admin_get(&acme.admin_path("/events?type=user.teleported"))
        .await
        .expect(400);
    // A cursor of another directory is none, and so is one that was changed.
    let (_, cursor) = acme.log("limit=1", None).await;
    world
        .admin_get(&world.admin_path(&format!("/events?cursor={cursor}")))
        .await
        .expect(400);
    world
        .admin_get(&acme.admin_path(&format!("/events?cursor={}A", &cursor[..cursor.len() - 1])))
        .await
        .expect(400);
}

/// A consumer that polls does not miss an event that is committed late, by a process whose clock is behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_does_not_skip_an_event_that_commits_late() {
    let world = Arc::new(World::new().await);
    world.get("/Users?count=0").await.expect(200);
    world.wait(40);
    let (before, mut cursor) = world.log("", None).await;
    assert_eq!(before.len(), 1, "directory.created");

    // The first request gets its place in the log, and its transaction takes a while.
    world.cloud.set_faults(
        |request| match (request.operation.as_str(), request.number) {
            ("TransactWriteItems", 1) => Fault::Delay(Duration::from_millis(700)),
            _ => Fault::Pass,
        },
    );
    let slow = world.clone();
    let late = tokio::spawn(async move {
        slow.post("/Users", &user("late@example.com"))
            .await
            .expect(201)
            .id()
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Meanwhile 28 seconds go by, as many as a request may take, and others are done.
    let mut seen = vec![];
    let mut follow = async |cursor: &mut String| {
        let (page, next) = world.log("", Some(cursor)).await;
        *cursor = next;
        seen.extend(page);
    };
    for n in 0..28 {
        world.wait(1);
        if n % 9 == 0 {
            world
                .post("/Users", &user(&format!("early{n}@example.com")))
                .await
                .expect(201);
        }
        follow(&mut cursor).await;
    }
    let id = late.await.unwrap();
    world.cloud.clear_faults();
    for _ in 0..60 {
        world.wait(1);
        follow(&mut cursor).await;
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(
        seen[0]["detail"]["resource"]["id"],
        id.as_str(),
        "it is the oldest"
    );
    let mut unique = ids(&seen);
    unique.dedup();
    assert_eq!(unique.len(), 5);
    // It stays so for the whole log, and a cursor at its end stays good.
    assert_eq!(world.whole_log("", 2).await.len(), 6);
    let (nothing, again) = world.log("", Some(&cursor)).await;
    assert!(nothing.is_empty());
    assert_eq!(again, cursor);
}

/// Clocks of two processes differ by a second: what the slow one writes is not passed either.
#[tokio::test]
async fn differing_clocks_lose_no_event() {
    let world = World::new().await;
    world.wait(40);
    let (_, mut cursor) = world.log("", None).await;
    let mut seen = vec![];
    // One process is ahead by a second in every other request; the log itself is read by both clocks.
    for n in 0..160 {
        let ahead = n % 2 == 0;
        if ahead {
            world.wait(1);
        }
        if n < 20 {
            world
                .post("/Users", &user(&format!("u{n}@example.com")))
                .await
                .expect(201);
        }
        let (page, next) = world.log("limit=3", Some(&cursor)).await;
        seen.extend(page);
        cursor = next;
        if ahead {
            world.wait(-1);
        }
        world.wait(i64::from(n % 2 == 1));
    }
    let mut unique = ids(&seen);
    unique.sort_unstable();
    unique.dedup();
    assert_eq!((seen.len(), unique.len()), (20, 20));
}

/// A log without events has a cursor as well, from which the first one is found.
#[tokio::test]
async fn a_cursor_of_an_empty_log_finds_the_first_event() {
    let world = World::new().await;
    let (nothing, cursor) = world.log("", None).await;
    assert!(
        nothing.is_empty(),
        "the directory is younger than what is shown"
    );
    world.wait(36);
    let (first, _) = world.log("", Some(&cursor)).await;
    assert_eq!(first[0]["type"], "directory.created");
}
