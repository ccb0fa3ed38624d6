//! Rings of real processes that die without a farewell.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use atoll::Id;
use atoll_tests::process::Process;
use serde_json::Value;
use tokio::sync::Mutex;

const PROGRAM: &str = env!("CARGO_BIN_EXE_test-node");

/// How long survivors may take to reach each other again.
const HEAL: Duration = Duration::from_secs(10);

/// One ring at a time: a small machine has enough to do with sixteen processes.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A signalling server and the members of a ring, in the order of their ids.
struct Processes {
    server: Option<Process>,
    url: String,
    port: u64,
    nodes: Vec<Process>,
}

impl Processes {
    async fn start(count: usize, fingers: &str) -> Self {
        let server = Process::start(PROGRAM, &["server", "0"]).await;
        let url = server.greeting["url"].as_str().expect("a URL").to_owned();
        let port = server.greeting["port"].as_u64().expect("a port");
        let mut ring = Processes { server: Some(server), url, port, nodes: Vec::new() };
        ring.add(count, fingers).await;
        ring.settle(Duration::from_secs(30)).await;
        ring
    }

    /// Starts so many nodes at once.
    async fn add(&mut self, count: usize, fingers: &str) {
        let starting: Vec<_> = (0..count)
            .map(|_| {
                let (url, fingers) = (self.url.clone(), fingers.to_owned());
                tokio::spawn(async move { Process::start(PROGRAM, &["node", &url, &fingers]).await })
            })
            .collect();
        for start in starting {
            self.nodes.push(start.await.expect("a node that joins"));
        }
        self.nodes.sort_by_key(Process::id);
    }

    async fn kill_server(&mut self) {
        self.server.take().expect("it runs").kill().await;
    }

    /// Starts the server again where it was.
    async fn restart_server(&mut self) {
        self.server = Some(Process::start(PROGRAM, &["server", &self.port.to_string()]).await);
    }

