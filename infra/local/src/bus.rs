//! The local Amazon EventBridge: accepts `PutEvents` and keeps each event in the form in which the target of a rule receives it.
//!
//! It enforces the limits of `PutEvents`, because exceeding one in AWS loses events. A watcher receives every event. A rule
//! sends the events that match its pattern to a queue.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::secrets::Refusal;
use crate::{Clock, Error, lock, random_id};

/// Maximum number of entries in a call.
const ENTRIES: usize = 10;
/// Maximum total size of the entries in a call, in bytes.
const BYTES: usize = 256 * 1024;

/// The action of a rule. If it fails, the event is not accepted.
type Rule = Arc<dyn Fn(&Value) -> Result<(), Error> + Send + Sync>;
type Watcher = Arc<dyn Fn(&Value) + Send + Sync>;

/// The event bus. Clones are the same bus.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    clock: Clock,
    kept: usize,
    events: Mutex<VecDeque<Value>>,
    watchers: Mutex<Vec<Watcher>>,
    rules: Mutex<BTreeMap<String, Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEvents {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    source: Option<String>,
    detail_type: Option<String>,
    detail: Option<String>,
    time: Option<f64>,
    #[serde(default)]
    resources: Vec<String>,
}

impl Bus {
    pub(crate) fn new(clock: Clock, kept: usize) -> Self {
        Bus(Arc::new(Inner {
            clock,
            kept,
            events: Mutex::default(),
            watchers: Mutex::default(),
            rules: Mutex::default(),
        }))
    }

    /// Returns the events since the last call, oldest first, and forgets them. At most [`crate::CloudOptions::history`] are kept.
    pub fn take_events(&self) -> Vec<Value> {
        lock(&self.0.events).drain(..).collect()
    }

    /// Calls `watcher` with each event before the publisher learns that the event was accepted, so that no event counts as
    /// published before the watcher received it.
    pub fn watch(&self, watcher: impl Fn(&Value) + Send + Sync + 'static) {
        lock(&self.0.watchers).push(Arc::new(watcher));
    }

    /// Adds a rule. It replaces a rule of the same name.
    pub(crate) fn rule(
        &self,
        name: &str,
        rule: impl Fn(&Value) -> Result<(), Error> + Send + Sync + 'static,
    ) {
        lock(&self.0.rules).insert(name.to_owned(), Arc::new(rule));
    }

    /// Performs `PutEvents`. The fault layer chooses entries that are refused.
    pub(crate) fn put(&self, body: &[u8], fail: &[usize], code: &str) -> Result<Value, Refusal> {
        let request: PutEvents = serde_json::from_slice(body)
            .map_err(|error| invalid(format!("The request is malformed: {error}")))?;
        let count = request.entries.len();
        if count == 0 || count > ENTRIES {
            let bound = if count == 0 { "greater" } else { "less" };
            let limit = if count == 0 { 1 } else { ENTRIES };
            return Err(invalid(format!(
                "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length {bound} than or equal to {limit}"
            )));
        }
        if request.entries.iter().map(Entry::size).sum::<usize>() > BYTES {
            return Err(invalid(
                "Total size of the entries in the request is over the limit.".to_owned(),
            ));
        }
        let mut answers = Vec::with_capacity(count);
        let mut failed = 0;
        for (index, entry) in request.entries.iter().enumerate() {
            let accepted = if fail.contains(&index) {
                Err((
                    code.to_owned(),
                    "The local fault layer refused the entry.".to_owned(),
                ))
            } else {
                self.event(entry).and_then(|event| self.routed(event))
            };
            answers.push(match accepted {
                Ok(event) => {
                    let id = event.get("id").cloned().unwrap_or_default();
                    self.deliver(event);
                    json!({"EventId": id})
                }
                Err((code, message)) => {
                    failed += 1;
                    json!({"ErrorCode": code, "ErrorMessage": message})
                }
            });
        }
        Ok(json!({"FailedEntryCount": failed, "Entries": answers}))
    }

