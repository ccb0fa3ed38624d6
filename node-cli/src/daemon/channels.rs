//! The channels of a program: the node joins them for it, and leaves them when no program needs them any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use atoll::Node;
use atoll::channel::{Channel, ChannelError, ChannelId, ChannelMessage, ChannelOptions, Subscription};
use atoll::object::Value;
use atoll_door::limits::MAX_CHANNELS;
use atoll_door::{ChannelItem, ChannelName, ChannelRequest, DoorError, ErrorKind, FromNode, Payload, lagged};
use bytes::Bytes;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::timeout;

use super::outbox::Unsent;
use super::program::{Program, lock};

/// How long joining may take, unless the program says it; the node gives up by then.
const JOIN_WITHIN: Duration = Duration::from_secs(20);

/// The channels that a program has a part in.
pub(super) struct Channels {
    node: Node,
    /// `None` once the program has gone.
    held: Mutex<Option<BTreeMap<ChannelName, Arc<Held>>>>,
}

/// A channel of a program. Other programs may hold the same.
struct Held {
    /// Nothing until the first request has joined it; the others wait for that, in their order.
    channel: Arc<tokio::sync::Mutex<Option<Channel>>>,
    /// Closed when the program leaves the channel: then its subscriptions end.
    stays: watch::Sender<bool>,
}

/// A request's turn at a channel.
struct Turn {
    channel: Channel,
    /// False when the program has left it.
    stays: watch::Receiver<bool>,
    _turn: OwnedMutexGuard<Option<Channel>>,
}

impl Channels {
    pub(super) fn new(node: Node) -> Self {
        Channels { node, held: Mutex::new(Some(BTreeMap::new())) }
    }

    fn hold(&self, name: &ChannelName) -> Result<Arc<Held>, DoorError> {
        let mut held = lock(&self.held);
        let held = held.as_mut().ok_or(ChannelError::NotJoined)?;
        if held.len() >= MAX_CHANNELS && !held.contains_key(name) {
            let why = format!("a program has a part in {MAX_CHANNELS} channels at most; leave some");
            return Err(DoorError::new(ErrorKind::TooMany, why));
        }
        let new = || Arc::new(Held { channel: Arc::default(), stays: watch::Sender::new(true) });
        Ok(held.entry(name.clone()).or_insert_with(new).clone())
    }

    /// A channel, joined if the program has no part in it yet. Requests have their turns in their order: the next follows when this one's
    /// is dropped.
    async fn turn(&self, name: &ChannelName, within: Option<Duration>) -> Result<Turn, DoorError> {
        let held = self.hold(name)?;
        let mut joined = held.channel.clone().lock_owned().await;
        let channel = match &*joined {
            Some(channel) => channel.clone(),
            None => {
                let joining = timeout(within.unwrap_or(JOIN_WITHIN), self.node.join(options(name))).await;
                let channel =
                    joining.unwrap_or(Err(ChannelError::TimedOut)).inspect_err(|_| self.forget(name, &held))?;
                joined.insert(channel).clone()
            }
        };
        Ok(Turn { channel, stays: held.stays.subscribe(), _turn: joined })
    }

    async fn publish(
        &self,
        name: &ChannelName,
        within: Option<Duration>,
        scope: String,
        payload: Bytes,
    ) -> Result<u64, DoorError> {
        let turn = self.turn(name, within).await?;
        let channel = turn.channel.clone();
        let mut publishing = Box::pin(channel.publish(scope, payload));
        // Once it has its place behind those before it, the next can follow.
        if let Poll::Ready(published) = futures::poll!(&mut publishing) {
            return Ok(published?);
        }
        drop(turn);
        Ok(publishing.await?)
    }

    fn leave(&self, name: &ChannelName) -> Result<(), DoorError> {
        let left = lock(&self.held).as_mut().and_then(|held| held.remove(name)).ok_or(ChannelError::NotJoined)?;
        left.stays.send_replace(false);
        Ok(())
    }

