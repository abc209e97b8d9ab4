//! Items of one partition, read page by page.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::model::error::Error;
use crate::table::item::{self, Item};
use crate::table::key::{PK, SK};
use crate::table::store::Store;
use crate::table::transaction::with_retry;

/// The items of one partition between two sort keys, both included, read page by page.
pub(crate) struct Range {
    pk: String,
    from: String,
    to: String,
    limit: Option<i32>,
    start: Option<HashMap<String, AttributeValue>>,
    backward: bool,
    /// Whether all items were read.
    pub(crate) ended: bool,
}

impl Range {
    /// Returns the range in the order of the sort keys.
    pub(crate) fn between(pk: &str, from: &str, to: &str) -> Self {
        Self {
            pk: pk.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            limit: None,
            start: None,
            backward: false,
            ended: false,
        }
    }

    /// Returns the part of the range after a key.
    pub(crate) fn after(self, key: Item) -> Self {
        Self {
            start: Some(key),
            ..self
        }
    }

    /// Returns the part of the range before a key, in reverse order.
    pub(crate) fn before(self, key: Item) -> Self {
        Self {
            start: Some(key),
            backward: true,
            ..self
        }
    }

    /// Sets the maximum number of items of the next page.
    pub(crate) fn limit(&mut self, limit: i32) -> &mut Self {
        self.limit = Some(limit);
        self
    }
}

impl Store {
    /// Returns the next page of a range; `None` at its end.
    pub(crate) async fn more(&self, range: &mut Range) -> Result<Option<Vec<Item>>, Error> {
        if range.ended {
            return Ok(None);
        }
        let request = self
            .client()
            .query()
            .table_name(self.table())
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", item::string(&range.pk))
            .expression_attribute_values(":from", item::string(&range.from))
            .expression_attribute_values(":to", item::string(&range.to))
            .consistent_read(true)
            .set_scan_index_forward(range.backward.then_some(false))
            .set_limit(range.limit)
            .set_exclusive_start_key(range.start.take());
        let answer = with_retry(|| request.clone().send()).await?;
        range.start = answer.last_evaluated_key;
        range.ended = range.start.is_none();
        Ok(Some(answer.items.unwrap_or_default()))
    }

    /// Returns at most `most` items between two sort keys, and whether there may be more.
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
}
