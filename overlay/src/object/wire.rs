//! A call over a session, from the caller's side: the request out, the frames of the answer in.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;

use super::answer::Answer;
use super::codec::Handle;
use super::core::Core;
use super::error::CallError;
use super::flow::Window;
use super::limits::MAX_MESSAGE;
use super::line::{Line, UnderWay};
use super::load::Room;
use super::message::{FRAME_HEAD, Kind, MORE, OBJECT, Request, Terms, decode_error, decode_value};
use super::value::{Value, ValueError};
use crate::net::platform::{Instant, timeout_at};
use crate::net::session::{Session, SessionError, SocketError, SocketReader, SocketWriter};

/// Bytes of a request that open its stream. The rest follows, as fast as it is taken.
const FIRST_BYTES: usize = 64 << 10;

/// Bytes taken from a stream at once.
const READ_BYTES: usize = 256 << 10;

/// How a caller takes many results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    /// All as they come, to put them together.
    Whole,
    /// At its own pace.
    OneByOne,
}

/// Sends a request and waits for the beginning of its answer.
pub(super) async fn ask(
    core: &Arc<Core>,
    session: &Session,
    request: &Request,
    taking: Taking,
    deadline: Instant,
) -> Result<Answer, CallError> {
    timeout_at(deadline, async {
        let Begun { mut frames, mut offered } = begin(core, session, request, taking, deadline).await?;
        let first = frames.next().await;
        if matches!(first, Ok(_) | Err(CallError::Failed { .. })) {
            offered.keep();
        }
        match first? {
            Some(Frame::Value(value)) => Ok(Answer::Value(value)),
            Some(Frame::Items) => Ok(Answer::items(frames)),
            Some(Frame::Bytes) => Ok(Answer::bytes(frames)),
            _ => Err(CallError::Protocol("an answer begins with something else".to_owned())),
        }
    })
    .await
    .unwrap_or(Err(CallError::TimedOut))
}

/// A request that is on its way.
pub(super) struct Begun {
    pub(super) frames: Frames,
    pub(super) offered: Offered,
}

/// Sends a request.
pub(super) async fn begin(
    core: &Arc<Core>,
    session: &Session,
    request: &Request,
    taking: Taking,
    deadline: Instant,
) -> Result<Begun, CallError> {
    let line = core.line(session);
    let window = match taking {
        Taking::Whole => None,
        Taking::OneByOne => Some(Window::open(&line)?),
    };
    let mut under_way = line.call();
    let mut offered = Offered { core: core.clone(), line: line.clone(), handles: Vec::new() };
    // Rounded up: a provider that gives up before the caller does would cost it the end of its time.
    let within = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    let terms = Terms { within_ms, window: window.as_ref().map_or(0, |window| window.size() as u64) };
    let frame = request.encode(terms, &mut |function| {
        let handle = core.offer(&line, function)?;
        if let Handle::Offered(number) = handle {
            offered.handles.push(number);
        }
        Ok(handle)
    })?;
    let mut first = frame.freeze();
    let rest = first.split_off(first.len().min(FIRST_BYTES));
    let sending = async {
        let (reader, mut writer) = session.open_with(OBJECT, &first).await?.into_split();
        if !rest.is_empty() {
            // An error is told by the answer: the provider may not want to read all of it.
            let _ = writer.write_bytes(rest).await;
        }
        Ok::<_, SessionError>((reader, writer))
    };
    let (reader, mut writer) = tokio::select! {
        biased;
        sent = sending => sent?,
        () = under_way.lost() => return Err(lost()),
    };
    let pace = match window {
        Some(window) => Some(Pace { window, writer, counts: false }),
        None => {
            // An error is told by the answer.
            let _ = writer.shutdown().await;
            None
        }
    };
    let (buffer, state, room) = (Bytes::new(), State::Head, Room::default());
    let frames = Frames { core: core.clone(), line, reader, pace, buffer, state, whole: 0, room, under_way };
    Ok(Begun { frames, offered })
}

fn lost() -> CallError {
    CallError::PeerLost("it fell silent".to_owned())
}

/// Functions that went out with a request. Unless the peer took them, they are released.
pub(super) struct Offered {
    core: Arc<Core>,
    line: Arc<Line>,
    handles: Vec<u64>,
}

impl Offered {
    /// The peer has them: from now on it says when it needs them no more.
    pub(super) fn keep(&mut self) {
        self.handles.clear();
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        for &handle in &self.handles {
            let released = self.core.exports().remove(handle, self.line.peer());
            drop(released);
        }
    }
}

/// The frames of an answer. Dropped before their end, they cancel the call.
pub(super) struct Frames {
    core: Arc<Core>,
    line: Arc<Line>,
    reader: SocketReader,
    /// Where the results are taken one by one: what the provider may send.
    pace: Option<Pace>,
    buffer: Bytes,
    state: State,
    /// Bytes of many results so far that are put together.
    whole: usize,
    room: Room,
    under_way: UnderWay,
}

struct Pace {
    window: Window,
    /// To say that more is taken.
    writer: SocketWriter,
    /// Whether many results have begun: what comes from then on counts.
    counts: bool,
}

#[derive(Clone, Copy)]
enum State {
    Head,
    Body(Kind, usize),
    Chunk(usize),
    Done,
}

