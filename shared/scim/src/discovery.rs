//! Discovery: service provider configuration, resource types and schemas (RFC 7643 §5 to §7, RFC
//! 7644 §4).
//!
//! Schemas and resource types are created from the tables that validation, filters and PATCH use,
//! so they always agree (D4).
//!
//! ```
//! use scim::ResourceType;
//! use scim::discovery::{Bulk, Capabilities, resource_type, schema, service_provider_config};
//!
//! let base_url = "https://example.com/scim/v2";
//! let user = ResourceType::user();
//! assert_eq!(resource_type(user, base_url)["endpoint"], "/Users");
//! assert_eq!(schema(&user.schema, base_url)["attributes"][0]["name"], "userName");
//!
//! let capabilities = Capabilities {
//!     bulk: Some(Bulk { max_operations: 100, max_payload_size: 1_000_000 }),
//!     ..Capabilities::default()
//! };
//! let config = service_provider_config(&capabilities, base_url);
//! assert_eq!(config["bulk"]["maxOperations"], 100);
//! assert_eq!(config["patch"]["supported"], true);
//! ```

use serde_json::Value;

use crate::Object;
use crate::schema::{Attribute, DataType, ResourceType, Schema};

/// The URI of the ServiceProviderConfig schema (RFC 7643 §5).
pub const SERVICE_PROVIDER_CONFIG_SCHEMA: &str =
    "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";

/// The URI of the ResourceType schema (RFC 7643 §6).
pub const RESOURCE_TYPE_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";

/// The URI of the Schema schema (RFC 7643 §7).
pub const SCHEMA_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";

/// Capabilities of a service provider. The default contains the capabilities of this crate: PATCH,
/// filters, sorting and entity tags.
#[derive(Clone, Debug, PartialEq)]
pub struct Capabilities {
    /// The URL of the documentation.
    pub documentation_uri: Option<String>,
    /// Whether PATCH is supported.
    pub patch: bool,
    /// The limits of `/Bulk`, if it is supported.
    pub bulk: Option<Bulk>,
    /// Maximum number of resources in a filtered response, if filters are supported.
    pub filter: Option<u64>,
    /// Whether passwords can be changed.
    pub change_password: bool,
    /// Whether lists can be sorted.
    pub sort: bool,
    /// Whether entity tags are supported.
    pub etag: bool,
    /// Pagination (RFC 9865 §5); `None` leaves the member out.
    pub pagination: Option<Pagination>,
    /// Whether the service provider conforms to the SCIM interoperability profile
    /// ([`Profile::Strict`](crate::Profile::Strict)); if false, the member is left out.
    pub interop_profile_conformant: bool,
    /// The authentication schemes; the first one is preferred.
    pub authentication_schemes: Vec<AuthenticationScheme>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Capabilities {
            documentation_uri: None,
            patch: true,
            bulk: None,
            filter: Some(crate::list::MAX_COUNT),
            change_password: false,
            sort: true,
            etag: true,
            pagination: None,
            interop_profile_conformant: false,
            authentication_schemes: vec![AuthenticationScheme::oauth_bearer_token()],
        }
    }
}

/// The limits of `/Bulk` (RFC 7643 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// Maximum number of operations in one request.
    pub max_operations: u64,
    /// Maximum size of one request in bytes.
    pub max_payload_size: u64,
}

/// Pagination (RFC 9865 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pagination {
    /// Whether cursors are supported.
    pub cursor: bool,
    /// Whether `startIndex` is supported.
    pub index: bool,
    /// `cursor` or `index`: the method of a request without both parameters.
    pub default_method: Option<String>,
    /// Page size of a request without `count`.
    pub default_page_size: Option<u64>,
    /// Maximum page size.
    pub max_page_size: Option<u64>,
    /// Lifetime of a cursor in seconds.
    pub cursor_timeout: Option<u64>,
}

/// An authentication scheme (RFC 7643 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationScheme {
    /// The type, such as `oauthbearertoken` or `httpbasic`.
    pub kind: String,
    /// A name for readers.
    pub name: String,
    /// A description for readers, in one sentence.
    pub description: String,
    /// The URL of the specification.
    pub spec_uri: Option<String>,
    /// The URL of the documentation.
    pub documentation_uri: Option<String>,
}

