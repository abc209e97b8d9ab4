//! The deployment: what the template describes, put together around a [`Cloud`].

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
    GlobalSecondaryIndexUpdate, KeySchemaElement, KeyType, Projection as SdkProjection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
    TimeToLiveSpecification,
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

/// How often the stream is looked at when nothing was written through this process.
const POLL: Duration = Duration::from_secs(1);
/// How often what AWS deletes by itself is deleted.
const SWEEP: Duration = Duration::from_secs(60 * 60);

/// What hands a batch of records to a function: the package of the function, the batch, and the function.
pub type Courier = Arc<
    dyn Fn(&str, Event, Invoke) -> BoxFuture<'static, Result<DynamoDbEventResponse, String>>
        + Send
        + Sync,
>;

/// How a stack is put together.
#[derive(Clone)]
pub struct StackOptions {
    /// The template; the deployed one unless a test has its own.
    pub template: Option<Template>,
    /// The name the API is reached by, such as `127.0.0.1:8080`.
    pub domain: String,
    /// What the time is for the functions; the cloud's clock unless a test has its own.
    pub clock: Option<Clock>,
    /// Where the ids of new resources come from.
    pub ids: Ids,
    /// How many actions a transaction may have.
    pub actions: usize,
    /// How many requests a second one directory may send. The deployed number is in the template; on one's own machine
    /// nobody has to be held off, and tests send many requests while their clock stands still.
    pub requests_per_second: Option<NonZeroU32>,
    /// How long a function may take before API Gateway answers for it.
    pub function_timeout: Duration,
    /// How long a failed batch of records, or a message of a queue, rests.
    pub backoff: Backoff,
    /// How the functions let time pass that work in the background.
    pub background_sleep: Sleep,
    /// How the functions let time pass that answer requests.
    pub request_sleep: Sleep,
    /// What stands between the table's stream and the functions, if anything does.
    pub courier: Option<Courier>,
    /// How webhooks are sent; over the network unless a test has its own way.
    pub post: Option<Post>,
}

