//! Reads an expression of CEL, to tell whether it is one; nothing is computed.
//!
//! Invariant: depth is bounded, and no text makes it panic.

use super::CelFault;
use crate::value::Regex;

/// How deep an expression may be nested.
const DEEPEST: u32 = 48;

/// Functions and methods of a stock Envoy, whose runtime has neither `string()` nor macros over lists (tried on 1.40).
const FUNCTIONS: [&str; 25] = [
    "size",
    "int",
    "uint",
    "double",
    "bytes",
    "timestamp",
    "duration",
    "dyn",
    "type",
    "bool",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "has",
];

/// Envoy's attributes, and CEL's own types.
const NAMES: [&str; 22] = [
    "request",
    "response",
    "connection",
    "upstream",
    "source",
    "destination",
    "metadata",
    "filter_state",
    "upstream_filter_state",
    "xds",
    "google",
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "wasm",
];

/// Words that are no names.
const RESERVED: [&str; 19] = [
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "__proto__",
];

pub(super) fn check(text: &str) -> Result<(), CelFault> {
    let mut reader = Reader { rest: text, depth: 0, lacking: None };
    reader.expression()?;
    reader.blank();
    if !reader.rest.is_empty() {
        return Err(reader.unexpected());
    }
    reader.lacking.map_or(Ok(()), |lacking| Err(CelFault::Envoy(lacking)))
}

struct Reader<'a> {
    rest: &'a str,
    depth: u32,
    /// The first thing that Envoy does not have.
    lacking: Option<String>,
}

type Read<T = ()> = Result<T, CelFault>;

fn fault<T>(message: impl Into<String>) -> Read<T> {
    Err(CelFault::Syntax(message.into()))
}

impl<'a> Reader<'a> {
    fn unexpected(&self) -> CelFault {
        let next: String = self.rest.chars().take(12).collect();
        CelFault::Syntax(if next.is_empty() {
            "it ends too early".to_owned()
        } else {
            format!("unexpected `{next}`")
        })
    }

    fn lacks(&mut self, what: String) {
        self.lacking.get_or_insert(what);
    }

