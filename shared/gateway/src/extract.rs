//! Extractors: query parameters, paths and bodies, parsed before a handler runs.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use directory::ResourceId;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use scim::{Object, Projection, ResourceType, SearchRequest};

use crate::{Error, not_found};

/// Maximum size of the body of a SCIM request, in bytes. An event of Lambda has at most 6 MB (AWS Lambda Developer Guide,
/// "Lambda quotas").
pub const MAX_BODY_BYTES: usize = 5 * 1024 * 1024;

/// Maximum size of the body of a request to the admin API, in bytes.
pub const MAX_ADMIN_BODY_BYTES: usize = 64 * 1024;

/// The parameters of a query. Unknown parameters are ignored (H9).
///
/// Clients encode a space as `+`, as HTML forms do, or as `%20` (RFC 3986 §2.1). Clients that use `%20` often send a plus
/// sign unencoded. If a query contains `%20`, `+` is therefore a plus sign. Otherwise it is a space. `%2B` is always a plus
/// sign. A REST API of API Gateway decodes each `+` as a space beforehand. There, only `%2B` is a plus sign.
pub struct QueryParams(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for QueryParams {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri))
    }
}

impl QueryParams {
    fn of(uri: &Uri) -> Self {
        let mut query = Cow::from(uri.query().unwrap_or_default());
        if query.contains("%20") {
            query = query.replace('+', "%2B").into();
        }
        let pairs = form_urlencoded::parse(query.as_bytes());
        let owned = pairs.map(|(name, value)| (Cow::into_owned(name), Cow::into_owned(value)));
        Self(owned.collect())
    }

    /// Returns the names of the parameters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the value of a SCIM parameter. An empty value counts as absent, as in a [`SearchRequest`].
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        self.get(name)
            .filter(|value| !SearchRequest::is_empty_value(value))
    }

    /// Returns the attributes that `attributes` and `excludedAttributes` select.
    ///
    /// # Errors
    ///
    /// Returns 400 `invalidSyntax` for an attribute that cannot be parsed.
    pub fn projection(&self, ty: &ResourceType) -> Result<Projection, Error> {
        Ok(Projection::parse(
            self.get("attributes"),
            self.get("excludedAttributes"),
            ty,
        )?)
    }
}

/// A query for resources: the query of a GET, or the body of a POST, which can be longer than a URL (RFC 7644 §3.4.2,
/// §3.4.3, Q1).
pub struct ListQuery(pub SearchRequest);

impl<S: Send + Sync> FromRequest<S> for ListQuery {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        if request.method() == Method::POST {
            let ScimJson(body) = ScimJson::from_request(request, state).await?;
            return Ok(Self(SearchRequest::from_body(body)?));
        }
        let params = QueryParams::of(request.uri());
        Ok(Self(SearchRequest::from_query(|name| params.get(name))?))
    }
}

/// The path parameters of a resource: the id of the directory and the id of the resource.
pub type ResourcePath = Path<(String, String)>;

/// Parses the id of a resource of type `ty`.
///
/// # Errors
///
/// Returns 404 for an id that is not a UUID, because no resource has it.
pub fn parse_id(ty: &ResourceType, id: &str) -> Result<ResourceId, Error> {
    id.parse().map_err(|_| not_found(&ty.name, id))
}

/// A JSON object as the body of a request.
pub struct ScimJson(pub Object);

impl<S: Send + Sync> FromRequest<S> for ScimJson {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let JsonBytes(bytes) = JsonBytes::<MAX_BODY_BYTES>::from_request(request, state).await?;
        Ok(Self(scim::json::parse(&bytes)?))
    }
}

/// Rejects a body with a content coding such as gzip, because no function decodes one (RFC 9110 §8.4, §15.5.16).
///
/// # Errors
///
/// Returns 415.
pub fn reject_content_coding(headers: &HeaderMap) -> Result<(), Error> {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let mut names = codings.flat_map(|codings| codings.as_bytes().split(|byte| *byte == b','));
    if names.all(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(Error::ContentCoding)
    }
}

/// A body with a JSON media type, not parsed, of at most `MAX` bytes.
pub struct JsonBytes<const MAX: usize>(pub Bytes);

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for JsonBytes<MAX> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        if let Some(media_type) = request.headers().get(CONTENT_TYPE) {
            let media_type = media_type.to_str().unwrap_or_default();
            let essence = media_type.split(';').next().unwrap_or_default().trim();
            if !["application/scim+json", "application/json"]
                .iter()
                .any(|known| essence.eq_ignore_ascii_case(known))
            {
                return Err(scim::Error::new(
                    415,
                    None,
                    "The Content-Type must be application/scim+json or application/json.",
                )
                .into());
            }
        }
        reject_content_coding(request.headers())?;
        // A body that is larger than the limit of the router is an error here.
        match Bytes::from_request(request, state).await {
            Ok(bytes) if bytes.len() <= MAX => Ok(Self(bytes)),
            Ok(_) | Err(_) => {
                Err(
                    scim::Error::new(413, None, format!("The body is larger than {MAX} bytes."))
                        .into(),
                )
            }
        }
    }
}
