//! From the table to the bus: no event lost, none under a second id, whatever the bus does.

use std::collections::{BTreeMap, BTreeSet};

use aws_lambda_events::event::dynamodb::Event;
use directory::Store;
use local::{Fault, Service};
use publisher::Publisher;
use serde_json::{Value, json};

use crate::world::{World, user};

/// Creates users, and gives their ids.
async fn create(world: &World, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for n in 0..count {
        ids.insert(
            world
                .post("/Users", &user(&format!("u{n}@example.com")))
                .await
                .expect(201)
                .id(),
        );
    }
    ids
}

/// Each user was announced, and no event has two ids, though one may have been sent twice.
fn check(events: &[Value], ids: &BTreeSet<String>) {
    let mut announced: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        announced
            .entry(text(&event["detail"]["resource"]["id"]))
            .or_default()
            .insert(text(&event["detail"]["id"]));
    }
    assert_eq!(&announced.keys().cloned().collect::<BTreeSet<_>>(), ids);
    assert!(
        announced.values().all(|events| events.len() == 1),
        "{announced:?}"
    );
}

fn put_events(world: &World, fault: impl Fn(usize) -> Fault + Send + Sync + 'static) {
    world
        .cloud
        .set_faults(move |request| match request.service {
            Service::EventBridge => fault(request.number),
            _ => Fault::Pass,
        });
}

#[tokio::test]
async fn events_leave_in_order_ten_a_call() {
    let world = World::new().await;
    let ids = create(&world, 25).await;
    world.cloud.take_requests();
    let events = world.events().await;
    check(&events, &ids);
    assert_eq!(
        world
            .cloud
            .take_requests()
            .of(Service::EventBridge)
            .operations(),
        ["PutEvents"; 3]
    );
    let names: Vec<Value> = events
        .iter()
        .map(|event| event["detail"]["data"]["user_name"].clone())
        .collect();
    assert_eq!(
        names,
        (0..25)
            .map(|n| format!("u{n}@example.com"))
            .collect::<Vec<_>>()
    );
    // A stream that has been read is not read again.
    assert_eq!(world.events().await, Vec::<Value>::new());
}

#[tokio::test]
async fn entries_that_are_refused_are_sent_again_and_the_others_are_not() {
    let world = World::new().await;
    let ids = create(&world, 8).await;
    put_events(&world, |number| match number {
        1 => Fault::FailEntries {
            indexes: vec![0, 3, 7],
            code: "ThrottlingException",
        },
        2 => Fault::FailEntries {
            indexes: vec![1],
            code: "InternalFailure",
        },
        _ => Fault::Pass,
    });
    let events = world.events().await;
    check(&events, &ids);
    assert_eq!(events.len(), 8, "none was sent twice");
}

#[tokio::test]
async fn entries_refused_for_longer_are_brought_again_by_lambda() {
    let world = World::new().await;
    let ids = create(&world, 30).await;
    put_events(&world, |number| match number {
        2..8 => Fault::FailEntries {
            indexes: vec![0],
            code: "ThrottlingException",
        },
        _ => Fault::Pass,
    });
    check(&world.events().await, &ids);
    assert_eq!(world.cloud.dead_letters(), vec![]);
}

#[tokio::test]
async fn a_bus_that_is_down_loses_nothing() {
    let world = World::new().await;
    let ids = create(&world, 12).await;
    put_events(&world, |number| match number {
        1..20 => Fault::Error {
            status: 500,
            code: "InternalException",
            message: "down",
        },
        20..24 => Fault::DropRequest,
        24..28 => Fault::Error {
            status: 400,
            code: "ThrottlingException",
            message: "Rate exceeded",
        },
        _ => Fault::Pass,
    });
    check(&world.events().await, &ids);
    assert_eq!(world.cloud.dead_letters(), vec![]);
}

/// The bus took the events, and the publisher did not hear of it: they are sent again under the same ids.
#[tokio::test]
async fn a_replay_has_the_same_ids() {
    let world = World::new().await;
    let ids = create(&world, 5).await;
    put_events(&world, |number| {
        if number == 1 {
            Fault::DropAnswer
        } else {
            Fault::Pass
        }
    });
    let events = world.events().await;
    assert_eq!(events.len(), 10);
    check(&events, &ids);
}

/// A process that begins again reads the whole stream, as after a crash between the bus and the checkpoint.
#[tokio::test]
async fn a_stream_read_again_has_the_same_ids() {
    let world = World::new().await;
    let ids = create(&world, 15).await;
    let mut events = world.events().await;
    let again = world.cold().await.events().await;
    // The event of the world's own directory is in the stream as well.
    assert_eq!(again[0]["detail-type"], "directory.created");
    events.extend(again.into_iter().skip(1));
    assert_eq!(events.len(), 30);
    check(&events, &ids);
}

