//! The log of the requests to AWS: their number, their cost in capacity units, and how many had to wait for another.
//!
//! The tests of costs read it.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lock;

/// An AWS service that the local cloud emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// DynamoDB tables.
    DynamoDb,
    /// DynamoDB Streams. Only the event source mapping reads it, so its requests are not logged.
    Streams,
    /// Secrets Manager.
    SecretsManager,
    /// EventBridge.
    EventBridge,
    /// SQS. Requests of functions are logged, and reads by Lambda are not.
    Sqs,
}

/// A request of a function as it arrived at the service. A retry of the SDK is a separate request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The service.
    pub service: Service,
    /// The operation, such as `TransactWriteItems`.
    pub operation: String,
    /// Read capacity units, at the transactional price where it applies.
    pub read_units: f64,
    /// Write capacity units, at the transactional price where it applies.
    pub write_units: f64,
    /// The status of the response, or `None` if no response reached the caller.
    pub status: Option<u16>,
    started: u64,
    finished: Option<u64>,
}

/// Requests in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct Requests(Vec<Request>);

impl Requests {
    /// Returns the requests to one service.
    pub fn of(&self, service: Service) -> Requests {
        Requests(
            self.iter()
                .filter(|request| request.service == service)
                .cloned()
                .collect(),
        )
    }

    /// Returns the names of the operations, in order.
    pub fn operations(&self) -> Vec<&str> {
        self.iter()
            .map(|request| request.operation.as_str())
            .collect()
    }

    /// Returns the total of read capacity units.
    pub fn read_units(&self) -> f64 {
        self.iter().map(|request| request.read_units).sum()
    }

    /// Returns the total of write capacity units.
    pub fn write_units(&self) -> f64 {
        self.iter().map(|request| request.write_units).sum()
    }

    /// Returns the number of sequential round trips: the length of the longest chain of requests in which each began after the
    /// response to the one before. Concurrent requests count once.
    pub fn round_trips(&self) -> usize {
        let mut spans: Vec<(u64, u64)> = self
            .iter()
            .map(|request| (request.finished.unwrap_or(u64::MAX), request.started))
            .collect();
        // Choosing the request that ends first does not exclude a longer chain.
        spans.sort_unstable();
        let mut chain = 0;
        let mut free_from = 0;
        for (finished, started) in spans {
            if chain == 0 || started > free_from {
                chain += 1;
                free_from = finished;
            }
        }
        chain
    }
}

impl Deref for Requests {
    type Target = [Request];

    fn deref(&self) -> &[Request] {
        &self.0
    }
}

impl IntoIterator for Requests {
    type Item = Request;
    type IntoIter = std::vec::IntoIter<Request>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The log to which the HTTP client writes requests.
#[derive(Debug)]
pub(crate) struct Log {
    ticks: AtomicU64,
    kept: usize,
    requests: Mutex<VecDeque<Request>>,
}

/// Capacity units and status of a finished request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
    pub(crate) status: Option<u16>,
}

impl Log {
    /// Returns a log of the last `kept` requests, so that the memory of a runner does not grow.
    pub(crate) fn new(kept: usize) -> Self {
        Log {
            ticks: AtomicU64::new(1),
            kept,
            requests: Mutex::default(),
        }
    }

    /// Records the start of a request, and returns a number that identifies it.
    pub(crate) fn start(&self, service: Service, operation: &str) -> u64 {
        let mut requests = lock(&self.requests);
        let started = self.ticks.fetch_add(1, Ordering::Relaxed);
        if requests.len() >= self.kept {
            requests.pop_front();
        }
        requests.push_back(Request {
            service,
            operation: operation.to_owned(),
            read_units: 0.0,
            write_units: 0.0,
            status: None,
            started,
            finished: None,
        });
        started
    }

    /// Records the end of a request, with or without a response.
    pub(crate) fn finish(&self, started: u64, outcome: Outcome) {
        let mut requests = lock(&self.requests);
        let finished = self.ticks.fetch_add(1, Ordering::Relaxed);
        if let Some(request) = requests
            .iter_mut()
            .rev()
            .find(|request| request.started == started)
        {
            request.finished = Some(finished);
            request.read_units = outcome.read_units;
            request.write_units = outcome.write_units;
            request.status = outcome.status;
        }
    }

    /// Returns the requests in the log and empties it.
    pub(crate) fn take(&self) -> Requests {
        Requests(lock(&self.requests).drain(..).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(spans: &[(u64, u64)]) -> Requests {
        Requests(
            spans
                .iter()
                .map(|&(started, finished)| Request {
                    service: Service::DynamoDb,
                    operation: "GetItem".to_owned(),
                    read_units: 1.0,
                    write_units: 0.0,
                    status: Some(200),
                    started,
                    finished: Some(finished),
                })
                .collect(),
        )
    }

    #[test]
    fn round_trips_count_sequential_requests() {
        assert_eq!(requests(&[]).round_trips(), 0);
        assert_eq!(requests(&[(1, 2)]).round_trips(), 1);
        assert_eq!(requests(&[(1, 2), (3, 4)]).round_trips(), 2);
        assert_eq!(requests(&[(1, 4), (2, 5), (3, 6)]).round_trips(), 1);
        assert_eq!(requests(&[(1, 4), (2, 3), (5, 7), (6, 8)]).round_trips(), 2);
    }

    #[test]
    fn a_request_without_a_response_ends_the_chain() {
        let log = Log::new(10);
        let first = log.start(Service::DynamoDb, "GetItem");
        log.finish(first, Outcome::default());
        log.start(Service::DynamoDb, "PutItem");
        let taken = log.take();
        assert_eq!(taken.operations(), ["GetItem", "PutItem"]);
        assert_eq!(taken.round_trips(), 2);
        assert!(log.take().is_empty());
    }
}
