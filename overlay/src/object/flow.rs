//! How much of many results may be on its way: whoever takes them one by one says how many bytes it takes ahead.
//!
//! QUIC bounds what was received and not read, of a stream and of a session. A few streams that nobody reads would fill the
//! session's window, and all other answers of the peer wait behind them. So a caller lends each such stream a [`Window`], and all
//! windows of a session together stay far below that of the session. A window begins small, and doubles whenever half of it was
//! read, up to half of what no other has: one fast stream has enough for long ways, and a hundred idle ones cost little.

use std::sync::{Arc, Mutex};

use super::core::lock;
use super::error::CallError;
use super::line::Line;

/// Bytes of all windows of a session together, at most: half of what a session may have on its way
/// ([`session_window`](crate::net::session::Settings::session_window)).
pub const WINDOWS: usize = 4 << 20;

/// Bytes of them that are shared out by need. The rest is for the least windows.
const BY_NEED: usize = 3 << 20;

/// Bytes of the window that a stream begins with, as long as there is enough for it.
const FIRST_WINDOW: usize = 64 << 10;

/// Bytes of the least window. So a session has at least 512 streams, as many as a peer may call at once.
const LEAST_WINDOW: usize = 2 << 10;

/// What is lent to the streams of one session, in bytes.
#[derive(Default)]
pub(super) struct Lent(Mutex<usize>);

impl Lent {
    /// Lends up to `wanted` bytes instead of `old` ones, of which so many are still in use; `None` if there are not even a few.
    fn lend(&self, old: usize, in_use: usize, wanted: usize) -> Option<usize> {
        let mut lent = lock(&self.0);
        let others = *lent - old;
        let share = BY_NEED.saturating_sub(others) / 2;
        let size = wanted.min(share).max(LEAST_WINDOW).max(in_use);
        if others + size > WINDOWS {
            return None;
        }
        *lent = others + size;
        Some(size)
    }

    fn give_back(&self, size: usize) {
        *lock(&self.0) -= size;
    }
}

/// What one stream may have on its way.
pub(super) struct Window {
    line: Arc<Line>,
    size: usize,
    /// Bytes that the provider may still send.
    granted: usize,
}

impl Window {
    /// A window for one more stream of this session.
    pub(super) fn open(line: &Arc<Line>) -> Result<Self, CallError> {
        let size = line.lent.lend(0, 0, FIRST_WINDOW).ok_or(CallError::TooManyCalls)?;
        Ok(Window { line: line.clone(), size, granted: size })
    }

    /// Its bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// So many bytes came. Who sends more than it may holds up its own results.
    pub(super) fn received(&mut self, count: usize) {
        self.granted = self.granted.saturating_sub(count);
    }

    /// How many bytes more the provider may send, now that all that came was read; `None`: it has enough for now.
    pub(super) fn more(&mut self) -> Option<u32> {
        if self.granted > self.size / 2 {
            return None;
        }
        self.size = self.line.lent.lend(self.size, self.granted, 2 * self.size).unwrap_or(self.size);
        let more = self.size.saturating_sub(self.granted);
        self.granted += more;
        u32::try_from(more).ok().filter(|more| *more > 0)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.line.lent.give_back(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::session::Settings;

    #[test]
    fn windows_leave_room_for_other_answers_and_there_are_enough_of_them() {
        let lent = Lent::default();
        let mut count = 0;
        while lent.lend(0, 0, FIRST_WINDOW).is_some() {
            count += 1;
        }
        assert!(count >= crate::object::Limits::default().calls_per_peer, "{count} windows");
        assert!(*lock(&lent.0) <= WINDOWS);
        assert!(WINDOWS <= Settings::default().session_window as usize / 2);
    }

    #[test]
    fn one_window_grows_as_it_is_used_and_leaves_as_much_for_the_next() {
        let lent = Lent::default();
        let grown = |mut size| {
            for _ in 0..10 {
                size = lent.lend(size, size / 2, 2 * size).unwrap();
            }
            size
        };
        let first = grown(lent.lend(0, 0, FIRST_WINDOW).unwrap());
        assert_eq!(first, BY_NEED / 2);
        assert_eq!(grown(lent.lend(0, 0, FIRST_WINDOW).unwrap()), BY_NEED / 4);
        // Others need room: it shrinks when it is used next.
        assert_eq!(lent.lend(first, 0, 2 * first), Some(BY_NEED * 3 / 8));
    }
}
