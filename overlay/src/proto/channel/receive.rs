//! What comes from neighbours: envelopes, what they have, and what they have taken.

use std::sync::Arc;
use std::time::Duration;

use super::super::Proto;
use super::super::links::LinkId;
use super::super::timer::Time;
use super::stream::Stream;
use super::tree::tree;
use super::watch::Misdeed;
use super::{Channel, MAX_STREAMS, Scene, key_of};
use crate::id::Id;
use crate::key::{PeerKey, Purpose};
use crate::record::CLOCK_SKEW;
use crate::wire::{ChannelId, Envelope, Head, Tree, pass_bytes};

/// How old an envelope may be when it comes: what is older may be somebody's recording. Longer than it stays in any log.
const MAX_AGE: Duration = Duration::from_secs(120);

/// A stream that has been silent for so long is forgotten: none of its envelopes is taken any more, see [`MAX_AGE`].
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(240);

/// Messages that a publisher may have sent at once, when it joined.
const AT_ONCE: u64 = 1 << 16;

/// What an envelope turned out to be.
enum Finding {
    New(Option<PeerKey>),
    Duplicate,
    Stale,
    Refused,
    Forged,
}

impl Channel {
    /// Takes an envelope that is new, over a link or from this node's application: for the log, the application and the neighbours.
    pub(super) fn take(&mut self, envelope: Arc<Envelope>, from: Option<LinkId>, scene: &mut Scene<'_>) {
        let (publisher, number) = (envelope.publisher(), envelope.label().stream);
        let delivers = self.member.is_some();
        let start = self.start_of(number, from.is_none());
        self.make_room(&(publisher, number));
        let stream = self.streams.entry((publisher, number)).or_insert_with(|| Stream::new(start, scene.now));
        let due = stream.take(Arc::clone(&envelope), delivers, scene.now);
        self.log.push(envelope, from, scene.log_limit, scene.now);
        self.deliver(publisher, due, scene);
    }

    /// What neighbours have only told of gives way to a stream of which something comes.
    fn make_room(&mut self, for_this: &(Id, u64)) {
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(for_this) {
            let unproven = self.streams.iter().find(|(_, stream)| !stream.is_proven()).map(|(&name, _)| name);
            unproven.map(|name| self.streams.remove(&name));
        }
    }

    /// With which message a stream begins for the application that was not known: one that began after the application joined, with
    /// the first.
    fn start_of(&self, stream: u64, is_own: bool) -> Option<u64> {
        (is_own || stream > self.since.0).then_some(0)
    }

    /// Looks at an envelope, cheap things first.
    fn examine(&self, envelope: &Envelope, now: Time) -> Finding {
        let (label, publisher) = (envelope.label(), envelope.publisher());
        let sent = Time(label.sent);
        let plausible = label.sent >= label.stream && label.first <= most_by(label.stream, label.sent);
        let on_terms =
            envelope.key_der().is_some() == self.terms.signed && label.pass.is_some() == self.terms.gate.is_some();
        if !plausible || !on_terms {
            return Finding::Forged;
        }
        if now.since(sent) > MAX_AGE || sent.since(now) > CLOCK_SKEW {
            return Finding::Stale;
        }
        let known = self.streams.get(&(publisher, label.stream));
        if known.is_some_and(|stream| stream.have.meets(label.first, envelope.end())) {
            return Finding::Duplicate;
        }
        if known.is_none() {
            let newer = || self.streams.range((publisher, label.stream)..=(publisher, u64::MAX));
            if newer().any(|(_, stream)| stream.is_proven()) {
                return Finding::Stale;
            }
            if self.streams.len() >= MAX_STREAMS && self.streams.values().all(Stream::is_proven) {
                return Finding::Refused;
            }
        }
        let known_key = known.and_then(|stream| stream.key);
        let key = match known_key.filter(|key| envelope.key_der().is_some_and(|der| key.to_spki_der() == der[..])) {
            Some(key) => Some(key),
            None => key_of(envelope),
        };
        if known_key.is_some() && known_key != key {
            return Finding::Refused;
        }
        if self.terms.signed && key.is_none_or(|key| envelope.verify(&key).is_err()) {
            return Finding::Forged;
        }
        if let (Some(gate), Some(pass), None) = (&self.terms.gate, &label.pass, known_key) {
            let shown = pass_bytes(self.id, publisher, label.stream);
            if gate.verify(Purpose::Membership, &shown, pass).is_err() {
                return Finding::Forged;
            }
        }
        Finding::New(key)
    }

