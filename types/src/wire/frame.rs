//! The frame of the fabric: a 48-byte little-endian header with a CRC32C over everything, for some messages a description of lent memory, and a
//! piece of the message's head. The format page is `docs/formats/wire.md`.
//!
//! Any byte string decodes to a frame or to an error; nothing here panics and nothing is allocated.

use crate::checksum::crc32c_of;
use crate::limits::MESSAGE_HEAD_BYTES_MAX;

/// First bytes of every frame: `RDBT`.
pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"RDBT");
/// The version of the header. HELLO agrees on what is above it.
pub const FRAME_VERSION: u8 = 1;
/// Length of the header.
pub const FRAME_HEADER_BYTES: usize = 48;
/// Length of a [`LendDescriptor`].
pub const LEND_DESCRIPTOR_BYTES: usize = 32;
/// Most bytes of a head in one frame; a longer head travels in several.
pub const FRAME_PIECE_BYTES_MAX: usize = 16 * 1024;
/// Longest frame, and so the length of every receive slot. A longer message would look sent and be lost.
pub const FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES + LEND_DESCRIPTOR_BYTES + FRAME_PIECE_BYTES_MAX;
/// Most bytes that one call may lend.
pub const LEND_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// A [`LendDescriptor`] stands between the header and the piece.
const FLAG_LEND: u16 = 1;
const FLAGS_KNOWN: u16 = FLAG_LEND;
/// Where in the header its checksum lies; the checksum covers everything else.
const CRC_AT: usize = 44;

/// What a frame is. Numbered for life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// First message of both sides of a link: [`super::hello::Hello`].
    Hello = 1,
    /// Answer to a HELLO that is not accepted: [`super::hello::Refuse`]; the link ends.
    Refuse = 2,
    /// A request that wants a reply; may lend memory.
    Request = 3,
    /// The answer to a request; whatever was pushed for it has arrived before it.
    Reply = 4,
    /// A message that wants no answer.
    Post = 5,
    /// The caller gives up a request that lent memory.
    Cancel = 6,
    /// The memory of that request will not be touched any more.
    Cancelled = 7,
    /// Carries only credits.
    Credit = 8,
    /// Nothing but a sign of life.
    Heartbeat = 9,
    /// The server has no answer to a request; the head says why.
    Failed = 10,
}

impl FrameKind {
    /// The kind of that number.
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Hello,
            2 => Self::Refuse,
            3 => Self::Request,
            4 => Self::Reply,
            5 => Self::Post,
            6 => Self::Cancel,
            7 => Self::Cancelled,
            8 => Self::Credit,
            9 => Self::Heartbeat,
            10 => Self::Failed,
            _ => return None,
        })
    }
}

/// What the server may do with lent memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LendAccess {
    /// Read it: the data goes with the request.
    Read = 1,
    /// Write it: the data comes with the reply.
    Write = 2,
}

/// Memory of the caller that the server of a request may reach until it replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LendDescriptor {
    /// Remote address: virtual, or an offset into the registered region, as the provider wants it.
    pub address: u64,
    /// Remote key.
    pub key: u64,
    /// Bytes, at most [`LEND_BYTES_MAX`].
    pub length: u32,
    /// What may be done with them.
    pub access: LendAccess,
    /// CRC32C of the data that is lent to be read; zero while no authentication binds bulk data to its request.
    pub checksum: u32,
}

impl LendDescriptor {
    fn encode(&self, out: &mut [u8]) {
        out[0..8].copy_from_slice(&self.address.to_le_bytes());
        out[8..16].copy_from_slice(&self.key.to_le_bytes());
        out[16..20].copy_from_slice(&self.length.to_le_bytes());
        out[20] = self.access as u8;
        out[21..24].fill(0);
        out[24..28].copy_from_slice(&self.checksum.to_le_bytes());
        out[28..32].fill(0);
    }

    fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let access = match bytes[20] {
            1 => LendAccess::Read,
            2 => LendAccess::Write,
            other => return Err(FrameError::LendAccess(other)),
        };
        let length = le_u32(bytes, 16);
        if length > LEND_BYTES_MAX {
            return Err(FrameError::LendLength(length));
        }
        Ok(Self { address: le_u64(bytes, 0), key: le_u64(bytes, 8), length, access, checksum: le_u32(bytes, 24) })
    }
}

