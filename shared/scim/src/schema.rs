//! What attributes there are and how each behaves (RFC 7643 §2 and §7), as data.
//!
//! Everything else in this crate (validation, filters, PATCH, projection,
//! discovery) reads these tables and knows no attribute of its own. A resource
//! type is therefore a value: one with further extensions, or an entirely new
//! one, can be built at run time. The tables of RFC 7643 §4 stand in `user.rs`
//! and `group.rs`; the attributes every resource has (§3.1) stand here.

use std::fmt;
use std::sync::LazyLock;

use serde_json::Value;

use crate::Object;
use crate::quirks;

/// The data type of an attribute (RFC 7643 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// Text (§2.3.1).
    String,
    /// `true` or `false` (§2.3.2).
    Boolean,
    /// A number (§2.3.3).
    Decimal,
    /// A number without fraction (§2.3.4).
    Integer,
    /// A point in time with its offset (§2.3.5).
    DateTime,
    /// Base64 (§2.3.6).
    Binary,
    /// A URI (§2.3.7).
    Reference,
    /// An object of sub-attributes (§2.3.8).
    Complex,
}

impl DataType {
    /// The word for it in a schema (RFC 7643 §7).
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
    /// The client; nobody can read it. Values pass the checks and are dropped.
    WriteOnly,
}

impl Mutability {
    /// The word for it in a schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Mutability::ReadOnly => "readOnly",
            Mutability::ReadWrite => "readWrite",
            Mutability::Immutable => "immutable",
            Mutability::WriteOnly => "writeOnly",
        }
    }
}

/// When an attribute is part of an answer (RFC 7643 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Returned {
    /// In every answer, also when the client excludes it.
    Always,
    /// In no answer, and in no filter.
    Never,
    /// Unless the client chooses otherwise.
    Default,
    /// When the client names it.
    Request,
}

impl Returned {
    /// The word for it in a schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Returned::Always => "always",
            Returned::Never => "never",
            Returned::Default => "default",
            Returned::Request => "request",
        }
    }
}

/// How widely a value must be unique (RFC 7643 §7). Whoever stores resources enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uniqueness {
    /// Not at all.
    None,
    /// Among the resources of one type.
    Server,
    /// Everywhere.
    Global,
}

impl Uniqueness {
    /// The word for it in a schema.
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
/// Starts as an optional, single-valued, readWrite text that ignores case
/// (RFC 7643 §2.2); the methods change one characteristic each.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Its name as it is written in answers; names are compared without case.
    pub name: String,
    /// Its data type.
    pub kind: DataType,
    /// Whether it holds a list.
    pub multi_valued: bool,
    /// One sentence for people.
    pub description: String,
    /// Whether a resource must have it.
    pub required: bool,
    /// Suggested values; others are accepted too (C19).
    pub canonical_values: Vec<String>,
    /// Whether case counts when values are compared.
    pub case_exact: bool,
    /// Who may change it.
    pub mutability: Mutability,
    /// When it is part of an answer.
    pub returned: Returned,
    /// How widely it must be unique.
    pub uniqueness: Uniqueness,
    /// What a reference may point at: resource types, `external`, `uri`.
    pub reference_types: Vec<String>,
    /// The parts of a complex attribute.
    pub sub_attributes: Vec<Attribute>,
    /// The value it gets when a created resource comes without (RFC 7643 §2.2
    /// lets a service provider choose), and that counts while it has none. A
    /// replacement or PATCH that leaves it out keeps the stored value: whoever
    /// forgets it must not change it (U2). It can be removed while it has this
    /// value, and else only be replaced (X15).
    pub default: Option<Value>,
    /// Whether it is a name by which a resource is found. Blanks at the ends of a
    /// name are kept, and left out when it is compared (RFC 8265 §3.3).
    pub is_name: bool,
}

impl Attribute {
    /// An attribute with the default characteristics of RFC 7643 §2.2.
    ///
    /// Binary values and references are caseExact by their definition
    /// (§2.3.6, §2.3.7), whatever the listing in §8.7.1 says of some of them.
    pub fn new(name: &str, kind: DataType, description: &str) -> Self {
        Attribute {
            name: name.to_owned(),
            kind,
            multi_valued: false,
            description: description.to_owned(),
            required: false,
            canonical_values: Vec::new(),
            case_exact: matches!(kind, DataType::Binary | DataType::Reference),
            mutability: Mutability::ReadWrite,
            returned: Returned::Default,
            uniqueness: Uniqueness::None,
            reference_types: Vec::new(),
            sub_attributes: Vec::new(),
            default: None,
            is_name: false,
        }
    }

