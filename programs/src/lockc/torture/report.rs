//! What `lockc torture` prints: a few lines for people, or JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::escape::escaped;
use crate::exit::Exit;
use crate::lockc::latency::{Summary, human};
use crate::text;

/// The result of a run. Field names are a contract.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) verdict: Verdict,
    /// The violation, in a sentence and by the calls that show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) violation: Option<String>,
    /// The file with the calls that show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<PathBuf>,
    pub(super) clerks: usize,
    pub(super) in_flight: u32,
    pub(super) locks: usize,
    /// Clerks that own locks.
    pub(super) owners: u32,
    /// Owned locks that were granted.
    pub(super) granted: u64,
    /// Those of them whose lease was over while they were held.
    pub(super) lost: u64,
    /// Those of them that another clerk took from their holder.
    pub(super) broken: u64,
    /// Requests for owned locks that led to none.
    pub(super) not_granted: u64,
    pub(super) prefix: String,
    pub(super) seed: u64,
    pub(super) seconds: f64,
    pub(super) answered: u64,
    /// Calls without an answer, by kind.
    pub(super) failed: BTreeMap<&'static str, u64>,
    pub(super) calls_per_second: u64,
    pub(super) latency_us: Summary,
    /// The longest time in which nobody was answered.
    pub(super) longest_gap_us: f64,
    /// Locks that may be held still.
    pub(super) not_freed: usize,
}

/// The servers' part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Every answer was right.
    Clean,
    /// One was not.
    Violated,
    /// There was none.
    Unanswered,
}

impl Verdict {
    pub(super) const fn exit(self) -> Exit {
        match self {
            Self::Clean => Exit::Yes,
            Self::Violated => Exit::No,
            Self::Unanswered => Exit::Unavailable,
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Clean => "CLEAN: every answer was right.",
            Self::Violated => "VIOLATED: an answer was wrong.",
            Self::Unanswered => "UNANSWERED: no server answered.",
        }
    }
}

impl Report {
    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![self.verdict.sentence().to_owned()];
        lines.extend(self.violation.clone());
        if let Some(history) = &self.history {
            lines.push(format!(
                "history     {}",
                escaped(&history.to_string_lossy())
            ));
        }
        lines.extend([
            format!(
                "load        {}, {:.1} s, seed {}",
                text::load(self.clerks as u64, self.in_flight.into()),
                self.seconds,
                self.seed
            ),
            format!("locks       {} under {}", self.locks, escaped(&self.prefix)),
            format!(
                "calls       {} answered, {}",
                self.answered,
                self.failures()
            ),
            format!(
                "owned       {} granted to {}, {} lost, {} broken, {} not granted",
                self.granted,
                text::counted(self.owners.into(), "clerk"),
                self.lost,
                self.broken,
                self.not_granted
            ),
            format!("throughput  {} calls/s", self.calls_per_second),
            format!("latency     {}", self.latency_us),
            format!(
                "longest gap {} without an answer",
                human(self.longest_gap_us)
            ),
        ]);
        lines.join("\n")
    }

    fn failures(&self) -> String {
        let failed: u64 = self.failed.values().sum();
        let kinds = self
            .failed
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"));
        match kinds.collect::<Vec<_>>() {
            none if none.is_empty() => "none failed".to_owned(),
            kinds => format!("{failed} failed ({})", kinds.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(verdict: Verdict) -> Report {
        Report {
            verdict,
            violation: None,
            history: None,
            clerks: 8,
            in_flight: 4,
            locks: 64,
            owners: 4,
            granted: 90,
            lost: 2,
            broken: 3,
            not_granted: 1,
            prefix: "x/y".to_owned(),
            seed: 7,
            seconds: 10.0,
            answered: 1_000,
            failed: BTreeMap::new(),
            calls_per_second: 100,
            latency_us: Summary {
                p50: 20.0,
                p99: 1_500.0,
                p999: 2_500.0,
                max: 1_100_000.0,
            },
            longest_gap_us: 1_050_000.0,
            not_freed: 0,
        }
    }

    #[test]
    fn people_are_told_the_verdict_first() {
        let text = report(Verdict::Clean).text();
        assert_eq!(
            text,
            "CLEAN: every answer was right.\n\
             load        8 clerks with 4 calls in flight each, 10.0 s, seed 7\n\
             locks       64 under x/y\n\
             calls       1000 answered, none failed\n\
             owned       90 granted to 4 clerks, 2 lost, 3 broken, 1 not granted\n\
             throughput  100 calls/s\n\
             latency     p50 20.0 us, p99 1.50 ms, p99.9 2.50 ms, max 1.10 s\n\
             longest gap 1.05 s without an answer"
        );
    }

    #[test]
    fn failures_are_told_by_kind() {
        let mut report = report(Verdict::Clean);
        report.failed = BTreeMap::from([("no_answer", 3), ("record_lost", 1)]);
        assert!(
            report
                .text()
                .contains("4 failed (no_answer 3, record_lost 1)")
        );
    }

    #[test]
    fn a_violation_is_told_with_its_calls_and_where_more_is() {
        let mut report = report(Verdict::Violated);
        report.violation = Some("mutual_exclusion is broken for \"x\"".to_owned());
        report.history = Some("out".into());
        let text = report.text();
        assert!(text.starts_with("VIOLATED: an answer was wrong.\nmutual_exclusion is broken"));
        assert!(text.contains("history     out\n"));
        let json: Value = serde_json::from_str(&report.json().expect("JSON")).expect("JSON");
        assert_eq!(json["verdict"], "violated");
        assert_eq!(json["history"], "out");
    }

    #[test]
    fn the_json_names_all_that_is_known() {
        let json: Value =
            serde_json::from_str(&report(Verdict::Clean).json().expect("JSON")).expect("JSON");
        assert_eq!(
            json,
            json!({
                "verdict": "clean", "clerks": 8, "in_flight": 4, "locks": 64, "owners": 4, "granted": 90,
                "lost": 2, "broken": 3, "not_granted": 1, "prefix": "x/y", "seed": 7,
                "seconds": 10.0, "answered": 1_000, "failed": {}, "calls_per_second": 100,
                "latency_us": { "p50": 20.0, "p99": 1_500.0, "p999": 2_500.0, "max": 1_100_000.0 },
                "longest_gap_us": 1_050_000.0, "not_freed": 0,
            })
        );
    }
}
