//! Which session serves a peer, and who is dialling whom.

use std::time::Duration;

use tokio::sync::watch;

use super::error::{SessionError, close};
use super::live::Session;
use crate::id::Id;
use crate::net::platform::AbortHandle;
use crate::small_map::SmallMap;

/// What all who dial a peer at the same time wait for.
pub(super) type Answer = Option<Result<Session, SessionError>>;

/// All peers of one node. Bounded by the settings: an entry stands for a session, a dial or a handshake.
#[derive(Default)]
pub(super) struct Table {
    pub(super) closed: bool,
    peers: SmallMap<Id, Peer>,
}

#[derive(Default)]
struct Peer {
    current: Option<Session>,
    attempt: Option<Attempt>,
    /// All that have not ended, the current one among them.
    sessions: Vec<Session>,
    /// Handshakes that the peer began.
    handshakes: usize,
}

struct Attempt {
    answer: watch::Sender<Answer>,
    task: Option<AbortHandle>,
}

impl Table {
    /// The session that serves `peer` now.
    pub(super) fn current(&self, peer: Id) -> Option<&Session> {
        self.peers.get(&peer)?.current.as_ref().filter(|session| session.is_open())
    }

    /// All that serve a peer now, by id.
    pub(super) fn all(&self) -> Vec<Session> {
        self.peers.keys().filter_map(|&peer| self.current(peer).cloned()).collect()
    }

    /// The dial that runs.
    pub(super) fn attempt(&self, peer: Id) -> Option<watch::Receiver<Answer>> {
        Some(self.peers.get(&peer)?.attempt.as_ref()?.answer.subscribe())
    }

    /// A dial begins, by the task that `start` makes.
    pub(super) fn begin(&mut self, peer: Id, start: impl FnOnce() -> AbortHandle) -> watch::Receiver<Answer> {
        let (answer, receiver) = watch::channel(None);
        let task = Some(start());
        self.peers.entry(peer).or_default().attempt = Some(Attempt { answer, task });
        receiver
    }

    /// A dial has failed by itself.
    pub(super) fn failed(&mut self, peer: Id, error: SessionError) {
        let instead = self.current(peer).cloned();
        if let Some(attempt) = self.take_attempt(peer) {
            let _ = attempt.answer.send(Some(instead.ok_or(error)));
        }
    }

    /// A dial is to end now, with this error.
    pub(super) fn abort(&mut self, peer: Id, error: SessionError) {
        if let Some(attempt) = self.take_attempt(peer) {
            if let Some(task) = attempt.task {
                task.abort();
            }
            let _ = attempt.answer.send(Some(Err(error)));
        }
    }

    /// No dial any more, no session: ends all of them.
    pub(super) fn shut_down(&mut self) {
        self.closed = true;
        let peers: Vec<Id> = self.peers.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.abort(peer, SessionError::Closed));
        let sessions = self.peers.values().flat_map(|peer| &peer.sessions);
        sessions.for_each(|session| session.close_with(close::SHUT_DOWN));
    }

    /// A handshake is done. Decides which session serves the peer, and answers those who wait.
    pub(super) fn insert(&mut self, session: &Session, own: Id, glare: Duration) {
        let peer = self.peers.entry(session.peer()).or_default();
        peer.sessions.push(session.clone());
        match peer.current.take().filter(Session::is_open) {
            Some(current) if !replaces(session, &current, own, glare) => {
                session.supersede();
                peer.current = Some(current);
            }
            old => {
                old.iter().for_each(Session::supersede);
                peer.current = Some(session.clone());
            }
        }
        let serves = peer.current.clone();
        if session.dialled() {
            if let (Some(attempt), Some(serves)) = (self.take_attempt(session.peer()), serves) {
                let _ = attempt.answer.send(Some(Ok(serves)));
            }
        } else if let (Some(attempt), Some(serves)) = (&peer.attempt, serves) {
            // The own dial goes on: the peer may prefer it.
            let _ = attempt.answer.send(Some(Ok(serves)));
        }
    }

    /// A session has ended.
    pub(super) fn remove(&mut self, session: &Session) {
        let id = session.peer();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.sessions.retain(|other| !other.is_same(session));
            if peer.current.as_ref().is_some_and(|current| current.is_same(session)) {
                peer.current = None;
            }
        }
        self.tidy(id);
    }

    /// Sessions with `peer`, old ones too.
    pub(super) fn sessions(&self, peer: Id) -> usize {
        self.peers.get(&peer).map_or(0, |peer| peer.sessions.len())
    }

    /// Handshakes that `peer` has begun.
    pub(super) fn handshakes(&self, peer: Id) -> usize {
        self.peers.get(&peer).map_or(0, |peer| peer.handshakes)
    }

    pub(super) fn handshake_begins(&mut self, peer: Id) {
        self.peers.entry(peer).or_default().handshakes += 1;
    }

    pub(super) fn handshake_ends(&mut self, peer: Id) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.handshakes -= 1;
        }
        self.tidy(peer);
    }

    fn take_attempt(&mut self, peer: Id) -> Option<Attempt> {
        let attempt = self.peers.get_mut(&peer)?.attempt.take();
        self.tidy(peer);
        attempt
    }

    fn tidy(&mut self, id: Id) {
        let unused = |peer: &Peer| peer.attempt.is_none() && peer.sessions.is_empty() && peer.handshakes == 0;
        if self.peers.get(&id).is_some_and(unused) {
            self.peers.remove(&id);
        }
    }
}

/// Both dialled each other at the same time: the smaller id's connection serves, so both ends choose the same. Otherwise
/// the newer one.
fn replaces(new: &Session, current: &Session, own: Id, glare: Duration) -> bool {
    let simultaneous = new.dialled() != current.dialled() && current.age() < glare;
    let own_is_smaller = own < new.peer();
    !simultaneous || new.dialled() == own_is_smaller
}
