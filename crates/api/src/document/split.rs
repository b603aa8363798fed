//! A file's text to the texts of its documents, so that a broken one spares its neighbours.

/// A document's text and the line of the file that is its first, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The text, with the line that separates it from the document before.
    pub text: &'a str,
    /// Its first line.
    pub line: u32,
}

/// Splits at the lines that begin with `---`, which end every document whatever state it is in (YAML 1.2.2, section 9.1.2);
/// such a line belongs to the document that it begins.
pub(super) fn split(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = Some(text);
    let mut next_line = 1;
    std::iter::from_fn(move || {
        let text = rest?;
        let line = next_line;
        let mut offset = 0;
        for (number, content) in text.split_inclusive('\n').enumerate() {
            if number > 0 && is_separator(content) {
                rest = Some(&text[offset..]);
                return Some(Chunk { text: &text[..offset], line });
            }
            offset += content.len();
            next_line += 1;
        }
        rest = None;
        Some(Chunk { text, line })
    })
    // Directives (`%YAML 1.2`) stand before the separator, alone.
    .filter(|chunk| !chunk.text.lines().all(|line| line.trim().is_empty() || line.starts_with(['%', '#'])))
}

/// What is at the left margin of a block, as `apiVersion` and `kind` of a document that has both of them once, each as a plain word, if
/// they are `wanted`.
///
/// None for every other document, whatever it is: who wants to know reads it.
pub(super) fn header(text: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<(&str, &str)> {
    let (mut version, mut kind) = (None, None);
    for line in text.lines() {
        // What is deeper, empty, a comment or an item belongs to a line before.
        if line.is_empty() || line.starts_with([' ', '#', '-']) {
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let into = match name {
            "apiVersion" => &mut version,
            "kind" => &mut kind,
            _ if is_plain(name) => continue,
            _ => return None,
        };
        let value = value.strip_prefix(' ')?.trim();
        if !is_plain(value) || into.replace(value).is_some() {
            return None;
        }
        // The rest of it is looked at for a second word alone.
        if version.zip(kind).is_some_and(|(version, kind)| !wanted(version, kind)) {
            return None;
        }
    }
    version.zip(kind)
}

/// Whether it is a word that YAML takes as it stands.
fn is_plain(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-' | '_'))
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::{header, split};

    #[test]
    fn documents_keep_the_lines_of_their_file() {
        let chunks: Vec<_> = split("%YAML 1.2\n---\na: 1\n--- # two\r\nb: |\n  ---\n----\n---").collect();
        let told: Vec<_> = chunks.iter().map(|chunk| (chunk.line, chunk.text)).collect();
        assert_eq!(told, [(2, "---\na: 1\n"), (4, "--- # two\r\nb: |\n  ---\n----\n"), (8, "---")]);
        assert_eq!(split("").count(), 0);
        assert_eq!(split("# nothing\n\n").count(), 0);
    }

    #[test]
    fn a_header_is_told_where_it_can_be_nothing_else() {
        let good = "---\napiVersion: apps/v1\nkind: Deployment  \r\nmetadata:\n  name: a\n  kind: b\nspec:\n- kind: c\n# kind: d\n\n";
        assert_eq!(header(good, |_, _| true), Some(("apps/v1", "Deployment")));
        assert_eq!(header(good, |version, kind| (version, kind) != ("apps/v1", "Deployment")), None);
        let bad = [
            "",
            "kind: Deployment\n",
            "{apiVersion: apps/v1, kind: Deployment}",
            "apiVersion: apps/v1\nkind: Deployment\nkind: Service\n",
            "apiVersion: apps/v1\nkind: 'Deployment'\n",
            "apiVersion: apps/v1\nkind: &k Deployment\n",
            "apiVersion: apps/v1\nkind:\n  Deployment\n",
            "apiVersion: apps/v1\nkind: Deployment # for now\n",
            "apiVersion: apps/v1\nkind: Deployment\n<<: *other\n",
            "apiVersion: apps/v1\nkind: Deployment\n\"kind\": Service\n",
            "apiVersion: apps/v1\nkind: Deployment\n\tname: x\n",
            "apiVersion: apps/v1\nkind: Deployment\n...\n",
        ];
        for text in bad {
            assert_eq!(header(text, |_, _| true), None, "{text}");
        }
    }
}
