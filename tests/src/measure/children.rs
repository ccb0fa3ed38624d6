//! The processes that `measure` starts, from its side. They are killed, as `kill -9` does, when they are dropped.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use atoll::Id;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::channels::Came;
use super::child::{Answer, NodeOptions, Place, Question, Reply, Request, is_one_ring};
use super::objects::Fetched;
use super::pest::Nuisance;
use super::storage::Wrote;

/// How often nodes are asked whether they are one ring.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long a node may take to answer what needs no other node.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node in a process of its own.
pub(super) struct NodeProcess {
    child: Child,
    input: AsyncMutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
}

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Reply>>>>;

impl NodeProcess {
    pub(super) fn start(options: &NodeOptions) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["node", "--signalling", &options.signalling]);
        command.args(["--max-links", &options.max_links.to_string()]);
        if let Some(fingers) = options.fingers {
            command.args(["--fingers", &fingers.to_string()]);
        }
        let (child, input, output) = start(command)?;
        let waiting = Waiting::default();
        tokio::spawn(read_answers(output, Arc::clone(&waiting)));
        Ok(NodeProcess { child, input: AsyncMutex::new(input), waiting, next: AtomicU64::new(0) })
    }

    /// Several that start at once.
    pub(super) fn start_all(count: usize, options: &NodeOptions) -> anyhow::Result<Vec<Self>> {
        (0..count).map(|_| Self::start(options)).collect()
    }

    async fn ask(&self, request: Request) -> anyhow::Result<Reply> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, reply);
        let mut line = serde_json::to_vec(&Question { number, request })?;
        line.push(b'\n');
        self.input.lock().await.write_all(&line).await.context("the node process has ended")?;
        match answer.await.context("the node process has ended")? {
            Reply::Failed(reason) => bail!("a node process: {reason}"),
            reply => Ok(reply),
        }
    }

    pub(super) async fn place(&self) -> anyhow::Result<Place> {
        let asked = tokio::time::timeout(PATIENCE, self.ask(Request::Place));
        match asked.await.context("a node process does not answer")?? {
            Reply::Place(place) => Ok(place),
            other => bail!("not a place: {other:?}"),
        }
    }

    /// Joins the channel. Gives the point of its root.
    pub(super) async fn join(&self) -> anyhow::Result<Id> {
        match self.ask(Request::Join).await? {
            Reply::Joined { root } => Ok(root),
            other => bail!("not a channel: {other:?}"),
        }
    }

    /// Publishes on the channel, until all is on its way.
    pub(super) async fn publish(&self, count: u32, every_ms: u64) -> anyhow::Result<()> {
        match self.ask(Request::Publish { count, every_ms }).await? {
            Reply::Published => Ok(()),
            other => bail!("not published: {other:?}"),
        }
    }

    /// What has come on the channel.
    pub(super) async fn came(&self) -> anyhow::Result<Came> {
        match self.ask(Request::Came).await? {
            Reply::Came(came) => Ok(came),
            other => bail!("not what came: {other:?}"),
        }
    }

    /// Writes records as long as that.
    pub(super) async fn write(&self, every_ms: u64, lasts: Duration) -> anyhow::Result<Wrote> {
        match self.ask(Request::Write { every_ms, for_ms: lasts.as_millis() as u64 }).await? {
            Reply::Wrote(wrote) => Ok(wrote),
            other => bail!("not what was written: {other:?}"),
        }
    }

    /// Reads these records. Gives how many are missing when the time is over.
    pub(super) async fn read(&self, keys: Vec<String>, within: Duration) -> anyhow::Result<usize> {
        match self.ask(Request::Read { keys, within_ms: within.as_millis() as u64 }).await? {
            Reply::Missing(count) => Ok(count),
            other => bail!("not what is missing: {other:?}"),
        }
    }

    /// The nodes on the way to a peer, the peer last; `None` where no way was found.
    pub(super) async fn trace(&self, peer: Id) -> anyhow::Result<Option<Vec<Id>>> {
        match self.ask(Request::Trace { peer }).await? {
            Reply::Trace(hops) => Ok(hops),
            other => bail!("not a trace: {other:?}"),
        }
    }

    /// How long it took until all peers had been called, and who never answered.
    pub(super) async fn reach(&self, peers: Vec<Id>, within: Duration) -> anyhow::Result<(Duration, Vec<Id>)> {
        match self.ask(Request::Reach { peers, within_ms: within.as_millis() as u64 }).await? {
            Reply::Reached { slowest_ms, missing } => Ok((Duration::from_secs_f64(slowest_ms / 1e3), missing)),
            other => bail!("not what was reached: {other:?}"),
        }
    }

    pub(super) async fn flow(&self, peer: Id, pace: super::services::Pace) -> anyhow::Result<super::services::Flow> {
        match self.ask(Request::Flow { peer, pace }).await? {
            Reply::Flow(flow) => Ok(flow),
            other => bail!("not a stream: {other:?}"),
        }
    }

    /// The answer of the process to the offer of a plain data channel.
    pub(super) async fn raw(&self, offer: String) -> anyhow::Result<String> {
        match self.ask(Request::Raw { offer }).await? {
            Reply::Raw { answer } => Ok(answer),
            other => bail!("not an answer: {other:?}"),
        }
    }

    /// Fetches a result of so many bytes from a peer.
    pub(super) async fn fetch(&self, peer: Id, bytes: usize) -> anyhow::Result<Fetched> {
        match self.ask(Request::Fetch { peer, bytes }).await? {
            Reply::Fetched(fetched) => Ok(fetched),
            other => bail!("not what was fetched: {other:?}"),
        }
    }

    /// Sends so many bytes to a peer. Gives bytes a second.
    pub(super) async fn stream_rate(&self, peer: Id, bytes: usize) -> anyhow::Result<f64> {
        match self.ask(Request::Stream { peer, bytes }).await? {
            Reply::Rate(rate) => Ok(rate),
            other => bail!("not a rate: {other:?}"),
        }
    }

    /// Has the process forget the peak of its memory. Gives what is resident now.
    pub(super) async fn forget_peak(&self) -> anyhow::Result<u64> {
        self.resident(Request::ForgetPeak).await
    }

    /// The most memory that was resident since.
    pub(super) async fn peak(&self) -> anyhow::Result<u64> {
        self.resident(Request::Peak).await
    }

    async fn resident(&self, request: Request) -> anyhow::Result<u64> {
        match self.ask(request).await? {
            Reply::Resident(bytes) => Ok(bytes),
            other => bail!("not a size: {other:?}"),
        }
    }

    /// `kill -9`. Gives the moment.
    pub(super) async fn kill(mut self) -> anyhow::Result<Instant> {
        let killed = Instant::now();
        self.child.kill().await?;
        Ok(killed)
    }
}

