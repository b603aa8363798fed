//! Words that must not stand in a file. They are spelled in pieces here, since this file is checked too.

use std::path::Path;

/// Rust code that is unfinished, switched off, or waits for time to pass; and what to write instead.
const CODE: &[(&str, &str)] = &[
    (concat!("todo", "!("), "finish it"),
    (concat!("unimplemented", "!("), "finish it"),
    (concat!("#[", "ignore"), "a test that is switched off tests nothing: mend it or delete it"),
    (concat!("thread::", "sleep"), "wait for an event"),
    (concat!("TO", "DO"), "do it now, or open an issue"),
    (concat!("FIX", "ME"), "mend it now, or open an issue"),
];

/// Hosts of package registries.
const HOSTS: &[&str] = &[
    concat!("crates", ".io/"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("proxy.golang", ".org"),
];

/// What touches the world, in Rust.
const WORLD: &[&str] = &[
    concat!("std::", "fs"),
    concat!("tokio::", "fs"),
    concat!("Tcp", "Listener"),
    concat!("Tcp", "Stream"),
    concat!("Udp", "Socket"),
    concat!("Unix", "Listener"),
    concat!("Unix", "Stream"),
    concat!("process::", "Command"),
];

/// Names of files that may touch it.
const DOORS: &[&str] = &["server", "client", "watch", "task", "process", "listen", "file", "tests"];

/// Faults of a Rust file.
pub(super) fn code(file: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in numbered(text) {
        for (word, instead) in CODE {
            if line.contains(word) {
                faults.push(format!("{}:{number}: `{word}`: {instead}", file.display()));
            }
        }
        if is_product(file) && !is_door(file) && !is_comment(line) {
            for word in WORLD.iter().filter(|word| has_word(line, word)) {
                faults.push(format!(
                    "{}:{number}: `{word}`: only files named {} touch the world",
                    file.display(),
                    DOORS.join(", ")
                ));
            }
        }
    }
    faults
}

/// Registry hosts in any file but the lock files, which cargo, Go and npm write.
pub(super) fn hosts(file: &Path, text: &str) -> Vec<String> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if ["Cargo.lock", "go.sum", "package-lock.json"].contains(&name.as_str()) {
        return Vec::new();
    }
    numbered(text)
        .flat_map(|(number, line)| {
            HOSTS.iter().filter(move |host| line.contains(**host)).map(move |host| (number, host))
        })
        .map(|(number, host)| format!("{}:{number}: `{host}`: name no registry's host", file.display()))
        .collect()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// Whether `word` stands in the line and no longer name begins with it.
fn has_word(line: &str, word: &str) -> bool {
    line.split(word)
        .skip(1)
        .any(|rest| !rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_'))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The crates that are the product; the test kit is made to touch the world.
fn is_product(file: &Path) -> bool {
    file.starts_with("crates")
        && !file.starts_with("crates/testkit")
        && file.components().any(|part| part.as_os_str() == "src")
}

/// Whether the file, or a folder that it is in, is named for touching the world.
fn is_door(file: &Path) -> bool {
    file.with_extension("").components().any(|part| DOORS.iter().any(|door| part.as_os_str() == *door))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEP: &str = concat!("std::thread::", "sleep(second);");
    const READ: &str = concat!("std::", "fs::read(path)");

    #[test]
    fn a_sleep_is_found_with_its_line() {
        let faults = code(Path::new("tests/a.rs"), &format!("//! x\n{SLEEP}\n"));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("tests/a.rs:2: "), "{faults:?}");
    }

    #[test]
    fn files_are_read_only_behind_a_door() {
        assert_eq!(code(Path::new("crates/api/src/kind.rs"), READ).len(), 1);
        assert_eq!(code(Path::new("crates/sources/src/file/watch.rs"), READ), Vec::<String>::new());
        assert_eq!(code(Path::new("crates/testkit/src/envoy.rs"), READ), Vec::<String>::new());
    }

    #[test]
    fn a_longer_name_is_another_word() {
        let stream = concat!("wrappers::Tcp", "ListenerStream::new(socket)");
        assert_eq!(code(Path::new("crates/serve/src/wire.rs"), stream), Vec::<String>::new());
        let listener = concat!("Tcp", "Listener::bind(address)");
        assert_eq!(code(Path::new("crates/serve/src/wire.rs"), listener).len(), 1);
    }

    #[test]
    fn a_registry_host_is_found_but_not_in_a_lock_file() {
        let line = concat!("https://pypi", ".org/simple");
        assert_eq!(hosts(Path::new("README.md"), line).len(), 1);
        assert_eq!(hosts(Path::new("fuzz/Cargo.lock"), line), Vec::<String>::new());
    }
}