/// Everything of a frame but its piece of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is.
    pub kind: FrameKind,
    /// The caller's number for the request, unique on its link. Zero where there is none.
    pub call: u64,
    /// The number of the [`super::Operation`], for requests and posts; else zero.
    pub operation: u16,
    /// Version of the operation's head.
    pub operation_version: u16,
    /// For requests and posts the milliseconds that the caller will still wait; for replies the bytes that were pushed.
    pub amount: u32,
    /// Receive slots that the sender has filled up again since its last frame.
    pub credits: u16,
    /// Epoch of the sender's map, zero if it has none. A hint.
    pub epoch: u64,
    /// Length of the whole head, all pieces together.
    pub total: u32,
    /// Memory that is lent with a request; only in its first frame.
    pub lend: Option<LendDescriptor>,
}

impl FrameHeader {
    /// A frame of that kind with everything else empty.
    pub fn new(kind: FrameKind) -> Self {
        Self { kind, call: 0, operation: 0, operation_version: 1, amount: 0, credits: 0, epoch: 0, total: 0, lend: None }
    }

    /// Length of the frame with a piece of that length.
    pub fn frame_bytes(&self, piece: usize) -> usize {
        FRAME_HEADER_BYTES + if self.lend.is_some() { LEND_DESCRIPTOR_BYTES } else { 0 } + piece
    }

    /// Writes the frame at the beginning of `out` and says how long it is.
    ///
    /// # Panics
    /// If `out` is shorter than the frame or the piece longer than [`FRAME_PIECE_BYTES_MAX`]: our own doing, never a peer's.
    pub fn encode(&self, piece: &[u8], out: &mut [u8]) -> usize {
        assert!(piece.len() <= FRAME_PIECE_BYTES_MAX, "a piece of a head fits a frame");
        let length = self.frame_bytes(piece.len());
        let out = &mut out[..length];
        out[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        out[4] = FRAME_VERSION;
        out[5] = self.kind as u8;
        out[6..8].copy_from_slice(&(if self.lend.is_some() { FLAG_LEND } else { 0 }).to_le_bytes());
        out[8..16].copy_from_slice(&self.call.to_le_bytes());
        out[16..18].copy_from_slice(&self.operation.to_le_bytes());
        out[18..20].copy_from_slice(&self.operation_version.to_le_bytes());
        out[20..24].copy_from_slice(&(piece.len() as u32).to_le_bytes());
        out[24..28].copy_from_slice(&self.amount.to_le_bytes());
        out[28..30].copy_from_slice(&self.credits.to_le_bytes());
        out[30..32].fill(0);
        out[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        out[40..44].copy_from_slice(&self.total.to_le_bytes());
        let piece_at = length - piece.len();
        if let Some(lend) = &self.lend {
            lend.encode(&mut out[FRAME_HEADER_BYTES..piece_at]);
        }
        out[piece_at..].copy_from_slice(piece);
        let crc = crc32c_of(&[&out[..CRC_AT], &out[FRAME_HEADER_BYTES..]]);
        out[CRC_AT..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        length
    }

    /// The header and the piece of a frame, which must be exactly `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        if bytes.len() < FRAME_HEADER_BYTES {
            return Err(FrameError::Short(bytes.len()));
        }
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(FrameError::Long(bytes.len()));
        }
        if le_u32(bytes, 0) != FRAME_MAGIC {
            return Err(FrameError::Magic(le_u32(bytes, 0)));
        }
        if bytes[4] != FRAME_VERSION {
            return Err(FrameError::Version(bytes[4]));
        }
        let crc = crc32c_of(&[&bytes[..CRC_AT], &bytes[FRAME_HEADER_BYTES..]]);
        if crc != le_u32(bytes, CRC_AT) {
            return Err(FrameError::Checksum { computed: crc, carried: le_u32(bytes, CRC_AT) });
        }
        let kind = FrameKind::from_u8(bytes[5]).ok_or(FrameError::Kind(bytes[5]))?;
        let flags = le_u16(bytes, 6);
        if flags & !FLAGS_KNOWN != 0 {
            return Err(FrameError::Flags(flags));
        }
        let (lend, piece_at) = if flags & FLAG_LEND == 0 {
            (None, FRAME_HEADER_BYTES)
        } else {
            let piece_at = FRAME_HEADER_BYTES + LEND_DESCRIPTOR_BYTES;
            let descriptor = bytes.get(FRAME_HEADER_BYTES..piece_at).ok_or(FrameError::Short(bytes.len()))?;
            (Some(LendDescriptor::decode(descriptor)?), piece_at)
        };
        let piece = &bytes[piece_at..];
        let length = le_u32(bytes, 20);
        if length as usize != piece.len() {
            return Err(FrameError::Length { carried: length, found: piece.len() });
        }
        let total = le_u32(bytes, 40);
        if total as usize > MESSAGE_HEAD_BYTES_MAX || piece.len() > total as usize {
            return Err(FrameError::Total { total, piece: piece.len() });
        }
        let header = Self {
            kind,
            call: le_u64(bytes, 8),
            operation: le_u16(bytes, 16),
            operation_version: le_u16(bytes, 18),
            amount: le_u32(bytes, 24),
            credits: le_u16(bytes, 28),
            epoch: le_u64(bytes, 32),
            total,
            lend,
        };
        Ok((header, piece))
    }
}

