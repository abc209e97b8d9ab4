//! Who calls the admin API: the holder of an admin key, or a principal of AWS.
//!
//! A key is a secret of its own, `{prefix}admin/{name}`, which holds
//! `{"key": "…", "access": "read" | "read-write"}` and, if it is not for
//! everything, `"product"`, `"tenant"`, or both. What is sent is
//! `rollcall_admin_{name}_{key}`, so one look-up finds it, and many are good at
//! once. Where API Gateway checks signatures instead (SigV4), the principal that
//! it names may do everything, and policies of IAM say who gets so far.

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
use crate::{Error, Gateway, Rest, secret};

/// How every admin key begins, so that secret scanners know it.
pub const ADMIN_KEY_PREFIX: &str = "rollcall_admin_";
/// What stands before a key's name in the name of its secret.
pub const ADMIN_SECRETS: &str = "admin/";
/// What a key has at least, in characters: it is not to be guessed.
const KEY_CHARS: usize = 32;
/// The longest name of a key.
const NAME_CHARS: usize = 64;

/// How callers of the admin API prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminAuth {
    /// By a key.
    #[default]
    Key,
    /// By the signature that API Gateway has checked.
    Iam,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Access {
    Read,
    ReadWrite,
}

/// What the secret of a key holds. A member that is not known is not passed
/// over: it could be a scope, misspelt.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    key: String,
    access: Access,
    product: Option<String>,
    tenant: Option<String>,
}

/// A key, as a process keeps it.
struct Known {
    digest: Digest,
    access: Access,
    scope: Scope,
}

/// The keys that this process has met.
pub(crate) struct Admins {
    auth: AdminAuth,
    secrets: Client,
    prefix: String,
    fresh: SecretCache<Arc<str>, Known>,
}

impl Admins {
    pub(crate) fn new(secrets: Client, secret_prefix: &str, auth: AdminAuth, rest: Rest) -> Self {
        Self {
            auth,
            secrets,
            prefix: format!("{secret_prefix}{ADMIN_SECRETS}"),
            // Whether there is a key of a name is a call of Secrets Manager.
            fresh: SecretCache::slow_for_strangers(rest),
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Known>, Error> {
        let name_of_secret = format!("{}{name}", self.prefix);
        let asked = self.secrets.get_secret_value().secret_id(name_of_secret);
        let Some(version) = secret::read(asked).await? else {
            return Ok(None);
        };
        match serde_json::from_str(version.secret_string().unwrap_or_default()) {
            Ok(Secret {
                key,
                access,
                product,
                tenant,
            }) if key.chars().count() >= KEY_CHARS => Ok(Some(Known {
                digest: digest(&key),
                access,
                scope: Scope { tenant, product },
            })),
            // The error of serde_json would quote the secret.
            _ => {
                tracing::error!(
                    admin = name,
                    "the secret of an admin key is none: it holds key, of 32 characters or more, access, and perhaps product and tenant"
                );
                Ok(None)
            }
        }
    }
}

/// Who calls the admin API. Only the authentication makes one.
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
        let admin = match gateway.admins.auth {
            AdminAuth::Iam => Self::signed(parts, origin)?,
            AdminAuth::Key => Self::by_key(parts, gateway, origin).await?,
        };
        let name = match gateway.admins.auth {
            AdminAuth::Iam => without_person(&admin.name),
            AdminAuth::Key => admin.name.to_string(),
        };
        tracing::Span::current().record("admin", tracing::field::display(name));
        Ok(admin)
    }

