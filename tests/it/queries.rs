//! Query strings: plus signs, spaces, and parameters without a value.

use std::future::pending;

use axum::body::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{PATCH_OP, World, user};

/// How many resources a list has.
async fn total(world: &World, query: &str) -> Value {
    let list = world.get(query).await.expect(200).json();
    list["totalResults"].clone()
}

/// A client that writes its blanks as `%20` means a plus by `+`; one that writes none so means a blank.
#[tokio::test]
async fn a_plus_is_literal_if_the_query_encodes_spaces_as_percent_20() {
    let world = World::new().await;
    for name in ["ann+tag@example.com", "ann tag@example.com"] {
        world.post("/Users", &user(name)).await.expect(201);
    }
    for (query, name) in [
        (
            "filter=userName%20eq%20%22ann+tag@example.com%22",
            "ann+tag@example.com",
        ),
        (
            "filter=userName%20eq%20%22ann%2Btag@example.com%22",
            "ann+tag@example.com",
        ),
        (
            "filter=userName%20eq%20%22ann%20tag@example.com%22",
            "ann tag@example.com",
        ),
        (
            "filter=userName+eq+%22ann%2Btag@example.com%22",
            "ann+tag@example.com",
        ),
        (
            "filter=userName+eq+%22ann+tag@example.com%22",
            "ann tag@example.com",
        ),
        // The rule is about all of a query.
        (
            "filter=userName+eq+%22ann+tag@example.com%22&count=1",
            "ann tag@example.com",
        ),
        (
            "attributes=userName,%20emails&filter=emails.value%20eq%20%22ann+tag@example.com%22",
            "ann+tag@example.com",
        ),
        (
            "filter=emails[value%20eq%20%22ann+tag@example.com%22]",
            "ann+tag@example.com",
        ),
        ("filter=userName%20sw%20%22ann+%22", "ann+tag@example.com"),
    ] {
        for path in ["/Users", ""] {
            let list = world.get(&format!("{path}?{query}")).await;
            let list = list.expect(200).json();
            assert_eq!(list["totalResults"], 1, "{path}?{query}");
            assert_eq!(list["Resources"][0]["userName"], name, "{path}?{query}");
        }
    }
    let sales = json!({"displayName": "R+D Bern"});
    world.post("/Groups", &sales).await.expect(201);
    for query in [
        "filter=displayName%20eq%20%22R+D%20Bern%22",
        "filter=displayName+eq+%22R%2BD+Bern%22",
    ] {
        let path = format!("/Groups?{query}");
        assert_eq!(total(&world, &path).await, 1, "{query}");
    }
    // The admin API reads its queries in the same way.
    for (query, name) in [
        ("user_name=ann%2Btag@example.com", "ann+tag@example.com"),
        ("user_name=ann+tag@example.com", "ann tag@example.com"),
        ("user_name=ann%20tag@example.com", "ann tag@example.com"),
    ] {
        let list = world
            .admin_get(&world.admin_path(&format!("/users?{query}")))
            .await;
        let list = list.expect(200).json();
        assert_eq!(list["data"][0]["user_name"], name, "{query}");
    }
}

/// The same by the local server, to which the bytes of a request come as they were sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_plus_is_literal_over_http() {
    let world = World::new().await;
    world
        .post("/Users", &user("ann+tag@example.com"))
        .await
        .expect(201);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = local::serve(world.stack.clone(), listener, |_| {}, pending());
    let server = tokio::spawn(server);
    for (query, found) in [
        ("userName%20eq%20%22ann+tag@example.com%22", 1),
        ("userName+eq+%22ann%2Btag@example.com%22", 1),
        ("userName+eq+%22ann+tag@example.com%22", 0),
    ] {
        let request = format!(
            "GET {}/Users?filter={query} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            world.base(),
            world.token
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["totalResults"], found, "{query}");
    }
    server.abort();
}

/// A parameter without a value is as one that is not there, in a query and in a body alike.
#[tokio::test]
async fn an_empty_parameter_counts_as_absent() {
    let world = World::new().await;
    for name in ["ann@example.com", "bob@example.com"] {
        world.post("/Users", &user(name)).await.expect(201);
    }
    for endpoint in ["/Users", "/Groups", ""] {
        let all = world.get(endpoint).await.expect(200).body;
        for name in [
            "filter",
            "startIndex",
            "count",
            "sortBy",
            "sortOrder",
            "attributes",
            "excludedAttributes",
        ] {
            for empty in ["", "=", "=%20", "=+", "=%20%09"] {
                let path = format!("{endpoint}?{name}{empty}");
                assert_eq!(world.get(&path).await.expect(200).body, all, "{path}");
            }
            for empty in [json!(""), json!(null), json!([]), json!(" "), json!(" \t")] {
                let path = format!("{endpoint}/.search");
                let answer = world.post(&path, &json!({name: empty})).await;
                assert_eq!(answer.expect(200).body, all, "{path} {name} {empty}");
            }
        }
        // What is there beside them counts.
        let path =
            format!("{endpoint}?filter=&count=0&startIndex=&attributes=&excludedAttributes=id");
        let list = world.get(&path).await.expect(200).json();
        assert_eq!(list["itemsPerPage"], 0, "{path}");
        assert_eq!(list["startIndex"], 1, "{path}");
    }
    // An empty cursor asks for the first page by cursor (RFC 9865 §2.1), in both forms.
    let first = world.get("/Users?cursor=&startIndex=&count=1").await;
    let first = first.expect(200).json();
    assert!(first["nextCursor"].is_string(), "{first}");
    let body = json!({"cursor": "", "startIndex": "", "count": 1});
    let again = world.post("/Users/.search", &body).await.expect(200).json();
    assert_eq!(again["Resources"], first["Resources"]);
    for none in [json!(null), json!([])] {
        let body = json!({"cursor": none, "startIndex": 2});
        let list = world.post("/Users/.search", &body).await.expect(200).json();
        assert_eq!(list["startIndex"], 2);
    }
    // A resource, and the answer to a change of it.
    let ann = world.post("/Users", &user("eve@example.com")).await.id();
    let path = format!("/Users/{ann}");
    let whole = world.get(&path).await.body;
    for query in ["attributes=", "excludedAttributes=%20", "attributes"] {
        let answer = world.get(&format!("{path}?{query}")).await.expect(200);
        assert_eq!(answer.body, whole, "{query}");
    }
    for (query, status) in [
        ("attributes=", 204),
        ("attributes=%20", 204),
        ("attributes=id", 200),
    ] {
        let operations = json!([{"op": "replace", "path": "title", "value": query}]);
        let body = json!({"schemas": [PATCH_OP], "Operations": operations}).to_string();
        let mut request =
            world.request(Method::PATCH, &format!("{path}?{query}"), Bytes::from(body));
        let minimal = "return=minimal".parse().unwrap();
        request.headers_mut().insert("prefer", minimal);
        world.send(request).await.expect(status);
    }
    // What a service says of itself cannot be filtered, and an empty filter is none.
    for path in ["/Schemas", "/ResourceTypes", "/ServiceProviderConfig"] {
        for (query, status) in [("filter=", 200), ("filter=%20", 200), ("filter=x", 403)] {
            world.get(&format!("{path}?{query}")).await.expect(status);
        }
    }
}
