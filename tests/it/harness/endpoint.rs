//! An endpoint for webhooks.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;

/// An HTTP server that receives webhooks.
#[derive(Clone)]
pub struct Endpoint {
    pub url: String,
    received: Arc<Mutex<Vec<Delivery>>>,
    answers: Arc<Mutex<Vec<u16>>>,
    /// The addresses of the clients. A new connection has another port.
    pub from: Arc<Mutex<BTreeSet<SocketAddr>>>,
}

/// A request to an endpoint.
#[derive(Clone)]
pub struct Delivery {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Endpoint {
    /// Starts an endpoint that answers with these statuses, and then always with the last one.
    pub async fn start(answers: &[u16]) -> Endpoint {
        async fn take(
            State(endpoint): State<Endpoint>,
            ConnectInfo(from): ConnectInfo<SocketAddr>,
            uri: Uri,
            headers: HeaderMap,
            body: Bytes,
        ) -> (StatusCode, [(&'static str, String); 1], &'static str) {
            endpoint.from.lock().unwrap().insert(from);
            let path = uri.path_and_query().unwrap().to_string();
            endpoint.received.lock().unwrap().push(Delivery {
                path,
                headers,
                body,
            });
            let mut answers = endpoint.answers.lock().unwrap();
            let answer = match answers.len() {
                1 => answers[0],
                _ => answers.remove(0),
            };
            let elsewhere = format!("{}/elsewhere", endpoint.url);
            (
                StatusCode::from_u16(answer).unwrap(),
                [("location", elsewhere)],
                "ok",
            )
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint {
            url: format!("http://{}", listener.local_addr().unwrap()),
            received: Arc::default(),
            answers: Arc::new(Mutex::new(answers.to_vec())),
            from: Arc::default(),
        };
        let server = Router::new()
            .fallback(any(take))
            .with_state(endpoint.clone())
            .into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, server).await });
        endpoint
    }

    /// Returns the requests since the last call.
    pub fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.received.lock().unwrap())
    }

    /// Returns the types of the events since the last call, sorted, because deliveries have no order.
    pub fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = self.take().iter().map(Delivery::kind).collect();
        types.sort();
        types
    }
}

impl Delivery {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Returns the signature of this delivery according to "Standard Webhooks".
    pub fn signature(&self, secret: &str) -> String {
        let key = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap())
            .unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(self.header("webhook-id").as_bytes());
        mac.update(b".");
        mac.update(self.header("webhook-timestamp").as_bytes());
        mac.update(b".");
        mac.update(&self.body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}
