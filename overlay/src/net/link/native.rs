//! Links of native nodes, over the crate `webrtc`.

mod carry;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::certificate::CertificateParams;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use webrtc::data_channel::{DataChannel, RTCDataChannelInit};
use webrtc::peer_connection::crypto::{self, RTCCryptoProvider, SignatureScheme};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCCertificate, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCIceGatheringState, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
};

use self::carry::{Carrier, Ends};
use super::description::{Candidate, Description, Setup};
use super::pipe::Pipe;
use super::runtime::{LinkRuntime, Names, Watch};
use super::{
    Begun, Breach, Channel, CloseReason, Fingerprint, Link, LinkError, LinkSettings, MAX_CANDIDATES, OpeningWire,
    SCTP_MTU, Side, Transport, Wait, Wire,
};
use crate::ice;

/// How often ICE tries the pairs of candidates while a link opens.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// How often ICE tries a pair before it gives it up, so that checks go on for 5 s.
const CHECKS: u16 = 250;

/// How often ICE asks the peer's side whether it is still there, unless it has to be more often.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// How often ICE asks within the time after which a silent peer counts as lost, at least.
const KEEPALIVES: u32 = 5;

/// How long an address that a STUN server found, or that of a TURN server, waits for a better one to work. Between nodes with a direct way
/// the host addresses answer at once.
const ACCEPT_WORSE_AFTER: Duration = Duration::from_millis(200);

/// Bytes that may wait in a connection to be read, which SCTP tells the peer. When they are used up the peer tries again only a second
/// later, so there are several times as many as a peer sends without an acknowledgement.
const RECEIVE_WINDOW: u32 = 1024 * 1024;

/// Bytes of a message up to which the crate hands it on, so that a peer that breaks the limit is seen to do so. Longer ones it drops
/// without a word, and [`Debt`](super::debt::Debt) notices. Every link holds a buffer of this size.
const SEEN_MESSAGE: u32 = 64 * 1024;

/// The transport of native nodes. All its links show one certificate, made anew for every transport.
pub fn transport(settings: LinkSettings) -> Result<Transport, LinkError> {
    ice::check_all(&settings.ice_servers)?;
    let crypto = crypto::default_provider().map_err(system)?;
    let params = CertificateParams::new(Vec::<String>::new()).map_err(system)?;
    let certificate =
        RTCCertificate::generate(crypto.crypto(), SignatureScheme::EcdsaP256Sha256, params).map_err(system)?;
    Ok(Transport(Arc::new(Native { settings, crypto, certificate, names: Arc::default() })))
}

struct Native {
    settings: LinkSettings,
    crypto: Arc<dyn RTCCryptoProvider>,
    certificate: RTCCertificate,
    names: Arc<Names>,
}

impl Wire for Native {
    fn offer(self: Arc<Self>) -> Wait<'static, Begun> {
        Box::pin(async move {
            let opening = self.connect().await?;
            let offer = opening.connection.create_offer(None).await.map_err(system)?;
            let offer = opening.describe(&self.settings, offer).await?;
            Ok((opening as Arc<dyn OpeningWire>, offer))
        })
    }

    fn answer(self: Arc<Self>, offer: String) -> Wait<'static, Begun> {
        Box::pin(async move {
            let offer = Description::parse(&offer)?;
            if offer.setup == Setup::Passive {
                return Err(LinkError::Description("an offer must leave DTLS to the other side, or start it"));
            }
            let opening = self.connect().await?;
            let remote = RTCSessionDescription::offer(offer.text(SEEN_MESSAGE)).map_err(|_| REFUSED)?;
            opening.connection.set_remote_description(remote).await.map_err(|_| REFUSED)?;
            {
                let mut state = opening.state();
                (state.remote, state.answers) = (Some(offer.fingerprint), true);
            }
            let answer = opening.connection.create_answer(None).await.map_err(|_| REFUSED)?;
            let answer = opening.describe(&self.settings, answer).await?;
            Ok((opening as Arc<dyn OpeningWire>, answer))
        })
    }
}

/// The crate found something in a description that this project did not.
const REFUSED: LinkError = LinkError::Description("refused");

