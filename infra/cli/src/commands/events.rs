//! `rollcall events`: the event log of a directory.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::Failure;
use super::admin::{Access, Admin, path, string};
use super::output::{Output, error, note, sanitize};

/// How often `--follow` requests new events.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Events {
    #[command(subcommand)]
    command: Option<Command>,
    /// The id of the directory; optional if there is only one
    #[arg(value_name = "DIRECTORY")]
    directory: Option<String>,
    /// Wait for new events until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// Skip the events that are in the log already
    #[arg(long, requires = "follow")]
    new: bool,
    /// Only events of this type, such as user.updated
    #[arg(long = "type", value_name = "TYPE")]
    ty: Option<String>,
    /// Only events about the user or group with this id
    #[arg(long, value_name = "ID")]
    resource: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// Commands for events that cannot be published.
#[derive(Subcommand)]
enum Command {
    /// Show the events that cannot be published, each with the reason
    Parked(Parked),
    /// Publish parked events again
    Redrive(Redrive),
}

#[derive(Args)]
struct Parked {
    /// The id of the directory; optional if there is only one
    #[arg(value_name = "DIRECTORY")]
    directory: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
struct Redrive {
    /// The id of the directory; optional if there is only one
    #[arg(long, value_name = "ID")]
    directory: Option<String>,
    /// The parked events of all directories
    #[arg(long, conflicts_with = "directory")]
    all: bool,
    #[command(flatten)]
    access: Access,
}

/// The columns of the list of parked events.
const PARKED: [(&str, &str); 4] = [
    ("EVENT", "/id"),
    ("MEMBER", "/member"),
    ("ATTEMPTS", "/attempts"),
    ("REASON", "/reason"),
];

impl Parked {
    async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let directory = admin.directory(self.directory.as_deref()).await?;
        let path = path(&["directories", &directory, "events", "parked"]);
        admin
            .list(&path, &[], &PARKED, self.access.json, output)
            .await
    }
}

impl Redrive {
    async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let mut after: Option<String> = None;
        loop {
            let (directories, next) = match self.all {
                false => {
                    let one = admin.directory(self.directory.as_deref()).await?;
                    (vec![one], None)
                }
                true => {
                    let page = admin.page("/directories", &[], after.as_deref()).await?;
                    let ids = page.items.iter().filter_map(|of| string(of, "/id"));
                    (ids.collect(), page.next)
                }
            };
            for directory in directories {
                let events = redriven(&admin, &directory).await?;
                let line = match self.access.json {
                    true => json!({"directory_id": directory, "events": events}).to_string(),
                    false => format!("{directory}  {events} parked events are published again"),
                };
                output.line(&line)?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// Publishes all parked events of a directory again and returns how many.
async fn redriven(admin: &Admin, directory: &str) -> Result<u64, Failure> {
    let base = path(&["directories", directory, "events", "redrive"]);
    let (mut events, mut address) = (0, base.clone());
    loop {
        let answer = admin.send(Method::POST, &address, &json!({})).await?;
        events += answer.get("events").and_then(Value::as_u64).unwrap_or(0);
        match string(&answer, "/next_cursor") {
            Some(next) => address = format!("{base}?cursor={next}"),
            None => return Ok(events),
        }
    }
}

/// Whether events that are in the log already are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    Shown,
    LeftOut,
}

impl Events {
    pub(super) async fn run(mut self, output: &mut Output) -> Result<(), Failure> {
        match self.command.take() {
            Some(Command::Parked(parked)) => return parked.run(output).await,
            Some(Command::Redrive(redrive)) => return redrive.run(output).await,
            None => {}
        }
        let admin = self.access.admin()?;
        let directory = admin.directory(self.directory.as_deref()).await?;
        let past = match self.new {
            true => Past::LeftOut,
            false => Past::Shown,
        };
        let mut log = Log {
            admin,
            path: path(&["directories", &directory, "events"]),
            events: &self,
            cursor: None,
            shown: 0,
        };
        log.read_on(past, output).await?;
        if self.follow {
            return log.follow(output).await;
        }
        if log.shown == 0 && !self.access.json {
            note("No events yet. An event appears about half a minute after it happened.");
        }
        Ok(())
    }

    fn line(&self, event: &Value) -> String {
        match self.access.json {
            true => event.to_string(),
            false => line(event),
        }
    }
}

/// The state of reading a log.
struct Log<'a> {
    admin: Admin,
    path: String,
    events: &'a Events,
    cursor: Option<String>,
    /// Number of events that were written.
    shown: usize,
}

impl Log<'_> {
    /// Reads until Ctrl-C. It continues when the stack is unavailable for a while, such as during a restart.
    async fn follow(&mut self, output: &mut Output) -> Result<(), Failure> {
        let mut told = false;
        loop {
            tokio::time::sleep(EVERY).await;
            match self.read_on(Past::Shown, output).await {
                Err(Failure::Unavailable(reason)) => {
                    if !told {
                        error(&format!("{reason}; retrying"));
                    }
                    told = true;
                }
                done => {
                    done?;
                    told = false;
                }
            }
        }
    }

