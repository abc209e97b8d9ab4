//! Isolation of directories. Each route of `template.yaml` has an entry in [`CASES`]: requests without the right token,
//! and requests with the token of one directory and ids of another.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use axum::body::Bytes;
use directory::{NewDirectory, Provider, Settings};
use http::{Method, Request};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::harness::transcript;
use crate::harness::{Answer, HOST, USER, World, user};

/// Method, path and body. In both, `{base}` is the SCIM address of the directory that is asked, `{user}` and `{group}`
/// are ids of the other one, and `{own}` is a group of the directory itself.
type Sent = (&'static str, &'static str, &'static str);

/// What a request that names another directory's resource must come to.
#[derive(Clone, Copy, Debug)]
enum Foreign {
    /// 404.
    Unknown,
    /// 400.
    Refused,
    /// 200, and an empty list.
    Nothing,
    /// 200, and 404 for each operation.
    EachUnknown,
    /// 201, and a new id.
    Created,
}

struct RouteCase {
    /// The key of the route in the template.
    route: &'static str,
    /// A request for each method of each endpoint, answered 401 without the right token.
    requests: &'static [Sent],
    /// What the holder of one directory's token may try with the ids of another.
    foreign: &'static [(Sent, Foreign)],
}

const NEW_USER: &str = r#"{"userName": "new@example.com"}"#;
const NEW_GROUP: &str = r#"{"displayName": "New"}"#;
const RENAME: &str = r#"{"Operations": [{"op": "replace", "value": {"displayName": "New"}}]}"#;
const ADD_THEIRS: &str =
    r#"{"Operations": [{"op": "add", "path": "members", "value": [{"value": "{user}"}]}]}"#;
const WITH_THEIR_ID: &str =
    r#"{"id": "{user}", "userName": "new@example.com", "displayName": "New"}"#;
const WITH_THEIR_USER: &str = r#"{"displayName": "New", "members": [{"value": "{user}"}]}"#;
const WITH_THEIR_GROUP: &str =
    r#"{"displayName": "New", "members": [{"value": "{group}", "type": "Group"}]}"#;

const DELETE_THEIRS: &str = r#"{"Operations": [
    {"method": "DELETE", "path": "/Users/{user}"}, {"method": "DELETE", "path": "/Groups/{group}"}]}"#;
const RENAME_THEIRS: &str = r#"{"Operations": [
    {"method": "PUT", "path": "/Users/{user}", "data": {"userName": "new@example.com"}},
    {"method": "PATCH", "path": "/Groups/{group}", "data": {"Operations": [{"op": "replace", "value": {"displayName": "New"}}]}}]}"#;
const FIND_THEIR_GROUP: &str =
    r#"{"filter": "members.value eq \"{user}\" or displayName eq \"Theirs\""}"#;
const FIND_THEIRS: &str =
    r#"{"filter": "id eq \"{user}\" or id eq \"{group}\" or userName sw \"ann@theirs\""}"#;

