//! A directory: one customer's connection.

use jiff::Timestamp;
use scim::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::cursor::CursorKey;
use crate::model::error::{Error, Invalid};
use crate::model::id::DirectoryId;
use crate::model::kept_as_text::kept_as_text;
use crate::model::settings::{Discovery, Settings, SettingsChange, Types, pointed_at};
use crate::model::time::to_the_millisecond;
use crate::model::webhook::{Webhook, WebhookUrl};

/// Maximum length of the name of a directory, a tenant or a product, in characters.
pub const MAX_NAME_CHARS: usize = 200;

kept_as_text! {
    /// The identity provider of a directory.
    Provider {
        /// Okta.
        Okta = "okta-scim-v2",
        /// Microsoft Entra ID.
        Azure = "azure-scim-v2",
        /// OneLogin.
        OneLogin = "onelogin-scim-v2",
        /// JumpCloud.
        JumpCloud = "jumpcloud-scim-v2",
        /// PingOne.
        PingOne = "ping-scim-v2",
        /// Any other SCIM 2.0 client.
        Generic = "generic-scim-v2",
    }
}

kept_as_text! {
    /// Whether a directory accepts changes. A status that this version does not know is treated as `Inactive`.
    Status {
        /// Accepts changes.
        Active = "active",
        /// Provisioning requests get 403, so that the identity provider does not assume that a change was stored.
        Inactive = "inactive",
        /// Being deleted. Requests get 401.
        Deleting = "deleting",
    }
}

/// The directory to create.
#[derive(Clone, Debug)]
pub struct NewDirectory {
    /// The name of the customer in the team's own backend.
    pub tenant: String,
    /// The name of the application in the team's own backend.
    pub product: String,
    /// The name of the directory for people.
    pub name: String,
    /// The identity provider.
    pub provider: Provider,
    /// Its settings.
    pub settings: Settings,
    /// The address that its events are to be sent to, besides the bus.
    pub webhook: Option<WebhookUrl>,
}

/// A change of a directory. A member that is `None` keeps its value.
#[derive(Clone, Debug, Default)]
pub struct DirectoryChange {
    /// The name of the directory for people.
    pub name: Option<String>,
    /// Whether it accepts changes.
    pub active: Option<bool>,
    /// The change of its settings.
    pub settings: SettingsChange,
    /// The address that its events are to be sent to. `Some(None)` removes the webhook.
    pub webhook: Option<Option<WebhookUrl>>,
}

/// The member of the stored document that is the webhook.
const WEBHOOK: &str = "webhook";
/// The member of the stored document that is the key of the cursors.
const CURSOR_KEY: &str = "cursorKey";

/// One customer's connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Its id, part of the SCIM base URL.
    pub id: DirectoryId,
    /// The name of the customer in the team's own backend.
    pub tenant: String,
    /// The name of the application in the team's own backend.
    pub product: String,
    /// The name of the directory for people.
    pub name: String,
    /// The identity provider.
    pub provider: Provider,
    /// Whether it accepts changes.
    pub status: Status,
    /// When it was created.
    pub created: Timestamp,
    /// When its deletion began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// Its settings.
    #[serde(default)]
    pub settings: Settings,
    /// The address that its events are sent to, besides the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// The key that signs its cursors.
    cursor_key: CursorKey,
    /// Members that this version does not know or cannot read, which another version of Rollcall wrote. They are
    /// kept unchanged.
    #[serde(flatten)]
    unknown: Object,
    /// Number of its changes, from 1.
    #[serde(skip)]
    pub version: u64,
    /// The parts of the document that this version cannot read, each with the effect.
    #[serde(skip)]
    pub unreadable: Vec<Invalid>,
    /// The resource types that its settings define.
    #[serde(skip)]
    types: Types,
}

impl Directory {
    /// Returns a new, active directory.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with each invalid value.
    pub fn new(id: DirectoryId, new: NewDirectory, now: Timestamp) -> Result<Self, Error> {
        let now = to_the_millisecond(now);
        Self {
            id,
            tenant: new.tenant,
            product: new.product,
            name: new.name,
            provider: new.provider,
            status: Status::Active,
            created: now,
            deleted: None,
            types: Types::default(),
            settings: new.settings,
            webhook: new.webhook.map(|url| Webhook::new(url, now)),
            version: 1,
            cursor_key: CursorKey::random(),
            unknown: Object::new(),
            unreadable: vec![],
        }
        .checked()
    }

