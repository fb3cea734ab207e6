//! A server in this process, on a thread and a runtime of its own, that can be killed and hung.
//!
//! The thread polls one future, which reads commands before it lets the server run. So a server
//! that is killed while it hangs does not run again, and a server that hangs keeps its connections
//! open and does nothing, like a stopped process.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

/// What can be done to a running server.
#[derive(Debug)]
enum Command {
    Kill,
    /// Says that it hangs, and does until it is told what is next.
    Hang(SyncSender<()>, Receiver<Next>),
}

#[derive(Debug)]
enum Next {
    GoOn,
    Die,
}

/// A running server, or one that has ended. Dropping it kills it.
#[must_use = "the server is killed once this is dropped"]
pub(super) struct Task {
    commands: mpsc::Sender<Command>,
    /// Asks for a graceful end.
    shutdown: Option<oneshot::Sender<()>>,
    hanging: Option<SyncSender<Next>>,
    thread: Option<JoinHandle<()>>,
}

impl Task {
    /// Runs the future that `serve` makes; it is given what resolves when the server shall end.
    pub(super) fn start<S, F>(name: String, serve: S) -> io::Result<Self>
    where
        S: FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let (commands, obeyed) = mpsc::channel(1);
        let (shutdown, asked) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(live(obeyed, serve(asked)));
            // The sockets of all its tasks close here.
            drop(runtime);
        })?;
        Ok(Self {
            commands,
            shutdown: Some(shutdown),
            hanging: None,
            thread: Some(thread),
        })
    }

    /// Kills it. It has ended when this returns.
    pub(super) fn kill(&mut self) {
        match self.hanging.take() {
            Some(next) => drop(next.send(Next::Die)),
            // An error says that it has ended, here as below.
            None => drop(self.commands.try_send(Command::Kill)),
        }
        self.join();
    }

    /// Makes it hang. It does when this returns.
    pub(super) fn stop(&mut self) {
        if self.hanging.is_some() {
            return;
        }
        let (hangs, hanging) = sync_channel(1);
        let (next, told) = sync_channel(1);
        if self.commands.try_send(Command::Hang(hangs, told)).is_ok() && hanging.recv().is_ok() {
            self.hanging = Some(next);
        }
    }

    /// Lets it go on.
    pub(super) fn wake(&mut self) {
        if let Some(next) = self.hanging.take() {
            let _ = next.send(Next::GoOn);
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            let _ = shutdown.send(());
        }
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server panicked");
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("over", &self.is_over())
            .field("hanging", &self.hanging.is_some())
            .finish_non_exhaustive()
    }
}

/// Runs `server` until it ends or is killed.
async fn live(mut commands: mpsc::Receiver<Command>, server: impl Future<Output = ()>) {
    tokio::pin!(server);
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Hang(hangs, next)) => {
                    // Nobody waits any more if the test has panicked.
                    let _ = hangs.send(());
                    match next.recv() {
                        Ok(Next::GoOn) => {}
                        Ok(Next::Die) | Err(_) => return,
                    }
                }
                Some(Command::Kill) | None => return,
            },
            () = &mut server => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::testkit::wait_until;

    const SOON: Duration = Duration::from_secs(10);

    /// A server that counts, in a task of its own, and how far it has come.
    fn counter() -> (Task, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&count);
        let task = Task::start("counter".to_owned(), move |stop| async move {
            let counting = tokio::spawn(async move {
                loop {
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            });
            let _ = stop.await;
            counting.abort();
        });
        (task.expect("a thread"), seen)
    }

    async fn counts_on(count: &AtomicU64) {
        let before = count.load(Ordering::SeqCst);
        wait_until("it counts on", SOON, async || {
            count.load(Ordering::SeqCst) > before
        })
        .await;
    }

    #[tokio::test]
    async fn a_killed_server_does_nothing_more() {
        let (mut task, count) = counter();
        counts_on(&count).await;
        task.kill();
        assert!(task.is_over());
        assert_eq!(Arc::strong_count(&count), 1, "its tasks are gone");
        task.kill();
        task.stop();
        task.wake();
    }

    #[tokio::test]
    async fn a_hung_server_does_nothing_until_it_is_woken() {
        let (mut task, count) = counter();
        for _ in 0..20 {
            counts_on(&count).await;
            task.stop();
            task.stop();
            let hung = count.load(Ordering::SeqCst);
            std::thread::yield_now();
            assert_eq!(count.load(Ordering::SeqCst), hung);
            task.wake();
        }
        counts_on(&count).await;
    }

    #[tokio::test]
    async fn a_hung_server_that_is_killed_does_not_run_once_more() {
        let (mut task, count) = counter();
        counts_on(&count).await;
        task.stop();
        let hung = count.load(Ordering::SeqCst);
        task.kill();
        assert_eq!(count.load(Ordering::SeqCst), hung);
    }

    #[tokio::test]
    async fn a_server_that_is_asked_to_ends_by_itself() {
        let (mut task, count) = counter();
        counts_on(&count).await;
        assert!(!task.is_over());
        task.terminate();
        wait_until("its end", SOON, async || task.is_over()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "the server panicked")]
    async fn a_server_that_panics_fails_the_test() {
        let task = Task::start("broken".to_owned(), |_| async { panic!("a bug") });
        let mut task = task.expect("a thread");
        wait_until("its end", SOON, async || task.is_over()).await;
        task.kill();
    }
}
