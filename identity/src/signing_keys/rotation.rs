//! Adds a new signing key to the key file and retires the others.
//!
//! Invariant: the file is complete at every moment, old or new, with the same owner and mode.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use shared::random::Random;
use zeroize::Zeroizing;

use super::key_file::{self, KeyFileError};
use crate::domain::recorded_key::next_version;
use crate::signing::{SigningKey, decode_key};

/// Why a rotation fails.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("[keys] file: cannot replace {path}: {source}")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("--id: expected the characters a-z, A-Z, 0-9, _")]
    Id,
    /// A key of the file, or a used key, has the id.
    #[error("--id: {0} is the id of another key; choose an id that was never used")]
    Taken(String),
}

/// Adds a new key on the first line of the file at `path` and leaves the other lines unchanged; returns the key's id.
///
/// `version` is the part of the id after `ed25519:`. Default: the number after the highest id among all keys, the `used`
/// ones included, which the file may lack.
///
/// # Errors
/// [`RotationError`]; the file is unchanged.
pub fn rotate(path: &Path, version: Option<&str>, used: &[String], random: Random) -> Result<String, RotationError> {
    let unwritable = |source| RotationError::Unwritable { path: path.to_owned(), source };
    // The draft is beside the target of a symbolic link, so that the link stays.
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(source) => return Err(KeyFileError::Unreadable { path: path.to_owned(), source }.into()),
    };
    // Without the lock, one of two concurrent rotations would lose its key.
    let folder = File::open(key_file::folder_of(&real)).map_err(unwritable)?;
    folder.lock().map_err(unwritable)?;
    let text = key_file::text(&real)?.unwrap_or_default();
    let keys = key_file::parse(&real, &text)?;
    let taken: Vec<&str> = keys.iter().map(SigningKey::id).chain(used.iter().map(String::as_str)).collect();
    let version = version.map_or_else(|| next_version(&taken), str::to_owned);
    let new = new_key(&version, random)?;
    if taken.contains(&new.id.as_str()) {
        return Err(RotationError::Taken(version));
    }
    replace(&real, &format!("{}\n{}", *new.line, text.trim_end_matches('\n')), random).map_err(unwritable)?;
    folder.sync_all().map_err(unwritable)?;
    Ok(new.id)
}

struct NewKey {
    id: String,
    line: Zeroizing<String>,
}

fn new_key(version: &str, random: Random) -> Result<NewKey, RotationError> {
    let line = key_file::new_line(version, random);
    let seed = line.rsplit(' ').next().and_then(decode_key).ok_or(RotationError::Id)?;
    let id = SigningKey::from_seed(version, &seed).map_err(|_| RotationError::Id)?.id().to_owned();
    Ok(NewKey { id, line })
}

/// Replaces the file by a new one with the same owner and mode.
fn replace(path: &Path, text: &str, random: Random) -> io::Result<()> {
    let old = fs::metadata(path)?;
    let draft = key_file::draft_in(key_file::folder_of(path), random);
    let replaced = key_file::write_draft(&draft, text).and_then(|()| {
        let new = fs::metadata(&draft)?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            chown(&draft, Some(old.uid()), Some(old.gid()))?;
        }
        fs::set_permissions(&draft, old.permissions())?;
        fs::rename(&draft, path)
    });
    if replaced.is_err() {
        // The draft may not exist.
        let _ = fs::remove_file(&draft);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use shared::random::Random;

    use super::{RotationError, rotate};
    use crate::signing_keys::SigningKeys;

    const OLD: &str = "# ours\ned25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_new_key_signs_and_old_lines_owner_and_mode_stay() {
        for permitted in [0o600, 0o640] {
            let (folder, path) = file(OLD, permitted);
            assert_eq!(rotate(&path, None, &[], Random).unwrap(), "ed25519:1");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("ed25519 1 ") && text.ends_with(OLD), "{text}");
            assert_eq!(mode(&path), permitted);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft remains");
            let keys = SigningKeys::read(&path, &[], vec![]).unwrap();
            assert_eq!(keys.current().id(), "ed25519:1");
            assert!(keys.public_key("ed25519:0").is_some());
        }
    }

    #[test]
    fn an_id_is_never_used_twice() {
        let (_folder, path) = file(OLD, 0o600);
        let revoked = ["ed25519:7".to_owned(), "ed25519:a".to_owned()];
        assert_eq!(rotate(&path, None, &revoked, Random).unwrap(), "ed25519:8");
        assert_eq!(rotate(&path, Some("b_2"), &revoked, Random).unwrap(), "ed25519:b_2");
        let before = fs::read_to_string(&path).unwrap();
        for taken in ["0", "7", "8", "a", "b_2"] {
            assert!(matches!(rotate(&path, Some(taken), &revoked, Random), Err(RotationError::Taken(_))), "{taken}");
        }
        for wrong in ["", "a b", "ed25519:1", "é", "a\n"] {
            assert!(matches!(rotate(&path, Some(wrong), &[], Random), Err(RotationError::Id)), "{wrong:?}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }

    #[test]
    fn concurrent_rotations_lose_no_key() {
        let (_folder, path) = file(OLD, 0o600);
        let ids: HashSet<String> = std::thread::scope(|scope| {
            let each = || rotate(&path, None, &[], Random).unwrap();
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(each)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(ids.len(), 6);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2 + 6);
    }

    #[test]
    fn a_symbolic_link_stays_and_an_invalid_file_is_unchanged() {
        let (folder, path) = file(OLD, 0o600);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        rotate(&link, None, &[], Random).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&path).unwrap().starts_with("ed25519 1 "));

        assert!(matches!(rotate(&folder.path().join("none"), None, &[], Random), Err(RotationError::File(_))));
        assert!(!folder.path().join("none").exists());
        let (_folder, broken) = file("nonsense\n", 0o600);
        assert!(matches!(rotate(&broken, None, &[], Random), Err(RotationError::File(_))));
        assert_eq!(fs::read_to_string(&broken).unwrap(), "nonsense\n");
    }
}
