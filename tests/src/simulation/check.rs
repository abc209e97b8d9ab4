//! What SCIM promises, held against what a history did.
//!
//! The events say which states each resource went through, version by version. Against these states every answer is held: one
//! that acknowledges is true in some state since the request was sent, one that refuses has changed nothing, and each
//! state follows from the one before by exactly one request that was not refused. What is kept at the end is the last of the
//! states, and the lists, look-ups, counts, `user.groups` and the event log say the same.

mod end;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::history::Operation;
use super::stage::user_name;

/// A violated promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which promise is broken, in a word.
    pub kind: &'static str,
    /// What was found.
    pub what: String,
}

pub(super) fn violation(kind: &'static str, what: String) -> Violation {
    Violation { kind, what }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Resource {
    /// What it creates; not known before the answer.
    New,
    /// Nothing that is there.
    None,
    User(String),
    Group(String),
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) version: Option<u64>,
    pub(super) body: Value,
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) number: usize,
    pub(super) operation: Operation,
    pub(super) resource: Resource,
    /// The ids of the members that it names.
    pub(super) mentioned: Vec<String>,
    pub(super) demanded: Option<u64>,
    pub(super) token: usize,
    pub(super) invoked: Duration,
    pub(super) responded: Option<Duration>,
    pub(super) answer: Option<Answer>,
}

/// A rotation of the token.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    pub(super) number: usize,
    pub(super) invoked: Duration,
    pub(super) responded: Option<Duration>,
    /// The number of the token that it answered.
    pub(super) token: Option<usize>,
    /// Whether it said that nothing was changed.
    pub(super) refused: bool,
}

/// What the endpoint of a webhook was sent.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    /// The path of the address: `/one` for the first directory.
    pub(super) to: String,
    /// The header `webhook-id`.
    pub(super) id: String,
    pub(super) body: Value,
}

/// What is there at the end.
#[derive(Default)]
pub(super) struct Final {
    pub(super) directory: String,
    pub(super) is_elsewhere: String,
    pub(super) events: Vec<Value>,
    pub(super) log: Vec<(String, String)>,
    /// What the webhooks got.
    pub(super) delivered: Vec<Delivered>,
    pub(super) users: BTreeMap<String, Value>,
    pub(super) groups: BTreeMap<String, Value>,
    /// Which tokens are good.
    pub(super) tokens: Vec<bool>,
    /// How many items of the second directory there are besides its events.
    pub(super) elsewhere: usize,
    /// The outcomes of its deletions.
    pub(super) deletion: Vec<bool>,
    /// Whether the network loses or refuses requests, so that 500 is an answer.
    pub(super) lossy: bool,
}

