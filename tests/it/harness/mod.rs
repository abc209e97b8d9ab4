//! One deployment for each test: an AWS account in memory, the stack of `template.yaml`, and a directory with its
//! token.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::body::Bytes;
use directory::{Ids, NewDirectory, Provider, Settings};
use http::{HeaderMap, Method, Request, StatusCode};
use jiff::Timestamp;
pub use local::transcript::HOST;
use local::transcript::{BEGINNING, ids_in_order};
use local::{Cloud, CloudOptions, Stack, StackOptions};
use serde_json::{Value, json};

pub mod cost;
pub mod endpoint;
pub mod event_schema;
pub mod faults;
pub mod members;
pub mod program;
pub mod records;
pub mod rollcall;
pub mod transcript;

pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// The secret part of the admin keys that tests create.
pub const ADMIN_SECRET: &str = "0123456789abcdef0123456789abcdef";

pub struct World {
    pub cloud: Cloud,
    pub stack: Stack,
    pub directory: String,
    pub token: String,
    pub admin_key: String,
    seconds: Arc<AtomicI64>,
    /// The milliseconds that functions have waited before they read secrets.
    rested: Arc<AtomicU64>,
    ids: Ids,
    /// Maximum number of actions in a transaction.
    actions: usize,
    /// Answers the requests instead of the stack, if it is set.
    backend: Option<Backend>,
}

