//! How a scenario gets its ring: by nodes that join, one way or another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use atoll::id::Id;
use atoll::proto::{Config, Time};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::Run;
use crate::engine::{Network, World};
use crate::settings::groups::{Common, Periods};
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
    pub(super) seed: u64,
    pub(super) network: Network,
    /// What must be seen before the ring is used.
    ready: Ready,
    /// The settings of most nodes, and of the rich ones: each once, however many nodes there are.
    usual: Arc<Config>,
    rich: Arc<Config>,
}

/// When a ring can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// Every predecessor and successor list is exactly right.
    Correct,
    /// All are members. With relaxed periods the far ends of the lists need many minutes more, and hardly matter.
    Joined,
}

/// How often nodes of the classic kind stabilize and refresh their fingers while their ring is built.
const CLASSIC_BUILDING: Duration = Duration::from_secs(2);

/// The same in large rings.
const CLASSIC_BUILDING_LARGE: Duration = Duration::from_secs(15);

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
        let usual = common.protocol.config(nodes, links).into();
        let rich = common.protocol.config(nodes, common.protocol.rich_links).into();
        let ready = match common.periods(nodes) {
            Periods::Shipped => Ready::Correct,
            Periods::Relaxed => Ready::Joined,
        };
        Recipe { nodes, growth, common, seed: common.seed, network: common.network(nodes), ready, usual, rich }
    }

    /// A ring of the paper's Chord, which stabilizes often and repairs at once until [`Recipe::slow_down`]: with the paper's
    /// periods it would take hours to form.
    pub(super) fn classic(nodes: usize, growth: Growth, common: &'a Common) -> Self {
        let mut config = common.protocol.classic();
        config.repair_at_once = true;
        let building = match common.periods(nodes) {
            Periods::Shipped => CLASSIC_BUILDING,
            Periods::Relaxed => CLASSIC_BUILDING_LARGE,
        };
        (config.stabilize_every, config.finger_every) = (building, building);
        // Nodes that start at once may form rings of their own, which the paper has no means to join.
        config.check_every = building * 2;
        Recipe::new(nodes, Config::MIN_LINKS, growth, common).with_config(config)
    }

    /// The same with other settings of all nodes.
    pub(super) fn with_config(self, config: Config) -> Self {
        let config = Arc::new(config);
        Recipe { usual: Arc::clone(&config), rich: config, ..self }
    }

    /// The same with other settings of most nodes, and of the rich ones.
    pub(super) fn with_configs(self, [usual, rich]: [Config; 2]) -> Self {
        Recipe { usual: usual.into(), rich: rich.into(), ..self }
    }

    /// The settings of most nodes, and of the rich ones.
    pub(super) fn configs(&self) -> [&Config; 2] {
        [&self.usual, &self.rich]
    }

    /// How long a lookup may take with all its tries.
    pub(super) fn patience(&self) -> Duration {
        self.usual.lookup_timeout * u32::from(self.usual.lookup_tries)
    }

    /// Gives the nodes of a classic ring, and those who join it later, the settings of the paper: one after the other, so that
    /// they do not all stabilize at one time.
    pub(super) fn slow_down(&mut self, world: &mut World, run: &Run) {
        let config = Arc::new(self.common.protocol.classic());
        let pause = config.stabilize_every / world.nodes.len().max(1) as u32;
        for at in 0..world.nodes.len() {
            world.reconfigure(at, Arc::clone(&config));
            pass(world, run, pause);
        }
        (self.usual, self.rich) = (Arc::clone(&config), config);
    }

    /// A ring that can be used, and whose nodes have chosen their fingers. Gives `None` when the run is to stop.
    ///
    /// # Errors
    ///
    /// When the ring cannot be used within the limit.
    pub(super) fn build_settled(&self, run: &Run) -> Result<Option<World>> {
        let Some((mut world, _)) = self.grow(run) else { return Ok(None) };
        let ready = match self.ready {
            Ready::Correct => until_correct(&mut world, run, self.common.limit),
            Ready::Joined => until_joined(&mut world, run, self.common.limit),
        };
        if run.progress.is_stopped() {
            return Ok(None);
        }
        if ready.is_none() {
            let (nodes, seed, limit) = (self.nodes, self.seed, Wait(self.common.limit));
            bail!("{nodes} nodes with seed {seed} were no correct ring after {limit}: give --limit more time");
        }
        pass(&mut world, run, self.common.settle);
        Ok(Some(world))
    }

    /// Lets the nodes join, and waits until every predecessor and successor list is exactly right, until the limit. Gives
    /// `None` when the run is to stop.
    pub(super) fn build(&self, run: &Run) -> Option<Ring> {
        let (mut world, last_start) = self.grow(run)?;
        let correct_after = until_correct(&mut world, run, self.common.limit);
        (!run.progress.is_stopped()).then_some(Ring { world, correct_after, last_start })
    }

    /// Lets the nodes begin to join. Gives the time of the last one's start, too.
    fn grow(&self, run: &Run) -> Option<(World, Duration)> {
        let mut world = World::new(self.seed, self.network.clone());
        // The ids do not depend on what the nodes do: rings of different kinds have the same ones.
        let mut ids = Pcg32::seed_from_u64(self.seed);
        world.watch.answers = false;
        world.reserve(self.nodes);
        let mut start = world.now();
        for count in 0..self.nodes {
            if count > 0 {
                start = start.after(self.pause(count));
                let events = world.counts().events;
                while world.step_until(start) {}
                run.progress.did(0, world.counts().events - events);
            }
            self.add_by(&mut ids, &mut world);
            run.progress.did(1, 0);
            if run.progress.is_stopped() {
                return None;
            }
        }
        Some((world, start.since(Time(0))))
    }

    /// One node more, which begins to join, with chance from another source than the world's. Gives its
    /// index.
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

/// Waits until nobody is joining. Gives when that was seen, as [`until_correct`] does.
fn until_joined(world: &mut World, run: &Run, limit: Duration) -> Option<Duration> {
    let end = world.now().after(limit);
    while !run.progress.is_stopped() {
        if world.running().all(|at| world.nodes[at].is_member()) {
            return Some(world.now().since(Time(0)));
        }
        if world.now() >= end {
            return None;
        }
        pass(world, run, SLICE * 5);
    }
    None
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
