//! Lists and look-ups: which way a query goes, and what it may cost.
//!
//! | filter | way | requests |
//! |---|---|---|
//! | none | the counts, then one range of resources by id | 2 |
//! | `id eq` | the resource | 1 |
//! | a unique value `eq`, such as `userName` | its pointer, then the resource | 1 (none) or 2 |
//! | another value with pointers `eq`, such as `emails.value` | the pointers, then the resources | 1 (none) or 2 |
//! | one of these `and` anything | that row, then the rest in memory | as the row |
//! | any other | all resources by 16 ranges of ids at once, in memory | at least 16, within a budget |
//!
//! Everything is read strongly from the table itself, so a client that looks up
//! what it just wrote finds it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::{try_join, try_join_all};
use scim::{Object, Page, ResolvedFilter};

use crate::change::patiently;
use crate::directory::Caller;
use crate::error::Error;
use crate::id::{DirectoryId, ResourceId};
use crate::item::{self, Item};
use crate::key::{self, Key, Owners, PK, SK};
use crate::kind::{Kind, Pointer};
use crate::store::{Store, Stored};

/// What a list is asked for.
pub struct Query<'a> {
    /// Which resources; all of them if there is none.
    pub filter: Option<&'a ResolvedFilter<'a>>,
    /// Which of those to answer.
    pub page: Page,
}

/// What a list found.
#[derive(Debug)]
pub struct Found {
    /// How many resources match in all.
    pub total: u64,
    /// The page of them that was asked for; shorter when the answer would grow too large.
    pub resources: Vec<Stored>,
}

/// The documents of one answer, in bytes. Lambda answers with 6 MB at most
/// ("Lambda quotas"), in which every quote of the JSON counts twice.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;

/// What a filter that no pointer serves may read, in bytes: about 32,000 users of 2 KB.
const MAX_SCAN_BYTES: usize = 64 * 1024 * 1024;

/// How long such a filter may take. API Gateway waits 30 seconds.
const MAX_SCAN_TIME: Duration = Duration::from_secs(20);

