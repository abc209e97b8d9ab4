//! What some callers do: drawn from a seed, and kept apart from what the network does, so that it can be shortened.

use std::fmt;

use super::Disorder;

/// A user, by the place in which the history knows it.
pub type User = usize;
/// A group, likewise.
pub type Group = usize;

/// How many users there are at the beginning.
pub const USERS: usize = 7;
/// How many groups there are at the beginning.
pub const GROUPS: usize = 3;
/// Users that a history may create have places from here on.
pub const NEW_USERS: usize = 20;
/// Groups that a history may create have places from here on.
pub const NEW_GROUPS: usize = 20;

/// What a caller demands of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing.
    None,
    /// The version that the caller saw last, or 1.
    Seen,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `POST /Users`, with a name by its number.
    CreateUser(User, usize),
    /// `PATCH /Users/{id}` of the title.
    Title(User, usize, Demand),
    /// `PATCH /Users/{id}` of `active`.
    Active(User, bool),
    /// `PATCH /Users/{id}` of `userName`.
    Rename(User, usize),
    /// `PUT /Users/{id}` with a name and a title.
    PutUser(User, usize, usize),
    /// `DELETE /Users/{id}`.
    DeleteUser(User, Demand),
    /// `GET /Users/{id}`.
    GetUser(User),
    /// `GET /Users?filter=userName eq …`.
    FindUser(usize),
    /// `POST /Groups` with a name and members.
    CreateGroup(Group, usize, Vec<User>),
    /// `PATCH /Groups/{id}` that adds members.
    Add(Group, Vec<User>),
    /// `PATCH /Groups/{id}` that removes members.
    Remove(Group, Vec<User>),
    /// `PATCH /Groups/{id}` that says who the members are.
    Replace(Group, Vec<User>),
    /// `PUT /Groups/{id}` with a name and members.
    PutGroup(Group, usize, Vec<User>),
    /// `PATCH /Groups/{id}` of the name.
    NameGroup(Group, usize),
    /// `PATCH /Groups/{id}` that adds a group.
    AddGroup(Group, Group),
    /// `PATCH /Groups/{id}` that removes a group.
    RemoveGroup(Group, Group),
    /// `DELETE /Groups/{id}`.
    DeleteGroup(Group, Demand),
    /// `GET /Groups/{id}`.
    GetGroup(Group),
    /// `POST /Bulk` that creates users who are each other's managers, from this place on.
    Circle(User, usize),
    /// A rotation of the directory's token.
    Rotate,
    /// A process is killed, with everything that it is doing.
    Kill,
    /// The end of the second directory.
    DeleteDirectory,
    /// `POST /Users` in the second directory.
    CreateElsewhere(User, usize),
}

/// One step of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the history as it was drawn, by which it is kept or left out.
    pub number: usize,
    /// Who does it: a caller does one thing after the other.
    pub caller: usize,
    /// How long the caller waits before, in milliseconds.
    pub pause: u64,
    /// Which process gets the request.
    pub process: usize,
    /// What is done.
    pub operation: Operation,
}

/// What happens in one simulation.
#[derive(Clone, Debug)]
pub struct History {
    /// The seed.
    pub seed: u64,
    /// How many processes there are.
    pub processes: usize,
    /// Who is a member of the groups that are there at the beginning.
    pub members: Vec<Vec<User>>,
    /// What is done.
    pub steps: Vec<Step>,
    /// What the network does.
    pub disorder: Disorder,
}

impl History {
    /// The history of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5ca1_ab1e);
        let callers = random.usize(2..=8);
        let processes = random.usize(1..=4);
        let members = (0..GROUPS).map(|_| some(&mut random, 0..6)).collect();
        // Few resources, so that callers meet: most of them are about one group, or one user.
        let (group, user) = (random.usize(0..GROUPS), random.usize(0..USERS));
        let mut steps = vec![];
        let mut drawn = Drawn {
            group,
            user,
            users: 0,
            groups: 0,
            circles: 0,
            elsewhere: 0,
        };
        let theme = random.u8(0..8);
        for caller in 0..callers {
            for _ in 0..random.usize(1..=3) {
                steps.push(Step {
                    number: steps.len(),
                    caller,
                    pause: [0, 5, 40, 400, 2_000][random.usize(0..5)] * random.u64(0..=4) / 4,
                    process: random.usize(0..processes),
                    operation: drawn.operation(&mut random, theme),
                });
            }
        }
        if random.u8(0..3) == 0 {
            steps.push(Step {
                number: steps.len(),
                caller: callers,
                pause: random.u64(0..1_500),
                process: random.usize(0..processes),
                operation: Operation::Kill,
            });
        }
        Self {
            seed,
            processes,
            members,
            steps,
            disorder: Disorder::draw(&mut random),
        }
    }

    /// The command that runs this very history again.
    #[must_use]
    pub fn command(&self) -> String {
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|step| step.number.to_string())
            .collect();
        format!(
            "cargo run --profile bench -p tests --bin histories -- --seed {} --keep {} --disorder {}",
            self.seed,
            steps.join(","),
            self.disorder
        )
    }

    /// The same with these steps alone.
    #[must_use]
    pub fn keep(mut self, numbers: &[usize]) -> Self {
        self.steps.retain(|step| numbers.contains(&step.number));
        self
    }
}

