//! Attributes of a response (RFC 7644 §3.9 and §3.4.2.5).
//!
//! A [`Projection`] is the parameter `attributes` or `excludedAttributes`, bound to a resource
//! type. It is applied to a complete representation. [`Projection::wants`] returns whether an
//! attribute that is costly to compute is needed.

use std::collections::HashSet;

use serde_json::Value;

use crate::Object;
use crate::error::Error;
use crate::schema::{Attribute, Located, ResourceType, Returned};

/// The attributes of a response.
///
/// ```
/// use scim::{Projection, ResourceType};
///
/// let user = ResourceType::user();
/// let shown = scim::json::parse(br#"{"id": "1", "userName": "ann", "name": {"givenName": "Ann"}, "groups": []}"#)?;
/// let projection = Projection::parse(Some("name.givenName, nonsense"), None, user)?;
/// assert!(!projection.wants("groups"));
/// let shown = projection.apply(shown, user);
/// assert_eq!(shown.keys().collect::<Vec<_>>(), ["id", "name"]);
/// # Ok::<(), scim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    choice: Choice,
}

#[derive(Clone, Debug, PartialEq)]
enum Choice {
    Everything,
    /// These attributes, and those that are always returned.
    Only {
        named: HashSet<Named>,
        always: HashSet<String>,
    },
    /// All attributes except these, and those that are always returned.
    Except(HashSet<Named>),
}

/// An attribute in canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Named {
    Extension(String),
    Attribute(Option<String>, String),
    Sub(Option<String>, String, String),
}

impl Projection {
    /// All attributes that are returned by default.
    pub fn everything() -> Projection {
        Projection {
            choice: Choice::Everything,
        }
    }

    /// Reads the query parameters: names separated by commas (J1). Both parameters together are 400
    /// `invalidSyntax` (J2). Unknown names are ignored.
    pub fn parse(
        attributes: Option<&str>,
        excluded: Option<&str>,
        ty: &ResourceType,
    ) -> Result<Projection, Error> {
        Projection::from_lists(
            &Projection::names(attributes),
            &Projection::names(excluded),
            ty,
        )
    }

