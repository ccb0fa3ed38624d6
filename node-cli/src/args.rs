//! Every verb and every flag, as clap parses them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use url::Url;

use crate::objects::Exec;
use crate::values::{self, IceServers, LookupKey, Target, Whom};

/// Start a ring, join it, dial a peer.
///
/// Settings are flags, variables (ATOLL_...) or lines of the settings file; a flag goes before a variable, a variable
/// before the file. `node-cli settings` shows what holds and where it comes from.
#[derive(Debug, Parser)]
#[command(name = "node-cli", version, propagate_version = true, infer_long_args = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,

    #[command(flatten)]
    pub(crate) node: NodeArgs,

    /// Print JSON, one object a line; errors too.
    #[arg(long, global = true, env = "ATOLL_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,

    /// Say more on standard error; -vv and -vvv say still more. RUST_LOG overrules it.
    #[arg(short, long, global = true, env = "ATOLL_VERBOSE", action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// The settings file, in TOML. Without it: ./atoll.toml, if there is one.
    #[arg(long, global = true, env = "ATOLL_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

/// What a node needs to know to join a ring.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The node")]
pub(crate) struct NodeArgs {
    /// A signalling server. Give several: any one that answers will do [default: ws://127.0.0.1:9000].
    #[arg(long, global = true, env = "ATOLL_SIGNALLING", value_name = "URL", value_delimiter = ',')]
    #[arg(value_parser = values::signalling_url, value_hint = ValueHint::Url)]
    pub(crate) signalling: Vec<Url>,

    /// The ring to join, where one server serves several [default: atoll].
    #[arg(long, global = true, env = "ATOLL_NETWORK", value_name = "NAME", value_parser = values::network)]
    pub(crate) network: Option<String>,

    /// The file with the secret that the network's members share.
    #[arg(long, global = true, env = "ATOLL_SECRET_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) secret_file: Option<PathBuf>,

    /// The file with the node's key, made by `node-cli key create`. Without it the node is a new one each time.
    #[arg(long, global = true, env = "ATOLL_KEY", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Option<PathBuf>,

    /// The file with the passphrase of the key file.
    #[arg(long, global = true, env = "ATOLL_PASSPHRASE_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// A STUN or TURN server: stun:HOST, or JSON {"urls":"turn:HOST","username":"...","credential":"..."}, or a list of
    /// such. May be given several times. Credentials are better kept in the settings file: others see the command line.
    #[arg(long, global = true, env = "ATOLL_ICE_SERVER", hide_env_values = true, value_name = "URL|JSON")]
    pub(crate) ice_server: Vec<IceServers>,

    /// A local address to make links from, such as 127.0.0.1. May be given several times; without it: those of all
    /// interfaces, and 127.0.0.1 where the signalling server is on this machine.
    #[arg(long, global = true, env = "ATOLL_BIND", value_name = "IP", value_delimiter = ',')]
    pub(crate) bind: Vec<IpAddr>,

    /// How many links the node keeps at most [default: 64].
    #[arg(long, global = true, env = "ATOLL_MAX_LINKS", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(values::MIN_LINKS..=values::MAX_LINKS))]
    pub(crate) max_links: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a signalling server and a ring of nodes, all in this process.
    Up(UpArgs),
    /// Join the ring and wait for peers that dial.
    Listen(ListenArgs),
    /// Open a socket to a peer, any number of hops away: standard input goes there, what comes goes to standard output.
    Dial(DialArgs),
    /// Show the ring as a member sees it.
    Status(StatusArgs),
    /// Show the finger table of a member.
    Fingers(StatusArgs),
    /// Find the node that owns a key.
    Lookup(LookupArgs),
    /// Show the hops to a peer.
    Trace(PeerArgs),
    /// Provide an object: values from a file, functions that run commands; or answer calls to a scope.
    Provide(ProvideArgs),
    /// List the services that a peer provides.
    Services(ServicesArgs),
    /// Read a value of a peer's service; or, given a key alone, what is stored in the ring.
    Get(GetArgs),
    /// Call a function of a peer's service, or what handles a scope.
    Call(CallArgs),
    /// Read a value of a peer's service, and each change of it.
    Watch(WatchArgs),
    /// Publish on a channel: one message, or each line of standard input.
    Pub(PubArgs),
    /// Print what is published on a channel.
    Sub(SubArgs),
    /// Store a file, or standard input, in the ring, and print its key.
    Put(PutArgs),
    /// Delete what is stored under a name of this node's own.
    Rm(RmArgs),
    /// Run a node that the programs of this machine share.
    Daemon(DaemonArgs),
    /// Make and show key files.
    #[command(subcommand)]
    Key(KeyVerb),
    /// Measure latency and throughput to a peer, beside those of a raw data channel.
    Bench(PeerArgs),
    /// Measure a channel among nodes of this process.
    BenchChannel(BenchChannelArgs),
    /// Show the settings that hold, and where each comes from.
    Settings,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// How many nodes.
    #[arg(long, env = "ATOLL_NODES", value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=values::MAX_NODES))]
    pub(crate) nodes: u16,

