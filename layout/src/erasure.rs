//! The erasure code: systematic Reed-Solomon over GF(2^8) with a Cauchy matrix, any N of N+K units give back the rest.
//!
//! The arithmetic is ISA-L's (Debian `libisal-dev`), which chooses AVX-512, AVX2 or portable code at run time. It is deterministic: the
//! matrix is a function of (N, K) alone and never changes, since it is persisted by use. The tests check it bit by bit against a plain
//! implementation. Checksums, and the choice of which units to read, are left to the callers.
#![allow(unsafe_code, reason = "the one place that calls ISA-L, a C library, through FFI")]

use std::ffi::c_int;

use types::limits::{SCHEME_DATA_MAX, SCHEME_PARITY_MAX};

#[cfg(test)]
mod reference;

#[link(name = "isal")]
unsafe extern "C" {
    fn gf_gen_cauchy1_matrix(matrix: *mut u8, rows: c_int, columns: c_int);
    fn gf_invert_matrix(matrix: *mut u8, inverse: *mut u8, n: c_int) -> c_int;
    fn ec_init_tables(columns: c_int, rows: c_int, matrix: *const u8, tables: *mut u8);
    fn ec_encode_data(length: c_int, columns: c_int, rows: c_int, tables: *const u8, data: *const *const u8, coding: *const *mut u8);
    fn gf_mul(a: u8, b: u8) -> u8;
}

/// Bytes of ISA-L's expanded table for one coefficient.
const TABLE_BYTES: usize = 32;

/// Why units cannot be encoded or rebuilt.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CodeError {
    /// N or K out of bounds.
    #[error("no code {data}+{parity}: N is 1 to {SCHEME_DATA_MAX}, K is 0 to {SCHEME_PARITY_MAX}")]
    Scheme {
        /// N.
        data: usize,
        /// K.
        parity: usize,
    },
    /// The wrong number of units.
    #[error("{given} units given where {needed} are needed")]
    Count {
        /// How many there are.
        given: usize,
        /// How many there should be.
        needed: usize,
    },
    /// Units of different lengths.
    #[error("a unit of {given} bytes among units of {expected}")]
    Length {
        /// Its length.
        given: usize,
        /// The others'.
        expected: usize,
    },
    /// A unit number that the code does not have, or that is named twice.
    #[error("unit {0} is not in the code, or is named twice")]
    Unit(usize),
}

/// A code with N data and K parity units.
#[derive(Clone, Debug)]
pub struct Code {
    data: usize,
    parity: usize,
    /// (N+K) rows of N coefficients; the first N rows are the identity.
    matrix: Vec<u8>,
    /// Expanded tables of the parity rows.
    tables: Vec<u8>,
}

impl Code {
    /// The code with `data` (N) data and `parity` (K) parity units.
    pub fn new(data: usize, parity: usize) -> Result<Self, CodeError> {
        if data == 0 || data > SCHEME_DATA_MAX || parity > SCHEME_PARITY_MAX {
            return Err(CodeError::Scheme { data, parity });
        }
        let mut matrix = vec![0; (data + parity) * data];
        // SAFETY: the matrix has rows * columns bytes, which is what ISA-L writes.
        unsafe { gf_gen_cauchy1_matrix(matrix.as_mut_ptr(), (data + parity) as c_int, data as c_int) };
        let tables = expand(&matrix[data * data..], data);
        Ok(Self { data, parity, matrix, tables })
    }

    /// N.
    pub fn data(&self) -> usize {
        self.data
    }

    /// K.
    pub fn parity(&self) -> usize {
        self.parity
    }

