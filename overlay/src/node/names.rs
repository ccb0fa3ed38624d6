//! Names in the ring: claimed, renewed, released, and looked up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use web_time::{SystemTime, UNIX_EPOCH};

use super::keep::Schedule;
use super::store::{get, put};
use super::{Node, NodeEvent};
use crate::key::{Identity, PeerKey};
use crate::net::driver::Command;
use crate::net::platform::{self, JoinHandle};
use crate::object::{Names, Resolved};
use crate::proto::StoreError;
use crate::record::{Key, Record, RecordError, Seconds, check_claim_name};
use crate::small_map::SmallMap;
use crate::wire::StoreRefusal;

/// How long a claim lives that is not renewed: so long the name of a node that was killed stays its own. It is renewed three times as often.
pub const CLAIM_TTL: Duration = Duration::from_secs(600);

/// Names that a node holds at most.
pub const MAX_CLAIMS: usize = 64;

/// How long a node that closes waits for its names to be released. They end by themselves otherwise.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

/// The entry of a node by which its key is found to have a name.
const OWN_NAME: &str = "atoll/name";

/// A name could not be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Another node holds it.
    #[error("another node holds it")]
    Taken,
    /// It is no name.
    #[error(transparent)]
    Invalid(RecordError),
    /// This node holds it already.
    #[error("this node holds it already")]
    Held,
    /// This node holds too many.
    #[error("a node holds at most {MAX_CLAIMS} names")]
    TooMany,
    /// The store does not answer, or refuses.
    #[error(transparent)]
    Store(StoreError),
}

/// A name does not lead to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Nobody holds it.
    #[error("no node on the ring holds this name")]
    NoSuchName,
    /// It is no name.
    #[error(transparent)]
    Invalid(RecordError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A name that this node holds, and renews. Dropped, it is released.
#[derive(Debug)]
#[must_use = "a claim that is dropped is released"]
pub struct Claim {
    name: String,
    /// Dropped to release it.
    held: Option<oneshot::Sender<()>>,
    released: watch::Receiver<bool>,
    lost: watch::Receiver<bool>,
}

impl Claim {
    /// The name, without the `@`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the name up: others may claim it at once.
    pub async fn release(mut self) {
        self.held = None;
        let _ = self.released.wait_for(|&released| released).await;
    }

    /// Waits until the name is lost: somebody else holds it, as this node could not renew the claim in time; or the node is closed.
    pub async fn lost(&mut self) {
        let _ = self.lost.wait_for(|&lost| lost).await;
    }
}

impl Node {
    /// Claims a name in the ring, 1 to 63 of `a-z 0-9 . _ -` and without the `@`, and renews the claim until it is dropped. The first that claims a
    /// name keeps it while it lives; a node that is killed loses it after [`CLAIM_TTL`]. A node that comes back with its key has its name again.
    ///
    /// ```no_run
    /// # async fn example(node: atoll::Node, other: atoll::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let claim = node.claim("alice").await?;
    /// let services = other.peer("@alice").services().await?;
    /// claim.release().await;
    /// # Ok(()) }
    /// ```
    pub async fn claim(&self, name: &str) -> Result<Claim, ClaimError> {
        self.inner.book.claim(name).await
    }

    /// The key of the node that holds a name, with or without the `@`: one lookup.
    pub async fn resolve(&self, name: &str) -> Result<PeerKey, ResolveError> {
        self.inner.book.find(name.strip_prefix('@').unwrap_or(name)).await
    }

    /// The names that this node holds, without the `@`.
    pub fn names(&self) -> Vec<String> {
        let tasks = lock(&self.inner.book.shared.tasks);
        tasks.iter().filter(|(_, held)| held.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Claims a name for as long as the node runs.
    pub(super) async fn keep_name(&self, name: &str) -> Result<(), ClaimError> {
        let claim = self.claim(name).await?;
        lock(&self.inner.book.shared.kept).push(claim);
        Ok(())
    }
}

/// What a node knows of names.
#[derive(Clone)]
pub(super) struct Book {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    commands: mpsc::WeakSender<Command>,
    events: broadcast::Sender<NodeEvent>,
    /// The names that are held; nothing while one is being claimed.
    tasks: Mutex<SmallMap<String, Option<JoinHandle<()>>>>,
    /// Those that live as long as the node.
    kept: Mutex<Vec<Claim>>,
    closing: watch::Sender<bool>,
}

impl Book {
    pub(super) fn new(
        identity: Identity,
        commands: mpsc::WeakSender<Command>,
        events: broadcast::Sender<NodeEvent>,
    ) -> Self {
        let (tasks, kept, closing) = (Mutex::default(), Mutex::default(), watch::Sender::new(false));
        Book { shared: Arc::new(Shared { identity, commands, events, tasks, kept, closing }) }
    }

    async fn claim(&self, name: &str) -> Result<Claim, ClaimError> {
        check_claim_name(name).map_err(ClaimError::Invalid)?;
        {
            let mut tasks = lock(&self.shared.tasks);
            if tasks.contains_key(name) {
                return Err(ClaimError::Held);
            }
            if tasks.len() >= MAX_CLAIMS {
                return Err(ClaimError::TooMany);
            }
            tasks.insert(name.to_owned(), None);
        }
        // Gives the place back whatever happens, a caller that does not wait for the answer included.
        let place = Place { book: self.clone(), name: name.to_owned() };
        let since = now();
        self.write(name, since, false).await?;
        let (held, dropped) = oneshot::channel();
        let (released_in, released) = watch::channel(false);
        let (lost_in, lost) = watch::channel(false);
        let renewing = Renewing { place, since, released: released_in, lost: lost_in };
        let task = platform::spawn(renewing.run(dropped));
        if let Some(held) = lock(&self.shared.tasks).get_mut(name) {
            *held = Some(task);
        }
        Ok(Claim { name: name.to_owned(), held: Some(held), released, lost })
    }

    /// Writes the claim, or its end; and under the own key, which name that has.
    async fn write(&self, name: &str, since: Seconds, released: bool) -> Result<(), ClaimError> {
        let (identity, sequence) = (&self.shared.identity, since_1970().as_micros() as u64);
        let expires = now().after(CLAIM_TTL);
        let claim = Record::claim(identity, name, since, sequence, expires, released).map_err(ClaimError::Invalid)?;
        let commands = self.shared.commands.upgrade().ok_or(ClaimError::Store(StoreError::NotJoined))?;
        put(&commands, claim).await.map_err(|error| match error {
            StoreError::Refused(StoreRefusal::Taken | StoreRefusal::Older) => ClaimError::Taken,
            error => ClaimError::Store(error),
        })?;
        let value = (!released).then(|| name.to_owned().into());
        if let Ok(entry) = Record::entry(identity, OWN_NAME, sequence, expires, value) {
            // Only a convenience for those who are called.
            let _ = put(&commands, entry).await;
        }
        Ok(())
    }

    async fn find(&self, name: &str) -> Result<PeerKey, ResolveError> {
        check_claim_name(name).map_err(ResolveError::Invalid)?;
        let commands = self.shared.commands.upgrade().ok_or(StoreError::NotJoined)?;
        let found = get(&commands, Key::Name(name.to_owned())).await?;
        let holder = found.filter(|record| record.value().is_some()).and_then(|record| record.writer());
        holder.ok_or(ResolveError::NoSuchName)
    }

    /// Releases all names.
    pub(super) async fn close(&self) {
        let tasks: Vec<_> = lock(&self.shared.tasks).iter_mut().filter_map(|(_, task)| task.take()).collect();
        self.let_go();
        let _ = platform::timeout(RELEASE_WITHIN, join_all(tasks)).await;
    }

    /// Tells when the node closes.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.shared.closing.subscribe()
    }

    /// Nothing is renewed any more.
    pub(super) fn let_go(&self) {
        self.shared.closing.send_replace(true);
        let kept = std::mem::take(&mut *lock(&self.shared.kept));
        drop(kept);
    }
}

/// A name that this node holds, or is about to.
struct Place {
    book: Book,
    name: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.book.shared.tasks).remove(&self.name);
    }
}

