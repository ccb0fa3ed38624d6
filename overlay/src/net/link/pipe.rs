//! The two ends of a link's queues: the node's side ([`Link`], [`LinkSender`]) and the side of what carries it ([`Pipe`]).
//!
//! Both directions are bounded. Towards the wire the bound is in bytes and counts what the peer has not acknowledged, so
//! that a full queue says the network is full. From the wire it is in frames. When the node does not read, frames wait, and slow
//! the peer down; those of the data channel for a moment only, after which they are dropped, as a router drops them: the window
//! that they would fill is also that of the ring's own messages.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use futures::task::AtomicWaker;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use super::{Channel, CloseReason, DATA_PATIENCE, Fingerprint, INBOX_FRAMES, LinkEvent, LinkKey, MAX_MESSAGE};
use crate::net::platform::Instant;

/// An open link. Dropping it closes it, unless its frames were [forwarded](Self::forward).
///
/// The [answering](Side::Answered) end may send at once. The offering end must have heard from the other first: what it sends
/// before may be lost, even on the reliable channel ([`greet`](super::hello::greet) sees to that order).
#[derive(Debug)]
pub struct Link {
    sender: LinkSender,
    local: Fingerprint,
    remote: Fingerprint,
    side: Side,
}

/// Which end of a link this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The end that made the offer.
    Offered,
    /// The end that answered it.
    Answered,
}

impl Link {
    pub(super) fn new(pipe: Arc<Pipe>, local: Fingerprint, remote: Fingerprint, side: Side) -> Self {
        Link { sender: LinkSender(Arc::new(Handle(pipe))), local, remote, side }
    }

    /// Which end this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The side to send with.
    pub fn sender(&self) -> &LinkSender {
        &self.sender
    }

    /// The certificate that this end showed.
    pub fn local_fingerprint(&self) -> Fingerprint {
        self.local
    }

    /// The certificate that the other end showed.
    pub fn remote_fingerprint(&self) -> Fingerprint {
        self.remote
    }

    /// The next frame; `None` when the link is closed and all that came before has been read.
    pub async fn recv(&mut self) -> Option<(Channel, BytesMut)> {
        let pipe = self.sender.pipe();
        poll_fn(|cx| pipe.poll_recv(cx)).await
    }

    /// From now on everything that comes goes into `sink` as [`LinkEvent`]s of this `key`, what waits in the link first.
    ///
    /// When `sink` is full, frames of the ring channel wait, and the peer with them, while those of the data channel are dropped
    /// after [`DATA_PATIENCE`]. The link closes when all senders or the queue's reader are dropped.
    pub fn forward(self, key: LinkKey, sink: mpsc::Sender<LinkEvent>) -> LinkSender {
        let pipe = self.sender.pipe();
        pipe.inbox().sink = Some(Sink { key, sender: sink, waiting: None });
        pipe.task.wake();
        self.sender
    }
}

/// The sending side of a link. Cheap to clone.
#[derive(Clone)]
pub struct LinkSender(Arc<Handle>);

impl LinkSender {
    /// Hands a frame over to be sent, or says at once that it cannot be.
    pub fn try_send(&self, channel: Channel, bytes: BytesMut) -> Result<(), SendError> {
        self.push(channel, bytes, 1.0)
    }

    /// The same for a frame that is not this node's own word to its neighbour: a quarter of the queue is kept free of those, so
    /// that what others send cannot keep the two from talking.
    pub fn try_send_routed(&self, channel: Channel, bytes: BytesMut) -> Result<(), SendError> {
        self.push(channel, bytes, ROUTED_SHARE)
    }

