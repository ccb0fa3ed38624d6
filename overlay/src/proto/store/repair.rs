//! Repair: digests of arcs are compared, and only what differs is copied.
//!
//! ```text
//! owner                              a member that should keep the same arc
//!    │  Compare (digest of the arc)   ──▶   │  equal: nothing more is said
//!    │      ◀──   Compare (of its parts)    │  different, and many records
//!    │      ◀──   List (of its records)     │  different, and few
//!    │  Copy (what it lacks)          ──▶   │
//!    │  Want (what I lack)            ──▶   │  Copy
//! ```
//!
//! Neither side keeps anything in mind for it: what got lost is found by the next comparison.

use std::time::Duration;

use super::load::Origin;
use super::{REPAIR_SOON, seconds};
use crate::id::Id;
use crate::proto::{Phase, Proto, Time};
use crate::record::{Place, Record};
use crate::wire::{Flags, Listed, MAX_LISTED, MAX_PARTS, Message, Part, Replicate};
use rand::RngExt;
use rand::seq::IndexedRandom;

/// Frames in answer to one comparison at most; the rest comes with the next one.
const MAX_ANSWERS: usize = 4;

/// Periods of repair after which a record of which its owner did not speak is offered to it.
const ORPHAN_AFTER: u32 = 3;

impl Proto {
    /// Compares the own arc with those who keep it, and offers the records of others of which nobody spoke.
    pub(super) fn repair_when_due(&mut self, now: Time) {
        let every = self.config.repair_every;
        let Some(store) = self.store.as_mut().filter(|store| store.repair_at <= now) else { return };
        // Where there was much to copy there may be more.
        let wait = if std::mem::take(&mut store.sent_some) { REPAIR_SOON.min(every) } else { every };
        let wait = self.jittered(wait);
        self.open_store(now).repair_at = now.after(wait);
        self.forget_expired(now);
        if self.phase != Phase::Member {
            return;
        }
        self.begin_taking_over(now);
        if let Some((from, to)) = self.own_arc() {
            for keeper in self.keepers() {
                self.compare_arc(keeper, from, to, now);
            }
            self.offer_orphans(from, to, every, now);
        }
    }

    /// Compares what this node keeps of an arc with a peer; nothing is said of an arc without records.
    pub(super) fn compare_arc(&mut self, peer: Id, from: Id, to: Id, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        let part = store.table.digest(from, to, seconds(now));
        if part.count > 0 {
            self.send_replicate(peer, None, Replicate::Compare { from, parts: vec![part] }, now);
        }
    }

    pub(super) fn on_compare(&mut self, origin: Origin, from: Id, parts: &[Part], now: Time) {
        // The old owner of this node's arc tells it of the records there: it takes them all over instead.
        let mine = parts.last().is_some_and(|part| part.to == self.me);
        self.open_store(now);
        if mine && self.begin_taking_over(now) {
            return;
        }
        let clock = seconds(now);
        let config = std::sync::Arc::clone(&self.config);
        let table = &mut self.open_store(now).table;
        // The owner of an arc speaks of all of it.
        if let Some(part) = parts.last().filter(|part| part.to == origin.src) {
            table.learn_arc((from, part.to));
        }
        let room = table.has_room(&config.quotas);
        let mut begin = from;
        let mut answers = Vec::new();
        for theirs in parts {
            let (from, to) = (begin, theirs.to);
            begin = to;
            let table = &mut self.open_store(now).table;
            table.touch(from, to, now);
            let ours = table.digest(from, to, clock);
            if ours == *theirs || answers.len() == MAX_ANSWERS {
                continue;
            }
            let split = match ours.count as usize > MAX_LISTED {
                true => table.split(from, to, MAX_PARTS, clock),
                false => Vec::new(),
            };
            answers.push(match split.len() > 1 {
                true => Replicate::Compare { from, parts: split },
                false => Replicate::List { from, to, entries: table.list(from, to, MAX_LISTED, clock), room },
            });
        }
        for answer in answers {
            let bytes = match &answer {
                Replicate::List { entries, .. } => entries.len() * size_of::<Listed>(),
                _ => MAX_PARTS * size_of::<Part>(),
            };
            if self.may_answer(origin, bytes, now) {
                self.send_replicate(origin.src, None, answer, now);
            }
        }
        self.begin_taking_over(now);
    }

    /// What `src` keeps of an arc: it gets what it lacks, and is asked for what this node lacks.
    pub(super) fn on_list(&mut self, origin: Origin, (from, to): (Id, Id), entries: &[Listed], room: bool, now: Time) {
        let src = origin.src;
        let config = std::sync::Arc::clone(&self.config);
        let Some(store) = self.store.as_ref() else { return };
        let clock = seconds(now);
        let mut listed: Vec<(Place, u64)> = entries.iter().map(|entry| (entry.place, entry.version)).collect();
        listed.sort_unstable();
        let lacks = |place: Place, version: u64| listed.binary_search(&(place, version)).is_err();
        let differing = store.table.in_arc(from, to, clock).filter(|&(place, held)| lacks(place, held.version));
        let records: Vec<Record> = differing.take(MAX_LISTED).map(|(_, held)| held.record.clone()).collect();
        let missing = listed
            .iter()
            .map(|&(place, _)| place)
            .filter(|&place| place.point.is_in_arc(from, to) && store.table.get(place, clock).is_none());
        let places: Vec<Place> = if store.table.has_room(&config.quotas) { missing.collect() } else { Vec::new() };
        if room {
            self.answer_by_copies(origin, records, now);
        }
        if !places.is_empty() {
            self.send_replicate(src, None, Replicate::Want { request: 0, places, owned: None }, now);
            self.open_store(now).sent_some = true;
        }
    }

