//! The requests of Okta (docs/okta.md), from its data and from the resources that it has read.

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::organisation::{Person, Profile};

/// Number of resources that Okta requests in a page.
pub(super) const PAGE: usize = 100;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// The characters that are encoded in a query: all but the unreserved ones (RFC 3986 §2.3). A space is `%20`, not `+`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A request, without the headers that all requests share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The path and query after the base URL.
    pub(super) target: String,
    pub(super) body: Option<Value>,
}

/// The endpoints that Okta calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Users,
    Groups,
}

impl Endpoint {
    fn path(self) -> &'static str {
        match self {
            Endpoint::Users => "/Users",
            Endpoint::Groups => "/Groups",
        }
    }
}

/// A member as Okta sends it: with `display`, and without `type` (G3).
pub(super) struct Member<'a> {
    pub(super) id: &'a str,
    pub(super) display: &'a str,
}

impl Call {
    fn get(target: String) -> Call {
        Call {
            method: Method::GET,
            target,
            body: None,
        }
    }

    fn with_body(method: Method, target: String, body: Value) -> Call {
        Call {
            method,
            target,
            body: Some(body),
        }
    }

    pub(super) fn test_credentials() -> Call {
        Call::get("/Users?startIndex=1&count=2".to_owned())
    }

    /// Returns the request for the page of an import that begins at `start`.
    pub(super) fn import(endpoint: Endpoint, start: usize) -> Call {
        Call::get(format!(
            "{}?startIndex={start}&count={PAGE}",
            endpoint.path()
        ))
    }

    pub(super) fn look_up_user(user_name: &str) -> Call {
        Call::look_up(Endpoint::Users, "userName", user_name)
    }

    pub(super) fn look_up_group(name: &str) -> Call {
        Call::look_up(Endpoint::Groups, "displayName", name)
    }

    fn look_up(endpoint: Endpoint, attribute: &str, value: &str) -> Call {
        // A string in a filter is written as in JSON (RFC 7644 §3.4.2.2).
        let filter = format!("{attribute} eq {}", Value::from(value));
        Call::get(format!(
            "{}?filter={}&startIndex=1&count={PAGE}",
            endpoint.path(),
            utf8_percent_encode(&filter, ESCAPED)
        ))
    }

    pub(super) fn read(endpoint: Endpoint, id: &str) -> Call {
        Call::get(resource(endpoint, id))
    }

    pub(super) fn delete(endpoint: Endpoint, id: &str) -> Call {
        Call {
            method: Method::DELETE,
            target: resource(endpoint, id),
            body: None,
        }
    }

    pub(super) fn create_user(person: &Person) -> Call {
        let mut user = known(person, &person.profile);
        user.insert("groups".to_owned(), json!([]));
        user.insert("password".to_owned(), json!(person.password));
        user.insert("active".to_owned(), json!(true));
        Call::with_body(Method::POST, Endpoint::Users.path().to_owned(), user.into())
    }

    /// Returns the user as it was read, with the attributes that Okta manages replaced. All other attributes, including `id`, `meta`
    /// and `groups`, are sent back unchanged.
    pub(super) fn replace_user(read: &Value, changes: &[(&str, Value)]) -> Call {
        let mut user = read.as_object().cloned().unwrap_or_default();
        for (name, value) in changes {
            let merged = match (user.remove(*name), value) {
                (Some(Value::Object(mut old)), Value::Object(new)) => {
                    old.extend(new.clone());
                    Value::Object(old)
                }
                (_, value) => value.clone(),
            };
            user.insert((*name).to_owned(), merged);
        }
        Call::with_body(
            Method::PUT,
            resource(Endpoint::Users, id_of(read)),
            user.into(),
        )
    }

    /// Returns a PATCH without a path, as apps of the Okta Integration Network send activation and passwords.
    pub(super) fn patch_user(id: &str, value: Value) -> Call {
        let operation = json!({"op": "replace", "value": value});
        Call::patch(resource(Endpoint::Users, id), vec![operation])
    }

    pub(super) fn create_group(name: &str) -> Call {
        let group = json!({"schemas": [GROUP], "displayName": name, "members": []});
        Call::with_body(Method::POST, Endpoint::Groups.path().to_owned(), group)
    }

    pub(super) fn patch_group(id: &str, operations: Vec<Value>) -> Call {
        Call::patch(resource(Endpoint::Groups, id), operations)
    }

