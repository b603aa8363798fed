//! The request as it is written on the command line. Must not know the mesh.

use std::net::IpAddr;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// As written; what the page begins with.
    pub(crate) text: String,
    pub(crate) scheme: Scheme,
    /// A name, or an IP address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query; `/` where none is written.
    pub(crate) path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    /// The sender encrypts: proxies see a TLS connection, and no request.
    Https,
    /// Bytes that nobody knows.
    Tcp,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// With what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{what}; write it as http://reviews:9080/reviews?full=1"));
        if text.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return wrong("a URL has no spaces in it");
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("tcp", rest)) => (Scheme::Tcp, rest),
            Some((other, _)) => {
                return wrong(&format!(
                    "`{other}` is no scheme that can be explained: http, https and tcp are"
                ));
            }
            None if text.starts_with('/') => return wrong("the URL names no host"),
            None => (Scheme::Http, text),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return wrong("a user in the URL is no part of the request");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => match bracketed.split_once(']') {
                Some((host, port)) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => (host, port),
                _ => return wrong("what is in brackets must be an IPv6 address"),
            },
            None => match authority.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(format!(
                        "an IPv6 address stands in brackets; write it as http://[{authority}]/"
                    ));
                }
                Some((host, _)) => (host, &authority[host.len()..]),
                None => (authority, ""),
            },
        };
        if host.is_empty() {
            return wrong("the URL names no host");
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if !host.bytes().all(fits) {
            return wrong(&format!("`{host}` is no host"));
        }
        let port = match (port.strip_prefix(':').unwrap_or(port), scheme) {
            ("", Scheme::Http) => 80,
            ("", Scheme::Https) => 443,
            ("", Scheme::Tcp) => return Err("a tcp:// URL needs a port, as in tcp://db:3306".to_owned()),
            (digits, _) => match digits.parse() {
                Ok(port) if port > 0 => port,
                _ => return wrong(&format!("`{digits}` is no port: 1 to 65535 are")),
            },
        };
        let path = match path {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        Ok(Self { text: text.to_owned(), scheme, host: host.to_owned(), port, path })
    }

    /// The `Host` header that clients send for it: without the scheme's own port.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Reads a method.
///
/// # Errors
/// With what to write instead.
pub(crate) fn method(text: &str) -> Result<String, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(token) {
        return Err("that is no HTTP method; the method comes first, then the URL: GET http://reviews:9080/"
            .to_owned());
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("methods are told apart by case; write it as {}", text.to_ascii_uppercase()));
    }
    Ok(text.to_owned())
}

/// Reads a header, `name: value`; the name in lower case.
///
/// # Errors
/// With what to write instead.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() && name.bytes().all(token) => {
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err("write it as NAME: VALUE, as in -H 'end-user: jason'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Scheme, Url, header, method};

    fn parts(text: &str) -> (Scheme, String, u16, String, String) {
        let url = Url::parse(text).unwrap();
        let authority = url.authority();
        (url.scheme, url.host, url.port, url.path, authority)
    }

    #[test]
    fn a_url_is_read_as_clients_read_it() {
        for (text, scheme, host, port, path, authority) in [
            ("http://reviews:9080/a?b=c", Scheme::Http, "reviews", 9080, "/a?b=c", "reviews:9080"),
            ("http://reviews", Scheme::Http, "reviews", 80, "/", "reviews"),
            ("reviews:80/x#y", Scheme::Http, "reviews", 80, "/x", "reviews"),
            ("http://reviews?x", Scheme::Http, "reviews", 80, "/?x", "reviews"),
            ("https://api.example.com/", Scheme::Https, "api.example.com", 443, "/", "api.example.com"),
            ("http://[2001:db8::1]:81/", Scheme::Http, "2001:db8::1", 81, "/", "[2001:db8::1]:81"),
            ("tcp://db:3306", Scheme::Tcp, "db", 3306, "/", "db:3306"),
        ] {
            let expected = (scheme, host.to_owned(), port, path.to_owned(), authority.to_owned());
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_told_with_what_to_write() {
        for (text, says) in [
            ("ftp://a/", "`ftp` is no scheme"),
            ("http:///x", "names no host"),
            ("/x", "names no host"),
            ("http://a:x/", "`x` is no port"),
            ("http://a:0/", "`0` is no port"),
            ("http://a b/", "no spaces"),
            ("http://u@a/", "a user"),
            ("http://fe80::1/", "write it as http://[fe80::1]/"),
            ("http://[a]/", "IPv6"),
            ("http://a_*/", "is no host"),
            ("tcp://a", "needs a port"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(method("get").unwrap_err().contains("GET"));
        assert!(method("http://a/").is_err());
        assert_eq!(header("End-User:  jason ").unwrap(), ("end-user".to_owned(), "jason".to_owned()));
        assert!(header("jason").unwrap_err().contains("NAME: VALUE"));
    }
}
