//! The messages of one publisher since it joined: in their order, each once, and told of when some are missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::timer::Time;
use super::ranges::Ranges;
use crate::key::PeerKey;
use crate::record::CLOCK_SKEW;
use crate::wire::{Envelope, Head};

/// How long messages wait for those before them, which may still come by another way. A tree that lost a forwarder is whole again sooner.
pub(super) const GAP_WAIT: Duration = Duration::from_secs(8);

/// Envelopes that wait for those before them at most; then what is missing is given up.
const MAX_PENDING: usize = 256;

/// What a stream gives to the application.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Due {
    Envelope(Arc<Envelope>),
    /// So many messages are lost.
    Lagged(u64),
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stream {
    /// Who signs it, where anybody does.
    pub(super) key: Option<PeerKey>,
    /// What this node has had.
    pub(super) have: Ranges,
    /// Somebody has had all before this.
    pub(super) upper: u64,
    /// When something of it came last.
    pub(super) heard: Time,
    /// The next message for the application; none: whichever comes first.
    next: Option<u64>,
    /// While nothing but the word of neighbours says that it is that one.
    hearsay: Option<Hearsay>,
    /// The application was told that all before this is lost.
    told: u64,
    pending: BTreeMap<u64, Arc<Envelope>>,
    gap_since: Option<Time>,
}

/// Where the application's messages begin, as neighbours say. They may lie, to hide a stream: what was sent so long after the
/// application began that no clock can explain it is none of those before.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Hearsay {
    /// When the application began.
    since: Time,
    /// Messages that seem to have been sent later, and were taken for older ones.
    withheld: u64,
}

impl Stream {
    /// A stream of which the application gets the messages from `next` on.
    pub(super) fn new(next: Option<u64>, now: Time) -> Self {
        Stream {
            key: None,
            have: Ranges::default(),
            upper: 0,
            heard: now,
            next,
            hearsay: None,
            told: 0,
            pending: BTreeMap::new(),
            gap_since: None,
        }
    }

    /// The application wants what comes from now on: all that there is, as neighbours say, ends with `upper`.
    pub(super) fn begin(&mut self, upper: u64, now: Time) {
        self.next = Some(upper.max(self.upper).max(self.have.end()));
        self.hearsay = Some(Hearsay { since: now, withheld: 0 });
        self.rest();
    }

    /// Something of it has come; otherwise neighbours have told of it, and may have made it up.
    pub(super) fn is_proven(&self) -> bool {
        self.have.end() > 0
    }

    pub(super) fn head(&self, publisher: crate::id::Id, stream: u64) -> Head {
        Head { publisher, stream, upper: self.upper.max(self.have.end()), ranges: self.have.to_vec() }
    }

    /// The application wants nothing any more.
    pub(super) fn rest(&mut self) {
        self.pending.clear();
        self.gap_since = None;
    }

    /// Somebody says that there are messages up to this number.
    pub(super) fn hear_of(&mut self, upper: u64, delivers: bool, now: Time) {
        self.upper = self.upper.max(upper);
        if delivers {
            self.watch_gap(now);
        }
    }

    /// An envelope that is new here: gives what the application is to get.
    pub(super) fn take(&mut self, envelope: Arc<Envelope>, delivers: bool, now: Time) -> Vec<Due> {
        let (first, end) = (envelope.label().first, envelope.end());
        self.have.insert(first, end);
        self.upper = self.upper.max(end);
        self.heard = now;
        if !delivers {
            return Vec::new();
        }
        let next = *self.next.get_or_insert(first);
        let mut due = Vec::new();
        if first < next {
            let Some(withheld) = self.refutes(&envelope) else { return due };
            if withheld > 0 {
                due.push(Due::Lagged(withheld));
            }
            self.next = Some(first);
        }
        self.pending.insert(first, envelope);
        self.release(&mut due);
        while self.pending.len() > MAX_PENDING {
            self.skip(&mut due);
        }
        self.watch_gap(now);
        due
    }

    /// Whether an envelope shows that neighbours lied about where the application's messages begin: gives how many it has missed by that.
    fn refutes(&mut self, envelope: &Envelope) -> Option<u64> {
        let hearsay = self.hearsay.as_mut()?;
        let late = Time(envelope.label().sent).since(hearsay.since);
        if late <= CLOCK_SKEW {
            hearsay.withheld += if late.is_zero() { 0 } else { envelope.messages().len() as u64 };
            return None;
        }
        self.hearsay.take().map(|hearsay| hearsay.withheld)
    }

    /// When what is missing is given up.
    pub(super) fn due(&self) -> Option<Time> {
        self.gap_since.map(|since| since.after(GAP_WAIT))
    }

    /// Gives up what has been missing for too long.
    pub(super) fn give_up(&mut self, now: Time) -> Vec<Due> {
        let mut due = Vec::new();
        if self.due().is_none_or(|at| at > now) {
            return due;
        }
        self.gap_since = None;
        if self.pending.is_empty() {
            // Somebody claims that there are more. That is told, but not believed: they count when they come.
            let from = self.next.unwrap_or(self.upper).max(self.told);
            if self.upper > from {
                due.push(Due::Lagged(self.upper - from));
                self.told = self.upper;
            }
        }
        while !self.pending.is_empty() {
            self.skip(&mut due);
        }
        due
    }

