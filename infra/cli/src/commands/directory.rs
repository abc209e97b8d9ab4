//! `rollcall directory`: create, show, change and delete directories.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::admin::{Access, Admin, path, string};
use super::output::{Output, sanitize};
use super::table::{Table, key_value_lines};
use super::{Failure, spinner};

/// The first and the longest pause between requests that check whether a directory is deleted.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Maximum number of such requests in a row without a response.
const MAX_UNANSWERED: usize = 10;

#[derive(Subcommand)]
pub(crate) enum Directory {
    /// Create a directory; its token is shown only once
    Create(Create),
    /// List directories
    List(List),
    /// Show a directory, its tokens, and how to connect it
    Show(DirectoryArg),
    /// Change the name or the settings of a directory
    Change(Change),
    /// Create a new token; the previous one stays valid for a while
    Rotate(Rotate),
    /// Show, set or remove the webhook, with its signing secret
    Webhook(Webhook),
    /// Reject provisioning requests within a minute; reads still work
    Deactivate(DirectoryArg),
    /// Accept provisioning requests again
    Activate(DirectoryArg),
    /// Delete a directory with all its data, and wait until it is deleted
    Delete(DirectoryArg),
}

#[derive(Args)]
pub(crate) struct Create {
    /// Your own name for the customer
    #[arg(long)]
    tenant: String,
    /// Your own name for the application
    #[arg(long)]
    product: String,
    /// The name of the directory for people [default: the tenant]
    #[arg(long)]
    name: Option<String>,
    /// The identity provider, such as azure-scim-v2; generic-scim-v2 is any other SCIM client
    #[arg(long, default_value = "okta-scim-v2")]
    provider: String,
    #[command(flatten)]
    settings: Settings,
    /// The https address to send its events to, besides the bus
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// A repeated request with the same key returns the same directory
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(crate) struct List {
    /// Only directories of this customer
    #[arg(long)]
    tenant: Option<String>,
    /// Only directories of this application
    #[arg(long)]
    product: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(crate) struct DirectoryArg {
    /// The directory's id
    #[arg(value_name = "DIRECTORY")]
    id: String,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(crate) struct Change {
    /// The directory's id
    #[arg(value_name = "DIRECTORY")]
    id: String,
    /// The name of the directory for people
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(crate) struct Rotate {
    /// The directory's id
    #[arg(value_name = "DIRECTORY")]
    id: String,
    /// How long the previous token stays valid, in seconds [default: one day]
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u64>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(crate) struct Webhook {
    /// The directory's id
    #[arg(value_name = "DIRECTORY")]
    id: String,
    /// Send events to this https address from now on
    #[arg(long, value_name = "URL", conflicts_with = "remove")]
    set: Option<String>,
    /// Remove the webhook
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    access: Access,
}

/// Settings by name. The service knows which there are and refuses invalid ones, so that a new setting needs no change here.
#[derive(Args)]
struct Settings {
    /// Set a setting, such as strict=true or discovery=plain; repeat it for several
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, Value)>,
}

/// Reads a setting. A value that is not JSON is a text.
fn setting(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write it as NAME=VALUE, for example strict=true")?;
    let json = serde_json::from_str(value);
    Ok((name.to_owned(), json.unwrap_or_else(|_| value.into())))
}

impl Settings {
    /// Returns the `settings` of a request body, or `None` without settings.
    fn body(&self) -> Option<Value> {
        let settings: Map<String, Value> = self.settings.iter().cloned().collect();
        (!settings.is_empty()).then_some(Value::Object(settings))
    }
}

impl Directory {
    pub(super) async fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self {
            Directory::Create(create) => create.run(output).await,
            Directory::List(list) => list.run(output).await,
            Directory::Show(one) => one.show(output).await,
            Directory::Change(change) => change.run(output).await,
            Directory::Rotate(rotate) => rotate.run(output).await,
            Directory::Webhook(webhook) => webhook.run(output).await,
            Directory::Deactivate(one) => one.set_status("inactive", output).await,
            Directory::Activate(one) => one.set_status("active", output).await,
            Directory::Delete(one) => one.delete(output).await,
        }
    }
}

impl Create {
    async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let body = self.body();
        let made = match &self.idempotency_key {
            Some(key) => admin.send_once("/directories", key, &body).await?,
            None => admin.send(Method::POST, "/directories", &body).await?,
        };
        if self.access.json {
            return output.line(&made.to_string());
        }
        described(&made, output)?;
        if made.get("token").is_some() {
            output.line("\nThe token is not shown again.")?;
        }
        Ok(())
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("tenant", json!(self.tenant));
        put("product", json!(self.product));
        put("name", json!(self.name.as_ref().unwrap_or(&self.tenant)));
        put("provider", json!(self.provider));
        if let Some(url) = &self.webhook {
            put("webhook", json!({ "url": url }));
        }
        if let Some(settings) = self.settings.body() {
            put("settings", settings);
        }
        Value::Object(body)
    }
}

impl List {
    async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let query = [
            ("tenant", self.tenant.as_deref()),
            ("product", self.product.as_deref()),
        ];
        let columns = [
            ("ID", "/id"),
            ("TENANT", "/tenant"),
            ("PRODUCT", "/product"),
            ("NAME", "/name"),
            ("PROVIDER", "/provider"),
            ("STATUS", "/status"),
        ];
        let admin = self.access.admin()?;
        admin
            .list("/directories", &query, &columns, self.access.json, output)
            .await
    }
}

impl DirectoryArg {
    fn path(&self) -> String {
        path(&["directories", &self.id])
    }

