//! Rings of real processes that die without a farewell.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use atoll::Id;
use atoll_tests::process::Process;
use serde_json::{Value, json};
use tokio::sync::Mutex;

const PROGRAM: &str = env!("CARGO_BIN_EXE_test-node");

/// How long the survivors may take to reach each other before they count as stuck; how long they take, `measure faults` says.
const HEAL: Duration = Duration::from_secs(30);

/// A third of sixteen.
const THIRD: usize = 5;

/// So few links and own fingers that not everybody has a link to everybody, and room for links on demand.
const FEW_LINKS: [&str; 2] = ["8", "1"];

/// One ring at a time: a small machine has enough to do with sixteen processes.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A signalling server and the members of a ring, in the order of their ids.
struct Processes {
    server: Option<Process>,
    url: String,
    port: u64,
    /// What nodes are started with besides the server's URL: their links and own fingers.
    budget: &'static [&'static str],
    nodes: Vec<Process>,
}

impl Processes {
    async fn start(count: usize) -> Self {
        Self::with_budget(count, &[]).await
    }

    async fn with_budget(count: usize, budget: &'static [&'static str]) -> Self {
        let server = Process::start(PROGRAM, &["server", "0"]).await;
        let url = server.greeting["url"].as_str().expect("a URL").to_owned();
        let port = server.greeting["port"].as_u64().expect("a port");
        let mut ring = Processes { server: Some(server), url, port, budget, nodes: Vec::new() };
        ring.add(count).await;
        ring.settle(Duration::from_secs(30)).await;
        ring
    }

    /// Starts so many nodes at once.
    async fn add(&mut self, count: usize) {
        let starting: Vec<_> = (0..count)
            .map(|_| {
                let (url, budget) = (self.url.clone(), self.budget);
                tokio::spawn(async move { Process::start(PROGRAM, &[&["node", &url], budget].concat()).await })
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
            if start.elapsed() >= limit {
                panic!("not one ring within {limit:?}: {wrong:#?}\n{:#?}", self.ask_all("status").await);
            }
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
        if !failed.is_empty() {
            let seen = self.look_between(&failed).await;
            panic!("not all pairs reach each other within {limit:?}: {failed:#?}\n{seen:#?}");
        }
        start.elapsed()
    }

    /// How those who could not reach each other fare: the ways between them, both there and back, and what each sees.
    async fn look_between(&mut self, failed: &BTreeMap<String, Value>) -> Vec<Value> {
        let mut seen = Vec::new();
        for (from, answer) in failed {
            for to in answer["failed"].as_object().into_iter().flatten().map(|(to, _)| to) {
                for (one, other) in [(from, to), (to, from)] {
                    let node = self.node(one.parse().expect("an id"));
                    let way = node.ask(&format!("trace {other}")).await;
                    seen.push(json!({ "from": one, "to": other, "way": way, "status": node.ask("status").await }));
                }
            }
        }
        seen
    }

    /// Two members without a link to each other, each with room for so many more, and the nodes on the way between them.
    async fn unlinked_pair(&mut self, room: u64) -> (Id, Id, Vec<Id>) {
        let mut ids = Vec::new();
        for status in self.ask_all("status").await {
            let count = |name: &str| status[name].as_u64().expect("a number");
            if count("links_in_use") + room <= count("max_links") {
                ids.push(serde_json::from_value::<Id>(status["id"].clone()).expect("an id"));
            }
        }
        for node in self.nodes.iter_mut().filter(|node| ids.contains(&node.id())) {
            let (from, peers) = (node.id(), peers_of(node).await);
            for &to in ids.iter().filter(|id| **id != from && !peers.contains(&id.to_string())) {
                let route = node.ask(&format!("trace {to}")).await;
                let hops: Vec<Id> = serde_json::from_value(route["hops"].clone()).unwrap_or_default();
                if hops.len() > 1 {
                    return (from, to, hops[..hops.len() - 1].to_vec());
                }
            }
        }
        panic!("all {} nodes with room have links to each other", ids.len());
    }

    /// `kill -9` of these, at once.
    async fn kill(&mut self, victims: &[Id]) {
        let nodes = std::mem::take(&mut self.nodes);
        let mut dying = Vec::new();
        for node in nodes {
            match victims.contains(&node.id()) {
                true => dying.push(tokio::spawn(node.kill())),
                false => self.nodes.push(node),
            }
        }
        assert_eq!(dying.len(), victims.len(), "all of them were running");
        for death in dying {
            death.await.expect("it dies");
        }
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
    let mut ring = Processes::start(16).await;
    ring.reach_each_other(Duration::from_secs(20)).await;
    let survivors: Vec<Id> =
        ring.nodes.iter().enumerate().filter(|(at, _)| !which(*at)).map(|(_, node)| node.id()).collect();
    let (from, to) = (survivors[0], survivors[survivors.len() / 2]);
    ring.node(from).stream("stream", to).await;
    let victims: Vec<Id> =
        ring.nodes.iter().enumerate().filter(|(at, _)| which(*at)).map(|(_, node)| node.id()).collect();
    assert_survivors_reach_each_other(&mut ring, &victims, from).await;
}

/// Kills these; the others, one of which runs a stream, are to reach each other soon, and the stream to lose nothing.
async fn assert_survivors_reach_each_other(ring: &mut Processes, victims: &[Id], from: Id) {
    let begun = Instant::now();
    ring.kill(victims).await;
    ring.reach_each_other(HEAL).await;
    let reached = begun.elapsed();
    let settled = ring.settle(Duration::from_secs(20)).await;
    let stream = ring.node(from).ask("stop").await;
    println!("{} of 16 killed: all pairs reached after {reached:?}, one ring {settled:?} later", victims.len());
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
async fn records_that_were_acknowledged_are_there_when_a_third_was_killed_meanwhile() {
    let _alone = ALONE.lock().await;
    let mut ring = Processes::start(9).await;
    let writer = ring.nodes[0].id();
    let victims: Vec<Id> = ring.nodes[3..6].iter().map(Process::id).collect();
    let (mut keys, mut refused) = (Vec::new(), Vec::new());
    for number in 0..60 {
        if number == 30 {
            ring.kill(&victims).await;
        }
        let answer = ring.node(writer).ask(&format!("put value-{number}")).await;
        match answer["key"].as_str() {
            Some(key) => keys.push(key.to_owned()),
            None => refused.push(answer),
        }
    }
    println!("{} acknowledged, refused: {refused:?}", keys.len());
    assert!(keys.len() >= 30, "what was written before the kill is acknowledged: {refused:?}");
    let survivors = ring.ask_all(&format!("get 30 {}", keys.join(" "))).await;
    assert!(survivors.iter().all(|answer| answer["missing"] == Value::Array(Vec::new())), "{survivors:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hops_of_a_stream_are_killed_and_it_loses_nothing() {
    let _alone = ALONE.lock().await;
    let mut ring = Processes::with_budget(16, &FEW_LINKS).await;
    let (from, to, hops) = ring.unlinked_pair(0).await;
    ring.node(from).stream("slow-stream", to).await;
    // The others of the third are those who would take over: the neighbours of both ends, as far as there are any left.
    let mut victims = hops;
    let at = ring.nodes.iter().position(|node| node.id() == from).expect("it is one of them");
    let behind = ring.nodes[at..].iter().chain(&ring.nodes[..at]).map(Process::id);
    let others: Vec<Id> = behind.filter(|id| *id != from && *id != to && !victims.contains(id)).collect();
    victims.extend(&others[..THIRD - victims.len().min(THIRD)]);
    println!("{from} streams to {to}; killed: {victims:?}");
    assert_survivors_reach_each_other(&mut ring, &victims, from).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_make_a_link_through_the_ring_alone() {
    let _alone = ALONE.lock().await;
    let mut ring = Processes::with_budget(12, &FEW_LINKS).await;
    ring.kill_server().await;
    let (from, to, hops) = ring.unlinked_pair(1).await;
    let linked = wait_for_link(ring.node(from), to).await;
    println!("{from} and {to}, {} links apart, made a link in {linked:?}", hops.len() + 1);
    assert!(peers_of(ring.node(to)).await.contains(&from.to_string()), "both ends have the link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signalling_server_is_killed_and_the_ring_lives_on() {
    let _alone = ALONE.lock().await;
    let mut ring = Processes::start(10).await;
    // In a small ring all members are linked; who only visits has links to two of them.
    let mut visitor = Process::start(PROGRAM, &["leaf", &ring.url]).await;
    ring.reach_each_other(Duration::from_secs(20)).await;
    let ids: Vec<Id> = ring.nodes.iter().map(Process::id).collect();
    let (near, far) = (ids[0], ids[6]);
    ring.node(near).stream("stream", far).await;
    ring.kill_server().await;

    let took = ring.reach_each_other(Duration::from_secs(5)).await;
    println!("without the server all pairs reached within {took:?}");

    ring.nodes.remove(3).kill().await;
    let healed = ring.settle(Duration::from_secs(20)).await;
    println!("without the server a dead node was healed around in {healed:?}");

    // Two nodes without a link: the stream between them is busy, and a link comes up through the ring alone.
    let peers = peers_of(&mut visitor).await;
    let to = ring.nodes.iter().map(Process::id).find(|id| !peers.contains(&id.to_string())).expect("it has two links");
    let linked = wait_for_link(&mut visitor, to).await;
    println!("{} and {to} made a link through the ring in {linked:?}", visitor.id());

    assert_nothing_lost(&ring.node(near).ask("stop").await);

    ring.restart_server().await;
    ring.add(3).await;
    let settled = ring.settle(Duration::from_secs(20)).await;
    println!("three newcomers after the server came back: one ring after {settled:?}");
    ring.reach_each_other(Duration::from_secs(20)).await;
}

async fn peers_of(node: &mut Process) -> Vec<String> {
    let status = node.ask("status").await;
    let peers = status["peers"].as_array().expect("a list").iter();
    peers.filter_map(|peer| peer["id"].as_str().map(str::to_owned)).collect()
}

async fn wait_for_link(from: &mut Process, to: Id) -> Duration {
    const LIMIT: Duration = Duration::from_secs(15);
    from.stream("stream", to).await;
    let start = Instant::now();
    while !peers_of(from).await.contains(&to.to_string()) {
        assert!(start.elapsed() < LIMIT, "no link from {} to {to} within {LIMIT:?}", from.id());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = start.elapsed();
    assert_nothing_lost(&from.ask("stop").await);
    took
}
