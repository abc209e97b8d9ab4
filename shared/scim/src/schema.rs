//! Schemas, attributes and their characteristics as data (RFC 7643 §2 and §7).
//!
//! Validation, filters, PATCH, projection and discovery read these tables and contain no attribute
//! names of their own. A resource type is a value, so a type with more extensions, or a new type,
//! can be created at run time. The tables of RFC 7643 §4 are in `user.rs` and `group.rs`; the
//! common attributes (§3.1) are in this file.

use std::fmt;
use std::sync::LazyLock;

use serde_json::Value;

use crate::Object;
use crate::quirks;

/// The data type of an attribute (RFC 7643 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// A string (§2.3.1).
    String,
    /// `true` or `false` (§2.3.2).
    Boolean,
    /// A real number (§2.3.3).
    Decimal,
    /// A whole number (§2.3.4).
    Integer,
    /// A date and time (§2.3.5).
    DateTime,
    /// Binary data in base64 (§2.3.6).
    Binary,
    /// A URI (§2.3.7).
    Reference,
    /// An object with sub-attributes (§2.3.8).
    Complex,
}

impl DataType {
    /// Returns the keyword in schemas (RFC 7643 §7).
    pub fn as_str(self) -> &'static str {
        match self {
            DataType::String => "string",
            DataType::Boolean => "boolean",
            DataType::Decimal => "decimal",
            DataType::Integer => "integer",
            DataType::DateTime => "dateTime",
            DataType::Binary => "binary",
            DataType::Reference => "reference",
            DataType::Complex => "complex",
        }
    }
}

/// Who may change an attribute, and when (RFC 7643 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutability {
    /// The service provider only.
    ReadOnly,
    /// The client, at any time.
    ReadWrite,
    /// The client, once.
    Immutable,
    /// The client can write the value but not read it. The crate validates the value and does not
    /// store it.
    WriteOnly,
}

impl Mutability {
    /// Returns the keyword in schemas.
    pub fn as_str(self) -> &'static str {
        match self {
            Mutability::ReadOnly => "readOnly",
            Mutability::ReadWrite => "readWrite",
            Mutability::Immutable => "immutable",
            Mutability::WriteOnly => "writeOnly",
        }
    }
}

/// When an attribute is part of a response (RFC 7643 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Returned {
    /// In every response, even if the client excludes the attribute.
    Always,
    /// In no response. Filters and orders cannot use the attribute.
    Never,
    /// In a response unless the client excludes the attribute or names others.
    Default,
    /// In a response only if the client names the attribute.
    Request,
}

impl Returned {
    /// Returns the keyword in schemas.
    pub fn as_str(self) -> &'static str {
        match self {
            Returned::Always => "always",
            Returned::Never => "never",
            Returned::Default => "default",
            Returned::Request => "request",
        }
    }
}

/// The scope in which a value must be unique (RFC 7643 §7). The caller enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uniqueness {
    /// Not at all.
    None,
    /// Among the resources of one type of the service provider.
    Server,
    /// Globally.
    Global,
}

impl Uniqueness {
    /// Returns the keyword in schemas.
    pub fn as_str(self) -> &'static str {
        match self {
            Uniqueness::None => "none",
            Uniqueness::Server => "server",
            Uniqueness::Global => "global",
        }
    }
}

