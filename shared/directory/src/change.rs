//! A change: everything that one request writes, in one transaction.
//!
//! Each write names what its refusal means, so nobody counts the positions of
//! cancellation reasons afterwards.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use tokio::time::Instant;

use crate::error::{Error, is_throttling};
use crate::event::Event;
use crate::item::{self, Item};
use crate::key::{Key, PK};
use crate::store::Store;

/// What it means that the condition of a write does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Another resource has the value of this attribute.
    Uniqueness(&'static str),
    /// The item is not as it was when the change was decided.
    Changed,
}

/// Why a change was not written.
pub(crate) enum NotCommitted {
    /// A condition does not hold.
    Refused(Refused),
    /// Another transaction was writing the same items, or DynamoDB throttled.
    Contended,
    /// Something failed that should not.
    Broken(Error),
}

/// Everything that one request writes. DynamoDB takes at most 100 writes in a
/// transaction ("Service, account, and table quotas").
#[derive(Default)]
pub(crate) struct Change {
    writes: Vec<(Write, Refused)>,
}

enum Write {
    Put {
        key: Key,
        item: Item,
        condition: Option<Condition>,
    },
    Delete {
        key: Key,
        condition: Option<Condition>,
    },
    Add {
        key: Key,
        by: i64,
    },
}

enum Condition {
    Absent,
    Version(u64),
}

impl Change {
    /// Writes an item where none is.
    pub(crate) fn create(&mut self, key: Key, item: Item, refused: Refused) {
        self.writes.push((
            Write::Put {
                key,
                item,
                condition: Some(Condition::Absent),
            },
            refused,
        ));
    }

    /// Writes an item that nobody else writes.
    pub(crate) fn put(&mut self, key: Key, item: Item) {
        self.writes.push((
            Write::Put {
                key,
                item,
                condition: None,
            },
            Refused::Changed,
        ));
    }

    /// Replaces a resource that is still in `version`.
    pub(crate) fn replace(&mut self, key: Key, item: Item, version: u64) {
        self.writes.push((
            Write::Put {
                key,
                item,
                condition: Some(Condition::Version(version)),
            },
            Refused::Changed,
        ));
    }

    /// Deletes a resource that is still in `version`.
    pub(crate) fn delete(&mut self, key: Key, version: u64) {
        self.writes.push((
            Write::Delete {
                key,
                condition: Some(Condition::Version(version)),
            },
            Refused::Changed,
        ));
    }

    /// Deletes an item that nobody else writes.
    pub(crate) fn remove(&mut self, key: Key) {
        self.writes.push((
            Write::Delete {
                key,
                condition: None,
            },
            Refused::Changed,
        ));
    }

    /// Adds to a count.
    pub(crate) fn count(&mut self, key: Key, by: i64) {
        self.writes.push((Write::Add { key, by }, Refused::Changed));
    }

    /// Announces the change. A change has one event: items of one transaction
    /// may leave a stream in another order.
    pub(crate) fn event(&mut self, event: Event) {
        let (key, item) = event.into_item();
        self.put(key, item);
    }

    /// Writes everything or nothing.
    pub(crate) async fn commit(self, store: &Store) -> Result<(), NotCommitted> {
        let mut refusals = Vec::with_capacity(self.writes.len());
        let mut actions = Vec::with_capacity(self.writes.len());
        for (write, refused) in self.writes {
            actions.push(write.action(store.table()).map_err(NotCommitted::Broken)?);
            refusals.push(refused);
        }
        // The SDK sets a client request token, so a call that it repeats after
        // a lost answer is carried out once.
        match store
            .client()
            .transact_write_items()
            .set_transact_items(Some(actions))
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => Err(not_committed(error, &refusals)),
        }
    }
}

