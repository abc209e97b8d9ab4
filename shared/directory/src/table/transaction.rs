//! A change: everything that one request writes, in one transaction.
//!
//! Each write has the meaning of a failed condition beside it, so the caller does
//! not have to count the positions of cancellation reasons.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_dynamodb::Config;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update,
};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::model::error::{Error, is_retryable};
use crate::model::id::{self, DirectoryId, ResourceId};
use crate::table::item::{self, Item};
use crate::table::key::{self, Key, PK};
use crate::table::store::Store;

/// Maximum number of actions in a transaction ("TransactWriteItems", Amazon DynamoDB API Reference).
pub const ACTIONS: usize = 100;
/// The error code of a transaction with the token of a transaction that is in progress.
const IN_PROGRESS: &str = "TransactionInProgressException";
/// Maximum number of bytes of items in a transaction ("TransactWriteItems", Amazon DynamoDB API Reference: 4 MB).
const MAX_TRANSACTION_BYTES: usize = 4_000_000;

/// The meaning of a condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConditionFailure {
    /// Another resource has the value of this attribute.
    Uniqueness(&'static str),
    /// The item has changed since it was read.
    Changed,
    /// A member is already a member, or is not one, or does not exist.
    Members,
    /// The same request was sent before.
    Repeated,
}

/// Why a change was not written.
pub(crate) enum CommitError {
    /// A condition does not hold.
    ConditionFailure(ConditionFailure),
    /// Another transaction was writing the same items, or DynamoDB throttled.
    Contended,
    /// An unexpected failure.
    Broken(Error),
}

/// Everything that one request writes. DynamoDB takes at most 100 writes in a
/// transaction ("Service, account, and table quotas").
#[derive(Default)]
pub(crate) struct Change {
    writes: Vec<(Write, Option<Condition>, ConditionFailure)>,
}

enum Write {
    Put {
        key: Key,
        item: Item,
    },
    /// Sets some attributes and removes others.
    Set {
        key: Key,
        item: Item,
        remove: &'static [&'static str],
    },
    Delete {
        key: Key,
    },
    Add {
        key: Key,
        attribute: &'static str,
        by: i64,
    },
    Check {
        key: Key,
    },
}

/// The condition of a write. If it does not hold, the whole transaction is cancelled.
#[derive(Clone)]
pub(crate) enum Condition {
    /// The item does not exist.
    Absent,
    /// The item does not exist, or it expired before this second.
    AbsentAt(i64),
    /// The item exists.
    Present,
    /// The row of a member that is a user exists.
    UserRow,
    /// The resource is in this version.
    Version(u64),
    /// The group is in this version, and this operation, or none, is under way.
    Group {
        version: u64,
        staged: Option<String>,
    },
    /// The group is in this version, no operation is under way, and it was never a member of a group.
    NeverNested(u64),
    /// The note is due at this time.
    Due(i64),
    /// The note exists, and its users are not being rolled back.
    Standing,
    /// This operation on the group is under way.
    Staged(String),
    /// The group is in this version, and no operation is under way, or this very one: the SDK sends a request again whose
    /// answer was lost.
    Mark { version: u64, operation: String },
    /// This operation on the group is under way, and nobody else has taken it over: it ends when it was read to end, or
    /// when the caller has already made it end.
    Lease { by: String, until: i64, own: i64 },
}

/// A condition expression with its names and values.
pub(crate) struct Expression {
    pub(crate) text: &'static str,
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: Option<HashMap<String, AttributeValue>>,
}

