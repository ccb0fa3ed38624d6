//! Neighbours tell each other whom they have links to, and how many more they could accept: for routing, which looks two steps ahead, for
//! fingers, and as hints of who is nearer on the ring.

use super::links::LinkId;
use super::timer::{Time, Timer};
use super::{Phase, Proto};
use crate::id::Id;
use crate::wire::{Message, Neighbours, Role};

impl Proto {
    /// A neighbour told whom it has links to.
    pub(super) fn on_neighbours(&mut self, link: LinkId, list: &Neighbours, now: Time) {
        if self.links.seat_of(link).is_some_and(|seat| seat.role() == Role::Member) {
            let reach = if self.config.lookahead { &list.ids[..] } else { &[] };
            self.links.set_reach(link, reach);
            self.set_member(link, list.member, now);
            if let Some(seat) = self.links.seat_mut(link) {
                seat.room = list.room;
            }
            // Who is nearer counts, whether it counts in routing or not.
            for &id in list.ids.iter().filter(|&&id| id != self.me) {
                if self.is_nearer(id) {
                    self.ring.hint(id, None);
                }
            }
            if !self.has_near_links() {
                self.ring.unsettle();
            }
        }
    }

    pub(super) fn gossip_soon(&mut self, now: Time) {
        if self.config.tells_neighbours() {
            self.timers.at_latest(Timer::Gossip, now.after(self.config.gossip_delay));
        }
    }

    /// Tells all neighbours who the neighbours are.
    pub(super) fn on_gossip_timer(&mut self) {
        let list = self.neighbours();
        for place in 0..self.links.places().len() {
            self.send_on(self.links.seat(place).link, Message::Neighbours(list.clone()));
        }
    }

    pub(super) fn tell_neighbours(&mut self, link: LinkId) {
        let list = self.neighbours();
        self.send_on(link, Message::Neighbours(list));
    }

    fn neighbours(&self) -> Neighbours {
        let member = self.phase == Phase::Member;
        let count = if self.config.tells_neighbours() { crate::wire::MAX_NEIGHBOURS } else { 0 };
        let mut ids: Vec<Id> = Vec::with_capacity(count.min(self.links.len()));
        ids.extend(self.links.members().map(|link| link.peer).take(count));
        // Each of those who are told would sort them.
        ids.sort_unstable();
        Neighbours { member, room: if member { self.room() as u16 } else { 0 }, ids: ids.into() }
    }
}
