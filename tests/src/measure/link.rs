//! One WebRTC link, and beside it, in the same run, a plain data channel.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atoll::net::link::{
    Channel, Link, LinkEvent, LinkKey, LinkSender, LinkSettings, MAX_MESSAGE, SendError, Transport, native,
};
use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::process::{cpu_seconds, open_files, own_memory};
use super::raw::{ECHOED, RawEnd};
use super::report::{Figure, Report};
use super::samples::Samples;

/// Links opened one after another.
const OPENINGS: usize = 200;

/// Plain data channels opened one after another: each takes half a second.
const RAW_OPENINGS: usize = 10;

/// Ours and the plain channel take turns, so often, for the machine is not quiet.
const ROUNDS: usize = 5;

/// Round trips in a round.
const ROUND_TRIPS: usize = 1000;

/// Bytes sent in a round, by the length of the messages.
const FLOWS: [(usize, usize); 3] = [(MAX_MESSAGE, 64 << 20), (1200, 16 << 20), (100, 4 << 20)];

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    openings(report).await?;
    many_at_once(report, 32, 200).await?;
    round_trips(report).await?;
    flows(report).await?;
    packets(report).await?;
    idle(report, 100).await
}

/// A transport on loopback.
pub(super) fn transport() -> anyhow::Result<Transport> {
    Ok(native::transport(LinkSettings { bind: vec![Ipv4Addr::LOCALHOST.into()], ..Default::default() })?)
}

/// Both ends of a link.
pub(super) async fn open(a: &Transport, b: &Transport) -> anyhow::Result<(Link, Link)> {
    let (dialling, offer) = a.offer().await?;
    let (answering, answer) = b.answer(&offer).await?;
    dialling.accept(&answer).await?;
    Ok(tokio::try_join!(dialling.open(), answering.open())?)
}

/// From the offer until both channels are open at both ends.
async fn openings(report: &mut Report) -> anyhow::Result<()> {
    report.progress("opening links");
    let mut raw = Samples::default();
    for _ in 0..RAW_OPENINGS {
        let (near, far, took) = RawEnd::pair().await?;
        raw.push_time(took);
        near.close().await;
        far.close().await;
    }
    let (a, b) = (transport()?, transport()?);
    let mut times = Samples::default();
    for _ in 0..OPENINGS {
        let begun = Instant::now();
        let ends = open(&a, &b).await?;
        times.push_time(begun.elapsed());
        drop(ends);
    }
    let figure = Figure::new("open, median", times.median() * 1e3, "ms").at_most(50.0).with("links", OPENINGS);
    report.add(figure.with_number("plain_webrtc_ms", raw.median() * 1e3));
    let figure = Figure::new("open, p99", times.percentile(99) * 1e3, "ms").at_most(300.0).with("links", OPENINGS);
    report.add(figure.with_number("worst_ms", times.max() * 1e3));
    Ok(())
}

/// As when a ring forms: everybody opens links at the same time.
async fn many_at_once(report: &mut Report, nodes: usize, links: usize) -> anyhow::Result<()> {
    report.progress("opening many links at once");
    let transports = (0..nodes).map(|_| transport()).collect::<anyhow::Result<Vec<_>>>()?;
    let (files, cpu, begun) = (open_files(), cpu_seconds(), Instant::now());
    let mut openings = JoinSet::new();
    for i in 0..links {
        let (a, b) = (transports[i % nodes].clone(), transports[(i * 7 + 1 + i / nodes) % nodes].clone());
        openings.spawn(async move { open(&a, &b).await });
    }
    let opened = openings.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let took = begun.elapsed();
    let cpu_ms = (cpu_seconds() - cpu) * 1e3 / links as f64;
    let files = (open_files() as f64 - files as f64) / (2 * links) as f64;
    drop(opened);
    let figure = Figure::new(format!("{links} links of {nodes} nodes opened at once"), took.as_secs_f64(), "s");
    report.add(figure.with_number("cpu_ms_a_link", cpu_ms).with_number("files_an_end", files));
    Ok(())
}

/// The near end of a link whose far end echoes what is short and swallows what is long, as [`RawEnd::serve`] does.
struct ServedLink {
    sender: LinkSender,
    queue: mpsc::Receiver<LinkEvent>,
}

impl ServedLink {
    async fn open() -> anyhow::Result<Self> {
        let (near, far) = open(&transport()?, &transport()?).await?;
        let (near_events, queue) = mpsc::channel(256);
        let (far_events, mut far_queue) = mpsc::channel(256);
        let sender = near.forward(LinkKey(0), near_events);
        let far = far.forward(LinkKey(1), far_events);
        tokio::spawn(async move {
            while let Some(event) = far_queue.recv().await {
                if let LinkEvent::Frame { channel, bytes, .. } = event
                    && bytes.len() <= ECHOED
                    && far.try_send(channel, bytes).is_err()
                {
                    return;
                }
            }
        });
        Ok(ServedLink { sender, queue })
    }

    async fn send(&self, channel: Channel, size: usize) -> anyhow::Result<()> {
        loop {
            match self.sender.try_send(channel, BytesMut::zeroed(size)) {
                Ok(()) => return Ok(()),
                Err(SendError::Full) => self.sender.ready(channel).await?,
                Err(error) => bail!(error),
            }
        }
    }

    async fn echoed(&mut self) -> anyhow::Result<()> {
        let frame = async {
            while let Some(event) = self.queue.recv().await {
                match event {
                    LinkEvent::Frame { .. } => return Ok(()),
                    LinkEvent::Closed { reason, .. } => bail!("the link closed: {reason}"),
                    LinkEvent::Writable { .. } => {}
                }
            }
            bail!("the link is gone")
        };
        tokio::time::timeout(PATIENCE, frame).await.context("no echo over the link")?
    }

