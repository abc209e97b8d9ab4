//! The events of a directory that wait to be published.
//!
//! The table's stream passes event items of all directories to the publisher,
//! which publishes a share of each directory's events in one invocation. The rest
//! is stored here, in the partition of the directory's events: one item for each
//! event item that waits, and one item for all of them, the backlog. Each write of
//! the backlog is a record in the same shard of the stream, after the records
//! that other directories have written in the meantime, and that record invokes
//! the publisher again.
//!
//! There is no lock. The place of a waiting event item follows from its stream
//! record, so a repeated invocation writes it at the same place. The waiting item
//! is deleted only after its events were published, so two invocations at the
//! same time publish an event twice under the same id, and never lose one.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;

use crate::event::EventItem;
use crate::model::error::Error;
use crate::model::id::DirectoryId;
use crate::table::batch::Deadline;
use crate::table::item::{self, Item};
use crate::table::key::{self, Key, SK};
use crate::table::store::Store;
use crate::table::transaction::{update_if, with_retry};

/// The kinds of stream records that the publisher handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// An event item of the directory.
    Event(DirectoryId),
    /// The backlog of the directory, whose [`Backlog::version`] is in the record.
    Backlog(DirectoryId),
}

impl Published {
    /// Returns the kind of the item with this key; `None` for any other item.
    #[must_use]
    pub fn at(pk: &str, sk: &str) -> Option<Self> {
        let directory = key::directory_of_events(pk)?;
        match key::place_of(sk) {
            Some(_) => None,
            None if key::is_backlog(sk) => Some(Self::Backlog(directory)),
            None => Some(Self::Event(directory)),
        }
    }
}

/// A range of the events of an item, in the order in which they are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first event, counted from 0.
    pub from: usize,
    /// The event after the last one; `None` for all events from the first one on.
    pub to: Option<usize>,
}

/// Another attempt to publish a parked event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The name of the parked event.
    pub parked: String,
    /// The number of attempts before this one.
    pub before: u64,
}

/// An event item of which all or some events wait to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its place. Waiting events are published in the order of their places as text.
    pub place: String,
    /// The sort key of the event item.
    pub item: String,
    /// The events of the item that wait.
    pub span: Span,
    /// The parked event that is published once more, if it is one.
    pub attempt: Option<Attempt>,
}

/// The events of a directory that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The event items, in the order in which they are to be published.
    pub waiting: Vec<Waiting>,
    /// Whether there are more than were read.
    pub more: bool,
    /// Changes with every call of [`Store::call_again`]; `None` if there is no backlog item.
    pub version: Option<u64>,
}

impl Waiting {
    /// Returns the place of an event item whose stream record has this sequence number,
    /// a number of up to 40 digits.
    #[must_use]
    pub fn place(sequence: &str) -> String {
        format!("{sequence:0>40}")
    }

    fn into_item(self, directory: DirectoryId) -> (Key, Item) {
        let mut item = Item::from([
            (item::EVENT_ITEM.to_owned(), item::string(self.item)),
            (item::FIRST_EVENT.to_owned(), item::number(self.span.from)),
        ]);
        if let Some(to) = self.span.to {
            item.insert(item::END_EVENT.to_owned(), item::number(to));
        }
        if let Some(attempt) = self.attempt {
            item.insert(item::PARKED_EVENT.to_owned(), item::string(attempt.parked));
            item.insert(item::ATTEMPTS.to_owned(), item::number(attempt.before));
        }
        (Key::waiting(directory, &self.place), item)
    }

    fn from_item(place: &str, item: &Item) -> Result<Self, Error> {
        let attempt = match item.contains_key(item::PARKED_EVENT) {
            true => Some(Attempt {
                parked: item::text(item, item::PARKED_EVENT)?.to_owned(),
                before: item::integer(item, item::ATTEMPTS)?,
            }),
            false => None,
        };
        Ok(Self {
            place: place.to_owned(),
            item: item::text(item, item::EVENT_ITEM)?.to_owned(),
            span: Span {
                from: item::integer(item, item::FIRST_EVENT)?,
                to: item::optional(item, item::END_EVENT)?,
            },
            attempt,
        })
    }
}

