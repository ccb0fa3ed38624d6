//! The signalling server of Atoll: it introduces a node to its first neighbour, and is not needed after that.
//!
//! Nodes hold a WebSocket to it. It checks that a node holds the key of its id, tells it the ICE servers and some members of
//! its ring, and hands on the messages by which two nodes set up a link ([`atoll::signalling`] has them all). It sees who
//! wants to meet whom, but cannot listen in: the two ends of a link prove their keys to each other. To browsers it shows a page
//! that is a node of the ring itself.
//!
//! ```no_run
//! # async fn example() -> Result<(), atoll_signalling::BindError> {
//! use atoll_signalling::{Server, Settings};
//!
//! let server = Server::bind(Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() }).await?;
//! println!("nodes may connect to {}", server.url());
//! let handle = server.handle();
//! let running = tokio::spawn(server.serve());
//! handle.stop();
//! running.await.expect("the server does not panic");
//! # Ok(())
//! # }
//! ```
//!
//! Each connection is one task with an outbox that is bounded in bytes; nobody ever waits for another's connection. Every
//! limit is in [`Limits`]. What is over a limit or makes no sense is closed with a reason, and counted in `/metrics`.

mod bucket;
mod connection;
mod http;
mod metrics;
mod outbox;
mod page;
mod places;
mod registry;
mod server;
mod settings;

pub use page::{MAX_PAGE_BYTES, MAX_PAGE_FILES, PageSource};
pub use registry::{FOUNDING, MAX_DHT_NODES};
pub use server::{BindError, Server, ServerHandle};
pub use settings::{DEFAULT_PORT, Limits, MIN_MESSAGE_BYTES, SettingError, Settings};
