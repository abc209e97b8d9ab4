//! Which way a filter goes: by the values that lead to resources, or over all of them.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scim::{BudgetExhausted, Object, ResolvedFilter};

use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::{DirectoryId, ResourceId};
use crate::model::resource_kind::{ResourceKind, too_many};
use crate::model::stored::Stored;
use crate::query::Candidates;
use crate::query::effort::Effort;
use crate::query::scan::MAX_SCAN_BYTES;
use crate::table::batch::KEYS;
use crate::table::item;
use crate::table::key::{Key, LookupKey, SK};
use crate::table::lookup::LookupQuery;
use crate::table::range::Range;
use crate::table::store::Store;

/// How many values one filter may look up.
const MAX_ALTERNATIVES: usize = 100;

/// How many resources are read by their ids before they are looked at.
const PICKED_AT_ONCE: usize = 800;

/// How many look-ups are made at once.
pub(super) const SIDE_BY_SIDE: usize = 16;

impl Store {
    /// What a filter finds that says nothing of groups or members.
    pub(crate) async fn matching<'q>(
        &self,
        caller: &'q Caller,
        kind: &'static ResourceKind,
        filter: Option<&'q ResolvedFilter<'q>>,
        effort: &'q Effort,
    ) -> Result<Candidates<'q>, Error> {
        let Some(filter) = filter else {
            return Ok(Candidates::All);
        };
        let matches = move |stored: &Stored| {
            let shown = stored.represent(caller, kind.ty(caller), Object::new());
            filter.matches(&shown, effort.work())
        };
        let Some(owners) = self.look_up(caller, kind, filter).await? else {
            return Ok(Candidates::Tested(Box::new(matches)));
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
        Ok(Candidates::Read(matching))
    }

    /// The ids of all that can match, if values of which every match has one lead to them.
    pub(crate) async fn look_up(
        &self,
        caller: &Caller,
        kind: &'static ResourceKind,
        filter: &ResolvedFilter<'_>,
    ) -> Result<Option<Vec<ResourceId>>, Error> {
        let lookups = kind.lookups.iter().map(|lookup| lookup.path);
        let paths: Vec<&str> = std::iter::once("id").chain(lookups).collect();
        let alternatives = filter.alternatives(&paths);
        let Some(alternatives) = alternatives.filter(|found| found.len() <= MAX_ALTERNATIVES)
        else {
            return Ok(None);
        };
        let mut found = BTreeSet::new();
        let mut queries = vec![];
        for (path, value) in alternatives {
            match kind.lookups.iter().find(|lookup| lookup.path == path) {
                Some(lookup) => queries.extend(lookup.query(caller, value)),
                // No resource has an id of another form.
                None => found.extend(value.parse::<ResourceId>()),
            }
        }
        let looked_up = stream::iter(queries)
            .map(|query| self.look_up_value(query))
            .buffer_unordered(SIDE_BY_SIDE);
        let looked_up: Vec<Vec<ResourceId>> = looked_up.try_collect().await?;
        found.extend(looked_up.into_iter().flatten());
        Ok(Some(found.into_iter().collect()))
    }

    /// Returns the ids of the resources that have a value.
    async fn look_up_value(&self, query: LookupQuery) -> Result<Vec<ResourceId>, Error> {
        match query {
            LookupQuery::Shared(key) => self.look_up_shared(&key).await,
            LookupQuery::Unique(key) => {
                let found = self.item(key).await?;
                let id = found.map(|found| item::id(&found, item::RESOURCE_ID));
                Ok(id.transpose()?.into_iter().collect())
            }
        }
    }

    async fn look_up_shared(&self, key: &LookupKey) -> Result<Vec<ResourceId>, Error> {
        let (from, to) = key.range();
        let mut range = Range::between(&key.pk, &from, &to);
        let mut ids = vec![];
        while let Some(found) = self.more(&mut range).await? {
            for found in &found {
                let id = item::id(found, item::RESOURCE_ID)?;
                // The item of a longer value with the same beginning can be in the range.
                if key.shared(id).sk == item::text(found, SK)? {
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
        kind: &ResourceKind,
        ids: &[ResourceId],
    ) -> Result<Vec<Stored>, Error> {
        let key = |id: &ResourceId| Key::resource(directory, kind.prefix, *id);
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
        kind: &ResourceKind,
        ids: &[ResourceId],
        effort: &Effort,
        pick: impl Fn(Stored) -> Result<Option<T>, BudgetExhausted> + Send,
    ) -> Result<Vec<T>, Error> {
        let directory = caller.directory().id;
        let (mut read, mut picked) = (0, vec![]);
        for ids in ids.chunks(PICKED_AT_ONCE) {
            let keys = ids
                .iter()
                .map(|id| Key::resource(directory, kind.prefix, *id));
            for resource in self.get_all(keys.collect()).await? {
                read += item::text(&resource, item::DOCUMENT)?.len();
                if read > MAX_SCAN_BYTES || !effort.goes_on().await {
                    return Err(too_many(kind));
                }
                let resource = item::to_stored(&resource)?;
                picked.extend(pick(resource).map_err(|BudgetExhausted| too_many(kind))?);
            }
        }
        Ok(picked)
    }
}
