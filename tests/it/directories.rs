//! Directories and their tokens, through the admin API.

mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use local::{Fault, Service};
use serde_json::{Value, json};

use crate::harness::{Answer, HOST, World, new_directory, user};

impl World {
    async fn create(&self, key: &str, body: &Value) -> Answer {
        let mut request = self.admin_request(Method::POST, "/v1/directories", body);
        request
            .headers_mut()
            .insert("idempotency-key", key.parse().unwrap());
        self.send(request).await
    }

    async fn rotate_under(&self, key: &str, body: Value) -> Answer {
        let mut request = self.admin_request(Method::POST, &self.admin_path("/tokens"), &body);
        request
            .headers_mut()
            .insert("idempotency-key", key.parse().unwrap());
        self.send(request).await
    }

    async fn rotate_token(&self, body: Value) -> String {
        let answer = self
            .admin(Method::POST, &self.admin_path("/tokens"), body)
            .await;
        answer.expect(201).json()["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn with_token(&self, token: &str) -> u16 {
        let mut request = self.request(Method::GET, "/Users?count=0", "");
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        self.send(request).await.status.as_u16()
    }

    async fn tokens(&self) -> Value {
        self.admin_get(&self.admin_path("/tokens"))
            .await
            .expect(200)
            .json()["data"]
            .clone()
    }

    /// How many directories there are besides the first one.
    async fn others(&self) -> usize {
        let list = self.admin_get("/v1/directories").await.expect(200).json();
        list["data"].as_array().unwrap().len() - 1
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["detail-type"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_admin_api_covers_the_lifecycle_of_a_directory() {
    let world = World::new().await;
    let answer = world
        .admin(
            Method::POST,
            "/v1/directories",
            new_directory("acme", "crm"),
        )
        .await
        .expect(201);
    let created = answer.json();
    let id = created["id"].as_str().unwrap();
    assert_eq!(
        answer.header("location"),
        Some(format!("/v1/directories/{id}").as_str())
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(created["base_url"], format!("http://{HOST}/scim/v2/{id}"));
    assert_eq!(created["status"], "active");
    assert_eq!(
        created["settings"],
        json!({"unique_group_names": false, "strict": false, "discovery": "full", "schemas": []})
    );
    assert!(created["token"].as_str().unwrap().starts_with("rollcall_"));
    assert!(created["setup"].as_array().unwrap().len() > 2);

    let acme = world.of(&created);
    acme.post("/Users", &user("ann@example.com"))
        .await
        .expect(201);

    // The token is never shown again.
    let read = world.admin_get(&acme.admin_path("")).await.expect(200);
    let mut expected = created.clone();
    expected.as_object_mut().unwrap().remove("token");
    assert_eq!(read.json(), expected);
    assert_eq!(read.header("etag"), Some("W/\"1\""));

    // Deactivated: 403 within a minute, and nothing is changed; the team still reads.
    let off = json!({"status": "inactive", "name": "Acme, on leave"});
    let changed = world
        .admin(Method::PATCH, &acme.admin_path(""), off.clone())
        .await
        .expect(200);
    assert_eq!(changed.json()["name"], "Acme, on leave");
    assert_eq!(changed.header("etag"), Some("W/\"2\""));
    world.wait(60);
    let refused = acme
        .post("/Users", &user("bob@example.com"))
        .await
        .expect(403);
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("deactivated")
    );
    let users = world
        .admin_get(&acme.admin_path("/users"))
        .await
        .expect(200)
        .json();
    assert_eq!(users["data"][0]["user_name"], "ann@example.com");
    // The same again changes nothing.
    let again = world
        .admin(Method::PATCH, &acme.admin_path(""), off)
        .await
        .expect(200);
    assert_eq!(again.header("etag"), Some("W/\"2\""));

    world
        .admin(
            Method::PATCH,
            &acme.admin_path(""),
            json!({"status": "active"}),
        )
        .await
        .expect(200);
    world.wait(60);
    acme.post("/Users", &user("bob@example.com"))
        .await
        .expect(201);

    let events = world.events().await;
    assert_eq!(
        types(&events),
        [
            "directory.created",
            "user.created",
            "directory.deactivated",
            "directory.activated",
            "user.created"
        ]
    );
    let detail = &events[2]["detail"];
    assert_eq!(detail["resource"], json!({"type": "Directory", "id": id}));
    assert_eq!(detail["version"], 2);
    assert_eq!(detail["data"]["status"], "inactive");
    let all = Value::from(events.clone()).to_string();
    assert!(!all.contains("rollcall_"), "{all}");
}

#[tokio::test]
async fn setup_instructions_depend_on_the_provider() {
    let world = World::new().await;
    for provider in [
        "okta-scim-v2",
        "azure-scim-v2",
        "onelogin-scim-v2",
        "jumpcloud-scim-v2",
        "ping-scim-v2",
        "generic-scim-v2",
    ] {
        let mut body = new_directory("acme", "crm");
        body["provider"] = json!(provider);
        let created = world
            .admin(Method::POST, "/v1/directories", body)
            .await
            .expect(201)
            .json();
        let base_url = created["base_url"].as_str().unwrap();
        assert_eq!(
            base_url.ends_with("?aadOptscim062020"),
            provider == "azure-scim-v2",
            "{base_url}"
        );
        assert!(!created["setup"].as_array().unwrap().is_empty());
    }
}

/// `discovery` is chosen at first, or later, and holds from then on.
#[tokio::test]
async fn the_discovery_setting_can_be_chosen_and_changed() {
    let world = World::new().await;
    let mut body = new_directory("acme", "crm");
    body["settings"] = json!({"discovery": "plain"});
    let created = world
        .admin(Method::POST, "/v1/directories", body)
        .await
        .expect(201)
        .json();
    assert_eq!(created["settings"]["discovery"], "plain");
    let own = world.of(&created);
    let etags = async |expected: bool| {
        // No process has read the directory yet.
        let cold = own.cold().await;
        let config = cold.get("/ServiceProviderConfig").await.expect(200);
        assert_eq!(config.header("etag").is_some(), expected);
        let config = config.json();
        assert_eq!(config["etag"]["supported"], expected);
        assert_eq!(config.get("pagination").is_some(), expected);
        let schemas = cold.get("/Schemas").await.expect(200).json();
        assert_eq!(schemas.to_string().contains("\"pagination\""), expected);
    };
    etags(false).await;
    for (discovery, expected) in [("full", true), ("plain", false)] {
        let change = json!({"settings": {"discovery": discovery}});
        let changed = own.admin(Method::PATCH, &own.admin_path(""), change).await;
        let changed = changed.expect(200).json();
        assert_eq!(changed["settings"]["discovery"], discovery);
        etags(expected).await;
    }
    // What is left out stays, and what is not known changes nothing.
    let strict = json!({"settings": {"strict": true}});
    own.admin(Method::PATCH, &own.admin_path(""), strict)
        .await
        .expect(200);
    let wrong = json!({"settings": {"discovery": "none"}});
    let refused = own.admin(Method::PATCH, &own.admin_path(""), wrong).await;
    let refused = refused.expect(422).json();
    assert_eq!(
        refused["errors"],
        json!([{"pointer": "/settings/discovery", "detail": "unknown variant `none`, expected `full` or `plain`"}])
    );
    let shown = own.admin_get(&own.admin_path("")).await.expect(200).json();
    assert_eq!(
        shown["settings"],
        json!({"unique_group_names": false, "strict": true, "discovery": "plain", "schemas": []})
    );
    // A strict directory says no more of itself either.
    etags(false).await;
    let cold = own.cold().await;
    let config = cold.get("/ServiceProviderConfig").await.expect(200).json();
    assert_eq!(config.get("interopProfileConformant"), None, "{config}");
}

/// What is wrong is named by where it stands, and nothing is created.
#[tokio::test]
async fn every_invalid_field_is_named() {
    let world = World::new().await;
    let good = new_directory("acme", "crm");
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let cases = [
        (
            json!({}),
            422,
            vec!["/tenant", "/product", "/name", "/provider"],
        ),
        (with("tenant", json!("")), 422, vec!["/tenant"]),
        (with("tenant", json!(" ")), 422, vec!["/tenant"]),
        (with("name", json!("a\u{0}b")), 422, vec!["/name"]),
        (
            with("product", json!("p".repeat(201))),
            422,
            vec!["/product"],
        ),
        (with("product", json!(1)), 422, vec!["/product"]),
        (with("provider", json!("okta")), 422, vec!["/provider"]),
        (with("settings", json!([])), 422, vec!["/settings"]),
        (
            with("settings", json!({"strict": "yes", "more/~": 1})),
            422,
            vec!["/settings/strict", "/settings/more~1~0"],
        ),
        (
            with("settings", json!({"discovery": "Plain"})),
            422,
            vec!["/settings/discovery"],
        ),
        (
            with("settings", json!({"discovery": null})),
            422,
            vec!["/settings/discovery"],
        ),
        // What the API gives is not the caller's to set, and what it does not know is not passed over.
        (with("id", json!("1")), 422, vec!["/id"]),
        (with("status", json!("inactive")), 422, vec!["/status"]),
        (with("token", json!("t")), 422, vec!["/token"]),
    ];
    for (body, status, pointers) in cases {
        let answer = world
            .admin(Method::POST, "/v1/directories", body.clone())
            .await
            .expect(status);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let problem = answer.json();
        let named: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(named, pointers, "{body}");
    }
    for body in ["{", "[]", "{\"tenant\": 1, \"tenant\": 2}"] {
        let mut request = world.admin_request(Method::POST, "/v1/directories", &json!({}));
        *request.body_mut() = body.into();
        world.send(request).await.expect(400);
    }
    let mut request = world.admin_request(Method::POST, "/v1/directories", &good);
    request
        .headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    world.send(request).await.expect(415);
    let large = with("name", json!("n".repeat(70_000)));
    world
        .admin(Method::POST, "/v1/directories", large)
        .await
        .expect(413);
    assert_eq!(world.others().await, 0);

    let path = world.admin_path("");
    for (body, pointer) in [
        (json!({"tenant": "other"}), "/tenant"),
        (json!({"status": "deleting"}), "/status"),
        (json!({"name": ""}), "/name"),
        (
            json!({"settings": {"unique_group_names": true}}),
            "/settings/unique_group_names",
        ),
    ] {
        let answer = world.admin(Method::PATCH, &path, body).await.expect(422);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer);
    }
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("cursor=x", "cursor"),
        ("tenat=a", "tenat"),
    ] {
        let answer = world
            .admin_get(&format!("/v1/directories?{query}"))
            .await
            .expect(400);
        assert_eq!(answer.json()["errors"][0]["parameter"], parameter);
    }
    world.admin_get("/v1/nothing").await.expect(404);
    world
        .admin(Method::PUT, "/v1/directories", good)
        .await
        .expect(405);
    assert_eq!(world.events().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_change_applies_to_the_version_it_was_decided_on() {
    let world = World::new().await;
    let change = |tag: &str, name: &str| {
        let mut request =
            world.admin_request(Method::PATCH, &world.admin_path(""), &json!({"name": name}));
        request
            .headers_mut()
            .insert("if-match", tag.parse().unwrap());
        request
    };
    world.send(change("W/\"1\"", "One")).await.expect(200);
    world.send(change("W/\"1\"", "Two")).await.expect(412);
    assert_eq!(
        world
            .admin_get(&world.admin_path(""))
            .await
            .expect(200)
            .json()["name"],
        "One"
    );

    // Changes of different members that meet are all kept, though the table is busy.
    let world = Arc::new(world);
    crate::harness::faults::busy(&world);
    let changes = [
        json!({"name": "Three"}),
        json!({"status": "inactive"}),
        json!({"settings": {"strict": true}}),
    ];
    let changes = changes.map(|change| {
        let world = world.clone();
        tokio::spawn(async move {
            world
                .admin(Method::PATCH, &world.admin_path(""), change)
                .await
                .expect(200)
        })
    });
    for change in changes {
        change.await.unwrap();
    }
    world.cloud.clear_faults();
    let now = world
        .admin_get(&world.admin_path(""))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&now["name"], &now["status"], &now["settings"]["strict"]),
        (&json!("Three"), &json!("inactive"), &json!(true))
    );
}

/// A client that did not get the answer sends the same again, and gets the directory and the token that there are.
#[tokio::test]
async fn a_repeated_creation_creates_nothing() {
    let world = World::new().await;
    let body = new_directory("acme", "crm");
    let first = world.create("k1", &body).await.expect(201);
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = world.create("k1", &body).await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json(), first.json());
    world
        .create("k1", &new_directory("acme", "erp"))
        .await
        .expect(422);
    assert_eq!(world.others().await, 1);
    assert_eq!(types(&world.events().await), ["directory.created"]);

    // A token that was rotated is not given away by an old request.
    let acme = world.of(&first.json());
    acme.rotate_token(json!({})).await;
    world.create("k1", &body).await.expect(409);

    // After a day the key may be used for something else.
    world.wait(24 * 60 * 60);
    let other = world.create("k1", &body).await.expect(201).json();
    assert_ne!(other["id"], first.json()["id"]);

    // And a directory that is gone is gone.
    world
        .admin(
            Method::DELETE,
            &world.of(&other).admin_path(""),
            Value::Null,
        )
        .await
        .expect(202);
    world.create("k1", &body).await.expect(409);
    for key in ["", &"k".repeat(256)] {
        world.create(key, &body).await.expect(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_with_one_key_create_one_directory() {
    let world = Arc::new(World::new().await);
    crate::harness::faults::busy(&world);
    let creates: Vec<_> = (0..10)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                world
                    .create("k", &new_directory("acme", "crm"))
                    .await
                    .expect(201)
                    .json()
            })
        })
        .collect();
    let mut made = BTreeSet::new();
    for create in creates {
        let created = create.await.unwrap();
        made.insert((created["id"].to_string(), created["token"].to_string()));
    }
    world.cloud.clear_faults();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(world.others().await, 1);
}

