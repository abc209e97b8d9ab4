//! Where a history is performed: the account, the processes, the callers, and what happens beside them.

mod request;

mod end;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use directory::{
    DirectoryId, EgressPolicy, EventsAsked, Ids, NewDirectory, Precondition, Provider, Settings,
    WebhookUrl,
};
use gateway::Gateway;
use http::{Method, Request};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use local::{Backoff, Cloud, CloudOptions, Courier, Stack, StackOptions, Template};
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tower::ServiceExt;
use webhooks::{NoAnswer, Post};

use super::check::{self, Answer, Delivered, Final, Record, Resource, Rotation};
use super::disorder::Layer;
use super::history::{Demand, GROUPS, Operation, USERS, User};
use super::{Disorder, History, Outcome};

/// How many actions a transaction may have: three members are added in one, four are not.
const ACTIONS: usize = 13;
/// How long Lambda lets a request live.
const PATIENCE: Duration = Duration::from_secs(29);
/// How long the token before is good after a rotation.
const GRACE: SignedDuration = SignedDuration::from_hours(1);

const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Processes of the functions that answer requests, which share what a function's process keeps in memory.
struct Process {
    gateway: Gateway,
    users: Router,
    groups: Router,
    bulk: Router,
    tasks: Vec<AbortHandle>,
}

/// Everything that the callers share.
struct Stage {
    cloud: Cloud,
    stack: Stack,
    layer: Layer,
    ids: Ids,
    begun: Instant,
    base: Timestamp,
    processes: Vec<Mutex<Process>>,
    started: AtomicUsize,
    /// The first directory, and the second one with its token.
    directory: DirectoryId,
    elsewhere: (DirectoryId, String),
    /// The tokens of the first directory, in the order in which they were answered.
    tokens: Mutex<Vec<String>>,
    users: Mutex<HashMap<User, String>>,
    groups: Mutex<HashMap<User, String>>,
    records: Mutex<Vec<Record>>,
    rotations: Mutex<Vec<Rotation>>,
    deletions: Mutex<Vec<bool>>,
    delivered: Arc<Mutex<Vec<Delivered>>>,
}

/// The name of a user by its number: callers mean the same one in upper case.
pub(super) fn user_name(number: usize) -> String {
    format!("n{number}@example.com")
}

/// The address of the webhook of a tenant's directory.
fn hook(tenant: &str) -> WebhookUrl {
    WebhookUrl::parse(
        &format!("https://hooks.example.com/{tenant}"),
        EgressPolicy::PublicInternet,
    )
    .unwrap()
}

fn template() -> Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE
        .get_or_init(|| Template::deployed().unwrap())
        .clone()
}

/// When the clock of a simulation begins. The embedded table deletes what has expired by the machine's clock, so notes of
/// work expire there at once and events, which are kept for 30 days, do not.
fn beginning() -> Timestamp {
    static BEGINNING: OnceLock<Timestamp> = OnceLock::new();
    *BEGINNING.get_or_init(|| {
        let now = (local::system_clock())().as_second();
        Timestamp::from_second(now - now.rem_euclid(86_400) - 20 * 86_400).unwrap()
    })
}

pub(super) async fn perform(history: &History) -> Outcome {
    let stage = Arc::new(Stage::new(history).await);
    stage.set_up(history).await;
    let mut followers: Vec<_> = ["publisher", "sweeper"]
        .map(|package| tokio::spawn(follow(stage.clone(), package)))
        .into();
    let stack = stage.stack.clone();
    followers.push(tokio::spawn(async move { stack.follow_queues().await }));
    stage.layer.set_active(true);
    let mut callers: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for step in &history.steps {
        callers.entry(step.caller).or_default().push(step.clone());
    }
    let callers: Vec<_> = callers
        .into_values()
        .map(|steps| {
            let stage = stage.clone();
            tokio::spawn(async move {
                let mut seen = HashMap::new();
                for step in steps {
                    tokio::time::sleep(Duration::from_millis(step.pause)).await;
                    stage
                        .step(&step.operation, step.process, step.number, &mut seen)
                        .await;
                }
            })
        })
        .collect();
    for caller in callers {
        if let Err(error) = caller.await {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    // Quiet: what was sent arrives, and what was left is finished.
    tokio::time::sleep(Duration::from_secs(5)).await;
    stage.layer.set_active(false);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(130)).await;
        stage.cloud.expire().await;
    }
    tokio::time::sleep(Duration::from_secs(130)).await;
    for follower in followers {
        follower.abort();
    }
    stage.stack.drain().await.unwrap();
    stage.stack.deliver().await.unwrap();
    stage.judge(history).await
}

