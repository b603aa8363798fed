//! Real folders, real inotify. What happens is awaited through the receiver; that nothing happens is seen from the batches up to a
//! later change.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meltemi_api::{FieldPath, Finding};
use meltemi_model::{Event, Store};
use meltemi_names::{Kind, ObjectKey};
use tempfile::TempDir;

use super::{Batch, Error, FolderSource, load};

/// No change takes longer; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn service(name: &str, v: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  labels: {{v: \"{v}\"}}\nspec:\n  ports:\n  - {{name: http, port: 80}}\n"
    )
}

/// Objects that are none of the mesh's.
fn application(count: usize, replicas: u32) -> String {
    let one = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {{replicas: {replicas}}}\n"
    );
    vec![one; count].join("---\n")
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Service, "default", name)
}

/// Each service in force and its `v`.
fn state(store: &Store) -> BTreeMap<String, u32> {
    let of = |object: &meltemi_api::Object| object.meta.labels.value("v").unwrap().parse().unwrap();
    store.mesh().objects().map(|object| (object.meta.key.name.to_string(), of(object))).collect()
}

fn expected(pairs: &[(&str, u32)]) -> BTreeMap<String, u32> {
    pairs.iter().map(|(name, v)| ((*name).to_owned(), *v)).collect()
}

/// Each service that is refused.
fn refused(store: &Store) -> Vec<String> {
    store.mesh().rejected().map(|(key, _)| key.name.to_string()).collect()
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.code).collect()
}

struct Mesh {
    dir: TempDir,
    source: FolderSource,
    store: Store,
    last: Batch,
    /// The state after each batch since the start.
    seen: Vec<BTreeMap<String, u32>>,
}

impl Mesh {
    async fn of(files: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        for (path, text) in files {
            let path = dir.path().join("root").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self::follow(dir, "root").await
    }

    async fn follow(dir: TempDir, root: &str) -> Self {
        let (first, source) = FolderSource::start(&[dir.path().join(root)], "default", None).await.unwrap();
        let mut store = Store::new();
        store.apply(first.events.clone());
        Self { dir, source, store, last: first, seen: Vec::new() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    async fn next(&mut self) {
        let batch = tokio::time::timeout(PATIENCE, self.source.next()).await;
        let batch =
            batch.unwrap_or_else(|_| panic!("no batch; last: {:?}, {:?}", state(&self.store), self.last));
        self.last = batch.unwrap();
        self.store.apply(self.last.events.clone());
        self.seen.push(state(&self.store));
    }

    async fn until(&mut self, pairs: &[(&str, u32)]) {
        let expected = expected(pairs);
        while state(&self.store) != expected {
            self.next().await;
        }
    }

    async fn until_codes(&mut self, wanted: &[&str]) {
        while codes(&self.last.findings) != wanted {
            self.next().await;
        }
    }
}

#[tokio::test]
async fn the_first_batch_is_complete_and_in_path_order() {
    let files = [
        ("b/z.yml", service("one", 1)),
        ("c.json", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"two","labels":{"v":"2"}},"spec":{"ports":[{"name":"http","port":80}]}}"#.to_owned()),
        ("a.yaml", format!("{}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x}}\n", service("three", 3))),
        (".hidden.yaml", service("no", 0)),
        (".git/x.yaml", service("no", 0)),
        ("a.yaml~", service("no", 0)),
        ("d.yaml", service("one", 9)),
    ];
    let mesh = Mesh::of(&files).await;
    assert_eq!(state(&mesh.store), expected(&[("one", 1), ("two", 2), ("three", 3)]));
    assert_eq!(codes(&mesh.last.findings), ["duplicate", "skipped-kinds"]);
    let duplicate = &mesh.last.findings[0];
    assert!(duplicate.message.ends_with("root/b/z.yml:1:1"), "{duplicate}");
    let place = duplicate.place.as_ref().unwrap();
    assert!(place.file.ends_with("root/d.yaml") && (place.line, place.column) == (1, 1), "{duplicate}");
    let status = &mesh.last.status;
    assert_eq!((status.files, status.documents, status.objects, status.rejected), (4, 4, 3, 0));
    assert_eq!(status.skipped, BTreeMap::from([("Deployment".to_owned(), 1)]));
    let field = FieldPath::of(&["spec", "ports"]).index(0).key("port");
    let place = mesh.last.places.place(&key("one"), &field).unwrap();
    assert_eq!((place.line, place.column), (8, 24), "{place}");
}

#[tokio::test]
async fn a_save_in_place_is_one_batch() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1) + "---\n" + &service("b", 1))]).await;
    mesh.write("a.yaml", &(service("a", 2) + "---\n" + &service("b", 2)));
    mesh.next().await;
    assert_eq!(state(&mesh.store), expected(&[("a", 2), ("b", 2)]));
}

