//! A finger for an arc: any member in it will do, so the request goes to a random point and from there to one that has room.
//!
//! ```text
//! seeker                    owner of the point            a member with room
//!    │ Seek (arc)      ──▶        │   passed on       ──▶       │  keeps a place
//!    │      ◀──            Describe (offer)                     │
//!    │ Describe (answer), and on as for any other link: see `dial`
//! ```
//!
//! Neighbours tell each other how many links they could still accept. The owner draws among itself and its neighbours in the
//! arc, by the square of the room that each has: so few requests are refused where most nodes are full, and nodes with a larger budget
//! get the links that they can carry.

use rand::RngExt;

use super::links::{Link, LinkId, Route};
use super::seat::Seat;
use super::timer::Time;
use super::{Output, Phase, Proto, ring};
use crate::id::Id;
use crate::wire::{Dial, Flags, Frame, Header, Message, Purpose, Refusal, Role, Step};

/// Room of a member that a finger to a full one is given up for: more than a small budget has at all.
pub(super) const PLENTY: u16 = 16;

/// What a request asks for: a member in this arc with room for so many links.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sought {
    pub(super) from: Id,
    pub(super) to: Id,
    pub(super) least: u16,
}

impl Proto {
    /// Links that this node could still accept for a finger: the last places are kept for the ring's own needs.
    pub(super) fn room(&self) -> usize {
        let free = self.links.max().saturating_sub(self.links.len());
        let for_ring = |seat: &&Seat| seat.purpose == Purpose::Ring || self.is_near(seat.peer);
        let most = 2 * ring::NEAR;
        let kept = if free == 0 { 0 } else { most - self.links.seats().filter(for_ring).take(most).count() };
        free.saturating_sub(kept)
    }

    /// A member is sought for an arc: by the owner of a point in it, which passes the request on, or by the member that was drawn.
    pub(super) fn on_seek(&mut self, mut header: Header, attempt: u32, sought: Sought, now: Time) {
        let (seeker, route) = (header.src, Route::Ring(header.answer_through()));
        if seeker == self.me {
            return;
        }
        if !header.flags.has(Flags::KEY) {
            // The two have met meanwhile. A request would stand for a link that the seeker has lost; here it did not know whom it asks.
            if self.links.to(seeker).is_some_and(|link| !link.is_open()) {
                return self.refuse(seeker, route, attempt, Refusal::Linked, Purpose::Finger, now);
            }
            return self.on_request(seeker, route, attempt, Role::Member, Purpose::Finger, now);
        }
        match self.draw_with_room(seeker, sought) {
            None => self.refuse(seeker, route, attempt, Refusal::Full, Purpose::Finger, now),
            Some(None) => self.on_request(seeker, route, attempt, Role::Member, Purpose::Finger, now),
            Some(Some(link)) => {
                if header.ttl == 0 {
                    return;
                }
                let Some(seat) = self.links.seat_mut(link) else { return };
                seat.room -= 1;
                header.readdress(seat.peer);
                header.ttl -= 1;
                let Sought { from, to, least } = sought;
                let message = Message::Dial(Dial { attempt, step: Step::Seek { from, to, least } });
                self.outputs.push_back(Output::Send { link, frame: Frame { header, message } });
            }
        }
    }

    /// This node (`None`) or a neighbour in the arc that the seeker is not linked to, by the square of the room that each has.
    fn draw_with_room(&mut self, seeker: Id, sought: Sought) -> Option<Option<LinkId>> {
        let Sought { from, to, least } = sought;
        let fits = |id: Id| from.clockwise_to(id) <= from.clockwise_to(to);
        let weight = |room: usize| if room < least.into() { 0 } else { weight(room) };
        let own = if fits(self.me) && !self.links.has(seeker) { weight(self.room()) } else { 0 };
        let linked: Vec<usize> = self.links.places_leading_to(seeker).collect();
        let usable = |seat: &&Seat| {
            seat.may_forward() && !seat.is_suspect() && fits(seat.peer) && !linked.contains(&seat.link.place())
        };
        let others = self.links.members().filter(usable).map(|seat| (seat.link, weight(seat.room.into())));
        let total = own + others.clone().map(|(_, weight)| weight).sum::<u64>();
        if total == 0 {
            return None;
        }
        let mut drawn = self.rng.random_range(0..total);
        for (candidate, weight) in [(None, own)].into_iter().chain(others.map(|(link, weight)| (Some(link), weight))) {
            if drawn < weight {
                return Some(candidate);
            }
            drawn -= weight;
        }
        None
    }

