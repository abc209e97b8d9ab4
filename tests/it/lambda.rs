//! The programs of the functions under an implementation of the Lambda Runtime API ("Using the Lambda runtime API for
//! custom runtimes"): their `main.rs` and their logs.

use std::collections::HashMap;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::routing::{get, post};
use directory::{NewDirectory, Provider, Settings};
use http::{HeaderMap, Request, Response, StatusCode};
use local::Stack;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use crate::harness::endpoint::Endpoint;
use crate::harness::program::{program, serve};
use crate::harness::records::{EVENTS_PK, GOOD_DETAIL, event_image, sqs_batch, stream_record};
use crate::harness::transcript;
use crate::harness::{Answer, Backend, HOST, World, user};

/// How long a function may take to start or to respond.
const PATIENCE: Duration = Duration::from_secs(60);

/// The invocations that a function fetches, and the channel of its responses.
struct Runtime {
    next: Mutex<mpsc::UnboundedReceiver<Value>>,
    answered: mpsc::UnboundedSender<Value>,
}

/// A running function.
struct Function {
    process: Child,
    /// Standard output and standard error.
    logs: Vec<JoinHandle<String>>,
    invoke: mpsc::UnboundedSender<Value>,
    answers: mpsc::UnboundedReceiver<Value>,
}

