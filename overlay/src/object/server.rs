//! The provider's side of calls: each stream of a peer is a task that reads one request and answers it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::io::AsyncWriteExt;

use super::access::Caller;
use super::core::Core;
use super::error::{CallError, Failure};
use super::function::Reply;
use super::limits::MAX_MESSAGE;
use super::line::{Line, RECORD, TAKEN};
use super::load::{Place, SMALL_REQUEST};
use super::message::{FRAME_HEAD, Kind, MORE, REQUEST_HEAD, Request, Terms, encode_error};
use super::value::{Value, ValueError};
use super::wire::joined;
use crate::net::platform::{self, Instant, timeout};
use crate::net::session::{Listener, Socket, SocketError, SocketReader, SocketWriter};

/// How long a peer may take to send a request, from when its stream was opened.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// The longest time that a call may be given.
pub const LONGEST_CALL: Duration = Duration::from_secs(24 * 3600);

/// Bytes of a frame up to which head and body are written together.
const SMALL_FRAME: usize = 4 << 10;

/// Bytes of a chunk, at most: small enough for others to come in between.
const CHUNK: usize = 256 << 10;

/// Ends when the node is closed.
pub(super) async fn accept(core: Arc<Core>, mut listener: Listener) {
    while let Some(socket) = listener.accept().await {
        platform::spawn(serve(core.clone(), socket));
    }
}

async fn serve(core: Arc<Core>, socket: Socket) {
    let line = core.line(socket.session());
    let caller = Caller::new(socket.peer_key(), &core);
    let (reader, writer) = socket.into_split();
    let mut stream = Stream { core, line, reader, writer, buffer: Bytes::new(), pace: None };
    // An error of the socket means that the caller is gone, or wants no answer.
    let _ = stream.serve(caller).await;
}

struct Stream {
    core: Arc<Core>,
    line: Arc<Line>,
    reader: SocketReader,
    writer: SocketWriter,
    /// What was read and not used yet.
    buffer: Bytes,
    /// Of many results that the caller takes one by one.
    pace: Option<Pace>,
}

/// What the caller has said it takes.
struct Pace {
    /// Bytes that may be sent.
    room: u64,
    /// Whether it has asked for the next change of a watched value.
    next: bool,
}

impl Stream {
    async fn serve(&mut self, caller: Caller) -> Result<(), SocketError> {
        let begun = Instant::now();
        let mut place = None;
        let read = match timeout(REQUEST_WITHIN, self.request(&mut place)).await {
            Ok(read) => read?,
            Err(_) => return self.fail(&CallError::TimedOut).await,
        };
        let (request, terms) = match read {
            Ok(read) => read,
            Err(error) => return self.fail(&error).await,
        };
        // These two cost nothing, and must come through when calls are at their limit.
        match request {
            Request::Hold => return self.hold().await,
            Request::Ping => return self.value(Kind::Value, &Value::Null).await,
            _ => {}
        }
        let Some(_place) = place.or_else(|| self.enter()) else {
            return self.fail(&CallError::TooManyCalls).await;
        };
        if let Request::Watch { service, path } = request {
            return self.watch(caller, &service, path, terms).await;
        }
        let deadline = begun + Duration::from_millis(terms.within_ms).min(LONGEST_CALL);
        let done = tokio::select! {
            biased;
            done = self.core.serve(caller, request, deadline) => done,
            // The caller gave it up, or is gone: what runs is dropped.
            _ = self.writer.stopped() => return Ok(()),
        };
        match done {
            Ok(Reply::Value(value)) => self.value(Kind::Value, &value).await,
            Ok(Reply::Items(items)) => self.items(items, terms).await,
            Ok(Reply::Bytes(pieces)) => self.bytes(pieces, terms).await,
            Err(error) => self.fail(&error).await,
        }
    }

    fn enter(&self) -> Option<Place> {
        self.core.load.enter(self.line.peer())
    }

    /// Reads the request. What is not small has to have a place first, and the memory.
    async fn request(&mut self, place: &mut Option<Place>) -> Result<Result<(Request, Terms), CallError>, SocketError> {
        self.fill(REQUEST_HEAD).await?;
        let head = self.buffer.split_to(REQUEST_HEAD);
        let length = u32::from_be_bytes(head[..].try_into().expect("as many bytes as were split off")) as usize;
        if length > MAX_MESSAGE {
            return Ok(Err(ValueError::TooLarge.into()));
        }
        if length > SMALL_REQUEST {
            let Some(taken) = self.enter() else { return Ok(Err(CallError::TooManyCalls)) };
            if !place.insert(taken).reserve(length).await {
                return Ok(Err(CallError::TooManyCalls));
            }
        }
        self.fill(length).await?;
        let body = self.buffer.split_to(length);
        let read = Request::decode(&body, &mut |handle| self.core.take(&self.line, handle));
        Ok(read.map_err(CallError::from))
    }

    async fn value(&mut self, kind: Kind, value: &Value) -> Result<(), SocketError> {
        let frame = kind.encode_value(value, &mut |function| self.core.offer(&self.line, function));
        match frame {
            Ok(frame) => self.end(frame).await,
            Err(error) => self.fail(&error.into()).await,
        }
    }

    async fn items(
        &mut self,
        mut items: BoxStream<'static, Result<Value, Failure>>,
        terms: Terms,
    ) -> Result<(), SocketError> {
        self.begin(Kind::Items, terms).await?;
        while let Some(item) = self.next(&mut items).await? {
            self.item(&item).await?;
        }
        Ok(())
    }

    async fn item(&mut self, item: &Value) -> Result<(), SocketError> {
        match Kind::Item.encode_value(item, &mut |function| self.core.offer(&self.line, function)) {
            Ok(frame) => self.write(frame.freeze()).await,
            Err(error) => {
                self.fail(&error.into()).await?;
                Err(SocketError::Closed)
            }
        }
    }

