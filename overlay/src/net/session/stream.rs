//! A socket: one reliable, ordered stream of bytes each way, between two nodes any number of hops apart.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::{RecvStream, SendStream, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::{SessionError, SocketError, reset};
use super::live::{Lease, Session};
use crate::id::Id;
use crate::key::PeerKey;
use crate::net::platform;

/// The longest name of what a stream carries, in bytes.
pub const MAX_NAME: usize = 255;

/// How long [`SocketWriter::finish`] waits for the peer to acknowledge everything.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(30);

/// A socket to a peer: read and write it as any other of tokio's.
///
/// Shutting it down ends this side's bytes; the other side reads to their end, and may go on sending. A socket dropped before
/// that is cancelled: the other side gets [`SocketError::Cancelled`]. Writes wait while
/// [`super::Settings::send_window`] bytes are on their way.
#[derive(Debug)]
pub struct Socket {
    reader: SocketReader,
    writer: SocketWriter,
}

impl Socket {
    pub(super) fn new(name: Arc<str>, send: SendStream, recv: RecvStream, lease: Arc<Lease>) -> Self {
        let reader = SocketReader { recv, name: name.clone(), lease: lease.clone() };
        let writer = SocketWriter { send, name, lease, finished: false };
        Socket { reader, writer }
    }

    /// The peer's id.
    pub fn peer(&self) -> Id {
        self.session().peer()
    }

    /// The peer's key: proved, not claimed.
    pub fn peer_key(&self) -> PeerKey {
        self.session().peer_key()
    }

    /// The name of what the socket carries.
    pub fn name(&self) -> &str {
        &self.writer.name
    }

    /// The session that the socket belongs to.
    pub fn session(&self) -> &Session {
        self.writer.session()
    }

    /// Both directions, to be used apart. Each is cancelled when it is dropped before its end.
    pub fn into_split(self) -> (SocketReader, SocketWriter) {
        (self.reader, self.writer)
    }

    /// Shuts down this side and waits until the peer has all bytes: see [`SocketWriter::finish`].
    pub async fn finish(&mut self) -> Result<(), SocketError> {
        self.writer.finish().await
    }

    /// Gives the socket up at once, both ways; the other side gets [`SocketError::Reset`] with `code`.
    pub fn reset(mut self, code: u32) {
        let code = own_code(code);
        self.refuse(code);
    }

    pub(super) fn refuse(&mut self, code: VarInt) {
        // Either may have ended already: then there is nothing left to give up.
        let _ = self.reader.recv.stop(code);
        let _ = self.writer.send.reset(code);
        self.writer.finished = true;
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

/// The direction of a [`Socket`] that is read.
pub struct SocketReader {
    recv: RecvStream,
    name: Arc<str>,
    lease: Arc<Lease>,
}

impl SocketReader {
    /// The session that the socket belongs to.
    pub fn session(&self) -> &Session {
        self.lease.session()
    }

    /// The next bytes without a copy, at most `max` of them; `None` at the end.
    pub async fn read_bytes(&mut self, max: usize) -> Result<Option<bytes::Bytes>, SocketError> {
        Ok(self.recv.read_chunk(max, true).await?.map(|chunk| chunk.bytes))
    }

    /// Tells the other side to send no more; it gets [`SocketError::Reset`] with `code` when it writes.
    pub fn stop(mut self, code: u32) {
        let _ = self.recv.stop(own_code(code));
    }
}

impl AsyncRead for SocketReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.recv.poll_read_buf(cx, buf).map_err(|e| SocketError::from(e).into())
    }
}

impl Drop for SocketReader {
    fn drop(&mut self) {
        // An error means that it was read to its end: nothing is left to stop.
        let _ = self.recv.stop(reset::CANCELLED);
    }
}

impl fmt::Debug for SocketReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketReader({} from {})", self.name, self.session().peer())
    }
}

/// The direction of a [`Socket`] that is written.
pub struct SocketWriter {
    send: SendStream,
    name: Arc<str>,
    lease: Arc<Lease>,
    finished: bool,
}

impl SocketWriter {
    /// The session that the socket belongs to.
    pub fn session(&self) -> &Session {
        self.lease.session()
    }

    /// Shuts down, and waits until the peer's node has acknowledged every byte, at most [`FINISH_TIMEOUT`]. Only then may this
    /// node close without losing some.
    pub async fn finish(&mut self) -> Result<(), SocketError> {
        self.end();
        match platform::timeout(FINISH_TIMEOUT, self.send.stopped()).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(code))) => Err(SocketError::from_code(code)),
            Ok(Err(e)) => Err(e.into()),
            Err(_) => Err(SessionError::Silent.into()),
        }
    }

    /// Writes `bytes` without copying them.
    pub async fn write_bytes(&mut self, bytes: bytes::Bytes) -> Result<(), SocketError> {
        Ok(self.send.write_chunk(bytes).await?)
    }

    /// Gives this direction up at once; the other side gets [`SocketError::Reset`] with `code`.
    pub fn reset(mut self, code: u32) {
        let _ = self.send.reset(own_code(code));
        self.finished = true;
    }

    /// Waits until the other side wants no more bytes or has all of them, and says which.
    pub async fn stopped(&self) -> Result<(), SocketError> {
        match self.send.stopped().await? {
            Some(code) => Err(SocketError::from_code(code)),
            None => Ok(()),
        }
    }

    fn end(&mut self) {
        // An error means that it has ended before.
        let _ = self.send.finish();
        self.finished = true;
    }
}

impl AsyncWrite for SocketWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, bytes).map_err(|e| SocketError::from(e).into())
    }

    /// Nothing is held back: what was written is on its way.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SocketWriter {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.send.reset(reset::CANCELLED);
        }
    }
}

impl fmt::Debug for SocketWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketWriter({} to {})", self.name, self.session().peer())
    }
}

/// What every stream begins with: the length of the name in one byte, and the name.
pub(super) fn header(name: &str) -> Result<Vec<u8>, SessionError> {
    match u8::try_from(name.len()) {
        Ok(length) if length > 0 => Ok([&[length], name.as_bytes()].concat()),
        _ => Err(SessionError::Name(name.len())),
    }
}

/// Reads the name; `None` where there is none.
pub(super) async fn read_header(recv: &mut RecvStream) -> Option<String> {
    let mut length = [0];
    recv.read_exact(&mut length).await.ok()?;
    let mut name = vec![0; length[0].into()];
    recv.read_exact(&mut name).await.ok()?;
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

fn own_code(code: u32) -> VarInt {
    (u64::from(code) + u64::from(reset::OWN)).try_into().expect("a sum of two 32-bit numbers is below 2^62")
}
