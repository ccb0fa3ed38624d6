//! Messages of a channel on their way: some that follow each other in one stream, under one signature.
//!
//! An envelope is made once, by the publisher, and passed on as it is. Its bytes:
//!
//! ```text
//! flags  channel  publisher  stream  sent  first  [pass]  message …          [signature]
//! 1      16       91 or 6    8       8     8      64      1 + n, 2 + n each  64
//! ```
//!
//! A message is its scope (a length of one byte, and text) and its payload (a length of two bytes, and bytes). The signature is
//! over everything before it.

use bytes::{BufMut, Bytes, BytesMut};

use super::channel::ChannelId;
use super::{DecodeError, MAX_FRAME};
use crate::id::Id;
use crate::key::{Identity, KeyError, PEER_KEY_BYTES, PeerKey, Purpose, SIGNATURE_BYTES};

/// Bytes in the payload of a message at most.
pub const MAX_PAYLOAD: usize = 15 * 1024;

/// Bytes in the scope of a message at most.
pub const MAX_SCOPE: usize = 128;

/// Messages in an envelope at most.
pub const MAX_BATCH: usize = 256;

/// Bytes of an envelope besides its messages, at most.
const MOST_AROUND: usize = 1 + ChannelId::BYTES + PEER_KEY_BYTES + 3 * 8 + 2 * SIGNATURE_BYTES;

/// Bytes that all messages of an envelope may take.
const MAX_CONTENT: usize = MAX_FRAME - super::header::MAX_HEADER - MOST_AROUND;

const SIGNED: u8 = 1;
const PASS: u8 = 2;

/// What is published: a message under a scope, which subscribers choose by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Message {
    /// At most [`MAX_SCOPE`] bytes.
    pub scope: String,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: Bytes,
}

impl Message {
    /// Whether it keeps to its sizes.
    pub fn fits(&self) -> bool {
        self.scope.len() <= MAX_SCOPE && self.payload.len() <= MAX_PAYLOAD
    }

    /// Bytes that it takes in an envelope.
    fn size(&self) -> usize {
        3 + self.scope.len() + self.payload.len()
    }
}

/// Where an envelope belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// The channel.
    pub channel: ChannelId,
    /// The publisher's clock when it joined the channel, in microseconds since 1970: a publisher that restarts has another stream.
    pub stream: u64,
    /// The publisher's clock when it made the envelope.
    pub sent: u64,
    /// The number of the first message in the stream; the others follow.
    pub first: u64,
    /// On a private channel: the gate's signature that the publisher is a member.
    pub pass: Option<[u8; SIGNATURE_BYTES]>,
}

/// Messages that follow each other, as they travel. It exists only when it is well-formed; whether its signature holds says
/// [`Envelope::verify`].
#[derive(Clone, Debug)]
pub struct Envelope {
    bytes: Bytes,
    label: Label,
    publisher: Id,
    key: Option<Bytes>,
    messages: Vec<Message>,
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Envelope {}

impl std::hash::Hash for Envelope {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl Envelope {
    /// How many of these messages, from the first on, fit into one envelope: at least one, when each [fits](Message::fits).
    pub fn fit<'a>(messages: impl Iterator<Item = &'a Message>) -> usize {
        let mut room = MAX_CONTENT;
        let fits = |message: &&Message| {
            let left = room.checked_sub(message.size());
            room = left.unwrap_or(0);
            left.is_some()
        };
        messages.take(MAX_BATCH).take_while(fits).count()
    }

    /// Puts messages that [fit](Envelope::fit) into an envelope, signed or not.
    pub fn seal(publisher: &Identity, signed: bool, label: Label, messages: &[Message]) -> Self {
        let mut out = BytesMut::with_capacity(MOST_AROUND + messages.iter().map(Message::size).sum::<usize>());
        let pass = if label.pass.is_some() { PASS } else { 0 };
        out.put_u8(if signed { SIGNED } else { 0 } | pass);
        out.put_slice(&label.channel.0);
        match signed {
            true => out.put_slice(&publisher.public().to_spki_der()),
            false => out.put_slice(&publisher.id().to_bytes()),
        }
        [label.stream, label.sent, label.first].into_iter().for_each(|number| out.put_u64(number));
        out.put_slice(label.pass.as_ref().map_or(&[], |pass| &pass[..]));
        for message in messages {
            out.put_u8(message.scope.len() as u8);
            out.put_slice(message.scope.as_bytes());
            out.put_u16(message.payload.len() as u16);
            out.put_slice(&message.payload);
        }
        if signed {
            let signature = publisher.sign(Purpose::Channel, &out);
            out.put_slice(&signature);
        }
        Self::decode(out.freeze()).expect("messages that fit make a well-formed envelope")
    }

