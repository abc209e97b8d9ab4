//! Calls of the bus: as few as its limits allow, and what became of each event.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::http::HttpResponse;
use aws_sdk_eventbridge::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_eventbridge::operation::put_events::PutEventsError;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use directory::{MAX_EVENT_BYTES, OutboundEvent, SOURCE};
use futures_util::future::join_all;

/// The most entries of one call ("PutEvents", Amazon EventBridge API Reference).
pub const MAX_ENTRIES: usize = 10;
/// How many calls about the members of one event item are made side by side.
pub const CALLS: usize = 8;
/// How often the refused entries of a call are sent before they are left for later.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// The bus.
pub struct Bus {
    client: Client,
    /// A name or an ARN.
    name: String,
}

/// An event that is to be sent.
pub struct Outgoing {
    /// Which of the event items it is from.
    pub work: usize,
    /// Which of the item's events it is.
    pub position: usize,
    /// Whether it is about a member: the events of one item's members have no order among each other.
    pub of_member: bool,
    /// The size, as EventBridge counts it.
    pub bytes: usize,
    entry: PutEventsRequestEntry,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on the bus.
    Accepted,
    /// The bus will never take it, for the reason with this code.
    Refused(String),
    /// The bus may take it later.
    NotNow,
}

/// What the bus answered to one call.
enum Answer {
    Entries(Vec<PutEventsResultEntry>),
    /// The call is refused for what is in it.
    Refused(String),
    NotNow,
}

impl Bus {
    pub fn new(config: &SdkConfig, name: String) -> Self {
        Self {
            client: Client::new(config),
            name,
        }
    }

    /// An event as an entry of a call.
    pub fn outgoing(
        &self,
        work: usize,
        position: usize,
        of_member: bool,
        event: OutboundEvent,
    ) -> Outgoing {
        Outgoing {
            work,
            position,
            of_member,
            bytes: event.bytes(),
            entry: PutEventsRequestEntry::builder()
                .event_bus_name(&self.name)
                .source(SOURCE)
                .detail_type(event.detail_type.as_str())
                .time(DateTime::from_millis(event.time.as_millisecond()))
                .detail(event.detail)
                .build(),
        }
    }

    /// Sends events in their order, and says of each what became of it. After one that the bus
    /// does not take now, only those are sent that were on their way.
    pub async fn send(&self, outgoing: Vec<Outgoing>) -> Vec<(Outgoing, Fate)> {
        let mut sent = Vec::with_capacity(outgoing.len());
        let mut waves = waves(calls(outgoing)).into_iter();
        for wave in waves.by_ref() {
            let fates = join_all(wave.into_iter().map(|call| self.call(call))).await;
            let stop = fates
                .iter()
                .flatten()
                .any(|(_, fate)| *fate == Fate::NotNow);
            sent.extend(fates.into_iter().flatten());
            if stop {
                break;
            }
        }
        let unsent = waves.flatten().flatten();
        sent.extend(unsent.map(|outgoing| (outgoing, Fate::NotNow)));
        sent
    }

