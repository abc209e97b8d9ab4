//! The embedded DynamoDB: `dynoxide` in a separate thread, with the JSON of the protocol.
//!
//! The engine performs one request at a time and blocks meanwhile. It therefore has one thread and a queue, and performs requests
//! in the order in which they arrive. HTTP, faults and the log are in `http_client`.
//!
//! The engine does not delete stream records, and finds the newest one by reading all of them, so that a write to a table of 4,000
//! users took 60 ms. This module adds an index for these records, and deletes them after a day, as AWS does. Both use SQL on the
//! file of the engine, so its version is pinned.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use dynoxide::types::ConsumedCapacity;
use dynoxide::{Database, DynoxideError, actions};
use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::tokens::Tokens;
use crate::{Error, lock, random_id};

/// The index with which the engine finds the newest stream record.
const INDEX: &str = "CREATE INDEX IF NOT EXISTS rollcall_stream_order
    ON _stream_records (table_name, CAST(sequence_number AS INTEGER))";
/// Deletes the stream records from before a time, in seconds since 1970.
const TRIM: &str = "DELETE FROM _stream_records WHERE created_at < ?1";

/// A response of the engine.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
}

pub(crate) enum Job {
    Call {
        operation: String,
        body: Bytes,
        answer: oneshot::Sender<Answer>,
    },
    Expire {
        done: oneshot::Sender<usize>,
    },
    Trim {
        before: i64,
    },
}

/// A handle on the engine.
#[derive(Clone)]
pub(crate) enum Engine {
    /// The engine runs in a thread, which ends when the last handle is dropped.
    Thread(mpsc::Sender<Job>),
    /// The engine runs on the thread of the caller, so that a paused clock does not advance meanwhile.
    Here(Database, Arc<Mutex<Tokens>>),
}

impl Engine {
    /// Returns a database in memory.
    pub(crate) fn in_memory() -> Result<Engine, Error> {
        // A name of its own lets a second connection reach it, which `Database::memory` would not.
        Engine::serve(format!("file:{}?mode=memory&cache=shared", random_id()))
    }

    /// Returns a database in memory that runs on the thread of the caller.
    pub(crate) fn in_memory_here() -> Result<Engine, Error> {
        let database = Database::memory().map_err(Error::table)?;
        Ok(Engine::Here(database, Arc::default()))
    }

    /// Opens a database in a SQLite file.
    pub(crate) fn open(file: &Path) -> Result<Engine, Error> {
        let path = file
            .to_str()
            .ok_or_else(|| Error::Table("the data directory's path is not UTF-8".to_owned()))?;
        Engine::serve(path.to_owned())
    }

    fn serve(path: String) -> Result<Engine, Error> {
        let database = Database::new(&path).map_err(Error::table)?;
        let beside = Connection::open(&path).map_err(Error::table)?;
        beside.execute_batch(INDEX).map_err(Error::table)?;
        // A connection left open would share the memory's locks with the engine's own.
        drop(beside);
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || {
                let mut tokens = Tokens::default();
                while let Ok(job) = queue.recv() {
                    // A caller that has gone away is no reason not to perform what it asked: that is what a
                    // time-out looks like from the service's side.
                    match job {
                        Job::Call {
                            operation,
                            body,
                            answer,
                        } => {
                            let performed = answer_to(&database, &mut tokens, &operation, &body);
                            let _ = answer.send(performed);
                        }
                        Job::Expire { done } => {
                            let _ = done.send(database.sweep_ttl().unwrap_or_default());
                        }
                        Job::Trim { before } => {
                            // What is not deleted now is deleted an hour later.
                            let _ = Connection::open(&path)
                                .and_then(|beside| beside.execute(TRIM, [before]));
                        }
                    }
                }
            })
            .map_err(|error| Error::Table(error.to_string()))?;
        Ok(Engine::Thread(jobs))
    }

    /// Performs one operation.
    pub(crate) async fn call(&self, operation: &str, body: Bytes) -> Answer {
        let jobs = match self {
            Engine::Thread(jobs) => jobs,
            Engine::Here(database, tokens) => {
                return answer_to(database, &mut lock(tokens), operation, &body);
            }
        };
        let (answer, answered) = oneshot::channel();
        let job = Job::Call {
            operation: operation.to_owned(),
            body,
            answer,
        };
        let sent = jobs.send(job);
        match (sent, answered.await) {
            (Ok(()), Ok(answer)) => answer,
            _ => refused(&DynoxideError::InternalServerError(
                "the embedded database has stopped".to_owned(),
            )),
        }
    }

    /// Deletes items whose time to live has passed, and returns their number. AWS does this by itself within days. The engine
    /// does it on request.
    pub(crate) async fn expire(&self) -> usize {
        let jobs = match self {
            Engine::Thread(jobs) => jobs,
            Engine::Here(database, _) => return database.sweep_ttl().unwrap_or_default(),
        };
        let (done, finished) = oneshot::channel();
        match jobs.send(Job::Expire { done }) {
            Ok(()) => finished.await.unwrap_or_default(),
            Err(_) => 0,
        }
    }

    /// Deletes the stream records from before a time, in seconds since 1970.
    pub(crate) fn trim(&self, before: i64) {
        if let Engine::Thread(jobs) = self {
            // A database that has stopped has nothing to delete.
            let _ = jobs.send(Job::Trim { before });
        }
    }
}

