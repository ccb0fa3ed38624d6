//! Parcels: messages of the store that are larger than a frame, in parts.
//!
//! Parts go out together. Whoever gets them says when it has all, or, when the last part came before another, which it has: what is missing
//! is sent again at once, and after a while in any case, a few times and by another way. How many parcels are on their way at once
//! follows what gets through: one more for each window of parcels that arrived whole, half as many after a loss, as in TCP (Jacobson, 1988).
//! One that is late is lost, and no longer on its way until it is sent again (the pipe of RFC 6675). Who does not answer, for it is dead, say, gets
//! one parcel at a time; when that has come to nothing, what else waits for it does too: others are not kept waiting.
//! What comes to nothing is left to those who sent it: requests are repeated, copies are compared again.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::RngExt;

use super::Store;
use crate::id::Id;
use crate::proto::{Hop, LinkId, Proto, Time};
use crate::wire::{Flags, Frame, Header, MAX_PARCEL_PARTS, Message, PART_BYTES, Parcel, kind};

/// Parcels that a node sends, and that wait for that, at most. Beyond, the message is dropped.
const MAX_SENT: usize = 128;

/// Parcels that a node puts together, or remembers, at most, and of those that came over one link. The oldest that is whole gives way, or
/// else the oldest.
const MAX_OPEN: usize = 128;
const MAX_OPEN_OF_LINK: usize = 32;

/// How long each next part of a parcel may take. Also for how long a whole one is remembered, and what came of it said again.
const OPEN_FOR: Duration = Duration::from_secs(4);

/// How long a sender waits to hear of a parcel before it sends again what is missing; twice as long each time that nothing more arrived.
const RESEND_AFTER: Duration = Duration::from_millis(500);

/// Times that a parcel is sent at most without anything more of it arriving: so twenty times in all, since it has five parts at most.
const MAX_TRIES: u32 = 4;

/// Parcels on their way at once: at the beginning, and at most.
const FIRST_WINDOW: u32 = 8;
const MAX_WINDOW: u32 = 64;

/// Of those over one link so many times fewer, but one in any case: the queue of a link has room for one.
const LINKS_OF_WINDOW: usize = 8;

/// What a node sends and gets in parts.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Parcels {
    sent: VecDeque<Sent>,
    open: VecDeque<Open>,
    window: u32,
    /// Parcels that arrived whole since the window grew last.
    arrived: u32,
    /// Losses before this moment have been taken into account.
    halved: Time,
}

impl Default for Parcels {
    fn default() -> Self {
        let (sent, open) = Default::default();
        Parcels { sent, open, window: FIRST_WINDOW, arrived: 0, halved: Time(0) }
    }
}

/// A parcel that this node sends.
#[derive(Clone, PartialEq, Debug)]
struct Sent {
    number: u32,
    /// To whom, and through whom.
    to: (Id, Option<Id>),
    flags: Flags,
    of: u8,
    /// Which request of the application it carries.
    request: Option<u32>,
    body: Bytes,
    /// A bit for each part that arrived.
    have: u8,
    /// First hops that were tried.
    tried: Vec<LinkId>,
    /// Times that it was sent since something of it arrived; 0 while it waits for its turn.
    tries: u32,
    /// It was sent a short while ago, and may still arrive.
    on_its_way: bool,
    since: Time,
    due: Time,
}

impl Sent {
    fn new(to: (Id, Option<Id>), of: u8, body: Bytes, now: Time) -> Self {
        let (number, have, tries) = (0, 0, 0);
        let (flags, request, tried) = Default::default();
        Sent { number, to, flags, of, request, body, have, tried, tries, on_its_way: false, since: now, due: now }
    }

    fn parts(&self) -> u8 {
        self.body.len().div_ceil(PART_BYTES) as u8
    }

    fn is_whole(&self) -> bool {
        self.have & all(self.parts()) == all(self.parts())
    }

    /// It was sent, and nothing has come back in time.
    fn is_unheard(&self) -> bool {
        self.have == 0 && (self.tries > 1 || self.tries == 1 && !self.on_its_way)
    }

    /// When it is to be looked after; `None` while it waits for its turn.
    fn next_look(&self) -> Option<Time> {
        let lost = self.on_its_way.then(|| self.since.after(RESEND_AFTER));
        (self.tries > 0).then(|| lost.unwrap_or(self.due))
    }
}