impl Default for StackOptions {
    /// What tests want: the deployed template, and no pauses.
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

/// A function that the table's stream is handed to.
struct Stream {
    /// The package it is built from.
    package: String,
    reader: Mutex<StreamReader>,
}

/// The product, running. Clones are the same.
#[derive(Clone)]
pub struct Stack(Arc<Inner>);

struct Inner {
    api: Api,
    gateway: Gateway,
    cloud: Cloud,
    streams: Vec<Stream>,
    queues: Vec<QueueReader>,
    template: Template,
    /// What stands before a directory's id in the name of its secret.
    secret_prefix: String,
}

impl Stack {
    /// Deploys the template: makes the table if there is none, and starts the functions.
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
                // As in the cloud without a domain of one's own: the address that the request came to.
                base_url: None,
                requests_per_second: options.requests_per_second,
                clock: clock.clone(),
                sleep: options.request_sleep.clone(),
                ids: options.ids.clone(),
                actions: options.actions,
                admin_auth: AdminAuth::default(),
                // Who tries it has an endpoint on the same machine.
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
        // What has no endpoint goes through a gateway like that of the first function.
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
            // The publisher's file has the name that it had when it was alone.
            let places = match package.as_str() {
                "publisher" => "stream.json".to_owned(),
                other => format!("stream-{other}.json"),
            };
            let reader = StreamReader::new(
                cloud.clone(),
                stream.clone(),
                mapping.clone(),
                invoke,
                options.backoff,
                &places,
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
            let (of_cloud, queue) = (cloud.queues().clone(), mapping.queue.clone());
            cloud.bus().rule(&mapping.queue, move |event| {
                let event = event.to_string();
                match filter.wants(&event) {
                    true => of_cloud.send(&queue, &event),
                    false => Ok(()),
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

    /// Answers a request as API Gateway and the functions do.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        self.handle_from(request, peer).await
    }

    /// The same, for a client whose address is known.
    pub async fn handle_from(&self, request: Request<Bytes>, peer: SocketAddr) -> Response<Bytes> {
        self.0.api.handle(request, peer).await
    }

    /// The logical id of the function that a request goes to and the event that it gets, for who runs the functions
    /// elsewhere.
    pub fn event(&self, request: &Request<Bytes>) -> Option<(&str, Value)> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        self.0.api.routed(request, peer, &random_id()).ok()
    }

    /// Hands everything that is in the table's stream to the functions, and what they write to it as well, and returns
    /// when all of it is done or among the dead letters.
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

    /// Hands everything that is in the queues to the functions, and returns when all of it is done or among the dead
    /// letters.
    pub async fn deliver(&self) -> Result<(), Error> {
        for queue in &self.0.queues {
            queue.drain().await?;
        }
        Ok(())
    }

    /// Hands everything that is in the table's stream to the publisher alone: what takes longer goes on at the next start.
    pub async fn announce(&self) -> Result<(), Error> {
        for stream in &self.0.streams {
            if stream.package == "publisher" {
                stream.reader.lock().await.drain().await?;
            }
        }
        Ok(())
    }

    /// The packages of the functions that the table's stream is handed to.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.0.streams.iter().map(|stream| stream.package.as_str())
    }

    /// Hands what is in the table's stream now to the function of a package, and says how many records that were.
    pub async fn hand_on(&self, package: &str) -> Result<usize, Error> {
        let mut records = 0;
        for stream in &self.0.streams {
            if stream.package == package {
                records += stream.reader.lock().await.poll().await?;
            }
        }
        Ok(records)
    }

    /// Hands on what is written from now on, as soon as it is, and deletes now and then what has outlived its time.
    pub fn publish(&self) -> JoinHandle<()> {
        let stack = self.clone();
        tokio::spawn(async move {
            // Side by side: a function that takes long keeps no other one waiting.
            let streams = (0..stack.0.streams.len()).map(|index| stack.follow(index));
            join3(join_all(streams), stack.follow_queues(), stack.expire()).await;
        })
    }

    /// Hands what comes into the queues to the functions, for ever.
    pub async fn follow_queues(&self) {
        join_all(self.0.queues.iter().map(QueueReader::follow)).await;
    }

    /// Deletes what has outlived its time.
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
                tracing::warn!(%error, "records wait in the stream");
                tokio::time::sleep(POLL).await;
            }
            // Another process may write to an external table, so time alone is a reason to look, too.
            let _ = tokio::time::timeout(POLL, written.changed()).await;
        }
    }

    /// The gateway that the functions use, for what has no endpoint.
    pub fn gateway(&self) -> &Gateway {
        &self.0.gateway
    }

    /// The account it runs in.
    pub fn cloud(&self) -> &Cloud {
        &self.0.cloud
    }

    /// What it was deployed from.
    pub fn template(&self) -> &Template {
        &self.0.template
    }

    /// What stands before a directory's id in the name of its secret.
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

/// The package that a function is built from.
fn package<'t>(template: &'t Template, id: &str) -> Result<&'t str, Error> {
    let function = template
        .functions
        .get(id)
        .ok_or_else(|| Error::Template(format!("has no function {id}")))?;
    Ok(&function.package)
}

/// The code of a function that the table's stream is handed to.
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

/// The code of a function that a queue is handed to.
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

/// The code of a function. Cargo links crates by name, so which package belongs to a logical id is the template's to
/// say, and which router belongs to a package is said here and nowhere else.
fn router(template: &Template, id: &str, gateway: Gateway) -> Result<Router, Error> {
    let function = template
        .functions
        .get(id)
        .ok_or_else(|| Error::Template(format!("has a route to {id}, which is no function")))?;
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

/// Makes the table unless it exists, adds indexes that it lacks, and says the ARN of its stream.
async fn table(cloud: &Cloud, table: &Table) -> Result<String, Error> {
    let client = Client::new(cloud.config());
    let described = client.describe_table().table_name(&table.name).send().await;
    let arn = match described {
        Ok(found) => {
            let found = found.table;
            let indexes = found.as_ref().map(|found| {
                let indexes = found.global_secondary_indexes().iter();
                indexes.filter_map(|index| index.index_name()).collect()
            });
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

/// A table that was made by an earlier template gets the indexes of this one, as CloudFormation sees to in the cloud.
async fn add_indexes(client: &Client, table: &Table, there: Vec<&str>) -> Result<(), Error> {
    for index in &table.global_secondary_indexes {
        if there.contains(&index.index_name.as_str()) {
            continue;
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
