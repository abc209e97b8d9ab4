//! The whole product on one machine: the functions, unchanged, around a small AWS of their own.
//!
//! [`Cloud`] is the account: DynamoDB, Secrets Manager and EventBridge behind the SDK's own clients. [`Template`] is
//! what `template.yaml` says. [`Stack`] is the deployment: requests go through a local API Gateway to the functions,
//! and the table's stream goes to the publisher. The runner and the tests are built from the same three.
//!
//! No function knows of this crate, and none has a line that asks whether it runs here.

mod api;
mod atomic_file;
mod bootstrap;
mod bus;
mod cloud;
mod dynamodb;
mod http_client;
mod network;
mod queue;
mod requests;
mod routes;
mod secrets;
mod server;
mod stack;
mod stream;
mod template;
mod tokens;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use bootstrap::FirstDirectory;
pub use bus::Bus;
pub use cloud::{Cloud, CloudOptions, DeadLetter};
pub use gateway::{Clock, Sleep};
pub use http_client::{Fault, RequestInfo};
pub use network::{Lost, Passage};
pub use requests::{Request, Requests, Service};
pub use routes::{Match, Route, Routes};
pub use server::{Exchange, serve};
pub use stack::{Courier, Stack, StackOptions};
pub use stream::{Backoff, Invoke};
pub use template::{
    Attribute, Function, Index, Key, Mapping, Projection, QueueMapping, Stream, Table, Template,
    TimeToLive,
};

/// The allocator of the runner, the tests and the benchmarks: that of glibc takes longer the more memory is in use, so a
/// creation took 1.3 times as long in a table of 100,000 users as in one of 1,000.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why the local stack cannot run. Each is one line for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the data directory.
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
    /// The embedded table does not work.
    #[error("the table cannot be used: {0}")]
    Table(String),
    /// The stream cannot be read.
    #[error("the table's stream cannot be read: {0}")]
    Stream(String),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The queues do not work.
    #[error("the queues cannot be used: {0}")]
    Queue(String),
    /// The template deploys something that cannot run here.
    #[error("template.yaml {0}")]
    Template(String),
    /// The endpoint is not one.
    #[error("{0} is not an http:// or https:// address of a DynamoDB")]
    Endpoint(String),
    /// The build has no HTTP client.
    #[error("this build has no HTTP client, so --dynamodb-endpoint cannot be used")]
    NoHttpClient,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The listener failed.
    #[error("cannot serve HTTP: {0}")]
    Serve(#[from] std::io::Error),
    /// The directory that is made for whoever starts the runner cannot be made or found again.
    #[error("the first directory cannot be used: {0}")]
    Directory(String),
    /// A secret that the template makes cannot be made or read again.
    #[error("a secret cannot be used: {0}")]
    Secret(String),
}

impl Error {
    pub(crate) fn table(error: impl std::error::Error) -> Self {
        Error::Table(chain(&error))
    }
}

/// An error and what it comes from, in one line for people: the SDK's own words alone are "service error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors already end with what they come from.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The machine's clock.
pub fn system_clock() -> Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everything else is handed"
    )]
    Arc::new(jiff::Timestamp::now)
}

/// An id that AWS would make, and not the product.
fn random_id() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "request ids, event ids and the like are AWS's to make"
    )]
    uuid::Uuid::new_v4().to_string()
}

/// Locks, whatever became of the thread that held the lock before: nothing is kept half-changed under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// A directory for one test, which goes with it.
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
