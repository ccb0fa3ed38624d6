//! Other nodes, and what they provide.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use serde::de::DeserializeOwned;

use super::answer::{Answer, ByteStream, Results};
use super::arguments::Arguments;
use super::definition::settle_functions;
use super::error::CallError;
use super::function::Reply;
use super::held::deadline;
use super::message::{Request, Target};
use super::objects::Objects;
use super::shape::Shape;
use super::wire::{Begun, Frame, Taking, ask, begin};
use crate::id::Id;
use crate::key::PeerKey;
use crate::net::platform::{Instant, timeout_at};
use crate::net::session::{Session, SessionError};

/// How long a call may take where nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a peer is referred to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PeerRef {
    /// By its place on the ring. Whoever holds the id is taken for it: 48 bits can be ground by an attacker.
    Id(Id),
    /// By its key: nobody else is taken for it.
    Key(PeerKey),
    /// By its name in the ring, without the `@`.
    Name(String),
    /// A text that is neither an id nor a name.
    Invalid(String),
}

impl From<Id> for PeerRef {
    fn from(id: Id) -> Self {
        PeerRef::Id(id)
    }
}

impl From<PeerKey> for PeerRef {
    fn from(key: PeerKey) -> Self {
        PeerRef::Key(key)
    }
}

impl From<&str> for PeerRef {
    fn from(text: &str) -> Self {
        match (text.strip_prefix('@'), text.parse()) {
            (Some(name), _) => PeerRef::Name(name.to_owned()),
            (None, Ok(id)) => PeerRef::Id(id),
            (None, Err(_)) => PeerRef::Invalid(text.to_owned()),
        }
    }
}

impl From<String> for PeerRef {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerRef::Id(id) => id.fmt(f),
            PeerRef::Key(key) => key.id().fmt(f),
            PeerRef::Name(name) => write!(f, "@{name}"),
            PeerRef::Invalid(text) => f.write_str(text),
        }
    }
}

/// Where a named peer is, and who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its place on the ring.
    pub id: Id,
    /// Its key, which whoever answers there must hold.
    pub key: Option<PeerKey>,
}

/// Who knows the names of peers: [`Objects::set_names`].
pub trait Names: Send + Sync + 'static {
    /// The peer with this name, without the `@`; or why there is none.
    fn resolve(&self, name: &str) -> BoxFuture<'_, Result<Resolved, String>>;

    /// The name of the peer with this key, without the `@`.
    fn name_of(&self, key: &PeerKey) -> BoxFuture<'_, Option<String>>;
}

/// A peer, wherever it is now: nothing is sent before something is asked of it. Clones are the same.
#[derive(Clone)]
pub struct Peer {
    objects: Objects,
    who: PeerRef,
    timeout: Duration,
}

impl Peer {
    pub(super) fn new(objects: Objects, who: PeerRef) -> Self {
        Peer { objects, who, timeout: DEFAULT_TIMEOUT }
    }

    /// How it is referred to.
    pub fn who(&self) -> &PeerRef {
        &self.who
    }

    /// The same peer, with so long for each call.
    #[must_use]
    pub fn timeout(&self, timeout: Duration) -> Peer {
        Peer { timeout, ..self.clone() }
    }

    /// Where it is on the ring.
    pub async fn id(&self) -> Result<Id, CallError> {
        self.resolve().await.map(|peer| peer.id)
    }

    /// The names of the services it provides.
    pub async fn services(&self) -> Result<Vec<String>, CallError> {
        let deadline = deadline(self.timeout);
        self.ask(Request::Services, Taking::Whole, deadline).await?.result(deadline).await
    }

    /// One of its services, with its shape: one question to the peer.
    pub async fn service(&self, name: &str) -> Result<Remote, CallError> {
        let shape: Shape = self.describe(name).await?;
        Ok(Remote { shape: Arc::new(shape), ..self.remote(name) })
    }

    /// The shape of one of its services, read as a [`Shape`] or a [`Value`](super::Value).
    pub async fn describe<T: DeserializeOwned>(&self, name: &str) -> Result<T, CallError> {
        let deadline = deadline(self.timeout);
        let request = Request::Describe { service: name.to_owned() };
        self.ask(request, Taking::Whole, deadline).await?.result(deadline).await
    }

