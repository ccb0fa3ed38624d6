//! Requests that are routed over the ring, matched with their answers: who owns a key, and by which hops a peer is reached.

use std::sync::Arc;
use std::time::Duration;

use super::channel::ChannelError;
use super::links::{Link, LinkId};
use super::store::StoreError;
use super::timer::{Time, Timer};
use super::{Hop, Output, Phase, Proto};
use crate::id::Id;
use crate::record::Record;
use crate::wire::{Flags, Found, Frame, Header, Message, RingView, TTL, Trace, Via};
use rand::RngExt;

/// Lookups and traces under way at most, the protocol's own among them.
const MAX_LOOKUPS: usize = 128;

/// First hops that a lookup remembers to have tried at most; where there are fewer, it begins again.
const MAX_TRIED: usize = 32;

/// How long a trace may take.
const TRACE_TIMEOUT: Duration = Duration::from_secs(3);

/// The application's name for a request, given back with the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// The owner of a key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
pub struct Owner {
    /// Its id.
    pub id: Id,
    /// Hops that the request took to it.
    pub hops: u8,
    /// Its neighbours, as it says.
    pub view: Arc<RingView>,
}

/// The answer to a request of the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To [`Input::Lookup`](super::Input::Lookup).
    Lookup(Result<Owner, LookupError>),
    /// To [`Input::Trace`](super::Input::Trace): the nodes on the way in their order, the peer last.
    Trace(Result<Vec<Id>, LookupError>),
    /// To [`Input::UpdateFinger`](super::Input::UpdateFinger): the member that now stands in the row.
    Finger(Result<Id, LookupError>),
    /// To [`Input::Put`](super::Input::Put): how many nodes keep the record, its owner among them.
    Put(Result<u8, StoreError>),
    /// To [`Input::JoinChannel`](super::Input::JoinChannel).
    Joined(Result<(), ChannelError>),
    /// To [`Input::Publish`](super::Input::Publish): the number of the message in its stream.
    Published(Result<u64, ChannelError>),
    /// To [`Input::LeaveChannel`](super::Input::LeaveChannel).
    LeftChannel,
    /// To [`Input::Get`](super::Input::Get): the record, verified. One without a value says that it was deleted.
    Get(Result<Option<Box<Record>>, StoreError>),
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No answer came in time, by any of several ways.
    #[error("no answer in time; the ring may be repairing itself, try again")]
    TimedOut,
    /// The owner of the arc says that nobody holds this id.
    #[error("no node holds this id")]
    NoSuchPeer,
    /// No way to the peer was found.
    #[error("no way to the peer was found; the ring may be repairing itself, try again")]
    NoWay,
    /// The node is not on a ring yet, or no longer.
    #[error("the node is not on a ring")]
    NotJoined,
    /// Too many requests are under way.
    #[error("too many lookups at once; at most {MAX_LOOKUPS}")]
    Busy,
    /// No member stands in this row of the finger table.
    #[error("no member stands in this row of the finger table")]
    EmptyRow,
    /// The member that was found for the row has no place for another link.
    #[error("the member found for this row has no free place for a link")]
    Refused,
}

