//! Deterministic simulation: the whole product on one thread, with a clock that is simulated, where a seed decides what
//! every request to AWS meets.
//!
//! A *history* ([`History`]) is what some callers do, drawn from a seed: requests about a few users and groups, rotations of
//! a token, and processes that are killed. [`run`] performs it: functions, publisher and sweeper as they are deployed, several
//! processes with caches of their own, on the embedded table with a disordered network before it ([`disorder`]). Transactions
//! have 13 actions at most, so that groups of four members take the ways of large groups. Then the network becomes orderly, time
//! passes, and what was answered, what was announced and what is kept are compared ([`check`]).
//!
//! The same history with the same seed runs the same: what a request meets follows from the seed and from what the request is
//! about, not from the order in which requests happen to be made, so a history can be shortened ([`shortest`]) and still
//! meet the same.

pub mod check;
pub mod disorder;
pub mod history;
mod stage;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

pub use check::Violation;
pub use disorder::Disorder;
pub use history::History;

/// What became of a history.
#[derive(Debug)]
pub struct Outcome {
    /// What is wrong, if anything.
    pub violations: Vec<Violation>,
    /// What was asked and answered, a line each, in the order of the simulated time.
    pub transcript: Vec<String>,
    /// How many requests the product made to AWS.
    pub requests: usize,
    /// How many statuses of each kind were answered.
    pub statuses: std::collections::BTreeMap<u16, usize>,
}

/// Performs a history on this thread.
///
/// A panic of the product is a violation like any other.
#[must_use]
pub fn run(history: &History) -> Outcome {
    fastrand::seed(history.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::broken(format!("there is no runtime: {error}")),
    };
    let performed = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(stage::perform(history))
    }));
    match performed {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Outcome::broken(format!("a panic: {}", text.unwrap_or("of another kind")))
        }
    }
}

impl Outcome {
    fn broken(what: String) -> Self {
        Self {
            violations: vec![Violation {
                kind: "panic",
                what,
            }],
            transcript: vec![],
            requests: 0,
            statuses: std::collections::BTreeMap::new(),
        }
    }

    /// The kinds of what is wrong.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<&'static str> {
        self.violations.iter().map(|found| found.kind).collect()
    }
}

/// The shortest history that can be found in which one of these kinds is still wrong: steps are left out, one at a
/// time and in halves, and then what the network does, until nothing more can go.
#[must_use]
pub fn shortest(history: &History, kinds: &BTreeSet<&'static str>) -> History {
    let fails = |tried: &History| !run(tried).kinds().is_disjoint(kinds);
    let mut best = history.clone();
    loop {
        let mut shorter = None;
        let mut size = best.steps.len().div_ceil(2).max(1);
        'sizes: loop {
            for from in (0..best.steps.len()).step_by(size) {
                let mut tried = best.clone();
                let to = (from + size).min(tried.steps.len());
                tried.steps.drain(from..to);
                if fails(&tried) {
                    shorter = Some(tried);
                    break 'sizes;
                }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        if shorter.is_none() {
            for class in Disorder::CLASSES {
                if best.disorder.has(class) {
                    let mut tried = best.clone();
                    tried.disorder.remove(class);
                    if fails(&tried) {
                        shorter = Some(tried);
                        break;
                    }
                }
            }
        }
        match shorter {
            Some(shorter) => best = shorter,
            None => return best,
        }
    }
}
