//! How much a request may ask for: a budget of work that filters, orders and
//! PATCH share.
//!
//! A filter has at most [`MAX_FILTER_TERMS`](crate::MAX_FILTER_TERMS) terms and
//! a resource has a limited size, but each term looks at each element of a list,
//! and a search does so for each resource. The product has no limit of its own.
//! So work is counted while it is done, in units that stand for about 10 ns each:
//!
//! | what | units |
//! |---|---|
//! | comparing a value with a term | 1, and 1 for every 64 bytes of its text |
//! | the same with `co` | 1, and 1 for every 16 bytes of its text |
//! | reading a value and folding its text, once for each resource | 1, and 1 for every 64 bytes, or for every 4 if it is not ASCII |
//! | reading a time, once for each resource | 8 |
//! | an element that is looked at for its `primary` by a sort | 1 |
//! | an element of a list that a PATCH operation edits without a filter | 4, and 4 for every 64 bytes of its texts |

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many units of work are left of a budget. It may be shared by threads,
/// and by all resources of one request.
///
/// ```
/// use scim::{Filter, ResourceType, ComparisonBudget, BudgetExhausted};
///
/// let filter = Filter::parse(r#"emails.value co "a" or emails.value co "b""#)?;
/// let filter = filter.resolve(ResourceType::user())?;
/// let ann = scim::json::parse(br#"{"emails": [{"value": "x@example.org"}, {"value": "y@example.org"}]}"#)?;
/// let budget = ComparisonBudget::new(100);
/// assert_eq!(filter.matches(&ann, &budget), Ok(true));
/// // Two values were read. The first term was compared with the first of them, and then met by it.
/// assert_eq!(budget.left(), 97);
/// assert_eq!(filter.matches(&ann, &ComparisonBudget::new(2)), Err(BudgetExhausted));
/// # Ok::<(), scim::Error>(())
/// ```
#[derive(Debug)]
pub struct ComparisonBudget(AtomicUsize);

/// The budget of a request is used up, so what it asked for was not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetExhausted;

impl fmt::Display for BudgetExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request needs more comparisons than one request may make")
    }
}

impl std::error::Error for BudgetExhausted {}

impl ComparisonBudget {
    /// A budget of so many units.
    pub fn new(units: usize) -> Self {
        ComparisonBudget(AtomicUsize::new(units))
    }

    /// How many units are left.
    pub fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes units for work that is about to be done.
    ///
    /// # Errors
    ///
    /// [`BudgetExhausted`] if fewer are left. Then none is left from now on.
    pub fn spend(&self, units: usize) -> Result<(), BudgetExhausted> {
        let take = |left: usize| Some(left.saturating_sub(units));
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        match before {
            Ok(before) if before >= units => Ok(()),
            _ => Err(BudgetExhausted),
        }
    }
}

/// How many units a [`Meter`] collects before it takes them from the budget.
const AT_ONCE: usize = 1_024;

/// Takes units from a budget a thousand at a time, as a comparison is quicker
/// than a number that threads share.
pub(crate) struct Meter<'w> {
    budget: &'w ComparisonBudget,
    owed: usize,
}

impl<'w> Meter<'w> {
    pub(crate) fn new(budget: &'w ComparisonBudget) -> Self {
        Meter { budget, owed: 0 }
    }

    /// As [`ComparisonBudget::spend`], but the error may come a thousand units later.
    pub(crate) fn spend(&mut self, units: usize) -> Result<(), BudgetExhausted> {
        self.owed = self.owed.saturating_add(units);
        match self.owed < AT_ONCE {
            true => Ok(()),
            false => self.settle(),
        }
    }

    /// Takes what is owed. It must be called when the work is done.
    pub(crate) fn settle(&mut self) -> Result<(), BudgetExhausted> {
        self.budget.spend(std::mem::take(&mut self.owed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spent_units_are_not_returned() {
        let budget = ComparisonBudget::new(10);
        assert_eq!(budget.spend(4), Ok(()));
        assert_eq!(budget.left(), 6);
        assert_eq!(budget.spend(7), Err(BudgetExhausted));
        assert_eq!((budget.left(), budget.spend(1)), (0, Err(BudgetExhausted)));
        assert_eq!(budget.spend(0), Ok(()));
    }

    #[test]
    fn a_meter_takes_all_units_from_the_budget() {
        let budget = ComparisonBudget::new(5_000);
        let mut meter = Meter::new(&budget);
        for _ in 0..3_000 {
            meter.spend(1).unwrap();
        }
        assert!(budget.left() < 5_000);
        meter.settle().unwrap();
        assert_eq!(budget.left(), 2_000);
        assert_eq!(meter.spend(usize::MAX), Err(BudgetExhausted));
    }
}
