//! The HTTP client of the commands: one request, one response, within a time limit. It does not follow redirects, keep cookies
//! or retry.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, Uri};
use reqwest::redirect::Policy;

use super::Failure;

/// Time limit of a request: as long as Okta waits (docs/okta.md), and longer than API Gateway.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum size of a response, in bytes. The limit of Lambda is 6 MB.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// An HTTP client. Clones share its connections.
#[derive(Clone)]
pub(super) struct Client(reqwest::Client);

/// A response of any status. Its body is decompressed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why a request has no response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The time limit was exceeded.
    TimedOut,
    /// The connection failed.
    Broken(String),
}

impl Client {
    /// Returns a client with a time limit for each request.
    pub(super) fn new(timeout: Duration) -> Result<Self, Failure> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .pool_idle_timeout(Duration::from_secs(20))
            .redirect(Policy::none())
            .no_proxy()
            .build();
        client
            .map(Client)
            .map_err(|error| Failure::Refused(format!("cannot set up TLS: {}", innermost(&error))))
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Answer, Unanswered> {
        let request = request.try_into().map_err(unanswered)?;
        let mut response = self.0.execute(request).await.map_err(unanswered)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(Unanswered::Broken(format!(
                    "the response is larger than {MAX_RESPONSE_BYTES} bytes"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
    }
}

fn unanswered(error: reqwest::Error) -> Unanswered {
    if error.is_timeout() {
        Unanswered::TimedOut
    } else {
        Unanswered::Broken(innermost(&error))
    }
}

/// Returns the last error of a chain, which is the one that a person needs: "Connection refused" of "error sending request:
/// client error (Connect): tcp connect error: Connection refused".
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Parses the URL of a stack: http or https, a host, and optionally a path.
pub(super) fn address(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("it must start with http:// or https://".to_owned());
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("it must not contain a user name or a password".to_owned());
    }
    if uri.query().is_some() {
        return Err("it must not have a query".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::super::fake::served;
    use super::*;

    fn request(url: &str) -> Request<Bytes> {
        Request::get(url).body(Bytes::new()).unwrap()
    }

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_credentials() {
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
    async fn compressed_responses_are_decompressed() {
        // {"a":1} and {"a":2}. RFC 9110 §8.4.1.2 calls the zlib format deflate.
        let gzip = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabVJT\xb22\xac\x05\0\xaf\xac\x1bV\x07\0\0\0";
        let deflate = b"x\x9c\xabVJT\xb22\xaa\x05\0\x08,\x02\n";
        let url = served(
            Router::new()
                .route(
                    "/gzip",
                    get(async || ([("content-encoding", "gzip")], &gzip[..])),
                )
                .route(
                    "/deflate",
                    get(async || ([("content-encoding", "deflate")], &deflate[..])),
                )
                .route(
                    "/broken",
                    get(async || ([("content-encoding", "gzip")], "{}")),
                ),
        )
        .await;
        let client = Client::new(TIMEOUT).unwrap();
        let body = async |path: &str| {
            let answer = client.send(request(&format!("{url}{path}"))).await;
            answer.map(|answer| answer.body)
        };
        assert_eq!(body("/gzip").await.unwrap(), "{\"a\":1}");
        assert_eq!(body("/deflate").await.unwrap(), "{\"a\":2}");
        assert!(matches!(body("/broken").await, Err(Unanswered::Broken(_))));
    }

    #[tokio::test]
    async fn a_refused_connection_is_distinguished_from_a_timeout() {
        let never = Router::new().route("/", get(std::future::pending::<()>));
        let url = served(never).await;
        let client = Client::new(Duration::from_millis(50)).unwrap();
        let answer = client.send(request(&url)).await;
        assert_eq!(answer.err(), Some(Unanswered::TimedOut));
        let answer = client.send(request("http://127.0.0.1:1")).await;
        let Err(Unanswered::Broken(reason)) = answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains("refused"), "{reason}");
    }
}
