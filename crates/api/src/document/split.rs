//! A file's text to the texts of its documents, so that a broken one spares its neighbours.

/// A document's text and the line of the file that is its first, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub(super) text: &'a str,
    pub(super) line: u32,
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

/// The documents, in blocks of neighbours that are of about that many bytes each.
pub(super) fn blocks(text: &str, bytes: usize) -> Vec<Vec<Chunk<'_>>> {
    let mut blocks = Vec::new();
    let mut block = Vec::new();
    let mut size = 0;
    for chunk in split(text) {
        size += chunk.text.len();
        block.push(chunk);
        if size >= bytes {
            size = 0;
            blocks.push(std::mem::take(&mut block));
        }
    }
    if !block.is_empty() {
        blocks.push(block);
    }
    blocks
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn documents_keep_the_lines_of_their_file() {
        let chunks: Vec<_> = split("%YAML 1.2\n---\na: 1\n--- # two\r\nb: |\n  ---\n----\n---").collect();
        let told: Vec<_> = chunks.iter().map(|chunk| (chunk.line, chunk.text)).collect();
        assert_eq!(told, [(2, "---\na: 1\n"), (4, "--- # two\r\nb: |\n  ---\n----\n"), (8, "---")]);
        assert_eq!(split("").count(), 0);
        assert_eq!(split("# nothing\n\n").count(), 0);
    }
}
