//! The deployment: the resources of the template, connected to a [`Cloud`].

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::dynamodb::Event;
use aws_lambda_events::event::streams::DynamoDbEventResponse;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndex,
    GlobalSecondaryIndexDescription, GlobalSecondaryIndexUpdate, KeySchemaElement, KeyType,
    Projection as SdkProjection, ProjectionType, ScalarAttributeType, StreamSpecification,
    StreamViewType, TableDescription, TimeToLiveSpecification,
};
use axum::Router;
use bytes::Bytes;
use directory::{EgressPolicy, Ids};
use futures_util::future::{BoxFuture, join_all, join3};
use gateway::{AdminAuth, Clock, DirectorySecrets, Gateway, Sleep};
use http::{Request, Response};
use publisher::Publisher;
use serde_json::Value;
use sweeper::Sweeper;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use webhooks::{Post, Webhooks};

use crate::api::Api;
use crate::cloud::Cloud;
use crate::queue::{InvokeQueue, QueueReader};
use crate::stream::{Backoff, Filter, Invoke, StreamReader};
use crate::template::{Index, Key, Mapping, QueueMapping, Table, Template};
use crate::{Error, random_id};

/// Interval between reads of the stream when this process has written nothing.
const POLL: Duration = Duration::from_secs(1);
/// Interval between deletions that AWS performs by itself, such as those by time to live.
const SWEEP: Duration = Duration::from_secs(60 * 60);

/// Passes a batch of records to a function. The arguments are the package of the function, the batch, and the function.
pub type Courier = Arc<
    dyn Fn(&str, Event, Invoke) -> BoxFuture<'static, Result<DynamoDbEventResponse, String>>
        + Send
        + Sync,
>;

/// The options of a stack.
#[derive(Clone)]
pub struct StackOptions {
    /// The template. `None` is the deployed one.
    pub template: Option<Template>,
    /// The host of the API, such as `127.0.0.1:8080`.
    pub domain: String,
    /// The clock of the functions. `None` is the clock of the cloud.
    pub clock: Option<Clock>,
    /// Source of the ids of new resources.
    pub ids: Ids,
    /// Maximum number of actions in a transaction.
    pub actions: usize,
    /// Units of work per second for each directory. `None` is unlimited, because tests send many requests while their clock
    /// stands still. The template has the number for a deployment.
    pub requests_per_second: Option<NonZeroU32>,
    /// Time limit of a function, after which API Gateway responds 503.
    pub function_timeout: Duration,
    /// The pause before a failed batch of records, or a message of a queue, is retried.
    pub backoff: Backoff,
    /// How functions without an endpoint wait.
    pub background_sleep: Sleep,
    /// How functions that respond to requests wait.
    pub request_sleep: Sleep,
    /// Passes records of the stream to the functions, in place of a direct call.
    pub courier: Option<Courier>,
    /// How webhooks are sent. `None` is over the network.
    pub post: Option<Post>,
}

impl Default for StackOptions {
    /// Returns the options for tests: the deployed template, and no pauses.
    fn default() -> Self {
        StackOptions {
            template: None,
            domain: "localhost".to_owned(),
            clock: None,
            ids: Ids::default(),
            actions: directory::ACTIONS,
            requests_per_second: None,
            function_timeout: Duration::from_secs(30),
            backoff: Backoff::NONE,
            background_sleep: gateway::sleep(),
            request_sleep: gateway::sleep(),
            courier: None,
            post: None,
        }
    }
}

/// A function that receives the records of the stream.
struct Stream {
    /// The package of the function.
    package: String,
    reader: Mutex<StreamReader>,
}

/// A running stack. Clones are the same stack.
#[derive(Clone)]
pub struct Stack(Arc<Inner>);

struct Inner {
    api: Api,
    gateway: Gateway,
    cloud: Cloud,
    streams: Vec<Stream>,
    queues: Vec<QueueReader>,
    template: Template,
    /// Prefix of the names of secrets. The id of a directory follows it.
    secret_prefix: String,
}