/// Hands the stream to a function whenever something was written, a moment later.
async fn follow(stage: Arc<Stage>, package: &'static str) {
    let mut written = stage.cloud.written();
    loop {
        while stage.stack.hand_on(package).await.unwrap() > 0 {}
        if written.changed().await.is_err() {
            return;
        }
        let most = if stage.layer.is_active() {
            stage
                .layer
                .random(&format!("{package} waits"))
                .0
                .u64(0..400)
        } else {
            10
        };
        tokio::time::sleep(Duration::from_millis(most)).await;
    }
}

/// The endpoint of both directories' webhooks. The path of the request says which one is meant.
fn endpoint(layer: Layer, disorder: Disorder, delivered: Arc<Mutex<Vec<Delivered>>>) -> Post {
    Arc::new(move |request| {
        let body = request.body().and_then(|body| body.as_bytes());
        let body: Value = serde_json::from_slice(body.unwrap_or_default()).unwrap_or_default();
        let got = Delivered {
            to: request.url().path().to_owned(),
            id: request.headers()["webhook-id"].to_str().unwrap().to_owned(),
            body,
        };
        let detail = &got.body["detail"];
        let about = format!(
            "webhook {} {} {}",
            got.body["type"], detail["resource"]["id"], detail["member"]["id"]
        );
        let (layer, delivered) = (layer.clone(), delivered.clone());
        Box::pin(async move {
            let mut random = layer.random(&about).0;
            if layer.is_active() {
                tokio::time::sleep(Duration::from_millis(random.u64(0..40))).await;
                match random.u8(0..15) {
                    0 if disorder.has(Disorder::THROTTLING) => return Ok(503),
                    1 if disorder.has(Disorder::LATE_REQUESTS) => {
                        let why = "the simulation takes no connection".to_owned();
                        return Err(NoAnswer::Unreachable(why));
                    }
                    2 if disorder.has(Disorder::LOST_ANSWERS) => {
                        lock(&delivered).push(got);
                        tokio::time::sleep(webhooks::TIMEOUT).await;
                        return Err(NoAnswer::TimedOut);
                    }
                    _ => {}
                }
            }
            lock(&delivered).push(got);
            Ok(200)
        })
    })
}

/// Batches of the stream as a disordered world hands them on.
fn courier(layer: Layer, disorder: Disorder) -> Courier {
    Arc::new(move |package, event, function| {
        let mut random = layer.random(&format!("{package} batch")).0;
        if !layer.is_active() || !disorder.has(Disorder::STREAM) {
            return function(event);
        }
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(random.u64(0..300))).await;
            match random.u8(0..6) {
                // Killed in the middle.
                0 => {
                    let lives = Duration::from_millis(random.u64(0..200));
                    match tokio::time::timeout(lives, function(event)).await {
                        Ok(answer) => answer,
                        Err(_) => Err("the function was killed".to_owned()),
                    }
                }
                // Twice.
                1 => {
                    let first = function(event.clone()).await;
                    if random.bool() {
                        function(event).await
                    } else {
                        first
                    }
                }
                // Cut: the rest comes again.
                2 => {
                    let mut event = event;
                    let at = random.usize(0..event.records.len());
                    let rest = event.records.split_off(at);
                    let mut answer = if event.records.is_empty() {
                        Default::default()
                    } else {
                        function(event).await?
                    };
                    if let Some(first) = rest.into_iter().next() {
                        let mut failure =
                            aws_lambda_events::event::streams::DynamoDbBatchItemFailure::default();
                        failure.item_identifier = first.change.sequence_number;
                        answer.batch_item_failures.push(failure);
                    }
                    Ok(answer)
                }
                _ => function(event).await,
            }
        })
    })
}

