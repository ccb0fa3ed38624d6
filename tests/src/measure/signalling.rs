//! The signalling server, in a process of its own so that nothing of its clients is counted.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atoll::key::Identity;
use atoll::signalling::{NodeMessage, Register, RelayTo, Role, ServerMessage};
use atoll::wire::{Dial, Step};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::children::ServerProcess;
use super::process::{allow_many_files, memory_of};
use super::report::{Figure, Report};
use super::samples::Samples;

/// Connections that do nothing.
const IDLE: usize = 4000;

/// Connections that register at the same time.
const AT_ONCE: usize = 50;

/// Registrations timed, one after another.
const JOINS: usize = 200;

/// Relayed messages and answers timed, one after another.
const RELAYS: usize = 2000;

/// The last steps of the handshakes, and the first round of pings.
const SETTLING: Duration = Duration::from_secs(2);

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    allow_many_files()?;
    let server = ServerProcess::start(0).await?;
    let before = memory_of(server.process()?)?.resident;
    report.progress(&format!("{IDLE} idle connections"));
    let mut idle = Vec::with_capacity(IDLE);
    while idle.len() < IDLE {
        let batch = (0..AT_ONCE.min(IDLE - idle.len())).map(|_| Client::register(&server.url));
        idle.extend(futures::future::try_join_all(batch).await?);
    }
    tokio::time::sleep(SETTLING).await;
    let after = memory_of(server.process()?)?.resident;
    let each = (after as f64 - before as f64) / 1024.0 / IDLE as f64;
    let figure = Figure::new("memory of an idle connection", each, "KiB").at_most(10.0).with("connections", IDLE);
    report.add(figure.with("server_before_KiB", before / 1024).with("server_after_KiB", after / 1024));

    report.progress("registering");
    let mut joins = Samples::default();
    for _ in 0..JOINS {
        let begun = Instant::now();
        let client = Client::register(&server.url).await?;
        joins.push_time(begun.elapsed());
        drop(client);
    }
    let figure = Figure::new("connect, prove the key, be welcomed, p50", joins.median() * 1e3, "ms");
    report.add(figure.with_number("p99_ms", joins.percentile(99) * 1e3).with("joins", JOINS).with("idle", IDLE));

    report.progress("relaying");
    let relays = relay(Client::register(&server.url).await?, Client::register(&server.url).await?).await?;
    let figure = Figure::new("relay to another node and back, p50", relays.median() * 1e6, "µs");
    report.add(figure.with_number("p99_µs", relays.percentile(99) * 1e6).with("relays", RELAYS).with("idle", IDLE));
    Ok(())
}

/// A registered node that reads and writes signalling messages by hand.
struct Client {
    identity: Identity,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    async fn register(url: &str) -> anyhow::Result<Self> {
        let small = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
        let (socket, _) = connect_async_with_config(url, Some(small), true).await?;
        let mut client = Client { identity: Identity::generate(), socket };
        let ServerMessage::Challenge(challenge) = client.read().await? else { bail!("no challenge") };
        let register = Register::sign(&client.identity, &challenge.nonce, "measure", Role::Member, "127.0.0.1", None);
        client.write(&NodeMessage::Register(Box::new(register))).await?;
        let ServerMessage::Welcome(_) = client.read().await? else { bail!("no welcome") };
        Ok(client)
    }

    async fn write(&mut self, message: &NodeMessage) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(message.to_json())).await?)
    }

    async fn read(&mut self) -> anyhow::Result<ServerMessage> {
        loop {
            let message = self.socket.next().await.context("the server closed the connection")??;
            if message.is_text() {
                return Ok(ServerMessage::parse(message.to_text()?)?);
            }
        }
    }

    /// The next message that another node sent.
    async fn relayed(&mut self) -> anyhow::Result<()> {
        loop {
            match self.read().await? {
                ServerMessage::Relay(_) => return Ok(()),
                ServerMessage::Error(error) => bail!("the server refuses: {}", error.message),
                _ => {}
            }
        }
    }
}

async fn relay(mut near: Client, mut far: Client) -> anyhow::Result<Samples> {
    let step = Dial { attempt: 1, step: Step::Describe("candidate:".to_owned()) };
    let (there, back) = (RelayTo::dial(far.identity.id(), &step), RelayTo::dial(near.identity.id(), &step));
    let (there, back) = (NodeMessage::Relay(there), NodeMessage::Relay(back));
    tokio::spawn(async move { while far.relayed().await.is_ok() && far.write(&back).await.is_ok() {} });
    let mut times = Samples::default();
    for _ in 0..RELAYS {
        let begun = Instant::now();
        near.write(&there).await?;
        near.relayed().await?;
        times.push_time(begun.elapsed());
    }
    Ok(times)
}
