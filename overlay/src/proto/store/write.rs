//! The owner's part: it keeps what is written, sees to the copies, and answers.

use std::time::Duration;

use super::disk::Waiting;
use super::load::Origin;
use super::{REPAIR, Store, UNANSWERED, seconds};
use crate::id::Id;
use crate::proto::{LinkId, Phase, Proto, Time};
use crate::record::{Place, Record};
use crate::wire::{Ask, Header, Message, Outcome, Store as Request, StoreRefusal, Stored};
use rand::RngExt;

/// Writes whose copies an owner waits for at most.
const MAX_WRITES: usize = 256;

/// How long an owner waits for its successors to keep a copy. It answers then with as many as have.
const COPY_TIMEOUT: Duration = Duration::from_secs(1);

/// A write that waits for its copies.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Write {
    /// The number of its copies.
    copies: u32,
    place: Place,
    version: u64,
    /// Who wrote, through whom, and by which number.
    from: (Id, Option<Id>, u32),
    /// Who has not answered yet.
    waiting: Vec<Id>,
    /// The own disk has not saved it yet.
    unsaved: bool,
    /// How many keep the record.
    kept: u8,
    deadline: Time,
}

impl Write {
    pub(super) fn due(&self) -> Time {
        self.deadline
    }
}

impl Proto {
    /// A request to the owner of a point.
    pub(in super::super) fn on_store(&mut self, header: &Header, request: Request, link: Option<LinkId>, now: Time) {
        let origin = Origin { src: header.src, via: header.answer_through(), link };
        let from = (header.src, header.answer_through(), request.request);
        if self.phase != Phase::Member {
            return self.answer_store(from, Outcome::Refused(StoreRefusal::NotReady), now);
        }
        self.open_store(now);
        self.begin_taking_over(now);
        let ready = self.store.as_ref().is_some_and(|store| store.take_over.is_ready());
        let outcome = match request.ask {
            _ if !ready => Some(Outcome::Refused(StoreRefusal::NotReady)),
            Ask::Get(slot) => {
                let place = Place { point: header.dst, slot };
                let held = self.store.as_ref().and_then(|store| store.table.get(place, seconds(now)));
                let record = held.map(|held| held.record.clone());
                #[cfg(feature = "known-bugs")]
                let record = record.map(|record| self.read_wrongly(place, record));
                match record {
                    Some(record) if self.may_answer(origin, record.cost(), now) => Some(Outcome::Found(record)),
                    Some(_) => Some(Outcome::Refused(StoreRefusal::Busy)),
                    None => Some(Outcome::Absent),
                }
            }
            Ask::Put(record) => self.on_put(origin, request.request, header.dst, record, now),
        };
        if let Some(outcome) = outcome {
            self.answer_store(from, outcome, now);
        }
        self.set_store_timer();
    }

    /// Keeps a record and sends its copies out; gives the answer if it need not wait for them.
    fn on_put(&mut self, origin: Origin, request: u32, at: Id, record: Record, now: Time) -> Option<Outcome> {
        let place = Place::of(&record.key());
        if place.point != at {
            return Some(Outcome::Refused(StoreRefusal::Misplaced));
        }
        let from = (origin.src, origin.via, request);
        let writes = self.store.as_ref().map_or(&[][..], |store| &store.writes);
        if writes.iter().any(|write| write.from == from) {
            // It was sent again; the answer comes.
            return None;
        }
        if writes.len() >= MAX_WRITES {
            return Some(Outcome::Refused(StoreRefusal::Busy));
        }
        #[cfg(feature = "known-bugs")]
        if let Some(outcome) = self.acknowledged_wrongly(&record, now) {
            return Some(outcome);
        }
        let saving = match self.keep(record.clone(), Some(origin), false, false, now) {
            Ok(saving) => saving,
            Err(refusal) => return Some(Outcome::Refused(refusal)),
        };
        let waiting = self.keepers();
        if waiting.is_empty() && saving.is_none() {
            return Some(Outcome::Kept(1));
        }
        let copies = self.rng.random_range(REPAIR + 1..=u32::MAX);
        let (version, deadline) = (record.version(), now.after(COPY_TIMEOUT));
        let (unsaved, kept) = (saving.is_some(), u8::from(saving.is_none()));
        let write = Write { copies, place, version, from, waiting: waiting.clone(), unsaved, kept, deadline };
        self.open_store(now).writes.push(write);
        if let Some(number) = saving {
            self.when_saved(number, Waiting::Write(copies));
        }
        for keeper in waiting {
            self.send_copy(keeper, None, copies, record.clone(), now);
        }
        None
    }

