//! Bulk: many operations in one message (RFC 7644 §3.7).
//!
//! [`BulkRequest::parse`] reads the message, [`BulkRequest::plan`] says in which
//! order its operations are performed so that what one of them names by a
//! `bulkId` is there before it, [`BulkOperation::resolve`] puts ids in the place
//! of those names, and [`BulkResponse`] is the answer. Nothing here performs an
//! operation.
//!
//! A `bulkId` is the name of a resource that an operation of the same message
//! creates. It stands as `bulkId:` and the name, as the whole of a string in
//! `data`, or as the id in a `path`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::fmt;

use serde_json::Value;

use crate::Object;
use crate::error::{Error, describe, quote};
use crate::quirks;
use crate::schema::Profile;
use crate::validate::{check_message, take};

/// The URI of the bulk message (RFC 7644 §3.7).
pub const BULK_REQUEST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";

/// The URI of its answer (RFC 7644 §3.7).
pub const BULK_RESPONSE_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";

/// How many operations one message may hold (`maxOperations`).
pub const MAX_BULK_OPERATIONS: usize = 1_000;

/// How large one message may be, in bytes (`maxPayloadSize`).
pub const MAX_BULK_BYTES: usize = 1024 * 1024;

/// What stands before the name of a resource that another operation creates.
const REFERENCE: &str = "bulkId:";

/// A bulk message.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkRequest {
    /// After how many errors no further operation is performed; never, if it is not given.
    pub fail_on_errors: Option<u64>,
    /// The operations, in the order of the message.
    pub operations: Vec<BulkOperation>,
}

/// One operation, as the client wrote it.
#[derive(Clone, PartialEq)]
pub struct BulkOperation {
    /// The HTTP method: those that exist here in upper case, others as they came.
    pub method: String,
    /// The address below the base URL, with its query.
    pub path: String,
    /// The name of what it creates.
    pub bulk_id: Option<String>,
    /// The version that it demands of what it changes, as in `If-Match`.
    pub version: Option<String>,
    /// The body.
    pub data: Option<Value>,
}

/// Shows neither the data nor whom it is about.
impl fmt::Debug for BulkOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkOperation")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// What an operation is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// It makes a resource of this endpoint, such as `Users`.
    New {
        /// The endpoint, without slashes.
        endpoint: &'a str,
    },
    /// It is done to a resource.
    Resource {
        /// The endpoint, without slashes.
        endpoint: &'a str,
        /// Which one.
        id: Id<'a>,
    },
}

impl<'a> Target<'a> {
    /// The endpoint, without slashes.
    #[must_use]
    pub fn endpoint(self) -> &'a str {
        match self {
            Target::New { endpoint } | Target::Resource { endpoint, .. } => endpoint,
        }
    }
}

