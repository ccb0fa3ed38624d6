//! A ring without hops, in memory: every node reaches every other directly, under conditions that the test chooses.
//!
//! Each node has one bounded queue outwards and one task that empties it, as a driver has; packets are lost, delayed,
//! reordered, cut off by length and altered on the way as [`Conditions`] and [`MemoryRing::tamper`] say.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tokio::sync::Notify;

use super::carrier::{Carrier, Packets, lock};
use super::error::SessionError;
use super::port::Port;
use super::sessions::Sessions;
use super::transport::{MAX_PACKET, Settings};
use crate::id::Id;
use crate::key::Identity;
use crate::net::platform::{self, Instant, sleep_until};

/// Packets that a node's task takes from its queue at once, at most.
const DRAIN: usize = 64;

/// What happens to packets on their way.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// How many of a million packets get lost.
    pub loss_ppm: u32,
    /// How long every packet takes.
    pub delay: Duration,
    /// How much longer some take, at random: so they overtake each other.
    pub jitter: Duration,
    /// Packets that wait in a node's queue, at most.
    pub queue: usize,
    /// What a full queue does: push back, or drop.
    pub pushes_back: bool,
    /// Bytes a second that leave a node; `None`: as fast as the machine can.
    pub rate: Option<u64>,
    /// Longer packets are dropped.
    pub longest: usize,
}

impl Default for Conditions {
    /// Nothing is lost, a full queue of 256 packets pushes back.
    fn default() -> Self {
        Conditions {
            loss_ppm: 0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            queue: 256,
            pushes_back: true,
            rate: None,
            longest: usize::from(MAX_PACKET),
        }
    }
}

/// What a hop makes of a packet from one id to another: any number of packets instead.
pub type Tamper = dyn Fn(Id, Id, Bytes) -> Vec<Bytes> + Send + Sync;

/// The ring: clones are the same.
#[derive(Clone)]
pub struct MemoryRing(Arc<Shared>);

struct Shared {
    conditions: RwLock<Conditions>,
    tamper: RwLock<Option<Arc<Tamper>>>,
    ports: RwLock<BTreeMap<Id, Port>>,
    seed: u64,
}

impl MemoryRing {
    /// A ring without nodes. The seed decides which packets get lost and overtaken.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        MemoryRing(Arc::new(Shared {
            conditions: RwLock::new(conditions),
            tamper: RwLock::default(),
            ports: RwLock::default(),
            seed,
        }))
    }

    /// Adds a node. A dial to an id that no node holds fails at once, as on the ring.
    pub fn join(&self, identity: &Identity, settings: Settings) -> Result<Sessions, SessionError> {
        self.join_as(identity.id(), identity, settings)
    }

    /// Adds a node in the place of `id`, which its key need not match.
    pub fn join_as(&self, id: Id, identity: &Identity, settings: Settings) -> Result<Sessions, SessionError> {
        let queue = Arc::new(Queue {
            packets: Mutex::default(),
            filled: Notify::new(),
            closed: AtomicBool::new(false),
            ring: self.0.clone(),
        });
        let (sessions, port) = Sessions::new(identity, MemoryCarrier(queue.clone()), settings)?;
        write(&self.0.ports).insert(id, port);
        platform::spawn(carry(id, queue));
        Ok(sessions)
    }

    /// Lets packets to `id` arrive at `port`; what that node sends is its own carrier's affair.
    pub fn attach(&self, id: Id, port: Port) {
        write(&self.0.ports).insert(id, port);
    }

    /// Takes a node's place away: from now on dials to it fail, and packets to it get lost.
    pub fn part(&self, id: Id) {
        write(&self.0.ports).remove(&id);
    }

    /// Changes the conditions from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        *write(&self.0.conditions) = conditions;
    }

    /// Puts somebody between all nodes; `None` takes him away.
    pub fn tamper(&self, tamper: Option<Arc<Tamper>>) {
        *write(&self.0.tamper) = tamper;
    }

    /// The port of the node in the place of `id`.
    pub fn port(&self, id: Id) -> Option<Port> {
        read(&self.0.ports).get(&id).cloned()
    }
}

impl fmt::Debug for MemoryRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryRing({} nodes)", read(&self.0.ports).len())
    }
}

