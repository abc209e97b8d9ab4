//! Stored items and versions: this version reads the items of format 1, and what a later version may write.
//!
//! `fixtures/format_1.jsonl` has every kind of item, one a line, in DynamoDB's JSON and in the order of the keys.
//! `fixtures/format_1.answers.jsonl` has the time and the answers about them. A version that renames an attribute or gives it
//! another meaning fails here. `cargo test -p tests --test it -- --ignored upgrade::the_items_of_this_version_are_written`
//! writes both files for the version that is checked out. That is for a new format, and never mends a test.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use directory::{Caller, Circle, DirectoryId, Parked, ResourceId, Span, Unfinished, Waiting};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use local::RequestInfo;
use serde_json::{Value, json};

use crate::harness::faults::interrupted_at;
use crate::harness::members::{add, group, members, remove};
use crate::harness::{World, user};

type Item = HashMap<String, AttributeValue>;

const TABLE: &str = "rollcall-Table";
/// The token of the fixture's directory.
const TOKEN: &str = "rollcall_of_the_fixture";
/// Actions in a transaction, so that few members are more than it holds.
const ACTIONS: usize = 20;
/// The number of users without anything but a name.
const SMALL: usize = 24;
/// As many of them are members of a group that a change of members takes several transactions.
const HALF: usize = SMALL / 2;

/// A user name whose key holds its digest.
fn long_name() -> String {
    format!("{}@example.com", "long".repeat(150))
}

fn fixture(extension: &str) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/it/fixtures");
    let format = directory::FORMAT_VERSION;
    PathBuf::from(directory).join(format!("format_{format}.{extension}"))
}

/// An item as a line of the fixture: its key first, and then the other attributes by name.
fn to_line(item: &Item) -> String {
    let attribute = |value: &AttributeValue| match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        other => panic!("{other:?}"),
    };
    let mut names: Vec<&String> = item.keys().collect();
    names.sort_by_key(|name| (*name != "PK", *name != "SK", *name));
    let attributes = names
        .into_iter()
        .map(|name| (name.clone(), attribute(&item[name])));
    Value::Object(attributes.collect()).to_string()
}

fn from_line(line: &str) -> Item {
    let item: Value = serde_json::from_str(line).unwrap();
    let attribute = |value: &Value| match (&value["S"], &value["N"]) {
        (Value::String(text), _) => AttributeValue::S(text.clone()),
        (_, Value::String(number)) => AttributeValue::N(number.clone()),
        _ => panic!("{value}"),
    };
    let attributes = item.as_object().unwrap().iter();
    attributes
        .map(|(name, value)| (name.clone(), attribute(value)))
        .collect()
}

/// The paths, below the SCIM base URL or of the admin API, whose answers show every item that is read for an answer.
async fn paths(own: &World) -> Vec<String> {
    let v1 = |path: &str| format!("/v1/directories/{}{path}", own.directory);
    let mut paths = vec![
        "/Users?count=200&sortBy=userName".to_owned(),
        "/Users?startIndex=11&count=3".to_owned(),
        "/Groups?sortBy=displayName".to_owned(),
        "/Users?filter=userName%20eq%20%22ANN@example.com%22".to_owned(),
        format!("/Users?filter=userName%20eq%20%22{}%22", long_name()),
        "/Users?filter=externalId%20eq%20%2200u-bob@example.com%22".to_owned(),
        "/Users?filter=emails.value%20eq%20%22ann@example.com%22".to_owned(),
        "/Groups?filter=displayName%20eq%20%22sales%22".to_owned(),
        "/Groups?filter=externalId%20eq%20%2200g-sales%22".to_owned(),
        "/Schemas/urn:acme:User".to_owned(),
        v1(""),
        v1("/users?limit=200"),
        v1("/users?active=false"),
        v1("/groups"),
        v1("/events?limit=200"),
        v1("/events/parked"),
        v1("/tokens"),
        "/v1/directories?tenant=acme".to_owned(),
        "/v1/directories?tenant=off&product=crm".to_owned(),
        "/v1/users?tenant=acme&email=ann@example.com".to_owned(),
    ];
    let groups = own.answer_of(&v1("/groups")).await;
    for group in groups["data"].as_array().unwrap() {
        let id = group["id"].as_str().unwrap();
        paths.push(v1(&format!("/groups/{id}/members")));
        paths.push(format!("/Groups/{id}"));
    }
    let users = own.answer_of("/Users?count=200&attributes=id").await;
    for user in users["Resources"].as_array().unwrap() {
        paths.push(format!("/Users/{}", user["id"].as_str().unwrap()));
    }
    paths
}

impl World {
    async fn answer_of(&self, path: &str) -> Value {
        let answer = if path.starts_with("/v1/") {
            self.admin_get(path).await
        } else {
            self.get(path).await
        };
        answer.expect(200).json()
    }

