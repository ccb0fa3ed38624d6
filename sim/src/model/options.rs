//! The bounds of a model: how many nodes, what may happen to them, how finely it is told apart.

use std::time::Duration;

use anyhow::{Result, bail};
use atoll::proto::Config;
#[cfg(feature = "known-bugs")]
use atoll::proto::KnownBug;

use super::Grain;

/// Nodes in all, at most: beyond that no walk comes to its end.
const MOST_NODES: usize = 6;

/// Bounds of a model.
#[derive(Clone, Debug, clap::Args, serde::Serialize)]
pub struct ModelArgs {
    /// Nodes of the ideal ring to begin with
    #[arg(long, default_value_t = 3)]
    pub nodes: usize,
    /// Nodes that join, all between the first two of the ring
    #[arg(long, default_value_t = 1)]
    pub joins: usize,
    /// Nodes that crash, any of them, at any moment: fewer than a successor list has entries
    #[arg(long, default_value_t = 0)]
    pub fails: u8,
    /// Links that fail between nodes that live
    #[arg(long, default_value_t = 0)]
    pub breaks: u8,
    /// Checks of the own place by a lookup, in all
    #[arg(long, default_value_t = 0)]
    pub checks: u8,
    /// Stabilizations in all; without it any number, each member's next once the last is answered
    #[arg(long)]
    pub stabilizations: Option<u8>,
    /// Entries of a successor list
    #[arg(long, default_value_t = 2)]
    pub successors: usize,
    /// What counts as one step
    #[arg(long, value_enum, default_value_t)]
    pub grain: Grain,
    /// Frames on their way over one link in one direction, at most: states beyond are counted and left
    #[arg(long, default_value_t = 12)]
    pub in_flight: usize,
    /// Steps from the beginning, at most
    #[arg(long)]
    pub max_depth: Option<usize>,
    /// Stop when so many states were looked at
    #[arg(long)]
    pub max_states: Option<usize>,
    /// Stop after so many seconds
    #[arg(long, value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Run the fair schedule that must lead to an ideal ring from one state in so many
    #[arg(long, default_value_t = 1)]
    pub converge_every: u64,
    /// Threads; as many as there are cores when not given. With one, a counterexample is of the fewest steps
    #[arg(long)]
    pub threads: Option<usize>,
    /// Commit this known bug, to see it found
    #[cfg(feature = "known-bugs")]
    #[arg(long)]
    #[serde(skip)]
    pub bug: Option<KnownBug>,
}

impl Default for ModelArgs {
    fn default() -> Self {
        ModelArgs {
            nodes: 3,
            joins: 1,
            fails: 0,
            breaks: 0,
            checks: 0,
            stabilizations: None,
            successors: 2,
            grain: Grain::default(),
            in_flight: 12,
            max_depth: None,
            max_states: None,
            timeout: None,
            converge_every: 1,
            threads: None,
            #[cfg(feature = "known-bugs")]
            bug: None,
        }
    }
}

impl ModelArgs {
    /// Says what is wrong with the options before anything runs.
    pub(crate) fn check(&self) -> Result<()> {
        if self.nodes == 0 || self.nodes + self.joins > MOST_NODES {
            bail!(
                "a model has 1 to {MOST_NODES} nodes: --nodes {} and --joins {} are out of it",
                self.nodes,
                self.joins
            );
        }
        if !(2..=4).contains(&self.successors) {
            bail!("--successors {} is out of 2 to 4", self.successors);
        }
        let fails = usize::from(self.fails);
        if fails >= self.successors {
            bail!(
                "--fails {fails} could take all {} successors of a node at once, which no ring survives: take fewer, or raise \
                 --successors",
                self.successors
            );
        }
        if fails > 0 && self.nodes <= self.successors {
            bail!(
                "with --fails the ring needs a full successor list from the start: --nodes {} or more, or fewer --successors",
                self.successors + 1
            );
        }
        if self.in_flight == 0 || self.converge_every == 0 || self.threads == Some(0) {
            bail!("--in-flight, --converge-every and --threads are at least 1");
        }
        Ok(())
    }

    /// The settings of every node: no fingers, for they draw lots, and no heartbeat, for the links notice by themselves.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::with_links(Config::MIN_LINKS);
        config.successors = self.successors;
        config.fingers = 0;
        config.heartbeat_every = Duration::ZERO;
        #[cfg(feature = "known-bugs")]
        {
            config.known_bug = self.bug;
        }
        config
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    Ok(Duration::from_secs(seconds))
}
