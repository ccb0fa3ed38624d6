//! How the verbs get a node: made from the settings, and, where the verb only visits, closed again whatever happens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, bail};
use atoll::key::PeerKey;
use atoll::net::session::Socket;
use atoll::node::{ClaimError, NodeBuilder, ResolveError, StartError};
use atoll::wire::Role;
use atoll::{Id, Identity, Node};
use atoll_door::{DoorError, ErrorKind};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use crate::args::NodeArgs;
use crate::objects::Failed;
use crate::stop::{self, Interrupted};
use crate::values::Whom;

/// The signalling server where none is named: that of `node-cli up`.
pub(crate) const DEFAULT_SIGNALLING: &str = "ws://127.0.0.1:9000";

/// How long a visit tries to come onto the ring.
const VISIT_START: Duration = Duration::from_millis(3500);

/// How long a visit waits in all for the first answer of what it came for. With what it takes to leave properly nobody waits
/// 5 s for an error.
const VISIT_ANSWER: Duration = Duration::from_millis(3800);

/// Pause before a name is looked up again.
const RETRY: Duration = Duration::from_millis(100);

/// A node that stays for one errand, attached to the ring as a leaf.
pub(crate) struct Visit {
    pub(crate) node: Node,
    until: Instant,
}

impl Visit {
    /// Joins, runs the errand, and leaves properly, however the errand ends. `peer` must be somebody else than this node.
    pub(crate) async fn run<T>(
        args: &NodeArgs,
        peer: Option<&Whom>,
        errand: impl AsyncFnOnce(&Visit) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let stop = stop::asked()?;
        tokio::pin!(stop);
        let begun = Instant::now();
        let identity = args.load_identity().await?;
        // Asked before joining: with the key of a running node this one would take its place at the signalling server.
        if peer == Some(&Whom::Id(identity.id())) {
            bail!("{} is this node's own id; name another peer, or use another key", identity.id());
        }
        let builder =
            args.builder(&args.signalling_urls(), identity, None)?.role(Role::Leaf).start_timeout(VISIT_START);
        let node = tokio::select! {
            node = builder.start() => node.map_err(started)?,
            () = &mut stop => return Err(Interrupted.into()),
        };
        let visit = Visit { node, until: begun + VISIT_ANSWER };
        let result = tokio::select! {
            result = errand(&visit) => result,
            () = &mut stop => Err(Interrupted.into()),
        };
        visit.node.close().await;
        result
    }

    /// The peer that is meant. While the ring does not answer it asks again, as long as a visit may take.
    pub(crate) async fn find(&self, whom: &Whom) -> anyhow::Result<Found> {
        let name = match whom {
            Whom::Id(id) => return Ok(Found { id: *id, key: None }),
            Whom::Name(name) => name,
        };
        let found = self.soon(async {
            loop {
                match self.node.resolve(name).await {
                    Err(ResolveError::Store(_)) => tokio::time::sleep(RETRY).await,
                    found => return found,
                }
            }
        });
        let key = found.await.and_then(|found| Ok(found?)).with_context(|| format!("cannot find {whom}"))?;
        Ok(Found { id: key.id(), key: Some(key) })
    }

    /// The answer, unless it takes longer than anybody wants to wait.
    pub(crate) async fn soon<T>(&self, answer: impl Future<Output = T>) -> anyhow::Result<T> {
        timeout_at(self.until, answer).await.ok().context("no answer in time; the peer may be gone or out of reach")
    }
}

/// A peer that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) id: Id,
    /// Whoever answers there must hold it: that of the one who has the name.
    key: Option<PeerKey>,
}

impl Found {
    /// Whether the socket leads to it.
    pub(crate) fn check(&self, socket: &Socket) -> anyhow::Result<()> {
        if self.key.is_some_and(|key| key != socket.peer_key()) {
            bail!("another key than that of the name answers at {}", self.id);
        }
        Ok(())
    }
}

/// What a start that failed means to whoever typed the command.
pub(crate) fn started(error: StartError) -> anyhow::Error {
    match error {
        StartError::NoSignalling { .. } => {
            anyhow::anyhow!("{error}; start a ring with node-cli up, or name a server with --signalling URL")
        }
        StartError::Name { reason, .. } => {
            let kind = match reason {
                ClaimError::Taken | ClaimError::Held => ErrorKind::NameTaken,
                ClaimError::Invalid(_) => ErrorKind::BadName,
                _ => return error.into(),
            };
            Failed::from(DoorError::new(kind, error.to_string())).into()
        }
        _ => error.into(),
    }
}

impl NodeArgs {
    /// The signalling servers to use.
    pub(crate) fn signalling_urls(&self) -> Vec<Url> {
        if self.signalling.is_empty() {
            return vec![Url::parse(DEFAULT_SIGNALLING).expect("the default is a URL")];
        }
        self.signalling.clone()
    }

    /// The identity in the key file, or a new one. To open an encrypted file takes a while: on a thread of its own.
    pub(crate) async fn load_identity(&self) -> anyhow::Result<Identity> {
        let args = self.clone();
        tokio::task::spawn_blocking(move || args.identity()).await?
    }

    /// A node with all settings of the command line, at these signalling servers, that claims this name when it starts.
    pub(crate) fn builder(
        &self,
        signalling: &[Url],
        identity: Identity,
        name: Option<&str>,
    ) -> anyhow::Result<NodeBuilder> {
        let mut builder = Node::builder().identity(identity);
        if let Some(name) = name {
            builder = builder.name(name);
        }
        for url in signalling {
            builder = builder.signalling(url.as_str());
        }
        if let Some(network) = &self.network {
            builder = builder.network(network);
        }
        if let Some(secret) = self.secret()? {
            builder = builder.secret(secret);
        }
        if let Some(links) = self.max_links {
            builder = builder.max_links(links.into());
        }
        for server in self.ice_server.iter().flat_map(|list| &list.0) {
            builder = builder.ice_server(server.clone());
        }
        for address in self.addresses(signalling) {
            builder = builder.bind(address);
        }
        Ok(builder)
    }

    /// Where links are made from. A signalling server on this machine may have nodes that are bound to loopback, and others
    /// from elsewhere: both are in reach.
    fn addresses(&self, signalling: &[Url]) -> Vec<IpAddr> {
        if !self.bind.is_empty() || !signalling.iter().any(is_local) {
            return self.bind.clone();
        }
        vec![Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
    }
}

/// Whether the URL names this machine.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
