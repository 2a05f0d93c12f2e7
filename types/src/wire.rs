//! Every message that crosses the fabric. A message is an [`Operation`], a head (encoded with [`crate::codec`]) and, for bulk data, a lent
//! buffer; `net` frames it.

pub mod dtm;
pub mod frame;
pub mod hello;
pub mod request;

/// What a message asks for: the `op` of its frame. Numbered for life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Operation {
    /// One-way, between members of a group: [`dtm::Envelope`].
    Dtm = 1,
    /// [`request::Execute`] → [`request::ExecuteReply`].
    Execute = 2,
    /// [`request::Read`] → [`request::ReadReply`].
    Read = 3,
    /// [`request::Scan`] → [`request::ScanReply`].
    Scan = 4,
    /// [`request::WriteUnit`], lends the unit → [`request::UnitReply`].
    WriteUnit = 5,
    /// [`request::ReadUnit`], lends room → [`request::ReadUnitReply`].
    ReadUnit = 6,
    /// [`request::DeleteUnits`] → [`request::UnitReply`].
    DeleteUnits = 7,
    /// [`request::Usage`] → [`request::UsageReply`].
    Usage = 8,
    /// Echo, for benches: the reply's head is the request's.
    Echo = 9,
    /// Bulk sink for benches: the data is pulled and forgotten.
    Sink = 10,
    /// Bulk source for benches: the lent room is filled.
    Source = 11,
    /// [`request::ListUnits`] → [`request::ListUnitsReply`].
    ListUnits = 12,
    /// [`request::ReadPoint`] → [`request::ReadPointReply`].
    ReadPoint = 13,
    /// [`request::ReadNear`] → [`request::ReadReply`].
    ReadNear = 14,
}

impl Operation {
    /// The operation of that number.
    pub fn from_u16(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Dtm,
            2 => Self::Execute,
            3 => Self::Read,
            4 => Self::Scan,
            5 => Self::WriteUnit,
            6 => Self::ReadUnit,
            7 => Self::DeleteUnits,
            8 => Self::Usage,
            9 => Self::Echo,
            10 => Self::Sink,
            11 => Self::Source,
            12 => Self::ListUnits,
            13 => Self::ReadPoint,
            14 => Self::ReadNear,
            _ => return None,
        })
    }
}
