//! Channels: what a member publishes comes to every other, along a tree of links.
//!
//! - **The tree** (`tree`) is Scribe's (Castro, Druschel, Kermarrec, Rowstron: "Scribe: a large-scale and decentralized application-level
//!   multicast infrastructure", IEEE JSAC 2002): its root is the owner of the channel's point, and joins, hop by hop towards it, leave
//!   the tree behind them. So its edges are links, no node keeps more of it than its own neighbours, and the fan-out is within the
//!   budget of links.
//! - **Messages** (`receive`, `log`, `edge`) flow from the publisher up and down the tree, once over each edge. Every node of the tree keeps
//!   those of late; two that become neighbours tell each other what they have, and send what the other lacks.
//! - **Order** (`stream`): the messages of one publisher are numbered. Each comes to the application once, in its order; what is missing for
//!   too long is told.
//! - **Publishing** (`publish`) waits while the neighbours take no more.
//!
//! A node that takes part in no channel has no [`Channels`]. Times are compared with moments that others wrote down: they count from the
//! beginning of 1970 where several machines take part.

mod edge;
mod log;
mod publish;
mod ranges;
mod receive;
mod stream;
#[cfg(test)]
mod tests;
mod time;
mod tree;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

pub use self::publish::{ChannelError, Membership};

use self::edge::Edge;
use self::log::Log;
use self::publish::Member;
use self::stream::{Due, Stream};
use self::tree::{Alarm, Place};
use self::watch::Watch;
use super::links::LinkId;
use super::timer::Time;
use super::{Output, Proto};
use crate::id::Id;
use crate::key::PeerKey;
use crate::wire::{ChannelId, Envelope, Frame, Header, Message, Proof, Terms, Tree};

/// Channels that a node takes part in at most, those of others that it forwards for included. Beyond, joins are refused.
pub const MAX_CHANNELS: usize = 512;

/// Streams of a channel that a node knows at most. Beyond, further publishers are refused until one has been silent for long enough.
const MAX_STREAMS: usize = 1024;

/// Bytes of envelopes on the way over one link at most, whatever the number of channels: half of what the link's queue holds.
const LINK_WINDOW: u64 = 64 << 10;

/// What a node does for channels.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Channels {
    table: BTreeMap<ChannelId, Box<Channel>>,
    watch: Watch,
    stats: ChannelStats,
}

/// What a node has done for channels since it began, and does now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct ChannelStats {
    /// Channels that it takes part in now, for itself or for others.
    pub channels: u64,
    /// Neighbours in their trees, counted once for each channel.
    pub neighbours: u64,
    /// Bytes of messages that it keeps for those who missed them.
    pub log_bytes: u64,
    /// Messages that it published.
    pub published: u64,
    /// Messages that it gave to its application.
    pub delivered: u64,
    /// Envelopes that it sent, its own and those of others.
    pub sent: u64,
    /// Envelopes that came again.
    pub duplicates: u64,
    /// Messages that the application missed.
    pub lagged: u64,
    /// Times that a neighbour was too slow for the log.
    pub skipped: u64,
    /// Times that it lost its parent in a tree.
    pub reattached: u64,
    /// Envelopes whose signature or pass does not hold, or that do not keep to their channel's terms.
    pub forged: u64,
    /// Envelopes of old, of a stream that a newer one has replaced, or from a clock that is wrong.
    pub stale: u64,
    /// Joins, and publishers, that were refused.
    pub refused: u64,
    /// Neighbours that were dropped because they insisted.
    pub dropped: u64,
}

/// What a channel has for the application.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// Messages, verified where the channel is signed; the node's own among them.
    Messages(Arc<Envelope>),
    /// Messages are lost.
    Lagged {
        /// Whose.
        publisher: Id,
        /// How many.
        count: u64,
    },
}

/// A channel that the node takes part in.
#[derive(Clone, PartialEq, Debug)]
struct Channel {
    id: ChannelId,
    terms: Terms,
    /// The application has joined it.
    member: Option<Box<Member>>,
    /// The newest that a member in this part of the tree has shown.
    proof: Option<Proof>,
    place: Place,
    /// This node knows what went before: its parent has told it, or it is the root.
    settled: bool,
    /// Nobody has told it anything yet.
    fresh: bool,
    /// Links that led to no parent.
    tried: Vec<LinkId>,
    failures: u32,
    /// One that was asked is below this node.
    circled: bool,
    edges: Vec<Edge>,
    /// The last number that was drawn for an edge.
    attempt: u32,
    streams: BTreeMap<(Id, u64), Stream>,
    log: Log,
    /// Since when nobody needs the node in the tree.
    idle_since: Option<Time>,
    /// When the application joined, or the node.
    since: Time,
    /// When what is old was dropped last.
    tidied: Time,
    /// What was done about a beat that is late.
    alarm: Alarm,
    /// Parents that are dead, as this node or its children know, at most [`MAX_LOST`](crate::wire::MAX_LOST): no way leads over them.
    lost: Vec<Id>,
    /// When it showed a proof of membership last.
    shown: Time,
    /// Bytes that had been in the log when the node lost its place in the tree.
    cut_off_at: Option<u64>,
}

