//! Records that are on a disk as well. The disk itself is the caller's: it is told what to save, and says when it has.
//!
//! A node with a disk says that it keeps a record when the disk has it, not before. What waits for that is remembered here.

use std::collections::VecDeque;

use super::Store;
use crate::id::Id;
use crate::proto::{Output, Proto, Time};
use crate::record::{Place, Record};
use crate::wire::{Replicate, StoreRefusal};

/// Records at most that the disk has not written yet. Beyond, writes are refused: busy.
pub(super) const MAX_UNSAVED: u64 = 1024;

#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Disk {
    /// The number of the last record that was handed to the disk.
    handed: u64,
    /// The number up to which it has written all.
    saved: u64,
    failed: bool,
    waiting: VecDeque<(u64, Waiting)>,
}

/// What is to be done when a record is on the disk.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Waiting {
    /// Say to this node, through that one, that its copy is kept.
    Copied(Id, Option<Id>, u32),
    /// Count the own copy of the write with this number.
    Write(u32),
}

impl Disk {
    /// Whether one more record can be saved.
    pub(super) fn check(&self) -> Result<(), StoreRefusal> {
        match self {
            Disk { failed: true, .. } => Err(StoreRefusal::Disk),
            _ if self.handed - self.saved >= MAX_UNSAVED => Err(StoreRefusal::Busy),
            _ => Ok(()),
        }
    }

    /// The number for one more record.
    pub(super) fn next(&mut self) -> u64 {
        self.handed += 1;
        self.handed
    }

    /// Whether the record with this number is on the disk; 0 for one that was loaded from it.
    pub(super) fn has(&self, number: u64) -> bool {
        number <= self.saved
    }

    pub(super) fn memory(&self) -> usize {
        self.waiting.capacity() * size_of::<(u64, Waiting)>()
    }
}

impl Proto {
    /// Begins with these records, which the node's disk kept, and has it keep those to come: see [`Output::Save`]. What is not valid
    /// any more, or beyond the quotas, is left out, and removed from the disk. To be called before anything else, where there is a disk. Gives how
    /// many records the node begins with.
    pub fn load_records(&mut self, records: impl IntoIterator<Item = Record>, now: Time) -> usize {
        self.open_store(now).disk = None;
        for record in records {
            let place = Place::of(&record.key());
            if self.keep(record, None, true, false, now).is_err() {
                self.outputs.push_back(Output::Forget { place });
            }
        }
        let store = self.open_store(now);
        store.disk = Some(Disk::default());
        store.stats.refused = 0;
        store.table.len()
    }

    pub(in super::super) fn on_saved(&mut self, number: u64, now: Time) {
        let Some(disk) = self.store.as_mut().and_then(|store| store.disk.as_mut()) else { return };
        disk.saved = disk.saved.max(number.min(disk.handed));
        let due = disk.waiting.iter().take_while(|(number, _)| *number <= disk.saved).count();
        for (_, waiting) in disk.waiting.drain(..due).collect::<Vec<_>>() {
            match waiting {
                Waiting::Copied(to, via, request) => {
                    self.send_replicate(to, via, Replicate::Copied { request, kept: true }, now);
                }
                Waiting::Write(copies) => self.on_own_copy_saved(copies, now),
            }
        }
        self.set_store_timer();
    }

    pub(in super::super) fn on_disk_failed(&mut self, now: Time) {
        let Some(disk) = self.store.as_mut().and_then(|store| store.disk.as_mut()) else { return };
        disk.failed = true;
        for (_, waiting) in std::mem::take(&mut disk.waiting) {
            if let Waiting::Copied(to, via, request) = waiting {
                self.send_replicate(to, via, Replicate::Copied { request, kept: false }, now);
            }
        }
    }

    /// Has this done when the record with this number is on the disk. The caller has seen that it is not yet.
    pub(super) fn when_saved(&mut self, number: u64, waiting: Waiting) {
        let disk = |store: &mut Box<Store>| store.disk.as_mut().map(|disk| disk.waiting.push_back((number, waiting)));
        self.store.as_mut().and_then(disk);
    }

    /// Removes a record, from the disk as well.
    pub(super) fn forget(&mut self, place: Place) {
        let Some(store) = self.store.as_mut() else { return };
        store.table.remove(place);
        if store.disk.is_some() {
            self.outputs.push_back(Output::Forget { place });
        }
    }

    /// Removes what is over.
    pub(super) fn forget_expired(&mut self, now: Time) {
        let Some(store) = self.store.as_ref() else { return };
        store.table.expired(super::seconds(now)).into_iter().for_each(|place| self.forget(place));
    }
}
