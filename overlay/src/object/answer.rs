//! What a caller gets: one value, many, or bytes.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, ReadBuf};

use super::error::{CallError, Failure};
use super::function::Reply;
use super::limits::{MAX_MESSAGE, MAX_VALUES};
use super::value::{Value, ValueError};
use super::wire::{Frame, Frames};
use crate::net::platform::{Instant, timeout_at};

/// The answer to a call, as far as it has come.
pub(super) enum Answer {
    Value(Value),
    Items(BoxStream<'static, Result<Value, CallError>>),
    Bytes(BoxStream<'static, Result<Bytes, CallError>>),
}

impl Answer {
    /// Of a function of this node.
    pub(super) fn local(reply: Reply) -> Self {
        match reply {
            Reply::Value(value) => Answer::Value(value),
            Reply::Items(items) => Answer::Items(items.map_err(|failure| failure.0).boxed()),
            Reply::Bytes(pieces) => Answer::Bytes(pieces.map_err(|failure| failure.0).boxed()),
        }
    }

    pub(super) fn items(frames: Frames) -> Self {
        Answer::Items(
            stream::try_unfold(frames, |mut frames| async move {
                match frames.next().await? {
                    Some(Frame::Item(item)) => Ok(Some((item, frames))),
                    Some(Frame::End) => Ok(None),
                    _ => Err(CallError::Protocol("something else among the items".to_owned())),
                }
            })
            .boxed(),
        )
    }

    pub(super) fn bytes(frames: Frames) -> Self {
        Answer::Bytes(
            stream::try_unfold(frames, |mut frames| async move {
                match frames.next().await? {
                    Some(Frame::Piece(piece)) => Ok(Some((piece, frames))),
                    Some(Frame::End) => Ok(None),
                    _ => Err(CallError::Protocol("something else among the bytes".to_owned())),
                }
            })
            .boxed(),
        )
    }

    /// For the caller of a function that passed the call on.
    pub(super) async fn pass_on(self) -> Result<Reply, CallError> {
        Ok(match self {
            Answer::Value(value) => Reply::Value(value),
            Answer::Items(items) => Reply::Items(items.map_err(Failure::relay).boxed()),
            Answer::Bytes(pieces) => Reply::Bytes(pieces.map_err(Failure::relay).boxed()),
        })
    }

    /// All of it as one result.
    pub(super) async fn result<T: DeserializeOwned>(self, deadline: Instant) -> Result<T, CallError> {
        let value = match self {
            Answer::Value(value) => value,
            other => timeout_at(deadline, other.whole()).await.unwrap_or(Err(CallError::TimedOut))?,
        };
        typed(value)
    }

    async fn whole(self) -> Result<Value, CallError> {
        match self {
            Answer::Value(value) => Ok(value),
            Answer::Items(mut items) => {
                let (mut list, mut size) = (Vec::new(), 0);
                while let Some(item) = items.try_next().await? {
                    if list.len() >= MAX_VALUES {
                        return Err(ValueError::TooMany.into());
                    }
                    size += item.size();
                    if size > MAX_MESSAGE {
                        return Err(ValueError::TooLarge.into());
                    }
                    list.push(item);
                }
                Ok(Value::Array(list))
            }
            Answer::Bytes(mut pieces) => {
                let mut whole = BytesMut::new();
                while let Some(piece) = pieces.try_next().await? {
                    if whole.len() + piece.len() > MAX_MESSAGE {
                        return Err(ValueError::TooLarge.into());
                    }
                    whole.extend_from_slice(&piece);
                }
                Ok(Value::Bytes(whole.freeze()))
            }
        }
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, CallError> {
    value.to().map_err(|error| CallError::WrongResult(error.to_string()))
}

/// Results that come one by one, or the changes of a watched value. Dropped, it tells the provider to stop.
///
/// A stream (`futures::Stream`), and [`next`](Self::next) for those who need no more.
#[must_use = "dropping it ends it"]
pub struct Results<T> {
    items: BoxStream<'static, Result<Value, CallError>>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Results<T> {
    pub(super) fn new(answer: Answer) -> Self {
        let items = match answer {
            Answer::Value(value) => stream::once(std::future::ready(Ok(value))).boxed(),
            Answer::Items(items) => items,
            Answer::Bytes(pieces) => pieces.map_ok(Value::Bytes).boxed(),
        };
        Results::of(items)
    }

    pub(super) fn of(items: BoxStream<'static, Result<Value, CallError>>) -> Self {
        Results { items, of: PhantomData }
    }

    /// The next; `None` after the last. After an error nothing follows. It waits as long as the provider takes.
    pub async fn next(&mut self) -> Option<Result<T, CallError>> {
        StreamExt::next(self).await
    }
}

impl<T: DeserializeOwned> Stream for Results<T> {
    type Item = Result<T, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.poll_next_unpin(cx).map(|item| item.map(|item| item.and_then(typed)))
    }
}

impl<T> fmt::Debug for Results<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Results")
    }
}

/// Bytes that come in pieces, as fast as they are read: a stream of [`Bytes`], and `AsyncRead`. Dropped, it tells the provider
/// to stop.
#[must_use = "dropping it ends it"]
pub struct ByteStream {
    pieces: BoxStream<'static, Result<Bytes, CallError>>,
    /// What was taken from the stream and not read yet.
    rest: Bytes,
}

impl ByteStream {
    pub(super) fn new(answer: Answer) -> Self {
        let pieces = match answer {
            Answer::Bytes(pieces) => pieces,
            Answer::Value(value) => stream::once(std::future::ready(bytes_of(value))).boxed(),
            Answer::Items(items) => items.map(|item| item.and_then(bytes_of)).boxed(),
        };
        ByteStream { pieces, rest: Bytes::new() }
    }

    /// The next piece; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        StreamExt::next(self).await
    }
}

fn bytes_of(value: Value) -> Result<Bytes, CallError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Text(text) => Ok(text.into()),
        other => Err(CallError::WrongResult(format!("expected bytes, found {}", other.kind()))),
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.rest))));
        }
        self.pieces.poll_next_unpin(cx)
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.pieces.poll_next_unpin(cx)) {
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteStream")
    }
}