/// If a creation is interrupted between the directory and its token, the next request completes it.
#[tokio::test]
async fn an_interrupted_creation_is_completed_by_the_next_request() {
    let world = World::new().await;
    world
        .cloud
        .set_faults(|request| match request.operation.as_str() {
            "CreateSecret" => Fault::Error {
                status: 500,
                code: "InternalServiceError",
                message: "down",
            },
            _ => Fault::Pass,
        });
    world
        .create("k", &new_directory("acme", "crm"))
        .await
        .expect(503);
    world.cloud.clear_faults();
    let created = world
        .create("k", &new_directory("acme", "crm"))
        .await
        .expect(201)
        .json();
    world.of(&created).get("/Users").await.expect(200);
    assert_eq!(world.others().await, 1);

    // The same when the answer was lost, and not the request.
    world.cloud.set_faults(
        |request| match (request.operation.as_str(), request.number) {
            ("CreateSecret", 1) => Fault::DropAnswer,
            _ => Fault::Pass,
        },
    );
    let created = world
        .create("k2", &new_directory("acme", "crm"))
        .await
        .expect(201)
        .json();
    world.of(&created).get("/Users").await.expect(200);
}

#[tokio::test]
async fn directories_are_listed_in_pages() {
    let world = World::new().await;
    for tenant in 0..7 {
        for product in ["crm", "erp"] {
            world
                .directory_of(&format!("tenant {tenant}#E"), product)
                .await;
        }
    }
    world.directory_of("tenant 1#E", "crm").await;
    for (query, count) in [
        ("", 16),
        ("product=crm&", 8),
        ("tenant=tenant%201%23E&", 3),
        ("tenant=tenant%201%23E&product=crm&", 2),
        ("tenant=tenant%201&", 0),
        ("tenant=TENANT%201%23E&", 0),
        ("product=%23&", 0),
    ] {
        for limit in [1, 3, 100] {
            let mut seen = BTreeSet::new();
            let mut cursor = String::new();
            let mut pages = 0;
            loop {
                let path = format!("/v1/directories?{query}limit={limit}{cursor}");
                let page = world.admin_get(&path).await.expect(200).json();
                let data = page["data"].as_array().unwrap();
                assert!(data.len() <= limit);
                for directory in data {
                    assert!(directory.get("token").is_none());
                    assert!(seen.insert(directory["id"].to_string()));
                }
                pages += 1;
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(seen.len(), count, "{query}");
            assert!(
                pages <= count / limit + 1,
                "{pages} pages of {query}{limit}"
            );
        }
    }
    // A cursor is of its own list.
    let first = world
        .admin_get("/v1/directories?limit=1")
        .await
        .expect(200)
        .json();
    let cursor = first["next_cursor"].as_str().unwrap();
    world
        .admin_get(&format!("/v1/directories?product=crm&cursor={cursor}"))
        .await
        .expect(400);
}

/// Many requests of several directories go through one process, and each stays with its own.
#[tokio::test(flavor = "multi_thread")]
async fn concurrently_created_users_are_in_their_own_directories() {
    let world = World::new().await;
    let mut directories = vec![];
    for n in 0..4 {
        directories.push(Arc::new(world.directory_of(&format!("t{n}"), "crm").await));
    }
    let creates: Vec<_> = (0..100)
        .map(|n| {
            let own = directories[n % 4].clone();
            // The same names in each: they do not clash.
            let body = user(&format!("u{}@example.com", n / 4));
            tokio::spawn(async move {
                let id = own.post("/Users", &body).await.expect(201).id();
                (own.directory.clone(), id)
            })
        })
        .collect();
    let mut expected = BTreeSet::new();
    for create in creates {
        expected.insert(create.await.unwrap());
    }
    let mut found = BTreeSet::new();
    for own in &directories {
        let users = world
            .admin_get(&own.admin_path("/users?limit=200"))
            .await
            .expect(200)
            .json();
        for user in users["data"].as_array().unwrap() {
            found.insert((
                own.directory.clone(),
                user["id"].as_str().unwrap().to_owned(),
            ));
        }
    }
    assert_eq!(found, expected);
    for event in world.events().await {
        let (of, id) = (
            &event["detail"]["directory_id"],
            &event["detail"]["resource"]["id"],
        );
        let pair = (
            of.as_str().unwrap().to_owned(),
            id.as_str().unwrap().to_owned(),
        );
        assert!(event["detail-type"] == "directory.created" || expected.contains(&pair));
    }
}

/// What the main operations ask of AWS, in a process that knows the key.
#[tokio::test]
async fn directory_operations_cost_what_docs_say() {
    let world = World::new().await;
    world.admin_get("/v1/directories").await.expect(200);
    let path = world.admin_path("");
    let operations = async |method: Method, path: &str, body: Value| {
        world.cloud.take_requests();
        world.admin(method, path, body).await;
        let asked = world.cloud.take_requests();
        asked
            .operations()
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        operations(Method::GET, &path, Value::Null).await,
        ["GetItem"]
    );
    assert_eq!(
        operations(Method::GET, "/v1/directories", Value::Null).await,
        ["Query", "BatchGetItem"]
    );
    assert_eq!(
        operations(Method::POST, "/v1/directories", new_directory("a", "b")).await,
        ["TransactWriteItems", "CreateSecret"]
    );
    assert_eq!(
        operations(Method::PATCH, &path, json!({"name": "x"})).await,
        ["GetItem", "GetItem", "TransactWriteItems"]
    );
    assert_eq!(
        operations(Method::PATCH, &path, json!({"name": "x"})).await,
        ["GetItem", "GetItem"]
    );
    let rotate = operations(Method::POST, &format!("{path}/tokens"), json!({})).await;
    assert_eq!(
        rotate,
        [
            "GetItem",
            "GetSecretValue",
            "PutSecretValue",
            "UpdateSecretVersionStage",
            "GetSecretValue"
        ]
    );
    assert_eq!(
        operations(
            Method::DELETE,
            &format!("{path}/tokens/previous"),
            Value::Null
        )
        .await,
        [
            "GetItem",
            "GetSecretValue",
            "PutSecretValue",
            "UpdateSecretVersionStage",
            "GetSecretValue"
        ]
    );
    assert_eq!(
        operations(Method::GET, &format!("{path}/tokens"), Value::Null).await,
        ["GetItem", "GetSecretValue", "Query"]
    );
    assert_eq!(
        operations(Method::GET, &format!("{path}/users"), Value::Null).await,
        ["GetItem", "Query"]
    );
    assert_eq!(
        operations(Method::GET, &format!("{path}/events"), Value::Null).await,
        ["GetItem", "Query"]
    );
}
