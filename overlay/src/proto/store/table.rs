//! The records that a node keeps, in the order of the ring, within its quotas.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::id::Id;
use crate::key::PeerKey;
use crate::proto::Time;
use crate::proto::config::Quotas;
use crate::record::{Judgement, Place, Record, Seconds};
use crate::wire::{Listed, Part, StoreRefusal};

/// A record, and what the node knows of its other copies.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Held {
    pub(super) record: Record,
    pub(super) version: u64,
    /// Its owner spoke of it last, or it was offered to the owner.
    pub(super) touched: Time,
    /// Another node keeps it, too.
    pub(super) copied: bool,
    /// Under which number it was handed to the disk.
    pub(super) saved_as: u64,
}

#[derive(Clone, Copy, PartialEq, Default, Debug)]
struct Usage {
    records: usize,
    bytes: usize,
}

impl Usage {
    fn add(&mut self, record: &Record) {
        self.records += 1;
        self.bytes += record.cost();
    }

    fn take(&mut self, record: &Record) {
        self.records -= 1;
        self.bytes -= record.cost();
    }

    /// Whether one more record fits, in the place of `old`.
    fn has_room(self, record: &Record, old: Option<&Record>, most_records: usize, most_bytes: usize) -> bool {
        let (records, bytes) = old.map_or((0, 0), |old| (1, old.cost()));
        self.records - records < most_records && self.bytes - bytes + record.cost() <= most_bytes
    }
}

/// Arcs whose records are counted at most: the own one, and those of the owners that were heard of last.
const MAX_ARCS: usize = 16;

/// An arc of an owner: `(from, to]`.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Arc {
    from: Id,
    to: Id,
    usage: Usage,
}

