//! glou's example in one ring of many processes, between nodes that are three links or more from each other: provided and used in
//! Rust, on the command line, and in JavaScript.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use atoll::object::{Call, Failure, Object};
use atoll::{Id, Node};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

use crate::support::{Daemon, Place, Process, Up, run, text};

/// Nodes of `up`, daemons, and nodes in Rust: so many, with so few links each, that some are far from each other.
const RING: (usize, usize, usize) = (2, 10, 16);

/// Links of each.
const LINKS: usize = 6;

/// Links between those that use each other, at least.
const FAR: usize = 3;

/// How long the ring may take to be so, and anything else before it counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

/// How often the ring is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn glous_example_works_between_rust_the_command_line_and_javascript_three_hops_apart() {
    let (up, daemons, nodes) = RING;
    let up = Up::start(up, &format!("--max-links {LINKS}"));
    let daemons: Vec<Daemon> = (0..daemons).map(|_| Daemon::start(&up.at, &format!("--max-links {LINKS}"))).collect();
    let url = up.at.trim().split(' ').next_back().unwrap();
    let mut in_rust = Vec::new();
    for _ in 0..nodes {
        let builder = Node::builder().signalling(url).bind(IpAddr::V4(Ipv4Addr::LOCALHOST)).max_links(LINKS);
        let node = builder.direct_links(false).start().await.unwrap();
        node.provide("Glou", glou()).unwrap();
        in_rust.push(node);
    }

    // Fingers come and go: what was used over a shorter way does not count.
    let begun = std::time::Instant::now();
    loop {
        let (rust, terminal, javascript) = pick(&in_rust, &daemons).await;
        all_use_each_other(rust, terminal, javascript).await;
        let others = [id_of(terminal), id_of(javascript)];
        if are_apart(&links(&in_rust).await, rust.id(), others) && are_routed_far(rust, others).await {
            break;
        }
        assert!(begun.elapsed() < STUCK, "the three do not stay apart");
    }
    for node in in_rust {
        node.close().await;
    }
}

