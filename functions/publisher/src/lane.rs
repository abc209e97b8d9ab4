//! One directory's part of an invocation: its events, in their order, up to a share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use directory::{
    Attempt, DirectoryId, Error, EventItem, MEMBERS_AT_ONCE, MemberEvent, OutboundEvent, Parked,
    Span, Waiting,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Publisher;
use crate::bus::{CALLS, Fate, MAX_ENTRIES, Outgoing};

/// How many events of a directory are sent in one invocation, and so how many another directory may wait for.
pub const SHARE: usize = 1_000;
/// How long a directory's events are sent in one invocation. What has begun goes on to its end.
pub const SHARE_TIME: Duration = Duration::from_millis(500);
/// How long a request other than to the bus may take before it counts as failed, so that a directory whose part of the table is slow keeps no
/// other one waiting.
pub const READ_TIME: Duration = Duration::from_secs(1);
/// How many event items that wait are read at once: they have up to 400 KB each.
const ITEMS_AT_ONCE: usize = 10;
/// How many bytes of events are made before they are sent, and of how many members, by a first guess.
const BYTES_AT_ONCE: usize = 1024 * 1024;
const FIRST_MEMBERS: usize = 25;

/// The records of one directory.
pub struct Lane {
    pub directory: DirectoryId,
    /// The sequence numbers of all of them.
    pub records: Vec<String>,
    /// Its event items, by the places at which they wait if they have to.
    pub events: BTreeMap<String, Work>,
    /// The records that say that events wait, and the version of the backlog in the last one.
    pub calls: Vec<String>,
    pub called: Option<u64>,
}

/// An event item that is to be published, or a part of one.
pub struct Work {
    /// The sequence number of its record, if it is in this invocation.
    pub record: Option<String>,
    item: String,
    read: Option<Result<EventItem, Unreadable>>,
    /// Which of its events are to be published still.
    span: Span,
    /// Where it was when the invocation began, if it waited.
    waited: Option<usize>,
    attempt: Option<Attempt>,
    pub done: bool,
}

/// An item that this version of Rollcall does not understand.
#[derive(Clone, Copy)]
pub struct Unreadable;

/// What an item says, in the order in which it is published.
struct Said {
    item: EventItem,
    resource: Option<OutboundEvent>,
    members: Vec<MemberEvent>,
}

/// Why a directory's events are not sent any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bus does not take them now.
    Bus,
    /// What they need cannot be read now, or what cannot be sent cannot be parked.
    Table,
}

/// What became of a directory's events.
pub struct Ran {
    pub directory: DirectoryId,
    pub records: Vec<String>,
    pub calls: Vec<String>,
    /// By their places.
    pub works: Vec<(String, Work)>,
    /// Whether it is unknown what waits.
    pub unread: bool,
    /// Whether more waits than was read.
    pub more: bool,
    /// The version of the backlog, if there was one.
    pub version: Option<u64>,
    /// Why not everything was sent, but for the share.
    pub stop: Option<Stop>,
    /// Whether the bus took anything.
    pub accepted: bool,
}

/// How much may be sent still.
struct Share {
    left: usize,
    until: Instant,
    begun: bool,
}

impl Share {
    /// Whatever the time is, one call is made: a directory that comes late to an invocation gets on as well.
    fn most(&self) -> usize {
        match Instant::now() < self.until {
            true => self.left,
            false if self.begun => 0,
            false => self.left.min(MAX_ENTRIES),
        }
    }

    fn take(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.begun = true;
    }
}

impl Lane {
    pub fn new(directory: DirectoryId) -> Self {
        Self {
            directory,
            records: vec![],
            events: BTreeMap::new(),
            calls: vec![],
            called: None,
        }
    }
}

impl Work {
    /// The event item of a record.
    pub fn of_record(record: String, item: String, read: Result<EventItem, Unreadable>) -> Self {
        Self {
            record: Some(record),
            item,
            read: Some(read),
            span: Span::default(),
            waited: None,
            attempt: None,
            done: false,
        }
    }

    fn waiting(waiting: Waiting) -> (String, Self) {
        let work = Self {
            record: None,
            item: waiting.item,
            read: None,
            waited: Some(waiting.span.from),
            span: waiting.span,
            attempt: waiting.attempt,
            done: false,
        };
        (waiting.place, work)
    }

    /// Whether it waited already when the invocation began.
    pub fn waited(&self) -> bool {
        self.waited.is_some()
    }