    /// White space and comments.
    fn blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            let Some(comment) = self.rest.strip_prefix("//") else { return };
            self.rest = comment.find('\n').and_then(|end| comment.get(end..)).unwrap_or_default();
        }
    }

    /// Takes that sign, if it is the next one.
    fn takes(&mut self, sign: &str) -> bool {
        self.blank();
        let Some(rest) = self.rest.strip_prefix(sign) else { return false };
        self.rest = rest;
        true
    }

    fn wants(&mut self, sign: &str) -> Read {
        if self.takes(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn word(&mut self) -> Option<&'a str> {
        self.blank();
        let first = self.rest.chars().next().filter(|sign| sign.is_ascii_alphabetic() || *sign == '_')?;
        let end = self
            .rest
            .find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end.max(first.len_utf8()));
        self.rest = rest;
        Some(word)
    }

    fn expression(&mut self) -> Read {
        self.depth += 1;
        if self.depth > DEEPEST {
            return fault("it is nested too deep");
        }
        // A conditional's last part may be another one: a chain is no depth.
        loop {
            self.binary()?;
            if !self.takes("?") {
                break;
            }
            self.expression()?;
            self.wants(":")?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Operands with operators between them. What binds closer makes no difference to whether it is an expression.
    fn binary(&mut self) -> Read {
        loop {
            self.unary()?;
            self.blank();
            let signs = ["||", "&&", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%"];
            if signs.into_iter().any(|sign| self.takes(sign)) {
                continue;
            }
            let before = self.rest;
            if self.word() == Some("in") {
                continue;
            }
            self.rest = before;
            return Ok(());
        }
    }

    fn unary(&mut self) -> Read {
        let mut signs = 0;
        while self.takes("!") || self.takes("-") {
            signs += 1;
            if signs > DEEPEST {
                return fault("it is nested too deep");
            }
        }
        self.primary()?;
        self.members().map(|_| ())
    }

    /// Whether the last of them is a field.
    fn members(&mut self) -> Read<bool> {
        let mut is_field = false;
        loop {
            if self.takes(".") {
                is_field = true;
                let Some(name) = self.word().filter(|name| *name != "in") else {
                    return Err(self.unexpected());
                };
                if self.takes("(") {
                    is_field = false;
                    self.call(name)?;
                }
            } else if self.takes("[") {
                is_field = false;
                self.expression()?;
                self.wants("]")?;
            } else {
                return Ok(is_field);
            }
        }
    }

    fn call(&mut self, name: &str) -> Read {
        if !FUNCTIONS.contains(&name) {
            self.lacks(format!("it has no function `{name}`"));
        }
        if name == "has" {
            self.primary()?;
            if !self.members()? {
                return fault(
                    "has() asks for a field, as in has(request.path); for a header: 'x' in request.headers",
                );
            }
            return self.wants(")");
        }
        self.blank();
        if name == "matches"
            && let Some(pattern) =
                self.rest.strip_prefix(['\'', '"']).and_then(|rest| rest.split(['\'', '"']).next())
            && !pattern.contains('\\')
            && let Err(error) = Regex::parse(pattern)
        {
            self.lacks(error.to_string());
        }
        self.list(")")
    }

    /// Expressions by comma; one may stand before the end.
    fn list(&mut self, end: &str) -> Read {
        loop {
            if self.takes(end) {
                return Ok(());
            }
            self.expression()?;
            if !self.takes(",") {
                return self.wants(end);
            }
        }
    }

    /// Keys and values by comma, after the opening brace.
    fn entries(&mut self) -> Read {
        loop {
            if self.takes("}") {
                return Ok(());
            }
            self.expression()?;
            self.wants(":")?;
            self.expression()?;
            if !self.takes(",") {
                return self.wants("}");
            }
        }
    }

    fn primary(&mut self) -> Read {
        if self.takes("(") {
            self.expression()?;
            return self.wants(")");
        }
        if self.takes("[") {
            return self.list("]");
        }
        if self.takes("{") {
            return self.entries();
        }
        self.blank();
        let bytes = self.rest.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        if digit(0) || bytes.first() == Some(&b'.') && digit(1) {
            return self.number();
        }
        if let Some(prefix) = literal_prefix(self.rest) {
            let raw = prefix.contains(['r', 'R']);
            self.rest = self.rest.get(prefix.len()..).unwrap_or_default();
            return self.text(raw);
        }
        let rooted = self.takes(".");
        let Some(word) = self.word() else { return Err(self.unexpected()) };
        if matches!(word, "true" | "false" | "null") && !rooted {
            return Ok(());
        }
        if RESERVED.contains(&word) {
            return fault(format!("`{word}` is a reserved word"));
        }
        if self.takes("(") {
            return self.call(word);
        }
        if !NAMES.contains(&word) {
            self.lacks(format!("it has no attribute `{word}`"));
        }
        Ok(())
    }

    fn number(&mut self) -> Read {
        let hexadecimal = self.rest.strip_prefix("0x").or_else(|| self.rest.strip_prefix("0X"));
        let digits = |rest: &'a str, is: fn(char) -> bool| rest.trim_start_matches(is);
        let mut rest = match hexadecimal {
            Some(digits_of) => digits(digits_of, |sign| sign.is_ascii_hexdigit()),
            None => {
                let mut rest = digits(self.rest, |sign| sign.is_ascii_digit());
                if let Some(fraction) =
                    rest.strip_prefix('.').filter(|rest| rest.starts_with(|s: char| s.is_ascii_digit()))
                {
                    rest = digits(fraction, |sign| sign.is_ascii_digit());
                }
                if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
                    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                    if !exponent.starts_with(|sign: char| sign.is_ascii_digit()) {
                        return fault("an exponent has no digits");
                    }
                    rest = digits(exponent, |sign| sign.is_ascii_digit());
                }
                rest
            }
        };
        rest = rest.strip_prefix(['u', 'U']).unwrap_or(rest);
        if rest.starts_with(|sign: char| sign.is_ascii_alphanumeric() || sign == '_') {
            return fault("a number is followed by a letter");
        }
        self.rest = rest;
        Ok(())
    }

    /// A text from its opening quote on.
    fn text(&mut self, raw: bool) -> Read {
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| self.rest.starts_with(quote));
        let Some(quote) = quote else { return Err(self.unexpected()) };
        let mut rest = self.rest.get(quote.len()..).unwrap_or_default();
        loop {
            if let Some(after) = rest.strip_prefix(quote) {
                self.rest = after;
                return Ok(());
            }
            let mut signs = rest.chars();
            match signs.next() {
                None => return fault("a text has no closing quote"),
                Some('\n' | '\r') if quote.len() == 1 => {
                    return fault("a text has no closing quote in its line");
                }
                Some('\\') if !raw => {
                    rest = escape(signs.as_str())?;
                    continue;
                }
                Some(_) => rest = signs.as_str(),
            }
        }
    }
}

/// The letters before a text's quote, if a text begins here.
fn literal_prefix(rest: &str) -> Option<&str> {
    let end = rest.find(['\'', '"'])?;
    let prefix = rest.get(..end)?;
    ["", "r", "b", "br", "rb"].contains(&prefix.to_ascii_lowercase().as_str()).then_some(prefix)
}

/// What comes after an escape whose backslash is read.
fn escape(rest: &str) -> Read<&str> {
    let hexadecimal = |rest: &str, count: usize| {
        rest.get(..count).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let mut signs = rest.chars();
    let first = signs.next();
    let after = signs.as_str();
    let count = match first {
        Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | '\'' | '"' | '`' | '?') => return Ok(after),
        Some('x' | 'X') => 2,
        Some('u') => 4,
        Some('U') => 8,
        Some('0'..='3')
            if after.get(..2).is_some_and(|two| two.bytes().all(|byte| (b'0'..=b'7').contains(&byte))) =>
        {
            return Ok(after.get(2..).unwrap_or_default());
        }
        _ => return fault("a text has a backslash that escapes nothing"),
    };
    if hexadecimal(after, count) {
        Ok(after.get(count..).unwrap_or_default())
    } else {
        fault("a text has an escape without its digits")
    }
}
