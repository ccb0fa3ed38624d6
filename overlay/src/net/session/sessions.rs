//! One node's end of all its sessions.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, Incoming, ServerConfig, TransportConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::address::{address_of, id_of};
use super::carrier::{Carrier, RingSocket, lock};
use super::error::{ListenError, SessionError, Unreachable, close};
use super::listener::{Listener, Listeners};
use super::live::Session;
use super::port::Port;
use super::stream::Socket;
use super::table::Table;
use super::tls::{Tls, peer_key, server_name};
use super::transport::{
    MAX_HANDSHAKES, MAX_HANDSHAKES_PER_PEER, MAX_SESSIONS_PER_PEER, Settings, endpoint_config, limit_server,
};
use crate::id::Id;
use crate::key::Identity;
use crate::net::platform::{self, timeout};

/// How long [`Sessions::close`] waits until the peers have been told.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects to peers, and lets them connect. Clones are the same; when the last is dropped, every session is closed and
/// every task of theirs ends.
#[derive(Clone, Debug)]
pub struct Sessions {
    owner: Arc<Owner>,
}

impl Sessions {
    /// The sessions of the node with this identity, over `carrier`; the [`Port`] is for the driver. Must be called inside a
    /// tokio runtime, where its tasks live.
    pub fn new(
        identity: &Identity,
        carrier: impl Carrier,
        settings: Settings,
    ) -> Result<(Sessions, Port), SessionError> {
        let own = identity.id();
        let tls = Tls::new(identity)?;
        let transport = settings.transport()?;
        let mut server = ServerConfig::with_crypto(tls.server(own)?);
        limit_server(&mut server);
        server.transport_config(transport.clone());
        let socket = RingSocket::new(own, carrier);
        let endpoint = Endpoint::new_with_abstract_socket(
            endpoint_config(identity, settings.max_packet),
            Some(server.clone()),
            socket.clone(),
            Arc::new(platform::QuicRuntime),
        )
        .map_err(|e| SessionError::Protocol(e.to_string()))?;
        let inner = Arc::new(Inner {
            own,
            client: tls.client()?,
            tls,
            server,
            transport,
            endpoint,
            table: Mutex::default(),
            listeners: Arc::default(),
            places: Arc::new(Semaphore::new(settings.max_sessions.min(Semaphore::MAX_PERMITS))),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            settings,
        });
        platform::spawn(admit_all(inner.clone()));
        let port = Port::new(socket.inbox().clone(), Arc::downgrade(&inner));
        Ok((Sessions { owner: Arc::new(Owner(inner)) }, port))
    }

    /// This node's id.
    pub fn id(&self) -> Id {
        self.inner().own
    }

    /// The session with `peer`: the one that stands, or a new one. Answers within [`Settings::handshake_timeout`], or at once
    /// when the driver says that the peer cannot be reached ([`Port::fail`]). A new one takes one round trip.
    pub async fn connect(&self, peer: Id) -> Result<Session, SessionError> {
        let inner = self.inner();
        let mut answer = {
            let mut table = lock(&inner.table);
            if table.closed {
                return Err(SessionError::Closed);
            }
            if peer == inner.own {
                return Err(SessionError::Myself);
            }
            if let Some(session) = table.current(peer) {
                return Ok(session.clone());
            }
            match table.attempt(peer) {
                Some(answer) => answer,
                None => {
                    let place = inner.places.clone().try_acquire_owned();
                    let place = place.map_err(|_| SessionError::TooManySessions)?;
                    table.begin(peer, || platform::spawn(dial(inner.clone(), peer, place)).abort_handle())
                }
            }
        };
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(SessionError::Closed)),
            Err(_) => Err(SessionError::Closed),
        }
    }

    /// Connects to `peer` and opens a socket that carries what `name` says: see [`Session::open`].
    pub async fn open(&self, peer: Id, name: &str) -> Result<Socket, SessionError> {
        match self.connect(peer).await?.open(name).await {
            // It was just being closed, because nothing used it; a new one is not.
            Err(SessionError::Idle | SessionError::Restarted) => self.connect(peer).await?.open(name).await,
            result => result,
        }
    }

    /// Takes the sockets that peers open under `name` (1 to 255 bytes).
    pub fn listen(&self, name: &str) -> Result<Listener, ListenError> {
        self.inner().listeners.listen(name, self.inner().settings.backlog)
    }

    /// The session that stands with `peer`.
    pub fn get(&self, peer: Id) -> Option<Session> {
        lock(&self.inner().table).current(peer).cloned()
    }

    /// All that stand, one a peer.
    pub fn all(&self) -> Vec<Session> {
        lock(&self.inner().table).all()
    }

    /// Closes every session and waits, a second at most, until the peers have been told. Bytes that they have not
    /// acknowledged are lost: [`Socket::finish`] waits for that.
    pub async fn close(&self) {
        self.shut_down();
        // Late, they find out by themselves.
        let _ = timeout(CLOSE_TIMEOUT, self.inner().endpoint.wait_idle()).await;
    }

    /// Closes every session without waiting until the peers have been told.
    pub fn shut_down(&self) {
        self.inner().shut_down();
    }

    /// A handle that does not keep the sessions alive.
    pub fn downgrade(&self) -> WeakSessions {
        WeakSessions(Arc::downgrade(&self.owner))
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.owner.0
    }
}

