//! Reads secrets of AWS Secrets Manager and classifies its errors.

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::builders::GetSecretValueFluentBuilder;
use aws_sdk_secretsmanager::operation::get_secret_value::{
    GetSecretValueError, GetSecretValueOutput,
};

use crate::Error;

/// Reads the requested version of a secret. Returns `None` if it does not exist, or if the secret is scheduled for deletion.
///
/// # Errors
///
/// See [`classify`].
pub(crate) async fn read(
    request: GetSecretValueFluentBuilder,
) -> Result<Option<GetSecretValueOutput>, Error> {
    match request.send().await {
        Ok(version) => Ok(Some(version)),
        Err(error) => match error.as_service_error() {
            // `InvalidRequestException`: the secret is scheduled for deletion.
            Some(
                GetSecretValueError::ResourceNotFoundException(_)
                | GetSecretValueError::InvalidRequestException(_),
            ) => Ok(None),
            // For a read, this can only be the quota of requests per second.
            _ if error.code() == Some("LimitExceededException") => {
                Err(directory::Error::Busy.into())
            }
            _ => Err(classify(error)),
        },
    }
}

/// Returns [`directory::Error::Busy`] (429) for a throttled request, and [`Error::Unavailable`] (503) for any other failure
/// (AWS Secrets Manager API Reference, "Common error types").
pub(crate) fn classify<E>(error: SdkError<E>) -> Error
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
