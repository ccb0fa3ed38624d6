//! The node itself.

use std::time::Duration;

use atoll::channel::ChannelOptions;
use atoll::node::{Claim, NodeEvent, Put};
use atoll::object::{Object, Peer, Remote, Service, Value};
use atoll::proto::{Event, StoreError};
use atoll::record::Key;
use atoll::{Id, Node};
use atoll_door::ErrorKind;
use js_sys::{Array, Function, Object as JsObject, Promise, Uint8Array};
use tokio::sync::broadcast::error::RecvError;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;
use web_sys::AbortSignal;

use crate::cancel::promise;
use crate::channel::WebChannel;
use crate::error::{self, WebError};
use crate::options::Options;
use crate::results::WebResults;
use crate::socket::{WebListener, WebSocket};
use crate::{function, json, value};

/// A node on the ring.
#[wasm_bindgen(js_name = Node)]
pub struct WebNode(Node);

/// Starts a node; resolved when it has its place on the ring. `options` is JSON, the key PKCS#8 in DER.
#[wasm_bindgen]
pub fn join(options: String, key: Option<Vec<u8>>, signal: Option<AbortSignal>) -> Promise {
    promise(signal, async move {
        let builder = Options::read(&options)?.builder(key.as_deref())?;
        builder.start().await.map(WebNode).map_err(error::start)
    })
}

#[wasm_bindgen(js_class = Node)]
impl WebNode {
    /// Its id, 12 hexadecimal digits.
    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// Its public key, as SubjectPublicKeyInfo in DER, in hexadecimal digits.
    #[wasm_bindgen(getter)]
    pub fn key(&self) -> String {
        atoll::key::hex(&self.0.key().to_spki_der())
    }

    /// What it knows of itself and its neighbours; `undefined` once it is closed.
    pub fn status(&self) -> Promise {
        let node = self.0.clone();
        promise(None, async move { Ok(node.status().await.map_or(JsValue::UNDEFINED, |status| json::to_js(&status))) })
    }

