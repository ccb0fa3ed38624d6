//! The protocol of the ring: a state machine without sockets, clocks, threads or randomness of its own.
//!
//! **The contract.** Feed one [`Input`] with [`Proto::handle`], or let time pass with [`Proto::handle_timeout`] when
//! [`Proto::poll_timeout`] is due; then call [`Proto::poll_output`] until it gives `None`, and carry each [`Output`] out in
//! that order; or, where many nodes share one buffer, with [`Proto::swap_outputs`]. Time never runs backwards. Two runs with one seed and the same inputs are identical, byte for byte.
//!
//! The simulator, the native node and the browser run this type. It follows Chord (Stoica et al., SIGCOMM 2001) as corrected
//! by Pamela Zave ("Reasoning about identifier spaces: how to make Chord correct", IEEE TSE 2017), under a hard budget of
//! links that are used in both directions. Each part has a file: `ring`, `gossip`, `join`, `dial`, `failed`, `links`, `fingers`,
//! `seek`, `route`, `lookup`, `liveness`, `store`, `channel`; what goes in and out is in `interface`; and `chord` is the paper's own routing, to compare with.

mod channel;
mod chord;
mod config;
mod dial;
mod failed;
mod fingers;
mod gossip;
mod interface;
mod join;
#[cfg(feature = "known-bugs")]
mod known_bug;
mod links;
mod liveness;
mod lookup;
#[cfg(feature = "prefetch")]
mod prefetch;
mod ring;
mod route;
mod seat;
mod seek;
mod store;
#[cfg(test)]
mod testing;
mod timer;
#[cfg(feature = "model")]
pub mod untimed;

use std::collections::VecDeque;
use std::sync::Arc;

use rand::SeedableRng;
use rand_pcg::Pcg32;
use serde::Serialize;

pub use channel::{ChannelError, ChannelEvent, ChannelStats, MAX_CHANNELS, Membership};
pub use config::{Config, Placement, Quotas, Routing};
pub use fingers::Finger;
pub use interface::{Event, Input, Output};
#[cfg(feature = "known-bugs")]
pub use known_bug::KnownBug;
pub use links::LinkId;
pub use lookup::{Answer, LookupError, Owner, Token};
pub use route::{DropReason, Hop};
pub use store::{StoreError, StoreStats};
pub use timer::Time;

use crate::id::Id;
use crate::wire::{Dial, Flags, Frame, Header, Message, Purpose, Role, Step, Via, kind};
use channel::Channels;
use failed::Failed;
use fingers::Fingers;
use join::Joining;
use links::Links;
use lookup::Lookups;
use ring::Ring;
use seek::Sought;
use store::Store;
use timer::{Timer, Timers};

/// How far a node has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Looking for its place.
    Joining,
    /// Owns an arc and forwards.
    Member,
    /// A leaf with at least one neighbour.
    Attached,
    /// Has left for good.
    Left,
}

/// Counters of one node since it began.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct Stats {
    /// Frames that ended at this node undelivered.
    pub dropped: u64,
    /// Frames of a kind that this version does not know.
    pub unknown: u64,
    /// Frames that broke the rules, such as a routed message on its link alone.
    pub invalid: u64,
    /// Links that this node asked for.
    pub dials: u64,
    /// Links that were refused or did not open.
    pub dials_failed: u64,
    /// Links that were given up for one that matters more.
    pub evicted: u64,
    /// Links whose peer fell silent.
    pub dead: u64,
}

/// One node's part in the ring.
///
/// In this order in memory: what nearly every input needs comes first, in few lines of the cache. See [`Proto::prefetch`].
#[derive(Clone, PartialEq, Debug)]
#[repr(C)]
pub struct Proto {
    me: Id,
    phase: Phase,
    joining: Joining,
    links: Links,
    ring: Ring,
    failed: Failed,
    timers: Timers,
    outputs: VecDeque<Output>,
    config: Arc<Config>,
    rng: Pcg32,
    lookups: Lookups,
    fingers: Fingers,
    /// Nothing where nothing is stored.
    store: Option<Box<Store>>,
    /// Nothing where the node takes part in no channel.
    channels: Option<Box<Channels>>,
    stats: Stats,
}

