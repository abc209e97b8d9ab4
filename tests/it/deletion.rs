//! Deletion of a directory: the token is invalid at once, the items are deleted in steps, one event is published, and
//! other directories keep their items.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use http::Method;
use local::{Fault, RequestInfo, Service};
use serde_json::{Value, json};

use crate::harness::{World, user};

type Item = std::collections::HashMap<String, AttributeValue>;

/// More items than one step deletes.
const MANY: usize = 12_000;

impl World {
    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(self.cloud.config())
    }

    /// Everything in the table.
    async fn whole_table(&self) -> Vec<Item> {
        let mut all = vec![];
        let mut next = None;
        loop {
            let page = self
                .dynamodb()
                .scan()
                .table_name(&self.stack.template().table.name)
                .set_exclusive_start_key(next)
                .send()
                .await
                .unwrap();
            all.extend(page.items.unwrap_or_default());
            next = page.last_evaluated_key;
            if next.is_none() {
                return all;
            }
        }
    }

    /// How many items of a directory there are, by their partitions, events apart.
    async fn left(&self) -> BTreeMap<String, usize> {
        let mut left = BTreeMap::new();
        for item in self.whole_table().await {
            let text = |name: &str| item[name].as_s().unwrap().clone();
            let (pk, sk) = (text("PK"), text("SK"));
            let own = pk.starts_with(&self.directory) || sk.ends_with(&self.directory);
            if own && !pk.ends_with("#E") {
                *left.entry(pk).or_default() += 1;
            }
        }
        left
    }

    /// Users who are kept as the function keeps them, without a request for each.
    async fn fill(&self, items: usize) {
        let client = self.dynamodb();
        let table = self.stack.template().table.name.clone();
        let text = |text: String| AttributeValue::S(text);
        for chunk in (0..items).collect::<Vec<_>>().chunks(25) {
            let puts = chunk.iter().map(|n| {
                let partition = ["U", "N", "X", "EM"][n % 4];
                let put = aws_sdk_dynamodb::types::PutRequest::builder()
                    .item("PK", text(format!("{}#{partition}", self.directory)))
                    .item("SK", text(format!("{n:08x}-0000-4000-8000-000000000000")))
                    .item("document", text("x".repeat(200)))
                    .build()
                    .unwrap();
                aws_sdk_dynamodb::types::WriteRequest::builder()
                    .put_request(put)
                    .build()
            });
            client
                .batch_write_item()
                .request_items(&table, puts.collect())
                .send()
                .await
                .unwrap();
        }
    }

    async fn end(&self) {
        self.admin(Method::DELETE, &self.admin_path(""), Value::Null)
            .await
            .expect(202);
    }
}

/// A directory with everything that a directory can have.
async fn lived_in(world: &World) -> World {
    let own = world.directory_of("acme", "crm").await;
    let ann = own
        .post("/Users", &user("ann@example.com"))
        .await
        .expect(201)
        .id();
    let bob = own
        .post("/Users", &user("bob@example.com"))
        .await
        .expect(201)
        .id();
    let sales = json!({"displayName": "Sales", "externalId": "00g1", "members": [{"value": ann}, {"value": bob}]});
    let sales = own.post("/Groups", &sales).await.expect(201).id();
    let all = json!({"displayName": "All", "members": [{"value": sales}, {"value": bob}]});
    own.post("/Groups", &all).await.expect(201);
    own
}

fn of_directories(events: &[Value]) -> Vec<&str> {
    let types = events
        .iter()
        .map(|event| event["detail-type"].as_str().unwrap());
    types
        .filter(|name| name.starts_with("directory."))
        .collect()
}