    fn push(&self, channel: Channel, bytes: BytesMut, share: f64) -> Result<(), SendError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(SendError::TooLarge);
        }
        let pipe = self.pipe();
        pipe.outbox().push(channel, bytes, share)?;
        pipe.task.wake();
        Ok(())
    }

    /// Hands frames over that belong together: all of them as soon as there is room for the first, so that a queue that is
    /// nearly full takes a batch or refuses it.
    pub fn try_send_all(&self, channel: Channel, frames: impl Iterator<Item = BytesMut>) -> Result<(), SendError> {
        let pipe = self.pipe();
        let mut outbox = pipe.outbox();
        let mut first = true;
        for bytes in frames {
            if bytes.len() > MAX_MESSAGE {
                return Err(SendError::TooLarge);
            }
            if std::mem::take(&mut first) {
                outbox.push(channel, bytes, 1.0)?;
            } else {
                outbox.push_beyond(channel, bytes);
            }
        }
        drop(outbox);
        pipe.task.wake();
        Ok(())
    }

    /// Waits until the channel has room for a frame of any length.
    pub async fn ready(&self, channel: Channel) -> Result<(), SendError> {
        let pipe = self.pipe();
        loop {
            let room = pipe.room.notified();
            let mut room = std::pin::pin!(room);
            room.as_mut().enable();
            {
                let mut outbox = pipe.outbox();
                if outbox.closed.is_some() {
                    return Err(SendError::Closed);
                }
                if outbox.has_room(channel, MAX_MESSAGE, 1.0) {
                    return Ok(());
                }
                outbox.lanes[channel as usize].starved = true;
            }
            room.await;
        }
    }

    /// Frames of the data channel that came and were dropped, because this node did not read fast enough.
    pub fn dropped(&self) -> u64 {
        self.pipe().inbox().dropped
    }

    /// Closes the link. What was handed over on the ring channel is still sent if that takes no longer than a moment.
    pub fn close(&self) {
        self.pipe().close();
    }

    /// Waits until the link is closed and its sockets are released.
    pub async fn closed(&self) -> CloseReason {
        let pipe = self.pipe();
        loop {
            let ended = pipe.ended.notified();
            let mut ended = std::pin::pin!(ended);
            ended.as_mut().enable();
            if let Some(reason) = pipe.inbox().finished {
                return reason;
            }
            ended.await;
        }
    }

    fn pipe(&self) -> &Arc<Pipe> {
        &self.0.0
    }
}

impl fmt::Debug for LinkSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSender")
    }
}

/// Why a frame was not taken. It is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The channel's queue is full: wait for [`LinkSender::ready`] or [`LinkEvent::Writable`], or drop the frame.
    #[error("the link's queue is full")]
    Full,
    /// The link is closed.
    #[error("the link is closed")]
    Closed,
    /// Longer than [`MAX_MESSAGE`].
    #[error("a frame over the limit of {MAX_MESSAGE} bytes")]
    TooLarge,
}

