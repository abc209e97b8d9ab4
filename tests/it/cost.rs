//! The cost of each operation in DynamoDB requests, round trips, and read and write capacity units (docs/costs.md).
//! These performance tests do not depend on the machine.

use std::sync::Arc;

use http::Method;
use serde_json::json;

use crate::harness::World;
use crate::harness::cost::{cost, two_kb};

#[tokio::test]
async fn user_operations_cost_what_docs_say() {
    let world = World::new().await;

    // POST: no look-up first; the pointer's condition is the uniqueness check. Six items: user, three pointers, count, event.
    let (answer, paid) = cost(&world, world.post("/Users", &two_kb("ann@example.com"))).await;
    let id = answer.expect(201).id();
    let path = format!("/Users/{id}");
    paid.assert(&["TransactWriteItems"], 1, 0.0, 18.0);

    // A clash is found by the write itself.
    let (answer, paid) = cost(&world, world.post("/Users", &two_kb("ANN@example.com"))).await;
    answer.expect(409);
    assert_eq!(paid.operations, ["TransactWriteItems"]);

    // The groups of a user are looked up side by side with the user, unless the answer does without.
    let (answer, paid) = cost(&world, world.get(&path)).await;
    answer.expect(200);
    paid.assert(&["GetItem", "Query"], 1, 1.5, 0.0);
    let without = format!("{path}?excludedAttributes=groups");
    let (answer, paid) = cost(&world, world.get(&without)).await;
    answer.expect(200);
    paid.assert(&["GetItem"], 1, 1.0, 0.0);

    let (answer, paid) = cost(
        &world,
        world.get("/Users/00000000-0000-4000-8000-000000000000?attributes=userName"),
    )
    .await;
    answer.expect(404);
    paid.assert(&["GetItem"], 1, 1.0, 0.0);

    // An id of another form is not looked for.
    let (answer, paid) = cost(&world, world.get("/Users/00u1")).await;
    answer.expect(404);
    paid.assert(&[], 0, 0.0, 0.0);

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
    paid.assert(&["GetItem", "Query", "TransactWriteItems"], 2, 1.5, 10.0);

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
    paid.assert(&["GetItem", "Query"], 1, 1.5, 0.0);

    let mut changed = two_kb("ann@example.com");
    changed["title"] = json!("Engineer");
    let (answer, paid) = cost(&world, world.put(&path, &changed)).await;
    answer.expect(200);
    paid.assert(&["GetItem", "Query", "TransactWriteItems"], 2, 1.5, 10.0);
    let (answer, paid) = cost(&world, world.put(&path, &changed)).await;
    answer.expect(200);
    paid.assert(&["GetItem", "Query"], 1, 1.5, 0.0);

    // Who prefers no body pays for no groups.
    let mut request = world.request(Method::PUT, &path, two_kb("ann@example.com").to_string());
    request
        .headers_mut()
        .insert("prefer", "return=minimal".parse().unwrap());
    let (answer, paid) = cost(&world, world.send(request)).await;
    answer.expect(204);
    paid.assert(&["GetItem", "TransactWriteItems"], 2, 1.0, 10.0);

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
    paid.assert(&[], 0, 0.0, 0.0);

    // A new name moves its pointer: two more items.
    changed["userName"] = json!("anna@example.com");
    let (answer, paid) = cost(&world, world.put(&path, &changed)).await;
    answer.expect(200);
    paid.assert(&["GetItem", "Query", "TransactWriteItems"], 2, 1.5, 14.0);

    let (answer, paid) = cost(&world, world.delete(&path)).await;
    answer.expect(204);
    // The second query finds groups that the user was added to meanwhile.
    assert_eq!(
        paid.operations,
        ["GetItem", "Query", "TransactWriteItems", "Query"]
    );
    assert_eq!(paid.round_trips, 3);
}

