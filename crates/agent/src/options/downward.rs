//! Labels and annotations as Kubernetes' downward API writes them: `key="value"` a line, the value quoted as Go does.

use std::collections::BTreeMap;

/// Reads the file's text; a line of another form says nothing.
pub(super) fn read(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(key, quoted)| (key.trim().to_owned(), unquoted(quoted.trim())))
        .filter(|(key, _)| !key.is_empty())
        .collect()
}

/// Go's quoting is JSON's but for letters that no label has; what cannot be read is taken as it stands.
fn unquoted(quoted: &str) -> String {
    serde_json::from_str(quoted).unwrap_or_else(|_| {
        let bare = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        bare.unwrap_or(quoted).to_owned()
    })
}
