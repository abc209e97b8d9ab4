//! Deletes what is in directories that are being deleted, and finishes work that was interrupted.
//!
//! Each change of a directory that is being deleted comes here from the table's stream, and each step changes the
//! directory, which brings the next one. So does the beginning of a change of a group that takes more than one transaction,
//! which is noted, and each note of such work: when it is due and the work is left, the work is finished. A step that fails is
//! brought again by Lambda; what keeps failing lands in a queue, and the same DELETE, the next change of the group, or the
//! end of the note's time to live starts anew.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::event::dynamodb::{Event, EventRecord};
use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use directory::{Attended, DirectoryId, Store, SweepOutcome, Unfinished};
use gateway::{Clock, DirectorySecrets, Sleep};
use jiff::Timestamp;
use serde::Deserialize;

/// The function, made once at cold start.
pub struct Sweeper {
    store: Store,
    secrets: DirectorySecrets,
    clock: Clock,
    sleep: Sleep,
}

impl Sweeper {
    /// The sweeper of what is in a store, and of the secrets of its directories.
    #[must_use]
    pub fn new(store: Store, secrets: DirectorySecrets, clock: Clock, sleep: Sleep) -> Self {
        Self {
            store,
            secrets,
            clock,
            sleep,
        }
    }

    /// The sweeper of this Lambda: reads `TABLE_NAME` and `SECRET_PREFIX`.
    ///
    /// # Errors
    ///
    /// When one of them is not set.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where configuration is read and where time comes in"
    )]
    pub async fn from_env() -> Result<Self, String> {
        let table = std::env::var("TABLE_NAME").map_err(|_| "TABLE_NAME is not set")?;
        let prefix = std::env::var("SECRET_PREFIX").map_err(|_| "SECRET_PREFIX is not set")?;
        let config: SdkConfig = aws_config::load_from_env().await;
        let store = Store::from_config(&config, &table);
        let secrets = DirectorySecrets::new(&config, prefix);
        let clock = Arc::new(Timestamp::now);
        Ok(Self::new(store, secrets, clock, gateway::sleep()))
    }

    /// Does the step of each record, and says from which record on Lambda must bring them again.
    pub async fn handle(&self, event: Event) -> DynamoDbEventResponse {
        let mut response = DynamoDbEventResponse::default();
        for record in event.records {
            let sequence = record.change.sequence_number.clone().unwrap_or_default();
            if let Err(reason) = self.step(record).await {
                tracing::error!(sequence, reason, "a step failed");
                let mut failure = DynamoDbBatchItemFailure::default();
                failure.item_identifier = Some(sequence);
                response.batch_item_failures.push(failure);
                break;
            }
        }
        response
    }

    async fn step(&self, record: EventRecord) -> Result<(), String> {
        let (id, version) = match Work::of(record) {
            Some(Work::Deletion(id, version)) => (id, version),
            Some(Work::Begun(unfinished)) => {
                let noted = self.store.note(unfinished, (self.clock)()).await;
                return noted.map_err(|error| chain(&error));
            }
            Some(Work::Noted(unfinished)) => return self.attend(unfinished).await,
            Some(Work::Expired(unfinished)) => {
                let now = (self.clock)();
                // In a box, so that the future of an invocation stays small.
                let finished = Box::pin(self.store.finish(unfinished, now)).await;
                return finished.map_err(|error| chain(&error));
            }
            // The mapping's filter lets nothing else through.
            None => return Ok(()),
        };
        // Before the directory itself goes, which is the note that there is a secret
        // left to delete. Each step does it, for none knows what others have done.
        let deleted = self.secrets.delete(id).await;
        deleted.map_err(|error| error.source_chain())?;
        loop {
            // In a box, so that the future of an invocation stays small.
            let swept = Box::pin(self.store.sweep(id, version, (self.clock)())).await;
            match swept.map_err(|error| chain(&error))? {
                SweepOutcome::NotYet(left) => {
                    let left = Duration::try_from(left).unwrap_or_default();
                    (self.sleep)(left).await;
                }
                SweepOutcome::Deleted => {
                    tracing::info!(directory.id = %id, "a directory is deleted");
                    return Ok(());
                }
                SweepOutcome::More | SweepOutcome::Nothing => return Ok(()),
            }
        }
    }

    /// Waits until a note is due, unless its work is done before, and finishes the work. Notes come in the order in which they
    /// are due, so those that come after one that is waited for wait no longer than they would.
    async fn attend(&self, unfinished: Unfinished) -> Result<(), String> {
        loop {
            let now = (self.clock)();
            // In a box, so that the future of an invocation stays small.
            let attended = Box::pin(self.store.attend(unfinished, now)).await;
            match attended.map_err(|error| chain(&error))? {
                Attended::Done => return Ok(()),
                Attended::Early(left) => {
                    let left = Duration::try_from(left).unwrap_or_default();
                    (self.sleep)(left).await;
                }
            }
        }
    }
}

/// What a record of the stream gives to do.
enum Work {
    /// The step of a directory that is being deleted.
    Deletion(DirectoryId, u64),
    /// Work on a group has begun.
    Begun(Unfinished),
    /// There is a note of work that may have to be finished.
    Noted(Unfinished),
    /// Such a note has expired.
    Expired(Unfinished),
}

impl Work {
    fn of(record: EventRecord) -> Option<Self> {
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
        let Keys { pk, sk } = serde_dynamo::from_item(record.change.keys).ok()?;
        if sk == "META" {
            let Version { version } = serde_dynamo::from_item(record.change.new_image).ok()?;
            return Some(Self::Deletion(pk.parse().ok()?, version));
        }
        let is_note = pk.ends_with("#S");
        let unfinished = Unfinished::at(&pk, &sk)?;
        Some(match record.event_name.as_str() {
            "REMOVE" => Self::Expired(unfinished),
            _ if is_note => Self::Noted(unfinished),
            _ => Self::Begun(unfinished),
        })
    }
}

/// An error and what it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
