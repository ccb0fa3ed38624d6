//! Objects of real nodes, over WebRTC and several hops.

use std::time::{Duration, Instant};

use atoll::object::{CallError, NEAREST, Value};
use atoll::{Id, Node};
use atoll_tests::process::Process;
use atoll_tests::{STUCK, TestServer, await_one_ring, echo_object, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_test-node");

/// Nodes with so few links each that routes of three links are among them.
const RING: (usize, usize) = (24, 6);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(STUCK, what).await.expect("it hangs")
}

/// Two of the nodes with so many links between them.
async fn pair_at(nodes: &[Node], links: usize) -> Option<(&Node, &Node)> {
    for from in nodes {
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            if from.trace(to.id()).await.is_ok_and(|route| route.len() == links) {
                return Some((from, to));
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_and_functions_three_hops_away_are_used_as_if_they_were_local() {
    let (count, links) = RING;
    let server = TestServer::start().await;
    let spawn = |_| server.node().max_links(links).direct_links(false).spawn().expect("a node");
    let nodes: Vec<Node> = (0..count).map(spawn).collect();
    await_one_ring(&nodes, Duration::from_secs(60)).await.expect("one ring");
    let (from, to) =
        eventually(STUCK, || async { pair_at(&nodes, 3).await.ok_or_else(|| "no route of three links".to_owned()) })
            .await;
    to.provide("Echo", echo_object()).unwrap();
    let echo = soon(from.peer(to.id()).service("Echo")).await.unwrap();
    assert_eq!(soon(echo.get::<String>("a")).await.unwrap(), "information here");
    assert_eq!(soon(echo.call::<String>("echo", ("Hello world!",))).await.unwrap(), "Hello world!");
    assert_eq!(soon(from.peer(to.key()).services()).await.unwrap(), ["Echo"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_fails_within_five_seconds_when_its_provider_is_killed() {
    let server = TestServer::start().await;
    let provider = Process::start(PROGRAM, &["node", &server.url]).await;
    let peer: Id = provider.greeting["id"].as_str().expect("an id").parse().unwrap();
    let node = server.node().start().await.unwrap();
    let echo = soon(node.peer(peer).service("Echo")).await.unwrap().timeout(Duration::from_secs(60));
    assert_eq!(soon(echo.call::<String>("echo", ("alive",))).await.unwrap(), "alive");
    let call = tokio::spawn({
        let echo = echo.clone();
        async move { echo.call::<Value>("never", ()).await }
    });
    // Answered after it, so the other has arrived.
    assert_eq!(soon(echo.call::<String>("echo", ("alive",))).await.unwrap(), "alive");
    let killed = Instant::now();
    provider.kill().await;
    let failed = soon(call).await.unwrap();
    assert!(matches!(failed, Err(CallError::PeerLost(_))), "{failed:?}");
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_nobody_is_is_told_at_once() {
    let server = TestServer::start().await;
    let nodes = server.ring(3).await;
    await_one_ring(&nodes, STUCK).await.expect("one ring");
    let begun = Instant::now();
    let nobody = soon(nodes[0].peer("00f3a1b2c4d5").services()).await;
    let Err(CallError::NoSuchPeer { peer, reason }) = nobody else { panic!("{nobody:?}") };
    assert_eq!(peer, "00f3a1b2c4d5");
    assert!(reason.contains("no node on the ring holds this id"), "{reason}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_are_called_at_whoever_owns_an_address() {
    let server = TestServer::start().await;
    let nodes = server.ring(5).await;
    await_one_ring(&nodes, STUCK).await.expect("one ring");
    for node in &nodes {
        let id = node.id();
        node.handle("who", move |_call| async move { Ok::<_, atoll::object::Failure>(id) }).unwrap();
    }
    let mut ids: Vec<Id> = nodes.iter().map(Node::id).collect();
    ids.sort_unstable();
    let owner = |address: Id| ids.iter().copied().find(|&id| id >= address).unwrap_or(ids[0]);
    let between = ids.iter().flat_map(|&id| [id, id.plus(1), id.minus(1)]);
    for address in between {
        for from in &nodes {
            assert_eq!(soon(from.call::<Id>(address, "who", ())).await, Ok(owner(address)), "{address}");
        }
        let nearest = soon(nodes[0].call::<Id>(ids[2], NEAREST, (address,))).await;
        assert_eq!(nearest, Ok(owner(address)), "{address}");
    }
}
