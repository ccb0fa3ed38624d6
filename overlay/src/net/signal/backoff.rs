//! How long to wait before the next attempt: twice as long each time, and never the same for two nodes.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The wait after a first failure, before jitter.
pub const BACKOFF_SHORTEST: Duration = Duration::from_millis(250);
/// The longest wait, before jitter; also the wait after a refusal that will last.
pub const BACKOFF_LONGEST: Duration = Duration::from_secs(30);
/// A connection that lasted so long was a good one: the next wait is the shortest again.
pub const STEADY: Duration = Duration::from_secs(10);

/// Doubles from [`BACKOFF_SHORTEST`] to [`BACKOFF_LONGEST`].
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait.
    pub(super) fn wait(&mut self, rng: &mut impl Rng) -> Duration {
        let wait = BACKOFF_SHORTEST.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_LONGEST);
        self.failures = self.failures.saturating_add(1);
        jitter(wait, rng)
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Between half of `wait` and `wait`: nodes that lost their server together must not come back together.
pub(super) fn jitter(wait: Duration, rng: &mut impl Rng) -> Duration {
    wait.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ_between_nodes() {
        let waits = |seed| {
            let (mut backoff, mut rng) = (Backoff::default(), Pcg64Mcg::seed_from_u64(seed));
            (0..20).map(|_| backoff.wait(&mut rng)).collect::<Vec<_>>()
        };
        let mine = waits(1);
        let mut bound = BACKOFF_SHORTEST;
        for wait in &mine {
            assert!(*wait >= bound / 2 && *wait <= bound, "{wait:?} where {bound:?} is the bound");
            bound = (bound * 2).min(BACKOFF_LONGEST);
        }
        assert_ne!(mine, waits(2));
    }

    #[test]
    fn a_good_connection_starts_it_over() {
        let (mut backoff, mut rng) = (Backoff::default(), Pcg64Mcg::seed_from_u64(1));
        for _ in 0..100 {
            backoff.wait(&mut rng);
        }
        backoff.reset();
        assert!(backoff.wait(&mut rng) <= BACKOFF_SHORTEST);
    }
}