    /// Sends what one call takes.
    async fn call(&self, events: Vec<Outgoing>) -> Vec<(Outgoing, Fate)> {
        let mut open: Vec<(Outgoing, Option<Fate>)> =
            events.into_iter().map(|event| (event, None)).collect();
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let entries = open.iter().filter(|(_, fate)| fate.is_none());
            let entries: Vec<_> = entries.map(|(event, _)| event.entry.clone()).collect();
            let alone = entries.len() == 1;
            match self.put(entries).await {
                Answer::Entries(results) => {
                    let waiting = open.iter_mut().filter(|(_, fate)| fate.is_none());
                    for ((_, fate), result) in waiting.zip(&results) {
                        *fate = outcome(result, attempt);
                    }
                }
                Answer::Refused(code) if alone => {
                    let waiting = open.iter_mut().filter(|(_, fate)| fate.is_none());
                    waiting.for_each(|(_, fate)| *fate = Some(Fate::Refused(code.clone())));
                }
                // One of them is the reason, and the others are taken without it.
                Answer::Refused(_) => return self.one_by_one(open).await,
                // The SDK has retried already.
                Answer::NotNow => break,
            }
            if open.iter().all(|(_, fate)| fate.is_some()) {
                break;
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        let settled = open.into_iter();
        settled
            .map(|(event, fate)| (event, fate.unwrap_or(Fate::NotNow)))
            .collect()
    }

    /// Sends what has no fate yet, each in a call of its own, up to one that the bus does not take now.
    async fn one_by_one(&self, events: Vec<(Outgoing, Option<Fate>)>) -> Vec<(Outgoing, Fate)> {
        let mut settled = vec![];
        let mut stop = false;
        for (event, fate) in events {
            match fate {
                Some(fate) => settled.push((event, fate)),
                None if stop => settled.push((event, Fate::NotNow)),
                None => {
                    // In a box, since this is what called it.
                    let own = Box::pin(self.call(vec![event])).await;
                    stop = own.iter().any(|(_, fate)| *fate == Fate::NotNow);
                    settled.extend(own);
                }
            }
        }
        settled
    }

    async fn put(&self, entries: Vec<PutEventsRequestEntry>) -> Answer {
        let count = entries.len();
        let call = self.client.put_events().set_entries(Some(entries));
        match call.send().await {
            Ok(answer) => Answer::Entries(answer.entries.unwrap_or_default()),
            Err(error) => match refused(&error) {
                Some(code) => {
                    tracing::warn!(code, entries = count, "the bus refused a call as a whole");
                    Answer::Refused(code)
                }
                None => {
                    let error = DisplayErrorContext(&error);
                    tracing::error!(%error, entries = count, "the bus took nothing");
                    Answer::NotNow
                }
            },
        }
    }
}

/// The code of a refusal that is about what is in the call, and so stays. Whatever else fails may pass.
fn refused(error: &SdkError<PutEventsError, HttpResponse>) -> Option<String> {
    let code = error.code().unwrap_or_default();
    match code {
        "ValidationException"
        | "InvalidArgument"
        | "MalformedDetail"
        | "SerializationException"
        | "RequestEntityTooLarge" => Some(code.to_owned()),
        _ => {
            let status = error.raw_response().map(|response| response.status());
            (status.map(|status| status.as_u16()) == Some(413)).then(|| "413".to_owned())
        }
    }
}

fn outcome(result: &PutEventsResultEntry, attempt: u32) -> Option<Fate> {
    match result.error_code() {
        None => Some(Fate::Accepted),
        Some(code @ ("MalformedDetail" | "InvalidArgument" | "ValidationException")) => {
            Some(Fate::Refused(code.to_owned()))
        }
        Some(code) => {
            tracing::warn!(code, attempt, "the bus refused an event");
            None
        }
    }
}

/// As few calls as the limits allow, in the same order.
fn calls(outgoing: Vec<Outgoing>) -> Vec<Vec<Outgoing>> {
    let mut calls: Vec<Vec<Outgoing>> = vec![];
    let mut bytes = 0;
    for next in outgoing {
        bytes += next.bytes;
        match calls.last_mut() {
            Some(call) if call.len() < MAX_ENTRIES && bytes <= MAX_EVENT_BYTES => call.push(next),
            _ => {
                bytes = next.bytes;
                calls.push(vec![next]);
            }
        }
    }
    calls
}

/// Calls that are made side by side: those about members of one event item. Everything else goes one after the other.
fn waves(calls: Vec<Vec<Outgoing>>) -> Vec<Vec<Vec<Outgoing>>> {
    let mut waves: Vec<Vec<Vec<Outgoing>>> = vec![];
    let mut members_of = None;
    for call in calls {
        let own = of_members(&call);
        match waves.last_mut() {
            Some(wave) if wave.len() < CALLS && own.is_some() && own == members_of => {
                wave.push(call);
            }
            _ => waves.push(vec![call]),
        }
        members_of = own;
    }
    waves
}

/// The event item whose members all events of a call are about.
fn of_members(call: &[Outgoing]) -> Option<usize> {
    let work = call.first()?.work;
    let all = call
        .iter()
        .all(|event| event.of_member && event.work == work);
    all.then_some(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(work: usize, of_member: bool, bytes: usize) -> Outgoing {
        Outgoing {
            work,
            position: 0,
            of_member,
            bytes,
            entry: PutEventsRequestEntry::builder().build(),
        }
    }

    fn sizes(bytes: &[usize]) -> Vec<usize> {
        let events = bytes.iter().map(|bytes| event(0, false, *bytes)).collect();
        calls(events).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_call_takes_ten_entries_and_256_kilobytes() {
        const MAX: usize = MAX_EVENT_BYTES;
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 10]), [10]);
        assert_eq!(sizes(&[1; 25]), [10, 10, 5]);
        assert_eq!(sizes(&[MAX, 1, MAX - 1, 1]), [1, 2, 1]);
        assert_eq!(sizes(&[MAX / 2; 5]), [2, 2, 1]);
    }

    #[test]
    fn only_members_of_one_item_go_side_by_side() {
        let of = |kinds: &[(usize, bool)]| -> Vec<usize> {
            let calls = kinds
                .iter()
                .map(|(work, of_member)| vec![event(*work, *of_member, 1)]);
            waves(calls.collect()).iter().map(Vec::len).collect()
        };
        assert_eq!(of(&[(0, false), (1, false)]), [1, 1]);
        assert_eq!(
            of(&[(0, false), (0, true), (0, true), (1, true)]),
            [1, 2, 1]
        );
        assert_eq!(of(&[(0, true), (0, false), (0, true)]), [1, 1, 1]);
        assert_eq!(of(&[(0, true); CALLS + 1]), [CALLS, 1]);
        // A call with the last event of one item and the first of the next.
        let mixed = vec![event(0, true, 1), event(1, true, 1)];
        let calls = vec![vec![event(0, true, 1)], mixed, vec![event(1, true, 1)]];
        assert_eq!(waves(calls).len(), 3);
    }
}
