//! Parameters of a list, in the query or in the body of a search request (RFC 7644 §3.4.2, §3.4.3).

use serde_json::Value;

use crate::Object;
use crate::error::{Error, describe};
use crate::filter::{Filter, MAX_FILTER_BYTES, ResolvedFilter};
use crate::list::{Paging, integer};
use crate::projection::Projection;
use crate::quirks;
use crate::schema::{Profile, ResourceType};
use crate::sort::{ResolvedSort, Sort};
use crate::validate::{check_message, take};
use crate::value::is_unassigned;

/// The URI of the search message (RFC 7644 §3.4.3).
pub const SEARCH_REQUEST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";

/// Maximum length of a filter in a body, as a multiple of the maximum in a URL (F17).
const LONGER: usize = 8;

/// Parameters of a list.
///
/// An empty query parameter is treated as missing, and so is a member of a body that is `null`,
/// `[]` or an empty string. A string of blanks is empty. An empty `cursor` is an exception: it
/// requests the first page by cursor (RFC 9865). In a body, only `null` and `[]` are a missing
/// cursor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchRequest {
    /// Filter of the resources.
    pub filter: Option<Filter>,
    /// Order of the resources.
    pub sort: Option<Sort>,
    /// Page of the list.
    pub paging: Paging,
    /// `attributes`: attributes to return.
    pub attributes: Vec<String>,
    /// `excludedAttributes`: attributes that are left out.
    pub excluded_attributes: Vec<String>,
}

/// Filter and order of a list, bound to a resource type.
pub struct ResolvedSearch<'a> {
    /// Filter of the resources.
    pub filter: Option<ResolvedFilter<'a>>,
    /// Order of the resources.
    pub sort: Option<ResolvedSort<'a>>,
}

impl SearchRequest {
    /// Returns whether a parameter with this value is treated as missing.
    pub fn is_empty_value(value: &str) -> bool {
        value.trim().is_empty()
    }

    /// Reads query parameters; `get` returns the value of one parameter.
    ///
    /// # Errors
    ///
    /// 400 with the name of the invalid parameter.
    pub fn from_query<'q>(get: impl Fn(&str) -> Option<&'q str>) -> Result<Self, Error> {
        let given = |name| get(name).filter(|value| !Self::is_empty_value(value));
        Ok(SearchRequest {
            filter: given("filter").map(Filter::parse).transpose()?,
            sort: Sort::parse(given("sortBy"), given("sortOrder"))?,
            paging: Paging::parse(given("startIndex"), given("count"), get("cursor"))?,
            attributes: Projection::names(get("attributes")),
            excluded_attributes: Projection::names(get("excludedAttributes")),
        })
    }

    /// Reads the body of a search request (Q1). Unknown members are ignored, as
    /// they are in a query (H9).
    ///
    /// # Errors
    ///
    /// 400 with the name of the invalid member.
    pub fn from_body(mut body: Object) -> Result<Self, Error> {
        let profile = Profile::Tolerant;
        check_message(&mut body, SEARCH_REQUEST_SCHEMA, "a search body", profile)?;
        let filter = text(&mut body, "filter")?;
        let filter = filter.map(|text| Filter::parse_within(&text, LONGER * MAX_FILTER_BYTES));
        let (by, order) = (text(&mut body, "sortBy")?, text(&mut body, "sortOrder")?);
        let start_index = number(&mut body, "startIndex")?;
        let count = number(&mut body, "count");
        let cursor = match take(&mut body, "cursor") {
            Some(Value::String(cursor)) => Some(cursor),
            Some(value) if !is_unassigned(&value) => {
                return Err(unfit("cursor", "a string", &value));
            }
            _ => None,
        };
        Ok(SearchRequest {
            filter: filter.transpose()?,
            sort: Sort::parse(by.as_deref(), order.as_deref())?,
            paging: Paging::of(start_index, count, cursor.as_deref())?,
            attributes: names(&mut body, "attributes")?,
            excluded_attributes: names(&mut body, "excludedAttributes")?,
        })
    }

    /// Binds the attributes to a resource type.
    ///
    /// # Errors
    ///
    /// 400 `invalidSyntax` if both lists are present (J2).
    pub fn projection(&self, ty: &ResourceType) -> Result<Projection, Error> {
        Projection::from_lists(&self.attributes, &self.excluded_attributes, ty)
    }

    /// Binds filter and order to a resource type.
    ///
    /// # Errors
    ///
    /// The errors of [`Filter::resolve`] and [`Sort::resolve`].
    pub fn resolve<'a>(&self, ty: &'a ResourceType) -> Result<ResolvedSearch<'a>, Error> {
        let filter = self.filter.as_ref().map(|filter| filter.resolve(ty));
        let sort = self.sort.as_ref().map(|sort| sort.resolve(ty));
        Ok(ResolvedSearch {
            filter: filter.transpose()?,
            sort: sort.transpose()?,
        })
    }

    /// Binds filter and order in a search over several types (RFC 7644 §3.4.2.1).
    ///
    /// # Errors
    ///
    /// The errors of [`Filter::resolve_among`] and [`Sort::resolve_among`].
    pub fn resolve_among<'a>(&self, ty: &'a ResourceType) -> Result<ResolvedSearch<'a>, Error> {
        let filter = self.filter.as_ref().map(|filter| filter.resolve_among(ty));
        let sort = self.sort.as_ref().map(|sort| sort.resolve_among(ty));
        Ok(ResolvedSearch {
            filter: filter.transpose()?,
            sort: sort.transpose()?,
        })
    }

    /// Returns a text that identifies filter and order. A cursor is valid only for the same binding
    /// (RFC 9865).
    pub fn binding(&self) -> String {
        let filter = self.filter.as_ref().map(Filter::to_string);
        let sort = self.sort.as_ref();
        let sort = sort.map(|sort| (sort.by.to_ascii_lowercase(), sort.descending));
        format!("{filter:?} {sort:?}")
    }
}

