//! `rollcall`: runs the local stack (`runner.rs`), or calls a local or deployed stack (`commands.rs`).

mod commands;
mod runner;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Directory sync on one machine: a SCIM 2.0 endpoint for an identity provider, and an event for every change.
///
/// Without a command, it runs the local stack.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    runner: runner::RunnerOptions,
    #[command(subcommand)]
    command: Option<commands::Command>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let cli = Cli::parse();
    if let Some(command) = cli.command {
        return commands::run(command).await;
    }
    match runner::run(cli.runner).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall: {error}");
            ExitCode::FAILURE
        }
    }
}
