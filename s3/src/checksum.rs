//! The checksums of S3 beside the MD5: their names, how they are asked for, and how those of an upload's parts become one of the whole.

use md5::{Digest, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::Checksum;
use s3s::{S3Result, s3_error};
use types::checksum::Crc;

/// Which checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// CRC32.
    Crc32,
    /// CRC32C.
    Crc32c,
    /// CRC64 of NVMe.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// What the checksum of an object of parts is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the checksums of its parts.
    Composite,
    /// Of its bytes.
    FullObject,
}

/// The checksums that an input gives: the protocol's types have these fields, and nothing in common.
macro_rules! checksums_given {
    ($input:ident) => {
        s3s::dto::Checksum {
            checksum_crc32: $input.checksum_crc32.clone(),
            checksum_crc32c: $input.checksum_crc32c.clone(),
            checksum_crc64nvme: $input.checksum_crc64nvme.clone(),
            checksum_sha1: $input.checksum_sha1.clone(),
            checksum_sha256: $input.checksum_sha256.clone(),
            ..s3s::dto::Checksum::default()
        }
    };
}
pub(crate) use checksums_given;

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// Its name in headers and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// Bytes of it.
    pub fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The header that carries it, and the word of a record.
    pub fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name())
    }

    /// The one that a caller names.
    ///
    /// # Errors
    /// `InvalidRequest` where there is none of that name.
    pub fn parse(name: &str) -> S3Result<Self> {
        let found = Self::ALL.into_iter().find(|one| one.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
                 [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
            )
        })
    }

    /// It among several.
    pub fn of(self, sums: &Checksum) -> Option<&String> {
        match self {
            Self::Crc32 => sums.checksum_crc32.as_ref(),
            Self::Crc32c => sums.checksum_crc32c.as_ref(),
            Self::Crc64Nvme => sums.checksum_crc64nvme.as_ref(),
            Self::Sha1 => sums.checksum_sha1.as_ref(),
            Self::Sha256 => sums.checksum_sha256.as_ref(),
        }
    }

    /// Puts it among several.
    pub fn put(self, sums: &mut Checksum, sum: Option<String>) {
        let place = match self {
            Self::Crc32 => &mut sums.checksum_crc32,
            Self::Crc32c => &mut sums.checksum_crc32c,
            Self::Crc64Nvme => &mut sums.checksum_crc64nvme,
            Self::Sha1 => &mut sums.checksum_sha1,
            Self::Sha256 => &mut sums.checksum_sha256,
        };
        *place = sum;
    }

    /// Those that are there.
    pub fn all_of(sums: &Checksum) -> Vec<Self> {
        Self::ALL.into_iter().filter(|one| one.of(sums).is_some()).collect()
    }

    /// The first that is there.
    pub fn any_of(sums: &Checksum) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.of(sums).is_some())
    }

    /// Computes these.
    pub fn hasher(wanted: &[Self]) -> ChecksumHasher {
        ChecksumHasher {
            crc32: wanted.contains(&Self::Crc32).then(Default::default),
            crc32c: wanted.contains(&Self::Crc32c).then(Default::default),
            crc64nvme: wanted.contains(&Self::Crc64Nvme).then(Default::default),
            sha1: wanted.contains(&Self::Sha1).then(Default::default),
            sha256: wanted.contains(&Self::Sha256).then(Default::default),
        }
    }

    /// How a checksum of an upload is made where nobody says it.
    pub fn usual_kind(self) -> Kind {
        if self == Self::Crc64Nvme { Kind::FullObject } else { Kind::Composite }
    }

    /// Whether it can be made so.
    pub fn allows(self, kind: Kind) -> bool {
        match kind {
            Kind::FullObject => self.crc().is_some(),
            Kind::Composite => self != Self::Crc64Nvme,
        }
    }

    fn crc(self) -> Option<Crc> {
        match self {
            Self::Crc32 => Some(Crc::Crc32),
            Self::Crc32c => Some(Crc::Crc32c),
            Self::Crc64Nvme => Some(Crc::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// That of an object of parts, each with its own and its length; `None` where one of them is none.
    pub fn of_parts(self, kind: Kind, parts: &[(&str, u64)]) -> Option<String> {
        let decoded = parts.iter().map(|(sum, _)| base64_simd::STANDARD.decode_to_vec(sum).ok()).collect::<Option<Vec<_>>>()?;
        if kind == Kind::Composite {
            let mut hasher = Self::hasher(&[self]);
            decoded.iter().for_each(|sum| hasher.update(sum));
            return self.of(&hasher.finalize()).map(|sum| format!("{sum}-{}", parts.len()));
        }
        let crc = self.crc()?;
        let numbers = decoded.iter().zip(parts).map(|(sum, (_, length))| (big_endian(sum), *length));
        let (whole, _) = numbers.reduce(|(all, before), (sum, length)| (crc.joined(all, sum, length), before + length))?;
        let bytes = decoded.first()?.len();
        Some(base64_simd::STANDARD.encode_to_string(whole.to_be_bytes().get(8_usize.checked_sub(bytes)?..)?))
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Kind {
    /// Its name in headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }

    /// The one that a caller names.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Composite, Self::FullObject].into_iter().find(|kind| kind.name() == name)
    }
}

/// The ETag of an object of parts: the MD5 of their MD5s, and how many they are. `None` where one of them is no MD5.
pub fn etag_of_parts<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> Option<String> {
    let (mut md5, count) = (Md5::new(), etags.len());
    for etag in etags {
        md5.update(crate::metadata::unhex(etag).filter(|bytes| bytes.len() == 16)?);
    }
    Some(format!("{}-{count}", crate::metadata::hex(&md5.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut hasher = Algorithm::hasher(&[algorithm]);
        hasher.update(bytes);
        algorithm.of(&hasher.finalize()).expect("it was asked for").clone()
    }

    #[test]
    fn the_sums_of_parts_become_that_of_the_whole() {
        let parts = [&b"hello "[..], b"", b"world"];
        for algorithm in Algorithm::ALL {
            let sums: Vec<String> = parts.iter().map(|part| sum(algorithm, part)).collect();
            let given: Vec<(&str, u64)> = sums.iter().zip(parts).map(|(sum, part)| (sum.as_str(), part.len() as u64)).collect();
            let full = algorithm.of_parts(Kind::FullObject, &given);
            assert_eq!(full, algorithm.allows(Kind::FullObject).then(|| sum(algorithm, b"hello world")), "{algorithm:?}");
        }
        let sums: Vec<String> = parts.iter().map(|part| sum(Algorithm::Sha1, part)).collect();
        let given: Vec<(&str, u64)> = sums.iter().map(|sum| (sum.as_str(), 1)).collect();
        let raw: Vec<u8> = sums.iter().flat_map(|sum| base64_simd::STANDARD.decode_to_vec(sum).expect("base64")).collect();
        assert_eq!(Algorithm::Sha1.of_parts(Kind::Composite, &given), Some(format!("{}-3", sum(Algorithm::Sha1, &raw))));
        assert_eq!(Algorithm::Crc32.of_parts(Kind::FullObject, &[("no base64!", 1)]), None);
    }

    #[test]
    fn an_etag_of_parts_is_the_md5_of_md5s() {
        let etags = ["5d41402abc4b2a76b9719d911017c592", "7d793037a0760186574b0282f2f435e7"];
        assert_eq!(etag_of_parts(etags.into_iter()).as_deref(), Some("065947336a2f2a95ba8899f3675c3be6-2"));
        assert_eq!(etag_of_parts(["zz"].into_iter()), None);
    }
}
