//! Moves event items from the table's stream to the bus.
//!
//! The events of one directory leave in the order in which they were written,
//! and directories do not wait for each other: each has a share of an
//! invocation, and what is left of its events is noted in the table
//! ([`directory::Backlog`]), whose stream brings the publisher back to it. An
//! event keeps its id however often it is sent.
//!
//! | what happens to an event | what follows |
//! |---|---|
//! | the bus takes it | it is done |
//! | a call is refused as a whole | its entries are sent one by one |
//! | the bus refuses it for what it is, or it cannot be read | it is parked with the reason ([`directory::Parked`]), the dead-letter queue is told, and it is done |
//! | the bus does not take it now, but others | it waits in the backlog |
//! | the bus takes nothing, or the table cannot be written | its record is reported, and Lambda brings it again |
//!
//! An event item that changed members becomes one event for each of them.

mod bus;
mod lane;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use directory::{DirectoryId, Parked, Published, Store, Waiting};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};

use bus::Bus;
use lane::{Lane, READ_TIME, Ran, SHARE_TIME, Stop, Unreadable, Work};

/// How long before its end an invocation stops, so that it can say what is done.
const SPARE: Duration = Duration::from_secs(30);
/// How long it may take to note what is left.
const NOTING: Duration = Duration::from_secs(10);
/// How many directories are handled side by side. Each holds some megabytes.
const SIDE_BY_SIDE: usize = 16;

/// The function, made once at cold start.
pub struct Publisher {
    bus: Bus,
    /// For what waits and what is parked, and for the data of members, whom event items name by their ids.
    store: Store,
    dead_letters: DeadLetters,
}

/// The queue that is told what is parked.
struct DeadLetters {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl Publisher {
    /// The publisher that sends to `bus`, a name or an ARN, what is in `store`, and tells the queue at the URL
    /// `dead_letters` what cannot be sent.
    #[must_use]
    pub fn new(config: &SdkConfig, bus: String, dead_letters: String, store: Store) -> Self {
        Self {
            bus: Bus::new(config, bus),
            store,
            dead_letters: DeadLetters {
                client: aws_sdk_sqs::Client::new(config),
                url: dead_letters,
            },
        }
    }

    /// The publisher of this Lambda: reads `BUS_NAME`, `TABLE_NAME` and `DEAD_LETTERS_URL`.
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
        let dead_letters = required("DEAD_LETTERS_URL")?;
        let config = aws_config::load_from_env().await;
        let store = Store::from_config(&config, &table);
        Ok(Self::new(&config, bus, dead_letters, store))
    }

    /// Sends the event items of a batch, and says which records Lambda must bring again. `remaining` is the time
    /// until the end of the invocation; it stops 30 seconds before.
    pub async fn handle(&self, event: Event, remaining: Duration) -> DynamoDbEventResponse {
        let begin = Instant::now();
        let stop = begin + remaining.saturating_sub(SPARE).max(remaining / 2);
        let order: Vec<String> = event.records.iter().map(sequence).collect();
        let lanes = lanes(event.records);
        // Those of directories that are not through in time are brought again.
        let mut failed: BTreeSet<String> = records(&lanes).collect();
        let lanes = lanes.into_values().map(|lane| {
            // In a box, so that the future of an invocation stays small.
            Box::pin(self.run(lane, begin + SHARE_TIME, stop))
        });
        let lanes = stream::iter(lanes).buffer_unordered(SIDE_BY_SIDE);
        let ran = until(stop + READ_TIME, lanes).await;
        let bus_works = ran.iter().any(|ran| ran.accepted);
        let noted = ran
            .into_iter()
            .map(|ran| Box::pin(self.note(ran, bus_works)));
        let noted = stream::iter(noted).buffer_unordered(SIDE_BY_SIDE);
        for (records, again) in until(stop + READ_TIME + NOTING, noted).await {
            failed.retain(|record| !records.contains(record));
            failed.extend(again);
        }
        let mut response = DynamoDbEventResponse::default();
        let failed = order
            .into_iter()
            .filter(|sequence| failed.contains(sequence));
        response.batch_item_failures = failed.map(failure).collect();
        response
    }