/// A parcel that comes in.
#[derive(Clone, PartialEq, Debug)]
struct Open {
    src: Id,
    number: u32,
    of: u8,
    parts: u8,
    link: Option<LinkId>,
    /// Nothing once it is whole.
    pieces: [Option<Bytes>; MAX_PARCEL_PARTS as usize],
    have: u8,
    since: Time,
}

impl Open {
    fn is_whole(&self) -> bool {
        self.have == all(self.parts)
    }
}

/// Makes room among these: one that is whole has been put to use, of the others the sender would not send again what had come.
fn give_way(open: &mut VecDeque<Open>, among: impl Fn(&Open) -> bool) {
    let whole = open.iter().position(|open| among(open) && open.is_whole());
    if let Some(oldest) = whole.or_else(|| open.iter().position(among)) {
        open.remove(oldest);
    }
}

fn all(parts: u8) -> u8 {
    ((1u16 << parts) - 1) as u8
}

impl Parcels {
    pub(super) fn due(&self) -> Option<Time> {
        self.sent
            .iter()
            .filter_map(Sent::next_look)
            .chain(self.open.front().map(|open| open.since.after(OPEN_FOR)))
            .min()
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        let pieces = self.open.iter().flat_map(|open| open.pieces.iter().flatten());
        self.sent.iter().map(|sent| size_of::<Sent>() + sent.body.len()).sum::<usize>()
            + self.open.len() * size_of::<Open>()
            + pieces.map(Bytes::len).sum::<usize>()
    }

    /// A request is over: what is still to be sent of it goes.
    pub(super) fn end_request(&mut self, request: u32) {
        self.sent.retain(|sent| sent.request != Some(request));
    }

    /// What has been on its way for too long is lost.
    fn note_lost(&mut self, now: Time) {
        let late = |sent: &&mut Sent| sent.on_its_way && sent.since.after(RESEND_AFTER) <= now;
        let mut sent_at = None;
        for sent in self.sent.iter_mut().filter(late) {
            sent.on_its_way = false;
            sent_at = sent_at.max(Some(sent.since));
        }
        if let Some(sent_at) = sent_at {
            self.lost(sent_at, now);
        }
    }

    /// A parcel has come to nothing; and what waits for the same node, if nothing of that parcel arrived. Gives how many.
    fn give_up(&mut self, number: u32) -> u64 {
        let Some(at) = self.sent.iter().position(|sent| sent.number == number) else { return 0 };
        let before = self.sent.len();
        if let Some(Sent { to, have: 0, .. }) = self.sent.remove(at) {
            self.sent.retain(|sent| sent.to != to || sent.tries > 0);
        }
        (before - self.sent.len()) as u64
    }

    fn lost(&mut self, sent: Time, now: Time) {
        if sent >= self.halved {
            (self.window, self.arrived, self.halved) = ((self.window / 2).max(1), 0, now);
        }
    }
}

impl Proto {
    /// Sends a message of the store, in parts where it is larger than a frame.
    pub(super) fn send_store(&mut self, to: Id, via: Option<Id>, message: Message, now: Time) {
        match message.beyond_a_frame().filter(|_| to != self.me) {
            Some(body) => self.send_parcel(Sent::new((to, via), message.kind(), body, now), now),
            None => self.send_to(to, via, Flags::default(), message, now),
        }
    }

    /// Sends a request of the application in parts, by another first hop than those that were tried; unless it is still being sent.
    pub(super) fn send_request_in_parts(
        &mut self,
        request: u32,
        point: Id,
        flags: Flags,
        body: Bytes,
        tried: &[LinkId],
        now: Time,
    ) {
        let under_way = |store: &Store| store.parcels.sent.iter().any(|sent| sent.request == Some(request));
        if !self.store.as_deref().is_some_and(under_way) {
            let sent = Sent::new((point, None), kind::STORE, body, now);
            self.send_parcel(Sent { flags, request: Some(request), tried: tried.to_vec(), ..sent }, now);
        }
    }

    fn send_parcel(&mut self, sent: Sent, now: Time) {
        let number = self.rng.random();
        let store = self.open_store(now);
        if store.parcels.sent.len() >= MAX_SENT || sent.body.len() > PART_BYTES * usize::from(MAX_PARCEL_PARTS) {
            store.stats.parcels_lost += 1;
            return;
        }
        store.parcels.sent.push_back(Sent { number, ..sent });
        self.send_waiting_parcels(now);
    }

