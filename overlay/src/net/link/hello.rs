//! Who is at the other end of a link: the first frame in each direction proves it.
//!
//! DTLS proves no more than that the peer holds the certificate whose fingerprint was in its description, and descriptions
//! pass through strangers' hands. So each end signs both fingerprints, as it knows them, with its identity key. Whoever stands
//! between and swapped a fingerprint knows one of two different pairs, and has no key to sign the other with.
//!
//! In a network with a shared secret each end also proves that it knows the secret: HMAC-SHA256 (RFC 2104) over what it signs.

use std::fmt;
use std::time::Duration;

use bytes::BytesMut;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Breach, Channel, CloseReason, Fingerprint, Link, SendError, Side};
use crate::id::Id;
use crate::key::{Identity, PEER_KEY_BYTES, PeerKey, Purpose, SIGNATURE_BYTES};
use crate::net::platform;
use crate::wire::Role;

/// Bytes in the name of a network at most.
pub const MAX_NETWORK: usize = 64;

/// Bytes in a hello at most, what later versions add included.
pub const MAX_HELLO: usize = 1024;

/// Bytes in a proof of the secret.
const PROOF_BYTES: usize = 32;

/// The versions of the protocol that a node speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl Versions {
    /// Those that this program speaks.
    pub const CURRENT: Versions = Versions { min: 1, max: 1 };

    /// The highest that both speak.
    pub fn common(self, other: Versions) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

/// What a node says of itself on every link.
#[derive(Clone)]
pub struct HelloSettings {
    /// What it is to the ring.
    pub role: Role,
    /// The network it belongs to, at most [`MAX_NETWORK`] bytes.
    pub network: String,
    /// What the network's nodes share, where only they are let in.
    pub secret: Option<Vec<u8>>,
    /// The versions it speaks.
    pub versions: Versions,
    /// What it can do beyond its version, a bit each; none is defined yet, and unknown ones are passed on.
    pub capabilities: u64,
    /// How long the peer may take to say hello: 5 s.
    pub timeout: Duration,
}

impl HelloSettings {
    /// Those of a member of the network of this name.
    pub fn new(network: impl Into<String>) -> Self {
        HelloSettings {
            role: Role::Member,
            network: network.into(),
            secret: None,
            versions: Versions::CURRENT,
            capabilities: 0,
            timeout: Duration::from_secs(5),
        }
    }
}

/// The secret stays out of logs.
impl fmt::Debug for HelloSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HelloSettings { role, network, versions, .. } = self;
        f.debug_struct("HelloSettings")
            .field("role", role)
            .field("network", network)
            .field("versions", versions)
            .finish_non_exhaustive()
    }
}

/// Who is at the other end, proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its key: who it is.
    pub key: PeerKey,
    /// Its place on the ring.
    pub id: Id,
    /// What it is to the ring.
    pub role: Role,
    /// The highest version that both ends speak.
    pub version: u16,
    /// What it can do beyond its version.
    pub capabilities: u64,
}

/// Nobody is greeted: the link is to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// Somebody else is at the other end.
    #[error("the peer is {found}, not {expected}")]
    OtherPeer {
        /// Who was dialled.
        expected: Id,
        /// Who answered.
        found: Id,
    },
    /// The peer does not hold its key, or somebody between the two swapped the certificates.
    #[error("the peer's signature does not hold; somebody may stand between")]
    Signature,
    /// The peer belongs to another network.
    #[error("the peer belongs to another network")]
    Network,
    /// The peer does not know the network's secret.
    #[error("the peer has not proved the network's secret")]
    Secret,
    /// The peer proves a secret, so it will not take a node that has none.
    #[error("the network has a secret, which this node was not given")]
    NoSecret,
    /// The peer speaks no version that this node speaks.
    #[error("no common version: the peer speaks {} to {}, this node {} to {}", .peer.min, .peer.max, .own.min, .own.max)]
    Version {
        /// What the peer speaks.
        peer: Versions,
        /// What this node speaks.
        own: Versions,
    },
    /// The peer said nothing in time.
    #[error("the peer said no hello in time")]
    TimedOut,
    /// What the peer said is no hello.
    #[error("the peer's hello is malformed")]
    Malformed,
    /// The peer sent what no link carries.
    #[error("the peer sent what a link does not carry: {0}")]
    Breach(Breach),
    /// The link was closed.
    #[error("the peer closed the link instead of saying hello")]
    Closed,
    /// This node's own name of the network is too long.
    #[error("the name of a network has at most {MAX_NETWORK} bytes")]
    OwnNetwork,
}

