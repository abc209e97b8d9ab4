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

/// A directory of its own beside that of the world, with nothing left to publish.
async fn neighbour(world: &World) -> World {
    let other = world.directory_of("umbrella", "crm").await;
    world.events().await;
    other
}

/// The events of one directory, in the order in which the bus took them.
fn of<'e>(events: &'e [Value], world: &World) -> Vec<&'e Value> {
    let own = events
        .iter()
        .filter(|event| event["detail"]["directory_id"] == world.directory.as_str());
    own.collect()
}

fn types(events: &[&Value]) -> Vec<String> {
    let types = events.iter().map(|event| event["detail-type"].as_str());
    types.map(|name| name.unwrap().to_owned()).collect()
}

/// F2: the data of the user and of the group, each flat and raw, is more than the bus takes.
#[tokio::test]
async fn f2_a_membership_that_is_too_large_goes_without_raw_and_stops_nobody() {
    let world = World::new().await;
    let other = neighbour(&world).await;
    let big = json!({"userName": "ann@example.com", "displayName": "d".repeat(65_200)});
    let ann = world.post("/Users", &big).await.expect(201).id();
    let group = json!({"displayName": "g".repeat(65_300)});
    let group = world.post("/Groups", &group).await.expect(201).id();
    let path = format!("/Groups/{group}");
    let add = json!([{"op": "add", "path": "members", "value": [{"value": ann}]}]);
    world.patch(&path, add).await;
    create(&other, 1).await;

    let events = world.events().await;
    assert_eq!(types(&of(&events, &other)), ["user.created"]);
    let own = of(&events, &world);
    assert_eq!(
        types(&own),
        ["user.created", "group.created", "group.user_added"]
    );
    let membership = &own[2]["detail"];
    let left_out = json!(["data.group.raw", "data.user.raw"]);
    assert_eq!(membership["truncated"], left_out);
    let data = &membership["data"];
    assert_eq!(data["user"]["display_name"], "d".repeat(65_200));
    assert_eq!(data["group"]["display_name"], "g".repeat(65_300));
    assert!(data["user"].get("raw").is_none() && data["group"].get("raw").is_none());
    for event in &own {
        crate::events::check(event);
    }
    assert_eq!(world.cloud.dead_letters(), vec![]);
    // The log says the same of the same event.
    world.wait(60);
    let log = world.look(&world.v1("/events")).await.expect(200).json();
    let logged = log["data"].as_array().unwrap().last().unwrap();
    assert_eq!(logged["detail"], *membership);
}

impl World {
    /// Changes the item of the directory as no request can.
    async fn spoil_directory(&self, change: impl Fn(&str) -> String) {
        let client = aws_sdk_dynamodb::Client::new(self.cloud.config());
        let table = &self.stack.template().table.name;
        let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
        let (pk, sk) = (text(&self.directory), text("META"));
        let item = client
            .get_item()
            .table_name(table)
            .key("PK", pk)
            .key("SK", sk);
        let mut item = item.send().await.unwrap().item.unwrap();
        let document = change(item["directory"].as_s().unwrap());
        item.insert("directory".to_owned(), text(&document));
        let put = client.put_item().table_name(table).set_item(Some(item));
        put.send().await.unwrap();
    }
}

/// F2, F8: what a directory is cannot be read, and its memberships are to be announced.
#[tokio::test]
async fn a_directory_that_cannot_be_read_stops_nobody() {
    for change in [
        (|document: &str| document.replace("okta-scim-v2", "workday-scim-v2")) as fn(&str) -> String,
        |_| "no JSON".to_owned(),
    ] {
        let world = World::new().await;
        let other = neighbour(&world).await;
        let ids = create(&world, 2).await;
        let members: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
        let group = json!({"displayName": "Sales", "members": members});
        world.post("/Groups", &group).await.expect(201);
        world.spoil_directory(change).await;
        create(&other, 1).await;
        world.cloud.take_requests();
        let events = world.events().await;
        assert_eq!(types(&of(&events, &other)), ["user.created"]);
        assert_eq!(
            types(&of(&events, &world))[..3],
            ["user.created", "user.created", "group.created"]
        );
        assert_eq!(world.cloud.dead_letters(), vec![]);
        let calls = world.cloud.take_requests().of(Service::EventBridge).len();
        assert!(calls <= 5, "{calls} calls: nothing is sent over and over");
    }
}

