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

/// The longest name of a directory, a tenant or a product, in characters.
pub const MAX_NAME_CHARS: usize = 200;

kept_as_text! {
    /// Which identity provider is at the other end.
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
    /// Whether a directory takes changes. In a status that this version does not know it takes none, as an inactive one.
    Status {
        /// It does.
        Active = "active",
        /// Its provisioning client is answered 403, so that no change is taken for kept.
        Inactive = "inactive",
        /// It is going, and nobody can call it any more.
        Deleting = "deleting",
    }
}

/// A directory that is to be.
#[derive(Clone, Debug)]
pub struct NewDirectory {
    /// The team's own name for its customer.
    pub tenant: String,
    /// The team's own name for its application.
    pub product: String,
    /// What people call the directory.
    pub name: String,
    /// The identity provider.
    pub provider: Provider,
    /// What was chosen for it.
    pub settings: Settings,
    /// Where its events are to be sent to, besides the bus.
    pub webhook: Option<WebhookUrl>,
}

/// What is to change in a directory; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct DirectoryChange {
    /// What people call it.
    pub name: Option<String>,
    /// Whether it takes changes; `Deleting` is none of a change's.
    pub active: Option<bool>,
    /// What is chosen for it.
    pub settings: SettingsChange,
    /// Where its events are to be sent to; `Some(None)` is nowhere but to the bus.
    pub webhook: Option<Option<WebhookUrl>>,
}

/// The member of a directory's document that is its webhook.
const WEBHOOK: &str = "webhook";
/// The member of a directory's document that its cursors are signed with.
const CURSOR_KEY: &str = "cursorKey";

/// One customer's connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Its id, part of the SCIM base URL.
    pub id: DirectoryId,
    /// The team's own name for its customer.
    pub tenant: String,
    /// The team's own name for its application.
    pub product: String,
    /// What people call the directory.
    pub name: String,
    /// The identity provider.
    pub provider: Provider,
    /// Whether it takes changes.
    pub status: Status,
    /// When it was created.
    pub created: Timestamp,
    /// When its deletion began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// What was chosen for it.
    #[serde(default)]
    pub settings: Settings,
    /// Where its events are sent to, besides the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// What its cursors are signed with.
    cursor_key: CursorKey,
    /// Members that this version does not know, or not in the form that they have, which another version of Rollcall
    /// wrote. They stay as they are.
    #[serde(flatten)]
    unknown: Object,
    /// How often it has changed, from 1.
    #[serde(skip)]
    pub version: u64,
    /// What of it this version cannot read, by places in the document, with what follows.
    #[serde(skip)]
    pub unreadable: Vec<Invalid>,
    /// What follows from the settings.
    #[serde(skip)]
    types: Types,
}

impl Directory {
    /// A new directory, active from the beginning.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names what it cannot have.
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

