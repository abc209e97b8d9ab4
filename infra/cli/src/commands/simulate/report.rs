//! The result of a simulation: the responses by operation, their latency, and what Okta would have shown to the administrator.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::client::{Answer, Unanswered};
use super::super::output::sanitize;
use super::super::table::Table;
use super::expectations::Finding;
use super::plan::{OperationKind, Plan};

/// Maximum number of lines of one kind in the output for people.
const SHOWN: usize = 20;

/// Locks a mutex, even if a thread panicked while it held the lock. Changes under these locks are complete at any time.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The record of a running simulation.
#[derive(Default)]
pub(super) struct Record(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    operations: BTreeMap<OperationKind, Row>,
    latencies: Vec<Duration>,
    throttled: usize,
    waited: Duration,
    findings: Vec<(OperationKind, Finding)>,
    /// Warnings, and the number of each.
    warnings: BTreeMap<String, usize>,
    differences: Vec<String>,
    verified: Option<Verified>,
}

#[derive(Default)]
struct Row {
    tasks: usize,
    failed: usize,
    skipped: usize,
    requests: usize,
    /// The number of responses by status, or "none" without a response.
    answers: BTreeMap<String, usize>,
}

/// The result of the last import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) users: usize,
    pub(super) active: usize,
    pub(super) groups: usize,
    pub(super) memberships: usize,
    /// Number of users and groups that are not compared, because their creation failed.
    pub(super) absent: usize,
    /// Number of users and groups that are not of this organisation.
    pub(super) others: usize,
}

/// The result of a task.
pub(super) enum TaskResult {
    Done,
    Failed(Finding),
    /// The task was skipped, because its user or group does not exist.
    Skipped,
}

impl Record {
    pub(super) fn answered(
        &self,
        operation: OperationKind,
        answer: &Result<Answer, Unanswered>,
        took: Duration,
    ) {
        let mut notes = lock(&self.0);
        let status = match answer {
            Ok(answer) => {
                notes.latencies.push(took);
                answer.status.as_str().to_owned()
            }
            Err(_) => "none".to_owned(),
        };
        let row = notes.operations.entry(operation).or_default();
        row.requests += 1;
        *row.answers.entry(status).or_default() += 1;
    }

    pub(super) fn waited(&self, time: Duration) {
        let mut notes = lock(&self.0);
        notes.throttled += 1;
        notes.waited += time;
    }

    pub(super) fn ended(&self, operation: OperationKind, end: TaskResult) {
        let mut notes = lock(&self.0);
        let row = notes.operations.entry(operation).or_default();
        row.tasks += 1;
        match end {
            TaskResult::Done => {}
            TaskResult::Skipped => row.skipped += 1,
            TaskResult::Failed(finding) => {
                row.failed += 1;
                notes.findings.push((operation, finding));
            }
        }
    }

    pub(super) fn warned(&self, warning: String) {
        *lock(&self.0).warnings.entry(warning).or_default() += 1;
    }

    pub(super) fn verified(&self, verified: Verified, differences: Vec<String>) {
        let mut notes = lock(&self.0);
        notes.verified = Some(verified);
        notes.differences = differences;
    }

    #[cfg(test)]
    pub(super) fn warnings(&self) -> Vec<String> {
        lock(&self.0).warnings.keys().cloned().collect()
    }

    #[cfg(test)]
    pub(super) fn time_waited(&self) -> Duration {
        lock(&self.0).waited
    }
}

/// The status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunStatus {
    Complete,
    /// The credentials were refused, so Okta does not continue.
    Refused,
    /// The run was interrupted by Ctrl-C.
    Interrupted,
}

/// The data of a report.
pub(super) struct Report<'a> {
    pub(super) base: &'a str,
    pub(super) plan: &'a Plan,
    pub(super) record: &'a Record,
    pub(super) status: RunStatus,
    pub(super) took: Duration,
}