impl Store {
    /// Returns at most `most` waiting event items of a directory. It takes one strongly consistent request.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn backlog(&self, directory: DirectoryId, most: usize) -> Result<Backlog, Error> {
        let (from, to) = key::backlog_range();
        // The backlog item is one more.
        let most = i32::try_from(most.saturating_add(1)).unwrap_or(i32::MAX);
        let partition = key::events(directory);
        let (items, more) = self.first(&partition, from, to, most).await?;
        let mut backlog = Backlog {
            more,
            ..Backlog::default()
        };
        for item in &items {
            let sk = item::text(item, SK)?;
            match key::place_of(sk) {
                None => backlog.version = Some(item::integer(item, item::VERSION)?),
                Some(place) => backlog.waiting.push(Waiting::from_item(place, item)?),
            }
        }
        Ok(backlog)
    }

    /// Writes waiting event items, which replace those at the same places, and deletes those at
    /// the places in `done`. After an error, some of that may be done.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn let_wait(
        &self,
        directory: DirectoryId,
        waiting: Vec<Waiting>,
        done: Vec<String>,
    ) -> Result<(), Error> {
        let waiting = waiting.into_iter().map(|one| {
            let (key, item) = one.into_item(directory);
            (key, Some(item))
        });
        let done = done
            .iter()
            .map(|place| (Key::waiting(directory, place), None));
        let writes = waiting.chain(done).collect();
        // A write that arrives once more, later, publishes events once more, under the same ids.
        self.write_all(writes, Deadline::new()).await?;
        Ok(())
    }

    /// Writes the backlog item, so that the table's stream invokes the publisher again.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn call_again(&self, directory: DirectoryId) -> Result<(), Error> {
        let request = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(Key::backlog(directory).attributes()))
            .update_expression("SET #f = :f ADD #v :one")
            .expression_attribute_names("#f", item::FORMAT)
            .expression_attribute_values(":f", item::number(item::FORMAT_VERSION))
            .expression_attribute_names("#v", item::VERSION)
            .expression_attribute_values(":one", item::number(1));
        update_if(|| request.clone().send()).await?;
        Ok(())
    }

    /// Deletes the backlog item of a directory without waiting events, unless
    /// [`Store::call_again`] was called after its version was read.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn end_backlog(&self, directory: DirectoryId, version: u64) -> Result<(), Error> {
        let key = Key::backlog(directory);
        self.delete_unchanged(key, item::VERSION, version).await
    }

    /// Deletes an item if one of its numbers has still this value.
    pub(crate) async fn delete_unchanged(
        &self,
        key: Key,
        attribute: &str,
        number: u64,
    ) -> Result<(), Error> {
        let request = self
            .client()
            .delete_item()
            .table_name(self.table())
            .set_key(Some(key.attributes()))
            .condition_expression("#n = :n")
            .expression_attribute_names("#n", attribute)
            .expression_attribute_values(":n", item::number(number));
        let send = async || match request.clone().send().await {
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            answer => answer.map(|_| ()),
        };
        with_retry(send).await
    }

    /// Returns the event items of a directory with these sort keys that exist, read with strong consistency.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`]; an item that cannot be read fails alone.
    pub async fn event_items(
        &self,
        directory: DirectoryId,
        names: &[String],
    ) -> Result<HashMap<String, Result<EventItem, Error>>, Error> {
        let keys = names.iter().map(|name| Key {
            pk: key::events(directory),
            sk: name.clone(),
        });
        let items = self.get_all(keys.collect()).await?;
        let read = items.iter().map(|item| {
            let name = item::text(item, SK)?.to_owned();
            Ok((name, EventItem::from_item(item)))
        });
        read.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_kept_as_it_is() {
        let directory = DirectoryId::random();
        for waiting in [
            Waiting {
                place: Waiting::place("700"),
                item: "e".to_owned(),
                span: Span::default(),
                attempt: None,
            },
            Waiting {
                place: "!e".to_owned(),
                item: "e".to_owned(),
                span: Span {
                    from: 3,
                    to: Some(4),
                },
                attempt: Some(Attempt {
                    parked: "e#u".to_owned(),
                    before: 2,
                }),
            },
        ] {
            let (key, item) = waiting.clone().into_item(directory);
            let place = key::place_of(&key.sk).unwrap();
            assert_eq!(Waiting::from_item(place, &item).unwrap(), waiting);
            assert_eq!(Published::at(&key.pk, &key.sk), None);
        }
    }

    #[test]
    fn places_follow_sequence_numbers() {
        assert!(Waiting::place("9") < Waiting::place("10"));
        let longest = "9".repeat(40);
        assert_eq!(Waiting::place(&longest), longest);
    }

    #[test]
    fn a_record_is_an_event_or_the_backlog() {
        let directory = DirectoryId::random();
        let at = |key: Key| Published::at(&key.pk, &key.sk);
        let id = crate::model::id::ResourceId::random();
        assert_eq!(
            at(Key::backlog(directory)),
            Some(Published::Backlog(directory))
        );
        let event = Published::at(&key::events(directory), "01900000");
        assert_eq!(event, Some(Published::Event(directory)));
        assert_eq!(at(Key::waiting(directory, "7")), None);
        assert_eq!(at(Key::unfinished(directory, id)), None);
        assert_eq!(Published::at("x#E", "01900000"), None);
    }
}
