//! The paper's own Chord, to compare with: its next hop, and its refreshing of fingers ([`Config::classic`](super::Config), with the feature `classic`).
//!
//! Stoica, Morris, Liben-Nowell, Karger, Kaashoek, Dabek, Balakrishnan: "Chord: a scalable peer-to-peer lookup protocol for
//! Internet applications", IEEE/ACM Transactions on Networking 2003. Lookups go clockwise to the closest preceding node among
//! the node's own fingers and its successor list; who finds the target within its list hands the frame to the owner.
//!
//! **What stays different.** A contact is used only over an open link, so that a node holds links to its whole successor list
//! and to all fingers; the two ends exchange their views when a link opens, which counts as the first notify. Join and
//! rectify are Zave's. A dead contact is dropped when its link fails or falls silent, not when a lookup times out on it.
//! Frames for a node rather than a key take a direct link when there is one, whoever dialled it: the paper sends answers
//! outside the ring. Links to nodes that are fingers no longer stay open.
//!
//! **Time-outs.** Contacts on the trail of a frame are passed over, fingers and successors alike. The protocol itself never
//! writes such a trail; a simulator of failures without repair does.

use super::Proto;
use super::links::LinkId;
use super::lookup::Why;
use super::route::{DropReason, Hop};
use super::timer::{Time, Timer};
use crate::id::Id;
use crate::wire::{Flags, Header};

impl Proto {
    /// The next hop of a frame at a member. `exact`: to the node `target` itself, not to the owner of that key.
    pub(super) fn chord_hop(&self, header: &mut Header, target: Id, exact: bool, avoid: &[LinkId]) -> Hop {
        let here = if exact { Hop::Drop(DropReason::Nobody) } else { Hop::Deliver };
        let before = header.flags.has(Flags::BEFORE) && !exact;
        // With a trail the frame has not left this node since it was flagged: the contact that it was for is dead.
        let last = header.flags.has(Flags::LAST) && header.trail.is_empty();
        header.flags = header.flags.without(Flags::LAST);
        let predecessor = self.ring.predecessor();
        let alone = self.ring.is_alone() && self.links.members().next().is_none();
        let owned = predecessor.is_some_and(|predecessor| target.is_in_arc(predecessor, self.me));
        if alone || (last && !before) || (owned && (last || !before)) {
            return here;
        }
        let link_to = |peer: Id| {
            let usable = !header.trail.contains(&peer);
            let link = self.links.open_to(peer).filter(|link| link.member && !avoid.contains(&link.id));
            link.filter(|_| usable).map(|link| link.id)
        };
        if owned {
            let link = predecessor.and_then(link_to);
            header.flags = header.flags.with(Flags::LAST);
            return link.map_or(here, Hop::Forward);
        }
        let successors = self.ring.successors.iter().copied().filter(|id| !header.trail.contains(id));
        let mut node = self.me;
        for next in successors.clone() {
            if target.is_in_arc(node, next) {
                let end = if before { node } else { next };
                if end == self.me {
                    return here;
                }
                if let Some(link) = link_to(end) {
                    header.flags = header.flags.with(Flags::LAST);
                    return Hop::Forward(link);
                }
                break;
            }
            node = next;
        }
        let hop = self.closest_preceding(target, link_to).or_else(|| successors.clone().find_map(link_to));
        hop.map_or(Hop::Drop(DropReason::NoWay), Hop::Forward)
    }

    /// The link to the last node before `target` among the fingers and successors.
    fn closest_preceding(&self, target: Id, link_to: impl Fn(Id) -> Option<LinkId>) -> Option<LinkId> {
        let contacts = self.fingers.peers().rev().chain(self.ring.successors.iter().rev().copied());
        let mut best = None;
        for contact in contacts.filter(|contact| contact.is_between(self.me, target)) {
            let distance = self.me.clockwise_to(contact);
            if best.is_none_or(|(furthest, _)| distance > furthest)
                && let Some(link) = link_to(contact)
            {
                best = Some((distance, link));
            }
        }
        best.map(|(_, link)| link)
    }

    /// Looks every finger up anew: the owners of `self + 2^row`, for all rows that lie beyond the first successor.
    pub(super) fn fix_fingers(&mut self, now: Time) {
        let wait = self.jittered(self.config.finger_every);
        self.timers.set(Timer::Fingers, now.after(wait));
        let Some(beyond) = self.ring.successor().and_then(|successor| self.me.row_of(successor)) else { return };
        self.fingers.lay_rows();
        self.fingers.clear_rows_below(beyond + 1);
        for row in beyond + 1..Id::BITS {
            self.start_lookup(self.me.plus(1 << row), false, Why::Finger(row as usize), None, now);
        }
    }
}