    /// Reads to the present end of the log. Every page has a cursor; at the end it is the one of the request. A page before
    /// the end may be empty, when none of its events matches the filter.
    async fn read_on(&mut self, past: Past, output: &mut Output) -> Result<(), Failure> {
        let query = [
            ("type", self.events.ty.as_deref()),
            ("resource", self.events.resource.as_deref()),
        ];
        loop {
            let cursor = self.cursor.as_deref();
            let page = self.admin.page(&self.path, &query, cursor).await?;
            if past == Past::Shown {
                for event in &page.items {
                    output.line(&self.events.line(event))?;
                    self.shown += 1;
                }
            }
            if page.next.is_none() || page.next == self.cursor {
                return Ok(());
            }
            self.cursor = page.next;
        }
    }
}

/// Returns an event as one line without personal data. Parts that an event does not have are omitted.
fn line(event: &Value) -> String {
    let text = |pointer: &str| string(event, pointer);
    let about = |name: &str| {
        let ty = text(&format!("/detail/{name}/type"))?;
        Some((ty, text(&format!("/detail/{name}/id"))?))
    };
    let changed = event.pointer("/detail/changed").and_then(Value::as_array);
    let changed = changed.map(|changed| {
        let changed: Vec<&str> = changed.iter().filter_map(Value::as_str).collect();
        format!("changed {}", changed.join(", "))
    });
    let parts = [
        text("/time"),
        text("/type").map(|ty| format!("{ty:<18}")),
        about("resource").map(|(ty, id)| format!("{ty:<5} {id}")),
        text("/detail/version").map(|version| format!("version {version}")),
        about("member").map(|(ty, id)| format!("member {ty} {id}")),
        changed,
        text("/id").map(|id| format!("event {id}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    sanitize(&parts.join("  "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::extract::RawQuery;
    use axum::routing::get;
    use axum::{Json, Router};
    use clap::Parser;
    use serde_json::json;

    use super::super::fake::{Written, served};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        events: Events,
    }

    fn event(id: &str) -> Value {
        json!({
            "id": id, "type": "user.updated", "time": "2026-01-01T00:00:00.000Z",
            "detail": {
                "version": 2, "resource": {"type": "User", "id": "u1"}, "changed": ["active", "title"],
                "data": {"user_name": "ann@example.com"}
            }
        })
    }

    /// A log of three events with an empty page in the middle. The last event appears after the end was read once.
    async fn served_log() -> String {
        let ends = Arc::new(AtomicUsize::new(0));
        let log = async move |RawQuery(query): RawQuery| -> Json<Value> {
            Json(match query.as_deref().unwrap_or_default() {
                "" => json!({"data": [event("1")], "next_cursor": "a"}),
                "cursor=a" => json!({"data": [], "next_cursor": "b"}),
                "cursor=b" => json!({"data": [event("2")], "next_cursor": "c"}),
                "cursor=c" => match ends.fetch_add(1, Ordering::Relaxed) {
                    0 => json!({"data": [], "next_cursor": "c"}),
                    _ => json!({"data": [event("3")], "next_cursor": "d"}),
                },
                "cursor=d" => json!({"data": [], "next_cursor": "d"}),
                other => panic!("{other}"),
            })
        };
        served(Router::new().route("/v1/directories/d1/events", get(log))).await
    }

    fn events(url: &str, line: &[&str]) -> Events {
        let line = [&["events", "d1", "--url", url, "--key", "k"], line].concat();
        Line::try_parse_from(line).unwrap().events
    }

    #[tokio::test]
    async fn a_line_has_no_personal_data_and_json_has_all_data() {
        let url = served_log().await;
        let written = Written::default();
        let mut output = Output::to(written.clone());
        events(&url, &[]).run(&mut output).await.unwrap();
        let first = "2026-01-01T00:00:00.000Z  user.updated        User  u1  version 2  changed active, title  event 1";
        let lines = written.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (2, first));

        let url = served_log().await;
        let written = Written::default();
        let mut output = Output::to(written.clone());
        events(&url, &["--json"]).run(&mut output).await.unwrap();
        let all: Value = serde_json::from_str(&written.lines()[1]).unwrap();
        assert_eq!(all, event("2"));
    }

    #[test]
    fn parts_that_an_event_does_not_have_are_omitted() {
        let joined = json!({
            "id": "1", "type": "group.user_added", "time": "t",
            "detail": {"version": 3, "resource": {"type": "Group", "id": "g1"}, "member": {"type": "User", "id": "u1"}}
        });
        assert_eq!(
            line(&joined),
            "t  group.user_added    Group g1  version 3  member User u1  event 1"
        );
        let deleted = json!({"id": "2", "type": "directory.deleted", "time": "t", "detail": {}});
        assert_eq!(line(&deleted), "t  directory.deleted   event 2");
    }

    #[tokio::test]
    async fn parked_events_are_listed_and_redriven_to_the_last() {
        let parked = async || {
            Json(
                json!({"data": [{"id": "e1", "member": "u1", "attempts": 2, "reason": "why"}], "next_cursor": null}),
            )
        };
        let redrive = async |RawQuery(query): RawQuery| -> Json<Value> {
            Json(match query.as_deref().unwrap_or_default() {
                "" => json!({"events": 200, "next_cursor": "a"}),
                "cursor=a" => json!({"events": 3, "next_cursor": null}),
                other => panic!("{other}"),
            })
        };
        let all = async || Json(json!({"data": [{"id": "d1"}], "next_cursor": null}));
        let router = Router::new()
            .route("/v1/directories", get(all))
            .route("/v1/directories/d1/events/parked", get(parked))
            .route(
                "/v1/directories/d1/events/redrive",
                axum::routing::post(redrive),
            );
        let url = served(router).await;
        let run = async |line: &[&str]| -> Vec<String> {
            let line = [&["events"], line, &["--url", &url, "--key", "k"]].concat();
            let written = Written::default();
            let mut output = Output::to(written.clone());
            let events = Line::try_parse_from(line).unwrap().events;
            events.run(&mut output).await.unwrap();
            written.lines()
        };
        let lines = run(&["parked", "d1"]).await;
        assert!(
            lines[1].contains("e1") && lines[1].contains("why"),
            "{lines:?}"
        );
        let expected = [r#"{"directory_id":"d1","events":203}"#];
        assert_eq!(
            run(&["redrive", "--directory", "d1", "--json"]).await,
            expected
        );
        assert_eq!(run(&["redrive", "--all", "--json"]).await, expected);
        assert_eq!(run(&["redrive", "--json"]).await, expected);
    }

    #[tokio::test]
    async fn follow_continues_from_the_cursor() {
        for (more, expected) in [(vec![], vec!["1", "2", "3"]), (vec!["--new"], vec!["3"])] {
            let url = served_log().await;
            let written = Written::default();
            let mut output = Output::to(written.clone());
            let line = [&["--follow", "--json"], &more[..]].concat();
            let following = events(&url, &line);
            let following = following.run(&mut output);
            let _ = tokio::time::timeout(Duration::from_millis(1500), following).await;
            let ids: Vec<Value> = written
                .lines()
                .iter()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
                .collect();
            assert_eq!(ids, expected);
        }
    }
}
