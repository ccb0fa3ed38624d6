//! The tree of a channel: joins, beats from the root, and what happens when a parent is lost.
//!
//! A node that needs a place in the tree asks the next hop towards the channel's point to take it as a child. That one takes it, and asks
//! its own next hop, unless it has a place already. Beats come down from the root with the way that they took; whoever is on it cannot
//! become a child of the receiver; and whoever waits for a place itself takes no children that are nearer to the point. So there are no
//! circles, and one that should form all the same hears no beat, and breaks up.
//!
//! A node that loses its parent keeps its children while it looks for another one: they still have each other's messages. Those
//! deeper in the tree wait a little longer for the next beat than those above, so that one join mends a whole branch.

use std::time::Duration;

use rand::RngExt;

use super::super::links::LinkId;
use super::super::seat::Seat;
use super::super::timer::Time;
use super::super::{Hop, Phase, Proto};
use super::edge::Edge;
use super::publish::ChannelError;
use super::watch::Misdeed;
use super::{Channel, Channels, MAX_CHANNELS, Scene};
use crate::id::Id;
use crate::wire::{ChannelId, Flags, Header, Join, JoinRefusal, MAX_HEADS, MAX_LOST, MAX_PATH, Role, Tree, kind};

/// How often the root sends a beat down the tree.
pub(super) const BEAT_EVERY: Duration = Duration::from_secs(2);

/// A beat that is so late makes a node ask whether its parent lives.
pub(super) const LATE_AFTER: Duration = Duration::from_millis(2300);

/// A parent that was asked, and is still silent when the beat is so late, is dead.
pub(super) const DEAD_AFTER: Duration = Duration::from_millis(2800);

/// A node that hears no beat for so long has lost its parent; [`PATIENCE`] longer for each step that it is away from the root.
const LOST_AFTER: Duration = Duration::from_secs(4);

/// See [`LOST_AFTER`].
const PATIENCE: Duration = Duration::from_millis(250);

/// How long a node that was asked to take a child may take to answer at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How long one that has answered may take to find its own place.
const PLACE_WITHIN: Duration = Duration::from_secs(2);

/// The pause after every way has been tried.
const TRY_AGAIN: Duration = Duration::from_millis(400);

/// After so many of these a node lets its children go, for they may be what it needs to reach the root; at once, where one that it asked says
/// that it is below this node.
const PATIENT_ROUNDS: u32 = 3;

/// How old a proof of membership may be, and how far clocks may differ.
const PROOF_AGE: Duration = Duration::from_secs(600);

/// What a node has done about a beat that is late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Alarm {
    /// Nothing.
    None,
    /// It has asked the parent for a sign of life.
    Asked,
    /// The parent lives.
    Off,
}

/// Where a node stands in the tree of a channel.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Place {
    /// Nowhere; it tries again.
    Detached { retry: Time },
    /// It has asked for a place.
    Joining { link: LinkId, peer: Id, until: Time },
    /// It has a parent.
    Attached {
        /// From the root to the parent.
        path: Vec<Id>,
        /// When the last beat came.
        beat: Time,
    },
    /// It is the root.
    Root { beat: Time },
}

impl Channel {
    /// Whether it has a place in the tree, and knows what went before.
    pub(super) fn is_attached(&self) -> bool {
        self.settled && matches!(self.place, Place::Attached { .. } | Place::Root { .. })
    }

    pub(super) fn is_root(&self) -> bool {
        matches!(self.place, Place::Root { .. })
    }

    /// When a beat counts as lost.
    pub(super) fn lost_at(&self) -> Option<Time> {
        let Place::Attached { path, beat } = &self.place else { return None };
        Some(beat.after(LOST_AFTER + PATIENCE * path.len() as u32))
    }

    /// The way from the root to this node, if it has one.
    fn path(&self, me: Id) -> Option<Vec<Id>> {
        match &self.place {
            Place::Root { .. } => Some(vec![me]),
            Place::Attached { path, .. } => Some(path.iter().copied().chain([me]).collect()),
            _ => None,
        }
    }

    /// Passes a beat on. Children hear of what went before with their first one.
    pub(super) fn send_beats(&mut self, scene: &mut Scene<'_>) {
        if !self.is_attached() {
            return;
        }
        let Some(path) = self.path(scene.me) else { return };
        for at in 0..self.edges.len() {
            let edge = &self.edges[at];
            if edge.is_parent {
                continue;
            }
            let beat = Tree::Beat { channel: self.id, attempt: edge.attempt, path: path.clone() };
            scene.tell(edge.link, edge.peer, beat);
            if !edge.greeted {
                self.greet(at, false, scene);
            }
        }
    }

