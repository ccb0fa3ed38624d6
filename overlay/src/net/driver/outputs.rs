//! What the protocol wants done: links set up and closed, steps relayed, answers given.

use std::time::Duration;

use tokio::sync::mpsc;

use super::setup::{MAX_DESCRIPTIONS, Setup, SetupError};
use super::{Attempt, Driver, Event, OpenLink};
use crate::id::Id;
use crate::net::link::hello::Peer;
use crate::net::link::{Channel, CloseReason, Link, LinkKey};
use crate::net::platform::{self, Change, Instant};
use crate::net::session::Unreachable;
use crate::node::NodeEvent;
use crate::proto::{Event as RingEvent, Input, LinkId, Output};
use crate::wire::kind;

/// How long changes of the ring are gathered before the signalling server is told.
const STATUS_DELAY: Duration = Duration::from_millis(200);

/// An attempt at a link that the protocol ends sooner than this gave way to another; later, it has failed.
const GAVE_WAY: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn on_link_closed(&mut self, link: LinkId, reason: CloseReason) {
        let Some(open) = self.links.remove(&link) else { return };
        tracing::debug!(peer = %open.peer.id, %reason, "link closed");
        if let CloseReason::Protocol(breach) = reason {
            self.count_cause(open.peer.id, breach.label());
        }
        self.change_ways();
        self.input(Input::LinkDown { link });
        self.drain();
    }

    pub(super) fn on_setup(&mut self, event: Event) {
        match event {
            Event::Describe { link, description } => self.input(Input::Describe { link, description }),
            Event::SetUp { link, result } => {
                let Some(attempt) = self.attempts.remove(&link) else { return };
                match result {
                    Ok((opened, peer)) => self.on_open(link, opened, peer),
                    Err(error) => {
                        tracing::debug!(peer = %attempt.peer, %error, "a link did not open");
                        let (peer, reason) = (attempt.peer, error.to_string());
                        if let SetupError::Hello(error) = &error
                            && let Some(cause) = error.cause()
                        {
                            self.count_cause(peer, cause);
                        }
                        let _ = self.events.send(match error {
                            SetupError::Hello(error) if error.is_refusal() => NodeEvent::PeerRefused { peer, reason },
                            _ => NodeEvent::LinkFailed { peer, reason },
                        });
                        self.input(Input::LinkDown { link });
                    }
                }
            }
        }
    }

    pub(super) fn on_open(&mut self, link: LinkId, opened: Link, peer: Peer) {
        let sender = opened.forward(LinkKey(u64::from(link.0)), self.inbox_in.clone());
        self.links.insert(link, OpenLink { peer, sender });
        self.change_ways();
        self.input(Input::LinkUp { link, role: peer.role });
    }

    /// Carries out what the protocol wants.
    pub(super) fn drain(&mut self) {
        while let Some(output) = self.proto.poll_output() {
            match output {
                Output::Send { link, frame } => {
                    let channel = if frame.header.kind >= kind::FIRST_DATAGRAM { Channel::Data } else { Channel::Ring };
                    self.send(link, channel, frame.encode());
                }
                Output::Signal { to, dial } => {
                    if self.server.relay(to, dial).is_err() {
                        tracing::debug!(%to, "the signalling client is busy; a step of a dial is lost");
                    }
                }
                Output::FindMembers => {
                    let _ = self.server.find_members();
                }
                Output::Connect { link, peer, offers } => self.connect(link, peer, offers),
                Output::Described { link, description } => {
                    if let Some(attempt) = self.attempts.get(&link) {
                        let _ = attempt.descriptions.try_send(description);
                    }
                }
                Output::Close { link } => self.close(link),
                Output::Datagram { from, packet, .. } => {
                    if let Some(port) = &self.port {
                        port.deliver(from, packet);
                    }
                }
                Output::Unreachable { peer, nobody } => self.on_unreachable(peer, nobody),
                Output::Answer { token, answer } => {
                    if let Some(reply) = self.replies.remove(&token) {
                        let _ = reply.send(answer);
                    }
                }
                Output::Channel { channel, event } => {
                    if let Some(hub) = self.hubs.get(&channel) {
                        hub.deliver(event);
                    }
                }
                Output::Save { number, record } => self.change_disk(Change::Save { number, record: *record }),
                Output::Forget { place } => self.change_disk(Change::Forget { place }),
                Output::Event(event) => self.on_ring_event(event),
            }
        }
    }

    fn change_disk(&mut self, change: Change) {
        if let Some(disk) = &mut self.disk {
            disk.change(change);
        }
    }

    pub(super) fn connect(&mut self, link: LinkId, peer: Id, offers: bool) {
        let (descriptions_in, descriptions) = mpsc::channel(MAX_DESCRIPTIONS);
        let setup = Setup {
            link,
            peer,
            offers,
            transport: self.transport.clone(),
            identity: self.identity.clone(),
            hello: self.hello.clone(),
            descriptions,
            events: self.setup_in.clone(),
        };
        let task = platform::spawn(setup.run()).abort_handle();
        self.attempts.insert(link, Attempt { peer, begun: Instant::now(), descriptions: descriptions_in, task });
    }

    pub(super) fn close(&mut self, link: LinkId) {
        if let Some(attempt) = self.attempts.remove(&link) {
            attempt.task.abort();
            if attempt.begun.elapsed() >= GAVE_WAY {
                let reason = "it did not open in time".to_owned();
                let _ = self.events.send(NodeEvent::LinkFailed { peer: attempt.peer, reason });
            }
        }
        if let Some(open) = self.links.remove(&link) {
            open.sender.close();
            self.change_ways();
            if self.closed.is_some() {
                self.leaving.push(open.sender);
            }
        }
    }

    /// The ring does not lead to the peer, or no longer by the way that was known.
    pub(super) fn on_unreachable(&mut self, peer: Id, nobody: bool) {
        self.routes.forget(peer);
        self.vias.remove(&peer);
        if let Some(port) = &self.port {
            port.fail(peer, if nobody { Unreachable::NoSuchPeer } else { Unreachable::NoRoute });
        }
    }

    pub(super) fn on_ring_event(&mut self, event: RingEvent) {
        let due = Instant::now() + STATUS_DELAY;
        self.status_due.get_or_insert(due);
        if event == RingEvent::Joined {
            self.tell_status();
        }
        let _ = self.events.send(NodeEvent::Ring(event));
    }
}
