//! The local Amazon SQS, and the event source mapping of Lambda from a queue to a function.
//!
//! Messages are rows of a SQLite file, so messages that were not delivered when the process ended are delivered after the next
//! start. A message is deleted when the function has reported success.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use futures_util::future::BoxFuture;
use rusqlite::{Connection, params};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cloud::{Cloud, DeadLetter};
use crate::secrets::Refusal;
use crate::stream::Backoff;
use crate::template::QueueMapping;
use crate::{Error, lock};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY,
        queue TEXT NOT NULL,
        body TEXT NOT NULL,
        received INTEGER NOT NULL DEFAULT 0,
        visible INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS messages_in_order ON messages (queue, visible, id)";

/// Maximum time between reads of an empty queue.
const POLL: Duration = Duration::from_secs(1);

/// A function that receives messages. It returns the messages that failed.
pub(crate) type InvokeQueue =
    Arc<dyn Fn(SqsEvent) -> BoxFuture<'static, SqsBatchResponse> + Send + Sync>;

/// The queues of one account.
pub(crate) struct Queues {
    messages: Mutex<Connection>,
    sent: watch::Sender<u64>,
}

/// A visible message.
struct Message {
    id: i64,
    body: String,
    /// Number of times that it was received before.
    received: u32,
}

impl Queues {
    /// Returns queues in memory.
    pub(crate) fn in_memory() -> Result<Self, Error> {
        Self::new(Connection::open_in_memory().map_err(broken)?)
    }

    /// Opens queues in a SQLite file.
    pub(crate) fn open(file: &Path) -> Result<Self, Error> {
        let connection = Connection::open(file).map_err(broken)?;
        // Enough for a process that is killed.
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
            .map_err(broken)?;
        Self::new(connection)
    }

    fn new(connection: Connection) -> Result<Self, Error> {
        connection.execute_batch(SCHEMA).map_err(broken)?;
        Ok(Queues {
            messages: Mutex::new(connection),
            sent: watch::Sender::new(0),
        })
    }

    /// Sends a message to a queue.
    pub(crate) fn send(&self, queue: &str, body: &str) -> Result<(), Error> {
        let sql = "INSERT INTO messages (queue, body) VALUES (?1, ?2)";
        self.change(sql, params![queue, body])?;
        self.sent.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Performs `SendMessage`.
    pub(crate) fn send_message(&self, body: &[u8]) -> Result<Value, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct SendMessage {
            queue_url: String,
            message_body: String,
        }
        let refused = |status, code, message: String| Refusal {
            status,
            code,
            message,
        };
        let SendMessage {
            queue_url,
            message_body,
        } = serde_json::from_slice(body)
            .map_err(|error| refused(400, "ValidationException", error.to_string()))?;
        // A queue is named by the last part of its URL; on this machine by its name alone.
        let queue = queue_url.rsplit('/').next().unwrap_or_default();
        self.send(queue, &message_body)
            .map_err(|error| refused(500, "InternalError", error.to_string()))?;
        Ok(json!({"MessageId": crate::random_id()}))
    }

    /// Returns the messages in a queue, oldest first.
    pub(crate) fn messages(&self, queue: &str) -> Result<Vec<Value>, Error> {
        let messages = self.visible(queue, i64::MAX, usize::MAX)?;
        let body = |message: Message| {
            let body = serde_json::from_str(&message.body);
            body.unwrap_or_else(|_| json!(message.body))
        };
        Ok(messages.into_iter().map(body).collect())
    }

    /// Returns the messages that are visible at a time in milliseconds, oldest first.
    fn visible(&self, queue: &str, now: i64, most: usize) -> Result<Vec<Message>, Error> {
        let sql = "SELECT id, body, received FROM messages WHERE queue = ?1 AND visible <= ?2 ORDER BY id LIMIT ?3";
        let messages = lock(&self.messages);
        let mut statement = messages.prepare_cached(sql).map_err(broken)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![queue, now, most], |row| {
            Ok(Message {
                id: row.get(0)?,
                body: row.get(1)?,
                received: row.get(2)?,
            })
        });
        rows.and_then(Iterator::collect).map_err(broken)
    }

    fn delete(&self, message: &Message) -> Result<(), Error> {
        let sql = "DELETE FROM messages WHERE id = ?1";
        self.change(sql, params![message.id])
    }

    fn bring_again(&self, message: &Message, at: i64) -> Result<(), Error> {
        let sql = "UPDATE messages SET received = received + 1, visible = ?2 WHERE id = ?1";
        self.change(sql, params![message.id, at])
    }

    fn change(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), Error> {
        let messages = lock(&self.messages);
        let mut statement = messages.prepare_cached(sql).map_err(broken)?;
        statement.execute(values).map_err(broken)?;
        Ok(())
    }
}

fn broken(error: rusqlite::Error) -> Error {
    Error::Queue(error.to_string())
}