impl Proto {
    /// A node that has not heard of any ring. It begins by asking the signalling server for members.
    /// Many nodes may share their settings.
    pub fn new(me: Id, config: impl Into<Arc<Config>>, seed: u64, now: Time) -> Self {
        let config = Config::bounded(config.into());
        let mut proto = Proto {
            me,
            rng: Pcg32::seed_from_u64(seed),
            phase: Phase::Joining,
            joining: Joining::default(),
            ring: Ring::default(),
            links: Links::new(me, config.max_links),
            failed: Failed::default(),
            fingers: Fingers::default(),
            lookups: Lookups::default(),
            timers: Timers::default(),
            store: None,
            channels: None,
            stats: Stats::default(),
            outputs: VecDeque::new(),
            config,
        };
        proto.begin_joining(now);
        proto
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Time) {
        if self.phase == Phase::Left {
            return;
        }
        match input {
            Input::Frame { link, frame } => self.on_frame(link, frame, now),
            Input::Signal { from, dial } => self.on_dial(from, links::Route::Signalling, dial, now),
            Input::NotDelivered { to } => self.fail_signalled_dial(to, now),
            Input::Members { found, members } => self.on_members(found, members, now),
            Input::Describe { link, description } => self.describe(link, description, now),
            Input::LinkUp { link, role } => self.on_link_up(link, role, now),
            Input::LinkDown { link } => self.on_link_down(link, now),
            Input::Lookup { token, key } => self.look_up(token, key, now),
            Input::Trace { token, peer } => self.trace(token, peer, now),
            Input::UpdateFinger { token, row } => self.update_finger(token, row, now),
            Input::Put { token, record } => self.put_record(token, *record, now),
            Input::Get { token, key } => self.get_record(token, *key, now),
            Input::Saved { number } => self.on_saved(number, now),
            Input::DiskFailed => self.on_disk_failed(now),
            Input::JoinChannel { token, membership } => self.join_channel(token, *membership, now),
            Input::Publish { channel, messages } => self.publish(channel, messages, now),
            Input::LeaveChannel { token, channel } => self.leave_channel(token, channel, now),
            Input::WantDirect(peer) => {
                self.want(peer, Purpose::Direct, links::Route::Ring(None), now);
            }
            Input::ReleaseDirect(peer) => self.release_direct(peer, now),
            Input::NetworkChanged => self.probe_all(now),
            Input::Leave => {
                self.hand_over(now);
                self.leave();
            }
        }
        self.settle(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Join => self.on_join_timer(now),
                Timer::Stabilize => self.on_stabilize_timer(now),
                Timer::Check => self.on_check_timer(now),
                Timer::Gossip => self.on_gossip_timer(),
                Timer::Heartbeat => self.on_heartbeat_timer(now),
                Timer::Dial => self.on_dial_timer(now),
                Timer::Lookup => self.on_lookup_timer(now),
                Timer::Fingers => self.on_fingers_timer(now),
                Timer::Store => self.on_store_timer(now),
                Timer::Channel => self.on_channel_timer(now),
            }
        }
        self.settle(now);
    }

    /// When [`Proto::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next().map(|(at, _)| at)
    }

    /// The next thing to do. Call until it gives `None`, after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Exchanges the queue of outputs, so that whoever runs many nodes lends one buffer to all instead of having each keep its
    /// own: swap an empty buffer in, give *one* input or timeout, swap again, and carry out what the buffer then holds, in its
    /// order. What [`Proto::new`] puts out is in the node's own queue: drain that first.
    pub fn swap_outputs(&mut self, buffer: &mut VecDeque<Output>) {
        std::mem::swap(&mut self.outputs, buffer);
    }

    /// The id of this node.
    pub fn id(&self) -> Id {
        self.me
    }

    /// How far the node has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The node before this one, the nearest first.
    pub fn predecessors(&self) -> &[Id] {
        &self.ring.predecessors
    }

    /// The successor list, the nearest first.
    pub fn successors(&self) -> &[Id] {
        &self.ring.successors
    }

    /// The peers with an open link: id, role, and what the link was wanted for.
    pub fn peers(&self) -> impl Iterator<Item = Peer> {
        self.links.open().map(|seat| Peer {
            id: seat.peer,
            link: seat.link,
            role: seat.role(),
            member: seat.is_member(),
            purpose: seat.purpose,
            dialled: seat.is_dialled(),
            suspect: seat.is_suspect(),
        })
    }

    /// Whether this link is open or being set up.
    pub fn holds(&self, link: LinkId) -> bool {
        self.links.seat_of(link).is_some()
    }

    /// Links that are open or being set up: never more than the budget.
    pub fn links_in_use(&self) -> usize {
        self.links.len()
    }

    /// The settings, as brought into their bounds.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Other settings from now on. Waits that have begun end as they were set, and the role, the budget and the fingers that
    /// the node has stay: for waits that differ between the building of a ring and what is measured on it.
    pub fn reconfigure(&mut self, config: impl Into<Arc<Config>>) {
        let kept = (self.config.role, self.config.max_links);
        self.config = Config::bounded(config.into());
        debug_assert_eq!(kept, (self.config.role, self.config.max_links), "the role and the budget stay");
    }

    /// Bytes that this node takes: itself and its tables, with the room that they keep for more.
    pub fn memory(&self) -> usize {
        let outputs = self.outputs.capacity() * size_of::<Output>();
        let tables = [
            self.ring.memory(),
            self.links.memory(),
            self.failed.memory(),
            self.fingers.memory(),
            self.lookups.memory(),
            self.store_memory(),
            self.channels_memory(),
            outputs,
        ];
        size_of::<Proto>() + tables.into_iter().sum::<usize>()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The header for a datagram to a peer; `via` is the neighbour to reach it through, when it is not a member.
    pub fn datagram_header(&self, peer: Id, via: Option<Id>, report: bool) -> Header {
        let flags = if report { Flags::REPORT } else { Flags::default() };
        self.header(kind::DATAGRAM, peer, via, flags)
    }

    fn on_frame(&mut self, link: LinkId, frame: Frame, now: Time) {
        if !self.links.seat_of(link).is_some_and(|seat| seat.is_open()) {
            return;
        }
        let Some(peer) = self.links.hear(link, now) else { return };
        if frame.header.kind < kind::FIRST_ROUTED {
            self.on_neighbour_message(link, peer, frame.message, now);
        } else {
            self.on_routed_frame(link, frame, now);
        }
    }

    fn on_neighbour_message(&mut self, link: LinkId, peer: Id, message: Message, now: Time) {
        match message {
            Message::Ping => self.send_on(link, Message::Pong),
            Message::Pong => {}
            Message::Neighbours(list) => self.on_neighbours(link, &list, now),
            Message::AskRing => self.send_ring(link),
            Message::Ring(view) => self.on_ring(link, peer, &view, now),
            Message::Leave(view) => self.on_leave(link, peer, &view, now),
            Message::Close => self.on_closed_by_peer(link, now),
            Message::Tree(message) => self.on_tree(link, peer, *message, now),
            Message::Envelope(envelope) => self.on_envelope(link, peer, envelope, now),
            Message::Unknown { .. } => self.stats.unknown += 1,
            _ => self.stats.invalid += 1,
        }
    }

    fn on_routed_frame(&mut self, link: LinkId, mut frame: Frame, now: Time) {
        let traced = match &mut frame.message {
            Message::Trace(trace) if trace.hops.len() < crate::wire::MAX_TRACE => {
                trace.hops.push(self.me);
                true
            }
            Message::Trace(_) => false,
            _ => true,
        };
        match self.route(&mut frame.header, Some(link), now) {
            _ if !traced => self.stats.invalid += 1,
            Hop::Deliver => self.deliver(frame, Some(link), now),
            Hop::Forward(link) => self.outputs.push_back(Output::Send { link, frame }),
            Hop::Drop(reason) => self.report(&frame.header, reason, now),
        }
    }

    /// A routed frame has arrived where it was sent: over this link, or from this node itself.
    fn deliver(&mut self, frame: Frame, link: Option<LinkId>, now: Time) {
        let Frame { header, message } = frame;
        let (src, via) = (header.src, header.answer_through());
        match message {
            Message::Find(request) => self.on_find(&header, request, now),
            Message::Found(found) => self.on_found(src, found, now),
            Message::Dial(Dial { attempt, step: Step::Seek { from, to, least } }) => {
                self.on_seek(header, attempt, Sought { from, to, least }, now);
            }
            Message::Dial(dial) => self.on_dial(src, links::Route::Ring(via), dial, now),
            Message::Unreachable(body) => self.on_unreachable(body.peer, body.nobody, now),
            Message::Trace(trace) => {
                self.send_to(src, via, Flags::default(), Message::Traced(trace), now);
            }
            Message::Traced(trace) => self.on_traced(trace),
            Message::Store(request) => self.on_store(&header, *request, link, now),
            Message::Stored(answer) => self.on_stored(*answer, now),
            Message::Replicate(message) => self.on_replicate(&header, *message, link, now),
            Message::Parcel(parcel) => self.on_parcel(&header, *parcel, link, now),
            Message::Datagram(packet) => self.outputs.push_back(Output::Datagram { from: src, via, packet }),
            Message::Unknown { .. } => self.stats.unknown += 1,
            _ => self.stats.invalid += 1,
        }
    }

    /// A frame to this peer was reported as undeliverable. Anybody can claim so: it ends attempts, nothing that works.
    fn on_unreachable(&mut self, peer: Id, nobody: bool, now: Time) {
        self.fail_requests_to(peer, now);
        self.fail_traces_to(peer, if nobody { LookupError::NoSuchPeer } else { LookupError::NoWay });
        self.outputs.push_back(Output::Unreachable { peer, nobody });
    }

    fn header(&self, kind: u8, dst: Id, via: Option<Id>, flags: Flags) -> Header {
        let answer = if self.is_found() { None } else { self.attachment() };
        let via = (via.is_some() || answer.is_some())
            .then(|| Via { to: via.unwrap_or(dst), answer: answer.unwrap_or(self.me) });
        Header { flags, via, ..Header::new(kind, self.me, dst) }
    }

    /// Whether the ring leads to this member, for it has a link to the one before it. Any other is answered through a neighbour.
    fn is_found(&self) -> bool {
        let before = self.ring.predecessor().is_some_and(|before| self.links.is_open_to(before));
        self.phase == Phase::Member && self.joining.introduced && before
    }

    /// The member through which others answer a node that is not one.
    fn attachment(&self) -> Option<Id> {
        self.links.members().map(|link| link.peer).next()
    }

    /// Sends a message over the ring: to a peer, or with [`Flags::KEY`] to a point of the ring.
    fn send_to(&mut self, dst: Id, via: Option<Id>, flags: Flags, message: Message, now: Time) {
        let mut header = self.header(message.kind(), dst, via, flags);
        let hop = self.first_hop(&mut header, &[]);
        self.start(hop, Frame { header, message }, now);
    }

    /// Does with a frame of this node's own what the router says.
    fn start(&mut self, hop: Hop, mut frame: Frame, now: Time) {
        match hop {
            Hop::Deliver => self.deliver(frame, None, now),
            Hop::Forward(link) => {
                frame.header.ttl -= 1;
                self.outputs.push_back(Output::Send { link, frame });
            }
            Hop::Drop(reason) => self.report(&frame.header, reason, now),
        }
    }

    /// Sends a message to the neighbour at the other end of a link.
    fn send_on(&mut self, link: LinkId, message: Message) {
        let Some(seat) = self.links.seat_of(link).filter(|seat| seat.is_open()) else { return };
        let header = Header::new(message.kind(), self.me, seat.peer);
        self.outputs.push_back(Output::Send { link, frame: Frame { header, message } });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// An open link, as [`Proto::peers`] tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Who is at the other end.
    pub id: Id,
    /// The link.
    pub link: LinkId,
    /// What the peer is to the ring.
    pub role: Role,
    /// Whether the peer has said that it is a member of the ring.
    pub member: bool,
    /// What the link was wanted for.
    pub purpose: Purpose,
    /// Whether this side dialled.
    pub dialled: bool,
    /// Silent for longer than it should be.
    pub suspect: bool,
}
