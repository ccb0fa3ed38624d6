//! How many messages a second a connection may send: a token bucket, refilled as time passes.

use tokio::time::Instant;

/// Holds up to `burst` tokens, gains `rate` a second, and each message takes one.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    tokens: f32,
    filled: Instant,
}

impl TokenBucket {
    pub(crate) fn full(burst: u32, now: Instant) -> Self {
        TokenBucket { tokens: burst as f32, filled: now }
    }

    /// Whether there was a token to take.
    pub(crate) fn take(&mut self, rate: u32, burst: u32, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f32() * rate as f32;
        self.tokens = (self.tokens + gained).min(burst as f32);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate_counts() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(3, start);
        let taken = (0..5).filter(|_| bucket.take(10, 3, start)).count();
        assert_eq!(taken, 3);
        assert!(bucket.take(10, 3, start + Duration::from_millis(101)));
        assert!(!bucket.take(10, 3, start + Duration::from_millis(102)));
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| bucket.take(10, 3, later)).count(), 3, "it saves up no more than the burst");
    }
}
