//! How the bytes of an object lie in units: the arithmetic between a range of an object, its stripes, and chunks of units.
//!
//! An object is cut into parts, one fid each, of whole stripes and at most 64 MiB. A stripe is N data units, one run of the object each, in
//! order, and K parity units. The units of a fid's last stripe are `ceil(rest/N)` rounded up to a block, padded with zeros. Everything
//! here is a function of numbers; persisted by use, so it never changes for a given [`Shape`].

use std::ops::Range;

use types::limits::{BLOCK_BYTES, CHUNK_BYTES, FID_BYTES_MAX, SCHEME_DATA_MAX, SCHEME_PARITY_MAX, UNIT_BYTES_MAX};
use types::object::Part;

/// Largest object that is cut into units of 64 KiB. With N = 4 a larger one is still few stripes: a server spends more on a unit than on
/// its bytes (`docs/decisions/0004-units-of-1-mib-from-4-mib-on.md`).
pub const SMALL_OBJECT_BYTES_MAX: u64 = 256 * 1024;
/// Largest object that is cut into units of 256 KiB.
pub const MEDIUM_OBJECT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Units of small objects.
pub const SMALL_UNIT_BYTES: u32 = 64 * 1024;
/// Units of medium objects.
pub const MEDIUM_UNIT_BYTES: u32 = 256 * 1024;
/// Units of large objects, and of those whose length is not known.
pub const LARGE_UNIT_BYTES: u32 = UNIT_BYTES_MAX as u32;

/// The unit size of an object of that length; `None` where it is not known yet.
pub fn unit_bytes_for(length: Option<u64>) -> u32 {
    match length {
        Some(length) if length <= SMALL_OBJECT_BYTES_MAX => SMALL_UNIT_BYTES,
        Some(length) if length <= MEDIUM_OBJECT_BYTES_MAX => MEDIUM_UNIT_BYTES,
        _ => LARGE_UNIT_BYTES,
    }
}

/// A shape that cannot be.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("no stripe of {data}+{parity} units of {unit_bytes} bytes")]
pub struct ShapeError {
    data: u8,
    parity: u8,
    unit_bytes: u32,
}

/// How the stripes of one fid are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    data: u8,
    parity: u8,
    unit_bytes: u32,
}

/// What a range needs of one stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeRange {
    /// The stripe's number in its fid.
    pub stripe: u32,
    /// Bytes of each of its units.
    pub unit_length: u32,
    /// The wanted bytes, counted from the stripe's first.
    pub wanted: Range<u64>,
    /// What covers them: data units in order, with the bytes of each to read.
    pub units: Vec<UnitRange>,
}

/// What a range needs of one data unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitRange {
    /// The unit's slot, below N.
    pub slot: u8,
    /// The wanted bytes, counted from the unit's first.
    pub wanted: Range<u32>,
    /// The chunks that cover them: begins at a chunk, ends at a chunk's or the unit's end.
    pub read: Range<u32>,
}

impl Shape {
    /// The shape with N `data` and K `parity` units of `unit_bytes`, a multiple of a chunk.
    pub fn new(data: u8, parity: u8, unit_bytes: u32) -> Result<Self, ShapeError> {
        let good = (1..=SCHEME_DATA_MAX).contains(&usize::from(data))
            && usize::from(parity) <= SCHEME_PARITY_MAX
            && unit_bytes > 0
            && unit_bytes as usize <= UNIT_BYTES_MAX
            && (unit_bytes as usize).is_multiple_of(CHUNK_BYTES);
        if good { Ok(Self { data, parity, unit_bytes }) } else { Err(ShapeError { data, parity, unit_bytes }) }
    }

    /// The shape of a part of an object.
    pub fn of(part: &Part) -> Result<Self, ShapeError> {
        Self::new(part.data, part.parity, part.unit_bytes)
    }

    /// N.
    pub fn data(self) -> u8 {
        self.data
    }

    /// K.
    pub fn parity(self) -> u8 {
        self.parity
    }

    /// N + K.
    pub fn width(self) -> u8 {
        self.data + self.parity
    }

    /// Bytes of a full unit.
    pub fn unit_bytes(self) -> u32 {
        self.unit_bytes
    }

    /// Bytes of the object in a full stripe.
    pub fn stripe_bytes(self) -> u64 {
        u64::from(self.data) * u64::from(self.unit_bytes)
    }

    /// Bytes of the object in a full fid: whole stripes, at most 64 MiB.
    pub fn fid_bytes(self) -> u64 {
        FID_BYTES_MAX / self.stripe_bytes() * self.stripe_bytes()
    }

    /// Stripes of a fid that holds `length` bytes of the object.
    pub fn stripes(self, length: u64) -> u32 {
        length.div_ceil(self.stripe_bytes()) as u32
    }

    /// Bytes of the object in stripe `stripe` of a fid that holds `length`.
    pub fn stripe_length(self, length: u64, stripe: u32) -> u64 {
        length.saturating_sub(u64::from(stripe) * self.stripe_bytes()).min(self.stripe_bytes())
    }

    /// Bytes of each unit of a stripe that holds `stripe_length` bytes of the object.
    pub fn unit_length(self, stripe_length: u64) -> u32 {
        let exact = stripe_length.min(self.stripe_bytes()).div_ceil(u64::from(self.data));
        exact.next_multiple_of(BLOCK_BYTES as u64) as u32
    }

    /// The number of a unit in its fid.
    pub fn unit_number(self, stripe: u32, slot: u8) -> u32 {
        stripe * u32::from(self.width()) + u32::from(slot)
    }