    /// Returns the event as EventBridge delivers it.
    fn event(&self, entry: &Entry) -> Result<Value, (String, String)> {
        let required = |name: &str, value: &Option<String>| {
            value
                .clone()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| {
                    let message = format!(
                        "Parameter {name} is not valid. Reason: {name} is a required argument."
                    );
                    ("InvalidArgument".to_owned(), message)
                })
        };
        let source = required("Source", &entry.source)?;
        let detail_type = required("DetailType", &entry.detail_type)?;
        let detail = required("Detail", &entry.detail)?;
        let detail: Map<String, Value> = serde_json::from_str(&detail).map_err(|_| {
            (
                "MalformedDetail".to_owned(),
                "Detail is malformed.".to_owned(),
            )
        })?;
        let time = entry
            .time
            .and_then(|seconds| jiff::Timestamp::from_second(seconds as i64).ok())
            .unwrap_or_else(|| (self.0.clock)());
        Ok(json!({
            "version": "0",
            "id": random_id(),
            "detail-type": detail_type,
            "source": source,
            "account": "000000000000",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "region": "us-east-1",
            "resources": entry.resources,
            "detail": detail,
        }))
    }

    /// Passes the event to the rules.
    fn routed(&self, event: Value) -> Result<Value, (String, String)> {
        let rules: Vec<Rule> = lock(&self.0.rules).values().cloned().collect();
        for rule in rules {
            rule(&event).map_err(|error| ("InternalFailure".to_owned(), error.to_string()))?;
        }
        Ok(event)
    }

    fn deliver(&self, event: Value) {
        // Watchers may be slow (a terminal, a full pipe), so nobody waits for them with a lock in hand.
        let watchers = lock(&self.0.watchers).clone();
        for watcher in watchers {
            watcher(&event);
        }
        let mut events = lock(&self.0.events);
        if events.len() >= self.0.kept {
            events.pop_front();
        }
        events.push_back(event);
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bus")
    }
}

impl Entry {
    /// Returns the size as EventBridge counts it: 14 bytes for a time, and the UTF-8 of the other fields.
    fn size(&self) -> usize {
        let text = |value: &Option<String>| value.as_ref().map_or(0, String::len);
        let time = if self.time.is_some() { 14 } else { 0 };
        let resources = self.resources.iter().map(String::len).sum::<usize>();
        time + resources + text(&self.source) + text(&self.detail_type) + text(&self.detail)
    }
}

fn invalid(message: String) -> Refusal {
    Refusal {
        status: 400,
        code: "ValidationException",
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bus() -> Bus {
        let clock: Clock = Arc::new(|| jiff::Timestamp::from_second(1_700_000_000).unwrap());
        Bus::new(clock, usize::MAX)
    }

    fn put(bus: &Bus, entries: Vec<Value>) -> Result<Value, Refusal> {
        bus.put(json!({"Entries": entries}).to_string().as_bytes(), &[], "")
    }

    fn entry(detail: &str) -> Value {
        json!({"Source": "rollcall", "DetailType": "user.created", "Detail": detail, "EventBusName": "b"})
    }

    #[test]
    fn an_event_has_the_envelope_eventbridge_gives_it() {
        let bus = bus();
        let (sender, watched) = std::sync::mpsc::channel();
        bus.watch(move |event| sender.send(event.clone()).unwrap());
        let answer = put(&bus, vec![entry(r#"{"id":"1"}"#)]).unwrap();
        assert_eq!(answer["FailedEntryCount"], 0);
        let event = bus.take_events().pop().unwrap();
        assert_eq!(answer["Entries"][0]["EventId"], event["id"]);
        assert_eq!(watched.try_recv().unwrap(), event);
        let expected = json!({"version": "0", "id": event["id"], "detail-type": "user.created",
            "source": "rollcall", "account": "000000000000", "time": "2023-11-14T22:13:20Z",
            "region": "us-east-1", "resources": [], "detail": {"id": "1"}});
        assert_eq!(event, expected);
    }

    #[test]
    fn eleven_entries_or_256_kilobytes_refuse_the_whole_call() {
        let bus = bus();
        let refused = |entries| put(&bus, entries).unwrap_err().code;
        assert_eq!(refused(vec![]), "ValidationException");
        assert_eq!(refused(vec![entry("{}"); 11]), "ValidationException");
        // "rollcall" and "user.created" are 20 bytes.
        let detail = |size: usize| format!("{{\"x\":\"{}\"}}", "a".repeat(size - 8));
        assert_eq!(
            refused(vec![entry(&detail(BYTES - 19))]),
            "ValidationException"
        );
        assert!(bus.take_events().is_empty());
        put(&bus, vec![entry(&detail(BYTES - 20))]).unwrap();
        put(&bus, vec![entry("{}"); 10]).unwrap();
        assert_eq!(bus.take_events().len(), 11);
    }

    #[test]
    fn a_bad_entry_fails_alone() {
        let bus = bus();
        let answer = put(
            &bus,
            vec![
                entry("{"),
                entry("{}"),
                entry("[1]"),
                json!({"Source": "rollcall", "Detail": "{}"}),
            ],
        );
        let answer = answer.unwrap();
        assert_eq!(answer["FailedEntryCount"], 3);
        assert_eq!(answer["Entries"][0]["ErrorCode"], "MalformedDetail");
        assert_eq!(answer["Entries"][2]["ErrorCode"], "MalformedDetail");
        assert_eq!(answer["Entries"][3]["ErrorCode"], "InvalidArgument");
        assert_eq!(bus.take_events().len(), 1);
    }
}
