//! The values that flags take, each parsed once into what it means.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use atoll::Id;
use atoll::ice::IceServer;
use atoll::record::{FileKey, Key, MAX_TTL, check_claim_name};
use url::Url;

/// The fewest links: two neighbours on each side of the ring, and room for it to change.
pub(crate) const MIN_LINKS: i64 = atoll::proto::Config::MIN_LINKS as i64;
/// The most links that a node may be told to keep.
pub(crate) const MAX_LINKS: i64 = 1024;
/// The most nodes that `up` starts in one process.
pub(crate) const MAX_NODES: i64 = 256;
/// The longest name of a network, in characters.
const MAX_NETWORK_CHARS: usize = 64;

/// Reads the address of a signalling server.
pub(crate) fn signalling_url(text: &str) -> Result<Url, String> {
    const WANTED: &str = "a signalling server is ws://HOST:PORT or wss://HOST";
    let url = Url::parse(text).map_err(|error| format!("{WANTED}; {error}"))?;
    match url.scheme() {
        "ws" | "wss" if url.has_host() => Ok(url),
        other => Err(format!("{WANTED}, and not {other}:")),
    }
}

/// Reads the name of a network.
pub(crate) fn network(name: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=MAX_NETWORK_CHARS).contains(&name.len()) && name.chars().all(allowed) {
        Ok(name.to_owned())
    } else {
        Err(format!("a network's name is 1 to {MAX_NETWORK_CHARS} of a-z A-Z 0-9 . _ -"))
    }
}

/// Reads where to listen: a port alone means 127.0.0.1.
pub(crate) fn local_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| "write a port, or an IP address and a port: 7000, 127.0.0.1:7000 or [::1]:7000".to_owned())
}

/// A TCP address to connect to: a host's name or its IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "write a port, or a host and a port: 22, localhost:22, 192.0.2.7:22 or [::1]:22";
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(WANTED)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
            Some(_) => return Err(WANTED),
            None if host.is_empty() => "127.0.0.1",
            None if host.contains([':', '/', '@', '[', ']']) || host.contains(char::is_whitespace) => {
                return Err(WANTED);
            }
            None => host,
        };
        Ok(Target { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A peer: `00f3a1b2c4d5` or `@alice`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Whoever holds this id.
    Id(Id),
    /// Whoever has this name, without its `@`.
    Name(String),
}

impl FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('@') {
            return name(text).map(Whom::Name);
        }
        text.parse().map(Whom::Id).map_err(|error| format!("{error}; a name begins with @"))
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whom::Id(id) => id.fmt(f),
            Whom::Name(name) => write!(f, "@{name}"),
        }
    }
}

/// Reads a name to claim, with or without its `@`.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix('@').unwrap_or(text);
    check_claim_name(name).map(|()| name.to_owned()).map_err(|error| error.to_string())
}

/// What `get` finds in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreKey {
    /// A file.
    File(FileKey),
    /// A value, or an entry of a node whose key is named.
    Record(Key),
    /// An entry of the node that holds a name.
    EntryOf {
        /// The name, without its `@`.
        holder: String,
        /// The entry.
        name: String,
    },
}

impl FromStr for StoreKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str =
            "a key is what put printed: 64 hexadecimal digits, file: and such, or KEY/NAME; or @name/NAME";
        if let Ok(file) = text.parse() {
            return Ok(StoreKey::File(file));
        }
        match text.strip_prefix('@').and_then(|rest| rest.split_once('/')) {
            Some((holder, name)) if check_claim_name(holder).is_ok() && !name.is_empty() => {
                Ok(StoreKey::EntryOf { holder: holder.to_owned(), name: name.to_owned() })
            }
            _ => match text.parse() {
                Ok(key @ (Key::Value(_) | Key::Entry { .. })) => Ok(StoreKey::Record(key)),
                _ => Err(WANTED),
            },
        }
    }
}

