//! Moves event items from the table's stream to the bus.
//!
//! Every entry's result is read, and exactly the records that are not on the
//! bus are reported, so that Lambda retries those. A record that failed for a
//! reason that may pass holds back the ones after it, because events of one
//! directory leave in the order in which they were written; a record that can
//! never be sent holds back nothing. An event keeps its id however often it is sent.
//!
//! An event item that changed members becomes one event for each of them.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::DisplayErrorContext;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use directory::{Announcement, EventItem, MEMBERS_AT_ONCE, SOURCE, Store};

/// The most entries of one call ("PutEvents", Amazon EventBridge API Reference).
const MAX_ENTRIES: usize = 10;
/// The most bytes of one call ("Amazon EventBridge quotas").
const MAX_BYTES: usize = 256 * 1024;
/// What EventBridge counts for an entry's time, in bytes ("Calculating Amazon EventBridge event entry size").
const TIME_BYTES: usize = 14;
/// How many entries are made before some are sent.
const FLUSHED: usize = 500;
/// How often the refused entries of a call are sent before Lambda is left to retry them.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// The function, made once at cold start.
pub struct Publisher {
    client: Client,
    bus: String,
    /// For the data of members, whom event items name by their ids.
    store: Store,
}

/// Why a record was not made into entries.
enum Unread {
    /// It is none of ours.
    Never(String),
    /// What it needs cannot be had now, or the bus is down.
    NotNow,
}

/// An event that is to be sent, and the record that it is from.
struct Outgoing {
    sequence: String,
    entry: PutEventsRequestEntry,
    bytes: usize,
}

/// What became of a chunk.
struct Failed {
    /// The records that are not on the bus.
    sequences: Vec<String>,
    /// Whether one of them may be accepted later.
    may_pass: bool,
}

impl Publisher {
    /// The publisher that sends to `bus`, a name or an ARN, what is in `store`.
    #[must_use]
    pub fn new(config: &SdkConfig, bus: String, store: Store) -> Self {
        Self {
            client: Client::new(config),
            bus,
            store,
        }
    }

    /// The publisher of this Lambda: reads `BUS_NAME` and `TABLE_NAME`.
    ///
    /// # Errors
    ///
    /// When one is not set.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where configuration is read"
    )]
    pub async fn from_env() -> Result<Self, String> {
        let required = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let (bus, table) = (required("BUS_NAME")?, required("TABLE_NAME")?);
        let config = aws_config::load_from_env().await;
        let store = Store::from_config(&config, &table);
        Ok(Self::new(&config, bus, store))
    }

    /// Sends the event items of a batch in their order, and says which records Lambda must bring again.
    pub async fn handle(&self, event: Event) -> DynamoDbEventResponse {
        let order: Vec<String> = event.records.iter().map(sequence).collect();
        let mut failed = BTreeSet::new();
        let mut outgoing = vec![];
        let mut records = event.records.into_iter();
        let mut broken = false;
        for record in records.by_ref() {
            let sequence = sequence(&record);
            match self.read(record, &mut outgoing, &mut failed).await {
                Ok(()) => {}
                Err(Unread::Never(reason)) => {
                    tracing::error!(sequence, reason, "a record is no event item");
                    failed.insert(sequence);
                }
                Err(Unread::NotNow) => {
                    failed.insert(sequence);
                    broken = true;
                    break;
                }
            }
        }
        // What comes after a record that may pass later waits for it.
        let held = records.map(|record| self::sequence(&record));
        if broken {
            failed.extend(held);
        }
        self.flush(outgoing, &mut failed).await;
        let mut response = DynamoDbEventResponse::default();
        let failed = order
            .into_iter()
            .filter(|sequence| failed.contains(sequence));
        response.batch_item_failures = failed.map(failure).collect();
        response
    }

    /// Sends all that is waiting; false when something of it may be taken later.
    async fn flush(&self, outgoing: Vec<Outgoing>, failed: &mut BTreeSet<String>) -> bool {
        let mut chunks = chunks(outgoing).into_iter();
        while let Some(chunk) = chunks.next() {
            let lost = self.send(chunk).await;
            failed.extend(lost.sequences);
            if lost.may_pass {
                failed.extend(chunks.by_ref().flatten().map(|unsent| unsent.sequence));
                return false;
            }
        }
        true
    }

    /// Makes entries of a record, which are none for a record that is not the
    /// publisher's and many for one with many members. What is ready is sent in between.
    async fn read(
        &self,
        record: EventRecord,
        outgoing: &mut Vec<Outgoing>,
        failed: &mut BTreeSet<String>,
    ) -> Result<(), Unread> {
        // The mapping's filter lets only new event items through.
        if record.event_name != "INSERT" {
            return Ok(());
        }
        let sequence = sequence(&record);
        let item: EventItem = serde_dynamo::from_item(record.change.new_image)
            .map_err(|error| Unread::Never(error.to_string()))?;
        // The error of serde_json would quote the event.
        let unreadable = || Unread::Never("its detail is none of ours".to_owned());
        let announcement = item.announcement().map_err(|_| unreadable())?;
        let members = item.members().map_err(|_| unreadable())?;
        outgoing.extend(announcement.map(|event| self.entry(&sequence, event)));
        for members in members.chunks(MEMBERS_AT_ONCE) {
            // In a box, so that the future of an invocation stays small.
            let events = Box::pin(self.store.announcements(&item, members)).await;
            let events = events.map_err(|error| {
                tracing::error!(sequence, error = %error, "the members of an event cannot be read");
                Unread::NotNow
            })?;
            outgoing.extend(events.into_iter().map(|event| self.entry(&sequence, event)));
            if outgoing.len() >= FLUSHED && !self.flush(std::mem::take(outgoing), failed).await {
                return Err(Unread::NotNow);
            }
        }
        Ok(())
    }

    fn entry(&self, sequence: &str, event: Announcement) -> Outgoing {
        let detail_type = event.detail_type.as_str();
        let bytes = TIME_BYTES + SOURCE.len() + detail_type.len() + event.detail.len();
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(SOURCE)
            .detail_type(detail_type)
            .time(DateTime::from_millis(event.time.as_millisecond()))
            .detail(event.detail)
            .build();
        Outgoing {
            sequence: sequence.to_owned(),
            entry,
            bytes,
        }
    }

    /// Sends what one call takes.
    async fn send(&self, mut chunk: Vec<Outgoing>) -> Failed {
        let mut lost = Failed {
            sequences: vec![],
            may_pass: false,
        };
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let entries = chunk
                .iter()
                .map(|outgoing| outgoing.entry.clone())
                .collect();
            let results = match self
                .client
                .put_events()
                .set_entries(Some(entries))
                .send()
                .await
            {
                Ok(answer) => answer.entries.unwrap_or_default(),
                Err(error) => {
                    // The SDK has retried already.
                    tracing::error!(error = %DisplayErrorContext(&error), entries = chunk.len(), "the bus took nothing");
                    break;
                }
            };
            let mut refused = vec![];
            for (position, outgoing) in chunk.into_iter().enumerate() {
                match results.get(position).map(outcome) {
                    Some(Outcome::Accepted) => {}
                    Some(Outcome::Never(code)) => {
                        tracing::error!(
                            sequence = outgoing.sequence,
                            code,
                            "the bus will never take an event"
                        );
                        lost.sequences.push(outgoing.sequence);
                    }
                    Some(Outcome::NotNow(code)) => {
                        tracing::warn!(
                            sequence = outgoing.sequence,
                            code,
                            attempt,
                            "the bus refused an event"
                        );
                        refused.push(outgoing);
                    }
                    None => refused.push(outgoing),
                }
            }
            chunk = refused;
            if chunk.is_empty() {
                return lost;
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        lost.may_pass = true;
        lost.sequences
            .extend(chunk.into_iter().map(|outgoing| outgoing.sequence));
        lost
    }
}