/// [`Sessions`] for as long as somebody else keeps them.
#[derive(Clone, Debug)]
pub struct WeakSessions(Weak<Owner>);

impl WeakSessions {
    /// The sessions, unless all handles were dropped.
    pub fn upgrade(&self) -> Option<Sessions> {
        self.0.upgrade().map(|owner| Sessions { owner })
    }
}

/// Shuts everything down when the application has dropped its last handle; tasks hold [`Inner`].
struct Owner(Arc<Inner>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.own)
    }
}

pub(super) struct Inner {
    own: Id,
    tls: Tls,
    client: Arc<QuicClientConfig>,
    server: ServerConfig,
    transport: Arc<TransportConfig>,
    settings: Settings,
    endpoint: Endpoint,
    table: Mutex<Table>,
    listeners: Arc<Listeners>,
    /// One for each session, or handshake that may become one.
    places: Arc<Semaphore>,
    /// One for each handshake that a peer began.
    handshakes: Arc<Semaphore>,
}

impl Inner {
    pub(super) fn fail(&self, peer: Id, why: Unreachable) {
        lock(&self.table).abort(peer, why.into());
    }

    fn shut_down(&self) {
        lock(&self.table).shut_down();
        self.listeners.close();
        self.endpoint.close(close::SHUT_DOWN, b"");
    }

    /// Decides about a peer that wants a session, before anything is spent on it.
    fn admit(self: &Arc<Self>, incoming: Incoming) {
        let Some(from) = id_of(incoming.remote_address()).filter(|&from| from != self.own) else {
            return incoming.ignore();
        };
        let (running, sessions) = {
            let table = lock(&self.table);
            (table.handshakes(from), table.sessions(from))
        };
        // Whoever sends with another's id cannot answer this, and so cannot take the other's places.
        let crowded = running > 0 || self.handshakes.available_permits() <= MAX_HANDSHAKES / 2;
        if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
            // It fails only for what was just excluded.
            let _ = incoming.retry();
            return;
        }
        let handshake = self.handshakes.clone().try_acquire_owned();
        let place = self.places.clone().try_acquire_owned();
        let (Ok(handshake), Ok(place)) = (handshake, place) else { return incoming.refuse() };
        if running >= MAX_HANDSHAKES_PER_PEER || sessions >= MAX_SESSIONS_PER_PEER {
            return incoming.refuse();
        }
        lock(&self.table).handshake_begins(from);
        let inner = self.clone();
        platform::spawn(async move {
            let accepted = timeout(inner.settings.handshake_timeout, inner.accept(from, incoming)).await;
            drop(handshake);
            lock(&inner.table).handshake_ends(from);
            match accepted {
                Ok(Ok(session)) => inner.serve(session, place).await,
                Ok(Err(error)) => tracing::debug!(%from, %error, "a handshake failed"),
                Err(_) => tracing::debug!(%from, "a handshake was not completed in time"),
            }
        });
    }

    async fn accept(&self, from: Id, incoming: Incoming) -> Result<Session, SessionError> {
        let mut server = self.server.clone();
        server.crypto = self.tls.server(from)?;
        let connection = incoming.accept_with(Arc::new(server))?.await?;
        self.session(connection, from, false)
    }

    async fn handshake(&self, peer: Id) -> Result<Session, SessionError> {
        let mut client = ClientConfig::new(self.client.clone());
        client.transport_config(self.transport.clone());
        let connecting = self.endpoint.connect_with(client, address_of(peer), &server_name(peer));
        let connecting = connecting.map_err(|e| SessionError::Protocol(e.to_string()))?;
        match timeout(self.settings.handshake_timeout, connecting).await {
            Ok(Ok(connection)) => self.session(connection, peer, true),
            Ok(Err(ConnectionError::TimedOut)) | Err(_) => Err(SessionError::NoAnswer),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    fn session(&self, connection: quinn::Connection, peer: Id, dialled: bool) -> Result<Session, SessionError> {
        match peer_key(&connection) {
            Some(key) if key.id() == peer => Ok(Session::new(connection, key, dialled, &self.settings)),
            _ => Err(SessionError::WrongKey),
        }
    }

    /// Makes a session known and looks after it until it ends.
    async fn serve(&self, session: Session, place: OwnedSemaphorePermit) {
        lock(&self.table).insert(&session, self.own, self.settings.handshake_timeout);
        session.serve(&self.listeners).await;
        lock(&self.table).remove(&session);
        drop(place);
    }
}

/// One attempt, which all who dial the peer meanwhile share. Goes on when they give up: it ends in time.
async fn dial(inner: Arc<Inner>, peer: Id, place: OwnedSemaphorePermit) {
    match inner.handshake(peer).await {
        Ok(session) => inner.serve(session, place).await,
        Err(error) => {
            drop(place);
            lock(&inner.table).failed(peer, error);
        }
    }
}

/// Ends when the endpoint is closed.
async fn admit_all(inner: Arc<Inner>) {
    while let Some(incoming) = inner.endpoint.accept().await {
        inner.admit(incoming);
    }
}