    async fn all_items(&self) -> Vec<Item> {
        let client = Client::new(self.cloud.config());
        let items = client.scan().table_name(TABLE).into_paginator().items();
        items.send().collect::<Result<Vec<_>, _>>().await.unwrap()
    }

    async fn delete_events(&self) {
        let client = Client::new(self.cloud.config());
        for item in self.all_items().await {
            if item["PK"].as_s().unwrap().ends_with("#E") {
                let delete = client.delete_item().table_name(TABLE);
                let key = delete
                    .key("PK", item["PK"].clone())
                    .key("SK", item["SK"].clone());
                key.send().await.unwrap();
            }
        }
    }
}

/// A world with one of everything that is stored, work that was interrupted included.
async fn small_world() -> (World, World) {
    let world = World::in_order().await.with_actions(ACTIONS).await;
    let badge = json!({"id": "urn:acme:User", "name": "Badge", "attributes": [{"name": "badge", "type": "string"}]});
    let new = json!({
        "tenant": "acme", "product": "crm", "name": "Acme", "provider": "okta-scim-v2",
        "settings": {"schemas": [{"resource_type": "User", "schema": badge}]},
        "webhook": {"url": "https://hooks.example.com/rollcall?key=abc"},
    });
    let mut request = world.admin_request(Method::POST, "/v1/directories", &new);
    let key = "one".parse().unwrap();
    request.headers_mut().insert("idempotency-key", key);
    let own = world.of(&world.send(request).await.expect(201).json());
    let off = own.directory_of("off", "crm").await;
    let inactive = json!({"status": "inactive"});
    off.admin(Method::PATCH, &off.admin_path(""), inactive)
        .await
        .expect(200);
    let ended = json!({
        "tenant": "ended", "product": "crm", "name": "Ended", "provider": "okta-scim-v2",
        "webhook": {"url": "https://hooks.example.com/rollcall?key=abc"},
    });
    let ended = world.of(&world
        .admin(Method::POST, "/v1/directories", ended)
        .await
        .expect(201)
        .json());
    ended
        .admin(Method::DELETE, &ended.admin_path(""), Value::Null)
        .await
        .expect(202);

    let mut ids = vec![];
    for n in 0..SMALL {
        let small = json!({"userName": format!("u{n:02}")});
        ids.push(own.post("/Users", &small).await.expect(201).id());
    }
    own.events().await;
    // As after 30 days.
    own.delete_events().await;

    let mut ann = user("ann@example.com");
    ann["schemas"]
        .as_array_mut()
        .unwrap()
        .push(json!("urn:acme:User"));
    ann["urn:acme:User"] = json!({"badge": "7"});
    let ann = own.post("/Users", &ann).await.expect(201).id();
    let bob = own
        .post("/Users", &user("bob@example.com"))
        .await
        .expect(201)
        .id();
    let cleo = own
        .post("/Users", &user("cleo@example.com"))
        .await
        .expect(201)
        .id();
    own.post("/Users", &json!({"userName": long_name()}))
        .await
        .expect(201);
    let both = json!([{"value": ann, "display": "Ann"}, {"value": bob}]);
    let sales = json!({"displayName": "Sales", "externalId": "00g-sales", "members": both});
    let sales = own.post("/Groups", &sales).await.expect(201).id();
    let all = group(&own, "All", std::slice::from_ref(&cleo)).await;
    own.patch(&all, add(&[sales])).await.expect(200);
    let off = json!([{"op": "replace", "value": {"active": false}}]);
    own.patch(&format!("/Users/{bob}"), off).await.expect(200);
    own.patch(&all, remove(std::slice::from_ref(&cleo)))
        .await
        .expect(200);
    let name = json!([{"op": "replace", "path": "displayName", "value": "Everyone"}]);
    own.patch(&all, name).await.expect(200);
    own.delete(&format!("/Users/{cleo}")).await.expect(204);
    own.delete(&group(&own, "Short", std::slice::from_ref(&ann)).await)
        .await
        .expect(204);
    own.admin(
        Method::PATCH,
        &own.admin_path(""),
        json!({"name": "Acme Inc."}),
    )
    .await
    .expect(200);
    own.events().await;

    // Work that takes several transactions, interrupted between two of them.
    let (some, rest) = ids.split_at(HALF);
    let adding = group(&own, "Adding", &[]).await;
    let removing = group(&own, "Removing", some).await;
    let deleting = group(&own, "Deleting", &ids).await;
    for (transactions, work) in [(0, "add"), (1, "remove"), (0, "create"), (1, "delete")] {
        let doomed = own.cold().await;
        doomed.get("/Groups?count=0").await.expect(200);
        let (adding, removing, deleting) = (adding.clone(), removing.clone(), deleting.clone());
        let (some, rest) = (some.to_vec(), rest.to_vec());
        let request = async move {
            match work {
                "add" => doomed.patch(&adding, add(&some)).await,
                "remove" => {
                    let mut both = remove(&some).as_array().unwrap().clone();
                    both.extend(add(&rest).as_array().unwrap().clone());
                    doomed.patch(&removing, json!(both)).await
                }
                "create" => {
                    let new = json!({"displayName": "Creating", "members": members(&some)});
                    doomed.post("/Groups", &new).await
                }
                _ => doomed.delete(&deleting).await,
            }
        };
        let done = AtomicUsize::new(0);
        let late = move |info: &RequestInfo| {
            let transaction = info.operation == "TransactWriteItems";
            let done = done.fetch_add(usize::from(transaction), Ordering::Relaxed);
            done >= transactions && (transaction || transactions > 0)
        };
        assert!(!interrupted_at(&own, late, request).await, "{work}");
    }
    // Nothing is published from here on: the sweeper would finish the work.
    let gone = own.directory_of("gone", "crm").await;
    gone.post("/Users", &user("ann@example.com"))
        .await
        .expect(201);
    gone.admin(Method::DELETE, &gone.admin_path(""), Value::Null)
        .await
        .expect(202);
    write_states_that_pass(&own, &[&adding, &removing], &ids).await;
    (world, own)
}

