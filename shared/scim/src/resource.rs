//! Validated resources and their representation.
//!
//! A [`Resource`] contains the attributes that its client may write, with canonical names in schema
//! order, without readOnly attributes, empty values and passwords. [`Resource::represent`] adds the
//! attributes of the service provider (`id`, `meta`, `groups`), so a stored document never contains
//! an outdated copy of them. `Debug` shows names of attributes only, because resources are personal
//! data.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::Object;
use crate::schema::{Attribute, ResourceType, Returned};

/// A resource, validated by [`ResourceType::read`].
#[derive(Clone, PartialEq)]
pub struct Resource(Object);

impl Resource {
    pub(crate) fn validated(object: Object) -> Self {
        Resource(object)
    }

    /// Reads the text that [`Resource::to_stored`] returned. The text is not validated again, so it
    /// must come from the store.
    pub fn from_stored(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Resource)
    }

    /// Returns the document as JSON text for the store.
    ///
    /// # Errors
    ///
    /// Those of `serde_json`, which has none for a document.
    pub fn to_stored(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.0)
    }

    /// Returns the whole document.
    pub fn as_object(&self) -> &Object {
        &self.0
    }

    /// Returns the value at a path in canonical spelling: `userName`, `name.familyName`,
    /// `urn:…:User:manager.value`.
    pub fn get(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let (object, name) = match path.rsplit_once(':') {
            None => (&self.0, path),
            Some((uri, name)) => match self.0.get(uri) {
                Some(Value::Object(extension)) => (extension, name),
                // The URI of the base schema is the prefix of attributes at the top level.
                Some(_) => return None,
                None if self.0.contains_key(name) => (&self.0, name),
                None => return None,
            },
        };
        match name.split_once('.') {
            None => object.get(name),
            Some((name, sub)) => object.get(name)?.get(sub),
        }
    }

    /// Returns the string at a path.
    pub fn string(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// Returns the Boolean at a path.
    pub fn boolean(&self, path: &str) -> Option<bool> {
        self.get(path)?.as_bool()
    }

    /// Returns the elements of a multi-valued complex attribute.
    pub fn elements(&self, attribute: &str) -> impl Iterator<Item = &Object> {
        self.get(attribute)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
    }

    /// Returns the resource without an attribute of its base schema.
    pub(crate) fn without(&self, attribute: &str) -> Resource {
        let mut object = self.0.clone();
        object.shift_remove(attribute);
        Resource(object)
    }

    /// Returns the resource with these elements of a multi-valued attribute, for example to reverse
    /// [`Resource::split_members`].
    #[must_use]
    pub fn with_elements(&self, attribute: &str, elements: Vec<Value>) -> Resource {
        let mut object = self.0.clone();
        if !elements.is_empty() {
            object.insert(attribute.to_owned(), Value::Array(elements));
        }
        Resource(object)
    }

    /// Returns the preferred element of a multi-valued attribute: among the elements with a `value`
    /// the primary one, else the first one of type `work`, else the first one.
    pub fn primary(&self, attribute: &str) -> Option<&Object> {
        let valued = || {
            self.elements(attribute)
                .filter(|element| element.contains_key("value"))
        };
        let is_work = |element: &&Object| {
            let of = element.get("type").and_then(Value::as_str);
            of.is_some_and(|of| of.eq_ignore_ascii_case("work"))
        };
        valued()
            .find(|element| element.get("primary") == Some(&Value::Bool(true)))
            .or_else(|| valued().find(is_work))
            .or_else(|| valued().next())
    }

    /// Returns the attributes that differ in `other`, sorted by path, with the values of `self`.
    ///
    /// The path of a single-valued complex attribute is the one of the sub-attribute
    /// (`name.familyName`), and the path in an extension has its URI (`urn:…:User:department`). A
    /// multi-valued attribute is compared as a whole.
    pub fn changed(&self, other: &Resource) -> Vec<ChangedAttribute> {
        let mut changes = Vec::new();
        compare("", &self.0, &other.0, &mut changes);
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        changes
    }

    /// Returns the representation for a response (RFC 7643 §3): `schemas`, `id`, the attributes in
    /// schema order, and `meta`.
    ///
    /// `schemas` contains the base schema, and the URI of an extension if and only if the extension
    /// has a value (C2). `read_only` contains attributes that the service provider computes, such
    /// as `groups`, and can contain objects of extensions.
    pub fn represent(
        &self,
        ty: &ResourceType,
        id: &str,
        meta: &Meta,
        mut read_only: Object,
    ) -> Object {
        let mut schemas = vec![Value::from(ty.schema.id.as_str())];
        let mut extensions = Object::new();
        for extension in &ty.extensions {
            let uri = &extension.schema.id;
            let mut object = Object::new();
            for attribute in &extension.schema.attributes {
                let value = self.0.get(uri).and_then(|of| of.get(&attribute.name));
                if let Some(value) = value.filter(|_| attribute.returned != Returned::Never) {
                    object.insert(attribute.name.clone(), value.clone());
                }
            }
            if let Some(Value::Object(computed)) = read_only.get_mut(uri) {
                merge(&mut object, std::mem::take(computed));
            }
            if !object.is_empty() {
                schemas.push(Value::from(uri.as_str()));
                extensions.insert(uri.clone(), Value::Object(object));
            }
        }

        let mut shown = Object::new();
        shown.insert("schemas".to_owned(), Value::Array(schemas));
        shown.insert("id".to_owned(), Value::from(id));
        let mut show = |attribute: &Attribute| {
            if attribute.returned == Returned::Never || shown.contains_key(&attribute.name) {
                return;
            }
            let stored = self.0.get(&attribute.name).cloned();
            let computed = read_only.get_mut(&attribute.name).map(Value::take);
            let value = match (stored, computed) {
                (Some(Value::Object(mut stored)), Some(Value::Object(computed))) => {
                    merge(&mut stored, computed);
                    Some(Value::Object(stored))
                }
                (stored, computed) => computed.or(stored),
            };
            if let Some(value) = value {
                shown.insert(attribute.name.clone(), value);
            }
        };
        for attribute in ty.attributes().filter(|attribute| attribute.name != "meta") {
            show(attribute);
        }
        shown.extend(extensions);
        shown.insert("meta".to_owned(), Value::Object(meta.to_object()));
        shown
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resource")?;
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Adds computed attributes and merges objects that are in both.
fn merge(object: &mut Object, computed: Object) {
    for (name, value) in computed {
        match (object.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (_, value) => {
                object.insert(name, value);
            }
        }
    }
}

/// An attribute that differs between two resources.
#[derive(Clone, PartialEq)]
pub struct ChangedAttribute {
    /// The path of the attribute in canonical spelling.
    pub path: String,
    /// The value before the change, or `None`.
    pub before: Option<Value>,
}

impl fmt::Debug for ChangedAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChangedAttribute").field(&self.path).finish()
    }
}