struct MemoryCarrier(Arc<Queue>);

/// What leaves one node.
struct Queue {
    packets: Mutex<VecDeque<(Id, Bytes)>>,
    filled: Notify,
    /// The node is gone.
    closed: AtomicBool,
    ring: Arc<Shared>,
}

impl Carrier for MemoryCarrier {
    fn try_send(&self, to: Id, packets: Packets<'_>) -> bool {
        let queue = &*self.0;
        let (room, pushes_back) = {
            let conditions = read(&queue.ring.conditions);
            (conditions.queue, conditions.pushes_back)
        };
        let mut waiting = lock(&queue.packets);
        if pushes_back && waiting.len() >= room {
            return false;
        }
        let was_empty = waiting.is_empty();
        let bytes = Bytes::copy_from_slice(packets.bytes());
        let room = if pushes_back { packets.count() } else { room.saturating_sub(waiting.len()) };
        let starts = (0..bytes.len()).step_by(packets.size()).take(room);
        waiting.extend(starts.map(|start| (to, bytes.slice(start..bytes.len().min(start + packets.size())))));
        drop(waiting);
        if was_empty {
            queue.filled.notify_one();
        }
        true
    }
}

impl Drop for MemoryCarrier {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
        self.0.filled.notify_one();
    }
}

/// A packet on its way: sorted by when it arrives, then by when it left.
type Flying = Reverse<(Instant, u64, Id, Bytes)>;

/// Empties one node's queue until the node is gone.
async fn carry(from: Id, queue: Arc<Queue>) {
    let shared = queue.ring.clone();
    let mut rng = Pcg64Mcg::seed_from_u64(shared.seed ^ from.number());
    let mut flying: BinaryHeap<Flying> = BinaryHeap::new();
    let mut sent: u64 = 0;
    let mut free_at = Instant::now();
    while !queue.closed.load(Ordering::Relaxed) {
        // While packets wait for the wire, or for their arrival, this is when to look again.
        let mut wake_at = None;
        {
            let conditions = read(&shared.conditions).clone();
            let now = Instant::now();
            for _ in 0..DRAIN {
                if free_at > now {
                    wake_at = Some(free_at);
                    break;
                }
                let Some((to, packet)) = lock(&queue.packets).pop_front() else { break };
                if let Some(rate) = conditions.rate {
                    let takes = Duration::from_secs_f64(packet.len() as f64 / rate.max(1) as f64);
                    free_at = free_at.max(now - Duration::from_millis(2)) + takes;
                }
                let lost = packet.len() > conditions.longest || rng.random_range(0..1_000_000) < conditions.loss_ppm;
                if lost {
                    continue;
                }
                let tamper = read(&shared.tamper).clone();
                let packets = match tamper {
                    Some(tamper) => tamper(from, to, packet),
                    None => vec![packet],
                };
                for packet in packets {
                    if conditions.delay.is_zero() && conditions.jitter.is_zero() {
                        arrive(&shared, from, to, packet);
                        continue;
                    }
                    let late = conditions.jitter.mul_f64(rng.random_range(0.0..1.0));
                    flying.push(Reverse((now + conditions.delay + late, sent, to, packet)));
                    sent += 1;
                }
            }
            read(&shared.ports).get(&from).iter().for_each(|port| port.writable());
            if wake_at.is_none() && !lock(&queue.packets).is_empty() {
                wake_at = Some(now);
            }
        }
        let now = Instant::now();
        while flying.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, to, packet))) = flying.pop() else { break };
            arrive(&shared, from, to, packet);
        }
        let next = flying.peek().map(|Reverse((at, ..))| *at);
        let wake_at = wake_at.into_iter().chain(next).min();
        match wake_at {
            Some(at) if at <= now => tokio::task::yield_now().await,
            Some(at) => sleep_until(at).await,
            None => queue.filled.notified().await,
        }
    }
}

fn arrive(shared: &Shared, from: Id, to: Id, packet: Bytes) {
    let ports = read(&shared.ports);
    match ports.get(&to) {
        Some(port) => {
            port.deliver(from, packet);
        }
        None => {
            if let Some(port) = ports.get(&from) {
                port.fail(to, super::Unreachable::NoSuchPeer);
            }
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