#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Table {
    held: BTreeMap<Place, Held>,
    /// Values are nobody's: they share one entry.
    writers: BTreeMap<Option<PeerKey>, Usage>,
    arcs: Vec<Arc>,
    all: Usage,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.bytes
    }

    /// The record there, if it lives.
    pub(super) fn get(&self, place: Place, now: Seconds) -> Option<&Held> {
        self.held.get(&place).filter(|held| held.record.is_live(now))
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Held> {
        self.held.get_mut(&place)
    }

    /// What a record is to the one that is kept in its place.
    pub(super) fn judge(&self, place: Place, record: &Record, merging: bool, now: Seconds) -> Judgement {
        self.get(place, now).map_or(Judgement::Newer, |held| record.judge(&held.record, merging, now))
    }

    /// Whether there is room for a record in this place, counting what it replaces.
    pub(super) fn check_room(&self, place: Place, record: &Record, quotas: &Quotas) -> Result<(), StoreRefusal> {
        let old = self.held.get(&place).map(|held| &held.record);
        if !self.all.has_room(record, old, quotas.records, quotas.bytes) {
            return Err(StoreRefusal::Full);
        }
        let used = self.writers.get(&record.writer()).copied().unwrap_or_default();
        let (most_records, most_bytes) = match record.writer() {
            Some(_) => (quotas.records_per_writer, quotas.bytes_per_writer),
            None => (quotas.records / 4 * 3, quotas.bytes / 4 * 3),
        };
        let own_old = old.filter(|old| old.writer() == record.writer());
        if !used.has_room(record, own_old, most_records, most_bytes) {
            return Err(StoreRefusal::WriterFull);
        }
        let full = |arc: &Arc| !arc.usage.has_room(record, old, quotas.records_per_arc, quotas.bytes_per_arc);
        match self.arcs.iter().any(|arc| place.point.is_in_arc(arc.from, arc.to) && full(arc)) {
            true => Err(StoreRefusal::ArcFull),
            false => Ok(()),
        }
    }

    /// An owner's arc: what is stored in it is counted from now on.
    pub(super) fn learn_arc(&mut self, (from, to): (Id, Id)) {
        let known = self.arcs.iter().position(|arc| arc.to == to).map(|at| self.arcs.remove(at));
        let arc = known.filter(|arc| arc.from == from).unwrap_or_else(|| {
            let mut usage = Usage::default();
            let within = self.held.iter().filter(|(place, _)| place.point.is_in_arc(from, to));
            within.for_each(|(_, held)| usage.add(&held.record));
            Arc { from, to, usage }
        });
        if self.arcs.len() == MAX_ARCS {
            self.arcs.remove(0);
        }
        self.arcs.push(arc);
    }

    /// Whether nine tenths of the quotas are not used yet.
    pub(super) fn has_room(&self, quotas: &Quotas) -> bool {
        self.len() < quotas.records / 10 * 9 && self.bytes() < quotas.bytes / 10 * 9
    }

    pub(super) fn insert(&mut self, place: Place, record: Record, copied: bool, saved_as: u64, now: Time) {
        self.remove(place);
        self.writers.entry(record.writer()).or_default().add(&record);
        self.all.add(&record);
        self.arcs_at(place).for_each(|arc| arc.usage.add(&record));
        let version = record.version();
        self.held.insert(place, Held { record, version, touched: now, copied, saved_as });
    }

    pub(super) fn remove(&mut self, place: Place) {
        let Some(held) = self.held.remove(&place) else { return };
        let record = held.record;
        self.all.take(&record);
        self.arcs_at(place).for_each(|arc| arc.usage.take(&record));
        let writer = record.writer();
        if let Some(usage) = self.writers.get_mut(&writer) {
            usage.take(&record);
            if usage.records == 0 {
                self.writers.remove(&writer);
            }
        }
    }

    fn arcs_at(&mut self, place: Place) -> impl Iterator<Item = &mut Arc> {
        self.arcs.iter_mut().filter(move |arc| place.point.is_in_arc(arc.from, arc.to))
    }

    /// What is over.
    pub(super) fn expired(&self, now: Seconds) -> Vec<Place> {
        self.held.iter().filter(|(_, held)| !held.record.is_live(now)).map(|(&place, _)| place).collect()
    }

    /// Those that live in the arc `(from, to]`, clockwise.
    pub(super) fn in_arc(&self, from: Id, to: Id, now: Seconds) -> impl Iterator<Item = (Place, &Held)> {
        let wraps = from >= to;
        let first =
            (Bound::Excluded(last_at(from)), if wraps { Bound::Unbounded } else { Bound::Included(last_at(to)) });
        let second = wraps.then(|| self.held.range(..=last_at(to)));
        let all = self.held.range(first).chain(second.into_iter().flatten());
        all.map(|(&place, held)| (place, held)).filter(move |(_, held)| held.record.is_live(now))
    }

    /// What stands for the records in an arc.
    pub(super) fn digest(&self, from: Id, to: Id, now: Seconds) -> Part {
        let nothing = Part { to, count: 0, digest: 0 };
        self.in_arc(from, to, now).fold(nothing, |part, (_, held)| Part {
            count: part.count + 1,
            digest: part.digest ^ held.version,
            ..part
        })
    }

    /// An arc in at most `parts` parts of about as many records.
    pub(super) fn split(&self, from: Id, to: Id, parts: usize, now: Seconds) -> Vec<Part> {
        let points: Vec<Id> = self.in_arc(from, to, now).map(|(place, _)| place.point).collect();
        let mut ends: Vec<Id> =
            (1..parts).map(|part| points.len() * part / parts).filter_map(|at| points.get(at).copied()).collect();
        ends.push(to);
        ends.dedup();
        let mut begin = from;
        let mut split = Vec::new();
        for end in ends.into_iter().filter(|&end| end != from) {
            split.push(self.digest(begin, end, now));
            begin = end;
        }
        split
    }

    pub(super) fn list(&self, from: Id, to: Id, most: usize, now: Seconds) -> Vec<Listed> {
        let listed = |(place, held): (Place, &Held)| Listed { place, version: held.version };
        self.in_arc(from, to, now).map(listed).take(most).collect()
    }

    /// The owner of this arc has spoken of it.
    pub(super) fn touch(&mut self, from: Id, to: Id, now: Time) {
        let whole = from == to;
        let within = self.held.iter_mut().filter(|(place, _)| whole || place.point.is_in_arc(from, to));
        within.for_each(|(_, held)| held.touched = now);
    }

    /// Bytes on the heap, about.
    pub(super) fn memory(&self) -> usize {
        self.bytes() + self.held.len() * size_of::<(Place, Held)>() + self.writers.len() * size_of::<(PeerKey, Usage)>()
    }
}

