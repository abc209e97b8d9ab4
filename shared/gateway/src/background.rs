//! Tasks that run beside a request, and can take a moment longer than it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;

/// Maximum time for which a response waits for the tasks beside it.
const TIMEOUT: Duration = Duration::from_millis(100);

/// The tasks that run beside one request. Clones share the tasks.
#[derive(Clone, Default)]
pub(crate) struct Background(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Background {
    /// Adds a task that has been spawned.
    pub(crate) fn add(&self, task: JoinHandle<()>) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(task);
    }

    /// Waits until the tasks are done, for at most [`TIMEOUT`]. Lambda freezes the process after the response.
    pub(crate) async fn finish(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !tasks.is_empty() {
            let _ = tokio::time::timeout(TIMEOUT, join_all(tasks)).await;
        }
    }
}
