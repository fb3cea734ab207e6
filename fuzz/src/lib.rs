//! What the fuzz targets do with their input. Each panics when the input shows a bug.
//!
//! `tests/hostile/corpus.rs` of the main package includes this file and replays the corpus through
//! it, so nothing here may need more than that package's dev-dependencies.

mod conversation;
mod falsehood;
mod frames;
mod preface;
mod speech;
mod text;

pub use self::conversation::conversation;
pub use self::frames::frames;
pub use self::preface::preface;
pub use self::text::{addresses, names};

/// Runs `future` on a clock that is wound forward whenever everybody waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}
