//! A client of the admin API: its address, the key, lists, and problem details (RFC 9457).

use bytes::Bytes;
use clap::Args;
use form_urlencoded::Serializer;
use http::{HeaderValue, Method, Request, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Failure;
use super::client::{Answer, Client, TIMEOUT, Unanswered, address};
use super::output::{Output, sanitize};
use super::table::Table;

/// The address of the stack, the key, and the form of the output.
#[derive(Args)]
pub(super) struct Access {
    /// The address of the local stack, or of the API of a deployed stack
    #[arg(
        long,
        env = "ROLLCALL_URL",
        value_name = "URL",
        value_parser = address,
        default_value = "http://127.0.0.1:8080"
    )]
    url: String,
    /// The admin key
    #[arg(long, env = "ROLLCALL_KEY", value_name = "KEY", hide_env_values = true)]
    key: Option<String>,
    /// Write JSON, one object per line
    #[arg(long)]
    pub(super) json: bool,
}

/// The directories that a list of users or groups is read from.
#[derive(Args)]
pub(super) struct Target {
    /// The id of the directory; optional if there is only one
    #[arg(value_name = "DIRECTORY", conflicts_with_all = ["tenant", "product"])]
    directory: Option<String>,
    /// All directories of this customer
    #[arg(long)]
    tenant: Option<String>,
    /// All directories of this application
    #[arg(long)]
    product: Option<String>,
}

impl Target {
    /// Returns whether the list is over several directories.
    pub(super) fn is_several(&self) -> bool {
        self.tenant.is_some() || self.product.is_some()
    }
}

/// The admin API of one stack.
pub(super) struct Admin {
    client: Client,
    base: String,
    authorization: HeaderValue,
}

/// A page of a list.
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    pub(super) next: Option<String>,
}

impl Access {
    pub(super) fn admin(&self) -> Result<Admin, Failure> {
        let Some(key) = self.key.as_deref().filter(|key| !key.is_empty()) else {
            return Err(Failure::Usage(format!(
                "the admin key is missing: set ROLLCALL_KEY or --key. {}",
                match local(&self.url) {
                    true => "The local stack prints it when it starts.",
                    false => "A deployed stack keeps its keys in Secrets Manager.",
                }
            )));
        };
        // The error of the header would not say that it is the key.
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| Failure::Usage("the admin key has invalid characters".into()))?;
        authorization.set_sensitive(true);
        let base = self.url.strip_suffix("/v1").unwrap_or(&self.url);
        Ok(Admin {
            client: Client::new(TIMEOUT)?,
            base: base.to_owned(),
            authorization,
        })
    }
}

impl Access {
    /// Writes the list that is `below` each directory of the target.
    pub(super) async fn list(
        &self,
        target: &Target,
        below: &[&str],
        filter: &[(&str, Option<&str>)],
        columns: &[(&'static str, &str)],
        output: &mut Output,
    ) -> Result<(), Failure> {
        let admin = self.admin()?;
        let scope = [
            ("tenant", target.tenant.as_deref()),
            ("product", target.product.as_deref()),
        ];
        let query = [&scope, filter].concat();
        let path = if target.is_several() {
            path(below)
        } else {
            let directory = admin.directory(target.directory.as_deref()).await?;
            path(&[&["directories", &directory], below].concat())
        };
        admin.list(&path, &query, columns, self.json, output).await
    }
}

fn local(url: &str) -> bool {
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    ["127.", "localhost", "[::1]"]
        .iter()
        .any(|name| host.starts_with(name))
}

impl Admin {
    /// Returns a resource.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        json(self.sent(Method::GET, path, &[], None).await?)
    }

    /// Returns a resource, or `None` if it does not exist.
    pub(super) async fn find(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.answer(Method::GET, path, &[], None).await? {
            answer if answer.status == StatusCode::NOT_FOUND => Ok(None),
            answer => json(successful(answer)?).map(Some),
        }
    }

    /// Sends a body and returns the one of the response.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        json(self.sent(method, path, &[], Some(body)).await?)
    }

    /// Sends a body with an idempotency key, so that a repeated request returns the same.
    pub(super) async fn send_once(
        &self,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        let more = [("idempotency-key", key)];
        json(self.sent(Method::POST, path, &more, Some(body)).await?)
    }

