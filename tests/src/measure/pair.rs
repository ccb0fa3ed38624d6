//! Two nodes with one link, beside a plain data channel between the same two places.

use std::time::Duration;

use atoll::{Id, Node};

use super::child::NodeOptions;
use super::children::{NodeProcess, await_ring};
use super::raw::RawEnd;
use super::{objects, services};
use crate::{TestServer, await_one_ring};

/// How long the two may take to become a ring.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that is measured is offered at the far end.
pub(super) struct Pair {
    /// Where the far end is.
    pub(super) what: &'static str,
    pub(super) node: Node,
    pub(super) peer: Id,
    pub(super) raw: RawEnd,
    _server: TestServer,
    far: Option<Node>,
    /// Killed with this.
    _process: Option<NodeProcess>,
}

impl Pair {
    pub(super) async fn in_one_process() -> anyhow::Result<Self> {
        let server = TestServer::start().await;
        let nodes = [server.node().start().await?, server.node().start().await?];
        services::serve(nodes[1].sessions())?;
        nodes[1].provide(objects::SERVICE, objects::object())?;
        await_one_ring(&nodes, PATIENCE).await.map_err(anyhow::Error::msg)?;
        let raw = RawEnd::served().await?;
        let [node, far] = nodes;
        let peer = far.id();
        Ok(Pair { what: "one process", node, peer, raw, _server: server, far: Some(far), _process: None })
    }

    /// The far ends of both, the node's and the plain channel's, in another process.
    pub(super) async fn in_two_processes() -> anyhow::Result<Self> {
        let server = TestServer::start().await;
        let far = [NodeProcess::start(&NodeOptions::new(&server.url))?];
        let peer = await_ring(&far, PATIENCE).await?[0].id;
        let node = server.node().start().await?;
        let (raw, offer) = RawEnd::offer().await?;
        raw.accept(&far[0].raw(offer).await?).await?;
        raw.opened().await?;
        let [process] = far;
        Ok(Pair { what: "two processes", node, peer, raw, _server: server, far: None, _process: Some(process) })
    }

    pub(super) async fn close(self) {
        self.raw.close().await;
        self.node.close().await;
        if let Some(far) = self.far {
            far.close().await;
        }
    }
}
