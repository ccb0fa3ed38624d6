//! What a node of this program offers its peers: sockets that echo or lead to a TCP port, its status, and the far end of a bench.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atoll::Node;
use atoll::net::session::{Listener, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::bench;
use crate::events::{Happening, Teller};
use crate::pipe;
use crate::values::Target;

/// The stream on which a node tells its status: one JSON object, [`atoll::node::NodeStatus`].
pub(crate) const STATUS: &str = "atoll/status/1";

/// Sockets of peers that are served at once, at most. More wait, and when the backlog is full they are refused.
const MAX_SOCKETS: usize = 256;

/// Status and bench streams that are served at once, at most, each kind.
const MAX_ERRANDS: usize = 8;

/// How long a peer may take to read the status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a bench may take.
const BENCH_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a TCP port may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What becomes of a socket.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// What comes goes back.
    Echo,
    /// It is joined with a connection to this port.
    Tcp(Target),
}

/// Offers sockets, the status and the far end of a bench, until the node is closed.
pub(crate) fn all(node: &Node, answer: Answer, teller: &Teller) -> anyhow::Result<()> {
    let (id, teller) = (node.id(), teller.clone());
    serve(node.listen()?, MAX_SOCKETS, move |socket| {
        let (answer, teller) = (answer.clone(), teller.clone());
        async move {
            let peer = socket.peer();
            teller.tell(Happening::Socket { id, peer });
            if let Err(error) = answer_socket(socket, answer).await {
                teller.tell(Happening::SocketFailed { id, peer, reason: format!("{error:#}") });
            }
        }
    });
    errands(node)
}

/// Offers the status and the far end of a bench.
pub(crate) fn errands(node: &Node) -> anyhow::Result<()> {
    let asked = node.clone();
    serve(node.accept(STATUS)?, MAX_ERRANDS, move |socket| {
        let node = asked.clone();
        // Whoever asked finds out by itself that it did not get the answer.
        async move { drop(timeout(STATUS_TIMEOUT, tell_status(node, socket)).await) }
    });
    serve(node.accept(bench::STREAM)?, MAX_ERRANDS, |socket| async move {
        drop(timeout(BENCH_TIMEOUT, bench::serve(socket)).await);
    });
    Ok(())
}

fn serve<F>(mut listener: Listener, at_once: usize, each: impl Fn(Socket) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(at_once));
    tokio::spawn(async move {
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            let Some(socket) = listener.accept().await else { return };
            let served = each(socket);
            tokio::spawn(async move {
                served.await;
                drop(place);
            });
        }
    });
}

async fn answer_socket(socket: Socket, answer: Answer) -> anyhow::Result<()> {
    match answer {
        Answer::Echo => pipe::echo(socket).await,
        Answer::Tcp(target) => {
            let connect = TcpStream::connect((target.host.as_str(), target.port));
            let stream = timeout(CONNECT_TIMEOUT, connect).await.context("no answer in time").and_then(|c| Ok(c?));
            pipe::tcp(socket, stream.with_context(|| format!("cannot connect to {target}"))?).await
        }
    }
}

async fn tell_status(node: Node, mut socket: Socket) -> anyhow::Result<()> {
    let status = node.status().await.context("the node is closed")?;
    socket.write_all(&serde_json::to_vec(&status)?).await?;
    socket.shutdown().await?;
    // Held until the peer has read it.
    let mut nothing = [0];
    let _ = socket.read(&mut nothing).await;
    Ok(socket.finish().await?)
}
