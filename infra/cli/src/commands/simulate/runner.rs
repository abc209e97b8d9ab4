//! Runs a plan. In each task, Okta reads before it writes.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use futures_util::future::join_all;
use http::StatusCode;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::client::{Answer, Unanswered};
use super::compare::compare;
use super::expectations::{Finding, body, group, id, lacking, list, user};
use super::okta::{Okta, Stopped};
use super::organisation::Person;
use super::plan::{Group, GroupStep, GroupTask, OperationKind, Plan, Provider, Renamed, Task};
use super::report::{Record, RunStatus, TaskResult};
use super::requests::{
    Call, Endpoint, Form, Member, PAGE, add_members, profile, remove_member, rename,
    replace_members,
};

/// Runs the tasks of a plan.
pub(super) struct Runner<'a> {
    plan: &'a Plan,
    okta: &'a Okta<'a>,
    record: &'a Record,
    progress: &'a ProgressBar,
    stop: watch::Receiver<bool>,
    ids: Ids,
}

/// The ids of users and groups in the directory, as far as Okta knows them.
pub(super) struct Ids {
    users: Vec<OnceLock<String>>,
    groups: Vec<OnceLock<String>>,
}

impl Ids {
    pub(super) fn none_of(plan: &Plan) -> Self {
        Ids {
            users: plan.people.iter().map(|_| OnceLock::new()).collect(),
            groups: plan.groups.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    pub(super) fn user(&self, index: usize) -> Option<&str> {
        self.users.get(index)?.get().map(String::as_str)
    }

    pub(super) fn group(&self, index: usize) -> Option<&str> {
        self.groups.get(index)?.get().map(String::as_str)
    }

    /// Stores the id of a user. It is looked up once in a run, so it does not change.
    pub(super) fn learn_user(&self, index: usize, user: &Value) {
        if let (Some(place), Some(id)) = (self.users.get(index), id(user)) {
            let _ = place.set(id.to_owned());
        }
    }

    /// Stores the id of a group.
    pub(super) fn learn_group(&self, index: usize, group: &Value) {
        if let (Some(place), Some(id)) = (self.groups.get(index), id(group)) {
            let _ = place.set(id.to_owned());
        }
    }
}

/// Why a task did not complete.
enum Broken {
    Shown(Finding),
    /// Its user or group was not created.
    Absent,
    Stopped,
}

impl From<Finding> for Broken {
    fn from(finding: Finding) -> Self {
        Broken::Shown(finding)
    }
}

impl From<Stopped> for Broken {
    fn from(Stopped: Stopped) -> Self {
        Broken::Stopped
    }
}

type Played<T> = Result<T, Broken>;

impl<'a> Runner<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        okta: &'a Okta<'a>,
        record: &'a Record,
        progress: &'a ProgressBar,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Runner {
            plan,
            okta,
            record,
            progress,
            stop,
            ids: Ids::none_of(plan),
        }
    }

    /// Runs all tasks in this number of concurrent lanes, and compares the directory at the end.
    pub(super) async fn play(&self, lanes: usize) -> RunStatus {
        for phase in &self.plan.phases {
            self.progress.set_message(phase.operation.name());
            let mut queues: Vec<Vec<&Task>> = vec![vec![]; lanes.max(1)];
            for task in &phase.tasks {
                if let Some(queue) = queues.get_mut(task.lane(lanes)) {
                    queue.push(task);
                }
            }
            let played = queues.iter().map(|queue| self.lane(phase.operation, queue));
            let ends = join_all(played).await;
            if self.stopped() || ends.contains(&Lane::Stopped) {
                return RunStatus::Interrupted;
            }
            if phase.operation == OperationKind::TestCredentials && ends.contains(&Lane::Failed) {
                return RunStatus::Refused;
            }
        }
        self.progress.set_message(OperationKind::Verify.name());
        match self.verify().await {
            Ok(()) => {
                self.record.ended(OperationKind::Verify, TaskResult::Done);
                RunStatus::Complete
            }
            Err(Broken::Stopped) => RunStatus::Interrupted,
            Err(Broken::Shown(finding)) => {
                self.record
                    .ended(OperationKind::Verify, TaskResult::Failed(finding));
                RunStatus::Complete
            }
            Err(Broken::Absent) => {
                self.record
                    .ended(OperationKind::Verify, TaskResult::Skipped);
                RunStatus::Complete
            }
        }
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    async fn lane(&self, operation: OperationKind, tasks: &[&Task]) -> Lane {
        let mut lane = Lane::Done;
        for task in tasks {
            if self.stopped() {
                return Lane::Stopped;
            }
            let end = match self.task(operation, task).await {
                Ok(()) => TaskResult::Done,
                Err(Broken::Absent) => TaskResult::Skipped,
                Err(Broken::Stopped) => return Lane::Stopped,
                Err(Broken::Shown(finding)) => {
                    lane = Lane::Failed;
                    TaskResult::Failed(finding)
                }
            };
            self.record.ended(operation, end);
            self.progress.inc(1);
        }
        lane
    }

    async fn task(&self, operation: OperationKind, task: &Task) -> Played<()> {
        match task {
            Task::TestCredentials => self.test_credentials().await,
            Task::Import => {
                self.import(operation, Endpoint::Users).await?;
                self.import(operation, Endpoint::Groups).await?;
                Ok(())
            }
            Task::Assign(index) => {
                let person = self.person(*index)?;
                self.assign(operation, *index, person).await
            }
            Task::ChangeProfile(index) => {
                let person = self.person(*index)?;
                let id = self.user_id(*index)?;
                self.update(operation, id, person, profile(person, &person.later))
                    .await
            }
            Task::SyncPassword(index) => {
                let person = self.person(*index)?;
                let password = ("password", json!(person.new_password));
                self.set(operation, *index, person, password).await
            }
            Task::Deactivate(index) => {
                let person = self.person(*index)?;
                let inactive = ("active", json!(false));
                self.set(operation, *index, person, inactive).await
            }
            Task::Reactivate(index) => {
                let person = self.person(*index)?;
                let active = ("active", json!(true));
                self.set(operation, *index, person, active).await
            }
            Task::Group(task) => self.group(operation, task).await,
        }
    }

    fn person(&self, index: usize) -> Played<&'a Person> {
        self.plan.people.get(index).ok_or(Broken::Absent)
    }

    fn user_id(&self, index: usize) -> Played<&str> {
        self.ids.user(index).ok_or(Broken::Absent)
    }

    fn group_id(&self, index: usize) -> Played<&str> {
        self.ids.group(index).ok_or(Broken::Absent)
    }

    /// Sends a request, and returns the body of a successful response.
    async fn ask(
        &self,
        operation: OperationKind,
        call: Call,
        doing: &str,
    ) -> Played<Option<Value>> {
        Ok(body(self.okta.send(operation, &call).await?, doing)?)
    }

    async fn test_credentials(&self) -> Played<()> {
        let doing = "Error testing the API credentials";
        let call = Call::test_credentials();
        let answer = self
            .ask(OperationKind::TestCredentials, call, doing)
            .await?;
        list(answer, 1, doing)?;
        Ok(())
    }

    /// Returns all users or groups, page by page, until there are as many as `totalResults`.
    async fn import(&self, operation: OperationKind, endpoint: Endpoint) -> Played<Vec<Value>> {
        let doing = match endpoint {
            Endpoint::Users => "Error importing users",
            Endpoint::Groups => "Error importing groups",
        };
        let mut resources: Vec<Value> = vec![];
        let mut total = None;
        loop {
            let start = resources.len() + 1;
            let answer = self
                .ask(operation, Call::import(endpoint, start), doing)
                .await?;
            let page = list(answer, start, doing)?;
            if total.is_some_and(|total| total != page.total) {
                self.record.warned(format!(
                    "{doing}: totalResults changed from page to page, which a directory at rest must not do"
                ));
            }
            total = Some(page.total);
            let expected = PAGE.min(page.total.saturating_sub(resources.len()));
            if page.resources.is_empty() && expected > 0 {
                let text = format!(
                    "{doing}: the page from {start} on is empty, though there are {} in all",
                    page.total
                );
                return Err(Finding::answer(text).into());
            }
            // RFC 7644 §3.4.2.4 allows this, but an import would take the missing users for deleted.
            if page.resources.len() < expected {
                self.record.warned(format!(
                    "{doing}: a page has fewer than the {expected} that were asked for and are there"
                ));
            }
            resources.extend(page.resources);
            if resources.len() >= page.total {
                break;
            }
        }
        let ids: BTreeSet<&str> = resources.iter().filter_map(id).collect();
        if ids.len() < resources.len() {
            let text = format!("{doing}: the pages repeat a resource, and so may lack another");
            return Err(Finding::answer(text).into());
        }
        if endpoint == Endpoint::Users && operation == OperationKind::Import {
            for user in &resources {
                let lacking = lacking(user);
                if !lacking.is_empty() {
                    let name = user.get("userName").and_then(Value::as_str);
                    let name = name.or(id(user)).unwrap_or_default();
                    self.record
                        .warned(format!("{name} lacks {}", lacking.join(", ")));
                }
            }
        }
        Ok(resources)
    }

    /// Looks up a user, and creates it, or links and updates it.
    async fn assign(&self, operation: OperationKind, index: usize, person: &Person) -> Played<()> {
        let name = &person.user_name;
        let doing = format!("Error while looking up user {name}");
        let answer = self.okta.send(operation, &Call::look_up_user(name)).await?;
        let found = found(answer, &doing)?;
        let Some(found) = found else {
            let doing = format!("Error while creating user {name}");
            let answer = self
                .ask(operation, Call::create_user(person), &doing)
                .await?;
            self.ids.learn_user(index, &user(answer, name, &doing)?);
            return Ok(());
        };
        let found = user(Some(found), name, &doing)?;
        self.ids.learn_user(index, &found);
        if found.get("active") != Some(&json!(true)) {
            self.set(operation, index, person, ("active", json!(true)))
                .await?;
        }
        let id = self.user_id(index)?;
        self.update(operation, id, person, profile(person, &person.profile))
            .await
    }

    /// Reads a user, and sends it back with changes.
    async fn update(
        &self,
        operation: OperationKind,
        id: &str,
        person: &Person,
        changes: Vec<(&str, Value)>,
    ) -> Played<()> {
        let name = &person.user_name;
        let doing = format!("Error while trying to push profile update for {name}");
        let read = self
            .ask(operation, Call::read(Endpoint::Users, id), &doing)
            .await?;
        let read = user(read, name, &doing)?;
        let call = Call::replace_user(&read, &changes);
        let answer = user(self.ask(operation, call, &doing).await?, name, &doing)?;
        for (attribute, sent) in &changes {
            if *attribute == "active" && answer.get("active") != Some(sent) {
                let text = format!("{doing}: active is not {sent} in the answer");
                return Err(Finding::answer(text).into());
            }
        }
        Ok(())
    }

    /// Sets an attribute in the way of the app.
    async fn set(
        &self,
        operation: OperationKind,
        index: usize,
        person: &Person,
        (attribute, value): (&str, Value),
    ) -> Played<()> {
        let id = self.user_id(index)?;
        match self.plan.provider {
            Provider::Aiw => {
                self.update(operation, id, person, vec![(attribute, value)])
                    .await
            }
            Provider::Oin => {
                let name = &person.user_name;
                let doing = match (attribute, &value) {
                    ("active", Value::Bool(true)) => {
                        format!("Error while reactivating user {name}")
                    }
                    ("active", _) => format!("Error while deactivating user {name}"),
                    _ => format!("Error while updating the password of user {name}"),
                };
                let call = Call::patch_user(id, json!({ attribute: value }));
                // Okta accepts 204 as well as 200.
                match self.ask(operation, call, &doing).await? {
                    None => Ok(()),
                    answer => Ok(user(answer, name, &doing).map(drop)?),
                }
            }
        }
    }

    async fn group(&self, operation: OperationKind, task: &GroupTask) -> Played<()> {
        let GroupTask { group, step, after } = task;
        if *step == GroupStep::Push {
            return self.push(operation, *group, after).await;
        }
        let id = self.group_id(*group)?;
        let name = &after.name;
        if *step == GroupStep::Delete {
            let doing = format!("Error while deleting user group {name}");
            self.ask(operation, Call::delete(Endpoint::Groups, id), &doing)
                .await?;
            return Ok(());
        }
        let doing = format!("Unable to update Group Push mapping target App group {name}");
        if self.plan.provider == Provider::Aiw {
            return self.replace_group(operation, id, after, &doing).await;
        }
        let operations = match step {
            GroupStep::Add { members, .. } => vec![add_members(&self.members(members))],
            GroupStep::Change {
                leave,
                join,
                renamed,
            } => {
                let leaving = self.members(leave);
                let mut operations: Vec<Value> = leaving
                    .iter()
                    .map(|member| remove_member(member.id))
                    .collect();
                let joining = self.members(join);
                if !joining.is_empty() {
                    operations.push(add_members(&joining));
                }
                if *renamed == Renamed::Yes {
                    operations.push(rename(id, name));
                }
                operations
            }
            GroupStep::Rename => vec![rename(id, name)],
            GroupStep::Empty => vec![replace_members(&[], Form::Path)],
            GroupStep::PushNow => {
                let form = match group % 2 {
                    0 => Form::Path,
                    _ => Form::NoPath,
                };
                vec![replace_members(&self.members(&after.members), form)]
            }
            GroupStep::Push | GroupStep::Delete => vec![],
        };
        // Nothing changed, so Okta sends nothing.
        if operations.is_empty() {
            return Ok(());
        }
        self.ask(operation, Call::patch_group(id, operations), &doing)
            .await?;
        Ok(())
    }

    /// Looks up a group, and creates it without members. An existing group is linked, and its members are replaced by those in Okta,
    /// which are none yet.
    async fn push(&self, operation: OperationKind, index: usize, after: &Group) -> Played<()> {
        let name = &after.name;
        let doing = format!("Error while looking up user group {name}");
        let answer = self
            .okta
            .send(operation, &Call::look_up_group(name))
            .await?;
        let Some(found) = found(answer, &doing)? else {
            let doing = format!("Error while creating user group {name}");
            let answer = self
                .ask(operation, Call::create_group(name), &doing)
                .await?;
            self.ids.learn_group(index, &group(answer, name, &doing)?);
            return Ok(());
        };
        self.ids
            .learn_group(index, &group(Some(found), name, &doing)?);
        let id = self.group_id(index)?;
        let doing = format!("Unable to update Group Push mapping target App group {name}");
        match self.plan.provider {
            Provider::Aiw => self.replace_group(operation, id, after, &doing).await,
            Provider::Oin => {
                let call = Call::patch_group(id, vec![replace_members(&[], Form::Path)]);
                self.ask(operation, call, &doing).await?;
                Ok(())
            }
        }
    }

    async fn replace_group(
        &self,
        operation: OperationKind,
        id: &str,
        after: &Group,
        doing: &str,
    ) -> Played<()> {
        self.ask(operation, Call::read(Endpoint::Groups, id), doing)
            .await?;
        let members = self.members(&after.members);
        let call = Call::replace_group(id, &after.name, &members);
        group(self.ask(operation, call, doing).await?, &after.name, doing)?;
        Ok(())
    }

    /// Returns users as members. Okta only pushes users who are assigned.
    fn members<'p>(&self, people: impl IntoIterator<Item = &'p usize>) -> Vec<Member<'_>> {
        people
            .into_iter()
            .filter_map(|index| {
                Some(Member {
                    id: self.ids.user(*index)?,
                    display: &self.plan.people.get(*index)?.user_name,
                })
            })
            .collect()
    }

    /// Imports everything again, and records the differences from the plan.
    async fn verify(&self) -> Played<()> {
        let users = self.import(OperationKind::Verify, Endpoint::Users).await?;
        let groups = self.import(OperationKind::Verify, Endpoint::Groups).await?;
        let (verified, differences) = compare(self.plan, &self.ids, &users, &groups);
        self.record.verified(verified, differences);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Done,
    Failed,
    Stopped,
}

