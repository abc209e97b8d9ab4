//! Converts the event of API Gateway into the request for the router of a function.
//!
//! `lambda_http` puts the path of an event into a URL and parses that URL. An HTTP API has already decoded the path (Amazon
//! API Gateway Developer Guide, "Working with AWS Lambda proxy integrations for HTTP APIs"), so the second parser would take
//! data for syntax: `%3F` would begin a query, `%23` a fragment, and `..` would name another path. `lambda_http` also panics
//! at a `Host` or a query that cannot be part of a URL. This module therefore builds the request, and uses `lambda_http` for
//! the response and for the request context.
//!
//! Rules for every event:
//!
//! - Each segment of the path is encoded (RFC 3986 §2.2), and the router decodes it once. The data of a segment stays in that
//!   segment.
//! - A path with a segment `.` or `..` is invalid. API Gateway has chosen the function, and checked the signature if there is
//!   one, by the path as it was sent. The request must not reach another path afterwards.
//! - Several slashes count as one, for a base URL that was entered with a slash at its end. This does not apply where API
//!   Gateway has checked a signature, because IAM policies apply to the path as it was sent.
//! - An HTTP API does not show whether `a/b` was sent as `a%2Fb`. No id contains a slash, so both mean the resource `b` below
//!   `a`, or no resource. The request is invalid if the variables of the route show that API Gateway matched another path.
//! - The router of the function responds 400 to an event that cannot be a request, in its own format and with its log line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use lambda_http::aws_lambda_events::apigw::{
    ApiGatewayProxyRequest, ApiGatewayProxyRequestContext, ApiGatewayV2httpRequest,
    ApiGatewayV2httpRequestContext,
};
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::{Adapter, LambdaEvent, RequestExt, Service, lambda_runtime, service_fn};
use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode,
};
use serde::{Deserialize, Serialize};

/// The characters that are encoded in a segment of a path: all but the unreserved characters, the sub-delimiters, `:` and
/// `@` (RFC 3986 §3.3).
const IN_SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The characters that are encoded in a query (RFC 3986 §3.4). `%` is not, because the query is encoded already.
const IN_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The characters that are encoded in the name and the value of a parameter: all but the unreserved characters. A space is
/// `%20`, so that it is not taken for a plus sign.
const IN_PARAMETER: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Runs a Lambda function: responds to events until the process ends.
///
/// # Errors
///
/// Returns an error when the Lambda Runtime API cannot be reached.
pub async fn run(router: Router) -> Result<(), lambda_http::Error> {
    lambda_runtime::run(service_fn(move |event| answer(router.clone(), event))).await
}

/// Returns the response of a function to an event, in the format of API Gateway. It does not panic, whatever the event.
///
/// # Errors
///
/// It returns no error.
pub async fn answer(
    mut router: Router,
    event: LambdaEvent<ApiEvent>,
) -> Result<impl Serialize + fmt::Debug + Send, Infallible> {
    let LambdaEvent { payload, context } = event;
    // An empty event tells `lambda_http` the payload format of the response.
    let empty = match &payload.0 {
        Format::V2(_) => LambdaRequest::ApiGatewayV2(ApiGatewayV2httpRequest::default()),
        Format::V1(_) => LambdaRequest::ApiGatewayV1(ApiGatewayProxyRequest::default()),
    };
    let mut request = payload.into_request();
    let service =
        service_fn(move |_: lambda_http::Request| router.call(std::mem::take(&mut request)));
    // The adapter is not `Send`, so it is dropped before the first await.
    let call = Adapter::from(service).call(LambdaEvent::new(empty, context));
    call.await
}

/// The reason why an event cannot be a request, as the detail of a 400. The fallback of the router responds with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidEvent(pub(crate) String);

impl InvalidEvent {
    fn new(detail: impl Into<String>) -> Self {
        Self(detail.into())
    }
}

/// An event of API Gateway in one of its two payload formats.
#[derive(Debug, Deserialize)]
pub struct ApiEvent(Format);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Format {
    /// Format 2.0, of an HTTP API.
    V2(Box<V2>),
    /// Format 1.0, of a REST API, and of an HTTP API that is configured for it.
    V1(Box<V1>),
}

