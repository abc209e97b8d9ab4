//! The budget of comparisons that filters, sorting and PATCH share.
//!
//! The number of terms of a filter ([`MAX_FILTER_TERMS`](crate::MAX_FILTER_TERMS)) and the size of
//! a resource are limited, but each term is compared with each element of a list, for each resource
//! of a search. The product has no limit. Therefore comparisons are counted while they are made, in
//! units of about 10 ns each:
//!
//! | work | units |
//! |---|---|
//! | comparing a value with a term | 1, and 1 for every 64 bytes of its text |
//! | the same with `co` | 1, and 1 for every 16 bytes of its text |
//! | reading a value and folding its text, once for each resource | 1, and 1 for every 64 bytes, or for every 4 if it is not ASCII |
//! | reading a time, once for each resource | 8 |
//! | an element whose `primary` is read for sorting | 1 |
//! | an element of a list that a PATCH operation without filter edits | 4, and 4 for every 64 bytes of its texts |

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The units left for a request. Threads and all resources of one request can share a budget.
///
/// ```
/// use scim::{Filter, ResourceType, ComparisonBudget, BudgetExhausted};
///
/// let filter = Filter::parse(r#"emails.value co "a" or emails.value co "b""#)?;
/// let filter = filter.resolve(ResourceType::user())?;
/// let ann = scim::json::parse(br#"{"emails": [{"value": "x@example.org"}, {"value": "y@example.org"}]}"#)?;
/// let budget = ComparisonBudget::new(100);
/// assert_eq!(filter.matches(&ann, &budget), Ok(true));
/// // Two values were read, and the first term matched the first value.
/// assert_eq!(budget.left(), 97);
/// assert_eq!(filter.matches(&ann, &ComparisonBudget::new(2)), Err(BudgetExhausted));
/// # Ok::<(), scim::Error>(())
/// ```
#[derive(Debug)]
pub struct ComparisonBudget(AtomicUsize);

/// The error for a request that needs more units than its budget has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetExhausted;

impl fmt::Display for BudgetExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request needs more comparisons than one request may make")
    }
}

impl std::error::Error for BudgetExhausted {}

impl ComparisonBudget {
    /// Creates a budget of this many units.
    pub fn new(units: usize) -> Self {
        ComparisonBudget(AtomicUsize::new(units))
    }

    /// Returns the number of units left.
    pub fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes units for work that follows.
    ///
    /// # Errors
    ///
    /// [`BudgetExhausted`] if fewer units are left. Then the budget is empty.
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

/// Number of units that a [`Meter`] collects before it takes them from the budget.
const AT_ONCE: usize = 1_024;

/// Takes units from a budget in batches, because an atomic operation is slower than a comparison.
pub(crate) struct Meter<'w> {
    budget: &'w ComparisonBudget,
    owed: usize,
}

impl<'w> Meter<'w> {
    pub(crate) fn new(budget: &'w ComparisonBudget) -> Self {
        Meter { budget, owed: 0 }
    }

    /// See [`ComparisonBudget::spend`]. The error can come up to [`AT_ONCE`] units later.
    pub(crate) fn spend(&mut self, units: usize) -> Result<(), BudgetExhausted> {
        self.owed = self.owed.saturating_add(units);
        if self.owed < AT_ONCE {
            Ok(())
        } else {
            self.settle()
        }
    }

    /// Takes the collected units. It must be called at the end of the work.
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
