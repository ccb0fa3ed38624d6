//! Bytes that came over a link and of which no frame has come: how a message is noticed that the WebRTC library does not hand on.
//!
//! What is longer than the library was told to take, it takes apart, acknowledges and forgets, and nobody hears of it. A message
//! without an end it gathers without an end: SCTP takes the next part of a message that nothing can be read before, however full its
//! window is. All that this side sees of either are datagrams.
//!
//! A frame pays for three times its length, so that datagrams that were lost or came twice stay no debt for long: on a bad path parts
//! of frames arrive whose other parts do not, and nothing sends those of the data channel again.

use std::time::{Duration, Instant};

use super::super::{DATA_QUEUE_BYTES, RING_QUEUE_BYTES};

/// Datagrams up to this length are no part of a long message: acknowledgements, with all the gaps that they can tell of.
const SMALL_DATAGRAM: usize = 600;

/// What a frame costs besides its own bytes.
const FRAME_OVERHEAD: usize = 64;

/// More than an honest peer has on its way at a time, and so more than may wait for a part that was lost.
const MAX_DEBT: usize = RING_QUEUE_BYTES + DATA_QUEUE_BYTES;

/// How long more than [`MAX_DEBT`] may be owed: a part that was lost is there again by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// The bytes that a peer owes frames for.
#[derive(Debug, Default)]
pub(super) struct Debt {
    bytes: usize,
    since: Option<Instant>,
}

/// Whether datagrams of this length may be part of a long message.
pub(super) fn counts(datagram: usize) -> bool {
    datagram > SMALL_DATAGRAM
}

/// What a frame of this length pays for.
pub(super) fn paid_by(frame: usize) -> usize {
    3 * (frame + FRAME_OVERHEAD)
}

impl Debt {
    /// Takes into account what has come and what has been [paid](paid_by) since the last time. `false`: too much is owed, or for
    /// too long. To be asked only when nothing that has come waits to be read; `window` is what the library holds at most.
    pub(super) fn is_bearable(&mut self, came: usize, paid: usize, window: usize, now: Instant) -> bool {
        self.bytes = (self.bytes + came).saturating_sub(paid);
        if self.bytes <= MAX_DEBT {
            self.since = None;
            return true;
        }
        self.bytes <= window && now.duration_since(*self.since.get_or_insert(now)) < PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: usize = 1 << 20;

    #[test]
    fn frames_pay_for_their_datagrams_also_when_half_of_them_are_lost() {
        let (mut debt, now) = (Debt::default(), Instant::now());
        for _ in 0..1000 {
            assert!(debt.is_bearable(14 * 1252, 0, WINDOW, now), "a part is missing");
            assert!(debt.is_bearable(14 * 1252, paid_by(16 << 10), WINDOW, now), "all parts are there");
        }
        assert!(debt.is_bearable(0, 0, WINDOW, now + PATIENCE));
    }

    #[test]
    fn what_waits_for_a_lost_part_is_borne_for_a_while() {
        let (mut debt, now) = (Debt::default(), Instant::now());
        assert!(debt.is_bearable(WINDOW, 0, WINDOW, now));
        assert!(debt.is_bearable(0, 0, WINDOW, now + PATIENCE / 2));
        assert!(debt.is_bearable(0, WINDOW, WINDOW, now + PATIENCE), "it has come");
    }

    #[test]
    fn bytes_that_never_become_a_frame_are_not_borne() {
        let (mut debt, now) = (Debt::default(), Instant::now());
        assert!(debt.is_bearable(MAX_DEBT + 1, 0, WINDOW, now));
        assert!(!debt.is_bearable(0, 0, WINDOW, now + PATIENCE), "a message that was dropped");
        assert!(!Debt::default().is_bearable(WINDOW + 1, 0, WINDOW, now), "a message without an end");
    }
}