    /// Returns a PUT of the whole group, as apps of the wizard send it.
    pub(super) fn replace_group(id: &str, name: &str, members: &[Member]) -> Call {
        let group =
            json!({"schemas": [GROUP], "id": id, "displayName": name, "members": values(members)});
        Call::with_body(Method::PUT, resource(Endpoint::Groups, id), group)
    }

    fn patch(target: String, operations: Vec<Value>) -> Call {
        let body = json!({"schemas": [PATCH], "Operations": operations});
        Call::with_body(Method::PATCH, target, body)
    }
}

/// Returns the attributes of a user that Okta sends when the profile changes.
pub(super) fn profile(person: &Person, profile: &Profile) -> Vec<(&'static str, Value)> {
    let mut changes = vec![
        ("userName", json!(person.user_name)),
        ("externalId", json!(person.external_id)),
        (
            "name",
            json!({"givenName": profile.given_name, "familyName": profile.family_name}),
        ),
        (
            "emails",
            json!([{"primary": true, "value": person.user_name, "type": "work"}]),
        ),
        ("displayName", json!(profile.display_name())),
        ("title", json!(profile.title)),
        ("locale", json!(person.locale)),
    ];
    if let Some(number) = &person.employee_number {
        let extension = json!({"employeeNumber": number, "department": profile.department});
        changes.push((ENTERPRISE, extension));
    }
    changes
}

fn known(person: &Person, profile: &Profile) -> Map<String, Value> {
    let mut schemas = vec![USER];
    if person.employee_number.is_some() {
        schemas.push(ENTERPRISE);
    }
    let mut user = Map::new();
    user.insert("schemas".to_owned(), json!(schemas));
    for (name, value) in self::profile(person, profile) {
        user.insert(name.to_owned(), value);
    }
    user
}

pub(super) fn add_members(members: &[Member]) -> Value {
    json!({"op": "add", "path": "members", "value": values(members)})
}

pub(super) fn remove_member(id: &str) -> Value {
    json!({"op": "remove", "path": format!("members[value eq {}]", Value::from(id))})
}

