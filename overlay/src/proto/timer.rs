//! When a node must act without being asked: one small table of deadlines.

use std::time::Duration;

/// A moment, as microseconds since an epoch that the caller of the protocol chooses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// The moment `duration` after this one.
    #[must_use]
    pub fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(duration.as_micros() as u64))
    }

    /// How long ago `earlier` was; zero when it is still to come.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    /// The joining node is not yet a member: try again.
    Join,
    /// Compare views of the ring with the successor.
    Stabilize,
    /// Check by a lookup that this is the place on the one ring.
    Check,
    /// Tell the neighbours who the neighbours are.
    Gossip,
    /// Look for silent links.
    Heartbeat,
    /// The nearest deadline of a link being set up.
    Dial,
    /// The nearest deadline of a lookup or trace.
    Lookup,
    /// Fill an empty row of the finger table.
    Fingers,
    /// The nearest deadline of the store.
    Store,
    /// The nearest deadline of a channel.
    Channel,
}

impl Timer {
    pub(super) const ALL: [Timer; 10] = [
        Timer::Join,
        Timer::Stabilize,
        Timer::Check,
        Timer::Gossip,
        Timer::Heartbeat,
        Timer::Dial,
        Timer::Lookup,
        Timer::Fingers,
        Timer::Store,
        Timer::Channel,
    ];
}

/// The table of deadlines; [`NEVER`] where none is set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Timers([Time; Timer::ALL.len()]);

const NEVER: Time = Time(u64::MAX);

impl Default for Timers {
    fn default() -> Self {
        Timers([NEVER; Timer::ALL.len()])
    }
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        self.0[timer as usize] = at;
    }

    /// Sets the timer unless it is due sooner already.
    pub(super) fn at_latest(&mut self, timer: Timer, at: Time) {
        let slot = &mut self.0[timer as usize];
        *slot = at.min(*slot);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = NEVER;
    }

    pub(super) fn stop_all(&mut self) {
        *self = Timers::default();
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize] != NEVER
    }

    /// The next deadline, and what it is for.
    pub(super) fn next(&self) -> Option<(Time, Timer)> {
        let timers = Timer::ALL.into_iter().map(|timer| (self.0[timer as usize], timer));
        timers.min_by_key(|&(at, _)| at).filter(|&(at, _)| at != NEVER)
    }

    /// Takes a timer that is due.
    pub(super) fn expired(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = self.next()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_expire_in_their_order_and_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Check, Time(20));
        timers.set(Timer::Join, Time(10));
        timers.at_latest(Timer::Join, Time(15));
        assert_eq!(timers.next(), Some((Time(10), Timer::Join)));
        assert_eq!(timers.expired(Time(9)), None);
        assert_eq!(timers.expired(Time(30)), Some(Timer::Join));
        assert_eq!(timers.expired(Time(30)), Some(Timer::Check));
        assert_eq!(timers.expired(Time(30)), None);
    }
}
