//! Batches of the table's stream and of the queue of webhooks.

use serde_json::{Value, json};

/// The partition of the event items of a directory that does not exist.
pub const EVENTS_PK: &str = "d0000000-0000-4000-8000-000000000000#E";

/// The detail of an event that can be published.
pub const GOOD_DETAIL: &str = r#"{"id": "1", "time": "2026-01-01T00:00:00.000Z"}"#;

/// Returns a record of the stream.
pub fn stream_record(sequence: &str, name: &str, pk: &str, image: Value) -> Value {
    let sk = image.get("SK").cloned().unwrap_or(json!({"S": "x"}));
    json!({
        "eventID": sequence, "eventName": name, "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
        "dynamodb": {"ApproximateCreationDateTime": 1.0, "Keys": {"PK": {"S": pk}, "SK": sk}, "NewImage": image,
            "SequenceNumber": sequence, "SizeBytes": 1, "StreamViewType": "NEW_IMAGE"},
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/1",
    })
}

/// Returns an event item with this detail, as the stream has it.
pub fn event_image(detail: &str) -> Value {
    json!({"PK": {"S": EVENTS_PK}, "SK": {"S": "x"}, "detailType": {"S": "user.created"}, "detail": {"S": detail}, "expires": {"N": "1"}})
}

/// Returns a batch of SQS messages with these events, received so many times.
pub fn sqs_batch(events: &[Value], times: u32) -> Value {
    let records = events.iter().enumerate().map(|(n, event)| {
        json!({
            "messageId": n.to_string(), "receiptHandle": n.to_string(), "body": event.to_string(),
            "attributes": {"ApproximateReceiveCount": times.to_string()}, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q", "awsRegion": "us-east-1",
        })
    });
    json!({"Records": records.collect::<Vec<_>>()})
}
