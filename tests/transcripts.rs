//! One test for each file in `transcripts`, named after it. The module `harness::transcript` describes the format.
//!
//! `cargo test -p tests --test transcripts okta` runs the transcripts with `okta` in their names. With `UPDATE=1` the files
//! are written as they come out. Read the difference as a change of behaviour before you commit it.

#[expect(dead_code, reason = "the integration tests in `it` use the rest of it")]
#[path = "it/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use harness::World;
use harness::transcript::{files, play};
use libtest_mimic::{Arguments, Failed, Trial};
use similar::TextDiff;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let trials = files().into_iter().map(|file| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        Trial::test(name, move || check(&file, update))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Plays a transcript and compares what comes out with the file, or writes the file.
fn check(file: &Path, update: bool) -> Result<(), Failed> {
    let before = fs::read_to_string(file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let after = runtime.block_on(async { play(&before, &World::in_order().await).await });
    if before == after {
        return Ok(());
    }
    if update {
        fs::write(file, after)?;
        return Ok(());
    }
    let name = file.file_stem().unwrap().to_string_lossy();
    let diff = TextDiff::from_lines(&before, &after);
    let diff = diff
        .unified_diff()
        .header(&format!("transcripts/{name}.txt"), "this run")
        .to_string();
    Err(format!(
        "{diff}\nIf the difference is intended, write the file with `UPDATE=1 cargo test -p tests --test transcripts {name}`."
    )
    .into())
}