/// What a channel needs of its node while it acts.
struct Scene<'a> {
    me: Id,
    now: Time,
    /// Bytes that the log may take.
    log_limit: usize,
    outputs: &'a mut VecDeque<Output>,
    stats: &'a mut ChannelStats,
    /// Bytes on the way over each link, by the other channels.
    others: &'a dyn Fn(LinkId) -> u64,
}

impl Scene<'_> {
    fn send(&mut self, link: LinkId, peer: Id, message: Message) {
        let header = Header::new(message.kind(), self.me, peer);
        self.outputs.push_back(Output::Send { link, frame: Frame { header, message } });
    }

    fn tell(&mut self, link: LinkId, peer: Id, message: Tree) {
        self.send(link, peer, Message::Tree(Box::new(message)));
    }
}

impl Proto {
    /// What this node does for channels.
    pub fn channel_stats(&self) -> ChannelStats {
        let Some(channels) = &self.channels else { return ChannelStats::default() };
        let each = || channels.table.values();
        ChannelStats {
            channels: channels.table.len() as u64,
            neighbours: each().map(|channel| channel.edges.len() as u64).sum(),
            log_bytes: each().map(|channel| channel.log.held() as u64).sum(),
            ..channels.stats
        }
    }

    /// Where this node stands in the tree of a channel: its parent, unless it is the root, and its children. `None` where it has no place.
    pub fn channel_place(&self, channel: ChannelId) -> Option<(Option<Id>, Vec<Id>)> {
        let channel = self.channels.as_ref()?.table.get(&channel)?;
        if !channel.is_attached() {
            return None;
        }
        let children = channel.edges.iter().filter(|edge| !edge.is_parent && edge.ready).map(|edge| edge.peer);
        Some((channel.edges.iter().find(|edge| edge.is_parent).map(|edge| edge.peer), children.collect()))
    }

    /// Whether the tree of a channel needs this link.
    pub(super) fn is_in_tree(&self, link: LinkId) -> bool {
        self.channels.as_ref().is_some_and(|channels| {
            channels.table.values().any(|channel| channel.edges.iter().any(|edge| edge.link == link))
        })
    }

    /// A neighbour speaks of a channel.
    pub(super) fn on_tree(&mut self, link: LinkId, peer: Id, message: Tree, now: Time) {
        if self.is_barred(peer, now) {
            return;
        }
        match message {
            Tree::Join(join) => self.on_join(link, peer, join, now),
            Tree::Pending { channel, attempt } => self.on_pending(link, channel, attempt, now),
            Tree::Refused { channel, attempt, reason } => self.on_join_refused(link, channel, attempt, reason, now),
            Tree::Beat { channel, attempt, path } => self.on_beat(link, peer, channel, attempt, path, now),
            Tree::Leave { channel } => self.on_child_leaves(link, channel, now),
            Tree::Drop { channel, attempt } => self.on_parent_drops(link, channel, attempt, now),
            Tree::Have { channel, heads, more, ask } => self.on_have(link, channel, heads, more, ask, now),
            Tree::Credit { channel, received, limit } => self.on_credit(link, channel, received, limit, now),
        }
    }

    pub(super) fn channels_memory(&self) -> usize {
        let Some(channels) = &self.channels else { return 0 };
        let channel = |channel: &Channel| {
            let streams = channel.streams.len() * (size_of::<Stream>() + size_of::<(Id, u64)>());
            let edges: usize = channel.edges.iter().map(|edge| size_of::<Edge>() + edge.memory()).sum();
            size_of::<Channel>() + streams + edges + channel.log.memory()
        };
        size_of::<Channels>() + channels.table.values().map(|one| channel(one)).sum::<usize>()
    }

