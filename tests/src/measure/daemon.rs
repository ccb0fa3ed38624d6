//! Two programs that use each other's functions through two daemons: how fast, and what the daemons keep of functions that came and went.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::process::{Memory, memory_of};
use super::report::{Figure, Report};
use super::samples::Samples;
use crate::TestServer;

/// Rounds that count.
const ROUNDS: usize = 4;

/// Calls in a round, one after the other.
const CALLS: usize = 500;

/// Calls in a round with [`IN_FLIGHT`] at once.
const MANY_CALLS: usize = 10_000;

/// Calls under way at once where the rate is measured.
const IN_FLIGHT: usize = 64;

/// Functions that come as results, and are released.
const FUNCTIONS: usize = 10_000;

/// Of them, held at once.
const HELD: usize = 100;

/// How long anything may take before the measurement counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition without an event of its own is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.progress("calls through two daemons");
    let server = TestServer::start().await;
    let place = Place::new()?;
    let [here, there] = [place.daemon("here", &server.url).await?, place.daemon("there", &server.url).await?];
    let mut provider = Program::attach(&there, "Service").await?;
    provider.say(&json!({ "type": "provide", "body": { "echo": "$0", "give": "$1" } })).await?;
    let providing = tokio::spawn(provide(provider));
    let mut user = User { program: Program::attach(&here, "User").await?, peer: there.id.clone(), uid: 0 };
    user.found().await?;

    let (mut times, mut rates) = (Samples::default(), Samples::default());
    for round in 0..=ROUNDS {
        let mut one_by_one = Samples::default();
        for _ in 0..CALLS {
            let begun = Instant::now();
            user.echoes(1, 1).await?;
            one_by_one.push_time(begun.elapsed());
        }
        let rate = user.echoes(MANY_CALLS, IN_FLIGHT).await?;
        // The first warms up.
        if round > 0 {
            times.append(one_by_one);
            rates.push(rate);
        }
    }
    let figure = Figure::new("two daemons: a call of 64 B from program to program, p50", times.median() * 1e6, "µs");
    report.add(figure.with_number("p99_µs", times.percentile(99) * 1e6).with("calls", times.count()));
    let figure = Figure::new(format!("two daemons: calls of 64 B, {IN_FLIGHT} under way"), rates.median(), "a second");
    report.add(figure.with_number("best", rates.max()).with("calls_a_round", MANY_CALLS).with("rounds", ROUNDS));

    report.progress(&format!("{FUNCTIONS} functions through two daemons"));
    user.take_functions().await?;
    let before = [here.memory()?, there.memory()?];
    user.take_functions().await?;
    let after = [here.memory()?, there.memory()?];
    let [of_user, of_provider] = [0, 1].map(|daemon| after[daemon].saturating_sub(before[daemon]) as f64 / 1024.0);
    let name = format!("two daemons: {FUNCTIONS} functions passed and released: memory more, the larger");
    let figure = Figure::new(name, of_user.max(of_provider) / FUNCTIONS as f64, "KiB each").at_most(0.1);
    report.add(figure.with_number("of_the_user's_KiB", of_user).with_number("of_the_provider's_KiB", of_provider));
    providing.abort();
    Ok(())
}

/// Where the sockets are. It goes with the measurement.
struct Place(PathBuf);

impl Place {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("atoll-measure-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Place(path))
    }