/// One attribute or sub-attribute and its characteristics (RFC 7643 §7).
///
/// The defaults are those of RFC 7643 §2.2: an optional, single-valued, case-insensitive readWrite
/// string. Each method changes one characteristic.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// The name in canonical spelling; names are case-insensitive.
    pub name: String,
    /// The data type.
    pub data_type: DataType,
    /// Whether the value is a list.
    pub multi_valued: bool,
    /// A description for readers, in one sentence.
    pub description: String,
    /// Whether every resource must have a value.
    pub required: bool,
    /// Suggested values; other values are accepted as well (C19).
    pub canonical_values: Vec<String>,
    /// Whether comparison is case-sensitive.
    pub case_exact: bool,
    /// Who may change the value.
    pub mutability: Mutability,
    /// When the attribute is part of a response.
    pub returned: Returned,
    /// The scope in which a value must be unique.
    pub uniqueness: Uniqueness,
    /// Permitted targets of a reference: resource types, `external` or `uri`.
    pub reference_types: Vec<String>,
    /// The sub-attributes of a complex attribute.
    pub sub_attributes: Vec<Attribute>,
    /// The value for a new resource without one (RFC 7643 §2.2 leaves the choice to the service
    /// provider). Filters treat a missing value as this one. A PUT or PATCH without the attribute
    /// keeps the stored value (U2). A PATCH can remove this value, but it can only replace another
    /// one (X15).
    pub default: Option<Value>,
    /// Whether the attribute is a name by which clients find a resource. Comparison ignores blanks
    /// at the ends (RFC 8265 §3.3); the stored value keeps them.
    pub is_name: bool,
}

impl Attribute {
    /// Creates an attribute with the default characteristics of RFC 7643 §2.2.
    ///
    /// Binary values and references are caseExact by definition (§2.3.6, §2.3.7), although the
    /// listing in §8.7.1 differs for some attributes.
    pub fn new(name: &str, data_type: DataType, description: &str) -> Self {
        Attribute {
            name: name.to_owned(),
            data_type,
            multi_valued: false,
            description: description.to_owned(),
            required: false,
            canonical_values: Vec::new(),
            case_exact: matches!(data_type, DataType::Binary | DataType::Reference),
            mutability: Mutability::ReadWrite,
            returned: Returned::Default,
            uniqueness: Uniqueness::None,
            reference_types: Vec::new(),
            sub_attributes: Vec::new(),
            default: None,
            is_name: false,
        }
    }

    /// Creates an attribute of type string.
    pub fn text(name: &str, description: &str) -> Self {
        Attribute::new(name, DataType::String, description)
    }

    /// Creates a complex attribute.
    pub fn complex(name: &str, description: &str, sub_attributes: Vec<Attribute>) -> Self {
        Attribute {
            sub_attributes,
            ..Attribute::new(name, DataType::Complex, description)
        }
    }

    /// Creates a reference to resources of these types.
    pub fn reference(name: &str, description: &str, types: &[&str]) -> Self {
        Attribute {
            reference_types: types.iter().map(|&word| word.to_owned()).collect(),
            ..Attribute::new(name, DataType::Reference, description)
        }
    }

    /// Makes the attribute multi-valued.
    pub fn multi_valued(mut self) -> Self {
        self.multi_valued = true;
        self
    }

    /// Makes the attribute required.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Makes comparison case-sensitive.
    pub fn case_exact(mut self) -> Self {
        self.case_exact = true;
        self
    }

    /// Sets the suggested values.
    pub fn canonical(mut self, values: &[&str]) -> Self {
        self.canonical_values = values.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Sets the mutability.
    pub fn mutability(mut self, mutability: Mutability) -> Self {
        self.mutability = mutability;
        self
    }

    /// Makes the attribute readOnly.
    pub fn read_only(self) -> Self {
        self.mutability(Mutability::ReadOnly)
    }

    /// Sets when the attribute is part of a response.
    pub fn returned(mut self, returned: Returned) -> Self {
        self.returned = returned;
        self
    }

    /// Sets the scope in which a value must be unique.
    pub fn unique(mut self, uniqueness: Uniqueness) -> Self {
        self.uniqueness = uniqueness;
        self
    }

    /// Marks the attribute as a name ([`Attribute::is_name`]).
    pub fn as_name(mut self) -> Self {
        self.is_name = true;
        self
    }

    /// Sets the default value ([`Attribute::default`]).
    pub fn default_value(mut self, value: Value) -> Self {
        self.default = Some(value);
        self
    }

    /// Returns the sub-attribute with this name, in any case (H6).
    pub fn sub_attribute(&self, name: &str) -> Option<&Attribute> {
        named(&self.sub_attributes, name)
    }

    /// Returns whether each element identifies a resource by the id in its `value`, as the members
    /// of a group do.
    pub(crate) fn identifies_resources(&self) -> bool {
        let is_there = |name| self.sub_attribute(name).is_some();
        self.multi_valued
            && is_there("$ref")
            && self
                .sub_attribute("value")
                .is_some_and(|value| value.mutability == Mutability::Immutable)
    }

    /// Returns whether the data type is complex.
    pub fn is_complex(&self) -> bool {
        self.data_type == DataType::Complex
    }
}

fn named<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes
        .iter()
        .find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// A set of attributes with a URI (RFC 7643 §7).
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// The URI; it is case-insensitive (H7).
    pub id: String,
    /// A name for readers.
    pub name: String,
    /// A description for readers, in one sentence.
    pub description: String,
    /// The attributes, in the order of responses.
    pub attributes: Vec<Attribute>,
}

