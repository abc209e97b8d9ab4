//! What the network and AWS do to each request, as a seed has it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use local::{Fault, Lost, Passage, RequestInfo, Service};
use serde_json::Value;

/// Which kinds of disorder there are in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disorder(u16);

impl Disorder {
    /// Requests take time, and so overtake each other.
    pub const DELAYS: u16 = 1;
    /// Some take seconds.
    pub const LONG_DELAYS: u16 = 2;
    /// Connections break after the request was performed.
    pub const LOST_ANSWERS: u16 = 4;
    /// Connections break before the request arrives, which is performed all the same.
    pub const LATE_REQUESTS: u16 = 8;
    /// Transactions are cancelled because others write the same items.
    pub const CONFLICTS: u16 = 16;
    /// DynamoDB, Secrets Manager and EventBridge throttle.
    pub const THROTTLING: u16 = 32;
    /// The index answers as of some seconds ago.
    pub const STALE_INDEX: u16 = 64;
    /// Secrets Manager answers as of a moment ago.
    pub const STALE_SECRETS: u16 = 128;
    /// `Query` and `BatchGetItem` are not of one moment.
    pub const TORN_READS: u16 = 256;
    /// Batches of the stream are cut, repeated and late, and the functions that get them are killed.
    pub const STREAM: u16 = 512;

    /// All of them.
    pub const CLASSES: [u16; 10] = [
        Self::DELAYS,
        Self::LONG_DELAYS,
        Self::LOST_ANSWERS,
        Self::LATE_REQUESTS,
        Self::CONFLICTS,
        Self::THROTTLING,
        Self::STALE_INDEX,
        Self::STALE_SECRETS,
        Self::TORN_READS,
        Self::STREAM,
    ];

    const NAMES: [&str; 10] = [
        "delays",
        "long-delays",
        "lost-answers",
        "late-requests",
        "conflicts",
        "throttling",
        "stale-index",
        "stale-secrets",
        "torn-reads",
        "stream",
    ];

    /// What a seed has.
    #[must_use]
    pub fn draw(random: &mut fastrand::Rng) -> Self {
        let mut drawn = Self(Self::DELAYS);
        for class in Self::CLASSES {
            if random.u8(0..10) < 6 {
                drawn.0 |= class;
            }
        }
        drawn
    }

    /// Whether one of the classes is there.
    #[must_use]
    pub fn has(self, class: u16) -> bool {
        self.0 & class != 0
    }

    /// Takes a class away.
    pub fn remove(&mut self, class: u16) {
        self.0 &= !class;
    }

    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parsed = Self(0);
        for name in text.split(',').filter(|name| !name.is_empty()) {
            let index = Self::NAMES.iter().position(|known| *known == name)?;
            parsed.0 |= Self::CLASSES.get(index)?;
        }
        Some(parsed)
    }
}

impl fmt::Display for Disorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().zip(Self::CLASSES);
        let names: Vec<&str> = names
            .filter(|(_, class)| self.has(*class))
            .map(|(name, _)| *name)
            .collect();
        f.write_str(&names.join(","))
    }
}

/// The fault layer of one history. Clones are the same.
#[derive(Clone)]
pub struct Layer(Arc<Inner>);

struct Inner {
    seed: u64,
    disorder: Disorder,
    active: AtomicBool,
    requests: AtomicUsize,
    /// What stands for the ids of directories, which differ from run to run.
    names: Mutex<Vec<(String, &'static str)>>,
    /// How often each request was made.
    seen: Mutex<HashMap<u64, u64>>,
}

impl Layer {
    /// A layer that does nothing yet.
    #[must_use]
    pub fn new(seed: u64, disorder: Disorder) -> Self {
        Self(Arc::new(Inner {
            seed,
            disorder,
            active: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            names: Mutex::default(),
            seen: Mutex::default(),
        }))
    }

    /// Names a directory, whose id stands in keys as text, and in Base64 in the keys of the index.
    pub fn name(&self, directory: &str, name: &'static str) {
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        let digits = directory.replace('-', "");
        if let Ok(id) = u128::from_str_radix(&digits, 16) {
            names.push((BASE64.encode(id.to_be_bytes()), name));
        }
        names.push((directory.to_owned(), name));
    }

    /// Begins or ends the disorder.
    pub fn set_active(&self, active: bool) {
        self.0.active.store(active, Ordering::Relaxed);
    }

    /// Whether there is disorder now.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.0.active.load(Ordering::Relaxed)
    }

