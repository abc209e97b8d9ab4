//! Reading a secret of Secrets Manager.

use aws_sdk_secretsmanager::operation::get_secret_value::builders::GetSecretValueFluentBuilder;
use aws_sdk_secretsmanager::operation::get_secret_value::{
    GetSecretValueError, GetSecretValueOutput,
};

use crate::Error;

/// The version that is asked for; `None` when there is none, or when its secret is about to be deleted.
///
/// # Errors
///
/// [`Error::Unavailable`].
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
            _ => Err(Error::Unavailable(error.into())),
        },
    }
}