/// What is stored for a moment only, written by the code that writes it.
async fn write_states_that_pass(own: &World, staged: &[&str], ids: &[String]) {
    let id: DirectoryId = own.directory.parse().unwrap();
    let store = own.stack.gateway().store();
    let now = (own.cloud.clock())();
    let event = own.event_item("user.created").await;
    let parked = Parked {
        item: event.clone(),
        span: Span {
            from: 0,
            to: Some(1),
        },
        member: None,
        reason: "The bus refused it.".to_owned(),
        attempts: 2,
        expires: Some(now.as_second() + 24 * 60 * 60),
    };
    store.park(id, &parked).await.unwrap();
    // One that waits because it is sent once more, and one whose directory had its share. The first one writes the backlog.
    store.redrive(id, &[parked]).await.unwrap();
    let waiting = Waiting {
        place: Waiting::place("700"),
        item: event,
        span: Span { from: 0, to: None },
        attempt: None,
    };
    store.let_wait(id, vec![waiting], vec![]).await.unwrap();
    // The notes that the sweeper writes when the stream shows it a staged write.
    for group in staged {
        let group = group.trim_start_matches("/Groups/");
        let staged = Unfinished::at(&format!("{}#G", own.directory), group).unwrap();
        store.note(staged, now).await.unwrap();
    }
    let second = SignedDuration::from_secs(1);
    store.charge(id, second, now, true).await.unwrap();
    let found = store.directory(id).await.unwrap().unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "a caller of a request in this test"
    )]
    let caller = Caller::authenticated(found.into(), "https://scim.example.com");
    let ids: Vec<ResourceId> = ids.iter().take(2).map(|id| id.parse().unwrap()).collect();
    let circle = Circle::new(&caller, b"two users who refer to each other");
    store.begin_circle(circle, &ids, now).await.unwrap();
}

/// The kinds of items, as docs/data-model.md lists them.
const KINDS: [&str; 34] = [
    "directory",
    "webhook of a deleted directory",
    "user",
    "userName",
    "externalId of a user",
    "emails.value",
    "group",
    "group that adds members",
    "group that removes members",
    "displayName",
    "externalId of a group",
    "member",
    "member that is a group",
    "staged removal",
    "group that is being created",
    "group that was deleted",
    "count of users",
    "count of groups",
    "nesting",
    "event",
    "event of members",
    "backlog",
    "waiting event",
    "waiting parked event",
    "parked event",
    "unfinished work on a group",
    "unfinished work after a deletion",
    "unfinished cycle",
    "use of a token",
    "rate limit",
    "directory in the list of all",
    "directory in the list of a product",
    "directory in the list of a tenant",
    "repeatable request",
];

