//! The one way from a value to bytes and back: bincode 2, little-endian, variable-length integers, with a limit on what is read.
//!
//! What is persisted carries a version in front of it; see `docs/formats/`.

use bincode::config;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::DECODE_BYTES_MAX;

/// Why bytes are not the value that they should be.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CodecError {
    /// The bytes do not decode.
    #[error("{what} does not decode: {reason}")]
    Decode {
        /// The type that was expected.
        what: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// Bytes are left over after the value.
    #[error("{left} bytes are left over after {what}")]
    Trailing {
        /// The type that was expected.
        what: &'static str,
        /// How many.
        left: usize,
    },
}

const CONFIG: config::Configuration<config::LittleEndian, config::Varint, config::Limit<DECODE_BYTES_MAX>> =
    config::standard().with_limit::<DECODE_BYTES_MAX>();

/// The bytes of a value. Cannot fail for the types of this crate: their lengths are bounded before they get here.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, config::standard()).expect("our own types always encode")
}

/// The value of `bytes`, all of them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let what = std::any::type_name::<T>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|e| CodecError::Decode { what, reason: e.to_string() })?;
    if used != bytes.len() {
        return Err(CodecError::Trailing { what, left: bytes.len() - used });
    }
    Ok(value)
}

/// Byte strings as one length and a run of bytes, not as a sequence of numbers.
pub mod bytes {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    /// Writes the bytes as one run.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    /// Reads the bytes as one run.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Run;

        impl<'de> Visitor<'de> for Run {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, v: &[u8]) -> Result<Vec<u8>, E> {
                Ok(v.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, v: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(v)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                let mut out = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    out.push(byte);
                }
                Ok(out)
            }
        }

        deserializer.deserialize_byte_buf(Run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = encode(&(7u64, "a name".to_string(), vec![1u8, 2, 3]));
        for cut in 0..bytes.len() {
            assert!(decode::<(u64, String, Vec<u8>)>(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        let mut bytes = encode(&7u64);
        bytes.push(0);
        assert!(matches!(decode::<u64>(&bytes), Err(CodecError::Trailing { left: 1, .. })));
    }

    #[test]
    fn an_absurd_length_is_refused_before_it_is_allocated() {
        let bytes = encode(&u64::MAX);
        assert!(decode::<Vec<u8>>(&bytes).is_err());
    }
}