/// How a path names a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id<'a> {
    /// By its id.
    Known(&'a str),
    /// By the `bulkId` of the operation that creates it (RFC 7644 §3.7.2).
    Named(&'a str),
}

impl<'a> Id<'a> {
    fn new(text: &'a str) -> Self {
        match text.strip_prefix(REFERENCE) {
            Some(name) => Id::Named(name),
            None => Id::Known(text),
        }
    }
}

// ---- parsing -----------------------------------------------------------

impl BulkRequest {
    /// Reads a bulk message.
    ///
    /// # Errors
    ///
    /// 400 `invalidSyntax` for what is no such message; 413 for one of more
    /// than [`MAX_BULK_OPERATIONS`]. What is wrong with a single operation is
    /// found out by [`BulkOperation::target`], and is the answer to that one.
    pub fn parse(mut body: Object) -> Result<BulkRequest, Error> {
        let profile = Profile::Tolerant;
        check_message(&mut body, BULK_REQUEST_SCHEMA, "a bulk request", profile)?;
        let fail_on_errors = match take(&mut body, "failOnErrors").filter(|v| !v.is_null()) {
            None => None,
            Some(value) => Some(value.as_u64().ok_or_else(|| {
                Error::invalid_syntax(format_args!(
                    "failOnErrors: expected an integer that is not negative, got {}",
                    describe(&value)
                ))
            })?),
        };
        let operations = match take(&mut body, "Operations").filter(|v| !v.is_null()) {
            Some(Value::Array(operations)) => operations,
            Some(value) => {
                return Err(Error::invalid_syntax(format_args!(
                    "Operations: expected a list, got {}",
                    describe(&value)
                )));
            }
            None => return Err(Error::invalid_syntax("Operations is missing")),
        };
        if operations.len() > MAX_BULK_OPERATIONS {
            return Err(Error::new(
                413,
                None,
                format!(
                    "The request has {} operations, and maxOperations is {MAX_BULK_OPERATIONS}. Nothing was done: send fewer at a time.",
                    operations.len()
                ),
            ));
        }
        let operations = operations
            .into_iter()
            .enumerate()
            .map(|(index, operation)| read_operation(index, operation))
            .collect::<Result<Vec<_>, _>>()?;
        let mut names = HashSet::new();
        for (index, operation) in operations.iter().enumerate() {
            if let Some(name) = &operation.bulk_id
                && !names.insert(name)
            {
                return Err(Error::invalid_syntax(format_args!(
                    "Operations[{index}].bulkId: {} is the name of an earlier operation as well",
                    quote(name)
                )));
            }
        }
        Ok(BulkRequest {
            // RFC 7644 does not say what 0 means; it is not "stop before the first".
            fail_on_errors: fail_on_errors.filter(|errors| *errors > 0),
            operations,
        })
    }
}

fn read_operation(index: usize, operation: Value) -> Result<BulkOperation, Error> {
    let Value::Object(mut operation) = operation else {
        return Err(Error::invalid_syntax(format_args!(
            "Operations[{index}]: expected an object, got {}",
            describe(&operation)
        )));
    };
    let mut text = |name: &str| match take(&mut operation, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(value) => Err(Error::invalid_syntax(format_args!(
            "Operations[{index}].{name}: expected a string, got {}",
            describe(&value)
        ))),
    };
    let missing =
        |name: &str| Error::invalid_syntax(format_args!("Operations[{index}].{name} is missing"));
    let mut method = text("method")?.ok_or_else(|| missing("method"))?;
    let path = text("path")?.ok_or_else(|| missing("path"))?;
    let bulk_id = text("bulkId")?;
    let version = text("version")?;
    // The RFC has one case for methods; a client that has another means the same.
    for known in ["POST", "PUT", "PATCH", "DELETE"] {
        if method.eq_ignore_ascii_case(known) {
            known.clone_into(&mut method);
        }
    }
    let mut data = take(&mut operation, "data").filter(|data| !data.is_null());
    if method == "PATCH" {
        data = data.map(quirks::operations_for_patch_message);
    }
    Ok(BulkOperation {
        method,
        path,
        bulk_id,
        version,
        data,
    })
}

impl BulkOperation {
    /// What it is done to. The slash before the endpoint and one at the end
    /// may be there or not.
    ///
    /// # Errors
    ///
    /// 405 for a method that there is not, or not at such an address; 400
    /// `invalidSyntax` for one that creates and gives no name to what it creates.
    pub fn target(&self) -> Result<Target<'_>, Error> {
        let address = self.address();
        let (endpoint, id) = match address.split_once('/') {
            Some((endpoint, id)) => (endpoint, id.strip_suffix('/').unwrap_or(id)),
            None => (address, ""),
        };
        let target = match id {
            "" => Target::New { endpoint },
            id => Target::Resource {
                endpoint,
                id: Id::new(id),
            },
        };
        match (self.method.as_str(), target) {
            ("POST", Target::New { .. }) if self.bulk_id.is_none() => Err(Error::invalid_syntax(
                "bulkId is missing: an operation that creates a resource needs one",
            )),
            ("POST", Target::New { .. })
            | ("PUT" | "PATCH" | "DELETE", Target::Resource { .. }) => Ok(target),
            ("POST" | "PUT" | "PATCH" | "DELETE", _) => Err(wrong_method(
                &self.method,
                "of such a path: POST is to /Users or /Groups, the others to a resource",
            )),
            (method, _) => Err(wrong_method(
                method,
                "of a bulk operation: POST, PUT, PATCH and DELETE are",
            )),
        }
    }

    /// The path without its query and without what no server is told of.
    fn address(&self) -> &str {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        path.split(['?', '#']).next().unwrap_or_default()
    }

    /// The query of the path, which counts as it does of a request of its own.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path.split_once('?').map(|(_, query)| query)
    }

    /// The data with ids in the place of references. `id_of` gives the id of
    /// what has a name, or says why there is none.
    ///
    /// # Errors
    ///
    /// The first of those of `id_of`.
    pub fn resolve(
        &self,
        id_of: &impl Fn(&str) -> Result<String, Error>,
    ) -> Result<Option<Value>, Error> {
        let mut data = self.data.clone();
        if let Some(data) = &mut data {
            resolve(data, id_of)?;
        }
        Ok(data)
    }

    /// The names that it refers to, in its path and its data.
    fn references(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        if let Some(data) = &self.data {
            collect(data, &mut names);
        }
        if let Ok(Target::Resource {
            id: Id::Named(name),
            ..
        }) = self.target()
        {
            names.insert(name);
        }
        names
    }
}