impl Store {
    /// The resources that a query asks for, in the order of their ids.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        kind: &Kind,
        query: &Query<'_>,
    ) -> Result<Found, Error> {
        let Some(filter) = query.filter else {
            return self.page(caller, kind, query.page).await;
        };
        let Some(owners) = self.look_up(caller, kind, filter).await? else {
            return self
                .scan(caller, kind, query.page, |stored| {
                    matches(caller, kind, filter, stored)
                })
                .await;
        };
        let mut matching = match owners.as_slice() {
            [] => vec![],
            [id] => self.read(caller, kind, *id).await?.into_iter().collect(),
            many => self.read_all(caller.directory().id, kind, many).await?,
        };
        matching.retain(|resource| matches(caller, kind, filter, resource));
        matching.sort_by_key(|resource| resource.id);
        Ok(window(matching, query.page))
    }

    /// The ids of all that can match, if a value that every match must have leads to them.
    pub(crate) async fn look_up(
        &self,
        caller: &Caller,
        kind: &Kind,
        filter: &ResolvedFilter<'_>,
    ) -> Result<Option<Vec<ResourceId>>, Error> {
        if let Some(id) = filter.demands("id") {
            // No resource has an id of another form.
            return Ok(Some(id.parse().into_iter().collect()));
        }
        let demanded = |pointer: &'static Pointer| Some((pointer, filter.demands(pointer.path)?));
        let Some((pointer, value)) = kind.pointers.iter().find_map(demanded) else {
            return Ok(None);
        };
        let owners = pointer.owners(caller.directory().id, value);
        if !pointer.is_unique(caller) {
            return self.owners(&owners).await.map(Some);
        }
        let pointer = self.item(owners.only()).await?;
        let owner = pointer
            .map(|pointer| item::id(&pointer, item::OWNER))
            .transpose()?;
        Ok(Some(owner.into_iter().collect()))
    }

    /// The owners of a value, in the order of their ids.
    async fn owners(&self, owners: &Owners) -> Result<Vec<ResourceId>, Error> {
        let (from, to) = owners.range();
        let mut ids = vec![];
        let mut next = None;
        loop {
            let page = self.range(&owners.pk, &from, &to, None, next).await?;
            for pointer in &page.items {
                let id = item::id(pointer, item::OWNER)?;
                // A longer value can begin as this one does and stand in the same range.
                if owners.of(id).sk == item::text(pointer, SK)? {
                    ids.push(id);
                }
            }
            next = page.next;
            if next.is_none() {
                return Ok(ids);
            }
        }
    }

    /// The resources of these ids that exist, in no order.
    pub(crate) async fn read_all(
        &self,
        directory: DirectoryId,
        kind: &Kind,
        ids: &[ResourceId],
    ) -> Result<Vec<Stored>, Error> {
        let keys = ids
            .iter()
            .map(|id| Key::resource(directory, kind.letter, *id))
            .collect();
        let items = self.get_all(keys).await?;
        items.iter().map(item::to_stored).collect()
    }

    /// A page by offset: the counts say in which bucket of ids it begins.
    pub(crate) async fn page(
        &self,
        caller: &Caller,
        kind: &Kind,
        page: Page,
    ) -> Result<Found, Error> {
        let offset = page.start_index.saturating_sub(1);
        if offset == 0 && page.count > 0 {
            // The first page needs no count to be found.
            let (counts, resources) = try_join(
                self.counts(caller, kind),
                self.read_from(caller, kind, "0", 0, page.count),
            )
            .await?;
            return Ok(Found {
                total: counts.total(),
                resources,
            });
        }
        let counts = self.counts(caller, kind).await?;
        let total = counts.total();
        let resources = match counts.bucket(offset) {
            Some((from, skip)) if page.count > 0 => {
                self.read_from(caller, kind, &from, skip, page.count)
                    .await?
            }
            _ => vec![],
        };
        Ok(Found { total, resources })
    }

    async fn counts(&self, caller: &Caller, kind: &Kind) -> Result<Counts, Error> {
        let pk = key::counts(caller.directory().id);
        let prefix = format!("{}#", kind.letter);
        let page = self
            .range(&pk, &prefix, &format!("{prefix}g"), None, None)
            .await?;
        let mut counts = Counts::default();
        for count in &page.items {
            let bucket = item::text(count, SK)?
                .trim_start_matches(&prefix)
                .to_owned();
            counts.0.push((bucket, item::integer(count, item::COUNT)?));
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
        let mut found = vec![];
        let mut left_to_skip = skip;
        let mut left = count;
        let mut bytes = 0;
        let mut next = None;
        loop {
            let limit = i32::try_from(left_to_skip.saturating_add(left)).unwrap_or(i32::MAX);
            let page = self.range(&pk, from, "g", Some(limit), next).await?;
            for resource in &page.items {
                if left_to_skip > 0 {
                    left_to_skip -= 1;
                    continue;
                }
                bytes += item::text(resource, item::DOCUMENT)?.len();
                if left == 0 || (bytes > MAX_PAGE_BYTES && !found.is_empty()) {
                    return Ok(found);
                }
                found.push(item::to_stored(resource)?);
                left -= 1;
            }
            next = page.next;
            if next.is_none() || left == 0 {
                return Ok(found);
            }
        }
    }

    /// Every resource that matches, read by 16 ranges of ids side by side.
    pub(crate) async fn scan(
        &self,
        caller: &Caller,
        kind: &Kind,
        page: Page,
        matches: impl Fn(&Stored) -> bool,
    ) -> Result<Found, Error> {
        let read = AtomicUsize::new(0);
        let needed = usize::try_from(
            page.start_index
                .saturating_sub(1)
                .saturating_add(page.count),
        )
        .unwrap_or(usize::MAX);
        let ranges =
            (0..16).map(|digit| self.scan_range(caller, kind, &matches, digit, needed, &read));
        let ranges = tokio::time::timeout(MAX_SCAN_TIME, try_join_all(ranges))
            .await
            .map_err(|_| too_many(kind))??;
        let total = ranges.iter().map(|(matching, _)| matching).sum();
        let found = ranges.into_iter().flat_map(|(_, found)| found).collect();
        Ok(Found {
            total,
            ..window(found, page)
        })
    }

    /// How many resources of one range of ids match, and the first `needed` of them.
    async fn scan_range(
        &self,
        caller: &Caller,
        kind: &Kind,
        matches: &impl Fn(&Stored) -> bool,
        digit: u8,
        needed: usize,
        read: &AtomicUsize,
    ) -> Result<(u64, Vec<Stored>), Error> {
        let pk = key::resources(caller.directory().id, kind.letter);
        let (from, to) = (format!("{digit:x}"), format!("{digit:x}g"));
        let mut matching = 0;
        let mut found = vec![];
        let mut next = None;
        loop {
            let page = self.range(&pk, &from, &to, None, next).await?;
            for resource in &page.items {
                let size = item::text(resource, item::DOCUMENT)?.len();
                if read.fetch_add(size, Ordering::Relaxed) + size > MAX_SCAN_BYTES {
                    return Err(too_many(kind));
                }
                let resource = item::to_stored(resource)?;
                if matches(&resource) {
                    matching += 1;
                    if found.len() < needed {
                        found.push(resource);
                    }
                }
            }
            next = page.next;
            if next.is_none() {
                return Ok((matching, found));
            }
        }
    }

    /// Items of one partition between two sort keys, both included, in their order.
    pub(crate) async fn range(
        &self,
        pk: &str,
        from: &str,
        to: &str,
        limit: Option<i32>,
        start: Option<Item>,
    ) -> Result<Range, Error> {
        let request = self
            .client()
            .query()
            .table_name(self.table())
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", item::string(pk))
            .expression_attribute_values(":from", item::string(from))
            .expression_attribute_values(":to", item::string(to))
            .consistent_read(true)
            .set_limit(limit)
            .set_exclusive_start_key(start);
        let answer = patiently(|| request.clone().send()).await?;
        Ok(Range {
            items: answer.items.unwrap_or_default(),
            next: answer.last_evaluated_key,
        })
    }
}