/// What has been drawn so far.
struct Drawn {
    group: Group,
    user: User,
    users: usize,
    groups: usize,
    circles: usize,
    elsewhere: usize,
}

impl Drawn {
    fn group(&self, random: &mut fastrand::Rng) -> Group {
        match random.u8(0..10) {
            0..7 => self.group,
            7..9 => random.usize(0..GROUPS),
            _ if self.groups > 0 => NEW_GROUPS + random.usize(0..self.groups),
            _ => self.group,
        }
    }

    fn user(&self, random: &mut fastrand::Rng) -> User {
        match random.u8(0..10) {
            0..6 => self.user,
            6..9 => random.usize(0..USERS),
            _ if self.users > 0 => NEW_USERS + random.usize(0..self.users),
            _ => self.user,
        }
    }

    /// Users to add or to remove: now and then more than one transaction holds.
    fn users(&self, random: &mut fastrand::Rng) -> Vec<User> {
        let mut users = some(random, 1..6);
        if random.bool() && !users.contains(&self.user) {
            users.push(self.user);
        }
        users
    }

    fn operation(&mut self, random: &mut fastrand::Rng, theme: u8) -> Operation {
        let demand = match random.u8(0..4) {
            0 => Demand::Seen,
            _ => Demand::None,
        };
        // A theme lets what meets meet more often.
        let kind = match (theme, random.u8(0..10)) {
            (1 | 2, 0..8) => random.usize(10..16),
            (3, 0..6) => [5, 5, 10, 12, 1, 0][random.usize(0..6)],
            (4, 0..7) => [20, 20, 6, 6, 6][random.usize(0..5)],
            (5, 0..5) => [21, 0, 6][random.usize(0..3)],
            (6, 0..7) => [16, 16, 17, 18, 10, 5][random.usize(0..6)],
            _ => random.usize(0..24),
        };
        match kind {
            0 => {
                self.users += 1;
                Operation::CreateUser(NEW_USERS + self.users - 1, random.usize(0..9))
            }
            1 => Operation::Title(self.user(random), random.usize(0..5), demand),
            2 => Operation::Active(self.user(random), random.bool()),
            3 => Operation::Rename(self.user(random), random.usize(0..9)),
            4 => Operation::PutUser(self.user(random), random.usize(0..9), random.usize(0..5)),
            5 => Operation::DeleteUser(self.user(random), demand),
            6 | 7 => Operation::GetUser(self.user(random)),
            8 => Operation::FindUser(random.usize(0..9)),
            9 => {
                self.groups += 1;
                let members = some(random, 0..6);
                Operation::CreateGroup(NEW_GROUPS + self.groups - 1, random.usize(0..4), members)
            }
            10 | 11 => Operation::Add(self.group(random), self.users(random)),
            12 => Operation::Remove(self.group(random), self.users(random)),
            13 => Operation::Replace(self.group(random), some(random, 0..6)),
            14 => Operation::PutGroup(self.group(random), random.usize(0..4), some(random, 0..6)),
            15 => Operation::NameGroup(self.group(random), random.usize(0..4)),
            16 => Operation::AddGroup(self.group(random), random.usize(0..GROUPS)),
            17 => Operation::RemoveGroup(self.group(random), random.usize(0..GROUPS)),
            18 => Operation::DeleteGroup(self.group(random), demand),
            19 => Operation::GetGroup(self.group(random)),
            20 => Operation::Rotate,
            21 => {
                self.circles += 1;
                let place = NEW_USERS + 30 + 4 * self.circles;
                Operation::Circle(place, random.usize(2..=4))
            }
            22 => Operation::DeleteDirectory,
            _ => {
                self.elsewhere += 1;
                Operation::CreateElsewhere(NEW_USERS + 60 + self.elsewhere, random.usize(0..9))
            }
        }
    }
}

/// Some users of the beginning, each once.
fn some(random: &mut fastrand::Rng, count: std::ops::Range<usize>) -> Vec<User> {
    let mut all: Vec<User> = (0..USERS).collect();
    random.shuffle(&mut all);
    all.truncate(random.usize(count));
    all.sort_unstable();
    all
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step {} caller {} after {} ms, process {}: {:?}",
            self.number, self.caller, self.pause, self.process, self.operation
        )
    }
}
