//! Limits of requests and responses that are too large for a transcript: each violation is a SCIM error, and nothing is
//! written.

use axum::body::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{Answer, PATCH_OP, USER, World, user};

/// The detail of a SCIM error with that status and type.
#[track_caller]
fn refused(answer: Answer, status: u16, scim_type: Option<&str>) -> String {
    let body = answer.expect(status).json();
    assert_eq!(
        body["schemas"],
        json!(["urn:ietf:params:scim:api:messages:2.0:Error"])
    );
    assert_eq!(body["status"], status.to_string());
    assert_eq!(body.get("scimType").and_then(Value::as_str), scim_type);
    body["detail"].as_str().unwrap().to_owned()
}

async fn post(world: &World, body: impl Into<Bytes>) -> Answer {
    world
        .send(world.request(Method::POST, "/Users", body))
        .await
}

async fn nothing_was_written(world: &World) {
    assert_eq!(
        world.get("/Users?count=0").await.expect(200).json()["totalResults"],
        0
    );
    assert_eq!(world.events().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_body_over_5_mb_is_413() {
    let world = World::new().await;
    let mut large = user("ann@example.com");
    large["nickName"] = json!("x".repeat(5 * 1024 * 1024));
    let mut request = world.request(Method::POST, "/Users", large.to_string());
    request
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    let detail = refused(world.send(request).await, 413, None);
    assert_eq!(detail, "The body is larger than 5242880 bytes.");
    // API Gateway hands application/scim+json over in Base64, which makes it larger than Lambda takes: its own 413.
    post(&world, large.to_string()).await.expect(413);
    nothing_was_written(&world).await;
}

#[tokio::test]
async fn a_user_over_64_kb_is_413() {
    let world = World::new().await;
    let mut large = user("ann@example.com");
    large["nickName"] = json!("x".repeat(64 * 1024));
    let detail = refused(post(&world, large.to_string()).await, 413, None);
    assert!(detail.contains("at most 65536 are kept"), "{detail}");
    nothing_was_written(&world).await;
}

#[tokio::test]
async fn the_largest_user_can_be_changed_and_announced() {
    let world = World::new().await;
    let mut large = user("ann@example.com");
    large["nickName"] = json!("\"".repeat(30_000));
    let id = world.post("/Users", &large).await.expect(201).id();
    large["nickName"] = json!("\\".repeat(30_000));
    world.put(&format!("/Users/{id}"), &large).await.expect(200);
    let events = world.events().await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["detail"]["changed"], json!(["nickName"]));
    assert_eq!(world.cloud.dead_letters(), vec![]);
}

#[tokio::test]
async fn more_than_40_addresses_are_refused() {
    let world = World::new().await;
    let addresses = |count: usize| {
        (0..count)
            .map(|n| json!({"value": format!("a{n}@example.com")}))
            .collect::<Vec<_>>()
    };
    let mut many = user("ann@example.com");
    many["emails"] = json!(addresses(41));
    let detail = refused(world.post("/Users", &many).await, 400, Some("invalidValue"));
    assert!(detail.starts_with("emails"), "{detail}");
    nothing_was_written(&world).await;
    // All 40 can be replaced by 40 others in one transaction.
    many["emails"] = json!(addresses(40));
    let id = world.post("/Users", &many).await.expect(201).id();
    let others: Vec<_> = (0..40)
        .map(|n| json!({"value": format!("b{n}@example.com")}))
        .collect();
    many["emails"] = json!(others);
    many["userName"] = json!("new@example.com");
    many["externalId"] = json!("new");
    world.put(&format!("/Users/{id}"), &many).await.expect(200);
    let found = world
        .get("/Users?filter=emails.value%20eq%20%22b39@example.com%22")
        .await
        .expect(200)
        .json();
    assert_eq!(found["totalResults"], 1);
}

#[tokio::test]
async fn json_nested_100_deep_is_400() {
    let world = World::new().await;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for depth in [100, 100_000] {
            let nested = format!(
                r#"{{"userName":"ann@example.com","x":{}1{}}}"#,
                open.repeat(depth),
                close.repeat(depth)
            );
            let detail = refused(post(&world, nested).await, 400, Some("invalidSyntax"));
            assert!(detail.contains("nested"), "{detail}");
        }
    }
    nothing_was_written(&world).await;
}

