//! The event source mapping of Lambda for the stream of the table: reads records, filters them, and calls a function until each
//! record is processed or a dead letter.
//!
//! An acknowledged change is published also after a crash: a checkpoint is written only after the function has reported success.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::dynamodb::Event;
use aws_lambda_events::event::streams::DynamoDbEventResponse;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::error::ProvideErrorMetadata;
use aws_sdk_dynamodbstreams::types::{
    AttributeValue, Record as SdkRecord, Shard, ShardIteratorType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::BoxFuture;
use quamina::Quamina;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cloud::{Cloud, DeadLetter};
use crate::template::Mapping;
use crate::{Error, atomic_file, chain};

/// A function that receives records. It returns the records that failed, or fails as a whole.
pub type Invoke =
    Arc<dyn Fn(Event) -> BoxFuture<'static, Result<DynamoDbEventResponse, String>> + Send + Sync>;

/// The pauses before retries of a failed batch. They double with every retry.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The pause before the first retry.
    pub first: Duration,
    /// The maximum pause.
    pub longest: Duration,
}

impl Backoff {
    /// No pauses, for tests.
    pub const NONE: Backoff = Backoff {
        first: Duration::ZERO,
        longest: Duration::ZERO,
    };

    pub(crate) fn before(&self, retry: u32) -> Duration {
        let factor = 2_u32.saturating_pow(retry.min(16));
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// The reader of the stream of a table.
pub(crate) struct StreamReader {
    client: Client,
    cloud: Cloud,
    stream: String,
    mapping: Mapping,
    filter: Filter,
    invoke: Invoke,
    backoff: Backoff,
    checkpoints: Checkpoints,
    shards: Vec<Shard>,
    iterators: BTreeMap<String, String>,
}

/// A stream record as a Lambda function receives it.
#[derive(Clone, Debug)]
struct Record {
    sequence: String,
    json: Value,
}

/// Records that are passed to the function together.
struct Batch {
    records: Vec<Record>,
    retries: u32,
}

/// The error of a batch, and the index of the first record to retry.
struct Failure {
    from: usize,
    reason: String,
}

impl StreamReader {
    pub(crate) fn new(
        cloud: Cloud,
        stream: String,
        mapping: Mapping,
        invoke: Invoke,
        backoff: Backoff,
        file_name: &str,
    ) -> Result<Self, Error> {
        let file = cloud.data().map(|directory| directory.join(file_name));
        Ok(StreamReader {
            client: Client::new(cloud.config()),
            filter: Filter::new(&mapping.patterns)?,
            checkpoints: Checkpoints::open(file, &stream)?,
            cloud,
            stream,
            mapping,
            invoke,
            backoff,
            shards: Vec::new(),
            iterators: BTreeMap::new(),
        })
    }

    /// Passes all records of the stream to the function, and returns their number.
    pub(crate) async fn drain(&mut self) -> Result<usize, Error> {
        // New shards are listed once. The successors of a shard are listed when it is closed.
        self.shards.clear();
        let mut all = 0;
        loop {
            match self.poll().await? {
                0 => return Ok(all),
                some => all += some,
            }
        }
    }

    /// Passes the records of one read of each open shard to the function, and returns their number.
    pub(crate) async fn poll(&mut self) -> Result<usize, Error> {
        if self.shards.is_empty() {
            self.shards = self.describe().await?;
        }
        let mut count = 0;
        for shard in self.open_shards() {
            count += self.read(&shard).await?;
        }
        Ok(count)
    }

    async fn describe(&self) -> Result<Vec<Shard>, Error> {
        let mut shards = Vec::new();
        let mut after = None;
        loop {
            let described = self
                .client
                .describe_stream()
                .stream_arn(&self.stream)
                .set_exclusive_start_shard_id(after)
                .send()
                .await
                .map_err(|error| stream_error(&error))?
                .stream_description;
            let Some(description) = described else {
                return Ok(shards);
            };
            shards.extend(description.shards.unwrap_or_default());
            after = description.last_evaluated_shard_id;
            if after.is_none() {
                return Ok(shards);
            }
        }
    }

    /// Returns the shards to read. A shard waits until its parent is finished, so that the changes of a directory stay in order.
    fn open_shards(&self) -> Vec<String> {
        let ids: Vec<&str> = self.shards.iter().filter_map(Shard::shard_id).collect();
        self.shards
            .iter()
            .filter_map(|shard| {
                let id = shard.shard_id()?;
                let parent = shard
                    .parent_shard_id()
                    .filter(|parent| ids.contains(parent));
                let waits = parent.is_some_and(|parent| !self.checkpoints.finished(parent));
                (!waits && !self.checkpoints.finished(id)).then(|| id.to_owned())
            })
            .collect()
    }

    async fn read(&mut self, shard: &str) -> Result<usize, Error> {
        let Some(iterator) = self.iterator(shard).await? else {
            return Ok(0);
        };
        let answer = match self
            .client
            .get_records()
            .shard_iterator(iterator)
            .send()
            .await
        {
            Ok(answer) => answer,
            // An iterator expires after some minutes. The next read requests a new one at the checkpoint.
            Err(error) if error.code() == Some("ExpiredIteratorException") => return Ok(1),
            Err(error) => return Err(stream_error(&error)),
        };
        let records: Vec<Record> = answer
            .records
            .unwrap_or_default()
            .iter()
            .filter_map(|record| Record::read(record, &self.stream))
            .collect();
        let count = records.len();
        let last = records.last().map(|record| record.sequence.clone());
        let wanted: Vec<Record> = records
            .into_iter()
            .filter(|record| self.filter.wants(&record.json.to_string()))
            .collect();
        for batch in wanted.chunks(self.mapping.batch_size) {
            self.deliver(shard, batch.to_vec()).await?;
        }
        if let Some(last) = last {
            self.checkpoints.reached(shard, &last)?;
        }
        match answer.next_shard_iterator {
            Some(next) => {
                self.iterators.insert(shard.to_owned(), next);
            }
            None => {
                self.checkpoints.finish(shard)?;
                self.shards.clear();
            }
        }
        Ok(count)
    }

    /// Takes the iterator of a shard. It is put back when all of its records were processed, so that an interrupted read starts
    /// again at the checkpoint.
    async fn iterator(&mut self, shard: &str) -> Result<Option<String>, Error> {
        if let Some(iterator) = self.iterators.remove(shard) {
            return Ok(Some(iterator));
        }
        // Without a checkpoint, the whole stream is read, because it only contains changes of this account.
        let from_start = self.checkpoints.after(shard).is_none();
        let answer = self.get_iterator(shard, from_start).await;
        let answer = match answer {
            // The stream keeps records for a day. Older events are in the table.
            Err(error) if error.code() == Some("TrimmedDataAccessException") => {
                self.get_iterator(shard, true).await
            }
            other => other,
        };
        answer.map_err(|error| stream_error(&error))
    }

    async fn get_iterator(
        &self,
        shard: &str,
        from_start: bool,
    ) -> Result<
        Option<String>,
        aws_sdk_dynamodbstreams::error::SdkError<
            aws_sdk_dynamodbstreams::operation::get_shard_iterator::GetShardIteratorError,
        >,
    > {
        let request = self
            .client
            .get_shard_iterator()
            .stream_arn(&self.stream)
            .shard_id(shard);
        let request = match self.checkpoints.after(shard).filter(|_| !from_start) {
            Some(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .sequence_number(sequence),
            None => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
        };
        Ok(request.send().await?.shard_iterator)
    }

    /// Calls the function until every record is processed or a dead letter, with the settings of the mapping.
    async fn deliver(&mut self, shard: &str, records: Vec<Record>) -> Result<(), Error> {
        let mut batches = VecDeque::from([Batch {
            records,
            retries: 0,
        }]);
        while let Some(mut batch) = batches.pop_front() {
            let Some(failure) = self.call(&batch.records).await else {
                self.done(shard, &batch.records)?;
                continue;
            };
            let mut rest = batch.records.split_off(failure.from);
            self.done(shard, &batch.records)?;
            let retries = batch.retries;
            let halves = self.mapping.bisect && failure.from == 0 && rest.len() > 1;
            let exhausted = self.mapping.retries.is_some_and(|most| retries >= most);
            if halves {
                // Halving the batch isolates a record that fails, and lets the others pass. A split does not count as a retry.
                let second = rest.split_off(rest.len() / 2);
                batches.push_front(Batch {
                    records: second,
                    retries,
                });
                batches.push_front(Batch {
                    records: rest,
                    retries,
                });
            } else if exhausted {
                self.give_up(&rest, retries + 1, failure.reason);
                self.done(shard, &rest)?;
                continue;
            } else {
                batches.push_front(Batch {
                    records: rest,
                    retries: retries + 1,
                });
            }
            tokio::time::sleep(self.backoff.before(retries)).await;
        }
        Ok(())
    }

    fn done(&mut self, shard: &str, records: &[Record]) -> Result<(), Error> {
        match records.last() {
            Some(last) => self.checkpoints.reached(shard, &last.sequence),
            None => Ok(()),
        }
    }

    fn give_up(&self, records: &[Record], attempts: u32, reason: String) {
        tracing::warn!(
            records = records.len(),
            attempts,
            reason,
            function = self.mapping.function,
            "a function was given up on; what it was to do stays in the table"
        );
        self.cloud.dead_letter(DeadLetter {
            records: records.iter().map(|record| record.json.clone()).collect(),
            attempts,
            reason,
        });
    }

    /// Calls the function once, and returns the records to retry. As in Lambda, these begin at the lowest sequence number in the
    /// response, and a response with an unknown sequence number fails the batch.
    async fn call(&self, records: &[Record]) -> Option<Failure> {
        let whole = |reason: String| Some(Failure { from: 0, reason });
        let list: Vec<&Value> = records.iter().map(|record| &record.json).collect();
        let event: Event = match serde_json::from_value(json!({"Records": list})) {
            Ok(event) => event,
            Err(error) => return whole(format!("the event could not be built: {error}")),
        };
        let response = match (self.invoke)(event).await {
            Ok(response) => response,
            Err(reason) => return whole(reason),
        };
        if !self.mapping.reports_failures {
            return None;
        }
        let mut from = None::<usize>;
        for failure in &response.batch_item_failures {
            let index = records
                .iter()
                .position(|record| Some(&record.sequence) == failure.item_identifier.as_ref());
            match index {
                None => return whole("the function named a record it was not given".to_owned()),
                Some(index) => from = Some(from.map_or(index, |lowest| lowest.min(index))),
            }
        }
        from.map(|from| Failure {
            from,
            reason: "the function reported the record as failed".to_owned(),
        })
    }
}

fn stream_error(error: &dyn std::error::Error) -> Error {
    Error::Stream(chain(error))
}

impl Record {
    fn read(record: &SdkRecord, stream: &str) -> Option<Record> {
        let change = record.dynamodb()?;
        let sequence = change.sequence_number()?.to_owned();
        let mut inner = Map::new();
        if let Some(time) = change.approximate_creation_date_time() {
            inner.insert(
                "ApproximateCreationDateTime".to_owned(),
                json!(time.as_secs_f64()),
            );
        }
        let images = [
            ("Keys", change.keys()),
            ("NewImage", change.new_image()),
            ("OldImage", change.old_image()),
        ];
        for (name, image) in images {
            if let Some(image) = image {
                let image = image
                    .iter()
                    .map(|(name, value)| (name.clone(), attribute(value)))
                    .collect();
                inner.insert(name.to_owned(), Value::Object(image));
            }
        }
        inner.insert("SequenceNumber".to_owned(), json!(sequence));
        inner.insert("SizeBytes".to_owned(), json!(change.size_bytes()));
        if let Some(view) = change.stream_view_type() {
            inner.insert("StreamViewType".to_owned(), json!(view.as_str()));
        }
        let mut json = json!({
            "eventID": record.event_id(),
            "eventName": record.event_name().map(|name| name.as_str()),
            "eventVersion": record.event_version(),
            "eventSource": record.event_source(),
            "awsRegion": record.aws_region(),
            "dynamodb": inner,
            "eventSourceARN": stream,
        });
        if let (Some(identity), Value::Object(json)) = (record.user_identity(), &mut json) {
            // The engine spells the members as Lambda does, and not as the SDK reads them. Only a deletion by time to live has an
            // identity.
            let kind = identity.r#type().unwrap_or("Service");
            let principal = identity.principal_id().unwrap_or("dynamodb.amazonaws.com");
            json.insert(
                "userIdentity".to_owned(),
                json!({"type": kind, "principalId": principal}),
            );
        }
        Some(Record { sequence, json })
    }
}

/// Returns an attribute as the JSON of DynamoDB.
fn attribute(value: &AttributeValue) -> Value {
    let binary = |blob: &aws_sdk_dynamodbstreams::primitives::Blob| BASE64.encode(blob);
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::Bool(flag) => json!({"BOOL": flag}),
        AttributeValue::Null(flag) => json!({"NULL": flag}),
        AttributeValue::B(blob) => json!({"B": binary(blob)}),
        AttributeValue::Ss(list) => json!({"SS": list}),
        AttributeValue::Ns(list) => json!({"NS": list}),
        AttributeValue::Bs(list) => json!({"BS": list.iter().map(binary).collect::<Vec<_>>()}),
        AttributeValue::L(list) => json!({"L": list.iter().map(attribute).collect::<Vec<_>>()}),
        AttributeValue::M(map) => {
            let map: Map<String, Value> = map
                .iter()
                .map(|(name, value)| (name.clone(), attribute(value)))
                .collect();
            json!({"M": map})
        }
        _ => Value::Null,
    }
}

/// The filter of a mapping or a rule. As in AWS, events that match no pattern are lost.
pub(crate) struct Filter(Option<Quamina<usize>>);

impl Filter {
    pub(crate) fn new(patterns: &[String]) -> Result<Self, Error> {
        if patterns.is_empty() {
            return Ok(Filter(None));
        }
        let mut matcher = Quamina::new();
        for (index, pattern) in patterns.iter().enumerate() {
            let refused = |reason: String| {
                Error::Template(format!(
                    "has the filter {pattern}, which is refused: {reason}"
                ))
            };
            // Quamina accepts these two, and Lambda does not.
            if let Ok(Value::Object(fields)) = serde_json::from_str(pattern)
                && fields.is_empty()
            {
                return Err(refused("it is empty".to_owned()));
            }
            matcher
                .add_pattern(index, pattern)
                .map_err(|error| refused(error.to_string()))?;
        }
        Ok(Filter(Some(matcher)))
    }

    pub(crate) fn wants(&self, json: &str) -> bool {
        match &self.0 {
            None => true,
            Some(matcher) => matcher.has_matches(json.as_bytes()).unwrap_or_default(),
        }
    }
}

/// The checkpoint of each shard, in a file.
struct Checkpoints {
    file: Option<PathBuf>,
    known: CheckpointFile,
}

#[derive(Default, Serialize, Deserialize)]
struct CheckpointFile {
    stream: String,
    shards: BTreeMap<String, Checkpoint>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Checkpoint {
    /// The records up to this sequence number were processed.
    After(String),
    /// All records were processed, and the shard is closed.
    Finished,
}

impl Checkpoints {
    fn open(file: Option<PathBuf>, stream: &str) -> Result<Self, Error> {
        let mut known = CheckpointFile::default();
        if let Some(file) = &file {
            let unreadable = |reason: String| Error::Data {
                path: file.clone(),
                reason,
            };
            if let Some(content) =
                atomic_file::read(file).map_err(|error| unreadable(error.to_string()))?
            {
                known = serde_json::from_slice(&content)
                    .map_err(|_| unreadable("it is not a file of stream positions".to_owned()))?;
            }
        }
        // The file is of the stream of another table.
        if known.stream != stream {
            known = CheckpointFile {
                stream: stream.to_owned(),
                shards: BTreeMap::new(),
            };
        }
        Ok(Checkpoints { file, known })
    }

    fn after(&self, shard: &str) -> Option<&str> {
        match self.known.shards.get(shard) {
            Some(Checkpoint::After(sequence)) => Some(sequence),
            _ => None,
        }
    }

    fn finished(&self, shard: &str) -> bool {
        matches!(self.known.shards.get(shard), Some(Checkpoint::Finished))
    }

    fn reached(&mut self, shard: &str, sequence: &str) -> Result<(), Error> {
        if self.after(shard) == Some(sequence) {
            return Ok(());
        }
        let place = Checkpoint::After(sequence.to_owned());
        self.known.shards.insert(shard.to_owned(), place);
        self.save()
    }

    fn finish(&mut self, shard: &str) -> Result<(), Error> {
        self.known
            .shards
            .insert(shard.to_owned(), Checkpoint::Finished);
        self.save()
    }

    fn save(&self) -> Result<(), Error> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        serde_json::to_vec(&self.known)
            .map_err(std::io::Error::other)
            .and_then(|content| atomic_file::replace(file, &content))
            .map_err(|error| Error::Data {
                path: file.clone(),
                reason: error.to_string(),
            })
    }
}
