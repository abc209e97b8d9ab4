//! What a process has read from Secrets Manager, and believes for a minute.
//!
//! A secret is refused only on the ground of what was read after its request
//! arrived, so a new one works at once in every process. Guesses are cheap all
//! the same: requests that come together share one read, and reads of one key
//! are at least a quarter of a second apart. What comes faster waits; nothing
//! is refused for coming too fast, so that an answer does not tell whether a
//! key exists.
//!
//! A process remembers only what exists. Nobody can fill its memory, or push
//! out what is known, with names that were made up.

use std::fmt::Display;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::{Error, Rest};

/// How long a process believes what it read; what is revoked ends within this time.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// For how long a process goes on with what it knows before it tries again to
/// read, when reading has failed.
const FAILED: SignedDuration = SignedDuration::from_secs(5);
/// The time between two reads of one key, and between two of keys that are not known.
const APART: Duration = Duration::from_millis(250);
/// How often a secret that does not match is looked up before it is refused.
/// Secrets Manager may answer for a moment as it did before a change.
const LOOKS: u64 = 2;
/// How many keys a process remembers. Those that are used least go first, one by one.
const REMEMBERED: usize = 10_000;

/// What a process knows of one key.
struct Entry<V> {
    /// How many reads have begun. A request that arrives notes it: only what a
    /// later read says can be the reason to refuse it.
    begun: AtomicU64,
    /// Held while reading, so that requests which come together share a read.
    state: tokio::sync::Mutex<State<V>>,
}

struct State<V> {
    /// The number of the last read that has ended well.
    read: u64,
    /// Until when it is believed.
    until: Timestamp,
    /// What it said; `None` if the key is gone.
    known: Option<V>,
    /// When the next read may begin.
    next: Instant,
}

/// What was read, by the keys that it is about.
pub(crate) struct SecretCache<K, V> {
    entries: Cache<K, Arc<Entry<V>>>,
    /// When the next key may be read that is not known, if that is to be slow.
    strangers: Option<Mutex<Instant>>,
    rest: Rest,
}

impl<K: Eq + Hash + Clone + Display, V> SecretCache<K, V> {
    /// Keys that are not known are read as they come, so their read has to be cheap.
    pub(crate) fn new(rest: Rest) -> Self {
        Self {
            entries: Cache::new(REMEMBERED),
            strangers: None,
            rest,
        }
    }

    /// Keys that are not known are read one after the other, with a pause in between.
    pub(crate) fn slow_for_strangers(rest: Rest) -> Self {
        Self {
            strangers: Some(Mutex::new(Instant::now())),
            ..Self::new(rest)
        }
    }

