//! The subcommands: the admin API for people and scripts, and Okta played from a seed.
//!
//! They are clients. Nothing here knows how a directory is kept: what they show is what the stack answers over HTTP,
//! so they work alike against this machine and against a deployed stack.

mod admin;
mod client;
mod directory;
mod events;
mod groups;
mod output;
mod simulate;
mod table;
mod users;

#[cfg(test)]
mod fake;

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use output::Output;

/// What `rollcall` does when it does not run the local stack.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create, look at, and delete directories, and rotate their tokens
    #[command(subcommand)]
    Directory(directory::Directory),
    /// Show a directory's events, and with --follow those to come
    ///
    /// The log shows an event about half a minute after it happened, so that none that was committed late is passed.
    Events(events::Events),
    /// Show users
    Users(users::Users),
    /// Show groups
    Groups(groups::Groups),
    /// Play an identity provider
    #[command(subcommand)]
    Simulate(simulate::Simulate),
}

/// Why a subcommand ends early.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// It was called in a way that cannot work.
    Usage(String),
    /// It cannot be done, and the same again would not change that.
    Refused(String),
    /// It cannot be done now: nobody answers, or the answer is 429 or a 5xx.
    Unavailable(String),
    /// The outcome is bad, and the output has said so already.
    Shown,
    /// Ctrl-C, and the output has said what was done until then.
    Interrupted,
    /// Whoever read the output has gone.
    Closed,
}

/// Does what the command says. The exit code is 0, 1 for a failure, 2 for a wrong usage, 130 after Ctrl-C.
pub(crate) async fn run(command: Command) -> ExitCode {
    let mut output = Output::stdout();
    let done = match command {
        Command::Directory(directory) => directory.run(&mut output).await,
        Command::Events(events) => events.run(&mut output).await,
        Command::Users(users) => users.run(&mut output).await,
        Command::Groups(groups) => groups.run(&mut output).await,
        Command::Simulate(simulate) => simulate.run(&mut output).await,
    };
    match done {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Usage(reason)) => {
            output::error(&reason);
            ExitCode::from(2)
        }
        Err(Failure::Refused(reason) | Failure::Unavailable(reason)) => {
            output::error(&reason);
            ExitCode::FAILURE
        }
        Err(Failure::Shown) => ExitCode::FAILURE,
        Err(Failure::Interrupted) => ExitCode::from(130),
    }
}

/// A line on the terminal that moves until the work is done. It is not there when standard error is no terminal.
fn spinner(message: String) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
