//! Who a node is: a long-lived P-256 key pair. The id of a node is the hash of its public key.
//!
//! Keys are ECDSA over secp256r1 with SHA-256 (FIPS 186-5); on the wire a public key is its SubjectPublicKeyInfo in DER
//! (RFC 5480, RFC 7250), a signature its 64 bytes `r || s`.

use std::fmt;

use p256::ecdsa::signature::Signer;
#[cfg(not(feature = "net"))]
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::Id;

#[cfg(not(target_family = "wasm"))]
mod file;

#[cfg(not(target_family = "wasm"))]
pub use file::{KDF_ROUNDS, KeyFileError, MAX_KDF_ROUNDS, MAX_KEY_FILE_BYTES};

/// Bytes in a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Bytes in the DER encoding of a public key, the only length that is accepted.
pub const PEER_KEY_BYTES: usize = 91;

/// What a signature is for. A signature made for one purpose is worthless for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To register with a signalling server: over its challenge.
    Signalling,
    /// To open a link: over both DTLS fingerprints.
    Link,
    /// To store a record: over all of it.
    Record,
    /// To publish on a channel: over an envelope.
    Channel,
    /// To show that a node belongs to a private channel.
    Membership,
}

impl Purpose {
    fn prefix(self) -> &'static [u8] {
        match self {
            Purpose::Signalling => b"atoll signalling 1\0",
            Purpose::Link => b"atoll link 1\0",
            Purpose::Record => b"atoll record 1\0",
            Purpose::Channel => b"atoll channel 1\0",
            Purpose::Membership => b"atoll membership 1\0",
        }
    }
}

/// The secret half: what makes a node itself.
#[derive(Clone)]
pub struct Identity {
    secret: SigningKey,
    public: PeerKey,
}

impl Identity {
    /// A new key pair from the system's randomness.
    pub fn generate() -> Self {
        Self::new(SigningKey::generate())
    }

    /// The key pair from its PKCS#8 encoding in DER (RFC 5958).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_der(der).map(Self::new).map_err(|_| KeyError::Secret)
    }

    /// The key pair from its secret number; not every number is one.
    #[cfg(feature = "net")]
    pub(crate) fn from_scalar(number: &[u8; 32]) -> Result<Self, KeyError> {
        SigningKey::from_slice(number).map(Self::new).map_err(|_| KeyError::Secret)
    }

    /// The key pair as PKCS#8 in DER. Handle it as the secret that it is.
    pub fn to_pkcs8_der(&self) -> Vec<u8> {
        let document = self.secret.to_pkcs8_der().expect("a P-256 key always encodes");
        document.as_bytes().to_vec()
    }

    /// The public half.
    pub fn public(&self) -> PeerKey {
        self.public
    }

    /// The id of the node that holds this key.
    pub fn id(&self) -> Id {
        self.public.id()
    }

    /// The signature over `message`, good for this purpose alone.
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let signature: Signature = self.secret.sign(&[purpose.prefix(), message].concat());
        signature.to_bytes().into()
    }

    fn new(secret: SigningKey) -> Self {
        let public = PeerKey::from_verifying(*secret.verifying_key());
        Identity { secret, public }
    }
}

/// Two are the same when their public halves are.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// The public half: proof of who a node is. It exists only when it is a valid point of the curve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerKey {
    key: VerifyingKey,
    id: Id,
}

impl PeerKey {
    /// The key from its SubjectPublicKeyInfo in DER, exactly [`PEER_KEY_BYTES`] long.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() != PEER_KEY_BYTES {
            return Err(KeyError::Public);
        }
        VerifyingKey::from_public_key_der(der).map(Self::from_verifying).map_err(|_| KeyError::Public)
    }

    /// The key as SubjectPublicKeyInfo in DER.
    pub fn to_spki_der(&self) -> [u8; PEER_KEY_BYTES] {
        spki_der(&self.key)
    }

    /// The first 48 bits of the SHA-1 hash of the DER encoding.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Whether the holder of this key signed `message` for this purpose.
    pub fn verify(&self, purpose: Purpose, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        verify(&self.key, &[purpose.prefix(), message].concat(), signature)
    }

    fn from_verifying(key: VerifyingKey) -> Self {
        let id = Id::hash(spki_der(&key));
        PeerKey { key, id }
    }
}