#[tokio::test]
async fn an_atomic_rename_is_one_batch() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    mesh.write("a.yaml.tmp", &service("a", 2));
    fs::rename(mesh.path("a.yaml.tmp"), mesh.path("a.yaml")).unwrap();
    mesh.next().await;
    assert_eq!(state(&mesh.store), expected(&[("a", 2)]));
    assert_eq!(mesh.last.events.len(), 1);
}

#[tokio::test]
async fn a_file_that_moves_is_one_batch_and_no_change_of_objects() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    fs::rename(mesh.path("a.yaml"), mesh.path("b.yaml")).unwrap();
    mesh.next().await;
    assert!(mesh.last.events.is_empty(), "{:?}", mesh.last.events);
    assert!(mesh.last.places.of(&key("a")).unwrap().file().ends_with("b.yaml"));
}

#[tokio::test]
async fn vim_s_way_to_save_is_one_batch() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    for round in 2..12 {
        // Vim tries whether it may make files, moves the old one aside, writes it anew, removes the old one.
        mesh.write("4913", "");
        fs::remove_file(mesh.path("4913")).unwrap();
        fs::rename(mesh.path("a.yaml"), mesh.path("a.yaml~")).unwrap();
        mesh.write("a.yaml", &service("a", round));
        fs::remove_file(mesh.path("a.yaml~")).unwrap();
        mesh.until(&[("a", round)]).await;
    }
    // Never without the object, never half.
    assert!(mesh.seen.iter().all(|state| state.contains_key("a")), "{:?}", mesh.seen);
    assert_eq!(mesh.last.findings.len(), 0);
}

#[tokio::test]
async fn half_a_file_is_not_used_before_it_is_closed() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1) + "---\n" + &service("b", 1))]).await;
    // Anew and in place; the half is right by itself, so that only the close tells that it is one.
    for (path, v) in [("a.yaml", 2), ("a.yaml", 3)] {
        let mut file = fs::File::create(mesh.path(path)).unwrap();
        file.write_all(service("a", v).as_bytes()).unwrap();
        file.flush().unwrap();
        mesh.write(&format!("marker{v}.yaml"), &service("marker", v));
        // A new folder makes everything be looked at.
        fs::create_dir(mesh.path(&format!("sub{v}"))).unwrap();
        mesh.write(&format!("sub{v}/x.yaml"), &service(&format!("x{v}"), v));
        while !state(&mesh.store).contains_key(&format!("x{v}")) || !state(&mesh.store).contains_key("marker")
        {
            mesh.next().await;
            assert_eq!((mesh.seen.last().unwrap()["a"], mesh.seen.last().unwrap()["b"]), (v - 1, v - 1));
        }
        file.write_all(format!("---\n{}", service("b", v)).as_bytes()).unwrap();
        drop(file);
        while state(&mesh.store)["a"] != v {
            mesh.next().await;
        }
        assert_eq!(state(&mesh.store)["b"], v, "both halves come together");
    }
}

