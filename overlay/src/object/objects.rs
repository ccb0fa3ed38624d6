//! A node's objects: those it provides, and the way to those of others.

use std::fmt;
use std::sync::Arc;

use super::core::{Core, Ring};
use super::definition::Object;
use super::error::{CallError, ProvideError};
use super::load::Limits;
use super::message::OBJECT;
use super::peer::{Names, Peer, PeerRef};
use super::server;
use super::service::Service;
use super::value::Function;
use crate::id::Id;
use crate::key::PeerKey;
use crate::net::platform;
use crate::net::session::{ListenError, Sessions};

/// The objects of one node. Clones are the same.
#[derive(Clone)]
pub struct Objects {
    core: Arc<Core>,
    sessions: Sessions,
}

impl Objects {
    /// Those of the node with this key and these sessions: takes the streams of [`OBJECT`] from now on. Must be called inside a
    /// tokio runtime.
    pub fn start(key: PeerKey, sessions: &Sessions, limits: Limits, ring: impl Ring) -> Result<Self, ListenError> {
        let core = Core::new(key, limits, Box::new(ring));
        let listener = sessions.listen(OBJECT)?;
        platform::spawn(server::accept(core.clone(), listener));
        Ok(Objects { core, sessions: sessions.clone() })
    }

    /// Provides an object under a name that no other service of this node has.
    pub fn provide(&self, name: impl Into<String>, object: Object) -> Result<Service, ProvideError> {
        self.core.provide(name.into(), object)
    }

    /// The service that this node provides under a name.
    pub fn provided(&self, name: &str) -> Option<Service> {
        self.core.service(name)
    }

    /// Answers calls to `scope` at this node, or at an address that it owns. One handler a scope.
    pub fn handle(&self, scope: impl Into<String>, function: impl Into<Function>) -> Result<(), ProvideError> {
        self.core.handle(scope.into(), Some(function.into()))
    }

    /// Answers calls to `scope` no longer.
    pub fn unhandle(&self, scope: &str) {
        // Removing fails only for what is no name, and handles nothing.
        let _ = self.core.handle(scope.to_owned(), None);
    }

    /// A peer, by id, key, or a text that is an id or an `@name`. It may be this node: then calls stay in the process.
    pub fn peer(&self, who: impl Into<PeerRef>) -> Peer {
        Peer::new(self.clone(), who.into())
    }

    /// The peer that is at an address, or owns it.
    pub async fn at(&self, address: Id) -> Result<Peer, CallError> {
        if address == self.core.own.id() {
            return Ok(self.peer(address));
        }
        let owner = self.core.ring.owner(address).await;
        owner
            .map(|owner| self.peer(owner))
            .map_err(|reason| CallError::NoSuchPeer { peer: address.to_string(), reason })
    }

    /// Says who knows names. Once; gives whether it was the first time.
    pub fn set_names(&self, names: Arc<dyn Names>) -> bool {
        self.core.set_names(names)
    }

    /// Withdraws all services and handlers, and what their functions hold is freed. [`Node::close`](crate::Node::close) does this, so
    /// functions may hold their own node.
    pub fn close(&self) {
        self.core.close();
    }

    /// Functions of this node that peers hold now.
    pub fn held_by_peers(&self) -> usize {
        self.core.exports().len()
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.core.own.id())
    }
}