    /// What `accept` makes of what is known of `key`. It is read if it was not
    /// read within a minute, and if nothing can be made of what is known.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`], and those of `read`.
    pub(crate) async fn verify<T, F>(
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
                let seen = entry.begun.load(Ordering::Acquire);
                (entry, seen)
            }
            Err(place) => {
                self.wait_as_a_stranger().await;
                let next = Instant::now() + APART;
                let Some(known) = read().await? else {
                    return Err(refused());
                };
                let entry = Arc::new(Entry::new(known, now, next));
                // The place is taken when something has pushed the key out meanwhile, which does no harm.
                let _ = place.insert(entry.clone());
                (entry, 0)
            }
        };
        let mut state = entry.state.lock().await;
        loop {
            let found = state.known.as_ref().and_then(&accept);
            let looks = state.read.saturating_sub(seen);
            let found = match found {
                Some(found) if now < state.until => return Ok(found),
                None if looks >= LOOKS || looks > 0 && state.known.is_none() => {
                    return Err(refused());
                }
                found => found,
            };
            self.wait_until(state.next).await;
            state.next = Instant::now() + APART;
            let number = entry.begun.fetch_add(1, Ordering::AcqRel) + 1;
            match read().await {
                Ok(known) => {
                    if known.is_none() {
                        self.entries.remove(&key);
                    }
                    state.read = number;
                    state.until = now.saturating_add(FRESH).unwrap_or(Timestamp::MAX);
                    state.known = known;
                }
                Err(error) => match found {
                    // A process goes on with what it knows.
                    Some(found) => {
                        tracing::warn!(error = %error.source_chain(), of = %key, "secrets could not be read again");
                        state.until = now.saturating_add(FAILED).unwrap_or(Timestamp::MAX);
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
            (self.rest)(left).await;
        }
    }

    /// Waits for the turn of a key that is not known, but never longer than a quarter of a second.
    async fn wait_as_a_stranger(&self) {
        let Some(strangers) = &self.strangers else {
            return;
        };
        let turn = {
            let mut next = strangers.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = (*next).clamp(now, now + APART);
            *next = turn + APART;
            turn
        };
        self.wait_until(turn).await;
    }
}

impl<V> Entry<V> {
    /// What the first read of a key has said.
    fn new(known: V, now: Timestamp, next: Instant) -> Self {
        Self {
            begun: AtomicU64::new(1),
            state: tokio::sync::Mutex::new(State {
                read: 1,
                until: now.saturating_add(FRESH).unwrap_or(Timestamp::MAX),
                known: Some(known),
                next,
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

    fn sleeping() -> Rest {
        Arc::new(|time| Box::pin(tokio::time::sleep(time)))
    }

    /// A secret that has one right value, and how often it was read.
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

        async fn shown(&self, fresh: &SecretCache<u64, u64>, key: u64, value: u64) -> bool {
            let accept = |known: &u64| (*known == value).then_some(());
            let verified = fresh.verify(key, at(0), accept, || self.read());
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
    async fn a_new_value_is_good_at_once_however_often_it_changes() {
        let (fresh, source) = (SecretCache::new(sleeping()), Source::default());
        for value in 1..4 {
            source.value.store(value, Ordering::Relaxed);
            assert!(source.shown(&fresh, 7, value).await, "{value}");
            assert!(!source.shown(&fresh, 7, 0).await);
        }
    }

    /// A read that was under way when a request arrived may not have seen what the request shows.
    #[tokio::test]
    async fn nothing_is_refused_for_what_was_read_before_it_arrived() {
        let (fresh, source) = (SecretCache::new(sleeping()), Source::default());
        source.value.store(1, Ordering::Relaxed);
        assert!(source.shown(&fresh, 7, 1).await);
        let early = source.shown(&fresh, 7, 2);
        let late = async {
            // While the second read of the early one is under way.
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if source.reads.load(Ordering::Relaxed) == 3 {
                    break;
                }
            }
            source.value.store(2, Ordering::Relaxed);
            source.shown(&fresh, 7, 2).await
        };
        let (early, late) = futures_util::future::join(early, late).await;
        assert!(!early && late);
    }

    #[tokio::test]
    async fn guesses_share_reads_and_wait_for_their_turn() {
        let (fresh, source) = (SecretCache::new(sleeping()), Source::default());
        source.value.store(1, Ordering::Relaxed);
        assert!(source.shown(&fresh, 7, 1).await);
        source.reads();
        // A thousand at once: one read, and one more look.
        let guesses = (2..1_002).map(|guess| source.shown(&fresh, 7, guess));
        assert!(join_all(guesses).await.iter().all(|good| !good));
        assert_eq!(source.reads(), 2);
        // One after the other, as fast as they are answered: four reads a second.
        let begun = Instant::now();
        for guess in 2..6 {
            assert!(!source.shown(&fresh, 7, guess).await);
        }
        let seconds = begun.elapsed().as_secs_f64();
        let reads = source.reads();
        assert_eq!(reads, 8);
        assert!(
            reads as f64 <= seconds * 4.0 + 1.0,
            "{reads} in {seconds} s"
        );
        assert!(source.shown(&fresh, 7, 1).await);
        assert_eq!(source.reads(), 0);
    }

    #[tokio::test]
    async fn names_that_were_made_up_are_not_remembered() {
        let (fresh, source) = (
            SecretCache::slow_for_strangers(sleeping()),
            Source::default(),
        );
        source.value.store(1, Ordering::Relaxed);
        assert!(source.shown(&fresh, 7, 1).await);
        source.value.store(0, Ordering::Relaxed);
        source.reads();
        let begun = Instant::now();
        for key in 1_000..1_006 {
            assert!(!source.shown(&fresh, key, 1).await);
        }
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!(source.reads(), 6);
        assert!(seconds >= 6.0 * 0.25 - 0.3, "{seconds}");
        assert_eq!(fresh.entries.len(), 1);
        // However many there are, nobody asks to wait longer than for one of them.
        let longest = Arc::new(Mutex::new(Duration::ZERO));
        let asked = longest.clone();
        let noted: Rest = Arc::new(move |time| {
            let mut longest = asked.lock().unwrap();
            *longest = time.max(*longest);
            Box::pin(tokio::task::yield_now())
        });
        let fresh = SecretCache::slow_for_strangers(noted);
        let crowd = join_all((2_000..2_100).map(|key| source.shown(&fresh, key, 1)));
        assert!(crowd.await.iter().all(|good| !good));
        assert!(*longest.lock().unwrap() <= APART, "{longest:?}");
    }

    /// What is pushed out is what is used least, and one for one.
    #[tokio::test]
    async fn a_full_memory_keeps_what_is_used() {
        let (fresh, source) = (SecretCache::new(sleeping()), Source::default());
        source.value.store(1, Ordering::Relaxed);
        for key in 0..10 {
            assert!(source.shown(&fresh, key, 1).await);
        }
        for key in 0..(2 * REMEMBERED as u64) {
            let accept = |known: &u64| (*known == 1).then_some(());
            let read = || async { Ok(Some(1)) };
            fresh
                .verify(1_000 + key, at(0), accept, read)
                .await
                .unwrap();
            fresh.verify(key % 10, at(0), accept, read).await.unwrap();
        }
        assert!(fresh.entries.len() > REMEMBERED / 2);
        source.reads();
        for key in 0..10 {
            assert!(source.shown(&fresh, key, 1).await);
        }
        assert_eq!(source.reads(), 0);
    }

    /// A read that was interrupted is no ground to refuse anything.
    #[tokio::test]
    async fn an_interrupted_read_decides_nothing() {
        let (fresh, source) = (SecretCache::new(sleeping()), Source::default());
        source.value.store(1, Ordering::Relaxed);
        assert!(source.shown(&fresh, 7, 1).await);
        source.value.store(2, Ordering::Relaxed);
        // Its read has begun, and is not over.
        let third = async {
            while source.reads.load(Ordering::Relaxed) < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let guess = source.shown(&fresh, 7, 9);
        let interrupted = async {
            tokio::select! {
                biased;
                () = third => true,
                _ = guess => false,
            }
        };
        let waiting = source.shown(&fresh, 7, 2);
        let (interrupted, waiting) = futures_util::future::join(interrupted, waiting).await;
        assert!(interrupted && waiting);
    }
}
