//! The events of a directory that cannot be published, with the reasons.
//!
//! The publisher parks what the bus will never take, or what it cannot read, so
//! that nothing waits for it. The event item stays where it is: an event that
//! was parked can be published at any later time, under its own id, as long as
//! its item is kept. A parked event is named after its item, and after the
//! member where the item holds the events of several.

use crate::event::backlog::{Attempt, Span, Waiting};
use crate::model::error::Error;
use crate::model::id::{DirectoryId, EventId, ResourceId};
use crate::table::item::{self, Item};
use crate::table::key::{self, Key, SK};
use crate::table::store::Store;
use crate::table::transaction::with_retry;

/// An event that cannot be published, or several of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The event item, by its sort key.
    pub item: String,
    /// Which of its events.
    pub span: Span,
    /// The member, if it is the event of one.
    pub member: Option<ResourceId>,
    /// Why, without personal data.
    pub reason: String,
    /// How many attempts there were to publish it.
    pub attempts: u64,
    /// When it may be deleted, in seconds since 1970: not before its event item.
    pub expires: Option<i64>,
}

/// Part of a list of parked events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedList {
    /// The oldest first.
    pub events: Vec<Parked>,
    /// The name after which the list goes on, if there may be more.
    pub next: Option<String>,
}

impl Parked {
    /// The name, unique within the directory.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.member, self.span.from) {
            (Some(member), _) => format!("{}#{member}", self.item),
            // What happened to the resource was published, and the events of its members cannot be.
            (None, from) if from > 0 => format!("{}#members", self.item),
            (None, _) => self.item.clone(),
        }
    }

    /// The id that the event has on the bus: of the item if it is all of its events.
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
    /// Parks an event, in place of what is parked under its name.
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

    /// Deletes a parked event that was published, unless it was parked again since.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn unpark(&self, directory: DirectoryId, attempt: &Attempt) -> Result<(), Error> {
        let key = Key::parked(directory, &attempt.parked);
        self.delete_unchanged(key, item::ATTEMPTS, attempt.before)
            .await
    }

    /// The parked events of a directory after a name, `limit` at most: one request.
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
        // Sort keys are compared byte by byte, and names are ASCII: nothing is between a name and it with a blank.
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

    /// Has parked events published once more, before what waits of their directory, and brings
    /// the publisher to that in any case. Each stays parked until it is published.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`]; the same again goes on.
    pub async fn redrive(&self, directory: DirectoryId, parked: &[Parked]) -> Result<(), Error> {
        let waiting: Vec<Waiting> = parked
            .iter()
            .map(|one| Waiting {
                // Before every sequence number.
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
