//! Reads a user's file once more: to show the line that a finding is about, or to hand its settings on.

use meltemi_api::Finding;

/// The line of the file that a finding points to, as the file is now; none if it cannot be read.
pub fn source_line(finding: &Finding) -> Option<String> {
    let place = finding.place.as_ref()?;
    let text = std::fs::read_to_string(&*place.file).ok()?;
    text.lines().nth(place.line.checked_sub(1)? as usize).map(str::to_owned)
}

/// The file's text as it is now; none if it cannot be read.
pub(crate) async fn text(file: &std::path::Path) -> Option<String> {
    let file = file.to_path_buf();
    tokio::task::spawn_blocking(move || std::fs::read_to_string(file).ok()).await.ok().flatten()
}
