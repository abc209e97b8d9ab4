//! The routes of an HTTP API of Amazon API Gateway, and which of them matches a request.

use std::collections::BTreeMap;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::Error;

/// The routes of an HTTP API, matched by the rules of API Gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes(Vec<Route>);

/// A route and its function.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The route key, such as `ANY /scim/v2/{directory}/Users`, or `$default`.
    pub key: String,
    /// The logical id of the function.
    pub function: String,
    method: Option<Method>,
    /// `None` for the route `$default`, which matches requests that match no other.
    path: Option<Vec<Segment>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Literal(String),
    Variable(String),
    Greedy(String),
}

/// The route that matches a request, with the values of its variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Match<'a> {
    /// The route.
    pub route: &'a Route,
    /// The variables of the path, decoded.
    pub variables: BTreeMap<String, String>,
}

impl Route {
    /// Returns a route of a template to the function with this logical id.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Template`] for an invalid method or path.
    pub(crate) fn new(function: &str, method: &str, path: &str) -> Result<Route, Error> {
        if path.is_empty() || path == "$default" {
            return Ok(Route {
                key: "$default".to_owned(),
                function: function.to_owned(),
                method: None,
                path: None,
            });
        }
        let any = matches!(method.to_ascii_uppercase().as_str(), "" | "ANY" | "*")
            || method == "x-amazon-apigateway-any-method";
        let method = if any {
            None
        } else {
            let name = method.to_ascii_uppercase();
            let method = Method::from_bytes(name.as_bytes());
            Some(
                method
                    .map_err(|_| Error::Template(format!("has a route with the method {name}")))?,
            )
        };
        let segments = path
            .strip_prefix('/')
            .ok_or_else(|| Error::Template(format!("has a route whose path is {path}")))?
            .split('/')
            .map(|segment| {
                let variable = segment
                    .strip_prefix('{')
                    .and_then(|segment| segment.strip_suffix('}'));
                match variable.map(|name| (name, name.strip_suffix('+'))) {
                    None => Segment::Literal(segment.to_owned()),
                    Some((_, Some(name))) => Segment::Greedy(name.to_owned()),
                    Some((name, None)) => Segment::Variable(name.to_owned()),
                }
            })
            .collect();
        let name = method.as_ref().map_or("ANY", Method::as_str);
        Ok(Route {
            key: format!("{name} {path}"),
            function: function.to_owned(),
            method,
            path: Some(segments),
        })
    }

    /// Returns the variables, if the route matches the request.
    fn matches(&self, method: &Method, path: &[&str]) -> Option<BTreeMap<String, String>> {
        if self.method.as_ref().is_some_and(|own| own != method) {
            return None;
        }
        let mut variables = BTreeMap::new();
        let mut rest = path;
        for segment in self.path.as_deref().unwrap_or_default() {
            match segment {
                Segment::Greedy(name) => {
                    // A greedy variable matches one segment or more, of which the first is not empty.
                    rest.first().filter(|first| !first.is_empty())?;
                    variables.insert(name.clone(), decoded(&rest.join("/")));
                    return Some(variables);
                }
                Segment::Literal(text) => {
                    let (first, others) = rest.split_first()?;
                    if decoded(first) != *text {
                        return None;
                    }
                    rest = others;
                }
                Segment::Variable(name) => {
                    let (first, others) = rest.split_first()?;
                    if first.is_empty() {
                        return None;
                    }
                    variables.insert(name.clone(), decoded(first));
                    rest = others;
                }
            }
        }
        (rest.is_empty() || self.path.is_none()).then_some(variables)
    }

    /// Returns the priority of the route, lowest first: full matches, then greedy ones, then `$default`. Among these, a literal
    /// segment precedes a variable, and a method precedes `ANY`.
    fn rank(&self) -> (u8, Vec<u8>, bool) {
        let Some(segments) = &self.path else {
            return (2, Vec::new(), true);
        };
        let ranks: Vec<u8> = segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(_) => 0,
                Segment::Variable(_) => 1,
                Segment::Greedy(_) => 2,
            })
            .collect();
        let greedy = u8::from(ranks.contains(&2));
        (greedy, ranks, self.method.is_none())
    }
}

impl Routes {
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        Routes(routes)
    }

    /// Returns the route that matches a request, by the path as it was sent.
    ///
    /// A slash at the end, and repeated slashes, do not change the match, although the function gets the path with them
    /// (observed on AWS: aws-powertools/powertools-lambda-python #1552; localstack #11253, for a REST API).
    pub fn find(&self, method: &Method, path: &str) -> Option<Match<'_>> {
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        self.0
            .iter()
            .filter_map(|route| {
                let variables = route.matches(method, &segments)?;
                Some(Match { route, variables })
            })
            .min_by_key(|found| found.route.rank())
    }

    /// Returns the routes in the order of the template.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let routes = [
            ("ANY", "/v2/{d}/Users"),
            ("any", "/v2/{d}/Users/{proxy+}"),
            ("get", "/v2/{d}/Users/Me"),
            ("", ""),
            ("ANY", "/v2/{proxy+}"),
        ];
        let routes = routes.map(|(method, path)| Route::new("Function", method, path).unwrap());
        Routes::new(routes.into())
    }

    fn route(method: &str, path: &str) -> String {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let routes = routes();
        routes.find(&method, path).unwrap().route.key.clone()
    }

    #[test]
    fn a_full_match_precedes_a_greedy_one_and_the_default() {
        assert_eq!(route("POST", "/v2/d/Users"), "ANY /v2/{d}/Users");
        assert_eq!(route("GET", "/v2/d/Users/Me"), "GET /v2/{d}/Users/Me");
        assert_eq!(route("PUT", "/v2/d/Users/Me"), "ANY /v2/{d}/Users/{proxy+}");
        assert_eq!(
            route("GET", "/v2/d/Users/1/x"),
            "ANY /v2/{d}/Users/{proxy+}"
        );
        assert_eq!(route("GET", "/v2/d/users"), "ANY /v2/{proxy+}");
        assert_eq!(route("GET", "/v2/d/Users/"), "ANY /v2/{d}/Users");
        assert_eq!(route("GET", "/v3"), "$default");
        assert_eq!(route("GET", "/"), "$default");
    }

    #[test]
    fn variables_are_decoded() {
        let routes = routes();
        let found = routes.find(&Method::GET, "/v2/d%20x/Users/a%2Fb/c");
        let variables = found.unwrap().variables;
        assert_eq!(variables["d"], "d x");
        assert_eq!(variables["proxy"], "a/b/c");
    }

    #[test]
    fn an_invalid_method_or_path_is_refused() {
        for (method, path) in [("G T", "/v2"), ("GET", "v2")] {
            assert!(
                Route::new("Function", method, path).is_err(),
                "{method} {path}"
            );
        }
    }
}
