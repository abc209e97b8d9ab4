//! The whole service on one machine: the unchanged functions with an emulated AWS.
//!
//! [`Cloud`] is the AWS account: DynamoDB, Secrets Manager, EventBridge and SQS behind the clients of the SDK. [`Template`] is
//! the content of `template.yaml`. [`Stack`] is the deployment: requests pass a local API Gateway to the functions, and the
//! stream of the table goes to the publisher. The runner and the tests use these three.
//!
//! The functions do not depend on this crate, and do not distinguish it from AWS.
//!
//! | module | emulates |
//! |---|---|
//! | `http_client` | the transport of the SDK, with faults and a log of the requests (`requests`, `network`) |
//! | `dynamodb`, `tokens` | DynamoDB |
//! | `secrets` | Secrets Manager |
//! | `bus`, `queue` | EventBridge and SQS |
//! | `stream`, `queue` | the event source mappings of Lambda |
//! | `api`, `routes` | API Gateway and the invocation of functions |
//! | `template`, `stack`, `bootstrap` | CloudFormation |
//! | `server`, `record`, `redact`, `transcript` | nothing: the HTTP server of the runner, and recordings |

mod api;
mod atomic_file;
mod bootstrap;
mod bus;
mod cloud;
mod dynamodb;
mod http_client;
mod network;
mod queue;
mod record;
mod redact;
mod requests;
mod routes;
mod secrets;
mod server;
mod stack;
mod stream;
mod template;
mod tokens;
pub mod transcript;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use bootstrap::FirstDirectory;
pub use bus::Bus;
pub use cloud::{Cloud, CloudOptions, DeadLetter};
pub use gateway::{Clock, Sleep};
pub use http_client::{Fault, RequestInfo};
pub use network::{Lost, Passage};
pub use record::Recorder;
pub use requests::{Request, Requests, Service};
pub use routes::{Match, Route, Routes};
pub use server::{Backend, Exchange, serve};
pub use stack::{Courier, Stack, StackOptions};
pub use stream::{Backoff, Invoke};
pub use template::{
    Attribute, Function, Index, Key, Mapping, Projection, QueueMapping, Stream, Table, Template,
    TimeToLive,
};

/// The allocator of the runner, the tests and the benchmarks. That of glibc becomes slower with more memory in use: a creation
/// took 1.3 times as long in a table of 100,000 users as in one of 1,000.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why the local stack cannot run, as one line for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process uses the data directory.
    #[error("{} is in use by another rollcall; stop it, or choose another directory with --data", .0.display())]
    InUse(PathBuf),
    /// The data directory has items of another format.
    #[error(
        "{} has data {found}, and this version of Rollcall works with format {}. Delete the folder, or pass another one with --data",
        path.display(),
        directory::FORMAT_VERSION
    )]
    Format {
        /// The data directory.
        path: PathBuf,
        /// The format of its data.
        found: String,
    },
    /// A file or directory of the data directory cannot be used.
    #[error("{} cannot be used: {reason}", path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The embedded table cannot be used.
    #[error("the table cannot be used: {0}")]
    Table(String),
    /// The stream cannot be read.
    #[error("the table's stream cannot be read: {0}")]
    Stream(String),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The queues cannot be used.
    #[error("the queues cannot be used: {0}")]
    Queue(String),
    /// The template cannot be deployed locally.
    #[error("template.yaml {0}")]
    Template(String),
    /// The endpoint is not a URL.
    #[error("{0} is not an http:// or https:// URL of a DynamoDB")]
    Endpoint(String),
    /// This build has no HTTP client.
    #[error("this build has no HTTP client, so --dynamodb-endpoint cannot be used")]
    NoHttpClient,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// The reason.
        reason: String,
    },
    /// A session cannot be recorded.
    #[error("cannot record to {}: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The listener failed.
    #[error("cannot serve HTTP: {0}")]
    Serve(#[from] std::io::Error),
    /// The directory of the first start cannot be created or read.
    #[error("the first directory cannot be used: {0}")]
    Directory(String),
    /// A generated secret of the template cannot be created or read.
    #[error("a secret cannot be used: {0}")]
    Secret(String),
}

impl Error {
    pub(crate) fn table(error: impl std::error::Error) -> Self {
        Error::Table(chain(&error))
    }
}

/// Returns an error and its sources in one line. An error of the SDK alone is only "service error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors already end with their source.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Returns the clock of the machine.
pub fn system_clock() -> Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that is passed to everything else"
    )]
    Arc::new(jiff::Timestamp::now)
}

/// Returns an id that AWS would create, such as that of a request.
fn random_id() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "AWS creates ids of requests and events"
    )]
    uuid::Uuid::new_v4().to_string()
}

/// Locks a mutex, even if a thread panicked while it held the lock. Changes under these locks are complete at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// A directory for one test, which is deleted with it.
    pub(crate) struct Directory(PathBuf);

    impl Directory {
        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    pub(crate) fn directory() -> Directory {
        let path = std::env::temp_dir().join(format!("rollcall-{}", super::random_id()));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }
}
