//! `rollcall --record`: the session of another client becomes a transcript, which is played again with the same result.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::program::program;
use crate::harness::transcript::play;
use crate::harness::{PATCH_OP, USER, World};

/// A file for one test, which is deleted with it.
struct Recording(PathBuf);

impl Recording {
    fn new(test: &str) -> Recording {
        let name = format!("rollcall-{test}-{}.txt", std::process::id());
        Recording(std::env::temp_dir().join(name))
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

struct Runner {
    process: Child,
    greeting: Value,
}

impl Runner {
    async fn start(recording: &Recording) -> Runner {
        let mut process = Command::new(program("rollcall"))
            .args(["--json", "--listen", "127.0.0.1:0", "--record"])
            .arg(&recording.0)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line());
        let line = line.await.unwrap().unwrap().unwrap();
        // Somebody has to read the events.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Runner {
            process,
            greeting: serde_json::from_str(&line).unwrap(),
        }
    }

    fn text(&self, name: &str) -> &str {
        self.greeting[name].as_str().unwrap()
    }

    /// Sends a request with curl, as an administrator would, and returns the body of the response.
    async fn curl(&self, url: &str, token: &str, more: &[&str]) -> String {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--globoff", "--compressed", url])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(more)
            .output()
            .await
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> Value {
        let url = format!("{}{path}", self.text("base_url"));
        let mut more = vec!["--request", method];
        if !body.is_empty() {
            more.extend([
                "--header",
                "Content-Type: application/scim+json",
                "--data",
                body,
            ]);
        }
        let answer = self.curl(&url, self.text("token"), &more).await;
        serde_json::from_str(&answer).unwrap_or_default()
    }

    async fn create(&self, user_name: &str) -> Value {
        let user = json!({
            "schemas": [USER], "userName": user_name, "externalId": "8d7e1c5a-55aa-4c1f-9d3e-6a1f0e7b2c33",
            "name": {"givenName": "Grace", "familyName": "Hopper", "formatted": "Grace Hopper"},
            "displayName": "Grace Hopper", "emails": [{"value": user_name, "type": "work", "primary": true}],
            "phoneNumbers": [{"value": "+49 30 901820", "type": "work"}],
            "addresses": [{"type": "work", "streetAddress": "12 Harbour Row", "locality": "Arlington", "country": "US"}],
            "title": "Rear Admiral", "active": true,
        });
        self.send("POST", "/Users", &user.to_string()).await
    }
}

/// Texts of the session that must not be in its recording, in any case.
const PRIVATE: [&str; 14] = [
    "grace",
    "hopper",
    "navy",
    "901820",
    "harbour",
    "arlington",
    "admiral",
    "cobol",
    "acme",
    "8d7e1c5a",
    "whsec_",
    "rollcall_",
    "127.0.0.1",
    "secret-of-",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_session_is_a_transcript_without_personal_data() {
    let recording = Recording::new("record");
    let mut runner = Runner::start(&recording).await;
    let created = runner.create("Grace.Hopper@navy.example").await;
    let id = created["id"].as_str().unwrap();
    // The client gets what it sent, and only the file has placeholders.
    assert_eq!(created["name"]["familyName"], "Hopper");
    let taken = runner.create("GRACE.HOPPER@NAVY.EXAMPLE").await;
    assert_eq!(taken["status"], "409");
    let path = "/Users?filter=userName%20eq%20%22grace.hopper%40navy.example%22&count=1";
    assert_eq!(runner.send("GET", path, "").await["totalResults"], 1);
    let path = "/Users?filter=name.familyName+sw+%22Hopper%22";
    assert_eq!(runner.send("GET", path, "").await["totalResults"], 1);
    let patch = json!({"schemas": [PATCH_OP], "Operations": [
        {"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "amazing@navy.example"},
        {"op": "Replace", "value": {"active": "False", "name.givenName": "Amazing Grace"}},
    ]});
    let path = format!("/Users/{id}");
    let patched = runner.send("PATCH", &path, &patch.to_string()).await;
    assert_eq!(patched["active"], false);
    let group = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "COBOL designers",
        "members": [{"value": id, "display": "Grace Hopper"}],
    });
    let group = runner.send("POST", "/Groups", &group.to_string()).await;
    assert_eq!(group["displayName"], "COBOL designers");
    let bulk = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": {"schemas": [USER], "userName": "grace2@navy.example"}},
        {"method": "DELETE", "path": format!("/Users/{id}")},
    ]});
    let answer = runner.send("POST", "/Bulk", &bulk.to_string()).await;
    assert_eq!(answer["Operations"][1]["status"], "204");
    // An id that the service has not issued, bodies that are not JSON, and one with a repeated member.
    let missing = "/Users/8d7e1c5a-0000-4000-8000-000000000000";
    assert_eq!(runner.send("GET", missing, "").await["status"], "404");
    for body in [
        "{\"userName\": \"grace@navy.example\",}",
        "Grace Hopper",
        "{\"userName\": \"grace\", \"userName\": \"hopper\"}",
    ] {
        assert_eq!(runner.send("POST", "/Users", body).await["status"], "400");
    }
    // Other tokens, and the admin API.
    let base = runner.text("base_url");
    runner
        .curl(&format!("{base}/Users"), "secret-of-grace", &[])
        .await;
    let directories = format!("{}/v1/directories", runner.text("url"));
    let directory = json!({
        "tenant": "acme", "product": "acme-crm", "name": "Acme", "provider": "okta-scim-v2",
        "webhook": {"url": "https://hooks.acme.example/grace"},
    });
    let directory = directory.to_string();
    let json = ["--header", "Content-Type: application/json", "--data"];
    let more = [&json[..], &[directory.as_str()]].concat();
    let key = runner.text("admin_key");
    let made = runner.curl(&directories, key, &more).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let token = made["token"].as_str().unwrap();
    let base = format!(
        "{}/scim/v2/{}",
        runner.text("url"),
        made["id"].as_str().unwrap()
    );
    runner.curl(&format!("{base}/Users"), token, &[]).await;
    // Requests at the same time.
    let names = (0..8).map(|n| format!("admiral{n}@navy.example"));
    let names: Vec<String> = names.collect();
    let all = join_all(names.iter().map(|name| runner.create(name))).await;
    assert!(all.iter().all(|user| user["id"].is_string()), "{all:?}");

    // The file is complete without an end of the process.
    runner.process.kill().await.unwrap();
    let text = recording.text();
    let lower = text.to_lowercase();
    for private in PRIVATE {
        assert!(!lower.contains(private), "{private} is in {text}");
    }
    let is_status = |line: &&str| line.starts_with("< ") && line.len() == 5;
    assert_eq!(text.lines().filter(is_status).count(), 22, "{text}");
    assert!(text.contains("# Client: curl/"), "{text}");
    assert!(text.contains("! user.created"), "{text}");
    let played = play(&text, &World::in_order().await).await;
    let difference = similar::TextDiff::from_lines(&text, &played);
    assert!(text == played, "{}", difference.unified_diff());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_replaces_no_file_and_keeps_no_data() {
    let recording = Recording::new("record-refused");
    fs::write(&recording.0, "kept").unwrap();
    let run = async |more: &[&str]| {
        let output = Command::new(program("rollcall"))
            .args(["--listen", "127.0.0.1:0", "--record"])
            .arg(&recording.0)
            .args(more)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(30), output).await;
        let output = output.unwrap().unwrap();
        assert!(!output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
        String::from_utf8(output.stderr).unwrap()
    };
    let errors = run(&[]).await;
    assert!(
        errors.contains("the file exists; name a new one"),
        "{errors}"
    );
    let errors = run(&["--data", "somewhere"]).await;
    assert!(errors.contains("leave out --data"), "{errors}");
    let errors = run(&["--dynamodb-endpoint", "http://127.0.0.1:1"]).await;
    assert!(errors.contains("cannot be used with"), "{errors}");
    assert_eq!(recording.text(), "kept");
}
