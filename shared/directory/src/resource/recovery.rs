//! Work that takes more than one transaction, and is left when a process is interrupted.
//!
//! The next change of a group finishes what is found there, and readers do not see it until then. But no change may follow,
//! and the memberships of a user who was deleted end after the user does. So there is a note of such work, an item of its own:
//!
//! | work | the note is written by |
//! |---|---|
//! | a change of a group in steps (`group/staged.rs`) | the sweeper, when the stream shows that it has begun: the request pays nothing for it |
//! | the memberships of a user, or of a group within groups, that was deleted | the transaction that deletes it |
//! | users who are each other's managers, created all or none | the request, before the first of them |
//!
//! The stream shows the note to the sweeper. If the work is not done then, the sweeper waits until the note is due, a
//! minute after it was written, and finishes it: no request lives that long. What is to be found by the index is looked
//! for then, when the index has long shown it, and the groups and rows to which it leads are read strongly. A note also has a time
//! to live, and DynamoDB's deletion of it brings the sweeper once more ("Using time to live in DynamoDB": within a few days).

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::ReturnValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::caller::Caller;
use crate::model::directory::Status;
use crate::model::error::Error;
use crate::model::id::{DirectoryId, EventId, ResourceId};
use crate::model::resource_kind::{GROUP, USER};
use crate::model::stored::Precondition;
use crate::table::item::{self, Item};
use crate::table::key::Key;
use crate::table::store::Store;
use crate::table::transaction::{
    Backoff, Change, CommitError, Condition, ConditionFailure, set_expression, with_retry,
};

/// How long a change in steps has the group for itself, in milliseconds. Nobody
/// works on one for longer: API Gateway and Lambda give up after 30 seconds.
pub(crate) const LEASE: i64 = 60_000;

/// For how long a note stays after the memberships of a resource have ended, in seconds: when it expires it is looked once
/// more whether the index shows another one.
const LAST_LOOK: i64 = 24 * 60 * 60;

/// Work that takes more than one transaction, by the resource that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    directory: DirectoryId,
    id: ResourceId,
}

/// What is to be done about a note now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attended {
    /// Nothing: the work is done, or another record of the stream brings it.
    Done,
    /// The work may still be under way; for so long.
    Early(SignedDuration),
}

impl Unfinished {
    pub(crate) fn of(directory: DirectoryId, id: ResourceId) -> Self {
        Self { directory, id }
    }

    /// The work that the item of that key is about.
    #[must_use]
    pub fn at(pk: &str, sk: &str) -> Option<Self> {
        let (directory, rest) = pk.split_once('#')?;
        let id = match rest.split_once('#') {
            Some((_, group)) => group,
            None => sk,
        };
        Some(Self {
            directory: directory.parse().ok()?,
            id: id.parse().ok()?,
        })
    }

    fn note(self) -> Key {
        Key::unfinished(self.directory, self.id)
    }

    /// The note that memberships have to end whose member is being deleted: the event of the deletion says who it was.
    pub(crate) fn deletion(self, event: EventId, now: Timestamp) -> (Key, Item) {
        let mut note = due(now);
        note.insert(
            item::DELETION_EVENT.to_owned(),
            item::string(event.to_string()),
        );
        (self.note(), note)
    }
}

/// When a note of now is due, and when it expires.
fn due(now: Timestamp) -> Item {
    let due = now.as_millisecond() + LEASE;
    // Times to live are whole seconds, and the note is to be due by then.
    let expires = due.div_euclid(1_000) + 1;
    Item::from([
        (item::DUE.to_owned(), item::number(due)),
        (item::EXPIRES.to_owned(), item::number(expires)),
    ])
}

/// The users of a request who refer to each other, by what the request says of them.
#[derive(Clone, Copy, Debug)]
pub struct Circle(Unfinished);

impl Circle {
    /// The users whom `content` creates in the caller's directory.
    #[must_use]
    pub fn new(caller: &Caller, content: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(content).into();
        let mut bytes = [0; ResourceId::BYTES];
        for (byte, of_digest) in bytes.iter_mut().zip(digest) {
            *byte = of_digest;
        }
        Self(Unfinished {
            directory: caller.directory().id,
            id: ResourceId::from_bytes(bytes),
        })
    }
}

