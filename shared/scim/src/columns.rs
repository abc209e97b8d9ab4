//! Columns of a filter: each value of a resource is read once, regardless of the number of terms
//! that compare it.
//!
//! A column is an attribute or sub-attribute in one form of comparison: case-folded or exact text,
//! a time, or the JSON value. Terms with the same attribute and form share a column, inside and
//! outside of `[ ]`. A column is filled on first use.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use crate::Object;
use crate::budget::{BudgetExhausted, ComparisonBudget, Meter};
use crate::fold::{cost_of_folding, folded};
use crate::schema::{Attribute, Target};
use crate::value::{date_time, is_unassigned};

/// Cost of reading a time, in units of [`ComparisonBudget`].
const COST_OF_A_TIME: usize = 8;

/// The form in which values are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The JSON value.
    Value,
    /// Text, folded unless `case_exact`.
    Text { case_exact: bool },
    /// A point in time.
    Time,
}

/// The values of one attribute or sub-attribute, in one form.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    target: Target<'a>,
    form: Form,
    /// Whether a missing value is replaced by the default of the attribute.
    or_default: bool,
}

/// Index of a column of a filter.
#[derive(Clone, Copy)]
pub(crate) struct ColumnId(usize);

/// The columns of a filter.
#[derive(Clone, Default)]
pub(crate) struct Columns<'a>(Vec<Column<'a>>);

impl<'a> Columns<'a> {
    /// Returns the column with this target and form, and adds it if it does not exist.
    pub(crate) fn of(&mut self, target: Target<'a>, form: Form, or_default: bool) -> ColumnId {
        let or_default = or_default && target.attribute.default.is_some();
        let is_it = |column: &Column<'a>| {
            let subs = match (column.target.sub, target.sub) {
                (None, None) => true,
                (Some(a), Some(b)) => std::ptr::eq(a, b),
                _ => false,
            };
            let attributes = std::ptr::eq(column.target.attribute, target.attribute);
            subs && attributes && column.form == form && column.or_default == or_default
        };
        let place = self.0.iter().position(is_it).unwrap_or_else(|| {
            self.0.push(Column {
                target,
                form,
                or_default,
            });
            self.0.len() - 1
        });
        ColumnId(place)
    }
}

/// A value in the form of its column.
pub(crate) enum ColumnValue<'v> {
    /// No value, or an unassigned one.
    Missing,
    /// A JSON value, which may not have the form of the column.
    Value(&'v Value),
    /// A text, in a column of texts.
    Text(Cow<'v, str>),
    /// A time, in a column of times.
    Time(Timestamp),
}

impl ColumnValue<'_> {
    /// RFC 7644 §3.4.2.2, `pr`.
    pub(crate) fn is_present(&self) -> bool {
        match self {
            ColumnValue::Missing => false,
            ColumnValue::Value(value) => has_value(value),
            ColumnValue::Text(_) | ColumnValue::Time(_) => true,
        }
    }
}

impl<'a> Column<'a> {
    fn see<'v>(
        &self,
        slot: Option<&'v Value>,
        meter: &mut Meter<'_>,
    ) -> Result<ColumnValue<'v>, BudgetExhausted> {
        let value = sub_value(self.target.sub, slot).filter(|value| !is_unassigned(value));
        let Some(value) = value else {
            meter.spend(1)?;
            return Ok(ColumnValue::Missing);
        };
        Ok(match (self.form, value) {
            (Form::Text { case_exact: true }, Value::String(text)) => {
                meter.spend(1)?;
                ColumnValue::Text(Cow::Borrowed(text))
            }
            (Form::Text { case_exact: false }, Value::String(text)) => {
                meter.spend(cost_of_folding(text))?;
                ColumnValue::Text(folded(text))
            }
            (Form::Time, Value::String(text)) => {
                meter.spend(COST_OF_A_TIME)?;
                date_time(text).map_or(ColumnValue::Value(value), ColumnValue::Time)
            }
            (_, value) => {
                meter.spend(1)?;
                ColumnValue::Value(value)
            }
        })
    }
}

