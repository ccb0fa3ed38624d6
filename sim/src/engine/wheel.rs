//! The queue of what is still to happen: a hierarchical timing wheel (Varghese and Lauck, SOSP 1987).
//!
//! Putting an event in and taking one out cost the same however many wait; a binary heap falls to a tenth of its speed with a
//! million nodes. Time is counted in ticks. Events of one tick come out in the order in which they went in, so that a run
//! follows from its seed alone.

use std::collections::{BTreeMap, VecDeque};

/// Slots in a wheel, as a power of two.
const SLOT_BITS: u32 = 14;
const SLOTS: usize = 1 << SLOT_BITS;
const MASK: u64 = SLOTS as u64 - 1;

/// Emptied slots of the first wheel whose memory is kept for others, at most. The slots of the second differ too much in length:
/// a near turn's memory would stay with a far one that holds little.
const MAX_SPARE: usize = 256;

/// Events by the tick at which they are due. The first wheel holds the ticks of the present turn, one a slot, the second the
/// following turns, one a slot, and what is later waits in a tree.
#[derive(Debug)]
pub struct Wheel<T> {
    now: u64,
    len: usize,
    ticks: Ring<T>,
    turns: Ring<(u64, T)>,
    later: BTreeMap<u64, VecDeque<(u64, T)>>,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Wheel { now: 0, len: 0, ticks: Ring::new(MAX_SPARE), turns: Ring::new(0), later: BTreeMap::new() }
    }
}

impl<T> Wheel<T> {
    /// How many events wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is left to happen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the queues take, with the room that they keep for more.
    pub fn memory(&self) -> usize {
        self.ticks.memory() + self.turns.memory()
    }

    /// Puts an event in. What should have happened before the present tick happens in it.
    pub fn push(&mut self, tick: u64, event: T) {
        let tick = tick.max(self.now);
        self.len += 1;
        let (turn, present) = (tick >> SLOT_BITS, self.now >> SLOT_BITS);
        if turn == present {
            self.ticks.push((tick & MASK) as usize, event);
        } else if turn - present < SLOTS as u64 {
            self.turns.push((turn & MASK) as usize, (tick, event));
        } else {
            self.later.entry(turn).or_default().push_back((tick, event));
        }
    }

    /// Takes the next event out, and says when it is due, unless that is after `end`.
    pub fn pop_until(&mut self, end: u64) -> Option<(u64, T)> {
        let tick = self.next(end)?;
        let event = self.ticks.pop((tick & MASK) as usize)?;
        self.len -= 1;
        Some((tick, event))
    }

    /// The events from the one that comes so many after the next, in their order, as far as they are known now and due in this turn.
    pub fn ahead(&self, distance: usize) -> impl Iterator<Item = &T> {
        let present = (self.now & MASK) as usize;
        let slots = std::iter::successors(Some(present), |slot| self.ticks.first_from(slot + 1));
        slots.flat_map(|slot| &self.ticks.slots[slot]).skip(distance)
    }

    /// When the next event is due, unless that is after `end`. Moves the wheel to that tick and no further: an event can still
    /// be put in at `end`.
    fn next(&mut self, end: u64) -> Option<u64> {
        while self.len > 0 {
            if let Some(slot) = self.ticks.first_from((self.now & MASK) as usize) {
                let tick = self.now & !MASK | slot as u64;
                return (tick <= end).then(|| {
                    self.now = tick;
                    tick
                });
            }
            self.next_turn(end)?;
        }
        None
    }

    /// Goes on to the next turn in which something happens, unless it begins after `end`, and spreads its events over the ticks.
    fn next_turn(&mut self, end: u64) -> Option<()> {
        let present = self.now >> SLOT_BITS;
        let from = ((present + 1) & MASK) as usize;
        let slot = self.turns.first_from(from).or_else(|| self.turns.first_from(0));
        let near = slot.map(|slot| present + 1 + ((slot + SLOTS - from) as u64 & MASK));
        let far = self.later.first_key_value().map(|(&turn, _)| turn);
        let turn = near.into_iter().chain(far).min().filter(|turn| turn << SLOT_BITS <= end)?;
        self.now = turn << SLOT_BITS;
        // What was put in when the turn was still far away went in first.
        let far = if far == Some(turn) { self.later.remove(&turn) } else { None };
        for (tick, event) in far.into_iter().flatten() {
            self.ticks.push((tick & MASK) as usize, event);
        }
        while let Some((tick, event)) = self.turns.pop((turn & MASK) as usize) {
            self.ticks.push((tick & MASK) as usize, event);
        }
        Some(())
    }
}