    /// Calls `hear` with each event, an object with its `type`, until the node is gone.
    pub fn events(&self, hear: Function) {
        let mut events = self.0.events();
        spawn_local(async move {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        // The face's own function: it does not throw.
                        let _ = hear.call1(&JsValue::UNDEFINED, &described(&event));
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// Dials a socket, or with a name another kind of stream.
    pub fn dial(&self, peer: String, name: Option<String>, signal: Option<AbortSignal>) -> Promise {
        let node = self.0.clone();
        promise(signal, async move {
            let peer = node.peer(peer).id().await?;
            let name = name.as_deref().unwrap_or(atoll::node::SOCKET);
            node.open(peer, name).await.map(WebSocket::new).map_err(error::session)
        })
    }

    /// Takes the sockets that peers dial, or with a name another kind of streams.
    pub fn listen(&self, name: Option<String>) -> Result<WebListener, JsValue> {
        let name = name.as_deref().unwrap_or(atoll::node::SOCKET);
        self.0.accept(name).map(WebListener::new).map_err(|error| error::listen(error).into())
    }

    /// Provides an object.
    pub fn provide(&self, name: String, object: JsValue) -> Result<WebService, JsValue> {
        let provide = || -> Result<_, WebError> {
            let object = Object::from(value::from_js(&object)?);
            Ok(WebService(self.0.provide(name, object)?))
        };
        provide().map_err(JsValue::from)
    }

    /// The id of the node that a name or an id refers to.
    pub fn find(&self, peer: String, signal: Option<AbortSignal>) -> Promise {
        let peer = self.0.peer(peer);
        promise(signal, async move { Ok(peer.id().await?.to_string()) })
    }

    /// The names of the services that a peer provides.
    pub fn services(&self, peer: String, within: u32, signal: Option<AbortSignal>) -> Promise {
        let peer = self.peer(peer, within);
        promise(signal, async move { Ok(texts(peer.services().await?)) })
    }

    /// The shape of a service of a peer, and all its values: `[shape, values]`.
    pub fn service(&self, peer: String, name: String, within: u32, signal: Option<AbortSignal>) -> Promise {
        let peer = self.peer(peer, within);
        promise(signal, async move {
            let shape: Value = peer.describe(&name).await?;
            let values: Value = peer.remote(&name).get("").await?;
            Ok(Array::of2(&value::to_js(&shape), &value::to_js(&values)))
        })
    }

    /// A value of a service, or of an object in it.
    pub fn get(
        &self,
        peer: String,
        service: String,
        path: String,
        within: u32,
        signal: Option<AbortSignal>,
    ) -> Promise {
        let remote = self.remote(peer, &service, within);
        promise(signal, async move { Ok(value::to_js(&remote.get(&path).await?)) })
    }

    /// Calls a function of a service.
    pub fn call(
        &self,
        peer: String,
        service: String,
        path: String,
        arguments: &Array,
        within: u32,
        signal: Option<AbortSignal>,
    ) -> Promise {
        let (remote, arguments) = (self.remote(peer, &service, within), value::arguments(arguments));
        promise(signal, async move { Ok(value::to_js(&remote.call(&path, arguments?).await?)) })
    }

    /// Calls a function of a service that gives many results.
    pub fn stream(
        &self,
        peer: String,
        service: String,
        path: String,
        arguments: &Array,
        within: u32,
        signal: Option<AbortSignal>,
    ) -> Promise {
        let (remote, arguments) = (self.remote(peer, &service, within), value::arguments(arguments));
        promise(signal, async move { Ok(WebResults::new(remote.stream(&path, arguments?).await?)) })
    }

    /// A value of a service, and each change of it.
    pub fn watch(
        &self,
        peer: String,
        service: String,
        path: String,
        within: u32,
        signal: Option<AbortSignal>,
    ) -> Promise {
        let remote = self.remote(peer, &service, within);
        promise(signal, async move { Ok(WebResults::new(remote.watch(&path).await?)) })
    }

    /// Answers calls to a scope that come to this node, or to an address that it owns.
    pub fn handle(&self, scope: String, run: &Function) -> Result<(), JsValue> {
        self.0.handle(scope, function::local(run)).map_err(|error| WebError::from(error).into())
    }

    /// Answers them no longer.
    pub fn unhandle(&self, scope: &str) {
        self.0.objects().unhandle(scope);
    }

    /// Calls what handles a scope at the node that is at an address, or owns it.
    #[wasm_bindgen(js_name = callAddress)]
    pub fn call_address(
        &self,
        address: String,
        scope: String,
        arguments: &Array,
        within: u32,
        signal: Option<AbortSignal>,
    ) -> Promise {
        let (node, arguments) = (self.0.clone(), value::arguments(arguments));
        promise(signal, async move {
            let owner = node.objects().at(point(&address)).await?.timeout(Duration::from_millis(within.into()));
            let result: Value = owner.call(&scope, arguments?).await?;
            Ok(value::to_js(&result))
        })
    }

    /// Joins a channel.
    pub fn channel(&self, name: String, secret: Option<Vec<u8>>, signed: bool, signal: Option<AbortSignal>) -> Promise {
        let node = self.0.clone();
        let mut options = ChannelOptions::new(name);
        if !signed {
            options = options.unsigned();
        }
        if let Some(secret) = secret {
            options = options.secret(secret);
        }
        promise(signal, async move { node.join(options).await.map(WebChannel::new).map_err(error::channel) })
    }

    /// Stores bytes for so many seconds under their hash. Gives the key.
    pub fn put(&self, bytes: Vec<u8>, seconds: f64, signal: Option<AbortSignal>) -> Promise {
        let (node, ttl) = (self.0.clone(), Duration::from_secs_f64(seconds));
        promise(signal, async move { stored(node.put(bytes, ttl).await) })
    }

    /// Stores bytes for so many seconds under a name of this node's own, in place of what was there. Gives the key.
    #[wasm_bindgen(js_name = putEntry)]
    pub fn put_entry(&self, name: String, bytes: Vec<u8>, seconds: f64, signal: Option<AbortSignal>) -> Promise {
        let (node, ttl) = (self.0.clone(), Duration::from_secs_f64(seconds));
        promise(signal, async move { stored(node.put_entry(name, bytes, ttl).await) })
    }

    /// Deletes what was stored under a name of this node's own.
    pub fn delete(&self, name: String, signal: Option<AbortSignal>) -> Promise {
        let node = self.0.clone();
        promise(signal, async move { stored(node.delete(name).await) })
    }

    /// The bytes under a key; `undefined` where there are none.
    pub fn fetch(&self, key: String, signal: Option<AbortSignal>) -> Promise {
        let node = self.0.clone();
        promise(signal, async move {
            let bytes = node.get(&read_key(&key)?).await.map_err(error::store)?;
            Ok(bytes.map_or(JsValue::UNDEFINED, |bytes| Uint8Array::from(&bytes[..]).into()))
        })
    }

    /// Claims a name for this node until the claim is freed.
    pub fn claim(&self, name: String) -> Promise {
        let node = self.0.clone();
        promise(None, async move { node.claim(&name).await.map(WebClaim).map_err(error::claim) })
    }

    /// The node that owns a point of the ring: an id, or any other text by its hash.
    pub fn lookup(&self, key: String, signal: Option<AbortSignal>) -> Promise {
        let node = self.0.clone();
        promise(signal, async move {
            let point = point(&key);
            let owner = node.lookup(point).await.map_err(error::lookup)?;
            let found = JsObject::new();
            value::put(&found, "owner", &owner.id.to_string().into());
            value::put(&found, "hops", &owner.hops.into());
            value::put(&found, "point", &point.to_string().into());
            Ok(found)
        })
    }

    /// The nodes on the way to a peer, the peer last.
    pub fn trace(&self, peer: String, signal: Option<AbortSignal>) -> Promise {
        let node = self.0.clone();
        promise(signal, async move {
            let peer = node.peer(peer).id().await?;
            let way = node.trace(peer).await.map_err(error::lookup)?;
            Ok(texts(way.iter().map(Id::to_string)))
        })
    }

    /// Refreshes a row of the finger table; gives the member that stands in it.
    #[wasm_bindgen(js_name = updateFinger)]
    pub fn update_finger(&self, row: u32) -> Promise {
        let node = self.0.clone();
        promise(None, async move { Ok(node.update_finger(row).await.map_err(error::lookup)?.to_string()) })
    }

    /// Leaves the ring without waiting for anybody.
    pub fn leave(&self) {
        self.0.leave();
    }

    /// The machine's network has changed, or is back.
    #[wasm_bindgen(js_name = networkChanged)]
    pub fn network_changed(&self) {
        self.0.network_changed();
    }

    /// Leaves the ring.
    pub fn close(&self) -> Promise {
        let node = self.0.clone();
        promise(None, async move {
            node.close().await;
            Ok(JsValue::UNDEFINED)
        })
    }
}

impl WebNode {
    fn peer(&self, peer: String, within: u32) -> Peer {
        self.0.peer(peer).timeout(Duration::from_millis(within.into()))
    }

    fn remote(&self, peer: String, service: &str, within: u32) -> Remote {
        self.peer(peer, within).remote(service)
    }
}

/// A service that this node provides.
#[wasm_bindgen(js_name = Service)]
pub struct WebService(Service);

#[wasm_bindgen(js_class = Service)]
impl WebService {
    /// Sets a value, and tells who watches it.
    pub fn set(&self, path: &str, value: &JsValue) -> Result<(), JsValue> {
        let set = || -> Result<(), WebError> { Ok(self.0.set(path, value::from_js(value)?)?) };
        set().map_err(JsValue::from)
    }

    /// Provides it no longer.
    pub fn withdraw(&self) {
        self.0.withdraw();
    }
}

/// A name that this node holds until this is freed.
#[wasm_bindgen(js_name = Claim)]
pub struct WebClaim(#[expect(dead_code, reason = "it is held, and released when it is dropped")] Claim);

/// Calls the function of another node that has this number here.
#[wasm_bindgen(js_name = callFunction)]
pub fn call_function(number: u32, arguments: &Array, within: u32, signal: Option<AbortSignal>) -> Promise {
    let (function, arguments) = (function::held(number), value::arguments(arguments));
    promise(signal, async move {
        let function = function.ok_or_else(released)?;
        let result: Value = function.call_within(Duration::from_millis(within.into()), arguments?).await?;
        Ok(value::to_js(&result))
    })
}

/// The same for one that gives many results.
#[wasm_bindgen(js_name = streamFunction)]
pub fn stream_function(number: u32, arguments: &Array, signal: Option<AbortSignal>) -> Promise {
    let (function, arguments) = (function::held(number), value::arguments(arguments));
    promise(signal, async move { Ok(WebResults::new(function.ok_or_else(released)?.stream(arguments?).await?)) })
}

/// Tells the other node that its function is needed here no more.
#[wasm_bindgen(js_name = releaseFunction)]
pub fn release_function(number: u32) {
    function::release(number);
}

/// The connections of this page: how many it has made, and how many of them are open.
#[wasm_bindgen]
pub fn connections() -> Array {
    let connections = atoll::net::link::connections();
    Array::of2(&connections.made.into(), &connections.open.into())
}

fn texts(texts: impl IntoIterator<Item = String>) -> Array {
    texts.into_iter().map(JsValue::from).collect()
}

/// Where a text stands on the ring: an id itself, any other text by its hash.
fn point(text: &str) -> Id {
    text.parse().unwrap_or_else(|_| Id::hash(text.as_bytes()))
}

/// The point of the ring that bytes stand for: the first 48 bits of their SHA-1.
#[wasm_bindgen(js_name = hashId)]
pub fn hash_id(bytes: &[u8]) -> String {
    Id::hash(bytes).to_string()
}

fn released() -> WebError {
    WebError::new(ErrorKind::NoSuchFunction, "the function has been released")
}

fn stored(put: Result<Put, StoreError>) -> Result<String, WebError> {
    Ok(put.map_err(error::store)?.key.to_string())
}

/// The key that a text is: as `put` gave it, or a name with its `@`.
fn read_key(text: &str) -> Result<Key, WebError> {
    text.parse().map_err(|error| WebError::of(ErrorKind::WrongArguments, error))
}

/// An event as an object with its `type`.
fn described(event: &NodeEvent) -> JsObject {
    let fields: &[(&str, JsValue)] = match event {
        NodeEvent::Ring(Event::Joined) => &[("type", "join".into())],
        NodeEvent::Ring(Event::Isolated) => &[("type", "isolated".into())],
        NodeEvent::Ring(Event::PeerConnected(peer)) => {
            &[("type", "peerconnect".into()), ("peer", peer.to_string().into())]
        }
        NodeEvent::Ring(Event::PeerDisconnected(peer)) => {
            &[("type", "peerdisconnect".into()), ("peer", peer.to_string().into())]
        }
        NodeEvent::Ring(Event::RingChanged { predecessor, successor }) => &[
            ("type", "ringchange".into()),
            ("predecessor", id_or_undefined(*predecessor)),
            ("successor", id_or_undefined(*successor)),
        ],
        NodeEvent::Ring(Event::Left) => &[("type", "leave".into())],
        NodeEvent::PeerRefused { peer, reason } => {
            &[("type", "refused".into()), ("peer", peer.to_string().into()), ("reason", reason.into())]
        }
        NodeEvent::LinkFailed { peer, reason } => {
            &[("type", "linkfailed".into()), ("peer", peer.to_string().into()), ("reason", reason.into())]
        }
        NodeEvent::NameLost { name } => &[("type", "namelost".into()), ("name", name.into())],
        NodeEvent::SignallingConnected { url } => &[("type", "signalling".into()), ("url", url.into())],
        NodeEvent::SignallingLost { url, reason, retry_in }
        | NodeEvent::SignallingRefused { url, reason, retry_in } => &[
            ("type", "signallinglost".into()),
            ("url", url.into()),
            ("reason", reason.into()),
            ("retryIn", (retry_in.as_millis() as f64).into()),
        ],
        // Of a later version.
        _ => &[("type", "other".into())],
    };
    let object = JsObject::new();
    for (name, field) in fields {
        value::put(&object, name, field);
    }
    object
}

fn id_or_undefined(id: Option<Id>) -> JsValue {
    id.map_or(JsValue::UNDEFINED, |id| id.to_string().into())
}
