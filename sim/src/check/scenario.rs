//! What one run does: how many nodes begin, what the network is like, and which faults come when. Plain data, so that it can be
//! printed, made smaller, and run again from a file.
//!
//! All times are milliseconds of virtual time since the beginning. A node is named by a point on the ring: it is the first one that
//! runs at or after it. So a scenario still means something when a part of it is dropped.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use atoll::id::Id;
use atoll::proto::Config;
use atoll::wire::MAX_SUCCESSORS;
use serde::{Deserialize, Serialize};

use crate::engine::{Latency, Network};

/// Nodes at most, those that join later included: a check looks at each of them, again and again.
const MAX_NODES: usize = 10_000;

/// The longest time of faults: a day.
const MAX_TIME: u64 = 24 * 3600 * 1000;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// All chance in the run comes from it: the ids of the first nodes, latencies, what is lost.
    pub seed: u64,
    /// Nodes that begin.
    pub nodes: usize,
    /// They begin one after the other within this time; 0: all at once.
    #[serde(default)]
    pub start_over: u64,
    /// Links that each holds at most.
    pub links: usize,
    /// Entries in each successor list.
    pub successors: usize,
    /// When the faults stop.
    pub faults_for: u64,
    /// What the network is like until then.
    #[serde(default)]
    pub network: Weather,
    /// What goes wrong until then, in any order.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

/// What the network is like while faults are allowed. Frames on one link never overtake each other: the protocol assumes an ordered
/// channel, and the data channels that carry it are ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Weather {
    /// How long a frame travels; also after the faults have stopped.
    pub latency: Travel,
    /// The share of frames and signalling messages that is lost.
    pub loss: f64,
    /// How long a link takes to open.
    pub link_setup: u64,
    /// The share of links that do not open.
    pub failing_links: f64,
    /// How soon the links of a killed node are closed at the other ends; without it, only heartbeats find out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links_notice: Option<u64>,
    /// How much longer a frame takes to reach a slow node.
    pub slowness: u64,
}

/// How long a frame travels, one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Travel {
    /// Always as long.
    Constant(u64),
    /// Between these two.
    Uniform(u64, u64),
    /// As between hosts on the internet, see [`Latency::King`].
    King,
}

/// Something that goes wrong, or that somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", deny_unknown_fields, rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Fault {
    /// A node begins to join.
    Join {
        /// When.
        at: u64,
        /// Its id.
        id: Id,
    },
    /// Processes are killed: so many that follow each other on the ring. One is spared when its death would take the last living
    /// successor in another's list, or the last principal: the protocol assumes that this does not happen.
    Kill {
        /// When.
        at: u64,
        /// The first.
        node: Id,
        /// How many.
        count: usize,
    },
    /// A node leaves properly, under the same assumption.
    Leave {
        /// When.
        at: u64,
        /// Which.
        node: Id,
    },
    /// The network falls into two, the signalling server in the larger one, and comes together again. Both parts meet the
    /// assumption about killing, as if the other part had been killed; if no such parts are found, nothing happens.
    Partition {
        /// When.
        at: u64,
        /// For how long.
        lasts: u64,
        /// The share of nodes that is cut off.
        share: f64,
        /// Decides which.
        salt: u32,
    },
    /// The signalling server is down.
    ServerDown {
        /// When.
        at: u64,
        /// For how long.
        lasts: u64,
    },
    /// Frames are lost, besides those that the network loses anyway.
    Loss {
        /// When.
        at: u64,
        /// For how long.
        lasts: u64,
        /// The share that is lost.
        share: f64,
    },
    /// A node is slow.
    Slow {
        /// When.
        at: u64,
        /// For how long.
        lasts: u64,
        /// Which.
        node: Id,
    },
    /// Nodes publish on a channel, which they join for it.
    Messages {
        /// When.
        at: u64,
        /// How many.
        count: usize,
        /// Decides who.
        salt: u32,
    },
    /// Nodes write values and entries into the store.
    Writes {
        /// When.
        at: u64,
        /// How many.
        count: usize,
        /// Decides who, and what.
        salt: u32,
    },
    /// Nodes look up keys.
    Lookups {
        /// When.
        at: u64,
        /// How many.
        count: usize,
        /// Decides who, and which keys.
        salt: u32,
    },
}

impl Default for Weather {
    fn default() -> Self {
        Weather {
            latency: Travel::Uniform(5, 30),
            loss: 0.0,
            link_setup: 30,
            failing_links: 0.0,
            links_notice: None,
            slowness: 0,
        }
    }
}

impl Weather {
    /// The network while faults are allowed.
    pub fn network(&self) -> Network {
        let ms = Duration::from_millis;
        let latency = match self.latency {
            Travel::Constant(latency) => Latency::Constant(ms(latency)),
            Travel::Uniform(least, most) => Latency::Uniform(ms(least), ms(most)),
            Travel::King => Latency::King,
        };
        Network {
            latency,
            loss: self.loss,
            reorder: false,
            link_setup: ms(self.link_setup),
            failing_links: self.failing_links,
            links_notice: self.links_notice.map(ms),
            slow_nodes: 0.0,
            slowness: ms(self.slowness),
        }
    }
}