impl Stage {
    async fn new(history: &History) -> Self {
        let begun = Instant::now();
        let base = beginning();
        let clock: local::Clock =
            Arc::new(move || base + SignedDuration::try_from(begun.elapsed()).unwrap());
        let cloud = Cloud::start(CloudOptions {
            clock: clock.clone(),
            here: true,
            first_retry_after: Some(Duration::from_millis(50)),
            ..CloudOptions::in_memory()
        })
        .unwrap();
        let random = Mutex::new(fastrand::Rng::with_seed(history.seed ^ 0x1d5));
        let ids = Ids::from_fn(move || {
            let mut random = lock(&random);
            let (a, b, c) = (random.u64(..), random.u64(..), random.u64(..));
            let text = format!(
                "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                a & 0xffff_ffff,
                (a >> 32) & 0xffff,
                (a >> 48) & 0xfff,
                b & 0xfff,
                c & 0xffff_ffff_ffff
            );
            text.parse().unwrap()
        });
        let layer = Layer::new(history.seed, history.disorder);
        let delivered = Arc::default();
        let stack = Stack::start(
            cloud.clone(),
            StackOptions {
                template: Some(template()),
                ids: ids.clone(),
                actions: ACTIONS,
                courier: Some(courier(layer.clone(), history.disorder)),
                post: Some(endpoint(
                    layer.clone(),
                    history.disorder,
                    Arc::clone(&delivered),
                )),
                backoff: Backoff {
                    first: Duration::from_millis(100),
                    longest: Duration::from_secs(5),
                },
                ..StackOptions::default()
            },
        )
        .await
        .unwrap();
        let directory = |tenant: &str| NewDirectory {
            tenant: tenant.to_owned(),
            product: "crm".to_owned(),
            name: "Simulated".to_owned(),
            provider: Provider::Okta,
            settings: Settings::default(),
            webhook: Some(hook(tenant)),
        };
        let (first, token) = stack
            .gateway()
            .create_directory(directory("one"))
            .await
            .unwrap();
        let (second, other) = stack
            .gateway()
            .create_directory(directory("two"))
            .await
            .unwrap();
        layer.name(&first.id.to_string(), "one");
        layer.name(&second.id.to_string(), "two");
        let faults = layer.clone();
        cloud.set_faults(move |info| faults.fault(info));
        let mut stage = Self {
            cloud,
            stack,
            layer,
            ids,
            begun,
            base,
            processes: vec![],
            started: AtomicUsize::new(0),
            directory: first.id,
            elsewhere: (second.id, other.expose().to_owned()),
            tokens: Mutex::new(vec![token.expose().to_owned()]),
            users: Mutex::default(),
            groups: Mutex::default(),
            records: Mutex::default(),
            rotations: Mutex::default(),
            deletions: Mutex::default(),
            delivered,
        };
        stage.processes = (0..history.processes)
            .map(|_| Mutex::new(stage.process()))
            .collect();
        stage
    }

