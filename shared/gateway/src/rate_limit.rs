//! The rate limit of each directory (A8), so that the client of one customer cannot use up the capacity of the table.
//!
//! A unit of work is a request, an operation of a bulk request, or a hundred memberships in a change of a group. Each
//! directory has a token bucket that refills at a steady rate. A request is admitted if the bucket holds one unit, and takes
//! as many as it needs. The bucket can go into debt, so that the largest bulk request can run.
//!
//! Lambda runs a process for each concurrent request, so the bucket is an item of the table ([`Store::charge`]). A process
//! counts the work of a directory and charges it ten units at a time, beside a request: one write for ten requests, none for
//! a directory with fewer, and no request waits for it. The response to a charge says when the bucket will be full again.
//! Between charges, a process knows only of its own work.
//!
//! A directory that sends as much as it can to `p` processes for `t` seconds is therefore admitted `rate × (4 + t)` units,
//! and at most `19 p` more: up to ten by each process between the moment at which the bucket is empty and the next charge,
//! and nine that are not charged yet. Bulk requests and changes of groups count in full and can exceed that by their own
//! size. All units that were charged are paid for by waiting, so the excess does not accumulate.
//!
//! Requests are counted after authentication, so a client cannot use up the bucket of another directory. A charge that fails
//! is logged, and no request is refused because of it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use directory::{DirectoryId, Store};
use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;

use crate::Error;
use crate::background::Background;

/// Capacity of a bucket, in seconds of its rate. Okta and Entra send bursts of requests.
const BURST_SECONDS: u32 = 4;

/// Number of units in one charge.
const CHARGED_AT_ONCE: u32 = 10;

/// Maximum number of buckets that a process caches. The least used are evicted one by one.
const CAPACITY: usize = 10_000;

/// Number of memberships in a unit of work.
const MEMBERSHIPS: usize = 100;

/// The bucket of a directory, as far as this process knows.
#[derive(Default)]
struct Bucket {
    /// The time at which the bucket will be full again, which describes it completely ("generic cell rate algorithm"). It is
    /// full at a time in the past.
    full: Timestamp,
    /// Units of work that are not charged yet.
    uncharged: u32,
}

/// Units of work for one charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Charge {
    units: u32,
    /// Whether the bucket was full before these units, as far as this process knows.
    was_full: bool,
}

/// The buckets of the directories that send requests to this process.
pub(crate) struct RateLimiter {
    per_second: NonZeroU32,
    store: Store,
    buckets: Cache<DirectoryId, Arc<Mutex<Bucket>>>,
}

impl RateLimiter {
    pub(crate) fn new(per_second: NonZeroU32, store: Store) -> Self {
        Self {
            per_second,
            store,
            buckets: Cache::new(CAPACITY),
        }
    }

    /// Returns the time in which the bucket refills by this number of units.
    fn time_of(&self, units: u32) -> SignedDuration {
        let nanos =
            i64::from(units).saturating_mul(1_000_000_000) / i64::from(self.per_second.get());
        SignedDuration::from_nanos(nanos)
    }

