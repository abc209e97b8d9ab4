//! Faults of DynamoDB, and interruptions of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use local::{Fault, RequestInfo, Service};
use tokio::runtime::Builder;

use super::{Answer, World};

/// Cancels every third transaction, refuses every fifth single write, and throttles every seventh request.
pub fn busy(world: &World) {
    world.cloud.set_faults(
        |request| match (request.service, request.operation.as_str()) {
            (Service::DynamoDb, "TransactWriteItems") if request.number % 3 == 0 => {
                let actions = request.input()["TransactItems"]
                    .as_array()
                    .map_or(0, Vec::len);
                let mut reasons = vec!["None"; actions];
                reasons[request.number % actions] = "TransactionConflict";
                Fault::Cancel(reasons)
            }
            (Service::DynamoDb, "UpdateItem" | "BatchWriteItem") if request.number % 5 == 0 => {
                Fault::Error {
                    status: 400,
                    code: "TransactionConflictException",
                    message: "Transaction is ongoing for the item",
                }
            }
            (Service::DynamoDb, _) if request.number % 7 == 0 => Fault::Error {
                status: 400,
                code: "ProvisionedThroughputExceededException",
                message: "The level of configured provisioned throughput was exceeded.",
            },
            _ => Fault::Pass,
        },
    );
}

/// Interrupts a request after `requests` requests to DynamoDB. Returns whether it completed before that.
///
/// The request runs in a runtime of its own. The end of the runtime also ends the tasks that the request has spawned, as the
/// end of a Lambda sandbox does.
pub async fn interrupted_after<F>(world: &World, requests: usize, request: F) -> bool
where
    F: Future<Output = Answer> + Send + 'static,
{
    let made = AtomicUsize::new(0);
    let late = move |_: &RequestInfo| made.fetch_add(1, Ordering::Relaxed) >= requests;
    interrupted_at(world, late, request).await
}

/// Interrupts a request when it makes a request to DynamoDB for which `late` is true. Returns whether it completed before
/// that.
pub async fn interrupted_at<F>(
    world: &World,
    late: impl Fn(&RequestInfo) -> bool + Send + Sync + 'static,
    request: F,
) -> bool
where
    F: Future<Output = Answer> + Send + 'static,
{
    let held = Arc::new(AtomicBool::new(false));
    let holds = held.clone();
    world.cloud.set_faults(move |info| {
        if info.service == Service::DynamoDb && late(info) {
            // The delay is longer than the test.
            holds.store(true, Ordering::Relaxed);
            Fault::Delay(Duration::from_secs(3_600))
        } else {
            Fault::Pass
        }
    });
    let sandbox = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut task = sandbox.spawn(request);
    let ended = loop {
        tokio::select! {
            _ = &mut task => break true,
            () = tokio::time::sleep(Duration::from_millis(1)) => {
                if held.load(Ordering::Relaxed) {
                    // Requests that were made at the same time are performed.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    break false;
                }
            }
        }
    };
    let stopped = tokio::task::spawn_blocking(|| sandbox.shutdown_timeout(Duration::from_secs(5)));
    stopped.await.unwrap();
    world.cloud.clear_faults();
    ended
}