impl Condition {
    pub(crate) fn expression(self) -> Expression {
        let mut values = HashMap::new();
        let (text, names): (_, &[(&str, &str)]) = match self {
            Self::Absent => ("attribute_not_exists(#pk)", &[("#pk", PK)]),
            Self::AbsentAt(now) => {
                values.insert(":now".to_owned(), item::number(now));
                const NAMES: &[(&str, &str)] = &[("#pk", PK), ("#e", item::EXPIRES)];
                ("attribute_not_exists(#pk) OR #e <= :now", NAMES)
            }
            Self::Present => ("attribute_exists(#pk)", &[("#pk", PK)]),
            Self::UserRow => (
                "attribute_exists(#pk) AND attribute_not_exists(#k)",
                &[("#pk", PK), ("#k", item::MEMBER_TYPE)],
            ),
            Self::Version(version) => {
                values.insert(":v".to_owned(), item::number(version));
                ("#v = :v", &[("#v", item::VERSION)])
            }
            Self::Group { version, staged } => {
                values.insert(":v".to_owned(), item::number(version));
                const NAMES: &[(&str, &str)] =
                    &[("#v", item::VERSION), ("#op", item::STAGED_WRITE)];
                match staged {
                    None => ("#v = :v AND attribute_not_exists(#op)", NAMES),
                    Some(staged) => {
                        values.insert(":op".to_owned(), item::string(staged));
                        ("#v = :v AND #op = :op", NAMES)
                    }
                }
            }
            Self::NeverNested(version) => {
                values.insert(":v".to_owned(), item::number(version));
                const NAMES: &[(&str, &str)] = &[
                    ("#v", item::VERSION),
                    ("#op", item::STAGED_WRITE),
                    ("#n", item::TIMES_NESTED),
                ];
                (
                    "#v = :v AND attribute_not_exists(#op) AND attribute_not_exists(#n)",
                    NAMES,
                )
            }
            Self::Due(due) => {
                values.insert(":d".to_owned(), item::number(due));
                ("#d = :d", &[("#d", item::DUE)])
            }
            Self::Standing => (
                "attribute_exists(#pk) AND attribute_not_exists(#x)",
                &[("#pk", PK), ("#x", item::ROLLING_BACK)],
            ),
            Self::Staged(by) => {
                values.insert(":op".to_owned(), item::string(by));
                ("#op = :op", &[("#op", item::STAGED_WRITE)])
            }
            Self::Mark { version, operation } => {
                values.insert(":v".to_owned(), item::number(version));
                values.insert(":op".to_owned(), item::string(operation));
                const NAMES: &[(&str, &str)] =
                    &[("#v", item::VERSION), ("#op", item::STAGED_WRITE)];
                (
                    "#v = :v AND (attribute_not_exists(#op) OR #op = :op)",
                    NAMES,
                )
            }
            Self::Lease { by, until, own } => {
                values.insert(":op".to_owned(), item::string(by));
                values.insert(":u".to_owned(), item::number(until));
                values.insert(":own".to_owned(), item::number(own));
                const NAMES: &[(&str, &str)] =
                    &[("#op", item::STAGED_WRITE), ("#u", item::LEASE_UNTIL)];
                ("#op = :op AND (#u = :u OR #u = :own)", NAMES)
            }
        };
        let name = |(placeholder, name): &(&str, &str)| ((*placeholder).into(), (*name).into());
        Expression {
            text,
            names: names.iter().map(name).collect(),
            values: (!values.is_empty()).then_some(values),
        }
    }
}

impl Change {
    fn push(&mut self, write: Write, condition: Option<Condition>, refused: ConditionFailure) {
        self.writes.push((write, condition, refused));
    }

    /// Writes an item where none is.
    pub(crate) fn create(&mut self, key: Key, item: Item, refused: ConditionFailure) {
        self.push(Write::Put { key, item }, Some(Condition::Absent), refused);
    }

    /// Writes an item where none is, or one that expired before `now`.
    pub(crate) fn create_at(
        &mut self,
        key: Key,
        item: Item,
        now: Timestamp,
        refused: ConditionFailure,
    ) {
        let condition = Some(Condition::AbsentAt(now.as_second()));
        self.push(Write::Put { key, item }, condition, refused);
    }

    /// Writes an item that nothing else writes.
    pub(crate) fn put(&mut self, key: Key, item: Item) {
        self.push(Write::Put { key, item }, None, ConditionFailure::Changed);
    }

    /// Changes an item that still has this `version`. Attributes that this version of Rollcall does not know stay as they are.
    pub(crate) fn replace(&mut self, key: Key, item: Item, version: u64) {
        self.set(key, item, &[], Condition::Version(version));
    }

