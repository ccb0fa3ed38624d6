//! Records that survive their nodes, and names that have one holder: every test names its seed when it fails.

use std::time::Duration;

use atoll::id::Id;
use atoll::key::Identity;
use atoll::proto::{Answer, Config, Input, StoreError, Token};
use atoll::record::{Key, MAX_VALUE, Record, Seconds};
use atoll::wire::StoreRefusal;
use sim::engine::{Happening, Network, World};

const S: Duration = Duration::from_secs(1);

fn ring(count: usize, seed: u64) -> World {
    ring_with(count, seed, &Config::with_links(16))
}

fn ring_with(count: usize, seed: u64, config: &Config) -> World {
    let mut world = World::new(seed, Network::default());
    world.audit = true;
    world.start(count, config);
    ideal(&mut world);
    world.run_for(5 * S);
    world
}

fn ideal(world: &mut World) {
    let took = world.run_until(120 * S, world.nodes.len(), |world| world.is_ideal());
    assert!(took.is_some(), "no ideal ring\n{}", world.describe());
}

/// A key pair that follows from a number.
fn identity(number: u8) -> Identity {
    // RFC 5958: an EC key on P-256, without its public half.
    const HEAD: &[u8] = &[
        0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    Identity::from_pkcs8_der(&[HEAD, &[number.max(1); 32]].concat()).expect("a key")
}

fn clock(world: &World) -> Seconds {
    Seconds(world.now().0 / 1_000_000)
}

/// The answer to a request that is given now.
fn ask(world: &mut World, at: usize, input: impl FnOnce(Token) -> Input) -> Answer {
    let token = world.counts().events;
    let input = input(Token(token));
    world.input(at, input);
    let answered = |world: &World| {
        world.happened.iter().find_map(|(_, what)| match what {
            Happening::Answer { node, token: of, answer } if *node == at && *of == token => Some(answer.clone()),
            _ => None,
        })
    };
    let took = world.run_until(15 * S, 10, |world| answered(world).is_some());
    assert!(took.is_some(), "no answer\n{}", world.describe());
    answered(world).expect("it was just there")
}

fn put(world: &mut World, at: usize, record: Record) -> Result<u8, StoreError> {
    match ask(world, at, |token| Input::Put { token, record: Box::new(record) }) {
        Answer::Put(kept) => kept,
        other => panic!("{other:?}"),
    }
}

fn get(world: &mut World, at: usize, key: Key) -> Result<Option<Record>, StoreError> {
    match ask(world, at, |token| Input::Get { token, key: Box::new(key) }) {
        Answer::Get(found) => found.map(|record| record.map(|record| *record)),
        other => panic!("{other:?}"),
    }
}

fn values(world: &World, count: u32) -> Vec<Record> {
    let expires = clock(world).after(3600 * S);
    (0..count).map(|number| Record::value_of(number.to_be_bytes().to_vec(), expires).expect("a value")).collect()
}

/// The running nodes in the order of the ring, from the owner of this point on.
fn from_owner_on(world: &World, point: Id) -> Vec<usize> {
    let mut nodes: Vec<usize> = world.running().collect();
    nodes.sort_unstable_by_key(|&at| point.clockwise_to(world.nodes[at].proto.id()));
    nodes
}

/// The nodes that keep this record.
fn keepers(world: &World, key: &Key) -> Vec<usize> {
    world.running().filter(|&at| world.nodes[at].proto.stored(key, world.now()).is_some()).collect()
}

#[test]
fn what_is_written_is_read_from_everywhere_and_kept_by_the_owner_and_five_successors() {
    let mut world = ring(40, 1);
    for record in values(&world, 20) {
        let at = world.random_node().unwrap();
        assert_eq!(put(&mut world, at, record.clone()), Ok(6));
        let at = world.random_node().unwrap();
        assert_eq!(get(&mut world, at, record.key()), Ok(Some(record.clone())));
        let mut expected = from_owner_on(&world, record.key().point());
        expected.truncate(6);
        expected.sort_unstable();
        assert_eq!(keepers(&world, &record.key()), expected);
    }
    assert_eq!(get(&mut world, 3, Key::of_value(b"nothing")), Ok(None));
}

/// A value of so many bytes that take several frames.
fn large(world: &World, number: u8, bytes: usize) -> Record {
    Record::value_of(vec![number; bytes], clock(world).after(3600 * S)).expect("a value")
}

#[test]
fn a_value_of_64_kib_is_written_and_read_from_everywhere_though_frames_are_lost() {
    for (seed, loss) in [(80, 0.0), (81, 0.02), (82, 0.1)] {
        let mut world = ring(30, seed);
        world.network.loss = loss;
        for number in 0..10 {
            let record = large(&world, number, MAX_VALUE - usize::from(number) * 7000);
            let at = world.random_node().unwrap();
            // Of the sixty frames that it takes many are lost, again and again: who is told to try again does.
            let mut tries = (0..if loss < 0.1 { 1 } else { 3 }).map(|_| put(&mut world, at, record.clone()));
            let kept = tries.find_map(Result::ok).unwrap_or_else(|| panic!("seed {seed}: not kept in several tries"));
            assert!(loss > 0.0 || kept == 6, "seed {seed}: kept by {kept}");
            let at = world.random_node().unwrap();
            assert_eq!(get(&mut world, at, record.key()), Ok(Some(record.clone())), "seed {seed}");
        }
    }
}

#[test]
fn many_large_values_at_once_all_arrive() {
    let mut world = ring(20, 83);
    let records: Vec<Record> = (0..100).map(|number| large(&world, number, MAX_VALUE)).collect();
    for (number, record) in records.iter().enumerate() {
        let token = Token(number as u64);
        world.input(number % 3, Input::Put { token, record: Box::new(record.clone()) });
    }
    world.run_for(11 * S);
    let refused: Vec<&Happening> = world
        .happened
        .iter()
        .map(|(_, what)| what)
        .filter(|what| matches!(what, Happening::Answer { answer: Answer::Put(Err(_)), .. }))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    world.run_for(30 * S);
    for record in &records {
        assert_eq!(keepers(&world, &record.key()).len(), 6);
    }
}

#[test]
fn large_values_survive_when_their_owner_and_four_successors_die_at_once() {
    let mut world = ring(30, 84);
    let records: Vec<Record> = (0..40).map(|number| large(&world, number, MAX_VALUE)).collect();
    for record in &records {
        put(&mut world, 0, record.clone()).expect("kept");
    }
    let victims: Vec<usize> = from_owner_on(&world, records[0].key().point())[..5].to_vec();
    for at in victims {
        world.kill(at);
    }
    world.run_for(15 * S);
    let reader = world.random_node().unwrap();
    for record in &records {
        assert_eq!(get(&mut world, reader, record.key()), Ok(Some(record.clone())));
    }
    let whole = |world: &mut World| records.iter().all(|record| keepers(world, &record.key()).len() >= 6);
    assert!(world.run_until(90 * S, 100, whole).is_some(), "not all are kept by six again\n{}", world.describe());
}

#[test]
fn a_newer_entry_replaces_an_older_one_and_never_the_other_way_and_nobody_else_writes_it() {
    let mut world = ring(20, 2);
    let expires = clock(&world).after(3600 * S);
    let entry = |sequence, text: Option<&'static str>| {
        Record::entry(&identity(1), "me", sequence, expires, text.map(Into::into)).unwrap()
    };
    assert_eq!(put(&mut world, 0, entry(5, Some("five"))), Ok(6));
    assert_eq!(put(&mut world, 1, entry(7, Some("seven"))), Ok(6));
    assert_eq!(put(&mut world, 2, entry(6, Some("six"))), Err(StoreError::Refused(StoreRefusal::Older)));
    let key = entry(0, None).key();
    assert_eq!(get(&mut world, 3, key.clone()), Ok(Some(entry(7, Some("seven")))));
    assert_eq!(put(&mut world, 4, entry(8, None)), Ok(6), "deleted");
    let found = get(&mut world, 5, key).unwrap().expect("what says that it was deleted");
    assert_eq!(found.value(), None);
    assert_eq!(put(&mut world, 6, entry(7, Some("seven"))), Err(StoreError::Refused(StoreRefusal::Older)));
}

