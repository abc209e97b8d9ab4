//! The listener in front of the local API Gateway.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::net::TcpListener;

use crate::api::{self, request_line};
use crate::{Error, Recorder, Stack};

/// A request with its status, for the output of the runner.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The method and the path, without the values of the query, which can be personal data.
    pub request: String,
    /// The status of the response.
    pub status: StatusCode,
    /// The time until the response.
    pub took: Duration,
}

type Watcher = Arc<dyn Fn(&Exchange) + Send + Sync>;

/// What responds to requests.
#[derive(Clone)]
pub enum Backend {
    /// A stack.
    Stack(Stack),
    /// A stack whose requests are recorded.
    Recorder(Arc<Recorder>),
}

impl From<Stack> for Backend {
    fn from(stack: Stack) -> Self {
        Backend::Stack(stack)
    }
}

/// Serves requests until `stop` completes, and then finishes the requests that have begun.
///
/// # Errors
///
/// Returns an error when the listener fails.
pub async fn serve(
    backend: impl Into<Backend>,
    listener: TcpListener,
    watcher: impl Fn(&Exchange) + Send + Sync + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let watcher: Watcher = Arc::new(watcher);
    let app = Router::new()
        .fallback(answer)
        .with_state((backend.into(), watcher));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await?;
    Ok(())
}

async fn answer(
    State((backend, watcher)): State<(Backend, Watcher)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    let started = Instant::now();
    let line = request_line(request.method(), request.uri());
    let (head, body) = request.into_parts();
    // Larger bodies are refused before the gateway reads them.
    let response = match Limited::new(body, api::BODY).collect().await {
        Ok(body) => {
            let request = Request::from_parts(head, body.to_bytes());
            match backend {
                Backend::Stack(stack) => stack.handle_from(request, peer).await,
                Backend::Recorder(recorder) => recorder.handle_from(request, peer).await,
            }
        }
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            api::message(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Err(_) => api::message(StatusCode::BAD_REQUEST),
    };
    watcher(&Exchange {
        request: line,
        status: response.status(),
        took: started.elapsed(),
    });
    response.map(|body: Bytes| Body::from(body))
}
