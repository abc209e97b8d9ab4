//! `POST /Bulk` (RFC 7644 §3.7): the operations of a request, in the order that they need.
//!
//! Whoever refers to another resource of the request by its `bulkId` comes
//! after it (`scim::Plan`); ids are chosen before anything is created. An
//! operation that refers to what is not there, because there is no such
//! `bulkId` or because its operation failed, is a 409 and does nothing.
//!
//! Users who refer to each other in a cycle, as each other's manager, are
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
    BulkOperation, BulkOutcome, BulkRequest, BulkResponse, Id, MAX_BULK_BYTES, Plan, PlanStep,
    Target,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Deadlines;
use crate::operations::{self, Call, Sender};

/// How many operations are under way at once.
const MAX_CONCURRENT: usize = 8;

/// Why a request is not begun that could not be answered.
const TOO_MANY: &str = "The response to so many operations would be too large. No operation was performed; send fewer at a time.";

/// Why a name stands for nothing.
const FAILED: &str = "the operation that creates it failed";

/// Performs a bulk request. All of it is read before any of it is done (B5).
pub(crate) async fn bulk(
    State(gateway): State<Gateway>,
    Working(caller, work): Working,
    parts: Parts,
    JsonBytes(bytes): JsonBytes<MAX_BULK_BYTES>,
    deadlines: Deadlines,
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
        begun + deadlines.answer,
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
        ids_of_cycles: Mutex::default(),
        last_beginning: begun + deadlines.begin,
    };
    let mut done = Progress {
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
struct Progress {
    /// By the places of the operations in the request; an operation that was not run has none.
    outcomes: Vec<Option<BulkOutcome>>,
    errors: u64,
    most_errors: u64,
    /// Whether an operation was not begun because the time was up.
    late: bool,
}

impl Progress {
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
    fn is_over(&self, in_flight: usize) -> bool {
        self.errors.saturating_add(in_flight as u64) >= self.most_errors
    }
}

/// What an operation may meet.
#[derive(PartialEq)]
enum Conflicts<'a> {
    /// A user who is new, by the name that no other user has.
    Name(String),
    /// A user whose name stays.
    User(Id<'a>),
    /// Anything.
    Anything,
}

impl<'a> Conflicts<'a> {
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
struct InFlight<'a> {
    sent: FuturesUnordered<Sent<'a>>,
    conflicts: HashMap<usize, Conflicts<'a>>,
}

impl<'a> InFlight<'a> {
    fn admits(&self, conflicts: &Conflicts<'a>) -> bool {
        let mut others = self.conflicts.values();
        let free = |other: &Conflicts<'a>| *other != Conflicts::Anything && other != conflicts;
        self.sent.is_empty()
            || self.sent.len() < MAX_CONCURRENT
                && *conflicts != Conflicts::Anything
                && others.all(free)
    }

    /// Waits for one of them, if there is one.
    async fn wait(&mut self, done: &mut Progress) {
        if let Some((operation, outcome)) = self.sent.next().await {
            self.conflicts.remove(&operation);
            done.note(operation, outcome);
        }
    }

    async fn wait_for_all(&mut self, done: &mut Progress) {
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
    ids_of_cycles: Mutex<HashMap<usize, ResourceId>>,
    /// When nothing is begun any more.
    last_beginning: Instant,
}

impl<'a> Bulk<'a> {
    async fn perform(&self, done: &mut Progress) {
        let mut in_flight = InFlight::default();
        let alone = HashSet::new();
        for step in &self.plan.steps {
            match step {
                PlanStep::One(operation) => {
                    self.begin(*operation, &alone, &mut in_flight, done).await
                }
                PlanStep::Cycle(cycle) => {
                    in_flight.wait_for_all(done).await;
                    self.cycle(cycle, &mut in_flight, done).await;
                }
                PlanStep::UnresolvableCycle(cycle) => {
                    in_flight.wait_for_all(done).await;
                    self.refuse_cycle(cycle, done);
                }
            }
            if done.is_over(0) {
                break;
            }
        }
        in_flight.wait_for_all(done).await;
    }

    /// Begins an operation as soon as nothing that is under way can meet it.
    /// The ids of those in its own cycle may be used before they are there.
    async fn begin<'b>(
        &'b self,
        index: usize,
        cycle: &HashSet<usize>,
        in_flight: &mut InFlight<'b>,
        done: &mut Progress,
    ) {
        let Some(operation) = self.request.operations.get(index) else {
            return;
        };
        let conflicts = Conflicts::new(operation);
        while !in_flight.admits(&conflicts)
            || !in_flight.sent.is_empty() && done.is_over(in_flight.sent.len())
            || self
                .needs(index)
                .any(|needed| in_flight.conflicts.contains_key(needed) && !cycle.contains(needed))
        {
            in_flight.wait(done).await;
        }
        if done.is_over(0) || cycle.iter().any(|one| done.has_failed(*one)) {
            return;
        }
        if Instant::now() >= self.last_beginning {
            done.late = true;
            done.leave(index, self.too_late(operation));
            return;
        }
        match self.call(index, operation, cycle, done) {
            Ok(call) => {
                in_flight.conflicts.insert(index, conflicts);
                let sent = async move { (index, self.sender.send(operation, call).await) };
                in_flight.sent.push(Box::pin(sent));
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
        cycle: &HashSet<usize>,
        done: &Progress,
    ) -> Result<Call, scim::Error> {
        let id_of = |name: &str| match self.ids.get(name) {
            None => Err(scim::Error::unresolved(
                name,
                "no operation of this request creates a resource with this bulkId",
            )),
            Some((maker, id))
                if *maker == index || cycle.contains(maker) || done.is_created(*maker) =>
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
        // Only users of a cycle may be there already, under the ids of the same request before.
        let ids = match cycle.contains(&index) {
            true => Ids::repeated,
            false => Ids::one,
        };
        self.sender.call(operation, &id, data, ids)
    }

    /// Performs operations that refer to each other, all of them or none.
    async fn cycle<'b>(
        &'b self,
        operations: &[usize],
        in_flight: &mut InFlight<'b>,
        done: &mut Progress,
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
        let cycle = operations.iter().copied().collect();
        for operation in operations {
            self.begin(*operation, &cycle, in_flight, done).await;
        }
        in_flight.wait_for_all(done).await;
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
            self.roll_back(operations, name, undone, done);
        }
    }

    /// Notes that a cycle is about to be created, so that it is taken back if this process does not come to its end, and
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
        let cycle = Circle::new(self.sender.caller(), content.as_bytes());
        let begun = self
            .sender
            .store()
            .begin_circle(cycle, &ids, self.sender.now());
        let ids = begun.await?;
        let mut ids_of_cycles = self
            .ids_of_cycles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ids_of_cycles.extend(operations.iter().copied().zip(ids));
        Ok(cycle)
    }

    /// The id under which an operation creates.
    fn id_of(&self, operation: usize, usual: ResourceId) -> ResourceId {
        let ids_of_cycles = self
            .ids_of_cycles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ids_of_cycles.get(&operation).copied().unwrap_or(usual)
    }

    /// Answers the operations of a cycle in which the operation of that name failed, of which nothing is left, or is
    /// going to be left.
    fn roll_back(&self, cycle: &[usize], failed: &str, undone: bool, done: &mut Progress) {
        const ALL_OR_NONE: &str = "the operation that creates it failed, and operations that refer to each other in a cycle succeed or fail together";
        const STAYS: &str = "the operation that creates it failed. The resource that this operation created is deleted within minutes";
        for index in cycle {
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
    fn refuse_cycle(&self, operations: &[usize], done: &mut Progress) {
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
                    "the group would be a member of itself, directly or through other groups of this request. Nothing was changed.",
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
            "The request timed out before this operation was performed. Send the operation again.";
        let error = scim::Error::new(429, None, what);
        self.sender.refused(operation, &error)
    }
}
