//! The tasks of Okta for the changes in an organisation, and the expected content of the directory afterwards. Both depend only on
//! the seed.

use std::collections::BTreeSet;

use clap::ValueEnum;

use super::organisation::{Person, groups, people};
use super::seed::Rng;

/// Maximum number of members of a group.
const LARGEST: usize = 400;

/// The type of an Okta app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Provider {
    /// An app of the Okta Integration Network: PATCH for activation, passwords and groups
    Oin,
    /// An app of the App Integration Wizard: GET and PUT for everything
    Aiw,
}

impl Provider {
    pub(super) fn name(self) -> &'static str {
        match self {
            Provider::Oin => "oin",
            Provider::Aiw => "aiw",
        }
    }
}

/// An operation in Okta that causes requests (docs/okta.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OperationKind {
    TestCredentials,
    Import,
    Assign,
    ChangeProfile,
    SyncPassword,
    Deactivate,
    Reactivate,
    PushGroup,
    PushMembers,
    ChangeMembers,
    RenameGroup,
    EmptyGroup,
    PushNow,
    DeleteGroup,
    Verify,
}

impl OperationKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            OperationKind::TestCredentials => "Test API credentials",
            OperationKind::Import => "Import",
            OperationKind::Assign => "Assign",
            OperationKind::ChangeProfile => "Change profile",
            OperationKind::SyncPassword => "Sync password",
            OperationKind::Deactivate => "Deactivate",
            OperationKind::Reactivate => "Reactivate",
            OperationKind::PushGroup => "Push group",
            OperationKind::PushMembers => "Push members",
            OperationKind::ChangeMembers => "Change members",
            OperationKind::RenameGroup => "Rename group",
            OperationKind::EmptyGroup => "Empty group",
            OperationKind::PushNow => "Push now",
            OperationKind::DeleteGroup => "Delete group",
            OperationKind::Verify => "Import again",
        }
    }
}

/// A task in the queue of Okta. Users and groups are given by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    TestCredentials,
    Import,
    /// A user is assigned to the app.
    Assign(usize),
    ChangeProfile(usize),
    SyncPassword(usize),
    Deactivate(usize),
    Reactivate(usize),
    Group(GroupTask),
}

/// A change of a group, and the group afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupTask {
    pub(super) group: usize,
    pub(super) step: GroupStep,
    pub(super) after: Group,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GroupStep {
    /// The group is looked up, and created or linked.
    Push,
    /// Members join. The two halves can be sent concurrently.
    Add {
        members: Vec<usize>,
        half: usize,
    },
    /// Members leave and join, and the name can change, in one request.
    Change {
        leave: Vec<usize>,
        join: Vec<usize>,
        renamed: Renamed,
    },
    Rename,
    Empty,
    /// All members are sent again.
    PushNow,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renamed {
    Yes,
    No,
}

/// A group in Okta.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) members: BTreeSet<usize>,
}

/// The tasks of one operation. The next phase begins when all of them are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) operation: OperationKind,
    pub(super) tasks: Vec<Task>,
}

/// The state of a user at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Active,
    Inactive,
}

/// All tasks, and the expected result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) provider: Provider,
    pub(super) seed: u64,
    pub(super) people: Vec<Person>,
    pub(super) phases: Vec<Phase>,
    /// The state of each user at the end. The profile is `people[n].profile` or `later`.
    pub(super) standing: Vec<Standing>,
    pub(super) changed: BTreeSet<usize>,
    /// Each group at the end, or `None` if it was deleted.
    pub(super) groups: Vec<Option<Group>>,
}

impl Task {
    /// Assigns tasks to lanes, whose tasks are done one after the other. The tasks of one user or one group are in one lane, except
    /// for the halves of a large push, because requests of Okta for one group can overlap (docs/okta.md).
    pub(super) fn lane(&self, lanes: usize) -> usize {
        let number = match self {
            Task::TestCredentials | Task::Import => 0,
            Task::Assign(person)
            | Task::ChangeProfile(person)
            | Task::SyncPassword(person)
            | Task::Deactivate(person)
            | Task::Reactivate(person) => *person,
            Task::Group(task) => match &task.step {
                GroupStep::Add { half, .. } => task.group * 2 + half,
                _ => task.group,
            },
        };
        number % lanes.max(1)
    }
}