impl Stack {
    /// Deploys the template: creates the table if it does not exist, and starts the functions.
    ///
    /// # Errors
    ///
    /// Returns an error when the template cannot be run, or the table cannot be used.
    pub async fn start(cloud: Cloud, options: StackOptions) -> Result<Stack, Error> {
        let template = match options.template {
            Some(template) => template,
            None => Template::deployed()?,
        };
        let clock = options.clock.unwrap_or_else(|| cloud.clock());
        let stream = table(&cloud, &template.table).await?;
        for secret in &template.secrets {
            let generated: String = (0..2).map(|_| random_id().replace('-', "")).collect();
            let mut content = secret.content.clone();
            content.insert(secret.key.clone(), generated.into());
            cloud.generate_secret(&secret.name, &Value::Object(content))?;
        }

        let gateway = |function: &str| -> Result<Gateway, Error> {
            let settings = gateway::Settings {
                table: template.environment(function, "TABLE_NAME")?.to_owned(),
                secret_prefix: template.environment(function, "SECRET_PREFIX")?.to_owned(),
                // As in a deployment without a custom domain, URLs begin with the address to which the request was sent.
                base_url: None,
                requests_per_second: options.requests_per_second,
                clock: clock.clone(),
                sleep: options.request_sleep.clone(),
                ids: options.ids.clone(),
                actions: options.actions,
                admin_auth: AdminAuth::default(),
                // An endpoint for trying webhooks is usually on the same machine.
                webhooks: Some(EgressPolicy::Unrestricted),
            };
            Ok(Gateway::new(cloud.config(), settings))
        };
        let mut functions = HashMap::new();
        for route in template.routes.iter() {
            let id = &route.function;
            if !functions.contains_key(id) {
                functions.insert(id.clone(), router(&template, id, gateway(id)?)?);
            }
        }
        // Code without an endpoint uses a gateway like that of the first function.
        let first = template
            .routes
            .iter()
            .next()
            .ok_or_else(|| Error::Template("has no routes".to_owned()))?;
        let secret_prefix = template
            .environment(&first.function, "SECRET_PREFIX")?
            .to_owned();
        let gateway = gateway(&first.function)?;

        let mut streams = vec![];
        for mapping in &template.mappings {
            let package = package(&template, &mapping.function)?.to_owned();
            let mut invoke = handler(
                &template,
                mapping,
                &cloud,
                &clock,
                &options.background_sleep,
            )?;
            if let Some(courier) = options.courier.clone() {
                let (package, function) = (package.clone(), invoke);
                invoke = Arc::new(move |event| courier(&package, event, function.clone()));
            }
            // The file of the publisher has the name from when it was the only function.
            let checkpoints = match package.as_str() {
                "publisher" => "stream.json".to_owned(),
                other => format!("stream-{other}.json"),
            };
            let reader = StreamReader::new(
                cloud.clone(),
                stream.clone(),
                mapping.clone(),
                invoke,
                options.backoff,
                &checkpoints,
            )?;
            streams.push(Stream {
                package,
                reader: Mutex::new(reader),
            });
        }
        let mut queues = vec![];
        for mapping in &template.queues {
            let post = options.post.as_ref();
            let invoke = receiver(
                &template,
                mapping,
                &cloud,
                &clock,
                &options.background_sleep,
                post,
            )?;
            let filter = Filter::new(&mapping.patterns)?;
            let (sqs, name) = (cloud.queues().clone(), mapping.queue.clone());
            cloud.bus().rule(&mapping.queue, move |event| {
                let event = event.to_string();
                if filter.wants(&event) {
                    sqs.send(&name, &event)
                } else {
                    Ok(())
                }
            });
            queues.push(QueueReader::new(
                cloud.clone(),
                mapping.clone(),
                invoke,
                options.backoff,
            ));
        }
        Ok(Stack(Arc::new(Inner {
            api: Api {
                routes: template.routes.clone(),
                functions,
                domain: options.domain,
                function_timeout: options.function_timeout,
                clock: cloud.clock(),
            },
            gateway,
            cloud,
            streams,
            queues,
            template,
            secret_prefix,
        })))
    }

