//! This version on a table that the previous version has written.
//!
//! `fixtures/format_0.jsonl` holds the items of a small world as commit 9f9ad8b wrote them, and what that commit
//! answered about them. Its first line has the ids, the token and the answers; each other line is an item in
//! DynamoDB's JSON. `cargo test -p tests --test it -- --ignored upgrade::the_items_of_this_version_are_written` writes
//! such a file for the version that is checked out, under the number of its format.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use http::Method;
use local::RequestInfo;
use serde_json::{Value, json};

use crate::harness::faults::interrupted_at;
use crate::harness::members::{add, group, members, remove};
use crate::harness::{World, user};

type Item = HashMap<String, AttributeValue>;

const TABLE: &str = "rollcall-Table";
/// The token of the fixture's directory.
const TOKEN: &str = "rollcall_of_the_fixture";

/// A user name whose key holds its digest.
fn long_name() -> String {
    format!("{}@example.com", "long".repeat(150))
}

fn fixture(format: &str) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/it/fixtures");
    PathBuf::from(directory).join(format!("format_{format}.jsonl"))
}

fn to_json(item: &Item) -> Value {
    let attribute = |value: &AttributeValue| match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        other => panic!("{other:?}"),
    };
    let sorted: BTreeMap<_, _> = item.iter().map(|(name, v)| (name, attribute(v))).collect();
    json!(sorted)
}