#[tokio::test]
async fn a_file_renamed_while_it_is_written_is_used_when_it_is_closed() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1) + "---\n" + &service("b", 1))]).await;
    let mut file = fs::File::create(mesh.path(".a.yaml.new")).unwrap();
    file.write_all(service("a", 2).as_bytes()).unwrap();
    fs::rename(mesh.path(".a.yaml.new"), mesh.path("a.yaml")).unwrap();
    mesh.write("marker.yaml", &service("marker", 1));
    mesh.until(&[("a", 1), ("b", 1), ("marker", 1)]).await;
    file.write_all(format!("---\n{}", service("b", 2)).as_bytes()).unwrap();
    drop(file);
    mesh.until(&[("a", 2), ("b", 2), ("marker", 1)]).await;
    assert!(mesh.seen.iter().all(|state| state["a"] == state["b"]), "{:?}", mesh.seen);
}

/// What kubelet's atomic writer does with a ConfigMap: `files` in a folder with a date as its name, and `..data` to it.
fn kubelet_writes(root: &Path, stamp: &str, before: Option<&str>, files: &[(&str, String)]) {
    fs::create_dir(root.join(stamp)).unwrap();
    for (name, text) in files {
        fs::write(root.join(stamp).join(name), text).unwrap();
    }
    symlink(stamp, root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    for (name, _) in files {
        if !root.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), root.join(name)).unwrap();
        }
    }
    let gone = |name: &str| !files.iter().any(|(kept, _)| *kept == name);
    for name in ["a.yaml", "b.yaml", "c.yaml"].into_iter().filter(|name| gone(name)) {
        let _ = fs::remove_file(root.join(name));
    }
    if let Some(before) = before {
        fs::remove_dir_all(root.join(before)).unwrap();
    }
}

#[tokio::test]
async fn a_config_map_s_swap_is_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    kubelet_writes(&root, "..2026_1", None, &[("a.yaml", service("a", 1)), ("b.yaml", service("b", 1))]);
    let mut mesh = Mesh::follow(dir, "root").await;
    assert_eq!(state(&mesh.store), expected(&[("a", 1), ("b", 1)]));
    kubelet_writes(
        &root,
        "..2026_2",
        Some("..2026_1"),
        &[("a.yaml", service("a", 2)), ("b.yaml", service("b", 2))],
    );
    mesh.next().await;
    assert_eq!(state(&mesh.store), expected(&[("a", 2), ("b", 2)]));
    // A key comes, another goes.
    kubelet_writes(
        &root,
        "..2026_3",
        Some("..2026_2"),
        &[("b.yaml", service("b", 3)), ("c.yaml", service("c", 3))],
    );
    mesh.until(&[("b", 3), ("c", 3)]).await;
    assert_eq!(mesh.last.findings.len(), 0, "{:?}", mesh.last.findings);
}

#[tokio::test]
async fn a_root_that_is_a_link_is_followed_to_where_it_leads_now() {
    let dir = tempfile::tempdir().unwrap();
    for (folder, v) in [("one", 1), ("two", 2)] {
        fs::create_dir_all(dir.path().join("releases").join(folder)).unwrap();
        fs::write(dir.path().join("releases").join(folder).join("a.yaml"), service("a", v)).unwrap();
    }
    symlink("releases/one", dir.path().join("current")).unwrap();
    symlink("current", dir.path().join("root")).unwrap();
    let mut mesh = Mesh::follow(dir, "root").await;
    symlink("releases/two", mesh.dir.path().join("next")).unwrap();
    fs::rename(mesh.dir.path().join("next"), mesh.dir.path().join("current")).unwrap();
    mesh.next().await;
    assert_eq!(state(&mesh.store), expected(&[("a", 2)]));
    fs::write(mesh.dir.path().join("releases/two/a.yaml"), service("a", 3)).unwrap();
    mesh.until(&[("a", 3)]).await;
    // A file behind a link is followed where it is.
    fs::write(mesh.dir.path().join("b.txt"), service("b", 1)).unwrap();
    symlink("../../b.txt", mesh.path("b.yaml")).unwrap();
    mesh.until(&[("a", 3), ("b", 1)]).await;
    fs::write(mesh.dir.path().join("b.txt"), service("b", 2)).unwrap();
    mesh.until(&[("a", 3), ("b", 2)]).await;
}

