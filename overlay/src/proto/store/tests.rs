//! One node and what others make it do: records that do not prove themselves, floods, copies from afar, a slow disk.

use std::time::Duration;

use super::*;
use crate::proto::testing::{NOW, hears, linked, member, outputs};
use crate::proto::{Answer, Config, Input, Token};
use crate::record::tests::identity;
use crate::wire::{Frame, MAX_PARCEL_PARTS, Outcome, PART_BYTES, Parcel, RingView, kind};

const LATER: Seconds = Seconds(3600);

fn entry(writer: u8, name: &str, sequence: u64) -> Record {
    Record::entry(&identity(writer), name, sequence, LATER, Some(Bytes::from_static(b"x"))).unwrap()
}

/// An entry with the signature of another one.
fn forged(number: u64) -> Record {
    let (good, other) = (entry(1, "a", number), entry(1, "a", number + 1));
    let (good, other) = (postcard::to_allocvec(&good).unwrap(), postcard::to_allocvec(&other).unwrap());
    let at = good.len() - 64;
    postcard::from_bytes(&[&good[..at], &other[at..]].concat()).unwrap()
}

fn copy(request: u32, record: Record) -> Message {
    Message::Replicate(Box::new(Replicate::Copy { request, record }))
}

fn answers(outputs: &[Output]) -> Vec<Outcome> {
    let answer = |output: &Output| match output {
        Output::Send { frame: Frame { message: Message::Stored(answer), .. }, .. } => Some(answer.outcome.clone()),
        _ => None,
    };
    outputs.iter().filter_map(answer).collect()
}

#[test]
fn a_neighbour_that_insists_on_records_that_do_not_prove_themselves_is_dropped() {
    let mut proto = member(100, 16);
    let peer = Id::new(200);
    let link = linked(&mut proto, peer);
    for number in 0..7 {
        hears(&mut proto, link, peer, copy(7, forged(number)));
        assert!(proto.holds(link), "dropped after {number}");
    }
    hears(&mut proto, link, peer, copy(7, forged(7)));
    let stats = proto.store_stats();
    assert!(!proto.holds(link), "{stats:?}");
    assert_eq!((stats.forged, stats.dropped, stats.records), (8, 1, 0));
}

#[test]
fn a_neighbour_is_not_dropped_for_what_it_passes_on() {
    let mut proto = member(100, 16);
    let link = linked(&mut proto, Id::new(200));
    for number in 0..50 {
        hears(&mut proto, link, Id::new(300), copy(7, forged(number)));
    }
    assert!(proto.holds(link));
    assert_eq!(proto.store_stats().forged, 50);
}

#[test]
fn signatures_are_checked_within_the_budget_of_the_link() {
    let mut proto = member(100, 16);
    let (peer, other) = (Id::new(200), Id::new(50));
    let link = linked(&mut proto, peer);
    let record = forged(1);
    for _ in 0..3000 {
        hears(&mut proto, link, Id::new(300), copy(7, record.clone()));
    }
    let stats = proto.store_stats();
    assert_eq!((stats.forged, stats.unchecked), (2048, 952), "{stats:?}");
    outputs(&mut proto);
    // Others are served as before.
    let second = linked(&mut proto, other);
    hears(&mut proto, second, other, copy(7, entry(1, "b", 1)));
    assert_eq!(proto.store_stats().records, 1);
}

#[test]
fn copies_from_afar_are_refused_and_its_questions_not_answered() {
    let mut proto = member(100, 16);
    // Its successors stand close together: the ring is large.
    let links: Vec<LinkId> = (1..=8u64).map(|id| linked(&mut proto, Id::new(100 + id * 1000))).collect();
    for (id, link) in (1..=8u64).zip(links) {
        let view = RingView {
            member: true,
            predecessors: [Id::new(100 + (id - 1) * 1000)].into_iter().collect(),
            successors: (id + 1..=id + 8).map(|next| Id::new(100 + next * 1000)).collect(),
        };
        hears(&mut proto, link, Id::new(100 + id * 1000), Message::Ring(view.into()));
    }
    assert_eq!(proto.successors().len(), 8, "{:?}", proto.successors());
    outputs(&mut proto);
    let (near, far) = (Id::new(1100), Id::new(1 << 46));
    let link = proto.peers().find(|peer| peer.id == near).expect("a link").link;
    let before = proto.store_stats().implausible;
    hears(&mut proto, link, far, copy(7, entry(1, "a", 1)));
    let pull = Replicate::Pull { request: 1, from: Id::new(0), to: Id::new(100), after: None };
    hears(&mut proto, link, far, Message::Replicate(Box::new(pull)));
    let to_far = |output: &Output| matches!(output, Output::Send { frame, .. } if frame.header.dst == far);
    assert!(!outputs(&mut proto).iter().any(to_far));
    assert_eq!((proto.store_stats().implausible - before, proto.store_stats().records), (2, 0));
    hears(&mut proto, link, near, copy(7, entry(1, "a", 1)));
    assert_eq!(proto.store_stats().records, 1);
}

