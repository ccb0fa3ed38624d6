//! Whoever stands between nodes and their signalling server, and changes what the server relays.

use std::sync::Arc;

use atoll::signalling::{NodeMessage, ServerMessage};
use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// What becomes of a message, and what else is to be said.
pub trait Schemer: Send + Sync + 'static {
    /// A message on its way from a node to the server; `None` keeps it back.
    fn on_node_message(&self, message: NodeMessage, _node: &Mouth) -> Option<NodeMessage> {
        Some(message)
    }

    /// A message on its way from the server to a node; `None` keeps it back.
    fn to_node(&self, message: ServerMessage, _node: &Mouth) -> Option<ServerMessage> {
        Some(message)
    }
}

/// Speaks to one node as if it were the server.
#[derive(Clone)]
pub struct Mouth(mpsc::Sender<ServerMessage>);

impl Mouth {
    /// Whether both speak to the same node.
    pub fn is(&self, other: &Mouth) -> bool {
        self.0.same_channel(&other.0)
    }

    /// Says something to the node.
    pub fn say(&self, message: ServerMessage) {
        let _ = self.0.try_send(message);
    }
}

/// A hostile server: the real one behind somebody who changes what passes. Gives the URL for the nodes.
pub async fn hostile_server(real: &str, schemer: Arc<dyn Schemer>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    let real = real.to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass(stream, real.clone(), Arc::clone(&schemer)));
        }
    });
    url
}

async fn pass(stream: TcpStream, real: String, schemer: Arc<dyn Schemer>) -> Option<()> {
    let mut node = tokio_tungstenite::accept_async(stream).await.ok()?;
    let (mut server, _) = tokio_tungstenite::connect_async(&real).await.ok()?;
    let (said, mut to_say) = mpsc::channel(64);
    let mouth = Mouth(said);
    loop {
        tokio::select! {
            message = node.next() => match message?.ok()? {
                Message::Text(text) => {
                    let message = NodeMessage::parse(&text).ok()?;
                    if let Some(message) = schemer.on_node_message(message, &mouth) {
                        server.send(Message::text(message.to_json())).await.ok()?;
                    }
                }
                Message::Close(_) => return None,
                _ => {}
            },
            message = server.next() => match message?.ok()? {
                Message::Text(text) => {
                    let message = ServerMessage::parse(&text).ok()?;
                    if let Some(message) = schemer.to_node(message, &mouth) {
                        node.send(Message::text(message.to_json())).await.ok()?;
                    }
                }
                Message::Close(_) => return None,
                _ => {}
            },
            Some(message) = to_say.recv() => node.send(Message::text(message.to_json())).await.ok()?,
        }
    }
}
