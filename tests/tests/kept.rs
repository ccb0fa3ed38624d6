//! What lasts in the ring beyond the time that it was stored for, because somebody writes it again, and what does not.

use std::time::{Duration, SystemTime};

use atoll::Node;
use atoll::node::FileError;
use atoll::record::file::BLOCK;
use atoll::record::{Key, Seconds};
use atoll_tests::{STUCK, TestServer, await_one_ring, eventually};

/// How long things are stored for: ends are whole seconds, and a third of this passes between two writings.
const TTL: Duration = Duration::from_secs(6);

/// So long a file is stored at first: it has to be stored and renewed within that, on a busy machine too.
const FILE_TTL: Duration = Duration::from_secs(12);

const HOUR: Duration = Duration::from_secs(3600);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(STUCK, what).await.expect("it hangs")
}

/// A ring of four, and what keeps its server.
async fn ring() -> (TestServer, Vec<Node>) {
    let server = TestServer::start().await;
    let nodes = server.ring(4).await;
    await_one_ring(&nodes, STUCK).await.expect("one ring");
    (server, nodes)
}

fn clock() -> Seconds {
    Seconds(SystemTime::UNIX_EPOCH.elapsed().expect("the clock is right").as_secs())
}

async fn end(node: &Node, key: &Key) -> Option<Seconds> {
    soon(node.get_record(key)).await.expect("an answer").map(|record| record.expires())
}

/// Whether a record is there at every look until its first end is over.
async fn outlives_its_end(node: &Node, key: &Key, value: &[u8]) {
    let first = end(node, key).await.expect("it was just stored");
    while clock() <= first {
        let found = soon(node.get(key)).await.expect("an answer");
        assert_eq!(found.as_deref(), Some(value), "at {:?}, stored until {first:?}", clock());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let later = end(node, key).await.unwrap_or_else(|| panic!("gone at {:?}, as if nobody kept it", clock()));
    assert!(later > first, "it still ends at {first:?}");
}

/// Nobody writes it again: it ends when it was last stored for, and no sooner.
async fn ends(node: &Node, key: &Key) {
    let last = end(node, key).await.expect("it stays until its end");
    eventually(STUCK, async || match end(node, key).await {
        None => Ok(()),
        Some(end) => Err(format!("it lives until {end:?}")),
    })
    .await;
    assert!(clock() >= last, "gone at {:?}, before its end at {last:?}", clock());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_kept_outlives_its_time_and_ends_when_it_is_let_go() {
    let (_server, nodes) = ring().await;
    let kept = soon(nodes[0].keep("still here", TTL)).await.unwrap();
    let key = kept.put().key.clone();
    outlives_its_end(&nodes[2], &key, b"still here").await;
    drop(kept);
    ends(&nodes[2], &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_kept_outlives_its_time_and_ends_when_its_node_is_closed() {
    let (_server, mut nodes) = ring().await;
    let kept = soon(nodes[0].keep_entry("greeting", "hello", TTL)).await.unwrap();
    let key = kept.put().key.clone();
    outlives_its_end(&nodes[2], &key, b"hello").await;
    soon(nodes.remove(0).close()).await;
    await_one_ring(&nodes, STUCK).await.expect("one ring");
    eventually(STUCK, async || match end(&nodes[1], &key).await {
        None => Ok(()),
        Some(end) => Err(format!("it lives until {end:?}")),
    })
    .await;
    drop(kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_no_longer_kept_when_its_writer_writes_something_newer() {
    let (_server, nodes) = ring().await;
    let mut kept = soon(nodes[0].keep_entry("greeting", "hello", TTL)).await.unwrap();
    let newer = soon(nodes[0].put_entry("greeting", "hullo", HOUR)).await.unwrap();
    soon(kept.lost()).await;
    assert_eq!(soon(nodes[2].get(&newer.key)).await.unwrap().as_deref(), Some(&b"hullo"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_renewed_is_read_whole_after_its_first_end_and_one_that_is_not_is_gone() {
    let (_server, nodes) = ring().await;
    // Three blocks and a bit, each different from the others.
    let file = |first: u8| -> Vec<u8> { (0..3 * BLOCK + 5).map(|at| (at / BLOCK) as u8 ^ first).collect() };
    let (renewed, ended) = (file(0), file(64));
    let stored = soon(nodes[0].put_file(&renewed[..], FILE_TTL)).await.unwrap();
    let other = soon(nodes[0].put_file(&ended[..], FILE_TTL)).await.unwrap();
    assert_eq!(soon(nodes[1].renew_file(&stored.key, HOUR)).await.unwrap(), renewed.len() as u64);
    let last = end(&nodes[2], &other.key.manifest()).await.expect("it was just stored");
    eventually(STUCK, async || match soon(nodes[2].read_file(&other.key)).await {
        Err(FileError::Absent) => Ok(()),
        other => Err(format!("{other:?} at {:?}, stored until {last:?}", clock())),
    })
    .await;
    let mut copy = Vec::new();
    soon(nodes[3].get_file(&stored.key, &mut copy)).await.expect("it was renewed");
    assert!(
        copy == renewed,
        "{} of {} bytes are right",
        copy.iter().zip(&renewed).filter(|(a, b)| a == b).count(),
        renewed.len()
    );
}
