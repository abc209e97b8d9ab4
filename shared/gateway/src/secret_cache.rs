//! A cache of secrets from AWS Secrets Manager, with a time to live of one minute.
//!
//! A request is refused only because of a read that began after the request arrived, so a new secret works at once in every
//! process. Guesses are cheap nevertheless: concurrent requests share one read, and reads of one key are at least 250 ms
//! apart. Faster requests wait. None is refused for its rate, so a response does not reveal whether a key exists.
//!
//! Only keys that exist are cached. Requests with made-up names neither fill the cache nor evict its entries.

use std::fmt::Display;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::{Error, Sleep};

/// Time for which an entry is used without another read. A revoked secret ends within this time.
const TTL: SignedDuration = SignedDuration::from_secs(60);
/// Time for which an expired entry is still used after a read has failed.
const RETRY_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// Minimum time between two reads of one key, and between two reads of unknown keys.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(250);
/// Number of reads before a secret that does not match is refused. Secrets Manager can return the previous value for a
/// moment after a change.
const READS_BEFORE_REFUSAL: u64 = 2;
/// Maximum number of entries. The least used entries are evicted one by one.
const CAPACITY: usize = 10_000;

/// The entry of one key.
struct Entry<V> {
    /// Number of reads that have begun. A request stores the number at its arrival, and only a later read can refuse it.
    started: AtomicU64,
    /// Locked during a read, so that concurrent requests share it.
    state: tokio::sync::Mutex<State<V>>,
}

struct State<V> {
    /// Number of the last read that succeeded.
    read: u64,
    /// The time at which the value expires.
    expires: Timestamp,
    /// The value, or `None` if the key no longer exists.
    value: Option<V>,
    /// Earliest time of the next read.
    next_read: Instant,
}

/// The cached values by their keys.
pub(crate) struct SecretCache<K, V> {
    entries: Cache<K, Arc<Entry<V>>>,
    /// Earliest time of the next read of an unknown key, if such reads are throttled.
    next_miss: Option<Mutex<Instant>>,
    sleep: Sleep,
}

impl<K: Eq + Hash + Clone + Display, V> SecretCache<K, V> {
    /// Returns a cache that reads unknown keys without delay. Such a read has to be cheap.
    pub(crate) fn new(sleep: Sleep) -> Self {
        Self {
            entries: Cache::new(CAPACITY),
            next_miss: None,
            sleep,
        }
    }

    /// Returns a cache that reads unknown keys one after the other, [`MIN_REFRESH_INTERVAL`] apart.
    pub(crate) fn with_throttled_misses(sleep: Sleep) -> Self {
        Self {
            next_miss: Some(Mutex::new(Instant::now())),
            ..Self::new(sleep)
        }
    }

    /// Returns the result of `accept` for the value of `key`. The value is read again if it has expired, or if `accept` returns
    /// `None` for it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Unauthenticated`] if `accept` returns `None` for the current value, and the errors of `read`.
    pub(crate) async fn get_or_refresh<T, F>(
        &self,
        key: K,
        now: Timestamp,
        accept: impl Fn(&V) -> Option<T>,
        read: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Option<V>, Error>>,
    {
        let refused = || Error::Unauthenticated { presented: true };
        let (entry, seen) = match self.entries.get_value_or_guard_async(&key).await {
            Ok(entry) => {
                let seen = entry.started.load(Ordering::Acquire);
                (entry, seen)
            }
            Err(guard) => {
                self.wait_for_miss().await;
                let next_read = Instant::now() + MIN_REFRESH_INTERVAL;
                let Some(value) = read().await? else {
                    return Err(refused());
                };
                let entry = Arc::new(Entry::new(value, now, next_read));
                // The insertion fails if the placeholder of the key was evicted meanwhile, which does no harm.
                let _ = guard.insert(entry.clone());
                (entry, 0)
            }
        };
        let mut state = entry.state.lock().await;
        loop {
            let found = state.value.as_ref().and_then(&accept);
            let reads = state.read.saturating_sub(seen);
            let found = match found {
                Some(found) if now < state.expires => return Ok(found),
                None if reads >= READS_BEFORE_REFUSAL || reads > 0 && state.value.is_none() => {
                    return Err(refused());
                }
                found => found,
            };
            self.wait_until(state.next_read).await;
            state.next_read = Instant::now() + MIN_REFRESH_INTERVAL;
            let number = entry.started.fetch_add(1, Ordering::AcqRel) + 1;
            match read().await {
                Ok(value) => {
                    if value.is_none() {
                        self.entries.remove(&key);
                    }
                    state.read = number;
                    state.expires = now.saturating_add(TTL).unwrap_or(Timestamp::MAX);
                    state.value = value;
                }
                Err(error) => match found {
                    // The expired value is used until a read succeeds.
                    Some(found) => {
                        tracing::warn!(error = %error.source_chain(), key = %key, "a secret could not be refreshed; its cached value is used");
                        state.expires =
                            now.saturating_add(RETRY_INTERVAL).unwrap_or(Timestamp::MAX);
                        return Ok(found);
                    }
                    None => return Err(error),
                },
            }
        }
    }

    async fn wait_until(&self, time: Instant) {
        let left = time.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            (self.sleep)(left).await;
        }
    }

