//! The role machine, step by step.

mod cut;
mod edges;
mod explore;
mod limits;
mod obstacles;
mod reconcile;
mod retained;
mod retire;
mod scenarios;
mod sessions;
mod traces;
mod world;

pub(super) use explore::Names;

use crate::types::ServerId;

const A: ServerId = ServerId::A;
const B: ServerId = ServerId::B;