/// A claim that is renewed.
struct Renewing {
    place: Place,
    since: Seconds,
    released: watch::Sender<bool>,
    lost: watch::Sender<bool>,
}

impl Renewing {
    async fn run(self, dropped: oneshot::Receiver<()>) {
        let Place { book, name } = &self.place;
        let mut schedule = Schedule::new(CLAIM_TTL, dropped, book.closing());
        while schedule.next().await {
            let written = book.write(name, self.since, false).await;
            schedule.wrote(written.is_ok());
            match written {
                Ok(()) => {}
                Err(ClaimError::Taken) => {
                    let _ = book.shared.events.send(NodeEvent::NameLost { name: name.clone() });
                    self.lost.send_replace(true);
                    return;
                }
                Err(error) => tracing::debug!(%name, %error, "a claim was not renewed"),
            }
        }
        // What cannot be told ends by itself.
        let _ = book.write(name, self.since, true).await;
        let Renewing { place, released, .. } = self;
        drop(place);
        released.send_replace(true);
    }
}

impl Names for Book {
    fn resolve(&self, name: &str) -> BoxFuture<'_, Result<Resolved, String>> {
        let name = name.to_owned();
        Box::pin(async move {
            let key = self.find(&name).await.map_err(|error| error.to_string())?;
            Ok(Resolved { id: key.id(), key: Some(key) })
        })
    }

    fn name_of(&self, key: &PeerKey) -> BoxFuture<'_, Option<String>> {
        let key = *key;
        Box::pin(async move {
            let entry = Key::Entry { writer: key, name: OWN_NAME.to_owned() };
            let commands = self.shared.commands.upgrade()?;
            let record = get(&commands, entry).await.ok()??;
            let name = String::from_utf8(record.value()?.to_vec()).ok()?;
            // Anybody can say to have a name; whoever holds it has it.
            (self.find(&name).await == Ok(key)).then_some(name)
        })
    }
}

/// The time of records.
pub(super) fn now() -> Seconds {
    Seconds(since_1970().as_secs())
}

pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
