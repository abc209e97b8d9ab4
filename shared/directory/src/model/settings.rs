//! The settings of a directory, and the resource types that they define.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use scim::{Client, Extension, Object, Profile, ResourceType, Schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::model::directory::Provider;
use crate::model::error::Invalid;
use crate::model::kept_as_text::{KeptAsText, kept_as_text};

kept_as_text! {
    /// What the discovery endpoints announce. A value that this version does not know works as `full`.
    #[derive(Default)]
    Discovery {
        /// All capabilities.
        #[default]
        Full = "full",
        /// ServiceProviderConfig as RFC 7643 §5 defines it and no more, for clients that refuse unknown members. Entity
        /// tags are not supported: responses have none, and those of requests are ignored.
        Plain = "plain",
    }
}

/// A type of values that a setting has.
trait Setting: Sized {
    /// Reads a value as the admin API takes it.
    fn read<'de, D: Deserializer<'de>>(value: D) -> Result<Self, D::Error>;

    /// Returns the value as the admin API and events show it.
    fn shown(&self) -> Value;

    /// Returns the JSON Schema of the value as the admin API takes and shows it.
    fn schema() -> Value;
}

/// Declares the settings. A declaration is the member of the stored document, of the admin API (read, shown and
/// described) and of the events of directories. The documentation is the description in the OpenAPI document.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $of:ty,)+) => {
        /// The settings of a directory.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $name: $of,)+
            /// Settings that this version does not know, which another version of Rollcall wrote. They are kept unchanged.
            #[serde(flatten)]
            pub unknown: Object,
        }

        /// A change of the settings of a directory, as the admin API reads it. A setting that is `None` keeps its value.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields, expecting = "an object")]
        pub struct SettingsChange {
            $($(#[doc = $doc])+ #[serde(deserialize_with = "read_setting")] pub $name: Option<$of>,)+
        }

        impl SettingsChange {
            /// Returns the settings with the change.
            #[must_use]
            pub fn of(&self, settings: &Settings) -> Settings {
                Settings {
                    $($name: self.$name.clone().unwrap_or_else(|| settings.$name.clone()),)+
                    unknown: settings.unknown.clone(),
                }
            }
        }

        impl Settings {
            /// Returns the settings as the admin API and events show them.
            #[must_use]
            pub fn data(&self) -> Value {
                json!({$(stringify!($name): self.$name.shown(),)+})
            }

            /// Returns the JSON Schema of the settings as the admin API takes and shows them.
            #[must_use]
            pub fn schema() -> Value {
                let mut properties = Object::new();
                $(
                    let mut schema = <$of as Setting>::schema();
                    if let Value::Object(members) = &mut schema {
                        members.insert("description".to_owned(), concat!($($doc),+).trim().into());
                    }
                    properties.insert(stringify!($name).to_owned(), schema);
                )+
                json!({"type": "object", "properties": properties, "additionalProperties": false})
            }
        }
    };
}

settings! {
    /// Refuses a second group of the same `displayName`, in any case, with 409. RFC 7643 §4.2 does not require this.
    /// It is chosen when the directory is created and cannot be changed.
    unique_group_names: bool,
    /// Reads requests as the SCIM interoperability profile defines.
    strict: bool,
    /// What the discovery endpoints announce. `full`: all capabilities. `plain`: ServiceProviderConfig as RFC 7643 §5
    /// defines it and no more, for clients that refuse unknown members. Entity tags are not supported then: responses
    /// have neither `ETag` nor `meta.version`, and `If-Match` is ignored. Later versions may add values, which work as
    /// `full` here.
    discovery: Discovery,
    /// The schema extensions of the directory, at most 20 and 64 KB. They can be changed at any time. Values of a removed
    /// schema stay with their resources but are not shown.
    schemas: Vec<CustomSchema>,
}

fn read_setting<'de, D, S>(value: D) -> Result<Option<S>, D::Error>
where
    D: Deserializer<'de>,
    S: Setting,
{
    S::read(value).map(Some)
}

