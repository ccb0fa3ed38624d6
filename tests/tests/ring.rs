//! Rings of real nodes over real WebRTC, in one process.

use std::time::{Duration, Instant};

use atoll::net::session::SessionError;
use atoll_tests::{TestServer, await_one_ring, echo, echoes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_are_one_ring_and_any_two_talk() {
    let server = TestServer::start().await;
    let begun = Instant::now();
    let nodes = server.ring(8).await;
    let joined = begun.elapsed();
    let took = await_one_ring(&nodes, Duration::from_secs(20)).await.expect("one ring");
    println!("joined after {joined:?}, one ring {took:?} later");
    nodes.iter().for_each(echo);
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            echoes(from, to.id(), b"echo").await.expect("an echo");
        }
    }
    for node in &nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_ends_its_sessions_at_the_other_ends_too() {
    let server = TestServer::start().await;
    let stay = server.node().start().await.expect("a node");
    echo(&stay);
    let mut late = Vec::new();
    for visit in 0..15 {
        let visitor = server.node().start().await.expect("a node that joins");
        echoes(&visitor, stay.id(), b"hello").await.expect("an echo");
        let session = stay.sessions().get(visitor.id()).expect("the session of the echo");
        // Long before its silence would be noticed.
        let (why, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(5), session.closed()), visitor.close());
        match why {
            // A farewell that is lost is made good by the answer to the next packet.
            Ok(SessionError::PeerClosed | SessionError::Restarted) => {}
            other => late.push(format!("visit {visit}: {other:?}")),
        }
    }
    assert!(late.is_empty(), "the sessions of these went on: {late:#?}");
}
