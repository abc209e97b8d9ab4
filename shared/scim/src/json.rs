//! Reads the JSON bodies of requests.
//!
//! All bodies are read here, so the same input is refused everywhere: text that is not UTF-8 (RFC
//! 8259 §8.1, H4), duplicate names in any case (RFC 7643 §2.1, H6), nesting deeper than any SCIM
//! message needs, and values other than an object. Most JSON readers silently keep the last of two
//! equal names, but the service must not guess which value was meant.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::Object;
use crate::error::{Error, quote};

/// Maximum nesting depth of objects and lists. SCIM messages need five levels.
pub const MAX_DEPTH: usize = 32;

/// Reads a request body, which must be one JSON object.
pub fn parse(bytes: &[u8]) -> Result<Object, Error> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::invalid_syntax("the body is not valid UTF-8"))?;
    // RFC 8259 §8.1 allows to ignore a byte order mark, which some clients send.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Err(Error::invalid_syntax(
            "the body is empty; a JSON object is needed",
        ));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Level(0)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| {
            Error::invalid_syntax(format_args!("the body is not accepted: {error}"))
        })?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Error::invalid_syntax("the body is not a JSON object")),
    }
}

/// Reads one value. The field is the number of objects and lists around it.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn below<E: serde::de::Error>(self) -> Result<Level, E> {
        if self.0 >= MAX_DEPTH {
            return Err(E::custom(format_args!(
                "objects and lists are nested more than {MAX_DEPTH} levels deep"
            )));
        }
        Ok(Level(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let level = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(level)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let level = self.below()?;
        let mut object = Object::new();
        let mut names = HashSet::new();
        while let Some(name) = access.next_key::<String>()? {
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(A::Error::custom(format_args!(
                    "{} appears twice in one object (names are case-insensitive)",
                    quote(&name)
                )));
            }
            let value = access.next_value_seed(level)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ScimType;

    #[track_caller]
    fn refused(bytes: &[u8], because: &str) {
        let error = parse(bytes).unwrap_err();
        assert_eq!(error.status(), 400);
        assert_eq!(error.scim_type(), Some(ScimType::InvalidSyntax));
        assert!(error.detail().contains(because), "{}", error.detail());
    }

    /// RFC 7644 §3.8, RFC 8259 §8.1 (H4).
    #[test]
    fn invalid_utf8_is_refused() {
        refused(b"{\"userName\":\"\xff\"}", "UTF-8");
    }

    /// RFC 7643 §2.1 (H6).
    #[test]
    fn duplicate_names_are_refused_in_any_case_and_depth() {
        refused(br#"{"a":1,"a":2}"#, "\"a\" appears twice");
        refused(
            br#"{"userName":"a","username":"b"}"#,
            "\"username\" appears twice",
        );
        refused(
            br#"{"emails":[{"value":"a","Value":"b"}]}"#,
            "\"Value\" appears twice",
        );
    }

    #[test]
    fn nesting_deeper_than_the_maximum_is_an_error() {
        for depth in [33, 100, 127, 200, 100_000] {
            let text = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            refused(text.as_bytes(), "nested more than 32 levels deep");
        }
        let fits = format!("{{\"a\":{}{}}}", "[".repeat(31), "]".repeat(31));
        assert!(parse(fits.as_bytes()).is_ok());
    }

    #[test]
    fn only_an_object_is_a_body() {
        refused(b"", "empty");
        refused(b" \r\n", "empty");
        refused(b"[]", "not a JSON object");
        refused(b"null", "not a JSON object");
        refused(b"{} {}", "trailing characters");
        refused(b"{\"a\":", "EOF");
        refused(b"{\"a\":\"\\ud800\"}", "not accepted");
    }

    #[test]
    fn integers_stay_exact_and_order_is_kept() {
        let object = parse(br#"{"z":18446744073709551615,"a":-9223372036854775808}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&object).unwrap(),
            r#"{"z":18446744073709551615,"a":-9223372036854775808}"#
        );
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert!(parse("\u{feff}{}".as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_json_like_text_causes_a_panic(text in r#"[\[\]{}":,a0-9.eE\\u-]{0,80}"#) {
            let _ = parse(text.as_bytes());
        }
    }
}
