//! Errors as programs see them: a kind that never changes, and a text for people.

use atoll::object::{CallError, ProvideError, Value, ValueError};
use serde::{Deserialize, Serialize};

/// What went wrong, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The function ran and failed.
    Failed,
    /// The service has no function there, or it has been released.
    NoSuchFunction,
    /// The service has no value there.
    NoSuchValue,
    /// Arguments that the function does not take.
    WrongArguments,
    /// The peer provides nothing by this name.
    NoSuchService,
    /// Nobody holds the id or has the name, or it cannot be reached.
    NoSuchPeer,
    /// The provider's rules do not allow it.
    Refused,
    /// No result within the time of the call.
    TimedOut,
    /// Given up by the caller, or by a provider that withdrew.
    Cancelled,
    /// The peer was lost during the call.
    PeerLost,
    /// Too many bytes, values or functions, or nested too deep.
    TooLarge,
    /// Too many at once: calls, programs, services.
    TooMany,
    /// The node is closed.
    Closed,
    /// The peer does not keep to the protocol.
    Protocol,
    /// Another program, or this one, has the name of the service.
    NameTaken,
    /// Not a name that a service can have.
    BadName,
    /// The line is no message.
    Malformed,
    /// The first message must be `hello`.
    HelloFirst,
}

impl ErrorKind {
    /// The word on the wire.
    pub fn word(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(word)) => word,
            _ => unreachable!("a unit variant is a string"),
        }
    }
}

/// An error on its way to a program, or from it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct DoorError {
    /// For programs.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
    /// What the function that failed says besides.
    pub data: Option<Value>,
}

impl DoorError {
    /// One without data.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        DoorError { kind, message: message.into(), data: None }
    }
}

impl From<CallError> for DoorError {
    fn from(error: CallError) -> Self {
        use CallError as E;
        let kind = match &error {
            E::Failed { .. } => ErrorKind::Failed,
            E::NoSuchFunction(_) => ErrorKind::NoSuchFunction,
            E::NoSuchValue(_) => ErrorKind::NoSuchValue,
            E::WrongArguments(_) => ErrorKind::WrongArguments,
            E::NoSuchService(_) => ErrorKind::NoSuchService,
            E::NoSuchPeer { .. } => ErrorKind::NoSuchPeer,
            E::Refused => ErrorKind::Refused,
            E::TimedOut => ErrorKind::TimedOut,
            E::Cancelled => ErrorKind::Cancelled,
            E::PeerLost(_) => ErrorKind::PeerLost,
            E::TooLarge(_) => ErrorKind::TooLarge,
            E::TooManyCalls => ErrorKind::TooMany,
            E::Closed => ErrorKind::Closed,
            _ => ErrorKind::Protocol,
        };
        match error {
            E::Failed { message, data } => DoorError { kind, message, data },
            other => DoorError::new(kind, other.to_string()),
        }
    }
}

impl From<ProvideError> for DoorError {
    fn from(error: ProvideError) -> Self {
        let kind = match &error {
            ProvideError::Taken(_) => ErrorKind::NameTaken,
            ProvideError::Name(_) => ErrorKind::BadName,
            ProvideError::TooMany => ErrorKind::TooMany,
            ProvideError::NoSuchValue(_) => ErrorKind::NoSuchValue,
            ProvideError::Value(_) => ErrorKind::TooLarge,
            _ => ErrorKind::NoSuchService,
        };
        DoorError::new(kind, error.to_string())
    }
}

impl From<ValueError> for DoorError {
    fn from(error: ValueError) -> Self {
        let kind = match &error {
            ValueError::Type(_) | ValueError::Malformed(_) => ErrorKind::Malformed,
            _ => ErrorKind::TooLarge,
        };
        DoorError::new(kind, error.to_string())
    }
}

/// What a program says of its function that failed, told to the caller.
impl From<DoorError> for CallError {
    fn from(error: DoorError) -> Self {
        match error.kind {
            ErrorKind::WrongArguments => CallError::WrongArguments(error.message),
            ErrorKind::NoSuchFunction => CallError::NoSuchFunction(error.message),
            ErrorKind::NoSuchValue => CallError::NoSuchValue(error.message),
            ErrorKind::Refused => CallError::Refused,
            ErrorKind::TimedOut => CallError::TimedOut,
            ErrorKind::Cancelled => CallError::Cancelled,
            ErrorKind::TooMany => CallError::TooManyCalls,
            ErrorKind::TooLarge => CallError::TooLarge(error.message),
            _ => CallError::Failed { message: error.message, data: error.data },
        }
    }
}
