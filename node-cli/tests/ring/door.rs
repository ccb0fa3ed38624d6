//! The daemon's door, and what hostile programs find there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::{Daemon, Up, run, soon, text};

/// How long an answer may take.
const STUCK: Duration = Duration::from_secs(30);

struct Program {
    from: BufReader<UnixStream>,
    to: UnixStream,
}

impl Program {
    fn silent(daemon: &Daemon) -> Self {
        let to = UnixStream::connect(daemon.socket()).unwrap();
        to.set_read_timeout(Some(STUCK)).unwrap();
        Program { from: BufReader::new(to.try_clone().unwrap()), to }
    }

    /// One that has said hello.
    fn attach(daemon: &Daemon, name: &str) -> Self {
        let mut program = Self::silent(daemon);
        program.say(&json!({ "type": "hello", "name": name, "init": true }));
        let hello = program.hear();
        assert_eq!((&hello["type"], &hello["info"]["hash"]), (&json!("hello"), &json!(daemon.id)), "{hello}");
        program
    }

    fn say(&mut self, message: &Value) {
        self.write(&format!("{message}\n"));
    }

    fn write(&mut self, line: &str) {
        self.to.write_all(line.as_bytes()).unwrap();
    }

    /// The next message; `null` at the end.
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_default()
    }

    /// The next message of this type; others are passed over.
    fn hear_a(&mut self, kind: &str) -> Value {
        loop {
            let said = self.hear();
            assert_ne!(said, Value::Null, "it ended without a {kind}");
            if said["type"] == kind {
                return said;
            }
        }
    }

    fn ask(&mut self, message: Value) -> Value {
        self.say(&message);
        self.hear()
    }

    /// It is served as if nothing had happened.
    #[track_caller]
    fn is_served(&mut self) {
        let list = self.ask(json!({ "type": "list", "uid": 1_000_000 }));
        assert_eq!((&list["status"], &list["uid"]), (&json!("ok"), &json!(1_000_000)), "{list}");
    }
}

