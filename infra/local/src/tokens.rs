//! The client request tokens of `TransactWriteItems`, kept outside the embedded engine.
//!
//! A transaction that is repeated with its token within ten minutes is not performed again ("TransactWriteItems",
//! Idempotency). The engine supports this, but scans all tokens for each transaction, which took 5 ms with 100,000 tokens.
//! Here, tokens are in the order in which they expire, so the time does not depend on their number. Tokens are not passed to
//! the engine.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use dynoxide::actions::describe_table::DescribeTableRequest;
use dynoxide::actions::transact_get_items::{
    TransactGet, TransactGetItem, TransactGetItemsRequest,
};
use dynoxide::actions::transact_write_items::{
    TransactWriteItem, TransactWriteItemsRequest, TransactWriteItemsResponse,
};
use dynoxide::{Database, DynoxideError};
use serde_json::Value;
use tokio::time::Instant;

/// Time for which a token is valid.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Maximum number of tokens, about 10 MB. The oldest are removed first. A clock that stands still reaches it.
const MOST: usize = 200_000;
/// Maximum length of a token. The engine refuses a longer one.
const LONGEST: usize = 36;

/// The tokens of the transactions of the last ten minutes.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// The digest of the request that each token was used for.
    requests: HashMap<String, u64>,
    /// The tokens and the times of their use, oldest first.
    used: VecDeque<(Instant, String)>,
}

impl Tokens {
    /// Performs a transaction, or returns the response to an earlier one with the same token.
    ///
    /// # Errors
    ///
    /// Returns the errors of the engine, and `IdempotentParameterMismatchException` for a token that was used for another
    /// request. A transaction that fails does not use its token.
    pub(crate) fn transact(
        &mut self,
        database: &Database,
        now: Instant,
        mut request: TransactWriteItemsRequest,
    ) -> Result<TransactWriteItemsResponse, DynoxideError> {
        let token = request.client_request_token.take();
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return database.transact_write_items(request);
        };
        if token.len() > LONGEST {
            request.client_request_token = Some(token);
            return database.transact_write_items(request);
        }
        self.forget(now);
        let digest = digest(&request.transact_items)?;
        match self.requests.get(&token) {
            Some(before) if *before == digest => repeated(database, request),
            Some(_) => Err(DynoxideError::IdempotentParameterMismatchException(
                "The token was used for another transaction within the last ten minutes."
                    .to_owned(),
            )),
            None => {
                let answer = database.transact_write_items(request)?;
                self.used.push_back((now, token.clone()));
                self.requests.insert(token, digest);
                Ok(answer)
            }
        }
    }

    /// Removes expired tokens.
    fn forget(&mut self, now: Instant) {
        let over = |used: &Instant| now.saturating_duration_since(*used) >= LIFETIME;
        while let Some((used, _)) = self.used.front()
            && (over(used) || self.used.len() >= MOST)
        {
            if let Some((_, token)) = self.used.pop_front() {
                self.requests.remove(&token);
            }
        }
    }
}

/// Returns the response to a repeated transaction. AWS bills it as a transactional read of its items.
fn repeated(
    database: &Database,
    request: TransactWriteItemsRequest,
) -> Result<TransactWriteItemsResponse, DynoxideError> {
    let mut reads = Vec::with_capacity(request.transact_items.len());
    for item in request.transact_items {
        let (table_name, key) = match item {
            TransactWriteItem { put: Some(put), .. } => {
                let table = DescribeTableRequest {
                    table_name: put.table_name.clone(),
                };
                let keys = database.describe_table(table)?.table.key_schema;
                let mut key = put.item;
                key.retain(|name, _| keys.iter().any(|part| part.attribute_name == *name));
                (put.table_name, key)
            }
            TransactWriteItem {
                update: Some(update),
                ..
            } => (update.table_name, update.key),
            TransactWriteItem {
                delete: Some(delete),
                ..
            } => (delete.table_name, delete.key),
            TransactWriteItem {
                condition_check: Some(check),
                ..
            } => (check.table_name, check.key),
            // No transaction with such an item was performed.
            _ => continue,
        };
        let get = TransactGet {
            table_name,
            key,
            ..TransactGet::default()
        };
        reads.push(TransactGetItem { get });
    }
    let read = database.transact_get_items(TransactGetItemsRequest {
        transact_items: reads,
        return_consumed_capacity: request.return_consumed_capacity,
    })?;
    Ok(TransactWriteItemsResponse {
        consumed_capacity: read.consumed_capacity,
        item_collection_metrics: None,
    })
}

/// Returns a digest of a transaction that does not depend on the order of the members of its objects.
fn digest(items: &[TransactWriteItem]) -> Result<u64, DynoxideError> {
    let items = serde_json::to_value(items)
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))?;
    let mut hasher = DefaultHasher::new();
    hash(&items, &mut hasher);
    Ok(hasher.finish())
}