    /// Responds to a request as API Gateway and the functions do.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        self.handle_from(request, peer).await
    }

    /// Responds to a request from a client with a known address.
    pub async fn handle_from(&self, request: Request<Bytes>, peer: SocketAddr) -> Response<Bytes> {
        self.0.api.handle(request, peer).await
    }

    /// Returns the logical id of the function for a request, and its event, for tests that run the functions as processes.
    pub fn event(&self, request: &Request<Bytes>) -> Option<(&str, Value)> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        self.0.api.routed(request, peer, &random_id()).ok()
    }

    /// Passes all records of the stream to the functions, including those that the functions write, until each is processed
    /// or a dead letter.
    pub async fn drain(&self) -> Result<(), Error> {
        loop {
            let mut records = 0;
            for stream in &self.0.streams {
                records += stream.reader.lock().await.drain().await?;
            }
            if records == 0 {
                return Ok(());
            }
        }
    }

    /// Passes all messages of the queues to the functions, until each is processed or a dead letter.
    pub async fn deliver(&self) -> Result<(), Error> {
        for queue in &self.0.queues {
            queue.drain().await?;
        }
        Ok(())
    }

    /// Passes all records of the stream to the publisher only. Other functions continue at the next start.
    pub async fn announce(&self) -> Result<(), Error> {
        for stream in &self.0.streams {
            if stream.package == "publisher" {
                stream.reader.lock().await.drain().await?;
            }
        }
        Ok(())
    }

    /// Returns the packages of the functions that receive the records of the stream.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.0.streams.iter().map(|stream| stream.package.as_str())
    }

    /// Passes the current records of the stream to the function of a package, and returns their number.
    pub async fn hand_on(&self, package: &str) -> Result<usize, Error> {
        let mut records = 0;
        for stream in &self.0.streams {
            if stream.package == package {
                records += stream.reader.lock().await.poll().await?;
            }
        }
        Ok(records)
    }

    /// Starts to pass records to the functions as they are written, and to delete expired items.
    pub fn publish(&self) -> JoinHandle<()> {
        let stack = self.clone();
        tokio::spawn(async move {
            // Concurrently, so that a slow function does not delay the others.
            let streams = (0..stack.0.streams.len()).map(|index| stack.follow(index));
            join3(join_all(streams), stack.follow_queues(), stack.expire()).await;
        })
    }

    /// Passes messages to the functions as they arrive. It does not return.
    pub async fn follow_queues(&self) {
        join_all(self.0.queues.iter().map(QueueReader::follow)).await;
    }

    /// Deletes expired items and stream records. It does not return.
    async fn expire(&self) {
        loop {
            self.0.cloud.trim_stream();
            self.0.cloud.expire().await;
            tokio::time::sleep(SWEEP).await;
        }
    }

    async fn follow(&self, index: usize) {
        let Some(stream) = self.0.streams.get(index) else {
            return;
        };
        let mut written = self.0.cloud.written();
        loop {
            if let Err(error) = stream.poll().await {
                tracing::warn!(%error, "records of the stream could not be processed, and are retried");
                tokio::time::sleep(POLL).await;
            }
            // Another process can write to an external table, so the stream is also read after an interval.
            let _ = tokio::time::timeout(POLL, written.changed()).await;
        }
    }

    /// Returns the gateway of the functions, for code without an endpoint.
    pub fn gateway(&self) -> &Gateway {
        &self.0.gateway
    }

    /// Returns the AWS account of the stack.
    pub fn cloud(&self) -> &Cloud {
        &self.0.cloud
    }

    /// Returns the template of the stack.
    pub fn template(&self) -> &Template {
        &self.0.template
    }

    /// Prefix of the names of secrets. The id of a directory follows it.
    pub(crate) fn secret_prefix(&self) -> &str {
        &self.0.secret_prefix
    }
}

impl Stream {
    async fn poll(&self) -> Result<(), Error> {
        let mut reader = self.reader.lock().await;
        while reader.poll().await? > 0 {}
        Ok(())
    }
}

/// Returns the package of a function.
fn package<'t>(template: &'t Template, id: &str) -> Result<&'t str, Error> {
    let function = template
        .functions
        .get(id)
        .ok_or_else(|| Error::Template(format!("has no function {id}")))?;
    Ok(&function.package)
}

