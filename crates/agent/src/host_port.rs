//! An address that something else listens on, as it is written on the command line: a name or an IP address, and a port.

use std::fmt;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port; 0 where any free one will do.
    pub port: u16,
}

impl HostPort {
    /// Reads `HOST:PORT`; brackets around IPv6 are taken off, an empty host is loopback.
    ///
    /// # Errors
    /// With what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write it as HOST:PORT, as in 127.0.0.1:15010".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match (bare, host) {
            (Some(bare), _) => bare,
            (None, "") => "127.0.0.1",
            // Without brackets nobody can tell its last group from the port.
            (None, host) if host.contains(':') => {
                return Err("write it as [HOST]:PORT, as in [::1]:15010".to_owned());
            }
            (None, host) => host,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::HostPort;

    #[test]
    fn names_and_both_kinds_of_address_are_read_and_written() {
        for text in ["meltemi.example:15010", "10.0.0.1:1", "[fd00::7]:15010"] {
            assert_eq!(HostPort::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(HostPort::parse("[::1]:7").unwrap(), HostPort { host: "::1".into(), port: 7 });
        assert_eq!(HostPort::parse(":7").unwrap().to_string(), "127.0.0.1:7");
        for text in ["here", "10.0.0.1", "host:port", "host:99999", "::1:7"] {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }
}
