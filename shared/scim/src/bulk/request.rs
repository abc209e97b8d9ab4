//! The bulk message and its operations.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use serde_json::Value;

use crate::Object;
use crate::error::{Error, describe, quote};
use crate::quirks;
use crate::schema::Profile;
use crate::validate::{check_message, take, take_operations};

/// The URI of the bulk message (RFC 7644 §3.7).
pub const BULK_REQUEST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";

/// Maximum number of operations in one message (`maxOperations`).
pub const MAX_BULK_OPERATIONS: usize = 1_000;

/// Maximum size of one message in bytes (`maxPayloadSize`).
pub const MAX_BULK_BYTES: usize = 1024 * 1024;

/// Prefix of a reference to a resource that another operation creates.
const REFERENCE: &str = "bulkId:";

/// A bulk message.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkRequest {
    /// Number of errors after which no further operation is performed; `None` for no limit.
    pub fail_on_errors: Option<u64>,
    /// The operations, in the order of the message.
    pub operations: Vec<BulkOperation>,
}

/// One operation in the form of the client.
#[derive(Clone, PartialEq)]
pub struct BulkOperation {
    /// The HTTP method. A known method is in upper case.
    pub method: String,
    /// The path below the base URL, with its query.
    pub path: String,
    /// The name of the resource that the operation creates.
    pub bulk_id: Option<String>,
    /// The version that the resource must have, as in `If-Match`.
    pub version: Option<String>,
    /// The body.
    pub data: Option<Value>,
}

/// Shows the method only, because path and data contain personal data.
impl fmt::Debug for BulkOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkOperation")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// The target of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A new resource of this endpoint, such as `Users`.
    New {
        /// The endpoint without slashes.
        endpoint: &'a str,
    },
    /// An existing resource, or one that another operation creates.
    Resource {
        /// The endpoint without slashes.
        endpoint: &'a str,
        /// The id of the resource.
        id: Id<'a>,
    },
}

impl<'a> Target<'a> {
    /// The endpoint without slashes.
    #[must_use]
    pub fn endpoint(self) -> &'a str {
        match self {
            Target::New { endpoint } | Target::Resource { endpoint, .. } => endpoint,
        }
    }
}

