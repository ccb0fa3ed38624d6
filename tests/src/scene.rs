//! A ring of honest nodes under attack, and what must be true of it afterwards.

use std::time::Duration;

use atoll::{Id, Node};

use crate::attacker::Attacker;
use crate::{TestServer, await_one_ring, echo, echoes, eventually};

const SOON: Duration = Duration::from_secs(10);

/// The nodes of every scene.
pub const NODES: usize = 4;

/// A ring of honest nodes, and what to check about it after an attack.
pub struct Scene {
    server: TestServer,
    /// The honest nodes.
    pub nodes: Vec<Node>,
    links: Vec<Vec<Id>>,
}

impl Scene {
    /// Starts a ring whose nodes all have links to each other.
    pub async fn start() -> Self {
        let server = TestServer::start().await;
        let nodes = server.ring(NODES).await;
        await_one_ring(&nodes, SOON).await.expect("one ring");
        nodes.iter().for_each(echo);
        let mut scene = Scene { server, nodes, links: Vec::new() };
        eventually(SOON, async || match scene.links_between().await {
            links if links.iter().all(|peers| peers.len() == NODES - 1) => Ok(()),
            links => Err(format!("not all linked: {links:?}")),
        })
        .await;
        scene.links = scene.links_between().await;
        scene
    }

    /// The honest peers of each node, in the order of their ids.
    async fn links_between(&self) -> Vec<Vec<Id>> {
        let honest: Vec<Id> = self.nodes.iter().map(Node::id).collect();
        let mut links = Vec::new();
        for node in &self.nodes {
            let peers = node.peers().await.into_iter().map(|peer| peer.id);
            let mut peers: Vec<Id> = peers.filter(|id| honest.contains(id)).collect();
            peers.sort_unstable();
            links.push(peers);
        }
        links
    }

    /// Somebody who can reach all of them.
    pub async fn attacker(&self) -> Attacker {
        Attacker::new(&self.server.url).await
    }

    /// How many links this node closed for this cause.
    pub async fn closed_for(&self, node: usize, cause: &str) -> u64 {
        let counters = self.nodes[node].status().await.expect("it runs").counters;
        counters.closed_for_cause.get(cause).copied().unwrap_or(0)
    }

    /// How many links this node closed for any cause.
    pub async fn closed_in_all(&self, node: usize) -> u64 {
        let counters = self.nodes[node].status().await.expect("it runs").counters;
        counters.closed_for_cause.values().sum()
    }

    /// Every node that is not the first has no reason to complain, all links stand, and all talk.
    pub async fn assert_undisturbed(&self) {
        for node in 1..NODES {
            let status = self.nodes[node].status().await.expect("it runs");
            assert!(status.counters.closed_for_cause.is_empty(), "{}: {:?}", status.id, status.counters);
        }
        assert_eq!(self.links_between().await, self.links, "the links between honest nodes are as before");
        for from in &self.nodes {
            assert_eq!(from.status().await.expect("it runs").counters.protocol.dead, 0);
            for to in self.nodes.iter().filter(|to| to.id() != from.id()) {
                echoes(from, to.id(), b"undisturbed").await.expect("an echo");
            }
        }
    }
}
