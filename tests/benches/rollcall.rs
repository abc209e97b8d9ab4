//! Speed, side by side in one run: `cargo bench -p tests`. The figures in docs/costs.md are from here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use divan::{Bencher, black_box};
use http::Request;
use local::{Cloud, FirstDirectory, Stack, StackOptions};
use scim::{Filter, Object, PatchOp, Resource, ResourceType};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
    // Like a benchmark of divan, but for the ratio: run by `cargo bench`, not by `cargo test`, and by its name.
    let mut arguments = std::env::args().skip(1);
    let benched = arguments.any(|argument| argument == "--bench");
    let wanted = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let mut wanted = wanted.peekable();
    if benched && (wanted.peek().is_none() || wanted.any(|name| SIZE_NAME.contains(&name))) {
        the_size_of_the_table();
    }
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn ann() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "ann@example.com",
        "name": {"givenName": "Ann", "familyName": "Archer"},
        "emails": [{"primary": true, "value": "ann@example.com", "type": "work"}],
        "displayName": "Ann Archer", "locale": "en-US", "externalId": "00u1ann", "groups": [], "password": "1mz050nq", "active": true,
    })
}

fn stored() -> Resource {
    ResourceType::user().read(object(ann()), None).unwrap()
}

/// From the bytes of a message to the resource it makes.
fn patch(bencher: Bencher, body: &Value) {
    let (user, stored, body) = (ResourceType::user(), stored(), body.to_string());
    bencher.bench(|| {
        let body = scim::json::parse(black_box(body.as_bytes())).unwrap();
        PatchOp::parse(body, user)
            .unwrap()
            .apply(user, &stored, "2819c223")
            .unwrap()
    });
}

#[divan::bench]
fn patch_deactivate_as_okta(bencher: Bencher) {
    let operations = json!([{"op": "replace", "value": {"active": false}}]);
    patch(
        bencher,
        &json!({"schemas": [scim::PATCH_OP_SCHEMA], "Operations": operations}),
    );
}

#[divan::bench]
fn patch_five_attributes_as_entra(bencher: Bencher) {
    let operations = json!([
        {"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "anna@example.com"},
        {"op": "Replace", "path": "name.familyName", "value": "Baker"},
        {"op": "Add", "path": "phoneNumbers[type eq \"work\"].value", "value": "215-555-0100"},
        {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "Finance"},
        {"op": "Replace", "path": "active", "value": "False"},
    ]);
    patch(
        bencher,
        &json!({"schemas": [scim::PATCH_OP_SCHEMA], "Operations": operations}),
    );
}

#[divan::bench(args = [
    "userName eq \"ann@example.com\"",
    "emails[type eq \"work\" and value ew \"@example.com\"] and not (active eq false or meta.lastModified lt \"2026-01-01T00:00:00Z\")",
])]
fn filter_parse(filter: &str) -> Filter {
    Filter::parse(black_box(filter)).unwrap()
}

#[divan::bench]
fn user_read(bencher: Bencher) {
    let body = ann().to_string();
    bencher.bench(|| {
        let body = scim::json::parse(black_box(body.as_bytes())).unwrap();
        ResourceType::user().read(body, None).unwrap()
    });
}

/// The product on one machine, with its embedded table in memory.
struct Deployed {
    runtime: Runtime,
    stack: Stack,
    directory: FirstDirectory,
}

impl Deployed {
    fn new() -> Deployed {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (stack, directory) = runtime.block_on(async {
            let stack = Stack::start(Cloud::in_memory().unwrap(), StackOptions::default())
                .await
                .unwrap();
            let directory = stack.first_directory().await.unwrap();
            (stack, directory)
        });
        Deployed {
            runtime,
            stack,
            directory,
        }
    }

    fn send(&self, method: &str, path: &str, body: String) -> u16 {
        self.ask(method, path, body).0
    }

    fn ask(&self, method: &str, path: &str, body: String) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/scim/v2/{}{path}", self.directory.id))
            .header("authorization", format!("Bearer {}", self.directory.token))
            .header("content-type", "application/scim+json; charset=utf-8")
            .body(Bytes::from(body))
            .unwrap();
        let answer = self.runtime.block_on(self.stack.handle(request));
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        (answer.status().as_u16(), body)
    }
}

/// One POST, from the API Gateway event to the answer: token, validation, one transaction of six items, event included.
#[divan::bench]
fn create_through_the_router(bencher: Bencher) {
    let deployed = Deployed::new();
    let number = AtomicU64::new(0);
    bencher
        .with_inputs(|| {
            let mut user = ann();
            user["userName"] = json!(format!(
                "ann{}@example.com",
                number.fetch_add(1, Ordering::Relaxed)
            ));
            user.to_string()
        })
        .bench_local_values(|body| assert_eq!(deployed.send("POST", "/Users", body), 201));
}

/// The look-up that Okta makes before each assignment.
#[divan::bench]
fn look_up_through_the_router(bencher: Bencher) {
    let deployed = Deployed::new();
    assert_eq!(deployed.send("POST", "/Users", ann().to_string()), 201);
    let path = "/Users?filter=userName%20eq%20%22ann@example.com%22&startIndex=1&count=100";
    bencher.bench_local(|| assert_eq!(deployed.send("GET", path, String::new()), 200));
}

/// Groups of several sizes in one directory, and a user who is in none of them.
struct Groups {
    deployed: Deployed,
    one: String,
    paths: Vec<(usize, String)>,
}

const SIZES: [usize; 4] = [10, 1_000, 10_000, 50_000];

