//! One node's connection, from the challenge to the goodbye.
//!
//! A server may hold ten thousand of these with nothing to do, so a connection is one task with a small future: what is long
//! but rare (the handshake, the goodbye) is boxed and gone when it is over.

use std::sync::Arc;
use std::time::Duration;

use atoll::Id;
use atoll::signalling::{
    Challenge, ErrorCode, Hex, Limits, NONCE_BYTES, NodeMessage, ParseError, Register, RelayFrom, RelayTo, ServerError,
    ServerMessage, Undelivered, UndeliveredReason, VERSION, Welcome,
};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use futures::SinkExt;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tungstenite::Error as WsError;
use tungstenite::error::ProtocolError;

use crate::bucket::TokenBucket;
use crate::outbox::{Next, Outbox};
use crate::registry::Applicant;
use crate::server::{Shared, Visitor, stopped};

/// How long the goodbye may take: to write the reason, and for the other side to have read it.
const GOODBYE: Duration = Duration::from_secs(1);
/// Pings and pongs that a node may send before it registers.
const PINGS_BEFORE: usize = 16;

/// Serves one node to its end.
pub(crate) async fn run(socket: WebSocket, shared: Arc<Shared>, visitor: Arc<Visitor>) {
    let mut connection = Connection {
        socket,
        outbox: Arc::new(Outbox::new(shared.settings.limits.pending_bytes)),
        shared,
        visitor,
        node: None,
    };
    let end = match Box::pin(connection.shake_hands()).await {
        Ok(()) => connection.serve().await,
        Err(end) => end,
    };
    connection.leave();
    Box::pin(connection.say_goodbye(end)).await;
}

/// Whatever ends the task, the node is no longer registered.
impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
    }
}

struct Connection {
    socket: WebSocket,
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
    visitor: Arc<Visitor>,
    node: Option<Box<Node>>,
}

/// Who is registered on this connection.
struct Node {
    network: String,
    id: Id,
    ticket: u64,
    bucket: TokenBucket,
}

/// How a connection ends.
#[derive(Debug)]
enum End {
    /// The node closed it properly.
    Left,
    /// It broke without a word.
    Lost,
    /// The server closes it, and says why.
    Because(ErrorCode, String),
}

impl End {
    fn because(code: ErrorCode, message: &str) -> Self {
        End::Because(code, message.to_owned())
    }
}

impl From<ParseError> for End {
    fn from(error: ParseError) -> Self {
        let code = if matches!(error, ParseError::TooLarge(_)) { ErrorCode::TooLarge } else { ErrorCode::BadMessage };
        End::Because(code, error.to_string())
    }
}

impl Connection {
    /// Challenge, registration, welcome: all before the visitor's deadline.
    async fn shake_hands(&mut self) -> Result<(), End> {
        let nonce = Hex(rand::random());
        let server = concat!("sig-server ", env!("CARGO_PKG_VERSION")).to_owned();
        let challenge = ServerMessage::Challenge(Challenge { versions: vec![VERSION], nonce, server });
        let deadline = self.visitor.deadline;
        let mut stop = self.shared.stop.subscribe();
        let exchange = async {
            self.socket.send(Message::Text(challenge.to_json().into())).await.map_err(|_| End::Lost)?;
            for _ in 0..PINGS_BEFORE {
                if let Some(text) = readable(self.socket.recv().await)? {
                    return NodeMessage::parse(&text).map_err(End::from);
                }
            }
            Err(End::because(ErrorCode::TooFast, "register instead of pinging"))
        };
        let message = tokio::select! {
            message = timeout_at(deadline, exchange) => message.unwrap_or_else(|_| {
                Err(End::because(ErrorCode::HandshakeTimeout, "the registration took too long"))
            })?,
            () = stopped(&mut stop) => return Err(shutting_down()),
        };
        let NodeMessage::Register(register) = message else {
            return Err(End::because(ErrorCode::OutOfOrder, "register first"));
        };
        self.shared.metrics.receive("register");
        self.register(*register, &nonce)
    }