#[test]
fn records_survive_when_their_owner_and_four_successors_die_at_once() {
    for seed in 3..6 {
        let mut world = ring(40, seed);
        let records = values(&world, 30);
        for record in &records {
            assert_eq!(put(&mut world, 0, record.clone()), Ok(6), "seed {seed}");
        }
        let mut others: Vec<usize> = from_owner_on(&world, records[0].key().point());
        others.truncate(5);
        for &at in &others {
            world.kill(at);
        }
        world.run_for(12 * S);
        let reader = world.random_node().unwrap();
        for record in &records {
            assert_eq!(get(&mut world, reader, record.key()), Ok(Some(record.clone())), "seed {seed}");
        }
        // And there are six of each again.
        let key = records[0].key();
        let repaired = world.run_until(60 * S, 100, |world| keepers(world, &key).len() >= 6);
        assert!(repaired.is_some(), "seed {seed}: kept by {:?}\n{}", keepers(&world, &key), world.describe());
    }
}

#[test]
fn an_acknowledged_write_is_not_lost_while_one_replica_lives() {
    for seed in 10..14 {
        let mut world = ring(30, seed);
        let records = values(&world, 20);
        for record in &records {
            put(&mut world, 0, record.clone()).expect("kept");
        }
        let key = records[0].key();
        let keepers = from_owner_on(&world, key.point());
        let survivor = keepers[seed as usize % 6];
        for &at in keepers[..6].iter().filter(|&&at| at != survivor) {
            world.kill(at);
        }
        world.run_for(15 * S);
        ideal(&mut world);
        let found = world.run_until(60 * S, 1000, |world| {
            let owner = from_owner_on(world, key.point())[0];
            world.nodes[owner].proto.stored(&key, world.now()).is_some()
        });
        assert!(found.is_some(), "seed {seed}, kept by {survivor} alone\n{}", world.describe());
        let reader = world.random_node().unwrap();
        assert_eq!(get(&mut world, reader, key), Ok(Some(records[0].clone())), "seed {seed}");
    }
}