    async fn show(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let directory = admin.get(&self.path()).await?;
        if self.access.json {
            return output.line(&directory.to_string());
        }
        described(&directory, output)?;
        let tokens = admin.get(&format!("{}/tokens", self.path())).await?;
        let rows: Vec<Vec<String>> = tokens
            .pointer("/data")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|token| {
                ["/state", "/created", "/last_used", "/expires"]
                    .map(|pointer| string(token, pointer).unwrap_or_else(|| "–".to_owned()))
                    .to_vec()
            })
            .collect();
        if rows.is_empty() {
            return output.line("\nIt has no token. \"rollcall directory rotate\" creates one.");
        }
        output.line("")?;
        for line in Table::new(&["TOKEN", "CREATED", "LAST USED", "EXPIRES"]).lines(&rows) {
            output.line(&line)?;
        }
        Ok(())
    }

    async fn set_status(self, status: &str, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let body = json!({"status": status});
        let directory = admin.send(Method::PATCH, &self.path(), &body).await?;
        if self.access.json {
            return output.line(&directory.to_string());
        }
        let status = string(&directory, "/status").unwrap_or_else(|| status.to_owned());
        output.line(&format!("{} is {status}.", self.id))
    }

    async fn delete(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        admin.delete(&self.path()).await?;
        // The token is refused from now on, and the deletion continues in the background.
        let spinner = spinner("Deleting; Ctrl-C stops waiting but not the deletion".to_owned());
        let deleted = wait_until_deleted(&admin, &self.path(), PAUSES).await;
        spinner.finish_and_clear();
        deleted?;
        match self.access.json {
            true => output.line(&json!({"id": self.id, "status": "deleted"}).to_string()),
            false => output.line(&format!("{} is deleted.", self.id)),
        }
    }
}

impl Change {
    async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let mut body = Map::new();
        body.extend(self.name.map(|name| ("name".to_owned(), name.into())));
        let settings = self.settings.body();
        body.extend(settings.map(|settings| ("settings".to_owned(), settings)));
        let path = path(&["directories", &self.id]);
        let changed = admin
            .send(Method::PATCH, &path, &Value::Object(body))
            .await?;
        match self.access.json {
            true => output.line(&changed.to_string()),
            false => described(&changed, output),
        }
    }
}

