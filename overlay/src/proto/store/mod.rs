//! Records that survive their nodes: kept by the owner of their point, and by the members behind it.
//!
//! - **A write** goes to the owner of the record's point. It keeps the record, sends a copy to each of its next
//!   [`replicas`](super::Config::replicas) - 1 successors, and answers when they have, saying how many keep it (`write`). A read is answered
//!   by the owner alone.
//! - **A new owner** takes its arc over from its successors before it answers anything (`take_over`): else somebody could claim
//!   a name that is held.
//! - **Repair**: every so often, and when its neighbours change, an owner compares digests of its arc with those who should
//!   keep it as well; where they differ the arc is split until the records that differ can be named, and those alone are copied. Who keeps
//!   a record of which its owner does not speak any more offers it to the owner, and drops it when that has it (`repair`).
//!
//! - **Large messages** travel in parts (`parcel`). What others make this node do for them is bounded (`load`). A node with a disk says that it
//!   keeps a record when the disk has it (`disk`).
//!
//! Every record is verified by whoever keeps it, and by the node that asked for it. A node that stores nothing has no [`Store`].
//! Times are compared with the ends of records: they count from the beginning of 1970 where several machines take part.

mod disk;
mod load;
mod parcel;
mod repair;
mod request;
mod table;
mod take_over;
#[cfg(test)]
mod tests;
mod write;

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

pub use request::StoreError;

use self::disk::Disk;
use self::load::{Load, Origin};
use self::parcel::Parcels;
use self::request::Request;
use self::table::Table;
use self::take_over::TakeOver;
use self::write::Write;
use super::timer::{Time, Timer};
use super::{LinkId, Output, Phase, Proto};
use crate::id::Id;
use crate::record::{Judgement, Key, Place, Record, Seconds};
use crate::wire::{Header, Message, Replicate, StoreRefusal};

/// How soon after a change of its neighbours an owner compares its arc with them: changes come in groups.
const REPAIR_SOON: Duration = Duration::from_millis(500);

/// Bytes of records that one frame makes a node send at most: what is missing then comes with the next comparison.
const BURST: usize = 256 * 1024;

/// What a node does for the store.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Store {
    table: Table,
    requests: Vec<Request>,
    writes: Vec<Write>,
    take_over: TakeOver,
    /// The own arc when it was known last.
    arc: Option<(Id, Id)>,
    repair_at: Time,
    /// Records were sent since the last comparison, so there may be more.
    sent_some: bool,
    /// What was offered to owners, and by which number.
    offered: Vec<(u32, Place, u64)>,
    parcels: Parcels,
    load: Load,
    /// Nothing where records are kept in memory alone.
    disk: Option<Disk>,
    stats: StoreStats,
    /// What was answered first, for [`KnownBug::AnswerFromCache`](super::KnownBug::AnswerFromCache).
    #[cfg(feature = "known-bugs")]
    cache: std::collections::BTreeMap<Place, crate::record::Record>,
}

/// What a node stores, and has done for that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct StoreStats {
    /// Records that it keeps.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Records that it sent to other nodes, to be kept there as well.
    pub copies_sent: u64,
    /// Bytes of them.
    pub copied_bytes: u64,
    /// Records that it refused: without proof, too old, or over a quota.
    pub refused: u64,
    /// Those of them whose signature does not hold.
    pub forged: u64,
    /// Those of them that came too fast to check their signatures.
    pub unchecked: u64,
    /// Copies from nodes that cannot be their owners, and questions of nodes that cannot keep the same records.
    pub implausible: u64,
    /// Questions left open because too much was to be sent to nodes that may not have asked.
    pub unanswered: u64,
    /// Neighbours that were dropped because they insisted.
    pub dropped: u64,
    /// Large messages that did not arrive.
    pub parcels_lost: u64,
}

impl Proto {
    /// What this node stores.
    pub fn store_stats(&self) -> StoreStats {
        let Some(store) = &self.store else { return StoreStats::default() };
        StoreStats { records: store.table.len() as u64, bytes: store.table.bytes() as u64, ..store.stats }
    }

    /// The record under this key, if this node keeps it and it lives.
    pub fn stored(&self, key: &Key, now: Time) -> Option<&Record> {
        let held = self.store.as_ref()?.table.get(Place::of(key), seconds(now))?;
        Some(&held.record)
    }

    pub(super) fn on_store_timer(&mut self, now: Time) {
        self.retry_requests(now);
        self.end_writes(now);
        self.look_after_parcels(now);
        self.go_on_taking_over(now);
        self.repair_when_due(now);
        self.set_store_timer();
    }

