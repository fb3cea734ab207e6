//! A line on stderr that tells how far a long command has come. There is none where stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The line. Dropping it clears it.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Begins with nothing done of `duration`.
    pub(super) fn new(stage: &'static str, duration: Duration) -> Self {
        let bar = ProgressBar::new(millis(duration)).with_message(stage);
        match ProgressStyle::with_template("{msg} {elapsed} [{wide_bar}] {prefix}") {
            Ok(style) => Self(bar.with_style(style.progress_chars("=> "))),
            // A plain bar is better than none.
            Err(_) => Self(bar),
        }
    }

    /// Shows how much of the duration is over, and a remark.
    pub(super) fn show(&self, over: Duration, remark: String) {
        self.0.set_position(millis(over));
        self.0.set_prefix(remark);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A line on stderr that says one thing after the other, likewise. Dropping it clears it.
#[derive(Debug)]
pub(super) struct Line(ProgressBar);

impl Line {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        match ProgressStyle::with_template("{wide_msg}") {
            Ok(style) => Self(bar.with_style(style)),
            Err(_) => Self(bar),
        }
    }

    pub(super) fn say(&self, what: String) {
        self.0.set_message(what);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
