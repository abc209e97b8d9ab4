//! The schemas of the discovery resources (RFC 7643 §5 to §7, §8.7.2), so that `/Schemas` describes
//! them as well (D4).
//!
//! This file contains data only. All attributes are readOnly.

use std::sync::LazyLock;

use crate::discovery::{RESOURCE_TYPE_SCHEMA, SCHEMA_SCHEMA, SERVICE_PROVIDER_CONFIG_SCHEMA};
use crate::schema::{Attribute, DataType, Schema};

static SCHEMAS: LazyLock<[Schema; 3]> = LazyLock::new(|| schemas(service_provider_config()));

static PLAIN_SCHEMAS: LazyLock<[Schema; 3]> = LazyLock::new(|| {
    let mut config = service_provider_config();
    config.retain(|attribute| !SINCE_RFC_7643.contains(&attribute.name.as_str()));
    schemas(config)
});

/// Attributes that later documents added to ServiceProviderConfig: RFC 9865 §5 and the SCIM
/// interoperability profile.
const SINCE_RFC_7643: [&str; 2] = ["pagination", "interopProfileConformant"];

fn schemas(service_provider_config: Vec<Attribute>) -> [Schema; 3] {
    [
        Schema {
            id: SERVICE_PROVIDER_CONFIG_SCHEMA.to_owned(),
            name: "Service Provider Configuration".to_owned(),
            description: "What the service provider can do.".to_owned(),
            attributes: read_only(service_provider_config),
        },
        Schema {
            id: RESOURCE_TYPE_SCHEMA.to_owned(),
            name: "ResourceType".to_owned(),
            description: "A kind of resource: its endpoint and its schemas.".to_owned(),
            attributes: read_only(resource_type()),
        },
        Schema {
            id: SCHEMA_SCHEMA.to_owned(),
            name: "Schema".to_owned(),
            description: "A set of attributes under one URI.".to_owned(),
            attributes: read_only(schema()),
        },
    ]
}

/// Returns the schemas of ServiceProviderConfig, ResourceType and Schema.
pub fn discovery_schemas() -> &'static [Schema] {
    SCHEMAS.as_slice()
}

/// Returns these schemas as in RFC 7643, without attributes of later documents.
pub fn plain_discovery_schemas() -> &'static [Schema] {
    PLAIN_SCHEMAS.as_slice()
}

fn read_only(attributes: Vec<Attribute>) -> Vec<Attribute> {
    let attributes = attributes.into_iter().map(|attribute| Attribute {
        sub_attributes: read_only(attribute.sub_attributes.clone()),
        ..attribute.read_only()
    });
    attributes.collect()
}

fn flag(name: &str, description: &str) -> Attribute {
    Attribute::new(name, DataType::Boolean, description)
}

fn number(name: &str, description: &str) -> Attribute {
    Attribute::new(name, DataType::Integer, description)
}

fn service_provider_config() -> Vec<Attribute> {
    let (text, complex, reference) = (Attribute::text, Attribute::complex, Attribute::reference);
    let feature = |name: &str, description: &str, limits: Vec<Attribute>| {
        let supported = flag("supported", "Whether it is supported.").required();
        let parts = std::iter::once(supported).chain(limits).collect();
        complex(name, description, parts).required()
    };
    vec![
        reference("documentationUri", "Where people read on.", &["external"]),
        feature("patch", "Modifying resources by PATCH.", vec![]),
        feature(
            "bulk",
            "Several operations in one request.",
            vec![
                number("maxOperations", "Operations in one request at most.").required(),
                number("maxPayloadSize", "Bytes of one request at most.").required(),
            ],
        ),
        feature(
            "filter",
            "Filters on lists.",
            vec![number("maxResults", "Resources in one answer at most.").required()],
        ),
        feature("changePassword", "Changing passwords.", vec![]),
        feature("sort", "Sorting lists.", vec![]),
        feature("etag", "Versions of resources.", vec![]),
        complex(
            "pagination",
            "How lists are paged.",
            vec![
                flag("cursor", "Whether there are cursors.").required(),
                flag("index", "Whether there is startIndex.").required(),
                text(
                    "defaultPaginationMethod",
                    "What a request that names neither gets.",
                )
                .canonical(&["cursor", "index"]),
                number("defaultPageSize", "The page size when count is left out."),
                number("maxPageSize", "The greatest page size."),
                number("cursorTimeout", "How many seconds a cursor lives."),
            ],
        ),
        flag(
            "interopProfileConformant",
            "Whether requests are read as the interoperability profile has it.",
        ),
        complex(
            "authenticationSchemes",
            "How clients authenticate.",
            vec![
                text("type", "The kind of scheme.").required().canonical(&[
                    "oauth",
                    "oauth2",
                    "oauthbearertoken",
                    "httpbasic",
                    "httpdigest",
                ]),
                text("name", "A name for people.").required(),
                text("description", "One sentence for people.").required(),
                reference("specUri", "The specification of the scheme.", &["external"]),
                reference("documentationUri", "Where people read on.", &["external"]),
                flag("primary", "Whether it is the preferred scheme."),
            ],
        )
        .multi_valued()
        .required(),
    ]
}

