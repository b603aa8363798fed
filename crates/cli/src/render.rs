//! What commands print on standard output: YAML, JSON, tables.

use std::io::{IsTerminal, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::args::{Color, YamlOrJson};

/// Prints a value.
pub(crate) fn value(value: &impl Serialize, form: YamlOrJson) -> anyhow::Result<()> {
    let text = match form {
        YamlOrJson::Yaml => serde_norway::to_string(value)?,
        YamlOrJson::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
    };
    text_out(&text)
}

/// Prints rows under headings: aligned on a terminal and on a pipe alike, without lines.
pub(crate) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(headings.iter().copied());
    table.add_rows(rows);
    let text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    text_out(&text)
}

/// Prints text; a reader that has gone away (`| head`) is no error.
pub(crate) fn text_out(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Whether a page has colours.
pub(crate) fn coloured(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}
