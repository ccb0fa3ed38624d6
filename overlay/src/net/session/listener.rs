//! Who takes the sockets that peers open: one [`Listener`] a name, each with a bounded backlog.

use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::carrier::lock;
use super::error::{ListenError, reset};
use super::stream::{MAX_NAME, Socket};
use crate::small_map::SmallMap;

/// Takes the sockets that peers open under one name. Dropped, it unregisters: sockets that still wait, and all that come
/// later, are refused as not offered.
pub struct Listener {
    name: Arc<str>,
    sockets: mpsc::Receiver<Socket>,
    listeners: Arc<Listeners>,
}

impl Listener {
    /// The next socket; `None` when the node has closed.
    pub async fn accept(&mut self) -> Option<Socket> {
        self.sockets.recv().await
    }

    /// The name that peers ask for.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.listeners.by_name).remove(&self.name);
        self.sockets.close();
        while let Ok(mut socket) = self.sockets.try_recv() {
            socket.refuse(reset::NOT_OFFERED);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.name)
    }
}

/// All names that a node offers.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    by_name: Mutex<SmallMap<Arc<str>, mpsc::Sender<Socket>>>,
}

impl Listeners {
    pub(super) fn listen(self: &Arc<Self>, name: &str, backlog: usize) -> Result<Listener, ListenError> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(ListenError::Name(name.len()));
        }
        let name: Arc<str> = name.into();
        let mut by_name = lock(&self.by_name);
        if by_name.contains_key(&name) {
            return Err(ListenError::Taken);
        }
        let (sender, sockets) = mpsc::channel(backlog.max(1));
        by_name.insert(name.clone(), sender);
        Ok(Listener { name, sockets, listeners: self.clone() })
    }

    /// The name itself, shared, if it is offered.
    pub(super) fn offered(&self, name: &str) -> Option<Arc<str>> {
        let by_name = lock(&self.by_name);
        let index = by_name.find_index(name).ok()?;
        by_name.get_indexed(index).map(|(name, _)| name.clone())
    }

    /// Hands a socket to whoever listens under its name, or refuses it.
    pub(super) fn hand_over(&self, socket: Socket) {
        let listener = lock(&self.by_name).get(socket.name()).cloned();
        let refused = match listener {
            None => Some((socket, reset::NOT_OFFERED)),
            Some(listener) => match listener.try_send(socket) {
                Ok(()) => None,
                Err(TrySendError::Full(socket)) => Some((socket, reset::BUSY)),
                Err(TrySendError::Closed(socket)) => Some((socket, reset::NOT_OFFERED)),
            },
        };
        if let Some((mut socket, code)) = refused {
            socket.refuse(code);
        }
    }

    /// Ends every [`Listener::accept`].
    pub(super) fn close(&self) {
        lock(&self.by_name).clear();
    }
}
