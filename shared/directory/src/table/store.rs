//! The store: the table and its client.

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
    /// Returns the store in `table`, with the AWS configuration `config`.
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

    /// Returns the store with another source of ids for new resources.
    #[must_use]
    pub fn with_ids(self, ids: Ids) -> Self {
        Self { ids, ..self }
    }

    /// Whether a repeated request gets the same ids for its new resources.
    pub(crate) fn repeats_ids(&self) -> bool {
        self.ids.repeat()
    }

    /// Returns the store with at most so many actions in a transaction, at least 12. With fewer than DynamoDB takes,
    /// changes of small groups take several transactions, as those of large groups do.
    #[must_use]
    pub fn with_actions(self, actions: usize) -> Self {
        Self { actions, ..self }
    }

    pub(crate) fn actions(&self) -> usize {
        self.actions
    }

    /// Returns a new id.
    #[must_use]
    pub fn new_id(&self) -> ResourceId {
        self.ids.next()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The cache of groups of this process.
    pub(crate) fn known(&self) -> &GroupCache {
        &self.known
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// Returns the item at `key`, read with strong consistency.
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