#[test]
fn a_join_moves_its_arc_and_no_more() {
    let mut world = ring(20, 20);
    let records = values(&world, 400);
    for record in &records {
        put(&mut world, 0, record.clone()).expect("kept");
    }
    world.run_for(30 * S);
    let sent = |world: &World| world.nodes.iter().map(|node| node.proto.store_stats().copies_sent).sum::<u64>();
    let before = sent(&world);
    world.run_for(60 * S);
    assert_eq!(sent(&world), before, "records were copied though nothing changed");
    world.start(1, &Config::with_links(16));
    ideal(&mut world);
    let newcomer = world.nodes.len() - 1;
    // Read through it, so that it takes over whatever the others think.
    let id = world.nodes[newcomer].proto.id();
    let own = |record: &&Record| from_owner_on(&world, record.key().point())[0] == newcomer;
    let owned: Vec<Record> = records.iter().filter(own).cloned().collect();
    assert!(!owned.is_empty(), "{id} owns nothing; take another seed");
    for record in &owned {
        assert_eq!(get(&mut world, 3, record.key()), Ok(Some(record.clone())));
    }
    world.run_for(120 * S);
    for record in &records {
        let mut expected = from_owner_on(&world, record.key().point());
        expected.truncate(6);
        expected.sort_unstable();
        assert_eq!(keepers(&world, &record.key()), expected, "{:?}", record.key().point());
    }
    // It is one of six for the arcs of five others, too.
    let kept = world.nodes[newcomer].proto.store_stats().records;
    let copies = sent(&world) - before;
    println!("{} owned, {kept} kept by the newcomer, {copies} copies sent", owned.len());
    assert!(copies <= kept, "{copies} copies for the {kept} records that the newcomer keeps");
}

#[test]
fn a_farewell_loses_nothing_even_without_replicas() {
    let config = &mut Config::with_links(16);
    config.replicas = 1;
    let mut world = ring_with(10, 30, config);
    let records = values(&world, 50);
    for record in &records {
        assert_eq!(put(&mut world, 0, record.clone()), Ok(1));
    }
    let leaver = from_owner_on(&world, records[0].key().point())[0];
    world.leave(leaver);
    ideal(&mut world);
    let reader = world.random_node().unwrap();
    for record in &records {
        assert_eq!(get(&mut world, reader, record.key()), Ok(Some(record.clone())));
    }
}