/// Payload format 2.0. The path is decoded, the query is not, and repeated headers are joined.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct V2 {
    raw_path: String,
    raw_query_string: Option<String>,
    route_key: Option<String>,
    path_parameters: Option<BTreeMap<String, String>>,
    headers: Option<BTreeMap<String, String>>,
    cookies: Option<Vec<String>>,
    request_context: ApiGatewayV2httpRequestContext,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// Payload format 1.0. The query is decoded, and each `+` became a space. A REST API sends no `version` and does not decode
/// the path. An HTTP API sends a `version` and decodes the path.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct V1 {
    version: Option<String>,
    http_method: String,
    path: String,
    headers: Option<BTreeMap<String, String>>,
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    query_string_parameters: Option<BTreeMap<String, String>>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Vec<String>>>,
    request_context: ApiGatewayProxyRequestContext,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

impl ApiEvent {
    /// Returns the request for the router. An invalid event becomes a request without a path, with [`InvalidEvent`] as an
    /// extension.
    fn into_request(self) -> Request<Body> {
        let (context, method, path, headers, request) = match self.0 {
            Format::V2(event) => {
                let method = event.request_context.http.method.clone();
                let context = RequestContext::ApiGatewayV2(event.request_context.clone());
                let path = event.path().to_owned();
                (context, Ok(method), path, event.headers(), event.request())
            }
            Format::V1(event) => {
                let method = Method::from_bytes(event.http_method.as_bytes());
                let method = method.map_err(|_| InvalidEvent::new("The method is not a token."));
                let context = RequestContext::ApiGatewayV1(event.request_context.clone());
                let path = event.path().to_owned();
                (context, method, path, event.headers(), event.request())
            }
        };
        // An invalid event keeps its method for the log, and its headers for the media type of the response.
        let named = method.clone().unwrap_or_default();
        let (headers, read) = match headers {
            Ok(headers) => (headers, Ok(())),
            Err(invalid) => (HeaderMap::new(), Err(invalid)),
        };
        let mut request = match method.and(read).and(request) {
            Ok(request) => request,
            Err(invalid) => {
                let mut request = Request::default();
                request.extensions_mut().insert(invalid);
                request
            }
        };
        *request.method_mut() = named;
        *request.headers_mut() = headers;
        request.extensions_mut().insert(context);
        request.with_raw_http_path(path)
    }
}

impl V2 {
    /// Returns the path without the name of the stage.
    fn path(&self) -> &str {
        without_stage(&self.raw_path, self.request_context.stage.as_deref())
    }

    fn request(self) -> Result<Request<Body>, InvalidEvent> {
        if !self.is_routed() {
            return Err(InvalidEvent::new(
                "The path that is left after decoding is not the one that was routed: send / as it is \
                 where it separates, once, and not as %2F.",
            ));
        }
        let path = encode_path(self.path().split('/').map(|part| part.as_bytes().into()))?;
        let query = self.raw_query_string.unwrap_or_default();
        let query = utf8_percent_encode(&query, IN_QUERY).to_string();
        request(path, &query, self.body, self.is_base64_encoded)
    }

    fn headers(&self) -> Result<HeaderMap, InvalidEvent> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().flatten() {
            add(&mut headers, name, value)?;
        }
        if let Some(cookies) = &self.cookies {
            add(&mut headers, COOKIE.as_str(), &cookies.join("; "))?;
        }
        Ok(headers)
    }

    /// Returns whether API Gateway has checked a signature (SigV4), and IAM policies for the path.
    fn is_signed(&self) -> bool {
        let authorizer = self.request_context.authorizer.as_ref();
        authorizer.is_some_and(|by| by.iam.is_some())
    }

    /// Returns whether the path is that of the route, with the values of its variables.
    ///
    /// The documentation does not say whether API Gateway decodes the values of variables, so both forms are accepted. With a
    /// signature, only a path that is the same in both forms is accepted.
    fn is_routed(&self) -> bool {
        let signed = self.is_signed();
        if signed && self.path().contains("//") {
            return false;
        }
        let (Some(key), Some(values)) = (&self.route_key, &self.path_parameters) else {
            return true;
        };
        // The route `$default` does not have a path.
        let Some((_, route)) = key.split_once(' ') else {
            return true;
        };
        // `None` is a literal segment of the route.
        let mut expected: Vec<Option<&str>> = vec![];
        for part in segments(route) {
            let variable = part
                .strip_prefix('{')
                .and_then(|part| part.strip_suffix('}'));
            let Some(variable) = variable else {
                expected.push(None);
                continue;
            };
            let (name, greedy) = match variable.strip_suffix('+') {
                Some(name) => (name, true),
                None => (variable, false),
            };
            match values.get(name) {
                None => return true,
                Some(value) if greedy => expected.extend(segments(value).map(Some)),
                Some(value) => expected.push(Some(value)),
            }
        }
        let path: Vec<&str> = segments(self.path()).collect();
        let alike = |value: &str, part: &str| {
            let decoded = || percent_decode_str(value).eq(part.as_bytes().iter().copied());
            value == part || (!signed && decoded())
        };
        path.len() == expected.len()
            && path
                .iter()
                .zip(expected)
                .all(|(part, value)| value.is_none_or(|value| alike(value, part)))
    }
}