impl Setting for bool {
    fn read<'de, D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        Self::deserialize(value)
    }

    fn shown(&self) -> Value {
        json!(self)
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

impl<T: KeptAsText> Setting for T {
    fn read<'de, D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        read_known(value)
    }

    fn shown(&self) -> Value {
        json!(self.as_str())
    }

    fn schema() -> Value {
        json!({"type": "string", "examples": T::TEXTS})
    }
}

/// A struct that is read from an object only. The `Deserialize` that serde derives accepts an array as well.
#[derive(Debug)]
pub struct FromObject<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromObject<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        value.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// Reads a text that this version knows.
///
/// # Errors
///
/// Another text, with those that are accepted.
pub fn read_known<'de, D, T>(value: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: KeptAsText,
{
    let text = String::deserialize(value)?;
    if T::TEXTS.contains(&text.as_str()) {
        Ok(text.into())
    } else {
        Err(D::Error::unknown_variant(&text, T::TEXTS))
    }
}

/// A schema extension of a directory (RFC 7643 §3.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomSchema {
    /// The resource type that it extends.
    pub resource_type: Extends,
    /// Whether every resource of the type must have values of the schema.
    #[serde(default)]
    pub required: bool,
    /// The schema in the form in which /Schemas shows it (RFC 7643 §7).
    pub schema: Object,
    /// Members that this version does not know, which another version of Rollcall wrote. They are kept unchanged.
    #[serde(flatten)]
    pub unknown: Object,
}

kept_as_text! {
    /// The resource type that a schema extends.
    Extends {
        /// Users.
        User = "User",
        /// Groups.
        Group = "Group",
    }
}

/// Maximum number of schema extensions of a directory.
pub const MAX_CUSTOM_SCHEMAS: usize = 20;

/// Maximum size of the schema extensions of a directory, in bytes of JSON. A process reads them once per directory and
/// minute, and an item of DynamoDB has at most 400 KB.
pub const MAX_CUSTOM_SCHEMAS_BYTES: usize = 64 * 1024;

/// A schema extension as the admin API takes and shows it.
#[derive(Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with resource_type, required and schema"
)]
struct ShownSchema {
    #[serde(deserialize_with = "read_known")]
    resource_type: Extends,
    #[serde(default)]
    required: bool,
    schema: Object,
}

impl Setting for Vec<CustomSchema> {
    fn read<'de, D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let shown = Vec::<FromObject<ShownSchema>>::deserialize(value)?.into_iter();
        let schemas = shown.map(|FromObject(shown)| CustomSchema {
            resource_type: shown.resource_type,
            required: shown.required,
            schema: shown.schema,
            unknown: Object::new(),
        });
        Ok(schemas.collect())
    }

    fn shown(&self) -> Value {
        let schemas = self.iter().map(|of| ShownSchema {
            resource_type: of.resource_type.clone(),
            required: of.required,
            schema: of.schema.clone(),
        });
        schemas.map(|shown| json!(shown)).collect()
    }

    fn schema() -> Value {
        json!({
            "type": "array",
            "maxItems": MAX_CUSTOM_SCHEMAS,
            "items": {
                "type": "object",
                "required": ["resource_type", "schema"],
                "properties": {
                    "resource_type": {"type": "string", "enum": Extends::TEXTS, "description": "The resource type that the schema extends."},
                    "required": {"type": "boolean", "default": false, "description": "Every resource of the type must have values of the schema."},
                    "schema": {"type": "object", "description": "The schema in the form of the SCIM endpoint /Schemas (RFC 7643 §7)."},
                },
                "additionalProperties": false,
            },
        })
    }
}

impl Settings {
    /// Returns whether entity tags are supported (RFC 7644 §3.14): not with [`Discovery::Plain`].
    #[must_use]
    pub fn has_entity_tags(&self) -> bool {
        self.discovery != Discovery::Plain
    }
}

/// The resource types of one directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Types {
    /// Users.
    pub user: Arc<ResourceType>,
    /// Groups.
    pub group: Arc<ResourceType>,
}

impl Default for Types {
    /// The resource types of a directory with default settings.
    fn default() -> Self {
        Self {
            user: Arc::new(ResourceType::user().clone()),
            group: Arc::new(ResourceType::group().clone()),
        }
    }
}