impl Schema {
    /// Returns the attribute with this name, in any case (H6).
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        named(&self.attributes, name)
    }
}

/// An extension of the base schema of a resource type.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// The schema of the extension.
    pub schema: Schema,
    /// Whether every resource of the type must have it.
    pub required: bool,
}

/// A resource type: its endpoint and its schemas (RFC 7643 §6).
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceType {
    /// The name, which is also the id of the type and the `meta.resourceType` of its resources.
    pub name: String,
    /// The path below the base URL, such as `/Users`.
    pub endpoint: String,
    /// A description for readers, in one sentence.
    pub description: String,
    /// The base schema.
    pub schema: Schema,
    /// The extensions, in the order of responses.
    pub extensions: Vec<Extension>,
    /// How strictly requests are read.
    pub profile: Profile,
    /// The client that sends the requests.
    pub client: Client,
}

/// The client of a directory, if its messages deviate from RFC 7644 in meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// Any other client.
    #[default]
    Other,
    /// Microsoft Entra ID. It sends `replace` with a filter to create an element that does not
    /// exist. RFC 7644 §3.5.2.3 requires 400 `noTarget` for it.
    Entra,
}

/// How strictly a service provider reads requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Deviations of known clients are accepted if they have one meaning.
    #[default]
    Tolerant,
    /// Requests must follow the SCIM interoperability profile (draft-zollner-scim-interop-profile).
    Strict,
}

/// The attributes of every resource (RFC 7643 §3.1), and `schemas` (§3).
static COMMON: LazyLock<Vec<Attribute>> = LazyLock::new(|| {
    let reference = |name, description| Attribute::reference(name, description, &["uri"]);
    vec![
        Attribute {
            // Unlike other references, URIs of schemas are case-insensitive (H7).
            case_exact: false,
            ..reference(
                "schemas",
                "The URIs of the schemas whose attributes are present.",
            )
        }
        .multi_valued()
        .required()
        .read_only()
        .returned(Returned::Always),
        Attribute::text(
            "id",
            "The identifier that the service provider assigned to the resource.",
        )
        .case_exact()
        .required()
        .read_only()
        .returned(Returned::Always)
        .unique(Uniqueness::Server),
        Attribute::text(
            "externalId",
            "The identifier that the client assigned to the resource.",
        )
        .case_exact()
        .as_name(),
        Attribute::complex(
            "meta",
            "Metadata of the resource.",
            vec![
                Attribute::text("resourceType", "The name of the resource type.")
                    .case_exact()
                    .read_only(),
                Attribute::new(
                    "created",
                    DataType::DateTime,
                    "The time at which the resource was created.",
                )
                .read_only(),
                Attribute::new(
                    "lastModified",
                    DataType::DateTime,
                    "The time of the last change of the resource.",
                )
                .read_only(),
                reference("location", "The URL of the resource.").read_only(),
                Attribute::text("version", "The version of the resource, as an entity tag.")
                    .case_exact()
                    .read_only(),
            ],
        )
        .read_only(),
    ]
});

/// Returns the attributes of all resources: `schemas`, `id`, `externalId` and `meta` (RFC 7643 §3
/// and §3.1). No schema lists them.
pub fn common_attributes() -> &'static [Attribute] {
    &COMMON
}

