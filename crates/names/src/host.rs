//! Host names, exact and wildcard.

use crate::text::text;

text! {
    /// A host as Istio's resources name services: a DNS name (lower case, no trailing dot), an IP address, a wildcard
    /// `*.suffix`, or `*`.
    Host
}

/// Why a text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there.
    #[error("a host must not be empty")]
    Empty,
    /// More than a DNS name may have.
    #[error("a host has at most 253 characters, `{0}` has more")]
    TooLong(String),
    /// `*` anywhere but as the whole first label.
    #[error("`*` may stand only alone or as the first label, as in `*.example.com`; found `{0}`")]
    Wildcard(String),
    /// A character or an empty label that DNS does not have.
    #[error("`{0}` is not a DNS name: labels are letters, digits, `-` and `_`, 1 to 63 characters")]
    NotDns(String),
}

impl Host {
    /// Parses a host; upper case is folded, one trailing dot is dropped.
    ///
    /// # Errors
    /// When the text is neither a DNS name, an IP address, a wildcard nor `*`.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let folded = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if folded.is_empty() {
            return Err(HostError::Empty);
        }
        if folded.len() > 253 {
            return Err(HostError::TooLong(text.to_owned()));
        }
        if folded == "*" || folded.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self(folded.into()));
        }
        let name = folded.strip_prefix("*.").unwrap_or(&folded);
        if name.contains('*') {
            return Err(HostError::Wildcard(text.to_owned()));
        }
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !name.split('.').all(label_ok) {
            return Err(HostError::NotDns(text.to_owned()));
        }
        Ok(Self(folded.into()))
    }

    /// A host given in a resource of `namespace`: a short name (no dot, no IP, no wildcard) stands for the Kubernetes
    /// service of that name beside the resource; anything with a dot is taken literally (Istio: pilot/pkg/model/config.go).
    ///
    /// # Errors
    /// As [`Host::parse`].
    pub fn resolve(text: &str, namespace: &str, domain: &str) -> Result<Self, HostError> {
        let host = Self::parse(text)?;
        if host.is_short() { Self::parse(&format!("{host}.{namespace}.svc.{domain}")) } else { Ok(host) }
    }

    /// The host of the Kubernetes service `name` in `namespace`, for names that Kubernetes itself accepted.
    pub fn of_service(name: &str, namespace: &str, domain: &str) -> Self {
        Self(format!("{name}.{namespace}.svc.{domain}").to_ascii_lowercase().into())
    }

    /// No dot, no wildcard, no address.
    pub fn is_short(&self) -> bool {
        !self.0.contains(['.', '*', ':'])
    }

    /// `*` or `*.suffix`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether this host, exact or wildcard, covers `other`. A wildcard covers every name that ends in its suffix, at any
    /// depth, and narrower wildcards, itself included.
    pub fn covers(&self, other: &Host) -> bool {
        match self.0.strip_prefix('*') {
            None => self == other,
            Some(suffix) => other.0.strip_prefix('*').unwrap_or(&other.0).ends_with(suffix),
        }
    }

    /// The wildcards that cover this host, narrowest first, `*` last, itself left out.
    pub fn covering(&self) -> impl Iterator<Item = Host> + '_ {
        let name = self.0.strip_prefix("*.").unwrap_or(&self.0);
        let start = if *self.0 == *"*" { "" } else { name };
        let mut rest = Some(start).filter(|name| !name.is_empty());
        std::iter::from_fn(move || {
            let here = rest?;
            match here.split_once('.') {
                Some((_, parent)) => {
                    rest = Some(parent);
                    Some(Host(format!("*.{parent}").into()))
                }
                None => {
                    rest = None;
                    Some(Host("*".into()))
                }
            }
        })
    }
}

impl std::str::FromStr for Host {
    type Err = HostError;
    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::parse(text)
    }
}

impl<'de> serde::Deserialize<'de> for Host {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Host;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn a_short_name_stands_for_the_service_beside_the_resource() {
        assert_eq!(
            Host::resolve("myapp", "shop", "cluster.local").unwrap().as_str(),
            "myapp.shop.svc.cluster.local"
        );
        assert_eq!(Host::resolve("reviews.prod", "shop", "cluster.local").unwrap().as_str(), "reviews.prod");
        assert_eq!(Host::resolve("*", "shop", "cluster.local").unwrap().as_str(), "*");
    }

    #[test]
    fn covering_wildcards_come_narrowest_first() {
        let all: Vec<String> = host("a.b.com").covering().map(|h| h.to_string()).collect();
        assert_eq!(all, ["*.b.com", "*.com", "*"]);
        let all: Vec<String> = host("*.b.com").covering().map(|h| h.to_string()).collect();
        assert_eq!(all, ["*.com", "*"]);
        assert_eq!(host("*").covering().count(), 0);
    }

    #[test]
    fn a_wildcard_covers_deeper_names_and_not_its_own_suffix() {
        assert!(host("*.com").covers(&host("a.b.com")));
        assert!(host("*.com").covers(&host("*.b.com")));
        assert!(!host("*.com").covers(&host("com")));
        assert!(host("*").covers(&host("x")));
        assert!(!host("a.com").covers(&host("b.com")));
    }

    #[test]
    fn what_is_no_dns_name_is_refused() {
        for bad in ["", "a..b", "a b", "*a.com", "a.*.com", "http://x", "a/b"] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(host("Reviews.Shop.").as_str(), "reviews.shop");
    }
}
