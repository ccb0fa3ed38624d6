//! The WebSocket of the daemon, on loopback, for programs that cannot open a Unix socket. Whoever opens it must know the token.

use std::convert::Infallible;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use atoll::key::hex;
use atoll_door::Lines;
use atoll_door::limits::MAX_LINE;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use super::attach::{attach, turn_away};
use super::{Daemon, MAX_PROGRAMS};

/// How long opening the WebSocket may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Connections that are being opened at once, at most. More wait in the system's backlog.
const MAX_HANDSHAKES: usize = 16;

/// Bytes on their way between WebSocket and door.
const PIPE: usize = 64 << 10;

/// The shortest token that is taken from a file, in characters.
const MIN_TOKEN: usize = 16;

/// Pause after the system could not give another socket.
const RETRY: Duration = Duration::from_millis(200);

/// The port that programs connect to.
pub(super) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    token: Arc<str>,
    pub(super) token_file: PathBuf,
}

impl Door {
    pub(super) async fn open(address: SocketAddr, token_file: &Path) -> anyhow::Result<Self> {
        if !address.ip().is_loopback() {
            bail!("{address} is not loopback: whoever can reach the daemon acts as its node; use 127.0.0.1");
        }
        let token = token(token_file).with_context(|| format!("the token file {}", token_file.display()))?;
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        Ok(Door { listener, address, token: token.into(), token_file: token_file.to_owned() })
    }

    /// Where programs connect to, without the token.
    pub(super) fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    async fn accept(&self, daemon: &Arc<Daemon>) -> Infallible {
        let handshakes = Arc::new(tokio::sync::Semaphore::new(MAX_HANDSHAKES));
        loop {
            let opening = handshakes.clone().acquire_owned().await.expect("the semaphore is never closed");
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let (daemon, token) = (daemon.clone(), self.token.clone());
            tokio::spawn(async move {
                let opened = timeout(HANDSHAKE_WITHIN, open(stream, token)).await;
                drop(opening);
                if let Ok(Some(socket)) = opened {
                    serve_one(daemon, socket).await;
                }
            });
        }
    }
}

/// Serves the door, if there is one.
pub(super) async fn serve(door: Option<&Door>, daemon: &Arc<Daemon>) -> Infallible {
    match door {
        Some(door) => door.accept(daemon).await,
        None => std::future::pending().await,
    }
}

async fn open(stream: TcpStream, token: Arc<str>) -> Option<WebSocketStream<TcpStream>> {
    let _ = stream.set_nodelay(true);
    let config = WebSocketConfig::default().max_message_size(Some(MAX_LINE)).max_frame_size(Some(MAX_LINE));
    #[expect(clippy::result_large_err, reason = "the library wants it so")]
    let check = |request: &Request, response: Response| {
        if knows(request, &token) {
            return Ok(response);
        }
        let mut refused = ErrorResponse::new(Some("the token is missing or wrong\n".to_owned()));
        *refused.status_mut() = StatusCode::UNAUTHORIZED;
        Err(refused)
    };
    accept_hdr_async_with_config(stream, check, Some(config)).await.ok()
}

/// `?token=…`, as browsers can say it, or `Authorization: Bearer …`.
fn knows(request: &Request, token: &str) -> bool {
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| value.strip_prefix("Bearer "));
    let query = request.uri().query().unwrap_or_default();
    let mut said = query.split('&').filter_map(|part| part.strip_prefix("token=")).chain(bearer);
    said.any(|said| equal(said.as_bytes(), token.as_bytes()))
}

/// In a time that does not tell how much of it is right.
fn equal(said: &[u8], token: &[u8]) -> bool {
    said.len() == token.len() && said.iter().zip(token).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

async fn serve_one(daemon: Arc<Daemon>, socket: WebSocketStream<TcpStream>) {
    let (here, there) = tokio::io::duplex(PIPE);
    let place = daemon.places.clone().try_acquire_owned();
    let (reader, writer) = split(here);
    let program = async {
        match place {
            Ok(_place) => attach(daemon, reader, writer).await,
            Err(_) => turn_away(writer, MAX_PROGRAMS).await,
        }
    };
    tokio::join!(program, carry(socket, there));
}

/// Carries lines between a WebSocket, one or more a message, and a pipe.
async fn carry(socket: WebSocketStream<TcpStream>, pipe: DuplexStream) {
    let (mut sink, mut messages) = socket.split();
    let (mut from, mut to) = split(pipe);
    let inward = async {
        while let Some(Ok(message)) = messages.next().await {
            let text = match &message {
                Message::Text(text) => text.as_bytes(),
                Message::Binary(bytes) => bytes,
                Message::Close(_) => break,
                _ => continue,
            };
            if to.write_all(text).await.is_err() || to.write_all(b"\n").await.is_err() {
                break;
            }
        }
    };
    let outward = async {
        let mut lines = Lines::default();
        loop {
            while let Ok(Some(line)) = lines.next_line() {
                let Ok(text) = String::from_utf8(line.into()) else { return };
                if sink.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
            if !matches!(from.read_buf(lines.buffer()).await, Ok(1..)) {
                let _ = sink.close().await;
                return;
            }
        }
    };
    // Either end is the end.
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
}

/// The token in the file; a new one where there is none.
fn token(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let token = text.trim();
            let plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if token.len() < MIN_TOKEN || !plain {
                bail!("a token is {MIN_TOKEN} or more of a-z A-Z 0-9 - _ .");
            }
            Ok(token.to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let token = hex(&rand::random::<[u8; 24]>());
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
            writeln!(file, "{token}")?;
            Ok(token)
        }
        Err(error) => Err(error.into()),
    }
}
