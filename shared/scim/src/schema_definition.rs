//! Schema definitions in JSON (RFC 7643 §7) and the rules for schema extensions.
//!
//! [`Schema::parse`] is the inverse of [`Schema::to_definition`], so a schema from `/Schemas` of
//! one service provider can be registered with another one. [`Schema::parse`] checks the form of a
//! definition. [`ResourceType::extend`] refuses characteristics that this crate does not enforce.

use serde_json::Value;

use crate::Object;
use crate::discovery::definition;
use crate::error::{Error, describe, quote};
use crate::schema::{
    Attribute, DataType, Extension, Mutability, ResourceType, Returned, Schema, Uniqueness,
};
use crate::user::ENTERPRISE_USER_SCHEMA;
use crate::validate::take;
use crate::value::is_unassigned;

/// Maximum number of attributes and sub-attributes of an extension.
pub const MAX_EXTENSION_ATTRIBUTES: usize = 200;

/// Maximum length of a name in bytes. The maximum length of a URI is twice as high.
const MAX_NAME_BYTES: usize = 100;

/// The sub-attributes with a meaning in RFC 7643 §2.4. The crate depends on their spelling.
const USUAL_SUB_ATTRIBUTES: [&str; 5] = ["type", "primary", "display", "value", "$ref"];

impl Schema {
    /// Reads a schema in the form in which /Schemas shows it (RFC 7643 §7).
    ///
    /// Missing characteristics have the defaults of §2.2, and the default of `type` is `string`.
    /// `schemas` and `meta` are ignored. Any other member that is not in §7 is refused, because it
    /// is probably misspelt. Binary values and references are case-sensitive regardless of
    /// `caseExact` (§2.3.6, §2.3.7).
    ///
    /// ```
    /// use scim::{DataType, Schema};
    ///
    /// let definition = scim::json::parse(br#"{
    ///     "id": "urn:example:params:scim:schemas:acme:2.0:User",
    ///     "name": "Acme",
    ///     "attributes": [{"name": "badge", "type": "integer", "required": true}]
    /// }"#)?;
    /// let schema = Schema::parse(definition)?;
    /// assert_eq!(schema.attributes[0].data_type, DataType::Integer);
    /// assert_eq!(Schema::parse(schema.to_definition())?, schema);
    ///
    /// let wrong = scim::json::parse(br#"{"id": "urn:x:y", "attributes": [{"name": "badge", "type": "number"}]}"#)?;
    /// let error = Schema::parse(wrong).unwrap_err();
    /// assert!(error.detail().starts_with("attributes[0].type: expected string, boolean, "));
    /// # Ok::<(), scim::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` with the path of the invalid member.
    pub fn parse(definition: Object) -> Result<Schema, Error> {
        const MEMBERS: &[&str] = &["schemas", "id", "name", "description", "attributes", "meta"];
        let mut definition = Definition::new(String::new(), Value::Object(definition), MEMBERS)?;
        let id = definition.required_text("id")?;
        Ok(Schema {
            name: definition.text("name")?.unwrap_or_else(|| id.clone()),
            description: definition.text("description")?.unwrap_or_default(),
            attributes: definition.attributes("attributes", Level::Attribute)?,
            id,
        })
    }

    /// Returns the schema in the form of RFC 7643 §7, without `schemas` and `meta`.
    pub fn to_definition(&self) -> Object {
        definition(self)
    }
}

/// RFC 7643 §2.3.8 (C20): attributes can have sub-attributes, and sub-attributes cannot.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Attribute,
    SubAttribute,
}

/// A JSON object that is read member by member, with its path.
struct Definition {
    at: String,
    members: Object,
}