impl Settings {
    /// Returns the settings with each schema in its full form, and the resource types. It validates settings that are
    /// written; [`Self::understood`] reads those that are stored.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` with the path of the invalid value.
    pub(super) fn check(mut self, provider: &Provider) -> Result<(Self, Types), scim::Error> {
        if self.schemas.len() > MAX_CUSTOM_SCHEMAS {
            return Err(scim::Error::invalid_value(
                "settings.schemas",
                format_args!(
                    "there are {}; the maximum is {MAX_CUSTOM_SCHEMAS}",
                    self.schemas.len()
                ),
            ));
        }
        let mut types = Types::default();
        let mut bytes = 0;
        for (index, custom) in self.schemas.iter_mut().enumerate() {
            custom.schema = custom.extend(index, &mut types)?;
            bytes += serde_json::to_string(&custom.schema).map_or(0, |text| text.len());
        }
        if bytes > MAX_CUSTOM_SCHEMAS_BYTES {
            return Err(scim::Error::invalid_value(
                "settings.schemas",
                format_args!("they have {bytes} bytes; the maximum is {MAX_CUSTOM_SCHEMAS_BYTES}"),
            ));
        }
        let types = self.read_as_chosen(types, provider);
        Ok((self, types))
    }

    /// Returns the resource types of stored settings. Schemas that this version refuses are omitted and returned as invalid.
    pub(super) fn understood(&self, provider: &Provider) -> (Types, Vec<Invalid>) {
        let mut types = Types::default();
        let mut refused = vec![];
        for (index, custom) in self.schemas.iter().enumerate() {
            if let Err(error) = custom.extend(index, &mut types) {
                refused.push(pointed_at(error.detail()));
            }
        }
        (self.read_as_chosen(types, provider), refused)
    }

    /// Returns the resource types with the profile of the settings, for requests of the provider.
    fn read_as_chosen(&self, types: Types, provider: &Provider) -> Types {
        let profile = if self.strict {
            Profile::Strict
        } else {
            Profile::Tolerant
        };
        let client = match provider {
            Provider::Azure => Client::Entra,
            _ => Client::Other,
        };
        let read_as_chosen = |ty: Arc<ResourceType>| {
            let ty = Arc::unwrap_or_clone(ty);
            Arc::new(ty.with_profile(profile).with_client(client))
        };
        Types {
            user: read_as_chosen(types.user),
            group: read_as_chosen(types.group),
        }
    }
}

impl CustomSchema {
    /// Extends its resource type and returns the schema in its full form. A schema that is refused extends nothing.
    fn extend(&self, index: usize, types: &mut Types) -> Result<Object, scim::Error> {
        let place = format!("settings.schemas[{index}]");
        let wrong = |error: scim::Error| error.below(format_args!("{place}.schema"));
        let schema = Schema::parse(self.schema.clone()).map_err(wrong)?;
        let definition = schema.to_definition();
        let (ty, other) = match &self.resource_type {
            Extends::User => (&mut types.user, &types.group),
            Extends::Group => (&mut types.group, &types.user),
            Extends::Other(text) => {
                return Err(scim::Error::invalid_value(
                    format!("{place}.resourceType"),
                    format_args!("\"{text}\" is unknown; it must be User or Group"),
                ));
            }
        };
        if other.extension(&schema.id).is_some() {
            return Err(wrong(scim::Error::invalid_value(
                "id",
                format_args!("\"{}\" is the id of another schema", schema.id),
            )));
        }
        let extension = Extension {
            schema,
            required: self.required,
        };
        *ty = Arc::new(ResourceType::clone(ty).extend(extension).map_err(wrong)?);
        Ok(definition)
    }
}

/// Returns an error of settings with its JSON pointer: `settings.schemas[0].schema: …` is `/settings/schemas/0/schema`.
pub(super) fn pointed_at(detail: &str) -> Invalid {
    let (place, what) = detail.split_once(": ").unwrap_or(("settings", detail));
    let steps = place.split(['.', '[', ']']).filter(|step| !step.is_empty());
    let pointer: String = steps.map(|step| format!("/{step}")).collect();
    Invalid::new(pointer, what)
}
