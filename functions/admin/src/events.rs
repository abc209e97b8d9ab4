//! The event log of a directory, and its events that cannot be published.

use std::fmt;
use std::str::FromStr;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use directory::{DetailType, EventId, EventPlace, EventsAsked, Parked, ResourceId};
use gateway::{Gateway, Problem, Reader, Writer};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi::Problems;
use crate::page::{DirectoryPath, List, NoFilter, Paging, Query, Unreadable};
use crate::{Json, shown};

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(list_events))
        .routes(routes!(list_parked_events))
        .routes(routes!(redrive_parked_events))
}

/// An event, as it is on the bus.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Event {
    /// Its id: `detail.id`.
    #[schema(format = "uuid")]
    id: String,
    /// What happened: `detail-type` on the bus.
    #[serde(rename = "type")]
    #[schema(example = "user.created")]
    kind: String,
    /// When it happened: `detail.time`.
    #[schema(format = DateTime)]
    time: String,
    /// The detail of the event, as `infra/events` describes it.
    #[schema(value_type = Object)]
    detail: Value,
}

/// An event that cannot be published.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ParkedEvent {
    /// The id of the event on the bus, or of the first event of a request if all of them are parked.
    #[schema(format = "uuid")]
    id: String,
    /// Why it cannot be published.
    reason: String,
    /// Number of attempts to publish it.
    #[schema(minimum = 1)]
    attempts: u64,
    /// The member, if it is the event of one membership.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", nullable = false)]
    member: Option<ResourceId>,
    /// When it is deleted, not before its event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    expires: Option<String>,
}

/// The parked events that are published again.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Redriven {
    /// Number of parked events.
    events: usize,
    /// `cursor` of the next request, or `null` when there are no more.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Which events a list has.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventFilter {
    /// Only events of this type, such as `user.updated`.
    #[serde(rename = "type")]
    detail_type: Option<String>,
    /// Only events about the user or group with this id, with its memberships.
    resource: Option<String>,
}

/// A place in the event log, as a cursor contains it.
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

/// List the events of a directory
///
/// The oldest first, for 30 days. `next_cursor` is never `null`: follow it to get every event once, now or later. An
/// event appears 35 seconds after it happened, so that no event that was committed late is skipped. A membership is an
/// event of its own, with the same id as on the bus.
#[utoipa::path(get, path = "/v1/directories/{directory}/events", tag = "events", params(DirectoryPath, EventFilter, Paging),
    responses((status = 200, description = "A page of events", body = List<Event>), Problems))]
async fn list_events(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    query: Query<EventFilter>,
) -> Result<Json<List<Event>>, Problem> {
    let directory = admin.directory(&gateway, &id).await?.id;
    let page = query.page(format!("events {directory}"))?;
    let detail_type = query.filter.detail_type.as_deref().map(|name| {
        DetailType::known(name).ok_or_else(|| Problem::parameter("type", "is not a type of events"))
    });
    let asked = EventsAsked {
        detail_type: detail_type.transpose()?,
        resource: query.filter.resource.clone(),
    };
    let after: Option<Position> = page.place()?;
    let after = after.and_then(|place| place.0);
    let found = gateway
        .store()
        .events(directory, &asked, after, page.limit, gateway.now())
        .await?;
    let events = found.events.into_iter().map(|(after, event)| {
        let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
        let text = |name: &str| {
            let text = detail.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let shown = Event {
            id: text("id"),
            kind: event.detail_type.as_str().to_owned(),
            time: text("time"),
            detail,
        };
        (Position(Some(after)), shown)
    });
    let unreadable = found.unreadable.into_iter();
    page.answer(
        events,
        unreadable.map(|item| Unreadable::new(item, None)),
        Some(Position(found.next)),
    )
}

/// List the parked events of a directory
///
/// The events that cannot be published, the oldest first, each with the reason: the bus refuses it permanently, or this
/// version cannot read it. The event log has each one that can be read.
#[utoipa::path(get, path = "/v1/directories/{directory}/events/parked", tag = "events", params(DirectoryPath, Paging),
    responses((status = 200, description = "A page of parked events", body = List<ParkedEvent>), Problems))]
async fn list_parked_events(
    State(gateway): State<Gateway>,
    Reader(admin): Reader,
    Path(id): Path<String>,
    query: Query<NoFilter>,
) -> Result<Json<List<ParkedEvent>>, Problem> {
    let directory = admin.directory(&gateway, &id).await?.id;
    let page = query.page(format!("parked {directory}"))?;
    let (store, after) = (gateway.store(), page.at.as_deref());
    let found = store.parked(directory, after, page.limit).await?;
    let events = found.events.iter();
    page.answer(
        events.map(|parked| (parked.name(), ParkedEvent::from(parked))),
        [],
        found.next,
    )
}

/// Publish parked events again
///
/// Up to `limit` events, the oldest first, with their own ids, and before the other events of the directory. Each stays
/// parked until it is published. Repeat the request with `next_cursor` until it is `null`.
#[utoipa::path(post, path = "/v1/directories/{directory}/events/redrive", tag = "events", params(DirectoryPath, Paging),
    responses((status = 202, description = "The events are published in the background", body = Redriven), Problems))]
async fn redrive_parked_events(
    State(gateway): State<Gateway>,
    Writer(admin): Writer,
    Path(id): Path<String>,
    query: Query<NoFilter>,
) -> Result<impl IntoResponse, Problem> {
    let directory = admin.directory(&gateway, &id).await?.id;
    let page = query.page(format!("redrive {directory}"))?;
    let (store, after) = (gateway.store(), page.at.as_deref());
    let found = store.parked(directory, after, page.limit).await?;
    store.redrive(directory, &found.events).await?;
    let body = Json(Redriven {
        events: found.events.len(),
        next_cursor: found.next.map(|place| page.cursor(&place)),
    });
    Ok((StatusCode::ACCEPTED, body))
}

impl From<&Parked> for ParkedEvent {
    fn from(parked: &Parked) -> Self {
        let expires = parked
            .expires
            .and_then(|at| Timestamp::from_second(at).ok());
        Self {
            id: parked.id().map_or(parked.item.clone(), |id| id.to_string()),
            reason: parked.reason.clone(),
            attempts: parked.attempts,
            member: parked.member,
            expires: expires.map(shown),
        }
    }
}
