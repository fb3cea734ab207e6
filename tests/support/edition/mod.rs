//! Small for everyone, long on command.

/// Whether the long edition is wanted: `LONG_TESTS=1`.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness passes no settings in"
)]
pub(crate) fn is_long() -> bool {
    std::env::var_os("LONG_TESTS").is_some_and(|value| value == "1")
}

/// How often something is done: `small` times, or `long` times in the long edition.
pub(crate) fn rounds(small: u32, long: u32) -> u32 {
    if is_long() { long } else { small }
}
