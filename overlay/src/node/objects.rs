//! The node's objects: what it provides, and the way to what others do.

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::Node;
use crate::id::Id;
use crate::net::driver::Command;
use crate::object::{Arguments, CallError, Function, Object, Objects, Peer, PeerRef, ProvideError, Ring, Service};
use crate::proto::Answer;

impl Node {
    /// Provides an object to peers, under a name that no other service of this node has.
    ///
    /// ```no_run
    /// # async fn example(node: atoll::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// use atoll::object::{Call, Object};
    ///
    /// let object = Object::new()
    ///     .value("a", "information here")
    ///     .function("echo", |call: Call| async move { call.arg::<String>(0) });
    /// node.provide("Echo", object)?;
    ///
    /// let echo = node.peer("00f3a1b2c4d5").service("Echo").await?;
    /// let a: String = echo.get("a").await?;
    /// let said: String = echo.call("echo", ("Hello world!",)).await?;
    /// # Ok(()) }
    /// ```
    pub fn provide(&self, name: impl Into<String>, object: Object) -> Result<Service, ProvideError> {
        self.inner.objects.provide(name, object)
    }

    /// A peer, by its id, its key, or a text that is an id or an `@name`: to use what it provides. It may be this node.
    pub fn peer(&self, who: impl Into<PeerRef>) -> Peer {
        self.inner.objects.peer(who)
    }

    /// Answers calls to `scope` that come to this node, or to an address that it owns.
    pub fn handle(&self, scope: impl Into<String>, function: impl Into<Function>) -> Result<(), ProvideError> {
        self.inner.objects.handle(scope, function)
    }

    /// Calls what handles `scope` at the node that is at `address`, or owns it: one lookup more than a call of a peer. The scope
    /// [`NEAREST`](crate::object::NEAREST) is there at every node, and answers with the id of the owner of the address that it is
    /// given.
    pub async fn call<T: DeserializeOwned>(
        &self,
        address: Id,
        scope: &str,
        arguments: impl Arguments,
    ) -> Result<T, CallError> {
        self.inner.objects.at(address).await?.call(scope, arguments).await
    }

    /// All about the node's objects.
    pub fn objects(&self) -> &Objects {
        &self.inner.objects
    }
}

/// Finds owners of addresses for the objects, as long as the node runs.
pub(super) struct Lookups(pub(super) mpsc::WeakSender<Command>);

impl Ring for Lookups {
    fn owner(&self, key: Id) -> BoxFuture<'static, Result<Id, String>> {
        let commands = self.0.upgrade();
        Box::pin(async move {
            let closed = || "this node is closed".to_owned();
            let (reply, answer) = oneshot::channel();
            let asked = commands.ok_or_else(closed)?.send(Command::Lookup { key, reply }).await;
            asked.map_err(|_| closed())?;
            match answer.await {
                Ok(Answer::Lookup(Ok(owner))) => Ok(owner.id),
                Ok(Answer::Lookup(Err(error))) => Err(error.to_string()),
                _ => Err(closed()),
            }
        })
    }
}