    fn register(&mut self, register: Register, nonce: &Hex<NONCE_BYTES>) -> Result<(), End> {
        if register.version != VERSION {
            let message = format!("this server speaks version {VERSION}, not {}", register.version);
            return Err(End::Because(ErrorCode::Version, message));
        }
        let hosts = &self.shared.settings.hosts;
        if !hosts.is_empty() && !hosts.iter().any(|host| host.eq_ignore_ascii_case(&register.host)) {
            let message = "the registration was signed for another server: use this server's own name";
            return Err(End::because(ErrorCode::WrongHost, message));
        }
        if register.verify(nonce).is_err() {
            let message = "the signature does not prove the key for this challenge";
            return Err(End::because(ErrorCode::BadSignature, message));
        }
        let Register { network, key, role, status, .. } = register;
        let id = key.id();
        let now = Instant::now();
        let limits = &self.shared.settings.limits;
        let told = Limits {
            message_bytes: limits.message_bytes,
            messages_per_second: limits.messages_per_second,
            burst: limits.burst,
        };
        let applicant = Applicant { id, key: key.to_spki_der(), role, status, handle: Arc::clone(&self.outbox) };
        let mut registry = self.shared.registry();
        let registered = registry.register(&network, applicant, now).map_err(|code| {
            let message = match code {
                ErrorCode::IdHeld => "another key holds this id: make a new key",
                _ => "this server serves no more networks: use one that exists, or another server",
            };
            End::because(code, message)
        })?;
        let found = registered.list.found;
        let ice_servers = self.shared.settings.ice_servers.clone();
        let welcome = Welcome { id, ice_servers, list: registered.list, limits: told };
        // Before others can reach this node: the welcome comes first.
        self.outbox.put(ServerMessage::Welcome(Box::new(welcome)).to_json());
        drop(registry);
        if let Some(older) = registered.replaced {
            older.end(ErrorCode::Replaced);
        }
        tracing::info!(%id, network, found, address = %self.visitor.address, "registered");
        self.shared.metrics.registered.inc();
        self.shared.metrics.founded.inc_by(u64::from(found));
        let bucket = TokenBucket::full(limits.burst, now);
        self.node = Some(Box::new(Node { network, id, ticket: registered.ticket, bucket }));
        Ok(())
    }

    /// Reads and writes until something ends it.
    async fn serve(&mut self) -> End {
        let mut stop = self.shared.stop.subscribe();
        let (ping_every, idle) = (self.shared.settings.limits.ping_every, self.shared.settings.limits.idle);
        let mut heard = Instant::now();
        let mut ping_at = heard + ping_every;
        loop {
            let step = tokio::select! {
                next = self.outbox.next() => match next {
                    Next::Write(text) => {
                        let bytes = text.len();
                        let written = self.write(Message::Text(text)).await;
                        self.outbox.written(bytes);
                        written
                    }
                    Next::End(code) => Err(ended(code)),
                },
                received = self.socket.recv() => {
                    heard = Instant::now();
                    self.receive(received, heard)
                }
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + ping_every;
                    if heard.elapsed() >= idle {
                        Err(End::because(ErrorCode::Idle, "nothing was heard for too long"))
                    } else {
                        self.write(Message::Ping(Default::default())).await
                    }
                }
                () = stopped(&mut stop) => Err(shutting_down()),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Writes one message. A node that does not read holds up nobody but itself, and that not for long.
    async fn write(&mut self, message: Message) -> Result<(), End> {
        tokio::select! {
            biased;
            code = self.outbox.ended() => Err(ended(code)),
            written = timeout(self.shared.settings.limits.idle, self.socket.send(message)) => match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Lost),
                Err(_) => Err(ended(ErrorCode::SlowReader)),
            }
        }
    }

    fn receive(&mut self, received: Option<Result<Message, axum::Error>>, now: Instant) -> Result<(), End> {
        let limits = &self.shared.settings.limits;
        let Some(node) = &mut self.node else { return Err(End::Lost) };
        if !node.bucket.take(limits.messages_per_second, limits.burst, now) {
            let message = format!("more than {} messages a second", limits.messages_per_second);
            return Err(End::Because(ErrorCode::TooFast, message));
        }
        let Some(text) = readable(received)? else { return Ok(()) };
        let metrics = &self.shared.metrics;
        match NodeMessage::parse(&text)? {
            NodeMessage::Register(_) => {
                Err(End::because(ErrorCode::OutOfOrder, "this connection is registered already"))
            }
            NodeMessage::FindMembers => {
                metrics.receive("find-members");
                let list = self.shared.registry().find_members(&node.network, node.id, now);
                metrics.founded.inc_by(u64::from(list.found));
                self.outbox.put(ServerMessage::Members(list).to_json());
                Ok(())
            }
            NodeMessage::Status(status) => {
                metrics.receive("status");
                self.shared.registry().set_status(&node.network, node.id, node.ticket, status);
                Ok(())
            }
            NodeMessage::Relay(relay) => {
                metrics.receive("relay");
                relay_on(&self.shared, &self.outbox, node, relay);
                Ok(())
            }
        }
    }