impl Store {
    /// Notes that work on a group has begun.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn note(&self, unfinished: Unfinished, now: Timestamp) -> Result<(), Error> {
        let (mut names, mut values) = (HashMap::new(), HashMap::new());
        // What else the note says stays.
        let expression = set_expression(due(now), &[], &mut names, &mut values);
        let request = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(unfinished.note().attributes()))
            .update_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values));
        with_retry(|| request.clone().send()).await?;
        Ok(())
    }

    /// Finishes the work of a note that the stream has shown, if it is left and due.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`]; the same again goes on.
    pub async fn attend(&self, unfinished: Unfinished, now: Timestamp) -> Result<Attended, Error> {
        let Some(note) = self.item(unfinished.note()).await? else {
            return Ok(Attended::Done);
        };
        if !note.contains_key(item::DUE) {
            return Ok(Attended::Done);
        }
        let due: i64 = item::integer(&note, item::DUE)?;
        let of_a_group =
            !note.contains_key(item::DELETION_EVENT) && !note.contains_key(item::CYCLE_USERS);
        if of_a_group && !self.is_left(unfinished).await? {
            self.forget(unfinished, due).await?;
            return Ok(Attended::Done);
        }
        let left = due - now.as_millisecond();
        if left > 0 {
            return Ok(Attended::Early(SignedDuration::from_millis(left)));
        }
        self.finish(unfinished, now).await?;
        if of_a_group {
            self.forget(unfinished, due).await?;
        }
        Ok(Attended::Done)
    }

    /// Whether something is left of work on a group.
    async fn is_left(&self, unfinished: Unfinished) -> Result<bool, Error> {
        let Unfinished { directory, id } = unfinished;
        let head = self
            .item(Key::resource(directory, GROUP.prefix, id))
            .await?;
        if let Some(head) = head {
            return Ok(head.contains_key(item::STAGED_WRITE));
        }
        for key in [Key::creation(directory, id), Key::deletion(directory, id)] {
            if self.item(key).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes a note, unless it was written again since.
    async fn forget(&self, unfinished: Unfinished, due: i64) -> Result<(), Error> {
        let condition = Condition::Due(due);
        self.commit_note(|change| {
            change.delete(
                unfinished.note(),
                condition.clone(),
                ConditionFailure::Changed,
            );
        })
        .await?;
        Ok(())
    }

    /// Commits a change of a note, again while others hinder it; false when its condition does not hold.
    async fn commit_note(&self, write: impl Fn(&mut Change)) -> Result<bool, Error> {
        let mut backoff = Backoff::new();
        loop {
            let mut change = Change::default();
            write(&mut change);
            match change.commit(self).await {
                Ok(()) => return Ok(true),
                Err(CommitError::ConditionFailure(_)) => return Ok(false),
                Err(CommitError::Contended) => backoff.wait().await?,
                Err(CommitError::Broken(error)) => return Err(error),
            }
        }
    }

    /// Finishes work that is left, if its lease is over.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`]; the same again goes on.
    pub async fn finish(&self, unfinished: Unfinished, now: Timestamp) -> Result<(), Error> {
        let Unfinished { directory, id } = unfinished;
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
        let nobody = caller("");
        let note = self.item(unfinished.note()).await?.unwrap_or_default();
        if note.contains_key(item::CYCLE_USERS) {
            return self.finish_circle(&nobody, unfinished, &note, now).await;
        }
        // It is read a second time when it is not there: it may have come in between.
        for last_look in [false, true] {
            if let Some(old) = self.read(&nobody, &GROUP, id).await? {
                let Some(staged) = &old.group.staged else {
                    return Ok(());
                };
                return match self.take_over(&nobody, &old, staged, now).await? {
                    true => Ok(()),
                    // Somebody else is at it.
                    false => self.note(unfinished, now).await,
                };
            }
            if self.is_being_created(&nobody, id, now).await? {
                return self.note(unfinished, now).await;
            }
            if let Some(gone) = self.item(Key::deletion(directory, id)).await? {
                let base_url = item::text(&gone, item::BASE_URL)?;
                match self.finish_deletion(&caller(base_url), id, now).await {
                    // Somebody else has finished it.
                    Ok(()) | Err(Error::NotFound) => {}
                    Err(error) => return Err(error),
                }
            } else if last_look {
                let rows = self.rows(&nobody, id).await?.rows;
                let ids = rows.iter().map(|(id, ..)| id);
                self.delete_rows(&nobody, id, ids).await?;
            }
        }
        self.finish_memberships(&nobody, unfinished, &note, now)
            .await
    }

    /// Ends what memberships are left of a resource that was deleted.
    async fn finish_memberships(
        &self,
        caller: &Caller,
        unfinished: Unfinished,
        note: &Item,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Unfinished { directory, id } = unfinished;
        if self.read(caller, &USER, id).await?.is_some() {
            return Ok(());
        }
        let groups = self.may_have(caller, id).await?;
        if !groups.is_empty() {
            let member = match note.contains_key(item::DELETION_EVENT) {
                true => self.data_of_deletion(directory, note).await?,
                false => None,
            };
            self.end_memberships_in(caller, groups, id, member.as_ref(), now)
                .await?;
        }
        if !note.contains_key(item::DELETION_EVENT) {
            return Ok(());
        }
        // The index may have shown too little: once more, when the note expires.
        let expires = now.as_second() + LAST_LOOK;
        let item = Item::from([(item::EXPIRES.to_owned(), item::number(expires))]);
        self.set_attributes(unfinished.note(), item, &[item::DUE], Condition::Present)
            .await?;
        Ok(())
    }

    /// Who it was that was deleted, as the event of the deletion says.
    async fn data_of_deletion(
        &self,
        directory: DirectoryId,
        note: &Item,
    ) -> Result<Option<Value>, Error> {
        let event = item::text(note, item::DELETION_EVENT)?.parse();
        let event = Key::event(directory, event.map_err(Error::broken)?);
        let Some(event) = self.item(event).await? else {
            return Ok(None);
        };
        // The error of serde_json would quote the event.
        let detail: Value = serde_json::from_str(item::text(&event, item::DETAIL)?)
            .map_err(|_| Error::broken("an event item has no detail of ours"))?;
        Ok(detail.get("data").cloned())
    }

    /// Notes that users who refer to each other are about to be created under these ids, and answers the ids to create
    /// them under: those of the same request before, if that has not come to its end.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`], also while such a request is being taken back, and [`Error::Broken`].
    pub async fn begin_circle(
        &self,
        circle: Circle,
        ids: &[ResourceId],
        now: Timestamp,
    ) -> Result<Vec<ResourceId>, Error> {
        // It stays until it is finished: nothing else knows who belongs to the circle.
        let note = Item::from([
            (
                item::DUE.to_owned(),
                item::number(now.as_millisecond() + LEASE),
            ),
            (
                item::EXPIRES.to_owned(),
                item::number(now.as_second() + LAST_LOOK),
            ),
        ]);
        let (mut names, mut values) = (HashMap::new(), HashMap::new());
        let expression = set_expression(note, &[], &mut names, &mut values);
        names.insert("#c".to_owned(), item::CYCLE_USERS.to_owned());
        names.insert("#x".to_owned(), item::ROLLING_BACK.to_owned());
        values.insert(":c".to_owned(), item::string(item::ids(ids)));
        let request = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(circle.0.note().attributes()))
            .update_expression(format!("{expression}, #c = if_not_exists(#c, :c)"))
            .condition_expression("attribute_not_exists(#x)")
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllNew);
        let sent = with_retry(|| async {
            match request.clone().send().await {
                Ok(answer) => Ok(answer.attributes),
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        });
        let note = sent.await?.ok_or(Error::Busy)?;
        item::parse_ids(item::text(&note, item::CYCLE_USERS)?)
    }

    /// Ends a circle of which all users were created; false if it is being taken back.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn end_circle(&self, circle: Circle) -> Result<bool, Error> {
        self.commit_note(|change| {
            change.delete(
                circle.0.note(),
                Condition::Standing,
                ConditionFailure::Changed,
            );
        })
        .await
    }

    /// Deletes those of a circle who were created, and then its note. Nobody else ends it from here on.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`]; the sweeper goes on.
    pub async fn undo_circle(
        &self,
        caller: &Caller,
        circle: Circle,
        now: Timestamp,
    ) -> Result<(), Error> {
        let note = self.item(circle.0.note()).await?;
        match note {
            Some(note) => self.take_back(caller, circle.0, &note, now).await,
            // The same request, sent twice, has come to its end elsewhere.
            None => Ok(()),
        }
    }

    /// Ends a circle that was left: as it is if all of its users were created, and taken back if not.
    async fn finish_circle(
        &self,
        caller: &Caller,
        unfinished: Unfinished,
        note: &Item,
        now: Timestamp,
    ) -> Result<(), Error> {
        let due: i64 = item::integer(note, item::DUE)?;
        if now.as_millisecond() < due {
            return Ok(());
        }
        let ids: BTreeSet<ResourceId> = item::parse_ids(item::text(note, item::CYCLE_USERS)?)?
            .into_iter()
            .collect();
        let all: Vec<ResourceId> = ids.iter().copied().collect();
        let there = self
            .read_all(caller.directory().id, &USER, &all)
            .await?
            .len();
        if there == ids.len() && !note.contains_key(item::ROLLING_BACK) {
            self.end_circle(Circle(unfinished)).await?;
            return Ok(());
        }
        self.take_back(caller, unfinished, note, now).await
    }

    async fn take_back(
        &self,
        caller: &Caller,
        unfinished: Unfinished,
        note: &Item,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mark = Item::from([(item::ROLLING_BACK.to_owned(), item::string("yes"))]);
        let marked = self.commit_note(|change| {
            change.set(unfinished.note(), mark.clone(), &[], Condition::Present);
        });
        if !marked.await? {
            // It has come to its end.
            return Ok(());
        }
        for id in item::parse_ids(item::text(note, item::CYCLE_USERS)?)? {
            match self.delete_user(caller, id, &Precondition::None, now).await {
                Ok(()) | Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.commit_note(|change| change.remove(unfinished.note()))
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_read_from_the_keys_of_all_its_items() {
        let d = "d0000000-0000-4000-8000-000000000000";
        let g = "b2000000-0000-4000-8000-000000000000";
        let (directory, id) = (d.parse().unwrap(), g.parse().unwrap());
        let unfinished = Some(Unfinished { directory, id });
        for key in [
            Key::resource(directory, GROUP.prefix, id),
            Key::creation(directory, id),
            Key::deletion(directory, id),
            Key::unfinished(directory, id),
        ] {
            assert_eq!(Unfinished::at(&key.pk, &key.sk), unfinished, "{key:?}");
        }
        for (pk, sk) in [(d, "META"), ("DIRECTORIES", "A#x"), ("", ""), ("x#G", g)] {
            assert_eq!(Unfinished::at(pk, sk), None, "{pk} {sk}");
        }
    }
}
