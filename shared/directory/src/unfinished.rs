//! Work on a group that somebody died in, and that nobody comes to finish.
//!
//! Whoever changes a group next finishes what he finds, and until then nobody
//! sees it. But nobody may come. So each beginning of such work, which the
//! table's stream shows, is noted in an item of its own that DynamoDB deletes
//! when its time has come (within a few days: "Using time to live in DynamoDB");
//! that the stream shows as well, and the work is finished then, if it still is
//! there. The request that begins the work pays nothing for it.

use jiff::Timestamp;

use crate::change::{Change, NotCommitted};
use crate::directory::{Caller, Status};
use crate::error::Error;
use crate::id::{DirectoryId, ResourceId};
use crate::item::{self, Item};
use crate::key::Key;
use crate::kind::GROUP;
use crate::steps::LEASE;
use crate::store::Store;

/// A group on which work has begun that takes more than one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    directory: DirectoryId,
    group: ResourceId,
}

impl Unfinished {
    /// The group that the item of that key is about.
    #[must_use]
    pub fn at(pk: &str, sk: &str) -> Option<Self> {
        let (directory, rest) = pk.split_once('#')?;
        let group = match rest.split_once('#') {
            Some((_, group)) => group,
            None => sk,
        };
        Some(Self {
            directory: directory.parse().ok()?,
            group: group.parse().ok()?,
        })
    }

    fn note(self) -> Key {
        Key::unfinished(self.directory, self.group)
    }
}

impl Store {
    /// Notes that work on a group has begun.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn note(&self, unfinished: Unfinished, now: Timestamp) -> Result<(), Error> {
        // Times to live are whole seconds, and the lease is to be over by then.
        let expires = (now.as_millisecond() + LEASE).div_euclid(1_000) + 1;
        let mut change = Change::default();
        let item = Item::from([(item::EXPIRES.to_owned(), item::number(expires))]);
        change.put(unfinished.note(), item);
        match change.commit(self).await {
            Ok(()) => Ok(()),
            Err(NotCommitted::Broken(error)) => Err(error),
            Err(NotCommitted::Refused(_) | NotCommitted::Contended) => Err(Error::Busy),
        }
    }

    /// Finishes the work on a group, if it is there and whoever began it is dead.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`]; the same again goes on.
    pub async fn finish(&self, unfinished: Unfinished, now: Timestamp) -> Result<(), Error> {
        let Unfinished { directory, group } = unfinished;
        let found = self.directory(directory).await?;
        // What is in a directory that goes is deleted with it.
        let Some(found) = found.filter(|found| found.status != Status::Deleting) else {
            return Ok(());
        };
        let caller = |base_url: &str| {
            #[expect(
                clippy::disallowed_methods,
                reason = "nobody calls: what is finished was authenticated when it began"
            )]
            Caller::authenticated(found.clone().into(), base_url)
        };
        // It is read a second time when it is not there: it may have come in between.
        for last_look in [false, true] {
            let nobody = caller("");
            if let Some(old) = self.read(&nobody, &GROUP, group).await? {
                let Some(staged) = &old.group.staged else {
                    return Ok(());
                };
                return match self.take_over(&nobody, &old, staged, now).await? {
                    true => Ok(()),
                    // Somebody else is at it.
                    false => self.note(unfinished, now).await,
                };
            }
            if self.is_coming(&nobody, group, now).await? {
                return self.note(unfinished, now).await;
            }
            if let Some(gone) = self.item(Key::deletion(directory, group)).await? {
                let base_url = item::text(&gone, item::BASE_URL)?;
                return match self.finish_deletion(&caller(base_url), group, now).await {
                    // Somebody else has finished it.
                    Err(Error::NotFound) => Ok(()),
                    finished => finished,
                };
            }
            if last_look {
                let rows = self.rows(&nobody, group).await?.rows;
                let ids = rows.iter().map(|(id, ..)| id);
                self.delete_rows(&nobody, group, ids).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_read_from_the_keys_of_all_its_items() {
        let d = "d0000000-0000-4000-8000-000000000000";
        let g = "b2000000-0000-4000-8000-000000000000";
        let (directory, group) = (d.parse().unwrap(), g.parse().unwrap());
        let unfinished = Some(Unfinished { directory, group });
        for key in [
            Key::resource(directory, GROUP.letter, group),
            Key::creation(directory, group),
            Key::deletion(directory, group),
            Key::unfinished(directory, group),
        ] {
            assert_eq!(Unfinished::at(&key.pk, &key.sk), unfinished, "{key:?}");
        }
        for (pk, sk) in [(d, "META"), ("DIRECTORIES", "A#x"), ("", ""), ("x#G", g)] {
            assert_eq!(Unfinished::at(pk, sk), None, "{pk} {sk}");
        }
    }
}