/// Answers a request.
pub type Backend =
    Arc<dyn Fn(Request<Bytes>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// A response with its whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// Returns the JSON of the body.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error} in {}", String::from_utf8_lossy(&self.body)),
        }
    }

    /// Returns the `id` of the resource in the body.
    #[track_caller]
    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }

    /// Returns this response if it has that status, and fails otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(
            self.status.as_u16(),
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl World {
    pub async fn new() -> World {
        World::made_with(Ids::default(), false).await
    }

    /// Returns a world whose AWS services answer on the thread of the test, for tests with a paused clock.
    pub async fn here() -> World {
        World::made_with(Ids::default(), true).await
    }

    /// Returns a world in which ids ascend in the order of creation, so that lists have a known order.
    pub async fn in_order() -> World {
        World::made_with(ids_in_order(), false).await
    }

    async fn made_with(ids: Ids, here: bool) -> World {
        let seconds = Arc::new(AtomicI64::new(BEGINNING));
        let now = seconds.clone();
        let clock: local::Clock =
            Arc::new(move || Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap());
        let cloud = Cloud::start(CloudOptions {
            clock,
            here,
            ..CloudOptions::in_memory()
        })
        .unwrap();
        let rested = Arc::default();
        let stack = start(&cloud, options(&ids, &seconds, &rested)).await;
        let first = stack.first_directory().await.unwrap();
        let admin_key = stack.admin_key().await.unwrap();
        // The event of the first directory itself.
        stack.drain().await.unwrap();
        cloud.bus().take_events();
        cloud.take_requests();
        World {
            cloud,
            stack,
            directory: first.id,
            token: first.token,
            admin_key,
            seconds,
            rested,
            ids,
            actions: directory::ACTIONS,
            backend: None,
        }
    }

    /// Returns the same account, seen by processes whose transactions have at most so many actions: changes of small groups take
    /// several transactions then.
    pub async fn with_actions(self, actions: usize) -> World {
        let options = StackOptions {
            actions,
            ..self.options()
        };
        World {
            stack: start(&self.cloud, options).await,
            actions,
            ..self
        }
    }

    /// Returns the same account, seen by processes that have just started.
    pub async fn cold(&self) -> World {
        World {
            cloud: self.cloud.clone(),
            stack: start(&self.cloud, self.options()).await,
            directory: self.directory.clone(),
            token: self.token.clone(),
            admin_key: self.admin_key.clone(),
            seconds: self.seconds.clone(),
            rested: self.rested.clone(),
            ids: self.ids.clone(),
            actions: self.actions,
            backend: None,
        }
    }

    /// Returns this world with requests sent to `backend` instead of the stack.
    pub fn through(self, backend: Backend) -> World {
        World {
            backend: Some(backend),
            ..self
        }
    }

    /// Creates another directory of the same account with these settings.
    pub async fn with_settings(&self, settings: Settings) -> World {
        self.with_provider(Provider::Okta, settings).await
    }

    /// Creates another directory of the same account with this provider and these settings.
    pub async fn with_provider(&self, provider: Provider, settings: Settings) -> World {
        let new = NewDirectory {
            tenant: "demo".to_owned(),
            product: "demo".to_owned(),
            name: "Demo".to_owned(),
            provider,
            settings,
            webhook: None,
        };
        let world = self.with_directory(new).await;
        // The event of the directory itself.
        world.events().await;
        world
    }

    /// Returns the same account, seen by processes with the rate limit of the template.
    pub async fn limited(&self) -> World {
        let template = self.stack.template();
        let number = template.environment("UsersFunction", "REQUESTS_PER_SECOND");
        let options = StackOptions {
            requests_per_second: Some(number.unwrap().parse().unwrap()),
            ..self.options()
        };
        World {
            stack: Stack::start(self.cloud.clone(), options).await.unwrap(),
            ..self.cold().await
        }
    }

    /// Creates another directory of the same account.
    pub async fn with_directory(&self, new: NewDirectory) -> World {
        let created = self.stack.gateway().create_directory(new).await;
        let (directory, token) = created.unwrap();
        World {
            directory: directory.id.to_string(),
            token: token.expose().to_owned(),
            backend: self.backend.clone(),
            ..self.cold().await
        }
    }

    /// Returns this world for a directory in a response of the admin API.
    pub fn of(&self, created: &Value) -> World {
        let text = |name: &str| created[name].as_str().unwrap().to_owned();
        World {
            cloud: self.cloud.clone(),
            stack: self.stack.clone(),
            directory: text("id"),
            token: text("token"),
            admin_key: self.admin_key.clone(),
            seconds: self.seconds.clone(),
            rested: self.rested.clone(),
            ids: self.ids.clone(),
            actions: self.actions,
            backend: self.backend.clone(),
        }
    }

    /// Returns a request to the admin API. `null` means no body.
    pub fn admin_request(&self, method: Method, path: &str, body: &Value) -> Request<Bytes> {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header("authorization", format!("Bearer {}", self.admin_key))
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap()
    }

    /// Sends a request to the admin API.
    pub async fn admin(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send(self.admin_request(method, path, &body)).await
    }

    /// Creates a directory through the admin API, in the same processes.
    pub async fn directory_of(&self, tenant: &str, product: &str) -> World {
        let created = self
            .admin(
                Method::POST,
                "/v1/directories",
                new_directory(tenant, product),
            )
            .await;
        self.of(&created.expect(201).json())
    }

    /// Creates an admin key.
    pub async fn key(&self, name: &str, rest: Value) -> String {
        let mut secret = json!({"key": ADMIN_SECRET});
        secret
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        aws_sdk_secretsmanager::Client::new(self.cloud.config())
            .create_secret()
            .name(format!("rollcall/admin/{name}"))
            .secret_string(secret.to_string())
            .send()
            .await
            .unwrap();
        format!("rollcall_admin_{name}_{ADMIN_SECRET}")
    }

    /// Sends a request to the admin API with a key, or without `authorization` for an empty one.
    pub async fn by(&self, key: &str, method: Method, path: &str, body: &Value) -> Answer {
        let mut request = self.admin_request(method, path, body);
        let headers = request.headers_mut();
        match key {
            "" => headers.remove("authorization"),
            key => headers.insert("authorization", format!("Bearer {key}").parse().unwrap()),
        };
        self.send(request).await
    }

    /// Sends a GET to the admin API.
    pub async fn admin_get(&self, path: &str) -> Answer {
        self.admin(Method::GET, path, Value::Null).await
    }

    /// Returns a path below the directory in the admin API.
    pub fn admin_path(&self, path: &str) -> String {
        format!("/v1/directories/{}{path}", self.directory)
    }

    fn options(&self) -> StackOptions {
        StackOptions {
            actions: self.actions,
            ..options(&self.ids, &self.seconds, &self.rested)
        }
    }

    /// Returns the milliseconds that functions have waited before they read secrets, since the last call.
    pub fn rested(&self) -> u64 {
        self.rested.swap(0, Ordering::Relaxed)
    }

    /// Advances the clock.
    pub fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Returns the path of the SCIM base URL.
    pub fn base(&self) -> String {
        format!("/scim/v2/{}", self.directory)
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Bytes>) -> Answer {
        if let Some(backend) = &self.backend {
            return backend(request).await;
        }
        let (head, body) = self.stack.handle(request).await.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// Returns a request as Okta sends it, to a path below the base URL.
    pub fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Bytes> {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base()))
            .header("host", HOST)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/scim+json; charset=utf-8")
            .body(body.into())
            .unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path, "")).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path, body.to_string()))
            .await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path, body.to_string()))
            .await
    }

    /// Sends a PATCH with these operations.
    pub async fn patch(&self, path: &str, operations: Value) -> Answer {
        let body = json!({"schemas": [PATCH_OP], "Operations": operations});
        self.send(self.request(Method::PATCH, path, body.to_string()))
            .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path, "")).await
    }

    /// Returns the settings of a function that is deployed with the template, without a rate limit.
    pub fn deployed(&self) -> gateway::Settings {
        let clock = self.cloud.clock();
        gateway::Settings {
            table: self.stack.template().table.name.clone(),
            secret_prefix: "rollcall/".to_owned(),
            base_url: None,
            clock: Arc::new(move || clock()),
            ids: Ids::default(),
            actions: directory::ACTIONS,
            requests_per_second: None,
            sleep: gateway::sleep(),
            admin_auth: gateway::AdminAuth::Key,
            webhooks: None,
        }
    }

    /// Publishes the events of the stream, and returns those that the bus received since the last call.
    pub async fn events(&self) -> Vec<Value> {
        self.stack.drain().await.unwrap();
        self.cloud.bus().take_events()
    }
}

