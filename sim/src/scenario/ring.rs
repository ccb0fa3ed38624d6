//! How a scenario gets its ring: by nodes that join, one way or another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use atoll::id::Id;
use atoll::proto::{Config, Time};
use rand::RngExt;
use rand_pcg::Pcg32;

use super::Run;
use crate::engine::World;
use crate::settings::groups::Common;
use crate::settings::values::{Wait, wait};

/// Virtual time between two looks at whether the run is to stop.
pub(super) const SLICE: Duration = Duration::from_millis(200);

/// Events of each node between two looks at whether the ring is correct.
const LOOK_EVERY: u64 = 2;

/// In what order nodes join, as people write it: `at-once`, `every:100ms`, or `doubling:10s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// All start in the same moment.
    AtOnce,
    /// One after the other, with this wait between them.
    Every(Duration),
    /// The ring doubles within this time: every member lets newcomers in alike.
    Doubling(Duration),
}

impl FromStr for Growth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let positive = |text| match wait(text)? {
            Duration::ZERO => Err("this wait must be above 0".to_owned()),
            wait => Ok(wait),
        };
        match text.split_once(':') {
            None if text == "at-once" => Ok(Growth::AtOnce),
            Some(("every", pause)) => Ok(Growth::Every(positive(pause)?)),
            Some(("doubling", time)) => Ok(Growth::Doubling(positive(time)?)),
            _ => Err(format!("{text:?} is no way to grow; write at-once, every:100ms or doubling:10s")),
        }
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Growth::AtOnce => f.write_str("at-once"),
            Growth::Every(pause) => write!(f, "every:{}", Wait(*pause)),
            Growth::Doubling(time) => write!(f, "doubling:{}", Wait(*time)),
        }
    }
}

/// What a ring is made of.
#[derive(Clone, Debug)]
pub(super) struct Recipe<'a> {
    nodes: usize,
    growth: Growth,
    common: &'a Common,
    /// The settings of most nodes, and of the rich ones: each once, however many nodes there are.
    usual: Arc<Config>,
    rich: Arc<Config>,
}

/// A ring that was built.
pub(super) struct Ring {
    pub(super) world: World,
    /// From the first node's start until every predecessor and successor list was exactly right; `None` when that did not come
    /// within the limit.
    pub(super) correct_after: Option<Duration>,
    /// From the first node's start to the last one's.
    pub(super) last_start: Duration,
}

impl<'a> Recipe<'a> {
    pub(super) fn new(nodes: usize, links: usize, growth: Growth, common: &'a Common) -> Self {
        let usual = common.protocol.config(links).into();
        let rich = common.protocol.config(common.protocol.rich_links).into();
        Recipe { nodes, growth, common, usual, rich }
    }

    /// A ring that is correct, and whose nodes have chosen their fingers. Gives `None` when the run is to stop.
    ///
    /// # Errors
    ///
    /// When the ring is not correct within the limit.
    pub(super) fn build_settled(&self, run: &Run) -> Result<Option<World>> {
        let Some(Ring { mut world, correct_after, .. }) = self.build(run) else { return Ok(None) };
        if correct_after.is_none() {
            let (nodes, seed, limit) = (self.nodes, self.common.seed, Wait(self.common.limit));
            bail!("{nodes} nodes with seed {seed} were no correct ring after {limit}: give --limit more time");
        }
        pass(&mut world, run, self.common.settle);
        Ok(Some(world))
    }

    /// Lets the nodes join, and waits until every predecessor and successor list is exactly right, until the limit. Gives
    /// `None` when the run is to stop.
    pub(super) fn build(&self, run: &Run) -> Option<Ring> {
        let mut world = World::new(self.common.seed, self.common.network.network());
        world.watch.answers = false;
        let mut start = world.now();
        for count in 0..self.nodes {
            if count > 0 {
                start = start.after(self.pause(count));
                let events = world.counts().events;
                while world.step_until(start) {}
                run.progress.did(0, world.counts().events - events);
            }
            self.add(&mut world);
            run.progress.did(1, 0);
            if run.progress.is_stopped() {
                return None;
            }
        }
        let last_start = start.since(Time(0));
        let correct_after = until_correct(&mut world, run, self.common.limit);
        (!run.progress.is_stopped()).then_some(Ring { world, correct_after, last_start })
    }

    /// One node more, which begins to join. Gives its index.
    fn add(&self, world: &mut World) -> usize {
        let id = Id::random(world.rng());
        let rich = self.is_rich(world.rng());
        world.add(id, if rich { &self.rich } else { &self.usual }.clone())
    }

    /// One node more, which begins to join, with chance from another source than the world's. Gives its index.
    pub(super) fn add_by(&self, rng: &mut Pcg32, world: &mut World) -> usize {
        let id = Id::random(rng);
        world.add(id, if self.is_rich(rng) { &self.rich } else { &self.usual }.clone())
    }

    fn is_rich(&self, rng: &mut Pcg32) -> bool {
        let share = self.common.protocol.rich_share;
        share > 0.0 && rng.random_bool(share)
    }

    /// Virtual time before the next start, when so many have started.
    fn pause(&self, count: usize) -> Duration {
        match self.growth {
            Growth::AtOnce => Duration::ZERO,
            Growth::Every(pause) => pause,
            // Doubling within a time means that each brings ln 2 newcomers meanwhile.
            Growth::Doubling(time) => time.div_f64(std::f64::consts::LN_2 * count as f64),
        }
    }
}

/// Waits until every predecessor and successor list is exactly right. Gives when neighbours changed last, as time since the world
/// began, or `None` when it did not come within `limit`, or the run is to stop.
pub(super) fn until_correct(world: &mut World, run: &Run, limit: Duration) -> Option<Duration> {
    let end = world.now().after(limit);
    let mut correct_since = world.now();
    let mut look_after = 0;
    loop {
        if world.take_ring_changed() {
            correct_since = world.now();
        } else if world.counts().events >= look_after {
            if world.is_ideal() {
                return Some(correct_since.since(Time(0)));
            }
            correct_since = world.now();
            // Looking goes through all nodes: it must not take longer than what happens between two looks.
            look_after = world.counts().events + LOOK_EVERY * world.nodes.len() as u64;
        }
        if world.now() >= end || run.progress.is_stopped() {
            return None;
        }
        pass(world, run, SLICE);
    }
}

/// Lets time pass.
pub(super) fn pass(world: &mut World, run: &Run, time: Duration) {
    let end = world.now().after(time);
    while world.now() < end && !run.progress.is_stopped() {
        let events = world.counts().events;
        let slice = end.since(world.now()).min(SLICE);
        let until = world.now().after(slice);
        world.run_for(slice);
        run.progress.did(0, world.counts().events - events);
        if world.now() < until && end.since(world.now()) < crate::engine::TICK {
            break; // The rest is shorter than the clock's tick.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_grow_are_shown_as_they_are_read() {
        for text in ["at-once", "every:100ms", "doubling:10s"] {
            assert_eq!(text.parse::<Growth>().unwrap().to_string(), text);
        }
        assert!("slowly".parse::<Growth>().unwrap_err().contains("doubling:10s"));
        assert!("every:0".parse::<Growth>().is_err());
    }
}