    /// Returns the directory with a change.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with each invalid value; [`Error::Deleting`].
    pub(crate) fn changed(&self, change: &DirectoryChange, now: Timestamp) -> Result<Self, Error> {
        if self.status == Status::Deleting {
            return Err(Error::Deleting);
        }
        let settings = change.settings.of(&self.settings);
        if settings.unique_group_names != self.settings.unique_group_names {
            // The keys of existing groups depend on it.
            return Err(Error::Invalid(vec![Invalid::new(
                "/settings/unique_group_names",
                "cannot be changed after the directory was created",
            )]));
        }
        if let (Some(_), Status::Other(status)) = (change.active, &self.status) {
            return Err(Error::Invalid(vec![Invalid::new(
                "/status",
                format!(
                    "is \"{status}\", which this version of Rollcall does not know: deploy the version that set it"
                ),
            )]));
        }
        let mut new = Self {
            name: change.name.clone().unwrap_or(self.name.clone()),
            status: match change.active {
                Some(true) => Status::Active,
                Some(false) => Status::Inactive,
                None => self.status.clone(),
            },
            settings,
            ..self.clone()
        };
        if let Some(url) = &change.webhook {
            new.webhook = self.webhook_at(url.as_ref(), now);
            // The change replaces one that cannot be read.
            new.unknown.remove(WEBHOOK);
        }
        let new = match change.settings.schemas {
            Some(_) => new.checked()?,
            // This version may refuse schemas that were stored before.
            None => new.checked_but_for_schemas()?,
        };
        if self.unreadable.is_empty() {
            return Ok(new);
        }
        // The change may have replaced a part that could not be read.
        let document = serde_json::to_string(&new).map_err(Error::broken)?;
        Self::from_stored(&document, new.version).map_err(Error::broken)
    }

    /// Returns the existing webhook if it has that address, or a new one.
    fn webhook_at(&self, url: Option<&WebhookUrl>, now: Timestamp) -> Option<Webhook> {
        let url = url?;
        let same = self.webhook.clone().filter(|old| old.url == *url);
        Some(same.unwrap_or_else(|| Webhook::new(url.clone(), to_the_millisecond(now))))
    }

    /// Returns its invalid names.
    fn wrong_names(&self) -> Vec<Invalid> {
        let names = [
            ("/tenant", &self.tenant),
            ("/product", &self.product),
            ("/name", &self.name),
        ];
        let wrong = names.into_iter();
        wrong
            .filter_map(|(pointer, name)| Some(Invalid::new(pointer, wrong_name(name)?)))
            .collect()
    }

    /// Returns the directory if all its values are valid. A directory is validated only here.
    fn checked(self) -> Result<Self, Error> {
        let mut wrong = self.wrong_names();
        match self.settings.clone().check(&self.provider) {
            Ok((settings, types)) if wrong.is_empty() => Ok(Self {
                settings,
                types,
                ..self
            }),
            Ok(_) => Err(Error::Invalid(wrong)),
            Err(error) => {
                wrong.push(pointed_at(error.detail()));
                Err(Error::Invalid(wrong))
            }
        }
    }

    /// Returns the directory if all values but its schemas, which do not change, are valid.
    fn checked_but_for_schemas(self) -> Result<Self, Error> {
        match self.wrong_names() {
            wrong if wrong.is_empty() => Ok(Self {
                types: self.settings.understood(&self.provider).0,
                ..self
            }),
            wrong => Err(Error::Invalid(wrong)),
        }
    }

    /// Returns whether it has a webhook that this version cannot read. Its events wait.
    #[must_use]
    pub fn has_unreadable_webhook(&self) -> bool {
        self.unknown.contains_key(WEBHOOK)
    }

