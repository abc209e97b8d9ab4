//! The events of a directory that cannot be published, with the reasons.
//!
//! The publisher parks an event that the bus refuses for good, or that it cannot
//! read, so that no other event waits for it. The event item stays in the table,
//! so a parked event can be published under its own id until its item expires.
//! The name of a parked event is the id of its item, followed by the member if
//! the item has events of several members.

use crate::event::backlog::{Attempt, Span, Waiting};
use crate::model::error::Error;
use crate::model::id::{DirectoryId, EventId, ResourceId};
use crate::table::item::{self, Item};
use crate::table::key::{self, Key, SK};
use crate::table::store::Store;
use crate::table::transaction::with_retry;

/// An event, or several events of one item, that cannot be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The sort key of the event item.
    pub item: String,
    /// The events of the item that are parked.
    pub span: Span,
    /// The member, if it is the event of one membership.
    pub member: Option<ResourceId>,
    /// Why the event cannot be published, without personal data.
    pub reason: String,
    /// The number of attempts to publish it.
    pub attempts: u64,
    /// The time after which DynamoDB may delete it, in seconds since 1970: not before the event item.
    pub expires: Option<i64>,
}

/// A page of parked events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedList {
    /// The events, the oldest first.
    pub events: Vec<Parked>,
    /// The name after which the next page begins, if there may be one.
    pub next: Option<String>,
}

impl Parked {
    /// Returns the name, which is unique within the directory.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.member, self.span.from) {
            (Some(member), _) => format!("{}#{member}", self.item),
            // The event of the resource was published, and the events of its members cannot be published.
            (None, from) if from > 0 => format!("{}#members", self.item),
            (None, _) => self.item.clone(),
        }
    }

    /// Returns the id of the event on the bus, or the id of the item if all of its events are parked.
    #[must_use]
    pub fn id(&self) -> Option<EventId> {
        let item: EventId = self.item.parse().ok()?;
        Some(match self.member {
            Some(member) => item.about(member),
            None => item,
        })
    }

    fn from_item(row: &Item) -> Result<Self, Error> {
        let name = item::text(row, SK)?;
        let member = name
            .split_once('#')
            .and_then(|(_, member)| member.parse().ok());
        Ok(Self {
            item: item::text(row, item::EVENT_ITEM)?.to_owned(),
            span: Span {
                from: item::integer(row, item::FIRST_EVENT)?,
                to: item::optional(row, item::END_EVENT)?,
            },
            member,
            reason: item::text(row, item::REASON)?.to_owned(),
            attempts: item::integer(row, item::ATTEMPTS)?,
            expires: item::optional(row, item::EXPIRES)?,
        })
    }

    fn to_item(&self) -> Item {
        let mut row = Item::from([
            (item::EVENT_ITEM.to_owned(), item::string(&self.item)),
            (item::FIRST_EVENT.to_owned(), item::number(self.span.from)),
            (item::REASON.to_owned(), item::string(&self.reason)),
            (item::ATTEMPTS.to_owned(), item::number(self.attempts)),
        ]);
        if let Some(to) = self.span.to {
            row.insert(item::END_EVENT.to_owned(), item::number(to));
        }
        if let Some(expires) = self.expires {
            row.insert(item::EXPIRES.to_owned(), item::number(expires));
        }
        row
    }
}

impl Store {
    /// Parks an event. It replaces the parked event of the same name.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn park(&self, directory: DirectoryId, parked: &Parked) -> Result<(), Error> {
        let mut item = item::stamped(parked.to_item());
        item.extend(Key::parked(directory, &parked.name()).attributes());
        let request = self
            .client()
            .put_item()
            .table_name(self.table())
            .set_item(Some(item));
        with_retry(|| request.clone().send()).await?;
        Ok(())
    }

    /// Deletes a parked event that was published, unless it was parked again in the meantime.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn unpark(&self, directory: DirectoryId, attempt: &Attempt) -> Result<(), Error> {
        let key = Key::parked(directory, &attempt.parked);
        self.delete_unchanged(key, item::ATTEMPTS, attempt.before)
            .await
    }

    /// Returns at most `limit` parked events of a directory after a name. It takes one request.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn parked(
        &self,
        directory: DirectoryId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ParkedList, Error> {
        let most = i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX);
        // Sort keys are compared byte by byte, and names are ASCII without blanks, so the name and a blank is the next key.
        let from = after.map_or("0".to_owned(), |after| format!("{after} "));
        let partition = key::parked(directory);
        let (rows, more) = self.first(&partition, &from, "~", most).await?;
        let mut events = rows
            .iter()
            .map(Parked::from_item)
            .collect::<Result<Vec<_>, _>>()?;
        let more = more || events.len() > limit;
        events.truncate(limit);
        let next = events.last().filter(|_| more).map(Parked::name);
        Ok(ParkedList { events, next })
    }

    /// Publishes parked events once more, before the events of their directory that wait. Each stays
    /// parked until it is published.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`]. The same call again continues the work.
    pub async fn redrive(&self, directory: DirectoryId, parked: &[Parked]) -> Result<(), Error> {
        let waiting: Vec<Waiting> = parked
            .iter()
            .map(|one| Waiting {
                // It sorts before every sequence number.
                place: format!("!{}", one.name()),
                item: one.item.clone(),
                span: one.span,
                attempt: Some(Attempt {
                    parked: one.name(),
                    before: one.attempts,
                }),
            })
            .collect();
        self.let_wait(directory, waiting, vec![]).await?;
        self.call_again(directory).await
    }
}
