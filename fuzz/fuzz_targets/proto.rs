//! A node fed a random life: frames of every kind and from hostile bytes, links that come and go, signals, requests, time.
//!
//! The input picks the node's settings first, then what happens, event after event. The target plays the driver: it
//! carries the outputs out as the contract of [`atoll::proto`] says, and checks after every event that the node keeps to it.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll::Id;
use atoll::key::Identity;
use atoll::proto::{Config, Hop, Input, LinkId, Membership, Output, Phase, Proto, Time, Token};
use atoll::wire::{
    Dial, Envelope, Flags, Found, Frame, Head, Header, Join, JoinRefusal, Label, MAX_FRAME, Message, Neighbours,
    Published, Purpose, Refusal, RingView, Role, Step, Terms, Trace, Tree, Unreachable, Via,
};
use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

/// Events in one life at most.
const EVENTS: usize = 300;

/// Outputs that one event may cause at most: some for each link, each neighbour's entry, each request under way.
const MAX_OUTPUTS: usize = 512;

/// Within so long every request is answered: the tries of a lookup, and a link to open.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

const ME: Id = Id::new(0x8000_0000_0000);

fuzz_target!(|bytes: &[u8]| {
    let mut input = Unstructured::new(bytes);
    let Ok(mut life) = Life::begin(&mut input) else { return };
    for _ in 0..EVENTS {
        if input.is_empty() || life.event(&mut input).is_err() {
            break;
        }
    }
    life.end();
});

/// A node and what its driver would know.
struct Life {
    proto: Proto,
    now: Time,
    /// Links being set up, and open ones.
    attempts: BTreeMap<LinkId, Id>,
    open: BTreeMap<LinkId, Id>,
    /// Every link there ever was.
    named: BTreeSet<LinkId>,
    next_token: u64,
    unanswered: BTreeSet<Token>,
    /// What the node asked last, to be answered: whom it dials by which attempt, and its lookups by their numbers.
    dialled: BTreeMap<Id, u32>,
    asked: BTreeMap<u32, Id>,
}

impl Life {
    fn begin(input: &mut Unstructured<'_>) -> Result<Self> {
        let mut config = Config::with_links(input.int_in_range(0..=16)?);
        if input.ratio(1, 8)? {
            config.role = Role::Leaf;
        }
        if input.ratio(1, 8)? {
            config.heartbeat_every = Duration::ZERO;
        }
        if input.ratio(1, 8)? {
            (config.successors, config.lookup_tries, config.fingers) = (input.arbitrary()?, 0, 99);
            let every = Duration::from_millis(input.int_in_range(100..=5000)?);
            (config.stabilize_every, config.check_every, config.finger_every) = (every, every, every);
            (config.join_retry, config.gossip_delay, config.lookup_timeout) = (every, every, every);
        }
        let now = Time(input.arbitrary::<u32>()?.into());
        let proto = Proto::new(ME, config, input.arbitrary()?, now);
        let (attempts, open, named, unanswered, dialled, asked) = Default::default();
        let mut life = Life { proto, now, attempts, open, named, next_token: 0, unanswered, dialled, asked };
        life.carry_out();
        Ok(life)
    }