impl Function {
    /// Starts the program of `package`, with the environment that the template gives to `id`.
    async fn start(world: &World, package: &str, id: &str) -> Function {
        let (invoke, next) = mpsc::unbounded_channel();
        let (answered, answers) = mpsc::unbounded_channel();
        let runtime = Arc::new(Runtime {
            next: Mutex::new(next),
            answered,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let invocation = Router::new()
            .route("/invocation/next", get(take))
            .route("/invocation/{id}/response", post(answer))
            .route("/invocation/{id}/error", post(fail))
            .route("/init/error", post(fail_to_start))
            .with_state(runtime);
        let server = Router::new().nest("/2018-06-01/runtime", invocation);
        tokio::spawn(async move { axum::serve(listener, server).await });

        let mut process = Command::new(program(package))
            .env_clear()
            .envs(&world.stack.template().functions[id].environment)
            .env("WEBHOOKS", "enabled")
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", id)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "logs")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "log")
            .env(
                "AWS_ENDPOINT_URL",
                format!("http://{}", serve(&world.cloud).await),
            )
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // Read all the time, for a process whose pipe is full would wait.
        let logs = vec![
            tokio::spawn(whole(process.stdout.take().unwrap())),
            tokio::spawn(whole(process.stderr.take().unwrap())),
        ];
        Function {
            process,
            logs,
            invoke,
            answers,
        }
    }

    async fn call(&mut self, event: Value) -> Value {
        self.invoke.send(event).unwrap();
        tokio::time::timeout(PATIENCE, self.answers.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// Ends the process and returns what it logged.
    async fn stop(mut self) -> String {
        self.process.start_kill().unwrap();
        self.process.wait().await.unwrap();
        let mut log = String::new();
        for output in self.logs {
            log.push_str(&output.await.unwrap());
        }
        log
    }
}

async fn whole(mut output: impl AsyncRead + Unpin) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).await.unwrap();
    text
}

/// The functions of the API, each as a process.
pub struct Processes(Mutex<HashMap<String, Function>>);

impl Processes {
    async fn start(world: &World) -> Processes {
        let template = world.stack.template();
        let mut functions = HashMap::new();
        for route in template.routes.iter() {
            let id = &route.function;
            if !functions.contains_key(id) {
                let package = &template.functions[id].package;
                functions.insert(id.clone(), Function::start(world, package, id).await);
            }
        }
        Processes(Mutex::new(functions))
    }

    /// Sends a request to the process of its function.
    async fn answer(&self, stack: &Stack, request: &Request<Bytes>) -> Answer {
        let (function, event) = stack.event(request).unwrap();
        let mut functions = self.0.lock().await;
        let answer = functions.get_mut(function).unwrap().call(event).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = answer["headers"].as_object().unwrap().iter();
        Answer {
            status: u16::try_from(answer["statusCode"].as_u64().unwrap())
                .unwrap()
                .try_into()
                .unwrap(),
            headers: headers
                .map(|(name, value)| (name.parse().unwrap(), text(value).parse().unwrap()))
                .collect::<HeaderMap>(),
            body: text(&answer["body"]).into(),
        }
    }

    /// Returns a backend that sends each request to the process of its function.
    fn backend(self: &Arc<Self>, world: &World) -> Backend {
        let (processes, stack) = (self.clone(), world.stack.clone());
        Arc::new(move |request| {
            let (processes, stack) = (processes.clone(), stack.clone());
            Box::pin(async move { processes.answer(&stack, &request).await })
        })
    }

    /// Ends all processes and returns what they logged.
    async fn stop(self) -> String {
        let mut log = String::new();
        for function in self.0.into_inner().into_values() {
            log.push_str(&function.stop().await);
        }
        log
    }
}

async fn take(State(runtime): State<Arc<Runtime>>) -> Response<Body> {
    match runtime.next.lock().await.recv().await {
        Some(event) => Response::builder()
            .header(
                "lambda-runtime-aws-request-id",
                "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            )
            .header("lambda-runtime-deadline-ms", "4102444800000")
            .header(
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:us-east-1:000000000000:function:f",
            )
            .header("content-type", "application/json")
            .body(Body::from(event.to_string()))
            .unwrap(),
        None => Response::builder()
            .status(StatusCode::GONE)
            .body(Body::empty())
            .unwrap(),
    }
}

async fn answer(
    State(runtime): State<Arc<Runtime>>,
    Path(_): Path<String>,
    body: Bytes,
) -> StatusCode {
    let answer = serde_json::from_slice(&body).unwrap();
    runtime.answered.send(answer).unwrap();
    StatusCode::ACCEPTED
}

async fn fail(
    State(runtime): State<Arc<Runtime>>,
    Path(_): Path<String>,
    body: Bytes,
) -> StatusCode {
    let error = json!({"failed": String::from_utf8_lossy(&body)});
    runtime.answered.send(error).unwrap();
    StatusCode::ACCEPTED
}

async fn fail_to_start(State(runtime): State<Arc<Runtime>>, body: Bytes) -> StatusCode {
    let error = json!({"failed to start": String::from_utf8_lossy(&body)});
    runtime.answered.send(error).unwrap();
    StatusCode::ACCEPTED
}

/// An event of an HTTP API, payload format 2.0.
fn api_event(world: &World, method: &str, path: &str, query: &str, body: Option<&Value>) -> Value {
    let path = format!("{}{path}", world.base());
    json!({
        "version": "2.0",
        "routeKey": "ANY /scim/v2/{directory}/Users",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {
            "authorization": format!("Bearer {}", world.token),
            "content-type": "application/scim+json; charset=utf-8",
            "accept": "application/scim+json",
            "host": HOST,
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "000000000000", "apiId": "a", "domainName": HOST, "domainPrefix": "scim",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "Okta SCIM Client 1.0.0"},
            "requestId": "r", "routeKey": "r", "stage": "$default", "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_u64,
        },
        "body": body.map(Value::to_string),
        "isBase64Encoded": false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_function_answers_under_lambda() {
    let world = World::new().await;
    let mut users = Function::start(&world, "users", "UsersFunction").await;

    let mut ann = user("ann.secret@example.com");
    ann["password"] = json!("t1meMa$heen");
    let created = users
        .call(api_event(&world, "POST", "/Users", "", Some(&ann)))
        .await;
    assert_eq!(created["statusCode"], 201, "{created}");
    assert_eq!(created["headers"]["content-type"], "application/scim+json");
    let body: Value = serde_json::from_str(created["body"].as_str().unwrap()).unwrap();
    let id = body["id"].as_str().unwrap();
    assert_eq!(
        created["headers"]["location"],
        format!("https://{HOST}{}/Users/{id}", world.base())
    );

    let query = "filter=userName%20eq%20%22ANN.secret%40example.com%22&startIndex=1&count=100";
    let found = users
        .call(api_event(&world, "GET", "/Users", query, None))
        .await;
    let list: Value = serde_json::from_str(found["body"].as_str().unwrap()).unwrap();
    assert_eq!(list["Resources"][0]["id"], id);

    let again = users
        .call(api_event(&world, "POST", "/Users", "", Some(&ann)))
        .await;
    assert_eq!(again["statusCode"], 409, "{again}");
    let mut stranger = api_event(&world, "GET", "/Users", "", None);
    stranger["headers"]["authorization"] = json!("Bearer stolen-token");
    assert_eq!(users.call(stranger).await["statusCode"], 401);

    // The other side of the account sees what the process wrote.
    let events = world.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0]["detail"]["data"]["user_name"],
        "ann.secret@example.com"
    );

    // One line a request, as JSON, and nothing in it of what the requests said.
    let log = users.stop().await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let answered: Vec<&Value> = lines
        .iter()
        .filter(|line| line["fields"]["message"] == "answered")
        .collect();
    let statuses: Vec<&Value> = answered
        .iter()
        .map(|line| &line["fields"]["status"])
        .collect();
    assert_eq!(statuses, [201, 200, 409, 401], "{log}");
    assert_eq!(answered[0]["fields"]["route"], "/scim/v2/{directory}/Users");
    assert_eq!(answered[0]["span"]["directory.id"], world.directory);
    for secret in [
        "ann.secret",
        "Archer",
        "t1meMa",
        "rollcall_",
        "stolen",
        "Bearer",
        "192.0.2.1",
    ] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// Between the event and the router: nothing in an event ends the process, and what is data of a segment stays it.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_events_are_answered_under_lambda() {
    let world = World::new().await;
    let ann = world.post("/Users", &user("ann@example.com")).await.id();
    let mut users = Function::start(&world, "users", "UsersFunction").await;
    let get = |path: &str, query: &str| api_event(&world, "GET", path, query, None);
    let mut host = get("/Users", "");
    host["headers"]["host"] = json!("127.0.0.1:99999");
    let mut header = get("/Users", "");
    header["headers"]["if-none-match"] = json!("a\u{0}b");
    let mut cut = api_event(&world, "DELETE", &format!("/Users/{ann}"), "", None);
    // As it is said to come when ?x was sent encoded.
    cut["routeKey"] = json!("ANY /scim/v2/{directory}/Users/{proxy+}");
    cut["pathParameters"] = json!({"directory": world.directory, "proxy": format!("{ann}%3Fx")});
    let rest = json!({
        "resource": "/{proxy+}", "path": format!("{}/Users/{ann}", world.base()), "httpMethod": "GET",
        "headers": {"Authorization": "Bearer wrong", "Host": HOST},
        "multiValueHeaders": {"Authorization": [format!("Bearer {}", world.token)], "Host": [HOST]},
        "multiValueQueryStringParameters": {"attributes": ["userName"]},
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": HOST, "httpMethod": "GET", "identity": {"sourceIp": "192.0.2.1"},
            "path": "/live/x", "requestId": "r", "resourceId": "r", "resourcePath": "/{proxy+}", "stage": "live",
        },
        "body": null, "isBase64Encoded": false,
    });
    for (event, status) in [
        (get("/Users", "filter=userName eq \"ann@example.com\""), 200),
        (get("/Users", "filter=userName eq \u{1}#"), 400),
        (get("/Users/\u{0}", ""), 404),
        (
            api_event(&world, "DELETE", &format!("/Users/{ann}?x"), "", None),
            404,
        ),
        (
            api_event(&world, "DELETE", &format!("/Users/{ann}#x"), "", None),
            404,
        ),
        (cut, 400),
        (get("/Users/../Users", ""), 400),
        (host, 200),
        (header, 400),
        (rest, 200),
        (get(&format!("//Users//{ann}"), ""), 200),
    ] {
        let answer = users.call(event.clone()).await;
        assert_eq!(answer["statusCode"], status, "{event} {answer}");
    }
    world.get(&format!("/Users/{ann}")).await.expect(200);
    // One line for each, with those that were refused.
    let log = users.stop().await;
    assert_eq!(log.matches("\"answered\"").count(), 11, "{log}");

    // Where API Gateway does not take two slashes for one, it hands the request to the function for all the rest.
    let mut discovery = Function::start(&world, "discovery", "DiscoveryFunction").await;
    let answer = discovery.call(get("//Users", "count=1")).await;
    assert_eq!(answer["statusCode"], 308, "{answer}");
    let location = format!("https://{HOST}{}/Users?count=1", world.base());
    assert_eq!(answer["headers"]["location"], location);
}

/// A7: what the functions log as they are deployed, while every transcript is played: one line for each request, and in
/// none of them a token or a person.
#[tokio::test(flavor = "multi_thread")]
async fn no_process_logs_tokens_or_personal_data() {
    let world = World::new().await;
    let processes = Arc::new(Processes::start(&world).await);
    let backend = processes.backend(&world);
    let mut tokens = vec![];
    let mut requests = 0;
    for file in transcript::files() {
        let directory = NewDirectory {
            tenant: "tenant".to_owned(),
            product: "product".to_owned(),
            name: "name".to_owned(),
            provider: Provider::Okta,
            settings: Settings::default(),
            webhook: None,
        };
        let world = world.with_directory(directory).await;
        let world = world.through(backend.clone());
        let text = fs::read_to_string(file).unwrap();
        let played = transcript::play(&text, &world).await;
        requests += played
            .lines()
            .filter(|line| line.starts_with("< ") && line.len() == 5)
            .count();
        tokens.push(world.token);
    }
    drop(backend);
    let log = Arc::into_inner(processes).unwrap().stop().await;
    // The operations of a bulk request have lines of their own within that of the request.
    let answered = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["fields"]["message"] == "answered")
        .filter(|line| {
            let spans = line["spans"].as_array().into_iter().flatten();
            spans.filter(|span| span["name"] == "request").count() == 1
        });
    assert_eq!(answered.count(), requests, "{log}");
    let tried = ["rollcall_", "ROLLCALL_", "Bearer"].map(str::to_owned);
    let people = ["@example.com", "Archer", "Jensen", "t1meMa"].map(str::to_owned);
    for secret in tokens.iter().chain(&tried).chain(&people) {
        assert!(!log.contains(secret), "{secret} was logged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bulk_function_answers_under_lambda() {
    let world = World::new().await;
    let mut bulk = Function::start(&world, "bulk", "BulkFunction").await;
    let ann = json!({"userName": "ann.secret@example.com", "password": "t1meMa$heen"});
    let group = json!({"displayName": "Secret", "members": [{"value": "bulkId:ann"}]});
    let request = json!({"Operations": [
        {"method": "POST", "path": "/Groups", "bulkId": "g", "data": group},
        {"method": "POST", "path": "/Users", "bulkId": "ann", "data": ann},
        {"method": "POST", "path": "/Users", "bulkId": "again", "data": ann},
    ]});
    let answer = bulk
        .call(api_event(&world, "POST", "/Bulk", "", Some(&request)))
        .await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    let outcomes = body["Operations"].as_array().unwrap();
    let statuses: Vec<&Value> = outcomes.iter().map(|outcome| &outcome["status"]).collect();
    assert_eq!(statuses, ["201", "201", "409"], "{body}");
    let location = outcomes[1]["location"].as_str().unwrap();
    let base = format!("https://{HOST}{}/Users/", world.base());
    assert!(location.starts_with(&base), "{location}");
    assert_eq!(world.events().await.len(), 3);

    // A line for the request and one for each operation, and nothing in it of what they said.
    let log = bulk.stop().await;
    let answered = log.lines().filter(|line| line.contains("\"answered\""));
    assert_eq!(answered.count(), 4, "{log}");
    for secret in ["secret", "Secret", "t1meMa", "rollcall_", "bulkId"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// Tokens and keys are in no log, no error, no event, and no address; neither is what requests said.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_answers_under_lambda_and_logs_no_secret() {
    let world = World::new().await;
    let mut function = Function::start(&world, "admin", "DirectoriesFunction").await;
    let call = |method: &str, path: String, body: Value, key: &str| {
        let mut event = api_event(&world, method, "", "", Some(&body));
        for pointer in ["/rawPath", "/requestContext/http/path"] {
            *event.pointer_mut(pointer).unwrap() = json!(path);
        }
        event["routeKey"] = json!("ANY /v1/{proxy+}");
        event["headers"]["content-type"] = json!("application/json");
        event["headers"]["authorization"] = json!(format!("Bearer {key}"));
        event
    };
    let new = crate::harness::new_directory("acme-tenant", "crm-product");
    let body = |answer: &Value| -> Value {
        serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or_default()
    };
    let key = &world.admin_key;
    let made = call("POST", "/v1/directories".to_owned(), new, key);
    let made = function.call(made).await;
    assert_eq!(made["statusCode"], 201, "{made}");
    let made = body(&made);
    let path = format!("/v1/directories/{}", made["id"].as_str().unwrap());
    let rotated = call("POST", format!("{path}/tokens"), json!({}), key);
    let rotated = body(&function.call(rotated).await);
    let token = |answer: &Value| answer["token"].as_str().unwrap().to_owned();
    let statuses = [
        (
            call(
                "GET",
                path.clone(),
                Value::Null,
                "rollcall_admin_first_stolen",
            ),
            401,
        ),
        (call("GET", path.clone(), Value::Null, &token(&made)), 401),
        (call("PATCH", path.clone(), json!({"name": 1}), key), 422),
        // What is deployed sends to the internet only, and says so when a webhook is set.
        (
            call(
                "PATCH",
                path.clone(),
                json!({"webhook": {"url": "https://127.0.0.1/hook-secret"}}),
                key,
            ),
            422,
        ),
        (call("DELETE", path.clone(), Value::Null, key), 202),
    ];
    let mut answers = String::new();
    for (event, status) in statuses {
        let answer = function.call(event).await;
        assert_eq!(answer["statusCode"], status, "{answer}");
        answers.push_str(&answer.to_string());
    }
    // The value in Secrets Manager is not one of Rollcall's. The error does not quote it.
    let client = aws_sdk_secretsmanager::Client::new(world.cloud.config());
    let broken = client.create_secret().name("rollcall/admin/broken");
    broken
        .secret_string("{\"key\": \"broken-secret\"}")
        .send()
        .await
        .unwrap();
    let event = call(
        "GET",
        path,
        Value::Null,
        "rollcall_admin_broken_broken-secret",
    );
    answers.push_str(&function.call(event).await.to_string());

    assert!(answers.contains("must be a public address"));

    let log = function.stop().await;
    assert!(
        log.contains("answered") && log.contains("\"admin\":\"first\""),
        "{log}"
    );
    let events = Value::from(world.events().await).to_string();
    for secret in [
        token(&made),
        token(&rotated),
        key.rsplit('_').next().unwrap().to_owned(),
        "stolen".to_owned(),
        "broken-secret".to_owned(),
        "hook-secret".to_owned(),
    ] {
        for text in [&log, &answers, &events] {
            assert!(!text.contains(&secret), "{secret} in {text}");
        }
    }
    for name in ["acme-tenant", "crm-product"] {
        assert!(!log.contains(name), "{name} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_sweeps_under_lambda() {
    let world = World::new().await;
    let own = world.directory_of("acme", "crm").await;
    own.post("/Users", &user("ann@example.com"))
        .await
        .expect(201);
    world
        .admin(http::Method::DELETE, &own.admin_path(""), Value::Null)
        .await
        .expect(202);
    let mut sweeper = Function::start(&world, "sweeper", "SweeperFunction").await;
    // The clock of the process is past the time in which a process with a cached token could still write.
    for version in ["2", "2", "3", "3"] {
        let image = json!({"PK": {"S": own.directory}, "SK": {"S": "META"}, "version": {"N": version}, "status": {"S": "deleting"}});
        let batch = json!({"Records": [stream_record(version, "MODIFY", &own.directory, image)]});
        let answer = sweeper.call(batch).await;
        assert_eq!(answer, json!({"batchItemFailures": []}));
    }
    world.admin_get(&own.admin_path("")).await.expect(404);
    let log = sweeper.stop().await;
    assert!(log.contains("a directory is deleted"), "{log}");
    assert!(!log.contains("ann@"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhooks_function_delivers_under_lambda() {
    let world = World::new().await;
    let endpoint = Endpoint::start(&[200]).await;
    let mut body = crate::harness::new_directory("acme", "crm");
    body["webhook"] = json!({"url": format!("{}/hook-secret", endpoint.url)});
    let made = world
        .admin(http::Method::POST, "/v1/directories", body)
        .await;
    let made = made.expect(201).json();
    let ann = user("ann.secret@example.com");
    world.of(&made).post("/Users", &ann).await.expect(201);
    world.post("/Users", &ann).await.expect(201);
    let mut events = world.events().await;
    events.push(json!("ann.secret@example.com is no event"));
    let mut webhooks = Function::start(&world, "webhooks", "WebhooksFunction").await;
    // On this machine the endpoint is out of its reach; those without a webhook are done.
    let answer = webhooks.call(sqs_batch(&events, 2)).await;
    // Directories do not wait for each other, so their events come in any order.
    let failed: Vec<Value> = events
        .iter()
        .enumerate()
        .filter(|(_, event)| event.is_string() || event["detail"]["directory_id"] == made["id"])
        .map(|(index, _)| json!({"itemIdentifier": index.to_string()}))
        .collect();
    assert_eq!(failed.len(), 3);
    assert_eq!(answer, json!({"batchItemFailures": failed}));
    assert!(endpoint.take().is_empty());
    let log = webhooks.stop().await;
    for reason in [
        "the host is not on the public internet",
        "the message is not an event",
    ] {
        assert!(log.contains(reason), "{log}");
    }
    for secret in ["ann.secret", "hook-secret", "whsec_", "acme"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_publisher_publishes_under_lambda() {
    let world = World::new().await;
    let mut publisher = Function::start(&world, "publisher", "PublisherFunction").await;
    let batch = json!({"Records": [
        stream_record("1", "INSERT", EVENTS_PK, event_image(GOOD_DETAIL)),
        stream_record("2", "INSERT", EVENTS_PK, event_image("ann.secret@example.com is no JSON")),
        stream_record("3", "INSERT", EVENTS_PK, event_image(GOOD_DETAIL)),
    ]});
    let answer = publisher.call(batch).await;
    // An item that is not an event is parked, and counts as done.
    assert_eq!(answer, json!({"batchItemFailures": []}));
    let events = world.cloud.bus().take_events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["detail-type"], "user.created");
    assert_eq!(
        publisher.call(json!({"Records": []})).await,
        json!({"batchItemFailures": []})
    );
    let log = publisher.stop().await;
    assert!(log.contains("an event was parked"), "{log}");
    let told = world.cloud.messages("rollcall-PublisherDeadLetters");
    assert_eq!(told.unwrap().len(), 1);
    assert!(!log.contains("ann.secret"), "{log}");
}
