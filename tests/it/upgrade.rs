//! A table that the version before has written, under this version.
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

use crate::group_cost::{add, group, members, remove};
use crate::group_races::killed_at;
use crate::world::{World, user};

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
            true => self.look(path).await,
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
    off.admin(Method::PATCH, &off.v1(""), inactive)
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
        assert!(!killed_at(&own, late, request).await, "{work}");
    }
    own.events().await;
    let gone = own.directory_of("gone", "crm").await;
    gone.post("/Users", &user("ann@example.com"))
        .await
        .expect(201);
    gone.admin(Method::DELETE, &gone.v1(""), Value::Null)
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
    let format =
        items.iter().find(|item| item["SK"]["S"] == "META").unwrap()["format"]["N"].clone();
    let head = json!({"directory": own.directory, "answers": answers});
    let lines: Vec<String> = [head].iter().chain(&items).map(Value::to_string).collect();
    std::fs::write(
        fixture(format.as_str().unwrap_or("0")),
        lines.join("\n") + "\n",
    )
    .unwrap();
}
