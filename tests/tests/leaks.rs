//! Links that open and close, nodes that come and go: nothing of them is left behind.

use std::time::Duration;

use atoll::net::link::{Channel, Transport};
use atoll_tests::attacker::loopback_transport;
use atoll_tests::{TestServer, eventually};
use bytes::BytesMut;
use tokio::sync::Mutex;

/// What the process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    tasks: usize,
    resident_kib: usize,
}

impl Held {
    fn now() -> Self {
        let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let resident_kib = resident.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Held { descriptors, tasks, resident_kib }
    }
}

/// Rounds: `ATOLL_ROUNDS`, or a few for every day.
fn rounds(everyday: usize) -> usize {
    std::env::var("ATOLL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(everyday)
}

/// How much more memory may be held after the last rounds than after the first: fragments, not a leak of every round.
const SLACK_KIB: usize = 6 * 1024;

/// The figures are the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn open_and_close(a: &Transport, b: &Transport) {
    let (dialling, offer) = a.offer().await.expect("an offer");
    let (answering, answer) = b.answer(&offer).await.expect("an answer");
    dialling.accept(&answer).await.expect("a proper answer");
    let (near, far) = tokio::join!(dialling.open(), answering.open());
    let (near, mut far) = (near.expect("a link"), far.expect("a link"));
    near.sender().try_send(Channel::Ring, BytesMut::from(&b"hello"[..])).expect("room");
    assert!(far.recv().await.is_some());
    near.sender().close();
    near.sender().closed().await;
    far.sender().closed().await;
}

async fn is_back_at(before: Held) -> Held {
    eventually(Duration::from_secs(20), async || {
        let now = Held::now();
        match now.descriptors <= before.descriptors && now.tasks <= before.tasks {
            true => Ok(now),
            false => Err(format!("before: {before:?}, now: {now:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let (a, b) = (loopback_transport(), loopback_transport());
    let rounds = rounds(100);
    for _ in 0..rounds / 4 {
        open_and_close(&a, &b).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = Held::now();
    for _ in 0..rounds {
        open_and_close(&a, &b).await;
    }
    let after = is_back_at(before).await;
    println!("{rounds} links: {before:?}, then {after:?}");
    let grown = after.resident_kib.saturating_sub(before.resident_kib);
    assert!(grown < SLACK_KIB, "{grown} KiB more after {rounds} links");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_come_and_go_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let server = TestServer::start().await;
    let stay = server.node().start().await.expect("a node");
    atoll_tests::echo(&stay);
    let visit = async || {
        let node = server.node().start().await.expect("a node that joins");
        atoll_tests::echoes(&node, stay.id(), b"hello").await.expect("an echo");
        node.close().await;
    };
    let settled = async || {
        eventually(Duration::from_secs(20), async || {
            let (peers, sessions) = (stay.peers().await.len(), stay.sessions().all().len());
            if peers + sessions == 0 { Ok(()) } else { Err(format!("{peers} peers and {sessions} sessions are left")) }
        })
        .await;
        // What ends with them may take a moment more.
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let rounds = rounds(30) / 2;
    for _ in 0..rounds / 2 {
        visit().await;
    }
    settled().await;
    let before = Held::now();
    for _ in 0..rounds {
        visit().await;
    }
    settled().await;
    let after = is_back_at(before).await;
    println!("{rounds} visits: {before:?}, then {after:?}");
    let grown = after.resident_kib.saturating_sub(before.resident_kib);
    assert!(grown < SLACK_KIB, "{grown} KiB more after {rounds} visits");
}
