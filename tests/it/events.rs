//! Every published event fits its schema under `infra/events`, and the schemas are strict enough to notice.

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

use crate::world::{World, user};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/events")
}

fn read(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

/// The schema of a `detail-type`.
fn schema(detail_type: &str) -> (Value, Validator) {
    let schema = read(&format!("{detail_type}.json"));
    let shared = Registry::new()
        .add("json-schema:///user.json", read("user.json"))
        .unwrap()
        .prepare()
        .unwrap();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .with_registry(&shared)
        .build(&schema)
        .unwrap();
    (schema, validator)
}

#[track_caller]
fn check(event: &Value) {
    let (_, validator) = schema(event["detail-type"].as_str().unwrap());
    let errors: Vec<String> = validator
        .iter_errors(event)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?} in {event}");
}

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
    assert_eq!(events.len(), 6);
    for event in &events {
        check(event);
        let text = event.to_string();
        assert!(
            !text.contains("t1meMa") && !text.contains("another") && !text.contains("password"),
            "{text}"
        );
    }
}

#[test]
fn the_examples_fit_and_what_differs_does_not() {
    let mut known = 0;
    for file in fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(detail_type) = name.strip_suffix(".json").filter(|name| name.contains('.')) else {
            continue;
        };
        known += 1;
        let (schema, validator) = schema(detail_type);
        let example = &schema["examples"][0];
        check(example);
        let changes: [(&str, Value); 6] = [
            ("/detail-type", json!("user.teleported")),
            ("/source", json!("somebody")),
            ("/detail/version", json!("1")),
            ("/detail/data/active", json!(null)),
            ("/detail/data/raw/meta/location", json!(null)),
            ("/detail/resource", json!({"type": "User"})),
        ];
        for (pointer, value) in changes {
            let mut other = example.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(!validator.is_valid(&other), "{detail_type} {pointer}");
        }
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
    assert_eq!(known, 3);
}
