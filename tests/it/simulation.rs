//! 200 simulated histories ([`tests::simulation`]). `cargo run --profile bench -p tests --bin histories -- --seeds N`
//! runs more.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::simulation::{History, run, shortest};

/// How many seeds are run with each run of the tests.
const SEEDS: u64 = 200;

#[test]
fn no_invariant_is_violated_in_200_histories() {
    let next = AtomicU64::new(0);
    let failed = Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    let outcome = run(&History::draw(seed));
                    if !outcome.violations.is_empty() {
                        failed.lock().unwrap().push((seed, outcome.kinds()));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    if let Some((seed, kinds)) = failed.first() {
        let history = shortest(&History::draw(*seed), kinds);
        let outcome = run(&history);
        panic!(
            "{} of {SEEDS} seeds fail; the shortest form of seed {seed}:\n{}\n{}\n{:#?}",
            failed.len(),
            history.command(),
            outcome.transcript.join("\n"),
            outcome.violations,
        );
    }
}

#[test]
fn a_history_is_deterministic() {
    for seed in [3, 149, 227, 414] {
        let history = History::draw(seed);
        let (first, second) = (run(&history), run(&history));
        assert_eq!(first.requests, second.requests, "seed {seed}");
        assert_eq!(first.statuses, second.statuses, "seed {seed}");
    }
}