#[tokio::test]
async fn a_thousand_files_at_once_are_few_batches() {
    let mut mesh = Mesh::of(&[]).await;
    for number in 0..1000 {
        mesh.write(&format!("{number}.yaml"), &service(&format!("s{number}"), 1));
    }
    while state(&mesh.store).len() < 1000 {
        mesh.next().await;
    }
    assert!(mesh.seen.len() <= 100, "{} batches", mesh.seen.len());
    let new = mesh.dir.path().join("new");
    fs::create_dir(&new).unwrap();
    for number in 0..1000 {
        fs::write(new.join(format!("{number}.yaml")), service(&format!("s{number}"), 2)).unwrap();
    }
    // A whole folder swapped is one change, however large: no state is in between.
    mesh.seen.clear();
    fs::rename(mesh.path(""), mesh.dir.path().join("old")).unwrap();
    fs::rename(new, mesh.path("")).unwrap();
    while !state(&mesh.store).values().all(|v| *v == 2) {
        mesh.next().await;
    }
    assert!(mesh.seen.iter().all(|state| state.len() == 1000));
    assert!(mesh.seen.iter().all(|state| state.values().all(|v| *v == state["s0"])));
    assert_eq!(mesh.last.status.objects, 1000);
}

#[tokio::test]
async fn what_comes_and_goes_in_new_folders_is_seen() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    fs::create_dir_all(mesh.path("x/y/z")).unwrap();
    mesh.write("x/y/z/b.yaml", &service("b", 1));
    mesh.until(&[("a", 1), ("b", 1)]).await;
    mesh.write("x/y/z/b.yaml", &service("b", 2));
    mesh.until(&[("a", 1), ("b", 2)]).await;
    fs::rename(mesh.path("x/y"), mesh.path("w")).unwrap();
    mesh.write("w/z/c.yaml", &service("c", 1));
    mesh.until(&[("a", 1), ("b", 2), ("c", 1)]).await;
    fs::remove_dir_all(mesh.path("w")).unwrap();
    mesh.until(&[("a", 1)]).await;
    fs::create_dir_all(mesh.path("w/z")).unwrap();
    mesh.write("w/z/c.yaml", &service("c", 2));
    mesh.until(&[("a", 1), ("c", 2)]).await;
    fs::hard_link(mesh.path("w/z/c.yaml"), mesh.path("d.txt")).unwrap();
    fs::remove_file(mesh.path("w/z/c.yaml")).unwrap();
    mesh.until(&[("a", 1)]).await;
    fs::hard_link(mesh.path("d.txt"), mesh.path("d.yaml")).unwrap();
    mesh.until(&[("a", 1), ("c", 2)]).await;
}

#[tokio::test]
async fn a_root_that_goes_leaves_in_force_what_was_until_it_is_back() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1)), ("b.yaml", service("b", 1))]).await;
    fs::remove_dir_all(mesh.path("")).unwrap();
    mesh.until_codes(&["root-missing"]).await;
    assert_eq!(state(&mesh.store), expected(&[("a", 1), ("b", 1)]));
    fs::create_dir(mesh.path("")).unwrap();
    mesh.write("a.yaml", &service("a", 2));
    mesh.until(&[("a", 2)]).await;
    assert_eq!(mesh.last.findings.len(), 0);
    mesh.write("a.yaml", &service("a", 3));
    mesh.until(&[("a", 3)]).await;
}