impl Write {
    fn action(self, table: &str) -> Result<TransactWriteItem, Error> {
        let action = TransactWriteItem::builder();
        Ok(match self {
            Self::Put {
                key,
                mut item,
                condition,
            } => {
                item.extend(key.attributes());
                let mut put = Put::builder().table_name(table).set_item(Some(item));
                match condition {
                    Some(Condition::Absent) => {
                        put = put
                            .condition_expression("attribute_not_exists(#pk)")
                            .expression_attribute_names("#pk", PK);
                    }
                    Some(Condition::Version(version)) => {
                        put = put
                            .condition_expression("#v = :v")
                            .expression_attribute_names("#v", item::VERSION)
                            .expression_attribute_values(":v", item::number(version));
                    }
                    None => {}
                }
                action.put(put.build().map_err(Error::broken)?)
            }
            Self::Delete { key, condition } => {
                let mut delete = Delete::builder()
                    .table_name(table)
                    .set_key(Some(key.attributes()));
                match condition {
                    Some(Condition::Version(version)) => {
                        delete = delete
                            .condition_expression("#v = :v")
                            .expression_attribute_names("#v", item::VERSION)
                            .expression_attribute_values(":v", item::number(version));
                    }
                    Some(Condition::Absent) | None => {}
                }
                action.delete(delete.build().map_err(Error::broken)?)
            }
            Self::Add { key, by } => action.update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(key.attributes()))
                    .update_expression("ADD #n :by")
                    .expression_attribute_names("#n", item::COUNT)
                    .expression_attribute_values(":by", item::number(by))
                    .build()
                    .map_err(Error::broken)?,
            ),
        }
        .build())
    }
}

fn not_committed<R>(
    error: SdkError<TransactWriteItemsError, R>,
    refusals: &[Refused],
) -> NotCommitted
where
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default();
    if is_throttling(code)
        || code == "TransactionInProgressException"
        || code == "TransactionConflictException"
    {
        return NotCommitted::Contended;
    }
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return NotCommitted::Broken(Error::from_sdk(error));
    };
    let mut contended = false;
    let mut refused: Option<Refused> = None;
    for (reason, meaning) in cancelled.cancellation_reasons().iter().zip(refusals) {
        match reason.code().unwrap_or("None") {
            // A resource that has moved on says nothing yet about its new values.
            "ConditionalCheckFailed" if refused != Some(Refused::Changed) => {
                refused = Some(*meaning)
            }
            "TransactionConflict" => contended = true,
            code if is_throttling(code) => contended = true,
            _ => {}
        }
    }
    match refused {
        Some(refused) => NotCommitted::Refused(refused),
        None if contended => NotCommitted::Contended,
        None => NotCommitted::Broken(Error::from_sdk(error)),
    }
}

/// How long a request goes on trying what others hinder: writes that meet, or
/// throttling. Okta waits 60 seconds, API Gateway 30; DynamoDB's conflicts pass
/// in milliseconds.
pub(crate) struct Backoff {
    attempt: u32,
    until: Instant,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_millis(640);
    const IN_ALL: Duration = Duration::from_secs(8);

    pub(crate) fn new() -> Self {
        Self {
            attempt: 0,
            until: Instant::now() + Self::IN_ALL,
        }
    }

    /// Waits before the next attempt, for a random part of a time that doubles;
    /// [`Error::Busy`] when all of it has taken long enough.
    pub(crate) async fn wait(&mut self) -> Result<(), Error> {
        if Instant::now() >= self.until {
            return Err(Error::Busy);
        }
        let most = Self::FIRST
            .saturating_mul(1 << self.attempt.min(6))
            .min(Self::LONGEST);
        self.attempt += 1;
        tokio::time::sleep(most.mul_f64(fastrand::f64())).await;
        Ok(())
    }
}

/// Sends what DynamoDB throttles again, for as long as a request may take.
pub(crate) async fn patiently<T, E, F>(send: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, SdkError<E>>>,
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let mut backoff = Backoff::new();
    loop {
        match send().await.map_err(Error::from_sdk) {
            Err(Error::Busy) => backoff.wait().await?,
            outcome => return outcome,
        }
    }
}
