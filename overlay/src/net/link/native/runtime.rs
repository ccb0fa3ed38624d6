//! The runtime that a WebRTC connection runs on: tokio's, with four changes that make links open fast and cost little.
//!
//! The crate `webrtc` runs each connection as one task, its driver. It asks a [`Runtime`] to spawn it, to sleep, for UDP sockets and for
//! name look-ups. In its loop the driver writes first and handles events after that, so what an event produces (the first
//! message of the DTLS handshake, the first of SCTP) lies there until a timer fires, 200 ms later, several times in the
//! opening of one connection. So here:
//!
//! - While a link opens, every turn of the driver in which something happened is followed by another one: its sleep ends at
//!   once ([`Watch::nudge`]). That opens a connection in the time that its packets take. An open link is left alone.
//! - The driver is not spawned but handed to [`Turns`], which runs the link's queues in the same task, right before and after
//!   each turn of the driver: no other task stands between a socket and the node's queue.
//! - UDP sockets get a larger receive buffer, as far as the system allows.
//! - Name look-ups are limited in time and remembered: the driver does them in its loop, where a dead DNS server would stop it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::time::Sleep;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, TokioRuntime,
    Transmit,
};

use super::debt::counts;

/// Bytes to ask for as the receive buffer of a UDP socket. Linux gives twice its `net.core.rmem_max` at most.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// How long a link waits for the address of a STUN or TURN server before it opens without that server.
const RESOLVE_LIMIT: Duration = Duration::from_millis(500);

/// How long an address is remembered; also how long a failure is.
const RESOLVE_MEMORY: Duration = Duration::from_secs(60);

/// Names remembered at most.
const RESOLVED_NAMES: usize = 64;

/// Turns of the driver in one go at most before other tasks get theirs.
const MAX_TURNS: usize = 16;

/// Reads of a socket in one turn of the driver at most; each may bring some 50 datagrams.
///
/// As long as more come, the driver goes on without ever looking at what takes the frames off its hands: its queues fill, then SCTP's
/// window, and the peer stops and probes it again a second later.
const MAX_READS: usize = 8;

/// What a connection's driver did, and when it shall go on.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Datagrams sent and received, and events handled.
    happened: AtomicU64,
    /// Reads of the sockets in this turn.
    reads: AtomicUsize,
    /// Bytes that came in datagrams which may be part of long messages.
    came: AtomicUsize,
    /// Whether the link is not yet open.
    opening: AtomicBool,
    /// Whether the driver's sleep shall end.
    nudge: AtomicBool,
    /// Whether frames wait in the connection, which looks for them only when a datagram comes: one is to be made up.
    stir: AtomicBool,
    /// Who waits for a datagram.
    reader: AtomicWaker,
    /// Whether the driver shall end, sockets and all.
    stop: AtomicBool,
}

impl Watch {
    /// Something happened that may have left work behind.
    pub(super) fn happened(&self) {
        self.happened.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that came since the last time, in datagrams that [count](super::debt::counts).
    pub(super) fn take_came(&self) -> usize {
        self.came.swap(0, Ordering::Relaxed)
    }

    /// The connection is to look for frames that it holds back.
    pub(super) fn stir(&self) {
        self.stir.store(true, Ordering::Relaxed);
        self.reader.wake();
    }

    /// The driver is not to have another turn.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The link is open, or no longer opening: from now on sleeps last as long as they should.
    pub(super) fn settle(&self) {
        self.opening.store(false, Ordering::Relaxed);
        self.nudge.store(false, Ordering::Relaxed);
    }

    /// The driver's sleep ends now, or the next one at once.
    pub(super) fn nudge(&self) {
        self.nudge.store(true, Ordering::Relaxed);
    }
}

/// What runs beside the driver in one task.
pub(super) trait Beside: Send {
    /// Runs before a turn of the driver.
    fn before(&mut self, cx: &mut Context<'_>);
    /// Runs after a turn of the driver.
    fn after(&mut self, cx: &mut Context<'_>);
    /// Runs when the driver has ended, until it is ready; the driver's sockets are closed by then.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// The runtime of one connection.
#[derive(Debug)]
pub(super) struct LinkRuntime {
    watch: Arc<Watch>,
    names: Arc<Names>,
    beside: Mutex<Option<BesideBox>>,
}

/// A box that says nothing about itself, since a `Runtime` must be `Debug`.
struct BesideBox(Box<dyn Beside>);

impl std::fmt::Debug for BesideBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Beside")
    }
}

impl LinkRuntime {
    /// For a connection that is about to be opened, with what shall run beside its driver.
    pub(super) fn new(names: Arc<Names>, watch: Arc<Watch>, beside: Box<dyn Beside>) -> Self {
        watch.opening.store(true, Ordering::Relaxed);
        LinkRuntime { watch, names, beside: Mutex::new(Some(BesideBox(beside))) }
    }
}

impl Runtime for LinkRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        // The first task of a connection is its driver.
        match self.beside.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(BesideBox(beside)) => {
                let turns = Turns { driver: Some(future), beside, watch: Arc::clone(&self.watch) };
                let watch = Arc::clone(&self.watch);
                Box::new(Task { task: tokio::spawn(turns), watch })
            }
            None => TokioRuntime.spawn(future),
        }
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        // The link works with the system's buffer too, only slower.
        if let Err(error) = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER) {
            tracing::debug!(%error, "the receive buffer of a link's socket stays as it is");
        }
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        Ok(Arc::new(WatchedSocket { inner, watch: Arc::clone(&self.watch) }))
    }

    fn wrap_tcp_listener(&self, listener: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote_addr: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        TokioRuntime.connect_tcp(remote_addr)
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(self.names.resolve(host))
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        Box::pin(Nap { sleep: Box::pin(tokio::time::sleep(duration)), watch: Arc::clone(&self.watch) })
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        // Asked for between sends, to let the driver have a turn: it has one anyway, in the same task.
        Box::pin(std::future::ready(()))
    }

    fn name(&self) -> &'static str {
        "tokio, watched"
    }
}

