//! Lists of resources and the pages they come in (RFC 7644 §3.4.2 and §3.4.2.4, RFC 9865).

use serde_json::Value;

use crate::Object;
use crate::error::{Error, ScimType, quote};

/// The URI of the list message (RFC 7644 §3.4.2).
pub const LIST_RESPONSE_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// How many resources a page holds when the client does not say (P6).
pub const DEFAULT_COUNT: u64 = 100;

/// How many resources a page holds at most; a higher `count` means this (P2).
pub const MAX_COUNT: u64 = 200;

/// Which part of a list is asked for, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paging {
    /// By number (RFC 7644 §3.4.2.4).
    Index(Page),
    /// By cursor (RFC 9865, P8).
    Cursor {
        /// Where the page before ended; `None` asks for the first one.
        cursor: Option<String>,
        /// The number of resources at most.
        count: u64,
    },
}

impl Default for Paging {
    fn default() -> Self {
        Paging::Index(Page::default())
    }
}

impl Paging {
    /// Reads the query parameters (P1, P2): a `startIndex` below 1 is 1, a
    /// negative `count` is 0, one above the maximum is the maximum. `cursor`,
    /// be it empty, asks for pages by cursor.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` for what is no integer, or `invalidCount` where there
    /// is a cursor (RFC 9865 §4); 400 `invalidValue` for both ways at once.
    pub fn parse(
        start_index: Option<&str>,
        count: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<Paging, Error> {
        let start_index = start_index
            .map(|text| integer("startIndex", text))
            .transpose()?;
        let count = count.map(|text| integer("count", text)).transpose();
        Paging::of(start_index, count, cursor)
    }

    pub(crate) fn of(
        start_index: Option<u64>,
        count: Result<Option<u64>, Error>,
        cursor: Option<&str>,
    ) -> Result<Paging, Error> {
        let within = |count: Option<u64>| count.unwrap_or(DEFAULT_COUNT).min(MAX_COUNT);
        let Some(cursor) = cursor else {
            return Ok(Paging::Index(Page {
                start_index: start_index.unwrap_or(1).max(1),
                count: within(count?),
            }));
        };
        if start_index.is_some() {
            return Err(Error::invalid_value(
                "startIndex",
                "cannot be combined with cursor; use one of the two",
            ));
        }
        let count = count.map_err(|error| {
            Error::new(400, Some(ScimType::InvalidCount), error.detail().to_owned())
        })?;
        Ok(Paging::Cursor {
            cursor: (!cursor.is_empty()).then(|| cursor.to_owned()),
            count: within(count),
        })
    }

    /// The number of resources at most.
    pub fn count(&self) -> u64 {
        match self {
            Paging::Index(page) => page.count,
            Paging::Cursor { count, .. } => *count,
        }
    }
}

/// A page by its number.
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

/// An integer with every negative number as 0 and every number beyond 64 bits
/// as the greatest: to a page they are all the same.
pub(crate) fn integer(name: &str, text: &str) -> Result<u64, Error> {
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListResponse {
    /// How many resources match, on all pages; pages by cursor may leave it out.
    pub total_results: Option<u64>,
    /// The number of the first resource of this page, from 1; `None` for a page by cursor.
    pub start_index: Option<u64>,
    /// What leads to the next page; `None` on the last one, and for pages by number.
    pub next_cursor: Option<String>,
    /// What leads to the page before, where that is to be had; never on the first one.
    pub previous_cursor: Option<String>,
    /// The representations on this page.
    pub resources: Vec<Object>,
}

impl ListResponse {
    /// A list that is given whole.
    pub fn whole(resources: Vec<Object>) -> Self {
        ListResponse {
            total_results: Some(resources.len() as u64),
            start_index: Some(1),
            resources,
            ..ListResponse::default()
        }
    }

    /// The message. `itemsPerPage` counts what is in this page (P3), and
    /// `Resources` is there when it is empty too (P4). All numbers are integers.
    pub fn to_object(self) -> Object {
        let mut object = Object::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        put("schemas", Some(Value::from(vec![LIST_RESPONSE_SCHEMA])));
        put("totalResults", self.total_results.map(Value::from));
        put("startIndex", self.start_index.map(Value::from));
        put("itemsPerPage", Some(Value::from(self.resources.len())));
        put("nextCursor", self.next_cursor.map(Value::from));
        put("previousCursor", self.previous_cursor.map(Value::from));
        let resources = self.resources.into_iter().map(Value::Object).collect();
        put("Resources", Some(resources));
        object
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(start_index: Option<&str>, count: Option<&str>) -> (u64, u64) {
        match Paging::parse(start_index, count, None).unwrap() {
            Paging::Index(page) => (page.start_index, page.count),
            Paging::Cursor { .. } => panic!("a cursor that nobody asked for"),
        }
    }

    /// RFC 7644 §3.4.2.4 (P1, P2).
    #[test]
    fn page_numbers_out_of_range_are_clamped() {
        assert_eq!(page(None, None), (1, DEFAULT_COUNT));
        assert_eq!(page(Some("1"), Some("2")), (1, 2));
        assert_eq!(page(Some("0"), Some("0")), (1, 0));
        assert_eq!(page(Some("-5"), Some("-1")), (1, 0));
        assert_eq!(page(Some("101"), Some("1000000")), (101, MAX_COUNT));
        let huge = "99999999999999999999999";
        assert_eq!(page(Some(huge), Some(huge)), (u64::MAX, MAX_COUNT));
        assert_eq!(page(Some("+7"), Some("007")), (7, 7));
    }

    #[test]
    fn errors_name_the_parameter_that_is_not_an_integer() {
        for text in ["", "a", "1.5", "1e3", "-", " 1", "٣"] {
            let error = Paging::parse(Some(text), None, None).unwrap_err();
            assert_eq!(error.scim_type(), Some(ScimType::InvalidValue));
            assert!(
                error
                    .detail()
                    .starts_with("startIndex: expected an integer")
            );
            let error = Paging::parse(None, Some(text), None).unwrap_err();
            assert_eq!(error.scim_type(), Some(ScimType::InvalidValue));
            let error = Paging::parse(None, Some(text), Some("")).unwrap_err();
            assert_eq!(error.scim_type(), Some(ScimType::InvalidCount));
        }
    }

    /// RFC 9865 (P8).
    #[test]
    fn a_cursor_may_be_empty_and_excludes_start_index() {
        let by_cursor = |cursor: Option<&str>, count| Paging::Cursor {
            cursor: cursor.map(str::to_owned),
            count,
        };
        let parse = |count, cursor| Paging::parse(None, count, Some(cursor)).unwrap();
        assert_eq!(parse(None, ""), by_cursor(None, DEFAULT_COUNT));
        assert_eq!(parse(Some("-1"), "abc"), by_cursor(Some("abc"), 0));
        assert_eq!(parse(Some("999"), "abc"), by_cursor(Some("abc"), MAX_COUNT));
        assert!(Paging::parse(Some("1"), None, Some("")).is_err());
    }

    /// RFC 7644 §3.4.2 (P4).
    #[test]
    fn an_empty_list_contains_resources() {
        assert_eq!(
            Value::Object(ListResponse::whole(Vec::new()).to_object()),
            json!({
                "schemas": [LIST_RESPONSE_SCHEMA],
                "totalResults": 0,
                "startIndex": 1,
                "itemsPerPage": 0,
                "Resources": [],
            })
        );
    }

    /// RFC 7644 §3.4.2 (P3).
    #[test]
    fn items_per_page_counts_the_resources_of_the_page() {
        let list = ListResponse {
            total_results: Some(500),
            start_index: Some(401),
            resources: vec![Object::new(); 3],
            ..ListResponse::default()
        };
        let object = list.to_object();
        assert_eq!(object["itemsPerPage"], json!(3));
        assert_eq!(object["totalResults"], json!(500));
        assert!(object.get("nextCursor").is_none());
    }

    /// RFC 9865 (P8).
    #[test]
    fn a_page_by_cursor_has_no_start_index() {
        let list = ListResponse {
            next_cursor: Some("abc".to_owned()),
            ..ListResponse::default()
        };
        assert_eq!(
            Value::Object(list.to_object()),
            json!({"schemas": [LIST_RESPONSE_SCHEMA], "itemsPerPage": 0, "nextCursor": "abc", "Resources": []})
        );
    }
}
