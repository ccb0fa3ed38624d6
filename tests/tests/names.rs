//! Records and names of real nodes.

use std::time::Duration;

use atoll::node::{ClaimError, ResolveError, StartError};
use atoll::object::{Call, CallError, Failure, Object};
use atoll::record::{Key, MAX_VALUE};
use atoll::wire::Role;
use atoll_tests::{STUCK, TestServer, await_one_ring, echo_object, eventually};

const HOUR: Duration = Duration::from_secs(3600);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(STUCK, what).await.expect("it hangs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_stores_others_read_when_it_is_gone() {
    let server = TestServer::start().await;
    let mut nodes = server.ring(8).await;
    await_one_ring(&nodes, STUCK).await.expect("one ring");
    let large = vec![7; MAX_VALUE];
    let put = soon(nodes[0].put(large.clone(), HOUR)).await.unwrap();
    assert_eq!(put.copies, 6);
    soon(nodes[0].put_entry("greeting", "hello", HOUR)).await.unwrap();
    soon(nodes[0].put_entry("greeting", "hullo", HOUR)).await.unwrap();
    soon(nodes[0].put_entry("gone", "soon", HOUR)).await.unwrap();
    soon(nodes[0].delete("gone")).await.unwrap();
    let writer = nodes[0].key();
    let entry = |name: &str| Key::Entry { writer, name: name.to_owned() };
    soon(nodes.remove(0).close()).await;
    await_one_ring(&nodes, STUCK).await.expect("one ring");
    for node in &nodes {
        assert_eq!(soon(node.get(&put.key)).await.unwrap().as_deref(), Some(&large[..]));
        assert_eq!(soon(node.get(&entry("greeting"))).await.unwrap().as_deref(), Some(&b"hullo"[..]));
        assert_eq!(soon(node.get(&entry("gone"))).await, Ok(None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_called_by_its_name_and_sees_that_of_the_caller() {
    let server = TestServer::start().await;
    let nodes = server.ring(5).await;
    await_one_ring(&nodes, STUCK).await.expect("one ring");
    let leaf = soon(server.node().role(Role::Leaf).start()).await.unwrap();
    let who = |call: Call| async move { Ok::<_, Failure>(call.caller().name().await.unwrap_or_default()) };
    nodes[0].provide("Echo", echo_object().function("who", who)).unwrap();
    nodes[0].provide("Private", Object::new().value("a", 1).access(atoll::object::Access::only(["@bob"]))).unwrap();
    let claim = soon(nodes[0].claim("alice")).await.unwrap();
    assert_eq!(soon(leaf.resolve("@alice")).await, Ok(nodes[0].key()));
    let echo = soon(leaf.peer("@alice").service("Echo")).await.unwrap();
    assert_eq!(soon(echo.call::<String>("who", ())).await.unwrap(), "", "nobody yet");
    let private = leaf.peer("@alice").remote("Private");
    assert!(matches!(soon(private.get::<i64>("a")).await, Err(CallError::Refused)));
    let _bob = soon(leaf.claim("bob")).await.unwrap();
    assert_eq!(soon(echo.call::<String>("who", ())).await.unwrap(), "bob");
    assert_eq!(soon(private.get::<i64>("a")).await, Ok(1));
    assert_eq!(soon(nodes[1].claim("alice")).await.unwrap_err(), ClaimError::Taken);
    soon(claim.release()).await;
    let Err(CallError::NoSuchPeer { reason, .. }) = soon(leaf.peer("@alice").services()).await else {
        panic!("the name still leads to somebody");
    };
    assert_eq!(reason, ResolveError::NoSuchName.to_string());
    let _claim = soon(nodes[1].claim("alice")).await.unwrap();
    assert_eq!(soon(leaf.resolve("alice")).await, Ok(nodes[1].key()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_with_a_name_and_gives_it_up_when_it_is_closed() {
    let server = TestServer::start().await;
    let nodes = server.ring(3).await;
    await_one_ring(&nodes, STUCK).await.expect("one ring");
    let named = soon(server.node().name("carol").start()).await.unwrap();
    let key = named.key();
    assert_eq!(soon(nodes[0].resolve("@carol")).await, Ok(key));
    let again = soon(server.node().name("carol").start()).await;
    assert!(
        matches!(&again, Err(StartError::Name { name, reason: ClaimError::Taken }) if name == "carol"),
        "{again:?}"
    );
    soon(named.close()).await;
    eventually(STUCK, || async {
        match nodes[0].resolve("@carol").await {
            Err(ResolveError::NoSuchName) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let no_name = soon(nodes[0].claim("No Name")).await;
    assert!(matches!(no_name, Err(ClaimError::Invalid(_))), "{no_name:?}");
}
