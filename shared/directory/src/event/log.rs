//! The events of a directory as they can be read again, oldest first, for as
//! long as their items are kept.
//!
//! An event gets its id, and with it its place, when its request begins, and is
//! there when the transaction is committed, which may be later than that of an
//! event with a later id, and clocks differ. Whoever follows the log must not
//! pass a place at which something may still appear, so events that are younger
//! than [`HELD_BACK`] are not shown yet: no request lives that long.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::event::{EventItem, MEMBERS_AT_ONCE, MemberEvent, OutboundEvent};
use crate::model::error::Error;
use crate::model::error::Unreadable;
use crate::model::event_type::DetailType;
use crate::model::id::{DirectoryId, EventId};
use crate::table::item::{self, Item};
use crate::table::key::{self, SK};
use crate::table::store::Store;

/// Minimum age of an event in the log. A request takes at most 29 seconds (the
/// functions' `Timeout` in `template.yaml`), and the clocks of Lambda differ by
/// much less than the other 6 seconds, so no older event is added later.
pub const HELD_BACK: SignedDuration = SignedDuration::from_secs(35);

/// Number of bytes of events after which no more are read for one page.
const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Maximum number of event items that are read for one page.
const MAX_LOOKED_AT: usize = 1_000;
/// Number of event items in one read.
const AT_ONCE: i32 = 100;

/// A position in the log: after an event item, or after some of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// The id of the item.
    pub item: EventId,
    /// The number of its events before this position; `None` if all of them are.
    pub events: Option<usize>,
}

/// The filter of a request for events.
#[derive(Clone, Debug, Default)]
pub struct EventsAsked {
    /// Only events of this type.
    pub detail_type: Option<DetailType>,
    /// Only events about this resource, including its memberships.
    pub resource: Option<String>,
}

/// A page of the log.
pub struct EventPage {
    /// The events, the oldest first, each with the position after it.
    pub events: Vec<(EventPlace, OutboundEvent)>,
    /// The items among them that this version cannot read.
    pub unreadable: Vec<Unreadable>,
    /// The position after the page; `None` at the beginning of a log without events.
    pub next: Option<EventPlace>,
}

/// One of the events of an item.
#[derive(Clone, Copy)]
enum Said {
    /// The event of the resource.
    Resource,
    /// The event of a membership.
    Member(MemberEvent),
}

/// The members that the `detail` of every event has.
#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "id")]
    _id: EventId,
    #[serde(rename = "time")]
    _time: Timestamp,
    #[serde(rename = "directory_id")]
    _directory: DirectoryId,
    resource: Resource,
}

#[derive(Deserialize)]
struct Resource {
    id: String,
}

impl Store {
    /// Returns at most `limit` events of a directory after a position.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn events(
        &self,
        directory: DirectoryId,
        asked: &EventsAsked,
        after: Option<EventPlace>,
        limit: usize,
        now: Timestamp,
    ) -> Result<EventPage, Error> {
        let shown = now.saturating_sub(HELD_BACK).unwrap_or(Timestamp::MIN);
        let until = EventId::before(shown);
        let partition = key::events(directory);
        let mut page = EventPage {
            events: vec![],
            unreadable: vec![],
            next: after,
        };
        let (mut bytes, mut seen) = (0, 0);
        loop {
            let from = page
                .next
                .map_or("0".to_owned(), |place| place.item.to_string());
            if from > until {
                return Ok(page);
            }
            let (read, more) = self.first(&partition, &from, &until, AT_ONCE).await?;
            for row in &read {
                let id: EventId = item::text(row, SK)?.parse().map_err(Error::broken)?;
                let begin = match page.next {
                    Some(place) if place.item == id => match place.events {
                        Some(events) => events,
                        None => continue,
                    },
                    _ => 0,
                };
                if page.events.len() >= limit || bytes > MAX_PAGE_BYTES || seen >= MAX_LOOKED_AT {
                    return Ok(page);
                }
                seen += 1;
                let (event, said, about) = match understood(row) {
                    Ok(understood) => understood,
                    // The page names the item, and the log goes on after it.
                    Err(Error::Unreadable(item)) => {
                        page.unreadable.push(item);
                        page.next = Some(EventPlace {
                            item: id,
                            events: None,
                        });
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let mut place = begin;
                let wanted: Vec<(usize, Said)> = said
                    .iter()
                    .enumerate()
                    .skip(begin)
                    .filter(|(_, said)| asked.wants(&event, &about, **said))
                    .map(|(index, said)| (index, *said))
                    .take(limit - page.events.len())
                    .collect();
                for some in wanted.chunks(MEMBERS_AT_ONCE) {
                    if bytes > MAX_PAGE_BYTES {
                        page.next = Some(EventPlace {
                            item: id,
                            events: Some(place),
                        });
                        return Ok(page);
                    }
                    // The event of the resource is first in both lists.
                    for ((index, _), announcement) in
                        some.iter().zip(self.said(&event, some).await?)
                    {
                        bytes += announcement.detail.len();
                        let after = EventPlace {
                            item: id,
                            events: Some(index + 1),
                        };
                        page.events.push((after, announcement));
                    }
                    place = some.last().map_or(place, |(index, _)| index + 1);
                }
                let full = page.events.len() >= limit;
                page.next = Some(EventPlace {
                    item: id,
                    // The rest of the item may have more events.
                    events: (full && place < said.len()).then_some(place),
                });
            }
            if !more {
                return Ok(page);
            }
        }
    }

    /// Returns these events of an item in the form that is published.
    async fn said(
        &self,
        event: &EventItem,
        said: &[(usize, Said)],
    ) -> Result<Vec<OutboundEvent>, Error> {
        let mut all = vec![];
        let mut members = vec![];
        for (_, said) in said {
            match said {
                Said::Resource => all.extend(event.announcement().map_err(|_| none_of_ours())?),
                Said::Member(member) => members.push(*member),
            }
        }
        if !members.is_empty() {
            all.extend(self.announcements(event, &members).await?);
        }
        Ok(all)
    }
}

/// Returns an event item, its events, and the id of its resource.
fn understood(row: &Item) -> Result<(EventItem, Vec<Said>, String), Error> {
    let event = EventItem::from_item(row)?;
    let said = event.said();
    let said = said.map_err(|_| item::unreadable(row, "ids of members in Base64"))?;
    // The error of serde_json would quote the event.
    let detail: Detail = serde_json::from_str(event.detail())
        .map_err(|_| item::unreadable(row, "detail with id, time, directory_id and resource.id"))?;
    Ok((event, said, detail.resource.id))
}

impl EventItem {
    /// Returns the events of the item, in the order in which they are published.
    fn said(&self) -> Result<Vec<Said>, Error> {
        let resource = self.detail_type().map(|_| Said::Resource);
        let members = self.members()?.into_iter().map(Said::Member);
        Ok(resource.into_iter().chain(members).collect())
    }
}

impl EventsAsked {
    fn wants(&self, event: &EventItem, about: &str, said: Said) -> bool {
        let (detail_type, member) = match said {
            Said::Resource => (event.detail_type(), None),
            Said::Member(member) => (
                Some(member.detail_type()),
                Some(member.member().to_string()),
            ),
        };
        self.detail_type
            .is_none_or(|wanted| Some(wanted) == detail_type)
            && self
                .resource
                .as_ref()
                .is_none_or(|id| id == about || Some(id) == member.as_ref())
    }
}

/// Returns the error of a `detail` that cannot be read. The error of `serde_json` would quote the event.
fn none_of_ours() -> Error {
    Error::broken("an event item has no detail of ours")
}
