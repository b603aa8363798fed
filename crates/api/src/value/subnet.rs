//! An IP address, or a block of them.

use std::net::IpAddr;

use crate::value::from_text;

/// A block of IP addresses, `10.0.0.0/8`; a lone address is the block of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// Its first address: bits beyond the prefix are zero.
    address: IpAddr,
    /// How many leading bits its addresses have in common.
    prefix: u8,
}

impl Subnet {
    /// Parses an address, or an address and the length of a prefix.
    ///
    /// # Errors
    /// When it is neither, or the prefix is longer than an address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither an IP address nor a block of them such as 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => whole,
            // Go takes neither a sign nor a leading zero here.
            Some(digits) if digits.len() > 1 && digits.starts_with('0') || digits.starts_with('+') => {
                return Err(wrong());
            }
            Some(digits) => digits.parse().ok().filter(|prefix| *prefix <= whole).ok_or_else(wrong)?,
        };
        Ok(Self { address: first(address, prefix), prefix })
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits its addresses have in common.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The address, if it is one alone.
    pub fn alone(self) -> Option<IpAddr> {
        (self.prefix == if self.address.is_ipv4() { 32 } else { 128 }).then_some(self.address)
    }

    /// Whether it is a block of IPv4 addresses.
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether `address` is one of its.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && first(address, self.prefix) == self.address
    }
}

/// The first address of the block of that prefix around `address`.
fn first(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.alone() {
            Some(address) => write!(f, "{address}"),
            None => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

from_text!(Subnet);

#[cfg(test)]
mod tests {
    use super::Subnet;

    #[test]
    fn a_block_begins_at_its_first_address() {
        for (text, printed) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(Subnet::parse(text).unwrap().to_string(), printed, "{text}");
        }
        for bad in [
            "",
            "/",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0/8",
            "a/8",
            "::1/129",
            "10.0.0.0/08",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
        ] {
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
        assert!(Subnet::parse("0.0.0.0/0").unwrap().contains("1.2.3.4".parse().unwrap()));
    }
}