    /// Deletes a resource and returns the body of the response.
    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        let answer = self.sent(Method::DELETE, path, &[], None).await?;
        match answer.body.is_empty() {
            true => Ok(Value::Null),
            false => json(answer),
        }
    }

    /// Returns the page of a list that begins at the cursor, as long as the service makes it.
    pub(super) async fn page(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        cursor: Option<&str>,
    ) -> Result<Page, Failure> {
        let mut parameters = Serializer::new(String::new());
        for (name, value) in query.iter().chain(&[("cursor", cursor)]) {
            if let Some(value) = value {
                parameters.append_pair(name, value);
            }
        }
        let mut answer = self.get(&format!("{path}?{}", parameters.finish())).await?;
        let items = match answer.get_mut("data").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => return Err(Failure::Refused(format!("{path} did not return a list"))),
        };
        Ok(Page {
            items,
            next: string(&answer, "/next_cursor"),
        })
    }

    /// Writes a whole list page by page, as a table or as JSON.
    pub(super) async fn list(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        columns: &[(&'static str, &str)],
        json: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let header: Vec<&'static str> = columns.iter().map(|(name, _)| *name).collect();
        let mut table = Table::new(&header);
        let mut cursor: Option<String> = None;
        loop {
            let page = self.page(path, query, cursor.as_deref()).await?;
            match json {
                true => {
                    for item in &page.items {
                        output.line(&item.to_string())?;
                    }
                }
                false => {
                    let row = |item: &Value| -> Vec<String> {
                        let cell = |(_, pointer): &(_, &str)| string(item, pointer);
                        columns
                            .iter()
                            .map(|column| cell(column).unwrap_or_default())
                            .collect()
                    };
                    let rows: Vec<Vec<String>> = page.items.iter().map(row).collect();
                    for line in table.lines(&rows) {
                        output.line(&line)?;
                    }
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Returns the named directory, or the only one that exists.
    pub(super) async fn directory(&self, named: Option<&str>) -> Result<String, Failure> {
        if let Some(id) = named {
            return Ok(id.to_owned());
        }
        let page = self.page("/directories", &[], None).await?;
        let ids: Vec<String> = page
            .items
            .iter()
            .filter_map(|directory| string(directory, "/id"))
            .collect();
        match ids.as_slice() {
            [id] if page.next.is_none() => Ok(id.clone()),
            [] => Err(Failure::Refused(
                "there is no directory; create one with \"rollcall directory create\"".into(),
            )),
            _ => Err(Failure::Usage(
                "name a directory: there are several, and \"rollcall directory list\" shows their ids"
                    .into(),
            )),
        }
    }

    async fn sent(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        successful(self.answer(method, path, headers, body).await?)
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1{path}", self.base))
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("rollcall/", env!("CARGO_PKG_VERSION")),
            );
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes = body.map(|body| Bytes::from(body.to_string()));
        let request = request
            .body(bytes.unwrap_or_default())
            .map_err(|error| Failure::Usage(format!("this cannot be sent: {error}")))?;
        let base = &self.base;
        self.client
            .send(request)
            .await
            .map_err(|error| match error {
                Unanswered::TimedOut => Failure::Unavailable(format!(
                    "{base} did not answer within {} seconds",
                    TIMEOUT.as_secs()
                )),
                Unanswered::Broken(reason) => Failure::Unavailable(match local(base) {
                    true => format!(
                        "{base}: {reason}; does the local stack run there? \"rollcall\" starts it"
                    ),
                    false => format!("{base}: {reason}"),
                }),
            })
    }
}

/// Returns the path of a directory or of a resource below it.
pub(super) fn path(segments: &[&str]) -> String {
    segments.iter().fold(String::new(), |path, segment| {
        // Ids are letters, digits and hyphens. Other characters could name another path.
        let segment = utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string();
        format!("{path}/{}", segment.replace("%2D", "-"))
    })
}

/// Returns a value of a response as text.
pub(super) fn string(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn successful(answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let reason = problem(&answer);
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS => Err(Failure::Unavailable(reason)),
        status if status.is_server_error() => Err(Failure::Unavailable(reason)),
        _ => Err(Failure::Refused(reason)),
    }
}

fn json(answer: Answer) -> Result<Value, Failure> {
    serde_json::from_slice(&answer.body).map_err(|_| {
        Failure::Refused(format!(
            "the response is not JSON: {}; check that this is the address of Rollcall's API",
            beginning(&answer.body)
        ))
    })
}

/// Returns a problem as one line: its detail, each invalid value, and the status.
fn problem(answer: &Answer) -> String {
    let status = answer.status;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    // `message` is what API Gateway writes when it refuses by itself.
    let text = ["/detail", "/title", "/message"]
        .iter()
        .find_map(|pointer| string(&body, pointer));
    let mut line = match text {
        Some(text) => text.trim_end_matches('.').to_owned(),
        None if answer.body.is_empty() => "the response is empty".to_owned(),
        None => beginning(&answer.body),
    };
    for error in body
        .pointer("/errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let detail = string(error, "/detail").unwrap_or_default();
        let detail = detail.trim_end_matches('.');
        // A place in the body, or in the query.
        match string(error, "/pointer").or_else(|| string(error, "/parameter")) {
            Some(place) => line.push_str(&format!("; {place}: {detail}")),
            None => line.push_str(&format!("; {detail}")),
        }
    }
    format!("{line} ({status})")
}

/// Returns the first 80 characters of an unexpected body, quoted.
pub(super) fn beginning(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(80).collect();
    format!("\"{}\"", sanitize(text.trim()))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::RawQuery;
    use axum::routing::get;
    use http::HeaderMap;
    use serde_json::json;

    use super::super::fake::{Written, served};
    use super::*;

    fn access(url: &str) -> Access {
        Access {
            url: url.to_owned(),
            key: Some("rollcall_admin_1".to_owned()),
            json: false,
        }
    }

    fn refusal<T>(result: Result<T, Failure>) -> Failure {
        match result {
            Err(failure) => failure,
            Ok(_) => panic!("this must fail"),
        }
    }

    #[test]
    fn without_a_key_it_says_where_one_is() {
        let missing = |url: &str, key: Option<&str>| {
            let mut access = access(url);
            access.key = key.map(str::to_owned);
            refusal(access.admin())
        };
        for (url, key, words) in [
            ("http://127.0.0.1:8080", None, "The local stack prints it"),
            ("http://localhost", Some(""), "The local stack prints it"),
            ("https://a.example.com", None, "Secrets Manager"),
            ("https://a.example.com", Some("a\nb"), "characters"),
        ] {
            let Failure::Usage(reason) = missing(url, key) else {
                panic!("{url}");
            };
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[tokio::test]
    async fn lists_are_followed_to_their_end_with_the_key_and_what_was_asked() {
        async fn list(RawQuery(query): RawQuery, headers: HeaderMap) -> axum::Json<Value> {
            assert_eq!(headers["authorization"], "Bearer rollcall_admin_1");
            axum::Json(match query.as_deref().unwrap() {
                "tenant=a%26b" => {
                    json!({"data": [{"id": "1", "name": "One"}], "next_cursor": "c+"})
                }
                "tenant=a%26b&cursor=c%2B" => {
                    json!({"data": [{"id": "2"}], "next_cursor": null})
                }
                other => panic!("{other}"),
            })
        }
        let url = served(Router::new().route("/v1/things", get(list))).await;
        // The address of the API itself will do, too.
        let admin = access(&format!("{url}/v1")).admin().unwrap();
        for (json, lines) in [
            (false, ["ID  NAME", "1   One", "2"].as_slice()),
            (
                true,
                [r#"{"id":"1","name":"One"}"#, r#"{"id":"2"}"#].as_slice(),
            ),
        ] {
            let written = Written::default();
            let columns = [("ID", "/id"), ("NAME", "/name")];
            let query = [("tenant", Some("a&b")), ("product", None)];
            admin
                .list(
                    "/things",
                    &query,
                    &columns,
                    json,
                    &mut Output::to(written.clone()),
                )
                .await
                .unwrap();
            assert_eq!(written.lines(), lines);
        }
    }

    #[tokio::test]
    async fn a_problem_is_one_line_with_its_details() {
        let problem = json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "The directory cannot be made.",
            "errors": [{"pointer": "/tenant", "detail": "must not be empty."}, {"parameter": "type", "detail": "is unknown"}]
        });
        let url = served(
            Router::new()
                .route(
                    "/v1/problem",
                    get(async move || (StatusCode::BAD_REQUEST, problem.to_string())),
                )
                .route(
                    "/v1/html",
                    get(async || (StatusCode::BAD_GATEWAY, "<html>\nsorry")),
                )
                .route("/v1/page", get(async || "<html>")),
        )
        .await;
        let admin = access(&url).admin().unwrap();
        assert_eq!(
            refusal(admin.get("/problem").await),
            Failure::Refused(
                "The directory cannot be made; /tenant: must not be empty; type: is unknown (400 Bad Request)".into()
            )
        );
        assert_eq!(
            refusal(admin.get("/html").await),
            Failure::Unavailable("\"<html> sorry\" (502 Bad Gateway)".into())
        );
        assert_eq!(
            refusal(admin.get("/page").await),
            Failure::Refused(
                "the response is not JSON: \"<html>\"; check that this is the address of Rollcall's API".into()
            )
        );
        assert_eq!(admin.find("/none").await.unwrap(), None);
        let nobody = access("http://127.0.0.1:1").admin().unwrap();
        let Failure::Unavailable(reason) = refusal(nobody.get("/a").await) else {
            panic!("somebody is there");
        };
        assert!(reason.contains("starts it"), "{reason}");
    }

    #[test]
    fn an_id_cannot_lead_elsewhere() {
        assert_eq!(path(&["directories", "a-1"]), "/directories/a-1");
        assert_eq!(
            path(&["directories", "../x?y"]),
            "/directories/%2E%2E%2Fx%3Fy"
        );
    }
}
