//! What carries a link's frames between its queues and the connection's channels, in the same task as the connection's driver.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::PeerConnection;

use super::super::pipe::Pipe;
use super::super::{Breach, Channel, CloseReason, MAX_MESSAGE};
use super::debt::{Debt, paid_by};
use super::runtime::{Beside, Watch};
use super::{Progress, RECEIVE_WINDOW};

/// How long a link that is closed waits for what was sent on the ring channel to arrive.
const LINGER: Duration = Duration::from_millis(200);

/// The connection and its channels, which exist only when the driver already runs.
pub(super) struct Ends {
    pub(super) connection: Arc<dyn PeerConnection>,
    /// In the order of [`Channel::ALL`].
    pub(super) channels: Vec<Arc<dyn DataChannel>>,
}

/// Where the connection is put for its carrier.
#[derive(Clone, Default)]
pub(super) struct EndsSlot(Arc<Mutex<Option<Ends>>>);

impl EndsSlot {
    pub(super) fn set(&self, ends: Ends) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends);
    }

    fn take(&self) -> Option<Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Frames taken in one turn from which on the connection may hold back more of them.
///
/// It takes no more than 256 frames out of SCTP at once, and looks for the others only when the next datagram comes or the next
/// timer fires: up to 200 ms later, when the peer waits with a full window. Another turn has it look at once.
const MANY: usize = 64;

/// Turns without a frame before the connection holds none back any more: it hands frames on in several steps, a step a turn.
const EMPTY_TURNS: u8 = 3;

type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs beside the driver: before its turn it hands over what is to be sent, after its turn it takes what has come.
pub(super) struct Carrier {
    pipe: Arc<Pipe>,
    watch: Arc<Watch>,
    progress: Arc<Progress>,
    slot: EndsSlot,
    running: Option<Ends>,
    writer: Option<Job<()>>,
    readers: Vec<Job<CloseReason>>,
    closer: Option<Job<()>>,
    tally: Arc<Tally>,
    debt: Debt,
}

/// What the readers did since they were last asked.
#[derive(Default)]
struct Tally {
    /// Frames taken.
    taken: AtomicUsize,
    /// Whether a frame had to wait for the node.
    waited: AtomicBool,
    /// Readers with a frame that waits for the node now.
    waiting: AtomicUsize,
    /// What the frames taken pay for.
    paid: AtomicUsize,
    /// How many turns without a frame are to follow.
    turns: AtomicU8,
}

impl Tally {
    /// Whether the connection may hold frames back that it could give.
    fn more_may_wait(&self) -> bool {
        let taken = self.taken.swap(0, Ordering::Relaxed);
        let waited = taken > 0 && self.waited.swap(false, Ordering::Relaxed);
        let turns = match self.turns.load(Ordering::Relaxed) {
            _ if taken >= MANY || waited => EMPTY_TURNS,
            turns if taken > 0 => turns,
            turns => turns.saturating_sub(1),
        };
        self.turns.store(turns, Ordering::Relaxed);
        turns > 0
    }
}

impl Carrier {
    pub(super) fn new(pipe: Arc<Pipe>, watch: Arc<Watch>, progress: Arc<Progress>) -> Self {
        let (slot, running, writer, readers, closer, tally, debt) = Default::default();
        Carrier { pipe, watch, progress, slot, running, writer, readers, closer, tally, debt }
    }

    pub(super) fn ends(&self) -> EndsSlot {
        self.slot.clone()
    }

    fn start(&mut self, ends: Ends) {
        self.writer = Some(Box::pin(write(Arc::clone(&self.pipe), ends.channels.clone())));
        for (channel, end) in Channel::ALL.into_iter().zip(&ends.channels) {
            let reader = Reader {
                channel,
                pipe: Arc::clone(&self.pipe),
                watch: Arc::clone(&self.watch),
                progress: Arc::clone(&self.progress),
                tally: Arc::clone(&self.tally),
            };
            self.readers.push(Box::pin(reader.read(Arc::clone(end))));
        }
        self.running = Some(ends);
    }

    /// Takes what has come; says so to the pipe when a channel has ended.
    fn poll_readers(&mut self, cx: &mut Context<'_>) {
        let pipe = &self.pipe;
        self.readers.retain_mut(|reader| match reader.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(reason) => {
                pipe.end(reason);
                false
            }
        });
    }

    /// Ends the link when what comes does not become frames. To be called when nothing waits to be read.
    fn collect_debt(&mut self) {
        let (came, paid) = (self.watch.take_came(), self.tally.paid.swap(0, Ordering::Relaxed));
        if !self.debt.is_bearable(came, paid, RECEIVE_WINDOW as usize, Instant::now()) {
            self.pipe.end(CloseReason::Protocol(Breach::TooLong));
        }
    }

    /// Learns from the connection what has arrived, which makes room.
    fn count_in_flight(&mut self, cx: &mut Context<'_>) {
        let Some(ends) = &self.running else { return };
        for (channel, end) in Channel::ALL.into_iter().zip(&ends.channels) {
            if self.pipe.in_flight(channel) > 0 {
                // When the driver was interrupted in the middle of something, the next turn will do.
                if let Poll::Ready(outstanding) = end.outstanding_bytes().as_mut().poll(cx) {
                    self.pipe.set_in_flight(channel, outstanding.unwrap_or(0));
                }
            }
        }
    }
}

