//! The daemon's door: how programs of one machine share a node, in lines of JSON.
//!
//! A program says [`FromProgram`], the node says [`FromNode`]; values are written as [`body`] describes. [`Session`] keeps account
//! of one program: its name, its requests, its functions, within [`limits`]. Nothing here knows sockets, clocks or threads; the
//! daemon of `node-cli` brings those. The messages one by one: `docs/daemon.md`.

pub mod body;
mod channel;
mod error;
pub mod limits;
mod lines;
mod node;
mod program;
mod session;

pub use channel::{ChannelItem, ChannelName, ChannelRequest, lagged};
pub use error::{DoorError, ErrorKind};
pub use lines::{LineTooLong, Lines};
pub use node::{Caller, ErrorBody, FromNode, Info, Payload, Status, raw};
pub use program::{FromProgram, Malformed, Target};
pub use session::{Refusal, Session};
