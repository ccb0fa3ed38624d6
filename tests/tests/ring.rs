//! Rings of real nodes over real WebRTC, in one process.

use std::time::{Duration, Instant};

use atoll_tests::{TestServer, await_one_ring};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_are_one_ring_and_any_two_talk() {
    let server = TestServer::start().await;
    let begun = Instant::now();
    let nodes = server.ring(8).await;
    let joined = begun.elapsed();
    let took = await_one_ring(&nodes, Duration::from_secs(20)).await.expect("one ring");
    println!("joined after {joined:?}, one ring {took:?} later");
    for listening in &nodes {
        let mut listener = listening.listen().expect("nobody else listens");
        tokio::spawn(async move {
            while let Some(mut socket) = listener.accept().await {
                tokio::spawn(async move {
                    let mut said = Vec::new();
                    let _ = socket.read_to_end(&mut said).await;
                    let _ = socket.write_all(&said).await;
                    let _ = socket.shutdown().await;
                });
            }
        });
    }
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            let mut socket =
                from.dial(to.id()).await.unwrap_or_else(|e| panic!("{} dials {}: {e}", from.id(), to.id()));
            socket.write_all(b"echo").await.expect("written");
            socket.shutdown().await.expect("finished");
            let mut said = Vec::new();
            socket.read_to_end(&mut said).await.expect("read");
            assert_eq!(said, b"echo");
        }
    }
    for node in &nodes {
        node.close().await;
    }
}
