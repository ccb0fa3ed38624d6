//! What a subscriber has yet to read. Whoever fills it never waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use super::{ChannelMessage, Lagged};

/// Messages that wait for a subscriber at most.
pub const MAX_UNREAD: usize = 4096;

/// Bytes of them at most.
pub const MAX_UNREAD_BYTES: usize = 8 << 20;

/// What a message counts besides its payload.
const AROUND: usize = 128;

#[derive(Default)]
pub(super) struct Inbox {
    scope: Option<String>,
    queue: Mutex<Queue>,
    reader: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Result<ChannelMessage, Lagged>>,
    bytes: usize,
    /// Messages that found no room behind the last item.
    missed: u64,
    closed: bool,
}

impl Inbox {
    pub(super) fn new(scope: Option<String>) -> Self {
        Inbox { scope, ..Inbox::default() }
    }

    pub(super) fn wants(&self, scope: &str) -> bool {
        self.scope.as_deref().is_none_or(|wanted| wanted == scope)
    }

    pub(super) fn push(&self, item: Result<ChannelMessage, Lagged>) {
        let mut queue = self.queue();
        if queue.missed > 0 && queue.has_room(0) {
            let lagged = Lagged { count: std::mem::take(&mut queue.missed), publisher: None };
            queue.items.push_back(Err(lagged));
        }
        let size = size(&item);
        if queue.missed == 0 && queue.has_room(size) {
            queue.bytes += size;
            queue.items.push_back(item);
        } else {
            queue.missed = queue.missed.saturating_add(item.map_or_else(|lagged| lagged.count, |_| 1));
        }
        drop(queue);
        self.reader.wake();
    }

    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.reader.wake();
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<ChannelMessage, Lagged>>> {
        self.reader.register(cx.waker());
        let mut queue = self.queue();
        if let Some(item) = queue.items.pop_front() {
            queue.bytes -= size(&item);
            return Poll::Ready(Some(item));
        }
        if queue.missed > 0 {
            return Poll::Ready(Some(Err(Lagged { count: std::mem::take(&mut queue.missed), publisher: None })));
        }
        if queue.closed { Poll::Ready(None) } else { Poll::Pending }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn has_room(&self, bytes: usize) -> bool {
        self.items.len() < MAX_UNREAD && self.bytes + bytes <= MAX_UNREAD_BYTES
    }
}

fn size(item: &Result<ChannelMessage, Lagged>) -> usize {
    item.as_ref().map_or(0, |message| message.payload.len() + message.scope.len() + AROUND)
}