#[test]
fn a_node_with_a_disk_says_that_it_keeps_a_record_when_the_disk_has_it() {
    let mut proto = Proto::new(Id::new(100), Config::with_links(16), 1, NOW);
    let loaded = [entry(1, "old", 1), forged(1)];
    assert_eq!(proto.load_records(loaded.clone(), NOW), 1, "the forged one is left out");
    let forgotten = outputs(&mut proto).into_iter().filter(|output| matches!(output, Output::Forget { .. })).count();
    assert_eq!(forgotten, 1);
    proto.handle(Input::Members { found: true, members: Vec::new() }, NOW);
    outputs(&mut proto);
    // The first request has it take over its arc from nobody.
    let ask = |proto: &mut Proto, token| {
        proto.handle(Input::Put { token: Token(token), record: Box::new(entry(1, "new", token)) }, NOW);
        outputs(proto)
    };
    let answer = |outputs: &[Output]| {
        outputs.iter().find_map(|output| match output {
            Output::Answer { answer: Answer::Put(result), .. } => Some(*result),
            _ => None,
        })
    };
    let seen = ask(&mut proto, 5);
    let saved = seen.iter().any(|output| matches!(output, Output::Save { number: 1, .. }));
    assert!(saved && answer(&seen).is_none(), "{seen:?}");
    proto.handle(Input::Saved { number: 1 }, NOW);
    assert_eq!(answer(&outputs(&mut proto)), Some(Ok(1)));
    // It fails: nothing new is kept, and what there is stays.
    proto.handle(Input::DiskFailed, NOW);
    assert_eq!(answer(&ask(&mut proto, 6)), Some(Err(StoreError::Refused(StoreRefusal::Disk))));
    assert!(proto.stored(&loaded[0].key(), NOW).is_some());
}

#[test]
fn parts_that_never_become_whole_are_bounded_and_forgotten() {
    let mut proto = member(100, 16);
    let peer = Id::new(200);
    let link = linked(&mut proto, peer);
    for number in 0..1000 {
        let bytes = vec![0; PART_BYTES].into();
        let part = Parcel::Part { number, of: kind::STORE, part: 0, parts: MAX_PARCEL_PARTS, bytes };
        hears(&mut proto, link, peer, Message::Parcel(Box::new(part)));
    }
    let most = 33 * (PART_BYTES + 1000);
    assert!(proto.store_memory() < most, "{} bytes", proto.store_memory());
    outputs(&mut proto);
    let later = NOW.after(Duration::from_secs(5));
    while proto.poll_timeout().is_some_and(|due| due <= later) {
        proto.handle_timeout(later);
        outputs(&mut proto);
    }
    assert!(proto.store_memory() < PART_BYTES, "{} bytes", proto.store_memory());
}

#[test]
fn a_message_whose_parts_are_no_message_is_counted_and_no_more() {
    let mut proto = member(100, 16);
    let peer = Id::new(200);
    let link = linked(&mut proto, peer);
    for (number, of) in [(1, kind::STORE), (2, kind::PARCEL), (3, 200)] {
        let part = Parcel::Part { number, of, part: 0, parts: 1, bytes: Bytes::from_static(b"\xff\xff\xff") };
        hears(&mut proto, link, peer, Message::Parcel(Box::new(part)));
    }
    assert_eq!(proto.stats().invalid, 3);
    assert!(proto.holds(link));
    assert_eq!(answers(&outputs(&mut proto)), []);
}

#[test]
fn who_does_not_answer_keeps_no_parcels_for_others_waiting() {
    let mut proto = member(100, 16);
    let (peer, dead) = (Id::new(200), Id::new(300));
    let link = linked(&mut proto, peer);
    let view = RingView {
        member: true,
        predecessors: [peer].into_iter().collect(),
        successors: [dead, Id::new(100)].into_iter().collect(),
    };
    hears(&mut proto, link, peer, Message::Ring(view.into()));
    outputs(&mut proto);
    /// By then nobody is to get anything any more.
    const OVER: Duration = Duration::from_secs(20);
    let large = |number: u8| Record::value_of(vec![number; 2 * PART_BYTES], LATER).unwrap();
    for number in 0..8 {
        proto.send_copy(dead, None, UNANSWERED, large(number), NOW);
    }
    proto.send_copy(peer, None, UNANSWERED, large(8), NOW);
    proto.set_store_timer();
    let (mut first, mut to_dead) = (None, 0);
    while let Some(now) = proto.poll_timeout().filter(|&now| now <= NOW.after(OVER)) {
        proto.handle_timeout(now);
        for output in outputs(&mut proto) {
            let Output::Send { frame: Frame { header, message: Message::Parcel(_) }, .. } = output else { continue };
            match header.dst == peer {
                true => first = first.or(Some(now)),
                false => to_dead += 1,
            }
        }
    }
    let first = first.expect("the peer gets something");
    assert!(first <= NOW.after(Duration::from_secs(1)), "first at {first:?}");
    assert_eq!(to_dead, 3 * 4, "parts of one parcel, sent four times");
    assert_eq!(proto.store.as_ref().map(|store| store.parcels.memory()), Some(0));
}
