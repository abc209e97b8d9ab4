//! The end of a directory: everything that is in it, in steps.
//!
//! A directory that is being deleted changes its version with every step, and
//! each version is a record of the table's stream, which makes the sweeper do
//! the next step: a chain of short steps that drives itself, costs nothing while
//! nothing is deleted, and goes on where it was when a step dies, because no
//! step knows anything but what is still there.
//!
//! A process may believe for a minute that a token of the directory is good
//! (`gateway`), and a request takes up to 29 seconds, so the last step waits
//! until nobody can write any more, and looks again.
//!
//! | step | requests |
//! |---|---|
//! | items that are all gone | 1 query for each partition |
//! | items that are there | 1 query for up to 1,000, 1 write for 25 |
//! | a group | 1 query more |

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::model::directory::{Directory, Status};
use crate::model::error::Error;
use crate::model::id::DirectoryId;
use crate::model::resource_kind::{GROUP, ResourceKind, USER};
use crate::table::batch::Deadline;
use crate::table::item::{self, Item};
use crate::table::key::{self, GSI1PK, Key, MEMBERSHIPS, PK, SK};
use crate::table::store::Store;
use crate::table::transaction::{CommitError, Condition, with_retry};

/// Time after the beginning of a deletion in which requests can still write: a process accepts a cached token for 60
/// seconds, and a request takes up to 29.
pub const DRAIN_PERIOD: SignedDuration = SignedDuration::from_secs(95);

/// After how many items a step ends.
const ITEMS_OF_A_STEP: usize = 5_000;
/// After what time a step ends.
const TIME_OF_A_STEP: Duration = Duration::from_secs(10);
/// How many keys are read at once.
const KEYS_AT_ONCE: i32 = 1_000;
/// How many groups are looked at side by side.
const GROUPS_AT_ONCE: usize = 16;
/// How many rows of the index of members lead to groups at once.
const ROWS_AT_ONCE: i32 = 200;

/// The outcome of one step of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepOutcome {
    /// Nothing to do: the directory is deleted, or a later step has begun.
    Nothing,
    /// The next step follows: the table's stream shows it.
    More,
    /// Nothing is left, but requests can still write for this time.
    NotYet(SignedDuration),
    /// The directory is deleted, and its event is written.
    Deleted,
}

/// What is left of a step.
struct SweepBudget {
    items: usize,
    until: Instant,
}

impl SweepBudget {
    fn is_over(&self) -> bool {
        self.items >= ITEMS_OF_A_STEP || Instant::now() >= self.until
    }
}

/// A page of keys, and whether there are more.
struct Keys {
    keys: Vec<Key>,
    next: Option<Item>,
}

impl Store {
    /// Does the step that a directory which is being deleted is at in `version`.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`]; the same step again goes on.
    pub async fn sweep(
        &self,
        id: DirectoryId,
        version: u64,
        now: Timestamp,
    ) -> Result<SweepOutcome, Error> {
        let Some(directory) = self.directory(id).await? else {
            return Ok(SweepOutcome::Nothing);
        };
        if directory.version != version || directory.status != Status::Deleting {
            return Ok(SweepOutcome::Nothing);
        }
        let mut step = SweepBudget {
            items: 0,
            until: Instant::now() + TIME_OF_A_STEP,
        };
        match self.empty(id, &mut step).await {
            Ok(()) => {}
            // What is deleted is deleted, and the next step comes a moment later.
            Err(Error::Busy) if step.items > 0 => {}
            Err(error) => return Err(error),
        }
        // A step that is over may not have seen everything.
        if step.items > 0 || step.is_over() {
            self.next_step(&directory).await?;
            return Ok(SweepOutcome::More);
        }
        let began = directory.deleted.unwrap_or(directory.created);
        let left = DRAIN_PERIOD.saturating_sub(now.duration_since(began));
        if left.is_positive() {
            return Ok(SweepOutcome::NotYet(left));
        }
        match self.end_directory(&directory, now).await {
            Ok(()) => Ok(SweepOutcome::Deleted),
            // The step of another version has the rest to do.
            Err(CommitError::ConditionFailure(_)) => Ok(SweepOutcome::Nothing),
            Err(CommitError::Contended) => Err(Error::Busy),
            Err(CommitError::Broken(error)) => Err(error),
        }
    }