/// An entry for each route. A new route needs a new entry.
const CASES: &[RouteCase] = &[
    RouteCase {
        route: "ANY /scim/v2/{directory}/Users",
        requests: &[
            ("GET", "{base}/Users", ""),
            ("POST", "{base}/Users", NEW_USER),
        ],
        foreign: &[
            (
                ("GET", "{base}/Users?filter=id%20eq%20%22{user}%22", ""),
                Foreign::Nothing,
            ),
            (
                (
                    "GET",
                    "{base}/Users?filter=userName%20eq%20%22ann@theirs.example%22",
                    "",
                ),
                Foreign::Nothing,
            ),
            (
                (
                    "GET",
                    "{base}/Users?filter=emails.value%20sw%20%22ann%22",
                    "",
                ),
                Foreign::Nothing,
            ),
            (
                (
                    "GET",
                    "{base}/Users?filter=groups.value%20eq%20%22{group}%22",
                    "",
                ),
                Foreign::Nothing,
            ),
            (("POST", "{base}/Users", WITH_THEIR_ID), Foreign::Created),
        ],
    },
    RouteCase {
        route: "ANY /scim/v2/{directory}/Users/{proxy+}",
        requests: &[
            ("GET", "{base}/Users/{user}", ""),
            ("PUT", "{base}/Users/{user}", NEW_USER),
            ("PATCH", "{base}/Users/{user}", RENAME),
            ("DELETE", "{base}/Users/{user}", ""),
            ("POST", "{base}/Users/.search", "{}"),
        ],
        foreign: &[
            (
                ("POST", "{base}/Users/.search", FIND_THEIRS),
                Foreign::Nothing,
            ),
            (("GET", "{base}/Users/{user}", ""), Foreign::Unknown),
            (("GET", "{base}/Users/{group}", ""), Foreign::Unknown),
            (("PUT", "{base}/Users/{user}", NEW_USER), Foreign::Unknown),
            (("PATCH", "{base}/Users/{user}", RENAME), Foreign::Unknown),
            (("DELETE", "{base}/Users/{user}", ""), Foreign::Unknown),
        ],
    },
    RouteCase {
        route: "ANY /scim/v2/{directory}/Groups",
        requests: &[
            ("GET", "{base}/Groups", ""),
            ("POST", "{base}/Groups", NEW_GROUP),
        ],
        foreign: &[
            (
                ("GET", "{base}/Groups?filter=id%20eq%20%22{group}%22", ""),
                Foreign::Nothing,
            ),
            (
                (
                    "GET",
                    "{base}/Groups?filter=displayName%20eq%20%22Theirs%22",
                    "",
                ),
                Foreign::Nothing,
            ),
            (
                (
                    "GET",
                    "{base}/Groups?filter=members.value%20eq%20%22{user}%22",
                    "",
                ),
                Foreign::Nothing,
            ),
            (("POST", "{base}/Groups", WITH_THEIR_USER), Foreign::Refused),
            (
                ("POST", "{base}/Groups", WITH_THEIR_GROUP),
                Foreign::Refused,
            ),
            (("POST", "{base}/Groups", WITH_THEIR_ID), Foreign::Created),
        ],
    },
    RouteCase {
        route: "ANY /scim/v2/{directory}/Groups/{proxy+}",
        requests: &[
            ("GET", "{base}/Groups/{group}", ""),
            ("PUT", "{base}/Groups/{group}", NEW_GROUP),
            ("PATCH", "{base}/Groups/{group}", RENAME),
            ("DELETE", "{base}/Groups/{group}", ""),
            ("POST", "{base}/Groups/.search", "{}"),
        ],
        foreign: &[
            (
                ("POST", "{base}/Groups/.search", FIND_THEIR_GROUP),
                Foreign::Nothing,
            ),
            (("GET", "{base}/Groups/{group}", ""), Foreign::Unknown),
            (("GET", "{base}/Groups/{user}", ""), Foreign::Unknown),
            (
                ("PUT", "{base}/Groups/{group}", NEW_GROUP),
                Foreign::Unknown,
            ),
            (("PATCH", "{base}/Groups/{group}", RENAME), Foreign::Unknown),
            (
                ("PATCH", "{base}/Groups/{group}", ADD_THEIRS),
                Foreign::Unknown,
            ),
            (("DELETE", "{base}/Groups/{group}", ""), Foreign::Unknown),
            (
                ("PATCH", "{base}/Groups/{own}", ADD_THEIRS),
                Foreign::Refused,
            ),
            (
                ("PUT", "{base}/Groups/{own}", WITH_THEIR_USER),
                Foreign::Refused,
            ),
            (
                ("PUT", "{base}/Groups/{own}", WITH_THEIR_GROUP),
                Foreign::Refused,
            ),
        ],
    },
    RouteCase {
        route: "ANY /scim/v2/{directory}/Bulk",
        requests: &[("POST", "{base}/Bulk", DELETE_THEIRS)],
        foreign: &[
            (("POST", "{base}/Bulk", DELETE_THEIRS), Foreign::EachUnknown),
            (("POST", "{base}/Bulk", RENAME_THEIRS), Foreign::EachUnknown),
        ],
    },
    RouteCase {
        route: "ANY /scim/v2/{directory}",
        requests: &[("GET", "{base}", "")],
        foreign: &[
            (
                ("GET", "{base}?filter=id%20eq%20%22{user}%22", ""),
                Foreign::Nothing,
            ),
            (
                ("GET", "{base}?filter=displayName%20sw%20%22Their%22", ""),
                Foreign::Nothing,
            ),
        ],
    },
    RouteCase {
        route: "ANY /scim/v2/{directory}/.search",
        requests: &[("POST", "{base}/.search", "{}")],
        foreign: &[(("POST", "{base}/.search", FIND_THEIRS), Foreign::Nothing)],
    },
    RouteCase {
        route: "$default",
        requests: &[
            ("GET", "{base}/ServiceProviderConfig", ""),
            ("GET", "{base}/ResourceTypes", ""),
            ("GET", "{base}/ResourceTypes/User", ""),
            ("GET", "{base}/Schemas", ""),
            (
                "GET",
                "{base}/Schemas/urn:ietf:params:scim:schemas:core:2.0:User",
                "",
            ),
        ],
        foreign: &[
            (("GET", "{base}/ResourceTypes/{user}", ""), Foreign::Unknown),
            (("GET", "{base}/Schemas/{group}", ""), Foreign::Unknown),
            (("GET", "{base}/{user}", ""), Foreign::Unknown),
        ],
    },
];

