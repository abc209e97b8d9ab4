//! The HTTP client of Okta: its headers, its time limit, and its waits after a 429 (docs/okta.md).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use indicatif::ProgressBar;
use tokio::sync::watch;

use super::super::Failure;
use super::super::client::{Answer, Client, TIMEOUT, Unanswered};
use super::plan::OperationKind;
use super::report::{Record, lock};
use super::requests::{Call, Endpoint};

/// First wait after a 429 without `Retry-After`. It doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(5 * 60);
/// Time limit of the first `GET /Groups`, cold start included. A longer time fails the test that an integration must pass
/// (docs/okta.md).
const GROUPS: Duration = Duration::from_millis(600);
/// Number of retries.
const RETRIES: u32 = 10;

pub(super) struct Okta<'a> {
    client: Client,
    base: &'a str,
    authorization: HeaderValue,
    /// Maximum wait after a 429, if it is less than that of Okta.
    longest: Option<Duration>,
    rate: Option<Rate>,
    stop: watch::Receiver<bool>,
    record: &'a Record,
    progress: &'a ProgressBar,
}

/// Ctrl-C was pressed, and nothing more is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

/// A limit of requests per second, over all lanes.
struct Rate {
    every: Duration,
    next: Mutex<Instant>,
}

impl<'a> Okta<'a> {
    pub(super) fn new(
        base: &'a str,
        token: &str,
        longest: Option<Duration>,
        rate: Option<f64>,
        stop: watch::Receiver<bool>,
        record: &'a Record,
        progress: &'a ProgressBar,
    ) -> Result<Self, Failure> {
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                Failure::Usage("the token has characters that a token cannot have".into())
            })?;
        authorization.set_sensitive(true);
        Ok(Okta {
            client: Client::new(TIMEOUT)?,
            base,
            authorization,
            longest,
            rate: rate.map(|rate| Rate {
                every: Duration::from_secs_f64(1.0 / rate),
                next: Mutex::new(Instant::now()),
            }),
            stop,
            record,
            progress,
        })
    }

    /// Sends a request, retries it after a 429, and records each response.
    pub(super) async fn send(
        &self,
        operation: OperationKind,
        call: &Call,
    ) -> Result<Result<Answer, Unanswered>, Stopped> {
        let mut pause = FIRST_WAIT;
        let mut tries = 0;
        loop {
            if let Some(rate) = &self.rate {
                self.wait(rate.turn()).await?;
            }
            let begun = Instant::now();
            let answer = match self.request(call) {
                Ok(request) => self.client.send(request).await,
                Err(error) => Err(Unanswered::Broken(error.to_string())),
            };
            let took = begun.elapsed();
            self.record.answered(operation, &answer, took);
            self.warn_if_slow(operation, call, took);
            let throttled = match &answer {
                Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => answer,
                _ => return Ok(answer),
            };
            if tries == RETRIES {
                return Ok(answer);
            }
            tries += 1;
            let wait = retry_after(throttled).unwrap_or_else(|| {
                let wait = pause;
                pause *= 2;
                wait
            });
            let wait = self.longest.map_or(wait, |longest| wait.min(longest));
            self.record.waited(wait);
            self.progress
                .set_prefix(format!("429: waiting {} s", wait.as_secs()));
            self.wait(wait).await?;
            self.progress.set_prefix("");
        }
    }

    fn warn_if_slow(&self, operation: OperationKind, call: &Call, took: Duration) {
        let first =
            operation == OperationKind::Import && *call == Call::import(Endpoint::Groups, 1);
        if first && took > GROUPS {
            self.record.warned(format!(
                "GET /Groups took {} ms, and Okta's test wants an answer within {} ms",
                took.as_millis(),
                GROUPS.as_millis()
            ));
        }
    }

    async fn wait(&self, time: Duration) -> Result<(), Stopped> {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            _ = stop.wait_for(|stopped| *stopped) => Err(Stopped),
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Bytes>, http::Error> {
        let request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.base, call.target))
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::USER_AGENT, "Okta SCIM Client 1.0.0")
            .header(header::ACCEPT, "application/scim+json")
            .header(header::ACCEPT_CHARSET, "utf-8")
            .header(header::ACCEPT_ENCODING, "gzip,deflate");
        match &call.body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/scim+json; charset=utf-8")
                .body(body.to_string().into()),
            None => request.body(Bytes::new()),
        }
    }
}

impl Rate {
    /// Returns the time until the next request may be sent.
    fn turn(&self) -> Duration {
        let now = Instant::now();
        let mut next = lock(&self.next);
        let turn = (*next).max(now);
        *next = turn + self.every;
        turn - now
    }
}