    /// Has a channel act.
    fn with_channel<T>(
        &mut self,
        id: ChannelId,
        now: Time,
        act: impl FnOnce(&mut Channel, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let channels = self.channels.as_mut()?;
        let mut channel = channels.table.remove(&id)?;
        let table = &channels.table;
        let on_the_way = |link: LinkId| {
            let edges = table.values().flat_map(|channel| &channel.edges);
            edges.filter(|edge| edge.link == link).map(Edge::on_the_way).sum::<u64>()
        };
        let mut scene = Scene {
            me: self.me,
            now,
            log_limit: log::share(table.len() + 1),
            outputs: &mut self.outputs,
            stats: &mut channels.stats,
            others: &on_the_way,
        };
        let result = act(&mut channel, &mut scene);
        channels.table.insert(id, channel);
        self.set_channel_timer(id, now);
        Some(result)
    }

    fn channel(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.as_ref()?.table.get(&id).map(Box::as_ref)
    }

    fn channel_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.as_mut()?.table.get_mut(&id).map(Box::as_mut)
    }
}

impl Channel {
    fn new(terms: Terms, now: Time) -> Self {
        Channel {
            id: terms.id(),
            terms,
            member: None,
            proof: None,
            place: Place::Detached { retry: now },
            settled: false,
            fresh: true,
            tried: Vec::new(),
            failures: 0,
            circled: false,
            edges: Vec::new(),
            attempt: 0,
            streams: BTreeMap::new(),
            log: Log::default(),
            idle_since: None,
            since: now,
            tidied: now,
            alarm: Alarm::None,
            lost: Vec::new(),
            shown: now,
            cut_off_at: None,
        }
    }

    fn edge_mut(&mut self, link: LinkId) -> Option<&mut Edge> {
        self.edges.iter_mut().find(|edge| edge.link == link)
    }

    /// Sends neighbours what is for them, as far as they allow; then has more published, and more be sent.
    fn pump(&mut self, scene: &mut Scene<'_>) {
        loop {
            for at in 0..self.edges.len() {
                self.pump_edge(at, scene);
            }
            if !self.publish_more(scene) {
                break;
            }
        }
        let blocked = self.backlog() > scene.log_limit / 2;
        for edge in &mut self.edges {
            if let Some((received, limit)) = edge.grant(blocked) {
                scene.tell(edge.link, edge.peer, Tree::Credit { channel: self.id, received, limit });
            }
        }
    }

    fn pump_edge(&mut self, at: usize, scene: &mut Scene<'_>) {
        let edge = &mut self.edges[at];
        if !edge.ready {
            return;
        }
        let (mut others, mut has_missed) = (None, false);
        loop {
            let Some(entry) = edge.next(&self.log) else {
                (edge.slow, edge.stuck_since) = (false, None);
                has_missed |= edge.take_missed();
                break;
            };
            let bytes = entry.envelope.bytes().len();
            let on_the_way = edge.on_the_way() + *others.get_or_insert_with(|| (scene.others)(edge.link));
            if !edge.allows(bytes) || (on_the_way > 0 && on_the_way + bytes as u64 > LINK_WINDOW) {
                edge.stuck_since.get_or_insert(scene.now);
                break;
            }
            let message = Message::Envelope(Arc::clone(&entry.envelope));
            edge.sent(bytes, scene.now);
            has_missed |= edge.take_missed();
            scene.stats.sent += 1;
            scene.send(edge.link, edge.peer, message);
        }
        if has_missed {
            scene.stats.skipped += 1;
            self.greet(at, false, scene);
        }
    }

    /// Bytes that those who hold others up have not been sent.
    fn backlog(&self) -> usize {
        let waiting = self.edges.iter().filter(|edge| !edge.slow).map(|edge| edge.backlog(&self.log)).max();
        let cut_off = self.cut_off_at.map_or(0, |at| (self.log.total() - at) as usize);
        waiting.unwrap_or(0).max(cut_off)
    }

    /// Bytes on the way to the one of those that has taken the least, but takes some.
    fn untaken(&self, now: Time) -> usize {
        self.edges.iter().map(|edge| edge.untaken(now)).max().unwrap_or(0) as usize
    }

    /// Gives the application what it is due.
    fn deliver(&self, publisher: Id, due: Vec<Due>, scene: &mut Scene<'_>) {
        for due in due {
            let event = match due {
                Due::Envelope(envelope) => {
                    scene.stats.delivered += envelope.messages().len() as u64;
                    ChannelEvent::Messages(envelope)
                }
                Due::Lagged(count) => {
                    scene.stats.lagged = scene.stats.lagged.saturating_add(count);
                    ChannelEvent::Lagged { publisher, count }
                }
            };
            scene.outputs.push_back(Output::Channel { channel: self.id, event });
        }
    }
}

/// The key of a publisher, where its envelope names one that is a point of the curve.
fn key_of(envelope: &Envelope) -> Option<PeerKey> {
    PeerKey::from_spki_der(envelope.key_der()?).ok()
}