impl Rotate {
    async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let mut body = Map::new();
        if let Some(seconds) = self.grace {
            body.insert("grace_seconds".to_owned(), json!(seconds));
        }
        let path = path(&["directories", &self.id, "tokens"]);
        let rotated = admin
            .send(Method::POST, &path, &Value::Object(body))
            .await?;
        if self.access.json {
            return output.line(&rotated.to_string());
        }
        let lines = key_value_lines(&[
            ("Token", string(&rotated, "/token")),
            (
                "The previous token is valid until",
                string(&rotated, "/previous_expires"),
            ),
        ]);
        for line in lines {
            output.line(&line)?;
        }
        output.line("\nThe token is not shown again.")
    }
}

impl Webhook {
    async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let set = self.set.as_ref().map(|url| json!({ "url": url }));
        if set.is_some() || self.remove {
            let path = path(&["directories", &self.id]);
            let body = json!({ "webhook": set });
            admin.send(Method::PATCH, &path, &body).await?;
        }
        if self.remove {
            return match self.access.json {
                true => output.line(&json!({"id": self.id, "webhook": null}).to_string()),
                false => output.line(&format!("{} has no webhook.", self.id)),
            };
        }
        let path = path(&["directories", &self.id, "webhook"]);
        let webhook = admin.get(&path).await?;
        if self.access.json {
            return output.line(&webhook.to_string());
        }
        let lines = key_value_lines(&[
            ("Webhook", string(&webhook, "/url")),
            ("Since", string(&webhook, "/created")),
            ("Signing secret", string(&webhook, "/secret")),
        ]);
        for line in lines {
            output.line(&line)?;
        }
        Ok(())
    }
}

