//! What peers may ask of a node at once.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::core::lock;
use super::error::CallError;
use super::limits::MAX_VALUES;
use crate::id::Id;
use crate::small_map::SmallMap;

/// Bytes of a request that count for nothing: what each call may have besides.
pub const SMALL_REQUEST: usize = 1 << 10;

/// Bytes of a result that count for nothing.
pub const SMALL_RESULT: usize = 64 << 10;

/// Bytes of requests of one peer that wait for memory, at most; beyond it they are refused. They lie in the window of the session, and
/// others of the peer must pass them.
pub const WAITING: usize = 2 << 20;

/// What a decoded value takes at most, besides its bytes.
const VALUE_BYTES: usize = 64;

/// Memory is counted in units of so many bytes.
const UNIT: usize = 1 << 10;

/// What a node does for peers at once. Start from [`Limits::default`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Calls, watches and streams of one peer under way, at most; beyond it they are answered with `TooManyCalls`. Default
    /// 512: half as many as the sockets of a session, and twice as many as a program of the daemon may have.
    pub calls_per_peer: usize,
    /// The same of all peers together. Default 4096.
    pub calls: usize,
    /// Bytes that arguments of one peer take while they are read and used, at most, reckoned as if they were many small values;
    /// beyond it calls wait, and those behind the first [`WAITING`] bytes are answered with `TooManyCalls`. Small requests
    /// ([`SMALL_REQUEST`]) do not count. Default 64 MiB.
    pub memory_per_peer: usize,
    /// The same of all peers together. Default 256 MiB.
    pub memory: usize,
    /// Bytes that results of one peer take while they come in, at most; beyond it calls fail with `TooManyCalls`. Small results
    /// ([`SMALL_RESULT`]) do not count. Default 64 MiB.
    pub results_per_peer: usize,
    /// The same of all peers together. Default 256 MiB.
    pub results: usize,
    /// Functions that one peer may hold of this node, at most. Default 16,384.
    pub functions_per_peer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            calls_per_peer: 512,
            calls: 4096,
            memory_per_peer: 64 << 20,
            memory: 256 << 20,
            results_per_peer: 64 << 20,
            results: 256 << 20,
            functions_per_peer: 16_384,
        }
    }
}

/// What is being done.
pub(super) struct Load {
    calls_per_peer: usize,
    calls: usize,
    memory_per_peer: usize,
    memory_in_all: usize,
    memory: Arc<Semaphore>,
    results_per_peer: usize,
    results: Arc<Semaphore>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    calls: usize,
    by_peer: SmallMap<Id, OfPeer>,
}

struct OfPeer {
    calls: usize,
    memory: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Load {
    pub(super) fn new(limits: &Limits) -> Self {
        Load {
            calls_per_peer: limits.calls_per_peer,
            calls: limits.calls,
            memory_per_peer: limits.memory_per_peer,
            memory_in_all: limits.memory,
            memory: units(limits.memory),
            results_per_peer: limits.results_per_peer,
            results: units(limits.results),
            running: Mutex::default(),
        }
    }

    /// A place for one more call of this peer, if there is one.
    pub(super) fn enter(self: &Arc<Self>, peer: Id) -> Option<Place> {
        let mut running = lock(&self.running);
        if running.calls >= self.calls {
            return None;
        }
        let new = || OfPeer { calls: 0, memory: units(self.memory_per_peer), waiting: units(WAITING) };
        let of_peer = running.by_peer.entry(peer).or_insert_with(new);
        if of_peer.calls >= self.calls_per_peer {
            return None;
        }
        of_peer.calls += 1;
        let (memory, waiting) = (of_peer.memory.clone(), of_peer.waiting.clone());
        running.calls += 1;
        Some(Place { load: self.clone(), peer, memory, waiting, taken: None })
    }

    /// For the results that come over one session.
    pub(super) fn results(&self) -> Results {
        Results { of_peer: units(self.results_per_peer), of_all: self.results.clone() }
    }
}

fn units(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS)))
}

/// The place of one call.
pub(super) struct Place {
    load: Arc<Load>,
    peer: Id,
    memory: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    taken: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Place {
    /// Waits for the memory that a request of so many bytes may take, until the place is given up. Gives false if too many wait.
    pub(super) async fn reserve(&mut self, bytes: usize) -> bool {
        if bytes <= SMALL_REQUEST {
            return true;
        }
        // No request is too large for the limits, however small they were set: then it has them to itself.
        let most = bytes + VALUE_BYTES * bytes.min(MAX_VALUES);
        let units = |limit: usize| u32::try_from(most.min(limit) / UNIT).unwrap_or(u32::MAX).max(1);
        let (of_peer, of_all) = (units(self.load.memory_per_peer), units(self.load.memory_in_all));
        let (peers, all) = (self.memory.clone(), self.load.memory.clone());
        let at_once = peers.try_acquire_many_owned(of_peer).ok().zip(all.try_acquire_many_owned(of_all).ok());
        if at_once.is_some() {
            self.taken = at_once;
            return true;
        }
        let length = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let Ok(_waiting) = self.waiting.clone().try_acquire_many_owned(length) else { return false };
        let of_peer = self.memory.clone().acquire_many_owned(of_peer).await;
        let of_all = self.load.memory.clone().acquire_many_owned(of_all).await;
        // The semaphores are never closed.
        self.taken = of_peer.ok().zip(of_all.ok());
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = lock(&self.load.running);
        running.calls -= 1;
        if let Some(of_peer) = running.by_peer.get_mut(&self.peer) {
            of_peer.calls -= 1;
            if of_peer.calls == 0 {
                running.by_peer.remove(&self.peer);
            }
        }
    }
}

/// The memory for results that come over one session.
pub(super) struct Results {
    of_peer: Arc<Semaphore>,
    of_all: Arc<Semaphore>,
}

/// What one result takes while it comes in.
#[derive(Default)]
pub(super) struct Room {
    units: usize,
    taken: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Room {
    /// Has room for so many bytes in all from now on.
    pub(super) fn hold(&mut self, results: &Results, bytes: usize) -> Result<(), CallError> {
        let units = if bytes <= SMALL_RESULT { 0 } else { bytes.div_ceil(UNIT) };
        let Some(more) = units.checked_sub(self.units).filter(|more| *more > 0) else { return Ok(()) };
        let more = u32::try_from(more).map_err(|_| CallError::TooManyCalls)?;
        let take = |from: &Arc<Semaphore>| from.clone().try_acquire_many_owned(more).ok();
        let more = take(&results.of_peer).zip(take(&results.of_all)).ok_or(CallError::TooManyCalls)?;
        match &mut self.taken {
            Some((of_peer, of_all)) => {
                of_peer.merge(more.0);
                of_all.merge(more.1);
            }
            taken => *taken = Some(more),
        }
        self.units = units;
        Ok(())
    }
}
