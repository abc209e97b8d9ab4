//! Webhooks: settings, deliveries, and failed deliveries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use axum::body::Body;
use directory::EgressPolicy;
use gateway::Gateway;
use http::Method;
use http_body_util::BodyExt;
use local::Service;
use serde_json::{Value, json};
use tower::ServiceExt;
use webhooks::{Settings, TIMEOUT, Webhooks};

use crate::harness::endpoint::{Delivery, Endpoint};
use crate::harness::records::sqs_batch;
use crate::harness::{World, new_directory, user};

/// A shorter timeout than the one of the function, so that no test waits for long.
const SHORT: Duration = Duration::from_millis(200);

fn with_webhook(tenant: &str, url: &str) -> Value {
    let mut body = new_directory(tenant, "crm");
    body["webhook"] = json!({"url": url});
    body
}

impl World {
    /// A directory with a webhook, as it was answered, and its world.
    async fn connected(&self, tenant: &str, url: &str) -> (Value, World) {
        let body = with_webhook(tenant, url);
        let made = self.admin(Method::POST, "/v1/directories", body).await;
        let made = made.expect(201).json();
        let world = self.of(&made);
        (made, world)
    }

    async fn set_webhook(&self, webhook: Value) -> Value {
        let body = json!({ "webhook": webhook });
        let answer = self.admin(Method::PATCH, &self.admin_path(""), body).await;
        answer.expect(200).json()
    }

    /// What is delivered of what is on the bus.
    async fn deliver(&self) -> Vec<Value> {
        let events = self.events().await;
        self.stack.deliver().await.unwrap();
        events
    }

    /// The function, as it is where nothing is known yet, with another egress policy and timeout.
    fn webhooks(&self, egress: EgressPolicy, timeout: Duration) -> Webhooks {
        let settings = Settings {
            table: self.stack.template().table.name.clone(),
            secret_prefix: "rollcall/".to_owned(),
            post: webhooks::over_the_network(egress, timeout).unwrap(),
            clock: self.cloud.clock(),
            sleep: Arc::new(|_| Box::pin(async {})),
        };
        Webhooks::new(self.cloud.config(), settings)
    }
}

async fn failed(webhooks: &Webhooks, events: &[Value], times: u32) -> Vec<String> {
    let event: SqsEvent = serde_json::from_value(sqs_batch(events, times)).unwrap();
    let answer = webhooks.handle(event).await;
    let failures = answer.batch_item_failures.into_iter();
    failures.map(|failure| failure.item_identifier).collect()
}

#[tokio::test]
async fn events_are_delivered_as_logged_and_signed() {
    let world = World::new().await;
    let endpoint = Endpoint::start(&[204]).await;
    let url = format!("{}/hook?a=b", endpoint.url);
    let (made, acme) = world.connected("acme", &url).await;
    let secret = made["webhook"]["secret"].as_str().unwrap().to_owned();
    assert_eq!(
        made["webhook"],
        json!({"url": url, "created": "2026-01-01T00:00:00.000Z", "secret": secret})
    );
    let (_, umbrella) = (
        world.post("/Users", &user("no@webhook")).await.expect(201),
        world.directory_of("umbrella", "crm").await,
    );
    umbrella
        .post("/Users", &user("none@here"))
        .await
        .expect(201);
    let ann = acme
        .post("/Users", &user("ann@acme"))
        .await
        .expect(201)
        .id();
    let sales = json!({"displayName": "Sales", "members": [{"value": ann}]});
    acme.post("/Groups", &sales).await.expect(201);
    world.wait(5);
    let events = acme.deliver().await;
    events
        .iter()
        .for_each(crate::harness::event_schema::assert_matches);

    let came = endpoint.take();
    assert_eq!(came.len(), 4);
    world.wait(60);
    let log = world
        .admin_get(&acme.admin_path("/events"))
        .await
        .expect(200)
        .json();
    for logged in log["data"].as_array().unwrap() {
        let of_it = |delivery: &&Delivery| delivery.header("webhook-id") == logged["id"];
        let delivery = came.iter().find(of_it).unwrap();
        assert_eq!(&delivery.json(), logged);
        assert_eq!(delivery.path, "/hook?a=b");
        assert_eq!(delivery.header("content-type"), "application/json");
        assert_eq!(delivery.header("user-agent"), "Rollcall");
        assert_eq!(delivery.header("webhook-timestamp"), "1767225605");
        assert_eq!(
            delivery.header("webhook-signature"),
            delivery.signature(&secret)
        );
    }
    // Only the webhook's owner can know its secret.
    let (_, other) = world.connected("other", &url).await;
    let shown = world
        .admin_get(&other.admin_path("/webhook"))
        .await
        .expect(200)
        .json();
    assert_ne!(shown["secret"], secret);
    for text in [Value::from(events), log, came[0].json()] {
        assert!(!text.to_string().contains("whsec_"), "{text}");
    }
    assert!(world.cloud.dead_letters().is_empty());
}

