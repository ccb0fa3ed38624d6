//! Somebody on the way, or at the other end, who means no good.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn another_key_in_the_peers_place_is_found_out() {
    let ring = MemoryRing::new(Conditions::default(), 1);
    let alice = ring.join(&Identity::generate(), Settings::default()).unwrap();
    let victim = Identity::generate().id();
    let mallory = ring.join_as(victim, &Identity::generate(), Settings::default()).unwrap();
    serve_echo(&mallory);
    let error = in_time("dialling", alice.open(victim, ECHO)).await.unwrap_err();
    assert_eq!(error, SessionError::WrongKey);
    assert!(alice.all().is_empty() && mallory.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialler_whose_key_does_not_match_its_id_gets_no_session() {
    let ring = MemoryRing::new(Conditions::default(), 1);
    let bob = ring.join(&Identity::generate(), Settings::default()).unwrap();
    serve_echo(&bob);
    let victim = Identity::generate().id();
    let mallory = ring.join_as(victim, &Identity::generate(), Settings::default()).unwrap();
    let refused = async {
        let mut socket = mallory.open(bob.id(), ECHO).await.map_err(std::io::Error::other)?;
        socket.read_u8().await
    };
    let error = in_time("dialling", refused).await.unwrap_err();
    assert!(error.to_string().contains("does not take our key"), "{error}");
    assert!(bob.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_alters_packets_only_slows_a_session_down() {
    let Pair { ring, alice, bob } = pair(Conditions::default());
    serve_echo(&bob);
    let altered = Arc::new(AtomicU64::new(0));
    let count = altered.clone();
    let rng = Mutex::new(Pcg64Mcg::seed_from_u64(5));
    ring.tamper(Some(Arc::new(move |_, _, packet| {
        let mut rng = rng.lock().unwrap();
        if !rng.random_bool(0.1) {
            return vec![packet];
        }
        count.fetch_add(1, Ordering::Relaxed);
        let mut altered = packet.to_vec();
        let at = rng.random_range(0..altered.len());
        altered[at] ^= 1 << rng.random_range(0..8);
        vec![altered.into()]
    })));
    let sent = pattern(1_000_000);
    let socket = in_time("opening", alice.open(bob.id(), ECHO)).await.unwrap();
    assert!(in_time("the echo", echo(socket, &sent)).await.unwrap() == sent);
    assert!(altered.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_alters_every_packet_prevents_the_session_and_no_more() {
    let Pair { ring, alice, bob } = pair_with(Conditions::default(), hasty());
    ring.tamper(Some(Arc::new(|_, _, packet| {
        let mut altered = packet.to_vec();
        let last = altered.len() - 1;
        altered[last] ^= 1;
        vec![altered.into()]
    })));
    assert_eq!(in_time("dialling", alice.connect(bob.id())).await.unwrap_err(), SessionError::NoAnswer);
    ring.tamper(None);
    serve_echo(&bob);
    let socket = in_time("opening", alice.open(bob.id(), ECHO)).await.unwrap();
    assert_eq!(in_time("the echo", echo(socket, b"hello")).await.unwrap(), b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_reads_nothing_of_what_passes() {
    let Pair { ring, alice, bob } = pair(Conditions::default());
    serve_echo(&bob);
    let seen = record(&ring);
    let secret = b"correct horse battery staple".repeat(20);
    let socket = alice.open(bob.id(), ECHO).await.unwrap();
    assert_eq!(in_time("the echo", echo(socket, &secret)).await.unwrap(), secret);
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty());
    for (_, _, packet) in seen.iter() {
        let shows = |what: &[u8]| packet.windows(what.len()).any(|window| window == what);
        assert!(!shows(b"horse") && !shows(ECHO.as_bytes()), "a packet shows what is in it: {packet:02x?}");
    }
}

type Seen = Arc<Mutex<Vec<(crate::Id, crate::Id, Bytes)>>>;

fn record(ring: &MemoryRing) -> Seen {
    let seen: Seen = Arc::default();
    let record = seen.clone();
    ring.tamper(Some(Arc::new(move |from, to, packet| {
        record.lock().unwrap().push((from, to, packet.clone()));
        vec![packet]
    })));
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_replays_disturb_nobody() {
    let Pair { ring, alice, bob } = pair(Conditions::default());
    serve_echo(&bob);
    let seen = record(&ring);
    let mut socket = alice.open(bob.id(), ECHO).await.unwrap();
    let session = socket.session().clone();
    ping(&mut socket).await;
    ring.tamper(None);
    let seen = std::mem::take(&mut *seen.lock().unwrap());

    let mut rng = Pcg64Mcg::seed_from_u64(11);
    for round in 0..2_000_usize {
        let (from, to, packet) = &seen[round % seen.len()];
        let port = ring.port(*to).unwrap();
        let mut random = vec![0; rng.random_range(0..1_500)];
        rng.fill_bytes(&mut random);
        let cut = packet.slice(..rng.random_range(0..packet.len()));
        let mut altered = packet.to_vec();
        let at = rng.random_range(0..altered.len().min(40));
        altered[at] = rng.random();
        for bad in [random.into(), cut, packet.clone(), altered.into()] {
            let stranger = crate::Id::random(&mut rng);
            port.deliver(if rng.random() { *from } else { stranger }, bad);
        }
        if round % 100 == 0 {
            ping(&mut socket).await;
        }
    }
    ping(&mut socket).await;
    assert!(session.is_open());
    assert!(alice.get(bob.id()).unwrap().is_same(&session), "garbage made another session");
}

async fn ping(socket: &mut Socket) {
    socket.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    in_time("a ping", socket.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_packets_is_dropped_and_counted() {
    let ring = MemoryRing::new(Conditions::default(), 1);
    let bob = Identity::generate();
    let bob = ring.join(&bob, Settings::default()).unwrap();
    let port = ring.port(bob.id()).unwrap();
    let stranger = Identity::generate().id();
    assert!(!port.deliver(stranger, Bytes::new()));
    assert!(!port.deliver(stranger, vec![0; usize::from(MAX_PACKET) + 1].into()));
    assert_eq!(port.dropped(), 2);
    let packet = Bytes::from(vec![0; usize::from(MAX_PACKET)]);
    until("the queue to overflow", || (0..INCOMING_PACKETS).any(|_| !port.deliver(stranger, packet.clone()))).await;
    assert!(port.dropped() > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn spoofed_dials_do_not_take_the_places_of_the_id_they_name() {
    let Pair { ring, alice, bob } = pair(Conditions::default());
    serve_echo(&bob);
    // Mallory sends first packets that look as if they came from Alice.
    let mallory = Identity::generate();
    let (port, spoofed) = (ring.port(bob.id()).unwrap(), alice.id());
    let carrier = move |_: crate::Id, packets: Packets<'_>| {
        packets.iter().for_each(|packet| {
            port.deliver(spoofed, Bytes::copy_from_slice(packet));
        });
        true
    };
    for _ in 0..MAX_HANDSHAKES * 2 {
        let (mallory, _) = Sessions::new(&mallory, carrier.clone(), Settings::default()).unwrap();
        let peer = bob.id();
        tokio::spawn(async move { mallory.connect(peer).await });
    }
    let socket = in_time("opening", alice.open(bob.id(), ECHO)).await.unwrap();
    assert_eq!(in_time("the echo", echo(socket, b"it is me")).await.unwrap(), b"it is me");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_name_is_given_up() {
    let Pair { alice, bob, .. } = pair_with(Conditions::default(), Settings { idle_timeout: IDLE_TIMEOUT, ..hasty() });
    let session = alice.connect(bob.id()).await.unwrap();
    for header in [&b"\0"[..], &b"\x05ab"[..], &b"\x02\xff\xfe"[..]] {
        let (mut send, mut recv) = session.connection().open_bi().await.unwrap();
        send.write_all(header).await.unwrap();
        let error = in_time("reading", recv.read_to_end(1)).await.unwrap_err();
        assert!(error.to_string().contains("reset"), "{header:02x?}: {error}");
    }
}