    /// Learns from a neighbour which messages there are.
    fn learn(&mut self, heads: &[Head], now: Time) {
        let delivers = self.member.is_some();
        for head in heads {
            if self.member.as_ref().is_some_and(|member| member.is_own(head)) {
                continue;
            }
            let name = (head.publisher, head.stream);
            if !self.streams.contains_key(&name) {
                let mut newer = self.streams.range((head.publisher, head.stream)..=(head.publisher, u64::MAX));
                if self.streams.len() >= MAX_STREAMS || newer.any(|(_, stream)| stream.is_proven()) {
                    continue;
                }
                let mut stream = Stream::new(self.start_of(head.stream, false), now);
                if self.fresh {
                    // What went before the node came is not its application's business.
                    stream.begin(head.upper, now);
                }
                self.streams.insert(name, stream);
            }
            if let Some(stream) = self.streams.get_mut(&name) {
                stream.hear_of(head.upper.min(most_by(head.stream, now.0)), delivers, now);
            }
        }
        self.fresh = false;
    }
}

/// Nobody can have sent more messages of a stream by then: one each microsecond, and some at once.
fn most_by(stream: u64, then: u64) -> u64 {
    then.saturating_sub(stream).saturating_add(AT_ONCE)
}

impl Proto {
    /// Messages of a channel came over a link.
    pub(in super::super) fn on_envelope(&mut self, link: LinkId, peer: Id, envelope: Arc<Envelope>, now: Time) {
        let id = envelope.label().channel;
        if self.is_barred(peer, now) {
            return;
        }
        let Some(channel) = self.channel_mut(id).filter(|channel| channel.edges.iter().any(|edge| edge.link == link))
        else {
            return self.part(link, id);
        };
        let finding = channel.examine(&envelope, now);
        let allowed = channel.edge_mut(link).is_some_and(|edge| edge.came(envelope.bytes().len()));
        let (name, bytes) = ((envelope.publisher(), envelope.label().stream), envelope.bytes().len());
        let is_known = matches!(finding, Finding::New(_) | Finding::Duplicate);
        let again = is_known
            && channel
                .edge_mut(link)
                .is_some_and(|edge| edge.brings_again(name, envelope.label().first, envelope.end()));
        let misdeed = match (&finding, allowed) {
            (Finding::Forged, _) => Some(Misdeed::Forged),
            (_, false) => Some(Misdeed::Overrun),
            _ if again && !self.may_repeat(peer, bytes, now) => Some(Misdeed::Flood),
            _ => None,
        };
        self.with_channel(id, now, |channel, scene| {
            match finding {
                Finding::New(key) => {
                    channel.take(envelope, Some(link), scene);
                    if let Some(stream) = channel.streams.get_mut(&name) {
                        stream.key = key;
                    }
                }
                Finding::Duplicate => scene.stats.duplicates += 1,
                Finding::Stale => scene.stats.stale += 1,
                Finding::Refused => scene.stats.refused += 1,
                Finding::Forged => scene.stats.forged += 1,
            }
            channel.pump(scene);
        });
        if let Some(misdeed) = misdeed {
            self.note_misdeed(link, peer, misdeed, now);
        }
    }

