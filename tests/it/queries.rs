//! How a query is read: pluses and blanks.

use std::future::pending;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, user};

/// How many resources a list has.
async fn total(world: &World, query: &str) -> Value {
    let list = world.get(query).await.expect(200).json();
    list["totalResults"].clone()
}

/// A client that writes its blanks as `%20` means a plus by `+`; one that writes none so means a blank.
#[tokio::test]
async fn a_plus_is_one_where_blanks_are_written_as_percent_20() {
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
        let list = world.look(&world.v1(&format!("/users?{query}"))).await;
        let list = list.expect(200).json();
        assert_eq!(list["data"][0]["user_name"], name, "{query}");
    }
}

/// The same by the local server, to which the bytes of a request come as they were sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_plus_is_one_over_http_too() {
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
