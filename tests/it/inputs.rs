//! Refused values, caching headers, and conditional requests.

use http::Method;
use serde_json::{Value, json};

use crate::harness::members::group;
use crate::harness::{USER, World, user};

/// RFC 7643 §4.1.1 with RFC 8265 §3.3: no control characters in what a resource is found by.
#[tokio::test(flavor = "multi_thread")]
async fn no_method_accepts_control_characters_in_names() {
    let world = World::new().await;
    let ann = world
        .post("/Users", &user("ann@example.com"))
        .await
        .expect(201)
        .id();
    let sales = group(&world, "Sales", std::slice::from_ref(&ann)).await;
    world.events().await;
    let path = format!("/Users/{ann}");
    for odd in ["a\u{0}b", "a\nb", "\u{7f}a", "a\u{85}"] {
        let of_user = json!({"schemas": [USER], "userName": odd});
        let of_group = json!({"displayName": odd});
        let set = |path: &str| json!([{"op": "replace", "path": path, "value": odd}]);
        let answers = [
            world.post("/Users", &of_user).await,
            world.put(&path, &of_user).await,
            world.patch(&path, set("userName")).await,
            world.patch(&path, set("emails.value")).await,
            world.post("/Groups", &of_group).await,
            world.put(&sales, &of_group).await,
            world.patch(&sales, set("displayName")).await,
        ];
        for answer in answers {
            let error = answer.expect(400).json();
            assert_eq!(error["scimType"], "invalidValue", "{error}");
            let detail = error["detail"].as_str().unwrap();
            assert!(
                detail.ends_with("must not have control characters"),
                "{detail}"
            );
        }
        let bulk = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
            "Operations": [
                {"method": "POST", "path": "/Users", "bulkId": "1", "data": of_user},
                {"method": "PUT", "path": path, "data": of_user},
                {"method": "POST", "path": "/Groups", "bulkId": "2", "data": of_group},
                {"method": "PATCH", "path": sales, "data": {"Operations": set("displayName")}},
            ],
        });
        let outcomes = world.post("/Bulk", &bulk).await.expect(200).json();
        for outcome in outcomes["Operations"].as_array().unwrap() {
            assert_eq!(outcome["status"], "400", "{outcome}");
        }
        // More members than one transaction takes: refused before the group is marked.
        let many: Vec<Value> = (0..60)
            .map(|n| json!({"value": format!("{n:08x}-0000-4000-8000-000000000000")}))
            .collect();
        let both = json!([
            {"op": "replace", "path": "displayName", "value": odd},
            {"op": "add", "path": "members", "value": many},
        ]);
        world.patch(&sales, both).await.expect(400);
        let tenant =
            json!({"tenant": odd, "product": "crm", "name": "A", "provider": "okta-scim-v2"});
        world
            .admin(Method::POST, "/v1/directories", tenant)
            .await
            .expect(422);
    }
    assert_eq!(world.events().await, Vec::<Value>::new());
    let rename = json!([{"op": "replace", "path": "displayName", "value": "Sales EMEA"}]);
    world.patch(&sales, rename).await.expect(200);
}

/// RFC 6750 §5.3, RFC 9111 §5.2.2.5.
#[tokio::test]
async fn responses_with_a_token_or_secret_are_not_cacheable() {
    let world = World::new().await;
    let new = json!({
        "tenant": "acme", "product": "crm", "name": "Acme", "provider": "okta-scim-v2",
        "webhook": {"url": "https://example.com/a"},
    });
    let created = world.admin(Method::POST, "/v1/directories", new).await;
    let created = created.expect(201);
    assert_eq!(created.header("cache-control"), Some("no-store"));
    let own = world.of(&created.json());
    let rotated = own
        .admin(Method::POST, &own.admin_path("/tokens"), json!({}))
        .await;
    assert_eq!(
        rotated.expect(201).header("cache-control"),
        Some("no-store")
    );
    let webhook = own.admin_get(&own.admin_path("/webhook")).await.expect(200);
    assert_eq!(webhook.header("cache-control"), Some("no-store"));
    let shown = own.admin_get(&own.admin_path("")).await.expect(200);
    assert_eq!(shown.header("cache-control"), None);
}

#[tokio::test]
async fn if_match_applies_to_changes_and_deletions_of_a_directory() {
    let world = World::new().await;
    let own = world.directory_of("acme", "crm").await;
    own.get("/Users?count=0").await.expect(200);
    own.events().await;
    let send = |method: Method, tag: &'static str, body: Value| {
        let mut request = own.admin_request(method, &own.admin_path(""), &body);
        let tag = tag.parse().unwrap();
        request.headers_mut().insert("if-match", tag);
        own.send(request)
    };
    let name = |name: &str| json!({"name": name});
    send(Method::PATCH, "W/\"1\"", name("A")).await.expect(200);
    send(Method::PATCH, "W/\"1\"", name("B")).await.expect(412);
    send(Method::DELETE, "W/\"1\"", Value::Null)
        .await
        .expect(412);
    // Nothing was changed: its token is there, in every process.
    own.cold().await.get("/Users?count=0").await.expect(200);
    assert_eq!(
        own.admin_get(&own.admin_path("")).await.json()["status"],
        "active"
    );
    assert_eq!(own.events().await.len(), 1);
    send(Method::DELETE, "W/\"2\"", Value::Null)
        .await
        .expect(202);
    own.cold().await.get("/Users?count=0").await.expect(401);
    let ends = own.events().await;
    assert_eq!(ends.last().unwrap()["detail-type"], "directory.deleted");
}