#[tokio::test]
async fn a_webhook_is_set_changed_and_removed() {
    let world = World::new().await;
    let (one, two) = (Endpoint::start(&[200]).await, Endpoint::start(&[200]).await);
    let acme = world.directory_of("acme", "crm").await;
    let shown = async || {
        let answer = world.admin_get(&acme.admin_path("/webhook")).await;
        (answer.status.as_u16(), answer.json()["secret"].clone())
    };
    let create = async |name: &str| acme.post("/Users", &user(name)).await.expect(201);
    create("before@acme").await;
    acme.deliver().await;
    assert_eq!(shown().await.0, 404);

    // From the first event on, be the processes warm or not.
    let set = acme.set_webhook(json!({"url": one.url})).await;
    assert_eq!(
        set["webhook"],
        json!({"url": format!("{}/", one.url), "created": "2026-01-01T00:00:00.000Z"})
    );
    create("first@acme").await;
    acme.deliver().await;
    assert_eq!(one.types(), ["directory.updated", "user.created"]);
    let (status, secret) = shown().await;
    assert_eq!(status, 200);

    // A repeated request changes nothing: it may be the retry of a request whose response was lost.
    world.wait(1);
    let path = acme.admin_path("");
    let version = world
        .admin_get(&path)
        .await
        .header("etag")
        .unwrap()
        .to_owned();
    acme.set_webhook(json!({"url": one.url})).await;
    acme.admin(Method::PATCH, &path, json!({"name": "Acme"}))
        .await
        .expect(200);
    acme.admin(Method::PATCH, &path, json!({"name": "acme (crm)"}))
        .await
        .expect(200);
    assert_eq!(shown().await, (200, secret.clone()));
    assert_ne!(
        world.admin_get(&path).await.header("etag"),
        Some(version.as_str())
    );

    acme.set_webhook(json!({"url": two.url})).await;
    create("second@acme").await;
    acme.deliver().await;
    assert_eq!(
        (one.types().len(), two.types().len()),
        // Three changes of the directory, and the user.
        (0, 4)
    );
    let (_, other) = shown().await;
    assert_ne!(other, secret);

    // Removing and setting a webhook makes a new secret, in case the old one was lost.
    let gone = acme.set_webhook(Value::Null).await;
    assert_eq!(gone.get("webhook"), None);
    create("third@acme").await;
    acme.deliver().await;
    assert_eq!((one.take().len(), two.take().len()), (0, 0));
    world.wait(1);
    acme.set_webhook(json!({"url": two.url})).await;
    assert!(![secret, other].contains(&shown().await.1));
}

#[tokio::test]
async fn a_repeated_creation_shows_the_same_secret() {
    let world = World::new().await;
    let mut answers = vec![];
    for _ in 0..2 {
        let body = with_webhook("acme", "https://example.com/hook");
        let mut request = world.admin_request(Method::POST, "/v1/directories", &body);
        let headers = request.headers_mut();
        headers.insert("idempotency-key", "k".parse().unwrap());
        answers.push(world.send(request).await.expect(201).json());
        world.wait(5);
    }
    assert_eq!(answers[0], answers[1]);
    let path = format!("/v1/directories/{}", answers[0]["id"].as_str().unwrap());
    let shown = world.admin_get(&path).await.expect(200).json();
    assert_eq!(shown["webhook"].get("secret"), None);
    let again = world
        .admin_get(&format!("{path}/webhook"))
        .await
        .expect(200);
    assert_eq!(again.json(), answers[0]["webhook"]);
}

#[tokio::test]
async fn an_invalid_webhook_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let acme = world.directory_of("acme", "crm").await;
    let cases = [
        (json!("https://example.com"), "/webhook"),
        (json!({}), "/webhook/url"),
        (json!({"url": null}), "/webhook/url"),
        (json!({"url": 1}), "/webhook/url"),
        (json!({"url": ""}), "/webhook/url"),
        (json!({"url": "ftp://example.com"}), "/webhook/url"),
        (json!({"url": "https://u:p@example.com"}), "/webhook/url"),
        (json!({"url": "https://example.com/#a"}), "/webhook/url"),
        (
            json!({"url": "https://example.com", "secret": "s"}),
            "/webhook/secret",
        ),
        (
            json!({"url": format!("https://example.com/{}", "a".repeat(2_048))}),
            "/webhook/url",
        ),
    ];
    for (webhook, pointer) in cases {
        let mut body = new_directory("acme", "crm");
        body["webhook"] = webhook.clone();
        let change = json!({"name": "Taken", "webhook": webhook});
        for answer in [
            world.admin(Method::POST, "/v1/directories", body).await,
            world
                .admin(Method::PATCH, &acme.admin_path(""), change)
                .await,
        ] {
            let problem = answer.expect(422).json();
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
    }
    let list = world.admin_get("/v1/directories").await.expect(200).json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    let now = world
        .admin_get(&acme.admin_path(""))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&now["name"], now.get("webhook")),
        (&json!("acme (crm)"), None)
    );
}

