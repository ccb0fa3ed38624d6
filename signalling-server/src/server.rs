//! The server itself: it binds, gives each connection a place, and stops when told to.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::http;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::page::{Page, PageSource};
use crate::places::{NoPlace, Place, Places};
use crate::registry::Registry;
use crate::settings::{SettingError, Settings};

/// How long a stopping server waits for its connections to say goodbye.
const DRAIN: Duration = Duration::from_secs(3);
/// Pause after the system had no socket for a new connection, rather than to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections without a place that are told so at one time. More are dropped without a word.
const REFUSALS: usize = 64;
/// How long one of them is listened to: its request has to be read, or the answer would be lost in a reset.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// How much longer a connection may last that takes files of the page: its module is some 700 KB, and a phone may be slow.
const FILES_TIME: Duration = Duration::from_secs(60);
/// Bytes for the head of an HTTP request, the smallest buffer that hyper takes.
const HTTP_BUFFER: usize = 8 * 1024;
/// Header lines of an HTTP request.
const HTTP_HEADERS: usize = 64;

/// A signalling server that listens. [`Server::serve`] runs it.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Stops a server from elsewhere.
#[derive(Debug, Clone)]
pub struct ServerHandle {
    stop: watch::Sender<bool>,
}

impl ServerHandle {
    /// Has the server stop: it takes no more connections, tells its nodes, and [`Server::serve`] returns.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}; choose another address or stop the program that has it", .reason.kind())]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// The folder with the page for browsers cannot be used.
    #[error("the page in {} cannot be shown: {reason}", .folder.display())]
    Page {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting that cannot work.
    #[error(transparent)]
    Settings(#[from] SettingError),
}

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) places: Arc<Places>,
    pub(crate) page: Arc<Page>,
    pub(crate) stop: watch::Sender<bool>,
    registry: Mutex<Registry<Arc<Outbox>>>,
}

impl Shared {
    /// Held for a few map operations and never across an await: shorter than a task and a queue in front of it would take.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry<Arc<Outbox>>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that has a place, from accept to its end, be it HTTP or WebSocket by then.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) address: SocketAddr,
    /// When the handshake must be complete, registering included.
    pub(crate) deadline: Instant,
    /// Whether a request on it was answered; how it ends is no news then.
    answered: AtomicBool,
    takes_files: AtomicBool,
    _place: Place,
}

impl Visitor {
    fn new(address: SocketAddr, deadline: Instant, place: Place) -> Self {
        Visitor { address, deadline, answered: false.into(), takes_files: false.into(), _place: place }
    }

    /// It has asked for something that is no WebSocket, and is counted so once.
    pub(crate) fn answer(&self, metrics: &Metrics) {
        if !self.answered.swap(true, Ordering::Relaxed) {
            metrics.close("answered");
        }
    }

    /// It loads the page, which may take longer than a handshake.
    pub(crate) fn takes_file(&self) {
        self.takes_files.store(true, Ordering::Relaxed);
    }
}

impl Server {
    /// Listens on the address of the settings.
    pub async fn bind(settings: Settings) -> Result<Self, BindError> {
        settings.check()?;
        let page = match &settings.page {
            PageSource::BuiltIn => Page::built_in(),
            PageSource::Off => Arc::default(),
            PageSource::Folder(folder) => Page::read(folder)
                .map_err(|reason| BindError::Page { folder: folder.clone(), reason: reason.to_string() })?,
        };
        let listen = |reason| BindError::Listen { address: settings.listen, reason };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let limits = &settings.limits;
        let shared = Arc::new(Shared {
            places: Places::new(limits.connections, limits.connections_per_address),
            registry: Mutex::new(Registry::new(limits.networks, rand::random())),
            metrics: Metrics::default(),
            page,
            stop: watch::Sender::new(false),
            settings,
        });
        Ok(Server { listener, address, shared })
    }

    /// Where the server listens: the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL that nodes on this machine take.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The address of the page for browsers, if there is one.
    pub fn page_url(&self) -> Option<String> {
        (!self.shared.page.is_empty()).then(|| format!("http://{}/", self.address))
    }

    /// What stops this server.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { stop: self.shared.stop.clone() }
    }

    /// Serves until [`ServerHandle::stop`]; then waits up to 3 s for the connections to end.
    pub async fn serve(self) {
        let Server { listener, shared, .. } = self;
        let mut stop = shared.stop.subscribe();
        let router = http::router(Arc::clone(&shared));
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        loop {
            let accepted = tokio::select! {
                () = stopped(&mut stop) => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "no new connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let deadline = Instant::now() + shared.settings.limits.handshake;
            match shared.places.take(address.ip()) {
                Ok(place) => {
                    shared.metrics.accepted.inc();
                    let visitor = Arc::new(Visitor::new(address, deadline, place));
                    tokio::spawn(serve_http(stream, visitor, router.clone(), Arc::clone(&shared)));
                }
                Err(no_place) => {
                    let reason = match no_place {
                        NoPlace::Total => "too-many-connections",
                        NoPlace::Address => "too-many-from-address",
                    };
                    tracing::debug!(%address, reason, "turned away");
                    shared.metrics.refuse(reason);
                    if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                        tokio::spawn(async move {
                            let _ = timeout(REFUSAL_TIME, turn_away(stream, reason)).await;
                            drop(permit);
                        });
                    }
                }
            }
        }
        drop(listener);
        if timeout(DRAIN, shared.places.all_free()).await.is_err() {
            tracing::warn!(left = shared.places.taken(), "stopped without a goodbye from some connections");
        }
    }
}

/// Returns when the server is to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // An error means that the server is gone: stopped, too.
}

/// One request on a connection. If it is an upgrade, the WebSocket goes on in a task of its own.
async fn serve_http(stream: TcpStream, visitor: Arc<Visitor>, router: Router, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true); // Without it, messages wait some more: no reason to fail.
    let deadline = visitor.deadline;
    let router = TowerToHyperService::new(router);
    let asks = Arc::clone(&visitor);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&asks));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.settings.limits.handshake)
        .max_buf_size(HTTP_BUFFER)
        .max_headers(HTTP_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let in_time = async {
        tokio::pin!(connection);
        match timeout_at(deadline, &mut connection).await {
            Err(_) if visitor.takes_files.load(Ordering::Relaxed) => {
                timeout_at(deadline + FILES_TIME, connection).await
            }
            end => end,
        }
    };
    let mut stop = shared.stop.subscribe();
    let end = tokio::select! {
        end = in_time => Some(end),
        () = stopped(&mut stop) => None,
    };
    if visitor.answered.load(Ordering::Relaxed) {
        return;
    }
    let Some(end) = end else { return shared.metrics.close("shutting-down") };
    match end {
        Ok(Ok(())) => {} // Upgraded: counted where that is known.
        Ok(Err(error)) if error.is_timeout() => shared.metrics.close("handshake-timeout"),
        Ok(Err(error)) if error.is_parse() => shared.metrics.close("bad-http"),
        Ok(Err(_)) => shared.metrics.close("lost"),
        Err(_) => shared.metrics.close("handshake-timeout"),
    }
}

async fn turn_away(mut stream: TcpStream, reason: &str) -> io::Result<()> {
    let body = format!("{reason}\n");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 10\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut request = [0; 1024];
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}
