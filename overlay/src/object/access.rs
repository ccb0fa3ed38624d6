//! Who calls, and who may.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::core::Core;
use super::peer::{Names, PeerRef};
use crate::id::Id;
use crate::key::PeerKey;

/// Who calls a function: proved by the session that the call came through, not claimed.
#[derive(Clone)]
pub struct Caller {
    key: PeerKey,
    names: Option<Arc<dyn Names>>,
}

impl Caller {
    pub(super) fn new(key: PeerKey, core: &Core) -> Self {
        Caller { key, names: core.names() }
    }

    /// Its public key: who it is.
    pub fn key(&self) -> PeerKey {
        self.key
    }

    /// Its id: the way to it, for calling back.
    pub fn id(&self) -> Id {
        self.key.id()
    }

    /// The name it has in the ring, without the `@`, if it has one and names are available.
    pub async fn name(&self) -> Option<String> {
        self.names.as_ref()?.name_of(&self.key).await
    }

    /// Whether it is meant by `who`. A name is looked up.
    async fn is(&self, who: &PeerRef) -> bool {
        match who {
            PeerRef::Key(key) => *key == self.key,
            PeerRef::Id(id) => *id == self.id(),
            PeerRef::Name(name) => match &self.names {
                Some(names) => names.resolve(name).await.is_ok_and(|peer| match peer.key {
                    Some(key) => key == self.key,
                    None => peer.id == self.id(),
                }),
                None => false,
            },
            PeerRef::Invalid(_) => false,
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.id())
    }
}

type Check = dyn Fn(Caller, String) -> BoxFuture<'static, bool> + Send + Sync;

/// Who may use a service, an object in it, or a function. All rules on the way to a member must let the caller pass.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Access {
    /// Everyone, the default.
    #[default]
    Everyone,
    /// These keys, ids or names. An id can be ground by an attacker (48 bits): keys and names are proof, ids are not.
    Only(Arc<[PeerRef]>),
    /// Whom this lets pass.
    Check(Arc<Check>),
}

impl Access {
    /// These keys, ids, or names such as `@alice`.
    pub fn only<P: Into<PeerRef>>(peers: impl IntoIterator<Item = P>) -> Self {
        Access::Only(peers.into_iter().map(Into::into).collect())
    }

    /// Whom `check` lets pass; it is told who calls, and the path.
    pub fn check<F>(check: impl Fn(Caller, String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        Access::Check(Arc::new(move |caller, path| Box::pin(check(caller, path))))
    }

    pub(super) async fn admits(&self, caller: &Caller, path: &str) -> bool {
        match self {
            Access::Everyone => true,
            Access::Only(peers) => {
                for peer in peers.iter() {
                    if caller.is(peer).await {
                        return true;
                    }
                }
                false
            }
            Access::Check(check) => check(caller.clone(), path.to_owned()).await,
        }
    }

    pub(super) fn is_everyone(&self) -> bool {
        matches!(self, Access::Everyone)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::Everyone => f.write_str("Everyone"),
            Access::Only(peers) => f.debug_tuple("Only").field(peers).finish(),
            Access::Check(_) => f.write_str("Check"),
        }
    }
}
