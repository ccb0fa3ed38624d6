//! Objects on the command line, in Rust and in JavaScript, through daemons and without.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, Place, Process, Up, run, soon, text};

const OBJECT: &str = r#"{"a": "information here", "b": "more information here", "deep": {"x": {"n": 1}}}"#;

/// The client for JavaScript.
const JAVASCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/js");

/// Gives its first argument.
const ECHO: &str = "#!/bin/sh\nsed -e 's/^.//' -e 's/.$//'\n";

/// Provides glou's object, with some functions besides, at this daemon, or as a member of the ring.
fn provide(place: &Place, at: &str) -> (Process, String) {
    let object = place.file("object.json", OBJECT);
    let echo = place.script("echo", ECHO);
    let fails = place.script("fails", "#!/bin/sh\necho no such luck >&2\nexit 1\n");
    let sleeps = place.script("sleeps", &format!("#!/bin/sh\necho $$ >{}\nsleep 1000\n", place.path("pid")));
    let words = format!("--exec echo={echo} --exec deep.x.f={echo} --exec fails={fails} --exec sleeps={sleeps}");
    let process = Process::start(&format!("provide ProviderServiceName {object} {words} --json{at}"));
    let id = text(&process.event("providing")["id"]);
    (process, id)
}

/// What a user sees of it, by commands that reach the ring this way.
fn is_used(id: &str, at: &str) {
    let service = format!("{id} ProviderServiceName");
    // A member that just came is not known to all at once.
    soon("the peer is found", Duration::from_secs(20), || run(&format!("services {id}{at}")).code == Some(0));
    assert_eq!(run(&format!("services {id}{at}")).text(), "ProviderServiceName\n");
    assert_eq!(run(&format!("get {service}.a{at}")).text(), "information here\n");
    assert_eq!(run(&format!("get {service}.deep --json{at}")).json(), [json!({ "x": { "n": 1 } })]);
    assert_eq!(run(&format!("call {service}.echo Hello{at}")).text(), "Hello\n");
    assert_eq!(run(&format!("call {service}.deep.x.f 21{at}")).text(), "21\n");
    assert_eq!(
        run(&format!("call {service}.echo {{\"$a\":[1,\"$$0\",\"$bytes:AAEC\"]}}{at}")).text(),
        "{\"$a\":[1,\"$$0\",\"$bytes:AAEC\"]}\n"
    );
    for (words, code, kind) in [
        (format!("call {service}.fails"), 3, "failed"),
        (format!("call {service}.nothing"), 4, "no-such-function"),
        (format!("get {service}.nothing"), 4, "no-such-value"),
        (format!("get {id} Nothing"), 4, "no-such-service"),
        ("services 00f3a1b2c4d5".to_owned(), 4, "no-such-peer"),
        (format!("call {service}.sleeps --timeout 1"), 6, "timed-out"),
        (format!("call {service}.echo $5"), 8, "malformed"),
    ] {
        let failed = run(&format!("{words} --json{at}"));
        let said: serde_json::Value = serde_json::from_str(&failed.stderr).unwrap_or_default();
        assert_eq!((failed.code, &said["kind"]), (Some(code), &json!(kind)), "{words}: {failed:?}");
    }
}

/// Whether a process runs.
fn lives(pid: &str) -> bool {
    Command::new("kill").args(["-0", pid]).stderr(std::process::Stdio::null()).status().unwrap().success()
}

#[test]
fn glous_example_runs_through_two_daemons_on_the_command_line_and_in_rust() {
    let up = Up::start(4, "");
    let (here, there) = (Daemon::start(&up.at, ""), Daemon::start(&up.at, ""));
    let place = Place::new();
    let (mut provided, id) = provide(&place, &there.at);
    assert_eq!(id, there.id);
    is_used(&id, &here.at);
    // A deadline kills the command, and what it started.
    let pid = std::fs::read_to_string(place.path("pid")).unwrap();
    soon("the command is killed", Duration::from_secs(10), || !lives(pid.trim()));

    let url = up.at.trim().split(' ').next_back().unwrap().to_owned();
    let in_rust = async {
        let node = atoll::Node::builder().signalling(url).start().await.unwrap();
        let service = node.peer(id.as_str()).service("ProviderServiceName").await.unwrap();
        let a: String = service.get("a").await.unwrap();
        let said: String = service.call("echo", ("Hello world!",)).await.unwrap();
        node.close().await;
        (a, said)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(in_rust), ("information here".to_owned(), "Hello world!".to_owned()));

    let watching = Process::start(&format!("watch {id} ProviderServiceName.a{}", here.at));
    assert_eq!(watching.line(), "information here");
    provided.signal("-INT");
    assert_eq!(provided.end().code(), Some(0));
    soon("the service goes with its program", Duration::from_secs(10), || {
        run(&format!("services {id}{}", here.at)).text().is_empty()
    });
}

#[test]
fn without_a_daemon_commands_visit_the_ring_and_providers_join_it() {
    let up = Up::start(3, "");
    let place = Place::new();
    let (mut provided, id) = provide(&place, &up.at);
    is_used(&id, &up.at);
    let mut watching = Process::start(&format!("watch {id} ProviderServiceName.a{}", up.at));
    assert_eq!(watching.line(), "information here");
    watching.signal("-INT");
    assert_eq!(watching.end().code(), Some(0), "it has no other end");
    provided.signal("-INT");
    assert_eq!(provided.end().code(), Some(0));
}

