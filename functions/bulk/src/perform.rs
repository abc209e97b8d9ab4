//! `POST /Bulk` (RFC 7644 §3.7): performs the operations of a request.
//!
//! An operation that refers to a resource by its `bulkId` is performed after its creation
//! ([`scim::bulk::Plan`]). Ids are chosen before resources are created. An operation whose
//! reference does not resolve, because the `bulkId` is unknown or its operation failed, is 409 and
//! changes nothing.
//!
//! Users who refer to each other in a cycle, for example as each other's manager, are created with
//! each other's ids. All of them are created or none: if one creation fails, the users that were
//! created before it are deleted and every operation of the cycle is an error. No user has a
//! manager who does not exist, and the corrected request can be sent again. In this case one
//! request causes `user.created` and `user.deleted` events. A note is written before the first
//! creation. If the process is interrupted, a repetition of the request continues with the same
//! ids; without a repetition within a minute, the sweeper deletes the users. Groups that would be
//! members of each other are 400, as in single requests.
//!
//! Operations without conflicts run in parallel: creations of users with different names, and
//! PATCHes of different users that do not change their names. Every other operation waits for the
//! ones before it. An operation begins only if it would also begin in sequential execution:
//! operations in flight count as errors for `failOnErrors`.

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

/// Maximum number of operations in flight.
const MAX_CONCURRENT: usize = 8;

/// The error of a request whose response would be too large.
const TOO_MANY: &str = "The response to so many operations would be too large. No operation was performed; send fewer at a time.";

/// The reason why the reference to a failed creation does not resolve.
const FAILED: &str = "the operation that creates it failed";

/// Performs a bulk request. The whole request is read before the first operation is performed (RFC
/// 7644 §3.7.4, B5).
pub(crate) async fn bulk(
    State(gateway): State<Gateway>,
    Working(caller, work): Working,
    parts: Parts,
    JsonBytes(bytes): JsonBytes<MAX_BULK_BYTES>,
    deadlines: Deadlines,
) -> Result<Response, Error> {
    let begun = Instant::now();
    let request = BulkRequest::parse(scim::json::parse(&bytes)?)?;
    // The rate limit has counted the request itself as the first operation.
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
    let mut progress = Progress {
        outcomes: vec![None; request.operations.len()],
        errors: 0,
        most_errors: request.fail_on_errors.unwrap_or(u64::MAX),
        late: false,
    };
    bulk.perform(&mut progress).await;
    let mut operations: Vec<BulkOutcome> = progress.outcomes.into_iter().flatten().collect();
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

/// Returns whether the target is a group. Its members must exist when they are added; the manager
/// of a user need not.
fn is_group(operation: &BulkOperation) -> bool {
    operation
        .target()
        .is_ok_and(|target| target.endpoint() == "Groups")
}

/// The progress of a bulk request.
struct Progress {
    /// The results by index of the operation; `None` for an operation that was not performed.
    outcomes: Vec<Option<BulkOutcome>>,
    errors: u64,
    most_errors: u64,
    /// Whether an operation was not begun because of the deadline.
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

    /// Records a result and replaces an earlier one.
    fn note(&mut self, operation: usize, outcome: BulkOutcome) {
        let new = outcome.is_error() && !self.has_failed(operation);
        self.errors += u64::from(new);
        self.leave(operation, outcome);
    }

    /// Records a result that does not count for `failOnErrors`.
    fn leave(&mut self, operation: usize, outcome: BulkOutcome) {
        if let Some(entry) = self.outcomes.get_mut(operation) {
            *entry = Some(outcome);
        }
    }

    /// RFC 7644 §3.7 (B3): returns whether no operation may begin while this number of operations,
    /// each of which can fail, is in flight.
    fn is_over(&self, in_flight: usize) -> bool {
        self.errors.saturating_add(in_flight as u64) >= self.most_errors
    }
}

/// The operations that an operation conflicts with.
#[derive(PartialEq)]
enum Conflicts<'a> {
    /// It creates a user: conflicts with the creation of a user with the same name.
    Name(String),
    /// It changes a user but not the name: conflicts with changes of the same user.
    User(Id<'a>),
    /// It conflicts with every operation.
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
                // An id with a percent-encoded character is another text for the same id.
                let escaped = matches!(id, Id::Known(id) if id.contains('%'));
                if renames || escaped {
                    Self::Anything
                } else {
                    Self::User(id)
                }
            }
            _ => Self::Anything,
        }
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = (usize, BulkOutcome)> + Send + 'a>>;