fn wrong_method(method: &str, what: &str) -> Error {
    Error::new(405, None, format!("{} is no method {what}.", quote(method)))
}

fn resolve(value: &mut Value, id_of: &impl Fn(&str) -> Result<String, Error>) -> Result<(), Error> {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix(REFERENCE) {
                *text = id_of(name)?;
            }
        }
        Value::Array(values) => {
            for value in values {
                resolve(value, id_of)?;
            }
        }
        Value::Object(object) => {
            for value in object.values_mut() {
                resolve(value, id_of)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn collect<'a>(value: &'a Value, names: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => names.extend(text.strip_prefix(REFERENCE)),
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        Value::Object(object) => object.values().for_each(|value| collect(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Error {
    /// 409: an operation refers to a resource that is not there (RFC 7644 §3.7.2). `why` ends the sentence.
    pub fn unresolved(name: &str, why: impl fmt::Display) -> Self {
        let reference = quote(&format!("{REFERENCE}{name}"));
        Error::new(
            409,
            None,
            format!("{reference} stands for no resource: {why}."),
        )
    }
}

// ---- planning ----------------------------------------------------------

/// In which order the operations of a message are performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps, one after the other. Every operation is in one of them.
    pub steps: Vec<Step>,
    /// For every operation those that create what it refers to, itself left out.
    pub needs: Vec<Vec<usize>>,
}

/// One step of a plan. Operations are by their places in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An operation, after everything that it needs.
    One(usize),
    /// Operations that need each other in a circle, in an order in which those
    /// that wait for others come after them. They are in need of ids that
    /// are chosen beforehand, and make sense all together or not at all.
    Circle(Vec<usize>),
    /// A circle of operations of which none can be the first, because each
    /// waits for another.
    Knot(Vec<usize>),
}

impl Step {
    /// Its operations, in their order.
    #[must_use]
    pub fn operations(&self) -> &[usize] {
        match self {
            Step::One(operation) => std::slice::from_ref(operation),
            Step::Circle(operations) | Step::Knot(operations) => operations,
        }
    }
}

impl BulkRequest {
    /// The order: that of the message, but that an operation comes after those
    /// that create what it refers to. It is put off until then, and nothing is
    /// brought forward, so that everything else meets what it would have met
    /// in the order of the message. Operations on one resource stay in order.
    ///
    /// `waits` says of which operations what they refer to must be there, as
    /// the members of a group must. For the others it is enough to know the
    /// id, which is what resolves a circle: two users who are each other's
    /// manager.
    pub fn plan(&self, waits: impl Fn(&BulkOperation) -> bool) -> Plan {
        let edges = self.edges();
        // Each circle takes the place of its last operation.
        let circles: BTreeMap<usize, Vec<usize>> = circles(&edges.needs)
            .into_iter()
            .filter_map(|circle| Some((*circle.last()?, circle)))
            .collect();
        let mut place_of = HashMap::new();
        for (place, circle) in &circles {
            place_of.extend(circle.iter().map(|operation| (*operation, *place)));
        }
        let before = |place: usize| -> BTreeSet<usize> {
            let circle = circles.get(&place).into_iter().flatten();
            let earlier = circle.flat_map(|one| edges.before(*one));
            let places = earlier.filter_map(|operation| place_of.get(operation).copied());
            places.filter(|other| *other != place).collect()
        };
        let places: Vec<usize> = circles.keys().copied().collect();
        let order = in_order(&places, before).unwrap_or(places);
        let waits = |operation: usize| self.operations.get(operation).is_some_and(&waits);
        let steps = order.iter().filter_map(|place| circles.get(place));
        Plan {
            steps: steps.map(|circle| edges.step(circle, waits)).collect(),
            needs: edges.needs,
        }
    }

    fn edges(&self) -> Edges {
        let mut makers = HashMap::new();
        for (index, operation) in self.operations.iter().enumerate() {
            if let (Some(name), Ok(Target::New { .. })) = (&operation.bulk_id, operation.target()) {
                makers.insert(name.as_str(), index);
            }
        }
        let mut edges = Edges::default();
        let mut last = HashMap::new();
        for (index, operation) in self.operations.iter().enumerate() {
            let mut needs = vec![];
            for name in operation.references() {
                match makers.get(name) {
                    Some(maker) if *maker == index => {
                        edges.itself.insert(index);
                    }
                    Some(maker) => needs.push(*maker),
                    // That there is no such operation is the answer to this one.
                    None => {}
                }
            }
            needs.sort_unstable();
            edges.needs.push(needs);
            let before = match operation.target() {
                Ok(Target::Resource { endpoint, id }) => last.insert((endpoint, id), index),
                Ok(Target::New { .. }) | Err(_) => None,
            };
            edges.after.push(before.into_iter().collect());
        }
        edges
    }
}

/// What has to come before what.
#[derive(Default)]
struct Edges {
    /// For every operation those that make what it refers to.
    needs: Vec<Vec<usize>>,
    /// For every operation the one before it on the same resource.
    after: Vec<Vec<usize>>,
    /// Those that refer to what they make themselves.
    itself: HashSet<usize>,
}

impl Edges {
    /// What comes before an operation, for whatever reason.
    fn before(&self, operation: usize) -> impl Iterator<Item = &usize> {
        of(&self.needs, operation)
            .iter()
            .chain(of(&self.after, operation))
    }

    /// The step for operations that need each other, or for one alone.
    fn step(&self, circle: &[usize], waits: impl Fn(usize) -> bool) -> Step {
        let within = |operation: usize| -> BTreeSet<usize> {
            let needs = of(&self.needs, operation).iter().copied();
            let needs = needs.filter(|needed| circle.binary_search(needed).is_ok());
            needs.filter(|_| waits(operation)).collect()
        };
        let itself = |operation: &usize| self.itself.contains(operation) && waits(*operation);
        match (circle, in_order(circle, within)) {
            (circle, _) if circle.iter().any(itself) => Step::Knot(circle.to_vec()),
            ([one], _) => Step::One(*one),
            (_, Some(order)) => Step::Circle(order),
            (circle, None) => Step::Knot(circle.to_vec()),
        }
    }
}

fn of(edges: &[Vec<usize>], node: usize) -> &[usize] {
    edges.get(node).map_or(&[], Vec::as_slice)
}

/// The nodes, each in the circle that it is part of, which most are alone in.
/// Two walks, forth and back (Kosaraju), without recursion: a chain may be as long as a message.
fn circles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut back = vec![vec![]; edges.len()];
    for (node, needed) in edges.iter().enumerate() {
        for needed in needed {
            if let Some(back) = back.get_mut(*needed) {
                back.push(node);
            }
        }
    }
    let mut finished = vec![];
    let mut seen = HashSet::new();
    for node in 0..edges.len() {
        walk(edges, node, &mut seen, &mut finished);
    }
    let mut circles = vec![];
    let mut seen = HashSet::new();
    for node in finished.into_iter().rev() {
        let mut circle = vec![];
        walk(&back, node, &mut seen, &mut circle);
        if !circle.is_empty() {
            circle.sort_unstable();
            circles.push(circle);
        }
    }
    circles
}

/// Adds what can be reached from `node` and was not seen, each node after those that it leads to.
fn walk(edges: &[Vec<usize>], node: usize, seen: &mut HashSet<usize>, finished: &mut Vec<usize>) {
    if !seen.insert(node) {
        return;
    }
    let mut path = vec![(node, of(edges, node).iter())];
    while let Some((node, next)) = path.last_mut() {
        match next.next() {
            Some(next) if seen.insert(*next) => path.push((*next, of(edges, *next).iter())),
            Some(_) => {}
            None => {
                finished.push(*node);
                path.pop();
            }
        }
    }
}

/// The nodes in their order, but each after those `before` it; nothing if that cannot be.
fn in_order(nodes: &[usize], before: impl Fn(usize) -> BTreeSet<usize>) -> Option<Vec<usize>> {
    let mut open = HashMap::new();
    let mut then: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for node in nodes {
        let before = before(*node);
        if before.is_empty() {
            ready.push(Reverse(*node));
        }
        open.insert(*node, before.len());
        for earlier in before {
            then.entry(earlier).or_default().push(*node);
        }
    }
    let mut order = vec![];
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for later in then.remove(&node).unwrap_or_default() {
            if let Some(open) = open.get_mut(&later) {
                *open -= 1;
                if *open == 0 {
                    ready.push(Reverse(later));
                }
            }
        }
    }
    (order.len() == nodes.len()).then_some(order)
}