    /// After a change: the next moment at which something is to be done.
    fn set_store_timer(&mut self) {
        let Some(store) = &self.store else { return };
        let requests = store.requests.iter().map(Request::due);
        let writes = store.writes.iter().map(Write::due);
        let repair = (store.table.len() > 0 && self.phase == Phase::Member).then_some(store.repair_at);
        let all = requests.chain(writes).chain(store.take_over.due()).chain(store.parcels.due()).chain(repair);
        match all.min() {
            Some(due) => self.timers.set(Timer::Store, due),
            None => self.timers.stop(Timer::Store),
        }
    }

    /// The nodes that keep this node's arc besides itself are to hear of a change; a nearer predecessor gets what is its own now.
    pub(super) fn store_on_ring_changed(&mut self, now: Time) {
        let (me, arc) = (self.me, self.own_arc());
        let Some(store) = self.store.as_mut() else { return };
        store.repair_at = store.repair_at.min(now.after(REPAIR_SOON));
        if let Some(arc) = arc {
            store.table.learn_arc(arc);
            // Who was alone had all of the ring.
            if let Some((old, _)) = store.arc.replace(arc)
                && arc.0.is_between(old, me)
            {
                self.compare_arc(arc.0, old, arc.0, now);
            }
        }
        self.set_store_timer();
    }

    /// The node is a member, anew: others may have written to its arc.
    pub(super) fn store_on_member(&mut self, now: Time) {
        let arc = self.own_arc();
        if let Some(store) = self.store.as_mut() {
            store.take_over = TakeOver::Needed;
            store.arc = arc;
            self.begin_taking_over(now);
            self.set_store_timer();
        }
    }

    /// Before a farewell: what nobody else keeps goes to the successor.
    pub(super) fn hand_over(&mut self, now: Time) {
        let (Some(successor), Some((from, to)), Some(store)) = (self.ring.successor(), self.own_arc(), &self.store)
        else {
            return;
        };
        let lonely = store.table.in_arc(from, to, seconds(now)).filter(|(_, held)| !held.copied);
        let records: Vec<Record> = lonely.map(|(_, held)| held.record.clone()).collect();
        self.send_copies(successor, None, records, now);
    }

    pub(super) fn store_memory(&self) -> usize {
        self.store.as_ref().map_or(0, |store| {
            let disk = store.disk.as_ref().map_or(0, Disk::memory);
            size_of::<Store>() + store.table.memory() + store.parcels.memory() + store.load.memory() + disk
        })
    }

    /// A frame of those who keep one arc's records.
    pub(super) fn on_replicate(&mut self, header: &Header, message: Replicate, link: Option<LinkId>, now: Time) {
        if self.phase != Phase::Member {
            return;
        }
        let origin = Origin { src: header.src, via: header.answer_through(), link };
        let asks = matches!(message, Replicate::Pull { .. } | Replicate::Compare { .. } | Replicate::List { .. });
        if asks && !self.is_plausible(origin.src) {
            self.open_store(now).stats.implausible += 1;
            return;
        }
        match message {
            Replicate::Copy { request, record } => self.on_copy(origin, request, record, now),
            Replicate::Copied { request, kept } => self.on_copied(origin.src, request, kept, now),
            Replicate::Pull { request, from, to, after } => self.on_pull(origin, request, (from, to), after, now),
            Replicate::Pulled { request, ready, records, next } => self.on_pulled(request, ready, records, next, now),
            Replicate::Compare { from, parts } => self.on_compare(origin, from, &parts, now),
            Replicate::List { from, to, entries, room } => self.on_list(origin, (from, to), &entries, room, now),
            Replicate::Offer { request, entries } => self.on_offer(origin.src, request, &entries, now),
            Replicate::Want { request, places, owned } => self.on_want(origin, request, &places, owned, now),
        }
        self.set_store_timer();
    }

    /// The arc that this node owns; `None` where it does not know.
    fn own_arc(&self) -> Option<(Id, Id)> {
        match (self.ring.predecessor(), self.ring.successor()) {
            (Some(before), _) => Some((before, self.me)),
            (None, None) => Some((self.me, self.me)),
            (None, Some(_)) => None,
        }
    }

    /// The members that keep this node's records besides itself.
    fn keepers(&self) -> Vec<Id> {
        self.ring.successors.iter().copied().take(self.config.replicas - 1).collect()
    }

