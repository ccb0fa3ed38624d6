//! Real processes, to be killed without a warning.

use std::process::Stdio;
use std::time::Duration;

use atoll::Id;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long an answer of a process may take.
const ANSWER: Duration = Duration::from_secs(40);

/// A running `test-node`. Killed when dropped.
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// The first thing that it said.
    pub greeting: Value,
}

impl Process {
    /// Starts the program with these arguments and waits for its first line.
    pub async fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut process = Process { child, stdin, answers, greeting: Value::Null };
        process.greeting = process.answer().await;
        process
    }

    /// The id of a node.
    pub fn id(&self) -> Id {
        self.greeting["id"].as_str().and_then(|id| id.parse().ok()).expect("a node says its id")
    }

    /// Gives a command without waiting for the answer.
    pub async fn tell(&mut self, command: &str) {
        self.stdin.write_all(format!("{command}\n").as_bytes()).await.expect("the process lives");
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Value {
        let line = tokio::time::timeout(ANSWER, self.answers.next_line()).await.expect("an answer in time");
        let line = line.expect("the process lives").expect("the process has not ended");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not an answer: {line}"))
    }

    /// Gives a command and waits for the answer.
    pub async fn ask(&mut self, command: &str) -> Value {
        self.tell(command).await;
        self.answer().await
    }

    /// Has a node stream to a peer, and waits until it flows.
    pub async fn stream(&mut self, verb: &str, to: Id) {
        let answer = self.ask(&format!("{verb} {to}")).await;
        assert_eq!(answer["flows"], true, "no stream: {answer}");
    }

    /// `kill -9`: no farewell.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it was running");
    }
}