/// The source of the values: a resource, or the elements of one list.
#[derive(Clone, Copy)]
pub(crate) enum Source<'v> {
    Resource(&'v Object),
    Elements(&'v [Value]),
}

impl<'v> Source<'v> {
    /// Returns the value of an attribute of a resource; a list has no attributes.
    pub(crate) fn value(self, target: Target<'_>) -> Option<&'v Value> {
        match self {
            Source::Resource(resource) => target.attribute_value(resource),
            Source::Elements(_) => None,
        }
    }
}

/// The evaluation of a filter for one source, with the columns read so far.
pub(crate) struct Evaluation<'v, 'w> {
    pub(crate) source: Source<'v>,
    pub(crate) meter: Meter<'w>,
    columns: &'v [Column<'v>],
    read: Vec<Option<Vec<ColumnValue<'v>>>>,
}

impl<'v, 'w> Evaluation<'v, 'w> {
    pub(crate) fn new(
        columns: &'v Columns<'v>,
        source: Source<'v>,
        budget: &'w ComparisonBudget,
    ) -> Self {
        let columns = columns.0.as_slice();
        Evaluation {
            source,
            meter: Meter::new(budget),
            columns,
            read: columns.iter().map(|_| None).collect(),
        }
    }

    /// Returns the number of elements of a multi-valued attribute.
    pub(crate) fn elements(&self, target: Target<'_>) -> usize {
        match self.source {
            Source::Elements(elements) => elements.len(),
            Source::Resource(_) => match self.source.value(target) {
                Some(Value::Array(elements)) => elements.len(),
                Some(_) => 1,
                None => 0,
            },
        }
    }

    fn fill(&mut self, id: ColumnId) -> Result<(), BudgetExhausted> {
        let (Some(column), Some(read)) = (self.columns.get(id.0), self.read.get_mut(id.0)) else {
            return Ok(());
        };
        if read.is_some() {
            return Ok(());
        }
        let mut seen = vec![];
        match self.source {
            Source::Elements(elements) => {
                for element in elements {
                    seen.push(column.see(Some(element), &mut self.meter)?);
                }
            }
            Source::Resource(resource) => {
                let attribute = column.target.attribute;
                let value = column.target.attribute_value(resource);
                let default = attribute.default.as_ref().filter(|_| column.or_default);
                for slot in slots(attribute, value.or(default)) {
                    seen.push(column.see(slot, &mut self.meter)?);
                }
            }
        }
        *read = Some(seen);
        Ok(())
    }

    /// Returns whether some value of a column satisfies `passes`. `cost` is the cost of one
    /// comparison.
    pub(crate) fn any(
        &mut self,
        id: ColumnId,
        cost: impl Fn(&ColumnValue<'v>) -> usize,
        passes: impl Fn(&ColumnValue<'v>) -> bool,
    ) -> Result<bool, BudgetExhausted> {
        self.fill(id)?;
        let seen = self.read.get(id.0).and_then(Option::as_deref);
        let seen = seen.unwrap_or_default();
        if seen.is_empty() {
            self.meter.spend(1)?;
        }
        for value in seen {
            self.meter.spend(cost(value))?;
            if passes(value) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether the value of a column in one element satisfies `passes`.
    pub(crate) fn at(
        &mut self,
        id: ColumnId,
        element: usize,
        cost: impl Fn(&ColumnValue<'v>) -> usize,
        passes: impl Fn(&ColumnValue<'v>) -> bool,
    ) -> Result<bool, BudgetExhausted> {
        self.fill(id)?;
        let seen = self.read.get(id.0).and_then(Option::as_deref);
        let seen = seen.unwrap_or_default().get(element);
        let seen = seen.unwrap_or(&ColumnValue::Missing);
        self.meter.spend(cost(seen))?;
        Ok(passes(seen))
    }
}

/// Returns the values that `any` iterates over: the elements of a list, or the single value, which
/// may be missing.
fn slots<'v>(
    attribute: &Attribute,
    value: Option<&'v Value>,
) -> impl Iterator<Item = Option<&'v Value>> {
    let (list, single) = match value {
        Some(Value::Array(elements)) => (elements.as_slice(), None),
        None if attribute.multi_valued => ([].as_slice(), None),
        value => ([].as_slice(), Some(value)),
    };
    list.iter().map(Some).chain(single)
}

fn sub_value<'v>(sub: Option<&Attribute>, value: Option<&'v Value>) -> Option<&'v Value> {
    match sub {
        None => value,
        Some(sub) => value?.get(&sub.name),
    }
}

/// RFC 7644 §3.4.2.2, `pr`: returns whether the value is not empty, or is an object with such a
/// value.
pub(crate) fn has_value(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.values().any(has_value),
        value => !is_unassigned(value),
    }
}