    /// A process that has just started. Clocks of machines differ a little.
    fn process(&self) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let skew = self
            .layer
            .random(&format!("clock {number}"))
            .0
            .i64(-150..=150);
        let (begun, base) = (self.begun, self.base + SignedDuration::from_millis(skew));
        let template = self.stack.template();
        let settings = gateway::Settings {
            table: template.table.name.clone(),
            secret_prefix: "rollcall/".to_owned(),
            base_url: Some("https://scim.example.com".to_owned()),
            requests_per_second: None,
            clock: Arc::new(move || base + SignedDuration::try_from(begun.elapsed()).unwrap()),
            sleep: gateway::sleep(),
            ids: self.ids.clone(),
            actions: ACTIONS,
            admin_auth: gateway::AdminAuth::Key,
            webhooks: None,
        };
        let gateway = Gateway::new(self.cloud.config(), settings);
        Process {
            users: users::router(gateway.clone()),
            groups: groups::router(gateway.clone()),
            bulk: bulk::router(gateway.clone()),
            gateway,
            tasks: vec![],
        }
    }

    /// The users and groups of the beginning.
    async fn set_up(&self, history: &History) {
        let mut seen = HashMap::new();
        for user in 0..USERS {
            let operation = Operation::CreateUser(user, user);
            self.step(&operation, 0, usize::MAX, &mut seen).await;
        }
        for (group, members) in history.members.iter().enumerate().take(GROUPS) {
            let operation = Operation::CreateGroup(group, group, members.clone());
            self.step(&operation, 0, usize::MAX, &mut seen).await;
        }
        self.stack.drain().await.unwrap();
        self.cloud.take_requests();
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Sends a request to a process; nothing comes back if that is killed, or takes too long.
    async fn send(
        &self,
        process: usize,
        token: &str,
        method: Method,
        (directory, path): (DirectoryId, &str),
        body: Option<&Value>,
        version: Option<u64>,
    ) -> Option<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/scim/v2/{directory}{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/scim+json");
        if let Some(version) = version {
            request = request.header("if-match", format!("W/\"{version}\""));
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.body(body).unwrap();
        let task = {
            let mut process = lock(&self.processes[process]);
            let router = match path.split(['/', '?']).nth(1) {
                Some("Users") => process.users.clone(),
                Some("Groups") => process.groups.clone(),
                _ => process.bulk.clone(),
            };
            let task = tokio::spawn(async move {
                let response = router.oneshot(request).await.unwrap();
                let (head, body) = response.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let etag = head.headers.get("etag").and_then(|tag| tag.to_str().ok());
                let version = etag.and_then(|tag| tag.trim_matches(['W', '/', '"']).parse().ok());
                Answer {
                    status: head.status.as_u16(),
                    version,
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                }
            });
            process.tasks.retain(|task| !task.is_finished());
            process.tasks.push(task.abort_handle());
            task
        };
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Ok(Err(_)) => None,
            Err(_) => {
                // Lambda kills a process that takes too long.
                self.kill(process);
                None
            }
        }
    }

    fn kill(&self, process: usize) {
        let new = self.process();
        let mut process = lock(&self.processes[process]);
        for task in process.tasks.drain(..) {
            task.abort();
        }
        *process = new;
    }

    fn id_of(&self, user: User) -> Option<String> {
        lock(&self.users).get(&user).cloned()
    }

    fn group_of(&self, group: User) -> Option<String> {
        lock(&self.groups).get(&group).cloned()
    }

    fn ids_of(&self, users: &[User]) -> Vec<String> {
        users.iter().filter_map(|user| self.id_of(*user)).collect()
    }

    async fn step(
        &self,
        operation: &Operation,
        process: usize,
        number: usize,
        seen: &mut HashMap<Resource, u64>,
    ) {
        match operation {
            Operation::Kill => return self.kill(process),
            Operation::Rotate => return self.rotate(process, number).await,
            Operation::DeleteDirectory => {
                let gateway = lock(&self.processes[process]).gateway.clone();
                let deleted = gateway
                    .delete_directory(self.elsewhere.0, &Precondition::None)
                    .await;
                lock(&self.deletions).push(deleted.is_ok());
                return;
            }
            Operation::CreateElsewhere(_, name) => {
                let body = json!({"userName": user_name(*name)});
                let (directory, token) = &self.elsewhere;
                let to = (*directory, "/Users");
                self.send(process, token, Method::POST, to, Some(&body), None)
                    .await;
                return;
            }
            _ => {}
        }
        let Some((resource, method, path, body, demand)) = self.request(operation) else {
            return;
        };
        let version = match demand {
            Demand::None => None,
            Demand::Seen => Some(seen.get(&resource).copied().unwrap_or(1)),
        };
        let (index, token) = {
            let tokens = lock(&self.tokens);
            let last = tokens.len() - 1;
            let index = match number % 3 {
                0 => last.saturating_sub(1),
                _ => last,
            };
            (index, tokens[index].clone())
        };
        let mentioned = match operation {
            Operation::CreateGroup(_, _, users)
            | Operation::Add(_, users)
            | Operation::Remove(_, users)
            | Operation::Replace(_, users)
            | Operation::PutGroup(_, _, users) => self.ids_of(users),
            Operation::AddGroup(_, group) | Operation::RemoveGroup(_, group) => {
                self.group_of(*group).into_iter().collect()
            }
            _ => vec![],
        };
        let invoked = self.now();
        let to = (self.directory, path.as_str());
        let answer = self
            .send(process, &token, method, to, body.as_ref(), version)
            .await;
        let mut resource = resource;
        if let Some(answer) = answer.as_ref().filter(|answer| answer.status == 201) {
            let id = answer.body["id"].as_str().unwrap_or_default().to_owned();
            resource = match operation {
                Operation::CreateUser(place, _) => {
                    lock(&self.users).insert(*place, id.clone());
                    Resource::User(id)
                }
                Operation::CreateGroup(place, ..) => {
                    lock(&self.groups).insert(*place, id.clone());
                    Resource::Group(id)
                }
                _ => resource,
            };
        }
        if let Some(version) = answer.as_ref().and_then(|answer| answer.version) {
            seen.insert(resource.clone(), version);
        }
        let responded = answer.is_some().then(|| self.now());
        lock(&self.records).push(Record {
            number,
            operation: operation.clone(),
            resource,
            mentioned,
            demanded: version,
            token: index,
            invoked,
            responded,
            answer,
        });
    }

    async fn rotate(&self, process: usize, number: usize) {
        let gateway = lock(&self.processes[process]).gateway.clone();
        let invoked = self.now();
        let directory = self.directory;
        let task = tokio::spawn(async move { gateway.rotate_token(directory, GRACE, None).await });
        lock(&self.processes[process])
            .tasks
            .push(task.abort_handle());
        let rotated = match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(rotated)) => Some(rotated),
            Ok(Err(_)) | Err(_) => None,
        };
        let (token, refused) = match rotated {
            Some(Ok(Some(rotated))) => {
                let mut tokens = lock(&self.tokens);
                tokens.push(rotated.token.expose().to_owned());
                (Some(tokens.len() - 1), false)
            }
            Some(Ok(None)) => (None, true),
            Some(Err(error)) => (None, check::refused(&error)),
            None => (None, false),
        };
        let responded = Some(self.now());
        lock(&self.rotations).push(Rotation {
            number,
            invoked,
            responded,
            token,
            refused,
        });
    }
}