#[tokio::test]
async fn a_deletion_leaves_no_items_and_publishes_one_event() {
    let world = World::new().await;
    let own = lived_in(&world).await;
    let neighbour = lived_in(&world).await;
    world.events().await;
    let before = neighbour.left().await;
    assert!(own.left().await.len() >= 11, "{:?}", own.left().await);
    let token_of = |world: &World| format!("rollcall/{}", world.directory);

    own.end().await;
    // The token is over at once, though its secret is still there: a process that has not met the directory, or not
    // within a minute, knows nothing of it.
    let client = aws_sdk_secretsmanager::Client::new(world.cloud.config());
    let secret = async |world: &World| {
        let asked = client.get_secret_value().secret_id(token_of(world));
        asked.send().await.is_ok()
    };
    assert!(secret(&own).await);
    let cold = own.cold().await;
    let unknown = cold.get("/Users").await.expect(401);
    let mut nobody = cold.request(Method::GET, "/Users", "");
    *nobody.uri_mut() = "/scim/v2/00000000-0000-4000-8000-000000000000/Users"
        .parse()
        .unwrap();
    assert_eq!(cold.send(nobody).await.expect(401).body, unknown.body);
    // Until it is gone it is shown, and nothing else can be done with it.
    assert_eq!(
        world
            .admin_get(&own.admin_path(""))
            .await
            .expect(200)
            .json()["status"],
        "deleting"
    );
    for path in ["/users", "/groups", "/tokens"] {
        world.admin_get(&own.admin_path(path)).await.expect(409);
    }
    world
        .admin(
            Method::PATCH,
            &own.admin_path(""),
            json!({"status": "active"}),
        )
        .await
        .expect(409);
    world
        .admin(Method::POST, &own.admin_path("/tokens"), json!({}))
        .await
        .expect(409);
    own.end().await;

    let events = world.events().await;
    assert_eq!(of_directories(&events), ["directory.deleted"]);
    assert_eq!(events.len(), 1, "no event for each user and group");
    assert_eq!(events[0]["detail"]["directory_id"], own.directory.as_str());
    assert_eq!(own.left().await, BTreeMap::new());
    assert!(!secret(&own).await && secret(&neighbour).await);
    world.admin_get(&own.admin_path("")).await.expect(404);
    world
        .admin(Method::DELETE, &own.admin_path(""), Value::Null)
        .await
        .expect(404);
    assert_eq!(neighbour.left().await, before);
    neighbour.get("/Users?count=0").await.expect(200);
    assert_eq!(
        neighbour.get("/Users").await.expect(200).json()["totalResults"],
        2
    );
    let list = world
        .admin_get("/v1/directories?tenant=acme")
        .await
        .expect(200)
        .json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert!(world.events().await.is_empty());
    // What is left are the events, which expire.
    let events = world.whole_table().await;
    let own_events = events
        .iter()
        .filter(|item| item["PK"].as_s().unwrap() == &format!("{}#E", own.directory));
    assert!(
        own_events.clone().count() > 4
            && own_events.clone().all(|item| item.contains_key("expires"))
    );
}

/// A process that still believes in the token writes meanwhile; the last step waits for it, and looks again.
#[tokio::test]
async fn a_process_with_a_cached_token_leaves_nothing_behind() {
    let world = World::new().await;
    let own = lived_in(&world).await;
    own.get("/Users?count=0").await.expect(200);
    own.end().await;
    // Between two looks of the sweeper, while nothing was left.
    let late = Arc::new(own.of(&json!({"id": own.directory, "token": own.token})));
    let writes = Arc::new(AtomicUsize::new(0));
    for n in 0..3 {
        let answer = late
            .post("/Users", &user(&format!("late{n}@example.com")))
            .await;
        writes.fetch_add(usize::from(answer.status == 201), Ordering::Relaxed);
        world.wait(15);
    }
    assert_eq!(
        writes.load(Ordering::Relaxed),
        3,
        "the process believes for a minute"
    );
    let begun = world.cloud.clock()();
    world.events().await;
    assert!(
        world.cloud.clock()().duration_since(begun).as_secs() >= 45,
        "it waited"
    );
    assert_eq!(own.left().await, BTreeMap::new());
    late.post("/Users", &user("later@example.com"))
        .await
        .expect(401);
}