/// What a lookup is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Why {
    /// This node's own place.
    Place,
    /// Whether a member that the signalling server named is on this ring.
    Sample,
    /// The owner of a fixed point, for one of this node's fingers.
    Finger(usize),
    /// A link with some member of the arc of one of this node's fingers.
    Seek(usize),
    /// A member for a row that the application wants refreshed.
    Row(u32, Token),
    /// The application's.
    Application(Token),
    /// Not a lookup: the hops to a peer, for the application.
    Trace(Token),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Lookup {
    request: u32,
    key: Id,
    before: bool,
    why: Why,
    /// Ask this neighbour, whatever the tables say.
    over: Option<(LinkId, Id)>,
    /// First hops that gave no answer.
    tried: Vec<LinkId>,
    tries_left: u8,
    deadline: Time,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Lookups(Vec<Lookup>);

impl Lookups {
    pub(super) fn seeks_place(&self) -> bool {
        self.0.iter().any(|lookup| lookup.why == Why::Place)
    }

    pub(super) fn seeks_finger(&self) -> bool {
        self.0.iter().any(|lookup| matches!(lookup.why, Why::Finger(_) | Why::Seek(_)))
    }

    #[cfg(feature = "model")]
    pub(super) fn requests(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|lookup| lookup.request)
    }

    #[cfg(feature = "model")]
    pub(super) fn make_due(&mut self, index: usize, now: Time) {
        if let Some(lookup) = self.0.get_mut(index) {
            lookup.deadline = now;
        }
    }

    #[cfg(feature = "model")]
    pub(super) fn hash_untimed(
        &self,
        links: &super::links::Links,
        names: &mut super::untimed::Names,
        hasher: &mut impl std::hash::Hasher,
    ) {
        use std::hash::Hash;
        self.0.len().hash(hasher);
        for lookup in &self.0 {
            (names.of(lookup.request), lookup.key, lookup.before, lookup.why, lookup.tries_left).hash(hasher);
            let place = |link: LinkId| links.name_of(link);
            lookup.over.map(|(link, peer)| (place(link), peer)).hash(hasher);
            lookup.tried.len().hash(hasher);
            lookup.tried.iter().for_each(|&link| place(link).hash(hasher));
        }
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        let tried: usize = self.0.iter().map(|lookup| lookup.tried.capacity()).sum();
        self.0.capacity() * size_of::<Lookup>() + tried * size_of::<LinkId>()
    }

    fn take(&mut self, request: u32, trace: bool) -> Option<Lookup> {
        let is = |lookup: &Lookup| lookup.request == request && matches!(lookup.why, Why::Trace(_)) == trace;
        let at = self.0.iter().position(is)?;
        Some(self.remove(at))
    }

    /// Takes out the request for a link with a member of an arc. Gives the finger that it was for.
    pub(super) fn take_seek(&mut self, request: u32) -> Option<usize> {
        let is = |lookup: &Lookup| lookup.request == request && matches!(lookup.why, Why::Seek(_));
        let at = self.0.iter().position(is)?;
        match self.remove(at).why {
            Why::Seek(index) => Some(index),
            _ => None,
        }
    }

    fn remove(&mut self, at: usize) -> Lookup {
        let lookup = self.0.swap_remove(at);
        self.0.shrink_to(self.0.len() * 2);
        lookup
    }
}

impl Proto {
    pub(super) fn look_up(&mut self, token: Token, key: Id, now: Time) {
        self.start_lookup(key, false, Why::Application(token), None, now);
    }

    pub(super) fn trace(&mut self, token: Token, peer: Id, now: Time) {
        if peer == self.me {
            return self.answer(token, Answer::Trace(Ok(Vec::new())));
        }
        let Some(request) = self.admit(peer, false, Why::Trace(token), None, now.after(TRACE_TIMEOUT), 1) else {
            return;
        };
        let trace = Message::Trace(Trace { request, hops: Vec::new() });
        self.send_to(peer, None, Flags::REPORT, trace, now);
    }

    /// Looks a key up: its owner, or the member before it. `over`: by this link first.
    pub(super) fn start_lookup(&mut self, key: Id, before: bool, why: Why, over: Option<LinkId>, now: Time) {
        let over = over.and_then(|link| self.links.get(link)).map(|link| (link.id, link.peer));
        let deadline = now.after(self.config.lookup_timeout);
        if let Some(request) = self.admit(key, before, why, over, deadline, self.config.lookup_tries) {
            self.send_lookup(request, now);
        }
    }

    fn admit(
        &mut self,
        key: Id,
        before: bool,
        why: Why,
        over: Option<(LinkId, Id)>,
        deadline: Time,
        tries: u8,
    ) -> Option<u32> {
        let refused = if self.phase == Phase::Joining && why != Why::Place {
            Some(LookupError::NotJoined)
        } else if self.lookups.0.len() >= MAX_LOOKUPS {
            Some(LookupError::Busy)
        } else {
            None
        };
        if let Some(error) = refused {
            self.lookup_failed(why, key, error);
            return None;
        }
        let request = self.rng.random();
        self.lookups.0.push(Lookup {
            request,
            key,
            before,
            why,
            over,
            tried: Vec::new(),
            tries_left: tries - 1,
            deadline,
        });
        self.timers.at_latest(Timer::Lookup, deadline);
        Some(request)
    }

