//! The store: the table, and what every operation on it shares.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use jiff::Timestamp;
use scim::{Meta, Object, Resource, ResourceType};

use crate::change::patiently;
use crate::directory::{Caller, Discovery, location};
use crate::error::Error;
use crate::event::flatten;
use crate::group::ACTIONS;
use crate::id::{Ids, ResourceId};
use crate::item::Item;
use crate::key::Key;
use crate::known::Known;

/// The table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: Arc<str>,
    known: Arc<Known>,
    ids: Ids,
    actions: usize,
}

/// A resource as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its id.
    pub id: ResourceId,
    /// What its provisioning client wrote.
    pub resource: Resource,
    /// How often it has changed, from 1.
    pub version: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub last_modified: Timestamp,
    /// What is known of it as a group.
    pub(crate) group: GroupState,
}

/// What the item of a group says beyond what its provisioning client wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GroupState {
    /// How many members it has; users have none.
    pub(crate) members: Option<u64>,
    /// How often it became a member of another group.
    pub(crate) nested: u64,
    /// How many of its members are groups; unknown of a group that an earlier version wrote last.
    pub(crate) subgroups: Option<u64>,
    /// The operation that is changing its members in steps.
    pub(crate) staged: Option<Staged>,
}

/// An operation on the members of a group that takes more than one transaction.
///
/// While it adds, rows are written that count from the next version on, which
/// one transaction then makes the current one. While it removes, that
/// transaction is over and has left a list of those who are no members any
/// more; their rows are being deleted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Staged {
    /// What tells operations apart.
    pub(crate) by: String,
    /// When it is dead, in milliseconds since 1970.
    pub(crate) until: i64,
    /// In how many parts that list is kept; 0 while it adds.
    pub(crate) removals: u64,
}

impl Stored {
    /// What its provisioning client wrote, for people who do not know SCIM: the
    /// `data` of its events.
    #[must_use]
    pub fn data(&self, caller: &Caller, ty: &ResourceType) -> Object {
        flatten(caller.base_url(), ty, self)
    }

    /// What SCIM says about the resource as such.
    #[must_use]
    pub fn meta(&self, caller: &Caller, ty: &ResourceType) -> Meta {
        let mut meta = self.meta_at(caller.base_url(), ty);
        // RFC 7643 §3.1: `version` is for a service provider that supports versions, which such a directory does not say.
        if caller.directory().settings.discovery == Discovery::Plain {
            meta.version = None;
        }
        meta
    }

    fn meta_at(&self, base_url: &str, ty: &ResourceType) -> Meta {
        Meta {
            resource_type: ty.name.to_string(),
            created: self.created,
            last_modified: self.last_modified,
            version: Some(self.version),
            location: location(base_url, &ty.endpoint, self.id),
        }
    }

    /// The resource as SCIM shows it to `caller`, with the read-only
    /// attributes given, such as `groups`.
    #[must_use]
    pub fn represent(&self, caller: &Caller, ty: &ResourceType, read_only: Object) -> Object {
        self.represent_with(&self.meta(caller, ty), ty, read_only)
    }

    /// The resource as its events show it, which have the version whatever the provisioning client is shown.
    pub(crate) fn represent_at(&self, base_url: &str, ty: &ResourceType) -> Object {
        self.represent_with(&self.meta_at(base_url, ty), ty, Object::new())
    }

    fn represent_with(&self, meta: &Meta, ty: &ResourceType, read_only: Object) -> Object {
        self.resource
            .represent(ty, &self.id.to_string(), meta, read_only)
    }
}

/// The versions that a client demands of what it changes (`If-Match` and
/// `If-None-Match`, RFC 7644 §3.14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Any.
    #[default]
    None,
    /// One of these.
    Version(Vec<u64>),
    /// None of these.
    Except(Vec<u64>),
}

impl Precondition {
    pub(crate) fn check(&self, version: u64) -> Result<(), Error> {
        match self {
            Self::Version(versions) if !versions.contains(&version) => Err(Error::Changed),
            Self::Except(versions) if versions.contains(&version) => Err(Error::Changed),
            Self::None | Self::Version(_) | Self::Except(_) => Ok(()),
        }
    }
}

impl Store {
    /// The store in `table`, reached as `config` says.
    #[must_use]
    pub fn from_config(config: &SdkConfig, table: &str) -> Self {
        Self {
            client: Client::new(config),
            table: table.into(),
            known: Arc::default(),
            ids: Ids::default(),
            actions: ACTIONS,
        }
    }

    /// The same, with the ids of new resources from elsewhere.
    #[must_use]
    pub fn with_ids(self, ids: Ids) -> Self {
        Self { ids, ..self }
    }

    /// Whether a new resource may get the id of one that is there: that of the same request before.
    pub(crate) fn repeats_ids(&self) -> bool {
        self.ids.repeat()
    }

    /// The same with transactions of at most so many actions: fewer than DynamoDB takes make a change of a small group
    /// go the way of a large one. At least 12 are needed.
    #[must_use]
    pub fn with_actions(self, actions: usize) -> Self {
        Self { actions, ..self }
    }

    pub(crate) fn actions(&self) -> usize {
        self.actions
    }

    /// An id that no resource has had.
    #[must_use]
    pub fn new_id(&self) -> ResourceId {
        self.ids.next()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The groups that this process saw last.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// The item at `key`, read strongly.
    pub(crate) async fn item(&self, key: Key) -> Result<Option<Item>, Error> {
        let request = self
            .client
            .get_item()
            .table_name(self.table())
            .set_key(Some(key.attributes()))
            .consistent_read(true);
        let answer = patiently(|| request.clone().send()).await?;
        Ok(answer.item)
    }
}