fn kind_of(item: &Item) -> &'static str {
    let (pk, sk) = (item["PK"].as_s().unwrap(), item["SK"].as_s().unwrap());
    let has = |name: &str| item.contains_key(name);
    match (pk.split('#').nth(1), sk.as_str()) {
        (None, "META") => "directory",
        (None, "ENDED") => "webhook of a deleted directory",
        (None, _) => match sk.split('#').next().unwrap() {
            "A" => "directory in the list of all",
            "P" => "directory in the list of a product",
            "T" => "directory in the list of a tenant",
            "R" => "repeatable request",
            _ => panic!("{item:?}"),
        },
        (Some("U"), _) => "user",
        (Some("N"), _) => "userName",
        (Some("X"), _) => "externalId of a user",
        (Some("EM"), _) => "emails.value",
        (Some("G"), _) if has("removalParts") => "group that removes members",
        (Some("G"), _) if has("stagedWrite") => "group that adds members",
        (Some("G"), _) => "group",
        (Some("GN"), _) => "displayName",
        (Some("GX"), _) => "externalId of a group",
        (Some("M"), "creating") => "group that is being created",
        (Some("M"), "deleted") => "group that was deleted",
        (Some("M"), _) if sk.starts_with("removed#") => "staged removal",
        (Some("M"), _) if has("memberType") => "member that is a group",
        (Some("M"), _) => "member",
        (Some("C"), "nesting") => "nesting",
        (Some("C"), _) if sk.starts_with("U#") => "count of users",
        (Some("C"), _) => "count of groups",
        (Some("E"), "~backlog") => "backlog",
        (Some("E"), _) if has("parkedEvent") => "waiting parked event",
        (Some("E"), _) if sk.starts_with('~') => "waiting event",
        (Some("E"), _) if has("baseUrl") => "event of members",
        (Some("E"), _) => "event",
        (Some("P"), _) => "parked event",
        (Some("S"), _) if has("cycleUsers") => "unfinished cycle",
        (Some("S"), _) if has("deletionEvent") => "unfinished work after a deletion",
        (Some("S"), _) => "unfinished work on a group",
        (Some("T"), _) => "use of a token",
        (Some("L"), _) => "rate limit",
        _ => panic!("{item:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it writes the fixture of the version that is checked out"]
async fn the_items_of_this_version_are_written() {
    let (world, own) = small_world().await;
    own.wait(40);
    let asked = own.cold().await;
    let mut answers = serde_json::Map::new();
    for path in paths(&asked).await {
        answers.insert(path.clone(), asked.answer_of(&path).await);
    }
    // The first directory of every world has a random id and is not part of the fixture.
    let first = &world.directory;
    let of_first = |item: &Item| {
        let text = |name: &str| item[name].as_s().unwrap();
        text("PK").starts_with(first) || text("SK").ends_with(first)
    };
    let mut items = own.all_items().await;
    items.retain(|item| !of_first(item));
    let key = |item: &Item| ["PK", "SK"].map(|name| item[name].as_s().unwrap().clone());
    items.sort_by_key(key);
    let lines: Vec<String> = items.iter().map(to_line).collect();
    std::fs::write(fixture("jsonl"), lines.join("\n") + "\n").unwrap();
    let head = json!({"directory": own.directory, "now": (own.cloud.clock())().to_string()});
    let answers = answers.into_iter();
    let answers = answers.map(|(path, answer)| json!({"path": path, "answer": answer}));
    let lines: Vec<String> = std::iter::once(head)
        .chain(answers)
        .map(|line| line.to_string())
        .collect();
    std::fs::write(fixture("answers.jsonl"), lines.join("\n") + "\n").unwrap();
}

#[test]
fn the_fixture_has_every_kind_of_item() {
    let text = std::fs::read_to_string(fixture("jsonl")).unwrap();
    let mut kinds: BTreeMap<&str, usize> = KINDS.iter().map(|kind| (*kind, 0)).collect();
    for line in text.lines() {
        *kinds.get_mut(kind_of(&from_line(line))).unwrap() += 1;
    }
    let missing: Vec<_> = kinds.iter().filter(|(_, count)| **count == 0).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A world with the items of the fixture, the directory that they are about, and the answers about it.
async fn world_of_the_fixture() -> (World, World, Vec<Value>) {
    let world = World::new().await;
    let client = Client::new(world.cloud.config());
    for line in std::fs::read_to_string(fixture("jsonl")).unwrap().lines() {
        let put = client.put_item().table_name(TABLE);
        put.set_item(Some(from_line(line))).send().await.unwrap();
    }
    let answers = std::fs::read_to_string(fixture("answers.jsonl")).unwrap();
    let mut answers = answers
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = answers.next().unwrap();
    let id = head["directory"].as_str().unwrap();
    aws_sdk_secretsmanager::Client::new(world.cloud.config())
        .create_secret()
        .name(format!("rollcall/{id}"))
        .client_request_token(id)
        .secret_string(json!({"token": TOKEN}).to_string())
        .send()
        .await
        .unwrap();
    let now: Timestamp = head["now"].as_str().unwrap().parse().unwrap();
    world.wait(now.as_second() - (world.cloud.clock())().as_second());
    let own = world.of(&json!({"id": id, "token": TOKEN}));
    (world, own, answers.collect())
}

/// The items of the directory that carry no format, or another one than this version writes, by their keys.
async fn not_stamped(world: &World) -> Vec<String> {
    let items = world.all_items().await;
    let format = AttributeValue::N(directory::FORMAT_VERSION.to_string());
    let unstamped = items.iter().filter(|item| item.get("FMT") != Some(&format));
    unstamped
        .map(|item| format!("{:?} / {:?}", item["PK"], item["SK"]))
        .collect()
}

/// Leaves out of an answer the settings that later versions added.
fn leave_out_new_settings(now: &mut Value, before: &Value) {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            for (name, now) in now.iter_mut() {
                let before = before.get(name).unwrap_or(&Value::Null);
                if let (true, Value::Object(now)) = (name == "settings", &mut *now) {
                    now.retain(|name, _| before.get(name).is_some());
                }
                leave_out_new_settings(now, before);
            }
        }
        (Value::Array(now), Value::Array(before)) => {
            for (now, before) in now.iter_mut().zip(before) {
                leave_out_new_settings(now, before);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_of_format_1_is_read_as_it_was_written() {
    let (_, own, answers) = world_of_the_fixture().await;
    assert!(answers.len() > 40);
    for line in answers {
        let (path, answer) = (line["path"].as_str().unwrap(), &line["answer"]);
        let mut now = own.answer_of(path).await;
        leave_out_new_settings(&mut now, answer);
        assert_eq!(now, *answer, "{path}");
    }

    // What no route shows: the backlog, and what a repeated request made.
    let id: DirectoryId = own.directory.parse().unwrap();
    let backlog = own.stack.gateway().store().backlog(id, 10).await.unwrap();
    let waiting: Vec<(Span, Option<u64>)> = backlog
        .waiting
        .iter()
        .map(|one| (one.span, one.attempt.as_ref().map(|attempt| attempt.before)))
        .collect();
    let (first, all) = (
        Span {
            from: 0,
            to: Some(1),
        },
        Span { from: 0, to: None },
    );
    assert_eq!(waiting, [(first, Some(2)), (all, None)]);
    assert!(backlog.version.is_some());
    let badge = json!({"id": "urn:acme:User", "name": "Badge", "attributes": [{"name": "badge", "type": "string"}]});
    let new = json!({
        "tenant": "acme", "product": "crm", "name": "Acme", "provider": "okta-scim-v2",
        "settings": {"schemas": [{"resource_type": "User", "schema": badge}]},
        "webhook": {"url": "https://hooks.example.com/rollcall?key=abc"},
    });
    let mut request = own.admin_request(Method::POST, "/v1/directories", &new);
    let key = "one".parse().unwrap();
    request.headers_mut().insert("idempotency-key", key);
    let again = own.send(request).await;
    assert_eq!(again.json()["id"], own.directory, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn this_version_goes_on_with_items_of_format_1() {
    let (world, own, _) = world_of_the_fixture().await;

    // It publishes what was not on the bus yet, and finishes what was interrupted.
    let events = own.events().await;
    let count = |kind: &str| {
        let of_kind = events.iter().filter(|event| event["detail-type"] == kind);
        let ids: BTreeSet<&str> = of_kind
            .map(|event| event["detail"]["id"].as_str().unwrap())
            .collect();
        ids.len()
    };
    assert_eq!(count("user.created"), 5);
    assert_eq!(count("directory.created"), 1);
    assert!(count("group.user_added") > SMALL);
    for _ in 0..2 {
        own.wait(61);
        own.cloud.expire().await;
        own.events().await;
    }
    assert!(
        world.cloud.dead_letters().is_empty(),
        "{:?}",
        world.cloud.dead_letters()
    );
    let left: Vec<Item> = own.all_items().await;
    let left = left.iter().filter(|item| {
        let sk = item["SK"].as_s().unwrap();
        item.contains_key("stagedWrite")
            || sk == "creating"
            || sk == "deleted"
            || sk.starts_with("removed#")
    });
    assert_eq!(left.count(), 0);
    // A deletion that nothing drives any more goes on by the same request.
    let path = "/v1/directories?tenant=gone";
    let gone = world.admin_get(path).await.expect(200).json();
    let id = gone["data"][0]["id"].as_str().unwrap();
    let id = format!("/v1/directories/{id}");
    let delete = world.admin(Method::DELETE, &id, Value::Null);
    delete.await.expect(202);
    own.events().await;
    let gone = world.admin_get(path).await.expect(200).json();
    assert_eq!(gone["data"], json!([]));

    // It changes and deletes it.
    let found = |path: &'static str| {
        let own = &own;
        async move { own.answer_of(path).await["Resources"][0].clone() }
    };
    let ann = found("/Users?filter=userName%20eq%20%22ann@example.com%22").await;
    let path = format!("/Users/{}", ann["id"].as_str().unwrap());
    let title = json!([{"op": "replace", "path": "title", "value": "Engineer"}]);
    let changed = own.patch(&path, title).await.expect(200).json();
    assert_eq!(changed["urn:acme:User"]["badge"], "7");
    let again = json!({"userName": long_name()});
    own.post("/Users", &again).await.expect(409);
    let long = format!("/Users?filter=userName%20eq%20%22{}%22", long_name());
    let long = own.answer_of(&long).await["Resources"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    own.delete(&format!("/Users/{long}")).await.expect(204);
    own.post("/Users", &again).await.expect(201);
    let removing = found("/Groups?filter=displayName%20eq%20%22Removing%22").await;
    assert_eq!(removing["members"].as_array().unwrap().len(), HALF);
    let removing = format!("/Groups/{}", removing["id"].as_str().unwrap());
    let bob = found("/Users?filter=userName%20eq%20%22bob@example.com%22").await;
    let bob = bob["id"].as_str().unwrap().to_owned();
    own.patch(&removing, add(std::slice::from_ref(&bob)))
        .await
        .expect(200);
    own.delete(&format!("/Users/{bob}")).await.expect(204);
    let group = own.get(&removing).await.expect(200).json();
    assert_eq!(group["members"].as_array().unwrap().len(), HALF);
    own.delete(&removing).await.expect(204);
    let types: Vec<Value> = own
        .events()
        .await
        .iter()
        .map(|event| event["detail-type"].clone())
        .collect();
    assert_eq!(
        types
            .iter()
            .filter(|kind| **kind == "group.user_removed")
            .count(),
        2 + HALF,
        "{types:?}"
    );
    own.admin(
        Method::PATCH,
        &own.admin_path(""),
        json!({"name": "Acme Inc."}),
    )
    .await
    .expect(200);
    own.admin(Method::DELETE, &own.admin_path(""), Value::Null)
        .await
        .expect(202);
    let ends = own.events().await;
    assert_eq!(ends.last().unwrap()["detail-type"], "directory.deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_carries_the_number_of_its_format() {
    let (world, _) = small_world().await;
    assert_eq!(not_stamped(&world).await, Vec::<String>::new());
}

impl World {
    /// Changes an item behind the service's back, as another version of it might have written it.
    async fn rewrite(&self, pk: &str, sk: &str, change: impl FnOnce(&mut Item)) {
        let client = Client::new(self.cloud.config());
        let (pk, sk) = (
            AttributeValue::S(pk.to_owned()),
            AttributeValue::S(sk.to_owned()),
        );
        let get = client
            .get_item()
            .table_name(TABLE)
            .key("PK", pk)
            .key("SK", sk);
        let mut item = get.send().await.unwrap().item.unwrap();
        change(&mut item);
        let put = client.put_item().table_name(TABLE);
        put.set_item(Some(item)).send().await.unwrap();
    }

    /// Changes the document of the directory.
    async fn rewrite_directory(&self, change: impl FnOnce(&mut Value)) {
        self.rewrite(&self.directory, "META", |item| {
            let mut document: Value =
                serde_json::from_str(item["directory"].as_s().unwrap()).unwrap();
            change(&mut document);
            item.insert(
                "directory".to_owned(),
                AttributeValue::S(document.to_string()),
            );
            item.insert("FMT".to_owned(), AttributeValue::N("2".to_owned()));
        })
        .await;
    }

    /// The id of the directory's event of that type.
    async fn event_item(&self, kind: &str) -> String {
        let partition = format!("{}#E", self.directory);
        let kind = AttributeValue::S(kind.to_owned());
        let items = self.all_items().await;
        let item = items.iter().find(|item| {
            item["PK"].as_s().unwrap() == &partition && item.get("detailType") == Some(&kind)
        });
        item.unwrap()["SK"].as_s().unwrap().clone()
    }

    async fn document(&self) -> Value {
        let items = self.all_items().await;
        let item = items.iter().find(|item| {
            item["PK"].as_s().unwrap() == &self.directory && item["SK"].as_s().unwrap() == "META"
        });
        serde_json::from_str(item.unwrap()["directory"].as_s().unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_newer_version_works_and_keeps_unknown_attributes() {
    let world = World::new().await;
    let own = world.directory_of("acme", "crm").await;
    let badge = json!({"id": "urn:acme:User", "name": "Badge", "attributes": [{"name": "badge", "type": "string"}]});
    own.rewrite_directory(|document| {
        document["provider"] = json!("workday-scim-v2");
        document["shelf"] = json!({"a": [1]});
        document["settings"]["quota"] = json!(7);
        document["settings"]["schemas"] = json!([
            {"resourceType": "Robot", "schema": {"id": "urn:acme:Robot", "attributes": [{"name": "arm"}]}},
            {"resourceType": "User", "schema": {"id": "urn:acme:Odd", "attributes": [{"name": "odd", "type": "quaternion"}]}},
            {"resourceType": "User", "schema": badge, "until": "2030"},
        ]);
        document["webhook"] = json!({"url": "https://example.com/a", "created": "2026-01-01T00:00:00Z", "pace": 3});
        document.as_object_mut().unwrap().remove("cursorKey");
    })
    .await;
    let before = own.document().await;
    let cold = own.cold().await;

    // SCIM works, with the schema that is understood.
    let mut ann = user("ann@example.com");
    ann["urn:acme:User"] = json!({"badge": "7"});
    let made = cold.post("/Users", &ann).await.expect(201).json();
    assert_eq!(made["urn:acme:User"]["badge"], "7");
    cold.get("/Schemas/urn:acme:Odd").await.expect(404);
    let sales = group(&cold, "Sales", &[made["id"].as_str().unwrap().to_owned()]).await;
    cold.get(&sales).await.expect(200);

    // What is not understood is named, and shown as it is.
    let shown = cold.admin_get(&own.admin_path("")).await.expect(200).json();
    assert_eq!(shown["provider"], "workday-scim-v2");
    let parts = shown["unreadable"].as_array().unwrap();
    let pointers: Vec<&str> = parts
        .iter()
        .map(|part| part["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(
        pointers,
        [
            "/cursorKey",
            "/settings/schemas/0/resourceType",
            "/settings/schemas/1/schema/attributes/0/type"
        ]
    );
    for list in ["/v1/directories", "/v1/users", "/v1/groups"] {
        let list = cold.admin_get(list).await.expect(200).json();
        assert!(list["data"].to_string().contains(&own.directory), "{list}");
        assert_eq!(list.get("unreadable"), None);
    }
    let events = cold.events().await;
    assert!(world.cloud.dead_letters().is_empty());
    assert!(
        events
            .iter()
            .any(|event| event["detail-type"] == "group.user_added")
    );

    // A change keeps what is not known; to create or change such a thing is refused.
    let change = json!({"name": "Acme Inc."});
    let changed = cold
        .admin(Method::PATCH, &own.admin_path(""), change)
        .await
        .expect(200)
        .json();
    let pointers: Vec<&Value> = changed["unreadable"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| &part["pointer"])
        .collect();
    assert!(!pointers.contains(&&json!("/cursorKey")), "{pointers:?}");
    let mut after = own.document().await;
    assert!(after["cursorKey"].is_string());
    after.as_object_mut().unwrap().remove("cursorKey");
    let mut expected = before;
    expected["name"] = json!("Acme Inc.");
    expected["settings"]["schemas"][0]["required"] = json!(false);
    expected["settings"]["schemas"][1]["required"] = json!(false);
    expected["settings"]["schemas"][2]["required"] = json!(false);
    assert_eq!(after, expected);
    let event = cold.events().await.pop().unwrap();
    assert_eq!(event["detail-type"], "directory.updated");
    assert_eq!(event["detail"]["data"]["provider"], "workday-scim-v2");
    let new = json!({"tenant": "b", "product": "crm", "name": "B", "provider": "workday-scim-v2"});
    cold.admin(Method::POST, "/v1/directories", new)
        .await
        .expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_directory_status_allows_no_change() {
    let world = World::new().await;
    let own = world.directory_of("acme", "crm").await;
    own.rewrite_directory(|document| document["status"] = json!("leaving"))
        .await;
    let cold = own.cold().await;
    cold.get("/Users").await.expect(403);
    cold.post("/Users", &user("ann@example.com"))
        .await
        .expect(403);
    let shown = cold.admin_get(&own.admin_path("")).await.expect(200).json();
    assert_eq!(shown["status"], "leaving");
    assert_eq!(shown["unreadable"][0]["pointer"], "/status");
    cold.admin_get(&own.admin_path("/users")).await.expect(200);
    for status in ["active", "inactive"] {
        let change = json!({"status": status});
        cold.admin(Method::PATCH, &own.admin_path(""), change)
            .await
            .expect(422);
    }
    let change = json!({"name": "Acme Inc."});
    cold.admin(Method::PATCH, &own.admin_path(""), change)
        .await
        .expect(200);
    assert_eq!(own.document().await["status"], "leaving");
    cold.admin(Method::DELETE, &own.admin_path(""), Value::Null)
        .await
        .expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_discovery_setting_works_as_full_and_is_kept() {
    let world = World::new().await;
    let own = world.directory_of("acme", "crm").await;
    own.rewrite_directory(|document| document["settings"]["discovery"] = json!("terse"))
        .await;
    let cold = own.cold().await;
    let config = cold.get("/ServiceProviderConfig").await.expect(200).json();
    assert_eq!(config["etag"]["supported"], true);
    let shown = cold.admin_get(&own.admin_path("")).await.expect(200).json();
    assert_eq!(shown["settings"]["discovery"], "terse");
    assert_eq!(shown["unreadable"][0]["pointer"], "/settings/discovery");
    let strict = json!({"settings": {"strict": true}});
    cold.admin(Method::PATCH, &own.admin_path(""), strict)
        .await
        .expect(200);
    assert_eq!(own.document().await["settings"]["discovery"], "terse");
    let plain = json!({"settings": {"discovery": "plain"}});
    let changed = cold.admin(Method::PATCH, &own.admin_path(""), plain).await;
    assert_eq!(changed.expect(200).json().get("unreadable"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_directory_is_named_in_lists() {
    let world = World::new().await;
    let (own, other) = (
        world.directory_of("acme", "crm").await,
        world.directory_of("b", "crm").await,
    );
    for directory in [&own, &other] {
        let id = directory
            .post("/Users", &user("ann@example.com"))
            .await
            .expect(201)
            .id();
        group(directory, "Sales", &[id]).await;
    }
    own.rewrite_directory(|document| document["tenant"] = json!({"name": "acme"}))
        .await;
    let cold = own.cold().await;
    for path in ["/v1/directories", "/v1/users", "/v1/groups"] {
        let list = cold.admin_get(path).await.expect(200).json();
        assert!(
            list["data"].to_string().contains(&other.directory),
            "{list}"
        );
        let unreadable = &list["unreadable"];
        assert_eq!(unreadable[0]["id"], own.directory, "{path}: {list}");
        assert_eq!(unreadable[0]["type"], "directory");
        let reason = unreadable[0]["reason"].as_str().unwrap();
        assert!(
            reason.contains("format 2") && reason.contains("format 1"),
            "{reason}"
        );
        assert_eq!(unreadable.as_array().unwrap().len(), 1);
    }
    let problem = cold.admin_get(&own.admin_path("")).await.expect(500).json();
    assert!(
        problem["detail"].as_str().unwrap().contains(&own.directory),
        "{problem}"
    );
    cold.get("/Users").await.expect(503);
    // Its events go on, and so do those of all others.
    let events = cold.events().await;
    assert!(world.cloud.dead_letters().is_empty());
    let added = events
        .iter()
        .filter(|event| event["detail-type"] == "group.user_added");
    assert_eq!(added.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_item_is_named_and_shortens_no_list() {
    let world = World::new().await;
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
    let sales = group(&own, "Sales", &[ann.clone(), bob.clone()]).await;
    own.events().await;
    own.rewrite(&format!("{}#U", own.directory), &ann, |item| {
        let document = item.remove("document").unwrap();
        item.insert("compressed".to_owned(), document);
        item.insert("FMT".to_owned(), AttributeValue::N("2".to_owned()));
    })
    .await;
    let first = own.event_item("directory.created").await;
    own.rewrite(&format!("{}#E", own.directory), &first, |item| {
        item.insert(
            "detail".to_owned(),
            AttributeValue::S("secret text".to_owned()),
        );
    })
    .await;
    own.wait(40);

    for path in [own.admin_path("/users"), "/v1/users?tenant=acme".to_owned()] {
        let list = own.admin_get(&path).await.expect(200).json();
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
        assert_eq!(list["data"][0]["id"], bob);
        assert_eq!(list["unreadable"][0]["id"], ann, "{list}");
        assert_eq!(list["unreadable"][0]["type"], "user");
    }
    let across = own
        .admin_get("/v1/users?email=ann@example.com")
        .await
        .expect(200)
        .json();
    assert_eq!(across["unreadable"][0]["directory_id"], own.directory);
    let problem = own
        .admin_get(&own.admin_path(&format!("/users/{ann}")))
        .await
        .expect(500)
        .json();
    assert!(
        problem["detail"].as_str().unwrap().contains("format 2"),
        "{problem}"
    );
    // An import that missed her would deactivate her.
    let error = own.get("/Users").await.expect(500).json();
    assert!(error["detail"].as_str().unwrap().contains(&ann), "{error}");
    own.get(&format!("/Users/{ann}")).await.expect(500);
    own.get(&format!("/Users/{bob}")).await.expect(200);
    own.patch(&sales, remove(std::slice::from_ref(&bob)))
        .await
        .expect(200);
    world.get("/Users").await.expect(200);

    let log = own
        .admin_get(&own.admin_path("/events"))
        .await
        .expect(200)
        .json();
    assert_eq!(log["unreadable"][0]["type"], "event");
    assert_eq!(log["unreadable"][0]["id"], first);
    assert!(!log.to_string().contains("secret text"));
    assert!(log["data"].as_array().unwrap().len() >= 5, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_unknown_type_is_shown_as_stored() {
    let world = World::new().await;
    let own = world.directory_of("acme", "crm").await;
    own.post("/Users", &user("ann@example.com"))
        .await
        .expect(201);
    let last = own.event_item("user.created").await;
    own.rewrite(&format!("{}#E", own.directory), &last, |item| {
        let kind = AttributeValue::S("user.promoted".to_owned());
        item.insert("detailType".to_owned(), kind);
        item.insert("FMT".to_owned(), AttributeValue::N("2".to_owned()));
    })
    .await;
    own.wait(40);
    let log = own
        .admin_get(&own.admin_path("/events"))
        .await
        .expect(200)
        .json();
    let promoted = log["data"].as_array().unwrap().iter();
    let mut promoted = promoted.filter(|event| event["type"] == "user.promoted");
    let promoted = promoted.next().unwrap();
    assert_eq!(promoted["detail"]["data"]["user_name"], "ann@example.com");
    own.admin_get(&own.admin_path("/events?type=user.promoted"))
        .await
        .expect(400);
}
