//! The program `rollcall`, started as a process.

use std::path::PathBuf;
use std::time::Duration;

use local::{Cloud, Stack, StackOptions, Template};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::endpoint::Endpoint;
use crate::harness::program::{program, serve};
use crate::harness::rollcall::Rollcall;
use crate::harness::user;

const PATIENCE: Duration = Duration::from_secs(30);

/// A data directory that goes with its test.
struct Data(PathBuf);

impl Data {
    fn new(test: &str) -> Data {
        let path = std::env::temp_dir().join(format!("rollcall-{test}-{}", std::process::id()));
        Data(path)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_begins_with_the_directory_and_continues_with_events() {
    let data = Data::new("json");
    let mut rollcall = Rollcall::start(&data.0).await;
    let names: Vec<&String> = rollcall.greeting.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["base_url", "token", "directory_id", "url", "admin_key"]
    );
    let event = rollcall.line().await;
    assert_eq!(event["detail-type"], "directory.created");
    assert_eq!(
        event["detail"]["resource"]["id"],
        rollcall.greeting["directory_id"]
    );

    let (status, ann) = rollcall
        .send("POST", "/Users", &user("ann@example.com"))
        .await;
    assert_eq!(status, 201, "{ann}");
    let event = rollcall.line().await;
    assert_eq!(event["detail-type"], "user.created");
    assert_eq!(event["source"], "rollcall");
    assert_eq!(event["detail"]["resource"]["id"], ann["id"]);

    // SIGTERM: what was acknowledged is published before the end.
    let (status, _) = rollcall
        .send("POST", "/Users", &user("bob@example.com"))
        .await;
    assert_eq!(status, 201);
    rollcall.signal("-TERM").await;
    let (code, rest, errors) = rollcall.end().await;
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(errors, "");
    let names: Vec<&Value> = rest
        .iter()
        .map(|event| &event["detail"]["data"]["user_name"])
        .collect();
    assert_eq!(names, ["bob@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_changes_survive_a_kill_and_are_published() {
    let data = Data::new("kill");
    let rollcall = Rollcall::start(&data.0).await;
    let (base_url, token) = (
        rollcall.greeting["base_url"].clone(),
        rollcall.greeting["token"].clone(),
    );
    let admin_key = rollcall.greeting["admin_key"].clone();
    for n in 0..20 {
        let (status, _) = rollcall
            .send("POST", "/Users", &user(&format!("u{n}@example.com")))
            .await;
        assert_eq!(status, 201);
    }
    rollcall.signal("-KILL").await;
    let (code, before, _) = rollcall.end().await;
    assert_eq!(code, None);

    let mut rollcall = Rollcall::start(&data.0).await;
    assert_eq!(rollcall.greeting["token"], token);
    assert_eq!(rollcall.greeting["admin_key"], admin_key);
    let path = |url: &Value| url.as_str().unwrap().rsplit_once('/').unwrap().1.to_owned();
    assert_eq!(path(&rollcall.greeting["base_url"]), path(&base_url));
    let (status, list) = rollcall.send("GET", "/Users", &json!(null)).await;
    assert_eq!((status, &list["totalResults"]), (200, &json!(20)));

    // Each was published before or after the kill; one that was published at that very moment may be twice, under one id.
    let users = before
        .iter()
        .filter(|event| event["detail"]["resource"]["type"] == "User");
    let mut published: std::collections::BTreeMap<String, String> = users.map(ids).collect();
    while published.len() < 20 {
        let (user, event) = ids(&rollcall.user_event().await);
        let known = published.insert(user, event.clone());
        assert!(known.is_none_or(|known| known == event));
    }
    rollcall.signal("-INT").await;
    assert_eq!(rollcall.end().await.0, Some(0));
}

/// What was not delivered when the process ended is delivered after the next start.
#[tokio::test(flavor = "multi_thread")]
async fn undelivered_webhook_events_survive_a_kill() {
    let data = Data::new("webhooks");
    let endpoint = Endpoint::start(&[503]).await;
    let rollcall = Rollcall::start(&data.0).await;
    let text = |name: &str| rollcall.greeting[name].as_str().unwrap().to_owned();
    let client = program("rollcall");
    let webhook = async |url: &str, key: &str, id: &str, to: &str| {
        let set = Command::new(&client)
            .args(["directory", "webhook", id, "--json", "--set", to])
            .env("ROLLCALL_URL", url)
            .env("ROLLCALL_KEY", key)
            .output()
            .await
            .unwrap();
        assert!(set.status.success(), "{set:?}");
    };
    let id = text("directory_id");
    webhook(&text("url"), &text("admin_key"), &id, &endpoint.url).await;
    for n in 0..5 {
        let ann = user(&format!("u{n}@example.com"));
        assert_eq!(rollcall.send("POST", "/Users", &ann).await.0, 201);
    }
    // At least one was tried and refused.
    let waiting = tokio::time::timeout(PATIENCE, async {
        while endpoint.take().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waiting.await.unwrap();
    rollcall.signal("-KILL").await;
    assert_eq!(rollcall.end().await.0, None);

    let works = Endpoint::start(&[200]).await;
    let rollcall = Rollcall::start(&data.0).await;
    let text = |name: &str| rollcall.greeting[name].as_str().unwrap().to_owned();
    webhook(&text("url"), &text("admin_key"), &id, &works.url).await;
    let mut names = std::collections::BTreeSet::new();
    let delivered = tokio::time::timeout(PATIENCE, async {
        while names.len() < 5 {
            for delivery in works.take() {
                let event = delivery.json();
                if event["type"] == "user.created" {
                    let name = event["detail"]["data"]["user_name"].as_str().unwrap();
                    names.insert(name.to_owned());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    delivered.await.unwrap();
    rollcall.signal("-TERM").await;
    assert_eq!(rollcall.end().await.0, Some(0));
}

/// The ids of an event's user and of the event.
fn ids(event: &Value) -> (String, String) {
    let text = |pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    (text("/detail/resource/id"), text("/detail/id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_is_used_by_one_process() {
    let data = Data::new("owner");
    let rollcall = Rollcall::start(&data.0).await;
    let second = Command::new(program("rollcall"))
        .args(["--json", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data.0)
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(second.stdout, b"");
    let errors = String::from_utf8(second.stderr).unwrap();
    assert!(
        errors.starts_with("rollcall: ") && errors.contains("in use"),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");
    rollcall.signal("-TERM").await;
    assert_eq!(rollcall.end().await.0, Some(0));
}

/// Data of another format is refused before anything is read or written.
#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_format_is_refused() {
    let data = Data::new("format");
    let refused = async || {
        let run = Command::new(program("rollcall"))
            .args(["--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data.0)
            .output()
            .await
            .unwrap();
        assert_eq!((run.status.code(), run.stdout), (Some(1), vec![]));
        String::from_utf8(run.stderr).unwrap()
    };
    let rollcall = Rollcall::start(&data.0).await;
    rollcall.signal("-TERM").await;
    assert_eq!(rollcall.end().await.0, Some(0));
    let file = data.0.join("format");
    let format = directory::FORMAT_VERSION.to_string();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format);

    // As a version before format 1 left it, and as a later version does.
    std::fs::remove_file(&file).unwrap();
    let error = refused().await;
    for part in [
        "of a version before format 1",
        "Delete the folder",
        "--data",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!file.exists());
    std::fs::write(&file, "2").unwrap();
    let error = refused().await;
    assert!(error.contains("has data of format 2"), "{error}");

    std::fs::write(&file, format).unwrap();
    let rollcall = Rollcall::start(&data.0).await;
    rollcall.signal("-TERM").await;
    assert_eq!(rollcall.end().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_can_be_in_an_external_dynamodb() {
    let elsewhere = Cloud::in_memory().unwrap();
    let endpoint = format!("http://{}", serve(&elsewhere).await);
    let data = Data::new("elsewhere");
    let mut rollcall = Rollcall::start_with(&data.0, &["--dynamodb-endpoint", &endpoint]).await;
    let (status, ann) = rollcall
        .send("POST", "/Users", &user("ann@example.com"))
        .await;
    assert_eq!(status, 201, "{ann}");
    let event = rollcall.user_event().await;
    assert_eq!(event["detail"]["resource"]["id"], ann["id"]);
    rollcall.signal("-TERM").await;
    assert_eq!(rollcall.end().await.0, Some(0));
    let tables = aws_sdk_dynamodb::Client::new(elsewhere.config())
        .list_tables()
        .send()
        .await
        .unwrap();
    assert_eq!(tables.table_names().len(), 1);

    // What is there is found again.
    let rollcall = Rollcall::start_with(&data.0, &["--dynamodb-endpoint", &endpoint]).await;
    let (_, list) = rollcall.send("GET", "/Users", &json!(null)).await;
    assert_eq!(list["totalResults"], 1);
}

#[tokio::test]
async fn a_table_whose_index_has_other_keys_is_refused() {
    let earlier = include_str!("../../template.yaml");
    let earlier = earlier.replace("AttributeName: GSI1PK", "AttributeName: UG");
    let cloud = Cloud::in_memory().unwrap();
    let options = StackOptions {
        template: Some(Template::read(&earlier).unwrap()),
        ..StackOptions::default()
    };
    Stack::start(cloud.clone(), options).await.unwrap();
    let refused = Stack::start(cloud, StackOptions::default()).await;
    let error = refused.err().unwrap().to_string();
    let expected = "the index Memberships of rollcall-Table has other keys than in template.yaml";
    assert!(error.contains(expected), "{error}");
    assert!(
        error.contains("Delete the table, or use another DynamoDB"),
        "{error}"
    );
}

/// Data that was written before there was an index is found through it afterwards.
#[tokio::test]
async fn a_table_of_an_earlier_template_gets_the_missing_index() {
    let text = include_str!("../../template.yaml");
    let begin = text.find("      # The groups of a member.").unwrap();
    let end = text.find("      StreamSpecification:").unwrap();
    let earlier = format!("{}{}", &text[..begin], &text[end..]).replace(
        "        - { AttributeName: GSI1PK, AttributeType: S }\n",
        "",
    );
    assert!(!earlier.contains("GlobalSecondaryIndexes"));
    let cloud = Cloud::in_memory().unwrap();
    let options = StackOptions {
        template: Some(Template::read(&earlier).unwrap()),
        ..StackOptions::default()
    };
    Stack::start(cloud.clone(), options).await.unwrap();

    let stack = Stack::start(cloud, StackOptions::default()).await.unwrap();
    let first = stack.first_directory().await.unwrap();
    let send = async |method: &str, path: &str, body: Value| -> Value {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/scim/v2/{}{path}", first.id))
            .header("authorization", format!("Bearer {}", first.token))
            .body(body.to_string().into())
            .unwrap();
        serde_json::from_slice(stack.handle(request).await.body()).unwrap()
    };
    let ann = send("POST", "/Users", user("ann@example.com")).await;
    let group = json!({"displayName": "g", "members": [{"value": ann["id"]}]});
    let group = send("POST", "/Groups", group).await;
    let path = format!("/Users/{}", ann["id"].as_str().unwrap());
    let ann = send("GET", &path, Value::Null).await;
    assert_eq!(ann["groups"][0]["value"], group["id"], "{ann}");
}