fn from_json(item: &Value) -> Item {
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

/// What is asked about the world, by paths below the SCIM base URL or of the admin API.
fn questions(directory: &str) -> Vec<String> {
    let v1 = |path: &str| format!("/v1/directories/{directory}{path}");
    vec![
        "/Users?count=10&sortBy=userName".to_owned(),
        "/Groups?excludedAttributes=members&sortBy=displayName".to_owned(),
        "/Users?filter=userName%20eq%20%22ANN@example.com%22".to_owned(),
        format!("/Users?filter=userName%20eq%20%22{}%22", long_name()),
        "/Users?filter=externalId%20eq%20%2200u-bob@example.com%22".to_owned(),
        "/Users?filter=emails.value%20eq%20%22ann@example.com%22".to_owned(),
        "/Groups?filter=displayName%20eq%20%22sales%22".to_owned(),
        "/Schemas/urn:acme:User".to_owned(),
        v1(""),
        v1("/users?active=false"),
        v1("/groups"),
        v1("/events?limit=20"),
        "/v1/directories?tenant=acme".to_owned(),
        "/v1/users?tenant=acme&email=ann@example.com".to_owned(),
    ]
}

impl World {
    async fn answer_of(&self, path: &str) -> Value {
        let answer = match path.starts_with("/v1/") {
            true => self.admin_get(path).await,
            false => self.get(path).await,
        };
        answer.expect(200).json()
    }

    async fn all_items(&self) -> Vec<Item> {
        let client = Client::new(self.cloud.config());
        let items = client.scan().table_name(TABLE).into_paginator().items();
        items.send().collect::<Result<Vec<_>, _>>().await.unwrap()
    }
}

/// A world with one of everything that is kept, work that was interrupted included.
async fn small_world(world: &World) -> World {
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

    let mut ids = vec![];
    for n in 0..100 {
        let small = json!({"userName": format!("u{n:02}")});
        ids.push(own.post("/Users", &small).await.expect(201).id());
    }
    // What they say of themselves is over by now, as it is after 30 days.
    let client = Client::new(own.cloud.config());
    for item in own.all_items().await {
        if item["PK"].as_s().unwrap().ends_with("#E") {
            let delete = client.delete_item().table_name(TABLE);
            let key = delete
                .key("PK", item["PK"].clone())
                .key("SK", item["SK"].clone());
            key.send().await.unwrap();
        }
    }

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
    let sales = group(&own, "Sales", &[ann.clone(), bob.clone()]).await;
    let nested = sales.trim_start_matches("/Groups/").to_owned();
    let all = group(&own, "All", &[nested, cleo.clone()]).await;
    let off = json!([{"op": "replace", "value": {"active": false}}]);
    own.patch(&format!("/Users/{bob}"), off).await.expect(200);
    own.patch(&all, remove(std::slice::from_ref(&cleo)))
        .await
        .expect(200);
    let name = json!([{"op": "replace", "path": "displayName", "value": "Everyone"}]);
    own.patch(&all, name).await.expect(200);
    own.delete(&format!("/Users/{cleo}")).await.expect(204);
    own.delete(&group(&own, "Short", &[ann]).await)
        .await
        .expect(204);
    own.events().await;

    // Work that takes several transactions, interrupted between two of them.
    let adding = group(&own, "Adding", &[]).await;
    let removing = group(&own, "Removing", &ids[..50]).await;
    let deleting = group(&own, "Deleting", &ids).await;
    for (transactions, work) in [(0, "add"), (1, "remove"), (0, "create"), (1, "delete")] {
        let doomed = own.cold().await;
        doomed.get("/Groups?count=0").await.expect(200);
        let (adding, removing, deleting) = (adding.clone(), removing.clone(), deleting.clone());
        let ids = ids.clone();
        let request = async move {
            match work {
                "add" => doomed.patch(&adding, add(&ids[..50])).await,
                "remove" => {
                    let mut both = remove(&ids[..50]).as_array().unwrap().clone();
                    both.extend(add(&ids[50..]).as_array().unwrap().clone());
                    doomed.patch(&removing, json!(both)).await
                }
                "create" => {
                    let new = json!({"displayName": "Creating", "members": members(&ids[..50])});
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
    own.events().await;
    let gone = own.directory_of("gone", "crm").await;
    gone.post("/Users", &user("ann@example.com"))
        .await
        .expect(201);
    gone.admin(Method::DELETE, &gone.admin_path(""), Value::Null)
        .await
        .expect(202);
    own
}

/// Which kinds of items a dump has, and how many of each.
fn kinds(items: &[Value]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for item in items {
        let text = |name: &str| item[name]["S"].as_str().unwrap_or_default();
        let (pk, sk) = (text("PK"), text("SK"));
        let partition = pk.split('#').nth(1).unwrap_or(match pk {
            "DIRECTORIES" => pk,
            _ => "META",
        });
        let kind = match (partition, sk) {
            ("DIRECTORIES", _) => format!("DIRECTORIES {}", sk.split('#').next().unwrap()),
            ("M", _) if item.get("from").is_none() => {
                format!("M {}", sk.split('#').next().unwrap())
            }
            ("M", _) if item.get("kind").is_some() => "M group".to_owned(),
            ("G", _) if item.get("removals").is_some() => "G removing".to_owned(),
            ("G", _) if item.get("staged").is_some() => "G adding".to_owned(),
            _ => partition.to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it writes the fixture of the version that is checked out"]
async fn the_items_of_this_version_are_written() {
    let world = World::in_order().await;
    let own = small_world(&world).await;
    own.wait(40);
    let asked = own.cold().await;
    let mut answers = serde_json::Map::new();
    for path in questions(&own.directory) {
        answers.insert(path.clone(), asked.answer_of(&path).await);
    }
    let of_demo = |item: &&Item| {
        let text = |name: &str| item[name].as_s().unwrap();
        text("PK").starts_with(&world.directory) || text("SK").ends_with(&world.directory)
    };
    let items = own.all_items().await;
    let mut items: Vec<Value> = items
        .iter()
        .filter(|item| !of_demo(item))
        .map(to_json)
        .collect();
    items.sort_by_key(ToString::to_string);
    println!("{:#?}", kinds(&items));
    let format = items.iter().find(|item| item["SK"]["S"] == "META").unwrap()["F"]["N"].clone();
    let head = json!({"directory": own.directory, "answers": answers});
    let lines: Vec<String> = [head].iter().chain(&items).map(Value::to_string).collect();
    std::fs::write(
        fixture(format.as_str().unwrap_or("0")),
        lines.join("\n") + "\n",
    )
    .unwrap();
}

/// A world with the items of the version before, and the directory that they are about.
async fn world_of_the_version_before() -> (World, World, Value) {
    let world = World::new().await;
    let text = std::fs::read_to_string(fixture("0")).unwrap();
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = lines.next().unwrap();
    let client = Client::new(world.cloud.config());
    for item in lines {
        let put = client.put_item().table_name(TABLE);
        put.set_item(Some(from_json(&item))).send().await.unwrap();
    }
    let id = head["directory"].as_str().unwrap();
    aws_sdk_secretsmanager::Client::new(world.cloud.config())
        .create_secret()
        .name(format!("rollcall/{id}"))
        .client_request_token(id)
        .secret_string(json!({"token": TOKEN}).to_string())
        .send()
        .await
        .unwrap();
    let own = world.of(&json!({"id": id, "token": TOKEN}));
    (world, own, head["answers"].clone())
}

/// The items of the directory that carry no format, or another one than this version writes, by their keys.
async fn not_stamped(world: &World) -> Vec<String> {
    let items = world.all_items().await;
    let unstamped = items
        .iter()
        .filter(|item| item.get("F") != Some(&AttributeValue::N("1".to_owned())));
    unstamped
        .map(|item| format!("{:?} / {:?}", item["PK"], item["SK"]))
        .collect()
}

/// Leaves out of an answer the settings that the version before did not have.
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
async fn this_version_reads_and_changes_items_of_the_previous_one() {
    let (world, own, answers) = world_of_the_version_before().await;
    own.wait(40);
    for (path, answer) in answers.as_object().unwrap() {
        let mut now = own.answer_of(path).await;
        leave_out_new_settings(&mut now, answer);
        assert_eq!(now, *answer, "{path}");
    }

    // It publishes what was not on the bus yet, and finishes what was interrupted.
    let events = own.events().await;
    let count = |kind: &str| {
        events
            .iter()
            .filter(|event| event["detail-type"] == kind)
            .count()
    };
    assert_eq!(count("user.created"), 5);
    assert_eq!(count("directory.created"), 1);
    assert!(count("group.user_added") > 150);
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
        item.contains_key("staged")
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
    assert_eq!(removing["members"].as_array().unwrap().len(), 50);
    let removing = format!("/Groups/{}", removing["id"].as_str().unwrap());
    let bob = found("/Users?filter=userName%20eq%20%22bob@example.com%22").await;
    let bob = bob["id"].as_str().unwrap().to_owned();
    own.patch(&removing, add(std::slice::from_ref(&bob)))
        .await
        .expect(200);
    own.delete(&format!("/Users/{bob}")).await.expect(204);
    let group = own.get(&removing).await.expect(200).json();
    assert_eq!(group["members"].as_array().unwrap().len(), 50);
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
        2 + 50,
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
    let world = World::in_order().await;
    small_world(&world).await;
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
            item.insert("F".to_owned(), AttributeValue::N("2".to_owned()));
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
        item.insert("F".to_owned(), AttributeValue::N("2".to_owned()));
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
        item.insert("F".to_owned(), AttributeValue::N("2".to_owned()));
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

/// Earlier versions kept a name with blanks at its ends under itself only, so another user may have it without them.
#[tokio::test(flavor = "multi_thread")]
async fn a_stored_name_with_surrounding_spaces_is_found_changed_and_released() {
    let world = World::new().await;
    let kept_before = |name: &str| {
        let key = |text: String| AttributeValue::S(text);
        Client::new(world.cloud.config())
            .delete_item()
            .table_name(TABLE)
            .key("PK", key(format!("{}#N", world.directory)))
            .key("SK", key(name.to_owned()))
            .send()
    };
    let named = async |name: &str| {
        let name = name.replace(' ', "%20");
        let list = world
            .get(&format!("/Users?filter=userName%20eq%20%22{name}%22"))
            .await;
        let list = list.expect(200).json();
        let ids = list["Resources"].as_array().unwrap().iter();
        let mut ids: Vec<String> = ids
            .map(|of| of["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    let created = world.post("/Users", &json!({"userName": "ann "})).await;
    let old = created.expect(201).id();
    kept_before("ann").await.unwrap();
    let new = world
        .post("/Users", &json!({"userName": "ann"}))
        .await
        .expect(201)
        .id();
    let mut both = vec![old.clone(), new.clone()];
    both.sort();
    assert_eq!(named("ann ").await, both);
    assert_eq!(named("ann").await, [new.as_str()]);
    for taken in ["ann", "ann ", " ann"] {
        world
            .post("/Users", &json!({"userName": taken}))
            .await
            .expect(409);
    }

    // The user of before is changed as any other, and nothing of the other user's goes with it.
    let (old_path, new_path) = (format!("/Users/{old}"), format!("/Users/{new}"));
    let off = json!([{"op": "replace", "path": "active", "value": false}]);
    world.patch(&old_path, off).await.expect(200);
    world
        .put(&old_path, &json!({"userName": "ann ", "title": "Lead"}))
        .await
        .expect(200);
    world
        .put(&old_path, &json!({"userName": "ann"}))
        .await
        .expect(409);
    world
        .put(&old_path, &json!({"userName": "bea"}))
        .await
        .expect(200);
    assert_eq!(named("ann ").await, [new.as_str()]);
    world
        .post("/Users", &json!({"userName": "ann "}))
        .await
        .expect(409);

    // And so when it goes.
    world.delete(&new_path).await.expect(204);
    let old = world
        .post("/Users", &json!({"userName": "ann "}))
        .await
        .expect(201)
        .id();
    kept_before("ann").await.unwrap();
    world
        .post("/Users", &json!({"userName": "ann"}))
        .await
        .expect(201);
    world.delete(&format!("/Users/{old}")).await.expect(204);
    world
        .post("/Users", &json!({"userName": "ANN"}))
        .await
        .expect(409);

    // A name of this version gives up both.
    let this = world
        .post("/Users", &json!({"userName": " cem"}))
        .await
        .expect(201)
        .id();
    world
        .put(&format!("/Users/{this}"), &json!({"userName": "cem"}))
        .await
        .expect(200);
    world
        .post("/Users", &json!({"userName": " cem"}))
        .await
        .expect(409);
    world.delete(&format!("/Users/{this}")).await.expect(204);
    world
        .post("/Users", &json!({"userName": " cem"}))
        .await
        .expect(201);
}