impl Definition {
    fn new(at: String, value: Value, known: &[&str]) -> Result<Definition, Error> {
        let members = match value {
            Value::Object(members) => members,
            value => {
                return Err(Error::invalid_value(
                    at,
                    format_args!("expected an object, got {}", describe(&value)),
                ));
            }
        };
        let definition = Definition { at, members };
        let unknown = |name: &&String| !known.iter().any(|known| known.eq_ignore_ascii_case(name));
        match definition.members.keys().find(unknown) {
            None => Ok(definition),
            Some(name) => Err(definition.wrong(
                &name.chars().take(MAX_NAME_BYTES).collect::<String>(),
                format_args!(
                    "is not a known member; the known members are {}",
                    known.join(", ")
                ),
            )),
        }
    }

    /// Returns the path of a member.
    fn path(&self, name: &str) -> String {
        match self.at.as_str() {
            "" => name.to_owned(),
            at => format!("{at}.{name}"),
        }
    }

    fn wrong(&self, name: &str, what: impl std::fmt::Display) -> Error {
        Error::invalid_value(self.path(name), what)
    }

    fn unexpected(&self, name: &str, expected: &str, value: &Value) -> Error {
        self.wrong(
            name,
            format_args!("expected {expected}, got {}", describe(value)),
        )
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        take(&mut self.members, name).filter(|value| !is_unassigned(value))
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.unexpected(name, "a string", &value)),
        }
    }

    fn required_text(&mut self, name: &str) -> Result<String, Error> {
        self.text(name)?
            .ok_or_else(|| self.wrong(name, "is required"))
    }

    /// Reads a Boolean. The default is false, as for all Booleans of §2.2.
    fn boolean(&mut self, name: &str) -> Result<bool, Error> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(value) => Err(self.unexpected(name, "true or false", &value)),
        }
    }

    fn list(&mut self, name: &str) -> Result<Vec<Value>, Error> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(value) => Err(self.unexpected(name, "a list", &value)),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, Error> {
        let mut texts = Vec::new();
        for (index, value) in self.list(name)?.into_iter().enumerate() {
            match value {
                Value::String(text) => texts.push(text),
                value => {
                    return Err(self.unexpected(&format!("{name}[{index}]"), "a string", &value));
                }
            }
        }
        Ok(texts)
    }

    /// Reads a keyword.
    fn word<T: Copy>(
        &mut self,
        name: &str,
        all: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Result<Option<T>, Error> {
        let Some(word) = self.text(name)? else {
            return Ok(None);
        };
        let found = all
            .iter()
            .find(|known| as_str(**known).eq_ignore_ascii_case(&word));
        match found {
            Some(found) => Ok(Some(*found)),
            None => {
                let words: Vec<&str> = all.iter().map(|known| as_str(*known)).collect();
                Err(self.wrong(
                    name,
                    format_args!("expected {}, got {}", words.join(", "), quote(&word)),
                ))
            }
        }
    }

    fn attributes(&mut self, name: &str, level: Level) -> Result<Vec<Attribute>, Error> {
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut names = std::collections::HashSet::new();
        for (index, value) in self.list(name)?.into_iter().enumerate() {
            let at = self.path(&format!("{name}[{index}]"));
            let attribute = attribute(at.clone(), value, level)?;
            if !names.insert(attribute.name.to_ascii_lowercase()) {
                return Err(Error::invalid_value(
                    format_args!("{at}.name"),
                    format_args!(
                        "{} appears twice (names are case-insensitive)",
                        quote(&attribute.name)
                    ),
                ));
            }
            attributes.push(attribute);
        }
        if attributes.is_empty() {
            Err(self.wrong(name, "is required"))
        } else {
            Ok(attributes)
        }
    }
}