/// Returns the code of a function that receives the records of the stream.
fn handler(
    template: &Template,
    mapping: &Mapping,
    cloud: &Cloud,
    clock: &Clock,
    sleep: &Sleep,
) -> Result<Invoke, Error> {
    let id = &mapping.function;
    let table = template.environment(id, "TABLE_NAME")?;
    let store = directory::Store::from_config(cloud.config(), table);
    match package(template, id)? {
        "publisher" => {
            let bus = template.environment(id, "BUS_NAME")?.to_owned();
            let dead_letters = template.environment(id, "DEAD_LETTERS_URL")?.to_owned();
            let publisher = Publisher::new(cloud.config(), bus, dead_letters, store);
            let publisher = Arc::new(publisher);
            let function = template.functions.get(id);
            let remaining = function.map(|of| of.timeout).unwrap_or_default();
            Ok(Arc::new(move |event| {
                let publisher = publisher.clone();
                Box::pin(async move { Ok(publisher.handle(event, remaining).await) })
            }))
        }
        "sweeper" => {
            let prefix = template.environment(id, "SECRET_PREFIX")?;
            let secrets = DirectorySecrets::new(cloud.config(), prefix);
            let sweeper = Arc::new(Sweeper::new(store, secrets, clock.clone(), sleep.clone()));
            Ok(Arc::new(move |event| {
                let sweeper = sweeper.clone();
                Box::pin(async move { Ok(sweeper.handle(event).await) })
            }))
        }
        package => Err(Error::Template(format!(
            "hands the stream to {package}, which the local runner does not know"
        ))),
    }
}

/// Returns the code of a function that receives the messages of a queue.
fn receiver(
    template: &Template,
    mapping: &QueueMapping,
    cloud: &Cloud,
    clock: &Clock,
    sleep: &Sleep,
    post: Option<&Post>,
) -> Result<InvokeQueue, Error> {
    let id = &mapping.function;
    match package(template, id)? {
        "webhooks" => {
            let post = match post {
                Some(post) => post.clone(),
                None => webhooks::over_the_network(EgressPolicy::Unrestricted, webhooks::TIMEOUT)
                    .map_err(Error::Tls)?,
            };
            let settings = webhooks::Settings {
                table: template.environment(id, "TABLE_NAME")?.to_owned(),
                secret_prefix: template.environment(id, "SECRET_PREFIX")?.to_owned(),
                post,
                clock: clock.clone(),
                sleep: sleep.clone(),
            };
            let webhooks = Arc::new(Webhooks::new(cloud.config(), settings));
            Ok(Arc::new(move |event| {
                let webhooks = webhooks.clone();
                Box::pin(async move { webhooks.handle(event).await })
            }))
        }
        package => Err(Error::Template(format!(
            "hands a queue to {package}, which the local runner does not know"
        ))),
    }
}

/// Returns the router of a function. The template maps a logical id to a package, and this function maps a package to its
/// router.
fn router(template: &Template, id: &str, gateway: Gateway) -> Result<Router, Error> {
    let function = template
        .functions
        .get(id)
        .ok_or_else(|| Error::Template(format!("has a route to {id}, which is not a function")))?;
    match function.package.as_str() {
        "users" => Ok(users::router(gateway)),
        "groups" => Ok(groups::router(gateway)),
        "bulk" => Ok(bulk::router(gateway)),
        "discovery" => Ok(discovery::router(gateway)),
        "admin" => Ok(admin::router(gateway)),
        package => Err(Error::Template(format!(
            "builds {id} from {package}, which the local runner does not know"
        ))),
    }
}

/// Creates the table if it does not exist, adds missing indexes, and returns the ARN of the stream.
async fn table(cloud: &Cloud, table: &Table) -> Result<String, Error> {
    let client = Client::new(cloud.config());
    let described = client.describe_table().table_name(&table.name).send().await;
    let arn = match described {
        Ok(found) => {
            let found = found.table;
            let indexes = found
                .as_ref()
                .map(TableDescription::global_secondary_indexes);
            add_indexes(&client, table, indexes.unwrap_or_default()).await?;
            found.and_then(|table| table.latest_stream_arn)
        }
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception()) =>
        {
            create(&client, table).await?
        }
        Err(error) => return Err(Error::table(error)),
    };
    arn.ok_or_else(|| Error::Table(format!("{} has no stream", table.name)))
}

