//! The response to a bulk message.

use serde_json::Value;

use crate::Object;

/// The URI of the response message (RFC 7644 §3.7).
pub const BULK_RESPONSE_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";

/// The result of an operation.
#[derive(Clone, PartialEq)]
pub struct BulkOutcome {
    /// The method of the operation.
    pub method: String,
    /// The `bulkId` of the operation.
    pub bulk_id: Option<String>,
    /// The URL of the resource; `None` for a creation that failed.
    pub location: Option<String>,
    /// The version of the resource after the operation.
    pub version: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// The error, if the operation failed (B4).
    pub response: Option<Object>,
}

impl BulkOutcome {
    /// Returns whether the result counts for `failOnErrors`.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.status >= 400
    }

    fn into_object(self) -> Object {
        let mut object = Object::new();
        object.insert("method".to_owned(), self.method.into());
        let some = [
            ("bulkId", self.bulk_id),
            ("location", self.location),
            ("version", self.version),
            ("status", Some(self.status.to_string())),
        ];
        for (name, text) in some {
            if let Some(text) = text {
                object.insert(name.to_owned(), text.into());
            }
        }
        if let Some(response) = self.response {
            object.insert("response".to_owned(), response.into());
        }
        object
    }
}

/// The response to a bulk message.
#[derive(Clone, PartialEq)]
pub struct BulkResponse {
    /// The results of the performed operations, in the order of the message.
    pub operations: Vec<BulkOutcome>,
}

impl BulkResponse {
    /// Returns the message.
    pub fn to_object(self) -> Object {
        let operations = self.operations.into_iter().map(BulkOutcome::into_object);
        let mut object = Object::new();
        object.insert(
            "schemas".to_owned(),
            Value::from(vec![BULK_RESPONSE_SCHEMA]),
        );
        object.insert(
            "Operations".to_owned(),
            operations.map(Value::Object).collect(),
        );
        object
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Error;

    /// RFC 7644 §3.7 (B4).
    #[test]
    fn a_bulk_response_contains_status_and_error() {
        let answer = BulkResponse {
            operations: vec![BulkOutcome {
                method: "POST".to_owned(),
                bulk_id: Some("a".to_owned()),
                location: None,
                version: None,
                status: 409,
                response: Some(Error::new(409, None, "taken").to_object()),
            }],
        };
        assert_eq!(
            Value::Object(answer.to_object()),
            json!({"schemas": [BULK_RESPONSE_SCHEMA], "Operations": [{
                "method": "POST", "bulkId": "a", "status": "409",
                "response": {"schemas": [crate::ERROR_SCHEMA], "status": "409", "detail": "taken"},
            }]})
        );
    }
}
