//! Turns of the browser's event loop.
//!
//! Promises that are settled already are gone through before the browser looks at anything else. Work that always finds the next one
//! settled would keep messages and timers away from the page: its node would seem dead to its peers.

use std::time::Duration;

use wasm_bindgen_futures::JsFuture;
use web_time::Instant;

use crate::hooks;

/// How long work may go on before the browser gets its turn.
const LONGEST: Duration = Duration::from_millis(8);

/// Work that goes on for long.
pub(crate) struct Turn(Instant);

impl Turn {
    pub(crate) fn begin() -> Self {
        Turn(Instant::now())
    }

    /// Lets the browser do what waits, if it is time.
    pub(crate) async fn pause(&mut self) {
        if self.0.elapsed() < LONGEST {
            return;
        }
        if let Some(next_turn) = hooks::turn() {
            let _ = JsFuture::from(next_turn).await;
        }
        *self = Turn::begin();
    }
}
