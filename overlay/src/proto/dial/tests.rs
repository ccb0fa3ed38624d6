use std::sync::Arc;

use super::super::testing::{NOW, asks, connecting, hears, linked, member, outputs};
use super::*;
use crate::proto::Input;
use crate::wire::{Neighbours, RingView};

/// A member says who its neighbours are on the ring, and to whom it has links.
fn tells(proto: &mut Proto, link: LinkId, peer: u64, predecessors: &[u64], successors: &[u64]) {
    let predecessors = predecessors.iter().copied().map(Id::new).collect();
    let successors = successors.iter().copied().map(Id::new).collect();
    let view = RingView { member: true, predecessors, successors };
    hears(proto, link, Id::new(peer), Message::Ring(Arc::new(view)));
    let list = Neighbours { member: true, room: 0, ids: [].into() };
    hears(proto, link, Id::new(peer), Message::Neighbours(list));
}

/// The member 100 of a ring of five, with links to the others: 80, 90, 110 and 120. Gives the one to 110, too.
fn member_of_five(links: usize) -> (Proto, LinkId) {
    let mut proto = member(100, links);
    let ring = [80, 90, 100, 110, 120];
    let around = |at: usize, step: usize| ring[(at + step) % ring.len()];
    let links = [0, 1, 3, 4].map(|at| (at, linked(&mut proto, Id::new(ring[at]))));
    for (at, link) in links {
        tells(&mut proto, link, ring[at], &[around(at, 4), around(at, 3)], &[around(at, 1), around(at, 2)]);
    }
    outputs(&mut proto);
    (proto, links[2].1)
}

/// The peers that the node asks for links.
fn asked(outputs: &[Output]) -> Vec<u64> {
    let request = |output: &Output| match output {
        Output::Send { frame: Frame { header, message: Message::Dial(dial) }, .. } => {
            matches!(dial.step, Step::Request { .. }).then(|| header.dst.number())
        }
        _ => None,
    };
    outputs.iter().filter_map(request).collect()
}

#[test]
fn what_a_node_has_asked_for_gives_way_to_who_asks_it_and_not_to_what_it_asks_next() {
    let (mut proto, link) = member_of_five(6);
    // Two that are nearer than its neighbours: both of the places that are left are theirs.
    tells(&mut proto, link, 110, &[105, 104], &[120, 80]);
    assert_eq!(asked(&outputs(&mut proto)), [104, 105]);
    assert_eq!(proto.links_in_use(), 6);
    tells(&mut proto, link, 110, &[103, 102], &[120, 80]);
    assert!(asked(&outputs(&mut proto)).is_empty(), "there is no place for more, and the first are waited for");
    asks(&mut proto, Id::new(101), 7, Purpose::Ring);
    let outputs = outputs(&mut proto);
    let accepts = |output: &Output| matches!(output, Output::Connect { peer, .. } if *peer == Id::new(101));
    assert!(outputs.iter().any(accepts), "{outputs:?}");
    assert_eq!(proto.links_in_use(), 6);
    assert_eq!(proto.peers().count(), 4, "no open link was closed for it");
}

#[test]
fn a_description_for_an_attempt_that_is_over_frees_the_place_at_the_other_end() {
    let mut dialler = member(1, 6);
    let offer = Dial { attempt: 5, step: Step::Describe("offer".to_owned()) };
    dialler.handle(Input::Signal { from: Id::new(2), dial: offer }, NOW);
    let answers = outputs(&mut dialler);
    let [Output::Signal { to, dial }] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((*to, dial.attempt), (Id::new(2), 5));

    let mut acceptor = member(2, 6);
    asks(&mut acceptor, Id::new(1), 5, Purpose::Ring);
    let link = connecting(&mut acceptor);
    acceptor.handle(Input::Signal { from: Id::new(1), dial: Dial { attempt: 4, ..dial.clone() } }, NOW);
    assert_eq!(acceptor.links_in_use(), 1, "another attempt says nothing about this one");
    acceptor.handle(Input::Signal { from: Id::new(1), dial: dial.clone() }, NOW);
    assert_eq!(acceptor.links_in_use(), 0);
    assert!(outputs(&mut acceptor).contains(&Output::Close { link }));
}

