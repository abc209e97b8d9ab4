//! Checks of [`Profile::Strict`].
//!
//! The SCIM 2.0 interoperability profile (draft-zollner-scim-interop-profile) restricts options of
//! the RFCs. This file contains its checks of bodies, which are made before a body is read. The
//! PATCH reader also checks the profile for operations without a path and for a complex value that
//! is replaced.
//!
//! | row | 400 `invalidSyntax` for |
//! |---|---|
//! | C1 | a resource without `schemas`, without its base schema in it, with a URI twice or of another type |
//! | C2 | attributes of an extension whose URI is not in `schemas` (RFC 7643 §3) |
//! | C21 | an unknown attribute, sub-attribute or extension in a resource and in the value of a PATCH; a name with a URI or a dot in a resource |
//! | X1 | a PATCH without `schemas` |
//! | X5 | a PATCH operation without `path` |
//!
//! Two primary values and a list instead of a single value are 400 `invalidValue`. A `path` with an
//! unknown attribute is 400 `invalidPath`, and a filter with one is 400 `invalidFilter` (RFC 7644
//! §3.12). readOnly attributes and their contents are ignored (RFC 7644 §3.5.1).

use std::collections::HashSet;

use serde_json::Value;

use crate::Object;
use crate::elements::several_primaries_error;
use crate::error::{Error, quote_name};
use crate::quirks;
use crate::schema::{Attribute, AttributePath, Mutability, Profile, ResourceType, Schema};
use crate::value::{is_unassigned, unexpected};

impl ResourceType {
    /// Returns whether the type has [`Profile::Strict`].
    pub(crate) fn is_strict(&self) -> bool {
        self.profile == Profile::Strict
    }

    /// Checks a whole resource.
    pub(crate) fn check_resource(&self, body: &Object) -> Result<(), Error> {
        let named = self.check_named_schemas(body)?;
        for (name, value) in body {
            if let Some(schema) = self.extension(name) {
                let Value::Object(object) = value else {
                    continue;
                };
                let says = object.values().any(|value| !is_unassigned(value));
                if says && !named.contains(&schema.id.to_ascii_lowercase()) {
                    return Err(Error::invalid_syntax(format_args!(
                        "schemas: the body has attributes of {}, so it must contain this URI",
                        schema.id
                    )));
                }
                self.check_extension(schema, object)?;
            } else if let Some(attribute) = self.attribute(name) {
                let place = AttributePath {
                    extension: None,
                    attribute: &attribute.name,
                    sub: None,
                };
                check_value(attribute, place, value)?;
            } else {
                return Err(unknown(&self.name, name));
            }
        }
        Ok(())
    }

    /// Checks an object with the attributes of an extension.
    pub(crate) fn check_extension(&self, schema: &Schema, object: &Object) -> Result<(), Error> {
        for (name, value) in object {
            let Some(attribute) = schema.attribute(name) else {
                return Err(unknown(&schema.id, name));
            };
            let place = AttributePath {
                extension: Some(&schema.id),
                attribute: &attribute.name,
                sub: None,
            };
            check_value(attribute, place, value)?;
        }
        Ok(())
    }

    /// RFC 7643 §3 (C1): checks `schemas` and returns its URIs in lower case.
    fn check_named_schemas(&self, body: &Object) -> Result<HashSet<String>, Error> {
        let schemas = body
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("schemas"))
            .map(|(_, value)| value);
        let mut named = HashSet::new();
        for uri in uris(schemas) {
            if !uri.eq_ignore_ascii_case(&self.schema.id) && self.extension(uri).is_none() {
                return Err(Error::invalid_syntax(format_args!(
                    "schemas: {} is not a schema of {}",
                    quote_name(uri),
                    self.name
                )));
            }
            if !named.insert(uri.to_ascii_lowercase()) {
                return Err(Error::invalid_syntax(format_args!(
                    "schemas: {} appears twice",
                    quote_name(uri)
                )));
            }
        }
        if named.contains(&self.schema.id.to_ascii_lowercase()) {
            Ok(named)
        } else {
            Err(Error::invalid_syntax(format_args!(
                "schemas: a {} must contain {}",
                self.name, self.schema.id
            )))
        }
    }
}

/// Returns the error for an unknown attribute.
pub(crate) fn unknown(owner: &str, name: &str) -> Error {
    Error::invalid_syntax(format_args!(
        "{owner} has no attribute {}",
        quote_name(name)
    ))
}

