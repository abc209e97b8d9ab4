//! What happens in the organisation, and so what Okta has to do: a list of tasks that follows from the seed, and what the
//! directory has to hold afterwards. No request, no answer, no clock.

use std::collections::BTreeSet;

use clap::ValueEnum;

use super::organisation::{Person, groups, people};
use super::seed::Dice;

/// How many members a group has at most.
const LARGEST: usize = 400;

/// Which of Okta's two ways to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Provider {
    /// An app of Okta's integration network: PATCH for activation, passwords and groups
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

/// What makes Okta send something (docs/okta.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Occasion {
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

impl Occasion {
    pub(super) fn name(self) -> &'static str {
        match self {
            Occasion::TestCredentials => "Test API credentials",
            Occasion::Import => "Import",
            Occasion::Assign => "Assign",
            Occasion::ChangeProfile => "Change profile",
            Occasion::SyncPassword => "Sync password",
            Occasion::Deactivate => "Deactivate",
            Occasion::Reactivate => "Reactivate",
            Occasion::PushGroup => "Push group",
            Occasion::PushMembers => "Push members",
            Occasion::ChangeMembers => "Change members",
            Occasion::RenameGroup => "Rename group",
            Occasion::EmptyGroup => "Empty group",
            Occasion::PushNow => "Push now",
            Occasion::DeleteGroup => "Delete group",
            Occasion::Verify => "Import again",
        }
    }
}

/// One task of Okta's queue. People and groups are meant by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    TestCredentials,
    Import,
    /// Somebody is assigned to the app.
    Assign(usize),
    ChangeProfile(usize),
    SyncPassword(usize),
    Deactivate(usize),
    Reactivate(usize),
    Group(GroupTask),
}

/// Something about a group, and how the group is afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupTask {
    pub(super) group: usize,
    pub(super) step: GroupStep,
    pub(super) after: Group,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GroupStep {
    /// Look it up, and create or link it.
    Push,
    /// Some join; the second half may be on its way while the first is.
    Add {
        members: Vec<usize>,
        half: usize,
    },
    /// Some leave and some join, and perhaps the name is another, in one request.
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

/// A group as Okta has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) members: BTreeSet<usize>,
}

/// Tasks that have one occasion. The next phase begins when all of them are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) occasion: Occasion,
    pub(super) tasks: Vec<Task>,
}

/// How somebody is at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Active,
    Inactive,
}

/// Everything that will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) provider: Provider,
    pub(super) seed: u64,
    pub(super) people: Vec<Person>,
    pub(super) phases: Vec<Phase>,
    /// How everybody is at the end, with the profile they have then in `people[n].profile` or `later`.
    pub(super) standing: Vec<Standing>,
    pub(super) changed: BTreeSet<usize>,
    /// Each group at the end, or `None` if it was deleted.
    pub(super) groups: Vec<Option<Group>>,
}

impl Task {
    /// Tasks of one lane are done one after the other. What is about one person or one group is in one lane, but for the
    /// halves of a large push: Okta's requests for one group can meet (docs/okta.md).
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
        let order = Dice::new(seed, "order", 0).shuffled(users);
        let share = |one_in: usize| order.iter().copied().take(users.div_ceil(one_in));
        let sorted = |mut chosen: Vec<usize>| {
            chosen.sort_unstable();
            chosen
        };
        let changed: BTreeSet<usize> = share(3).collect();
        let password = sorted(share(10).collect());
        // From the other end of the order, so that not all of them have changed before.
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
        let mut phase = |occasion, tasks: Vec<Task>| {
            if !tasks.is_empty() {
                phases.push(Phase { occasion, tasks });
            }
        };
        phase(Occasion::TestCredentials, vec![Task::TestCredentials]);
        phase(Occasion::Import, vec![Task::Import]);
        phase(Occasion::Assign, (0..users).map(Task::Assign).collect());
        phase(
            Occasion::ChangeProfile,
            changed.iter().copied().map(Task::ChangeProfile).collect(),
        );
        phase(
            Occasion::SyncPassword,
            password.into_iter().map(Task::SyncPassword).collect(),
        );
        phase(
            Occasion::Deactivate,
            sorted(leaving).into_iter().map(Task::Deactivate).collect(),
        );
        phase(
            Occasion::Reactivate,
            returning.into_iter().map(Task::Reactivate).collect(),
        );

