//! Directories as such: create, read, list, change, and the beginning of their end.
//!
//! | operation | requests |
//! |---|---|
//! | create | 1; the same request again: 2 |
//! | read | 1 |
//! | a page of 100 | 2: the listing, then the directories |
//! | change | 2; one that changes nothing: 1 |
//!
//! Every change of one is a transaction with its event. Who may see which
//! directory is the gateway's to say.

pub(crate) mod deletion;
pub(crate) mod token_usage;
pub(crate) mod work;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::event::Event;
use crate::model::directory::{Directory, DirectoryChange, Status};
use crate::model::error::Error;
use crate::model::error::Unreadable;
use crate::model::event_type::DetailType;
use crate::model::id::{DirectoryId, InvalidId};
use crate::model::stored::Precondition;
use crate::model::time::to_the_millisecond;
use crate::model::webhook::Webhook;
use crate::table::item::{self, Item};
use crate::table::key::{DIRECTORIES, Key, Listed, PK, SK};
use crate::table::store::Store;
use crate::table::transaction::{Backoff, Change, CommitError, Condition, ConditionFailure};

/// For how long the same request makes nothing new.
pub const REPEATABLE: SignedDuration = SignedDuration::from_hours(24);

/// How long the webhook of a directory that is gone is kept: events wait for webhooks for a day.
const LAST_WEBHOOK: SignedDuration = SignedDuration::from_hours(3 * 24);

/// A request that its sender may send again, because it did not get the answer.
#[derive(Clone, Debug)]
pub struct Repeatable<'r> {
    /// Who sends it.
    pub caller: &'r str,
    /// Its `Idempotency-Key`.
    pub key: &'r str,
    /// Its body.
    pub body: &'r [u8],
}

/// What became of a request to create a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The directory is new.
    Made,
    /// The same request had made this one.
    Repeated(DirectoryId),
    /// Another request had come under the same key.
    Differs,
}

/// Which directories to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Those of this tenant, or of any.
    pub tenant: Option<String>,
    /// Those of this product, or of any.
    pub product: Option<String>,
}

impl Scope {
    /// Whether a directory is one of these.
    #[must_use]
    pub fn has(&self, directory: &Directory) -> bool {
        let is = |wanted: &Option<String>, own| wanted.as_deref().is_none_or(|one| one == own);
        is(&self.tenant, &directory.tenant) && is(&self.product, &directory.product)
    }

    /// Those that both have; `None` when that is none at all.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        let both = |one: &Option<String>, other: &Option<String>| match (one, other) {
            (Some(one), Some(other)) if one != other => None,
            (one, other) => Some(one.clone().or_else(|| other.clone())),
        };
        Some(Self {
            tenant: both(&self.tenant, &other.tenant)?,
            product: both(&self.product, &other.product)?,
        })
    }
}

/// Where a directory stands in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryPosition(String);

impl fmt::Display for DirectoryPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DirectoryPosition {
    fn directory(&self) -> Option<DirectoryId> {
        self.0.rsplit('#').next()?.parse().ok()
    }
}

impl FromStr for DirectoryPosition {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let known = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-' | b'#');
        match text.bytes().all(known) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidId),
        }
    }
}

/// A page of directories.
#[derive(Debug)]
pub struct Directories {
    /// In the order in which they are listed, each with its place in it. One that this version cannot read is there as
    /// well, with the reason.
    pub directories: Vec<(DirectoryPosition, Result<Directory, Unreadable>)>,
    /// After which place the next page begins, if there may be one.
    pub next: Option<DirectoryPosition>,
}

impl Store {
    /// The directory of that id. Not for provisioning clients: they get theirs from their [`crate::Caller`].
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn directory(&self, id: DirectoryId) -> Result<Option<Directory>, Error> {
        let item = self.item(Key::directory(id)).await?;
        item.as_ref().map(from_item).transpose()
    }

    /// The webhook that a directory had when it ended, for its last event. It is kept for some days.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`], [`Error::Unreadable`] and [`Error::Broken`].
    pub async fn last_webhook(&self, id: DirectoryId) -> Result<Option<Webhook>, Error> {
        let Some(item) = self.item(Key::ended(id)).await? else {
            return Ok(None);
        };
        let webhook = serde_json::from_str(item::text(&item, item::WEBHOOK)?);
        // The error of serde_json would quote the address.
        webhook.map_err(|_| item::unreadable(&item, "webhook in a form that is known"))
    }

