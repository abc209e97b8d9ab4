//! Request bodies, read by serde. All invalid values are reported at once, each with its JSON pointer.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use directory::{Invalid, wrong_name};
use gateway::{MAX_ADMIN_BODY_BYTES, Problem};
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// Maximum number of invalid values that are reported. Each takes one pass over the body.
const MAX_REPORTED: usize = 20;

/// A request body. All members of `T` are optional, so that it can be read without those that are invalid. An empty
/// body is an empty object.
pub struct Body<T> {
    /// The body as it was sent.
    pub bytes: Bytes,
    /// The valid values.
    pub value: T,
    /// The invalid ones.
    pub errors: Errors,
}

impl<S, T> FromRequest<S> for Body<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Default,
{
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
                value: T::default(),
                errors: Errors(vec![]),
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
        let (value, errors) = read(Value::Object(object));
        Ok(Self {
            bytes,
            value,
            errors,
        })
    }
}

/// Reads a document. serde stops at the first invalid value, so that value is removed and the rest is read again.
fn read<T: DeserializeOwned + Default>(mut document: Value) -> (T, Errors) {
    let mut errors = Errors(vec![]);
    while errors.0.len() < MAX_REPORTED {
        let error = match serde_path_to_error::deserialize::<_, T>(&document) {
            Ok(value) => return (value, errors),
            Err(error) => error,
        };
        let names = names(error.path());
        let pointer = pointer(&names);
        // An object that lacks the member that was removed from it is not reported again.
        if !errors.has(&pointer) {
            errors.push(pointer, error.into_inner().to_string());
        }
        if !remove(&mut document, &names) {
            break;
        }
    }
    (T::default(), errors)
}

fn names(path: &Path) -> Vec<String> {
    let segments = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    });
    segments.collect()
}

/// RFC 6901 §3.
fn pointer(names: &[String]) -> String {
    let names = names.iter();
    names
        .map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")))
        .collect()
}

/// Removes the member of an object. An element of an array is removed with the array, so that the other elements keep
/// their places.
fn remove(document: &mut Value, names: &[String]) -> bool {
    let Some((last, parents)) = names.split_last() else {
        return false;
    };
    match document.pointer_mut(&pointer(parents)) {
        Some(Value::Object(members)) => members.shift_remove(last).is_some(),
        Some(Value::Array(_)) => remove(document, parents),
        _ => false,
    }
}

/// The invalid values of a body.
pub struct Errors(Vec<Invalid>);

impl Errors {
    /// Adds the value at a JSON pointer.
    pub fn push(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Invalid::new(pointer, detail));
    }

    /// Returns whether the value at that pointer, or one in it, is invalid.
    fn has(&self, pointer: &str) -> bool {
        self.0.iter().any(|error| {
            let rest = error.pointer.strip_prefix(pointer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Returns a member that must be present. A member that is missing is an error.
    pub fn required<T>(&mut self, pointer: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.has(pointer) {
            self.push(pointer, "is missing");
        }
        value
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// 422 with all invalid values, if there are any.
    pub fn finish(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(self.0))
        }
    }
}

/// Reads a member that may be absent but not `null`; or, if `T` is an `Option`, one of which `null` is a value.
pub fn present<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(value).map(Some)
}

/// The name of a directory, a tenant or a product.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Name(pub String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match wrong_name(&text) {
            None => Ok(Self(text)),
            Some(detail) => Err(detail),
        }
    }
}

/// Reads the header `Idempotency-Key`, which makes a request repeatable: 1 to 255 visible characters.
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

#[cfg(test)]
mod tests {
    use directory::FromObject;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        #[serde(deserialize_with = "present")]
        name: Option<String>,
        #[serde(deserialize_with = "present")]
        hook: Option<Option<FromObject<Part>>>,
        #[serde(deserialize_with = "present")]
        parts: Option<Vec<Part>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        url: String,
    }

    fn pointers(document: Value) -> (Sample, Vec<String>) {
        let (value, errors) = read(document);
        let pointers = errors.0.into_iter().map(|error| error.pointer);
        (value, pointers.collect())
    }

    #[test]
    fn all_invalid_values_are_reported_each_once() {
        let (value, found) = pointers(json!({
            "name": 1, "a/b": 2, "hook": {"url": []}, "parts": [{"url": "x"}, {"url": 1, "more": 2}]
        }));
        assert!(value.name.is_none() && value.parts.is_none());
        assert_eq!(
            found,
            [
                "/name",
                "/a~1b",
                "/hook/url",
                "/parts/1/url",
                "/parts/1/more"
            ]
        );
        let (_, found) = pointers(json!({"hook": ["x"]}));
        assert_eq!(found, ["/hook"]);
    }

    #[test]
    fn absent_null_and_a_value_differ() {
        let (value, found) = pointers(json!({}));
        assert!(value.hook.is_none() && found.is_empty());
        let (value, found) = pointers(json!({"name": null, "hook": null}));
        assert!(matches!(value.hook, Some(None)));
        assert_eq!(found, ["/name"]);
        let (value, found) = pointers(json!({"hook": {"url": "x"}}));
        let hook = value.hook.unwrap().unwrap().0;
        assert_eq!((hook.url.as_str(), found.len()), ("x", 0));
    }

    #[test]
    fn the_number_of_reported_values_has_a_limit() {
        let members = (0..100).map(|n| (format!("m{n}"), Value::Null));
        let (_, found) = pointers(Value::Object(members.collect()));
        assert_eq!(found.len(), MAX_REPORTED);
    }
}