    /// Waits for the turn of an unknown key, for at most [`MIN_REFRESH_INTERVAL`].
    async fn wait_for_miss(&self) {
        let Some(next_miss) = &self.next_miss else {
            return;
        };
        let turn = {
            let mut next = next_miss.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = (*next).clamp(now, now + MIN_REFRESH_INTERVAL);
            *next = turn + MIN_REFRESH_INTERVAL;
            turn
        };
        self.wait_until(turn).await;
    }
}

impl<V> Entry<V> {
    /// Returns an entry with the value of the first read.
    fn new(value: V, now: Timestamp, next_read: Instant) -> Self {
        Self {
            started: AtomicU64::new(1),
            state: tokio::sync::Mutex::new(State {
                read: 1,
                expires: now.saturating_add(TTL).unwrap_or(Timestamp::MAX),
                value: Some(value),
                next_read,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::join_all;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    fn sleeping() -> Sleep {
        Arc::new(|time| Box::pin(tokio::time::sleep(time)))
    }

    /// A secret with one valid value, which counts its reads.
    #[derive(Default)]
    struct Source {
        value: AtomicU64,
        reads: AtomicUsize,
    }

    impl Source {
        async fn read(&self) -> Result<Option<u64>, Error> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let value = self.value.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok((value > 0).then_some(value))
        }

        async fn accepts(&self, cache: &SecretCache<u64, u64>, key: u64, value: u64) -> bool {
            let accept = |known: &u64| (*known == value).then_some(());
            let verified = cache.get_or_refresh(key, at(0), accept, || self.read());
            match verified.await {
                Ok(()) => true,
                Err(Error::Unauthenticated { .. }) => false,
                Err(other) => panic!("{other:?}"),
            }
        }

        fn reads(&self) -> usize {
            self.reads.swap(0, Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn a_new_value_is_accepted_at_once() {
        let (cache, source) = (SecretCache::new(sleeping()), Source::default());
        for value in 1..4 {
            source.value.store(value, Ordering::Relaxed);
            assert!(source.accepts(&cache, 7, value).await, "{value}");
            assert!(!source.accepts(&cache, 7, 0).await);
        }
    }

    /// A read that began before a request arrived may have missed the value of the request.
    #[tokio::test]
    async fn a_read_that_began_before_a_request_does_not_refuse_it() {
        let (cache, source) = (SecretCache::new(sleeping()), Source::default());
        source.value.store(1, Ordering::Relaxed);
        assert!(source.accepts(&cache, 7, 1).await);
        let early = source.accepts(&cache, 7, 2);
        let late = async {
            // During the second read for the early request.
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if source.reads.load(Ordering::Relaxed) == 3 {
                    break;
                }
            }
            source.value.store(2, Ordering::Relaxed);
            source.accepts(&cache, 7, 2).await
        };
        let (early, late) = futures_util::future::join(early, late).await;
        assert!(!early && late);
    }

    #[tokio::test]
    async fn guesses_share_reads_and_wait_for_their_turn() {
        let (cache, source) = (SecretCache::new(sleeping()), Source::default());
        source.value.store(1, Ordering::Relaxed);
        assert!(source.accepts(&cache, 7, 1).await);
        source.reads();
        // A thousand concurrent guesses share two reads.
        let guesses = (2..1_002).map(|guess| source.accepts(&cache, 7, guess));
        assert!(join_all(guesses).await.iter().all(|good| !good));
        assert_eq!(source.reads(), 2);
        // Guesses one after the other cause at most four reads per second.
        let begun = Instant::now();
        for guess in 2..6 {
            assert!(!source.accepts(&cache, 7, guess).await);
        }
        let seconds = begun.elapsed().as_secs_f64();
        let reads = source.reads();
        assert_eq!(reads, 8);
        assert!(
            reads as f64 <= seconds * 4.0 + 1.0,
            "{reads} in {seconds} s"
        );
        assert!(source.accepts(&cache, 7, 1).await);
        assert_eq!(source.reads(), 0);
    }

    #[tokio::test]
    async fn unknown_keys_are_not_cached() {
        let (cache, source) = (
            SecretCache::with_throttled_misses(sleeping()),
            Source::default(),
        );
        source.value.store(1, Ordering::Relaxed);
        assert!(source.accepts(&cache, 7, 1).await);
        source.value.store(0, Ordering::Relaxed);
        source.reads();
        let begun = Instant::now();
        for key in 1_000..1_006 {
            assert!(!source.accepts(&cache, key, 1).await);
        }
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!(source.reads(), 6);
        assert!(seconds >= 6.0 * 0.25 - 0.3, "{seconds}");
        assert_eq!(cache.entries.len(), 1);
        // Concurrent requests for unknown keys each wait for at most one interval.
        let longest = Arc::new(Mutex::new(Duration::ZERO));
        let asked = longest.clone();
        let noted: Sleep = Arc::new(move |time| {
            let mut longest = asked.lock().unwrap();
            *longest = time.max(*longest);
            Box::pin(tokio::task::yield_now())
        });
        let cache = SecretCache::with_throttled_misses(noted);
        let crowd = join_all((2_000..2_100).map(|key| source.accepts(&cache, key, 1)));
        assert!(crowd.await.iter().all(|good| !good));
        assert!(
            *longest.lock().unwrap() <= MIN_REFRESH_INTERVAL,
            "{longest:?}"
        );
    }

    /// The least used entries are evicted one by one, so the directory beyond the capacity does not evict the others.
    #[tokio::test]
    async fn a_full_cache_keeps_the_entries_in_use() {
        let (cache, source) = (SecretCache::new(sleeping()), Source::default());
        source.value.store(1, Ordering::Relaxed);
        for key in 0..10 {
            assert!(source.accepts(&cache, key, 1).await);
        }
        for key in 0..(2 * CAPACITY as u64) {
            let accept = |known: &u64| (*known == 1).then_some(());
            let read = || async { Ok(Some(1)) };
            cache
                .get_or_refresh(1_000 + key, at(0), accept, read)
                .await
                .unwrap();
            cache
                .get_or_refresh(key % 10, at(0), accept, read)
                .await
                .unwrap();
        }
        assert!(cache.entries.len() > CAPACITY / 2);
        source.reads();
        for key in 0..10 {
            assert!(source.accepts(&cache, key, 1).await);
        }
        assert_eq!(source.reads(), 0);
    }

    /// An interrupted read does not refuse a request.
    #[tokio::test]
    async fn an_interrupted_read_does_not_refuse_a_request() {
        let (cache, source) = (SecretCache::new(sleeping()), Source::default());
        source.value.store(1, Ordering::Relaxed);
        assert!(source.accepts(&cache, 7, 1).await);
        source.value.store(2, Ordering::Relaxed);
        // Its read has begun and has not ended.
        let third = async {
            while source.reads.load(Ordering::Relaxed) < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let guess = source.accepts(&cache, 7, 9);
        let interrupted = async {
            tokio::select! {
                biased;
                () = third => true,
                _ = guess => false,
            }
        };
        let waiting = source.accepts(&cache, 7, 2);
        let (interrupted, waiting) = futures_util::future::join(interrupted, waiting).await;
        assert!(interrupted && waiting);
    }
}
