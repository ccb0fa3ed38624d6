//! What a session may use: QUIC's limits, windows and timers, chosen for the ring.
//!
//! Memory that one peer can make this node hold, for one session: [`Settings::session_window`] received and not yet read,
//! [`Settings::send_window`] sent and not yet acknowledged, and about 1 KiB for each of [`Settings::max_sockets`].

use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, MtuDiscoveryConfig, VarInt};
use quinn::{ServerConfig, TransportConfig, ValidationTokenConfig};
use ring::{digest, hmac};

use super::congestion::Congestion;
use super::error::SessionError;
use crate::key::Identity;
use crate::net::platform;

/// The longest session packet, in bytes: what fits into a frame of 16 KiB beside its header, with room to spare.
pub const MAX_PACKET: u16 = 16_000;

/// The packet length that a session begins with, in bytes; QUIC (RFC 9000, section 14) needs it on every path.
pub const MIN_PACKET: u16 = 1_200;

/// How long a session may take to come about.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a peer may be silent until its session is given up.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a quiet session asks whether the peer is still there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// How long a session without sockets is kept for the next one.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Handshakes begun by others that run at once, at most. With half of them in use, a peer must first show that packets to
/// its id reach it (Retry, RFC 9000, section 8.1.2): one round trip more.
pub const MAX_HANDSHAKES: usize = 64;

/// Handshakes begun by one id that run at once, at most.
pub const MAX_HANDSHAKES_PER_PEER: usize = 4;

/// Sessions with one peer at once, at most: the one that serves, and those from before it was restarted, or from dialling
/// each other at once.
pub const MAX_SESSIONS_PER_PEER: usize = 8;

/// Bytes kept for a handshake that has not been looked at yet, at most.
const INCOMING_BUFFER: u64 = 32 << 10;

/// The round trip that is assumed before one is measured: a lost first packet is sent again after three of them.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How many packets are acknowledged together where nobody asks for more.
const PLAIN_PACKETS_PER_ACK: u32 = 2;

/// How long a peer may wait with an acknowledgement where it is to gather some: a fifth of what it may otherwise, so that little windows
/// do not stand still for long.
const GATHERED_ACKS: Duration = Duration::from_millis(5);

/// The limits of a node's sessions. Start from [`Settings::default`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest packet that path MTU discovery tries, in bytes: [`MIN_PACKET`] to [`MAX_PACKET`] (the default).
    pub max_packet: u16,
    /// Sessions at once, at most. Beyond it peers are refused and own dials fail. Default 1024.
    pub max_sessions: usize,
    /// Sockets that a peer may have open to this node at once. Default 1024.
    pub max_sockets: u32,
    /// Sockets that wait for one [`super::Listener`] to take them; beyond it they are refused as busy. Default 1024:
    /// a peer may open that many in one burst, before the listener's task has run.
    pub backlog: usize,
    /// Bytes received on one socket and not yet read, at most. Default 4 MiB.
    pub socket_window: u32,
    /// Bytes received in one session and not yet read, at most. Default 8 MiB.
    pub session_window: u32,
    /// Bytes written in one session and not yet acknowledged, at most; then writes wait. Default 8 MiB.
    pub send_window: u32,
    /// Default [`HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// Default [`SILENCE_TIMEOUT`]. The shorter of both ends' counts.
    pub silence_timeout: Duration,
    /// Default [`KEEP_ALIVE`]; must be well below [`Settings::silence_timeout`].
    pub keep_alive: Duration,
    /// Default [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// Default [`Congestion::Cubic`].
    pub congestion: Congestion,
    /// How many packets of this node a peer acknowledges together (QUIC's extension for that, draft-ietf-quic-ack-frequency); it does so
    /// after 5 ms in any case. Default 2, as QUIC has it (RFC 9000, section 13.2.2); 10 in a page, which has to send and receive each
    /// acknowledgement by way of the browser.
    pub packets_per_ack: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_packet: MAX_PACKET,
            max_sessions: 1024,
            max_sockets: 1024,
            backlog: 1024,
            socket_window: 4 << 20,
            session_window: 8 << 20,
            send_window: 8 << 20,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            silence_timeout: SILENCE_TIMEOUT,
            keep_alive: KEEP_ALIVE,
            idle_timeout: IDLE_TIMEOUT,
            congestion: Congestion::default(),
            packets_per_ack: platform::PACKETS_PER_ACK,
        }
    }
}

impl Settings {
    pub(super) fn transport(&self) -> Result<Arc<TransportConfig>, SessionError> {
        let silence = self.silence_timeout.try_into().map_err(|_| SessionError::Settings("silence_timeout"))?;
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(self.max_packet.clamp(MIN_PACKET, MAX_PACKET));
        let mut transport = TransportConfig::default();
        transport
            .initial_mtu(MIN_PACKET)
            .mtu_discovery_config(Some(mtu))
            .initial_rtt(INITIAL_RTT)
            .max_concurrent_bidi_streams(VarInt::from_u32(self.max_sockets))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(self.socket_window))
            .receive_window(VarInt::from_u32(self.session_window))
            .send_window(self.send_window.into())
            .max_idle_timeout(Some(silence))
            .keep_alive_interval(Some(self.keep_alive))
            .congestion_controller_factory(self.congestion.factory())
            .datagram_receive_buffer_size(None)
            // It would show every hop the round trip of the whole path.
            .allow_spin(false);
        if self.packets_per_ack != PLAIN_PACKETS_PER_ACK {
            let mut acks = AckFrequencyConfig::default();
            acks.ack_eliciting_threshold(VarInt::from_u32(self.packets_per_ack.saturating_sub(1)))
                .max_ack_delay(Some(GATHERED_ACKS));
            transport.ack_frequency_config(Some(acks));
        }
        Ok(Arc::new(transport))
    }
}

/// Bounds what handshakes may hold before they have proved anything; a peer cannot move to another id in mid-session.
pub(super) fn limit_server(server: &mut ServerConfig) {
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    server
        .migration(false)
        .max_incoming(MAX_HANDSHAKES)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER * MAX_HANDSHAKES as u64)
        .validation_token_config(tokens);
}

/// A node that was restarted with the same key tells its old peers at once that their sessions are gone (stateless reset,
/// RFC 9000, section 10.3): so the key for that is derived from the identity.
pub(super) fn endpoint_config(identity: &Identity, max_packet: u16) -> EndpointConfig {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"atoll stateless reset 1\0");
    context.update(&identity.to_pkcs8_der());
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, context.finish().as_ref());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(|| Box::new(RandomIds));
    config
        .max_udp_payload_size(max_packet.clamp(MIN_PACKET, MAX_PACKET))
        .expect("a packet length of 1,200 to 16,000 is in QUIC's bounds");
    config
}

/// Connection ids without structure: those of an earlier life of this node must not look invalid, or no reset is sent.
struct RandomIds;

impl RandomIds {
    const BYTES: usize = 8;
}

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; Self::BYTES]>())
    }

    fn cid_len(&self) -> usize {
        Self::BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
