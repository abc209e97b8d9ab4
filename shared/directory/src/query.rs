//! Lists and look-ups: which way a query goes, and what it may cost.
//!
//! | filter | way | requests |
//! |---|---|---|
//! | none | the counts, then one range of resources by id | 2; by cursor 1 |
//! | `id eq` | the resource | 1 |
//! | a unique value `eq`, such as `userName` | its pointer, then the resource | 1 (none) or 2 |
//! | another value with pointers `eq`, such as `emails.value` | the pointers, then the resources | 1 (none) or 2 |
//! | several of these with `or` | all of them side by side | one each, and the resources |
//! | one of these `and` anything | that row, then the rest in memory | as the row |
//! | any other | all resources by 16 ranges of ids at once, in memory | at least 16, within a budget |
//! | any other, by cursor | resources by id until the page is full, or the budget is spent | as many as it takes |
//!
//! A list in another order than that of the ids reads everything that matches,
//! within the same budget, and then the page. Everything is read strongly from
//! the table itself, so a client that looks up what it just wrote finds it.

pub(crate) mod admin;
pub(crate) mod effort;
pub(crate) mod groups;
pub(crate) mod search;
pub(crate) mod users;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{try_join, try_join_all};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use scim::{
    ListResponse, Object, Page, Paging, ResolvedFilter, ResolvedSort, ScimType, SortKey, WorkSpent,
};

use crate::model::caller::Caller;
use crate::model::cursor::{self, Place};
use crate::model::error::Error;
use crate::model::id::{DirectoryId, ResourceId};
use crate::model::resource_kind::Kind;
use crate::model::resource_kind::too_many;
use crate::model::stored::Stored;
use crate::query::effort::Effort;
use crate::table::batch::KEYS;
use crate::table::item::{self, Item};
use crate::table::key::{self, DIGITS, Key, Owners, SK};
use crate::table::lookup::Wanted;
use crate::table::range::Range;
use crate::table::store::Store;

/// What a list is asked for.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// Which resources; all of them if there is none.
    pub filter: Option<&'a ResolvedFilter<'a>>,
    /// In which order; by id if there is none.
    pub sort: Option<&'a ResolvedSort<'a>>,
    /// Which of those to answer.
    pub paging: &'a Paging,
    /// The list that a cursor belongs to ([`scim::SearchRequest::binding`]).
    pub binding: &'a str,
    /// When it is asked.
    pub now: Timestamp,
}

/// What a list found.
pub struct Found<T> {
    /// How many match in all; not known to pages by cursor of a filter that reads on.
    pub(crate) total: Option<u64>,
    /// The page of them that was asked for, in the order in which they take their places in it: from its beginning on,
    /// or from its end back in the page before a cursor. It may be shortened, which shortens the page.
    pub resources: Vec<T>,
    /// The cursor of the next page.
    pub(crate) next: Option<String>,
    /// The cursor of the page before.
    pub(crate) previous: Option<String>,
    /// Where a list by cursor goes on after each of the resources that the page had before it was shortened.
    pub(crate) ends: Vec<(&'static Kind, Place)>,
    /// Whether it is the page before a cursor.
    pub(crate) backward: bool,
}

impl<T> Found<T> {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self {
            total: Some(0),
            resources: vec![],
            next: None,
            previous: None,
            ends: vec![],
            backward: false,
        }
    }

    /// The answer to a query, in which `show` represents a resource. The page ends with the first resource for which
    /// there is `None`, and its cursors lead to what was left out.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] when no cursor can be made.
    pub fn list(
        mut self,
        caller: &Caller,
        query: &Query<'_>,
        show: impl FnMut(&T) -> Option<Object>,
    ) -> Result<ListResponse, Error> {
        let mut resources: Vec<Object> = self.resources.iter().map_while(show).collect();
        let last = resources.len().checked_sub(1);
        let cut = resources.len() < self.ends.len();
        if let Some((kind, place)) = last.and_then(|last| self.ends.get(last)).filter(|_| cut) {
            let cursor = Some(query.cursor(caller, kind, *place)?);
            match self.backward {
                true => self.previous = cursor,
                false => self.next = cursor,
            }
        }
        if self.backward {
            resources.reverse();
        }
        Ok(ListResponse {
            total_results: self.total,
            start_index: match query.paging {
                Paging::Index(page) => Some(page.start_index),
                Paging::Cursor { .. } => None,
            },
            next_cursor: self.next,
            previous_cursor: self.previous,
            resources,
        })
    }

