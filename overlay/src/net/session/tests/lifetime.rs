//! How sessions come, are shared, and go.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn dials_at_the_same_time_share_one_session() {
    let Pair { alice, bob, .. } = pair(Conditions { delay: Duration::from_millis(5), ..Conditions::default() });
    let dials: Vec<_> = (0..50)
        .map(|_| {
            let (alice, peer) = (alice.clone(), bob.id());
            tokio::spawn(async move { alice.connect(peer).await })
        })
        .collect();
    let mut sessions = Vec::new();
    for dial in dials {
        sessions.push(in_time("a dial", dial).await.unwrap().unwrap());
    }
    assert!(sessions.iter().all(|session| session.is_same(&sessions[0])));
    assert_eq!(sessions[0].peer_key().id(), bob.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_session_serves_own_dials() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    serve_echo(&alice);
    alice.connect(bob.id()).await.unwrap();
    until("the session to be accepted", || bob.get(alice.id()).is_some()).await;
    let session = bob.connect(alice.id()).await.unwrap();
    assert!(!session.dialled());
    let socket = session.open(ECHO).await.unwrap();
    assert_eq!(in_time("the echo", echo(socket, b"back")).await.unwrap(), b"back");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_dialling_at_once_settle_on_one_session() {
    let settings = Settings { handshake_timeout: Duration::from_secs(2), ..Settings::default() };
    for round in 0..5 {
        let conditions = Conditions { delay: Duration::from_millis(round * 3), ..Conditions::default() };
        let Pair { alice, bob, .. } = pair_with(conditions, settings.clone());
        serve_echo(&alice);
        serve_echo(&bob);
        let (to_bob, to_alice) =
            in_time("dialling", async { tokio::join!(alice.open(bob.id(), ECHO), bob.open(alice.id(), ECHO)) }).await;
        let (there, back) = in_time("the echoes", async {
            tokio::join!(echo(to_bob.unwrap(), b"to bob"), echo(to_alice.unwrap(), b"to alice"))
        })
        .await;
        assert_eq!((there.unwrap().as_slice(), back.unwrap().as_slice()), (&b"to bob"[..], &b"to alice"[..]));
        until("both ends to agree", || {
            let (at_alice, at_bob) = (alice.get(bob.id()), bob.get(alice.id()));
            at_alice.zip(at_bob).is_some_and(|(a, b)| a.dialled() != b.dialled())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_session_goes_and_the_next_socket_gets_a_new_one() {
    let Pair { alice, bob, .. } = pair_with(Conditions::default(), hasty());
    serve_echo(&bob);
    let session = alice.connect(bob.id()).await.unwrap();
    in_time("the session to end", session.closed()).await;
    until("both ends to forget it", || alice.all().is_empty() && bob.all().is_empty()).await;
    assert_eq!(session.open(ECHO).await.unwrap_err(), SessionError::Closed);
    let socket = in_time("opening", alice.open(bob.id(), ECHO)).await.unwrap();
    assert_eq!(in_time("the echo", echo(socket, b"anew")).await.unwrap(), b"anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_peer_is_noticed_at_once_and_dialled_anew() {
    let ring = MemoryRing::new(Conditions::default(), 2);
    let alice = ring.join(&Identity::generate(), Settings::default()).unwrap();
    let bob = Identity::generate();
    let first = ring.join(&bob, Settings::default()).unwrap();
    let _listener = first.listen(ECHO).unwrap();
    let mut socket = alice.open(bob.id(), ECHO).await.unwrap();
    until("the session to be accepted", || first.get(alice.id()).is_some()).await;
    // To the ring it dies without a word: from now on its packets go to the second, which knows nothing.
    let second = ring.join(&bob, Settings::default()).unwrap();
    serve_echo(&second);
    let dying = async {
        loop {
            if let Err(error) = socket.write_all(&[0; 2000]).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = tokio::time::timeout(SILENCE_TIMEOUT / 3, dying).await.expect("the restart went unnoticed");
    assert_eq!(socket_error(&error), SocketError::Session(SessionError::Restarted));
    let socket = in_time("opening", alice.open(bob.id(), ECHO)).await.unwrap();
    assert_eq!(in_time("the echo", echo(socket, b"anew")).await.unwrap(), b"anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_tells_the_peer_and_ends_all_waits() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    let mut listener = bob.listen(ECHO).unwrap();
    let mut socket = alice.open(bob.id(), ECHO).await.unwrap();
    let _accepted = in_time("accepting", listener.accept()).await.unwrap();
    in_time("closing", bob.close()).await;
    let error = in_time("reading", socket.read_u8()).await.unwrap_err();
    assert_eq!(socket_error(&error), SocketError::Session(SessionError::PeerClosed));
    assert!(in_time("accepting", listener.accept()).await.is_none());
    assert_eq!(bob.connect(alice.id()).await.unwrap_err(), SessionError::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_in_mid_transfer_tells_the_peer() {
    for node_closes in [false, true] {
        let delay = Duration::from_millis(50);
        let Pair { alice, bob, .. } = pair(Conditions { delay, ..Conditions::default() });
        let mut listener = bob.listen(ECHO).unwrap();
        let mut socket = alice.open(bob.id(), ECHO).await.unwrap();
        let _accepted = in_time("accepting", listener.accept()).await.unwrap();
        // Far more than may be on its way before the first acknowledgement.
        in_time("writing", socket.write_all(&pattern(1 << 20))).await.unwrap();
        let (near, far) = (alice.get(bob.id()).unwrap(), bob.get(alice.id()).unwrap());
        match node_closes {
            true => in_time("closing", alice.close()).await,
            false => near.close(),
        }
        assert_eq!(
            in_time("the end", far.closed()).await,
            SessionError::PeerClosed,
            "closed by the node: {node_closes}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_sessions_than_the_settings_allow() {
    let ring = MemoryRing::new(Conditions::default(), 1);
    let few = Settings { max_sessions: 2, ..Settings::default() };
    let bob = ring.join(&Identity::generate(), few).unwrap();
    let others: Vec<_> = (0..3).map(|_| ring.join(&Identity::generate(), Settings::default()).unwrap()).collect();
    for other in &others[..2] {
        in_time("dialling", other.connect(bob.id())).await.unwrap();
        until("the session to be accepted", || bob.get(other.id()).is_some()).await;
    }
    assert_eq!(in_time("dialling", others[2].connect(bob.id())).await.unwrap_err(), SessionError::Busy);
    assert_eq!(bob.connect(others[2].id()).await.unwrap_err(), SessionError::TooManySessions);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_nodes_leave_no_task_behind() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..3 {
        let Pair { ring, alice, bob } = pair(Conditions::default());
        let mut listener = bob.listen(ECHO).unwrap();
        let socket = alice.open(bob.id(), ECHO).await.unwrap();
        let accepted = in_time("accepting", listener.accept()).await.unwrap();
        ring.set_conditions(Conditions { loss_ppm: 1_000_000, ..Conditions::default() });
        let nobody = Identity::generate().id();
        let dialling = tokio::spawn({
            let alice = alice.clone();
            async move { alice.connect(nobody).await }
        });
        until("the dial to begin", || tasks() > before).await;
        dialling.abort();
        drop((alice, bob, socket, accepted, listener));
    }
    until("all tasks to end", || tasks() == before).await;
}
