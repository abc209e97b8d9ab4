//! What a process has read from Secrets Manager and believes for a minute.
//!
//! Whoever is not known is looked up again, so that what is new works at once;
//! but guesses and strangers are looked up slowly. When Secrets Manager is down,
//! a process goes on with what it knows.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::Error;

/// How long a process believes what it read; what is revoked dies within this time.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// How often a secret that does not match may make the process read again.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);
/// How many of whom this process has not met may be looked up in one second.
const STRANGERS_A_SECOND: u32 = 20;
/// How many a process remembers.
const REMEMBERED: usize = 10_000;

/// What a process knows of one.
struct Entry<V> {
    read: Option<Timestamp>,
    known: Option<V>,
}

impl<V> Default for Entry<V> {
    fn default() -> Self {
        Self {
            read: None,
            known: None,
        }
    }
}

type Entries<K, V> = HashMap<K, Arc<tokio::sync::Mutex<Entry<V>>>>;

/// What was read, by whom it is about.
pub(crate) struct Fresh<K, V> {
    entries: Mutex<Entries<K, V>>,
    strangers: Mutex<(i64, u32)>,
}

impl<K, V> Default for Fresh<K, V> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            strangers: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash + Clone + Display, V> Fresh<K, V> {
    /// What `accept` makes of what is known of `key`, which `read` reads if that
    /// is too long ago, or if nothing is made of it.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`], and those of `read`.
    pub(crate) async fn verify<T>(
        &self,
        key: K,
        now: Timestamp,
        accept: impl Fn(&V) -> Option<T>,
        read: impl AsyncFnOnce() -> Result<Option<V>, Error>,
    ) -> Result<T, Error> {
        let entry = self.entry(&key);
        // Held while reading, so that requests which come together read once.
        let mut entry = entry.lock().await;
        let age = entry.read.map(|read| now.duration_since(read));
        let found = entry.known.as_ref().and_then(&accept);
        match (age, found) {
            (Some(age), Some(found)) if age < FRESH => return Ok(found),
            // A secret that does not match may be new; but guessing must not cost a look-up each time.
            (Some(age), None) if age < AGAIN => {
                return Err(Error::Unauthenticated { presented: true });
            }
            _ => {}
        }
        if entry.known.is_none() && !self.admits_a_stranger(now) {
            return Err(Error::Store(directory::Error::Busy));
        }
        match read().await {
            Ok(fresh) => {
                *entry = Entry {
                    read: Some(now),
                    known: fresh,
                };
                let found = entry.known.as_ref().and_then(&accept);
                found.ok_or(Error::Unauthenticated { presented: true })
            }
            // A warm process goes on with what it knows.
            Err(error) => match entry.known.as_ref().and_then(&accept) {
                Some(found) => {
                    tracing::warn!(error = %error.source_chain(), of = %key, "secrets could not be read again");
                    Ok(found)
                }
                None => Err(error),
            },
        }
    }

    fn entry(&self, key: &K) -> Arc<tokio::sync::Mutex<Entry<V>>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= REMEMBERED && !entries.contains_key(key) {
            entries.clear();
        }
        entries.entry(key.clone()).or_default().clone()
    }

    fn admits_a_stranger(&self, now: Timestamp) -> bool {
        let mut strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if strangers.0 != now.as_second() {
            *strangers = (now.as_second(), 0);
        }
        strangers.1 += 1;
        strangers.1 <= STRANGERS_A_SECOND
    }
}