fn hash(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            (1_u8, members.len()).hash(hasher);
            for (name, value) in members {
                name.hash(hasher);
                hash(value, hasher);
            }
        }
        Value::Array(values) => {
            (2_u8, values.len()).hash(hasher);
            for value in values {
                hash(value, hasher);
            }
        }
        plain => (3_u8, plain).hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn world() -> (Database, Tokens, Instant) {
        let database = Database::memory().unwrap();
        let table = json!({
            "TableName": "tab", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "PK", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "PK", "KeyType": "HASH"}],
        });
        database
            .create_table(serde_json::from_value(table).unwrap())
            .unwrap();
        (database, Tokens::default(), Instant::now())
    }

    /// Returns a transaction that adds 1 to a number of an item, and creates the item if it does not exist.
    fn add(token: &str, item: &str) -> TransactWriteItemsRequest {
        let request = json!({
            "ClientRequestToken": token, "ReturnConsumedCapacity": "TOTAL",
            "TransactItems": [{"Update": {
                "TableName": "tab", "Key": {"PK": {"S": item}}, "UpdateExpression": "ADD n :one",
                "ExpressionAttributeValues": {":one": {"N": "1"}},
            }}],
        });
        serde_json::from_value(request).unwrap()
    }

    fn number(database: &Database, item: &str) -> Value {
        let request = json!({"TableName": "tab", "Key": {"PK": {"S": item}}});
        let answer = database.get_item(serde_json::from_value(request).unwrap());
        serde_json::to_value(answer.unwrap()).unwrap()["Item"]["n"]["N"].clone()
    }

    #[test]
    fn a_token_is_good_for_ten_minutes() {
        let (database, mut tokens, now) = world();
        let mut at = |time: Duration| {
            let answer = tokens.transact(&database, now + time, add("one", "a"));
            answer.unwrap().consumed_capacity.unwrap().remove(0)
        };
        at(Duration::ZERO);
        let units = at(LIFETIME - Duration::from_secs(1));
        assert_eq!(number(&database, "a"), "1");
        assert_eq!(
            (units.read_capacity_units, units.write_capacity_units),
            (Some(2.0), None)
        );
        // A repeat does not make it last longer.
        at(LIFETIME);
        assert_eq!(number(&database, "a"), "2");
        assert_eq!((tokens.requests.len(), tokens.used.len()), (1, 1));
    }

    #[test]
    fn a_token_is_for_one_request() {
        let (database, mut tokens, now) = world();
        tokens.transact(&database, now, add("one", "a")).unwrap();
        let error = tokens
            .transact(&database, now, add("one", "b"))
            .unwrap_err();
        let name = "IdempotentParameterMismatchException";
        assert!(error.to_json().contains(name), "{}", error.to_json());
        assert_eq!(number(&database, "b"), Value::Null);
        // What is asked about its cost is no part of it.
        let quiet = TransactWriteItemsRequest {
            return_consumed_capacity: None,
            ..add("one", "a")
        };
        tokens.transact(&database, now, quiet).unwrap();
        assert_eq!(number(&database, "a"), "1");
    }

    #[test]
    fn a_refused_transaction_does_not_use_its_token() {
        let (database, mut tokens, now) = world();
        let request = |condition: &str| -> TransactWriteItemsRequest {
            let mut request = add("one", "a");
            let update = request.transact_items[0].update.as_mut().unwrap();
            update.condition_expression = Some(condition.to_owned());
            request
        };
        tokens
            .transact(&database, now, request("attribute_exists(PK)"))
            .unwrap_err();
        tokens
            .transact(&database, now, request("attribute_not_exists(PK)"))
            .unwrap();
        assert_eq!(number(&database, "a"), "1");
    }

    #[test]
    fn a_token_that_is_too_long_is_refused() {
        let (database, mut tokens, now) = world();
        let error = tokens
            .transact(&database, now, add(&"x".repeat(LONGEST + 1), "a"))
            .unwrap_err();
        assert!(error.to_json().contains("ValidationException"));
        assert_eq!(number(&database, "a"), Value::Null);
        assert_eq!(tokens.requests.len(), 0);
    }

    #[test]
    fn tokens_are_bounded_while_the_clock_stands_still() {
        let mut tokens = Tokens::default();
        let now = Instant::now();
        for number in 0..MOST + 10 {
            tokens.forget(now);
            tokens.used.push_back((now, number.to_string()));
            tokens.requests.insert(number.to_string(), 0);
        }
        assert_eq!((tokens.used.len(), tokens.requests.len()), (MOST, MOST));
        assert!(
            !tokens.requests.contains_key("9"),
            "the oldest are forgotten"
        );
        assert!(tokens.requests.contains_key("10"));
    }

    #[test]
    fn the_order_of_members_is_no_difference() {
        let digest = |text: &str| {
            let mut hasher = DefaultHasher::new();
            hash(&serde_json::from_str(text).unwrap(), &mut hasher);
            hasher.finish()
        };
        assert_eq!(digest(r#"{"a":1,"b":[2]}"#), digest(r#"{"b":[2],"a":1}"#));
        assert_ne!(digest(r#"{"a":[1,2]}"#), digest(r#"{"a":[2,1]}"#));
        assert_ne!(digest(r#"["a","b"]"#), digest(r#"[["a"],"b"]"#));
    }
}
