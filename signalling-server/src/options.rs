//! What `sig-server` may be told: by a flag, else by an `ATOLL_*` variable, else by a line of the TOML file.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use atoll::ice::IceServer;
use atoll_signalling::{Limits, PageSource, Settings};
use clap::{Args, Parser};
use serde::Deserialize;

/// The signalling server of Atoll: it introduces a node to its first neighbour.
///
/// Nodes connect with a WebSocket on / or /ws; browsers find a page on / that is a node, too. GET /healthz says ok, /metrics is for
/// Prometheus, and /dht?network=NAME shows a ring as JSON if --dht allows it. Put a reverse proxy in front for TLS (wss://).
///
/// Each setting comes from its flag, else from its environment variable, else from the TOML file, where it has the name of the
/// flag: max-networks = 100.
#[derive(Debug, Parser)]
#[command(name = "sig-server", version)]
pub(crate) struct Command {
    /// Read settings from this TOML file
    #[arg(long, short, env = "ATOLL_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// Every setting, from one source. What the source does not say is `None`.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// Listen on this address; port 0 takes a free one [default: 127.0.0.1:9000]
    #[arg(long, short, env = "ATOLL_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// STUN and TURN servers for the nodes: URLs, or a JSON list as browsers take it [default: none]
    ///
    /// For example 'stun:stun.example.org:3478', or
    /// '[{"urls":"turn:turn.example.org","username":"u","credential":"c"}]'. In the file: [[ice-servers]] with urls, username, credential.
    #[arg(long, env = "ATOLL_ICE_SERVERS", hide_env_values = true, value_name = "URLS|JSON", value_parser = parse_ice_servers)]
    ice_servers: Option<IceServers>,
    /// Show the rings to everybody on /dht
    #[arg(long, env = "ATOLL_DHT", num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    dht: Option<bool>,
    /// Web pages that may connect, by their origin: scheme and host, and port if need be [default: all]
    #[arg(long, env = "ATOLL_ORIGINS", value_name = "ORIGIN,...", value_delimiter = ',')]
    origins: Option<Vec<String>>,
    /// Names (with :port, if the URL has one) of this server; registrations signed for others are refused [default: any]
    #[arg(long, env = "ATOLL_HOSTS", value_name = "HOST,...", value_delimiter = ',')]
    hosts: Option<Vec<String>>,
    /// The page for browsers: a folder such as browser/dist, or "off" [default: the page that was built in]
    #[arg(long, env = "ATOLL_PAGE", value_name = "FOLDER|off")]
    page: Option<PathBuf>,
    /// Connections at one time [default: 10000]
    #[arg(long, env = "ATOLL_MAX_CONNECTIONS", value_name = "N")]
    max_connections: Option<usize>,
    /// Connections at one time from one IPv4 address or IPv6 /64 [default: 256]
    #[arg(long, env = "ATOLL_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    max_connections_per_address: Option<usize>,
    /// Networks at one time [default: 1024]
    #[arg(long, env = "ATOLL_MAX_NETWORKS", value_name = "N")]
    max_networks: Option<usize>,
    /// The largest message [default: 65536]
    #[arg(long, env = "ATOLL_MESSAGE_BYTES", value_name = "BYTES")]
    message_bytes: Option<usize>,
    /// Messages a second from one connection, in the long run [default: 50]
    #[arg(long, env = "ATOLL_MESSAGES_PER_SECOND", value_name = "N")]
    messages_per_second: Option<u32>,
    /// Messages from one connection at once, before the rate counts [default: 200]
    #[arg(long, env = "ATOLL_BURST", value_name = "N")]
    burst: Option<u32>,
    /// Bytes that may wait for one connection to read them [default: 262144]
    #[arg(long, env = "ATOLL_PENDING_BYTES", value_name = "BYTES")]
    pending_bytes: Option<usize>,
    /// Time for the handshake, registering included [default: 5]
    #[arg(long, env = "ATOLL_HANDSHAKE", value_name = "SECONDS")]
    handshake: Option<Seconds>,
    /// How often a silent connection is asked whether it lives [default: 20]
    #[arg(long, env = "ATOLL_PING_EVERY", value_name = "SECONDS")]
    ping_every: Option<Seconds>,
    /// A connection silent for so long is closed [default: 50]
    #[arg(long, env = "ATOLL_IDLE", value_name = "SECONDS")]
    idle: Option<Seconds>,
    /// Print and log JSON, one object a line
    #[arg(long, env = "ATOLL_JSON", num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) json: Option<bool>,
}

