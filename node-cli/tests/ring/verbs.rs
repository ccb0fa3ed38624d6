//! Each verb does what it says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::support::{Listening, Place, Process, Up, run, run_with, text};

#[test]
fn up_is_one_ring_that_the_other_verbs_find() {
    let mut up = Up::start(5, "");
    let (at, ids) = (up.at.clone(), up.ids.clone());
    assert_eq!(ids.len(), 5);

    for id in &ids {
        assert_eq!(run_with(&format!("dial {id}{at}"), "hello\nring\n").text(), "hello\nring\n");
    }
    let mut sorted = ids.clone();
    sorted.sort();

    let status = run(&format!("status --json{at}")).json();
    assert_eq!((status.len(), &status[0]["phase"]), (1, &"member".into()));
    assert!(ids.contains(&text(&status[0]["id"])), "{status:?}");
    let status = run(&format!("status {} --json{at}", sorted[0])).json();
    assert_eq!(text(&status[0]["id"]), sorted[0]);
    assert_eq!(text(&status[0]["successors"][0]), sorted[1], "{status:?}");
    assert!(run(&format!("status{at}")).text().contains("about 5 nodes"));

    let fingers = run(&format!("fingers {} --json{at}", sorted[0])).json();
    assert!(!fingers.is_empty() && fingers.iter().all(|finger| finger["node"] == sorted[0].as_str()), "{fingers:?}");

    let found = run(&format!("lookup {} --json{at}", sorted[2])).json();
    assert_eq!((text(&found[0]["owner"]), text(&found[0]["key"])), (sorted[2].clone(), sorted[2].clone()));
    let found = run(&format!("lookup abc --json{at}")).json();
    let owner = sorted.iter().find(|id| id.as_str() >= "a9993e364706").unwrap_or(&sorted[0]);
    assert_eq!((text(&found[0]["owner"]), text(&found[0]["text"])), (owner.clone(), "abc".to_owned()));

    let hops = run(&format!("trace {} --json{at}", sorted[3])).json();
    assert_eq!(text(&hops.last().unwrap()["id"]), sorted[3], "{hops:?}");
    assert!(hops.iter().all(|hop| hop["rtt_ms"].as_f64().is_some_and(|time| time > 0.0)), "{hops:?}");

    up.process.signal("-INT");
    assert_eq!(up.process.event("left")["nodes"], 5);
    assert_eq!(up.process.end().code(), Some(0));
}

#[test]
fn a_peer_with_a_name_is_found_by_it() {
    let up = Up::start(3, "--name @first");
    let named = Process::start(&format!("listen --json --name alice{}", up.at));
    let id = text(&named.event("listening")["id"]);
    for (name, id) in [("@alice", &id), ("@first", &up.ids[0])] {
        assert_eq!(run_with(&format!("dial {name}{}", up.at), "hello").text(), "hello");
        assert_eq!(&text(&run(&format!("status {name} --json{}", up.at)).json()[0]["id"]), id);
        assert_eq!(&text(&run(&format!("trace {name} --json{}", up.at)).json().last().unwrap()["id"]), id);
    }
    let nobody = run(&format!("dial @nobody{}", up.at));
    assert_eq!(
        (nobody.code, nobody.stderr.contains("no node on the ring holds this name")),
        (Some(1), true),
        "{nobody:?}"
    );
    let taken = run(&format!("listen --name alice{}", up.at));
    assert_eq!((taken.code, taken.stderr.contains("another node holds it")), (Some(9), true), "{taken:?}");
    let word = run(&format!("dial alice{}", up.at));
    assert_eq!((word.code, word.stderr.contains("a name begins with @")), (Some(2), true), "{word:?}");
}

#[test]
fn up_tells_people_what_to_type_next() {
    let up = Process::start("up --door 0 --nodes 2");
    let url = up.line().strip_prefix("signalling server ").expect("the server first").to_owned();
    let command = std::iter::repeat_with(|| up.line()).find(|line| line.contains(" dial ")).unwrap();
    let (program, words) = command.split_once(' ').unwrap();
    assert_eq!((program, words.ends_with(&url)), (env!("CARGO_BIN_EXE_node-cli"), true), "{command}");
    assert_eq!(run_with(words, "typed").text(), "typed");
}

#[test]
fn bench_shows_its_figures_beside_those_of_a_raw_channel() {
    let up = Up::start(3, "");
    let figures = run(&format!("bench {} --json{}", up.ids[0], up.at)).json();
    let names: Vec<String> = figures.iter().map(|figure| text(&figure["figure"])).collect();
    assert_eq!(names, ["hops", "latency-p50", "latency-p99", "messages", "throughput"]);
    for figure in &figures[1..] {
        for number in ["value", "raw", "ratio"] {
            assert!(figure[number].as_f64().is_some_and(|number| number > 0.0), "{figure}");
        }
    }
}

#[test]
fn a_pipe_carries_both_ways_and_ends_when_both_sides_have_ended() {
    let door = Listening::start("--door 0");
    let mut listening = Process::start(&format!("listen --pipe --json{}", door.at));
    let id = text(&listening.remark("listening")["id"]);
    let mut dialling = Process::start(&format!("dial {id}{}", door.at));
    let (mut near, mut far) = (dialling.stdin(), listening.stdin());

    near.write_all(b"question\n").unwrap();
    assert_eq!(listening.line(), "question");
    // The end of one direction does not end the other.
    drop(near);
    far.write_all(b"answer\n").unwrap();
    assert_eq!(dialling.line(), "answer");
    far.write_all(b"and more\n").unwrap();
    assert_eq!(dialling.line(), "and more");
    drop(far);
    assert_eq!((dialling.end().code(), listening.end().code()), (Some(0), Some(0)));
}

#[test]
fn a_large_input_comes_back_whole() {
    let up = Up::start(3, "");
    let input: String = (0..300_000).map(|line| format!("{line}\n")).collect();
    let back = run_with(&format!("dial {}{}", up.ids[1], up.at), &input);
    assert!(back.text() == input, "{} of {} bytes came back", back.stdout.len(), input.len());
}

#[test]
fn a_tcp_port_is_forwarded_from_one_end_of_the_ring_to_the_other() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in service.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut said = String::new();
                stream.read_to_string(&mut said).unwrap();
                write!(stream, "you said {said}").unwrap();
            });
        }
    });
    let listening = Listening::start(&format!("--door 0 --tcp {port}"));
    let mut dialling = Process::start(&format!("dial {} --tcp 0 --json{}", listening.id, listening.at));
    let address = text(&dialling.event("forwarding")["address"]);
    for said in ["one", "two", "three"] {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("you said {said}"));
    }
    dialling.signal("-INT");
    assert_eq!(dialling.end().code(), Some(0), "a forwarder has no other end");
}

#[test]
fn a_node_keeps_the_id_of_its_key_file_and_listen_prints_it_first() {
    let place = Place::new();
    let (key, passphrase) = (place.path("node.key"), place.file("passphrase", "horse battery\n"));
    let created = run(&format!("key create {key} --passphrase-file {passphrase} --json")).json();
    let listening = Process::start(&format!("listen --door 0 --key {key} --passphrase-file {passphrase}"));
    assert_eq!(listening.line(), text(&created[0]["id"]));
}