    /// Where the signalling server listens: a port, or an address and a port.
    #[arg(long, env = "ATOLL_DOOR", value_name = "ADDR", default_value = "127.0.0.1:9000")]
    #[arg(value_parser = values::local_address)]
    pub(crate) door: SocketAddr,

    /// Claim this name in the ring for the first node, while it runs: 1 to 63 of a-z 0-9 . _ -
    #[arg(long, env = "ATOLL_NAME", value_name = "NAME", value_parser = values::name)]
    pub(crate) name: Option<String>,

    /// Keep records of the ring's store in this directory, one for each node inside, so that they outlive the process [default: in memory alone].
    #[arg(long, env = "ATOLL_STORE", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Be a signalling server too, listening here: a port, or an address and a port.
    #[arg(long, env = "ATOLL_DOOR", value_name = "ADDR", value_parser = values::local_address)]
    pub(crate) door: Option<SocketAddr>,

    /// Claim this name in the ring, while the node runs: 1 to 63 of a-z 0-9 . _ -
    #[arg(long, env = "ATOLL_NAME", value_name = "NAME", value_parser = values::name)]
    pub(crate) name: Option<String>,

    /// Keep records of the ring's store in this directory, so that they outlive the process [default: in memory alone].
    #[arg(long, env = "ATOLL_STORE", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) answer: Answer,
}

/// What a peer that dials finds here.
#[derive(Debug, Args)]
#[group(multiple = false)]
#[command(next_help_heading = "What a peer that dials finds")]
pub(crate) struct Answer {
    /// Send back whatever comes [the default].
    #[arg(long)]
    pub(crate) echo: bool,

    /// Connect the first peer that dials with standard input and output.
    #[arg(long)]
    pub(crate) pipe: bool,

    /// Forward each socket to this TCP port: a port, or a host and a port.
    #[arg(long, value_name = "ADDR")]
    pub(crate) tcp: Option<Target>,
}

#[derive(Debug, Args)]
pub(crate) struct DialArgs {
    /// The peer: its id, 12 hexadecimal digits, or its @name.
    pub(crate) peer: Whom,

    /// Listen on this local TCP port, and open a socket to the peer for each connection: a port, or an address and a port.
    #[arg(long, value_name = "ADDR", value_parser = values::local_address)]
    pub(crate) tcp: Option<SocketAddr>,
}

/// How a command that works with objects or a channel reaches the ring.
#[derive(Debug, Args)]
#[command(next_help_heading = "The way to the ring")]
pub(crate) struct DoorArgs {
    /// The socket of the daemon to use [default: that of node-cli daemon, if one runs; without it a visit to the ring].
    #[arg(long, env = "ATOLL_SOCKET", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,

    /// Join the ring as a node of its own, also when a daemon runs.
    #[arg(long)]
    pub(crate) no_daemon: bool,

    /// How long a call, or joining a channel, may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ProvideArgs {
    /// The name of the service; it may be left out with --handle.
    #[arg(required_unless_present = "handle")]
    pub(crate) service: Option<String>,

    /// A file with a JSON object: its values. Text that begins with $ is written with $$, bytes as "$bytes:BASE64".
    // So `provide NAME --json FILE` reads the file, and prints JSON.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) object: Option<PathBuf>,

    /// A function and the command that it runs, by sh -c: arguments come on standard input as a JSON list, the result is
    /// expected on standard output as JSON. May be given several times.
    #[arg(long, value_name = "FUNCTION=COMMAND", requires = "service")]
    pub(crate) exec: Vec<Exec>,

    /// A scope, and the command that answers calls to it, here and at every address that the node owns: otherwise as --exec. May
    /// be given several times.
    #[arg(long, value_name = "SCOPE=COMMAND")]
    pub(crate) handle: Vec<Exec>,

