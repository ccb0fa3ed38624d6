//! A ring that loses, delays, reorders and cuts off.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_arrive_intact_though_two_percent_of_packets_are_lost() {
    let conditions =
        Conditions { loss_ppm: 20_000, jitter: Duration::from_millis(2), pushes_back: false, ..Conditions::default() };
    let Pair { alice, bob, .. } = pair(conditions);
    let mut listener = bob.listen(ECHO).unwrap();
    let sent = pattern(10_000_000);
    let mut socket = in_time("opening", alice.open(bob.id(), ECHO)).await.unwrap();
    let session = socket.session().clone();
    let mut accepted = in_time("accepting", listener.accept()).await.unwrap();
    let mut received = Vec::new();
    let (wrote, read) = in_time("the stream", async {
        let writing = async {
            socket.write_all(&sent).await?;
            socket.finish().await.map_err(std::io::Error::from)
        };
        tokio::join!(writing, accepted.read_to_end(&mut received))
    })
    .await;
    wrote.unwrap();
    read.unwrap();
    assert!(received == sent, "{} of {} bytes arrived, or not the same", received.len(), sent.len());
    assert!(session.stats().lost_packets > 0, "nothing was lost: {:?}", session.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_local_queue_holds_the_sender_back_and_nothing_is_lost() {
    let conditions = Conditions { queue: 2, rate: Some(50_000_000), ..Conditions::default() };
    let Pair { alice, bob, .. } = pair(conditions);
    serve_echo(&bob);
    let sent = pattern(3_000_000);
    let socket = alice.open(bob.id(), ECHO).await.unwrap();
    let session = socket.session().clone();
    assert!(in_time("the echo", echo(socket, &sent)).await.unwrap() == sent);
    assert_eq!(session.stats().lost_packets, 0, "{:?}", session.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_blocked_holds_back_only_the_sessions_on_it() {
    let ring = MemoryRing::new(Conditions::default(), 3);
    let (bob, carol) = (Identity::generate(), Identity::generate());
    let (bob_id, carol_id) = (bob.id(), carol.id());
    let bob = ring.join(&bob, Settings::default()).unwrap();
    let carol = ring.join(&carol, Settings::default()).unwrap();
    serve_echo(&bob);
    serve_echo(&carol);
    let alice = Identity::generate();
    let blocked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (own, to_ring, is_blocked) = (alice.id(), ring.clone(), blocked.clone());
    let carrier = move |to: crate::Id, packets: Packets<'_>| {
        if to == bob_id && is_blocked.load(std::sync::atomic::Ordering::SeqCst) {
            return false;
        }
        if let Some(port) = to_ring.port(to) {
            packets.iter().for_each(|packet| {
                port.deliver(own, bytes::Bytes::copy_from_slice(packet));
            });
        }
        true
    };
    let (alice, port) = Sessions::new(&alice, carrier, Settings::default()).unwrap();
    ring.attach(own, port.clone());
    let mut stuck = in_time("opening", alice.open(bob_id, ECHO)).await.unwrap();
    stuck.write_all(b"before").await.unwrap();
    let mut back = [0; 6];
    in_time("the echo", stuck.read_exact(&mut back)).await.unwrap();

    blocked.store(true, std::sync::atomic::Ordering::SeqCst);
    stuck.write_all(b"during").await.unwrap();
    let free = in_time("opening", alice.open(carol_id, ECHO)).await.unwrap();
    let sent = pattern(1_000_000);
    assert!(in_time("the free echo", echo(free, &sent)).await.unwrap() == sent);

    blocked.store(false, std::sync::atomic::Ordering::SeqCst);
    port.writable();
    in_time("the stuck echo", stuck.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"during");
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_grow_to_what_the_way_carries() {
    for longest in [1_300, 4_000, usize::from(MAX_PACKET)] {
        let Pair { alice, bob, .. } = pair(Conditions { longest, ..Conditions::default() });
        serve_echo(&bob);
        let socket = alice.open(bob.id(), ECHO).await.unwrap();
        let session = socket.session().clone();
        let sent = pattern(200_000);
        assert!(in_time("the echo", echo(socket, &sent)).await.unwrap() == sent);
        let nearly = longest - longest / 20;
        until("the packets to grow", || usize::from(session.stats().packet_size) >= nearly).await;
        assert!(usize::from(session.stats().packet_size) <= longest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_vanishes_is_noticed_by_reader_and_writer() {
    let Pair { ring, alice, bob } = pair_with(Conditions::default(), hasty());
    let mut listener = bob.listen(ECHO).unwrap();
    let mut socket = alice.open(bob.id(), ECHO).await.unwrap();
    let session = socket.session().clone();
    let _accepted = in_time("accepting", listener.accept()).await.unwrap();
    ring.set_conditions(Conditions { loss_ppm: 1_000_000, ..Conditions::default() });
    let error = in_time("reading", socket.read_u8()).await.unwrap_err();
    assert_eq!(socket_error(&error), SocketError::Session(SessionError::Silent));
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(in_time("closing", session.closed()).await, SessionError::Silent);
    assert!(socket.write_all(b"x").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_socket_stays_open_for_longer_than_the_silence_timeout() {
    let Pair { alice, bob, .. } = pair_with(Conditions::default(), hasty());
    serve_echo(&bob);
    let socket = alice.open(bob.id(), ECHO).await.unwrap();
    let session = socket.session().clone();
    // Time itself is what is tested here: twice the silence time-out.
    let ended = tokio::time::timeout(hasty().silence_timeout * 2, session.closed()).await;
    assert!(ended.is_err(), "the session ended: {ended:?}");
    assert_eq!(in_time("the echo", echo(socket, b"awake")).await.unwrap(), b"awake");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_that_nobody_answers_ends_in_time() {
    let Pair { alice, bob, .. } = pair_with(Conditions { loss_ppm: 1_000_000, ..Conditions::default() }, hasty());
    let error = in_time("dialling", alice.connect(bob.id())).await.unwrap_err();
    assert_eq!(error, SessionError::NoAnswer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_ends_at_once_when_the_ring_says_that_nobody_is_there() {
    let Pair { ring, alice, bob } = pair(Conditions { loss_ppm: 1_000_000, ..Conditions::default() });
    let dialling = tokio::spawn({
        let (alice, peer) = (alice.clone(), bob.id());
        async move { (alice.connect(peer).await, std::time::Instant::now()) }
    });
    let port = ring.port(alice.id()).unwrap();
    let mut failed = std::time::Instant::now();
    until("the dial to end", || {
        failed = if dialling.is_finished() { failed } else { std::time::Instant::now() };
        port.fail(bob.id(), Unreachable::NoSuchPeer);
        dialling.is_finished()
    })
    .await;
    let (result, ended) = dialling.await.unwrap();
    assert_eq!(result.unwrap_err(), SessionError::Unreachable(Unreachable::NoSuchPeer));
    assert!(ended.saturating_duration_since(failed) < HANDSHAKE_TIMEOUT / 5);

    let nobody = Identity::generate().id();
    ring.set_conditions(Conditions::default());
    let error = in_time("dialling nobody", alice.connect(nobody)).await.unwrap_err();
    assert_eq!(error, SessionError::Unreachable(Unreachable::NoSuchPeer));
}
