//! An unreliable network for the simulation in `tests`: delayed requests, lost responses, reads that are not of one moment, and
//! stale reads of an index and of secrets.
//!
//! The embedded services respond at once and in order, which AWS does not guarantee. The fault layer chooses what happens to a
//! request ([`crate::Fault::Passage`]), and this module performs it. It is only used with a fault layer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::lock;

/// What happens to a request in the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passage {
    /// Time until the service performs the request. It is performed even if the caller has given up.
    pub before: Duration,
    /// Time until the response arrives.
    pub after: Duration,
    /// Whether the connection breaks, and when.
    pub lost: Lost,
    /// Age of the state that a read of an index or of a secret returns.
    pub stale: Duration,
    /// Time between the reads of the two halves of a `Query` or a `BatchGetItem`, which do not read at one moment (Amazon
    /// DynamoDB Developer Guide, "Isolation levels": read-committed as a unit).
    pub torn: Option<Duration>,
}

/// When the connection of a request breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lost {
    /// The connection does not break.
    #[default]
    Never,
    /// The connection breaks before the request is performed. The request is still performed.
    Before,
    /// The connection breaks after the request was performed, before the response arrives.
    After,
}

/// Earlier states of the services, for stale reads.
#[derive(Default)]
pub(crate) struct Past {
    /// Each version of each item of an index, by the primary key of the item.
    rows: Mutex<BTreeMap<(String, String), Vec<Version>>>,
    /// The tokens of transactions in progress.
    in_progress: Mutex<HashSet<String>>,
}

/// A version of an item of an index, and the time from which it existed. Without an item, it did not exist.
struct Version {
    from: Instant,
    item: Option<Map<String, Value>>,
}

/// The attribute that makes an item one of the index `Memberships`.
const INDEXED: &str = "GSI1PK";

impl Past {
    /// Records that a transaction is in progress. Returns false if it already is.
    pub(crate) fn begin(&self, token: &str) -> bool {
        lock(&self.in_progress).insert(token.to_owned())
    }

    pub(crate) fn end(&self, token: &str) {
        lock(&self.in_progress).remove(token);
    }

    /// Records the effect of a write on the index.
    pub(crate) fn write(&self, operation: &str, input: &Value) {
        let mut rows = lock(&self.rows);
        let mut note = |key: &Value, item: Option<&Value>| {
            let text = |name: &str| key.get(name)?.get("S")?.as_str().map(str::to_owned);
            let (Some(pk), Some(sk)) = (text("PK"), text("SK")) else {
                return;
            };
            let item = item
                .and_then(Value::as_object)
                .filter(|item| item.contains_key(INDEXED));
            let versions = rows.entry((pk.clone(), sk.clone()));
            if item.is_none() && matches!(versions, std::collections::btree_map::Entry::Vacant(_)) {
                return;
            }
            versions.or_default().push(Version {
                from: Instant::now(),
                item: item.cloned(),
            });
        };
        match operation {
            "TransactWriteItems" => {
                for action in elements(input.get("TransactItems")) {
                    if let Some(item) = action.pointer("/Put/Item") {
                        note(item, Some(item));
                    }
                    if let Some(key) = action.pointer("/Delete/Key") {
                        note(key, None);
                    }
                }
            }
            "BatchWriteItem" => {
                let tables = input.get("RequestItems").and_then(Value::as_object);
                for writes in tables.into_iter().flat_map(Map::values) {
                    for write in elements(Some(writes)) {
                        if let Some(item) = write.pointer("/PutRequest/Item") {
                            note(item, Some(item));
                        }
                        if let Some(key) = write.pointer("/DeleteRequest/Key") {
                            note(key, None);
                        }
                    }
                }
            }
            "PutItem" => {
                if let Some(item) = input.get("Item") {
                    note(item, Some(item));
                }
            }
            "DeleteItem" => {
                if let Some(key) = input.get("Key") {
                    note(key, None);
                }
            }
            _ => {}
        }
    }

