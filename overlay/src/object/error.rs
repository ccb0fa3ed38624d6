//! What can go wrong with a call, each of its own kind, here and on the wire.

use super::limits::MAX_FAILURE_TEXT;
use super::value::{Value, ValueError};

/// Why a call, or reading or watching a value, did not succeed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The function ran and failed: what it says, and data if it gave some.
    #[error("the function failed: {message}")]
    Failed {
        /// What went wrong.
        message: String,
        /// More about it, for programs.
        data: Option<Value>,
    },
    /// The object has no function there; or the function, passed in a call, has been released.
    #[error("there is no function \"{}\"", .0.escape_debug())]
    NoSuchFunction(String),
    /// The object has no value there.
    #[error("there is no value \"{}\"", .0.escape_debug())]
    NoSuchValue(String),
    /// Too few, too many, or of types that the function does not take.
    #[error("wrong arguments: {0}")]
    WrongArguments(String),
    /// The peer provides nothing by this name.
    #[error("the peer provides no service \"{}\"", .0.escape_debug())]
    NoSuchService(String),
    /// Nobody holds the id, nobody has the name, or it cannot be reached.
    #[error("no such peer: {peer}: {reason}")]
    NoSuchPeer {
        /// As it was asked for.
        peer: String,
        /// What happened.
        reason: String,
    },
    /// The provider's rules do not let this node do that.
    #[error("the peer refuses this to us")]
    Refused,
    /// The deadline of the call has passed; the provider has stopped working on it.
    #[error("no result in time")]
    TimedOut,
    /// The provider gave the call up: it withdrew the service, or is closing.
    #[error("the peer gave the call up")]
    Cancelled,
    /// The peer, or the way to it, was lost while the call ran. Whether the function ran is not known.
    #[error("the peer was lost during the call: {0}")]
    PeerLost(String),
    /// The arguments or the result are larger than a message may be, or too deep, or too many.
    #[error("the message is too large: {0}")]
    TooLarge(String),
    /// The peer has as many calls under way, of this node or in all, as it allows.
    #[error("too many calls at once; try again when some are done")]
    TooManyCalls,
    /// The result is not of the type that was asked for.
    #[error("the result is not of the expected type: {0}")]
    WrongResult(String),
    /// This node is closed.
    #[error("this node is closed")]
    Closed,
    /// The peer does not keep to the protocol, or speaks none of objects.
    #[error("the peer does not keep to the protocol: {0}")]
    Protocol(String),
}

impl CallError {
    /// The number on the wire, for those that travel.
    pub(crate) fn code(&self) -> u64 {
        match self {
            CallError::Failed { .. } => 1,
            CallError::NoSuchFunction(_) => 2,
            CallError::NoSuchValue(_) => 3,
            CallError::WrongArguments(_) => 4,
            CallError::NoSuchService(_) => 5,
            CallError::Refused => 6,
            CallError::TimedOut => 7,
            CallError::Cancelled | CallError::Closed => 8,
            CallError::TooLarge(_) => 9,
            CallError::TooManyCalls => 10,
            CallError::Protocol(_) => 11,
            // Of another call, which the function made: to its caller it failed.
            CallError::NoSuchPeer { .. } | CallError::PeerLost(_) | CallError::WrongResult(_) => 1,
        }
    }

    /// What is told besides the number.
    pub(crate) fn text(&self) -> String {
        let mut text = match self {
            CallError::Failed { message: text, .. }
            | CallError::NoSuchFunction(text)
            | CallError::NoSuchValue(text)
            | CallError::WrongArguments(text)
            | CallError::NoSuchService(text)
            | CallError::TooLarge(text)
            | CallError::Protocol(text) => text.clone(),
            CallError::Refused
            | CallError::TimedOut
            | CallError::Cancelled
            | CallError::Closed
            | CallError::TooManyCalls => String::new(),
            other => other.to_string(),
        };
        text.truncate(text.floor_char_boundary(MAX_FAILURE_TEXT));
        text
    }

    /// The data of a failure.
    pub(crate) fn data(&self) -> Option<&Value> {
        match self {
            CallError::Failed { data, .. } => data.as_ref(),
            _ => None,
        }
    }

    /// What a peer told.
    pub(crate) fn told(code: u64, text: String, data: Option<Value>) -> Self {
        match code {
            1 => CallError::Failed { message: text, data },
            2 => CallError::NoSuchFunction(text),
            3 => CallError::NoSuchValue(text),
            4 => CallError::WrongArguments(text),
            5 => CallError::NoSuchService(text),
            6 => CallError::Refused,
            7 => CallError::TimedOut,
            8 => CallError::Cancelled,
            9 => CallError::TooLarge(text),
            10 => CallError::TooManyCalls,
            11 => CallError::Protocol(text),
            code => CallError::Protocol(format!("error {code}, which is not known here: {text}")),
        }
    }
}

/// What could not be sent.
impl From<ValueError> for CallError {
    fn from(error: ValueError) -> Self {
        match error {
            ValueError::Type(what) => CallError::WrongArguments(what),
            ValueError::Malformed(what) => CallError::Protocol(what.to_owned()),
            other => CallError::TooLarge(other.to_string()),
        }
    }
}

/// Why a function failed: what [`Call`](super::Call) functions give for an error. Any error becomes one by `?`.
///
/// An argument that has not the expected type ([`ArgumentError`]) becomes [`CallError::WrongArguments`] for the caller; all
/// others become [`CallError::Failed`], with their text.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure(pub(crate) CallError);

impl Failure {
    /// A failure that says this.
    pub fn new(message: impl Into<String>) -> Self {
        Failure(CallError::Failed { message: message.into(), data: None })
    }

    /// Gives the caller data, too.
    #[must_use]
    pub fn with(self, data: impl Into<Value>) -> Self {
        match self.0 {
            CallError::Failed { message, .. } => Failure(CallError::Failed { message, data: Some(data.into()) }),
            _ => self,
        }
    }

    /// Gives the caller this very error, of its own kind: for those who pass calls on. What an error says of the way to
    /// another peer becomes [`CallError::Failed`].
    pub fn relay(error: CallError) -> Self {
        Failure(error)
    }

    /// What the caller will get.
    pub fn error(&self) -> &CallError {
        &self.0
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: &dyn std::error::Error = &error;
        if let Some(ArgumentError(what)) = error.downcast_ref() {
            return Failure(CallError::WrongArguments(what.clone()));
        }
        match error.downcast_ref() {
            Some(CallError::Failed { message, data }) => {
                Failure(CallError::Failed { message: message.clone(), data: data.clone() })
            }
            _ => Failure::new(error.to_string()),
        }
    }
}

/// The arguments are not what the function takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgumentError(pub(crate) String);

/// A service cannot be provided, or a value of it set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProvideError {
    /// The node provides a service by this name.
    #[error("this node provides \"{}\" already; withdraw the other first", .0.escape_debug())]
    Taken(String),
    /// A name of a service, a member, a scope is 1 to [`super::MAX_NAME`] bytes long, and has neither dots nor control characters.
    #[error("\"{}\" is no name: 1 to {max} bytes, without dots and control characters", .0.escape_debug(), max = super::MAX_NAME)]
    Name(String),
    /// The node provides as many as it may.
    #[error("this node provides as many services, or handles as many scopes, as it may")]
    TooMany,
    /// There is no object or value at the path.
    #[error("there is nothing at \"{}\" that could be set", .0.escape_debug())]
    NoSuchValue(String),
    /// The value is too large, too deep, or has too many parts: see [`ValueError`].
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The service has been withdrawn.
    #[error("the service has been withdrawn")]
    Withdrawn,
}