/// The last place that a record at this point may have.
fn last_at(point: Id) -> Place {
    Place { point, slot: [u8::MAX; 16] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Seconds = Seconds(0);

    fn table(points: &[u64]) -> Table {
        let mut table = Table::default();
        for &point in points {
            let record = Record::value_of(point.to_be_bytes().to_vec(), Seconds(10)).unwrap();
            table.insert(Place { point: Id::new(point), slot: [0; 16] }, record, false, 0, Time(0));
        }
        table
    }

    #[test]
    fn an_arc_holds_its_end_and_not_its_beginning_and_may_wrap() {
        let table = table(&[10, 20, 30, 40]);
        let points = |from, to| -> Vec<u64> {
            table.in_arc(Id::new(from), Id::new(to), NOW).map(|(place, _)| place.point.number()).collect()
        };
        assert_eq!(points(10, 30), [20, 30]);
        assert_eq!(points(30, 10), [40, 10]);
        assert_eq!(points(25, 25), [30, 40, 10, 20], "the whole ring");
        assert_eq!(points(41, 9), [] as [u64; 0]);
    }

    #[test]
    fn the_parts_of_an_arc_add_up_to_it() {
        let points: Vec<u64> = (1..=1000).collect();
        let table = table(&points);
        let (from, to) = (Id::new(900), Id::new(600));
        let (whole, parts) = (table.digest(from, to, NOW), table.split(from, to, 16, NOW));
        assert!(parts.len() > 1 && parts.len() <= 16, "{} parts", parts.len());
        assert_eq!(parts.iter().map(|part| part.count).sum::<u32>(), whole.count);
        assert_eq!(parts.iter().fold(0, |digest, part| digest ^ part.digest), whole.digest);
        assert_eq!(parts.last().map(|part| part.to), Some(to));
    }

    #[test]
    fn many_records_at_one_point_are_one_part() {
        let mut table = Table::default();
        for slot in 0..100u8 {
            let record = Record::value_of(vec![slot], Seconds(10)).unwrap();
            table.insert(Place { point: Id::new(5), slot: [slot; 16] }, record, false, 0, Time(0));
        }
        let parts = table.split(Id::new(4), Id::new(5), 16, NOW);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].count, 100);
    }

    #[test]
    fn quotas_hold_and_what_is_replaced_does_not_count() {
        let mut table = table(&[1, 2]);
        let record = |text: &'static str| Record::value_of(text, Seconds(10)).unwrap();
        let quotas = Quotas { records: 4, records_per_arc: 4, ..Quotas::default() };
        let at = |point| Place { point: Id::new(point), slot: [0; 16] };
        table.insert(at(4), record("b"), false, 0, Time(0));
        assert_eq!(
            table.check_room(at(3), &record("a"), &quotas),
            Err(StoreRefusal::WriterFull),
            "a quarter is not for values"
        );
        assert_eq!(table.check_room(at(2), &record("a"), &quotas), Ok(()));
        let tiny = Quotas { bytes: table.bytes(), ..Quotas::default() };
        assert_eq!(table.check_room(at(3), &record("a"), &tiny), Err(StoreRefusal::Full));
        table.learn_arc((Id::new(1), Id::new(5)));
        let two = Quotas { records_per_arc: 2, ..Quotas::default() };
        assert_eq!(table.check_room(at(3), &record("a"), &two), Err(StoreRefusal::ArcFull), "2 and 4 are in the arc");
        assert_eq!(table.check_room(at(6), &record("a"), &two), Ok(()));
        table.expired(Seconds(10)).into_iter().for_each(|place| table.remove(place));
        assert_eq!((table.len(), table.bytes()), (0, 0));
        assert!(table.writers.is_empty());
    }
}
