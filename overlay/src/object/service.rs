//! A service that this node provides: its values can be set, and whoever watches them is told.

use std::fmt;
use std::sync::{Arc, RwLock, Weak};

use futures::Stream;
use futures::stream;
use tokio::sync::watch;

use super::access::Caller;
use super::core::{Core, read, write};
use super::definition::{Found, Object, settle_functions};
use super::error::{CallError, ProvideError};
use super::shape::Shape;
use super::value::Value;

/// A service that this node provides. Clones are the same service; it stays when they are dropped, until it is
/// [withdrawn](Service::withdraw) or the node closes.
#[derive(Clone)]
pub struct Service(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) name: String,
    object: RwLock<Arc<Object>>,
    /// Counts changes; `None` once it is withdrawn.
    version: watch::Sender<Option<u64>>,
    core: Weak<Core>,
}

impl Service {
    pub(super) fn new(name: String, object: Object, core: &Arc<Core>) -> Self {
        let version = watch::Sender::new(Some(0));
        Service(Arc::new(Inner { name, object: RwLock::new(Arc::new(object)), version, core: Arc::downgrade(core) }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Sets the value at `path`, or a part of the value there; a member that is not there yet is added. Who watches it is told.
    pub fn set(&self, path: &str, value: impl Into<Value>) -> Result<(), ProvideError> {
        let value = value.into();
        value.check()?;
        settle_functions(&value, &self.core()?);
        Arc::make_mut(&mut write(&self.0.object)).set(path, value)?;
        self.changed();
        Ok(())
    }

    /// Provides another object in its place. Who watches its values goes on with those of the new one.
    pub fn replace(&self, object: Object) -> Result<(), ProvideError> {
        object.settle(&self.core()?)?;
        *write(&self.0.object) = Arc::new(object);
        self.changed();
        Ok(())
    }

    /// What it offers now.
    pub fn shape(&self) -> Shape {
        self.object().shape()
    }

    /// Provides it no longer. Calls under way are dropped, their callers get [`CallError::Cancelled`]; watchers, too.
    pub fn withdraw(&self) {
        if let Some(core) = self.0.core.upgrade() {
            core.forget_service(self);
        }
        self.0.version.send_replace(None);
        // What its functions hold is freed, also when handles are kept.
        let object = std::mem::take(&mut *write(&self.0.object));
        drop(object);
    }

    fn core(&self) -> Result<Arc<Core>, ProvideError> {
        let provided = self.0.version.borrow().is_some();
        self.0.core.upgrade().filter(|_| provided).ok_or(ProvideError::Withdrawn)
    }

    fn changed(&self) {
        self.0.version.send_modify(|version| *version = version.map(|number| number + 1));
    }

    pub(super) fn object(&self) -> Arc<Object> {
        read(&self.0.object).clone()
    }

    /// The value at `path`: of an object all values in it.
    pub(super) async fn get(&self, path: &str, caller: &Caller) -> Result<Value, CallError> {
        match self.object().find(path, caller).await? {
            Some(Found::Value(value)) => Ok(value.clone()),
            Some(Found::Object(object)) => Ok(object.values(path, caller).await),
            Some(Found::Function(_)) | None => Err(CallError::NoSuchValue(path.to_owned())),
        }
    }

    /// The value at `path` now, and then, whenever it is asked for the next, the newest that differs from the last.
    pub(super) fn watch(
        &self,
        path: String,
        caller: Caller,
    ) -> impl Stream<Item = Result<Value, CallError>> + Send + use<> {
        let service = self.clone();
        let versions = self.0.version.subscribe();
        let watching = Watching { service, path, caller, versions, last: None };
        stream::try_unfold(watching, |mut watching| async move {
            let value = watching.next().await?;
            Ok(Some((value, watching)))
        })
    }

    /// Waits until it is withdrawn.
    pub(super) async fn withdrawn(&self) {
        let mut versions = self.0.version.subscribe();
        let _ = versions.wait_for(Option::is_none).await;
    }
}

struct Watching {
    service: Service,
    path: String,
    caller: Caller,
    versions: watch::Receiver<Option<u64>>,
    last: Option<Value>,
}

impl Watching {
    async fn next(&mut self) -> Result<Value, CallError> {
        loop {
            if self.versions.borrow_and_update().is_none() {
                return Err(CallError::Cancelled);
            }
            let value = self.service.get(&self.path, &self.caller).await?;
            if self.last.as_ref() != Some(&value) {
                self.last = Some(value.clone());
                return Ok(value);
            }
            self.versions.changed().await.map_err(|_| CallError::Cancelled)?;
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.0.name)
    }
}
