//! Rules and limits of groups, beyond the transcripts.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use directory::{NewDirectory, Provider, Settings};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::members::{add, group, members, remove};

async fn user(world: &World, name: &str) -> String {
    let user = json!({"userName": name});
    world.post("/Users", &user).await.expect(201).id()
}

/// The reference system refuses a second group of the same name; here a directory may ask for that.
/// RFC 7643 §4.2 (G1).
#[tokio::test]
async fn a_directory_can_require_unique_group_names() {
    let world = World::new().await;
    let named = |name: &str| json!({"displayName": name});
    world.post("/Groups", &named("Sales")).await.expect(201);
    world.post("/Groups", &named("Sales")).await.expect(201);

    let strict = world
        .with_directory(NewDirectory {
            tenant: "t".to_owned(),
            product: "p".to_owned(),
            name: "n".to_owned(),
            provider: Provider::Generic,
            settings: Settings {
                unique_group_names: true,
                ..Settings::default()
            },
            webhook: None,
        })
        .await;
    let sales = strict.post("/Groups", &named("Sales")).await.expect(201);
    let path = format!("/Groups/{}", sales.id());
    let refused = strict.post("/Groups", &named("SALES")).await.expect(409);
    assert_eq!(refused.json()["scimType"], "uniqueness");
    assert!(refused.json()["detail"].as_str().unwrap().contains("SALES"));
    let other = strict.post("/Groups", &named("Other")).await.expect(201);
    let other = format!("/Groups/{}", other.id());
    let rename = json!([{"op": "replace", "path": "displayName", "value": "sales"}]);
    strict.patch(&other, rename.clone()).await.expect(409);
    strict.put(&other, &named("Sales")).await.expect(409);
    // A group's own name is not a conflict, also in another case (W5).
    strict.put(&path, &named("Sales")).await.expect(200);
    strict.patch(&path, rename).await.expect(200);
    let filter = "/Groups?filter=displayName%20eq%20%22Sales%22";
    assert_eq!(strict.get(filter).await.json()["totalResults"], 1);
    assert_eq!(world.get(filter).await.json()["totalResults"], 2);
    // R7: a name is free when its group is gone.
    strict.delete(&path).await.expect(204);
    strict.post("/Groups", &named("sales")).await.expect(201);

    // A change that takes steps clashes as well, and leaves nothing.
    let mut crowd = vec![];
    for n in 0..120 {
        crowd.push(user(&strict, &format!("u{n}")).await);
    }
    let mut both = add(&crowd).as_array().unwrap().clone();
    both.push(json!({"op": "replace", "value": {"displayName": "Sales"}}));
    strict.patch(&other, json!(both)).await.expect(409);
    let group = json!({"displayName": "Sales", "members": members(&crowd)});
    strict.post("/Groups", &group).await.expect(409);
    let kept = strict.get(&other).await.json();
    assert!(kept.get("members").is_none());
    let of = strict.get(&format!("/Users/{}", crowd[0])).await.json();
    assert!(of.get("groups").is_none());
}

/// RFC 7644 §3.12 (G4).
#[tokio::test]
async fn unknown_members_are_named_and_nothing_is_changed() {
    let world = World::new().await;
    let ann = user(&world, "ann").await;
    let path = group(&world, "g", &[]).await;
    world.events().await;
    let nobody = |n: usize| format!("00000000-0000-4000-8000-{n:012}");
    for count in [1, 5, 7, 150] {
        let mut ids: Vec<String> = (0..count).map(nobody).collect();
        ids.push(ann.clone());
        let requests = [
            world.patch(&path, add(&ids)).await,
            world
                .put(
                    &path,
                    &json!({"displayName": "h", "members": members(&ids)}),
                )
                .await,
            world
                .post(
                    "/Groups",
                    &json!({"displayName": "h", "members": members(&ids)}),
                )
                .await,
        ];
        for answer in requests {
            let error = answer.expect(400).json();
            assert_eq!(error["scimType"], "invalidValue");
            let detail = error["detail"].as_str().unwrap();
            let named = (0..count).filter(|n| detail.contains(&nobody(*n))).count();
            assert_eq!(named, count.min(5), "{detail}");
            assert_eq!(detail.contains("more"), count > 5, "{detail}");
            assert!(!detail.contains(&ann), "{detail}");
        }
    }
    let kept = world.get(&path).await.expect(200);
    assert_eq!(kept.header("etag"), Some("W/\"1\""));
    assert_eq!(kept.json()["displayName"], "g");
    assert_eq!(world.get("/Groups").await.json()["totalResults"], 1);
    assert_eq!(world.events().await, Vec::<Value>::new());
    let groups = world.get(&format!("/Users/{ann}")).await.json();
    assert!(groups.get("groups").is_none());
}

