//! The node's client against a real server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atoll::Id;
use atoll::ice::IceServer;
use atoll::key::Identity;
use atoll::net::signal::{
    ConfigError, NotDelivered, SignallingClient, SignallingConfig, SignallingEvent as Event, SignallingTiming,
};
use atoll::signalling::{ErrorCode, Role, Status};
use atoll::wire::{Dial, MAX_DESCRIPTION, Step};
use atoll_signalling::{Server, Settings};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{TestServer, accept, soon};

fn config(urls: &[String]) -> SignallingConfig {
    SignallingConfig {
        urls: urls.to_vec(),
        network: "main".into(),
        identity: Identity::generate(),
        role: Role::Member,
        tls: None,
        timing: SignallingTiming::default(),
    }
}

fn client(urls: &[String]) -> (SignallingClient, Id) {
    let config = config(urls);
    let id = config.identity.id();
    (SignallingClient::start(config).unwrap(), id)
}

async fn next(client: &mut SignallingClient) -> Event {
    soon("an event", client.next()).await.expect("the client ended")
}

async fn connected(client: &mut SignallingClient) -> (String, bool, Vec<Id>) {
    loop {
        if let Event::Connected { url, found, members, .. } = next(client).await {
            return (url, found, members);
        }
    }
}

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("ws://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn two_nodes_are_introduced_and_speak() {
    let ice = IceServer { urls: vec!["stun:127.0.0.1:3478".into()], username: None, credential: None };
    let server = TestServer::with(|settings| settings.ice_servers = vec![ice.clone()]).await;
    let (mut alice, alices) = client(&[server.url()]);
    let Event::Connected { found, ice_servers, .. } = next(&mut alice).await else { panic!("not connected") };
    assert!(found && ice_servers == [ice]);
    alice.handle().status(Status { member: true, ..Status::default() }).unwrap();
    alice.handle().find_members().unwrap();
    assert_eq!(next(&mut alice).await, Event::Members { found: false, members: vec![] });

    let (mut bob, bobs) = client(&[server.url()]);
    assert_eq!(connected(&mut bob).await, (server.url(), false, vec![alices]));
    bob.handle().relay(alices, accept(5)).unwrap();
    assert_eq!(next(&mut alice).await, Event::Relay { from: bobs, dial: accept(5) });
    alice.handle().relay(bobs, accept(6)).unwrap();
    assert_eq!(next(&mut bob).await, Event::Relay { from: alices, dial: accept(6) });

    alice.close().await;
    server.counted_as_closed("left", 1).await;
    bob.handle().relay(alices, accept(7)).unwrap();
    assert_eq!(next(&mut bob).await, Event::Undeliverable { to: alices, reason: NotDelivered::NotHere });
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_gets_its_nodes_back_with_their_status() {
    let server = TestServer::start().await;
    let address = server.address;
    let (mut member, members) = client(&[server.url()]);
    connected(&mut member).await;
    member.handle().status(Status { member: true, ..Status::default() }).unwrap();
    let (mut other, _) = client(&[server.url()]);
    connected(&mut other).await;
    server.stop().await;
    for client in [&mut member, &mut other] {
        let event = next(client).await;
        let Event::Disconnected { reason, retry_in, .. } = event else { panic!("{event:?}") };
        assert!(reason.contains("stopping") && retry_in <= Duration::from_millis(250), "{reason} {retry_in:?}");
    }
    // While there is no server, the sender is told so.
    other.handle().relay(members, accept(1)).unwrap();
    loop {
        match next(&mut other).await {
            Event::Disconnected { .. } => {}
            event => {
                assert_eq!(event, Event::Undeliverable { to: members, reason: NotDelivered::Disconnected });
                break;
            }
        }
    }
    let again = Server::bind(Settings { listen: address, ..Settings::default() }).await.unwrap();
    let _running = tokio::spawn(again.serve());
    let (_, found, _) = connected(&mut member).await;
    assert!(!found, "a member of a ring was told to found another");
    connected(&mut other).await;
    let named = async {
        loop {
            other.handle().find_members().unwrap();
            if let Event::Members { members, .. } = next(&mut other).await
                && !members.is_empty()
            {
                return members;
            }
        }
    };
    assert_eq!(soon("the member's return", named).await, [members]);
}

#[tokio::test]
async fn of_several_servers_any_that_answers_will_do_and_the_failure_is_told() {
    let server = TestServer::start().await;
    let dead = nobody().await;
    let (mut client, _) = client(&[dead.clone(), server.url()]);
    let event = next(&mut client).await;
    assert!(
        matches!(&event, Event::Disconnected { url, retry_in, .. } if *url == dead && retry_in.is_zero()),
        "{event:?}"
    );
    assert_eq!(connected(&mut client).await.0, server.url());
}

#[tokio::test]
async fn when_the_server_in_use_dies_the_next_one_serves() {
    let (first, second) = (TestServer::start().await, TestServer::start().await);
    let (mut client, _) = client(&[first.url(), second.url()]);
    assert_eq!(connected(&mut client).await.0, first.url());
    first.stop().await;
    assert_eq!(connected(&mut client).await.0, second.url());
}

#[tokio::test]
async fn a_node_goes_back_to_the_server_that_it_prefers() {
    let later = TestServer::start().await;
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = holder.local_addr().unwrap();
    drop(holder);
    let mut config = config(&[format!("ws://{address}"), later.url()]);
    config.timing.prefer_every = Duration::from_millis(50);
    let mut client = SignallingClient::start(config).unwrap();
    assert_eq!(connected(&mut client).await.0, later.url());
    let preferred = Server::bind(Settings { listen: address, ..Settings::default() }).await.unwrap();
    let url = preferred.url();
    let _running = tokio::spawn(preferred.serve());
    assert_eq!(connected(&mut client).await.0, url);
    later.counted_as_closed("left", 1).await;
}

#[tokio::test]
async fn members_are_asked_for_now_and_then_and_leaves_do_not_ask() {
    let server = TestServer::start().await;
    let mut often = config(&[server.url()]);
    often.timing.find_every = Duration::from_millis(20);
    let mut member = SignallingClient::start(often.clone()).unwrap();
    connected(&mut member).await;
    for _ in 0..3 {
        assert_eq!(next(&mut member).await, Event::Members { found: true, members: vec![] });
    }
    drop(member);
    server.counted_as_closed("left", 1).await;
    let asked = "atoll_signalling_messages_received_total{type=\"find-members\"}";
    let before = server.metric(asked).await;
    let mut leaf = SignallingClient::start(SignallingConfig { role: Role::Leaf, ..often }).unwrap();
    connected(&mut leaf).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), leaf.next()).await.is_err());
    assert_eq!(server.metric(asked).await, before);
}

