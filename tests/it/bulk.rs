//! Bulk requests (RFC 7644 §3.7), beyond the transcripts.

mod references;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use axum::body::Body;
use bulk::Deadlines;
use directory::{NewDirectory, Provider, Settings};
use http::Method;
use http_body_util::BodyExt;
use local::{Fault, Service};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::cost::{cost, two_kb};
use crate::harness::{Answer, HOST, PATCH_OP, World, user};

const BULK: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

impl World {
    async fn bulk(&self, operations: &[Value]) -> Vec<Value> {
        self.bulk_until(0, operations).await
    }

    async fn bulk_until(&self, errors: usize, operations: &[Value]) -> Vec<Value> {
        let body = json!({"schemas": [BULK], "failOnErrors": errors, "Operations": operations});
        let answer = self.post("/Bulk", &body).await.expect(200).json();
        answer["Operations"].as_array().unwrap().clone()
    }

    /// How many users and groups there are.
    async fn totals(&self) -> (Value, Value) {
        let of = async |path: &str| {
            let list = self.get(&format!("{path}?count=0")).await.expect(200);
            list.json()["totalResults"].clone()
        };
        (of("/Users").await, of("/Groups").await)
    }

    /// The same world with what differs from world to world taken out of a text.
    fn without_names(&self, value: &Value) -> Value {
        let text = value.to_string().replace(&self.directory, "d");
        serde_json::from_str(&text).unwrap()
    }
}

fn create(path: &str, name: &str, data: Value) -> Value {
    json!({"method": "POST", "path": path, "bulkId": name, "data": data})
}

fn named(name: &str) -> Value {
    create("/Users", name, json!({"userName": name}))
}

/// A user with a manager of the same request.
fn managed(name: &str, manager: &str) -> Value {
    let manager = json!({"value": format!("bulkId:{manager}")});
    let data = json!({"userName": name, ENTERPRISE: {"manager": manager}});
    create("/Users", name, data)
}

fn with_members<'a>(name: &str, members: impl IntoIterator<Item = &'a str>) -> Value {
    let members = members.into_iter();
    let members = members.map(|name| json!({"value": format!("bulkId:{name}")}));
    let members: Value = members.collect();
    create(
        "/Groups",
        name,
        json!({"displayName": name, "members": members}),
    )
}

fn on(method: &str, path: &str, data: Value) -> Value {
    json!({"method": method, "path": path, "data": data})
}

fn patch(path: &str, operations: Value) -> Value {
    let data = json!({"schemas": [PATCH_OP], "Operations": operations});
    on("PATCH", path, data)
}

fn replace(path: &str, attribute: &str, value: Value) -> Value {
    patch(
        path,
        json!([{"op": "replace", "path": attribute, "value": value}]),
    )
}

fn statuses(outcomes: &[Value]) -> Vec<&str> {
    let statuses = outcomes.iter().map(|outcome| outcome["status"].as_str());
    statuses.map(Option::unwrap).collect()
}

fn id(outcome: &Value) -> &str {
    let location = outcome["location"].as_str().unwrap();
    location.rsplit_once('/').unwrap().1
}

fn detail(outcome: &Value) -> &str {
    outcome["response"]["detail"].as_str().unwrap()
}

/// What an operation is answered with as a request of its own.
async fn alone(world: &World, operation: &Value) -> Answer {
    let method = Method::from_bytes(operation["method"].as_str().unwrap().as_bytes()).unwrap();
    let path = operation["path"].as_str().unwrap();
    let body = match &operation["data"] {
        Value::Null => String::new(),
        data => data.to_string(),
    };
    let mut request = world.request(method, path, body);
    if let Some(version) = operation["version"].as_str() {
        let headers = request.headers_mut();
        headers.insert("if-match", version.parse().unwrap());
    }
    world.send(request).await
}

