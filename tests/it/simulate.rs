//! `rollcall simulate okta`, against the whole product and against servers with defects.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::any;
use directory::Ids;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use local::{Cloud, Stack, StackOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::harness::program::program;
use crate::harness::rollcall::Rollcall;

const TOKEN: &str = "not-to-be-seen";

async fn command(base_url: &str, token: &str, more: &[&str]) -> Command {
    let mut command = Command::new(program("rollcall"));
    command
        .args(["simulate", "okta", "--base-url", base_url])
        .args(more)
        .env("ROLLCALL_TOKEN", token)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The exit code and the report. Nothing but the report is written, and nowhere does it show the token.
async fn simulate(base_url: &str, token: &str, more: &[&str]) -> (i32, Value) {
    let more = [&["--json"], more].concat();
    let output = command(base_url, token, &more).await.output().await;
    report(&output.unwrap(), token)
}

fn report(output: &Output, token: &str) -> (i32, Value) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(err, "");
    assert!(!out.contains(token));
    let code = output.status.code().unwrap();
    let mut report: Value = serde_json::from_str(&out).unwrap();
    // How busy this machine is must not decide a test.
    if let Some(warnings) = report["warnings"].as_object_mut() {
        warnings.retain(|warning, _| !warning.starts_with("GET /Groups took "));
    }
    (code, report)
}

/// How many answers of a status an occasion had.
fn answers(report: &Value, occasion: &str, status: &str) -> u64 {
    let rows = report["occasions"].as_array().unwrap();
    let row = rows.iter().find(|row| row["occasion"] == occasion).unwrap();
    row["answers"][status].as_u64().unwrap_or(0)
}

/// Both kinds of apps report no failure, and a second run links all users (C9335).
#[tokio::test(flavor = "multi_thread")]
async fn the_okta_simulation_ends_without_a_failure() {
    for provider in ["oin", "aiw"] {
        let rollcall = Rollcall::start(Path::new(":memory:")).await;
        let text = |name: &str| rollcall.greeting[name].as_str().unwrap().to_owned();
        let (base_url, token) = (text("base_url"), text("token"));
        let options = [
            "--users",
            "30",
            "--groups",
            "3",
            "--seed",
            "7",
            "--provider",
            provider,
        ];

        let (code, first) = simulate(&base_url, &token, &options).await;
        assert_eq!((code, &first["good"]), (0, &json!(true)), "{first:#}");
        assert_eq!(answers(&first, "Assign", "201"), 30);
        assert_eq!(answers(&first, "Push group", "201"), 3);
        assert_eq!(first["directory"]["users"], 30);
        assert_eq!(first["directory"]["groups"], 2);
        assert_eq!(first["directory"]["others"], 0);
        assert_eq!(
            (&first["shown"], &first["warnings"]),
            (&json!([]), &json!({}))
        );

        let (code, second) = simulate(&base_url, &token, &options).await;
        assert_eq!((code, &second["good"]), (0, &json!(true)), "{second:#}");
        // No user is created again, and only the deleted group is.
        assert_eq!(answers(&second, "Assign", "201"), 0);
        assert_eq!(answers(&second, "Push group", "201"), 1);
        assert_eq!(second["directory"], first["directory"]);

        // Others with other names do not disturb.
        let other = [
            "--users",
            "3",
            "--groups",
            "1",
            "--seed",
            "8",
            "--provider",
            provider,
        ];
        let (code, third) = simulate(&base_url, &token, &other).await;
        assert_eq!((code, &third["good"]), (0, &json!(true)), "{third:#}");

        let (code, refused) = simulate(&base_url, TOKEN, &options).await;
        assert_eq!(code, 1);
        assert_eq!(refused["shown"][0]["kind"], "authentication error");
        assert_eq!(answers(&refused, "Test API credentials", "401"), 1);
        assert_eq!(refused["occasions"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_simulation_with_a_report() {
    let rollcall = Rollcall::start(Path::new(":memory:")).await;
    let text = |name: &str| rollcall.greeting[name].as_str().unwrap().to_owned();
    let token = text("token");
    let slow = ["--json", "--users", "1000", "--rate", "50"];
    let mut command = command(&text("base_url"), &token, &slow).await;
    let process = command.spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let id = process.id().unwrap().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(kill.unwrap().success());
    let (code, report) = report(&process.wait_with_output().await.unwrap(), &token);
    assert_eq!((code, &report["interrupted"]), (130, &json!(true)));
    let created = answers(&report, "Assign", "201");
    assert!((1..1000).contains(&created), "{created}");
    assert_eq!(report["directory"], Value::Null);
}

/// The reader has closed the pipe: no panic, no message.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_is_not_an_error() {
    let base_url = serve(|_, _, _| (200, list(&[]).to_string())).await;
    let options = ["--users", "0", "--groups", "0"];
    let mut process = command(&base_url, TOKEN, &options).await.spawn().unwrap();
    drop(process.stdout.take());
    let output = process.wait_with_output().await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
}

/// A server that answers as the closure says.
async fn serve<F>(answer: F) -> String
where
    F: Fn(&Method, &str, &Value) -> (u16, String) + Clone + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = async move |method: Method, uri: Uri, body: Bytes| {
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let (status, body) = answer(&method, &uri.to_string(), &body);
        let status = StatusCode::from_u16(status).unwrap();
        (status, [("retry-after", "0")], body)
    };
    let app = Router::new().fallback(any(handler));
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/scim")
}

fn list(resources: &[Value]) -> Value {
    json!({
        "totalResults": resources.len(), "startIndex": 1, "itemsPerPage": resources.len(), "Resources": resources
    })
}

/// What is wrong with the very first answer is told, and Okta goes no further (docs/okta.md).
#[tokio::test(flavor = "multi_thread")]
async fn failing_credentials_end_a_simulation() {
    let mut no_resources = list(&[]);
    no_resources.as_object_mut().unwrap().remove("Resources");
    let mut wrong_count = list(&[]);
    wrong_count["itemsPerPage"] = json!(100);
    let mut string = list(&[]);
    string["startIndex"] = json!("1");
    for (status, body, kind, words) in [
        (
            200,
            "upstream is down".to_owned(),
            "parse error",
            "Unrecognized token 'upstream'",
        ),
        (
            401,
            "<html>".to_owned(),
            "parse error",
            "Unexpected character ('<')",
        ),
        (
            401,
            json!({"detail": "who are you"}).to_string(),
            "authentication error",
            "who are you",
        ),
        (
            200,
            no_resources.to_string(),
            "wrong answer",
            "No results for users returned",
        ),
        (
            200,
            wrong_count.to_string(),
            "wrong answer",
            "itemsPerPage is 100, but the page has 0",
        ),
        (
            200,
            string.to_string(),
            "wrong answer",
            "startIndex is \"1\", which is no integer",
        ),
    ] {
        let base_url = serve(move |_, _, _| (status, body.clone())).await;
        let (code, report) = simulate(&base_url, TOKEN, &[]).await;
        assert_eq!((code, &report["good"]), (1, &json!(false)));
        let shown = report["shown"].as_array().unwrap();
        assert_eq!((shown.len(), &shown[0]["kind"]), (1, &json!(kind)));
        let text = shown[0]["text"].as_str().unwrap();
        assert!(text.contains(words), "{text}");
        assert_eq!(report["occasions"].as_array().unwrap().len(), 1);
    }
}

/// A server that says yes to everything and keeps nothing: what fails is told, what cannot be tried is not sent, and
/// who is missing at the end is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_users_is_reported() {
    let created = Arc::new(AtomicUsize::new(0));
    let stranger = json!({"id": "x", "schemas": ["u"], "userName": "x", "active": true, "meta": {"location": "l", "resourceType": "User"}});
    let base_url = serve(
        move |method, target, body| match (method.as_str(), target) {
            ("GET", "/scim/Users?startIndex=1&count=100") => {
                (200, list(std::slice::from_ref(&stranger)).to_string())
            }
            ("GET", target) if target.contains('?') => (200, list(&[]).to_string()),
            ("POST", "/scim/Users") => {
                let mut user = body.clone();
                let n = created.fetch_add(1, Ordering::Relaxed);
                user["id"] = json!(n.to_string());
                user.as_object_mut().unwrap().remove("password");
                match n {
                    // The first is throttled once, and then taken.
                    0 => (429, "{}".to_owned()),
                    1 => (409, json!({"detail": "taken"}).to_string()),
                    _ => (201, user.to_string()),
                }
            }
            _ => (404, json!({"detail": "not here"}).to_string()),
        },
    )
    .await;
    let options = ["--users", "10", "--groups", "1", "--concurrency", "1"];
    let (code, report) = simulate(&base_url, TOKEN, &options).await;
    assert_eq!(code, 1);
    assert_eq!(report["throttled"]["answers"], 1);
    assert_eq!(answers(&report, "Assign", "429"), 1);
    assert_eq!(answers(&report, "Assign", "409"), 1);
    assert_eq!(answers(&report, "Assign", "201"), 9);
    let texts: Vec<&str> = report["shown"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["text"].as_str().unwrap())
        .collect();
    let says = |words: &str| texts.iter().any(|text| text.contains(words));
    assert!(
        says("Conflict. Errors reported by remote server: taken"),
        "{texts:#?}"
    );
    assert!(
        says("Not Found. Errors reported by remote server: not here"),
        "{texts:#?}"
    );
    // The group was never created, so its members are not pushed.
    let rows = report["occasions"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|row| row["occasion"] == "Push members")
        .unwrap();
    assert_eq!(
        (&row["skipped"], &row["requests"]),
        (&row["tasks"], &json!(0))
    );
    // An import warns of a stranger without a name, and misses the nine.
    assert_eq!(
        report["warnings"],
        json!({"x lacks name.givenName, name.familyName, emails": 1})
    );
    let differences = report["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 9, "{differences:#?}");
    // Of ten people one was refused, and so was the group.
    assert_eq!(report["directory"]["absent"], 2);
    let missing = |text: &&Value| text.as_str().unwrap().ends_with(" is missing");
    assert!(differences.iter().all(|text| missing(&text)));
}

/// A whole stack behind a listener that sees each request first, and may lose it.
struct Wire {
    base_url: String,
    token: String,
    /// Method, address below the base URL, and body without `meta`, which has times.
    seen: Arc<Mutex<Vec<(Method, String, Value)>>>,
}

/// What becomes of the PATCHes.
#[derive(Clone, Copy, PartialEq)]
enum Patches {
    /// They are done, and answered without a body.
    Done,
    /// They are answered as if they were done.
    Lost,
}

async fn wire(patches: Patches) -> Wire {
    let next = AtomicUsize::new(0);
    let ids = Ids::from_fn(move || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{number:08x}-0000-4000-8000-000000000000");
        id.parse().unwrap()
    });
    let options = StackOptions {
        ids,
        ..StackOptions::default()
    };
    let stack = Stack::start(Cloud::in_memory().unwrap(), options)
        .await
        .unwrap();
    let first = stack.first_directory().await.unwrap();
    let base = format!("/scim/v2/{}", first.id);
    let seen = Arc::<Mutex<Vec<_>>>::default();

    let (notes, below) = (seen.clone(), base.clone());
    let answer = async move |request: Request<Body>| -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut read: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some(object) = read.as_object_mut() {
            object.remove("meta");
        }
        let target = head.uri.to_string().replacen(&below, "", 1);
        notes
            .lock()
            .unwrap()
            .push((head.method.clone(), target, read));
        let patch = head.method == Method::PATCH;
        let done = Response::builder().status(204).body(Body::empty());
        if patch && patches == Patches::Lost {
            return done.unwrap();
        }
        let response = stack.handle(Request::from_parts(head, body)).await;
        if patch && response.status().is_success() {
            done.unwrap()
        } else {
            response.map(Body::from)
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(any(answer));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Wire {
        base_url: format!("http://{address}{base}"),
        token: first.token,
        seen,
    }
}

/// One lane, the same seed, a new directory: the same requests in the same order, to the last sign. Answers without a
/// body are as good as others (X22).
#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_sends_the_same_requests() {
    let traffic = async |seed: &str| {
        let wire = wire(Patches::Done).await;
        let options = ["--concurrency", "1", "--users", "12", "--seed", seed];
        let (code, report) = simulate(&wire.base_url, &wire.token, &options).await;
        assert_eq!(code, 0, "{report:#}");
        let seen = wire.seen.lock().unwrap();
        seen.clone()
    };
    let first = traffic("5").await;
    assert_eq!(first, traffic("5").await);
    assert_ne!(first, traffic("6").await);

    // Okta never deletes a user, and sends nothing but Users and Groups (4.1, 4.2).
    for (method, target, _) in &first {
        assert!(target.starts_with("/Users") || target.starts_with("/Groups"));
        assert!(method != Method::DELETE || target.starts_with("/Groups/"));
    }
    // It reads what it replaces immediately before.
    for (read, write) in first.iter().zip(&first[1..]) {
        if write.0 == Method::PUT {
            assert_eq!((&read.0, &read.1), (&Method::GET, &write.1));
        }
    }
}

/// The import at the end detects a server that reports success and does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn lost_changes_are_reported() {
    let wire = wire(Patches::Lost).await;
    let (code, report) = simulate(&wire.base_url, &wire.token, &["--users", "20"]).await;
    assert_eq!((code, &report["shown"]), (1, &json!([])), "{report:#}");
    let differences: Vec<&str> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    let count = |words: &str| {
        let with = differences.iter().filter(|text| text.contains(words));
        with.count()
    };
    // Of four who leave two return; and two groups stay without members.
    assert_eq!(
        count("active is true, and false in Okta"),
        2,
        "{differences:#?}"
    );
    assert_eq!(
        count("members and has 0 that Okta did not push"),
        2,
        "{differences:#?}"
    );
    assert_eq!(differences.len(), 4, "{differences:#?}");
}

/// A usage that cannot work is one line, or clap's own words, and never shows a key.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_exits_with_2_and_a_refusal_with_1() {
    let run = async |line: &[&str]| {
        let mut command = Command::new(program("rollcall"));
        let command = command.args(line).env_remove("ROLLCALL_KEY");
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        assert_eq!(output.stdout, b"");
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), errors)
    };
    let (code, errors) = run(&["directory", "list"]).await;
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
    assert!(
        errors.starts_with("rollcall: the admin key is missing"),
        "{errors}"
    );
    let nobody = ["users", "--url", "http://127.0.0.1:1", "--key", TOKEN];
    let (code, errors) = run(&nobody).await;
    assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(!errors.contains(TOKEN), "{errors}");
    let (code, _) = run(&["users", "--url", "127.0.0.1"]).await;
    assert_eq!(code, Some(2));
    // Options of the local stack have no meaning for a command.
    let (code, _) = run(&["--data", ":memory:", "users"]).await;
    assert_eq!(code, Some(2));
}
