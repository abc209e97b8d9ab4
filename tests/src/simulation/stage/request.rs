//! The requests of the steps of a history.

use super::*;

impl Stage {
    /// What a step sends: the resource that it is about, and the request.
    pub(super) fn request(
        &self,
        operation: &Operation,
    ) -> Option<(Resource, Method, String, Option<Value>, Demand)> {
        let patch =
            |operations: Value| Some(json!({"schemas": [PATCH_OP], "Operations": operations}));
        let members = |users: &[User]| -> Vec<Value> {
            let ids = self.ids_of(users).into_iter();
            ids.map(|id| json!({"value": id})).collect()
        };
        let user = |user: &User| {
            self.id_of(*user)
                .map(|id| (Resource::User(id.clone()), format!("/Users/{id}")))
        };
        let group = |group: &User| {
            self.group_of(*group)
                .map(|id| (Resource::Group(id.clone()), format!("/Groups/{id}")))
        };
        let (none, modify) = (Demand::None, Method::PATCH);
        Some(match operation {
            Operation::CreateUser(_, name) => {
                let body = json!({"userName": user_name(*name), "active": true});
                (
                    Resource::New,
                    Method::POST,
                    "/Users".to_owned(),
                    Some(body),
                    none,
                )
            }
            Operation::Title(of, title, demand) => {
                let (resource, path) = user(of)?;
                let body = patch(
                    json!([{"op": "replace", "path": "title", "value": format!("t{title}")}]),
                );
                (resource, modify, path, body, *demand)
            }
            Operation::Active(of, active) => {
                let (resource, path) = user(of)?;
                let body = patch(json!([{"op": "replace", "value": {"active": active}}]));
                (resource, modify, path, body, none)
            }
            Operation::Rename(of, name) => {
                let (resource, path) = user(of)?;
                let body = patch(
                    json!([{"op": "replace", "path": "userName", "value": user_name(*name)}]),
                );
                (resource, modify, path, body, none)
            }
            Operation::PutUser(of, name, title) => {
                let (resource, path) = user(of)?;
                let body = json!({"userName": user_name(*name), "title": format!("t{title}")});
                (resource, Method::PUT, path, Some(body), none)
            }
            Operation::DeleteUser(of, demand) => {
                let (resource, path) = user(of)?;
                (resource, Method::DELETE, path, None, *demand)
            }
            Operation::GetUser(of) => {
                let (resource, path) = user(of)?;
                (resource, Method::GET, path, None, none)
            }
            Operation::FindUser(name) => {
                let path = format!("/Users?filter=userName%20eq%20%22{}%22", user_name(*name));
                (Resource::None, Method::GET, path, None, none)
            }
            Operation::CreateGroup(_, name, users) => {
                let body = json!({"displayName": format!("g{name}"), "members": members(users)});
                (
                    Resource::New,
                    Method::POST,
                    "/Groups".to_owned(),
                    Some(body),
                    none,
                )
            }
            Operation::Add(of, users) => {
                let (resource, path) = group(of)?;
                let body =
                    patch(json!([{"op": "add", "path": "members", "value": members(users)}]));
                (resource, modify, path, body, none)
            }
            Operation::Remove(of, users) => {
                let (resource, path) = group(of)?;
                let ids = self.ids_of(users);
                let operations: Vec<Value> = ids
                    .iter()
                    .map(
                        |id| json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")}),
                    )
                    .collect();
                (resource, modify, path, patch(json!(operations)), none)
            }
            Operation::Replace(of, users) => {
                let (resource, path) = group(of)?;
                let body =
                    patch(json!([{"op": "replace", "path": "members", "value": members(users)}]));
                (resource, modify, path, body, none)
            }
            Operation::PutGroup(of, name, users) => {
                let (resource, path) = group(of)?;
                let body = json!({"displayName": format!("g{name}"), "members": members(users)});
                (resource, Method::PUT, path, Some(body), none)
            }
            Operation::NameGroup(of, name) => {
                let (resource, path) = group(of)?;
                let body =
                    patch(json!([{"op": "replace", "value": {"displayName": format!("g{name}")}}]));
                (resource, modify, path, body, none)
            }
            Operation::AddGroup(of, member) => {
                let (resource, path) = group(of)?;
                let id = self.group_of(*member)?;
                let body = patch(
                    json!([{"op": "add", "path": "members", "value": [{"value": id, "type": "Group"}]}]),
                );
                (resource, modify, path, body, none)
            }
            Operation::RemoveGroup(of, member) => {
                let (resource, path) = group(of)?;
                let id = self.group_of(*member)?;
                let body =
                    patch(json!([{"op": "remove", "path": format!("members[value eq \"{id}\"]")}]));
                (resource, modify, path, body, none)
            }
            Operation::DeleteGroup(of, demand) => {
                let (resource, path) = group(of)?;
                (resource, Method::DELETE, path, None, *demand)
            }
            Operation::GetGroup(of) => {
                let (resource, path) = group(of)?;
                (resource, Method::GET, path, None, none)
            }
            Operation::Circle(place, count) => {
                let operations: Vec<Value> = (0..*count)
                    .map(|n| {
                        let manager = format!("bulkId:c{}", (n + 1) % count);
                        json!({"method": "POST", "path": "/Users", "bulkId": format!("c{n}"), "data": {
                            "userName": user_name(place + n),
                            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"value": manager}},
                        }})
                    })
                    .collect();
                let body = json!({
                    "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations,
                });
                (
                    Resource::None,
                    Method::POST,
                    "/Bulk".to_owned(),
                    Some(body),
                    none,
                )
            }
            Operation::Rotate
            | Operation::Kill
            | Operation::DeleteDirectory
            | Operation::CreateElsewhere(..) => {
                return None;
            }
        })
    }
}
