//! Values of the simple data types (RFC 7643 §2.3): reading, validation and comparison.
//!
//! A value is stored as the client sent it, in the JSON type of its attribute. The rules of
//! comparison (times as times, numbers as numbers, text with or without case) are the same for
//! filters, duplicates and PATCH.

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Number, Value};

use crate::error::{Error, describe};
use crate::quirks;
use crate::schema::{Attribute, AttributePath, DataType, Returned};

/// Returns whether a value is unassigned: null, `[]` (RFC 7643 §2.5) or `""`, with which Okta
/// clears attributes (C6).
pub(crate) fn is_unassigned(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}

/// Reads one value of a simple attribute and converts it to the type of the attribute (RFC 7643
/// §2.3, C7, C8, X19).
pub(crate) fn read_simple(
    attribute: &Attribute,
    place: AttributePath<'_>,
    value: Value,
) -> Result<Value, Error> {
    let fits = match (attribute.data_type, &value) {
        (DataType::String, Value::String(_)) => true,
        (DataType::Boolean, Value::Bool(_)) => true,
        (DataType::Boolean, Value::String(text)) => {
            if let Some(boolean) = quirks::boolean_in_a_string(text) {
                return Ok(Value::Bool(boolean));
            }
            false
        }
        (DataType::Integer, Value::Number(number)) => is_integer(number),
        (DataType::Decimal, Value::Number(_)) => true,
        (DataType::Integer | DataType::Decimal, Value::String(text)) => {
            if let Some(number) = quirks::number_in_a_string(text)
                && (attribute.data_type == DataType::Decimal || is_integer(&number))
            {
                return Ok(Value::Number(number));
            }
            false
        }
        (DataType::DateTime, Value::String(text)) => date_time(text).is_some(),
        (DataType::Binary, Value::String(text)) => is_base64(text),
        (DataType::Reference, Value::String(text)) => is_uri_reference(text),
        _ => false,
    };
    if fits {
        return Ok(value);
    }
    Err(unexpected(attribute, place, &value))
}

/// Returns the error for a value of the wrong type. It does not quote values that are never
/// returned.
pub(crate) fn unexpected(attribute: &Attribute, place: AttributePath<'_>, value: &Value) -> Error {
    let expected = match attribute.data_type {
        DataType::String => "a string",
        DataType::Boolean => "a Boolean",
        DataType::Decimal => "a number",
        DataType::Integer => "an integer",
        DataType::DateTime => "a dateTime, as in 2026-01-31T09:30:00Z",
        DataType::Binary => "binary data in base64",
        DataType::Reference => "a URI",
        DataType::Complex => "an object",
    };
    if attribute.returned == Returned::Never {
        return Error::invalid_value(place, format_args!("expected {expected}"));
    }
    Error::invalid_value(
        place,
        format_args!("expected {expected}, got {}", describe(value)),
    )
}

/// Returns whether a number is an integer of at most 64 bits. The JSON reader converts larger
/// integers to floats, so they are refused rather than rounded.
pub(crate) fn is_integer(number: &Number) -> bool {
    number.is_i64() || number.is_u64()
}

/// Parses a time in the form of RFC 7643 §2.3.5 (C8), an xsd:dateTime ("XML Schema Part 2:
/// Datatypes", §3.2.7).
///
/// A time without offset is in UTC. `24:00:00` is the beginning of the next day. Digits of a
/// fraction beyond nanoseconds are ignored.
pub(crate) fn date_time(text: &str) -> Option<Timestamp> {
    // jiff accepts other forms as well (a blank instead of the T, week dates, zone names), so the
    // form is checked first.
    let fits = |text: &str, shape: &str| {
        let fits = |(byte, wanted): (u8, u8)| match wanted {
            b'd' => byte.is_ascii_digit(),
            wanted => byte == wanted,
        };
        text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
    };
    let (date, time) = text.split_once('T')?;
    let (clock, rest) = time.split_at_checked("dd:dd:dd".len())?;
    if !fits(date, "dddd-dd-dd") || !fits(clock, "dd:dd:dd") {
        return None;
    }
    let (fraction, offset) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit());
            let (digits, offset) = rest.split_at(end.unwrap_or(rest.len()));
            (Some(digits).filter(|digits| !digits.is_empty())?, offset)
        }
    };
    if !matches!(offset, "" | "Z") && !fits(offset, "+dd:dd") && !fits(offset, "-dd:dd") {
        return None;
    }
    let is_midnight = clock == "24:00:00" && fraction.bytes().all(|digit| digit == b'0');
    let clock = if is_midnight { "00:00:00" } else { clock };
    let fraction = match fraction.get(..9).unwrap_or(fraction) {
        "" => "0",
        nanoseconds => nanoseconds,
    };
    let offset = match offset {
        "" => "Z",
        offset => offset,
    };
    let time: Timestamp = format!("{date}T{clock}.{fraction}{offset}").parse().ok()?;
    if is_midnight {
        time.checked_add(SignedDuration::from_hours(24)).ok()
    } else {
        Some(time)
    }
}