// ---- the answer --------------------------------------------------------

/// What became of an operation.
#[derive(Clone, PartialEq)]
pub struct BulkOutcome {
    /// Its method.
    pub method: String,
    /// Its name.
    pub bulk_id: Option<String>,
    /// The address of the resource; only a creation that failed has none.
    pub location: Option<String>,
    /// The version of the resource afterwards.
    pub version: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// The error, if it is one (B4).
    pub response: Option<Object>,
}

impl BulkOutcome {
    /// Whether it counts for `failOnErrors`.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.status >= 400
    }

    fn into_object(self) -> Object {
        let mut object = Object::new();
        object.insert("method".to_owned(), self.method.into());
        let some = [
            ("bulkId", self.bulk_id),
            ("location", self.location),
            ("version", self.version),
            ("status", Some(self.status.to_string())),
        ];
        for (name, text) in some {
            if let Some(text) = text {
                object.insert(name.to_owned(), text.into());
            }
        }
        if let Some(response) = self.response {
            object.insert("response".to_owned(), response.into());
        }
        object
    }
}

/// The answer to a bulk message.
#[derive(Clone, PartialEq)]
pub struct BulkResponse {
    /// What became of the operations that were performed, in the order of the message.
    pub operations: Vec<BulkOutcome>,
}