/// Whether the failure of a rotation says that nothing was changed.
pub(super) fn refused(error: &gateway::Error) -> bool {
    matches!(error, gateway::Error::Scim(error) if error.status() == 409)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct UserState {
    name: String,
    title: Option<String>,
    active: bool,
}

impl UserState {
    fn of(user: &Value) -> Self {
        Self {
            name: user["userName"].as_str().unwrap_or_default().to_owned(),
            title: user["title"].as_str().map(str::to_owned),
            active: user["active"].as_bool().unwrap_or(true),
        }
    }

    fn after(&self, operation: &Operation) -> Self {
        let mut after = self.clone();
        match operation {
            Operation::Title(_, title, _) => after.title = Some(format!("t{title}")),
            Operation::Active(_, active) => after.active = *active,
            Operation::Rename(_, name) => after.name = user_name(*name),
            Operation::PutUser(_, name, title) => {
                after.name = user_name(*name);
                after.title = Some(format!("t{title}"));
            }
            _ => {}
        }
        after
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GroupState {
    name: String,
    members: BTreeSet<String>,
}

impl GroupState {
    fn of(group: &Value) -> Self {
        let members = group["members"].as_array().cloned().unwrap_or_default();
        let ids = members.iter().filter_map(|m| m["value"].as_str());
        Self {
            name: group["displayName"].as_str().unwrap_or_default().to_owned(),
            members: ids.map(str::to_owned).collect(),
        }
    }

    fn after(&self, record: &Record) -> Self {
        let mut after = self.clone();
        let mentioned = record.mentioned.iter().cloned();
        match &record.operation {
            Operation::Add(..) | Operation::AddGroup(..) => after.members.extend(mentioned),
            Operation::Remove(..) | Operation::RemoveGroup(..) => {
                after.members.retain(|id| !record.mentioned.contains(id));
            }
            Operation::Replace(..) => after.members = mentioned.collect(),
            Operation::PutGroup(_, name, _) => {
                after.name = format!("g{name}");
                after.members = mentioned.collect();
            }
            Operation::NameGroup(_, name) => after.name = format!("g{name}"),
            _ => {}
        }
        after
    }
}

/// The states of a resource by version; the last one may be its end.
type Timeline<S> = BTreeMap<u64, Option<S>>;

/// What the events of one version of a resource say.
#[derive(Default)]
struct Said {
    created: bool,
    deleted: bool,
    raw: Option<Value>,
    added: BTreeSet<String>,
    removed: BTreeSet<String>,
}

impl Record {
    fn status(&self) -> u16 {
        self.answer.as_ref().map_or(0, |answer| answer.status)
    }

    fn version(&self) -> Option<u64> {
        let answer = self.answer.as_ref()?;
        answer
            .version
            .filter(|_| (200..300).contains(&answer.status))
    }

    /// Returns whether it may have been performed without an acknowledgement.
    fn is_unknown(&self) -> bool {
        self.answer.is_none() || self.status() >= 500
    }

    fn was_before(&self, other: &Self) -> bool {
        self.responded
            .is_some_and(|responded| responded < other.invoked)
    }

    fn has_begun_before_the_end_of(&self, other: &Self) -> bool {
        other
            .responded
            .is_none_or(|responded| self.invoked <= responded)
    }

    /// Whether it may be what brought a resource to a version.
    fn may_explain(&self, version: u64) -> bool {
        // An answer may show a later version, if the resource has moved on since.
        self.is_unknown() || self.version() >= Some(version)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let responded = self.responded.map(|at| at.as_millis());
        write!(
            f,
            "{:>6} to {responded:?} ms  step {} {:?} {:?} {:?} if-match {:?}: {} version {:?} {}",
            self.invoked.as_millis(),
            self.number,
            self.operation,
            self.resource,
            self.mentioned,
            self.demanded,
            self.status(),
            self.answer.as_ref().and_then(|answer| answer.version),
            self.answer
                .as_ref()
                .map(|answer| answer.body["detail"].clone())
                .unwrap_or_default(),
        )
    }
}

/// What the events told, a line each.
pub(super) fn told(last: &Final) -> Vec<String> {
    let lines = last.events.iter().map(|event| {
        let detail = &event["detail"];
        format!(
            "event {} {} version {} member {} name {}",
            event["detail-type"],
            detail["resource"]["id"],
            detail["version"],
            detail["member"]["id"],
            detail["data"]["raw"]["userName"]
        )
    });
    lines.collect()
}

/// Everything that is wrong.
pub(super) fn check(records: &[Record], rotations: &[Rotation], last: &Final) -> Vec<Violation> {
    let mut found = vec![];
    let (users, groups) = timelines(last, &mut found);
    let mut checker = Checker {
        records,
        users: &users,
        groups: &groups,
        explained: HashMap::new(),
        found,
        lossy: last.lossy,
    };
    checker.explain();
    for record in records {
        checker.answer(record);
    }
    checker.at_the_end(last);
    checker.circles();
    checker.tokens(rotations, last);
    checker.webhooks(last);
    checker.found
}

/// The states that the events tell of.
fn timelines(
    last: &Final,
    found: &mut Vec<Violation>,
) -> (
    BTreeMap<String, Timeline<UserState>>,
    BTreeMap<String, Timeline<GroupState>>,
) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut contents: HashMap<String, String> = HashMap::new();
    let mut ids: HashMap<String, String> = HashMap::new();
    let mut said: BTreeMap<(String, String), BTreeMap<u64, Said>> = BTreeMap::new();
    let mut ended = 0;
    for event in &last.events {
        let (kind, detail) = (text(&event["detail-type"]), &event["detail"]);
        if text(&detail["directory_id"]) != last.directory {
            let is = text(&detail["directory_id"]) == last.is_elsewhere;
            if is && kind == "directory.deleted" && ids.insert(text(&detail["id"]), kind).is_none()
            {
                ended += 1;
            }
            continue;
        }
        let resource = (
            text(&detail["resource"]["type"]),
            text(&detail["resource"]["id"]),
        );
        let member = text(&detail["member"]["id"]);
        let version = detail["version"].as_u64().unwrap_or(0);
        let content = format!("{kind} {resource:?} {member} {version}");
        let id = text(&detail["id"]);
        if let Some(before) = contents.insert(id.clone(), content.clone()) {
            if before != content {
                found.push(violation(
                    "event-id",
                    format!("{id} is {before} and {content}"),
                ));
            }
            continue;
        }
        if let Some(before) = ids.insert(content.clone(), id.clone()) {
            found.push(violation(
                "event-twice",
                format!("{content} has the ids {before} and {id}"),
            ));
            continue;
        }
        if resource.0 == "Directory" {
            continue;
        }
        let of = said
            .entry(resource)
            .or_default()
            .entry(version)
            .or_default();
        match kind.rsplit('.').next() {
            Some("created") => (of.created, of.raw) = (true, Some(detail["data"]["raw"].clone())),
            Some("updated") => of.raw = Some(detail["data"]["raw"].clone()),
            Some("deleted") => of.deleted = true,
            Some("user_added" | "group_added") => {
                of.added.insert(member);
            }
            Some("user_removed" | "group_removed") => {
                of.removed.insert(member);
            }
            _ => found.push(violation("event-type", kind)),
        }
    }
    let acknowledged = last.deletion.iter().filter(|done| **done).count();
    let most = usize::from(!last.deletion.is_empty());
    let least = usize::from(acknowledged > 0);
    if !(least..=most).contains(&ended) {
        let what = format!("{ended} directory.deleted for {:?}", last.deletion);
        found.push(violation("directory-deleted", what));
    }
    if ended > 0 && last.elsewhere > 0 {
        let what = format!(
            "{} items are left of a directory that is gone",
            last.elsewhere
        );
        found.push(violation("directory-left", what));
    }
    let (mut users, mut groups) = (BTreeMap::new(), BTreeMap::new());
    for ((kind, id), versions) in said {
        let count = versions.len() as u64;
        let contiguous = versions.keys().copied().eq(1..=count);
        if !contiguous || !versions.values().next().is_some_and(|first| first.created) {
            let what = format!("{kind} {id} has the versions {:?}", versions.keys());
            found.push(violation("version-gap", what));
        }
        if kind == "User" {
            let states = versions.iter().map(|(version, said)| {
                let state = said.raw.as_ref().map(UserState::of);
                (*version, state.filter(|_| !said.deleted))
            });
            users.insert(id, states.collect());
            continue;
        }
        let mut state = GroupState::default();
        let mut timeline = BTreeMap::new();
        for (version, said) in &versions {
            if let Some(raw) = &said.raw {
                state.name = GroupState::of(raw).name;
            }
            for member in &said.removed {
                if !state.members.remove(member) {
                    let what =
                        format!("{member} leaves {id} in version {version} and was no member");
                    found.push(violation("membership-events", what));
                }
            }
            for member in &said.added {
                if !state.members.insert(member.clone()) {
                    let what = format!("{member} joins {id} in version {version} and was a member");
                    found.push(violation("membership-events", what));
                }
            }
            if said.deleted && !state.members.is_empty() {
                let what = format!("{:?} are announced in {id}, which is gone", state.members);
                found.push(violation("membership-events", what));
            }
            timeline.insert(*version, (!said.deleted).then(|| state.clone()));
        }
        groups.insert(id, timeline);
    }
    (users, groups)
}

struct Checker<'c> {
    records: &'c [Record],
    users: &'c BTreeMap<String, Timeline<UserState>>,
    groups: &'c BTreeMap<String, Timeline<GroupState>>,
    /// When the first request began that may have brought a resource to a version.
    explained: HashMap<(String, u64), Duration>,
    found: Vec<Violation>,
    lossy: bool,
}

/// A version of a resource, and the requests that may have made it.
struct Made<'c> {
    resource: (&'c str, u64),
    what: String,
    /// The places of the requests.
    by: Vec<usize>,
    /// Whether it may be what follows the deletion of a member.
    is_end_of_a_member: bool,
}

fn positions(records: &[Record], may: impl Fn(&Record) -> bool) -> Vec<usize> {
    let all = records.iter().enumerate();
    all.filter(|(_, record)| may(record))
        .map(|(place, _)| place)
        .collect()
}

/// Assigns a request to a change (Kuhn's algorithm for bipartite matching): a request without an answer made one change at
/// most. `made` is the assignment so far. A change that has another request to choose from gives its own up.
fn assign(
    change: usize,
    changes: &[Made<'_>],
    made: &mut HashMap<usize, usize>,
    tried: &mut HashSet<usize>,
) -> bool {
    changes[change].by.iter().any(|by| {
        if !tried.insert(*by) {
            return false;
        }
        let other = made.get(by).copied();
        let free = other.is_none_or(|other| assign(other, changes, made, tried));
        if free {
            made.insert(*by, change);
        }
        free
    })
}

impl Checker<'_> {
    fn wrong(&mut self, kind: &'static str, what: String) {
        self.found.push(violation(kind, what));
    }

    /// Finds for each version of each resource the requests that may have made it.
    fn explain(&mut self) {
        let records = self.records;
        let mut changes = vec![];
        for (id, timeline) in self.users {
            let of = Resource::User(id.clone());
            let mut before = None;
            for (version, state) in timeline {
                let may = |record: &Record| match (&before, state) {
                    (None, Some(state)) => creates(record, &of, state),
                    (Some(before), Some(state)) => {
                        record.resource == of
                            && record.may_explain(*version)
                            && UserState::after(before, &record.operation) == *state
                    }
                    (_, None) => {
                        let deletes = matches!(record.operation, Operation::DeleteUser(..));
                        let deleted = record.status() == 204 || record.is_unknown();
                        let undone = before
                            .as_ref()
                            .is_some_and(|before| in_circle(record, before));
                        undone || record.resource == of && deletes && deleted
                    }
                };
                changes.push(Made {
                    resource: (id, *version),
                    what: format!("User {id}: {before:?} to {state:?}"),
                    by: positions(records, may),
                    is_end_of_a_member: false,
                });
                before.clone_from(state);
            }
        }
        for (id, timeline) in self.groups {
            let of = Resource::Group(id.clone());
            let mut before: Option<GroupState> = None;
            for (version, state) in timeline {
                let may = |record: &Record| match (&before, state) {
                    (None, Some(state)) => {
                        let Operation::CreateGroup(_, name, _) = &record.operation else {
                            return false;
                        };
                        let new = record.resource == of || record.is_unknown();
                        let members: BTreeSet<String> = record.mentioned.iter().cloned().collect();
                        new && format!("g{name}") == state.name && members == state.members
                    }
                    (Some(before), Some(state)) => {
                        record.resource == of
                            && record.may_explain(*version)
                            && before.after(record) == *state
                    }
                    (_, None) => {
                        let deletes = matches!(record.operation, Operation::DeleteGroup(..));
                        record.resource == of
                            && deletes
                            && (record.status() == 204 || record.is_unknown())
                    }
                };
                let is_end_of_a_member = match (&before, state) {
                    (Some(before), Some(state)) => {
                        let mut gone = before.members.difference(&state.members);
                        before.name == state.name
                            && before.members != state.members
                            && state.members.is_subset(&before.members)
                            && gone.all(|gone| self.is_deleted(gone))
                    }
                    _ => false,
                };
                changes.push(Made {
                    resource: (id, *version),
                    what: format!("Group {id}: {before:?} to {state:?}"),
                    by: positions(records, may),
                    is_end_of_a_member,
                });
                before.clone_from(state);
            }
        }
        let mut made = HashMap::new();
        for (place, change) in changes.iter().enumerate() {
            let (id, version) = change.resource;
            let begun = change.by.iter().map(|by| records[*by].invoked).min();
            let begun = begun.filter(|_| !change.is_end_of_a_member);
            self.explained
                .insert((id.to_owned(), version), begun.unwrap_or_default());
            let free = change.is_end_of_a_member
                || change.by.iter().any(|by| {
                    let record = &records[*by];
                    !record.is_unknown() || in_a_circle(record)
                });
            if !free && !assign(place, &changes, &mut made, &mut HashSet::new()) {
                let what = format!("no request made version {version} of {}", change.what);
                self.wrong("unasked", what);
            }
        }
    }

    fn is_deleted(&self, id: &str) -> bool {
        let user = self.users.get(id).and_then(|of| of.values().last());
        let group = self.groups.get(id).and_then(|of| of.values().last());
        matches!(user, Some(None)) || matches!(group, Some(None))
    }

    /// Whether a request that may have deleted a resource began before the end of another one.
    fn may_be_deleted(&self, id: &str, record: &Record) -> bool {
        self.records.iter().any(|other| {
            let of = match &other.resource {
                Resource::User(of) | Resource::Group(of) => of == id,
                Resource::New | Resource::None => false,
            };
            let deletes = matches!(
                other.operation,
                Operation::DeleteUser(..) | Operation::DeleteGroup(..)
            );
            let done = other.status() == 204 || other.is_unknown();
            of && deletes && done && other.has_begun_before_the_end_of(record)
        })
    }

    /// Holds an answer against the states.
    fn answer(&mut self, record: &Record) {
        let Some(answer) = &record.answer else { return };
        match answer.status {
            200..300 => self.acknowledged(record, answer),
            404 => {
                let (Resource::User(id) | Resource::Group(id)) = &record.resource else {
                    return;
                };
                if !self.may_be_deleted(id, record) {
                    self.wrong("404", format!("nobody has deleted it: {record}"));
                }
            }
            409 => {
                let name = match &record.operation {
                    Operation::CreateUser(_, name)
                    | Operation::Rename(_, name)
                    | Operation::PutUser(_, name, _) => *name,
                    _ => return self.wrong("409", format!("{record}")),
                };
                let taken = self.records.iter().any(|other| {
                    let named = match other.operation {
                        Operation::CreateUser(_, other)
                        | Operation::Rename(_, other)
                        | Operation::PutUser(_, other, _) => other == name,
                        _ => false,
                    };
                    let mine = other.number == record.number && record.number != usize::MAX;
                    let mine = mine || std::ptr::eq(other, record);
                    named && !mine && other.has_begun_before_the_end_of(record)
                });
                if !taken {
                    self.wrong("409", format!("nobody else has the name: {record}"));
                }
            }
            412 => {
                let (Resource::User(id) | Resource::Group(id)) = &record.resource else {
                    return;
                };
                let from = self.seen_before(record);
                let versions = self.users.get(id).map(|of| of.keys().copied().collect());
                let versions: Option<Vec<u64>> =
                    versions.or(self.groups.get(id).map(|of| of.keys().copied().collect()));
                let other = versions.into_iter().flatten().any(|version| {
                    let begun = self.explained.get(&(id.clone(), version));
                    let before =
                        begun.is_some_and(|begun| record.responded.is_none_or(|end| *begun <= end));
                    version >= from && before && Some(version) != record.demanded
                });
                if !other {
                    self.wrong("412", format!("it is in no other version: {record}"));
                }
            }
            400 => {
                let groups = matches!(record.operation, Operation::AddGroup(..));
                let gone = record
                    .mentioned
                    .iter()
                    .any(|id| self.may_be_deleted(id, record));
                if !groups && !gone {
                    self.wrong("400", format!("nothing is wrong with it: {record}"));
                }
            }
            // Whether the token is good is looked at with the rotations.
            401 => {}
            429 => {}
            500.. if self.lossy => {}
            _ => self.wrong("status", format!("{record}")),
        }
    }

    /// The version in which the resource of a request was seen before it was sent.
    fn seen_before(&self, record: &Record) -> u64 {
        let before = self
            .records
            .iter()
            .filter(|other| other.resource == record.resource && other.was_before(record));
        before.filter_map(Record::version).max().unwrap_or(0)
    }

    fn was_deleted_before(&self, record: &Record) -> bool {
        self.records.iter().any(|other| {
            let deletes = matches!(
                other.operation,
                Operation::DeleteUser(..) | Operation::DeleteGroup(..)
            );
            other.resource == record.resource
                && deletes
                && other.status() == 204
                && other.was_before(record)
        })
    }

    fn acknowledged(&mut self, record: &Record, answer: &Answer) {
        let deletes = matches!(
            record.operation,
            Operation::DeleteUser(..) | Operation::DeleteGroup(..)
        );
        match &record.resource {
            Resource::None => return self.found_user(record, answer),
            Resource::New => return self.wrong("answer", format!("it has no id: {record}")),
            Resource::User(id) | Resource::Group(id) if deletes => {
                if !self.is_deleted(id) {
                    self.wrong("lost", format!("it is not deleted: {record}"));
                }
                return;
            }
            Resource::User(_) | Resource::Group(_) => {}
        }
        if self.was_deleted_before(record) {
            return self.wrong("stale", format!("it was deleted before: {record}"));
        }
        let Some(version) = answer.version else {
            return self.wrong("answer", format!("it has no version: {record}"));
        };
        if version < self.seen_before(record) {
            self.wrong(
                "stale",
                format!("a later version was seen before: {record}"),
            );
        }
        let whole = matches!(answer.status, 200 | 201);
        match &record.resource {
            Resource::User(id) => {
                let state = self.users.get(id).and_then(|of| of.get(&version)?.clone());
                let Some(state) = state else {
                    return self.wrong("lost", format!("there is no such version: {record}"));
                };
                let from = self.seen_before(record);
                let states = self
                    .users
                    .get(id)
                    .into_iter()
                    .flat_map(|of| of.range(from..=version));
                let mut states = states.filter_map(|(_, state)| state.as_ref());
                if !states.any(|state| state.after(&record.operation) == *state) {
                    self.wrong(
                        "untrue",
                        format!("version {version} is {state:?}: {record}"),
                    );
                }
                if whole && UserState::of(&answer.body) != state {
                    self.wrong(
                        "body",
                        format!(
                            "version {version} is {state:?} and not {}: {record}",
                            answer.body
                        ),
                    );
                }
            }
            Resource::Group(id) => {
                let state = self.groups.get(id).and_then(|of| of.get(&version)?.clone());
                let Some(state) = state else {
                    return self.wrong("lost", format!("there is no such version: {record}"));
                };
                let from = self.seen_before(record);
                let states = self
                    .groups
                    .get(id)
                    .into_iter()
                    .flat_map(|of| of.range(from..=version));
                let mut states = states.filter_map(|(_, state)| state.as_ref());
                if !states.any(|state| state.after(record) == *state) {
                    self.wrong(
                        "untrue",
                        format!("version {version} is {state:?}: {record}"),
                    );
                }
                if whole && GroupState::of(&answer.body) != state {
                    self.wrong(
                        "body",
                        format!(
                            "version {version} is {state:?} and not {}: {record}",
                            answer.body
                        ),
                    );
                }
            }
            Resource::New | Resource::None => {}
        }
    }

    /// A look-up by name finds who has it.
    fn found_user(&mut self, record: &Record, answer: &Answer) {
        let Operation::FindUser(name) = &record.operation else {
            return;
        };
        let name = user_name(*name);
        let found = answer.body["Resources"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if found.len() > 1 {
            self.wrong(
                "look-up",
                format!("{} have one name: {record}", found.len()),
            );
        }
        if !found.is_empty() {
            return;
        }
        let missed: Vec<String> = self
            .users
            .iter()
            .filter(|(id, timeline)| {
                let known = self.records.iter().filter(|other| {
                    other.resource == Resource::User((*id).clone()) && other.was_before(record)
                });
                let Some(from) = known.filter_map(Record::version).max() else {
                    return false;
                };
                timeline
                    .iter()
                    .filter(|(version, _)| **version >= from)
                    .all(|(version, state)| {
                        let begun = self.explained.get(&((*id).clone(), *version));
                        let later = begun
                            .is_some_and(|begun| record.responded.is_some_and(|end| *begun > end));
                        later && *version > from
                            || state.as_ref().is_some_and(|state| state.name == name)
                    })
            })
            .map(|(id, _)| id.clone())
            .collect();
        if !missed.is_empty() {
            self.wrong(
                "look-up",
                format!("{missed:?} had the name all the time: {record}"),
            );
        }
    }
}

fn creates(record: &Record, of: &Resource, state: &UserState) -> bool {
    match &record.operation {
        Operation::CreateUser(_, name) => {
            let new = record.resource == *of || record.is_unknown();
            new && user_name(*name) == state.name
        }
        Operation::Circle(..) => in_circle(record, state),
        _ => false,
    }
}

fn in_a_circle(record: &Record) -> bool {
    matches!(record.operation, Operation::Circle(..))
}

fn in_circle(record: &Record, state: &UserState) -> bool {
    let Operation::Circle(place, count) = record.operation else {
        return false;
    };
    (0..count).any(|n| user_name(place + n) == state.name)
}