    /// How it is to wait, unless it does so already.
    pub fn to_wait(&self, place: &str) -> Option<Waiting> {
        let stays = self.waited == Some(self.span.from);
        (!stays).then(|| Waiting {
            place: place.to_owned(),
            item: self.item.clone(),
            span: self.span,
            attempt: self.attempt.clone(),
        })
    }

    /// The parked event that has been published now, if it was one.
    pub fn published(&self) -> Option<&Attempt> {
        self.attempt.as_ref().filter(|_| self.done)
    }

    /// Notes that one of its events is on the bus, or parked. They count in their order, so that nothing is passed over.
    fn settle(&mut self, position: usize) {
        if self.span.from == position {
            self.span.from += 1;
        }
    }

    fn expires(&self) -> Option<i64> {
        let item = self.read.as_ref()?.as_ref().ok()?;
        item.expires()
    }
}

impl Said {
    fn of(item: &EventItem) -> Result<Self, Unreadable> {
        Ok(Self {
            resource: item.announcement().map_err(|_| Unreadable)?,
            members: item.members().map_err(|_| Unreadable)?,
            item: item.clone(),
        })
    }

    /// How many events there are before those of members.
    fn before_members(&self) -> usize {
        usize::from(self.resource.is_some())
    }

    /// Where the events of a span end.
    fn end(&self, span: Span) -> usize {
        let all = self.before_members() + self.members.len();
        span.to.map_or(all, |to| to.min(all))
    }
}

/// The works of an invocation, and what is on its way of them.
struct Sending<'p> {
    publisher: &'p Publisher,
    directory: DirectoryId,
    works: Vec<(String, Work)>,
    outgoing: Vec<Outgoing>,
    bytes: usize,
    accepted: bool,
    stop: Instant,
}

impl Publisher {
    /// Sends a directory's events in their order: those that wait, then those of the records.
    /// A share ends at `until`; what is under way at `stop` is given up.
    pub async fn run(&self, lane: Lane, until: Instant, stop: Instant) -> Ran {
        let directory = lane.directory;
        let mut ran = Ran {
            directory,
            records: lane.records,
            calls: lane.calls,
            works: vec![],
            unread: false,
            more: false,
            version: None,
            stop: None,
            accepted: false,
        };
        let read = in_time(self.store.backlog(directory, SHARE)).await;
        let Ok(backlog) = read else {
            ran.works.extend(lane.events);
            ran.unread = true;
            return ran;
        };
        // A call that is not the last one is followed by that, and has nothing to do.
        if lane.events.is_empty() && lane.called != backlog.version {
            return ran;
        }
        ran.version = backlog.version;
        ran.more = backlog.more;
        let last = backlog.waiting.last().map(|waiting| waiting.place.clone());
        let mut works: BTreeMap<String, Work> =
            backlog.waiting.into_iter().map(Work::waiting).collect();
        for (place, work) in lane.events {
            match works.get_mut(&place) {
                // It was brought again, and waits: how far it was is known there.
                Some(waiting) => {
                    waiting.record = work.record;
                    waiting.read = work.read;
                }
                None => {
                    works.insert(place, work);
                }
            }
        }
        // What is behind those that were not read has to wait for them.
        let count = match (ran.more, last) {
            (true, Some(last)) => works.range(..=last).count(),
            _ => works.len(),
        };
        let mut sending = Sending {
            publisher: self,
            directory,
            works: works.into_iter().collect(),
            outgoing: vec![],
            bytes: 0,
            accepted: false,
            stop,
        };
        let share = Share {
            left: SHARE,
            until,
            begun: false,
        };
        ran.stop = sending.run(count, share).await.err();
        ran.accepted = sending.accepted;
        ran.works = sending.works;
        ran
    }
}