    /// Keeps a new directory, unless the same request has made one already.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`] when there is one of that id, [`Error::Busy`], [`Error::Broken`].
    pub async fn create_directory(
        &self,
        directory: &Directory,
        request: Option<&Repeatable<'_>>,
        now: Timestamp,
    ) -> Result<Creation, Error> {
        let mut backoff = Backoff::new();
        loop {
            let mut change = Change::default();
            let key = Key::directory(directory.id);
            change.create(key, to_item(directory)?, ConditionFailure::Changed);
            for listing in Key::listings(directory.id, &directory.tenant, &directory.product) {
                change.put(listing, Item::new());
            }
            if let Some(request) = request {
                let (key, item) = request.item(directory.id, now);
                change.create_at(key, item, now, ConditionFailure::Repeated);
            }
            let created = DetailType::DirectoryCreated;
            Event::of_directory(directory, created, directory.version, None, now)
                .add_to(&mut change);
            match change.commit(self).await {
                Ok(()) => return Ok(Creation::Made),
                Err(CommitError::ConditionFailure(ConditionFailure::Repeated)) => {
                    if let Some(before) = self.before(request).await? {
                        return Ok(before);
                    }
                }
                Err(CommitError::ConditionFailure(_)) => return Err(Error::Changed),
                Err(CommitError::Contended) => {}
                Err(CommitError::Broken(error)) => return Err(error),
            }
            backoff.wait().await?;
        }
    }

    /// What a request that was sent before has made.
    async fn before(&self, request: Option<&Repeatable<'_>>) -> Result<Option<Creation>, Error> {
        let Some(request) = request else {
            return Ok(None);
        };
        let Some(item) = self.item(request.at()).await? else {
            return Ok(None);
        };
        let same = item::text(&item, item::REQUEST_DIGEST)? == request.digest();
        let made = item::text(&item, item::DIRECTORY_ID)?.parse();
        let made = made.map_err(Error::broken)?;
        Ok(Some(match same {
            true => Creation::Repeated(made),
            false => Creation::Differs,
        }))
    }