#[tokio::test]
async fn a_broken_object_keeps_its_last_good_until_it_is_repaired() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1) + "---\n" + &service("b", 1))]).await;
    mesh.write("a.yaml", &(service("a", 2).replace("80", "80000") + "---\n" + &service("b", 2)));
    mesh.next().await;
    assert_eq!(state(&mesh.store), expected(&[("a", 1), ("b", 2)]));
    assert_eq!(refused(&mesh.store), ["a"]);
    assert_eq!(codes(&mesh.last.findings), ["bad-value"]);
    assert_eq!(mesh.last.findings[0].in_force.as_deref(), Some("its last good version"));
    assert_eq!(mesh.last.findings[0].place.as_ref().map(|place| place.line), Some(8));
    // Not even its name can be read.
    mesh.write("a.yaml", &("kind: [\n".to_owned() + "---\n" + &service("b", 3)));
    mesh.next().await;
    assert_eq!(state(&mesh.store), expected(&[("a", 1), ("b", 3)]));
    assert_eq!(refused(&mesh.store), ["a"]);
    mesh.write("a.yaml", &(service("a", 4) + "---\n" + &service("b", 4)));
    mesh.next().await;
    assert_eq!(state(&mesh.store), expected(&[("a", 4), ("b", 4)]));
    assert_eq!((refused(&mesh.store).len(), mesh.last.findings.len()), (0, 0));
}

#[tokio::test]
async fn a_deleted_file_takes_its_objects_and_uncovers_duplicates() {
    let mut mesh =
        Mesh::of(&[("a.yaml", service("a", 1)), ("b.yaml", service("a", 2)), ("c.yaml", service("c", 1))])
            .await;
    assert_eq!(state(&mesh.store), expected(&[("a", 1), ("c", 1)]));
    assert_eq!(codes(&mesh.last.findings), ["duplicate"]);
    fs::remove_file(mesh.path("a.yaml")).unwrap();
    mesh.until(&[("a", 2), ("c", 1)]).await;
    assert_eq!(mesh.last.findings.len(), 0);
    fs::remove_file(mesh.path("b.yaml")).unwrap();
    mesh.until(&[("c", 1)]).await;
    assert!(mesh.last.places.of(&key("a")).is_none());
}

#[tokio::test]
async fn an_equal_save_is_no_batch() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    mesh.write("a.yaml", &service("a", 1));
    mesh.write("notes.txt", "nothing");
    mesh.write("b.yaml", &service("b", 1));
    mesh.until(&[("a", 1), ("b", 1)]).await;
    assert!(mesh.seen.len() <= 1, "{:?}", mesh.seen);
}

#[tokio::test]
async fn a_slow_receiver_gets_the_latest_state() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 0))]).await;
    for v in 1..=200 {
        mesh.write("a.yaml", &service("a", v));
        tokio::task::yield_now().await;
    }
    mesh.until(&[("a", 200)]).await;
    assert!(mesh.seen.len() < 100, "{} batches", mesh.seen.len());
}

#[tokio::test]
async fn the_settings_file_is_followed_and_is_none_of_the_objects() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_path_buf();
    let settings = root.join("mesh.yaml");
    fs::write(&settings, "accessLogFile: /dev/stdout\n").unwrap();
    fs::write(root.join("a.yaml"), service("a", 1)).unwrap();
    let (first, mut source) =
        FolderSource::start(std::slice::from_ref(&root), "default", Some(&settings)).await.unwrap();
    let logs = |batch: &Batch| -> Vec<String> {
        let of = |event: &Event| match event {
            Event::Defaults(settings) => Some(settings.access_log_file.clone()),
            _ => None,
        };
        batch.events.iter().filter_map(of).collect()
    };
    assert_eq!((logs(&first), first.findings.len()), (vec!["/dev/stdout".to_owned()], 0));
    let mut change = async |text: &str| {
        fs::write(root.join("next"), text).unwrap();
        fs::rename(root.join("next"), &settings).unwrap();
        tokio::time::timeout(PATIENCE, source.next()).await.unwrap().unwrap()
    };
    let broken = change("accessLogFile: [\n").await;
    assert_eq!((logs(&broken), codes(&broken.findings)), (vec![], vec!["yaml-syntax"]));
    let changed = change("accessLogFile: /tmp/log\n").await;
    assert_eq!((logs(&changed), changed.findings.len()), (vec!["/tmp/log".to_owned()], 0));
}