    /// A text attribute.
    pub fn text(name: &str, description: &str) -> Self {
        Attribute::new(name, DataType::String, description)
    }

    /// A complex attribute.
    pub fn complex(name: &str, description: &str, sub_attributes: Vec<Attribute>) -> Self {
        Attribute {
            sub_attributes,
            ..Attribute::new(name, DataType::Complex, description)
        }
    }

    /// A reference to resources of these types.
    pub fn reference(name: &str, description: &str, types: &[&str]) -> Self {
        Attribute {
            reference_types: types.iter().map(|&word| word.to_owned()).collect(),
            ..Attribute::new(name, DataType::Reference, description)
        }
    }

    /// Holds a list.
    pub fn multi_valued(mut self) -> Self {
        self.multi_valued = true;
        self
    }

    /// Must be there.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Compared with case.
    pub fn case_exact(mut self) -> Self {
        self.case_exact = true;
        self
    }

    /// Suggests values.
    pub fn canonical(mut self, values: &[&str]) -> Self {
        self.canonical_values = values.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Sets who may change it.
    pub fn mutability(mut self, mutability: Mutability) -> Self {
        self.mutability = mutability;
        self
    }

    /// Can be read, never written.
    pub fn read_only(self) -> Self {
        self.mutability(Mutability::ReadOnly)
    }

    /// Sets when it is part of an answer.
    pub fn returned(mut self, returned: Returned) -> Self {
        self.returned = returned;
        self
    }

    /// Sets how widely it must be unique.
    pub fn unique(mut self, uniqueness: Uniqueness) -> Self {
        self.uniqueness = uniqueness;
        self
    }

    /// Is a name by which a resource is found.
    pub fn as_name(mut self) -> Self {
        self.is_name = true;
        self
    }

    /// Sets the value of a resource created without one.
    pub fn default_value(mut self, value: Value) -> Self {
        self.default = Some(value);
        self
    }

    /// The sub-attribute of this name, in any case (H6).
    pub fn sub_attribute(&self, name: &str) -> Option<&Attribute> {
        named(&self.sub_attributes, name)
    }

    /// Whether each element stands for the resource whose id is its `value`, as the members of a group do.
    pub(crate) fn names_resources(&self) -> bool {
        let is_there = |name| self.sub_attribute(name).is_some();
        self.multi_valued
            && is_there("$ref")
            && self
                .sub_attribute("value")
                .is_some_and(|value| value.mutability == Mutability::Immutable)
    }

    /// Whether values are objects.
    pub fn is_complex(&self) -> bool {
        self.kind == DataType::Complex
    }
}

fn named<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes
        .iter()
        .find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// A set of attributes under one URI (RFC 7643 §7).
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// The URI; compared without case (H7).
    pub id: String,
    /// A name for people.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// The attributes, in the order in which answers show them.
    pub attributes: Vec<Attribute>,
}

impl Schema {
    /// The attribute of this name, in any case (H6).
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        named(&self.attributes, name)
    }
}

/// A schema that may stand beside the base schema of a resource type.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// What it adds.
    pub schema: Schema,
    /// Whether every resource of the type must have it.
    pub required: bool,
}

/// A kind of resource: its endpoint and its schemas (RFC 7643 §6).
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceType {
    /// The name; also its id and the `meta.resourceType` of its resources.
    pub name: String,
    /// The path below the base URL, as in `/Users`.
    pub endpoint: String,
    /// One sentence for people.
    pub description: String,
    /// The base schema.
    pub schema: Schema,
    /// The extensions, in the order in which answers show them.
    pub extensions: Vec<Extension>,
    /// How narrowly requests are read.
    pub profile: Profile,
    /// Which client sends them.
    pub client: Client,
}

/// A client whose messages mean something else than RFC 7644 says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// Any other one.
    #[default]
    Other,
    /// Microsoft Entra ID. It sends `replace` with a filter also for an element that does not exist yet, and means that
    /// it is created; RFC 7644 §3.5.2.3 has 400 `noTarget`.
    Entra,
}

