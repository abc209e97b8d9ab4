//! Authentication of requests to the admin API by an admin key, or by an AWS principal.
//!
//! Each key is a secret, `{prefix}admin/{name}`, which holds `{"key": "…", "access": "read" | "read-write"}` and, if the
//! key is limited to a scope, `"product"`, `"tenant"`, or both. A client sends `rollcall_admin_{name}_{key}`, so the key
//! names its secret, and several keys are valid at once. Where API Gateway checks signatures instead (SigV4), the
//! principal that it names has full access, and IAM policies decide which principals can call the API.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use axum::extract::FromRequestParts;
use directory::{Caller, Directory, DirectoryId, Provider, Scope, Status};
use http::request::Parts;
use lambda_http::request::RequestContext;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::auth::{base_url, bearer};
use crate::problem::Problem;
use crate::secret_cache::SecretCache;
use crate::tokens::{Digest, digest};
use crate::{Error, Gateway, Sleep, secret};

/// Prefix of every admin key, by which secret scanners recognise one.
pub const ADMIN_KEY_PREFIX: &str = "rollcall_admin_";
/// Prefix of the name of an admin key in the name of its secret. It follows the prefix of all secrets.
pub const ADMIN_SECRETS: &str = "admin/";
/// Minimum length of a key, in characters.
const KEY_CHARS: usize = 32;
/// Maximum length of the name of a key, in characters.
const NAME_CHARS: usize = 64;

/// How callers of the admin API authenticate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminAuth {
    /// By an admin key.
    #[default]
    Key,
    /// By a signature (SigV4) that API Gateway has checked.
    Iam,
}

/// What an admin key permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Access {
    Read,
    ReadWrite,
}

/// The content of the secret of a key. Unknown members are rejected, because one could be a misspelt scope.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    key: String,
    access: Access,
    product: Option<String>,
    tenant: Option<String>,
}

/// An admin key as a process caches it.
struct CachedAdminKey {
    digest: Digest,
    access: Access,
    scope: Scope,
}

/// The admin keys, with a cache.
pub(crate) struct AdminKeys {
    auth: AdminAuth,
    secrets: Client,
    prefix: String,
    cache: SecretCache<Arc<str>, CachedAdminKey>,
}

impl AdminKeys {
    pub(crate) fn new(secrets: Client, secret_prefix: &str, auth: AdminAuth, sleep: Sleep) -> Self {
        Self {
            auth,
            secrets,
            prefix: format!("{secret_prefix}{ADMIN_SECRETS}"),
            // A look-up of an unknown name calls Secrets Manager.
            cache: SecretCache::with_throttled_misses(sleep),
        }
    }

    async fn read(&self, name: &str) -> Result<Option<CachedAdminKey>, Error> {
        let name_of_secret = format!("{}{name}", self.prefix);
        let request = self.secrets.get_secret_value().secret_id(name_of_secret);
        let Some(version) = secret::read(request).await? else {
            return Ok(None);
        };
        match serde_json::from_str(version.secret_string().unwrap_or_default()) {
            Ok(Secret {
                key,
                access,
                product,
                tenant,
            }) if key.chars().count() >= KEY_CHARS => Ok(Some(CachedAdminKey {
                digest: digest(&key),
                access,
                scope: Scope { tenant, product },
            })),
            // The error of serde_json would quote the secret.
            _ => {
                tracing::error!(
                    admin = name,
                    "the secret of an admin key is invalid: it must hold key, of 32 characters or more, and access, and can hold product and tenant"
                );
                Ok(None)
            }
        }
    }
}

/// An authenticated caller of the admin API.
#[derive(Clone, Debug)]
pub struct Administrator {
    name: Arc<str>,
    scope: Scope,
    access: Access,
    origin: String,
}

