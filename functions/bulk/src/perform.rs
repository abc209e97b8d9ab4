//! `POST /Bulk` (RFC 7644 §3.7): the operations of a request, in the order that they need.
//!
//! Whoever refers to another resource of the request by its `bulkId` comes
//! after it (`scim::Plan`); ids are chosen before anything is created. An
//! operation that refers to what is not there, because there is no such
//! `bulkId` or because its operation failed, is a 409 and does nothing.
//!
//! Users who refer to each other in a circle, as each other's manager, are
//! created with each other's ids. They are created all or none: if one of them
//! fails, those that were created before it are deleted again and every one of
//! them is an error, so that nobody has a manager who does not exist, and the
//! same request can be sent again once it is put right. (It is the one thing
//! that shows as `user.created` and `user.deleted` of one request.) A note is
//! written before the first of them: if the process is interrupted, the same
//! request again goes on under the same ids, and if it does not come within a
//! minute, the sweeper deletes those that are there. Groups that
//! would be members of each other are a 400, as they are one by one.
//!
//! What cannot meet goes side by side: creations of users under different
//! names, and PATCHes of different users that leave their names alone. All
//! else waits for what came before it. Nothing begins that would not have begun
//! one after the other: after `failOnErrors` errors, counted as if everything
//! under way failed, nothing does.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use axum::extract::State;
use axum::response::Response;
use directory::{Circle, Ids, ResourceId};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gateway::{Error, Gateway, JsonBytes, Working, object, size};
use http::StatusCode;
use http::request::Parts;
use scim::ResourceType;
use scim::bulk::{
    BulkOperation, BulkOutcome, BulkRequest, BulkResponse, Id, MAX_BULK_BYTES, Plan, Step, Target,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Patience;
use crate::operations::{self, Call, Sender};

/// How many operations are under way at once.
const SIDE_BY_SIDE: usize = 8;

/// Why a request is not begun that could not be answered.
const TOO_MANY: &str =
    "The answer to so many operations would be too large. Nothing was done: send fewer at a time.";

/// Why a name stands for nothing.
const FAILED: &str = "the operation that was to create it failed";

/// Performs a bulk request. All of it is read before any of it is done (B5).
pub(crate) async fn bulk(
    State(gateway): State<Gateway>,
    Working(caller, work): Working,
    parts: Parts,
    JsonBytes(bytes): JsonBytes<MAX_BULK_BYTES>,
    patience: Patience,
) -> Result<Response, Error> {
    let begun = Instant::now();
    let request = BulkRequest::parse(scim::json::parse(&bytes)?)?;
    // The request itself is the first of them.
    work.add(request.operations.len().saturating_sub(1));
    let plan = request.plan(is_group);
    let mut ids = HashMap::new();
    for (index, operation) in request.operations.iter().enumerate() {
        if let (Some(name), Ok(Target::New { .. })) = (&operation.bulk_id, operation.target()) {
            ids.insert(name.as_str(), (index, gateway.store().new_id()));
        }
    }
    let sender = Sender::new(
        gateway.within_a_request(),
        caller,
        parts,
        begun + patience.answer,
    );
    let briefly = request.operations.iter().map(|of| sender.at_most(of));
    let briefly = BulkResponse {
        operations: briefly.collect(),
    };
    if !size::fits(&briefly.to_object()) {
        return Err(scim::Error::new(413, None, TOO_MANY).into());
    }
    let bulk = Bulk {
        sender,
        request: &request,
        plan: &plan,
        ids,
        of_circles: Mutex::default(),
        last_beginning: begun + patience.begin,
    };
    let mut done = Done {
        outcomes: vec![None; request.operations.len()],
        errors: 0,
        most_errors: request.fail_on_errors.unwrap_or(u64::MAX),
        late: false,
    };
    bulk.perform(&mut done).await;
    let mut operations: Vec<BulkOutcome> = done.outcomes.into_iter().flatten().collect();
    let whole = BulkResponse {
        operations: operations.clone(),
    };
    let whole = whole.to_object();
    if size::fits(&whole) {
        return Ok(object(StatusCode::OK, whole));
    }
    operations.iter_mut().for_each(operations::shorten);
    let response = BulkResponse { operations };
    Ok(object(StatusCode::OK, response.to_object()))
}

/// Members must exist when a group gets them; a manager need not.
fn is_group(operation: &BulkOperation) -> bool {
    operation
        .target()
        .is_ok_and(|target| target.endpoint() == "Groups")
}

/// What has been done so far.
struct Done {
    /// By the places of the operations in the request; an operation that was not run has none.
    outcomes: Vec<Option<BulkOutcome>>,
    errors: u64,
    most_errors: u64,
    /// Whether an operation was not begun because the time was up.
    late: bool,
}

impl Done {
    fn of(&self, operation: usize) -> Option<&BulkOutcome> {
        self.outcomes.get(operation)?.as_ref()
    }

    fn is_created(&self, operation: usize) -> bool {
        self.of(operation)
            .is_some_and(|outcome| !outcome.is_error())
    }

    fn has_failed(&self, operation: usize) -> bool {
        self.of(operation).is_some_and(BulkOutcome::is_error)
    }

    /// Notes an outcome, in place of an earlier one if there is one.
    fn note(&mut self, operation: usize, outcome: BulkOutcome) {
        let new = outcome.is_error() && !self.has_failed(operation);
        self.errors += u64::from(new);
        self.leave(operation, outcome);
    }

    /// Notes an outcome that says nothing about the request, and so does not count for `failOnErrors`.
    fn leave(&mut self, operation: usize, outcome: BulkOutcome) {
        if let Some(entry) = self.outcomes.get_mut(operation) {
            *entry = Some(outcome);
        }
    }

    /// Whether nothing may be begun while so many others are under way, of which each may fail (B3).
    fn is_over(&self, under_way: usize) -> bool {
        self.errors.saturating_add(under_way as u64) >= self.most_errors
    }
}

/// What an operation may meet.
#[derive(PartialEq)]
enum Touches<'a> {
    /// A user who is new, by the name that no other user has.
    Name(String),
    /// A user whose name stays.
    User(Id<'a>),
    /// Anything.
    Anything,
}

impl<'a> Touches<'a> {
    fn new(operation: &'a BulkOperation) -> Self {
        let data = operation.data.as_ref();
        match (operation.method.as_str(), operation.target()) {
            ("POST", Ok(Target::New { endpoint: "Users" })) => {
                let data = data.and_then(Value::as_object).into_iter().flatten();
                let mut names = data.filter(|(key, _)| key.eq_ignore_ascii_case("userName"));
                match names.next() {
                    Some((_, Value::String(name))) => {
                        let attribute = ResourceType::user().attribute("userName");
                        attribute.map_or(Self::Anything, |of| Self::Name(of.prepare(name)))
                    }
                    _ => Self::Anything,
                }
            }
            (
                "PATCH",
                Ok(Target::Resource {
                    endpoint: "Users",
                    id,
                }),
            ) => {
                let text = data.map(Value::to_string).unwrap_or_default();
                let renames = text.to_ascii_lowercase().contains("username");
                // An id with an escape is another text for the same id.
                let escaped = matches!(id, Id::Known(id) if id.contains('%'));
                match renames || escaped {
                    true => Self::Anything,
                    false => Self::User(id),
                }
            }
            _ => Self::Anything,
        }
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = (usize, BulkOutcome)> + Send + 'a>>;

/// The operations that are under way.
#[derive(Default)]
struct UnderWay<'a> {
    sent: FuturesUnordered<Sent<'a>>,
    touches: HashMap<usize, Touches<'a>>,
}

impl<'a> UnderWay<'a> {
    fn admits(&self, touches: &Touches<'a>) -> bool {
        let mut others = self.touches.values();
        let free = |other: &Touches<'a>| *other != Touches::Anything && other != touches;
        self.sent.is_empty()
            || self.sent.len() < SIDE_BY_SIDE && *touches != Touches::Anything && others.all(free)
    }

    /// Waits for one of them, if there is one.
    async fn wait(&mut self, done: &mut Done) {
        if let Some((operation, outcome)) = self.sent.next().await {
            self.touches.remove(&operation);
            done.note(operation, outcome);
        }
    }

    async fn wait_for_all(&mut self, done: &mut Done) {
        while !self.sent.is_empty() {
            self.wait(done).await;
        }
    }
}

/// A bulk request that is being performed.
struct Bulk<'a> {
    sender: Sender,
    request: &'a BulkRequest,
    plan: &'a Plan,
    /// What the names stand for: the operation that creates it, and the id that it will have.
    ids: HashMap<&'a str, (usize, ResourceId)>,
    /// The ids that operations of circles create under instead: those of the same request before.
    of_circles: Mutex<HashMap<usize, ResourceId>>,
    /// When nothing is begun any more.
    last_beginning: Instant,
}

impl<'a> Bulk<'a> {
    async fn perform(&self, done: &mut Done) {
        let mut under_way = UnderWay::default();
        let alone = HashSet::new();
        for step in &self.plan.steps {
            match step {
                Step::One(operation) => self.begin(*operation, &alone, &mut under_way, done).await,
                Step::Circle(circle) => {
                    under_way.wait_for_all(done).await;
                    self.circle(circle, &mut under_way, done).await;
                }
                Step::Knot(knot) => {
                    under_way.wait_for_all(done).await;
                    self.knot(knot, done);
                }
            }
            if done.is_over(0) {
                break;
            }
        }
        under_way.wait_for_all(done).await;
    }

    /// Begins an operation as soon as nothing that is under way can meet it.
    /// The ids of those in its own circle may be used before they are there.
    async fn begin<'b>(
        &'b self,
        index: usize,
        circle: &HashSet<usize>,
        under_way: &mut UnderWay<'b>,
        done: &mut Done,
    ) {
        let Some(operation) = self.request.operations.get(index) else {
            return;
        };
        let touches = Touches::new(operation);
        while !under_way.admits(&touches)
            || !under_way.sent.is_empty() && done.is_over(under_way.sent.len())
            || self
                .needs(index)
                .any(|needed| under_way.touches.contains_key(needed) && !circle.contains(needed))
        {
            under_way.wait(done).await;
        }
        if done.is_over(0) || circle.iter().any(|one| done.has_failed(*one)) {
            return;
        }
        if Instant::now() >= self.last_beginning {
            done.late = true;
            done.leave(index, self.too_late(operation));
            return;
        }
        match self.call(index, operation, circle, done) {
            Ok(call) => {
                under_way.touches.insert(index, touches);
                let sent = async move { (index, self.sender.send(operation, call).await) };
                under_way.sent.push(Box::pin(sent));
            }
            Err(error) => done.note(index, self.sender.refused(operation, &error)),
        }
    }

    fn needs(&self, operation: usize) -> impl Iterator<Item = &usize> {
        self.plan.needs.get(operation).into_iter().flatten()
    }

    /// The call for an operation, with ids in the place of names.
    fn call(
        &self,
        index: usize,
        operation: &BulkOperation,
        circle: &HashSet<usize>,
        done: &Done,
    ) -> Result<Call, scim::Error> {
        let id_of = |name: &str| match self.ids.get(name) {
            None => Err(scim::Error::unresolved(
                name,
                "no operation of this request creates a resource under this bulkId",
            )),
            Some((maker, id))
                if *maker == index || circle.contains(maker) || done.is_created(*maker) =>
            {
                Ok(self.id_of(*maker, *id).to_string())
            }
            Some(_) => Err(scim::Error::unresolved(name, FAILED)),
        };
        let id = match operation.target()? {
            Target::New { .. } => id_of(operation.bulk_id.as_deref().unwrap_or_default())?,
            Target::Resource { id, .. } => match id {
                Id::Known(id) => id.to_owned(),
                Id::Named(name) => id_of(name)?,
            },
        };
        let data = operation.resolve(&id_of)?;
        // Only users of a circle may be there already, under the ids of the same request before.
        let ids = match circle.contains(&index) {
            true => Ids::repeated,
            false => Ids::one,
        };
        self.sender.call(operation, &id, data, ids)
    }

    /// Performs operations that refer to each other, all of them or none.
    async fn circle<'b>(
        &'b self,
        operations: &[usize],
        under_way: &mut UnderWay<'b>,
        done: &mut Done,
    ) {
        if done.is_over(0) {
            return;
        }
        let noted = match self.note(operations).await {
            Ok(noted) => noted,
            Err(error) => {
                let error = Error::from(error).to_scim();
                for index in operations {
                    if let Some(operation) = self.request.operations.get(*index) {
                        done.note(*index, self.sender.refused(operation, &error));
                    }
                }
                return;
            }
        };
        let circle = operations.iter().copied().collect();
        for operation in operations {
            self.begin(*operation, &circle, under_way, done).await;
        }
        under_way.wait_for_all(done).await;
        let created = operations.iter().all(|one| done.is_created(*one));
        let ended = match created {
            true => self.sender.store().end_circle(noted).await.unwrap_or(false),
            false => false,
        };
        if ended {
            return;
        }
        // What is not done now is done by the sweeper.
        let undone =
            self.sender
                .store()
                .undo_circle(self.sender.caller(), noted, self.sender.now());
        let undone = undone.await.is_ok();
        let failed = operations.iter().find(|one| done.has_failed(**one));
        let failed = failed.or(operations.first());
        if let Some(name) = failed.and_then(|one| self.name(*one)) {
            self.take_back(operations, name, undone, done);
        }
    }

    /// Notes that a circle is about to be created, so that it is taken back if this process does not come to its end, and
    /// takes the ids of the same request before, if that has not.
    async fn note(&self, operations: &[usize]) -> Result<Circle, directory::Error> {
        let mut content = String::new();
        let mut ids = vec![];
        for index in operations {
            let Some(operation) = self.request.operations.get(*index) else {
                continue;
            };
            let name = operation.bulk_id.as_deref().unwrap_or_default();
            content.push_str(&json!([operation.path, name, operation.data]).to_string());
            ids.extend(self.ids.get(name).map(|(_, id)| *id));
        }
        let circle = Circle::new(self.sender.caller(), content.as_bytes());
        let begun = self
            .sender
            .store()
            .begin_circle(circle, &ids, self.sender.now());
        let ids = begun.await?;
        let mut of_circles = self
            .of_circles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        of_circles.extend(operations.iter().copied().zip(ids));
        Ok(circle)
    }

    /// The id under which an operation creates.
    fn id_of(&self, operation: usize, usual: ResourceId) -> ResourceId {
        let of_circles = self
            .of_circles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        of_circles.get(&operation).copied().unwrap_or(usual)
    }

    /// Answers the operations of a circle in which the operation of that name failed, of which nothing is left, or is
    /// going to be left.
    fn take_back(&self, circle: &[usize], failed: &str, undone: bool, done: &mut Done) {
        const ALL_OR_NONE: &str = "the operation that was to create it failed, and those that refer to each other in a circle are done all or none";
        const STAYS: &str = "the operation that was to create it failed. What this operation has created is deleted within minutes";
        for index in circle {
            let Some(operation) = self.request.operations.get(*index) else {
                continue;
            };
            let refused = |why| {
                let error = scim::Error::unresolved(failed, why);
                self.sender.refused(operation, &error)
            };
            match done.of(*index) {
                // Its own error is its answer.
                Some(outcome) if outcome.is_error() => {}
                Some(outcome) if !undone => {
                    let location = outcome.location.clone();
                    let stays = BulkOutcome {
                        location,
                        ..refused(STAYS)
                    };
                    done.note(*index, stays);
                }
                None if done.is_over(0) => {}
                _ if done.late => done.leave(*index, self.too_late(operation)),
                _ => done.note(*index, refused(ALL_OR_NONE)),
            }
        }
    }

    /// Answers operations of which none can be the first: groups that would be members of each other.
    fn knot(&self, operations: &[usize], done: &mut Done) {
        for index in operations {
            let Some(operation) = self.request.operations.get(*index) else {
                continue;
            };
            if done.is_over(0) {
                return;
            }
            let error = match is_group(operation) {
                true => scim::Error::invalid_value(
                    "members.value",
                    "the group would be a member of itself, be it through other groups that this request creates. Nothing was changed.",
                ),
                false => {
                    let mut needs = self.needs(*index);
                    let name = needs.find_map(|needed| self.name(*needed));
                    scim::Error::unresolved(name.unwrap_or_default(), FAILED)
                }
            };
            done.note(*index, self.sender.refused(operation, &error));
        }
    }

    fn name(&self, operation: usize) -> Option<&'a str> {
        self.request.operations.get(operation)?.bulk_id.as_deref()
    }

    fn too_late(&self, operation: &BulkOperation) -> BulkOutcome {
        let what =
            "This operation was not carried out: the time of the request was up. Send it again.";
        let error = scim::Error::new(429, None, what);
        self.sender.refused(operation, &error)
    }
}
