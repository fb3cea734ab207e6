//! One of something for each server of the list.

use std::ops::{Index, IndexMut};

use crate::types::ServerId;

#[derive(Debug, Clone)]
pub(super) struct PerServer<T>(Box<[T]>);

impl<T> PerServer<T> {
    pub(super) fn of(
        servers: impl Iterator<Item = ServerId>,
        each: impl FnMut(ServerId) -> T,
    ) -> Self {
        Self(servers.map(each).collect())
    }

    /// The servers, in their order.
    pub(super) fn ids(
        &self,
    ) -> impl DoubleEndedIterator<Item = ServerId> + ExactSizeIterator + Clone + use<T> {
        ServerId::first(self.0.len())
    }

    /// What there is for each, in the order of the servers.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// What there is for each, in the order of the servers.
    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }
}

impl<T> IntoIterator for PerServer<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl<T> Index<ServerId> for PerServer<T> {
    type Output = T;

    fn index(&self, server: ServerId) -> &T {
        &self.0[server.index()]
    }
}

impl<T> IndexMut<ServerId> for PerServer<T> {
    fn index_mut(&mut self, server: ServerId) -> &mut T {
        &mut self.0[server.index()]
    }
}
