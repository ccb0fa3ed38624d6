//! What an idle connection costs the server: opens many, registered, and prints KiB of resident memory for each.
//!
//! `cargo run --release -p atoll-signalling --example idle_memory [connections]`. The server runs in a process of its own, so
//! that nothing of the clients is counted. Linux only: it reads `/proc`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use atoll::key::Identity;
use atoll::signalling::{NodeMessage, Register, Role, ServerMessage};
use atoll_signalling::{Limits, Server, Settings};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// The most that an idle connection may cost.
const TARGET_KIB: f64 = 10.0;
/// Raises the limit of open files as far as it goes, and runs the program again.
const WITH_MANY_FILES: &str = r#"ulimit -n "$(ulimit -Hn)"; exec "$0" "$@""#;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => runtime.block_on(serve()),
        ["measure", connections] => {
            let connections = connections.parse().context("not a number of connections")?;
            let kib = runtime.block_on(kib_per_idle_connection(connections))?;
            println!("{connections} idle connections: {kib:.2} KiB each (target: at most {TARGET_KIB} KiB)");
            Ok(())
        }
        [] => run_again(&["measure", "4000"])?.wait().map(drop).context("cannot wait"),
        [connections] => run_again(&["measure", connections])?.wait().map(drop).context("cannot wait"),
        _ => bail!("usage: idle_memory [connections]"),
    }
}

fn run_again(arguments: &[&str]) -> anyhow::Result<Child> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(WITH_MANY_FILES).arg(program).args(arguments);
    if arguments == ["serve"] {
        command.stdout(Stdio::piped());
    }
    command.spawn().context("cannot run sh")
}

async fn serve() -> anyhow::Result<()> {
    let limits = Limits { connections: 100_000, connections_per_address: 100_000, ..Limits::default() };
    let server = Server::bind(Settings { listen: ([127, 0, 0, 1], 0).into(), limits, ..Settings::default() }).await?;
    println!("{}", server.url());
    server.serve().await;
    Ok(())
}

/// Resident memory of the server with so many registered connections, less that without any, for each of them.
async fn kib_per_idle_connection(connections: usize) -> anyhow::Result<f64> {
    let mut server = run_again(&["serve"])?;
    let measured = with_server(&mut server, connections).await;
    server.kill()?;
    server.wait()?;
    measured
}

async fn with_server(server: &mut Child, connections: usize) -> anyhow::Result<f64> {
    let mut url = String::new();
    BufReader::new(server.stdout.as_mut().context("no output")?).read_line(&mut url)?;
    let before = resident_kib(server.id())?;
    let mut open = Vec::with_capacity(connections);
    while open.len() < connections {
        let batch = (0..50.min(connections - open.len())).map(|_| register(url.trim()));
        open.extend(futures::future::try_join_all(batch).await?);
    }
    // The last steps of the handshakes, and the first round of pings.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = resident_kib(server.id())?;
    println!("server: {before} KiB without connections, {after} KiB with {}", open.len());
    Ok((after as f64 - before as f64) / connections as f64)
}

async fn register(url: &str) -> anyhow::Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
    let small = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
    let (mut socket, _) = connect_async_with_config(url, Some(small), true).await?;
    let first = socket.next().await.context("no challenge")??;
    let ServerMessage::Challenge(challenge) = ServerMessage::parse(first.to_text()?)? else { bail!("no challenge") };
    let register = Register::sign(&Identity::generate(), &challenge.nonce, "main", Role::Member, "127.0.0.1", None);
    socket.send(Message::text(NodeMessage::Register(Box::new(register)).to_json())).await?;
    let second = socket.next().await.context("no welcome")??;
    let ServerMessage::Welcome(_) = ServerMessage::parse(second.to_text()?)? else { bail!("no welcome") };
    Ok(socket)
}

fn resident_kib(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}