/// A stack that was deployed without them says so, and takes one away all the same.
#[tokio::test]
async fn a_stack_without_webhooks_refuses_them() {
    let world = World::new().await;
    let (_, acme) = world.connected("acme", "https://example.com/hook").await;
    let router = admin::router(Gateway::new(world.cloud.config(), world.deployed()));
    let send = async |method, path: &str, body: Value| {
        let request = world.admin_request(method, path, &body).map(Body::from);
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let webhook = json!({"webhook": {"url": "https://example.com/other"}});
    let body = with_webhook("acme", "https://example.com/other");
    for (method, path, body) in [
        (Method::POST, "/v1/directories".to_owned(), body),
        (Method::PATCH, acme.admin_path(""), webhook),
    ] {
        let (status, problem) = send(method, &path, body).await;
        assert_eq!(status, 422, "{problem}");
        assert!(problem.contains("Webhooks=enabled"), "{problem}");
    }
    let (status, _) = send(Method::GET, &acme.admin_path("/webhook"), Value::Null).await;
    assert_eq!(status, 404);
    let (status, shown) = send(
        Method::PATCH,
        &acme.admin_path(""),
        json!({"webhook": null}),
    )
    .await;
    assert_eq!(status, 200, "{shown}");
    assert!(!shown.contains("example.com/hook"), "{shown}");
}

/// The last event of a directory is delivered although the directory no longer exists.
#[tokio::test]
async fn the_deletion_of_a_directory_is_delivered() {
    let world = World::new().await;
    let endpoint = Endpoint::start(&[200]).await;
    let (made, acme) = world.connected("acme", &endpoint.url).await;
    acme.deliver().await;
    endpoint.take();
    let answer = world
        .admin(Method::DELETE, &acme.admin_path(""), Value::Null)
        .await;
    answer.expect(202);
    acme.deliver().await;
    world.admin_get(&acme.admin_path("")).await.expect(404);
    let came = endpoint.take();
    assert_eq!(came.len(), 1);
    assert_eq!(came[0].kind(), "directory.deleted");
    let secret = made["webhook"]["secret"].as_str().unwrap();
    assert_eq!(
        came[0].header("webhook-signature"),
        came[0].signature(secret)
    );
}

#[tokio::test]
async fn a_short_failure_is_retried_soon() {
    let world = World::new().await;
    let endpoint = Endpoint::start(&[500, 503, 200]).await;
    let (_, acme) = world.connected("acme", &endpoint.url).await;
    acme.deliver().await;
    let came = endpoint.take();
    assert_eq!(came.len(), 3);
    // The same event, signed at each time.
    assert!(came.iter().all(|one| one.body == came[0].body));
    let ids: Vec<&str> = came.iter().map(|one| one.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    let times: Vec<&str> = came
        .iter()
        .map(|one| one.header("webhook-timestamp"))
        .collect();
    assert_eq!(times, ["1767225600", "1767225602", "1767225608"]);
    assert!(world.cloud.dead_letters().is_empty());
}

/// An event that an endpoint refuses for a day becomes a dead letter, and delays no other event.
#[tokio::test]
async fn an_event_that_is_never_accepted_becomes_a_dead_letter() {
    let world = World::new().await;
    let (bad, good) = (Endpoint::start(&[410]).await, Endpoint::start(&[200]).await);
    let (_, acme) = world.connected("acme", &bad.url).await;
    let (_, umbrella) = world.connected("umbrella", &good.url).await;
    umbrella.deliver().await;
    assert_eq!(good.types(), ["directory.created"]);
    // Three times at first, and once for each other time that the queue brings it.
    assert_eq!(bad.take().len(), 3 + 287);
    let letters = world.cloud.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].attempts, 288);
    assert_eq!(
        letters[0].records[0]["detail"]["directory_id"],
        acme.directory
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let world = World::new().await;
    let endpoint = Endpoint::start(&[307, 302, 308]).await;
    world.connected("acme", &endpoint.url).await;
    let events = world.events().await;
    let webhooks = world.webhooks(EgressPolicy::Unrestricted, TIMEOUT);
    assert_eq!(failed(&webhooks, &events, 1).await, ["0"]);
    let came = endpoint.take();
    assert_eq!(came.len(), 3);
    assert!(came.iter().all(|one| one.path == "/"));
}

/// An endpoint that accepts connections and never answers.
struct Silent {
    port: u16,
    connected: Arc<AtomicUsize>,
}

impl Silent {
    /// One with a thread of its own, so that it counts whatever the test does meanwhile.
    fn start() -> Silent {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connected = Arc::new(AtomicUsize::new(0));
        let count = connected.clone();
        std::thread::spawn(move || {
            let mut kept = vec![];
            while let Ok((stream, _)) = listener.accept() {
                count.fetch_add(1, Ordering::Relaxed);
                kept.push(stream);
            }
        });
        Silent { port, connected }
    }

    /// How many connections there were since the last time.
    async fn take(&self) -> usize {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.connected.swap(0, Ordering::Relaxed)
    }
}

/// An endpoint that does not answer is left alone for a minute, so that it costs others nothing.
#[tokio::test]
async fn an_unresponsive_endpoint_gets_a_cooldown() {
    let world = World::new().await;
    let silent = Silent::start();
    let url = format!("http://127.0.0.1:{}", silent.port);
    let (_, acme) = world.connected("acme", &url).await;
    acme.post("/Users", &user("ann@acme")).await.expect(201);
    let events = acme.events().await;
    let webhooks = world.webhooks(EgressPolicy::Unrestricted, SHORT);
    let tries = async |events: &[Value], times| {
        assert_eq!(failed(&webhooks, events, times).await.len(), events.len());
        silent.take().await
    };
    assert_eq!(tries(&events[..1], 1).await, 3);
    assert_eq!(tries(&events, 2).await, 0);
    world.wait(59);
    assert_eq!(tries(&events, 2).await, 0);
    world.wait(1);
    assert_eq!(tries(&events[..1], 2).await, 1);
}

/// A webhook cannot reach the network of the functions, neither by an address nor by a name.
#[tokio::test]
async fn a_deployed_function_sends_to_the_internet_only() {
    let world = World::new().await;
    let silent = Silent::start();
    let hosts = [
        "http://127.0.0.1",
        "https://127.0.0.1",
        "https://localhost",
        "https://[::1]",
    ];
    for (n, host) in hosts.into_iter().enumerate() {
        let url = format!("{host}:{}/", silent.port);
        world.connected(&format!("t{n}"), &url).await;
    }
    let events = world.events().await;
    assert_eq!(events.len(), 4);
    let all = ["0", "1", "2", "3"];
    let deployed = world.webhooks(EgressPolicy::PublicInternet, SHORT);
    assert_eq!(failed(&deployed, &events, 2).await, all);
    assert_eq!(silent.take().await, 0);
    // The egress policy keeps it from there.
    let anywhere = world.webhooks(EgressPolicy::Unrestricted, SHORT);
    assert_eq!(failed(&anywhere, &events, 2).await, all);
    assert_eq!(silent.take().await, 3);
}

#[tokio::test]
async fn a_malformed_message_is_reported_and_blocks_no_other() {
    let world = World::new().await;
    let endpoint = Endpoint::start(&[200]).await;
    world.connected("acme", &endpoint.url).await;
    let mut events = world.events().await;
    events.insert(
        0,
        json!({"detail-type": "user.created", "detail": {"id": "x"}}),
    );
    events.push(json!("no event"));
    events.push(json!({"detail-type": "ec2.stopped", "detail": {}}));
    let webhooks = world.webhooks(EgressPolicy::Unrestricted, TIMEOUT);
    assert_eq!(failed(&webhooks, &events, 1).await, ["0", "2", "3"]);
    assert_eq!(endpoint.types(), ["directory.created"]);
}

/// Ten events of a directory are one read; what they are signed with is read once a minute.
#[tokio::test]
async fn a_delivery_costs_a_tenth_of_a_read_unit() {
    let world = World::new().await;
    let endpoint = Endpoint::start(&[200]).await;
    let (_, acme) = world.connected("acme", &endpoint.url).await;
    for n in 0..9 {
        acme.post("/Users", &user(&format!("u{n}@acme")))
            .await
            .expect(201);
    }
    let events = acme.events().await;
    let webhooks = world.webhooks(EgressPolicy::Unrestricted, TIMEOUT);
    for secrets in [1, 0] {
        world.cloud.take_requests();
        assert_eq!(failed(&webhooks, &events, 1).await, [""; 0]);
        let requests = world.cloud.take_requests();
        assert_eq!(requests.of(Service::DynamoDb).len(), 1);
        assert_eq!(requests.of(Service::SecretsManager).len(), secrets);
    }
    assert_eq!(endpoint.take().len(), 20);
    // The deliveries of the second call used the connections of the first one.
    assert!(endpoint.from.lock().unwrap().len() <= 10);
}
