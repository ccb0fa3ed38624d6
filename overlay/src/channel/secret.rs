//! Private channels: from the secret that the members share, a key that seals messages and a key pair that opens the gate.
//!
//! HKDF with SHA-256 (RFC 5869) over the secret, with the channel's name, gives both. A message is sealed with AES-256-GCM under a
//! random nonce of 96 bits, which is sound for some 2^32 messages of one secret.

use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use super::{ChannelError, ChannelId};
use crate::id::Id;
use crate::key::Identity;
use crate::wire::Published;

/// Bytes of a secret at least.
pub const MIN_SECRET: usize = 16;

/// Bytes that sealing adds to a payload, besides its scope.
pub const SEALED: usize = NONCE_LEN + 16 + 1;

pub(super) struct Secret {
    key: LessSafeKey,
    gate: Identity,
    random: SystemRandom,
}

impl Secret {
    pub(super) fn new(name: &str, secret: &[u8]) -> Result<Self, ChannelError> {
        if secret.len() < MIN_SECRET {
            return Err(ChannelError::Secret);
        }
        let salt = [b"atoll channel 1\0", &Sha256::digest(name)[..]].concat();
        let prk = Salt::new(HKDF_SHA256, &salt).extract(secret);
        let key =
            UnboundKey::new(&AES_256_GCM, &derive(&prk, b"messages", 0)).expect("the key has the cipher's length");
        // One in 2^32 numbers of 32 bytes is no key of the curve; then the next one serves.
        let gate = (0..=u8::MAX).find_map(|number| Identity::from_scalar(&derive(&prk, b"gate", number)).ok());
        let gate = gate.expect("256 numbers that are no keys do not occur");
        Ok(Secret { key: LessSafeKey::new(key), gate, random: SystemRandom::new() })
    }

    /// The key pair that shows that somebody is a member.
    pub(super) fn gate(&self) -> &Identity {
        &self.gate
    }

    /// A message whose payload hides scope and payload.
    pub(super) fn seal(&self, channel: ChannelId, publisher: Id, message: &Published) -> Published {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).expect("the system gives random numbers");
        let mut sealed = Vec::with_capacity(SEALED + message.scope.len() + message.payload.len());
        sealed.push(message.scope.len() as u8);
        sealed.extend_from_slice(message.scope.as_bytes());
        sealed.extend_from_slice(&message.payload);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce_used, Aad::from(about(channel, publisher)), &mut sealed)
            .expect("a message is far shorter than the cipher allows");
        sealed.extend_from_slice(&nonce);
        Published { scope: String::new(), payload: sealed.into() }
    }

    /// The message in a payload; `None` where it was not sealed so, or for another channel or publisher.
    pub(super) fn open(&self, channel: ChannelId, publisher: Id, payload: &Bytes) -> Option<Published> {
        let (sealed, nonce) = payload.split_last_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let about = Aad::from(about(channel, publisher));
        let plain = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), about, &mut sealed).ok()?;
        let (&length, rest) = plain.split_first()?;
        let (scope, payload) = rest.split_at_checked(length.into())?;
        let scope = String::from_utf8(scope.to_vec()).ok()?;
        Some(Published { scope, payload: Bytes::copy_from_slice(payload) })
    }
}

fn about(channel: ChannelId, publisher: Id) -> Vec<u8> {
    [&channel.0[..], &publisher.to_bytes()].concat()
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

fn derive(prk: &Prk, purpose: &[u8], number: u8) -> [u8; 32] {
    let mut out = [0; 32];
    let info = [purpose, &[number][..]];
    let key = prk.expand(&info, Length).expect("32 bytes are far less than HKDF gives");
    key.fill(&mut out).expect("the key has this length");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"sixteen or more bytes";

    fn message() -> Published {
        Published { scope: "s".into(), payload: "hello".into() }
    }

    #[test]
    fn a_sealed_message_opens_for_the_same_channel_and_publisher_alone() {
        let (channel, publisher) = (ChannelId([1; 16]), Id::new(7));
        let secret = Secret::new("ours", SECRET).unwrap();
        let sealed = secret.seal(channel, publisher, &message());
        assert_eq!(sealed.payload.len(), message().payload.len() + 1 + SEALED);
        let same = Secret::new("ours", SECRET).unwrap();
        assert_eq!(same.open(channel, publisher, &sealed.payload), Some(message()));
        assert_eq!(same.open(channel, Id::new(8), &sealed.payload), None);
        assert_eq!(same.open(ChannelId([2; 16]), publisher, &sealed.payload), None);
        assert_eq!(Secret::new("theirs", SECRET).unwrap().open(channel, publisher, &sealed.payload), None);
        assert_eq!(same.open(channel, publisher, &sealed.payload.slice(1..)), None);
        assert_eq!(same.open(channel, publisher, &Bytes::new()), None);
    }

    #[test]
    fn name_and_secret_decide_the_gate_and_a_short_secret_is_refused() {
        let gate = |name, secret| Secret::new(name, secret).unwrap().gate().public();
        assert_eq!(gate("ours", SECRET), gate("ours", SECRET));
        assert_ne!(gate("ours", SECRET), gate("theirs", SECRET));
        assert_ne!(gate("ours", SECRET), gate("ours", b"another secret of more bytes"));
        assert!(matches!(Secret::new("ours", b"short"), Err(ChannelError::Secret)));
    }
}
