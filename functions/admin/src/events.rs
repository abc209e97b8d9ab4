//! The event log of a directory.

use std::fmt;
use std::str::FromStr;

use axum::extract::{Path, State};
use axum::response::Response;
use directory::{DetailType, EventId, EventPlace, EventsAsked, Parked};
use gateway::{Gateway, Problem, QueryParams, Reader, Writer};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cursor::Page;
use crate::directories::named;
use crate::openapi::Failures;
use crate::{json, schema};

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
    params: QueryParams,
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

/// Lists the events of a directory that cannot be published
///
/// The oldest first, with the reasons: the bus refuses them for good, or they cannot be read. Each is in the event log
/// all the same, if it can be read.
#[utoipa::path(get, path = "/v1/directories/{directory}/events/parked", tag = "events",
    params(("directory" = String, Path, description = "The directory's id"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the answer before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 200, body = schema::ParkedList), Failures))]
pub async fn parked(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    params: QueryParams,
) -> Result<Response, Problem> {
    let directory = admin.directory(&gateway, &id).await?.id;
    let page = Page::read(&params, &[], format!("parked {directory}"))?;
    let (store, after) = (gateway.store(), page.at.as_deref());
    let found = store.parked(directory, after, page.limit).await?;
    let shown = found.events.iter().map(|one| (one.name(), shown(one)));
    page.answer(shown, vec![], found.next)
}

/// Publishes parked events once more
///
/// The oldest first, `limit` of them, under their own ids and before what else of the directory waits to be published.
/// Each stays parked until it is published. Send it again with `next_cursor` until there is none.
#[utoipa::path(post, path = "/v1/directories/{directory}/events/redrive", tag = "events",
    params(("directory" = String, Path, description = "The directory's id"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the answer before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 if nothing is said")),
    responses((status = 202, body = schema::Redriven), Failures))]
pub async fn redrive(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
    params: QueryParams,
) -> Result<Response, Problem> {
    let directory = admin.directory(&gateway, &id).await?.id;
    let page = Page::read(&params, &[], format!("redrive {directory}"))?;
    let (store, after) = (gateway.store(), page.at.as_deref());
    let found = store.parked(directory, after, page.limit).await?;
    store.redrive(directory, &found.events).await?;
    let next = found.next.map(|place| page.cursor(&place));
    let body = json!({"events": found.events.len(), "next_cursor": next});
    Ok(json(StatusCode::ACCEPTED, &body))
}

fn shown(parked: &Parked) -> Value {
    let mut shown = json!({
        "id": parked.id().map_or(parked.item.clone(), |id| id.to_string()),
        "reason": parked.reason,
        "attempts": parked.attempts,
    });
    let expires = parked
        .expires
        .and_then(|at| Timestamp::from_second(at).ok());
    let more = [
        ("member", parked.member.map(|member| json!(member))),
        ("expires", expires.map(|at| json!(format!("{at:.3}")))),
    ];
    if let Value::Object(members) = &mut shown {
        for (name, value) in more {
            members.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    shown
}
