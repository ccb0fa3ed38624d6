//! Every message of signalling, what it means, and how it is read.

use serde::{Deserialize, Serialize};

use crate::ice::IceServer;
use crate::id::Id;
use crate::key::{Identity, KeyError, PeerKey, Purpose, SIGNATURE_BYTES};
use crate::signalling::text::{Hex, Payload};
use crate::signalling::{
    MAX_DEPTH, MAX_HOST_BYTES, MAX_ICE_SERVERS, MAX_ICE_URLS, MAX_LINKS, MAX_MEMBERS, MAX_MESSAGE_BYTES,
    MAX_NETWORK_CHARS, MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES, MAX_VERSIONS, NONCE_BYTES, VERSION,
};
use crate::wire::{Dial, MAX_ALTERNATIVES, MAX_DESCRIPTION, MAX_SUCCESSORS, Role, Step};

/// What a node says to a server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum NodeMessage {
    /// Who the node is, with proof. The first message, and never again.
    Register(Box<Register>),
    /// Name me other members to join through. Answered by [`ServerMessage::Members`].
    FindMembers,
    /// How the node sees the ring. To be sent when that changes.
    Status(Status),
    /// Hand this on to another node of the same network.
    Relay(RelayTo),
}

impl NodeMessage {
    /// The message in this text, if it is one and keeps to every limit.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let message = match type_of(text)?.as_str() {
            "register" => NodeMessage::Register(read(text)?),
            "find-members" => NodeMessage::FindMembers,
            "status" => NodeMessage::Status(read(text)?),
            "relay" => NodeMessage::Relay(read(text)?),
            other => return Err(ParseError::unknown(other)),
        };
        match &message {
            NodeMessage::Register(register) => register.check()?,
            NodeMessage::Status(status) => status.check()?,
            NodeMessage::Relay(relay) => check_payload(&relay.payload)?,
            NodeMessage::FindMembers => {}
        }
        Ok(message)
    }

    /// The message as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a message has only string keys")
    }
}

/// What a server says to a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ServerMessage {
    /// Prove who you are. The first message on every connection.
    Challenge(Challenge),
    /// You are registered.
    Welcome(Box<Welcome>),
    /// Members to join through: the answer to [`NodeMessage::FindMembers`].
    Members(MemberList),
    /// Another node of the same network sent this.
    Relay(RelayFrom),
    /// What you sent could not be handed on.
    Undeliverable(Undelivered),
    /// Something is wrong. The server closes the connection after it.
    Error(ServerError),
}

impl ServerMessage {
    /// The message in this text, if it is one and keeps to every limit.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut message = match type_of(text)?.as_str() {
            "challenge" => ServerMessage::Challenge(read(text)?),
            "welcome" => ServerMessage::Welcome(read(text)?),
            "members" => ServerMessage::Members(read(text)?),
            "relay" => ServerMessage::Relay(read(text)?),
            "undeliverable" => ServerMessage::Undeliverable(read(text)?),
            "error" => ServerMessage::Error(read(text)?),
            other => return Err(ParseError::unknown(other)),
        };
        match &mut message {
            ServerMessage::Challenge(challenge) => {
                within(challenge.versions.len(), MAX_VERSIONS, "versions")?;
                within(challenge.server.len(), MAX_TEXT_BYTES, "server")?;
            }
            ServerMessage::Welcome(welcome) => welcome.check()?,
            ServerMessage::Members(list) => within(list.members.len(), MAX_MEMBERS, "members")?,
            ServerMessage::Relay(relay) => check_payload(&relay.payload)?,
            ServerMessage::Undeliverable(_) => {}
            ServerMessage::Error(refusal) => refusal.message = shortened(&refusal.message),
        }
        Ok(message)
    }

    /// The message as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a message has only string keys")
    }
}

/// A random number to sign, and what the server speaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    /// The versions of this protocol that the server speaks. The node picks one.
    pub versions: Vec<u16>,
    /// Never the same twice: a signature overheard on one connection is worthless on another.
    pub nonce: Hex<NONCE_BYTES>,
    /// The server's software and version, for the log.
    pub server: String,
}

/// Who a node is, with proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// The version that the node picked.
    pub version: u16,
    /// The ring it belongs to on this server.
    pub network: String,
    /// Its public key; its id follows from it.
    pub key: PeerKey,
    /// The key's signature over [`Register::proof`].
    pub signature: Hex<SIGNATURE_BYTES>,
    /// What it is in the ring.
    pub role: Role,
    /// The host, and the port if there is one, that the node dialled. Under the signature: a server that knows its own names takes
    /// no registration that another server obtained by passing on its challenge.
    pub host: String,
    /// How it sees the ring, if it is in one already: after a reconnect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