#[tokio::test]
async fn a_lookup_costs_one_request_without_and_two_with_a_match() {
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
            if found {
                paid.assert(&[operation, "GetItem"], 2, 2.0, 0.0)
            } else {
                paid.assert(&[operation], 1, 1.0, 0.0)
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
    paid.assert(&["GetItem"], 1, 1.0, 0.0);
}

/// A page of 100 of 10,000 users, wherever it is: two requests, and an exact total.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_100_of_10_000_users_costs_two_requests_at_any_position() {
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
    // A page begins somewhere in its bucket, and what stands before it there is read as well: one user or two on average.
    let (first, most) = (read[0], read.iter().copied().fold(0.0, f64::max));
    println!("read units of pages of 100 of 10,000 users: first {first}, at most {most}, {read:?}");
    assert!((52.0..=57.0).contains(&first), "{first}");
    assert!(most <= 64.0 && most <= 1.25 * first, "{read:?}");

    // The total alone, and a page beyond the end: the counts alone.
    for query in ["count=0", "startIndex=10001&count=100", "cursor=&count=0"] {
        let (answer, paid) = cost(&world, world.get(&format!("/Users?{query}"))).await;
        assert_eq!(answer.expect(200).json()["totalResults"], 10_000);
        paid.assert(&["Query"], 1, paid.read, 0.0);
        assert!(paid.read <= 7.5, "{}", paid.read);
    }

    // All pages together are all users, each once (P5, P7), by number and by cursor (P8), forward and backward.
    let (by_number, units) = walk(&world, Walk::Number).await;
    let (by_cursor, units_by_cursor) = walk(&world, Walk::Cursor).await;
    println!("read units of all pages: {units} by number, {units_by_cursor} by cursor");
    assert_eq!(by_number.len(), 10_000);
    assert_eq!(by_cursor, by_number);
    assert!(by_number.is_sorted());
    assert!(units <= 1.5 * units_by_cursor, "{units} {units_by_cursor}");
    let (mut backward, _) = walk(&world, Walk::Back).await;
    backward.reverse();
    // The last page is not gone back to.
    assert_eq!(backward[..], by_number[..9_900]);

    // A page by cursor is one request, and costs the same anywhere.
    let page = world
        .get("/Users?cursor&count=100&attributes=id")
        .await
        .expect(200)
        .json();
    let next = page["nextCursor"].as_str().unwrap();
    let (answer, paid) = cost(
        &world,
        world.get(&format!(
            "/Users?cursor={next}&count=100&excludedAttributes=groups"
        )),
    )
    .await;
    assert_eq!(answer.expect(200).json()["itemsPerPage"], 100);
    paid.assert(&["Query"], 1, paid.read, 0.0);
    assert!(paid.read <= 51.0, "{}", paid.read);

    // What no pointer serves reads the directory once, side by side, and then the page.
    let filters = [
        "filter=displayName%20co%20%22archer%22&startIndex=5001",
        "sortBy=userName&startIndex=9901",
        "filter=active%20eq%20true&sortBy=meta.created&sortOrder=descending",
    ];
    for query in filters {
        let (answer, paid) = cost(
            &world,
            world.get(&format!(
                "/Users?{query}&count=100&excludedAttributes=groups"
            )),
        )
        .await;
        let page = answer.expect(200).json();
        assert_eq!(
            (&page["totalResults"], &page["itemsPerPage"]),
            (&json!(10_000), &json!(100))
        );
        println!(
            "{query}: {} requests, {} R",
            paid.operations.len(),
            paid.read
        );
        assert_eq!(
            paid.operations
                .iter()
                .filter(|name| *name == "BatchGetItem")
                .count(),
            1
        );
        assert!(
            paid.operations.len() <= 16 + 32 + 1,
            "{:?}",
            paid.operations
        );
        assert!((4_700.0..=5_300.0).contains(&paid.read), "{}", paid.read);
    }

    // By cursor the same filter reads no further than the page needs.
    let (answer, paid) = cost(
        &world,
        world.get("/Users?filter=displayName%20co%20%22archer%22&cursor=&count=100&excludedAttributes=groups"),
    )
    .await;
    assert_eq!(answer.expect(200).json()["itemsPerPage"], 100);
    assert_eq!(paid.operations, ["Query"]);
    assert!(paid.read <= 256.0, "{}", paid.read);
}

#[derive(Clone, Copy, PartialEq)]
enum Walk {
    Number,
    Cursor,
    Back,
}

/// The ids of all users in pages of 100, and the units that takes.
async fn walk(world: &World, how: Walk) -> (Vec<String>, f64) {
    let (mut ids, mut units) = (vec![], 0.0);
    let mut query = match how {
        Walk::Number => "startIndex=1".to_owned(),
        Walk::Cursor | Walk::Back => "cursor=".to_owned(),
    };
    let mut going_back = false;
    loop {
        let path = format!("/Users?{query}&count=100&attributes=id");
        let (answer, paid) = cost(world, world.get(&path)).await;
        let page = answer.expect(200).json();
        let mut found: Vec<String> = page["Resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["id"].as_str().unwrap().to_owned())
            .collect();
        let (next, previous) = (page["nextCursor"].as_str(), page["previousCursor"].as_str());
        units += paid.read;
        query = match how {
            Walk::Number if found.is_empty() => return (ids, units),
            Walk::Number => format!("startIndex={}", ids.len() + found.len() + 1),
            Walk::Cursor | Walk::Back if !going_back => match next {
                Some(next) => format!("cursor={next}"),
                None if how == Walk::Cursor => {
                    ids.extend(found);
                    return (ids, units);
                }
                None => {
                    going_back = true;
                    ids.clear();
                    found.clear();
                    format!("cursor={}", previous.unwrap())
                }
            },
            _ => {
                found.reverse();
                match previous {
                    Some(previous) => format!("cursor={previous}"),
                    None => {
                        ids.extend(found);
                        return (ids, units);
                    }
                }
            }
        };
        ids.extend(found);
    }
}