    /// Tells a neighbour what this node has, and asks for the same where nothing has come.
    pub(super) fn greet(&mut self, at: usize, ask: bool, scene: &mut Scene<'_>) {
        let edge = &mut self.edges[at];
        edge.greeted = true;
        let heads: Vec<_> =
            self.streams.iter().map(|(&(publisher, number), stream)| stream.head(publisher, number)).collect();
        let count = heads.len().div_ceil(MAX_HEADS).max(1);
        for number in 0..count {
            let heads = heads.iter().skip(number * MAX_HEADS).take(MAX_HEADS).cloned().collect();
            let more = number + 1 < count;
            scene.tell(edge.link, edge.peer, Tree::Have { channel: self.id, heads, more, ask });
        }
    }

    /// This node is the root from now on.
    pub(super) fn become_root(&mut self, scene: &mut Scene<'_>) {
        self.leave_parent(scene);
        self.place = Place::Root { beat: scene.now };
        self.have_place(scene);
    }

    /// What went before is known: the children are told, the application has joined, what waits is sent.
    pub(super) fn have_place(&mut self, scene: &mut Scene<'_>) {
        (self.settled, self.cut_off_at, self.failures, self.circled) = (true, None, 0, false);
        self.tried.clear();
        self.lost.clear();
        self.send_beats(scene);
        self.finish_joining(Ok(()), scene);
        self.pump(scene);
    }

    fn leave_parent(&mut self, scene: &mut Scene<'_>) {
        let channel = self.id;
        if let Place::Joining { link, peer, .. } = self.place {
            scene.tell(link, peer, Tree::Leave { channel });
        }
        if let Some(at) = self.edges.iter().position(|edge| edge.is_parent) {
            let parent = self.edges.remove(at);
            scene.tell(parent.link, parent.peer, Tree::Leave { channel });
        }
    }

    /// The node has no parent any more.
    pub(super) fn detach(&mut self, scene: &mut Scene<'_>) {
        if matches!(self.place, Place::Attached { .. }) {
            scene.stats.reattached += 1;
        }
        self.leave_parent(scene);
        self.cut_off_at.get_or_insert(self.log.total());
        self.place = Place::Detached { retry: scene.now };
        self.settled = false;
    }

    /// This peer is dead, as this node or a child knows. The newest count.
    pub(super) fn lose(&mut self, peer: Id) {
        if !self.lost.contains(&peer) {
            if self.lost.len() == MAX_LOST {
                self.lost.remove(0);
            }
            self.lost.push(peer);
        }
    }

    /// Lets all children go: they look for other parents.
    pub(super) fn dissolve(&mut self, scene: &mut Scene<'_>) {
        for edge in self.edges.extract_if(.., |edge| !edge.is_parent) {
            scene.tell(edge.link, edge.peer, Tree::Drop { channel: self.id, attempt: edge.attempt });
        }
        self.note_idle(scene.now);
    }
}

impl Proto {
    /// Whether this node owns the point of a channel, and so is the root of its tree. Also where the owner is its predecessor, and silent:
    /// should that live after all, it becomes the root again.
    pub(super) fn is_root_of(&self, channel: ChannelId, now: Time) -> bool {
        if self.phase != Phase::Member {
            return false;
        }
        // Where links notice by themselves nobody is asked, and silence says nothing.
        let asks = !self.config.heartbeat_every.is_zero();
        // One that neighbours in the tree have missed already is missed sooner, but not before it had time to answer a question.
        let is_lost = |peer: Id| self.channel(channel).is_some_and(|channel| channel.lost.contains(&peer));
        let patience = |peer: Id| match is_lost(peer) {
            true => self.config.suspect_after.min(self.config.heartbeat_every * 7 / 4),
            false => self.config.suspect_after,
        };
        let silent = |peer: Id| {
            let is_silent = |seat: &Seat| seat.is_open() && now.since(seat.heard_at) >= patience(peer);
            asks && self.links.seat_to(peer).is_some_and(is_silent)
        };
        let owns_it = |owner: Id, before: Id| channel.point().is_in_arc(before, owner);
        match (self.tree_hop(channel, &[], &[]), &self.ring.predecessors[..]) {
            (Hop::Deliver, _) => true,
            (_, &[owner, before, ..]) => owns_it(owner, before) && silent(owner),
            _ => false,
        }
    }

