//! What nodes write into the store of the ring that is checked, and what of it was acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll::proto::{Answer, Input, Token};
use atoll::record::{Key, Record, Seconds};

use crate::engine::World;
use crate::invariant::Broken;
use crate::invariant::not_lost::{self, Acknowledged};
use crate::invariant::not_stale;
use crate::scenario::identity;

/// Tokens from here on are of the store.
pub(super) const TOKENS: u64 = 1 << 40;

/// Names of entries that are written again and again.
const NAMES: u64 = 4;

/// Bytes of a value that takes several frames.
const LARGE: usize = 40_000;

#[derive(Default)]
pub(super) struct Store {
    tokens: u64,
    writing: BTreeMap<u64, Record>,
    answers: BTreeMap<u64, Answer>,
    pub(super) acknowledged: Acknowledged,
}

impl Store {
    /// A node writes a value, or an entry of its own.
    pub(super) fn write(&mut self, world: &mut World, node: usize, number: u64) {
        let expires = Seconds(world.now().0 / 1_000_000).after(Duration::from_secs(3600));
        let record = match number % 3 {
            0 => self.entry(node, number / 3 % NAMES, expires),
            1 => Record::value_of(number.to_be_bytes().to_vec(), expires).expect("a small value"),
            _ => Record::value_of(number.to_be_bytes().repeat(LARGE / 8), expires).expect("a value"),
        };
        self.put(world, node, record);
    }

    /// A node writes the next one of its entries of this name.
    fn entry(&mut self, node: usize, name: u64, expires: Seconds) -> Record {
        let (sequence, name) = (self.tokens + 1, name.to_string());
        let value = sequence.to_be_bytes().to_vec();
        Record::entry(&identity(node), name, sequence, expires, Some(value.into())).expect("a small entry")
    }

    fn put(&mut self, world: &mut World, node: usize, record: Record) -> u64 {
        let token = self.token();
        self.writing.insert(token, record.clone());
        world.input(node, Input::Put { token: Token(token), record: Box::new(record) });
        token
    }

    fn get(&mut self, world: &mut World, node: usize, key: Key) -> u64 {
        let token = self.token();
        world.input(node, Input::Get { token: Token(token), key: Box::new(key) });
        token
    }

    fn token(&mut self) -> u64 {
        self.tokens += 1;
        TOKENS + self.tokens
    }

    /// A request was answered just now.
    pub(super) fn answer(&mut self, world: &World, token: u64, answer: &Answer) -> Result<(), Broken> {
        if let Answer::Get(_) = answer {
            self.answers.insert(token, answer.clone());
        }
        match (self.writing.remove(&token), answer) {
            (Some(record), Answer::Put(Ok(copies))) => self.acknowledged.insert(world, record, *copies),
            _ => Ok(()),
        }
    }

    /// On the ideal ring: nodes read everything that was acknowledged. Gives what is asked.
    pub(super) fn read_all(&mut self, world: &mut World, members: &[usize]) -> Vec<(u64, Record)> {
        let records: Vec<Record> = self.acknowledged.records().cloned().collect();
        let read = |(number, record): (usize, Record)| {
            let token = self.get(world, members[number % members.len()], record.key());
            (token, record)
        };
        records.into_iter().enumerate().map(read).collect()
    }

    pub(super) fn check_read(&self, world: &World, asked: &[(u64, Record)]) -> Result<(), Broken> {
        asked.iter().try_for_each(|(token, record)| not_lost::check_found(world, record, self.answers.get(token)))
    }

    /// On the ideal ring: a member writes an entry.
    pub(super) fn write_entry(&mut self, world: &mut World, node: usize) -> Record {
        let expires = Seconds(world.now().0 / 1_000_000).after(Duration::from_secs(3600));
        let record = self.entry(node, 0, expires);
        self.put(world, node, record.clone());
        record
    }

    /// Whether the writing of this was acknowledged.
    pub(super) fn has(&self, record: &Record) -> bool {
        self.acknowledged.records().any(|known| known == record)
    }

    /// These members read it.
    pub(super) fn read(&mut self, world: &mut World, members: &[usize], record: &Record) -> Vec<u64> {
        members.iter().map(|&node| self.get(world, node, record.key())).collect()
    }

    pub(super) fn check_fresh(&self, record: &Record, asked: &[u64]) -> Result<(), Broken> {
        asked.iter().try_for_each(|token| not_stale::check(record, self.answers.get(token)))
    }
}
