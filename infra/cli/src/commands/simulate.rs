//! `rollcall simulate`: an identity provider that works through a plan, against any SCIM base URL.
//!
//! `organisation` and `plan` are what happens, from the seed alone; `traffic` is how Okta writes it; `okta` sends it;
//! `judge` is how Okta takes the answers; `play` puts these together; `compare` looks at what the directory holds in the end,
//! and `report` is what came out.

mod compare;
mod judge;
mod okta;
mod organisation;
mod plan;
mod play;
mod report;
mod seed;
mod traffic;

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::Failure;
use super::client::address;
use super::output::Output;
use okta::Okta;
use plan::{Occasion, Plan, Provider};
use play::Player;
use report::{Course, Record, Report};

#[derive(Subcommand)]
pub(crate) enum Simulate {
    /// Play an Okta organisation: assign people, change them, push groups; then compare
    Okta(OktaOptions),
}

#[derive(Args)]
pub(crate) struct OktaOptions {
    /// The SCIM base URL of a directory
    #[arg(long, value_name = "URL", value_parser = base_url)]
    base_url: String,
    /// The directory's token
    #[arg(
        long,
        env = "ROLLCALL_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: String,
    /// How many people are assigned
    #[arg(long, value_name = "N", default_value_t = 30)]
    users: usize,
    /// How many groups are pushed
    #[arg(long, value_name = "N", default_value_t = 3)]
    groups: usize,
    /// The same seed is the same organisation; a second run links who is there already
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The kind of app in Okta
    #[arg(long, value_enum, default_value_t = Provider::Oin)]
    provider: Provider,
    /// How many tasks are worked on side by side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = positive)]
    concurrency: usize,
    /// The most requests a second; as fast as they are answered if not given
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// The longest wait at a 429; if not given as Okta waits, which is 5 minutes and more when there is no Retry-After
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
        let player = Player::new(&plan, &okta, &record, &progress, stop);
        let course = player.play(self.concurrency).await;
        progress.finish_and_clear();
        let report = Report {
            base: &self.base_url,
            plan: &plan,
            record: &record,
            course,
            took: begun.elapsed(),
        };
        match self.json {
            true => output.line(&report.json().to_string())?,
            false => {
                for line in report.lines() {
                    output.line(&line)?;
                }
            }
        }
        match (course, report.good()) {
            (Course::Interrupted, _) => Err(Failure::Interrupted),
            (_, false) => Err(Failure::Shown),
            (_, true) => Ok(()),
        }
    }
}

fn bar(tasks: usize) -> ProgressBar {
    let bar = ProgressBar::new(tasks as u64).with_message(Occasion::TestCredentials.name());
    if let Ok(style) = ProgressStyle::with_template(
        "{msg:20} {bar:30} {pos:>6} of {len} tasks  {elapsed}  {prefix}",
    ) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Becomes true with the first Ctrl-C: the tasks that have begun are finished, and no other is. A second one ends the
/// process at once.
fn stop(progress: ProgressBar) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        // Without signals nobody can stop it, which is no reason not to begin.
        while tokio::signal::ctrl_c().await.is_ok() {
            if sender.send_replace(true) {
                progress.finish_and_clear();
                std::process::exit(130);
            }
            progress.set_message("Stopping");
        }
        // The receivers go on waiting for a sender that lives.
        sender.closed().await;
    });
    receiver
}

/// An address that Okta takes. It refuses an underscore in the host (H8), and plain HTTP as well, which is let pass
/// here since a stack on one machine has no certificate.
fn base_url(text: &str) -> Result<String, String> {
    let address = address(text)?;
    let host = address.split('/').nth(2).unwrap_or_default();
    match host.contains('_') {
        true => Err("Okta takes no underscore in the host".to_owned()),
        false => Ok(address),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it must be a number from 1 on".to_owned()),
        Ok(number) => Ok(number),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.001 => Ok(rate),
        _ => Err("it must be a number above 0".to_owned()),
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
    fn nonsense_is_no_number() {
        for text in ["0", "-1", "x", "NaN", "inf", "1e-9"] {
            assert!(rate(text).is_err() && positive(text).is_err(), "{text}");
        }
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(positive("8"), Ok(8));
    }
}