/// Returns the resource that a look-up found, if any. Okta treats a 404 as none.
fn found(answer: Result<Answer, Unanswered>, doing: &str) -> Result<Option<Value>, Finding> {
    if matches!(&answer, Ok(answer) if answer.status == StatusCode::NOT_FOUND) {
        return Ok(None);
    }
    let mut resources = list(body(answer, doing)?, 1, doing)?.resources;
    match resources.len() {
        0 | 1 => Ok(resources.pop()),
        several => Err(Finding::answer(format!(
            "{doing}: {several} were found, and it cannot be told which is meant"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_look_up_takes_none_or_one() {
        let answer = |status: u16, count: usize| {
            let resources: Vec<Value> = (0..count).map(|n| json!({"id": n.to_string()})).collect();
            let list = json!({"totalResults": count, "startIndex": 1, "itemsPerPage": count, "Resources": resources});
            Ok(Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: list.to_string().into(),
            })
        };
        assert_eq!(found(answer(200, 0), "d").unwrap(), None);
        assert_eq!(found(answer(404, 0), "d").unwrap(), None);
        assert_eq!(
            found(answer(200, 1), "d").unwrap(),
            Some(json!({"id": "0"}))
        );
        assert!(found(answer(200, 2), "d").is_err());
        assert!(found(answer(500, 0), "d").is_err());
    }
}
