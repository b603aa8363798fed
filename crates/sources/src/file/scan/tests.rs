//! Walks over a tree in memory.

use std::path::{Path, PathBuf};

use super::{DEPTH, FileId, Listing, Root, scan, shown};
use crate::file::disk::memory::MemoryDisk;

fn roots(paths: &[&str]) -> Vec<Root> {
    let root = |path: &&str| Root {
        given: path.trim_start_matches('/').into(),
        path: path.into(),
        is_settings: path.ends_with("mesh.yaml"),
    };
    paths.iter().map(root).collect()
}

fn walk(disk: &MemoryDisk, paths: &[&str]) -> (Listing, Vec<PathBuf>) {
    let mut entered = Vec::new();
    let listing = scan(disk, &roots(paths), &mut |folder| entered.push(folder.to_path_buf()));
    (listing, entered)
}

/// The files in order, as findings call them, and where they really are.
fn files(listing: &Listing, paths: &[&str]) -> Vec<(String, String)> {
    let roots = roots(paths);
    let of = |(id, found): (&FileId, &super::Found)| (shown(&roots, id), found.real.display().to_string());
    listing.files.iter().map(of).collect()
}

fn names(listing: &Listing, paths: &[&str]) -> Vec<String> {
    files(listing, paths).into_iter().map(|(name, _)| name).collect()
}

fn told(listing: &Listing) -> Vec<String> {
    let of = |finding: &meltemi_api::Finding| {
        let file = finding.place.as_ref().map(|place| place.file.to_string()).unwrap_or_default();
        format!("{file} {}", finding.code)
    };
    listing.findings.iter().map(of).collect()
}

#[test]
fn roots_come_in_the_given_order_and_files_in_path_order() {
    let disk = MemoryDisk::of(&[
        "/one/b.yaml",
        "/one/a/z.json",
        "/one/a.yaml",
        "/one/a/.x.yaml",
        "/one/.git/c.yaml",
        "/one/n.txt",
        "/two/a.yml",
    ]);
    let paths = ["/two", "/one"];
    let (listing, entered) = walk(&disk, &paths);
    assert_eq!(names(&listing, &paths), ["two/a.yml", "one/a/z.json", "one/a.yaml", "one/b.yaml"]);
    assert_eq!(entered, ["/two", "/one", "/one/a"].map(PathBuf::from));
    assert_eq!(listing.findings, []);
    assert_eq!(
        listing.hops.iter().map(|hop| hop.as_path()).collect::<Vec<_>>(),
        [Path::new("/one"), Path::new("/two")]
    );
}

#[test]
fn a_config_map_s_links_are_followed_and_what_they_depend_on_is_known() {
    let disk = MemoryDisk::of(&["/c/..2026_1/a.yaml"])
        .link("/c/..data", "..2026_1")
        .link("/c/a.yaml", "..data/a.yaml");
    let (listing, _) = walk(&disk, &["/c"]);
    assert_eq!(files(&listing, &["/c"]), [("c/a.yaml".to_owned(), "/c/..2026_1/a.yaml".to_owned())]);
    assert!(listing.hops.contains(Path::new("/c/..data")) && listing.hops.contains(Path::new("/c/a.yaml")));
    assert!(listing.around().contains(Path::new("/c/..2026_1")));
}

#[test]
fn what_two_paths_lead_to_is_read_under_the_first_alone() {
    let disk = MemoryDisk::of(&["/c/a/x.yaml", "/c/z.yaml", "/c/mesh.yaml"])
        .link("/c/b", "a")
        .link("/c/y.yaml", "/c/z.yaml");
    let paths = ["/c/mesh.yaml", "/c", "/c/a"];
    let (listing, _) = walk(&disk, &paths);
    assert_eq!(names(&listing, &paths), ["c/mesh.yaml", "c/a/x.yaml", "c/y.yaml"]);
    assert_eq!(told(&listing), ["c/b folder-twice", "c/z.yaml file-twice", "c/a folder-twice"]);
}

#[test]
fn circles_of_links_and_depth_without_end_are_findings() {
    let deep = format!("/c{}/x.yaml", "/d".repeat(DEPTH));
    let disk = MemoryDisk::of(&["/c/a.yaml", &deep])
        .link("/c/back", "../c")
        .link("/c/p.yaml", "q.yaml")
        .link("/c/q.yaml", "p.yaml");
    let (listing, _) = walk(&disk, &["/c"]);
    assert_eq!(names(&listing, &["/c"]), ["c/a.yaml"]);
    let too_deep = format!("c{} folder-too-deep", "/d".repeat(DEPTH));
    assert_eq!(
        told(&listing),
        ["c/back symlink-loop", &too_deep, "c/p.yaml unreadable", "c/q.yaml unreadable"]
    );
}

#[test]
fn what_cannot_be_looked_at_is_unseen_and_not_absent() {
    let disk = MemoryDisk::of(&["/c/a/x.yaml", "/c/b.yaml"]).link("/c/d.yaml", "nowhere").lock("/c/a");
    let paths = ["/c", "/none/c"];
    let (listing, _) = walk(&disk, &paths);
    assert_eq!(names(&listing, &paths), ["c/b.yaml"]);
    assert_eq!(told(&listing), ["c/a unreadable", "c/d.yaml unreadable", "none/c root-missing"]);
    let is_unseen = |root, path: &str| listing.is_unseen(&FileId { root, path: path.into() });
    assert!(is_unseen(0, "a/x.yaml") && is_unseen(0, "d.yaml") && is_unseen(1, "x.yaml"));
    assert!(!is_unseen(0, "b.yaml") && !is_unseen(0, "ab.yaml"));
    // Whichever folder comes to be on the way to the missing root is heard of.
    assert!(listing.hops.contains(Path::new("/none")) && listing.around().contains(Path::new("/")));
    assert_eq!(listing.missing.len(), 1);
}

#[test]
fn a_root_may_be_a_file_of_any_name_and_a_link() {
    let disk = MemoryDisk::of(&["/r/v1/conf"]).link("/r/now", "v1").link("/a", "/r/now/conf");
    let (listing, _) = walk(&disk, &["/a"]);
    assert_eq!(files(&listing, &["/a"]), [("a".to_owned(), "/r/v1/conf".to_owned())]);
    let hops: Vec<&Path> = listing.hops.iter().map(PathBuf::as_path).collect();
    assert_eq!(hops, ["/a", "/r/now", "/r/v1/conf"].map(Path::new));
}
