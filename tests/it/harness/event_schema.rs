//! The JSON Schemas of events under `infra/events`.

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::{Registry, Validator};
use serde_json::Value;

/// Returns the folder of the schemas.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/events")
}

/// Reads a file of the folder.
pub fn read(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

/// Returns the schema of a `detail-type`, as JSON and as a validator.
pub fn schema(detail_type: &str) -> (Value, Validator) {
    let schema = read(&format!("{detail_type}.json"));
    let shared = Registry::new()
        .add("json-schema:///user.json", read("user.json"))
        .unwrap()
        .add("json-schema:///group.json", read("group.json"))
        .unwrap()
        .add("json-schema:///directory.json", read("directory.json"))
        .unwrap()
        .prepare()
        .unwrap();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .with_registry(&shared)
        .build(&schema)
        .unwrap();
    (schema, validator)
}

/// Returns whether an event matches its schema.
pub fn matches(event: &Value) -> bool {
    let (_, validator) = schema(event["detail-type"].as_str().unwrap());
    validator.is_valid(event)
}

/// Fails if an event does not match its schema.
#[track_caller]
pub fn assert_matches(event: &Value) {
    let (_, validator) = schema(event["detail-type"].as_str().unwrap());
    let errors: Vec<String> = validator
        .iter_errors(event)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?} in {event}");
}
