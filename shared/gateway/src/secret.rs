//! Reading a secret of Secrets Manager, and what its failures mean.

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::builders::GetSecretValueFluentBuilder;
use aws_sdk_secretsmanager::operation::get_secret_value::{
    GetSecretValueError, GetSecretValueOutput,
};

use crate::Error;

/// The version that is asked for; `None` when there is none, or when its secret is about to be deleted.
///
/// # Errors
///
/// Those of [`failed`].
pub(crate) async fn read(
    asked: GetSecretValueFluentBuilder,
) -> Result<Option<GetSecretValueOutput>, Error> {
    match asked.send().await {
        Ok(version) => Ok(Some(version)),
        Err(error) => match error.as_service_error() {
            // The second one: the secret is about to be deleted.
            Some(
                GetSecretValueError::ResourceNotFoundException(_)
                | GetSecretValueError::InvalidRequestException(_),
            ) => Ok(None),
            // A quota: of a read, that of requests in a second, and not one of what is kept.
            _ if error.code() == Some("LimitExceededException") => {
                Err(directory::Error::Busy.into())
            }
            _ => Err(failed(error)),
        },
    }
}

/// What is throttled is worth trying again ([`directory::Error::Busy`], 429);
/// the rest is [`Error::Unavailable`], 503. AWS: "Common error types" of the
/// Secrets Manager API reference.
pub(crate) fn failed<E>(error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status());
    match error.code() {
        Some(
            "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            | "RequestLimitExceeded",
        ) => directory::Error::Busy.into(),
        _ if status.is_some_and(|status| status.as_u16() == 429) => directory::Error::Busy.into(),
        _ => Error::Unavailable(error.into()),
    }
}