impl Beside for Carrier {
    fn before(&mut self, cx: &mut Context<'_>) {
        self.pipe.task.register(cx.waker());
        if self.running.is_none() && self.closer.is_none() {
            match self.slot.take() {
                Some(ends) => self.start(ends),
                // Nobody waits for the connection any more, and it can be closed by nobody else.
                None if self.pipe.is_closed() => self.watch.stop(),
                None => {}
            }
        }
        let Some(writer) = &mut self.writer else { return };
        if writer.as_mut().poll(cx).is_ready() {
            self.writer = None;
            self.watch.settle();
            self.progress.failed();
            if let Some(ends) = &self.running {
                self.closer = Some(Box::pin(close(Arc::clone(&self.pipe), Arc::clone(&ends.connection))));
            }
        }
    }

    fn after(&mut self, cx: &mut Context<'_>) {
        self.poll_readers(cx);
        if self.closer.is_none() {
            if self.tally.more_may_wait() {
                self.watch.stir();
            } else if self.tally.waiting.load(Ordering::Relaxed) == 0 {
                self.collect_debt();
            }
        }
        self.count_in_flight(cx);
        if let Some(closer) = &mut self.closer
            && closer.as_mut().poll(cx).is_ready()
        {
            self.watch.stop();
        }
        let _ = self.pipe.poll_flush(cx);
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipe.task.register(cx.waker());
        // What came before the end still counts; the channels' streams end by themselves now.
        self.poll_readers(cx);
        (self.writer, self.closer, self.running) = (None, None, None);
        self.progress.failed();
        if !self.readers.is_empty() {
            let _ = self.pipe.poll_flush(cx);
            return Poll::Pending;
        }
        self.pipe.poll_finish(cx)
    }
}

/// Hands frames over to the connection until the link is to close.
async fn write(pipe: Arc<Pipe>, channels: Vec<Arc<dyn DataChannel>>) {
    // The pipe wakes the link's task, which is this one.
    while let Some((channel, bytes)) = poll_fn(|_| pipe.poll_outbound()).await {
        // A channel that takes nothing is closed, and its reader says so.
        let _ = channels[channel as usize].try_send(bytes).await;
    }
}

/// Hands what a channel brings to the node.
struct Reader {
    channel: Channel,
    pipe: Arc<Pipe>,
    watch: Arc<Watch>,
    progress: Arc<Progress>,
    tally: Arc<Tally>,
}

impl Reader {
    fn opened(&self) {
        if self.progress.opened(self.channel) {
            self.watch.settle();
        }
    }

    /// Reads until the channel ends, and says how it did.
    async fn read(self, end: Arc<dyn DataChannel>) -> CloseReason {
        while let Some(event) = end.poll().await {
            match event {
                DataChannelEvent::OnOpen => self.opened(),
                DataChannelEvent::OnMessage(message) => {
                    if message.is_string {
                        return CloseReason::Protocol(Breach::Text);
                    }
                    let length = message.data.len();
                    if length > MAX_MESSAGE {
                        return CloseReason::Protocol(Breach::TooLong);
                    }
                    let mut frame = Some((self.channel, message.data));
                    self.tally.waiting.fetch_add(1, Ordering::Relaxed);
                    poll_fn(|cx| {
                        let delivered = self.pipe.poll_deliver(cx, &mut frame);
                        if delivered.is_pending() {
                            self.tally.waited.store(true, Ordering::Relaxed);
                        }
                        delivered
                    })
                    .await;
                    self.tally.waiting.fetch_sub(1, Ordering::Relaxed);
                    self.tally.taken.fetch_add(1, Ordering::Relaxed);
                    self.tally.paid.fetch_add(paid_by(length), Ordering::Relaxed);
                }
                DataChannelEvent::OnClosing | DataChannelEvent::OnClose => return CloseReason::Peer,
                _ => {}
            }
        }
        CloseReason::Lost
    }
}

/// Closes the connection, when what is on its way has arrived or has had its time.
async fn close(pipe: Arc<Pipe>, connection: Arc<dyn PeerConnection>) {
    if pipe.reason() == CloseReason::Local {
        let arrived = poll_fn(|_| match pipe.in_flight(Channel::Ring) {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        });
        let _ = tokio::time::timeout(LINGER, arrived).await;
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a connection did not close cleanly");
    }
}