    /// Sends as many parcels as may be on their way, and as may share their first hop.
    fn send_waiting_parcels(&mut self, now: Time) {
        let Some(store) = self.store.as_ref() else { return };
        let window = store.parcels.window as usize;
        let a_link = (window / LINKS_OF_WINDOW).max(1);
        let sent = &store.parcels.sent;
        let on_their_way = sent.iter().filter(|sent| sent.on_its_way);
        let mut links: Vec<Option<LinkId>> = on_their_way.map(|sent| sent.tried.last().copied()).collect();
        let silent: Vec<_> = sent.iter().filter(|sent| sent.is_unheard()).map(|sent| sent.to).collect();
        let waiting = sent.iter().filter(|sent| sent.tries == 0 && !silent.contains(&sent.to));
        let waiting: Vec<u32> = waiting.map(|sent| sent.number).collect();
        for number in waiting {
            if links.len() >= window {
                return;
            }
            let Some((_, hop)) = self.first_hop_of(number) else { continue };
            let link = if let Hop::Forward(link) = hop { Some(link) } else { None };
            if link.is_none() || links.iter().filter(|other| **other == link).count() < a_link {
                self.send_parts(number, now);
                links.push(link);
            }
        }
    }

    /// The next first hop of a parcel, and the header that goes with it.
    fn first_hop_of(&self, number: u32) -> Option<(Header, Hop)> {
        let sent = self.store.as_ref()?.parcels.sent.iter().find(|sent| sent.number == number)?;
        let (to, via) = sent.to;
        let mut header = self.header(kind::PARCEL, to, via, sent.flags);
        let hop = self.first_hop(&mut header, &sent.tried);
        Some((header, hop))
    }

    /// Sends what is missing of a parcel.
    fn send_parts(&mut self, number: u32, now: Time) {
        let Some((header, hop)) = self.first_hop_of(number) else { return };
        let Some(sent) = self.sent_parcel(number) else { return };
        (sent.since, sent.due) = (now, now.after(RESEND_AFTER * (1 << sent.tries)));
        (sent.tries, sent.on_its_way) = (sent.tries + 1, true);
        if let Hop::Forward(link) = hop {
            if sent.tried.contains(&link) {
                sent.tried.clear();
            }
            sent.tried.push(link);
        }
        let (of, parts, have, body) = (sent.of, sent.parts(), sent.have, sent.body.clone());
        for part in (0..parts).filter(|part| have & 1 << part == 0) {
            let from = usize::from(part) * PART_BYTES;
            let bytes = body.slice(from..body.len().min(from + PART_BYTES));
            let message = Message::Parcel(Box::new(Parcel::Part { number, of, part, parts, bytes }));
            self.start(hop, Frame { header: header.clone(), message }, now);
        }
    }

    fn sent_parcel(&mut self, number: u32) -> Option<&mut Sent> {
        self.store.as_mut()?.parcels.sent.iter_mut().find(|sent| sent.number == number)
    }

    /// Sends again what is late, and forgets what is too late.
    pub(super) fn look_after_parcels(&mut self, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        store.parcels.open.retain(|open| now.since(open.since) < OPEN_FOR);
        store.parcels.note_lost(now);
        let late = store.parcels.sent.iter().filter(|sent| sent.tries > 0 && sent.due <= now);
        let late: Vec<(u32, u32)> = late.map(|sent| (sent.number, sent.tries)).collect();
        for (number, tries) in late {
            if tries < MAX_TRIES {
                self.send_parts(number, now);
            } else if let Some(store) = self.store.as_mut() {
                store.stats.parcels_lost += store.parcels.give_up(number);
            }
        }
        self.send_waiting_parcels(now);
    }

    /// A part of a parcel, or what came of one.
    pub(in super::super) fn on_parcel(&mut self, header: &Header, parcel: Parcel, link: Option<LinkId>, now: Time) {
        match parcel {
            Parcel::Part { number, of, part, parts, bytes } => {
                self.on_part(header, number, (of, part, parts), bytes, link, now);
            }
            Parcel::Have { number, have } => self.on_have_parts(number, have, now),
        }
        self.set_store_timer();
    }

