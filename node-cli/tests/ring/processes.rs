//! Rings of several processes: they find each other, part properly, and outlive the signalling server.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Listening, run, run_with, soon, text};

/// A member that says farewell is gone at once; one that falls silent is missed after 5 s.
const AT_ONCE: Duration = Duration::from_secs(3);

fn successors(of: &Listening, at: &str) -> Vec<String> {
    let status: Vec<Value> = run(&format!("status {} --json{at}", of.id)).json();
    status[0]["successors"].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn three_processes_are_one_ring_and_each_can_be_dialled() {
    let door = Listening::start("--door 0");
    let others = [Listening::start(&door.at), Listening::start(&door.at)];
    for node in [&door, &others[0], &others[1]] {
        let said = format!("hello {}\n", node.id);
        assert_eq!(run_with(&format!("dial {}{}", node.id, door.at), &said).text(), said);
    }
    soon("each knows both others", Duration::from_secs(10), || {
        [&door, &others[0], &others[1]].iter().all(|node| successors(node, &door.at).len() == 2)
    });
}

#[test]
fn a_node_that_is_interrupted_says_farewell() {
    for signal in ["-INT", "-TERM"] {
        let door = Listening::start("--door 0");
        let mut leaving = Listening::start(&door.at);
        soon("two members", Duration::from_secs(10), || successors(&door, &door.at) == [leaving.id.clone()]);
        leaving.process.signal(signal);
        assert_eq!(leaving.process.end().code(), Some(0), "{signal}");
        soon("its neighbour knows that it left", AT_ONCE, || successors(&door, &door.at).is_empty());
    }
}

#[test]
fn a_node_outlives_the_signalling_server_and_comes_back_to_the_next() {
    let mut door = Listening::start("--door 0");
    let (port, at) = (door.at.rsplit(':').next().unwrap().trim_end_matches('/').to_owned(), door.at.clone());
    let (one, other) = (Listening::start(&at), Listening::start(&at));
    soon("three members", Duration::from_secs(10), || successors(&one, &at).len() == 2);
    door.process.signal("-KILL");
    door.process.end();
    one.process.remark("signalling-lost");
    other.process.remark("signalling-lost");

    let next = Listening::start(&format!("--door {port}"));
    one.process.remark("signalling-connected");
    other.process.remark("signalling-connected");
    let said = run_with(&format!("dial {}{at}", one.id), "still there?");
    assert_eq!(said.text(), "still there?");
    // The next one founded a ring of its own, as nobody was registered; the two become one.
    soon("one ring", Duration::from_secs(60), || {
        [&one, &other, &next].iter().all(|node| successors(node, &at).len() == 2)
    });
}