/// A node in Rust, and two daemons, all far from each other.
async fn pick<'a>(in_rust: &'a [Node], daemons: &'a [Daemon]) -> (&'a Node, &'a Daemon, &'a Daemon) {
    let looking = async {
        loop {
            let links = links(in_rust).await;
            for rust in in_rust {
                for (at, terminal) in daemons.iter().enumerate() {
                    for javascript in &daemons[at + 1..] {
                        let others = [id_of(terminal), id_of(javascript)];
                        if are_apart(&links, rust.id(), others) && are_routed_far(rust, others).await {
                            return (rust, terminal, javascript);
                        }
                    }
                }
            }
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(STUCK, looking).await.expect("no three nodes are so far from each other")
}

/// Whether the routes from one to the others are so long.
async fn are_routed_far(from: &Node, others: [Id; 2]) -> bool {
    for to in others {
        if !from.trace(to).await.is_ok_and(|route| route.len() >= FAR) {
            return false;
        }
    }
    true
}

/// Whether the links of all nodes allow no shorter way between any two of the three.
fn are_apart(links: &BTreeMap<Id, BTreeSet<Id>>, one: Id, others: [Id; 2]) -> bool {
    let near = within(links, one, FAR - 1);
    !others.iter().any(|other| near.contains(other)) && !within(links, others[0], FAR - 1).contains(&others[1])
}

/// Who has a link to whom, from what every node says of itself.
async fn links(in_rust: &[Node]) -> BTreeMap<Id, BTreeSet<Id>> {
    let mut links: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    for node in in_rust {
        let peers = node.peers().await;
        links.insert(node.id(), peers.iter().map(|peer| peer.id).collect());
    }
    loop {
        let unknown = links.values().flatten().find(|id| !links.contains_key(id)).copied();
        let Some(unknown) = unknown else { return links };
        let told = timeout(STUCK, status(&in_rust[0], unknown)).await.expect("a node tells its status");
        links.insert(unknown, told);
    }
}

async fn status(from: &Node, peer: Id) -> BTreeSet<Id> {
    let Ok(mut socket) = from.open(peer, "atoll/status/1").await else { return BTreeSet::new() };
    let mut said = Vec::new();
    if socket.read_to_end(&mut said).await.is_err() {
        return BTreeSet::new();
    }
    let status: Value = serde_json::from_slice(&said).unwrap_or_default();
    let peers = status["peers"].as_array().cloned().unwrap_or_default();
    peers.iter().map(|peer| text(&peer["id"]).parse().unwrap()).collect()
}

/// Whoever can be reached over at most so many links.
fn within(links: &BTreeMap<Id, BTreeSet<Id>>, from: Id, most: usize) -> BTreeSet<Id> {
    let mut near = BTreeSet::from([from]);
    for _ in 0..most {
        // A link counts where either end tells of it.
        let next: Vec<Id> = links
            .iter()
            .flat_map(|(&one, others)| others.iter().map(move |&other| (one, other)))
            .flat_map(|(one, other)| [(one, other), (other, one)])
            .filter(|(one, _)| near.contains(one))
            .map(|(_, other)| other)
            .collect();
        near.extend(next);
    }
    near
}

/// As glou's example has it, with something deep.
fn glou() -> Object {
    let echo = |call: Call| async move { call.arg::<String>(0) };
    let f = |call: Call| async move { Ok::<_, Failure>(2 * call.arg::<i64>(0)?) };
    Object::new()
        .value("a", "information here")
        .value("b", "more information here")
        .function("echo", echo)
        .object("deep", Object::new().object("x", Object::new().function("f", f)))
}

async fn all_use_each_other(rust: &Node, terminal: &Daemon, javascript: &Daemon) {
    let place = Place::new();
    let _provided = provide(&place, terminal);
    let mut program = Program::start(javascript);
    let ids = [rust.id(), id_of(terminal), id_of(javascript)];
    for peer in [ids[1], ids[2]] {
        if peer == ids[2] && program.is_none() {
            continue;
        }
        let glou = rust.peer(peer).service("Glou").await.unwrap();
        assert_eq!(glou.get::<String>("a").await.unwrap(), "information here");
        assert_eq!(glou.call::<String>("echo", ("Hello world!",)).await.unwrap(), "Hello world!");
        assert_eq!(glou.call::<i64>("deep.x.f", (21,)).await.unwrap(), 42);
    }
    for peer in [ids[0], ids[2]] {
        if peer == ids[2] && program.is_none() {
            continue;
        }
        let at = &terminal.at;
        assert_eq!(run(&format!("get {peer} Glou.a{at}")).text(), "information here\n");
        assert_eq!(run(&format!("call {peer} Glou.echo Hello{at}")).text(), "Hello\n");
        assert_eq!(run(&format!("call {peer} Glou.deep.x.f 21{at}")).text(), "42\n");
    }
    let Some(program) = &mut program else { return };
    for peer in [ids[0], ids[1]] {
        assert_eq!(program.uses(peer), json!(["information here", "Hello world!", 42]));
    }
}

fn provide(place: &Place, daemon: &Daemon) -> Process {
    let values = r#"{"a": "information here", "b": "more information here"}"#;
    let object = place.file("object.json", values);
    // The first argument as it came; and twice the number in it.
    let echo = place.script("echo", "#!/bin/sh\nsed -e 's/^.//' -e 's/.$//'\n");
    let double = place.script("double", "#!/bin/sh\necho $((2 * $(tr -dc 0-9)))\n");
    let words = format!("provide Glou {object} --exec echo={echo} --exec deep.x.f={double} --json{}", daemon.at);
    let process = Process::start(&words);
    process.event("providing");
    process
}

/// The JavaScript that provides and uses.
struct Program(Process);

impl Program {
    /// `None` where there is no Node.js.
    fn start(daemon: &Daemon) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/js/test/glou.js");
        let process = Process::of("node", &[script, &daemon.socket()])?;
        process.event("providing");
        Some(Program(process))
    }

    fn uses(&mut self, peer: Id) -> Value {
        self.0.tell(&peer.to_string());
        let used = self.0.event("used");
        assert_eq!(used["error"], Value::Null, "{used}");
        used["seen"].clone()
    }
}

fn id_of(daemon: &Daemon) -> Id {
    daemon.id.parse().unwrap()
}
