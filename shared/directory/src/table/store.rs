//! The store: the table, and what every operation on it shares.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;

use crate::model::error::Error;
use crate::model::id::{Ids, ResourceId};
use crate::table::group_cache::GroupCache;
use crate::table::item::Item;
use crate::table::key::Key;
use crate::table::transaction::ACTIONS;
use crate::table::transaction::with_retry;

/// The table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: Arc<str>,
    known: Arc<GroupCache>,
    ids: Ids,
    actions: usize,
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
    pub(crate) fn known(&self) -> &GroupCache {
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
        let answer = with_retry(|| request.clone().send()).await?;
        Ok(answer.item)
    }
}