    /// The same page with each resource made into something else, without those that are nothing.
    pub(crate) fn replace<U>(self, resources: Vec<Option<U>>) -> Found<U> {
        let mut there = resources.iter().map(Option::is_some);
        let mut ends = self.ends;
        ends.retain(|_| there.next() != Some(false));
        Found {
            total: self.total,
            resources: resources.into_iter().flatten().collect(),
            next: self.next,
            previous: self.previous,
            ends,
            backward: self.backward,
        }
    }
}

/// The documents that are read for one page, in bytes: it bounds what a function holds. What goes out is measured where
/// it goes out.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;

/// What a filter that no pointer serves may read, in bytes: about 32,000 users of 2 KB.
const MAX_SCAN_BYTES: usize = 64 * 1024 * 1024;

/// The most ids that are read to sort their resources.
const MAX_SORTED_IDS: usize = 20_000;

/// How many values one filter may look up.
const MAX_ALTERNATIVES: usize = 100;

/// How many resources are read by their ids before they are looked at.
const PICKED_AT_ONCE: usize = 800;

/// How many look-ups are made at once.
const SIDE_BY_SIDE: usize = 16;

/// What matches a query, as far as it is known.
pub(crate) enum Matching<'q> {
    /// Everything.
    All,
    /// These, in the order of their ids.
    Read(Vec<Stored>),
    /// Those of these ids, in their order. They have not been read, and all of them match.
    Ids(Vec<ResourceId>),
    /// Those that pass a test, for which all have to be read.
    Tested(Box<Test<'q>>),
}

/// Whether a resource passes, within what is left of the work of the request.
pub(crate) type Test<'q> = dyn Fn(&Stored) -> Result<bool, WorkSpent> + Send + Sync + 'q;

/// The part of a list that is asked for.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) total: Option<u64>,
    /// In the order that [`Found::resources`] has.
    pub(crate) resources: Vec<Stored>,
    /// Where the next page begins, for pages by cursor.
    pub(crate) next: Option<Place>,
    pub(crate) previous: Option<Place>,
    /// Of a list that is sorted.
    pub(crate) span: Option<Span>,
    /// Whether it is what comes before a cursor.
    pub(crate) backward: bool,
}

impl Part {
    /// What is found.
    pub(crate) fn found(
        self,
        caller: &Caller,
        kind: &'static Kind,
        query: &Query<'_>,
    ) -> Result<Found<Stored>, Error> {
        let cursor = |place: Option<Place>| {
            let cursor = place.map(|place| query.cursor(caller, kind, place));
            cursor.transpose()
        };
        let ends = self.resources.iter().zip(1..).map(|(resource, count)| {
            let by_id = match self.backward {
                true => Place::Before(resource.id),
                false => Place::After(resource.id),
            };
            (kind, self.span.map_or(by_id, |span| span.after(count)))
        });
        Ok(Found {
            total: self.total,
            next: cursor(self.next)?,
            previous: cursor(self.previous)?,
            ends: match query.paging {
                Paging::Index(_) => vec![],
                Paging::Cursor { .. } => ends.collect(),
            },
            resources: self.resources,
            backward: self.backward,
        })
    }
}

/// Which part of a list that is sorted a page is.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    /// How many come before the page.
    from: u64,
    /// How many come before what follows it.
    to: u64,
    /// Whether it is the page before a cursor.
    pub(crate) backward: bool,
    by_cursor: bool,
}

impl Span {
    pub(crate) fn new(paging: &Paging, place: Option<Place>, total: u64) -> Self {
        let (from, to, backward) = match (paging, place) {
            (Paging::Cursor { count, .. }, Some(Place::Until(to))) => {
                let to = to.min(total);
                (to.saturating_sub(*count), to, true)
            }
            (Paging::Cursor { count, .. }, Some(Place::Number(from))) => {
                (from, from.saturating_add(*count), false)
            }
            (Paging::Cursor { count, .. }, _) => (0, *count, false),
            (Paging::Index(page), _) => {
                let from = page.start_index.saturating_sub(1);
                (from, from.saturating_add(page.count), false)
            }
        };
        Self {
            from: from.min(total),
            to: to.min(total),
            backward,
            by_cursor: matches!(paging, Paging::Cursor { count: 1.., .. }),
        }
    }

    /// What is on the page, in the order that [`Found::resources`] has.
    pub(crate) fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let page = Page {
            start_index: self.from.saturating_add(1),
            count: self.to.saturating_sub(self.from),
        };
        let mut part = window(all, page);
        if self.backward {
            part.reverse();
        }
        part
    }

    /// Where the list goes on after so many of the page.
    pub(crate) fn after(self, count: u64) -> Place {
        match self.backward {
            true => Place::Until(self.to.saturating_sub(count)),
            false => Place::Number(self.from.saturating_add(count)),
        }
    }

    pub(crate) fn next(self, total: u64) -> Option<Place> {
        (self.by_cursor && self.to < total).then_some(Place::Number(self.to))
    }

    pub(crate) fn previous(self) -> Option<Place> {
        (self.by_cursor && self.from > 0).then_some(Place::Until(self.from))
    }
}