    /// Somebody answers a request for a finger that was sent to a point: the one who accepts is not known before.
    pub(super) fn on_sought(&mut self, from: Id, route: Route, attempt: u32, step: Step, now: Time) {
        if !matches!(step, Step::Describe(_) | Step::Refuse { .. }) {
            return;
        }
        let sought = self.lookups.take_seek(attempt);
        self.stats.dials += u64::from(sought.is_some());
        match (step, sought) {
            (Step::Refuse { alternatives, .. }, Some(_)) => {
                self.stats.dials_failed += 1;
                let _ = alternatives.iter().any(|&other| self.finger_alternative(other, now));
            }
            (Step::Describe(offer), sought) => {
                let link = sought.and_then(|index| self.take_finger(index, from, route, attempt, now));
                match link {
                    Some(link) => self.on_described(link, offer, now),
                    None => self.withdraw(from, route, attempt, now),
                }
            }
            _ => {}
        }
    }

    /// Keeps a place for a finger that accepts, unless it came too late.
    fn take_finger(&mut self, index: usize, peer: Id, route: Route, attempt: u32, now: Time) -> Option<LinkId> {
        let wanted = self.phase == Phase::Member && !self.links.has(peer) && self.is_for_arc(index, peer);
        if !wanted {
            return None;
        }
        self.give_up_finger(index, now);
        if !self.make_room(Purpose::Finger, false, now) {
            return None;
        }
        self.set_finger(index, peer);
        let purpose = Purpose::Finger;
        Some(self.links.insert(|id| Link { dialled: true, ..Link::new(id, peer, purpose, attempt, route, now) }))
    }
}

/// How likely one with so much room is drawn: with the plain room, one large budget among many small ones would be too seldom.
fn weight(room: usize) -> u64 {
    (room as u64).pow(2)
}

#[cfg(test)]
mod tests {
    use super::super::Input;
    use super::super::testing::{NOW, asks, hears, linked, member, outputs};
    use super::*;
    use crate::wire::Neighbours;

    const SEEKER: Id = Id::new(9_000);
    const ATTEMPT: u32 = 77;

    /// The member 100 with 6 links, linked to these members, which have so much room and these neighbours.
    fn member_among(others: &[(u64, u16, &[u64])]) -> Proto {
        let mut proto = member(100, 6);
        for &(peer, room, neighbours) in others {
            let from = Id::new(peer);
            let link = linked(&mut proto, from);
            let ids = neighbours.iter().copied().map(Id::new).collect();
            hears(&mut proto, link, from, Message::Neighbours(Neighbours { member: true, ids, room }));
        }
        outputs(&mut proto);
        proto
    }

    /// What the owner of the point does with the request of [`SEEKER`] for a member of an arc: whom it passes the request on to, or what
    /// it answers.
    fn sought(proto: &mut Proto, arc: (u64, u64)) -> (Id, Step) {
        let via =
            Some(crate::wire::Via { to: proto.id(), answer: proto.links.members().next().expect("a neighbour").peer });
        let header = Header { flags: Flags::KEY, via, ..Header::new(crate::wire::kind::DIAL, SEEKER, proto.id()) };
        proto.on_seek(header, ATTEMPT, Sought { from: Id::new(arc.0), to: Id::new(arc.1), least: 1 }, NOW);
        let mut seen = outputs(proto);
        if let Some(&Output::Connect { link, .. }) = seen.iter().find(|output| matches!(output, Output::Connect { .. }))
        {
            proto.handle(Input::Describe { link, description: "an offer".to_owned() }, NOW);
            seen.extend(outputs(proto));
        }
        let about = |output: &Output| match output {
            Output::Send { frame: Frame { header, message: Message::Dial(dial) }, .. } if dial.attempt == ATTEMPT => {
                Some((header.dst, dial.step.clone()))
            }
            _ => None,
        };
        seen.iter().find_map(about).unwrap_or_else(|| panic!("the request is lost: {seen:?}"))
    }

