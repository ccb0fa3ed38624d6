//! The program as people and scripts meet it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn sim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sim"))
}

#[test]
fn a_bad_scenario_ends_with_2_before_anything_runs() {
    let output = sim().args(["hops", "--nodes", "8"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("error: --links: 16 links are more than 8 nodes"), "{error}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_check_that_cannot_be_done_ends_with_2_before_anything_runs() {
    for (words, told) in [
        (&["check", "--seeds", "0"][..], "--seeds is at least 1"),
        (&["check", "--seeds", "1", "--csv"], "a check has no table and no plot"),
        (&["check", "--file", "no-such-file.toml"], "no-such-file.toml"),
        (&["model", "--nodes", "0"], "a model has 1 to 6 nodes"),
    ] {
        let output = sim().args(words).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with("error: ") && error.contains(told), "{words:?}: {error}");
        assert!(output.stdout.is_empty(), "{words:?}: {output:?}");
    }
}

#[test]
fn a_report_can_be_repeated_from_its_output() {
    let words = ["hops", "--nodes", "40", "--lookups", "200", "--settle", "5s", "--seed", "5", "--json"];
    let run = |words: &[&str]| {
        let output = sim().args(words).output().expect("the program starts");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("one JSON object")
    };
    let first = run(&words);
    let repeat = first["repeat"].as_str().expect("the command").to_owned() + " --json";
    let words: Vec<&str> = repeat.split(' ').skip(1).collect();
    let second = run(&words);
    assert_eq!(first["rows"], second["rows"], "{repeat}");
    assert_eq!(first["rows"][0]["delivered"], 100.0, "{first}");
}

/// Interrupts as a terminal does.
#[cfg(unix)]
#[test]
fn an_interrupted_run_gives_what_it_has_and_ends_with_130() {
    let mut child = sim()
        .args(["churn", "--nodes", "50", "--duration", "10d", "--rate", "0.1", "--json", "--progress"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line of progress");
    assert!(line.contains("% done"), "{line}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("the child still runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["interrupted"], true);
    assert!(report["rows"][0]["lookups"].as_f64() > Some(0.0), "{report}");
}