fn attribute(at: String, value: Value, level: Level) -> Result<Attribute, Error> {
    use DataType::{Binary, Boolean, Complex, DateTime, Decimal, Integer, Reference, String};
    const MEMBERS: &[&str] = &[
        "name",
        "type",
        "subAttributes",
        "multiValued",
        "description",
        "required",
        "canonicalValues",
        "caseExact",
        "mutability",
        "returned",
        "uniqueness",
        "referenceTypes",
    ];
    let mut definition = Definition::new(at, value, MEMBERS)?;
    let name = definition.required_text("name")?;
    if !is_name(&name) {
        return Err(definition.wrong(
            "name",
            format_args!(
                "{} is not a name; a name begins with a letter and has at most {MAX_NAME_BYTES} letters, digits, -, _ and $ (RFC 7643 §2.1)",
                quote(&name)
            ),
        ));
    }
    let kinds = [
        String, Boolean, Decimal, Integer, DateTime, Binary, Reference, Complex,
    ];
    let kind = definition.word("type", &kinds, DataType::as_str)?;
    let kind = kind.unwrap_or(String);
    let description = definition.text("description")?.unwrap_or_default();
    let mut attribute = Attribute::new(&name, kind, &description);
    attribute.multi_valued = definition.boolean("multiValued")?;
    attribute.required = definition.boolean("required")?;
    attribute.canonical_values = definition.texts("canonicalValues")?;
    attribute.case_exact |= definition.boolean("caseExact")?;
    let mutabilities = [
        Mutability::ReadOnly,
        Mutability::ReadWrite,
        Mutability::Immutable,
        Mutability::WriteOnly,
    ];
    if let Some(word) = definition.word("mutability", &mutabilities, Mutability::as_str)? {
        attribute.mutability = word;
    }
    // RFC 7643 §7: a writeOnly value is not stored, so it cannot be returned.
    if attribute.mutability == Mutability::WriteOnly {
        attribute.returned = Returned::Never;
    }
    let returneds = [
        Returned::Always,
        Returned::Never,
        Returned::Default,
        Returned::Request,
    ];
    if let Some(word) = definition.word("returned", &returneds, Returned::as_str)? {
        attribute.returned = word;
    }
    let uniquenesses = [Uniqueness::None, Uniqueness::Server, Uniqueness::Global];
    if let Some(word) = definition.word("uniqueness", &uniquenesses, Uniqueness::as_str)? {
        attribute.uniqueness = word;
    }
    attribute.reference_types = definition.texts("referenceTypes")?;
    if kind != Reference && !attribute.reference_types.is_empty() {
        return Err(definition.wrong(
            "referenceTypes",
            "only an attribute of type reference can have them",
        ));
    }
    match (kind, level) {
        (Complex, Level::Attribute) => {
            attribute.sub_attributes =
                definition.attributes("subAttributes", Level::SubAttribute)?;
        }
        (Complex, Level::SubAttribute) => {
            return Err(definition.wrong(
                "type",
                "a sub-attribute cannot be complex (RFC 7643 §2.3.8)",
            ));
        }
        _ if !definition.list("subAttributes")?.is_empty() => {
            return Err(definition.wrong(
                "subAttributes",
                "only an attribute of type complex can have them",
            ));
        }
        _ => {}
    }
    Ok(attribute)
}

/// RFC 7643 §2.1: returns whether the text is a name. `$ref` is accepted, because the RFC uses it.
fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_$".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    name.len() <= MAX_NAME_BYTES && name.chars().all(is_part) && (begins || name == "$ref")
}

