//! Values as bytes: CBOR (RFC 8949), with two tags of our own for functions.
//!
//! Written is the shortest form with definite lengths; floats have 64 bits. Read is any length of numbers, but nothing of
//! indefinite length, no map with other names than texts or with one twice, and no other tag.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use cbor4ii::core::dec::{self, Decode, Read, Reference};
use cbor4ii::core::enc::{self, Encode, Write};
use cbor4ii::core::{major, types};

use super::limits::{MAX_DEPTH, MAX_FUNCTIONS, MAX_MESSAGE, MAX_VALUES};
use super::value::{Function, Value, ValueError};

/// The tag of a function that the sender offers; its content is the handle, an unsigned number.
pub(crate) const TAG_OFFERED: u64 = 0x6174_6f01;

/// The tag of a function that the receiver had offered, and gets back.
pub(crate) const TAG_RETURNED: u64 = 0x6174_6f02;

/// A function on the wire: by the handle that the node which holds it gave it for this peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    /// Of the sender.
    Offered(u64),
    /// Of the receiver.
    Returned(u64),
}

/// Writes a message: values, one after the other.
pub(crate) struct Encoder<'a> {
    out: BytesMut,
    offer: &'a mut dyn FnMut(&Function) -> Result<Handle, ValueError>,
    values: usize,
    functions: usize,
}

impl<'a> Encoder<'a> {
    /// Appends to `out`, of which not more than [`MAX_MESSAGE`] bytes become; `offer` finds the handles of functions.
    pub(crate) fn new(out: BytesMut, offer: &'a mut dyn FnMut(&Function) -> Result<Handle, ValueError>) -> Self {
        Encoder { out, offer, values: 0, functions: 0 }
    }

    pub(crate) fn finish(self) -> BytesMut {
        self.out
    }

    pub(crate) fn array(&mut self, length: usize) -> Result<(), ValueError> {
        Ok(types::Array::bounded(length, self)?)
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), ValueError> {
        Ok(text.encode(self)?)
    }

    pub(crate) fn number(&mut self, number: u64) -> Result<(), ValueError> {
        Ok(number.encode(self)?)
    }

    pub(crate) fn value(&mut self, value: &Value) -> Result<(), ValueError> {
        self.value_at(value, 0)
    }

    fn value_at(&mut self, value: &Value, depth: usize) -> Result<(), ValueError> {
        if depth > MAX_DEPTH {
            return Err(ValueError::TooDeep);
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(ValueError::TooMany);
        }
        match value {
            Value::Null => types::Null.encode(self)?,
            Value::Bool(value) => value.encode(self)?,
            Value::Int(number) => number.encode(self)?,
            Value::Uint(number) => number.encode(self)?,
            Value::Float(number) => number.encode(self)?,
            Value::Text(text) => text.as_str().encode(self)?,
            Value::Bytes(bytes) => types::Bytes(&bytes[..]).encode(self)?,
            Value::Array(list) => {
                types::Array::bounded(list.len(), self)?;
                for inner in list {
                    self.value_at(inner, depth + 1)?;
                }
            }
            Value::Map(map) => {
                types::Map::bounded(map.len(), self)?;
                for (name, inner) in map {
                    name.as_str().encode(self)?;
                    self.value_at(inner, depth + 1)?;
                }
            }
            Value::Function(function) => {
                self.functions += 1;
                if self.functions > MAX_FUNCTIONS {
                    return Err(ValueError::TooManyFunctions);
                }
                match (self.offer)(function)? {
                    Handle::Offered(handle) => types::Tag(TAG_OFFERED, handle).encode(self)?,
                    Handle::Returned(handle) => types::Tag(TAG_RETURNED, handle).encode(self)?,
                }
            }
        }
        Ok(())
    }
}

/// Appends a value without functions to what is there already, at most [`MAX_MESSAGE`] bytes in all.
pub fn encode_plain(value: &Value, out: BytesMut) -> Result<Bytes, ValueError> {
    let no_functions = &mut |_: &Function| Err(ValueError::Type("a function cannot be part of this".to_owned()));
    let mut encoder = Encoder::new(out, no_functions);
    encoder.value(value)?;
    Ok(encoder.finish().freeze())
}

/// Reads a value without functions.
pub fn decode_plain(bytes: &Bytes) -> Result<Value, ValueError> {
    let mut decoder = Decoder::new(bytes)?;
    let value = decoder.value(&mut |_| Err(ValueError::Malformed("a function cannot be part of this")))?;
    decoder.finish()?;
    Ok(value)
}

impl Write for Encoder<'_> {
    type Error = TooLarge;

    fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if bytes.len() > MAX_MESSAGE.saturating_sub(self.out.len()) {
            return Err(TooLarge);
        }
        self.out.put_slice(bytes);
        Ok(())
    }
}

/// The message would be over [`MAX_MESSAGE`].
#[derive(Debug, thiserror::Error)]
#[error("too large")]
pub(crate) struct TooLarge;

impl From<enc::Error<TooLarge>> for ValueError {
    fn from(_: enc::Error<TooLarge>) -> Self {
        // Writing fails only where there is no room.
        ValueError::TooLarge
    }
}