impl Plan {
    pub(super) fn new(provider: Provider, seed: u64, users: usize, group_count: usize) -> Plan {
        let people = people(seed, users);
        let order = Rng::new(seed, "order", 0).shuffled(users);
        let share = |one_in: usize| order.iter().copied().take(users.div_ceil(one_in));
        let sorted = |mut chosen: Vec<usize>| {
            chosen.sort_unstable();
            chosen
        };
        let changed: BTreeSet<usize> = share(3).collect();
        let password = sorted(share(10).collect());
        // From the other end of the order, so that some of the users have not changed before.
        let leaving: Vec<usize> = order
            .iter()
            .rev()
            .copied()
            .take(users.div_ceil(5))
            .collect();
        let returning = sorted(leaving.iter().copied().step_by(2).collect());
        let mut standing = vec![Standing::Active; users];
        for person in leaving.iter().skip(1).step_by(2) {
            if let Some(standing) = standing.get_mut(*person) {
                *standing = Standing::Inactive;
            }
        }
        let active: Vec<usize> = (0..users)
            .filter(|person| standing.get(*person) == Some(&Standing::Active))
            .collect();

        let mut phases = vec![];
        let mut phase = |operation, tasks: Vec<Task>| {
            if !tasks.is_empty() {
                phases.push(Phase { operation, tasks });
            }
        };
        phase(OperationKind::TestCredentials, vec![Task::TestCredentials]);
        phase(OperationKind::Import, vec![Task::Import]);
        phase(
            OperationKind::Assign,
            (0..users).map(Task::Assign).collect(),
        );
        phase(
            OperationKind::ChangeProfile,
            changed.iter().copied().map(Task::ChangeProfile).collect(),
        );
        phase(
            OperationKind::SyncPassword,
            password.into_iter().map(Task::SyncPassword).collect(),
        );
        phase(
            OperationKind::Deactivate,
            sorted(leaving).into_iter().map(Task::Deactivate).collect(),
        );
        phase(
            OperationKind::Reactivate,
            returning.into_iter().map(Task::Reactivate).collect(),
        );

        let lives: Vec<Vec<(OperationKind, GroupTask)>> = groups(seed, group_count)
            .into_iter()
            .enumerate()
            .map(|(group, name)| {
                let fate = Fate::of(group, group_count);
                life(provider, seed, group, name, &active, fate)
            })
            .collect();
        for operation in [
            OperationKind::PushGroup,
            OperationKind::PushMembers,
            OperationKind::ChangeMembers,
            OperationKind::RenameGroup,
            OperationKind::EmptyGroup,
            OperationKind::PushNow,
            OperationKind::DeleteGroup,
        ] {
            let tasks = lives.iter().flatten();
            let tasks = tasks.filter(|(of, _)| *of == operation);
            phase(
                operation,
                tasks.map(|(_, task)| Task::Group(task.clone())).collect(),
            );
        }
        let groups = lives
            .iter()
            .map(|life| match life.last() {
                Some((_, task)) if task.step != GroupStep::Delete => Some(task.after.clone()),
                _ => None,
            })
            .collect();
        Plan {
            provider,
            seed,
            people,
            phases,
            standing,
            changed,
            groups,
        }
    }

    /// Returns the number of tasks.
    pub(super) fn tasks(&self) -> usize {
        self.phases.iter().map(|phase| phase.tasks.len()).sum()
    }
}

/// How the life of a group differs from the usual.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It has another name for some time.
    Renamed,
    /// It has no members for some time.
    Emptied,
    Deleted,
    Plain,
}

impl Fate {
    fn of(group: usize, count: usize) -> Fate {
        match group {
            group if group > 0 && group + 1 == count => Fate::Deleted,
            group if group % 3 == 0 => Fate::Renamed,
            group if group % 3 == 1 => Fate::Emptied,
            _ => Fate::Plain,
        }
    }
}

