//! The programs of this workspace, built as they are and run as processes of their own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::any;
use http::{Request, Response};
use http_body_util::BodyExt;
use local::Cloud;
use serde_json::Value;
use tokio::net::TcpListener;

/// The path of the program `name`, which is built first.
pub async fn program(name: &str) -> PathBuf {
    static PROGRAMS: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    let programs = tokio::task::spawn_blocking(|| PROGRAMS.get_or_init(build))
        .await
        .unwrap();
    programs[name].clone()
}

/// Builds every program. With the tests, which are there already, Cargo chooses the same features of dependencies as for
/// them, and makes none of these anew.
fn build() -> HashMap<String, PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--workspace", "--bins", "--tests", "--locked"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the programs could not be built");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|message| message["profile"]["test"] == false && message["executable"].is_string())
        .map(|message| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&message["target"]["name"]),
                PathBuf::from(text(&message["executable"])),
            )
        })
        .collect()
}

/// Serves an account to the SDKs of other processes.
pub async fn serve(cloud: &Cloud) -> SocketAddr {
    async fn answer(State(cloud): State<Cloud>, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        cloud
            .answer(Request::from_parts(head, body))
            .await
            .map(Body::from)
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Router::new()
        .route("/", any(answer))
        .with_state(cloud.clone());
    tokio::spawn(async move { axum::serve(listener, server).await });
    address
}