impl ResourceType {
    /// Returns the type with a custom schema extension.
    ///
    /// ```
    /// use scim::{Extension, Filter, ResourceType, Schema, ComparisonBudget};
    ///
    /// let definition = scim::json::parse(br#"{
    ///     "id": "urn:example:acme:2.0:User",
    ///     "attributes": [{"name": "badge", "type": "integer"}]
    /// }"#)?;
    /// let schema = Schema::parse(definition)?;
    /// let user = ResourceType::user().clone().extend(Extension { schema, required: false })?;
    ///
    /// let body = scim::json::parse(br#"{"userName": "ann", "urn:example:acme:2.0:User": {"badge": "7"}}"#)?;
    /// let ann = user.read(body, None)?;
    /// assert_eq!(ann.get("urn:example:acme:2.0:User:badge").unwrap(), 7);
    /// let filter = Filter::parse("urn:example:acme:2.0:User:badge gt 5")?;
    /// assert_eq!(filter.resolve(&user)?.matches(ann.as_object(), &ComparisonBudget::new(1_000)), Ok(true));
    /// # Ok::<(), scim::Error>(())
    /// ```
    ///
    /// | refused | because |
    /// |---|---|
    /// | a URI other than a `urn:` with letters, digits, `-`, `.`, `_`, `~` and `:` | it is part of paths, filters and URLs |
    /// | a URI of RFC 7643 or RFC 7644, a URI of the type, and a URI that is a prefix of another one of the type, followed by a colon, or begins with it | a path must be unambiguous |
    /// | `readOnly` | no client could set the value |
    /// | `returned: never` without `writeOnly`, and the reverse | no client could read the value; writeOnly values are not stored |
    /// | `required` with `writeOnly` | the value is not stored, so it would be missing |
    /// | `uniqueness` other than `none` | it would not be enforced |
    /// | a list within a list | no filter or path can name its elements |
    /// | `primary`, `type`, `value`, `display`, `$ref` in another spelling, a `primary` that is not Boolean | RFC 7643 §2.4 defines them |
    /// | more than [`MAX_EXTENSION_ATTRIBUTES`] attributes | |
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` with the path of the invalid member in the definition.
    pub fn extend(mut self, extension: Extension) -> Result<ResourceType, Error> {
        let schema = &extension.schema;
        self.check_uri(&schema.id)?;
        let subs = schema.attributes.iter().map(|of| of.sub_attributes.len());
        let attributes = schema.attributes.len() + subs.sum::<usize>();
        if attributes > MAX_EXTENSION_ATTRIBUTES {
            return Err(Error::invalid_value(
                "attributes",
                format_args!(
                    "the schema has {attributes} attributes and sub-attributes; at most {MAX_EXTENSION_ATTRIBUTES} are accepted"
                ),
            ));
        }
        for (index, attribute) in schema.attributes.iter().enumerate() {
            let at = format!("attributes[{index}]");
            check_characteristics(attribute, &at)?;
            for (index, sub) in attribute.sub_attributes.iter().enumerate() {
                let at = format!("{at}.subAttributes[{index}]");
                check_characteristics(sub, &at)?;
                check_sub_attribute(sub, &at)?;
            }
        }
        self.extensions.push(extension);
        Ok(self)
    }

    fn check_uri(&self, uri: &str) -> Result<(), Error> {
        let wrong = |what: &str| {
            Err(Error::invalid_value(
                "id",
                format_args!("{} {what}", quote(uri)),
            ))
        };
        let lower = uri.to_ascii_lowercase();
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~:".contains(c);
        let parts: Vec<&str> = uri.split(':').collect();
        if !lower.starts_with("urn:")
            || parts.len() < 3
            || parts.iter().any(|part| part.is_empty())
            || !uri.chars().all(is_part)
            || uri.len() > 2 * MAX_NAME_BYTES
        {
            return wrong(
                "is not accepted; use a URI such as urn:example:acme:2.0:User, with letters, digits, -, ., _, ~ and colons only",
            );
        }
        let ietf = [
            "urn:ietf:params:scim:api:",
            "urn:ietf:params:scim:schemas:core:",
        ];
        if ietf.iter().any(|ietf| lower.starts_with(ietf))
            || lower == ENTERPRISE_USER_SCHEMA.to_ascii_lowercase()
        {
            return wrong("is reserved by RFC 7643 or RFC 7644");
        }
        let own = self.extensions.iter().map(|of| &of.schema.id);
        for other in std::iter::once(&self.schema.id).chain(own) {
            let other = other.to_ascii_lowercase();
            if other == lower {
                return wrong("is already in use");
            }
            let continues = |long: &str, short: &str| {
                long.strip_prefix(short)
                    .is_some_and(|rest| rest.starts_with(':'))
            };
            if continues(&lower, &other) || continues(&other, &lower) {
                return wrong(&format!(
                    "cannot be used with {other}, because a path that begins with both would be ambiguous"
                ));
            }
        }
        Ok(())
    }
}

fn check_characteristics(attribute: &Attribute, at: &str) -> Result<(), Error> {
    let wrong = |name: &str, what: &str| {
        Err(Error::invalid_value(
            format_args!("{at}.{name}"),
            format_args!("{what} ({})", attribute.name),
        ))
    };
    let never = attribute.returned == Returned::Never;
    match attribute.mutability {
        Mutability::ReadOnly => wrong(
            "mutability",
            "cannot be readOnly, because no client could set it",
        ),
        Mutability::WriteOnly if !never => wrong(
            "returned",
            "must be never if mutability is writeOnly, because values are validated and not stored",
        ),
        Mutability::WriteOnly if attribute.required => wrong(
            "required",
            "cannot be true if mutability is writeOnly, because values are validated and not stored",
        ),
        Mutability::ReadWrite | Mutability::Immutable if never => wrong(
            "returned",
            "can be never only if mutability is writeOnly, because no client could read it",
        ),
        _ if attribute.uniqueness != Uniqueness::None => wrong(
            "uniqueness",
            "must be none, because uniqueness of extension attributes is not enforced",
        ),
        _ => Ok(()),
    }
}

fn check_sub_attribute(sub: &Attribute, at: &str) -> Result<(), Error> {
    let wrong =
        |name: &str, what: &str| Err(Error::invalid_value(format_args!("{at}.{name}"), what));
    let usual = USUAL_SUB_ATTRIBUTES
        .iter()
        .find(|usual| usual.eq_ignore_ascii_case(&sub.name));
    match usual {
        _ if sub.multi_valued => wrong(
            "multiValued",
            "must be false, because no path can name an element of a list within a list",
        ),
        Some(usual) if **usual != sub.name => wrong(
            "name",
            &format!("{} must be spelled {usual}", quote(&sub.name)),
        ),
        Some(&"primary") if sub.data_type != DataType::Boolean => wrong(
            "type",
            "must be boolean, the type of primary in RFC 7643 §2.4",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ScimType;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn parse(attributes: Value) -> Result<Schema, Error> {
        Schema::parse(object(
            json!({"id": "urn:acme:User", "attributes": attributes}),
        ))
    }

    fn extend(schema: Schema) -> Result<ResourceType, Error> {
        let required = false;
        ResourceType::user()
            .clone()
            .extend(Extension { schema, required })
    }

    #[track_caller]
    fn refused<T>(result: Result<T, Error>, detail: &str) {
        let error = result.err().unwrap_or_else(|| panic!("taken: {detail}"));
        assert_eq!(error.scim_type(), Some(ScimType::InvalidValue));
        assert!(error.detail().starts_with(detail), "{}", error.detail());
    }

    /// RFC 7643 §7 (D4); RFC 7643 §3.3, §6 (D7).
    #[test]
    fn displayed_schemas_parse_to_the_same_schema() {
        let (user, group) = (ResourceType::user(), ResourceType::group());
        let extensions = user.extensions.iter().map(|extension| &extension.schema);
        for schema in [&user.schema, &group.schema].into_iter().chain(extensions) {
            let shown = crate::discovery::schema(schema, "https://example.com");
            let mut read = Schema::parse(shown).unwrap();
            for (read, attribute) in read.attributes.iter_mut().zip(&schema.attributes) {
                // `default` and `is_name` are not part of the definition.
                read.default.clone_from(&attribute.default);
                read.is_name = attribute.is_name;
            }
            assert_eq!(&read, schema);
        }
    }

    #[test]
    fn omitted_characteristics_have_the_defaults_of_rfc_7643() {
        let schema = parse(
            json!([{"NAME": "badge"}, {"name": "photo", "type": "BINARY", "caseExact": false}]),
        )
        .unwrap();
        assert_eq!(schema.name, "urn:acme:User");
        assert_eq!(schema.attributes[0], Attribute::text("badge", ""));
        assert!(schema.attributes[1].case_exact);
        let pin = parse(json!([{"name": "pin", "mutability": "writeOnly"}])).unwrap();
        assert_eq!(pin.attributes[0].returned, Returned::Never);
    }

    #[test]
    fn every_characteristic_is_read() {
        let level = json!({"name": "level", "type": "integer", "multiValued": false, "description": "d", "required": true,
            "mutability": "immutable", "returned": "request", "uniqueness": "none"});
        let badges = json!([{"name": "badges", "type": "complex", "multiValued": true, "subAttributes": [level,
            {"name": "site", "type": "string", "canonicalValues": ["a", "b"], "caseExact": true},
            {"name": "door", "type": "reference", "referenceTypes": ["external"]}]}]);
        let schema = parse(badges).unwrap();
        let [badges] = schema.attributes.as_slice() else {
            panic!("{schema:?}")
        };
        assert!(badges.multi_valued && badges.is_complex());
        assert_eq!(
            badges.sub_attributes,
            [
                Attribute::new("level", DataType::Integer, "d")
                    .required()
                    .mutability(Mutability::Immutable)
                    .returned(Returned::Request),
                Attribute::text("site", "")
                    .canonical(&["a", "b"])
                    .case_exact(),
                Attribute::reference("door", "", &["external"]),
            ]
        );
    }

    /// RFC 7643 §2.3.8 (C20).
    #[test]
    fn errors_in_a_schema_name_path_and_reason() {
        for (attributes, detail) in [
            (json!([]), "attributes: is required"),
            (json!({}), "attributes: expected a list, got an object"),
            (
                json!([7]),
                "attributes[0]: expected an object, got the number 7",
            ),
            (json!([{}]), "attributes[0].name: is required"),
            (
                json!([{"name": "a b"}]),
                "attributes[0].name: \"a b\" is not a name",
            ),
            (
                json!([{"name": "1a"}]),
                "attributes[0].name: \"1a\" is not a name",
            ),
            (
                json!([{"name": "x".repeat(101)}]),
                "attributes[0].name: \"xxx",
            ),
            (
                json!([{"name": "a"}, {"name": "A"}]),
                "attributes[1].name: \"A\" appears twice",
            ),
            (
                json!([{"name": "a", "type": "number"}]),
                "attributes[0].type: expected string, boolean, decimal, integer, dateTime, binary, reference, complex, got \"number\"",
            ),
            (
                json!([{"name": "a", "mutabillity": "immutable"}]),
                "attributes[0].mutabillity: is not a known member",
            ),
            (
                json!([{"name": "a", "multiValued": "true"}]),
                "attributes[0].multiValued: expected true or false, got the string \"true\"",
            ),
            (
                json!([{"name": "a", "mutability": "constant"}]),
                "attributes[0].mutability: expected readOnly, ",
            ),
            (
                json!([{"name": "a", "returned": "often"}]),
                "attributes[0].returned: expected always, ",
            ),
            (
                json!([{"name": "a", "uniqueness": "some"}]),
                "attributes[0].uniqueness: expected none, ",
            ),
            (
                json!([{"name": "a", "canonicalValues": ["x", 7]}]),
                "attributes[0].canonicalValues[1]: expected a string, got the number 7",
            ),
            (
                json!([{"name": "a", "referenceTypes": ["User"]}]),
                "attributes[0].referenceTypes: only an attribute of type reference can have them",
            ),
            (
                json!([{"name": "a", "subAttributes": [{"name": "b"}]}]),
                "attributes[0].subAttributes: only an attribute of type complex can have them",
            ),
            (
                json!([{"name": "a", "type": "complex"}]),
                "attributes[0].subAttributes: is required",
            ),
            (
                json!([{"name": "a", "type": "complex", "subAttributes": [{"name": "b"}, {"name": "c", "type": "complex", "subAttributes": [{"name": "d"}]}]}]),
                "attributes[0].subAttributes[1].type: a sub-attribute cannot be complex",
            ),
        ] {
            refused(parse(attributes), detail);
        }
        refused(Schema::parse(Object::new()), "id: is required");
        refused(
            Schema::parse(object(json!({"id": "urn:a:b", "title": "x"}))),
            "title: is not a known member",
        );
    }

    #[test]
    fn unsupported_extensions_are_refused() {
        let sub = |sub: Value| json!([{"name": "a"}, {"name": "b", "type": "complex", "multiValued": true, "subAttributes": [{"name": "c"}, sub]}]);
        for (attributes, detail) in [
            (
                json!([{"name": "a", "mutability": "readOnly"}]),
                "attributes[0].mutability: cannot be readOnly, because no client could set it (a)",
            ),
            (
                json!([{"name": "a", "returned": "never"}]),
                "attributes[0].returned: can be never only if",
            ),
            (
                json!([{"name": "a", "mutability": "writeOnly", "returned": "request"}]),
                "attributes[0].returned: must be never",
            ),
            (
                json!([{"name": "a", "mutability": "writeOnly", "required": true}]),
                "attributes[0].required: cannot be true",
            ),
            (
                json!([{"name": "a", "uniqueness": "server"}]),
                "attributes[0].uniqueness: must be none",
            ),
            (
                sub(json!({"name": "d", "uniqueness": "global"})),
                "attributes[1].subAttributes[1].uniqueness: must be none",
            ),
            (
                sub(json!({"name": "d", "multiValued": true})),
                "attributes[1].subAttributes[1].multiValued: must be false",
            ),
            (
                sub(json!({"name": "Value"})),
                "attributes[1].subAttributes[1].name: \"Value\" must be spelled value",
            ),
            (
                sub(json!({"name": "primary"})),
                "attributes[1].subAttributes[1].type: must be boolean",
            ),
            (
                json!(
                    (0..201)
                        .map(|n| json!({"name": format!("a{n}")}))
                        .collect::<Vec<_>>()
                ),
                "attributes: the schema has 201",
            ),
        ] {
            refused(extend(parse(attributes).unwrap()), detail);
        }
    }

    #[test]
    fn a_path_has_one_meaning() {
        let at = |ty: ResourceType, id: &str| {
            let schema = json!({"id": id, "attributes": [{"name": "badge"}]});
            let schema = Schema::parse(object(schema)).unwrap();
            let required = false;
            ty.extend(Extension { schema, required })
        };
        let user = || ResourceType::user().clone();
        for id in [
            "https://acme.example/User",
            "acme",
            "urn:acme",
            "urn::x",
            "urn:a:b:",
            "urn:a:b c",
            "urn:a:b/c",
            "urn:a:ü",
        ] {
            refused(at(user(), id), &format!("id: \"{id}\" is not accepted"));
        }
        for id in [
            "urn:ietf:params:scim:schemas:core:2.0:Group",
            "URN:IETF:params:scim:schemas:core:2.0:Device",
            "urn:ietf:params:scim:api:messages:2.0:PatchOp",
            ENTERPRISE_USER_SCHEMA,
        ] {
            let error = at(user(), id).unwrap_err();
            assert!(
                error
                    .detail()
                    .ends_with("is reserved by RFC 7643 or RFC 7644"),
                "{}",
                error.detail()
            );
        }
        let acme = at(user(), "urn:acme:2.0:User").unwrap();
        refused(
            at(acme.clone(), "URN:acme:2.0:user"),
            "id: \"URN:acme:2.0:user\" is already in use",
        );
        let two = "cannot be used with urn:acme:2.0:user";
        refused(
            at(acme.clone(), "urn:acme:2.0:User:badge"),
            &format!("id: \"urn:acme:2.0:User:badge\" {two}"),
        );
        refused(
            at(acme.clone(), "urn:acme:2.0"),
            &format!("id: \"urn:acme:2.0\" {two}"),
        );
        // The URIs that Entra ID and Okta use.
        let acme = at(acme, "urn:ietf:params:scim:schemas:extension:acme:2.0:User").unwrap();
        assert!(at(acme, "urn:okta:acme_crm:1.0:user:custom").is_ok());
    }
}
