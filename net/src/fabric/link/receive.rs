//! Receiving on a link: slots are read and posted again, frames checked, heads put together.

use bytes::{Bytes, BytesMut};
use types::wire::frame::{FrameHeader, FrameKind};

use super::{Link, Ticket};
use crate::NetError;
use crate::fabric::sys::Posted;

/// A head of which pieces are missing.
#[derive(Default)]
pub(in super::super) struct Inbound {
    pending: Option<(FrameHeader, BytesMut)>,
}

impl Inbound {
    /// Adds a piece; gives the message once its head is whole.
    fn add(&mut self, header: FrameHeader, piece: &[u8]) -> Result<Option<(FrameHeader, Bytes)>, String> {
        let total = header.total as usize;
        let Some((first, mut head)) = self.pending.take() else {
            if piece.len() == total {
                return Ok(Some((header, Bytes::copy_from_slice(piece))));
            }
            if piece.is_empty() {
                return Err("a head in pieces begins with an empty one".to_owned());
            }
            let mut head = BytesMut::with_capacity(total);
            head.extend_from_slice(piece);
            self.pending = Some((header, head));
            return Ok(None);
        };
        let same = (first.kind, first.call, first.operation, first.total) == (header.kind, header.call, header.operation, header.total);
        if !same || piece.is_empty() || header.lend.is_some() || head.len() + piece.len() > total {
            return Err("a piece does not belong to the head before it".to_owned());
        }
        head.extend_from_slice(piece);
        if head.len() == total {
            return Ok(Some((first, head.freeze())));
        }
        self.pending = Some((first, head));
        Ok(None)
    }
}

impl Link {
    pub(super) fn post_receive(&self, slot: u16) -> Result<(), NetError> {
        let number = Ticket::Receive(self.id, slot).pack();
        let posted = self.ep.receive(self.slots.memory(), self.slots.receive_offset(slot), self.slots.frame_max(), number)?;
        if posted == Posted::Again {
            // There are never more receives posted than when the link was made.
            return Err(NetError::Fabric { call: "fi_recv", reason: "there is no room for a receive that had room before".to_owned() });
        }
        Ok(())
    }

    /// A receive has completed: checks the frame, posts the slot again and gives the message if its head is whole.
    pub(in super::super) fn received(&mut self, slot: u16, length: usize) -> Result<Option<(FrameHeader, Bytes)>, String> {
        let (header, piece) = FrameHeader::decode(self.slots.received(slot, length)).map_err(|e| e.to_string())?;
        let message = match header.kind {
            // Control frames come in between the pieces of a head.
            FrameKind::Credit | FrameKind::Heartbeat | FrameKind::Cancelled => {
                if header.total != 0 {
                    return Err(format!("a {:?} with a head", header.kind));
                }
                Some((header, Bytes::new()))
            }
            FrameKind::Failed | FrameKind::Refuse | FrameKind::Hello => {
                if header.total as usize != piece.len() {
                    return Err(format!("a {:?} in pieces", header.kind));
                }
                Some((header, Bytes::copy_from_slice(piece)))
            }
            FrameKind::Request | FrameKind::Reply | FrameKind::Post | FrameKind::Cancel => self.inbound.add(header, piece)?,
        };
        self.post_receive(slot).map_err(|e| e.to_string())?;
        self.owed += 1;
        self.credits += i64::from(header.credits);
        if self.peer.is_some() && self.credits > self.credits_max {
            return Err("it gives back more credits than it has slots".to_owned());
        }
        Ok(message)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn header(total: u32) -> FrameHeader {
        FrameHeader { call: 7, total, ..FrameHeader::new(FrameKind::Reply) }
    }

    #[test]
    fn a_head_is_put_together_from_its_pieces() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.add(header(5), b"ab").unwrap(), None);
        assert_eq!(inbound.add(header(5), b"cd").unwrap(), None);
        assert_eq!(inbound.add(header(5), b"e").unwrap(), Some((header(5), Bytes::from_static(b"abcde"))));
        assert_eq!(inbound.add(header(0), b"").unwrap(), Some((header(0), Bytes::new())));
    }

    #[test]
    fn a_piece_of_another_message_is_an_error() {
        for wrong in [FrameHeader { call: 8, ..header(5) }, header(4), FrameHeader { kind: FrameKind::Post, ..header(5) }] {
            let mut inbound = Inbound::default();
            inbound.add(header(5), b"ab").unwrap();
            assert!(inbound.add(wrong, b"cd").is_err());
        }
        let mut inbound = Inbound::default();
        inbound.add(header(5), b"ab").unwrap();
        assert!(inbound.add(header(5), b"").is_err());
        assert!(Inbound::default().add(header(5), b"").is_err());
        let mut inbound = Inbound::default();
        inbound.add(header(5), b"abc").unwrap();
        assert!(inbound.add(header(5), b"def").is_err());
    }
}