impl AuthenticationScheme {
    /// Bearer tokens (RFC 6750).
    pub fn oauth_bearer_token() -> Self {
        AuthenticationScheme {
            kind: "oauthbearertoken".to_owned(),
            name: "OAuth Bearer Token".to_owned(),
            description: "A bearer token in the Authorization header.".to_owned(),
            spec_uri: Some("https://www.rfc-editor.org/info/rfc6750".to_owned()),
            documentation_uri: None,
        }
    }
}

/// Builds an object member by member.
struct Members(Object);

impl Members {
    fn new() -> Self {
        Members(Object::new())
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn with_list<T: Into<Value>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        self.with(name, values)
    }

    fn with_meta(self, resource_type: &str, base_url: &str, path: &str) -> Object {
        let location = format!("{}{path}", base_url.trim_end_matches('/'));
        let meta = Members::new()
            .with("resourceType", resource_type)
            .with("location", location);
        self.with("meta", meta.0).0
    }
}

/// Returns a schema in the form of `/Schemas` (RFC 7643 §7).
pub fn schema(schema: &Schema, base_url: &str) -> Object {
    let mut members = Members::new().with_list("schemas", [SCHEMA_SCHEMA]);
    members.0.extend(definition(schema));
    members.with_meta("Schema", base_url, &format!("/Schemas/{}", schema.id))
}

/// Returns the definition of a schema; see [`Schema::to_definition`].
pub(crate) fn definition(schema: &Schema) -> Object {
    Members::new()
        .with("id", schema.id.as_str())
        .with("name", schema.name.as_str())
        .with("description", schema.description.as_str())
        .with_list("attributes", schema.attributes.iter().map(attribute))
        .0
}

/// Returns an attribute with the characteristics that apply to its type (RFC 7643 §7).
fn attribute(attribute: &Attribute) -> Object {
    let compares_text = matches!(
        attribute.data_type,
        DataType::String | DataType::Reference | DataType::Binary
    );
    let mut members = Members::new()
        .with("name", attribute.name.as_str())
        .with("type", attribute.data_type.as_str());
    if attribute.is_complex() {
        members = members.with_list(
            "subAttributes",
            attribute.sub_attributes.iter().map(self::attribute),
        );
    }
    members = members
        .with("multiValued", attribute.multi_valued)
        .with("description", attribute.description.as_str())
        .with("required", attribute.required);
    if !attribute.canonical_values.is_empty() {
        members = members.with_list(
            "canonicalValues",
            attribute.canonical_values.iter().map(String::as_str),
        );
    }
    if compares_text {
        members = members.with("caseExact", attribute.case_exact);
    }
    members = members
        .with("mutability", attribute.mutability.as_str())
        .with("returned", attribute.returned.as_str())
        .with("uniqueness", attribute.uniqueness.as_str());
    if attribute.data_type == DataType::Reference {
        members = members.with_list(
            "referenceTypes",
            attribute.reference_types.iter().map(String::as_str),
        );
    }
    members.0
}

/// Returns a resource type in the form of `/ResourceTypes` (RFC 7643 §6, D3).
pub fn resource_type(ty: &ResourceType, base_url: &str) -> Object {
    let extensions = ty.extensions.iter().map(|extension| {
        Members::new()
            .with("schema", extension.schema.id.as_str())
            .with("required", extension.required)
            .0
    });
    Members::new()
        .with_list("schemas", [RESOURCE_TYPE_SCHEMA])
        .with("id", ty.name.as_str())
        .with("name", ty.name.as_str())
        .with("endpoint", ty.endpoint.as_str())
        .with("description", ty.description.as_str())
        .with("schema", ty.schema.id.as_str())
        .with_list("schemaExtensions", extensions)
        .with_meta(
            "ResourceType",
            base_url,
            &format!("/ResourceTypes/{}", ty.name),
        )
}

