//! Channels: what one member publishes comes to every other, once, in the publisher's order.
//!
//! ```no_run
//! # async fn example(node: atoll::Node) -> Result<(), Box<dyn std::error::Error>> {
//! use futures::StreamExt;
//!
//! let channel = node.join("news").await?;
//! let mut sports = channel.subscribe("sports");
//! channel.publish("sports", "3:1").await?;
//! while let Some(message) = sports.next().await {
//!     match message {
//!         Ok(message) => println!("{} {}: {:?}", message.publisher, message.number, message.payload),
//!         Err(lagged) => println!("{lagged}"),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! `docs/channels.md` tells what is guaranteed. How messages travel is the protocol's: see [`crate::proto`].

mod hub;
mod inbox;
mod presence;
mod secret;
#[cfg(test)]
mod tests;
mod value;

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use self::inbox::{MAX_UNREAD, MAX_UNREAD_BYTES};
pub use self::presence::{MAX_MEMBER_DATA, MAX_MEMBERS, Member, PresenceEvent};
pub use self::secret::{MIN_SECRET, SEALED};
pub use self::value::PublishValueError;
pub use crate::proto::ChannelError;
pub use crate::wire::{ChannelId, MAX_PAYLOAD, MAX_SCOPE};

pub(crate) use self::hub::Hub;
use self::inbox::Inbox;
use self::presence::Keeper;
use self::secret::Secret;
use crate::id::Id;
use crate::key::{Identity, PeerKey};
use crate::net::driver::Command;
use crate::net::platform;
use crate::object::Value;
use crate::proto::{Answer, Membership};
use crate::wire::{Published, Terms};

/// Which channel to join. All its members must say the same: a channel of other options is another one.
#[derive(Clone, Debug)]
#[must_use]
pub struct ChannelOptions {
    name: String,
    signed: bool,
    secret: Option<Vec<u8>>,
}

impl ChannelOptions {
    /// The public channel with this name, in which every message is signed.
    pub fn new(name: impl Into<String>) -> Self {
        ChannelOptions { name: name.into(), signed: true, secret: None }
    }

    /// Messages are not signed: faster, and anybody can pass for anybody.
    pub fn unsigned(mut self) -> Self {
        self.signed = false;
        self
    }

    /// A private channel: only who knows the secret, at least [`MIN_SECRET`] bytes, can join, publish and read. It should be random, for
    /// whoever sees the channel's messages can try secrets.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = Some(secret.into());
        self
    }
}

impl From<&str> for ChannelOptions {
    fn from(name: &str) -> Self {
        ChannelOptions::new(name)
    }
}

impl From<String> for ChannelOptions {
    fn from(name: String) -> Self {
        ChannelOptions::new(name)
    }
}

/// A message that came on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelMessage {
    /// Who published it: proven where the channel is signed.
    pub publisher: Id,
    /// Which of the publisher's streams it belongs to: when it joined, by its clock, in microseconds since 1970.
    pub stream: u64,
    /// The number of the message in the stream.
    pub number: u64,
    /// When it was sent, by the publisher's clock, in microseconds since 1970.
    pub sent: u64,
    /// Its scope.
    pub scope: String,
    /// What it says.
    pub payload: Bytes,
    key: Option<Bytes>,
}

impl ChannelMessage {
    /// The publisher's key, where the channel is signed.
    pub fn key(&self) -> Option<PeerKey> {
        PeerKey::from_spki_der(self.key.as_ref()?).ok()
    }

    /// What its payload stands for: what [`Channel::publish_value`] was given. Payloads that were published as bytes are texts, where
    /// they are UTF-8, and otherwise bytes.
    pub fn value(&self) -> Value {
        value::decode(&self.payload)
    }
}

/// Messages that a subscriber misses: they could not be found any more, or it reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{count} messages are lost")]
#[non_exhaustive]
pub struct Lagged {
    /// How many. Where they could not be found, nobody knows their scopes: those of all count.
    pub count: u64,
    /// Whose; none, where the subscriber reads too slowly.
    pub publisher: Option<Id>,
}

/// A channel that the node has joined. Clones are the same; the node leaves when the last is dropped, and all subscriptions.
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    id: ChannelId,
    hub: Arc<Hub>,
    commands: mpsc::WeakSender<Command>,
    keeper: Keeper,
}

impl Channel {
    /// Joins a channel. `None` for `commands` that are closed is [`ChannelError::NotJoined`].
    pub(crate) async fn join(
        options: ChannelOptions,
        identity: &Identity,
        commands: &mpsc::Sender<Command>,
    ) -> Result<Channel, ChannelError> {
        let (terms, secret) = options.terms()?;
        let id = terms.id();
        let gate = secret.as_ref().map(|secret| secret.gate().clone());
        let hub = Arc::new(Hub::new(id, identity.id(), secret));
        let membership = Box::new(Membership { terms, identity: identity.clone(), gate });
        let (reply, answer) = oneshot::channel();
        let command = Command::JoinChannel { membership, hub: Arc::clone(&hub), reply };
        // Made before the answer, so that a join that is given up is taken back.
        let keeper = Keeper::new(Arc::clone(&hub));
        let channel = Channel { inner: Arc::new(Inner { id, hub, commands: commands.downgrade(), keeper }) };
        commands.send(command).await.map_err(|_| ChannelError::NotJoined)?;
        match answer.await {
            Ok(Answer::Joined(joined)) => joined.map(|()| channel),
            _ => Err(ChannelError::NotJoined),
        }
    }