    async fn round_trips(&mut self, channel: Channel, count: usize) -> anyhow::Result<Samples> {
        let mut times = Samples::default();
        for _ in 0..count {
            let begun = Instant::now();
            self.send(channel, ECHOED).await?;
            self.echoed().await?;
            times.push_time(begun.elapsed());
        }
        Ok(times)
    }

    /// Over the ring channel, which is ordered and loses nothing.
    async fn messages_a_second(&mut self, size: usize, count: usize) -> anyhow::Result<f64> {
        let begun = Instant::now();
        for _ in 0..count {
            self.send(Channel::Ring, size).await?;
        }
        self.send(Channel::Ring, ECHOED).await?;
        self.echoed().await?;
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }
}

async fn round_trips(report: &mut Report) -> anyhow::Result<()> {
    report.progress("round trips");
    let (raw, mut ours) = (RawEnd::served().await?, ServedLink::open().await?);
    let (mut raw_times, mut times) = (Samples::default(), [Samples::default(), Samples::default()]);
    for round in 0..=ROUNDS {
        let raw_round = raw.round_trips(ROUND_TRIPS).await?;
        let mut rounds = [Samples::default(), Samples::default()];
        for channel in Channel::ALL {
            rounds[usize::from(channel.id())] = ours.round_trips(channel, ROUND_TRIPS).await?;
        }
        // The first warms up.
        if round > 0 {
            raw_times.append(raw_round);
            times.iter_mut().zip(rounds).for_each(|(all, round)| all.append(round));
        }
    }
    let micros = |seconds: f64| seconds * 1e6;
    let figure = Figure::new("round trip of 64 B, plain data channel, p50", micros(raw_times.median()), "µs");
    report.add(figure.with_number("p99", micros(raw_times.percentile(99))).with("round_trips", raw_times.count()));
    for channel in Channel::ALL {
        let times = &times[usize::from(channel.id())];
        let name = format!("round trip of 64 B, channel {}, p50", channel.label());
        let figure = Figure::new(name, micros(times.median()), "µs").with_number("p99", micros(times.percentile(99)));
        report.add(figure.with_number("times_plain", times.median() / raw_times.median()));
    }
    Ok(())
}

/// Reliable messages one way, of a plain channel and of a link's ring channel.
async fn flows(report: &mut Report) -> anyhow::Result<()> {
    for (size, total) in FLOWS {
        report.progress(&format!("messages of {size} B"));
        let (raw, mut ours) = (RawEnd::served().await?, ServedLink::open().await?);
        let (mut raw_rates, mut rates) = (Samples::default(), Samples::default());
        for _ in 0..ROUNDS {
            raw_rates.push(raw.messages_a_second(size, total / size).await?);
            rates.push(ours.messages_a_second(size, total / size).await?);
        }
        let (raw_rate, rate) = (raw_rates.median(), rates.median());
        let (unit, scale) = if size == MAX_MESSAGE { ("MiB/s", size as f64 / 1048576.0) } else { ("a second", 1.0) };
        let figure = Figure::new(format!("messages of {size} B, plain data channel"), raw_rate * scale, unit);
        report.add(figure.with("rounds", ROUNDS).with("bytes_a_round", total));
        let figure = Figure::new(format!("messages of {size} B, channel ring"), rate * scale, unit);
        report.add(figure.with_number("times_plain", rate / raw_rate));
    }
    Ok(())
}

/// Packets of sessions one way, over the channel that may lose them.
async fn packets(report: &mut Report) -> anyhow::Result<()> {
    let (size, total) = (1200, 64 << 20);
    report.progress("packets");
    let (near, far) = open(&transport()?, &transport()?).await?;
    let (events, mut queue) = mpsc::channel(256);
    let _far = far.forward(LinkKey(1), events);
    let near = near.sender().clone();
    let count = total / size;
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    let sender = tokio::spawn(async move {
        for _ in 0..count {
            while let Err(error) = near.try_send(Channel::Data, BytesMut::zeroed(size)) {
                match error {
                    SendError::Full => near.ready(Channel::Data).await?,
                    error => bail!(error),
                }
            }
        }
        Ok(near)
    });
    let (mut received, mut last) = (0, begun);
    while received < count {
        match tokio::time::timeout(Duration::from_secs(2), queue.recv()).await {
            Ok(Some(LinkEvent::Frame { .. })) => (received, last) = (received + 1, Instant::now()),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    let _near = sender.await??;
    let cpu_micros = (cpu_seconds() - cpu) * 1e6 / received.max(1) as f64;
    let rate = received as f64 / (last - begun).as_secs_f64();
    let lost = 100.0 * (count - received) as f64 / count as f64;
    let figure = Figure::new(format!("packets of {size} B, channel data"), rate, "a second").with("packets", count);
    report.add(figure.with_number("lost_percent", lost).with_number("cpu_µs_a_packet", cpu_micros));
    Ok(())
}

/// What an end of a link costs that carries nothing.
async fn idle(report: &mut Report, links: usize) -> anyhow::Result<()> {
    report.progress("idle links");
    let (a, b) = (transport()?, transport()?);
    let mut held = vec![open(&a, &b).await?];
    let before = own_memory()?.resident as f64;
    for _ in 0..links {
        held.push(open(&a, &b).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kibibytes = (own_memory()?.resident as f64 - before) / 1024.0 / (2 * links) as f64;
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let cpu = (cpu_seconds() - cpu) / begun.elapsed().as_secs_f64() / (2 * links) as f64;
    drop(held);
    let figure = Figure::new("memory of an idle end of a link", kibibytes, "KiB").with("ends", 2 * links);
    report.add(figure.with_number("percent_of_a_core", cpu * 100.0));
    Ok(())
}