impl Native {
    /// A connection with both channels, and sockets, but without a peer.
    async fn connect(&self) -> Result<Arc<NativeOpening>, LinkError> {
        let deadline = Instant::now() + self.settings.open_timeout;
        let pipe = Arc::new(Pipe::default());
        let watch = Arc::new(Watch::default());
        let state = Arc::new(Progress::default());
        let carrier = Carrier::new(Arc::clone(&pipe), Arc::clone(&watch), Arc::clone(&state));
        let ends = carrier.ends();
        let runtime = LinkRuntime::new(Arc::clone(&self.names), Arc::clone(&watch), Box::new(carrier));
        let handler = Handler { state: Arc::clone(&state), pipe: Arc::clone(&pipe), watch: Arc::clone(&watch) };
        let silence = self.settings.silence;
        let settings = SettingEngineBuilder::new()
            .with_crypto_provider(Arc::clone(&self.crypto))
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS))
            .with_ice_timeouts(Some(silence / 2), Some(silence / 2), Some(KEEPALIVE.min(silence / KEEPALIVES)))
            // A check of the peer that overtakes its candidate makes the same address a "peer reflexive" one. The default
            // wait for those is 1 s: it hit some links in a hundred.
            .with_prflx_acceptance_min_wait(Some(Duration::ZERO))
            .with_srflx_acceptance_min_wait(Some(ACCEPT_WORSE_AFTER))
            .with_relay_acceptance_min_wait(Some(ACCEPT_WORSE_AFTER))
            .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(SEEN_MESSAGE))
            .with_sctp_max_receive_buffer_size(RECEIVE_WINDOW)
            .with_sctp_mtu(SCTP_MTU)
            .build();
        let policy = match self.settings.relay_only {
            true => RTCIceTransportPolicy::Relay,
            false => RTCIceTransportPolicy::All,
        };
        let configuration = RTCConfigurationBuilder::new()
            .with_ice_servers(self.settings.ice_servers.iter().map(ice_server).collect())
            .with_ice_transport_policy(policy)
            .with_certificates(vec![self.certificate.clone()])
            .build();
        // From here on whatever goes wrong, this future being dropped included, ends the connection.
        let guard = Guard { pipe: Arc::clone(&pipe), state: Arc::clone(&state) };
        let connection = PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_setting_engine(settings)
            .with_handler(Arc::new(handler))
            .with_runtime(Arc::new(runtime))
            .with_udp_addrs(self.addresses())
            .build()
            .await
            .map_err(system)?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let opening = Arc::new(NativeOpening { connection, pipe, watch, state, deadline, _guard: guard });
        let mut channels = Vec::with_capacity(Channel::ALL.len());
        for channel in Channel::ALL {
            channels.push(opening.channel(channel).await?);
        }
        ends.set(Ends { connection: Arc::clone(&opening.connection), channels });
        opening.pipe.task.wake();
        Ok(opening)
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let bind = if self.settings.bind.is_empty() { &any[..] } else { &self.settings.bind };
        bind.iter().map(|ip| SocketAddr::new(*ip, 0)).collect()
    }
}

/// A connection that is being opened.
struct NativeOpening {
    connection: Arc<dyn PeerConnection>,
    pipe: Arc<Pipe>,
    watch: Arc<Watch>,
    state: Arc<Progress>,
    deadline: Instant,
    _guard: Guard,
}

impl NativeOpening {
    async fn channel(&self, channel: Channel) -> Result<Arc<dyn DataChannel>, LinkError> {
        let init = RTCDataChannelInit {
            ordered: channel == Channel::Ring,
            max_retransmits: (channel == Channel::Data).then_some(0),
            negotiated: Some(channel.id()),
            ..Default::default()
        };
        self.connection.create_data_channel(channel.label(), Some(init)).await.map_err(system)
    }

    /// Makes the description this end's, and gives its text with the candidates that are known soon.
    async fn describe(&self, settings: &LinkSettings, local: RTCSessionDescription) -> Result<String, LinkError> {
        let mut description = Description::parse(&local.sdp)?;
        self.connection.set_local_description(local).await.map_err(system)?;
        let wait = Instant::now() + settings.gather_wait;
        // The hosts' candidates come at once, all others only when a server answers.
        let gathered = self.state.until(|state| state.gathered.then_some(()));
        let _ = timeout_at(wait.min(self.deadline), gathered).await;
        let mut state = self.state();
        description.candidates = state.candidates.drain(..).collect();
        state.local = Some(description.fingerprint);
        Ok(description.to_string())
    }

