//! The HTTP client: one request, one answer, within a time. No redirects, no cookies, no retries: who calls decides.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::{GzDecoder, ZlibDecoder};
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

use super::Failure;

/// How long an answer may take: as long as Okta waits (docs/okta.md), and longer than API Gateway.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer that is read. Lambda's own limit is 6 MB.
const LONGEST: usize = 64 * 1024 * 1024;

#[derive(Clone)]
pub(super) struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    patience: Duration,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Not within the time.
    TimedOut,
    /// No connection, or one that broke.
    Broken(String),
}

impl Client {
    /// A client for addresses such as `url`.
    pub(super) fn new(url: &str, patience: Duration) -> Result<Self, Failure> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = HttpsConnectorBuilder::new();
        let builder = match builder.with_provider_and_native_roots(provider.clone()) {
            Ok(builder) => builder,
            // Plain HTTP, on one machine, needs no roots.
            Err(_) if !url.starts_with("https://") => {
                let tls = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|error| Failure::Refused(format!("cannot set up TLS: {error}")))?
                    .with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(tls)
            }
            Err(error) => {
                return Err(Failure::Refused(format!(
                    "this machine's root certificates cannot be read: {error}"
                )));
            }
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // A request is written at once and waits for nothing: what is measured is the answer.
        tcp.set_nodelay(true);
        let builder = builder.https_or_http().enable_http1();
        let connector = builder.wrap_connector(tcp);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Ok(Client { inner, patience })
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Answer, Unanswered> {
        tokio::time::timeout(self.patience, self.exchange(request))
            .await
            .map_err(|_| Unanswered::TimedOut)?
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Answer, Unanswered> {
        let answer = self.inner.request(request.map(Full::new)).await;
        let (head, body) = answer
            .map_err(|error| Unanswered::Broken(innermost(&error)))?
            .into_parts();
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body
            .map_err(|error| Unanswered::Broken(innermost(error.as_ref())))?
            .to_bytes();
        let body = decoded(&head.headers, body)
            .map_err(|error| Unanswered::Broken(format!("the body cannot be unpacked: {error}")))?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

/// The body as it was before `Content-Encoding`. `deflate` is what RFC 9110 §8.4.1.2 calls so, with zlib's frame.
fn decoded(headers: &HeaderMap, body: Bytes) -> std::io::Result<Bytes> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    let mut reader: Box<dyn Read + '_> = match encoding.map(|name| name.as_bytes()) {
        Some(b"gzip") => Box::new(GzDecoder::new(&*body)),
        Some(b"deflate") => Box::new(ZlibDecoder::new(&*body)),
        _ => return Ok(body),
    };
    let mut decoded = vec![];
    reader
        .by_ref()
        .take(LONGEST as u64)
        .read_to_end(&mut decoded)?;
    drop(reader);
    Ok(decoded.into())
}

/// What an error comes from: of "client error (Connect): tcp connect error: Connection refused" the last part is what
/// a person needs.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Reads an address that requests go to: http or https, a host, perhaps a path, and nothing else.
pub(super) fn address(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|_| "it is no URL".to_owned())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("it must start with http:// or https://".to_owned());
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("it must not hold a user name or a password".to_owned());
    }
    if uri.query().is_some() {
        return Err("it must end before the ?".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::Router;
    use axum::routing::get;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::super::fake::served;
    use super::*;

    fn request(url: &str) -> Request<Bytes> {
        Request::get(url).body(Bytes::new()).unwrap()
    }

    #[test]
    fn addresses_have_a_scheme_and_a_host_and_no_secret() {
        assert_eq!(address("http://h:1/scim/").unwrap(), "http://h:1/scim");
        for wrong in [
            "",
            "h:1",
            "h",
            "ftp://h",
            "/a",
            "https://u:p@h",
            "http://h/?a=1",
            "http://",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn packed_answers_are_unpacked() {
        let mut gzip = GzEncoder::new(vec![], Compression::default());
        gzip.write_all(b"{\"a\":1}").unwrap();
        let gzip = gzip.finish().unwrap();
        let mut deflate = ZlibEncoder::new(vec![], Compression::default());
        deflate.write_all(b"{\"a\":2}").unwrap();
        let deflate = deflate.finish().unwrap();
        let url = served(
            Router::new()
                .route(
                    "/gzip",
                    get(async || ([("content-encoding", "gzip")], gzip)),
                )
                .route(
                    "/deflate",
                    get(async || ([("content-encoding", "deflate")], deflate)),
                )
                .route(
                    "/broken",
                    get(async || ([("content-encoding", "gzip")], "{}")),
                ),
        )
        .await;
        let client = Client::new(&url, PATIENCE).unwrap();
        let body = async |path: &str| {
            let answer = client.send(request(&format!("{url}{path}"))).await;
            answer.map(|answer| answer.body)
        };
        assert_eq!(body("/gzip").await.unwrap(), "{\"a\":1}");
        assert_eq!(body("/deflate").await.unwrap(), "{\"a\":2}");
        assert!(matches!(body("/broken").await, Err(Unanswered::Broken(_))));
    }

    #[tokio::test]
    async fn nobody_there_and_nobody_answering_are_told_apart() {
        let never = Router::new().route("/", get(std::future::pending::<()>));
        let url = served(never).await;
        let client = Client::new(&url, Duration::from_millis(50)).unwrap();
        let answer = client.send(request(&url)).await;
        assert_eq!(answer.err(), Some(Unanswered::TimedOut));
        let answer = client.send(request("http://127.0.0.1:1")).await;
        let Err(Unanswered::Broken(reason)) = answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains("refused"), "{reason}");
    }
}