    async fn daemon(&self, name: &str, signalling: &str) -> anyhow::Result<Daemon> {
        let socket = self.0.join(name);
        let program = std::env::current_exe()?.with_file_name("node-cli");
        let mut child = Command::new(&program)
            .args(["daemon", "--json", "--bind", "127.0.0.1", "--signalling", signalling, "--socket"])
            .arg(&socket)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{}; build it with cargo build --release -p atoll-cli", program.display()))?;
        let mut said = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let line = timeout(PATIENCE, said.next_line()).await.context("the daemon does not start")??;
        let event: Value = serde_json::from_str(&line.context("the daemon has ended")?)?;
        let id = event["id"].as_str().context("the daemon tells its id")?.to_owned();
        Ok(Daemon { child, socket, id })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Daemon {
    child: Child,
    socket: PathBuf,
    id: String,
}

impl Daemon {
    /// What it has allocated, in bytes.
    fn memory(&self) -> anyhow::Result<u64> {
        let Memory { anonymous, .. } = memory_of(self.child.id().context("the daemon has ended")?)?;
        Ok(anonymous)
    }
}

/// A program at the door.
struct Program {
    from: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    to: OwnedWriteHalf,
}

impl Program {
    async fn attach(daemon: &Daemon, name: &str) -> anyhow::Result<Self> {
        let (from, to) = UnixStream::connect(&daemon.socket).await?.into_split();
        let mut program = Program { from: BufReader::new(from).lines(), to };
        program.say(&json!({ "type": "hello", "name": name })).await?;
        program.hear().await?;
        Ok(program)
    }

    async fn say(&mut self, message: &Value) -> anyhow::Result<()> {
        Ok(self.to.write_all(format!("{message}\n").as_bytes()).await?)
    }

    async fn hear(&mut self) -> anyhow::Result<Value> {
        let line = timeout(PATIENCE, self.from.next_line()).await.context("the daemon says nothing")??;
        Ok(serde_json::from_str(&line.context("the daemon has gone")?)?)
    }
}

/// Answers calls: `$0` gives back what it gets, `$1` a new function.
async fn provide(mut program: Program) -> anyhow::Result<()> {
    let mut next = 2;
    loop {
        let line = program.from.next_line().await?.context("the daemon has gone")?;
        let call: Value = serde_json::from_str(&line)?;
        let ret = match (call["type"].as_str(), call["fun"].as_str()) {
            (Some("call"), Some("$0")) => call["args"][0].clone(),
            (Some("call"), Some("$1")) => {
                next += 1;
                format!("${next}").into()
            }
            _ => continue,
        };
        program.say(&json!({ "type": "response", "status": "ok", "uid": call["uid"], "ret": ret })).await?;
    }
}

struct User {
    program: Program,
    peer: String,
    uid: u64,
}

impl User {
    /// Waits until the ring leads to the provider.
    async fn found(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            self.begin("echo", &[]).await?;
            let said = self.program.hear().await?;
            if said["status"] == "ok" {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "{said}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn begin(&mut self, fun: &str, args: &[&str]) -> anyhow::Result<()> {
        self.uid += 1;
        let (peer, uid) = (&self.peer, self.uid);
        let call = json!({ "type": "call", "remote": peer, "name": "Service", "fun": fun, "args": args, "uid": uid });
        self.program.say(&call).await
    }

    /// So many calls of 64 bytes. Gives how many a second.
    async fn echoes(&mut self, count: usize, in_flight: usize) -> anyhow::Result<f64> {
        let message = "7".repeat(super::services::MESSAGE);
        let begun = Instant::now();
        for _ in 0..in_flight {
            self.begin("echo", &[&message]).await?;
        }
        for answered in 1..=count {
            let said = self.program.hear().await?;
            ensure!(said["ret"] == *message, "not the echo: {said}");
            if answered + in_flight <= count {
                self.begin("echo", &[&message]).await?;
            }
        }
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }

    /// Gets functions, and releases them.
    async fn take_functions(&mut self) -> anyhow::Result<()> {
        for _ in 0..FUNCTIONS / HELD {
            for _ in 0..HELD {
                self.begin("give", &[]).await?;
            }
            let mut functions = Vec::with_capacity(HELD);
            for _ in 0..HELD {
                let said = self.program.hear().await?;
                match said["ret"].as_str() {
                    Some(function) => functions.push(function.to_owned()),
                    None => bail!("not a function: {said}"),
                }
            }
            self.program.say(&json!({ "type": "release", "funs": functions })).await?;
        }
        Ok(())
    }
}