#[tokio::test]
async fn the_size_of_a_group_request_is_limited() {
    let world = World::new().await;
    let ann = user(&world, "ann").await;
    let path = group(&world, "g", &[]).await;
    let add = |member: Value| json!([{"op": "add", "path": "members", "value": [member]}]);
    let long = json!({"value": ann, "display": "d".repeat(1_025)});
    let error = world.patch(&path, add(long)).await.expect(400).json();
    assert!(
        error["detail"]
            .as_str()
            .unwrap()
            .contains("members.display")
    );

    let many: Vec<String> = (0..60_001)
        .map(|n| format!("00000000-0000-4000-8000-{n:012}"))
        .collect();
    let all = json!([{"op": "add", "path": "members", "value": members(&many)}]);
    let error = world.patch(&path, all).await.expect(413).json();
    assert!(
        error["detail"].as_str().unwrap().contains("60000"),
        "{error}"
    );

    let mut groups = vec![];
    for n in 0..91 {
        let id = group(&world, &format!("g{n}"), &[]).await;
        groups.push(id.trim_start_matches("/Groups/").to_owned());
    }
    let nested = json!([{"op": "add", "path": "members", "value": members(&groups)}]);
    let error = world.patch(&path, nested).await.expect(413).json();
    assert!(error["detail"].as_str().unwrap().contains("90"), "{error}");
    // One less is fine, and so is a `$ref` that says what it is.
    let nested = json!([{"op": "add", "path": "members", "value": members(&groups[1..])}]);
    let shown = world.patch(&path, nested).await.expect(200).json();
    assert_eq!(shown["members"].as_array().unwrap().len(), 90);
    let uri = format!("https://example.com/Groups/{}", groups[0]);
    let last = json!({"value": groups[0], "$ref": uri});
    world.patch(&path, add(last)).await.expect(200);
    assert_eq!(world.get(&path).await.json()["members"][0]["type"], "Group");
}

/// Two concurrent requests cannot form a cycle, and no user is in a group twice.
/// RFC 7643 §4.2 (G6).
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_cannot_form_a_cycle() {
    let world = World::new().await;
    let other = world.cold().await;
    for _ in 0..10 {
        let (a, b) = (group(&world, "a", &[]).await, group(&world, "b", &[]).await);
        let id = |path: &str| vec![path.trim_start_matches("/Groups/").to_owned()];
        let (one, two) = (add(&id(&b)), add(&id(&a)));
        let (one, two) = tokio::join!(world.patch(&a, one), other.patch(&b, two));
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400]);
    }
    // A process that knows nothing of the members says what it removes all the same.
    let inner = group(&world, "inner", &[]).await;
    let id = |path: &str| vec![path.trim_start_matches("/Groups/").to_owned()];
    let outer = group(&world, "outer", &id(&inner)).await;
    world.events().await;
    let cold = world.cold().await;
    cold.patch(&outer, remove(&id(&inner))).await.expect(200);
    let events = world.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["detail-type"], "group.group_removed");

    // Through a third one.
    let a = group(&world, "a", &[]).await;
    let b = group(&world, "b", &id(&a)).await;
    let c = group(&world, "c", &id(&b)).await;
    let ann = user(&world, "ann").await;
    world
        .patch(&a, add(std::slice::from_ref(&ann)))
        .await
        .expect(200);
    let error = world.patch(&a, add(&id(&c))).await.expect(400).json();
    assert_eq!(error["scimType"], "invalidValue");
    let groups = world.get(&format!("/Users/{ann}")).await.json();
    let types: Vec<(&Value, &Value)> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (&group["display"], &group["type"]))
        .collect();
    assert_eq!(types[0], (&json!("a"), &json!("direct")));
    let indirect: BTreeSet<&str> = types[1..]
        .iter()
        .map(|(display, ty)| {
            assert_eq!(**ty, "indirect");
            display.as_str().unwrap()
        })
        .collect();
    assert_eq!(indirect, BTreeSet::from(["b", "c"]));
}