    /// Claim this name in the ring, while it provides: 1 to 63 of a-z 0-9 . _ -
    // No variable: the one of the daemon may be set.
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) door: DoorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServicesArgs {
    /// The peer: its id, 12 hexadecimal digits, or its @name.
    pub(crate) peer: Whom,

    #[command(flatten)]
    pub(crate) door: DoorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The peer: its id, 12 hexadecimal digits, or its @name. Or a key of the store, as put printed it; or @name/NAME: what the node that
    /// holds the name stored under NAME.
    #[arg(value_name = "PEER|KEY")]
    pub(crate) from: String,

    /// The service, and where in it: Service, Service.a, Service.deep.x.
    #[arg(value_name = "SERVICE[.PATH]")]
    pub(crate) what: Option<String>,

    /// Write what is stored under the key into this file [default: standard output].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "what")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) door: DoorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The peer: its id, 12 hexadecimal digits, or its @name.
    pub(crate) peer: Whom,

    /// The service, and where in it: Service, Service.a, Service.deep.x.
    #[arg(value_name = "SERVICE[.PATH]")]
    pub(crate) what: String,

    #[command(flatten)]
    pub(crate) door: DoorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// What to store: a file, or - for standard input. Up to 64 KiB are one value, more is cut into blocks.
    #[arg(value_name = "FILE|-", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    /// Store it under a name of this node's own, of up to 128 bytes, in place of what was there. Needs --key.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// How long it is stored: 90s, 10min, 24h at most.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = values::ttl)]
    pub(crate) ttl: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The name under which this node stored it. Needs --key.
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The peer: its id, 12 hexadecimal digits, or its @name. For a scope any address: whoever is there, or owns it.
    pub(crate) peer: Whom,

    /// The service and its function: Service.echo, Service.deep.x.f; or a scope: sea:nearest.
    #[arg(value_name = "SERVICE.FUNCTION|SCOPE")]
    pub(crate) what: String,

    /// The arguments, each as JSON; a plain word is text.
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) args: Vec<String>,

    /// Print results one by one, as they come.
    #[arg(long)]
    pub(crate) stream: bool,

    #[command(flatten)]
    pub(crate) door: DoorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// The Unix socket that programs connect to [default: $XDG_RUNTIME_DIR/atoll/daemon.sock, or else
    /// ~/.atoll/daemon.sock].
    #[arg(long, env = "ATOLL_SOCKET", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,

    /// Let programs connect by WebSocket too, on this address of loopback: a port, or an address and a port.
    #[arg(long, value_name = "ADDR", value_parser = values::local_address)]
    pub(crate) websocket: Option<SocketAddr>,

    /// The file with the token that those must know; made where it is missing [default: the socket's with .token].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "websocket")]
    pub(crate) token_file: Option<PathBuf>,

    /// Claim this name in the ring, while the node runs: 1 to 63 of a-z 0-9 . _ -
    #[arg(long, env = "ATOLL_NAME", value_name = "NAME", value_parser = values::name)]
    pub(crate) name: Option<String>,

    /// Keep records of the ring's store in this directory, so that they outlive the process [default: in memory alone].
    #[arg(long, env = "ATOLL_STORE", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,
}

/// Which channel.
#[derive(Debug, Args)]
pub(crate) struct ChannelArgs {
    /// The channel's name.
    pub(crate) channel: String,

    /// The scope of the messages [default: none when publishing, all when subscribing].
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<String>,

    /// The channel without signatures: whoever publishes can pass for anybody.
    #[arg(long)]
    pub(crate) unsigned: bool,

    /// The file with the secret of a private channel: at least 16 random bytes.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) channel_secret_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) door: DoorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PubArgs {
    #[command(flatten)]
    pub(crate) channel: ChannelArgs,

    /// The message; - or nothing: each line of standard input is one.
    pub(crate) message: Option<String>,

    /// Publish so many messages: the one given again and again, or no more lines than that.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,

    /// Messages a second at most [default: as fast as it goes].
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) rate: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    pub(crate) channel: ChannelArgs,

    /// End after so many messages.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchChannelArgs {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=values::MAX_NODES))]
    pub(crate) nodes: u16,

    /// How many messages the first of them publishes.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) count: u64,

    /// Messages a second [default: as fast as it goes].
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) rate: Option<f64>,

    /// Bytes of a message.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(8..=15_360))]
    pub(crate) bytes: u16,

    /// A channel without signatures.
    #[arg(long)]
    pub(crate) unsigned: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LookupArgs {
    /// An id of 12 hexadecimal digits, or any other text: its hash is looked up.
    // Not named after the global flag --key: clap knows arguments by the names of their fields.
    #[arg(value_name = "TEXT|ID")]
    pub(crate) sought: LookupKey,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The member to ask: its id, 12 hexadecimal digits, or its @name. Without it: the one that this visit attaches to.
    pub(crate) peer: Option<Whom>,
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// The peer: its id, 12 hexadecimal digits, or its @name.
    pub(crate) peer: Whom,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Make a new key and write it to a file; with --passphrase-file it is encrypted.
    Create(KeyFileArgs),
    /// Show the id and the public key that a key file holds.
    Show(KeyFileArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeyFileArgs {
    /// The key file. Without it the one of --key.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}