    /// Goes on behind a gap.
    fn skip(&mut self, due: &mut Vec<Due>) {
        let Some((&first, _)) = self.pending.first_key_value() else { return };
        let from = self.next.unwrap_or(first).max(self.told);
        if first > from {
            due.push(Due::Lagged(first - from));
        }
        (self.next, self.hearsay) = (Some(first), None);
        self.release(due);
    }

    /// What is next in order.
    fn release(&mut self, due: &mut Vec<Due>) {
        while let Some(next) = self.next
            && let Some(envelope) = self.pending.remove(&next)
        {
            (self.next, self.hearsay) = (Some(envelope.end()), None);
            due.push(Due::Envelope(envelope));
        }
    }

    fn watch_gap(&mut self, now: Time) {
        let missing = self.next.is_some_and(|next| next.max(self.told) < self.upper);
        self.gap_since = if missing { self.gap_since.or(Some(now)) } else { None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Identity;
    use crate::wire::{ChannelId, Label, Published};

    fn envelope(first: u64, count: usize) -> Arc<Envelope> {
        sent(first, count, Time(0))
    }

    fn sent(first: u64, count: usize, at: Time) -> Arc<Envelope> {
        let message = Published { scope: String::new(), payload: "x".into() };
        let label = Label { channel: ChannelId([0; 16]), stream: 0, sent: at.0, first, pass: None };
        let publisher = Identity::generate();
        Arc::new(Envelope::seal(&publisher, false, label, &vec![message; count]))
    }

    fn numbers(due: &[Due]) -> Vec<i64> {
        let number = |due: &Due| match due {
            Due::Envelope(envelope) => envelope.label().first as i64,
            Due::Lagged(count) => -(*count as i64),
        };
        due.iter().map(number).collect()
    }

    #[test]
    fn messages_come_out_in_their_order_and_wait_for_those_before() {
        let mut stream = Stream::new(Some(0), Time(0));
        assert_eq!(numbers(&stream.take(envelope(0, 2), true, Time(1))), [0]);
        assert_eq!(numbers(&stream.take(envelope(5, 1), true, Time(2))), [0; 0]);
        assert_eq!(numbers(&stream.take(envelope(2, 1), true, Time(3))), [2]);
        assert_eq!(numbers(&stream.take(envelope(3, 2), true, Time(4))), [3, 5]);
        assert_eq!(stream.due(), None);
    }

    #[test]
    fn a_gap_is_told_when_nothing_has_filled_it_in_time() {
        let mut stream = Stream::new(Some(0), Time(0));
        stream.take(envelope(3, 1), true, Time(0));
        stream.take(envelope(7, 1), true, Time(1));
        let due = stream.due().unwrap();
        assert_eq!(numbers(&stream.give_up(Time(due.0 - 1))), [0; 0]);
        assert_eq!(numbers(&stream.give_up(due)), [-3, 3, -3, 7]);
        assert_eq!(numbers(&stream.take(envelope(5, 1), true, due)), [0; 0], "too late");
        assert_eq!(numbers(&stream.take(envelope(8, 1), true, due)), [8]);
    }

    #[test]
    fn a_claim_of_more_messages_is_told_once_and_hides_none() {
        let mut stream = Stream::new(Some(0), Time(0));
        stream.hear_of(10, true, Time(0));
        let due = stream.due().unwrap();
        assert_eq!(numbers(&stream.give_up(due)), [-10]);
        assert_eq!(stream.due(), None);
        assert_eq!(numbers(&stream.take(envelope(0, 1), true, due)), [0]);
        stream.take(envelope(11, 1), true, due);
        let due = stream.due().unwrap();
        assert_eq!(numbers(&stream.give_up(due)), [-1, 11], "what was told before is not told again");
    }

    #[test]
    fn neighbours_cannot_hide_a_stream_by_saying_that_its_messages_are_old() {
        let mut stream = Stream::new(None, Time(0));
        let begun = Time(1_000_000);
        stream.begin(1000, begun);
        // Clocks differ: these may be old.
        let soon = begun.after(CLOCK_SKEW);
        assert_eq!(numbers(&stream.take(envelope(3, 1), true, soon)), [0; 0]);
        assert_eq!(numbers(&stream.take(sent(4, 2, soon), true, soon)), [0; 0]);
        let later = soon.after(Duration::from_millis(1));
        assert_eq!(numbers(&stream.take(sent(6, 1, later), true, later)), [-2, 6]);
        assert_eq!(numbers(&stream.take(sent(7, 1, later), true, later)), [7]);
    }

    #[test]
    fn what_neighbours_say_holds_once_the_messages_that_they_spoke_of_come() {
        let mut stream = Stream::new(None, Time(0));
        stream.begin(10, Time(0));
        assert_eq!(numbers(&stream.take(envelope(10, 1), true, Time(1))), [10]);
        let later = Time(1).after(2 * CLOCK_SKEW);
        assert_eq!(numbers(&stream.take(sent(9, 1, later), true, later)), [0; 0], "nothing goes back");
    }
}