impl Report<'_> {
    /// Returns whether there were no findings, and the directory is as expected.
    pub(super) fn good(&self) -> bool {
        let notes = lock(&self.record.0);
        notes.findings.is_empty() && notes.differences.is_empty()
    }

    pub(super) fn json(&self) -> Value {
        let good = self.good();
        let notes = lock(&self.record.0);
        let operations: Vec<Value> = notes
            .operations
            .iter()
            .map(|(operation, row)| {
                json!({
                    "occasion": operation.name(), "tasks": row.tasks, "failed": row.failed, "skipped": row.skipped,
                    "requests": row.requests, "answers": row.answers,
                })
            })
            .collect();
        let mut latencies = notes.latencies.clone();
        latencies.sort_unstable();
        let latency = |share| percentile(&latencies, share).map(milliseconds);
        let shown: Vec<Value> = notes
            .findings
            .iter()
            .map(|(operation, finding)| {
                json!({"occasion": operation.name(), "kind": finding.kind.name(), "text": finding.text})
            })
            .collect();
        let verified = notes.verified.map(|verified| {
            json!({
                "users": verified.users, "active": verified.active, "groups": verified.groups,
                "memberships": verified.memberships, "absent": verified.absent, "others": verified.others,
            })
        });
        json!({
            "good": good,
            "interrupted": self.status == RunStatus::Interrupted,
            "base_url": self.base,
            "provider": self.plan.provider.name(),
            "seed": self.plan.seed,
            "users": self.plan.people.len(),
            "groups": self.plan.groups.len(),
            "seconds": self.took.as_secs_f64(),
            "occasions": operations,
            "latency_ms": {"p50": latency(50), "p95": latency(95), "p99": latency(99), "max": latency(100)},
            "throttled": {"answers": notes.throttled, "waited_seconds": notes.waited.as_secs_f64()},
            "shown": shown,
            "warnings": notes.warnings,
            "directory": verified,
            "differences": notes.differences,
        })
    }

    /// Returns the lines of the report for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let notes = lock(&self.record.0);
        let mut lines = vec![
            format!(
                "Okta ({}, seed {}) with {} and {}, at {}",
                self.plan.provider.name(),
                self.plan.seed,
                counted(self.plan.people.len(), "user"),
                counted(self.plan.groups.len(), "group"),
                self.base,
            ),
            String::new(),
        ];
        lines.extend(notes.table());
        lines.push(String::new());
        lines.extend(notes.times(self.took));
        if !notes.findings.is_empty() {
            lines.push("\nOkta would have shown its administrator:".to_owned());
            lines.extend(some(notes.shown()));
        }
        if !notes.warnings.is_empty() {
            lines.push("\nThe import would have warned:".to_owned());
            let warnings = notes.warnings.iter();
            lines.extend(some(warnings.map(|(text, times)| repeated(text, *times))));
        }
        if !notes.differences.is_empty() {
            lines.push("\nThe directory is not as Okta wants it:".to_owned());
            lines.extend(some(notes.differences.iter().map(|text| sanitize(text))));
        }
        lines.push(String::new());
        lines.push(self.verdict(&notes));
        lines
    }

    fn verdict(&self, notes: &Notes) -> String {
        let failures = notes.findings.len();
        let shown = match failures {
            0 => "Okta would have shown no failure".to_owned(),
            1 => "Okta would have shown 1 failure".to_owned(),
            failures => format!("Okta would have shown {failures} failures"),
        };
        match (self.status, &notes.verified) {
            (RunStatus::Interrupted, _) => {
                format!("Interrupted, and not compared with the directory. {shown} so far.")
            }
            (RunStatus::Refused, _) => {
                "The credentials were not verified, so Okta would not go on.".to_owned()
            }
            (RunStatus::Complete, None) => format!("{shown}; the directory could not be compared."),
            (RunStatus::Complete, Some(verified)) => {
                let comparison = match (notes.differences.len(), verified.absent) {
                    (0, 0) => "the directory is as Okta wants it".to_owned(),
                    (0, absent) => format!(
                        "but for the {absent} not created the directory is as Okta wants it"
                    ),
                    (1, _) => "the directory differs in 1 place".to_owned(),
                    (differences, _) => format!("the directory differs in {differences} places"),
                };
                format!("{shown}, and {comparison}: {}.", verified.counted())
            }
        }
    }
}

impl Verified {
    fn counted(self) -> String {
        let mut text = format!(
            "{}, {} active, {} with {}",
            counted(self.users, "user"),
            self.active,
            counted(self.groups, "group"),
            counted(self.memberships, "membership"),
        );
        if self.others > 0 {
            text.push_str(&format!(
                ", and {} that this organisation does not know",
                self.others
            ));
        }
        text
    }
}

impl Notes {
    /// Returns the findings in order, each text once.
    fn shown(&self) -> std::vec::IntoIter<String> {
        let mut times: Vec<(&str, usize)> = vec![];
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (_, finding) in &self.findings {
            let place = *places.entry(&finding.text).or_insert(times.len());
            match times.get_mut(place) {
                Some((_, times)) => *times += 1,
                None => times.push((&finding.text, 1)),
            }
        }
        let lines: Vec<String> = times
            .into_iter()
            .map(|(text, times)| repeated(text, times))
            .collect();
        lines.into_iter()
    }

