//! What a program says about channels, and what it is told of them: see `docs/channels.md`.

use std::collections::BTreeMap;

use atoll::id::Id;
use atoll::object::Value;
use atoll::proto::ChannelError;
use bytes::Bytes;

use crate::error::{DoorError, ErrorKind};

/// Which channel. All its members say the same: with other options it is another channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelName {
    /// Its name.
    pub name: String,
    /// Whether its messages are not signed.
    pub unsigned: bool,
    /// What the members of a private channel share.
    pub secret: Option<Bytes>,
}

/// What a program wants of a channel. The node joins it for the first, and stays until the program leaves or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelRequest {
    /// To be told what comes from now on.
    Subscribe {
        /// Only under this scope.
        scope: Option<String>,
        /// How many messages it takes until it asks for more; `None`: as fast as it reads.
        window: Option<u64>,
    },
    /// To publish a message.
    Publish {
        /// Under this scope.
        scope: String,
        /// The message.
        payload: Bytes,
    },
    /// To have no part in it any more: what it subscribed to there ends.
    Leave,
}

/// A message of a channel, as programs are told it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelItem {
    /// Who published it.
    pub publisher: Id,
    /// Which of the publisher's streams it belongs to.
    pub stream: u64,
    /// Its number there.
    pub number: u64,
    /// When it was sent, by the publisher's clock, in microseconds since 1970.
    pub sent: u64,
    /// Its scope.
    pub scope: String,
    /// What it says: text, bytes, or any value that it was published as.
    pub payload: Value,
}

impl From<ChannelItem> for Value {
    fn from(item: ChannelItem) -> Self {
        map([
            ("publisher", item.publisher.to_string().into()),
            ("stream", item.stream.into()),
            ("number", item.number.into()),
            ("sent", item.sent.into()),
            ("scope", item.scope.into()),
            ("payload", item.payload),
        ])
    }
}

/// Tells that so many messages are missing here.
pub fn lagged(count: u64, publisher: Option<Id>) -> Value {
    let publisher = publisher.map(|publisher| ("publisher", publisher.to_string().into()));
    map([("lagged", count.into())].into_iter().chain(publisher))
}

fn map(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>())
}

/// The bytes of a payload or a secret.
pub(crate) fn bytes(value: Value, field: &str) -> Result<Bytes, DoorError> {
    match value {
        Value::Text(text) => Ok(text.into()),
        Value::Bytes(bytes) => Ok(bytes),
        other => {
            let why = format!("{field} is text or bytes, not {}", other.kind());
            Err(DoorError::new(ErrorKind::Malformed, why))
        }
    }
}

impl From<ChannelError> for DoorError {
    fn from(error: ChannelError) -> Self {
        let kind = match &error {
            ChannelError::TimedOut => ErrorKind::TimedOut,
            ChannelError::Refused(_) => ErrorKind::Refused,
            ChannelError::TooMany | ChannelError::Busy => ErrorKind::TooMany,
            ChannelError::TooLarge => ErrorKind::TooLarge,
            ChannelError::Scope | ChannelError::Secret => ErrorKind::WrongArguments,
            _ => ErrorKind::Closed,
        };
        DoorError::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use atoll::object::{Function, ValueError};

    use super::*;
    use crate::body::{self, Mention};
    use crate::program::FromProgram;

    fn read(line: &str) -> Result<FromProgram, DoorError> {
        let none = |_: Mention| -> Result<Function, ValueError> { Err(ValueError::TooManyFunctions) };
        FromProgram::decode(line.as_bytes(), &mut { none }).map_err(|wrong| wrong.error)
    }

    #[test]
    fn what_is_said_of_a_channel_is_read() {
        let name = |unsigned, secret: Option<&'static str>| ChannelName {
            name: "news".to_owned(),
            unsigned,
            secret: secret.map(Bytes::from),
        };
        let line = r#"{"type":"publish","channel":"news","scope":"s","payload":"$$1","uid":1}"#;
        let request = ChannelRequest::Publish { scope: "s".to_owned(), payload: "$1".into() };
        assert_eq!(read(line), Ok(FromProgram::Channel { channel: name(false, None), request, uid: 1, within: None }));
        let line = r#"{"type":"subscribe","channel":"news","unsigned":true,"secret":"$bytes:eA==","window":4,"uid":2}"#;
        let request = ChannelRequest::Subscribe { scope: None, window: Some(4) };
        let channel = name(true, Some("x"));
        assert_eq!(read(line), Ok(FromProgram::Channel { channel, request, uid: 2, within: None }));
        for (line, why) in [
            (r#"{"type":"publish","channel":"news","uid":1}"#, "payload is missing"),
            (r#"{"type":"publish","channel":"news","payload":[1],"uid":1}"#, "payload is text or bytes, not array"),
            (r#"{"type":"leave","uid":1}"#, "channel is missing"),
            (r#"{"type":"subscribe","channel":"news"}"#, "uid is missing"),
        ] {
            assert_eq!(read(line).unwrap_err().message, why, "{line}");
        }
    }

    #[test]
    fn a_message_is_written_with_its_payload_as_a_value() {
        let item = |payload: Value| ChannelItem {
            publisher: Id::new(7),
            stream: 3,
            number: 2,
            sent: 5,
            scope: "$x".to_owned(),
            payload,
        };
        let written = |value: Value| body::encode(&value, &mut |_| Err(ValueError::TooManyFunctions)).unwrap();
        let rest = r#""publisher":"000000000007","scope":"$$x","sent":5,"stream":3"#;
        assert_eq!(written(item("$1".into()).into()), format!(r#"{{"number":2,"payload":"$$1",{rest}}}"#));
        assert_eq!(
            written(item(Bytes::from_static(b"\xff").into()).into()),
            format!(r#"{{"number":2,"payload":"$bytes:/w==",{rest}}}"#)
        );
        assert_eq!(written(lagged(4, Some(Id::new(7)))), r#"{"lagged":4,"publisher":"000000000007"}"#);
    }
}