    /// Sets attributes of an item and removes others. Its other attributes stay as they are.
    pub(crate) fn set(
        &mut self,
        key: Key,
        item: Item,
        remove: &'static [&'static str],
        condition: Condition,
    ) {
        let write = Write::Set { key, item, remove };
        self.push(write, Some(condition), ConditionFailure::Changed);
    }

    /// Deletes an item on a condition.
    pub(crate) fn delete(&mut self, key: Key, condition: Condition, refused: ConditionFailure) {
        self.push(Write::Delete { key }, Some(condition), refused);
    }

    /// Deletes an item that nothing else writes.
    pub(crate) fn remove(&mut self, key: Key) {
        self.push(Write::Delete { key }, None, ConditionFailure::Changed);
    }

    /// Counts a resource that is created (1) or deleted (-1).
    pub(crate) fn count(&mut self, directory: DirectoryId, prefix: &str, id: ResourceId, by: i64) {
        let key = Key::count(directory, prefix, id);
        let attribute = key::digit(id);
        self.push(
            Write::Add { key, attribute, by },
            None,
            ConditionFailure::Changed,
        );
    }

    /// Adds 1 to a number of an item that must exist.
    pub(crate) fn add(&mut self, key: Key, attribute: &'static str, refused: ConditionFailure) {
        let write = Write::Add {
            key,
            attribute,
            by: 1,
        };
        self.push(write, Some(Condition::Present), refused);
    }

    /// Writes nothing, but the item must exist.
    pub(crate) fn check(&mut self, key: Key, refused: ConditionFailure) {
        self.push(Write::Check { key }, Some(Condition::Present), refused);
    }

    /// Refuses a change that is larger than a transaction holds. A staged write calls it before its first transaction.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`].
    pub(crate) fn check_size(&self) -> Result<(), Error> {
        let bytes: usize = self.writes.iter().map(|(write, ..)| write.bytes()).sum();
        match bytes > MAX_TRANSACTION_BYTES {
            false => Ok(()),
            true => Err(Error::TooLarge(format!(
                "This change would write {bytes} bytes at once; at most {MAX_TRANSACTION_BYTES} can be. Nothing was \
                 changed. Send it in several requests with fewer members each."
            ))),
        }
    }

    /// Commits the transaction: all writes or none.
    pub(crate) async fn commit(self, store: &Store) -> Result<(), CommitError> {
        self.check_size().map_err(CommitError::Broken)?;
        let mut refusals = Vec::with_capacity(self.writes.len());
        let mut actions = Vec::with_capacity(self.writes.len());
        for (write, condition, refused) in self.writes {
            let action = write.action(store.table(), condition);
            actions.push(action.map_err(CommitError::Broken)?);
            refusals.push(refused);
        }
        // One token for all attempts: a call that is repeated after a lost answer is carried out once
        // ("TransactWriteItems", Amazon DynamoDB API Reference: Idempotency). The attempts are made here and not by the
        // SDK, which would not say that an answer was lost before the last attempt was throttled.
        let request = store
            .client()
            .transact_write_items()
            .set_transact_items(Some(actions))
            .client_request_token(id::request_token());
        let mut backoff = Backoff::new();
        let mut may_be_written = false;
        loop {
            let once = Config::builder().retry_config(RetryConfig::disabled());
            let attempt = request.clone().customize().config_override(once);
            let error = match attempt.send().await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let code = error.code();
            let in_progress = code == Some(IN_PROGRESS);
            let lost = in_progress || is_lost(&error);
            if !lost && !code.is_some_and(is_retryable) {
                return Err(not_committed(error, &refusals));
            }
            may_be_written |= lost;
            if backoff.wait().await.is_err() {
                return Err(match may_be_written {
                    true => CommitError::Broken(Error::broken(error)),
                    false => CommitError::Contended,
                });
            }
        }
    }
}

impl Write {
    /// Returns the size of the item after the write ("DynamoDB item sizes and formats"), as far as it is known here.
    fn bytes(&self) -> usize {
        let (key, item) = match self {
            Self::Put { key, item } | Self::Set { key, item, .. } => (key, Some(item)),
            Self::Delete { key } | Self::Add { key, .. } | Self::Check { key } => (key, None),
        };
        let key = PK.len() + key.pk.len() + key::SK.len() + key.sk.len();
        let attributes = item.into_iter().flatten();
        let attributes = attributes.map(|(name, value)| name.len() + item::bytes(value));
        key + attributes.sum::<usize>()
    }

    fn action(self, table: &str, condition: Option<Condition>) -> Result<TransactWriteItem, Error> {
        let action = TransactWriteItem::builder();
        let (text, mut names, mut values) = match condition.map(Condition::expression) {
            Some(condition) => (
                Some(condition.text),
                condition.names,
                condition.values.unwrap_or_default(),
            ),
            None => (None, HashMap::new(), HashMap::new()),
        };
        Ok(match self {
            Self::Put { key, item } => {
                let mut item = item::stamped(item);
                item.extend(key.attributes());
                let put = Put::builder()
                    .table_name(table)
                    .set_item(Some(item))
                    .set_condition_expression(text.map(str::to_owned))
                    .set_expression_attribute_names(some(names))
                    .set_expression_attribute_values(some(values));
                action.put(put.build().map_err(Error::broken)?)
            }
            Self::Delete { key } => {
                let delete = Delete::builder()
                    .table_name(table)
                    .set_key(Some(key.attributes()))
                    .set_condition_expression(text.map(str::to_owned))
                    .set_expression_attribute_names(some(names))
                    .set_expression_attribute_values(some(values));
                action.delete(delete.build().map_err(Error::broken)?)
            }
            Self::Check { key } => {
                let check = ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(key.attributes()))
                    .set_condition_expression(text.map(str::to_owned))
                    .set_expression_attribute_names(some(names))
                    .set_expression_attribute_values(some(values));
                action.condition_check(check.build().map_err(Error::broken)?)
            }
            Self::Set { .. } | Self::Add { .. } => {
                let (key, expression) = self.update(&mut names, &mut values);
                let update = Update::builder()
                    .table_name(table)
                    .set_key(key.map(Key::attributes))
                    .update_expression(expression)
                    .set_condition_expression(text.map(str::to_owned))
                    .set_expression_attribute_names(some(names))
                    .set_expression_attribute_values(some(values));
                action.update(update.build().map_err(Error::broken)?)
            }
        }
        .build())
    }

    /// The expression of an update, with its names and values added to those of the condition.
    fn update(
        self,
        names: &mut HashMap<String, String>,
        values: &mut HashMap<String, AttributeValue>,
    ) -> (Option<Key>, String) {
        match self {
            Self::Set { key, item, remove } => {
                (Some(key), set_expression(item, remove, names, values))
            }
            Self::Add { key, attribute, by } => {
                names.insert("#add".to_owned(), attribute.to_owned());
                values.insert(":add".to_owned(), item::number(by));
                let set = set_expression(Item::new(), &[], names, values);
                (Some(key), format!("{set} ADD #add :add"))
            }
            Self::Put { .. } | Self::Delete { .. } | Self::Check { .. } => (None, String::new()),
        }
    }
}