impl HelloError {
    /// Whether one end will not have the other. Who is slow, or hangs up because its place went to somebody else, may take the next link.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, HelloError::TimedOut | HelloError::Closed)
    }

    /// One word for counters, where the peer broke the rules rather than belongs elsewhere or is slow.
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            HelloError::Breach(breach) => Some(breach.label()),
            HelloError::Malformed | HelloError::Signature | HelloError::OtherPeer { .. } => Some("hello"),
            _ => None,
        }
    }
}

/// Says hello, and hears who is at the other end. `expected` is whom this node dialled, where it dialled.
///
/// The end that answered the offer speaks first. It is the SCTP client, the last to know that the link is open: what the other
/// end sent before could travel with the end of SCTP's handshake, and `rtc` drops data for channels that are not open yet.
///
/// After an error nothing is left to do but drop the link.
pub async fn greet(
    link: &mut Link,
    identity: &Identity,
    settings: &HelloSettings,
    expected: Option<Id>,
) -> Result<Peer, HelloError> {
    let fingerprints = (link.local_fingerprint(), link.remote_fingerprint());
    let hello = Hello::new(identity, settings, fingerprints)?;
    let peer = match link.side() {
        Side::Answered => {
            say(link, &hello)?;
            hear(link, settings).await?.verify(settings, fingerprints, expected)?
        }
        Side::Offered => {
            let heard = hear(link, settings).await?;
            say(link, &hello)?;
            heard.verify(settings, fingerprints, expected)?
        }
    };
    Ok(peer)
}

fn say(link: &Link, hello: &Hello) -> Result<(), HelloError> {
    link.sender().try_send(Channel::Ring, BytesMut::from(&hello.encode()[..])).map_err(|error| match error {
        SendError::Closed => HelloError::Closed,
        SendError::Full | SendError::TooLarge => HelloError::Malformed,
    })
}

async fn hear(link: &mut Link, settings: &HelloSettings) -> Result<Hello, HelloError> {
    let first = platform::timeout(settings.timeout, first_on_ring(link)).await.map_err(|_| HelloError::TimedOut)?;
    match first {
        Some(first) => Hello::decode(&first),
        None => match link.sender().closed().await {
            CloseReason::Protocol(breach) => Err(HelloError::Breach(breach)),
            _ => Err(HelloError::Closed),
        },
    }
}

/// The first frame on the ring channel. Packets may overtake it: the peer has heard this end's hello, and already sends them.
async fn first_on_ring(link: &mut Link) -> Option<BytesMut> {
    loop {
        match link.recv().await? {
            (Channel::Ring, bytes) => return Some(bytes),
            (Channel::Data, _) => {}
        }
    }
}

/// The first frame on a link in each direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    key: PeerKey,
    role: Role,
    network: String,
    versions: Versions,
    capabilities: u64,
    signature: [u8; SIGNATURE_BYTES],
    proof: Option<[u8; PROOF_BYTES]>,
}

impl Hello {
    /// The hello of a node that knows the fingerprints of a link's ends as these, its own first.
    pub fn new(
        identity: &Identity,
        settings: &HelloSettings,
        (own, other): (Fingerprint, Fingerprint),
    ) -> Result<Self, HelloError> {
        if settings.network.len() > MAX_NETWORK {
            return Err(HelloError::OwnNetwork);
        }
        let mut hello = Hello {
            key: identity.public(),
            role: settings.role,
            network: settings.network.clone(),
            versions: settings.versions,
            capabilities: settings.capabilities,
            signature: [0; SIGNATURE_BYTES],
            proof: None,
        };
        let transcript = hello.transcript(own, other);
        hello.signature = identity.sign(Purpose::Link, &transcript);
        hello.proof =
            settings.secret.as_deref().map(|secret| prove(secret, &transcript).finalize().into_bytes().into());
        Ok(hello)
    }