    fn table(&self) -> Vec<String> {
        let rows: Vec<Vec<String>> = self
            .operations
            .iter()
            .map(|(operation, row)| {
                let answers: Vec<String> = row
                    .answers
                    .iter()
                    .map(|(status, times)| format!("{times} × {status}"))
                    .collect();
                vec![
                    operation.name().to_owned(),
                    row.tasks.to_string(),
                    row.failed.to_string(),
                    row.skipped.to_string(),
                    row.requests.to_string(),
                    answers.join(", "),
                ]
            })
            .collect();
        let skipped = self.operations.values().any(|row| row.skipped > 0);
        let mut header = vec![
            "OCCASION", "TASKS", "FAILED", "SKIPPED", "REQUESTS", "ANSWERS",
        ];
        // Columns with only zeros are left out.
        let rows: Vec<Vec<String>> = match skipped {
            true => rows,
            false => {
                header.retain(|name| *name != "SKIPPED");
                rows.into_iter()
                    .map(|mut row| {
                        row.remove(3);
                        row
                    })
                    .collect()
            }
        };
        Table::new(&header).numbers_from(1).lines(&rows)
    }

    fn times(&self, took: Duration) -> Vec<String> {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let requests: usize = self.operations.values().map(|row| row.requests).sum();
        let seconds = took.as_secs_f64();
        let mut lines = vec![format!(
            "{} in {seconds:.1} s, {:.0} a second",
            counted(requests, "request"),
            requests as f64 / seconds.max(0.001),
        )];
        let shown = |share| match percentile(&latencies, share) {
            Some(latency) => format!("{:.1} ms", milliseconds(latency)),
            None => "–".to_owned(),
        };
        if !latencies.is_empty() {
            lines.push(format!(
                "Answered after {} (median), {} (p95), {} (p99), {} (longest)",
                shown(50),
                shown(95),
                shown(99),
                shown(100),
            ));
        }
        if self.throttled > 0 {
            lines.push(format!(
                "429 answered {}, and waited for {:.0} s in all",
                counted(self.throttled, "time"),
                self.waited.as_secs_f64()
            ));
        }
        lines
    }
}

fn counted(number: usize, name: &str) -> String {
    match number {
        1 => format!("1 {name}"),
        number => format!("{number} {name}s"),
    }
}

fn repeated(text: &str, times: usize) -> String {
    match times {
        1 => sanitize(text),
        times => format!("{} ({times} times)", sanitize(text)),
    }
}

/// Returns the first lines, and the number of the others.
fn some(lines: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = lines.len().saturating_sub(SHOWN);
    let mut some: Vec<String> = lines.take(SHOWN).map(|line| format!("  {line}")).collect();
    if more > 0 {
        some.push(format!("  … and {more} more, all of which --json has"));
    }
    some
}

/// Returns a percentile of latencies.
fn percentile(sorted: &[Duration], share: usize) -> Option<Duration> {
    let rank = (sorted.len() * share).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::super::expectations::FindingKind;
    use super::super::plan::Provider;
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let at = |share| percentile(&sorted, share).unwrap().as_millis();
        assert_eq!((at(50), at(95), at(99), at(100)), (100, 190, 198, 200));
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&sorted[..1], 50), Some(sorted[0]));
    }

    #[test]
    fn many_findings_are_cut_for_people_and_whole_for_programs() {
        let record = Record::default();
        for n in 0..25 {
            let finding = Finding {
                kind: FindingKind::Task,
                text: format!("task {n}"),
            };
            record.ended(OperationKind::Assign, TaskResult::Failed(finding));
        }
        record.warned("b@example.com lacks name.familyName".to_owned());
        let plan = Plan::new(Provider::Oin, 1, 0, 0);
        let report = Report {
            base: "http://h",
            plan: &plan,
            record: &record,
            status: RunStatus::Complete,
            took: Duration::from_secs(1),
        };
        let lines = report.lines();
        assert!(lines.contains(&"  task 19".to_owned()));
        assert!(!lines.contains(&"  task 20".to_owned()));
        assert!(lines.contains(&"  … and 5 more, all of which --json has".to_owned()));
        let json = report.json();
        assert_eq!(json["shown"].as_array().unwrap().len(), 25);
        assert_eq!(json["good"], false);
        let last = "Okta would have shown 25 failures; the directory could not be compared.";
        assert_eq!(lines.last().unwrap(), last);
    }
}
