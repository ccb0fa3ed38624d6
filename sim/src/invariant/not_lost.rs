//! A record whose writing was acknowledged is not lost while one node that keeps it lives: and once the faults have stopped, every node
//! finds it.
//!
//! Atoll's own promise: see `docs/storage.md`.

use std::collections::BTreeMap;

use atoll::proto::Answer;
use atoll::record::{Key, Record};

use super::Broken;
use crate::engine::World;

/// The name.
pub const NAME: &str = "not-lost";

/// The records that were acknowledged, the newest under each key, and that living nodes keep.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged(BTreeMap<Key, Record>);

impl Acknowledged {
    /// A writing was acknowledged.
    pub fn insert(&mut self, world: &World, record: Record) {
        let newer = |held: &Record| held.sequence() < record.sequence();
        if is_kept(world, &record) && self.0.get(&record.key()).is_none_or(newer) {
            self.0.insert(record.key(), record);
        }
    }

    /// The records.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.values()
    }

    /// Nobody died since this was called last: so each is kept by a living node.
    ///
    /// # Errors
    ///
    /// When nobody keeps one any more.
    pub fn check(&self, world: &World) -> Result<(), Broken> {
        match self.0.values().find(|record| !is_kept(world, record)) {
            None => Ok(()),
            Some(record) => Err(Broken::new(
                NAME,
                format!("no living node keeps {} any more, though one that did lives", record.key()),
            )),
        }
    }

    /// Nodes have just died: what nobody else kept is lost, and that is no fault.
    pub fn forget_what_died(&mut self, world: &World) {
        self.0.retain(|_, record| is_kept(world, record));
    }
}

/// What a node of the ideal ring found under the key of a record that was acknowledged.
///
/// # Errors
///
/// When it is not that record, nor a newer one.
pub fn check_found(world: &World, record: &Record, answer: Option<&Answer>) -> Result<(), Broken> {
    match answer {
        Some(Answer::Get(Ok(Some(found)))) if found.sequence() >= record.sequence() => Ok(()),
        other => {
            let (key, point) = (record.key(), record.key().point());
            let keepers: Vec<String> =
                keepers(world, record).map(|at| world.nodes[at].proto.id().to_string()).collect();
            let what = format!(
                "on an ideal ring a node that reads {key}, at {point}, got {other:?}; kept by [{}]",
                keepers.join(", ")
            );
            Err(Broken::new(NAME, what))
        }
    }
}

/// Whether a living node keeps a record, or a newer one under its key.
fn is_kept(world: &World, record: &Record) -> bool {
    keepers(world, record).next().is_some()
}

/// The living nodes that keep a record, or a newer one under its key.
fn keepers(world: &World, record: &Record) -> impl Iterator<Item = usize> {
    let (key, now) = (record.key(), world.now());
    let keeps = move |&at: &usize| {
        let held = world.nodes[at].proto.stored(&key, now);
        held.is_some_and(|held| held.sequence() >= record.sequence())
    };
    world.running().filter(keeps)
}