/// Operations of every kind, good and bad, whose references are ids: 0, 1, 2, … in the order of creation. Those that are
/// refused before an id is chosen for them come last, since a bulk request chooses one for everything that it creates.
fn of_every_kind() -> Vec<Value> {
    let id = |n: usize| format!("{n:02x}000000-0000-4000-8000-000000000000");
    let user_at = |n: usize| format!("/Users/{}", id(n));
    let group_at = |n: usize| format!("/Groups/{}", id(n));
    let members = |of: &[usize]| -> Value { of.iter().map(|n| json!({"value": id(*n)})).collect() };
    let add = |of: &[usize]| json!([{"op": "add", "path": "members", "value": members(of)}]);
    let mut on_version = replace(&user_at(0), "title", json!("Guide"));
    on_version["version"] = json!("W/\"1\"");
    let mut stale = replace(&user_at(0), "title", json!("Engineer"));
    stale["version"] = json!("W/\"1\"");
    let mut large = user("large@example.com");
    large["nickName"] = json!("x".repeat(64 * 1024));
    vec![
        create("/Users", "0", two_kb("ann@example.com")),
        create("/Users?attributes=userName", "1", two_kb("bob@example.com")),
        create("/Users", "2", two_kb("cat@example.com")),
        create(
            "/Groups",
            "3",
            json!({"displayName": "Sales", "members": members(&[0, 1])}),
        ),
        create("/Groups", "4", json!({"displayName": "All"})),
        patch(&group_at(4), add(&[2, 3])),
        // Nothing new in it.
        patch(&group_at(4), add(&[3])),
        create("/Users", "5", two_kb("ANN@example.com")),
        on_version,
        stale,
        on("PUT", &user_at(1), two_kb("robert@example.com")),
        // The name is free now.
        create("/Users", "6", two_kb("bob@example.com")),
        replace(&user_at(2), "active", json!(false)),
        replace(&user_at(2), "active", json!(false)),
        replace(&user_at(2), "nonsense[", json!(1)),
        patch(&group_at(3), add(&[4])),
        patch(&group_at(3), add(&[99])),
        on("PUT", &group_at(3), json!({"displayName": "Selling"})),
        create("/Users", "7", large),
        create("/Users", "8", json!({"userName": 7})),
        on("DELETE", &user_at(0), Value::Null),
        on("DELETE", &user_at(0), Value::Null),
        on("DELETE", &group_at(3), Value::Null),
        on(
            "PUT",
            &user_at(77),
            json!({"userName": "nobody@example.com"}),
        ),
    ]
}

/// Each operation does what it does as a request of its own: status, headers, errors, events and their order, cost.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_has_the_same_result_as_a_single_request() {
    let operations = of_every_kind();
    let single = World::in_order().await;
    let mut expected = vec![];
    let mut asked = vec![];
    let mut units = (0.0, 0.0);
    for operation in &operations {
        let creates = operation["method"] == "POST";
        let (answer, paid) = cost(&single, alone(&single, operation)).await;
        let mut outcome =
            json!({"method": operation["method"], "status": answer.status.as_u16().to_string()});
        if let Some(name) = operation.get("bulkId") {
            outcome["bulkId"] = name.clone();
        }
        if let Some(location) = answer.header("location") {
            outcome["location"] = json!(location);
        } else if !creates {
            let base = format!("http://{HOST}{}", single.base());
            outcome["location"] = json!(format!("{base}{}", operation["path"].as_str().unwrap()));
        }
        if let Some(etag) = answer.header("etag") {
            outcome["version"] = json!(etag);
        }
        if answer.status.as_u16() >= 400 {
            outcome["response"] = answer.json();
        }
        expected.push(single.without_names(&outcome));
        asked.extend(paid.operations);
        units = (units.0 + paid.read, units.1 + paid.write);
    }
    let events = single.events().await;
    assert!(events.len() > 15, "{}", events.len());

    let many = World::in_order().await;
    let (outcomes, paid) = {
        let body = json!({"Operations": operations});
        let (answer, paid) = cost(&many, many.post("/Bulk", &body)).await;
        (
            answer.expect(200).json()["Operations"]
                .as_array()
                .unwrap()
                .clone(),
            paid,
        )
    };
    for (operation, (outcome, expected)) in operations.iter().zip(outcomes.iter().zip(&expected)) {
        let outcome = many.without_names(outcome);
        assert_eq!(outcome, *expected, "{operation}");
    }
    assert_eq!(outcomes.len(), expected.len());
    let published = many.events().await;
    // Users who are new go side by side, so what is compared is the order of each resource.
    let comparable = |world: &World, events: &[Value]| -> Vec<Value> {
        let mut events = events.to_vec();
        events.sort_by_key(|event| event["detail"]["resource"]["id"].to_string());
        let events = events.iter().map(|event| {
            let mut event = world.without_names(event);
            for name in ["id", "time"] {
                event.as_object_mut().unwrap().remove(name);
            }
            event["detail"].as_object_mut().unwrap().remove("id");
            event
        });
        events.collect()
    };
    let (published, events) = (comparable(&many, &published), comparable(&single, &events));
    for (published, event) in published.iter().zip(&events) {
        assert_eq!(published, event);
    }
    assert_eq!(published.len(), events.len());
    // The order of what goes side by side within an operation is not fixed, and one that fails lets go of the look-up of
    // groups beside it, which is counted as far as it came.
    let fixed = |operations: Vec<String>| {
        let fixed = operations.into_iter();
        let mut fixed: Vec<String> = fixed
            .filter(|name| !["Query", "BatchGetItem"].contains(&name.as_str()))
            .collect();
        fixed.sort();
        fixed
    };
    let failed = expected
        .iter()
        .filter(|outcome| outcome.get("response").is_some());
    assert!(paid.operations.len().abs_diff(asked.len()) <= 2 * failed.count());
    assert_eq!(fixed(paid.operations), fixed(asked));
    assert_eq!(paid.write, units.1);
    assert!(
        (paid.read - units.0).abs() <= 2.5,
        "{} {}",
        paid.read,
        units.0
    );
}

