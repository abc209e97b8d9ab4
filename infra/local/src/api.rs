//! The local Amazon API Gateway: converts a request into the event of an HTTP API, and the response of a function into an HTTP
//! response.
//!
//! Both use `gateway::answer`, as in a deployment. The limits and their error bodies are those of API Gateway, because a client
//! meets them before any function.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use lambda_http::{Context, LambdaEvent};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::routes::{Match, Routes};
use crate::{Clock, random_id};

/// Maximum total size of the request line and the headers, in bytes.
const HEAD: usize = 10_240;
/// Maximum size of the body of a request, in bytes.
pub(crate) const BODY: usize = 10 * 1024 * 1024;
/// Maximum size of the event and of the response of a Lambda function, in bytes.
const PAYLOAD: usize = 6 * 1024 * 1024;

/// The HTTP API with its functions.
pub(crate) struct Api {
    pub(crate) routes: Routes,
    /// The routers by the logical ids of the functions.
    pub(crate) functions: HashMap<String, Router>,
    /// The host of the API, such as `127.0.0.1:8080`.
    pub(crate) domain: String,
    /// Time limit of a function.
    pub(crate) function_timeout: Duration,
    pub(crate) clock: Clock,
}

/// The response of a function in the format of API Gateway.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    cookies: Vec<String>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

impl Api {
    /// Responds to a request.
    pub(crate) async fn handle(
        &self,
        request: Request<Bytes>,
        peer: SocketAddr,
    ) -> Response<Bytes> {
        let id = random_id();
        let mut response = self
            .answer(request, peer, &id)
            .await
            .unwrap_or_else(message);
        if let Ok(id) = HeaderValue::from_str(&id) {
            response
                .headers_mut()
                .insert(HeaderName::from_static("apigw-requestid"), id);
        }
        response
    }