pub fn record(sequence: &str, name: &str, pk: &str, image: Value) -> Value {
    let sk = image.get("SK").cloned().unwrap_or(json!({"S": "x"}));
    json!({
        "eventID": sequence, "eventName": name, "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
        "dynamodb": {"ApproximateCreationDateTime": 1.0, "Keys": {"PK": {"S": pk}, "SK": sk}, "NewImage": image,
            "SequenceNumber": sequence, "SizeBytes": 1, "StreamViewType": "NEW_IMAGE"},
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/1",
    })
}

pub fn event(detail: &str) -> Value {
    let pk = "d0000000-0000-4000-8000-000000000000#E";
    json!({"PK": {"S": pk}, "SK": {"S": "x"}, "detailType": {"S": "user.created"}, "detail": {"S": detail}, "expires": {"N": "1"}})
}

async fn handle(world: &World, records: Vec<Value>) -> Vec<String> {
    let store = Store::from_config(world.cloud.config(), "rollcall-Table");
    let publisher = Publisher::new(world.cloud.config(), "rollcall".to_owned(), store);
    let batch: Event = serde_json::from_value(json!({"Records": records})).unwrap();
    let response = publisher.handle(batch).await;
    response
        .batch_item_failures
        .into_iter()
        .map(|failure| failure.item_identifier.unwrap())
        .collect()
}

pub const PK: &str = "d0000000-0000-4000-8000-000000000000#E";
pub const GOOD: &str = r#"{"id": "1", "time": "2026-01-01T00:00:00.000Z"}"#;

#[tokio::test]
async fn poison_is_reported_and_holds_back_nothing() {
    let world = World::new().await;
    let mut unknown = event(GOOD);
    unknown["detailType"] = json!({"S": "user.teleported"});
    let failed = handle(
        &world,
        vec![
            record("1", "INSERT", PK, event(GOOD)),
            record("2", "INSERT", PK, json!({"PK": {"S": PK}})),
            record("3", "INSERT", PK, event("no json")),
            record("4", "INSERT", PK, unknown),
            record("5", "INSERT", PK, event(GOOD)),
        ],
    )
    .await;
    assert_eq!(failed, ["2", "3", "4"]);
    assert_eq!(world.cloud.bus().take_events().len(), 2);
}

#[tokio::test]
async fn records_of_other_kinds_are_nobodys() {
    let world = World::new().await;
    let failed = handle(
        &world,
        vec![
            record("1", "REMOVE", PK, json!({})),
            record("2", "MODIFY", PK, event(GOOD)),
        ],
    )
    .await;
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(world.cloud.bus().take_events().len(), 0);
}

/// What the bus refuses for good is reported alone; what it refuses for now holds back what comes after.
#[tokio::test]
async fn exactly_what_is_not_on_the_bus_is_reported() {
    let world = World::new().await;
    let batch = || {
        (1..=25)
            .map(|n| record(&n.to_string(), "INSERT", PK, event(GOOD)))
            .collect::<Vec<_>>()
    };
    put_events(&world, |_| Fault::FailEntries {
        indexes: vec![4],
        code: "MalformedDetail",
    });
    assert_eq!(handle(&world, batch()).await, ["5", "15", "25"]);
    assert_eq!(world.cloud.bus().take_events().len(), 22);

    put_events(&world, |number| {
        if number == 1 {
            Fault::Pass
        } else {
            Fault::FailEntries {
                indexes: vec![0],
                code: "ThrottlingException",
            }
        }
    });
    let failed = handle(&world, batch()).await;
    let expected: Vec<String> = std::iter::once(11)
        .chain(21..=25)
        .map(|n| n.to_string())
        .collect();
    assert_eq!(failed, expected);
    assert_eq!(world.cloud.bus().take_events().len(), 19);
}

/// Lambda gives up on a record in the end, and lets the others through.
#[tokio::test]
async fn a_record_that_never_works_ends_among_the_dead_letters() {
    let world = World::new().await;
    let client = aws_sdk_dynamodb::Client::new(world.cloud.config());
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    client
        .put_item()
        .table_name(&world.stack.template().table.name)
        .item("PK", text(&format!("{}#E", world.directory)))
        .item("SK", text("00000000-0000-7000-8000-000000000000"))
        .send()
        .await
        .unwrap();
    let ids = create(&world, 3).await;
    check(&world.events().await, &ids);
    let letters = world.cloud.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].records.len(), 1);
}
