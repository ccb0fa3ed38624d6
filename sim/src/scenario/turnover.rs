//! How nodes come and go: as many come as go, at random moments, and whoever goes is chosen at random.

use std::time::Duration;

use atoll::proto::Time;
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::engine::World;
use crate::settings::values;

/// Time that never comes.
pub(super) const NEVER: Time = Time(u64::MAX);

/// The longest time that is drawn, in virtual seconds: a year.
pub(super) const MAX_WAIT: f64 = 3.2e7;

/// How long nodes stay, and how they go.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Turnover {
    /// How long a node stays, on average.
    #[arg(long, default_value = "10min", value_name = "WAIT", value_parser = values::wait)]
    pub(super) session: Duration,
    /// The share of departures that is announced; the others are killed.
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    pub(super) announced: f64,
}

impl Turnover {
    /// Departures a second of so many nodes, and as many arrivals.
    pub(super) fn rate(&self, nodes: usize) -> f64 {
        nodes as f64 / self.session.as_secs_f64().max(1e-3)
    }

    /// Newcomers in this time.
    pub(super) fn newcomers(&self, nodes: usize, time: Duration) -> usize {
        (self.rate(nodes) * time.as_secs_f64()) as usize
    }

    /// Takes one of those who live out of them, who is to [`go`]. Somebody must stay for the others to join.
    pub(super) fn choose(alive: &mut Vec<usize>, rng: &mut Pcg32) -> Option<usize> {
        let at = (alive.len() >= 3).then(|| rng.random_range(0..alive.len()))?;
        Some(alive.swap_remove(at))
    }
}

/// A node goes: this share of them says so, the others are killed.
pub(super) fn go(world: &mut World, node: usize, announced: f64, rng: &mut Pcg32) {
    if announced > 0.0 && rng.random_bool(announced) { world.leave(node) } else { world.kill(node) }
}

/// When the next event comes of a Poisson process with so many a second.
pub(super) fn next_event(now: Time, rate: f64, rng: &mut Pcg32) -> Time {
    if rate <= 0.0 {
        return NEVER;
    }
    let wait = -libm::log(1.0 - rng.random::<f64>()) / rate;
    now.after(Duration::from_secs_f64(wait.min(MAX_WAIT)))
}