fn compare(prefix: &str, before: &Object, after: &Object, changes: &mut Vec<ChangedAttribute>) {
    let empty = Object::new();
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        let (old, new) = (before.get(name), after.get(name));
        if same(old, new) {
            continue;
        }
        // Extensions are the only members with a colon in their name. Extensions and single-valued
        // complex attributes are the only objects.
        let separator = if name.contains(':') { ':' } else { '.' };
        match (old, new) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                compare(&format!("{prefix}{name}{separator}"), old, new, changes);
            }
            (Some(Value::Object(old)), None) => {
                compare(&format!("{prefix}{name}{separator}"), old, &empty, changes);
            }
            (None, Some(Value::Object(new))) => {
                compare(&format!("{prefix}{name}{separator}"), &empty, new, changes);
            }
            (old, _) => changes.push(ChangedAttribute {
                path: format!("{prefix}{name}"),
                before: old.cloned(),
            }),
        }
    }
}

/// Returns whether two values are equal. The order of elements is not significant (RFC 7643 §2.4,
/// C22).
fn same(old: Option<&Value>, new: Option<&Value>) -> bool {
    match (old, new) {
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            let sorted = |elements: &[Value]| {
                let mut texts: Vec<String> = elements.iter().map(Value::to_string).collect();
                texts.sort_unstable();
                texts
            };
            old == new || sorted(old) == sorted(new)
        }
        (old, new) => old == new,
    }
}