#[tokio::test]
async fn a_name_in_the_form_of_a_digest_key_does_not_collide() {
    use sha2::{Digest, Sha256};
    let world = World::new().await;
    let long = "a".repeat(600);
    let digest = Sha256::digest(long.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let forged = format!("{}~{digest}", "a".repeat(447));
    for name in [&long, &forged] {
        let new = json!({"userName": name});
        let id = world.post("/Users", &new).await.expect(201).id();
        world.post("/Users", &new).await.expect(409);
        let path = format!("/Users?filter=userName%20eq%20%22{name}%22");
        let found = world.get(&path).await.expect(200).json();
        assert_eq!(found["totalResults"], 1);
        assert_eq!(found["Resources"][0]["id"], id);
    }
}

/// "TransactWriteItems", Amazon DynamoDB API Reference: 4 MB. What does not fit is refused before the group is marked.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_too_large_for_a_transaction_writes_nothing() {
    let world = World::new().await;
    let name = "g".repeat(65_000);
    let path = group(&world, &name, &[]).await;
    let ids = (0..60_000).map(|n| json!({"value": format!("{n:08x}-0000-4000-8000-000000000000")}));
    let remove = json!([{"op": "remove", "path": "members", "value": ids.collect::<Vec<_>>()}]);
    world.cloud.take_requests();
    let answer = world.patch(&path, remove).await;
    assert_eq!(answer.status, 413);
    let error = answer.json();
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.contains("at most 4000000"), "{detail}");
    let writes = world.cloud.take_requests();
    assert_eq!(writes.write_units(), 0.0);
    let rename = json!([{"op": "replace", "path": "displayName", "value": "short"}]);
    world.patch(&path, rename).await.expect(200);
}

/// A part of the address may be a secret (webhooks of chat programs have theirs there).
#[tokio::test]
async fn a_webhook_url_is_shown_to_keys_that_may_change_it() {
    let world = World::new().await;
    let new = json!({
        "tenant": "acme", "product": "crm", "name": "Acme", "provider": "okta-scim-v2",
        "webhook": {"url": "https://hooks.example.com:8443/T1/hidden-path?key=hidden-key"},
    });
    let created = world.admin(Method::POST, "/v1/directories", new).await;
    let created = created.expect(201).json();
    let own = world.of(&created);
    let whole = "https://hooks.example.com:8443/T1/hidden-path?key=hidden-key";
    assert_eq!(created["webhook"]["url"], whole);
    assert_eq!(
        own.admin_get(&own.admin_path("")).await.json()["webhook"]["url"],
        whole
    );
    let reader = world.key("reader", json!({"access": "read"})).await;
    for path in [own.admin_path(""), "/v1/directories?tenant=acme".to_owned()] {
        let shown = world.by(&reader, Method::GET, &path, &Value::Null).await;
        let shown = shown.expect(200).json().to_string();
        assert!(
            shown.contains("https://hooks.example.com:8443\""),
            "{shown}"
        );
        assert!(!shown.contains("hidden"), "{shown}");
    }
    let name = json!({"name": "Acme Inc."});
    own.admin(Method::PATCH, &own.admin_path(""), name)
        .await
        .expect(200);
    own.admin(Method::DELETE, &own.admin_path(""), Value::Null)
        .await
        .expect(202);
    let events = own.events().await;
    assert_eq!(events.len(), 3);
    for event in events {
        let url = &event["detail"]["data"]["webhook"]["url"];
        assert_eq!(*url, "https://hooks.example.com:8443");
    }
}

/// RFC 7643 §4.1.1 with RFC 8265 §3.3: a name is compared without the blanks at its ends.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_differ_in_blanks_at_their_ends_are_the_same() {
    let world = World::new().await;
    let created = world.post("/Users", &json!({"userName": " cem"})).await;
    let path = format!("/Users/{}", created.expect(201).id());
    for name in ["cem", " cem", "cem ", "CEM"] {
        let taken = world.post("/Users", &json!({"userName": name})).await;
        taken.expect(409);
        let filter = format!(
            "/Users?filter=userName%20eq%20%22{}%22",
            name.replace(' ', "%20")
        );
        assert_eq!(
            world.get(&filter).await.json()["totalResults"],
            1,
            "{name:?}"
        );
    }
    let renamed = world.put(&path, &json!({"userName": "cem"})).await;
    renamed.expect(200);
    world
        .post("/Users", &json!({"userName": " cem"}))
        .await
        .expect(409);
    world.delete(&path).await.expect(204);
    world
        .post("/Users", &json!({"userName": " cem"}))
        .await
        .expect(201);
}
