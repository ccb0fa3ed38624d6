//! Settings that many scenarios share: of the protocol and of the network.

use std::path::PathBuf;
use std::time::Duration;

use atoll::proto::Config;

use super::Wrong;
use super::values::{self, Latency, Notice};
use crate::engine;

/// Memory of one simulated node, all in all, in bytes: what a run is refused by when the machine has too little.
pub const NODE_BYTES: u64 = 8 * 1024;

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

/// How the nodes are set: all waits are virtual time.
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
    /// How often a node compares its view of the ring with its successor's.
    #[arg(long, default_value = "1s", value_name = "WAIT", value_parser = values::wait)]
    pub stabilize_every: Duration,
    /// How often a node checks by a lookup that it has its place in the one ring.
    #[arg(long, default_value = "5s", value_name = "WAIT", value_parser = values::wait)]
    pub check_every: Duration,
    /// How long changes of the neighbours are gathered before they are told.
    #[arg(long, default_value = "50ms", value_name = "WAIT", value_parser = values::wait)]
    pub gossip_delay: Duration,
    /// A link that was silent for so long is asked for a sign of life; 0 turns it off.
    #[arg(long, default_value = "1s", value_name = "WAIT", value_parser = values::wait)]
    pub heartbeat_every: Duration,
    /// A link that was silent for so long is avoided while there is another way.
    #[arg(long, default_value = "2500ms", value_name = "WAIT", value_parser = values::wait)]
    pub suspect_after: Duration,
    /// A link that was silent for so long is dead.
    #[arg(long, default_value = "5s", value_name = "WAIT", value_parser = values::wait)]
    pub dead_after: Duration,
    /// How long a peer may take to answer a step of setting up a link.
    #[arg(long, default_value = "2s", value_name = "WAIT", value_parser = values::wait)]
    pub request_timeout: Duration,
    /// How long a link may take to open once both ends have described themselves.
    #[arg(long, default_value = "5s", value_name = "WAIT", value_parser = values::wait)]
    pub connect_timeout: Duration,
    /// How long one try of a lookup may take.
    #[arg(long, default_value = "1s", value_name = "WAIT", value_parser = values::wait)]
    pub lookup_timeout: Duration,
    /// Tries of a lookup, each by another first hop.
    #[arg(long, default_value = "4", value_name = "TRIES", value_parser = clap::value_parser!(u8).range(1..))]
    pub lookup_tries: u8,
    /// How long a joining node waits before it asks again for a member to join through.
    #[arg(long, default_value = "500ms", value_name = "WAIT", value_parser = values::wait)]
    pub join_retry: Duration,
    /// How long a peer that could not be linked is left alone.
    #[arg(long, default_value = "300ms", value_name = "WAIT", value_parser = values::wait)]
    pub failed_for: Duration,
    /// How often an empty row of the finger table is tried again.
    #[arg(long, default_value = "2s", value_name = "WAIT", value_parser = values::wait)]
    pub finger_every: Duration,
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
    /// heartbeats find out.
    #[arg(long, default_value = "never", value_name = "WAIT")]
    pub links_notice: Notice,
    /// The share of nodes that are slow.
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    pub slow_nodes: f64,
    /// How much longer a frame takes to reach a slow node.
    #[arg(long, default_value = "500ms", value_name = "WAIT", value_parser = values::wait)]
    pub slow_by: Duration,
}

impl Protocol {
    /// The settings of a node with this budget of links.
    pub fn config(&self, links: usize) -> Config {
        let mut config = Config::with_links(links);
        config.successors = self.successors;
        config.fingers = self.fingers.unwrap_or(config.fingers);
        config.stabilize_every = self.stabilize_every;
        config.check_every = self.check_every;
        config.gossip_delay = self.gossip_delay;
        config.heartbeat_every = self.heartbeat_every;
        config.suspect_after = self.suspect_after;
        config.dead_after = self.dead_after;
        config.request_timeout = self.request_timeout;
        config.connect_timeout = self.connect_timeout;
        config.lookup_timeout = self.lookup_timeout;
        config.lookup_tries = self.lookup_tries;
        config.join_retry = self.join_retry;
        config.failed_for = self.failed_for;
        config.finger_every = self.finger_every;
        config
    }

    /// How long a lookup may take with all its tries.
    pub fn lookup_patience(&self) -> Duration {
        self.lookup_timeout * u32::from(self.lookup_tries)
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
        if self.heartbeat_every > self.dead_after {
            let why = "links would be dead before they are asked for a sign of life: write less than dead-after";
            return Err(Wrong::new("heartbeat-every", why));
        }
        if self.suspect_after > self.dead_after {
            return Err(Wrong::new(
                "suspect-after",
                "links would be dead before they are suspect: write less than dead-after",
            ));
        }
        Ok(())
    }
}

impl Network {
    /// The network of these settings.
    pub fn network(&self) -> engine::Network {
        engine::Network {
            latency: self.latency.into(),
            loss: self.loss,
            link_setup: self.link_setup,
            failing_links: self.failing_links,
            slow_nodes: self.slow_nodes,
            slowness: self.slow_by,
            links_notice: self.links_notice.0,
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
    match available_memory() {
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

/// What the machine can give without swapping, in bytes. Where that is not known, nothing is refused.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