/// F2: one entry for which the bus refuses the whole call, ValidationException as for what is too large.
#[tokio::test]
async fn f2_a_call_that_is_refused_as_a_whole_is_sent_entry_by_entry() {
    let world = World::new().await;
    let ids = create(&world, 10).await;
    world.cloud.set_faults(|request| {
        let hit = request.service == Service::EventBridge
            && request.input().to_string().contains("u4@example.com");
        match hit {
            true => Fault::Error {
                status: 400,
                code: "ValidationException",
                message: "Total size of the entries in the request is over the limit.",
            },
            false => Fault::Pass,
        }
    });
    let events = world.events().await;
    assert_eq!(events.len(), ids.len() - 1);
    let names: Vec<Value> = events
        .iter()
        .map(|event| event["detail"]["data"]["user_name"].clone())
        .collect();
    let expected = (0..10).filter(|n| *n != 4);
    let expected: Vec<String> = expected.map(|n| format!("u{n}@example.com")).collect();
    assert_eq!(names, expected, "in their order, each once");
    assert_eq!(world.cloud.dead_letters(), vec![]);
}

impl World {
    /// An event item of a group that so many users joined, as the table keeps it.
    async fn push(&self, group: &str, version: usize, members: usize) {
        use base64::Engine;
        let id = format!("019b76da-a800-7000-8000-{version:012x}");
        let detail = json!({
            "id": id, "time": "2026-01-01T00:00:00.000Z", "directory_id": self.directory, "tenant": "demo", "product": "demo",
            "version": version, "resource": {"type": "Group", "id": group},
            "data": {"id": group, "display_name": "Everybody", "raw": {"displayName": "Everybody"}},
        });
        let ids: Vec<u8> = (0..members)
            .flat_map(|n| (((version as u128) << 96) + n as u128).to_be_bytes())
            .collect();
        let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
        aws_sdk_dynamodb::Client::new(self.cloud.config())
            .put_item()
            .table_name(&self.stack.template().table.name)
            .item("PK", text(format!("{}#E", self.directory)))
            .item("SK", text(id))
            .item("detail", text(detail.to_string()))
            .item("added", text(base64::engine::general_purpose::STANDARD_NO_PAD.encode(ids)))
            .item("baseUrl", text("https://scim.example.com".to_owned()))
            .item(
                "expires",
                aws_sdk_dynamodb::types::AttributeValue::N("1769817600".to_owned()),
            )
            .send()
            .await
            .unwrap();
    }
}

/// How many events of one directory go before another directory's, at the most: a share, and one that has begun.
const SHARES: usize = 2 * 1_000;

/// F7: a push of 20,000 memberships, and in the middle of its publication a change of another directory.
#[tokio::test(flavor = "multi_thread")]
async fn f7_a_directory_waits_for_no_more_than_a_share_of_another() {
    let world = World::new().await;
    let other = neighbour(&world).await;
    let group = directory::ResourceId::random().to_string();
    for version in 1..=4 {
        world.push(&group, version, 5_000).await;
    }
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = seen.clone();
    let (sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let waiting = other.directory.clone();
    world.cloud.bus().watch(move |event| {
        let before = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if event["detail"]["directory_id"] == waiting.as_str() {
            let _ = sender.send(before);
        }
    });
    let publishing = world.stack.publish();
    while seen.load(std::sync::atomic::Ordering::Relaxed) < 3_000 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    create(&other, 1).await;
    let when = seen.load(std::sync::atomic::Ordering::Relaxed);
    let before = arrived.recv().await.unwrap() - when;
    assert!(before <= SHARES, "{before} events of others went before");
    publishing.abort();
    let _ = publishing.await;

    let events = world.events().await;
    let own = of(&events, &world);
    let mut members = BTreeMap::new();
    for event in &own {
        let text = |pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap();
        let known = members.insert(text("/detail/member/id"), text("/detail/id"));
        assert!(known.is_none_or(|known| known == text("/detail/id")));
    }
    assert_eq!(members.len(), 20_000, "nothing is lost");
    // A later change of the group is on the bus after an earlier one.
    let mut newest = 0;
    let mut first = BTreeSet::new();
    for event in &own {
        let version = event["detail"]["version"].as_u64().unwrap();
        if first.insert(event["detail"]["id"].as_str().unwrap()) {
            assert!(version >= newest, "{version} after {newest}");
            newest = version;
        }
    }
}