    fn send_lookup(&mut self, request: u32, now: Time) {
        let Some(lookup) = self.lookups.0.iter_mut().find(|lookup| lookup.request == request) else { return };
        // The link may have closed since the last try.
        lookup.over = lookup.over.filter(|&(link, _)| self.links.get(link).is_some_and(Link::is_open));
        let (over, key, flags, why) = (lookup.over, lookup.key, Self::key_flags(lookup.before), lookup.why);
        let mut tried = std::mem::take(&mut lookup.tried);
        let message = match why {
            Why::Seek(index) => self.seek(index, request).unwrap_or(Message::Find(request)),
            _ => Message::Find(request),
        };
        let mut header = self.header(message.kind(), key, None, flags);
        let hop = match over {
            Some((link, through)) => {
                // Answers cannot be routed to this node by another ring: they come back through the neighbour that was asked.
                header.via = Some(Via { to: through, answer: through });
                Hop::Forward(link)
            }
            None => self.first_hop(&mut header, &tried),
        };
        if let Hop::Forward(link) = hop {
            if over.is_none() && !tried.is_empty() {
                // The answer takes another way, too: the last one may have been lost on its way back.
                header.via = self.links.get(link).map(|link| Via { to: key, answer: link.peer });
            }
            if tried.contains(&link) || tried.len() == MAX_TRIED {
                tried.clear();
            }
            tried.push(link);
        }
        if let Some(lookup) = self.lookups.0.iter_mut().find(|lookup| lookup.request == request) {
            lookup.tried = tried;
        }
        self.start(hop, Frame { header, message }, now);
    }

    /// Somebody looks up a key that this node owns, or stands before.
    pub(super) fn on_find(&mut self, header: &Header, request: u32, now: Time) {
        let hops = TTL.saturating_sub(header.ttl);
        let found = Found { request, hops, view: self.view() };
        self.send_to(header.src, header.answer_through(), Flags::default(), Message::Found(found), now);
    }

    pub(super) fn on_found(&mut self, from: Id, found: Found, now: Time) {
        let Some(lookup) = self.lookups.take(found.request, false) else { return };
        match lookup.why {
            Why::Place => self.on_place(from, &found.view, lookup.over.map(|(_, peer)| peer)),
            Why::Sample if from != lookup.key => self.on_stranger(lookup.key, now),
            Why::Finger(index) | Why::Seek(index) => self.on_finger_found(index, from, now),
            Why::Row(row, token) => self.on_row_found(row, token, from, now),
            Why::Application(token) => {
                let owner = Owner { id: from, hops: found.hops, view: found.view };
                self.answer(token, Answer::Lookup(Ok(owner)));
            }
            Why::Sample | Why::Trace(_) => {}
        }
    }

    pub(super) fn on_traced(&mut self, trace: Trace) {
        if let Some(Lookup { why: Why::Trace(token), .. }) = self.lookups.take(trace.request, true) {
            self.answer(token, Answer::Trace(Ok(trace.hops)));
        }
    }

    pub(super) fn fail_traces_to(&mut self, peer: Id, error: LookupError) {
        let is = |lookup: &Lookup| lookup.key == peer && matches!(lookup.why, Why::Trace(_));
        let failed: Vec<Why> = self.lookups.0.iter().filter(|&lookup| is(lookup)).map(|lookup| lookup.why).collect();
        self.lookups.0.retain(|lookup| !is(lookup));
        self.lookups.0.shrink_to_fit();
        failed.into_iter().for_each(|why| self.lookup_failed(why, peer, error));
    }

    pub(super) fn on_lookup_timer(&mut self, now: Time) {
        let late: Vec<u32> =
            self.lookups.0.iter().filter(|lookup| lookup.deadline <= now).map(|lookup| lookup.request).collect();
        for request in late {
            let Some(at) = self.lookups.0.iter().position(|lookup| lookup.request == request) else { continue };
            if self.lookups.0[at].tries_left == 0 {
                let lookup = self.lookups.remove(at);
                self.lookup_failed(lookup.why, lookup.key, LookupError::TimedOut);
                continue;
            }
            let lookup = &mut self.lookups.0[at];
            lookup.tries_left -= 1;
            lookup.deadline = now.after(self.config.lookup_timeout);
            self.send_lookup(request, now);
        }
        if let Some(next) = self.lookups.0.iter().map(|lookup| lookup.deadline).min() {
            self.timers.set(Timer::Lookup, next);
        }
    }

    fn lookup_failed(&mut self, why: Why, _key: Id, error: LookupError) {
        match why {
            Why::Application(token) => self.answer(token, Answer::Lookup(Err(error))),
            Why::Trace(token) => self.answer(token, Answer::Trace(Err(error))),
            Why::Row(_, token) => self.answer(token, Answer::Finger(Err(error))),
            Why::Place | Why::Sample | Why::Finger(_) | Why::Seek(_) => {}
        }
    }

