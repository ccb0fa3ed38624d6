//! A new owner asks its successors, one after the other, for the records of its arc, until one of them knows them all.

use std::time::Duration;

use super::load::Origin;
use super::{Store, seconds};
use crate::id::Id;
use crate::proto::{Phase, Proto, Time};
use crate::record::{Place, Record};
use crate::wire::{MAX_PARCEL_PARTS, PART_BYTES, Replicate, record_bytes};
use rand::RngExt;

/// How long a successor may take to send a part of the arc.
const PULL_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of records in one answer at most.
const PULL_BYTES: usize = PART_BYTES * MAX_PARCEL_PARTS as usize - 256;

/// How far a node is with taking its arc over.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum TakeOver {
    /// It has not begun.
    Needed,
    /// It asks.
    Asking {
        request: u32,
        arc: (Id, Id),
        /// The successors still to ask, the next last.
        next: Vec<Id>,
        peer: Id,
        answered: bool,
        deadline: Time,
    },
    /// It knows what is stored in its arc.
    Ready,
}

impl TakeOver {
    pub(super) fn is_ready(&self) -> bool {
        *self == TakeOver::Ready
    }

    pub(super) fn due(&self) -> Option<Time> {
        if let TakeOver::Asking { deadline, .. } = self { Some(*deadline) } else { None }
    }
}

impl Proto {
    /// Begins to take the arc over, unless that has begun. Gives whether it did.
    pub(super) fn begin_taking_over(&mut self, now: Time) -> bool {
        let needed = |store: &Store| store.take_over == TakeOver::Needed;
        if self.phase != Phase::Member || !self.store.as_deref().is_some_and(needed) {
            return false;
        }
        let mut next = self.keepers();
        if next.is_empty() {
            next.extend(self.ring.successor());
        }
        next.reverse();
        let arc = (self.ring.predecessor().unwrap_or(self.me), self.me);
        self.ask_next(arc, next, false, now);
        true
    }

    fn ask_next(&mut self, arc: (Id, Id), mut next: Vec<Id>, answered: bool, now: Time) {
        let Some(peer) = next.pop() else {
            // Where nobody answers, the ring has other neighbours soon. Nobody is there: then nothing is stored elsewhere.
            let nobody = answered || self.ring.is_alone();
            let store = self.open_store(now);
            store.take_over = if nobody { TakeOver::Ready } else { TakeOver::Needed };
            store.repair_at = now.after(super::REPAIR_SOON);
            return;
        };
        let request = self.rng.random();
        let deadline = now.after(PULL_TIMEOUT);
        self.open_store(now).take_over = TakeOver::Asking { request, arc, next, peer, answered, deadline };
        let (from, to) = arc;
        self.send_replicate(peer, None, Replicate::Pull { request, from, to, after: None }, now);
    }

    /// The peer that was asked has not answered.
    pub(super) fn go_on_taking_over(&mut self, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        if store.take_over.due().is_none_or(|due| due > now) {
            return;
        }
        if let TakeOver::Asking { arc, next, answered, .. } = std::mem::replace(&mut store.take_over, TakeOver::Needed)
        {
            self.ask_next(arc, next, answered, now);
        }
    }

    /// Somebody takes an arc over.
    pub(super) fn on_pull(
        &mut self,
        origin: Origin,
        request: u32,
        (from, to): (Id, Id),
        after: Option<Place>,
        now: Time,
    ) {
        let mut records = Vec::new();
        let mut next = None;
        let mut bytes = 0;
        let mut last = None;
        // A node that stores nothing does not begin to for this.
        if let Some(store) = &self.store {
            let rest = store.table.in_arc(from, to, seconds(now));
            let order = |place: Place| (from.plus(1).clockwise_to(place.point), place.slot);
            for (place, held) in rest.filter(|&(place, _)| after.is_none_or(|after| order(place) > order(after))) {
                bytes += record_bytes(&held.record);
                if bytes > PULL_BYTES {
                    next = last;
                    break;
                }
                last = Some(place);
                records.push(held.record.clone());
            }
        }
        let ready = self.store.as_ref().is_some_and(|store| store.take_over.is_ready());
        if bytes > 0 && !self.may_answer(origin, bytes, now) {
            return;
        }
        self.send_replicate(origin.src, origin.via, Replicate::Pulled { request, ready, records, next }, now);
    }

    pub(super) fn on_pulled(
        &mut self,
        number: u32,
        ready: bool,
        records: Vec<Record>,
        after: Option<Place>,
        now: Time,
    ) {
        let Some(store) = self.store.as_mut() else { return };
        let TakeOver::Asking { request, arc, next, peer, answered, deadline } = &mut store.take_over else { return };
        if *request != number {
            return;
        }
        *answered = true;
        *deadline = now.after(PULL_TIMEOUT);
        let (arc, peer, next) = (*arc, *peer, next.clone());
        for record in records.into_iter().filter(|record| record.key().point().is_in_arc(arc.0, arc.1)) {
            // What cannot be kept is refused and counted there.
            let _ = self.keep(record, None, true, true, now);
        }
        match after {
            Some(_) => {
                let (from, to) = arc;
                self.send_replicate(peer, None, Replicate::Pull { request: number, from, to, after }, now);
            }
            None => self.ask_next(arc, if ready { Vec::new() } else { next }, true, now),
        }
    }
}