impl Administrator {
    async fn authenticated(parts: &Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let origin = gateway.origin(parts);
        let admin = match gateway.admin_keys.auth {
            AdminAuth::Iam => Self::signed(parts, origin)?,
            AdminAuth::Key => Self::by_key(parts, gateway, origin).await?,
        };
        let name = match gateway.admin_keys.auth {
            AdminAuth::Iam => without_person(&admin.name),
            AdminAuth::Key => admin.name.to_string(),
        };
        tracing::Span::current().record("admin", tracing::field::display(name));
        Ok(admin)
    }

    /// Authenticates the principal that API Gateway names. Without an authorizer, every request is refused.
    fn signed(parts: &Parts, origin: String) -> Result<Self, Error> {
        let Some(RequestContext::ApiGatewayV2(context)) = parts.extensions.get() else {
            return Err(Error::Unauthenticated { presented: false });
        };
        let iam = context.authorizer.as_ref().and_then(|by| by.iam.as_ref());
        let arn = iam.and_then(|iam| iam.user_arn.as_deref());
        Ok(Self {
            name: arn
                .ok_or(Error::Unauthenticated { presented: false })?
                .into(),
            scope: Scope::default(),
            access: Access::ReadWrite,
            origin,
        })
    }

    async fn by_key(parts: &Parts, gateway: &Gateway, origin: String) -> Result<Self, Error> {
        let token = bearer(parts).ok_or(Error::Unauthenticated { presented: false })?;
        let (name, key) = split_key(token).ok_or(Error::Unauthenticated { presented: true })?;
        let presented = digest(key);
        let accept = |known: &CachedAdminKey| {
            let same: bool = known.digest.ct_eq(&presented).into();
            same.then(|| (known.access, known.scope.clone()))
        };
        let name: Arc<str> = name.into();
        let keys = &gateway.admin_keys;
        let read = || keys.read(&name);
        let verified = keys
            .cache
            .get_or_refresh(name.clone(), gateway.now(), accept, read);
        let (access, scope) = verified.await?;
        Ok(Self {
            name,
            scope,
            access,
            origin,
        })
    }

    /// Returns the name of the key, or the ARN of the principal.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the scope: the directories that this caller can access.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns whether the caller may make changes.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.access == Access::ReadWrite
    }

    /// Returns the SCIM base URL of a directory, as an administrator enters it at the identity provider.
    #[must_use]
    pub fn scim_base_url(&self, directory: &Directory) -> String {
        let base_url = base_url(&self.origin, directory.id);
        match directory.provider {
            // With this flag, Entra sends PATCH requests that conform to RFC 7644 ("Flags to alter the SCIM behavior").
            Provider::Azure => format!("{base_url}?aadOptscim062020"),
            Provider::Okta
            | Provider::OneLogin
            | Provider::JumpCloud
            | Provider::PingOne
            | Provider::Generic
            | Provider::Other(_) => base_url,
        }
    }

    /// Reads a directory.
    ///
    /// # Errors
    ///
    /// Returns 404 for an unknown directory, and for one outside the scope of the caller.
    pub async fn directory(&self, gateway: &Gateway, id: &str) -> Result<Directory, Problem> {
        let missing = || Problem::not_found("directory");
        let id: DirectoryId = id.parse().map_err(|_| missing())?;
        let found = gateway.store().directory(id).await?;
        let found = found.filter(|directory| self.scope.has(directory));
        tracing::Span::current().record("directory.id", tracing::field::display(id));
        found.ok_or_else(missing)
    }

    /// Reads a directory that is not being deleted.
    ///
    /// # Errors
    ///
    /// Returns 404 as [`Self::directory`] does, and 409 for a directory that is being deleted.
    pub async fn standing(&self, gateway: &Gateway, id: &str) -> Result<Directory, Problem> {
        let directory = self.directory(gateway, id).await?;
        match directory.status {
            Status::Active | Status::Inactive | Status::Other(_) => Ok(directory),
            Status::Deleting => Err(directory::Error::Deleting.into()),
        }
    }

    /// Returns a SCIM caller that can read the resources of a directory, active or not.
    ///
    /// # Errors
    ///
    /// Returns 404 for a directory outside the scope of the caller.
    pub fn caller(&self, directory: Directory) -> Result<Caller, Problem> {
        if !self.scope.has(&directory) {
            return Err(Problem::not_found("directory"));
        }
        let base_url = base_url(&self.origin, directory.id);
        #[expect(clippy::disallowed_methods, reason = "this is the authentication")]
        Ok(Caller::authenticated(directory.into(), &base_url))
    }
}