        let lives: Vec<Vec<(Occasion, GroupTask)>> = groups(seed, group_count)
            .into_iter()
            .enumerate()
            .map(|(group, name)| {
                let fate = Fate::of(group, group_count);
                life(provider, seed, group, name, &active, fate)
            })
            .collect();
        for occasion in [
            Occasion::PushGroup,
            Occasion::PushMembers,
            Occasion::ChangeMembers,
            Occasion::RenameGroup,
            Occasion::EmptyGroup,
            Occasion::PushNow,
            Occasion::DeleteGroup,
        ] {
            let tasks = lives.iter().flatten();
            let tasks = tasks.filter(|(of, _)| *of == occasion);
            phase(
                occasion,
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

    /// How many tasks there are.
    pub(super) fn tasks(&self) -> usize {
        self.phases.iter().map(|phase| phase.tasks.len()).sum()
    }
}

/// What is special about a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It has another name for a while.
    Renamed,
    /// It has no members for a while.
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

/// All that happens to a group, in order. It ends with the name it began with, so that it is found by it the next time.
fn life(
    provider: Provider,
    seed: u64,
    group: usize,
    name: String,
    active: &[usize],
    fate: Fate,
) -> Vec<(Occasion, GroupTask)> {
    let mut dice = Dice::new(seed, "members", group);
    let order: Vec<usize> = dice
        .shuffled(active.len())
        .into_iter()
        .filter_map(|place| active.get(place).copied())
        .collect();
    let size = match active.len() {
        0 => 0,
        people => 1 + dice.below(people.min(LARGEST)),
    };
    let (first, others) = order.split_at(size.min(order.len()));
    let leave: Vec<usize> = first.iter().copied().take(size.div_ceil(4)).collect();
    let join: Vec<usize> = others.iter().copied().take(size.div_ceil(4)).collect();

    let mut life = vec![];
    let mut now = Group {
        name: name.clone(),
        members: BTreeSet::new(),
    };
    let mut step = |occasion, step, after: &Group| {
        let after = after.clone();
        life.push((occasion, GroupTask { group, step, after }));
    };
    step(Occasion::PushGroup, GroupStep::Push, &now);
    // An app of the wizard sends the whole group, so there is no half to send.
    let halves = match provider {
        Provider::Oin => first.len().div_ceil(2),
        Provider::Aiw => first.len(),
    };
    for (half, members) in first.chunks(halves.max(1)).enumerate() {
        now.members.extend(members);
        let members = members.to_vec();
        step(
            Occasion::PushMembers,
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
    step(Occasion::ChangeMembers, change, &now);
    if renamed == Renamed::Yes {
        now.name = name;
        step(Occasion::RenameGroup, GroupStep::Rename, &now);
    }
    if fate == Fate::Emptied {
        let members = std::mem::take(&mut now.members);
        step(Occasion::EmptyGroup, GroupStep::Empty, &now);
        now.members = members;
    }
    step(Occasion::PushNow, GroupStep::PushNow, &now);
    if fate == Fate::Deleted {
        step(Occasion::DeleteGroup, GroupStep::Delete, &now);
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

    /// Every occasion that docs/okta.md lists happens, in the order in which an administrator would do it.
    #[test]
    fn there_is_every_occasion() {
        let occasions = |provider, users, groups| -> Vec<Occasion> {
            let phases = Plan::new(provider, 1, users, groups).phases;
            phases.iter().map(|phase| phase.occasion).collect()
        };
        let mut all = occasions(Provider::Oin, 30, 3);
        assert_eq!(all, occasions(Provider::Aiw, 30, 3));
        assert!(all.is_sorted(), "{all:?}");
        all.push(Occasion::Verify);
        assert_eq!(all.len(), Occasion::Verify as usize + 1);
        // Nobody and nothing is fine, too.
        let nothing = [Occasion::TestCredentials, Occasion::Import];
        assert_eq!(occasions(Provider::Oin, 0, 0), nothing);
        assert_eq!(occasions(Provider::Oin, 1, 1).len(), 12);
    }

    /// Done one after the other, the tasks lead to what the plan says of the end.
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
