//! What a node's provider and caller share: its services, the functions it passed to peers, the state of its sessions.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::future::BoxFuture;

use super::access::Caller;
use super::codec::Handle;
use super::definition::{Found, Object, check_name};
use super::error::{CallError, ProvideError};
use super::exports::Exports;
use super::function::{Call, Local, Reply};
use super::held::Held;
use super::line::Line;
use super::load::{Limits, Load};
use super::message::{Request, Target};
use super::peer::Names;
use super::service::Service;
use super::value::{Function, Value, ValueError};
use crate::id::Id;
use crate::key::PeerKey;
use crate::net::platform::{self, Instant};
use crate::net::session::Session;
use crate::small_map::SmallMap;

/// Services that a node provides, and scopes that it handles, at most, each.
pub const MAX_SERVICES: usize = 4096;

/// Answers which node is nearest to an address: built in, as in Sea.
pub const NEAREST: &str = "sea:nearest";

/// What objects need to know of the ring.
pub trait Ring: Send + Sync + 'static {
    /// Who owns this point of the ring; or why that is not known.
    fn owner(&self, key: Id) -> BoxFuture<'static, Result<Id, String>>;
}

/// The shared part. Tasks hold it, so it holds none of what ends them.
pub(super) struct Core {
    pub(super) own: PeerKey,
    pub(super) limits: Limits,
    pub(super) load: Arc<Load>,
    pub(super) ring: Box<dyn Ring>,
    names: OnceLock<Arc<dyn Names>>,
    services: RwLock<SmallMap<String, Service>>,
    scopes: RwLock<SmallMap<String, Function>>,
    exports: Mutex<Exports>,
    lines: Mutex<SmallMap<Id, Vec<Arc<Line>>>>,
}

impl Core {
    pub(super) fn new(own: PeerKey, limits: Limits, ring: Box<dyn Ring>) -> Arc<Self> {
        Arc::new(Core {
            own,
            load: Arc::new(Load::new(&limits)),
            limits,
            ring,
            names: OnceLock::new(),
            services: RwLock::default(),
            scopes: RwLock::default(),
            exports: Mutex::new(Exports::new()),
            lines: Mutex::default(),
        })
    }

    pub(super) fn set_names(&self, names: Arc<dyn Names>) -> bool {
        self.names.set(names).is_ok()
    }

    pub(super) fn names(&self) -> Option<Arc<dyn Names>> {
        self.names.get().cloned()
    }

    /// This node, as the caller of its own functions.
    pub(super) fn myself(&self) -> Caller {
        Caller::new(self.own, self)
    }

    pub(super) fn provide(self: &Arc<Self>, name: String, object: Object) -> Result<Service, ProvideError> {
        check_name(&name)?;
        object.settle(self)?;
        let mut services = write(&self.services);
        if services.contains_key(&name) {
            return Err(ProvideError::Taken(name));
        }
        if services.len() >= MAX_SERVICES {
            return Err(ProvideError::TooMany);
        }
        let service = Service::new(name.clone(), object, self);
        services.insert(name, service.clone());
        Ok(service)
    }

    pub(super) fn forget_service(&self, service: &Service) {
        let mut services = write(&self.services);
        // Another may have been provided by that name since.
        if services.get(service.name()).is_some_and(|other| Arc::ptr_eq(&other.0, &service.0)) {
            services.remove(service.name());
        }
    }

    /// Nothing is provided any more.
    pub(super) fn close(&self) {
        let services = std::mem::take(&mut *write(&self.services));
        services.into_iter().for_each(|(_, service)| service.withdraw());
        // What they hold is freed without the lock.
        let scopes = std::mem::take(&mut *write(&self.scopes));
        drop(scopes);
    }

    pub(super) fn service(&self, name: &str) -> Option<Service> {
        read(&self.services).get(name).cloned()
    }

    pub(super) fn services(&self) -> Vec<String> {
        read(&self.services).keys().cloned().collect()
    }

    pub(super) fn handle(self: &Arc<Self>, scope: String, function: Option<Function>) -> Result<(), ProvideError> {
        // Colons are usual in scopes; whatever is a name of a service will do.
        check_name(&scope)?;
        let mut scopes = write(&self.scopes);
        let Some(function) = function else {
            scopes.remove(&scope);
            return Ok(());
        };
        if scope == NEAREST || scopes.contains_key(&scope) {
            return Err(ProvideError::Taken(scope));
        }
        if scopes.len() >= MAX_SERVICES {
            return Err(ProvideError::TooMany);
        }
        if let Some(local) = function.behind::<Local>() {
            local.settle(self);
        }
        scopes.insert(scope, function);
        Ok(())
    }

    /// Carries a request out that wants an answer, for this node or another. Gives no later than `deadline`.
    pub(super) async fn serve(
        self: &Arc<Self>,
        caller: Caller,
        request: Request,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        match platform::timeout_at(deadline, self.carry_out(caller, request, deadline)).await {
            Ok(done) => done,
            Err(_) => Err(CallError::TimedOut),
        }
    }

