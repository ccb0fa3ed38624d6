//! Objects: another node's functions and values, used as if they were local.
//!
//! A node [provides](Object) objects under names; peers read their values, watch them change, and call their functions, over any
//! number of hops. Functions can be passed in arguments and results: they become remote functions.
//!
//! - A call is one stream of a session, named [`OBJECT`]: the request goes out in its first packet, the answer comes back, and
//!   nothing else. QUIC orders, paces and encrypts it, and tells either end when the other gives up.
//! - Everything in `value`, `codec`, `message` and `shape` is plain data and functions over bytes, without sockets or clocks: so
//!   fuzzers and browsers use it.
//! - Each limit is a constant of `limits` or a field of `Limits`.
//!
//! The tutorial, and the format on the wire: `docs/objects.md`.

mod codec;
mod de;
mod error;
mod limits;
mod message;
mod ser;
mod shape;
mod value;

pub use codec::{Handle, decode_plain, encode_plain};
pub use error::{ArgumentError, CallError, Failure, ProvideError};
pub use limits::{MAX_DEPTH, MAX_FAILURE_TEXT, MAX_FUNCTIONS, MAX_MESSAGE, MAX_NAME, MAX_PATH, MAX_VALUES};
pub use message::{Kind, OBJECT, Request, Target, Terms, decode_error, decode_value, encode_error};
pub use shape::{FunctionShape, Gives, Member, Shape, ValueShape};
pub use value::{Function, Value, ValueError};

#[cfg(feature = "net")]
mod access;
#[cfg(feature = "net")]
mod answer;
#[cfg(feature = "net")]
mod arguments;
#[cfg(feature = "net")]
mod core;
#[cfg(feature = "net")]
mod definition;
#[cfg(feature = "net")]
mod exports;
#[cfg(feature = "net")]
mod flow;
#[cfg(feature = "net")]
mod function;
#[cfg(feature = "net")]
mod held;
#[cfg(feature = "net")]
mod line;
#[cfg(feature = "net")]
mod load;
#[cfg(feature = "net")]
mod objects;
#[cfg(feature = "net")]
mod peer;
#[cfg(feature = "net")]
mod server;
#[cfg(feature = "net")]
mod service;
#[cfg(feature = "net")]
mod wire;

#[cfg(feature = "net")]
pub use self::{
    access::{Access, Caller},
    answer::{ByteStream, Results},
    arguments::Arguments,
    core::{MAX_SERVICES, NEAREST, Ring},
    definition::{MAX_OBJECT_DEPTH, Object},
    exports::TAKE_WITHIN,
    flow::WINDOWS,
    function::{Call, IntoReply, Items, Reply},
    held::RETURN_WITHIN,
    line::LOST_AFTER,
    load::{Limits, SMALL_REQUEST, SMALL_RESULT, WAITING},
    objects::Objects,
    peer::{DEFAULT_TIMEOUT, Names, Peer, PeerRef, Remote, Resolved},
    server::{LONGEST_CALL, REQUEST_WITHIN},
    service::Service,
};

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
#[cfg(feature = "net")]
mod tests;
