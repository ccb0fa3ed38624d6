//! Rings of several processes: they find each other, part properly, and outlive the signalling server.

use std::time::Duration;

use crate::support::{Listening, run, run_with, soon, text};

/// A member that says farewell is gone at once; one that falls silent is missed after 5 s.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The successor list of a node; `None` where the command found no way to it.
fn successors(of: &Listening, at: &str) -> Option<Vec<String>> {
    let asked = run(&format!("status {} --json{at}", of.id));
    if asked.code != Some(0) {
        return None;
    }
    Some(asked.json()[0]["successors"].as_array().unwrap().iter().map(text).collect())
}

/// Whether each of these nodes sees so many others.
fn each_sees(others: usize, nodes: &[&Listening], at: &str) -> bool {
    nodes.iter().all(|node| successors(node, at).is_some_and(|successors| successors.len() == others))
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
        each_sees(2, &[&door, &others[0], &others[1]], &door.at)
    });
}

#[test]
fn a_node_that_is_interrupted_says_farewell() {
    for signal in ["-INT", "-TERM"] {
        let door = Listening::start("--door 0");
        let mut leaving = Listening::start(&door.at);
        soon("two members", Duration::from_secs(10), || successors(&door, &door.at) == Some(vec![leaving.id.clone()]));
        leaving.process.signal(signal);
        assert_eq!(leaving.process.end().code(), Some(0), "{signal}");
        soon("its neighbour knows that it left", AT_ONCE, || successors(&door, &door.at) == Some(vec![]));
    }
}

#[test]
fn a_node_outlives_the_signalling_server_and_comes_back_to_the_next() {
    let mut door = Listening::start("--door 0");
    let (port, at) = (door.at.rsplit(':').next().unwrap().trim_end_matches('/').to_owned(), door.at.clone());
    let (one, other) = (Listening::start(&at), Listening::start(&at));
    soon("three members", Duration::from_secs(10), || each_sees(2, &[&one], &at));
    door.process.signal("-KILL");
    door.process.end();
    one.process.remark("signalling-lost");
    other.process.remark("signalling-lost");

    let next = Listening::start(&format!("--door {port}"));
    one.process.remark("signalling-connected");
    other.process.remark("signalling-connected");
    // Nobody was registered when the next one came, so it founded a ring of its own. The two become one.
    soon("one ring", Duration::from_secs(60), || each_sees(2, &[&one, &other, &next], &at));
    let said = run_with(&format!("dial {}{at}", one.id), "still there?");
    assert_eq!(said.text(), "still there?");
}