    /// Notes what is left of a directory's events: all its records, and those that are to be brought again.
    async fn note(&self, ran: Ran, bus_works: bool) -> (Vec<String>, Vec<String>) {
        let (done, left): (Vec<_>, Vec<_>) = ran.works.iter().partition(|(_, work)| work.done);
        let waits = ran.unread || ran.more || !left.is_empty();
        if ran.stop == Some(Stop::Bus) && !bus_works {
            // Lambda lets more and more time pass before it brings them, which a bus that is down is best met with.
            let mut again: Vec<String> = left
                .iter()
                .filter_map(|(_, work)| work.record.clone())
                .collect();
            if ran.more || left.iter().any(|(_, work)| work.waited()) {
                again.extend(ran.calls.iter().cloned());
            }
            return (ran.records, again);
        }
        let to_wait: Vec<Waiting> = left
            .iter()
            .filter_map(|(place, work)| work.to_wait(place))
            .collect();
        let published = done.iter().filter_map(|(_, work)| work.published());
        let waited = done.iter().filter(|(_, work)| work.waited());
        let waited: Vec<String> = waited.map(|(place, _)| place.clone()).collect();
        let noted = async {
            for attempt in published {
                self.store.unpark(ran.directory, attempt).await?;
            }
            if !to_wait.is_empty() || !waited.is_empty() {
                self.store.let_wait(ran.directory, to_wait, waited).await?;
            }
            match (waits, ran.version) {
                (true, _) => self.store.call_again(ran.directory).await,
                (false, Some(version)) => self.store.end_backlog(ran.directory, version).await,
                (false, None) => Ok(()),
            }
        };
        match noted.await {
            Ok(()) => (ran.records, vec![]),
            Err(error) => {
                let directory: DirectoryId = ran.directory;
                tracing::error!(directory.id = %directory, %error, "what waits cannot be noted");
                (ran.records.clone(), ran.records)
            }
        }
    }

    /// Puts aside what can never be sent.
    async fn park(&self, directory: DirectoryId, parked: &Parked) -> Result<(), ()> {
        let (event, reason) = (&parked.item, &parked.reason);
        if let Err(error) = self.store.park(directory, parked).await {
            tracing::error!(directory.id = %directory, event.id = event, reason, %error, "an event cannot be parked");
            return Err(());
        }
        tracing::error!(directory.id = %directory, event.id = event, reason, "an event was parked");
        let message = serde_json::json!({
            "directory_id": directory,
            "event": event,
            "member": parked.member,
            "reason": reason,
        });
        let queue = &self.dead_letters;
        let sent = queue
            .client
            .send_message()
            .queue_url(&queue.url)
            .message_body(message.to_string())
            .send();
        // It is parked, and listed, which is what counts.
        match timeout(READ_TIME, sent).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let error = aws_sdk_sqs::error::DisplayErrorContext(&error);
                tracing::error!(directory.id = %directory, event.id = event, %error, "the dead-letter queue was not told");
            }
            Err(_) => {
                tracing::error!(directory.id = %directory, event.id = event, "the dead-letter queue did not answer");
            }
        }
        Ok(())
    }
}

/// The records by their directories, those of each in their order.
fn lanes(records: Vec<EventRecord>) -> BTreeMap<DirectoryId, Lane> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(rename = "PK")]
        pk: String,
        #[serde(rename = "SK")]
        sk: String,
    }
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let mut lanes = BTreeMap::new();
    for record in records {
        let sequence = sequence(&record);
        let keys: Option<Keys> = serde_dynamo::from_item(record.change.keys).ok();
        let published = keys
            .as_ref()
            .and_then(|keys| Published::at(&keys.pk, &keys.sk));
        let (Some(published), Some(Keys { sk, .. })) = (published, keys) else {
            tracing::error!(sequence, "a record is of no directory's events");
            continue;
        };
        // The mapping's filter lets only new event items through, and what calls the publisher back.
        match (published, record.event_name.as_str()) {
            (Published::Event(directory), "INSERT") => {
                let lane = lanes
                    .entry(directory)
                    .or_insert_with(|| Lane::new(directory));
                // The error could quote the event.
                let read = serde_dynamo::from_item(record.change.new_image).map_err(|_| Unreadable);
                let work = Work::of_record(sequence.clone(), sk, read);
                lane.events.insert(Waiting::place(&sequence), work);
                lane.records.push(sequence);
            }
            (Published::Backlog(directory), "INSERT" | "MODIFY") => {
                let lane = lanes
                    .entry(directory)
                    .or_insert_with(|| Lane::new(directory));
                let version: Option<Version> =
                    serde_dynamo::from_item(record.change.new_image).ok();
                lane.called = version.map(|of| of.version).or(lane.called);
                lane.calls.push(sequence.clone());
                lane.records.push(sequence);
            }
            _ => {}
        }
    }
    lanes
}

fn records(lanes: &BTreeMap<DirectoryId, Lane>) -> impl Iterator<Item = String> {
    lanes.values().flat_map(|lane| lane.records.iter().cloned())
}

/// What a stream gives until it ends or the time is up.
async fn until<T>(deadline: Instant, stream: impl Stream<Item = T>) -> Vec<T> {
    let mut stream = std::pin::pin!(stream);
    let mut all = vec![];
    while let Ok(Some(next)) = timeout_at(deadline, stream.next()).await {
        all.push(next);
    }
    all
}

fn sequence(record: &EventRecord) -> String {
    record.change.sequence_number.clone().unwrap_or_default()
}

fn failure(sequence: String) -> DynamoDbBatchItemFailure {
    let mut failure = DynamoDbBatchItemFailure::default();
    failure.item_identifier = Some(sequence);
    failure
}
