//! `node-cli status` and `node-cli fingers`: the ring as one of its members sees it.
//!
//! The member is asked over the ring, by a stream that the nodes of this program accept ([`offer::STATUS`]). What it says is
//! its word, and nothing of it reaches the terminal that is not an id, a number or a plain word.

use std::fmt;

use anyhow::{Context, bail};
use atoll::net::session::SocketError;
use atoll::wire::{Purpose, Role};
use atoll::{Id, Node};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::args::{NodeArgs, StatusArgs};
use crate::dial;
use crate::join::Visit;
use crate::offer;
use crate::output::{self, Output};

/// Bytes of a status at most: what a node with a thousand links has to say.
const MAX_STATUS_BYTES: u64 = 1024 * 1024;

/// The longest plain word, such as the name of a phase.
const MAX_WORD: usize = 16;

pub(crate) async fn run(args: &StatusArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let (seen, raw) = ask(args, node).await?;
    if output.is_json() {
        return output.line("", &raw);
    }
    output.line(&seen, &raw)
}

pub(crate) async fn fingers(args: &StatusArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let (seen, _) = ask(args, node).await?;
    if seen.fingers.is_empty() {
        output.note(format_args!("the finger table of {} is empty: it has no links", seen.id));
    }
    for finger in &seen.fingers {
        let why = if finger.own { "chosen" } else { "linked for another reason" };
        output.line(
            format_args!("{:>2}  {}  {why}", finger.row, finger.peer),
            &json!({ "node": seen.id, "row": finger.row, "peer": finger.peer, "own": finger.own }),
        )?;
    }
    Ok(())
}

/// What a member says of itself, read and as it came.
async fn ask(args: &StatusArgs, node: &NodeArgs) -> anyhow::Result<(Seen, Value)> {
    Visit::run(node, args.peer.as_ref(), async |visit: &Visit| {
        let raw = match &args.peer {
            Some(peer) => ask_peer(visit, visit.find(peer).await?.id).await?,
            None => ask_any(visit).await?,
        };
        let seen: Seen = serde_json::from_slice(&raw).context("the peer sent a status that makes no sense")?;
        // Programs get the object as it came, with what a later version added; only the known parts were checked.
        let value = serde_json::from_slice(&raw)?;
        Ok((seen, value))
    })
    .await
}

/// Asks one of the members that this visit is attached to.
async fn ask_any(visit: &Visit) -> anyhow::Result<Vec<u8>> {
    let members = members(&visit.node).await;
    let mut last = None;
    for member in members {
        match ask_peer(visit, member).await {
            Ok(status) => return Ok(status),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error),
        None => bail!("the members went away; try again"),
    }
}

async fn members(node: &Node) -> Vec<Id> {
    node.peers().await.into_iter().filter(|peer| peer.role == Role::Member).map(|peer| peer.id).collect()
}

async fn ask_peer(visit: &Visit, peer: Id) -> anyhow::Result<Vec<u8>> {
    let mut socket = dial::open(visit, peer, offer::STATUS).await?;
    let read = async {
        socket.shutdown().await?;
        let mut status = Vec::new();
        (&mut socket).take(MAX_STATUS_BYTES + 1).read_to_end(&mut status).await?;
        anyhow::Ok(status)
    };
    let status = match visit.soon(read).await? {
        Ok(status) => status,
        Err(error) if is_not_offered(&error) => bail!("{peer} does not tell its status: it is no node of this program"),
        Err(error) => return Err(error.context(format!("cannot read the status of {peer}"))),
    };
    if status.len() as u64 > MAX_STATUS_BYTES {
        bail!("{peer} sent a status longer than {MAX_STATUS_BYTES} bytes");
    }
    Ok(status)
}

fn is_not_offered(error: &anyhow::Error) -> bool {
    error.downcast_ref().and_then(SocketError::of) == Some(&SocketError::NotOffered)
}

/// A member's status, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Seen {
    id: Id,
    phase: Word,
    predecessors: Vec<Id>,
    successors: Vec<Id>,
    peers: Vec<SeenPeer>,
    fingers: Vec<SeenFinger>,
    links_in_use: u32,
    max_links: u32,
    estimated_size: f64,
}

#[derive(Debug, Deserialize)]
struct SeenPeer {
    id: Id,
    role: Role,
    purpose: Purpose,
    suspect: bool,
}

#[derive(Debug, Deserialize)]
struct SeenFinger {
    row: u32,
    peer: Id,
    own: bool,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "node        {}  {}", self.id, self.phase.0)?;
        let size = self.estimated_size.round();
        writeln!(f, "ring        about {size} {}", if size == 1.0 { "node" } else { "nodes" })?;
        writeln!(f, "before it   {}", output::list(&self.predecessors))?;
        writeln!(f, "after it    {}", output::list(&self.successors))?;
        write!(f, "links       {} of {}", self.links_in_use, self.max_links)?;
        for peer in &self.peers {
            let role = match peer.role {
                Role::Member => "member",
                Role::Leaf => "leaf",
            };
            let purpose = match peer.purpose {
                Purpose::Ring => "ring neighbour",
                Purpose::Leaf => "visits",
                Purpose::Direct => "busy session",
                Purpose::Finger => "finger",
                Purpose::Join => "joining",
            };
            write!(f, "\n  {}  {role:<6}  {purpose}", peer.id)?;
            if peer.suspect {
                write!(f, "  silent")?;
            }
        }
        Ok(())
    }
}

/// A word of lower-case letters: all that a terminal is given of what a peer calls things.
#[derive(Debug)]
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        if word.len() > MAX_WORD || !word.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err(serde::de::Error::custom("not a plain word"));
        }
        Ok(Word(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_would_play_with_the_terminal_is_refused() {
        let status = |phase: &str| {
            json!({
                "id": "00f3a1b2c4d5", "phase": phase, "predecessors": [], "successors": ["00f3a1b2c4d6"],
                "peers": [{ "id": "00f3a1b2c4d6", "role": "member", "purpose": "ring", "suspect": false, "later": 1 }],
                "fingers": [{ "row": 0, "peer": "00f3a1b2c4d6", "own": false }],
                "links_in_use": 1, "max_links": 64, "estimated_size": 2.0,
            })
        };
        let seen: Seen = serde_json::from_value(status("member")).unwrap();
        assert!(seen.to_string().ends_with("\n  00f3a1b2c4d6  member  ring neighbour"), "{seen}");
        for bad in ["\u{1b}[2J", "Member", "averyveryverylongword"] {
            assert!(serde_json::from_value::<Seen>(status(bad)).is_err(), "{bad:?} was taken");
        }
    }
}
