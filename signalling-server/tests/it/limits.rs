//! Each limit of the server, one test each.

use std::time::Duration;

use atoll::key::Identity;
use atoll::signalling::{ErrorCode, NodeMessage, Payload, RelayTo, Role};
use atoll::wire::{Dial, MAX_DESCRIPTION, Step};
use atoll_signalling::MIN_MESSAGE_BYTES;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Raw, TestServer, accept, soon};

#[tokio::test]
async fn a_message_over_the_limit_closes_the_connection() {
    let server = TestServer::with(|settings| settings.limits.message_bytes = MIN_MESSAGE_BYTES).await;
    let (mut raw, welcome) = server.join("main").await;
    assert_eq!(welcome.limits.message_bytes, MIN_MESSAGE_BYTES);
    let message = |bytes: usize| {
        let frame = r#"{"type":"find-members","x":""}"#;
        Message::text(frame.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - frame.len()))))
    };
    raw.say(message(MIN_MESSAGE_BYTES)).await.unwrap();
    raw.next().await;
    raw.say(message(MIN_MESSAGE_BYTES + 1)).await.unwrap();
    raw.is_closed_for(ErrorCode::TooLarge).await;
    server.counted_as_closed("too-large", 1).await;
}

#[tokio::test]
async fn by_default_64_kib_pass_and_more_does_not() {
    let server = TestServer::start().await;
    let (mut raw, _) = server.join("main").await;
    let text = |bytes: usize| Message::text(format!("{}{}", r#"{"type":"find-members"}"#, " ".repeat(bytes - 23)));
    raw.say(text(64 * 1024)).await.unwrap();
    raw.next().await;
    raw.say(text(64 * 1024 + 1)).await.unwrap();
    raw.is_closed_for(ErrorCode::TooLarge).await;
}

#[tokio::test]
async fn whoever_does_not_register_in_time_is_closed() {
    let server = TestServer::with(|settings| settings.limits.handshake = Duration::from_millis(200)).await;
    let start = Instant::now();
    let mut raw = server.connect().await;
    raw.challenge().await;
    raw.is_closed_for(ErrorCode::HandshakeTimeout).await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(150) && took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn whoever_sends_the_head_of_the_request_byte_by_byte_is_closed() {
    let server = TestServer::with(|settings| settings.limits.handshake = Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("the close", stream.read_to_end(&mut answer)).await;
    server.counted_as_closed("handshake-timeout", 1).await;
    // And one that says nothing at all.
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let _ = soon("the close", silent.read_to_end(&mut answer)).await;
    server.counted_as_closed("handshake-timeout", 2).await;
}

#[tokio::test]
async fn connections_in_total_are_bounded_and_one_that_ends_makes_room() {
    let server = TestServer::with(|settings| settings.limits.connections = 2).await;
    let one = server.join("main").await;
    let _two = server.join("main").await;
    let refused = soon("an answer", connect_async(server.url())).await.unwrap_err();
    assert!(matches!(&refused, Error::Http(answer) if answer.status() == 503), "{refused}");
    drop(one);
    let room = async {
        while connect_async(server.url()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("room for another", room).await;
}

#[tokio::test]
async fn connections_from_one_address_are_bounded() {
    let server = TestServer::with(|settings| settings.limits.connections_per_address = 1).await;
    let _one = server.join("main").await;
    let refused = soon("an answer", connect_async(server.url())).await.unwrap_err();
    assert!(matches!(&refused, Error::Http(answer) if answer.status() == 503), "{refused}");
    // All of 127/8 is this machine.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut other = Raw::on(socket.connect(server.address).await.unwrap(), &server.url()).await;
    other.challenge().await;
}

#[tokio::test]
async fn messages_a_second_are_bounded_after_a_burst() {
    let server = TestServer::with(|settings| {
        settings.limits.messages_per_second = 1;
        settings.limits.burst = 5;
    })
    .await;
    let (mut fast, _) = server.join("main").await;
    let (mut other, _) = server.join("main").await;
    for _ in 0..5 {
        fast.still_works().await;
    }
    fast.say(Message::text(NodeMessage::FindMembers.to_json())).await.unwrap();
    fast.is_closed_for(ErrorCode::TooFast).await;
    other.still_works().await;
}

#[tokio::test]
async fn pings_count_as_messages() {
    let server = TestServer::with(|settings| settings.limits.burst = 5).await;
    let (mut fast, _) = server.join("main").await;
    for _ in 0..50 {
        let _ = fast.say(Message::Ping(vec![1].into())).await;
    }
    fast.is_closed_for(ErrorCode::TooFast).await;
}

#[tokio::test]
async fn pings_do_not_keep_a_connection_that_never_registers() {
    let server = TestServer::start().await;
    let mut raw = server.connect().await;
    raw.challenge().await;
    for _ in 0..20 {
        let _ = raw.say(Message::Ping(vec![1].into())).await;
    }
    raw.is_closed_for(ErrorCode::TooFast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_closed_and_nobody_waits_for_it() {
    let server = TestServer::with(|settings| {
        settings.limits.messages_per_second = 1_000_000;
        settings.limits.burst = 1_000_000;
        settings.limits.pending_bytes = 128 * 1024;
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = Raw::on(socket.connect(server.address).await.unwrap(), &server.url()).await;
    let identity = Identity::generate();
    slow.register(&identity, "main", Role::Member, None).await;
    slow.next().await;
    // From here on it reads nothing.
    let (mut sender, sends) = server.join("main").await;
    let (mut other, others) = server.join("main").await;
    let flood = Dial { attempt: 1, step: Step::Describe("x".repeat(MAX_DESCRIPTION)) };
    let flooding = async {
        while server.metric("atoll_signalling_connections_closed_total{reason=\"slow-reader\"}").await == 0 {
            for _ in 0..50 {
                sender.relay(identity.id(), &flood).await;
            }
            other.relay(sends.id, &accept(1)).await;
            other.still_works().await;
        }
    };
    soon("the close of the slow reader", flooding).await;
    // The sender was told, is still there, and still reaches others.
    sender.relay(others.id, &accept(9)).await;
    loop {
        if let atoll::signalling::ServerMessage::Relay(relay) = other.next().await {
            assert_eq!(relay.payload.read(), Some(accept(9)));
            break;
        }
    }
}

#[tokio::test]
async fn networks_are_bounded() {
    let server = TestServer::with(|settings| settings.limits.networks = 1).await;
    let (mut first, _) = server.join("one").await;
    let mut second = server.connect().await;
    second.register(&Identity::generate(), "two", Role::Member, None).await;
    second.is_closed_for(ErrorCode::TooManyNetworks).await;
    first.still_works().await;
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_closed_and_one_that_does_stays() {
    let server = TestServer::with(|settings| {
        settings.limits.ping_every = Duration::from_millis(100);
        settings.limits.idle = Duration::from_millis(350);
    })
    .await;
    let (mut alive, _) = server.join("main").await;
    let (mut dead, _) = server.join("main").await;
    // Reading is what answers pings; `dead` does not read.
    let mut pings = 0;
    while server.metric("atoll_signalling_connections_closed_total{reason=\"idle\"}").await == 0 || pings < 10 {
        let message = soon("a ping", alive.socket.next()).await;
        assert!(matches!(message, Some(Ok(Message::Ping(_)))), "{message:?}");
        pings += 1;
    }
    dead.is_closed_for(ErrorCode::Idle).await;
    alive.still_works().await;
}

#[tokio::test]
async fn a_payload_as_large_as_may_be_arrives() {
    let server = TestServer::start().await;
    let (mut alice, _) = server.join("main").await;
    let (mut bob, bobs) = server.join("main").await;
    let payload = Payload::of(&"x".repeat(atoll::signalling::MAX_PAYLOAD_BYTES - 2)).unwrap();
    alice.send(NodeMessage::Relay(RelayTo { to: bobs.id, payload: payload.clone() })).await;
    let atoll::signalling::ServerMessage::Relay(relay) = bob.next().await else { panic!("no relay") };
    assert_eq!(relay.payload, payload);
}