/// Forwards one connection to the server, until told to stop: then it holds it open and lets nothing through.
async fn freezable(server: &TestServer) -> (String, tokio::sync::oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let (freeze, frozen) = tokio::sync::oneshot::channel();
    let to = server.address;
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = frozen => std::future::pending().await,
        }
    });
    (url, freeze)
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let server = TestServer::start().await;
    let (url, freeze) = freezable(&server).await;
    let mut config = config(&[url]);
    config.timing.ping_every = Duration::from_millis(50);
    config.timing.silence = Duration::from_millis(200);
    let mut client = SignallingClient::start(config).unwrap();
    connected(&mut client).await;
    // While the server answers pings, nothing happens for longer than the silence that counts.
    assert!(tokio::time::timeout(Duration::from_millis(500), client.next()).await.is_err());
    freeze.send(()).unwrap();
    let event = next(&mut client).await;
    assert!(matches!(&event, Event::Disconnected { reason, .. } if reason.contains("silent")), "{event:?}");
}

#[tokio::test]
async fn when_the_network_changes_a_silent_server_is_left_soon_and_a_lost_one_is_tried_at_once() {
    let server = TestServer::start().await;
    let (url, freeze) = freezable(&server).await;
    // By its own clock the client would wait for 40 s.
    let (mut served, _) = client(&[url]);
    connected(&mut served).await;
    freeze.send(()).unwrap();
    served.handle().network_changed().unwrap();
    let event = next(&mut served).await;
    assert!(matches!(&event, Event::Disconnected { reason, .. } if reason.contains("silent")), "{event:?}");

    let (mut lonely, _) = client(&[nobody().await]);
    let wait = loop {
        match next(&mut lonely).await {
            Event::Disconnected { retry_in, .. } if retry_in >= Duration::from_secs(1) => break retry_in,
            Event::Disconnected { .. } => {}
            event => panic!("{event:?}"),
        }
    };
    let told = Instant::now();
    lonely.handle().network_changed().unwrap();
    let event = next(&mut lonely).await;
    assert!(matches!(event, Event::Disconnected { .. }), "{event:?}");
    assert!(told.elapsed() < wait / 2, "{:?} of {wait:?}", told.elapsed());
}

