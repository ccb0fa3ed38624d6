//! How a server is set up, and every limit it keeps.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use atoll::ice::IceServer;
use atoll::signalling::MAX_MESSAGE_BYTES;

use crate::page::PageSource;

/// How a server is set up. `Settings::default()` is what `sig-server` runs with when told nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where to listen. Port 0 takes a free one. Default: 127.0.0.1:9000.
    pub listen: SocketAddr,
    /// The STUN and TURN servers that every node is told. Default: none.
    pub ice_servers: Vec<IceServer>,
    /// Whether `/dht` shows the rings to everybody who asks. Default: no.
    pub dht: bool,
    /// Web pages that may connect, as browsers send them in `Origin` (`https://example.org`). Empty: all. A native node sends no
    /// `Origin` and is not asked for one: this guards a server's places from foreign web pages, not from foreign programs.
    pub origins: Vec<String>,
    /// The names that this server is known by (`signal.example.org`, with `:port` where the URL has one). Empty: any. With names,
    /// a registration that was signed for another server is refused.
    pub hosts: Vec<String>,
    /// The page that browsers find at `/`. Default: the one that was built in.
    pub page: PageSource,
    /// What a node, an address, and all of them together may take.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            ice_servers: Vec::new(),
            dht: false,
            origins: Vec::new(),
            hosts: Vec::new(),
            page: PageSource::BuiltIn,
            limits: Limits::default(),
        }
    }
}

/// The port that a server listens on by default.
pub const DEFAULT_PORT: u16 = 9000;

/// What a node, an address, and all of them together may take. Above any of these a connection is closed with a reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections at one time. Default: 10,000, some 100 MB of memory.
    pub connections: usize,
    /// Connections at one time from one IPv4 address or one IPv6 /64. Default: 256. Behind a reverse proxy all nodes come from
    /// its address: limit them there and raise this.
    pub connections_per_address: usize,
    /// Networks at one time. A network exists while a node is registered in it. Default: 1024.
    pub networks: usize,
    /// The largest message in bytes, at most 64 KiB, the default.
    pub message_bytes: usize,
    /// Messages a second that one connection may send in the long run. Default: 50.
    pub messages_per_second: u32,
    /// Messages that one connection may send at once before [`Limits::messages_per_second`] counts. Default: 200: a node that
    /// joins sends some ten candidates to each of several members.
    pub burst: u32,
    /// Bytes that may wait for one connection to read them. Default: 256 KiB.
    pub pending_bytes: usize,
    /// From the first byte of TCP to the end of the registration. Default: 5 s.
    pub handshake: Duration,
    /// How often a silent connection is asked whether it still lives. Default: 20 s.
    pub ping_every: Duration,
    /// A connection not heard of for so long is dead. More than twice [`Limits::ping_every`]. Default: 50 s.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 10_000,
            connections_per_address: 256,
            networks: 1024,
            message_bytes: MAX_MESSAGE_BYTES,
            messages_per_second: 50,
            burst: 200,
            pending_bytes: 256 * 1024,
            handshake: Duration::from_secs(5),
            ping_every: Duration::from_secs(20),
            idle: Duration::from_secs(50),
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct SettingError {
    setting: &'static str,
    problem: &'static str,
}

/// The smallest message limit that a node can still set up a link with: a description of 12 KiB, escaped, in its envelope.
pub const MIN_MESSAGE_BYTES: usize = 16 * 1024;

impl Settings {
    /// Whether a server can work with these settings.
    pub fn check(&self) -> Result<(), SettingError> {
        let limits = &self.limits;
        let wrong = |setting, problem| Err(SettingError { setting, problem });
        if limits.message_bytes > MAX_MESSAGE_BYTES || limits.message_bytes < MIN_MESSAGE_BYTES {
            return wrong("message-bytes", "must lie between 16384 and 65536");
        }
        if limits.pending_bytes < 2 * limits.message_bytes {
            return wrong("pending-bytes", "must be at least twice message-bytes");
        }
        if limits.connections == 0 || limits.connections_per_address == 0 {
            return wrong("max-connections and max-connections-per-address", "must be at least 1");
        }
        if limits.networks == 0 {
            return wrong("max-networks", "must be at least 1");
        }
        if limits.messages_per_second == 0 || limits.burst == 0 {
            return wrong("messages-per-second and burst", "must be at least 1");
        }
        if limits.handshake.is_zero() || limits.ping_every.is_zero() {
            return wrong("handshake and ping-every", "must be longer than 0 s");
        }
        if limits.idle <= 2 * limits.ping_every {
            return wrong("idle", "must be longer than twice ping-every");
        }
        if self.ice_servers.len() > atoll::signalling::MAX_ICE_SERVERS
            || self.ice_servers.iter().any(|server| server.urls.len() > atoll::signalling::MAX_ICE_URLS)
        {
            return wrong("ice-servers", "may list at most 16 servers of at most 8 urls each");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_nonsense_is_refused() {
        assert_eq!(Settings::default().check(), Ok(()));
        let with = |limits: Limits| Settings { limits, ..Settings::default() }.check();
        assert!(with(Limits { message_bytes: MAX_MESSAGE_BYTES + 1, ..Limits::default() }).is_err());
        assert!(with(Limits { pending_bytes: 1, ..Limits::default() }).is_err());
        assert!(with(Limits { idle: Duration::from_secs(40), ..Limits::default() }).is_err());
        let error = with(Limits { networks: 0, ..Limits::default() }).unwrap_err();
        assert_eq!(error.to_string(), "max-networks must be at least 1");
    }
}