fn claim(world: &World, who: u8, ttl: Duration) -> Record {
    let now = clock(world);
    Record::claim(&identity(who), "alice", now, world.now().0, now.after(ttl), false).expect("a claim")
}

#[test]
fn of_two_that_claim_a_name_the_first_keeps_it_until_its_claim_is_over() {
    let mut world = ring(20, 40);
    let first = claim(&world, 1, 60 * S);
    assert_eq!(put(&mut world, 0, first.clone()), Ok(6));
    let second = claim(&world, 2, 60 * S);
    assert_eq!(put(&mut world, 1, second), Err(StoreError::Refused(StoreRefusal::Taken)));
    assert_eq!(get(&mut world, 2, Key::Name("alice".into())), Ok(Some(first)));
    // The holder renews it.
    world.run_for(40 * S);
    let renewed = claim(&world, 1, 60 * S);
    assert_eq!(put(&mut world, 0, renewed), Ok(6));
    world.run_for(40 * S);
    let second = claim(&world, 2, 60 * S);
    assert_eq!(put(&mut world, 1, second), Err(StoreError::Refused(StoreRefusal::Taken)));
    // And then no longer.
    world.run_for(30 * S);
    assert_eq!(get(&mut world, 2, Key::Name("alice".into())), Ok(None));
    let second = claim(&world, 2, 60 * S);
    assert_eq!(put(&mut world, 1, second.clone()), Ok(6));
    assert_eq!(get(&mut world, 2, Key::Name("alice".into())), Ok(Some(second)));
}

#[test]
fn of_many_that_claim_a_name_at_once_one_gets_it() {
    for seed in 50..55 {
        let mut world = ring(30, seed);
        for who in 1..=8u8 {
            let record = Box::new(claim(&world, who, 600 * S));
            world.input(usize::from(who), Input::Put { token: Token(u64::from(who)), record });
        }
        world.run_for(11 * S);
        let answers: Vec<&Answer> = world
            .happened
            .iter()
            .filter_map(|(_, what)| match what {
                Happening::Answer { answer: answer @ Answer::Put(_), .. } => Some(answer),
                _ => None,
            })
            .collect();
        let won = answers.iter().filter(|answer| matches!(answer, Answer::Put(Ok(_)))).count();
        assert_eq!((answers.len(), won), (8, 1), "seed {seed}: {answers:?}");
    }
}

#[test]
fn a_name_stays_with_its_holder_when_a_new_owner_joins_just_before_somebody_else_claims_it() {
    for seed in 60..66 {
        let mut world = ring(15, seed);
        let first = claim(&world, 1, 600 * S);
        let point = first.key().point();
        assert_eq!(put(&mut world, 0, first), Ok(6), "seed {seed}");
        // It stands right at the point of the name.
        let newcomer = world.add(point, Config::with_links(16));
        let member = world.run_until(60 * S, 1, |world| world.nodes[newcomer].is_member());
        assert!(member.is_some(), "seed {seed}\n{}", world.describe());
        let second = claim(&world, 2, 600 * S);
        let refused = Err(StoreError::Refused(StoreRefusal::Taken));
        assert_eq!(put(&mut world, newcomer, second), refused, "seed {seed}");
    }
}

#[test]
fn a_node_at_its_limit_refuses_and_says_so() {
    let config = &mut Config::with_links(16);
    config.quotas.records_per_writer = 3;
    let mut world = ring_with(1, 70, config);
    let expires = clock(&world).after(60 * S);
    let entry = |name: &str| Record::entry(&identity(1), name, 1, expires, Some("x".into())).unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(put(&mut world, 0, entry(name)), Ok(1));
    }
    assert_eq!(put(&mut world, 0, entry("d")), Err(StoreError::Refused(StoreRefusal::WriterFull)));
    world.run_for(61 * S);
    let expires = clock(&world).after(60 * S);
    let later = Record::entry(&identity(1), "d", 1, expires, Some("x".into())).unwrap();
    assert_eq!(put(&mut world, 0, later), Ok(1), "the others are over");
}
