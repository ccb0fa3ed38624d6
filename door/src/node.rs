//! What the node says.

use atoll::object::{Shape, ValueError};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::body::{self, Offer};
use crate::error::{DoorError, ErrorKind};
use crate::limits::MAX_LINE;

/// A message of the node. Values in it are JSON already: [`body::encode`].
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum FromNode {
    /// The answer to the program's `hello`.
    Hello {
        /// Which node this is.
        info: Info,
    },
    /// The answer to a request.
    Response {
        /// Whether it succeeded.
        status: Status,
        /// The number of the request.
        uid: u64,
        /// Names.
        #[serde(skip_serializing_if = "Option::is_none")]
        list: Option<Vec<String>>,
        /// An object: its values, and its functions as `"$0"`.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<Box<RawValue>>,
        /// What the object says of itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        shape: Option<Box<Shape>>,
        /// A result, or a value.
        #[serde(skip_serializing_if = "Option::is_none")]
        ret: Option<Box<RawValue>>,
        /// What went wrong.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorBody>,
    },
    /// Somebody calls a function of the program.
    Call {
        /// The function, by the program's own number: `"$0"`.
        fun: String,
        /// A list.
        args: Box<RawValue>,
        /// To be repeated in the response.
        uid: u64,
        /// Milliseconds until nobody waits for the response any more.
        within: u64,
        /// Who calls.
        caller: Caller,
        /// The path by which it was called; empty for a function that was passed.
        path: String,
        /// How many results the program may give one by one until it is asked for [`More`](Self::More).
        window: usize,
    },
    /// So many more results of a call that gives many are taken.
    More {
        /// The number of the call.
        uid: u64,
        /// How many.
        count: usize,
    },
    /// One of many results of a call, or the newest of a watched value.
    Item {
        /// The number of the request.
        uid: u64,
        /// The result, or the value.
        value: Box<RawValue>,
    },
    /// Nothing follows: the end of a watch, or of a call with many results.
    End {
        /// The number of the request.
        uid: u64,
        /// Why, unless it is the proper end.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorBody>,
    },
    /// Nobody waits any more for the response to a call.
    Cancel {
        /// The number of the call.
        uid: u64,
    },
    /// Functions of the program that nobody can call any more: one entry for each time that they were written.
    Release {
        /// As they were written.
        funs: Vec<String>,
    },
    /// A line that is no message, or cannot be carried out and has no `uid`.
    Error {
        /// What is wrong with it.
        error: ErrorBody,
        /// The number of the request, if it could be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u64>,
    },
}

/// Which node this is.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// What to call it: its name in the ring, with its `@`; without one its id.
    pub name: String,
    /// Its id: from the hash of its key.
    pub hash: String,
    /// The version of the daemon.
    pub version: String,
}

/// Who calls.
#[derive(Debug, Clone, Serialize)]
pub struct Caller {
    /// Its id.
    pub id: String,
    /// Its public key: SubjectPublicKeyInfo in DER, as hexadecimal digits.
    pub key: String,
    /// Its name in the ring, with its `@`, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Whether a request succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did.
    Ok,
    /// There is an `error`.
    Error,
}

/// An error as it is written.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorBody {
    /// For programs.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
    /// What the function that failed says besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

/// What a request that succeeded gives.
#[derive(Debug, Clone, Default)]
pub enum Payload {
    /// Nothing but that it succeeded.
    #[default]
    Nothing,
    /// `list`
    List(Vec<String>),
    /// `body` and `shape`
    Body(Box<RawValue>, Box<Shape>),
    /// `ret`
    Ret(Box<RawValue>),
}

impl FromNode {
    /// A request succeeded.
    pub fn done(uid: u64, payload: Payload) -> Self {
        let (mut list, mut body, mut shape, mut ret) = (None, None, None, None);
        match payload {
            Payload::Nothing => {}
            Payload::List(names) => list = Some(names),
            Payload::Body(json, told) => (body, shape) = (Some(json), Some(told)),
            Payload::Ret(json) => ret = Some(json),
        }
        FromNode::Response { status: Status::Ok, uid, list, body, shape, ret, error: None }
    }

    /// A request did not succeed.
    pub fn failed(uid: u64, error: ErrorBody) -> Self {
        let (list, body, shape, ret) = (None, None, None, None);
        FromNode::Response { status: Status::Error, uid, list, body, shape, ret, error: Some(error) }
    }

    /// The line, with its end.
    ///
    /// # Errors
    /// It is longer than [`MAX_LINE`].
    pub fn encode(&self) -> Result<Vec<u8>, ValueError> {
        let mut line = serde_json::to_vec(self).expect("these are plain values");
        if line.len() > MAX_LINE {
            return Err(ValueError::TooLarge);
        }
        line.push(b'\n');
        Ok(line)
    }
}

impl ErrorBody {
    /// Writes an error. Data that cannot be written is left out.
    pub fn new(error: &DoorError, offer: &mut Offer<'_>) -> Self {
        let data = error.data.as_ref().and_then(|data| body::encode(data, offer).ok()).and_then(|json| raw(json).ok());
        ErrorBody { kind: error.kind, message: error.message.clone(), data }
    }
}

impl From<DoorError> for ErrorBody {
    /// Without its data.
    fn from(error: DoorError) -> Self {
        ErrorBody { kind: error.kind, message: error.message, data: None }
    }
}

/// JSON that [`body::encode`] wrote, to be part of a message.
///
/// # Errors
/// It is no JSON.
pub fn raw(json: String) -> Result<Box<RawValue>, ValueError> {
    RawValue::from_string(json).map_err(|_| ValueError::Malformed("not JSON"))
}
