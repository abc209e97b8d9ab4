//! Every published event matches its JSON Schema under `infra/events`, and the schemas reject altered events.

use std::collections::BTreeMap;
use std::fs;

use directory::{DetailType, KeptAsText, Provider};
use http::Method;
use serde_json::{Value, json};

use crate::harness::event_schema::{assert_matches, folder, read, schema};
use crate::harness::{World, user};

#[tokio::test]
async fn every_published_event_fits_its_schema() {
    let world = World::new().await;
    let small = json!({"userName": "bob@example.com"});
    let bob = world.post("/Users", &small).await.expect(201).id();
    world
        .patch(
            &format!("/Users/{bob}"),
            json!([{"op": "add", "path": "emails", "value": [{"value": "b@example.com"}]}]),
        )
        .await
        .expect(200);
    // X15: without `active` a user is active.
    world
        .patch(
            &format!("/Users/{bob}"),
            json!([{"op": "remove", "path": "active"}]),
        )
        .await
        .expect(200);
    world.delete(&format!("/Users/{bob}")).await.expect(204);
    let mut ann = user("ann@example.com");
    ann["password"] = json!("t1meMa$heen");
    ann["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"] =
        json!({"manager": {"value": "00u0"}, "department": "Sales"});
    let id = world.post("/Users", &ann).await.expect(201).id();
    world
        .patch(
            &format!("/Users/{id}"),
            json!([{"op": "replace", "value": {"active": false, "password": "another"}}]),
        )
        .await
        .expect(200);
    world
        .put(
            &format!("/Users/{id}"),
            &json!({"userName": "ann@example.com"}),
        )
        .await
        .expect(200);

    let events = world.events().await;
    assert_eq!(events.len(), 7);
    for event in &events {
        assert_matches(event);
        let text = event.to_string();
        assert!(
            !text.contains("t1meMa") && !text.contains("another") && !text.contains("password"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn every_event_of_a_group_fits_its_schema() {
    let world = World::new().await;
    let ann = user("ann@example.com");
    let ann = world.post("/Users", &ann).await.expect(201).id();
    let bob = json!({"userName": "bob@example.com"});
    let bob = world.post("/Users", &bob).await.expect(201).id();
    let sales = json!({"displayName": "Sales", "externalId": "00g1", "members": [{"value": ann}, {"value": bob}]});
    let sales = world.post("/Groups", &sales).await.expect(201).id();
    let all = json!({"displayName": "All", "members": [{"value": sales}, {"value": bob}]});
    let all = world.post("/Groups", &all).await.expect(201).id();
    let path = format!("/Groups/{sales}");
    let change = json!([{"op": "remove", "path": "members"}, {"op": "replace", "value": {"displayName": "Sales EMEA", "externalId": ""}}]);
    world.patch(&path, change).await.expect(200);
    // Bob is deleted before the event of his membership is published.
    world.delete(&format!("/Users/{bob}")).await.expect(204);
    world.delete(&path).await.expect(204);
    world.delete(&format!("/Groups/{all}")).await.expect(204);

    let events = world.events().await;
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &events {
        assert_matches(event);
        *seen
            .entry(event["detail-type"].as_str().unwrap())
            .or_default() += 1;
    }
    let expected = [
        ("group.created", 2),
        ("group.deleted", 2),
        ("group.group_added", 1),
        ("group.group_removed", 1),
        ("group.updated", 1),
        ("group.user_added", 3),
        ("group.user_removed", 3),
        ("user.created", 2),
        ("user.deleted", 1),
    ];
    assert_eq!(seen, BTreeMap::from(expected));
    // The event describes a member that exists, and has only the id of a deleted one.
    let of = |detail_type: &str, id: &str| {
        let found = events.iter().find(|event| {
            event["detail-type"] == detail_type && event["detail"]["member"]["id"] == id
        });
        found.unwrap()["detail"]["data"].clone()
    };
    assert_eq!(
        of("group.user_added", &ann)["user"]["email"],
        "ann@example.com"
    );
    assert_eq!(of("group.user_added", &bob)["user"], json!({"id": bob}));
    // The event of the removal from All has the data of the deleted user.
    let ends = events.iter().filter(|event| {
        event["detail-type"] == "group.user_removed" && event["detail"]["resource"]["id"] == all
    });
    let names: Vec<&Value> = ends
        .map(|event| &event["detail"]["data"]["user"]["user_name"])
        .collect();
    assert_eq!(names, ["bob@example.com"]);
}

#[tokio::test]
async fn every_event_of_a_directory_fits_its_schema() {
    let world = World::new().await;
    let acme = world.directory_of("acme", "crm").await;
    let path = acme.admin_path("");
    let changes = [
        json!({"status": "inactive"}),
        json!({"status": "active"}),
        json!({"name": "Acme Inc.", "settings": {"strict": true, "discovery": "plain"}, "webhook": {"url": "https://example.com/a"}}),
        json!({"name": "Acme Inc."}),
    ];
    for change in changes {
        world.admin(Method::PATCH, &path, change).await.expect(200);
    }
    world
        .admin(Method::DELETE, &path, Value::Null)
        .await
        .expect(202);
    let events = world.events().await;
    for event in &events {
        assert_matches(event);
    }
    let types: Vec<&str> = events
        .iter()
        .map(|event| event["detail-type"].as_str().unwrap())
        .collect();
    let updated = &events[3]["detail"];
    assert_eq!(
        updated["changed"],
        json!(["name", "settings.discovery", "settings.strict", "webhook"])
    );
    assert_eq!(
        updated["previous"],
        json!({"name": "acme (crm)", "settings.discovery": "full", "settings.strict": false, "webhook": null})
    );
    assert_eq!(updated["data"]["name"], "Acme Inc.");
    assert_eq!(updated["version"], 4);
    let expected = ["created", "deactivated", "activated", "updated", "deleted"];
    assert_eq!(types, expected.map(|what| format!("directory.{what}")));
}

#[test]
fn schemas_and_documentation_have_every_type_of_event_and_provider() {
    let files = fs::read_dir(folder()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .filter(|name| name.contains('.'))
        .collect();
    files.sort_unstable();
    let mut known: Vec<&str> = DetailType::KNOWN.iter().map(|(_, text)| *text).collect();
    known.sort_unstable();
    assert_eq!(files, known);
    let documentation = fs::read_to_string(folder().join("../../docs/events.md")).unwrap();
    for detail_type in known {
        let quoted = format!("`{detail_type}`");
        assert!(documentation.contains(&quoted), "{quoted}");
    }
    let providers = &read("directory.json")["$defs"]["data"]["properties"]["provider"];
    assert_eq!(providers["examples"], json!(Provider::TEXTS));
}

#[test]
fn examples_match_their_schemas_and_altered_ones_do_not() {
    for file in fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(detail_type) = name.strip_suffix(".json").filter(|name| name.contains('.')) else {
            continue;
        };
        let (schema, validator) = schema(detail_type);
        let example = &schema["examples"][0];
        assert_matches(example);
        let changes: [(&str, Value); 11] = [
            ("/detail-type", json!("user.teleported")),
            ("/source", json!("somebody")),
            ("/detail/version", json!("1")),
            ("/detail/resource", json!({"type": "User"})),
            ("/detail/data/active", json!(null)),
            ("/detail/data/provider", json!(7)),
            ("/detail/data/raw/meta/location", json!(null)),
            ("/detail/member/type", json!("Robot")),
            ("/detail/data/user/active", json!(null)),
            ("/detail/data/member/display_name", json!(null)),
            ("/detail/data/group/raw/meta/location", json!(null)),
        ];
        let mut tried = 0;
        for (pointer, value) in changes {
            let mut other = example.clone();
            // Not every event has every one of these.
            let Some(place) = other.pointer_mut(pointer) else {
                continue;
            };
            *place = value;
            tried += 1;
            assert!(!validator.is_valid(&other), "{detail_type} {pointer}");
        }
        // A later version may know more providers.
        let mut later = example.clone();
        if let Some(provider) = later.pointer_mut("/detail/data/provider") {
            *provider = json!("later");
            assert!(validator.is_valid(&later), "{detail_type}");
        }
        assert!(tried >= 5, "{detail_type}");
        for pointer in ["/detail", "/detail/data", "/detail/resource", ""] {
            let mut other = example.clone();
            other
                .pointer_mut(pointer)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .insert("more".to_owned(), json!(1));
            assert!(
                !validator.is_valid(&other),
                "{detail_type} {pointer} takes more"
            );
        }
        let mut secret = example.clone();
        secret["detail"]["data"]["raw"]["password"] = json!("x");
        assert!(!validator.is_valid(&secret), "{detail_type}");
    }
}
