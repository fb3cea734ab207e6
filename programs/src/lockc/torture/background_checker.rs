//! Judges the rounds in the background, one at a time: while one is judged, the next one is played.

use tokio::task::{JoinHandle, spawn_blocking};

use lockservice::checker::history::History;
use lockservice::checker::rounds::{HistoryChecker, ViolationReport};

type Verdict = Result<(), Box<ViolationReport>>;

/// Who has found something is not asked again.
#[derive(Debug)]
pub(super) struct BackgroundChecker {
    judging: Option<JoinHandle<(HistoryChecker, Verdict)>>,
}

impl BackgroundChecker {
    pub(super) fn new() -> Self {
        let judging = spawn_blocking(|| (HistoryChecker::default(), Ok(())));
        Self {
            judging: Some(judging),
        }
    }

    /// Waits for the verdict on the round before, and begins to judge this one.
    pub(super) async fn judge(&mut self, round: History) -> Verdict {
        let Some(judging) = self.judging.take() else {
            return Ok(());
        };
        let (mut auditor, verdict) = judging.await.expect("the auditor does not panic");
        verdict?;
        self.judging = Some(spawn_blocking(move || {
            let verdict = auditor.judge(&round);
            (auditor, verdict)
        }));
        Ok(())
    }

    /// Waits for the verdict on the last round.
    pub(super) async fn finish(mut self) -> Verdict {
        self.judge(History::default()).await
    }
}