    /// Fills the K parity units from the N data units; all have one length.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), CodeError> {
        if data.len() != self.data {
            return Err(CodeError::Count { given: data.len(), needed: self.data });
        }
        if parity.len() != self.parity {
            return Err(CodeError::Count { given: parity.len(), needed: self.parity });
        }
        multiply(&self.tables, data, parity)
    }

    /// Fills each wanted unit from any N present units, given by their numbers in the stripe (data units first); all have one length.
    ///
    /// More than N present units are allowed: the first N are used. A wanted unit that is present is refused: copy it instead.
    pub fn reconstruct(&self, present: &[(usize, &[u8])], wanted: &mut [(usize, &mut [u8])]) -> Result<(), CodeError> {
        if present.len() < self.data {
            return Err(CodeError::Count { given: present.len(), needed: self.data });
        }
        let present = &present[..self.data];
        let mut seen = [false; SCHEME_DATA_MAX + SCHEME_PARITY_MAX];
        for unit in present.iter().map(|(unit, _)| *unit).chain(wanted.iter().map(|(unit, _)| *unit)) {
            if unit >= self.data + self.parity || std::mem::replace(&mut seen[unit], true) {
                return Err(CodeError::Unit(unit));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let inverse = self.inverse_of(present);
        let mut rows = Vec::with_capacity(wanted.len() * self.data);
        for (unit, _) in wanted.iter() {
            let row = &self.matrix[unit * self.data..(unit + 1) * self.data];
            rows.extend((0..self.data).map(|column| {
                let terms = row.iter().zip(inverse[column..].iter().step_by(self.data));
                // SAFETY: gf_mul reads its two arguments and constant tables only.
                terms.fold(0, |sum, (&a, &b)| sum ^ unsafe { gf_mul(a, b) })
            }));
        }
        let sources: Vec<&[u8]> = present.iter().map(|(_, bytes)| *bytes).collect();
        let mut targets: Vec<&mut [u8]> = wanted.iter_mut().map(|(_, bytes)| &mut **bytes).collect();
        multiply(&expand(&rows, self.data), &sources, &mut targets)
    }

    /// The matrix that gives the data units from these N units.
    fn inverse_of(&self, present: &[(usize, &[u8])]) -> Vec<u8> {
        let mut square: Vec<u8> =
            present.iter().flat_map(|(unit, _)| &self.matrix[unit * self.data..(unit + 1) * self.data]).copied().collect();
        let mut inverse = vec![0; self.data * self.data];
        // SAFETY: both matrices have n * n bytes.
        let singular = unsafe { gf_invert_matrix(square.as_mut_ptr(), inverse.as_mut_ptr(), self.data as c_int) };
        assert_eq!(singular, 0, "every N rows of a Cauchy code are independent");
        inverse
    }
}

/// ISA-L's tables for rows of `columns` coefficients.
fn expand(rows: &[u8], columns: usize) -> Vec<u8> {
    let mut tables = vec![0; TABLE_BYTES * rows.len()];
    if !rows.is_empty() {
        // SAFETY: the coefficients are whole rows of `columns`, and the tables have 32 bytes for each.
        unsafe { ec_init_tables(columns as c_int, (rows.len() / columns) as c_int, rows.as_ptr(), tables.as_mut_ptr()) };
    }
    tables
}

/// Each target is the sum of all sources, multiplied by the coefficients of the target's row.
fn multiply(tables: &[u8], sources: &[&[u8]], targets: &mut [&mut [u8]]) -> Result<(), CodeError> {
    let length = sources.first().map_or(0, |unit| unit.len());
    let other = sources.iter().map(|unit| unit.len()).chain(targets.iter().map(|unit| unit.len())).find(|&l| l != length);
    if let Some(given) = other {
        return Err(CodeError::Length { given, expected: length });
    }
    if targets.is_empty() || length == 0 {
        return Ok(());
    }
    assert_eq!(tables.len(), TABLE_BYTES * sources.len() * targets.len(), "a table for each pair of source and target");
    let length = c_int::try_from(length).map_err(|_| CodeError::Length { given: length, expected: c_int::MAX as usize })?;
    let from: Vec<*const u8> = sources.iter().map(|unit| unit.as_ptr()).collect();
    let to: Vec<*mut u8> = targets.iter_mut().map(|unit| unit.as_mut_ptr()).collect();
    // SAFETY: every source and target has `length` bytes (checked above), the targets are exclusive borrows, so nothing overlaps, and the
    // tables have 32 bytes for each pair (asserted above).
    unsafe { ec_encode_data(length, from.len() as c_int, to.len() as c_int, tables.as_ptr(), from.as_ptr(), to.as_ptr()) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn units(count: usize, length: usize, seed: u64) -> Vec<Vec<u8>> {
        let mut state = seed | 1;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..count).map(|_| (0..length).map(|_| byte()).collect()).collect()
    }

    /// The N data units and their K parity units.
    fn stripe(code: &Code, length: usize, seed: u64) -> Vec<Vec<u8>> {
        let mut all = units(code.data(), length, seed);
        let mut parity = vec![vec![0; length]; code.parity()];
        let sources: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let mut targets: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
        code.encode(&sources, &mut targets).expect("encodes");
        all.append(&mut parity);
        all
    }

    fn rebuilds(code: &Code, all: &[Vec<u8>], lost: &[usize]) {
        let present: Vec<(usize, &[u8])> =
            all.iter().enumerate().filter(|(unit, _)| !lost.contains(unit)).map(|(unit, bytes)| (unit, bytes.as_slice())).collect();
        let mut rebuilt = vec![vec![0; all[0].len()]; lost.len()];
        let mut wanted: Vec<(usize, &mut [u8])> = lost.iter().copied().zip(rebuilt.iter_mut().map(Vec::as_mut_slice)).collect();
        code.reconstruct(&present, &mut wanted).expect("rebuilds");
        for (unit, bytes) in lost.iter().zip(&rebuilt) {
            assert_eq!(bytes, &all[*unit], "{}+{} without {lost:?}", code.data(), code.parity());
        }
    }

    /// Every set of exactly `left` numbers below `below`, on top of `chosen`.
    fn subsets(below: usize, left: usize, chosen: &mut Vec<usize>, each: &mut dyn FnMut(&[usize])) {
        if left == 0 {
            return each(chosen);
        }
        let first = chosen.last().map_or(0, |last| last + 1);
        for next in first..below {
            chosen.push(next);
            subsets(below, left - 1, chosen, each);
            chosen.pop();
        }
    }

    #[test]
    fn every_k_subset_of_lost_units_rebuilds_for_every_code() {
        for data in 1..=SCHEME_DATA_MAX {
            for parity in 0..=SCHEME_PARITY_MAX {
                let code = Code::new(data, parity).expect("within bounds");
                let all = stripe(&code, 33, (data * 16 + parity) as u64);
                for lost in 0..=parity {
                    subsets(data + parity, lost, &mut Vec::new(), &mut |lost| rebuilds(&code, &all, lost));
                }
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(matches!(Code::new(0, 2), Err(CodeError::Scheme { .. })));
        assert!(matches!(Code::new(17, 2), Err(CodeError::Scheme { .. })));
        assert!(matches!(Code::new(4, 5), Err(CodeError::Scheme { .. })));
        let code = Code::new(2, 1).expect("within bounds");
        let (a, b, mut out) = ([1u8; 8], [2u8; 8], [0u8; 8]);
        assert!(matches!(code.encode(&[&a], &mut [&mut out]), Err(CodeError::Count { .. })));
        assert!(matches!(code.encode(&[&a, &b[..7]], &mut [&mut out]), Err(CodeError::Length { .. })));
        assert!(matches!(code.reconstruct(&[(0, &a)], &mut [(1, &mut out)]), Err(CodeError::Count { .. })));
        assert!(matches!(code.reconstruct(&[(0, &a), (0, &b)], &mut [(1, &mut out)]), Err(CodeError::Unit(0))));
        assert!(matches!(code.reconstruct(&[(0, &a), (2, &b)], &mut [(3, &mut out)]), Err(CodeError::Unit(3))));
    }

    #[test]
    fn the_matrix_of_4_2_never_changes() {
        let code = Code::new(4, 2).expect("within bounds");
        assert_eq!(code.matrix[16..], [71, 167, 122, 186, 167, 71, 186, 122]);
    }

    proptest! {
        #[test]
        fn isal_equals_the_reference_bit_by_bit(data in 1usize..=16, parity in 0usize..=4, length in 0usize..300, seed: u64) {
            let code = Code::new(data, parity).expect("within bounds");
            let all = stripe(&code, length, seed);
            let (sources, coded) = all.split_at(data);
            prop_assert_eq!(coded, &reference::encode(sources, parity)[..]);
        }

        #[test]
        fn lost_units_of_long_stripes_rebuild(data in 1usize..=16, parity in 1usize..=4, length in 1usize..20_000, seed: u64, first in 0usize..20) {
            let code = Code::new(data, parity).expect("within bounds");
            let all = stripe(&code, length, seed);
            let lost: Vec<usize> = (0..parity).map(|i| (first + i * 3) % (data + parity)).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            rebuilds(&code, &all, &lost);
        }
    }
}
