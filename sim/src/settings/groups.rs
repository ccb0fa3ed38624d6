//! Settings that many scenarios share: of the protocol and of the network.

use std::path::PathBuf;
use std::time::Duration;

use atoll::proto::Config;

use super::Wrong;
use super::values::{self, Latency, Notice};
use crate::engine;
use crate::machine;

/// Memory of one simulated node, all in all, in bytes: what a run is refused by when the machine has too little.
pub const NODE_BYTES: u64 = 8 * 1024;

/// Rings of so many nodes and more have relaxed periods, where nothing else is said: what nodes say to keep the ring up would take
/// nearly all of a run otherwise.
const RELAXED_FROM: usize = 10_000;

/// With relaxed periods, the other ends of a dead node's links notice by themselves after so long, where nothing else is said:
/// nobody sends heartbeats.
const RELAXED_NOTICE: Duration = Duration::from_secs(5);

/// How often nodes do what they do again and again, and how long they wait for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Periods {
    /// As nodes that ship do.
    Shipped,
    /// Rarely, without heartbeats, and with patience: large rings are built in minutes of real time.
    Relaxed,
}

/// What a scenario without nodes that run has.
#[derive(Clone, Debug, clap::Args)]
pub struct SeedAndFile {
    /// Take the settings that are not given as flags from this scenario file (TOML).
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What chance follows from.
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    pub seed: u64,
}

/// What every scenario of rings has. Flatten it last: its headings go on for what follows.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Take the settings that are not given as flags from this scenario file (TOML).
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What chance follows from.
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    pub seed: u64,
    /// Virtual time between a correct ring and the measurement, in which nodes choose their fingers.
    #[arg(long, default_value = "60s", value_name = "WAIT", value_parser = values::wait)]
    pub settle: Duration,
    /// Virtual time within which a ring must be correct.
    #[arg(long, default_value = "10min", value_name = "WAIT", value_parser = values::wait)]
    pub limit: Duration,
    /// How the nodes are set.
    #[command(flatten)]
    pub protocol: Protocol,
    /// What the network does.
    #[command(flatten)]
    pub network: Network,
}

/// How the nodes are set: all waits are virtual time. What stands in brackets holds where no flag says otherwise.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Protocol")]
pub struct Protocol {
    /// The share of nodes with a larger budget of links.
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    pub rich_share: f64,
    /// The budget of links of those nodes.
    #[arg(long, default_value = "128", value_name = "LINKS", value_parser = values::count)]
    pub rich_links: usize,
    /// Entries in each successor list.
    #[arg(long, default_value = "8", value_name = "NODES", value_parser = values::count)]
    pub successors: usize,
    /// Own fingers of a node at most; without this, three eighths of its links.
    #[arg(long, value_name = "LINKS", value_parser = values::whole)]
    pub fingers: Option<usize>,
    /// How often nodes do what they do again and again; without this, shipped in rings of less than 10,000 nodes, else relaxed.
    /// Each of the flags below goes before it.
    #[arg(long, value_enum, value_name = "PERIODS")]
    pub periods: Option<Periods>,
    /// How often a node compares its view of the ring with its successor's (1s; relaxed 30s).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub stabilize_every: Option<Duration>,
    /// How often a node checks by a lookup that it has its place in the one ring (5s; relaxed 60s).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub check_every: Option<Duration>,
    /// How long changes of the neighbours are gathered before they are told (50ms; relaxed 10s).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub gossip_delay: Option<Duration>,
    /// A link that was silent for so long is asked for a sign of life; 0 turns it off (1s; relaxed 0).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub heartbeat_every: Option<Duration>,
    /// A link that was silent for so long is avoided while there is another way (2500ms).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub suspect_after: Option<Duration>,
    /// A link that was silent for so long is dead (5s).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub dead_after: Option<Duration>,
    /// How long a peer may take to answer a step of setting up a link (2s; relaxed 10s).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub request_timeout: Option<Duration>,
    /// How long a link may take to open once both ends have described themselves (5s; relaxed 20s).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub connect_timeout: Option<Duration>,
    /// How long one try of a lookup may take (1s; relaxed 5s).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub lookup_timeout: Option<Duration>,
    /// Tries of a lookup, each by another first hop.
    #[arg(long, default_value = "4", value_name = "TRIES", value_parser = clap::value_parser!(u8).range(1..))]
    pub lookup_tries: u8,
    /// How long a joining node waits before it asks again for a member to join through (500ms; relaxed 8s).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub join_retry: Option<Duration>,
    /// How long a peer that could not be linked is left alone (300ms).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub failed_for: Option<Duration>,
    /// How often an empty row of the finger table is tried again (2s; relaxed 10s).
    #[arg(long, value_name = "WAIT", value_parser = values::wait)]
    pub finger_every: Option<Duration>,
}

