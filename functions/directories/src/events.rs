//! The event log of a directory.

use std::fmt;
use std::str::FromStr;

use axum::extract::{Path, State};
use axum::response::Response;
use directory::{DetailType, EventId, EventPlace, EventsAsked};
use gateway::{Gateway, Params, Problem, Reader};
use serde_json::Value;

use crate::cursor::Page;
use crate::directories::named;
use crate::openapi::Failures;
use crate::schema;

/// A place in a log, as it stands in a cursor.
struct Position(Option<EventPlace>);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("-"),
            Some(EventPlace { item, events: None }) => write!(f, "{item}"),
            Some(EventPlace {
                item,
                events: Some(events),
            }) => write!(f, "{item}.{events}"),
        }
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "-" {
            return Ok(Self(None));
        }
        let (item, events) = match text.split_once('.') {
            Some((item, events)) => (item, Some(events.parse().map_err(|_| ())?)),
            None => (text, None),
        };
        let item: EventId = item.parse().map_err(|_| ())?;
        Ok(Self(Some(EventPlace { item, events })))
    }
}

/// Lists what happened in a directory
///
/// The oldest first, for 30 days. Follow `next_cursor`, which is always there, to learn of everything once: an event is
/// shown 35 seconds after it happened, so that one which was committed late is not passed. Memberships are events of
/// their own, as on the bus and under the same ids.
#[utoipa::path(get, path = "/v1/directories/{directory}/events", tag = "events",
    params(("directory" = String, Path, description = "The directory's id"),
        ("type" = Option<String>, Query, description = "Those of this type, such as user.updated"),
        ("resource" = Option<String>, Query, description = "Those about the user or group of this id, its memberships among them"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the answer before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 200, body = schema::EventList), Failures))]
pub async fn list(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let directory = admin.directory(&gateway, &id).await?.id;
    let list = format!("events {directory}");
    let page = Page::read(&params, &["type", "resource"], list)?;
    let detail_type = params.get("type").map(|name| {
        DetailType::known(name).ok_or_else(|| Problem::parameter("type", "is not a type of events"))
    });
    let detail_type: Option<DetailType> = detail_type.transpose()?;
    let asked = EventsAsked {
        detail_type,
        resource: params.get("resource").map(str::to_owned),
    };
    let after: Option<Position> = page.place()?;
    let after = after.and_then(|position| position.0);
    let store = gateway.store();
    let found = store.events(directory, &asked, after, page.limit, gateway.now());
    let found = found.await?;
    let events = found.events.into_iter().map(|(after, event)| {
        let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
        (Position(Some(after)), event.detail_type.shown(&detail))
    });
    let unreadable = found.unreadable.iter().map(|item| named(item, None));
    page.answer(events, unreadable.collect(), Some(Position(found.next)))
}
