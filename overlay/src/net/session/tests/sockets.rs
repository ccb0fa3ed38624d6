//! What an application sees of sockets when nothing is wrong with the ring.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_carries_bytes_both_ways_and_names_its_peer() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    let mut listener = bob.listen("atoll/socket/1").unwrap();
    let mut dialled = alice.open(bob.id(), "atoll/socket/1").await.unwrap();
    dialled.write_all(b"hello").await.unwrap();
    let mut accepted = in_time("accepting", listener.accept()).await.unwrap();
    let mut heard = [0; 5];
    accepted.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    assert_eq!((dialled.peer(), accepted.peer()), (bob.id(), alice.id()));
    assert_eq!(accepted.peer_key().id(), alice.id());
    assert_eq!(accepted.name(), "atoll/socket/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_only_opened_is_accepted_and_the_acceptor_may_speak_first() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    let mut listener = bob.listen(ECHO).unwrap();
    let mut dialled = alice.open(bob.id(), ECHO).await.unwrap();
    let mut accepted = in_time("accepting", listener.accept()).await.unwrap();
    accepted.write_all(b"welcome").await.unwrap();
    accepted.finish().await.unwrap();
    let mut heard = String::new();
    in_time("reading", dialled.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "welcome");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_side_shut_down_leaves_the_other_open() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    let mut listener = bob.listen(ECHO).unwrap();
    let mut dialled = alice.open(bob.id(), ECHO).await.unwrap();
    dialled.write_all(b"question").await.unwrap();
    dialled.shutdown().await.unwrap();
    let mut accepted = in_time("accepting", listener.accept()).await.unwrap();
    let mut question = String::new();
    in_time("the question", accepted.read_to_string(&mut question)).await.unwrap();
    accepted.write_all(b"answer").await.unwrap();
    in_time("finishing", accepted.finish()).await.unwrap();
    let mut answer = String::new();
    in_time("the answer", dialled.read_to_string(&mut answer)).await.unwrap();
    assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_socket_is_cancelled_at_the_other_side() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    let mut listener = bob.listen(ECHO).unwrap();
    let dialled = alice.open(bob.id(), ECHO).await.unwrap();
    let mut accepted = in_time("accepting", listener.accept()).await.unwrap();
    drop(dialled);
    let error = in_time("reading", accepted.read_u8()).await.unwrap_err();
    assert_eq!(socket_error(&error), SocketError::Cancelled);
    let writing = async {
        loop {
            if let Err(error) = accepted.write_all(b"anybody there?").await {
                return error;
            }
        }
    };
    assert_eq!(socket_error(&in_time("writing", writing).await), SocketError::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_carries_its_code_to_the_other_side() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    let mut listener = bob.listen(ECHO).unwrap();
    for code in [0, 42, u32::MAX] {
        let mut dialled = alice.open(bob.id(), ECHO).await.unwrap();
        in_time("accepting", listener.accept()).await.unwrap().reset(code);
        let error = in_time("reading", dialled.read_u8()).await.unwrap_err();
        assert_eq!(socket_error(&error), SocketError::Reset(code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_offers_is_refused_and_the_session_stays() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    serve_echo(&bob);
    let mut socket = alice.open(bob.id(), "no/such/thing").await.unwrap();
    let error = in_time("reading", socket.read_u8()).await.unwrap_err();
    assert_eq!(socket_error(&error), SocketError::NotOffered);
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    let session = socket.session().clone();
    let again = alice.open(bob.id(), ECHO).await.unwrap();
    assert!(again.session().is_same(&session));
    assert_eq!(in_time("the echo", echo(again, b"still here")).await.unwrap(), b"still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_backlog_refuses_as_busy() {
    let settings = Settings { backlog: 2, ..Settings::default() };
    let Pair { alice, bob, .. } = pair_with(Conditions::default(), settings);
    let mut listener = bob.listen(ECHO).unwrap();
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(alice.open(bob.id(), ECHO).await.unwrap());
    }
    let error = in_time("reading", sockets[2].read_u8()).await.unwrap_err();
    assert_eq!(socket_error(&error), SocketError::Busy);
    for _ in 0..2 {
        in_time("accepting", listener.accept()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_listener_refuses_those_who_wait_and_frees_its_name() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    let listener = bob.listen(ECHO).unwrap();
    assert_eq!(bob.listen(ECHO).unwrap_err(), ListenError::Taken);
    let mut waiting = alice.open(bob.id(), ECHO).await.unwrap();
    // The backlog shows nowhere; an answer under another name says that the first stream was seen before it.
    serve_answer(&bob).await;
    let mut other = alice.open(bob.id(), "answer").await.unwrap();
    in_time("the answer", other.read_u8()).await.unwrap();
    drop(listener);
    let error = in_time("reading", waiting.read_u8()).await.unwrap_err();
    assert_eq!(socket_error(&error), SocketError::NotOffered);
    serve_echo(&bob);
    let again = alice.open(bob.id(), ECHO).await.unwrap();
    assert_eq!(in_time("the echo", echo(again, b"again")).await.unwrap(), b"again");
}

async fn serve_answer(sessions: &Sessions) {
    let mut listener = sessions.listen("answer").unwrap();
    tokio::spawn(async move {
        while let Some(mut socket) = listener.accept().await {
            let _ = socket.write_u8(1).await;
            let _ = socket.finish().await;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_sockets_run_side_by_side() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    serve_echo(&bob);
    let calls: Vec<_> = (0..300_u32)
        .map(|number| {
            let (alice, peer) = (alice.clone(), bob.id());
            tokio::spawn(async move {
                let said = number.to_be_bytes().repeat(1000);
                let socket = alice.open(peer, ECHO).await.unwrap();
                assert_eq!(echo(socket, &said).await.unwrap(), said, "socket {number}");
            })
        })
        .collect();
    for call in calls {
        in_time("a call", call).await.unwrap();
    }
    assert_eq!((alice.all().len(), bob.all().len()), (1, 1));
    until("all sockets closed", || alice.all()[0].stats().sockets == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_opens_only_as_many_sockets_as_it_may() {
    let settings = Settings { max_sockets: 4, ..hasty() };
    let Pair { alice, bob, .. } = pair_with(Conditions::default(), settings);
    let mut listener = bob.listen(ECHO).unwrap();
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(alice.open(bob.id(), ECHO).await.unwrap());
    }
    assert_eq!(alice.open(bob.id(), ECHO).await.unwrap_err(), SessionError::TooManySockets);
    drop(sockets);
    for _ in 0..4 {
        drop(in_time("accepting", listener.accept()).await);
    }
    in_time("one more", alice.open(bob.id(), ECHO)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_name_and_no_peer_is_refused_at_home() {
    let Pair { alice, bob, .. } = pair(Conditions::default());
    assert_eq!(alice.open(alice.id(), ECHO).await.unwrap_err(), SessionError::Myself);
    for (name, length) in [(String::new(), 0), ("x".repeat(256), 256)] {
        assert_eq!(alice.open(bob.id(), &name).await.unwrap_err(), SessionError::Name(length));
        assert_eq!(bob.listen(&name).unwrap_err(), ListenError::Name(length));
    }
    serve_echo(&bob);
    let longest = "x".repeat(MAX_NAME);
    let _listener = bob.listen(&longest).unwrap();
    alice.open(bob.id(), &longest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_gathers_acknowledgements_where_it_is_asked_to() {
    let settings = Settings { max_packet: MIN_PACKET, packets_per_ack: 50, ..Settings::default() };
    let Pair { alice, bob, .. } = pair_with(Conditions::default(), settings);
    let mut listener = bob.listen(ECHO).unwrap();
    let mut dialled = alice.open(bob.id(), ECHO).await.unwrap();
    let sent = pattern(4 << 20);
    let sending = async {
        dialled.write_all(&sent).await.unwrap();
        dialled.finish().await.unwrap();
    };
    let reading = async {
        let mut accepted = listener.accept().await.unwrap();
        let mut read = Vec::new();
        accepted.read_to_end(&mut read).await.unwrap();
        read
    };
    let ((), read) = in_time("the bytes", async { tokio::join!(sending, reading) }).await;
    assert!(read == sent, "what came is not what was sent");
    let (there, back) = (alice.get(bob.id()).unwrap().stats(), bob.get(alice.id()).unwrap().stats());
    assert!(back.sent_packets * 12 < there.sent_packets, "{} acknowledge {}", back.sent_packets, there.sent_packets);
}