#[tokio::test]
async fn what_is_missing_at_the_start_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none");
    let error = FolderSource::start(std::slice::from_ref(&missing), "default", None).await.err().unwrap();
    assert!(matches!(error, Error::Missing { is_settings: false, .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.ends_with(
            "none: there is no such file or folder: make it, or name another; an empty folder is fine"
        ),
        "{text}"
    );
    let error = load(&[], "default", Some(dir.path())).err().unwrap();
    assert!(error.to_string().contains("this is a folder: give --mesh-config a file"), "{error}");
}

#[test]
fn a_load_gives_what_following_gives_first_and_takes_single_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), service("a", 1)).unwrap();
    fs::write(dir.path().join("b.txt"), service("b", 2)).unwrap();
    let roots = [dir.path().join("b.txt"), dir.path().to_path_buf()];
    let mut store = Store::new();
    store.apply(load(&roots, "default", None).unwrap().events);
    assert_eq!(state(&store), expected(&[("a", 1), ("b", 2)]));
}

/// Numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[tokio::test]
async fn whatever_happens_to_a_folder_the_end_is_what_a_load_finds() {
    for seed in 1..=6 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let mut mesh = Mesh::of(&[("a/1.yaml", service("start", 1))]).await;
        for round in 1..=30 {
            for _ in 0..=dice.roll(6) {
                let (folder, other) =
                    (["a", "b", "a/c"][dice.roll(3) as usize], ["a", "b", "d"][dice.roll(3) as usize]);
                let file = mesh.path(folder).join(format!("{}.yaml", dice.roll(3)));
                let next = mesh.path(other).join(format!("{}.yaml", dice.roll(3)));
                let text = match dice.roll(4) {
                    0 => application(1 + dice.roll(2) as usize, round),
                    _ => service(&format!("s{}", dice.roll(5)), round),
                };
                // What cannot be done (no such folder, not empty) is not done.
                let _ = match dice.roll(9) {
                    0 => fs::create_dir_all(mesh.path(folder)),
                    1 => fs::rename(mesh.path(folder), mesh.path(other)),
                    2 => fs::remove_dir_all(mesh.path(folder)),
                    3 => fs::remove_file(&file),
                    4 => fs::rename(&file, &next),
                    5 => symlink(&next, &file),
                    6 => {
                        symlink(mesh.path(other), mesh.path("l")).or_else(|_| fs::remove_file(mesh.path("l")))
                    }
                    7 => fs::write(mesh.path("t"), &text).and_then(|()| fs::rename(mesh.path("t"), &file)),
                    _ => fs::write(&file, &text),
                };
            }
            // What only history knows: what a link to nothing led to. So none is left.
            for link in ["a", "b", "a/c", "d", ""] {
                let names = fs::read_dir(mesh.path(link)).into_iter().flatten().flatten();
                for path in names.map(|entry| entry.path()).filter(|path| !path.exists()) {
                    fs::remove_file(path).unwrap();
                }
            }
            let root = mesh.dir.path().join("root");
            let whole = load(&[root], "default", None).unwrap();
            let mut store = Store::new();
            store.apply(whole.events);
            let told = |findings: &[Finding]| -> Vec<String> {
                let message = |finding: &Finding| format!("{} {}", finding.code, finding.message);
                findings.iter().map(message).collect()
            };
            // Of the same folder by another name.
            let wanted = (state(&store), told(&whole.findings));
            while (state(&mesh.store), told(&mesh.last.findings)) != wanted {
                let next = tokio::time::timeout(PATIENCE, mesh.next()).await;
                assert!(next.is_ok(), "seed {seed}, round {round}: {wanted:?}");
            }
        }
    }
}

#[tokio::test]
async fn whoever_drops_the_source_ends_it() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    let thread = mesh.source.thread_for_test();
    drop(mesh);
    tokio::task::spawn_blocking(move || thread.join()).await.unwrap().expect("it ends by itself");
}