/// Made once, for all sizes side by side.
static GROUPS: LazyLock<Mutex<Groups>> = LazyLock::new(|| {
    let deployed = Deployed::new();
    let create = |path: &str, body: Value| -> String {
        let (status, answer) = deployed.ask("POST", path, body.to_string());
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    };
    let ids: Vec<String> = (0..=SIZES[3])
        .map(|n| create("/Users", json!({"userName": format!("u{n}")})))
        .collect();
    let paths = SIZES.map(|size| {
        let members: Vec<Value> = ids[1..=size]
            .iter()
            .map(|id| json!({"value": id}))
            .collect();
        let group = json!({"displayName": format!("g{size}"), "members": members});
        (size, format!("/Groups/{}", create("/Groups", group)))
    });
    Mutex::new(Groups {
        one: ids[0].clone(),
        paths: paths.to_vec(),
        deployed,
    })
});

impl Groups {
    /// Sends a PATCH about the one user to the group of that size, as Okta does.
    fn patch(&self, size: usize, add: bool) {
        let (_, path) = self.paths.iter().find(|(of, _)| *of == size).unwrap();
        let operation = if add {
            json!({"op": "add", "path": "members", "value": [{"value": self.one}]})
        } else {
            json!({"op": "remove", "path": format!("members[value eq \"{}\"]", self.one)})
        };
        let body = json!({"schemas": [scim::PATCH_OP_SCHEMA], "Operations": [operation]});
        let status = self.deployed.send("PATCH", path, body.to_string());
        assert!([200, 204].contains(&status), "{status}");
    }
}

/// One member added to a group of that size. Small ones answer with their members, which are known.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 200)]
fn add_one_member_through_the_router(bencher: Bencher, size: usize) {
    let groups = GROUPS.lock().unwrap();
    bencher
        .with_inputs(|| groups.patch(size, false))
        .bench_local_values(|()| groups.patch(size, true));
}

/// One member removed from a group of that size.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 200)]
fn remove_one_member_through_the_router(bencher: Bencher, size: usize) {
    let groups = GROUPS.lock().unwrap();
    bencher
        .with_inputs(|| groups.patch(size, true))
        .bench_local_values(|()| groups.patch(size, false));
}

const SIZE_NAME: &str = "the_size_of_the_table";

/// A PATCH and a creation in directories of 1,000 and of 100,000 users, one after the other in turns, so that what else
/// the machine does slows all of them alike. All users were created within the last minutes, as an import does it, so
/// the tokens of 100,000 transactions are kept.
fn the_size_of_the_table() {
    const USERS: [usize; 2] = [1_000, 100_000];
    const ROUNDS: usize = 500;
    let directories = USERS.map(|users| {
        let deployed = Deployed::new();
        let ids = deployed.import(users);
        (deployed, ids)
    });
    let mut times: [[Vec<Duration>; 2]; 2] = Default::default();
    for round in 0..ROUNDS {
        for (size, (deployed, ids)) in directories.iter().enumerate() {
            // Far from each other, and none twice.
            let id = &ids[round * (ids.len() / ROUNDS)];
            let operations = json!([{"op": "replace", "value": {"title": format!("{round}")}}]);
            let patch = json!({"schemas": [scim::PATCH_OP_SCHEMA], "Operations": operations});
            let create = json!({"userName": format!("new{round}@example.com")});
            let requests = [
                ("PATCH", format!("/Users/{id}"), patch, 200),
                ("POST", "/Users".to_owned(), create, 201),
            ];
            for (kind, (method, path, body, expected)) in requests.into_iter().enumerate() {
                let body = body.to_string();
                let begun = Instant::now();
                let status = deployed.send(method, &path, body);
                times[kind][size].push(begun.elapsed());
                assert_eq!(status, expected);
            }
        }
    }
    println!("{SIZE_NAME}: medians of {ROUNDS}");
    for (kind, name) in ["PATCH", "create"].into_iter().enumerate() {
        let [small, large] = &mut times[kind];
        let [small, large] = [small, large].map(|times| {
            times.sort_unstable();
            times[ROUNDS / 2].as_secs_f64() * 1_000.0
        });
        let ratio = large / small;
        println!(
            "  {name}: {small:.2} ms at {} users, {large:.2} ms at {}: {ratio:.2} times",
            USERS[0], USERS[1]
        );
    }
}

impl Deployed {
    /// Creates users by bulk requests, and gives their ids.
    fn import(&self, users: usize) -> Vec<String> {
        // Few enough for the time that a bulk request has, on a slow machine as well.
        const AT_ONCE: usize = 200;
        let mut ids = Vec::with_capacity(users);
        for begin in (0..users).step_by(AT_ONCE) {
            let operations: Vec<Value> = (begin..begin + AT_ONCE)
                .map(|number| {
                    let mut user = ann();
                    user["userName"] = json!(format!("ann{number}@example.com"));
                    user["externalId"] = json!(format!("00u{number}"));
                    user["emails"][0]["value"] = json!(format!("ann{number}@example.com"));
                    json!({"method": "POST", "path": "/Users", "bulkId": number.to_string(), "data": user})
                })
                .collect();
            let (status, answer) = self.ask(
                "POST",
                "/Bulk",
                json!({"Operations": operations}).to_string(),
            );
            assert_eq!(status, 200, "{answer}");
            for outcome in answer["Operations"].as_array().unwrap() {
                assert_eq!(outcome["status"], "201", "{outcome}");
                let location = outcome["location"].as_str().unwrap();
                ids.push(location.rsplit('/').next().unwrap().to_owned());
            }
        }
        ids
    }
}
