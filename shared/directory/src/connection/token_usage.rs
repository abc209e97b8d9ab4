//! When a token was last used, to the hour: a hint for people, and never a reason to fail.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::model::error::Error;
use crate::model::id::DirectoryId;
use crate::table::item::{self, Item};
use crate::table::key::{self, Key, SK};
use crate::table::store::Store;
use crate::table::transaction::{set_expression, with_retry};

/// The hour of a time.
fn hour(time: Timestamp) -> i64 {
    time.as_second() - time.as_second().rem_euclid(60 * 60)
}

impl Store {
    /// Remembers that the token in a version of a directory's secret is used in
    /// this hour, unless somebody has done so: one request, which is not repeated.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn mark_used(
        &self,
        directory: DirectoryId,
        version: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut names = HashMap::from([("#u".to_owned(), item::LAST_USED.to_owned())]);
        let mut values = HashMap::from([(":hour".to_owned(), item::number(hour(now)))]);
        let used = Item::from([(item::LAST_USED.to_owned(), item::number(hour(now)))]);
        let expression = set_expression(used, &[], &mut names, &mut values);
        let request = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(Key::used(directory, version).attributes()))
            .update_expression(expression)
            .condition_expression("attribute_not_exists(#u) OR #u < :hour")
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                Ok(())
            }
            Err(error) => Err(Error::from_sdk(error)),
        }
    }

    /// When the tokens of a directory were last used, by the versions of its secret.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn last_used(
        &self,
        directory: DirectoryId,
    ) -> Result<HashMap<String, Timestamp>, Error> {
        let partition = key::uses(directory);
        let request = self
            .client()
            .query()
            .table_name(self.table())
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", key::PK)
            .expression_attribute_values(":pk", item::string(partition))
            .consistent_read(true);
        let answer = with_retry(|| request.clone().send()).await?;
        let mut used = HashMap::new();
        for item in answer.items() {
            let hour = item::integer(item, item::LAST_USED)?;
            let hour = Timestamp::from_second(hour).map_err(Error::broken)?;
            used.insert(item::text(item, SK)?.to_owned(), hour);
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_begins_on_the_hour() {
        let time: Timestamp = "2026-01-01T09:59:59Z".parse().unwrap();
        assert_eq!(
            Timestamp::from_second(hour(time)).unwrap().to_string(),
            "2026-01-01T09:00:00Z"
        );
    }
}