fn member(body: &mut Object, name: &str) -> Option<Value> {
    let empty = |value: &Value| {
        is_unassigned(value) || value.as_str().is_some_and(SearchRequest::is_empty_value)
    };
    take(body, name).filter(|value| !empty(value))
}

fn unfit(name: &str, expected: &str, value: &Value) -> Error {
    Error::invalid_value(
        name,
        format_args!("expected {expected}, got {}", describe(value)),
    )
}

fn text(body: &mut Object, name: &str) -> Result<Option<String>, Error> {
    match member(body, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(unfit(name, "a string", &value)),
    }
}

/// Reads a number or a string with a number; a negative number is 0.
fn number(body: &mut Object, name: &str) -> Result<Option<u64>, Error> {
    match member(body, name) {
        None => Ok(None),
        Some(Value::Number(number)) => integer(name, &number.to_string()).map(Some),
        Some(Value::String(text)) => integer(name, &text).map(Some),
        Some(value) => Err(unfit(name, "an integer", &value)),
    }
}

/// Reads a list of names, or one string with commas as in a query.
fn names(body: &mut Object, name: &str) -> Result<Vec<String>, Error> {
    let mut names = vec![];
    for value in member(body, name)
        .map(quirks::single_value_for_list)
        .unwrap_or_default()
    {
        match value {
            Value::String(text) => names.extend(Projection::names(Some(&text))),
            value => return Err(unfit(name, "names of attributes", &value)),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Page, ScimType};

    fn body(value: Value) -> Result<SearchRequest, Error> {
        SearchRequest::from_body(value.as_object().unwrap().clone())
    }

    /// RFC 7644 §3.4.3, figure 4, and the same as a query.
    /// RFC 7644 §3.4.3 (Q1).
    #[test]
    fn a_search_body_is_read_like_a_query() {
        let filter = r#"displayName sw "smith""#;
        let asked = body(json!({
            "schemas": [SEARCH_REQUEST_SCHEMA], "attributes": ["displayName", "userName"],
            "filter": filter, "startIndex": 1, "count": 10, "sortby": "userName", "sortOrder": "descending"}))
        .unwrap();
        let query = SearchRequest::from_query(|name| match name {
            "attributes" => Some("displayName, userName"),
            "filter" => Some(filter),
            "startIndex" => Some("1"),
            "count" => Some("10"),
            "sortBy" => Some("userName"),
            "sortOrder" => Some("descending"),
            _ => None,
        });
        assert_eq!(asked, query.unwrap());
        assert!(asked.sort.as_ref().unwrap().descending);
    }

    #[test]
    fn empty_parameters_are_ignored_in_query_and_body() {
        for nothing in [
            json!({}),
            json!({"cursor": null}),
            json!({"cursor": []}),
            json!({"fnord": 1}),
        ] {
            assert_eq!(body(nothing).unwrap(), SearchRequest::default());
        }
        for name in [
            "filter",
            "startIndex",
            "count",
            "sortBy",
            "sortOrder",
            "attributes",
            "excludedAttributes",
        ] {
            for empty in [
                json!(null),
                json!([]),
                json!(""),
                json!(" "),
                json!("\t \n"),
            ] {
                assert_eq!(
                    body(json!({name: empty})).unwrap(),
                    SearchRequest::default(),
                    "{name} {empty}"
                );
                if let Some(text) = empty.as_str() {
                    let query = SearchRequest::from_query(|asked| (asked == name).then_some(text));
                    assert_eq!(query.unwrap(), SearchRequest::default(), "{name} {empty}");
                }
            }
        }
    }

    /// RFC 7644 §3.4.3 (Q1).
    #[test]
    fn numbers_and_cursors_in_a_search_body() {
        let first = body(json!({"startIndex": -3, "count": "7"})).unwrap();
        let page = Page {
            start_index: 1,
            count: 7,
        };
        assert_eq!(first.paging, Paging::Index(page));
        for asked in [
            body(json!({"cursor": ""})),
            // Missing parameters do not conflict with a cursor.
            body(json!({"cursor": "", "startIndex": "", "count": []})),
            SearchRequest::from_query(|_| Some("")),
        ] {
            let paging = asked.unwrap().paging;
            assert!(matches!(paging, Paging::Cursor { cursor: None, .. }));
        }
    }

    /// RFC 7644 §3.4.3 (Q1).
    #[test]
    fn errors_name_the_invalid_member_of_a_search_body() {
        for (wrong, scim_type, begins) in [
            (
                json!({"filter": 7}),
                ScimType::InvalidValue,
                "filter: expected a string",
            ),
            (
                json!({"filter": "userName"}),
                ScimType::InvalidFilter,
                "filter: ",
            ),
            (
                json!({"count": 1.5}),
                ScimType::InvalidValue,
                "count: expected an integer",
            ),
            (
                json!({"count": true, "cursor": ""}),
                ScimType::InvalidCount,
                "count: expected an integer",
            ),
            (
                json!({"startIndex": 1, "cursor": ""}),
                ScimType::InvalidValue,
                "startIndex: ",
            ),
            (json!({"cursor": 7}), ScimType::InvalidValue, "cursor: "),
            (
                json!({"attributes": [7]}),
                ScimType::InvalidValue,
                "attributes: ",
            ),
            (
                json!({"sortBy": "a", "sortOrder": "up"}),
                ScimType::InvalidValue,
                "sortOrder: ",
            ),
            (
                json!({"schemas": ["urn:x"]}),
                ScimType::InvalidSyntax,
                "schemas: ",
            ),
        ] {
            let error = body(wrong).unwrap_err();
            assert_eq!(error.scim_type(), Some(scim_type), "{begins}");
            assert!(error.detail().starts_with(begins), "{}", error.detail());
        }
    }

    /// RFC 7644 §3.4.3 (F17).
    #[test]
    fn a_search_body_may_contain_a_longer_filter() {
        let long = format!("userName eq \"{}\"", "a".repeat(2 * MAX_FILTER_BYTES));
        assert!(body(json!({"filter": long})).is_ok());
        assert!(SearchRequest::from_query(|name| (name == "filter").then_some(&long)).is_err());
        let longer = format!("userName eq \"{}\"", "a".repeat(9 * MAX_FILTER_BYTES));
        assert!(body(json!({"filter": longer})).is_err());
    }

    #[test]
    fn a_binding_identifies_filter_and_order() {
        let of = |filter: &str, by: &str| {
            body(json!({"filter": filter, "sortBy": by, "count": 3}))
                .unwrap()
                .binding()
        };
        assert_eq!(of("title  PR", "title"), of("title pr", "TITLE"));
        assert_ne!(of("title pr", "title"), of("title pr", "userName"));
        assert_ne!(of("title pr", "title"), of("nickName pr", "title"));
    }
}