/// Exactly those are performed that would be one after the other, though what cannot meet goes side by side.
/// RFC 7644 §3.7 (B3).
#[tokio::test(flavor = "multi_thread")]
async fn no_operation_begins_after_fail_on_errors_failures() {
    let mut operations: Vec<Value> = (0..40).map(|n| named(&format!("u{n}"))).collect();
    let bad = [3, 4, 9, 10, 11, 17, 18, 25, 30, 39];
    for n in bad {
        operations[n]["data"] = json!({"userName": "taken"});
    }
    for errors in [1, 2, 3, 5, 8, 10, 11, 0] {
        let world = World::new().await;
        world.post("/Users", &user("taken")).await.expect(201);
        world.events().await;
        let outcomes = world.bulk_until(errors, &operations).await;
        let run = match errors {
            0 | 11 => 40,
            errors => bad[errors - 1] + 1,
        };
        assert_eq!(outcomes.len(), run, "{errors}");
        for (n, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome["bulkId"], format!("u{n}"));
            let expected = if bad.contains(&n) { "409" } else { "201" };
            assert_eq!(outcome["status"], expected, "{n}");
        }
        let created = run - bad.iter().filter(|n| **n < run).count();
        assert_eq!(world.totals().await.0, created + 1);
        assert_eq!(world.events().await.len(), created);
    }
}

/// One after the other or side by side: what comes out is what the order of the request says.
#[tokio::test(flavor = "multi_thread")]
async fn conflicting_operations_keep_their_order() {
    let world = Arc::new(World::new().await);
    // Requests overtake each other as far as they are let.
    let number = AtomicUsize::new(0);
    world.cloud.set_faults(move |info| match info.service {
        Service::DynamoDb => {
            let number = number.fetch_add(1, Ordering::Relaxed) as u64;
            Fault::Delay(Duration::from_millis(number * 7 % 13))
        }
        _ => Fault::Pass,
    });
    let outcomes = world
        .bulk(&[named("ann"), named("bob"), named("cat")])
        .await;
    let path = |n: usize| format!("/Users/{}", id(&outcomes[n]));
    let mut operations = vec![];
    for n in 0..20 {
        for one in [0, 1, 2] {
            operations.push(replace(&path(one), "title", json!(format!("{n}"))));
        }
        // The second one of a name is refused, whatever else goes on, in any case.
        operations.push(named(&format!("u{n}")));
        operations.push(create(
            "/Users",
            &format!("twice{n}"),
            json!({"USERNAME": format!("U{n}")}),
        ));
    }
    // Names that become free, in every way.
    operations.push(on("DELETE", &path(0), Value::Null));
    operations.push(create("/Users", "1", json!({"userName": "Ann"})));
    operations.push(replace(&path(1), "userName", json!("robert")));
    operations.push(create("/Users", "2", json!({"userName": "Bob"})));
    operations.push(on("PUT", &path(2), json!({"userName": "kate"})));
    operations.push(create("/Users", "3", json!({"userName": "CAT"})));
    operations.push(create("/Users", "4", json!({"userName": "robert"})));
    operations.push(replace(&path(1), "userName", json!("bob")));
    let outcomes = world.bulk(&operations).await;
    for (n, chunk) in outcomes[..100].chunks(5).enumerate() {
        let version = format!("W/\"{}\"", n + 2);
        for one in &chunk[..3] {
            assert_eq!(
                (&one["status"], &one["version"]),
                (&json!("200"), &json!(version))
            );
        }
        assert_eq!(statuses(&chunk[3..]), ["201", "409"], "{n}");
    }
    let expected = ["204", "201", "200", "201", "200", "201", "409", "409"];
    assert_eq!(statuses(&outcomes[100..]), expected);
    world.cloud.clear_faults();
    // The versions of each resource reach the bus in their order.
    let mut last = std::collections::HashMap::new();
    for event in world.events().await {
        let detail = &event["detail"];
        let version = detail["version"].as_u64().unwrap();
        let before = last.insert(detail["resource"]["id"].to_string(), version);
        assert_eq!(version, before.unwrap_or(0) + 1, "{event}");
    }
}

