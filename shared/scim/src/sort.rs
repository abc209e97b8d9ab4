//! Sorted lists (RFC 7644 §3.4.2.3).
//!
//! Values are compared as in filters: times as times, numbers as numbers, text with or without
//! case. A multi-valued attribute is sorted by its primary value, or by the first one. Missing
//! values are last in ascending order and first in descending order (S1).

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Number, Value};

use crate::Object;
use crate::budget::{BudgetExhausted, ComparisonBudget};
use crate::elements::is_primary;
use crate::error::{Error, quote, quote_name};
use crate::fold::cost_of_folding;
use crate::schema::{DataType, Located, ResourceType, Returned, Target};
use crate::value::{compare_numbers, date_time, is_unassigned};

/// The order of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The attribute, in the spelling of the client.
    pub by: String,
    /// Whether the order is descending.
    pub descending: bool,
}

impl Sort {
    /// Reads `sortBy` and `sortOrder`. Returns `None` without `sortBy`.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` for an order other than `ascending` and `descending`.
    pub fn parse(by: Option<&str>, order: Option<&str>) -> Result<Option<Sort>, Error> {
        let descending = match order.unwrap_or("ascending") {
            order if order.eq_ignore_ascii_case("ascending") => false,
            order if order.eq_ignore_ascii_case("descending") => true,
            order => {
                return Err(Error::invalid_value(
                    "sortOrder",
                    format_args!("expected ascending or descending, got {}", quote(order)),
                ));
            }
        };
        let by = by.map(str::trim).filter(|by| !by.is_empty());
        Ok(by.map(|by| Sort {
            by: by.to_owned(),
            descending,
        }))
    }

    /// Binds the order to the attributes of a resource type.
    ///
    /// # Errors
    ///
    /// 400 `invalidValue` for an unknown attribute and for a complex attribute without `value`
    /// (S2); 403 `sensitive` for an attribute that is never returned.
    pub fn resolve<'a>(&self, ty: &'a ResourceType) -> Result<ResolvedSort<'a>, Error> {
        let Some(Located::Attribute(target)) = ty.locate(&self.by) else {
            let what = format_args!("{} has no attribute {}", ty.name, quote_name(&self.by));
            return Err(Error::invalid_value("sortBy", what));
        };
        let compared = target.sub.unwrap_or(target.attribute);
        if [target.attribute.returned, compared.returned].contains(&Returned::Never) {
            let place = target.path();
            return Err(Error::sensitive(format_args!(
                "sortBy: {place} cannot be used, because it is never returned"
            )));
        }
        let target = target.with_value().ok_or_else(|| {
            let place = target.path();
            let what = format_args!("{place} is complex; name one of its sub-attributes");
            Error::invalid_value("sortBy", what)
        })?;
        Ok(ResolvedSort {
            target: Some(target),
            descending: self.descending,
        })
    }

    /// Binds the order in a search over several types. Resources of a type without the attribute
    /// have no value to sort by (RFC 7644 §3.4.2.1).
    pub fn resolve_among<'a>(&self, ty: &'a ResourceType) -> Result<ResolvedSort<'a>, Error> {
        match ty.locate(&self.by) {
            Some(_) => self.resolve(ty),
            None => Ok(ResolvedSort {
                target: None,
                descending: self.descending,
            }),
        }
    }
}

/// The order of resources of one type.
#[derive(Clone, Copy, Debug)]
pub struct ResolvedSort<'a> {
    target: Option<Target<'a>>,
    /// Whether the order is descending.
    pub descending: bool,
}

impl ResolvedSort<'_> {
    /// Returns the sort key of a representation.
    ///
    /// # Errors
    ///
    /// [`BudgetExhausted`] if the key needs more units than are left in `budget`.
    pub fn key(
        &self,
        representation: &Object,
        budget: &ComparisonBudget,
    ) -> Result<SortKey, BudgetExhausted> {
        let mut looked_at = 0;
        let value = self.target.and_then(|target| {
            // A missing attribute is sorted as its default.
            let value = target.attribute_value(representation);
            let value = value.or(target.attribute.default.as_ref())?;
            let value = match value {
                Value::Array(elements) => elements
                    .iter()
                    .inspect(|_| looked_at += 1)
                    .find(|element| is_primary(element))
                    .or_else(|| elements.first())?,
                value => value,
            };
            let value = match target.sub {
                Some(sub) => value.get(&sub.name)?,
                None => value,
            };
            Some((target.sub.unwrap_or(target.attribute), value))
        });
        let text = value.and_then(|(_, value)| value.as_str());
        budget.spend(looked_at + text.map_or(1, cost_of_folding))?;
        let Some((attribute, value)) = value.filter(|(_, value)| !is_unassigned(value)) else {
            return Ok(SortKey(Key::Missing));
        };
        Ok(SortKey(match value {
            Value::Bool(value) => Key::Boolean(*value),
            Value::Number(value) => Key::Number(value.clone()),
            Value::String(text) if attribute.data_type == DataType::DateTime => {
                match date_time(text) {
                    Some(time) => Key::Time(time),
                    None => Key::Text(text.clone()),
                }
            }
            Value::String(text) => Key::Text(attribute.prepare(text)),
            _ => Key::Missing,
        }))
    }

    /// Returns whether the order is by id, which can be the order of the store.
    pub fn is_by_id(&self) -> bool {
        self.target
            .is_some_and(|target| target.extension.is_none() && target.attribute.name == "id")
    }
}

