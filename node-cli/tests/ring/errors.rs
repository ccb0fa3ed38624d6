//! What goes wrong is told in one line, with an exit code, before anybody loses patience.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Finished, Listening, Place, Up, run, text};

/// How long an error may take at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// It ends with this code, one line that holds `said`, and soon.
#[track_caller]
fn fails(finished: &Finished, code: i32, said: &str) {
    let Finished { words, stderr, stdout, time, .. } = finished;
    assert_eq!(finished.code, Some(code), "node-cli {words}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "node-cli {words} did not fail in one line: {stderr}");
    assert!(stderr.contains(said), "node-cli {words} did not say {said:?}: {stderr}");
    assert_eq!(stdout, "", "node-cli {words}");
    assert!(*time < PATIENCE, "node-cli {words} took {time:?} to fail");
}

const NOBODY: &str = "00f3a1b2c4d5";

#[test]
fn an_id_that_nobody_holds_is_told() {
    let up = Up::start(3, "");
    let at = &up.at;
    let said = "no node on the ring holds this id";
    fails(&run(&format!("dial {NOBODY}{at}")), 1, said);
    fails(&run(&format!("dial {NOBODY} --tcp 0{at}")), 1, said);
    fails(&run(&format!("status {NOBODY}{at}")), 1, said);
    fails(&run(&format!("fingers {NOBODY}{at}")), 1, said);
    fails(&run(&format!("trace {NOBODY}{at}")), 1, "no node holds this id");
    fails(&run(&format!("bench {NOBODY}{at}")), 1, "no node holds this id");
    let error: Value = serde_json::from_str(&run(&format!("dial {NOBODY} --json{at}")).stderr).unwrap();
    assert!(text(&error["error"]).contains(said), "{error}");
}

#[test]
fn a_node_does_not_dial_itself_nor_disturbs_the_one_that_has_its_key() {
    let place = Place::new();
    let key = place.path("node.key");
    run(&format!("key create {key}")).text();
    let listening = Listening::start(&format!("--door 0 --key {key}"));
    let (id, at) = (&listening.id, &listening.at);
    for verb in ["dial", "trace", "bench", "status"] {
        fails(&run(&format!("{verb} {id} --key {key}{at}")), 1, "is this node's own id");
    }
    assert_eq!(run(&format!("dial {id}{at}")).text(), "");
}

#[test]
fn a_malformed_id_is_a_usage_error() {
    for verb in ["dial", "trace", "bench", "status", "fingers"] {
        fails(&run(&format!("{verb} 00f3 --json")), 2, "an id is 12 hexadecimal digits, such as 00f3a1b2c4d5");
    }
}

#[test]
fn a_busy_port_is_told_with_the_mend() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    fails(&run(&format!("up --door {port}")), 1, "address in use");
    fails(&run(&format!("up --door {port}")), 1, "for example with --door 9000");
    fails(&run(&format!("listen --door {port}")), 1, "choose another address or stop the program that has it");
    fails(&run(&format!("dial {NOBODY} --tcp {port}")), 1, "choose another port or stop the program that has it");
}

#[test]
fn no_signalling_server_is_told() {
    // Nothing is at the first port; the second one takes connections and never answers.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for verb in ["listen", "status", "fingers", "lookup x", &format!("dial {NOBODY}"), &format!("bench {NOBODY}")] {
        let finished = run(&format!("{verb} --signalling ws://127.0.0.1:{closed}"));
        fails(&finished, 1, "start a ring with node-cli up, or name a server with --signalling URL");
    }
    let silent = format!("--signalling ws://{}", silent.local_addr().unwrap());
    fails(&run(&format!("listen {silent}")), 1, "no signalling server answers");
    fails(&run(&format!("dial {NOBODY} {silent}")), 1, "no signalling server answers");
}

#[test]
fn a_wrong_passphrase_is_told() {
    let place = Place::new();
    let (key, right, wrong) = (place.path("k"), place.file("right", "horse\n"), place.file("wrong", "house\n"));
    run(&format!("key create {key} --passphrase-file {right}")).text();
    let up = Up::start(1, "");
    for verb in ["listen".to_owned(), "up --door 0".to_owned(), format!("dial {NOBODY}{}", up.at)] {
        fails(&run(&format!("{verb} --key {key} --passphrase-file {wrong}")), 1, "wrong passphrase");
        fails(&run(&format!("{verb} --key {key}")), 1, "is encrypted: give its passphrase with --passphrase-file");
    }
}

#[test]
fn a_wrong_secret_or_none_is_told() {
    let place = Place::new();
    let (right, wrong) = (place.file("right", "open sesame\n"), place.file("wrong", "open barley\n"));
    let up = Up::start(3, &format!("--secret-file {right}"));
    let (id, at) = (&up.ids[0], &up.at);
    assert_eq!(run(&format!("dial {id} --secret-file {right}{at}")).text(), "");
    for verb in [format!("dial {id}"), "listen".to_owned()] {
        fails(&run(&format!("{verb} --secret-file {wrong}{at}")), 1, "has not proved the network's secret");
        fails(&run(&format!("{verb}{at}")), 1, "the network has a secret, which this node was not given");
    }
}

#[test]
fn a_network_without_members_is_told() {
    let up = Up::start(1, "");
    let finished = run(&format!("dial {} --network other{}", up.ids[0], up.at));
    fails(&finished, 1, "there may be no members yet, or they may be out of reach");
}
