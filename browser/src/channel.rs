//! Channels, and what comes on them.

use std::cell::RefCell;
use std::rc::Rc;

use atoll::channel::{Channel, ChannelMessage, PresenceEvent, Subscription};
use atoll_door::ErrorKind;
use futures::future::{Either, select};
use js_sys::{Array, Function, Object, Promise, Uint8Array};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;
use web_sys::AbortSignal;

use crate::cancel::promise;
use crate::error::{self, WebError};
use crate::{json, value};

/// A channel that the node has joined, until it is left or freed.
#[wasm_bindgen(js_name = Channel)]
pub struct WebChannel {
    channel: RefCell<Option<Channel>>,
    /// Dropped with it, which ends who listens.
    held: watch::Sender<()>,
}

impl WebChannel {
    pub(crate) fn new(channel: Channel) -> Self {
        WebChannel { channel: RefCell::new(Some(channel)), held: watch::channel(()).0 }
    }

    fn channel(&self) -> Result<Channel, WebError> {
        let left = || WebError::new(ErrorKind::Closed, "this channel has been left");
        self.channel.borrow().clone().ok_or_else(left)
    }
}

#[wasm_bindgen(js_class = Channel)]
impl WebChannel {
    /// Its id, in hexadecimal digits.
    #[wasm_bindgen(getter)]
    pub fn id(&self) -> Option<String> {
        Some(self.channel.borrow().as_ref()?.id().to_string())
    }

    /// Publishes a value; gives its number among this node's.
    pub fn publish(&self, scope: String, value: &JsValue, signal: Option<AbortSignal>) -> Promise {
        let (channel, value) = (self.channel(), value::from_js(value));
        promise(signal, async move {
            let published = channel?.publish_value(scope, &value?).await;
            Ok(published.map_err(error::publish)? as f64)
        })
    }

    /// What comes from now on, under a scope or, without one, under all.
    pub fn subscribe(&self, scope: Option<String>) -> Result<WebSubscription, JsValue> {
        let channel = self.channel()?;
        let messages = match scope {
            Some(scope) => channel.subscribe(scope),
            None => channel.subscribe_all(),
        };
        Ok(WebSubscription(Rc::new(RefCell::new(Some(messages)))))
    }

    /// Has the others see this node among the members, with data that is given as JSON.
    pub fn announce(&self, data: String) -> Promise {
        let channel = self.channel();
        promise(None, async move {
            let data = serde_json::from_str(&data);
            let data = data.map_err(|error| WebError::new(ErrorKind::Malformed, error.to_string()))?;
            channel?.announce(data).await.map_err(error::channel)?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// The members that have announced themselves: `{ id, data }` of each.
    pub fn members(&self) -> JsValue {
        let members = self.channel.borrow().as_ref().map(Channel::members);
        json::to_js(&members.unwrap_or_default())
    }

    /// Calls `hear` when members come, change and go: with `join`, `update` or `leave`, and the member.
    pub fn presence(&self, hear: Function) {
        let Ok(channel) = self.channel() else { return };
        let (mut events, mut held) = (channel.presence(), self.held.subscribe());
        // It must not be this that keeps the node in the channel.
        drop(channel);
        spawn_local(async move {
            loop {
                let (next, gone) = (std::pin::pin!(events.recv()), std::pin::pin!(held.changed()));
                match select(next, gone).await {
                    Either::Left((Ok(event), _)) => {
                        let (kind, member) = match event {
                            PresenceEvent::Joined(member) => ("join", json::to_js(&member)),
                            PresenceEvent::Updated(member) => ("update", json::to_js(&member)),
                            PresenceEvent::Left(id) => ("leave", left(&id.to_string())),
                            _ => continue,
                        };
                        // The face's own function: it does not throw.
                        let _ = hear.call2(&JsValue::UNDEFINED, &kind.into(), &member);
                    }
                    Either::Left((Err(RecvError::Lagged(_)), _)) => {}
                    Either::Left((Err(RecvError::Closed), _)) | Either::Right(_) => return,
                }
            }
        });
    }

    /// Leaves, when what was published is on its way.
    pub fn leave(&self) -> Promise {
        let channel = self.channel.borrow_mut().take();
        promise(None, async move {
            if let Some(channel) = channel {
                channel.leave().await;
            }
            Ok(JsValue::UNDEFINED)
        })
    }
}

fn left(id: &str) -> JsValue {
    let member = Object::new();
    value::put(&member, "id", &id.into());
    member.into()
}

/// What comes on a channel.
#[wasm_bindgen(js_name = Subscription)]
pub struct WebSubscription(Rc<RefCell<Option<Subscription>>>);

#[wasm_bindgen(js_class = Subscription)]
impl WebSubscription {
    /// The next: a message as an object, or `[count, publisher]` of those that are lost. `undefined` when the channel is left. The face
    /// never asks for two at once.
    pub fn next(&self, signal: Option<AbortSignal>) -> Promise {
        let shared = Rc::clone(&self.0);
        promise(signal, async move {
            let taken = shared.borrow_mut().take();
            let Some(mut messages) = taken else { return Ok(JsValue::UNDEFINED) };
            let next = messages.recv().await;
            *shared.borrow_mut() = Some(messages);
            Ok(match next {
                None => JsValue::UNDEFINED,
                Some(Ok(message)) => described(&message).into(),
                Some(Err(lagged)) => {
                    let publisher = lagged.publisher.map_or(JsValue::UNDEFINED, |id| id.to_string().into());
                    Array::of2(&(lagged.count as f64).into(), &publisher).into()
                }
            })
        })
    }

    /// Wants no more.
    pub fn end(&self) {
        let ended = self.0.borrow_mut().take();
        drop(ended);
    }
}

fn described(message: &ChannelMessage) -> Object {
    let object = Object::new();
    let fields: [(&str, JsValue); 6] = [
        ("publisher", message.publisher.to_string().into()),
        ("scope", message.scope.as_str().into()),
        ("message", value::to_js(&message.value())),
        ("sequence", (message.number as f64).into()),
        // From microseconds.
        ("sent", (message.sent as f64 / 1e3).into()),
        ("payload", Uint8Array::from(&message.payload[..]).into()),
    ];
    for (name, field) in &fields {
        value::put(&object, name, field);
    }
    object
}
