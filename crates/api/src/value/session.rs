//! Persistent sessions: the labels by which the clients of a service stay with the endpoint that served them first.
//!
//! Knows Istio's two labels (Istio: pilot/pkg/networking/util/util.go). Must not know Envoy.

use meltemi_names::Labels;

/// By what a client is known again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Session {
    /// A cookie that lasts as long as the client's own session.
    Cookie {
        /// Its name.
        name: String,
        /// The path that it is for.
        path: String,
    },
    /// A header, which the client sends again itself.
    Header(String),
}

/// The label that names a cookie: `name`, or `name:path`.
pub const SESSION_COOKIE: &str = "istio.io/persistent-session";

/// The label that names a header.
pub const SESSION_HEADER: &str = "istio.io/persistent-session-header";

impl Session {
    /// What the labels of a service ask for; the cookie counts before the header. None if they ask for nothing, or by a name that no
    /// cookie or header can have.
    pub fn of(labels: &Labels) -> Option<Self> {
        let written = |label: &str| labels.value(label).filter(|value| !value.is_empty());
        if let Some(cookie) = written(SESSION_COOKIE) {
            let (name, path) = cookie.split_once(':').unwrap_or((cookie, "/"));
            let sound = is_token(name) && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
            return sound.then(|| Self::Cookie { name: name.to_owned(), path: path.to_owned() });
        }
        let header = written(SESSION_HEADER).filter(|name| is_token(name))?;
        Some(Self::Header(header.to_owned()))
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_mark = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

#[cfg(test)]
mod tests {
    use meltemi_names::Labels;

    use super::{SESSION_COOKIE, SESSION_HEADER, Session};

    fn of(labels: &[(&str, &str)]) -> Option<Session> {
        Session::of(&labels.iter().copied().collect::<Labels>())
    }

    #[test]
    fn a_cookie_has_a_path_and_counts_before_a_header() {
        let cookie = |name: &str, path: &str| Some(Session::Cookie { name: name.into(), path: path.into() });
        assert_eq!(of(&[(SESSION_COOKIE, "cart")]), cookie("cart", "/"));
        assert_eq!(
            of(&[(SESSION_COOKIE, "cart:/shop"), (SESSION_HEADER, "x-cart")]),
            cookie("cart", "/shop")
        );
        assert_eq!(
            of(&[(SESSION_COOKIE, ""), (SESSION_HEADER, "x-cart")]),
            Some(Session::Header("x-cart".into()))
        );
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_name_that_no_header_can_have_is_none() {
        for bad in ["a b", "a=b", ":/x", "a:/x;y", "a:/\u{7f}"] {
            assert_eq!(of(&[(SESSION_COOKIE, bad)]), None, "{bad}");
        }
        assert_eq!(of(&[(SESSION_HEADER, "x(y)")]), None);
    }
}