impl BulkResponse {
    /// The message.
    pub fn to_object(self) -> Object {
        let operations = self.operations.into_iter().map(BulkOutcome::into_object);
        let mut object = Object::new();
        object.insert(
            "schemas".to_owned(),
            Value::from(vec![BULK_RESPONSE_SCHEMA]),
        );
        object.insert(
            "Operations".to_owned(),
            operations.map(Value::Object).collect(),
        );
        object
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::ScimType;

    fn request(operations: Value) -> BulkRequest {
        let body = json!({"schemas": [BULK_REQUEST_SCHEMA], "Operations": operations});
        parse(body).unwrap()
    }

    fn parse(body: Value) -> Result<BulkRequest, Error> {
        BulkRequest::parse(crate::json::parse(body.to_string().as_bytes())?)
    }

    /// A user whose managers are named so.
    fn user(name: &str, managers: &[&str]) -> Value {
        create("/Users", name, managers)
    }

    /// A group whose members are named so.
    fn group(name: &str, members: &[&str]) -> Value {
        create("/Groups", name, members)
    }

    fn create(path: &str, name: &str, needs: &[&str]) -> Value {
        let needs: Vec<_> = needs
            .iter()
            .map(|name| json!({"value": format!("bulkId:{name}")}))
            .collect();
        json!({"method": "POST", "path": path, "bulkId": name, "data": {"needs": needs}})
    }

    fn groups_wait(operation: &BulkOperation) -> bool {
        operation
            .target()
            .is_ok_and(|target| target.endpoint() == "Groups")
    }

    #[track_caller]
    fn planned(operations: Value, steps: &[Step]) {
        assert_eq!(request(operations).plan(groups_wait).steps, steps);
    }

    use Step::{Circle, Knot, One};

    #[test]
    fn b2_who_is_referred_to_comes_first() {
        planned(
            json!([user("a", &[]), group("g", &["a"])]),
            &[One(0), One(1)],
        );
        planned(
            json!([
                group("g", &["a", "b"]),
                user("a", &["b"]),
                user("b", &[]),
                user("c", &[])
            ]),
            &[One(2), One(1), One(0), One(3)],
        );
        // Nobody has these names.
        planned(
            json!([group("g", &["x"]), user("a", &[])]),
            &[One(0), One(1)],
        );
    }

    #[test]
    fn an_operation_is_put_off_and_none_is_brought_forward() {
        planned(
            json!([
                user("a", &["b"]),
                {"method": "DELETE", "path": "/Users/1"},
                user("b", &[]),
            ]),
            &[One(1), One(2), One(0)],
        );
    }

    #[test]
    fn b2_a_circle_of_users_is_one_step() {
        planned(
            json!([user("a", &["b"]), user("c", &["a"]), user("b", &["a"])]),
            &[Circle(vec![0, 2]), One(1)],
        );
        // Whoever is behind it waits for all of it.
        planned(
            json!([
                group("g", &["a"]),
                user("a", &["b"]),
                user("b", &["c"]),
                user("c", &["a"])
            ]),
            &[Circle(vec![1, 2, 3]), One(0)],
        );
        // Its own manager.
        planned(json!([user("a", &["a"])]), &[One(0)]);
    }

    #[test]
    fn g6_a_circle_of_groups_is_a_knot() {
        planned(
            json!([group("g", &["h"]), group("h", &["g"]), group("i", &["h"])]),
            &[Knot(vec![0, 1]), One(2)],
        );
        planned(json!([group("g", &["g"])]), &[Knot(vec![0])]);
        // A group with a user who refers to it: the user can be first.
        planned(
            json!([group("g", &["a"]), user("a", &["g"])]),
            &[Circle(vec![1, 0])],
        );
    }

    #[test]
    fn operations_on_one_resource_stay_in_order() {
        let on = |method: &str, path: &str, needs: &str| json!({"method": method, "path": path, "data": {"value": needs}});
        planned(
            json!([
                on("PATCH", "/Users/1", "bulkId:a"),
                on("PUT", "Users/1/", ""),
                on("PUT", "/Users/2", ""),
                user("a", &[]),
                on("DELETE", "/Users/1?x", ""),
            ]),
            &[One(2), One(3), One(0), One(1), One(4)],
        );
        planned(
            json!([
                on("PATCH", "/Users/bulkId:a", "bulkId:b"),
                on("DELETE", "/Users/bulkId:a", ""),
                user("a", &[]),
                user("b", &["a"]),
            ]),
            &[One(2), One(3), One(0), One(1)],
        );
    }

    #[track_caller]
    fn targets(method: &str, path: &str, expected: Result<Target<'_>, u16>) {
        let request = request(json!([{"method": method, "path": path, "bulkId": "x"}]));
        let target = request.operations[0].target();
        assert_eq!(target.map_err(|error| error.status()), expected);
    }

    #[test]
    fn b1_paths_and_methods_are_taken_in_every_form() {
        let new = |endpoint| Ok(Target::New { endpoint });
        let on = |endpoint, id| Ok(Target::Resource { endpoint, id });
        for path in [
            "/Users",
            "Users",
            "/Users/",
            "Users/",
            "/Users?attributes=id",
        ] {
            targets("POST", path, new("Users"));
            targets("post", path, new("Users"));
            for method in ["PUT", "PATCH", "DELETE", "GET", "HEAD", "x"] {
                targets(method, path, Err(405));
            }
        }
        for path in [
            "/Groups/1",
            "Groups/1",
            "/Groups/1/",
            "/Groups/1?a=b/c",
            "/Groups/1#a",
        ] {
            targets("Patch", path, on("Groups", Id::Known("1")));
            targets("POST", path, Err(405));
        }
        targets("DELETE", "/Users/bulkId:a/b", on("Users", Id::Named("a/b")));
        targets("POST", "/Bulk", new("Bulk"));
        targets("POST", "/", new(""));
        let unnamed = request(json!([{"method": "POST", "path": "/Users"}]));
        let error = unnamed.operations[0].target().unwrap_err();
        assert_eq!(error.scim_type(), Some(ScimType::InvalidSyntax));
        assert!(error.detail().starts_with("bulkId is missing"));
        let query = request(json!([{"method": "PUT", "path": "/Users/1?attributes=id&x=?"}]));
        assert_eq!(query.operations[0].query(), Some("attributes=id&x=?"));
    }

    #[test]
    fn names_are_read_in_any_case_and_null_is_missing() {
        let body = json!({"SCHEMAS": BULK_REQUEST_SCHEMA.to_uppercase(), "failonerrors": 0, "operations": [
            {"Method": "delete", "PATH": "/Users/1", "BulkID": null, "version": "W/\"1\"", "data": null}]});
        let request = parse(body).unwrap();
        assert_eq!(request.fail_on_errors, None);
        let operation = &request.operations[0];
        assert_eq!(operation.method, "DELETE");
        assert_eq!((&operation.bulk_id, &operation.data), (&None, &None));
        assert_eq!(operation.version.as_deref(), Some("W/\"1\""));
    }

    #[track_caller]
    fn refused(body: Value, status: u16, because: &str) {
        let error = parse(body).unwrap_err();
        assert_eq!(error.status(), status);
        let syntax = (status == 400).then_some(ScimType::InvalidSyntax);
        assert_eq!(error.scim_type(), syntax);
        assert!(error.detail().contains(because), "{}", error.detail());
    }

    #[test]
    fn what_is_no_bulk_request_is_refused_whole() {
        refused(json!({}), 400, "Operations is missing");
        refused(json!({"Operations": {}}), 400, "expected a list");
        refused(
            json!({"Operations": [7]}),
            400,
            "Operations[0]: expected an object",
        );
        refused(
            json!({"schemas": ["x"], "Operations": []}),
            400,
            "BulkRequest",
        );
        for errors in [json!(-1), json!(1.5), json!("1"), json!([])] {
            refused(
                json!({"failOnErrors": errors, "Operations": []}),
                400,
                "failOnErrors",
            );
        }
        let one = |operation: Value| json!({"Operations": [{"method": "PUT", "path": "/Users/1"}, operation]});
        refused(
            one(json!({"path": "/Users"})),
            400,
            "Operations[1].method is missing",
        );
        refused(
            one(json!({"method": "PUT"})),
            400,
            "Operations[1].path is missing",
        );
        refused(
            one(json!({"method": 1, "path": ""})),
            400,
            "Operations[1].method: expected a string",
        );
        let version = json!({"method": "PUT", "path": "/Users/1", "version": 1});
        refused(
            one(version),
            400,
            "Operations[1].version: expected a string",
        );
        let twice = json!({"Operations": [user("a", &[]), user("b", &[]), user("a", &[])]});
        refused(
            twice,
            400,
            "Operations[2].bulkId: \"a\" is the name of an earlier",
        );
    }

    #[test]
    fn b5_more_operations_than_maximum_are_413() {
        let of = |count: usize| {
            let operations: Vec<_> = (0..count)
                .map(|_| json!({"method": "DELETE", "path": "/Users/1"}))
                .collect();
            json!({"Operations": operations})
        };
        assert!(parse(of(MAX_BULK_OPERATIONS)).is_ok());
        refused(of(MAX_BULK_OPERATIONS + 1), 413, "maxOperations is 1000");
    }

    #[test]
    fn b2_references_are_whole_strings_anywhere_in_the_data() {
        let data = json!({"a": "bulkId:x", "b": [{"$ref": "bulkId:y"}], "c": "see bulkId:x", "d": "bulkid:x", "bulkId:x": 1});
        let request = request(json!([{"method": "PUT", "path": "/Users/1", "data": data}]));
        let operation = &request.operations[0];
        assert_eq!(operation.references(), BTreeSet::from(["x", "y"]));
        let id = |name: &str| Ok(format!("id of {name}"));
        let resolved = operation.resolve(&id).unwrap().unwrap();
        assert_eq!(
            resolved,
            json!({"a": "id of x", "b": [{"$ref": "id of y"}], "c": "see bulkId:x", "d": "bulkid:x", "bulkId:x": 1})
        );
        let none = |name: &str| match name {
            "x" => Ok(String::new()),
            name => Err(Error::unresolved(name, "it failed")),
        };
        let error = operation.resolve(&none).unwrap_err();
        assert_eq!((error.status(), error.scim_type()), (409, None));
        assert_eq!(
            error.detail(),
            "\"bulkId:y\" stands for no resource: it failed."
        );
    }

    #[test]
    fn a_patch_may_be_the_list_of_the_rfcs_example() {
        let list = json!([{"op": "remove", "path": "nickName"}]);
        let request = request(json!([
            {"method": "PATCH", "path": "/Users/1", "data": list},
            {"method": "PUT", "path": "/Users/1", "data": list},
        ]));
        assert_eq!(
            request.operations[0].data,
            Some(json!({"Operations": list}))
        );
        assert_eq!(request.operations[1].data, Some(list));
    }

    #[test]
    fn b4_an_answer_has_what_there_is_to_say() {
        let answer = BulkResponse {
            operations: vec![BulkOutcome {
                method: "POST".to_owned(),
                bulk_id: Some("a".to_owned()),
                location: None,
                version: None,
                status: 409,
                response: Some(Error::new(409, None, "taken").to_object()),
            }],
        };
        assert_eq!(
            Value::Object(answer.to_object()),
            json!({"schemas": [BULK_RESPONSE_SCHEMA], "Operations": [{
                "method": "POST", "bulkId": "a", "status": "409",
                "response": {"schemas": [crate::ERROR_SCHEMA], "status": "409", "detail": "taken"},
            }]})
        );
    }

    #[test]
    fn no_data_is_shown_by_debug() {
        let request =
            request(json!([{"method": "PUT", "path": "/Users/ann", "data": {"password": "x1"}}]));
        let shown = format!("{request:?}");
        assert!(!shown.contains("ann") && !shown.contains("x1"), "{shown}");
    }

    /// The largest messages there are, each planned in a time that is no square of their size.
    #[test]
    fn planning_is_quick_in_the_worst_cases() {
        let names: Vec<String> = (0..MAX_BULK_OPERATIONS).map(|n| n.to_string()).collect();
        let name = |n: usize| names[n % names.len()].as_str();
        let all = 0..names.len();
        let chain = all.clone().map(|n| {
            user(
                name(n),
                if n + 1 < names.len() {
                    vec![name(n + 1)]
                } else {
                    vec![]
                }
                .as_slice(),
            )
        });
        let circle = all.clone().map(|n| user(name(n), &[name(n + 1)]));
        let knot = all.clone().map(|n| group(name(n), &[name(n + 1)]));
        // As many references as a payload of 1 MiB holds, and twice as many.
        let dense = |create: fn(&str, &[&str]) -> Value| {
            let operations = all.clone().map(|n| {
                let needs: Vec<&str> = (0..100).map(|other| name(n + 1 + other * 7)).collect();
                create(name(n), &needs)
            });
            operations.collect::<Value>()
        };
        for operations in [
            chain.collect(),
            circle.collect(),
            knot.collect(),
            dense(user),
            dense(group),
        ] {
            let request = request(operations);
            let begun = Instant::now();
            let plan = request.plan(groups_wait);
            let took = begun.elapsed();
            check(&request, &plan).unwrap();
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
    }

    /// That a plan is one: everything once, and whatever is needed before whoever needs it.
    fn check(request: &BulkRequest, plan: &Plan) -> Result<(), TestCaseError> {
        let mut done = HashSet::new();
        let mut last = HashMap::new();
        for step in &plan.steps {
            let together: HashSet<usize> = step.operations().iter().copied().collect();
            for operation in step.operations() {
                for needed in &plan.needs[*operation] {
                    let there = done.contains(needed);
                    let waits = groups_wait(&request.operations[*operation]);
                    match step {
                        One(_) => prop_assert!(there),
                        Circle(_) if waits => prop_assert!(there),
                        Circle(_) | Knot(_) => prop_assert!(there || together.contains(needed)),
                    }
                }
                prop_assert!(done.insert(*operation));
                if let Ok(Target::Resource { endpoint, id }) =
                    request.operations[*operation].target()
                {
                    let before = last.insert((endpoint, id), *operation);
                    prop_assert!(before.is_none_or(|before| before < *operation));
                }
            }
            if let Circle(operations) | Knot(operations) = step {
                let refers = operations.iter().any(|one| {
                    plan.needs[*one]
                        .iter()
                        .any(|needed| together.contains(needed))
                });
                prop_assert!(refers || operations.len() == 1);
            }
            if let Knot(operations) = step {
                prop_assert!(
                    operations
                        .iter()
                        .any(|one| groups_wait(&request.operations[*one]))
                );
            }
        }
        prop_assert_eq!(done.len(), request.operations.len());
        Ok(())
    }

    fn operation() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
        (0..8u8, 0..12u8, prop::collection::vec(0..14u8, 0..3))
    }

    proptest! {
        #[test]
        fn a_plan_has_everything_once_and_in_order(drawn in prop::collection::vec(operation(), 0..12)) {
            let operations = drawn.iter().enumerate().map(|(index, (kind, target, needs))| {
                let needs: Vec<String> = needs.iter().map(u8::to_string).collect();
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                let name = index.to_string();
                let mut operation = match kind {
                    0..3 => user(&name, &needs),
                    3..5 => group(&name, &needs),
                    _ => user(&name, &needs),
                };
                if *kind >= 5 {
                    operation["method"] = json!(["PUT", "PATCH", "DELETE"][usize::from(kind - 5)]);
                    let id = match target % 2 { 0 => format!("{target}"), _ => format!("bulkId:{target}") };
                    operation["path"] = json!(format!("/{}/{id}", if target % 3 == 0 { "Users" } else { "Groups" }));
                }
                operation
            });
            let request = request(operations.collect());
            check(&request, &request.plan(groups_wait))?;
        }

        #[test]
        fn no_message_makes_it_panic(text in r#"\{("(schemas|Operations|failOnErrors|method|path|bulkId|data|x)":(\[\{"(method|path|bulkId|data)":("[ -~&&[^"\\]]{0,12}"|null|1)\}\]|\[\]|null|-?[0-9]),?){0,4}\}"#) {
            if let Ok(body) = crate::json::parse(text.as_bytes())
                && let Ok(request) = BulkRequest::parse(body)
            {
                check(&request, &request.plan(groups_wait))?;
            }
        }

        #[test]
        fn no_operation_makes_it_panic(method in "(POST|put|PATCH|DELETE|.{0,5})", path in ".{0,20}", name in ".{0,5}", data in "(bulkId:)?.{0,5}") {
            let operations = json!([{"method": method, "path": path, "bulkId": name, "data": [data]}]);
            if let Ok(request) = parse(json!({"Operations": operations})) {
                check(&request, &request.plan(groups_wait))?;
                let _ = request.operations[0].resolve(&|name| Err(Error::unresolved(name, "no")));
            }
        }
    }
}