/// A small generator of numbers, the same ones for a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// Any operations at all leave what they leave one by one, with the same answers, though those that cannot meet go side
/// by side and overtake each other.
#[tokio::test(flavor = "multi_thread")]
async fn any_operations_have_the_same_result_as_one_by_one() {
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let mut operations = vec![];
        for n in 0..90 {
            // Few names and few users, so that they meet.
            let name = ["ann", "bob", "CAT", "Ann", "dan", "cat"][dice.roll(6) as usize];
            let title = json!(format!("t{}", dice.roll(3)));
            let path = format!(
                "/Users/{:02x}000000-0000-4000-8000-000000000000",
                dice.roll(12)
            );
            let mut operation = match dice.roll(10) {
                0..=2 => create(
                    "/Users",
                    &n.to_string(),
                    json!({"userName": name, "title": title}),
                ),
                3 => create(
                    "/Users",
                    &n.to_string(),
                    json!({"userName": format!("u{n}")}),
                ),
                4..=6 => replace(&path, "title", title),
                7 => replace(&path, "userName", json!(name)),
                8 => on("PUT", &path, json!({"userName": name})),
                _ => on("DELETE", &path, Value::Null),
            };
            if operation["method"] != "POST" && dice.roll(4) == 0 {
                operation["version"] = json!(format!("W/\"{}\"", dice.roll(3) + 1));
            }
            operations.push(operation);
        }
        // The users that operations name exist: a client cannot know the id of a user before its creation.
        let peopled = async || {
            let world = World::in_order().await;
            for n in 0..12 {
                let user = json!({"userName": format!("there{n}")});
                world.post("/Users", &user).await.expect(201);
            }
            world
        };
        let single = peopled().await;
        let mut expected = vec![];
        for operation in &operations {
            let answer = alone(&single, operation).await;
            let version = answer.header("etag").map(str::to_owned);
            expected.push((answer.status.as_u16().to_string(), version));
        }
        let many = peopled().await;
        let number = AtomicUsize::new(0);
        many.cloud.set_faults(move |info| match info.service {
            Service::DynamoDb => {
                let number = number.fetch_add(1, Ordering::Relaxed) as u64;
                Fault::Delay(Duration::from_millis(number * 7 % 11))
            }
            _ => Fault::Pass,
        });
        let outcomes = many.bulk(&operations).await;
        many.cloud.clear_faults();
        assert_eq!(outcomes.len(), operations.len());
        for (outcome, (operation, expected)) in outcomes.iter().zip(operations.iter().zip(expected))
        {
            let version = outcome["version"].as_str().map(str::to_owned);
            let status = outcome["status"].as_str().unwrap().to_owned();
            assert_eq!((status, version), expected, "{seed}: {operation}");
        }
        let state = async |world: &World| {
            let users = world.get("/Users?count=200").await.expect(200).json();
            world.without_names(&users)
        };
        assert_eq!(state(&many).await, state(&single).await, "{seed}");
        assert_eq!(many.events().await.len(), single.events().await.len());
    }
}