    pub(super) fn answer(&mut self, token: Token, answer: Answer) {
        self.outputs.push_back(Output::Answer { token, answer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::{hears, outputs};
    use crate::proto::{Config, Input};
    use crate::wire::{Dial, Neighbours, Purpose, RingView, Role, Step, kind};

    /// A member of a ring with open links to these others.
    fn member_among(others: &[Id]) -> Proto {
        let now = Time(0);
        // The others do not answer pings.
        let config = Config { heartbeat_every: Duration::ZERO, lookup_tries: 8, ..Config::default() };
        let mut proto = Proto::new(Id::new(100), config, 1, now);
        proto.handle(Input::Members { found: true, members: Vec::new() }, now);
        for &from in others {
            let step = Step::Request { role: Role::Member, purpose: Purpose::Ring };
            proto.handle(Input::Signal { from, dial: Dial { attempt: 1, step } }, now);
            let link = outputs(&mut proto).into_iter().find_map(|output| match output {
                Output::Connect { link, .. } => Some(link),
                _ => None,
            });
            let link = link.expect("the dial is accepted");
            proto.handle(Input::LinkUp { link, role: Role::Member }, now);
            let message = Message::Neighbours(Neighbours { member: true, room: 0, ids: [].into() });
            let frame = Frame { header: Header::new(message.kind(), from, proto.id()), message };
            proto.handle(Input::Frame { link, frame }, now);
        }
        outputs(&mut proto);
        proto
    }

    #[test]
    fn a_lookup_over_a_link_that_closed_goes_another_way() {
        let mut proto = member_among(&[Id::new(200), Id::new(300)]);
        // The member checks its own place over a link of its choice.
        let lookup_over = |proto: &mut Proto, lost: Option<LinkId>| loop {
            let due = proto.poll_timeout().expect("a member always has something to do");
            assert!(due < Time(20_000_000), "no lookup of the own place");
            proto.handle_timeout(due);
            for output in outputs(proto) {
                let Output::Send { link, frame } = output else { continue };
                assert_ne!(Some(link), lost, "sent over a link that is gone: {frame:?}");
                if frame.header.kind == kind::FIND && frame.header.dst == proto.id() {
                    return (link, due);
                }
            }
        };
        let (link, now) = lookup_over(&mut proto, None);
        proto.handle(Input::LinkDown { link }, now);
        outputs(&mut proto);
        let (other, _) = lookup_over(&mut proto, Some(link));
        assert_ne!(other, link);
    }

    #[test]
    fn every_try_of_a_lookup_takes_another_first_hop_there_and_back() {
        let neighbours: Vec<Id> = (2..10).map(|hundred| Id::new(hundred * 100)).collect();
        let mut proto = member_among(&neighbours);
        // The ring leads to it, so that answers need no way of their own.
        let before = proto.peers().find(|peer| peer.id == Id::new(900)).expect("a neighbour").link;
        let successors = [proto.id()].into_iter().chain(neighbours[..7].iter().copied()).collect();
        let view = RingView { member: true, predecessors: [].into_iter().collect(), successors };
        hears(&mut proto, before, Id::new(900), Message::Ring(view.into()));
        let now = Time(3_000_000);
        proto.handle_timeout(now);
        outputs(&mut proto);
        proto.handle(Input::Lookup { token: Token(1), key: Id::new(450) }, now);
        let (mut first_hops, mut answered_through) = (Vec::new(), Vec::new());
        let mut failed = false;
        while !failed {
            for output in outputs(&mut proto) {
                match output {
                    Output::Send { link, frame }
                        if frame.header.kind == kind::FIND && frame.header.dst != proto.id() =>
                    {
                        first_hops.push(link);
                        answered_through.extend(frame.header.answer_through());
                    }
                    Output::Answer { token: Token(1), .. } => failed = true,
                    _ => {}
                }
            }
            let due = proto.poll_timeout().expect("a lookup is under way");
            proto.handle_timeout(due);
        }
        let peer = |link: &LinkId| proto.peers().find(|peer| peer.link == *link).map(|peer| peer.id);
        let peers: Vec<Id> = first_hops.iter().filter_map(peer).collect();
        assert_eq!(peers[0], Id::new(500), "the best first");
        assert_eq!(answered_through, peers[1..], "each answer comes back by the first hop");
        first_hops.sort_unstable();
        first_hops.dedup();
        assert_eq!(first_hops.len(), 8, "of 8 tries: {peers:?}");
    }

    #[test]
    fn the_first_hop_counts_as_one() {
        let mut proto = member_among(&[Id::new(200), Id::new(300)]);
        proto.handle(Input::Lookup { token: Token(1), key: Id::new(150) }, Time(0));
        let find = outputs(&mut proto).into_iter().find_map(|output| match output {
            Output::Send { frame, .. } if frame.header.kind == kind::FIND => Some(frame),
            _ => None,
        });
        assert_eq!(find.map(|frame| TTL - frame.header.ttl), Some(1), "hops that the owner would count");
    }
}