fn answer_to(database: &Database, tokens: &mut Tokens, operation: &str, body: &[u8]) -> Answer {
    match perform(database, tokens, operation, body) {
        Ok(answer) => answer,
        Err(Refusal::Engine(error)) => refused(&error),
        Err(Refusal::UnknownOperation) => Answer {
            status: 400,
            body: br#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#.to_vec(),
            read_units: 0.0,
            write_units: 0.0,
        },
    }
}

fn refused(error: &DynoxideError) -> Answer {
    Answer {
        status: error.status_code(),
        body: error.to_json().into_bytes(),
        read_units: 0.0,
        write_units: 0.0,
    }
}

enum Refusal {
    Engine(DynoxideError),
    UnknownOperation,
}

impl From<DynoxideError> for Refusal {
    fn from(error: DynoxideError) -> Self {
        Refusal::Engine(error)
    }
}

/// Whether capacity units are for reads or for writes. Only responses to transactions distinguish them.
#[derive(Clone, Copy)]
enum Meter {
    Read,
    Write,
}

/// The two forms in which responses list consumed capacity.
trait Consumed {
    fn consumed(&self) -> &[ConsumedCapacity];
}

impl Consumed for Option<ConsumedCapacity> {
    fn consumed(&self) -> &[ConsumedCapacity] {
        self.as_slice()
    }
}

impl Consumed for Option<Vec<ConsumedCapacity>> {
    fn consumed(&self) -> &[ConsumedCapacity] {
        self.as_deref().unwrap_or_default()
    }
}

fn perform(
    db: &Database,
    tokens: &mut Tokens,
    operation: &str,
    body: &[u8],
) -> Result<Answer, Refusal> {
    /// Performs an operation that is not billed by capacity.
    macro_rules! plain {
        ($call:ident) => {
            encode(&db.$call(decode(body)?)?, (0.0, 0.0))
        };
    }
    /// Performs an operation and measures its capacity units. The response contains them only if the caller requested them, as in
    /// AWS.
    macro_rules! metered {
        ($call:ident, $request:ty, $meter:expr) => {
            metered!((|request| db.$call(request)), $request, $meter)
        };
        (($perform:expr), $request:ty, $meter:expr) => {{
            let mut request: $request = decode(body)?;
            let asked = !matches!(
                request.return_consumed_capacity.as_deref(),
                None | Some("NONE")
            );
            if !asked {
                request.return_consumed_capacity = Some("TOTAL".to_owned());
            }
            let mut response = $perform(request)?;
            let units = units(response.consumed_capacity.consumed(), $meter);
            if !asked {
                response.consumed_capacity = None;
            }
            encode(&response, units)
        }};
    }
    match operation {
        "GetItem" => metered!(get_item, actions::get_item::GetItemRequest, Meter::Read),
        "BatchGetItem" => metered!(
            batch_get_item,
            actions::batch_get_item::BatchGetItemRequest,
            Meter::Read
        ),
        "Query" => metered!(query, actions::query::QueryRequest, Meter::Read),
        "Scan" => metered!(scan, actions::scan::ScanRequest, Meter::Read),
        "TransactGetItems" => metered!(
            transact_get_items,
            actions::transact_get_items::TransactGetItemsRequest,
            Meter::Read
        ),
        "PutItem" => metered!(put_item, actions::put_item::PutItemRequest, Meter::Write),
        "UpdateItem" => metered!(
            update_item,
            actions::update_item::UpdateItemRequest,
            Meter::Write
        ),
        "DeleteItem" => metered!(
            delete_item,
            actions::delete_item::DeleteItemRequest,
            Meter::Write
        ),
        "BatchWriteItem" => metered!(
            batch_write_item,
            actions::batch_write_item::BatchWriteItemRequest,
            Meter::Write
        ),
        "TransactWriteItems" => metered!(
            (|request| tokens.transact(db, Instant::now(), request)),
            actions::transact_write_items::TransactWriteItemsRequest,
            Meter::Write
        ),
        "CreateTable" => plain!(create_table),
        "DescribeTable" => plain!(describe_table),
        "UpdateTable" => plain!(update_table),
        "DeleteTable" => plain!(delete_table),
        "ListTables" => plain!(list_tables),
        "UpdateTimeToLive" => plain!(update_time_to_live),
        "DescribeTimeToLive" => plain!(describe_time_to_live),
        "ListStreams" => plain!(list_streams),
        "DescribeStream" => plain!(describe_stream),
        "GetShardIterator" => plain!(get_shard_iterator),
        "GetRecords" => plain!(get_records),
        _ => Err(Refusal::UnknownOperation),
    }
}

