//! Changes of inputs, drawn from a seed.

/// Words that mean something to one of the targets, and numbers at the edges of what fits.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\0",
    b"--xx",
    b"--xx--",
    b"0",
    b"-1",
    b"1",
    b"4294967295",
    b"4294967296",
    b"18446744073709551615",
    b"9223372036854775808",
    b"ffffffff",
    b"7fffffff",
    b"%",
    b"%00",
    b"%2F",
    b"%zz",
    b"%ff",
    b"..",
    b"/",
    b"//",
    b"?",
    b"&",
    b"=",
    b";",
    b":",
    b",",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"</",
    b"/>",
    b"<!--",
    b"<![CDATA[",
    b"<!DOCTYPE a [<!ENTITY b \"c\">]>",
    b"&b;",
    b"&amp;",
    b"&#0;",
    b"&#x110000;",
    b"<?xml?>",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[[[[[[[",
    b"{\"a\":",
    b"null",
    b"true",
    b"1e999",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xc3\xa9",
    b"\xf0\x9f\x98\x80",
    b"*",
    b"${",
    b"${aws:username}",
    b"$",
    b"bytes=",
    b"bytes=0-",
    b"bytes=-1",
    b"bytes=9-1",
    b"x-amz-",
    b"x-amz-meta-",
    b"x-amz-content-sha256: ",
    b"x-amz-decoded-content-length: ",
    b"x-amz-trailer: ",
    b"x-amz-checksum-crc32c: ",
    b"x-amz-copy-source: ",
    b"authorization: ",
    b"AWS4-HMAC-SHA256 ",
    b"Credential=",
    b"X-Amz-Signature=",
    b"X-Amz-Expires=",
    b"uploads",
    b"uploadId=",
    b"partNumber=",
    b"versionId=",
    b"acl",
    b"policy",
    b"cors",
    b"tagging",
    b"lifecycle",
    b"notification",
    b"delete",
    b"GET ",
    b"PUT ",
    b"POST ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"chunk-signature=",
    b"Content-Disposition: form-data; name=\"",
    b"filename=",
    b"file",
    b"key",
    b"Condition",
    b"Effect",
    b"Deny",
    b"NotAction",
    b"content-length-range",
    b"starts-with",
    b"eq",
    b"expiration",
    b"conditions",
    b"2099-01-01T00:00:00Z",
    b"Rule",
    b"Filter",
    b"And",
    b"Tag",
    b"Prefix",
    b"Days",
    b"Date",
];
/// Most changes of one step.
const CHANGES_MAX: usize = 6;
/// Most times that something is repeated at once.
const REPEATS_MAX: usize = 4000;
/// Longest that becomes of a repetition.
const REPEATED_MAX: usize = 128 * 1024;

/// Numbers from a seed (splitmix64).
pub struct Random(u64);

impl Random {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One below that.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A range of bytes, short ones more often.
    fn range(&mut self, bytes: usize) -> std::ops::Range<usize> {
        let start = self.below(bytes + 1);
        let longest = if self.below(4) == 0 { bytes - start } else { (bytes - start).min(16) };
        start..start + self.below(longest + 1)
    }
}

/// An input that is none of the pool, and most of one.
pub fn from(random: &mut Random, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut input = pool[random.below(pool.len())].clone();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(random, pool, &mut input);
    }
    input
}

fn change(random: &mut Random, pool: &[Vec<u8>], input: &mut Vec<u8>) {
    let at = random.below(input.len() + 1);
    match random.below(9) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.below(256) as u8,
        2 => drop(input.drain(random.range(input.len()))),
        3 => {
            let word = WORDS[random.below(WORDS.len())];
            drop(input.splice(at..at, word.iter().copied()));
        }
        4 => {
            let word = WORDS[random.below(WORDS.len())];
            let range = random.range(input.len());
            drop(input.splice(range, word.iter().copied()));
        }
        5 => {
            let range = random.range(input.len());
            let again = input[range].to_vec();
            drop(input.splice(at..at, again));
        }
        6 if random.below(8) == 0 => {
            let again = input[random.range(input.len())].to_vec();
            let times = (1 + random.below(REPEATS_MAX)).min(REPEATED_MAX / again.len().max(1));
            drop(input.splice(at..at, again.repeat(times)));
        }
        7 => {
            let other = &pool[random.below(pool.len())];
            let range = random.range(other.len());
            drop(input.splice(at..at, other[range].iter().copied()));
        }
        8 if random.below(8) == 0 => input.truncate(at),
        _ => input.insert(at, random.below(256) as u8),
    }
}