/// What a path without filter refers to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Located<'a> {
    /// The URI of the base schema alone: the resource itself.
    Base,
    /// The URI of an extension alone.
    Extension(&'a Schema),
    /// An attribute or sub-attribute.
    Attribute(Target<'a>),
}

/// An attribute or sub-attribute, with the extension it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) extension: Option<&'a Schema>,
    pub(crate) attribute: &'a Attribute,
    pub(crate) sub: Option<&'a Attribute>,
}

impl<'a> Target<'a> {
    pub(crate) fn path(self) -> AttributePath<'a> {
        AttributePath {
            extension: self.extension.map(|schema| schema.id.as_str()),
            attribute: &self.attribute.name,
            sub: self.sub.map(|sub| sub.name.as_str()),
        }
    }

    /// Returns the value of the attribute in a resource, ignoring the sub-attribute.
    pub(crate) fn attribute_value(self, resource: &Object) -> Option<&Value> {
        match self.extension {
            None => resource.get(&self.attribute.name),
            Some(schema) => resource.get(&schema.id)?.get(&self.attribute.name),
        }
    }

    /// RFC 7644 §3.4.2.2 (F7): returns the sub-attribute `value` of a complex attribute without
    /// sub-attribute, else the target itself. Returns `None` for a complex attribute that has no
    /// `value`.
    pub(crate) fn with_value(self) -> Option<Target<'a>> {
        if self.sub.is_some() || !self.attribute.is_complex() {
            return Some(self);
        }
        let value = self.attribute.sub_attribute("value")?;
        Some(Target {
            sub: Some(value),
            ..self
        })
    }
}

/// The path of an attribute in errors and change lists: `name.familyName`, `urn:…:User:department`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttributePath<'a> {
    pub(crate) extension: Option<&'a str>,
    pub(crate) attribute: &'a str,
    pub(crate) sub: Option<&'a str>,
}

impl<'a> AttributePath<'a> {
    pub(crate) fn sub(self, name: &'a str) -> AttributePath<'a> {
        AttributePath {
            sub: Some(name),
            ..self
        }
    }
}

impl fmt::Display for AttributePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(extension) = self.extension {
            write!(f, "{extension}:")?;
        }
        f.write_str(self.attribute)?;
        match self.sub {
            Some(sub) => write!(f, ".{sub}"),
            None => Ok(()),
        }
    }
}

