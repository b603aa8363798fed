//! Paths as Envoy takes them: normalized where the connection manager says so (RFC 3986, section 6), compared without their query.

/// The part before query and fragment.
pub(crate) fn bare(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// What begins at the query.
pub(crate) fn query(path: &str) -> &str {
    &path[bare(path).len()..]
}

/// With `.` and `..` resolved, and letters, digits and `-._~` written as they are.
pub(crate) fn normalized(path: &str, merge_slashes: bool) -> String {
    let decoded = decoded(&bare(path).replace('\\', "/"));
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = decoded.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.iter().enumerate() {
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if index == last {
                    kept.push("");
                }
            }
            "" if merge_slashes && index != last => {}
            other => kept.push(other),
        }
    }
    format!("/{}{}", kept.join("/"), query(path))
}

/// `%41` is `A`; what is not an unreserved character stays as it is written.
fn decoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let unreserved = code.filter(|code| code.is_ascii_alphanumeric() || b"-._~".contains(code));
        match unreserved {
            Some(code) => {
                text.push(char::from(code));
                rest = &rest[at + 3..];
            }
            None => {
                text.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn dots_are_resolved_and_plain_characters_written_plainly() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/./b/", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("/%61dmin?x=/../y", "/admin?x=/../y"),
            ("/a%2fb", "/a%2fb"),
            ("/a%2e%2e/b", "/a../b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a//b", "/a//b"),
            ("/100%", "/100%"),
            ("/%é", "/%é"),
        ] {
            assert_eq!(normalized(path, false), expected, "{path}");
        }
        assert_eq!(normalized("/a///b//", true), "/a/b/");
    }
}