    async fn carry_out(
        self: &Arc<Self>,
        caller: Caller,
        request: Request,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        match request {
            Request::Call { target, arguments } => self.call(caller, target, arguments, deadline).await,
            Request::Get { service, path } => {
                let service = self.service(&service).ok_or(CallError::NoSuchService(service))?;
                service.get(&path, &caller).await.map(Reply::Value)
            }
            Request::Services => Ok(Reply::Value(Value::Array(self.services().into_iter().map(Value::from).collect()))),
            Request::Describe { service } => {
                let service = self.service(&service).ok_or(CallError::NoSuchService(service))?;
                service.object().find("", &caller).await?;
                Ok(Reply::Value(Value::of(&service.shape())?))
            }
            Request::Ping => Ok(Reply::Value(Value::Null)),
            // These have no answer that ends; whoever serves streams takes them before.
            Request::Watch { .. } | Request::Hold => Err(CallError::Protocol("it has no single answer".to_owned())),
        }
    }

    async fn call(
        self: &Arc<Self>,
        caller: Caller,
        target: Target,
        arguments: Vec<Value>,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        match target {
            Target::Member { service, path } => {
                let service = self.service(&service).ok_or(CallError::NoSuchService(service))?;
                let object = service.object();
                let function = match object.find(&path, &caller).await? {
                    Some(Found::Function(function)) => function.clone(),
                    _ => return Err(CallError::NoSuchFunction(path)),
                };
                drop(object);
                let call = Call { caller, path, arguments, deadline };
                tokio::select! {
                    biased;
                    done = function.run(call) => done,
                    () = service.withdrawn() => Err(CallError::Cancelled),
                }
            }
            Target::Function(handle) => {
                let function = lock(&self.exports).get(handle, caller.id());
                let released = || CallError::NoSuchFunction("released".to_owned());
                let function = function.ok_or_else(released)?;
                let call = Call { caller, path: String::new(), arguments, deadline };
                match function.run(call).await {
                    Err(CallError::NoSuchFunction(path)) if path.is_empty() => Err(released()),
                    done => done,
                }
            }
            Target::Scope(scope) if scope == NEAREST => {
                let address = arguments.into_iter().next().unwrap_or_default();
                let address: Id = address.to().map_err(|error| CallError::WrongArguments(error.to_string()))?;
                let owner = self.ring.owner(address).await;
                owner
                    .map(|id| Reply::Value(id.to_string().into()))
                    .map_err(|reason| CallError::Failed { message: reason, data: None })
            }
            Target::Scope(scope) => {
                let function = read(&self.scopes).get(&scope).cloned();
                let Some(function) = function else { return Err(CallError::NoSuchFunction(scope)) };
                function.run(Call { caller, path: scope, arguments, deadline }).await
            }
        }
    }

    /// The handle for a function that goes to the peer of `line`.
    pub(super) fn offer(self: &Arc<Self>, line: &Arc<Line>, function: &Function) -> Result<Handle, ValueError> {
        if let Some(handle) = function.behind::<Held>().and_then(|held| held.return_to(line.peer())) {
            return Ok(Handle::Returned(handle));
        }
        if let Some(local) = function.behind::<Local>() {
            local.settle(self);
        }
        let handle = lock(&self.exports).insert(line, function.clone(), self.limits.functions_per_peer)?;
        Ok(Handle::Offered(handle))
    }

    /// The function that a handle from the peer of `line` means.
    pub(super) fn take(self: &Arc<Self>, line: &Arc<Line>, handle: Handle) -> Result<Function, ValueError> {
        match handle {
            Handle::Offered(handle) => Ok(Held::function(self, line, handle)),
            Handle::Returned(handle) => {
                let function = lock(&self.exports).get(handle, line.peer());
                function.ok_or(ValueError::Malformed("it returns a function that it has not, or no longer"))
            }
        }
    }

    /// Functions that were passed to peers and not released yet.
    pub(super) fn exports(&self) -> MutexGuard<'_, Exports> {
        lock(&self.exports)
    }

    /// The state of a session.
    pub(super) fn line(self: &Arc<Self>, session: &Session) -> Arc<Line> {
        let mut lines = lock(&self.lines);
        let of_peer = lines.entry(session.peer()).or_default();
        if let Some(line) = of_peer.iter().find(|line| line.session.is_same(session)) {
            return line.clone();
        }
        let line = Line::new(session.clone(), self.load.results());
        of_peer.push(line.clone());
        platform::spawn(Line::look_after(line.clone(), Arc::downgrade(self)));
        line
    }

    /// The session has ended.
    pub(super) fn forget_line(&self, line: &Arc<Line>) {
        let mut lines = lock(&self.lines);
        if let Some(of_peer) = lines.get_mut(&line.peer()) {
            of_peer.retain(|other| !Arc::ptr_eq(other, line));
            if of_peer.is_empty() {
                lines.remove(&line.peer());
            }
        }
        drop(lines);
        let gone = lock(&self.exports).expire(line, true);
        drop(gone);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
