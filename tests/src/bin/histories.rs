//! Runs simulated histories, one for each seed, and prints the shortest form of those in which a promise is broken.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use tests::simulation::{Disorder, History, run, shortest};

/// Runs the whole product on a simulated network and an AWS that keep no order
#[derive(Parser)]
struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One seed alone, with everything that was asked and answered
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: the steps to keep, as a failure prints them
    #[arg(long, value_delimiter = ',', requires = "seed")]
    keep: Option<Vec<usize>>,
    /// With --seed: what the network does, as a failure prints it
    #[arg(long, requires = "seed")]
    disorder: Option<String>,
    /// How many threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How many failures of each kind are shortened and printed
    #[arg(long, default_value_t = 1)]
    show: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.seed {
        Some(seed) => one(seed, &options),
        None => many(&options),
    }
}

/// Runs one seed and prints all of it.
fn one(seed: u64, options: &Options) -> ExitCode {
    let mut history = History::draw(seed);
    if let Some(numbers) = &options.keep {
        history = history.keep(numbers);
    }
    if let Some(text) = &options.disorder {
        match Disorder::parse(text) {
            Some(disorder) => history.disorder = disorder,
            None => {
                eprintln!("histories: --disorder takes names such as delays,conflicts");
                return ExitCode::FAILURE;
            }
        }
    }
    let outcome = run(&history);
    println!("seed {seed}: {}", history.disorder);
    for line in &outcome.transcript {
        println!("  {line}");
    }
    println!("  {} requests to AWS", outcome.requests);
    for found in &outcome.violations {
        println!("  ! {}: {}", found.kind, found.what);
    }
    if outcome.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[derive(Default)]
struct Found {
    /// By kind: how many, and the first ones.
    kinds: BTreeMap<&'static str, (u64, Vec<u64>)>,
    failed: u64,
    requests: u64,
    statuses: BTreeMap<u16, usize>,
}

/// Runs many seeds.
fn many(options: &Options) -> ExitCode {
    let begun = Instant::now();
    let next = AtomicU64::new(options.from);
    let end = options.from + options.seeds;
    let found = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = run(&History::draw(seed));
                    let mut found = found.lock().unwrap();
                    found.requests += outcome.requests as u64;
                    for (status, count) in &outcome.statuses {
                        *found.statuses.entry(*status).or_default() += count;
                    }
                    found.failed += u64::from(!outcome.violations.is_empty());
                    for kind in outcome.kinds() {
                        let (count, seeds) = found.kinds.entry(kind).or_default();
                        *count += 1;
                        seeds.push(seed);
                        if *count == 1 {
                            println!(
                                "after {} seeds: {kind} in seed {seed}",
                                seed - options.from + 1
                            );
                        }
                    }
                    let done = seed - options.from + 1;
                    if done.is_multiple_of(10_000) {
                        println!(
                            "{done} seeds, {} failed, {} s",
                            found.failed,
                            begun.elapsed().as_secs()
                        );
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    println!(
        "{} seeds, {} failed, {} requests to AWS, {:.1} s; answers by status (0: none): {:?}",
        options.seeds,
        found.failed,
        found.requests,
        begun.elapsed().as_secs_f64(),
        found.statuses
    );
    for (kind, (count, seeds)) in &mut found.kinds {
        seeds.sort_unstable();
        println!(
            "\n{kind}: {count} seeds, the first {:?}",
            &seeds[..seeds.len().min(8)]
        );
        for seed in seeds.iter().take(options.show) {
            let history = shortest(&History::draw(*seed), &[*kind].into());
            let outcome = run(&history);
            println!("  {}", history.command());
            for line in &outcome.transcript {
                println!("  {line}");
            }
            for found in &outcome.violations {
                println!("  ! {}: {}", found.kind, found.what);
            }
        }
    }
    match found.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
