//! Errors on their way to JavaScript and back.

use atoll::channel::{ChannelError, PublishValueError};
use atoll::net::session::{ListenError, SessionError, SocketError, Unreachable};
use atoll::node::{ClaimError, StartError};
use atoll::object::Failure;
use atoll::proto::{LookupError, StoreError};
use atoll::record::RecordError;
use atoll_door::{DoorError, ErrorKind};
use js_sys::{Error, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use crate::{hooks, value};

/// What goes to JavaScript: made of every error of a node by `?`.
pub(crate) struct WebError(pub(crate) DoorError);

impl WebError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        WebError(DoorError::new(kind, message))
    }

    /// Of an error that says enough by its text.
    pub(crate) fn of(kind: ErrorKind, error: impl ToString) -> Self {
        WebError::new(kind, error.to_string())
    }
}

impl From<WebError> for JsValue {
    fn from(WebError(error): WebError) -> Self {
        let data = error.data.map_or(JsValue::UNDEFINED, |data| value::to_js(&data));
        hooks::error(&error.kind.word(), &error.message, data)
    }
}

impl<E: Into<DoorError>> From<E> for WebError {
    fn from(error: E) -> Self {
        WebError(error.into())
    }
}

pub(crate) fn start(error: StartError) -> WebError {
    let kind = match &error {
        StartError::NoSignalling { .. } => ErrorKind::NoSuchPeer,
        StartError::Refused { .. } | StartError::PeersRefused { .. } => ErrorKind::Refused,
        StartError::TimedOut(_) => ErrorKind::TimedOut,
        StartError::Name { .. } => ErrorKind::NameTaken,
        _ => ErrorKind::WrongArguments,
    };
    WebError::of(kind, error)
}

pub(crate) fn session(error: SessionError) -> WebError {
    let kind = match &error {
        SessionError::Myself | SessionError::Name(_) | SessionError::Settings(_) => ErrorKind::WrongArguments,
        SessionError::Unreachable(Unreachable::NoSuchPeer | _) | SessionError::NoAnswer => ErrorKind::NoSuchPeer,
        SessionError::Busy | SessionError::TooManySessions | SessionError::TooManySockets => ErrorKind::TooMany,
        SessionError::WrongKey | SessionError::KeyRefused => ErrorKind::Refused,
        SessionError::Closed => ErrorKind::Closed,
        SessionError::Protocol(_) => ErrorKind::Protocol,
        _ => ErrorKind::PeerLost,
    };
    WebError::of(kind, error)
}

pub(crate) fn socket(error: SocketError) -> WebError {
    let kind = match error {
        SocketError::Session(error) => return session(error),
        SocketError::NotOffered => ErrorKind::NoSuchService,
        SocketError::Busy => ErrorKind::TooMany,
        SocketError::Closed => ErrorKind::Closed,
        _ => ErrorKind::Cancelled,
    };
    WebError::of(kind, error)
}

pub(crate) fn listen(error: ListenError) -> WebError {
    let kind = match &error {
        ListenError::Taken => ErrorKind::NameTaken,
        _ => ErrorKind::BadName,
    };
    WebError::of(kind, error)
}

pub(crate) fn lookup(error: LookupError) -> WebError {
    let kind = match &error {
        LookupError::TimedOut => ErrorKind::TimedOut,
        LookupError::Busy => ErrorKind::TooMany,
        LookupError::NotJoined => ErrorKind::Closed,
        _ => ErrorKind::NoSuchPeer,
    };
    WebError::of(kind, error)
}

pub(crate) fn store(error: StoreError) -> WebError {
    let kind = match &error {
        StoreError::TimedOut => ErrorKind::TimedOut,
        StoreError::NotJoined => ErrorKind::Closed,
        StoreError::Busy => ErrorKind::TooMany,
        StoreError::Invalid(RecordError::ValueSize) => ErrorKind::TooLarge,
        StoreError::Invalid(_) => ErrorKind::WrongArguments,
        _ => ErrorKind::Refused,
    };
    WebError::of(kind, error)
}

pub(crate) fn channel(error: ChannelError) -> WebError {
    let kind = match &error {
        ChannelError::TimedOut => ErrorKind::TimedOut,
        ChannelError::NotJoined => ErrorKind::Closed,
        ChannelError::TooMany | ChannelError::Busy => ErrorKind::TooMany,
        ChannelError::TooLarge => ErrorKind::TooLarge,
        ChannelError::Scope | ChannelError::Secret => ErrorKind::WrongArguments,
        _ => ErrorKind::Refused,
    };
    WebError::of(kind, error)
}

pub(crate) fn publish(error: PublishValueError) -> WebError {
    match error {
        PublishValueError::Channel(error) => channel(error),
        PublishValueError::Value(error) => error.into(),
        other => WebError::of(ErrorKind::Failed, other),
    }
}

pub(crate) fn claim(error: ClaimError) -> WebError {
    let kind = match &error {
        ClaimError::Taken | ClaimError::Held => ErrorKind::NameTaken,
        ClaimError::TooMany => ErrorKind::TooMany,
        _ => ErrorKind::BadName,
    };
    WebError::of(kind, error)
}

/// What a function of JavaScript has thrown, for its caller: any error by its message, those with a `code` of ours by that.
pub(crate) fn thrown(thrown: &JsValue) -> Failure {
    let field = |name: &str| Reflect::get(thrown, &name.into()).ok();
    let message = match thrown.dyn_ref::<Error>() {
        Some(error) => String::from(error.message()),
        None => thrown.as_string().unwrap_or_else(|| "it threw something that is no error".to_owned()),
    };
    let code = field("code").and_then(|code| code.as_string());
    let kind = code.and_then(|code| serde_json::from_value(code.into()).ok()).unwrap_or(ErrorKind::Failed);
    let data = field("data").filter(|data| !data.is_undefined()).and_then(|data| value::from_js(&data).ok());
    Failure::relay(DoorError { kind, message, data }.into())
}