/// The id of a resource in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id<'a> {
    /// An id.
    Known(&'a str),
    /// The `bulkId` of the operation that creates the resource (RFC 7644 §3.7.2).
    Named(&'a str),
}

impl<'a> Id<'a> {
    fn new(text: &'a str) -> Self {
        match text.strip_prefix(REFERENCE) {
            Some(name) => Id::Named(name),
            None => Id::Known(text),
        }
    }
}

impl BulkRequest {
    /// Reads a bulk message.
    ///
    /// # Errors
    ///
    /// 400 `invalidSyntax` for a malformed message; 413 for more than [`MAX_BULK_OPERATIONS`]
    /// operations. [`BulkOperation::target`] returns errors of a single operation, which are part
    /// of the response.
    pub fn parse(mut body: Object) -> Result<BulkRequest, Error> {
        let profile = Profile::Tolerant;
        check_message(&mut body, BULK_REQUEST_SCHEMA, "a bulk request", profile)?;
        let fail_on_errors = match take(&mut body, "failOnErrors").filter(|v| !v.is_null()) {
            None => None,
            Some(value) => Some(value.as_u64().ok_or_else(|| {
                Error::invalid_syntax(format_args!(
                    "failOnErrors: expected a non-negative integer, got {}",
                    describe(&value)
                ))
            })?),
        };
        let operations = take_operations(&mut body)?;
        if operations.len() > MAX_BULK_OPERATIONS {
            return Err(Error::new(
                413,
                None,
                format!(
                    "The request has {} operations; at most {MAX_BULK_OPERATIONS} (maxOperations) are accepted. No operation was performed; send fewer at a time.",
                    operations.len()
                ),
            ));
        }
        let operations = operations
            .into_iter()
            .enumerate()
            .map(|(index, operation)| read_operation(index, operation))
            .collect::<Result<Vec<_>, _>>()?;
        let mut names = HashSet::new();
        for (index, operation) in operations.iter().enumerate() {
            if let Some(name) = &operation.bulk_id
                && !names.insert(name)
            {
                return Err(Error::invalid_syntax(format_args!(
                    "Operations[{index}].bulkId: {} is already used by an earlier operation",
                    quote(name)
                )));
            }
        }
        Ok(BulkRequest {
            // RFC 7644 §3.7 does not define 0. It is read as no limit.
            fail_on_errors: fail_on_errors.filter(|errors| *errors > 0),
            operations,
        })
    }
}

fn read_operation(index: usize, operation: Value) -> Result<BulkOperation, Error> {
    let Value::Object(mut operation) = operation else {
        return Err(Error::invalid_syntax(format_args!(
            "Operations[{index}]: expected an object, got {}",
            describe(&operation)
        )));
    };
    let mut text = |name: &str| match take(&mut operation, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(value) => Err(Error::invalid_syntax(format_args!(
            "Operations[{index}].{name}: expected a string, got {}",
            describe(&value)
        ))),
    };
    let missing =
        |name: &str| Error::invalid_syntax(format_args!("Operations[{index}].{name} is missing"));
    let mut method = text("method")?.ok_or_else(|| missing("method"))?;
    let path = text("path")?.ok_or_else(|| missing("path"))?;
    let bulk_id = text("bulkId")?;
    let version = text("version")?;
    // Methods are accepted in any case, although RFC 7644 §3.7 has upper case only.
    for known in ["POST", "PUT", "PATCH", "DELETE"] {
        if method.eq_ignore_ascii_case(known) {
            known.clone_into(&mut method);
        }
    }
    let mut data = take(&mut operation, "data").filter(|data| !data.is_null());
    if method == "PATCH" {
        data = data.map(quirks::operations_for_patch_message);
    }
    Ok(BulkOperation {
        method,
        path,
        bulk_id,
        version,
        data,
    })
}

impl BulkOperation {
    /// Returns the target. A slash before the endpoint and a slash at the end are optional.
    ///
    /// # Errors
    ///
    /// 405 for an unknown method and for a method that the path does not support; 400
    /// `invalidSyntax` for a creation without `bulkId`.
    pub fn target(&self) -> Result<Target<'_>, Error> {
        let address = self.address();
        let (endpoint, id) = match address.split_once('/') {
            Some((endpoint, id)) => (endpoint, id.strip_suffix('/').unwrap_or(id)),
            None => (address, ""),
        };
        let target = match id {
            "" => Target::New { endpoint },
            id => Target::Resource {
                endpoint,
                id: Id::new(id),
            },
        };
        match (self.method.as_str(), target) {
            ("POST", Target::New { .. }) if self.bulk_id.is_none() => Err(Error::invalid_syntax(
                "bulkId is missing; an operation that creates a resource requires it",
            )),
            ("POST", Target::New { .. })
            | ("PUT" | "PATCH" | "DELETE", Target::Resource { .. }) => Ok(target),
            ("POST" | "PUT" | "PATCH" | "DELETE", _) => Err(wrong_method(
                &self.method,
                "at this path: POST is for /Users and /Groups, the other methods are for one resource",
            )),
            (method, _) => Err(wrong_method(
                method,
                "in a bulk operation: use POST, PUT, PATCH or DELETE",
            )),
        }
    }

    /// Returns the path without query and fragment.
    fn address(&self) -> &str {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        path.split(['?', '#']).next().unwrap_or_default()
    }

    /// Returns the query of the path, which has the same meaning as in a single request.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path.split_once('?').map(|(_, query)| query)
    }

    /// Returns the data with ids instead of references. `id_of` returns the id for a name.
    ///
    /// # Errors
    ///
    /// The first error of `id_of`.
    pub fn resolve(
        &self,
        id_of: &impl Fn(&str) -> Result<String, Error>,
    ) -> Result<Option<Value>, Error> {
        let mut data = self.data.clone();
        if let Some(data) = &mut data {
            resolve(data, id_of)?;
        }
        Ok(data)
    }

    /// Returns the names that the path and the data refer to.
    pub(super) fn references(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        if let Some(data) = &self.data {
            collect(data, &mut names);
        }
        if let Ok(Target::Resource {
            id: Id::Named(name),
            ..
        }) = self.target()
        {
            names.insert(name);
        }
        names
    }
}

fn wrong_method(method: &str, what: &str) -> Error {
    Error::new(
        405,
        None,
        format!("{} is not allowed {what}.", quote(method)),
    )
}

