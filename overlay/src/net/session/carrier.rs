//! Where QUIC meets the ring: packets out by a [`Carrier`], packets in through a queue that the driver fills.
//!
//! Outwards nothing waits: QUIC's own task calls [`Carrier::try_send`] with up to [`MAX_BATCH`] packets at once. A carrier
//! whose local queue is full either drops, as an IP router does, or answers `false`: then only the session that was refused
//! waits, until [`super::Port::writable`], and nothing is lost.
//!
//! Inwards [`super::Port::deliver`] puts a packet into the queue and wakes QUIC's endpoint task: no task stands between.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::address::{address_of, id_of};
use super::transport::MAX_PACKET;
use crate::id::Id;
use crate::small_map::SmallMap;

/// Packets that QUIC hands over in one call, at most.
pub const MAX_BATCH: usize = 10;

/// Packets that wait for QUIC's endpoint task, at most; what comes after is dropped and counted. As many again may be in
/// the hands of that task.
pub const INCOMING_PACKETS: usize = 2048;

/// Bytes that wait for QUIC's endpoint task, at most; what comes after is dropped and counted.
pub const INCOMING_BYTES: usize = 4 << 20;

/// What takes session packets to other nodes: given by the driver.
pub trait Carrier: Send + Sync + 'static {
    /// Takes all of `packets` towards `to`, or refuses them all. Must not block.
    ///
    /// `true`: taken; what cannot be forwarded is dropped silently, and QUIC finds out. `false`: the local queue is full
    /// now, and [`super::Port::writable`] will be called when there is room again. A carrier may take a whole batch when it has
    /// room for only one packet. No lock may be held here that is held while calling [`super::Port`].
    fn try_send(&self, to: Id, packets: Packets<'_>) -> bool;
}

impl<F: Fn(Id, Packets<'_>) -> bool + Send + Sync + 'static> Carrier for F {
    fn try_send(&self, to: Id, packets: Packets<'_>) -> bool {
        self(to, packets)
    }
}

/// One to [`MAX_BATCH`] packets for one peer, one after the other in memory; each at most [`MAX_PACKET`] bytes.
#[derive(Clone, Copy)]
pub struct Packets<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Packets<'a> {
    /// All packets, end to end: each is [`Packets::size`] bytes long, but the last may be shorter.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The length of every packet but the last, in bytes.
    pub fn size(self) -> usize {
        self.size
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.bytes.len().div_ceil(self.size)
    }

    /// The packets one by one.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.bytes.chunks(self.size)
    }
}

impl fmt::Debug for Packets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets of {} bytes", self.count(), self.size)
    }
}