    /// One of its services, of which nothing is asked before it is used; its shape is empty.
    pub fn remote(&self, name: &str) -> Remote {
        Remote { peer: self.clone(), service: name.into(), prefix: "".into(), shape: Arc::default() }
    }

    /// Calls what it handles under `scope`.
    pub async fn call<T: DeserializeOwned>(&self, scope: &str, arguments: impl Arguments) -> Result<T, CallError> {
        let deadline = deadline(self.timeout);
        let target = Target::Scope(scope.to_owned());
        let request = Request::Call { target, arguments: arguments.into_values()? };
        self.ask(request, Taking::Whole, deadline).await?.result(deadline).await
    }

    /// Calls what it handles under `scope`, and takes the results one by one: as [`Remote::stream`].
    pub async fn stream<T: DeserializeOwned>(
        &self,
        scope: &str,
        arguments: impl Arguments,
    ) -> Result<Results<T>, CallError> {
        let target = Target::Scope(scope.to_owned());
        let request = Request::Call { target, arguments: arguments.into_values()? };
        self.ask(request, Taking::OneByOne, deadline(self.timeout)).await.map(Results::new)
    }

    async fn resolve(&self) -> Result<Resolved, CallError> {
        let no_such = |reason: String| CallError::NoSuchPeer { peer: self.who.to_string(), reason };
        match &self.who {
            PeerRef::Id(id) => Ok(Resolved { id: *id, key: None }),
            PeerRef::Key(key) => Ok(Resolved { id: key.id(), key: Some(*key) }),
            PeerRef::Name(name) => match self.objects.core().names() {
                Some(names) => names.resolve(name).await.map_err(no_such),
                None => Err(no_such("names are not available".to_owned())),
            },
            PeerRef::Invalid(_) => Err(no_such("neither an id of 12 hexadecimal digits nor an @name".to_owned())),
        }
    }

    /// The session with it; `None` if it is this node.
    async fn session(&self) -> Result<Option<Session>, CallError> {
        let Resolved { id, key } = self.resolve().await?;
        let own = self.objects.core().own;
        let no_such = |reason: String| CallError::NoSuchPeer { peer: self.who.to_string(), reason };
        let other_key = || no_such("another key answers for its id".to_owned());
        if id == own.id() {
            return if key.is_none_or(|key| key == own) { Ok(None) } else { Err(other_key()) };
        }
        let session = self.objects.sessions().connect(id).await.map_err(|error| match error {
            SessionError::Unreachable(_) | SessionError::NoAnswer | SessionError::WrongKey => {
                no_such(error.to_string())
            }
            other => other.into(),
        })?;
        if key.is_some_and(|key| key != session.peer_key()) { Err(other_key()) } else { Ok(Some(session)) }
    }

    async fn ask(&self, request: Request, taking: Taking, deadline: Instant) -> Result<Answer, CallError> {
        let core = self.objects.core();
        let session = timeout_at(deadline, self.session()).await.map_err(|_| CallError::TimedOut)??;
        match session {
            Some(session) => ask(core, &session, &request, taking, deadline).await,
            None => {
                if let Request::Call { arguments, .. } = &request {
                    for argument in arguments {
                        argument.check()?;
                        settle_functions(argument, core);
                    }
                }
                let reply = core.serve(core.myself(), request, deadline).await?;
                if let Reply::Value(value) = &reply {
                    settle_functions(value, core);
                }
                Ok(Answer::local(reply))
            }
        }
    }

    async fn watch<T: DeserializeOwned>(&self, service: &str, path: &str) -> Result<Results<T>, CallError> {
        let deadline = deadline(self.timeout);
        let core = self.objects.core();
        let session = timeout_at(deadline, self.session()).await.map_err(|_| CallError::TimedOut)??;
        let Some(session) = session else {
            let service = core.service(service).ok_or_else(|| CallError::NoSuchService(service.to_owned()))?;
            // Whatever is wrong with the path is said now.
            service.get(path, &core.myself()).await?;
            return Ok(Results::of(service.watch(path.to_owned(), core.myself()).boxed()));
        };
        let request = Request::Watch { service: service.to_owned(), path: path.to_owned() };
        timeout_at(deadline, async {
            let begun = begin(core, &session, &request, Taking::OneByOne, deadline).await?;
            let Begun { mut frames, .. } = begun;
            match frames.next().await? {
                Some(Frame::Items) => {}
                _ => return Err(CallError::Protocol("the answer begins with something else".to_owned())),
            }
            // The provider tells the next change when the last was taken and another is asked for: so it is the newest.
            let changes = stream::try_unfold((frames, false), |(mut frames, more)| async move {
                if more {
                    frames.ask_for_next().await;
                }
                match frames.next().await? {
                    Some(Frame::Item(item)) => Ok(Some((item, (frames, true)))),
                    Some(Frame::End) => Ok(None),
                    _ => Err(CallError::Protocol("something else among the changes".to_owned())),
                }
            });
            Ok(Results::of(changes.boxed()))
        })
        .await
        .unwrap_or(Err(CallError::TimedOut))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.who)
    }
}