    #[test]
    fn the_owner_draws_by_room_within_the_arc_and_passes_the_request_on() {
        let others: [(u64, u16, &[u64]); 4] = [(200, 30, &[]), (300, 20, &[]), (400, 0, &[]), (5_000, 90, &[])];
        let mut times = std::collections::BTreeMap::<Id, u32>::new();
        for _ in 0..20 {
            let mut proto = member_among(&others);
            for _ in 0..10 {
                let (to, step) = sought(&mut proto, (150, 450));
                assert!(matches!(step, Step::Seek { .. }), "{step:?}");
                *times.entry(to).or_default() += 1;
            }
        }
        assert_eq!(times.keys().copied().collect::<Vec<_>>(), [Id::new(200), Id::new(300)], "in the arc, with room");
        assert!(times[&Id::new(200)] > times[&Id::new(300)], "{times:?}");
    }

    #[test]
    fn a_neighbour_that_the_seeker_is_linked_to_is_passed_over_and_where_nobody_has_room_the_seeker_is_told() {
        let mut proto = member_among(&[(200, 30, &[9_000]), (300, 0, &[])]);
        let (to, step) = sought(&mut proto, (150, 450));
        assert_eq!(to, SEEKER);
        assert!(matches!(step, Step::Refuse { reason: Refusal::Full, .. }), "{step:?}");
    }

    #[test]
    fn the_owner_accepts_itself_where_it_alone_has_room() {
        let mut proto = member_among(&[(200, 0, &[]), (300, 0, &[])]);
        let (to, step) = sought(&mut proto, (50, 450));
        assert_eq!((to, step), (SEEKER, Step::Describe("an offer".to_owned())));
        assert!(proto.links.to(SEEKER).is_some(), "a place is kept");
    }

    #[test]
    fn a_link_that_is_on_its_way_to_the_seeker_stays_when_its_request_is_passed_on_here() {
        let mut proto = member_among(&[(200, 30, &[])]);
        asks(&mut proto, SEEKER, 1, Purpose::Ring);
        let begun = proto.links.to(SEEKER).expect("accepted").id;
        let via = Some(crate::wire::Via { to: proto.id(), answer: Id::new(200) });
        let header = Header { via, ..Header::new(crate::wire::kind::DIAL, SEEKER, proto.id()) };
        proto.on_seek(header, ATTEMPT, Sought { from: Id::new(50), to: Id::new(450), least: 1 }, NOW);
        assert_eq!(proto.links.to(SEEKER).map(|link| link.id), Some(begun));
    }

    #[test]
    fn an_offer_that_nobody_asked_for_takes_no_place() {
        let mut proto = member_among(&[(200, 0, &[])]);
        let before = proto.links_in_use();
        let over = proto.peers().next().expect("a neighbour").link;
        let refuse = Step::Refuse { reason: Refusal::Full, alternatives: vec![Id::new(7)] };
        hears(&mut proto, over, SEEKER, Message::Dial(Dial { attempt: ATTEMPT, step: refuse }));
        assert_eq!(outputs(&mut proto), []);
        let offer = Step::Describe("an offer".to_owned());
        hears(&mut proto, over, SEEKER, Message::Dial(Dial { attempt: ATTEMPT, step: offer }));
        assert_eq!(proto.links_in_use(), before);
        let answers = outputs(&mut proto);
        let refuses = |output: &Output| matches!(output, Output::Send { frame: Frame { message: Message::Dial(dial), .. }, .. } if matches!(dial.step, Step::Refuse { .. }));
        assert!(answers.len() == 1 && refuses(&answers[0]), "{answers:?}");
    }
}
