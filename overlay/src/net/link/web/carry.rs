//! What carries a link's frames between its queues and the browser's channels.
//!
//! Towards the peer the browser says how many bytes it has not sent yet, which makes room for others. What comes, comes by events, and
//! a browser cannot be told to wait: frames that the node has no room for wait here, and of those there is an end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use gloo_events::EventListener;
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::JsCast;
use web_sys::{Event, EventTarget, MessageEvent, RtcPeerConnectionIceEvent, RtcPeerConnectionState};

use super::super::pipe::Pipe;
use super::super::progress::Progress;
use super::super::{Breach, Channel, CloseReason, MAX_MESSAGE};
use super::Connection;
use crate::net::platform::{self, Instant, Sleep};

/// Bytes that wait for the node on one channel, at most. Beyond it frames of the data channel are dropped; a peer that sends as
/// much on the ring channel is left, for it does not ask whether anybody reads.
const WAITING_BYTES: usize = 1024 * 1024;

/// What a frame that waits costs besides its own bytes.
const FRAME_OVERHEAD: usize = 64;

/// How long a link that is closed waits for what was sent on the ring channel to leave.
const LINGER: Duration = Duration::from_millis(200);

/// Runs as long as the connection.
pub(super) struct Carrier {
    connection: Rc<Connection>,
    shared: Rc<Shared>,
    /// A frame of each channel that the node had no room for.
    held: [Option<(Channel, BytesMut)>; 2],
    /// After how long a connection that hears nothing is lost.
    patience: Duration,
    lost: Option<Pin<Box<Sleep>>>,
    listeners: Vec<EventListener>,
}

/// What the browser's events leave for the carrier.
struct Shared {
    pipe: Arc<Pipe>,
    progress: Arc<Progress>,
    received: RefCell<[Lane; 2]>,
    /// Since when nothing is heard from the peer's side.
    silent: Cell<Option<Instant>>,
}

#[derive(Default)]
struct Lane {
    frames: VecDeque<BytesMut>,
    bytes: usize,
}

impl Carrier {
    pub(super) fn new(connection: Rc<Connection>, pipe: Arc<Pipe>, progress: Arc<Progress>, silence: Duration) -> Self {
        let (received, silent) = Default::default();
        let shared = Rc::new(Shared { pipe, progress, received, silent });
        let listeners = listen(&connection, &shared);
        // A browser speaks of silence only after some 5 s of it.
        Carrier { connection, shared, held: [None, None], patience: silence / 2, lost: None, listeners }
    }