    /// Waits until every node stands between its true neighbours. Gives how long that took.
    async fn settle(&mut self, limit: Duration) -> Duration {
        let start = Instant::now();
        loop {
            let wrong = self.wrong_places().await;
            if wrong.is_empty() {
                return start.elapsed();
            }
            assert!(start.elapsed() < limit, "not one ring within {limit:?}: {wrong:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn wrong_places(&mut self) -> Vec<String> {
        let ids: Vec<Id> = self.nodes.iter().map(Process::id).collect();
        let mut wrong = Vec::new();
        for (at, status) in self.ask_all("status").await.into_iter().enumerate() {
            let neighbours = [("predecessors", ids.len() - 1), ("successors", 1)];
            for (list, step) in neighbours {
                let true_one = ids[(at + step) % ids.len()].to_string();
                if status[list][0] != true_one.as_str() {
                    wrong.push(format!("{}: {list} {}, should begin with {true_one}", ids[at], status[list]));
                }
            }
        }
        wrong
    }

    /// Asks all nodes at once.
    async fn ask_all(&mut self, command: &str) -> Vec<Value> {
        for node in &mut self.nodes {
            node.tell(command).await;
        }
        let mut answers = Vec::new();
        for node in &mut self.nodes {
            answers.push(node.answer().await);
        }
        answers
    }

    /// Every node dials every other until each has echoed. Gives how long it took, and panics where it took too long.
    async fn reach_each_other(&mut self, limit: Duration) -> Duration {
        let start = Instant::now();
        let ids: Vec<String> = self.nodes.iter().map(|node| node.id().to_string()).collect();
        for (node, own) in self.nodes.iter_mut().zip(&ids) {
            let others: Vec<&str> = ids.iter().filter(|id| *id != own).map(String::as_str).collect();
            node.tell(&format!("reach {} {}", limit.as_secs(), others.join(" "))).await;
        }
        let mut failed = BTreeMap::new();
        for (node, own) in self.nodes.iter_mut().zip(&ids) {
            let answer = node.answer().await;
            if answer["failed"].as_object().is_none_or(|failed| !failed.is_empty()) {
                failed.insert(own.clone(), answer);
            }
        }
        assert!(failed.is_empty(), "not all pairs reach each other within {limit:?}: {failed:#?}");
        start.elapsed()
    }

    fn node(&mut self, id: Id) -> &mut Process {
        self.nodes.iter_mut().find(|node| node.id() == id).expect("it is one of them")
    }
}

/// What `stop` answered, when nothing was lost.
fn assert_nothing_lost(stream: &Value) {
    println!("stream: {stream}");
    assert_eq!(stream["error"], Value::Null, "the stream broke: {stream}");
    assert!(stream["sent"].as_u64().is_some_and(|sent| sent > 0), "nothing was sent: {stream}");
    assert_eq!(stream["sent"], stream["received"], "bytes are missing: {stream}");
    assert_eq!(stream["intact"], true, "bytes came back changed: {stream}");
}

/// Kills these nodes of sixteen at once, while two survivors on either side of the first victim stream.
async fn a_third_is_killed(which: impl Fn(usize) -> bool) {
    let _alone = ALONE.lock().await;
    let mut ring = Processes::start(16, "24").await;
    ring.reach_each_other(Duration::from_secs(20)).await;
    let survivors: Vec<Id> =
        ring.nodes.iter().enumerate().filter(|(at, _)| !which(*at)).map(|(_, node)| node.id()).collect();
    let (from, to) = (survivors[0], survivors[survivors.len() / 2]);
    ring.node(from).ask(&format!("stream {to}")).await;
    let nodes = std::mem::take(&mut ring.nodes);
    let (mut victims, mut alive) = (Vec::new(), Vec::new());
    for (at, node) in nodes.into_iter().enumerate() {
        if which(at) { victims.push(node) } else { alive.push(node) }
    }
    ring.nodes = alive;
    let killed = victims.len();
    let begun = Instant::now();
    for victim in victims {
        victim.kill().await;
    }
    let reached = ring.reach_each_other(HEAL).await;
    let settled = ring.settle(Duration::from_secs(20)).await;
    let stream = ring.node(from).ask("stop").await;
    println!("{killed} of 16 killed: all pairs reached after {reached:?}, one ring {settled:?} later");
    assert!(reached <= HEAL, "all pairs took {reached:?} ({:?} since the first kill)", begun.elapsed());
    assert_nothing_lost(&stream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_in_a_row_is_killed_and_the_rest_reach_each_other() {
    // The worst third: five neighbours, more than any node has links to.
    a_third_is_killed(|at| (3..8).contains(&at)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_third_is_killed_and_the_rest_reach_each_other() {
    a_third_is_killed(|at| at % 3 == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signalling_server_is_killed_and_the_ring_lives_on() {
    let _alone = ALONE.lock().await;
    // Few fingers, so that some pairs have none.
    let mut ring = Processes::start(12, "1").await;
    ring.reach_each_other(Duration::from_secs(20)).await;
    let ids: Vec<Id> = ring.nodes.iter().map(Process::id).collect();
    let (near, far) = (ids[0], ids[6]);
    ring.node(near).ask(&format!("stream {far}")).await;
    ring.kill_server().await;

    let took = ring.reach_each_other(Duration::from_secs(5)).await;
    println!("without the server all pairs reached within {took:?}");

    ring.nodes.remove(3).kill().await;
    let healed = ring.settle(Duration::from_secs(20)).await;
    println!("without the server a dead node was healed around in {healed:?}");

    // Two nodes without a link: the stream between them is busy, and a link comes up through the ring alone.
    let (from, to) = a_pair_without_a_link(&mut ring, &[near, far]).await;
    let linked = wait_for_link(&mut ring, from, to).await;
    println!("{from} and {to} made a link through the ring in {linked:?}");

    assert_nothing_lost(&ring.node(near).ask("stop").await);

    ring.restart_server().await;
    ring.add(3, "1").await;
    let settled = ring.settle(Duration::from_secs(20)).await;
    println!("three newcomers after the server came back: one ring after {settled:?}");
    ring.reach_each_other(Duration::from_secs(20)).await;
}

async fn peers_of(ring: &mut Processes, id: Id) -> Vec<String> {
    let status = ring.node(id).ask("status").await;
    let peers = status["peers"].as_array().expect("a list").iter();
    peers.filter_map(|peer| peer["id"].as_str().map(str::to_owned)).collect()
}

async fn a_pair_without_a_link(ring: &mut Processes, busy: &[Id]) -> (Id, Id) {
    let ids: Vec<Id> = ring.nodes.iter().map(Process::id).filter(|id| !busy.contains(id)).collect();
    for &from in &ids {
        let peers = peers_of(ring, from).await;
        if let Some(&to) = ids.iter().find(|&&to| to != from && !peers.contains(&to.to_string())) {
            return (from, to);
        }
    }
    panic!("every node has a link to every other");
}

async fn wait_for_link(ring: &mut Processes, from: Id, to: Id) -> Duration {
    const LIMIT: Duration = Duration::from_secs(15);
    ring.node(from).ask(&format!("stream {to}")).await;
    let start = Instant::now();
    while !peers_of(ring, from).await.contains(&to.to_string()) {
        assert!(start.elapsed() < LIMIT, "no link from {from} to {to} within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = start.elapsed();
    assert_nothing_lost(&ring.node(from).ask("stop").await);
    took
}