    /// With `AnswerFromCache`, what the owner answers to whoever reads.
    #[cfg(feature = "known-bugs")]
    fn read_wrongly(&mut self, place: Place, record: Record) -> Record {
        if self.has(crate::proto::KnownBug::AnswerFromCache)
            && let Some(store) = &mut self.store
        {
            return store.cache.entry(place).or_insert(record).clone();
        }
        record
    }

    /// With `AcknowledgeWithoutCopies`, what the owner answers to whoever writes.
    #[cfg(feature = "known-bugs")]
    fn acknowledged_wrongly(&mut self, record: &Record, now: Time) -> Option<Outcome> {
        let others = self.keepers().len() as u8;
        let wrongly = others > 0 && self.has(crate::proto::KnownBug::AcknowledgeWithoutCopies);
        let kept = wrongly && self.keep(record.clone(), None, false, false, now).is_ok();
        kept.then_some(Outcome::Kept(1 + others))
    }

    /// The disk has the own copy of a record that was written.
    pub(super) fn on_own_copy_saved(&mut self, copies: u32, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        let Some(at) = store.writes.iter().position(|write| write.copies == copies) else { return };
        let write = &mut store.writes[at];
        (write.unsaved, write.kept) = (false, write.kept.saturating_add(1));
        self.end_write_when_done(at, now);
    }

    /// Somebody wants this node to keep a copy. Anybody may write to its owner; the copies come from nodes that stand near.
    pub(super) fn on_copy(&mut self, origin: Origin, request: u32, record: Record, now: Time) {
        let Origin { src, via, .. } = origin;
        let place = Place::of(&record.key());
        let plausible = self.is_plausible(src);
        let owned = self.own_arc().is_some_and(|(from, to)| place.point.is_in_arc(from, to));
        if !plausible && !owned {
            self.open_store(now).stats.implausible += 1;
            return;
        }
        let result = self.keep(record, Some(origin), plausible, true, now);
        if request == UNANSWERED {
            return;
        }
        if let Err(StoreRefusal::Older | StoreRefusal::Taken) = result
            && let Some(held) = self.store.as_ref().and_then(|store| store.table.get(place, seconds(now)))
        {
            let newer = held.record.clone();
            if self.may_answer(origin, newer.cost(), now) {
                self.send_copy(src, via, UNANSWERED, newer, now);
            }
        }
        // A repair that comes to nothing is not to be hurried.
        let futile = matches!(result, Err(refusal) if !matches!(refusal, StoreRefusal::Older | StoreRefusal::Taken));
        if request != REPAIR || futile {
            match result {
                Ok(Some(number)) => self.when_saved(number, Waiting::Copied(src, via, request)),
                _ => {
                    let answer = crate::wire::Replicate::Copied { request, kept: result.is_ok() };
                    self.send_replicate(src, via, answer, now);
                }
            }
        }
        self.begin_taking_over(now);
    }

    pub(super) fn on_copied(&mut self, src: Id, request: u32, kept: bool, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        if request == REPAIR {
            store.sent_some = false;
            return;
        }
        let Some(at) = store.writes.iter().position(|write| write.copies == request) else { return };
        let write = &mut store.writes[at];
        let Some(index) = write.waiting.iter().position(|&id| id == src) else { return };
        write.waiting.swap_remove(index);
        if kept {
            write.kept = write.kept.saturating_add(1);
            if let Some(held) = store.table.get_mut(write.place) {
                held.copied = true;
            }
        }
        self.end_write_when_done(at, now);
    }

    fn end_write_when_done(&mut self, at: usize, now: Time) {
        let done = |write: &Write| write.waiting.is_empty() && !write.unsaved;
        if self.store.as_ref().is_some_and(|store| done(&store.writes[at])) {
            self.end_write(at, now);
        }
    }

    /// Answers the writes that have waited long enough.
    pub(super) fn end_writes(&mut self, now: Time) {
        let late = |store: &Store| store.writes.iter().position(|write| write.deadline <= now);
        while let Some(at) = self.store.as_deref().and_then(late) {
            self.end_write(at, now);
        }
    }

    fn end_write(&mut self, at: usize, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        let write = store.writes.swap_remove(at);
        // Another copy may have shown that somebody else was first.
        let held = store.table.get(write.place, seconds(now));
        let outcome = match held.is_some_and(|held| held.version == write.version) {
            // The own disk is late, and nobody else answers.
            true if write.kept == 0 => Outcome::Refused(StoreRefusal::Busy),
            true => Outcome::Kept(write.kept),
            false => Outcome::Refused(StoreRefusal::Older),
        };
        self.answer_store(write.from, outcome, now);
    }

    fn answer_store(&mut self, (to, via, request): (Id, Option<Id>, u32), outcome: Outcome, now: Time) {
        let answer = Message::Stored(Box::new(Stored { request, outcome }));
        self.send_store(to, via, answer, now);
    }
}
