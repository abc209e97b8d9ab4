//! Batches of items, without a transaction: reads of 100 items and writes of 25, in parallel.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_dynamodb::Config;
use aws_sdk_dynamodb::types::{DeleteRequest, KeysAndAttributes, PutRequest, WriteRequest};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::model::error::Error;
use crate::table::item::{self, Item};
use crate::table::key::Key;
use crate::table::store::Store;
use crate::table::transaction::{Backoff, is_lost, with_retry};

/// Maximum number of keys in one request ("BatchGetItem", Amazon DynamoDB API Reference).
pub(crate) const KEYS: usize = 100;
/// Maximum number of writes in one request ("BatchWriteItem", Amazon DynamoDB API Reference).
const WRITES: usize = 25;
/// Maximum number of requests in parallel.
const SIDE_BY_SIDE: usize = 64;

/// Maximum time of a staged write. API Gateway waits 30 seconds.
const IN_ALL: Duration = Duration::from_secs(24);

/// The time at which a staged write gives up. It is before the end of its lease
/// ([`crate::resource::recovery::LEASE`]), after which another process may take it over.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + IN_ALL)
    }

    /// Returns [`Error::Busy`] if the time is over.
    pub(crate) fn check(self) -> Result<(), Error> {
        match Instant::now() < self.0 {
            true => Ok(()),
            false => Err(Error::Busy),
        }
    }
}

/// Whether all attempts of a batch write were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempts {
    /// Every attempt was answered.
    Answered,
    /// The connection of an attempt broke. DynamoDB may still perform it after the one that succeeded, and overwrite what
    /// is written to the same keys in between: writes of `BatchWriteItem` have no condition and no token.
    Lost,
}

impl Attempts {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Answered, Self::Answered) => Self::Answered,
            _ => Self::Lost,
        }
    }
}

impl Store {
    /// Returns the items at these keys that exist, read with strong consistency, in no order.
    pub(crate) async fn get_all(&self, keys: Vec<Key>) -> Result<Vec<Item>, Error> {
        let chunks: Vec<Vec<Key>> = keys.chunks(KEYS).map(<[Key]>::to_vec).collect();
        let read = stream::iter(chunks).map(|chunk| self.get_some(chunk));
        let items: Vec<Vec<Item>> = read.buffer_unordered(SIDE_BY_SIDE).try_collect().await?;
        Ok(items.into_iter().flatten().collect())
    }

    async fn get_some(&self, keys: Vec<Key>) -> Result<Vec<Item>, Error> {
        let mut keys: Vec<_> = keys.into_iter().map(Key::attributes).collect();
        let mut found = vec![];
        let mut backoff = Backoff::new();
        while !keys.is_empty() {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .map_err(Error::broken)?;
            let request = self
                .client()
                .batch_get_item()
                .request_items(self.table(), request);
            let answer = with_retry(|| request.clone().send()).await?;
            found.extend(answer.responses.unwrap_or_default().into_values().flatten());
            // DynamoDB may leave some keys to be asked for again.
            keys = answer
                .unprocessed_keys
                .unwrap_or_default()
                .into_values()
                .flat_map(|left| left.keys)
                .collect();
            if !keys.is_empty() {
                backoff.wait().await?;
            }
        }
        Ok(found)
    }

    /// Writes items, and deletes the items at keys without one, in no order.
    /// After an error, some of the writes may be done.
    pub(crate) async fn write_all(
        &self,
        writes: Vec<(Key, Option<Item>)>,
        deadline: Deadline,
    ) -> Result<Attempts, Error> {
        let mut requests = vec![];
        for (key, item) in writes {
            let request = WriteRequest::builder();
            requests.push(match item {
                Some(item) => {
                    let mut item = item::stamped(item);
                    item.extend(key.attributes());
                    let put = PutRequest::builder().set_item(Some(item)).build();
                    request.put_request(put.map_err(Error::broken)?).build()
                }
                None => {
                    let delete = DeleteRequest::builder().set_key(Some(key.attributes()));
                    let delete = delete.build().map_err(Error::broken)?;
                    request.delete_request(delete).build()
                }
            });
        }
        let chunks: Vec<Vec<WriteRequest>> = requests.chunks(WRITES).map(<[_]>::to_vec).collect();
        stream::iter(chunks)
            .map(|chunk| self.write_some(chunk, deadline))
            .buffer_unordered(SIDE_BY_SIDE)
            .try_fold(Attempts::Answered, async |all, some| Ok(all.and(some)))
            .await
    }

    async fn write_some(
        &self,
        mut writes: Vec<WriteRequest>,
        deadline: Deadline,
    ) -> Result<Attempts, Error> {
        let mut attempts = Attempts::Answered;
        let mut backoff = Backoff::new();
        while !writes.is_empty() {
            deadline.check()?;
            let request = self
                .client()
                .batch_write_item()
                .request_items(self.table(), writes.clone());
            // The attempts are made here and not by the SDK, which would not say that one was lost.
            let once = Config::builder().retry_config(RetryConfig::disabled());
            match request.customize().config_override(once).send().await {
                Ok(answer) => {
                    let left = answer.unprocessed_items.unwrap_or_default();
                    let left: Vec<WriteRequest> = left.into_values().flatten().collect();
                    if left.len() < writes.len() {
                        // There was progress, so the time of the backoff begins again.
                        backoff = Backoff::new();
                    }
                    writes = left;
                }
                Err(error) if is_lost(&error) => attempts = Attempts::Lost,
                Err(error) => match Error::from_sdk(error) {
                    Error::Busy => {}
                    error => return Err(error),
                },
            }
            if !writes.is_empty() {
                backoff.wait().await?;
            }
        }
        Ok(attempts)
    }
}
