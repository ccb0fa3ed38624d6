//! The messages of calls. A call is one stream: a request, then the frames of the answer.
//!
//! A request is its length (4 bytes, big-endian) and a CBOR array: a number that says what is asked for, its [`Terms`], and what
//! belongs to it. A frame of the answer is its kind (1 byte), its length (4 bytes, big-endian) and that many
//! bytes: CBOR, or, in a chunk, bytes as they are.

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{Decoder, Encoder, Handle};
use super::error::CallError;
use super::limits::{MAX_MESSAGE, MAX_NAME, MAX_PATH, MAX_VALUES};
use super::value::{Function, Value, ValueError};

/// The name of the streams that carry calls.
pub const OBJECT: &str = "atoll/object/1";

/// Bytes before the body of a request.
pub(crate) const REQUEST_HEAD: usize = 4;

/// Entries that every request begins with: what is asked for, and the two terms.
const HEAD_ENTRIES: usize = 3;

/// Bytes before the body of a frame of the answer.
pub(crate) const FRAME_HEAD: usize = 5;

/// What is called.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The function at a path of a service.
    Member {
        /// The service.
        service: String,
        /// Where in it.
        path: String,
    },
    /// A function that the receiver had passed to the sender.
    Function(u64),
    /// The handler of a scope.
    Scope(String),
}

/// What is asked of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Call a function.
    Call {
        /// Which.
        target: Target,
        /// With these.
        arguments: Vec<Value>,
    },
    /// Read a value.
    Get {
        /// The service.
        service: String,
        /// Where in it.
        path: String,
    },
    /// Tell a value, and each change of it.
    Watch {
        /// The service.
        service: String,
        /// Where in it.
        path: String,
    },
    /// Tell the names of the services.
    Services,
    /// Tell the shape of a service.
    Describe {
        /// The service.
        service: String,
    },
    /// The sender holds functions of the receiver: which it took and which it released follows on this stream.
    Hold,
    /// Answer at once: is anybody there?
    Ping,
}

/// How a request is to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Milliseconds that it may take.
    pub within_ms: u64,
    /// Bytes of many results that the caller takes until it says that it takes more; 0: all, as they come.
    pub window: u64,
}

/// What a caller with a [window](Terms::window) sends after its request, in 4 bytes, big-endian: how many bytes more it takes. 0
/// asks for the next change of a watched value.
#[cfg(feature = "net")]
pub(crate) const MORE: usize = 4;

/// The numbers of requests.
mod asks {
    pub(super) const CALL: u64 = 0;
    pub(super) const CALL_FUNCTION: u64 = 1;
    pub(super) const CALL_SCOPE: u64 = 2;
    pub(super) const GET: u64 = 3;
    pub(super) const WATCH: u64 = 4;
    pub(super) const SERVICES: u64 = 5;
    pub(super) const DESCRIBE: u64 = 6;
    pub(super) const HOLD: u64 = 7;
    pub(super) const PING: u64 = 8;
}

type Offer<'a> = &'a mut dyn FnMut(&Function) -> Result<Handle, ValueError>;
type Take<'a> = &'a mut dyn FnMut(Handle) -> Result<Function, ValueError>;

impl Request {
    /// The request with its length before it. `offer` finds the handles of functions.
    pub fn encode(&self, terms: Terms, offer: Offer<'_>) -> Result<BytesMut, ValueError> {
        let mut out = BytesMut::with_capacity(128);
        out.put_bytes(0, REQUEST_HEAD);
        let mut encoder = Encoder::new(out, offer);
        let mut begin = |ask, more: usize| {
            encoder.array(HEAD_ENTRIES + more)?;
            encoder.number(ask)?;
            encoder.number(terms.within_ms)?;
            encoder.number(terms.window)
        };
        match self {
            Request::Call { target, arguments } => {
                match target {
                    Target::Member { service, path } => {
                        begin(asks::CALL, 3)?;
                        encoder.text(service)?;
                        encoder.text(path)?;
                    }
                    Target::Function(handle) => {
                        begin(asks::CALL_FUNCTION, 2)?;
                        encoder.number(*handle)?;
                    }
                    Target::Scope(scope) => {
                        begin(asks::CALL_SCOPE, 2)?;
                        encoder.text(scope)?;
                    }
                }
                encoder.array(arguments.len())?;
                for argument in arguments {
                    encoder.value(argument)?;
                }
            }
            Request::Get { service, path } | Request::Watch { service, path } => {
                begin(if matches!(self, Request::Get { .. }) { asks::GET } else { asks::WATCH }, 2)?;
                encoder.text(service)?;
                encoder.text(path)?;
            }
            Request::Services => begin(asks::SERVICES, 0)?,
            Request::Describe { service } => {
                begin(asks::DESCRIBE, 1)?;
                encoder.text(service)?;
            }
            Request::Hold => begin(asks::HOLD, 0)?,
            Request::Ping => begin(asks::PING, 0)?,
        }
        let mut out = encoder.finish();
        let length = u32::try_from(out.len() - REQUEST_HEAD).map_err(|_| ValueError::TooLarge)?;
        out[..REQUEST_HEAD].copy_from_slice(&length.to_be_bytes());
        Ok(out)
    }

