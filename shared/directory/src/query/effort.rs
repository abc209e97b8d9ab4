//! What one request may spend on filters and `sortBy`.
//!
//! Reading is limited by bytes where it is done (`scan.rs`). Comparing is limited here, by work and by time, for all
//! resources that a request looks at, in whichever lists and however many are read side by side.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scim::{BudgetExhausted, ComparisonBudget};
use tokio::time::Instant;

use crate::model::error::Error;
use crate::model::resource_kind::ResourceKind;
use crate::model::resource_kind::too_many;
use crate::model::stored::Stored;

/// How much the filter and the order of one request may compare, in units of [`ComparisonBudget`] (about 10 ns each, so half a
/// second of a core): the most terms that a filter can have, with 32,000 users of three values each.
const MAX_WORK: usize = 50_000_000;

/// How long one request may look at resources, in all. API Gateway waits 30 seconds.
const MAX_TIME: Duration = Duration::from_secs(20);

/// How long a request may compute before other tasks of the process have their turn.
const SLICE: Duration = Duration::from_millis(10);

/// What is left of a request's budget.
pub(crate) struct Effort {
    work: ComparisonBudget,
    begun: Instant,
    /// When other tasks had their turn, in microseconds after it began.
    turned: AtomicU64,
}

impl Effort {
    /// The budget of one request, which begins now.
    pub(crate) fn new() -> Self {
        Self {
            work: ComparisonBudget::new(MAX_WORK),
            begun: Instant::now(),
            turned: AtomicU64::new(0),
        }
    }

    /// What filters and orders are counted against.
    pub(crate) fn work(&self) -> &ComparisonBudget {
        &self.work
    }

    /// When the time is over.
    pub(crate) fn until(&self) -> Instant {
        self.begun + MAX_TIME
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// To be awaited before each resource: whether there is time for one more. Other tasks have their turn now and then.
    pub(crate) async fn goes_on(&self) -> bool {
        loop {
            let turned = self.turned.load(Ordering::Relaxed);
            if self.micros().saturating_sub(turned) < SLICE.as_micros() as u64 {
                break;
            }
            tokio::task::yield_now().await;
            // Of several ranges that one task reads side by side, the first to go on begins the next slice for all.
            let next = self.micros();
            let begun =
                self.turned
                    .compare_exchange(turned, next, Ordering::Relaxed, Ordering::Relaxed);
            if begun.is_ok() {
                break;
            }
        }
        Instant::now() < self.until()
    }

    /// Those of the resources that pass a test, in their order.
    ///
    /// # Errors
    ///
    /// 400 `tooMany` when the budget is spent.
    pub(crate) async fn passing(
        &self,
        kind: &ResourceKind,
        resources: Vec<Stored>,
        test: impl Fn(&Stored) -> Result<bool, BudgetExhausted> + Send,
    ) -> Result<Vec<Stored>, Error> {
        let mut passing = vec![];
        for resource in resources {
            if !self.goes_on().await {
                return Err(too_many(kind));
            }
            if test(&resource).map_err(|_| too_many(kind))? {
                passing.push(resource);
            }
        }
        Ok(passing)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn the_time_of_a_request_ends_between_two_resources() {
        assert!(Effort::new().goes_on().await);
        let late = Effort {
            begun: Instant::now() - MAX_TIME,
            ..Effort::new()
        };
        assert!(!late.goes_on().await);
    }

    /// Sixteen ranges of one request compute for a slice together, not for a slice each.
    #[tokio::test]
    async fn other_tasks_have_their_turn_after_each_slice() {
        let turns = Arc::new(AtomicUsize::new(0));
        let other = tokio::spawn({
            let turns = turns.clone();
            async move {
                loop {
                    turns.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        });
        let effort = Effort::new();
        let looked_at = AtomicUsize::new(0);
        let range = async || {
            for _ in 0..10 {
                assert!(effort.goes_on().await);
                looked_at.fetch_add(1, Ordering::Relaxed);
                // A resource that takes half a slice.
                std::thread::sleep(SLICE / 2);
            }
        };
        futures_util::future::join_all((0..16).map(|_| range())).await;
        assert_eq!(looked_at.into_inner(), 160);
        assert!(turns.load(Ordering::Relaxed) >= 60, "{turns:?}");
        other.abort();
    }
}