    /// The next hop towards the root, not by way of those that are lost.
    fn tree_hop(&self, channel: ChannelId, tried: &[LinkId], lost: &[Id]) -> Hop {
        let header = Header::new(kind::TREE, self.me, channel.point());
        self.first_hop(&mut Header { flags: Flags::KEY, trail: lost.to_vec(), ..header }, tried)
    }

    /// Looks for a place in the tree.
    pub(super) fn seek_place(&mut self, id: ChannelId, now: Time) {
        let Some(channel) = self.channel(id) else { return };
        let (tried, lost) = (channel.tried.clone(), channel.lost.clone());
        if !matches!(self.phase, Phase::Member | Phase::Attached) {
            self.with_channel(id, now, |channel, _| channel.place = Place::Detached { retry: now.after(TRY_AGAIN) });
            return;
        }
        if self.is_root_of(id, now) {
            self.with_channel(id, now, Channel::become_root);
            return;
        }
        let hop = match self.tree_hop(id, &tried, &lost) {
            Hop::Forward(link) if !tried.contains(&link) => self.links.get(link).map(|link| (link.id, link.peer)),
            _ => None,
        };
        let hop = hop.filter(|(_, peer)| !lost.contains(peer));
        let attempt = self.rng.random_range(1..=u32::MAX);
        let Some((link, peer)) = hop.filter(|&(_, peer)| !self.is_barred(peer, now)) else {
            self.with_channel(id, now, |channel, scene| {
                channel.tried.clear();
                if let Some((link, _)) = hop {
                    channel.tried.push(link);
                }
                channel.failures += 1;
                if channel.failures.is_multiple_of(2) {
                    // Maybe they live after all.
                    channel.lost.clear();
                }
                if std::mem::take(&mut channel.circled) || channel.failures >= PATIENT_ROUNDS {
                    channel.dissolve(scene);
                }
                channel.place = Place::Detached { retry: now.after(TRY_AGAIN) };
            });
            return;
        };
        self.with_channel(id, now, |channel, scene| {
            (channel.attempt, channel.settled, channel.shown) = (attempt, false, now);
            channel.cut_off_at.get_or_insert(channel.log.total());
            channel.place = Place::Joining { link, peer, until: now.after(ANSWER_WITHIN) };
            let proof = channel.own_proof(scene.me, now);
            scene.tell(link, peer, Tree::Join(Join { terms: channel.terms.clone(), attempt, proof, lost }));
        });
    }

    pub(super) fn on_join(&mut self, link: LinkId, peer: Id, join: Join, now: Time) {
        if let Some(channel) = self.channel_mut(join.terms.id()) {
            // Before it is judged: maybe this node is the root by that.
            join.lost.iter().for_each(|&peer| channel.lose(peer));
        }
        let refusal = self.judge_join(link, peer, &join, now).err();
        let Join { terms, attempt, proof, lost } = join;
        let id = terms.id();
        if let Some(reason) = refusal {
            if let Some(channels) = self.channels.as_mut() {
                channels.stats.refused += 1;
            }
            if self.tells_refusal(peer, now) {
                self.send_on(link, tree(Tree::Refused { channel: id, attempt, reason }));
            }
            return;
        }
        let channels = self.channels.get_or_insert_default();
        let is_new = !channels.table.contains_key(&id);
        channels.table.entry(id).or_insert_with(|| Channel::new(terms, now).into());
        self.with_channel(id, now, |channel, scene| {
            channel.idle_since = None;
            if proof.as_ref().map(|proof| proof.made) > channel.proof.as_ref().map(|proof| proof.made) {
                channel.proof = proof;
            }
            if channel.edge_mut(link).is_some_and(|edge| !edge.is_parent && edge.attempt == attempt) {
                // It only shows a newer proof.
                return;
            }
            let before = channel.edges.extract_if(.., |edge| edge.link == link).last();
            channel.edges.push(Edge::new(link, peer, false, attempt, now).goes_on_from(before));
            lost.iter().for_each(|&peer| channel.lose(peer));
            match channel.path(scene.me).filter(|_| channel.settled) {
                Some(path) => {
                    scene.tell(link, peer, Tree::Beat { channel: id, attempt, path });
                    let at = channel.edges.len() - 1;
                    channel.greet(at, false, scene);
                }
                None => scene.tell(link, peer, Tree::Pending { channel: id, attempt }),
            }
        });
        if is_new {
            self.seek_place(id, now);
        } else if self.channel(id).is_some_and(|channel| !channel.is_root()) && self.is_root_of(id, now) {
            // Among others where the parent has just learnt who is the root.
            self.with_channel(id, now, Channel::become_root);
        }
    }