#[cfg(all(test, feature = "classic"))]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use rand::seq::IndexedRandom;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg32;

    use super::super::{Config, Input};
    use super::*;
    use crate::wire::{Dial, Message, Neighbours, Purpose, Role, Step};

    const NOW: Time = Time(0);

    /// The first of the sorted `ids` at or after `key`.
    fn owner(ids: &[Id], key: Id) -> Id {
        ids[ids.partition_point(|&id| id < key) % ids.len()]
    }

    /// A member of an ideal ring of these nodes, as stabilizing and fixing fingers for long enough would leave it.
    fn ideal(ids: &[Id], at: usize, config: &Arc<Config>) -> Proto {
        let me = ids[at];
        let mut proto = Proto::new(me, Arc::clone(config), at as u64, NOW);
        proto.handle(Input::Members { found: true, members: Vec::new() }, NOW);
        let behind = |steps: usize| ids[(at + steps) % ids.len()];
        let successors: Vec<Id> = (1..=config.successors).map(behind).collect();
        let predecessors = vec![behind(ids.len() - 1), behind(ids.len() - 2)];
        let fingers: Vec<Id> = (0..Id::BITS).map(|row| owner(ids, me.plus(1 << row))).collect();
        let mut contacts: Vec<Id> = successors.iter().chain(&fingers).copied().collect();
        contacts.sort_unstable();
        contacts.dedup();
        for from in contacts {
            link(&mut proto, from);
        }
        proto.ring.replace(predecessors, successors);
        proto.fingers.lay_rows();
        for (row, peer) in fingers.into_iter().enumerate() {
            proto.on_finger_found(row, peer, NOW);
        }
        while proto.poll_output().is_some() {}
        proto
    }

    fn link(proto: &mut Proto, from: Id) {
        let step = Step::Request { role: Role::Member, purpose: Purpose::Ring };
        proto.handle(Input::Signal { from, dial: Dial { attempt: 1, step } }, NOW);
        let link = proto.links.to(from).map(|link| link.id).expect("the dial is accepted");
        proto.handle(Input::LinkUp { link, role: Role::Member }, NOW);
        let message = Message::Neighbours(Neighbours { member: true, room: 0, ids: [].into() });
        let frame = crate::wire::Frame { header: Header::new(message.kind(), from, proto.me), message };
        proto.handle(Input::Frame { link, frame }, NOW);
    }

    /// Looks a key up while some nodes are dead: the owner found, the live hops to it, and the dead contacts tried.
    fn look_up(ring: &mut BTreeMap<Id, Proto>, dead: &[Id], from: Id, key: Id) -> Option<(Id, u32, u32)> {
        let mut header = Header { flags: Flags::KEY, ..Header::new(crate::wire::kind::FIND, from, key) };
        let (mut at, mut hops, mut time_outs) = (from, 0, 0);
        loop {
            let proto = ring.get_mut(&at)?;
            match proto.route(&mut header, None, NOW) {
                Hop::Deliver => return Some((at, hops, time_outs)),
                Hop::Drop(_) => return None,
                Hop::Forward(link) => {
                    let peer = proto.links.get(link)?.peer;
                    if dead.binary_search(&peer).is_ok() {
                        time_outs += 1;
                        header.trail.push(peer);
                    } else {
                        hops += 1;
                        header.trail.clear();
                        at = peer;
                    }
                }
            }
        }
    }

    #[test]
    fn paths_and_time_outs_are_those_of_the_paper() {
        // ToN 2003, table II: 1000 nodes, 20 successors, a fraction of the nodes fails, no repair.
        let paper = [
            (0.0, 3.84, 0.0),
            (0.1, 4.03, 0.60),
            (0.2, 4.22, 1.17),
            (0.3, 4.44, 2.02),
            (0.4, 4.69, 3.23),
            (0.5, 5.09, 5.10),
        ];
        let mut rng = Pcg32::seed_from_u64(1);
        let mut ids: Vec<Id> = (0..1000).map(|_| Id::random(&mut rng)).collect();
        ids.sort_unstable();
        let config = Config::bounded(Arc::new(Config::classic()));
        let mut ring: BTreeMap<Id, Proto> = (0..1000).map(|at| (ids[at], ideal(&ids, at, &config))).collect();
        for (fraction, path, paper_time_outs) in paper {
            let (dead, living): (Vec<Id>, Vec<Id>) = ids.iter().partition(|_| rng.random_bool(fraction));
            let (mut hops, mut time_outs) = (0, 0);
            for _ in 0..10_000 {
                let from = *living.choose(&mut rng).unwrap();
                let key = Id::random(&mut rng);
                let found = look_up(&mut ring, &dead, from, key);
                let (found, taken, missed) = found.unwrap_or_else(|| panic!("no way from {from} to {key}"));
                assert_eq!(found, owner(&living, key), "the owner of {key} among the living");
                hops += taken;
                time_outs += missed;
            }
            let (hops, time_outs) = (f64::from(hops) / 1e4, f64::from(time_outs) / 1e4);
            println!("{fraction}: path {hops:.2} (paper {path}), time-outs {time_outs:.2} (paper {paper_time_outs})");
            assert!((hops / path - 1.0).abs() < 0.05, "mean path {hops} where the paper has {path}");
        }
    }
}