/// How long something is stored: `90s`, `10min`, `24h`; no longer than a record may live.
pub(crate) fn ttl(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "s" => Some(1),
        "min" | "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    match seconds.map(Duration::from_secs) {
        Some(ttl) if ttl > MAX_TTL => {
            Err(format!("a record lives for {} h at most; put it again in time", MAX_TTL.as_secs() / 3600))
        }
        Some(ttl) if !ttl.is_zero() => Ok(ttl),
        _ => Err("write a time: 90s, 10min or 24h".to_owned()),
    }
}

/// What `lookup` looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LookupKey {
    /// Where it stands on the ring.
    pub(crate) id: Id,
    /// The text whose hash the id is; `None` when the id itself was given.
    pub(crate) text: Option<String>,
}

impl FromStr for LookupKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(id) => Ok(LookupKey { id, text: None }),
            Err(_) if text.is_empty() => Err("write an id of 12 hexadecimal digits, or some text"),
            Err(_) => Ok(LookupKey { id: Id::hash(text), text: Some(text.to_owned()) }),
        }
    }
}

/// What one `--ice-server` gives: one server, or a list of them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct IceServers(pub(crate) Vec<IceServer>);

impl FromStr for IceServers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let servers = match text.trim_start().chars().next() {
            Some('{') => vec![from_json(text)?],
            Some('[') => from_json(text)?,
            _ => vec![IceServer { urls: vec![text.to_owned()], username: None, credential: None }],
        };
        servers.iter().try_for_each(check)?;
        Ok(IceServers(servers))
    }
}

