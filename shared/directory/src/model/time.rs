//! Points in time as they are kept.

use jiff::Timestamp;

/// SCIM shows times to the millisecond, so they are kept so as well.
pub(crate) fn to_the_millisecond(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}
