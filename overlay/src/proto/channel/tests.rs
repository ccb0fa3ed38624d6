//! What neighbours that break the rules can cost a node.

use std::time::Duration;

use super::super::testing::{NOW, hears_at, linked, member, outputs};
use super::super::{Answer, Input, LinkId, MAX_CHANNELS, Membership, Output, Proto, Time, Token};
use crate::id::Id;
use crate::key::Identity;
use crate::wire::{ChannelId, Envelope, Join, Label, Message, Published, Terms, Tree};

const SECOND: Duration = Duration::from_secs(1);

fn joins(proto: &mut Proto, link: LinkId, from: Id, terms: Terms, now: Time) {
    let join = Join { terms, attempt: 1, proof: None, lost: Vec::new() };
    hears_at(proto, link, from, Message::Tree(Tree::Join(join).into()), now);
}

fn has_nothing(channel: ChannelId) -> Message {
    Message::Tree(Tree::Have { channel, heads: Vec::new(), more: false, ask: false }.into())
}

fn terms(number: usize) -> Terms {
    Terms::new(&format!("channel {number}"), false, None)
}

/// Lets time pass.
fn wait(proto: &mut Proto, from: Time, until: Time) {
    let mut now = from;
    while let Some(due) = proto.poll_timeout().filter(|&due| due <= until) {
        now = now.max(due);
        proto.handle_timeout(now);
    }
}

fn frames_to(proto: &mut Proto, link: LinkId) -> Vec<Message> {
    let to = |output| match output {
        Output::Send { link: over, frame } if over == link => Some(frame.message),
        _ => None,
    };
    outputs(proto).into_iter().filter_map(to).collect()
}

#[test]
fn a_stranger_opens_few_channels_and_a_neighbour_of_long_standing_moves_all_of_its_own() {
    let (mut proto, peer) = (member(1, 8), Id::new(2));
    let link = linked(&mut proto, peer);
    for number in 0..MAX_CHANNELS {
        joins(&mut proto, link, peer, terms(number), NOW);
    }
    assert_eq!(proto.channel_stats().channels, 16);
    // Then as many as time allows.
    for number in 0..MAX_CHANNELS {
        joins(&mut proto, link, peer, terms(number), NOW.after(SECOND));
    }
    assert_eq!(proto.channel_stats().channels, 32);
    let told = |message: &Message| matches!(message, Message::Tree(tree) if matches!(**tree, Tree::Refused { .. }));
    assert_eq!(
        frames_to(&mut proto, link).iter().filter(|message| told(message)).count(),
        128,
        "more would cost this node"
    );

    let (mut proto, later) = (member(1, 8), NOW.after(60 * SECOND));
    let link = linked(&mut proto, peer);
    for number in 0..MAX_CHANNELS {
        joins(&mut proto, link, peer, terms(number), later);
    }
    assert_eq!(proto.channel_stats().channels, MAX_CHANNELS as u64);
}

#[test]
fn channels_that_carried_nothing_go_with_those_who_wanted_them() {
    let (mut proto, above, peer) = (member(1 << 40, 8), Id::new(1 << 46), Id::new(2));
    let up = linked(&mut proto, above);
    let link = linked(&mut proto, peer);
    for number in 0..12 {
        joins(&mut proto, link, peer, terms(number), NOW);
    }
    assert_eq!(proto.channel_stats().channels, 12);
    outputs(&mut proto);
    let later = NOW.after(Duration::from_millis(10));
    proto.handle(Input::LinkDown { link }, later);
    wait(&mut proto, later, later.after(Duration::from_millis(10)));
    assert_eq!(proto.channel_stats().channels, 0);
    let asked = |message: &Message| matches!(message, Message::Tree(tree) if matches!(**tree, Tree::Join(_)));
    assert_eq!(frames_to(&mut proto, up).iter().filter(|message| asked(message)).count(), 0, "nobody needs a place");
}

#[test]
fn who_sends_the_same_again_and_again_loses_its_link() {
    let (mut proto, peer, publisher) = (member(1, 8), Id::new(2), Identity::generate());
    let link = linked(&mut proto, peer);
    let terms = terms(0);
    joins(&mut proto, link, peer, terms.clone(), NOW);
    hears_at(&mut proto, link, peer, has_nothing(terms.id()), NOW);
    let envelope = |first: u64| {
        let label = Label { channel: terms.id(), stream: 0, sent: 0, first, pass: None };
        let message = Published { scope: String::new(), payload: vec![7; 1000].into() };
        Message::Envelope(Envelope::seal(&publisher, false, label, &[message]).into())
    };
    // Each once: however many that are.
    for first in 0..1000 {
        hears_at(&mut proto, link, peer, envelope(first), NOW);
    }
    // What is on its way while the two tell each other anew what they have comes twice.
    for first in 940..1000 {
        hears_at(&mut proto, link, peer, envelope(first), NOW);
    }
    let before = proto.channel_stats();
    assert_eq!((before.duplicates, before.dropped), (60, 0));
    // To join anew in between helps nobody.
    joins(&mut proto, link, peer, terms.clone(), NOW);
    for _ in 0..200 {
        hears_at(&mut proto, link, peer, envelope(3), NOW);
    }
    assert_eq!(proto.channel_stats().dropped, 1);
    assert_eq!(proto.peers().count(), 0, "its link is closed");
}

#[test]
fn a_neighbour_that_takes_nothing_keeps_nobody_from_publishing() {
    let (mut proto, peer) = (member(1, 8), Id::new(2));
    let link = linked(&mut proto, peer);
    let terms = terms(0);
    let channel = terms.id();
    let membership = Membership { terms: terms.clone(), identity: Identity::generate(), gate: None };
    proto.handle(Input::JoinChannel { token: Token(0), membership: membership.into() }, NOW);
    joins(&mut proto, link, peer, terms, NOW);
    hears_at(&mut proto, link, peer, has_nothing(channel), NOW);
    outputs(&mut proto);
    // Ten a second, to more than may be on the way to it.
    let mut worst = Duration::ZERO;
    let mut now = NOW;
    for number in 1..300 {
        let begun = now;
        let messages = vec![(Token(number), Published { scope: String::new(), payload: vec![7; 400].into() })];
        proto.handle(Input::Publish { channel, messages }, now);
        let until = now.after(Duration::from_millis(100));
        let mut went = None;
        loop {
            let published = |answer: &Answer| matches!(answer, Answer::Published(Ok(_)));
            let done = |output: &Output| match output {
                Output::Answer { token, answer } => *token == Token(number) && published(answer),
                _ => false,
            };
            if outputs(&mut proto).iter().any(done) {
                went = Some(now.since(begun));
            }
            let Some(due) = proto.poll_timeout().filter(|&due| due <= until) else { break };
            now = now.max(due);
            proto.handle_timeout(now);
        }
        worst = worst.max(went.unwrap_or(Duration::MAX));
        now = until;
    }
    assert!(worst <= Duration::from_millis(51), "a message waited {worst:?}");
}