impl Register {
    /// The registration of `identity` in answer to a challenge.
    pub fn sign(
        identity: &Identity,
        nonce: &Hex<NONCE_BYTES>,
        network: &str,
        role: Role,
        host: &str,
        status: Option<Status>,
    ) -> Self {
        let proof = Self::proof(nonce, VERSION, network, role, host);
        Register {
            version: VERSION,
            network: network.to_owned(),
            key: identity.public(),
            signature: Hex(identity.sign(Purpose::Signalling, &proof)),
            role,
            host: host.to_owned(),
            status,
        }
    }

    /// Whether the holder of the key signed this registration for this challenge.
    pub fn verify(&self, nonce: &Hex<NONCE_BYTES>) -> Result<(), KeyError> {
        let proof = Self::proof(nonce, self.version, &self.network, self.role, &self.host);
        self.key.verify(Purpose::Signalling, &proof, &self.signature.0)
    }

    /// The bytes that are signed: the nonce, the version (2 bytes, most significant first), the role (`m` or `l`), then the
    /// network and the host, each after its length in 2 bytes.
    pub fn proof(nonce: &Hex<NONCE_BYTES>, version: u16, network: &str, role: Role, host: &str) -> Vec<u8> {
        let role = match role {
            Role::Member => b'm',
            Role::Leaf => b'l',
        };
        let mut proof = nonce.0.to_vec();
        proof.extend(version.to_be_bytes());
        proof.push(role);
        for text in [network, host] {
            proof.extend((text.len() as u16).to_be_bytes());
            proof.extend(text.as_bytes());
        }
        proof
    }

    fn check(&self) -> Result<(), ParseError> {
        if !is_network_name(&self.network) {
            return Err(ParseError::Field("network"));
        }
        within(self.host.len(), MAX_HOST_BYTES, "host")?;
        self.status.as_ref().map_or(Ok(()), Status::check)
    }
}

/// Whether a network may have this name: 1 to [`MAX_NETWORK_CHARS`] of `a-z A-Z 0-9 . _ -`.
pub fn is_network_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_NETWORK_CHARS).contains(&name.len()) && name.chars().all(allowed)
}

/// How a node sees the ring. Others may be introduced to it once it is a member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Whether it is a member of the ring: has founded it, or joined it.
    pub member: bool,
    /// Its predecessor, if it knows one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Id>,
    /// Its successors, the next one first.
    pub successors: Vec<Id>,
    /// Whom it has links with.
    pub links: Vec<Id>,
}

impl Status {
    fn check(&self) -> Result<(), ParseError> {
        within(self.successors.len(), MAX_SUCCESSORS, "successors")?;
        within(self.links.len(), MAX_LINKS, "links")
    }
}

/// You are registered; this is what you need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The id that the server computed from the key.
    pub id: Id,
    /// The servers to gather candidates from.
    pub ice_servers: Vec<IceServer>,
    /// Members of the ring, or whether to found it.
    #[serde(flatten)]
    pub list: MemberList,
    /// What the server takes from a node.
    pub limits: Limits,
}

impl Welcome {
    fn check(&self) -> Result<(), ParseError> {
        within(self.list.members.len(), MAX_MEMBERS, "members")?;
        within(self.ice_servers.len(), MAX_ICE_SERVERS, "ice_servers")?;
        self.ice_servers.iter().try_for_each(|server| within(server.urls.len(), MAX_ICE_URLS, "urls"))
    }
}

/// Through whom to join.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemberList {
    /// There is no ring yet and this node is the one to found it. Of simultaneous first comers only one is told so.
    pub found: bool,
    /// A random handful of members, at most [`MAX_MEMBERS`]; the designated founder where there are none.
    pub members: Vec<Member>,
}

/// A node to join through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id: where to send link set-up messages.
    pub id: Id,
}

/// What a server takes from one node. Above that it closes the connection, so a node keeps below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest message, in bytes.
    pub message_bytes: usize,
    /// Messages a second in the long run.
    pub messages_per_second: u32,
    /// Messages that may come at once.
    pub burst: u32,
}

/// For another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayTo {
    /// For whom.
    pub to: Id,
    /// What: any JSON, at most [`MAX_PAYLOAD_BYTES`]. Nodes send a [`Dial`].
    pub payload: Payload,
}

/// From another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayFrom {
    /// From whom. The server vouches for it; the link will prove it.
    pub from: Id,
    /// What that node sent.
    pub payload: Payload,
}

impl RelayTo {
    /// The next step of setting up a link, for another node.
    pub fn dial(to: Id, dial: &Dial) -> Self {
        RelayTo { to, payload: Payload::of(dial).expect("a step of dialling has only string keys") }
    }
}

impl RelayFrom {
    /// The step of setting up a link in it; `None` where it is none, or one larger than it may be.
    pub fn dial(&self) -> Option<Dial> {
        let dial: Dial = self.payload.read()?;
        let fits = match &dial.step {
            Step::Refuse { alternatives, .. } => alternatives.len() <= MAX_ALTERNATIVES,
            Step::Describe(description) => description.len() <= MAX_DESCRIPTION,
            Step::Request { .. } => true,
            // The server relays to nodes, not to keys.
            Step::Seek { .. } => false,
        };
        fits.then_some(dial)
    }
}

