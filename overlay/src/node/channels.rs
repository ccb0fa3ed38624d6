//! The channels that a node has joined.

use std::sync::{PoisonError, Weak};

use super::Node;
use crate::channel::{Channel, ChannelError, ChannelId, ChannelOptions, Inner};
use crate::small_map::SmallMap;

/// The channels that are held, so that joining one twice gives the same.
#[derive(Default)]
pub(super) struct Joined {
    channels: std::sync::Mutex<SmallMap<ChannelId, Weak<Inner>>>,
    /// One at a time joins.
    turn: tokio::sync::Mutex<()>,
}

impl Node {
    /// Joins a channel, and waits for a place in its tree: up to 15 s. A name alone is the public channel of that name, with signed messages.
    /// Joining a channel that the node has joined already gives the same one.
    ///
    /// ```no_run
    /// # async fn example(node: atoll::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// use atoll::channel::ChannelOptions;
    ///
    /// let news = node.join("news").await?;
    /// news.publish("sports", "3:1").await?;
    /// let ours = node.join(ChannelOptions::new("ours").secret("at least sixteen random bytes")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn join(&self, channel: impl Into<ChannelOptions>) -> Result<Channel, ChannelError> {
        let options = channel.into();
        let id = options.id()?;
        let joined = &self.inner.joined;
        let _turn = joined.turn.lock().await;
        let held = || joined.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = held().get(&id).and_then(Channel::of) {
            return Ok(channel);
        }
        let (identity, commands) = (&self.inner.identity, &self.inner.commands);
        let channel = Channel::join(options, identity, commands).await?;
        let mut held = held();
        held.retain(|_, channel| channel.strong_count() > 0);
        held.insert(id, channel.downgrade());
        Ok(channel)
    }
}
