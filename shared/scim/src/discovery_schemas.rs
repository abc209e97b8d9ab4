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
            description: "The capabilities of the service provider.".to_owned(),
            attributes: read_only(service_provider_config),
        },
        Schema {
            id: RESOURCE_TYPE_SCHEMA.to_owned(),
            name: "ResourceType".to_owned(),
            description: "A resource type: its endpoint and its schemas.".to_owned(),
            attributes: read_only(resource_type()),
        },
        Schema {
            id: SCHEMA_SCHEMA.to_owned(),
            name: "Schema".to_owned(),
            description: "A set of attributes with a URI.".to_owned(),
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
        let supported = flag("supported", "Whether the feature is supported.").required();
        let parts = std::iter::once(supported).chain(limits).collect();
        complex(name, description, parts).required()
    };
    vec![
        reference(
            "documentationUri",
            "The URL of the documentation.",
            &["external"],
        ),
        feature("patch", "Modifying resources by PATCH.", vec![]),
        feature(
            "bulk",
            "Several operations in one request.",
            vec![
                number(
                    "maxOperations",
                    "The maximum number of operations in one request.",
                )
                .required(),
                number(
                    "maxPayloadSize",
                    "The maximum size of one request in bytes.",
                )
                .required(),
            ],
        ),
        feature(
            "filter",
            "Filters on lists.",
            vec![
                number(
                    "maxResults",
                    "The maximum number of resources in one response.",
                )
                .required(),
            ],
        ),
        feature("changePassword", "Changing passwords.", vec![]),
        feature("sort", "Sorting lists.", vec![]),
        feature("etag", "Versions of resources.", vec![]),
        complex(
            "pagination",
            "The methods of pagination.",
            vec![
                flag("cursor", "Whether cursors are supported.").required(),
                flag("index", "Whether startIndex is supported.").required(),
                text(
                    "defaultPaginationMethod",
                    "The method for a request that names neither.",
                )
                .canonical(&["cursor", "index"]),
                number(
                    "defaultPageSize",
                    "The page size of a request without count.",
                ),
                number("maxPageSize", "The maximum page size."),
                number("cursorTimeout", "The lifetime of a cursor in seconds."),
            ],
        ),
        flag(
            "interopProfileConformant",
            "Whether the service provider conforms to the interoperability profile.",
        ),
        complex(
            "authenticationSchemes",
            "The authentication schemes.",
            vec![
                text("type", "The type of the scheme.")
                    .required()
                    .canonical(&[
                        "oauth",
                        "oauth2",
                        "oauthbearertoken",
                        "httpbasic",
                        "httpdigest",
                    ]),
                text("name", "A name for readers.").required(),
                text("description", "A description for readers.").required(),
                reference("specUri", "The specification of the scheme.", &["external"]),
                reference(
                    "documentationUri",
                    "The URL of the documentation.",
                    &["external"],
                ),
                flag("primary", "Whether this is the preferred scheme."),
            ],
        )
        .multi_valued()
        .required(),
    ]
}

fn resource_type() -> Vec<Attribute> {
    let (text, reference) = (Attribute::text, Attribute::reference);
    vec![
        text("name", "The name, which is also the id.")
            .required()
            .case_exact(),
        text("description", "A description for readers."),
        reference("endpoint", "The path below the base URL.", &["uri"]).required(),
        reference("schema", "The URI of the base schema.", &["uri"]).required(),
        Attribute::complex(
            "schemaExtensions",
            "The extensions of the base schema.",
            vec![
                reference("schema", "The URI of the extension.", &["uri"]).required(),
                flag(
                    "required",
                    "Whether every resource of the type must have the extension.",
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
            "The sub-attributes of a complex attribute.",
            attribute(),
        )
        .multi_valued(),
    );
    vec![
        text("name", "A name for readers.").required(),
        text("description", "A description for readers."),
        Attribute::complex("attributes", "The attributes of the schema.", parts)
            .multi_valued()
            .required(),
    ]
}

/// The characteristics of an attribute or sub-attribute.
fn attribute() -> Vec<Attribute> {
    let text = Attribute::text;
    vec![
        text("name", "The name of the attribute.")
            .required()
            .case_exact(),
        text("type", "The data type of the attribute.")
            .required()
            .canonical(&[
                "string",
                "boolean",
                "decimal",
                "integer",
                "dateTime",
                "binary",
                "reference",
                "complex",
            ]),
        flag("multiValued", "Whether the attribute has several values.").required(),
        text("description", "A description for readers."),
        flag("required", "Whether a resource must have the attribute."),
        text("canonicalValues", "Suggested values.")
            .multi_valued()
            .case_exact(),
        flag("caseExact", "Whether comparison is case-sensitive."),
        text("mutability", "The mutability of the attribute.").canonical(&[
            "readOnly",
            "readWrite",
            "immutable",
            "writeOnly",
        ]),
        text("returned", "When the attribute is part of a response.")
            .canonical(&["always", "never", "default", "request"]),
        text("uniqueness", "The scope in which a value must be unique.")
            .canonical(&["none", "server", "global"]),
        text("referenceTypes", "The permitted targets of a reference.")
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
                match (attribute.data_type, value) {
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
