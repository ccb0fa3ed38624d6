//! A channel on the ring that is checked: who has joined, and what has come.

use std::collections::{BTreeMap, BTreeSet};

use atoll::proto::{Answer, ChannelEvent, Input, Membership, Token};
use atoll::wire::{Published, Terms};

use crate::engine::World;
use crate::invariant::Broken;
use crate::invariant::in_order::{Heard, not_arrived};
use crate::scenario::identity;

/// Tokens from here on are of the channel.
pub(super) const TOKENS: u64 = 1 << 32;

#[derive(Default)]
pub(super) struct Channel {
    /// Those who have asked to join, and have not been refused.
    asked: BTreeSet<usize>,
    joined: BTreeSet<usize>,
    /// By node, the number of what it published last, once it is on its way.
    last: BTreeMap<usize, u64>,
    heard: Heard,
    tokens: u64,
}

impl Channel {
    /// A node publishes a message; it joins first, if it is no member.
    pub(super) fn publish(&mut self, world: &mut World, node: usize) {
        if self.asked.insert(node) {
            let (token, terms) = (self.token(), terms());
            let membership = Box::new(Membership { terms, identity: identity(node), gate: None });
            world.input(node, Input::JoinChannel { token, membership });
        }
        self.last.remove(&node);
        let message = Published { scope: String::new(), payload: "checked".into() };
        let messages = vec![(self.token(), message)];
        world.input(node, Input::Publish { channel: terms().id(), messages });
    }

    pub(super) fn answer(&mut self, node: usize, answer: &Answer) {
        match answer {
            Answer::Joined(Ok(())) => {
                self.joined.insert(node);
            }
            Answer::Joined(Err(_)) => {
                self.asked.remove(&node);
            }
            Answer::Published(Ok(number)) => {
                self.last.insert(node, *number);
            }
            _ => {}
        }
    }

    pub(super) fn hear(&mut self, node: usize, event: &ChannelEvent) -> Result<(), Broken> {
        self.heard.hear(node, event)
    }

    /// The members that run.
    pub(super) fn members(&self, world: &World) -> Vec<usize> {
        self.joined.iter().copied().filter(|&node| world.nodes[node].is_member()).collect()
    }

    /// The members that have not had the last message of one of them.
    pub(super) fn check_last(&self, world: &World, from: usize, members: &[usize]) -> Result<(), Broken> {
        let (publisher, id) = (identity(from).id(), |node: usize| world.nodes[node].proto.id());
        let Some(&number) = self.last.get(&from) else { return Err(not_arrived(id(from), id(from))) };
        match members.iter().find(|&&node| !self.heard.has(node, publisher, number)) {
            Some(&node) => Err(not_arrived(id(from), id(node))),
            None => Ok(()),
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(TOKENS + self.tokens)
    }
}

fn terms() -> Terms {
    Terms::new("checked", false, None)
}
