//! All resources of a kind, read by 16 ranges side by side.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use scim::BudgetExhausted;

use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::resource_kind::{ResourceKind, too_many};
use crate::model::stored::Stored;
use crate::query::Candidates;
use crate::query::effort::Effort;
use crate::table::item;
use crate::table::key;
use crate::table::range::Range;
use crate::table::store::Store;

/// What a filter that no pointer serves may read, in bytes: about 32,000 users of 2 KB.
pub(super) const MAX_SCAN_BYTES: usize = 64 * 1024 * 1024;

impl Store {
    /// What `pick` takes of every resource, in the order of their ids: read by 16 ranges side by side.
    ///
    /// # Errors
    ///
    /// 400 `tooMany` when there is more than one request may read, or picking takes more work or time than it may.
    pub(crate) async fn scan<T: Send>(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
        effort: &Effort,
        pick: impl Fn(&Stored) -> Result<Option<T>, BudgetExhausted> + Sync,
    ) -> Result<Vec<T>, Error> {
        let read = AtomicUsize::new(0);
        let ranges =
            (0..16).map(|digit| self.scan_range(caller, kind, effort, &pick, digit, &read));
        let ranges = tokio::time::timeout_at(effort.until(), try_join_all(ranges))
            .await
            .map_err(|_| too_many(kind))??;
        Ok(ranges.into_iter().flatten().collect())
    }

    async fn scan_range<T: Send>(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
        effort: &Effort,
        pick: &(impl Fn(&Stored) -> Result<Option<T>, BudgetExhausted> + Sync),
        digit: u8,
        read: &AtomicUsize,
    ) -> Result<Vec<T>, Error> {
        let pk = key::resources(caller.directory().id, kind.prefix);
        let mut range = Range::between(&pk, &format!("{digit:x}"), &format!("{digit:x}g"));
        let mut picked = vec![];
        while let Some(items) = self.more(&mut range).await? {
            for resource in &items {
                let size = item::text(resource, item::DOCUMENT)?.len();
                let read = read.fetch_add(size, Ordering::Relaxed) + size;
                if read > MAX_SCAN_BYTES || !effort.goes_on().await {
                    return Err(too_many(kind));
                }
                let resource = item::to_stored(resource)?;
                picked.extend(pick(&resource).map_err(|BudgetExhausted| too_many(kind))?);
            }
        }
        Ok(picked)
    }

    /// All that a query matches, in the order of their ids.
    pub(crate) async fn all(
        &self,
        caller: &Caller,
        kind: &'static ResourceKind,
        matching: Candidates<'_>,
        effort: &Effort,
    ) -> Result<Vec<Stored>, Error> {
        match matching {
            Candidates::Read(all) => Ok(all),
            Candidates::Ids(ids) => self.read_in_order(caller, kind, &ids).await,
            Candidates::All => {
                self.scan(caller, kind, effort, |of| Ok(Some(of.clone())))
                    .await
            }
            Candidates::Tested(test) => {
                let pick = |of: &Stored| Ok(test(of)?.then(|| of.clone()));
                self.scan(caller, kind, effort, pick).await
            }
        }
    }
}
