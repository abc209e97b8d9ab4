//! How much work a directory may ask for (A8), so that one customer's
//! provisioning client cannot take the table away from the others.
//!
//! A request is one unit of work, each operation of a bulk request is one, and
//! so are a hundred memberships that a change of a group names. A directory has
//! a bucket of units, which flows full again at a steady rate. A request is
//! admitted if there is one unit left, and takes all that it needs: what is
//! missing is a debt, so that the largest bulk request can be performed.
//!
//! Lambda runs a process for every request that is under way, so the bucket is
//! in the table ([`Store::charge`]). A process counts the work of a directory,
//! and charges it ten units at a time, beside a request: one write for ten
//! requests, none for a directory that sends less, and no request waits for it.
//! The answer says when the bucket will be full again, and so whether it is
//! empty; until a charge has told it, a process knows its own work only.
//!
//! So of a directory that sends all it can to `p` processes for `t` seconds,
//! `rate × (4 + t)` units are admitted, and `19 p` more at the most: up to ten
//! by each process between the moment in which the bucket is empty and the
//! charge that tells it, and nine that it has not charged yet. Bulk requests
//! and changes of groups count in full, and may go beyond that by their own
//! size. Whatever was charged is paid for by waiting, so it does not add up.
//!
//! It stands behind authentication: nobody can use up the work of another
//! directory. A charge that fails is logged, and never a reason to refuse.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use directory::{DirectoryId, Store};
use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;

use crate::Error;
use crate::auth::Beside;

/// How many seconds' worth of work may come at once: Okta and Entra send
/// in bursts, and rest in between.
const BURST_SECONDS: u32 = 4;

/// How many units are charged at once.
const CHARGED_AT_ONCE: u32 = 10;

/// How many buckets a process remembers.
const REMEMBERED: usize = 10_000;

/// How many memberships are a unit of work.
const MEMBERSHIPS: usize = 100;

/// What a process knows of the bucket of a directory.
#[derive(Default)]
struct Bucket {
    /// When it will be full again, which says all there is to say of it (the
    /// "generic cell rate algorithm"). A time that is over: it is full.
    full: Timestamp,
    /// What was done and is not charged yet.
    uncharged: u32,
}

/// Work that is to be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Charge {
    units: u32,
    /// Whether the bucket was full before, as far as this process knows.
    was_full: bool,
}

/// The buckets of the directories that this process has met.
pub(crate) struct RateLimiter {
    a_second: NonZeroU32,
    store: Store,
    buckets: Cache<DirectoryId, Arc<Mutex<Bucket>>>,
}

impl RateLimiter {
    pub(crate) fn new(a_second: NonZeroU32, store: Store) -> Self {
        Self {
            a_second,
            store,
            buckets: Cache::new(REMEMBERED),
        }
    }

    /// What so many units take to flow in.
    fn time_of(&self, units: u32) -> SignedDuration {
        let nanos = i64::from(units).saturating_mul(1_000_000_000) / i64::from(self.a_second.get());
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

    /// Takes a request out of the directory's bucket.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`] if it is empty.
    fn take(&self, directory: DirectoryId, now: Timestamp) -> Result<Option<Charge>, Error> {
        self.with_bucket(directory, |bucket| {
            let after = later(bucket.full.max(now), self.time_of(1));
            let all = SignedDuration::from_secs(i64::from(BURST_SECONDS));
            let wait = after.duration_since(now) - all;
            if wait.is_positive() {
                let begun = i64::from(wait.subsec_nanos() > 0);
                return Err(Error::RateLimited {
                    a_second: self.a_second,
                    // Okta reads whole seconds only (A8).
                    retry_after: u64::try_from(wait.as_secs() + begun).unwrap_or(1),
                });
            }
            Ok(self.add_to(bucket, 1, now))
        })
    }

    /// Takes so many units out of the directory's bucket, whether they are there or not.
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
        // What this process knows of is no more than these units themselves.
        let was_full = bucket.full <= later(now, self.time_of(units));
        Some(Charge { units, was_full })
    }

    /// Writes work into the table, and learns what other processes have written.
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
                tracing::warn!(error = %Error::Store(error).source_chain(), directory.id = %directory, "work could not be charged");
            }
        }
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// The work of one request, taken out of the bucket of its directory.
pub struct Work {
    limits: Option<Arc<RateLimiter>>,
    directory: DirectoryId,
    now: Timestamp,
    beside: Beside,
}

impl Work {
    pub(crate) fn new(
        limits: Option<Arc<RateLimiter>>,
        directory: DirectoryId,
        now: Timestamp,
        beside: Beside,
    ) -> Self {
        Self {
            limits,
            directory,
            now,
            beside,
        }
    }

    /// Counts the request itself, if there is a unit of work left for it.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`].
    pub(crate) fn admit(&self) -> Result<(), Error> {
        if let Some(limits) = &self.limits {
            let charge = limits.take(self.directory, self.now)?;
            self.charge(limits, charge);
        }
        Ok(())
    }

    /// Counts what the request does beyond the first unit. It is not refused
    /// for it, the next ones are.
    pub fn add(&self, units: usize) {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        if let (Some(limits), 1..) = (&self.limits, units) {
            let charge = limits.add(self.directory, units, self.now);
            self.charge(limits, charge);
        }
    }

    /// Counts the memberships that a change of a group names: one unit for each hundred.
    pub fn add_memberships(&self, named: usize) {
        self.add(named / MEMBERSHIPS);
    }

    fn charge(&self, limits: &Arc<RateLimiter>, charge: Option<Charge>) {
        if let Some(charge) = charge {
            let (limits, directory, now) = (limits.clone(), self.directory, self.now);
            let task = async move { limits.charge(directory, charge, now).await };
            self.beside.put(tokio::spawn(task));
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

    /// RateLimiter whose table is never asked.
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
    fn a_burst_is_taken_and_then_what_flows_in() {
        let (limits, acme) = (limits(RATE), DirectoryId::random());
        assert_eq!(taken(&limits, acme, at(0)), 200);
        assert_eq!(taken(&limits, acme, at(19)), 0);
        assert_eq!(taken(&limits, acme, at(20)), 1);
        assert_eq!(taken(&limits, acme, at(1_020)), 50);
        assert_eq!(taken(&limits, acme, at(100_000)), 200);
        // A clock that is set back gives nothing away.
        assert_eq!(taken(&limits, acme, at(0)), 0);
    }

    #[test]
    fn directories_have_buckets_of_their_own() {
        let limits = limits(RATE);
        let (acme, other) = (DirectoryId::random(), DirectoryId::random());
        assert_eq!(taken(&limits, acme, at(0)), 200);
        assert_eq!(taken(&limits, other, at(0)), 200);
    }

    #[test]
    fn a8_the_wait_is_in_whole_seconds_and_long_enough() {
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
        // In full, and into debt.
        assert_eq!(charged(limits.add(acme, 999, at(0))), Some((999, false)));
        match limits.take(acme, at(0)) {
            // 1,019 of 200 are used up, and one more is asked for.
            Err(Error::RateLimited { retry_after, .. }) => assert_eq!(retry_after, 17),
            other => panic!("{other:?}"),
        }
        assert_eq!(charged(limits.add(acme, 10, at(60_000))), Some((10, true)));
    }
}