/// Two directories of one account: ours asks, theirs must not be seen.
struct Neighbours {
    ours: World,
    theirs: World,
    user: String,
    group: String,
    own: String,
}

fn new(name: &str) -> NewDirectory {
    NewDirectory {
        tenant: name.to_owned(),
        product: "crm".to_owned(),
        name: name.to_owned(),
        provider: Provider::Okta,
        settings: Settings::default(),
        webhook: None,
    }
}

impl Neighbours {
    async fn new() -> Neighbours {
        let ours = World::new().await;
        let theirs = ours.with_directory(new("theirs")).await;
        let user = theirs
            .post("/Users", &user("ann@theirs.example"))
            .await
            .expect(201)
            .id();
        let group = json!({"displayName": "Theirs", "members": [{"value": user}]});
        let group = theirs.post("/Groups", &group).await.expect(201).id();
        let own = ours.post("/Groups", &json!({"displayName": "Ours"})).await;
        let own = own.expect(201).id();
        ours.events().await;
        Neighbours {
            ours,
            theirs,
            user,
            group,
            own,
        }
    }

    fn filled(&self, text: &str, base: &str) -> String {
        text.replace("{base}", base)
            .replace("{user}", &self.user)
            .replace("{group}", &self.group)
            .replace("{own}", &self.own)
    }

    /// Sends a request to the directory of `to`, with an `Authorization` header or none.
    async fn send(
        &self,
        (method, path, body): Sent,
        to: &World,
        authorization: Option<&str>,
    ) -> Answer {
        let base = to.base();
        let mut request = Request::builder()
            .method(method)
            .uri(self.filled(path, &base))
            .header("host", HOST)
            .header("content-type", "application/scim+json");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let body = self.filled(body, &base);
        self.ours.send(request.body(body.into()).unwrap()).await
    }
}

impl World {
    /// The items of the table whose partition key begins with `prefix`, as text.
    async fn items(&self, prefix: &str) -> BTreeMap<String, String> {
        let client = Client::new(self.cloud.config());
        let table = &self.stack.template().table.name;
        let mut pages = client.scan().table_name(table).into_paginator().send();
        let mut items = BTreeMap::new();
        while let Some(page) = pages.next().await {
            for item in page.unwrap().items() {
                let key = |name: &str| item[name].as_s().unwrap().clone();
                if key("PK").starts_with(prefix) {
                    let attributes: BTreeMap<_, _> = item.iter().collect();
                    items.insert(
                        format!("{} {}", key("PK"), key("SK")),
                        format!("{attributes:?}"),
                    );
                }
            }
        }
        items
    }
}

#[tokio::test]
async fn every_route_has_an_isolation_case() {
    let near = Neighbours::new().await;
    let routes = &near.ours.stack.template().routes;
    let mut known: BTreeSet<&str> = CASES.iter().map(|case| case.route).collect();
    // The admin API has one route and many endpoints: `admin.rs` has a case for each.
    known.insert("ANY /v1/{proxy+}");
    for route in routes.iter() {
        assert!(
            known.contains(route.key.as_str()),
            "template.yaml has the route {}, and CASES in tests/it/tenant_isolation.rs has no entry for it: add one with a request \
             for each of its methods, which is 401 without a token, with a wrong one and with another directory's, and \
             with what somebody may try there with the ids of another directory's resources.",
            route.key
        );
    }
    for case in CASES {
        assert!(
            routes.iter().any(|route| route.key == case.route),
            "CASES has an entry for {}, which is not a route of template.yaml: remove it.",
            case.route
        );
        assert!(
            !case.requests.is_empty() && !case.foreign.is_empty(),
            "{}",
            case.route
        );
        let base = near.ours.base();
        let foreign = case.foreign.iter().map(|(sent, _)| sent);
        let mut methods: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (method, path, _) in case.requests.iter().chain(foreign) {
            let filled = near.filled(path, &base);
            let path_alone = filled.split('?').next().unwrap();
            let found = routes.find(&method.parse().unwrap(), path_alone).unwrap();
            assert_eq!(
                found.route.key, case.route,
                "{method} {path} goes elsewhere"
            );
        }
        for (method, path, _) in case.requests {
            methods.entry(path).or_default().insert(method);
        }
        // Each endpoint says itself which methods it has.
        for (path, sent) in methods {
            let answer = near
                .send(("OPTIONS", path, ""), &near.ours, None)
                .await
                .expect(204);
            for method in answer.header("allow").unwrap().split(',') {
                assert!(
                    ["HEAD", "OPTIONS"].contains(&method) || sent.contains(method),
                    "{path} has the method {method}, and CASES has no request for it: add one."
                );
            }
        }
    }
}

