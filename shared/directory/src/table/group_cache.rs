//! A cache of groups, so that a change of one member need not read the group first.
//!
//! An entry can be out of date, because another process can have changed the group. A write is therefore conditional on the
//! cached version, and a request that would write nothing, such as a change without effect, reads the group first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::unsync::Cache;

use crate::model::caller::Caller;
use crate::model::id::{DirectoryId, ResourceId};
use crate::model::member::Members;
use crate::model::stored::Stored;

/// Maximum number of entries. The least used are evicted one by one.
const CAPACITY: usize = 256;

/// A group as this process last read or wrote it.
#[derive(Clone)]
pub(crate) struct CachedGroup {
    pub(crate) group: Stored,
    /// The members, if they were read and are few.
    pub(crate) members: Option<Arc<Members>>,
}

type Entries = Cache<(DirectoryId, ResourceId), CachedGroup>;

/// The groups that this process read or wrote last.
pub(crate) struct GroupCache(Mutex<Entries>);

impl Default for GroupCache {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(CAPACITY)))
    }
}

impl std::fmt::Debug for GroupCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCache").finish_non_exhaustive()
    }
}

impl GroupCache {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, caller: &Caller, id: ResourceId) -> Option<CachedGroup> {
        self.lock().get(&(caller.directory().id, id)).cloned()
    }

    /// Caches a group, unless a later version is cached.
    pub(crate) fn put(&self, caller: &Caller, seen: CachedGroup) {
        let key = (caller.directory().id, seen.group.id);
        let mut entries = self.lock();
        if seen.group.group.staged.is_some() {
            entries.remove(&key);
            return;
        }
        let keep = entries.get(&key).is_some_and(|cached| {
            let (old, new) = (cached.group.version, seen.group.version);
            // An entry of the same version can have the members already.
            old > new || old == new && seen.members.is_none()
        });
        if !keep {
            entries.insert(key, seen);
        }
    }

    pub(crate) fn forget(&self, caller: &Caller, id: ResourceId) {
        self.lock().remove(&(caller.directory().id, id));
    }
}
