//! The pages beside the WebSocket.

use std::time::Duration;

use atoll::signalling::{NodeMessage, Status};
use atoll::{Id, key::Identity, signalling::Role};
use atoll_signalling::PageSource;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{TestServer, soon};

#[tokio::test]
async fn health_and_metrics_are_served() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/healthz").await, (200, "ok\n".into()));
    let (mut raw, _) = server.join("main").await;
    raw.becomes_member().await;
    let (status, page) = server.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "atoll_signalling_nodes 1",
        "atoll_signalling_members 1",
        "atoll_signalling_networks 1",
        "atoll_signalling_founders_total 1",
        "atoll_signalling_registrations_total 1",
        "atoll_signalling_messages_received_total{type=\"find-members\"} 1",
        "# HELP atoll_signalling_relayed_bytes Bytes of payload handed on from node to node.",
    ] {
        assert!(page.lines().any(|one| one == line), "{line:?} is missing in\n{page}");
    }
}

#[tokio::test]
async fn the_ring_is_shown_only_by_a_server_that_may() {
    let shy = TestServer::start().await;
    let _node = shy.join("main").await;
    assert_eq!(shy.get("/dht?network=main").await.0, 403);

    let server = TestServer::with(|settings| settings.dht = true).await;
    let (mut raw, welcome) = server.join("main").await;
    let status = Status {
        member: true,
        predecessor: Some(Id::new(1)),
        successors: vec![Id::new(2)],
        links: vec![Id::new(1), Id::new(2)],
    };
    raw.send(NodeMessage::Status(status)).await;
    raw.find_members().await;
    let (status, page) = server.get("/dht?network=main").await;
    assert_eq!(status, 200);
    let expected = format!(
        r#"{{"network":"main","total":1,"members":1,"nodes":[{{"id":"{}","role":"member","member":true,"predecessor":"000000000001","successors":["000000000002"],"links":["000000000001","000000000002"]}}]}}"#,
        welcome.id
    );
    assert_eq!(page, expected);
    assert_eq!(server.get("/dht?network=nowhere").await.0, 404);
    for bad in ["/dht", "/dht?network=", "/dht?network=main&after=xyz", "/dht?network=%00"] {
        assert_eq!(server.get(bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn only_pages_of_allowed_origins_may_connect() {
    let server = TestServer::with(|settings| settings.origins = vec!["https://good.example".into()]).await;
    let from = |origin: &str| {
        let mut request = server.url().into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request
    };
    let refused = soon("an answer", connect_async(from("https://evil.example"))).await.unwrap_err();
    assert!(matches!(&refused, Error::Http(answer) if answer.status() == 403), "{refused}");
    soon("a connection", connect_async(from("https://good.example"))).await.unwrap();
    server.join("main").await; // A native node sends no origin.
    assert_eq!(server.metric("atoll_signalling_connections_refused_total{reason=\"origin\"}").await, 1);
}

#[tokio::test]
async fn both_paths_take_websockets_and_a_browser_that_comes_by_is_told() {
    let server = TestServer::with(|settings| settings.page = PageSource::Off).await;
    soon("a connection", connect_async(format!("{}/ws", server.url()))).await.unwrap();
    let (status, page) = server.get("/").await;
    assert!(status == 426 && page.contains("signalling server") && page.contains("cargo xtask web"), "{status} {page}");
    assert_eq!(server.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn what_is_no_http_or_too_much_of_it_is_refused() {
    let server = TestServer::start().await;
    assert!(server.http("\u{1}\u{2}\u{3}\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    assert!(server.http(&many).await.starts_with("HTTP/1.1 431"));
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let answer = server.http(&long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.counted_as_closed("bad-http", 3).await;
}

#[tokio::test]
async fn a_stopping_server_tells_its_nodes_and_frees_its_port() {
    let server = TestServer::start().await;
    let (mut raw, _) = server.join_as(&Identity::generate(), "main", Role::Member, None).await;
    let told = tokio::spawn(async move {
        raw.is_closed_for(atoll::signalling::ErrorCode::ShuttingDown).await;
    });
    let address = server.address;
    let start = std::time::Instant::now();
    server.stop().await;
    told.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    tokio::net::TcpListener::bind(address).await.unwrap();
}
