//! Who is on a channel: members that wish to be seen say so, again and again, in messages of the channel itself.
//!
//! One that has not been heard for three times as long as it takes between two announcements is gone. In large channels each announces
//! itself less often, so that all together make some [`RATE`] messages a second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, broadcast};

use super::hub::Hub;
use super::{ChannelError, Inner};
use crate::id::Id;
use crate::net::platform::{self, Instant};
use crate::small_map::SmallMap;

/// The scope of announcements. Scopes of applications do not begin so.
pub(super) const PRESENCE: &str = "\0presence";

/// Bytes of a member's data, as JSON, at most.
pub const MAX_MEMBER_DATA: usize = 1024;

/// Members that are remembered at most; who comes then is not listed.
pub const MAX_MEMBERS: usize = 4096;

/// How often a member announces itself in a channel with few of them.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(10);

/// Announcements of all members together, a second, at most.
const RATE: f64 = 20.0;

/// Changes that a reader may be behind.
const BACKLOG: usize = 256;

/// A member of a channel that has announced itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Member {
    /// Its node.
    pub id: Id,
    /// What it tells of itself.
    pub data: Value,
}

/// What happens to the members of a channel.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PresenceEvent {
    /// One came.
    Joined(Member),
    /// One tells something else of itself.
    Updated(Member),
    /// One left, or has not been heard for too long.
    Left(Id),
}

/// What an announcement says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Announcement {
    Here(Value),
    Gone,
}

/// Who was heard, with what, and when.
pub(super) struct Members {
    table: Mutex<SmallMap<Id, (Value, Instant)>>,
    events: broadcast::Sender<PresenceEvent>,
    /// Somebody came who does not know this member yet.
    newcomer: Notify,
}

impl Default for Members {
    fn default() -> Self {
        Members { table: Mutex::default(), events: broadcast::channel(BACKLOG).0, newcomer: Notify::new() }
    }
}

impl Members {
    pub(super) fn hear(&self, from: Id, is_own: bool, payload: &Bytes) {
        // A value and the name of what it is.
        if payload.len() > MAX_MEMBER_DATA + 16 {
            return;
        }
        let Some(said) = std::str::from_utf8(payload).ok().and_then(|text| serde_json::from_str(text).ok()) else {
            return;
        };
        let mut table = self.table();
        let event = match said {
            Announcement::Gone => table.remove(&from).map(|_| PresenceEvent::Left(from)),
            Announcement::Here(data) => {
                if table.len() >= MAX_MEMBERS && !table.contains_key(&from) {
                    return;
                }
                match table.insert(from, (data.clone(), Instant::now())) {
                    None => Some(PresenceEvent::Joined(Member { id: from, data })),
                    Some((old, _)) if old != data => Some(PresenceEvent::Updated(Member { id: from, data })),
                    Some(_) => None,
                }
            }
        };
        drop(table);
        if matches!(event, Some(PresenceEvent::Joined(_))) && !is_own {
            self.newcomer.notify_one();
        }
        if let Some(event) = event {
            let _ = self.events.send(event);
        }
    }

    pub(super) fn list(&self) -> Vec<Member> {
        self.expire();
        self.table().iter().map(|(&id, (data, _))| Member { id, data: data.clone() }).collect()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<PresenceEvent> {
        self.events.subscribe()
    }

    /// How long a member waits between two announcements.
    fn every(&self) -> Duration {
        ANNOUNCE_EVERY.max(Duration::from_secs_f64(self.table().len() as f64 / RATE))
    }

    fn expire(&self) {
        let limit = self.every() * 3;
        let mut gone = Vec::new();
        self.table().retain(|&id, (_, heard)| {
            let stays = heard.elapsed() < limit;
            if !stays {
                gone.push(id);
            }
            stays
        });
        for id in gone {
            let _ = self.events.send(PresenceEvent::Left(id));
        }
    }

    fn table(&self) -> MutexGuard<'_, SmallMap<Id, (Value, Instant)>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Announces this node, and notices who is gone, as long as the channel is held.
pub(super) struct Keeper {
    hub: Arc<Hub>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    data: Option<Value>,
    runs: bool,
}

impl Keeper {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Keeper { hub, state: Arc::default() }
    }

    pub(super) async fn announce(&self, channel: Weak<Inner>, data: Value) -> Result<(), ChannelError> {
        lock(&self.state).data = Some(data.clone());
        let Some(inner) = channel.upgrade() else { return Err(ChannelError::NotJoined) };
        inner.publish(PRESENCE.to_owned(), encode(Announcement::Here(data))).await?;
        self.watch(channel);
        Ok(())
    }

    /// Notices who is gone, from now on.
    pub(super) fn watch(&self, channel: Weak<Inner>) {
        if !std::mem::replace(&mut lock(&self.state).runs, true) {
            platform::spawn(keep(channel, Arc::clone(&self.hub), Arc::clone(&self.state)));
        }
    }

    pub(super) async fn say_goodbye(&self, channel: &Inner) {
        let announced = lock(&self.state).data.take().is_some();
        if announced {
            let _ = channel.publish(PRESENCE.to_owned(), encode(Announcement::Gone)).await;
        }
    }
}

async fn keep(channel: Weak<Inner>, hub: Arc<Hub>, state: Arc<Mutex<State>>) {
    let members = hub.present();
    loop {
        let every = members.every();
        tokio::select! {
            () = platform::sleep(every) => {}
            () = members.newcomer.notified() => {
                // Not all members at once.
                let share = every.as_secs_f64() / ANNOUNCE_EVERY.as_secs_f64();
                let wait = rand::rng().random_range(0.0..0.5 * share);
                platform::sleep(Duration::from_secs_f64(wait)).await;
            }
        }
        members.expire();
        let data = lock(&state).data.clone();
        let Some(channel) = channel.upgrade().filter(|_| !hub.is_closed()) else { return };
        if let Some(data) = data {
            let _ = channel.publish(PRESENCE.to_owned(), encode(Announcement::Here(data))).await;
        }
    }
}

fn encode(said: Announcement) -> Bytes {
    serde_json::to_vec(&said).expect("JSON always encodes").into()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