    /// Whether a neighbour may become a child.
    fn judge_join(&mut self, link: LinkId, peer: Id, join: &Join, now: Time) -> Result<(), JoinRefusal> {
        let (terms, proof) = (&join.terms, join.proof.as_ref());
        let id = terms.id();
        if self.phase != Phase::Member || self.config.role == Role::Leaf {
            return Err(JoinRefusal::Closed);
        }
        if !self.counts_as_calm(peer, now) {
            self.note_misdeed(link, peer, Misdeed::Flood, now);
            return Err(JoinRefusal::Full);
        }
        let channels: &Channels = self.channels.get_or_insert_default();
        let (is_new, is_full) = (!channels.table.contains_key(&id), channels.table.len() >= MAX_CHANNELS);
        if is_new && (is_full || !self.may_open(link, peer, now)) {
            return Err(JoinRefusal::Full);
        }
        let channel = self.channel(id);
        if let Some(gate) = &terms.gate {
            let proof = proof.ok_or(JoinRefusal::Proof)?;
            let known = channel.is_some_and(|channel| channel.proof.as_ref() == Some(proof));
            let made = Time(proof.made);
            let fresh = now.since(made) <= PROOF_AGE && made.since(now) <= crate::record::CLOCK_SKEW;
            if !fresh || (!known && proof.verify(gate, id).is_err()) {
                return Err(JoinRefusal::Proof);
            }
        }
        let Some(channel) = self.channel(id) else { return Ok(()) };
        let above = match &channel.place {
            Place::Attached { path, .. } => path.contains(&peer),
            Place::Root { .. } => false,
            // Where all that wait for a place ask one that is nearer to the point, there is no circle.
            _ => peer.distance(id.point()) < self.me.distance(id.point()),
        };
        if above && !self.is_root_of(id, now) { Err(JoinRefusal::Circle) } else { Ok(()) }
    }

    pub(super) fn on_pending(&mut self, link: LinkId, id: ChannelId, attempt: u32, now: Time) {
        self.with_channel(id, now, |channel, _| {
            if let Place::Joining { link: asked, until, .. } = &mut channel.place
                && *asked == link
                && channel.attempt == attempt
            {
                *until = now.after(PLACE_WITHIN);
            }
        });
    }

    pub(super) fn on_join_refused(
        &mut self,
        link: LinkId,
        id: ChannelId,
        attempt: u32,
        reason: JoinRefusal,
        now: Time,
    ) {
        let Some(channel) = self.channel(id).filter(|channel| channel.attempt == attempt) else { return };
        let asked = matches!(channel.place, Place::Joining { link: asked, .. } if asked == link);
        if !asked {
            return;
        }
        let forwards = channel.member.is_none();
        self.with_channel(id, now, |channel, scene| {
            if let Some(member) = channel.member.as_mut() {
                member.refused = Some(reason);
            }
            channel.circled |= reason == JoinRefusal::Circle;
            if reason == JoinRefusal::Proof {
                channel.finish_joining(Err(ChannelError::Refused(reason)), scene);
                channel.dissolve(scene);
            }
            channel.place = Place::Detached { retry: now };
        });
        if reason == JoinRefusal::Proof && forwards {
            self.forget_channel(id);
            return;
        }
        self.try_another(id, link, now);
    }

    /// This hop led to no place.
    pub(super) fn try_another(&mut self, id: ChannelId, link: LinkId, now: Time) {
        self.with_channel(id, now, |channel, _| {
            if !channel.tried.contains(&link) {
                channel.tried.push(link);
            }
        });
        self.seek_place(id, now);
    }