/// Metadata of a resource (RFC 7643 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The name of the resource type.
    pub resource_type: String,
    /// Time at which the resource was created.
    pub created: Timestamp,
    /// Time at which its content last changed.
    pub last_modified: Timestamp,
    /// Number of changes of its content; `None` if versions are not shown.
    pub version: Option<u64>,
    /// URL of the resource.
    pub location: String,
}

impl Meta {
    /// Returns the version as a weak entity tag, such as `W/"7"` (RFC 7644 §3.14), if versions are
    /// shown.
    pub fn etag(&self) -> Option<String> {
        self.version.map(|version| format!("W/\"{version}\""))
    }

    /// Returns the attribute `meta`. Times are in UTC with milliseconds (RFC 3339).
    pub fn to_object(&self) -> Object {
        let mut object = Object::new();
        object.insert(
            "resourceType".to_owned(),
            Value::from(self.resource_type.as_str()),
        );
        object.insert(
            "created".to_owned(),
            Value::from(format!("{:.3}", self.created)),
        );
        object.insert(
            "lastModified".to_owned(),
            Value::from(format!("{:.3}", self.last_modified)),
        );
        object.insert("location".to_owned(), Value::from(self.location.as_str()));
        if let Some(etag) = self.etag() {
            object.insert("version".to_owned(), Value::from(etag));
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

    fn user(value: Value) -> Resource {
        ResourceType::user()
            .read(value.as_object().unwrap().clone(), None)
            .unwrap()
    }

    fn changed(before: Value, after: Value) -> Vec<(String, Option<Value>)> {
        user(before)
            .changed(&user(after))
            .into_iter()
            .map(|change| (change.path, change.before))
            .collect()
    }

    #[test]
    fn values_are_found_by_their_path() {
        let ann = user(
            json!({"userName": "ann", "name": {"givenName": "Ann"}, "emails": [{"value": "a"}, {"value": "b", "primary": true}],
            ENTERPRISE: {"manager": {"value": "m"}}}),
        );
        assert_eq!(ann.string("userName"), Some("ann"));
        assert_eq!(ann.string("name.givenName"), Some("Ann"));
        assert_eq!(
            ann.string("urn:ietf:params:scim:schemas:core:2.0:User:userName"),
            Some("ann")
        );
        assert_eq!(
            ann.string(&format!("{ENTERPRISE}:manager.value")),
            Some("m")
        );
        assert_eq!(ann.boolean("active"), Some(true));
        assert_eq!(
            ann.primary("emails").unwrap().get("value"),
            Some(&json!("b"))
        );
        for nothing in [
            "",
            "nope",
            "userName.x",
            "name.nope",
            "urn:x:userName.y",
            ":",
        ] {
            assert_eq!(ann.get(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_preferred_element_has_a_value() {
        let primary = |emails: Value| {
            let user = user(json!({"userName": "ann", "emails": emails}));
            user.primary("emails").map(|email| email["value"].clone())
        };
        let other = json!({"value": "o", "type": "other"});
        let work = json!({"value": "w", "type": "Work"});
        assert_eq!(primary(json!([other, work])), Some(json!("w")));
        assert_eq!(primary(json!([other])), Some(json!("o")));
        assert_eq!(
            primary(json!([work, {"value": "h", "primary": true}])),
            Some(json!("h"))
        );
        assert_eq!(
            primary(json!([other, {"display": "d", "primary": true}, work])),
            Some(json!("w"))
        );
        assert_eq!(primary(json!([{"type": "work"}, other])), Some(json!("o")));
        assert_eq!(primary(json!([{"type": "work"}])), None);
    }

    #[test]
    fn changed_lists_the_attributes_that_differ() {
        let before = json!({"userName": "ann", "name": {"givenName": "Ann", "familyName": "Archer"}, "title": "x", "emails": [{"value": "a"}],
            ENTERPRISE: {"department": "d"}});
        assert_eq!(changed(before.clone(), before.clone()), vec![]);
        let after = json!({"userName": "ann", "name": {"givenName": "Anna", "familyName": "Archer"}, "nickName": "n", "emails": [{"value": "b"}],
            ENTERPRISE: {"manager": {"value": "m"}}});
        let path = |name: &str| format!("{ENTERPRISE}:{name}");
        assert_eq!(
            changed(before, after),
            [
                ("emails".to_owned(), Some(json!([{"value": "a"}]))),
                ("name.givenName".to_owned(), Some(json!("Ann"))),
                ("nickName".to_owned(), None),
                ("title".to_owned(), Some(json!("x"))),
                (path("department"), Some(json!("d"))),
                (path("manager.value"), None),
            ]
        );
    }

    /// RFC 7643 §2.4 (C22).
    #[test]
    fn the_order_of_elements_is_not_a_change() {
        let emails = |values: Value| json!({"userName": "ann", "emails": values});
        let (a, b) = (json!({"value": "a", "type": "work"}), json!({"value": "b"}));
        assert_eq!(
            changed(emails(json!([a, b])), emails(json!([b, a]))),
            vec![]
        );
        assert_eq!(changed(emails(json!([a])), emails(json!([b, a]))).len(), 1);
        assert_eq!(
            changed(emails(json!([a, b])), emails(json!([b, {"value": "a"}]))).len(),
            1
        );
    }

    #[test]
    fn a_stored_resource_is_read_back_unchanged() {
        let ann = user(
            json!({"userName": "ann \u{1f600}", "name": {"familyName": "\"\\\n"}, "emails": [{"value": "a"}]}),
        );
        assert_eq!(
            Resource::from_stored(&ann.to_stored().unwrap()).unwrap(),
            ann
        );
        assert!(Resource::from_stored("[]").is_err());
    }

    /// RFC 7643 §3 (C2); RFC 7643 §3.1 (C5).
    #[test]
    fn a_representation_contains_schemas_and_meta() {
        let meta = Meta {
            resource_type: "User".to_owned(),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            last_modified: "2026-01-02T00:00:00.123456Z".parse().unwrap(),
            version: Some(7),
            location: "https://example.com/Users/1".to_owned(),
        };
        let groups = json!({"groups": [{"value": "g"}]})
            .as_object()
            .unwrap()
            .clone();
        let shown = user(json!({"userName": "ann", ENTERPRISE: {"department": "d"}})).represent(
            ResourceType::user(),
            "1",
            &meta,
            groups,
        );
        assert_eq!(
            Value::Object(shown),
            json!({
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE], "id": "1", "userName": "ann", "active": true,
                "groups": [{"value": "g"}], ENTERPRISE: {"department": "d"},
                "meta": {"resourceType": "User", "created": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-02T00:00:00.123Z",
                    "location": "https://example.com/Users/1", "version": "W/\"7\""},
            })
        );
        let without_version = Meta {
            version: None,
            ..meta
        };
        let plain = user(json!({"userName": "ann"})).represent(
            ResourceType::user(),
            "1",
            &without_version,
            Object::new(),
        );
        assert_eq!(
            plain["schemas"],
            json!(["urn:ietf:params:scim:schemas:core:2.0:User"])
        );
        assert_eq!(
            plain["meta"],
            json!({"resourceType": "User", "created": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-02T00:00:00.123Z",
                "location": "https://example.com/Users/1"})
        );
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", user(json!({"userName": "ann", "title": "secret"})));
        assert!(
            shown.contains("title") && !shown.contains("ann") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
