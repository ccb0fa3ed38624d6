//! `node-cli up`: a signalling server and a ring of real nodes in this process, the newcomer's first command.

mod picture;
mod screen;

use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Context;
use atoll::node::Claim;
use atoll::proto::Phase;
use atoll::{Id, Identity, Node};
use atoll_signalling::{DEFAULT_PORT, Settings};
use serde_json::json;
use tokio::task::JoinSet;
use url::Url;

use self::picture::{Dot, Picture};
use self::screen::Screen;
use crate::args::{NodeArgs, UpArgs};
use crate::events::{Happening, Teller};
use crate::join::{self, DEFAULT_SIGNALLING};
use crate::listen::Door;
use crate::offer::{self, Answer};
use crate::output::Output;
use crate::stop;
use crate::values::MAX_NODES;

/// How often the ring is looked at, and drawn.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long the nodes may take to come onto the ring, all of them.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Nodes up to which each listens on the machine's other addresses, too: Firefox makes no link to one of loopback. It doubles the sockets,
/// of which some systems allow a program no more than 256.
const MAX_REACHABLE: u16 = 16;

/// Happenings that the live view shows, the latest.
const SHOWN: usize = 4;

pub(crate) async fn run(args: &UpArgs, node_args: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let stop = stop::asked()?;
    tokio::pin!(stop);
    let identity = match node_args.key {
        Some(_) => Some(node_args.load_identity().await?),
        None => None,
    };
    let door = open_door(args).await?;
    if !node_args.signalling.is_empty() {
        output.note("up uses its own signalling server; that of --signalling is not used");
    }
    let ring = tokio::select! {
        ring = Ring::start(args, node_args, identity, &door) => ring,
        () = &mut stop => {
            door.close().await;
            return Ok(());
        }
    };
    let result = match ring {
        Ok(mut ring) => {
            let live = !output.is_json() && std::io::stdout().is_terminal();
            let result = tokio::select! {
                result = ring.show(live, output) => result,
                () = &mut stop => Ok(()),
            };
            let nodes = ring.nodes.len();
            ring.leave().await;
            output
                .line(format_args!("{nodes} nodes have left the ring"), &json!({ "event": "left", "nodes": nodes }))
                .and(result)
        }
        Err(error) => Err(error),
    };
    door.close().await;
    result
}

async fn open_door(args: &UpArgs) -> anyhow::Result<Door> {
    let mut settings = Settings { listen: args.door, dht: true, ..Settings::default() };
    // All nodes of this process come from one address, and visitors of this machine from the same.
    settings.limits.connections_per_address = 4 * MAX_NODES as usize;
    Door::open(settings).await.map_err(|error| {
        let free = if args.door.port() == DEFAULT_PORT { DEFAULT_PORT + 1 } else { DEFAULT_PORT };
        anyhow::anyhow!("{error:#}, for example with --door {free}")
    })
}

/// The nodes of this process, and what is known of them.
struct Ring {
    nodes: Vec<Node>,
    happenings: tokio::sync::mpsc::Receiver<Happening>,
    url: String,
    /// The page for browsers, if the server has it.
    page: Option<String>,
    network: String,
    /// What to add to a command that is to find this ring.
    words: String,
    begun: Instant,
    /// How long it took until every node saw its true neighbours.
    whole: Option<Duration>,
    /// The name that the first node is to have, and has from when it is one ring.
    name: Option<String>,
    claim: Option<Claim>,
}

