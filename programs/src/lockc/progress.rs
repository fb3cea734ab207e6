//! A line on stderr that tells how far a long command has come. There is none where stderr is no
//! terminal.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use rustix::termios::tcgetwinsize;

use crate::output::stderr;
use crate::text::abridged;

/// How wide a terminal is that does not tell.
const USUAL_WIDTH: u16 = 80;

/// The line. Dropping it clears it.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Begins with nothing done of `duration`.
    pub(super) fn new(stage: &'static str, duration: Duration) -> Self {
        let bar = ProgressBar::with_draw_target(Some(millis(duration)), target());
        let bar = bar.with_message(stage);
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
        let bar = ProgressBar::with_draw_target(None, target());
        match ProgressStyle::with_template("{wide_msg}") {
            Ok(style) => Self(bar.with_style(style)),
            Err(_) => Self(bar),
        }
    }

    /// Says `what`, or both ends of it where the terminal is too narrow for all.
    pub(super) fn say(&self, what: &str) {
        self.0.set_message(abridged(what, columns().into()));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() {
        ProgressDrawTarget::term_like(Box::new(Terminal::default()))
    } else {
        ProgressDrawTarget::hidden()
    }
}

fn columns() -> u16 {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => USUAL_WIDTH,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The terminal behind stderr. Nobody waits for it: it may have been stopped, by Ctrl-S for
/// instance.
#[derive(Debug, Default)]
struct Terminal(Mutex<String>);

impl Terminal {
    fn add(&self, text: &str) {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.push_str(text);
    }

    fn move_cursor(&self, count: usize, direction: char) {
        if count > 0 {
            self.add(&format!("\x1b[{count}{direction}"));
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        columns()
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'D');
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.add(line);
        self.add("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stderr::say(std::mem::take(&mut *drawn).into_bytes());
        Ok(())
    }
}