/// What the network does to frames, links and nodes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub struct Network {
    /// How long a frame travels, one way: 50ms for a constant, 20ms..80ms for a range, or king for hosts on the internet with
    /// a median round trip of 156 ms.
    #[arg(long, default_value = "5ms..30ms", value_name = "LATENCY")]
    pub latency: Latency,
    /// The share of frames and signalling messages that is lost.
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    pub loss: f64,
    /// How long a link takes to open once both ends have described themselves.
    #[arg(long, default_value = "30ms", value_name = "WAIT", value_parser = values::wait)]
    pub link_setup: Duration,
    /// The share of links that do not open though both ends agreed.
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    pub failing_links: f64,
    /// How long after a node was killed the other ends of its links notice, without asking: a wait, or never, when only
    /// heartbeats find out [never; in fail 0s; with relaxed periods 5s].
    #[arg(long, value_name = "WAIT")]
    pub links_notice: Option<Notice>,
    /// The share of nodes that are slow.
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    pub slow_nodes: f64,
    /// How much longer a frame takes to reach a slow node.
    #[arg(long, default_value = "500ms", value_name = "WAIT", value_parser = values::wait)]
    pub slow_by: Duration,
}

impl Common {
    /// How often nodes of a ring of this size do what they do again and again.
    pub fn periods(&self, nodes: usize) -> Periods {
        self.protocol.periods(nodes)
    }

    /// The network of these settings around a ring of this size.
    pub fn network(&self, nodes: usize) -> engine::Network {
        let notice = match self.periods(nodes) {
            Periods::Shipped => None,
            Periods::Relaxed => Some(RELAXED_NOTICE),
        };
        self.network.network(notice)
    }
}

impl Protocol {
    /// The settings of a node with this budget of links, in a ring of so many nodes.
    pub fn config(&self, nodes: usize, links: usize) -> Config {
        let mut config = Config::with_links(links);
        config.successors = self.successors;
        config.fingers = self.fingers.unwrap_or(config.fingers);
        if self.periods(nodes) == Periods::Relaxed {
            relax(&mut config);
        }
        self.set_waits(&mut config);
        config
    }

    /// Chord as in the paper, with the waits that were chosen.
    pub fn classic(&self) -> Config {
        let mut config = Config::classic();
        self.set_waits(&mut config);
        config
    }

    fn set_waits(&self, config: &mut Config) {
        let set = |wait: &mut Duration, chosen: Option<Duration>| *wait = chosen.unwrap_or(*wait);
        set(&mut config.stabilize_every, self.stabilize_every);
        set(&mut config.check_every, self.check_every);
        set(&mut config.gossip_delay, self.gossip_delay);
        set(&mut config.heartbeat_every, self.heartbeat_every);
        set(&mut config.suspect_after, self.suspect_after);
        set(&mut config.dead_after, self.dead_after);
        set(&mut config.request_timeout, self.request_timeout);
        set(&mut config.connect_timeout, self.connect_timeout);
        set(&mut config.lookup_timeout, self.lookup_timeout);
        config.lookup_tries = self.lookup_tries;
        set(&mut config.join_retry, self.join_retry);
        set(&mut config.failed_for, self.failed_for);
        set(&mut config.finger_every, self.finger_every);
    }

