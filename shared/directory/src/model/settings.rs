//! What can be chosen for each directory, and the resource types that follow from it.

use std::sync::Arc;

use scim::{Client, Extension, Object, Profile, ResourceType, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::directory::Provider;
use crate::model::error::Invalid;
use crate::model::kept_as_text::kept_as_text;

kept_as_text! {
    /// What a directory says of itself. In a value that this version does not know it says all, as with `full`.
    #[derive(Default)]
    Discovery {
        /// Everything that it can do.
        #[default]
        Full = "full",
        /// What RFC 7643 §5 has, and nothing of later documents, for clients that refuse what they do not know. It does
        /// not support entity tags then: no answer shows one, and none that a client sends is judged.
        Plain = "plain",
    }
}

/// What can be chosen for each directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Whether a second group of the same `displayName`, in any case, is refused.
    /// RFC 7643 §4.2 does not ask for it.
    pub unique_group_names: bool,
    /// Whether requests are read as the SCIM interoperability profile has it ([`Profile::Strict`]).
    pub strict: bool,
    /// What it says of itself.
    pub discovery: Discovery,
    /// The schema extensions of this directory. They can be changed at any
    /// time: values of one that is taken back stay with their resources, unseen.
    pub schemas: Vec<CustomSchema>,
    /// Settings that this version does not know, which another version of Rollcall wrote. They stay as they are.
    #[serde(flatten)]
    pub unknown: Object,
}

/// A schema extension of a directory's own, so that its customer's attributes
/// arrive typed (RFC 7643 §3.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomSchema {
    /// What it extends.
    pub resource_type: Extends,
    /// Whether each resource of the type must have it.
    #[serde(default)]
    pub required: bool,
    /// The schema in the form in which /Schemas shows it (RFC 7643 §7).
    pub schema: Object,
    /// Members that this version does not know, which another version of Rollcall wrote. They stay as they are.
    #[serde(flatten)]
    pub unknown: Object,
}

kept_as_text! {
    /// What a schema can extend.
    Extends {
        /// Users.
        User = "User",
        /// Groups.
        Group = "Group",
    }
}

/// How many schema extensions a directory has at most.
pub const MAX_CUSTOM_SCHEMAS: usize = 20;

/// How many bytes of JSON they take at most. They are read with each token that
/// a process meets, and an item holds 400 KB.
pub const MAX_CUSTOM_SCHEMAS_BYTES: usize = 64 * 1024;

/// What is to change in the settings of a directory; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// [`Settings::unique_group_names`], which stays as it was chosen at first.
    pub unique_group_names: Option<bool>,
    /// [`Settings::strict`].
    pub strict: Option<bool>,
    /// [`Settings::discovery`].
    pub discovery: Option<Discovery>,
    /// [`Settings::schemas`], all of them.
    pub schemas: Option<Vec<CustomSchema>>,
}

impl SettingsChange {
    /// The settings with the change.
    #[must_use]
    pub fn of(&self, settings: &Settings) -> Settings {
        Settings {
            unique_group_names: self
                .unique_group_names
                .unwrap_or(settings.unique_group_names),
            strict: self.strict.unwrap_or(settings.strict),
            discovery: self
                .discovery
                .clone()
                .unwrap_or_else(|| settings.discovery.clone()),
            schemas: self
                .schemas
                .clone()
                .unwrap_or_else(|| settings.schemas.clone()),
            unknown: settings.unknown.clone(),
        }
    }
}

impl Settings {
    /// Whether versions are shown as entity tags, and conditions on them are judged (RFC 7644 §3.14): unless the directory
    /// says by [`Discovery::Plain`] that it does not support them.
    #[must_use]
    pub fn has_entity_tags(&self) -> bool {
        self.discovery != Discovery::Plain
    }

    /// The settings for people who do not know how they are kept.
    #[must_use]
    pub fn data(&self) -> Value {
        let schemas = self.schemas.iter().map(|of| {
            json!({"resource_type": of.resource_type, "required": of.required, "schema": of.schema})
        });
        json!({
            "unique_group_names": self.unique_group_names,
            "strict": self.strict,
            "discovery": self.discovery,
            "schemas": schemas.collect::<Vec<_>>(),
        })
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
    /// What follows from the settings, with each schema as it was understood. Checked when they are written, not when
    /// they are read.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue`, with the path of what is wrong.
    pub(super) fn check(mut self, provider: &Provider) -> Result<(Self, Types), scim::Error> {
        if self.schemas.len() > MAX_CUSTOM_SCHEMAS {
            return Err(scim::Error::invalid_value(
                "settings.schemas",
                format_args!(
                    "there are {}; {MAX_CUSTOM_SCHEMAS} at most are kept",
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
                format_args!(
                    "they take {bytes} bytes; {MAX_CUSTOM_SCHEMAS_BYTES} at most are kept"
                ),
            ));
        }
        let types = self.read_as_chosen(types, provider);
        Ok((self, types))
    }

    /// What follows from settings that are kept already. A schema that this version refuses is left out, and named.
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

    /// The resource types in the profile that was chosen, for requests of the provider.
    fn read_as_chosen(&self, types: Types, provider: &Provider) -> Types {
        let profile = match self.strict {
            true => Profile::Strict,
            false => Profile::Tolerant,
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
    /// Extends its type, and answers the schema as it was understood. Nothing is extended when it is refused.
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
                    format_args!("\"{text}\" is not known; it must be User or Group"),
                ));
            }
        };
        if other.extension(&schema.id).is_some() {
            return Err(wrong(scim::Error::invalid_value(
                "id",
                format_args!("\"{}\" is there already", schema.id),
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

/// What is wrong with settings, with the place of it: `settings.schemas[0].schema: …` is `/settings/schemas/0/schema`.
pub(super) fn pointed_at(detail: &str) -> Invalid {
    let (place, what) = detail.split_once(": ").unwrap_or(("settings", detail));
    let steps = place.split(['.', '[', ']']).filter(|step| !step.is_empty());
    let pointer: String = steps.map(|step| format!("/{step}")).collect();
    Invalid::new(pointer, what)
}
