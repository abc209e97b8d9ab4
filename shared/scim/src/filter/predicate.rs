//! One comparison of a filter: an operator and the prepared value of the client.

use std::cmp::Ordering;

use jiff::Timestamp;
use memchr::memmem::Finder;
use serde_json::{Number, Value};

use super::{Literal, Operator};
use crate::columns::{ColumnValue, Form};
use crate::error::Error;
use crate::fold::fold;
use crate::quirks;
use crate::schema::{Attribute, AttributePath, DataType};
use crate::value::{compare_numbers, date_time};

/// A comparison with its prepared value.
#[derive(Clone)]
pub(super) enum Predicate {
    /// `eq null`.
    Absent,
    /// `ne null`.
    Present,
    Boolean(Operator, bool),
    Number(Operator, Number),
    Time(Operator, Timestamp),
    /// `co`. The search is prepared once and takes time linear in the length of the value.
    Contains {
        wanted: Box<Finder<'static>>,
        case_exact: bool,
    },
    /// Any other operator on strings.
    Text {
        operator: Operator,
        /// The text to compare with, folded unless `case_exact`.
        wanted: String,
        case_exact: bool,
        /// Whether blanks at the ends of a value are ignored.
        trimmed: bool,
        /// The text of the client, for
        /// [`ResolvedFilter::required_equality`](super::ResolvedFilter::required_equality).
        written: String,
    },
}

impl Predicate {
    pub(super) fn new(
        attribute: &Attribute,
        place: AttributePath<'_>,
        operator: Operator,
        value: &Literal,
    ) -> Result<Predicate, Error> {
        use Operator::{Co, Eq, Ew, Ne, Sw};
        let unfit = |expected: &str| {
            Error::invalid_filter(format_args!(
                "{place} is of type {}: {expected}",
                attribute.data_type.as_str()
            ))
        };
        if *value == Literal::Null {
            return match operator {
                Eq => Ok(Predicate::Absent),
                Ne => Ok(Predicate::Present),
                _ => Err(Error::invalid_filter(format_args!(
                    "{place}: only eq and ne can compare with null"
                ))),
            };
        }
        let text = || -> Result<Predicate, Error> {
            let Literal::String(written) = value else {
                return Err(unfit("compare it with a string in double quotes"));
            };
            let case_exact = attribute.case_exact;
            // `co`, `sw` and `ew` compare parts of a name, which can begin or end with a blank.
            let trimmed = attribute.is_name && !matches!(operator, Co | Sw | Ew);
            let wanted = match (trimmed, case_exact) {
                (true, _) => attribute.prepare(written),
                (false, true) => written.clone(),
                (false, false) => fold(written),
            };
            if operator == Co {
                let wanted = Box::new(Finder::new(&wanted).into_owned());
                return Ok(Predicate::Contains { wanted, case_exact });
            }
            Ok(Predicate::Text {
                operator,
                wanted,
                case_exact,
                trimmed,
                written: written.clone(),
            })
        };
        match attribute.data_type {
            DataType::String | DataType::Reference => text(),
            DataType::Binary if matches!(operator, Eq | Ne) => text(),
            DataType::Binary => Err(unfit("only eq, ne and pr can compare it")),
            DataType::Boolean if !matches!(operator, Eq | Ne) => {
                Err(unfit("only eq, ne and pr can compare it"))
            }
            DataType::Boolean => match value {
                Literal::Boolean(wanted) => Some(*wanted),
                Literal::String(text) => quirks::boolean_in_a_string(text),
                _ => None,
            }
            .map(|wanted| Predicate::Boolean(operator, wanted))
            .ok_or_else(|| unfit("compare it with true or false")),
            DataType::Integer | DataType::Decimal if matches!(operator, Co | Sw | Ew) => {
                Err(unfit("only eq, ne, gt, ge, lt, le and pr can compare it"))
            }
            DataType::Integer | DataType::Decimal => match value {
                Literal::Number(wanted) => Some(wanted.clone()),
                Literal::String(text) => quirks::number_in_a_string(text),
                _ => None,
            }
            .map(|wanted| Predicate::Number(operator, wanted))
            .ok_or_else(|| unfit("compare it with a number")),
            // `co`, `sw` and `ew` compare the text of a time.
            DataType::DateTime if matches!(operator, Co | Sw | Ew) => text(),
            DataType::DateTime => match value {
                Literal::String(text) => date_time(text),
                _ => None,
            }
            .map(|wanted| Predicate::Time(operator, wanted))
            .ok_or_else(|| unfit("compare it with a time, as in \"2026-01-31T09:30:00Z\"")),
            DataType::Complex => Err(unfit("name one of its sub-attributes")),
        }
    }

