//! Blocks of IP addresses.

use std::net::IpAddr;

use crate::value::from_text;

/// A block of IP addresses, `10.0.0.0/8`; an address alone is a block of one (Istio: pkg/util/net, `ParseIPsSplitToV4V6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// Its first address: bits beyond the prefix are 0.
    pub address: IpAddr,
    /// How many bits all its addresses share.
    pub prefix: u8,
}

impl Subnet {
    /// Parses an address, or an address and the length of its prefix.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither an IP address nor a block such as 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match length {
            None => most,
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().ok().filter(|length| *length <= most).ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        Ok(Self { address: first(address, prefix), prefix })
    }

    /// The address, if it is one alone.
    pub fn alone(self) -> Option<IpAddr> {
        (self.prefix == if self.address.is_ipv4() { 32 } else { 128 }).then_some(self.address)
    }

    /// Whether `address` is one of its.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && first(address, self.prefix) == self.address
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

from_text!(Subnet);

/// `address` with the bits beyond `prefix` cleared; `prefix` is within the family's length.
fn first(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Subnet;

    #[test]
    fn a_block_is_written_in_two_ways_and_begins_at_its_first_address() {
        let read = |text| Subnet::parse(text).unwrap().to_string();
        assert_eq!(read("10.1.2.3"), "10.1.2.3/32");
        assert_eq!(read("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(read("0.0.0.0/0"), "0.0.0.0/0");
        assert_eq!(read("2001:db8::1"), "2001:db8::1/128");
        assert_eq!(read("2001:db8::1/32"), "2001:db8::/32");
        for bad in ["", "/", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/+8", "a/8", "10.0.0.0/"] {
            assert!(Subnet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_block_contains_the_addresses_of_its_prefix_and_family() {
        let block = Subnet::parse("10.0.0.0/8").unwrap();
        assert!(block.contains("10.255.0.1".parse().unwrap()));
        assert!(!block.contains("11.0.0.1".parse().unwrap()));
        assert!(!block.contains("::1".parse().unwrap()));
        assert_eq!(block.alone(), None);
        assert!(Subnet::parse("::1/128").unwrap().alone().is_some());
        assert!(Subnet::parse("0.0.0.0/0").unwrap().contains("1.2.3.4".parse().unwrap()));
    }
}