    fn periods(&self, nodes: usize) -> Periods {
        let fitting = if nodes < RELAXED_FROM { Periods::Shipped } else { Periods::Relaxed };
        self.periods.unwrap_or(fitting)
    }

    /// Checks what these settings and the sizes of the rings say together.
    ///
    /// # Errors
    ///
    /// [`Wrong`], with the first thing that does not go together.
    pub fn check(&self, nodes: &[usize], links: &[usize]) -> Result<(), Wrong> {
        let fewest = nodes.iter().copied().min().unwrap_or(0);
        let may_use = |setting, links: usize| {
            if links < Config::MIN_LINKS {
                let least = Config::MIN_LINKS;
                return Err(Wrong::new(setting, format!("a node needs at least {least} links: write {least} or more")));
            }
            if links > fewest {
                let why = format!("{links} links are more than {fewest} nodes: write at most {fewest}, or more nodes");
                return Err(Wrong::new(setting, why));
            }
            Ok(())
        };
        links.iter().try_for_each(|&links| may_use("links", links))?;
        if self.rich_share > 0.0 {
            may_use("rich-links", self.rich_links)?;
        }
        let most = atoll::wire::MAX_SUCCESSORS;
        if !(2..=most).contains(&self.successors) {
            return Err(Wrong::new("successors", format!("a successor list has 2 to {most} entries")));
        }
        let config = self.config(fewest, Config::MIN_LINKS);
        if config.heartbeat_every > config.dead_after {
            let why = "links would be dead before they are asked for a sign of life: write less than dead-after";
            return Err(Wrong::new("heartbeat-every", why));
        }
        if config.suspect_after > config.dead_after {
            return Err(Wrong::new(
                "suspect-after",
                "links would be dead before they are suspect: write less than dead-after",
            ));
        }
        Ok(())
    }
}

/// Sets the waits for large rings: links must notice by themselves that their other end is dead.
pub fn relax(config: &mut Config) {
    let s = Duration::from_secs;
    config.stabilize_every = s(30);
    config.check_every = s(60);
    config.gossip_delay = s(10);
    config.heartbeat_every = Duration::ZERO;
    config.request_timeout = s(10);
    config.connect_timeout = s(20);
    config.lookup_timeout = s(5);
    config.join_retry = s(8);
    config.finger_every = s(10);
}

impl Network {
    /// The network of these settings, and when the links of a dead node notice it where nothing is said about that.
    fn network(&self, notice: Option<Duration>) -> engine::Network {
        engine::Network {
            latency: self.latency.into(),
            loss: self.loss,
            link_setup: self.link_setup,
            failing_links: self.failing_links,
            slow_nodes: self.slow_nodes,
            slowness: self.slow_by,
            links_notice: self.links_notice.map_or(notice, |chosen| chosen.0),
            ..engine::Network::default()
        }
    }
}

impl From<Latency> for engine::Latency {
    fn from(latency: Latency) -> Self {
        match latency {
            Latency::Constant(latency) => engine::Latency::Constant(latency),
            Latency::Uniform(least, most) => engine::Latency::Uniform(least, most),
            Latency::King => engine::Latency::King,
        }
    }
}

/// Refuses what would not fit into the machine's memory: `nodes` are those that live at one time.
///
/// # Errors
///
/// [`Wrong`], naming the setting `nodes`.
pub fn check_memory(nodes: usize) -> Result<(), Wrong> {
    match machine::available_memory() {
        Some(available) => fits(nodes, available),
        None => Ok(()),
    }
}

pub(super) fn fits(nodes: usize, available: u64) -> Result<(), Wrong> {
    let needed = (nodes as u64).saturating_mul(NODE_BYTES);
    if needed <= available {
        return Ok(());
    }
    let most = available / NODE_BYTES;
    let (needed, available) = (gigabytes(needed), gigabytes(available));
    let why = format!(
        "{nodes} nodes need about {needed} of memory, and {available} are free: write at most {most}, or fewer --jobs"
    );
    Err(Wrong::new("nodes", why))
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
