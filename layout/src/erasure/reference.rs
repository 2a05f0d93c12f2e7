//! The erasure code once more, written from its definition, slow and plain: what ISA-L is checked against.

/// The polynomial of GF(2^8): x^8 + x^4 + x^3 + x^2 + 1.
const POLYNOMIAL: u16 = 0x11d;

/// Product in GF(2^8), by shift and add.
fn product(a: u8, b: u8) -> u8 {
    let mut sum = 0u16;
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            sum ^= u16::from(a) << bit;
        }
    }
    for bit in (8..16).rev() {
        if sum >> bit & 1 == 1 {
            sum ^= POLYNOMIAL << (bit - 8);
        }
    }
    sum as u8
}

/// The number whose product with `a` is 1.
fn inverse(a: u8) -> u8 {
    (1..=255).find(|&b| product(a, b) == 1).expect("every number but 0 has an inverse")
}

/// The parity units: coefficient of row `i` (from N) and column `j` is `1 / (i xor j)`.
pub fn encode(data: &[Vec<u8>], parity: usize) -> Vec<Vec<u8>> {
    let length = data[0].len();
    (data.len()..data.len() + parity)
        .map(|row| {
            let coefficients: Vec<u8> = (0..data.len()).map(|column| inverse((row ^ column) as u8)).collect();
            (0..length).map(|at| data.iter().zip(&coefficients).fold(0, |sum, (unit, &c)| sum ^ product(unit[at], c))).collect()
        })
        .collect()
}
