//! The cost of a request in DynamoDB requests, round trips and capacity units.

use local::{Requests, Service};
use serde_json::{Value, json};

use super::{Answer, World, user};

/// The requests of an operation to DynamoDB.
pub struct Cost {
    pub operations: Vec<String>,
    pub round_trips: usize,
    pub read: f64,
    pub write: f64,
}

impl Cost {
    #[track_caller]
    pub fn assert(&self, operations: &[&str], round_trips: usize, read: f64, write: f64) {
        assert_eq!(self.operations, operations);
        assert_eq!(
            (self.round_trips, self.read, self.write),
            (round_trips, read, write)
        );
    }

    pub fn count(&self, operation: &str) -> usize {
        self.operations.iter().filter(|o| *o == operation).count()
    }
}

/// Sends a request to a warm process, whose check of the token makes no request, and returns its cost.
pub async fn cost(world: &World, request: impl Future<Output = Answer>) -> (Answer, Cost) {
    world.get("/Users?count=0").await.expect(200);
    world.get("/Groups?count=0").await.expect(200);
    let nothing = json!({"Operations": []});
    world.post("/Bulk", &nothing).await.expect(200);
    world.cloud.take_requests();
    let answer = request.await;
    let asked: Requests = world.cloud.take_requests();
    let tables = asked.of(Service::DynamoDb);
    assert_eq!(tables.len(), asked.len(), "{asked:?}");
    let cost = Cost {
        operations: tables
            .operations()
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        round_trips: tables.round_trips(),
        read: tables.read_units(),
        write: tables.write_units(),
    };
    (answer, cost)
}

/// Returns a user of 2 KB in the table, with keys, version and times (docs/costs.md).
pub fn two_kb(name: &str) -> Value {
    let mut user = user(name);
    user["nickName"] = json!("");
    let missing = 1_850 - user.to_string().len();
    user["nickName"] = json!("n".repeat(missing));
    user
}
