//! Between the driver, which brings what comes on a channel, and those who read it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::broadcast;

use super::inbox::Inbox;
use super::presence::{Members, PRESENCE};
use super::{ChannelError, ChannelId, ChannelMessage, Lagged, Member, PresenceEvent, Secret};
use crate::id::Id;
use crate::proto::ChannelEvent;
use crate::wire::{Envelope, MAX_PAYLOAD, MAX_SCOPE, Published};

pub(crate) struct Hub {
    channel: ChannelId,
    me: Id,
    secret: Option<Secret>,
    state: Mutex<State>,
    members: Members,
}

#[derive(Default)]
struct State {
    inboxes: Vec<Weak<Inbox>>,
    closed: bool,
}

impl Hub {
    pub(super) fn new(channel: ChannelId, me: Id, secret: Option<Secret>) -> Self {
        Hub { channel, me, secret, state: Mutex::default(), members: Members::default() }
    }

    /// Gives readers what came.
    pub(crate) fn deliver(&self, event: ChannelEvent) {
        match event {
            ChannelEvent::Messages(envelope) => {
                let first = envelope.label().first;
                for (number, message) in (first..).zip(envelope.messages()) {
                    self.deliver_message(&envelope, number, message);
                }
            }
            ChannelEvent::Lagged { publisher, count } => {
                for inbox in self.inboxes() {
                    inbox.push(Err(Lagged { count, publisher: Some(publisher) }));
                }
            }
        }
    }

    fn deliver_message(&self, envelope: &Envelope, number: u64, message: &Published) {
        let publisher = envelope.publisher();
        let opened;
        let message = match &self.secret {
            None => message,
            Some(secret) => match secret.open(self.channel, publisher, &message.payload) {
                Some(message) => {
                    opened = message;
                    &opened
                }
                None => return tracing::debug!(%publisher, "a message on a private channel cannot be opened"),
            },
        };
        if message.scope == PRESENCE {
            return self.members.hear(publisher, publisher == self.me, &message.payload);
        }
        for inbox in self.inboxes().into_iter().filter(|inbox| inbox.wants(&message.scope)) {
            let label = envelope.label();
            inbox.push(Ok(ChannelMessage {
                publisher,
                stream: label.stream,
                number,
                sent: label.sent,
                scope: message.scope.clone(),
                payload: message.payload.clone(),
                key: envelope.key_der().cloned(),
            }));
        }
    }

    /// A message as it travels: on a private channel forwarders see neither its scope nor its payload.
    pub(super) fn seal(&self, message: Published) -> Result<Published, ChannelError> {
        if message.scope.len() > MAX_SCOPE {
            return Err(ChannelError::TooLarge);
        }
        let sealed = match &self.secret {
            Some(secret) => secret.seal(self.channel, self.me, &message),
            None => message,
        };
        if sealed.payload.len() > MAX_PAYLOAD { Err(ChannelError::TooLarge) } else { Ok(sealed) }
    }

    /// An inbox more for what comes from now on.
    pub(super) fn open(&self, scope: Option<String>) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::new(scope));
        let mut state = self.state();
        if state.closed {
            inbox.close();
        }
        state.inboxes.retain(|inbox| inbox.strong_count() > 0);
        state.inboxes.push(Arc::downgrade(&inbox));
        inbox
    }

    pub(super) fn members(&self) -> Vec<Member> {
        self.members.list()
    }

    pub(super) fn presence(&self) -> broadcast::Receiver<PresenceEvent> {
        self.members.subscribe()
    }

    pub(super) fn present(&self) -> &Members {
        &self.members
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Nothing will come any more. Whether that is new.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state();
        let open = !std::mem::replace(&mut state.closed, true);
        state.inboxes.drain(..).filter_map(|inbox| inbox.upgrade()).for_each(|inbox| inbox.close());
        open
    }

    fn inboxes(&self) -> Vec<Arc<Inbox>> {
        self.state().inboxes.iter().filter_map(Weak::upgrade).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
