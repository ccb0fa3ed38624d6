//! What waits to be written to one connection: bounded in bytes, so that a slow reader costs little and nobody waits for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atoll::signalling::ErrorCode;
use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;

/// What a waiting message takes beside its text. Without it a million empty messages would weigh nothing.
const MESSAGE_OVERHEAD: usize = 64;

/// The messages that wait for one connection. Anybody puts in; the connection's own task takes out.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Utf8Bytes>,
    /// The message being written counts until it is written.
    bytes: usize,
    end: Option<ErrorCode>,
}

/// What the connection is to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Write this, then call [`Outbox::written`].
    Write(Utf8Bytes),
    /// Close the connection for this reason.
    End(ErrorCode),
}

impl Outbox {
    pub(crate) fn new(limit: usize) -> Self {
        Outbox { state: Mutex::default(), changed: Notify::new(), limit }
    }

    /// Puts a message in; `false` if the connection reads too slowly, and is closed for it, or is closing already.
    pub(crate) fn put(&self, text: String) -> bool {
        let mut state = self.lock();
        if state.end.is_some() {
            return false;
        }
        let bytes = text.len() + MESSAGE_OVERHEAD;
        if state.bytes + bytes > self.limit {
            state.end = Some(ErrorCode::SlowReader);
        } else {
            state.bytes += bytes;
            state.waiting.push_back(text.into());
        }
        let took = state.end.is_none();
        drop(state);
        self.changed.notify_one();
        took
    }

    /// Has the connection closed. The first reason given stays.
    pub(crate) fn end(&self, reason: ErrorCode) {
        self.lock().end.get_or_insert(reason);
        self.changed.notify_one();
    }

    /// The next thing to do, as soon as there is one. For the connection's task alone.
    pub(crate) async fn next(&self) -> Next {
        loop {
            {
                let mut state = self.lock();
                if let Some(reason) = state.end {
                    return Next::End(reason);
                }
                if let Some(text) = state.waiting.pop_front() {
                    if state.waiting.is_empty() {
                        state.waiting = VecDeque::new();
                    }
                    return Next::Write(text);
                }
            }
            self.changed.notified().await;
        }
    }

    /// The message of so many bytes is written.
    pub(crate) fn written(&self, text_bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(text_bytes + MESSAGE_OVERHEAD);
    }

    /// Returns when the connection is to be closed. For the connection's task alone, while it writes.
    pub(crate) async fn ended(&self) -> ErrorCode {
        loop {
            if let Some(reason) = self.lock().end {
                return reason;
            }
            self.changed.notified().await;
        }
    }

    /// A panic elsewhere cannot leave the queue half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_out_in_order_and_the_end_goes_first() {
        let outbox = Outbox::new(1000);
        assert!(outbox.put("a".into()) && outbox.put("b".into()));
        assert_eq!(outbox.next().await, Next::Write("a".into()));
        outbox.end(ErrorCode::Replaced);
        outbox.end(ErrorCode::Idle);
        assert_eq!(outbox.next().await, Next::End(ErrorCode::Replaced));
        assert!(!outbox.put("c".into()));
    }

    #[tokio::test]
    async fn what_is_being_written_still_counts() {
        let outbox = Outbox::new(2 * (10 + MESSAGE_OVERHEAD));
        let message = || "x".repeat(10);
        assert!(outbox.put(message()) && outbox.put(message()));
        outbox.next().await;
        outbox.written(10);
        assert!(outbox.put(message()));
        outbox.next().await;
        assert!(!outbox.put(message()), "one is being written and one waits: there is no room for a third");
        assert_eq!(outbox.ended().await, ErrorCode::SlowReader);
    }
}
