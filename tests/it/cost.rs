//! The cost table of the design, held: requests, round trips, and read and write units of each operation. It is the
//! performance test that does not depend on the machine.

use std::sync::Arc;

use http::Method;
use local::{Requests, Service};
use serde_json::{Value, json};

use crate::world::{Answer, World, user};

/// What an operation asked of DynamoDB.
pub struct Cost {
    pub operations: Vec<String>,
    pub round_trips: usize,
    pub read: f64,
    pub write: f64,
}

/// What `request` costs in a warm process, whose token check asks nothing.
pub async fn cost(world: &World, request: impl Future<Output = Answer>) -> (Answer, Cost) {
    world.get("/Users?count=0").await.expect(200);
    world.get("/Groups?count=0").await.expect(200);
    world.cloud.take_requests();
    let answer = request.await;
    let asked: Requests = world.cloud.take_requests();
    let tables = asked.of(Service::DynamoDb);
    assert_eq!(tables.len(), asked.len(), "{asked:?}");
    let cost = Cost {
        operations: tables
            .operations()
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        round_trips: tables.round_trips(),
        read: tables.read_units(),
        write: tables.write_units(),
    };
    (answer, cost)
}

impl Cost {
    #[track_caller]
    pub fn is(&self, operations: &[&str], round_trips: usize, read: f64, write: f64) {
        assert_eq!(self.operations, operations);
        assert_eq!(
            (self.round_trips, self.read, self.write),
            (round_trips, read, write)
        );
    }
}

/// A user who takes 2 KB of the table, as the design counts: with keys, version and times.
pub fn two_kb(name: &str) -> Value {
    let mut user = user(name);
    user["nickName"] = json!("");
    let missing = 1_850 - user.to_string().len();
    user["nickName"] = json!("n".repeat(missing));
    user
}

#[tokio::test]
async fn users_cost_what_the_design_says() {
    let world = World::new().await;

    // POST: no look-up first; the pointer's condition is the uniqueness check. Six items: user, three pointers, count, event.
    let (answer, paid) = cost(&world, world.post("/Users", &two_kb("ann@example.com"))).await;
    let id = answer.expect(201).id();
    let path = format!("/Users/{id}");
    paid.is(&["TransactWriteItems"], 1, 0.0, 18.0);

    // A clash is found by the write itself.
    let (answer, paid) = cost(&world, world.post("/Users", &two_kb("ANN@example.com"))).await;
    answer.expect(409);
    assert_eq!(paid.operations, ["TransactWriteItems"]);

    // The groups of a user are looked up side by side with the user, unless the answer does without.
    let (answer, paid) = cost(&world, world.get(&path)).await;
    answer.expect(200);
    paid.is(&["GetItem", "Query"], 1, 1.5, 0.0);
    let without = format!("{path}?excludedAttributes=groups");
    let (answer, paid) = cost(&world, world.get(&without)).await;
    answer.expect(200);
    paid.is(&["GetItem"], 1, 1.0, 0.0);

    let (answer, paid) = cost(
        &world,
        world.get("/Users/00000000-0000-4000-8000-000000000000?attributes=userName"),
    )
    .await;
    answer.expect(404);
    paid.is(&["GetItem"], 1, 1.0, 0.0);

    // An id of another form is not looked for.
    let (answer, paid) = cost(&world, world.get("/Users/00u1")).await;
    answer.expect(404);
    paid.is(&[], 0, 0.0, 0.0);

    // Deactivate: read, then the user and the event.
    let (answer, paid) = cost(
        &world,
        world.patch(
            &path,
            json!([{"op": "replace", "value": {"active": false}}]),
        ),
    )
    .await;
    answer.expect(200);
    paid.is(&["GetItem", "Query", "TransactWriteItems"], 2, 1.5, 10.0);

    // The same again: one read, no write.
    let (answer, paid) = cost(
        &world,
        world.patch(
            &path,
            json!([{"op": "replace", "value": {"active": false}}]),
        ),
    )
    .await;
    answer.expect(200);
    paid.is(&["GetItem", "Query"], 1, 1.5, 0.0);

    let mut changed = two_kb("ann@example.com");
    changed["title"] = json!("Engineer");
    let (answer, paid) = cost(&world, world.put(&path, &changed)).await;
    answer.expect(200);
    paid.is(&["GetItem", "Query", "TransactWriteItems"], 2, 1.5, 10.0);
    let (answer, paid) = cost(&world, world.put(&path, &changed)).await;
    answer.expect(200);
    paid.is(&["GetItem", "Query"], 1, 1.5, 0.0);

    // Who prefers no body pays for no groups.
    let mut request = world.request(Method::PUT, &path, two_kb("ann@example.com").to_string());
    request
        .headers_mut()
        .insert("prefer", "return=minimal".parse().unwrap());
    let (answer, paid) = cost(&world, world.send(request)).await;
    answer.expect(204);
    paid.is(&["GetItem", "TransactWriteItems"], 2, 1.0, 10.0);

    // A stale If-Match is told by the read.
    let mut request = world.request(Method::PUT, &path, changed.to_string());
    request
        .headers_mut()
        .insert("if-match", "W/\"77\"".parse().unwrap());
    let (answer, paid) = cost(&world, world.send(request)).await;
    answer.expect(412);
    assert_eq!(paid.operations, ["GetItem", "Query"]);
    assert_eq!(paid.write, 0.0);

    // Bad input asks nothing.
    let (answer, paid) = cost(&world, world.post("/Users", &json!({"userName": 7}))).await;
    answer.expect(400);
    paid.is(&[], 0, 0.0, 0.0);

    // A new name moves its pointer: two more items.
    changed["userName"] = json!("anna@example.com");
    let (answer, paid) = cost(&world, world.put(&path, &changed)).await;
    answer.expect(200);
    paid.is(&["GetItem", "Query", "TransactWriteItems"], 2, 1.5, 14.0);

    let (answer, paid) = cost(&world, world.delete(&path)).await;
    answer.expect(204);
    // The second look is for groups that he was added to meanwhile.
    assert_eq!(
        paid.operations,
        ["GetItem", "Query", "TransactWriteItems", "Query"]
    );
    assert_eq!(paid.round_trips, 3);
}