/// The operations in flight.
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

    /// Waits for one operation, if there is one.
    async fn wait(&mut self, progress: &mut Progress) {
        if let Some((operation, outcome)) = self.sent.next().await {
            self.conflicts.remove(&operation);
            progress.note(operation, outcome);
        }
    }

    async fn wait_for_all(&mut self, progress: &mut Progress) {
        while !self.sent.is_empty() {
            self.wait(progress).await;
        }
    }
}

/// A bulk request in execution.
struct Bulk<'a> {
    sender: Sender,
    request: &'a BulkRequest,
    plan: &'a Plan,
    /// The operation that creates the resource with this name, and the id of the resource.
    ids: HashMap<&'a str, (usize, ResourceId)>,
    /// The ids for operations of cycles that replace the ones in `ids`. They come from an
    /// interrupted execution of the same request.
    ids_of_cycles: Mutex<HashMap<usize, ResourceId>>,
    /// No operation begins after this time.
    last_beginning: Instant,
}

impl<'a> Bulk<'a> {
    async fn perform(&self, progress: &mut Progress) {
        let mut in_flight = InFlight::default();
        let alone = HashSet::new();
        for step in &self.plan.steps {
            match step {
                PlanStep::One(operation) => {
                    self.begin(*operation, &alone, &mut in_flight, progress)
                        .await
                }
                PlanStep::Cycle(cycle) => {
                    in_flight.wait_for_all(progress).await;
                    self.cycle(cycle, &mut in_flight, progress).await;
                }
                PlanStep::UnresolvableCycle(cycle) => {
                    in_flight.wait_for_all(progress).await;
                    self.refuse_cycle(cycle, progress);
                }
            }
            if progress.is_over(0) {
                break;
            }
        }
        in_flight.wait_for_all(progress).await;
    }

