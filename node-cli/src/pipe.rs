//! Joins a socket with standard input and output, or with a TCP connection.
//!
//! Each direction ends on its own: the end of what is read here finishes the socket's write side, and reading goes on until
//! the peer finishes, too.

use std::sync::atomic::{AtomicBool, Ordering};

use atoll::net::session::{SessionError, Socket, SocketError, SocketReader, SocketWriter};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes read at one time.
const CHUNK: usize = 64 * 1024;

/// Joins the socket with standard input and output.
pub(crate) async fn stdio(socket: Socket) -> anyhow::Result<()> {
    join(socket, tokio::io::stdin(), tokio::io::stdout()).await
}

/// Joins the socket with a TCP connection.
pub(crate) async fn tcp(socket: Socket, stream: TcpStream) -> anyhow::Result<()> {
    // Without it small messages wait; no reason to fail.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    join(socket, reader, writer).await
}

/// Sends back whatever comes.
pub(crate) async fn echo(socket: Socket) -> anyhow::Result<()> {
    let (mut reader, mut writer) = socket.into_split();
    while let Some(bytes) = reader.read_bytes(CHUNK).await? {
        writer.write_bytes(bytes).await?;
    }
    Ok(writer.finish().await?)
}

/// Returns when both directions have ended and the peer has every byte.
async fn join(socket: Socket, from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
    let (reader, writer) = socket.into_split();
    let received = AtomicBool::new(false);
    let receive = async {
        receive(reader, to).await?;
        received.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let send = async {
        match send(from, writer).await {
            // The peer had said all that it had to say, and read as much as it wanted: it may go.
            Err(error) if received.load(Ordering::Relaxed) && has_gone(&error) => Ok(()),
            sent => sent,
        }
    };
    tokio::try_join!(receive, send)?;
    Ok(())
}

async fn receive(mut socket: SocketReader, mut to: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
    while let Some(bytes) = socket.read_bytes(CHUNK).await? {
        to.write_all(&bytes).await?;
        to.flush().await?;
    }
    Ok(to.shutdown().await?)
}

async fn send(mut from: impl AsyncRead + Unpin, mut socket: SocketWriter) -> anyhow::Result<()> {
    let mut bytes = BytesMut::new();
    loop {
        bytes.reserve(CHUNK);
        let read = tokio::select! {
            read = from.read_buf(&mut bytes) => read?,
            stopped = socket.stopped() => return no_more_wanted(stopped),
        };
        if read == 0 {
            break;
        }
        match socket.write_bytes(bytes.split().freeze()).await {
            Ok(()) => {}
            Err(error) => return no_more_wanted(Err(error)),
        }
    }
    socket.shutdown().await?;
    no_more_wanted(socket.stopped().await)
}

/// A peer that reads no further is as the end of a pipe: not an error of this side.
fn no_more_wanted(stopped: Result<(), SocketError>) -> anyhow::Result<()> {
    match stopped {
        Ok(()) | Err(SocketError::Cancelled) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn has_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(SocketError::Session(SessionError::PeerClosed | SessionError::Closed)))
}