#[tokio::test]
async fn a_body_that_is_not_utf_8_is_400() {
    let world = World::new().await;
    let detail = refused(
        post(&world, &b"{\"userName\": \"\xff\xfe\"}"[..]).await,
        400,
        Some("invalidSyntax"),
    );
    assert!(detail.contains("UTF-8"), "{detail}");
    nothing_was_written(&world).await;
}

#[tokio::test]
async fn a_filter_of_10_kb_is_400() {
    let world = World::new().await;
    // API Gateway itself refuses a request line and headers over 10,240 bytes, so the longest filter is a little shorter.
    for filter in [
        format!("userName eq \"{}\"", "a".repeat(9_300)),
        format!("{}userName pr{}", "(".repeat(4_000), ")".repeat(4_000)),
        format!("not({}", "not(".repeat(2_000)),
        format!("userName pr{}", " and title pr".repeat(700)).replace(' ', "+"),
    ] {
        let answer = world
            .get(&format!(
                "/Users?filter={}",
                filter.replace(' ', "%20").replace('"', "%22")
            ))
            .await;
        if answer.status != 200 {
            let detail = refused(answer, 400, Some("invalidFilter"));
            assert!(detail.starts_with("filter: "), "{detail}");
        } else {
            // The first is long and simple: no user has that name.
            assert_eq!(answer.json()["totalResults"], 0);
        }
    }
    // A filter of more than 10,000 bytes can come in a PATCH.
    let id = world
        .post("/Users", &user("ann@example.com"))
        .await
        .expect(201)
        .id();
    let path = format!("emails[value eq \"{}\"].display", "a".repeat(10_240));
    let answer = world
        .patch(
            &format!("/Users/{id}"),
            json!([{"op": "replace", "path": path, "value": "x"}]),
        )
        .await;
    let detail = refused(answer, 400, Some("invalidPath"));
    assert!(detail.contains("too long"), "{detail}");
}