    async fn answer(
        &self,
        request: Request<Bytes>,
        peer: SocketAddr,
        id: &str,
    ) -> Result<Response<Bytes>, StatusCode> {
        if head_size(&request) > HEAD {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        if request.body().len() > BODY {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let (function, event) = self.routed(&request, peer, id)?;
        let function = self
            .functions
            .get(function)
            .ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        let event = event.to_string();
        if event.len() > PAYLOAD {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        // In a separate task, a panic is an error of the function only, as in AWS. A function that exceeds the time limit goes on
        // after the response, as in AWS.
        let call = tokio::spawn(invoke(function.clone(), event));
        let answer = tokio::time::timeout(self.function_timeout, call)
            .await
            .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?
            .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?
            .ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        response(request.method(), answer).ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the function of a request, and the event for it.
    pub(crate) fn routed(
        &self,
        request: &Request<Bytes>,
        peer: SocketAddr,
        id: &str,
    ) -> Result<(&str, Value), StatusCode> {
        let found = self
            .routes
            .find(request.method(), request.uri().path())
            .ok_or(StatusCode::NOT_FOUND)?;
        let event = self.event(request, &found, peer, id)?;
        let function = self.functions.get_key_value(&found.route.function);
        let (function, _) = function.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        Ok((function, event))
    }

    /// Returns the event of an HTTP API in payload format 2.0.
    fn event(
        &self,
        request: &Request<Bytes>,
        found: &Match<'_>,
        peer: SocketAddr,
        id: &str,
    ) -> Result<Value, StatusCode> {
        let path = percent_decode_str(request.uri().path())
            .decode_utf8()
            .map_err(|_| StatusCode::BAD_REQUEST)?;
        let query = request.uri().query().unwrap_or_default();
        let headers = self.headers(request, peer)?;
        // In AWS, only the hosts of the API reach this point. Locally it can be localhost, or the host of a tunnel.
        let host = text_of(&headers, "host");
        let now = (self.clock)();
        let mut event = json!({
            "version": "2.0",
            "routeKey": found.route.key,
            "rawPath": path,
            "rawQueryString": query,
            "headers": headers,
            "requestContext": {
                "accountId": "000000000000",
                "apiId": "local",
                "domainName": host,
                "domainPrefix": host.split(['.', ':']).next(),
                "http": {
                    "method": request.method().as_str(),
                    "path": path,
                    "protocol": protocol(request.version()),
                    "sourceIp": peer.ip().to_string(),
                    "userAgent": text_of(&headers, "user-agent"),
                },
                "requestId": id,
                "routeKey": found.route.key,
                "stage": "$default",
                "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
                "timeEpoch": now.as_millisecond(),
            },
            "isBase64Encoded": false,
        });
        let Value::Object(members) = &mut event else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let cookies = cookies(request.headers());
        if !cookies.is_empty() {
            members.insert("cookies".to_owned(), json!(cookies));
        }
        if !query.is_empty() {
            members.insert("queryStringParameters".to_owned(), parameters(query));
        }
        if !found.variables.is_empty() {
            members.insert("pathParameters".to_owned(), json!(found.variables));
        }
        if !request.body().is_empty() {
            let (body, encoded) = body(request.headers(), request.body());
            members.insert("body".to_owned(), json!(body));
            members.insert("isBase64Encoded".to_owned(), json!(encoded));
        }
        Ok(event)
    }

    /// Returns the headers of the event: names in lower case, repeated headers joined, without cookies, and with headers about the
    /// connection.
    fn headers(
        &self,
        request: &Request<Bytes>,
        peer: SocketAddr,
    ) -> Result<BTreeMap<String, String>, StatusCode> {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in request.headers() {
            if matches!(
                *name,
                header::COOKIE | header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE
            ) {
                continue;
            }
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|joined| {
                    joined.push(',');
                    joined.push_str(&value);
                })
                .or_insert_with(|| value.clone().into_owned());
        }
        let host =
            headers
                .entry("host".to_owned())
                .or_insert_with(|| match request.uri().authority() {
                    Some(authority) => authority.to_string(),
                    None => self.domain.clone(),
                });
        // In AWS, only the hosts of the API reach this point. Locally, any valid host does.
        if !is_host(host) {
            return Err(StatusCode::BAD_REQUEST);
        }
        let port = self
            .domain
            .rsplit_once(':')
            .map_or("80", |(_, port)| port)
            .to_owned();
        let client = peer.ip().to_string();
        headers
            .entry("x-forwarded-for".to_owned())
            .and_modify(|list| {
                list.push_str(", ");
                list.push_str(&client);
            })
            .or_insert(client);
        headers.insert("x-forwarded-port".to_owned(), port);
        // AWS only offers https. Locally, a tunnel in front of the runner sets this header.
        let proto = match text_of(&headers, "x-forwarded-proto") {
            "https" => "https",
            _ => "http",
        };
        headers.insert("x-forwarded-proto".to_owned(), proto.to_owned());
        Ok(headers)
    }
}

/// Calls a function as the Lambda runtime does, with the event and the response as JSON.
async fn invoke(function: Router, event: String) -> Option<Answer> {
    let payload = serde_json::from_str(&event).ok()?;
    let event = LambdaEvent::new(payload, Context::default());
    let Ok(answer) = gateway::answer(function, event).await;
    let json = serde_json::to_string(&answer).ok()?;
    if json.len() > PAYLOAD {
        return None;
    }
    serde_json::from_str(&json).ok()
}

fn response(method: &Method, answer: Answer) -> Option<Response<Bytes>> {
    let body = match (answer.body, answer.is_base64_encoded) {
        (None, _) => Bytes::new(),
        (Some(text), false) => Bytes::from(text),
        (Some(text), true) => Bytes::from(BASE64.decode(text).ok()?),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status_code).ok()?;
    for (name, value) in answer.headers {
        // The HTTP server sets the length, except for a HEAD, whose length is that of the body it does not have (RFC 9110 §8.6).
        let name = HeaderName::try_from(name).ok()?;
        if name != header::CONTENT_LENGTH || *method == Method::HEAD {
            let value = HeaderValue::try_from(value).ok()?;
            response.headers_mut().insert(name, value);
        }
    }
    for cookie in answer.cookies {
        let cookie = HeaderValue::try_from(cookie).ok()?;
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Some(response)
}

/// Returns an error of API Gateway.
pub(crate) fn message(status: StatusCode) -> Response<Bytes> {
    let text = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        status => status.canonical_reason().unwrap_or_default(),
    };
    let body = json!({"message": text}).to_string();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Returns the size of the request line and the headers, without separators, in bytes.
fn head_size<B>(request: &Request<B>) -> usize {
    let target = request
        .uri()
        .path_and_query()
        .map_or(1, |target| target.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1".len();
    let headers: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    line + headers
}

fn text_of<'a>(headers: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    headers.get(name).map(String::as_str).unwrap_or_default()
}

/// Returns whether a text is a host, with or without a port (RFC 9110 §7.2).
fn is_host(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else {
        return false;
    };
    let host = authority.host();
    let port = text.strip_prefix(host);
    let numbered = authority.port_u16().is_some();
    !host.is_empty() && port.is_some_and(|port| matches!(port, "" | ":") || numbered)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            value
                .split(';')
                .map(|cookie| cookie.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

/// Returns the decoded parameters of a query. Repeated ones are joined by commas.
fn parameters(query: &str) -> Value {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        joined
            .entry(name.into_owned())
            .and_modify(|values| {
                values.push(',');
                values.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    joined
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect::<Map<_, _>>()
        .into()
}

/// Returns the body as text, or as Base64 unless its type is one that API Gateway treats as text, and whether it is Base64.
///
/// `application/json` is treated as text, and `application/scim+json` is not.
fn body(headers: &HeaderMap, body: &[u8]) -> (String, bool) {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let textual = media_type.starts_with("text/")
        || matches!(
            media_type.as_str(),
            "application/json" | "application/xml" | "application/javascript"
        );
    let compressed = headers.contains_key(header::CONTENT_ENCODING);
    match std::str::from_utf8(body) {
        Ok(text) if textual && !compressed => (text.to_owned(), false),
        _ => (BASE64.encode(body), true),
    }
}

/// Returns the method, and the path without the values of its query, which can be personal data.
pub(crate) fn request_line(method: &Method, uri: &Uri) -> String {
    let mut line = format!("{method} {}", uri.path());
    for (index, pair) in uri.query().unwrap_or_default().split('&').enumerate() {
        let name = pair.split('=').next().unwrap_or_default();
        if !name.is_empty() {
            line.push(if index == 0 { '?' } else { '&' });
            line.push_str(name);
            line.push_str("=…");
        }
    }
    line
}