    pub(super) fn on_beat(&mut self, link: LinkId, peer: Id, id: ChannelId, attempt: u32, path: Vec<Id>, now: Time) {
        let me = self.me;
        let Some(channel) = self.channel(id) else {
            return self.send_on(link, tree(Tree::Leave { channel: id }));
        };
        let matches = channel.attempt == attempt;
        let is_asked = matches && matches!(channel.place, Place::Joining { link: asked, .. } if asked == link);
        let is_parent = matches && channel.edges.iter().any(|edge| edge.link == link && edge.is_parent);
        if !is_asked && !is_parent {
            if !matches!(channel.place, Place::Joining { link: asked, .. } if asked == link) {
                self.send_on(link, tree(Tree::Leave { channel: id }));
            }
            return;
        }
        if path.contains(&me) || path.len() >= MAX_PATH || path.last() != Some(&peer) {
            self.with_channel(id, now, Channel::detach);
            return self.try_another(id, link, now);
        }
        if is_parent && self.is_root_of(id, now) {
            self.with_channel(id, now, Channel::become_root);
            return;
        }
        self.with_channel(id, now, |channel, scene| {
            channel.place = Place::Attached { path, beat: now };
            channel.alarm = Alarm::None;
            if is_asked {
                channel.edges.retain(|edge| edge.link != link);
                channel.edges.push(Edge::new(link, peer, true, attempt, now));
                let at = channel.edges.len() - 1;
                channel.greet(at, false, scene);
            }
            channel.send_beats(scene);
        });
    }

    pub(super) fn on_child_leaves(&mut self, link: LinkId, id: ChannelId, now: Time) {
        self.with_channel(id, now, |channel, scene| {
            channel.edges.retain(|edge| edge.link != link || edge.is_parent);
            channel.note_idle(scene.now);
            channel.pump(scene);
        });
    }

    pub(super) fn on_parent_drops(&mut self, link: LinkId, id: ChannelId, attempt: u32, now: Time) {
        let Some(channel) = self.channel(id) else { return };
        if attempt != channel.attempt && attempt != 0 {
            return;
        }
        let asked = matches!(channel.place, Place::Joining { link: asked, .. } if asked == link);
        let is_parent = channel.edges.iter().any(|edge| edge.link == link && edge.is_parent);
        if !is_parent && (!asked || attempt == 0) {
            return;
        }
        self.with_channel(id, now, |channel, scene| {
            channel.edges.retain(|edge| edge.link != link);
            channel.detach(scene);
        });
        self.try_another(id, link, now);
    }

    /// The link is gone, and with it this neighbour in all trees; `died`, if the peer does not live any more.
    pub(in super::super) fn channels_on_link_down(&mut self, link: LinkId, died: Option<Id>, now: Time) {
        let Some(channels) = self.channels.as_mut() else { return };
        let uses = |channel: &Channel| {
            channel.edges.iter().any(|edge| edge.link == link)
                || matches!(channel.place, Place::Joining { link: asked, .. } if asked == link)
        };
        let ids: Vec<ChannelId> =
            channels.table.iter().filter(|(_, channel)| uses(channel)).map(|(&id, _)| id).collect();
        for id in ids {
            let orphaned = self.with_channel(id, now, |channel, scene| {
                let asked = matches!(channel.place, Place::Joining { link: asked, .. } if asked == link);
                if asked {
                    channel.place = Place::Detached { retry: now };
                }
                let had_parent = channel.edges.iter().any(|edge| edge.link == link && edge.is_parent);
                channel.edges.retain(|edge| edge.link != link);
                if had_parent && !asked {
                    channel.detach(scene);
                }
                if let (true, Some(peer)) = (had_parent || asked, died) {
                    channel.lose(peer);
                }
                channel.note_idle(scene.now);
                channel.pump(scene);
                (had_parent || asked) && channel.is_needed()
            });
            if orphaned == Some(true) {
                self.seek_place(id, now);
            }
        }
    }

    /// The neighbours on the ring have changed: the roots of some channels may be others.
    pub(in super::super) fn channels_on_ring_changed(&mut self, now: Time) {
        let Some(channels) = self.channels.as_ref() else { return };
        let ids: Vec<(ChannelId, bool)> = channels.table.iter().map(|(&id, channel)| (id, channel.is_root())).collect();
        for (id, was_root) in ids {
            match (was_root, self.is_root_of(id, now)) {
                (true, false) => self.seek_place(id, now),
                (false, true) => {
                    self.with_channel(id, now, Channel::become_root);
                }
                _ => {}
            }
        }
    }

    /// The node takes no part in a channel any more.
    pub(super) fn forget_channel(&mut self, id: ChannelId) {
        if let Some(channels) = self.channels.as_mut() {
            channels.table.remove(&id);
        }
    }
}

pub(super) fn tree(message: Tree) -> crate::wire::Message {
    crate::wire::Message::Tree(Box::new(message))
}