/// Adds the indexes that the template has and the table lacks, as CloudFormation does.
///
/// # Errors
///
/// [`Error::Table`] if the table has an index of the same name with other keys: a version with another format made it.
async fn add_indexes(
    client: &Client,
    table: &Table,
    existing: &[GlobalSecondaryIndexDescription],
) -> Result<(), Error> {
    for index in &table.global_secondary_indexes {
        let name = index.index_name.as_str();
        if let Some(found) = existing
            .iter()
            .find(|found| found.index_name() == Some(name))
        {
            if found.key_schema() == keys(&index.key_schema)? {
                continue;
            }
            return Err(Error::Table(format!(
                "the index {name} of {} has other keys than in template.yaml, because a version with another format made \
                 it. Delete the table, or use another DynamoDB",
                table.name
            )));
        }
        let create = CreateGlobalSecondaryIndexAction::builder()
            .index_name(&index.index_name)
            .set_key_schema(Some(keys(&index.key_schema)?))
            .projection(projection(index))
            .build()
            .map_err(Error::table)?;
        client
            .update_table()
            .table_name(&table.name)
            .set_attribute_definitions(Some(definitions(table)?))
            .global_secondary_index_updates(
                GlobalSecondaryIndexUpdate::builder().create(create).build(),
            )
            .send()
            .await
            .map_err(Error::table)?;
    }
    Ok(())
}

fn definitions(table: &Table) -> Result<Vec<AttributeDefinition>, Error> {
    let definitions = table.attribute_definitions.iter().map(|attribute| {
        AttributeDefinition::builder()
            .attribute_name(&attribute.attribute_name)
            .attribute_type(ScalarAttributeType::from(attribute.attribute_type.as_str()))
            .build()
            .map_err(Error::table)
    });
    definitions.collect()
}

fn projection(index: &Index) -> SdkProjection {
    let names = &index.projection.non_key_attributes;
    let kind = ProjectionType::from(index.projection.projection_type.as_str());
    SdkProjection::builder()
        .projection_type(kind)
        .set_non_key_attributes((!names.is_empty()).then(|| names.clone()))
        .build()
}

async fn create(client: &Client, table: &Table) -> Result<Option<String>, Error> {
    let mut request = client
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest);
    request = request.set_attribute_definitions(Some(definitions(table)?));
    for element in keys(&table.key_schema)? {
        request = request.key_schema(element);
    }
    for index in &table.global_secondary_indexes {
        let projection = projection(index);
        let index = GlobalSecondaryIndex::builder()
            .index_name(&index.index_name)
            .set_key_schema(Some(keys(&index.key_schema)?))
            .projection(projection)
            .build()
            .map_err(Error::table)?;
        request = request.global_secondary_indexes(index);
    }
    if let Some(stream) = &table.stream_specification {
        let view = StreamViewType::from(stream.stream_view_type.as_str());
        let stream = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(view)
            .build()
            .map_err(Error::table)?;
        request = request.stream_specification(stream);
    }
    let created = request.send().await.map_err(Error::table)?;
    if let Some(ttl) = &table.time_to_live_specification {
        let specification = TimeToLiveSpecification::builder()
            .attribute_name(&ttl.attribute_name)
            .enabled(ttl.enabled)
            .build()
            .map_err(Error::table)?;
        client
            .update_time_to_live()
            .table_name(&table.name)
            .time_to_live_specification(specification)
            .send()
            .await
            .map_err(Error::table)?;
    }
    Ok(created
        .table_description
        .and_then(|table| table.latest_stream_arn))
}

fn keys(schema: &[Key]) -> Result<Vec<KeySchemaElement>, Error> {
    schema
        .iter()
        .map(|key| {
            KeySchemaElement::builder()
                .attribute_name(&key.attribute_name)
                .key_type(KeyType::from(key.key_type.as_str()))
                .build()
                .map_err(Error::table)
        })
        .collect()
}