    /// Reads the body of a request, without its length.
    pub fn decode(body: &Bytes, take: Take<'_>) -> Result<(Request, Terms), ValueError> {
        let mut decoder = Decoder::new(body)?;
        let Some(length) = decoder.array()?.checked_sub(HEAD_ENTRIES) else {
            return Err(ValueError::Malformed("a request has a number, a time and a window"));
        };
        let ask = decoder.number()?;
        let terms = Terms { within_ms: decoder.number()?, window: decoder.number()? };
        let request = match (ask, length) {
            (asks::CALL, 3) => {
                let (service, path) = (decoder.text(MAX_NAME)?.to_owned(), decoder.text(MAX_PATH)?.to_owned());
                let target = Target::Member { service, path };
                Request::Call { target, arguments: arguments(&mut decoder, take)? }
            }
            (asks::CALL_FUNCTION, 2) => {
                let target = Target::Function(decoder.number()?);
                Request::Call { target, arguments: arguments(&mut decoder, take)? }
            }
            (asks::CALL_SCOPE, 2) => {
                let target = Target::Scope(decoder.text(MAX_NAME)?.to_owned());
                Request::Call { target, arguments: arguments(&mut decoder, take)? }
            }
            (asks::GET | asks::WATCH, 2) => {
                let (service, path) = (decoder.text(MAX_NAME)?.to_owned(), decoder.text(MAX_PATH)?.to_owned());
                if ask == asks::GET { Request::Get { service, path } } else { Request::Watch { service, path } }
            }
            (asks::SERVICES, 0) => Request::Services,
            (asks::DESCRIBE, 1) => Request::Describe { service: decoder.text(MAX_NAME)?.to_owned() },
            (asks::HOLD, 0) => Request::Hold,
            (asks::PING, 0) => Request::Ping,
            _ => return Err(ValueError::Malformed("it asks for something that is not known here")),
        };
        decoder.finish()?;
        Ok((request, terms))
    }
}

fn arguments(decoder: &mut Decoder<'_>, take: Take<'_>) -> Result<Vec<Value>, ValueError> {
    let length = decoder.array()?;
    let mut arguments = Vec::with_capacity(length.min(MAX_VALUES));
    for _ in 0..length {
        arguments.push(decoder.claimed_value(take)?);
    }
    Ok(arguments)
}

/// The kinds of frames of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The result, which is all.
    Value = 0,
    /// Items follow, then an end.
    Items = 1,
    /// Chunks follow, then an end.
    Bytes = 2,
    /// One of many values.
    Item = 3,
    /// Some of the bytes.
    Chunk = 4,
    /// No more follow.
    End = 5,
    /// It did not succeed; nothing follows.
    Error = 6,
}

impl Kind {
    /// The kind and the length of a frame.
    pub fn decode(head: [u8; FRAME_HEAD]) -> Result<(Kind, usize), ValueError> {
        let [kind, length @ ..] = head;
        let kind = match kind {
            0 => Kind::Value,
            1 => Kind::Items,
            2 => Kind::Bytes,
            3 => Kind::Item,
            4 => Kind::Chunk,
            5 => Kind::End,
            6 => Kind::Error,
            _ => return Err(ValueError::Malformed("a frame of a kind that is not known here")),
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_MESSAGE { Err(ValueError::TooLarge) } else { Ok((kind, length)) }
    }

    /// What stands before so many bytes of this kind.
    pub(crate) fn head(self, length: usize) -> [u8; FRAME_HEAD] {
        let length = u32::try_from(length).expect("a frame is at most MAX_MESSAGE long").to_be_bytes();
        [self as u8, length[0], length[1], length[2], length[3]]
    }

    /// A whole frame with a value: a result or an item.
    pub fn encode_value(self, value: &Value, offer: Offer<'_>) -> Result<BytesMut, ValueError> {
        self.encode_with(offer, |encoder| encoder.value(value))
    }

    fn encode_with(
        self,
        offer: Offer<'_>,
        write: impl FnOnce(&mut Encoder<'_>) -> Result<(), ValueError>,
    ) -> Result<BytesMut, ValueError> {
        let mut out = BytesMut::with_capacity(128);
        out.put_bytes(0, FRAME_HEAD);
        let mut encoder = Encoder::new(out, offer);
        write(&mut encoder)?;
        let mut out = encoder.finish();
        let head = self.head(out.len() - FRAME_HEAD);
        out[..FRAME_HEAD].copy_from_slice(&head);
        Ok(out)
    }
}

/// Reads the body of a result or an item.
pub fn decode_value(body: &Bytes, take: Take<'_>) -> Result<Value, ValueError> {
    let mut decoder = Decoder::new(body)?;
    let value = decoder.value(take)?;
    decoder.finish()?;
    Ok(value)
}

/// A whole frame that tells an error. Data that cannot be sent is left out.
pub fn encode_error(error: &CallError, offer: Offer<'_>) -> BytesMut {
    let write = |error: &CallError, data: Option<&Value>, offer: Offer<'_>| {
        Kind::Error.encode_with(offer, |encoder| {
            encoder.array(if data.is_some() { 3 } else { 2 })?;
            encoder.number(error.code())?;
            encoder.text(&error.text())?;
            data.map_or(Ok(()), |data| encoder.value(data))
        })
    };
    write(error, error.data(), &mut *offer)
        .or_else(|_| write(error, None, offer))
        .expect("a number and a text of bounded length fit into a message")
}

/// Reads the body of an error.
pub fn decode_error(body: &Bytes, take: Take<'_>) -> Result<CallError, ValueError> {
    let mut decoder = Decoder::new(body)?;
    let length = decoder.array()?;
    if !(2..=3).contains(&length) {
        return Err(ValueError::Malformed("an error has a number and a text"));
    }
    let (code, text) = (decoder.number()?, decoder.text(MAX_MESSAGE)?.to_owned());
    let data = if length == 3 { Some(decoder.value(take)?) } else { None };
    decoder.finish()?;
    Ok(CallError::told(code, text, data))
}
