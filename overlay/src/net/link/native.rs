//! Links of native nodes, over the crate `webrtc`.

mod carry;
mod debt;
mod runtime;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::certificate::CertificateParams;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use webrtc::data_channel::{DataChannel, RTCDataChannelInit};
use webrtc::peer_connection::crypto::{self, RTCCryptoProvider, SignatureScheme};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCCertificate, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCIceGatheringState, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
};

use self::carry::{Carrier, Ends};
use self::runtime::{LinkRuntime, Names, Watch};
use super::description::{Candidate, Description};
use super::pipe::Pipe;
use super::progress::{self, Guard, Progress};
use super::{
    Begun, Breach, Channel, CloseReason, Link, LinkError, LinkSettings, OpeningWire, SCTP_MTU, Transport, Wait, Wire,
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
/// without a word, and [`Debt`](debt::Debt) notices. Every link holds a buffer of this size.
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
            let offer = progress::offer(&offer)?;
            let opening = self.connect().await?;
            opening.progress.answers(&offer);
            let remote = RTCSessionDescription::offer(offer.text(SEEN_MESSAGE)).map_err(|_| REFUSED)?;
            opening.connection.set_remote_description(remote).await.map_err(|_| REFUSED)?;
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
        let pipe = Arc::new(Pipe::default());
        let watch = Arc::new(Watch::default());
        let progress = Arc::new(Progress::new(self.settings.open_timeout));
        let carrier = Carrier::new(Arc::clone(&pipe), Arc::clone(&watch), Arc::clone(&progress));
        let ends = carrier.ends();
        let runtime = LinkRuntime::new(Arc::clone(&self.names), Arc::clone(&watch), Box::new(carrier));
        let handler = Handler { progress: Arc::clone(&progress), pipe: Arc::clone(&pipe), watch: Arc::clone(&watch) };
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
        let guard = Guard { pipe: Arc::clone(&pipe), progress: Arc::clone(&progress) };
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
        let opening = Arc::new(NativeOpening { connection, pipe, watch, progress, _guard: guard });
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
    progress: Arc<Progress>,
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
        let description = Description::parse(&local.sdp)?;
        self.connection.set_local_description(local).await.map_err(system)?;
        Ok(self.progress.describe(description, settings.gather_wait).await)
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
}

impl OpeningWire for NativeOpening {
    fn accept_answer(&self, answer: String) -> Wait<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let (answer, early) = self.progress.take_answer(&answer)?;
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
            match self.progress.take_candidate(&candidate)? {
                Some(candidate) => self.add(candidate).await,
                None => Ok(()),
            }
        })
    }

    fn next_candidate(&self) -> Wait<'_, Option<String>> {
        Box::pin(self.progress.next_candidate())
    }

    fn open(&self) -> Wait<'_, Result<Link, LinkError>> {
        Box::pin(self.progress.link(&self.pipe))
    }
}

/// Hears of the connection's events, in its driver's task.
struct Handler {
    progress: Arc<Progress>,
    pipe: Arc<Pipe>,
    watch: Arc<Watch>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            self.progress.found(&candidate.candidate);
        }
    }

    async fn on_ice_gathering_state_change(&self, gathering: RTCIceGatheringState) {
        if gathering == RTCIceGatheringState::Complete {
            self.progress.gathered();
        }
    }

    async fn on_connection_state_change(&self, connection: RTCPeerConnectionState) {
        self.watch.happened();
        match connection {
            RTCPeerConnectionState::Failed => self.pipe.end(CloseReason::Lost),
            RTCPeerConnectionState::Closed => self.pipe.end(CloseReason::Peer),
            _ => return,
        }
        self.progress.failed();
    }

    async fn on_data_channel(&self, _: Arc<dyn DataChannel>) {
        self.pipe.end(CloseReason::Protocol(Breach::Channel));
        self.progress.failed();
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
