//! Where RE2's syntax and that of the `regex-syntax` crate part (RE2: wiki Syntax).
//!
//! The crate's parser judges everything that both have; what only one of them has is translated or refused here.

use regex_syntax::hir::{Hir, HirKind};

/// RE2's bound of a repetition, and of repetitions within repetitions multiplied.
pub(super) const REPEATS: u64 = 1000;

/// How often the most repeated part of a pattern is repeated; `*`, `+` and `?` do not count. The parser bounds the depth.
pub(super) fn repeats(pattern: &Hir) -> u64 {
    let most = |parts: &[Hir]| parts.iter().map(repeats).max().unwrap_or(1);
    match pattern.kind() {
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            u64::from(times).saturating_mul(repeats(&repetition.sub))
        }
        HirKind::Capture(capture) => repeats(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => most(parts),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => 1,
    }
}

/// The pattern in the crate's syntax, for its parser to judge.
///
/// # Errors
/// What the crate would take and RE2 would not.
pub(super) fn checkable(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => escape(tail, &mut out)?,
            '[' => class(tail, &mut out),
            '{' => repetition(tail, &mut out)?,
            '(' => group(tail, &mut out)?,
            _ => {
                out.push(c);
                tail
            }
        };
    }
    Ok(out)
}

/// After a backslash.
fn escape<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, String> {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return Ok(rest);
    };
    let tail = &rest[c.len_utf8()..];
    match c {
        // A literal up to `\E`.
        'Q' => {
            let (literal, tail) = tail.split_once("\\E").unwrap_or((tail, ""));
            out.push_str(&regex_syntax::escape(literal));
            return Ok(tail);
        }
        // Any byte.
        'C' => out.push_str("(?s:.)"),
        // Edges of words to the crate, the signs themselves to RE2.
        '<' | '>' => out.push(c),
        'u' | 'U' => return Err(format!("`\\{c}` is no escape; write \\x{{...}}")),
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    Ok(tail)
}

/// After the `[` of a class: to the crate, brackets nest and `&&`, `~~` are operators.
fn class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = rest;
    for opening in ['^', ']'] {
        if let Some(tail) = rest.strip_prefix(opening) {
            if opening == ']' {
                out.push('\\');
            }
            out.push(opening);
            rest = tail;
        }
    }
    while let Some(c) = rest.chars().next() {
        let mut tail = &rest[c.len_utf8()..];
        match c {
            ']' => {
                out.push(']');
                return tail;
            }
            '\\' => {
                out.push('\\');
                if let Some(c) = tail.chars().next() {
                    out.push(c);
                    tail = &tail[c.len_utf8()..];
                }
            }
            '[' => match tail.strip_prefix(':').and_then(|name| name.split_once(":]")) {
                Some((name, after)) if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'^') => {
                    out.push_str("[:");
                    out.push_str(name);
                    out.push_str(":]");
                    tail = after;
                }
                _ => out.push_str("\\["),
            },
            '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
        rest = tail;
    }
    rest
}

/// After a `{`: what is no repetition is the sign itself.
fn repetition<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, String> {
    let bounds = rest.split_once('}').and_then(|(bounds, tail)| {
        let (least, most) = bounds.split_once(',').unwrap_or((bounds, bounds));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        (!least.is_empty() && digits(least) && digits(most)).then_some((least, most, tail))
    });
    let Some((least, most, tail)) = bounds else {
        out.push_str("\\{");
        return Ok(rest);
    };
    let within = |text: &str| text.is_empty() || text.parse::<u64>().is_ok_and(|number| number <= REPEATS);
    if !within(least) || !within(most) {
        return Err(format!("a repetition is {REPEATS} at most"));
    }
    out.push('{');
    out.push_str(&rest[..rest.len() - tail.len()]);
    Ok(tail)
}

/// After a `(`: RE2 has fewer flags.
fn group<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, String> {
    out.push('(');
    if let Some(flags) = rest.strip_prefix('?') {
        let flags: String = flags.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
        let ends = rest[1 + flags.len()..].starts_with([':', ')']);
        if let Some(flag) = flags.chars().find(|flag| !"imsU-".contains(*flag)).filter(|_| ends) {
            return Err(format!("there is no flag `{flag}`"));
        }
    }
    Ok(rest)
}