/// Returns `Retry-After` in seconds. Okta does not read a date (A8).
fn retry_after(answer: &Answer) -> Option<Duration> {
    let value = answer.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::routing::any;
    use http::HeaderMap;
    use serde_json::json;

    use super::super::super::fake::served;
    use super::*;

    fn okta<'a>(
        base: &'a str,
        record: &'a Record,
        progress: &'a ProgressBar,
        longest: u64,
    ) -> Okta<'a> {
        let (sender, stop) = watch::channel(false);
        // Nobody presses Ctrl-C.
        std::mem::forget(sender);
        Okta::new(
            base,
            "t",
            Some(Duration::from_millis(longest)),
            None,
            stop,
            record,
            progress,
        )
        .unwrap()
    }

    /// The headers of every request.
    #[tokio::test]
    async fn the_headers_are_oktas() {
        async fn check(method: http::Method, headers: HeaderMap, body: Bytes) {
            let one = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(one("user-agent"), Some("Okta SCIM Client 1.0.0"));
            assert_eq!(one("accept"), Some("application/scim+json"));
            assert_eq!(one("accept-charset"), Some("utf-8"));
            assert_eq!(one("accept-encoding"), Some("gzip,deflate"));
            assert_eq!(one("authorization"), Some("Bearer t"));
            let content_type = match method {
                http::Method::GET => None,
                _ => Some("application/scim+json; charset=utf-8"),
            };
            assert_eq!(one("content-type"), content_type);
            assert_eq!(body.is_empty(), content_type.is_none());
        }
        let url = served(Router::new().fallback(any(check))).await;
        let record = Record::default();
        let progress = ProgressBar::hidden();
        let okta = okta(&url, &record, &progress, 1);
        for call in [
            Call::test_credentials(),
            Call::patch_user("u1", json!({"active": true})),
        ] {
            let answer = okta
                .send(OperationKind::Assign, &call)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(answer.status, 200);
        }
    }

    /// Only a 429 is tried again, ten times, and a date in `Retry-After` is not read.
    #[tokio::test]
    async fn a_429_is_tried_again_and_nothing_else() {
        for (status, retry_after, tries, waited) in [
            (429, "0", 11, Duration::ZERO),
            (
                429,
                "Fri, 31 Dec 1999 23:59:59 GMT",
                11,
                Duration::from_millis(10),
            ),
            (503, "0", 1, Duration::ZERO),
            (500, "0", 1, Duration::ZERO),
        ] {
            let asked = Arc::new(AtomicUsize::new(0));
            let count = asked.clone();
            let answer = async move || {
                count.fetch_add(1, Ordering::Relaxed);
                let status = StatusCode::from_u16(status).unwrap();
                (status, [("retry-after", retry_after)], "{}")
            };
            let url = served(Router::new().fallback(any(answer))).await;
            let record = Record::default();
            let progress = ProgressBar::hidden();
            let okta = okta(&url, &record, &progress, 1);
            let answer = okta
                .send(OperationKind::Import, &Call::test_credentials())
                .await;
            assert_eq!(answer.unwrap().unwrap().status, status);
            assert_eq!(asked.load(Ordering::Relaxed), tries, "{status}");
            assert_eq!(record.time_waited(), waited, "{status}");
        }
    }

    /// The first `GET /Groups` has a time limit.
    #[tokio::test]
    async fn a_slow_list_of_groups_is_warned_of() {
        let slow = async || tokio::time::sleep(GROUPS + Duration::from_millis(1)).await;
        let url = served(Router::new().fallback(any(slow))).await;
        let record = Record::default();
        let progress = ProgressBar::hidden();
        let okta = okta(&url, &record, &progress, 1);
        for call in [
            Call::import(Endpoint::Users, 1),
            Call::import(Endpoint::Groups, 1),
        ] {
            let answer = okta.send(OperationKind::Import, &call).await;
            assert_eq!(answer.unwrap().unwrap().status, 200);
        }
        let warnings = record.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("GET /Groups took "));
    }

    #[tokio::test]
    async fn a_wait_ends_with_ctrl_c() {
        let busy = async || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")]);
        let url = served(Router::new().fallback(any(busy))).await;
        let record = Record::default();
        let (sender, stop) = watch::channel(false);
        let progress = ProgressBar::hidden();
        let okta = Okta::new(&url, "t", None, None, stop, &record, &progress).unwrap();
        let call = Call::test_credentials();
        let sent = okta.send(OperationKind::Import, &call);
        let press = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            sender.send(true).unwrap();
        };
        assert_eq!(tokio::join!(sent, press).0.err(), Some(Stopped));
    }

    #[test]
    fn requests_take_turns() {
        let rate = Rate {
            every: Duration::from_secs(10),
            next: Mutex::new(Instant::now()),
        };
        assert_eq!(rate.turn(), Duration::ZERO);
        let second = rate.turn();
        assert!(second > Duration::from_secs(9) && second <= Duration::from_secs(10));
    }
}
