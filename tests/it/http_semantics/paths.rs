//! Paths, segments and bytes of requests that are not well-formed.

use super::*;

/// RFC 3986 §2.2: what is encoded in a segment is data of it, and no id has it.
#[tokio::test]
async fn encoded_characters_in_a_segment_are_data() {
    let (world, endpoints) = endpoints().await;
    world.events().await;
    for collection in ["/Users", "/Groups"] {
        for nobody in [
            "%00", "%09", "%0A", "%20", "%23", "%3F", "%5C", "%25", "%7F", "%C2%85", "%2A",
        ] {
            is_scim_error(
                &world.get(&format!("{collection}/{nobody}")).await,
                404,
                None,
            );
        }
    }
    for (path, allowed) in &endpoints {
        if !allowed.contains("DELETE") {
            continue;
        }
        let before = world.get(path).await.body;
        for other in [
            "%3Fx", "%3Fx=", "%23x", "%23", "%20", "%09", "%00", "%5C", "%5C..", "%25", "%252e",
        ] {
            let path = format!("{path}{other}");
            is_scim_error(&world.get(&path).await, 404, None);
            let put = world
                .put(&path, &json!({"userName": "new", "displayName": "New"}))
                .await;
            is_scim_error(&put, 404, None);
            let operations = json!([{"op": "replace", "value": {"displayName": "New"}}]);
            is_scim_error(&world.patch(&path, operations).await, 404, None);
            is_scim_error(&world.delete(&path).await, 404, None);
        }
        assert_eq!(world.get(path).await.body, before);
    }
    for path in [
        format!("/Schemas/{USER}%3Fx"),
        "/ResourceTypes/User%23x".to_owned(),
    ] {
        is_scim_error(&world.get(&path).await, 404, None);
    }
    assert_eq!(world.events().await, Vec::<Value>::new());
}

/// Nothing leads from one directory, or one endpoint, to another.
#[tokio::test]
async fn dots_in_a_path_are_400() {
    let world = World::new().await;
    let other = world.with_settings(directory::Settings::default()).await;
    other
        .post("/Users", &user("ann@example.com"))
        .await
        .expect(201);
    for dots in [
        "..%2f..%2f",
        "..%2F../",
        "../../",
        "%2e%2e/%2E./",
        ".%2e%2f%2e.%2f",
    ] {
        let path = format!("/Users/{dots}{}%2fUsers", other.directory);
        // With the token of the other directory as well, for the path says that it is for this one.
        let mut request = other.request(Method::GET, "", "");
        *request.uri_mut() = format!("{}{path}", world.base()).parse().unwrap();
        for answer in [world.get(&path).await, other.send(request).await] {
            is_scim_error(&answer, 400, None);
        }
    }
    is_scim_error(&world.get("/Users/.").await, 400, None);
    let id = &world.directory;
    for path in [
        "/v1/directories/%2e%2e/directories".to_owned(),
        format!("/v1/directories/{id}/../{}/users", other.directory),
        format!("/v1/directories/{id}/..%2f{}%2fusers", other.directory),
        "/v1/./directories".to_owned(),
    ] {
        let answer = world.admin_get(&path).await.expect(400);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{path}"
        );
        assert!(answer.json()["detail"].as_str().unwrap().contains(".."));
    }
}

/// A base URL that was pasted with a slash at its end.
#[tokio::test]
async fn two_slashes_count_as_one() {
    let (world, mut endpoints) = endpoints().await;
    endpoints.push(("/.search".to_owned(), ""));
    endpoints.push(("/Nothing".to_owned(), ""));
    for (path, _) in &endpoints {
        let answer = world.get(path).await;
        for twice in [
            format!("/{path}"),
            path.replace('/', "//"),
            format!("//{path}//"),
        ] {
            let again = world.get(&twice).await;
            assert_eq!(
                (again.status, &again.body),
                (answer.status, &answer.body),
                "{twice}"
            );
        }
    }
    let bob = world
        .post("//Users", &user("bob@example.com"))
        .await
        .expect(201);
    let location = bob.header("location").unwrap();
    assert!(
        location.ends_with(&format!("{}/Users/{}", world.base(), bob.id())),
        "{location}"
    );
    world
        .post("//Bulk", &json!({"Operations": []}))
        .await
        .expect(200);
    world.admin_get("/v1//directories").await.expect(200);
}

/// Some bytes, most of which mean something in an address.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let syntax = select(b"?#%/\\. \t\0;=&+".to_vec());
    vec(prop_oneof![2 => syntax, 1 => any::<u8>()], 0..4)
}

/// What stands before an id and behind it, whether it is in upper case, and how much of it is there: mostly all.
fn around_an_id() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, bool, usize)> {
    let before = prop_oneof![2 => Just(vec![]), 1 => bytes()];
    let length = prop_oneof![3 => Just(36), 1 => 0..=36_usize];
    (before, bytes(), any::<bool>(), length)
}

