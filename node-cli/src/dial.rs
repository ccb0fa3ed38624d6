//! `node-cli dial`: a socket to a peer, joined with standard input and output or with local TCP connections.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atoll::net::session::{SessionError, Socket, Unreachable};
use atoll::{Id, Node};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::args::{DialArgs, NodeArgs};
use crate::join::{Found, Visit};
use crate::output::Output;
use crate::pipe;
use crate::stop::Interrupted;

/// Local connections that are forwarded at once, at most. More wait in the system's backlog.
const MAX_CONNECTIONS: usize = 256;

/// Pause before a peer is dialled again that no way led to: the ring may be repairing itself.
const RETRY: Duration = Duration::from_millis(200);

pub(crate) async fn run(args: &DialArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    // A busy port is told before anybody is troubled.
    let local = match args.tcp {
        Some(address) => {
            let listener = TcpListener::bind(address).await.map_err(|error| {
                let kind = error.kind();
                anyhow::anyhow!(
                    "cannot listen on {address}: {kind}; choose another port or stop the program that has it"
                )
            })?;
            Some(listener)
        }
        None => None,
    };
    let result = Visit::run(node, Some(&args.peer), async |visit: &Visit| {
        let peer = visit.find(&args.peer).await?;
        // A peer that is not there is told at once, not at the first connection.
        let socket = open(visit, peer.id, atoll::node::SOCKET).await?;
        peer.check(&socket)?;
        match local {
            Some(listener) => {
                drop(socket);
                forward(&visit.node, peer, listener, output).await
            }
            None => pipe::stdio(socket).await,
        }
    })
    .await;
    match result {
        // A forwarder has no other end than this.
        Err(error) if args.tcp.is_some() && error.is::<Interrupted>() => Ok(()),
        result => result,
    }
}

/// Opens a stream. While no way leads to the peer it tries again, as long as a visit may take.
pub(crate) async fn open(visit: &Visit, peer: Id, name: &str) -> anyhow::Result<Socket> {
    let mut last = None;
    let opened = visit
        .soon(async {
            loop {
                match visit.node.open(peer, name).await {
                    Err(error @ SessionError::Unreachable(Unreachable::NoRoute)) => last = Some(error),
                    result => return result,
                }
                tokio::time::sleep(RETRY).await;
            }
        })
        .await;
    let socket = match (opened, last) {
        (Ok(result), _) => result.map_err(Into::into),
        (Err(_), Some(no_route)) => Err(no_route.into()),
        (Err(late), None) => Err(late),
    };
    socket.with_context(|| format!("cannot dial {peer}"))
}

async fn forward(node: &Node, peer: Found, listener: TcpListener, output: Output) -> anyhow::Result<()> {
    let (address, id) = (listener.local_addr()?, peer.id);
    output.line(
        format_args!("forwarding {address} to {id}"),
        &json!({ "event": "forwarding", "address": address, "peer": id }),
    )?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No socket left in the system, most likely: connections that end give some back.
                output.note(format_args!("no new connection: {error}"));
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let node = node.clone();
        tokio::spawn(async move {
            let joined = async {
                let socket = node.dial(id).await?;
                peer.check(&socket)?;
                pipe::tcp(socket, stream).await
            };
            if let Err(error) = joined.await {
                output.event(
                    format_args!("a connection to {id} failed: {error:#}"),
                    &json!({ "event": "connection-failed", "peer": id, "reason": format!("{error:#}") }),
                );
            }
            drop(place);
        });
    }
}
