//! One connection to one signalling server: opened and registered, or not at all.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::net::signal::client::SignallingConfig;
use crate::signalling::{
    Challenge, ErrorCode, MAX_MESSAGE_BYTES, NodeMessage, ParseError, Register, ServerError, ServerMessage, Status,
    VERSION, Welcome,
};

/// From the look-up of the name to the welcome.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// How long a message may take to be written.
pub const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of the buffer for reading. The library's default is 128 KiB.
const READ_BUFFER: usize = 4 * 1024;
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// A registered connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(super) welcome: Box<Welcome>,
}

/// Why there is no connection, or no longer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Broken {
    /// It could not be opened, or broke.
    Lost(String),
    /// The server said why.
    Refused(ServerError),
}

impl Broken {
    fn because(reason: impl Into<String>) -> Self {
        Broken::Lost(reason.into())
    }
}

impl From<WsError> for Broken {
    fn from(error: WsError) -> Self {
        Broken::Lost(match error {
            WsError::Io(error) => format!("the connection failed: {error}"),
            WsError::Http(answer) => format!("the server answered with HTTP status {}", answer.status()),
            WsError::ConnectionClosed => "the server closed the connection".into(),
            other => format!("the connection failed: {other}"),
        })
    }
}

/// The request for this URL, if it is one of a signalling server.
pub(super) fn request(url: &str) -> Option<Request> {
    let request = url.into_client_request().ok()?;
    let is_websocket = matches!(request.uri().scheme_str(), Some("ws" | "wss"));
    (is_websocket && request.uri().host().is_some_and(|host| !host.is_empty())).then_some(request)
}

/// TLS with the roots that browsers trust. The provider is named here: the process may have none by default, or two.
pub(super) fn default_tls() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring's provider supports rustls' default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

impl Connection {
    /// Connects and registers, within [`CONNECT_LIMIT`].
    pub(super) async fn open(url: &str, config: &SignallingConfig, status: Option<Status>) -> Result<Self, Broken> {
        timeout(CONNECT_LIMIT, Self::connect(url, config, status))
            .await
            .unwrap_or_else(|_| Err(Broken::because(format!("no answer within {} s", CONNECT_LIMIT.as_secs()))))
    }

    async fn connect(url: &str, config: &SignallingConfig, status: Option<Status>) -> Result<Self, Broken> {
        let request = request(url).ok_or_else(|| Broken::because("not a ws:// or wss:// URL"))?;
        let host = host_of(&request);
        let secure = request.uri().scheme_str() == Some("wss");
        let connector = secure.then(|| Connector::Rustls(config.tls.clone().unwrap_or_else(default_tls)));
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * MAX_MESSAGE_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let (mut socket, _) = connect_async_tls_with_config(request, Some(limits), true, connector).await?;
        let challenge = match receive(&mut socket).await? {
            ServerMessage::Challenge(challenge) => challenge,
            ServerMessage::Error(refusal) => return Err(Broken::Refused(refusal)),
            _ => return Err(Broken::because("the server did not begin with a challenge")),
        };
        let register = answer(&challenge, config, &host, status)?;
        socket.send(Message::text(register.to_json())).await?;
        match receive(&mut socket).await? {
            ServerMessage::Welcome(welcome) if welcome.id == config.identity.id() => Ok(Connection { socket, welcome }),
            ServerMessage::Welcome(_) => Err(Broken::because("the server computed another id from our key")),
            ServerMessage::Error(refusal) => Err(Broken::Refused(refusal)),
            _ => Err(Broken::because("the server did not answer the registration")),
        }
    }

    /// The next message. `Ok(None)`: a sign of life that says nothing. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<ServerMessage>, Broken> {
        let message = self.socket.next().await.ok_or_else(|| Broken::from(WsError::ConnectionClosed))??;
        read(message)
    }

    /// Sends a message, within [`WRITE_LIMIT`].
    pub(super) async fn send(&mut self, message: &NodeMessage) -> Result<(), Broken> {
        self.write(Message::text(message.to_json())).await
    }

    /// Asks for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), Broken> {
        self.write(Message::Ping(Default::default())).await
    }

    /// Closes it properly, if the server is quick.
    pub(super) async fn close(mut self) {
        let _ = timeout(GOODBYE, async {
            let _ = self.socket.close(None).await;
            while self.socket.next().await.is_some_and(|message| message.is_ok()) {}
        })
        .await;
    }

    async fn write(&mut self, message: Message) -> Result<(), Broken> {
        match timeout(WRITE_LIMIT, self.socket.send(message)).await {
            Ok(written) => written.map_err(Broken::from),
            Err(_) => Err(Broken::because("the server does not read")),
        }
    }
}

/// The registration for a challenge.
fn answer(
    challenge: &Challenge,
    config: &SignallingConfig,
    host: &str,
    status: Option<Status>,
) -> Result<NodeMessage, Broken> {
    if !challenge.versions.contains(&VERSION) {
        let message = format!("the server speaks versions {:?}, this node version {VERSION}", challenge.versions);
        return Err(Broken::Refused(ServerError { code: ErrorCode::Version, message }));
    }
    let register = Register::sign(&config.identity, &challenge.nonce, &config.network, config.role, host, status);
    Ok(NodeMessage::Register(Box::new(register)))
}

/// The host as the URL has it, with its port if the URL names one.
fn host_of(request: &Request) -> String {
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}

async fn receive(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Result<ServerMessage, Broken> {
    loop {
        let message = socket.next().await.ok_or_else(|| Broken::from(WsError::ConnectionClosed))??;
        if let Some(message) = read(message)? {
            return Ok(message);
        }
    }
}

fn read(message: Message) -> Result<Option<ServerMessage>, Broken> {
    match message {
        Message::Text(text) => match ServerMessage::parse(&text) {
            Ok(message) => Ok(Some(message)),
            // A later version may have more to say.
            Err(ParseError::UnknownType(_)) => Ok(None),
            Err(error) => Err(Broken::because(format!("the server sent no message of this protocol: {error}"))),
        },
        Message::Ping(_) | Message::Pong(_) => Ok(None),
        Message::Close(_) => Err(Broken::because("the server closed the connection")),
        Message::Binary(_) | Message::Frame(_) => Err(Broken::because("the server sent binary data")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_websocket_urls_are_urls_of_a_server() {
        for good in ["ws://127.0.0.1:9000", "wss://signal.example.org", "ws://[::1]:9000/ws"] {
            assert!(request(good).is_some(), "{good}");
        }
        for bad in ["", "127.0.0.1:9000", "http://a.example", "ws://", "ws:// a", "file:///etc"] {
            assert!(request(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_registration_names_the_host_as_the_url_has_it() {
        let host = |url: &str| host_of(&request(url).unwrap());
        assert_eq!(host("wss://signal.example.org/ws"), "signal.example.org");
        assert_eq!(host("ws://127.0.0.1:9000"), "127.0.0.1:9000");
        assert_eq!(host("ws://user:secret@a.example:1"), "a.example:1");
    }
}
