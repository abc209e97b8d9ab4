//! Bodies of requests: read member by member, so that everything that is wrong
//! is named at once, and so is what nobody asked for.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use directory::{EgressPolicy, Invalid, Settings, SettingsChange, WebhookUrl, wrong_name};
use gateway::{MAX_ADMIN_BODY_BYTES, Problem};
use http::header::CONTENT_TYPE;
use scim::Object;
use serde::de::DeserializeOwned;

use crate::schema::{CustomSchema, Discovery};

/// A body as it came, and the object in it. No body is an empty object.
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// What is in them.
    pub fields: Fields,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        gateway::reject_content_coding(request.headers())?;
        let media_type = request.headers().get(CONTENT_TYPE).cloned();
        let bytes = Bytes::from_request(request, state).await.map_err(|_| {
            Problem::new(
                413,
                format!("The body is larger than {MAX_ADMIN_BODY_BYTES} bytes."),
            )
        })?;
        if bytes.is_empty() {
            return Ok(Self {
                bytes,
                fields: Fields::new("", Object::new()),
            });
        }
        let essence = media_type.as_ref().map(|value| {
            let text = value.to_str().unwrap_or_default();
            text.split(';').next().unwrap_or_default().trim()
        });
        if essence.is_some_and(|essence| !essence.eq_ignore_ascii_case("application/json")) {
            return Err(Problem::new(
                415,
                "The Content-Type must be application/json.",
            ));
        }
        let object = scim::json::parse(&bytes)
            .map_err(|error| Problem::new(400, error.detail().to_owned()))?;
        Ok(Self {
            bytes,
            fields: Fields::new("", object),
        })
    }
}

/// The members of an object that are not read yet, and what was wrong with those that are.
pub struct Fields {
    pointer: String,
    rest: Object,
    wrong: Vec<Invalid>,
}

impl Fields {
    fn new(pointer: impl Into<String>, rest: Object) -> Self {
        Self {
            pointer: pointer.into(),
            rest,
            wrong: vec![],
        }
    }

    fn at(&self, name: &str) -> String {
        // RFC 6901 §3.
        format!(
            "{}/{}",
            self.pointer,
            name.replace('~', "~0").replace('/', "~1")
        )
    }

    fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = self.at(name);
        self.wrong.push(Invalid::new(pointer, detail));
    }

    /// A member that is one of a type's values.
    pub fn one<T: DeserializeOwned>(&mut self, name: &str, what: &str) -> Option<T> {
        let value = self.rest.remove(name)?;
        let read = serde_json::from_value(value).ok();
        if read.is_none() {
            self.refuse(name, format!("must be {what}"));
        }
        read
    }

    /// The same, which must be there.
    pub fn needed<T: DeserializeOwned>(&mut self, name: &str, what: &str) -> Option<T> {
        if !self.rest.contains_key(name) {
            self.refuse(name, "is missing");
        }
        self.one(name, what)
    }

    /// A name, which must be there.
    pub fn name(&mut self, name: &str) -> Option<String> {
        let text: String = self.needed(name, "a text")?;
        if let Some(detail) = wrong_name(&text) {
            self.refuse(name, detail);
        }
        Some(text)
    }

    /// The settings of a directory.
    pub fn settings(&mut self) -> SettingsChange {
        let mut change = SettingsChange::default();
        let Some(settings) = self.one::<Object>("settings", "an object") else {
            return change;
        };
        let mut fields = Self::new(self.at("settings"), settings);
        change.unique_group_names = fields.one("unique_group_names", "true or false");
        change.strict = fields.one("strict", "true or false");
        let discovery = fields.one::<Discovery>("discovery", "full or plain");
        change.discovery = discovery.map(Into::into);
        let schemas = fields.one::<Vec<CustomSchema>>(
            "schemas",
            "a list of objects with resource_type (User or Group), required and schema",
        );
        change.schemas = schemas.map(|all| all.into_iter().map(Into::into).collect());
        self.wrong.extend(fields.all_wrong());
        change
    }

    /// The webhook of a directory: `Some(None)` for `null`, `None` if nothing is said of it.
    pub fn webhook(&mut self, egress: Option<EgressPolicy>) -> Option<Option<WebhookUrl>> {
        let webhook: Option<Object> = self.one("webhook", "an object with url, or null")?;
        let Some(webhook) = webhook else {
            return Some(None);
        };
        let Some(egress) = egress else {
            let detail = "is for stacks that are deployed with Webhooks=enabled";
            self.refuse("webhook", detail);
            return None;
        };
        let mut fields = Self::new(self.at("webhook"), webhook);
        let text: Option<String> = fields.needed("url", "a text");
        let url = text.map(|text| WebhookUrl::parse(&text, egress));
        if let Some(Err(detail)) = url {
            fields.refuse("url", detail);
        }
        self.wrong.extend(fields.all_wrong());
        url.and_then(Result::ok).map(Some)
    }

    /// What was wrong, in the order in which it was found, and what is left over.
    fn all_wrong(mut self) -> Vec<Invalid> {
        let left: Vec<String> = self.rest.keys().cloned().collect();
        for name in left {
            self.refuse(&name, "is not known here");
        }
        self.wrong
    }

    /// Everything is read.
    ///
    /// # Errors
    ///
    /// 422 that names what was wrong.
    pub fn finish(self) -> Result<(), Problem> {
        match self.all_wrong() {
            wrong if wrong.is_empty() => Ok(()),
            wrong => Err(Problem::invalid(wrong)),
        }
    }
}

/// The settings that a new directory has.
pub fn chosen(change: &SettingsChange) -> Settings {
    change.of(&Settings::default())
}

/// A header that makes a request one that can be sent again: 1 to 255 visible characters.
///
/// # Errors
///
/// 400.
pub fn idempotency_key(headers: &http::HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    match key.len() {
        1..=255 => Ok(Some(key)),
        _ => Err(Problem::new(
            400,
            "Idempotency-Key must have 1 to 255 visible characters.",
        )),
    }
}
