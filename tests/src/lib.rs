//! What the tests that cross crates share: a signalling server and rings of real nodes, all on loopback.

pub mod attacker;
pub mod measure;
pub mod middle;
pub mod process;
pub mod puppet;
pub mod raw_link;
pub mod scene;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use atoll::node::NodeBuilder;
use atoll::object::{Call, Failure, Object, Value};
use atoll::{Id, Node};
use atoll_signalling::{Server, ServerHandle, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A signalling server on a port of its own. Stopped when dropped.
pub struct TestServer {
    /// What to give to [`NodeBuilder::signalling`].
    pub url: String,
    handle: ServerHandle,
}

impl TestServer {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::start_at(0).await
    }

    /// Starts one on this port.
    pub async fn start_at(port: u16) -> Self {
        let mut settings = Settings { listen: (Ipv4Addr::LOCALHOST, port).into(), dht: true, ..Settings::default() };
        settings.limits.connections_per_address = 10_000;
        let server = Server::bind(settings).await.expect("a port of loopback");
        let (url, handle) = (server.url(), server.handle());
        tokio::spawn(server.serve());
        TestServer { url, handle }
    }

    /// A node that joins through this server over loopback.
    pub fn node(&self) -> NodeBuilder {
        self.builder_at(&self.url)
    }

    /// A node over loopback that believes the server to be elsewhere.
    pub fn builder_at(&self, url: &str) -> NodeBuilder {
        Node::builder().signalling(url).bind(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Nodes that all start at once, when each says that it has joined.
    pub async fn ring(&self, count: usize) -> Vec<Node> {
        let starting: Vec<_> = (0..count).map(|_| tokio::spawn(self.node().start())).collect();
        let mut nodes = Vec::new();
        for start in starting {
            nodes.push(start.await.expect("no panic").expect("a node that starts"));
        }
        nodes
    }

    /// The `host:port` it listens on.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("ws://").trim_end_matches('/')
    }

    /// Stops the server at once.
    pub fn stop(&self) {
        self.handle.stop();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until the ring is exactly right: every node's predecessor and successor are its neighbours. Gives how long it took.
pub async fn await_one_ring(nodes: &[Node], limit: Duration) -> Result<Duration, String> {
    let start = Instant::now();
    loop {
        let wrong = wrong_places(nodes).await;
        if wrong.is_empty() {
            return Ok(start.elapsed());
        }
        if start.elapsed() > limit {
            return Err(format!("not one ring within {limit:?}:\n{}", wrong.join("\n")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The nodes that do not see their true neighbours.
pub async fn wrong_places(nodes: &[Node]) -> Vec<String> {
    let mut ids: Vec<Id> = nodes.iter().map(Node::id).collect();
    ids.sort_unstable();
    let mut wrong = Vec::new();
    for node in nodes {
        let Some(status) = node.status().await else {
            wrong.push(format!("{} is closed", node.id()));
            continue;
        };
        let at = ids.binary_search(&node.id()).expect("it is among them");
        let before = ids[(at + ids.len() - 1) % ids.len()];
        let after = ids[(at + 1) % ids.len()];
        let alone = ids.len() == 1;
        let right = status.predecessors.first() == Some(&before) && status.successors.first() == Some(&after);
        if !right && !alone {
            wrong.push(format!(
                "{} {:?}: predecessors {:?}, successors {:?}; should be between {before} and {after}",
                node.id(),
                status.phase,
                status.predecessors,
                status.successors
            ));
        }
    }
    wrong
}

/// Takes sockets for ever and sends back what they bring, until the node is closed.
pub fn echo(node: &Node) {
    let mut listener = node.listen().expect("nobody else listens");
    tokio::spawn(async move {
        while let Some(socket) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(socket);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
}

/// An object as glou's example has it, with a function `never` that does not answer.
pub fn echo_object() -> Object {
    Object::new()
        .value("a", "information here")
        .value("b", "more information here")
        .function("echo", |call: Call| async move { call.arg::<Value>(0) })
        .function("never", |_call: Call| std::future::pending::<Result<(), Failure>>())
}

/// Dials an echoing peer and checks that a message comes back whole.
pub async fn echoes(from: &Node, to: Id, message: &[u8]) -> Result<(), String> {
    let said = async {
        let mut socket = from.dial(to).await.map_err(|e| e.to_string())?;
        socket.write_all(message).await.map_err(|e| e.to_string())?;
        socket.shutdown().await.map_err(|e| e.to_string())?;
        let mut said = Vec::new();
        socket.read_to_end(&mut said).await.map_err(|e| e.to_string())?;
        Ok(said)
    };
    let said: Result<Vec<u8>, String> =
        tokio::time::timeout(STUCK, said).await.unwrap_or_else(|_| Err(format!("no echo within {STUCK:?}")));
    match said {
        Ok(said) if said == message => Ok(()),
        Ok(said) => Err(format!("{} bytes came back of {}", said.len(), message.len())),
        Err(error) => Err(format!("{} dials {to}: {error}", from.id())),
    }
}

/// How long anything may take in a test before it counts as stuck.
pub const STUCK: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; panics with the last `Err` at the limit.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(limit: Duration, mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > limit => panic!("not within {limit:?}: {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
