//! A server's process: a runtime with a clock of its own, that can be stopped and woken.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::advance;

use super::context::pass;

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    runtime: Runtime,
    running: JoinHandle<Result<(), String>>,
    terminate: Option<oneshot::Sender<()>>,
    /// How long it has been stopped, if it is.
    stopped: Option<Duration>,
}

impl Process {
    /// Starts what `software` makes; it is given what resolves when it shall end.
    pub(crate) fn start<S, F>(software: S) -> Self
    where
        S: FnOnce(oneshot::Receiver<()>) -> F,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO");
        let (terminate, terminated) = oneshot::channel();
        let running = runtime.spawn(software(terminated));
        Self {
            runtime,
            running,
            terminate: Some(terminate),
            stopped: None,
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        match &mut self.stopped {
            Some(since) => *since += time,
            None => self.runtime.block_on(pass(time)),
        }
    }

    pub(crate) fn stop(&mut self) {
        self.stopped.get_or_insert_default();
    }

    /// Lets it go on. To the process it is as if its clock had leapt.
    pub(crate) fn wake(&mut self) {
        if let Some(missed) = self.stopped.take() {
            self.runtime.block_on(advance(missed));
        }
    }

    pub(crate) fn terminate(&mut self) {
        if let Some(terminate) = self.terminate.take() {
            let _ = terminate.send(());
        }
    }

    /// How it ended, if it has.
    pub(crate) fn end(&mut self) -> Option<Result<(), String>> {
        if !self.running.is_finished() {
            return None;
        }
        let ended = self.runtime.block_on(&mut self.running);
        Some(ended.unwrap_or_else(|error| Err(error.to_string())))
    }
}
