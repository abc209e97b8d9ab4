//! Why an operation did not happen. Nothing here knows of HTTP.

use std::error::Error as StdError;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// What is wrong with one value of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Where the value stands in the body (RFC 6901).
    pub pointer: String,
    /// What is wrong with it, for whoever sent it.
    pub detail: String,
}

impl Invalid {
    /// What is wrong with the value at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// Why an operation did not happen. In every case nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such resource.
    #[error("no such resource")]
    NotFound,
    /// Another resource has this value of an attribute that must be unique.
    #[error("{attribute} is taken")]
    Uniqueness {
        /// The attribute's name.
        attribute: &'static str,
        /// The value, for the client and never for a log.
        value: String,
    },
    /// The resource is not in the version that the client demanded.
    #[error("the resource has another version")]
    Changed,
    /// A directory cannot be as it is asked to be.
    #[error("not what a directory can be")]
    Invalid(Vec<Invalid>),
    /// The directory is being deleted.
    #[error("the directory is being deleted")]
    Deleting,
    /// What the client asks for is larger than this directory keeps or answers.
    #[error("too large: {0}")]
    TooLarge(String),
    /// The request breaks a rule of SCIM.
    #[error("{0}")]
    Scim(#[from] scim::Error),
    /// DynamoDB throttled, or others kept changing the same items: worth trying again.
    #[error("the table is busy")]
    Busy,
    /// An item is there that this version cannot read, such as one of a newer format. The text is for administrators and
    /// the log.
    #[error("{0}")]
    Unreadable(Unreadable),
    /// Something failed that should not. The source is for the log, never for the client.
    #[error("the store failed")]
    Broken(#[source] Box<dyn StdError + Send + Sync>),
}

/// What DynamoDB did not answer, or answered with an error: another attempt may succeed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unanswered(Box<dyn StdError + Send + Sync>);

impl Error {
    /// Whether the same operation may succeed later although nothing is changed:
    /// the table is busy or out of reach. What was read and is not understood
    /// stays so.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Broken(source) => source.is::<Unanswered>(),
            _ => false,
        }
    }

    pub(crate) fn broken(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Broken(source.into())
    }

    /// The error of a read: throttling is worth trying again, the rest is not.
    pub(crate) fn from_sdk<E, R>(error: SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        if error.code().is_some_and(is_retryable) {
            Self::Busy
        } else {
            Self::broken(Unanswered(error.into()))
        }
    }
}

/// Error codes, and reasons of a cancelled transaction, that say "later":
/// throttling, and transactions that meet, be it with a single write. AWS: "Error handling with DynamoDB", "TransactWriteItems".
pub(crate) fn is_retryable(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "ProvisionedThroughputExceeded"
            | "ThrottlingError"
            | "TransactionConflict"
            | "TransactionConflictException"
    )
}

/// An item that is there and cannot be read by this version. It says nothing of the item's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What it is.
    pub kind: &'static str,
    /// Its id: that of the directory, user, group or event, or of the group of a member row.
    pub id: String,
    /// Why it cannot be read, and what to do about it.
    pub reason: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the {} {} {}", self.kind, self.id, self.reason)
    }
}
