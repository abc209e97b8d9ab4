//! `rollcall simulate`: an identity provider that works through a plan, against any SCIM base URL.
//!
//! | module | responsibility |
//! |---|---|
//! | `seed` | random numbers that depend only on the seed |
//! | `organisation`, `plan` | the people and groups, and the operations on them |
//! | `requests` | the requests that Okta sends for an operation |
//! | `okta` | sends them, with the time limits and retries of Okta |
//! | `expectations` | what Okta expects of a response |
//! | `runner` | runs a plan |
//! | `compare` | compares the directory with the plan afterwards |
//! | `report` | prints the result |

mod compare;
mod expectations;
mod okta;
mod organisation;
mod plan;
mod report;
mod requests;
mod runner;
mod seed;

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::Failure;
use super::client::address;
use super::output::Output;
use okta::Okta;
use plan::{OperationKind, Plan, Provider};
use report::{Record, Report, RunStatus};
use runner::Runner;

#[derive(Subcommand)]
pub(crate) enum Simulate {
    /// Simulate an Okta organisation: assign users, change them, push groups, and compare the result
    Okta(OktaOptions),
}

#[derive(Args)]
pub(crate) struct OktaOptions {
    /// SCIM base URL of the directory
    #[arg(long, value_name = "URL", value_parser = base_url)]
    base_url: String,
    /// Token of the directory
    #[arg(
        long,
        env = "ROLLCALL_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: String,
    /// Number of users to assign
    #[arg(long, value_name = "N", default_value_t = 30)]
    users: usize,
    /// Number of groups to push
    #[arg(long, value_name = "N", default_value_t = 3)]
    groups: usize,
    /// Seed of the organisation; a second run with the same seed links the existing users
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Type of the Okta app
    #[arg(long, value_enum, default_value_t = Provider::Oin)]
    provider: Provider,
    /// Number of concurrent tasks
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = positive)]
    concurrency: usize,
    /// Maximum number of requests per second [default: unlimited]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Maximum wait after a 429 [default: as Okta waits, 5 minutes or more without Retry-After]
    #[arg(long, value_name = "SECONDS")]
    longest_wait: Option<u64>,
    /// Write one JSON object at the end
    #[arg(long)]
    json: bool,
}

impl Simulate {
    pub(super) async fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self {
            Simulate::Okta(options) => options.run(output).await,
        }
    }
}

impl OktaOptions {
    async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let plan = Plan::new(self.provider, self.seed, self.users, self.groups);
        let record = Record::default();
        let progress = bar(plan.tasks());
        let stop = stop(progress.clone());
        let okta = Okta::new(
            &self.base_url,
            &self.token,
            self.longest_wait.map(Duration::from_secs),
            self.rate,
            stop.clone(),
            &record,
            &progress,
        )?;
        let begun = Instant::now();
        let runner = Runner::new(&plan, &okta, &record, &progress, stop);
        let status = runner.play(self.concurrency).await;
        progress.finish_and_clear();
        let report = Report {
            base: &self.base_url,
            plan: &plan,
            record: &record,
            status,
            took: begun.elapsed(),
        };
        if self.json {
            output.line(&report.json().to_string())?;
        } else {
            for line in report.lines() {
                output.line(&line)?;
            }
        }
        match (status, report.good()) {
            (RunStatus::Interrupted, _) => Err(Failure::Interrupted),
            (_, false) => Err(Failure::Shown),
            (_, true) => Ok(()),
        }
    }
}

fn bar(tasks: usize) -> ProgressBar {
    let bar = ProgressBar::new(tasks as u64).with_message(OperationKind::TestCredentials.name());
    if let Ok(style) = ProgressStyle::with_template(
        "{msg:20} {bar:30} {pos:>6} of {len} tasks  {elapsed}  {prefix}",
    ) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Returns a flag that the first Ctrl-C sets: tasks in progress are finished, and no other begins. A second Ctrl-C ends the
/// process at once.
fn stop(progress: ProgressBar) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        // If signals cannot be received, the simulation runs without them.
        while tokio::signal::ctrl_c().await.is_ok() {
            if sender.send_replace(true) {
                progress.finish_and_clear();
                std::process::exit(130);
            }
            progress.set_message("Stopping");
        }
        // The receivers need the sender as long as they exist.
        sender.closed().await;
    });
    receiver
}

/// Parses a URL that Okta accepts. Okta refuses an underscore in the host (H8). It also refuses plain HTTP, which is accepted
/// here because a local stack has no certificate.
fn base_url(text: &str) -> Result<String, String> {
    let address = address(text)?;
    let host = address.split('/').nth(2).unwrap_or_default();
    if host.contains('_') {
        Err("Okta does not accept an underscore in the host".to_owned())
    } else {
        Ok(address)
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it must be a positive integer".to_owned()),
        Ok(number) => Ok(number),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.001 => Ok(rate),
        _ => Err("it must be a positive number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_okta_refuses_are_refused() {
        assert!(base_url("http://127.0.0.1:8080/scim/v2/a_b").is_ok());
        assert!(base_url("https://a_b.example.com/scim").is_err());
        assert!(base_url("example.com").is_err());
    }

    #[test]
    fn invalid_numbers_are_refused() {
        for text in ["0", "-1", "x", "NaN", "inf", "1e-9"] {
            assert!(rate(text).is_err() && positive(text).is_err(), "{text}");
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(positive("8"), Ok(8));
    }
}
