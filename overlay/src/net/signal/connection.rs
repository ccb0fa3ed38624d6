//! One connection to one signalling server: opened and registered, or not at all.

use std::time::Duration;

use http::Uri;

use crate::net::platform::{WebSocket, timeout};
use crate::net::signal::client::SignallingConfig;
use crate::signalling::{
    Challenge, ErrorCode, MAX_MESSAGE_BYTES, NodeMessage, ParseError, Register, ServerError, ServerMessage, Status,
    VERSION, Welcome,
};

/// From the look-up of the name to the welcome.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// How long a message may take to be written.
pub const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// A registered connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: WebSocket,
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

impl From<String> for Broken {
    fn from(reason: String) -> Self {
        Broken::Lost(reason)
    }
}

/// The address in this URL, if it is one of a signalling server.
pub(super) fn address(url: &str) -> Option<Uri> {
    let address: Uri = url.parse().ok()?;
    let is_websocket = matches!(address.scheme_str(), Some("ws" | "wss"));
    (is_websocket && address.host().is_some_and(|host| !host.is_empty())).then_some(address)
}

impl Connection {
    /// Connects and registers, within [`CONNECT_LIMIT`].
    pub(super) async fn open(url: &str, config: &SignallingConfig, status: Option<Status>) -> Result<Self, Broken> {
        timeout(CONNECT_LIMIT, Self::connect(url, config, status))
            .await
            .unwrap_or_else(|_| Err(Broken::because(format!("no answer within {} s", CONNECT_LIMIT.as_secs()))))
    }

    async fn connect(url: &str, config: &SignallingConfig, status: Option<Status>) -> Result<Self, Broken> {
        let address = address(url).ok_or_else(|| Broken::because("not a ws:// or wss:// URL"))?;
        let mut socket = WebSocket::connect(url, config.tls.clone(), MAX_MESSAGE_BYTES).await?;
        let challenge = match receive(&mut socket).await? {
            ServerMessage::Challenge(challenge) => challenge,
            ServerMessage::Error(refusal) => return Err(Broken::Refused(refusal)),
            _ => return Err(Broken::because("the server did not begin with a challenge")),
        };
        let register = answer(&challenge, config, host_of(&address), status)?;
        socket.send(register.to_json()).await?;
        match receive(&mut socket).await? {
            ServerMessage::Welcome(welcome) if welcome.id == config.identity.id() => Ok(Connection { socket, welcome }),
            ServerMessage::Welcome(_) => Err(Broken::because("the server computed another id from our key")),
            ServerMessage::Error(refusal) => Err(Broken::Refused(refusal)),
            _ => Err(Broken::because("the server did not answer the registration")),
        }
    }

    /// The next message. `Ok(None)`: a sign of life that says nothing. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<ServerMessage>, Broken> {
        self.socket.next().await?.map_or(Ok(None), |text| read(&text))
    }

    /// Sends a message, within [`WRITE_LIMIT`].
    pub(super) async fn send(&mut self, message: &NodeMessage) -> Result<(), Broken> {
        in_time(self.socket.send(message.to_json())).await
    }

    /// Asks for a sign of life: by a question that every server answers where WebSockets cannot ping, as in browsers.
    pub(super) async fn ping(&mut self) -> Result<(), Broken> {
        match in_time(self.socket.ping()).await? {
            true => Ok(()),
            false => self.send(&NodeMessage::FindMembers).await,
        }
    }

    /// Closes it properly, if the server is quick.
    pub(super) async fn close(self) {
        let _ = timeout(GOODBYE, self.socket.close()).await;
    }
}

async fn in_time<T>(writing: impl Future<Output = Result<T, String>>) -> Result<T, Broken> {
    match timeout(WRITE_LIMIT, writing).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(Broken::because("the server does not read")),
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
        let versions = challenge.versions.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let message = format!("the server speaks versions {versions}, this node version {VERSION}");
        return Err(Broken::Refused(ServerError { code: ErrorCode::Version, message }));
    }
    let register = Register::sign(&config.identity, &challenge.nonce, &config.network, config.role, host, status);
    Ok(NodeMessage::Register(Box::new(register)))
}

/// The host as the URL has it, with its port if the URL names one.
fn host_of(address: &Uri) -> &str {
    let authority = address.authority().map_or("", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

async fn receive(socket: &mut WebSocket) -> Result<ServerMessage, Broken> {
    loop {
        if let Some(text) = socket.next().await?
            && let Some(message) = read(&text)?
        {
            return Ok(message);
        }
    }
}

fn read(text: &str) -> Result<Option<ServerMessage>, Broken> {
    match ServerMessage::parse(text) {
        Ok(message) => Ok(Some(message)),
        // A later version may have more to say.
        Err(ParseError::UnknownType(_)) => Ok(None),
        Err(error) => Err(Broken::because(format!("the server sent no message of this protocol: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_websocket_urls_are_urls_of_a_server() {
        for good in ["ws://127.0.0.1:9000", "wss://signal.example.org", "ws://[::1]:9000/ws"] {
            assert!(address(good).is_some(), "{good}");
        }
        for bad in ["", "127.0.0.1:9000", "http://a.example", "ws://", "ws:// a", "file:///etc"] {
            assert!(address(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_registration_names_the_host_as_the_url_has_it() {
        let host = |url: &str| host_of(&address(url).unwrap()).to_owned();
        assert_eq!(host("wss://signal.example.org/ws"), "signal.example.org");
        assert_eq!(host("ws://127.0.0.1:9000"), "127.0.0.1:9000");
        assert_eq!(host("ws://user:secret@a.example:1"), "a.example:1");
    }
}
