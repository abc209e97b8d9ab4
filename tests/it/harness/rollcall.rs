//! The program `rollcall` as a process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use super::program::program;

/// How long a line of output may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running `rollcall` with `--json`.
pub struct Rollcall {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The first line of the output: the directory and its token.
    pub greeting: Value,
}

impl Rollcall {
    pub async fn start(data: &Path) -> Rollcall {
        Rollcall::start_with(data, &[]).await
    }

    pub async fn start_with(data: &Path, more: &[&str]) -> Rollcall {
        let mut process = Command::new(program("rollcall"))
            .args(["--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let greeting = next(&mut lines).await.unwrap();
        Rollcall {
            process,
            lines,
            greeting,
        }
    }

    pub async fn line(&mut self) -> Value {
        next(&mut self.lines).await.unwrap()
    }

    /// Returns the next event about a user. The first start also has an event about the directory that it creates.
    pub async fn user_event(&mut self) -> Value {
        loop {
            let event = self.line().await;
            if event["detail"]["resource"]["type"] == "User" {
                return event;
            }
        }
    }

    /// Sends a request and returns the status and the JSON of the response.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let url: http::Uri = self.greeting["base_url"].as_str().unwrap().parse().unwrap();
        let (host, token) = (
            url.authority().unwrap().as_str(),
            self.greeting["token"].as_str().unwrap(),
        );
        let body = body.to_string();
        let request = format!(
            "{method} {}{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/scim+json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            url.path(),
            body.len(),
        );
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    pub async fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .await
                .unwrap()
                .success()
        );
    }

    /// Waits for the end of the process. Returns the exit code and the rest of standard output and standard error.
    pub async fn end(mut self) -> (Option<i32>, Vec<Value>, String) {
        let mut rest = vec![];
        while let Some(line) = next(&mut self.lines).await {
            rest.push(line);
        }
        let mut errors = String::new();
        self.process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .await
            .unwrap();
        (self.process.wait().await.unwrap().code(), rest, errors)
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<Value> {
    let line = tokio::time::timeout(TIMEOUT, lines.next_line())
        .await
        .expect("a line in time")
        .unwrap()?;
    Some(serde_json::from_str(&line).unwrap())
}
