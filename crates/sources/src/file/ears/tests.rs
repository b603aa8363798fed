//! Real inotify: what is heard of a folder that is written to, renamed, replaced.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{Ears, Woken};
use crate::file::gather::Notice;

/// All that is to be heard now: inotify tells of what is done before it returns.
fn heard(ears: &mut Ears) -> Vec<Notice> {
    let mut all = Vec::new();
    ears.hear(1_000, |notice| all.push(notice)).unwrap();
    all
}

fn folder(dir: &TempDir, name: &str) -> std::path::PathBuf {
    let folder = dir.path().join(name);
    fs::create_dir(&folder).unwrap();
    folder
}

fn ears_on(folder: &Path) -> Ears {
    let mut ears = Ears::new().unwrap();
    ears.listen(folder).unwrap();
    ears
}

#[test]
fn a_file_is_created_written_and_closed_and_reading_it_is_not_heard() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.yaml");
    let mut ears = ears_on(dir.path());
    fs::write(&file, "a").unwrap();
    let all = [Notice::Created(file.clone()), Notice::Written(file.clone()), Notice::Closed(file.clone())];
    assert_eq!(heard(&mut ears), all);
    fs::read(&file).unwrap();
    fs::read_dir(dir.path()).unwrap().for_each(drop);
    assert_eq!(heard(&mut ears), []);
}

#[test]
fn a_rename_is_told_in_three() {
    let dir = TempDir::new().unwrap();
    let (from, to) = (dir.path().join(".a"), dir.path().join("a.yaml"));
    fs::write(&from, "a").unwrap();
    let mut ears = ears_on(dir.path());
    fs::rename(&from, &to).unwrap();
    let all =
        [Notice::Gone(from.clone()), Notice::Arrived(to.clone()), Notice::Renamed(from.clone(), to.clone())];
    assert_eq!(heard(&mut ears), all);
    // From where nobody listens it only arrives, whatever went before it.
    let elsewhere = TempDir::new_in(dir.path().parent().unwrap()).unwrap();
    fs::rename(&to, elsewhere.path().join("b")).unwrap();
    fs::write(elsewhere.path().join("c"), "c").unwrap();
    fs::rename(elsewhere.path().join("c"), &to).unwrap();
    assert_eq!(heard(&mut ears), [Notice::Gone(to.clone()), Notice::Arrived(to.clone())]);
}

#[test]
fn a_folder_that_was_renamed_is_heard_of_by_its_new_name() {
    let dir = TempDir::new().unwrap();
    let (old, new) = (folder(&dir, "old"), dir.path().join("new"));
    let mut ears = ears_on(&old);
    fs::rename(&old, &new).unwrap();
    ears.listen(&new).unwrap();
    heard(&mut ears);
    // What is wanted no more is the name, not the folder.
    ears.only(|folder| folder == new);
    fs::write(new.join("a"), "").unwrap();
    assert_eq!(heard(&mut ears), [Notice::Created(new.join("a")), Notice::Closed(new.join("a"))]);
}

#[test]
fn a_folder_that_takes_the_place_of_another_is_heard_of_and_the_other_is_not() {
    let dir = TempDir::new().unwrap();
    let (place, aside) = (folder(&dir, "place"), dir.path().join("aside"));
    let mut ears = ears_on(&place);
    fs::rename(&place, &aside).unwrap();
    fs::create_dir(&place).unwrap();
    ears.listen(&place).unwrap();
    heard(&mut ears);
    fs::write(aside.join("a"), "").unwrap();
    assert_eq!(heard(&mut ears), []);
    fs::write(place.join("b"), "").unwrap();
    assert_eq!(heard(&mut ears), [Notice::Created(place.join("b")), Notice::Closed(place.join("b"))]);
}

#[test]
fn a_folder_that_was_deleted_is_told_of_and_can_be_listened_to_when_it_is_there_again() {
    let dir = TempDir::new().unwrap();
    let place = folder(&dir, "place");
    let mut ears = ears_on(&place);
    fs::remove_dir(&place).unwrap();
    assert!(ears.listen(&place).is_err());
    assert_eq!(heard(&mut ears), [Notice::Gone(place.clone())]);
    fs::create_dir(&place).unwrap();
    ears.listen(&place).unwrap();
    fs::write(place.join("a"), "").unwrap();
    assert_eq!(heard(&mut ears), [Notice::Created(place.join("a")), Notice::Closed(place.join("a"))]);
}

#[test]
fn more_than_the_kernel_keeps_is_told_as_lost() {
    let dir = TempDir::new().unwrap();
    let mut ears = ears_on(dir.path());
    let most: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let (one, other) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&one, "").unwrap();
    // Equal events in a row are one.
    for _ in 0..most / 4 + 1 {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
    let mut is_lost = false;
    ears.hear(usize::MAX, |notice| is_lost |= notice == Notice::Lost).unwrap();
    assert!(is_lost);
}

#[test]
fn a_wait_ends_with_what_is_heard_with_its_limit_and_with_who_waits_for_it() {
    let dir = TempDir::new().unwrap();
    let mut ears = ears_on(dir.path());
    let (mine, theirs) = UnixStream::pair().unwrap();
    let limit = Some(Duration::from_micros(1_500));
    assert_eq!(ears.wait(mine.as_fd(), limit).unwrap(), Woken::Time, "the limit");
    fs::write(dir.path().join("a"), "").unwrap();
    assert_eq!(ears.wait(mine.as_fd(), None).unwrap(), Woken::ToHear, "the file");
    heard(&mut ears);
    drop(theirs);
    assert_eq!(ears.wait(mine.as_fd(), None).unwrap(), Woken::ToEnd);
}
