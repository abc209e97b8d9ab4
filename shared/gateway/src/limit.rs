//! How many requests a directory may send (A8), so that one customer's
//! provisioning client cannot take the table away from the others.
//!
//! A token bucket for each directory, in each process: Lambda runs a process
//! for every request that is under way, so this is the first wall and not the
//! last one, which is the throttling of the API. It stands behind
//! authentication: nobody can use up the requests of somebody else.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use directory::DirectoryId;
use jiff::{SignedDuration, Timestamp};

use crate::Error;

/// How many seconds' worth of requests may come at once: Okta and Entra send
/// in bursts, and rest in between.
const BURST_SECONDS: u32 = 4;

/// How many buckets there may be before the full ones are forgotten.
const REMEMBERED: usize = 10_000;

/// The buckets of the directories that this process has met.
pub(crate) struct Limits {
    a_second: NonZeroU32,
    /// When each bucket will be full again, which says all there is to say of
    /// it (the "generic cell rate algorithm"). A full one is not remembered.
    full: Mutex<HashMap<DirectoryId, Timestamp>>,
}

impl Limits {
    pub(crate) fn new(a_second: NonZeroU32) -> Self {
        Self {
            a_second,
            full: Mutex::default(),
        }
    }

    /// Takes a request out of the directory's bucket.
    ///
    /// # Errors
    ///
    /// [`Error::TooFast`] if it is empty.
    pub(crate) fn take(&self, directory: DirectoryId, now: Timestamp) -> Result<(), Error> {
        let one =
            SignedDuration::from_secs(1) / i32::try_from(self.a_second.get()).unwrap_or(i32::MAX);
        let all = SignedDuration::from_secs(i64::from(BURST_SECONDS));
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if full.len() >= REMEMBERED && !full.contains_key(&directory) {
            full.retain(|_, full| *full > now);
        }
        let begins = full.get(&directory).map_or(now, |full| (*full).max(now));
        let after = begins.saturating_add(one).unwrap_or(Timestamp::MAX);
        let wait = after.duration_since(now) - all;
        if wait.is_positive() {
            let begun = i64::from(wait.subsec_nanos() > 0);
            return Err(Error::TooFast {
                a_second: self.a_second,
                // Okta reads whole seconds only (A8).
                retry_after: u64::try_from(wait.as_secs() + begun).unwrap_or(1),
            });
        }
        full.insert(directory, after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: NonZeroU32 = NonZeroU32::new(50).unwrap();

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_767_225_600_000 + milliseconds).unwrap()
    }

    fn taken(limits: &Limits, directory: DirectoryId, now: Timestamp) -> usize {
        (0..1_000)
            .take_while(|_| limits.take(directory, now).is_ok())
            .count()
    }

    #[test]
    fn a_burst_is_taken_and_then_what_flows_in() {
        let (limits, acme) = (Limits::new(RATE), DirectoryId::random());
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
        let limits = Limits::new(RATE);
        let (acme, other) = (DirectoryId::random(), DirectoryId::random());
        assert_eq!(taken(&limits, acme, at(0)), 200);
        assert_eq!(taken(&limits, other, at(0)), 200);
    }

    #[test]
    fn a8_the_wait_is_in_whole_seconds_and_long_enough() {
        for rate in [1, 3, 50, 100_000, u32::MAX] {
            let rate = NonZeroU32::new(rate).unwrap();
            let (limits, acme) = (Limits::new(rate), DirectoryId::random());
            let mut now = at(0);
            let mut waits = 0;
            while waits < 3 {
                match limits.take(acme, now) {
                    Ok(()) if rate.get() > 1_000 => break,
                    Ok(()) => {}
                    Err(Error::TooFast { retry_after, .. }) => {
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
    fn only_directories_that_are_busy_are_remembered() {
        let limits = Limits::new(RATE);
        let remembered = |limits: &Limits| limits.full.lock().unwrap().len();
        for _ in 0..REMEMBERED {
            limits.take(DirectoryId::random(), at(0)).unwrap();
        }
        assert_eq!(remembered(&limits), REMEMBERED);
        limits.take(DirectoryId::random(), at(1_000)).unwrap();
        assert_eq!(remembered(&limits), 1);
    }
}