impl Ring {
    /// Starts all nodes at once, and gives them without waiting until they have joined.
    async fn start(
        args: &UpArgs,
        node_args: &NodeArgs,
        mut first: Option<Identity>,
        door: &Door,
    ) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut node_args = node_args.clone();
        if node_args.bind.is_empty() && args.door.ip().is_loopback() {
            // Nobody from elsewhere hears of this ring.
            node_args.bind.push(Ipv4Addr::LOCALHOST.into());
            if args.nodes <= MAX_REACHABLE {
                node_args.bind.push(Ipv4Addr::UNSPECIFIED.into());
            }
        }
        let (teller, happenings) = Teller::new();
        let mut nodes = Vec::new();
        for number in 0..args.nodes {
            let identity = first.take().unwrap_or_else(Identity::generate);
            let mut builder = node_args.builder(std::slice::from_ref(&door.url), identity, None)?;
            if let Some(store) = &args.store {
                builder = builder.store(store.join(number.to_string()));
            }
            let node = builder.spawn().map_err(join::started)?;
            teller.follow(&node);
            offer::all(&node, Answer::Echo, &teller)?;
            nodes.push(node);
        }
        let url = door.url.as_str().trim_end_matches('/').to_owned();
        let page = door.page.as_ref().map(|page| page_of(page, node_args.network.as_deref()));
        let network = node_args.network.clone().unwrap_or_else(|| "atoll".to_owned());
        let words = node_args.words(&[&url]);
        let name = args.name.clone();
        Ok(Ring { nodes, happenings, url, page, network, words, begun, whole: None, name, claim: None })
    }

    /// Shows the ring until something fails.
    async fn show(&mut self, live: bool, output: Output) -> anyhow::Result<()> {
        if live {
            return self.draw().await;
        }
        output.line(
            format_args!("signalling server {}", self.url),
            &json!({
                "event": "signalling", "url": self.url, "page": self.page, "network": self.network, "nodes": self.nodes.len(),
            }),
        )?;
        output.note(format_args!("in a browser: {}", self.browser()));
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                Some(happening) = self.happenings.recv() => {
                    if self.is_news(&happening) {
                        output.line(&happening, &happening)?;
                    }
                }
                _ = looks.tick(), if self.whole.is_none() => {
                    self.look().await?;
                    if let Some(time) = self.whole {
                        self.tell_whole(time, output)?;
                    }
                }
            }
        }
    }

    fn tell_whole(&self, time: Duration, output: Output) -> anyhow::Result<()> {
        let ids: Vec<Id> = self.nodes.iter().map(Node::id).collect();
        let (seconds, commands) = (time.as_secs_f64(), self.commands());
        output.line(
            format_args!("one ring of {} nodes after {seconds:.1} s\n{}", ids.len(), commands.join("\n")),
            &json!({ "event": "ring", "nodes": ids, "seconds": seconds, "commands": commands }),
        )
    }

    /// Draws the ring in place, again and again.
    async fn draw(&mut self) -> anyhow::Result<()> {
        let mut screen = Screen::open()?;
        let mut latest = std::collections::VecDeque::new();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            while let Ok(happening) = self.happenings.try_recv() {
                if self.is_news(&happening) && !matches!(happening, Happening::Joined { .. }) {
                    latest.push_back(happening.to_string());
                }
            }
            latest.drain(..latest.len().saturating_sub(SHOWN));
            let dots = self.look().await?;
            let picture = Picture {
                title: format!("Atoll   {}   network {}", self.url, self.network),
                state: self.state(&dots),
                dots,
                commands: self.commands(),
                browser: self.browser(),
                latest: latest.iter().cloned().collect(),
            };
            screen.draw(&picture)?;
        }
    }

    fn state(&self, dots: &[Dot]) -> String {
        let joined = dots.iter().filter(|dot| dot.joined).count();
        let whole = match self.whole {
            Some(time) => format!("one ring after {:.1} s", time.as_secs_f64()),
            None => format!("{:.1} s", self.begun.elapsed().as_secs_f64()),
        };
        format!("{joined} of {} nodes joined   {whole}", dots.len())
    }

    /// Where a tab becomes one more node.
    fn browser(&self) -> String {
        self.page.clone().unwrap_or_else(|| "`cargo xtask web` builds the page for it; then start this anew".to_owned())
    }

    /// What to type next, in another terminal.
    fn commands(&self) -> Vec<String> {
        let (program, words) = (program(), &self.words);
        let Some(first) = self.nodes.first() else { return Vec::new() };
        let peer = self.claim.as_ref().map_or_else(|| first.id().to_string(), |claim| format!("@{}", claim.name()));
        vec![
            format!("{program} dial {peer}{words}"),
            format!("{program} trace {peer}{words}"),
            format!("{program} status{words}"),
        ]
    }

    /// What all nodes see, in the order of the ring; notes when it is right for the first time.
    async fn look(&mut self) -> anyhow::Result<Vec<Dot>> {
        let mut seen = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            seen.push(node.status().await.context("a node stopped unexpectedly")?);
        }
        seen.sort_unstable_by_key(|status| status.id);
        let alone = seen.len() == 1;
        let is_right = |at: usize| {
            let (before, after) = (seen[(at + seen.len() - 1) % seen.len()].id, seen[(at + 1) % seen.len()].id);
            let status = &seen[at];
            status.phase == Phase::Member
                && (alone
                    || (status.predecessors.first() == Some(&before) && status.successors.first() == Some(&after)))
        };
        if self.whole.is_none() && (0..seen.len()).all(is_right) {
            self.whole = Some(self.begun.elapsed());
            if let (Some(name), Some(first)) = (&self.name, self.nodes.first()) {
                let claim = first.claim(name).await;
                self.claim = Some(claim.with_context(|| format!("the name @{name} is not to be had"))?);
            }
        } else if self.begun.elapsed() > START_TIMEOUT && seen.iter().all(|status| status.phase == Phase::Joining) {
            anyhow::bail!("no node found a place on the ring within {} s", START_TIMEOUT.as_secs());
        }
        let dot =
            |at: usize| Dot { id: seen[at].id, links: seen[at].peers.len(), joined: seen[at].phase == Phase::Member };
        Ok((0..seen.len()).map(dot).collect())
    }

    /// Whether it is worth a line: the signalling server is the process's own.
    fn is_news(&self, happening: &Happening) -> bool {
        !matches!(happening, Happening::SignallingConnected { .. })
    }

    async fn leave(&self) {
        let leaving: JoinSet<()> = self.nodes.iter().cloned().map(|node| async move { node.close().await }).collect();
        leaving.join_all().await;
    }
}

/// The page for a network: it asks for another than the usual one behind the `#`.
fn page_of(page: &Url, network: Option<&str>) -> String {
    let mut page = page.clone();
    page.set_fragment(network.map(|network| format!("network={network}")).as_deref());
    page.into()
}

/// How this program was called, so that what is shown can be typed.
pub(crate) fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if called.contains('/') && called.chars().all(plain) { called } else { "node-cli".to_owned() }
}

impl NodeArgs {
    /// The words that lead another command to the same ring: none where the defaults do.
    pub(crate) fn words(&self, signalling: &[&str]) -> String {
        let mut words = String::new();
        for url in signalling.iter().map(|url| url.trim_end_matches('/')).filter(|url| *url != DEFAULT_SIGNALLING) {
            words.push_str(&format!(" --signalling {url}"));
        }
        if let Some(network) = &self.network {
            words.push_str(&format!(" --network {network}"));
        }
        if let Some(file) = &self.secret_file {
            words.push_str(&format!(" --secret-file {}", file.display()));
        }
        words
    }
}