    /// Returns the form in which the predicate compares values.
    pub(super) fn form(&self) -> Form {
        match *self {
            Predicate::Absent
            | Predicate::Present
            | Predicate::Boolean(..)
            | Predicate::Number(..) => Form::Value,
            Predicate::Time(..) => Form::Time,
            Predicate::Contains { case_exact, .. } | Predicate::Text { case_exact, .. } => {
                Form::Text { case_exact }
            }
        }
    }

    /// Returns the cost of one comparison in units of
    /// [`ComparisonBudget`](crate::ComparisonBudget).
    pub(super) fn cost(&self, seen: &ColumnValue<'_>) -> usize {
        match (self, seen) {
            (Predicate::Contains { .. }, ColumnValue::Text(text)) => 1 + text.len() / 16,
            (_, ColumnValue::Text(text)) => 1 + text.len() / 64,
            _ => 1,
        }
    }

    /// Returns whether a value, or a missing value, satisfies the predicate.
    pub(super) fn passes(&self, seen: &ColumnValue<'_>) -> bool {
        let (operator, ordering) = match (self, seen) {
            (Predicate::Absent, seen) => return matches!(seen, ColumnValue::Missing),
            (Predicate::Present, seen) => return !matches!(seen, ColumnValue::Missing),
            (Predicate::Contains { wanted, .. }, ColumnValue::Text(is)) => {
                return wanted.find(is.as_bytes()).is_some();
            }
            (Predicate::Contains { .. }, _) => return false,
            (
                Predicate::Text {
                    operator,
                    wanted,
                    trimmed,
                    ..
                },
                ColumnValue::Text(is),
            ) => match operator {
                Operator::Sw => return is.starts_with(wanted.as_str()),
                Operator::Ew => return is.ends_with(wanted.as_str()),
                operator => {
                    let is = if *trimmed { is.trim() } else { is };
                    (*operator, Some(is.cmp(wanted.as_str())))
                }
            },
            (Predicate::Time(operator, wanted), ColumnValue::Time(is)) => {
                (*operator, Some(is.cmp(wanted)))
            }
            (Predicate::Boolean(operator, wanted), ColumnValue::Value(Value::Bool(is))) => {
                (*operator, Some(is.cmp(wanted)))
            }
            (Predicate::Number(operator, wanted), ColumnValue::Value(Value::Number(is))) => {
                (*operator, compare_numbers(is, wanted))
            }
            // A missing value, or a value of another type, satisfies `ne` only.
            (
                Predicate::Text { operator, .. }
                | Predicate::Time(operator, _)
                | Predicate::Boolean(operator, _)
                | Predicate::Number(operator, _),
                _,
            ) => (*operator, None),
        };
        match (operator, ordering) {
            (Operator::Ne, ordering) => ordering != Some(Ordering::Equal),
            (_, None) => false,
            (Operator::Eq, Some(ordering)) => ordering.is_eq(),
            (Operator::Gt, Some(ordering)) => ordering.is_gt(),
            (Operator::Ge, Some(ordering)) => ordering.is_ge(),
            (Operator::Lt, Some(ordering)) => ordering.is_lt(),
            (Operator::Le, Some(ordering)) => ordering.is_le(),
            (Operator::Co | Operator::Sw | Operator::Ew, Some(_)) => false,
        }
    }

    /// Returns the text that `eq` requires.
    pub(super) fn required_text(&self) -> Option<&str> {
        match self {
            Predicate::Text {
                operator: Operator::Eq,
                written,
                ..
            } => Some(written),
            _ => None,
        }
    }
}