/// Reads a message. Nothing is allocated for what the bytes only claim to hold.
pub(crate) struct Decoder<'a> {
    whole: &'a Bytes,
    rest: &'a [u8],
    values: usize,
    functions: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(whole: &'a Bytes) -> Result<Self, ValueError> {
        if whole.len() > MAX_MESSAGE {
            return Err(ValueError::TooLarge);
        }
        Ok(Decoder { whole, rest: whole, values: 0, functions: 0 })
    }

    /// Nothing may follow.
    pub(crate) fn finish(self) -> Result<(), ValueError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ValueError::Malformed("bytes follow it")) }
    }

    /// The length of an array that begins here, which has so many bytes at least.
    pub(crate) fn array(&mut self) -> Result<usize, ValueError> {
        let length = types::Array::len(self).map_err(malformed)?;
        self.claim(length, 1)
    }

    pub(crate) fn text(&mut self, longest: usize) -> Result<&'a str, ValueError> {
        let text = <&str>::decode(self).map_err(malformed)?;
        if text.len() > longest { Err(ValueError::Malformed("a name is too long")) } else { Ok(text) }
    }

    pub(crate) fn number(&mut self) -> Result<u64, ValueError> {
        u64::decode(self).map_err(malformed)
    }

    /// The next value. `take` makes functions of their handles.
    pub(crate) fn value(
        &mut self,
        take: &mut dyn FnMut(Handle) -> Result<Function, ValueError>,
    ) -> Result<Value, ValueError> {
        self.claim(Some(1), 1)?;
        self.value_at(take, 0)
    }

    /// The next value of an array, which has claimed it.
    pub(crate) fn claimed_value(
        &mut self,
        take: &mut dyn FnMut(Handle) -> Result<Function, ValueError>,
    ) -> Result<Value, ValueError> {
        self.value_at(take, 0)
    }

    fn value_at(
        &mut self,
        take: &mut dyn FnMut(Handle) -> Result<Function, ValueError>,
        depth: usize,
    ) -> Result<Value, ValueError> {
        if depth > MAX_DEPTH {
            return Err(ValueError::TooDeep);
        }
        let first = *self.rest.first().ok_or(ValueError::Malformed("it ends too early"))?;
        match dec::if_major(first) {
            major::UNSIGNED => self.number().map(Value::from),
            major::NEGATIVE => i64::decode(self).map(Value::Int).map_err(malformed),
            major::BYTES => {
                let bytes = <types::Bytes<&[u8]>>::decode(self).map_err(malformed)?.0;
                Ok(Value::Bytes(self.whole.slice_ref(bytes)))
            }
            major::STRING => Ok(Value::Text(<&str>::decode(self).map_err(malformed)?.to_owned())),
            major::ARRAY => {
                let length = self.array()?;
                let mut list = Vec::with_capacity(length);
                for _ in 0..length {
                    list.push(self.value_at(take, depth + 1)?);
                }
                Ok(Value::Array(list))
            }
            major::MAP => {
                let length = types::Map::len(self).map_err(malformed)?;
                let length = self.claim(length, 2)?;
                let mut map = BTreeMap::new();
                for _ in 0..length {
                    let name = self.text(MAX_MESSAGE)?.to_owned();
                    if map.insert(name, self.value_at(take, depth + 1)?).is_some() {
                        return Err(ValueError::Malformed("a map has a name twice"));
                    }
                }
                Ok(Value::Map(map))
            }
            major::TAG => {
                let tag = types::Tag::tag(self).map_err(malformed)?;
                let handle = match tag {
                    TAG_OFFERED => Handle::Offered(self.number()?),
                    TAG_RETURNED => Handle::Returned(self.number()?),
                    _ => return Err(ValueError::Malformed("it has a tag that is not known here")),
                };
                self.functions += 1;
                if self.functions > MAX_FUNCTIONS {
                    return Err(ValueError::TooManyFunctions);
                }
                take(handle).map(Value::Function)
            }
            _ => self.simple(first),
        }
    }

    fn simple(&mut self, first: u8) -> Result<Value, ValueError> {
        match first {
            0xf4 | 0xf5 => bool::decode(self).map(Value::Bool).map_err(malformed),
            // Null and undefined.
            0xf6 | 0xf7 => {
                self.advance(1);
                Ok(Value::Null)
            }
            0xf9 => types::F16::decode(self).map(|half| Value::Float(float_of_half(half.0))).map_err(malformed),
            0xfa => f32::decode(self).map(|float| Value::Float(float.into())).map_err(malformed),
            0xfb => f64::decode(self).map(Value::Float).map_err(malformed),
            _ => Err(ValueError::Malformed("it has a simple value that is not known here")),
        }
    }

    /// So many values are to follow, of so many bytes each at least. All claims together stay below the limit, or lists in lists
    /// could each claim the whole rest.
    fn claim(&mut self, count: Option<usize>, least: usize) -> Result<usize, ValueError> {
        let count = count.ok_or(ValueError::Malformed("its length is indefinite"))?;
        if count > MAX_VALUES - self.values {
            return Err(ValueError::TooMany);
        }
        if count * least > self.rest.len() {
            return Err(ValueError::Malformed("it ends too early"));
        }
        self.values += count;
        Ok(count)
    }
}

impl<'a> Read<'a> for Decoder<'a> {
    type Error = std::convert::Infallible;

    fn fill<'short>(&'short mut self, _want: usize) -> Result<Reference<'a, 'short>, Self::Error> {
        Ok(Reference::Long(self.rest))
    }

    fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }
}

fn malformed(error: dec::Error<std::convert::Infallible>) -> ValueError {
    ValueError::Malformed(match error {
        // Lengths that are there, and more than what follows.
        dec::Error::Eof { .. } | dec::Error::RequireLength { .. } => "it ends too early",
        dec::Error::RequireUtf8 { .. } => "a text is not UTF-8",
        dec::Error::CastOverflow { .. } | dec::Error::ArithmeticOverflow { .. } => "a number is out of range",
        _ => "it is not of the type that must stand there",
    })
}

/// RFC 8949, appendix D.
fn float_of_half(half: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(half >> 10 & 0x1f), f64::from(half & 0x3ff));
    let value = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if half & 0x8000 == 0 { value } else { -value }
}