/// Returns whether the text is base64 in either alphabet of RFC 4648, with or without padding.
fn is_base64(text: &str) -> bool {
    let data = text.trim_end_matches('=');
    let padding = text.len() - data.len();
    let letters = data
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte));
    letters && data.len() % 4 != 1 && padding <= 2 && (padding == 0 || text.len().is_multiple_of(4))
}

/// Returns whether the text can be a URI reference. Relative references are legal (RFC 7643
/// §2.3.7), so nearly every word is accepted.
fn is_uri_reference(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || "<>\"{}|\\^`".contains(c))
}

/// Returns a text that is the same for equal values.
pub(crate) fn comparison_key(attribute: &Attribute, value: &Value) -> String {
    match value {
        Value::String(text) => attribute.prepare(text),
        // 1.0 equals 1. Beyond 2^53, a float does not represent one integer.
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                // Minus zero equals zero.
                format!("{:.0}", float + 0.0)
            }
            _ => number.to_string(),
        },
        value => value.to_string(),
    }
}

/// Compares numbers by value, and integers exactly.
pub(crate) fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    let exact = |number: &Number| {
        number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
    };
    match (exact(a), exact(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: DataType, value: Value) -> Result<Value, Error> {
        let attribute = Attribute::new("x", kind, "");
        let place = AttributePath {
            extension: None,
            attribute: "x",
            sub: None,
        };
        read_simple(&attribute, place, value)
    }

    /// RFC 7643 §2.3.2 (C7).
    #[test]
    fn booleans_in_strings_are_read_as_booleans() {
        for text in ["true", "True", "TRUE"] {
            assert_eq!(read(DataType::Boolean, json!(text)).unwrap(), json!(true));
        }
        assert_eq!(
            read(DataType::Boolean, json!("False")).unwrap(),
            json!(false)
        );
        for value in [json!("yes"), json!(1), json!("1"), json!({})] {
            let error = read(DataType::Boolean, value).unwrap_err();
            assert!(error.detail().starts_with("x: expected a Boolean, got "));
        }
    }

    /// RFC 7643 §2.3 (X19).
    #[test]
    fn numbers_in_strings_are_read_as_exact_numbers() {
        assert_eq!(
            read(DataType::Integer, json!("18446744073709551615")).unwrap(),
            json!(u64::MAX)
        );
        assert_eq!(read(DataType::Integer, json!("-7")).unwrap(), json!(-7));
        assert_eq!(read(DataType::Decimal, json!("1.50")).unwrap(), json!(1.5));
        for value in [
            json!("1.5"),
            json!(1.5),
            json!(1e300),
            json!("99999999999999999999"),
            json!(" 7"),
            json!("--7"),
            json!("seven"),
        ] {
            assert!(read(DataType::Integer, value).is_err());
        }
        assert!(read(DataType::Decimal, json!("NaN")).is_err());
    }

    /// RFC 7643 §2.3 (C8).
    #[test]
    fn date_times_may_omit_offset_and_fraction() {
        for text in [
            "2026-01-31T09:30:00Z",
            "2026-01-31T09:30:00.123456789+01:00",
            "2008-02-29T23:59:59-05:30",
            "2026-01-31T09:30:00",
            "2026-01-31T09:30:00.5",
            "2026-01-31T09:30:00.1234567890123Z",
            "2026-01-31T24:00:00Z",
            "2026-12-31T24:00:00.000+14:00",
        ] {
            assert!(read(DataType::DateTime, json!(text)).is_ok(), "{text}");
        }
        for text in [
            "2026-01-31",
            "2026-01-31T09:30",
            "2026-01-31T09:30:00.Z",
            "2026-01-31T09:30:00,5Z",
            "2026-01-31T09:30:00+0100",
            "2026-01-31T24:00:01Z",
            "2026-01-31T24:00:00.1Z",
            "2026-01-31T25:00:00Z",
            "2026-01-31t09:30:00z",
            "9999-12-31T24:00:00Z",
            "2026-01-31 09:30:00Z",
            "2026-02-30T09:30:00Z",
            "20260131T093000Z",
            "2026-01-31T09:30:00Z[Europe/Berlin]",
            "now",
        ] {
            assert!(read(DataType::DateTime, json!(text)).is_err(), "{text}");
        }
    }

    /// RFC 7643 §2.3 (C8).
    #[test]
    fn equal_times_in_different_forms_are_one_instant() {
        let same = |a: &str, b: &str| assert_eq!(date_time(a).unwrap(), date_time(b).unwrap());
        same("2020-01-01T00:00:00", "2020-01-01T00:00:00Z");
        same("2019-12-31T24:00:00", "2020-01-01T00:00:00.000Z");
        same("2020-01-01T01:00:00+01:00", "2020-01-01T00:00:00");
        same(
            "2020-01-01T00:00:00.1234567899",
            "2020-01-01T00:00:00.123456789Z",
        );
        assert_ne!(
            date_time("2020-01-01T00:00:00.1"),
            date_time("2020-01-01T00:00:00")
        );
    }

    /// RFC 7643 §2.3 (C8).
    #[test]
    fn binary_values_must_be_base64() {
        for text in ["MIIDQzCCAqygAwIBAgICEAAwDQ==", "YWJj", "YWI", "YWI=", "_-8"] {
            assert!(read(DataType::Binary, json!(text)).is_ok(), "{text}");
        }
        for text in ["a", "YW I=", "YWI==", "YWJj====", "Ü"] {
            assert!(read(DataType::Binary, json!(text)).is_err(), "{text}");
        }
    }

    /// RFC 7643 §2.3 (C8).
    #[test]
    fn references_may_be_absolute_or_relative_uris() {
        for text in [
            "https://example.com/ann?x=1#y",
            "../Users/26118915",
            "www.example.com",
            "urn:x:y",
            "https://example.com/ä",
        ] {
            assert!(read(DataType::Reference, json!(text)).is_ok(), "{text}");
        }
        for text in ["see my page", "<https://example.com>", "a\nb"] {
            assert!(read(DataType::Reference, json!(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_do_not_quote_values_that_are_never_returned() {
        let attribute = Attribute::new("x", DataType::String, "").returned(Returned::Never);
        let place = AttributePath {
            extension: None,
            attribute: "x",
            sub: None,
        };
        let error = read_simple(&attribute, place, json!(12345)).unwrap_err();
        assert_eq!(error.detail(), "x: expected a string");
    }

    #[test]
    fn equal_values_have_one_key() {
        let key = |kind, value: Value| comparison_key(&Attribute::new("x", kind, ""), &value);
        for same in [json!(1), json!(1.0), json!(1e0)] {
            assert_eq!(key(DataType::Decimal, same), "1");
        }
        assert_eq!(key(DataType::Decimal, json!(-2.50)), "-2.5");
        assert_ne!(
            key(DataType::Decimal, json!(u64::MAX)),
            key(DataType::Decimal, json!(u64::MAX - 1))
        );
        assert_eq!(
            key(DataType::String, json!("Ä")),
            key(DataType::String, json!("ä"))
        );
        assert_ne!(
            key(DataType::Binary, json!("AA")),
            key(DataType::Binary, json!("aa"))
        );
    }

    #[test]
    fn numbers_compare_exactly_where_floats_would_not() {
        let number = |value: Value| value.as_number().cloned().unwrap();
        let compare = |a, b| compare_numbers(&number(a), &number(b)).unwrap();
        assert_eq!(
            compare(json!(u64::MAX), json!(u64::MAX - 1)),
            Ordering::Greater
        );
        assert_eq!(compare(json!(-1), json!(u64::MAX)), Ordering::Less);
        assert_eq!(compare(json!(1.0), json!(1)), Ordering::Equal);
    }
}
