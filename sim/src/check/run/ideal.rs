//! What is tried once the ring is ideal: packets between all pairs, lookups, a message on the channel, what was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Answer, Phase};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::super::channel::TOKENS;
use super::super::store;
use super::Run;
use crate::engine::Happening;
use crate::invariant::{Broken, reachable};

/// How long a packet may take on an ideal ring.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);

/// So often a packet is sent at most. Links still change while fingers are found, and what is on its way over one that closes is lost, as
/// on any network.
const TRIES_TO_ARRIVE: u32 = 3;

/// How long a message on a channel may take then: what waits for lost frames counts as lost by then.
const TELLS_WITHIN: Duration = Duration::from_secs(30);

/// Once the ring is ideal, the owner of each record that was acknowledged has it within this time: that of a node which keeps it, and is not asked
/// by the owner, to offer it.
const STORE_HEALS_WITHIN: Duration = Duration::from_secs(90);

/// How long a request to the store may take.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(11);

/// So often one of them writes an entry, and others read it.
const WRITES: usize = 2;

/// Members that read what one of them wrote.
const READERS: usize = 8;

/// Pairs that exchange packets in the end, where the ring is too large for all; and lookups then.
const SAMPLES: usize = 600;

/// Lookups in the end: a few for each member, so that each arc is met.
const LOOKUPS: usize = 4;

impl Run<'_> {
    /// On the ideal ring: packets between all pairs, and lookups.
    pub(super) fn talk(&mut self) -> Result<(), Broken> {
        let members: Vec<usize> =
            self.world.running().filter(|&at| self.world.nodes[at].proto.phase() == Phase::Member).collect();
        if members.is_empty() {
            return Ok(());
        }
        let id = |run: &Self, at: usize| run.world.nodes[at].proto.id();
        let rng = &mut Pcg32::seed_from_u64(self.scenario.seed);
        let all = members.len() <= reachable::ALL_PAIRS;
        let pairs: Vec<(usize, usize)> = match all {
            true => members.iter().flat_map(|&from| members.iter().map(move |&to| (from, to))).collect(),
            false => (0..SAMPLES).map(|_| (members[draw(rng, &members)], members[draw(rng, &members)])).collect(),
        };
        let asked: Vec<(u64, Id)> = (0..LOOKUPS * members.len().min(SAMPLES / LOOKUPS))
            .map(|_| {
                let (from, key) = (members[draw(rng, &members)], Id::random(rng));
                (self.ask(from, key), key)
            })
            .collect();
        let mut heard = Heard { pairs, missing: BTreeSet::new(), owners: BTreeMap::new() };
        heard.missing.extend(0..heard.pairs.len());
        for _ in 0..TRIES_TO_ARRIVE {
            for &number in &heard.missing {
                let (from, to) = heard.pairs[number];
                self.world.send(from, id(self, to), (number as u64).to_be_bytes().to_vec().into());
            }
            let end = self.world.now().after(ARRIVES_WITHIN);
            while self.world.step_until(end) {
                self.look()?;
                self.listen(&mut heard)?;
            }
            self.listen(&mut heard)?;
        }
        self.take_answers()?;
        if let Some(&number) = heard.missing.first() {
            let (from, to) = heard.pairs[number];
            return Err(reachable::not_arrived(id(self, from), id(self, to), TRIES_TO_ARRIVE));
        }
        let ring = self.members(0);
        asked
            .into_iter()
            .try_for_each(|(token, key)| reachable::check_owner(&ring, key, heard.owners.get(&token).copied()))
    }

    fn listen(&mut self, heard: &mut Heard) -> Result<(), Broken> {
        for (at, happening) in std::mem::take(&mut self.world.happened) {
            match happening {
                Happening::Packet { node, packet, .. } => {
                    let number =
                        packet.as_ref().try_into().map_or(usize::MAX, |bytes| u64::from_be_bytes(bytes) as usize);
                    if heard.pairs.get(number).is_some_and(|&(_, to)| to == node) {
                        heard.missing.remove(&number);
                    }
                }
                Happening::Channel { node, event, .. } => self.channel.hear(node, &event)?,
                Happening::Answer { token, answer, .. } if token >= store::TOKENS => {
                    self.store.answer(&self.world, token, &answer)?;
                }
                Happening::Answer { node, token, answer } if token >= TOKENS => self.channel.answer(node, &answer),
                Happening::Answer { node, token, answer } => {
                    self.asked.answer(token, node, at)?;
                    if let Answer::Lookup(Ok(owner)) = answer {
                        heard.owners.insert(token, owner.id);
                    }
                }
                other => self.remember(at, other),
            }
        }
        Ok(())
    }

    /// On the ideal ring: a message of one member of the channel comes to all the others.
    pub(super) fn tell_all(&mut self) -> Result<(), Broken> {
        let members = self.channel.members(&self.world);
        let Some(&from) = members.first() else { return Ok(()) };
        self.channel.publish(&mut self.world, from);
        let end = self.world.now().after(TELLS_WITHIN);
        self.pass_until(end)?;
        self.channel.check_last(&self.world, from, &members)
    }

    /// On the ideal ring: what was acknowledged is read, and what is written then is what is read then.
    pub(super) fn read_all(&mut self) -> Result<(), Broken> {
        let members: Vec<usize> = self.world.running().filter(|&at| self.world.nodes[at].is_member()).collect();
        if members.is_empty() || self.store.acknowledged.records().next().is_none() {
            return Ok(());
        }
        self.pass(STORE_HEALS_WITHIN)?;
        self.store.acknowledged.check(&self.world)?;
        let asked = self.store.read_all(&mut self.world, &members);
        self.pass(STORE_ANSWERS_WITHIN)?;
        self.store.check_read(&self.world, &asked)?;
        for _ in 0..WRITES {
            let record = self.store.write_entry(&mut self.world, members[0]);
            let mut waited = Duration::ZERO;
            while !self.store.has(&record) && waited < STORE_ANSWERS_WITHIN {
                self.pass(Duration::from_millis(100))?;
                waited += Duration::from_millis(100);
            }
            let readers = &members[..members.len().min(READERS)];
            let asked = self.store.read(&mut self.world, readers, &record);
            self.pass(STORE_ANSWERS_WITHIN)?;
            self.store.check_fresh(&record, &asked)?;
        }
        Ok(())
    }

    fn pass(&mut self, time: Duration) -> Result<(), Broken> {
        self.pass_until(self.world.now().after(time))
    }
}

/// What has arrived in the end.
struct Heard {
    pairs: Vec<(usize, usize)>,
    /// The pairs whose packet has not arrived.
    missing: BTreeSet<usize>,
    /// By token.
    owners: BTreeMap<u64, Id>,
}

fn draw(rng: &mut Pcg32, members: &[usize]) -> usize {
    rng.random_range(0..members.len())
}