/// Returns the strings in `schemas`. Other values are refused when the attribute is read.
fn uris(schemas: Option<&Value>) -> impl Iterator<Item = &str> {
    let (list, single) = match schemas {
        Some(Value::Array(uris)) => (uris.as_slice(), None),
        single => ([].as_slice(), single),
    };
    list.iter().chain(single).filter_map(Value::as_str)
}

/// Refuses unknown sub-attributes, a list instead of a single value, and two primary values.
pub(crate) fn check_value(
    attribute: &Attribute,
    place: AttributePath<'_>,
    value: &Value,
) -> Result<(), Error> {
    if attribute.mutability == Mutability::ReadOnly {
        return Ok(());
    }
    if value.is_array() && !attribute.multi_valued && !is_unassigned(value) {
        return Err(unexpected(attribute, place, value));
    }
    if !attribute.is_complex() {
        return match value {
            Value::Object(_) => Err(unexpected(attribute, place, value)),
            _ => Ok(()),
        };
    }
    let elements = match value {
        Value::Array(elements) => elements.as_slice(),
        value => std::slice::from_ref(value),
    };
    for name in elements
        .iter()
        .filter_map(Value::as_object)
        .flat_map(Object::keys)
    {
        if attribute.sub_attribute(name).is_none() {
            return Err(Error::invalid_syntax(format_args!(
                "{place} has no sub-attribute {}",
                quote_name(name)
            )));
        }
    }
    let is_primary = |element: &&Value| {
        let members = element.as_object().into_iter().flatten();
        let mut primary = members.filter(|(name, _)| name.eq_ignore_ascii_case("primary"));
        primary.any(|(_, value)| is_true(value))
    };
    if attribute.sub_attribute("primary").is_some()
        && elements.iter().filter(is_primary).count() > 1
    {
        Err(several_primaries_error(place))
    } else {
        Ok(())
    }
}