    /// The store of this node, from its first use on.
    fn open_store(&mut self, now: Time) -> &mut Store {
        if self.store.is_none() {
            let (mut table, arc) = (Table::default(), self.own_arc());
            if let Some(arc) = arc {
                table.learn_arc(arc);
            }
            self.store = Some(Box::new(Store {
                table,
                requests: Vec::new(),
                writes: Vec::new(),
                take_over: TakeOver::Needed,
                arc,
                repair_at: now.after(self.config.repair_every),
                sent_some: false,
                offered: Vec::new(),
                parcels: Parcels::default(),
                load: Load::default(),
                disk: None,
                stats: StoreStats::default(),
                #[cfg(feature = "known-bugs")]
                cache: std::collections::BTreeMap::new(),
            }));
        }
        self.store.as_mut().expect("it was just made")
    }

    /// Keeps a record that is valid, new, and within the quotas; or says why not. `origin`: who wants it kept, if not this node itself. Gives
    /// the number under which the disk saves it, while it has not.
    fn keep(
        &mut self,
        record: Record,
        origin: Option<Origin>,
        merging: bool,
        copied: bool,
        now: Time,
    ) -> Result<Option<u64>, StoreRefusal> {
        let clock = seconds(now);
        let place = Place::of(&record.key());
        let store = self.open_store(now);
        // What is cheap comes first: floods of old records cost no check of a signature.
        let refusal = match store.table.judge(place, &record, merging, clock) {
            Judgement::Same => {
                let number = store.table.get_mut(place).map_or(0, |held| {
                    held.touched = now;
                    held.copied |= copied;
                    held.saved_as
                });
                return Ok(store.disk.as_ref().filter(|disk| !disk.has(number)).map(|_| number));
            }
            Judgement::Older => StoreRefusal::Older,
            Judgement::Taken => StoreRefusal::Taken,
            Judgement::Newer => match self.check_new(place, &record, origin, now) {
                Ok(()) => return Ok(self.insert(place, record, copied, now)),
                Err(refusal) => refusal,
            },
        };
        self.open_store(now).stats.refused += 1;
        Err(refusal)
    }

    /// Whether there is room for a record, and it proves itself.
    fn check_new(
        &mut self,
        place: Place,
        record: &Record,
        origin: Option<Origin>,
        now: Time,
    ) -> Result<(), StoreRefusal> {
        let config = std::sync::Arc::clone(&self.config);
        if self.open_store(now).table.check_room(place, record, &config.quotas).is_err() {
            self.forget_expired(now);
        }
        let store = self.open_store(now);
        store.table.check_room(place, record, &config.quotas)?;
        store.disk.as_ref().map_or(Ok(()), Disk::check)?;
        record.check_time(seconds(now)).map_err(StoreRefusal::Invalid)?;
        if record.writer().is_some() && origin.is_some_and(|origin| !self.may_check(origin, now)) {
            return Err(StoreRefusal::Busy);
        }
        record.verify(seconds(now)).map_err(|error| {
            if let Some(origin) = origin {
                self.note_forged(origin, now);
            }
            StoreRefusal::Invalid(error)
        })
    }

    fn insert(&mut self, place: Place, record: Record, copied: bool, now: Time) -> Option<u64> {
        let store = self.open_store(now);
        let number = store.disk.as_mut().map(Disk::next);
        if let Some(number) = number {
            self.outputs.push_back(Output::Save { number, record: Box::new(record.clone()) });
        }
        self.open_store(now).table.insert(place, record, copied, number.unwrap_or(0), now);
        number
    }

    /// Sends copies of records, as many as one frame may cause.
    fn send_copies(&mut self, to: Id, via: Option<Id>, records: Vec<Record>, now: Time) {
        let mut sent = 0;
        for record in records {
            if sent >= BURST {
                break;
            }
            sent += record.cost();
            self.send_copy(to, via, REPAIR, record, now);
        }
        if let Some(store) = self.store.as_mut() {
            store.sent_some |= sent > 0;
        }
    }

    fn send_copy(&mut self, to: Id, via: Option<Id>, request: u32, record: Record, now: Time) {
        if let Some(store) = self.store.as_mut() {
            store.stats.copies_sent += 1;
            store.stats.copied_bytes += record.value().map_or(0, Bytes::len) as u64;
        }
        self.send_replicate(to, via, Replicate::Copy { request, record }, now);
    }

    fn send_replicate(&mut self, to: Id, via: Option<Id>, message: Replicate, now: Time) {
        self.send_store(to, via, Message::Replicate(Box::new(message)), now);
    }
}

/// The number of a copy that is answered by a newer one, or when it is refused.
const REPAIR: u32 = 1;

/// The number of a copy that is not answered.
const UNANSWERED: u32 = 0;

/// The clock of records.
fn seconds(now: Time) -> Seconds {
    Seconds(now.0 / 1_000_000)
}