/// Whatever the bytes of a path, a query or a header are, there is an answer, and it is not about another resource than
/// the one whose id stands in the path.
#[test]
fn no_bytes_reach_another_resource() {
    let runtime = Runtime::new().unwrap();
    let (world, ids) = runtime.block_on(async {
        let (world, endpoints) = endpoints().await;
        let ids: Vec<String> = endpoints[2..4]
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        (world, ids)
    });
    const NAMES: [&str; 10] = [
        "host",
        "if-match",
        "if-none-match",
        "accept",
        "authorization",
        "content-type",
        "content-encoding",
        "prefer",
        "cookie",
        "x-forwarded-proto",
    ];
    let inputs = (
        0..2_usize,
        around_an_id(),
        vec(any::<u8>(), 0..12),
        0..NAMES.len(),
        vec(any::<u8>(), 0..12),
    );
    let mut runner = TestRunner::new(Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    });
    let ran = runner.run(&inputs, |(which, segment, query, name, value)| {
        let (collection, id) = ids[which].rsplit_once('/').unwrap();
        let (before, after, uppercase, length) = segment;
        let id = if uppercase {
            id[..length].to_uppercase()
        } else {
            id[..length].to_owned()
        };
        let decoded = [&before[..], id.as_bytes(), &after[..]].concat();
        let mut request = world.request(Method::GET, "", "");
        let target = format!(
            "{}{collection}/{}?{}",
            world.base(),
            encoded(&decoded),
            encoded(&query)
        );
        *request.uri_mut() = target.parse().unwrap();
        let header = HeaderValue::from_bytes(&value);
        if let Ok(value) = &header {
            request.headers_mut().insert(NAMES[name], value.clone());
        }
        let answer = runtime.block_on(world.send(request));
        prop_assert!(answer.status.as_u16() < 500, "{}", answer.status);
        if answer.status == 200 && !decoded.is_empty() && decoded != b"/" {
            let asked = String::from_utf8_lossy(&decoded).to_lowercase();
            let shown = answer.json()["id"].as_str().map(str::to_owned);
            prop_assert_eq!(shown.as_deref(), Some(asked.trim_matches('/')));
        }
        // Nothing is deleted but what is named. Slashes around an id are no part of it.
        let named = String::from_utf8_lossy(&decoded).to_lowercase();
        if named.trim_matches('/') != ids[which].rsplit_once('/').unwrap().1 {
            let mut request = world.request(Method::DELETE, "", "");
            let target = format!("{}{collection}/{}", world.base(), encoded(&decoded));
            *request.uri_mut() = target.parse().unwrap();
            runtime.block_on(world.send(request));
            let still = runtime.block_on(world.get(&ids[which]));
            prop_assert_eq!(still.status.as_u16(), 200, "{}", target);
        }
        Ok(())
    });
    ran.unwrap();
}

/// Every byte but letters, digits and `-` encoded.
fn encoded(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Sends bytes as they are, and gives what comes back until the server closes the connection. After `patience` the client
/// closes its side, as the request may be cut and the server waits for the rest, and waits a little longer.
async fn raw(address: SocketAddr, bytes: &[u8], patience: Duration) -> String {
    const LONGER: Duration = Duration::from_secs(10);
    let mut connection = TcpStream::connect(address).await.unwrap();
    // The server may close it before it has read all.
    let _ = connection.write_all(bytes).await;
    let mut answer = vec![];
    let read = tokio::time::timeout(patience, connection.read_to_end(&mut answer)).await;
    if read.is_err() {
        let _ = connection.shutdown().await;
        let _ = tokio::time::timeout(LONGER, connection.read_to_end(&mut answer)).await;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// No bytes end the local server, or make anything in it panic: a function that does is answered 500, and in a release
/// build the process is gone.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_ends_the_local_server() {
    const ANSWERED: Duration = Duration::from_secs(30);
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(local::serve(
        world.stack.clone(),
        listener,
        |_| {},
        pending(),
    ));
    for host in [
        "127.0.0.1:99999",
        "a:b:c",
        "[::1",
        "a b",
        "me@localhost",
        "",
        "localhost:-1",
        "a/b",
        "a?b",
        "a#b",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(address, request.as_bytes(), ANSWERED).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{host}: {answer}");
    }
    for host in [
        "localhost",
        "127.0.0.1:8080",
        "[::1]:65535",
        "xn--",
        "xn--a.example.com",
        "a_b",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(address, request.as_bytes(), ANSWERED).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{host}: {answer}");
    }
    for target in [
        "*",
        "//",
        "/%",
        "/%00",
        "/%ff",
        "/..",
        "/scim/v2/%2e%2e/Users",
        "http://a:99999/",
        "/?\"",
        "/?%",
    ] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw(address, request.as_bytes(), ANSWERED).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{target}: {answer}");
    }
    // A request of which some bytes are others. It may be cut by that, and then the server waits for the rest.
    let bytes = format!(
        "POST {}/Users?a=b HTTP/1.1\r\nHost: localhost:80\r\nConnection: close\r\nX-Forwarded-Proto: https\r\nContent-Length: 2\r\n\r\n{{}}",
        world.base()
    );
    let changes = vec((0..bytes.len(), any::<u8>()), 0..6);
    let mut runner = TestRunner::deterministic();
    for _ in 0..300 {
        let mut bytes = bytes.clone().into_bytes();
        for (at, byte) in changes.new_tree(&mut runner).unwrap().current() {
            bytes[at] = byte;
        }
        let answer = raw(address, &bytes, Duration::from_millis(300)).await;
        let status = answer.get(9..10).unwrap_or("none");
        assert!(
            ["2", "3", "4", "none"].contains(&status),
            "{bytes:?}: {answer}"
        );
    }
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(address, request.as_bytes(), ANSWERED).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(!server.is_finished());
    server.abort();
}