impl Sending<'_> {
    async fn run(&mut self, count: usize, mut share: Share) -> Result<(), Stop> {
        for index in 0..count {
            if share.most() == 0 {
                break;
            }
            self.read_from(index, count).await?;
            if !self.make(index, &mut share).await? {
                break;
            }
        }
        self.flush().await
    }

    /// Reads the items of this and of the next works, if that of this one is not known.
    async fn read_from(&mut self, index: usize, count: usize) -> Result<(), Stop> {
        let known = self
            .works
            .get(index)
            .is_none_or(|(_, work)| work.read.is_some());
        if known {
            return Ok(());
        }
        let next = self.works.iter_mut().take(count).skip(index);
        let mut next: Vec<&mut Work> = next
            .map(|(_, work)| work)
            .filter(|work| work.read.is_none())
            .take(ITEMS_AT_ONCE)
            .collect();
        let mut names: Vec<String> = next.iter().map(|work| work.item.clone()).collect();
        // One item may wait in several parts.
        names.sort_unstable();
        names.dedup();
        let store = &self.publisher.store;
        let items = in_time(store.event_items(self.directory, &names)).await;
        let items = items.map_err(|_| Stop::Table)?;
        for work in &mut next {
            match items.get(&work.item) {
                Some(Ok(item)) => work.read = Some(Ok(item.clone())),
                Some(Err(_)) => work.read = Some(Err(Unreadable)),
                None => {
                    // Event items are kept for weeks, and expire.
                    let (directory, event) = (self.directory, &work.item);
                    tracing::error!(directory.id = %directory, event.id = event, "an event is gone before it was published");
                    work.done = true;
                }
            }
        }
        Ok(())
    }

    /// Makes the events of a work and sends what is ready; false when the share is used up before its end.
    async fn make(&mut self, index: usize, share: &mut Share) -> Result<bool, Stop> {
        let Some((_, work)) = self.works.get(index) else {
            return Ok(true);
        };
        let span = work.span;
        let said = match &work.read {
            _ if work.done => return Ok(true),
            Some(Ok(item)) => Said::of(item),
            Some(Err(unreadable)) => Err(*unreadable),
            None => return Ok(true),
        };
        let Ok(said) = said.map(Arc::new) else {
            let reason = "The event item cannot be read by this version of Rollcall: its type or its form is unknown.";
            self.flush().await?;
            self.park(index, span, None, reason.to_owned()).await?;
            self.finish(index);
            return Ok(true);
        };
        let (mut position, end) = (span.from, said.end(span));
        if let (0, Some(resource)) = (position, &said.resource) {
            self.push(index, position, false, resource.clone()).await?;
            share.take(1);
            position += 1;
        }
        let mut at_once = FIRST_MEMBERS;
        while position < end {
            let most = at_once.min(share.most()).min(end - position);
            if most == 0 {
                return Ok(false);
            }
            let skipped = position.saturating_sub(said.before_members());
            let members = said.members.iter().skip(skipped).take(most);
            let members: Vec<MemberEvent> = members.copied().collect();
            match self.announced(&said.item, &members).await? {
                Some(events) => {
                    let bytes: usize = events.iter().map(OutboundEvent::bytes).sum();
                    let each = (bytes / most).max(1);
                    at_once = (BYTES_AT_ONCE / each).clamp(MAX_ENTRIES, MEMBERS_AT_ONCE);
                    for (offset, event) in events.into_iter().enumerate() {
                        self.push(index, position + offset, true, event).await?;
                    }
                }
                // Something of it will never be read.
                None => {
                    self.flush().await?;
                    if !self.directory_is_readable().await? {
                        let rest = Span {
                            from: position,
                            to: span.to,
                        };
                        let reason = "The directory cannot be read by this version of Rollcall, and the events of its members need it.";
                        self.park(index, rest, None, reason.to_owned()).await?;
                        self.finish(index);
                        return Ok(true);
                    }
                    self.one_by_one(index, position, &said.item, &members)
                        .await?;
                }
            }
            share.take(most);
            position += most;
        }
        let end = position;
        if let Some((_, work)) = self.works.get_mut(index) {
            // From now on it is known where it ends.
            work.span.to = Some(end);
            work.done = work.span.from >= end;
        }
        Ok(true)
    }

    /// The events of members; `None` when something of them can never be read.
    async fn announced(
        &self,
        item: &EventItem,
        members: &[MemberEvent],
    ) -> Result<Option<Vec<OutboundEvent>>, Stop> {
        // In a box, so that the future of an invocation stays small.
        let read = Box::pin(self.publisher.store.announcements(item, members));
        match timeout(READ_TIME, read).await {
            Ok(Ok(events)) => Ok(Some(events)),
            Ok(Err(error)) if !error.may_pass() => Ok(None),
            Ok(Err(error)) => {
                tracing::error!(directory.id = %self.directory, %error, "the members of an event cannot be read");
                Err(Stop::Table)
            }
            Err(_) => Err(Stop::Table),
        }
    }

    async fn directory_is_readable(&self) -> Result<bool, Stop> {
        match timeout(READ_TIME, self.publisher.store.directory(self.directory)).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) if !error.may_pass() => Ok(false),
            Ok(Err(_)) | Err(_) => Err(Stop::Table),
        }
    }

    /// Makes the events of members each by itself, and parks those that cannot be made.
    async fn one_by_one(
        &mut self,
        index: usize,
        position: usize,
        item: &EventItem,
        members: &[MemberEvent],
    ) -> Result<(), Stop> {
        for (offset, member) in members.iter().enumerate() {
            let position = position + offset;
            match self.announced(item, &[*member]).await? {
                Some(events) => {
                    for event in events {
                        self.push(index, position, true, event).await?;
                    }
                }
                None => {
                    self.flush().await?;
                    let reason = "The member cannot be read by this version of Rollcall.";
                    let own = only(position);
                    self.park(index, own, Some(*member), reason.to_owned())
                        .await?;
                    self.settle(index, position);
                }
            }
        }
        Ok(())
    }

    async fn push(
        &mut self,
        work: usize,
        position: usize,
        of_member: bool,
        event: OutboundEvent,
    ) -> Result<(), Stop> {
        let outgoing = self
            .publisher
            .bus
            .outgoing(work, position, of_member, event);
        self.bytes += outgoing.bytes;
        self.outgoing.push(outgoing);
        if self.bytes >= BYTES_AT_ONCE || self.outgoing.len() >= CALLS * MAX_ENTRIES {
            return self.flush().await;
        }
        Ok(())
    }

    /// Sends all that is ready, and parks what the bus will never take.
    async fn flush(&mut self) -> Result<(), Stop> {
        self.bytes = 0;
        let outgoing = std::mem::take(&mut self.outgoing);
        let sent = timeout_at(self.stop, self.publisher.bus.send(outgoing));
        let sent = sent.await.map_err(|_| Stop::Bus)?;
        let mut stop = None;
        for (outgoing, fate) in sent {
            let Outgoing { work, position, .. } = outgoing;
            match fate {
                Fate::Accepted => self.accepted = true,
                Fate::Refused(code) => {
                    let reason = format!("The bus refuses the event for good: {code}.");
                    let member = self
                        .member_at(work, position)
                        .filter(|_| outgoing.of_member);
                    if let Err(failed) = self.park(work, only(position), member, reason).await {
                        stop = Some(failed);
                        continue;
                    }
                }
                Fate::NotNow => {
                    stop = stop.or(Some(Stop::Bus));
                    continue;
                }
            }
            self.settle(work, position);
        }
        match stop {
            Some(stop) => Err(stop),
            None => Ok(()),
        }
    }

    fn settle(&mut self, index: usize, position: usize) {
        if let Some((_, work)) = self.works.get_mut(index) {
            work.settle(position);
            let end = work.span.to;
            work.done = end.is_some_and(|end| work.span.from >= end);
        }
    }

    fn finish(&mut self, index: usize) {
        if let Some((_, work)) = self.works.get_mut(index) {
            work.done = true;
        }
    }

    fn member_at(&self, index: usize, position: usize) -> Option<MemberEvent> {
        let (_, work) = self.works.get(index)?;
        let said = Said::of(work.read.as_ref()?.as_ref().ok()?).ok()?;
        let own = position.checked_sub(said.before_members())?;
        said.members.get(own).copied()
    }

    async fn park(
        &self,
        index: usize,
        span: Span,
        member: Option<MemberEvent>,
        reason: String,
    ) -> Result<(), Stop> {
        let Some((_, work)) = self.works.get(index) else {
            return Ok(());
        };
        let before = work.attempt.as_ref().map_or(0, |attempt| attempt.before);
        let parked = Parked {
            item: work.item.clone(),
            span,
            member: member.map(MemberEvent::member),
            reason,
            attempts: before + 1,
            expires: work.expires(),
        };
        let parking = self.publisher.park(self.directory, &parked);
        match timeout(READ_TIME * 2, parking).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(())) | Err(_) => Err(Stop::Table),
        }
    }
}

/// The event at one position.
fn only(position: usize) -> Span {
    Span {
        from: position,
        to: Some(position + 1),
    }
}

/// What is read, unless that fails or takes too long.
async fn in_time<T>(read: impl Future<Output = Result<T, Error>>) -> Result<T, ()> {
    match timeout(READ_TIME, read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => {
            tracing::error!(%error, "what is to be published cannot be read");
            Err(())
        }
        Err(_) => Err(()),
    }
}