    /// The directory with a change.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names what it cannot have; [`Error::Deleting`].
    pub(crate) fn changed(&self, change: &DirectoryChange, now: Timestamp) -> Result<Self, Error> {
        if self.status == Status::Deleting {
            return Err(Error::Deleting);
        }
        let settings = change.settings.of(&self.settings);
        if settings.unique_group_names != self.settings.unique_group_names {
            // The keys of the groups that are there follow from it.
            return Err(Error::Invalid(vec![Invalid::new(
                "/settings/unique_group_names",
                "is chosen when a directory is created, and stays",
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
            // It replaces one that cannot be read.
            new.unknown.remove(WEBHOOK);
        }
        let new = match change.settings.schemas {
            Some(_) => new.checked()?,
            // Schemas that were kept before may be such as this version refuses.
            None => new.checked_but_for_schemas()?,
        };
        if self.unreadable.is_empty() {
            return Ok(new);
        }
        // What could not be read may have been replaced.
        let document = serde_json::to_string(&new).map_err(Error::broken)?;
        Self::from_stored(&document, new.version).map_err(Error::broken)
    }

    /// The webhook of that address: the one that is there, or a new one.
    fn webhook_at(&self, url: Option<&WebhookUrl>, now: Timestamp) -> Option<Webhook> {
        let url = url?;
        let same = self.webhook.clone().filter(|old| old.url == *url);
        Some(same.unwrap_or_else(|| Webhook::new(url.clone(), to_the_millisecond(now))))
    }

    /// What is wrong with its names.
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

    /// The one place that says what a directory may be.
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

    /// The same for one whose schemas stay as they are.
    fn checked_but_for_schemas(self) -> Result<Self, Error> {
        match self.wrong_names() {
            wrong if wrong.is_empty() => Ok(Self {
                types: self.settings.understood(&self.provider).0,
                ..self
            }),
            wrong => Err(Error::Invalid(wrong)),
        }
    }

    /// Whether it has a webhook that this version cannot read, so that its events cannot be delivered now.
    #[must_use]
    pub fn has_unreadable_webhook(&self) -> bool {
        self.unknown.contains_key(WEBHOOK)
    }

    /// Reads what the table keeps. What another version of Rollcall wrote is tolerated: members that are not known stay
    /// as they are, and what cannot be read but is not needed for everything else is named in `unreadable`.
    ///
    /// # Errors
    ///
    /// What the document lacks, for [`crate::table::item::unreadable`].
    pub(crate) fn from_stored(document: &str, version: u64) -> Result<Self, &'static str> {
        let lacks = "document of a directory in a form that is known";
        // The error of serde_json would quote the document.
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
        // One that nobody can guess: whoever knew it could make cursors of his own.
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
                format!("\"{status}\" is not known: the directory is treated as an inactive one"),
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

    /// The directory as the team's own backend and its events see it.
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

    /// What differs in another state of the directory, by paths in its data, each with the value that it has here.
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

    /// Its resource types.
    #[must_use]
    pub fn types(&self) -> &Types {
        &self.types
    }

    pub(crate) fn cursor_key(&self) -> &CursorKey {
        &self.cursor_key
    }
}

/// What is wrong with the name of a directory, a tenant or a product, if anything.
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
    fn d7_what_is_kept_comes_back_with_its_types() {
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
        // A directory of before there were settings.
        let old = document.replace("\"settings\"", "\"before\"");
        assert_eq!(
            Directory::from_stored(&old, 1).unwrap().settings,
            Settings::default()
        );
    }

    #[test]
    fn a_webhook_is_new_when_its_address_is() {
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
    fn a_schema_is_kept_without_what_says_where_it_was_read() {
        let mut shown = badge("User", "urn:acme:User");
        shown["schema"]["meta"] = json!({"location": "https://example.com"});
        let kept = directory(settings(json!([shown]))).unwrap();
        let kept = serde_json::to_value(&kept.settings.schemas).unwrap();
        assert!(kept[0]["schema"].get("meta").is_none());
        assert_eq!(kept[0]["schema"]["attributes"][0]["type"], "string");
    }

    #[test]
    fn what_cannot_be_held_is_refused_with_its_path() {
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
                "\"URN:acme:user\" is there already",
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
                "there are 21; 20 at most are kept",
            ),
            (
                json!([{"resourceType": "User", "schema": {"id": "urn:acme:User", "attributes": wide}}]),
                "/settings/schemas",
                "they take ",
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
            // When it stands in the table the directory is read without it, or without what comes after it.
            let mut stored = serde_json::to_value(directory(Settings::default()).unwrap()).unwrap();
            stored["settings"]["schemas"] = schemas;
            if let Ok(read) = Directory::from_stored(&stored.to_string(), 1) {
                let kept = serde_json::to_value(&read).unwrap();
                // What a schema does not say is written down.
                for schema in stored["settings"]["schemas"].as_array_mut().unwrap() {
                    let schema = schema.as_object_mut().unwrap();
                    schema.entry("required").or_insert(json!(false));
                }
                assert_eq!(kept["settings"], stored["settings"]);
            }
        }
    }
}