impl Query<'_> {
    /// What the cursors of this list are bound to.
    fn list(&self, kind: &Kind) -> String {
        format!("{} {}", (kind.base)().endpoint, self.binding)
    }

    pub(crate) fn cursor(
        &self,
        caller: &Caller,
        kind: &Kind,
        place: Place,
    ) -> Result<String, Error> {
        place.to_cursor(caller, &self.list(kind), self.now)
    }

    fn place(&self, caller: &Caller, kind: &Kind, cursor: &str) -> Result<Place, Error> {
        Place::from_cursor(caller, &self.list(kind), cursor, self.now)
    }

    /// Whether a cursor is one of this list.
    ///
    /// # Errors
    ///
    /// 400 `expiredCursor` if it was one.
    pub(crate) fn has_cursor(
        &self,
        caller: &Caller,
        kind: &Kind,
        cursor: &str,
    ) -> Result<bool, Error> {
        match self.place(caller, kind, cursor) {
            Ok(_) => Ok(true),
            Err(Error::Scim(error)) if error.scim_type() == Some(ScimType::InvalidCursor) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Where the page of this query begins, if that is at a cursor.
    pub(crate) fn begins(&self, caller: &Caller, kind: &Kind) -> Result<Option<Place>, Error> {
        match self.paging {
            Paging::Cursor {
                cursor: Some(cursor),
                ..
            } => self.place(caller, kind, cursor).map(Some),
            Paging::Cursor { cursor: None, .. } | Paging::Index(_) => Ok(None),
        }
    }
}

impl Store {
    /// What a filter finds that says nothing of groups or members.
    pub(crate) async fn matching<'q>(
        &self,
        caller: &'q Caller,
        kind: &'static Kind,
        filter: Option<&'q ResolvedFilter<'q>>,
        effort: &'q Effort,
    ) -> Result<Matching<'q>, Error> {
        let Some(filter) = filter else {
            return Ok(Matching::All);
        };
        let matches = move |stored: &Stored| {
            let shown = stored.represent(caller, kind.ty(caller), Object::new());
            filter.matches(&shown, effort.work())
        };
        let Some(owners) = self.look_up(caller, kind, filter).await? else {
            return Ok(Matching::Tested(Box::new(matches)));
        };
        let mut matching = match owners.as_slice() {
            [] => vec![],
            [id] => {
                let found = self.read(caller, kind, *id).await?;
                effort
                    .passing(kind, found.into_iter().collect(), matches)
                    .await?
            }
            many => {
                let pick = |stored: Stored| Ok(matches(&stored)?.then_some(stored));
                self.pick(caller, kind, many, effort, pick).await?
            }
        };
        matching.sort_by_key(|resource| resource.id);
        Ok(Matching::Read(matching))
    }

    /// The ids of all that can match, if values of which every match has one lead to them.
    pub(crate) async fn look_up(
        &self,
        caller: &Caller,
        kind: &'static Kind,
        filter: &ResolvedFilter<'_>,
    ) -> Result<Option<Vec<ResourceId>>, Error> {
        let pointers = kind.pointers.iter().map(|pointer| pointer.path);
        let paths: Vec<&str> = std::iter::once("id").chain(pointers).collect();
        let alternatives = filter.alternatives(&paths);
        let Some(alternatives) = alternatives.filter(|found| found.len() <= MAX_ALTERNATIVES)
        else {
            return Ok(None);
        };
        let mut found = BTreeSet::new();
        let mut wanted = vec![];
        for (path, value) in alternatives {
            match kind.pointers.iter().find(|pointer| pointer.path == path) {
                // Nobody has it: what is empty is not kept, and no key can be.
                Some(_) if value.is_empty() => {}
                Some(pointer) => wanted.extend(pointer.wanted(caller, value)),
                // No resource has an id of another form.
                None => found.extend(value.parse::<ResourceId>()),
            }
        }
        let looked_up = stream::iter(wanted)
            .map(|wanted| self.owners(wanted))
            .buffer_unordered(SIDE_BY_SIDE);
        let looked_up: Vec<Vec<ResourceId>> = looked_up.try_collect().await?;
        found.extend(looked_up.into_iter().flatten());
        Ok(Some(found.into_iter().collect()))
    }

    /// The owners of a value.
    async fn owners(&self, wanted: Wanted) -> Result<Vec<ResourceId>, Error> {
        match wanted {
            Wanted::Any(owners) => self.owners_in(&owners).await,
            Wanted::One(key) => {
                let pointer = self.item(key).await?;
                let owner = pointer.map(|pointer| item::id(&pointer, item::OWNER));
                Ok(owner.transpose()?.into_iter().collect())
            }
        }
    }

    async fn owners_in(&self, owners: &Owners) -> Result<Vec<ResourceId>, Error> {
        let (from, to) = owners.range();
        let mut range = Range::between(&owners.pk, &from, &to);
        let mut ids = vec![];
        while let Some(pointers) = self.more(&mut range).await? {
            for pointer in &pointers {
                let id = item::id(pointer, item::OWNER)?;
                // A longer value can begin as this one does and stand in the same range.
                if owners.of(id).sk == item::text(pointer, SK)? {
                    ids.push(id);
                }
            }
        }
        Ok(ids)
    }

    /// The resources of these ids that exist, in no order.
    ///
    /// # Errors
    ///
    /// 400 `tooMany` when they are more than one request may read.
    pub(crate) async fn read_all(
        &self,
        directory: DirectoryId,
        kind: &Kind,
        ids: &[ResourceId],
    ) -> Result<Vec<Stored>, Error> {
        let key = |id: &ResourceId| Key::resource(directory, kind.letter, *id);
        let keys = ids.chunks(KEYS).map(|ids| ids.iter().map(key).collect());
        let mut read = stream::iter(keys.collect::<Vec<Vec<Key>>>())
            .map(|keys| self.get_all(keys))
            .buffer_unordered(SIDE_BY_SIDE);
        let (mut found, mut bytes) = (vec![], 0);
        while let Some(items) = read.try_next().await? {
            for item in &items {
                bytes += item::text(item, item::DOCUMENT)?.len();
                found.push(item::to_stored(item)?);
            }
            if bytes > MAX_SCAN_BYTES {
                return Err(too_many(kind));
            }
        }
        Ok(found)
    }

    /// What `pick` takes of the resources of these ids that exist, in no order.
    ///
    /// # Errors
    ///
    /// Those of [`Store::scan`].
    pub(crate) async fn pick<T: Send>(
        &self,
        caller: &Caller,
        kind: &Kind,
        ids: &[ResourceId],
        effort: &Effort,
        pick: impl Fn(Stored) -> Result<Option<T>, WorkSpent> + Send,
    ) -> Result<Vec<T>, Error> {
        let directory = caller.directory().id;
        let (mut read, mut picked) = (0, vec![]);
        for ids in ids.chunks(PICKED_AT_ONCE) {
            let keys = ids
                .iter()
                .map(|id| Key::resource(directory, kind.letter, *id));
            for resource in self.get_all(keys.collect()).await? {
                read += item::text(&resource, item::DOCUMENT)?.len();
                if read > MAX_SCAN_BYTES || !effort.goes_on().await {
                    return Err(too_many(kind));
                }
                let resource = item::to_stored(&resource)?;
                picked.extend(pick(resource).map_err(|WorkSpent| too_many(kind))?);
            }
        }
        Ok(picked)
    }

    /// The resources of these ids that exist, in the order of the ids that are given.
    async fn read_in_order(
        &self,
        caller: &Caller,
        kind: &Kind,
        ids: &[ResourceId],
    ) -> Result<Vec<Stored>, Error> {
        let read = self.read_all(caller.directory().id, kind, ids).await?;
        let mut read: HashMap<ResourceId, Stored> =
            read.into_iter().map(|stored| (stored.id, stored)).collect();
        Ok(ids.iter().filter_map(|id| read.remove(id)).collect())
    }

    /// The part of what matches that a query asks for.
    pub(crate) async fn part(
        &self,
        caller: &Caller,
        kind: &'static Kind,
        matching: Matching<'_>,
        query: &Query<'_>,
        effort: &Effort,
    ) -> Result<Part, Error> {
        // Everything stands in the order of ids already.
        let sort = query
            .sort
            .filter(|sort| sort.descending || !sort.is_by_id());
        let place = query.begins(caller, kind)?;
        match (sort, query.paging) {
            (Some(sort), _) => {
                self.sorted(caller, kind, matching, sort, place, query, effort)
                    .await
            }
            (None, Paging::Index(page)) => {
                self.by_number(caller, kind, matching, *page, effort).await
            }
            (None, Paging::Cursor { count: 0, .. }) => {
                let none = Page {
                    start_index: 1,
                    count: 0,
                };
                self.by_number(caller, kind, matching, none, effort).await
            }
            (None, Paging::Cursor { count, .. }) => {
                self.by_cursor(caller, kind, matching, place, *count, effort)
                    .await
            }
        }
    }

    /// A page by its number.
    async fn by_number(
        &self,
        caller: &Caller,
        kind: &Kind,
        matching: Matching<'_>,
        page: Page,
        effort: &Effort,
    ) -> Result<Part, Error> {
        let (total, resources) = match matching {
            Matching::All => self.page(caller, kind, page).await?,
            Matching::Read(all) => {
                let total = all.len() as u64;
                (total, window(all, page))
            }
            Matching::Ids(ids) => {
                let total = ids.len() as u64;
                let ids = window(ids, page);
                (total, self.read_in_order(caller, kind, &ids).await?)
            }
            Matching::Tested(test) => {
                let pick = |stored: &Stored| Ok(test(stored)?.then_some(stored.id));
                let ids = self.scan(caller, kind, effort, pick).await?;
                let total = ids.len() as u64;
                let ids = window(ids, page);
                let resources = self.read_in_order(caller, kind, &ids).await?;
                // One may have changed since.
                (total, effort.passing(kind, resources, test).await?)
            }
        };
        Ok(Part {
            total: Some(total),
            resources,
            ..Part::default()
        })
    }

    /// A page by cursor, in the order of ids.
    async fn by_cursor(
        &self,
        caller: &Caller,
        kind: &Kind,
        matching: Matching<'_>,
        place: Option<Place>,
        count: u64,
        effort: &Effort,
    ) -> Result<Part, Error> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        match matching {
            Matching::All => self.beyond(caller, kind, place, count).await,
            Matching::Read(all) => {
                let ids: Vec<ResourceId> = all.iter().map(|stored| stored.id).collect();
                let (page, mut part) = cut(&ids, place, count);
                part.resources = all.into_iter().filter(|s| page.contains(&s.id)).collect();
                if part.backward {
                    part.resources.reverse();
                }
                Ok(part)
            }
            Matching::Ids(ids) => {
                let (page, mut part) = cut(&ids, place, count);
                part.resources = self.read_in_order(caller, kind, page).await?;
                if part.backward {
                    part.resources.reverse();
                }
                Ok(part)
            }
            Matching::Tested(test) => {
                let after = match place {
                    None => None,
                    Some(Place::After(id)) => Some(id),
                    // It came with a page of this list that took fewer reads.
                    Some(_) => return Err(cursor::expired()),
                };
                self.tested_beyond(caller, kind, after, count, test, effort)
                    .await
            }
        }
    }

    /// A page of a list in another order than that of the ids.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is asked, what was found and what may be spent"
    )]
    async fn sorted(
        &self,
        caller: &Caller,
        kind: &'static Kind,
        matching: Matching<'_>,
        sort: &ResolvedSort<'_>,
        place: Option<Place>,
        query: &Query<'_>,
        effort: &Effort,
    ) -> Result<Part, Error> {
        let (mut keys, mut read) = self.keys(caller, kind, matching, sort, effort).await?;
        keys.sort_unstable();
        if sort.descending {
            keys.reverse();
        }
        let total = keys.len() as u64;
        let span = Span::new(query.paging, place, total);
        let ids: Vec<ResourceId> = keys.into_iter().map(|(_, id)| id).collect();
        let ids = span.of(ids);
        let resources = match read.is_empty() {
            true => self.read_in_order(caller, kind, &ids).await?,
            false => ids.iter().filter_map(|id| read.remove(id)).collect(),
        };
        Ok(Part {
            total: Some(total),
            resources,
            next: span.next(total),
            previous: span.previous(),
            span: Some(span),
            backward: span.backward,
        })
    }

    /// What everything that matches is sorted by, and what was read on the way.
    pub(crate) async fn keys(
        &self,
        caller: &Caller,
        kind: &'static Kind,
        matching: Matching<'_>,
        sort: &ResolvedSort<'_>,
        effort: &Effort,
    ) -> Result<(Vec<(SortKey, ResourceId)>, HashMap<ResourceId, Stored>), Error> {
        let key = |stored: &Stored| {
            let shown = stored.represent(caller, kind.ty(caller), Object::new());
            Ok((sort.key(&shown, effort.work())?, stored.id))
        };
        let mut read = HashMap::new();
        let keys = match matching {
            Matching::All => {
                self.scan(caller, kind, effort, |stored| key(stored).map(Some))
                    .await?
            }
            Matching::Tested(test) => {
                let pick = |stored: &Stored| match test(stored)? {
                    true => key(stored).map(Some),
                    false => Ok(None),
                };
                self.scan(caller, kind, effort, pick).await?
            }
            Matching::Read(all) => {
                let mut keys = vec![];
                for stored in &all {
                    if !effort.goes_on().await {
                        return Err(too_many(kind));
                    }
                    keys.push(key(stored).map_err(|WorkSpent| too_many(kind))?);
                }
                read = all.into_iter().map(|stored| (stored.id, stored)).collect();
                keys
            }
            Matching::Ids(ids) => {
                if ids.len() > MAX_SORTED_IDS {
                    return Err(too_many(kind));
                }
                let pick = |stored: Stored| key(&stored).map(Some);
                self.pick(caller, kind, &ids, effort, pick).await?
            }
        };
        Ok((keys, read))
    }

    /// A page by number of everything: the counts say in which bucket of ids it begins.
    async fn page(
        &self,
        caller: &Caller,
        kind: &Kind,
        page: Page,
    ) -> Result<(u64, Vec<Stored>), Error> {
        let offset = page.start_index.saturating_sub(1);
        if offset == 0 && page.count > 0 {
            // The first page needs no count to be found.
            let (counts, resources) = try_join(
                self.counts(caller, kind),
                self.read_from(caller, kind, "0", 0, page.count),
            )
            .await?;
            return Ok((counts.total(), resources));
        }
        let counts = self.counts(caller, kind).await?;
        let resources = match counts.bucket(offset) {
            Some((from, skip)) if page.count > 0 => {
                self.read_from(caller, kind, &from, skip, page.count)
                    .await?
            }
            _ => vec![],
        };
        Ok((counts.total(), resources))
    }

    async fn counts(&self, caller: &Caller, kind: &Kind) -> Result<Counts, Error> {
        let pk = key::counts(caller.directory().id);
        let prefix = format!("{}#", kind.letter);
        let mut range = Range::between(&pk, &prefix, &format!("{prefix}g"));
        let mut counts = Counts::default();
        while let Some(items) = self.more(&mut range).await? {
            for count in &items {
                let byte = item::text(count, SK)?.trim_start_matches(&prefix);
                for digit in DIGITS {
                    if count.contains_key(digit) {
                        let bucket = format!("{byte}{digit}");
                        counts.0.push((bucket, item::integer(count, digit)?));
                    }
                }
            }
        }
        Ok(counts)
    }

    /// `count` resources by id, after the first `skip` of those from the id prefix `from` on.
    async fn read_from(
        &self,
        caller: &Caller,
        kind: &Kind,
        from: &str,
        skip: u64,
        count: u64,
    ) -> Result<Vec<Stored>, Error> {
        let pk = key::resources(caller.directory().id, kind.letter);
        let mut range = Range::between(&pk, from, "g");
        let mut found = vec![];
        let mut left_to_skip = skip;
        let mut left = count;
        let mut bytes = 0;
        while left > 0 {
            let limit = i32::try_from(left_to_skip.saturating_add(left)).unwrap_or(i32::MAX);
            let Some(items) = self.more(range.limit(limit)).await? else {
                break;
            };
            for resource in &items {
                if left_to_skip > 0 {
                    left_to_skip -= 1;
                    continue;
                }
                bytes += item::text(resource, item::DOCUMENT)?.len();
                if bytes > MAX_PAGE_BYTES && !found.is_empty() {
                    return Ok(found);
                }
                found.push(item::to_stored(resource)?);
                left -= 1;
            }
        }
        Ok(found)
    }

    /// A page by cursor of everything. The first one says how many there are in all.
    async fn beyond(
        &self,
        caller: &Caller,
        kind: &Kind,
        place: Option<Place>,
        count: usize,
    ) -> Result<Part, Error> {
        let total = async {
            Ok(match place {
                None => Some(self.counts(caller, kind).await?.total()),
                Some(_) => None,
            })
        };
        let (total, (resources, more)) =
            try_join(total, self.read_beyond(caller, kind, place, count)).await?;
        let first = resources.first().map(|first| first.id);
        let last = resources.last().map(|last| last.id);
        let rest = last.filter(|_| more);
        let backward = matches!(place, Some(Place::Before(_)));
        let (next, previous) = match place {
            None => (rest.map(Place::After), None),
            // What is nowhere any more leads to the beginning.
            Some(Place::Before(_)) => {
                let next = first.unwrap_or(ResourceId::FIRST);
                (Some(Place::After(next)), rest.map(Place::Before))
            }
            Some(_) => (rest.map(Place::After), first.map(Place::Before)),
        };
        Ok(Part {
            total,
            resources,
            next,
            previous,
            span: None,
            backward,
        })
    }

    /// Up to `count` resources from a place on, away from it, and whether there are more.
    async fn read_beyond(
        &self,
        caller: &Caller,
        kind: &Kind,
        place: Option<Place>,
        count: usize,
    ) -> Result<(Vec<Stored>, bool), Error> {
        let directory = caller.directory().id;
        let pk = key::resources(directory, kind.letter);
        let key = |id| Key::resource(directory, kind.letter, id).attributes();
        let range = Range::between(&pk, "0", "g");
        let mut range = match place {
            Some(Place::After(id)) => range.after(key(id)),
            Some(Place::Before(id)) => range.before(key(id)),
            Some(Place::Number(_) | Place::Until(_)) | None => range,
        };
        let mut found = vec![];
        let mut bytes = 0;
        loop {
            // One more tells whether there are more.
            let limit = i32::try_from(count + 1 - found.len()).unwrap_or(i32::MAX);
            let Some(items) = self.more(range.limit(limit)).await? else {
                return Ok((found, false));
            };
            for resource in &items {
                bytes += item::text(resource, item::DOCUMENT)?.len();
                let full = bytes > MAX_PAGE_BYTES && !found.is_empty();
                if full || found.len() == count {
                    return Ok((found, true));
                }
                found.push(item::to_stored(resource)?);
            }
        }
    }

    /// A page by cursor of those that pass a test, shorter when looking for them takes too long or too much work.
    /// It looks at one resource at least, so its cursor always leads on.
    ///
    /// # Errors
    ///
    /// 400 `tooMany` when the first resource alone takes more work than a request may: no page could come past it, and
    /// leaving it out would be a cut list.
    async fn tested_beyond(
        &self,
        caller: &Caller,
        kind: &Kind,
        after: Option<ResourceId>,
        count: usize,
        test: Box<Test<'_>>,
        effort: &Effort,
    ) -> Result<Part, Error> {
        let directory = caller.directory().id;
        let pk = key::resources(directory, kind.letter);
        let range = Range::between(&pk, "0", "g");
        let mut range = match after {
            Some(id) => range.after(Key::resource(directory, kind.letter, id).attributes()),
            None => range,
        };
        let (mut read, mut shown) = (0, 0);
        let mut looked_at = after;
        let mut part = Part::default();
        while let Some(items) = self.more(&mut range).await? {
            for resource in &items {
                let size = item::text(resource, item::DOCUMENT)?.len();
                let resource = item::to_stored(resource)?;
                read += size;
                let has_time = effort.goes_on().await;
                let begins = looked_at == after;
                let passes = match test(&resource) {
                    Ok(passes) if has_time || begins => passes,
                    Err(WorkSpent) if begins => return Err(too_much_for_one(kind)),
                    Ok(_) | Err(WorkSpent) => {
                        part.next = looked_at.map(Place::After);
                        return Ok(part);
                    }
                };
                if passes {
                    shown += size;
                    let full = part.resources.len() == count || shown > MAX_PAGE_BYTES;
                    if let Some(last) = part.resources.last().filter(|_| full) {
                        part.next = Some(Place::After(last.id));
                        return Ok(part);
                    }
                    looked_at = Some(resource.id);
                    part.resources.push(resource);
                } else {
                    looked_at = Some(resource.id);
                }
            }
            if read > MAX_SCAN_BYTES {
                part.next = looked_at.map(Place::After);
                return Ok(part);
            }
        }
        Ok(part)
    }

    /// What `pick` takes of every resource, in the order of their ids: read by 16 ranges side by side.
    ///
    /// # Errors
    ///
    /// 400 `tooMany` when there is more than one request may read, or picking takes more work or time than it may.
    pub(crate) async fn scan<T: Send>(
        &self,
        caller: &Caller,
        kind: &Kind,
        effort: &Effort,
        pick: impl Fn(&Stored) -> Result<Option<T>, WorkSpent> + Sync,
    ) -> Result<Vec<T>, Error> {
        let read = AtomicUsize::new(0);
        let ranges =
            (0..16).map(|digit| self.scan_range(caller, kind, effort, &pick, digit, &read));
        let ranges = tokio::time::timeout_at(effort.until(), try_join_all(ranges))
            .await
            .map_err(|_| too_many(kind))??;
        Ok(ranges.into_iter().flatten().collect())
    }

    async fn scan_range<T: Send>(
        &self,
        caller: &Caller,
        kind: &Kind,
        effort: &Effort,
        pick: &(impl Fn(&Stored) -> Result<Option<T>, WorkSpent> + Sync),
        digit: u8,
        read: &AtomicUsize,
    ) -> Result<Vec<T>, Error> {
        let pk = key::resources(caller.directory().id, kind.letter);
        let mut range = Range::between(&pk, &format!("{digit:x}"), &format!("{digit:x}g"));
        let mut picked = vec![];
        while let Some(items) = self.more(&mut range).await? {
            for resource in &items {
                let size = item::text(resource, item::DOCUMENT)?.len();
                let read = read.fetch_add(size, Ordering::Relaxed) + size;
                if read > MAX_SCAN_BYTES || !effort.goes_on().await {
                    return Err(too_many(kind));
                }
                let resource = item::to_stored(resource)?;
                picked.extend(pick(&resource).map_err(|WorkSpent| too_many(kind))?);
            }
        }
        Ok(picked)
    }

    /// The first items between two sort keys, at most so many, and whether there may be more.
    pub(crate) async fn first(
        &self,
        pk: &str,
        from: &str,
        to: &str,
        most: i32,
    ) -> Result<(Vec<Item>, bool), Error> {
        let mut range = Range::between(pk, from, to);
        let items = self.more(range.limit(most)).await?;
        Ok((items.unwrap_or_default(), !range.ended))
    }

    /// All that a query matches, in the order of their ids.
    pub(crate) async fn all(
        &self,
        caller: &Caller,
        kind: &'static Kind,
        matching: Matching<'_>,
        effort: &Effort,
    ) -> Result<Vec<Stored>, Error> {
        match matching {
            Matching::Read(all) => Ok(all),
            Matching::Ids(ids) => self.read_in_order(caller, kind, &ids).await,
            Matching::All => {
                self.scan(caller, kind, effort, |of| Ok(Some(of.clone())))
                    .await
            }
            Matching::Tested(test) => {
                let pick = |of: &Stored| Ok(test(of)?.then(|| of.clone()));
                self.scan(caller, kind, effort, pick).await
            }
        }
    }
}