    async fn bytes(
        &mut self,
        mut pieces: BoxStream<'static, Result<Bytes, Failure>>,
        terms: Terms,
    ) -> Result<(), SocketError> {
        self.begin(Kind::Bytes, terms).await?;
        while let Some(mut piece) = self.next(&mut pieces).await? {
            while !piece.is_empty() {
                let chunk = piece.split_to(piece.len().min(CHUNK));
                self.chunk(chunk).await?;
            }
        }
        Ok(())
    }

    /// The next of many. After the last, and after a failure, which it tells, and when the caller wants no more: `None`.
    async fn next<T>(&mut self, many: &mut BoxStream<'static, Result<T, Failure>>) -> Result<Option<T>, SocketError> {
        let next = tokio::select! {
            biased;
            next = many.next() => next,
            stopped = self.writer.stopped() => return stopped.map(|()| None),
        };
        match next {
            Some(Ok(next)) => return Ok(Some(next)),
            Some(Err(failure)) => self.fail(&failure.0).await?,
            None => self.end(BytesMut::from(&Kind::End.head(0)[..])).await?,
        }
        Ok(None)
    }

    async fn chunk(&mut self, chunk: Bytes) -> Result<(), SocketError> {
        let head = Kind::Chunk.head(chunk.len());
        if chunk.len() <= SMALL_FRAME {
            return self.write([&head[..], &chunk[..]].concat().into()).await;
        }
        self.write(Bytes::copy_from_slice(&head)).await?;
        self.write(chunk).await
    }

    /// Tells the value and its changes, each when the last was taken.
    async fn watch(&mut self, caller: Caller, service: &str, path: String, terms: Terms) -> Result<(), SocketError> {
        if terms.window == 0 {
            return self.fail(&CallError::Protocol("a watch has a window".to_owned())).await;
        }
        let Some(service) = self.core.service(service) else {
            return self.fail(&CallError::NoSuchService(service.to_owned())).await;
        };
        let mut changes = std::pin::pin!(service.watch(path, caller));
        let mut begun = false;
        loop {
            let change = tokio::select! {
                biased;
                change = changes.next() => change,
                stopped = self.writer.stopped() => return stopped,
            };
            match change {
                Some(Ok(value)) => {
                    if !std::mem::replace(&mut begun, true) {
                        self.begin(Kind::Items, terms).await?;
                    }
                    self.item(&value).await?;
                }
                Some(Err(error)) => return self.fail(&error).await,
                None => return Ok(()),
            }
            while !self.pace.as_mut().is_none_or(|pace| std::mem::take(&mut pace.next)) {
                self.hear().await?;
            }
        }
    }

    /// Notes which functions of this node the peer holds, until it has done.
    async fn hold(&mut self) -> Result<(), SocketError> {
        loop {
            self.fill(RECORD).await?;
            let record = self.buffer.split_to(RECORD);
            let handle = u64::from_be_bytes(record[1..].try_into().expect("a record is a byte and a number"));
            let peer = self.line.peer();
            if record[0] == TAKEN {
                self.core.exports().taken(handle, peer);
            } else {
                let released = self.core.exports().remove(handle, peer);
                drop(released);
            }
        }
    }

    async fn fail(&mut self, error: &CallError) -> Result<(), SocketError> {
        let frame = encode_error(error, &mut |function| self.core.offer(&self.line, function));
        self.end(frame).await
    }

    /// Says that many results follow. From then on the caller sets the pace, if it wants to.
    async fn begin(&mut self, kind: Kind, terms: Terms) -> Result<(), SocketError> {
        self.write(Bytes::copy_from_slice(&kind.head(0))).await?;
        self.pace = (terms.window > 0).then_some(Pace { room: terms.window, next: false });
        Ok(())
    }

    /// Reads what the caller says of its pace.
    async fn hear(&mut self) -> Result<(), SocketError> {
        self.fill(MORE).await?;
        let more = self.buffer.split_to(MORE);
        let more = u32::from_be_bytes(more[..].try_into().expect("as many bytes as were split off"));
        if let Some(pace) = &mut self.pace {
            pace.next |= more == 0;
            pace.room = pace.room.saturating_add(more.into());
        }
        Ok(())
    }

    /// Writes as much as the caller takes, until it takes all of it.
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), SocketError> {
        while !bytes.is_empty() {
            let part = match &mut self.pace {
                None => std::mem::take(&mut bytes),
                Some(Pace { room: 0, .. }) => {
                    self.hear().await?;
                    continue;
                }
                Some(pace) => {
                    let part = bytes.len().min(usize::try_from(pace.room).unwrap_or(usize::MAX));
                    pace.room -= part as u64;
                    bytes.split_to(part)
                }
            };
            self.writer.write_bytes(part).await?;
        }
        Ok(())
    }

    /// Writes the last frame.
    async fn end(&mut self, frame: BytesMut) -> Result<(), SocketError> {
        self.write(frame.freeze()).await?;
        // Neither fails where the peer is still interested. Read to its end, which has come by now, the request needs no
        // STOP_SENDING.
        let _ = self.writer.shutdown().await;
        let _ = self.reader.read_bytes(FRAME_HEAD).now_or_never();
        Ok(())
    }

    /// Has at least so many bytes in the buffer. It grows with what comes, not with what was announced.
    async fn fill(&mut self, length: usize) -> Result<(), SocketError> {
        while self.buffer.len() < length {
            let more = self.reader.read_bytes(CHUNK).await?.ok_or(SocketError::Closed)?;
            self.buffer = joined(std::mem::take(&mut self.buffer), more, length);
        }
        Ok(())
    }
}