    fn event(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let event = match input.int_in_range(0..=24u8)? {
            0..=2 => {
                self.pass(Duration::from_millis(input.int_in_range(0..=3000)?));
                return Ok(());
            }
            3 => Input::Frame { link: self.link(input)?, frame: wild_frame(input)? },
            4..=7 => Input::Frame { link: self.link(input)?, frame: self.frame(input)? },
            8 => return self.forward(input),
            9 | 10 => {
                // The driver tells of a link that it was asked to set up, and only once.
                let Some((&link, &peer)) = nth(&self.attempts, input)? else { return Ok(()) };
                self.attempts.remove(&link);
                self.open.insert(link, peer);
                Input::LinkUp { link, role: role(input)? }
            }
            11 => {
                let link = self.link(input)?;
                self.attempts.remove(&link);
                self.open.remove(&link);
                Input::LinkDown { link }
            }
            12 | 13 => Input::Signal { from: id(input)?, dial: dial(input)? },
            14 => match input.int_in_range(0..=3u8)? {
                0 => Input::NotDelivered { to: id(input)? },
                1 => Input::Describe { link: self.link(input)?, description: "v=0".to_owned() },
                _ => Input::Members { found: input.ratio(1, 4)?, members: ids(input, 9)? },
            },
            15 => {
                let token = self.token();
                match input.int_in_range(0..=2u8)? {
                    0 => Input::Lookup { token, key: id(input)? },
                    1 => Input::Trace { token, peer: id(input)? },
                    _ => Input::UpdateFinger { token, row: input.int_in_range(0..=50)? },
                }
            }
            16 | 17 => {
                let Some((&from, &attempt)) = nth(&self.dialled, input)? else { return Ok(()) };
                Input::Signal { from, dial: Dial { attempt, step: dial(input)?.step } }
            }
            18 => {
                let Some((&request, &key)) = nth(&self.asked, input)? else { return Ok(()) };
                let src = if input.ratio(1, 2)? { key } else { id(input)? };
                let found = Message::Found(Found { request, hops: 1, view: view(input)?.into() });
                let frame = Frame { header: Header::new(found.kind(), src, ME), message: found };
                Input::Frame { link: self.link(input)?, frame }
            }
            20 => {
                let token = self.token();
                let membership = Box::new(Membership { terms: terms(input)?, identity: publisher(), gate: None });
                Input::JoinChannel { token, membership }
            }
            21 => {
                let message = Published { scope: String::new(), payload: Bytes::from_static(b"message") };
                let messages = (0..input.int_in_range(1..=3u8)?).map(|_| (self.token(), message.clone())).collect();
                Input::Publish { channel: terms(input)?.id(), messages }
            }
            22 => Input::LeaveChannel { token: self.token(), channel: terms(input)?.id() },
            19 if input.ratio(1, 2)? => Input::ReleaseDirect(id(input)?),
            19 => Input::WantDirect(id(input)?),
            23 => Input::NetworkChanged,
            _ if input.ratio(1, 32)? => Input::Leave,
            _ => Input::Members { found: true, members: Vec::new() },
        };
        self.proto.handle(event, self.now);
        self.carry_out();
        Ok(())
    }

