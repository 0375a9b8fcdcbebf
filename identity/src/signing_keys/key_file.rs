//! The key file: lines `ed25519 <id> <seed>`, the same form as other Matrix servers use.
//!
//! Invariant: an existing file is never written to, only replaced; whatever appears here appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use shared::random::Random;
use zeroize::Zeroizing;

use crate::signing::{SigningKey, decode_key, encode_seed};

/// The id of the first key of a server.
const FIRST_ID: &str = "0";

/// Why a key file cannot be used. Never shows a part of a seed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read the key file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There was none and it cannot be made.
    #[error("cannot make the key file {path}: {source}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line is not a key.
    #[error("line {line} of the key file {path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It has no key.
    #[error("the key file {0} has no key")]
    Empty(PathBuf),
}

/// The keys of the file at `path`, at least one, in their order. Without a file, makes one with a new key first.
pub(super) fn read_or_make(path: &Path, random: Random) -> Result<Vec<SigningKey>, KeyFileError> {
    if let Some(text) = text(path)? {
        return parse(path, &text);
    }
    make(path, random).map_err(|source| KeyFileError::Unwritable { path: path.to_owned(), source })?;
    // Another process may have been first: what lies there now is what both use.
    read(path)
}

/// The keys of the file at `path`, at least one, in their order.
pub(super) fn read(path: &Path) -> Result<Vec<SigningKey>, KeyFileError> {
    match text(path)? {
        Some(text) => parse(path, &text),
        None => {
            let source = io::ErrorKind::NotFound.into();
            Err(KeyFileError::Unreadable { path: path.to_owned(), source })
        }
    }
}

/// What stands in the file, if there is one.
pub(super) fn text(path: &Path) -> Result<Option<Zeroizing<String>>, KeyFileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyFileError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Writes a new key to a file of another name and links it to `path`, which fails if there is a file by now.
fn make(path: &Path, random: Random) -> io::Result<()> {
    let folder = folder_of(path);
    let draft = draft_in(folder, random);
    let linked = write_draft(&draft, &new_line(FIRST_ID, random)).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => removed?,
    }
    File::open(folder)?.sync_all()
}

/// A line with a new key.
pub(super) fn new_line(id: &str, random: Random) -> Zeroizing<String> {
    let seed = Zeroizing::new(random.bytes::<32>());
    Zeroizing::new(format!("ed25519 {id} {}", *encode_seed(&seed)))
}

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name of a new file beside the key file.
pub(super) fn draft_in(folder: &Path, random: Random) -> PathBuf {
    folder.join(format!(".signing-key-{}", random.base62(16)))
}

/// Writes a new file with `text` and a line break, readable by its owner alone.
pub(super) fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Reads the lines; blank ones and those that start with `#` are passed over.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<SigningKey>, KeyFileError> {
    let mut keys: Vec<SigningKey> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let malformed = |reason| KeyFileError::Malformed { path: path.to_owned(), line: index + 1, reason };
        let key = parse_line(line).map_err(malformed)?;
        if keys.iter().any(|earlier| earlier.id() == key.id()) {
            return Err(malformed("an earlier line has the same id"));
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(KeyFileError::Empty(path.to_owned())) } else { Ok(keys) }
}

fn parse_line(line: &str) -> Result<SigningKey, &'static str> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [algorithm, id, seed] = words[..] else {
        return Err("it is not of the form: ed25519 <id> <unpadded base64 of 32 bytes>");
    };
    if algorithm != "ed25519" {
        return Err("the algorithm is not ed25519");
    }
    let seed = decode_key(seed).ok_or("the seed is not base64 of 32 bytes")?;
    SigningKey::from_seed(id, &seed).map_err(|_| "the id has other characters than a-z, A-Z, 0-9, _")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::Barrier;

    use shared::random::Random;

    use super::{KeyFileError, parse, read_or_make};

    #[test]
    fn a_missing_file_is_made_once_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let made = read_or_make(&path, Random).unwrap();
        assert_eq!(made[0].id(), "ed25519:0");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        let again = read_or_make(&path, Random).unwrap();
        assert_eq!(again[0].public(), made[0].public());
    }

    #[test]
    fn processes_that_start_together_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        let start = Barrier::new(8);
        let keys: HashSet<String> = std::thread::scope(|scope| {
            let each = || {
                start.wait();
                read_or_make(&path, Random).unwrap()[0].public().encode()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(each)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(keys.len(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_that_cannot_be_made_or_read_is_an_error_and_no_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("missing").join("signing.key");
        assert!(matches!(read_or_make(&nowhere, Random), Err(KeyFileError::Unwritable { .. })));
        assert!(matches!(read_or_make(folder.path(), Random), Err(KeyFileError::Unreadable { .. })));
    }

    #[test]
    fn malformed_lines_are_named_without_their_seed() {
        let good = "ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";
        for wrong in [
            "ed25519 1",
            "ed25519 1 SECRET",
            "rsa 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
            "ed25519 a:b YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
            good,
            "ed25519 1 SECRET more",
        ] {
            let error = parse(Path::new("k"), &format!("{good}{wrong}")).unwrap_err();
            assert!(matches!(error, KeyFileError::Malformed { line: 2, .. }), "{wrong}");
            assert!(!format!("{error} {error:?}").contains("SECRET"));
        }
        for empty in ["", "\n \n# nothing\n"] {
            assert!(matches!(parse(Path::new("k"), empty), Err(KeyFileError::Empty(_))));
        }
    }
}