/// Returns the read and write capacity units of a response. A repeated transaction is billed as a read, so the response takes
/// precedence over the operation.
fn units(consumed: &[ConsumedCapacity], meter: Meter) -> (f64, f64) {
    consumed.iter().fold((0.0, 0.0), |(read, write), one| {
        let (r, w) = match (one.read_capacity_units, one.write_capacity_units, meter) {
            (None, None, Meter::Read) => (one.capacity_units, 0.0),
            (None, None, Meter::Write) => (0.0, one.capacity_units),
            (r, w, _) => (r.unwrap_or_default(), w.unwrap_or_default()),
        };
        (read + r, write + w)
    })
}

fn encode(
    response: &impl Serialize,
    (read_units, write_units): (f64, f64),
) -> Result<Answer, Refusal> {
    let body = serde_json::to_vec(response)
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))?;
    Ok(Answer {
        status: 200,
        body,
        read_units,
        write_units,
    })
}

/// Parses a request. The engine validates a part of it while it decodes, and marks the kind of an error before its message for its
/// own HTTP server. This function takes the place of that server.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let message = text
            .rfind(" at line ")
            .map_or(text.as_str(), |end| text.get(..end).unwrap_or(&text));
        for mark in ["VALIDATION_REQUEST:", "VALIDATION_AS_READ:", "VALIDATION:"] {
            if let Some(message) = message.strip_prefix(mark) {
                return DynoxideError::ValidationException(message.to_owned());
            }
        }
        for mark in ["SERIALIZATION_AS_READ:", "SERIALIZATION:"] {
            if let Some(message) = message.strip_prefix(mark) {
                return DynoxideError::SerializationException(message.to_owned());
            }
        }
        let says = |part: &str| message.contains(part);
        if says("missing field") || says("unknown variant") || says("AttributeValue") {
            DynoxideError::ValidationException(message.to_owned())
        } else {
            DynoxideError::SerializationException(message.to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn engine() -> Engine {
        let engine = Engine::in_memory().unwrap();
        let table = r#"{"TableName":"tab","BillingMode":"PAY_PER_REQUEST",
            "AttributeDefinitions":[{"AttributeName":"PK","AttributeType":"S"}],
            "KeySchema":[{"AttributeName":"PK","KeyType":"HASH"}]}"#;
        let created = engine.call("CreateTable", Bytes::from(table)).await;
        assert_eq!(created.status, 200, "{}", text(&created));
        engine
    }

    fn text(answer: &Answer) -> String {
        String::from_utf8(answer.body.clone()).unwrap()
    }

    #[tokio::test]
    async fn units_are_read_without_the_caller_seeing_them() {
        let engine = engine().await;
        let put = r#"{"TableName":"tab","Item":{"PK":{"S":"a"}}}"#;
        let answer = engine.call("PutItem", Bytes::from(put)).await;
        assert_eq!((answer.status, answer.write_units), (200, 1.0));
        assert_eq!(text(&answer), "{}");
        let get = r#"{"TableName":"tab","Key":{"PK":{"S":"a"}},"ConsistentRead":true}"#;
        let answer = engine.call("GetItem", Bytes::from(get)).await;
        assert_eq!((answer.status, answer.read_units), (200, 1.0));
        let get = r#"{"TableName":"tab","Key":{"PK":{"S":"a"}},"ReturnConsumedCapacity":"TOTAL"}"#;
        let answer = engine.call("GetItem", Bytes::from(get)).await;
        assert_eq!(answer.read_units, 0.5);
        assert!(text(&answer).contains("ConsumedCapacity"));
    }

    #[tokio::test]
    async fn transactions_cost_twice_and_a_repeat_costs_a_read() {
        let engine = engine().await;
        let write = r#"{"ClientRequestToken":"one","TransactItems":[
            {"Put":{"TableName":"tab","Item":{"PK":{"S":"a"}}}},
            {"Put":{"TableName":"tab","Item":{"PK":{"S":"b"}}}}]}"#;
        let first = engine.call("TransactWriteItems", Bytes::from(write)).await;
        assert_eq!((first.read_units, first.write_units), (0.0, 4.0));
        let again = engine.call("TransactWriteItems", Bytes::from(write)).await;
        assert_eq!(again.status, 200);
        assert_eq!((again.read_units, again.write_units), (4.0, 0.0));
    }

    #[tokio::test]
    async fn what_cannot_be_decoded_is_answered_as_aws_would() {
        let engine = engine().await;
        let empty_set = r#"{"TableName":"tab","Item":{"PK":{"S":"a"},"x":{"SS":[]}}}"#;
        let answer = engine.call("PutItem", Bytes::from(empty_set)).await;
        assert_eq!(answer.status, 400);
        assert!(
            text(&answer).contains("ValidationException"),
            "{}",
            text(&answer)
        );
        assert!(!text(&answer).contains("VALIDATION"), "{}", text(&answer));
        let answer = engine.call("PutItem", Bytes::from("[")).await;
        assert!(text(&answer).contains("SerializationException"));
        let answer = engine.call("NoSuch", Bytes::from("{}")).await;
        assert!(text(&answer).contains("UnknownOperationException"));
    }
}