    /// Makes the stream show the directory again, unless it has done so since.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    async fn next_step(&self, directory: &Directory) -> Result<(), Error> {
        let next = item::number(directory.version + 1);
        let item = Item::from([(item::VERSION.to_owned(), next)]);
        let condition = Condition::Version(directory.version);
        self.set_attributes(Key::directory(directory.id), item, &[], condition)
            .await?;
        Ok(())
    }

    /// Goes through everything that a directory has, until it is gone or the step is over.
    async fn empty(&self, id: DirectoryId, step: &mut SweepBudget) -> Result<(), Error> {
        let resources = |kind: &ResourceKind| key::resources(id, kind.prefix);
        let mut partitions = vec![resources(&USER)];
        for kind in [&USER, &GROUP] {
            partitions.extend(kind.lookups.iter().map(|lookup| lookup.partition(id)));
        }
        partitions.extend([
            key::counts(id),
            key::uses(id),
            key::unfinished(id),
            key::limits(id),
            key::parked(id),
        ]);
        // Members first: nothing but their groups leads to them.
        self.empty_groups(id, step).await?;
        self.empty_memberships(id, step).await?;
        for partition in partitions {
            loop {
                if step.is_over() {
                    return Ok(());
                }
                let page = self.keys_in(&partition).await?;
                self.delete_keys(page.keys, step).await?;
                if page.next.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The groups that are there, each after everything that is kept by it.
    async fn empty_groups(&self, id: DirectoryId, step: &mut SweepBudget) -> Result<(), Error> {
        let partition = key::resources(id, GROUP.prefix);
        loop {
            let page = self.keys_in(&partition).await?;
            for groups in page.keys.chunks(GROUPS_AT_ONCE) {
                if step.is_over() {
                    return Ok(());
                }
                let members = groups.iter().map(|group| async {
                    let id = key::members(id, group.sk.parse().map_err(Error::broken)?);
                    self.keys_in(&id).await
                });
                let mut keys = vec![];
                for (group, members) in groups.iter().zip(try_join_all(members).await?) {
                    keys.extend(members.keys);
                    if members.next.is_none() {
                        keys.push(group.clone());
                    }
                }
                // In their order: a group is the last of what is kept by it.
                let (heads, rows): (Vec<Key>, Vec<Key>) =
                    keys.into_iter().partition(|key| key.pk == partition);
                self.delete_keys(rows, step).await?;
                self.delete_keys(heads, step).await?;
            }
            if page.keys.is_empty() {
                return Ok(());
            }
        }
    }

    /// Rows of groups that are not there, to which the index leads. It may lag,
    /// and show what is gone.
    async fn empty_memberships(
        &self,
        id: DirectoryId,
        step: &mut SweepBudget,
    ) -> Result<(), Error> {
        while !step.is_over() {
            let request = self
                .client()
                .query()
                .table_name(self.table())
                .index_name(MEMBERSHIPS)
                .key_condition_expression("#gsi1pk = :d")
                .expression_attribute_names("#gsi1pk", GSI1PK)
                .expression_attribute_values(":d", item::string(key::memberships(id)))
                .limit(ROWS_AT_ONCE);
            let answer = with_retry(|| request.clone().send()).await?;
            let mut partitions = BTreeSet::new();
            for row in answer.items() {
                partitions.insert(item::text(row, PK)?.to_owned());
            }
            let members = partitions.iter().map(|partition| self.keys_in(partition));
            let keys = try_join_all(members).await?;
            let keys: Vec<Key> = keys.into_iter().flat_map(|page| page.keys).collect();
            if keys.is_empty() {
                return Ok(());
            }
            self.delete_keys(keys, step).await?;
        }
        Ok(())
    }

    /// The first keys of a partition.
    async fn keys_in(&self, partition: &str) -> Result<Keys, Error> {
        let request = self
            .client()
            .query()
            .table_name(self.table())
            .key_condition_expression("#pk = :pk")
            .projection_expression("#pk, #sk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", item::string(partition))
            .consistent_read(true)
            .limit(KEYS_AT_ONCE);
        let answer = with_retry(|| request.clone().send()).await?;
        let keys = answer.items().iter().map(|item| {
            Ok::<_, Error>(Key {
                pk: item::text(item, PK)?.to_owned(),
                sk: item::text(item, SK)?.to_owned(),
            })
        });
        Ok(Keys {
            keys: keys.collect::<Result<_, _>>()?,
            next: answer.last_evaluated_key,
        })
    }

    async fn delete_keys(&self, keys: Vec<Key>, step: &mut SweepBudget) -> Result<(), Error> {
        let count = keys.len();
        let writes = keys.into_iter().map(|key| (key, None)).collect();
        self.write_all(writes, Deadline::new()).await?;
        step.items += count;
        Ok(())
    }
}
