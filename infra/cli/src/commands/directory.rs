//! `rollcall directory`: one customer's connection, from its making to its end.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::admin::{Access, Admin, path, string};
use super::output::{Output, sanitize};
use super::table::{Table, facts};
use super::{Failure, spinner};

/// How long to wait before asking whether a directory is gone: first, and at most.
const ASK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// How often in a row a question may stay without answer meanwhile.
const UNANSWERED: usize = 10;

#[derive(Subcommand)]
pub(crate) enum Directory {
    /// Create a directory; its token is shown now and never again
    Create(Create),
    /// List directories
    List(List),
    /// Show a directory, its tokens' ages, and how to connect it
    Show(One),
    /// Change the name or the settings of a directory; what is not given stays
    Change(Change),
    /// Give a directory a new token; the old one stays good for a while
    Rotate(Rotate),
    /// Show where its events are sent to, besides the bus, and what signs them; or change it
    Webhook(Webhook),
    /// Refuse what the identity provider sends, within a minute; reading goes on
    Deactivate(One),
    /// Take what the identity provider sends again
    Activate(One),
    /// Delete a directory with everybody in it, and wait until it is gone
    Delete(One),
}

#[derive(Args)]
pub(crate) struct Create {
    /// Your own name for the customer
    #[arg(long)]
    tenant: String,
    /// Your own name for the application
    #[arg(long)]
    product: String,
    /// What people call the directory; the tenant's name if not given
    #[arg(long)]
    name: Option<String>,
    /// Who will send
    #[arg(
        long,
        default_value = "okta-scim-v2",
        value_parser = [
            "okta-scim-v2",
            "azure-scim-v2",
            "onelogin-scim-v2",
            "jumpcloud-scim-v2",
            "ping-scim-v2",
            "generic-scim-v2",
        ]
    )]
    provider: String,
    /// Refuse a second group of the same name
    #[arg(long)]
    unique_group_names: bool,
    /// Refuse what the RFCs leave open and the interoperability profile forbids
    #[arg(long)]
    strict: bool,
    /// What it says of itself: plain is RFC 7643 and no more, without entity tags; full if not given
    #[arg(long, value_parser = ["full", "plain"])]
    discovery: Option<String>,
    /// Where to send its events, besides the bus: an https address
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// The same key again answers the same directory, instead of making another
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(crate) struct List {
    /// Only those of a customer
    #[arg(long)]
    tenant: Option<String>,
    /// Only those of an application
    #[arg(long)]
    product: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(crate) struct One {
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
    /// What people call the directory
    #[arg(long)]
    name: Option<String>,
    /// Whether to refuse what the RFCs leave open and the interoperability profile forbids
    #[arg(long, value_name = "true|false")]
    strict: Option<bool>,
    /// What it says of itself: plain is RFC 7643 and no more, without entity tags
    #[arg(long, value_parser = ["full", "plain"])]
    discovery: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(crate) struct Rotate {
    /// The directory's id
    #[arg(value_name = "DIRECTORY")]
    id: String,
    /// How many seconds the old token stays good; a day if not given
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
    /// Send its events to this https address from now on
    #[arg(long, value_name = "URL", conflicts_with = "remove")]
    set: Option<String>,
    /// Send its events to the bus alone
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    access: Access,
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
            Directory::Deactivate(one) => one.become_of("inactive", output).await,
            Directory::Activate(one) => one.become_of("active", output).await,
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
            output.line("\nThe token is shown now and never again.")?;
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
        let mut settings = Map::new();
        for (name, on) in [
            ("unique_group_names", self.unique_group_names),
            ("strict", self.strict),
        ] {
            if on {
                settings.insert(name.to_owned(), json!(true));
            }
        }
        if let Some(discovery) = &self.discovery {
            settings.insert("discovery".to_owned(), json!(discovery));
        }
        if !settings.is_empty() {
            put("settings", Value::Object(settings));
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

impl One {
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
            return output.line("\nIt has no token: \"rollcall directory rotate\" gives it one.");
        }
        output.line("")?;
        for line in Table::new(&["TOKEN", "CREATED", "LAST USED", "EXPIRES"]).lines(&rows) {
            output.line(&line)?;
        }
        Ok(())
    }

    async fn become_of(self, status: &str, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let body = json!({"status": status});
        let directory = admin.send(Method::PATCH, &self.path(), &body).await?;
        match self.access.json {
            true => output.line(&directory.to_string()),
            false => output.line(&format!(
                "{} is {}.",
                self.id,
                string(&directory, "/status").unwrap_or_else(|| status.to_owned())
            )),
        }
    }

    async fn delete(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        admin.delete(&self.path()).await?;
        // Its token is dead already, and the rest goes on by itself.
        let spinner = spinner("Deleting; Ctrl-C ends the waiting and not the deletion".to_owned());
        let gone = gone(&admin, &self.path(), ASK).await;
        spinner.finish_and_clear();
        gone?;
        match self.access.json {
            true => output.line(&json!({"id": self.id, "status": "deleted"}).to_string()),
            false => output.line(&format!("{} is deleted.", self.id)),
        }
    }
}

impl Change {
    async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let settings = given([
            ("strict", self.strict.map(Value::from)),
            ("discovery", self.discovery.map(Value::from)),
        ]);
        let body = given([
            ("name", self.name.map(Value::from)),
            (
                "settings",
                (!settings.is_empty()).then(|| Value::Object(settings)),
            ),
        ]);
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
        let lines = facts(&[
            ("Token", string(&rotated, "/token")),
            (
                "The old one is good until",
                string(&rotated, "/previous_expires"),
            ),
        ]);
        for line in lines {
            output.line(&line)?;
        }
        output.line("\nThe token is shown now and never again.")
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
        let lines = facts(&[
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

/// Those members of an object that are given.
fn given<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let members = members.into_iter();
    members
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Completes when there is no such resource any more.
async fn gone(admin: &Admin, path: &str, ask: (Duration, Duration)) -> Result<(), Failure> {
    let (mut pause, longest) = ask;
    let mut unanswered = 0;
    loop {
        match admin.find(path).await {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => unanswered = 0,
            // The deletion goes on whether or not this question was answered.
            Err(Failure::Unavailable(_)) if unanswered < UNANSWERED => unanswered += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// A directory for people.
fn described(directory: &Value, output: &mut Output) -> Result<(), Failure> {
    let on: Vec<String> = ["unique_group_names", "strict"]
        .into_iter()
        .filter(|name| directory.pointer(&format!("/settings/{name}")) == Some(&json!(true)))
        .map(str::to_owned)
        .chain(
            string(directory, "/settings/discovery")
                .filter(|discovery| discovery != "full")
                .map(|discovery| format!("{discovery} discovery")),
        )
        .collect();
    let lines = facts(&[
        ("Directory", string(directory, "/id")),
        ("Name", string(directory, "/name")),
        ("Tenant", string(directory, "/tenant")),
        ("Product", string(directory, "/product")),
        ("Provider", string(directory, "/provider")),
        ("Status", string(directory, "/status")),
        ("Created", string(directory, "/created")),
        ("Settings", (!on.is_empty()).then(|| on.join(", "))),
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
    fn every_subcommand_parses_by_its_own_rules() {
        Directory::augment_subcommands(clap::Command::new("directory")).debug_assert();
    }

    #[tokio::test]
    async fn creating_shows_the_token_once_and_how_to_connect() {
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
            "--unique-group-names",
            "--discovery",
            "full",
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
                "Settings   unique_group_names",
                "Base URL   https://h/scim/v2/d1",
                "Token      rollcall_t",
                "",
                "To connect it:",
                "  1. Open Okta.",
                "  2. Paste.",
                "",
                "The token is shown now and never again.",
            ]
        );
        let json = [&line[..], &["--json"]].concat();
        let lines = run(&url, &json).await.unwrap();
        let made: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((lines.len(), &made["token"]), (1, &json!("rollcall_t")));
    }

    #[tokio::test]
    async fn a_name_and_settings_are_changed_and_what_is_not_given_stays() {
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
        let plain = ["change", "d1", "--discovery", "plain"];
        let lines = run(&url, &plain).await.unwrap();
        assert_eq!(
            lines[7], "Settings   unique_group_names, plain discovery",
            "{lines:?}"
        );
        let more = ["change", "d1", "--name", "Acme Inc.", "--strict", "false"];
        run(&url, &more).await.unwrap();
        let json = run(&url, &["change", "d1", "--json"]).await.unwrap();
        let changed: Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!(
            (json.len(), &changed["settings"]["discovery"]),
            (1, &json!("plain"))
        );
        for wrong in ["none", "Plain", ""] {
            let line = ["directory", "change", "d1", "--discovery", wrong];
            assert!(Line::try_parse_from(line).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn showing_says_how_old_the_tokens_are() {
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
                "Token                      rollcall_new",
                "The old one is good until  2026-01-01T00:01:00Z",
                "",
                "The token is shown now and never again.",
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
    async fn a_status_is_patched() {
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
    async fn deleting_waits_until_it_is_gone_even_if_a_question_stays_unanswered() {
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