    /// Checks that whoever said this is who it says, at the other end of the link with these fingerprints, this node's first.
    pub fn verify(
        &self,
        settings: &HelloSettings,
        (own, other): (Fingerprint, Fingerprint),
        expected: Option<Id>,
    ) -> Result<Peer, HelloError> {
        let id = self.key.id();
        if let Some(expected) = expected.filter(|expected| *expected != id) {
            return Err(HelloError::OtherPeer { expected, found: id });
        }
        // The peer signed what it knows as its own fingerprint first.
        let transcript = self.transcript(other, own);
        self.key.verify(Purpose::Link, &transcript, &self.signature).map_err(|_| HelloError::Signature)?;
        if self.network != settings.network {
            return Err(HelloError::Network);
        }
        if settings.secret.is_none() && self.proof.is_some() {
            return Err(HelloError::NoSecret);
        }
        if let Some(secret) = &settings.secret {
            let proof = self.proof.ok_or(HelloError::Secret)?;
            // In constant time: how far a guess is right must not show.
            prove(secret, &transcript).verify_slice(&proof).map_err(|_| HelloError::Secret)?;
        }
        let (peer, own) = (self.versions, settings.versions);
        let version = own.common(peer).ok_or(HelloError::Version { peer, own })?;
        Ok(Peer { key: self.key, id, role: self.role, version, capabilities: self.capabilities })
    }

    /// The body of the frame.
    pub fn encode(&self) -> Vec<u8> {
        let body = Body {
            key: &self.key.to_spki_der(),
            role: match self.role {
                Role::Member => 0,
                Role::Leaf => 1,
            },
            network: &self.network,
            versions: self.versions,
            capabilities: self.capabilities,
            signature: &self.signature,
            proof: self.proof.as_ref().map_or(&[], |proof| &proof[..]),
        };
        postcard::to_allocvec(&body).expect("a hello is plain data, which always encodes")
    }

    /// Reads the body of the frame. Bytes behind what this version knows are left to later versions.
    pub fn decode(body: &[u8]) -> Result<Self, HelloError> {
        if body.len() > MAX_HELLO {
            return Err(HelloError::Malformed);
        }
        let (body, _later) = postcard::take_from_bytes::<Body<'_>>(body).map_err(|_| HelloError::Malformed)?;
        if body.key.len() != PEER_KEY_BYTES || body.network.len() > MAX_NETWORK {
            return Err(HelloError::Malformed);
        }
        Ok(Hello {
            key: PeerKey::from_spki_der(body.key).map_err(|_| HelloError::Malformed)?,
            role: match body.role {
                0 => Role::Member,
                1 => Role::Leaf,
                _ => return Err(HelloError::Malformed),
            },
            network: body.network.to_owned(),
            versions: body.versions,
            capabilities: body.capabilities,
            signature: body.signature.try_into().map_err(|_| HelloError::Malformed)?,
            proof: match body.proof.len() {
                0 => None,
                _ => Some(body.proof.try_into().map_err(|_| HelloError::Malformed)?),
            },
        })
    }

    /// What is signed: everything, with the fingerprints as the signer knows them, its own first.
    fn transcript(&self, signer: Fingerprint, other: Fingerprint) -> Vec<u8> {
        let mut transcript = Vec::with_capacity(256);
        transcript.extend_from_slice(&signer.0);
        transcript.extend_from_slice(&other.0);
        transcript.extend_from_slice(&self.key.to_spki_der());
        transcript.push(match self.role {
            Role::Member => 0,
            Role::Leaf => 1,
        });
        transcript.extend_from_slice(&self.versions.min.to_be_bytes());
        transcript.extend_from_slice(&self.versions.max.to_be_bytes());
        transcript.extend_from_slice(&self.capabilities.to_be_bytes());
        // Last, since it alone has no fixed length.
        transcript.extend_from_slice(self.network.as_bytes());
        transcript
    }
}

/// A hello as postcard carries it. Later versions add fields behind these.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    key: &'a [u8],
    role: u8,
    network: &'a str,
    versions: Versions,
    capabilities: u64,
    signature: &'a [u8],
    proof: &'a [u8],
}

fn prove(secret: &[u8], transcript: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(b"atoll network 1\0");
    mac.update(transcript);
    mac
}

#[cfg(test)]
mod tests;