    fn with_bucket<T>(&self, directory: DirectoryId, then: impl FnOnce(&mut Bucket) -> T) -> T {
        let new = || Ok::<_, std::convert::Infallible>(Arc::default());
        let bucket: Arc<Mutex<Bucket>> = match self.buckets.get_or_insert_with(&directory, new) {
            Ok(bucket) => bucket,
            Err(never) => match never {},
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        then(&mut bucket)
    }

    /// Takes one unit for a request.
    ///
    /// # Errors
    ///
    /// Returns [`Error::RateLimited`] if the bucket is empty.
    fn take(&self, directory: DirectoryId, now: Timestamp) -> Result<Option<Charge>, Error> {
        self.with_bucket(directory, |bucket| {
            let after = later(bucket.full.max(now), self.time_of(1));
            let all = SignedDuration::from_secs(i64::from(BURST_SECONDS));
            let wait = after.duration_since(now) - all;
            if wait.is_positive() {
                let partial = i64::from(wait.subsec_nanos() > 0);
                return Err(Error::RateLimited {
                    per_second: self.per_second,
                    // Okta only reads whole seconds (A8).
                    retry_after: u64::try_from(wait.as_secs() + partial).unwrap_or(1),
                });
            }
            Ok(self.add_to(bucket, 1, now))
        })
    }

    /// Takes units, even if the bucket does not hold as many.
    fn add(&self, directory: DirectoryId, units: u32, now: Timestamp) -> Option<Charge> {
        self.with_bucket(directory, |bucket| self.add_to(bucket, units, now))
    }

    fn add_to(&self, bucket: &mut Bucket, units: u32, now: Timestamp) -> Option<Charge> {
        bucket.full = later(bucket.full.max(now), self.time_of(units));
        bucket.uncharged = bucket.uncharged.saturating_add(units);
        if bucket.uncharged < CHARGED_AT_ONCE {
            return None;
        }
        let units = std::mem::take(&mut bucket.uncharged);
        // The bucket is missing no more than these units, as far as this process knows.
        let was_full = bucket.full <= later(now, self.time_of(units));
        Some(Charge { units, was_full })
    }

    /// Writes a charge to the table, and updates the bucket with the charges of other processes.
    async fn charge(&self, directory: DirectoryId, charge: Charge, now: Timestamp) {
        let time = self.time_of(charge.units);
        match self
            .store
            .charge(directory, time, now, charge.was_full)
            .await
        {
            Ok(full) => self.with_bucket(directory, |bucket| {
                let uncharged = self.time_of(bucket.uncharged);
                bucket.full = bucket.full.max(later(full, uncharged));
            }),
            Err(error) => {
                tracing::warn!(error = %Error::Store(error).source_chain(), directory.id = %directory, "a charge of the rate limit could not be written");
            }
        }
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Counts the work of one request.
pub struct Work {
    rate_limiter: Option<Arc<RateLimiter>>,
    directory: DirectoryId,
    now: Timestamp,
    background: Background,
}

impl Work {
    pub(crate) fn new(
        rate_limiter: Option<Arc<RateLimiter>>,
        directory: DirectoryId,
        now: Timestamp,
        background: Background,
    ) -> Self {
        Self {
            rate_limiter,
            directory,
            now,
            background,
        }
    }

    /// Counts the request itself, if the bucket holds a unit for it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::RateLimited`] if the bucket is empty.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        if let Some(limits) = &self.rate_limiter {
            let charge = limits.take(self.directory, self.now)?;
            self.charge(limits, charge);
        }
        Ok(())
    }

    /// Counts the work of the request beyond its first unit. The request is not refused because of it; later ones can be.
    pub fn add(&self, units: usize) {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        if let (Some(limits), 1..) = (&self.rate_limiter, units) {
            let charge = limits.add(self.directory, units, self.now);
            self.charge(limits, charge);
        }
    }

    /// Counts the memberships in a change of a group: one unit for each hundred.
    pub fn add_memberships(&self, named: usize) {
        self.add(named / MEMBERSHIPS);
    }

    fn charge(&self, limits: &Arc<RateLimiter>, charge: Option<Charge>) {
        if let Some(charge) = charge {
            let (limits, directory, now) = (limits.clone(), self.directory, self.now);
            let task = async move { limits.charge(directory, charge, now).await };
            self.background.add(tokio::spawn(task));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: NonZeroU32 = NonZeroU32::new(50).unwrap();

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_767_225_600_000 + milliseconds).unwrap()
    }

    /// A rate limiter that does not use its table.
    fn limits(rate: NonZeroU32) -> RateLimiter {
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .build();
        RateLimiter::new(rate, Store::from_config(&config, "none"))
    }

    fn taken(limits: &RateLimiter, directory: DirectoryId, now: Timestamp) -> usize {
        (0..1_000)
            .take_while(|_| limits.take(directory, now).is_ok())
            .count()
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_refill() {
        let (limits, acme) = (limits(RATE), DirectoryId::random());
        assert_eq!(taken(&limits, acme, at(0)), 200);
        assert_eq!(taken(&limits, acme, at(19)), 0);
        assert_eq!(taken(&limits, acme, at(20)), 1);
        assert_eq!(taken(&limits, acme, at(1_020)), 50);
        assert_eq!(taken(&limits, acme, at(100_000)), 200);
        // A clock that is set back does not refill the bucket.
        assert_eq!(taken(&limits, acme, at(0)), 0);
    }

    #[test]
    fn each_directory_has_a_bucket() {
        let limits = limits(RATE);
        let (acme, other) = (DirectoryId::random(), DirectoryId::random());
        assert_eq!(taken(&limits, acme, at(0)), 200);
        assert_eq!(taken(&limits, other, at(0)), 200);
    }

    #[test]
    fn a8_the_wait_is_in_whole_seconds_and_sufficient() {
        for rate in [1, 3, 50, 100_000, u32::MAX] {
            let rate = NonZeroU32::new(rate).unwrap();
            let (limits, acme) = (limits(rate), DirectoryId::random());
            let mut now = at(0);
            let mut waits = 0;
            while waits < 3 {
                match limits.take(acme, now) {
                    Ok(_) if rate.get() > 1_000 => break,
                    Ok(_) => {}
                    Err(Error::RateLimited { retry_after, .. }) => {
                        waits += 1;
                        assert!((1..=2).contains(&retry_after), "{retry_after}");
                        now += SignedDuration::from_secs(i64::try_from(retry_after).unwrap());
                        assert!(limits.take(acme, now).is_ok());
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn work_is_charged_ten_units_at_a_time() {
        let (limits, acme) = (limits(RATE), DirectoryId::random());
        let charged = |charge: Option<Charge>| charge.map(|charge| (charge.units, charge.was_full));
        for _ in 0..9 {
            assert_eq!(charged(limits.take(acme, at(0)).unwrap()), None);
        }
        assert_eq!(charged(limits.take(acme, at(0)).unwrap()), Some((10, true)));
        assert_eq!(charged(limits.add(acme, 9, at(0))), None);
        assert_eq!(charged(limits.add(acme, 1, at(0))), Some((10, false)));
        // The work counts in full, and the bucket goes into debt.
        assert_eq!(charged(limits.add(acme, 999, at(0))), Some((999, false)));
        match limits.take(acme, at(0)) {
            // 1,019 of 200 units are used, and the request needs one more.
            Err(Error::RateLimited { retry_after, .. }) => assert_eq!(retry_after, 17),
            other => panic!("{other:?}"),
        }
        assert_eq!(charged(limits.add(acme, 10, at(60_000))), Some((10, true)));
    }
}