    async fn add(&self, candidate: Candidate) -> Result<(), LinkError> {
        let init = RTCIceCandidateInit {
            candidate: candidate.to_string(),
            sdp_mid: Some("0".to_owned()),
            sdp_mline_index: Some(0),
            ..Default::default()
        };
        let added = self.connection.add_ice_candidate(init).await.map_err(|_| LinkError::Candidate);
        // The driver is asleep and does not know of it.
        self.watch.nudge();
        self.pipe.task.wake();
        added
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl OpeningWire for NativeOpening {
    fn accept_answer(&self, answer: String) -> Wait<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let answer = Description::parse(&answer)?;
            if answer.setup == Setup::ActPass {
                return Err(LinkError::Description("an answer must say who starts DTLS"));
            }
            let early = {
                let mut state = self.state();
                if state.remote.is_some() {
                    return Err(LinkError::Unexpected);
                }
                state.remote = Some(answer.fingerprint);
                std::mem::take(&mut state.early)
            };
            let remote = RTCSessionDescription::answer(answer.text(SEEN_MESSAGE)).map_err(|_| REFUSED)?;
            self.connection.set_remote_description(remote).await.map_err(|_| REFUSED)?;
            for candidate in early {
                self.add(candidate).await?;
            }
            Ok(())
        })
    }

    fn add_candidate(&self, candidate: String) -> Wait<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let candidate = Candidate::parse(&candidate)?;
            {
                let mut state = self.state();
                state.taken += 1;
                if state.taken > MAX_CANDIDATES {
                    return Err(LinkError::Candidate);
                }
                if state.remote.is_none() {
                    state.early.push(candidate);
                    return Ok(());
                }
            }
            self.add(candidate).await
        })
    }

    fn next_candidate(&self) -> Wait<'_, Option<String>> {
        Box::pin(async move {
            let next = self.state.until(|state| match state.candidates.is_empty() {
                false => Some(Some(state.candidates.remove(0).to_string())),
                true => (state.gathered || state.failed || state.open == OPEN).then_some(None),
            });
            timeout_at(self.deadline, next).await.ok().flatten()
        })
    }

    fn open(&self) -> Wait<'_, Result<Link, LinkError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let opened = self.state.until(|state| match (state.failed, state.open == OPEN) {
                (true, _) => Some(Err(LinkError::Failed)),
                (false, true) => Some(Ok(())),
                (false, false) => None,
            });
            match timeout_at(self.deadline, opened).await {
                Ok(opened) => opened?,
                Err(_) => return Err(LinkError::TimedOut(self.deadline.saturating_duration_since(begun))),
            }
            let (local, remote, side) = {
                let mut state = self.state();
                let first = !std::mem::replace(&mut state.given, true);
                let side = if state.answers { Side::Answered } else { Side::Offered };
                match (first, state.local, state.remote) {
                    (true, Some(local), Some(remote)) => (local, remote, side),
                    _ => return Err(LinkError::Failed),
                }
            };
            Ok(Link::new(Arc::clone(&self.pipe), local, remote, side))
        })
    }
}

/// An attempt that nobody waits for any more ends; a link that was given away lives on.
struct Guard {
    pipe: Arc<Pipe>,
    state: Arc<Progress>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.state.lock().given {
            self.pipe.abandon();
        }
    }
}

/// Both channels, as bits of [`State::open`].
const OPEN: u8 = 0b11;

/// How far the opening is.
#[derive(Default)]
struct State {
    /// Of this end, not yet given to the peer.
    candidates: Vec<Candidate>,
    gathered: bool,
    /// Of the peer, before its answer.
    early: Vec<Candidate>,
    /// How many the peer sent besides its description.
    taken: usize,
    local: Option<Fingerprint>,
    remote: Option<Fingerprint>,
    /// Whether this end answered an offer.
    answers: bool,
    open: u8,
    failed: bool,
    given: bool,
}

/// The state, and who waits for it to change.
#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    changed: Notify,
    settled: AtomicBool,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(value) = ready(&mut self.lock()) {
                return value;
            }
            changed.await;
        }
    }

    /// The channel is open.
    fn opened(&self, channel: Channel, watch: &Watch) {
        let mut open = false;
        self.change(|state| {
            state.open |= 1 << channel.id();
            open = state.open == OPEN;
        });
        if open {
            self.settled.store(true, Ordering::Relaxed);
            watch.settle();
        }
    }

    /// There will be no link, or no longer.
    fn failed(&self) {
        if !self.settled.load(Ordering::Relaxed) {
            self.change(|state| state.failed = true);
        }
    }
}

/// Hears of the connection's events, in its driver's task.
struct Handler {
    state: Arc<Progress>,
    pipe: Arc<Pipe>,
    watch: Arc<Watch>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let Ok(candidate) = event.candidate.to_json() else { return };
        let Ok(candidate) = Candidate::parse(&candidate.candidate) else { return };
        self.state.change(|state| {
            if state.candidates.len() < MAX_CANDIDATES {
                state.candidates.push(candidate);
            }
        });
    }

    async fn on_ice_gathering_state_change(&self, gathering: RTCIceGatheringState) {
        if gathering == RTCIceGatheringState::Complete {
            self.state.change(|state| state.gathered = true);
        }
    }

    async fn on_connection_state_change(&self, connection: RTCPeerConnectionState) {
        self.watch.happened();
        match connection {
            RTCPeerConnectionState::Failed => self.pipe.end(CloseReason::Lost),
            RTCPeerConnectionState::Closed => self.pipe.end(CloseReason::Peer),
            _ => return,
        }
        self.state.failed();
    }

    async fn on_data_channel(&self, _: Arc<dyn DataChannel>) {
        self.pipe.end(CloseReason::Protocol(Breach::Channel));
        self.state.failed();
    }
}

fn ice_server(server: &ice::IceServer) -> RTCIceServer {
    RTCIceServer {
        urls: server.urls.clone(),
        username: server.username.clone().unwrap_or_default(),
        credential: server.credential.clone().unwrap_or_default(),
    }
}

fn system(error: impl std::fmt::Display) -> LinkError {
    LinkError::System(error.to_string())
}

#[cfg(test)]
mod tests;