#[tokio::test]
async fn no_server_at_all_is_told_at_once_and_tried_for_ever() {
    let (mut client, _) = client(&[nobody().await]);
    let mut longest = Duration::ZERO;
    for attempt in 0..4 {
        let event = next(&mut client).await;
        let Event::Disconnected { reason, retry_in, .. } = event else { panic!("{event:?}") };
        assert!(reason.contains("refused"), "attempt {attempt}: {reason}");
        longest = longest.max(retry_in);
    }
    assert!(longest >= Duration::from_secs(1), "after four failures it waits longer than {longest:?}");
    soon("the close", client.close()).await;
}

#[tokio::test]
async fn a_node_whose_key_another_process_uses_is_refused_and_retries_slowly() {
    let server = TestServer::start().await;
    let config = config(&[server.url()]);
    let mut first = SignallingClient::start(config.clone()).unwrap();
    connected(&mut first).await;
    let mut second = SignallingClient::start(config).unwrap();
    connected(&mut second).await;
    let event = next(&mut first).await;
    let Event::Refused { code, retry_in, .. } = event else { panic!("{event:?}") };
    assert_eq!(code, ErrorCode::Replaced);
    assert!(retry_in >= Duration::from_secs(15), "the two would throw each other out every {retry_in:?}");
}

#[tokio::test]
async fn an_honest_node_in_a_hurry_is_slowed_down_and_not_closed() {
    let server = TestServer::with(|settings| {
        settings.limits.burst = 20;
        settings.limits.messages_per_second = 100;
    })
    .await;
    let (mut alice, _) = client(&[server.url()]);
    let (mut bob, bobs) = client(&[server.url()]);
    connected(&mut alice).await;
    connected(&mut bob).await;
    for attempt in 0..100 {
        alice.handle().relay(bobs, accept(attempt)).unwrap();
    }
    for attempt in 0..100 {
        let event = next(&mut bob).await;
        assert!(matches!(&event, Event::Relay { dial, .. } if *dial == accept(attempt)), "{event:?} for {attempt}");
    }
}

#[tokio::test]
async fn commands_are_bounded_and_a_message_too_large_for_the_server_is_told() {
    let server = TestServer::with(|settings| settings.limits.message_bytes = atoll_signalling::MIN_MESSAGE_BYTES).await;
    let (mut client, _) = client(&[server.url()]);
    connected(&mut client).await;
    // Each of these characters takes six bytes in JSON.
    let dial = Dial { attempt: 1, step: Step::Describe("\u{1}".repeat(MAX_DESCRIPTION)) };
    client.handle().relay(Id::new(1), dial).unwrap();
    assert_eq!(next(&mut client).await, Event::Undeliverable { to: Id::new(1), reason: NotDelivered::TooLarge });
    let refused = (0..10_000).find_map(|_| client.handle().find_members().err());
    assert_eq!(refused, Some(atoll::net::signal::SendError::Busy));
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    assert_eq!(SignallingClient::start(config(&[])).unwrap_err(), ConfigError::NoServer);
    let bad = "http://127.0.0.1:9000".to_owned();
    assert_eq!(SignallingClient::start(config(std::slice::from_ref(&bad))).unwrap_err(), ConfigError::Url(bad));
    let config = SignallingConfig { network: "a b".into(), ..config(&["ws://127.0.0.1:1".into()]) };
    assert_eq!(SignallingClient::start(config).unwrap_err(), ConfigError::Network("a b".into()));
}