impl Fault {
    /// When it comes.
    pub fn at(&self) -> u64 {
        match *self {
            Fault::Join { at, .. }
            | Fault::Kill { at, .. }
            | Fault::Leave { at, .. }
            | Fault::Partition { at, .. }
            | Fault::ServerDown { at, .. }
            | Fault::Loss { at, .. }
            | Fault::Slow { at, .. }
            | Fault::Messages { at, .. }
            | Fault::Writes { at, .. }
            | Fault::Lookups { at, .. } => at,
        }
    }

    /// The same, at another time.
    #[must_use]
    pub fn moved(mut self, to: u64) -> Self {
        match &mut self {
            Fault::Join { at, .. }
            | Fault::Kill { at, .. }
            | Fault::Leave { at, .. }
            | Fault::Partition { at, .. }
            | Fault::ServerDown { at, .. }
            | Fault::Loss { at, .. }
            | Fault::Slow { at, .. }
            | Fault::Messages { at, .. }
            | Fault::Writes { at, .. }
            | Fault::Lookups { at, .. } => *at = to,
        }
        self
    }
}

impl Scenario {
    /// The scenario in a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or something in it is wrong: the message names the line, or the mend.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no scenario of `sim check`", path.display()))
    }

    /// The scenario that a text in TOML describes.
    ///
    /// # Errors
    ///
    /// When something in it is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let scenario: Scenario = toml::from_str(text)?;
        scenario.validate()?;
        Ok(scenario)
    }

    /// The text that [`Scenario::parse`] takes.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a scenario is made of tables of numbers and words")
    }

    /// What every node is told; the rest is as in `base`.
    pub fn config(&self, base: &Config) -> Config {
        let mut config = base.clone();
        (config.max_links, config.successors) = (self.links, self.successors);
        config.fingers = Config::with_links(self.links).fingers;
        config
    }

    /// Whether living nodes cannot be taken for dead.
    pub fn is_trusting(&self) -> bool {
        let disturbs =
            |fault: &Fault| matches!(fault, Fault::Partition { .. } | Fault::Loss { .. } | Fault::Slow { .. });
        self.network.loss == 0.0 && self.network.failing_links == 0.0 && !self.faults.iter().any(disturbs)
    }

    fn validate(&self) -> Result<()> {
        let joins = self.faults.iter().filter(|fault| matches!(fault, Fault::Join { .. })).count();
        ensure!((1..=MAX_NODES).contains(&(self.nodes + joins)), "`nodes`, with those that join, are 1 to {MAX_NODES}");
        ensure!(self.links >= Config::MIN_LINKS, "`links` are at least {}", Config::MIN_LINKS);
        ensure!((2..=MAX_SUCCESSORS).contains(&self.successors), "`successors` are 2 to {MAX_SUCCESSORS}");
        ensure!(self.faults_for <= MAX_TIME, "`faults-for` is {MAX_TIME} ms at most");
        ensure!(self.start_over <= MAX_TIME, "`start-over` is {MAX_TIME} ms at most");
        let share = |name: &str, share: f64| -> Result<()> {
            ensure!((0.0..=1.0).contains(&share), "`{name}` is from 0 to 1");
            Ok(())
        };
        share("loss", self.network.loss)?;
        share("failing-links", self.network.failing_links)?;
        if let Travel::Uniform(least, most) = self.network.latency
            && least > most
        {
            bail!("`latency` goes from the least to the most: {most} is less than {least}");
        }
        for fault in &self.faults {
            ensure!(fault.at() <= self.faults_for, "a fault comes at {} ms, after `faults-for`", fault.at());
            if let Fault::Partition { share: part, .. } | Fault::Loss { share: part, .. } = *fault {
                share("share", part)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_the_same_after_being_written_and_read() {
        for seed in 0..50 {
            let scenario = Scenario::random(seed);
            assert_eq!(Scenario::parse(&scenario.to_toml()).unwrap(), scenario, "{}", scenario.to_toml());
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        let good = "seed = 1\nnodes = 3\nlinks = 16\nsuccessors = 8\nfaults-for = 1000\n";
        let error = |text: &str| format!("{:#}", Scenario::parse(text).unwrap_err());
        assert!(Scenario::parse(good).is_ok());
        assert!(error(&good.replace("links = 16", "links = 2")).contains("at least 6"));
        assert!(error(&good.replace("nodes = 3", "nodes = 0")).contains("1 to 10000"));
        assert!(error(&format!("{good}colour = 1")).contains("line 6"));
        assert!(
            error(&format!("{good}[[faults]]\nwhat = \"loss\"\nat = 0\nlasts = 1\nshare = 2.0")).contains("0 to 1")
        );
        let late = "[[faults]]\nwhat = \"server-down\"\nat = 2000\nlasts = 1";
        assert!(error(&format!("{good}{late}")).contains("after `faults-for`"));
    }
}