/// How many resources there are by the first three hex digits of their ids, in the order of the ids.
#[derive(Default)]
struct Counts(Vec<(String, u64)>);

impl Counts {
    fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Where the resource at `offset` stands: the beginning of its id, and how
    /// many of that beginning come before it. `None` when it is past the end.
    fn bucket(&self, offset: u64) -> Option<(String, u64)> {
        let mut before = 0;
        for (bucket, count) in &self.0 {
            if offset < before + count {
                return Some((bucket.clone(), offset - before));
            }
            before += count;
        }
        None
    }
}

/// A page by number of what is all at hand.
pub(crate) fn window<T>(all: Vec<T>, page: Page) -> Vec<T> {
    let skip = usize::try_from(page.start_index.saturating_sub(1)).unwrap_or(usize::MAX);
    let count = usize::try_from(page.count).unwrap_or(usize::MAX);
    all.into_iter().skip(skip).take(count).collect()
}

/// A page by cursor of ids that are all at hand, in their order, without its resources.
fn cut(ids: &[ResourceId], place: Option<Place>, count: usize) -> (&[ResourceId], Part) {
    let (from, to) = match place {
        Some(Place::Before(id)) => {
            let to = ids.partition_point(|other| *other < id);
            (to.saturating_sub(count), to)
        }
        Some(Place::After(id)) => {
            let from = ids.partition_point(|other| *other <= id);
            (from, from.saturating_add(count).min(ids.len()))
        }
        Some(Place::Number(_) | Place::Until(_)) | None => (0, count.min(ids.len())),
    };
    let page = ids.get(from..to).unwrap_or_default();
    let next = page.last().filter(|_| to < ids.len());
    let previous = page.first().filter(|_| from > 0);
    let part = Part {
        total: Some(ids.len() as u64),
        resources: vec![],
        next: next.map(|id| Place::After(*id)),
        previous: previous.map(|id| Place::Before(*id)),
        span: None,
        backward: matches!(place, Some(Place::Before(_))),
    };
    (page, part)
}

/// A filter that takes more work for one resource than a request may spend on all of them.
fn too_much_for_one(kind: &Kind) -> Error {
    Error::Scim(scim::Error::too_many(format_args!(
        "filter: it has to compare more values of a single resource of {} than one request may. Use fewer comparisons.",
        (kind.base)().endpoint
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_the_offset_index() {
        let counts = Counts(vec![("00".into(), 2), ("07".into(), 0), ("a1".into(), 3)]);
        assert_eq!(counts.total(), 5);
        let places: Vec<_> = (0..6).map(|offset| counts.bucket(offset)).collect();
        let place = |bucket: &str, rest| Some((bucket.to_owned(), rest));
        assert_eq!(
            places,
            [
                place("00", 0),
                place("00", 1),
                place("a1", 0),
                place("a1", 1),
                place("a1", 2),
                None
            ]
        );
    }
}
