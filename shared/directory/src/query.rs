//! Lists and look-ups: which way a query goes, and what it may cost.
//!
//! | filter | way | requests |
//! |---|---|---|
//! | none | the counts, then one range of users by id | 2 |
//! | `id eq` | the user | 1 |
//! | `userName eq` | its pointer, then the user | 1 (none) or 2 |
//! | `externalId eq`, `emails.value eq` | the value's pointers, then the users | 1 (none) or 2 |
//! | one of these `and` anything | that row, then the rest in memory | as the row |
//! | any other | all users by 16 ranges of ids at once, in memory | at least 16, within a budget |
//!
//! Everything is read strongly from the table itself, so a client that looks up
//! what it just wrote finds it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures_util::future::{try_join, try_join_all};
use scim::{Object, Page, ResolvedFilter, ResourceType, ScimType};

use crate::change::{Backoff, patiently};
use crate::directory::Caller;
use crate::error::Error;
use crate::id::ResourceId;
use crate::item::{self, Item};
use crate::key::{self, Key, Owners, PK, SK};
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

/// The attributes that have pointers, the cheapest first.
const LOOK_UPS: [(&str, LookUp); 4] = [
    ("id", LookUp::Id),
    ("userName", LookUp::UserName),
    ("externalId", LookUp::ExternalId),
    ("emails.value", LookUp::Email),
];

#[derive(Clone, Copy)]
enum LookUp {
    Id,
    UserName,
    ExternalId,
    Email,
}

impl Store {
    /// The users that a query asks for, in the order of their ids.
    ///
    /// # Errors
    ///
    /// [`Error::Scim`] with `tooMany` when a filter that no pointer serves would
    /// read more than a request may; [`Error::Busy`], [`Error::Broken`].
    pub async fn users(&self, caller: &Caller, query: &Query<'_>) -> Result<Found, Error> {
        let Some(filter) = query.filter else {
            return self.page_of_users(caller, query.page).await;
        };
        let look_up = LOOK_UPS
            .iter()
            .find_map(|(path, look_up)| Some((*look_up, filter.demands(path)?)));
        let Some((look_up, value)) = look_up else {
            return self.scan_users(caller, filter, query.page).await;
        };
        let mut matching = self.look_up(caller, look_up, value).await?;
        matching.retain(|user| matches(caller, filter, user));
        matching.sort_by_key(|user| user.id);
        Ok(window(matching, query.page))
    }

