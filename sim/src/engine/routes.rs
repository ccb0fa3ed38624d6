//! The ways that packets took, seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use atoll::wire::Message;
use bytes::Bytes;

use super::{Fate, World};

/// Who sent each packet on, in their order. Packets are told apart by what is in them.
///
/// Every frame is looked at while this watches: for some thousand packets, not for a million nodes.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<Mutex<BTreeMap<Bytes, Vec<usize>>>>);

impl Routes {
    /// Watches a world from now on, in place of its [`World::sabotage`].
    pub fn watch(world: &mut World) -> Self {
        let routes = Routes::default();
        let seen = routes.clone();
        world.sabotage = Some(Box::new(move |at, frame| {
            if let Message::Datagram(packet) = &frame.message {
                seen.lock().entry(packet.clone()).or_default().push(at);
            }
            Fate::Goes
        }));
        routes
    }

    /// The number of hops of each packet.
    pub fn hops(&self) -> Vec<usize> {
        self.lock().values().map(Vec::len).collect()
    }

    /// Packets that one node sent on twice.
    pub fn loops(&self) -> usize {
        let looped = |route: &&Vec<usize>| route.iter().collect::<BTreeSet<_>>().len() != route.len();
        self.lock().values().filter(looped).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Bytes, Vec<usize>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