    pub(crate) fn of(inner: &Weak<Inner>) -> Option<Channel> {
        let inner = inner.upgrade().filter(|inner| !inner.hub.is_closed())?;
        Some(Channel { inner })
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    /// The channel's id: a hash of all that its members agree on.
    pub fn id(&self) -> ChannelId {
        self.inner.id
    }

    /// Publishes a message of at most [`MAX_PAYLOAD`] bytes, [`SEALED`] less on a private channel, under a scope of at most [`MAX_SCOPE`].
    /// Gives its number in this node's stream.
    ///
    /// It waits while the neighbours take no more. When it answers, the message is on its way; a node that is killed at that moment may take it
    /// along. Calls that wait together travel together: to publish much, have several under way.
    pub async fn publish(&self, scope: impl Into<String>, payload: impl Into<Bytes>) -> Result<u64, ChannelError> {
        let scope = scope.into();
        if scope.starts_with('\0') {
            return Err(ChannelError::Scope);
        }
        self.inner.publish(scope, payload.into()).await
    }

    /// Publishes a value that members in any language read as what it is: see [`ChannelMessage::value`]. No function may be in it.
    pub async fn publish_value(&self, scope: impl Into<String>, value: &Value) -> Result<u64, PublishValueError> {
        Ok(self.publish(scope, value::encode(value)?).await?)
    }

    /// What comes under a scope from now on, this node's own messages included.
    pub fn subscribe(&self, scope: impl Into<String>) -> Subscription {
        self.subscribe_to(Some(scope.into()))
    }

    /// What comes from now on, under whatever scope.
    pub fn subscribe_all(&self) -> Subscription {
        self.subscribe_to(None)
    }

    fn subscribe_to(&self, scope: Option<String>) -> Subscription {
        Subscription { inbox: self.inner.hub.open(scope), _channel: self.inner.clone() }
    }

    /// Has the others see this node among the [`members`](Self::members), with data of its own: at most [`MAX_MEMBER_DATA`] bytes of JSON. Call
    /// it again to change the data.
    pub async fn announce(&self, data: serde_json::Value) -> Result<(), ChannelError> {
        if data.to_string().len() > MAX_MEMBER_DATA {
            return Err(ChannelError::TooLarge);
        }
        self.inner.keeper.announce(Arc::downgrade(&self.inner), data).await
    }

    /// The members that have announced themselves, as far as this node has heard: best effort. One that crashed is listed for up to half a
    /// minute more, longer in a channel with hundreds of members.
    pub fn members(&self) -> Vec<Member> {
        self.inner.hub.members()
    }

    /// Tells when members that [announce](Self::announce) themselves come, change and go. A reader that falls 256 events behind loses the
    /// oldest.
    pub fn presence(&self) -> broadcast::Receiver<PresenceEvent> {
        self.inner.keeper.watch(Arc::downgrade(&self.inner));
        self.inner.hub.presence()
    }

    /// Leaves, when what was published is on its way, or after two seconds. Subscriptions end, those of clones too.
    pub async fn leave(self) {
        self.inner.keeper.say_goodbye(&self.inner).await;
        self.inner.hub.close();
        let (reply, answer) = oneshot::channel();
        if let Some(commands) = self.inner.commands.upgrade()
            && commands.send(self.inner.leaving(reply)).await.is_ok()
        {
            let _ = answer.await;
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

impl Inner {
    fn leaving(&self, reply: oneshot::Sender<Answer>) -> Command {
        Command::LeaveChannel { channel: self.id, hub: Arc::clone(&self.hub), reply }
    }

    async fn publish(&self, scope: String, payload: Bytes) -> Result<u64, ChannelError> {
        let message = self.hub.seal(Published { scope, payload })?;
        let commands = self.commands.upgrade().filter(|_| !self.hub.is_closed()).ok_or(ChannelError::NotJoined)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Publish { channel: self.id, message, reply };
        commands.send(command).await.map_err(|_| ChannelError::NotJoined)?;
        match answer.await {
            Ok(Answer::Published(published)) => published,
            _ => Err(ChannelError::NotJoined),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.hub.close()
            && platform::can_spawn()
            && let Some(commands) = self.commands.upgrade()
        {
            let (reply, _) = oneshot::channel();
            let leave = self.leaving(reply);
            platform::spawn(async move {
                let _ = commands.send(leave).await;
            });
        }
    }
}

impl ChannelOptions {
    pub(crate) fn id(&self) -> Result<ChannelId, ChannelError> {
        Ok(self.clone().terms()?.0.id())
    }

    fn terms(self) -> Result<(Terms, Option<Secret>), ChannelError> {
        let secret = self.secret.map(|secret| Secret::new(&self.name, &secret)).transpose()?;
        let gate = secret.as_ref().map(|secret| secret.gate().public());
        Ok((Terms::new(&self.name, self.signed, gate), secret))
    }
}

/// Messages of a channel in their order: a stream. It ends when the node leaves the channel.
///
/// At most [`MAX_UNREAD`] messages, and [`MAX_UNREAD_BYTES`], wait to be read; what comes then is lost, and [`Lagged`] says how much.
pub struct Subscription {
    inbox: Arc<Inbox>,
    /// As long as somebody reads, the node stays.
    _channel: Arc<Inner>,
}

impl Subscription {
    /// The next message, or how many are missing before it; `None` when the node has left the channel.
    pub async fn recv(&mut self) -> Option<Result<ChannelMessage, Lagged>> {
        std::future::poll_fn(|cx| self.inbox.poll(cx)).await
    }
}

impl Stream for Subscription {
    type Item = Result<ChannelMessage, Lagged>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inbox.poll(cx)
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscription")
    }
}
