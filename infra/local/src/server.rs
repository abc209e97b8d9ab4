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

use crate::api::{self, described};
use crate::{Error, Stack};

/// A request that was answered, for whoever watches.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The method and the path, without the values of the query.
    pub request: String,
    /// The status answered.
    pub status: StatusCode,
    /// How long it took.
    pub took: Duration,
}

type Watcher = Arc<dyn Fn(&Exchange) + Send + Sync>;

/// Serves the stack until `stop` completes, and then finishes the requests that have begun.
pub async fn serve(
    stack: Stack,
    listener: TcpListener,
    watcher: impl Fn(&Exchange) + Send + Sync + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let watcher: Watcher = Arc::new(watcher);
    let app = Router::new().fallback(answer).with_state((stack, watcher));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await?;
    Ok(())
}

async fn answer(
    State((stack, watcher)): State<(Stack, Watcher)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    let started = Instant::now();
    let line = described(request.method(), request.uri());
    let (head, body) = request.into_parts();
    // One byte more than is allowed is enough for the gateway to refuse it.
    let response = match Limited::new(body, api::BODY).collect().await {
        Ok(body) => {
            let request = Request::from_parts(head, body.to_bytes());
            stack.handle_from(request, peer).await
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