fn resource_type() -> Vec<Attribute> {
    let (text, reference) = (Attribute::text, Attribute::reference);
    vec![
        text("name", "The name, which is the id as well.")
            .required()
            .case_exact(),
        text("description", "One sentence for people."),
        reference("endpoint", "The path below the base URL.", &["uri"]).required(),
        reference("schema", "The URI of the base schema.", &["uri"]).required(),
        Attribute::complex(
            "schemaExtensions",
            "The schemas that may stand beside the base schema.",
            vec![
                reference("schema", "The URI of the extension.", &["uri"]).required(),
                flag(
                    "required",
                    "Whether every resource of the type must have it.",
                )
                .required(),
            ],
        )
        .multi_valued(),
    ]
}

fn schema() -> Vec<Attribute> {
    let text = Attribute::text;
    let mut parts = attribute();
    parts.push(
        Attribute::complex(
            "subAttributes",
            "The parts of a complex attribute.",
            attribute(),
        )
        .multi_valued(),
    );
    vec![
        text("name", "A name for people.").required(),
        text("description", "One sentence for people."),
        Attribute::complex("attributes", "The attributes of the schema.", parts)
            .multi_valued()
            .required(),
    ]
}

/// The characteristics of an attribute or sub-attribute.
fn attribute() -> Vec<Attribute> {
    let text = Attribute::text;
    vec![
        text("name", "Its name.").required().case_exact(),
        text("type", "Its data type.").required().canonical(&[
            "string",
            "boolean",
            "decimal",
            "integer",
            "dateTime",
            "binary",
            "reference",
            "complex",
        ]),
        flag("multiValued", "Whether it holds a list.").required(),
        text("description", "One sentence for people."),
        flag("required", "Whether a resource must have it."),
        text("canonicalValues", "Suggested values.")
            .multi_valued()
            .case_exact(),
        flag("caseExact", "Whether case counts when values are compared."),
        text("mutability", "Who may change it, and when.").canonical(&[
            "readOnly",
            "readWrite",
            "immutable",
            "writeOnly",
        ]),
        text("returned", "When it is part of an answer.")
            .canonical(&["always", "never", "default", "request"]),
        text("uniqueness", "How widely a value must be unique.")
            .canonical(&["none", "server", "global"]),
        text("referenceTypes", "What a reference may point at.")
            .multi_valued()
            .case_exact(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::discovery::{self, Bulk, Capabilities, Pagination};
    use crate::{Mutability, Object, ResourceType};

    /// Checks that the schema has every member of the resource and the resource every required
    /// attribute.
    fn check(shown: &Object, attributes: &[Attribute]) {
        for (name, value) in shown {
            if ["schemas", "id", "meta"].contains(&name.as_str()) {
                continue;
            }
            let attribute = attributes.iter().find(|attribute| attribute.name == *name);
            // RFC 7643 §8.7.2: the schema of schemas has one more level than a schema can describe.
            if attribute.is_none() && name == "subAttributes" {
                for part in value.as_array().unwrap() {
                    check(part.as_object().unwrap(), attributes);
                }
                continue;
            }
            let attribute = attribute.unwrap_or_else(|| panic!("{name} is in no schema"));
            assert_eq!(attribute.mutability, Mutability::ReadOnly, "{name}");
            assert_eq!(attribute.multi_valued, value.is_array(), "{name}");
            let one = std::slice::from_ref(value);
            for value in value.as_array().map_or(one, Vec::as_slice) {
                match (attribute.kind, value) {
                    (DataType::Complex, Value::Object(parts)) => {
                        check(parts, &attribute.sub_attributes)
                    }
                    (DataType::Boolean, Value::Bool(_)) | (DataType::Integer, Value::Number(_)) => {
                    }
                    (DataType::String | DataType::Reference, Value::String(_)) => {}
                    (kind, value) => panic!("{name} is {value}, and no {}", kind.as_str()),
                }
            }
        }
        for attribute in attributes.iter().filter(|attribute| attribute.required) {
            assert!(
                shown.contains_key(&attribute.name),
                "{} is missing",
                attribute.name
            );
        }
    }

    /// RFC 7643 §7 (D4).
    #[test]
    fn discovery_resources_conform_to_their_schemas() {
        let [config, types, schemas] = &*SCHEMAS;
        let everything = Capabilities {
            documentation_uri: Some("https://example.com".to_owned()),
            bulk: Some(Bulk {
                max_operations: 1,
                max_payload_size: 1,
            }),
            pagination: Some(Pagination {
                cursor: true,
                index: true,
                default_method: Some("index".to_owned()),
                default_page_size: Some(1),
                max_page_size: Some(1),
                cursor_timeout: Some(1),
            }),
            interop_profile_conformant: true,
            ..Capabilities::default()
        };
        for capabilities in [Capabilities::default(), everything] {
            check(
                &discovery::service_provider_config(&capabilities, ""),
                &config.attributes,
            );
        }
        let [config, ..] = &*PLAIN_SCHEMAS;
        let names: Vec<&str> = config
            .attributes
            .iter()
            .map(|attribute| attribute.name.as_str())
            .collect();
        // RFC 7643 §5.
        assert_eq!(
            names,
            [
                "documentationUri",
                "patch",
                "bulk",
                "filter",
                "changePassword",
                "sort",
                "etag",
                "authenticationSchemes"
            ]
        );
        for ty in [ResourceType::user(), ResourceType::group()] {
            check(&discovery::resource_type(ty, ""), &types.attributes);
            check(&discovery::schema(&ty.schema, ""), &schemas.attributes);
        }
        for described in discovery_schemas() {
            check(&discovery::schema(described, ""), &schemas.attributes);
        }
    }
}
