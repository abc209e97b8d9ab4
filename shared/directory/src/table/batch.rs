//! Many items at once, without a transaction: read by 100, written by 25, side by side.

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

/// The most keys of one request ("BatchGetItem", Amazon DynamoDB API Reference).
pub(crate) const KEYS: usize = 100;
/// The most writes of one request ("BatchWriteItem", Amazon DynamoDB API Reference).
const WRITES: usize = 25;
/// How many requests are under way at once.
const SIDE_BY_SIDE: usize = 64;

/// How long the steps of one operation may take. API Gateway waits 30 seconds.
const IN_ALL: Duration = Duration::from_secs(24);

/// When an operation in steps gives up. It must have stopped before anybody
/// takes it for interrupted, which is [`crate::resource::recovery::LEASE`] after it began.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + IN_ALL)
    }

    /// [`Error::Busy`] when it is over.
    pub(crate) fn check(self) -> Result<(), Error> {
        match Instant::now() < self.0 {
            true => Ok(()),
            false => Err(Error::Busy),
        }
    }
}

/// Whether a write of several items is over when it has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempts {
    /// Every attempt was answered.
    Answered,
    /// The connection of an attempt broke. It may still be carried out, after the one that succeeded, and undo what is
    /// written to the same keys in between: writes of `BatchWriteItem` have no condition and no token.
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
    /// The items at these keys that exist, read strongly, in no order.
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
            // Some may be left to be asked for again.
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

    /// Writes items, and deletes those at the keys without one, in no order.
    /// When it fails some are written and some are not.
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
                        // It goes on, so it is worth waiting for.
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