/// Why bytes are no frame. The link that they came over is not to be trusted any more.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Fewer bytes than the headers need.
    #[error("a frame of {0} bytes is too short")]
    Short(usize),
    /// More bytes than any frame has.
    #[error("a frame of {0} bytes is too long")]
    Long(usize),
    /// Not ours at all.
    #[error("not a frame of ours: it begins with {0:#010x}")]
    Magic(u32),
    /// A header that is not known here.
    #[error("frame version {0} is not known here")]
    Version(u8),
    /// The bytes are not what was sent.
    #[error("frame checksum {carried:#010x} does not match {computed:#010x}")]
    Checksum {
        /// What the bytes give.
        computed: u32,
        /// What the frame says.
        carried: u32,
    },
    /// A kind that is not known here.
    #[error("frame kind {0} is not known here")]
    Kind(u8),
    /// Flags that are not known here.
    #[error("frame flags {0:#06x} are not known here")]
    Flags(u16),
    /// The length field does not match the bytes.
    #[error("the frame says {carried} bytes and has {found}")]
    Length {
        /// What the frame says.
        carried: u32,
        /// What it has.
        found: usize,
    },
    /// A head that is longer than allowed, or shorter than its piece.
    #[error("a head of {total} bytes with a piece of {piece} is out of bounds")]
    Total {
        /// Length of the head.
        total: u32,
        /// Length of the piece.
        piece: usize,
    },
    /// More memory lent than allowed.
    #[error("{0} lent bytes are too many")]
    LendLength(u32),
    /// An access that is not known here.
    #[error("access {0} to lent memory is not known here")]
    LendAccess(u8),
}

fn le_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn le_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le_u32(bytes, at)) | u64::from(le_u32(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Request,
            call: 0x0102_0304_0506_0708,
            operation: 5,
            operation_version: 1,
            amount: 1500,
            credits: 3,
            epoch: 42,
            total: 5,
            lend: Some(LendDescriptor { address: 4096, key: 0xfeed, length: 65536, access: LendAccess::Read, checksum: 0 }),
        }
    }

    fn frame() -> Vec<u8> {
        let mut out = vec![0xaa; FRAME_BYTES_MAX];
        let length = header().encode(b"hello", &mut out);
        out.truncate(length);
        out
    }

    /// The bytes of version 1, for ever: a change here is a new version.
    const GOLDEN: &str = "524442540103010008070605040302010500010005000000dc05000003000000\
                          2a0000000000000005000000dcc6e19c\
                          0010000000000000edfe0000000000000000010001000000000000000000000068656c6c6f";

    #[test]
    fn the_bytes_of_a_frame_are_the_golden_ones() {
        let hex: String = frame().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    #[test]
    fn a_frame_survives_its_bytes() {
        assert_eq!(FrameHeader::decode(&frame()), Ok((header(), b"hello".as_slice())));
        let plain = FrameHeader { kind: FrameKind::Post, lend: None, ..header() };
        let mut out = vec![0; FRAME_BYTES_MAX];
        let length = plain.encode(b"", &mut out);
        assert_eq!(length, FRAME_HEADER_BYTES);
        assert_eq!(FrameHeader::decode(&out[..length]), Ok((plain, b"".as_slice())));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let frame = frame();
        for cut in 0..frame.len() {
            assert!(FrameHeader::decode(&frame[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn every_flipped_bit_is_an_error() {
        let mut frame = frame();
        for bit in 0..frame.len() * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&frame).is_err(), "{bit}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn bytes_after_the_frame_are_an_error() {
        let mut frame = frame();
        frame.push(0);
        assert!(FrameHeader::decode(&frame).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = FrameHeader::decode(&bytes);
        }

        #[test]
        fn a_frame_with_a_right_checksum_and_anything_else_never_panics(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 48..200)) {
            bytes[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
            bytes[4] = FRAME_VERSION;
            let crc = crc32c_of(&[&bytes[..CRC_AT], &bytes[FRAME_HEADER_BYTES..]]);
            bytes[CRC_AT..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
            let _ = FrameHeader::decode(&bytes);
        }
    }
}
