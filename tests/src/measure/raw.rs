//! Plain data channels of the crate `webrtc`, without anything of Atoll: what its figures are compared with.
//!
//! Tuned as far as the crate's own settings go: a bounded send buffer, for without it the throughput collapses, and quick ICE
//! checks. One ordered and reliable channel, as `createDataChannel` gives by default.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::BytesMut;
use rtc::ice::mdns::MulticastDnsMode;
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCSessionDescription,
    SettingEngineBuilder,
};

use super::samples::Samples;

/// Bytes that may wait to be sent or acknowledged: more would overrun the receive buffer of the peer's UDP socket.
const SEND_BUFFER: usize = 64 * 1024;

/// How often ICE tries the pairs of candidates, and how often each.
const CHECKS: (Duration, u16) = (Duration::from_millis(20), 70);

/// Longer messages are swallowed by [`RawEnd::serve`], shorter ones are echoed.
pub(super) const ECHOED: usize = 64;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One end of a connection with one data channel.
pub(super) struct RawEnd {
    connection: Arc<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
    gathered: mpsc::Receiver<()>,
}

impl RawEnd {
    async fn new() -> anyhow::Result<Self> {
        let (gathered_in, gathered) = mpsc::channel(1);
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .with_ice_connection_attempts(Some(CHECKS.0), Some(CHECKS.1))
            .build();
        let connection = PeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_handler(Arc::new(Gathering(gathered_in)))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .with_data_channel_send_buffer_limit(SEND_BUFFER)
            .build()
            .await?;
        let negotiated = RTCDataChannelInit { negotiated: Some(0), ..Default::default() };
        let channel = connection.create_data_channel("raw", Some(negotiated)).await?;
        Ok(RawEnd { connection: Arc::new(connection), channel, gathered })
    }

    /// A new end, and its offer for the other.
    pub(super) async fn offer() -> anyhow::Result<(Self, String)> {
        let mut end = Self::new().await?;
        let offer = end.connection.create_offer(None).await?;
        let offer = end.describe(offer).await?;
        Ok((end, offer))
    }

    /// A new end, and its answer to an offer.
    pub(super) async fn answer(offer: &str) -> anyhow::Result<(Self, String)> {
        let mut end = Self::new().await?;
        end.connection.set_remote_description(RTCSessionDescription::offer(offer.to_owned())?).await?;
        let answer = end.connection.create_answer(None).await?;
        let answer = end.describe(answer).await?;
        Ok((end, answer))
    }

    async fn describe(&mut self, description: RTCSessionDescription) -> anyhow::Result<String> {
        self.connection.set_local_description(description).await?;
        self.gathered.recv().await.context("ICE candidates were not gathered")?;
        Ok(self.connection.local_description().await.context("no local description")?.sdp)
    }

    pub(super) async fn accept(&self, answer: &str) -> anyhow::Result<()> {
        Ok(self.connection.set_remote_description(RTCSessionDescription::answer(answer.to_owned())?).await?)
    }

    pub(super) async fn opened(&self) -> anyhow::Result<()> {
        let open = async {
            while let Some(event) = self.channel.poll().await {
                if matches!(event, DataChannelEvent::OnOpen) {
                    return Ok(());
                }
            }
            bail!("the data channel closed before it was open")
        };
        tokio::time::timeout(PATIENCE, open).await.context("the data channel does not open")?
    }

    /// Both ends of an open connection, and how long it took to open.
    pub(super) async fn pair() -> anyhow::Result<(Self, Self, Duration)> {
        let begun = Instant::now();
        let (near, offer) = Self::offer().await?;
        let (far, answer) = Self::answer(&offer).await?;
        near.accept(&answer).await?;
        tokio::try_join!(near.opened(), far.opened())?;
        Ok((near, far, begun.elapsed()))
    }

    /// An open connection whose far end [serves](Self::serve).
    pub(super) async fn served() -> anyhow::Result<Self> {
        let (near, far, _) = Self::pair().await?;
        tokio::spawn(far.serve());
        Ok(near)
    }

    /// Echoes messages of at most [`ECHOED`] bytes, swallows longer ones, until the channel closes.
    pub(super) async fn serve(self) {
        while let Some(event) = self.channel.poll().await {
            let DataChannelEvent::OnMessage(message) = event else { continue };
            if message.data.len() <= ECHOED && self.channel.send(message.data).await.is_err() {
                return;
            }
        }
    }

    /// Times of `count` round trips of 64 bytes to an end that serves.
    pub(super) async fn round_trips(&self, count: usize) -> anyhow::Result<Samples> {
        let mut times = Samples::default();
        for _ in 0..count {
            let begun = Instant::now();
            self.channel.send(BytesMut::zeroed(ECHOED)).await?;
            self.echoed().await?;
            times.push_time(begun.elapsed());
        }
        Ok(times)
    }

    /// Messages a second that arrive at an end that serves, of `size` bytes, more than [`ECHOED`].
    pub(super) async fn messages_a_second(&self, size: usize, count: usize) -> anyhow::Result<f64> {
        let begun = Instant::now();
        for _ in 0..count {
            self.channel.send(BytesMut::zeroed(size)).await?;
        }
        // The channel is ordered: when this comes back, all before it has arrived.
        self.channel.send(BytesMut::zeroed(ECHOED)).await?;
        self.echoed().await?;
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }

    async fn echoed(&self) -> anyhow::Result<()> {
        let message = async {
            while let Some(event) = self.channel.poll().await {
                if matches!(event, DataChannelEvent::OnMessage(_)) {
                    return Ok(());
                }
            }
            bail!("the data channel closed")
        };
        tokio::time::timeout(PATIENCE, message).await.context("no echo over the data channel")?
    }

    pub(super) async fn close(self) {
        let _ = self.connection.close().await;
    }
}

struct Gathering(mpsc::Sender<()>);

#[async_trait]
impl PeerConnectionEventHandler for Gathering {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.0.try_send(());
        }
    }
}