impl V1 {
    /// Returns the path without the name of the stage, which only an HTTP API puts before it.
    fn path(&self) -> &str {
        match self.version {
            Some(_) => without_stage(&self.path, self.request_context.stage.as_deref()),
            None => &self.path,
        }
    }

    fn request(self) -> Result<Request<Body>, InvalidEvent> {
        let parts = self.path().split('/');
        let path = match self.version {
            Some(_) => encode_path(parts.map(|part| part.as_bytes().into()))?,
            None => encode_path(parts.map(|part| percent_decode_str(part).into()))?,
        };
        let encoded = |text: &str| utf8_percent_encode(text, IN_PARAMETER).to_string();
        let query = values(
            self.multi_value_query_string_parameters.as_ref(),
            self.query_string_parameters.as_ref(),
        )
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect::<Vec<_>>()
        .join("&");
        request(path, &query, self.body, self.is_base64_encoded)
    }

    fn headers(&self) -> Result<HeaderMap, InvalidEvent> {
        let mut headers = HeaderMap::new();
        for (name, value) in values(self.multi_value_headers.as_ref(), self.headers.as_ref()) {
            add(&mut headers, name, value)?;
        }
        Ok(headers)
    }
}

fn request(
    path: String,
    query: &str,
    body: Option<String>,
    encoded: Option<bool>,
) -> Result<Request<Body>, InvalidEvent> {
    let target = match query {
        "" => path,
        query => format!("{path}?{query}"),
    };
    let target: Uri = target
        .try_into()
        .map_err(|_| InvalidEvent::new("The path and the query are too long for a URL."))?;
    let body = match body {
        None => Body::empty(),
        Some(text) if encoded == Some(true) => BASE64
            .decode(text)
            .map_err(|_| InvalidEvent::new("The body is not valid Base64."))?
            .into(),
        Some(text) => text.into(),
    };
    let mut request = Request::new(body);
    *request.uri_mut() = target;
    Ok(request)
}

/// Removes the name of a stage from a path. A path does not contain the name of the default stage.
fn without_stage<'a>(path: &'a str, stage: Option<&str>) -> &'a str {
    let named = stage.filter(|stage| *stage != "$default");
    named
        .and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .unwrap_or(path)
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Builds a path from decoded segments: encodes each one, and leaves out empty ones except for the last.
fn encode_path<'a>(segments: impl Iterator<Item = Cow<'a, [u8]>>) -> Result<String, InvalidEvent> {
    let mut path = String::new();
    let mut slash = true;
    for segment in segments {
        slash = segment.is_empty();
        if slash {
            continue;
        }
        if matches!(&*segment, b"." | b"..") {
            return Err(InvalidEvent::new(
                "The path has a segment . or .. in it. Send the address of the resource itself.",
            ));
        }
        if std::str::from_utf8(&segment).is_err() {
            return Err(InvalidEvent::new(
                "The path is not UTF-8 when it is decoded.",
            ));
        }
        path.push('/');
        path.extend(percent_encode(&segment, IN_SEGMENT));
    }
    if slash {
        path.push('/');
    }
    Ok(path)
}

/// Returns pairs of name and value from the two forms of an event: with all values of each name, and with the last one.
fn values<'a>(
    all: Option<&'a BTreeMap<String, Vec<String>>>,
    last: Option<&'a BTreeMap<String, String>>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, all) in all.into_iter().flatten() {
        values.insert(name, all.iter().map(String::as_str).collect());
    }
    for (name, value) in last.into_iter().flatten() {
        values.entry(name).or_insert_with(|| vec![value]);
    }
    values
        .into_iter()
        .flat_map(|(name, values)| values.into_iter().map(move |value| (name, value)))
}

