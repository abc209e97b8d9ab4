//! The cost of group operations: the rows about members in docs/costs.md.

use serde_json::json;

use crate::harness::World;
use crate::harness::cost::{cost, two_kb};
use crate::harness::members::{add, group, members, remove};

/// Users, by their ids.
pub async fn users(world: &World, count: usize) -> Vec<String> {
    let mut ids = vec![];
    for n in 0..count {
        let user = two_kb(&format!("u{n}@example.com"));
        ids.push(world.post("/Users", &user).await.expect(201).id());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_costs_one_transaction_in_a_group_of_any_size() {
    let world = World::new().await;
    let ids = users(&world, 1_003).await;
    let mut writes = vec![];
    for size in [10, 100, 1_000] {
        let path = group(&world, &format!("g{size}"), &ids[..size]).await;
        let one = &ids[1_001..1_002];
        let status = if size < 100 { 200 } else { 204 };
        let (answer, paid) = cost(&world, world.patch(&path, add(one))).await;
        answer.expect(status);
        assert_eq!(paid.operations, ["TransactWriteItems"], "{size}");
        writes.push(paid.write);

        // Once more: it is read only because the write is refused, or known to change nothing.
        let (answer, paid) = cost(&world, world.patch(&path, add(one))).await;
        let answer = answer.expect(status);
        assert!(paid.operations.len() <= 4, "{:?}", paid.operations);
        assert_eq!(paid.write, if size < 100 { 0.0 } else { paid.write });
        assert_eq!(answer.header("etag"), Some("W/\"2\""));

        let (answer, paid) = cost(&world, world.patch(&path, remove(one))).await;
        answer.expect(if size <= 100 { 200 } else { 204 });
        // Of the group that has a hundred members again the answer shows them all, once they are read.
        let shown: &[&str] = if size == 100 { &["Query"] } else { &[] };
        assert_eq!(
            paid.operations,
            [&["TransactWriteItems"], shown].concat(),
            "{size}"
        );
        writes.push(paid.write);

        // What a process that has just started pays: it reads the group first.
        let cold = world.cold().await;
        let (answer, paid) = cost(&cold, cold.patch(&path, add(one))).await;
        answer.expect(status);
        assert_eq!(paid.operations[..2], ["GetItem", "TransactWriteItems"]);
    }
    println!("write units of add, remove at 10, 100, 1,000 members: {writes:?}");
    assert_eq!(writes[0], writes[2]);
    assert_eq!(writes[0], writes[4]);
    assert_eq!(writes[1], writes[3]);
    assert_eq!(writes[1], writes[5]);
    assert!(writes[0] <= 12.0 && writes[1] <= 9.0, "{writes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_members_are_written_with_concurrent_requests() {
    let world = World::new().await;
    let ids = users(&world, 1_000).await;
    let path = group(&world, "g", &[]).await;

    // The mark; what is there, which has an order only after it; the rows; whether they exist; the commitment.
    let (answer, paid) = cost(&world, world.patch(&path, add(&ids))).await;
    answer.expect(204);
    println!(
        "add 1,000: {} requests, {} W",
        paid.operations.len(),
        paid.write
    );
    assert_eq!(paid.count("UpdateItem"), 1);
    assert_eq!(paid.count("BatchGetItem"), 10 + 10);
    assert_eq!(paid.count("BatchWriteItem"), 40);
    assert_eq!(paid.count("TransactWriteItems"), 1);
    assert_eq!(paid.operations.len(), 62);
    assert_eq!(paid.round_trips, 5);
    assert!((2_000.0..=2_090.0).contains(&paid.write), "{}", paid.write);

    // The same again changes nothing: the mark comes and goes.
    let (answer, paid) = cost(&world, world.patch(&path, add(&ids))).await;
    assert_eq!(answer.expect(204).header("etag"), Some("W/\"2\""));
    assert_eq!(paid.operations.len(), 12);

    // Who is removed is on a list until the rows are gone.
    let (answer, paid) = cost(&world, world.patch(&path, remove(&ids[..100]))).await;
    answer.expect(204);
    println!("remove 100: {:?}, {} W", paid.operations, paid.write);
    assert_eq!(paid.operations.len(), 8);
    assert_eq!(paid.round_trips, 5);
    let (answer, paid) = cost(&world, world.patch(&path, add(&ids[..100]))).await;
    answer.expect(204);
    println!("add 100: {:?}, {} W", paid.operations, paid.write);
    assert_eq!(paid.operations.len(), 8);
    assert_eq!(paid.round_trips, 5);
    assert!(paid.write <= 215.0, "{}", paid.write);

    let (answer, paid) = cost(
        &world,
        world.patch(&path, json!([{"op": "remove", "path": "members"}])),
    )
    .await;
    answer.expect(200);
    println!(
        "remove all 1,000: {} requests, {} W",
        paid.operations.len(),
        paid.write
    );
    assert_eq!(paid.round_trips, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_reads_the_members_once_and_writes_the_difference() {
    let world = World::new().await;
    let ids = users(&world, 5_003).await;
    let path = group(&world, "g", &ids[..5_000]).await;
    let replace =
        |ids: &[String]| json!([{"op": "replace", "path": "members", "value": members(ids)}]);

    let (answer, paid) = cost(&world, world.patch(&path, replace(&ids[..5_000]))).await;
    answer.expect(204);
    println!(
        "replace 5,000 by the same: {:?}, {} R",
        paid.operations, paid.read
    );
    paid.assert(&["GetItem", "Query"], 1, paid.read, 0.0);
    assert!((185.0..=200.0).contains(&paid.read), "{}", paid.read);

    // Three go and three come.
    let (answer, paid) = cost(&world, world.patch(&path, replace(&ids[3..]))).await;
    answer.expect(204);
    println!(
        "replace 3 of 5,000: {:?}, {} W",
        paid.operations, paid.write
    );
    assert_eq!(paid.operations, ["GetItem", "Query", "TransactWriteItems"]);

    // The group without its members is one item, and a look-up of it two.
    let get = format!("{path}?excludedAttributes=members");
    let (answer, paid) = cost(&world, world.get(&get)).await;
    answer.expect(200);
    paid.assert(&["GetItem"], 1, 1.0, 0.0);
    let look_up = "/Groups?filter=displayName%20eq%20%22G%22&excludedAttributes=members";
    let (answer, paid) = cost(&world, world.get(look_up)).await;
    assert_eq!(answer.expect(200).json()["totalResults"], 1);
    paid.assert(&["Query", "GetItem"], 2, 2.0, 0.0);

    // Whether one is a member, without the others.
    let id = path.trim_start_matches("/Groups/");
    let test = format!(
        "/Groups?filter=id%20eq%20%22{id}%22%20and%20members%20eq%20%22{}%22&attributes=id",
        ids[7]
    );
    let (answer, paid) = cost(&world, world.get(&test)).await;
    assert_eq!(answer.expect(200).json()["totalResults"], 1);
    paid.assert(&["BatchGetItem", "BatchGetItem"], 2, 2.0, 0.0);
    let test = format!(
        "/Groups?filter=members.value%20eq%20%22{}%22&attributes=id",
        ids[7]
    );
    let (answer, paid) = cost(&world, world.get(&test)).await;
    assert_eq!(answer.expect(200).json()["totalResults"], 1);
    paid.assert(&["Query", "BatchGetItem", "BatchGetItem"], 3, 2.5, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_a_user_cost_one_query_and_one_batch() {
    let world = World::new().await;
    let ids = users(&world, 150).await;
    for n in 0..8 {
        group(&world, &format!("g{n}"), &ids[..40]).await;
    }
    let (answer, paid) = cost(&world, world.get(&format!("/Users/{}", ids[0]))).await;
    assert_eq!(
        answer.expect(200).json()["groups"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
    paid.assert(&["GetItem", "Query", "BatchGetItem"], 2, 9.5, 0.0);

    let (answer, paid) = cost(&world, world.get("/Users?startIndex=11&count=100")).await;
    let page = answer.expect(200).json();
    assert_eq!(page["itemsPerPage"], 100);
    assert_eq!(paid.operations, ["Query", "Query", "Query", "BatchGetItem"]);
    assert_eq!(paid.round_trips, 4);
    for user in page["Resources"].as_array().unwrap() {
        let of = ids.iter().position(|id| user["id"] == **id).unwrap();
        let groups = user["groups"].as_array().map_or(0, Vec::len);
        assert_eq!(groups, if of < 40 { 8 } else { 0 });
    }
    let (_, paid) = cost(&world, world.get("/Users?startIndex=1&count=100")).await;
    assert_eq!((paid.operations.len(), paid.round_trips), (4, 3));
}
