//! Functions that this node has passed to peers: each by a handle that only the peer it was made for can use.

use std::sync::Arc;
use std::time::Duration;

use super::line::Line;
use super::value::{Function, ValueError};
use crate::id::Id;
use crate::net::platform::Instant;
use crate::small_map::SmallMap;

/// How long a peer may take to say that it has taken a function, until the function is released: the message may have been lost
/// with its call.
pub const TAKE_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Exports {
    next: u64,
    by_handle: SmallMap<u64, Export>,
    /// How many each peer holds.
    counts: SmallMap<Id, usize>,
}

struct Export {
    function: Function,
    holder: Id,
    /// The session it went through: when that ends, nobody can release it any more.
    line: Arc<Line>,
    /// Until when the peer must say that it has taken it; `None`: it has.
    untaken: Option<Instant>,
}

impl Exports {
    pub(super) fn new() -> Self {
        // Anywhere, so that a handle of this node's earlier life is not taken for one of this. Half the numbers are left to go.
        Exports { next: rand::random::<u64>() >> 1, by_handle: SmallMap::new(), counts: SmallMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_handle.len()
    }

    pub(super) fn insert(&mut self, line: &Arc<Line>, function: Function, most: usize) -> Result<u64, ValueError> {
        let holder = line.peer();
        let count = self.counts.entry(holder).or_default();
        if *count >= most {
            return Err(ValueError::TooManyFunctions);
        }
        *count += 1;
        self.next += 1;
        let untaken = Some(Instant::now() + TAKE_WITHIN);
        self.by_handle.insert(self.next, Export { function, holder, line: line.clone(), untaken });
        Ok(self.next)
    }

    pub(super) fn get(&self, handle: u64, holder: Id) -> Option<Function> {
        self.by_handle.get(&handle).filter(|export| export.holder == holder).map(|export| export.function.clone())
    }

    #[cfg(test)]
    pub(super) fn handles(&self) -> Vec<u64> {
        self.by_handle.keys().copied().collect()
    }

    /// The peer says that it has taken it.
    pub(super) fn taken(&mut self, handle: u64, holder: Id) {
        if let Some(export) = self.by_handle.get_mut(&handle).filter(|export| export.holder == holder) {
            export.untaken = None;
        }
    }

    /// The peer needs it no more, or never got it.
    pub(super) fn remove(&mut self, handle: u64, holder: Id) -> Option<Function> {
        if self.by_handle.get(&handle)?.holder != holder {
            return None;
        }
        let export = self.by_handle.remove(&handle)?;
        if let Some(count) = self.counts.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&holder);
            }
        }
        Some(export.function)
    }

    /// Takes out all that nobody took in time, or, when the session has ended, all that went through it. What they hold is freed
    /// by who drops them, without a lock.
    pub(super) fn expire(&mut self, line: &Arc<Line>, ended: bool) -> Vec<Function> {
        let now = Instant::now();
        let late = |export: &Export| ended || export.untaken.is_some_and(|until| until <= now);
        let late = |export: &Export| Arc::ptr_eq(&export.line, line) && late(export);
        let late: Vec<u64> =
            self.by_handle.iter().filter(|(_, export)| late(export)).map(|(&handle, _)| handle).collect();
        late.into_iter().filter_map(|handle| self.remove(handle, line.peer())).collect()
    }
}