/// An hour of an identity provider in one request, and the same again after a time-out: nothing is done or announced twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_users_fit_into_one_request_and_a_repeat() {
    let world = World::new().await;
    let operations: Vec<Value> = (0..1_000)
        .map(|n| create("/Users", &n.to_string(), user(&format!("u{n}@example.com"))))
        .collect();
    world.bulk(&[]).await;
    world.cloud.take_requests();
    let begun = Instant::now();
    let outcomes = world.bulk(&operations).await;
    println!("1,000 users in one request: {:?}", begun.elapsed());
    assert_eq!(statuses(&outcomes), vec!["201"; 1_000]);
    let ids: BTreeSet<&str> = outcomes.iter().map(id).collect();
    assert_eq!(ids.len(), 1_000);
    let requests = world.cloud.take_requests().of(Service::DynamoDb);
    assert_eq!(requests.operations(), vec!["TransactWriteItems"; 1_000]);
    assert!(requests.round_trips() < 500, "{}", requests.round_trips());
    assert_eq!(world.events().await.len(), 1_000);

    let again = world.bulk(&operations).await;
    assert_eq!(statuses(&again), vec!["409"; 1_000]);
    assert_eq!(world.events().await.len(), 0);
    assert_eq!(world.totals().await, (json!(1_000), json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gets_its_members_in_the_request_that_creates_them() {
    let world = World::new().await;
    let names: Vec<String> = (0..400).map(|n| format!("u{n}")).collect();
    let members = with_members("all", names.iter().map(String::as_str));
    let mut operations = vec![members.clone()];
    operations.extend(names.iter().map(|name| named(name)));
    let outcomes = world.bulk(&operations).await;
    assert_eq!(statuses(&outcomes), vec!["201"; 401]);
    let group = world.get(&format!("/Groups/{}", id(&outcomes[0]))).await;
    let group = group.expect(200).json();
    assert_eq!(group["members"].as_array().unwrap().len(), 400);
    assert_eq!(world.events().await.len(), 801);
}

/// Others write the same items, or DynamoDB throttles: the same creation is tried again, under the id that others refer to.
#[tokio::test(flavor = "multi_thread")]
async fn a_retried_creation_keeps_its_id() {
    let world = World::new().await;
    world
        .cloud
        .set_faults(|info| match info.operation.as_str() {
            "TransactWriteItems" if info.number % 3 != 0 => {
                Fault::Cancel(vec!["TransactionConflict", "None", "None", "None"])
            }
            _ => Fault::Pass,
        });
    let outcomes = world
        .bulk(&[
            managed("ann", "bob"),
            managed("bob", "ann"),
            with_members("g", ["ann", "bob"]),
        ])
        .await;
    world.cloud.clear_faults();
    assert_eq!(statuses(&outcomes), ["201"; 3]);
    let ann = world.get(&format!("/Users/{}", id(&outcomes[0]))).await;
    let manager = &ann.expect(200).json()[ENTERPRISE]["manager"]["value"];
    assert_eq!(*manager, id(&outcomes[1]));
    assert_eq!(world.totals().await, (json!(2), json!(1)));
}

impl World {
    /// The same as [`World::bulk_until`], by a function that has earlier deadlines than the deployed one.
    async fn hasty_bulk(
        &self,
        (begin, answer): (u64, u64),
        errors: usize,
        operations: &[Value],
    ) -> Vec<Value> {
        let deadlines = Deadlines {
            begin: Duration::from_millis(begin),
            answer: Duration::from_millis(answer),
        };
        let function = bulk::router_with(self.stack.gateway().clone(), deadlines);
        let body = json!({"failOnErrors": errors, "Operations": operations}).to_string();
        let request = self.request(Method::POST, "/Bulk", body).map(Body::from);
        let answer = function.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        body["Operations"].as_array().unwrap().clone()
    }

    /// Lets each transaction take so long; none of them for the numbers that `slow` does not name.
    fn delay(&self, milliseconds: u64, slow: impl Fn(usize) -> bool + Send + Sync + 'static) {
        self.cloud
            .set_faults(move |info| match info.operation.as_str() {
                "TransactWriteItems" if slow(info.number) => {
                    Fault::Delay(Duration::from_millis(milliseconds))
                }
                _ => Fault::Pass,
            });
    }
}

/// API Gateway waits 30 seconds: what was not begun in time is told from what was done.
#[tokio::test(flavor = "multi_thread")]
async fn operations_without_time_are_429_and_can_be_repeated() {
    let world = World::new().await;
    world.delay(400, |_| true);
    let mut operations: Vec<Value> = (0..12).map(|n| named(&format!("u{n}"))).collect();
    operations.push(with_members("g", ["u1"]));
    // One after the other.
    let outcomes = world.hasty_bulk((1_000, 60_000), 1, &operations).await;
    let done = outcomes
        .iter()
        .filter(|outcome| outcome["status"] == "201")
        .count();
    assert!((1..=3).contains(&done), "{done}");
    assert_eq!(statuses(&outcomes[..done]), vec!["201"; done]);
    assert_eq!(statuses(&outcomes[done..]), vec!["429"; 13 - done]);
    assert!(detail(&outcomes[12]).contains("Send the operation again"));
    world.cloud.clear_faults();
    assert_eq!(world.events().await.len(), done);
    let outcomes = world.bulk(&operations[done..12]).await;
    assert_eq!(statuses(&outcomes), vec!["201"; 12 - done]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_without_time_is_429_and_rolled_back() {
    let world = World::new().await;
    world.delay(400, |number| number <= 4);
    let operations: Vec<Value> = (0..6)
        .map(|n| managed(&format!("u{n}"), &format!("u{}", (n + 1) % 6)))
        .collect();
    let outcomes = world.hasty_bulk((1_000, 60_000), 1, &operations).await;
    assert_eq!(statuses(&outcomes), ["429"; 6]);
    assert_eq!(world.totals().await, (json!(0), json!(0)));
    world.cloud.clear_faults();
    let outcomes = world.bulk(&operations).await;
    assert_eq!(statuses(&outcomes), ["201"; 6]);
}

/// What takes too long does not take the answers of the others with it.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_does_not_end_in_time_is_503() {
    let world = World::new().await;
    world.delay(60_000, |number| number == 2);
    let operations = [named("ann"), named("bob"), named("cat")];
    let outcomes = world.hasty_bulk((1_500, 2_000), 0, &operations).await;
    let mut statuses = statuses(&outcomes);
    statuses.sort_unstable();
    assert_eq!(statuses, ["201", "201", "503"]);
    let late = outcomes.iter().find(|outcome| outcome["status"] == "503");
    assert!(detail(late.unwrap()).contains("not known"));
}

async fn refused(world: &World, body: &str, media_type: &str) -> String {
    let mut request = world.request(Method::POST, "/Bulk", body.to_owned());
    let headers = request.headers_mut();
    headers.insert("content-type", media_type.parse().unwrap());
    let (answer, paid) = cost(world, world.send(request)).await;
    let body = answer.expect(413).json();
    assert_eq!(body["status"], "413");
    assert_eq!(paid.operations, Vec::<String>::new());
    body["detail"].as_str().unwrap().to_owned()
}

/// RFC 7644 §3.7.4 (B5).
#[tokio::test]
async fn too_many_operations_or_bytes_are_413_and_change_nothing() {
    let world = World::new().await;
    let operations: Vec<Value> = (0..1_001).map(|n| named(&n.to_string())).collect();
    let many = json!({"Operations": operations}).to_string();
    for media_type in ["application/json", "application/scim+json"] {
        assert!(refused(&world, &many, media_type).await.contains("1000"));
        for bytes in [1024 * 1024 + 1, 2 * 1024 * 1024, 4 * 1024 * 1024] {
            let mut large = json!({"Operations": [named("ann")]}).to_string();
            large.push_str(&" ".repeat(bytes - large.len()));
            let detail = refused(&world, &large, media_type).await;
            assert!(detail.contains("1048576"), "{detail}");
        }
    }
    // A body that Lambda still takes, and the router does not.
    let large = " ".repeat(5 * 1024 * 1024 + 1);
    let detail = refused(&world, &large, "application/json").await;
    assert!(detail.contains("1048576"), "{detail}");
    assert_eq!(world.totals().await, (json!(0), json!(0)));
    assert_eq!(world.events().await, Vec::<Value>::new());

    // Exactly as much is taken.
    let mut largest = json!({"Operations": operations[..1_000]}).to_string();
    largest.push_str(&" ".repeat(1024 * 1024 - largest.len()));
    let answer = world
        .send(world.request(Method::POST, "/Bulk", largest))
        .await
        .expect(200);
    let outcomes = answer.json()["Operations"].clone();
    assert_eq!(statuses(outcomes.as_array().unwrap()), vec!["201"; 1_000]);
    let config = world.get("/ServiceProviderConfig").await.json();
    let limits = json!({"supported": true, "maxOperations": 1_000, "maxPayloadSize": 1024 * 1024});
    assert_eq!(config["bulk"], limits);
}

/// A body of 1 MiB that is nothing but references is planned and answered in no time.
#[tokio::test]
async fn the_maximum_number_of_references_is_answered() {
    let world = World::new().await;
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let operations: Vec<Value> = names
        .iter()
        .map(|name| {
            let needs: Vec<String> = all[..200]
                .iter()
                .map(|name| format!("bulkId:{name}"))
                .collect();
            create("/Users", name, json!({"userName": 7, "x": needs}))
        })
        .collect();
    let begun = Instant::now();
    let outcomes = world.bulk(&operations).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(
        statuses(&outcomes)
            .iter()
            .all(|status| ["400", "409"].contains(status))
    );
    assert_eq!(world.totals().await, (json!(0), json!(0)));
}

#[tokio::test]
async fn a_bulk_request_without_authorization_changes_nothing() {
    let world = World::new().await;
    let body = json!({"Operations": [named("ann")]}).to_string();
    let other = world
        .with_directory(NewDirectory {
            tenant: "t".to_owned(),
            product: "p".to_owned(),
            name: "n".to_owned(),
            provider: Provider::Generic,
            settings: Settings::default(),
            webhook: None,
        })
        .await;
    for token in [None, Some("rollcall_wrong"), Some(other.token.as_str())] {
        let mut request = world.request(Method::POST, "/Bulk", body.clone());
        request.headers_mut().remove("authorization");
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let answer = world.send(request).await.expect(401);
        assert!(answer.header("www-authenticate").is_some());
        assert_eq!(answer.json()["status"], "401");
    }
    // A path leads nowhere else.
    let other_user = other.post("/Users", &user("ann")).await.expect(201).id();
    let outcomes = world
        .bulk(&[
            on("DELETE", &format!("/Users/{other_user}"), Value::Null),
            on(
                "DELETE",
                &format!("/Users/../../{}/Users/{other_user}", other.directory),
                Value::Null,
            ),
            on(
                "DELETE",
                &format!("/../{}/Users/{other_user}", other.directory),
                Value::Null,
            ),
            on(
                "DELETE",
                &format!("{}/Users/{other_user}", other.base()),
                Value::Null,
            ),
            on(
                "DELETE",
                &format!("https://{HOST}{}/Users/{other_user}", other.base()),
                Value::Null,
            ),
            on(
                "DELETE",
                &format!("/Users/%2e%2e%2f{other_user}"),
                Value::Null,
            ),
            on("DELETE", &format!("/Users/{other_user}/x"), Value::Null),
        ])
        .await;
    assert!(
        statuses(&outcomes).iter().all(|status| *status == "404"),
        "{outcomes:?}"
    );
    other.get(&format!("/Users/{other_user}")).await.expect(200);

    world.deactivate().await;
    let answer = world
        .cold()
        .await
        .post("/Bulk", &json!({"Operations": [named("bob")]}))
        .await;
    assert_eq!(answer.expect(403).json()["status"], "403");
}

/// What the headers of the bulk request say of itself is not said of its operations; what they say of the client is.
#[tokio::test]
async fn headers_come_from_the_request_and_not_from_an_operation() {
    let world = World::new().await;
    let ann = world.post("/Users", &user("ann")).await.expect(201).id();
    let title = replace(&format!("/Users/{ann}"), "title", json!("Guide"));
    let mut request = world.request(
        Method::POST,
        "/Bulk",
        json!({"Operations": [title]}).to_string(),
    );
    let headers = request.headers_mut();
    for (name, value) in [
        ("if-match", "W/\"77\""),
        ("if-none-match", "*"),
        ("prefer", "return=minimal"),
        ("content-type", "application/json; charset=utf-8"),
        ("host", "other.example.com"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let answer = world.send(request).await.expect(200);
    let outcome = &answer.json()["Operations"][0];
    assert_eq!(outcome["status"], "204");
    assert_eq!(outcome["version"], "W/\"2\"");
    let location = format!("http://other.example.com{}/Users/{ann}", world.base());
    assert_eq!(outcome["location"], location);
}

/// No body makes it fail in another way than by a SCIM error.
#[tokio::test]
async fn malformed_bodies_are_answered_with_scim_errors() {
    let world = World::new().await;
    for body in [
        "",
        "null",
        "[]",
        "{",
        "{}",
        r#"{"Operations":null}"#,
        r#"{"Operations":{}}"#,
        r#"{"Operations":[null]}"#,
        r#"{"Operations":[[]]}"#,
        r#"{"Operations":[{}]}"#,
        r#"{"Operations":[{"method":"POST","method":"PUT","path":"/Users"}]}"#,
        r#"{"Operations":[{"method":7,"path":"/Users"}]}"#,
        r#"{"Operations":[{"method":"POST","path":7}]}"#,
        r#"{"Operations":[{"method":"POST","path":"","bulkId":"a"}]}"#,
        r#"{"Operations":[{"method":"POST","path":"/Users","bulkId":{}}]}"#,
        r#"{"Operations":[],"failOnErrors":"x"}"#,
        r#"{"Operations":[],"failOnErrors":1e99}"#,
        r#"{"Operations":[],"schemas":7}"#,
        "{\"Operations\":\"\\ud800\"}",
    ] {
        let answer = world.send(world.request(Method::POST, "/Bulk", body)).await;
        assert_eq!(
            answer.expect(400).json()["scimType"],
            "invalidSyntax",
            "{body}"
        );
    }
    let operations = [
        r#"{"method":"\u0000","path":"\u0000"}"#,
        r#"{"method":"PUT","path":"/Users/ü"}"#,
        r#"{"method":"PUT","path":"/Users/%"}"#,
        r#"{"method":"PUT","path":"/Users/%ff%00"}"#,
        r#"{"method":"PUT","path":"/Users/\n"}"#,
        r#"{"method":"PUT","path":"?"}"#,
        r#"{"method":"PUT","path":"//"}"#,
        r##"{"method":"PUT","path":"/Users/#"}"##,
        r#"{"method":"PUT","path":"/Users/1","version":"\u0001","data":{}}"#,
        r#"{"method":"PUT","path":"/Users/1","version":"ü","data":{}}"#,
        r#"{"method":"PUT","path":"/Users/1","data":7}"#,
        r#"{"method":"PUT","path":"/Users/1","data":"bulkId:a"}"#,
        r#"{"method":"PATCH","path":"/Users/1","data":[7]}"#,
        r#"{"method":"POST","path":"/Users","bulkId":"bulkId:b","data":[]}"#,
        r#"{"method":"PUT","path":"/Users/bulkId:","data":{}}"#,
        r#"{"method":"DELETE","path":"/Users/bulkId:bulkId:b"}"#,
        r#"{"method":"PATCH","path":"/Groups/x?filter=%ff","data":{"Operations":[{"op":"add"}]}}"#,
    ];
    let body = format!("{{\"Operations\":[{}]}}", operations.join(","));
    let answer = world.send(world.request(Method::POST, "/Bulk", body)).await;
    let outcomes = answer.expect(200).json()["Operations"].clone();
    let outcomes = outcomes.as_array().unwrap();
    assert_eq!(outcomes.len(), operations.len());
    for (operation, outcome) in operations.iter().zip(outcomes) {
        let status = outcome["status"].as_str().unwrap();
        assert!(status.starts_with('4'), "{operation}: {outcome}");
        let error = &outcome["response"];
        assert_eq!(error["status"], status, "{operation}");
        assert!(error["detail"].is_string(), "{operation}");
    }
}

impl World {
    /// Deactivates the directory, as the admin API will.
    async fn deactivate(&self) {
        let client = Client::new(self.cloud.config());
        let key = |name: &str, value: &str| (name.to_owned(), AttributeValue::S(value.to_owned()));
        let table = &self.stack.template().table.name;
        let item = client
            .get_item()
            .table_name(table)
            .set_key(Some([key("PK", &self.directory), key("SK", "META")].into()))
            .send()
            .await
            .unwrap();
        let mut item = item.item.unwrap();
        let document = item["directory"].as_s().unwrap();
        let document = document.replace("\"active\"", "\"inactive\"");
        item.insert("directory".to_owned(), AttributeValue::S(document));
        let put = client.put_item().table_name(table).set_item(Some(item));
        put.send().await.unwrap();
    }
}
