//! Schema extensions of a directory (D7).

use directory::Settings;
use serde_json::{Value, json};

use crate::harness::World;

const ACME: &str = "urn:acme:params:scim:schemas:crm:1.0:User";

fn settings(attributes: Value) -> Settings {
    let schema = json!({"id": ACME, "attributes": attributes});
    let settings = json!({"schemas": [{"resourceType": "User", "schema": schema}]});
    serde_json::from_value(settings).unwrap()
}

/// RFC 7643 §3.3, §6 (D7).
#[tokio::test]
async fn a_schema_extension_belongs_to_one_directory() {
    let other = World::new().await;
    let acme = other
        .with_settings(settings(json!([{"name": "badge", "type": "integer"}])))
        .await;
    let ann = json!({"userName": "ann@example.com", ACME: {"badge": "7"}});
    let created = acme.post("/Users", &ann).await.expect(201).json();
    assert_eq!(created[ACME], json!({"badge": 7}));
    let created = other.post("/Users", &ann).await.expect(201).json();
    assert!(created.get(ACME).is_none(), "{created}");

    let path = format!("/Schemas/{ACME}");
    let shown = acme.get(&path).await.expect(200).json();
    other.get(&path).await.expect(404);
    let total = |list: Value| list["totalResults"].as_u64().unwrap();
    let (with, without) = (acme.get("/Schemas").await, other.get("/Schemas").await);
    assert_eq!(total(with.json()), total(without.json()) + 1);
    let filter = format!("/Users?filter={ACME}:badge%20eq%207");
    assert_eq!(total(acme.get(&filter).await.expect(200).json()), 1);
    let refused = other.get(&filter).await.expect(400).json();
    assert_eq!(refused["scimType"], "invalidFilter");

    // What one directory shows can be registered at another as it is.
    let copied = json!({"schemas": [{"resourceType": "User", "schema": shown}]});
    let third = other
        .with_settings(serde_json::from_value(copied).unwrap())
        .await;
    let copy = third.get(&path).await.expect(200).json();
    assert_eq!(copy["attributes"], shown["attributes"]);
}

/// RFC 7643 §3.3, §6 (D7).
#[tokio::test]
async fn unsupported_settings_create_no_directory() {
    let world = World::new().await;
    let new = directory::NewDirectory {
        tenant: "t".to_owned(),
        product: "p".to_owned(),
        name: "n".to_owned(),
        provider: directory::Provider::Generic,
        settings: settings(json!([{"name": "badge", "type": "number"}])),
        webhook: None,
    };
    world.cloud.take_requests();
    let error = world
        .stack
        .gateway()
        .create_directory(new)
        .await
        .unwrap_err();
    let gateway::Error::Store(directory::Error::Invalid(wrong)) = error else {
        panic!("{error:?}");
    };
    let pointer = "/settings/schemas/0/schema/attributes/0/type";
    assert_eq!(wrong[0].pointer, pointer);
    assert!(wrong[0].detail.starts_with("expected string, "));
    assert!(world.cloud.take_requests().is_empty());
}