    fn token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.unanswered.insert(token);
        token
    }

    /// As the driver forwards: by the header alone.
    fn forward(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let link = self.link(input)?;
        let Frame { mut header, .. } = self.frame(input)?;
        let from = Some(link).filter(|link| self.open.contains_key(link));
        if from.is_none() {
            header = self.proto.datagram_header(header.dst, Some(header.src).filter(|&via| via != ME), true);
        }
        match self.proto.route(&mut header, from, self.now) {
            Hop::Deliver => {}
            Hop::Forward(link) => {
                assert!(self.open.contains_key(&link), "forwarded over a link that is not open");
                let mut bytes = bytes::BytesMut::new();
                header.encode(&mut bytes);
                assert_eq!(Header::decode(&bytes), Ok((header, bytes.len())));
            }
            Hop::Drop(reason) => self.proto.report(&header, reason, self.now),
        }
        self.carry_out();
        Ok(())
    }

    /// Time passes, with every deadline kept.
    fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while let Some(due) = self.proto.poll_timeout().filter(|&due| due <= until) {
            self.now = self.now.max(due);
            self.proto.handle_timeout(self.now);
            let next = self.proto.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a deadline of the past: {next:?} at {:?}", self.now);
            self.carry_out();
        }
        self.now = until;
    }

    fn carry_out(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.proto.poll_output() {
            outputs += 1;
            match output {
                Output::Send { link, frame } => {
                    assert!(self.open.contains_key(&link), "sent over a link that is not open: {frame:?}");
                    self.note(&frame);
                    let bytes = frame.encode().freeze();
                    assert!(bytes.len() <= MAX_FRAME, "a frame of {} bytes", bytes.len());
                    assert_eq!(Frame::decode(bytes), Ok(frame), "what is sent cannot be read");
                }
                Output::Signal { to, dial } => {
                    self.dialled.insert(to, dial.attempt);
                }
                Output::Connect { link, peer, .. } => {
                    assert!(self.named.insert(link), "a link's name was used again");
                    self.attempts.insert(link, peer);
                }
                Output::Described { link, .. } => assert!(self.attempts.contains_key(&link), "described, not set up"),
                Output::Close { link } => {
                    self.attempts.remove(&link);
                    self.open.remove(&link);
                }
                Output::Answer { token, .. } => assert!(self.unanswered.remove(&token), "answered twice"),
                _ => {}
            }
        }
        assert!(outputs <= MAX_OUTPUTS, "{outputs} outputs of one event");
        let (used, most) = (self.proto.links_in_use(), self.proto.config().max_links);
        assert!(used <= most, "{used} links of {most}");
        assert!(self.attempts.len() + self.open.len() <= used, "the driver holds more links than the node counts");
        assert!(self.proto.peers().all(|peer| self.open.get(&peer.link) == Some(&peer.id)));
        assert!(self.proto.successors().len() <= self.proto.config().successors);
        assert!(self.proto.successors().iter().chain(self.proto.predecessors()).all(|&id| id != ME));
    }

    fn note(&mut self, frame: &Frame) {
        match &frame.message {
            Message::Dial(dial) if frame.header.src == ME => {
                self.dialled.insert(frame.header.dst, dial.attempt);
            }
            Message::Find(request) if frame.header.src == ME => {
                self.asked.insert(*request, frame.header.dst);
            }
            _ => {}
        }
    }

    /// Every request has its answer in the end, unless the node has left.
    fn end(&mut self) {
        if self.unanswered.is_empty() {
            return;
        }
        let until = self.now.after(ANSWERED_WITHIN);
        while self.now < until && !self.unanswered.is_empty() {
            self.pass(Duration::from_secs(1));
        }
        assert!(self.unanswered.is_empty() || self.proto.phase() == Phase::Left, "without an answer");
    }

    /// Mostly a link that there is.
    fn link(&self, input: &mut Unstructured<'_>) -> Result<LinkId> {
        if input.ratio(1, 16)? {
            return Ok(LinkId(input.arbitrary()?));
        }
        let known = if input.ratio(1, 8)? { &self.attempts } else { &self.open };
        Ok(nth(known, input)?.map_or(LinkId(u32::MAX), |(&link, _)| link))
    }

    fn frame(&self, input: &mut Unstructured<'_>) -> Result<Frame> {
        let request = input.arbitrary()?;
        let message = match input.int_in_range(0..=19u8)? {
            0 => Message::Ping,
            1 | 2 => Message::Neighbours(Neighbours {
                member: input.ratio(7, 8)?,
                room: input.int_in_range(0..=20)?,
                ids: ids(input, 20)?.into(),
            }),
            3 | 4 => Message::Ring(view(input)?.into()),
            5 => Message::Leave(view(input)?.into()),
            6 => Message::Close,
            7 => Message::AskRing,
            8 => Message::Find(request),
            9 => Message::Found(Found { request, hops: input.arbitrary()?, view: view(input)?.into() }),
            10 | 11 => Message::Dial(dial(input)?),
            12 => Message::Unreachable(Unreachable { peer: id(input)?, nobody: input.arbitrary()? }),
            13 => Message::Trace(Trace { request, hops: ids(input, 65)? }),
            14 => Message::Traced(Trace { request, hops: ids(input, 65)? }),
            15..=17 => Message::Tree(Box::new(tree(input)?)),
            18 => Message::Envelope(envelope(input, self.now)?.into()),
            _ => Message::Datagram(Bytes::from_static(b"packet")),
        };
        let (src, dst) = (id(input)?, if input.ratio(1, 2)? { ME } else { id(input)? });
        let mut flags = Flags::default();
        for flag in [Flags::REPORT, Flags::KEY, Flags::BEFORE, Flags::LAST] {
            if input.ratio(1, 4)? {
                flags = flags.with(flag);
            }
        }
        let mut header = Header { flags, ..Header::new(message.kind(), src, dst) };
        if input.ratio(1, 4)? {
            header.via = Some(Via { to: id(input)?, answer: id(input)? });
        }
        if input.ratio(1, 4)? {
            header.bound = input.arbitrary::<u64>()? & Id::MAX.number();
            header.ttl = input.arbitrary()?;
            header.trail = ids(input, 32)?;
        }
        Ok(Frame { header, message })
    }
}

/// One of few channels.
fn terms(input: &mut Unstructured<'_>) -> Result<Terms> {
    Ok(Terms::new(["a", "b", "c"][input.int_in_range(0..=2usize)?], false, None))
}

/// The key that the node publishes with.
fn publisher() -> Identity {
    static KEY: std::sync::OnceLock<Identity> = std::sync::OnceLock::new();
    KEY.get_or_init(Identity::generate).clone()
}