enum Outcome<'a> {
    Accepted,
    /// Refused for a reason that may pass.
    NotNow(&'a str),
    /// Refused for what the event is.
    Never(&'a str),
}

fn outcome(result: &PutEventsResultEntry) -> Outcome<'_> {
    match result.error_code() {
        None => Outcome::Accepted,
        Some(code @ ("MalformedDetail" | "InvalidArgument")) => Outcome::Never(code),
        Some(code) => Outcome::NotNow(code),
    }
}

/// As few calls as the limits allow, in the same order.
fn chunks(outgoing: Vec<Outgoing>) -> Vec<Vec<Outgoing>> {
    let mut chunks: Vec<Vec<Outgoing>> = vec![];
    let mut bytes = 0;
    for next in outgoing {
        bytes += next.bytes;
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < MAX_ENTRIES && bytes <= MAX_BYTES => chunk.push(next),
            _ => {
                bytes = next.bytes;
                chunks.push(vec![next]);
            }
        }
    }
    chunks
}

fn sequence(record: &EventRecord) -> String {
    record.change.sequence_number.clone().unwrap_or_default()
}

fn failure(sequence: String) -> DynamoDbBatchItemFailure {
    let mut failure = DynamoDbBatchItemFailure::default();
    failure.item_identifier = Some(sequence);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(bytes: &[usize]) -> Vec<Outgoing> {
        let entry = PutEventsRequestEntry::builder().build();
        bytes
            .iter()
            .map(|bytes| Outgoing {
                sequence: String::new(),
                entry: entry.clone(),
                bytes: *bytes,
            })
            .collect()
    }

    fn sizes(bytes: &[usize]) -> Vec<usize> {
        chunks(outgoing(bytes)).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_call_takes_ten_entries_and_256_kilobytes() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 10]), [10]);
        assert_eq!(sizes(&[1; 25]), [10, 10, 5]);
        assert_eq!(sizes(&[MAX_BYTES, 1, MAX_BYTES - 1, 1]), [1, 2, 1]);
        assert_eq!(sizes(&[MAX_BYTES / 2; 5]), [2, 2, 1]);
    }
}