/// A message that could not be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// For whom it was.
    pub to: Id,
    /// Why.
    pub reason: UndeliveredReason,
}

/// Why a message could not be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UndeliveredReason {
    /// No node with this id is registered in the network.
    NotHere,
    /// The node reads too slowly: it is being closed.
    Busy,
    /// A reason that this version does not know.
    #[serde(other)]
    Other,
}

/// Why the server closes the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerError {
    /// For programs.
    pub code: ErrorCode,
    /// For humans: what happened and what to do.
    pub message: String,
}

/// Why a server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The message is no message: not JSON, not text, an unknown type, a field out of its range.
    BadMessage,
    /// The message is larger than the server takes.
    TooLarge,
    /// Too many messages a second.
    TooFast,
    /// The handshake, registering included, took too long.
    HandshakeTimeout,
    /// Messages for this node pile up: it reads too slowly.
    SlowReader,
    /// Nothing was heard for too long, not even the answer to a ping.
    Idle,
    /// The server does not speak the version that the node picked.
    Version,
    /// The signature does not prove the key.
    BadSignature,
    /// The registration was made for another server.
    WrongHost,
    /// Another key holds the same id.
    IdHeld,
    /// The same key registered again: this, the older connection, gives way.
    Replaced,
    /// The server serves all the networks that it may.
    TooManyNetworks,
    /// A message before the registration, or a second registration.
    OutOfOrder,
    /// The server is stopping.
    ShuttingDown,
    /// A code that this version does not know.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// The code as it stands in the message.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::BadMessage => "bad-message",
            ErrorCode::TooLarge => "too-large",
            ErrorCode::TooFast => "too-fast",
            ErrorCode::HandshakeTimeout => "handshake-timeout",
            ErrorCode::SlowReader => "slow-reader",
            ErrorCode::Idle => "idle",
            ErrorCode::Version => "version",
            ErrorCode::BadSignature => "bad-signature",
            ErrorCode::WrongHost => "wrong-host",
            ErrorCode::IdHeld => "id-held",
            ErrorCode::Replaced => "replaced",
            ErrorCode::TooManyNetworks => "too-many-networks",
            ErrorCode::OutOfOrder => "out-of-order",
            ErrorCode::ShuttingDown => "shutting-down",
            ErrorCode::Other => "other",
        }
    }

    /// Whether the same node will be refused again until somebody changes something.
    pub fn is_lasting(self) -> bool {
        matches!(
            self,
            ErrorCode::Version
                | ErrorCode::BadSignature
                | ErrorCode::WrongHost
                | ErrorCode::IdHeld
                | ErrorCode::Replaced
        )
    }
}

/// The text is no message of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Larger than any message may be.
    #[error("the message has {0} bytes; at most {MAX_MESSAGE_BYTES} are allowed")]
    TooLarge(usize),
    /// Arrays or objects nested too deep.
    #[error("the message nests deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("the message cannot be read: {0}")]
    Json(String),
    /// A type of message that does not exist, or only in a later version.
    #[error("there is no message of type \"{}\"", .0.escape_debug())]
    UnknownType(String),
    /// A field is longer than it may be, or has characters that it may not have.
    #[error("the field \"{}\" is out of its range", .0.escape_debug())]
    Field(&'static str),
}

impl ParseError {
    fn unknown(name: &str) -> Self {
        ParseError::UnknownType(shortened(name))
    }
}

/// Only the type, everything else skipped without building it.
fn type_of(text: &str) -> Result<String, ParseError> {
    #[derive(Deserialize)]
    struct Head {
        r#type: String,
    }
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(ParseError::TooLarge(text.len()));
    }
    if nests_deeper_than(text, MAX_DEPTH) {
        return Err(ParseError::TooDeep);
    }
    read::<Head>(text).map(|head| head.r#type)
}

/// Two passes, the type first: serde's own tagged enums would copy every value, and cannot carry an unread payload.
fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ParseError> {
    serde_json::from_str(text).map_err(|error| ParseError::Json(shortened(&error.to_string())))
}

/// Looks only at brackets outside of strings, so it is right for every JSON text and harmless on any other.
fn nests_deeper_than(text: &str, limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

fn check_payload(payload: &Payload) -> Result<(), ParseError> {
    within(payload.text().len(), MAX_PAYLOAD_BYTES, "payload")
}

fn within(size: usize, limit: usize, field: &'static str) -> Result<(), ParseError> {
    if size > limit { Err(ParseError::Field(field)) } else { Ok(()) }
}

/// Text for humans that somebody else wrote: cut to [`MAX_TEXT_BYTES`], and no control characters for the terminal.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if short.len() + c.len_utf8() > MAX_TEXT_BYTES {
            break;
        }
        short.push(c);
    }
    short
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
