//! Lists of resources and the pages they come in (RFC 7644 §3.4.2 and §3.4.2.4).

use serde_json::Value;

use crate::Object;
use crate::error::{Error, quote};

/// The URI of the list message (RFC 7644 §3.4.2).
pub const LIST_RESPONSE_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// How many resources a page holds when the client does not say (P6).
pub const DEFAULT_COUNT: u64 = 100;

/// How many resources a page holds at most; a higher `count` means this (P2).
pub const MAX_COUNT: u64 = 200;

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The number of the first resource, from 1.
    pub start_index: u64,
    /// The number of resources at most; 0 asks for the total only.
    pub count: u64,
}

impl Default for Page {
    fn default() -> Self {
        Page {
            start_index: 1,
            count: DEFAULT_COUNT,
        }
    }
}

impl Page {
    /// Reads the query parameters (P1, P2): a `startIndex` below 1 is 1, a
    /// negative `count` is 0, one above the maximum is the maximum. What is no
    /// integer is 400 `invalidValue`.
    pub fn parse(start_index: Option<&str>, count: Option<&str>) -> Result<Page, Error> {
        let start_index = start_index
            .map(|text| integer("startIndex", text))
            .transpose()?;
        let count = count.map(|text| integer("count", text)).transpose()?;
        Ok(Page {
            start_index: start_index.unwrap_or(1).max(1),
            count: count.unwrap_or(DEFAULT_COUNT).min(MAX_COUNT),
        })
    }
}

/// An integer with every negative number as 0 and every number beyond 64 bits
/// as the greatest: to a page they are all the same.
fn integer(name: &str, text: &str) -> Result<u64, Error> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::invalid_value(
            name,
            format_args!("expected an integer, got {}", quote(text)),
        ));
    }
    if negative {
        return Ok(0);
    }
    Ok(digits.iter().fold(0u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

/// The answer to a list request or a search.
#[derive(Clone, PartialEq)]
pub struct ListResponse {
    /// How many resources match, on all pages.
    pub total_results: u64,
    /// The number of the first resource of this page, from 1.
    pub start_index: u64,
    /// The representations on this page.
    pub resources: Vec<Object>,
}

impl ListResponse {
    /// The message. `itemsPerPage` counts what is in this page (P3), and
    /// `Resources` is there when it is empty too (P4). All numbers are integers.
    pub fn to_object(self) -> Object {
        let mut object = Object::new();
        object.insert(
            "schemas".to_owned(),
            Value::from(vec![LIST_RESPONSE_SCHEMA]),
        );
        object.insert("totalResults".to_owned(), Value::from(self.total_results));
        object.insert("startIndex".to_owned(), Value::from(self.start_index));
        object.insert("itemsPerPage".to_owned(), Value::from(self.resources.len()));
        object.insert(
            "Resources".to_owned(),
            self.resources.into_iter().map(Value::Object).collect(),
        );
        object
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn page(start_index: Option<&str>, count: Option<&str>, expected: (u64, u64)) {
        let page = Page::parse(start_index, count).unwrap();
        assert_eq!((page.start_index, page.count), expected);
    }

    #[test]
    fn p1_p2_numbers_out_of_range_are_moved_into_it() {
        page(None, None, (1, DEFAULT_COUNT));
        page(Some("1"), Some("2"), (1, 2));
        page(Some("0"), Some("0"), (1, 0));
        page(Some("-5"), Some("-1"), (1, 0));
        page(Some("101"), Some("1000000"), (101, MAX_COUNT));
        page(
            Some("99999999999999999999999"),
            Some("99999999999999999999999"),
            (u64::MAX, MAX_COUNT),
        );
        page(Some("+7"), Some("007"), (7, 7));
    }

    #[test]
    fn what_is_no_integer_is_refused_by_name() {
        for text in ["", "a", "1.5", "1e3", "-", " 1", "٣"] {
            let error = Page::parse(Some(text), None).unwrap_err();
            assert_eq!(error.scim_type(), Some(crate::ScimType::InvalidValue));
            assert!(
                error
                    .detail()
                    .starts_with("startIndex: expected an integer")
            );
            assert!(Page::parse(None, Some(text)).is_err());
        }
    }

    #[test]
    fn p4_an_empty_list_has_its_resources() {
        let list = ListResponse {
            total_results: 0,
            start_index: 1,
            resources: Vec::new(),
        };
        assert_eq!(
            Value::Object(list.to_object()),
            json!({
                "schemas": [LIST_RESPONSE_SCHEMA],
                "totalResults": 0,
                "startIndex": 1,
                "itemsPerPage": 0,
                "Resources": [],
            })
        );
    }

    #[test]
    fn p3_items_per_page_counts_this_page() {
        let list = ListResponse {
            total_results: 500,
            start_index: 401,
            resources: vec![Object::new(); 3],
        };
        let object = list.to_object();
        assert_eq!(object["itemsPerPage"], json!(3));
        assert_eq!(object["totalResults"], json!(500));
    }
}