/// Some four times as fast as the other, and takes the same signatures.
#[cfg(feature = "net")]
fn verify(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
    let point = key.to_sec1_point(false);
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point.as_bytes());
    key.verify(message, signature).map_err(|_| KeyError::Signature)
}

#[cfg(not(feature = "net"))]
fn verify(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
    let signature = Signature::from_slice(signature).map_err(|_| KeyError::Signature)?;
    key.verify(message, &signature).map_err(|_| KeyError::Signature)
}

fn spki_der(key: &VerifyingKey) -> [u8; PEER_KEY_BYTES] {
    let document = key.to_public_key_der().expect("a P-256 key always encodes");
    document.as_bytes().try_into().expect("an uncompressed P-256 key is 91 bytes of DER")
}

impl std::hash::Hash for PeerKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey({})", self.id)
    }
}

/// In JSON a key is the hexadecimal text of its DER encoding, in a binary format the DER bytes.
impl Serialize for PeerKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let der = self.to_spki_der();
        if serializer.is_human_readable() {
            serializer.serialize_str(&hex(&der))
        } else {
            serializer.serialize_bytes(&der)
        }
    }
}

impl<'de> Deserialize<'de> for PeerKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let der = if deserializer.is_human_readable() {
            unhex(&String::deserialize(deserializer)?).ok_or_else(|| serde::de::Error::custom(KeyError::Public))?
        } else {
            <&[u8]>::deserialize(deserializer)?.to_vec()
        };
        PeerKey::from_spki_der(&der).map_err(serde::de::Error::custom)
    }
}

/// Bytes as lower-case hexadecimal text.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal text; `None` where it is not.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    // `from_str_radix` alone would take a sign.
    if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

/// A key or a signature that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a P-256 public key in SubjectPublicKeyInfo DER.
    #[error("not a P-256 public key")]
    Public,
    /// Not a P-256 secret key in PKCS#8.
    #[error("not a P-256 secret key in PKCS#8")]
    Secret,
    /// The signature is malformed, or somebody else's, or over something else.
    #[error("the signature does not match the key")]
    Signature,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_encoding() {
        let identity = Identity::generate();
        let again = Identity::from_pkcs8_der(&identity.to_pkcs8_der()).unwrap();
        assert_eq!(again.public(), identity.public());
        assert_eq!(identity.id(), Id::hash(identity.public().to_spki_der()));
    }

    #[test]
    fn a_signature_holds_for_one_key_one_purpose_and_one_message() {
        let (alice, bob) = (Identity::generate(), Identity::generate());
        let signature = alice.sign(Purpose::Link, b"hello");
        assert_eq!(alice.public().verify(Purpose::Link, b"hello", &signature), Ok(()));
        assert!(alice.public().verify(Purpose::Signalling, b"hello", &signature).is_err());
        assert!(alice.public().verify(Purpose::Link, b"hullo", &signature).is_err());
        assert!(bob.public().verify(Purpose::Link, b"hello", &signature).is_err());
        assert!(alice.public().verify(Purpose::Link, b"hello", &signature[1..]).is_err());
    }

    #[test]
    fn a_public_key_survives_json_and_postcard_and_nothing_else_is_one() {
        let key = Identity::generate().public();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PeerKey>(&json).unwrap(), key);
        let bytes = postcard::to_allocvec(&key).unwrap();
        assert_eq!(postcard::from_bytes::<PeerKey>(&bytes).unwrap(), key);
        assert_eq!(PeerKey::from_spki_der(&[0; PEER_KEY_BYTES]), Err(KeyError::Public));
        assert!(serde_json::from_str::<PeerKey>("\"3059\"").is_err());
        assert!(serde_json::from_str::<PeerKey>("\"é9\"").is_err());
        assert_eq!(unhex("+f"), None);
    }
}
