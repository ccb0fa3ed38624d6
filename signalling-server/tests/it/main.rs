//! A real server on loopback, with real clients and with hostile ones.

mod client;
mod hostile;
mod http;
mod limits;
mod program;
mod rings;
mod support;
