//! A member of a channel that breaks its rules, again and again, each time as somebody else.

use std::time::{SystemTime, UNIX_EPOCH};

use atoll::net::link::Channel;
use atoll::wire::{Envelope, Header, Join, Label, Message, Published, Terms, Tree};
use atoll::{Id, Identity};

use crate::attacker::{Attacker, frame, send};

/// Frames of one attack. Each is cut off long before its end.
const FRAMES: u64 = 3000;

/// What it did.
#[derive(Default, Debug)]
pub(super) struct Pest {
    /// Links that it had.
    pub(super) links: u64,
    /// Frames that it sent over them.
    pub(super) frames: u64,
}

/// One way to break the rules.
#[derive(Clone, Copy)]
enum Attack {
    /// Joins of channels that nobody else knows.
    Joins,
    /// Envelopes whose signature does not hold.
    Forgery,
    /// The same envelope, over and over.
    Replay,
    /// Numbers that leap.
    Jumps,
    /// The largest envelopes, without waiting until the neighbour takes more.
    Overrun,
}

const ATTACKS: [Attack; 5] = [Attack::Joins, Attack::Forgery, Attack::Replay, Attack::Jumps, Attack::Overrun];

impl Pest {
    /// Attacks one node after the other, for ever.
    pub(super) async fn pester(&mut self, url: &str, victims: &[Id], terms: &Terms) {
        for number in 0.. {
            let (victim, attack) = (victims[number % victims.len()], ATTACKS[number % ATTACKS.len()]);
            let mut attacker = Attacker::new(url).await;
            let Some(link) = attacker.try_link(victim).await else { continue };
            self.links += 1;
            let header = Header::new(0, attacker.id(), victim);
            let join = Join { terms: terms.clone(), attempt: 1, proof: None, lost: Vec::new() };
            send(link.sender(), Channel::Ring, &frame(header.clone(), tree(join))).await;
            let stream = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
            let first = attack.message(0, stream, &attacker.identity, terms);
            for round in 0..FRAMES {
                let message = match attack {
                    Attack::Joins | Attack::Jumps => attack.message(round, stream, &attacker.identity, terms),
                    // It is to cost the others something, not this process.
                    _ => first.clone(),
                };
                if !send(link.sender(), Channel::Ring, &frame(header.clone(), message)).await {
                    break;
                }
                self.frames += 1;
            }
        }
    }
}

impl Attack {
    fn message(self, round: u64, stream: u64, identity: &Identity, terms: &Terms) -> Message {
        let label = |first| Label { channel: terms.id(), stream, sent: stream, first, pass: None };
        let published = |bytes: usize| Published { scope: "noise".to_owned(), payload: vec![7; bytes].into() };
        let sealed = |first: u64, bytes: usize| Envelope::seal(identity, true, label(first), &[published(bytes)]);
        Message::Envelope(match self {
            Attack::Joins => {
                let terms = Terms::new(&format!("{stream} {round}"), true, None);
                return tree(Join { terms, attempt: 1, proof: None, lost: Vec::new() });
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

fn tree(join: Join) -> Message {
    Message::Tree(Tree::Join(join).into())
}