#[test]
fn a_description_that_comes_late_does_no_harm_to_an_open_link() {
    let mut proto = member(1, 6);
    let link = linked(&mut proto, Id::new(2));
    outputs(&mut proto);
    for step in [Step::Describe("again".to_owned()), Step::Refuse { reason: Refusal::Closed, alternatives: Vec::new() }]
    {
        proto.handle(Input::Signal { from: Id::new(2), dial: Dial { attempt: 1, step } }, NOW);
    }
    assert_eq!(outputs(&mut proto), []);
    assert!(proto.holds(link));
}

#[test]
fn newcomers_that_do_not_become_members_keep_a_ring_neighbour_out_no_longer_than_they_are_young() {
    let mut proto = member(1000, 6);
    let mut at = NOW;
    // All stand where this node is their successor.
    for newcomer in [400, 500, 600, 700, 800, 900] {
        let step = Step::Request { role: Role::Member, purpose: Purpose::Join };
        proto.handle(Input::Signal { from: Id::new(newcomer), dial: Dial { attempt: 1, step } }, at);
        let link = connecting(&mut proto);
        proto.handle(Input::LinkUp { link, role: Role::Member }, at);
        at = at.after(GRACE);
    }
    assert_eq!(proto.links_in_use(), 6);
    outputs(&mut proto);
    let step = Step::Request { role: Role::Member, purpose: Purpose::Ring };
    proto.handle(Input::Signal { from: Id::new(1100), dial: Dial { attempt: 1, step } }, at);
    let outputs = outputs(&mut proto);
    assert!(outputs.iter().any(|output| matches!(output, Output::Connect { .. })), "{outputs:?}");
}

#[test]
fn a_member_is_answered_through_a_neighbour_until_the_one_before_it_has_a_link_and_follows_it() {
    let mut proto = member(100, 6);
    let via = |proto: &Proto| proto.datagram_header(Id::new(7), None, false).via.map(|via| via.answer);
    assert_eq!(via(&proto), None, "alone it is the whole ring");
    let after = linked(&mut proto, Id::new(110));
    tells(&mut proto, after, 110, &[90], &[90]);
    assert_eq!(via(&proto), Some(Id::new(110)), "the ring leads from 90 to 110 and past it");
    let before = linked(&mut proto, Id::new(90));
    tells(&mut proto, before, 90, &[110], &[110]);
    assert_eq!(via(&proto), Some(Id::new(110)));
    tells(&mut proto, before, 90, &[110], &[100, 110]);
    assert_eq!(via(&proto), None);
    proto.handle(Input::LinkDown { link: before }, NOW);
    assert_eq!(via(&proto), Some(Id::new(110)));
}

#[test]
fn a_successor_whose_link_ends_before_it_brought_anything_stays_in_the_list() {
    for heard in [false, true] {
        let (mut proto, link) = member_of_five(8);
        let (successor, other) =
            (Id::new(110), proto.peers().find(|peer| peer.id == Id::new(120)).expect("a link").link);
        // It closes the link, and has another when it is asked.
        hears(&mut proto, link, successor, Message::Close);
        let attempt = outputs(&mut proto).into_iter().find_map(|output| match output {
            Output::Send { frame: Frame { header, message: Message::Dial(dial) }, .. } if header.dst == successor => {
                Some(dial.attempt)
            }
            _ => None,
        });
        let accepted = Dial { attempt: attempt.expect("it is asked"), step: Step::Describe("an offer".to_owned()) };
        hears(&mut proto, other, successor, Message::Dial(accepted));
        let link = connecting(&mut proto);
        proto.handle(Input::LinkUp { link, role: Role::Member }, NOW);
        if heard {
            tells(&mut proto, link, 110, &[100, 90], &[120, 80]);
        }
        assert_eq!(proto.successors()[0], successor);
        proto.handle(Input::LinkDown { link }, NOW);
        assert_eq!(proto.successors().contains(&successor), !heard, "{:?}", proto.successors());
    }
}