/// Returns the operations of Push Now, in one of the two forms that were observed.
pub(super) fn replace_members(members: &[Member], form: Form) -> Value {
    match form {
        Form::Path => json!({"op": "replace", "path": "members", "value": values(members)}),
        Form::NoPath => json!({"op": "replace", "value": {"members": values(members)}}),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Path,
    NoPath,
}

/// Returns the operation for a new name, which contains the id of the group as well.
pub(super) fn rename(id: &str, name: &str) -> Value {
    json!({"op": "replace", "value": {"id": id, "displayName": name}})
}

fn values(members: &[Member]) -> Vec<Value> {
    members
        .iter()
        .map(|member| json!({"value": member.id, "display": member.display}))
        .collect()
}

/// Returns the `id` of a resource, or an empty text.
pub(super) fn id_of(resource: &Value) -> &str {
    resource
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn resource(endpoint: Endpoint, id: &str) -> String {
    format!("{}/{}", endpoint.path(), utf8_percent_encode(id, ESCAPED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Person {
        let ann = Profile {
            given_name: "Ann",
            family_name: "Archer",
            title: "Engineer",
            department: "Sales",
        };
        Person {
            user_name: "ann.o'neill+x@example.com".to_owned(),
            external_id: "00u1ann".to_owned(),
            locale: "en-US",
            password: "placeholder".to_owned(),
            new_password: "other".to_owned(),
            employee_number: Some("100001".to_owned()),
            profile: ann.clone(),
            later: ann,
        }
    }

    /// The look-ups before a user is assigned and a group is linked.
    #[test]
    fn filters_are_percent_encoded_and_quoted_as_in_json() {
        assert_eq!(
            Call::look_up_user("ann.o'neill+x@example.com").target,
            "/Users?filter=userName%20eq%20%22ann.o%27neill%2Bx%40example.com%22&startIndex=1&count=100"
        );
        assert_eq!(
            Call::look_up_group("R&D \"50%\" \\").target,
            "/Groups?filter=displayName%20eq%20%22R%26D%20%5C%2250%25%5C%22%20%5C%5C%22&startIndex=1&count=100"
        );
    }

    /// Test API Credentials, and an import.
    #[test]
    fn pages_are_of_a_hundred_and_the_test_asks_for_two() {
        assert_eq!(
            Call::test_credentials().target,
            "/Users?startIndex=1&count=2"
        );
        let second = Call::import(Endpoint::Groups, 101);
        assert_eq!(second.target, "/Groups?startIndex=101&count=100");
        assert_eq!((second.method, second.body), (Method::GET, None));
    }

    /// The creation of a user who is assigned.
    #[test]
    fn a_create_has_what_okta_sends() {
        let call = Call::create_user(&ann());
        assert_eq!(
            (call.method, call.target.as_str()),
            (Method::POST, "/Users")
        );
        assert_eq!(
            call.body.unwrap(),
            json!({
                "schemas": [USER, ENTERPRISE],
                "userName": "ann.o'neill+x@example.com",
                "externalId": "00u1ann",
                "name": {"givenName": "Ann", "familyName": "Archer"},
                "emails": [{"primary": true, "value": "ann.o'neill+x@example.com", "type": "work"}],
                "displayName": "Ann Archer",
                "title": "Engineer",
                "locale": "en-US",
                ENTERPRISE: {"employeeNumber": "100001", "department": "Sales"},
                "groups": [],
                "password": "placeholder",
                "active": true
            })
        );
        let mut contractor = ann();
        contractor.employee_number = None;
        let body = Call::create_user(&contractor).body.unwrap();
        assert_eq!(
            (&body["schemas"], &body[ENTERPRISE]),
            (&json!([USER]), &Value::Null)
        );
    }

    /// Update: the whole merged object, echoing `meta`, `id`, `groups`, and a stale `name.formatted` (W2).
    #[test]
    fn an_update_echoes_what_was_read() {
        let read = json!({
            "schemas": [USER], "id": "u1", "userName": "old", "name": {"formatted": "Old", "familyName": "Old"},
            "nickName": "kept", "active": false, "groups": [{"value": "g1"}], "meta": {"version": "W/\"3\""}
        });
        let call = Call::replace_user(&read, &profile(&ann(), &ann().profile));
        assert_eq!(
            (call.method, call.target.as_str()),
            (Method::PUT, "/Users/u1")
        );
        let body = call.body.unwrap();
        assert_eq!(
            body["name"],
            json!({"formatted": "Old", "familyName": "Archer", "givenName": "Ann"})
        );
        for kept in ["id", "nickName", "active", "groups", "meta"] {
            assert_eq!(body[kept], read[kept], "{kept}");
        }
        assert_eq!(body["userName"], "ann.o'neill+x@example.com");
        assert_eq!(body.get("password"), None);
    }

    /// Deactivation and password synchronisation of the integration network: no path.
    #[test]
    fn activation_is_a_patch_without_path() {
        let call = Call::patch_user("u1", json!({"active": false}));
        assert_eq!(
            (call.method, call.target.as_str()),
            (Method::PATCH, "/Users/u1")
        );
        let body = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": false}}]});
        assert_eq!(call.body.unwrap(), body);
    }

    /// Group Push.
    #[test]
    fn groups_are_pushed_as_okta_pushes_them() {
        let member = [Member {
            id: "u1",
            display: "ann",
        }];
        let value = json!([{"value": "u1", "display": "ann"}]);
        assert_eq!(
            Call::create_group("R&D").body.unwrap(),
            json!({"schemas": [GROUP], "displayName": "R&D", "members": []})
        );
        assert_eq!(
            add_members(&member),
            json!({"op": "add", "path": "members", "value": value})
        );
        assert_eq!(
            remove_member("u1"),
            json!({"op": "remove", "path": "members[value eq \"u1\"]"})
        );
        assert_eq!(
            rename("g1", "new"),
            json!({"op": "replace", "value": {"id": "g1", "displayName": "new"}})
        );
        assert_eq!(
            replace_members(&[], Form::Path),
            json!({"op": "replace", "path": "members", "value": []})
        );
        assert_eq!(
            replace_members(&member, Form::NoPath),
            json!({"op": "replace", "value": {"members": value}})
        );
        let whole = Call::replace_group("g1", "R&D", &member);
        assert_eq!(
            (whole.method, whole.target.as_str()),
            (Method::PUT, "/Groups/g1")
        );
        assert_eq!(
            whole.body.unwrap(),
            json!({"schemas": [GROUP], "id": "g1", "displayName": "R&D", "members": value})
        );
    }
}
