//! Bad input: closed with a reason, counted, and nobody else disturbed.

use atoll::key::{Identity, Purpose};
use atoll::signalling::{ErrorCode, Hex, NodeMessage, Register, Role};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Raw, TestServer};

/// What to do to a connection, registered or not, and what it is closed for.
async fn is_refused(what: Message, registered: bool, code: ErrorCode) {
    let server = TestServer::start().await;
    let (mut bystander, _) = server.join("main").await;
    let mut raw = if registered { server.join("main").await.0 } else { server.connect().await };
    if !registered {
        raw.challenge().await;
    }
    raw.say(what).await.unwrap();
    raw.is_closed_for(code).await;
    server.counted_as_closed(code.as_str(), 1).await;
    bystander.still_works().await;
}

#[tokio::test]
async fn a_message_before_the_registration_is_out_of_order() {
    is_refused(Message::text(NodeMessage::FindMembers.to_json()), false, ErrorCode::OutOfOrder).await;
    is_refused(Message::text(r#"{"type":"relay","to":"000000000001","payload":1}"#), false, ErrorCode::OutOfOrder)
        .await;
}

#[tokio::test]
async fn a_second_registration_is_out_of_order() {
    let register = Register::sign(&Identity::generate(), &Hex([0; 32]), "main", Role::Member, "x", None);
    let message = NodeMessage::Register(Box::new(register)).to_json();
    is_refused(Message::text(message), true, ErrorCode::OutOfOrder).await;
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    for registered in [false, true] {
        for text in ["", "null", "{}", r#"{"type":"sing"}"#, r#"{"type":"relay","to":"00"#, r#"{"type":7}"#, "\u{0}"] {
            is_refused(Message::text(text), registered, ErrorCode::BadMessage).await;
        }
        is_refused(Message::binary(vec![0, 159, 146, 150]), registered, ErrorCode::BadMessage).await;
        is_refused(Message::text("[".repeat(60_000)), registered, ErrorCode::BadMessage).await;
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    // A masked text frame of two bytes, the mask all zero: 0xff 0xfe.
    raw_bytes_are_refused(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).await;
}

#[tokio::test]
async fn frames_against_the_websocket_protocol_are_refused() {
    raw_bytes_are_refused(&[0x81, 0x02, b'h', b'i']).await; // Not masked.
    raw_bytes_are_refused(&[0x83, 0x80, 0, 0, 0, 0]).await; // An opcode that does not exist.
    raw_bytes_are_refused(&[0xf1, 0x80, 0, 0, 0, 0]).await; // Reserved bits.
    raw_bytes_are_refused(&[0x80, 0x80, 0, 0, 0, 0]).await; // A continuation of nothing.
}

async fn raw_bytes_are_refused(bytes: &[u8]) {
    let server = TestServer::start().await;
    let (mut bystander, _) = server.join("main").await;
    let (mut raw, _) = server.join("main").await;
    let MaybeTlsStream::Plain(stream) = raw.socket.get_mut() else { panic!("not plain") };
    stream.write_all(bytes).await.unwrap();
    raw.is_closed_for(ErrorCode::BadMessage).await;
    server.counted_as_closed("bad-message", 1).await;
    bystander.still_works().await;
}

#[tokio::test]
async fn a_frame_that_announces_more_than_the_limit_is_refused_before_it_comes() {
    let server = TestServer::start().await;
    let (mut raw, _) = server.join("main").await;
    let MaybeTlsStream::Plain(stream) = raw.socket.get_mut() else { panic!("not plain") };
    stream.write_all(&[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).await.unwrap();
    raw.is_closed_for(ErrorCode::TooLarge).await;
}

#[tokio::test]
async fn a_signature_that_does_not_prove_the_key_is_refused() {
    let server = TestServer::start().await;
    let (alice, mallory) = (Identity::generate(), Identity::generate());
    let (mut holder, _) = server.join_as(&alice, "main", Role::Member, None).await;
    type Forge = fn(&mut Register, &Identity, &Identity);
    let forgeries: [Forge; 4] = [
        |register, alice, _| register.key = alice.public(),
        |register, _, _| register.signature.0[5] ^= 1,
        |register, _, _| register.network = "other".into(),
        |register, _, mallory| register.signature = Hex(mallory.sign(Purpose::Link, b"something else")),
    ];
    for forge in forgeries {
        let mut raw = server.connect().await;
        let nonce = raw.challenge().await.nonce;
        let mut register = Register::sign(&mallory, &nonce, "main", Role::Member, "x", None);
        forge(&mut register, &alice, &mallory);
        raw.send(NodeMessage::Register(Box::new(register))).await;
        raw.is_closed_for(ErrorCode::BadSignature).await;
    }
    holder.still_works().await;
}

#[tokio::test]
async fn an_answer_to_an_older_challenge_is_refused() {
    let server = TestServer::start().await;
    let identity = Identity::generate();
    let nonce = server.connect().await.challenge().await.nonce;
    let mut raw = server.connect().await;
    raw.challenge().await;
    let replayed = Register::sign(&identity, &nonce, "main", Role::Member, "x", None);
    raw.send(NodeMessage::Register(Box::new(replayed))).await;
    raw.is_closed_for(ErrorCode::BadSignature).await;
}

#[tokio::test]
async fn a_registration_signed_for_another_server_is_refused() {
    let server = TestServer::with(|settings| settings.hosts = vec!["signal.example.org".into()]).await;
    let identity = Identity::generate();
    let mut raw = server.connect().await;
    raw.register(&identity, "main", Role::Member, None).await;
    raw.is_closed_for(ErrorCode::WrongHost).await;
    let mut raw = server.connect().await;
    let nonce = raw.challenge().await.nonce;
    let register = Register::sign(&identity, &nonce, "main", Role::Member, "Signal.Example.org", None);
    raw.send(NodeMessage::Register(Box::new(register))).await;
    assert!(matches!(raw.next().await, atoll::signalling::ServerMessage::Welcome(_)));
}

#[tokio::test]
async fn another_version_is_refused_with_the_one_that_is_spoken() {
    let server = TestServer::start().await;
    let mut raw = server.connect().await;
    let challenge = raw.challenge().await;
    assert_eq!(challenge.versions, [1]);
    let mut register = Register::sign(&Identity::generate(), &challenge.nonce, "main", Role::Member, "x", None);
    register.version = 2;
    raw.send(NodeMessage::Register(Box::new(register))).await;
    raw.is_closed_for(ErrorCode::Version).await;
}

/// Random bytes from many connections at once, on the socket and as messages; one honest pair goes on all the while.
#[tokio::test(flavor = "multi_thread")]
async fn random_input_disturbs_nobody() {
    let server = TestServer::with(|settings| settings.limits.burst = 1000).await;
    let (mut honest, _) = server.join("main").await;
    let mut runner = TestRunner::deterministic();
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 1..600);
    for round in 0..60 {
        let noise = bytes.new_tree(&mut runner).unwrap().current();
        let mut raw: Raw = if round % 3 == 0 { server.connect().await } else { server.join("main").await.0 };
        if round % 2 == 0 {
            let MaybeTlsStream::Plain(stream) = raw.socket.get_mut() else { panic!("not plain") };
            let _ = stream.write_all(&noise).await;
        } else {
            let _ = raw.say(Message::text(String::from_utf8_lossy(&noise).into_owned())).await;
        }
        drop(raw);
        honest.still_works().await;
    }
    assert_eq!(server.get("/healthz").await.0, 200);
}