    fn leave(&mut self) {
        if let Some(node) = self.node.take() {
            self.shared.registry().unregister(&node.network, node.id, node.ticket);
            tracing::info!(id = %node.id, network = node.network, "left");
        }
    }

    /// Says why, and waits for the other side to have read it: a socket closed with unread input would take the reason back.
    async fn say_goodbye(mut self, end: End) {
        let (code, message) = match end {
            End::Left => {
                self.shared.metrics.close("left");
                let _ = timeout(GOODBYE, self.socket.flush()).await; // The answer to its goodbye.
                return;
            }
            End::Lost => return self.shared.metrics.close("lost"),
            End::Because(code, message) => (code, message),
        };
        tracing::debug!(address = %self.visitor.address, code = code.as_str(), message, "closed");
        self.shared.metrics.close_for(code);
        let close_code = match code {
            ErrorCode::TooLarge => close_code::SIZE,
            ErrorCode::ShuttingDown => close_code::AWAY,
            _ => close_code::POLICY,
        };
        let close = Message::Close(Some(CloseFrame { code: close_code, reason: code.as_str().into() }));
        let error = ServerMessage::Error(ServerError { code, message });
        let goodbye = async {
            self.socket.feed(Message::Text(error.to_json().into())).await?;
            self.socket.send(close).await?;
            while self.socket.recv().await.is_some_and(|received| received.is_ok()) {}
            Ok::<_, axum::Error>(())
        };
        let _ = timeout(GOODBYE, goodbye).await; // It was told, or is not listening.
    }
}

/// Hands a message on, within the network; its sender learns when that is not possible.
fn relay_on(shared: &Shared, sender: &Outbox, node: &Node, relay: RelayTo) {
    let receiver = shared.registry().reach(&node.network, relay.to);
    let reason = match receiver {
        None => UndeliveredReason::NotHere,
        Some(receiver) => {
            let bytes = relay.payload.text().len() as u64;
            // Written anew: a slice of what was read would keep the whole read buffer in memory as long as it waits.
            let message = ServerMessage::Relay(RelayFrom { from: node.id, payload: relay.payload });
            if receiver.put(message.to_json()) {
                shared.metrics.relayed_bytes.inc_by(bytes);
                return;
            }
            UndeliveredReason::Busy
        }
    };
    shared.metrics.fail_to_deliver(reason);
    sender.put(ServerMessage::Undeliverable(Undelivered { to: relay.to, reason }).to_json());
}

/// The text in what was received; `None` for pings and pongs.
fn readable(received: Option<Result<Message, axum::Error>>) -> Result<Option<Utf8Bytes>, End> {
    match received {
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Close(_))) => Err(End::Left),
        Some(Ok(Message::Binary(_))) => Err(End::because(ErrorCode::BadMessage, "messages are text, not binary")),
        Some(Err(error)) => Err(why_broken(&error)),
        None => Err(End::Lost),
    }
}

/// axum wraps the errors of `tungstenite`, whose version in our manifest has to be the one that axum uses.
fn why_broken(error: &axum::Error) -> End {
    match std::error::Error::source(error).and_then(|inner| inner.downcast_ref::<WsError>()) {
        Some(WsError::Capacity(error)) => End::Because(ErrorCode::TooLarge, error.to_string()),
        Some(WsError::Utf8(_)) => End::because(ErrorCode::BadMessage, "the text is not UTF-8"),
        Some(WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => End::Lost,
        Some(WsError::Protocol(error)) => End::Because(ErrorCode::BadMessage, error.to_string()),
        _ => End::Lost,
    }
}

fn ended(code: ErrorCode) -> End {
    End::because(
        code,
        match code {
            ErrorCode::Replaced => "the same key registered again: only the newer connection stays",
            _ => "messages for this node pile up: it reads too slowly",
        },
    )
}

fn shutting_down() -> End {
    End::because(ErrorCode::ShuttingDown, "the server is stopping")
}
