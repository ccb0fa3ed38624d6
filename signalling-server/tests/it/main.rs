//! A real server on loopback, with real clients and with hostile ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod hostile;
mod http;
mod limits;
mod page;
mod program;
mod rings;
mod support;