/// Extracts a caller who may read.
pub struct Reader(pub Administrator);

impl FromRequestParts<Gateway> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        Administrator::authenticated(parts, gateway).await.map(Self)
    }
}

/// Extracts a caller who may make changes.
pub struct Writer(pub Administrator);

impl FromRequestParts<Gateway> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let admin = Administrator::authenticated(parts, gateway).await?;
        match admin.access {
            Access::ReadWrite => Ok(Self(admin)),
            Access::Read => Err(Problem::new(
                403,
                "This admin key is read-only. Use a key with the access read-write.",
            )),
        }
    }
}

/// Returns the ARN of a principal without personal data, for a log.
///
/// The name of a session or of a user is often an e-mail address. It is replaced by the beginning of its digest. Other names
/// are those of roles (AWS Identity and Access Management User Guide, "IAM identifiers").
fn without_person(arn: &str) -> String {
    let (account, resource) = arn.rsplit_once(':').unwrap_or(("", arn));
    let (kind, name) = match resource.rsplit_once('/') {
        Some((kind, name)) => (format!("{kind}/"), name),
        // The account itself.
        None if resource == "root" => return arn.to_owned(),
        None => (String::new(), resource),
    };
    let mut digest = hex::encode(digest(name));
    digest.truncate(12);
    format!("{account}:{kind}{digest}")
}

/// Splits an admin key into its name and its secret part.
fn split_key(token: &str) -> Option<(&str, &str)> {
    let (name, key) = token.strip_prefix(ADMIN_KEY_PREFIX)?.rsplit_once('_')?;
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.';
    let valid = !name.is_empty() && name.len() <= NAME_CHARS && name.chars().all(known);
    (valid && !key.is_empty()).then_some((name, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_in_a_log_has_no_name_of_a_session_or_user() {
        for (arn, begin) in [
            (
                "arn:aws:sts::1:assumed-role/Deploy/ann@example.com",
                "arn:aws:sts::1:assumed-role/Deploy/",
            ),
            (
                "arn:aws:iam::1:user/team/ann@example.com",
                "arn:aws:iam::1:user/team/",
            ),
            (
                "arn:aws:sts::1:federated-user/ann@example.com",
                "arn:aws:sts::1:federated-user/",
            ),
            ("ann@example.com", ":"),
        ] {
            let logged = without_person(arn);
            let digest = logged.strip_prefix(begin).unwrap();
            assert_eq!(digest.len(), 12, "{logged}");
            assert!(!logged.contains("ann"), "{logged}");
        }
        assert_eq!(without_person("arn:aws:iam::1:root"), "arn:aws:iam::1:root");
    }

    #[test]
    fn a_key_is_split_into_its_name_and_secret() {
        assert_eq!(split_key("rollcall_admin_ci_abc"), Some(("ci", "abc")));
        assert_eq!(
            split_key("rollcall_admin_crm.read_abc"),
            Some(("crm.read", "abc"))
        );
        for other in [
            "rollcall_abc",
            "rollcall_admin_abc",
            "rollcall_admin__abc",
            "rollcall_admin_ci_",
            "rollcall_admin_../x_abc",
            "rollcall_admin_a-b_abc",
            "rollcall_admin_CI_abc",
        ] {
            assert_eq!(split_key(other), None, "{other}");
        }
    }
}