/// A group of more members than one answer holds says how they can be read, and they can.
#[tokio::test]
async fn a_group_too_large_for_one_answer_is_read_in_pages() {
    const SIZE: usize = 30_000;
    let world = World::in_order().await;
    let ann = user(&world, "ann").await;
    let small = group(&world, "small", std::slice::from_ref(&ann)).await;
    let large = group(&world, "large", std::slice::from_ref(&ann)).await;

    // Rows of users who are not needed here: only their number is.
    let client = Client::new(world.cloud.config());
    let directory = &world.directory;
    let id = large.trim_start_matches("/Groups/");
    let text = |text: String| AttributeValue::S(text);
    let row = client
        .get_item()
        .table_name("rollcall-Table")
        .key("PK", text(format!("{directory}#M#{id}")))
        .key("SK", text(ann.clone()));
    let row = row.send().await.unwrap().item.unwrap();
    let rows: Vec<WriteRequest> = (1..SIZE)
        .map(|n| {
            let row = HashMap::from([
                ("PK".to_owned(), text(format!("{directory}#M#{id}"))),
                (
                    "SK".to_owned(),
                    text(format!("00000000-0000-4000-8000-{n:012}")),
                ),
                ("GSI1PK".to_owned(), row["GSI1PK"].clone()),
                ("sinceVersion".to_owned(), AttributeValue::N("1".to_owned())),
            ]);
            let put = PutRequest::builder().set_item(Some(row)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    for chunk in rows.chunks(25) {
        client
            .batch_write_item()
            .request_items("rollcall-Table", chunk.to_vec())
            .send()
            .await
            .unwrap();
    }
    client
        .update_item()
        .table_name("rollcall-Table")
        .key("PK", text(format!("{directory}#G")))
        .key("SK", text(id.to_owned()))
        .update_expression("SET memberCount = :n")
        .expression_attribute_values(":n", AttributeValue::N(SIZE.to_string()))
        .send()
        .await
        .unwrap();

    // No process knows what it was before.
    let world = world.cold().await;
    for path in [
        large.clone(),
        "/Groups?filter=displayName%20eq%20%22large%22".to_owned(),
    ] {
        let error = world.get(&path).await.expect(400).json();
        assert_eq!(error["scimType"], "tooMany");
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains("30000 members"), "{detail}");
        assert!(detail.contains("excludedAttributes=members"), "{detail}");
    }
    let head = world
        .get(&format!("{large}?excludedAttributes=members"))
        .await
        .expect(200)
        .json();
    assert_eq!(head["displayName"], "large");
    // Adding one more is answered without them, and so is a rename.
    let rename = json!([{"op": "replace", "path": "displayName", "value": "larger"}]);
    world.patch(&large, rename).await.expect(204);
    let page =
        "/Users?filter=groups.value%20eq%20%22{id}%22&startIndex=1&count=200&attributes=userName";
    let page = world
        .get(&page.replace("{id}", id))
        .await
        .expect(200)
        .json();
    assert_eq!(page["totalResults"], SIZE);
    assert_eq!(
        page["Resources"],
        json!([{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": ann, "userName": "ann"}])
    );

    // A page of groups holds as many as fit.
    let first = world
        .get(&format!("{small}?attributes=members"))
        .await
        .expect(200);
    assert_eq!(first.json()["members"].as_array().unwrap().len(), 1);
    let answer = world
        .get("/Groups?startIndex=1&count=10&excludedAttributes=members")
        .await
        .expect(200);
    assert_eq!(answer.json()["itemsPerPage"], 2);
    let page = world.get("/Groups").await.expect(200).json();
    assert_eq!(
        (&page["totalResults"], &page["itemsPerPage"]),
        (&json!(2), &json!(1))
    );
    world.get("/Groups?startIndex=2").await.expect(400);
    // A page of both types that has room for its users only leads on to the group.
    let both = "/?filter=userName%20eq%20%22ann%22%20or%20displayName%20eq%20%22larger%22&cursor=";
    let page = world.get(both).await.expect(200).json();
    assert_eq!(page["itemsPerPage"], 1);
    let next = page["nextCursor"].as_str().unwrap();
    let error = world.get(&format!("{both}{next}")).await.expect(400).json();
    assert_eq!(error["scimType"], "tooMany");
}