/// A service of a peer, or an object in it. Clones are the same.
///
/// Members are named by paths: `a`, `deep.x`, `list.0`.
#[derive(Clone)]
pub struct Remote {
    peer: Peer,
    service: Arc<str>,
    /// Where in the service: empty, or with a dot at its end.
    prefix: Arc<str>,
    shape: Arc<Shape>,
}

impl Remote {
    /// The peer that provides it.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The name of the service.
    pub fn name(&self) -> &str {
        &self.service
    }

    /// What the service offered when it was asked for; empty if it was not.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The object at `path`; its shape is that of the whole service.
    #[must_use]
    pub fn at(&self, path: &str) -> Remote {
        Remote { prefix: format!("{}{path}.", self.prefix).into(), ..self.clone() }
    }

    /// The same service, with so long for each call.
    #[must_use]
    pub fn timeout(&self, timeout: Duration) -> Remote {
        Remote { peer: self.peer.timeout(timeout), ..self.clone() }
    }

    /// Reads the value at `path`. Of an object, and of the empty path, all values in it, as a map.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let deadline = deadline(self.peer.timeout);
        let request = Request::Get { service: self.service.to_string(), path: self.path(path) };
        self.peer.ask(request, Taking::Whole, deadline).await?.result(deadline).await
    }

    /// Calls the function at `path` and waits for its result. What it gives in pieces is put together, up to the size of a message.
    ///
    /// Dropped before it is done, the provider stops working on it.
    pub async fn call<T: DeserializeOwned>(&self, path: &str, arguments: impl Arguments) -> Result<T, CallError> {
        let deadline = deadline(self.peer.timeout);
        let request = self.request(path, arguments)?;
        self.peer.ask(request, Taking::Whole, deadline).await?.result(deadline).await
    }

    /// Calls the function at `path` and takes its results one by one, at the pace of who takes them. The time set for calls is
    /// that until it begins; between two results there is no limit. Results left unread hold up nobody else: few bytes of them are
    /// on their way.
    pub async fn stream<T: DeserializeOwned>(
        &self,
        path: &str,
        arguments: impl Arguments,
    ) -> Result<Results<T>, CallError> {
        let request = self.request(path, arguments)?;
        self.peer.ask(request, Taking::OneByOne, deadline(self.peer.timeout)).await.map(Results::new)
    }

    /// Calls the function at `path` and takes the bytes that it gives, in pieces, of any number: otherwise as [`stream`](Self::stream).
    pub async fn bytes(&self, path: &str, arguments: impl Arguments) -> Result<ByteStream, CallError> {
        let request = self.request(path, arguments)?;
        self.peer.ask(request, Taking::OneByOne, deadline(self.peer.timeout)).await.map(ByteStream::new)
    }

    /// The value at `path` now, and then each change of it, in order. Of an object, and of the empty path, all values in it.
    /// Who takes long gets the newest then, not all that were between.
    pub async fn watch<T: DeserializeOwned>(&self, path: &str) -> Result<Results<T>, CallError> {
        self.peer.watch(&self.service, &self.path(path)).await
    }

    fn request(&self, path: &str, arguments: impl Arguments) -> Result<Request, CallError> {
        let target = Target::Member { service: self.service.to_string(), path: self.path(path) };
        Ok(Request::Call { target, arguments: arguments.into_values()? })
    }

    fn path(&self, path: &str) -> String {
        let whole = format!("{}{path}", self.prefix);
        whole.strip_suffix('.').map(str::to_owned).unwrap_or(whole)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({} of {})", self.service, self.peer.who)
    }
}