    /// How many requests there were.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// The random numbers of something that is known by a text, and of its n-th time.
    #[must_use]
    pub fn random(&self, of: &str) -> (fastrand::Rng, u64) {
        let mut text = of.to_owned();
        for (id, name) in self
            .0
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            text = text.replace(id, name);
        }
        let hash = fnv(&text);
        let time = {
            let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let time = seen.entry(hash).or_default();
            *time += 1;
            *time
        };
        let seed = self.0.seed ^ hash.rotate_left(17) ^ time.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (fastrand::Rng::with_seed(seed), time)
    }

    /// What a request meets.
    #[must_use]
    pub fn fault(&self, info: &RequestInfo) -> Fault {
        if info.service == Service::Streams {
            return Fault::Pass;
        }
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        let orderly = Passage::default();
        if !self.is_active() {
            // What the index shows is remembered on this way only.
            return Fault::Passage(orderly);
        }
        let input = info.input();
        let (mut random, time) = self.random(&subject(&info.operation, &input));
        let disorder = self.0.disorder;
        let one_in = |random: &mut fastrand::Rng, n: u32| random.u32(0..n) == 0;
        if disorder.has(Disorder::THROTTLING) && one_in(&mut random, 40) {
            return Fault::Error {
                status: 400,
                code: "ThrottlingException",
                message: "The simulation throttles.",
            };
        }
        if info.service == Service::EventBridge {
            return self.bus(&input, &mut random);
        }
        let mut passage = Passage::default();
        let most = if disorder.has(Disorder::DELAYS) {
            [4, 20, 60][random.usize(0..3)]
        } else {
            1
        };
        passage.before = Duration::from_millis(random.u64(0..=most));
        passage.after = Duration::from_millis(random.u64(0..=most));
        if disorder.has(Disorder::LONG_DELAYS) && one_in(&mut random, 25) {
            let long = Duration::from_millis(random.u64(100..2_500));
            if random.bool() {
                passage.before = long
            } else {
                passage.after = long
            }
        }
        if disorder.has(Disorder::LOST_ANSWERS) && one_in(&mut random, 50) {
            passage.lost = Lost::After;
        } else if disorder.has(Disorder::LATE_REQUESTS) && one_in(&mut random, 60) {
            passage.lost = Lost::Before;
            passage.before += Duration::from_millis(random.u64(0..1_500));
        }
        let repeated = time > 1 && input.get("ClientRequestToken").is_some();
        if disorder.has(Disorder::CONFLICTS) && !repeated && one_in(&mut random, 30) {
            match info.operation.as_str() {
                "TransactWriteItems" => {
                    let actions = input.get("TransactItems").and_then(Value::as_array);
                    let mut reasons = vec!["None"; actions.map_or(1, Vec::len)];
                    let hit = random.usize(0..reasons.len());
                    if let Some(reason) = reasons.get_mut(hit) {
                        *reason = "TransactionConflict";
                    }
                    return Fault::Cancel(reasons);
                }
                "UpdateItem" | "PutItem" | "DeleteItem" => {
                    return Fault::Error {
                        status: 400,
                        code: "TransactionConflictException",
                        message: "The simulation has a transaction in progress.",
                    };
                }
                _ => {}
            }
        }
        if disorder.has(Disorder::STALE_INDEX) && random.bool() {
            passage.stale = Duration::from_millis(random.u64(0..5_000));
        }
        if info.service == Service::SecretsManager {
            passage.stale = if disorder.has(Disorder::STALE_SECRETS) && random.bool() {
                Duration::from_millis(random.u64(0..200))
            } else {
                Duration::ZERO
            };
        }
        if disorder.has(Disorder::TORN_READS) && one_in(&mut random, 3) {
            passage.torn = Some(Duration::from_millis(random.u64(0..30)));
        }
        Fault::Passage(passage)
    }

    fn bus(&self, input: &Value, random: &mut fastrand::Rng) -> Fault {
        let disorder = self.0.disorder;
        if disorder.has(Disorder::LOST_ANSWERS) && random.u8(0..30) == 0 {
            return Fault::DropAnswer;
        }
        if disorder.has(Disorder::THROTTLING) && random.u8(0..20) == 0 {
            let entries = input.get("Entries").and_then(Value::as_array);
            let indexes = (0..entries.map_or(0, Vec::len)).filter(|_| random.bool());
            return Fault::FailEntries {
                indexes: indexes.collect(),
                code: "ThrottlingException",
            };
        }
        Fault::Delay(Duration::from_millis(random.u64(1..40)))
    }
}

/// What a request is about: the same for the same request of the same history, whatever ids and times it holds.
fn subject(operation: &str, input: &Value) -> String {
    let mut keys = vec![];
    collect(input, &mut keys);
    if let Some(secret) = input.get("SecretId").and_then(Value::as_str) {
        let stage = input.get("VersionStage").and_then(Value::as_str);
        keys.push(format!("{secret} {}", stage.unwrap_or_default()));
    }
    if let Some(values) = input.get("ExpressionAttributeValues") {
        let values = values.as_object().into_iter().flatten();
        keys.extend(values.filter_map(|(name, value)| {
            let text = value.get("S")?.as_str()?;
            [":pk", ":d", ":from", ":to", ":first", ":last"]
                .contains(&name.as_str())
                .then(|| format!("{name}={text}"))
        }));
    }
    keys.sort_unstable();
    format!("{operation} {}", keys.join(" "))
}

/// The keys of all items of a request.
fn collect(value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let text = |name: &str| members.get(name)?.get("S")?.as_str();
            if let (Some(pk), Some(sk)) = (text("PK"), text("SK")) {
                // Ids of events differ from run to run, and what is named by them.
                let sk = if pk.ends_with("#E") || sk.starts_with("removed#") {
                    ""
                } else {
                    sk
                };
                keys.push(format!("{pk}/{sk}"));
                return;
            }
            members.values().for_each(|value| collect(value, keys));
        }
        Value::Array(elements) => elements.iter().for_each(|value| collect(value, keys)),
        _ => {}
    }
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