    /// Returns the names in a query parameter.
    pub(crate) fn names(parameter: Option<&str>) -> Vec<String> {
        let names = parameter.unwrap_or_default().split(',').map(str::trim);
        names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Reads the lists of a search request (RFC 7644 §3.4.3). An empty list is treated as missing.
    pub fn from_lists(
        attributes: &[String],
        excluded: &[String],
        ty: &ResourceType,
    ) -> Result<Projection, Error> {
        let choice = match (attributes, excluded) {
            ([], []) => Choice::Everything,
            ([], excluded) => Choice::Except(resolve(excluded, ty)),
            (attributes, []) => Choice::Only {
                named: resolve(attributes, ty),
                always: ty
                    .attributes()
                    .filter(|attribute| attribute.returned == Returned::Always)
                    .map(|attribute| attribute.name.clone())
                    .collect(),
            },
            _ => {
                return Err(Error::invalid_syntax(
                    "attributes and excludedAttributes cannot be combined",
                ));
            }
        };
        Ok(Projection { choice })
    }

    /// Returns whether the response contains any part of this attribute. The name is in canonical
    /// spelling, such as `groups`. If it returns false, the caller need not compute the attribute.
    pub fn wants(&self, attribute: &str) -> bool {
        match &self.choice {
            Choice::Everything => true,
            Choice::Only { named, always } => {
                always.contains(attribute)
                    || named.iter().any(|name| match name {
                        Named::Attribute(None, name) | Named::Sub(None, name, _) => {
                            name == attribute
                        }
                        Named::Extension(uri) => uri == attribute,
                        Named::Attribute(Some(_), _) | Named::Sub(Some(_), ..) => false,
                    })
            }
            Choice::Except(named) => {
                !named.contains(&Named::Attribute(None, attribute.to_owned()))
                    && !named.contains(&Named::Extension(attribute.to_owned()))
            }
        }
    }

    /// Removes the attributes that the response does not contain. `schemas` contains the URI of an
    /// extension if and only if one of its attributes remains (C2).
    pub fn apply(&self, mut representation: Object, ty: &ResourceType) -> Object {
        let mut shown = Object::new();
        for (name, value) in std::mem::take(&mut representation) {
            let value = if let Some(schema) = ty.extension(&name) {
                self.project_extension(&schema.id, &schema.attributes, value)
            } else if let Some(attribute) = ty.attribute(&name) {
                self.project(None, attribute, value)
            } else {
                None
            };
            if let Some(value) = value {
                shown.insert(name, value);
            }
        }
        let absent: Vec<&str> = ty
            .extensions
            .iter()
            .map(|extension| extension.schema.id.as_str())
            .filter(|uri| !shown.contains_key(*uri))
            .collect();
        if let Some(Value::Array(schemas)) = shown.get_mut("schemas") {
            schemas.retain(|uri| !absent.iter().any(|absent| uri == absent));
        }
        shown
    }

    fn project_extension(
        &self,
        uri: &str,
        attributes: &[Attribute],
        value: Value,
    ) -> Option<Value> {
        let Value::Object(object) = value else {
            return None;
        };
        let mut shown = Object::new();
        for (name, value) in object {
            let attribute = attributes.iter().find(|attribute| attribute.name == name);
            let value = attribute.and_then(|of| self.project(Some(uri), of, value));
            if let Some(value) = value {
                shown.insert(name, value);
            }
        }
        (!shown.is_empty()).then_some(Value::Object(shown))
    }

    fn project(&self, uri: Option<&str>, attribute: &Attribute, value: Value) -> Option<Value> {
        let place = Named::Attribute(uri.map(str::to_owned), attribute.name.clone());
        let whole = uri.map(|uri| Named::Extension(uri.to_owned()));
        let names = |named: &HashSet<Named>| {
            named.contains(&place) || whole.as_ref().is_some_and(|whole| named.contains(whole))
        };
        let shown = match (attribute.returned, &self.choice) {
            (Returned::Never, _) => return None,
            (Returned::Always, _) => true,
            (Returned::Request, Choice::Only { named, .. }) => names(named),
            (Returned::Request, _) => false,
            (Returned::Default, Choice::Everything) => true,
            (Returned::Default, Choice::Only { named, .. }) => names(named),
            (Returned::Default, Choice::Except(named)) => !names(named),
        };
        if !attribute.is_complex() {
            return shown.then_some(value);
        }
        match value {
            Value::Array(elements) => {
                let elements: Vec<Value> = elements
                    .into_iter()
                    .filter_map(|element| self.project_parts(uri, attribute, element, shown))
                    .collect();
                (!elements.is_empty()).then_some(Value::Array(elements))
            }
            value => self.project_parts(uri, attribute, value, shown),
        }
    }

    /// Projects one complex value; `shown` is whether the attribute itself is shown.
    fn project_parts(
        &self,
        uri: Option<&str>,
        attribute: &Attribute,
        value: Value,
        shown: bool,
    ) -> Option<Value> {
        let Value::Object(object) = value else {
            return None;
        };
        let is_named = |named: &HashSet<Named>, sub: &Attribute| {
            named.contains(&Named::Sub(
                uri.map(str::to_owned),
                attribute.name.clone(),
                sub.name.clone(),
            ))
        };
        let mut parts = Object::new();
        let mut chosen = false;
        for sub in &attribute.sub_attributes {
            let Some(value) = object.get(&sub.name) else {
                continue;
            };
            let part = match (sub.returned, &self.choice) {
                (Returned::Never, _) => false,
                (Returned::Always, _) => true,
                (Returned::Request, Choice::Only { named, .. }) => is_named(named, sub),
                (Returned::Request, _) => false,
                (Returned::Default, Choice::Everything) => shown,
                (Returned::Default, Choice::Only { named, .. }) => shown || is_named(named, sub),
                (Returned::Default, Choice::Except(named)) => shown && !is_named(named, sub),
            };
            if part {
                // A sub-attribute that is always returned is added to a shown attribute, but does
                // not show an attribute that the client did not name.
                chosen |= shown || sub.returned != Returned::Always;
                parts.insert(sub.name.clone(), value.clone());
            }
        }
        chosen.then_some(Value::Object(parts))
    }
}

fn resolve(names: &[String], ty: &ResourceType) -> HashSet<Named> {
    let mut named = HashSet::new();
    for name in names {
        match ty.locate(name) {
            None => {}
            // The URI of the base schema stands for all of its attributes.
            Some(Located::Base) => named.extend(
                ty.schema
                    .attributes
                    .iter()
                    .map(|attribute| Named::Attribute(None, attribute.name.clone())),
            ),
            Some(Located::Extension(schema)) => {
                named.insert(Named::Extension(schema.id.clone()));
            }
            Some(Located::Attribute(target)) => {
                let uri = target.extension.map(|schema| schema.id.clone());
                let attribute = target.attribute.name.clone();
                named.insert(match target.sub {
                    None => Named::Attribute(uri, attribute),
                    Some(sub) => Named::Sub(uri, attribute, sub.name.clone()),
                });
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

    fn ann() -> Object {
        let ann = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE], "id": "1", "userName": "ann",
            "name": {"familyName": "A", "givenName": "B"}, "emails": [{"value": "a", "type": "work"}, {"value": "b"}],
            ENTERPRISE: {"department": "d", "manager": {"value": "m", "displayName": "M"}}, "meta": {"resourceType": "User", "version": "W/\"1\""},
        });
        ann.as_object().unwrap().clone()
    }

    fn project(attributes: Option<&str>, excluded: Option<&str>) -> Value {
        let projection = Projection::parse(attributes, excluded, ResourceType::user()).unwrap();
        let mut shown = projection.apply(ann(), ResourceType::user());
        // RFC 7643 §7 (J3): these are always returned.
        assert_eq!(shown.remove("id"), Some(json!("1")));
        let schemas = shown.remove("schemas").unwrap();
        assert_eq!(
            schemas.as_array().unwrap().len(),
            if shown.contains_key(ENTERPRISE) { 2 } else { 1 }
        );
        Value::Object(shown)
    }

    /// RFC 7644 §3.9 (J1).
    #[test]
    fn attributes_are_selected_by_names_in_any_form() {
        for (names, expected) in [
            ("userName", json!({"userName": "ann"})),
            (" USERNAME , nope,, ", json!({"userName": "ann"})),
            (
                "urn:ietf:params:scim:schemas:core:2.0:User:userName",
                json!({"userName": "ann"}),
            ),
            (
                "name.givenName,name.nope",
                json!({"name": {"givenName": "B"}}),
            ),
            (
                "name,name.givenName",
                json!({"name": {"familyName": "A", "givenName": "B"}}),
            ),
            ("emails.type", json!({"emails": [{"type": "work"}]})),
            ("meta.version", json!({"meta": {"version": "W/\"1\""}})),
            (
                &format!("{ENTERPRISE}:department"),
                json!({ENTERPRISE: {"department": "d"}}),
            ),
            (
                &format!("{ENTERPRISE}:manager.displayName"),
                json!({ENTERPRISE: {"manager": {"displayName": "M"}}}),
            ),
            (
                &ENTERPRISE.to_uppercase(),
                json!({ENTERPRISE: {"department": "d", "manager": {"value": "m", "displayName": "M"}}}),
            ),
            ("nope", json!({})),
            ("password", json!({})),
        ] {
            assert_eq!(project(Some(names), None), expected, "{names}");
        }
        assert_eq!(project(Some(""), None)["userName"], "ann");
    }

    /// RFC 7644 §3.9 (J1); RFC 7643 §7, RFC 7644 §3.9 (J3).
    #[test]
    fn excluded_attributes_are_left_out() {
        let all = Value::Object(ann());
        let without = |names: &str| project(None, Some(names));
        assert_eq!(without("id,schemas,nope")["name"], all["name"]);
        assert_eq!(
            without(&format!(
                "emails,name.familyName,meta,{ENTERPRISE}:manager.value"
            )),
            json!({"userName": "ann", "name": {"givenName": "B"}, ENTERPRISE: {"department": "d", "manager": {"displayName": "M"}}})
        );
        assert_eq!(
            without(&format!("{ENTERPRISE},name,emails,meta")),
            json!({"userName": "ann"})
        );
    }

    /// RFC 7644 §3.9 (J2).
    #[test]
    fn attributes_and_excluded_attributes_together_are_refused() {
        let error = Projection::parse(Some("a"), Some("b"), ResourceType::user()).unwrap_err();
        assert_eq!(
            (error.status(), error.scim_type()),
            (400, Some(crate::ScimType::InvalidSyntax))
        );
    }

    #[test]
    fn wants_is_true_only_for_attributes_in_the_response() {
        let wants = |attributes, excluded| {
            Projection::parse(attributes, excluded, ResourceType::user())
                .unwrap()
                .wants("groups")
        };
        assert!(wants(None, None));
        assert!(wants(Some("groups.value"), None));
        assert!(wants(None, Some("groups.value")));
        assert!(!wants(Some("userName"), None));
        assert!(!wants(None, Some("Groups")));
    }
}
