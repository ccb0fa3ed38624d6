//! How fast a node may send, so that an honest one never meets the server's limit.

use std::time::Duration;

use crate::net::platform::Instant;
use crate::signalling::Limits;

/// The part of the server's limit that is used: clocks differ, and pings count too.
const SHARE: f64 = 0.8;

/// Holds up to a burst of tokens, refilled at the server's rate; each message takes one.
#[derive(Debug)]
pub(super) struct Pace {
    tokens: f64,
    burst: f64,
    rate: f64,
    filled: Instant,
}

impl Pace {
    /// The pace for what a server says that it takes. Whatever it says, one message a second is tried.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let burst = (f64::from(limits.burst) * SHARE).max(1.0);
        let rate = (f64::from(limits.messages_per_second) * SHARE).max(1.0);
        Pace { tokens: burst, burst, rate, filled: now }
    }

    /// When the next message may go: not after `now` means at once.
    pub(super) fn ready_at(&self) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        self.filled + Duration::from_secs_f64(missing / self.rate)
    }

    /// A message goes.
    pub(super) fn sent(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst) - 1.0;
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_counts() {
        let mut now = Instant::now();
        let start = now;
        let mut pace = Pace::new(Limits { message_bytes: 1, messages_per_second: 50, burst: 200 }, now);
        for _ in 0..1000 {
            now = now.max(pace.ready_at());
            pace.sent(now);
        }
        let took = (now - start).as_secs_f64();
        assert!((20.5..21.5).contains(&took), "160 at once and 840 at 40 a second take 21 s, not {took}");
    }

    #[test]
    fn a_server_that_takes_nothing_is_tried_once_a_second() {
        let now = Instant::now();
        let mut pace = Pace::new(Limits { message_bytes: 0, messages_per_second: 0, burst: 0 }, now);
        assert!(pace.ready_at() <= now);
        pace.sent(now);
        assert_eq!(pace.ready_at(), now + Duration::from_secs(1));
    }
}