impl Options {
    /// The settings in a TOML file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        toml::from_str(&text).or_else(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            bail!("{name}, line {line}: {}", error.message())
        })
    }

    /// These, and where they say nothing, the others.
    pub(crate) fn or(self, others: Options) -> Options {
        Options {
            listen: self.listen.or(others.listen),
            ice_servers: self.ice_servers.or(others.ice_servers),
            dht: self.dht.or(others.dht),
            origins: self.origins.or(others.origins),
            hosts: self.hosts.or(others.hosts),
            page: self.page.or(others.page),
            max_connections: self.max_connections.or(others.max_connections),
            max_connections_per_address: self.max_connections_per_address.or(others.max_connections_per_address),
            max_networks: self.max_networks.or(others.max_networks),
            message_bytes: self.message_bytes.or(others.message_bytes),
            messages_per_second: self.messages_per_second.or(others.messages_per_second),
            burst: self.burst.or(others.burst),
            pending_bytes: self.pending_bytes.or(others.pending_bytes),
            handshake: self.handshake.or(others.handshake),
            ping_every: self.ping_every.or(others.ping_every),
            idle: self.idle.or(others.idle),
            json: self.json.or(others.json),
        }
    }

    pub(crate) fn into_settings(self) -> Settings {
        let (settings, limits) = (Settings::default(), Limits::default());
        let time = |given: Option<Seconds>, default| given.map_or(default, |seconds| seconds.0);
        Settings {
            listen: self.listen.unwrap_or(settings.listen),
            ice_servers: self.ice_servers.map_or(settings.ice_servers, |servers| servers.0),
            dht: self.dht.unwrap_or(settings.dht),
            origins: self.origins.unwrap_or(settings.origins),
            hosts: self.hosts.unwrap_or(settings.hosts),
            page: self.page.map_or(settings.page, page_source),
            limits: Limits {
                connections: self.max_connections.unwrap_or(limits.connections),
                connections_per_address: self.max_connections_per_address.unwrap_or(limits.connections_per_address),
                networks: self.max_networks.unwrap_or(limits.networks),
                message_bytes: self.message_bytes.unwrap_or(limits.message_bytes),
                messages_per_second: self.messages_per_second.unwrap_or(limits.messages_per_second),
                burst: self.burst.unwrap_or(limits.burst),
                pending_bytes: self.pending_bytes.unwrap_or(limits.pending_bytes),
                handshake: time(self.handshake, limits.handshake),
                ping_every: time(self.ping_every, limits.ping_every),
                idle: time(self.idle, limits.idle),
            },
        }
    }
}

/// A time in seconds, with a fraction if need be.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
struct Seconds(Duration);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        Duration::try_from_secs_f64(seconds).map(Seconds).map_err(|_| format!("{seconds} is not a number of seconds"))
    }
}

impl std::str::FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<f64>().map_err(|_| "not a number of seconds".to_owned())?.try_into()
    }
}

/// The word `off`, or a folder; one of that name is `./off`.
fn page_source(given: PathBuf) -> PageSource {
    if given.as_os_str() == "off" { PageSource::Off } else { PageSource::Folder(given) }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct IceServers(Vec<IceServer>);

fn parse_ice_servers(text: &str) -> Result<IceServers, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let urls = text.split_whitespace().map(str::to_owned);
    Ok(IceServers(urls.map(|url| IceServer { urls: vec![url], username: None, credential: None }).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(flags: &[&str]) -> Options {
        let command = Command::try_parse_from(std::iter::once("sig-server").chain(flags.iter().copied()));
        command.unwrap_or_else(|error| panic!("{flags:?}: {error}")).options
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let file: Options = toml::from_str("max-networks = 7\nburst = 9\ndht = true\nidle = 120.5").unwrap();
        let settings = flags(&["--burst", "11", "--dht", "false"]).or(file).into_settings();
        assert_eq!((settings.limits.burst, settings.limits.networks, settings.dht), (11, 7, false));
        assert_eq!(settings.limits.idle, Duration::from_millis(120_500));
        assert_eq!(settings.limits.message_bytes, Limits::default().message_bytes);
    }

    #[test]
    fn told_nothing_it_runs_with_the_defaults() {
        assert_eq!(Options::default().into_settings(), Settings::default());
    }

    #[test]
    fn the_page_is_a_folder_or_off() {
        assert_eq!(flags(&["--page", "off"]).into_settings().page, PageSource::Off);
        let file: Options = toml::from_str("page = \"browser/dist\"").unwrap();
        assert_eq!(file.into_settings().page, PageSource::Folder("browser/dist".into()));
    }

    #[test]
    fn ice_servers_are_urls_or_json_or_tables() {
        let urls = flags(&["--ice-servers", "stun:a:1 stun:b:2"]).into_settings().ice_servers;
        assert_eq!(urls.iter().flat_map(|server| &server.urls).collect::<Vec<_>>(), ["stun:a:1", "stun:b:2"]);
        let turn = IceServer { urls: vec!["turn:a".into()], username: Some("u".into()), credential: Some("c".into()) };
        let json = flags(&["--ice-servers", r#"[{"urls":"turn:a","username":"u","credential":"c"}]"#]);
        assert_eq!(json.into_settings().ice_servers.first(), Some(&turn));
        let file = "[[ice-servers]]\nurls = [\"turn:a\"]\nusername = \"u\"\ncredential = \"c\"";
        assert_eq!(toml::from_str::<Options>(file).unwrap().into_settings().ice_servers, [turn]);
    }

    #[test]
    fn a_word_that_the_file_may_not_have_is_refused() {
        let error = toml::from_str::<Options>("max-networks = 7\nmax-nodes = 1").unwrap_err();
        assert!(error.message().contains("max-nodes"), "{error}");
        assert!(toml::from_str::<Options>("idle = -1").is_err());
    }
}
