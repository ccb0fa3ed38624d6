//! Processes of `node-cli` for the tests: what they print is awaited, and they end with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before it counts as stuck.
const STUCK: Duration = Duration::from_secs(30);

/// Lines that nobody has read yet, at most.
const LINES: usize = 1000;

/// How often a condition without an event of its own is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An empty directory. It goes when the test does.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("atoll-ring-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Place(path)
    }

    /// Writes a file and gives its path as a word of a command line.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        std::fs::write(self.0.join(name), content).unwrap();
        self.path(name)
    }

    /// Writes a program for the shell.
    pub(crate) fn script(&self, name: &str, content: &str) -> String {
        let path = self.file(name, content);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node-cli"));
    // Not in the repository, where somebody may keep settings.
    command.args(words.split_whitespace()).current_dir(std::env::temp_dir()).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that goes on until it is told to end.
pub(crate) struct Process {
    words: String,
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Process {
    pub(crate) fn start(words: &str) -> Self {
        Self::new(words, command(words).spawn().unwrap())
    }

    /// Another program; `None` if it is not on this machine.
    pub(crate) fn of(program: &str, words: &[&str]) -> Option<Self> {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match command.spawn() {
            Ok(child) => Some(Self::new(&format!("({program})"), child)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("no {program}: skipped");
                None
            }
            Err(error) => panic!("{program}: {error}"),
        }
    }

    fn new(words: &str, mut child: Child) -> Self {
        let (stdout, stderr) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Process { words: words.to_owned(), child, stdout, stderr }
    }

    /// Gives it a line.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next object on standard output that is this event.
    #[track_caller]
    pub(crate) fn event(&self, name: &str) -> Value {
        self.next(&self.stdout, name)
    }

    /// The next object on standard error that is this event.
    #[track_caller]
    pub(crate) fn remark(&self, name: &str) -> Value {
        self.next(&self.stderr, name)
    }

    /// The next line on standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.stdout.recv_timeout(STUCK).unwrap_or_else(|_| panic!("node-cli {} printed no line", self.words))
    }

    #[track_caller]
    fn next(&self, lines: &Receiver<String>, name: &str) -> Value {
        let (deadline, mut seen) = (Instant::now() + STUCK, Vec::new());
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match serde_json::from_str::<Value>(&line) {
                    Ok(object) if object["event"] == name => return object,
                    _ => seen.push(line),
                },
                Err(RecvTimeoutError::Timeout) => panic!("node-cli {}: no {name} but {seen:#?}", self.words),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!(
                        "node-cli {} ended without {name}: {seen:#?} {:?}",
                        self.words,
                        self.stderr.iter().collect::<Vec<_>>()
                    )
                }
            }
        }
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Sends a signal, as `kill` does.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + STUCK;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "node-cli {} does not end", self.words);
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES);
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) words: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) time: Duration,
}

/// Runs a command to its end, with this on standard input.
pub(crate) fn run_with(words: &str, input: &str) -> Finished {
    let begun = Instant::now();
    let mut child = command(words).spawn().unwrap();
    // One that fails at once does not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Finished {
        words: words.to_owned(),
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        time: begun.elapsed(),
    }
}

pub(crate) fn run(words: &str) -> Finished {
    run_with(words, "")
}

impl Finished {
    /// It ended well; what it printed.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "node-cli {}: {}", self.words, self.stderr);
        &self.stdout
    }

    /// It ended well; what it printed, one JSON value a line.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Tries again until it is so.
#[track_caller]
pub(crate) fn soon(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(LOOK_EVERY);
    }
    begun.elapsed()
}

/// `node-cli up` on a port of its own, once it is one ring.
pub(crate) struct Up {
    pub(crate) process: Process,
    /// ` --signalling URL`, for the commands that are to find it.
    pub(crate) at: String,
    pub(crate) ids: Vec<String>,
}

impl Up {
    pub(crate) fn start(nodes: usize, words: &str) -> Self {
        let process = Process::start(&format!("up --json --door 0 --nodes {nodes} {words}"));
        let url = text(&process.event("signalling")["url"]);
        let ring = process.event("ring");
        let ids = ring["nodes"].as_array().unwrap().iter().map(text).collect();
        Up { process, at: format!(" --signalling {url}"), ids }
    }
}

/// A process that listens, with its id and where it is to be found.
pub(crate) struct Listening {
    pub(crate) process: Process,
    pub(crate) id: String,
    pub(crate) at: String,
}

impl Listening {
    pub(crate) fn start(words: &str) -> Self {
        let process = Process::start(&format!("listen --json {words}"));
        let event = process.event("listening");
        let url = text(&event["signalling"][0]);
        Listening { process, id: text(&event["id"]), at: format!(" --signalling {url}") }
    }
}

/// A daemon of the ring at `at`, with its socket in a place of its own.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) id: String,
    /// ` --socket FILE`, for the commands that are to use it.
    pub(crate) at: String,
    pub(crate) event: Value,
    _place: Place,
}

impl Daemon {
    pub(crate) fn start(at: &str, words: &str) -> Self {
        let place = Place::new();
        let socket = place.path("daemon.sock");
        let process = Process::start(&format!("daemon --json --socket {socket}{at} {words}"));
        let event = process.event("daemon");
        Daemon { process, id: text(&event["id"]), at: format!(" --socket {socket}"), event, _place: place }
    }

    pub(crate) fn socket(&self) -> String {
        text(&self.event["socket"])
    }
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