/// Queues side by side, and which of them hold something. Queues that have become empty give their memory to others.
#[derive(Debug)]
struct Ring<T> {
    slots: Vec<VecDeque<T>>,
    /// A bit a slot.
    used: Vec<u64>,
    spare: Vec<VecDeque<T>>,
    max_spare: usize,
}

impl<T> Ring<T> {
    fn new(max_spare: usize) -> Self {
        let slots = (0..SLOTS).map(|_| VecDeque::new()).collect();
        Ring { slots, used: vec![0; SLOTS / 64], spare: Vec::new(), max_spare }
    }

    fn memory(&self) -> usize {
        let room: usize = self.slots.iter().chain(&self.spare).map(VecDeque::capacity).sum();
        room * size_of::<T>() + self.slots.len() * size_of::<VecDeque<T>>()
    }

    fn push(&mut self, slot: usize, event: T) {
        let queue = &mut self.slots[slot];
        if queue.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            *queue = spare;
        }
        queue.push_back(event);
        self.used[slot / 64] |= 1 << (slot % 64);
    }

    fn pop(&mut self, slot: usize) -> Option<T> {
        let queue = &mut self.slots[slot];
        let event = queue.pop_front();
        if queue.is_empty() {
            self.used[slot / 64] &= !(1 << (slot % 64));
            let emptied = std::mem::take(queue);
            if emptied.capacity() > 0 && self.spare.len() < self.max_spare {
                self.spare.push(emptied);
            }
        }
        event
    }

    /// The first slot in use at or after this one.
    fn first_from(&self, slot: usize) -> Option<usize> {
        let word = slot / 64;
        let rest = self.used.get(word)? & (u64::MAX << (slot % 64));
        let words = std::iter::once(rest).chain(self.used[word + 1..].iter().copied());
        let (at, bits) = words.enumerate().find(|&(_, bits)| bits != 0)?;
        Some((word + at) * 64 + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg32;

    #[test]
    fn events_come_in_the_order_of_their_ticks_and_within_a_tick_in_the_order_of_their_coming() {
        for seed in 0..20 {
            let mut rng = Pcg32::seed_from_u64(seed);
            let mut wheel = Wheel::default();
            let mut model: BTreeMap<(u64, u64), u64> = BTreeMap::new();
            let (mut now, mut number) = (0, 0);
            for _ in 0..5_000 {
                if model.is_empty() || rng.random_bool(0.55) {
                    // A tick, a turn, the second wheel's length, and far beyond it.
                    let reach = [1, 100, 1 << SLOT_BITS, 3 << SLOT_BITS, 1 << (2 * SLOT_BITS), 1 << 40];
                    let reach = reach[rng.random_range(0..reach.len())];
                    let tick = now + rng.random_range(0..=reach);
                    wheel.push(tick, number);
                    model.insert((tick, number), number);
                    number += 1;
                } else {
                    let reach = 1 << rng.random_range(1..40);
                    let end = now + rng.random_range(0..reach);
                    let next = model.first_key_value().map(|(&(tick, _), &event)| (tick, event));
                    let next = next.filter(|&(tick, _)| tick <= end);
                    assert_eq!(wheel.pop_until(end), next, "seed {seed}");
                    now = next.map_or(end, |(tick, _)| tick);
                    if next.is_some() {
                        model.pop_first();
                    }
                }
                assert_eq!(wheel.len(), model.len());
            }
        }
    }

    #[test]
    fn nothing_comes_before_its_time() {
        let mut wheel = Wheel::default();
        wheel.push(10, 'a');
        wheel.push(100_000, 'b');
        assert_eq!(wheel.pop_until(9), None);
        assert_eq!(wheel.pop_until(10), Some((10, 'a')));
        assert_eq!(wheel.pop_until(99_999), None);
        assert_eq!(wheel.pop_until(100_000), Some((100_000, 'b')));
        assert!(wheel.is_empty());
    }
}