fn resolve(value: &mut Value, id_of: &impl Fn(&str) -> Result<String, Error>) -> Result<(), Error> {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix(REFERENCE) {
                *text = id_of(name)?;
            }
        }
        Value::Array(values) => {
            for value in values {
                resolve(value, id_of)?;
            }
        }
        Value::Object(object) => {
            for value in object.values_mut() {
                resolve(value, id_of)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn collect<'a>(value: &'a Value, names: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => names.extend(text.strip_prefix(REFERENCE)),
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        Value::Object(object) => object.values().for_each(|value| collect(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Error {
    /// 409: an operation refers to a resource that does not exist (RFC 7644 §3.7.2). `why` ends the
    /// sentence.
    pub fn unresolved(name: &str, why: impl fmt::Display) -> Self {
        let reference = quote(&format!("{REFERENCE}{name}"));
        Error::new(
            409,
            None,
            format!("{reference} does not resolve to a resource: {why}."),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ScimType;

    fn request(operations: Value) -> BulkRequest {
        let body = json!({"schemas": [BULK_REQUEST_SCHEMA], "Operations": operations});
        parse(body).unwrap()
    }

    fn parse(body: Value) -> Result<BulkRequest, Error> {
        BulkRequest::parse(crate::json::parse(body.to_string().as_bytes())?)
    }

    #[track_caller]
    fn targets(method: &str, path: &str, expected: Result<Target<'_>, u16>) {
        let request = request(json!([{"method": method, "path": path, "bulkId": "x"}]));
        let target = request.operations[0].target();
        assert_eq!(target.map_err(|error| error.status()), expected);
    }

    /// RFC 7644 §3.7 (B1).
    #[test]
    fn paths_and_methods_are_accepted_in_every_form() {
        let new = |endpoint| Ok(Target::New { endpoint });
        let on = |endpoint, id| Ok(Target::Resource { endpoint, id });
        for path in [
            "/Users",
            "Users",
            "/Users/",
            "Users/",
            "/Users?attributes=id",
        ] {
            targets("POST", path, new("Users"));
            targets("post", path, new("Users"));
            for method in ["PUT", "PATCH", "DELETE", "GET", "HEAD", "x"] {
                targets(method, path, Err(405));
            }
        }
        for path in [
            "/Groups/1",
            "Groups/1",
            "/Groups/1/",
            "/Groups/1?a=b/c",
            "/Groups/1#a",
        ] {
            targets("Patch", path, on("Groups", Id::Known("1")));
            targets("POST", path, Err(405));
        }
        targets("DELETE", "/Users/bulkId:a/b", on("Users", Id::Named("a/b")));
        targets("POST", "/Bulk", new("Bulk"));
        targets("POST", "/", new(""));
        let unnamed = request(json!([{"method": "POST", "path": "/Users"}]));
        let error = unnamed.operations[0].target().unwrap_err();
        assert_eq!(error.scim_type(), Some(ScimType::InvalidSyntax));
        assert!(error.detail().starts_with("bulkId is missing"));
        let query = request(json!([{"method": "PUT", "path": "/Users/1?attributes=id&x=?"}]));
        assert_eq!(query.operations[0].query(), Some("attributes=id&x=?"));
    }

    #[test]
    fn member_names_are_case_insensitive_and_null_is_missing() {
        let body = json!({"SCHEMAS": BULK_REQUEST_SCHEMA.to_uppercase(), "failonerrors": 0, "operations": [
            {"Method": "delete", "PATH": "/Users/1", "BulkID": null, "version": "W/\"1\"", "data": null}]});
        let request = parse(body).unwrap();
        assert_eq!(request.fail_on_errors, None);
        let operation = &request.operations[0];
        assert_eq!(operation.method, "DELETE");
        assert_eq!((&operation.bulk_id, &operation.data), (&None, &None));
        assert_eq!(operation.version.as_deref(), Some("W/\"1\""));
    }

    #[track_caller]
    fn refused(body: Value, status: u16, because: &str) {
        let error = parse(body).unwrap_err();
        assert_eq!(error.status(), status);
        let syntax = (status == 400).then_some(ScimType::InvalidSyntax);
        assert_eq!(error.scim_type(), syntax);
        assert!(error.detail().contains(because), "{}", error.detail());
    }

    #[test]
    fn a_malformed_bulk_request_is_refused() {
        refused(json!({}), 400, "Operations is missing");
        refused(json!({"Operations": {}}), 400, "expected a list");
        refused(
            json!({"Operations": [7]}),
            400,
            "Operations[0]: expected an object",
        );
        refused(
            json!({"schemas": ["x"], "Operations": []}),
            400,
            "BulkRequest",
        );
        for errors in [json!(-1), json!(1.5), json!("1"), json!([])] {
            refused(
                json!({"failOnErrors": errors, "Operations": []}),
                400,
                "failOnErrors",
            );
        }
        let one = |operation: Value| json!({"Operations": [{"method": "PUT", "path": "/Users/1"}, operation]});
        refused(
            one(json!({"path": "/Users"})),
            400,
            "Operations[1].method is missing",
        );
        refused(
            one(json!({"method": "PUT"})),
            400,
            "Operations[1].path is missing",
        );
        refused(
            one(json!({"method": 1, "path": ""})),
            400,
            "Operations[1].method: expected a string",
        );
        let version = json!({"method": "PUT", "path": "/Users/1", "version": 1});
        refused(
            one(version),
            400,
            "Operations[1].version: expected a string",
        );
        let twice = json!({"Operations": [
            {"method": "POST", "path": "/Users", "bulkId": "a"},
            {"method": "POST", "path": "/Users", "bulkId": "b"},
            {"method": "POST", "path": "/Users", "bulkId": "a"},
        ]});
        refused(
            twice,
            400,
            "Operations[2].bulkId: \"a\" is already used by an earlier",
        );
    }

    /// RFC 7644 §3.7.4 (B5).
    #[test]
    fn more_than_max_operations_is_413() {
        let of = |count: usize| {
            let operations: Vec<_> = (0..count)
                .map(|_| json!({"method": "DELETE", "path": "/Users/1"}))
                .collect();
            json!({"Operations": operations})
        };
        assert!(parse(of(MAX_BULK_OPERATIONS)).is_ok());
        refused(
            of(MAX_BULK_OPERATIONS + 1),
            413,
            "at most 1000 (maxOperations)",
        );
    }

    /// RFC 7644 §3.7.1, §3.7.2 (B2).
    #[test]
    fn references_are_whole_strings_anywhere_in_the_data() {
        let data = json!({"a": "bulkId:x", "b": [{"$ref": "bulkId:y"}], "c": "see bulkId:x", "d": "bulkid:x", "bulkId:x": 1});
        let request = request(json!([{"method": "PUT", "path": "/Users/1", "data": data}]));
        let operation = &request.operations[0];
        assert_eq!(operation.references(), BTreeSet::from(["x", "y"]));
        let id = |name: &str| Ok(format!("id of {name}"));
        let resolved = operation.resolve(&id).unwrap().unwrap();
        assert_eq!(
            resolved,
            json!({"a": "id of x", "b": [{"$ref": "id of y"}], "c": "see bulkId:x", "d": "bulkid:x", "bulkId:x": 1})
        );
        let none = |name: &str| match name {
            "x" => Ok(String::new()),
            name => Err(Error::unresolved(name, "it failed")),
        };
        let error = operation.resolve(&none).unwrap_err();
        assert_eq!((error.status(), error.scim_type()), (409, None));
        assert_eq!(
            error.detail(),
            "\"bulkId:y\" does not resolve to a resource: it failed."
        );
    }

    #[test]
    fn patch_data_may_be_a_list_of_operations() {
        let list = json!([{"op": "remove", "path": "nickName"}]);
        let request = request(json!([
            {"method": "PATCH", "path": "/Users/1", "data": list},
            {"method": "PUT", "path": "/Users/1", "data": list},
        ]));
        assert_eq!(
            request.operations[0].data,
            Some(json!({"Operations": list}))
        );
        assert_eq!(request.operations[1].data, Some(list));
    }

    #[test]
    fn debug_output_contains_no_data() {
        let request =
            request(json!([{"method": "PUT", "path": "/Users/ann", "data": {"password": "x1"}}]));
        let shown = format!("{request:?}");
        assert!(!shown.contains("ann") && !shown.contains("x1"), "{shown}");
    }
}