impl ResourceType {
    /// Returns the type with this profile.
    ///
    /// The interoperability profile requires canonical values for each `type` in a list. A `type`
    /// without canonical values gets `work`, `home` and `other`.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> ResourceType {
        self.profile = profile;
        if profile == Profile::Strict {
            let own = self.extensions.iter_mut().map(|of| &mut of.schema);
            std::iter::once(&mut self.schema)
                .chain(own)
                .flat_map(|schema| &mut schema.attributes)
                .filter(|attribute| attribute.multi_valued)
                .flat_map(|attribute| &mut attribute.sub_attributes)
                .filter(|sub| sub.name == "type" && sub.canonical_values.is_empty())
                .for_each(|sub| {
                    sub.canonical_values = ["work", "home", "other"].map(str::to_owned).to_vec();
                });
        }
        self
    }

    /// Returns the type for requests of this client.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> ResourceType {
        self.client = client;
        self
    }

    /// Returns the extension with this URI, in any case (H7).
    pub fn extension(&self, uri: &str) -> Option<&Schema> {
        self.extensions
            .iter()
            .map(|extension| &extension.schema)
            .find(|schema| schema.id.eq_ignore_ascii_case(uri))
    }

    /// Returns the common attribute or the attribute of the base schema with this name, in any
    /// case.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        named(common_attributes(), name).or_else(|| self.schema.attribute(name))
    }

    /// Returns all attributes outside of extensions, in the order of responses.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        common_attributes().iter().chain(&self.schema.attributes)
    }

    /// Returns the schema with this URI; `Some(None)` is the base schema.
    pub(crate) fn schema_of(&self, uri: &str) -> Option<Option<&Schema>> {
        let uri = match self.profile {
            Profile::Strict => uri,
            Profile::Tolerant => quirks::old_uri(uri, &self.schema.id),
        };
        if uri.eq_ignore_ascii_case(&self.schema.id) {
            Some(None)
        } else {
            self.extension(uri).map(Some)
        }
    }

    /// Resolves `[URI ":"] name ["." sub]` or a URI alone (RFC 7644 §3.10, F6, X8).
    ///
    /// The last colon ends the URI. The dot of a version is before it, so the first dot after it
    /// separates the sub-attribute.
    pub(crate) fn locate(&self, path: &str) -> Option<Located<'_>> {
        let (extension, name) = match path.rsplit_once(':') {
            None => (None, path),
            Some((uri, name)) => match self.schema_of(path) {
                Some(None) => return Some(Located::Base),
                Some(Some(schema)) => return Some(Located::Extension(schema)),
                None => (self.schema_of(uri)?, name),
            },
        };
        let (name, sub) = match name.split_once('.') {
            None => (name, None),
            Some((name, sub)) => (name, Some(sub)),
        };
        let attribute = match extension {
            None => self.attribute(name)?,
            Some(schema) => schema.attribute(name)?,
        };
        let sub = match sub {
            None => None,
            Some(sub) => Some(self.sub_attribute(attribute, sub)?),
        };
        Some(Located::Attribute(Target {
            extension,
            attribute,
            sub,
        }))
    }
}

impl ResourceType {
    /// Returns the sub-attribute with this name, or with its name in SCIM 1.1 (U5).
    pub(crate) fn sub_attribute<'a>(
        &self,
        attribute: &'a Attribute,
        name: &str,
    ) -> Option<&'a Attribute> {
        let name = match self.profile {
            Profile::Strict => name,
            Profile::Tolerant => quirks::old_sub_attribute(attribute, name),
        };
        attribute.sub_attribute(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(path: &str) -> Option<String> {
        ResourceType::user()
            .locate(path)
            .map(|located| match located {
                Located::Base => "base".to_owned(),
                Located::Extension(schema) => format!("extension {}", schema.name),
                Located::Attribute(target) => target.path().to_string(),
            })
    }

    /// RFC 7643 §2.1 (H6); RFC 7644 §3.5.2 (X8).
    #[test]
    fn paths_are_resolved_in_any_case_and_form() {
        const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        let found = |path: &str| located(path).unwrap();
        assert_eq!(found("USERNAME"), "userName");
        assert_eq!(found("name.familyname"), "name.familyName");
        assert_eq!(found("meta.lastModified"), "meta.lastModified");
        assert_eq!(
            found("urn:ietf:params:scim:schemas:core:2.0:User:userName"),
            "userName"
        );
        assert_eq!(
            found("URN:ietf:params:scim:schemas:core:2.0:user:name.givenName"),
            "name.givenName"
        );
        assert_eq!(found("urn:ietf:params:scim:schemas:core:2.0:User"), "base");
        assert_eq!(found(ENTERPRISE), "extension EnterpriseUser");
        assert_eq!(
            found(&ENTERPRISE.to_uppercase()),
            "extension EnterpriseUser"
        );
        assert_eq!(
            found(&format!("{ENTERPRISE}:manager.value")),
            format!("{ENTERPRISE}:manager.value")
        );
        assert_eq!(
            found(&format!("{ENTERPRISE}:MANAGER.$REF")),
            format!("{ENTERPRISE}:manager.$ref")
        );
    }

    #[test]
    fn unknown_paths_are_not_resolved() {
        for path in [
            "",
            "nope",
            "name.nope",
            "name.familyName.x",
            "userName.x",
            "urn:x:userName",
            ":",
            "department",
            "emails.",
            "urn:ietf:params:scim:schemas:core:2.0:User:",
        ] {
            assert_eq!(located(path), None, "{path}");
        }
    }
}
