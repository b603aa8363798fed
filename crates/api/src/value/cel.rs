//! Expressions of CEL over Envoy's attributes, as Telemetry writes them.
//!
//! Knows: CEL's grammar (cel-spec, doc/langdef.md), and of its functions and names those that a stock Envoy has. Must not know what an
//! expression is for.   Start at [`Cel::new`]; `grammar` is the reader.
//! Invariant: an expression without a fault is one that Envoy takes: one that it does not would cost the whole listener.

mod grammar;

use std::sync::Arc;

/// An expression, kept as written.
#[derive(Clone, PartialEq, Eq)]
pub struct Cel {
    text: Arc<str>,
    fault: Option<CelFault>,
}

/// Why an expression cannot be given to Envoy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CelFault {
    /// It is no CEL.
    #[error("not CEL: {0}")]
    Syntax(String),
    /// It is CEL, but Envoy does not take it.
    #[error("not for a stock Envoy: {0}")]
    Envoy(String),
}

/// The longest expression that is read.
const LONGEST: usize = 8 * 1024;

impl Cel {
    /// Reads an expression; what is wrong with it is kept beside it.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let fault = if text.len() > LONGEST {
            Some(CelFault::Syntax(format!("an expression has at most {LONGEST} bytes")))
        } else {
            grammar::check(&text).err()
        };
        Self { text, fault }
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Why it cannot be used, if so.
    pub fn fault(&self) -> Option<&CelFault> {
        self.fault.as_ref()
    }

    /// As a command operator, which holds its value. None where the operator would end before the expression does.
    pub fn operator(&self) -> Option<String> {
        let ends_early = self.text.contains(")%") || self.text.contains("):");
        (self.fault.is_none() && !ends_early && !self.text.contains('\n'))
            .then(|| format!("%CEL({})%", self.text))
    }
}

impl std::fmt::Debug for Cel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cel({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cel, CelFault};

    #[test]
    fn what_envoy_takes_is_taken() {
        // Each was given to Envoy 1.40.
        for text in [
            "response.code >= 400",
            "response.code >= 400 && connection.mtls",
            "xds.node.metadata['X'] == 'a'",
            "request.headers['x'].contains('a')",
            "has(response.code)",
            "response.code in [1, 2]",
            "timestamp('2020') < request.time",
            "'a' + 'b' == \"c\"",
            "{'a': 1}['a'] == 1",
            "b'abc' == b'abc' || r'a\\d' == '''a'''",
            "1u == 1u && 0x1F == 31 && 1.5e3 > .5 && -1 < 2",
            "!!true == --1",
            "request.method == 'GET' ? false : true ? true : false",
            "// why\ntrue // so",
            "[1, 2,] == [1]",
            "'\\u00e9\\n' == 'x'",
            "request.time.getHours('UTC') == 1",
            "request.path.matches(request.host)",
            "(1 == 1) == true",
        ] {
            assert_eq!(Cel::new(text).fault(), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_cel_is_told_from_what_envoy_lacks() {
        for text in [
            "bad(",
            "1 +",
            "has(1)",
            "has(request.headers['a'])",
            "in",
            "(1)(2)",
            "'\\q' == 'x'",
            "'a",
            "a b",
            "request.?path == 1",
            "1 = 2",
            "{1: 2",
            "#",
        ] {
            assert!(
                matches!(Cel::new(text).fault(), Some(CelFault::Syntax(_))),
                "{text}: {:?}",
                Cel::new(text).fault()
            );
        }
        for text in [
            "nope(1)",
            "string(1)",
            "request.path.split('/')[1]",
            "[1].exists(x, x == response.code)",
            "request.path.matches('(')",
            "upstream_peer.workload == 'a'",
            "foo == 1",
        ] {
            assert!(
                matches!(Cel::new(text).fault(), Some(CelFault::Envoy(_))),
                "{text}: {:?}",
                Cel::new(text).fault()
            );
        }
    }

    #[test]
    fn depth_and_length_have_an_end() {
        assert!(Cel::new("(".repeat(5000)).fault().is_some());
        assert!(Cel::new("!".repeat(8000)).fault().is_some());
        assert!(Cel::new("1+".repeat(9000)).fault().is_some());
        assert_eq!(Cel::new("response.code == 1 || ".repeat(300) + "true").fault(), None);
    }

    #[test]
    fn an_operator_holds_the_expression_or_is_none() {
        assert_eq!(Cel::new("request.host").operator().unwrap(), "%CEL(request.host)%");
        assert_eq!(
            Cel::new("has(request.path) ? 'a' : 'b'").operator().unwrap(),
            "%CEL(has(request.path) ? 'a' : 'b')%"
        );
        assert_eq!(Cel::new("'100)%'").operator(), None);
        assert_eq!(Cel::new("nope()").operator(), None);
    }
}