#[test]
fn what_is_wrong_gets_a_clear_error_and_hurts_nobody() {
    let up = Up::start(1, "");
    let daemon = Daemon::start(&up.at, "");
    assert_eq!(std::fs::metadata(daemon.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    let mut neighbour = Program::attach(&daemon, "Neighbour");
    let mut program = Program::attach(&daemon, "Test");

    program.write("GET / HTTP/1.1\n");
    let said = program.hear();
    assert_eq!((&said["type"], &said["error"]["kind"]), (&json!("error"), &json!("malformed")), "{said}");
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    program.write(&format!("{{\"type\":\"call\",\"uid\":1,\"name\":\"S\",\"fun\":\"f\",\"args\":[{open}{close}]}}\n"));
    let said = program.hear();
    assert_eq!((&said["uid"], &said["error"]["kind"]), (&json!(1), &json!("too-large")), "{said}");
    for (message, kind) in [
        (json!({ "type": "dance", "uid": 2 }), "malformed"),
        (json!({ "type": "response", "status": "ok", "uid": 77 }), "malformed"),
        (json!({ "type": "provide", "uid": 2, "body": { "f": "$x" } }), "malformed"),
        (json!({ "type": "provide", "uid": 2, "body": { "a.b": 1 } }), "bad-name"),
        (json!({ "type": "call", "uid": 2, "fun": "$99" }), "no-such-function"),
        (json!({ "type": "call", "uid": 2, "scope": "nobody" }), "no-such-function"),
        (json!({ "type": "handle", "uid": 2, "scope": "s" }), "malformed"),
        (json!({ "type": "handle", "uid": 2, "scope": "s", "fun": "f" }), "malformed"),
        (json!({ "type": "handle", "uid": 2, "scope": "s.t", "fun": "$0" }), "bad-name"),
        (json!({ "type": "handle", "uid": 2, "scope": "sea:nearest", "fun": "$0" }), "name-taken"),
        (json!({ "type": "unhandle", "uid": 2, "scope": "s" }), "no-such-service"),
        (json!({ "type": "claim", "uid": 2, "name": "No Name" }), "bad-name"),
        (json!({ "type": "unclaim", "uid": 2, "name": "nobody" }), "bad-name"),
        (json!({ "type": "publish", "uid": 2, "channel": "c" }), "malformed"),
        (json!({ "type": "publish", "uid": 2, "channel": "c", "payload": 7 }), "malformed"),
        (json!({ "type": "publish", "uid": 2, "channel": "c", "payload": "x".repeat(16_000) }), "too-large"),
        (json!({ "type": "publish", "uid": 2, "channel": "c", "scope": "\0", "payload": "" }), "wrong-arguments"),
        (json!({ "type": "subscribe", "uid": 2, "channel": "c", "secret": "short" }), "wrong-arguments"),
        (json!({ "type": "leave", "uid": 2, "channel": "d" }), "closed"),
        (json!({ "type": "hello", "name": "Again" }), "malformed"),
    ] {
        program.say(&message);
        let mut said = program.hear();
        // What was not taken is released.
        while said["type"] == "release" {
            said = program.hear();
        }
        assert_eq!(said["error"]["kind"], kind, "{message}: {said}");
    }
    assert_eq!(program.ask(json!({ "type": "provide", "uid": 3, "body": { "a": "$$0" } }))["status"], "ok");
    let said = neighbour.ask(json!({ "type": "provide", "name": "Test", "uid": 3, "body": {} }));
    assert_eq!(said["error"]["kind"], "name-taken", "{said}");
    let said = neighbour.ask(json!({ "type": "get", "name": "Test", "path": "a", "uid": 4 }));
    assert_eq!(said["ret"], "$$0", "{said}");

    // 50 MB in one line: the last that this program said.
    let mut loud = Program::attach(&daemon, "Loud");
    let _ = loud.to.write_all(&vec![b'x'; 50_000_000]);
    let mut rest = String::new();
    let _ = loud.from.read_to_string(&mut rest);
    assert!(rest.is_empty() || rest.contains("too-large"), "{rest}");
    let said = Program::silent(&daemon).ask(json!({ "type": "list", "uid": 1 }));
    assert_eq!(said["error"]["kind"], "hello-first", "{said}");

    program.is_served();
    drop(program);
    soon("the service goes with its program", STUCK, || {
        neighbour.ask(json!({ "type": "get", "name": "Test", "uid": 5 }))["error"]["kind"] == "no-such-service"
    });
    neighbour.is_served();
}

#[test]
fn streams_that_a_program_does_not_take_hold_up_no_other() {
    let up = Up::start(2, "");
    let (here, there) = (Daemon::start(&up.at, ""), Daemon::start(&up.at, ""));
    let mut provider = Program::attach(&there, "Service");
    provider.ask(json!({ "type": "provide", "uid": 1, "body": { "many": "$0", "echo": "$1" } }));
    let (mut idle, mut busy) = (Program::attach(&here, "Idle"), Program::attach(&here, "Busy"));
    soon("the peer is found", STUCK, || {
        busy.ask(json!({ "type": "remote", "remote": there.id, "uid": 1 }))["status"] == "ok"
    });
    // As much of each stream as a session may have on its way, and of all together far more.
    let large = "x".repeat(2 << 20);
    let mut given = Vec::new();
    for uid in 1..=4 {
        let many = json!({ "type": "call", "remote": there.id, "name": "Service", "fun": "many", "uid": uid });
        let mut stream = many.as_object().unwrap().clone();
        stream.extend([("stream".to_owned(), json!(true)), ("window".to_owned(), json!(1))]);
        idle.say(&stream.into());
        let call = provider.hear_a("call");
        for _ in 0..3 {
            provider.say(&json!({ "type": "item", "uid": call["uid"], "value": large }));
        }
        given.push(call["uid"].clone());
    }
    for _ in &given {
        assert_eq!(text(&idle.hear_a("item")["value"]).len(), large.len());
    }
    busy.say(&json!({ "type": "call", "remote": there.id, "name": "Service", "fun": "echo", "uid": 2 }));
    let call = provider.hear_a("call");
    provider.say(&json!({ "type": "response", "status": "ok", "uid": call["uid"], "ret": large }));
    let said = busy.hear();
    assert_eq!((&said["status"], said["ret"].as_str().map(str::len)), (&json!("ok"), Some(large.len())));
    // What was left is there when it is asked for.
    for uid in 1..=4 {
        idle.say(&json!({ "type": "more", "uid": uid, "count": 2 }));
    }
    for _ in 0..2 * given.len() {
        assert_eq!(text(&idle.hear_a("item")["value"]).len(), large.len());
    }
}

#[test]
fn functions_go_from_program_to_program() {
    let up = Up::start(1, "");
    let daemon = Daemon::start(&up.at, "");
    let (mut provider, mut user) = (Program::attach(&daemon, "Service"), Program::attach(&daemon, "User"));
    provider.ask(json!({ "type": "provide", "uid": 1, "body": { "a": 1, "deep": { "adder": "$0" } } }));
    let service = user.ask(json!({ "type": "service", "name": "Service", "uid": 1 }));
    assert_eq!(service["body"]["a"], 1, "{service}");
    let fun = text(&service["body"]["deep"]["adder"]);

    user.say(&json!({ "type": "call", "fun": fun, "args": [40], "uid": 2 }));
    let call = provider.hear();
    assert_eq!(
        (&call["fun"], &call["args"], &call["path"]),
        (&json!("$0"), &json!([40]), &json!("deep.adder")),
        "{call}"
    );
    provider.say(&json!({ "type": "response", "status": "ok", "uid": call["uid"], "ret": "$7" }));
    let add = text(&user.hear()["ret"]);
    user.say(&json!({ "type": "call", "fun": add, "args": [2], "uid": 3 }));
    let call = provider.hear();
    assert_eq!((&call["fun"], &call["args"]), (&json!("$7"), &json!([2])), "{call}");
    let error = json!({ "message": "no such luck", "data": { "code": 7 } });
    provider.say(&json!({ "type": "response", "status": "error", "uid": call["uid"], "error": error }));
    let said = user.hear();
    assert_eq!((&said["error"]["kind"], &said["error"]["data"]), (&json!("failed"), &json!({ "code": 7 })), "{said}");
    user.say(&json!({ "type": "release", "funs": [add] }));
    assert_eq!(provider.hear(), json!({ "type": "release", "funs": ["$7"] }));

    // Given up: the provider hears of it.
    user.say(&json!({ "type": "call", "name": "Service", "fun": "deep.adder", "uid": 4 }));
    let call = provider.hear();
    let ended = user.ask(json!({ "type": "cancel", "uid": 4 }));
    assert_eq!((&ended["type"], &ended["error"]["kind"]), (&json!("end"), &json!("cancelled")), "{ended}");
    assert_eq!(provider.hear(), json!({ "type": "cancel", "uid": call["uid"] }));
}

#[test]
fn a_program_gives_and_takes_many_results_of_one_call() {
    let up = Up::start(1, "");
    let daemon = Daemon::start(&up.at, "");
    let (mut provider, mut user) = (Program::attach(&daemon, "Service"), Program::attach(&daemon, "User"));
    provider.ask(json!({ "type": "provide", "uid": 1, "body": { "count": "$0" } }));
    let begin = |user: &mut Program, provider: &mut Program, uid: u64, window: u64| {
        let call = json!({
            "type": "call", "name": "Service", "fun": "count", "args": [], "uid": uid, "stream": true, "window": window,
        });
        user.say(&call);
        provider.hear_a("call")
    };
    let call = begin(&mut user, &mut provider, 1, 1);
    let window = call["window"].as_u64().unwrap();
    for n in 0..window {
        provider.say(&json!({ "type": "item", "uid": call["uid"], "value": n }));
    }
    assert_eq!(user.hear()["status"], "ok");
    assert_eq!(user.hear(), json!({ "type": "item", "uid": 1, "value": 0 }));
    // Neither takes more than it was allowed: the user's next message is the answer to this.
    user.is_served();
    user.say(&json!({ "type": "more", "uid": 1, "count": window }));
    for n in 1..window {
        assert_eq!(user.hear(), json!({ "type": "item", "uid": 1, "value": n }));
    }
    assert_eq!(provider.hear_a("more")["uid"], call["uid"]);
    provider.say(&json!({ "type": "end", "uid": call["uid"], "error": { "kind": "refused", "message": "enough" } }));
    let end = user.hear();
    assert_eq!((&end["type"], &end["error"]["kind"]), (&json!("end"), &json!("refused")), "{end}");

    // One that gives more than it was asked for has given its last.
    let call = begin(&mut user, &mut provider, 2, 1);
    for n in 0..2 * window + 2 {
        provider.say(&json!({ "type": "item", "uid": call["uid"], "value": n }));
    }
    assert_eq!(provider.hear_a("cancel")["uid"], call["uid"]);
    assert_eq!(user.hear()["status"], "ok");
    user.say(&json!({ "type": "more", "uid": 2, "count": 1000 }));
    assert_eq!(user.hear_a("end")["error"]["kind"], "too-many");

    // Nobody wants more: the program is told. Asked for one result, the user gets them all in a list.
    let call = begin(&mut user, &mut provider, 3, 1);
    provider.say(&json!({ "type": "item", "uid": call["uid"], "value": 1 }));
    user.say(&json!({ "type": "cancel", "uid": 3 }));
    assert_eq!(provider.hear(), json!({ "type": "cancel", "uid": call["uid"] }));
    user.hear_a("end");
    user.say(&json!({ "type": "call", "name": "Service", "fun": "count", "uid": 4 }));
    let call = provider.hear();
    for n in 0..2 {
        provider.say(&json!({ "type": "item", "uid": call["uid"], "value": n }));
    }
    provider.say(&json!({ "type": "end", "uid": call["uid"] }));
    let all = user.hear();
    assert_eq!(all["ret"], json!([0, 1]), "{all}");

    // What is no value fails the call at once.
    user.say(&json!({ "type": "call", "name": "Service", "fun": "count", "uid": 5 }));
    let call = provider.hear();
    provider.say(&json!({ "type": "response", "status": "ok", "uid": call["uid"], "ret": "$x" }));
    assert_eq!(user.hear()["error"]["kind"], "failed");
    provider.is_served();
    user.is_served();
}

#[test]
fn results_that_wait_for_a_slow_program_are_bounded() {
    let up = Up::start(1, "");
    let daemon = Daemon::start(&up.at, "");
    let mut neighbour = Program::attach(&daemon, "Neighbour");
    let body = json!({ "large": "x".repeat(7 << 20) });
    assert_eq!(neighbour.ask(json!({ "type": "provide", "uid": 1, "body": body }))["status"], "ok");
    let mut slow = Program::attach(&daemon, "Slow");
    let asked = 100;
    for uid in 0..asked {
        slow.say(&json!({ "type": "get", "name": "Neighbour", "path": "large", "uid": uid }));
    }
    // Sent last, and answered when all others are waiting or refused.
    neighbour.is_served();
    let (mut got, mut refused) = (0, 0);
    for _ in 0..asked {
        match slow.hear() {
            said if said["status"] == "ok" => got += 1,
            said if said["error"]["kind"] == "too-many" => refused += 1,
            said => panic!("{said}"),
        }
    }
    assert!(got >= 8 && refused > 0, "{got} were answered, {refused} refused");
    slow.is_served();
}

#[test]
fn a_program_that_does_not_read_is_cut_off_alone() {
    let up = Up::start(1, "");
    let daemon = Daemon::start(&up.at, "");
    let mut neighbour = Program::attach(&daemon, "Neighbour");
    let body = json!({ "large": "x".repeat(4 << 20) });
    assert_eq!(neighbour.ask(json!({ "type": "provide", "uid": 1, "body": body }))["status"], "ok");
    let mut slow = Program::attach(&daemon, "Slow");
    for uid in 0..100 {
        slow.say(&json!({ "type": "get", "name": "Neighbour", "path": "large", "uid": uid }));
    }
    neighbour.is_served();
    let gone = daemon.process.remark("program-gone");
    assert_eq!(gone["name"], "Slow", "{gone}");
    assert!(text(&gone["reason"]).contains("it read nothing for"), "{gone}");
    neighbour.is_served();
}

#[test]
fn one_daemon_has_a_socket_and_one_that_was_killed_leaves_it_to_the_next() {
    let up = Up::start(1, "");
    let mut daemon = Daemon::start(&up.at, "");
    let second = run(&format!("daemon{}{}", daemon.at, up.at));
    assert_eq!((second.code, second.stderr.contains("a daemon runs at")), (Some(1), true), "{second:?}");
    daemon.process.signal("-KILL");
    daemon.process.end();
    let mut next = crate::support::Process::start(&format!("daemon --json{}{}", daemon.at, up.at));
    next.event("daemon");
    next.signal("-INT");
    assert_eq!(next.end().code(), Some(0));
    assert!(!std::path::Path::new(&daemon.socket()).exists());
}

#[test]
fn the_websocket_wants_the_token() {
    let up = Up::start(1, "");
    let daemon = Daemon::start(&up.at, "--websocket 0");
    let url = text(&daemon.event["websocket"]);
    let token = std::fs::read_to_string(text(&daemon.event["token_file"])).unwrap();
    let address = url.trim_start_matches("ws://").trim_end_matches('/').to_owned();
    let open = |query: &str| {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(STUCK)).unwrap();
        tungstenite::client(format!("{url}{query}"), stream)
            .map(|(socket, _)| socket)
            .map_err(|error| format!("{error:?}"))
    };
    for query in ["", "?token=", "?token=0000000000000000000000000000000000000000000000000"] {
        let refused = open(query).map(|_| ()).unwrap_err();
        assert!(refused.contains("401"), "{query}: {refused}");
    }
    let mut socket = open(&format!("?token={}", token.trim())).unwrap();
    socket.send(Message::text(r#"{"type":"hello","name":"Web"}"#)).unwrap();
    let hello: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(hello["info"]["hash"], daemon.id, "{hello}");
    let outside = run(&format!("daemon --websocket 0.0.0.0:0 --socket {}.2{}", daemon.socket(), up.at));
    assert_eq!((outside.code, outside.stderr.contains("is not loopback")), (Some(1), true), "{outside:?}");
}