    /// A neighbour says what it has.
    pub(super) fn on_have(&mut self, link: LinkId, id: ChannelId, heads: Vec<Head>, more: bool, ask: bool, now: Time) {
        let known = self.channel_mut(id).is_some_and(|channel| channel.edge_mut(link).is_some());
        if !known {
            return self.part(link, id);
        }
        self.with_channel(id, now, |channel, scene| {
            let Some(at) = channel.edges.iter().position(|edge| edge.link == link) else { return };
            if ask && !more && channel.edges[at].greeted {
                channel.greet(at, false, scene);
            }
            let edge = &mut channel.edges[at];
            let Some(heads) = edge.hear(heads, more, MAX_STREAMS) else { return };
            edge.begin(&heads, &channel.log);
            let is_parent = edge.is_parent;
            channel.learn(&heads, now);
            if is_parent && !channel.settled {
                channel.have_place(scene);
            } else {
                channel.pump(scene);
            }
        });
    }

    pub(super) fn on_credit(&mut self, link: LinkId, id: ChannelId, received: u64, limit: u64, now: Time) {
        let left = self.with_channel(id, now, |channel, scene| {
            if channel.edge_mut(link).is_some_and(|edge| edge.credit(received, limit, now)) {
                channel.pump(scene);
            }
            channel.leave_when_done(scene)
        });
        match left {
            Some(true) => self.release_if_idle(id),
            Some(false) => {}
            None => self.part(link, id),
        }
    }

    /// A neighbour believes to be one in a tree where it is none.
    fn part(&mut self, link: LinkId, channel: ChannelId) {
        self.send_on(link, tree(Tree::Leave { channel }));
        self.send_on(link, tree(Tree::Drop { channel, attempt: 0 }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{NOW, hears, linked, member, outputs};
    use super::super::super::{ChannelEvent, Input, Membership, Output, Token};
    use super::*;
    use crate::key::Identity;
    use crate::wire::{Join, Label, MAX_HEADS, Message, Published, Terms};

    #[test]
    fn streams_that_a_neighbour_made_up_keep_nothing_from_the_application() {
        let (mut proto, peer, publisher) = (member(1, 8), Id::new(2), Identity::generate());
        let link = linked(&mut proto, peer);
        let terms = Terms::new("news", false, None);
        let channel = terms.id();
        let membership = Membership { terms: terms.clone(), identity: Identity::generate(), gate: None };
        proto.handle(Input::JoinChannel { token: Token(1), membership: membership.into() }, NOW);
        let join = Tree::Join(Join { terms, attempt: 1, proof: None, lost: Vec::new() });
        hears(&mut proto, link, peer, Message::Tree(join.into()));
        // A newer stream of the same publisher, and as many others as a node takes note of.
        let head = |number: usize| Head {
            publisher: if number == 0 { publisher.id() } else { Id::new(number as u64) },
            stream: 1_000_000,
            upper: 9,
            ranges: Vec::new(),
        };
        for first in (0..MAX_STREAMS).step_by(MAX_HEADS) {
            let heads = (first..first + MAX_HEADS).map(head).collect();
            let more = first + MAX_HEADS < MAX_STREAMS;
            hears(&mut proto, link, peer, Message::Tree(Tree::Have { channel, heads, more, ask: false }.into()));
        }
        assert_eq!(proto.channel(channel).map(|channel| channel.streams.len()), Some(MAX_STREAMS));
        outputs(&mut proto);
        let label = Label { channel, stream: 0, sent: 0, first: 0, pass: None };
        let message = Published { scope: String::new(), payload: "true".into() };
        let envelope = Envelope::seal(&publisher, false, label, &[message]);
        hears(&mut proto, link, peer, Message::Envelope(envelope.into()));
        let came = |output: &Output| matches!(output, Output::Channel { event: ChannelEvent::Messages(_), .. });
        assert_eq!(outputs(&mut proto).into_iter().filter(came).count(), 1);
        assert_eq!(proto.channel(channel).map(|channel| channel.streams.len()), Some(MAX_STREAMS));
    }
}