fn is_true(value: &Value) -> bool {
    let text = value.as_str().and_then(quirks::boolean_in_a_string);
    value.as_bool().or(text) == Some(true)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;
    use crate::{
        ENTERPRISE_USER_SCHEMA, PATCH_OP_SCHEMA, PatchOp, Resource, ScimType, USER_SCHEMA,
    };

    static USER: LazyLock<ResourceType> =
        LazyLock::new(|| ResourceType::user().clone().with_profile(Profile::Strict));

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    /// Asserts that the strict profile refuses the body with this detail and the tolerant one
    /// accepts it.
    #[track_caller]
    fn refused(body: Value, detail: &str) {
        let error = USER.read(object(body.clone()), None).unwrap_err();
        assert_eq!(
            (error.status(), error.scim_type(), error.detail()),
            (400, Some(ScimType::InvalidSyntax), detail),
            "{body}"
        );
        if let Err(error) = ResourceType::user().read(object(body.clone()), None) {
            assert_eq!(error.scim_type(), Some(ScimType::InvalidValue), "{body}");
        }
    }

    fn ann() -> Resource {
        let ann = json!({"schemas": [USER_SCHEMA], "userName": "ann", "name": {"familyName": "Archer", "givenName": "Ann"},
            "emails": [{"value": "a@work", "type": "work"}]});
        USER.read(object(ann), None).unwrap()
    }

    fn patch(operations: Value) -> Result<Resource, Error> {
        let body = json!({"schemas": [PATCH_OP_SCHEMA], "Operations": operations});
        PatchOp::parse(object(body), &USER)?.apply(&USER, &ann(), "2819")
    }

    #[track_caller]
    fn patch_refused(operations: Value, scim_type: ScimType, detail: &str) {
        let error = patch(operations.clone()).unwrap_err();
        assert_eq!(
            (error.status(), error.scim_type(), error.detail()),
            (400, Some(scim_type), detail),
            "{operations}"
        );
    }

    /// RFC 7643 §3 (C1, C2).
    #[test]
    fn schemas_must_name_every_schema_in_use() {
        let has = format!("schemas: a User must contain {USER_SCHEMA}");
        refused(json!({"userName": "ann"}), &has);
        refused(json!({"schemas": [], "userName": "ann"}), &has);
        refused(
            json!({"schemas": [ENTERPRISE_USER_SCHEMA], "userName": "ann"}),
            &has,
        );
        refused(
            json!({"schemas": [USER_SCHEMA, "urn:x"], "userName": "ann"}),
            "schemas: \"urn:x\" is not a schema of User",
        );
        let upper = USER_SCHEMA.to_uppercase();
        refused(
            json!({"schemas": [USER_SCHEMA, upper], "userName": "ann"}),
            &format!("schemas: \"{upper}\" appears twice"),
        );
        refused(
            json!({"schemas": [USER_SCHEMA], "userName": "ann", ENTERPRISE_USER_SCHEMA: {"department": "d"}}),
            &format!(
                "schemas: the body has attributes of {ENTERPRISE_USER_SCHEMA}, so it must contain this URI"
            ),
        );
        for fine in [
            json!({"SCHEMAS": [USER_SCHEMA.to_uppercase(), ENTERPRISE_USER_SCHEMA], "userName": "ann"}),
            json!({"schemas": USER_SCHEMA, "userName": "ann", ENTERPRISE_USER_SCHEMA: {"department": null}}),
            json!({"schemas": [USER_SCHEMA], "userName": "ann", ENTERPRISE_USER_SCHEMA: null}),
        ] {
            assert!(USER.read(object(fine.clone()), None).is_ok(), "{fine}");
        }
    }

    /// No RFC clause (C21).
    #[test]
    fn unknown_attributes_are_refused_by_name() {
        let user = |more: Value| {
            let mut user = object(
                json!({"schemas": [USER_SCHEMA, ENTERPRISE_USER_SCHEMA], "userName": "ann"}),
            );
            user.extend(object(more));
            Value::Object(user)
        };
        for (more, detail) in [
            (
                json!({"shoeSize": 44}),
                "User has no attribute \"shoeSize\"".to_owned(),
            ),
            (
                json!({"shoeSize": null}),
                "User has no attribute \"shoeSize\"".to_owned(),
            ),
            (
                json!({"name.givenName": "Ann"}),
                "User has no attribute \"name.givenName\"".to_owned(),
            ),
            (
                json!({"urn:acme:User": {"badge": 1}}),
                "User has no attribute \"urn:acme:User\"".to_owned(),
            ),
            (
                json!({"name": {"nick": "A"}}),
                "name has no sub-attribute \"nick\"".to_owned(),
            ),
            (
                json!({"emails": [{"value": "a"}, {"shoe": 1}]}),
                "emails has no sub-attribute \"shoe\"".to_owned(),
            ),
            (
                json!({ENTERPRISE_USER_SCHEMA: {"team": "x"}}),
                format!("{ENTERPRISE_USER_SCHEMA} has no attribute \"team\""),
            ),
            (
                json!({ENTERPRISE_USER_SCHEMA: {"manager": {"boss": "x"}}}),
                format!("{ENTERPRISE_USER_SCHEMA}:manager has no sub-attribute \"boss\""),
            ),
        ] {
            refused(user(more), &detail);
        }
    }

    /// RFC 7644 §3.3, §3.5.1, §3.5.2 (C10); RFC 7644 §3.5.1 (W2).
    #[test]
    fn read_only_attributes_may_be_resent() {
        let meta = crate::Meta {
            resource_type: "User".to_owned(),
            created: jiff::Timestamp::UNIX_EPOCH,
            last_modified: jiff::Timestamp::UNIX_EPOCH,
            version: Some(1),
            location: "https://example.com/Users/1".to_owned(),
        };
        let groups = object(json!({"groups": [{"value": "g", "note": "of a client"}]}));
        let shown = ann().represent(&USER, "1", &meta, groups);
        assert_eq!(USER.read(shown, Some(&ann())).unwrap(), ann());
    }

    /// RFC 7644 §3.5.2 (X1); RFC 7644 §3.5.2.3 (X5).
    #[test]
    fn a_patch_requires_schemas_and_each_operation_a_path() {
        let body = json!({"Operations": [{"op": "add", "path": "title", "value": "x"}]});
        let error = PatchOp::parse(object(body), &USER).unwrap_err();
        assert_eq!(
            (error.scim_type(), error.detail()),
            (
                Some(ScimType::InvalidSyntax),
                "schemas: a PATCH body must contain urn:ietf:params:scim:api:messages:2.0:PatchOp"
            )
        );
        for operation in [
            json!({"op": "replace", "value": {"active": false}}),
            json!({"op": "add", "path": "", "value": {"title": "x"}}),
            json!({"op": "remove"}),
        ] {
            patch_refused(
                json!([operation]),
                ScimType::InvalidSyntax,
                "path is missing; this directory requires a path in each operation",
            );
        }
    }

    /// No RFC clause (C21); RFC 7644 §3.5.2 (X8).
    #[test]
    fn unknown_names_in_a_patch_are_refused() {
        let value = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
        let syntax = ScimType::InvalidSyntax;
        patch_refused(
            value("name", json!({"nick": "A"})),
            syntax,
            "name has no sub-attribute \"nick\"",
        );
        patch_refused(
            value("emails", json!([{"shoe": 1}])),
            syntax,
            "emails has no sub-attribute \"shoe\"",
        );
        patch_refused(
            value("emails[type eq \"work\"]", json!({"shoe": 1})),
            syntax,
            "emails has no sub-attribute \"shoe\"",
        );
        patch_refused(
            value(ENTERPRISE_USER_SCHEMA, json!({"team": "x"})),
            syntax,
            &format!("{ENTERPRISE_USER_SCHEMA} has no attribute \"team\""),
        );
        patch_refused(
            value(USER_SCHEMA, json!({"shoeSize": 1})),
            syntax,
            "User has no attribute \"shoeSize\"",
        );
        patch_refused(
            json!([{"op": "remove", "path": "emails", "value": [{"shoe": 1}]}]),
            syntax,
            "emails has no sub-attribute \"shoe\"",
        );
        patch_refused(
            value("shoeSize", json!(1)),
            ScimType::InvalidPath,
            "path \"shoeSize\": User has no such attribute",
        );
        patch_refused(
            value("emails[shoe eq 1].value", json!("x")),
            ScimType::InvalidFilter,
            "filter: emails has no sub-attribute \"shoe\"",
        );
    }

    /// RFC 7643 §2.4 (C17, X20).
    #[test]
    fn two_primaries_and_a_list_for_one_value_are_refused() {
        let user = |more: Value| {
            let mut user = object(json!({"schemas": [USER_SCHEMA], "userName": "ann"}));
            user.extend(object(more));
            USER.read(user, None).unwrap_err()
        };
        let primaries = json!([{"value": "a", "primary": true}, {"value": "b", "Primary": "True"}]);
        for (error, detail) in [
            (
                user(json!({"emails": primaries})),
                "emails.primary: is true for more than one value; at most one value can be primary",
            ),
            (
                user(json!({"title": ["x"]})),
                "title: expected a string, got a list",
            ),
            (
                user(json!({"title": {"value": "x"}})),
                "title: expected a string, got an object",
            ),
        ] {
            assert_eq!(
                (error.scim_type(), error.detail()),
                (Some(ScimType::InvalidValue), detail)
            );
        }
        for (path, value) in [
            ("emails", primaries),
            ("title", json!(["x"])),
            ("title", json!({"title": "x"})),
        ] {
            let operation = json!([{"op": "replace", "path": path, "value": value}]);
            assert_eq!(
                patch(operation).unwrap_err().scim_type(),
                Some(ScimType::InvalidValue)
            );
        }
        patch_refused(
            json!([{"op": "add", "path": "urn:acme:User:tag", "value": "7"}]),
            ScimType::InvalidPath,
            "path \"urn:acme:User:tag\": User has no such attribute",
        );
    }

    /// RFC 7644 §3.5.2.3 (X14).
    #[test]
    fn replace_sets_the_whole_value_and_add_merges() {
        let name = json!({"givenName": "Anna"});
        let replaced = patch(json!([{"op": "replace", "path": "name", "value": name}])).unwrap();
        assert_eq!(replaced.get("name"), Some(&name));
        let added = patch(json!([{"op": "add", "path": "name", "value": name}])).unwrap();
        assert_eq!(
            added.get("name"),
            Some(&json!({"familyName": "Archer", "givenName": "Anna"}))
        );
        let empty =
            patch(json!([{"op": "replace", "path": "name", "value": {"givenName": ""}}])).unwrap();
        assert_eq!(empty.get("name"), None);
    }

    /// RFC 7643 §7 (C19).
    #[test]
    fn every_type_sub_attribute_has_canonical_values() {
        let group = ResourceType::group().clone().with_profile(Profile::Strict);
        let lists = USER.attributes().chain(group.attributes());
        for attribute in lists.filter(|attribute| attribute.multi_valued) {
            if let Some(sub) = attribute.sub_attribute("type") {
                assert!(!sub.canonical_values.is_empty(), "{}", attribute.name);
            }
        }
    }
}
