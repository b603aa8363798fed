//! Versions by content.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed, xxh3_128};

/// A fixed 128-bit hash of a resource's bytes and of nothing else: what did not change has the version it had, on every
/// replica and in every run. Written as 22 characters of URL-safe base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u128);

impl Version {
    /// The version of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }

    /// The version of something assembled from parts: a hash of the parts' hashes, in order.
    pub fn of_parts(parts: impl IntoIterator<Item = Version>) -> Self {
        let mut hasher = Xxh3::new();
        for part in parts {
            hasher.update(&part.0.to_le_bytes());
        }
        Self(hasher.digest128())
    }

    /// One number for this version under that name: 64 bits, so that sums of thousands tell whether two lists are the same. No
    /// bytes of a client may be trusted by it to be another client's.
    #[allow(clippy::cast_possible_truncation, reason = "both halves are taken")]
    pub fn mark(self, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), self.0 as u64 ^ (self.0 >> 64) as u64)
    }

    /// Reads what [`std::fmt::Display`] wrote; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let mut value: u128 = 0;
        for (position, byte) in text.bytes().enumerate() {
            let digit = u128::from(DIGITS[usize::from(byte)]);
            if digit > 63 {
                return None;
            }
            // 21 characters carry 126 bits; the last one carries the two that remain.
            if position == 21 {
                if digit > 3 {
                    return None;
                }
                value = (value << 2) | digit;
            } else {
                value = (value << 6) | digit;
            }
        }
        Some(Self(value))
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The digit of each letter, and 255 for what is none: a client that comes back tells thousands of versions.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        digits[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0_u8; 22];
        for (position, letter) in text.iter_mut().enumerate() {
            let digit =
                if position == 21 { self.0 & 0b11 } else { (self.0 >> (122 - 6 * position)) & 0b11_1111 };
            *letter = ALPHABET[digit as usize];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn a_version_reads_back_from_its_22_characters() {
        for version in
            [Version(0), Version(u128::MAX), Version(1), Version(3 << 126), Version::of(b"meltemi")]
        {
            let text = version.to_string();
            assert_eq!(text.len(), 22);
            assert_eq!(Version::parse(&text), Some(version), "{text}");
        }
        assert_eq!(Version::parse("42"), None);
        assert_eq!(Version::parse("AAAAAAAAAAAAAAAAAAAAA_"), None);
        assert_eq!(Version::parse("AAAAAAAAAA*AAAAAAAAAAA"), None);
    }

    #[test]
    fn a_version_is_the_same_in_every_build() {
        assert_eq!(Version::of(b"meltemi").to_string(), "3E0cz56sPsJC8Vt1dmVo6A");
    }
}