    async fn look_up(
        &self,
        caller: &Caller,
        look_up: LookUp,
        value: &str,
    ) -> Result<Vec<Stored>, Error> {
        let directory = caller.directory().id;
        let owners = match look_up {
            LookUp::Id => match value.parse() {
                Ok(id) => vec![id],
                // No resource has an id of another form.
                Err(_) => vec![],
            },
            LookUp::UserName => match self.item(Key::user_name(directory, value)).await? {
                Some(pointer) => vec![item::id(&pointer, item::OWNER)?],
                None => vec![],
            },
            LookUp::ExternalId => self.owners(&Owners::external_id(directory, value)).await?,
            LookUp::Email => self.owners(&Owners::email(directory, value)).await?,
        };
        match owners.as_slice() {
            [] => Ok(vec![]),
            [id] => Ok(self.user(caller, *id).await?.into_iter().collect()),
            many => self.users_by_id(caller, many).await,
        }
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

    async fn users_by_id(&self, caller: &Caller, ids: &[ResourceId]) -> Result<Vec<Stored>, Error> {
        // "BatchGetItem" takes 100 keys and may leave some of them to be asked for again.
        const KEYS: usize = 100;
        let mut users = vec![];
        for chunk in ids.chunks(KEYS) {
            let mut keys: Vec<_> = chunk
                .iter()
                .map(|id| Key::user(caller.directory().id, *id).attributes())
                .collect();
            let mut backoff = Backoff::new();
            while !keys.is_empty() {
                let request = KeysAndAttributes::builder()
                    .set_keys(Some(keys))
                    .consistent_read(true)
                    .build()
                    .map_err(Error::broken)?;
                let request = self
                    .client()
                    .batch_get_item()
                    .request_items(self.table(), request);
                let answer = patiently(|| request.clone().send()).await?;
                for found in answer.responses.unwrap_or_default().into_values().flatten() {
                    users.push(item::to_stored(&found)?);
                }
                keys = answer
                    .unprocessed_keys
                    .unwrap_or_default()
                    .into_values()
                    .flat_map(|left| left.keys)
                    .collect();
                if !keys.is_empty() {
                    backoff.wait().await?;
                }
            }
        }
        Ok(users)
    }

    /// A page by offset: the counts say in which bucket of ids it begins.
    async fn page_of_users(&self, caller: &Caller, page: Page) -> Result<Found, Error> {
        let offset = page.start_index.saturating_sub(1);
        if offset == 0 && page.count > 0 {
            // The first page needs no count to be found.
            let (counts, resources) = try_join(
                self.user_counts(caller),
                self.users_from(caller, "0", 0, page.count),
            )
            .await?;
            return Ok(Found {
                total: counts.total(),
                resources,
            });
        }
        let counts = self.user_counts(caller).await?;
        let total = counts.total();
        let resources = match counts.bucket(offset) {
            Some((from, skip)) if page.count > 0 => {
                self.users_from(caller, &from, skip, page.count).await?
            }
            _ => vec![],
        };
        Ok(Found { total, resources })
    }

    async fn user_counts(&self, caller: &Caller) -> Result<Counts, Error> {
        let pk = key::counts(caller.directory().id);
        let (from, to) = (
            key::USER_COUNTS.to_owned(),
            format!("{}g", key::USER_COUNTS),
        );
        let page = self.range(&pk, &from, &to, None, None).await?;
        let mut counts = Counts::default();
        for count in &page.items {
            let bucket = item::text(count, SK)?
                .trim_start_matches(key::USER_COUNTS)
                .to_owned();
            counts.0.push((bucket, item::integer(count, item::COUNT)?));
        }
        Ok(counts)
    }

    /// `count` users by id, after the first `skip` of those from the id prefix `from` on.
    async fn users_from(
        &self,
        caller: &Caller,
        from: &str,
        skip: u64,
        count: u64,
    ) -> Result<Vec<Stored>, Error> {
        let pk = key::users(caller.directory().id);
        let mut users = vec![];
        let mut left_to_skip = skip;
        let mut left = count;
        let mut bytes = 0;
        let mut next = None;
        loop {
            let limit = i32::try_from(left_to_skip.saturating_add(left)).unwrap_or(i32::MAX);
            let page = self.range(&pk, from, "g", Some(limit), next).await?;
            for user in &page.items {
                if left_to_skip > 0 {
                    left_to_skip -= 1;
                    continue;
                }
                bytes += item::text(user, item::DOCUMENT)?.len();
                if left == 0 || (bytes > MAX_PAGE_BYTES && !users.is_empty()) {
                    return Ok(users);
                }
                users.push(item::to_stored(user)?);
                left -= 1;
            }
            next = page.next;
            if next.is_none() || left == 0 {
                return Ok(users);
            }
        }
    }

    /// Every user that a filter matches, read by 16 ranges of ids side by side.
    async fn scan_users(
        &self,
        caller: &Caller,
        filter: &ResolvedFilter<'_>,
        page: Page,
    ) -> Result<Found, Error> {
        let read = AtomicUsize::new(0);
        let needed = usize::try_from(
            page.start_index
                .saturating_sub(1)
                .saturating_add(page.count),
        )
        .unwrap_or(usize::MAX);
        let ranges = (0..16).map(|digit| self.scan_range(caller, filter, digit, needed, &read));
        let ranges = tokio::time::timeout(MAX_SCAN_TIME, try_join_all(ranges))
            .await
            .map_err(|_| too_many())??;
        let total = ranges.iter().map(|(matching, _)| matching).sum();
        let users = ranges.into_iter().flat_map(|(_, users)| users).collect();
        Ok(Found {
            total,
            ..window(users, page)
        })
    }

    /// How many users of one range of ids match, and the first `needed` of them.
    async fn scan_range(
        &self,
        caller: &Caller,
        filter: &ResolvedFilter<'_>,
        digit: u8,
        needed: usize,
        read: &AtomicUsize,
    ) -> Result<(u64, Vec<Stored>), Error> {
        let pk = key::users(caller.directory().id);
        let (from, to) = (format!("{digit:x}"), format!("{digit:x}g"));
        let mut matching = 0;
        let mut users = vec![];
        let mut next = None;
        loop {
            let page = self.range(&pk, &from, &to, None, next).await?;
            for user in &page.items {
                let size = item::text(user, item::DOCUMENT)?.len();
                if read.fetch_add(size, Ordering::Relaxed) + size > MAX_SCAN_BYTES {
                    return Err(too_many());
                }
                let user = item::to_stored(user)?;
                if matches(caller, filter, &user) {
                    matching += 1;
                    if users.len() < needed {
                        users.push(user);
                    }
                }
            }
            next = page.next;
            if next.is_none() {
                return Ok((matching, users));
            }
        }
    }

    /// Items of one partition between two sort keys, both included, in their order.
    async fn range(
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

struct Range {
    items: Vec<Item>,
    next: Option<HashMap<String, AttributeValue>>,
}

/// How many users there are by the first byte of their ids, in the order of the ids.
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

fn matches(caller: &Caller, filter: &ResolvedFilter<'_>, user: &Stored) -> bool {
    filter.matches(&user.represent(caller, ResourceType::user(), Object::new()))
}

/// The page of resources that are all at hand.
fn window(resources: Vec<Stored>, page: Page) -> Found {
    let total = resources.len() as u64;
    let skip = usize::try_from(page.start_index.saturating_sub(1)).unwrap_or(usize::MAX);
    let count = usize::try_from(page.count).unwrap_or(usize::MAX);
    let mut bytes = 0;
    let resources = resources
        .into_iter()
        .skip(skip)
        .take(count)
        .take_while(|user| {
            let first = bytes == 0;
            bytes += user.resource.to_stored().len();
            first || bytes <= MAX_PAGE_BYTES
        })
        .collect();
    Found { total, resources }
}

fn too_many() -> Error {
    Error::Scim(scim::Error::new(
        400,
        Some(ScimType::TooMany),
        "The filter has to read more users than one request may. Look users up by id, userName, externalId or \
         emails.value with eq (and anything), or read the list in pages without a filter."
            .to_owned(),
    ))
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
