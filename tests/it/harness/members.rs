//! Groups and their members.

use serde_json::{Value, json};

use super::World;

/// Returns the value of `members` with these ids.
pub fn members(ids: &[String]) -> Value {
    ids.iter().map(|id| json!({"value": id})).collect()
}

/// Returns the operations of a PATCH that adds members.
pub fn add(ids: &[String]) -> Value {
    json!([{"op": "add", "path": "members", "value": members(ids)}])
}

/// Returns the operations of a PATCH that removes members.
pub fn remove(ids: &[String]) -> Value {
    let all = ids.iter().map(|id| format!("value eq \"{id}\""));
    let path = format!("members[{}]", all.collect::<Vec<_>>().join(" or "));
    json!([{"op": "remove", "path": path}])
}

/// Creates a group with these members and returns its path.
pub async fn group(world: &World, name: &str, ids: &[String]) -> String {
    let group = json!({"displayName": name, "members": members(ids)});
    let id = world.post("/Groups", &group).await.expect(201).id();
    format!("/Groups/{id}")
}