    /// Reads an envelope.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut rest = bytes.clone();
        let flags = take_array::<1>(&mut rest)?[0];
        if flags & !(SIGNED | PASS) != 0 {
            return Err(DecodeError::Body);
        }
        let channel = ChannelId(take_array(&mut rest)?);
        let (key, publisher) = if flags & SIGNED != 0 {
            let key = take(&mut rest, PEER_KEY_BYTES)?;
            let publisher = Id::hash(&key);
            (Some(key), publisher)
        } else {
            (None, Id::from_bytes(take_array(&mut rest)?))
        };
        let [stream, sent, first] = [take_u64(&mut rest)?, take_u64(&mut rest)?, take_u64(&mut rest)?];
        let pass = if flags & PASS != 0 { Some(take_array(&mut rest)?) } else { None };
        if flags & SIGNED != 0 {
            let content = rest.len().checked_sub(SIGNATURE_BYTES).ok_or(DecodeError::Truncated)?;
            rest.truncate(content);
        }
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let message = take_message(&mut rest)?;
            if messages.len() == MAX_BATCH || !message.fits() {
                return Err(DecodeError::Body);
            }
            messages.push(message);
        }
        if messages.is_empty() || first.checked_add(messages.len() as u64).is_none() {
            return Err(DecodeError::Body);
        }
        Ok(Envelope { bytes, label: Label { channel, stream, sent, first, pass }, publisher, key, messages })
    }

    /// Whether its publisher signed it. One that is not signed claims nothing, and is refused.
    pub fn verify(&self, publisher: &PeerKey) -> Result<(), KeyError> {
        let content = self.bytes.len().saturating_sub(SIGNATURE_BYTES);
        match self.key {
            Some(_) => publisher.verify(Purpose::Channel, &self.bytes[..content], &self.bytes[content..]),
            None => Err(KeyError::Signature),
        }
    }

    /// The bytes, as they travel.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where it belongs.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Who published it: proven only where it is signed, and verified.
    pub fn publisher(&self) -> Id {
        self.publisher
    }

    /// The publisher's key in DER, where the envelope is signed.
    pub fn key_der(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// The messages in their order.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The number behind that of the last message.
    pub fn end(&self) -> u64 {
        self.label.first + self.messages.len() as u64
    }
}

/// What the gate signs for a publisher on a private channel.
pub fn pass_bytes(channel: ChannelId, publisher: Id, stream: u64) -> Vec<u8> {
    [b"publish", &channel.0[..], &publisher.to_bytes(), &stream.to_be_bytes()].concat()
}

fn take(rest: &mut Bytes, length: usize) -> Result<Bytes, DecodeError> {
    if rest.len() < length { Err(DecodeError::Truncated) } else { Ok(rest.split_to(length)) }
}

fn take_array<const N: usize>(rest: &mut Bytes) -> Result<[u8; N], DecodeError> {
    let bytes = take(rest, N)?;
    Ok(std::array::from_fn(|at| bytes[at]))
}

fn take_u64(rest: &mut Bytes) -> Result<u64, DecodeError> {
    take_array(rest).map(u64::from_be_bytes)
}

fn take_message(rest: &mut Bytes) -> Result<Message, DecodeError> {
    let length = take_array::<1>(rest)?[0];
    let scope = take(rest, usize::from(length))?;
    let scope = std::str::from_utf8(&scope).map_err(|_| DecodeError::Body)?.to_owned();
    let length = u16::from_be_bytes(take_array(rest)?);
    Ok(Message { scope, payload: take(rest, usize::from(length))? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label(first: u64, pass: bool) -> Label {
        let pass = pass.then_some([3; SIGNATURE_BYTES]);
        Label { channel: ChannelId([7; 16]), stream: 5, sent: 9, first, pass }
    }

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let one = (".{0,20}", prop::collection::vec(any::<u8>(), 0..3000));
        let one = one.prop_map(|(scope, payload)| Message { scope, payload: payload.into() });
        prop::collection::vec(one, 1..10)
    }

    proptest! {
        #[test]
        fn an_envelope_survives_the_wire_and_fits_a_frame(
            mut messages in messages(), first in 0..u64::MAX - 300, signed: bool, pass: bool,
        ) {
            let publisher = Identity::generate();
            messages.truncate(Envelope::fit(messages.iter()));
            let sealed = Envelope::seal(&publisher, signed, label(first, pass), &messages);
            prop_assert!(sealed.bytes().len() + super::super::header::MAX_HEADER <= MAX_FRAME);
            let read = Envelope::decode(sealed.bytes().clone()).unwrap();
            prop_assert_eq!(read.messages(), &messages[..]);
            prop_assert_eq!(read.label(), &label(first, pass));
            prop_assert_eq!(read.publisher(), publisher.id());
            prop_assert_eq!(read.end(), first + messages.len() as u64);
            prop_assert_eq!(read.verify(&publisher.public()).is_ok(), signed);
        }

        #[test]
        fn a_changed_byte_is_noticed_and_never_a_panic(at in 0usize..300, bit in 0u8..8) {
            let publisher = Identity::generate();
            let message = Message { scope: "s".into(), payload: Bytes::from_static(&[1; 60]) };
            let sealed = Envelope::seal(&publisher, true, label(1, true), &[message]);
            let mut bytes = BytesMut::from(&sealed.bytes()[..]);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = Envelope::decode(bytes.freeze()) {
                prop_assert!(read.verify(&publisher.public()).is_err());
            }
        }
    }

    #[test]
    fn the_largest_message_fits_and_a_larger_one_is_refused() {
        let message = |length| Message { scope: "x".repeat(MAX_SCOPE), payload: vec![0; length].into() };
        let largest = message(MAX_PAYLOAD);
        assert_eq!(Envelope::fit([&largest, &largest].into_iter()), 1);
        let sealed = Envelope::seal(&Identity::generate(), true, label(0, true), &[largest]);
        assert!(sealed.bytes().len() + super::super::header::MAX_HEADER <= MAX_FRAME);
        assert!(!message(MAX_PAYLOAD + 1).fits());
        // Nothing to say, and numbers beyond the last.
        assert!(Envelope::decode(Bytes::from_static(&[0; 47])).is_err());
        let last = label(u64::MAX, false);
        let mut bytes = BytesMut::from(&[0][..]);
        bytes.put_slice(&last.channel.0);
        bytes.put_slice(&[0; 22]);
        bytes.put_u64(u64::MAX);
        bytes.put_slice(&[0; 3]);
        assert!(Envelope::decode(bytes.freeze()).is_err());
    }
}
