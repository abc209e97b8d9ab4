//! What a filter looks at: each value is read once for each resource, however
//! many terms compare it.
//!
//! A column is an attribute or sub-attribute in the form in which terms compare
//! it: text folded or as it is, a time, or the value itself. Terms that compare
//! the same thing share a column, be they within `[ ]` or not. It is filled when
//! the first of them asks for it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use crate::Object;
use crate::budget::{BudgetExhausted, ComparisonBudget, Meter};
use crate::fold::{cost_of_folding, folded};
use crate::schema::{Attribute, Target};
use crate::value::{date_time, is_unassigned};

/// The units that it takes to read a time.
const COST_OF_A_TIME: usize = 8;

/// The form in which values are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The JSON value.
    Value,
    /// Text, folded unless case counts.
    Text { case_exact: bool },
    /// A point in time.
    Time,
}

/// The values of one attribute or sub-attribute, in one form.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    target: Target<'a>,
    form: Form,
    /// Whether the attribute has its default if the resource does not have it.
    or_default: bool,
}

/// Which of the columns of a filter.
#[derive(Clone, Copy)]
pub(crate) struct ColumnId(usize);

/// The columns of a filter.
#[derive(Clone, Default)]
pub(crate) struct Columns<'a>(Vec<Column<'a>>);

impl<'a> Columns<'a> {
    /// The column of this kind, which is added if there is none.
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

/// A value as a term sees it.
pub(crate) enum Seen<'v> {
    /// There is none, or it is unassigned.
    Nothing,
    /// A value, which may be one that is not of the column's form.
    Value(&'v Value),
    /// In a column of texts.
    Text(Cow<'v, str>),
    /// In a column of times.
    Time(Timestamp),
}

impl Seen<'_> {
    /// RFC 7644 §3.4.2.2, `pr`.
    pub(crate) fn is_present(&self) -> bool {
        match self {
            Seen::Nothing => false,
            Seen::Value(value) => has_value(value),
            Seen::Text(_) | Seen::Time(_) => true,
        }
    }
}

impl<'a> Column<'a> {
    fn see<'v>(
        &self,
        slot: Option<&'v Value>,
        meter: &mut Meter<'_>,
    ) -> Result<Seen<'v>, BudgetExhausted> {
        let value = sub_value(self.target.sub, slot).filter(|value| !is_unassigned(value));
        let Some(value) = value else {
            meter.spend(1)?;
            return Ok(Seen::Nothing);
        };
        Ok(match (self.form, value) {
            (Form::Text { case_exact: true }, Value::String(text)) => {
                meter.spend(1)?;
                Seen::Text(Cow::Borrowed(text))
            }
            (Form::Text { case_exact: false }, Value::String(text)) => {
                meter.spend(cost_of_folding(text))?;
                Seen::Text(folded(text))
            }
            (Form::Time, Value::String(text)) => {
                meter.spend(COST_OF_A_TIME)?;
                date_time(text).map_or(Seen::Value(value), Seen::Time)
            }
            (_, value) => {
                meter.spend(1)?;
                Seen::Value(value)
            }
        })
    }
}

/// What is looked at: a resource, or the elements of one list.
#[derive(Clone, Copy)]
pub(crate) enum Source<'v> {
    Resource(&'v Object),
    Elements(&'v [Value]),
}

impl<'v> Source<'v> {
    /// The value of an attribute, which a list without its resource does not know.
    pub(crate) fn value(self, target: Target<'_>) -> Option<&'v Value> {
        match self {
            Source::Resource(resource) => target.attribute_value(resource),
            Source::Elements(_) => None,
        }
    }
}

/// One look at a resource, with what was read of it.
pub(crate) struct Look<'v, 'w> {
    pub(crate) source: Source<'v>,
    pub(crate) meter: Meter<'w>,
    columns: &'v [Column<'v>],
    read: Vec<Option<Vec<Seen<'v>>>>,
}

impl<'v, 'w> Look<'v, 'w> {
    pub(crate) fn new(
        columns: &'v Columns<'v>,
        source: Source<'v>,
        budget: &'w ComparisonBudget,
    ) -> Self {
        let columns = columns.0.as_slice();
        Look {
            source,
            meter: Meter::new(budget),
            columns,
            read: columns.iter().map(|_| None).collect(),
        }
    }

    /// How many elements a multi-valued attribute has.
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

    /// Whether some value of a column passes. `cost` is that of one comparison.
    pub(crate) fn any(
        &mut self,
        id: ColumnId,
        cost: impl Fn(&Seen<'v>) -> usize,
        passes: impl Fn(&Seen<'v>) -> bool,
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

    /// Whether the value of a column that belongs to one element passes.
    pub(crate) fn at(
        &mut self,
        id: ColumnId,
        element: usize,
        cost: impl Fn(&Seen<'v>) -> usize,
        passes: impl Fn(&Seen<'v>) -> bool,
    ) -> Result<bool, BudgetExhausted> {
        self.fill(id)?;
        let seen = self.read.get(id.0).and_then(Option::as_deref);
        let seen = seen.unwrap_or_default().get(element);
        let seen = seen.unwrap_or(&Seen::Nothing);
        self.meter.spend(cost(seen))?;
        Ok(passes(seen))
    }
}

/// What `any` goes over: the elements of a list, or the one value, which may be
/// missing.
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

/// RFC 7644 §3.4.2.2, `pr`: a value that is not empty, or an object with one.
pub(crate) fn has_value(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.values().any(has_value),
        value => !is_unassigned(value),
    }
}
