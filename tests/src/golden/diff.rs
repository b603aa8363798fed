//! Two texts beside each other, line by line, as `diff -u` shows them.
//!
//! Invariant: equal texts give an empty answer.

use std::fmt::Write;

/// Lines around a difference that are shown with it.
const CONTEXT: usize = 3;

/// Lines of `old` that are gone with `-`, lines of `new` that came with `+`, and a few around them.
pub fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let lines = edits(&old, &new);
    let near = |at: usize| {
        let window = lines.get(at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(lines.len()));
        window.into_iter().flatten().any(|(sign, _)| *sign != ' ')
    };
    let (mut text, mut skipped) = (String::new(), false);
    for (at, (sign, line)) in lines.iter().enumerate() {
        if near(at) {
            let _ = writeln!(text, "{sign} {line}");
        } else if !skipped {
            text += "  ...\n";
        }
        skipped = !near(at);
    }
    if lines.iter().all(|(sign, _)| *sign == ' ') { String::new() } else { text }
}

/// The longest common subsequence by the table: goldens are small.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut edits) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            edits.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            edits.push(('-', old[i]));
            i += 1;
        } else {
            edits.push(('+', new[j]));
            j += 1;
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn equal_texts_differ_in_nothing() {
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
    }

    #[test]
    fn a_changed_line_is_shown_among_its_neighbours() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = old.replace('6', "six");
        assert_eq!(diff(old, &new), "  ...\n  3\n  4\n  5\n- 6\n+ six\n  7\n  8\n  9\n");
    }
}