    fn on_part(
        &mut self,
        header: &Header,
        number: u32,
        (of, part, parts): (u8, u8, u8),
        bytes: Bytes,
        link: Option<LinkId>,
        now: Time,
    ) {
        let (src, via) = (header.src, header.answer_through());
        let open = &mut self.open_store(now).parcels.open;
        let at = open.iter().position(|open| (open.src, open.number, open.of, open.parts) == (src, number, of, parts));
        let at = at.unwrap_or_else(|| {
            let of_link = |open: &Open| open.link == link;
            if open.iter().filter(|open| of_link(open)).count() >= MAX_OPEN_OF_LINK {
                give_way(open, of_link);
            } else if open.len() >= MAX_OPEN {
                give_way(open, |_| true);
            }
            let pieces = Default::default();
            open.push_back(Open { src, number, of, parts, link, pieces, have: 0, since: now });
            open.len() - 1
        });
        let is_new = open[at].have & 1 << part == 0;
        // The order is that of the last part.
        if is_new && let Some(mut parcel) = open.remove(at) {
            (parcel.have, parcel.since) = (parcel.have | 1 << part, now);
            parcel.pieces[usize::from(part)] = Some(bytes);
            open.push_back(parcel);
        }
        let parcel = if is_new { open.back_mut() } else { open.get_mut(at) };
        let Some(parcel) = parcel else { return };
        let (have, whole) = (parcel.have, parcel.is_whole());
        let pieces = (whole && is_new).then(|| std::mem::take(&mut parcel.pieces));
        if whole || part + 1 == parts {
            let message = Message::Parcel(Box::new(Parcel::Have { number, have }));
            self.send_to(src, via, Flags::default(), message, now);
        }
        if let Some(pieces) = pieces {
            let mut body = BytesMut::with_capacity(pieces.iter().flatten().map(Bytes::len).sum());
            pieces.iter().flatten().for_each(|piece| body.extend_from_slice(piece));
            match Message::from_parts(of, body.freeze()) {
                Some(Ok(message)) => {
                    let header = Header { kind: of, ..header.clone() };
                    self.deliver(Frame { header, message }, link, now);
                }
                _ => self.stats.invalid += 1,
            }
        }
    }

    fn on_have_parts(&mut self, number: u32, have: u8, now: Time) {
        let Some(sent) = self.sent_parcel(number) else { return };
        let have = have & all(sent.parts());
        if have & !sent.have != 0 {
            // It gets through: the next wait is a short one again.
            (sent.have, sent.tries) = (sent.have | have, 0);
        }
        let (whole, tries, since) = (sent.is_whole(), sent.tries, sent.since);
        let Some(store) = self.store.as_mut() else { return };
        let parcels = &mut store.parcels;
        if whole {
            parcels.sent.retain(|sent| sent.number != number);
            parcels.arrived += 1;
            // Until the first loss one for each, to find out soon how much is possible.
            let due = parcels.arrived >= parcels.window || parcels.halved == Time(0);
            if due && parcels.window < MAX_WINDOW {
                (parcels.window, parcels.arrived) = (parcels.window + 1, 0);
            }
        } else {
            parcels.lost(since, now);
            if tries < MAX_TRIES {
                self.send_parts(number, now);
            }
        }
        self.send_waiting_parcels(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(number: u32, have: u8) -> Open {
        let (src, pieces) = (Id::new(1), Default::default());
        Open { src, number, of: 39, parts: 2, link: Some(LinkId(number % 2)), pieces, have, since: Time(0) }
    }

    #[test]
    fn a_parcel_that_is_whole_gives_way_before_one_that_is_not() {
        let mut open: VecDeque<Open> = [parcel(1, 0b01), parcel(2, 0b11), parcel(3, 0b11), parcel(4, 0b10)].into();
        let numbers = |open: &VecDeque<Open>| open.iter().map(|open| open.number).collect::<Vec<u32>>();
        give_way(&mut open, |open| open.link == Some(LinkId(1)));
        assert_eq!(numbers(&open), [1, 2, 4]);
        give_way(&mut open, |_| true);
        assert_eq!(numbers(&open), [1, 4]);
        give_way(&mut open, |_| true);
        assert_eq!(numbers(&open), [4]);
    }
}
