//! The bucket of work that a directory may ask for, over all processes.
//!
//! One item holds when the bucket will be full again, which says all there is
//! to say of it (the "generic cell rate algorithm"): work moves that time on
//! by what it takes to flow in again. A time that is over means that the bucket
//! is full, and work begins from now. DynamoDB has no maximum of two numbers, so
//! these are two conditional updates, of which the likelier comes first.
//!
//! | a charge | requests |
//! |---|---|
//! | usually | 1 |
//! | to a bucket that is not as the process believes | 2 |

use aws_sdk_dynamodb::types::ReturnValue;
use jiff::{SignedDuration, Timestamp};

use crate::model::error::Error;
use crate::model::id::DirectoryId;
use crate::table::item;
use crate::table::key::Key;
use crate::table::store::Store;

/// How long a bucket is kept in which nothing happens. Until then it has been full for long.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How often the two updates are tried in turn, when others charge at the same time.
const TRIES: usize = 4;

impl Store {
    /// Takes work that takes `time` to flow in again out of a directory's bucket,
    /// whether it is there or not, and answers when the bucket will be full
    /// again. `full` is whether it is believed to be full now. It is not repeated
    /// when DynamoDB throttles.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn charge(
        &self,
        directory: DirectoryId,
        time: SignedDuration,
        now: Timestamp,
        full: bool,
    ) -> Result<Timestamp, Error> {
        let time = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let since = now.as_microsecond();
        let mut full = full;
        for _ in 0..TRIES {
            let charged = match full {
                true => {
                    let after = since.saturating_add(time);
                    let condition = "attribute_not_exists(#f) OR #f <= :now";
                    self.bucket(directory, "#f = :by", condition, after, now)
                        .await?
                }
                false => {
                    self.bucket(directory, "#f = #f + :by", "#f > :now", time, now)
                        .await?
                }
            };
            match charged {
                Some(time) => return Ok(time),
                None => full = !full,
            }
        }
        Err(Error::Busy)
    }

    /// Changes the bucket of a directory on a condition; `None` if that does not hold.
    async fn bucket(
        &self,
        directory: DirectoryId,
        update: &str,
        condition: &str,
        by: i64,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let expires = now.saturating_add(KEPT).unwrap_or(Timestamp::MAX);
        let request = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(Key::work(directory).attributes()))
            .update_expression(format!("SET {update}, #e = :e, #format = :format"))
            .condition_expression(condition)
            .expression_attribute_names("#f", item::FULL_AT)
            .expression_attribute_names("#e", item::EXPIRES)
            .expression_attribute_names("#format", item::FORMAT)
            .expression_attribute_values(":format", item::number(item::FORMAT_VERSION))
            .expression_attribute_values(":by", item::number(by))
            .expression_attribute_values(":now", item::number(now.as_microsecond()))
            .expression_attribute_values(":e", item::number(expires.as_second()))
            .return_values(ReturnValue::UpdatedNew);
        match request.send().await {
            Ok(answer) => {
                let changed = answer.attributes.unwrap_or_default();
                let full = item::integer(&changed, item::FULL_AT)?;
                Ok(Some(
                    Timestamp::from_microsecond(full).map_err(Error::broken)?,
                ))
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::from_sdk(error)),
        }
    }
}
