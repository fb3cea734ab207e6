//! The thread that drives a blocking clerk.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::config::CLOSE_SESSION_TIMEOUT;

/// A thread with a runtime. It ends some time after this is dropped: what was dropped last is
/// released by tasks, which end within [`CLOSE_SESSION_TIMEOUT`].
pub(super) struct RuntimeThread {
    handle: Handle,
    /// Nothing is sent. The thread notices when this is dropped.
    _running: oneshot::Sender<Infallible>,
}

impl RuntimeThread {
    pub(super) fn start() -> Arc<Self> {
        Self::start_with_thread().0
    }

    fn start_with_thread() -> (Arc<Self>, JoinHandle<()>) {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system gives a runtime its descriptors");
        let handle = runtime.handle().clone();
        let (running, dropped) = oneshot::channel::<Infallible>();
        let drive = async {
            let _ = dropped.await;
            sleep(CLOSE_SESSION_TIMEOUT).await;
        };
        let thread = thread::Builder::new()
            .name("lock-clerk".to_owned())
            .spawn(move || runtime.block_on(drive))
            .expect("the system starts a thread");
        let running = Self {
            handle,
            _running: running,
        };
        (Arc::new(running), thread)
    }

    /// Runs `future` on the caller's thread. The runtime's thread drives connections and timers.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }
}

impl fmt::Debug for RuntimeThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeThread").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn its_tasks_run_until_shortly_after_it_is_dropped() {
        let (runtime, thread) = RuntimeThread::start_with_thread();
        let (ran, runs) = std::sync::mpsc::sync_channel(1);
        runtime.handle.spawn(async move {
            sleep(CLOSE_SESSION_TIMEOUT / 4).await;
            ran.send(()).expect("somebody listens");
        });
        assert_eq!(runtime.block_on(async { 7 }), 7);
        let dropped = Instant::now();
        drop(runtime);
        thread.join().expect("it ends");
        runs.try_recv().expect("the task has ended");
        let took = dropped.elapsed();
        assert!(
            took < CLOSE_SESSION_TIMEOUT + Duration::from_secs(10),
            "{took:?}"
        );
    }
}