/// Part of a partition.
pub(crate) struct Range {
    pub(crate) items: Vec<Item>,
    pub(crate) next: Option<HashMap<String, AttributeValue>>,
}

/// How many resources there are by the first byte of their ids, in the order of the ids.
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

fn matches(caller: &Caller, kind: &Kind, filter: &ResolvedFilter<'_>, stored: &Stored) -> bool {
    filter.matches(&stored.represent(caller, kind.ty(caller), Object::new()))
}

/// The page of resources that are all at hand.
pub(crate) fn window(resources: Vec<Stored>, page: Page) -> Found {
    let total = resources.len() as u64;
    let skip = usize::try_from(page.start_index.saturating_sub(1)).unwrap_or(usize::MAX);
    let count = usize::try_from(page.count).unwrap_or(usize::MAX);
    let mut bytes = 0;
    let resources = resources
        .into_iter()
        .skip(skip)
        .take(count)
        .take_while(|resource| {
            let first = bytes == 0;
            bytes += resource.resource.to_stored().len();
            first || bytes <= MAX_PAGE_BYTES
        })
        .collect();
    Found { total, resources }
}

pub(crate) fn too_many(kind: &Kind) -> Error {
    let paths: Vec<&str> = kind.pointers.iter().map(|pointer| pointer.path).collect();
    Error::Scim(scim::Error::too_many(format_args!(
        "filter: it has to read more of {} than one request may. Look them up by eq on id, {} (and anything else), or \
         read the list in pages without a filter.",
        (kind.base)().endpoint,
        paths.join(", ")
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
