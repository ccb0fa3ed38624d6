//! Sessions over a ring in memory.

mod faults;
mod hostile;
mod lifetime;
mod sockets;

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::memory::{Conditions, MemoryRing};
use super::*;
use crate::key::Identity;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

const ECHO: &str = "test/echo/1";

/// Two nodes on one ring.
struct Pair {
    ring: MemoryRing,
    alice: Sessions,
    bob: Sessions,
}

fn pair(conditions: Conditions) -> Pair {
    pair_with(conditions, Settings::default())
}

fn pair_with(conditions: Conditions, settings: Settings) -> Pair {
    let ring = MemoryRing::new(conditions, 7);
    let alice = ring.join(&Identity::generate(), settings.clone()).unwrap();
    let bob = ring.join(&Identity::generate(), settings).unwrap();
    Pair { ring, alice, bob }
}

/// Short times, for what must end.
fn hasty() -> Settings {
    Settings {
        handshake_timeout: Duration::from_millis(800),
        silence_timeout: Duration::from_millis(900),
        keep_alive: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(400),
        ..Settings::default()
    }
}

/// Sends everything back that comes under [`ECHO`].
fn serve_echo(sessions: &Sessions) {
    let mut listener = sessions.listen(ECHO).unwrap();
    tokio::spawn(async move {
        while let Some(socket) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = socket.into_split();
                if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                    let _ = writer.shutdown().await;
                }
            });
        }
    });
}

/// Sends `bytes` and returns what comes back.
async fn echo(socket: Socket, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut reader, mut writer) = socket.into_split();
    let mut back = Vec::new();
    let sending = async {
        writer.write_all(bytes).await?;
        writer.shutdown().await
    };
    let (sent, read) = tokio::join!(sending, reader.read_to_end(&mut back));
    sent?;
    read?;
    Ok(back)
}

/// Bytes that are never the same twice in a row.
fn pattern(length: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}

/// Looks until it holds: for what no event announces.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(what, look).await;
}

fn socket_error(error: &std::io::Error) -> SocketError {
    SocketError::of(error).cloned().unwrap_or_else(|| panic!("{error:?} is not a socket's error"))
}