    /// Begins an operation when no operation in flight conflicts with it. An operation of a cycle
    /// can use the ids of the cycle before they exist.
    async fn begin<'b>(
        &'b self,
        index: usize,
        cycle: &HashSet<usize>,
        in_flight: &mut InFlight<'b>,
        progress: &mut Progress,
    ) {
        let Some(operation) = self.request.operations.get(index) else {
            return;
        };
        let conflicts = Conflicts::new(operation);
        while !in_flight.admits(&conflicts)
            || !in_flight.sent.is_empty() && progress.is_over(in_flight.sent.len())
            || self
                .needs(index)
                .any(|needed| in_flight.conflicts.contains_key(needed) && !cycle.contains(needed))
        {
            in_flight.wait(progress).await;
        }
        if progress.is_over(0) || cycle.iter().any(|one| progress.has_failed(*one)) {
            return;
        }
        if Instant::now() >= self.last_beginning {
            progress.late = true;
            progress.leave(index, self.too_late(operation));
            return;
        }
        match self.call(index, operation, cycle, progress) {
            Ok(call) => {
                in_flight.conflicts.insert(index, conflicts);
                let sent = async move { (index, self.sender.send(operation, call).await) };
                in_flight.sent.push(Box::pin(sent));
            }
            Err(error) => progress.note(index, self.sender.refused(operation, &error)),
        }
    }

    fn needs(&self, operation: usize) -> impl Iterator<Item = &usize> {
        self.plan.needs.get(operation).into_iter().flatten()
    }

    /// Prepares the request of an operation, with ids instead of names.
    fn call(
        &self,
        index: usize,
        operation: &BulkOperation,
        cycle: &HashSet<usize>,
        progress: &Progress,
    ) -> Result<Call, scim::Error> {
        let id_of = |name: &str| match self.ids.get(name) {
            None => Err(scim::Error::unresolved(
                name,
                "no operation of this request creates a resource with this bulkId",
            )),
            Some((maker, id))
                if *maker == index || cycle.contains(maker) || progress.is_created(*maker) =>
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
        // Only users of a cycle can exist already, with the ids of an interrupted execution.
        let ids = if cycle.contains(&index) {
            Ids::repeated
        } else {
            Ids::one
        };
        self.sender.call(operation, &id, data, ids)
    }

    /// Performs the operations of a cycle. All of them succeed or none.
    async fn cycle<'b>(
        &'b self,
        operations: &[usize],
        in_flight: &mut InFlight<'b>,
        progress: &mut Progress,
    ) {
        if progress.is_over(0) {
            return;
        }
        let noted = match self.note(operations).await {
            Ok(noted) => noted,
            Err(error) => {
                let error = Error::from(error).to_scim();
                for index in operations {
                    if let Some(operation) = self.request.operations.get(*index) {
                        progress.note(*index, self.sender.refused(operation, &error));
                    }
                }
                return;
            }
        };
        let cycle = operations.iter().copied().collect();
        for operation in operations {
            self.begin(*operation, &cycle, in_flight, progress).await;
        }
        in_flight.wait_for_all(progress).await;
        let created = operations.iter().all(|one| progress.is_created(*one));
        let ended = if created {
            self.sender.store().end_circle(noted).await.unwrap_or(false)
        } else {
            false
        };
        if ended {
            return;
        }
        // The sweeper completes an interrupted deletion.
        let undone =
            self.sender
                .store()
                .undo_circle(self.sender.caller(), noted, self.sender.now());
        let undone = undone.await.is_ok();
        let failed = operations.iter().find(|one| progress.has_failed(**one));
        let failed = failed.or(operations.first());
        if let Some(name) = failed.and_then(|one| self.name(*one)) {
            self.roll_back(operations, name, undone, progress);
        }
    }

    /// Writes a note before a cycle is created, so that the sweeper can undo an interrupted
    /// execution. Takes the ids of an interrupted execution of the same request, if there is one.
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

    /// Returns the id of the resource that an operation creates.
    fn id_of(&self, operation: usize, usual: ResourceId) -> ResourceId {
        let ids_of_cycles = self
            .ids_of_cycles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ids_of_cycles.get(&operation).copied().unwrap_or(usual)
    }

    /// Sets the results of a cycle in which the operation with the name `failed` failed. Its
    /// resources are deleted (`undone`) or will be deleted by the sweeper.
    fn roll_back(&self, cycle: &[usize], failed: &str, undone: bool, progress: &mut Progress) {
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
            match progress.of(*index) {
                // The operation has an error of its own.
                Some(outcome) if outcome.is_error() => {}
                Some(outcome) if !undone => {
                    let location = outcome.location.clone();
                    let stays = BulkOutcome {
                        location,
                        ..refused(STAYS)
                    };
                    progress.note(*index, stays);
                }
                None if progress.is_over(0) => {}
                _ if progress.late => progress.leave(*index, self.too_late(operation)),
                _ => progress.note(*index, refused(ALL_OR_NONE)),
            }
        }
    }

    /// Sets the errors of a cycle in which no operation can be first, such as groups that would be
    /// members of each other.
    fn refuse_cycle(&self, operations: &[usize], progress: &mut Progress) {
        for index in operations {
            let Some(operation) = self.request.operations.get(*index) else {
                continue;
            };
            if progress.is_over(0) {
                return;
            }
            let error = if is_group(operation) {
                scim::Error::invalid_value(
                    "members.value",
                    "the group would be a member of itself, directly or through other groups of this request. Nothing was changed.",
                )
            } else {
                let mut needs = self.needs(*index);
                let name = needs.find_map(|needed| self.name(*needed));
                scim::Error::unresolved(name.unwrap_or_default(), FAILED)
            };
            progress.note(*index, self.sender.refused(operation, &error));
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