    /// Records outside the own arc of which their owner has not spoken for long: is it that it does not know them?
    fn offer_orphans(&mut self, from: Id, to: Id, every: Duration, now: Time) {
        let Some(store) = self.store.as_mut().filter(|_| from != to) else { return };
        let silent = |touched: Time| now.since(touched) >= every * ORPHAN_AFTER;
        let orphans = store.table.in_arc(to, from, seconds(now)).filter(|(_, held)| silent(held.touched));
        let entries: Vec<Listed> =
            orphans.map(|(place, held)| Listed { place, version: held.version }).take(MAX_LISTED).collect();
        // The others have their turn first, should nobody answer.
        for entry in &entries {
            if let Some(held) = store.table.get_mut(entry.place) {
                held.touched = now;
            }
        }
        self.offer(entries, now);
    }

    /// Offers records to the owner of one of them; what others own goes on to them when that one has answered. It is drawn by lot, lest an owner
    /// that does not answer stand before the others for ever.
    fn offer(&mut self, entries: Vec<Listed>, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        let request = self.rng.random();
        store.offered = entries.iter().map(|entry| (request, entry.place, entry.version)).collect();
        if let Some(chosen) = entries.choose(&mut self.rng).map(|entry| entry.place.point) {
            let offer = Message::Replicate(Box::new(Replicate::Offer { request, entries }));
            self.send_to(chosen, None, Flags::KEY, offer, now);
        }
    }

    /// Somebody keeps records that this node may own. One that is still taking its arc over wants them as well: it may be that nobody whom it
    /// asks for that keeps them.
    pub(super) fn on_offer(&mut self, src: Id, request: u32, entries: &[Listed], now: Time) {
        let config = std::sync::Arc::clone(&self.config);
        let Some((from, to)) = self.own_arc().filter(|_| src != self.me) else { return };
        let store = self.open_store(now);
        if store.table.has_room(&config.quotas) {
            let other = |entry: &&Listed| {
                let held = store.table.get(entry.place, seconds(now));
                entry.place.point.is_in_arc(from, to) && held.is_none_or(|held| held.version != entry.version)
            };
            let places = entries.iter().filter(other).map(|entry| entry.place).collect();
            self.send_replicate(src, None, Replicate::Want { request, places, owned: Some((from, to)) }, now);
        }
        self.begin_taking_over(now);
    }

    /// `src` wants these records. Where it owns the arc and was offered more, it keeps the rest: they are in good hands.
    pub(super) fn on_want(
        &mut self,
        origin: Origin,
        request: u32,
        places: &[Place],
        owned: Option<(Id, Id)>,
        now: Time,
    ) {
        let asked =
            self.store.as_ref().is_some_and(|store| store.offered.iter().any(|&(number, ..)| number == request));
        if !asked && !self.is_plausible(origin.src) {
            self.open_store(now).stats.implausible += 1;
            return;
        }
        let clock = seconds(now);
        // An owner's arc ends at itself.
        if let Some(arc) = owned.filter(|&(_, to)| asked && to == origin.src) {
            self.settle_offer(request, places, arc, now);
        }
        let Some(store) = self.store.as_ref() else { return };
        let wanted = places.iter().filter_map(|&place| store.table.get(place, clock));
        let records: Vec<Record> = wanted.map(|held| held.record.clone()).collect();
        self.answer_by_copies(origin, records, now);
    }

    /// The owner of `arc` has said which of the records there that were offered it lacks. The rest of the offer goes on to who owns that.
    fn settle_offer(&mut self, request: u32, places: &[Place], (from, to): (Id, Id), now: Time) {
        let clock = seconds(now);
        let Some(store) = self.store.as_mut() else { return };
        let offered: Vec<_> =
            std::mem::take(&mut store.offered).into_iter().filter(|&(of, ..)| of == request).collect();
        let (mine, others): (Vec<_>, Vec<_>) =
            offered.into_iter().partition(|(_, place, _)| place.point.is_in_arc(from, to));
        let settled = |&&(_, place, version): &&(u32, Place, u64)| {
            let same = store.table.get(place, clock).is_some_and(|held| held.version == version);
            same && !places.contains(&place)
        };
        let settled: Vec<Place> = mine.iter().filter(settled).map(|&(_, place, _)| place).collect();
        settled.into_iter().for_each(|place| self.forget(place));
        // Each round leaves fewer, so it ends.
        if !mine.is_empty() {
            let rest = others.into_iter().map(|(_, place, version)| Listed { place, version }).collect();
            self.offer(rest, now);
        }
    }

    fn answer_by_copies(&mut self, origin: Origin, records: Vec<Record>, now: Time) {
        let bytes: usize = records.iter().map(Record::cost).sum();
        if bytes > 0 && self.may_answer(origin, bytes.min(super::BURST), now) {
            self.send_copies(origin.src, None, records, now);
        }
    }
}