    /// Some of the directories of a scope, those after a place, `limit` at most.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn directories(
        &self,
        scope: &Scope,
        after: Option<&DirectoryPosition>,
        limit: usize,
    ) -> Result<Directories, Error> {
        let listed = Listed {
            product: scope.product.as_deref(),
            tenant: scope.tenant.as_deref(),
        };
        let prefix = listed.prefix();
        let begin = format!("{prefix}{}", after.map_or("0", |place| place.0.as_str()));
        // The place itself is part of the range, and one more tells whether there are more.
        let most = i32::try_from(limit.saturating_add(2)).unwrap_or(i32::MAX);
        let (listings, _) = self
            .first(DIRECTORIES, &begin, &format!("{prefix}g"), most)
            .await?;
        let mut places = vec![];
        for listing in &listings {
            let place = item::text(listing, SK)?;
            let place =
                DirectoryPosition(place.strip_prefix(&prefix).unwrap_or_default().to_owned());
            if Some(&place) != after {
                places.push(place);
            }
        }
        let more = places.len() > limit;
        places.truncate(limit);
        let ids: Vec<Option<DirectoryId>> =
            places.iter().map(DirectoryPosition::directory).collect();
        let keys = ids.iter().flatten().copied().map(Key::directory).collect();
        let mut found = HashMap::new();
        for item in self.get_all(keys).await? {
            let id = item::text(&item, PK)?.parse().map_err(Error::broken)?;
            let directory = match from_item(&item) {
                Ok(directory) => Ok(directory),
                Err(Error::Unreadable(item)) => Err(item),
                Err(error) => return Err(error),
            };
            found.insert(Some(id), directory);
        }
        let next = match more {
            true => places.last().cloned(),
            false => None,
        };
        // One that was deleted just now is not shown.
        let directories = places.into_iter().zip(ids);
        let directories = directories.filter_map(|(place, id)| Some((place, found.remove(&id)?)));
        Ok(Directories {
            directories: directories.collect(),
            next,
        })
    }

    /// Changes a directory as it is now, again from the beginning when somebody
    /// else was faster. A change that changes nothing writes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Invalid`], [`Error::Deleting`],
    /// [`Error::Changed`] when the precondition fails, [`Error::Busy`], [`Error::Broken`].
    pub async fn change_directory(
        &self,
        id: DirectoryId,
        change: &DirectoryChange,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<Directory, Error> {
        let decide = |old: &Directory| {
            precondition.check(old.version)?;
            let new = old.changed(change, now)?;
            let event = match (&old.status, &new.status) {
                (before, after) if before == after => {
                    let changed = !old.changed_paths(&new).is_empty();
                    changed.then_some(DetailType::DirectoryUpdated)
                }
                (_, Status::Active) => Some(DetailType::DirectoryActivated),
                (_, _) => Some(DetailType::DirectoryDeactivated),
            };
            Ok((new, event))
        };
        self.update_directory(id, now, decide).await
    }

    /// Begins to delete a directory, or makes the deletion go on that got stuck:
    /// the table's stream shows the change to the sweeper, which does the rest.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Changed`] when the precondition fails, [`Error::Busy`], [`Error::Broken`].
    pub async fn delete_directory(
        &self,
        id: DirectoryId,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<Directory, Error> {
        let decide = |old: &Directory| {
            precondition.check(old.version)?;
            let mut new = old.clone();
            new.status = Status::Deleting;
            new.deleted = Some(old.deleted.unwrap_or(to_the_millisecond(now)));
            // Each version that is deleting is a step of the sweeper.
            new.version = old.version + 1;
            Ok((new, None))
        };
        self.update_directory(id, now, decide).await
    }

    async fn update_directory(
        &self,
        id: DirectoryId,
        now: Timestamp,
        decide: impl Fn(&Directory) -> Result<(Directory, Option<DetailType>), Error>,
    ) -> Result<Directory, Error> {
        let mut backoff = Backoff::new();
        loop {
            let old = self.directory(id).await?.ok_or(Error::NotFound)?;
            let (mut new, event) = decide(&old)?;
            if new == old {
                return Ok(old);
            }
            new.version = old.version + 1;
            let mut change = Change::default();
            change.replace(Key::directory(id), to_item(&new)?, old.version);
            if let Some(event) = event {
                let before = (event == DetailType::DirectoryUpdated).then_some(&old);
                let version = new.version;
                Event::of_directory(&new, event, version, before, now).add_to(&mut change);
            }
            match change.commit(self).await {
                Ok(()) => return Ok(new),
                Err(CommitError::Broken(error)) => return Err(error),
                Err(CommitError::ConditionFailure(_) | CommitError::Contended) => {
                    backoff.wait().await?
                }
            }
        }
    }

    /// The end of a deletion: what is left of the directory goes, and it is announced once.
    pub(crate) async fn end_directory(
        &self,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<(), CommitError> {
        let mut change = Change::default();
        let condition = Condition::Version(directory.version);
        change.delete(
            Key::directory(directory.id),
            condition,
            ConditionFailure::Changed,
        );
        for listing in Key::listings(directory.id, &directory.tenant, &directory.product) {
            change.remove(listing);
        }
        if let Some(webhook) = &directory.webhook {
            let webhook = serde_json::to_string(webhook);
            let webhook = webhook.map_err(|error| CommitError::Broken(Error::broken(error)))?;
            let expires = now.saturating_add(LAST_WEBHOOK).unwrap_or(Timestamp::MAX);
            let ended = Item::from([
                (item::WEBHOOK.to_owned(), item::string(webhook)),
                (item::EXPIRES.to_owned(), item::number(expires.as_second())),
            ]);
            change.put(Key::ended(directory.id), ended);
        }
        let version = directory.version + 1;
        let deleted = DetailType::DirectoryDeleted;
        Event::of_directory(directory, deleted, version, None, now).add_to(&mut change);
        change.commit(self).await
    }
}

impl Repeatable<'_> {
    fn at(&self) -> Key {
        Key::repeat(self.caller, self.key)
    }

    fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.body))
    }

    fn item(&self, made: DirectoryId, now: Timestamp) -> (Key, Item) {
        let expires = now.saturating_add(REPEATABLE).unwrap_or(Timestamp::MAX);
        let item = Item::from([
            (
                item::DIRECTORY_ID.to_owned(),
                item::string(made.to_string()),
            ),
            (item::REQUEST_DIGEST.to_owned(), item::string(self.digest())),
            (item::EXPIRES.to_owned(), item::number(expires.as_second())),
        ]);
        (self.at(), item)
    }
}

fn to_item(directory: &Directory) -> Result<Item, Error> {
    let document = serde_json::to_string(directory).map_err(Error::broken)?;
    Ok(Item::from([
        (item::DIRECTORY.to_owned(), item::string(document)),
        (item::VERSION.to_owned(), item::number(directory.version)),
        (
            item::STATUS.to_owned(),
            item::string(directory.status.as_str()),
        ),
    ]))
}

fn from_item(item: &Item) -> Result<Directory, Error> {
    let document = item::text(item, item::DIRECTORY)?;
    let read = Directory::from_stored(document, item::integer(item, item::VERSION)?);
    let read = read.map_err(|lacks| item::unreadable(item, lacks))?;
    match item::text(item, PK)? == read.id.to_string() {
        true => Ok(read),
        false => Err(item::unreadable(item, "id of its own in its document")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(tenant: Option<&str>, product: Option<&str>) -> Scope {
        Scope {
            tenant: tenant.map(str::to_owned),
            product: product.map(str::to_owned),
        }
    }

    #[test]
    fn a_scope_never_widens() {
        let crm = scope(None, Some("crm"));
        assert_eq!(crm.and(&Scope::default()), Some(crm.clone()));
        assert_eq!(
            crm.and(&scope(Some("acme"), None)),
            Some(scope(Some("acme"), Some("crm")))
        );
        assert_eq!(crm.and(&scope(None, Some("erp"))), None);
    }
}