/// `SET … REMOVE …`, with its names and values added to those that are there. It sets the format as well.
pub(crate) fn set_expression(
    item: Item,
    remove: &[&str],
    names: &mut HashMap<String, String>,
    values: &mut HashMap<String, AttributeValue>,
) -> String {
    let mut sets = vec![];
    let mut removes = vec![];
    for (index, (name, value)) in item::stamped(item).into_iter().enumerate() {
        sets.push(format!("#s{index} = :s{index}"));
        names.insert(format!("#s{index}"), name);
        values.insert(format!(":s{index}"), value);
    }
    for (index, name) in remove.iter().enumerate() {
        removes.push(format!("#r{index}"));
        names.insert(format!("#r{index}"), (*name).to_owned());
    }
    let mut expression = format!("SET {}", sets.join(", "));
    if !removes.is_empty() {
        expression = format!("{expression} REMOVE {}", removes.join(", "));
    }
    expression
}

fn some<V>(map: HashMap<String, V>) -> Option<HashMap<String, V>> {
    (!map.is_empty()).then_some(map)
}

/// Whether a request may have been performed in spite of its error.
pub(crate) fn is_lost<E>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            true
        }
        SdkError::ServiceError(answer) => answer.raw().status().is_server_error(),
        _ => false,
    }
}

fn not_committed<R>(
    error: SdkError<TransactWriteItemsError, R>,
    refusals: &[ConditionFailure],
) -> CommitError
where
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default();
    if is_retryable(code) {
        return CommitError::Contended;
    }
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return CommitError::Broken(Error::from_sdk(error));
    };
    let mut contended = false;
    let mut refused: Option<ConditionFailure> = None;
    for (reason, meaning) in cancelled.cancellation_reasons().iter().zip(refusals) {
        match reason.code().unwrap_or("None") {
            // A resource that has moved on says nothing yet about its new values.
            "ConditionalCheckFailed" if refused != Some(ConditionFailure::Changed) => {
                refused = Some(*meaning);
            }
            code if is_retryable(code) => contended = true,
            _ => {}
        }
    }
    match refused {
        Some(refused) => CommitError::ConditionFailure(refused),
        None if contended => CommitError::Contended,
        None => CommitError::Broken(Error::from_sdk(error)),
    }
}

/// The waits between attempts after a transaction conflict or throttling, 8 seconds in all.
/// Okta waits 60 seconds for an answer and API Gateway 30; conflicts end within milliseconds.
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

    /// Waits before the next attempt, for a random part of a time that doubles.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] after 8 seconds in all.
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

/// Sends a request again while DynamoDB throttles it, for at most the time of [`Backoff`].
pub(crate) async fn with_retry<T, E, F>(send: impl Fn() -> F) -> Result<T, Error>
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

impl Store {
    /// Sets attributes of an item and removes others, on a condition; false when it does not hold. The SDK sends a request
    /// again whose answer was lost, so the condition must hold after the change too, or false must do no harm.
    pub(crate) async fn set_attributes(
        &self,
        key: Key,
        item: Item,
        remove: &[&str],
        condition: Condition,
    ) -> Result<bool, Error> {
        let condition = condition.expression();
        let (mut names, mut values) = (condition.names, condition.values.unwrap_or_default());
        let expression = set_expression(item, remove, &mut names, &mut values);
        let request = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key.attributes()))
            .update_expression(expression)
            .condition_expression(condition.text)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values));
        update_if(|| request.clone().send()).await
    }
}

/// As [`with_retry`], for a conditional update. Returns false if the condition does not hold.
pub(crate) async fn update_if<T, F>(send: impl Fn() -> F) -> Result<bool, Error>
where
    F: Future<Output = Result<T, SdkError<UpdateItemError>>>,
{
    let refused = async || match send().await {
        Ok(_) => Ok(true),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    };
    with_retry(refused).await
}