/// How a service provider reads what the RFCs leave open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// What known clients send is understood wherever it has one meaning.
    #[default]
    Tolerant,
    /// As the SCIM interoperability profile narrows it (draft-zollner-scim-interop-profile).
    Strict,
}

/// The attributes of every resource (RFC 7643 §3.1), and `schemas` (§3).
static COMMON: LazyLock<Vec<Attribute>> = LazyLock::new(|| {
    let reference = |name, description| Attribute::reference(name, description, &["uri"]);
    vec![
        Attribute {
            // Unlike other references: URIs of schemas have no case (H7).
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
            "The identifier the service provider gave this resource.",
        )
        .case_exact()
        .required()
        .read_only()
        .returned(Returned::Always)
        .unique(Uniqueness::Server),
        Attribute::text(
            "externalId",
            "The identifier the client has for this resource.",
        )
        .case_exact()
        .as_name(),
        Attribute::complex(
            "meta",
            "What the service provider knows of this resource.",
            vec![
                Attribute::text("resourceType", "The name of the resource type.")
                    .case_exact()
                    .read_only(),
                Attribute::new("created", DataType::DateTime, "When it was created.").read_only(),
                Attribute::new("lastModified", DataType::DateTime, "When it last changed.")
                    .read_only(),
                reference("location", "Where it can be read.").read_only(),
                Attribute::text("version", "Its version, as an entity tag.")
                    .case_exact()
                    .read_only(),
            ],
        )
        .read_only(),
    ]
});

/// The attributes that every resource has, whatever its type: `schemas`, `id`,
/// `externalId` and `meta` (RFC 7643 §3 and §3.1). No schema lists them.
pub fn common_attributes() -> &'static [Attribute] {
    &COMMON
}

/// What a path without filter names within a resource type.
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
    pub(crate) fn place(self) -> AttributePath<'a> {
        AttributePath {
            extension: self.extension.map(|schema| schema.id.as_str()),
            attribute: &self.attribute.name,
            sub: self.sub.map(|sub| sub.name.as_str()),
        }
    }

    /// The value of the attribute in a resource, without regard to the sub-attribute.
    pub(crate) fn attribute_value(self, resource: &Object) -> Option<&Value> {
        match self.extension {
            None => resource.get(&self.attribute.name),
            Some(schema) => resource.get(&schema.id)?.get(&self.attribute.name),
        }
    }

    /// The sub-attribute `value` for a complex attribute without sub-attribute (F7), else the target itself. `None` for
    /// a complex attribute that has no `value`.
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

/// How errors and change lists name an attribute: `name.familyName`,
/// `urn:…:User:department`.
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
    /// The type, read as `profile` has it.
    ///
    /// The interoperability profile wants each `type` in a list to suggest its
    /// values, as clients use no others. One that has none gets the usual ones.
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

    /// The type, for requests of this client.
    #[must_use]
    pub fn with_client(mut self, client: Client) -> ResourceType {
        self.client = client;
        self
    }

    /// The extension with this URI, in any case (H7).
    pub fn extension(&self, uri: &str) -> Option<&Schema> {
        self.extensions
            .iter()
            .map(|extension| &extension.schema)
            .find(|schema| schema.id.eq_ignore_ascii_case(uri))
    }

    /// The attribute of the base schema, or the common attribute, of this name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        named(common_attributes(), name).or_else(|| self.schema.attribute(name))
    }

    /// Every attribute outside the extensions, in the order in which answers show them.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        common_attributes().iter().chain(&self.schema.attributes)
    }

    /// The schema that a URI stands for: `Some(None)` is the base schema.
    pub(crate) fn schema_of(&self, uri: &str) -> Option<Option<&Schema>> {
        let uri = match self.profile {
            Profile::Strict => uri,
            Profile::Tolerant => quirks::old_uri(uri, &self.schema.id),
        };
        match uri.eq_ignore_ascii_case(&self.schema.id) {
            true => Some(None),
            false => self.extension(uri).map(Some),
        }
    }

    /// Resolves `[URI ":"] name ["." sub]` or a URI alone (RFC 7644 §3.10, F6, X8).
    ///
    /// The last colon ends the URI. The dot of a version stands before it, so
    /// the first dot after it separates the sub-attribute.
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
    /// The sub-attribute of this name, or of the name that it had in SCIM 1.1 (U5).
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
                Located::Attribute(target) => target.place().to_string(),
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