/// Closes the link when the node holds it no more.
struct Handle(Arc<Pipe>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The side of the queues that belongs to what carries the link. Its functions are called by the one task that carries it.
#[derive(Default)]
pub(super) struct Pipe {
    outbox: Mutex<Outbox>,
    inbox: Mutex<Inbox>,
    /// The task that carries the link: there is something to send, a frame was read, the link is to close.
    pub(super) task: AtomicWaker,
    room: Notify,
    ended: Notify,
}

impl Pipe {
    /// The next frame to send, those of the ring channel first; `None` when all is taken and the link is to close.
    pub(super) fn poll_outbound(&self) -> Poll<Option<(Channel, BytesMut)>> {
        let mut outbox = self.outbox();
        for channel in Channel::ALL {
            let closing = outbox.closed.is_some();
            let lane = &mut outbox.lanes[channel as usize];
            if (closing || lane.in_flight < channel.queue_bytes())
                && let Some(bytes) = lane.queue.pop_front()
            {
                lane.queued -= bytes.len();
                // Until the wire says otherwise (`set_in_flight`) they are on the way.
                lane.in_flight += bytes.len();
                return Poll::Ready(Some((channel, bytes)));
            }
        }
        match outbox.closed {
            Some(_) => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Whether the link is to close, or is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.outbox().closed.is_some()
    }

    /// Bytes of the channel that were taken and are not known to have arrived.
    pub(super) fn in_flight(&self, channel: Channel) -> usize {
        self.outbox().lanes[channel as usize].in_flight
    }

    /// Says how many bytes of those that were taken are still on the way; the others make room.
    pub(super) fn set_in_flight(&self, channel: Channel, bytes: usize) {
        let mut outbox = self.outbox();
        let lane = &mut outbox.lanes[channel as usize];
        lane.in_flight = bytes;
        if bytes < channel.queue_bytes() && !lane.queue.is_empty() {
            self.task.wake();
        }
        if lane.starved && lane.held() + MAX_MESSAGE <= channel.queue_bytes() {
            lane.starved = false;
            drop(outbox);
            self.inbox().writable[channel as usize] = true;
            self.room.notify_waiters();
        }
    }

    /// Hands a frame that came over to the node. One of the ring channel stays in `frame` for as long as the node has no room.
    pub(super) fn poll_deliver(&self, cx: &mut Context<'_>, frame: &mut Option<(Channel, BytesMut)>) -> Poll<()> {
        let mut inbox = self.inbox();
        let room = inbox.poll_forward(cx).is_ready();
        let data = matches!(frame, Some((Channel::Data, _)));
        if inbox.abandoned {
            *frame = None;
        } else if inbox.sink.is_some() && room {
            inbox.blocked = None;
            let Some((channel, bytes)) = frame.take() else { return Poll::Ready(()) };
            let sink = inbox.sink.as_mut().expect("looked at above");
            let event = LinkEvent::Frame { link: sink.key, channel, bytes };
            if !sink.send(event) {
                drop(inbox);
                self.close();
            }
        } else if inbox.queue.len() < INBOX_FRAMES && inbox.sink.is_none() {
            inbox.blocked = None;
            inbox.queue.extend(frame.take());
            if let Some(reader) = inbox.reader.take() {
                reader.wake();
            }
        } else if data && inbox.blocked.get_or_insert_with(Instant::now).elapsed() > DATA_PATIENCE {
            *frame = None;
            inbox.dropped += 1;
        } else {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Moves on what waits for room in the node's queue. To be called whenever the task is polled.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.inbox().poll_forward(cx)
    }

    /// Tells the node that the link is closed, after everything that came before. Ready when the node knows, or is gone.
    pub(super) fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.end(CloseReason::Lost);
        let reason = self.reason();
        let mut guard = self.inbox();
        let inbox = &mut *guard;
        if inbox.finished.is_none() {
            inbox.finished = Some(reason);
            self.ended.notify_waiters();
            if let Some(reader) = inbox.reader.take() {
                reader.wake();
            }
        }
        if !inbox.told && inbox.sink.is_some() {
            if inbox.poll_forward(cx).is_pending() {
                return Poll::Pending;
            }
            inbox.told = true;
            let sink = inbox.sink.as_mut().expect("looked at above");
            sink.send(LinkEvent::Closed { link: sink.key, reason });
        }
        if inbox.told && inbox.poll_forward(cx).is_ready() {
            // The last event is in: the queue is not held open for a link that is no more.
            inbox.sink = None;
            return Poll::Ready(());
        }
        match inbox.abandoned {
            true => Poll::Ready(()),
            // Somebody may yet forward it, and must then hear that it is closed.
            false => Poll::Pending,
        }
    }

    /// Asks for the link to be closed.
    fn close(&self) {
        self.end(CloseReason::Local);
    }

    /// Closes the link for this reason, unless it is closed already for another.
    pub(super) fn end(&self, reason: CloseReason) {
        let mut outbox = self.outbox();
        if outbox.closed.is_none() {
            outbox.closed = Some(reason);
            drop(outbox);
            self.room.notify_waiters();
            self.task.wake();
        }
    }

    /// Why the link is closed, or would be if it were closed now.
    pub(super) fn reason(&self) -> CloseReason {
        self.outbox().closed.unwrap_or(CloseReason::Local)
    }

    /// Nobody will read from the link any more.
    pub(super) fn abandon(&self) {
        self.close();
        self.inbox().abandoned = true;
        self.task.wake();
    }

    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<(Channel, BytesMut)>> {
        let mut inbox = self.inbox();
        if let Some(frame) = inbox.queue.pop_front() {
            let was_full = inbox.queue.len() + 1 == INBOX_FRAMES;
            drop(inbox);
            if was_full {
                self.task.wake();
            }
            return Poll::Ready(Some(frame));
        }
        if inbox.finished.is_some() {
            return Poll::Ready(None);
        }
        inbox.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    // Nothing panics while it holds these locks; were it to, the queues would still be whole.
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the node wants sent.
#[derive(Default)]
struct Outbox {
    lanes: [Lane; 2],
    closed: Option<CloseReason>,
}

impl Outbox {
    fn push(&mut self, channel: Channel, bytes: BytesMut, share: f64) -> Result<(), SendError> {
        if self.closed.is_some() {
            return Err(SendError::Closed);
        }
        let room = self.has_room(channel, bytes.len(), share);
        if !room {
            self.lanes[channel as usize].starved = true;
            return Err(SendError::Full);
        }
        self.push_beyond(channel, bytes);
        Ok(())
    }

    /// Queues the rest of a batch, the room used up or not.
    fn push_beyond(&mut self, channel: Channel, bytes: BytesMut) {
        let lane = &mut self.lanes[channel as usize];
        lane.queued += bytes.len();
        lane.queue.push_back(bytes);
    }

    fn has_room(&self, channel: Channel, bytes: usize, share: f64) -> bool {
        let lane = &self.lanes[channel as usize];
        let of = |limit: usize| (limit as f64 * share) as usize;
        lane.queue.len() < of(MAX_QUEUED_FRAMES) && lane.held() + bytes <= of(channel.queue_bytes())
    }
}

/// Frames that wait on one channel at most: empty ones have no bytes to count.
const MAX_QUEUED_FRAMES: usize = 1024;

/// What frames of others may take of a queue.
const ROUTED_SHARE: f64 = 0.75;

/// One channel of the outbox.
#[derive(Default)]
struct Lane {
    queue: VecDeque<BytesMut>,
    queued: usize,
    in_flight: usize,
    starved: bool,
}

impl Lane {
    fn held(&self) -> usize {
        self.queued + self.in_flight
    }
}

/// What came for the node.
#[derive(Default)]
struct Inbox {
    queue: VecDeque<(Channel, BytesMut)>,
    reader: Option<Waker>,
    sink: Option<Sink>,
    writable: [bool; 2],
    finished: Option<CloseReason>,
    told: bool,
    abandoned: bool,
    dropped: u64,
    /// Since when a frame of the data channel finds no room.
    blocked: Option<Instant>,
}

impl Inbox {
    /// Ready when all that waited is in the sink.
    fn poll_forward(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sink) = &mut self.sink else { return Poll::Ready(()) };
        loop {
            if sink.poll_room(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some((channel, bytes)) = self.queue.pop_front() {
                sink.send(LinkEvent::Frame { link: sink.key, channel, bytes });
            } else if let Some(channel) = Channel::ALL.into_iter().find(|c| self.writable[*c as usize]) {
                self.writable[channel as usize] = false;
                sink.send(LinkEvent::Writable { link: sink.key, channel });
            } else {
                return Poll::Ready(());
            }
        }
    }
}

/// The node's queue that a link's frames go into.
struct Sink {
    key: LinkKey,
    sender: mpsc::Sender<LinkEvent>,
    /// An event that found the queue full, and its place in the line.
    waiting: Option<(LinkEvent, Reserve)>,
}

type Reserve = Pin<Box<dyn Future<Output = Option<mpsc::OwnedPermit<LinkEvent>>> + Send>>;

impl Sink {
    /// Takes an event, which may have to wait; only after `poll_room` was ready. Says whether anybody is there to read it.
    fn send(&mut self, event: LinkEvent) -> bool {
        match self.sender.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(event)) => {
                let sender = self.sender.clone();
                self.waiting = Some((event, Box::pin(async move { sender.reserve_owned().await.ok() })));
                true
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((_, reserve)) = &mut self.waiting else { return Poll::Ready(()) };
        let Poll::Ready(permit) = reserve.as_mut().poll(cx) else { return Poll::Pending };
        if let (Some((event, _)), Some(permit)) = (self.waiting.take(), permit) {
            permit.send(event);
        }
        Poll::Ready(())
    }
}