    /// Returns the response to a `Query` of an index as it would have been `ago`.
    pub(crate) fn query(&self, input: &Value, ago: Duration) -> Value {
        let at = Instant::now().checked_sub(ago);
        let value = |name: &str| {
            let value = input
                .get("ExpressionAttributeValues")?
                .get(name)?
                .get("S")?;
            value.as_str()
        };
        let (partition, first, last) = (value(":d"), value(":first"), value(":last"));
        let rows = lock(&self.rows);
        let mut found: Vec<(&str, &Map<String, Value>)> = rows
            .iter()
            .filter_map(|((_, sk), versions)| {
                let then = versions.iter().rev().find(|v| Some(v.from) <= at)?;
                let item = then.item.as_ref()?;
                let of = item.get(INDEXED)?.get("S")?.as_str();
                let within = first.is_none_or(|first| first <= sk.as_str())
                    && last.is_none_or(|last| sk.as_str() <= last);
                (of == partition && within).then_some((sk.as_str(), item))
            })
            .collect();
        found.sort_by_key(|(sk, _)| *sk);
        let limit = input.get("Limit").and_then(Value::as_u64);
        found.truncate(
            limit
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(usize::MAX),
        );
        let items: Vec<Value> = found
            .into_iter()
            .map(|(_, item)| {
                let shown = item.iter().filter(|(name, _)| {
                    ["PK", "SK", INDEXED, "sinceVersion"].contains(&name.as_str())
                });
                Value::Object(shown.map(|(n, v)| (n.clone(), v.clone())).collect())
            })
            .collect();
        json!({"Items": items, "Count": items.len(), "ScannedCount": items.len()})
    }
}

/// Splits the keys of a `BatchGetItem` of one table into two halves.
pub(crate) fn halves(input: &Value) -> Option<(Value, Value)> {
    let (table, request) = input.get("RequestItems")?.as_object()?.iter().next()?;
    let keys = request.get("Keys")?.as_array()?;
    if keys.len() < 2 {
        return None;
    }
    let half = |wanted: usize| {
        let keys: Vec<&Value> = keys
            .iter()
            .enumerate()
            .filter(|(index, _)| index % 2 == wanted)
            .map(|(_, key)| key)
            .collect();
        let mut half = input.clone();
        if let Some(own) = half
            .pointer_mut("/RequestItems")
            .and_then(|all| all.get_mut(table))
        {
            own["Keys"] = json!(keys);
        }
        half
    };
    Some((half(0), half(1)))
}

/// Returns the first half of the items of a `Query`, and the input of a `Query` for the rest.
pub(crate) fn rest(input: &Value, answer: &Value) -> Option<(Vec<Value>, Value)> {
    let items = answer.get("Items")?.as_array()?;
    let kept: Vec<Value> = items.iter().take(items.len() / 2).cloned().collect();
    let last = kept.last()?;
    let mut rest = input.as_object()?.clone();
    let start = json!({"PK": last.get("PK")?, "SK": last.get("SK")?});
    rest.insert("ExclusiveStartKey".to_owned(), start);
    if let Some(limit) = input.get("Limit").and_then(Value::as_u64) {
        let left = limit.checked_sub(kept.len() as u64)?.max(1);
        rest.insert("Limit".to_owned(), json!(left));
    }
    Some((kept, Value::Object(rest)))
}

/// Combines two responses.
pub(crate) fn join(first: &Value, second: Value) -> Value {
    let Value::Object(mut joined) = second else {
        return second;
    };
    let both = |one: Option<&Value>, other: Option<&Value>| -> Vec<Value> {
        elements(one).chain(elements(other)).cloned().collect()
    };
    if first.get("Items").is_some() {
        let items = both(first.get("Items"), joined.get("Items"));
        for (name, value) in [
            ("Count", json!(items.len())),
            ("ScannedCount", json!(items.len())),
            ("Items", Value::Array(items)),
        ] {
            joined.insert(name.to_owned(), value);
        }
    } else if let Some(Value::Object(tables)) = joined.get_mut("Responses") {
        for (table, items) in first
            .get("Responses")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let all = both(Some(items), tables.get(table));
            tables.insert(table.clone(), Value::Array(all));
        }
    }
    Value::Object(joined)
}

fn elements(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}
