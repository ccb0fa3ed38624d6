//! How fast a session sends, and that its farewell is not held back.
//!
//! `quinn-proto` 0.11.19 asks congestion control before it sends CONNECTION_CLOSE too, and a closed connection counts no
//! acknowledgements any more: one that is closed with a full window never tells its peer (quinn's issue 2785; mended after
//! the 0.11 line). RFC 9002, section 7 exempts such packets. So the window is opened before a session is closed.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;
use web_time::Instant;

/// The window of a session that is being closed, in bytes: larger than anything in flight, and than what `quinn` paces.
const OPEN_WINDOW: u64 = 1 << 40;

/// How fast to send: what to do about lost packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// CUBIC (RFC 9438): slows down when packets are lost, and fills the queues on its way until they are.
    #[default]
    Cubic,
    /// BBR (draft-cardwell-iccrg-bbr-congestion-control): goes by measured bandwidth and round trip. Alone on its way it
    /// bore random loss better than CUBIC and left queues shorter; how several share a way is not measured, and `quinn`
    /// calls its implementation experimental: so it is not the default.
    Bbr,
}

impl Congestion {
    /// Makes what controls each connection.
    pub(super) fn factory(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        Arc::new(Factory(match self {
            Congestion::Cubic => Arc::new(CubicConfig::default()),
            Congestion::Bbr => Arc::new(BbrConfig::default()),
        }))
    }
}

/// Closes a connection so that its peer hears of it, however much was in flight.
pub(super) fn close(connection: &quinn::Connection, code: quinn::VarInt) {
    if let Ok(control) = connection.congestion_state().into_any().downcast::<Control>() {
        control.closing.store(true, Ordering::Relaxed);
    }
    connection.close(code, b"");
}

struct Factory(Arc<dyn ControllerFactory + Send + Sync>);

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Control { inner: self.0.clone().build(now, current_mtu), closing: Arc::default() })
    }
}

/// The chosen congestion control, until the session is closed. Clones belong to the same connection.
struct Control {
    inner: Box<dyn Controller>,
    closing: Arc<AtomicBool>,
}

impl Controller for Control {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.closing.load(Ordering::Relaxed) { OPEN_WINDOW } else { self.inner.window() }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Control { inner: self.inner.clone_box(), closing: self.closing.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
