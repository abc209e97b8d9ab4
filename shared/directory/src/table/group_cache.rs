//! The groups that this process saw last, so that a change of one member needs
//! not read the group first.
//!
//! What is known may be old: another process may have changed the group since.
//! So it decides nothing by itself. A write is conditional on the version that
//! is known here, and what would not be written, such as a change that changes
//! nothing, is read first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::caller::Caller;
use crate::model::id::{DirectoryId, ResourceId};
use crate::model::member::Members;
use crate::model::stored::Stored;

/// How many groups are kept; when there are more, it begins anew.
const MOST: usize = 256;

/// A group as it was seen last.
#[derive(Clone)]
pub(crate) struct CachedGroup {
    pub(crate) group: Stored,
    /// Its members, if they were read and are few.
    pub(crate) members: Option<Arc<Members>>,
}

/// What one process knows.
#[derive(Default)]
pub(crate) struct GroupCache(Mutex<HashMap<(DirectoryId, ResourceId), CachedGroup>>);

impl std::fmt::Debug for GroupCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCache").finish_non_exhaustive()
    }
}

impl GroupCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<(DirectoryId, ResourceId), CachedGroup>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, caller: &Caller, id: ResourceId) -> Option<CachedGroup> {
        self.lock().get(&(caller.directory().id, id)).cloned()
    }

    /// Remembers a group, unless a later version is known.
    pub(crate) fn put(&self, caller: &Caller, seen: CachedGroup) {
        let key = (caller.directory().id, seen.group.id);
        let mut known = self.lock();
        if seen.group.group.staged.is_some() {
            known.remove(&key);
            return;
        }
        if known.len() >= MOST && !known.contains_key(&key) {
            known.clear();
        }
        match known.get_mut(&key) {
            Some(old) if old.group.version > seen.group.version => {}
            // Members that are known stay known.
            Some(old) if old.group.version == seen.group.version && seen.members.is_none() => {}
            _ => {
                known.insert(key, seen);
            }
        }
    }

    pub(crate) fn forget(&self, caller: &Caller, id: ResourceId) {
        self.lock().remove(&(caller.directory().id, id));
    }
}