/// Returns the response of `/ServiceProviderConfig` (RFC 7643 §5). All limits are present as
/// integers, even for features that are not supported (D2).
pub fn service_provider_config(capabilities: &Capabilities, base_url: &str) -> Object {
    let supported = |supported: bool| Members::new().with("supported", supported);
    let bulk = capabilities.bulk.unwrap_or(Bulk {
        max_operations: 0,
        max_payload_size: 0,
    });
    let pagination = capabilities.pagination.as_ref().map(|pagination| {
        Members::new()
            .with("cursor", pagination.cursor)
            .with("index", pagination.index)
            .with_some(
                "defaultPaginationMethod",
                pagination.default_method.as_deref(),
            )
            .with_some("defaultPageSize", pagination.default_page_size)
            .with_some("maxPageSize", pagination.max_page_size)
            .with_some("cursorTimeout", pagination.cursor_timeout)
            .0
    });
    let schemes = capabilities.authentication_schemes.iter().enumerate();
    let schemes = schemes.map(|(index, scheme)| {
        Members::new()
            .with("type", scheme.kind.as_str())
            .with("name", scheme.name.as_str())
            .with("description", scheme.description.as_str())
            .with_some("specUri", scheme.spec_uri.as_deref())
            .with_some("documentationUri", scheme.documentation_uri.as_deref())
            .with("primary", index == 0)
            .0
    });
    Members::new()
        .with_list("schemas", [SERVICE_PROVIDER_CONFIG_SCHEMA])
        .with_some(
            "documentationUri",
            capabilities.documentation_uri.as_deref(),
        )
        .with("patch", supported(capabilities.patch).0)
        .with(
            "bulk",
            supported(capabilities.bulk.is_some())
                .with("maxOperations", bulk.max_operations)
                .with("maxPayloadSize", bulk.max_payload_size)
                .0,
        )
        .with(
            "filter",
            supported(capabilities.filter.is_some())
                .with("maxResults", capabilities.filter.unwrap_or(0))
                .0,
        )
        .with("changePassword", supported(capabilities.change_password).0)
        .with("sort", supported(capabilities.sort).0)
        .with("etag", supported(capabilities.etag).0)
        .with_some("pagination", pagination)
        .with_some(
            "interopProfileConformant",
            capabilities.interop_profile_conformant.then_some(true),
        )
        .with_list("authenticationSchemes", schemes)
        .with_meta("ServiceProviderConfig", base_url, "/ServiceProviderConfig")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7643 §5, RFC 7644 §4 (D1); RFC 7643 §5 (D2).
    #[test]
    fn unsupported_features_are_listed_in_the_configuration() {
        let nothing = Capabilities {
            patch: false,
            filter: None,
            sort: false,
            etag: false,
            authentication_schemes: vec![],
            ..Capabilities::default()
        };
        let config = service_provider_config(&nothing, "https://example.com/scim/v2/");
        assert_eq!(
            Value::Object(config),
            json!({
                "schemas": [SERVICE_PROVIDER_CONFIG_SCHEMA],
                "patch": {"supported": false}, "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
                "filter": {"supported": false, "maxResults": 0}, "changePassword": {"supported": false}, "sort": {"supported": false},
                "etag": {"supported": false}, "authenticationSchemes": [],
                "meta": {"resourceType": "ServiceProviderConfig", "location": "https://example.com/scim/v2/ServiceProviderConfig"},
            })
        );
    }

    /// RFC 7643 §6 (D3); RFC 7643 §7 (D4).
    #[test]
    fn discovery_shows_the_types_and_schemas_in_use() {
        let user = ResourceType::user();
        let shown = resource_type(user, "https://example.com");
        assert_eq!(shown["id"], shown["name"]);
        assert_eq!(shown["schema"], user.schema.id.as_str());
        let shown = Value::Object(schema(&user.schema, "https://example.com"));
        let names: Vec<&str> = shown["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|attribute| attribute["name"].as_str())
            .collect();
        let known: Vec<&str> = user
            .schema
            .attributes
            .iter()
            .map(|attribute| attribute.name.as_str())
            .collect();
        assert_eq!(names, known);
        let password = shown["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|attribute| attribute["name"] == "password")
            .unwrap();
        assert_eq!(
            (&password["mutability"], &password["returned"]),
            (&json!("writeOnly"), &json!("never"))
        );
    }
}