    /// Reads the stored document, which another version of Rollcall may have written. Unknown members are kept unchanged,
    /// and `unreadable` names optional parts that cannot be read.
    ///
    /// # Errors
    ///
    /// The reason why the document cannot be read, for [`crate::table::item::unreadable`].
    pub(crate) fn from_stored(document: &str, version: u64) -> Result<Self, &'static str> {
        let lacks = "document of a directory in a form that is known";
        // The error of serde_json would contain parts of the document.
        let mut document: Object = serde_json::from_str(document).map_err(|_| lacks)?;
        let mut unreadable = vec![];
        let webhook = document.shift_remove(WEBHOOK);
        let key = document.remove(CURSOR_KEY);
        let key = key.and_then(|key| CursorKey::deserialize(key).ok());
        if key.is_none() {
            unreadable.push(Invalid::new(
                format!("/{CURSOR_KEY}"),
                "is missing or not known: cursors of SCIM lists hold for a minute at most, until the directory is changed; a PATCH with {} is enough",
            ));
        }
        // The key must be secret: it allows to create cursors.
        let key = key.unwrap_or_else(CursorKey::random);
        document.insert(CURSOR_KEY.to_owned(), String::from(key).into());
        let mut directory = Self::deserialize(Value::Object(document)).map_err(|_| lacks)?;
        if let Some(value) = webhook {
            match Webhook::deserialize(&value) {
                Ok(webhook) => directory.webhook = Some(webhook),
                Err(_) => {
                    unreadable.push(Invalid::new(
                        format!("/{WEBHOOK}"),
                        "has a form that is not known: events wait until it is set again, or the version that wrote it is deployed",
                    ));
                    directory.unknown.insert(WEBHOOK.to_owned(), value);
                }
            }
        }
        if let Status::Other(status) = &directory.status {
            unreadable.push(Invalid::new(
                "/status",
                format!("\"{status}\" is unknown: the directory is treated as inactive"),
            ));
        }
        if let Discovery::Other(discovery) = &directory.settings.discovery {
            unreadable.push(Invalid::new(
                "/settings/discovery",
                format!("\"{discovery}\" is not known: the directory says all of itself, as with \"full\""),
            ));
        }
        let (types, refused) = directory.settings.understood(&directory.provider);
        unreadable.extend(refused);
        Ok(Self {
            types,
            version,
            unreadable,
            ..directory
        })
    }

    /// Returns the `data` of the events of the directory.
    #[must_use]
    pub fn data(&self) -> Object {
        let mut data = Object::new();
        for (name, value) in [
            ("id", json!(self.id)),
            ("tenant", json!(self.tenant)),
            ("product", json!(self.product)),
            ("name", json!(self.name)),
            ("provider", json!(self.provider)),
            ("status", json!(self.status)),
            ("created", json!(format!("{:.3}", self.created))),
            ("settings", self.settings.data()),
        ] {
            data.insert(name.to_owned(), value);
        }
        if let Some(webhook) = &self.webhook {
            data.insert("webhook".to_owned(), webhook.shown());
        }
        data
    }

    /// Returns the paths in [`Self::data`] that differ from another state of the directory, with the values of this one.
    pub(crate) fn changed_paths(&self, other: &Self) -> Object {
        let flat = |directory: &Self| {
            let mut data = directory.data();
            if let Some(Value::Object(settings)) = data.remove("settings") {
                let settings = settings.into_iter();
                data.extend(settings.map(|(name, value)| (format!("settings.{name}"), value)));
            }
            data
        };
        let (here, there) = (flat(self), flat(other));
        let mut paths: Vec<&String> = here.keys().chain(there.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        let differ = paths
            .into_iter()
            .filter(|path| here.get(*path) != there.get(*path));
        differ
            .map(|path| (path.clone(), here.get(path).cloned().unwrap_or_default()))
            .collect()
    }

    /// Returns its resource types.
    #[must_use]
    pub fn types(&self) -> &Types {
        &self.types
    }

    pub(crate) fn cursor_key(&self) -> &CursorKey {
        &self.cursor_key
    }
}

