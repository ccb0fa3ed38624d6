//! Frames between the links, the protocol and the sessions.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::carrier::{UNROUTED_PACKETS, Unrouted};
use super::{Driver, KnownVia};
use crate::id::Id;
use crate::net::link::{Channel, LinkEvent, LinkKey, SendError};
use crate::net::platform::Instant;
use crate::proto::{Hop, Input, LinkId};
use crate::wire::{Frame, Header, kind};

/// Leaves whose neighbour is remembered, to answer their session packets, at most.
const MAX_VIAS: usize = 1024;

/// A node that spoke through one neighbour is not answered through another for so long.
const VIA_STEADY: Duration = Duration::from_secs(5);

/// Frames taken from the links before anything else gets a turn.
const BATCH: usize = 64;

impl Driver {
    /// Handles a run of events without going back to the scheduler for each.
    pub(super) fn on_link_events(&mut self, first: LinkEvent) {
        self.on_link_event(first);
        for _ in 1..BATCH {
            match self.inbox.try_recv() {
                Ok(event) => self.on_link_event(event),
                Err(_) => break,
            }
        }
    }

    pub(super) fn on_link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Frame { link, channel, bytes } => self.on_bytes(link_id(link), channel, bytes),
            LinkEvent::Writable { .. } => {
                if let Some(port) = &self.port {
                    port.writable();
                }
            }
            LinkEvent::Closed { link, reason } => self.on_link_closed(link_id(link), reason),
        }
    }

    /// A frame came: passes it on by its header alone, or takes it apart when it is for this node.
    pub(super) fn on_bytes(&mut self, link: LinkId, channel: Channel, mut bytes: BytesMut) {
        // What was on its way when the link was closed counts for nothing.
        if !self.links.contains_key(&link) {
            return;
        }
        let (mut header, length) = match Header::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(error) => return self.close_for_cause(link, error.label()),
        };
        self.counters.frames_in += 1;
        let is_datagram = header.kind >= kind::FIRST_DATAGRAM;
        if is_datagram != (channel == Channel::Data) {
            return self.close_for_cause(link, "channel");
        }
        if header.kind < kind::FIRST_ROUTED || header.kind == kind::TRACE {
            return self.on_control(link, bytes.freeze());
        }
        let now = self.now();
        match self.proto.route(&mut header, Some(link), now) {
            Hop::Forward(next) => {
                self.counters.frames_forwarded += 1;
                if !header.patch(&mut bytes) {
                    bytes = rewritten(&header, &bytes[length..]);
                }
                self.send(next, channel, bytes);
            }
            Hop::Deliver if header.kind == kind::DATAGRAM => {
                self.learn_via(&header);
                let packet = bytes.split_off(length).freeze();
                if let Some(port) = &self.port {
                    port.deliver(header.src, packet);
                }
            }
            Hop::Deliver => self.on_control(link, bytes.freeze()),
            Hop::Drop(reason) => {
                self.proto.report(&header, reason, now);
                self.drain();
            }
        }
    }

    pub(super) fn on_control(&mut self, link: LinkId, bytes: Bytes) {
        let kind = kind_of(&bytes);
        match Frame::decode(bytes) {
            Ok(frame) => {
                // Whom a neighbour can reach decides about routes.
                if frame.header.kind == kind::NEIGHBOURS {
                    self.change_ways();
                }
                self.input(Input::Frame { link, frame });
                self.drain();
            }
            // Hops pass bodies on unread: whoever made this one, it need not be the neighbour that it came from.
            Err(_) if is_passed_on_unread(kind) => self.counters.malformed += 1,
            Err(error) => self.close_for_cause(link, error.label()),
        }
    }

    /// How to answer the session packets of a node: through a neighbour of its own, when it is not a member. Anybody can claim
    /// to be the source of a packet, so the way that has just worked is not given up for another.
    pub(super) fn learn_via(&mut self, header: &Header) {
        let via = header.answer_through();
        let now = Instant::now();
        match self.vias.get_mut(&header.src) {
            Some(known) if known.via == via => known.heard = now,
            Some(known) if now.duration_since(known.heard) < VIA_STEADY => {}
            None if via.is_none() => {}
            _ => {
                if self.vias.len() >= MAX_VIAS {
                    let first = self.vias.first().map(|(&peer, _)| peer);
                    first.and_then(|peer| self.vias.remove(&peer));
                }
                self.vias.insert(header.src, KnownVia { via, heard: now });
                self.routes.forget(header.src);
            }
        }
    }

    /// A packet of this node's sessions without a known route: route it, and remember the way.
    pub(super) fn on_unrouted(&mut self, first: Unrouted) {
        let more = std::iter::from_fn(|| self.unrouted.try_recv().ok()).take(UNROUTED_PACKETS).collect::<Vec<_>>();
        for Unrouted { to, packet } in std::iter::once(first).chain(more) {
            let now = self.now();
            let via = self.vias.get(&to).and_then(|known| known.via);
            let mut header = self.proto.datagram_header(to, via, true);
            match self.proto.route(&mut header, None, now) {
                Hop::Forward(link) => {
                    if let Some(packet) = packet {
                        self.send(link, Channel::Data, rewritten(&header, &packet));
                    }
                    if let Some(open) = self.links.get(&link).filter(|_| header.trail.is_empty()) {
                        self.routes.learn(to, open.sender.clone(), rewritten(&header, &[]).freeze());
                    }
                }
                Hop::Deliver => {}
                Hop::Drop(reason) => {
                    self.proto.report(&header, reason, now);
                    self.drain();
                }
            }
        }
        if let Some(port) = &self.port {
            port.writable();
        }
    }

    /// The links, or what they lead to, are not what they were: every packet is routed anew. That of a session which a full link refused, too:
    /// of a link that is gone it would wait for room for ever.
    pub(super) fn change_ways(&mut self) {
        self.routes.clear();
        if let Some(port) = &self.port {
            port.writable();
        }
    }

    /// Hands a frame to a link. When it is full, a routed frame is dropped, for others fill it too; a peer that does not read
    /// what this node itself tells it, pings among them, loses the link.
    pub(super) fn send(&mut self, link: LinkId, channel: Channel, bytes: BytesMut) {
        let Some(open) = self.links.get(&link) else { return };
        let is_routed = kind_of(&bytes) >= kind::FIRST_ROUTED;
        let sent = match is_routed && channel == Channel::Ring {
            true => open.sender.try_send_routed(channel, bytes),
            false => open.sender.try_send(channel, bytes),
        };
        match sent {
            Ok(()) => self.counters.frames_out += 1,
            Err(SendError::Full) if !is_routed => self.close_for_cause(link, "slow"),
            Err(_) => self.counters.frames_dropped += 1,
        }
    }

    /// The peer broke the rules: the link ends, everybody else goes on.
    pub(super) fn close_for_cause(&mut self, link: LinkId, cause: &'static str) {
        let Some(open) = self.links.remove(&link) else { return };
        self.count_cause(open.peer.id, cause);
        open.sender.close();
        self.change_ways();
        self.input(Input::LinkDown { link });
    }

    /// Notes why a link was closed on which the peer broke the rules.
    pub(super) fn count_cause(&mut self, peer: Id, cause: &'static str) {
        tracing::warn!(%peer, cause, "closing a link");
        *self.counters.closed_for_cause.entry(cause).or_default() += 1;
    }
}

/// A frame with another header than it came with.
fn rewritten(header: &Header, body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::with_capacity(64 + header.trail.len() * Id::BYTES + body.len());
    header.encode(&mut frame);
    frame.extend_from_slice(body);
    frame
}

/// The kind of a frame, by its place in the header.
fn kind_of(frame: &[u8]) -> u8 {
    frame.get(1).copied().unwrap_or(0)
}

/// Whether hops forward frames of this kind by their header alone.
fn is_passed_on_unread(kind: u8) -> bool {
    kind >= kind::FIRST_ROUTED && kind != kind::TRACE
}

fn link_id(key: LinkKey) -> LinkId {
    LinkId(key.0 as u32)
}
