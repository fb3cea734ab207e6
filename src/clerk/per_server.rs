//! One of something for each server of the pair.

use std::ops::{Index, IndexMut};

use crate::types::ServerId;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PerServer<T>([T; 2]);

impl<T> PerServer<T> {
    pub(super) fn of(each: impl FnMut(ServerId) -> T) -> Self {
        Self(ServerId::BOTH.map(each))
    }
}

impl<T> Index<ServerId> for PerServer<T> {
    type Output = T;

    fn index(&self, server: ServerId) -> &T {
        &self.0[server as usize]
    }
}

impl<T> IndexMut<ServerId> for PerServer<T> {
    fn index_mut(&mut self, server: ServerId) -> &mut T {
        &mut self.0[server as usize]
    }
}
