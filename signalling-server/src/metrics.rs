//! What a server counts: one struct, each field with the help text that `/metrics` prints.

use std::sync::atomic::AtomicU64;

use atoll::signalling::{ErrorCode, UndeliveredReason};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::registry::Counts;

/// The counters and gauges of one server. No label has a value that a stranger chooses, so their number is bounded.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// TCP connections that got a place.
    pub(crate) accepted: Counter,
    /// TCP connections and upgrades that were turned away, by reason.
    pub(crate) refused: Family<Reason, Counter>,
    /// Connections that ended, by reason.
    pub(crate) closed: Family<Reason, Counter>,
    /// Messages from nodes, by type.
    pub(crate) received: Family<Kind, Counter>,
    /// Bytes of payload handed on from node to node.
    pub(crate) relayed_bytes: Counter,
    /// Messages that could not be handed on, by reason.
    pub(crate) undelivered: Family<Reason, Counter>,
    /// Registrations that took place.
    pub(crate) registered: Counter,
    /// Times a node was told to found a ring.
    pub(crate) founded: Counter,
    /// Files of the page that browsers got, or had already.
    pub(crate) page_files: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Kind {
    r#type: &'static str,
}

impl Metrics {
    pub(crate) fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn close(&self, reason: &'static str) {
        self.closed.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn close_for(&self, code: ErrorCode) {
        self.close(code.as_str());
    }

    pub(crate) fn receive(&self, kind: &'static str) {
        self.received.get_or_create(&Kind { r#type: kind }).inc();
    }

    pub(crate) fn fail_to_deliver(&self, reason: UndeliveredReason) {
        let reason = match reason {
            UndeliveredReason::NotHere => "not-here",
            UndeliveredReason::Busy => "busy",
            _ => "other",
        };
        self.undelivered.get_or_create(&Reason { reason }).inc();
    }

    /// Everything as Prometheus reads it (OpenMetrics 1.0). The gauges are taken now.
    pub(crate) fn to_text(&self, connections: usize, counts: Counts) -> String {
        let mut registry = Registry::with_prefix("atoll_signalling");
        let gauge = |value: usize| {
            let gauge = Gauge::<u64, AtomicU64>::default();
            gauge.set(value as u64);
            gauge
        };
        registry.register("connections", "Connections open now, HTTP requests included", gauge(connections));
        registry.register("networks", "Networks with a registered node", gauge(counts.networks));
        registry.register("nodes", "Nodes registered now, in all networks", gauge(counts.nodes));
        registry.register("members", "Nodes registered now that are members of their ring", gauge(counts.members));
        registry.register("connections_accepted", "Connections that got a place", self.accepted.clone());
        registry.register(
            "connections_refused",
            "Connections and upgrades turned away: all places taken, its address has too many, foreign origin",
            self.refused.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections that ended, by reason: the error code told to the node; left: it closed properly; lost: it vanished; \
             answered: HTTP requests; bad-http: something else than HTTP",
            self.closed.clone(),
        );
        registry.register("messages_received", "Messages from nodes, by type", self.received.clone());
        registry.register("relayed_bytes", "Bytes of payload handed on from node to node", self.relayed_bytes.clone());
        registry.register(
            "messages_undelivered",
            "Messages that could not be handed on: not-here: nobody with that id; busy: it reads too slowly",
            self.undelivered.clone(),
        );
        registry.register("registrations", "Registrations that took place", self.registered.clone());
        registry.register("founders", "Times a node was told to found a ring", self.founded.clone());
        registry.register("page_files", "Files of the page that browsers got, or had already", self.page_files.clone());
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("writing to a String cannot fail");
        page
    }
}