/// The one task of a link: turns of the driver, and what runs beside it.
struct Turns {
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    beside: Box<dyn Beside>,
    watch: Arc<Watch>,
}

impl Future for Turns {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..MAX_TURNS {
            let Some(driver) = &mut this.driver else { return this.beside.poll_end(cx) };
            let happened = this.watch.happened.load(Ordering::Relaxed);
            this.beside.before(cx);
            // Frames that wait in the connection go first, or more would come in a turn than
            // are taken out.
            let open = !this.watch.opening.load(Ordering::Relaxed);
            let draining = open && this.watch.stir.load(Ordering::Relaxed);
            this.watch.reads.store(if draining { MAX_READS } else { 0 }, Ordering::Relaxed);
            let ended = driver.as_mut().poll(cx).is_ready();
            this.beside.after(cx);
            if ended || this.watch.stop.load(Ordering::Relaxed) {
                this.driver = None;
                continue;
            }
            let opening = this.watch.opening.load(Ordering::Relaxed);
            if opening && this.watch.happened.load(Ordering::Relaxed) != happened {
                this.watch.nudge();
            }
            if !this.watch.nudge.load(Ordering::Relaxed) && !this.watch.stir.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            if !opening {
                // Whoever reads the frames that came has a turn first.
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The handle of the link's task. The crate aborts the driver at the end of a close, when it has had its chance to end by itself:
/// the driver goes then, but not the task, which has yet to tell the node.
struct Task {
    task: tokio::task::JoinHandle<()>,
    watch: Arc<Watch>,
}

impl JoinHandle for Task {
    fn detach(&self) {}

    fn abort(&self) {
        self.watch.stop();
    }

    fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

/// A sleep that a nudge ends.
struct Nap {
    sleep: Pin<Box<Sleep>>,
    watch: Arc<Watch>,
}

impl Future for Nap {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.watch.nudge.load(Ordering::Relaxed) && self.watch.nudge.swap(false, Ordering::Relaxed) {
            return Poll::Ready(());
        }
        self.sleep.as_mut().poll(cx)
    }
}

/// A socket that counts its datagrams.
#[derive(Debug)]
struct WatchedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    watch: Arc<Watch>,
}

impl AsyncUdpSocket for WatchedSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = self.inner.poll_send(cx, transmit);
        if sent.is_ready() {
            self.watch.happened();
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // The driver looks without a waker when it wants a burst of datagrams before it handles any event. The peer may be open
        // a moment earlier, and what it sends right behind the last message of SCTP's handshake would find the channels not yet
        // there, and be lost, reliable channel or not. So one at a time until the link is open.
        if cx.waker().will_wake(Waker::noop()) && self.watch.opening.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        if !cx.waker().will_wake(Waker::noop()) {
            self.watch.reader.register(cx.waker());
            if self.watch.stir.swap(false, Ordering::Relaxed)
                && let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut())
                && let Some(byte) = buf.first_mut()
            {
                // No protocol begins with this byte (RFC 7983): the connection drops the datagram after it has looked.
                *byte = 0xff;
                *meta = RecvMeta::default();
                (meta.len, meta.stride, meta.addr) = (1, 1, self.inner.local_addr()?);
                return Poll::Ready(Ok(1));
            }
        }
        if self.watch.reads.load(Ordering::Relaxed) >= MAX_READS {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let received = self.inner.poll_recv(cx, bufs, meta);
        if received.is_ready() {
            self.watch.reads.fetch_add(1, Ordering::Relaxed);
            self.watch.happened();
        }
        if let Poll::Ready(Ok(count)) = received {
            let long = meta.iter().take(count).filter(|meta| counts(meta.stride));
            self.watch.came.fetch_add(long.map(|meta| meta.len).sum(), Ordering::Relaxed);
        }
        received
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

/// The addresses behind names that were looked up a short while ago, for all links of a node.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<BTreeMap<String, (Instant, Vec<SocketAddr>)>>);

impl Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let known = {
            let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            names.get(host).filter(|(when, _)| when.elapsed() < RESOLVE_MEMORY).map(|(_, found)| found.clone())
        };
        let found = match known {
            Some(found) => found,
            None => {
                let found: Vec<SocketAddr> =
                    match tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host(host)).await {
                        Ok(Ok(found)) => found.collect(),
                        Ok(Err(_)) | Err(_) => Vec::new(),
                    };
                let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if names.len() >= RESOLVED_NAMES {
                    names.clear();
                }
                names.insert(host.to_owned(), (Instant::now(), found.clone()));
                found
            }
        };
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name of an ICE server has no address")),
            false => Ok(found),
        }
    }
}
