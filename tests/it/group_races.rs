//! Concurrent and interrupted changes of groups.

mod interruptions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use local::{Fault, Service};
use serde_json::{Value, json};

use crate::harness::faults::{busy, interrupted_after};
use crate::harness::members::{add, group, members, remove};
use crate::harness::{Answer, World};

/// Small users, by their ids.
async fn users(world: &World, count: usize) -> Vec<String> {
    let mut ids = vec![];
    for n in 0..count {
        let user = json!({"userName": format!("u{n}")});
        ids.push(world.post("/Users", &user).await.expect(201).id());
    }
    ids
}

/// Returns the ids of the members in the representation of a group.
async fn shown(world: &World, path: &str) -> BTreeSet<String> {
    let group = world.get(path).await.expect(200).json();
    let ids = group["members"].as_array().cloned().unwrap_or_default();
    ids.iter()
        .map(|member| member["value"].as_str().unwrap().to_owned())
        .collect()
}

/// What the events of memberships say in sum: the members of each group. No event has two ids, and none of a member
/// says twice the same.
#[derive(Default)]
struct Announced {
    /// By group and member: version, whether added, and the id of the event.
    events: BTreeMap<(String, String), BTreeMap<(u64, bool), String>>,
}

impl Announced {
    fn take(&mut self, events: &[Value]) {
        for event in events {
            let added = match event["detail-type"].as_str().unwrap() {
                "group.user_added" | "group.group_added" => true,
                "group.user_removed" | "group.group_removed" => false,
                _ => continue,
            };
            let detail = &event["detail"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let of = (
                text(&detail["resource"]["id"]),
                text(&detail["member"]["id"]),
            );
            let at = (detail["version"].as_u64().unwrap(), added);
            let id = text(&detail["id"]);
            let before = self.events.entry(of).or_default().insert(at, id.clone());
            assert!(before.is_none_or(|before| before == id), "two ids: {event}");
        }
    }

    fn members(&self, group: &str) -> BTreeSet<String> {
        let mut members = BTreeSet::new();
        for ((of, member), events) in &self.events {
            if of != group {
                continue;
            }
            let mut is = false;
            for (_, added) in events.keys() {
                assert_ne!(*added, is, "{member} was announced twice the same");
                is = *added;
            }
            if is {
                members.insert(member.clone());
            }
        }
        members
    }

    fn count(&self) -> usize {
        self.events.values().map(BTreeMap::len).sum()
    }
}

fn id_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// Returns the member rows of a group, its other items, and the group's item.
async fn kept(world: &World, path: &str) -> (usize, Vec<String>, Option<BTreeMap<String, String>>) {
    let client = Client::new(world.cloud.config());
    let query = |pk: String| {
        let request = client
            .query()
            .table_name("rollcall-Table")
            .key_condition_expression("PK = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(pk));
        async {
            request
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
                .await
                .unwrap()
        }
    };
    let rows = query(format!("{}#M#{}", world.directory, id_of(path))).await;
    let sk =
        |row: &std::collections::HashMap<String, AttributeValue>| row["SK"].as_s().unwrap().clone();
    let others = rows
        .iter()
        .filter(|row| !row.contains_key("sinceVersion"))
        .map(sk)
        .collect();
    let head = query(format!("{}#G", world.directory)).await;
    let head = head
        .into_iter()
        .find(|head| sk(head) == id_of(path))
        .map(|head| {
            head.into_iter()
                .map(|(name, value)| (name, format!("{value:?}")))
                .collect()
        });
    (
        rows.iter()
            .filter(|row| row.contains_key("sinceVersion"))
            .count(),
        others,
        head,
    )
}

/// Asserts that no staged write is left: as many rows as members, no list of removed members, and no lease.
async fn assert_swept(world: &World, path: &str) {
    let members = shown(world, path).await.len();
    let (rows, others, head) = kept(world, path).await;
    assert_eq!(rows, members);
    assert_eq!(others, Vec::<String>::new());
    let head = head.unwrap();
    assert!(
        !head.contains_key("stagedWrite") && !head.contains_key("leaseUntil"),
        "{head:?}"
    );
    assert!(
        head["memberCount"].contains(&format!("\"{members}\"")),
        "{head:?}"
    );
}

/// Concurrent membership changes are all kept (G10).
#[tokio::test(flavor = "multi_thread")]
async fn none_of_50_concurrent_patches_of_a_group_is_lost() {
    let world = Arc::new(World::new().await);
    let ids = users(&world, 50).await;
    for faults in [false, true] {
        let path = group(&world, "g", &[]).await;
        world.events().await;
        if faults {
            busy(&world);
        }
        let patches = ids.iter().map(|id| {
            let (world, path, id) = (world.clone(), path.clone(), id.clone());
            tokio::spawn(async move { world.patch(&path, add(&[id])).await.status.as_u16() })
        });
        for patch in patches.collect::<Vec<_>>() {
            let status = patch.await.unwrap();
            assert!([200, 204].contains(&status), "{status}");
        }
        world.cloud.clear_faults();
        assert_eq!(shown(&world, &path).await, ids.iter().cloned().collect());
        let events = world.events().await;
        assert_eq!(events.len(), 50);
        let versions: Vec<u64> = events
            .iter()
            .map(|e| e["detail"]["version"].as_u64().unwrap())
            .collect();
        assert_eq!(versions, (2..=51).collect::<Vec<_>>());
        assert_eq!(world.get(&path).await.header("etag"), Some("W/\"51\""));
        assert_swept(&world, &path).await;
    }
}

/// A seeded history of everything that changes members, from several clients at once, with contention: at the end the
/// members that are stored, those that the users show, and the sum of the events are the same.
#[tokio::test(flavor = "multi_thread")]
async fn members_equal_the_sum_of_the_events() {
    for seed in 0..3_u64 {
        let world = Arc::new(World::new().await);
        let ids = Arc::new(users(&world, 150).await);
        let paths = Arc::new([
            group(&world, "a", &ids[..5]).await,
            group(&world, "b", &[]).await,
        ]);
        if seed > 0 {
            busy(&world);
        }
        let clients = (0..6_u64).map(|client| {
            let (world, ids, paths) = (world.clone(), ids.clone(), paths.clone());
            tokio::spawn(async move {
                let cold = world.cold().await;
                let mut random = Random(seed * 1_000 + client);
                for _ in 0..12 {
                    let path = &paths[random.below(2)];
                    let some = |random: &mut Random, most: usize| {
                        let count = 1 + random.below(most);
                        let first = random.below(ids.len() - count);
                        ids[first..first + count].to_vec()
                    };
                    let answer = match random.below(10) {
                        0..3 => cold.patch(path, add(&some(&mut random, 3))).await,
                        3..5 => cold.patch(path, remove(&some(&mut random, 3))).await,
                        5 => {
                            let (out, into) = (some(&mut random, 5), some(&mut random, 5));
                            let mut operations = remove(&out).as_array().unwrap().clone();
                            operations.extend(add(&into).as_array().unwrap().clone());
                            cold.patch(path, json!(operations)).await
                        }
                        6 => {
                            let all = members(&some(&mut random, 60));
                            cold.patch(path, json!([{"op": "replace", "path": "members", "value": all}])).await
                        }
                        // More than a transaction holds.
                        7 => cold.patch(path, add(&some(&mut random, 120))).await,
                        8 => cold.patch(path, remove(&some(&mut random, 120))).await,
                        _ => {
                            let group = json!({"displayName": "a", "members": members(&some(&mut random, 10))});
                            cold.put(path, &group).await
                        }
                    };
                    let status = answer.status.as_u16();
                    assert!([200, 204, 429].contains(&status), "{status}");
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        world.cloud.clear_faults();
        let mut announced = Announced::default();
        announced.take(&world.events().await);
        let mut of_users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for id in ids.iter() {
            let user = world.get(&format!("/Users/{id}")).await.json();
            for group in user["groups"].as_array().into_iter().flatten() {
                of_users
                    .entry(group["value"].as_str().unwrap().to_owned())
                    .or_default()
                    .insert(id.clone());
            }
        }
        for path in paths.iter() {
            let stored = shown(&world, path).await;
            assert_eq!(stored, announced.members(id_of(path)), "seed {seed}");
            assert_eq!(
                stored,
                of_users.remove(id_of(path)).unwrap_or_default(),
                "seed {seed}"
            );
            assert_swept(&world, path).await;
        }
    }
}

/// Large work on a group.
#[derive(Clone, Copy, Debug)]
enum Work {
    Add,
    Remove,
    Create,
    Delete,
}

impl Work {
    async fn of(self, world: &World, path: &str, ids: &[String]) -> Answer {
        match self {
            Work::Add => world.patch(path, add(ids)).await,
            Work::Remove => world.patch(path, remove(ids)).await,
            Work::Create => {
                let group = json!({"displayName": "g", "members": members(ids)});
                world.post("/Groups", &group).await
            }
            Work::Delete => world.delete(path).await,
        }
    }
}

/// The items of the table with a partition key that has a text in it, by their sort keys.
async fn items_with(world: &World, text: &str) -> Vec<String> {
    let items = Client::new(world.cloud.config())
        .scan()
        .table_name("rollcall-Table")
        .filter_expression("contains(PK, :text)")
        .expression_attribute_values(":text", AttributeValue::S(text.to_owned()))
        .into_paginator()
        .items();
    let items = items.send().collect::<Result<Vec<_>, _>>().await.unwrap();
    let sk = |item: &std::collections::HashMap<String, AttributeValue>| {
        item["SK"].as_s().unwrap().clone()
    };
    items.iter().map(sk).collect()
}

/// Interrupted requests that no client repeats are completed by the sweeper when their notes expire.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_staged_write_is_completed_by_the_sweeper() {
    let world = World::new().await;
    let ids = users(&world, 150).await;
    for work in [Work::Add, Work::Remove, Work::Create, Work::Delete] {
        let mut announced = Announced::default();
        for point in 1.. {
            let initial: &[String] = match work {
                Work::Add | Work::Create => &[],
                Work::Remove | Work::Delete => &ids,
            };
            let path = group(&world, "old", initial).await;
            announced.take(&world.events().await);
            let doomed = world.cold().await;
            doomed.get("/Groups?count=0").await.expect(200);
            let request = {
                let (path, ids) = (path.clone(), ids.clone());
                async move { work.of(&doomed, &path, &ids).await }
            };
            let ended = interrupted_after(&world, point, request).await;
            announced.take(&world.events().await);
            let case = format!("{work:?}, after {point} requests");
            // The second time is for the note that finishing it takes a lease as well.
            for _ in 0..2 {
                world.wait(61);
                world.cloud.expire().await;
                announced.take(&world.events().await);
            }
            assert_eq!(
                items_with(&world, "#S").await,
                Vec::<String>::new(),
                "{case}"
            );
            assert!(world.cloud.dead_letters().is_empty(), "{case}");

            let list = world.get("/Groups?attributes=id").await.expect(200).json();
            let mut rows = 0;
            for group in list["Resources"].as_array().unwrap() {
                let path = format!("/Groups/{}", group["id"].as_str().unwrap());
                let members = shown(&world, &path).await;
                assert!(members.is_empty() || members.len() == ids.len(), "{case}");
                assert_eq!(members, announced.members(id_of(&path)), "{case}");
                assert_swept(&world, &path).await;
                rows += members.len();
                world.delete(&path).await.expect(204);
            }
            // Nothing is left of deleted groups, and each of their memberships has an event of its end.
            announced.take(&world.events().await);
            assert!(all_rows(&world).await.is_empty(), "{case}");
            assert_eq!(
                items_with(&world, "#M#").await,
                Vec::<String>::new(),
                "{case}"
            );
            assert!(announced.members(id_of(&path)).is_empty(), "{case}");
            world.cloud.expire().await;
            world.events().await;
            if ended {
                let expected = match work {
                    Work::Add | Work::Create => ids.len(),
                    Work::Remove | Work::Delete => 0,
                };
                assert_eq!(rows, expected, "{case}");
                assert!(point > 5, "{case}");
                break;
            }
        }
    }
}

/// A generator that gives the same numbers for the same seed (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % most
    }
}

/// A reader who polls sees all of the old members or all of the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_change_becomes_visible_at_once() {
    let world = Arc::new(World::new().await);
    let ids = users(&world, 1_200).await;
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (
        ids[..600].iter().cloned().collect(),
        ids[600..].iter().cloned().collect(),
    );
    let path = group(&world, "g", &ids[..600]).await;
    for round in 0..3 {
        let (from, to) = if round % 2 == 0 {
            (&old, &new)
        } else {
            (&new, &old)
        };
        // Slow enough to be met in the middle.
        world
            .cloud
            .set_faults(|info| match info.operation.as_str() {
                "BatchWriteItem" => Fault::Delay(Duration::from_millis(info.number as u64 % 23)),
                _ => Fault::Pass,
            });
        let changing = {
            let (world, path) = (world.cold().await, path.clone());
            let wanted: Vec<String> = to.iter().cloned().collect();
            tokio::spawn(async move {
                let replace =
                    json!([{"op": "replace", "path": "members", "value": members(&wanted)}]);
                world.patch(&path, replace).await.expect(204)
            })
        };
        let (mut before, mut after) = (0, 0);
        let (one_of_from, one_of_to) = (from.first().unwrap(), to.first().unwrap());
        while !changing.is_finished() {
            let seen = shown(&world, &path).await;
            match (&seen == from, &seen == to) {
                (true, _) => {
                    before += 1;
                    assert_eq!(after, 0, "it went back");
                }
                (_, true) => after += 1,
                _ => panic!("{} members, a mixture", seen.len()),
            }
            // Each user's own view is one of the two as well.
            let groups = async |id: &String| {
                world.get(&format!("/Users/{id}")).await.json()["groups"].is_array()
            };
            let (was, is) = (groups(one_of_from).await, groups(one_of_to).await);
            assert!(was || is, "in neither");
        }
        changing.await.unwrap();
        world.cloud.clear_faults();
        println!("seen before {before} times, after {after} times");
        assert!(before > 0);
        assert_eq!(&shown(&world, &path).await, to);
        assert_swept(&world, &path).await;
    }
}

/// A second writer who comes while the first one is at it waits, and both changes are kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_writer_waits_for_the_first() {
    let world = Arc::new(World::new().await);
    let ids = users(&world, 301).await;
    let path = group(&world, "g", &[]).await;
    world
        .cloud
        .set_faults(|info| match info.operation.as_str() {
            "BatchWriteItem" => Fault::Delay(Duration::from_millis(150)),
            _ => Fault::Pass,
        });
    let (large, small) = (add(&ids[..300]), add(&ids[300..]));
    let (first, second) = tokio::join!(world.patch(&path, large), async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        world.patch(&path, small).await
    });
    first.expect(204);
    second.expect(204);
    world.cloud.clear_faults();
    assert_eq!(shown(&world, &path).await.len(), 301);
    assert_swept(&world, &path).await;
}

/// While the lease of an interrupted writer lasts, other writers get 429 (A8).
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_group_is_429_until_the_lease_expires() {
    let world = World::new().await;
    let ids = users(&world, 201).await;
    let path = group(&world, "g", &[]).await;
    let doomed = world.cold().await;
    doomed.get("/Groups?count=0").await.expect(200);
    let request = {
        let (path, operations) = (path.clone(), add(&ids[..200]));
        async move { doomed.patch(&path, operations).await }
    };
    assert!(!interrupted_after(&world, 8, request).await);
    let answer = world.patch(&path, add(&ids[200..])).await.expect(429);
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(shown(&world, &path).await, BTreeSet::new());
    world.wait(61);
    world.patch(&path, add(&ids[200..])).await.expect(200);
    assert_swept(&world, &path).await;
}

/// The ways to become a member.
#[derive(Clone, Copy, Debug)]
enum Way {
    Patch,
    /// With more others than a transaction holds.
    LargePatch,
    /// The same with a new group.
    LargePost,
}

impl Way {
    async fn add(self, world: &World, path: &str, ids: &[String]) -> Answer {
        match self {
            Way::Patch | Way::LargePatch => world.patch(path, add(ids)).await,
            Way::LargePost => {
                let group = json!({"displayName": "g", "members": members(ids)});
                world.post("/Groups", &group).await
            }
        }
    }
}

/// A user or a group is deleted while a PATCH makes it a member, with every possible order of their requests: it is no
/// member at the end, and every beginning that was announced has its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_deleted_while_it_is_added_is_not_a_member() {
    let world = Arc::new(World::new().await);
    let crowd = users(&world, 60).await;
    let ways = [
        (Way::Patch, "/Users"),
        (Way::LargePatch, "/Users"),
        (Way::LargePost, "/Users"),
        (Way::Patch, "/Groups"),
        (Way::LargePatch, "/Groups"),
    ];
    let ways = ways
        .into_iter()
        .flat_map(|(way, kind)| [(way, kind, false), (way, kind, true)]);
    for (way, kind, paused_delete) in ways {
        for point in 0..12 {
            let path = group(&world, "g", &[]).await;
            let name = format!("gone{way:?}{paused_delete}{point}");
            let gone = match kind {
                "/Users" => json!({"userName": name}),
                _ => json!({"displayName": name}),
            };
            let gone = world.post(kind, &gone).await.expect(201).id();
            let mut all = vec![gone.clone()];
            if !matches!(way, Way::Patch) {
                all.extend(crowd.clone());
            }
            let slow = world.cold().await;
            slow.get("/Groups?count=0").await.expect(200);
            slow.get("/Users?count=0").await.expect(200);
            world.get("/Groups?count=0").await.expect(200);
            world.get("/Users?count=0").await.expect(200);
            // The slow one stops after so many requests; the other one runs; then the slow one goes on.
            let made = Arc::new(AtomicUsize::new(0));
            let go = Arc::new(tokio::sync::Semaphore::new(0));
            let count = made.clone();
            world.cloud.set_faults(move |info| {
                let number = count.fetch_add(
                    usize::from(info.service == Service::DynamoDb),
                    Ordering::Relaxed,
                );
                if number == point {
                    Fault::Delay(Duration::from_millis(150))
                } else {
                    Fault::Pass
                }
            });
            let delete = format!("{kind}/{gone}");
            let paused = {
                let (path, delete, all, go) =
                    (path.clone(), delete.clone(), all.clone(), go.clone());
                tokio::spawn(async move {
                    let answer = if paused_delete {
                        slow.delete(&delete).await
                    } else {
                        way.add(&slow, &path, &all).await
                    };
                    go.add_permits(1);
                    answer
                })
            };
            while made.load(Ordering::Relaxed) <= point && go.available_permits() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let other = if paused_delete {
                way.add(&world, &path, &all).await
            } else {
                world.delete(&delete).await
            };
            let paused = paused.await.unwrap();
            world.cloud.clear_faults();
            let (patched, deleted) = if paused_delete {
                (other, paused)
            } else {
                (paused, other)
            };
            deleted.expect(204);
            let status = patched.status.as_u16();
            assert!([200, 201, 204, 400].contains(&status), "{patched:?}");
            let path = match status {
                201 => format!("/Groups/{}", patched.id()),
                _ => path,
            };
            let stored = shown(&world, &path).await;
            let case = format!("{way:?} {kind}, delete paused {paused_delete}, after {point}");
            assert!(!stored.contains(&gone), "{case}");
            let expected = if status == 400 { 0 } else { all.len() - 1 };
            assert_eq!(stored.len(), expected, "{case}");
            let mut announced = Announced::default();
            announced.take(&world.events().await);
            assert_eq!(announced.members(id_of(&path)), stored);
            assert_swept(&world, &path).await;
            world.delete(&path).await.expect(204);
            world.events().await;
        }
    }
}

/// Returns the member rows of all groups: partition and member.
async fn all_rows(world: &World) -> BTreeSet<(String, String)> {
    let client = Client::new(world.cloud.config());
    let items = client
        .scan()
        .table_name("rollcall-Table")
        .filter_expression("contains(PK, :m) AND attribute_exists(#since)")
        .expression_attribute_names("#since", "sinceVersion")
        .expression_attribute_values(":m", AttributeValue::S("#M#".to_owned()))
        .into_paginator()
        .items();
    let rows = items.send().collect::<Result<Vec<_>, _>>().await.unwrap();
    rows.iter()
        .map(|row| {
            ["PK", "SK"]
                .map(|name| row[name].as_s().unwrap().clone())
                .into()
        })
        .collect()
}
