//! From the table to the bus: no event is lost or published under two ids, whatever the bus answers.

mod fairness;

use std::collections::{BTreeMap, BTreeSet};

use aws_lambda_events::event::dynamodb::Event;
use directory::Store;
use local::{Fault, Service};
use publisher::Publisher;
use serde_json::{Value, json};

use crate::harness::records::{EVENTS_PK, GOOD_DETAIL, event_image, stream_record};
use crate::harness::{World, user};

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

/// Has the bus refuse every membership for good.
fn refuse_memberships(world: &World) {
    world.cloud.set_faults(|request| {
        let input = request.input();
        let entries = input["Entries"].as_array().into_iter().flatten();
        let indexes: Vec<usize> = entries
            .enumerate()
            .filter(|(_, entry)| {
                entry["DetailType"]
                    .as_str()
                    .unwrap()
                    .starts_with("group.user_")
            })
            .map(|(index, _)| index)
            .collect();
        if indexes.is_empty() {
            Fault::Pass
        } else {
            Fault::FailEntries {
                indexes,
                code: "MalformedDetail",
            }
        }
    });
}

#[tokio::test]
async fn events_are_published_in_order_ten_per_call() {
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
async fn only_refused_entries_are_sent_again() {
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
async fn entries_that_stay_refused_are_reported_to_lambda() {
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
async fn an_unavailable_bus_loses_no_event() {
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

/// The queue that is told what is parked.
const QUEUE: &str = "rollcall-PublisherDeadLetters";
/// The time that an invocation has.
const REMAINING: std::time::Duration = std::time::Duration::from_secs(60);

async fn handle(world: &World, records: Vec<Value>) -> Vec<String> {
    handle_within(world, records, REMAINING).await
}

async fn handle_within(
    world: &World,
    records: Vec<Value>,
    remaining: std::time::Duration,
) -> Vec<String> {
    let store = Store::from_config(world.cloud.config(), "rollcall-Table");
    let publisher = Publisher::new(
        world.cloud.config(),
        "rollcall".to_owned(),
        QUEUE.to_owned(),
        store,
    );
    let batch: Event = serde_json::from_value(json!({"Records": records})).unwrap();
    let response = publisher.handle(batch, remaining).await;
    response
        .batch_item_failures
        .into_iter()
        .map(|failure| failure.item_identifier.unwrap())
        .collect()
}

#[tokio::test]
async fn an_unreadable_event_is_parked_and_blocks_no_other() {
    let world = World::new().await;
    let mut unknown = event_image(GOOD_DETAIL);
    unknown["detailType"] = json!({"S": "user.teleported"});
    let named = |name: &str, mut image: Value| {
        image["SK"] = json!({"S": name});
        image
    };
    let failed = handle(
        &world,
        vec![
            stream_record("1", "INSERT", EVENTS_PK, event_image(GOOD_DETAIL)),
            stream_record(
                "2",
                "INSERT",
                EVENTS_PK,
                named("0b", json!({"PK": {"S": EVENTS_PK}})),
            ),
            stream_record(
                "3",
                "INSERT",
                EVENTS_PK,
                named("0c", event_image("no json")),
            ),
            stream_record("4", "INSERT", EVENTS_PK, named("0d", unknown)),
            stream_record("5", "INSERT", EVENTS_PK, event_image(GOOD_DETAIL)),
            stream_record("6", "INSERT", "no directory#E", event_image(GOOD_DETAIL)),
        ],
    )
    .await;
    assert_eq!(failed, Vec::<String>::new());
    // An event of a type that a later version has is published as it is.
    assert_eq!(world.cloud.bus().take_events().len(), 3);
    let parked = world.parked(DIRECTORY).await;
    let names: Vec<&str> = parked.iter().map(|one| one.item.as_str()).collect();
    assert_eq!(names, ["0b", "0c"]);
    assert!(
        parked
            .iter()
            .all(|one| one.reason.contains("cannot be read")),
        "{parked:?}"
    );
    let told = world.cloud.messages(QUEUE).unwrap();
    let told: Vec<&Value> = told.iter().map(|message| &message["event"]).collect();
    assert_eq!(told, ["0b", "0c"]);
}

#[tokio::test]
async fn records_that_are_not_inserts_are_ignored() {
    let world = World::new().await;
    let failed = handle(
        &world,
        vec![
            stream_record("1", "REMOVE", EVENTS_PK, json!({})),
            stream_record("2", "MODIFY", EVENTS_PK, event_image(GOOD_DETAIL)),
        ],
    )
    .await;
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(world.cloud.bus().take_events().len(), 0);
}

/// What the bus refuses for good is parked alone; for what it refuses for now nothing else waits but what comes after
/// it in its directory.
#[tokio::test]
async fn only_refused_events_are_parked_or_reported() {
    let world = World::new().await;
    let batch = || {
        (1..=25)
            .map(|n| {
                let mut image = event_image(GOOD_DETAIL);
                image["SK"] = json!({"S": format!("0{n:02}")});
                stream_record(&n.to_string(), "INSERT", EVENTS_PK, image)
            })
            .collect::<Vec<_>>()
    };
    let directory = DIRECTORY.parse().unwrap();
    let store = Store::from_config(world.cloud.config(), "rollcall-Table");
    put_events(&world, |_| Fault::FailEntries {
        indexes: vec![4],
        code: "MalformedDetail",
    });
    assert_eq!(handle(&world, batch()).await, Vec::<String>::new());
    assert_eq!(world.cloud.bus().take_events().len(), 22);
    let parked = world.parked(DIRECTORY).await;
    let names: Vec<&str> = parked.iter().map(|one| one.item.as_str()).collect();
    assert_eq!(names, ["005", "015", "025"]);
    assert!(
        parked
            .iter()
            .all(|one| one.reason.contains("MalformedDetail")),
        "{parked:?}"
    );

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
    assert_eq!(handle(&world, batch()).await, Vec::<String>::new());
    assert_eq!(world.cloud.bus().take_events().len(), 19);
    let backlog = store.backlog(directory, 100).await.unwrap();
    let names: Vec<&str> = backlog
        .waiting
        .iter()
        .map(|one| one.item.as_str())
        .collect();
    assert_eq!(names, ["011", "021", "022", "023", "024", "025"]);
    assert_eq!(backlog.version, Some(1));

    // When the bus takes nothing at all, the records are reported: exactly those that are not on it.
    put_events(&world, |_| Fault::Error {
        status: 500,
        code: "InternalException",
        message: "down",
    });
    let one = || {
        vec![stream_record(
            "30",
            "INSERT",
            OTHER,
            event_image(GOOD_DETAIL),
        )]
    };
    assert_eq!(handle(&world, one()).await, ["30"]);
    world.cloud.clear_faults();
    assert_eq!(handle(&world, one()).await, Vec::<String>::new());
    assert_eq!(world.cloud.bus().take_events().len(), 1);
}

const DIRECTORY: &str = "d0000000-0000-4000-8000-000000000000";
const OTHER: &str = "e0000000-0000-4000-8000-000000000000#E";

impl World {
    /// What is parked of a directory.
    async fn parked(&self, directory: &str) -> Vec<directory::Parked> {
        let store = Store::from_config(self.cloud.config(), "rollcall-Table");
        let list = store.parked(directory.parse().unwrap(), None, 200).await;
        list.unwrap().events
    }
}

/// An item that no version has written stops nothing, and is listed.
#[tokio::test]
async fn an_item_that_is_not_an_event_is_parked() {
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
    assert_eq!(world.cloud.dead_letters(), vec![]);
    let path = world.admin_path("/events/parked");
    let parked = world.admin_get(&path).await.expect(200).json();
    assert_eq!(parked["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        parked["data"][0]["id"],
        "00000000-0000-7000-8000-000000000000"
    );
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

/// The data of the user and of the group, each flat and raw, is more than the bus takes.
#[tokio::test]
async fn a_too_large_membership_event_is_published_without_raw() {
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
        crate::harness::event_schema::assert_matches(event);
    }
    assert_eq!(world.cloud.dead_letters(), vec![]);
    // The log says the same of the same event.
    world.wait(60);
    let log = world
        .admin_get(&world.admin_path("/events"))
        .await
        .expect(200)
        .json();
    let mut log = log["data"].as_array().unwrap().iter();
    let logged = log.find(|event| event["id"] == membership["id"]).unwrap();
    assert!(logged["detail"] == *membership);
}

impl World {
    /// Changes the item of the directory as no request can, and says what was in it.
    async fn spoil_directory(&self, change: impl Fn(&str) -> String) -> String {
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
        let before = item["directory"].as_s().unwrap().clone();
        item.insert("directory".to_owned(), text(&change(&before)));
        let put = client.put_item().table_name(table).set_item(Some(item));
        put.send().await.unwrap();
        before
    }
}

/// What a directory is cannot be read, and its memberships are to be announced.
#[tokio::test]
async fn an_unreadable_directory_blocks_no_other() {
    for change in [
        (|document: &str| document.replace("okta-scim-v2", "workday-scim-v2"))
            as fn(&str) -> String,
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

/// One entry for which the bus refuses the whole call, ValidationException as for what is too large.
#[tokio::test]
async fn a_refused_call_is_sent_entry_by_entry() {
    let world = World::new().await;
    let ids = create(&world, 10).await;
    world.cloud.set_faults(|request| {
        let hit = request.service == Service::EventBridge
            && request.input().to_string().contains("u4@example.com");
        if hit {
            Fault::Error {
                status: 400,
                code: "ValidationException",
                message: "Total size of the entries in the request is over the limit.",
            }
        } else {
            Fault::Pass
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
    /// The event items of a group that 20,000 users joined in four changes.
    async fn push_20_000(&self) {
        let group = directory::ResourceId::random().to_string();
        for version in 1..=4 {
            self.push(&group, version, 5_000).await;
        }
    }

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
            .item(
                "addedUsers",
                text(base64::engine::general_purpose::STANDARD_NO_PAD.encode(ids)),
            )
            .item("baseUrl", text("https://scim.example.com".to_owned()))
            .item(
                "expires",
                aws_sdk_dynamodb::types::AttributeValue::N("4102444800".to_owned()),
            )
            .send()
            .await
            .unwrap();
    }
}

/// What was parked is published by a redrive, under the ids that it would have had.
#[tokio::test]
async fn a_parked_event_is_published_when_it_is_redriven() {
    let world = World::new().await;
    let ids = create(&world, 3).await;
    let members: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
    let group = json!({"displayName": "Sales", "members": members});
    world.post("/Groups", &group).await.expect(201);
    refuse_memberships(&world);
    let before = world.events().await;
    assert_eq!(before.len(), 4);
    world.cloud.clear_faults();

    let path = world.admin_path("/events/parked");
    let parked = world.admin_get(&path).await.expect(200).json();
    let parked = parked["data"].as_array().unwrap();
    assert_eq!(parked.len(), 3);
    for one in parked {
        assert_eq!(one["attempts"], 1);
        assert!(one["reason"].as_str().unwrap().contains("MalformedDetail"));
    }

    // The first attempt finds that the bus refuses one of the three.
    let refused = ids.first().unwrap().clone();
    let hit = refused.clone();
    world.cloud.set_faults(move |request| {
        let input = request.input().to_string();
        match request.service == Service::EventBridge && input.contains(&format!("Users/{hit}")) {
            true => Fault::Error {
                status: 400,
                code: "ValidationException",
                message: "refused",
            },
            false => Fault::Pass,
        }
    });
    let redrive = world.admin_path("/events/redrive");
    let redriven = world.admin(http::Method::POST, &redrive, json!({})).await;
    let redriven = redriven.expect(202).json();
    assert_eq!(redriven, json!({"events": 3, "next_cursor": null}));
    let mut after = world.events().await;
    assert_eq!(after.len(), 2);
    let parked = world.admin_get(&path).await.expect(200).json();
    assert_eq!(parked["data"].as_array().unwrap().len(), 1, "{parked}");
    assert_eq!(parked["data"][0]["member"], refused.as_str());
    assert_eq!(parked["data"][0]["attempts"], 2);

    world.cloud.clear_faults();
    for events in [1, 0] {
        let answer = world.admin(http::Method::POST, &redrive, json!({})).await;
        assert_eq!(answer.expect(202).json()["events"], events);
        after.extend(world.events().await);
    }
    let none = world.admin_get(&path).await.expect(200).json();
    assert_eq!(none, json!({"data": [], "next_cursor": null}));
    let announced: BTreeSet<&str> = after
        .iter()
        .map(|event| event["detail"]["member"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(announced.len(), 3);
    assert_eq!(after.len(), 3, "each once");
    // The log has the same events under the same ids.
    world.wait(60);
    let log = world.admin_path("/events?type=group.user_added");
    let log = world.admin_get(&log).await.expect(200).json();
    let logged: BTreeMap<&str, &Value> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["id"].as_str().unwrap(), &event["detail"]))
        .collect();
    for event in &after {
        assert_eq!(
            logged[event["detail"]["id"].as_str().unwrap()],
            &event["detail"]
        );
    }
}

/// Of an event that is too large without `raw` as well a notice goes, which fits its schema.
#[tokio::test]
async fn an_event_that_is_too_large_without_raw_is_published_as_a_notice() {
    let world = World::new().await;
    let user = directory::ResourceId::random().to_string();
    let detail = json!({
        "id": "019b7711-9680-7e1e-8caf-a0499ee903ff", "time": "2026-01-01T09:00:00.000Z", "directory_id": DIRECTORY,
        "tenant": "acme", "product": "crm", "version": 2, "resource": {"type": "User", "id": user},
        "changed": ["title"], "data": {"id": user, "user_name": "u".repeat(200_000), "active": true},
        "previous": {"title": "t".repeat(100_000)},
    });
    let mut image = event_image(&detail.to_string());
    image["detailType"] = json!({"S": "user.updated"});
    let failed = handle(&world, vec![stream_record("1", "INSERT", EVENTS_PK, image)]).await;
    assert_eq!(failed, Vec::<String>::new());
    let events = world.cloud.bus().take_events();
    let [notice] = events.as_slice() else {
        panic!("{} events", events.len());
    };
    crate::harness::event_schema::assert_matches(notice);
    let mut expected = detail.as_object().unwrap().clone();
    expected.retain(|name, _| name != "data" && name != "previous");
    expected.insert("truncated".to_owned(), json!(["data", "previous"]));
    let location = format!("/v1/directories/{DIRECTORY}/users/{user}");
    expected.insert("location".to_owned(), json!(location));
    assert_eq!(notice["detail"], Value::Object(expected));
    for wrong in ["truncated", "location"] {
        let mut other = notice.clone();
        other["detail"].as_object_mut().unwrap().remove(wrong);
        assert!(
            !crate::harness::event_schema::matches(&other),
            "without {wrong}"
        );
    }
}

/// The publisher stops before its end, and says what is not done.
#[tokio::test]
async fn records_that_are_not_done_in_time_are_reported() {
    let world = World::new().await;
    put_events(&world, |_| {
        Fault::Delay(std::time::Duration::from_secs(3_600))
    });
    let records: Vec<Value> = (1..=15)
        .map(|n| {
            stream_record(
                &n.to_string(),
                "INSERT",
                EVENTS_PK,
                event_image(GOOD_DETAIL),
            )
        })
        .collect();
    let begun = std::time::Instant::now();
    let remaining = std::time::Duration::from_secs(4);
    let failed = handle_within(&world, records, remaining).await;
    assert!(begun.elapsed() < remaining, "{:?}", begun.elapsed());
    let expected: Vec<String> = (1..=15).map(|n| n.to_string()).collect();
    assert_eq!(failed, expected);
}

/// A directory that goes leaves nothing parked and nothing waiting, and its last events are published.
#[tokio::test]
async fn deleting_a_directory_deletes_its_waiting_and_parked_events() {
    let world = World::new().await;
    let own = neighbour(&world).await;
    let group = directory::ResourceId::random().to_string();
    own.push(&group, 1, 1).await;
    refuse_memberships(&world);
    world.events().await;
    assert_eq!(own.parked(&own.directory).await.len(), 1);
    world.cloud.clear_faults();
    own.push(&group, 2, 1_100).await;
    world
        .admin(http::Method::DELETE, &own.admin_path(""), Value::Null)
        .await
        .expect(202);
    let events = world.events().await;
    let types = types(&of(&events, &own));
    assert_eq!(types.len(), 1_101);
    assert_eq!(types.last().unwrap(), "directory.deleted");
    assert_eq!(own.parked(&own.directory).await, vec![]);
    let store = Store::from_config(world.cloud.config(), "rollcall-Table");
    let backlog = store.backlog(own.directory.parse().unwrap(), 10).await;
    assert_eq!(backlog.unwrap(), directory::Backlog::default());
}
