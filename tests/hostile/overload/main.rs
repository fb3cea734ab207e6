//! Servers under siege: by words that no honest program says, and by wants that nobody can fill.

#[path = "../../support/edition/mod.rs"]
mod edition;
mod exhaustion;
mod malformed;
#[path = "../../../fuzz/src/speech.rs"]
mod speech;
mod target;
