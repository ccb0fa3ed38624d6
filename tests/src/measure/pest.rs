//! A member of a channel that breaks its rules, again and again, each time as somebody else. It is a process of its own, with the lowest
//! priority: what it computes would be computed on a machine of its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atoll::net::link::{Channel, Link};
use atoll::wire::{Envelope, Header, Join, Label, Message, Published, Terms, Tree};
use atoll::{Id, Identity};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use super::process::cpu_seconds;
use crate::attacker::{Attacker, frame, send};

/// Frames of one attack. Each is to be cut off long before its end.
const FRAMES: u64 = 3000;

/// Each attack strikes so often at most, every time as somebody else, and all of them in turn. A link costs both ends the same, and what a
/// member signs costs every node a check: more of that would show what the machine can do, which all nodes share here.
const STRIKE_EVERY: Duration = Duration::from_secs(1);

/// How long one that takes nothing waits for its link to be closed.
const HOLD: Duration = Duration::from_secs(3);

/// Whom to attack, and how.
#[derive(Args, Clone, Debug)]
pub struct PestOptions {
    /// The signalling server that leads to the victims.
    #[arg(long)]
    pub(super) signalling: String,
    /// The signed channel that it is a member of.
    #[arg(long)]
    pub(super) channel: String,
    /// Those that it opens links to, in turn.
    #[arg(long = "victim", required = true)]
    pub(super) victims: Vec<Id>,
}

/// What it did.
#[derive(Serialize, Deserialize, Clone, Copy, Default, Debug)]
pub(super) struct Nuisance {
    /// Links that it had.
    pub(super) links: u64,
    /// Frames that it sent over them.
    pub(super) frames: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
    /// Seconds of CPU.
    pub(super) cpu: f64,
}

/// One way to break the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attack {
    /// Joins of channels that nobody else knows.
    Joins,
    /// Envelopes whose signature does not hold.
    Forgery,
    /// The same envelope, over and over.
    Replay,
    /// Numbers that leap.
    Jumps,
    /// The largest envelope over and over, without waiting until the neighbour takes more.
    Overrun,
    /// It wants all that is published, and takes nothing.
    Stall,
}

const ATTACKS: [Attack; 6] =
    [Attack::Joins, Attack::Forgery, Attack::Replay, Attack::Jumps, Attack::Overrun, Attack::Stall];

/// Attacks until the standard input ends; then prints what it did.
pub async fn pest(options: PestOptions) -> anyhow::Result<()> {
    let mut done = Nuisance::default();
    {
        let mut each: Vec<Nuisance> = vec![Nuisance::default(); ATTACKS.len()];
        let turns = (0..).map(|at| STRIKE_EVERY * at / ATTACKS.len() as u32);
        let attacks =
            ATTACKS.iter().zip(&mut each).zip(turns).map(|((attack, done), turn)| attack.go_on(&options, turn, done));
        let ended = async { tokio::io::stdin().read(&mut [0]).await };
        tokio::select! {
            _ = ended => {}
            _ = futures::future::join_all(attacks) => {}
        }
        for one in each {
            done.links += one.links;
            done.frames += one.frames;
            done.bytes += one.bytes;
        }
    }
    done.cpu = cpu_seconds();
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

impl Attack {
    /// One victim after the other, for ever, beginning when it is its turn.
    async fn go_on(self, options: &PestOptions, turn: Duration, done: &mut Nuisance) {
        let terms = Terms::new(&options.channel, true, None);
        let mut next = tokio::time::interval_at(tokio::time::Instant::now() + turn, STRIKE_EVERY);
        next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for &victim in options.victims.iter().cycle() {
            let mut attacker = Attacker::new(&options.signalling).await;
            let Some(link) = attacker.try_link(victim).await else { continue };
            next.tick().await;
            done.links += 1;
            self.strike(&attacker.identity, link, victim, &terms, done).await;
        }
    }

    async fn strike(self, identity: &Identity, mut link: Link, victim: Id, terms: &Terms, done: &mut Nuisance) {
        let header = Header::new(0, identity.id(), victim);
        let join = Join { terms: terms.clone(), attempt: 1, proof: None, lost: Vec::new() };
        send(link.sender(), Channel::Ring, &frame(header.clone(), tree(Tree::Join(join)))).await;
        if self == Attack::Stall {
            let have = Tree::Have { channel: terms.id(), heads: Vec::new(), more: false, ask: false };
            send(link.sender(), Channel::Ring, &frame(header, tree(have))).await;
            done.frames += 1;
            let _ = tokio::time::timeout(HOLD, async { while link.recv().await.is_some() {} }).await;
            return;
        }
        let stream = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
        let first = self.message(0, stream, identity, terms);
        for round in 0..FRAMES {
            let message = match self {
                Attack::Joins | Attack::Jumps => self.message(round, stream, identity, terms),
                // It is to cost the others something, not this process.
                _ => first.clone(),
            };
            let bytes = frame(header.clone(), message);
            if !send(link.sender(), Channel::Ring, &bytes).await {
                break;
            }
            (done.frames, done.bytes) = (done.frames + 1, done.bytes + bytes.len() as u64);
        }
    }

    fn message(self, round: u64, stream: u64, identity: &Identity, terms: &Terms) -> Message {
        let label = |first| Label { channel: terms.id(), stream, sent: stream, first, pass: None };
        let published = |bytes: usize| Published { scope: "noise".to_owned(), payload: vec![7; bytes].into() };
        let sealed = |first: u64, bytes: usize| Envelope::seal(identity, true, label(first), &[published(bytes)]);
        Message::Envelope(match self {
            Attack::Joins | Attack::Stall => {
                let terms = Terms::new(&format!("{stream} {round}"), true, None);
                return tree(Tree::Join(Join { terms, attempt: 1, proof: None, lost: Vec::new() }));
            }
            Attack::Forgery => {
                let stranger = sealed(round, 256);
                let mut bytes = stranger.bytes().to_vec();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                Envelope::decode(bytes.into()).unwrap_or(stranger).into()
            }
            Attack::Replay => sealed(round, 256).into(),
            Attack::Jumps => sealed(round * round * 1000, 256).into(),
            Attack::Overrun => sealed(round, atoll::channel::MAX_PAYLOAD).into(),
        })
    }
}

fn tree(message: Tree) -> Message {
    Message::Tree(message.into())
}