#[tokio::test]
async fn without_the_right_token_every_route_is_401_and_changes_nothing() {
    let near = Neighbours::new().await;
    let before = near.ours.items("").await;
    let ours = format!("Bearer {}", near.ours.token);
    let theirs = format!("Bearer {}", near.theirs.token);
    // The response to a wrong token equals the response to another directory's token.
    let wrong = [
        "Bearer rollcall_0000000000000000000000000000000000000000000000000000000000000000",
        &ours[..ours.len() - 1],
        &format!("{ours}0"),
        &ours,
        &ours.to_uppercase(),
    ];
    for case in CASES {
        for &(method, path, body) in case.requests {
            for head in [false, true] {
                if head && method != "GET" {
                    continue;
                }
                let method = if head { "HEAD" } else { method };
                let sent = (method, path, body);
                let what = format!("{method} {path}");
                let none = near.send(sent, &near.theirs, None).await;
                assert_eq!(none.status, 401, "{what} without a token");
                assert_eq!(
                    none.header("www-authenticate"),
                    Some(r#"Bearer realm="scim""#),
                    "{what}"
                );
                let basic = near
                    .send(sent, &near.theirs, Some("Basic YW5uOnNlY3JldA=="))
                    .await;
                assert_eq!(basic.status, 401, "{what} with a password");
                for token in wrong {
                    let answer = near.send(sent, &near.theirs, Some(token)).await;
                    assert_eq!(answer.status, 401, "{what} with a wrong token");
                    let challenge = r#"Bearer realm="scim", error="invalid_token""#;
                    assert_eq!(answer.header("www-authenticate"), Some(challenge), "{what}");
                    assert_eq!(answer.header("content-type"), Some("application/scim+json"));
                    if !head {
                        assert_eq!(answer.json()["status"], "401", "{what}");
                        let told = String::from_utf8_lossy(&answer.body).into_owned();
                        assert!(
                            !told.contains(&near.user) && !told.contains("theirs"),
                            "{told}"
                        );
                    }
                }
                // With the right one there is an answer, so that it was the token that was missing.
                if ["GET", "HEAD"].contains(&method) {
                    near.send(sent, &near.theirs, Some(&theirs))
                        .await
                        .expect(200);
                }
            }
        }
    }
    assert_eq!(near.ours.items("").await, before);
    assert_eq!(near.ours.events().await, Vec::<Value>::new());
}

#[tokio::test]
async fn no_route_shows_or_changes_another_directory() {
    let near = Neighbours::new().await;
    let before = near.ours.items(&near.theirs.directory).await;
    assert!(before.len() > 5, "{before:?}");
    let ours = format!("Bearer {}", near.ours.token);
    for case in CASES {
        for &(sent, expected) in case.foreign {
            let answer = near.send(sent, &near.ours, Some(&ours)).await;
            let what = format!("{} {} {}", sent.0, sent.1, sent.2);
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            for theirs in ["ann@theirs", "Archer", "Theirs"] {
                assert!(!told.contains(theirs), "{what}: {told}");
            }
            match expected {
                Foreign::Unknown => assert_eq!(answer.status, 404, "{what}: {told}"),
                Foreign::Refused => assert_eq!(answer.status, 400, "{what}: {told}"),
                Foreign::Nothing => {
                    assert_eq!(answer.status, 200, "{what}: {told}");
                    assert_eq!(answer.json()["totalResults"], 0, "{what}: {told}");
                }
                Foreign::EachUnknown => {
                    assert_eq!(answer.status, 200, "{what}: {told}");
                    for outcome in answer.json()["Operations"].as_array().unwrap() {
                        assert_eq!(outcome["status"], "404", "{what}: {told}");
                    }
                }
                Foreign::Created => {
                    assert_eq!(answer.status, 201, "{what}: {told}");
                    assert_ne!(answer.id(), near.user, "{what}");
                }
            }
            let after = near.ours.items(&near.theirs.directory).await;
            assert_eq!(after, before, "{what}");
        }
    }
    for event in near.ours.events().await {
        assert_eq!(
            event["detail"]["directory_id"],
            near.ours.directory.as_str()
        );
        assert_eq!(event["detail"]["tenant"], "demo");
    }
}

/// What a body says of who and where it is changes neither.
#[tokio::test]
async fn ids_in_a_body_are_ignored() {
    let near = Neighbours::new().await;
    let before = near.ours.items(&near.theirs.directory).await;
    let claims = json!({
        "id": near.user,
        "meta": {
            "resourceType": "Group", "created": "2001-01-01T00:00:00Z", "lastModified": "2001-01-01T00:00:00Z",
            "location": format!("http://{HOST}{}/Users/{}", near.theirs.base(), near.user), "version": "W/\"99\"",
        },
        "groups": [{"value": near.group, "display": "Theirs"}],
        "directory": near.theirs.directory, "directory_id": near.theirs.directory,
        "tenant": "theirs", "product": "theirs", "PK": near.theirs.directory, "SK": near.user,
    });
    let claiming = |resource: Value| {
        let mut resource = resource;
        let members = resource.as_object_mut().unwrap();
        members.extend(claims.as_object().unwrap().clone());
        resource
    };
    let check = |answer: &Answer| {
        let body = answer.json();
        let id = body["id"].as_str().unwrap();
        assert_ne!(id, near.user);
        let meta = &body["meta"];
        assert!(meta["created"].as_str().unwrap().starts_with("2026-"));
        assert!(meta["lastModified"].as_str().unwrap().starts_with("2026-"));
        let location = meta["location"].as_str().unwrap();
        assert!(location.contains(&near.ours.directory) && location.ends_with(id));
        assert_eq!(answer.header("location"), Some(location));
        assert!(meta["version"].as_str().unwrap() < "W/\"9");
        let told = body.to_string().to_lowercase();
        assert!(!told.contains("theirs") && !told.contains(&near.theirs.directory));
        assert!(!told.contains(&near.group) && !told.contains(&near.user));
        id.to_owned()
    };
    let bob = near
        .ours
        .post("/Users", &claiming(user("bob@example.com")))
        .await
        .expect(201);
    let bob = format!("/Users/{}", check(&bob));
    let group = claiming(json!({"displayName": "New"}));
    let group = near.ours.post("/Groups", &group).await.expect(201);
    let group = format!("/Groups/{}", check(&group));
    check(
        &near
            .ours
            .put(&bob, &claiming(user("bob@example.com")))
            .await
            .expect(200),
    );
    let renamed = claiming(json!({"displayName": "Renamed"}));
    check(&near.ours.put(&group, &renamed).await.expect(200));
    for path in [&bob, &group] {
        // An id that is not the resource's own is refused (C10).
        for operation in [
            json!({"op": "replace", "value": {"id": near.user}}),
            json!({"op": "replace", "path": "id", "value": near.user}),
            json!({"op": "replace", "path": "meta.version", "value": "W/\"99\""}),
        ] {
            let refused = near.ours.patch(path, json!([operation])).await.expect(400);
            assert_eq!(refused.json()["scimType"], "mutability");
        }
        let unknown = json!([{"op": "add", "value": {"tenant": "theirs", "directory_id": near.theirs.directory}}]);
        let answer = near.ours.patch(path, unknown).await;
        if answer.status == 200 {
            check(&answer);
        }
        check(&near.ours.get(path).await.expect(200));
    }
    assert_eq!(near.ours.items(&near.theirs.directory).await, before);
    let events = near.ours.events().await;
    assert!(events.len() >= 3);
    for event in events {
        assert_eq!(
            event["detail"]["directory_id"],
            near.ours.directory.as_str()
        );
        assert_eq!(event["detail"]["tenant"], "demo");
        let told = event.to_string();
        assert!(
            !told.contains("theirs") && !told.contains(&near.theirs.directory),
            "{told}"
        );
    }
}

/// One process serves many directories at once, and mixes nothing up.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_creates_stay_in_their_own_directories() {
    let world = Arc::new(World::new().await);
    let mut directories = vec![];
    for name in ["a", "b", "c", "d"] {
        let created = world.stack.gateway().create_directory(new(name)).await;
        let (directory, token) = created.unwrap();
        directories.push((name, directory.id.to_string(), token.expose().to_owned()));
    }
    let sent = |directory: &str, token: &str, method: Method, body: String| {
        Request::builder()
            .method(method)
            .uri(format!("/scim/v2/{directory}/Users"))
            .header("host", HOST)
            .header("authorization", format!("Bearer {token}"))
            .body(Bytes::from(body))
            .unwrap()
    };
    let mut creates = tokio::task::JoinSet::new();
    for n in 0..25 {
        for (name, directory, token) in &directories {
            // The same externalId in every directory, and a name that says where it belongs.
            let body = json!({"schemas": [USER], "userName": format!("{n}@{name}"), "externalId": n.to_string()});
            let request = sent(directory, token, Method::POST, body.to_string());
            let (world, directory) = (world.clone(), directory.clone());
            creates.spawn(async move {
                let answer = world.send(request).await.expect(201);
                assert!(answer.header("location").unwrap().contains(&directory));
            });
        }
    }
    while let Some(created) = creates.join_next().await {
        created.unwrap();
    }
    let mut ids = BTreeSet::new();
    for (name, directory, token) in &directories {
        let list = world
            .send(sent(directory, token, Method::GET, String::new()))
            .await;
        let list = list.expect(200).json();
        assert_eq!(list["totalResults"], 25);
        let users = list["Resources"].as_array().unwrap();
        assert_eq!(users.len(), 25);
        for user in users {
            assert!(
                user["userName"]
                    .as_str()
                    .unwrap()
                    .ends_with(&format!("@{name}"))
            );
            assert!(ids.insert(user["id"].as_str().unwrap().to_owned()));
        }
    }
    let mut events = world.events().await;
    events.retain(|event| event["detail-type"] == "user.created");
    assert_eq!(events.len(), 100);
    for event in events {
        let detail = &event["detail"];
        let (name, directory, _) = directories
            .iter()
            .find(|(_, directory, _)| detail["directory_id"] == directory.as_str())
            .unwrap();
        assert_eq!(detail["tenant"], *name);
        let user_name = detail["data"]["user_name"].as_str().unwrap();
        assert!(
            user_name.ends_with(&format!("@{name}")),
            "{user_name} in {directory}"
        );
    }
}