/// Without the credentials.
impl fmt::Debug for IceServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|server| &server.urls)).finish()
    }
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text)
        .map_err(|error| format!(r#"an ICE server is {{"urls":"...","username":"...","credential":"..."}}; {error}"#))
}

/// What browsers refuse too (W3C WebRTC, section 4.4.1.1; RFC 7064, RFC 7065).
fn check(server: &IceServer) -> Result<(), String> {
    if server.urls.is_empty() {
        return Err("an ICE server needs at least one URL in \"urls\"".to_owned());
    }
    for url in &server.urls {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        let is_turn = matches!(scheme, "turn" | "turns");
        if !(is_turn || matches!(scheme, "stun" | "stuns")) || rest.is_empty() || rest.contains(char::is_whitespace) {
            return Err(format!("{url:?} is not the URL of an ICE server: stun:HOST:PORT or turn:HOST:PORT"));
        }
        if is_turn && (server.username.is_none() || server.credential.is_none()) {
            return Err(format!(r#"{url} needs credentials: {{"urls":"{url}","username":"...","credential":"..."}}"#));
        }
    }
    Ok(())
}

/// Messages a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number from 0.001 to 1000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_means_this_machine() {
        assert_eq!(local_address("7000").unwrap().to_string(), "127.0.0.1:7000");
        assert_eq!(local_address(":0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(local_address("[::1]:7000").unwrap().to_string(), "[::1]:7000");
        assert_eq!("22".parse::<Target>().unwrap().to_string(), "127.0.0.1:22");
    }

    #[test]
    fn a_target_is_a_host_and_a_port() {
        for good in ["localhost:22", "192.0.2.7:22", "[::1]:22", "a.example.org:65535"] {
            assert_eq!(good.parse::<Target>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "::1:22",
            "[x]:22",
            "http://a:22",
            "a b:22",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?} was taken for an address");
        }
        for bad in ["", "localhost:22", "65536", "127.0.0.1", "-1"] {
            assert!(local_address(bad).is_err(), "{bad:?} was taken for a local address");
        }
    }

    #[test]
    fn a_peer_is_an_id_or_a_name() {
        for good in ["00f3a1b2c4d5", "@alice", "@a.b-c_1"] {
            assert_eq!(good.parse::<Whom>().unwrap().to_string(), good);
        }
        for bad in ["", "@", "alice", "@Alice", "@a b", "00f3a1b2c4d"] {
            assert!(bad.parse::<Whom>().is_err(), "{bad:?} was taken for a peer");
        }
        assert_eq!((name("@alice"), name("alice")), (Ok("alice".to_owned()), Ok("alice".to_owned())));
        assert!(name("Alice").is_err());
    }

    #[test]
    fn a_key_of_the_store_is_a_hash_a_file_or_an_entry() {
        let hash = "0f".repeat(32);
        let key = atoll::Identity::generate().public();
        let entry = Key::Entry { writer: key, name: "a/b".to_owned() };
        assert!(matches!(hash.parse(), Ok(StoreKey::Record(Key::Value(_)))));
        assert!(matches!(format!("file:{hash}").parse(), Ok(StoreKey::File(_))));
        assert_eq!(entry.to_string().parse(), Ok(StoreKey::Record(entry)));
        let of = StoreKey::EntryOf { holder: "alice".to_owned(), name: "a/b".to_owned() };
        assert_eq!("@alice/a/b".parse(), Ok(of));
        for bad in ["", "0f", "@alice", "@alice/", "file:0f", "@A/b", "00/b"] {
            assert!(bad.parse::<StoreKey>().is_err(), "{bad:?} was taken for a key");
        }
    }

    #[test]
    fn a_time_has_a_unit_and_is_a_day_at_most() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!((ttl("10min"), ttl("24h")), (Ok(Duration::from_secs(600)), Ok(Duration::from_secs(86_400))));
        for bad in ["", "90", "0s", "h", "25h", "1.5h", "-1s", "99999999999999999999h"] {
            assert!(ttl(bad).is_err(), "{bad:?} was taken for a time");
        }
    }

    #[test]
    fn a_signalling_server_is_a_websocket_url() {
        assert_eq!(signalling_url("ws://127.0.0.1:9000").unwrap().as_str(), "ws://127.0.0.1:9000/");
        assert_eq!(signalling_url("wss://a.example.org/door?x=1").unwrap().host_str(), Some("a.example.org"));
        for bad in ["", "127.0.0.1:9000", "http://127.0.0.1:9000", "ws://", "ws:", "mailto:a@b.c"] {
            assert!(signalling_url(bad).is_err(), "{bad:?} was taken for a signalling server");
        }
    }

    #[test]
    fn what_is_looked_up_is_an_id_or_the_hash_of_a_text() {
        assert_eq!("00f3a1b2c4d5".parse(), Ok(LookupKey { id: Id::new(0x00f3_a1b2_c4d5), text: None }));
        assert_eq!("abc".parse(), Ok(LookupKey { id: Id::new(0xa999_3e36_4706), text: Some("abc".into()) }));
        assert!("".parse::<LookupKey>().is_err());
    }

    #[test]
    fn ice_servers_come_as_a_url_an_object_or_a_list() {
        let turn = r#"{"urls":["turn:t:3478?transport=udp","turns:t"],"username":"u","credential":"hush"}"#;
        let list = format!(r#"[{{"urls":"stun:s"}},{turn}]"#);
        assert_eq!("stun:s:3478".parse::<IceServers>().unwrap().0[0].urls, ["stun:s:3478"]);
        let servers = list.parse::<IceServers>().unwrap();
        assert_eq!((servers.0.len(), servers.0[1].credential.as_deref()), (2, Some("hush")));
        assert!(!format!("{servers:?}").contains("hush"));
    }

    #[test]
    fn an_ice_server_that_browsers_would_refuse_is_refused() {
        for (bad, said) in [
            ("", "not the URL"),
            ("stun:", "not the URL"),
            ("http://s", "not the URL"),
            ("turn:t", "needs credentials"),
            (r#"{"urls":[]}"#, "at least one URL"),
            (r#"{"url":"stun:s"}"#, "missing field `urls`"),
            (r#"[{"urls":"turn:t","username":"u"}]"#, "needs credentials"),
        ] {
            let error = bad.parse::<IceServers>().unwrap_err();
            assert!(error.contains(said), "{bad:?}: {error}");
        }
    }

    #[test]
    fn the_name_of_a_network_is_short_and_plain() {
        assert!(network("home.ring_1-a").is_ok());
        for bad in ["", "two words", "ümlaut", &"x".repeat(MAX_NETWORK_CHARS + 1)] {
            assert!(network(bad).is_err(), "{bad:?} was taken for a name");
        }
    }
}
