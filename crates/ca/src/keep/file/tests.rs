//! A state folder as it is on a disk.

use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::Authority;
use crate::tests::{now, root};
use crate::token::TokenKey;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn signer(folder: &Folder) -> (SignerId, Material) {
    let material = root();
    let id = Authority::load(&material, now()).unwrap().id().clone();
    folder.keep_signer(&id, &material).unwrap();
    (id, material)
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_kept_is_found_again_by_the_next_run_and_is_its_owner_s_alone() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("deep/state");
    let folder = Folder::open(&path).unwrap();
    assert_eq!(folder.rotation().unwrap(), None);
    assert!(folder.token_key().unwrap().is_none());
    let (id, material) = signer(&folder);
    let token_key = TokenKey::generate().unwrap();
    folder.keep_token_key(&token_key).unwrap();
    folder.keep_rotation(&Rotation::steady(id.clone())).unwrap();
    drop(folder);

    let folder = Folder::open(&path).unwrap();
    assert_eq!(folder.rotation().unwrap(), Some(Rotation::steady(id.clone())));
    let found = folder.signer(&id).unwrap().unwrap();
    assert_eq!((found.certificate, found.key), (material.certificate, material.key));
    assert!(folder.token_key().unwrap() == Some(token_key));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    for name in names(&path) {
        assert_eq!(fs::metadata(path.join(&name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn two_do_not_write_to_one_folder() {
    let place = TempDir::new().unwrap();
    let first = Folder::open(place.path()).unwrap();
    assert!(matches!(Folder::open(place.path()), Err(FolderError::InUse(_))));
    drop(first);
    assert!(Folder::open(place.path()).is_ok());
}

#[test]
fn what_others_may_read_is_refused_with_what_to_say() {
    let place = TempDir::new().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let (id, _) = signer(&folder);
    let key = place.path().join(format!("{id}-key.pem"));
    for mode in [0o640, 0o604, 0o620, 0o644] {
        chmod(&key, mode);
        let error = folder.signer(&id).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{0}: its mode is {mode:04o}; it holds keys, so say `chmod 600 {0}`", key.display())
        );
    }
    chmod(&key, 0o400);
    assert!(folder.signer(&id).is_ok());
    drop(folder);
    chmod(place.path(), 0o770);
    assert!(matches!(
        Folder::open(place.path()),
        Err(FolderError::TooWide { mode: 0o770, wanted: 0o700, .. })
    ));
}

#[test]
fn a_link_in_the_place_of_a_key_is_refused() {
    let place = TempDir::new().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    symlink("/dev/null", place.path().join(TOKEN_KEY)).unwrap();
    assert!(matches!(folder.token_key(), Err(FolderError::NotAFile(_))));
}

#[test]
fn a_crash_while_writing_leaves_what_was_and_is_swept_away() {
    let place = TempDir::new().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let (id, _) = signer(&folder);
    let steady = Rotation::steady(id.clone());
    folder.keep_rotation(&steady).unwrap();
    // Half of a new state was written, and a signer that no state names yet.
    fs::write(place.path().join("rotation.json.unfinished"), "{\"rev").unwrap();
    let (next, _) = signer(&folder);
    drop(folder);

    let folder = Folder::open(place.path()).unwrap();
    assert_eq!(folder.rotation().unwrap(), Some(steady.clone()));
    folder.sweep().unwrap();
    assert!(folder.signer(&next).unwrap().is_none());
    assert_eq!(
        names(place.path()),
        [format!("{id}-cert.pem"), format!("{id}-key.pem"), "lock".to_owned(), STATE.to_owned()]
            .map(String::from)
            .to_vec()
    );
    folder.keep_rotation(&steady).unwrap();
}

#[test]
fn a_retired_signer_is_swept_away_and_trusted_ones_stay() {
    let place = TempDir::new().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let [old, new, retired] = [(); 3].map(|()| signer(&folder).0);
    folder.sweep().unwrap();
    assert!(folder.signer(&retired).unwrap().is_some(), "without a state nothing is known to be retired");
    folder.keep_token_key(&TokenKey::generate().unwrap()).unwrap();
    folder.keep_rotation(&Rotation::steady(old.clone()).begin(new.clone()).unwrap()).unwrap();
    folder.sweep().unwrap();
    assert!(folder.signer(&old).unwrap().is_some() && folder.signer(&new).unwrap().is_some());
    assert!(folder.signer(&retired).unwrap().is_none());
    assert!(folder.token_key().unwrap().is_some());
}

#[test]
fn a_state_that_cannot_be_read_is_an_error_and_not_a_new_beginning() {
    let place = TempDir::new().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    let state = place.path().join(STATE);
    fs::write(&state, "{}").unwrap();
    chmod(&state, 0o600);
    assert!(matches!(folder.rotation(), Err(FolderError::Unreadable { .. })));
    fs::write(&state, vec![b' '; MAX_BYTES + 1]).unwrap();
    assert!(matches!(folder.rotation(), Err(FolderError::Unreadable { .. })));
}