/// The sort key of one resource. All keys of an attribute have the same type or are missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey(Key);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Boolean(bool),
    Number(Number),
    Time(Timestamp),
    Text(String),
    Missing,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::Boolean(a), Key::Boolean(b)) => a.cmp(b),
            (Key::Number(a), Key::Number(b)) => compare_numbers(a, b).unwrap_or(Ordering::Equal),
            (Key::Time(a), Key::Time(b)) => a.cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Key {
    fn rank(&self) -> u8 {
        match self {
            Key::Boolean(_) => 0,
            Key::Number(_) => 1,
            Key::Time(_) => 2,
            Key::Text(_) => 3,
            Key::Missing => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ScimType;

    fn sort(by: &str) -> Sort {
        Sort::parse(Some(by), None).unwrap().unwrap()
    }

    fn sorted(by: &str, resources: Value) -> Vec<i64> {
        let sort = sort(by);
        let order = sort.resolve(ResourceType::user()).unwrap();
        let resources = resources.as_array().unwrap();
        let mut keys: Vec<_> = resources
            .iter()
            .map(|resource| {
                let key = order
                    .key(resource.as_object().unwrap(), &ComparisonBudget::new(100))
                    .unwrap();
                (key, resource["n"].as_i64().unwrap())
            })
            .collect();
        keys.sort();
        keys.into_iter().map(|(_, n)| n).collect()
    }

    /// RFC 7644 §3.4.2.3 (S1).
    #[test]
    fn text_is_sorted_case_insensitively_unless_case_exact() {
        let names = json!([{"n": 1, "userName": "bob"}, {"n": 2, "userName": "Ann"}, {"n": 3, "userName": "\u{ff21}NA"}]);
        assert_eq!(sorted("userName", names), [3, 2, 1]);
        let ids = json!([{"n": 1, "externalId": "a"}, {"n": 2, "externalId": "B"}]);
        assert_eq!(sorted("EXTERNALID", ids), [2, 1]);
    }

    /// RFC 7644 §3.4.2.3 (S1).
    #[test]
    fn times_are_sorted_as_times_and_false_before_true() {
        let times = json!([
            {"n": 1, "meta": {"created": "2026-01-01T00:30:00.000Z"}}, {"n": 2, "meta": {"created": "2026-01-01T01:00:00.000+01:00"}}]);
        assert_eq!(sorted("meta.created", times), [2, 1]);
        let active = json!([{"n": 1, "active": true}, {"n": 3}, {"n": 2, "active": false}]);
        assert_eq!(sorted("active", active), [2, 1, 3]);
    }

    /// RFC 7644 §3.4.2.3 (S1).
    #[test]
    fn lists_are_sorted_by_primary_value_and_missing_values_are_last() {
        let emails = json!([
            {"n": 1, "emails": [{"value": "a"}, {"value": "z", "primary": true}]}, {"n": 2},
            {"n": 3, "emails": [{"value": "m"}, {"value": "b"}]}, {"n": 4, "emails": []}]);
        assert_eq!(sorted("emails", emails.clone()), [3, 1, 2, 4]);
        assert_eq!(sorted("emails.value", emails), [3, 1, 2, 4]);
    }

    /// No RFC clause (S2).
    #[test]
    fn attributes_that_cannot_be_sorted_are_refused() {
        for by in ["shoeSize", "name", "name.nope", "urn:x:y", "addresses"] {
            let error = sort(by).resolve(ResourceType::user()).unwrap_err();
            assert_eq!(error.scim_type(), Some(ScimType::InvalidValue), "{by}");
            assert!(error.detail().starts_with("sortBy: "), "{by}");
        }
        let error = sort("password").resolve(ResourceType::user()).unwrap_err();
        assert_eq!(error.status(), 403);
        assert!(Sort::parse(Some("userName"), Some("up")).is_err());
        assert_eq!(Sort::parse(Some(" "), Some("DESCENDING")).unwrap(), None);
        let among = sort("displayName").resolve_among(ResourceType::group());
        assert!(among.unwrap().target.is_some());
        let among = sort("userName").resolve_among(ResourceType::group());
        assert!(among.unwrap().target.is_none());
    }
}