fn tree(input: &mut Unstructured<'_>) -> Result<Tree> {
    let terms = terms(input)?;
    let (channel, attempt) = (terms.id(), input.int_in_range(0..=3)?);
    Ok(match input.int_in_range(0..=9u8)? {
        0..=2 => Tree::Join(Join { terms, attempt, proof: None, lost: ids(input, 4)? }),
        3 => Tree::Pending { channel, attempt },
        4 => Tree::Refused { channel, attempt, reason: JoinRefusal::Circle },
        5 => Tree::Beat { channel, attempt, path: ids(input, 5)? },
        6 => Tree::Leave { channel },
        7 => Tree::Drop { channel, attempt },
        8 => {
            let ranges = vec![(input.arbitrary()?, input.arbitrary()?); input.int_in_range(0..=3)?];
            let head = Head { publisher: id(input)?, stream: input.arbitrary()?, upper: input.arbitrary()?, ranges };
            Tree::Have { channel, heads: vec![head], more: input.ratio(1, 8)?, ask: input.ratio(1, 8)? }
        }
        _ => Tree::Credit { channel, received: input.arbitrary()?, limit: input.arbitrary()? },
    })
}

fn envelope(input: &mut Unstructured<'_>, now: Time) -> Result<Envelope> {
    let sent = now.0.saturating_sub(input.int_in_range(0..=1000)?);
    let stream = sent.saturating_sub(input.int_in_range(0..=2)?);
    let label = Label { channel: terms(input)?.id(), stream, sent, first: input.int_in_range(0..=9)?, pass: None };
    let message = Published { scope: "s".to_owned(), payload: Bytes::from_static(b"message") };
    let messages = vec![message; input.int_in_range(1..=3)?];
    Ok(Envelope::seal(&publisher(), false, label, &messages))
}

/// Whatever the codec takes.
fn wild_frame(input: &mut Unstructured<'_>) -> Result<Frame> {
    let length = input.int_in_range(22..=80)?;
    let bytes = Bytes::copy_from_slice(input.bytes(length)?);
    Frame::decode(bytes).map_err(|_| libfuzzer_sys::arbitrary::Error::IncorrectFormat)
}

/// Few ids, so that they meet again: close by on either side, far away, this node's own; now and then any.
fn id(input: &mut Unstructured<'_>) -> Result<Id> {
    Ok(match input.int_in_range(0..=63u64)? {
        at @ 0..=15 => ME.plus(at),
        at @ 16..=30 => ME.minus(at - 15),
        at @ 31..=60 => ME.plus(1 << (at - 13)),
        _ => Id::new(input.arbitrary()?),
    })
}

fn ids(input: &mut Unstructured<'_>, most: usize) -> Result<Vec<Id>> {
    (0..input.int_in_range(0..=most)?).map(|_| id(input)).collect()
}

fn view(input: &mut Unstructured<'_>) -> Result<RingView> {
    let member = input.ratio(7, 8)?;
    let (predecessors, successors) = (ids(input, 2)?.into_iter().collect(), ids(input, 10)?.into_iter().collect());
    Ok(RingView { member, predecessors, successors })
}

fn dial(input: &mut Unstructured<'_>) -> Result<Dial> {
    let purposes = [Purpose::Ring, Purpose::Leaf, Purpose::Direct, Purpose::Finger, Purpose::Join];
    let step = match input.int_in_range(0..=4u8)? {
        0..=2 => Step::Request { role: role(input)?, purpose: *input.choose(&purposes)? },
        3 => Step::Refuse { reason: Refusal::Full, alternatives: ids(input, 8)? },
        _ => Step::Describe("v=0".to_owned()),
    };
    Ok(Dial { attempt: input.int_in_range(0..=3)?, step })
}

fn role(input: &mut Unstructured<'_>) -> Result<Role> {
    Ok(if input.ratio(1, 8)? { Role::Leaf } else { Role::Member })
}

fn nth<'a, K, V>(map: &'a BTreeMap<K, V>, input: &mut Unstructured<'_>) -> Result<Option<(&'a K, &'a V)>> {
    if map.is_empty() {
        return Ok(None);
    }
    let at = input.choose_index(map.len())?;
    Ok(map.iter().nth(at))
}
