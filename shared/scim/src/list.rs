//! Lists of resources and the pages they come in (RFC 7644 §3.4.2 and §3.4.2.4, RFC 9865).

use serde_json::Value;

use crate::Object;
use crate::error::{Error, ScimType, quote};

/// The URI of the list message (RFC 7644 §3.4.2).
pub const LIST_RESPONSE_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// Number of resources on a page if the client does not send `count` (P6).
pub const DEFAULT_COUNT: u64 = 100;

/// Maximum number of resources on a page. A higher `count` is reduced to it (P2).
pub const MAX_COUNT: u64 = 200;

/// The requested page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paging {
    /// A page by `startIndex` (RFC 7644 §3.4.2.4).
    Index(Page),
    /// A page by cursor (RFC 9865, P8).
    Cursor {
        /// The cursor of the page; `None` requests the first page.
        cursor: Option<String>,
        /// Maximum number of resources.
        count: u64,
    },
}

impl Default for Paging {
    fn default() -> Self {
        Paging::Index(Page::default())
    }
}

impl Paging {
    /// Reads the query parameters (P1, P2). A `startIndex` below 1 is 1, a negative `count` is 0,
    /// and a `count` above [`MAX_COUNT`] is [`MAX_COUNT`]. A `cursor`, even an empty one, requests
    /// a page by cursor.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` for a value that is not an integer, or `invalidCount` if it is a `count`
    /// beside a cursor (RFC 9865 §4); 400 `invalidValue` for `startIndex` together with `cursor`.
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

    /// Maximum number of resources.
    pub fn count(&self) -> u64 {
        match self {
            Paging::Index(page) => page.count,
            Paging::Cursor { count, .. } => *count,
        }
    }
}

/// A page by `startIndex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Number of the first resource, from 1.
    pub start_index: u64,
    /// Maximum number of resources; 0 requests the total only.
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

/// Reads an integer. A negative number is 0, and a number beyond 64 bits is the greatest: the
/// difference does not matter to a page.
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

/// The response to a list request or a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListResponse {
    /// Number of matching resources on all pages. It is optional for pages by cursor.
    pub total_results: Option<u64>,
    /// Number of the first resource on this page, from 1; `None` for a page by cursor.
    pub start_index: Option<u64>,
    /// Cursor of the next page; `None` on the last page and for pages by `startIndex`.
    pub next_cursor: Option<String>,
    /// Cursor of the previous page, if it is available; `None` on the first page.
    pub previous_cursor: Option<String>,
    /// The representations on this page.
    pub resources: Vec<Object>,
}

impl ListResponse {
    /// Creates a list with all resources on one page.
    pub fn whole(resources: Vec<Object>) -> Self {
        ListResponse {
            total_results: Some(resources.len() as u64),
            start_index: Some(1),
            resources,
            ..ListResponse::default()
        }
    }

    /// Returns the message. `itemsPerPage` is the number of resources on this page (P3), and
    /// `Resources` is present even if it is empty (P4).
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
