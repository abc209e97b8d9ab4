//! The DynamoDB table: keys, items, transactions, batches and ranges. Nothing here knows what they are about.

pub(crate) mod batch;
pub(crate) mod group_cache;
pub(crate) mod item;
pub(crate) mod key;
pub(crate) mod lookup;
pub(crate) mod range;
pub(crate) mod store;
pub(crate) mod transaction;
