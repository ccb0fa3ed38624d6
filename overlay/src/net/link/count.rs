//! How many WebRTC connections there are: browsers allow some 500, and closed ones count until their memory is reclaimed.

use std::sync::atomic::{AtomicU32, Ordering};

static MADE: AtomicU32 = AtomicU32::new(0);
static OPEN: AtomicU32 = AtomicU32::new(0);

/// The connections of all nodes of a process, or of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connections {
    /// Since it began.
    pub made: u32,
    /// Of them those that are being opened, open, or being closed.
    pub open: u32,
}

/// The connections of this process or page so far.
pub fn connections() -> Connections {
    Connections { made: MADE.load(Ordering::Relaxed), open: OPEN.load(Ordering::Relaxed) }
}

/// Counts a connection as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(());

impl Counted {
    pub(super) fn new() -> Self {
        MADE.fetch_add(1, Ordering::Relaxed);
        OPEN.fetch_add(1, Ordering::Relaxed);
        Counted(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}
