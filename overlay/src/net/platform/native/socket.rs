//! A WebSocket over TCP or TLS.

use std::sync::{Arc, OnceLock};

use futures::{SinkExt, StreamExt};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

/// Bytes of the buffer for reading. The library's default is 128 KiB.
const READ_BUFFER: usize = 4 * 1024;

/// An open connection. Errors are texts for humans.
#[derive(Debug)]
pub(crate) struct WebSocket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl WebSocket {
    /// Connects to `ws://…` or `wss://…`, the latter by `tls`, or by default with the roots that browsers trust. Messages of more
    /// than `longest` bytes end the connection.
    pub(crate) async fn connect(url: &str, tls: Option<Arc<ClientConfig>>, longest: usize) -> Result<Self, String> {
        let connector = url.starts_with("wss").then(|| Connector::Rustls(tls.unwrap_or_else(default_tls)));
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * longest)
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest));
        let (socket, _) = connect_async_tls_with_config(url, Some(limits), true, connector).await.map_err(text)?;
        Ok(WebSocket(socket))
    }

    /// The next message. `None`: a sign of life that says nothing. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, String> {
        match self.0.next().await.unwrap_or(Err(Error::ConnectionClosed)).map_err(text)? {
            Message::Text(text) => Ok(Some(text.to_string())),
            Message::Ping(_) | Message::Pong(_) => Ok(None),
            Message::Close(_) => Err(text(Error::ConnectionClosed)),
            Message::Binary(_) | Message::Frame(_) => Err("the server sent binary data".into()),
        }
    }

    /// Sends a message. Waits while the server does not read.
    pub(crate) async fn send(&mut self, message: String) -> Result<(), String> {
        self.0.send(Message::text(message)).await.map_err(text)
    }

    /// Asks for a sign of life. `false`: this platform has no way to.
    pub(crate) async fn ping(&mut self) -> Result<bool, String> {
        self.0.send(Message::Ping(Default::default())).await.map(|()| true).map_err(text)
    }

    /// Says goodbye, and waits until the server has heard it.
    pub(crate) async fn close(mut self) {
        let _ = self.0.close(None).await;
        while self.0.next().await.is_some_and(|message| message.is_ok()) {}
    }
}

fn text(error: Error) -> String {
    match error {
        Error::Io(error) => format!("the connection failed: {error}"),
        Error::Http(answer) => format!("the server answered with HTTP status {}", answer.status()),
        Error::ConnectionClosed => "the server closed the connection".into(),
        other => format!("the connection failed: {other}"),
    }
}

/// TLS with the roots that browsers trust. The provider is named here: the process may have none by default, or two.
fn default_tls() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring's provider supports rustls' default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    };
    Arc::clone(CONFIG.get_or_init(make))
}