/// The reader of one queue.
pub(crate) struct QueueReader {
    cloud: Cloud,
    mapping: QueueMapping,
    invoke: InvokeQueue,
    backoff: Backoff,
}

impl QueueReader {
    pub(crate) fn new(
        cloud: Cloud,
        mapping: QueueMapping,
        invoke: InvokeQueue,
        backoff: Backoff,
    ) -> Self {
        QueueReader {
            cloud,
            mapping,
            invoke,
            backoff,
        }
    }

    /// Passes messages to the function until each is processed or a dead letter.
    pub(crate) async fn drain(&self) -> Result<(), Error> {
        while self.poll().await? > 0 {}
        Ok(())
    }

    /// Passes messages to the function as they arrive. It does not return.
    pub(crate) async fn follow(&self) {
        let mut sent = self.cloud.queues().sent.subscribe();
        loop {
            match self.poll().await {
                Ok(0) => {
                    // What failed before is visible again at some time.
                    let _ = tokio::time::timeout(POLL, sent.changed()).await;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "messages wait in the queue");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Passes one batch to the function, and returns its number of messages.
    async fn poll(&self) -> Result<usize, Error> {
        let queues = self.cloud.queues();
        let now = || (self.cloud.clock())().as_millisecond();
        let batch = queues.visible(&self.mapping.queue, now(), self.mapping.batch_size)?;
        if batch.is_empty() {
            return Ok(0);
        }
        let failed = self.call(&batch).await;
        for message in &batch {
            if !failed(message) {
                queues.delete(message)?;
                continue;
            }
            let attempts = message.received + 1;
            if attempts >= self.mapping.receives {
                self.give_up(message, attempts);
                queues.delete(message)?;
            } else {
                let pause = self.backoff.before(message.received);
                let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                queues.bring_again(message, now().saturating_add(pause))?;
            }
        }
        Ok(batch.len())
    }

    /// Calls the function once, and returns the messages that failed. A response that names an unknown message fails all of
    /// them, as in Lambda.
    async fn call(&self, batch: &[Message]) -> impl Fn(&Message) -> bool + use<> {
        let queue = &self.mapping.queue;
        let records: Vec<Value> = batch
            .iter()
            .map(|message| {
                json!({
                    "messageId": message.id.to_string(),
                    "receiptHandle": message.id.to_string(),
                    "body": message.body,
                    "attributes": {"ApproximateReceiveCount": (message.received + 1).to_string()},
                    "messageAttributes": {},
                    "eventSource": "aws:sqs",
                    "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{queue}"),
                    "awsRegion": "us-east-1",
                })
            })
            .collect();
        let failed: Option<Vec<i64>> = match serde_json::from_value(json!({"Records": records})) {
            Ok(event) => {
                let answer = (self.invoke)(event).await;
                let named = answer.batch_item_failures.iter().map(|failure| {
                    let id = failure.item_identifier.parse().ok()?;
                    batch.iter().any(|message| message.id == id).then_some(id)
                });
                named.collect()
            }
            Err(_) => None,
        };
        move |message| {
            failed
                .as_ref()
                .is_none_or(|failed| failed.contains(&message.id))
        }
    }

    fn give_up(&self, message: &Message, attempts: u32) {
        tracing::warn!(
            attempts,
            function = self.mapping.function,
            "a message was given up on"
        );
        let body = serde_json::from_str(&message.body);
        self.cloud.dead_letter(DeadLetter {
            records: vec![body.unwrap_or_else(|_| json!(message.body))],
            attempts,
            reason: "the function reported the message as failed".to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(queues: &Queues, queue: &str, now: i64) -> Vec<(String, u32)> {
        let visible = queues.visible(queue, now, 10).unwrap();
        let read = |message: Message| (message.body, message.received);
        visible.into_iter().map(read).collect()
    }

    #[test]
    fn messages_outlive_the_process_and_come_again_when_it_is_time() {
        let directory = crate::tests::directory();
        let file = directory.path().join("queues.sqlite");
        let queues = Queues::open(&file).unwrap();
        queues.send("q", "a").unwrap();
        queues.send("other", "b").unwrap();
        queues.send("q", "c").unwrap();
        let first = queues.visible("q", 0, 1).unwrap().remove(0);
        queues.bring_again(&first, 1_000).unwrap();
        drop(queues);
        let queues = Queues::open(&file).unwrap();
        assert_eq!(bodies(&queues, "q", 999), [("c".to_owned(), 0)]);
        let both = [("a".to_owned(), 1), ("c".to_owned(), 0)];
        assert_eq!(bodies(&queues, "q", 1_000), both);
        for message in queues.visible("q", 1_000, 10).unwrap() {
            queues.delete(&message).unwrap();
        }
        assert_eq!(bodies(&queues, "q", 1_000), []);
        assert_eq!(bodies(&queues, "other", 0).len(), 1);
    }
}