/// Adds a header. The values of a repeated header are joined by commas (RFC 9110 §5.3), as an HTTP API does.
///
/// An invalid header is an error rather than left out, because a request means something else without `If-Match`.
fn add(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), InvalidEvent> {
    let name = HeaderName::try_from(name)
        .map_err(|_| InvalidEvent::new("The request has a header whose name is not a token."))?;
    let mut joined = headers
        .get(&name)
        .map(|before| [before.as_bytes(), b","].concat())
        .unwrap_or_default();
    joined.extend_from_slice(value.as_bytes());
    let value = HeaderValue::try_from(joined).map_err(|_| {
        InvalidEvent::new(format!(
            "The header {name} has a character that no header can have."
        ))
    })?;
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::extract::Path;
    use http::StatusCode;
    use lambda_http::Context;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Value, json};

    use super::*;
    use crate::{QueryParams, ResourcePath};

    fn v2(path: &str, query: &str) -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
            "headers": {"host": "a.example.com"},
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "a.example.com", "stage": "$default", "requestId": "r",
                "http": {"method": "PATCH", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"},
                "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_u64,
            },
            "isBase64Encoded": false,
        })
    }

    /// The event of a REST API, in the form that others have captured (hotsock/voker, `vokerhttp/testdata`).
    fn v1(path: &str) -> Value {
        json!({
            "resource": "/{proxy+}", "path": path, "httpMethod": "PATCH",
            "headers": {"Host": "a.example.com", "X-Probe": "second"},
            "multiValueHeaders": {"Host": ["a.example.com"], "X-Probe": ["first", "second"]},
            "queryStringParameters": {"repeat": "two", "plus": "a+b", "blank": "a b"},
            "multiValueQueryStringParameters": {"repeat": ["one", "two"], "plus": ["a+b"], "blank": ["a b"]},
            "pathParameters": {"proxy": path}, "stageVariables": null,
            "requestContext": {
                "accountId": "1", "apiId": "a", "authorizer": null, "domainName": "a.example.com",
                "httpMethod": "PATCH", "identity": {"sourceIp": "192.0.2.1"}, "path": format!("/live{path}"),
                "protocol": "HTTP/1.1", "requestId": "r", "resourceId": "r", "resourcePath": "/{proxy+}", "stage": "live",
            },
            "body": null, "isBase64Encoded": false,
        })
    }

    fn request(event: Value) -> Request<Body> {
        serde_json::from_value::<ApiEvent>(event)
            .unwrap()
            .into_request()
    }

    fn invalid(event: Value) -> Option<String> {
        let request = request(event);
        let invalid: Option<&InvalidEvent> = request.extensions().get();
        invalid.map(|InvalidEvent(detail)| detail.clone())
    }

    fn path(event: Value) -> String {
        let request = request(event);
        assert_eq!(request.extensions().get::<InvalidEvent>(), None);
        assert_eq!(request.method(), Method::PATCH);
        request.uri().path().to_owned()
    }

    #[test]
    fn what_an_http_api_decoded_is_data_of_its_segment() {
        for (sent, expected) in [
            ("/Users/\0", "/Users/%00"),
            ("/Users/\t", "/Users/%09"),
            ("/Users/ ", "/Users/%20"),
            ("/Users/a?b", "/Users/a%3Fb"),
            ("/Users/a#b", "/Users/a%23b"),
            ("/Users/a\\..\\b", "/Users/a%5C..%5Cb"),
            ("/Users/100%", "/Users/100%25"),
            ("/Users/%41", "/Users/%2541"),
            ("/Users/é", "/Users/%C3%A9"),
            ("/Users/...", "/Users/..."),
            ("/Users/.search", "/Users/.search"),
            (
                "/Schemas/urn:a:b@c!$&'()*+,;=~",
                "/Schemas/urn:a:b@c!$&'()*+,;=~",
            ),
            ("//Users", "/Users"),
            ("/Users//1///", "/Users/1/"),
            ("//", "/"),
            ("/", "/"),
            ("", "/"),
        ] {
            assert_eq!(path(v2(sent, "")), expected, "{sent}");
        }
    }

    #[test]
    fn a_rest_api_leaves_the_path_as_it_was_sent() {
        for (sent, expected) in [
            ("/Users/a%2Fb", "/Users/a%2Fb"),
            ("/Users/a%3fb", "/Users/a%3Fb"),
            ("/Users/%41", "/Users/A"),
            ("/Users/%2541", "/Users/%2541"),
            ("/Users/%zz", "/Users/%25zz"),
            ("//Users", "/Users"),
        ] {
            assert_eq!(path(v1(sent)), expected, "{sent}");
        }
        // An HTTP API in the same format says which it is, and decodes.
        let mut http = v1("/live/Users/%41");
        http["version"] = json!("1.0");
        assert_eq!(path(http), "/Users/%2541");
    }

    #[test]
    fn dots_are_invalid() {
        for sent in ["/Users/../Groups", "/Users/./1", "/..", "/Users/.."] {
            assert!(invalid(v2(sent, "")).unwrap().contains(".."), "{sent}");
            assert!(invalid(v1(sent)).is_some(), "{sent}");
        }
        for sent in ["/Users/%2e%2E/Groups", "/Users/.%2e", "/Users/%2e/1"] {
            assert!(invalid(v1(sent)).is_some(), "{sent}");
        }
        assert!(invalid(v1("/Users/%ff")).unwrap().contains("UTF-8"));
    }

    #[test]
    fn the_stage_is_no_part_of_the_path() {
        let mut event = v2("/live/Users/1", "");
        event["requestContext"]["stage"] = json!("live");
        assert_eq!(path(event.clone()), "/Users/1");
        event["rawPath"] = json!("/lively/Users");
        assert_eq!(path(event.clone()), "/lively/Users");
        event["rawPath"] = json!("/live");
        assert_eq!(path(event), "/");
        assert_eq!(path(v1("/live/Users")), "/live/Users");
    }

    #[test]
    fn only_the_path_that_was_routed_is_served() {
        let routed = |path: &str, route: &str, parameters: Value| {
            let mut event = v2(path, "");
            event["routeKey"] = json!(route);
            event["pathParameters"] = parameters;
            event
        };
        let (one, many) = ("ANY /s/{d}", "ANY /s/{d}/Users/{proxy+}");
        for (path, route, parameters) in [
            ("/s/a", one, json!({"d": "a"})),
            ("/s/a/", one, json!({"d": "a"})),
            ("//s/a", one, json!({"d": "a"})),
            ("/s/a b", one, json!({"d": "a b"})),
            ("/s/a b", one, json!({"d": "a%20b"})),
            ("/s/a", one, Value::Null),
            ("/s/a/Users/1/x", many, json!({"d": "a", "proxy": "1/x"})),
            ("/s/a/Users/1/x/", many, json!({"d": "a", "proxy": "1/x/"})),
            ("/s/a/Users/1?x", many, json!({"d": "a", "proxy": "1?x"})),
            ("/s/a/Users/1?x", many, json!({"d": "a", "proxy": "1%3Fx"})),
        ] {
            assert_eq!(invalid(routed(path, route, parameters)), None, "{path}");
        }
        for (path, route, parameters) in [
            // A slash was sent as %2F.
            ("/s/a/Users/1", one, json!({"d": "a/Users/1"})),
            ("/s/a/Users/1", one, json!({"d": "a%2FUsers%2F1"})),
            ("/s/a/Users/1/x", many, json!({"d": "a", "proxy": "1%2Fx"})),
            // What stood behind %3F is gone.
            ("/s/a/Users/1", many, json!({"d": "a", "proxy": "1%3Fx"})),
            ("/s/a/Users/1", many, json!({"d": "a", "proxy": "1?x"})),
        ] {
            assert!(invalid(routed(path, route, parameters)).is_some(), "{path}");
        }
        // With a signature the two forms are one, and so are the slashes.
        let signed = |path: &str, proxy: &str| {
            let mut event = routed(path, "ANY /v1/{proxy+}", json!({"proxy": proxy}));
            let principal = json!({"userArn": "arn:aws:iam::1:role/backend"});
            event["requestContext"]["authorizer"] = json!({"iam": principal});
            invalid(event)
        };
        assert_eq!(signed("/v1/users", "users"), None);
        assert!(signed("/v1/users", "%75sers").is_some());
        assert!(signed("/v1//users", "/users").is_some());
    }

    #[test]
    fn a_query_is_as_it_was_sent_where_a_uri_can_hold_it() {
        let query = |query: &str| {
            let request = request(v2("/Users", query));
            request.uri().query().unwrap_or_default().to_owned()
        };
        let sent = "filter=userName%20eq+%22a%22&a=b;c/d?e@:!$'()*,&%zz&%";
        assert_eq!(query(sent), sent);
        assert_eq!(query("f=a eq \"é\"#x"), "f=a%20eq%20%22%C3%A9%22%23x");
        assert_eq!(query(""), "");
        // Blanks and pluses that were decoded are told apart, and each value of several is there.
        let rest = request(v1("/Users"));
        assert_eq!(
            rest.uri().query(),
            Some("blank=a%20b&plus=a%2Bb&repeat=one&repeat=two")
        );
    }

    #[test]
    fn headers_are_all_there_or_the_request_is_invalid() {
        let mut event = v2("/Users", "");
        event["headers"] = json!({"host": "127.0.0.1:99999", "if-match": "W/\"é\""});
        event["cookies"] = json!(["a=1", "b=2"]);
        let headers = request(event.clone()).headers().clone();
        assert_eq!(headers["host"], "127.0.0.1:99999");
        assert_eq!(headers["if-match"].as_bytes(), "W/\"é\"".as_bytes());
        assert_eq!(headers["cookie"], "a=1; b=2");
        assert_eq!(request(v1("/Users")).headers()["x-probe"], "first,second");
        for (name, value, named) in [("if-match", "a\nb", "if-match"), ("a b", "x", "name")] {
            event["headers"] = json!({name: value});
            assert!(invalid(event.clone()).unwrap().contains(named));
        }
        // One header in two spellings is one, whichever comes first.
        let mut event = v1("/Users");
        event["multiValueHeaders"] =
            json!({"Authorization": ["Bearer a"], "authorization": ["Bearer b"]});
        assert_eq!(
            request(event).headers()["authorization"],
            "Bearer a,Bearer b"
        );
    }

    #[test]
    fn a_body_is_decoded() {
        let mut event = v2("/Users", "");
        event["isBase64Encoded"] = json!(true);
        event["body"] = json!("not Base64");
        assert!(invalid(event).unwrap().contains("Base64"));
    }

    /// What a router behind the adapter of `lambda_http` makes of an event: the status and the body.
    fn answered_by(router: Router, event: Value) -> (u64, String) {
        let event = serde_json::from_value(event).unwrap();
        let event = LambdaEvent::new(event, Context::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let Ok(answer) = runtime.unwrap().block_on(answer(router, event));
        let answer = serde_json::to_value(answer).unwrap();
        let body = answer["body"].as_str().unwrap_or_default().to_owned();
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    /// The same of a router that answers the path that it saw.
    fn answered(event: Value) -> (u64, String) {
        let echo = axum::routing::any(async |request: axum::extract::Request| {
            request.uri().path().to_owned()
        });
        answered_by(Router::new().fallback_service(echo), event)
    }

    /// A router with a resource, which answers what it was asked for. It refuses what is invalid.
    fn recorder() -> Router {
        let resource = async |Path((directory, id)): ResourcePath, params: QueryParams| {
            json!([directory, id, params.get("filter")]).to_string()
        };
        let path = "/scim/v2/{directory}/Users/{id}";
        let fallback = async |request: axum::extract::Request| match request.extensions().get() {
            Some(InvalidEvent(_)) => StatusCode::BAD_REQUEST,
            None => StatusCode::NOT_FOUND,
        };
        Router::new()
            .route(path, axum::routing::patch(resource))
            .fallback(fallback)
    }

    /// Some bytes, many of which mean something in an address.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let syntax = select(b"?#%/\\. \t\0\"';:=&+@[]{}|^`<>\x7f\xff".to_vec());
        let escape = select(vec![
            "%2F", "%2e", "%25", "%3F", "%41", "%00", "%ff", "..", "//",
        ]);
        let piece = prop_oneof![
            syntax.prop_map(|byte| vec![byte]),
            escape.prop_map(|text| text.as_bytes().to_vec()),
            any::<u8>().prop_map(|byte| vec![byte]),
        ];
        vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    fn decoded(text: &str) -> String {
        percent_decode_str(text).decode_utf8_lossy().into_owned()
    }

    /// What a client has to encode in a segment, and what would be another segment.
    const BARE: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'/').add(b'?').add(b'#');

    #[test]
    fn both_formats_are_answered() {
        let mut event = v2("/Users/a?b", "f=\"");
        event["headers"]["host"] = json!("127.0.0.1:99999");
        assert_eq!(answered(event), (200, "/Users/a%3Fb".to_owned()));
        assert_eq!(
            answered(v1("/Users/a%3Fb")),
            (200, "/Users/a%3Fb".to_owned())
        );
    }

    proptest! {
        /// What was sent as an id, as a directory and as a filter, whatever its bytes are, reaches the handler as that or
        /// not at all.
        #[test]
        fn what_was_sent_is_reached_or_nothing(
            directory in bytes(),
            id in bytes(),
            filter in bytes(),
            bare in any::<bool>(),
        ) {
            let segment = |text: &[u8]| match bare {
                // As a client may send it that encodes what it has to and no more.
                true => percent_encode(text, BARE).to_string(),
                false => percent_encode(text, NON_ALPHANUMERIC).to_string(),
            };
            let query = match bare {
                // Not even that, as an HTTP API may hand it over.
                true => String::from_utf8_lossy(&filter).replace('%', "%25").replace('&', "%26").replace('+', "%2B"),
                false => percent_encode(&filter, NON_ALPHANUMERIC).to_string(),
            };
            let sent = format!("/scim/v2/{}/Users/{}", segment(&directory), segment(&id));
            let query = format!("filter={query}");
            let filter = String::from_utf8_lossy(&filter).into_owned();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
            let own = (text(&directory), text(&id));
            // What has to be found: a slash is known to be data only where the path comes as it was sent.
            let named = [&own.0, &own.1].into_iter().all(|text| {
                text.as_deref().is_some_and(|text| !matches!(text, "" | "." | ".."))
            });
            let plain = named && !directory.contains(&b'/') && !id.contains(&b'/');
            let mut events = vec![];

            let mut rest = v1(&sent);
            rest["multiValueQueryStringParameters"] = json!({"filter": [filter]});
            let mut http = rest.clone();
            events.push((rest, own.clone(), named));

            // An HTTP API decodes the path, in both formats, and what is no text cannot stand in an event. Slashes at the
            // ends of a segment are like those of a base URL that has one too many.
            if let Ok(path) = percent_decode_str(&sent).decode_utf8() {
                let within = |text: Option<String>| text.map(|text| text.trim_matches('/').to_owned());
                let own = (within(own.0), within(own.1));
                http["version"] = json!("1.0");
                http["path"] = json!(format!("/live{path}"));
                events.push((http, own.clone(), plain));
                let mut event = v2(&path, &query);
                events.push((event.clone(), own.clone(), plain));
                // As it is said to be routed, with the values decoded and as they were sent.
                event["routeKey"] = json!("ANY /scim/v2/{directory}/Users/{proxy+}");
                for value in [|text: &str| text.to_owned(), decoded] {
                    let values = json!({"directory": value(&segment(&directory)), "proxy": value(&segment(&id))});
                    event["pathParameters"] = values;
                    events.push((event.clone(), own.clone(), plain));
                }
            }
            for (event, (directory, id), found) in events {
                let shown = event.to_string();
                let (status, reached) = answered_by(recorder(), event);
                match status {
                    200 => prop_assert_eq!(reached, json!([directory, id, filter]).to_string(), "{}", shown),
                    status => prop_assert!((400..500).contains(&status) && !found, "{} {}", status, shown),
                }
            }
        }

        /// Whatever stands in an event, there is an answer.
        #[test]
        fn no_event_panics(
            path in any::<String>(),
            query in any::<String>(),
            headers in btree_map(any::<String>(), any::<String>(), 0..4),
            cookies in vec(any::<String>(), 0..3),
            body in any::<Option<String>>(),
            encoded in any::<bool>(),
        ) {
            let mut http = v2(&path, &query);
            http["cookies"] = json!(cookies);
            let mut rest = v1(&path);
            rest["multiValueHeaders"] = json!({"X-Cookie": cookies});
            rest["queryStringParameters"] = json!(headers);
            for mut event in [http, rest] {
                event["headers"] = json!(headers);
                event["headers"]["host"] = json!(query);
                event["body"] = json!(body);
                event["isBase64Encoded"] = json!(encoded);
                event["requestContext"]["domainName"] = json!(query);
                event["requestContext"]["stage"] = json!(body);
                let (status, _) = answered(event);
                prop_assert_eq!(status, 200);
            }
        }
    }
}
