//! The page of a list: by number with the counts, by cursor, or sorted.

use std::collections::HashMap;

use futures_util::future::try_join;
use scim::{BudgetExhausted, Object, Page, Paging, ResolvedSort, SortKey};

use crate::model::caller::Caller;
use crate::model::cursor::{self, PagePosition};
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::resource_kind::{ResourceKind, too_many};
use crate::model::stored::Stored;
use crate::query::effort::Effort;
use crate::query::scan::MAX_SCAN_BYTES;
use crate::query::{Candidates, Part, Query, Span, Test, window};
use crate::table::item;
use crate::table::key::{self, DIGITS, Key, SK};
use crate::table::range::Range;
use crate::table::store::Store;

/// The documents that are read for one page, in bytes: it bounds what a function holds. What goes out is measured where
/// it goes out.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;

/// The most ids that are read to sort their resources.
const MAX_SORTED_IDS: usize = 20_000;

impl Store {
    /// The resources of these ids that exist, in the order of the ids that are given.
    pub(super) async fn read_in_order(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
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
        kind: &'static ResourceKind,
        matching: Candidates<'_>,
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
        kind: &ResourceKind,
        matching: Candidates<'_>,
        page: Page,
        effort: &Effort,
    ) -> Result<Part, Error> {
        let (total, resources) = match matching {
            Candidates::All => self.page(caller, kind, page).await?,
            Candidates::Read(all) => {
                let total = all.len() as u64;
                (total, window(all, page))
            }
            Candidates::Ids(ids) => {
                let total = ids.len() as u64;
                let ids = window(ids, page);
                (total, self.read_in_order(caller, kind, &ids).await?)
            }
            Candidates::Tested(test) => {
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
        kind: &ResourceKind,
        matching: Candidates<'_>,
        place: Option<PagePosition>,
        count: u64,
        effort: &Effort,
    ) -> Result<Part, Error> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        match matching {
            Candidates::All => self.beyond(caller, kind, place, count).await,
            Candidates::Read(all) => {
                let ids: Vec<ResourceId> = all.iter().map(|stored| stored.id).collect();
                let (page, mut part) = cut(&ids, place, count);
                part.resources = all.into_iter().filter(|s| page.contains(&s.id)).collect();
                if part.backward {
                    part.resources.reverse();
                }
                Ok(part)
            }
            Candidates::Ids(ids) => {
                let (page, mut part) = cut(&ids, place, count);
                part.resources = self.read_in_order(caller, kind, page).await?;
                if part.backward {
                    part.resources.reverse();
                }
                Ok(part)
            }
            Candidates::Tested(test) => {
                let after = match place {
                    None => None,
                    Some(PagePosition::After(id)) => Some(id),
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
        kind: &'static ResourceKind,
        matching: Candidates<'_>,
        sort: &ResolvedSort<'_>,
        place: Option<PagePosition>,
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
        kind: &'static ResourceKind,
        matching: Candidates<'_>,
        sort: &ResolvedSort<'_>,
        effort: &Effort,
    ) -> Result<(Vec<(SortKey, ResourceId)>, HashMap<ResourceId, Stored>), Error> {
        let key = |stored: &Stored| {
            let shown = stored.represent(caller, kind.ty(caller), Object::new());
            Ok((sort.key(&shown, effort.work())?, stored.id))
        };
        let mut read = HashMap::new();
        let keys = match matching {
            Candidates::All => {
                self.scan(caller, kind, effort, |stored| key(stored).map(Some))
                    .await?
            }
            Candidates::Tested(test) => {
                let pick = |stored: &Stored| match test(stored)? {
                    true => key(stored).map(Some),
                    false => Ok(None),
                };
                self.scan(caller, kind, effort, pick).await?
            }
            Candidates::Read(all) => {
                let mut keys = vec![];
                for stored in &all {
                    if !effort.goes_on().await {
                        return Err(too_many(kind));
                    }
                    keys.push(key(stored).map_err(|BudgetExhausted| too_many(kind))?);
                }
                read = all.into_iter().map(|stored| (stored.id, stored)).collect();
                keys
            }
            Candidates::Ids(ids) => {
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
        kind: &ResourceKind,
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

    async fn counts(&self, caller: &Caller, kind: &ResourceKind) -> Result<Counts, Error> {
        let pk = key::counts(caller.directory().id);
        let prefix = format!("{}#", kind.prefix);
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
        kind: &ResourceKind,
        from: &str,
        skip: u64,
        count: u64,
    ) -> Result<Vec<Stored>, Error> {
        let pk = key::resources(caller.directory().id, kind.prefix);
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
        kind: &ResourceKind,
        place: Option<PagePosition>,
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
        let backward = matches!(place, Some(PagePosition::Before(_)));
        let (next, previous) = match place {
            None => (rest.map(PagePosition::After), None),
            // What is nowhere any more leads to the beginning.
            Some(PagePosition::Before(_)) => {
                let next = first.unwrap_or(ResourceId::FIRST);
                (
                    Some(PagePosition::After(next)),
                    rest.map(PagePosition::Before),
                )
            }
            Some(_) => (
                rest.map(PagePosition::After),
                first.map(PagePosition::Before),
            ),
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
        kind: &ResourceKind,
        place: Option<PagePosition>,
        count: usize,
    ) -> Result<(Vec<Stored>, bool), Error> {
        let directory = caller.directory().id;
        let pk = key::resources(directory, kind.prefix);
        let key = |id| Key::resource(directory, kind.prefix, id).attributes();
        let range = Range::between(&pk, "0", "g");
        let mut range = match place {
            Some(PagePosition::After(id)) => range.after(key(id)),
            Some(PagePosition::Before(id)) => range.before(key(id)),
            Some(PagePosition::Number(_) | PagePosition::Until(_)) | None => range,
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
        kind: &ResourceKind,
        after: Option<ResourceId>,
        count: usize,
        test: Box<Test<'_>>,
        effort: &Effort,
    ) -> Result<Part, Error> {
        let directory = caller.directory().id;
        let pk = key::resources(directory, kind.prefix);
        let range = Range::between(&pk, "0", "g");
        let mut range = match after {
            Some(id) => range.after(Key::resource(directory, kind.prefix, id).attributes()),
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
                    Err(BudgetExhausted) if begins => return Err(too_much_for_one(kind)),
                    Ok(_) | Err(BudgetExhausted) => {
                        part.next = looked_at.map(PagePosition::After);
                        return Ok(part);
                    }
                };
                if passes {
                    shown += size;
                    let full = part.resources.len() == count || shown > MAX_PAGE_BYTES;
                    if let Some(last) = part.resources.last().filter(|_| full) {
                        part.next = Some(PagePosition::After(last.id));
                        return Ok(part);
                    }
                    looked_at = Some(resource.id);
                    part.resources.push(resource);
                } else {
                    looked_at = Some(resource.id);
                }
            }
            if read > MAX_SCAN_BYTES {
                part.next = looked_at.map(PagePosition::After);
                return Ok(part);
            }
        }
        Ok(part)
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

/// A page by cursor of ids that are all at hand, in their order, without its resources.
fn cut(ids: &[ResourceId], place: Option<PagePosition>, count: usize) -> (&[ResourceId], Part) {
    let (from, to) = match place {
        Some(PagePosition::Before(id)) => {
            let to = ids.partition_point(|other| *other < id);
            (to.saturating_sub(count), to)
        }
        Some(PagePosition::After(id)) => {
            let from = ids.partition_point(|other| *other <= id);
            (from, from.saturating_add(count).min(ids.len()))
        }
        Some(PagePosition::Number(_) | PagePosition::Until(_)) | None => (0, count.min(ids.len())),
    };
    let page = ids.get(from..to).unwrap_or_default();
    let next = page.last().filter(|_| to < ids.len());
    let previous = page.first().filter(|_| from > 0);
    let part = Part {
        total: Some(ids.len() as u64),
        resources: vec![],
        next: next.map(|id| PagePosition::After(*id)),
        previous: previous.map(|id| PagePosition::Before(*id)),
        span: None,
        backward: matches!(place, Some(PagePosition::Before(_))),
    };
    (page, part)
}

/// A filter that takes more work for one resource than a request may spend on all of them.
fn too_much_for_one(kind: &ResourceKind) -> Error {
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
