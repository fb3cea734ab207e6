//! Outputs that cannot be written, on real processes: closed, full, blocked, and with their reader
//! gone. Nothing that a program does for its users may hang on one.

mod fault;
mod lockc;
mod lockd;
mod names;