thread_local! {
    /// The poller that was asked last, on this thread, and said "writable": the packet sent next is its connection's. QUIC
    /// calls the two directly after each other, and sends its stateless answers without asking any poller.
    static ASKED: Cell<Option<u64>> = const { Cell::new(None) };
    /// The poller whose packet was refused, and the epoch of the gate at that time.
    static REFUSED: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// The ring as QUIC's UDP socket.
pub(super) struct RingSocket {
    own: SocketAddr,
    carrier: Box<dyn Carrier>,
    inbox: Arc<Inbox>,
    /// Packets taken out of the inbox by the endpoint task: a lock that nobody else ever takes.
    taken: Mutex<VecDeque<(Id, Bytes)>>,
    next_poller: AtomicU64,
}

impl RingSocket {
    pub(super) fn new(own: Id, carrier: impl Carrier) -> Arc<Self> {
        Arc::new(RingSocket {
            own: address_of(own),
            carrier: Box::new(carrier),
            inbox: Arc::default(),
            taken: Mutex::default(),
            next_poller: AtomicU64::new(0),
        })
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
}

/// The half of the socket that the driver holds. It does not hold the carrier, which may hold the driver.
#[derive(Default)]
pub(super) struct Inbox {
    gate: Gate,
    queue: Mutex<Queue>,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    packets: VecDeque<(Id, Bytes)>,
    bytes: usize,
    waker: Option<Waker>,
}

impl Inbox {
    /// Queues a packet for QUIC; `false` if it was dropped.
    pub(super) fn deliver(&self, from: Id, packet: Bytes) -> bool {
        let mut queue = lock(&self.queue);
        let full = queue.packets.len() >= INCOMING_PACKETS || queue.bytes + packet.len() > INCOMING_BYTES;
        if full || packet.is_empty() || packet.len() > usize::from(MAX_PACKET) {
            drop(queue);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        queue.bytes += packet.len();
        queue.packets.push_back((from, packet));
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Lets every connection that was refused try again.
    pub(super) fn writable(&self) {
        self.gate.open();
    }

    /// Packets that [`Inbox::deliver`] dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl AsyncUdpSocket for RingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let number = self.next_poller.fetch_add(1, Ordering::Relaxed);
        Box::pin(GatePoller { socket: self, number, waits_since: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let asked = ASKED.take();
        let Some(to) = id_of(transmit.destination) else {
            return Ok(()); // nowhere to send it: lost, as on the internet
        };
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let packets = Packets { bytes: transmit.contents, size };
        if self.carrier.try_send(to, packets) {
            return Ok(());
        }
        // From here on the next `writable` counts. There may have been one in between: so try once more.
        let epoch = self.inbox.gate.watch();
        if self.carrier.try_send(to, packets) {
            return Ok(());
        }
        REFUSED.set(asked.map(|poller| (poller, epoch)));
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut taken = lock(&self.taken);
        if taken.is_empty() {
            let mut queue = lock(&self.inbox.queue);
            if queue.packets.is_empty() {
                queue.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            std::mem::swap(&mut *taken, &mut queue.packets);
            queue.bytes = 0;
        }
        let room = bufs.len().min(meta.len()).min(taken.len());
        let slots = bufs.iter_mut().zip(meta.iter_mut());
        for ((from, packet), (buf, meta)) in taken.drain(..room).zip(slots) {
            let len = packet.len().min(buf.len());
            buf[..len].copy_from_slice(&packet[..len]);
            *meta = RecvMeta { addr: address_of(from), len, stride: len, ecn: None, dst_ip: None };
        }
        Poll::Ready(Ok(room))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.own)
    }

    fn max_transmit_segments(&self) -> usize {
        MAX_BATCH
    }

    /// The ring carries a packet whole or not at all: so QUIC may search for the largest that passes.
    fn may_fragment(&self) -> bool {
        false
    }
}

impl fmt::Debug for RingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingSocket").field("own", &self.own).finish_non_exhaustive()
    }
}

/// Where refused connections wait for room. The epoch counts the times that it opened.
#[derive(Default)]
struct Gate {
    watched: AtomicBool,
    state: Mutex<GateState>,
}

#[derive(Default)]
struct GateState {
    epoch: u64,
    /// By the number of the poller: one a connection at most.
    waiting: SmallMap<u64, Waker>,
}

impl Gate {
    /// Makes the next `open` count, and tells the epoch to wait for the end of.
    fn watch(&self) -> u64 {
        let state = lock(&self.state);
        self.watched.store(true, Ordering::SeqCst);
        state.epoch
    }

    fn open(&self) {
        // Called after every packet that the driver takes out: one load while nobody waits.
        if !self.watched.load(Ordering::SeqCst) {
            return;
        }
        let waiting = {
            let mut state = lock(&self.state);
            self.watched.store(false, Ordering::SeqCst);
            state.epoch += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// One connection's view of the gate.
#[derive(Debug)]
struct GatePoller {
    socket: Arc<RingSocket>,
    number: u64,
    /// The epoch in which this connection's packet was refused.
    waits_since: Option<u64>,
}

impl UdpPoller for GatePoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some((_, epoch)) = REFUSED.take().filter(|&(poller, _)| poller == self.number) {
            self.waits_since = Some(epoch);
        }
        if let Some(since) = self.waits_since {
            let mut state = lock(&self.socket.inbox.gate.state);
            if state.epoch == since {
                state.waiting.insert(self.number, cx.waker().clone());
                return Poll::Pending;
            }
            drop(state);
            self.waits_since = None;
        }
        ASKED.set(Some(self.number));
        Poll::Ready(Ok(()))
    }
}

impl Drop for GatePoller {
    fn drop(&mut self) {
        lock(&self.socket.inbox.gate.state).waiting.remove(&self.number);
    }
}

/// Nothing panics while it holds one of these locks, and what they guard is whole at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