#[tokio::test]
async fn a_url_over_10_kb_is_refused_by_api_gateway_itself() {
    let world = World::new().await;
    let answer = world
        .get(&format!("/Users?filter={}", "a".repeat(11_000)))
        .await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn a_patch_of_too_many_operations_is_400_and_changes_nothing() {
    let world = World::new().await;
    let id = world
        .post("/Users", &user("ann@example.com"))
        .await
        .expect(201)
        .id();
    world.events().await;
    let operations: Vec<_> = (0..1_001)
        .map(|n| json!({"op": "replace", "path": "title", "value": n.to_string()}))
        .collect();
    let answer = world
        .patch(&format!("/Users/{id}"), json!(operations))
        .await;
    let detail = refused(answer, 400, Some("invalidSyntax"));
    assert!(detail.contains("1000"), "{detail}");
    assert_eq!(
        world.get(&format!("/Users/{id}")).await.header("etag"),
        Some("W/\"1\"")
    );
    assert_eq!(world.events().await, Vec::<Value>::new());
}

/// A page of large users is cut short, never refused and never cut in the middle (RFC 7644 §3.4.2.4 allows a short page).
#[tokio::test]
async fn a_page_that_would_pass_6_mb_is_shorter() {
    let world = World::new().await;
    let mut large = user("");
    large["nickName"] = json!("n".repeat(60_000));
    for n in 0..60 {
        large["userName"] = json!(format!("u{n}@example.com"));
        large["externalId"] = json!(n.to_string());
        world.post("/Users", &large).await.expect(201);
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut pages = 0;
    while seen.len() < 60 {
        let page = world
            .get(&format!("/Users?startIndex={}&count=100", seen.len() + 1))
            .await
            .expect(200)
            .json();
        assert_eq!(page["totalResults"], 60);
        let resources = page["Resources"].as_array().unwrap();
        assert_eq!(page["itemsPerPage"], resources.len());
        assert!(!resources.is_empty());
        for resource in resources {
            assert!(seen.insert(resource["id"].as_str().unwrap().to_owned()));
        }
        pages += 1;
    }
    assert_eq!(pages, 2);
}

/// A filter that nothing serves reads the directory within a budget, and says so when that is not enough (F16).
#[tokio::test]
async fn a_filter_that_reads_too_much_is_400_too_many() {
    let world = World::new().await;
    let mut large = user("");
    large["nickName"] = json!("n".repeat(64_000));
    large["emails"] = json!([{"value": "all@example.com"}]);
    for n in 0..1_060 {
        large["userName"] = json!(format!("u{n}@example.com"));
        large["externalId"] = json!(n.to_string());
        world.post("/Users", &large).await.expect(201);
    }
    let detail = refused(
        world.get("/Users?filter=title%20pr").await,
        400,
        Some("tooMany"),
    );
    assert!(detail.contains("userName"), "{detail}");
    let detail = refused(world.get("/Users?sortBy=title").await, 400, Some("tooMany"));
    assert!(detail.contains("cursor"), "{detail}");
    // A value that all of them have leads to as many.
    let shared = "/Users?filter=emails.value%20eq%20%22all@example.com%22";
    refused(world.get(shared).await, 400, Some("tooMany"));
    // By cursor it goes on in the next page, which may be empty (RFC 9865).
    let (mut cursor, mut pages) = (String::new(), 0);
    while {
        let path = format!("/Users?filter=title%20pr&cursor={cursor}");
        let page = world.get(&path).await.expect(200).json();
        assert_eq!(page["Resources"], json!([]));
        pages += 1;
        cursor = page["nextCursor"].as_str().unwrap_or_default().to_owned();
        !cursor.is_empty()
    } {}
    assert_eq!(pages, 2);
    // What has a pointer is found all the same.
    let found = world
        .get("/Users?filter=externalId%20eq%20%221001%22")
        .await
        .expect(200)
        .json();
    assert_eq!(found["totalResults"], 1);
}

/// A search by POST for users with any of 450 texts that no phone number has, or with a user name.
fn search_of_450_terms(more: Value) -> Value {
    let mut terms: Vec<String> = (0..450)
        .map(|n| format!("phoneNumbers.value co \"zz{n}\""))
        .collect();
    terms.push("userName pr".to_owned());
    let mut search = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "filter": terms.join(" or "),
        "attributes": ["userName"],
    });
    let more = more.as_object().unwrap().clone();
    search.as_object_mut().unwrap().extend(more);
    search
}

/// RFC 7644 §3.4.2: a filter that would compare more values than one request may is refused with `tooMany`, however few
/// bytes it reads. 40 users of 64 KB with 3,600 phone numbers each are 65 million comparisons for 450 terms.
#[tokio::test]
async fn a_filter_that_compares_too_much_is_400_too_many() {
    let world = World::new().await;
    let numbers: Vec<Value> = (0..3_600)
        .map(|n| json!({"value": format!("{n:04}")}))
        .collect();
    let mut users = std::collections::BTreeSet::new();
    for n in 0..40 {
        let mut large = user(&format!("u{n}@example.com"));
        large["phoneNumbers"] = json!(numbers);
        users.insert(world.post("/Users", &large).await.expect(201).id());
    }
    for (path, more) in [
        ("/Users/.search", json!({})),
        ("/Users/.search", json!({"sortBy": "title"})),
        ("/.search", json!({})),
    ] {
        let answer = world.post(path, &search_of_450_terms(more)).await;
        let detail = refused(answer, 400, Some("tooMany"));
        assert!(detail.contains("fewer comparisons"), "{detail}");
        assert!(detail.contains("userName"), "{detail}");
    }
    // By cursor a page ends where its budget ends, and its cursor leads on (RFC 9865).
    let (mut cursor, mut pages) = (String::new(), 0);
    while {
        let search = search_of_450_terms(json!({"cursor": cursor, "count": 1_000}));
        let page = world.post("/.search", &search).await.expect(200).json();
        for resource in page["Resources"].as_array().unwrap() {
            assert!(users.remove(resource["id"].as_str().unwrap()));
        }
        pages += 1;
        cursor = page["nextCursor"].as_str().unwrap_or_default().to_owned();
        !cursor.is_empty()
    } {}
    assert!(users.is_empty());
    assert!(pages > 1, "{pages}");
}