#[tokio::test]
async fn look_ups_cost_one_request_for_none_and_two_for_one() {
    let world = World::new().await;
    let id = world
        .post("/Users", &two_kb("ann@example.com"))
        .await
        .expect(201)
        .id();
    let filters = [
        ("userName eq \"{}\"", "ANN@example.com", "GetItem"),
        ("externalId eq \"{}\"", "00u-ann@example.com", "Query"),
        ("emails.value eq \"{}\"", "Ann@example.com", "Query"),
        (
            "emails[type eq \"work\"].value eq \"{}\"",
            "ann@example.com",
            "Query",
        ),
        (
            "emails[type eq \"work\" and value eq \"{}\"]",
            "ann@example.com",
            "Query",
        ),
        (
            "active eq true and userName eq \"{}\"",
            "ann@example.com",
            "GetItem",
        ),
    ];
    for (filter, value, operation) in filters {
        for (value, found) in [(value, true), ("nobody", false)] {
            let filter = filter
                .replace("{}", value)
                .replace(' ', "%20")
                .replace('"', "%22")
                .replace('[', "%5B")
                .replace(']', "%5D");
            let (answer, paid) = cost(
                &world,
                world.get(&format!(
                    "/Users?filter={filter}&startIndex=1&count=100&excludedAttributes=groups"
                )),
            )
            .await;
            assert_eq!(
                answer.expect(200).json()["totalResults"],
                u8::from(found),
                "{filter}"
            );
            match found {
                true => paid.is(&[operation, "GetItem"], 2, 2.0, 0.0),
                false => paid.is(&[operation], 1, 1.0, 0.0),
            }
        }
    }
    let (answer, paid) = cost(
        &world,
        world.get(&format!(
            "/Users?filter=id%20eq%20%22{id}%22&excludedAttributes=groups"
        )),
    )
    .await;
    assert_eq!(answer.expect(200).json()["totalResults"], 1);
    paid.is(&["GetItem"], 1, 1.0, 0.0);
}

/// A page of 100 of 10,000 users, wherever it is: two requests, and an exact total.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_100_of_10_000_costs_two_requests_anywhere() {
    let world = Arc::new(World::new().await);
    let creators: Vec<_> = (0..8)
        .map(|lane| {
            let world = world.clone();
            tokio::spawn(async move {
                for n in (lane..10_000).step_by(8) {
                    world
                        .post("/Users", &two_kb(&format!("u{n}@example.com")))
                        .await
                        .expect(201);
                }
            })
        })
        .collect();
    for creator in creators {
        creator.await.unwrap();
    }
    let mut read = vec![];
    for start in (1..9_901).step_by(495).chain([9_901]) {
        let (answer, paid) = cost(
            &world,
            world.get(&format!(
                "/Users?startIndex={start}&count=100&excludedAttributes=groups"
            )),
        )
        .await;
        let page = answer.expect(200).json();
        assert_eq!(page["totalResults"], 10_000);
        assert_eq!(page["itemsPerPage"], 100);
        assert_eq!(paid.operations, ["Query", "Query"], "from {start}");
        assert_eq!(
            paid.round_trips,
            if start == 1 { 1 } else { 2 },
            "from {start}"
        );
        assert_eq!(paid.write, 0.0);
        read.push(paid.read);
    }
    // A page begins somewhere in its bucket, and what stands before it there is read as well: half a bucket on average.
    let mean = read.iter().sum::<f64>() / read.len() as f64;
    println!("read units of pages of 100 of 10,000 users: mean {mean:.1}, {read:?}");
    assert!((50.0..=64.0).contains(&mean), "{mean}");
    assert!(read.iter().all(|units| *units < 85.0), "{read:?}");

    // The total alone, and a page beyond the end: the counts alone.
    for query in ["count=0", "startIndex=10001&count=100"] {
        let (answer, paid) = cost(&world, world.get(&format!("/Users?{query}"))).await;
        assert_eq!(answer.expect(200).json()["totalResults"], 10_000);
        paid.is(&["Query"], 1, 4.0, 0.0);
    }

    // All pages together are all users, each once (P5, P7).
    let mut ids = std::collections::BTreeSet::new();
    for start in (1..=10_000).step_by(200) {
        let page = world
            .get(&format!(
                "/Users?startIndex={start}&count=200&attributes=id"
            ))
            .await
            .expect(200)
            .json();
        for user in page["Resources"].as_array().unwrap() {
            assert!(ids.insert(user["id"].as_str().unwrap().to_owned()));
        }
    }
    assert_eq!(ids.len(), 10_000);
}