/// Returns why a name of a directory, a tenant or a product is invalid, or `None`.
#[must_use]
pub fn wrong_name(name: &str) -> Option<String> {
    if name.trim().is_empty() {
        return Some("must not be empty".to_owned());
    }
    if name.chars().count() > MAX_NAME_CHARS {
        return Some(format!("is longer than {MAX_NAME_CHARS} characters"));
    }
    let control = name.chars().any(char::is_control);
    control.then(|| "must not have control characters".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::webhook::EgressPolicy;

    fn settings(schemas: Value) -> Settings {
        serde_json::from_value(json!({"schemas": schemas})).unwrap()
    }

    fn directory(settings: Settings) -> Result<Directory, Error> {
        let new = NewDirectory {
            tenant: "acme".to_owned(),
            product: "crm".to_owned(),
            name: "Acme".to_owned(),
            provider: Provider::Okta,
            settings,
            webhook: None,
        };
        let id = "d0000000-0000-4000-8000-000000000000".parse().unwrap();
        Directory::new(id, new, Timestamp::UNIX_EPOCH)
    }

    fn badge(resource_type: &str, id: &str) -> Value {
        json!({"resourceType": resource_type, "schema": {"id": id, "attributes": [{"name": "badge"}]}})
    }

    #[test]
    fn a_stored_directory_is_read_with_its_resource_types() {
        let kept = directory(settings(json!([
            badge("User", "urn:acme:User"),
            badge("Group", "urn:acme:Group")
        ])));
        let kept = kept.unwrap();
        let document = serde_json::to_string(&kept).unwrap();
        assert_eq!(Directory::from_stored(&document, 1).unwrap(), kept);
        assert!(kept.types().user.extension("URN:acme:user").is_some());
        assert!(kept.types().user.extension("urn:acme:Group").is_none());
        let none = DirectoryChange {
            settings: SettingsChange {
                schemas: Some(vec![]),
                ..SettingsChange::default()
            },
            ..DirectoryChange::default()
        };
        let none = kept.changed(&none, kept.created).unwrap();
        assert_eq!(none.types(), &Types::default());
        // A document without settings, which the first version wrote.
        let old = document.replace("\"settings\"", "\"before\"");
        assert_eq!(
            Directory::from_stored(&old, 1).unwrap().settings,
            Settings::default()
        );
    }

    #[test]
    fn a_new_address_is_a_new_webhook() {
        let url = |text: &str| WebhookUrl::parse(text, EgressPolicy::PublicInternet).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let change = |directory: &Directory, webhook: Option<Option<&str>>, second| {
            let change = DirectoryChange {
                webhook: webhook.map(|text| text.map(url)),
                ..DirectoryChange::default()
            };
            directory.changed(&change, at(second)).unwrap()
        };
        let none = directory(Settings::default()).unwrap();
        assert_eq!(none.data().get("webhook"), None);
        let first = change(&none, Some(Some("https://example.com/a")), 1);
        let kept = first.webhook.clone().unwrap();
        assert_eq!(
            (kept.url, kept.created),
            (url("https://example.com/a"), at(1))
        );
        let document = serde_json::to_string(&first).unwrap();
        assert_eq!(Directory::from_stored(&document, 1).unwrap(), first);
        assert_eq!(change(&first, None, 2), first);
        assert_eq!(
            change(&first, Some(Some("https://example.com/a")), 2),
            first
        );
        let other = change(&first, Some(Some("https://example.com/b")), 2);
        assert_eq!(other.webhook.unwrap().created, at(2));
        assert_eq!(change(&first, Some(None), 2), none);
    }

    #[test]
    fn a_schema_is_stored_without_its_meta() {
        let mut shown = badge("User", "urn:acme:User");
        shown["schema"]["meta"] = json!({"location": "https://example.com"});
        let kept = directory(settings(json!([shown]))).unwrap();
        let kept = serde_json::to_value(&kept.settings.schemas).unwrap();
        assert!(kept[0]["schema"].get("meta").is_none());
        assert_eq!(kept[0]["schema"]["attributes"][0]["type"], "string");
    }

    #[test]
    fn an_invalid_schema_is_refused_with_its_path() {
        let wide: Vec<Value> = (0..200)
            .map(|n| json!({"name": format!("a{n}"), "description": "x".repeat(400)}))
            .collect();
        for (schemas, pointer, detail) in [
            (
                json!([badge("User", "urn:acme:User"), {"resourceType": "User", "schema": {"id": "urn:b:c", "attributes": [{"name": "x", "type": "text"}]}}]),
                "/settings/schemas/1/schema/attributes/0/type",
                "expected string, ",
            ),
            (
                json!([
                    badge("User", "urn:acme:User"),
                    badge("Group", "URN:acme:user")
                ]),
                "/settings/schemas/1/schema/id",
                "\"URN:acme:user\" is the id of another schema",
            ),
            (
                json!([badge("User", "https://acme.example")]),
                "/settings/schemas/0/schema/id",
                "\"https://acme.example\" is not accepted",
            ),
            (
                json!(
                    (0..21)
                        .map(|n| badge("User", &format!("urn:acme:{n}")))
                        .collect::<Vec<_>>()
                ),
                "/settings/schemas",
                "there are 21; the maximum is 20",
            ),
            (
                json!([{"resourceType": "User", "schema": {"id": "urn:acme:User", "attributes": wide}}]),
                "/settings/schemas",
                "they have ",
            ),
        ] {
            let error = directory(settings(schemas.clone())).unwrap_err();
            let Error::Invalid(wrong) = error else {
                panic!("{error}");
            };
            let [wrong] = wrong.as_slice() else {
                panic!("{wrong:?}");
            };
            assert_eq!(wrong.pointer, pointer);
            assert!(wrong.detail.starts_with(detail), "{}", wrong.detail);
            // A stored document with such a schema can be read, without the schema.
            let mut stored = serde_json::to_value(directory(Settings::default()).unwrap()).unwrap();
            stored["settings"]["schemas"] = schemas;
            if let Ok(read) = Directory::from_stored(&stored.to_string(), 1) {
                let kept = serde_json::to_value(&read).unwrap();
                // Defaults of a schema are written.
                for schema in stored["settings"]["schemas"].as_array_mut().unwrap() {
                    let schema = schema.as_object_mut().unwrap();
                    schema.entry("required").or_insert(json!(false));
                }
                assert_eq!(kept["settings"], stored["settings"]);
            }
        }
    }
}