/// No byte string makes a function fail in another way than by a SCIM error.
#[tokio::test]
async fn malformed_bodies_and_queries_are_answered_with_scim_errors() {
    let world = World::new().await;
    let id = world
        .post("/Users", &user("ann@example.com"))
        .await
        .expect(201)
        .id();
    let bodies = [
        "",
        "null",
        "0",
        "[]",
        "{}",
        "\"",
        "{\"schemas\":null}",
        "{\"Operations\":[null]}",
        "{\"Operations\":[{}]}",
        "{\"userName\":{}}",
        "{\"emails\":{\"value\":\"x\"}}",
        "{\"emails\":[[]]}",
        "{\"name\":[]}",
        "{\"active\":1e999}",
        "{\"userName\":\"\\ud800\"}",
        "{\"meta\":7,\"userName\":\"b\"}",
        "{\"\":\"\"}",
        "{\"userName\":\"\\u0000\"}",
        "{\"Operations\":[{\"op\":\"add\",\"path\":\"\",\"value\":1}]}",
        "{\"Operations\":[{\"op\":\"remove\",\"path\":\"emails[\"}]}",
        "{\"Operations\":[{\"op\":\"add\",\"path\":\"emails[].value\",\"value\":1}]}",
        "{\"Operations\":[{\"op\":7}]}",
    ];
    for body in bodies {
        for (method, path) in [
            (Method::POST, "/Users".to_owned()),
            (Method::PUT, format!("/Users/{id}")),
            (Method::PATCH, format!("/Users/{id}")),
        ] {
            let answer = world.send(world.request(method.clone(), &path, body)).await;
            assert!(
                answer.status.as_u16() < 500,
                "{method} {body}: {}",
                answer.status
            );
            let schemas = &answer.json()["schemas"];
            assert!(
                schemas == &json!([USER]) || answer.status.is_client_error(),
                "{method} {body}: {schemas}"
            );
        }
    }
    for query in [
        "filter=%",
        "filter=%FF%FE",
        "filter=%00",
        "startIndex=99999999999999999999",
        "count=-99999999999999999999",
        "&&=&=",
        "filter",
        "attributes=,,,",
        "attributes=a.b.c.d",
        "excludedAttributes=%22",
    ] {
        let answer = world.get(&format!("/Users?{query}")).await;
        assert!(answer.status.as_u16() < 500, "{query}: {}", answer.status);
        answer.json();
    }
    let request = Request::builder()
        .method("PATCH")
        .uri(format!("{}/Users/{id}", world.base()))
        .header("authorization", "Bearer \u{7f}")
        .body(Bytes::from(PATCH_OP));
    assert!(request.is_err() || world.send(request.unwrap()).await.status == 401);
}

/// Okta asks for it (H14).
#[tokio::test]
async fn a_response_is_compressed_if_the_client_accepts_it() {
    let world = World::new().await;
    let plain = world.get("/Schemas").await.expect(200);
    assert_eq!(plain.header("content-encoding"), None);
    let mut request = world.request(Method::GET, "/Schemas", "");
    request
        .headers_mut()
        .insert("accept-encoding", "gzip,deflate".parse().unwrap());
    let compressed = world.send(request).await.expect(200);
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    assert_eq!(
        compressed.header("content-type"),
        Some("application/scim+json")
    );
    assert!(compressed.body.starts_with(&[0x1f, 0x8b]));
    assert!(compressed.body.len() * 4 < plain.body.len());
}
