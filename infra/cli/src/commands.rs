//! The subcommands: a client of the admin API, and a simulator of Okta.
//!
//! They only use HTTP, so they work with a local stack and with a deployed one.

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

/// The commands of `rollcall`. Without one, it runs the local stack.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create, show and delete directories, and rotate their tokens
    #[command(subcommand)]
    Directory(directory::Directory),
    /// Show the events of a directory; --follow waits for new ones
    ///
    /// An event appears in the log about 30 seconds after it happened, so that events that were committed late are not missed.
    Events(events::Events),
    /// Show users
    Users(users::Users),
    /// Show groups
    Groups(groups::Groups),
    /// Simulate an identity provider
    #[command(subcommand)]
    Simulate(simulate::Simulate),
}

/// Why a subcommand failed.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The arguments are invalid.
    Usage(String),
    /// The request was refused. A retry would be refused as well.
    Refused(String),
    /// The stack is unavailable: no response, 429 or 5xx.
    Unavailable(String),
    /// The output already describes the failure.
    Shown,
    /// Ctrl-C. The output describes what was done.
    Interrupted,
    /// The output was closed.
    Closed,
}

/// Runs a command. The exit code is 0, 1 for a failure, 2 for invalid arguments, 130 after Ctrl-C.
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

/// Returns a progress line on the terminal. It is hidden when standard error is not a terminal.
fn spinner(message: String) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
