//! The daemon's door: how programs of one machine share a node, in lines of JSON.
//!
//! A program says [`FromProgram`], the node says [`FromNode`]; values are written as [`body`] describes. [`Session`] keeps account
//! of one program: its name, its requests, its functions, within [`limits`]. Nothing here knows sockets, clocks or threads; the
//! daemon of `node-cli` brings those. The messages one by one: `docs/daemon.md`.

#[cfg(feature = "messages")]
pub mod body;
#[cfg(feature = "messages")]
mod channel;
mod error;
#[cfg(feature = "messages")]
pub mod limits;
#[cfg(feature = "messages")]
mod lines;
#[cfg(feature = "messages")]
mod node;
#[cfg(feature = "messages")]
mod program;
#[cfg(feature = "messages")]
mod session;

#[cfg(feature = "messages")]
pub use channel::{ChannelItem, ChannelName, ChannelRequest, lagged};
pub use error::{DoorError, ErrorKind};
#[cfg(feature = "messages")]
pub use lines::{LineTooLong, Lines};
#[cfg(feature = "messages")]
pub use node::{Caller, ErrorBody, FromNode, Info, Payload, Status, raw};
#[cfg(feature = "messages")]
pub use program::{FromProgram, Malformed, Target};
#[cfg(feature = "messages")]
pub use session::{Refusal, Session};