    /// Carries until the link is to close, and closes it.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll_carry(cx)).await;
        self.shared.progress.failed();
        if self.shared.pipe.reason() == CloseReason::Local {
            let _ = platform::timeout(LINGER, poll_fn(|cx| self.poll_sent(cx))).await;
        }
        // From here on the browser has nothing more to tell.
        self.listeners.clear();
        self.connection.peer.close();
        let pipe = &self.shared.pipe;
        poll_fn(|cx| {
            pipe.task.register(cx.waker());
            pipe.poll_finish(cx)
        })
        .await;
    }

    /// Ready when the link is to close and all is handed over.
    fn poll_carry(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pipe = Arc::clone(&self.shared.pipe);
        pipe.task.register(cx.waker());
        self.deliver(cx);
        let _ = pipe.poll_flush(cx);
        self.watch_silence(cx);
        loop {
            match pipe.poll_outbound() {
                Poll::Ready(Some((channel, bytes))) => {
                    // A channel that takes nothing is closed, and says so by an event.
                    let _ = self.connection.channels[channel as usize].send_with_u8_array(&bytes);
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.count_in_flight();
        Poll::Pending
    }

    /// Hands over what has come.
    fn deliver(&mut self, cx: &mut Context<'_>) {
        let shared = Rc::clone(&self.shared);
        for channel in Channel::ALL {
            let held = &mut self.held[channel as usize];
            loop {
                if held.is_none() {
                    *held = shared.take(channel).map(|bytes| (channel, bytes));
                }
                if held.is_none() || shared.pipe.poll_deliver(cx, held).is_pending() {
                    break;
                }
            }
        }
    }

    /// Learns from the browser what has left, which makes room.
    fn count_in_flight(&self) {
        for (channel, end) in Channel::ALL.into_iter().zip(&self.connection.channels) {
            if self.shared.pipe.in_flight(channel) > 0 {
                self.shared.pipe.set_in_flight(channel, end.buffered_amount() as usize);
            }
        }
    }

    fn watch_silence(&mut self, cx: &mut Context<'_>) {
        let Some(since) = self.shared.silent.get() else {
            self.lost = None;
            return;
        };
        let deadline = since + self.patience;
        let lost = self.lost.get_or_insert_with(|| Box::pin(platform::sleep_until(deadline)));
        if lost.as_mut().poll(cx).is_ready() {
            self.shared.pipe.end(CloseReason::Lost);
        }
    }

    /// Ready when all that was sent on the ring channel has left.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.pipe.task.register(cx.waker());
        let ring = &self.connection.channels[Channel::Ring as usize];
        ring.set_buffered_amount_low_threshold(0);
        match ring.buffered_amount() {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Shared {
    fn take(&self, channel: Channel) -> Option<BytesMut> {
        let lane = &mut self.received.borrow_mut()[channel as usize];
        let frame = lane.frames.pop_front()?;
        lane.bytes -= frame.len() + FRAME_OVERHEAD;
        Some(frame)
    }

    /// A message came.
    fn receive(&self, channel: Channel, event: &Event) {
        let data = event.dyn_ref::<MessageEvent>().map(MessageEvent::data);
        let Some(buffer) = data.and_then(|data| data.dyn_into::<ArrayBuffer>().ok()) else {
            return self.end(CloseReason::Protocol(Breach::Text));
        };
        let message = Uint8Array::new(&buffer);
        let length = message.length() as usize;
        if length > MAX_MESSAGE {
            return self.end(CloseReason::Protocol(Breach::TooLong));
        }
        let lane = &mut self.received.borrow_mut()[channel as usize];
        if lane.bytes + length + FRAME_OVERHEAD > WAITING_BYTES {
            return match channel {
                Channel::Ring => self.end(CloseReason::Protocol(Breach::Flood)),
                Channel::Data => {}
            };
        }
        let mut frame = BytesMut::zeroed(length);
        message.copy_to(&mut frame);
        lane.frames.push_back(frame);
        lane.bytes += length + FRAME_OVERHEAD;
        self.pipe.task.wake();
    }

    fn changed(&self, state: RtcPeerConnectionState) {
        match state {
            RtcPeerConnectionState::Failed => self.end(CloseReason::Lost),
            RtcPeerConnectionState::Closed => self.end(CloseReason::Peer),
            RtcPeerConnectionState::Disconnected => self.silent.set(Some(Instant::now())),
            _ => self.silent.set(None),
        }
        self.pipe.task.wake();
    }

    fn end(&self, reason: CloseReason) {
        self.pipe.end(reason);
        self.progress.failed();
    }
}

/// Hears of what happens to the connection.
fn listen(connection: &Rc<Connection>, shared: &Rc<Shared>) -> Vec<EventListener> {
    let mut listeners = Vec::new();
    let mut on = |target: &EventTarget, name: &'static str, hear: Box<dyn Fn(&Shared, &Event)>| {
        let shared = Rc::clone(shared);
        listeners.push(EventListener::new(target, name, move |event| hear(&shared, event)));
    };
    let peer = &connection.peer;
    on(
        peer,
        "icecandidate",
        Box::new(|shared, event| {
            match event.dyn_ref::<RtcPeerConnectionIceEvent>().and_then(RtcPeerConnectionIceEvent::candidate) {
                Some(candidate) => shared.progress.found(&candidate.candidate()),
                None => shared.progress.gathered(),
            }
        }),
    );
    let near = Rc::downgrade(connection);
    on(
        peer,
        "connectionstatechange",
        Box::new(move |shared, _| {
            if let Some(connection) = near.upgrade() {
                shared.changed(connection.peer.connection_state());
            }
        }),
    );
    on(peer, "datachannel", Box::new(|shared, _| shared.end(CloseReason::Protocol(Breach::Channel))));
    for (channel, end) in Channel::ALL.into_iter().zip(&connection.channels) {
        on(
            end,
            "open",
            Box::new(move |shared, _| {
                shared.progress.opened(channel);
            }),
        );
        on(end, "message", Box::new(move |shared, event| shared.receive(channel, event)));
        on(end, "bufferedamountlow", Box::new(|shared, _| shared.pipe.task.wake()));
        on(end, "close", Box::new(|shared, _| shared.end(CloseReason::Peer)));
    }
    listeners
}