async fn read_answers(output: ChildStdout, waiting: Waiting) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(Answer { number, reply }) = serde_json::from_str(&line)
            && let Some(waiter) = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
        {
            let _ = waiter.send(reply);
        }
    }
    // Nobody else will answer: those who wait find out.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Where all these nodes stand.
pub(super) async fn places(nodes: &[NodeProcess]) -> anyhow::Result<Vec<Place>> {
    futures::future::try_join_all(nodes.iter().map(NodeProcess::place)).await
}

/// Waits until these nodes are exactly one ring, and gives their places.
pub(super) async fn await_ring(nodes: &[NodeProcess], limit: Duration) -> anyhow::Result<Vec<Place>> {
    let begun = Instant::now();
    loop {
        let places = places(nodes).await?;
        if is_one_ring(&places) {
            return Ok(places);
        }
        ensure!(begun.elapsed() < limit, "not one ring within {limit:?}: {places:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A signalling server in a process of its own.
pub(super) struct ServerProcess {
    pub(super) url: String,
    child: Child,
    /// The process ends when this is dropped.
    _input: ChildStdin,
}

impl ServerProcess {
    /// `port` 0: any.
    pub(super) async fn start(port: u16) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["server", "--port", &port.to_string()]);
        let (child, input, output) = start(command)?;
        let mut url = String::new();
        BufReader::new(output).read_line(&mut url).await?;
        let url = url.trim().to_owned();
        ensure!(!url.is_empty(), "the signalling server did not start");
        Ok(ServerProcess { url, child, _input: input })
    }

    pub(super) fn port(&self) -> anyhow::Result<u16> {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).context("no port in the server's address")
    }

    pub(super) fn process(&self) -> anyhow::Result<u32> {
        self.child.id().context("the signalling server has ended")
    }

    /// `kill -9`.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// A hostile member of a channel, in a process of its own with the lowest priority.
pub(super) struct PestProcess {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

impl PestProcess {
    /// Has it attack these nodes.
    pub(super) fn start(url: &str, channel: &str, victims: &[Id]) -> anyhow::Result<Self> {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(std::env::current_exe()?);
        command.args(["pest", "--signalling", url, "--channel", channel]);
        for victim in victims {
            command.args(["--victim", &victim.to_string()]);
        }
        let (child, input, output) = start(command)?;
        Ok(PestProcess { input, output, _child: child })
    }

    /// Has it end, and tell what it did.
    pub(super) async fn end(self) -> anyhow::Result<Nuisance> {
        let PestProcess { input, output, _child } = self;
        drop(input);
        let mut told = String::new();
        tokio::time::timeout(PATIENCE, BufReader::new(output).read_line(&mut told)).await??;
        serde_json::from_str(&told).context("the pest does not say what it did")
    }
}

fn start(mut command: Command) -> anyhow::Result<(Child, ChildStdin, ChildStdout)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("cannot start a process")?;
    let input = child.stdin.take().context("no standard input")?;
    let output = child.stdout.take().context("no standard output")?;
    Ok((child, input, output))
}
