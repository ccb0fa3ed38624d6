//! Objects of nodes on a ring in memory.

mod access;
mod calls;
mod errors;
mod functions;
mod limits;
mod streams;
mod watching;

use std::future::Future;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::*;
use crate::id::Id;
use crate::key::{Identity, PeerKey};
use crate::net::session::memory::{Conditions, MemoryRing};
use crate::net::session::{Sessions, Settings};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node with nothing but sessions and objects.
struct TestNode {
    key: PeerKey,
    sessions: Sessions,
    objects: Objects,
}

impl TestNode {
    fn id(&self) -> Id {
        self.key.id()
    }
}

/// Every point of the ring is owned by one node.
struct Owner(Id);

impl Ring for Owner {
    fn owner(&self, _key: Id) -> BoxFuture<'static, Result<Id, String>> {
        let owner = self.0;
        Box::pin(async move { Ok(owner) })
    }
}

/// Two nodes on one ring, all of which is `bob`'s.
struct Pair {
    ring: MemoryRing,
    alice: TestNode,
    bob: TestNode,
}

impl Pair {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self::with_settings(limits, Settings::default())
    }

    fn with_settings(limits: Limits, settings: Settings) -> Self {
        let ring = MemoryRing::new(Conditions::default(), 7);
        let (alice, bob) = (Identity::generate(), Identity::generate());
        let owner = bob.id();
        let [alice, bob] =
            [alice, bob].map(|identity| node_with(&ring, &identity, owner, limits.clone(), settings.clone()));
        Pair { ring, alice, bob }
    }

    /// `bob` as `alice` sees him.
    fn peer(&self) -> Peer {
        self.alice.objects.peer(self.bob.id())
    }

    /// What `bob` provides under this name, to `alice`.
    async fn remote(&self, name: &str) -> Remote {
        self.peer().service(name).await.expect("bob provides it")
    }
}

fn node(ring: &MemoryRing, identity: &Identity, owner: Id, limits: Limits) -> TestNode {
    node_with(ring, identity, owner, limits, Settings::default())
}

fn node_with(ring: &MemoryRing, identity: &Identity, owner: Id, limits: Limits, settings: Settings) -> TestNode {
    let sessions = ring.join(identity, settings).unwrap();
    let objects = Objects::start(identity.public(), &sessions, limits, Owner(owner)).unwrap();
    TestNode { key: identity.public(), sessions, objects }
}

/// As glou's own example has it, and a little more.
fn echo() -> Object {
    Object::new()
        .doc("Says things back.")
        .value("a", "information here")
        .documented_value("b", "more information here", "More of it.")
        .function("echo", |call: Call| async move { call.arg::<Value>(0) })
        .object("deep", Object::new().value("x", 21).function("f", Function::new(double).parameters(["x"])))
}

async fn double(call: Call) -> Result<i64, ArgumentError> {
    Ok(call.arg::<i64>(0)? * 2)
}

/// Fails a test that hangs.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it hangs")
}

/// Waits until `seen` says that it is right.
async fn until(what: &str, mut seen: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(saw) = seen() {
        assert!(begun.elapsed() < PATIENCE, "{what}: {saw}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