/// Steps are interrupted in every way, and the next invocation continues.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_deletion_of_a_large_directory_is_resumed() {
    let world = World::new().await;
    let own = lived_in(&world).await;
    own.fill(MANY).await;
    let neighbour = lived_in(&world).await;
    let before = neighbour.left().await;
    world.events().await;

    let steps = Arc::new(AtomicUsize::new(0));
    let counted = steps.clone();
    world.cloud.set_faults(move |request: &RequestInfo| {
        let down = Fault::Error {
            status: 400,
            code: "ValidationException",
            message: "dead",
        };
        match (request.service, request.operation.as_str(), request.number) {
            (Service::DynamoDb, "UpdateItem", number) => {
                counted.fetch_add(1, Ordering::Relaxed);
                match number % 3 {
                    // The response of a step is lost, or the record of the next step is.
                    1 => down,
                    2 => Fault::DropAnswer,
                    _ => Fault::Pass,
                }
            }
            (Service::DynamoDb, "BatchWriteItem", 100 | 450) => down,
            (Service::DynamoDb, "Query", 10) => down,
            (Service::DynamoDb, "TransactWriteItems", 2) => Fault::DropAnswer,
            _ => Fault::Pass,
        }
    });
    own.end().await;
    let events = world.events().await;
    world.cloud.clear_faults();
    assert!(steps.load(Ordering::Relaxed) >= 3, "{steps:?}");
    assert_eq!(of_directories(&events), ["directory.deleted"]);
    assert_eq!(own.left().await, BTreeMap::new());
    assert_eq!(neighbour.left().await, before);
    assert!(world.cloud.dead_letters().is_empty());
}

/// One transaction begins a deletion, also while Secrets Manager is unavailable. The rest follows without another request when
/// it is available again. The directory exists until its secret is deleted.
#[tokio::test]
async fn a_deletion_begins_while_secrets_manager_is_unavailable() {
    let world = World::new().await;
    let own = lived_in(&world).await;
    own.get("/Users?count=0").await.expect(200);
    world.events().await;
    world.cloud.take_requests();
    world.cloud.set_faults(|request| {
        if request.service == Service::SecretsManager && request.number <= 20 {
            Fault::Error {
                status: 500,
                code: "InternalServiceError",
                message: "down",
            }
        } else {
            Fault::Pass
        }
    });
    own.end().await;
    let asked = world.cloud.take_requests();
    assert!(asked.of(Service::SecretsManager).is_empty(), "{asked:?}");
    // A warm process takes requests for up to a minute.
    own.get("/Users?count=0").await.expect(200);
    world.wait(60);
    own.get("/Users?count=0").await.expect(401);
    let events = world.events().await;
    assert_eq!(of_directories(&events), ["directory.deleted"]);
    world.cloud.clear_faults();
    let client = aws_sdk_secretsmanager::Client::new(world.cloud.config());
    let asked = client
        .get_secret_value()
        .secret_id(format!("rollcall/{}", own.directory));
    assert!(asked.send().await.is_err());
}

/// A deletion that Lambda gave up on goes on with the same request.
#[tokio::test]
async fn a_stuck_deletion_can_be_requested_again() {
    let world = World::new().await;
    let own = lived_in(&world).await;
    world.events().await;
    world
        .cloud
        .set_faults(|request| match request.operation.as_str() {
            "BatchWriteItem" => Fault::Error {
                status: 400,
                code: "ValidationException",
                message: "dead",
            },
            _ => Fault::Pass,
        });
    own.end().await;
    assert!(world.events().await.is_empty());
    assert_eq!(world.cloud.dead_letters().len(), 1);
    world.cloud.clear_faults();
    assert!(world.events().await.is_empty());
    own.end().await;
    assert_eq!(of_directories(&world.events().await), ["directory.deleted"]);
    assert_eq!(own.left().await, BTreeMap::new());
}

/// What an item costs does not grow with their number: a 25th of a write request, and hardly a query.
#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_item_costs_a_25th_of_a_request() {
    let world = World::new().await;
    let own = world.directory_of("acme", "crm").await;
    own.fill(MANY).await;
    world.events().await;
    own.end().await;
    world.cloud.take_requests();
    world.events().await;
    let asked = world.cloud.take_requests().of(Service::DynamoDb);
    let count = |name: &str| {
        asked
            .operations()
            .iter()
            .filter(|operation| **operation == name)
            .count()
    };
    let writes = count("BatchWriteItem");
    assert!((MANY / 25..=MANY / 25 + 20).contains(&writes), "{writes}");
    // 14 partitions, 3 steps and the last look, and a page for every 1,000 items.
    assert!(
        count("Query") <= 14 * 5 + MANY / 1_000 + 5,
        "{}",
        count("Query")
    );
    assert_eq!(
        asked.len(),
        writes + count("Query") + count("GetItem") + count("UpdateItem") + 1
    );
    assert_eq!(own.left().await, BTreeMap::new());
}