async fn start(cloud: &Cloud, options: StackOptions) -> Stack {
    Stack::start(cloud.clone(), options).await.unwrap()
}

fn options(ids: &Ids, seconds: &Arc<AtomicI64>, rested: &Arc<AtomicU64>) -> StackOptions {
    let (seconds, rested) = (seconds.clone(), rested.clone());
    StackOptions {
        // A wait advances the clock.
        background_sleep: Arc::new(move |time| {
            seconds.fetch_add(time.as_secs() as i64 + 1, Ordering::Relaxed);
            Box::pin(async {})
        }),
        // Reads of secrets are paced, and no test waits for that.
        request_sleep: Arc::new(move |time| {
            rested.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
            Box::pin(tokio::task::yield_now())
        }),
        domain: HOST.to_owned(),
        ids: ids.clone(),
        ..StackOptions::default()
    }
}

/// Returns a user as Okta creates it.
pub fn user(user_name: &str) -> Value {
    json!({
        "schemas": [USER],
        "userName": user_name,
        "name": {"givenName": "Ann", "familyName": "Archer"},
        "emails": [{"primary": true, "value": user_name, "type": "work"}],
        "displayName": "Ann Archer",
        "externalId": format!("00u-{user_name}"),
        "active": true,
    })
}

/// Returns the body of a request that creates a directory.
pub fn new_directory(tenant: &str, product: &str) -> Value {
    json!({"tenant": tenant, "product": product, "name": format!("{tenant} ({product})"), "provider": "okta-scim-v2"})
}