    /// What `wanted` (counted from the fid's first byte, within its `length`) needs, stripe by stripe.
    pub fn ranges(self, length: u64, wanted: Range<u64>) -> Vec<StripeRange> {
        let wanted = wanted.start.min(length)..wanted.end.min(length);
        if wanted.is_empty() {
            return Vec::new();
        }
        let stripe_bytes = self.stripe_bytes();
        (wanted.start / stripe_bytes..=(wanted.end - 1) / stripe_bytes)
            .map(|stripe| {
                let first = stripe * stripe_bytes;
                let inside = wanted.start.max(first) - first..wanted.end.min(first + stripe_bytes) - first;
                self.stripe_range(stripe as u32, self.stripe_length(length, stripe as u32), inside)
            })
            .collect()
    }

    fn stripe_range(self, stripe: u32, stripe_length: u64, wanted: Range<u64>) -> StripeRange {
        let unit_length = self.unit_length(stripe_length);
        let unit = u64::from(unit_length);
        let units = (0..self.data)
            .filter_map(|slot| {
                let first = u64::from(slot) * unit;
                let inside = wanted.start.max(first)..wanted.end.min(first + unit);
                if inside.is_empty() {
                    return None;
                }
                let wanted = (inside.start - first) as u32..(inside.end - first) as u32;
                Some(UnitRange { slot, read: chunks_around(&wanted, unit_length), wanted })
            })
            .collect();
        StripeRange { stripe, unit_length, wanted, units }
    }
}

/// The whole chunks around a range of a unit.
fn chunks_around(range: &Range<u32>, unit_length: u32) -> Range<u32> {
    let chunk = CHUNK_BYTES as u32;
    range.start / chunk * chunk..range.end.next_multiple_of(chunk).min(unit_length)
}

/// The smallest range that covers all of these.
pub fn hull(ranges: impl IntoIterator<Item = Range<u32>>) -> Range<u32> {
    ranges.into_iter().reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(data: u8, parity: u8, unit_bytes: u32) -> Shape {
        Shape::new(data, parity, unit_bytes).expect("a good shape")
    }

    #[test]
    fn unit_sizes_follow_the_length() {
        assert_eq!(unit_bytes_for(Some(0)), SMALL_UNIT_BYTES);
        assert_eq!(unit_bytes_for(Some(SMALL_OBJECT_BYTES_MAX)), SMALL_UNIT_BYTES);
        assert_eq!(unit_bytes_for(Some(SMALL_OBJECT_BYTES_MAX + 1)), MEDIUM_UNIT_BYTES);
        assert_eq!(unit_bytes_for(Some(MEDIUM_OBJECT_BYTES_MAX + 1)), LARGE_UNIT_BYTES);
        assert_eq!(unit_bytes_for(None), LARGE_UNIT_BYTES);
    }

    #[test]
    fn an_object_of_up_to_16_mib_is_at_most_four_stripes() {
        for kib in 1..=16 * 1024 {
            let length = kib * 1024;
            let shape = shape(4, 2, unit_bytes_for(Some(length)));
            assert!((1..=4).contains(&shape.stripes(length)), "{kib} KiB");
        }
    }

    #[test]
    fn a_fid_is_whole_stripes_and_at_most_64_mib() {
        assert_eq!(shape(4, 2, LARGE_UNIT_BYTES).fid_bytes(), FID_BYTES_MAX);
        assert_eq!(shape(3, 1, LARGE_UNIT_BYTES).fid_bytes(), 63 << 20);
    }

    #[test]
    fn the_last_stripe_has_short_units() {
        let shape = shape(4, 2, SMALL_UNIT_BYTES);
        let length = shape.stripe_bytes() + 5 * 4096;
        assert_eq!(shape.stripes(length), 2);
        assert_eq!(shape.unit_length(shape.stripe_length(length, 0)), SMALL_UNIT_BYTES);
        assert_eq!(shape.unit_length(shape.stripe_length(length, 1)), 2 * 4096);
        assert_eq!(shape.unit_number(1, 5), 11);
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused() {
        for (data, parity, unit_bytes) in [(0, 2, 65536), (17, 2, 65536), (4, 5, 65536), (4, 2, 0), (4, 2, 4096), (4, 2, 2 << 20)] {
            assert!(Shape::new(data, parity, unit_bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_range_is_covered_exactly_by_what_its_units_give(
            data in 1u8..=16, unit in 1u32..=4, length in 1u64..5_000_000, a in 0u64..5_000_000, b in 0u64..5_000_000
        ) {
            let shape = shape(data, 2, unit * SMALL_UNIT_BYTES);
            let wanted = a.min(b).min(length)..a.max(b).min(length);
            let mut at = wanted.start;
            for stripe in shape.ranges(length, wanted.clone()) {
                for unit in &stripe.units {
                    let first = u64::from(stripe.stripe) * shape.stripe_bytes() + u64::from(unit.slot) * u64::from(stripe.unit_length);
                    prop_assert_eq!(first + u64::from(unit.wanted.start), at);
                    at = first + u64::from(unit.wanted.end);
                    prop_assert!(unit.read.start <= unit.wanted.start && unit.wanted.end <= unit.read.end);
                    prop_assert!((unit.read.start as usize).is_multiple_of(CHUNK_BYTES));
                    prop_assert!((unit.read.end as usize).is_multiple_of(CHUNK_BYTES) || unit.read.end == stripe.unit_length);
                    prop_assert!(unit.read.end <= stripe.unit_length && stripe.unit_length <= shape.unit_bytes());
                }
            }
            prop_assert_eq!(at, wanted.end.max(wanted.start));
        }
    }
}
