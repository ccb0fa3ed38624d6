//! A record whose writing was acknowledged is kept by as many nodes as were said to, and not lost while one that keeps it lives: once the faults
//! have stopped, every node finds it.
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
    /// A writing was acknowledged just now, as one that so many nodes keep.
    ///
    /// # Errors
    ///
    /// When fewer do, those counted that have died or left since.
    pub fn insert(&mut self, world: &World, record: Record, copies: u8) -> Result<(), Broken> {
        let kept = (0..world.nodes.len()).filter(|&at| keeps(world, at, &record)).count();
        if kept < usize::from(copies) {
            let what = format!("{copies} nodes were said to keep {}, but {kept} do", record.key());
            return Err(Broken::new(NAME, what));
        }
        let newer = |held: &Record| held.sequence() < record.sequence();
        if is_kept(world, &record) && self.0.get(&record.key()).is_none_or(newer) {
            self.0.insert(record.key(), record);
        }
        Ok(())
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
    world.running().filter(move |&at| keeps(world, at, record))
}

fn keeps(world: &World, at: usize, record: &Record) -> bool {
    let held = world.nodes[at].proto.stored(&record.key(), world.now());
    held.is_some_and(|held| held.sequence() >= record.sequence())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atoll::id::Id;
    use atoll::proto::{Config, Input, Token};
    use atoll::record::Seconds;

    use super::*;
    use crate::engine::Network;

    const S: Duration = Duration::from_secs(1);

    fn value(text: &'static str) -> Record {
        Record::value_of(text, Seconds(3600)).expect("a small value")
    }

    /// Two nodes, and a record that one of them, alone at first, keeps.
    fn kept_by_one_of_two() -> (World, Record) {
        let record = value("kept");
        let mut world = World::new(1, Network::default());
        world.add(Id::new(1), Config::with_links(16));
        world.run_for(5 * S);
        world.input(0, Input::Put { token: Token(1), record: Box::new(record.clone()) });
        world.run_for(S);
        assert!(is_kept(&world, &record), "{}", world.describe());
        world.add(Id::new(2), Config::with_links(16));
        assert_eq!(keepers(&world, &record).count(), 1, "the other has not joined yet");
        (world, record)
    }

    #[test]
    fn a_record_that_fewer_keep_than_were_said_to_is_broken() {
        let (world, record) = kept_by_one_of_two();
        let mut acknowledged = Acknowledged::default();
        assert_eq!(acknowledged.insert(&world, record.clone(), 1), Ok(()));
        assert_eq!(acknowledged.records().count(), 1);
        let broken = acknowledged.insert(&world, record, 2).expect_err("one keeps it");
        assert!(broken.invariant == NAME && broken.what.contains("2 nodes were said"), "{broken}");
        assert!(acknowledged.insert(&world, value("nobody's"), 1).is_err());
    }

    #[test]
    fn a_record_that_nobody_keeps_any_more_is_broken_unless_they_died() {
        let (mut world, record) = kept_by_one_of_two();
        let mut acknowledged = Acknowledged::default();
        acknowledged.insert(&world, record, 1).expect("one keeps it");
        assert_eq!(acknowledged.check(&world), Ok(()));
        world.kill(0);
        let broken = acknowledged.check(&world).expect_err("nobody keeps it");
        assert_eq!(broken.invariant, NAME);
        acknowledged.forget_what_died(&world);
        assert_eq!(acknowledged.check(&world), Ok(()));
        assert_eq!(acknowledged.records().count(), 0);
    }

    #[test]
    fn what_is_read_is_the_record_or_a_newer_one() {
        let (world, _) = kept_by_one_of_two();
        let identity = crate::scenario::identity(0);
        let entry =
            |sequence| Record::entry(&identity, "a", sequence, Seconds(3600), Some("x".into())).expect("an entry");
        let found = |sequence| Answer::Get(Ok(Some(Box::new(entry(sequence)))));
        let check = |answer: Option<Answer>| check_found(&world, &entry(2), answer.as_ref());
        assert_eq!((check(Some(found(2))), check(Some(found(3)))), (Ok(()), Ok(())));
        for answer in [Some(found(1)), Some(Answer::Get(Ok(None))), None] {
            let broken = check(answer.clone()).expect_err("it is another");
            assert_eq!(broken.invariant, NAME, "{answer:?}");
        }
    }
}