/// Waits until a resource does not exist any more.
async fn wait_until_deleted(
    admin: &Admin,
    path: &str,
    pauses: (Duration, Duration),
) -> Result<(), Failure> {
    let (mut pause, longest) = pauses;
    let mut unanswered = 0;
    loop {
        match admin.find(path).await {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => unanswered = 0,
            // The deletion continues without a response to this request.
            Err(Failure::Unavailable(_)) if unanswered < MAX_UNANSWERED => unanswered += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Writes a directory for people.
fn described(directory: &Value, output: &mut Output) -> Result<(), Failure> {
    let settings = directory.get("settings").and_then(Value::as_object);
    let settings: Vec<String> = settings
        .into_iter()
        .flatten()
        .map(|(name, value)| match value {
            // Schemas are long: `--json` shows them.
            Value::Array(elements) => format!("{name}: {}", elements.len()),
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    let lines = key_value_lines(&[
        ("Directory", string(directory, "/id")),
        ("Name", string(directory, "/name")),
        ("Tenant", string(directory, "/tenant")),
        ("Product", string(directory, "/product")),
        ("Provider", string(directory, "/provider")),
        ("Status", string(directory, "/status")),
        ("Created", string(directory, "/created")),
        ("Settings", Some(settings.join(", "))),
        ("Base URL", string(directory, "/base_url")),
        ("Token", string(directory, "/token")),
        ("Webhook", string(directory, "/webhook/url")),
        ("Signing secret", string(directory, "/webhook/secret")),
    ]);
    for line in lines {
        output.line(&line)?;
    }
    let setup = directory.get("setup").and_then(Value::as_array);
    let steps = setup.into_iter().flatten().filter_map(Value::as_str);
    for (index, step) in steps.enumerate() {
        if index == 0 {
            output.line("\nTo connect it:")?;
        }
        output.line(&format!("  {}. {}", index + 1, sanitize(step)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::extract::Path;
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use clap::{Parser, Subcommand};
    use http::{HeaderMap, StatusCode};

    use super::super::fake::{Written, served};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        directory: Directory,
    }

    async fn run(url: &str, line: &[&str]) -> Result<Vec<String>, Failure> {
        let written = Written::default();
        let line = [&["directory"], line, &["--url", url, "--key", "k"]].concat();
        let directory = Line::try_parse_from(line).unwrap().directory;
        directory.run(&mut Output::to(written.clone())).await?;
        Ok(written.lines())
    }

    fn directory() -> Value {
        json!({
            "id": "d1", "tenant": "acme", "product": "crm", "name": "Acme", "provider": "okta-scim-v2", "status": "active",
            "created": "2026-01-01T00:00:00.000Z", "settings": {"unique_group_names": true, "strict": false, "schemas": []},
            "base_url": "https://h/scim/v2/d1", "setup": ["Open Okta.", "Paste."]
        })
    }

    #[test]
    fn the_subcommands_are_valid() {
        Directory::augment_subcommands(clap::Command::new("directory")).debug_assert();
    }

    #[tokio::test]
    async fn create_shows_the_token_and_how_to_connect() {
        async fn create(headers: HeaderMap, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
            let expected = json!({
                "tenant": "acme", "product": "crm", "name": "Acme", "provider": "okta-scim-v2",
                "settings": {"unique_group_names": true, "discovery": "full"}
            });
            assert_eq!(body, expected);
            assert_eq!(headers["idempotency-key"], "once");
            let mut made = directory();
            made["token"] = json!("rollcall_t");
            (StatusCode::CREATED, Json(made))
        }
        let url = served(Router::new().route("/v1/directories", post(create))).await;
        let line = [
            "create",
            "--tenant",
            "acme",
            "--product",
            "crm",
            "--name",
            "Acme",
            "--setting",
            "unique_group_names=true",
            "--setting",
            "discovery=full",
            "--idempotency-key",
            "once",
        ];
        assert_eq!(
            run(&url, &line).await.unwrap(),
            [
                "Directory  d1",
                "Name       Acme",
                "Tenant     acme",
                "Product    crm",
                "Provider   okta-scim-v2",
                "Status     active",
                "Created    2026-01-01T00:00:00.000Z",
                "Settings   unique_group_names=true, strict=false, schemas: 0",
                "Base URL   https://h/scim/v2/d1",
                "Token      rollcall_t",
                "",
                "To connect it:",
                "  1. Open Okta.",
                "  2. Paste.",
                "",
                "The token is not shown again.",
            ]
        );
        let json = [&line[..], &["--json"]].concat();
        let lines = run(&url, &json).await.unwrap();
        let made: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((lines.len(), &made["token"]), (1, &json!("rollcall_t")));
    }

    #[tokio::test]
    async fn change_sends_only_the_given_name_and_settings() {
        async fn patch(Json(body): Json<Value>) -> Json<Value> {
            let known = [
                json!({"settings": {"discovery": "plain"}}),
                json!({"name": "Acme Inc.", "settings": {"strict": false}}),
                json!({}),
            ];
            assert!(known.contains(&body), "{body}");
            let mut changed = directory();
            changed["settings"]["discovery"] = json!("plain");
            Json(changed)
        }
        let url =
            served(Router::new().route("/v1/directories/d1", axum::routing::patch(patch))).await;
        let plain = ["change", "d1", "--setting", "discovery=plain"];
        let lines = run(&url, &plain).await.unwrap();
        assert_eq!(
            lines[7],
            "Settings   unique_group_names=true, strict=false, schemas: 0, discovery=plain",
            "{lines:?}"
        );
        let more = [
            "change",
            "d1",
            "--name",
            "Acme Inc.",
            "--setting",
            "strict=false",
        ];
        run(&url, &more).await.unwrap();
        let json = run(&url, &["change", "d1", "--json"]).await.unwrap();
        let changed: Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!(
            (json.len(), &changed["settings"]["discovery"]),
            (1, &json!("plain"))
        );
        let line = ["directory", "change", "d1", "--setting", "strict"];
        assert!(Line::try_parse_from(line).is_err());
    }

    #[tokio::test]
    async fn show_lists_the_tokens() {
        let tokens = json!({"data": [
            {"state": "current", "created": "2026-01-02T00:00:00Z", "last_used": null, "expires": null},
            {"state": "previous", "created": "2026-01-01T00:00:00Z", "last_used": "2026-01-02T00:00:00Z", "expires": "2026-01-03T00:00:00Z"},
        ]});
        let url = served(
            Router::new()
                .route("/v1/directories/d1", get(async || Json(directory())))
                .route("/v1/directories/d1/tokens", get(async || Json(tokens))),
        )
        .await;
        let lines = run(&url, &["show", "d1"]).await.unwrap();
        assert_eq!(
            lines[lines.len() - 3..],
            [
                "TOKEN     CREATED               LAST USED             EXPIRES",
                "current   2026-01-02T00:00:00Z  –                     –",
                "previous  2026-01-01T00:00:00Z  2026-01-02T00:00:00Z  2026-01-03T00:00:00Z",
            ]
        );
    }

    #[tokio::test]
    async fn rotating_sends_the_grace_time_and_shows_both_dates() {
        async fn rotate(Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
            assert_eq!(body, json!({"grace_seconds": 60}));
            let answer =
                json!({"token": "rollcall_new", "previous_expires": "2026-01-01T00:01:00Z"});
            (StatusCode::CREATED, Json(answer))
        }
        let url = served(Router::new().route("/v1/directories/d1/tokens", post(rotate))).await;
        assert_eq!(
            run(&url, &["rotate", "d1", "--grace", "60"]).await.unwrap(),
            [
                "Token                              rollcall_new",
                "The previous token is valid until  2026-01-01T00:01:00Z",
                "",
                "The token is not shown again.",
            ]
        );
    }

    #[tokio::test]
    async fn a_webhook_is_set_shown_and_taken_away() {
        async fn patch(Json(body): Json<Value>) -> Json<Value> {
            let known = [
                json!({"webhook": {"url": "https://example.com/a"}}),
                json!({"webhook": null}),
            ];
            assert!(known.contains(&body), "{body}");
            Json(json!({}))
        }
        let shown = json!({"url": "https://example.com/a", "created": "2026-01-01T00:00:00.000Z", "secret": "whsec_s"});
        let url = served(
            Router::new()
                .route("/v1/directories/d1", axum::routing::patch(patch))
                .route("/v1/directories/d1/webhook", get(async move || Json(shown))),
        )
        .await;
        let facts = [
            "Webhook         https://example.com/a",
            "Since           2026-01-01T00:00:00.000Z",
            "Signing secret  whsec_s",
        ];
        assert_eq!(run(&url, &["webhook", "d1"]).await.unwrap(), facts);
        let set = ["webhook", "d1", "--set", "https://example.com/a"];
        assert_eq!(run(&url, &set).await.unwrap(), facts);
        let lines = run(&url, &["webhook", "d1", "--remove"]).await.unwrap();
        assert_eq!(lines, ["d1 has no webhook."]);
    }

    #[tokio::test]
    async fn activate_and_deactivate_change_the_status() {
        async fn patch(Path(id): Path<String>, Json(body): Json<Value>) -> Json<Value> {
            Json(json!({"id": id, "status": body["status"]}))
        }
        let url =
            served(Router::new().route("/v1/directories/{id}", axum::routing::patch(patch))).await;
        let lines = run(&url, &["deactivate", "d1"]).await.unwrap();
        assert_eq!(lines, ["d1 is inactive."]);
        let lines = run(&url, &["activate", "d1"]).await.unwrap();
        assert_eq!(lines, ["d1 is active."]);
    }

    #[tokio::test]
    async fn delete_waits_until_the_directory_is_deleted_even_without_a_response() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let show = async move || match count.fetch_add(1, Ordering::Relaxed) {
            0 => (StatusCode::OK, r#"{"status":"deleting"}"#),
            1 => (StatusCode::SERVICE_UNAVAILABLE, ""),
            _ => (StatusCode::NOT_FOUND, r#"{"detail":"gone"}"#),
        };
        let delete = async || (StatusCode::ACCEPTED, r#"{"id":"d1","status":"deleting"}"#);
        let url = served(Router::new().route("/v1/directories/d1", get(show).delete(delete))).await;
        let lines = run(&url, &["delete", "d1"]).await.unwrap();
        assert_eq!(lines, ["d1 is deleted."]);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