/// Returns the tasks of a group, in order. The last name is the first one, so that the next run finds the group by it.
fn life(
    provider: Provider,
    seed: u64,
    group: usize,
    name: String,
    active: &[usize],
    fate: Fate,
) -> Vec<(OperationKind, GroupTask)> {
    let mut rng = Rng::new(seed, "members", group);
    let order: Vec<usize> = rng
        .shuffled(active.len())
        .into_iter()
        .filter_map(|place| active.get(place).copied())
        .collect();
    let size = match active.len() {
        0 => 0,
        people => 1 + rng.below(people.min(LARGEST)),
    };
    let (first, others) = order.split_at(size.min(order.len()));
    let leave: Vec<usize> = first.iter().copied().take(size.div_ceil(4)).collect();
    let join: Vec<usize> = others.iter().copied().take(size.div_ceil(4)).collect();

    let mut life = vec![];
    let mut now = Group {
        name: name.clone(),
        members: BTreeSet::new(),
    };
    let mut step = |operation, step, after: &Group| {
        let after = after.clone();
        life.push((operation, GroupTask { group, step, after }));
    };
    step(OperationKind::PushGroup, GroupStep::Push, &now);
    // An app of the wizard sends the whole group, so there is no half to send.
    let halves = match provider {
        Provider::Oin => first.len().div_ceil(2),
        Provider::Aiw => first.len(),
    };
    for (half, members) in first.chunks(halves.max(1)).enumerate() {
        now.members.extend(members);
        let members = members.to_vec();
        step(
            OperationKind::PushMembers,
            GroupStep::Add { members, half },
            &now,
        );
    }
    for person in &leave {
        now.members.remove(person);
    }
    now.members.extend(&join);
    let renamed = match fate {
        Fate::Renamed => Renamed::Yes,
        _ => Renamed::No,
    };
    if renamed == Renamed::Yes {
        now.name = format!("{name} (renamed)");
    }
    let change = GroupStep::Change {
        leave,
        join,
        renamed,
    };
    step(OperationKind::ChangeMembers, change, &now);
    if renamed == Renamed::Yes {
        now.name = name;
        step(OperationKind::RenameGroup, GroupStep::Rename, &now);
    }
    if fate == Fate::Emptied {
        let members = std::mem::take(&mut now.members);
        step(OperationKind::EmptyGroup, GroupStep::Empty, &now);
        now.members = members;
    }
    step(OperationKind::PushNow, GroupStep::PushNow, &now);
    if fate == Fate::Deleted {
        step(OperationKind::DeleteGroup, GroupStep::Delete, &now);
    }
    life
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        for provider in [Provider::Oin, Provider::Aiw] {
            let plan = Plan::new(provider, 7, 30, 3);
            assert_eq!(plan, Plan::new(provider, 7, 30, 3));
            assert_ne!(plan.phases, Plan::new(provider, 8, 30, 3).phases);
        }
    }

    /// A plan has every operation in docs/okta.md, in the order in which an administrator performs them.
    #[test]
    fn there_is_every_occasion() {
        let operations = |provider, users, groups| -> Vec<OperationKind> {
            let phases = Plan::new(provider, 1, users, groups).phases;
            phases.iter().map(|phase| phase.operation).collect()
        };
        let mut all = operations(Provider::Oin, 30, 3);
        assert_eq!(all, operations(Provider::Aiw, 30, 3));
        assert!(all.is_sorted(), "{all:?}");
        all.push(OperationKind::Verify);
        assert_eq!(all.len(), OperationKind::Verify as usize + 1);
        // A plan without users or groups is valid.
        let nothing = [OperationKind::TestCredentials, OperationKind::Import];
        assert_eq!(operations(Provider::Oin, 0, 0), nothing);
        assert_eq!(operations(Provider::Oin, 1, 1).len(), 12);
    }

    /// The tasks, done one after the other, lead to the expected result.
    #[test]
    fn the_end_is_what_the_tasks_lead_to() {
        for (seed, users, count) in [
            (1, 30, 3),
            (2, 1, 1),
            (3, 100, 17),
            (4, 1_000, 5),
            (5, 0, 2),
        ] {
            let plan = Plan::new(Provider::Oin, seed, users, count);
            let mut active = vec![false; users];
            let mut changed = BTreeSet::new();
            let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
            for task in plan.phases.iter().flat_map(|phase| &phase.tasks) {
                match task {
                    Task::TestCredentials | Task::Import | Task::SyncPassword(_) => {}
                    Task::Assign(person) | Task::Reactivate(person) => active[*person] = true,
                    Task::Deactivate(person) => active[*person] = false,
                    Task::ChangeProfile(person) => assert!(changed.insert(*person)),
                    Task::Group(GroupTask { group, step, after }) => {
                        if *step == GroupStep::Push {
                            groups.insert(*group, Group::default());
                        }
                        let now = groups.get_mut(group).unwrap();
                        match step {
                            GroupStep::Push => now.name = after.name.clone(),
                            GroupStep::Add { members, .. } => now.members.extend(members),
                            GroupStep::Change {
                                leave,
                                join,
                                renamed,
                            } => {
                                now.members.retain(|person| !leave.contains(person));
                                now.members.extend(join);
                                if *renamed == Renamed::Yes {
                                    assert_ne!(now.name, after.name);
                                    now.name = after.name.clone();
                                }
                            }
                            GroupStep::Rename => now.name = after.name.clone(),
                            GroupStep::Empty => now.members.clear(),
                            GroupStep::PushNow => now.members = after.members.clone(),
                            GroupStep::Delete => {}
                        }
                        assert_eq!(now, after, "{step:?}");
                        // Members must be assigned and active before they are pushed.
                        assert!(now.members.iter().all(|person| active[*person]));
                        if *step == GroupStep::Delete {
                            groups.remove(group);
                        }
                    }
                }
            }
            let standing: Vec<bool> = plan
                .standing
                .iter()
                .map(|standing| *standing == Standing::Active)
                .collect();
            assert_eq!(standing, active);
            assert_eq!(plan.changed, changed);
            let end: BTreeMap<usize, Group> = plan
                .groups
                .iter()
                .enumerate()
                .filter_map(|(index, group)| Some((index, group.clone()?)))
                .collect();
            assert_eq!(end, groups);
        }
    }

    #[test]
    fn one_person_is_in_one_lane_and_the_halves_of_a_push_are_in_two() {
        let plan = Plan::new(Provider::Oin, 1, 100, 3);
        let halves = |group: usize| -> BTreeSet<usize> {
            let tasks = plan.phases.iter().flat_map(|phase| &phase.tasks);
            tasks
                .filter(|task| {
                    matches!(task, Task::Group(task) if task.group == group && matches!(task.step, GroupStep::Add { .. }))
                })
                .map(|task| task.lane(4))
                .collect()
        };
        assert_eq!(halves(0).len(), 2);
        assert_eq!(Task::Assign(6).lane(4), Task::Deactivate(6).lane(4));
        assert_eq!(Task::Assign(6).lane(0), 0);
    }
}