thread_local! {
    /// What this thread logged, if anybody wants to know.
    static LOGGED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes to [`LOGGED`]. A subscriber for all threads: what each of them logs depends on it, and a second one for a
/// single thread would miss what others have logged before.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| {
            if let Some(logged) = logged {
                logged.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What this thread logged since the last time.
fn logged() -> String {
    let logged = LOGGED.replace(Some(vec![]));
    String::from_utf8(logged.unwrap_or_default()).unwrap()
}

/// A7: every transcript is played, and everything that comes of it is searched: logs at the finest level that our code
/// has, answers with their headers, events, and the table.
#[tokio::test]
async fn tokens_are_in_no_log_answer_event_or_item() {
    let ours = [
        "users",
        "groups",
        "discovery",
        "bulk",
        "admin",
        "gateway",
        "directory",
        "publisher",
        "scim",
    ];
    let filter = ours.map(|package| format!("{package}=trace")).join(",");
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("info,{filter}")))
        .with_ansi(false)
        .with_writer(|| Log)
        .init();
    for file in transcript::files() {
        let name = file.display();
        let world = World::in_order().await;
        logged();
        let text = fs::read_to_string(&file).unwrap();
        let played = transcript::play(&text, &world).await;
        let requests = played
            .lines()
            .filter(|line| line.starts_with("> ") && line.contains(" /"));
        let logged = logged();
        assert!(
            logged.matches("answered").count() >= requests.count().max(1),
            "{name}: {logged}"
        );
        // Neither the token that is right nor one that was tried, and nothing of a person.
        for secret in [
            world.token.as_str(),
            "rollcall_",
            "ROLLCALL_",
            "Bearer",
            "@example.com",
            "t1meMa",
        ] {
            assert!(!logged.contains(secret), "{name}: {secret} was logged");
        }
        // In a transcript the token has a name; only requests may hold it.
        for line in played.lines().filter(|line| line.contains("{token}")) {
            assert!(line.starts_with("> "), "{name}: {line}");
        }
        let secret = world.token.strip_prefix("rollcall_").unwrap();
        assert!(
            !played.contains(secret),
            "{name}: a part of the token was answered"
        );
        for (key, item) in world.items("").await {
            assert!(!item.contains(secret), "{name}: the token is in {key}");
        }
    }
}