    /// A channel that could not be joined.
    fn forget(&self, name: &ChannelName, failed: &Arc<Held>) {
        if let Some(held) =
            lock(&self.held).as_mut().filter(|held| held.get(name).is_some_and(|one| Arc::ptr_eq(one, failed)))
        {
            held.remove(name);
        }
    }

    /// The program has gone.
    pub(super) fn clear(&self) {
        let held = lock(&self.held).take();
        drop(held);
    }
}

/// Carries out what a program wants of a channel, and answers it, unless it has been cancelled by then.
pub(super) async fn carry_out(
    program: &Program,
    name: ChannelName,
    request: ChannelRequest,
    uid: u64,
    within: Option<Duration>,
) {
    let channels = &program.channels;
    let done = match request {
        ChannelRequest::Subscribe { scope, window } => {
            let opened = channels.turn(&name, within).await.map(|turn| Opened {
                id: turn.channel.id(),
                messages: match scope {
                    Some(scope) => turn.channel.subscribe(scope),
                    None => turn.channel.subscribe_all(),
                },
                stays: turn.stays,
            });
            return subscribe(program, opened, window, uid).await;
        }
        ChannelRequest::Publish { scope, payload } => {
            channels.publish(&name, within, scope, payload).await.map(Value::from)
        }
        ChannelRequest::Leave => channels.leave(&name).map(|()| Value::Null),
    };
    if program.session().finished(uid) {
        let answer = match done.and_then(|value| program.json(&value)) {
            Ok(json) => FromNode::done(uid, Payload::Ret(json)),
            Err(error) => FromNode::failed(uid, program.error(&error)),
        };
        let _ = program.say(answer).await;
    }
}

/// A subscription that has begun.
struct Opened {
    id: ChannelId,
    messages: Subscription,
    /// False when the program has left the channel.
    stays: watch::Receiver<bool>,
}

/// Tells the program what comes, at its pace; what it is too slow for is told as missing.
async fn subscribe(program: &Program, opened: Result<Opened, DoorError>, window: Option<u64>, uid: u64) {
    let ended = async {
        let Opened { id, mut messages, mut stays } = opened?;
        // Opened before the program hears of it: it may ask for more at once.
        let window = window.map(|count| program.open_window(uid, count));
        let id = program.json(&id.to_string().into())?;
        if program.say(FromNode::done(uid, Payload::Ret(id))).await.is_err() {
            return Ok(());
        }
        loop {
            let next = async {
                if let Some(window) = &window {
                    window.one_more().await;
                }
                messages.recv().await
            };
            let value = tokio::select! {
                next = next => match next {
                    Some(Ok(message)) => item(message).into(),
                    Some(Err(missing)) => lagged(missing.count, missing.publisher),
                    None => return Err(ChannelError::NotJoined.into()),
                },
                // Or the program has gone.
                _ = stays.wait_for(|stays| !stays) => return Ok(()),
            };
            match program.send(FromNode::Item { uid, value: program.json(&value)? }).await {
                Ok(()) => {}
                Err(Unsent::Refused(error)) => return Err(error),
                Err(Unsent::Gone) => return Ok(()),
            }
        }
    };
    let ended: Result<(), DoorError> = ended.await;
    if program.session().finished(uid) {
        let error = ended.err().map(|error| program.error(&error));
        let _ = program.say(FromNode::End { uid, error }).await;
    }
}

fn options(name: &ChannelName) -> ChannelOptions {
    let mut options = ChannelOptions::new(&name.name);
    if name.unsigned {
        options = options.unsigned();
    }
    if let Some(secret) = &name.secret {
        options = options.secret(secret.to_vec());
    }
    options
}

fn item(message: ChannelMessage) -> ChannelItem {
    let payload = message.value();
    let ChannelMessage { publisher, stream, number, sent, scope, .. } = message;
    ChannelItem { publisher, stream, number, sent, scope, payload }
}