#[test]
fn a_service_is_found_by_the_name_of_its_daemon() {
    let up = Up::start(3, "");
    let (here, there) = (Daemon::start(&up.at, ""), Daemon::start(&up.at, "--name alice"));
    assert_eq!(there.event["name"], "@alice");
    let place = Place::new();
    let (_provided, _) = provide(&place, &there.at);
    is_used("@alice", &here.at);
    is_used("@alice", &up.at);
    let watching = Process::start(&format!("watch @alice ProviderServiceName.a{}", here.at));
    assert_eq!(watching.line(), "information here");
    let nobody = run(&format!("services @nobody --json{}", here.at));
    let said: serde_json::Value = serde_json::from_str(&nobody.stderr).unwrap_or_default();
    assert_eq!((nobody.code, &said["kind"]), (Some(4), &json!("no-such-peer")), "{nobody:?}");
}

/// A scope as a user sees it, by commands that reach the ring this way.
fn a_scope_is_called(id: &str, name: &str, at: &str) {
    soon("the peer is found", Duration::from_secs(20), || run(&format!("services {id}{at}")).code == Some(0));
    assert_eq!(run(&format!("call {name} greet you{at}")).text(), "[\"you\"]\n");
    assert_eq!(run(&format!("call {id} greet --json{at}")).json(), [json!([])]);
    assert_eq!(run(&format!("call {id} greet 1 2 --stream{at}")).text(), "[1,2]\n");
    assert_eq!(run(&format!("call {name} sea:nearest {id}{at}")).text(), format!("{id}\n"));
    // Somebody owns the address of every call.
    let owner = run(&format!("call {id} sea:nearest 0123456789ab{at}")).text().trim().to_owned();
    assert_eq!(run(&format!("call 0123456789ab sea:nearest {owner}{at}")).text(), format!("{owner}\n"));
    let failed = run(&format!("call {id} nobody --json{at}"));
    let said: serde_json::Value = serde_json::from_str(&failed.stderr).unwrap_or_default();
    assert_eq!((failed.code, &said["kind"]), (Some(4), &json!("no-such-function")), "{failed:?}");
}

#[test]
fn scopes_are_handled_and_called_and_a_provider_has_a_name() {
    let up = Up::start(3, "");
    let place = Place::new();
    let same = place.script("same", "#!/bin/sh\ncat\n");
    let daemon = Daemon::start(&up.at, "");
    for (name, provided_at, used_at) in [("dora", &daemon.at, &up.at), ("emma", &up.at, &daemon.at)] {
        let mut provided = Process::start(&format!("provide --handle greet={same} --name {name} --json{provided_at}"));
        let said = provided.event("providing");
        assert_eq!((&said["name"], &said["scopes"]), (&json!(format!("@{name}")), &json!(["greet"])), "{said}");
        a_scope_is_called(&text(&said["id"]), &format!("@{name}"), used_at);
        // Whoever comes second is told at once.
        let second = run(&format!("provide S --name {name} --json{used_at}"));
        let said: serde_json::Value = serde_json::from_str(&second.stderr).unwrap_or_default();
        assert_eq!((second.code, &said["kind"]), (Some(9), &json!("name-taken")), "{second:?}");
        provided.signal("-INT");
        assert_eq!(provided.end().code(), Some(0));
    }
    let nothing = run("provide");
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
}

#[test]
fn a_second_program_by_the_same_name_is_refused() {
    let up = Up::start(1, "");
    let daemon = Daemon::start(&up.at, "");
    let place = Place::new();
    let _first = provide(&place, &daemon.at);
    let second = run(&format!("provide ProviderServiceName --json{}", daemon.at));
    let said: serde_json::Value = serde_json::from_str(&second.stderr).unwrap_or_default();
    assert_eq!((second.code, &said["kind"]), (Some(9), &json!("name-taken")), "{second:?}");
    let none = run("services 00f3a1b2c4d5 --socket /nowhere/daemon.sock");
    assert_eq!((none.code, none.stderr.contains("no daemon runs at")), (Some(1), true), "{none:?}");
}

#[test]
fn the_javascript_client_passes_its_tests() {
    let Some(done) = in_javascript("node", &["--test", "test/client.test.js"]) else { return };
    assert!(done.0, "{}", done.1);
}

#[test]
fn the_types_of_the_javascript_client_are_right() {
    let folder = std::path::Path::new(JAVASCRIPT);
    if !folder.join("node_modules/.bin/tsc").exists() {
        let Some(installed) = in_javascript("npm", &["ci", "--no-audit", "--no-fund"]) else { return };
        assert!(installed.0, "the compiler of TypeScript cannot be installed: {}", installed.1);
    }
    let Some(checked) = in_javascript("npm", &["run", "--silent", "types"]) else { return };
    assert!(checked.0, "{}", checked.1);
}

/// Runs a program in the folder of the client. Gives whether it went well, and what it said; `None` if there is no such program.
fn in_javascript(program: &str, words: &[&str]) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    command.args(words).current_dir(JAVASCRIPT).env("ATOLL_NODE_CLI", env!("CARGO_BIN_EXE_node-cli"));
    match command.output() {
        Ok(done) => {
            let said = [done.stdout, done.stderr].concat();
            Some((done.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("no {program}: skipped");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}
