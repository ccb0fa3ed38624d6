//! The raw data channel that a bench is compared with: ordered and reliable, between two ends of this process on loopback.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, bail};
use atoll::net::link::{Channel, Link, LinkSettings, MAX_MESSAGE, SendError, Transport, native};
use bytes::BytesMut;
use tokio::time::timeout;

use super::{ANSWER, Figures, PART, ROUND_TRIPS, SMALL, WARM_UP, percentiles};

/// The channel that keeps the order and loses nothing, as a session does.
const CHANNEL: Channel = Channel::Ring;

/// Bytes of the message that says that all others have been sent: a length that none of them has.
const LAST: usize = 1;

pub(super) async fn measure() -> anyhow::Result<Figures> {
    Ok(Figures {
        latency: latency().await?,
        messages: flow(SMALL).await? / SMALL as f64,
        throughput: flow(MAX_MESSAGE).await? / (1 << 20) as f64,
    })
}

/// Both ends of a link.
async fn pair() -> anyhow::Result<(Link, Link)> {
    let (near, far) = (transport()?, transport()?);
    let (dialling, offer) = near.offer().await?;
    let (answering, answer) = far.answer(&offer).await?;
    dialling.accept(&answer).await?;
    let (near, far) = tokio::join!(dialling.open(), answering.open());
    Ok((near?, far?))
}

fn transport() -> anyhow::Result<Transport> {
    Ok(native::transport(LinkSettings { bind: vec![Ipv4Addr::LOCALHOST.into()], ..Default::default() })?)
}

async fn latency() -> anyhow::Result<(std::time::Duration, std::time::Duration)> {
    let (mut near, mut far) = pair().await?;
    let echo = tokio::spawn(async move {
        while let Some((channel, bytes)) = far.recv().await {
            if far.sender().try_send(channel, bytes).is_err() {
                return;
            }
        }
    });
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let begun = Instant::now();
    while times.len() < WARM_UP + ROUND_TRIPS && (begun.elapsed() < PART || times.len() <= WARM_UP) {
        let sent = Instant::now();
        near.sender().try_send(CHANNEL, BytesMut::zeroed(SMALL))?;
        timeout(ANSWER, near.recv()).await.context("no echo")?.context("the link closed")?;
        times.push(sent.elapsed());
    }
    drop(near);
    echo.await?;
    times.drain(..WARM_UP);
    Ok(percentiles(times))
}

/// Bytes a second in messages of this size.
async fn flow(size: usize) -> anyhow::Result<f64> {
    let (mut near, mut far) = pair().await?;
    let count = tokio::spawn(async move {
        let mut bytes = 0;
        while let Some((_, message)) = far.recv().await {
            if message.len() == LAST {
                // The channel keeps the order: this says that all is there.
                let _ = far.sender().try_send(CHANNEL, message);
            } else {
                bytes += message.len();
            }
        }
        bytes
    });
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < PART {
        send(&near, size).await?;
        sent += size;
    }
    send(&near, LAST).await?;
    timeout(ANSWER, near.recv()).await.context("the link is stuck")?.context("the link closed")?;
    let time = begun.elapsed();
    near.sender().close();
    let received = timeout(ANSWER, count).await.context("the link does not end")??;
    if received != sent {
        bail!("{received} of {sent} bytes arrived");
    }
    Ok(sent as f64 / time.as_secs_f64())
}

/// Sends zeros, when there is room.
async fn send(near: &Link, size: usize) -> anyhow::Result<()> {
    loop {
        match near.sender().try_send(CHANNEL, BytesMut::zeroed(size)) {
            Ok(()) => return Ok(()),
            Err(SendError::Full) => {
                timeout(ANSWER, near.sender().ready(CHANNEL)).await.context("the link is stuck")??;
            }
            Err(error) => bail!(error),
        }
    }
}