#[tokio::test]
async fn a_wss_url_needs_no_set_up_of_tls_and_a_server_without_tls_is_an_error_not_a_panic() {
    let server = TestServer::start().await;
    let (mut client, _) = client(&[server.url().replace("ws://", "wss://")]);
    let event = next(&mut client).await;
    assert!(matches!(event, Event::Disconnected { .. }), "{event:?}");
}

/// What a reverse proxy does: ends TLS in front of the server. Returns the port, and a client's TLS that trusts it.
async fn tls_in_front_of(server: &TestServer) -> (u16, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let theirs = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let ours = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(theirs));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = server.address;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut near) = acceptor.accept(stream).await else { continue };
            let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    (port, Arc::new(ours))
}

#[tokio::test]
async fn a_server_behind_tls_serves_those_who_trust_its_certificate() {
    let server = TestServer::with(|settings| settings.hosts = vec!["other.example".into()]).await;
    let (port, tls) = tls_in_front_of(&server).await;
    let url = format!("wss://localhost:{port}");
    // The registration comes through, and is signed for the host that was dialled.
    let mut trusting =
        SignallingClient::start(SignallingConfig { tls: Some(tls), ..config(std::slice::from_ref(&url)) }).unwrap();
    let event = next(&mut trusting).await;
    assert!(matches!(&event, Event::Refused { code: ErrorCode::WrongHost, .. }), "{event:?}");

    let (mut wary, _) = client(&[url]);
    let event = next(&mut wary).await;
    let Event::Disconnected { reason, .. } = event else { panic!("{event:?}") };
    assert!(reason.contains("certificate"), "{reason}");

    let server = TestServer::start().await;
    let (port, tls) = tls_in_front_of(&server).await;
    let url = format!("wss://localhost:{port}");
    let mut trusting =
        SignallingClient::start(SignallingConfig { tls: Some(tls), ..config(std::slice::from_ref(&url)) }).unwrap();
    assert_eq!(connected(&mut trusting).await.0, url);
}

/// A server that says `texts` to everybody, one after the other, whatever it hears.
async fn server_that_says(texts: Vec<Message>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut socket) = accept_async(stream).await else { continue };
            for text in &texts {
                let _ = socket.send(text.clone()).await;
            }
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
        }
    });
    url
}

#[tokio::test]
async fn a_hostile_server_is_left_with_a_reason() {
    let challenge =
        Message::text(format!(r#"{{"type":"challenge","versions":[1],"nonce":"{}","server":"x"}}"#, "00".repeat(32)));
    let old =
        Message::text(format!(r#"{{"type":"challenge","versions":[9],"nonce":"{}","server":"x"}}"#, "00".repeat(32)));
    let welcome = r#"{"type":"welcome","id":"000000000001","ice_servers":[],"found":true,"members":[],"limits":{"message_bytes":1,"messages_per_second":0,"burst":0}}"#;
    for (texts, expected) in [
        (vec![Message::text("hello")], "no message of this protocol"),
        (vec![Message::binary(vec![1, 2, 3])], "binary"),
        (vec![Message::text("x".repeat(70_000))], "too long"),
        (vec![Message::text("[".repeat(60_000))], "nests deeper"),
        (vec![Message::text(welcome)], "did not begin with a challenge"),
        (vec![challenge, Message::text(welcome)], "another id"),
        (vec![old], "speaks versions 9"),
        (vec![], "no answer within 4 s"),
    ] {
        let (mut client, _) = client(&[server_that_says(texts).await]);
        let told = match next(&mut client).await {
            Event::Disconnected { reason, .. } => reason,
            Event::Refused { message, .. } => message,
            other => panic!("{other:?} instead of {expected:?}"),
        };
        assert!(told.to_lowercase().contains(expected), "{told:?} instead of {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_at_once_find_one_founder() {
    let server = TestServer::start().await;
    let mut clients: Vec<_> = (0..50).map(|_| client(&[server.url()])).collect();
    let mut founders = Vec::new();
    for (client, id) in &mut clients {
        let (_, found, members) = connected(client).await;
        assert!(found || members.len() == 1, "{members:?}");
        founders.extend(found.then_some(*id));
    }
    assert_eq!(founders.len(), 1, "{founders:?}");
}