    /// The principal that API Gateway names. Without one there is no authorizer, and nobody gets in.
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
        let (name, key) = named(token).ok_or(Error::Unauthenticated { presented: true })?;
        let shown = digest(key);
        let accept = |known: &Known| {
            let same: bool = known.digest.ct_eq(&shown).into();
            same.then(|| (known.access, known.scope.clone()))
        };
        let name: Arc<str> = name.into();
        let admins = &gateway.admins;
        let read = || admins.read(&name);
        let verified = admins
            .fresh
            .verify(name.clone(), gateway.now(), accept, read);
        let (access, scope) = verified.await?;
        Ok(Self {
            name,
            scope,
            access,
            origin,
        })
    }

    /// The name of the key, or of the principal.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which directories there are for it.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether it may change things.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.access == Access::ReadWrite
    }

    /// The SCIM base URL of a directory, as its provider has to be told it.
    #[must_use]
    pub fn scim_base_url(&self, directory: &Directory) -> String {
        let base_url = base_url(&self.origin, directory.id);
        match directory.provider {
            // Entra then sends PATCH as RFC 7644 has it ("Flags to alter the SCIM behavior").
            Provider::Azure => format!("{base_url}?aadOptscim062020"),
            Provider::Okta
            | Provider::OneLogin
            | Provider::JumpCloud
            | Provider::PingOne
            | Provider::Generic
            | Provider::Other(_) => base_url,
        }
    }

    /// The directory of that id. One that is for others is not there.
    ///
    /// # Errors
    ///
    /// 404.
    pub async fn directory(&self, gateway: &Gateway, id: &str) -> Result<Directory, Problem> {
        let missing = || Problem::not_found("directory");
        let id: DirectoryId = id.parse().map_err(|_| missing())?;
        let found = gateway.store().directory(id).await?;
        let found = found.filter(|directory| self.scope.has(directory));
        tracing::Span::current().record("directory.id", tracing::field::display(id));
        found.ok_or_else(missing)
    }

    /// The same, unless it is being deleted.
    ///
    /// # Errors
    ///
    /// 404, 409.
    pub async fn standing(&self, gateway: &Gateway, id: &str) -> Result<Directory, Problem> {
        let directory = self.directory(gateway, id).await?;
        match directory.status {
            Status::Active | Status::Inactive | Status::Other(_) => Ok(directory),
            Status::Deleting => Err(directory::Error::Deleting.into()),
        }
    }

    /// What reads the resources of a directory, be it active or not.
    ///
    /// # Errors
    ///
    /// 404, when it is for others.
    pub fn caller(&self, directory: Directory) -> Result<Caller, Problem> {
        if !self.scope.has(&directory) {
            return Err(Problem::not_found("directory"));
        }
        let base_url = base_url(&self.origin, directory.id);
        #[expect(clippy::disallowed_methods, reason = "this is the authentication")]
        Ok(Caller::authenticated(directory.into(), &base_url))
    }
}

/// Somebody who may read.
pub struct Reader(pub Administrator);

impl FromRequestParts<Gateway> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        Administrator::authenticated(parts, gateway).await.map(Self)
    }
}

/// Somebody who may change things.
pub struct Writer(pub Administrator);

impl FromRequestParts<Gateway> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let admin = Administrator::authenticated(parts, gateway).await?;
        match admin.access {
            Access::ReadWrite => Ok(Self(admin)),
            Access::Read => Err(Problem::new(403, "This admin key may read only.")),
        }
    }
}

/// The ARN of a principal for a log: the name of a session or of a user, which is often an e-mail address, stands there as
/// the beginning of its digest. Other names are those of roles ("IAM identifiers", AWS Identity and Access Management).
fn without_person(arn: &str) -> String {
    let (account, resource) = arn.rsplit_once(':').unwrap_or(("", arn));
    let (kind, name) = match resource.rsplit_once('/') {
        Some((kind, name)) => (format!("{kind}/"), name),
        // The account itself.
        None if resource == "root" => return arn.to_owned(),
        None => (String::new(), resource),
    };
    let digest: String = digest(name)
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{account}:{kind}{digest}")
}

/// The name and the secret part of an admin key.
fn named(token: &str) -> Option<(&str, &str)> {
    let (name, key) = token.strip_prefix(ADMIN_KEY_PREFIX)?.rsplit_once('_')?;
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.';
    let named = !name.is_empty() && name.len() <= NAME_CHARS && name.chars().all(known);
    (named && !key.is_empty()).then_some((name, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_log_has_the_name_of_a_session_or_a_user() {
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
    fn a_key_has_a_name() {
        assert_eq!(named("rollcall_admin_ci_abc"), Some(("ci", "abc")));
        assert_eq!(
            named("rollcall_admin_crm.read_abc"),
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
            assert_eq!(named(other), None, "{other}");
        }
    }
}
