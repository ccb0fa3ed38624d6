//! A link whose other end is the bare crate `webrtc`: it sends what the link of a node would never hand over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use atoll::Id;
use atoll::net::link::hello::Hello;
use atoll::net::link::{Channel, Fingerprint};
use atoll::wire::{Header, Message, kind};
use bytes::BytesMut;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use tokio::sync::{mpsc, oneshot};
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
    RTCSessionDescription, SettingEngineBuilder,
};

use crate::STUCK;
use crate::attacker::{Attacker, frame};

/// Bytes that the crate sends as one message at most.
pub const MAX_RAW_MESSAGE: usize = SctpMaxMessageSize::MAX_MESSAGE_SIZE as usize;

/// An open connection with the two channels of a link.
pub struct RawLink {
    connection: Arc<dyn PeerConnection>,
    /// In the order of [`Channel::ALL`].
    channels: Vec<Arc<dyn DataChannel>>,
    ended: mpsc::Receiver<()>,
    fingerprints: (Fingerprint, Fingerprint),
}

impl RawLink {
    /// Opens a link to a node, which waits for this end's hello: whoever answered an offer speaks first.
    pub async fn open(attacker: &mut Attacker, peer: Id) -> Self {
        let (gathered_in, mut gathered) = mpsc::channel(1);
        let (ended_in, ended) = mpsc::channel(1);
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(70))
            .with_sctp_max_message_size(SctpMaxMessageSize::Unbounded)
            .build();
        let connection = PeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_handler(Arc::new(Handler { gathered: gathered_in, ended: ended_in.clone() }))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .expect("a connection");
        let mut channels = Vec::new();
        for channel in Channel::ALL {
            let init = RTCDataChannelInit {
                ordered: channel == Channel::Ring,
                max_retransmits: (channel == Channel::Data).then_some(0),
                negotiated: Some(channel.id()),
                ..Default::default()
            };
            channels.push(connection.create_data_channel(channel.label(), Some(init)).await.expect("a channel"));
        }
        let (attempt, offer) = attacker.ask(peer).await;
        let theirs = fingerprint(&offer);
        // The node says how much it takes, and this end does not care.
        let offer = offer
            .lines()
            .map(|line| match line.starts_with("a=max-message-size:") {
                true => format!("a=max-message-size:{MAX_RAW_MESSAGE}\r\n"),
                false => format!("{line}\r\n"),
            })
            .collect();
        let offer = RTCSessionDescription::offer(offer).expect("an offer");
        connection.set_remote_description(offer).await.expect("an offer");
        let answer = connection.create_answer(None).await.expect("an answer");
        connection.set_local_description(answer).await.expect("an own answer");
        tokio::time::timeout(STUCK, gathered.recv()).await.expect("candidates in time").expect("candidates");
        let answer = connection.local_description().await.expect("an answer").sdp;
        let fingerprints = (fingerprint(&answer), theirs);
        attacker.describe(peer, attempt, answer);
        let (opened_in, opened) = oneshot::channel();
        let frames = (attacker.id(), peer);
        tokio::spawn(read(Arc::clone(&channels[Channel::Ring as usize]), frames, opened_in, ended_in));
        tokio::time::timeout(STUCK, opened).await.expect("a channel in time").expect("a channel that opens");
        RawLink { connection: Arc::new(connection), channels, ended, fingerprints }
    }

    /// Says who the attacker truly is.
    pub async fn greet(&self, attacker: &Attacker) {
        let hello = Hello::new(&attacker.identity, &attacker.hello, self.fingerprints).expect("a proper hello");
        self.send(Channel::Ring, &hello.encode()).await;
    }

    /// Sends a message of any length.
    pub async fn send(&self, channel: Channel, bytes: &[u8]) {
        self.channels[channel as usize].send(BytesMut::from(bytes)).await.expect("the channel takes it");
    }

    /// Sends a message that is text.
    pub async fn send_text(&self, channel: Channel, text: &str) {
        self.channels[channel as usize].send_text(text).await.expect("the channel takes it");
    }

    /// Opens a channel that no link has.
    pub async fn open_third_channel(&self) {
        self.connection.create_data_channel("third", None).await.expect("a channel");
    }

    /// Whether the node ends the connection within the limit.
    pub async fn is_closed(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ended.recv()).await.is_ok()
    }

    /// Closes the connection.
    pub async fn close(self) {
        let _ = self.connection.close().await;
    }
}

/// Tells of the channel's beginning and end, and answers pings meanwhile, for a silent peer is given up as dead.
async fn read(ring: Arc<dyn DataChannel>, (own, peer): (Id, Id), opened: oneshot::Sender<()>, ended: mpsc::Sender<()>) {
    let mut opened = Some(opened);
    while let Some(event) = ring.poll().await {
        match event {
            DataChannelEvent::OnOpen => {
                let _ = opened.take().is_some_and(|opened| opened.send(()).is_ok());
            }
            DataChannelEvent::OnMessage(message) if message.data.get(1) == Some(&kind::PING) => {
                let _ = ring.send(frame(Header::new(kind::PONG, own, peer), Message::Pong)).await;
            }
            DataChannelEvent::OnClosing | DataChannelEvent::OnClose => break,
            _ => {}
        }
    }
    let _ = ended.try_send(());
}

fn fingerprint(description: &str) -> Fingerprint {
    let mut lines = description.lines();
    let value = lines.find_map(|line| line.strip_prefix("a=fingerprint:sha-256 ")).expect("a fingerprint");
    value.trim().parse().expect("a fingerprint")
}

struct Handler {
    gathered: mpsc::Sender<()>,
    ended: mpsc::Sender<()>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.gathered.try_send(());
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if matches!(state, RTCPeerConnectionState::Closed | RTCPeerConnectionState::Failed) {
            let _ = self.ended.try_send(());
        }
    }
}
