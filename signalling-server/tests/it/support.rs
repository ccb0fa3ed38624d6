//! A server to test, and a client that can misbehave.

use std::net::SocketAddr;
use std::time::Duration;

use atoll::Id;
use atoll::key::Identity;
use atoll::signalling::{Challenge, ErrorCode, NodeMessage, Register, RelayTo, Role, ServerMessage, Status, Welcome};
use atoll::wire::{Dial, Step};
use atoll_signalling::{Server, ServerHandle, Settings};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

/// No step of a test takes so long unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) handle: ServerHandle,
    running: JoinHandle<()>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server whose settings differ from the defaults.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() };
        change(&mut settings);
        let server = Server::bind(settings).await.unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        TestServer { address, handle, running: tokio::spawn(server.serve()) }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Stops as a program that ends: returns when the port is free again.
    pub(crate) async fn stop(self) {
        self.handle.stop();
        soon("the server's stop", self.running).await.unwrap();
    }

    pub(crate) async fn connect(&self) -> Raw {
        let (socket, _) = soon("a connection", connect_async(self.url())).await.unwrap();
        Raw { socket }
    }

    pub(crate) async fn join(&self, network: &str) -> (Raw, Welcome) {
        self.join_as(&Identity::generate(), network, Role::Member, None).await
    }

    pub(crate) async fn join_as(
        &self,
        identity: &Identity,
        network: &str,
        role: Role,
        status: Option<Status>,
    ) -> (Raw, Welcome) {
        let mut raw = self.connect().await;
        raw.register(identity, network, role, status).await;
        match raw.next().await {
            ServerMessage::Welcome(welcome) => (raw, *welcome),
            other => panic!("{other:?} instead of a welcome"),
        }
    }

    /// Body and status of a page.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.http(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?} is no HTTP answer"));
        (status.unwrap(), body.to_owned())
    }

    /// Whatever comes back on a connection that says this.
    pub(crate) async fn http(&self, request: &str) -> String {
        String::from_utf8_lossy(&self.http_bytes(request).await).into_owned()
    }

    pub(crate) async fn http_bytes(&self, request: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("the end of the answer", stream.read_to_end(&mut answer)).await;
        answer
    }

    /// The value of a line of `/metrics`, 0 where there is none.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let (_, page) = self.get("/metrics").await;
        let value = page.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0)
    }

    /// Waits until so many connections were closed for this reason.
    pub(crate) async fn counted_as_closed(&self, reason: &str, times: u64) {
        let line = format!("atoll_signalling_connections_closed_total{{reason=\"{reason}\"}}");
        let counted = async {
            while self.metric(&line).await < times {
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("{times} in {line}"), counted).await;
    }
}

/// A connection that can say anything.
pub(crate) struct Raw {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Raw {
    /// A connection on a stream of one's own making.
    pub(crate) async fn on(stream: TcpStream, url: &str) -> Raw {
        let request = url.into_client_request().unwrap();
        let (socket, _) = soon("an upgrade", client_async(request, MaybeTlsStream::Plain(stream))).await.unwrap();
        Raw { socket }
    }

    pub(crate) async fn challenge(&mut self) -> Challenge {
        match self.next().await {
            ServerMessage::Challenge(challenge) => challenge,
            other => panic!("{other:?} instead of a challenge"),
        }
    }

    pub(crate) async fn register(&mut self, identity: &Identity, network: &str, role: Role, status: Option<Status>) {
        let nonce = self.challenge().await.nonce;
        let register = Register::sign(identity, &nonce, network, role, "127.0.0.1", status);
        self.send(NodeMessage::Register(Box::new(register))).await;
    }

    pub(crate) async fn send(&mut self, message: NodeMessage) {
        self.say(Message::text(message.to_json())).await.unwrap();
    }

    pub(crate) async fn relay(&mut self, to: Id, dial: &Dial) {
        self.send(NodeMessage::Relay(RelayTo::dial(to, dial))).await;
    }

    pub(crate) async fn becomes_member(&mut self) {
        self.send(NodeMessage::Status(Status { member: true, ..Status::default() })).await;
        // Answered in order: after this the server has taken note.
        self.find_members().await;
    }

    pub(crate) async fn find_members(&mut self) -> (bool, Vec<Id>) {
        self.send(NodeMessage::FindMembers).await;
        match self.next().await {
            ServerMessage::Members(list) => (list.found, list.members.iter().map(|member| member.id).collect()),
            other => panic!("{other:?} instead of members"),
        }
    }

    /// Sends; an error means that the server has closed the connection.
    pub(crate) async fn say(&mut self, message: Message) -> Result<(), Error> {
        soon("a write", self.socket.send(message)).await
    }

    pub(crate) async fn next(&mut self) -> ServerMessage {
        loop {
            let message = soon("a message", self.socket.next()).await.expect("the server closed without a word");
            match message.expect("the connection broke") {
                Message::Text(text) => return ServerMessage::parse(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// Reads on until the server says why it closes; and then it does close.
    pub(crate) async fn is_closed_for(&mut self, code: ErrorCode) {
        let told = loop {
            match soon("the reason", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(ServerMessage::Error(refusal)) = ServerMessage::parse(&text) {
                        break refusal;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?} instead of the error {code:?}"),
            }
        };
        assert_eq!(told.code, code, "{}", told.message);
        loop {
            match soon("the close", self.socket.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return assert_eq!(frame.reason.as_str(), code.as_str()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?} instead of a close frame"),
            }
        }
    }

    /// Whether the connection still serves.
    pub(crate) async fn still_works(&mut self) {
        self.find_members().await;
    }
}

pub(crate) fn accept(attempt: u32) -> Dial {
    Dial { attempt, step: Step::Describe("candidate:".to_owned()) }
}