pub(super) enum Frame {
    Value(Value),
    Items,
    Bytes,
    Item(Value),
    /// A part of a chunk, as it came.
    Piece(Bytes),
    End,
}

impl Frames {
    /// The next frame; `None` after the last. A future that is dropped takes nothing with it.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, CallError> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Head => {
                    self.fill(FRAME_HEAD).await?;
                    let head = self.buffer.split_to(FRAME_HEAD);
                    let head = head[..].try_into().expect("as many bytes as were split off");
                    let (kind, length) = Kind::decode(head).map_err(malformed)?;
                    if self.pace.is_none() && matches!(kind, Kind::Item | Kind::Chunk) {
                        self.whole += length;
                        if self.whole > MAX_MESSAGE {
                            return Err(ValueError::TooLarge.into());
                        }
                        self.room.hold(&self.line.results, self.whole)?;
                    }
                    self.state = match kind {
                        Kind::Chunk => State::Chunk(length),
                        kind => State::Body(kind, length),
                    };
                }
                State::Chunk(0) => self.state = State::Head,
                State::Chunk(left) => {
                    if self.buffer.is_empty() {
                        self.buffer = self.read().await?;
                    }
                    let piece = self.buffer.split_to(left.min(self.buffer.len()));
                    self.state = State::Chunk(left - piece.len());
                    return Ok(Some(Frame::Piece(piece)));
                }
                State::Body(kind, length) => {
                    self.fill(length).await?;
                    let body = self.buffer.split_to(length);
                    self.state = State::Head;
                    match (kind, &mut self.pace) {
                        (Kind::Value | Kind::End | Kind::Error, pace) => {
                            self.state = State::Done;
                            if let Some(mut pace) = pace.take() {
                                let _ = pace.writer.shutdown().await;
                            }
                        }
                        (Kind::Items | Kind::Bytes, Some(pace)) => {
                            pace.counts = true;
                            pace.window.received(self.buffer.len());
                        }
                        (_, Some(_)) => self.room = Room::default(),
                        _ => {}
                    }
                    return self.frame(kind, &body).map(Some);
                }
            }
        }
    }

    fn frame(&self, kind: Kind, body: &Bytes) -> Result<Frame, CallError> {
        let take = &mut |handle| self.core.take(&self.line, handle);
        Ok(match kind {
            Kind::Value => Frame::Value(decode_value(body, take).map_err(malformed)?),
            Kind::Item => Frame::Item(decode_value(body, take).map_err(malformed)?),
            Kind::Items => Frame::Items,
            Kind::Bytes => Frame::Bytes,
            Kind::End => Frame::End,
            Kind::Error => return Err(decode_error(body, take).map_err(malformed)?),
            Kind::Chunk => return Err(CallError::Protocol("a chunk has no body of its own".to_owned())),
        })
    }

    /// Has at least so many bytes in the buffer. It grows with what comes, not with what was announced.
    async fn fill(&mut self, length: usize) -> Result<(), CallError> {
        while self.buffer.len() < length {
            let more = self.read().await?;
            self.buffer = joined(std::mem::take(&mut self.buffer), more, length);
            self.room.hold(&self.line.results, self.whole.max(self.buffer.len().min(length)))?;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Bytes, CallError> {
        let Frames { reader, pace, under_way, .. } = self;
        if let Some(pace) = pace.as_mut().filter(|pace| pace.counts)
            && let Some(more) = pace.window.more()
        {
            // An error is told by what is read.
            let _ = pace.writer.write_all(&more.to_be_bytes()).await;
        }
        let read = tokio::select! {
            biased;
            read = reader.read_bytes(READ_BYTES) => read?,
            () = under_way.lost() => return Err(lost()),
        };
        let read = read.ok_or_else(|| CallError::Protocol("the answer ends too early".to_owned()))?;
        if let Some(pace) = pace.as_mut().filter(|pace| pace.counts) {
            pace.window.received(read.len());
        }
        Ok(read)
    }

    /// Asks for the next change of a watched value.
    pub(super) async fn ask_for_next(&mut self) {
        if let Some(pace) = &mut self.pace {
            // An error is told by what is read.
            let _ = pace.writer.write_all(&[0; MORE]).await;
        }
    }
}

/// Both together, on the way to `length` bytes; without a copy where the first has room for the second.
pub(super) fn joined(first: Bytes, second: Bytes, length: usize) -> Bytes {
    if first.is_empty() {
        return second;
    }
    let mut joined = first.try_into_mut().unwrap_or_else(|first| {
        let mut joined = BytesMut::with_capacity(length.min(2 * (first.len() + second.len())));
        joined.extend_from_slice(&first);
        joined
    });
    joined.extend_from_slice(&second);
    joined.freeze()
}

pub(super) fn malformed(error: ValueError) -> CallError {
    CallError::Protocol(error.to_string())
}

impl From<SocketError> for CallError {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::NotOffered => CallError::Protocol("it offers no objects".to_owned()),
            SocketError::Busy => CallError::TooManyCalls,
            SocketError::Session(error) => error.into(),
            SocketError::Cancelled | SocketError::Reset(_) | SocketError::Closed => CallError::Cancelled,
        }
    }
}

impl From<SessionError> for CallError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Busy | SessionError::TooManySessions | SessionError::TooManySockets => {
                CallError::TooManyCalls
            }
            SessionError::Closed => CallError::Closed,
            other => CallError::PeerLost(other.to_string()),
        }
    }
}
